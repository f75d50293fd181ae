//! The leak oracle: looks in any bytes for every canary, in the forms in which people and programs write identifiers. It was written apart
//! from the treatment and shares no line with it: what one forgets, the other may know.

use super::canary::{Canary, bare};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::Digest;
use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// Every form that is looked for has at least so many characters: what is shorter turns up by chance.
const HEAD: usize = 8;
/// The decimal number of a card is looked for from so many figures on.
const FEWEST_FIGURES: usize = 9;
/// Codings inside one another that are undone.
const DEEPEST: u32 = 3;
/// The most bytes that undone codings of one piece may add up to.
const MAX_UNDONE: usize = 4 << 20;
/// A run of letters is tried as base64 or hexadecimal from so many on.
const SHORTEST_RUN: usize = 12;
/// Canaries of other scripts that are remembered, and how long they are at least.
const MAX_OTHERS: usize = 20_000;
const SHORTEST_OTHER: usize = 12;

/// How the text is prepared before a form is looked for in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum View {
    /// Upper case, without separators.
    Bare,
    /// As it is, with the url-safe letters of base64 as the standard ones.
    Exact,
}

struct Form {
    text: Vec<u8>,
    canary: usize,
    how: &'static str,
}

/// Finds canaries. Made for one script, whose canaries bound it.
#[derive(Default)]
pub(super) struct Finder {
    forms: Vec<Form>,
    by_head: HashMap<(View, u64), Vec<u32>>,
    /// A first look: 65,536 places, set where a head falls.
    perhaps: Vec<u64>,
}

/// A canary that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    /// Its place in the script's list.
    pub(super) canary: usize,
    pub(super) how: &'static str,
}

impl Finder {
    /// A finder of those canaries that `wanted` names by their places.
    pub(super) fn new(canaries: &[Canary], wanted: impl Fn(usize, &Canary) -> bool) -> Self {
        let mut finder = Self { perhaps: vec![0; 1024], ..Self::default() };
        for (at, canary) in canaries.iter().enumerate().filter(|(at, c)| wanted(*at, c)) {
            for (view, text, how) in forms(&canary.text) {
                if text.len() < HEAD {
                    continue;
                }
                let head = head(&text);
                finder.perhaps[place(head) / 64] |= 1 << (place(head) % 64);
                finder.by_head.entry((view, head)).or_default().push(u32::try_from(finder.forms.len()).unwrap_or(u32::MAX));
                finder.forms.push(Form { text, canary: at, how });
            }
        }
        finder
    }

    /// The canaries in `bytes`, each once.
    pub(super) fn find(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        if !self.forms.is_empty() {
            let mut budget = MAX_UNDONE;
            self.look(bytes, 0, &mut budget, &mut hits);
            hits.sort_unstable();
            hits.dedup_by_key(|hit| hit.canary);
        }
        hits
    }

    fn look(&self, bytes: &[u8], depth: u32, budget: &mut usize, hits: &mut Vec<Hit>) {
        let plain = unescaped(bytes);
        let bare: Vec<u8> = plain.iter().filter(|b| !is_separator(**b)).map(u8::to_ascii_uppercase).collect();
        self.scan(View::Bare, &bare, hits);
        let exact: Vec<u8> = plain
            .iter()
            .filter(|b| !b.is_ascii_whitespace())
            .map(|b| match b {
                b'-' => b'+',
                b'_' => b'/',
                b => *b,
            })
            .collect();
        self.scan(View::Exact, &exact, hits);
        if depth == DEEPEST {
            return;
        }
        for run in exact.split(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))).filter(|run| run.len() >= SHORTEST_RUN) {
            if run.len() > *budget {
                return;
            }
            *budget -= run.len();
            let whole = &run[..run.len() - usize::from(run.len() % 4 == 1)];
            let lenient = base64::engine::GeneralPurpose::new(
                &base64::alphabet::STANDARD,
                base64::engine::GeneralPurposeConfig::new()
                    .with_decode_allow_trailing_bits(true)
                    .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
            );
            if let Ok(inner) = lenient.decode(whole) {
                self.look_inside(&inner, depth, budget, hits, "inside base64");
            }
            if run.len() % 2 == 0 && run.iter().all(u8::is_ascii_hexdigit) {
                let inner: Vec<u8> = run.chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect();
                self.look_inside(&inner, depth, budget, hits, "inside hexadecimal");
            }
        }
    }

    fn look_inside(&self, inner: &[u8], depth: u32, budget: &mut usize, hits: &mut Vec<Hit>, how: &'static str) {
        let before = hits.len();
        self.look(inner, depth + 1, budget, hits);
        hits[before..].iter_mut().for_each(|hit| hit.how = how);
    }

    fn scan(&self, view: View, text: &[u8], hits: &mut Vec<Hit>) {
        let mut last = 0u64;
        for (at, byte) in text.iter().enumerate() {
            last = last << 8 | u64::from(*byte);
            if at + 1 < HEAD || self.perhaps[place(last) / 64] >> (place(last) % 64) & 1 == 0 {
                continue;
            }
            for form in self.by_head.get(&(view, last)).into_iter().flatten() {
                let Form { text: form, canary, how } = &self.forms[*form as usize];
                if text[at + 1 - HEAD..].starts_with(form) {
                    hits.push(Hit { canary: *canary, how });
                }
            }
        }
    }
}

