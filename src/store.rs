//! The store: one small surface, so that engines can differ behind it. A batch of operations that is durable when the answer comes, and a
//! few reads. Each operation is idempotent or version-checked; a batch happens as a whole or not at all. No iterators, closures or
//! transaction objects leak out.
//!
//! What it keeps is sealed, blinded or pseudonymous already: this room holds no key and could not read a card number.

mod billing;
mod embedded;
mod op;
mod rows;
mod schema;
mod statistics;
mod writer;

use crate::clock::Timestamp;
use crate::identity::Epoch;
use crate::pseudonym::Pseudonym;
use crate::seal::Sealed;
pub use billing::{CdrQueue, CdrRow, CdrState, ChargingRow, DisclosureRow, TokenRow, Window};
pub use embedded::{DATABASE, Embedded, Limits};
pub use op::Op;
pub use statistics::{LedgerRow, OptOutRow, PeriodRow, ReleaseRow, ReleasedFile, VisitRow};
use std::sync::Arc;

/// Most rows one read hands out.
pub const PAGE: usize = 1000;

/// A vault record as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultRow {
    /// The code in the CSMS domain: its key.
    pub code: Pseudonym,
    /// Epoch of the code.
    pub epoch: Epoch,
    /// Class byte of the identifier.
    pub class: u8,
    /// Keyed digest of the identifier: tells a collision from a second sight.
    pub blind: [u8; 16],
    /// The original spelling, sealed.
    pub sealed: Sealed,
}

/// A fact as stored: pseudonymous.
#[derive(Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Its place in the journal, from 1, never used twice; 0 before it is stored.
    pub seq: u64,
    /// SHA-256 over station, action, message id and payload, and of an answer the time, cut to 16 bytes: a retry has the same.
    pub fingerprint: [u8; 16],
    /// The charging station.
    pub station: String,
    /// `1.6`, `2.0.1` or `2.1`.
    pub version: String,
    /// When the gateway saw it.
    pub at: Timestamp,
    /// As [`Fact::action`](crate::treat::Fact).
    pub action: String,
    /// The frame's message id.
    pub message_id: String,
    /// The treated payload, JSON.
    pub payload: String,
}

/// Prints where and when, never the payload.
impl std::fmt::Debug for JournalRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JournalRow({}, {})", self.seq, self.action)
    }
}

/// An epoch as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRow {
    /// Its counter.
    pub epoch: Epoch,
    /// First character of its codes: `Z` or `F`.
    pub mark: u8,
    /// When its root was drawn.
    pub created: Timestamp,
    /// When it ceased to be the current one.
    pub retired: Option<Timestamp>,
    /// When its root was destroyed.
    pub destroyed: Option<Timestamp>,
    /// Its root, wrapped; empty once destroyed.
    pub wrapped: Vec<u8>,
    /// Whether new codes are made in it.
    pub current: bool,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Vault records.
    pub vault: u64,
    /// Pinned transactions.
    pub pins: u64,
    /// Facts in the journal.
    pub journal: u64,
    /// Charging sessions, open and closed.
    pub charging: u64,
    /// Tokens that e-MSPs own.
    pub tokens: u64,
    /// Rows of the disclosure log.
    pub disclosures: u64,
    /// Bytes of the database file, without its log.
    pub bytes: u64,
}

/// Why the store did not do it. Nothing of the rows is in it. After any of these, nothing of the batch has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StoreError {
    /// The disk is full or the size limit reached. Passes by itself when there is room.
    #[error("the disk is full or the size limit is reached")]
    Full,
    /// The file or its directory cannot be written.
    #[error("the database cannot be written")]
    ReadOnly,
    /// The file is not a database of ours, or is damaged.
    #[error("the database is damaged or not one of ours")]
    Corrupt,
    /// Another process held the write lock too long.
    #[error("the database is locked by another process")]
    Locked,
    /// The disk failed.
    #[error("the disk failed")]
    Io,
    /// A version check failed, or two cards have one code.
    #[error("conflicts with what is stored")]
    Conflict,
    /// The epoch that a record belongs to has been destroyed, perhaps by another process.
    #[error("the epoch has been destroyed")]
    Gone,
    /// The queue of changes is full: the disk does not keep up.
    #[error("the queue to the disk is full")]
    Busy,
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
}

impl StoreError {
    /// One word, for metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Corrupt => "corrupt",
            Self::Locked => "locked",
            Self::Io => "io",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Busy => "busy",
            Self::Closed => "closed",
        }
    }
}

