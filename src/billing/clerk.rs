//! The clerk reads the journal, hands each fact to the assembler, and writes down in one batch what came of it: the sessions as they stand,
//! the CDRs of those that ended, and how far it has read. So whatever instant the process dies at, a fact was worked on wholly or not at
//! all, and each session has one CDR.

use super::corrections::Settled;
use super::desk::{Desk, is_untold};
use super::{Ids, Trouble};
use crate::charging::{Assembler, Change, ChargingSession, Entry, Past, Patience, StrayReason};
use crate::clock::Timestamp;
use crate::custody::Custody;
use crate::ocpp::Version;
use crate::publication::Gate;
use crate::store::{ChargingRow, Op, Store, StoreError};
use crate::vault::VaultError;
use indexmap::IndexMap;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The name of the clerk's place in the journal.
pub const READER: &str = "charging";
/// Facts of one batch: some milliseconds for the disk, which the stations' own facts may have to wait for.
pub const BATCH: usize = 250;

/// Works off the journal, a batch at a time. All it has in memory is what the store has too: after any failure it is thrown away and opened
/// anew.
pub struct Clerk {
    desk: Arc<Desk>,
    custody: Arc<Custody>,
    /// What counts for statistics; `None` where none are made.
    gate: Option<Gate>,
    assembler: Assembler,
    /// The last fact worked on, and when it came.
    at: u64,
    came: Option<Timestamp>,
    /// Until then stations that were cut off may come back with what they kept: nothing is given up by the clock.
    lenient: Timestamp,
    unreadable: usize,
}

/// What came of a batch of facts: to be committed, and then told to [`Clerk::done`].
pub struct Turn {
    /// The changes, all or none of them.
    pub ops: Vec<Op>,
    /// Whether more facts are waiting.
    pub more: bool,
    to: u64,
    came: Option<Timestamp>,
    pub(super) tally: Tally,
}

/// What is counted once a batch is durable.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) strays: Vec<StrayReason>,
    pub(super) corrections: u64,
    pub(super) too_little: u64,
}

impl Clerk {
    /// Takes up the work where it was left: reads the sessions that are open.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(desk: Arc<Desk>, custody: Arc<Custody>, patience: Patience, now: Timestamp) -> Result<Self, Trouble> {
        let store = custody.store();
        let at = store.mark(READER)?;
        let mut assembler = Assembler::new(patience);
        let (mut after, mut unreadable) = (String::new(), 0);
        loop {
            let page = store.charging_open(&after)?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            for (_, row) in &page {
                if assembler.restore(row).is_err() {
                    unreadable += 1;
                    tracing::error!("a charging session in the store cannot be read and is left alone");
                }
            }
        }
        let lenient = Timestamp(now.0.saturating_add(i64::try_from(patience.settle.as_millis()).unwrap_or(i64::MAX)));
        Ok(Self { desk, custody, gate: None, assembler, at, came: None, lenient, unreadable })
    }

    /// Has sessions that end count for statistics too, in the same batch.
    #[must_use]
    pub fn counting(mut self, gate: Option<Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Works on the next facts, at most `most`; those of `skip`, which could not be worked on before, are passed over. Changes nothing in the
    /// store, but that it may open a period of statistics.
    ///
    /// # Errors
    /// The clerk must be opened anew.
    pub fn turn(&mut self, now: Timestamp, most: usize, skip: &BTreeSet<u64>) -> Result<Turn, Trouble> {
        let store = self.custody.store().clone();
        let page = store.journal_after(self.at, most)?;
        let more = page.len() >= most;
        let shelf = Shelf { store: &store, failed: Cell::new(None) };
        let custody = Arc::clone(&self.custody);
        let mut ids = Ids::new(&custody);
        let mut changes = Vec::new();
        for row in &page {
            let version = Version::ALL.into_iter().find(|version| version.number() == row.version);
            let (Some(version), false) = (version, skip.contains(&row.seq)) else {
                changes.push(Change::Stray(StrayReason::Unreadable));
                continue;
            };
            let (station, action, message_id, payload) =
                (row.station.as_str(), row.action.as_str(), row.message_id.as_str(), row.payload.as_str());
            let entry = Entry { seq: row.seq, station, version, at: row.at, action, message_id, payload };
            let taken = catch_unwind(AssertUnwindSafe(|| self.assembler.take(&entry, &shelf, &mut || ids.next())));
            changes.extend(taken.map_err(|_| Trouble::Fact(row.seq))?);
        }
        let to = page.last().map_or(self.at, |row| row.seq);
        let came = page.last().map(|row| row.at).or(self.came);
        // What is not read yet may belong to what would be given up.
        let clock = if more || now < self.lenient { came } else { Some(now) };
        if let Some(clock) = clock {
            changes.extend(self.assembler.age(clock));
        }
        if let Some(error) = shelf.failed.get() {
            return Err(error.into());
        }
        let mut turn = Turn { ops: Vec::new(), more, to, came, tally: Tally::default() };
        let sessions = turn.keep(changes);
        for (session, first) in sessions.values() {
            let rows = store.cdrs_of_session(&session.id)?;
            let settled = self.desk.settle(session, &rows, &self.custody, &mut ids, now)?;
            if let Some(gate) = &self.gate {
                let counts = !matches!(settled, Settled::TooLittle) && !is_untold(session);
                match gate.pass(session, self.desk.site(session), counts, *first, &self.custody, now) {
                    Ok(ops) => turn.ops.extend(ops),
                    Err(VaultError::Store(error)) => return Err(error.into()),
                    // Bills do not wait for statistics.
                    Err(why) => tracing::error!(reason = why.code(), "a session could not be counted for statistics"),
                }
            }
            match settled {
                Settled::Billed(ops) => turn.ops.extend(ops),
                Settled::Corrected(ops) => {
                    turn.ops.extend(ops);
                    turn.tally.corrections += 1;
                }
                Settled::TooLittle => turn.tally.too_little += 1,
                Settled::Same => {}
            }
        }
        if ids.failed {
            return Err(Trouble::NoEntropy);
        }
        if !turn.ops.is_empty() || to != self.at {
            // Also where nothing was read: it is a conflict if another clerk was at work.
            turn.ops.push(Op::MarkMove { name: READER.to_owned(), from: self.at, to });
        }
        Ok(turn)
    }

    /// What a turn came to is durable.
    pub fn done(&mut self, turn: &Turn) {
        (self.at, self.came) = (turn.to, turn.came);
        self.assembler.committed();
    }

    /// Sessions that are not closed.
    pub fn open_sessions(&self) -> usize {
        self.assembler.open()
    }

    /// Sessions in the store that cannot be read.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable
    }
}

