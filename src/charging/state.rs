//! What is known of one session: its row. A bill is computed from it alone, so it does not matter in which order things became known.

use super::energy::{MAX_READINGS, Meter, Quantity, ROUNDING, SLOP, Sample, Window, gist};
use super::facts::{Event, EventKind, Moment, Start, Stop};
use super::{ChargingSession, Ending, Patience, Reading, Remark, Span, Token};
use crate::clock::Timestamp;
use crate::pseudonym::Pseudonym;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

/// Keys of a session: two for its start, one for its stop, one each for the message and the number of every try; of 2.x its name, and its name
/// with its start. Beyond it the oldest tries are forgotten.
pub const MAX_KEYS: usize = 32;
/// Changes between charging and idle kept of a session. Beyond it neighbours are merged.
pub const MAX_PHASES: usize = 512;
/// Numbers kept of a session that others were given: a central system is reset once in its life, if at all.
pub(super) const MAX_LOST: usize = 4;
/// Stretches of message numbers kept of a session: gaps in them. With more it is never whole, and waits for its messages in vain.
pub const MAX_STRETCHES: usize = 64;
/// Tokens kept of a session: the first, and others to know that there were.
const MAX_TOKENS: usize = 4;
/// The longest stay, in milliseconds: a quarter of a year. A longer one is a clock that was set on the way.
pub(super) const MAX_STAY: i64 = 92 * 86_400_000;

/// A row of the store.
#[derive(Debug, Deserialize)]
pub(super) enum Row {
    Session(Box<State>),
    Held(Held),
}

/// A row about to be stored, written as [`Row`].
#[derive(Serialize)]
pub(super) enum RowOf<'a> {
    Session(&'a State),
    Held(&'a Held),
}

impl RowOf<'_> {
    pub(super) fn text(&self) -> String {
        // Numbers, texts and lists of them: nothing that JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A fact that waits for its session, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) station: String,
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) action: String,
    pub(super) message_id: String,
    pub(super) payload: String,
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) id: String,
    pub(super) station: String,
    pub(super) keys: Vec<String>,
    /// The place in the journal of its first fact.
    pub(super) first: u64,
    /// When something of it was last seen.
    pub(super) heard: Timestamp,
    pub(super) known: Known,
    /// Of 1.6: the central system's number for it is known.
    pub(super) numbered: bool,
    /// Keys of numbers that another session was given while this one ran: some of what names them is this one's.
    #[serde(default)]
    pub(super) lost: Vec<String>,
    /// When it was seen that another followed at its connector.
    pub(super) followed: Option<Timestamp>,
    pub(super) closed: Option<Timestamp>,
    /// The gist of what was billed last.
    pub(super) billed: Option<String>,
    /// It was whole when it was closed; what came since waits for more.
    pub(super) stirred: bool,
    /// It was corrected.
    pub(super) late: bool,
}

/// What a bill is computed from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Assembled from TransactionEvents.
    pub(super) events: bool,
    pub(super) evse: u32,
    pub(super) connector: u32,
    pub(super) start: Option<Moment>,
    pub(super) end: Option<End>,
    /// The start of the next session at the connector.
    pub(super) until: Option<Timestamp>,
    /// The earliest time by the station's clock, and when its first fact was seen.
    pub(super) earliest: Option<Timestamp>,
    pub(super) seen: Timestamp,
    /// Who was named, in the order of the message numbers (2.x) and times.
    pub(super) tokens: Vec<(i64, Timestamp, Token)>,
    pub(super) meter: Meter,
    /// Since when it is idle or not, by time and message number.
    phases: Vec<(Timestamp, i64, bool)>,
    /// The message numbers seen: stretches without a gap, in order.
    stretches: Vec<(i64, i64)>,
    odd: bool,
}

/// Its end, as the station says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) when: Moment,
    /// The message number (2.x).
    pub(super) seq: i64,
    /// Who stopped it (1.6).
    token: Option<Token>,
    /// The stop was taken for this session's because it fits no other.
    pub(super) presumed: Option<Presumed>,
}

/// A stop that names no transaction, or one that nobody knows. It is kept apart, to be given back when it turns out to be another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Presumed {
    pub(super) fact: Held,
    stop: Option<Sample>,
    samples: Vec<(Quantity, Sample)>,
}

impl State {
    pub(super) fn new(id: String, station: &str, first: u64, seen: Timestamp) -> Self {
        Self {
            id,
            station: station.to_owned(),
            keys: Vec::new(),
            first,
            heard: seen,
            known: Known { seen, ..Known::default() },
            numbered: false,
            lost: Vec::new(),
            followed: None,
            closed: None,
            billed: None,
            stirred: false,
            late: false,
        }
    }

