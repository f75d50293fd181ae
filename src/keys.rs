//! The keys: epochs × domains. Turns an identifier into a pseudonym by arithmetic alone. Pure: holds roots in memory, reads no file.
//!
//! ```text
//! KEK ── wraps ──▶ root R(e), 32 random bytes per epoch, independent of every other
//!                   ├─ HKDF-Expand(R, PSEUDONYM ‖ domain)   makes codes
//!                   ├─ HKDF-Expand(R, RECOGNISE ‖ domain)   makes and proves their check
//!                   ├─ HKDF-Expand(R, INDEX)                blind index of the vault
//!                   └─ HKDF(salt KEK, R, WRAP)              wraps the data keys of the epoch's vault records
//!      ── wraps ──▶ standing key S: digests that outlive epochs (devices, message ids, pins, tokens of e-MSPs)
//!                   └─ HKDF(salt KEK, S, WRAP_STANDING)     wraps the data keys of records that outlive epochs
//! ```
//!
//! Destroying a root destroys all four: the epoch's codes can be made, proved and opened no more.
//!
//! **How often a foreign text passes for a code.** The check is keyed, so nobody outside can aim for it. Of texts with the shape of a
//! base-32 code and a live epoch's digit, 2^-15 pass by chance (1 in 32,768). Of 20-digit hex texts that begin with `F` and a live digit,
//! 2^-16; of all 10-byte UIDs with one live epoch, 2^-24 (1 in 16.8 million; the first byte of a UID names the chip maker, and `F0` to `F9` are
//! not assigned). Such a card would be taken for an erased code: refused, never passed on in the clear.

mod derive;
mod epochs;
mod period;
mod share;

use crate::identity::{Class, Codes, Epoch, Identifier};
use crate::pseudonym::{Alphabet, CSMS_LENGTH, EMSP_LENGTH, Pseudonym};
use crate::seal::{Kek, WrappingKey};
use arc_swap::ArcSwap;
use derive::DomainKeys;
pub use epochs::{EpochKey, KeyError, LIVE_EPOCHS, StandingKey};
pub use period::PeriodKey;
pub use share::{DomainShare, LONGEST_SHARE, ShareError};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// For whom codes are made. No two domains share a code, so their recipients find nothing to join on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The central system. One domain for all OCPP versions: a mixed fleet shares one card list.
    Csms,
    /// One e-MSP: ISO 3166 country and OCPI party id.
    Emsp {
        /// Two letters, upper case.
        country: [u8; 2],
        /// Three letters or digits, upper case.
        party: [u8; 3],
    },
    /// Quality and statistics inside the house.
    Quality,
}

impl Domain {
    /// The domain of an e-MSP, from `NL` and `ABC` in any case. `None` unless two ASCII letters and three ASCII letters or digits.
    pub fn emsp(country: &str, party: &str) -> Option<Self> {
        let mut domain = (<[u8; 2]>::try_from(country.as_bytes()).ok()?, <[u8; 3]>::try_from(party.as_bytes()).ok()?);
        domain.0.make_ascii_uppercase();
        domain.1.make_ascii_uppercase();
        let fits = domain.0.iter().all(u8::is_ascii_uppercase) && domain.1.iter().all(u8::is_ascii_alphanumeric);
        fits.then_some(Self::Emsp { country: domain.0, party: domain.1 })
    }

    /// Characters of a code in this domain: 20 for the CSMS, 31 elsewhere.
    pub fn code_length(&self) -> usize {
        if *self == Self::Csms { CSMS_LENGTH } else { EMSP_LENGTH }
    }

    fn label(&self) -> Vec<u8> {
        match self {
            Self::Csms => b"csms".to_vec(),
            Self::Emsp { country, party } => [b"emsp:", &country[..], b"-", &party[..]].concat(),
            Self::Quality => b"quality".to_vec(),
        }
    }
}

