//! One readable frame and the circumstances in which it came; and the frames that the gateway words itself.

use super::step::{Outcome, Seen, Step};
use super::talk::{MAX_ID, is_billed};
use crate::clock::Timestamp;
use crate::identity::{Codes, Reveal};
use crate::ocpp::frame::Frame;
use crate::ocpp::json::{Cursor, Unreadable, unquoted, write_string};
use crate::ocpp::{Kind, Side, Version};
use crate::policy::{CallPlan, Rules};
use crate::treat::{Outgoing, Tally};
use rust_decimal::Decimal;
use std::borrow::Cow;

/// One readable frame and the circumstances in which it came.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) text: &'a str,
    pub(super) frame: &'a Frame<'a>,
    pub(super) from: Side,
    pub(super) now: Timestamp,
    pub(super) vault: &'a dyn Reveal,
    pub(super) rules: &'a Rules,
    pub(super) codes: &'a dyn Codes,
}

impl<'a> Turn<'a> {
    pub(super) fn payload(&self) -> Cursor<'a> {
        Cursor::inside(self.text, self.frame.rest)
    }

    pub(super) fn readable(&self) -> Result<(), Unreadable> {
        let mut cursor = self.payload();
        cursor.skip()?;
        if cursor.take(b']') && cursor.finished() { Ok(()) } else { Err(Unreadable::Syntax) }
    }

    /// The transaction that a station's message belongs to, as text.
    pub(super) fn transaction(&self, action: &str) -> Option<Cow<'a, str>> {
        let payload = self.payload();
        match action {
            "StopTransaction" => payload.peek("transactionId").map(|span| {
                let text = &payload.text()[span];
                whole_number(text).map_or(Cow::Borrowed(text), Cow::Owned)
            }),
            "TransactionEvent" => {
                let info = payload.peek("transactionInfo")?;
                Cursor::new(&payload.text()[info]).peek_string("transactionId")
            }
            _ => None,
        }
    }

    pub(super) fn seen(&self, action: &'static str, outcome: Outcome, tally: &Tally) -> Seen {
        Seen { from: self.from, kind: Some(self.frame.kind), action, outcome, withheld: tally.withheld, replaced: tally.replaced }
    }

    pub(super) fn only_seen(&self, action: &'static str, outcome: Outcome) -> Step {
        Step { seen: Some(self.seen(action, outcome, &Tally::default())), ..Step::default() }
    }

    /// Refuses a CALL with a CALLERROR under its sender's own id. A SEND has no answer.
    pub(super) fn refuse(&self, action: &'static str, code: &str, outcome: Outcome) -> Step {
        let mut step = self.only_seen(action, outcome);
        if self.frame.kind == Kind::Call {
            let own = if self.frame.id.len() <= MAX_ID { OwnId::of(self.frame) } else { OwnId::quoted("-1") };
            let why = match outcome {
                Outcome::Refused => "the message could not be read",
                Outcome::TooBig => "the message is too big",
                Outcome::TooMany => "too many at a time",
                _ => "not passed on",
            };
            step.send.push((self.from, error_frame(own, code, why)));
        }
        step
    }

    /// Answers a CALL here, as the catalogue words it.
    pub(super) fn answer_here(&self, action: &'static str, call: &CallPlan, outcome: Outcome, tally: &Tally) -> Step {
        let mut step = Step { seen: Some(self.seen(action, outcome, tally)), ..Step::default() };
        if self.frame.kind == Kind::Call {
            let answer = match (tally.vendor_refusal, call.answer.as_deref()) {
                // What could not be passed on is not acknowledged: the station must know that nobody has it (I4).
                _ if is_billed(action) && self.from == Side::Station => {
                    error_frame(OwnId::of(self.frame), violation_of_type(outcome), "not passed on")
                }
                (Some(status), _) => result_frame(OwnId::of(self.frame), &format!("{{\"status\":\"{status}\"}}")),
                (None, Some(answer)) => result_frame(OwnId::of(self.frame), answer),
                (None, None) => error_frame(OwnId::of(self.frame), "NotSupported", "not passed on"),
            };
            step.send.push((self.from, answer));
        }
        step
    }
}

/// The code for a message whose payload breaks the grammar (OCPP-J 1.6 §4.2.3; OCPP 2.1 Part 4 §4.3).
pub(super) fn violation(version: Version) -> &'static str {
    if version == Version::V16 { "FormationViolation" } else { "FormatViolation" }
}

/// The code for what is no frame: 2.x tells it from a bad payload (OCPP 2.1 Part 4 §4.3, `RpcFrameworkError`).
pub(super) fn no_frame(version: Version) -> &'static str {
    if version == Version::V16 { "FormationViolation" } else { "RpcFrameworkError" }
}

/// The code for a message with more of something than it may have; 1.6 spells it so (OCPP-J 1.6 §4.2.3).
pub(super) fn too_often(version: Version) -> &'static str {
    if version == Version::V16 { "OccurenceConstraintViolation" } else { "OccurrenceConstraintViolation" }
}

/// The code for a transaction message that cannot be passed on.
fn violation_of_type(outcome: Outcome) -> &'static str {
    if outcome == Outcome::Tripwire { "InternalError" } else { "TypeConstraintViolation" }
}

/// The id of a message on its way back to whoever made it: what was a number comes back as one.
#[derive(Clone, Copy)]
pub(super) struct OwnId<'a> {
    pub(super) id: &'a str,
    pub(super) is_number: bool,
}

impl<'a> OwnId<'a> {
    /// Of a message that came.
    pub(super) fn of(frame: &'a Frame<'_>) -> Self {
        Self { id: &frame.id, is_number: frame.is_number }
    }

    /// In quotes, whatever it was.
    pub(super) fn quoted(id: &'a str) -> Self {
        Self { id, is_number: false }
    }

    fn write(self, text: &mut String) {
        if self.is_number { text.push_str(self.id) } else { write_string(text, self.id) }
    }
}

/// A whole number as it is usually written: some write it in quotes or with a fraction.
pub(super) fn whole_number(text: &str) -> Option<String> {
    let text = unquoted(text).trim();
    let number = text.parse().or_else(|_| Decimal::from_scientific(text)).ok()?;
    number.is_integer().then(|| number.normalize().to_string())
}

pub(super) fn error_frame(own: OwnId<'_>, code: &str, description: &str) -> Outgoing {
    let mut text = Outgoing::room(48 + own.id.len() + description.len());
    text.push_str("[4,");
    own.write(&mut text);
    text.push_str(",\"");
    text.push_str(code);
    text.push_str("\",\"");
    text.push_str(description);
    text.push_str("\",{}]");
    Outgoing::own(text)
}

pub(super) fn result_frame(own: OwnId<'_>, payload: &str) -> Outgoing {
    let mut text = Outgoing::room(8 + own.id.len() + payload.len());
    text.push_str("[3,");
    own.write(&mut text);
    text.push(',');
    text.push_str(payload);
    text.push(']');
    Outgoing::own(text)
}
