//! Identifiers of drivers and references of stations: coded on their way up, restored on their way down.

use super::Rewriter;
use crate::identity::{Declared, Identifier, Sighting};
use crate::keys::may_be_kept;
use crate::ocpp::json::write_string;
use crate::pseudonym::Pseudonym;
use crate::secret::Sensitive;
use crate::treat::Verdict::{self, Kept, Withheld};
use crate::treat::is_harmless_reference;
use crate::treat::tripwire::Coded;
use std::ops::Range;

/// Identifiers that one frame can make active: a remote start names two, a local list thousands.
const MAX_ACTIVE_PER_FRAME: u32 = 4;

/// The longest identifier or reference, in characters: no version of the standard has a longer one (OCPP 2.1, `idToken` and `filename`). A
/// longer one does not cross, for it would be kept in the vault and watched in a dozen encodings.
const MAX_IDENTIFIER: usize = 255;

impl Rewriter<'_, '_> {
    /// A reference chosen by a machine: as it is where it cannot hold a card number, else a code that finds its way back. `own`: by the station, so
    /// that the central system knows it by its code only.
    pub(super) fn reference(&mut self, span: Range<usize>, content: &str, own: bool) -> Verdict {
        if content.is_empty() {
            return Kept;
        }
        // Most are harmless, and told so faster than a code is recognised.
        if self.up() && is_harmless_reference(content) && !self.memory.watch.knows(content) {
            return Kept;
        }
        let known = self.context.codes.recognise(content);
        if !self.up() {
            let Some(code) = known else {
                // The central system was never shown it, so it guesses: whether the station knows it must not be told (I5).
                let guessed = own && !self.context.rules.allow_all && !is_harmless_reference(content);
                self.tally.foreign += u32::from(guessed);
                return if guessed { Withheld } else { Kept };
            };
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
        if is_too_long(content) || self.tally.crowded {
            return Withheld;
        }
        let identifier = Identifier::from_wire(content, Declared::Reference);
        self.put_code(span, identifier, None)
    }

    /// An identifier of a driver, card, contract or group: pseudonymised on its way up, restored on its way down into a field of `max` characters.
    pub(super) fn token(&mut self, span: Range<usize>, content: &str, max: u32) -> Verdict {
        let how = Coded { declared: self.declared, epoch: self.context.epoch, generation: self.context.codes.generation() };
        // The session refuses the frame: nothing more of it is worth the work.
        if self.tally.crowded {
            return Withheld;
        }
        if self.up()
            && let Some(sighting) = self.memory.watch.coded(content, how)
        {
            return self.splice(span, sighting);
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
            if known.is_some() {
                return Kept;
            }
            let identifier = Identifier::from_wire(content, self.declared);
            return self.put_code(span, identifier, Some(how));
        }
        let original = known.and_then(|code| {
            let here = self.memory.watch.spelling(&code);
            // A reference that looks like a card must not come down as one: the station would send it up again as the card (I5).
            let kinds = [Declared::Undeclared, Declared::Vehicle];
            // What was erased is restored nowhere, also where it was seen last (R57). A PIN is kept nowhere else.
            let kept = self.context.vault.reveal(&code);
            match here {
                Some((seen, own)) if kept.is_some() || !may_be_kept(seen.class) => Some((code, seen.original.clone(), own)),
                Some(_) => None,
                None => kept.filter(|kept| self.stands_for(&code, kept.expose(), &kinds)).map(|kept| (code, kept, false)),
            }
        });
        let Some((code, original, own)) = original else {
            // One card that was erased must not keep a list from all others; but to take it off a list, a whole one has to be sent.
            let skipped = known.is_some() && self.lists;
            self.tally.foreign += u32::from(!skipped);
            return Withheld;
        };
        // Why exposed: the station's own socket is one of the two places for clear identifiers (I3).
        let fits = |text: &str| text.chars().count() <= max as usize;
        let short =
            if fits(original.expose()) { None } else { self.shorter(&code, original.expose()).filter(|short| fits(short.expose())) };
        // In no spelling: only a station that has itself just written it so has shown that it has room for it.
        if short.is_none() && !own && !fits(original.expose()) {
            return Withheld;
        }
        self.replace(span, |out| write_string(out, short.as_ref().unwrap_or(&original).expose()));
        self.tally.replaced += 1;
        // A list of cards is not active here, and must not push out those that are.
        if self.tally.replaced <= MAX_ACTIVE_PER_FRAME {
            self.memory.watch.add(code, &Identifier::from_wire(original.expose(), Declared::Undeclared), None);
        }
        Kept
    }

    /// The same card or contract without separators, where another station spelt it with some.
    fn shorter(&self, code: &Pseudonym, original: &str) -> Option<Sensitive<String>> {
        let canonical = Identifier::from_wire(original, Declared::Undeclared).canonical;
        // Why exposed: to see that the station will be understood when it writes what it has got.
        self.stands_for(code, canonical.expose(), &[Declared::Undeclared]).then_some(canonical)
    }

    /// Whether a code was made of an original of one of these kinds.
    fn stands_for(&self, code: &Pseudonym, original: &str, kinds: &[Declared]) -> bool {
        let epoch = self.context.codes.epoch_of(code);
        kinds.iter().any(|kind| self.context.codes.code(&Identifier::from_wire(original, *kind), epoch) == *code)
    }

    /// Replaces an identifier by its code. `watch`: it is one of a driver, and how its code is made; then it is watched from now on.
    fn put_code(&mut self, span: Range<usize>, identifier: Identifier, watch: Option<Coded>) -> Verdict {
        let code = self.context.codes.code(&identifier, self.context.epoch);
        // A long list of tokens must not push out the cards that are active.
        if watch.is_some() && self.tally.replaced < MAX_ACTIVE_PER_FRAME {
            self.memory.watch.add(code, &identifier, watch);
        }
        self.splice(span, Sighting { code, identifier })
    }

    /// Puts the code in the place of what it stands for, unless the frame brings up more than it may.
    fn splice(&mut self, span: Range<usize>, sighting: Sighting) -> Verdict {
        let code = sighting.code;
        if !self.tally.sightings.add(sighting) {
            self.tally.crowded = true;
            return Withheld;
        }
        // A code is letters and digits.
        self.replace(span, |out| out.extend(["\"", code.as_str(), "\""]));
        self.tally.replaced += 1;
        Kept
    }
}

/// Whether a text is longer than any identifier or reference.
fn is_too_long(content: &str) -> bool {
    content.len() > MAX_IDENTIFIER && content.chars().count() > MAX_IDENTIFIER
}
