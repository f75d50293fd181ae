//! Who is who in a file of sessions: digests under a secret that is drawn for one run, stays in memory and is wiped.

use super::files::SystemEntropy;
use crate::identity::{Declared, Identifier};
use crate::keys::PeriodKey;
use crate::seal::SealError;

/// Names the people of a file.
pub struct Guests(PeriodKey);

impl Guests {
    /// Draws a secret.
    ///
    /// # Errors
    /// No random bytes.
    pub fn new() -> Result<Self, SealError> {
        PeriodKey::generate("file", &SystemEntropy::new()).map(Self)
    }

    /// Whoever has a card or contract, in whatever spelling.
    pub fn digest(&self, text: &str) -> [u8; 16] {
        self.0.person(&Identifier::from_wire(text, Declared::Undeclared))
    }

    /// A session by its id.
    pub fn session(&self, id: &str) -> [u8; 16] {
        self.0.session(id)
    }
}
