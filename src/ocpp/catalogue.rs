//! The catalogue: per OCPP version every field of every message, what it carries and which purposes need it. Data that a
//! lawyer can review (`catalogue/*.toml`); this file only reads it. What is not listed never crosses.

use super::Version;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Why data may be used. A closed list: there is no purpose for marketing or resale, and none can be configured (R07).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Carry out the charging session.
    Charge,
    /// Bill the session to the e-MSP.
    Bill,
    /// Run the station: availability, configuration, firmware, faults.
    Operate,
    /// Keep the inventory of devices: serial numbers, SIM cards, network settings.
    Assets,
    /// Manage load: vehicle and power data.
    SmartCharging,
    /// ISO 15118 contracts and certificates.
    PlugAndCharge,
    /// Hand on signed meter data whole, where the law on calibration asks for it. It names the driver.
    CalibrationLaw,
    /// Improve the service.
    Quality,
    /// Aggregated figures.
    Statistics,
    /// Security monitoring and logs.
    Security,
}

impl Purpose {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Charge,
        Self::Bill,
        Self::Operate,
        Self::Assets,
        Self::SmartCharging,
        Self::PlugAndCharge,
        Self::CalibrationLaw,
        Self::Quality,
        Self::Statistics,
        Self::Security,
    ];

    /// The name used in catalogue and policy files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Bill => "bill",
            Self::Operate => "operate",
            Self::Assets => "assets",
            Self::SmartCharging => "smart-charging",
            Self::PlugAndCharge => "plug-and-charge",
            Self::CalibrationLaw => "calibration-law",
            Self::Quality => "quality",
            Self::Statistics => "statistics",
            Self::Security => "security",
        }
    }
}

/// What a field carries, for the auditor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words explain themselves; docs/catalogue.md has a line on each")]
pub enum Carries {
    Driver,
    Vehicle,
    Device,
    Network,
    Meter,
    SignedMeter,
    Text,
    Certificate,
    Payment,
    Household,
    Credential,
    Route,
    Display,
}

/// One field of a message or of a shared object.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// What it is: a word of the closed list, or the name of a shared object.
    pub is: String,
    /// Whether the standard requires it.
    #[serde(default)]
    pub required: bool,
    /// Whether it is an array of `is`.
    #[serde(default)]
    pub list: bool,
    /// The least number of elements of an array.
    #[serde(default)]
    pub min: u32,
    /// The most characters of a string.
    pub max: Option<u32>,
    /// The name of the closed word list, for `is = "enum"`.
    pub values: Option<String>,
    /// The purposes of which one must be enabled. `None`: it crosses whenever its parent does.
    #[serde(rename = "for")]
    pub purposes: Option<Vec<Purpose>>,
    /// The class of data.
    pub carries: Option<Carries>,
    /// JSON that stands in for the value when it is withheld.
    pub otherwise: Option<String>,
}

/// A set of named fields, in the order of the catalogue, which is the order in which stations write them.
pub type Fields = indexmap::IndexMap<String, FieldSpec>;

/// Who may send a CALL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sender {
    /// The station.
    Station,
    /// The central system.
    Csms,
    /// Either.
    Both,
}

/// One message: a CALL and its CALLRESULT, or a SEND.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageSpec {
    /// Who sends the CALL.
    pub from: Sender,
    /// The purposes of which one must be enabled for the recipient of the CALL.
    #[serde(rename = "for")]
    pub purposes: Vec<Purpose>,
    /// `send` for an unconfirmed message.
    pub kind: Option<String>,
    /// The answer given here when the CALL is not passed on; without one, a CALLERROR is given.
    pub answer: Option<String>,
    /// The CALL's payload.
    #[serde(default)]
    pub request: Fields,
    /// The CALLRESULT's payload.
    #[serde(default)]
    pub response: Fields,
}

/// Everything the catalogue knows of one OCPP version.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Its number, as in the standard's title.
    pub version: String,
    /// Closed word lists.
    #[serde(rename = "enum", default)]
    pub words: BTreeMap<String, Vec<String>>,
    /// Shared objects.
    #[serde(rename = "type", default)]
    pub types: BTreeMap<String, Fields>,
    /// Messages by action.
    #[serde(rename = "message")]
    pub messages: BTreeMap<String, MessageSpec>,
}

/// How the value of a configuration key or device model variable is treated.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableSpec {
    /// What the value, always carried as a string, holds.
    pub is: String,
    /// For `enum-list`: the words; without them any plain words.
    pub values: Option<Vec<String>>,
    /// The purposes of which one must be enabled to read it; `operate` if left out.
    #[serde(rename = "for")]
    pub purposes: Option<Vec<Purpose>>,
    /// The purposes of which one must be enabled to change it; as `for` if left out.
    pub set_for: Option<Vec<Purpose>>,
    /// The class of data.
    pub carries: Option<Carries>,
    /// The most characters.
    pub max: Option<u32>,
}

/// Configuration keys (1.6), device model variables (2.x) and the vendor messages that DataTransfer may carry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variables {
    /// 1.6 configuration keys.
    pub keys: BTreeMap<String, VariableSpec>,
    /// 2.x variables by component; `*` for any component.
    pub components: BTreeMap<String, BTreeMap<String, VariableSpec>>,
    /// Vendor messages by vendor id and message id.
    #[serde(default)]
    pub vendor: BTreeMap<String, BTreeMap<String, MessageSpec>>,
    /// Shared objects of the vendor messages.
    #[serde(rename = "type", default)]
    pub types: BTreeMap<String, Fields>,
    /// Closed word lists of the vendor messages.
    #[serde(rename = "enum", default)]
    pub words: BTreeMap<String, Vec<String>>,
}

impl Catalogue {
    /// Reads the catalogue of a version, which is part of the program.
    ///
    /// # Panics
    /// Never in a program whose tests pass: they read all of them.
    pub fn of(version: Version) -> Self {
        let text = match version {
            Version::V16 => include_str!("catalogue/v16.toml"),
            Version::V201 => include_str!("catalogue/v201.toml"),
            Version::V21 => include_str!("catalogue/v21.toml"),
        };
        toml::from_str(text).expect("the built-in catalogue is tested")
    }
}

impl Variables {
    /// Reads the table of keys, variables and vendor messages, which is part of the program.
    ///
    /// # Panics
    /// Never in a program whose tests pass: they read it.
    pub fn read() -> Self {
        toml::from_str(include_str!("catalogue/variables.toml")).expect("the built-in table is tested")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_catalogue_reads_and_names_only_what_it_has() {
        for version in Version::ALL {
            let catalogue = Catalogue::of(version);
            assert_eq!(catalogue.version, version.number());
            let fields = catalogue.types.values().chain(catalogue.messages.values().flat_map(|m| [&m.request, &m.response]));
            for (name, field) in fields.flatten() {
                if field.is == "enum" {
                    let list = field.values.as_deref().unwrap_or_default();
                    assert!(catalogue.words.contains_key(list), "{version:?} {name}: no word list {list:?}");
                } else if field.is.starts_with(char::is_uppercase) {
                    assert!(catalogue.types.contains_key(&field.is), "{version:?} {name}: no type {}", field.is);
                }
            }
        }
        Variables::read();
    }
}
