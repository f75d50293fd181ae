//! The pseudonym: a code that stands for a driver's identifier in one recipient's domain and one epoch. Anyone may name it.
//!
//! Two alphabets, both case-insensitive on the wire and upper case here:
//!
//! | alphabet | text | length |
//! |---|---|---|
//! | base 32 (Crockford: no I, L, O, U) | `Z`, epoch digit, body of 15 or 26 (75 or 130 bits), check of 3 (15 bits) | 20 (CSMS), 31 (e-MSPs) |
//! | hex | `F`, epoch digit, body of 14 (56 bits), check of 4 (16 bits) | 20 (CSMS only) |
//!
//! `Z` and a digit begin neither a hexadecimal UID nor an eMAID (two letters). A hex code has the shape of a 10-byte UID: only
//! the keyed check tells them apart (see `keys`).

use std::fmt;

/// Letters of a base-32 code in the order of their values (Crockford).
pub const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of a hex code in the order of their values.
pub const HEX: &[u8; 16] = b"0123456789ABCDEF";
/// Characters of a code for the CSMS: what a 1.6 idTag holds.
pub const CSMS_LENGTH: usize = 20;
/// Characters of a code for an e-MSP or for statistics: within OCPI's CiString(36).
pub const EMSP_LENGTH: usize = 31;

/// A pseudonym as it goes on the wire: upper case, `Z`, epoch digit, body, check; 20 characters in the CSMS domain, 31 in
/// e-MSP domains. Holding one says nothing about whether its check is right: that needs the keys
/// ([`Codes::recognise`](crate::identity::Codes::recognise)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pseudonym {
    length: u8,
    text: [u8; EMSP_LENGTH],
}

/// The alphabet of an epoch's codes for the CSMS. Codes for e-MSPs are always base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Alphabet {
    /// `Z` + digit + Crockford base 32. The default: 75 bits of code, 15 of check.
    #[default]
    Base32,
    /// `F` + digit + hexadecimal, for back ends that refuse anything else: 56 bits of code, 16 of check.
    Hex,
}

impl Alphabet {
    /// The character every code of this alphabet begins with.
    pub fn mark(self) -> u8 {
        match self {
            Self::Base32 => b'Z',
            Self::Hex => b'F',
        }
    }

    /// Characters of the keyed check at the end of a code.
    pub fn check_length(self) -> usize {
        match self {
            Self::Base32 => 3,
            Self::Hex => 4,
        }
    }

    /// Bits in one character.
    pub(crate) fn bits(self) -> usize {
        match self {
            Self::Base32 => 5,
            Self::Hex => 4,
        }
    }

    /// Appends the first `length` characters' worth of bits of `bytes`, most significant first.
    pub(crate) fn spell(self, bytes: &[u8], length: usize, to: &mut Vec<u8>) {
        let digits: &[u8] = match self {
            Self::Base32 => BASE32,
            Self::Hex => HEX,
        };
        let bits = self.bits();
        for place in 0..length {
            let (byte, shift) = (place * bits / 8, place * bits % 8);
            let pair = u16::from(bytes[byte]) << 8 | u16::from(bytes.get(byte + 1).copied().unwrap_or(0));
            let value = usize::from(pair << shift >> (16 - bits));
            to.push(digits[value]);
        }
    }
}