/// The live epochs' keys and the standing key. Shared by every connection; replaced as a whole when an operator rotates.
pub struct Keyring {
    live: ArcSwap<Live>,
    /// How often `live` was replaced. It grows after the new keys are there and before [`Keyring::replace`] returns, so what was made with the old
    /// ones is at no time taken for new.
    generation: AtomicU64,
    standing: StandingKey,
    standing_wrapping: WrappingKey,
}

/// Never empty; oldest first.
struct Live {
    epochs: Vec<EpochKeys>,
    current: usize,
}

/// What one epoch's root becomes, derived once.
pub(crate) struct EpochKeys {
    pub(crate) epoch: Epoch,
    alphabet: Alphabet,
    csms: DomainKeys,
    index: derive::Mac256,
    pub(crate) wrapping: WrappingKey,
    key: EpochKey,
}

impl Keyring {
    /// Derives the keys of the live epochs. `current` is the one in which new codes are made.
    ///
    /// # Errors
    /// [`KeyError`] when there is no epoch, more than [`LIVE_EPOCHS`], two that share a digit, or `current` is not among them.
    pub fn new(epochs: Vec<EpochKey>, current: Epoch, standing: StandingKey, kek: &Kek) -> Result<Self, KeyError> {
        let standing_wrapping = standing.wrapping(kek);
        let live = ArcSwap::from_pointee(Live::new(epochs, current, kek)?);
        Ok(Self { live, generation: AtomicU64::new(0), standing, standing_wrapping })
    }

    /// Takes over another set of live epochs, after a rotation or a destruction. Roots that are not in the new set are wiped from memory
    /// once the last operation under way has let go of them.
    ///
    /// # Errors
    /// As [`Keyring::new`]; the keyring stays as it was.
    pub fn replace(&self, epochs: Vec<EpochKey>, current: Epoch, kek: &Kek) -> Result<(), KeyError> {
        self.live.store(Arc::new(Live::new(epochs, current, kek)?));
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// The live epochs, oldest first.
    pub fn epochs(&self) -> Vec<Epoch> {
        self.live.load().epochs.iter().map(|keys| keys.epoch).collect()
    }

    /// The code of an identifier in any domain: in the given epoch if live, else in the current one. [`Class::KeyCode`] too, though the
    /// vault will not keep it.
    pub fn code_in(&self, domain: &Domain, identifier: &Identifier, epoch: Option<Epoch>) -> Pseudonym {
        let live = self.live.load();
        let keys = epoch.and_then(|epoch| live.find(epoch)).unwrap_or_else(|| live.current());
        match domain {
            Domain::Csms => keys.csms.code(keys.alphabet, keys.epoch, CSMS_LENGTH, identifier),
            _ => DomainKeys::derive(keys.key.root(), &domain.label()).code(Alphabet::Base32, keys.epoch, EMSP_LENGTH, identifier),
        }
    }

    /// [`Codes::recognise`] in any domain.
    pub fn recognise_in(&self, domain: &Domain, text: &str) -> Option<Pseudonym> {
        let code = Pseudonym::normalised(text)?;
        let live = self.live.load();
        let keys = live.by_shape(&code)?;
        let ours = match domain {
            Domain::Csms => {
                code.as_str().len() == CSMS_LENGTH && code.alphabet() == Some(keys.alphabet) && keys.csms.proves(keys.alphabet, &code)
            }
            _ => code.as_str().len() == EMSP_LENGTH && DomainKeys::derive(keys.key.root(), &domain.label()).proves(Alphabet::Base32, &code),
        };
        ours.then_some(code)
    }

    /// The blind index of an identifier in a live epoch: 16 bytes that say whether two records hold the same card, and not which.
    pub(crate) fn blind_index(&self, identifier: &Identifier, epoch: Epoch) -> Option<[u8; 16]> {
        self.live.load().find(epoch).map(|keys| {
            let mac = keys.index.of(&[&[identifier.class.byte()], identifier.canonical.expose().as_bytes()]); // into a MAC
            let mut index = [0; 16];
            index.copy_from_slice(&mac[..16]);
            index
        })
    }

    /// Runs `f` with the key that wraps the data keys of an epoch's vault records; `None` if the epoch is not live.
    pub(crate) fn with_wrapping<T>(&self, epoch: Epoch, f: impl FnOnce(&WrappingKey) -> T) -> Option<T> {
        self.live.load().find(epoch).map(|keys| f(&keys.wrapping))
    }

    /// The key that wraps the data keys of records which outlive epochs.
    pub(crate) fn standing_wrapping(&self) -> &WrappingKey {
        &self.standing_wrapping
    }

    /// A keyed digest of any length up to 32 bytes, under the standing key.
    pub(crate) fn blind<const N: usize>(&self, label: &str, parts: &[&[u8]]) -> [u8; N] {
        let mac = self.standing.digest(label, parts);
        let mut digest = [0; N];
        digest.copy_from_slice(&mac[..N]);
        digest
    }
}

impl Codes for Keyring {
    fn code(&self, identifier: &Identifier, epoch: Option<Epoch>) -> Pseudonym {
        self.code_in(&Domain::Csms, identifier, epoch)
    }

