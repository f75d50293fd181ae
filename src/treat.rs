//! Plan × frame → what may leave. One pass over the original text with the plan in hand: what is kept is copied, what is
//! treated is spliced, and untouched bytes stay as they were. (hot)

pub(crate) mod meter;
mod text;
mod tripwire;

use crate::clock::Timestamp;
use crate::identity::{Class, Codes, Declared, Epoch, Identifier, Reveal, Sighting};
use crate::ocpp::frame::Frame;
use crate::ocpp::json::{Cursor, Shape, Unreadable, write_string};
use crate::ocpp::{Kind, Side, Version};
use crate::policy::{CallPlan, Field, Node, NodeId, Object, Plan, Purpose, Role, Rules, Special, Text, VariableRule};
use crate::pseudonym::Pseudonym;
use meter::{Sample, Series};
use std::borrow::Cow;
use std::ops::Range;
pub(crate) use text::{is_harmless_reference, time};
use tripwire::Coded;
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
}

impl Outgoing {
    /// The frame's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Gives the text away to be written.
    pub fn into_text(self) -> String {
        self.text
    }

    /// A frame that the gateway words itself, from its own closed phrases.
    pub(crate) fn own(text: String) -> Self {
        Self { text }
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
    /// The names of settings that the CALL asked for, lower case: an answer may name them again, known or not.
    pub(crate) asked: &'a [Box<str>],
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
    pub(crate) sightings: Vec<Sighting>,
    /// Fields withheld or substituted.
    pub(crate) withheld: u32,
    /// Identifiers replaced.
    pub(crate) replaced: u32,
    /// Identifiers from the CSMS that are neither ours nor declared (I5).
    pub(crate) foreign: u32,
    /// Settings from the CSMS that no purpose allows.
    pub(crate) forbidden: u32,
    /// DataTransfer: the status to refuse it with, or the vendor message it is.
    pub(crate) vendor_refusal: Option<&'static str>,
    pub(crate) vendor: Option<(String, String)>,
    pub(crate) exempt: Vec<Range<usize>>,
    notes: Vec<(u64, i64)>,
}

/// Whether a value crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Withheld,
}
use Verdict::{Kept, Withheld};

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
    /// Nothing of the frame crosses.
    pub(crate) fn withheld() -> Self {
        Self { verdict: Withheld, frame: Outgoing { text: String::new() }, payload: 0..0, changed: true, tally: Tally::default() }
    }
}

/// Treats the payload that begins at `payload` in `frame`, and puts `id.1` in the place of the message id `id.0` if given.
pub(crate) fn frame(
    context: &Context<'_>,
    memory: &mut Memory,
    frame: &str,
    id: (Range<usize>, Option<&str>),
    payload: usize,
    node: NodeId,
) -> Result<Treated, Unreadable> {
    let mut rewriter = Rewriter::new(context, memory, Cursor::inside(frame, payload));
    if let (span, Some(id)) = id {
        rewriter.replace(span, |out| write_string(out, id));
    }
    let head = rewriter.out.len() + payload - rewriter.copied;
    let verdict = rewriter.top(node)?;
    let end = rewriter.cursor.at();
    if !rewriter.cursor.take(b']') || !rewriter.cursor.finished() {
        return Err(Unreadable::Syntax);
    }
    let Rewriter { mut out, copied, tally, .. } = rewriter;
    if copied == 0 && out.is_empty() {
        out = frame.to_owned();
    } else {
        out.push_str(&frame[copied..]);
    }
    let payload = head..out.len() - (frame.len() - end);
    Ok(Treated { verdict, frame: Outgoing { text: out }, payload, changed: copied > 0, tally })
}

