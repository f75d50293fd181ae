//! One station's conversation, sans-io: pending calls, epoch pinning, what to do with each frame. Pure: time, keys and storage
//! are arguments, and the same input makes the same step (I9).

use crate::clock::Timestamp;
use crate::identity::{Codes, Epoch, Reveal, Sighting};
use crate::ocpp::frame::{BadFrame, Frame};
use crate::ocpp::json::{Cursor, Unreadable, write_string};
use crate::ocpp::{Kind, Side, Version};
use crate::policy::{CallPlan, Mode, Plan, Rules};
use crate::treat::{self, Context, Fact, Memory, Metered, Outgoing, Tally, Treated, Verdict};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// Unanswered CALLs remembered per direction. The standard allows one at a time; a late answer still finds its CALL here. The
/// oldest beyond this is answered with a CALLERROR.
pub const MAX_PENDING: usize = 128;
/// Answered CALLs remembered per direction, for CALLRESULTERROR.
const MAX_ANSWERED: usize = 16;
/// Transactions whose epoch is remembered per station; older ones are found in the vault.
const MAX_PINS: usize = 32;
/// The longest message id that is passed on or echoed, in bytes; the standard allows 36 characters.
const MAX_ID: usize = 128;

/// What became of a frame. A closed list: it is a metric label and goes into logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Went on without a byte changed.
    Untouched,
    /// Went on with something replaced or withheld.
    Treated,
    /// Answered here because the policy has no purpose for it.
    AnsweredHere,
    /// Refused: it could not be read, or broke a bound.
    Refused,
    /// Not forwarded: an answer that matches no pending call.
    Unmatched,
    /// Refused: carried an identifier that is neither ours nor declared (I5).
    ForeignIdentifier,
    /// Blocked by the tripwire: an incident.
    Tripwire,
}

impl Outcome {
    /// The metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Treated => "treated",
            Self::AnsweredHere => "answered_here",
            Self::Refused => "refused",
            Self::Unmatched => "unmatched",
            Self::ForeignIdentifier => "foreign_identifier",
            Self::Tripwire => "tripwire",
        }
    }
}

/// What to do after one frame, in this order: record, write each frame to its side.
#[derive(Default)]
pub struct Step {
    /// Frames to write, each to its side. Usually one.
    pub send: Vec<(Side, Outgoing)>,
    /// Must be durable before anything in `send` goes to the CSMS (I4).
    pub sightings: Vec<Sighting>,
    /// Must be durable before the CSMS's answer goes back to the station (I4): the relay may submit them now and wait for them when
    /// a later step says `settles`.
    pub facts: Vec<Fact>,
    /// This step forwards an acknowledgement of a transaction message: every fact submitted so far on this connection, this step's
    /// included, must be durable first.
    pub settles: bool,
    /// Transactions begun (or ended: `None`) with the epoch they are pinned to, to be remembered across connections.
    pub pins: Vec<(String, Option<Epoch>)>,
    /// For metrics: what it was. The action comes from the closed list of the standard, else `other`.
    pub seen: Option<Seen>,
}

/// What a frame was, in closed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Who sent it.
    pub from: Side,
    /// Its kind; `None` if it could not be read.
    pub kind: Option<Kind>,
    /// Its action, from the closed list; `other` if unknown.
    pub action: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// Fields withheld from it.
    pub withheld: u32,
    /// Identifiers replaced in it, in either direction.
    pub replaced: u32,
}

/// A CALL that waits for its answer.
struct Pending {
    /// The id under which the recipient knows it.
    sent: Box<str>,
    /// The sender's own id, where that is another.
    own: Option<Box<str>>,
    action: &'static str,
    vendor: Option<(String, String)>,
    /// The settings it names.
    asked: Box<[Box<str>]>,
    /// Its acknowledgement waits for billing facts.
    settles: bool,
    /// The transaction that it ends, or the epoch of the one that it begins.
    ends: Option<String>,
    begins: Option<Epoch>,
}

/// The CALLs of one side.
#[derive(Default)]
struct Calls {
    pending: VecDeque<Pending>,
    /// (the recipient's id, the sender's id) of CALLs answered lately.
    answered: VecDeque<(Box<str>, Box<str>)>,
}

/// The conversation with one station.
pub struct Session {
    version: Version,
    station: Box<str>,
    rules: Arc<Rules>,
    codes: Arc<dyn Codes>,
    memory: Memory,
    /// By the side that sends the CALL: station, csms.
    calls: [Calls; 2],
    pins: VecDeque<(String, Epoch)>,
}

