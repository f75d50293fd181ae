//! What `sluis keys` does: list, create, rotate, destroy. Each is one durable change; a running gateway sees it at its next
//! [`Custody::refresh`].

use super::Custody;
use crate::clock::Timestamp;
use crate::identity::{Codes, Epoch};
use crate::keys::{EpochKey, KeyError, LIVE_EPOCHS};
use crate::pseudonym::Alphabet;
use crate::seal::{Entropy, Kek};
use crate::store::{CdrRow, CdrState, EpochRow, Op, PAGE, StoreError};

/// Why CDRs are held that nothing but `discard` helps.
const FOR_NOBODY: [&str; 3] = ["unknown_energy", "no_token", "erased"];

/// Why an epoch was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The keys forbid it, or a root does not open.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The store did not do it. [`StoreError::Conflict`]: it is the current epoch, or another process changed epochs meanwhile.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where an epoch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochState {
    /// Has codes that can be converted to, and is not used yet.
    Prepared,
    /// New codes are made in it.
    Current,
    /// Its codes are still recognised and restored.
    Ending,
    /// Its root is gone: its codes stand for nothing.
    Destroyed,
}

impl EpochState {
    /// `prepared`, `current`, `ending` or `destroyed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Current => "current",
            Self::Ending => "ending",
            Self::Destroyed => "destroyed",
        }
    }
}

/// A line of `sluis keys list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStatus {
    /// Its counter; codes carry the last digit.
    pub epoch: Epoch,
    /// Where it is in its life.
    pub state: EpochState,
    /// Alphabet of its codes for the CSMS.
    pub alphabet: Alphabet,
    /// When its root was drawn.
    pub created: Timestamp,
    /// When it ceased to be current.
    pub retired: Option<Timestamp>,
    /// When it was destroyed.
    pub destroyed: Option<Timestamp>,
}

impl Custody {
    /// All epochs, oldest first.
    pub fn epochs(&self) -> Result<Vec<EpochStatus>, RotationError> {
        let status = |row: &EpochRow| EpochStatus {
            epoch: row.epoch,
            state: match row {
                EpochRow { destroyed: Some(_), .. } => EpochState::Destroyed,
                EpochRow { current: true, .. } => EpochState::Current,
                EpochRow { retired: Some(_), .. } => EpochState::Ending,
                _ => EpochState::Prepared,
            },
            alphabet: alphabet(row.mark),
            created: row.created,
            retired: row.retired,
            destroyed: row.destroyed,
        };
        Ok(self.store.epochs()?.iter().map(status).collect())
    }

    /// Prepares a new epoch without using it, so that a CSMS's card list can be converted to it ahead of the rotation. One at a time.
    pub fn create_epoch(&self, alphabet: Alphabet, now: Timestamp) -> Result<Epoch, RotationError> {
        if self.prepared()?.is_some() {
            return Err(KeyError::Prepared.into());
        }
        let rows = self.store.epochs()?;
        let next = Epoch(rows.iter().map(|row| row.epoch.0 + 1).max().unwrap_or(0));
        let live: Vec<_> = rows.iter().filter(|row| row.destroyed.is_none()).collect();
        if live.len() >= LIVE_EPOCHS {
            return Err(KeyError::TooMany.into());
        }
        if live.iter().any(|row| row.epoch.0 % 10 == next.0 % 10) {
            return Err(KeyError::DigitTaken.into());
        }
        let root = EpochKey::generate(next, alphabet, &*self.entropy)?;
        self.store.commit_blocking(vec![Op::EpochInsert(row(&root, &self.kek, &*self.entropy, now)?)])?;
        self.refresh()?;
        Ok(next)
    }

