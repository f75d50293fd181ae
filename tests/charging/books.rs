//! A machine with a store behind it, as the shell has: rows, keys, and what was billed.

use rust_decimal::Decimal;
use sluis::charging::{Assembler, Change, ChargingSession, Entry, Past, Patience, StrayReason};
use sluis::clock::Timestamp;
use sluis::ocpp::Version;
use std::collections::HashMap;

/// 2026-11-24T10:00:00Z.
pub(crate) const TEN: i64 = 1_795_514_400_000;

/// A moment, in minutes after ten.
pub(crate) fn t(minutes: i64) -> Timestamp {
    Timestamp(TEN + minutes * 60_000)
}

/// As stations write it.
pub(crate) fn text(at: Timestamp) -> String {
    at.rfc3339()
}

/// What is durable.
#[derive(Clone, Default)]
pub(crate) struct Durable {
    pub(crate) rows: HashMap<String, (String, Option<Timestamp>)>,
    keys: HashMap<(String, String), String>,
    /// By session: what was billed, in order.
    pub(crate) bills: HashMap<String, Vec<ChargingSession>>,
    pub(crate) strays: Vec<StrayReason>,
    cursor: usize,
}

impl Past for Durable {
    fn find(&self, station: &str, key: &str) -> Option<String> {
        let id = self.keys.get(&(station.to_owned(), key.to_owned()))?;
        self.rows.get(id).map(|(row, _)| row.clone())
    }
}

impl Durable {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Keep { id, station, row, keys, closed } => {
                    for key in keys {
                        self.keys.insert((station.clone(), key), id.clone());
                    }
                    self.rows.insert(id, (row, closed));
                }
                Change::Drop { id } => {
                    self.rows.remove(&id);
                }
                Change::Bill(session) => {
                    let bills = self.bills.entry(session.id.clone()).or_default();
                    assert!(bills.is_empty(), "billed twice: {session:?}");
                    bills.push(session);
                }
                Change::Correct(session) => {
                    let bills = self.bills.get_mut(&session.id).expect("only what was billed is corrected");
                    bills.push(session);
                }
                Change::Stray(why) => self.strays.push(why),
            }
        }
    }
}

/// A fact in the journal.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) station: String,
    pub(crate) version: Version,
    pub(crate) at: Timestamp,
    pub(crate) action: &'static str,
    pub(crate) message: String,
    pub(crate) payload: String,
}

/// A machine, its store, and a journal to read from.
pub(crate) struct Books {
    pub(crate) machine: Assembler,
    pub(crate) durable: Durable,
    pub(crate) journal: Vec<Row>,
    uncommitted: Vec<Change>,
    patience: Patience,
    next_id: u64,
}

impl Books {
    pub(crate) fn new() -> Self {
        let patience = Patience::default();
        let machine = Assembler::new(patience);
        Self { machine, durable: Durable::default(), journal: Vec::new(), uncommitted: Vec::new(), patience, next_id: 0 }
    }

    /// Reads the row at `at` without committing. Time passes first: the gateway's clock is that of the row.
    pub(crate) fn read(&mut self, at: usize) {
        let row = &self.journal[at];
        self.uncommitted.extend(self.machine.age(row.at));
        let entry = Entry {
            seq: at as u64 + 1,
            station: &row.station,
            version: row.version,
            at: row.at,
            action: row.action,
            message_id: &row.message,
            payload: &row.payload,
        };
        let next = &mut self.next_id;
        let mut ids = || {
            *next += 1;
            format!("s{next}")
        };
        self.uncommitted.extend(self.machine.take(&entry, &self.durable, &mut ids));
    }

    /// Makes durable what was read up to `cursor`.
    pub(crate) fn commit(&mut self, cursor: usize) {
        self.durable.apply(std::mem::take(&mut self.uncommitted));
        self.durable.cursor = cursor;
        self.machine.committed();
    }

    /// Loses all that is not durable and starts again; the reader goes on from what is returned.
    pub(crate) fn kill(&mut self) -> usize {
        self.uncommitted.clear();
        self.machine = Assembler::new(self.patience);
        for (row, _) in self.durable.rows.values().filter(|(_, closed)| closed.is_none()) {
            self.machine.restore(row).expect("what was kept can be restored");
        }
        self.durable.cursor
    }

    /// Adds a fact, reads it, commits.
    pub(crate) fn fact(&mut self, row: Row) {
        self.journal.push(row);
        self.read(self.journal.len() - 1);
        self.commit(self.journal.len());
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, until: Timestamp) {
        let changes = self.machine.age(until);
        self.uncommitted.extend(changes);
        self.commit(self.journal.len());
    }

    /// The only session billed, as it was billed last.
    pub(crate) fn only(&self) -> &ChargingSession {
        assert_eq!(self.durable.bills.len(), 1, "{:#?}", self.durable.bills);
        self.durable.bills.values().next().and_then(|bills| bills.last()).expect("billed")
    }

    /// Sessions billed, by beginning, as they were billed last.
    pub(crate) fn all(&self) -> Vec<&ChargingSession> {
        let mut all: Vec<_> = self.durable.bills.values().filter_map(|bills| bills.last()).collect();
        all.sort_by_key(|session| (session.started, session.connector));
        all
    }

    pub(crate) fn times_billed(&self) -> Vec<usize> {
        self.durable.bills.values().map(Vec::len).collect()
    }
}

/// What a session took, in Wh.
pub(crate) fn energy(session: &ChargingSession) -> Decimal {
    session.readings.last().map(|last| last.wh).unwrap_or_default()
}

/// What must hold of every session that is billed.
pub(crate) fn check(session: &ChargingSession) {
    let ended = session.ended.expect("it has an end");
    let first = session.readings.first().expect("it has a reading");
    assert!(first.at == session.started && first.wh.is_zero(), "{session:?}");
    assert!(ended >= session.started, "{session:?}");
    for pair in session.readings.windows(2) {
        assert!(pair[0].at <= pair[1].at && pair[0].wh <= pair[1].wh, "{session:?}");
    }
    assert!(session.readings.iter().all(|r| r.at <= ended && r.wh <= Decimal::from(10_000_000)), "{session:?}");
    for span in &session.idle {
        assert!(session.started <= span.from && span.from < span.to && span.to <= ended, "{session:?}");
    }
    for pair in session.idle.windows(2) {
        assert!(pair[0].to <= pair[1].from, "{session:?}");
    }
}
