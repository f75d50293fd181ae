//! The leak check: every identifier of the demo's world is looked for in everything that is not the station's own socket, in the
//! spellings people use. It keeps no text: what it is shown is searched at once and forgotten.

use super::cast::Secret;
use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the letters of an identifier are separated with, and JSON's escape of a solidus.
const SEPARATORS: &[u8] = b":- *._\\";
/// The longest file that is read whole: the demo's own files are far smaller.
const LONGEST_FILE: u64 = 256 << 20;

/// Finds identifiers in any bytes.
pub(super) struct Finder {
    names: Vec<&'static str>,
    /// Over text without separators, upper case: the identifier itself, and its letters in hexadecimal.
    bare: AhoCorasick,
    /// For each pattern of `bare`: whose it is, and the spelling.
    bare_of: Vec<(usize, &'static str)>,
    /// Over the bytes as they are: base64, at each of the three places where a group can begin.
    coded: AhoCorasick,
    coded_of: Vec<usize>,
}

/// One identifier found where it must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// Its place in the list that the finder was made of.
    pub(super) secret: usize,
    /// How it was spelled.
    pub(super) spelling: &'static str,
}

impl Finder {
    /// A finder of these identifiers.
    ///
    /// # Errors
    /// When the patterns are too many for the search automaton, which a dozen stations are not.
    pub(super) fn new(secrets: &[Secret]) -> Result<Self, aho_corasick::BuildError> {
        let (mut bare, mut bare_of, mut coded, mut coded_of) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, secret) in secrets.iter().enumerate() {
            let canonical = fold(secret.text.as_bytes());
            let spellings: BTreeSet<Vec<u8>> =
                [secret.text.as_bytes().to_vec(), canonical.clone(), canonical.to_ascii_lowercase()].into_iter().collect();
            bare.push(canonical);
            bare_of.push((at, "as text"));
            for spelling in &spellings {
                bare.push(spelling.iter().map(|b| format!("{b:02X}")).collect::<String>().into_bytes());
                bare_of.push((at, "in hexadecimal"));
                for lead in 0..3 {
                    let framed = [vec![b'x'; lead], spelling.clone()].concat();
                    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                        // Only the characters that depend on nothing but the identifier.
                        let text = engine.encode(&framed).into_bytes();
                        let (from, to) = ((lead * 8).div_ceil(6), framed.len() * 8 / 6);
                        coded.push(text[from..to].to_vec());
                        coded_of.push(at);
                    }
                }
            }
        }
        let names = secrets.iter().map(|secret| secret.what).collect();
        Ok(Self { names, bare: AhoCorasick::new(bare)?, bare_of, coded: AhoCorasick::new(coded)?, coded_of })
    }

    /// Every identifier that stands in `bytes`, once for each spelling.
    pub(super) fn find(&self, bytes: &[u8]) -> BTreeSet<Found> {
        let folded = fold(bytes);
        let bare = self.bare.find_overlapping_iter(&folded).map(|hit| self.bare_of[hit.pattern().as_usize()]);
        let mut found: BTreeSet<Found> = bare.map(|(secret, spelling)| Found { secret, spelling }).collect();
        let coded = self.coded.find_overlapping_iter(bytes).map(|hit| self.coded_of[hit.pattern().as_usize()]);
        found.extend(coded.map(|secret| Found { secret, spelling: "in base64" }));
        found
    }

    /// How many identifiers it looks for.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

/// Upper case, without separators, and with JSON's `\u00XX` undone.
fn fold(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = (byte == b'\\').then(|| tail.strip_prefix(b"u00")).flatten().and_then(|hex| hex.get(..2));
        let byte = match escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                rest = &tail[5..];
                byte
            }
            None => byte,
        };
        if !SEPARATORS.contains(&byte) {
            out.push(byte.to_ascii_uppercase());
        }
    }
    out
}

/// What was searched in one place, and what was found there.
#[derive(Debug, Default)]
pub(super) struct Searched {
    pub(super) pieces: u64,
    pub(super) bytes: u64,
    pub(super) found: BTreeSet<Found>,
}

/// Everything that was searched, by place.
#[derive(Debug, Default)]
pub(super) struct Search {
    places: BTreeMap<&'static str, Searched>,
}