impl Pseudonym {
    /// Takes 1 to 31 upper-case ASCII letters or digits. `None` for anything else.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    /// [`Pseudonym::from_text`], from bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let fits = (1..=EMSP_LENGTH).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        fits.then(|| {
            let mut text = [0; EMSP_LENGTH];
            text[..bytes.len()].copy_from_slice(bytes);
            Self { length: bytes.len() as u8, text }
        })
    }

    /// Reads what may be a code as people and systems write it: any case, with `-`, `:`, spaces, and (Crockford) `I` or `L` for `1` and `O` for
    /// `0`. `None` if what remains has not the shape of a code of 20 or 31 characters ([`Pseudonym::looks_like`]).
    pub fn normalised(text: &str) -> Option<Self> {
        // Most texts are told by their first letter.
        let mark = text.bytes().find(|b| !matches!(b, b'-' | b':' | b' '))?;
        if !matches!(mark, b'Z' | b'z' | b'F' | b'f') {
            return None;
        }
        let mut letters = [0; EMSP_LENGTH];
        let mut length = 0;
        for byte in text.bytes() {
            let letter = match byte.to_ascii_uppercase() {
                b'-' | b':' | b' ' => continue,
                b'I' | b'L' => b'1',
                b'O' => b'0',
                letter => letter,
            };
            *letters.get_mut(length)? = letter; // longer than any code: not one
            length += 1;
        }
        Self::from_bytes(&letters[..length]).filter(Self::has_shape)
    }

    /// Whether `text` has the shape of a code, in any spelling. Says nothing about its check.
    pub fn looks_like(text: &str) -> bool {
        Self::normalised(text).is_some()
    }

    /// Whether this is spelled as a code of ours would be: mark, epoch digit, letters of the alphabet, length 20 or 31.
    pub fn has_shape(&self) -> bool {
        let text = self.as_str().as_bytes();
        let (Some(&mark), Some(digit), Some(rest)) = (text.first(), text.get(1), text.get(2..)) else { return false };
        let shape = match mark {
            b'Z' => {
                matches!(text.len(), CSMS_LENGTH | EMSP_LENGTH)
                    && rest.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase() && !b"ILOU".contains(b))
            }
            b'F' => text.len() == CSMS_LENGTH && rest.iter().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b)),
            _ => false,
        };
        shape && digit.is_ascii_digit()
    }

    /// The alphabet by its mark; `None` if it has not the shape of a code.
    pub fn alphabet(&self) -> Option<Alphabet> {
        let alphabet = if self.text[0] == Alphabet::Hex.mark() { Alphabet::Hex } else { Alphabet::Base32 };
        self.has_shape().then_some(alphabet)
    }

    /// The digit that names the epoch: its counter modulo 10. `None` if it has not the shape of a code.
    pub fn epoch_digit(&self) -> Option<u32> {
        self.has_shape().then(|| u32::from(self.text[1] - b'0'))
    }

    /// The code as text, upper case.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spells_bits_most_significant_first() {
        let mut text = Vec::new();
        Alphabet::Base32.spell(&[0b0000_1000, 0b1000_0111, 0b1111_0000], 4, &mut text);
        assert_eq!(text, b"123Z");
        text.clear();
        Alphabet::Hex.spell(&[0x12, 0xEF], 4, &mut text);
        assert_eq!(text, b"12EF");
    }

    #[test]
    fn shapes() {
        for yes in
            ["Z0123456789ABCDEFGHJ", "z0-1234-5678-9abc defg:hj", "ZO123456789ABCDEFGHJ", "Z0iL3456789ABCDEFGHJ", "F0123456789ABCDEF012"]
        {
            assert!(Pseudonym::looks_like(yes), "{yes}");
        }
        for no in [
            "",
            "Z",
            "Z0123456789ABCDEFGH",
            "Z0123456789ABCDEFGHJK",
            "ZA123456789ABCDEFGHJ",
            "Z0123456789ABCDEFGHU",
            "04A2B3C4D5E6F7",
            "F0123456789ABCDEFG12",
            "Z0123456789ABCDEFGHé",
        ] {
            assert!(!Pseudonym::looks_like(no), "{no}");
        }
        let code = Pseudonym::normalised("z7 23456789abcdefghjk").unwrap();
        assert_eq!((code.as_str(), code.epoch_digit(), code.alphabet()), ("Z723456789ABCDEFGHJK", Some(7), Some(Alphabet::Base32)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            if let Some(code) = Pseudonym::normalised(&text) {
                prop_assert_eq!(Pseudonym::normalised(code.as_str()), Some(code));
            }
        }

        #[test]
        fn every_spelling_of_a_code_is_the_code(code in "Z[0-9][0-9A-HJKMNP-TV-Z]{18}", lower in any::<bool>(), cut in 0usize..20) {
            let spelled = format!("{}-{}", &code[..cut], &code[cut..]);
            let spelled = if lower { spelled.to_ascii_lowercase() } else { spelled };
            let read = Pseudonym::normalised(&spelled).unwrap();
            prop_assert_eq!(read.as_str(), code);
        }
    }
}
