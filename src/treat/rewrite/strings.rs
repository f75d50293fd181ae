//! One string: kept, scrubbed, coded or withheld, by what the plan says it is.

use super::Rewriter;
use crate::ocpp::json::{Cursor, Unreadable, write_string};
use crate::policy::Text;
use crate::treat::Verdict::{self, Kept, Withheld};
use crate::treat::{Tally, certificate, is_harmless_reference, text};
use std::ops::Range;

impl Rewriter<'_, '_> {
    pub(super) fn string(&mut self, text: &Text) -> Result<Verdict, Unreadable> {
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

    pub(super) fn treat(&mut self, text: &Text, span: Range<usize>, content: &str) -> Verdict {
        let keep = |crosses: bool| if crosses { Kept } else { Withheld };
        match text {
            Text::Plain | Text::Vendor | Text::VendorMessage => Kept,
            Text::Decimal => keep(text::is_decimal(text::trimmed(content))),
            Text::QuotedNumber => keep(text::is_decimal(content) && content.len() < 10),
            Text::Time => {
                self.time = (span.start, text::time(content));
                if self.time.1.is_none()
                    && let Some(short) = text::with_shorter_fraction(content)
                {
                    self.time.1 = text::time(&short);
                    self.replace(span, |out| write_string(out, &short));
                }
                keep(self.time.1.is_some())
            }
            Text::Word(words) => keep(words.has(content)),
            Text::Language => keep(text::is_language(content)),
            // The purpose that lets a contract's certificate pass lets the contract's number in it pass: the tripwire must not stop it.
            Text::Certificates if certificate::is_chain(content) => {
                self.exempt(span);
                Kept
            }
            Text::Certificates => Withheld,
            // Its subject is what the station writes there; a card in use is told, as it would be anywhere else. But not in a name that the central
            // system may have set: whether that crosses must not depend on what is in use (I5).
            Text::CertificateRequest => match certificate::request(content) {
                Some(request) if !request.names.lines().any(text::is_identifier_as_such) && !self.memory.watch.knows(&request.others) => {
                    self.keep_given(span)
                }
                _ => Withheld,
            },
            Text::Exi => keep(text::is_exi(content)),
            // The central system may have set it (a certificate, a signed schedule): see `was_asked`.
            Text::Hash if text::is_digest(content) || is_harmless_reference(content) => self.keep_given(span),
            Text::Hash | Text::Ref => self.reference(span, content, false),
            Text::Transaction => self.reference(span, content, true),
            Text::Token { max } => self.token(span, content, *max),
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
    pub(super) fn keep_given(&mut self, span: Range<usize>) -> Verdict {
        self.exempt(span);
        Kept
    }

    /// JSON in a string: treated as what the vendor message says it is.
    fn nested(&mut self, span: Range<usize>, content: &str) -> Verdict {
        let Some(vendor) = self.vendor else { return Withheld };
        let node = if self.context.vendor.is_some() { vendor.response } else { vendor.request };
        let (mut out, mut tally) = (String::new(), Tally::default());
        let mut inner = Rewriter::new(self.context, self.memory, Cursor::new(content), &mut out, &mut tally);
        let verdict = inner.top(node);
        let finished = inner.cursor.finished();
        let copied = inner.copied;
        self.tally.foreign += tally.foreign;
        self.tally.forbidden += tally.forbidden;
        self.tally.crowded |= tally.crowded;
        self.tally.withheld += tally.withheld;
        if verdict != Ok(Kept) || !finished {
            return Withheld;
        }
        let up = self.up();
        if copied > 0 {
            out.push_str(&content[copied..]);
        } else {
            out.push_str(content);
        }
        // The last look is taken here, and the whole string is exempt then: what is exempt lies somewhere in a string of another text, and to who looks at that
        // string a number that the central system chose would be a text like any other (I5).
        if up && !self.context.rules.allow_all && self.memory.watch.hit(&out, 0, &tally.exempt, &self.context.rules.words) {
            return Withheld;
        }
        self.tally.replaced += tally.replaced;
        for sighting in tally.sightings.all {
            self.tally.crowded |= !self.tally.sightings.add(sighting);
        }
        self.tally.notes.extend(tally.notes);
        self.flush(span.start);
        let from = self.out.len();
        if out != content {
            self.replace(span, |text| write_string(text, &out));
        } else if up {
            self.flush(span.end);
        }
        if up {
            self.tally.exempt.push(from..self.out.len());
        }
        Kept
    }
}

/// Whether no part of a name could be an identifier.
pub(super) fn is_plain_name(content: &str) -> bool {
    !text::is_identifier_like(content) || text::is_random_uuid(content)
}
