//! The policy file: which purposes are enabled for which recipient, and single fields treated otherwise.

use super::plain_words;
use crate::ocpp::catalogue::Purpose;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// What a policy does with frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Treats every frame.
    #[default]
    Enforce,
    /// Changes nothing and counts what `enforce` would have done. Protects nobody.
    Observe,
}

/// What an override does to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Override {
    /// Withholds it, whatever purposes are enabled.
    Drop,
    /// Lets it pass as if a purpose needed it, still with the treatment of its kind. Not for identifiers of a driver: they are always replaced.
    Keep,
}

impl Override {
    /// The word in a policy file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Keep => "keep",
        }
    }
}

/// One field treated otherwise than its purposes say. What is missing or of another type is empty; the reading has told so, or the compiling will.
#[derive(Debug, Clone)]
pub struct OverrideSpec {
    /// The OCPP version: `1.6`, `2.0.1` or `2.1`.
    pub version: String,
    /// Where: `Action.request.field`, `Action.response.field` or `Type.field`, as in the catalogue.
    pub field: String,
    /// What to do.
    pub treatment: Option<Override>,
    /// Why, for the auditor.
    pub reason: String,
}

/// The purposes enabled for one recipient.
#[derive(Debug, Clone, Default)]
pub struct RecipientSpec {
    /// Which.
    pub purposes: Vec<Purpose>,
}

/// A policy file.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    /// Its name: a metric label and a word in the logs.
    pub name: String,
    /// Enforce or observe.
    pub mode: Mode,
    /// What the central system may have.
    pub csms: RecipientSpec,
    /// What the station may have.
    pub station: RecipientSpec,
    /// Exceptions.
    pub overrides: Vec<OverrideSpec>,
}

/// The profiles that come with the program.
pub const PROFILES: [(&str, &str); 3] = [
    ("strict", include_str!("../../config/policies/strict.toml")),
    ("smart-charging", include_str!("../../config/policies/smart-charging.toml")),
    ("observe", include_str!("../../config/policies/observe.toml")),
];

impl PolicyFile {
    /// Reads a built-in profile by its name, or the text of a policy file, and adds what is wrong with it to `mistakes`, each with its key (a file
    /// that is no TOML has one, with its line). No mistake quotes a value. What could not be read is empty or as by default.
    pub(crate) fn read(profile_or_text: &str, mistakes: &mut Vec<String>) -> Self {
        let text = PROFILES.iter().find(|(name, _)| *name == profile_or_text).map_or(profile_or_text, |(_, text)| text);
        let table = toml::from_str(text).unwrap_or_else(|error: toml::de::Error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            mistakes.push(format!("line {line}: {}", plain_words(error.message())));
            Table::new()
        });
        let unread = !mistakes.is_empty();
        let mut whole = Part { place: String::new(), table: &table, mistakes };
        whole.has_only(&["name", "mode", "csms", "station", "override"]);
        let file = Self {
            name: whole.text("name"),
            mode: whole.word("mode").unwrap_or_default(),
            csms: whole.recipient("csms", unread),
            station: whole.recipient("station", unread),
            overrides: whole.overrides(),
        };
        let fits = |name: &str| (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !unread && !fits(&file.name) {
            mistakes.push("name: must be a text of 1 to 40 letters, digits, - or _".to_owned());
        }
        file
    }
}

/// A table of the file, and where it stands.
struct Part<'a> {
    /// What stands before its keys in a mistake.
    place: String,
    table: &'a Table,
    mistakes: &'a mut Vec<String>,
}

impl Part<'_> {
    fn wrong(&mut self, key: &str, why: &str) {
        self.mistakes.push(format!("{}{key}: {why}", self.place));
    }

    fn has_only(&mut self, keys: &[&str]) {
        for key in self.table.keys().filter(|key| !keys.contains(&key.as_str())) {
            self.mistakes.push(format!("{}{}: unknown key, expected one of {}", self.place, key.escape_debug(), keys.join(", ")));
        }
    }

    /// A text; empty if there is none.
    fn text(&self, key: &str) -> String {
        self.table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A word of a closed list; `None` if there is none or another.
    fn word<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.table.get(key)?.clone();
        value.try_into().map_err(|error: toml::de::Error| self.wrong(key, &plain_words(error.message()))).ok()
    }

    fn recipient(&mut self, key: &str, unread: bool) -> RecipientSpec {
        let Some(table) = self.table.get(key).and_then(Value::as_table) else {
            if !unread {
                self.wrong(key, "must be a table with its purposes");
            }
            return RecipientSpec::default();
        };
        let mut part = Part { place: format!("{key}."), table, mistakes: self.mistakes };
        part.has_only(&["purposes"]);
        let Some(listed) = table.get("purposes").and_then(Value::as_array) else {
            part.wrong("purposes", "must be a list of purposes");
            return RecipientSpec::default();
        };
        let mut purposes = Vec::new();
        for (number, purpose) in listed.iter().enumerate() {
            match purpose.clone().try_into() {
                Ok(purpose) => purposes.push(purpose),
                Err(error) => part.wrong(&format!("purposes[{number}]"), &plain_words(error.message())),
            }
        }
        RecipientSpec { purposes }
    }

    fn overrides(&mut self) -> Vec<OverrideSpec> {
        let listed = match self.table.get("override") {
            None => &[][..],
            Some(Value::Array(listed)) => listed,
            Some(_) => {
                self.wrong("override", "must be a list of tables, [[override]]");
                &[]
            }
        };
        let mut overrides = Vec::new();
        let nothing = Table::new();
        for (number, entry) in listed.iter().enumerate() {
            let table = entry.as_table().unwrap_or(&nothing);
            let mut part = Part { place: format!("override[{number}]."), table, mistakes: self.mistakes };
            part.has_only(&["version", "field", "treatment", "reason"]);
            if !table.contains_key("treatment") {
                part.wrong("treatment", "must be drop or keep");
            }
            let treatment = part.word("treatment");
            overrides.push(OverrideSpec {
                version: part.text("version"),
                field: part.text("field"),
                treatment,
                reason: part.text("reason"),
            });
        }
        overrides
    }
}