    fn recognise(&self, text: &str) -> Option<Pseudonym> {
        self.recognise_in(&Domain::Csms, text)
    }

    fn epoch_of(&self, code: &Pseudonym) -> Option<Epoch> {
        self.live.load().by_shape(code).map(|keys| keys.epoch)
    }

    fn current(&self) -> Epoch {
        self.live.load().current().epoch
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn digest(&self, label: &str, text: &str) -> [u8; 16] {
        let mut spelled = Vec::with_capacity(16);
        Alphabet::Base32.spell(&self.blind::<10>(label, &[text.as_bytes()]), 16, &mut spelled);
        let mut digest = [b'0'; 16];
        digest.copy_from_slice(&spelled);
        digest
    }
}

impl Live {
    fn new(mut epochs: Vec<EpochKey>, current: Epoch, kek: &Kek) -> Result<Self, KeyError> {
        epochs.sort_by_key(EpochKey::epoch);
        if epochs.is_empty() || epochs.len() > LIVE_EPOCHS {
            return Err(KeyError::TooMany);
        }
        for (place, key) in epochs.iter().enumerate() {
            if epochs[..place].iter().any(|other| other.digit() == key.digit()) {
                return Err(KeyError::DigitTaken);
            }
        }
        let current = epochs.iter().position(|key| key.epoch() == current).ok_or(KeyError::NotLive)?;
        let epochs = epochs.into_iter().map(|key| EpochKeys::derive(key, kek)).collect();
        Ok(Self { epochs, current })
    }

    fn find(&self, epoch: Epoch) -> Option<&EpochKeys> {
        self.epochs.iter().find(|keys| keys.epoch == epoch)
    }

    fn by_shape(&self, code: &Pseudonym) -> Option<&EpochKeys> {
        let digit = code.epoch_digit()?;
        self.epochs.iter().find(|keys| keys.key.digit() == digit)
    }

    fn current(&self) -> &EpochKeys {
        &self.epochs[self.current] // a place found in `new`, in a list that never changes
    }
}

impl EpochKeys {
    fn derive(key: EpochKey, kek: &Kek) -> Self {
        let root = key.root();
        Self {
            epoch: key.epoch(),
            alphabet: key.alphabet(),
            csms: DomainKeys::derive(root, &Domain::Csms.label()),
            index: derive::index(root),
            wrapping: derive::wrapping(root, kek),
            key,
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({:?}, [sensitive])", self.epochs())
    }
}

/// Whether an identifier of this class may be kept in the vault. A PIN may not: it is coded and forgotten.
pub fn may_be_kept(class: Class) -> bool {
    class != Class::KeyCode
}