/// A change under way: wait for it or drop it (it happens all the same).
pub type Pending = tokio::sync::oneshot::Receiver<Result<(), StoreError>>;

/// The store, by whichever engine. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    Embedded(Arc<Embedded>),
}

impl Store {
    /// A store in one file.
    pub fn embedded(engine: Embedded) -> Self {
        Self { engine: Engine::Embedded(Arc::new(engine)) }
    }

    /// Makes the changes. `Ok` means all of them are on the disk; an error, none. Waits while the queue is full.
    pub async fn commit(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.commit(ops).await
    }

    /// [`Store::commit`] for threads outside the runtime (command-line tools).
    pub fn commit_blocking(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.commit_blocking(ops)
    }

    /// Queues the changes in the order of the calls and returns at once. Gives them back when the queue is full. The answer comes on the runtime that
    /// this is called on, if on one: await it there.
    pub fn enqueue(&self, ops: Vec<Op>) -> Result<Pending, Vec<Op>> {
        let Engine::Embedded(engine) = &self.engine;
        engine.enqueue(ops)
    }

    /// Leaves no trace of erased rows in the database's own log. After an erasure or destruction.
    pub fn scrub(&self) -> Result<(), StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.scrub()
    }

    /// The record of a code.
    pub fn vault_row(&self, code: &Pseudonym) -> Result<Option<VaultRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.vault_row(code)
    }

    /// The epoch pinned under a key.
    pub fn pin(&self, key: &[u8; 16]) -> Result<Option<Epoch>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.pin(key)
    }

    /// Facts after a place in the journal, in order; at most `most` and at most [`PAGE`].
    pub fn journal_after(&self, seq: u64, most: usize) -> Result<Vec<JournalRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.journal_after(seq, most.min(PAGE))
    }

    /// Whether [`Op::Purge`] with the same values would drop facts.
    pub fn journal_purgeable(&self, before: Timestamp, most: usize, reader: Option<&'static str>) -> Result<bool, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.journal_purgeable(before, most, reader)
    }

    /// Where a reader is in its log: 0 if it never began.
    pub fn mark(&self, name: &str) -> Result<u64, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.mark(name)
    }

    /// Whether a reader has a place in its log.
    pub fn has_mark(&self, name: &str) -> Result<bool, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.has_mark(name)
    }

    /// The place of the newest fact that was ever in the journal: 0 if there was none.
    pub fn journal_newest(&self) -> Result<u64, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.journal_newest()
    }

    /// Open charging sessions as (id, row), in the order of their ids, after one; at most [`PAGE`].
    pub fn charging_open(&self, after: &str) -> Result<Vec<(String, String)>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.charging_open(after)
    }

    /// The row of the charging session, open or closed, that has a key at a station.
    pub fn charging_by_key(&self, station: &str, key: &str) -> Result<Option<String>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.charging_by_key(station, key)
    }

    /// A CDR by its id.
    pub fn cdr(&self, id: &str) -> Result<Option<CdrRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdr(id)
    }

    /// The newest CDR of an owner that names a driver by a code.
    pub fn cdr_by_code(&self, owner: &str, code: &str) -> Result<Option<CdrRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdr_by_code(owner, code)
    }

    /// All CDRs that bill a session, oldest first.
    pub fn cdrs_of_session(&self, session: &str) -> Result<Vec<CdrRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdrs_of_session(session)
    }

    /// CDRs in a state, of one owner or of all, after a place in their order; at most `most` and at most [`PAGE`].
    pub fn cdrs_in(&self, state: CdrState, owner: Option<&str>, after: u64, most: usize) -> Result<Vec<CdrRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdrs_in(state, owner, after, most)
    }

    /// A page of what an owner may see: oldest `last_updated` first; at most `most` and at most [`PAGE`].
    pub fn cdr_page(&self, owner: &str, window: Window, offset: u64, most: usize) -> Result<Vec<CdrRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdr_page(owner, window, offset, most)
    }

    /// The newest `last_updated` of an owner's CDRs, in whatever state, that is not more than a day after `about`: what a clock wrote that stood far
    /// ahead must not make all that follows as new as that. `None` if there is none.
    pub fn cdr_newest(&self, owner: &str, about: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdr_newest(owner, about)
    }

    /// How many CDRs an owner may see.
    pub fn cdr_count(&self, owner: &str, window: Window) -> Result<u64, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdr_count(owner, window)
    }

    /// How many CDRs there are in each state.
    pub fn cdr_counts(&self) -> Result<Vec<(CdrState, u64)>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdr_counts()
    }

    /// Tokens with a keyed digest, of whichever e-MSP; at most 64.
    pub fn tokens_by_blind(&self, blind: &[u8; 16]) -> Result<Vec<TokenRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.tokens_by_blind(blind)
    }

    /// How many tokens an e-MSP has: reads an entry of some 40 bytes for each token that there is.
    pub fn tokens_of(&self, owner: &str) -> Result<u64, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.tokens_of(owner)
    }

    /// All tokens, by owner, kind and digest, after one; at most `most` and at most [`PAGE`].
    pub fn tokens_after(&self, after: Option<&TokenRow>, most: usize) -> Result<Vec<TokenRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.tokens_after(after, most)
    }

    /// Tokens that the central system has not been told of in a round or a later one, or that changed since; at most `most` and at most
    /// [`PAGE`].
    pub fn tokens_due(&self, round: u64, most: usize) -> Result<Vec<TokenRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.tokens_due(round, most)
    }

    /// How many CDRs each owner has queued, and when the oldest of them was made.
    pub fn cdr_queues(&self) -> Result<Vec<CdrQueue>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.cdr_queues()
    }

    /// The disclosure log after a place, of one subject or of all; at most [`PAGE`].
    pub fn disclosures(&self, subject: Option<&[u8; 16]>, after: u64) -> Result<Vec<DisclosureRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.disclosures(subject, after)
    }

    /// A sealed secret by its name.
    pub fn secret(&self, name: &str) -> Result<Option<Sealed>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.secret(name)
    }

    /// The names of sealed secrets, in order, after one; at most [`PAGE`].
    pub fn secret_names(&self, after: &str) -> Result<Vec<String>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.secret_names(after)
    }

    /// A period of statistics.
    pub fn period(&self, name: &str) -> Result<Option<PeriodRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.period(name)
    }

    /// All periods of statistics, by name: some sixteen a year.
    pub fn periods(&self) -> Result<Vec<PeriodRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.periods()
    }

    /// Whether a session adds to a period.
    pub fn has_visit(&self, period: &str, session: &[u8; 16]) -> Result<bool, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.has_visit(period, session)
    }

    /// How many visits of a period have a digest as card or contract.
    pub fn visits_of(&self, period: &str, person: &[u8; 16]) -> Result<u64, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.visits_of(period, person)
    }

    /// Visits of a period in the order of their digests, after one; at most [`PAGE`].
    pub fn visits_after(&self, period: &str, after: Option<&[u8; 16]>) -> Result<Vec<VisitRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.visits_after(period, after)
    }

    /// The whole ledger of what was released: some thirty entries a year.
    pub fn ledger(&self) -> Result<Vec<LedgerRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.ledger()
    }

    /// The bytes of a released file.
    pub fn released(&self, period: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.released(period, name)
    }

    /// Period and name of all released files: some hundred a year.
    pub fn released_names(&self) -> Result<Vec<(String, String)>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.released_names()
    }

    /// Whether and why somebody is not to be counted.
    pub fn opt_out(&self, blind: &[u8; 16]) -> Result<Option<OptOutRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.opt_out(blind)
    }

    /// Those who are not to be counted, in the order of their digests, after one; at most [`PAGE`].
    pub fn opt_outs_after(&self, after: Option<&[u8; 16]>) -> Result<Vec<OptOutRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.opt_outs_after(after)
    }

    /// All epochs, oldest first, destroyed ones too.
    pub fn epochs(&self) -> Result<Vec<EpochRow>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.epochs()
    }

    /// The wrapped standing key.
    pub fn standing(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.standing()
    }

    /// A number that grows with each erasure and each change of epochs, by whichever process: what caches hold is then old.
    pub fn generation(&self) -> Result<u64, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.generation()
    }

    /// What it holds.
    pub fn sizes(&self) -> Result<Sizes, StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.sizes()
    }

    /// Makes a small durable write that leaves nothing behind. While there is [`Store::trouble`] nobody may come who writes, and then only this
    /// finds out that it has passed.
    ///
    /// # Errors
    /// It has not, or the queue is full: then there are others who find out.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.probe().await
    }

    /// What the last change came to: `None` if it went well. For readiness.
    pub fn trouble(&self) -> Option<StoreError> {
        let Engine::Embedded(engine) = &self.engine;
        engine.trouble()
    }
}
