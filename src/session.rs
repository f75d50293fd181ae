//! One station's conversation, sans-io: pending calls, epoch pinning, what to do with each frame. Pure: time, keys and storage
//! are arguments, and the same input makes the same step (I9).

mod answers;
mod bounds;
mod budget;
mod calls;
mod step;
mod talk;
mod turn;

use crate::clock::Timestamp;
use crate::identity::{Codes, Reveal};
use crate::ocpp::frame::{BadFrame, Frame};
use crate::ocpp::json::Unreadable;
use crate::ocpp::{Kind, Side, Version};
use crate::policy::{Mode, Rules};
use crate::treat;
pub use bounds::{Bounds, LONG, LONG_ANSWERS, SHORT};
pub use budget::Allowance;
pub use calls::MAX_PENDING;
use std::sync::Arc;
use std::time::Duration;
pub use step::{Outcome, Pace, Seen, Step};
pub use talk::MAX_ID;
use talk::Talk;
use turn::Turn;

/// The conversation with one station.
pub struct Session {
    rules: Arc<Rules>,
    codes: Arc<dyn Codes>,
    /// What changes, apart from what all conversations share: a frame does not touch what others count.
    talk: Talk,
}

impl Session {
    /// Begins a conversation in the version that was agreed with the station, which is known by the id `station`.
    pub fn new(version: Version, station: &str, rules: Arc<Rules>, codes: Arc<dyn Codes>) -> Self {
        Self { rules, codes, talk: Talk::new(version, station) }
    }

    /// The same conversation under other bounds than the default ones.
    #[must_use]
    pub fn within(self, bounds: Bounds) -> Self {
        Self { talk: self.talk.within(bounds), ..self }
    }

    /// Whether no CALL of either side waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.talk.is_idle()
    }

    /// Reads one text (or binary) message from one side and says what to do. Never panics, whatever the bytes.
    pub fn on_frame(&mut self, from: Side, frame: &[u8], now: Timestamp, vault: &dyn Reveal) -> Step {
        match std::str::from_utf8(frame) {
            Ok(text) => self.on_text(from, text, now, vault),
            Err(_) => {
                let pace = self.talk.pay(from, frame.len(), now);
                let bad = BadFrame { kind: None, id: None, why: Unreadable::Syntax };
                Step { pace, ..self.talk.unreadable(from, &bad) }
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
        let pace = self.talk.pay(from, text.len(), now);
        let mut step = self.turn(from, without_trimmings(text), now, vault);
        if let Some(observed) = treat::observed(&self.rules, text) {
            step.send.clear();
            step.send.push((from.other(), observed));
        }
        step.pace = pace;
        step
    }

    fn turn(&mut self, from: Side, text: &str, now: Timestamp, vault: &dyn Reveal) -> Step {
        let Self { rules, codes, talk } = self;
        match Frame::read(text) {
            Ok(frame) => {
                let turn = Turn { text, frame: &frame, from, now, vault, rules, codes: &**codes };
                match frame.kind {
                    Kind::Call | Kind::Send => talk.call(&turn),
                    Kind::CallResult | Kind::CallError => talk.answer(&turn),
                    Kind::CallResultError => talk.complaint(&turn),
                }
            }
            Err(bad) => talk.unreadable(from, &bad),
        }
    }

    /// Lets time pass, to be called now and then whether frames come or not: each CALL that has waited longer than [`Bounds::patience`] is
    /// answered with an error, so that nothing waits for ever, and makes a step.
    pub fn on_time(&mut self, now: Timestamp) -> Vec<Step> {
        self.talk.on_time(now, self.rules.mode == Mode::Observe)
    }

    /// Pays for what is no message: a frame of control, or a piece of a message. Returns how fast that side may go on.
    pub fn on_piece(&mut self, from: Side, now: Timestamp) -> Pace {
        self.talk.pay(from, 0, now)
    }

    /// Has the station pay for identifiers that were never seen before.
    pub fn owe(&mut self, newcomers: usize) {
        self.talk.owe(newcomers);
    }

    /// How long it is until [`Session::on_time`] has a CALL to give up, as of the last time that it was told of; `None` if none waits.
    pub fn left_to_wait(&self) -> Option<Duration> {
        self.talk.left_to_wait()
    }

    /// CALLs of a side that wait for their answer: at most [`MAX_PENDING`].
    pub fn waiting(&self, from: Side) -> usize {
        self.talk.waiting(from)
    }
}

/// A frame without what sloppy firmware puts around it: a byte order mark before it, the end of a C string after it. Neither is JSON.
fn without_trimmings(text: &str) -> &str {
    match text.as_bytes() {
        [b'[', .., b']'] => text,
        _ => text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches('\0'),
    }
}
