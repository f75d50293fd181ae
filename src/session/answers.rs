//! Answers: CALLRESULT and CALLERROR, which find their action through the CALLs that wait, and CALLRESULTERROR.

use super::Session;
use super::calls::{Match, Pending};
use super::step::{Outcome, Step};
use super::turn::{Turn, error_frame, result_frame};
use crate::ocpp::json::{Unreadable, write_string};
use crate::ocpp::{Kind, Side, Version};
use crate::policy::Plan;
use crate::treat::{self, Context, Fact, Metered, Tally, Verdict};
use std::sync::Arc;

impl Session {
    /// A CALLRESULT or CALLERROR.
    pub(super) fn answer(&mut self, turn: &Turn<'_>) -> Step {
        let Turn { frame, from, rules, .. } = *turn;
        let codes = Arc::clone(&self.codes);
        let caller = from.other();
        let pending = match self.calls[caller as usize].settle(&frame.id, self.version == Version::V21) {
            Match::Pending(pending) => pending,
            Match::Late => return turn.only_seen("other", Outcome::Late),
            Match::Nothing => return turn.only_seen("other", Outcome::Unmatched),
        };
        let id = pending.id();
        if self.bounds.exceeded(frame.kind, pending.action, turn.text.len()) {
            let error = error_frame(id, "InternalError", "the answer was too big");
            let step = turn.only_seen(pending.action, Outcome::TooBig);
            return Step { send: vec![(caller, error)], settles: pending.settles, ..step };
        }
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
            Ok(mut treated) => {
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
                let crowded = treated.tally.crowded;
                let tripped = !crowded && caller == Side::Csms && !treat::may_leave(&context, &self.memory, &treated);
                let outcome = if crowded {
                    Outcome::TooMany
                } else if tripped {
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
                // What a retry is answered with after the first answer is not what the station goes by.
                if frame.kind == Kind::CallResult && !pending.answered {
                    self.acknowledge(&mut step, turn, &pending);
                }
                if crowded || tripped || treated.verdict == Verdict::Withheld {
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
            self.end(transaction.clone(), step);
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
                        // A number that was used before is of another transaction, unless that has not ended: then this is a retry's answer.
                        let transaction = transaction.to_owned();
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
                if let Some(cost) = number("totalCost") {
                    step.facts.push(fact("TransactionEventResponse", "totalCost", cost));
                }
            }
            _ => {}
        }
    }

    /// A CALLRESULTERROR: the sender of a CALL could not read its answer (OCPP 2.1 Part 4 §4.2.4).
    pub(super) fn complaint(&mut self, turn: &Turn<'_>) -> Step {
        let Turn { frame, from, rules, .. } = *turn;
        let Some(sent) = self.calls[from as usize].complained(&frame.id) else {
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
}
