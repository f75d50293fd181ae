//! What a conversation remembers, and what it makes of each frame.

use super::bounds::{self, Bounds, FEW_IDENTIFIERS};
use super::budget::Budget;
use super::calls::{self, Calls, Match, Meeting, Pending};
use super::step::{Outcome, Pace, Seen, Step};
use super::turn::{OwnId, Turn, error_frame, no_frame, too_often, violation};
use crate::clock::Timestamp;
use crate::identity::{Codes, Epoch, Reveal};
use crate::ocpp::frame::BadFrame;
use crate::ocpp::{Kind, Side, Version};
use crate::policy::Mode;
use crate::treat::{self, Context, Fact, Memory, Metered, SHORTEST_CARD, Treated, Verdict};
use smallvec::{SmallVec, smallvec};
use std::collections::VecDeque;
use std::time::Duration;

/// Transactions whose epoch is remembered per station; older ones are found in the vault.
const MAX_PINS: usize = 32;
/// Transactions that stay pinned after their end was acknowledged: a station may not have got that, and sends the end again, perhaps in the
/// next epoch.
const MAX_ENDED: usize = 8;
/// The longest message id that is passed on or echoed, in bytes; the standard allows 36 characters.
pub const MAX_ID: usize = 128;
/// How far the session's own clock goes on at a time, in milliseconds: a wall clock that jumps ahead gives up no CALL.
const MAX_PASSED: i64 = 60_000;

/// A conversation but for what it shares with others.
pub(super) struct Talk {
    pub(super) version: Version,
    station: Box<str>,
    pub(super) bounds: Bounds,
    pub(super) memory: Memory,
    /// By the side that sends the CALL: station, csms.
    pub(super) calls: [Calls; 2],
    pub(super) pins: VecDeque<(String, Epoch)>,
    /// Transactions whose end was acknowledged lately.
    pub(super) ended: VecDeque<String>,
    budget: Budget,
    /// The wall clock, and the session's own that never goes back, in milliseconds.
    time: (Option<Timestamp>, i64),
    /// Ids given to CALLs whose own was taken.
    renamed: u32,
}

