//! Messages of all versions, made from the catalogue, and a judgement whether a payload is what the standard says. The catalogue's facts of
//! OCPP (actions, fields, types) are all that is shared with the gateway.

use super::canary::{self, Nest};
use super::dice::Dice;
use super::script::End;
use crate::ocpp::Version;
use crate::ocpp::catalogue::{Catalogue, FieldSpec, Fields, Sender};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// How deep optional objects nest.
const DEEPEST: u32 = 8;
/// 2026-11-24T08:00:00Z.
const MORNING: i64 = 1_795_507_200;

/// How a verdict on a value begins; what begins otherwise is the verdict on a field of it.
const VERDICTS: [&str; 3] = ["is missing", "is no ", "has too few"];

/// One version's messages.
pub(super) struct Messages {
    pub(super) version: Version,
    catalogue: Catalogue,
}

/// What stands in the places of a message that the standard leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filling {
    /// Canaries wherever a string can stand.
    Canaries,
    /// Canaries where drivers are named and in free text; everything else as a real station words it.
    Credible,
    /// Guesses of the central system where drivers are named and where vendors have their say; harmless words elsewhere, because texts for
    /// drivers cross as they are.
    Guesses,
    /// This text where drivers are named, harmless words elsewhere; objects that name drivers are left out if it is `None`.
    Named(Option<String>),
}

/// Builds payloads.
pub(super) struct Builder<'a> {
    pub(super) messages: &'a Messages,
    pub(super) dice: &'a mut Dice,
    pub(super) nest: &'a mut Nest,
    pub(super) of: End,
    /// Minutes since the morning: readings a good while apart are not thinned.
    pub(super) minutes: &'a mut i64,
}

impl Messages {
    pub(super) fn of(version: Version) -> Self {
        Self { version, catalogue: Catalogue::of(version) }
    }

    /// The actions that an end may send: those that are answered, or those that are not.
    pub(super) fn actions(&self, from: End, answered: bool) -> Vec<String> {
        let sends =
            |sender: Sender| matches!((sender, from), (Sender::Both, _) | (Sender::Station, End::Station) | (Sender::Csms, End::Csms));
        let all = self.catalogue.messages.iter();
        all.filter(|(_, m)| sends(m.from) && (m.kind.as_deref() != Some("send")) == answered).map(|(action, _)| action.clone()).collect()
    }

    pub(super) fn knows(&self, action: &str) -> bool {
        self.catalogue.messages.contains_key(action)
    }

    /// Why a payload is not what the standard says; `None` if it is, or if the action is unknown.
    pub(super) fn wrong(&self, action: &str, response: bool, payload: &Value) -> Option<String> {
        let message = self.catalogue.messages.get(action)?;
        self.wrong_object(if response { &message.response } else { &message.request }, payload)
    }

    fn wrong_object(&self, fields: &Fields, value: &Value) -> Option<String> {
        let Some(object) = value.as_object() else { return Some("is no object".into()) };
        for (name, spec) in fields {
            let wrong = match object.get(name) {
                None if spec.required => Some("is missing".to_owned()),
                None => None,
                Some(Value::Array(items)) if spec.list => {
                    if items.len() < spec.min as usize {
                        Some("has too few elements".into())
                    } else {
                        items.iter().find_map(|item| self.wrong_value(spec, item))
                    }
                }
                Some(_) if spec.list => Some("is no list".into()),
                Some(value) => self.wrong_value(spec, value),
            };
            if let Some(wrong) = wrong {
                let between = if VERDICTS.iter().any(|verdict| wrong.starts_with(verdict)) { ' ' } else { '.' };
                return Some(format!("{name}{between}{wrong}"));
            }
        }
        None
    }

    fn wrong_value(&self, spec: &FieldSpec, value: &Value) -> Option<String> {
        if let Some(fields) = self.catalogue.types.get(&spec.is) {
            return self.wrong_object(fields, value);
        }
        let fine = match spec.is.as_str() {
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
            "number" => value.is_number(),
            "enum" => value.as_str().is_some_and(|word| self.words(spec).iter().any(|w| w == word)),
            "any" | "vendor-data" => true,
            _ => value.as_str().is_some_and(|text| text.chars().count() <= spec.max.unwrap_or(u32::MAX) as usize),
        };
        (!fine).then(|| format!("is no {}", spec.is))
    }

    fn words(&self, spec: &FieldSpec) -> &[String] {
        spec.values.as_deref().and_then(|list| self.catalogue.words.get(list)).map_or(&[], Vec::as_slice)
    }
}

