//! Clear identifiers and their canonical form. Few rooms may name these types; reporting rooms may not (I7).
//!
//! One card must give one code, whatever the station, the protocol version and the spelling: so the class is told from the
//! value, not from the declared type, and separators, case and an eMAID's check digit do not count.

mod canonical;
mod check_digit;

use crate::pseudonym::Pseudonym;
use crate::secret::Sensitive;
pub(crate) use canonical::is_older_contract;
pub use canonical::{HEX_COUNTRIES, SEPARATORS};
use std::fmt;

/// What an identifier is, told from its value, because 1.6 has no type and one card must give one code everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The UID of a card in hexadecimal, with or without separators: 4, 7 or 10 bytes (ISO 14443), or 8 (ISO 15693).
    Rfid,
    /// An e-mobility account identifier (ISO 15118 / eMI3), with or without separators and check digit, or a contract number of the older form
    /// (DIN SPEC 91286). Both begin with country and provider.
    Emaid,
    /// A vehicle: MAC address, EVCCID or VIN, as declared by a 2.x token type.
    Vehicle,
    /// A PIN typed by the driver. Coded, but never stored.
    KeyCode,
    /// A reference chosen by a station (2.x transaction id, file name) that might embed one of the above.
    Reference,
    /// Anything else.
    Other,
}

impl Class {
    /// The byte that stands before the canonical form in the MAC and in a vault record's binding. Never changes: it is part of every code.
    pub fn byte(self) -> u8 {
        match self {
            Self::Rfid => b'R',
            Self::Emaid => b'E',
            Self::Vehicle => b'V',
            Self::KeyCode => b'K',
            Self::Reference => b'F',
            Self::Other => b'O',
        }
    }

    /// The class a byte stands for; `None` for any other byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Rfid, Self::Emaid, Self::Vehicle, Self::KeyCode, Self::Reference, Self::Other].into_iter().find(|class| class.byte() == byte)
    }

    /// The declaration under which an identifier of this class is read back from its original spelling.
    pub(crate) fn declared(self) -> Declared {
        match self {
            Self::Vehicle => Declared::Vehicle,
            Self::KeyCode => Declared::KeyCode,
            Self::Reference => Declared::Reference,
            Self::Rfid | Self::Emaid | Self::Other => Declared::Undeclared,
        }
    }
}

/// What a 2.x message says the token is; `Undeclared` in 1.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Declared {
    /// Nothing was said, or a type that does not change the treatment.
    Undeclared,
    /// `KeyCode`.
    KeyCode,
    /// `MacAddress`, `EVCCID` or `VIN`.
    Vehicle,
    /// A station's own reference (treatment `ref`).
    Reference,
}

/// A clear identifier in canonical form, with the spelling it was seen in.
#[derive(Clone)]
pub struct Identifier {
    /// Its class.
    pub class: Class,
    /// The canonical bytes that go into the MAC, after the class byte.
    pub canonical: Sensitive<String>,
    /// As it stood in the message, unescaped.
    pub original: Sensitive<String>,
}

/// Two identifiers are equal when they are the same card or contract, however each was spelled.
impl PartialEq for Identifier {
    fn eq(&self, other: &Self) -> bool {
        // The canonical form is what equality means here; nothing leaves.
        self.class == other.class && self.canonical.expose() == other.canonical.expose()
    }
}

impl Eq for Identifier {}

/// Prints the class and nothing of the value.
impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({:?}, [sensitive])", self.class)
    }
}

/// A pseudonym that a frame is about to carry up, with what it stands for: recorded durably before the frame leaves (I4).
#[derive(Clone)]
pub struct Sighting {
    /// The code in the CSMS domain.
    pub code: Pseudonym,
    /// What it stands for.
    pub identifier: Identifier,
}

/// Prints the class only: a code beside the moment of a log line would follow a driver.
impl fmt::Debug for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sighting({:?}, [sensitive])", self.identifier.class)
    }
}

/// The live epochs, told apart by a counter that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u32);

/// What the treatment needs to know about codes: pure arithmetic on keys, no look-up.
pub trait Codes: Send + Sync {
    /// The code of an identifier in the CSMS domain: in the given epoch if that epoch is live, else in the current one.
    fn code(&self, identifier: &Identifier, epoch: Option<Epoch>) -> Pseudonym;
    /// If `text` (any case, `-`, space and `:` ignored) is a code of ours whose keyed check is right in a live epoch of the CSMS domain:
    /// that code in upper case.
    fn recognise(&self, text: &str) -> Option<Pseudonym>;
    /// The epoch a recognised code belongs to.
    fn epoch_of(&self, code: &Pseudonym) -> Option<Epoch>;
    /// The epoch in which new codes are made.
    fn current(&self) -> Epoch;
    /// Grows each time the live epochs change. As long as it stays, the same identifier and epoch give the same code, and the same texts are
    /// recognised.
    fn generation(&self) -> u64;
    /// A keyed digest of a device identifier or message id, as 16 Crockford base32 characters: stable, one way, never stored. `label` separates uses.
    fn digest(&self, label: &str, text: &str) -> [u8; 16];
}

/// What the treatment reads from the vault while it works on a frame.
pub trait Reveal {
    /// The original that a code stands for, in the spelling it was first seen in. `None` if unknown or erased.
    fn reveal(&self, code: &Pseudonym) -> Option<Sensitive<String>>;
    /// The epoch that a running transaction of this station was begun in; `None` if unknown.
    fn pinned(&self, station: &str, transaction: &str) -> Option<Epoch>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_bytes_are_distinct_and_read_back() {
        for byte in 0..=u8::MAX {
            if let Some(class) = Class::from_byte(byte) {
                assert_eq!(class.byte(), byte);
                assert_eq!(
                    Identifier::from_wire("x", class.declared()).class == class,
                    class.declared() != Declared::Undeclared || class == Class::Other
                );
            }
        }
        assert_eq!((0..=u8::MAX).filter_map(Class::from_byte).count(), 6);
    }

    #[test]
    fn printing_shows_no_value() {
        let identifier = Identifier::from_wire("04A2B3C4", Declared::Undeclared);
        let code = Pseudonym::from_text("Z0AAAA").unwrap();
        let printed = format!("{identifier:?} {:?} {:?}", identifier.original, Sighting { code, identifier: identifier.clone() });
        assert!(!printed.contains("04A2") && !printed.contains("Z0AA"), "{printed}");
    }
}
