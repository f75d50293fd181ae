//! One station's conversation, sans-io: pending calls, epoch pinning, what to do with each frame. Pure: time, keys and storage
//! are arguments, and the same input makes the same step (I9).

mod answers;
mod bounds;
mod budget;
mod calls;
mod step;
mod turn;

use crate::clock::Timestamp;
use crate::identity::{Codes, Epoch, Reveal, Sighting};
use crate::ocpp::frame::{BadFrame, Frame};
use crate::ocpp::json::Unreadable;
use crate::ocpp::{Kind, Side, Version};
use crate::policy::{Mode, Rules};
use crate::treat::{self, Context, Fact, Memory, Metered, Treated, Verdict};
pub use bounds::{Bounds, LONG, LONG_ANSWERS, SHORT};
pub use budget::Allowance;
use budget::Budget;
pub use calls::MAX_PENDING;
use calls::{Calls, Match, Meeting, Pending};
use smallvec::smallvec;
use std::collections::VecDeque;
use std::sync::Arc;
pub use step::{Outcome, Pace, Seen, Step};
use turn::{Turn, error_frame, no_frame, too_often, violation};

/// Transactions whose epoch is remembered per station; older ones are found in the vault.
const MAX_PINS: usize = 32;
/// Transactions that stay pinned after their end was acknowledged: a station may not have got that, and sends the end again, perhaps in the
/// next epoch.
const MAX_ENDED: usize = 8;
/// The longest message id that is passed on or echoed, in bytes; the standard allows 36 characters.
pub const MAX_ID: usize = 128;
/// How far the session's own clock goes on at a time, in milliseconds: a wall clock that jumps ahead gives up no CALL.
const MAX_PASSED: i64 = 60_000;

/// The conversation with one station.
pub struct Session {
    version: Version,
    station: Box<str>,
    rules: Arc<Rules>,
    codes: Arc<dyn Codes>,
    bounds: Bounds,
    memory: Memory,
    /// By the side that sends the CALL: station, csms.
    calls: [Calls; 2],
    pins: VecDeque<(String, Epoch)>,
    /// Transactions whose end was acknowledged lately.
    ended: VecDeque<String>,
    budget: Budget,
    /// The wall clock, and the session's own that never goes back, in milliseconds.
    time: (Option<Timestamp>, i64),
    /// Ids given to CALLs whose own was taken.
    renamed: u32,
}

impl Session {
    /// Begins a conversation in the version that was agreed with the station, which is known by the id `station`.
    pub fn new(version: Version, station: &str, rules: Arc<Rules>, codes: Arc<dyn Codes>) -> Self {
        let bounds = Bounds::default();
        Self {
            version,
            station: station.into(),
            rules,
            codes,
            bounds,
            memory: Memory::default(),
            calls: Default::default(),
            pins: VecDeque::new(),
            ended: VecDeque::new(),
            budget: Budget::new(bounds.station),
            time: (None, 0),
            renamed: 0,
        }
    }