impl Builder<'_> {
    /// The payload of a CALL. `None`: a required place names a driver and there is none to name.
    pub(super) fn request(&mut self, action: &str, full: bool, filling: &Filling) -> Option<Value> {
        let messages = self.messages;
        self.object(&messages.catalogue.messages.get(action)?.request, full, filling, 0)
    }

    /// The payload of a CALLRESULT.
    pub(super) fn response(&mut self, action: &str, full: bool, filling: &Filling) -> Option<Value> {
        let messages = self.messages;
        self.object(&messages.catalogue.messages.get(action)?.response, full, filling, 0)
    }

    fn object(&mut self, fields: &Fields, full: bool, filling: &Filling, depth: u32) -> Option<Value> {
        let mut object = Map::new();
        for (name, spec) in fields {
            if !spec.required && (!full || depth > DEEPEST || *filling != Filling::Canaries && self.dice.chance(15)) {
                continue;
            }
            let count = if spec.list { (spec.min.max(1) as usize).max(1 + self.dice.roll(2)) } else { 1 };
            let mut values: Vec<Value> = (0..count).filter_map(|_| self.value(name, spec, full, filling, depth)).collect();
            if spec.list && values.len() >= spec.min.max(1) as usize {
                object.insert(name.clone(), Value::Array(values));
            } else if !spec.list && !values.is_empty() {
                object.insert(name.clone(), values.remove(0));
            } else if spec.required {
                return None;
            }
        }
        let open = matches!(filling, Filling::Canaries | Filling::Guesses);
        if open && self.messages.version != Version::V16 && full && self.dice.chance(40) {
            let classes = if *filling == Filling::Guesses { canary::TOKENS } else { canary::ALL };
            let canary = |b: &mut Self| b.canary(classes, 255).unwrap_or_default();
            let (vendor, note, name) = (canary(self), canary(self), canary(self));
            object.insert("customData".into(), json!({"vendorId": vendor, "note": [note], name: 1}));
        }
        Some(Value::Object(object))
    }

    fn canary(&mut self, classes: &[canary::Class], room: usize) -> Option<String> {
        self.nest.draw(self.dice, self.of, classes, room)
    }

    /// A time, twenty minutes after the one before.
    pub(super) fn time(&mut self) -> String {
        *self.minutes += 20;
        let seconds = MORNING + *self.minutes * 60;
        chrono::DateTime::from_timestamp(seconds, 0).map_or_else(String::new, |t| t.format("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    fn value(&mut self, name: &str, spec: &FieldSpec, full: bool, filling: &Filling, depth: u32) -> Option<Value> {
        let messages = self.messages;
        if let Some(fields) = messages.catalogue.types.get(&spec.is) {
            return self.object(fields, full, filling, depth + 1);
        }
        let room = spec.max.map_or(255, |max| max as usize);
        let cut = |text: &str| Value::from(text.chars().take(room).collect::<String>());
        match spec.is.as_str() {
            "boolean" => return Some(Value::Bool(self.dice.chance(50))),
            "integer" => {
                return Some(json!(match name {
                    "meterStart" => 1200,
                    "meterStop" => 23_400,
                    "transactionId" => 4711,
                    "reservationId" => 7,
                    _ => 1,
                }));
            }
            "number" => return Some(json!(1.5)),
            "decimal" => return Some(json!("1234")),
            "time" => return Some(Value::from(self.time())),
            "enum" => {
                let words = messages.words(spec);
                // A reading that is meant to be signed must be, and a session goes on only with a yes.
                let tame: Vec<&String> = words.iter().filter(|w| *w == "Accepted" || *w == "ISO14443" || *w == "Raw").collect();
                return Some(match tame.first() {
                    Some(word) if *filling != Filling::Canaries => json!(word),
                    _ => json!(self.dice.pick(words)),
                });
            }
            "enum-list" => return Some(cut("Energy.Active.Import.Register")),
            "any" => {
                return match filling {
                    Filling::Canaries | Filling::Guesses => {
                        let classes = if *filling == Filling::Guesses { canary::TOKENS } else { canary::ALL };
                        Some(json!({"vendorId": self.canary(classes, 255)?, "deep": [{"x": self.canary(classes, 255)?}]}))
                    }
                    _ => None,
                };
            }
            _ => {}
        }
        if spec.is == "token" {
            return match filling {
                Filling::Named(text) => text.as_deref().map(Value::from),
                _ => Some(self.canary(canary::TOKENS, room).map_or_else(|| cut("ab"), Value::from)),
            };
        }
        let planted = match (filling, spec.is.as_str()) {
            (Filling::Named(_), _) => None,
            (Filling::Credible, "text" | "vendor-data" | "serial" | "secret") | (Filling::Canaries, _) => self.plant(&spec.is, room),
            (Filling::Guesses, "vendor-data") => {
                self.canary(canary::TOKENS, room).map(|card| Value::from(json!({"card": card}).to_string()))
            }
            (Filling::Credible | Filling::Guesses, _) => None,
        };
        Some(planted.unwrap_or_else(|| cut(plain(name, &spec.is))))
    }

    /// A canary as it would stand in a value of this kind; `None` if there is no room for one.
    fn plant(&mut self, is: &str, room: usize) -> Option<Value> {
        let classes = match is {
            "text" | "vendor-data" | "secret" => canary::ALL,
            // What the central system may have chosen itself is told only from cards and contracts (docs/catalogue.md).
            "given" | "label" => &[canary::Class::Card, canary::Class::Contract],
            "serial" => &[canary::Class::Serial, canary::Class::Sim, canary::Class::Card, canary::Class::Contract],
            _ => canary::NAMES,
        };
        let canary = self.canary(classes, if is == "hash" { room.min(20) } else { room })?;
        let text = match is {
            "text" if room >= canary.len() + 30 => match self.dice.roll(4) {
                0 => format!("last: {canary}, reader ok"),
                1 => STANDARD.encode(format!("trace {canary}")),
                2 => json!({"card": canary}).to_string(),
                _ => canary,
            },
            "vendor-data" => json!({"card": canary, "list": [{"id": canary}]}).to_string(),
            "url" if room >= canary.len() + 20 => format!("https://h.example/{canary}"),
            "pem" | "csr" if room >= 140 => {
                let label = if is == "csr" { "CERTIFICATE REQUEST" } else { "CERTIFICATE" };
                format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", STANDARD.encode(format!("CN={canary}, O=Contract")))
            }
            "exi" => STANDARD.encode(format!("{{\"eMAID\":\"{canary}\"}}")),
            _ => canary,
        };
        (text.chars().count() <= room).then(|| Value::from(text))
    }
}

/// A request for a certificate and a certificate, as `openssl` makes them, without anybody's name.
const REQUEST: &str = include_str!("../ocpp/sample/request.pem").trim_ascii_end();
const CERTIFICATE: &str = include_str!("../ocpp/sample/certificate.pem").trim_ascii_end();

/// A harmless word for a place that the standard leaves open.
fn plain(name: &str, is: &str) -> &'static str {
    match (name, is) {
        ("chargePointVendor" | "vendorName", _) => "Acme",
        ("chargePointModel" | "model", _) => "Twin 22",
        ("firmwareVersion", _) => "1.4.2",
        ("unit", _) => "Wh",
        ("currency", _) => "EUR",
        ("name", "component") => "OCPPCommCtrlr",
        ("name", "variable") => "HeartbeatInterval",
        ("transactionId" | "id", "ref" | "transaction") => "6f1c2d34-9a7b-4c1e-8f20-0d1e2f3a4b5c",
        (_, "key") => "HeartbeatInterval",
        (_, "key-value" | "variable-value") => "300",
        (_, "language") => "nl",
        (_, "url") => "https://example.org/x",
        (_, "hash") => "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
        (_, "pem") => CERTIFICATE,
        (_, "csr") => REQUEST,
        (_, "exi") => "gJgCEA==",
        _ => "abc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_built_is_what_the_standard_says() {
        let mut built = 0;
        for version in Version::ALL {
            let messages = Messages::of(version);
            for (from, response) in [(End::Station, false), (End::Csms, false), (End::Station, true), (End::Csms, true)] {
                for action in messages.actions(from, true) {
                    for filling in
                        [Filling::Canaries, Filling::Credible, Filling::Guesses, Filling::Named(None), Filling::Named(Some("Z0".into()))]
                    {
                        for full in [true, false] {
                            let (mut dice, mut nest, mut minutes) = (Dice::new(7), Nest::new(), 0);
                            let mut builder =
                                Builder { messages: &messages, dice: &mut dice, nest: &mut nest, of: from, minutes: &mut minutes };
                            let payload =
                                if response { builder.response(&action, full, &filling) } else { builder.request(&action, full, &filling) };
                            let Some(payload) = payload else {
                                assert_eq!(filling, Filling::Named(None), "{action}");
                                continue;
                            };
                            assert_eq!(messages.wrong(&action, response, &payload), None, "{version:?} {action} {payload}");
                            built += 1;
                        }
                    }
                }
            }
        }
        assert!(built > 1500, "{built}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let messages = Messages::of(Version::V16);
        for (payload, wrong) in [
            (json!({}), "idTagInfo is missing"),
            (json!({"idTagInfo": 1}), "idTagInfo is no object"),
            (json!({"idTagInfo": {"status": "Maybe"}}), "idTagInfo.status is no enum"),
        ] {
            assert_eq!(messages.wrong("Authorize", true, &payload).unwrap(), wrong);
        }
        assert_eq!(messages.wrong("Authorize", true, &json!({"idTagInfo": {"status": "Accepted"}, "x": 1})), None);
    }
}
