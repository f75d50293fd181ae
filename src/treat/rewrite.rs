//! The single pass: walks the payload with the plan in hand, copies what is kept and splices what is treated. (hot)

mod entries;
mod identifiers;
mod readings;
mod settings;
mod strings;

use super::meter::Sample;
use super::{Context, Memory, Outgoing, Tally, Treated, Verdict, spare, text};
use crate::identity::Declared;
use crate::ocpp::Side;
use crate::ocpp::json::{Cursor, Shape, Unreadable, unquoted, write_string};
use crate::policy::{CallPlan, Field, Node, NodeId, Object, Role, Special, Text, VariableRule};
use Verdict::{Kept, Withheld};
use entries::Entry;
use readings::Reading;
use std::borrow::Cow;
use std::ops::Range;

/// The shortest number that may be a card of seven bytes in decimal; those of four have ten digits, as a meter may have.
const LONG_NUMBER: usize = 12;

/// Numbers that are the station's own.
const OWN_NUMBERS: [&str; 2] = ["meterStart", "meterStop"];
/// Numbers of parts of a station: no station has as many as have the digits of a card.
const PARTS: [&str; 2] = ["connectorId", "evseId"];

/// Treats the payload that begins at `payload` in `frame`, and puts `id.1` in the place of the message id `id.0` if given. What comes of it is
/// written into `treated`, which must be [`Treated::nothing`] so far: it is too big to be handed from one to the next.
pub(crate) fn frame(
    context: &Context<'_>,
    memory: &mut Memory,
    frame: &str,
    id: (Range<usize>, Option<&str>),
    payload: usize,
    node: NodeId,
    treated: &mut Treated,
) -> Result<(), Unreadable> {
    let Treated { frame: Outgoing { text: out, .. }, tally, .. } = treated;
    let mut rewriter = Rewriter::new(context, memory, Cursor::inside(frame, payload), out, tally);
    if let (span, Some(id)) = id {
        rewriter.replace(span, |out| write_string(out, id));
    }
    let head = rewriter.out.len() + payload - rewriter.copied;
    let verdict = rewriter.top(node)?;
    let end = rewriter.cursor.at();
    if !rewriter.cursor.take(b']') || !rewriter.cursor.finished() {
        return Err(Unreadable::Syntax);
    }
    let copied = rewriter.copied;
    if out.capacity() == 0 {
        *out = spare::take(frame.len());
    }
    out.push_str(&frame[copied..]);
    treated.payload = head..out.len() - (frame.len() - end);
    treated.verdict = verdict;
    treated.changed = copied > 0;
    Ok(())
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
    out: &'c mut String,
    /// Up to here the source is in `out`, or was cut.
    copied: usize,
    tally: &'c mut Tally,
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
    /// The last time that was read: where it stands in the source, and the seconds since 1970.
    time: (usize, Option<i64>),
    /// Of the reading at hand: when, whether any sample was kept, whether any of them bounds a transaction.
    reading: Reading,
    /// The meter series the payload belongs to and whether the event itself bounds a transaction; found at the first reading.
    series: Option<(u64, bool)>,
    /// Of the list of readings at hand, where the last one ends that is kept, and of when it is; found when it matters.
    last: Option<(usize, i64)>,
    /// Of the list of cards at hand, the entry. On the heap, for hardly a frame has such a list.
    entry: Option<Box<Entry>>,
    /// The entry of a list that is being read puts a card on the list.
    lists: bool,
}

impl<'a, 'c> Rewriter<'a, 'c> {
    #[inline]
    fn new(context: &'c Context<'a>, memory: &'c mut Memory, cursor: Cursor<'a>, out: &'c mut String, tally: &'c mut Tally) -> Self {
        Self {
            context,
            memory,
            out,
            copied: 0,
            tally,
            start: cursor.at(),
            escapes: memchr::memchr(b'\\', cursor.text().as_bytes()).is_some(),
            cursor,
            declared: Declared::Undeclared,
            variable: None,
            vendor: context.vendor,
            sample: Sample::default(),
            time: (0, None),
            reading: Reading::default(),
            series: None,
            last: None,
            entry: None,
            lists: false,
        }
    }

