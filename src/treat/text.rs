//! What a string looks like: tells times, numbers and plain words from anything that could name a person or a card.

mod encoded;
mod number;
mod phone;
mod scrub;
mod time;

pub(crate) use encoded::{is_digest, is_exi};
pub(crate) use number::{is_decimal, is_digits, is_huge, is_scaled_card, is_setting, is_signed_or_scaled};
pub(crate) use scrub::scrub;
pub(crate) use time::{time, with_shorter_fraction};

use crate::identity::is_older_contract;
use encoded::is_encoded_text;
use phone::{PHONE, phone};

/// The fewest letters and digits that can hold a card number: a 4-byte UID in hexadecimal (ISO 14443-3).
pub(crate) const SHORTEST_CARD: usize = 8;

/// [`str::trim`], at once where there is nothing to trim: where a text begins and ends with letters, digits or signs of ASCII.
#[inline]
pub(super) fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

/// A language tag (RFC 5646): two or three letters, then perhaps a script and a region. Variants could hold a card number.
pub(crate) fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let primary = parts.next().unwrap_or_default();
    text.len() <= 12
        && matches!(primary.len(), 2 | 3)
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|p| match p.len() {
            2 | 4 => p.bytes().all(|b| b.is_ascii_alphabetic()),
            3 => p.bytes().all(|b| b.is_ascii_digit()),
            _ => false,
        })
}

/// A reference that cannot hold a card number, nor an e-mail address: fewer than [`SHORTEST_CARD`] letters and digits in all, or a random UUID
/// (version 4, RFC 9562 §5.4).
pub(crate) fn is_harmless_reference(text: &str) -> bool {
    if is_random_uuid(text) {
        return true;
    }
    if text.len() > 40 || !text.bytes().all(|b| b.is_ascii_graphic() && b != b'@') {
        return false;
    }
    text.len() < SHORTEST_CARD || text.bytes().filter(u8::is_ascii_alphanumeric).count() < SHORTEST_CARD
}

/// A UUID of version 4: random, so it cannot be a card number.
pub(crate) fn is_random_uuid(text: &str) -> bool {
    /// What may stand at each place.
    const FORM: &[u8; 36] = b"xxxxxxxx-xxxx-4xxx-vxxx-xxxxxxxxxxxx";
    let Ok(bytes) = <&[u8; 36]>::try_from(text.as_bytes()) else { return false };
    let fits = |(b, form): (&u8, &u8)| match form {
        b'x' => b.is_ascii_hexdigit(),
        b'v' => matches!(b, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
        form => b == form,
    };
    bytes.iter().zip(FORM).all(fits)
}

/// Whether a technical name has a part that could be an identifier: eight or more letters and digits in a row of which two are
/// digits (unless a date), a whole card number in hexadecimal, hexadecimal pairs with separators, an address of any kind.
pub(crate) fn is_identifier_like(text: &str) -> bool {
    has_identifier(text, false, 2)
}

/// The same, but a contract number with few digits only in its own groups: `AC-standard-2026` has as many letters and digits as one.
pub(crate) fn is_identifier_like_in_groups(text: &str) -> bool {
    has_identifier(text, true, 2)
}

/// The same for the name of an organisation: `Stadtwerke24 München` is none.
pub(crate) fn is_identifier_as_such(name: &str) -> bool {
    let plain = |c: char| match c {
        c if c.is_ascii() || c.is_control() => c,
        c if c.is_alphabetic() => 'x',
        _ => ' ',
    };
    let plain: String = name.chars().map(plain).collect();
    has_identifier(&plain, true, 4)
}

/// `least`: so many digits make a long run of letters and digits an identifier.
fn has_identifier(text: &str, in_groups: bool, least: usize) -> bool {
    if text.contains('@') || text.contains("://") || text.contains("(at)") || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return true;
    }
    // Padding stands at the end of base64 and of no name. Few names have as many digits as a telephone number.
    let has_phone = || text.bytes().filter(u8::is_ascii_digit).count() >= *PHONE.start() && phone(text, 0).is_some();
    if text.ends_with('=') || has_phone() || text.split(' ').any(is_encoded_text) {
        return true;
    }
    let mut pairs = 0;
    let mut paired = String::new();
    for run in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|r| !r.is_empty()) {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        let hex = run.bytes().all(|b| b.is_ascii_hexdigit());
        if run.len() >= SHORTEST_CARD && digits >= least && !is_date(run) {
            return true;
        }
        if hex && matches!(run.len(), 8 | 14 | 20) && !is_date(run) {
            return true;
        }
        // 04-A2-B3-C4, 04A2 B3C4: groups of an even number of hexadecimal digits that add up to a card.
        if hex && run.len() % 2 == 0 {
            pairs += 1;
            paired.push_str(run);
            if pairs >= 2 && matches!(paired.len(), 8 | 14 | 20) && paired.len() / pairs <= 4 && !is_date(&paired) {
                return true;
            }
        } else {
            pairs = 0;
            paired.clear();
        }
    }
    // 001B44-113AB7, fe80::1: addresses of a machine.
    let halves = text.split_once(['-', ':']).filter(|(a, b)| [a, b].iter().all(|half| half.len() == 6));
    let hexadecimal = |half: &str| half.bytes().all(|b| b.is_ascii_hexdigit());
    let mac = halves.is_some_and(|(a, b)| hexadecimal(a) && hexadecimal(b) && text.bytes().any(|b| b.is_ascii_alphabetic()));
    if mac || text.contains("::") || is_older_contract(text) {
        return true;
    }
    let bare: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    // 04A2B3C-4D5E6F7: a card in odd groups. Without a letter it is a version number or a time, and with a dot a short one is a version: 1.2.3-a1b2c.
    let odd = match bare.len() {
        14 | 20 => bare.iter().any(u8::is_ascii_alphabetic),
        8 => bare.iter().filter(|b| b.is_ascii_digit()).count() >= 2 && bare.iter().any(u8::is_ascii_alphabetic) && !text.contains('.'),
        _ => false,
    };
    if odd && bare.iter().all(u8::is_ascii_hexdigit) {
        return true;
    }
    // NL-ABC-123456789: a contract number in its groups; with as many digits as most have, in any.
    let mut letters = 0;
    let mut apart = text.bytes().filter(|b| {
        letters += usize::from(b.is_ascii_alphanumeric());
        !b.is_ascii_alphanumeric() && !matches!(letters, 2 | 5 | 14)
    });
    let digits = || bare[5..].iter().filter(|b| b.is_ascii_digit()).count();
    matches!(bare.len(), 14 | 15)
        && bare[..2].iter().all(u8::is_ascii_alphabetic)
        && (digits() >= 8 || (digits() >= 4 && !(in_groups && apart.next().is_some())))
}

