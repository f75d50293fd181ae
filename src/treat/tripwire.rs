//! The second line: knows the identifiers active on one connection and looks for them in every frame that is about to go up, in
//! the encodings people use. A hit means that the treatment has a hole; the frame is blocked and counted as an incident (I3).

use crate::identity::{Class, Declared, Epoch, Identifier, Sighting};
use crate::ocpp::json::Cursor;
use crate::ocpp::scan::special;
use crate::policy::Words;
use crate::pseudonym::{HEX, Pseudonym};
use crate::secret::Sensitive;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use std::borrow::Cow;
use std::ops::Range;

/// Identifiers watched per connection, the oldest forgotten first.
pub(crate) const MAX_WATCHED: usize = 16;
/// From this many letters and digits on, an identifier is looked for inside longer text; shorter ones only as whole strings.
const SEARCHABLE: usize = 8;
/// From this many on, it is looked for wherever it stands; shorter ones only where a group of letters and digits begins and ends, or
/// one random UUID in a few thousand million would raise an alarm each day in a large fleet.
const UNMISTAKABLE: usize = 12;

struct Watched {
    code: Pseudonym,
    /// As it was last spelt here.
    identifier: Identifier,
    /// How the code was made of just this spelling, in the current epoch and in that of a transaction, so that the two do not push each other
    /// out; `None` if it came from elsewhere.
    coded: [Option<Coded>; 2],
    /// Upper case, without separators.
    patterns: Vec<Sensitive<String>>,
}

/// What the code of a text depends on, besides the text itself: while all this is the same, so is the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coded {
    pub(crate) declared: Declared,
    /// The epoch that the frame's transaction is pinned to.
    pub(crate) epoch: Option<Epoch>,
    /// Of the keys.
    pub(crate) generation: u64,
}

impl Coded {
    fn place(self) -> usize {
        usize::from(self.epoch.is_some())
    }
}

/// The identifiers active on one connection.
#[derive(Default)]
pub(crate) struct Watch {
    watched: Vec<Watched>,
    /// Which first pairs of letters the patterns have, and which second pairs, so that most text is passed over at once.
    first: Pairs,
    second: Pairs,
}

impl Watch {
    /// Watches for an identifier from now on. `coded` says how its code was made, if it was made here.
    pub(crate) fn add(&mut self, code: Pseudonym, identifier: &Identifier, coded: Option<Coded>) {
        if let Some(at) = self.watched.iter().position(|w| w.code == code) {
            let known = &mut self.watched[at];
            // Why exposed: the latest spelling is what the station gets back.
            if known.identifier.original.expose() != identifier.original.expose() {
                known.identifier = identifier.clone();
                known.coded = [None; 2];
            }
            if let Some(how) = coded {
                known.coded[how.place()] = coded;
            }
            self.renew(at);
            return;
        }
        if self.watched.len() >= MAX_WATCHED {
            self.watched.remove(0);
        }
        let mut watched = Watched { code, identifier: identifier.clone(), coded: [None; 2], patterns: patterns(identifier) };
        if let Some(how) = coded {
            watched.coded[how.place()] = coded;
        }
        self.watched.push(watched);
        (self.first, self.second) = (Pairs::default(), Pairs::default());
        for pattern in self.watched.iter().flat_map(|w| &w.patterns) {
            if let [a, b, c, d, ..] = pattern.expose().as_bytes() {
                self.first.set(pair(*a, *b));
                self.second.set(pair(*c, *d));
            }
        }
    }

    /// The code of a text that was coded on this connection before, under the same circumstances: saves two MACs, two thirds of what a known
    /// card costs.
    pub(crate) fn coded(&mut self, text: &str, how: Coded) -> Option<Sighting> {
        // Why exposed: compared with what the station has just sent, letter for letter.
        let at = self.watched.iter().position(|w| w.coded[how.place()] == Some(how) && w.identifier.original.expose() == text)?;
        let Watched { code, identifier, .. } = &self.watched[at];
        let sighting = Sighting { code: *code, identifier: identifier.clone() };
        self.renew(at);
        Some(sighting)
    }

    /// Keeps the most recent last, so that the oldest is forgotten first.
    fn renew(&mut self, at: usize) {
        self.watched[at..].rotate_left(1);
    }

    /// How the identifier behind a code was last spelt on this connection, and whether it was the station that spelt it so.
    pub(crate) fn spelling(&self, code: &Pseudonym) -> Option<(&Identifier, bool)> {
        self.watched.iter().find(|w| w.code == *code).map(|w| (&w.identifier, w.coded.iter().any(Option::is_some)))
    }