/// The names of settings in a CALL of the central system: its `name`, `instance` and `key` members, at most [`MAX_ASKED`].
pub(crate) fn asked(payload: Cursor<'_>) -> Box<[Box<str>]> {
    fn walk(cursor: &mut Cursor<'_>, named: bool, found: &mut Vec<Box<str>>) -> Result<(), Unreadable> {
        match cursor.shape()? {
            Shape::Object => {
                cursor.enter()?;
                if !cursor.take(b'}') {
                    loop {
                        let key = cursor.string()?;
                        let named = matches!(&*cursor.content(&key), "name" | "instance" | "key");
                        cursor.take(b':');
                        walk(cursor, named, found)?;
                        if !cursor.take(b',') {
                            cursor.take(b'}');
                            break;
                        }
                    }
                }
                cursor.leave();
            }
            Shape::Array => {
                cursor.enter()?;
                if !cursor.take(b']') {
                    loop {
                        walk(cursor, named, found)?;
                        if !cursor.take(b',') {
                            cursor.take(b']');
                            break;
                        }
                    }
                }
                cursor.leave();
            }
            Shape::String => {
                let token = cursor.string()?;
                if named && found.len() < MAX_ASKED {
                    found.push(cursor.content(&token).into());
                }
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    let mut payload = payload;
    // What cannot be read was refused before.
    let _ = walk(&mut payload, false, &mut found);
    found.into()
}

/// Identifiers that one frame can make active: a remote start names two, a local list thousands.
const MAX_ACTIVE_PER_FRAME: u32 = 4;

/// The longest identifier or reference, in characters: no version of the standard has a longer one (OCPP 2.1, `idToken` and `filename`). A
/// longer one does not cross, for it would be kept in the vault and watched in a dozen encodings.
const MAX_IDENTIFIER: usize = 255;

/// Names of settings remembered of one CALL. Stations report far smaller limits on the items of a message.
const MAX_ASKED: usize = 128;

/// Treats a CALLERROR or CALLRESULTERROR: the code is kept if the standard has it, the details never cross, and the description goes up
/// only where free text has a purpose, scrubbed; a station that quotes the whole request in it would quote a restored card number.
/// `id` is the message id that the recipient knows.
pub(crate) fn error(context: &Context<'_>, memory: &Memory, text: &str, frame: &Frame<'_>, id: &str) -> Result<Treated, Unreadable> {
    let mut cursor = Cursor::inside(text, frame.rest);
    let mut description = None;
    let mut details = "{}";
    let mut readable = true;
    if cursor.clone().take(b']') {
        if text[..frame.rest].trim_end().ends_with(',') {
            return Err(Unreadable::Syntax);
        }
    } else {
        if cursor.shape()? == Shape::String {
            let token = cursor.string()?;
            description = Some(cursor.content(&token));
        } else {
            // Whatever stands there instead of a text does not go on.
            cursor.skip()?;
            readable = false;
        }
        if cursor.take(b',') {
            details = &text[cursor.skip()?];
        }
    }
    if !cursor.take(b']') || !cursor.finished() {
        return Err(Unreadable::Syntax);
    }
    let known = ERROR_CODES.contains(&&*frame.name);
    let description = description.unwrap_or_default();
    let kept = if context.to == Side::Station {
        description.clone()
    } else if context.rules.purposes[Side::Csms as usize].has(Purpose::Quality) {
        text::scrub(&description, |word| memory.watch.knows(word))
    } else {
        Cow::Borrowed("")
    };
    let untouched = context.rules.allow_all || (known && readable && kept == description && details == "{}" && frame.id == id);
    let mut out = String::new();
    let mut id_place = frame.id_span.clone();
    if untouched {
        out.push_str(text);
    } else {
        out.push_str(if frame.kind == Kind::CallError { "[4," } else { "[5," });
        id_place.start = out.len();
        write_string(&mut out, id);
        id_place.end = out.len();
        out.push_str(",\"");
        out.push_str(if known { &frame.name } else { "GenericError" });
        out.push_str("\",");
        write_string(&mut out, kept.get(..255).unwrap_or(&kept));
        out.push_str(",{}]");
    }
    let withheld = u32::from(kept != description || !readable) + u32::from(details != "{}") + u32::from(!known);
    let mut tally = Tally { withheld, ..Tally::default() };
    if frame.kind == Kind::CallError {
        // The caller chose this id itself; that it comes back must not tell it anything (I5).
        tally.exempt.push(id_place);
    }
    Ok(Treated { verdict: Kept, payload: 0..0, frame: Outgoing { text: out }, changed: !untouched, tally })
}

/// The error codes of OCPP-J 1.6 §4.2.3 and OCPP 2.1 Part 4 §4.3.
const ERROR_CODES: [&str; 15] = [
    "NotImplemented",
    "NotSupported",
    "InternalError",
    "ProtocolError",
    "SecurityError",
    "FormationViolation",
    "FormatViolation",
    "PropertyConstraintViolation",
    "OccurenceConstraintViolation",
    "OccurrenceConstraintViolation",
    "TypeConstraintViolation",
    "GenericError",
    "MessageTypeNotSupported",
    "RpcFrameworkError",
    "TimeoutError",
];

/// A frame passed on as it is, which only a policy that observes does.
pub(crate) fn observed(rules: &Rules, frame: &str) -> Option<Outgoing> {
    (rules.mode == crate::policy::Mode::Observe).then(|| Outgoing { text: frame.to_owned() })
}

/// The last look at a frame before it goes up: whether the tripwire lets it (I3).
pub(crate) fn may_leave(context: &Context<'_>, memory: &Memory, treated: &Treated) -> bool {
    context.rules.allow_all || !memory.watch.hit(treated.frame.as_str(), &treated.tally.exempt, &context.rules.words)
}

/// Remembers what matters for later frames, once the frame has really gone on.
pub(crate) fn note(memory: &mut Memory, tally: &Tally) {
    for (series, seconds) in &tally.notes {
        memory.series.note(*series, *seconds);
    }
}

/// A place to return to when what was written since turns out to be withheld.
struct Mark {
    out: usize,
    copied: usize,
    sightings: usize,
    exempt: usize,
    notes: usize,
    replaced: u32,
}

struct Rewriter<'a, 'c> {
    context: &'c Context<'a>,
    memory: &'c mut Memory,
    cursor: Cursor<'a>,
    out: String,
    /// Up to here the source is in `out`, or was cut.
    copied: usize,
    tally: Tally,
    /// Where the payload begins.
    start: usize,
    /// Whether the text has escapes anywhere.
    escapes: bool,
    /// What the `type` beside a token declares.
    declared: Declared,
    /// The component and variable, or the key, that the object at hand names.
    variable: Option<&'a VariableRule>,
    vendor: Option<&'a CallPlan>,
    sample: Sample<'a>,
    /// Of the reading at hand: when, whether any sample was kept, whether any of them bounds a transaction.
    reading: Reading,
    /// The meter series the payload belongs to and whether the event itself bounds a transaction; found at the first reading.
    series: Option<(u64, bool)>,
}

#[derive(Debug, Default, Clone)]
struct Reading {
    seconds: Option<i64>,
    kept: bool,
    boundary: bool,
}

impl<'a, 'c> Rewriter<'a, 'c> {
    fn new(context: &'c Context<'a>, memory: &'c mut Memory, cursor: Cursor<'a>) -> Self {
        Self {
            context,
            memory,
            out: String::new(),
            copied: 0,
            tally: Tally::default(),
            start: cursor.at(),
            escapes: memchr::memchr(b'\\', cursor.text().as_bytes()).is_some(),
            cursor,
            declared: Declared::Undeclared,
            variable: None,
            vendor: context.vendor,
            sample: Sample::default(),
            reading: Reading::default(),
            series: None,
        }
    }

    /// The payload. `null` is taken for an empty object, as some back ends mean it.
    fn top(&mut self, node: NodeId) -> Result<Verdict, Unreadable> {
        match self.cursor.shape()? {
            _ if matches!(self.context.plan.nodes[node as usize], Node::Any) => self.value(node),
            Shape::Null => {
                let span = self.cursor.skip()?;
                self.replace(span, |out| out.push_str("{}"));
                Ok(Kept)
            }
            Shape::Object => self.value(node),
            _ => {
                self.cursor.skip()?;
                Ok(Withheld)
            }
        }
    }

    fn up(&self) -> bool {
        self.context.to == Side::Csms
    }

    fn mark(&self) -> Mark {
        Mark {
            out: self.out.len(),
            copied: self.copied,
            sightings: self.tally.sightings.len(),
            exempt: self.tally.exempt.len(),
            notes: self.tally.notes.len(),
            replaced: self.tally.replaced,
        }
    }

    fn return_to(&mut self, mark: &Mark) {
        self.out.truncate(mark.out);
        self.copied = mark.copied;
        self.tally.sightings.truncate(mark.sightings);
        self.tally.exempt.truncate(mark.exempt);
        self.tally.notes.truncate(mark.notes);
        self.tally.replaced = mark.replaced;
    }

    #[inline]
    fn flush(&mut self, to: usize) {
        if to != self.copied {
            self.copy(to);
        }
    }

    fn copy(&mut self, to: usize) {
        let text = self.cursor.text();
        if self.out.capacity() == 0 {
            self.out = String::with_capacity(text.len() + 64);
        }
        self.out.push_str(&text[self.copied..to]);
        self.copied = to;
    }

    /// Copies signed data whole, and tells the tripwire to pass over it.
    fn exempt(&mut self, span: Range<usize>) {
        self.flush(span.start);
        let from = self.out.len();
        self.flush(span.end);
        self.tally.exempt.push(from..self.out.len());
    }

    fn cut(&mut self, span: Range<usize>) {
        self.flush(span.start);
        self.copied = span.end;
    }

    fn replace(&mut self, span: Range<usize>, write: impl FnOnce(&mut String)) {
        self.cut(span);
        write(&mut self.out);
    }

    fn value(&mut self, id: NodeId) -> Result<Verdict, Unreadable> {
        let shape = self.cursor.shape()?;
        let context = self.context;
        let node = &context.plan.nodes[id as usize];
        let fits = match node {
            Node::Withhold => {
                self.tally.withheld += 1;
                false
            }
            Node::Any => true,
            Node::Whole => {
                let span = self.cursor.skip()?;
                self.exempt(span);
                return Ok(Kept);
            }
            // An explicit null says nothing, so it may stand where the plan knows the field.
            _ if shape == Shape::Null => true,
            Node::Boolean => shape == Shape::Boolean,
            Node::Integer | Node::Number if shape == Shape::Number => true,
            Node::Text(text) if shape == Shape::String => return self.string(text),
            Node::Text(Text::Decimal) if shape == Shape::Number => true,
            // A number in quotes is odd, but it is what some stations send.
            Node::Integer | Node::Number if shape == Shape::String => return self.string(&Text::QuotedNumber),
            Node::Object(object) if shape == Shape::Object => return self.object(object),
            Node::List { item, min } if shape == Shape::Array => return self.list(*item, *min),
            _ => {
                self.tally.withheld += 1;
                false
            }
        };
        self.cursor.skip()?;
        Ok(if fits { Kept } else { Withheld })
    }

    fn list(&mut self, item: NodeId, min: u32) -> Result<Verdict, Unreadable> {
        let whole = self.mark();
        let context = self.context;
        let special = if let Node::Object(object) = &context.plan.nodes[item as usize] { object.special } else { Special::None };
        // Readings without samples are no readings.
        let min = if matches!(special, Special::Meter | Special::Sampled) { min.max(1) } else { min };
        self.cursor.enter()?;
        let inside = self.cursor.at();
        let (mut kept, mut dropped, mut end) = (0, 0, inside);
        if !self.cursor.take(b']') {
            loop {
                self.cursor.count()?;
                let gap = self.cursor.at();
                let verdict = if special == Special::Sampled && self.pass_useless()? {
                    Withheld
                } else {
                    let before = self.mark();
                    if kept == 0 && dropped > 0 {
                        self.cut(inside..gap);
                    }
                    let verdict = self.value(item)?;
                    if verdict == Withheld {
                        self.return_to(&before);
                    }
                    verdict
                };
                if verdict == Kept {
                    kept += 1;
                } else {
                    dropped += 1;
                    if kept > 0 {
                        self.cut(end..self.cursor.at());
                    }
                }
                end = self.cursor.at();
                if self.cursor.take(b']') {
                    break;
                }
                if !self.cursor.take(b',') {
                    return Err(Unreadable::Syntax);
                }
            }
        }
        self.cursor.leave();
        if dropped > 0 && kept < min {
            self.return_to(&whole);
            return Ok(Withheld);
        }
        if dropped > 0 && kept == 0 {
            self.cut(inside..self.cursor.at() - 1);
        }
        Ok(Kept)
    }

    fn object(&mut self, object: &'a Object) -> Result<Verdict, Unreadable> {
        let whole = self.mark();
        let outside = (self.declared, self.variable, self.vendor);
        if self.meet(object) == Withheld {
            self.cursor.skip()?;
            return Ok(Withheld);
        }
        self.cursor.enter()?;
        let inside = self.cursor.at();
        let (mut kept, mut dropped, mut dead, mut end) = (0u32, 0u32, false, inside);
        let (mut seen, mut expected) = (0u64, 0);
        let mut unknown: Vec<Cow<'a, str>> = Vec::new();
        if !self.cursor.take(b'}') {
            loop {
                self.cursor.count()?;
                let gap = self.cursor.at();
                let key = self.cursor.string()?;
                if !self.cursor.take(b':') {
                    return Err(Unreadable::Syntax);
                }
                let before = self.mark();
                let mut verdict = Withheld;
                let known = if key.escaped {
                    find(&object.fields, self.cursor.content(&key).as_bytes(), &mut expected)
                } else {
                    find(&object.fields, &self.cursor.text().as_bytes()[key.span.clone()], &mut expected)
                };
                if let Some(at) = known {
                    if seen & (1 << at) != 0 {
                        return Err(Unreadable::Duplicate);
                    }
                    seen |= 1 << at;
                    let field = &object.fields[at];
                    if dead {
                        self.cursor.skip()?;
                    } else {
                        if kept == 0 && dropped > 0 {
                            self.cut(inside..gap);
                        }
                        verdict = self.field(field, &before, (kept == 0 && dropped > 0).then_some(inside..gap))?;
                        dead = (verdict == Withheld && field.required) || (self.sample.refused && object.special == Special::Sampled);
                    }
                } else {
                    let name = self.cursor.content(&key);
                    if unknown.contains(&name) {
                        return Err(Unreadable::Duplicate);
                    }
                    if unknown.len() < 16 {
                        unknown.push(name);
                    }
                    self.cursor.skip()?;
                    self.tally.withheld += 1;
                }
                if verdict == Kept {
                    kept += 1;
                } else {
                    self.return_to(&before);
                    dropped += 1;
                    if kept > 0 {
                        self.cut(end..self.cursor.at());
                    }
                }
                end = self.cursor.at();
                if self.cursor.take(b'}') {
                    break;
                }
                if !self.cursor.take(b',') {
                    return Err(Unreadable::Syntax);
                }
            }
        }
        self.cursor.leave();
        (self.declared, self.variable, self.vendor) = outside;
        if dead || !self.passes(object.special) {
            self.tally.withheld += u32::from(self.sample.refused && object.special == Special::Sampled);
            self.return_to(&whole);
            return Ok(Withheld);
        }
        if dropped > 0 && kept == 0 {
            self.cut(inside..self.cursor.at() - 1);
        }
        Ok(Kept)
    }

    /// One known member: its value, or what stands in for it. `gap` is what must be cut before it if it is the first kept.
    fn field(&mut self, field: &'a Field, before: &Mark, gap: Option<Range<usize>>) -> Result<Verdict, Unreadable> {
        self.cursor.space();
        let start = self.cursor.at();
        let mut verdict = self.value(field.node)?;
        let span = start..self.cursor.at();
        if field.role != Role::None {
            verdict = self.play(field.role, &span, verdict);
        }
        if verdict == Kept {
            return Ok(Kept);
        }
        // A session must not be lost for a clock that writes nonsense: the time of arrival stands in for a required time.
        let timeless = self.up() && field.required && matches!(self.context.plan.nodes[field.node as usize], Node::Text(Text::Time));
        let otherwise: Cow<'_, str> = match &field.otherwise {
            Some(otherwise) => Cow::Borrowed(otherwise),
            None if timeless => Cow::Owned(format!("\"{}\"", self.context.now.rfc3339())),
            None => return Ok(Withheld),
        };
        self.return_to(before);
        if let Some(gap) = gap {
            self.cut(gap);
        }
        self.replace(span, |out| out.push_str(&otherwise));
        Ok(Kept)
    }

    /// Takes note of a field that rules about whole objects look at.
    fn play(&mut self, role: Role, span: &Range<usize>, verdict: Verdict) -> Verdict {
        let whole = self.cursor.text();
        let text = || -> Option<Cow<'a, str>> {
            let raw = whole.get(span.start + 1..span.end - 1).filter(|_| whole.as_bytes()[span.start] == b'"')?;
            if !self.escapes || !raw.contains('\\') {
                return Some(Cow::Borrowed(raw));
            }
            let mut there = Cursor::new(&whole[span.clone()]);
            there.string().ok().map(|token| there.content(&token))
        };
        let meaning = matches!(role, Role::Measurand | Role::Location | Role::Format | Role::Qualifier);
        self.sample.garbled |= meaning && verdict == Withheld;
        match role {
            Role::Measurand => {
                let measurand = text().unwrap_or_default();
                // What nobody needs is not looked at any further.
                self.sample.refused = !self.context.rules.purposes[self.context.to as usize].has(meter::purpose(&measurand));
                self.sample.measurand = Some(measurand);
            }
            Role::Context => self.sample.context = text(),
            Role::Location => self.sample.location = text(),
            Role::Format => self.sample.format = text(),
            Role::Value => {
                // What is no number may be signed data that does not say so; whether it passes is decided when all is known.
                if verdict == Withheld {
                    self.sample.opaque = true;
                    self.tally.withheld = self.tally.withheld.saturating_sub(1);
                    self.exempt(span.clone());
                }
                return Kept;
            }
            Role::MeterTime => self.reading.seconds = text().and_then(|t| text::time(&t)),
            Role::Qualifier | Role::Series | Role::None => {}
        }
        verdict
    }

    /// Looks ahead in an object for what decides about its fields.
    fn meet(&mut self, object: &Object) -> Verdict {
        match object.special {
            Special::None => {}
            Special::Token => {
                self.declared = match self.cursor.peek_string("type").as_deref() {
                    Some(t) if t.eq_ignore_ascii_case("KeyCode") => Declared::KeyCode,
                    Some(t) if ["MacAddress", "EVCCID", "VIN"].iter().any(|w| t.eq_ignore_ascii_case(w)) => Declared::Vehicle,
                    _ => Declared::Undeclared,
                };
            }
            Special::Sampled => self.sample = Sample::default(),
            Special::Meter => self.reading = Reading::default(),
            Special::Key => {
                let key = self.cursor.peek_string("key").unwrap_or_default();
                self.variable = self.context.rules.keys.get(&key.to_ascii_lowercase());
            }
            Special::Pair => {
                let name = |of: &str| {
                    let span = self.cursor.peek(of)?;
                    Cursor::new(&self.cursor.text()[span]).peek_string("name").map(Cow::into_owned)
                };
                self.variable = match (name("component"), name("variable")) {
                    (Some(component), Some(variable)) => self.context.rules.variable(&component, &variable),
                    _ => None,
                };
            }
            Special::Vendor => return self.meet_vendor(object),
        }
        Kept
    }

    /// A quick look at a sampled value, with which most of them are done: passes over it if it names a measurand that no enabled purpose needs.
    fn pass_useless(&mut self) -> Result<bool, Unreadable> {
        if self.cursor.shape()? != Shape::Object {
            return Ok(false);
        }
        let Some((measurand, end)) = self.cursor.flat(b"measurand") else { return Ok(false) };
        let needed = meter::purpose(&self.cursor.text()[measurand.clone()]);
        let useless = !measurand.is_empty() && !self.context.rules.purposes[self.context.to as usize].has(needed);
        if useless {
            self.tally.withheld += 1;
            self.cursor.jump(end);
        }
        Ok(useless)
    }

    fn meet_vendor(&mut self, object: &Object) -> Verdict {
        if !object.fields.iter().any(|f| *f.name == *"vendorId") {
            return Kept;
        }
        let vendor = self.cursor.peek_string("vendorId").unwrap_or_default();
        let message = self.cursor.peek_string("messageId").unwrap_or_default();
        let plan = self.context.plan;
        let known = (vendor.into_owned(), message.into_owned());
        let refusal = match plan.vendors.get(&known).map(|from| &from[self.context.to.other() as usize]) {
            Some(Some(call)) if call.crosses => {
                self.vendor = Some(call);
                self.tally.vendor = Some(known);
                return Kept;
            }
            Some(Some(_)) => "Rejected",
            _ if plan.vendor_ids.contains(&known.0) => "UnknownMessageId",
            _ => "UnknownVendorId",
        };
        self.tally.vendor_refusal = Some(refusal);
        self.tally.withheld += 1;
        Withheld
    }

    /// Decides about an object once all its fields were seen.
    fn passes(&mut self, special: Special) -> bool {
        let enabled = self.context.rules.purposes[self.context.to as usize];
        match special {
            Special::Sampled => {
                let sample = std::mem::take(&mut self.sample);
                let passes = enabled.has(sample.purpose()) && !sample.garbled;
                if passes {
                    self.reading.kept = true;
                    let event = self.series().1;
                    self.reading.boundary |= sample.is_boundary(event);
                } else {
                    self.tally.withheld += 1;
                }
                passes
            }
            Special::Meter => {
                let reading = std::mem::take(&mut self.reading);
                if !reading.kept {
                    return false;
                }
                let (series, _) = self.series();
                let seconds = reading.seconds.unwrap_or_else(|| self.context.now.seconds());
                let slot = (series, seconds.div_euclid(meter::SLOT) * meter::SLOT);
                // The last reading of a transaction is what it is billed by, whatever it says of itself.
                let last = self.ends_transaction() && self.cursor.clone().take(b']');
                let fine = reading.boundary
                    || last
                    || !self.up()
                    || enabled.has(Purpose::SmartCharging)
                    || (self.memory.series.permits(series, seconds)
                        // Only as far back as the series itself is remembered: a frame may have thousands of readings.
                        && !self.tally.notes.iter().rev().take(meter::REMEMBERED).any(|note| *note == slot));
                if fine && !reading.boundary && !last {
                    self.tally.notes.push(slot);
                } else if !fine {
                    self.tally.withheld += 1;
                }
                fine
            }
            _ => true,
        }
    }

    fn ends_transaction(&mut self) -> bool {
        matches!(self.context.metered, Metered::By("transactionId")) || self.series().1
    }

    /// The meter series that the payload belongs to, by the field that names it, and whether the payload is the beginning or the end of
    /// a transaction.
    fn series(&mut self) -> (u64, bool) {
        if let Some(known) = self.series {
            return known;
        }
        let known = match self.context.metered {
            Metered::Event { transaction, boundary } => (transaction, boundary),
            Metered::By(name) => {
                let payload = Cursor::inside(self.cursor.text(), self.start);
                (meter::key(payload.peek(name).map(|span| &payload.text()[span])), false)
            }
        };
        *self.series.insert(known)
    }

    fn string(&mut self, text: &Text) -> Result<Verdict, Unreadable> {
        let start = self.cursor.at();
        let token = self.cursor.string()?;
        if matches!(text, Text::Plain) {
            return Ok(Kept);
        }
        let content = self.cursor.content(&token);
        let span = start..self.cursor.at();
        let verdict = self.treat(text, span, &content);
        self.tally.withheld += u32::from(verdict == Withheld);
        Ok(verdict)
    }

    fn treat(&mut self, text: &Text, span: Range<usize>, content: &str) -> Verdict {
        let keep = |crosses: bool| if crosses { Kept } else { Withheld };
        match text {
            Text::Plain | Text::Vendor | Text::VendorMessage => Kept,
            Text::Decimal => keep(text::is_decimal(content.trim())),
            Text::QuotedNumber => keep(text::is_decimal(content) && content.len() < 10),
            Text::Time => keep(text::time(content).is_some()),
            Text::Word(words) => keep(words.has(content)),
            Text::Language => keep(text::is_language(content)),
            Text::Pem => keep(text::is_pem(content)),
            // The central system may have set it (a certificate, a signed schedule): see `was_asked`.
            Text::Hash if text::is_digest(content) || is_harmless_reference(content) => self.keep_given(span),
            Text::Hash | Text::Ref => self.reference(span, content),
            Text::Token => self.token(span, content),
            Text::Name { .. } | Text::Component | Text::Variable | Text::Key if self.was_asked(&span, content) => Kept,
            Text::Name { max, .. } if content.chars().count() > *max as usize || !is_plain_name(content) => Withheld,
            Text::Name { given: true, .. } => self.keep_given(span),
            Text::Name { .. } => keep(!self.memory.watch.knows(content)),
            // The central system knows what it chose; what it did not choose may be a number like any other.
            Text::Given { max } if content.chars().count() > *max as usize => Withheld,
            Text::Given { .. } if text::is_identifier_like_in_groups(content) && !text::is_random_uuid(content) => Withheld,
            Text::Given { .. } => self.keep_given(span),
            Text::Scrub => {
                let clean = text::scrub(content, |word| self.memory.watch.knows(word));
                if clean != content {
                    self.replace(span, |out| write_string(out, &clean));
                }
                Kept
            }
            Text::Code { max } => {
                let code = self.context.codes.digest("device", content);
                let code: String = code.iter().map(|b| char::from(*b)).take(*max as usize).collect();
                self.replace(span, |out| write_string(out, &code));
                self.tally.replaced += 1;
                Kept
            }
            Text::Component => keep(self.context.rules.components.contains_key(&content.to_ascii_lowercase())),
            Text::Variable => {
                let name = content.to_ascii_lowercase();
                let standard = || self.context.rules.components.values().any(|c| c.contains_key(&name));
                keep(self.variable.is_some() || standard())
            }
            Text::Key => keep(self.context.rules.keys.contains_key(&content.to_ascii_lowercase())),
            Text::AskedName => self.may_be_asked(content),
            Text::VariableValue => self.setting(span, content),
            Text::VendorData => self.nested(span, content),
        }
    }

    /// Keeps what the central system may have set itself.
    ///
    /// That must not depend on which identifiers are active here, nor may the tripwire: else the central system would learn from what comes
    /// back which of its guesses is a card in use (I5).
    fn keep_given(&mut self, span: Range<usize>) -> Verdict {
        self.exempt(span);
        Kept
    }

    /// Whether the central system itself has just named this setting: then its name is nothing new to it ([`Rewriter::keep_given`]).
    fn was_asked(&mut self, span: &Range<usize>, content: &str) -> bool {
        let asked = self.context.asked.iter().any(|name| name.eq_ignore_ascii_case(content));
        if asked {
            self.exempt(span.clone());
        }
        asked
    }

    /// The name of a setting on its way down: one that is a card or contract number would come back up again.
    fn may_be_asked(&mut self, content: &str) -> Verdict {
        let lower = content.to_ascii_lowercase();
        let rules = self.context.rules;
        let known = rules.keys.contains_key(&lower)
            || rules.components.contains_key(&lower)
            || rules.components.values().any(|c| c.contains_key(&lower));
        // Many names have the length of a contract number, but not its digits.
        let is_number = || match Identifier::from_wire(content, Declared::Undeclared).class {
            Class::Rfid => true,
            Class::Emaid => content.bytes().filter(u8::is_ascii_digit).count() >= 4,
            _ => false,
        };
        if known || !is_number() {
            return Kept;
        }
        self.tally.foreign += 1;
        Withheld
    }

    /// A reference chosen by a machine: as it is where it cannot hold a card number, else a code that finds its way back.
    fn reference(&mut self, span: Range<usize>, content: &str) -> Verdict {
        if content.is_empty() {
            return Kept;
        }
        // Most are harmless, and told so faster than a code is recognised.
        if self.up() && is_harmless_reference(content) && !self.memory.watch.knows(content) {
            return Kept;
        }
        let known = self.context.codes.recognise(content);
        if !self.up() {
            let Some(code) = known else { return Kept };
            // Why exposed: the station gets its own reference back.
            return match self
                .context
                .vault
                .reveal(&code)
                .filter(|original| self.stands_for(&code, original.expose(), &[Declared::Reference]))
            {
                Some(original) => {
                    self.replace(span, |out| write_string(out, original.expose()));
                    self.tally.replaced += 1;
                    Kept
                }
                None => Withheld,
            };
        }
        if known.is_some() {
            return Kept;
        }
        if is_too_long(content) {
            return Withheld;
        }
        let identifier = Identifier::from_wire(content, Declared::Reference);
        self.put_code(span, identifier, None);
        Kept
    }

    /// An identifier of a driver, card, contract or group: pseudonymised on its way up, restored on its way down.
    fn token(&mut self, span: Range<usize>, content: &str) -> Verdict {
        let how = Coded { declared: self.declared, epoch: self.context.epoch, generation: self.context.codes.generation() };
        if self.up()
            && let Some(sighting) = self.memory.watch.coded(content, how)
        {
            self.splice(span, sighting);
            return Kept;
        }
        if content.trim().is_empty() {
            return Kept;
        }
        if is_too_long(content) {
            self.tally.foreign += u32::from(!self.up());
            return Withheld;
        }
        let known = self.context.codes.recognise(content);
        if self.context.rules.operator_issued(content) {
            return Kept;
        }
        if self.up() {
            if known.is_none() {
                let identifier = Identifier::from_wire(content, self.declared);
                self.put_code(span, identifier, Some(how));
            }
            return Kept;
        }
        let original = known.and_then(|code| {
            let here = self.memory.watch.spelling(&code).cloned();
            // A reference that looks like a card must not come down as one: the station would send it up again as the card (I5).
            let kinds = [Declared::Undeclared, Declared::Vehicle];
            let original = here.or_else(|| self.context.vault.reveal(&code).filter(|o| self.stands_for(&code, o.expose(), &kinds)));
            original.map(|original| (code, original))
        });
        let Some((code, original)) = original else {
            self.tally.foreign += 1;
            return Withheld;
        };
        // Why exposed: the station's own socket is one of the two places for clear identifiers (I3).
        self.replace(span, |out| write_string(out, original.expose()));
        self.tally.replaced += 1;
        // A list of cards is not active here, and must not push out those that are.
        if self.tally.replaced <= MAX_ACTIVE_PER_FRAME {
            self.memory.watch.add(code, &Identifier::from_wire(original.expose(), Declared::Undeclared), None);
        }
        Kept
    }

    /// Whether a code was made of an original of one of these kinds.
    fn stands_for(&self, code: &Pseudonym, original: &str, kinds: &[Declared]) -> bool {
        let epoch = self.context.codes.epoch_of(code);
        kinds.iter().any(|kind| self.context.codes.code(&Identifier::from_wire(original, *kind), epoch) == *code)
    }

    /// Replaces an identifier by its code. `watch`: it is one of a driver, and how its code is made; then it is watched from now on.
    fn put_code(&mut self, span: Range<usize>, identifier: Identifier, watch: Option<Coded>) {
        let code = self.context.codes.code(&identifier, self.context.epoch);
        // A long list of tokens must not push out the cards that are active.
        if watch.is_some() && self.tally.replaced < MAX_ACTIVE_PER_FRAME {
            self.memory.watch.add(code, &identifier, watch);
        }
        self.splice(span, Sighting { code, identifier });
    }

    fn splice(&mut self, span: Range<usize>, sighting: Sighting) {
        // A code is letters and digits.
        self.replace(span, |out| out.extend(["\"", sighting.code.as_str(), "\""]));
        self.tally.replaced += 1;
        self.tally.sightings.push(sighting);
    }

    /// The value of a configuration key or device model variable.
    fn setting(&mut self, span: Range<usize>, content: &str) -> Verdict {
        let Some(rule) = self.variable else {
            // A setting that the catalogue does not know goes down if it is a switch, a number or a plain word: nothing that could be
            // an address or plant an identifier. It never goes up.
            let plain =
                text::is_setting(content) || (content.len() <= 20 && !could_be_identifier(content) && !content.contains(['.', '/', ':']));
            if self.up() {
                return Withheld;
            }
            self.tally.forbidden += u32::from(!plain);
            return if plain { Kept } else { Withheld };
        };
        if content.is_empty() {
            return Kept;
        }
        if rule.token {
            let crosses = if self.up() { rule.readable } else { rule.settable };
            self.tally.forbidden += u32::from(!crosses && !self.up());
            return if crosses { self.token(span, content) } else { Withheld };
        }
        if !self.up() {
            // A password that could be a card number could plant one; the standard asks for 16 characters at least (OCPP 1.6 security
            // white paper §5.2, OCPP 2.1 Part 2 A00).
            let planted = rule.secret && (content.len() < 16 || (content.len() == 20 && content.bytes().all(|b| b.is_ascii_hexdigit())));
            let crosses = rule.settable && !planted;
            self.tally.forbidden += u32::from(!crosses);
            return if crosses { Kept } else { Withheld };
        }
        let words = |fits: &dyn Fn(&str) -> bool| content.len() <= 2500 && content.split(',').map(str::trim).all(fits);
        let crosses = rule.readable
            && match &rule.up {
                Text::Decimal => text::is_setting(content.trim()),
                Text::Word(list) => words(&|word| list.has(word)),
                Text::Name { .. } if words(&is_plain_name) => return self.keep_given(span),
                Text::Name { .. } => false,
                other => return self.treat(&other.clone(), span, content),
            };
        if crosses { Kept } else { Withheld }
    }

    /// JSON in a string: treated as what the vendor message says it is.
    fn nested(&mut self, span: Range<usize>, content: &str) -> Verdict {
        let Some(vendor) = self.vendor else { return Withheld };
        let node = if self.context.vendor.is_some() { vendor.response } else { vendor.request };
        let mut inner = Rewriter::new(self.context, self.memory, Cursor::new(content));
        let verdict = inner.top(node);
        let finished = inner.cursor.finished();
        let Rewriter { mut out, copied, tally, .. } = inner;
        self.tally.foreign += tally.foreign;
        self.tally.forbidden += tally.forbidden;
        self.tally.withheld += tally.withheld;
        if verdict != Ok(Kept) || !finished {
            return Withheld;
        }
        self.tally.replaced += tally.replaced;
        self.tally.sightings.extend(tally.sightings);
        self.tally.notes.extend(tally.notes);
        if copied > 0 {
            out.push_str(&content[copied..]);
            self.replace(span, |text| write_string(text, &out));
        }
        Kept
    }
}

/// Whether no part of a name could be an identifier.
fn is_plain_name(content: &str) -> bool {
    !text::is_identifier_like(content) || text::is_random_uuid(content)
}

/// Whether a text is longer than any identifier or reference.
fn is_too_long(content: &str) -> bool {
    content.len() > MAX_IDENTIFIER && content.chars().count() > MAX_IDENTIFIER
}

/// Whether a text is, or could be taken by a station for, a card or contract number.
fn could_be_identifier(content: &str) -> bool {
    text::is_identifier_like(content) || matches!(Identifier::from_wire(content, Declared::Undeclared).class, Class::Rfid | Class::Emaid)
}

/// The field of that name: messages usually come in one order, so the one after the last is tried first.
fn find(fields: &[Field], name: &[u8], expected: &mut usize) -> Option<usize> {
    let at = match fields.get(*expected) {
        Some(field) if field.name.as_bytes() == name => *expected,
        _ => fields.iter().position(|f| f.name.as_bytes() == name)?,
    };
    *expected = at + 1;
    Some(at)
}