/// Canaries of all scripts, as they are: what one station said must not come out on another's connection either.
#[derive(Default)]
pub(super) struct Others {
    order: VecDeque<Vec<u8>>,
    by_head: HashMap<u64, Vec<Vec<u8>>>,
}

impl Others {
    /// Remembers a canary, and forgets the oldest beyond the bound. Short ones are not remembered: among so many, one would turn up by chance.
    pub(super) fn add(&mut self, canary: &str) {
        let text = bare(canary).into_bytes();
        if text.len() < SHORTEST_OTHER || self.by_head.get(&head(&text)).is_some_and(|all| all.contains(&text)) {
            return;
        }
        if self.order.len() >= MAX_OTHERS
            && let Some(oldest) = self.order.pop_front()
            && let Entry::Occupied(mut all) = self.by_head.entry(head(&oldest))
        {
            all.get_mut().retain(|text| *text != oldest);
            if all.get().is_empty() {
                all.remove();
            }
        }
        self.by_head.entry(head(&text)).or_default().push(text.clone());
        self.order.push_back(text);
    }

    /// A canary that stands in `bytes`.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<String> {
        let plain = unescaped(bytes);
        let bare: Vec<u8> = plain.iter().filter(|b| !is_separator(**b)).map(u8::to_ascii_uppercase).collect();
        let mut last = 0u64;
        bare.iter().enumerate().find_map(|(at, byte)| {
            last = last << 8 | u64::from(*byte);
            let from = (at + 1).checked_sub(HEAD)?;
            let found = self.by_head.get(&last)?.iter().find(|text| bare[from..].starts_with(text))?;
            Some(String::from_utf8_lossy(found).into_owned())
        })
    }
}

fn head(text: &[u8]) -> u64 {
    text[..HEAD].iter().fold(0, |head, b| head << 8 | u64::from(*b))
}

fn place(head: u64) -> usize {
    (head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize
}

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0 | b':' | b'-' | b'.' | b'_' | b'*' | b'/' | b'\\' | b'+' | b'@')
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10) & 15,
    }
}

/// With the escapes of JSON, of JSON in JSON, and of URLs undone.
fn unescaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Cow::Borrowed(bytes);
    for _ in 0..DEEPEST {
        if memchr::memchr2(b'\\', b'%', &text).is_none() {
            break;
        }
        text = Cow::Owned(unescaped_once(&text));
    }
    text
}

fn unescaped_once(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let hex = |digits: Option<&[u8]>| u32::from_str_radix(std::str::from_utf8(digits?).ok()?, 16).ok();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'\\', Some(b'u')) => {
                if let Some(code) = hex(bytes.get(at + 2..at + 6)) {
                    let letter = char::from_u32(code).unwrap_or('\u{fffd}');
                    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    at += 6;
                    continue;
                }
                out.push(b'\\');
            }
            (b'\\', Some(next @ (b'\\' | b'"' | b'/'))) => {
                out.push(*next);
                at += 1;
            }
            (b'%', Some(_)) => {
                if let Some(code) = hex(bytes.get(at + 1..at + 3)) {
                    out.push(code as u8);
                    at += 2;
                } else {
                    out.push(b'%');
                }
            }
            (byte, _) => out.push(*byte),
        }
        at += 1;
    }
    out
}