    /// Whether `text` holds a watched identifier.
    pub(crate) fn knows(&self, text: &str) -> bool {
        // No pattern is a number of fewer digits: most message ids are such.
        let counts = text.len() < SEARCHABLE && text.bytes().all(|b| b.is_ascii_digit());
        !self.watched.is_empty() && !counts && self.finds(text, &mut Vec::new())
    }

    /// The first look: whether four letters or digits in a row, separators aside, begin like a pattern.
    fn perhaps(&self, text: &str) -> bool {
        // The last four, six bits each. Before there are four, the first is 0, which begins no pattern.
        let mut last = 0usize;
        text.bytes().any(|b| {
            let letter = NUMBERED[usize::from(b)];
            if letter == 0 {
                return false;
            }
            last = last << 6 | usize::from(letter);
            self.first.has(last >> 12) && self.second.has(last)
        })
    }

    fn finds(&self, text: &str, groups: &mut Vec<u8>) -> bool {
        if !self.perhaps(text) {
            return false;
        }
        groups.clear();
        // Bit 7 of a byte marks the first of a group: text is ASCII here, as every pattern is.
        let mut fresh = 0x80;
        for b in text.bytes() {
            if NUMBERED[usize::from(b)] == 0 {
                fresh = 0x80;
            } else {
                groups.push(b.to_ascii_uppercase() | fresh);
                fresh = 0;
            }
        }
        let byte = |at: usize| groups[at] & 0x7f;
        let starts_group = |at: usize| at >= groups.len() || groups[at] & 0x80 != 0;
        let whole = |pattern: &str| pattern.len() == groups.len() && pattern.bytes().enumerate().all(|(at, b)| byte(at) == b);
        if groups.len() < SEARCHABLE {
            return groups.len() >= 4 && self.watched.iter().flat_map(|w| &w.patterns).any(|p| whole(p.expose()));
        }
        for at in 0..=groups.len() - SEARCHABLE {
            if !self.first.has(pair(byte(at), byte(at + 1))) {
                continue;
            }
            for pattern in self.watched.iter().flat_map(|w| &w.patterns) {
                let pattern = pattern.expose().as_bytes();
                let end = at + pattern.len();
                if pattern.len() < SEARCHABLE || end > groups.len() || !pattern.iter().enumerate().all(|(i, b)| byte(at + i) == *b) {
                    continue;
                }
                // A hexadecimal number is delimited by anything that is not hexadecimal.
                let edge = |inside: usize, outside: Option<usize>| {
                    outside.is_none_or(|o| o >= groups.len() || !byte(o).is_ascii_hexdigit() || starts_group(inside.max(o)))
                };
                if pattern.len() >= UNMISTAKABLE || (edge(at, at.checked_sub(1)) && edge(end - 1, Some(end))) {
                    return true;
                }
            }
        }
        false
    }

    /// Whether a frame that is about to go up holds a watched identifier in any string, outside the `exempt` ranges
    /// (which come in the order of the text) and other than as a word of the standard. What stands before `from` is not looked at.
    pub(crate) fn hit(&self, frame: &str, from: usize, exempt: &[Range<usize>], words: &Words) -> bool {
        // The shortest pattern has four letters, and stands in quotes.
        if self.watched.is_empty() || frame.len() < from + 6 {
            return false;
        }
        let mut groups = Vec::new();
        let bytes = frame.as_bytes();
        let mut at = from;
        let mut exempt = exempt.iter().peekable();
        loop {
            at = special(bytes, at);
            match bytes.get(at) {
                None => return false,
                Some(b'"') => {}
                // White space.
                Some(_) => {
                    at += 1;
                    continue;
                }
            }
            while exempt.next_if(|range| range.end <= at).is_some() {}
            if let Some(range) = exempt.next_if(|range| range.start <= at) {
                at = range.end;
                continue;
            }
            let start = at + 1;
            at = special(bytes, start);
            let content = if bytes.get(at) == Some(&b'"') {
                Cow::Borrowed(&frame[start..at])
            } else {
                let mut cursor = Cursor::new(frame);
                cursor.jump(start - 1);
                let Ok(token) = cursor.string() else { return true };
                at = cursor.at() - 1;
                cursor.content(&token)
            };
            at += 1;
            // The names of members are words of the catalogue; others do not get this far.
            if bytes.get(at) == Some(&b':') || content.len() < 4 {
                continue;
            }
            if !is_common(&content, words) && self.finds(&content, &mut groups) && !words.has(&content) {
                return true;
            }
        }
    }
}

