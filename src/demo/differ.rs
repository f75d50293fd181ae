//! Before and after: what one end sent, laid beside what the other received, and the reason for each difference looked up in the catalogue.
//! It asks nothing of the gateway: it knows only the two texts and what the catalogue says of the fields.

use crate::ocpp::catalogue::{Carries, Catalogue, FieldSpec, Fields, MessageSpec, Purpose};
use crate::ocpp::{Kind, Side, Version};
use crate::policy::file::{PROFILES, PolicyFile};
use crate::pseudonym::Pseudonym;
use crate::treat::meter::{Sample, purpose};
use serde_json::Value;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The field, in words short enough for a terminal: `idTag`, `SoC`, `modem.iccid`.
    pub(super) field: String,
    /// Its value as it was sent.
    pub(super) before: String,
    /// What became of it.
    pub(super) after: After,
}

/// What became of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// An identifier gave way to a code.
    Coded(String),
    /// A code gave way to the identifier it stands for.
    Restored(String),
    /// A neutral value stands in its place, for want of this.
    Neutral(String, String),
    /// It did not arrive: for want of what, and what class of data it is.
    Withheld(String, &'static str),
}

/// Compares messages with the catalogue in hand.
pub(super) struct Differ {
    catalogues: [Catalogue; 3],
    /// What the demo's policy enables, by recipient: station, csms.
    enabled: [Vec<Purpose>; 2],
}

/// What is handed down from a field to those inside it.
#[derive(Clone, Copy)]
struct Inherited<'a> {
    catalogue: &'a Catalogue,
    purposes: Option<&'a [Purpose]>,
    class: &'static str,
    to: Side,
}

impl Differ {
    /// Reads the catalogues and a built-in policy; the default one if there is none of that name.
    ///
    /// # Panics
    /// Never in a program whose tests pass: both are part of the program and tested.
    pub(super) fn new(profile: &str) -> Self {
        let name = PROFILES.iter().find(|(name, _)| *name == profile).unwrap_or(&PROFILES[0]).0;
        let policy = PolicyFile::read(name, &mut Vec::new());
        Self { catalogues: Version::ALL.map(Catalogue::of), enabled: [policy.station.purposes, policy.csms.purposes] }
    }

    fn message(&self, version: Version, action: &str) -> Option<&MessageSpec> {
        self.catalogues[version as usize].messages.get(action)
    }

    /// What the other end got otherwise than it was sent.
    pub(super) fn compare(&self, version: Version, action: &str, kind: Kind, to: Side, before: &Value, after: &Value) -> Vec<Change> {
        let mut changes = Vec::new();
        let catalogue = &self.catalogues[version as usize];
        let top = Inherited { catalogue, purposes: None, class: "other", to };
        if kind == Kind::CallError {
            // Its parts have no names: what is quoted in them is text.
            for (name, part) in [("errorDescription", 1), ("errorDetails", 2)] {
                let (was, is) = (&before[part], &after[part]);
                if was != is {
                    let why = "it may quote anything".to_owned();
                    changes.push(Change { field: name.to_owned(), before: short(was), after: After::Withheld(why, "text") });
                }
            }
            return changes;
        }
        let fields = self.message(version, action).map(|m| if kind == Kind::CallResult { &m.response } else { &m.request });
        top.object(fields, "", before, after, &mut changes);
        changes
    }