    /// The payload. `null` is taken for an empty object, as some back ends mean it, and on its way down so is an empty list: PHP writes one for
    /// whatever is empty.
    fn top(&mut self, node: NodeId) -> Result<Verdict, Unreadable> {
        match self.cursor.shape()? {
            _ if matches!(self.context.plan.nodes[node as usize], Node::Any) => self.value(node),
            Shape::Null => {
                let span = self.cursor.skip()?;
                self.replace(span, |out| out.push_str("{}"));
                Ok(Kept)
            }
            Shape::Object => self.value(node),
            shape => {
                let span = self.cursor.skip()?;
                if shape == Shape::Array && !self.up() && self.cursor.text()[span.start + 1..span.end - 1].trim().is_empty() {
                    self.replace(span, |out| out.push_str("{}"));
                    return Ok(Kept);
                }
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

    /// Where in `out` the place `at` of the source stands, or will when it is copied. What is before it must not be cut any more.
    #[inline]
    fn place(&self, at: usize) -> usize {
        self.out.len() + at - self.copied
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
            *self.out = spare::take(text.len() + 64);
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
        write(self.out);
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
        let span = self.cursor.skip()?;
        // Nothing that is counted or measured is as much as the number of a SIM card, or has the letters of a card with an E. Whether it is a card in use is not asked: the central system
        // may have chosen the number, and what comes back must not tell it (I5).
        let odd = || {
            let number = &self.cursor.text()[span.clone()];
            (number.len() >= LONG_NUMBER && text::is_huge(number)) || (number.len() >= text::SHORTEST_CARD && text::is_scaled_card(number))
        };
        if fits && shape == Shape::Number && self.up() && !context.rules.allow_all && odd() {
            self.tally.withheld += 1;
            return Ok(Withheld);
        }
        Ok(if fits { Kept } else { Withheld })
    }

    fn list(&mut self, item: NodeId, min: u32) -> Result<Verdict, Unreadable> {
        let whole = self.mark();
        let context = self.context;
        let special = if let Node::Object(object) = &context.plan.nodes[item as usize] { object.special } else { Special::None };
        if special == Special::Meter {
            self.last = None;
        }
        // Readings without samples are no readings.
        let min = if matches!(special, Special::Meter | Special::Sampled) { min.max(1) } else { min };
        self.cursor.enter()?;
        let inside = self.cursor.at();
        let (mut kept, mut dropped, mut end) = (0, 0, inside);
        let mut entries = Vec::new();
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
                    let from = self.place(gap);
                    let verdict = self.value(item)?;
                    if verdict == Withheld {
                        self.return_to(&before);
                    } else if special == Special::Entry {
                        entries.push(self.entered(from));
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
        if entries.len() > 1 {
            self.merge(&entries);
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

    /// Whether the number of a card in use stands where a meter's does, as some readers print it: in the places of numbers that the central system
    /// cannot have chosen. Or where a connector's does, which it may have chosen: there every number that could be one is, whatever is in use (I5).
    fn is_card_in_decimal(&self, field: &Field, span: &Range<usize>) -> bool {
        let part = field.role == Role::Series && PARTS.contains(&&*field.name);
        let own = span.len() >= LONG_NUMBER && (field.role == Role::Value || OWN_NUMBERS.contains(&&*field.name));
        if !part && !own {
            return false;
        }
        let number = unquoted(&self.cursor.text()[span.clone()]);
        if part { number.bytes().filter(u8::is_ascii_digit).count() >= text::SHORTEST_CARD } else { self.memory.watch.knows(number) }
    }

    /// One known member: its value, or what stands in for it. `gap` is what must be cut before it if it is the first kept.
    fn field(&mut self, field: &'a Field, before: &Mark, gap: Option<Range<usize>>) -> Result<Verdict, Unreadable> {
        self.cursor.space();
        let start = self.cursor.at();
        let from = if field.role == Role::Card { self.place(start) } else { 0 };
        let mut verdict = self.value(field.node)?;
        let span = start..self.cursor.at();
        if field.role == Role::Card {
            self.name_card(from, &span);
        }
        if verdict == Kept && span.len() >= text::SHORTEST_CARD && self.up() && self.is_card_in_decimal(field, &span) {
            self.tally.withheld += 1;
            verdict = Withheld;
        }
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