/// What is everywhere in frames and no identifier, though some card numbers look like it: a word of the standard as the standard spells it, a
/// time, a switch, a short number. Most strings are, and are told faster than looked through.
fn is_common(content: &str, words: &Words) -> bool {
    match content.as_bytes() {
        [b'0'..=b'9' | b'+' | b'-', ..] => {
            super::text::time(content).is_some() || is_plain_number(content) || super::text::is_setting(content)
        }
        _ => words.place(content).is_some() || super::text::is_setting(content) || super::text::time(content).is_some(),
    }
}

/// A meter reading: decimal digits with a fraction, or fewer than a card number has when it is printed in decimal (ten, with leading zeros). One with
/// an exponent has the letters of a card.
fn is_plain_number(text: &str) -> bool {
    let plain = super::text::is_digits(text) || (super::text::is_signed_or_scaled(text) && !text.contains(['e', 'E']));
    plain && (text.contains(['.', ',']) || text.len() < 10)
}

/// What counts of a byte when an identifier is looked for: letters whatever their case, digits, and what base64 has besides, numbered from 1; 0
/// for all else.
static NUMBERED: [u8; 256] = {
    let letters = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+/";
    let mut numbered = [0; 256];
    let mut n = 0;
    while n < letters.len() {
        numbered[letters[n] as usize] = n as u8 + 1;
        numbered[letters[n].to_ascii_lowercase() as usize] = n as u8 + 1;
        n += 1;
    }
    numbered
};

/// Two letters as one number of twelve bits.
fn pair(a: u8, b: u8) -> usize {
    usize::from(NUMBERED[usize::from(a)]) << 6 | usize::from(NUMBERED[usize::from(b)])
}

/// A set of pairs of letters: 4,096 bits, 512 bytes a connection.
struct Pairs(Box<[u64; 64]>);

impl Default for Pairs {
    fn default() -> Self {
        Self(Box::new([0; 64]))
    }
}

impl Pairs {
    fn set(&mut self, pair: usize) {
        self.0[pair >> 6 & 63] |= 1 << (pair & 63);
    }

    /// Only the lower twelve bits count.
    #[inline]
    fn has(&self, pair: usize) -> bool {
        self.0[pair >> 6 & 63] >> (pair & 63) & 1 != 0
    }
}

