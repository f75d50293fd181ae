//! Roots: how an epoch's key and the standing key are made, wrapped and opened. Where they are kept is another room's business.

use super::derive::Mac256;
use crate::identity::Epoch;
use crate::pseudonym::Alphabet;
use crate::seal::{Entropy, KEY, Kek, SealError, WRAPPED, WrappingKey};
use crate::secret::Sensitive;
use std::fmt;

/// Epochs live at one time: one in use, one ending, one prepared. Three of ten digits, so a digit's return is years away.
pub const LIVE_EPOCHS: usize = 3;

/// Why a set of epochs cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None, or more than [`LIVE_EPOCHS`].
    #[error("there must be one to three live epochs; destroy one first")]
    TooMany,
    /// Two live epochs have counters that end in the same digit.
    #[error("a live epoch already has this digit; destroy it first")]
    DigitTaken,
    /// One is prepared already. Of two, one would never be current, and a list that was converted to it would be of no use.
    #[error("an epoch is prepared already: rotate to it, or destroy it")]
    Prepared,
    /// The epoch does not exist or was destroyed.
    #[error("no such live epoch")]
    NotLive,
    /// A wrapped key does not open, or no random bytes could be had.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The root of one epoch: 32 random bytes, derived from nothing.
pub struct EpochKey {
    epoch: Epoch,
    alphabet: Alphabet,
    root: Sensitive<[u8; KEY]>,
}

impl EpochKey {
    /// Draws a new root.
    pub fn generate(epoch: Epoch, alphabet: Alphabet, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        Ok(Self { epoch, alphabet, root: draw(entropy)? })
    }

    /// Opens a root wrapped by [`EpochKey::wrap`]: same KEK, same epoch, same alphabet, or [`SealError::Broken`].
    pub fn unwrap(epoch: Epoch, alphabet: Alphabet, wrapped: &[u8], kek: &Kek) -> Result<Self, KeyError> {
        let root = kek.wrapping().unwrap(wrapped, &place(epoch, alphabet))?;
        Ok(Self { epoch, alphabet, root })
    }

    /// The root, wrapped for its row.
    pub fn wrap(&self, kek: &Kek, entropy: &dyn Entropy) -> Result<[u8; WRAPPED], KeyError> {
        Ok(kek.wrapping().wrap(&self.root, &place(self.epoch, self.alphabet), entropy)?)
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The alphabet of its codes for the CSMS: chosen at birth, so that a code never changes within an epoch.
    pub fn alphabet(&self) -> Alphabet {
        self.alphabet
    }

    /// What its codes carry: the counter modulo 10.
    pub fn digit(&self) -> u32 {
        self.epoch.0 % 10
    }

    pub(super) fn root(&self) -> &Sensitive<[u8; KEY]> {
        &self.root
    }
}

/// The key of digests that must outlive epochs: a station's serial number gives the same code next year.
pub struct StandingKey {
    root: Sensitive<[u8; KEY]>,
    mac: Mac256,
}

/// Label of the standing key's row.
const STANDING: &[u8] = b"v1|standing";

impl StandingKey {
    /// Draws a new one.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, KeyError> {
        Ok(Self::from_root(draw(entropy)?))
    }

    /// Opens one wrapped by [`StandingKey::wrap`].
    pub fn unwrap(wrapped: &[u8], kek: &Kek) -> Result<Self, KeyError> {
        Ok(Self::from_root(kek.wrapping().unwrap(wrapped, STANDING)?))
    }

    /// The key, wrapped for its row.
    pub fn wrap(&self, kek: &Kek, entropy: &dyn Entropy) -> Result<[u8; WRAPPED], KeyError> {
        Ok(kek.wrapping().wrap(&self.root, STANDING, entropy)?)
    }

    fn from_root(root: Sensitive<[u8; KEY]>) -> Self {
        let mac = Mac256::new(root.expose()); // this key does one thing, so it needs no derivation
        Self { root, mac }
    }

    /// The key that wraps what outlives epochs.
    pub(super) fn wrapping(&self, kek: &Kek) -> WrappingKey {
        super::derive::standing_wrapping(&self.root, kek)
    }

    /// A digest under a label; every part's length is absorbed too, so that no two lists of parts give one text.
    pub(super) fn digest(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut lengths = Vec::with_capacity(8 * (parts.len() + 1));
        lengths.extend_from_slice(&(label.len() as u64).to_be_bytes());
        for part in parts {
            lengths.extend_from_slice(&(part.len() as u64).to_be_bytes());
        }
        self.mac.of(&[&[&lengths[..], label.as_bytes()], parts].concat())
    }
}

fn draw(entropy: &dyn Entropy) -> Result<Sensitive<[u8; KEY]>, SealError> {
    let mut root = [0; KEY];
    entropy.fill(&mut root)?;
    Ok(Sensitive::new(root))
}

fn place(epoch: Epoch, alphabet: Alphabet) -> Vec<u8> {
    format!("v1|epoch|{}|{}", epoch.0, char::from(alphabet.mark())).into_bytes()
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochKey({}, [sensitive])", self.epoch.0)
    }
}

impl fmt::Debug for StandingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandingKey([sensitive])")
    }
}