impl Search {
    /// Searches a piece of what `place` got to see.
    pub(super) fn look(&mut self, finder: &Finder, place: &'static str, bytes: &[u8]) {
        let searched = self.places.entry(place).or_default();
        searched.pieces += 1;
        searched.bytes += bytes.len() as u64;
        searched.found.extend(finder.find(bytes));
    }

    /// Searches all files below a directory, whose names count as content.
    ///
    /// # Errors
    /// A file that cannot be read: then the check is not complete.
    pub(super) fn files(&mut self, finder: &Finder, place: &'static str, dir: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.files(finder, place, &entry.path())?;
                continue;
            }
            // The database's log goes when its last connection does.
            let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
            let length = match entry.metadata() {
                Err(e) if gone(&e) => continue,
                found => found?.len(),
            };
            if length <= LONGEST_FILE {
                let mut content = match std::fs::read(entry.path()) {
                    Err(e) if gone(&e) => continue,
                    read => read?,
                };
                content.extend_from_slice(entry.file_name().as_encoded_bytes());
                self.look(finder, place, &content);
            } else {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(())
    }

    /// What was searched, place by place.
    pub(super) fn places(&self) -> impl Iterator<Item = (&'static str, &Searched)> {
        self.places.iter().map(|(place, searched)| (*place, searched))
    }

    /// Words for what was found: the kind of identifier and the spelling, never the identifier.
    pub(super) fn leaks(&self, finder: &Finder) -> Vec<String> {
        let words = |place: &str, found: &Found| format!("{} {} in {place}", finder.names[found.secret], found.spelling);
        self.places.iter().flat_map(|(place, searched)| searched.found.iter().map(move |found| words(place, found))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: Secret = Secret { what: "card", text: "04:a2:2b:6A:5C:11:80" };
    const CONTRACT: Secret = Secret { what: "contract", text: "NL-TNM-C00122045-K" };

    fn finds(text: &str) -> Vec<&'static str> {
        Finder::new(&[CARD]).unwrap().find(text.as_bytes()).iter().map(|found| found.spelling).collect()
    }

    #[test]
    fn finds_every_spelling_of_a_planted_card() {
        for planted in
            ["04A22B6A5C1180", "x04-a2-2b-6a-5c-11-80x", "04 A2 2B.6a*5c_11:80", r"04\u00412\u0032B6A5C1180", "04A2\\u003a2B6A5C1180"]
        {
            assert_eq!(finds(planted), ["as text"], "{planted}");
        }
        let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
        for spelling in ["04A22B6A5C1180", "04a22b6a5c1180", CARD.text] {
            assert_eq!(finds(&hex(&format!("before {spelling} after"))), ["in hexadecimal"], "{spelling}");
            for lead in ["", "a", "bc", "def"] {
                let text = format!("{lead}{spelling}, and more");
                assert_eq!(finds(&STANDARD_NO_PAD.encode(&text)), ["in base64"], "{text}");
                assert_eq!(finds(&URL_SAFE_NO_PAD.encode(&text)), ["in base64"], "{text}");
            }
        }
    }

    #[test]
    fn finds_nothing_where_nothing_is() {
        for clean in ["", "04A22B6A5C118", "Z0K3V9QF6T2M8XC4R7HA", "2026-11-24T10:00:00Z", "04A22B\",\"6A5C1180"] {
            assert!(finds(clean).is_empty(), "{clean}");
        }
    }

    #[test]
    fn a_leak_in_a_file_is_named_by_kind_and_place_and_never_quoted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        std::fs::write(dir.path().join("deep/clean"), b"\x00\xff nothing").unwrap();
        let finder = Finder::new(&[CARD, CONTRACT]).unwrap();
        let mut search = Search::default();
        search.files(&finder, "the data directory", dir.path()).unwrap();
        assert!(search.leaks(&finder).is_empty());
        std::fs::write(dir.path().join("deep/trace-nltnmc00122045k.log"), b"\x00\xff").unwrap();
        search.files(&finder, "the data directory", dir.path()).unwrap();
        assert_eq!(search.leaks(&finder), ["contract as text in the data directory"]);
        assert_eq!(search.places().map(|(_, searched)| searched.pieces).sum::<u64>(), 3);
    }
}