    /// Why a whole message stayed behind, and what it carried.
    pub(super) fn stayed(&self, version: Version, action: &str, to: Side, payload: &Value) -> (String, Vec<Change>) {
        let Some(message) = self.message(version, action) else { return ("the catalogue does not know it".to_owned(), Vec::new()) };
        let mut changes = Vec::new();
        let mut top = Inherited { catalogue: &self.catalogues[version as usize], purposes: Some(&message.purposes), class: "other", to };
        if !message.purposes.iter().any(|p| self.enabled[to as usize].contains(p)) {
            if to == Side::Csms {
                top.object(Some(&message.request), "", payload, &Value::Null, &mut changes);
            }
            return (top.why(), changes);
        }
        if action == "DataTransfer" {
            top.class = "vendor extension";
            top.purposes = Some(&[]);
            changes.push(top.leaf("data", &payload["data"]));
            return (top.why(), changes);
        }
        if to == Side::Station {
            return ("it names an identifier or a setting that is not the central system's to use".to_owned(), changes);
        }
        for reading in payload["meterValue"].as_array().into_iter().flatten() {
            top.reading(reading, &mut changes);
        }
        ("nothing in it that a purpose needs".to_owned(), changes)
    }
}

impl<'a> Inherited<'a> {
    fn object(self, fields: Option<&'a Fields>, path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
        let Some(members) = before.as_object() else { return };
        for (name, was) in members {
            let spec = fields.and_then(|fields| fields.get(name));
            let inside = Self {
                purposes: spec.and_then(|s| s.purposes.as_deref()).or(self.purposes),
                class: spec.and_then(|s| s.carries).map_or(self.class, class),
                ..self
            };
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match after.get(name) {
                Some(is) if was == is => {}
                Some(is) => inside.value(spec, &path, was, is, changes),
                None if spec.is_none() => {
                    Self { purposes: Some(&[]), class: "vendor extension", ..self }.withheld(None, &path, was, changes);
                }
                None if name == "meterValue" || name == "transactionData" => {
                    was.as_array().into_iter().flatten().for_each(|reading| inside.reading(reading, changes));
                }
                None => inside.withheld(spec, &path, was, changes),
            }
        }
    }

    fn value(self, spec: Option<&'a FieldSpec>, path: &str, was: &Value, is: &Value, changes: &mut Vec<Change>) {
        match (was, is) {
            (Value::Object(_), Value::Object(_)) => {
                let fields = spec.and_then(|spec| self.catalogue.types.get(&spec.is));
                self.object(fields, path, was, is, changes);
            }
            (Value::Array(was), Value::Array(is)) => self.array(spec, path, was, is, changes),
            _ => {
                let (before, now) = (short(was), short(is));
                let after = match spec.map(|spec| spec.is.as_str()) {
                    Some("token" | "ref" | "transaction" | "hash" | "serial") if self.to == Side::Csms => After::Coded(now),
                    Some("token" | "ref" | "transaction" | "hash") => After::Restored(now),
                    _ => After::Neutral(now, self.why()),
                };
                changes.push(Change { field: path.to_owned(), before, after });
            }
        }
    }

    /// What is left of an array is a part of it in the same order.
    fn array(self, spec: Option<&'a FieldSpec>, path: &str, was: &[Value], is: &[Value], changes: &mut Vec<Change>) {
        let mut left = is.iter().peekable();
        for element in was {
            match left.next_if(|next| was.len() == is.len() || could_be(element, next)) {
                Some(next) if next == element => {}
                Some(next) => self.value(spec, path, element, next, changes),
                None if element.get("sampledValue").is_some() => self.reading(element, changes),
                None if element.get("measurand").is_some() => changes.push(self.sample(element)),
                None => self.withheld(spec, path, element, changes),
            }
        }
    }

    /// A whole reading that stayed behind: its samples each for their own reason, or, if a bill could have used it, for being one too many.
    fn reading(self, reading: &Value, changes: &mut Vec<Change>) {
        let samples: Vec<Change> = reading["sampledValue"].as_array().into_iter().flatten().map(|s| self.sample(s)).collect();
        let billable = |change: &Change| matches!(&change.after, After::Withheld(why, _) if why.starts_with(THIN));
        if samples.iter().any(billable) {
            let at = reading["timestamp"].as_str().and_then(|t| t.get(11..16)).unwrap_or("?").to_owned();
            let field = format!("reading of {at}");
            let before = samples.iter().find(|s| billable(s)).map(|s| s.before.clone()).unwrap_or_default();
            let why = format!("{THIN} smart-charging only");
            changes.push(Change { field, before, after: After::Withheld(why, "meter series") });
        }
        changes.extend(samples.into_iter().filter(|s| !billable(s)));
    }

