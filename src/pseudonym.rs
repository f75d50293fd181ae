//! The pseudonym: a code that stands for a driver's identifier in one recipient's domain and one epoch. Anyone may name it.

use std::fmt;

/// A pseudonym as it goes on the wire: upper case, `Z`, epoch digit, body, check; 20 characters in the CSMS domain, 31 in
/// e-MSP domains. Holding one says nothing about whether its check is right: that needs the keys ([`Codes::recognise`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pseudonym {
    length: u8,
    text: [u8; 31],
}

impl Pseudonym {
    /// Takes 1 to 31 upper-case ASCII letters or digits. `None` for anything else.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let fits = (1..=31).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        fits.then(|| {
            let mut text = [0; 31];
            text[..bytes.len()].copy_from_slice(bytes);
            Self { length: bytes.len() as u8, text }
        })
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
