//! Configuration keys and device model variables: their names and their values.

use super::Rewriter;
use super::strings::is_plain_name;
use crate::identity::{Class, Declared, Identifier};
use crate::policy::Text;
use crate::treat::Verdict::{self, Kept, Withheld};
use crate::treat::text;
use std::ops::Range;

/// The letters and digits of a contract number of the older form (DIN SPEC 91286).
const BARE_OLDER_CONTRACT: usize = 12;

impl Rewriter<'_, '_> {
    /// Whether the central system itself has just named this setting: then its name is nothing new to it ([`Rewriter::keep_given`]).
    pub(super) fn was_asked(&mut self, span: &Range<usize>, content: &str) -> bool {
        let asked = self.context.asked.is_some_and(|asked| asked.has(content));
        if asked {
            self.exempt(span.clone());
        }
        asked
    }

    /// The name of a setting on its way down: one that is a card or contract number would come back up again.
    pub(super) fn may_be_asked(&mut self, content: &str) -> Verdict {
        let lower = content.to_ascii_lowercase();
        let rules = self.context.rules;
        let known = rules.keys.contains_key(&lower)
            || rules.components.contains_key(&lower)
            || rules.components.values().any(|c| c.contains_key(&lower));
        // Many names have the length of a contract number, but not its digits; or that of one of the older form, but not its separators.
        let is_number = || match Identifier::from_wire(content, Declared::Undeclared).class {
            Class::Rfid => true,
            Class::Emaid if content.len() <= BARE_OLDER_CONTRACT => false,
            Class::Emaid => content.bytes().filter(u8::is_ascii_digit).count() >= 4,
            _ => false,
        };
        if known || !is_number() {
            return Kept;
        }
        self.tally.foreign += 1;
        Withheld
    }

    /// The value of a configuration key or device model variable.
    pub(super) fn setting(&mut self, span: Range<usize>, content: &str) -> Verdict {
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
            return if crosses { self.token(span, content, u32::MAX) } else { Withheld };
        }
        if !self.up() {
            // A password that could be a card number could plant one; the standard asks for 16 characters at least (OCPP 1.6 security
            // white paper §5.2, OCPP 2.1 Part 2 A00).
            let planted = rule.secret && (content.len() < 16 || (content.len() == 20 && content.bytes().all(|b| b.is_ascii_hexdigit())));
            // A name that the station writes into its certificate request (CpoName, OrganizationName, SeccId): a card in use is stopped there, and whether
            // one was must not tell the central system that its guess was right (I5).
            let guessed = !rule.secret && matches!(rule.up, Text::Name { .. } | Text::Plain) && holds_identifier(content);
            let crosses = rule.settable && !planted && !guessed;
            self.tally.forbidden += u32::from(!crosses);
            return if crosses { Kept } else { Withheld };
        }
        let words = |fits: &dyn Fn(&str) -> bool| content.len() <= 2500 && content.split(',').map(str::trim).all(fits);
        let crosses = rule.readable
            && match &rule.up {
                Text::Decimal => text::is_setting(content.trim()),
                Text::Word(list) => words(&|word| list.has(word)),
                // A list of numbers is no card in groups, but one of hexadecimal digits may be.
                Text::Name { .. }
                    if words(&is_plain_name) && (is_plain_name(content) || !content.bytes().any(|b| b.is_ascii_alphabetic())) =>
                {
                    return self.keep_given(span);
                }
                Text::Name { .. } => false,
                other => return self.treat(&other.clone(), span, content),
            };
        if crosses { Kept } else { Withheld }
    }
}

/// Whether any part of a text could be the number of a card or contract, and is not just one of eight digits, which some stations have for a name.
fn holds_identifier(content: &str) -> bool {
    let short = content.len() == 8 && content.bytes().all(|b| b.is_ascii_digit());
    !short && (text::is_identifier_like_in_groups(content) || Identifier::from_wire(content, Declared::Undeclared).class == Class::Rfid)
}

/// Whether a text is, or could be taken by a station for, a card or contract number.
fn could_be_identifier(content: &str) -> bool {
    text::is_identifier_like(content) || matches!(Identifier::from_wire(content, Declared::Undeclared).class, Class::Rfid | Class::Emaid)
}
