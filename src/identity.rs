//! Clear identifiers and their canonical form. Few rooms may name these types; reporting rooms may not (I7).

use crate::pseudonym::Pseudonym;
use crate::secret::Sensitive;

/// What an identifier is, told from its value, because 1.6 has no type and one card must give one code everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The UID of a card: 4, 7 or 10 bytes in hexadecimal, with or without separators.
    Rfid,
    /// An e-mobility account identifier (ISO 15118 / eMI3), with or without separators and check digit.
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

/// A pseudonym that a frame is about to carry up, with what it stands for: recorded durably before the frame leaves (I4).
#[derive(Clone)]
pub struct Sighting {
    /// The code in the CSMS domain.
    pub code: Pseudonym,
    /// What it stands for.
    pub identifier: Identifier,
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