    /// When it is to be closed, if nothing more is heard; `None` for at once.
    pub(super) fn due(&self, patience: &Patience) -> Option<Timestamp> {
        if self.known.is_whole() && !self.stirred {
            return None;
        }
        let (since, wait) = match (&self.known.end, self.followed) {
            (Some(_), _) => (self.heard, patience.settle),
            (None, Some(followed)) => (self.heard.max(followed), patience.settle),
            (None, None) => (self.heard, patience.max_age),
        };
        Some(after(since, wait))
    }

    /// The bill as things stand, and its gist.
    pub(super) fn bill(&self) -> (ChargingSession, String) {
        let mut session = self.known.session();
        session.id.clone_from(&self.id);
        session.station.clone_from(&self.station);
        if self.late {
            session.remarks.insert(Remark::Late);
        }
        let ChargingSession { evse, connector, token, started, ended, readings, idle, .. } = &session;
        let gist = gist(&(evse, connector, token, started, ended, readings, idle));
        (session, gist)
    }

    /// Makes it known by a key. Beyond [`MAX_KEYS`] the oldest message or number is forgotten.
    pub(super) fn add_key(&mut self, key: String) {
        if self.keys.len() >= MAX_KEYS {
            let oldest = self.keys.iter().position(|key| key.starts_with(['m', 't'])).unwrap_or(0);
            self.keys.remove(oldest);
        }
        self.keys.push(key);
    }
}

/// A moment later than another.
pub(super) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
}

/// Whether two tokens are the same. `None` if that cannot be told: a card has another code in each epoch.
pub(super) fn same_token(a: &Token, b: &Token) -> Option<bool> {
    if a.code == b.code {
        return Some(true);
    }
    let epoch = |token: &Token| Pseudonym::from_text(&token.code).and_then(|code| code.epoch_digit());
    match (epoch(a), epoch(b)) {
        (Some(a), Some(b)) if a != b => None,
        _ => Some(false),
    }
}

impl Known {
    /// Nothing more is expected: begun and ended, and of 2.x all message numbers between. They need not begin at 0.
    pub(super) fn is_whole(&self) -> bool {
        self.start.is_some() && self.end.is_some() && self.stretches.len() <= 1
    }

    /// The one who is billed: who was named first.
    pub(super) fn payer(&self) -> Option<&Token> {
        self.tokens.first().map(|(_, _, token)| token)
    }

    /// Notes a time and whether it is the station's.
    fn note(&mut self, when: &Moment) {
        self.odd |= when.odd;
        self.seen = self.seen.min(when.seen);
        if !when.odd {
            self.earliest = Some(self.earliest.map_or(when.at, |earliest| earliest.min(when.at)));
        }
    }

    pub(super) fn add_samples(&mut self, samples: &[(Quantity, Sample)]) {
        for (quantity, sample) in samples {
            self.meter.add(*quantity, *sample);
            self.odd |= sample.odd;
        }
    }

    fn add_token(&mut self, seq: i64, at: Timestamp, token: Token) {
        let place = self.tokens.partition_point(|(s, a, _)| (*s, *a) <= (seq, at));
        let again = |(_, _, known): &(i64, Timestamp, Token)| known.code == token.code;
        if self.tokens[..place].iter().any(again) {
            return;
        }
        if let Some(later) = self.tokens.iter().position(again) {
            self.tokens.remove(later);
        }
        self.tokens.insert(place, (seq, at, token));
        self.tokens.truncate(MAX_TOKENS);
    }

    /// Takes a start in (1.6).
    pub(super) fn start(&mut self, said: Start) {
        self.note(&said.when);
        (self.evse, self.connector) = (said.connector, said.connector);
        self.start = Some(said.when);
        self.meter.start = said.meter.map(|wh| Sample { at: said.when.at, wh, odd: said.when.odd });
        if let Some(token) = said.token {
            self.add_token(0, said.when.at, token);
        }
    }

    /// Takes a stop in (1.6).
    pub(super) fn stop(&mut self, said: Stop, presumed: Option<Held>) {
        let stop = said.meter.map(|wh| Sample { at: said.when.at, wh, odd: said.when.odd });
        let mut end = End { when: said.when, seq: 0, token: said.token, presumed: None };
        if let Some(fact) = presumed {
            let samples = said.samples.into_iter().take(MAX_READINGS).collect();
            end.presumed = Some(Presumed { fact, stop, samples });
        } else {
            self.note(&said.when);
            self.add_samples(&said.samples);
            self.meter.stop = stop;
        }
        self.end = Some(end);
    }