impl Session {
    /// Begins a conversation in the version that was agreed with the station, which is known by the id `station`.
    pub fn new(version: Version, station: &str, rules: Arc<Rules>, codes: Arc<dyn Codes>) -> Self {
        let station = station.into();
        Self { version, station, rules, codes, memory: Memory::default(), calls: Default::default(), pins: VecDeque::new() }
    }

    /// Whether no CALL of either side waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.calls.iter().all(|calls| calls.pending.is_empty())
    }

    /// Reads one text (or binary) message from one side and says what to do. Never panics, whatever the bytes.
    pub fn on_frame(&mut self, from: Side, frame: &[u8], now: Timestamp, vault: &dyn Reveal) -> Step {
        match std::str::from_utf8(frame) {
            Ok(text) => self.on_text(from, text, now, vault),
            Err(_) => self.unreadable(from, &BadFrame { kind: None, id: None, why: Unreadable::Syntax }),
        }
    }

    /// [`Session::on_frame`] for a message that is known to be UTF-8, as every WebSocket text message is.
    pub fn on_text(&mut self, from: Side, text: &str, now: Timestamp, vault: &dyn Reveal) -> Step {
        let rules = Arc::clone(&self.rules);
        let mut step = match Frame::read(text) {
            Ok(frame) => {
                let turn = Turn { text, frame: &frame, from, now, vault, rules: &rules };
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
        step
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
        let observing = rules.mode == Mode::Observe;
        let coded = (from == Side::Station && !rules.allow_all).then(|| self.coded_id(&frame.id)).flatten();
        let sent = if observing { None } else { coded.clone() };
        let pending = Pending {
            sent: sent.as_deref().unwrap_or(&frame.id).into(),
            own: sent.as_ref().map(|_| Box::from(&*frame.id)),
            action,
            vendor: None,
            asked: Box::default(),
            settles: false,
            ends: None,
            begins: None,
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
        let outcome = if treated.tally.foreign > 0 {
            Outcome::ForeignIdentifier
        } else if treated.verdict == Verdict::Withheld || treated.tally.forbidden > 0 {
            Outcome::AnsweredHere
        } else if from == Side::Station && !observing && !treat::may_leave(&context, &self.memory, &treated) {
            Outcome::Tripwire
        } else if treated.changed {
            Outcome::Treated
        } else {
            Outcome::Untouched
        };
        if !matches!(outcome, Outcome::Treated | Outcome::Untouched) {
            let mut step = turn.answer_here(action, call, outcome, &treated.tally);
            if observing {
                step.send.extend(self.expect(from, pending));
            }
            return step;
        }
        treat::note(&mut self.memory, &treated.tally);
        let mut step = Step { seen: Some(turn.seen(action, outcome, &treated.tally)), ..Step::default() };
        let Treated { frame: outgoing, payload, tally, .. } = treated;
        let mut pending = Pending { vendor: tally.vendor, ..pending };
        if from == Side::Csms && names_settings(action) {
            pending.asked = treat::asked(turn.payload());
        }
        if from == Side::Station && is_transaction_message(action) {
            pending.settles = true;
            let message_id = coded.unwrap_or_else(|| frame.id.to_string());
            step.facts = vec![Fact { action, message_id, payload: outgoing.as_str()[payload].to_owned() }];
            self.follow(&mut pending, &mut step, event.as_deref(), transaction, &tally.sightings);
        }
        step.sightings = tally.sightings;
        let ended = if frame.kind == Kind::Call { self.expect(from, pending) } else { None };
        let outgoing = (from.other(), outgoing);
        step.send = match ended {
            Some(ended) => vec![ended, outgoing],
            None => vec![outgoing],
        };
        step
    }

    /// Pins a transaction to the epoch it was begun in, and lets it go when it ends.
    fn follow(&mut self, pending: &mut Pending, step: &mut Step, event: Option<&str>, transaction: Option<String>, sightings: &[Sighting]) {
        let epoch = sightings.iter().find_map(|s| self.codes.epoch_of(&s.code));
        match (pending.action, transaction) {
            ("StartTransaction", _) => pending.begins = epoch,
            ("StopTransaction", Some(transaction)) => pending.ends = Some(transaction),
            ("TransactionEvent", Some(transaction)) => {
                let known = self.pins.iter().any(|(t, _)| *t == transaction);
                if let (Some(epoch), false) = (epoch, known) {
                    step.pins.push((transaction.clone(), Some(epoch)));
                    self.pin(transaction.clone(), epoch);
                }
                if event == Some("Ended") {
                    pending.ends = Some(transaction);
                }
            }
            _ => {}
        }
    }

    fn pin(&mut self, transaction: String, epoch: Epoch) {
        if self.pins.len() >= MAX_PINS {
            self.pins.pop_front();
        }
        self.pins.push_back((transaction, epoch));
    }

    fn pinned(&self, transaction: &str, vault: &dyn Reveal) -> Option<Epoch> {
        let here = self.pins.iter().find(|(t, _)| t == transaction).map(|(_, epoch)| *epoch);
        here.or_else(|| vault.pinned(&self.station, transaction))
    }

    /// A station chooses its message ids; one that could hold a card number goes up as a one-way code. The table of pending calls
    /// finds the way back, and a retry under the same id has the same code.
    fn coded_id(&self, id: &str) -> Option<String> {
        if treat::is_harmless_reference(id) && !self.memory.watch.knows(id) || id.is_empty() {
            return None;
        }
        let digest = self.codes.digest("message", id);
        Some(digest.iter().map(|b| char::from(*b)).collect())
    }

    /// Remembers a CALL. If there are too many, the oldest gets its answer now.
    fn expect(&mut self, from: Side, pending: Pending) -> Option<(Side, Outgoing)> {
        let calls = &mut self.calls[from as usize];
        calls.pending.push_back(pending);
        if calls.pending.len() <= MAX_PENDING {
            return None;
        }
        let oldest = calls.pending.pop_front()?;
        let id = oldest.own.as_deref().unwrap_or(&oldest.sent);
        Some((from, error_frame(id, "GenericError", "no answer came in time")))
    }

    /// Takes the pending CALL of `caller` that `id` answers.
    fn settle(&mut self, caller: Side, id: &str) -> Option<Pending> {
        let calls = &mut self.calls[caller as usize];
        let at = calls.pending.iter().position(|p| *p.sent == *id)?;
        let pending = calls.pending.remove(at)?;
        if self.version == Version::V21 {
            if calls.answered.len() >= MAX_ANSWERED {
                calls.answered.pop_front();
            }
            let own = pending.own.as_ref().unwrap_or(&pending.sent).clone();
            calls.answered.push_back((pending.sent.clone(), own));
        }
        Some(pending)
    }

    /// A CALLRESULT or CALLERROR.
    fn answer(&mut self, turn: &Turn<'_>) -> Step {
        let Turn { frame, from, rules, .. } = *turn;
        let codes = Arc::clone(&self.codes);
        let caller = from.other();
        let Some(pending) = self.settle(caller, &frame.id) else {
            return turn.only_seen("other", Outcome::Unmatched);
        };
        let plan: &Plan = rules.plan(self.version);
        let call = plan.call(caller, pending.action).and_then(|(_, call)| call);
        let vendor = pending.vendor.as_ref().and_then(|known| plan.vendors.get(known)?[caller as usize].as_ref());
        let context = Context {
            rules,
            plan,
            to: caller,
            codes: &*codes,
            vault: turn.vault,
            epoch: None,
            now: turn.now,
            asked: &pending.asked,
            metered: Metered::of(self.version, pending.action),
            vendor,
        };
        let id = pending.own.as_deref().unwrap_or(&pending.sent);
        let treated = match call {
            _ if frame.kind == Kind::CallError => treat::error(&context, &self.memory, turn.text, frame, id),
            Some(call) => {
                let id = (frame.id_span.clone(), pending.own.as_deref());
                treat::frame(&context, &mut self.memory, turn.text, id, frame.rest, call.response)
            }
            None => Err(Unreadable::Syntax),
        };
        let mut step = Step { settles: pending.settles, ..Step::default() };
        let outgoing = match treated {
            Err(_) => {
                step.seen = Some(turn.seen(pending.action, Outcome::Refused, &Tally::default()));
                error_frame(id, "InternalError", "the answer could not be read")
            }
            Ok(treated) => {
                let mut treated = treated;
                if caller == Side::Csms && frame.kind == Kind::CallResult {
                    // The central system chose this id itself; that it comes back must not tell it anything (I5).
                    treated.tally.exempt.insert(0, frame.id_span.clone());
                }
                let blocked = caller == Side::Csms && !treat::may_leave(&context, &self.memory, &treated);
                let outcome = if blocked {
                    Outcome::Tripwire
                } else if treated.tally.foreign > 0 {
                    Outcome::ForeignIdentifier
                } else if treated.verdict == Verdict::Withheld {
                    Outcome::AnsweredHere
                } else if treated.changed {
                    Outcome::Treated
                } else {
                    Outcome::Untouched
                };
                step.seen = Some(turn.seen(pending.action, outcome, &treated.tally));
                if frame.kind == Kind::CallResult {
                    self.acknowledge(&mut step, turn, &pending);
                }
                if blocked || treated.verdict == Verdict::Withheld {
                    match call.and_then(|c| c.answer.as_deref()).filter(|_| caller == Side::Station) {
                        Some(answer) => result_frame(id, answer),
                        None => error_frame(id, "InternalError", "the answer was withheld"),
                    }
                } else {
                    step.sightings = treated.tally.sightings;
                    treated.frame
                }
            }
        };
        step.send = vec![(caller, outgoing)];
        step
    }

    /// What the central system's answer to a transaction message adds to the facts.
    fn acknowledge(&mut self, step: &mut Step, turn: &Turn<'_>, pending: &Pending) {
        if turn.from != Side::Csms {
            return;
        }
        if let Some(transaction) = &pending.ends {
            step.pins.push((transaction.clone(), None));
        }
        let fact = |action, name: &str, value: &str| Fact {
            action,
            message_id: pending.sent.to_string(),
            payload: format!("{{\"{name}\":{value}}}"),
        };
        // Only the one number that a bill needs; the rest of the answer is not ours to keep.
        let number = |name: &str| {
            let payload = turn.payload();
            let text = payload.peek(name).map(|span| &payload.text()[span])?;
            text.parse::<f64>().is_ok().then_some(text)
        };
        match pending.action {
            "StartTransaction" => {
                if let Some(transaction) = number("transactionId") {
                    step.facts.push(fact("StartTransactionResponse", "transactionId", transaction));
                    if let Some(epoch) = pending.begins {
                        step.pins.push((transaction.to_owned(), Some(epoch)));
                        self.pin(transaction.to_owned(), epoch);
                    }
                }
            }
            "TransactionEvent" => {
                if let Some(cost) = number("totalCost") {
                    step.facts.push(fact("TransactionEventResponse", "totalCost", cost));
                }
            }
            _ => {}
        }
    }

    /// A CALLRESULTERROR: the sender of a CALL could not read its answer (OCPP 2.1 Part 4 §4.2.4).
    fn complaint(&mut self, turn: &Turn<'_>) -> Step {
        let Turn { frame, from, rules, .. } = *turn;
        let calls = &mut self.calls[from as usize];
        let at = calls.answered.iter().position(|(_, own)| **own == *frame.id);
        let Some((sent, _)) = at.and_then(|at| calls.answered.remove(at)) else {
            return turn.only_seen("other", Outcome::Unmatched);
        };
        let codes = Arc::clone(&self.codes);
        let plan = rules.plan(self.version);
        let context = Context {
            rules,
            plan,
            to: from.other(),
            codes: &*codes,
            vault: turn.vault,
            epoch: None,
            now: turn.now,
            asked: &[],
            metered: Metered::of(self.version, ""),
            vendor: None,
        };
        let Ok(treated) = treat::error(&context, &self.memory, turn.text, frame, &sent) else {
            return turn.only_seen("other", Outcome::Refused);
        };
        if from == Side::Station && !treat::may_leave(&context, &self.memory, &treated) {
            return turn.only_seen("other", Outcome::Tripwire);
        }
        let outcome = if treated.changed { Outcome::Treated } else { Outcome::Untouched };
        let seen = Some(turn.seen("other", outcome, &treated.tally));
        Step { send: vec![(from.other(), treated.frame)], seen, ..Step::default() }
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
            Some(Kind::CallResult | Kind::CallError) => id.and_then(|id| self.settle(from.other(), id)).map(|pending| {
                action = pending.action;
                settles = pending.settles;
                let id = pending.own.as_deref().unwrap_or(&pending.sent);
                (from.other(), error_frame(id, "InternalError", "the answer could not be read"))
            }),
            Some(Kind::Call) | None => {
                let code = match (bad.kind, self.version) {
                    (Some(2) | None, version) => violation(version),
                    (Some(_), Version::V16) => "NotSupported",
                    (Some(_), _) => "MessageTypeNotSupported",
                };
                Some((from, error_frame(id.unwrap_or("-1"), code, "the message could not be read")))
            }
        };
        let seen = Seen { from, kind, action, outcome: Outcome::Refused, withheld: 0, replaced: 0 };
        Step { send: reply.into_iter().collect(), settles, seen: Some(seen), ..Step::default() }
    }
}

/// One readable frame and the circumstances in which it came.
#[derive(Clone, Copy)]
struct Turn<'a> {
    text: &'a str,
    frame: &'a Frame<'a>,
    from: Side,
    now: Timestamp,
    vault: &'a dyn Reveal,
    rules: &'a Rules,
}

