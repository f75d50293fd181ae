//! The vault: sightings in, reveal and translate out. The one place besides a station's own socket where a clear identifier is, and there
//! it is sealed.
//!
//! A code may go up only after [`Vault::record`] has returned: its record is on the disk then, so that what the CSMS saw can always be
//! restored (I4). A record is written once per code; after that it is known and costs no write.

mod cache;
pub mod contributors;
pub mod references;
mod tally;
pub mod tokens;

use crate::clock::Timestamp;
use crate::identity::{Class, Codes, Epoch, Identifier, Reveal, Sighting};
use crate::keys::{Domain, Keyring, may_be_kept};
use crate::pseudonym::Pseudonym;
use crate::recipient::Party;
use crate::seal::{self, Entropy, SealError};
use crate::secret::Sensitive;
use crate::store::{Op, Sizes, Store, StoreError, VaultRow};
use cache::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use tally::Tally;
pub use tally::VaultCounts;

/// Identifiers kept in memory, known to be on the disk: some 20 MB when full. Those beyond it cost a read of microseconds.
pub const KNOWN: usize = 65_536;
/// Pinned transactions kept in memory: as many as there may be stations charging.
pub const PINS: usize = 65_536;

/// Why a sighting was not recorded: nothing of it may leave then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum VaultError {
    /// The code stands for another identifier already. At 75 bits, once in 10^9 for ten million cards; else a fault.
    #[error("two identifiers have one code")]
    Collision,
    /// The code is of no live epoch: it was destroyed meanwhile.
    #[error("the code's epoch is not live")]
    NotLive,
    /// It is of before its identifier was erased, and stays erased.
    #[error("erased since")]
    Erased,
    /// The e-MSP has as many tokens as it may have.
    #[error("too many tokens")]
    TooMany,
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VaultError {
    /// One word, for metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Collision => "collision",
            Self::NotLive => "not_live",
            Self::Erased => "erased",
            Self::TooMany => "too_many",
            Self::Seal(_) => "seal",
            Self::Store(error) => error.code(),
        }
    }
}

/// The vault. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    keys: Arc<Keyring>,
    entropy: Arc<dyn Entropy>,
    /// On the disk for certain: filled after a commit or a read, never before.
    known: Cache<Pseudonym, Arc<Identifier>>,
    pins: Cache<[u8; 16], Epoch>,
    /// One at a time adds to the references of authorisations.
    references: tokio::sync::Mutex<()>,
    /// How many tokens an e-MSP has: counted once.
    tokens: std::sync::Mutex<HashMap<Party, u64>>,
    tally: Tally,
}