    /// Whether a stop says what is known already.
    pub(super) fn has_stop(&self, said: &Stop) -> bool {
        let stop = self.end.as_ref().and_then(|end| end.presumed.as_ref()).map_or(self.meter.stop, |presumed| presumed.stop);
        self.end.as_ref().is_some_and(|end| end.when.at == said.when.at || (end.when.odd && said.when.odd))
            && stop.map(|s| s.wh) == said.meter
    }

    /// Whether a stop that names no known transaction can be this session's: it runs, and times, register and token agree.
    pub(super) fn could_end(&self, said: &Stop) -> bool {
        let (false, None, Some(start)) = (self.events, &self.end, &self.start) else { return false };
        let last = self.meter.last();
        let higher = last.zip(said.meter).is_none_or(|(last, meter)| last.wh <= meter);
        let in_time = start.at <= said.when.at
            && self.until.is_none_or(|until| said.when.at <= until)
            && last.is_none_or(|last| last.odd || said.when.odd || last.at <= said.when.at);
        in_time && higher && !self.contradicts(said)
    }

    /// Whether register or card of a stop are another session's.
    pub(super) fn contradicts(&self, said: &Stop) -> bool {
        let lower = self.meter.last().zip(said.meter).is_some_and(|(last, meter)| meter + Decimal::from(ROUNDING) < last.wh);
        let foreign = self.payer().zip(said.token.as_ref()).is_some_and(|(payer, token)| same_token(payer, token) == Some(false));
        lower || foreign
    }

    /// Whether a reading from this moment, which names no transaction, is of this session.
    pub(super) fn spans(&self, at: Timestamp) -> bool {
        !self.events && self.end.is_none() && self.start.is_some_and(|start| start.at <= at) && self.until.is_none_or(|until| at <= until)
    }

    /// Takes an event in (2.x). All of it can be said twice and in any order.
    pub(super) fn event(&mut self, said: Event) {
        self.events = true;
        if said.when.odd && said.seq.is_some_and(|seq| self.has_number(seq)) {
            // A repetition; without a time of its own it would count as another.
            return;
        }
        self.note(&said.when);
        let seq = said.seq.unwrap_or(i64::MAX);
        let at = said.when.at;
        if let Some(seq) = said.seq {
            self.add_number(seq);
        }
        if said.kind == EventKind::Started && self.start.is_none_or(|start| (said.when.odd, at) < (start.odd, start.at)) {
            self.start = Some(said.when);
        }
        if said.kind == EventKind::Ended && self.end.as_ref().is_none_or(|end| (end.seq, end.when.at) < (seq, at)) {
            self.end = Some(End { when: said.when, seq, token: None, presumed: None });
        }
        if self.evse == 0 {
            self.evse = said.evse.unwrap_or(0);
        }
        if self.connector == 0 {
            self.connector = said.connector.unwrap_or(0);
        }
        if let Some(token) = said.token {
            self.add_token(seq, at, token);
        }
        if let Some(idle) = said.idle {
            self.add_phase(at, seq, idle);
        }
        self.add_samples(&said.samples);
    }

    pub(super) fn has_number(&self, seq: i64) -> bool {
        self.stretches.iter().any(|(first, last)| (*first..=*last).contains(&seq))
    }

    fn add_number(&mut self, seq: i64) {
        if self.has_number(seq) {
            return;
        }
        let at = self.stretches.partition_point(|(_, last)| *last < seq);
        let before = at > 0 && self.stretches[at - 1].1 + 1 == seq;
        let behind = self.stretches.get(at).is_some_and(|(first, _)| seq.checked_add(1) == Some(*first));
        match (before, behind) {
            (true, true) => self.stretches[at - 1].1 = self.stretches.remove(at).1,
            (true, false) => self.stretches[at - 1].1 = seq,
            (false, true) => self.stretches[at].0 = seq,
            (false, false) if self.stretches.len() < MAX_STRETCHES => self.stretches.insert(at, (seq, seq)),
            (false, false) => {}
        }
    }

    fn add_phase(&mut self, at: Timestamp, seq: i64, idle: bool) {
        let phases = &mut self.phases;
        let place = phases.partition_point(|(a, s, _)| (*a, *s) < (at, seq));
        if phases.get(place).is_some_and(|(a, s, _)| (*a, *s) == (at, seq)) {
            return;
        }
        phases.insert(place, (at, seq, idle));
        if phases.len() > MAX_PHASES {
            // One that says what was so already; else the shortest.
            let same = |i: &usize| phases[*i].2 == phases[i - 1].2;
            let shortest = |i: &usize| phases[i + 1].0.0.saturating_sub(phases[*i].0.0);
            let places = 1..phases.len() - 1;
            let at = places.clone().find(same).or_else(|| places.min_by_key(shortest));
            phases.remove(at.unwrap_or(1));
        }
    }

