//! From the text in a message to class and canonical form.

use super::check_digit::check_digit;
use super::{Class, Declared, Identifier};
use crate::secret::Sensitive;
use zeroize::Zeroize;

impl Identifier {
    /// Reads an identifier as it stood in a message (unescaped) and finds its class and canonical form. Never fails: what fits no
    /// other class is [`Class::Other`]. The caller does not pass an empty text (2.x `NoAuthorization`).
    ///
    /// The rules, in this order (`hex` and `alphanumeric` in ASCII, after taking away the [`SEPARATORS`]):
    /// 1. declared `Reference`: the text itself, letter for letter, since the station chose it and must get it back so;
    /// 2. declared `KeyCode`: trimmed, upper case;  declared `Vehicle`: without separators, upper case;
    /// 3. 8, 14, 16 or 20 hex digits: [`Class::Rfid`], unless they are 14 and begin with a country code ([`HEX_COUNTRIES`]): then an eMAID;
    /// 4. two letters and 12 alphanumerics, with or without a 15th that is the right check digit (which is dropped): [`Class::Emaid`].
    ///    A wrong check digit stays part of the canonical form: a mistyped contract is not the contract;
    /// 5. a contract number of the older form (DIN SPEC 91286) is an eMAID, too: country (2 letters), provider (3), instance (6), check digit (a digit or
    ///    `X`), with separators between these parts or without, `DE*8AA*123456*7`. Its check digit is kept, since the form is never
    ///    without one. It has four digits behind the provider at least, as a contract number has that is told from a name, and is no MAC address
    ///    (hex from end to end, and no country). A token of twelve characters that only looks like one keeps a code of its own all the same;
    ///    where no token is declared, twelve characters without a separator are not taken for one (`is_older_contract`);
    /// 6. else [`Class::Other`]: trimmed, upper case.
    ///
    /// DIFFERENCE from the published design: 16 hex digits (ISO 15693) are `Rfid`, or one card would have as many codes as spellings;
    /// `DE-8AA-C12345678`, hex from end to end like most German contracts, is an eMAID, or no bill would find its e-MSP; and text that is not ASCII is `Other` with only its ASCII letters upper-cased, because refusing it would lose a session.
    pub fn from_wire(text: &str, declared: Declared) -> Self {
        let (class, canonical) = match declared {
            Declared::Reference => (Class::Reference, text.to_owned()),
            Declared::KeyCode => (Class::KeyCode, upper(text)),
            Declared::Vehicle => (Class::Vehicle, bare(text)),
            Declared::Undeclared => by_value(text),
        };
        Self { class, canonical: Sensitive::new(canonical), original: Sensitive::new(text.to_owned()) }
    }
}

/// What people put between the digits of a card number or the parts of a contract number.
pub const SEPARATORS: [char; 6] = [':', '-', ' ', '*', '.', '_'];

/// The ISO 3166 codes that hex digits can spell. No maker of card chips has one as its number, so no 7-byte UID begins with one, unless a
/// reader gives UIDs backwards; such a card still has one code in all its spellings.
pub const HEX_COUNTRIES: [&str; 15] = ["AD", "AE", "AF", "BA", "BB", "BD", "BE", "BF", "CA", "CC", "CD", "CF", "DE", "EC", "EE"];

/// Rules 3 to 6 of [`Identifier::from_wire`].
fn by_value(text: &str) -> (Class, String) {
    let mut bare = bare(text);
    if bare.len() == 15 && looks_like_emaid(&bare) && check_digit(&bare[..14]) == bare.chars().last() {
        bare.pop();
    }
    let hex = matches!(bare.len(), 8 | 14 | 16 | 20) && bare.bytes().all(|b| b.is_ascii_hexdigit());
    if hex && !(bare.len() == 14 && HEX_COUNTRIES.contains(&&bare[..2])) {
        (Class::Rfid, bare)
    } else if looks_like_emaid(&bare) || (looks_like_older_contract(&bare) && is_in_parts(text)) {
        (Class::Emaid, bare)
    } else {
        bare.zeroize();
        (Class::Other, upper(text))
    }
}

/// Country, provider, instance and perhaps a check digit, by shape alone (ISO 15118-2 annex H): `bare` is upper case without separators.
fn looks_like_emaid(bare: &str) -> bool {
    matches!(bare.len(), 14 | 15)
        && bare.bytes().all(|b| b.is_ascii_alphanumeric())
        && bare.bytes().take(2).all(|b| b.is_ascii_alphabetic())
}