    /// One sampled value that stayed behind.
    fn sample(self, sample: &Value) -> Change {
        let text = |name: &str| sample[name].as_str().map(std::borrow::Cow::Borrowed);
        let signed = sample.get("signedMeterValue").is_some() || text("format").as_deref() == Some("SignedData");
        let facts = Sample {
            measurand: text("measurand"),
            context: text("context"),
            location: text("location"),
            format: text("format"),
            opaque: signed,
            ..Sample::default()
        };
        let measurand = facts.measurand.clone().unwrap_or_else(|| "Energy.Active.Import.Register".into());
        let (why, class) = match facts.purpose() {
            Purpose::Bill => (format!("{THIN} smart-charging only"), "meter series"),
            Purpose::CalibrationLaw => ("needed for calibration-law only".to_owned(), "signed meter data"),
            other if purpose(&measurand) == Purpose::SmartCharging => (format!("needed for {} only", other.name()), "vehicle"),
            other => (format!("needed for {} only", other.name()), "meter"),
        };
        let phase = text("phase").map_or(String::new(), |phase| format!(" {phase}"));
        let field = if signed { "signed meter value".to_owned() } else { format!("{measurand}{phase}") };
        Change { field, before: short(&sample["value"]), after: After::Withheld(why, class) }
    }

    /// A field that did not arrive, and all that was in it.
    fn withheld(self, spec: Option<&'a FieldSpec>, path: &str, was: &Value, changes: &mut Vec<Change>) {
        match was {
            Value::Object(members) => {
                let fields = spec.and_then(|spec| self.catalogue.types.get(&spec.is));
                for (name, member) in members {
                    let spec = fields.and_then(|fields| fields.get(name));
                    let class = spec.and_then(|s| s.carries).map_or(self.class, class);
                    Self { class, ..self }.withheld(spec, &format!("{path}.{name}"), member, changes);
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| self.withheld(spec, path, element, changes)),
            leaf => changes.push(self.leaf(path, leaf)),
        }
    }

    fn leaf(self, path: &str, was: &Value) -> Change {
        let name = path.rsplit("sampledValue.").next().unwrap_or(path);
        Change { field: name.to_owned(), before: short(was), after: After::Withheld(self.why(), self.class) }
    }

    fn why(self) -> String {
        match self.purposes {
            Some([]) => "no purpose needs it".to_owned(),
            Some(purposes) => format!("needed for {} only", list(purposes)),
            None => "it is not what the field is for".to_owned(),
        }
    }
}

/// Why a reading that a bill could use stayed behind all the same.
const THIN: &str = "more than one reading in a quarter of an hour, needed for";

/// Whether an element that arrived can be what is left of one that was sent.
fn could_be(was: &Value, is: &Value) -> bool {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => is.iter().all(|(name, is)| was.get(name).is_some_and(|was| could_be(was, is))),
        (Value::Array(_), Value::Array(_)) => true,
        (Value::String(was), Value::String(is)) => was == is || Pseudonym::looks_like(was) || Pseudonym::looks_like(is),
        _ => was == is,
    }
}

fn class(carries: Carries) -> &'static str {
    match carries {
        Carries::Driver => "driver",
        Carries::Vehicle => "vehicle",
        Carries::Device => "device",
        Carries::Network => "network",
        Carries::Meter => "meter",
        Carries::SignedMeter => "signed meter data",
        Carries::Text => "free text",
        Carries::Certificate => "certificate",
        Carries::Payment => "payment",
        Carries::Household => "household",
        Carries::Credential => "credential",
        Carries::Route => "route",
        Carries::Display => "display",
    }
}

fn list(purposes: &[Purpose]) -> String {
    purposes.iter().map(|purpose| purpose.name()).collect::<Vec<_>>().join(" or ")
}