impl<'a> Turn<'a> {
    fn payload(&self) -> Cursor<'a> {
        Cursor::inside(self.text, self.frame.rest)
    }

    fn readable(&self) -> Result<(), Unreadable> {
        let mut cursor = self.payload();
        cursor.skip()?;
        if cursor.take(b']') && cursor.finished() { Ok(()) } else { Err(Unreadable::Syntax) }
    }

    /// The transaction that a station's message belongs to, as text.
    fn transaction(&self, action: &str) -> Option<Cow<'a, str>> {
        let payload = self.payload();
        match action {
            "StopTransaction" => payload.peek("transactionId").map(|span| Cow::Borrowed(&payload.text()[span])),
            "TransactionEvent" => {
                let info = payload.peek("transactionInfo")?;
                Cursor::new(&payload.text()[info]).peek_string("transactionId")
            }
            _ => None,
        }
    }

    fn seen(&self, action: &'static str, outcome: Outcome, tally: &Tally) -> Seen {
        Seen { from: self.from, kind: Some(self.frame.kind), action, outcome, withheld: tally.withheld, replaced: tally.replaced }
    }

    fn only_seen(&self, action: &'static str, outcome: Outcome) -> Step {
        Step { seen: Some(self.seen(action, outcome, &Tally::default())), ..Step::default() }
    }

    /// Refuses a CALL with a CALLERROR under its sender's own id. A SEND has no answer.
    fn refuse(&self, action: &'static str, code: &str, outcome: Outcome) -> Step {
        let mut step = self.only_seen(action, outcome);
        if self.frame.kind == Kind::Call {
            let id = if self.frame.id.len() <= MAX_ID { &self.frame.id } else { "-1" };
            let why = match outcome {
                Outcome::Refused => "the message could not be read",
                _ => "not passed on",
            };
            step.send.push((self.from, error_frame(id, code, why)));
        }
        step
    }

    /// Answers a CALL here, as the catalogue words it.
    fn answer_here(&self, action: &'static str, call: &CallPlan, outcome: Outcome, tally: &Tally) -> Step {
        let mut step = Step { seen: Some(self.seen(action, outcome, tally)), ..Step::default() };
        if self.frame.kind == Kind::Call {
            let billing = matches!(action, "StartTransaction" | "StopTransaction" | "TransactionEvent") && self.from == Side::Station;
            let answer = match (tally.vendor_refusal, call.answer.as_deref()) {
                // What could not be passed on is not acknowledged: the station must know that nobody has it (I4).
                _ if billing => error_frame(&self.frame.id, violation_of_type(outcome), "not passed on"),
                (Some(status), _) => result_frame(&self.frame.id, &format!("{{\"status\":\"{status}\"}}")),
                (None, Some(answer)) => result_frame(&self.frame.id, answer),
                (None, None) => error_frame(&self.frame.id, "NotSupported", "not passed on"),
            };
            step.send.push((self.from, answer));
        }
        step
    }
}

