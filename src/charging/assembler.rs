//! The machine that puts facts together: one row per charging session, billed exactly once. It looks a session up in its memory and then in
//! the past, by keys; scanning is for open sessions, which are all in memory, so batches and restarts change nothing.

use super::facts::{self, Said};
use super::state::{Held, Known, MAX_LOST, Row, RowOf, State, after};
use super::{ChargingSession, Entry, Remark};
use crate::clock::Timestamp;
use crate::ocpp::Version;
use std::collections::HashMap;
use std::time::Duration;

/// Sessions not closed of one station. With one more, the one that was silent longest is closed as [`Aged`](super::Ending::Aged).
pub const MAX_OPEN: usize = 256;
/// Facts of one station that wait for their session. With one more, the oldest is given up.
pub const MAX_HELD: usize = 64;
/// The longest payload of a fact that waits, in bytes.
pub const MAX_HELD_BYTES: usize = 65_536;

/// How long the machine waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// After an end, for messages that are still missing. 15 minutes unless told otherwise.
    pub settle: Duration,
    /// With nothing heard of a session, before it is closed as [`Aged`](super::Ending::Aged); and for a fact that waits for its session. 48 hours
    /// unless told otherwise.
    pub max_age: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { settle: Duration::from_secs(15 * 60), max_age: Duration::from_secs(48 * 3600) }
    }
}

/// Where sessions that were closed before are found again: the store.
pub trait Past {
    /// The row of the session of `station` that was kept with `key` last, as of the last commit.
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
        /// When it was closed, on the gateway's clock; `None` for a row to [`restore`](Assembler::restore) at the next start. A session that was
        /// closed can be open again, when something came late that is not all yet.
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
    /// Too many facts of the station waited for their session, or this one was too long to wait.
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
    stations: HashMap<String, Station>,
}

/// What is in memory of one station: its open sessions, those closed since the last commit, and its facts that wait.
#[derive(Debug, Default)]
pub(super) struct Station {
    pub(super) sessions: Vec<State>,
    held: Vec<Held>,
}

/// Where a fact went.
pub(super) enum Placed {
    /// Into a session, or nowhere because nothing new is in it.
    Yes,
    /// Its session is not known yet.
    NotYet,
    /// Nowhere.
    Stray(StrayReason),
}

/// One fact on its way in.
pub(super) struct Turn<'a> {
    pub(super) station: &'a mut Station,
    name: &'a str,
    pub(super) past: &'a dyn Past,
    pub(super) ids: &'a mut dyn FnMut() -> String,
    /// The ids of the sessions that changed, in the order they did.
    pub(super) touched: Vec<String>,
    /// Facts that were taken for another session's and wait again.
    pub(super) freed: Vec<Held>,
}

impl Assembler {
    /// A machine that has seen nothing yet.
    pub fn new(patience: Patience) -> Self {
        Self { patience, stations: HashMap::new() }
    }

    /// Takes back a row that was not closed when it was kept.
    ///
    /// # Errors
    /// The text is no row.
    pub fn restore(&mut self, row: &str) -> Result<(), NotARow> {
        match serde_json::from_str(row).map_err(|_| NotARow)? {
            Row::Session(state) if state.closed.is_none() => {
                let sessions = &mut self.stations.entry(state.station.clone()).or_default().sessions;
                let at = sessions.partition_point(|other| other.first < state.first);
                sessions.insert(at, *state);
            }
            Row::Session(_) => {}
            Row::Held(held) => {
                let waiting = &mut self.stations.entry(held.station.clone()).or_default().held;
                let at = waiting.partition_point(|other| other.seq < held.seq);
                waiting.insert(at, held);
            }
        }
        Ok(())
    }

    /// Takes one fact in. `ids` makes the random id of a new row.
    pub fn take(&mut self, entry: &Entry<'_>, past: &dyn Past, ids: &mut dyn FnMut() -> String) -> Vec<Change> {
        let station = self.stations.entry(entry.station.to_owned()).or_default();
        let mut changes = Vec::new();
        let mut turn = Turn { station, name: entry.station, past, ids, touched: Vec::new(), freed: Vec::new() };
        match turn.place(entry) {
            Placed::Yes => {}
            Placed::Stray(why) => changes.push(Change::Stray(why)),
            Placed::NotYet => {
                let held = turn.held(entry);
                turn.freed.push(held);
            }
        }
        // What waits may have found its session now, and with it more may.
        let mut hopeful = !turn.touched.is_empty();
        while hopeful {
            hopeful = false;
            for held in std::mem::take(&mut turn.station.held) {
                match turn.place(&held.entry()) {
                    Placed::NotYet => turn.station.held.push(held),
                    placed => {
                        changes.push(Change::Drop { id: held.id });
                        if let Placed::Stray(why) = placed {
                            changes.push(Change::Stray(why));
                        }
                        hopeful = true;
                    }
                }
            }
        }
        let Turn { touched, freed, station, .. } = turn;
        for held in freed {
            hold(station, held, &mut changes);
        }
        for id in touched {
            let Some(state) = station.sessions.iter_mut().find(|state| state.id == id) else { continue };
            if state.closed.is_none() && state.due(&self.patience).is_none() {
                close(state, entry.at, &mut changes);
            }
            changes.push(keep(state));
        }
        while station.sessions.iter().filter(|state| state.closed.is_none()).count() > MAX_OPEN {
            let open = station.sessions.iter_mut().filter(|state| state.closed.is_none());
            let Some(silent) = open.min_by_key(|state| (state.heard, state.first)) else { break };
            close(silent, entry.at, &mut changes);
            changes.push(keep(silent));
        }
        changes
    }

