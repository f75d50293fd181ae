//! Answers: CALLRESULT and CALLERROR, which find their action through the CALLs that wait, and CALLRESULTERROR.

use super::bounds;
use super::calls::{Match, Pending};
use super::step::{Outcome, Step};
use super::talk::Talk;
use super::turn::{OwnId, Turn, error_frame, whole_number};
use crate::ocpp::json::{Unreadable, write_string};
use crate::ocpp::{Kind, Side, Version};
use crate::policy::Plan;
use crate::treat::{self, Context, Fact, Metered, Outgoing, Tally, Treated, Verdict};
use smallvec::smallvec;

impl Talk {
    /// A CALLRESULT or CALLERROR.
    pub(super) fn answer(&mut self, turn: &Turn<'_>) -> Step {
        let Turn { frame, from, rules, codes, .. } = *turn;
        let caller = from.other();
        let pending = match self.calls[caller as usize].settle(&frame.id, self.version == Version::V21) {
            Match::Pending(pending) => pending,
            Match::Late => return turn.only_seen("other", Outcome::Late),
            Match::Nothing => return turn.only_seen("other", Outcome::Unmatched),
        };
        let id = pending.id();
        if self.bounds.exceeded(frame.kind, pending.action, turn.text.len()) {
            let error = error_frame(pending.own_id(), "InternalError", "the answer was too big");
            let step = turn.only_seen(pending.action, Outcome::TooBig);
            return Step { send: smallvec![(caller, error)], settles: pending.settles, ..step };
        }
        let plan: &Plan = rules.plan(self.version);
        let call = plan.call(caller, pending.action).and_then(|(_, call)| call);
        let more = pending.more.as_deref();
        let vendor = more.and_then(|more| more.vendor.as_ref()).and_then(|known| plan.vendors.get(known)?[caller as usize].as_ref());
        let context = Context {
            rules,
            plan,
            to: caller,
            codes,
            vault: turn.vault,
            epoch: None,
            now: turn.now,
            asked: more.and_then(|more| more.asked.as_ref()),
            metered: Metered::of(self.version, pending.action),
            vendor,
        };
        let mut treated = Treated::nothing();
        let read = match call {
            _ if frame.kind == Kind::CallError => treat::error(&context, &self.memory, turn.text, frame, id, &mut treated),
            Some(call) => {
                let id = (frame.id_span.clone(), pending.own.as_deref());
                treat::frame(&context, &mut self.memory, turn.text, id, frame.rest, call.response, &mut treated)
            }
            None => Err(Unreadable::Syntax),
        };
        let mut step = Step { settles: pending.settles, ..Step::default() };
        let outgoing = match read {
            Err(_) => {
                step.seen = Some(turn.seen(pending.action, Outcome::Refused, &Tally::default()));
                nobody_knows(pending.own_id())
            }
            Ok(()) => {
                if caller == Side::Csms && frame.kind == Kind::CallResult {
                    // The central system chose this id itself; that it comes back must not tell it anything (I5).
                    let start = frame.id_span.start;
                    let end = pending.own.as_deref().map_or(frame.id_span.end, |own| {
                        let mut written = String::new();
                        write_string(&mut written, own);
                        start + written.len()
                    });
                    treated.tally.exempt.insert(0, start..end);
                }
                let many = treated.tally.sightings.len() > bounds::FEW_IDENTIFIERS;
                let crowded = treated.tally.crowded || many && bounds::has_few(frame.kind, pending.action);
                let unreadable = treated.verdict == Verdict::Withheld;
                let tripped = !crowded && !unreadable && caller == Side::Csms && !treat::may_leave(&context, &self.memory, &treated, 0);
                let outcome = if crowded {
                    Outcome::TooMany
                } else if tripped {
                    Outcome::Tripwire
                } else if treated.tally.foreign > 0 {
                    Outcome::ForeignIdentifier
                } else if unreadable {
                    Outcome::Refused
                } else if treated.changed {
                    Outcome::Treated
                } else {
                    Outcome::Untouched
                };
                step.seen = Some(turn.seen(pending.action, outcome, &treated.tally));
                if unreadable && caller == Side::Station {
                    nobody_knows(pending.own_id())
                } else if crowded || tripped || unreadable {
                    error_frame(pending.own_id(), "InternalError", "the answer was withheld")
                } else {
                    // What a retry is answered with after the first answer is not what the station goes by.
                    if frame.kind == Kind::CallResult && !pending.answered {
                        self.acknowledge(&mut step, turn, &pending);
                    }
                    step.sightings = treated.tally.sightings.all;
                    treated.frame
                }
            }
        };
        step.send.push((caller, outgoing));
        step
    }