/// The messages that make up a bill.
fn is_transaction_message(action: &str) -> bool {
    matches!(action, "StartTransaction" | "StopTransaction" | "MeterValues" | "TransactionEvent")
}

/// The messages whose answers name the settings again that were asked for.
fn names_settings(action: &str) -> bool {
    matches!(action, "GetVariables" | "SetVariables" | "SetVariableMonitoring" | "GetConfiguration")
}

/// The code for a message that breaks the grammar (OCPP-J 1.6 §4.2.3; OCPP 2.1 Part 4 §4.3).
fn violation(version: Version) -> &'static str {
    if version == Version::V16 { "FormationViolation" } else { "FormatViolation" }
}

/// The code for a transaction message that cannot be passed on.
fn violation_of_type(outcome: Outcome) -> &'static str {
    if outcome == Outcome::Tripwire { "InternalError" } else { "TypeConstraintViolation" }
}

fn error_frame(id: &str, code: &str, description: &str) -> Outgoing {
    let mut text = String::with_capacity(48 + id.len() + description.len());
    text.push_str("[4,");
    write_string(&mut text, id);
    text.push_str(",\"");
    text.push_str(code);
    text.push_str("\",\"");
    text.push_str(description);
    text.push_str("\",{}]");
    Outgoing::own(text)
}

fn result_frame(id: &str, payload: &str) -> Outgoing {
    let mut text = String::with_capacity(8 + id.len() + payload.len());
    text.push_str("[3,");
    write_string(&mut text, id);
    text.push(',');
    text.push_str(payload);
    text.push(']');
    Outgoing::own(text)
}
