//! Plan × frame → what may leave. One pass over the original text with the plan in hand: what is kept is copied, what is
//! treated is spliced, and untouched bytes stay as they were. (hot)

mod asked;
mod certificate;
mod error;
pub(crate) mod meter;
mod rewrite;
mod sightings;
mod spare;
mod text;
mod tripwire;

use crate::clock::Timestamp;
use crate::identity::{Codes, Epoch, Reveal};
use crate::ocpp::{Side, Version};
use crate::policy::{CallPlan, Plan, Rules};
pub(crate) use asked::{Asked, asked};
pub(crate) use error::error;
use meter::Series;
pub(crate) use rewrite::frame;
use sightings::Sightings;
use std::ops::Range;
pub(crate) use text::{SHORTEST_CARD, is_harmless_reference, time};
#[cfg(feature = "fuzz")]
pub(crate) use tripwire::MAX_WATCHED;
pub(crate) use tripwire::Watch;

/// A frame that has been through the treatment, or that the gateway worded itself. Sockets accept nothing else (I1).
///
/// It can be read by anyone:
/// ```
/// fn length(frame: &sluis::treat::Outgoing) -> usize { frame.as_str().len() }
/// ```
/// but a frame that skipped the policy does not compile:
/// ```compile_fail
/// let frame = sluis::treat::Outgoing { text: String::new() };
/// ```
/// ```compile_fail
/// let frame = sluis::treat::Outgoing::own(String::new());
/// ```
/// ```compile_fail
/// let frame: sluis::treat::Outgoing = String::new().into();
/// ```
pub struct Outgoing {
    text: String,
    /// A binary message, which only a policy that observes passes on; `text` is empty then.
    #[expect(clippy::box_collection, reason = "hardly any frame has it, and each has room for it")]
    binary: Option<Box<Vec<u8>>>,
}

impl Outgoing {
    /// The frame's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Gives the text away to be written.
    pub fn into_text(mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// The bytes of a binary message; `None` for text, which OCPP-J is.
    pub fn as_binary(&self) -> Option<&[u8]> {
        self.binary.as_ref().map(|bytes| &bytes[..])
    }

    /// Room for a frame of about so many bytes that the gateway words itself.
    pub(crate) fn room(length: usize) -> String {
        spare::take(length)
    }

    /// A frame that the gateway words itself, from its own closed phrases.
    pub(crate) fn own(text: String) -> Self {
        Self { text, binary: None }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.text));
    }
}

/// A billing fact: the treated (already pseudonymous) payload of a transaction message that went through. The journal keeps it;
/// charging sessions are assembled from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Which message: `StartTransaction`, `StartTransactionResponse`, `StopTransaction`, `MeterValues`, `TransactionEvent`,
    /// `TransactionEventResponse`.
    pub action: &'static str,
    /// The frame's message id, as the CSMS knows it.
    pub message_id: String,
    /// The treated payload, JSON.
    pub payload: String,
}

/// What one connection remembers for the treatment of its frames.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) watch: Watch,
    pub(crate) series: Series,
}

/// Everything a frame is treated with.
pub(crate) struct Context<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) plan: &'a Plan,
    /// Who will receive it.
    pub(crate) to: Side,
    pub(crate) codes: &'a dyn Codes,
    pub(crate) vault: &'a dyn Reveal,
    /// The epoch that the frame's transaction is pinned to.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) now: Timestamp,
    /// The settings that the CALL asked for: an answer may name them again, known or not.
    pub(crate) asked: Option<&'a Asked>,
    /// What names the meter series of the message.
    pub(crate) metered: Metered,
    /// The vendor message that the frame is the answer to.
    pub(crate) vendor: Option<&'a CallPlan>,
}

/// What names the meter series of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Metered {
    /// A TransactionEvent: its transaction (hashed), and whether it is the first or the last.
    Event { transaction: u64, boundary: bool },
    /// A field of the payload.
    By(&'static str),
}

