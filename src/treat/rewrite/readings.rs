//! What the rules about whole objects look at: tokens and their type, sampled values, readings, settings, vendor messages.

use super::Rewriter;
use crate::identity::Declared;
use crate::ocpp::json::{Cursor, Shape, Unreadable};
use crate::policy::{Object, Purpose, Role, Special};
use crate::treat::Metered;
use crate::treat::Verdict::{self, Kept, Withheld};
use crate::treat::meter::{self, Sample};
use crate::treat::text;
use std::borrow::Cow;
use std::ops::Range;

/// A reading on its way.
#[derive(Debug, Default, Clone)]
pub(super) struct Reading {
    /// When.
    seconds: Option<i64>,
    kept: bool,
    boundary: bool,
}

impl<'a> Rewriter<'a, '_> {
    /// Takes note of a field that rules about whole objects look at.
    pub(super) fn play(&mut self, role: Role, span: &Range<usize>, verdict: Verdict) -> Verdict {
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
                // An explicit null says nothing: it is the register of energy, as without one.
                self.sample.measurand = text();
                // What nobody needs is not looked at any further.
                let needs = |measurand: &Cow<'_, str>| self.context.rules.purposes[self.context.to as usize].has(meter::purpose(measurand));
                self.sample.refused = !self.sample.measurand.as_ref().is_none_or(needs);
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
            // As it was read when it was treated; an explicit null was not.
            Role::MeterTime => self.reading.seconds = if self.time.0 == span.start { self.time.1 } else { None },
            Role::Info => self.entry.get_or_insert_default().informs = verdict == Kept && whole.as_bytes()[span.start] == b'{',
            Role::Qualifier | Role::Series | Role::Card | Role::None => {}
        }
        verdict
    }

    /// Looks ahead in an object for what decides about its fields.
    pub(super) fn meet(&mut self, object: &Object) -> Verdict {
        match object.special {
            Special::None => {}
            Special::Entry => {
                self.entry = None;
                let info = self.cursor.peek("idTagInfo").or_else(|| self.cursor.peek("idTokenInfo"));
                self.lists = info.is_some_and(|info| self.cursor.text()[info].starts_with('{'));
            }
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
    pub(super) fn pass_useless(&mut self) -> Result<bool, Unreadable> {
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
                self.tally.vendor = Some(Box::new(known));
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
    pub(super) fn passes(&mut self, special: Special) -> bool {
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
                let slot = seconds.div_euclid(meter::SLOT);
                if reading.boundary || !self.up() || enabled.has(Purpose::SmartCharging) {
                    return true;
                }
                let other = |(of, at): &(u64, i64)| *of == series && *at != seconds && at.div_euclid(meter::SLOT) == slot;
                // Only as far back as the series itself is remembered: a frame may have thousands of readings.
                let first =
                    self.memory.series.permits(series, seconds) && !self.tally.notes.iter().rev().take(meter::REMEMBERED).any(other);
                if first {
                    if self.tally.notes.last() != Some(&(series, seconds)) {
                        self.tally.notes.push((series, seconds));
                    }
                    return true;
                }
                // The last reading of a transaction is what it is billed by, whatever it says of itself.
                let last = self.ends_transaction() && self.is_last(seconds);
                self.tally.withheld += u32::from(!last);
                last
            }
            _ => true,
        }
    }

    /// Whether the reading that was just read, of this time, is the last of its list of which anything is kept, or of the same time as that.
    fn is_last(&mut self, seconds: i64) -> bool {
        let here = self.cursor.at();
        let (end, last) = self.last.unwrap_or_else(|| {
            let mut cursor = self.cursor.clone();
            let mut last = (here, seconds);
            while cursor.take(b',') {
                let Ok(span) = cursor.skip() else { break };
                let reading = Cursor::new(&cursor.text()[span]);
                if self.has_needed_sample(&reading) {
                    let time = reading.peek_string("timestamp").and_then(|time| text::time(&time));
                    last = (cursor.at(), time.unwrap_or_else(|| self.context.now.seconds()));
                }
            }
            last
        });
        self.last = Some((end, last));
        here == end || seconds == last
    }

    /// Whether a reading that was not treated yet has a sample that an enabled purpose needs.
    fn has_needed_sample(&self, reading: &Cursor<'_>) -> bool {
        let Some(list) = reading.peek("sampledValue") else { return false };
        let mut cursor = Cursor::new(&reading.text()[list]);
        let enabled = self.context.rules.purposes[self.context.to as usize];
        if cursor.enter().is_err() {
            return false;
        }
        loop {
            let Ok(span) = cursor.skip() else { return false };
            let sample = Cursor::new(&cursor.text()[span]);
            let opaque = sample.peek_string("value").is_some_and(|value| !text::is_decimal(text::trimmed(&value)));
            let [measurand, location, format] = ["measurand", "location", "format"].map(|name| sample.peek_string(name));
            if enabled.has(Sample { measurand, location, format, opaque, ..Sample::default() }.purpose()) {
                return true;
            }
            if !cursor.take(b',') {
                return false;
            }
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
                // Connector 1 is not transaction 1.
                let of = meter::key(payload.peek(name).map(|span| &payload.text()[span])) ^ name.len() as u64;
                (of, false)
            }
        };
        *self.series.insert(known)
    }
}