impl Turn {
    /// Writes down how sessions stand, and gives back those to bill, each as it was last, and whether for the first time. A row that is kept again later in the batch with at
    /// least its keys need not be written twice.
    fn keep(&mut self, changes: Vec<Change>) -> IndexMap<String, (ChargingSession, bool)> {
        let mut ops: Vec<Option<Op>> = Vec::with_capacity(changes.len());
        let mut last: HashMap<String, usize> = HashMap::new();
        let mut sessions: IndexMap<String, (ChargingSession, bool)> = IndexMap::new();
        for change in changes {
            match change {
                Change::Keep { id, station, row, keys, closed } => {
                    if let Some(before) = last.insert(id.clone(), ops.len()).and_then(|at| ops.get_mut(at))
                        && matches!(before, Some(Op::ChargingPut(row)) if row.keys.iter().all(|key| keys.contains(key)))
                    {
                        *before = None;
                    }
                    ops.push(Some(Op::ChargingPut(ChargingRow { id, station, row, keys, closed })));
                }
                Change::Drop { id } => {
                    last.remove(&id);
                    ops.push(Some(Op::ChargingDrop(id)));
                }
                // In one batch a correction only changes what is billed: nobody has seen it.
                Change::Bill(session) => drop(sessions.insert(session.id.clone(), (session, true))),
                Change::Correct(session) => {
                    let first = sessions.get(&session.id).is_some_and(|(_, first)| *first);
                    sessions.insert(session.id.clone(), (session, first));
                }
                Change::Stray(reason) => self.tally.strays.push(reason),
            }
        }
        self.ops.extend(ops.into_iter().flatten());
        sessions
    }
}

/// Sessions that were closed before. A failure is remembered: a session that cannot be read is not one that never was.
struct Shelf<'a> {
    store: &'a Store,
    failed: Cell<Option<StoreError>>,
}

impl Past for Shelf<'_> {
    fn find(&self, station: &str, key: &str) -> Option<String> {
        self.store.charging_by_key(station, key).unwrap_or_else(|error| {
            self.failed.set(Some(error));
            None
        })
    }
}