/// Country, provider, instance and check digit of DIN SPEC 91286, by shape alone: `bare` is upper case without separators.
fn looks_like_older_contract(bare: &str) -> bool {
    bare.len() == 12
        && bare.bytes().all(|b| b.is_ascii_alphanumeric())
        && bare.bytes().take(2).all(|b| b.is_ascii_alphabetic())
        && bare.ends_with(|check: char| check.is_ascii_digit() || check == 'X')
        && bare.bytes().skip(5).filter(u8::is_ascii_digit).count() >= 4
        && (HEX_COUNTRIES.contains(&&bare[..2]) || !bare.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether separators stand nowhere but between the parts of a contract number of the older form.
fn is_in_parts(text: &str) -> bool {
    let mut letters = 0;
    text.trim_matches(|c: char| c.is_ascii_whitespace()).chars().all(|c| {
        let apart = SEPARATORS.contains(&c);
        letters += usize::from(!apart);
        !apart || matches!(letters, 2 | 5 | 11)
    })
}

/// Whether a part of a text that is not declared to be a token is a contract number of the older form: with `*` or `-` on both sides of the provider,
/// and perhaps before the check digit. Without them it would be any serial number of twelve characters.
pub(crate) fn is_older_contract(text: &str) -> bool {
    let bytes = text.as_bytes();
    let apart = |at: usize| matches!(bytes.get(at), Some(b'*' | b'-'));
    let inside = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    (0..bytes.len().saturating_sub(13)).any(|at| {
        if !(apart(at + 2) && apart(at + 6)) || (at > 0 && inside(at - 1)) {
            return false;
        }
        let end = at + 14 + usize::from(apart(at + 13));
        !inside(end) && text.get(at..end).is_some_and(|part| is_in_parts(part) && looks_like_older_contract(&bare(part)))
    })
}

fn upper(text: &str) -> String {
    text.trim_matches(|c: char| c.is_ascii_whitespace()).to_ascii_uppercase()
}

fn bare(text: &str) -> String {
    let mut bare = String::with_capacity(text.len()); // room for all of it: growing would leave clear text behind in freed memory
    bare.extend(text.trim_matches(|c: char| c.is_ascii_whitespace()).chars().filter(|c| !SEPARATORS.contains(c)));
    bare.make_ascii_uppercase();
    bare
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (Class, String) {
        let id = Identifier::from_wire(text, Declared::Undeclared);
        assert_eq!(id.original.expose(), text);
        (id.class, id.canonical.expose().clone())
    }

    #[test]
    fn classes_come_from_the_value() {
        let cases = [
            ("04a2b3c4", Class::Rfid, "04A2B3C4"),
            (" 04:A2:b3:c4:D5:e6:F7 ", Class::Rfid, "04A2B3C4D5E6F7"),
            ("04-A2-B3-C4-D5-E6-F7-08-09-0A", Class::Rfid, "04A2B3C4D5E6F708090A"),
            ("E0 04 01 50 12 34 56 78", Class::Rfid, "E004015012345678"),
            ("nl-tnm-c00122045-k", Class::Emaid, "NLTNMC00122045"),
            ("NL*TNM*C00122045", Class::Emaid, "NLTNMC00122045"),
            ("NLTNMC00122045X", Class::Emaid, "NLTNMC00122045X"), // wrong check digit: K
            ("DEABC012345678", Class::Emaid, "DEABC012345678"),
            ("DE*8AA*C12345678", Class::Emaid, "DE8AAC12345678"), // hex from end to end, and yet no card
            ("DE*8AA*123456*7", Class::Emaid, "DE8AA1234567"),
            ("de-8aa-123456-7", Class::Emaid, "DE8AA1234567"),
            ("DE8AA1234567", Class::Emaid, "DE8AA1234567"),
            ("NL-TNM-1A234B-X", Class::Emaid, "NLTNM1A234BX"),
            ("NL-TNM-12345-67", Class::Other, "NL-TNM-12345-67"), // no such parts
            ("NL-TNM-123456-C", Class::Other, "NL-TNM-123456-C"), // no such check digit
            ("NL-TNM-AB12CD-3", Class::Other, "NL-TNM-AB12CD-3"), // too few digits
            ("NL-TNM-123456", Class::Other, "NL-TNM-123456"),
            ("AA:BB:CC:12:34:56", Class::Other, "AA:BB:CC:12:34:56"),
            ("AABBCC123456", Class::Other, "AABBCC123456"), // a MAC address: no such country
            ("DEADBEEF", Class::Rfid, "DEADBEEF"),
            ("FADEBEEF123456", Class::Rfid, "FADEBEEF123456"), // no such country
            ("Visitor 7", Class::Other, "VISITOR 7"),
            ("04A2B3C", Class::Other, "04A2B3C"),
            ("café-é", Class::Other, "CAFé-é"),
            ("\u{fe0f}04A2B3C4", Class::Other, "\u{fe0f}04A2B3C4"),
            (" ", Class::Other, ""),
        ];
        for (text, class, canonical) in cases {
            assert_eq!(read(text), (class, canonical.to_owned()), "{text}");
        }
    }

    #[test]
    fn declared_classes_do_not_depend_on_the_value() {
        let of = |text, declared| {
            let id = Identifier::from_wire(text, declared);
            (id.class, id.canonical.expose().clone())
        };
        assert_eq!(of("04a2b3c4", Declared::KeyCode), (Class::KeyCode, "04A2B3C4".into()));
        assert_eq!(of("00:1a:7d:da:71:13", Declared::Vehicle), (Class::Vehicle, "001A7DDA7113".into()));
        assert_eq!(of(" tx-04a2 ", Declared::Reference), (Class::Reference, " tx-04a2 ".into()));
    }

    /// A spelling of `bare`: any case, any separators between characters.
    fn spelling(bare: String) -> impl Strategy<Value = (String, String)> {
        let length = bare.len();
        let marks = proptest::collection::vec(
            (any::<bool>(), prop_oneof![3 => Just(None), 1 => proptest::sample::select(&SEPARATORS[..]).prop_map(Some)]),
            length,
        );
        marks.prop_map(move |marks| {
            let mut text = String::new();
            for (c, (lower, separator)) in bare.chars().zip(marks) {
                text.push(if lower { c.to_ascii_lowercase() } else { c });
                text.extend(separator);
            }
            (bare.clone(), text)
        })
    }

    proptest! {
        #[test]
        fn a_card_is_one_card_in_any_spelling((bare, text) in "([0-9A-F]{8}|[0-9A-F]{14}|[0-9A-F]{16}|[0-9A-F]{20})".prop_flat_map(spelling)) {
            let class = if bare.len() == 14 && HEX_COUNTRIES.contains(&&bare[..2]) { Class::Emaid } else { Class::Rfid };
            prop_assert_eq!(read(&text), (class, bare));
        }

        #[test]
        fn a_contract_is_one_contract_in_any_spelling((bare, text) in "NL[0-9A-Z]{12}".prop_flat_map(spelling), with_check in any::<bool>()) {
            let mut text = text;
            text.extend(check_digit(&bare).filter(|_| with_check));
            prop_assert_eq!(read(&text), (Class::Emaid, bare));
        }

        #[test]
        fn a_contract_of_the_older_form_is_one_contract_in_any_spelling(
            parts in ("NL", "[0-9A-Z]{3}", "[0-9]{4}[0-9A-Z]{2}", "[0-9X]"), marks in proptest::array::uniform3("[-*]?"), lower: bool,
        ) {
            let text = format!("{}{}{}{}{}{}{}", parts.0, marks[0], parts.1, marks[1], parts.2, marks[2], parts.3);
            let text = if lower { text.to_ascii_lowercase() } else { text };
            prop_assert_eq!(read(&text), (Class::Emaid, [parts.0, parts.1, parts.2, parts.3].concat()));
            let in_groups = !marks[0].is_empty() && !marks[1].is_empty();
            prop_assert_eq!(is_older_contract(&text), in_groups);
            prop_assert_eq!(is_older_contract(&format!("tag {text}, seen")), in_groups);
            let (behind_a_letter, before_a_digit) = (format!("x{text}"), format!("{text}0"));
            prop_assert!(!is_older_contract(&behind_a_letter) && !is_older_contract(&before_a_digit));
        }

        #[test]
        fn any_text_has_a_canonical_form_and_reading_it_again_changes_nothing(text in "\\PC{1,40}") {
            let (class, canonical) = read(&text);
            // A 15-character canonical form keeps a wrong check digit; every other form is a fixed point.
            prop_assert_eq!(read(&canonical), (class, canonical.clone()));
        }
    }
}