    /// The same conversation under other bounds than the default ones.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self { bounds, budget: Budget::new(bounds.station), ..self }
    }

    /// Whether no CALL of either side waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.calls.iter().all(|calls| calls.waiting() == 0)
    }

    /// Reads one text (or binary) message from one side and says what to do. Never panics, whatever the bytes.
    pub fn on_frame(&mut self, from: Side, frame: &[u8], now: Timestamp, vault: &dyn Reveal) -> Step {
        match std::str::from_utf8(frame) {
            Ok(text) => self.on_text(from, text, now, vault),
            Err(_) => {
                let pace = self.pay(from, frame.len(), now);
                let bad = BadFrame { kind: None, id: None, why: Unreadable::Syntax };
                Step { pace, ..self.unreadable(from, &bad) }
            }
        }
    }

    /// [`Session::on_frame`] for a binary message. OCPP-J has none; what reads as one is treated as such and goes on as text, but a policy
    /// that observes passes it on as it came.
    pub fn on_binary(&mut self, from: Side, message: &[u8], now: Timestamp, vault: &dyn Reveal) -> Step {
        let mut step = self.on_frame(from, message, now, vault);
        if let Some(observed) = treat::observed_binary(&self.rules, message) {
            step.send.clear();
            step.send.push((from.other(), observed));
        }
        step
    }

    /// [`Session::on_frame`] for a message that is known to be UTF-8, as every WebSocket text message is.
    pub fn on_text(&mut self, from: Side, text: &str, now: Timestamp, vault: &dyn Reveal) -> Step {
        let pace = self.pay(from, text.len(), now);
        let rules = Arc::clone(&self.rules);
        let plain = without_trimmings(text);
        let mut step = match Frame::read(plain) {
            Ok(frame) => {
                let turn = Turn { text: plain, frame: &frame, from, now, vault, rules: &rules };
                match frame.kind {
                    Kind::Call | Kind::Send => self.call(&turn),
                    Kind::CallResult | Kind::CallError => self.answer(&turn),
                    Kind::CallResultError => self.complaint(&turn),
                }
            }
            Err(bad) => self.unreadable(from, &bad),
        };
        if let Some(observed) = treat::observed(&rules, text) {
            step.send.clear();
            step.send.push((from.other(), observed));
        }
        step.pace = pace;
        step
    }

    /// Lets time pass, to be called now and then whether frames come or not: each CALL that has waited longer than [`Bounds::patience`] is
    /// answered with an error, so that nothing waits for ever, and makes a step.
    pub fn on_time(&mut self, now: Timestamp) -> Vec<Step> {
        self.pass(now);
        let before = self.time.1.saturating_sub(i64::try_from(self.bounds.patience.as_millis()).unwrap_or(i64::MAX));
        let observing = self.rules.mode == Mode::Observe;
        let mut steps = Vec::new();
        for from in [Side::Station, Side::Csms] {
            while let Some(pending) = self.calls[from as usize].give_up(before) {
                if observing {
                    continue;
                }
                let error = error_frame(pending.id(), "GenericError", "no answer came in time");
                let seen =
                    Seen { from, kind: Some(Kind::Call), action: pending.action, outcome: Outcome::Unanswered, withheld: 0, replaced: 0 };
                steps.push(Step { send: smallvec![(from, error)], settles: pending.settles, seen: Some(seen), ..Step::default() });
            }
        }
        steps
    }

    /// CALLs of a side that wait for their answer: at most [`MAX_PENDING`].
    pub fn waiting(&self, from: Side) -> usize {
        self.calls[from as usize].waiting()
    }

    /// Moves the session's own clock on.
    fn pass(&mut self, now: Timestamp) {
        let (last, clock) = self.time;
        let passed = last.map_or(0, |last| now.0.saturating_sub(last.0).clamp(0, MAX_PASSED));
        self.time = (Some(now), clock + passed);
    }

    fn pay(&mut self, from: Side, bytes: usize, now: Timestamp) -> Pace {
        self.pass(now);
        if from == Side::Station { self.budget.spend(bytes, self.time.1) } else { Pace::Go }
    }

    fn call(&mut self, turn: &Turn<'_>) -> Step {
        let Turn { frame, from, rules, .. } = *turn;
        let codes = Arc::clone(&self.codes);
        let plan = rules.plan(self.version);
        let Some((action, call)) = plan.call(from, &frame.name) else {
            return turn.refuse("other", "NotImplemented", Outcome::AnsweredHere);
        };
        let Some(call) = call.filter(|call| call.send == (frame.kind == Kind::Send)) else {
            return turn.refuse(action, "NotSupported", Outcome::Refused);
        };
        if frame.id.len() > MAX_ID {
            return turn.refuse(action, violation(self.version), Outcome::Refused);
        }
        if self.bounds.exceeded(frame.kind, action, turn.text.len()) {
            return turn.refuse(action, "GenericError", Outcome::TooBig);
        }
        let observing = rules.mode == Mode::Observe;
        let coded = (from == Side::Station && !rules.allow_all).then(|| self.coded_id(&frame.id)).flatten();
        let print = calls::print(turn.text);
        let meeting = match frame.kind {
            Kind::Call if !rules.allow_all => self.calls[from as usize].meet(coded.as_deref().unwrap_or(&frame.id), &frame.id, print),
            _ => Meeting::New,
        };
        let sent = match meeting {
            Meeting::Full if observing => None,
            Meeting::Full => return turn.refuse(action, "GenericError", Outcome::TooMany),
            Meeting::Collision => Some(self.another_id(&frame.id)),
            Meeting::Retry(sent) if *sent != *frame.id => Some(sent),
            Meeting::New | Meeting::Retry(_) => coded,
        };
        if sent.is_some() && frame.is_number {
            // What was a number does not come back as a text.
            return turn.refuse(action, violation(self.version), Outcome::Refused);
        }
        let (fact_id, sent) = (sent.clone(), if observing { None } else { sent });
        let mut pending = Pending {
            sent: sent.as_deref().unwrap_or(&frame.id).into(),
            own: sent.as_ref().map(|_| Box::from(&*frame.id)),
            action,
            settles: false,
            more: None,
            print,
            since: self.time.1,
            answered: false,
        };
        // A station's own id may hold a card number, so what is remembered of it is its code.
        let transaction = if from == Side::Station { turn.transaction(action) } else { None };
        let event = if action == "TransactionEvent" { turn.payload().peek_string("eventType") } else { None };
        let metered = match action {
            "TransactionEvent" => Metered::event(transaction.as_deref(), event.as_deref()),
            _ => Metered::of(self.version, action),
        };
        let transaction = transaction.map(|id| self.coded_id(&id).unwrap_or_else(|| id.into_owned()));
        let epoch = transaction.as_deref().and_then(|t| self.pinned(t, turn.vault));
        let context = Context {
            rules,
            plan,
            to: from.other(),
            codes: &*codes,
            vault: turn.vault,
            epoch,
            now: turn.now,
            asked: &[],
            metered,
            vendor: None,
        };
        let treated = if call.crosses {
            treat::frame(&context, &mut self.memory, turn.text, (frame.id_span.clone(), sent.as_deref()), frame.rest, call.request)
        } else {
            // Nobody needs it; but what cannot be read is refused as such.
            turn.readable().map(|()| Treated::withheld())
        };
        let Ok(treated) = treated else {
            return turn.refuse(action, violation(self.version), Outcome::Refused);
        };
        if treated.tally.crowded {
            return turn.refuse(action, too_often(self.version), Outcome::TooMany);
        }
        // The action is a word of the standard, and the id was looked at when it was decided whether it needs a code; unless this very frame
        // has brought an identifier.
        let head = if treated.tally.replaced == 0 { treated.payload.start } else { 0 };
        let outcome = if treated.tally.foreign > 0 {
            Outcome::ForeignIdentifier
        } else if treated.verdict == Verdict::Withheld || treated.tally.forbidden > 0 {
            Outcome::AnsweredHere
        } else if from == Side::Station && !observing && !treat::may_leave(&context, &self.memory, &treated, head) {
            Outcome::Tripwire
        } else if treated.changed {
            Outcome::Treated
        } else {
            Outcome::Untouched
        };
        if !matches!(outcome, Outcome::Treated | Outcome::Untouched) {
            if observing && frame.kind == Kind::Call {
                self.calls[from as usize].expect(pending);
            }
            return turn.answer_here(action, call, outcome, &treated.tally);
        }
        treat::note(&mut self.memory, &treated.tally);
        let mut step = Step { seen: Some(turn.seen(action, outcome, &treated.tally)), ..Step::default() };
        let Treated { frame: outgoing, payload, tally, .. } = treated;
        if tally.vendor.is_some() {
            pending.more().vendor = tally.vendor;
        }
        if from == Side::Csms && names_settings(action) {
            pending.more().asked = treat::asked(turn.payload());
        }
        if from == Side::Station && is_transaction_message(action) {
            pending.settles = true;
            let message_id = fact_id.unwrap_or_else(|| frame.id.to_string());
            step.facts = vec![Fact { action, message_id, payload: outgoing.as_str()[payload].to_owned() }];
            self.follow(&mut pending, &mut step, event.as_deref(), transaction, &tally.sightings);
        }
        step.sightings = tally.sightings;
        if frame.kind == Kind::Call {
            self.calls[from as usize].expect(pending);
        }
        step.send = smallvec![(from.other(), outgoing)];
        step
    }

    /// Pins a transaction to the epoch it was begun in, and lets it go when it ends.
    fn follow(&mut self, pending: &mut Pending, step: &mut Step, event: Option<&str>, transaction: Option<String>, sightings: &[Sighting]) {
        let epoch = sightings.iter().find_map(|s| self.codes.epoch_of(&s.code));
        match (pending.action, transaction) {
            ("StartTransaction", _) => pending.more().begins = epoch,
            ("StopTransaction", Some(transaction)) => pending.more().ends = Some(transaction),
            ("TransactionEvent", Some(transaction)) => {
                let known = self.pins.iter().any(|(t, _)| *t == transaction);
                if let (Some(epoch), false) = (epoch, known) {
                    step.pins.push((transaction.clone(), Some(epoch)));
                    self.pin(transaction.clone(), epoch);
                }
                if event == Some("Ended") {
                    pending.more().ends = Some(transaction);
                }
            }
            _ => {}
        }
    }

    fn pin(&mut self, transaction: String, epoch: Epoch) {
        self.ended.retain(|ended| *ended != transaction);
        if self.pins.len() >= MAX_PINS {
            self.pins.pop_front();
        }
        self.pins.push_back((transaction, epoch));
    }

    fn pinned(&self, transaction: &str, vault: &dyn Reveal) -> Option<Epoch> {
        let here = self.pins.iter().find(|(t, _)| t == transaction).map(|(_, epoch)| *epoch);
        here.or_else(|| vault.pinned(&self.station, transaction))
    }

    /// A transaction's end was acknowledged. The one that ended longest ago is let go.
    fn end(&mut self, transaction: String, step: &mut Step) {
        self.ended.retain(|ended| *ended != transaction);
        self.ended.push_back(transaction);
        if self.ended.len() > MAX_ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.pins.retain(|(pinned, _)| *pinned != oldest);
            step.pins.push((oldest, None));
        }
    }

    /// A station chooses its message ids; one that could hold a card number goes up as a one-way code. The table of pending calls
    /// finds the way back, and a retry under the same id has the same code.
    fn coded_id(&self, id: &str) -> Option<String> {
        if treat::is_harmless_reference(id) && !self.memory.watch.knows(id) || id.is_empty() {
            return None;
        }
        Some(self.digest(id))
    }

    /// An id for a CALL whose own is taken.
    fn another_id(&mut self, id: &str) -> String {
        self.renamed = self.renamed.wrapping_add(1);
        self.digest(&format!("{id}\0{}", self.renamed))
    }

    fn digest(&self, id: &str) -> String {
        self.codes.digest("message", id).iter().map(|b| char::from(*b)).collect()
    }

    /// What cannot be read goes nowhere. Its sender gets an error under the id that could be read, or `-1` (OCPP 2.1 Part 4
    /// §4.2.3); if it was an answer, the one who waits for it does.
    fn unreadable(&mut self, from: Side, bad: &BadFrame) -> Step {
        let kind = match bad.kind {
            Some(2) => Some(Kind::Call),
            Some(3) => Some(Kind::CallResult),
            Some(4) => Some(Kind::CallError),
            Some(5) => Some(Kind::CallResultError),
            Some(6) => Some(Kind::Send),
            _ => None,
        };
        let id = bad.id.as_deref().filter(|id| id.len() <= MAX_ID);
        let mut action = "other";
        let mut settles = false;
        let reply = match kind {
            Some(Kind::Send | Kind::CallResultError) => None,
            Some(Kind::CallResult | Kind::CallError) => match id.map(|id| self.calls[from.other() as usize].settle(id, false)) {
                Some(Match::Pending(pending)) => {
                    action = pending.action;
                    settles = pending.settles;
                    Some((from.other(), error_frame(pending.id(), "InternalError", "the answer could not be read")))
                }
                _ => None,
            },
            Some(Kind::Call) | None => {
                let code = match (bad.kind, self.version) {
                    // What begins with another number and goes on as a frame is of a type that nobody knows.
                    (Some(kind), version) if kind != 2 && bad.id.is_some() => match version {
                        Version::V16 => "NotSupported",
                        _ => "MessageTypeNotSupported",
                    },
                    (_, version) => no_frame(version),
                };
                Some((from, error_frame(id.unwrap_or("-1"), code, "the message could not be read")))
            }
        };
        let seen = Seen { from, kind, action, outcome: Outcome::Refused, withheld: 0, replaced: 0 };
        Step { send: reply.into_iter().collect(), settles, seen: Some(seen), ..Step::default() }
    }
}

/// A frame without what sloppy firmware puts around it: a byte order mark before it, the end of a C string after it. Neither is JSON.
fn without_trimmings(text: &str) -> &str {
    match text.as_bytes() {
        [b'[', .., b']'] => text,
        _ => text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches('\0'),
    }
}

/// The messages that make up a bill.
fn is_transaction_message(action: &str) -> bool {
    is_billed(action) || action == "MeterValues"
}

/// Those without which there is none.
fn is_billed(action: &str) -> bool {
    matches!(action, "StartTransaction" | "StopTransaction" | "TransactionEvent")
}

/// The messages whose answers name the settings again that were asked for.
fn names_settings(action: &str) -> bool {
    matches!(action, "GetVariables" | "SetVariables" | "SetVariableMonitoring" | "GetConfiguration")
}
