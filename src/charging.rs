//! Charging sessions assembled from facts. Pure: the same facts in the same order make the same sessions (I9), and no clear identifier
//! comes here (I7): who charged is a code, or an identifier that the central system issued itself.
//!
//! ```text
//!  fact ──▶ facts (what it says) ──▶ one_six, two_x (whose it is) ──▶ state (what is known) ──▶ energy ──▶ a bill
//!                                              └── assembler: memory, the past, what waits, when to close
//! ```
//! A session's row holds what is known, and its bill is computed from that alone; so facts may come late, twice and in any order, and a bill
//! that would now be another is corrected. What was decided where the protocols leave room:
//!
//! - A session is billed from the beginning of the transaction, also if the driver was authorised later, and the one who started it pays.
//! - Without a stop it is billed up to the last reading.
//! - The register counts before intervals, and `meterStart` and `meterStop` of 1.6 before readings between them, which are left out where they
//!   are of another register. What was taken across a fall or a leap of the register is not billed, nor from a `meterStart` of zero that stands
//!   for a meter that was not known; a single value that its neighbours contradict is left out.
//! - Only values of the outlet count (or without a place, which means the outlet), and none that is signed or of another unit.
//! - Idle is what the station says (`chargingState`); where it says nothing, as in 1.6, the time between two readings that are the same.
//! - An absurd time is replaced by the gateway's; so are both ends of a session whose clock was set on the way.
//! - A stop or reading is never guessed to be of a session. A stop without a known number is taken for the only session of the station that
//!   fits, and given back when more becomes known; else it waits.

mod assembler;
mod energy;
mod facts;
mod one_six;
mod state;
mod two_x;

use crate::clock::Timestamp;
use crate::ocpp::Version;
pub use assembler::{Assembler, Change, MAX_HELD, MAX_HELD_BYTES, MAX_OPEN, NotARow, Past, Patience, StrayReason};
pub use energy::MAX_READINGS;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
pub use state::{MAX_KEYS, MAX_PHASES, MAX_STRETCHES};
use std::collections::BTreeSet;

/// A fact as the journal hands it out.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Its place in the journal.
    pub seq: u64,
    /// The charging station.
    pub station: &'a str,
    /// The OCPP version it came in.
    pub version: Version,
    /// When the gateway saw it.
    pub at: Timestamp,
    /// As [`Fact::action`](crate::treat::Fact).
    pub action: &'a str,
    /// The frame's message id.
    pub message_id: &'a str,
    /// The treated payload, JSON.
    pub payload: &'a str,
}

/// A charging session: what one driver took at one connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargingSession {
    /// Random, given at its first fact; says nothing about station, driver or time.
    pub id: String,
    /// The charging station.
    pub station: String,
    /// The EVSE's number at the station; in 1.6 that of the connector.
    pub evse: u32,
    /// The connector's number at the EVSE; in 1.6 the same as `evse`.
    pub connector: u32,
    /// Who charged; `None` while nobody has been authorised.
    pub token: Option<Token>,
    /// When who charged was first named: at a station where the transaction begins with the cable, later than it began.
    #[serde(default)]
    pub named: Option<Timestamp>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended: Option<Timestamp>,
    /// Energy taken since the beginning, in the order of time: the first is zero at `started`, and it never falls.
    pub readings: Vec<Reading>,
    /// Spans in which nothing was charged while the vehicle was connected, in the order of time, without overlap.
    pub idle: Vec<Span>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// What was odd about it.
    pub remarks: BTreeSet<Remark>,
}

/// Who charged, by code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The code in the central system's domain, upper case; or an identifier that the central system issued itself.
    pub code: String,
    /// The `type` of a 2.x idToken (`ISO14443`, `eMAID`, `Central`, …); `None` in 1.6.
    pub kind: Option<String>,
}

/// Energy taken since the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When it was read.
    pub at: Timestamp,
    /// In Wh, not negative.
    pub wh: Decimal,
}

/// A span of time, the end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end, after the beginning.
    pub to: Timestamp,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The station said so.
    Stopped,
    /// No stop came; the next session at the connector shows that it was over.
    NextStart,
    /// No stop came and nothing was heard for the time that the configuration allows.
    Aged,
}

/// What was odd about a session. Closed words: they go into logs, metrics and the operator's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Remark {
    /// Closed without a stop: billed up to the last reading.
    MissingStop,
    /// The register fell, or leapt further than a vehicle takes: it was reset, rolled over or its meter exchanged; what was taken between the
    /// readings around it is not billed.
    RegisterFell,
    /// A message between the first and the last never came.
    MissingMessages,
    /// No energy could be told.
    NoEnergy,
    /// Stopped by another card than it was started by.
    StoppedByAnother,
    /// A message that came after it had been billed changed the bill.
    Late,
    /// Times that do not fit each other were put right.
    OddTimes,
}