impl Vault {
    /// A vault over a store and the keys that open it.
    pub fn new(store: Store, keys: Arc<Keyring>, entropy: Arc<dyn Entropy>) -> Self {
        let inner = Inner {
            store,
            keys,
            entropy,
            known: Cache::new(KNOWN),
            pins: Cache::new(PINS),
            references: tokio::sync::Mutex::new(()),
            tokens: std::sync::Mutex::default(),
            tally: Tally::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns when all sightings are on the disk, and how many were not there before. Those known to be there cost no write; a PIN
    /// ([`Class::KeyCode`]) is never stored.
    ///
    /// # Errors
    /// On any error none of these codes may leave. A retry is safe.
    pub async fn record(&self, sightings: &[Sighting]) -> Result<usize, VaultError> {
        let (ops, fresh) = self.inner.unrecorded(sightings)?;
        if ops.is_empty() {
            return Ok(0);
        }
        let done = self.inner.store.commit(ops).await;
        self.inner.recorded(done, &fresh).map(|()| fresh.len())
    }

    /// [`Vault::record`] for threads outside the runtime (command-line tools).
    pub fn record_blocking(&self, sightings: &[Sighting]) -> Result<(), VaultError> {
        let (ops, fresh) = self.inner.unrecorded(sightings)?;
        if ops.is_empty() {
            return Ok(());
        }
        let done = self.inner.store.commit_blocking(ops);
        self.inner.recorded(done, &fresh)
    }

    /// Remembers durably the epoch a transaction began in, so that its end carries the same code after a restart or a rotation.
    pub async fn pin(&self, station: &str, transaction: &str, epoch: Epoch, now: Timestamp) -> Result<(), StoreError> {
        let key = self.inner.pin_key(station, transaction);
        if self.inner.pins.find(&key) == Some(epoch) {
            return Ok(());
        }
        self.inner.store.commit(vec![Op::Pin { key, epoch, at: now }]).await?;
        // What is on the disk, which may be an earlier pin: a transaction keeps the epoch it began in.
        self.inner.pins.keep(key, self.inner.store.pin(&key)?.unwrap_or(epoch));
        Ok(())
    }

    /// Forgets a transaction that has ended.
    pub async fn unpin(&self, station: &str, transaction: &str) -> Result<(), StoreError> {
        let key = self.inner.pin_key(station, transaction);
        self.inner.store.commit(vec![Op::Unpin(key)]).await?;
        self.inner.pins.forget(&key);
        Ok(())
    }

    /// The code in another domain of whoever has this code in the CSMS domain, in the same epoch: so no reporting room sees an original.
    /// `None` if the code is unknown or erased.
    pub fn translate(&self, code: &Pseudonym, domain: &Domain) -> Option<Pseudonym> {
        let identifier = self.inner.identifier(code)?;
        let epoch = self.inner.keys.epoch_of(code)?;
        Some(self.inner.keys.code_in(domain, &identifier, Some(epoch)))
    }

    /// The class of what a code stands for, and for an eMAID its country and provider (`NLABC`): what finding the e-MSP needs, and no more.
    pub fn issuer(&self, code: &Pseudonym) -> Option<(Class, Option<String>)> {
        let identifier = self.inner.identifier(code)?;
        // Five of fourteen characters (twelve in the older form), the same for all of a provider's customers.
        let issuer = (identifier.class == Class::Emaid).then(|| identifier.canonical.expose().chars().take(5).collect());
        Some((identifier.class, issuer))
    }

    /// Erases one identifier in all live epochs, with all that could bring its record back: the tokens of e-MSPs that name it, as card, contract
    /// or group, the references given for it, and what it added to statistics that are not released yet. The records' keys are overwritten, the rows deleted, the log emptied, the memory cleared.
    /// What an e-MSP with such a token said of it until `now` is not kept any more, however often it is said again; what it says later is. To
    /// all others it is as unknown as what never was. Returns how many records and tokens there were. Its codes can be made again until the epoch is destroyed, but restore to nothing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the rows are gone but a reader kept the log from being emptied: call again.
    pub fn erase(&self, identifier: &Identifier, now: Timestamp) -> Result<usize, VaultError> {
        let inner = &self.inner;
        let codes: Vec<_> = inner.keys.epochs().into_iter().map(|epoch| inner.keys.code(identifier, Some(epoch))).collect();
        let tokens = self.tokens_naming(identifier)?;
        let mut found = tokens.len();
        for code in &codes {
            found += usize::from(inner.store.vault_row(code)?.is_some());
        }
        let mut ops = tokens.iter().map(|token| self.erased_until(identifier, token, now)).collect::<Result<Vec<_>, _>>()?;
        ops.extend(codes.iter().map(|code| Op::VaultErase(*code)));
        ops.extend(tokens.into_iter().map(Op::TokenErase));
        ops.extend(self.references_of(&codes)?.into_iter().map(Op::SecretDrop));
        ops.extend(self.forget_visits(identifier)?);
        inner.store.commit_blocking(ops)?;
        codes.iter().for_each(|code| inner.known.forget(code));
        self.forget_counts();
        inner.store.scrub()?;
        Ok(found)
    }

    /// [`Vault::erase`] of whoever is named: by card, contract, or a code in the central system's domain. `None` if the code is unknown or erased
    /// already.
    ///
    /// # Errors
    /// As for [`Vault::erase`].
    pub fn erase_named(&self, text: &Sensitive<String>, now: Timestamp) -> Result<Option<usize>, VaultError> {
        let Some(identifier) = self.behind(text.expose())? else { return Ok(None) }; // looked up, and it stays here
        self.erase(&identifier, now).map(Some)
    }

    /// Forgets what is in memory, after another process erased records or changed epochs.
    pub fn forget_memory(&self) {
        self.inner.known.clear();
        self.inner.pins.clear();
        self.forget_counts();
    }

    /// Counters since opening.
    pub fn counts(&self) -> VaultCounts {
        self.inner.tally.read(self.inner.known.len())
    }

    /// What the store holds: one small read.
    pub fn sizes(&self) -> Result<Sizes, StoreError> {
        self.inner.store.sizes()
    }
}

impl Reveal for Vault {
    fn reveal(&self, code: &Pseudonym) -> Option<Sensitive<String>> {
        let identifier = self.inner.identifier(code)?;
        self.inner.tally.revealed.add(1);
        Some(identifier.original.clone())
    }

    fn pinned(&self, station: &str, transaction: &str) -> Option<Epoch> {
        let inner = &self.inner;
        let key = inner.pin_key(station, transaction);
        if let Some(epoch) = inner.pins.find(&key) {
            return Some(epoch);
        }
        match inner.store.pin(&key) {
            Ok(Some(epoch)) => {
                inner.pins.keep(key, epoch);
                Some(epoch)
            }
            Ok(None) => None,
            Err(_) => {
                inner.tally.failures.add(1);
                None
            }
        }
    }
}

/// A sighting on its way to the disk.
type Fresh = (Pseudonym, Arc<Identifier>);

impl Inner {
    /// What of the sightings still needs writing, sealed.
    fn unrecorded(&self, sightings: &[Sighting]) -> Result<(Vec<Op>, Vec<Fresh>), VaultError> {
        let (mut ops, mut fresh) = (Vec::new(), Vec::<Fresh>::new());
        for Sighting { code, identifier } in sightings {
            if !may_be_kept(identifier.class) {
                continue;
            }
            let there = self.known.find(code).or_else(|| fresh.iter().find(|(seen, _)| seen == code).map(|(_, there)| Arc::clone(there)));
            if let Some(there) = there {
                if *there != *identifier {
                    self.tally.collisions.add(1);
                    return Err(VaultError::Collision);
                }
                continue;
            }
            let epoch = self.keys.epoch_of(code).ok_or(VaultError::NotLive)?;
            let blind = self.keys.blind_index(identifier, epoch).ok_or(VaultError::NotLive)?;
            if let Some(row) = self.store.vault_row(code)? {
                // Readers see a row only once it is on the disk.
                if row.blind != blind || row.class != identifier.class.byte() {
                    self.tally.collisions.add(1);
                    return Err(VaultError::Collision);
                }
                if self.identifier(code).is_some() {
                    continue;
                }
                return Err(VaultError::Seal(SealError::Broken)); // it would not restore: better no session than one that cannot be billed
            }
            let place = place(code, epoch, identifier.class);
            let sealed = self
                .keys
                .with_wrapping(epoch, |wrapping| seal::seal(&identifier.original, &place, wrapping, &*self.entropy))
                .ok_or(VaultError::NotLive)??;
            ops.push(Op::VaultInsert(VaultRow { code: *code, epoch, class: identifier.class.byte(), blind, sealed }));
            fresh.push((*code, Arc::new(identifier.clone())));
        }
        Ok((ops, fresh))
    }

    fn recorded(&self, done: Result<(), StoreError>, fresh: &[Fresh]) -> Result<(), VaultError> {
        match done {
            Ok(()) => {
                self.tally.recorded.add(fresh.len() as u64);
                fresh.iter().for_each(|(code, identifier)| self.known.keep(*code, Arc::clone(identifier)));
                Ok(())
            }
            Err(StoreError::Conflict) => {
                self.tally.collisions.add(1);
                Err(VaultError::Collision)
            }
            Err(StoreError::Gone) => Err(VaultError::NotLive),
            Err(error) => Err(error.into()),
        }
    }

    /// What a code stands for: from memory, else from the disk.
    fn identifier(&self, code: &Pseudonym) -> Option<Arc<Identifier>> {
        if let Some(known) = self.known.find(code) {
            return Some(known);
        }
        let row = match self.store.vault_row(code) {
            Ok(Some(row)) => row,
            Ok(None) => {
                self.tally.unknown.add(1);
                return None;
            }
            Err(_) => {
                self.tally.failures.add(1);
                return None;
            }
        };
        let opened = Class::from_byte(row.class).and_then(|class| {
            let place = place(code, row.epoch, class);
            let clear = self.keys.with_wrapping(row.epoch, |wrapping| seal::open(&row.sealed, &place, wrapping).ok())??;
            // Into the form it was recorded from; stays in this room.
            Some(Arc::new(Identifier::from_wire(clear.expose(), class.declared())))
        });
        match &opened {
            Some(identifier) => self.known.keep(*code, Arc::clone(identifier)),
            None => {
                self.tally.failures.add(1);
            }
        }
        opened
    }

    /// Transactions are pinned by a keyed digest: a 2.x transaction id is chosen by the station and may hold a card number.
    fn pin_key(&self, station: &str, transaction: &str) -> [u8; 16] {
        self.keys.blind("pin", &[station.as_bytes(), transaction.as_bytes()])
    }
}

/// What a record is bound to: moved to another row, epoch or class, it does not open.
fn place(code: &Pseudonym, epoch: Epoch, class: Class) -> Vec<u8> {
    format!("v1|vault|{code}|{}|{}", epoch.0, char::from(class.byte())).into_bytes()
}