impl Metered {
    /// A TransactionEvent by the id of its transaction.
    pub(crate) fn event(transaction: Option<&str>, event: Option<&str>) -> Self {
        let boundary = event.is_some_and(|e| e.eq_ignore_ascii_case("Started") || e.eq_ignore_ascii_case("Ended"));
        Self::Event { transaction: meter::key(transaction), boundary }
    }

    pub(crate) fn of(version: Version, action: &str) -> Self {
        match (version, action) {
            (_, "TransactionEvent") => Self::Event { transaction: 0, boundary: false },
            (_, "StopTransaction") => Self::By("transactionId"),
            (Version::V16, _) => Self::By("connectorId"),
            _ => Self::By("evseId"),
        }
    }
}

/// What the treatment did to a frame.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) sightings: Sightings,
    /// Fields withheld or substituted.
    pub(crate) withheld: u32,
    /// Identifiers replaced.
    pub(crate) replaced: u32,
    /// Identifiers from the CSMS that are neither ours nor declared (I5).
    pub(crate) foreign: u32,
    /// Settings from the CSMS that no purpose allows.
    pub(crate) forbidden: u32,
    /// More identifiers than a frame may bring.
    pub(crate) crowded: bool,
    /// DataTransfer: the status to refuse it with, or the vendor message it is.
    pub(crate) vendor_refusal: Option<&'static str>,
    pub(crate) vendor: Option<Box<(String, String)>>,
    pub(crate) exempt: Vec<Range<usize>>,
    notes: Vec<(u64, i64)>,
}

/// Whether a value crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Withheld,
}

/// A treated frame.
pub(crate) struct Treated {
    pub(crate) verdict: Verdict,
    /// The new text, whole; the frame as it was if nothing changed.
    pub(crate) frame: Outgoing,
    /// Where the payload stands in the new text.
    pub(crate) payload: Range<usize>,
    pub(crate) changed: bool,
    pub(crate) tally: Tally,
}

impl Treated {
    /// What a frame is treated into: nothing yet, so nothing of it crosses.
    pub(crate) fn nothing() -> Self {
        Self {
            verdict: Verdict::Withheld,
            frame: Outgoing { text: String::new(), binary: None },
            payload: 0..0,
            changed: true,
            tally: Tally::default(),
        }
    }

    /// The payload to be kept, without what crosses unread: data that a meter has signed may hold the card itself.
    pub(crate) fn without_signed(&self) -> String {
        let text = self.frame.as_str();
        let mut kept = String::with_capacity(self.payload.len());
        let mut from = self.payload.start;
        for signed in self.tally.exempt.iter().filter(|range| range.start >= self.payload.start && range.end <= self.payload.end) {
            kept.extend([&text[from..signed.start], "null"]);
            from = signed.end;
        }
        kept.push_str(&text[from..self.payload.end]);
        kept
    }
}

/// A frame passed on as it is, which only a policy that observes does.
pub(crate) fn observed(rules: &Rules, frame: &str) -> Option<Outgoing> {
    (rules.mode == crate::policy::Mode::Observe).then(|| Outgoing { text: frame.to_owned(), binary: None })
}

/// A binary message passed on as it is, which only a policy that observes does.
pub(crate) fn observed_binary(rules: &Rules, message: &[u8]) -> Option<Outgoing> {
    (rules.mode == crate::policy::Mode::Observe).then(|| Outgoing { text: String::new(), binary: Some(Box::new(message.to_vec())) })
}

/// The last look at a frame before it goes up: whether the tripwire lets it (I3). `head`: how much of it was looked at when it was made, by the
/// same eyes and for the same identifiers.
pub(crate) fn may_leave(context: &Context<'_>, memory: &Memory, treated: &Treated, head: usize) -> bool {
    context.rules.allow_all || !memory.watch.hit(treated.frame.as_str(), head, &treated.tally.exempt, &context.rules.words)
}

/// Remembers what matters for later frames, once the frame has really gone on.
pub(crate) fn note(memory: &mut Memory, tally: &Tally) {
    for (series, seconds) in &tally.notes {
        memory.series.note(*series, *seconds);
    }
}