    /// Closes what has waited long enough. `now` should not run ahead of the journal: while facts are unread, it is the time of the last one
    /// read, or sessions are closed as silent whose facts are there.
    pub fn age(&mut self, now: Timestamp) -> Vec<Change> {
        let mut due = Vec::new();
        let mut expired = Vec::new();
        for station in self.stations.values_mut() {
            due.extend(station.sessions.iter_mut().filter(|s| s.closed.is_none() && s.due(&self.patience).is_none_or(|due| due <= now)));
            let (old, rest) = std::mem::take(&mut station.held).into_iter().partition(|h| after(h.at, self.patience.max_age) <= now);
            station.held = rest;
            expired.extend::<Vec<Held>>(old);
        }
        let mut changes = Vec::new();
        due.sort_by_key(|state| state.first);
        for state in due {
            close(state, now, &mut changes);
            changes.push(keep(state));
        }
        expired.sort_by_key(|held| held.seq);
        for held in expired {
            let why = if held.action == "StartTransactionResponse" { StrayReason::UnknownStart } else { StrayReason::UnknownTransaction };
            changes.extend([Change::Drop { id: held.id }, Change::Stray(why)]);
        }
        changes
    }

    /// All changes handed out so far are durable: closed sessions leave the memory, for [`Past`] finds them now.
    pub fn committed(&mut self) {
        self.stations.retain(|_, station| {
            station.sessions.retain(|state| state.closed.is_none());
            !station.sessions.is_empty() || !station.held.is_empty()
        });
    }

    /// Sessions not closed.
    pub fn open(&self) -> usize {
        self.stations.values().flat_map(|station| &station.sessions).filter(|state| state.closed.is_none()).count()
    }
}

impl Held {
    pub(super) fn entry(&self) -> Entry<'_> {
        let Self { seq, at, station, action, message_id, payload, .. } = self;
        Entry { seq: *seq, station, version: Version::V16, at: *at, action, message_id, payload }
    }
}

