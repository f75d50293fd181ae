//! One station's conversation, sans-io: pending calls, epoch pinning, what to do with each frame.

use crate::clock::Timestamp;
use crate::identity::{Epoch, Reveal, Sighting};
use crate::ocpp::{Kind, Side};
use crate::treat::{Fact, Outgoing};

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

/// What to do after one frame, in this order: record, write each frame to its side, close.
#[derive(Default)]
pub struct Step {
    /// Frames to write, each to its side. Usually one.
    pub send: Vec<(Side, Outgoing)>,
    /// Must be durable before anything in `send` goes to the CSMS (I4).
    pub sightings: Vec<Sighting>,
    /// Must be durable before the CSMS's answer to `message_id` goes back to the station (I4): the relay may submit them now and wait
    /// for them when a later step says `settles`.
    pub facts: Vec<Fact>,
    /// This step forwards an acknowledgement of transaction messages: every fact submitted so far on this connection must be durable first.
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

/// The conversation with one station.
pub struct Session {
    /* private */
}

impl Session {
    /// Reads one text (or binary) message from one side and says what to do. Never panics, whatever the bytes.
    pub fn on_frame(&mut self, from: Side, frame: &[u8], now: Timestamp, vault: &dyn Reveal) -> Step {
        let _ = (from, frame, now, vault);
        Step::default()
    }
}
