//! The second line: knows the identifiers active on one connection and looks for them in every frame that is about to go up, in
//! the encodings people use. A hit means that the treatment has a hole; the frame is blocked and counted as an incident (I3).

use crate::identity::{Class, Identifier};
use crate::ocpp::json::Cursor;
use crate::pseudonym::Pseudonym;
use crate::secret::Sensitive;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use std::collections::HashSet;
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
    original: Sensitive<String>,
    /// Upper case, without separators.
    patterns: Vec<Sensitive<String>>,
}

/// The identifiers active on one connection.
#[derive(Default)]
pub(crate) struct Watch {
    watched: Vec<Watched>,
    /// One bit for each first pair of bytes that a pattern has, and for each second pair, so that most text is passed over at once.
    first: Vec<u64>,
    second: Vec<u64>,
}

impl Watch {
    /// Watches for an identifier from now on.
    pub(crate) fn add(&mut self, code: Pseudonym, identifier: &Identifier) {
        // Why exposed: the tripwire compares what goes out with the clear value.
        let original = identifier.original.expose();
        if let Some(at) = self.watched.iter().position(|w| w.code == code) {
            if self.watched[at].original.expose() != original {
                self.watched[at].original = Sensitive::new(original.clone());
            }
            // Keep the most recent last, so that the oldest is forgotten first.
            self.watched[at..].rotate_left(1);
            return;
        }
        if self.watched.len() >= MAX_WATCHED {
            self.watched.remove(0);
        }
        self.watched.push(Watched { code, original: Sensitive::new(original.clone()), patterns: patterns(identifier) });
        (self.first, self.second) = (vec![0; 64], vec![0; 64]);
        for pattern in self.watched.iter().flat_map(|w| &w.patterns) {
            if let [a, b, c, d, ..] = pattern.expose().as_bytes() {
                let (first, second) = (slot(*a, *b), slot(*c, *d));
                self.first[first >> 6] |= 1 << (first & 63);
                self.second[second >> 6] |= 1 << (second & 63);
            }
        }
    }

    /// How the identifier behind a code was last spelt on this connection.
    pub(crate) fn spelling(&self, code: &Pseudonym) -> Option<&Sensitive<String>> {
        self.watched.iter().find(|w| w.code == *code).map(|w| &w.original)
    }

    /// Whether `text` holds a watched identifier.
    pub(crate) fn knows(&self, text: &str) -> bool {
        !self.watched.is_empty() && self.finds(text, &mut Vec::new())
    }

    /// The first look: whether four letters or digits in a row, separators aside, begin like a pattern.
    fn perhaps(&self, text: &str) -> bool {
        let set = |map: &[u64], bit: usize| map[bit >> 6] & 1 << (bit & 63) != 0;
        let mut last = [0u8; 4];
        let mut seen = 0;
        for b in text.bytes() {
            if b.is_ascii_alphanumeric() || b == b'+' || b == b'/' {
                last = [last[1], last[2], last[3], b.to_ascii_uppercase()];
                seen += 1;
                if seen >= 4 && set(&self.first, slot(last[0], last[1])) && set(&self.second, slot(last[2], last[3])) {
                    return true;
                }
            }
        }
        false
    }