impl Turn<'_> {
    fn place(&mut self, entry: &Entry<'_>) -> Placed {
        match facts::read(entry) {
            Err(why) => Placed::Stray(why),
            Ok(Said::Start(start)) => self.start(entry, start),
            Ok(Said::Number(number)) => self.number(entry, number),
            Ok(Said::Stop(stop)) => self.stop(entry, stop),
            Ok(Said::Readings(readings)) => self.readings(entry, &readings),
            Ok(Said::Event(event)) => self.event(entry, event),
            Ok(Said::Nothing) => Placed::Yes,
        }
    }

    /// The fact as it came, to be looked at again.
    pub(super) fn held(&mut self, entry: &Entry<'_>) -> Held {
        Held {
            id: (self.ids)(),
            station: entry.station.to_owned(),
            seq: entry.seq,
            at: entry.at,
            action: entry.action.to_owned(),
            message_id: facts::part(entry.message_id),
            payload: entry.payload.to_owned(),
        }
    }

    /// Where the session that a key belongs to stands in memory; it is brought there from the past.
    pub(super) fn find(&mut self, key: &str) -> Option<usize> {
        let sessions = &self.station.sessions;
        if let Some(at) = sessions.iter().position(|state| state.keys.iter().any(|k| k == key)) {
            return Some(at);
        }
        let mut state = self.recall(key)?;
        if sessions.iter().any(|other| other.id == state.id) {
            // It is here, and has forgotten the key.
            return None;
        }
        // Others may own keys by now that its row still lists.
        let listed = std::mem::take(&mut state.keys);
        for key in listed {
            let taken = sessions.iter().any(|other| other.keys.contains(&key));
            if !taken && self.recall(&key).is_some_and(|owner| owner.id == state.id) {
                state.keys.push(key);
            }
        }
        self.station.sessions.push(state);
        Some(self.station.sessions.len() - 1)
    }

    fn recall(&self, key: &str) -> Option<State> {
        match serde_json::from_str(&self.past.find(self.name, key)?) {
            Ok(Row::Session(state)) if state.keys.iter().any(|k| k == key) => Some(*state),
            _ => None,
        }
    }

    /// Gives a key to a session; another that has it loses it.
    pub(super) fn claim(&mut self, at: usize, key: String) {
        if self.station.sessions[at].keys.contains(&key) {
            return;
        }
        for i in 0..self.station.sessions.len() {
            let other = &mut self.station.sessions[i];
            if let Some(place) = other.keys.iter().position(|k| *k == key) {
                other.keys.remove(place);
                if key.starts_with("t:") && other.closed.is_none() {
                    // Without a number of its own it is as one whose answer nobody saw.
                    other.numbered = other.keys.iter().any(|key| key.starts_with("t:"));
                    if other.lost.len() >= MAX_LOST {
                        other.lost.remove(0);
                    }
                    other.lost.push(key.clone());
                }
                self.touch(i);
            }
        }
        self.station.sessions[at].add_key(key);
        self.touch(at);
    }

    pub(super) fn touch(&mut self, at: usize) {
        let id = &self.station.sessions[at].id;
        if !self.touched.contains(id) {
            self.touched.push(id.clone());
        }
    }

    /// Begins a session.
    pub(super) fn begin(&mut self, entry: &Entry<'_>) -> usize {
        let id = (self.ids)();
        self.station.sessions.push(State::new(id, entry.station, entry.seq, entry.at));
        self.touch(self.station.sessions.len() - 1);
        self.station.sessions.len() - 1
    }

    /// Lets a fact change what is known of a session; if it was closed and anything is new, it is open again until that is settled.
    pub(super) fn learn(&mut self, entry: &Entry<'_>, at: usize, change: impl FnOnce(&mut Known)) {
        let state = &mut self.station.sessions[at];
        if state.closed.is_none() {
            change(&mut state.known);
        } else {
            let before = state.known.clone();
            change(&mut state.known);
            if state.known == before {
                return;
            }
            state.closed = None;
            state.stirred = before.is_whole() && before.end == state.known.end;
        }
        state.heard = state.heard.max(entry.at);
        self.touch(at);
    }

    /// The open sessions that began before this one at its place and did not end are over: the next driver is there.
    pub(super) fn follow(&mut self, entry: &Entry<'_>, at: usize) {
        let State { known, first, .. } = &self.station.sessions[at];
        let (evse, Some(start), first) = (known.evse, known.start, *first) else { return };
        for i in 0..self.station.sessions.len() {
            let other = &mut self.station.sessions[i];
            let before = other.closed.is_none() && other.first < first && other.known.evse == evse && evse > 0;
            let began = other.known.start.map_or(other.known.earliest, |start| Some(start.at));
            if !before || other.known.end.is_some() || began.is_none_or(|began| began >= start.at) {
                continue;
            }
            if other.known.until.is_none_or(|until| start.at < until) {
                other.known.until = Some(start.at);
                other.followed.get_or_insert(entry.at);
                self.touch(i);
            }
        }
    }
}

/// Lets a fact wait, and gives up the oldest if too many do.
fn hold(station: &mut Station, held: Held, changes: &mut Vec<Change>) {
    if held.payload.len() > MAX_HELD_BYTES {
        changes.push(Change::Stray(StrayReason::Crowded));
        return;
    }
    if station.held.len() >= MAX_HELD {
        let oldest = station.held.remove(0);
        changes.extend([Change::Drop { id: oldest.id }, Change::Stray(StrayReason::Crowded)]);
    }
    let id = held.id.clone();
    let place = station.held.partition_point(|other| other.seq < held.seq);
    let row = RowOf::Held(&held).text();
    changes.push(Change::Keep { id, station: held.station.clone(), row, keys: Vec::new(), closed: None });
    station.held.insert(place, held);
}

/// Closes a session, and bills what was not billed so.
fn close(state: &mut State, now: Timestamp, changes: &mut Vec<Change>) {
    let (mut session, gist) = state.bill();
    state.closed = Some(now);
    state.stirred = false;
    if state.billed.is_none() {
        changes.push(Change::Bill(session));
    } else if state.billed.as_ref() != Some(&gist) {
        state.late = true;
        session.remarks.insert(Remark::Late);
        changes.push(Change::Correct(session));
    }
    state.billed = Some(gist);
}

fn keep(state: &State) -> Change {
    let row = RowOf::Session(state).text();
    Change::Keep { id: state.id.clone(), station: state.station.clone(), row, keys: state.keys.clone(), closed: state.closed }
}