impl Talk {
    pub(super) fn new(version: Version, station: &str) -> Self {
        let bounds = Bounds::default();
        Self {
            version,
            station: station.into(),
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

    pub(super) fn within(self, bounds: Bounds) -> Self {
        Self { bounds, budget: Budget::new(bounds.station), ..self }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.iter().all(|calls| calls.waiting() == 0)
    }

    pub(super) fn waiting(&self, from: Side) -> usize {
        self.calls[from as usize].waiting()
    }

    /// Gives up CALLs that have waited too long: a step for each, unless the policy only observes.
    pub(super) fn on_time(&mut self, now: Timestamp, observing: bool) -> Vec<Step> {
        self.pass(now);
        let before = self.time.1.saturating_sub(i64::try_from(self.bounds.patience.as_millis()).unwrap_or(i64::MAX));
        let mut steps = Vec::new();
        for from in [Side::Station, Side::Csms] {
            while let Some(pending) = self.calls[from as usize].give_up(before) {
                if observing {
                    continue;
                }
                let error = error_frame(pending.own_id(), "GenericError", "no answer came in time");
                let seen =
                    Seen { from, kind: Some(Kind::Call), action: pending.action, outcome: Outcome::Unanswered, withheld: 0, replaced: 0 };
                steps.push(Step { send: smallvec![(from, error)], settles: pending.settles, seen: Some(seen), ..Step::default() });
            }
        }
        steps
    }

    /// Moves the session's own clock on.
    fn pass(&mut self, now: Timestamp) {
        let (last, clock) = self.time;
        let passed = last.map_or(0, |last| now.0.saturating_sub(last.0).clamp(0, MAX_PASSED));
        self.time = (Some(now), clock + passed);
    }

    pub(super) fn pay(&mut self, from: Side, bytes: usize, now: Timestamp) -> Pace {
        self.pass(now);
        if from == Side::Station { self.budget.spend(bytes, self.time.1) } else { Pace::Go }
    }

    pub(super) fn owe(&mut self, newcomers: usize) {
        self.budget.owe(newcomers);
    }

    /// How long the CALL that has waited longest may wait yet, if one does.
    pub(super) fn left_to_wait(&self) -> Option<Duration> {
        let since = self.calls.iter().filter_map(Calls::oldest).min()?;
        let waited = Duration::from_millis(self.time.1.saturating_sub(since).try_into().unwrap_or(0));
        Some(self.bounds.patience.saturating_sub(waited))
    }

    pub(super) fn call(&mut self, turn: &Turn<'_>) -> Step {
        let Turn { frame, from, rules, codes, .. } = *turn;
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
        let coded = (from == Side::Station && !rules.allow_all).then(|| self.coded_id(codes, &frame.id)).flatten();
        let print = calls::print(turn.text);
        let meeting = match frame.kind {
            Kind::Call if !rules.allow_all => self.calls[from as usize].meet(coded.as_deref().unwrap_or(&frame.id), &frame.id, print),
            _ => Meeting::New,
        };
        let sent = match meeting {
            Meeting::Full if observing => None,
            Meeting::Full => return turn.refuse(action, "GenericError", Outcome::TooMany),
            Meeting::Collision => Some(self.another_id(codes, &frame.id)),
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
            is_number: frame.is_number,
        };
        // A station's own id may hold a card number, so what is remembered of it is its code.
        let transaction = if from == Side::Station { turn.transaction(action) } else { None };
        let event = if action == "TransactionEvent" { turn.payload().peek_string("eventType") } else { None };
        let metered = match action {
            "TransactionEvent" => Metered::event(transaction.as_deref(), event.as_deref()),
            _ => Metered::of(self.version, action),
        };
        let transaction = transaction.map(|id| self.coded_id(codes, &id).unwrap_or_else(|| id.into_owned()));
        let epoch = transaction.as_deref().and_then(|t| self.pinned(t, turn.vault));
        let context =
            Context { rules, plan, to: from.other(), codes, vault: turn.vault, epoch, now: turn.now, asked: None, metered, vendor: None };
        let mut treated = Treated::nothing();
        let read = if call.crosses {
            let id = (frame.id_span.clone(), sent.as_deref());
            treat::frame(&context, &mut self.memory, turn.text, id, frame.rest, call.request, &mut treated)
        } else {
            // Nobody needs it; but what cannot be read is refused as such.
            turn.readable()
        };
        if read.is_err() {
            return turn.refuse(action, violation(self.version), Outcome::Refused);
        }
        let many = treated.tally.sightings.len() > FEW_IDENTIFIERS;
        if treated.tally.crowded || many && bounds::has_few(frame.kind, action) {
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
        if from == Side::Csms && names_settings(action) {
            let asked = treat::asked(turn.payload());
            if asked.is_none() && !observing {
                return turn.refuse(action, too_often(self.version), Outcome::TooMany);
            }
            pending.more().asked = asked;
        }
        treat::note(&mut self.memory, &treated.tally);
        let seen = Some(turn.seen(action, outcome, &treated.tally));
        let (mut facts, mut pins) = (Vec::new(), Vec::new());
        if from == Side::Station && is_transaction_message(action) {
            pending.settles = true;
            let message_id = fact_id.unwrap_or_else(|| frame.id.to_string());
            facts = vec![Fact { action, message_id, payload: treated.without_signed() }];
            let epoch = treated.tally.sightings.all.iter().find_map(|s| codes.epoch_of(&s.code));
            pins.extend(self.follow(&mut pending, event.as_deref(), transaction, epoch));
        }
        if treated.tally.vendor.is_some() {
            pending.more().vendor = treated.tally.vendor;
        }
        if frame.kind == Kind::Call {
            self.calls[from as usize].expect(pending);
        }
        // Field by field: moving a whole step, or what it would have by default, costs as much as all of this.
        let send = SmallVec::from_buf([(from.other(), treated.frame)]);
        Step { send, sightings: treated.tally.sightings.all, pins, facts, settles: false, pace: Pace::Go, seen }
    }

    /// Pins a transaction to the epoch it was begun in, and lets it go when it ends. Returns the pin to be remembered, if it is a new one.
    fn follow(
        &mut self,
        pending: &mut Pending,
        event: Option<&str>,
        transaction: Option<String>,
        epoch: Option<Epoch>,
    ) -> Option<(String, Option<Epoch>)> {
        let mut pinned = None;
        match (pending.action, transaction) {
            ("StartTransaction", _) => pending.more().begins = epoch,
            ("StopTransaction", Some(transaction)) => pending.more().ends = Some(transaction),
            ("TransactionEvent", Some(transaction)) => {
                let known = self.pins.iter().any(|(t, _)| *t == transaction);
                if let (Some(epoch), false) = (epoch, known) {
                    pinned = Some((transaction.clone(), Some(epoch)));
                    self.pin(transaction.clone(), epoch);
                }
                if event == Some("Ended") {
                    pending.more().ends = Some(transaction);
                }
            }
            _ => {}
        }
        pinned
    }

    pub(super) fn pin(&mut self, transaction: String, epoch: Epoch) {
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
    pub(super) fn end(&mut self, transaction: String, step: &mut Step) {
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
    pub(super) fn coded_id(&self, codes: &dyn Codes, id: &str) -> Option<String> {
        // Most are counters: too short for a card number, and no pattern of one is a number of so few digits.
        let counts = id.len() < SHORTEST_CARD && id.bytes().all(|b| b.is_ascii_digit());
        if counts || treat::is_harmless_reference(id) && !self.memory.watch.knows(id) {
            return None;
        }
        Some(digest(codes, id))
    }

    /// An id for a CALL whose own is taken.
    fn another_id(&mut self, codes: &dyn Codes, id: &str) -> String {
        self.renamed = self.renamed.wrapping_add(1);
        digest(codes, &format!("{id}\0{}", self.renamed))
    }

    /// What cannot be read goes nowhere. Its sender gets an error under the id that could be read, or `-1` (OCPP 2.1 Part 4
    /// §4.2.3); if it was an answer, the one who waits for it does.
    pub(super) fn unreadable(&mut self, from: Side, bad: &BadFrame) -> Step {
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
                    Some((from.other(), error_frame(pending.own_id(), "InternalError", "the answer could not be read")))
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
                // Also a number that is too long for one: in quotes, as the standard wants it.
                Some((from, error_frame(OwnId::quoted(id.unwrap_or("-1")), code, "the message could not be read")))
            }
        };
        let seen = Seen { from, kind, action, outcome: Outcome::Refused, withheld: 0, replaced: 0 };
        Step { send: reply.into_iter().collect(), settles, seen: Some(seen), ..Step::default() }
    }
}

fn digest(codes: &dyn Codes, id: &str) -> String {
    codes.digest("message", id).iter().map(|b| char::from(*b)).collect()
}

/// The messages that make up a bill.
fn is_transaction_message(action: &str) -> bool {
    is_billed(action) || action == "MeterValues"
}

/// Those without which there is none.
pub(super) fn is_billed(action: &str) -> bool {
    matches!(action, "StartTransaction" | "StopTransaction" | "TransactionEvent")
}

/// The messages whose answers name the settings again that were asked for.
fn names_settings(action: &str) -> bool {
    matches!(action, "GetVariables" | "SetVariables" | "SetVariableMonitoring" | "GetConfiguration")
}
