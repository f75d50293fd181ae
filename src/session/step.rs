//! What comes of one frame.

use crate::identity::{Epoch, Sighting};
use crate::ocpp::{Kind, Side};
use crate::treat::{Fact, Outgoing};
use smallvec::SmallVec;
use std::time::Duration;

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
    /// Refused: its sender has too many CALLs unanswered.
    TooMany,
    /// Refused: too big for its action.
    TooBig,
    /// Not forwarded: an answer that matches no pending call.
    Unmatched,
    /// Not forwarded: an answer to a CALL that was given up: its time was up, or its sender has used its id anew.
    Late,
    /// No answer came in time: the CALL got an error instead.
    Unanswered,
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
            Self::TooMany => "too_many",
            Self::TooBig => "too_big",
            Self::Unmatched => "unmatched",
            Self::Late => "late",
            Self::Unanswered => "unanswered",
            Self::ForeignIdentifier => "foreign_identifier",
            Self::Tripwire => "tripwire",
        }
    }
}

/// What to do after one frame, in this order: record, pin, submit facts, wait for them if it settles, write each frame to its side.
#[derive(Default)]
pub struct Step {
    /// Frames to write, each to its side. Nearly always one, which is kept in place.
    pub send: SmallVec<[(Side, Outgoing); 1]>,
    /// Must be durable before anything in `send` goes to the CSMS (I4).
    pub sightings: Vec<Sighting>,
    /// Transactions begun (or ended: `None`) with the epoch they are pinned to, to be remembered across connections. Must be durable before
    /// `facts` are submitted: else a retry after a crash could carry another code than the fact that is there.
    pub pins: Vec<(String, Option<Epoch>)>,
    /// Must be durable before the CSMS's answer goes back to the station (I4): the relay may submit them now and wait for them when
    /// a later step says `settles`.
    pub facts: Vec<Fact>,
    /// This step answers a transaction message: every fact submitted so far on this connection, this step's included, must be durable first.
    pub settles: bool,
    /// How soon the next frame may be read from the station.
    pub pace: Pace,
    /// For metrics: what it was. The action comes from the closed list of the standard, else `other`.
    pub seen: Option<Seen>,
}

/// How soon the next frame may be read from a station. Nothing is dropped: who is not read waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// At once.
    #[default]
    Go,
    /// After this while; what comes from the central system is read all the same.
    Rest(Duration),
    /// Never: it has sent faster than it may for longer than any queue takes to drain. To be closed with 1008.
    Cut,
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
