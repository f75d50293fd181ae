//! The machine that puts facts together: one row per charging session, billed exactly once.

use super::{ChargingSession, Entry};
use crate::clock::Timestamp;
use std::time::Duration;

/// How long the machine waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// After an end, for messages that are still missing. 15 minutes unless told otherwise.
    pub settle: Duration,
    /// With nothing heard of a session, before it is closed as [`Aged`](super::Ending::Aged). 48 hours unless told otherwise.
    pub max_age: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { settle: Duration::from_secs(15 * 60), max_age: Duration::from_secs(48 * 3600) }
    }
}

/// Where sessions that were closed before are found again: the store.
pub trait Past {
    /// The row of the session of `station` that was kept with `key` last, as of the last commit or later.
    fn find(&self, station: &str, key: &str) -> Option<String>;
}

/// A text that is no row of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a row of the charging sessions")]
pub struct NotARow;

/// What a fact, or the passing of time, changed. To be stored in order, all of a batch at once with the reader's place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store this row under its id, over an older one.
    Keep {
        /// The row's id: that of the session, or of a fact that waits.
        id: String,
        /// The charging station.
        station: String,
        /// All that is known, JSON. Holds codes, never a clear identifier.
        row: String,
        /// What [`Past::find`] finds the row by, together with the station. A key belongs to the row that was kept with it last.
        keys: Vec<String>,
        /// When it was closed, on the gateway's clock; `None` for a row to [`restore`](Assembler::restore) at the next start.
        closed: Option<Timestamp>,
    },
    /// Delete the row.
    Drop {
        /// The row's id.
        id: String,
    },
    /// Closed for the first time: bill it. Comes once for each session id.
    Bill(ChargingSession),
    /// What came late changed a session that was billed: place, times, readings, idle spans or token. Credit what was billed and bill this.
    Correct(ChargingSession),
    /// A fact that belongs to no session. To be counted.
    Stray(StrayReason),
}

/// Why a fact belongs to no session. Closed words, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StrayReason {
    /// The payload lacks what its message must have.
    Unreadable,
    /// The answer to a start that never came.
    UnknownStart,
    /// Names a transaction that never became known, or none while no session or more than one fits.
    UnknownTransaction,
    /// A meter reading outside all sessions.
    OutsideSession,
    /// A second stop of a session, which says something else than the first.
    SecondStop,
    /// Too many facts of the station waited for their session; the oldest was given up.
    Crowded,
}

impl StrayReason {
    /// The metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::UnknownStart => "unknown_start",
            Self::UnknownTransaction => "unknown_transaction",
            Self::OutsideSession => "outside_session",
            Self::SecondStop => "second_stop",
            Self::Crowded => "crowded",
        }
    }
}

/// Assembles charging sessions from the facts of all stations, in the order of the journal.
#[derive(Debug, Default)]
pub struct Assembler {
    patience: Patience,
}

impl Assembler {
    /// A machine that has seen nothing yet.
    pub fn new(patience: Patience) -> Self {
        Self { patience }
    }

    /// Takes back a row that was not closed when it was kept.
    ///
    /// # Errors
    /// The text is no row.
    pub fn restore(&mut self, row: &str) -> Result<(), NotARow> {
        if row.is_empty() { Err(NotARow) } else { Ok(()) }
    }

    /// Takes one fact in. `ids` makes the random id of a new row.
    pub fn take(&mut self, entry: &Entry<'_>, past: &dyn Past, ids: &mut dyn FnMut() -> String) -> Vec<Change> {
        let _ = (entry, past, ids, self.patience);
        Vec::new()
    }

    /// Closes what has waited long enough. `now` should not run ahead of the journal: while facts are unread, the time of the last one read.
    pub fn age(&mut self, now: Timestamp) -> Vec<Change> {
        let _ = now;
        Vec::new()
    }

    /// All changes handed out so far are durable: closed sessions leave the memory, for [`Past`] finds them now.
    pub fn committed(&mut self) {}

    /// Sessions not closed.
    pub fn open(&self) -> usize {
        0
    }
}