/// The forms of an identifier.
fn forms(text: &str) -> Vec<(View, Vec<u8>, &'static str)> {
    let canonical = bare(text);
    let mut forms =
        vec![(View::Bare, canonical.clone().into_bytes(), "as it is"), (View::Bare, canonical.bytes().rev().collect(), "backwards")];
    let mut spellings = vec![text.to_owned(), canonical.clone(), canonical.to_lowercase()];
    spellings.sort();
    spellings.dedup();
    for spelling in &spellings {
        let wide: Vec<u8> = spelling.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (bytes, how) in [(spelling.as_bytes(), "in hexadecimal"), (&wide, "as UTF-16 in hexadecimal")] {
            forms.push((View::Bare, hex(bytes).into_bytes(), how));
        }
        coded(&mut forms, spelling.as_bytes(), "in base64");
        coded(&mut forms, &wide, "as UTF-16 in base64");
        coded(&mut forms, &wide[1..], "as UTF-16 in base64");
        coded(&mut forms, hex(spelling.as_bytes()).as_bytes(), "as base64 of hexadecimal");
        // An unkeyed digest is no pseudonym: all card numbers can be tried.
        let digests = [
            (sha2::Sha256::digest(spelling.as_bytes()).to_vec(), "as an unkeyed SHA-256"),
            (ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, spelling.as_bytes()).as_ref().to_vec(), "as an unkeyed SHA-1"),
        ];
        for (digest, how) in digests {
            forms.push((View::Bare, hex(&digest[..8]).to_uppercase().into_bytes(), how));
            forms.push((View::Exact, STANDARD_NO_PAD.encode(&digest[..9]).into_bytes(), how));
        }
    }
    let is_hex = canonical.len().is_multiple_of(2) && canonical.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex && matches!(canonical.len(), 8 | 12 | 14 | 20) {
        let raw: Vec<u8> = canonical.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect();
        let backwards: Vec<u8> = raw.iter().rev().copied().collect();
        forms.push((View::Bare, hex(&backwards).into_bytes(), "in reversed byte order"));
        for order in [&raw, &backwards] {
            let number = order.iter().fold(0u128, |number, b| number << 8 | u128::from(*b)).to_string();
            if number.len() >= FEWEST_FIGURES {
                forms.push((View::Bare, number.into_bytes(), "as a decimal number"));
            }
            if order.len() >= 7 {
                coded(&mut forms, order, "as bytes in base64");
            }
        }
    }
    if canonical.len() == 10
        && canonical.bytes().all(|b| b.is_ascii_digit())
        && let Ok(number) = canonical.parse::<u32>()
    {
        forms.push((View::Bare, hex(&number.to_be_bytes()).into_bytes(), "as the hexadecimal number"));
        forms.push((View::Bare, hex(&number.to_le_bytes()).into_bytes(), "as the hexadecimal number, reversed"));
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

/// The letters of base64 that depend on nothing but `bytes`, for each of the three places where a group can begin.
fn coded(forms: &mut Vec<(View, Vec<u8>, &'static str)>, bytes: &[u8], how: &'static str) {
    for lead in 0..3 {
        let framed = [&[b' '; 3][..lead], bytes].concat();
        let text = STANDARD_NO_PAD.encode(&framed).into_bytes();
        forms.push((View::Exact, text[(lead * 8).div_ceil(6)..framed.len() * 8 / 6].to_vec(), how));
    }
}

#[cfg(test)]
mod tests {
    use super::super::canary::Class;
    use super::super::script::End;
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    fn finder(text: &str) -> Finder {
        Finder::new(&[Canary { text: text.into(), class: Class::Card, of: End::Station, harmless: false }], |_, _| true)
    }

    #[test]
    fn finds_a_card_in_every_form() {
        let finder = finder("04:a2:2b:6A:5C:11:80");
        let upper = "04A22B6A5C1180";
        let wide: Vec<u8> = upper.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let digest = sha2::Sha256::digest(upper.as_bytes());
        for form in [
            "x04a22b6a5c1180x".to_owned(),
            "04-A2-2B 6A.5C_11*80".into(),
            r"04\u0041\u00322B6A5C1180".into(),
            r#"{\"data\":\"04\\u003aA2\\u003a2B6A5C1180\"}"#.into(),
            "04%41%32%3A2B6A5C1180".into(),
            "0811C5A6B22A40".into(),
            "80115C6A2BA204".into(),
            hex(upper.as_bytes()),
            hex(upper.to_lowercase().as_bytes()).to_lowercase(),
            u64::from_str_radix(upper, 16).unwrap().to_string(),
            hex(&wide),
            STANDARD.encode(&wide),
            STANDARD.encode(format!("ab{upper}")),
            URL_SAFE.encode(format!("??>{upper}>>")),
            STANDARD.encode(STANDARD.encode(format!("card {upper}"))),
            STANDARD.encode(hex(upper.as_bytes())),
            STANDARD.encode(format!("{{\"id\":\"{}\"}}", hex(upper.as_bytes()).to_lowercase())),
            STANDARD.encode([4, 0xa2, 0x2b, 0x6a, 0x5c, 0x11, 0x80]),
            hex(&digest),
            hex(&digest)[..20].to_lowercase(),
            STANDARD.encode(digest),
        ] {
            assert!(!finder.find(form.as_bytes()).is_empty(), "{form}");
        }
        assert!(!finder.find(&wide).is_empty());
    }

    #[test]
    fn the_oldest_of_other_scripts_are_forgotten() {
        let mut others = Others::default();
        let card = |n: usize| format!("04:{n:012X}");
        (0..=MAX_OTHERS).for_each(|n| others.add(&card(n)));
        others.add("04A2B3C4");
        assert_eq!(others.find(card(MAX_OTHERS).to_lowercase().as_bytes()), Some(card(MAX_OTHERS).replace(':', "")));
        assert_eq!((others.find(card(0).as_bytes()), others.find(b"04A2B3C4")), (None, None));
        assert_eq!(others.by_head.values().map(Vec::len).sum::<usize>(), MAX_OTHERS);
    }

    #[test]
    fn finds_nothing_where_nothing_is() {
        let finder = finder("04A22B6A5C1180");
        for clean in ["", "04A22B6A5C118", "Z0K3V9QF6T2M8XC4R7HA", "2026-11-24T10:00:00Z", "04A22B\",\"6A5C1180"] {
            assert!(finder.find(clean.as_bytes()).is_empty(), "{clean}");
        }
    }

    #[test]
    fn the_number_of_a_card_is_found_as_its_hexadecimal() {
        assert!(!finder("2864434397").find(b"[\"AABBCCDD\"]").is_empty());
        assert!(!finder("2864434397").find(b"DD:CC:BB:AA").is_empty());
    }
}