/// The forms in which an identifier may hide, upper case and without separators.
fn patterns(identifier: &Identifier) -> Vec<Sensitive<String>> {
    // Why exposed: the tripwire compares what goes out with the clear value. All forms stay in Sensitive.
    let original = identifier.original.expose();
    let canonical = identifier.canonical.expose();
    let bare: String = original.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let mut forms = Vec::new();
    let hex_of = |text: &[u8]| text.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(HEX[usize::from(n)])).collect::<String>();
    let base64_of = |bytes: &[u8]| BASE64.encode(bytes).to_ascii_uppercase();
    for text in [original.clone(), bare.clone(), bare.to_ascii_lowercase()] {
        if text.len() >= 6 {
            forms.push(hex_of(text.as_bytes()));
            forms.push(base64_of(text.as_bytes()));
            // The same text further inside what was encoded: the characters that do not depend on the neighbours.
            for shift in [1, 2] {
                let mut shifted = vec![b' '; shift];
                shifted.extend_from_slice(text.as_bytes());
                let coded = BASE64.encode(&shifted);
                let inner = coded.get(4..coded.len() - 2).unwrap_or_default();
                if inner.len() >= UNMISTAKABLE {
                    forms.push(inner.to_ascii_uppercase());
                }
            }
        }
    }
    if identifier.class == Class::Rfid {
        let bytes: Vec<u8> =
            (0..canonical.len() / 2).filter_map(|i| u8::from_str_radix(canonical.get(2 * i..2 * i + 2)?, 16).ok()).collect();
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        forms.push(hex_of(&reversed));
        for order in [&bytes, &reversed] {
            forms.push(base64_of(order));
            let number = order.iter().fold(0u128, |n, b| n << 8 | u128::from(*b));
            forms.push(number.to_string());
            if order.len() == 4 {
                forms.push(format!("{number:010}"));
            }
        }
    }
    // The base64 of a short card is a word like any other.
    forms.retain(|form| form.len() >= SEARCHABLE);
    forms.extend([canonical.to_ascii_uppercase(), bare]);
    // A short number says nothing: it would be found in every meter reading.
    forms
        .retain(|form| form.is_ascii() && (form.len() >= SEARCHABLE || (form.len() >= 4 && form.bytes().any(|b| b.is_ascii_alphabetic()))));
    forms.sort_unstable();
    forms.dedup();
    forms.into_iter().map(Sensitive::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(original: &str, class: Class) -> Watch {
        let canonical: String = original.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        let mut watch = Watch::default();
        watch.add(
            Pseudonym::from_text("Z0AAAAAAAAAAAAAAAAAA").unwrap(),
            &Identifier { class, canonical: Sensitive::new(canonical), original: Sensitive::new(original.into()) },
            None,
        );
        watch
    }

    fn words<const N: usize>(words: [String; N]) -> Words {
        words.into_iter().collect()
    }

    fn hit(watch: &Watch, text: &str) -> bool {
        watch.hit(&serde_json::to_string(&[text]).unwrap(), 0, &[], &words([]))
    }

    #[test]
    fn finds_a_card_in_the_encodings_people_use() {
        let card = watch("04:a2:b3:c4:d5:e6:f7", Class::Rfid);
        let raw = [4u8, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7];
        for text in [
            "04A2B3C4D5E6F7",
            "04a2b3c4d5e6f7",
            "04-A2-B3-C4-D5-E6-F7",
            "x04A2B3C4D5E6F7y",
            "F7E6D5C4B3A204",
            "tx/04a2b3c4d5e6f7/1",
            &BASE64.encode(raw),
            &BASE64.encode("04A2B3C4D5E6F7"),
            &BASE64.encode("tag=04A2B3C4D5E6F7;"),
            "3034413242334334443545364637",
            "{\"idTag\":\"04A2B3C4D5E6F7\"}",
        ] {
            assert!(hit(&card, text), "{text}");
        }
        assert!(card.hit(r#"["\u00304A2B3C4D5E6F7"]"#, 0, &[], &words([])), "escaped");
        assert!(!hit(&card, "04A2B3C4D5E6F8"));
        assert!(!hit(&card, "Energy.Active.Import.Register"));
        let short = watch("04A2B3C4", Class::Rfid);
        assert!(hit(&short, "tx-04A2B3C4-1") && hit(&short, "0077771716") && hit(&short, "x 04:a2:b3:c4"));
        assert!(!short.hit(r#"{"meterStop":77771716}"#, 0, &[], &words([])), "a meter reading");
        let dated = watch("20261124", Class::Rfid);
        assert!(hit(&dated, "20261124-1") && !hit(&dated, "2026-11-24T10:00:00Z"), "a card that looks like a day");
        assert!(!hit(&short, "aa04A2B3C4bb"), "inside a longer hexadecimal number");
    }

    #[test]
    fn short_identifiers_only_as_a_whole_and_never_as_a_word_of_the_standard() {
        let tag = watch("Outlet", Class::Other);
        assert!(hit(&tag, "OUTLET") && !hit(&tag, "Outlet 1"));
        assert!(!tag.hit(r#"["Outlet"]"#, 0, &[], &words(["Outlet".to_owned()])));
    }

    proptest::proptest! {
        /// What is told at once is what a search tells, whatever the card: numbers alone, in groups, and with letters of either case.
        #[test]
        fn a_short_number_is_told_at_once_and_rightly(card in "[0-9A-F]{4,14}|[0-9]{4,10}", text in "[0-9]{0,9}|[0-9A-Fa-f:]{0,9}") {
            let watch = watch(&card, Class::Rfid);
            proptest::prop_assert_eq!(watch.knows(&text), watch.finds(&text, &mut Vec::new()));
            let frame = format!("\"{text}\"");
            proptest::prop_assert_eq!(watch.hit(&frame, 0, &[], &words([])), text.len() >= 4 && !is_common(&text, &words([])) && watch.knows(&text));
        }
    }

    #[test]
    fn what_is_exempt_is_passed_over() {
        let card = watch("04A2B3C4D5E6F7", Class::Rfid);
        let frame = r#"["04A2B3C4D5E6F7","x"]"#;
        assert!(card.hit(frame, 0, &[], &words([])));
        let signed = 1..17;
        assert!(!card.hit(frame, 0, std::slice::from_ref(&signed), &words([])));
    }
}