    fn finds(&self, text: &str, groups: &mut Vec<u8>) -> bool {
        if !self.perhaps(text) {
            return false;
        }
        groups.clear();
        // Bit 7 of a byte marks the first of a group: text is ASCII here, as every pattern is.
        let mut fresh = 0x80;
        for b in text.bytes() {
            if b.is_ascii_alphanumeric() || b == b'+' || b == b'/' {
                groups.push(b.to_ascii_uppercase() | fresh);
                fresh = 0;
            } else {
                fresh = 0x80;
            }
        }
        let byte = |at: usize| groups[at] & 0x7f;
        let starts_group = |at: usize| at >= groups.len() || groups[at] & 0x80 != 0;
        let whole = |pattern: &str| pattern.len() == groups.len() && pattern.bytes().enumerate().all(|(at, b)| byte(at) == b);
        if groups.len() < SEARCHABLE {
            return groups.len() >= 4 && self.watched.iter().flat_map(|w| &w.patterns).any(|p| whole(p.expose()));
        }
        for at in 0..=groups.len() - SEARCHABLE {
            let bit = slot(byte(at), byte(at + 1));
            if self.first[bit >> 6] & 1 << (bit & 63) == 0 {
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
    /// and other than as a word of the standard.
    pub(crate) fn hit(&self, frame: &str, exempt: &[Range<usize>], words: &HashSet<String>) -> bool {
        if self.watched.is_empty() {
            return false;
        }
        let mut groups = Vec::new();
        let bytes = frame.as_bytes();
        let mut at = 0;
        while let Some(quote) = memchr::memchr(b'"', &bytes[at..]) {
            at += quote;
            if let Some(range) = exempt.iter().find(|r| r.contains(&at)) {
                at = range.end;
                continue;
            }
            let mut cursor = Cursor::new(&frame[at..]);
            let Ok(token) = cursor.string() else { return true };
            let content = cursor.content(&token);
            at += cursor.at();
            // The names of members are words of the catalogue; others do not get this far.
            if bytes.get(at) == Some(&b':') {
                continue;
            }
            // Times and short numbers are everywhere in a frame, and some card numbers look like them.
            let is_common = || super::text::is_setting(&content) || is_plain_number(&content) || super::text::time(&content).is_some();
            if content.len() >= 4 && self.finds(&content, &mut groups) && !words.contains(&content.to_ascii_uppercase()) && !is_common() {
                return true;
            }
        }
        false
    }
}

/// A meter reading: decimal digits with a fraction, or fewer than a card number has when it is printed in decimal (ten, with leading zeros).
fn is_plain_number(text: &str) -> bool {
    super::text::is_decimal(text) && (text.contains(['.', ',']) || text.len() < 10)
}

/// The place of a pair of bytes in the first look: 4,096 bits, 512 bytes a connection.
fn slot(a: u8, b: u8) -> usize {
    (usize::from(a) * 67 + usize::from(b)) & 0xfff
}

/// The forms in which an identifier may hide, upper case and without separators.
fn patterns(identifier: &Identifier) -> Vec<Sensitive<String>> {
    // Why exposed: see Watch::add. All forms stay in Sensitive.
    let original = identifier.original.expose();
    let canonical = identifier.canonical.expose();
    let bare: String = original.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let mut forms = vec![canonical.to_ascii_uppercase(), bare.clone()];
    let hex_of = |text: &[u8]| text.iter().map(|b| format!("{b:02X}")).collect::<String>();
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
        );
        watch
    }

    fn hit(watch: &Watch, text: &str) -> bool {
        watch.hit(&serde_json::to_string(&[text]).unwrap(), &[], &HashSet::new())
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
        assert!(card.hit(r#"["\u00304A2B3C4D5E6F7"]"#, &[], &HashSet::new()), "escaped");
        assert!(!hit(&card, "04A2B3C4D5E6F8"));
        assert!(!hit(&card, "Energy.Active.Import.Register"));
        let short = watch("04A2B3C4", Class::Rfid);
        assert!(hit(&short, "tx-04A2B3C4-1") && hit(&short, "0077771716") && hit(&short, "x 04:a2:b3:c4"));
        assert!(!short.hit(r#"{"meterStop":77771716}"#, &[], &HashSet::new()), "a meter reading");
        let dated = watch("20261124", Class::Rfid);
        assert!(hit(&dated, "20261124-1") && !hit(&dated, "2026-11-24T10:00:00Z"), "a card that looks like a day");
        assert!(!hit(&short, "aa04A2B3C4bb"), "inside a longer hexadecimal number");
    }

    #[test]
    fn short_identifiers_only_as_a_whole_and_never_as_a_word_of_the_standard() {
        let tag = watch("Outlet", Class::Other);
        assert!(hit(&tag, "OUTLET") && !hit(&tag, "Outlet 1"));
        assert!(!tag.hit(r#"["Outlet"]"#, &[], &HashSet::from(["OUTLET".to_owned()])));
    }

    #[test]
    fn what_is_exempt_is_passed_over() {
        let card = watch("04A2B3C4D5E6F7", Class::Rfid);
        let frame = r#"["04A2B3C4D5E6F7","x"]"#;
        assert!(card.hit(frame, &[], &HashSet::new()));
        let signed = 1..17;
        assert!(!card.hit(frame, std::slice::from_ref(&signed), &HashSet::new()));
    }
}