/// Eight digits that read as a date of this century, as build numbers do.
fn is_date(run: &str) -> bool {
    let number = |range: std::ops::Range<usize>| run.get(range).and_then(|d| d.parse::<u32>().ok());
    run.len() == 8
        && run.bytes().all(|b| b.is_ascii_digit())
        && matches!((number(0..4), number(4..6), number(6..8)), (Some(2000..=2099), Some(1..=12), Some(1..=31)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn technical_names_pass_and_identifiers_do_not() {
        for name in [
            "Terra AC W22-T-R-0",
            "NG910-60503",
            "PLP1-0-2-4",
            "1.2.3-45",
            "2024.10.3",
            "SingleSocketCharger",
            "The Mobility House",
            "FW 20241103",
            "Energy.Active.Import.Register",
            "v5.1.0-rc2",
            "EV-22A-1234-567",
            "AC-22K-WALLBX-1",
            "EVB-22A-123456-7",
            "DC-54A-123456-Z",
            "1.2.3-a1b2c",
        ] {
            assert!(!is_identifier_like(name), "{name}");
        }
        for name in [
            "04A2B3C4",
            "04a2b3c4d5e6f7",
            "04:A2:B3:C4",
            "04-A2-B3-C4-D5-E6-F7",
            "04A2 B3C4",
            "DEADBEEF",
            "NLABC123456789",
            "NL-ABC-123456789",
            "DE*8AA*123456*7",
            "DE-8AA-123456-7",
            "de-8aa-123456-x of Jan",
            "NL*TNM*1234567",
            "x 12345678",
            "WVWZZZ1JZ3W386752",
            "me@example.org",
            "card04A2B3C4",
            "001B44-113AB7",
            "fe80::1",
        ] {
            assert!(is_identifier_like(name), "{name}");
        }
        assert!(!is_identifier_like_in_groups("AC-standard-2026"));
        // Found by a reader: one separator more, or another, hid them.
        for name in ["9C3-E51-B7", "9C3/E51B7/", "9C3+E51B7+", "NL-ABC-C123-456-78", "NL-ABC-C1234-5678", "NLABC-C12345678"] {
            assert!(is_identifier_like(name) && is_identifier_like_in_groups(name), "{name}");
        }
        for name in ["Stadtwerke24 München", "Energie360°", "Charge 4 Europe B.V.", "EVBox123"] {
            assert!(!is_identifier_as_such(name), "{name}");
        }
        for name in ["04A2B3C4", "NL-ABC-C12345678", "WVWZZZ1JZ3W386752", "me@example.org", "+31 6 1234 5678", "12345678"] {
            assert!(is_identifier_as_such(name), "{name}");
        }
    }

    #[test]
    fn references() {
        for fine in ["1", "tx-1234", "550e8400-e29b-41d4-a716-446655440000", "ab:12"] {
            assert!(is_harmless_reference(fine), "{fine}");
        }
        for not in ["tx-04A2B3C4", "04A2B3C4", "12345678", "04a2b3c4-d5e6-1000-8000-000000000000", "a b", "j@x.nl"] {
            assert!(!is_harmless_reference(not), "{not}");
        }
    }
}
