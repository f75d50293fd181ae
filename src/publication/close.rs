//! The close of a period: visits in, a release out, once.
//!
//! ```text
//! ledger, period and visits ──▶ engine (in memory) ──▶ files ──▶ ONE change of the store ──▶ visits deleted, log emptied ──▶ receipt
//!                                                                 │ ledger entries
//!                                                                 │ released bytes
//!                                                                 └ the secret overwritten
//! ```
//! Before that change nothing has happened, and whatever noise was drawn has been seen by nobody. After it the release stands, the budget is
//! counted, and what it was made from can be read by nobody. There is nothing in between, at whatever instant the process dies. Bytes leave only
//! from what the store keeps.

use super::files::{self, File};
use super::gathering::{Gathering, Stay};
use super::receipt::Receipt;
use super::{NotPublished, Publication, Publishable};
use crate::clock::Timestamp;
use crate::stats::{Entry, Ledger, Period, Randomness, Refused};
use crate::store::{LedgerRow, Op, ReleaseRow, ReleasedFile, Store, StoreError};

/// How often a release is made anew because something else was released, or somebody objected, while it was computed.
const TRIES: usize = 5;
/// Visits deleted in one change, so that stations never wait long for the store.
const PURGE: usize = 2_000;

/// What the release of a period is made from, beside the sessions.
pub(super) struct Draft {
    pub(super) ledger: Ledger,
    pub(super) tip: u64,
}

/// Reads the ledger of a store.
///
/// # Errors
/// The store cannot be read, or the chain is broken.
pub fn ledger(store: &Store) -> Result<Ledger, NotPublished> {
    let read = |row: LedgerRow| serde_json::from_str::<Entry>(&row.line).map_err(|_| NotPublished::LedgerForm);
    let entries = store.ledger()?.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Ledger::read(entries)?)
}

impl Publication {
    /// Releases a period from the sessions that this gateway saw, or says why not. Durable when it returns.
    ///
    /// # Errors
    /// Nothing was released and nothing is spent; or it was released before ([`NotPublished::is_released`]).
    pub fn close(&self, period: Period, now: Timestamp, randomness: &mut dyn Randomness) -> Result<(), NotPublished> {
        let store = self.custody.store();
        for _ in 0..TRIES {
            let draft = self.begin(period)?;
            if store.period(&period.to_string())?.is_none() {
                // A period that nobody was counted in is released all the same: that nothing is published would say so exactly. But none from before
                // anybody was counted: it would be noise alone.
                let earlier = |name: &str| name.parse().is_ok_and(|of: Period| of.is_quarter() == period.is_quarter() && of < period);
                if !store.periods()?.iter().any(|row| earlier(&row.name)) {
                    return Err(NotPublished::Before);
                }
                store.commit_blocking(vec![self.custody.vault.new_period(&period.to_string(), now)?])?;
            }
            let row = store.period(&period.to_string())?.filter(|row| row.closed.is_none()).ok_or(NotPublished::Discarded)?;
            let gathering = self.gather(period)?;
            match self.publish(draft, period, gathering, now, Some(row.version), randomness) {
                Err(NotPublished::Store(StoreError::Conflict)) => {}
                Err(other) => return Err(other),
                Ok(()) => return self.finish(period, now),
            }
        }
        Err(NotPublished::Store(StoreError::Conflict))
    }

    /// Whether a period may be released from a file of sessions: not released, and nobody counted in it by this gateway.
    ///
    /// # Errors
    /// Why not.
    pub fn may_take_file(&self, period: Period) -> Result<(), NotPublished> {
        self.begin(period)?;
        if self.custody.store().visits_after(&period.to_string(), None)?.is_empty() { Ok(()) } else { Err(NotPublished::Counted) }
    }

    /// Releases a period from a file of sessions, counted in this gateway's ledger. Durable when it returns.
    ///
    /// # Errors
    /// As [`Publication::close`].
    pub fn close_file(
        &self,
        period: Period,
        gathering: Gathering,
        now: Timestamp,
        randomness: &mut dyn Randomness,
    ) -> Result<(), NotPublished> {
        let draft = self.begin(period)?;
        self.publish(draft, period, gathering, now, None, randomness)?;
        let Some(manifest) = self.custody.store().released(&period.to_string(), files::MANIFEST)? else { return Ok(()) };
        self.keep_receipt(&Receipt::of_memory(period, &manifest, now))
    }

    /// What has to be known before anything is read: whether the ledger allows it at all.
    pub(super) fn begin(&self, period: Period) -> Result<Draft, NotPublished> {
        let ledger = ledger(self.custody.store())?;
        self.terms.allowed(&ledger, period)?;
        Ok(Draft { tip: ledger.entries().len() as u64, ledger })
    }