/// A value in the width of a terminal.
fn short(value: &Value) -> String {
    const WIDTH: usize = 52;
    let text = value.as_str().map_or_else(|| value.to_string(), |text| text.replace('\n', " "));
    if text.chars().count() <= WIDTH { text } else { text.chars().take(WIDTH - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compare(version: Version, action: &str, before: &Value, after: &Value) -> Vec<Change> {
        Differ::new("strict").compare(version, action, Kind::Call, Side::Csms, before, after)
    }

    fn change(field: &str, before: &str, after: After) -> Change {
        Change { field: field.to_owned(), before: before.to_owned(), after }
    }

    #[test]
    fn a_card_becomes_a_code_and_a_code_a_card() {
        let (card, code) = (json!({"idTag": "04A22B6A5C1180"}), json!({"idTag": "Z0K3V9QF6T2M8XC4R7HA"}));
        let up = compare(Version::V16, "Authorize", &card, &code);
        assert_eq!(up, [change("idTag", "04A22B6A5C1180", After::Coded("Z0K3V9QF6T2M8XC4R7HA".into()))]);
        let down = Differ::new("strict").compare(Version::V16, "RemoteStartTransaction", Kind::Call, Side::Station, &code, &card);
        assert_eq!(down, [change("idTag", "Z0K3V9QF6T2M8XC4R7HA", After::Restored("04A22B6A5C1180".into()))]);
        assert!(compare(Version::V16, "Authorize", &card, &card).is_empty());
    }

    #[test]
    fn what_is_missing_is_explained_by_the_catalogue() {
        let before = json!({"chargingStation": {"model": "S3", "modem": {"iccid": "8931"}}, "customData": {"vendorId": "x"}});
        let after = json!({"chargingStation": {"model": "S3"}});
        let changes = compare(Version::V21, "BootNotification", &before, &after);
        let network = After::Withheld("needed for assets only".into(), "network");
        assert!(changes.contains(&change("chargingStation.modem.iccid", "8931", network)), "{changes:?}");
        assert!(changes.iter().any(|c| c.field == "customData.vendorId" && matches!(&c.after, After::Withheld(_, "vendor extension"))));
    }

    #[test]
    fn samples_are_told_apart_by_their_measurand() {
        let energy = |value: &str| json!({"value": value, "measurand": "Energy.Active.Import.Register"});
        let before = json!({"meterValue": [
            {"timestamp": "2026-11-24T08:00:00Z", "sampledValue": [{"value": "61", "measurand": "SoC"}, energy("100")]},
            {"timestamp": "2026-11-24T08:05:00Z", "sampledValue": [energy("200")]},
        ]});
        let after = json!({"meterValue": [{"timestamp": "2026-11-24T08:00:00Z", "sampledValue": [energy("100")]}]});
        let changes = compare(Version::V16, "MeterValues", &before, &after);
        assert_eq!(changes[0], change("SoC", "61", After::Withheld("needed for smart-charging only".into(), "vehicle")));
        assert_eq!((changes[1].field.as_str(), changes.len()), ("reading of 08:05", 2));
    }

    #[test]
    fn whole_messages_stay_for_want_of_a_purpose() {
        let needs = json!({"evseId": 1, "chargingNeeds": {"dcChargingParameters": {"stateOfCharge": 38}}});
        let (why, changes) = Differ::new("strict").stayed(Version::V21, "NotifyEVChargingNeeds", Side::Csms, &needs);
        assert_eq!(why, "needed for smart-charging only");
        let soc = change("chargingNeeds.dcChargingParameters.stateOfCharge", "38", After::Withheld(why, "vehicle"));
        assert!(changes.contains(&soc), "{changes:?}");
        assert!(Differ::new("smart-charging").stayed(Version::V21, "NotifyEVChargingNeeds", Side::Csms, &needs).0.contains("nothing"));
    }
}
