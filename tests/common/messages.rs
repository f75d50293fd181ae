//! Messages made from the catalogue: every message of every version, full, with a canary in every string that can hold one.

use serde_json::{Map, Value, json};
use sluis::ocpp::Version;
use sluis::ocpp::catalogue::{Catalogue, FieldSpec, Fields, Sender};

/// A message of the standard, ready to be sent.
pub struct Message {
    pub version: Version,
    pub action: String,
    pub from_station: bool,
    pub send: bool,
    pub request: Value,
    pub response: Value,
}

/// Makes a new canary at each call, shaped like the card number of a 7-byte UID.
pub struct Canaries(u64);

impl Canaries {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> String {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("04{:012X}", (self.0 >> 12) & 0xffff_ffff_ffff)
    }
}

pub fn all(canaries: &mut Canaries) -> Vec<Message> {
    let mut messages = Vec::new();
    for version in Version::ALL {
        let catalogue = Catalogue::of(version);
        for (action, spec) in &catalogue.messages {
            for from_station in [true, false] {
                if (from_station && spec.from == Sender::Csms) || (!from_station && spec.from == Sender::Station) {
                    continue;
                }
                messages.push(Message {
                    version,
                    action: action.clone(),
                    from_station,
                    send: spec.kind.as_deref() == Some("send"),
                    request: object(&catalogue, &spec.request, canaries, 0),
                    response: object(&catalogue, &spec.response, canaries, 0),
                });
            }
        }
    }
    messages
}

fn object(catalogue: &Catalogue, fields: &Fields, canaries: &mut Canaries, depth: u32) -> Value {
    let mut object = Map::new();
    for (name, spec) in fields {
        if depth > 12 && !spec.required {
            continue;
        }
        let value = value(catalogue, spec, canaries, depth);
        object.insert(name.clone(), if spec.list { Value::Array(vec![value; spec.min.max(1) as usize]) } else { value });
    }
    object.insert("customData".into(), json!({"vendorId": canaries.next(), "x": [canaries.next()]}));
    Value::Object(object)
}

fn value(catalogue: &Catalogue, spec: &FieldSpec, canaries: &mut Canaries, depth: u32) -> Value {
    if let Some(fields) = catalogue.types.get(&spec.is) {
        return object(catalogue, fields, canaries, depth + 1);
    }
    match spec.is.as_str() {
        "boolean" => json!(true),
        "integer" => json!(1),
        "number" => json!(1.5),
        "decimal" => json!("12.5"),
        "time" => json!("2026-11-24T10:00:00Z"),
        "enum" => json!(catalogue.words[spec.values.as_deref().unwrap_or_default()][0]),
        _ => {
            let canary = canaries.next();
            let fits = canary.len().min(spec.max.unwrap_or(u32::MAX) as usize);
            json!(canary[..fits])
        }
    }
}
