//! The policy file: which purposes are enabled for which recipient, and single fields treated otherwise.

use crate::ocpp::catalogue::Purpose;
use serde::Deserialize;

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

/// One field treated otherwise than its purposes say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideSpec {
    /// The OCPP version: `1.6`, `2.0.1` or `2.1`.
    pub version: String,
    /// Where: `Action.request.field`, `Action.response.field` or `Type.field`, as in the catalogue.
    pub field: String,
    /// What to do.
    pub treatment: Override,
    /// Why, for the auditor.
    pub reason: String,
}

/// The purposes enabled for one recipient.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientSpec {
    /// Which.
    pub purposes: Vec<Purpose>,
}

/// A policy file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Its name: a metric label and a word in the logs.
    pub name: String,
    /// Enforce or observe.
    #[serde(default)]
    pub mode: Mode,
    /// What the central system may have.
    pub csms: RecipientSpec,
    /// What the station may have.
    pub station: RecipientSpec,
    /// Exceptions.
    #[serde(default, rename = "override")]
    pub overrides: Vec<OverrideSpec>,
}

/// The profiles that come with the program.
pub const PROFILES: [(&str, &str); 3] = [
    ("strict", include_str!("../../config/policies/strict.toml")),
    ("smart-charging", include_str!("../../config/policies/smart-charging.toml")),
    ("observe", include_str!("../../config/policies/observe.toml")),
];