    /// Opens the visits of a period and settles who is one person.
    fn gather(&self, period: Period) -> Result<Gathering, NotPublished> {
        let (store, vault, name) = (self.custody.store(), &self.custody.vault, period.to_string());
        let key = vault.period_key(&name)?.ok_or(NotPublished::Discarded)?;
        let mut gathering = Gathering::default();
        let mut after = None;
        loop {
            let page = store.visits_after(&name, after.as_ref())?;
            let Some(last) = page.last() else { break };
            after = Some(last.session);
            for visit in page {
                // One that does not open was altered: it counts nowhere, and the rest is as good without it.
                let stay = key.open(&visit.sealed, &visit.session).ok().and_then(|text| serde_json::from_str::<Stay>(&text).ok());
                match stay {
                    Some(stay) => gathering.add(visit.card, visit.contract, stay),
                    None => tracing::error!("a visit in the store does not open and is not counted"),
                }
            }
        }
        let links = vault.links(&key, &|digest| gathering.people.knows(digest))?;
        links.pairs.into_iter().for_each(|(card, contract)| gathering.people.join(card, contract));
        links.objectors.into_iter().for_each(|digest| gathering.people.object(digest));
        Ok(gathering)
    }

    /// The release of what was gathered, in one change of the store. `version` is that of the period it was read at.
    pub(super) fn publish(
        &self,
        draft: Draft,
        period: Period,
        gathering: Gathering,
        now: Timestamp,
        version: Option<u64>,
        randomness: &mut dyn Randomness,
    ) -> Result<(), NotPublished> {
        if !randomness.is_fit_for_publication() {
            return Err(NotPublished::Repeatable);
        }
        let key = self.custody.signing_key()?;
        let Draft { ledger, tip } = draft;
        let made = self.terms.release(period, gathering, ledger, now, false, randomness)?;
        let files = files::bundle(&Publishable::of(&made.release), made.manifest, made.ledger.entries(), &key);
        let row = |entry: &Entry| LedgerRow {
            seq: entry.number,
            table: format!("{:?}", entry.table),
            period: period.to_string(),
            line: serde_json::to_string(entry).unwrap_or_default(), // into memory, with texts for keys
        };
        let release = ReleaseRow {
            period: period.to_string(),
            period_version: version,
            at: now,
            tip,
            entries: made.release.entries.iter().map(row).collect(),
            files: files.into_iter().map(|(name, bytes)| ReleasedFile { period: period.to_string(), name, bytes }).collect(),
        };
        Ok(self.custody.store().commit_blocking(vec![Op::Release(release)])?)
    }

    /// What follows a release, also after a restart: deletes what can be read by nobody any more, empties the database's log, and then says so in
    /// a signed receipt. Does nothing that was done before.
    ///
    /// # Errors
    /// To be called again: [`StoreError::Locked`] if somebody still reads.
    pub fn finish(&self, period: Period, now: Timestamp) -> Result<(), NotPublished> {
        let (store, name) = (self.custody.store(), period.to_string());
        let Some(closed) = store.period(&name)?.and_then(|row| row.closed) else { return Ok(()) };
        let Some(manifest) = store.released(&name, files::MANIFEST)? else {
            // Closed without a release: nothing to say, but nothing may be left either.
            return if store.visits_after(&name, None)?.is_empty() { Ok(()) } else { self.purge(&name) };
        };
        if store.released(&name, files::RECEIPT)?.is_some() {
            return Ok(());
        }
        self.purge(&name)?;
        self.keep_receipt(&Receipt::of_store(period, &manifest, closed, now))
    }

    /// The receipt and its signature, both or none.
    fn keep_receipt(&self, receipt: &Receipt) -> Result<(), NotPublished> {
        let files = receipt.files(&self.custody.signing_key()?);
        let add = |(name, bytes): File| Op::ReleasedAdd(ReleasedFile { period: receipt.period.to_string(), name, bytes });
        Ok(self.custody.store().commit_blocking(files.map(add).into())?)
    }

    /// Deletes the visits of a closed period and leaves no trace of them, nor of the secret, in the log.
    pub(super) fn purge(&self, name: &str) -> Result<(), NotPublished> {
        let store = self.custody.store();
        while !store.visits_after(name, None)?.is_empty() {
            store.commit_blocking(vec![Op::VisitsPurge { period: name.to_owned(), most: PURGE }])?;
        }
        Ok(store.scrub()?)
    }

    /// All files of a release, as they were when it was made; `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn released(&self, period: Period) -> Result<Option<Vec<File>>, StoreError> {
        released(self.custody.store(), &period.to_string())
    }
}

/// [`Publication::released`] of any store.
///
/// # Errors
/// The store cannot be read.
pub fn released(store: &Store, period: &str) -> Result<Option<Vec<File>>, StoreError> {
    let names = store.released_names()?;
    let mut files = Vec::new();
    for (_, name) in names.into_iter().filter(|(of, _)| of == period) {
        if let Some(bytes) = store.released(period, &name)? {
            files.push((name, bytes));
        }
    }
    Ok((!files.is_empty()).then_some(files))
}

impl NotPublished {
    /// Whether it was released before: its files are there, and stay as they are.
    pub fn is_released(&self) -> bool {
        matches!(self, Self::Refused(Refused::Released(..)) | Self::NoRelease(crate::stats::NoRelease::Refused(Refused::Released(..))))
    }
}