    /// What the central system's answer to a transaction message adds to the facts.
    fn acknowledge(&mut self, step: &mut Step, turn: &Turn<'_>, pending: &Pending) {
        if turn.from != Side::Csms {
            return;
        }
        let more = pending.more.as_deref();
        if let Some(transaction) = more.and_then(|more| more.ends.as_ref()) {
            self.end(transaction.clone(), step);
        }
        let fact = |action, name: &str, value: &str| Fact {
            action,
            message_id: pending.sent.as_str().to_owned(),
            payload: format!("{{\"{name}\":{value}}}"),
        };
        // Only the one number that a bill needs; the rest of the answer is not ours to keep.
        let text = |name: &str| {
            let payload = turn.payload();
            payload.peek(name).map(|span| &payload.text()[span])
        };
        match pending.action {
            "StartTransaction" => {
                if let Some(transaction) = text("transactionId").and_then(whole_number) {
                    step.facts.push(fact("StartTransactionResponse", "transactionId", &transaction));
                    // As the station's own messages look it up.
                    let transaction = self.coded_id(turn.codes, &transaction).unwrap_or(transaction);
                    if let Some(epoch) = more.and_then(|more| more.begins) {
                        // A number that was used before is of another transaction, unless that has not ended: then this is a retry's answer.
                        if self.ended.contains(&transaction) {
                            self.pins.retain(|(pinned, _)| *pinned != transaction);
                            step.pins.push((transaction.clone(), None));
                        }
                        if !self.pins.iter().any(|(pinned, _)| *pinned == transaction) {
                            step.pins.push((transaction.clone(), Some(epoch)));
                            self.pin(transaction, epoch);
                        }
                    }
                }
            }
            "TransactionEvent" => {
                if let Some(cost) = text("totalCost").filter(|cost| cost.parse::<f64>().is_ok()) {
                    step.facts.push(fact("TransactionEventResponse", "totalCost", cost));
                }
            }
            _ => {}
        }
    }

    /// A CALLRESULTERROR: the sender of a CALL could not read its answer (OCPP 2.1 Part 4 §4.2.4).
    pub(super) fn complaint(&mut self, turn: &Turn<'_>) -> Step {
        let Turn { frame, from, rules, codes, .. } = *turn;
        let Some(sent) = self.calls[from as usize].complained(&frame.id) else {
            return turn.only_seen("other", Outcome::Unmatched);
        };
        let plan = rules.plan(self.version);
        let context = Context {
            rules,
            plan,
            to: from.other(),
            codes,
            vault: turn.vault,
            epoch: None,
            now: turn.now,
            asked: None,
            metered: Metered::of(self.version, ""),
            vendor: None,
        };
        let mut treated = Treated::nothing();
        if treat::error(&context, &self.memory, turn.text, frame, sent.as_str(), &mut treated).is_err() {
            return turn.only_seen("other", Outcome::Refused);
        }
        if from == Side::Station && !treat::may_leave(&context, &self.memory, &treated, 0) {
            return turn.only_seen("other", Outcome::Tripwire);
        }
        let outcome = if treated.changed { Outcome::Treated } else { Outcome::Untouched };
        let seen = Some(turn.seen("other", outcome, &treated.tally));
        Step { send: smallvec![(from.other(), treated.frame)], seen, ..Step::default() }
    }
}

/// What a side gets in the place of an answer that could not be read. Nobody knows what it said, so nothing is made up, whatever the action:
/// - a transaction message is sent again, as often as the station is told to (OCPP 1.6 §3.7, `TransactionMessageAttempts`; OCPP 2.0.1 and 2.1
///   Part 2, E13), and its facts are kept once. An invented transaction id would come back in messages that nobody can place, and an invented
///   `Invalid` stop a session that was rightly begun while the station was offline;
/// - a station that asks whether a card may charge falls back on its list and cache. An invented `Invalid` or `Unknown` would go into that cache,
///   and the card be refused long after (OCPP 1.6 §3.5.1; 2.x Part 2, C10);
/// - of all else (a time, a status, a certificate) an invented answer would be believed as well.
///
/// The code is that of every version for a receiver that could not do what was asked.
fn nobody_knows(own: OwnId<'_>) -> Outgoing {
    error_frame(own, "InternalError", "the answer could not be read")
}