    /// The session as it stands, without its names.
    fn session(&self) -> ChargingSession {
        let mut remarks = BTreeSet::new();
        let end = self.end.as_ref();
        let mut meter = Cow::Borrowed(&self.meter);
        if let Some(presumed) = end.and_then(|end| end.presumed.as_ref()) {
            let meter = meter.to_mut();
            meter.stop = presumed.stop;
            presumed.samples.iter().for_each(|(quantity, sample)| meter.add(*quantity, *sample));
        }
        let earliest = meter.moments().chain(self.earliest).min();
        let mut odd = self.odd || end.is_some_and(|end| end.when.odd);
        // Charging is billed from the beginning of the transaction, also if the driver was authorised later: the place was taken.
        let mut started = match self.start {
            Some(start) if !start.odd => start.at,
            Some(start) => earliest.map_or(start.at, |earliest| earliest.min(start.at)),
            None => earliest.unwrap_or(self.seen),
        };
        let mut ended = end.map(|end| end.when.at);
        let stay = ended.map_or(0, |ended| ended.0.saturating_sub(started.0));
        let mended = !(0..=MAX_STAY).contains(&stay);
        if let (true, Some(end)) = (mended, end) {
            // The clock was set on the way. The gateway's own is right unless both came late, and then the stay is too short, never too long.
            started = self.start.map_or(self.seen, |start| start.seen).min(end.when.seen);
            ended = Some(end.when.seen);
            odd = true;
        } else if let (Some(end), Some(until)) = (ended, self.until.map(|until| until.max(started)))
            && end.0.saturating_sub(until.0) > SLOP
        {
            ended = Some(until);
            odd = true;
        }
        let window = Window { from: started, to: ended.or(self.until.map(|until| until.max(started))), mended };
        let measured = meter.measure(&window);
        odd |= !mended && meter.moments().any(|at| window.is_far_from(at));

        let mut readings = vec![Reading { at: started, wh: Decimal::ZERO }];
        for reading in measured.readings {
            // One for each moment; but what was taken at the beginning is not zero, and waits for the next.
            match &mut readings[..] {
                [.., last] if last.at == reading.at && last.wh == reading.wh => {}
                [_, .., last] if last.at == reading.at || last.at == started => *last = reading,
                _ => readings.push(reading),
            }
        }
        let last = readings.last().map_or(started, |last| last.at);
        let ended = ended.unwrap_or(last).max(last);
        let ending = match (end, self.until) {
            (Some(_), _) => Ending::Stopped,
            (None, Some(_)) => Ending::NextStart,
            (None, None) => Ending::Aged,
        };
        let idle = if self.phases.is_empty() {
            measured.idle
        } else if mended {
            Vec::new()
        } else {
            self.idle(started, ended)
        };
        let others = self.tokens.iter().map(|(_, _, token)| token).chain(end.and_then(|end| end.token.as_ref()));
        let another = self.payer().is_some_and(|payer| others.into_iter().any(|other| same_token(payer, other) == Some(false)));
        for (remark, so) in [
            (Remark::MissingStop, end.is_none()),
            (Remark::RegisterFell, measured.fell),
            (Remark::MissingMessages, self.start.is_none() || self.stretches.len() > 1),
            (Remark::NoEnergy, !measured.told),
            (Remark::StoppedByAnother, another),
            (Remark::OddTimes, odd),
        ] {
            if so {
                remarks.insert(remark);
            }
        }
        ChargingSession {
            id: String::new(),
            station: String::new(),
            evse: self.evse,
            // A station that does not number the connectors of an EVSE has one at it.
            connector: if self.connector == 0 { self.evse.min(1) } else { self.connector },
            token: self.payer().cloned(),
            named: self.tokens.first().map(|(_, at, _)| *at),
            started,
            ended: Some(ended),
            readings,
            idle,
            ending: Some(ending),
            remarks,
        }
    }

    /// The spans in which the station said that nothing was charged.
    fn idle(&self, started: Timestamp, ended: Timestamp) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (i, (at, _, idle)) in self.phases.iter().enumerate() {
            let from = (*at).clamp(started, ended);
            let to = self.phases.get(i + 1).map_or(ended, |(next, _, _)| (*next).clamp(started, ended));
            if !idle || from >= to {
                continue;
            }
            match spans.last_mut().filter(|span| span.to == from) {
                Some(span) => span.to = to,
                None => spans.push(Span { from, to }),
            }
        }
        spans
    }
}