    /// Makes the newest prepared epoch the current one; without one, creates it in the current alphabet. The old one stays live: running
    /// transactions end in it, and its codes are restored until it is destroyed. Returns the new current epoch.
    pub fn rotate(&self, now: Timestamp) -> Result<Epoch, RotationError> {
        let current = self.keys.current();
        let to = match self.prepared()? {
            Some(epoch) => epoch,
            None => {
                let known = self.epochs()?;
                let alphabet = known.iter().find(|status| status.epoch == current).map_or(Alphabet::Base32, |status| status.alphabet);
                self.create_epoch(alphabet, now)?
            }
        };
        self.store.commit_blocking(vec![Op::EpochCurrent { from: Some(current), to, at: now }])?;
        self.refresh()?;
        Ok(to)
    }

    /// The newest prepared epoch, unless a newer one is current: what was passed over is not gone back to.
    fn prepared(&self) -> Result<Option<Epoch>, RotationError> {
        let newest = self.epochs()?.into_iter().rev().find(|status| matches!(status.state, EpochState::Prepared | EpochState::Current));
        Ok(newest.filter(|status| status.state == EpochState::Prepared).map(|status| status.epoch))
    }

    /// How many sessions would lose their driver with an epoch: those that still run and those that are held, whose codes are of it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn unbilled_in(&self, epoch: Epoch) -> Result<u64, StoreError> {
        let (mut found, mut after) = (0, String::new());
        loop {
            let page = self.store.charging_open(&after)?;
            found += page.iter().filter(|(_, row)| self.names_one_of(epoch, row)).count() as u64;
            let Some((last, _)) = page.into_iter().next_back() else { break };
            after = last;
        }
        let mut after = 0;
        loop {
            let page = self.store.cdrs_in(CdrState::Quarantined, None, after, PAGE)?;
            let waits =
                |row: &&CdrRow| !row.why.as_deref().is_some_and(|why| FOR_NOBODY.contains(&why)) && self.names_one_of(epoch, &row.draft);
            found += page.iter().filter(waits).count() as u64;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.seq;
        }
    }

    /// How many facts of the journal that `reader` has not come to yet name a code of an epoch: what they tell would lose its driver with it.
    /// None where nothing is read under that name, as without billing.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn unread_in(&self, epoch: Epoch, reader: &str) -> Result<u64, StoreError> {
        let (mut found, mut after) = (0, self.store.mark(reader)?);
        if !self.store.has_mark(reader)? {
            return Ok(0);
        }
        loop {
            let page = self.store.journal_after(after, PAGE)?;
            found += page.iter().filter(|fact| self.names_one_of(epoch, &fact.payload)).count() as u64;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.seq;
        }
    }

    /// Whether a row names a code of an epoch.
    fn names_one_of(&self, epoch: Epoch, row: &str) -> bool {
        let mut words = row.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| self.keys.recognise(word).is_some_and(|code| self.keys.epoch_of(&code) == Some(epoch)))
    }

    /// Destroys an epoch for good: overwrites its root, deletes its vault records and pins, empties the log. Its codes are refused from then
    /// on like any stranger's. The current epoch cannot be destroyed: rotate first. Doing it again is harmless.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when it is destroyed but a reader kept the log from being emptied: call again.
    pub fn destroy_epoch(&self, epoch: Epoch, now: Timestamp) -> Result<(), RotationError> {
        if !self.store.epochs()?.iter().any(|row| row.epoch == epoch) {
            return Err(KeyError::NotLive.into());
        }
        self.store.commit_blocking(vec![Op::EpochDestroy(epoch, now)])?;
        self.refresh()?;
        Ok(self.store.scrub()?)
    }
}

pub(super) fn row(key: &EpochKey, kek: &Kek, entropy: &dyn Entropy, now: Timestamp) -> Result<EpochRow, KeyError> {
    Ok(EpochRow {
        epoch: key.epoch(),
        mark: key.alphabet().mark(),
        created: now,
        retired: None,
        destroyed: None,
        wrapped: key.wrap(kek, entropy)?.to_vec(),
        current: false,
    })
}

/// A mark that is neither is caught when the root is unwrapped: it is part of its place.
pub(super) fn alphabet(mark: u8) -> Alphabet {
    if mark == Alphabet::Hex.mark() { Alphabet::Hex } else { Alphabet::Base32 }
}
