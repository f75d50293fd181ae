//! What may be said of a message by looking at it: what changed on the way, which code stands for which canary, whether an error is one.

use super::canary::Canary;
use super::script::End;
use crate::ocpp::Version;
use serde_json::Value;

/// The error codes of each version (OCPP-J 1.6 §4.2.3; OCPP 2.0.1 Part 4 §4.3; OCPP 2.1 Part 4 §4.3). 1.6 has a misspelt one, and both are met.
const CODES_16: &[&str] = &[
    "NotImplemented",
    "NotSupported",
    "InternalError",
    "ProtocolError",
    "SecurityError",
    "FormationViolation",
    "FormatViolation",
    "PropertyConstraintViolation",
    "OccurenceConstraintViolation",
    "OccurrenceConstraintViolation",
    "TypeConstraintViolation",
    "GenericError",
];
const CODES_2: &[&str] = &[
    "NotImplemented",
    "NotSupported",
    "InternalError",
    "ProtocolError",
    "SecurityError",
    "FormatViolation",
    "PropertyConstraintViolation",
    "OccurrenceConstraintViolation",
    "TypeConstraintViolation",
    "GenericError",
    "MessageTypeNotSupported",
    "RpcFrameworkError",
];
/// Fields that name a driver.
const TOKEN_FIELDS: &[&str] = &["idTag", "parentIdTag", "idToken"];
/// What a bill is made of: it must be there as it was, whatever the policy.
const FACTS: &[&str] = &["meterStart", "meterStop", "timestamp", "eventType", "seqNo", "triggerReason", "connectorId"];
const BILLED: &[&str] = &["StartTransaction", "StopTransaction", "TransactionEvent"];
/// The longest description of an error.
const LONGEST_DESCRIPTION: usize = 255;

/// The name of a value that arrived otherwise than it was sent; of transaction messages also of one that did not arrive.
pub(super) fn changed(action: &str, sent: &Value, arrived: &Value) -> Option<String> {
    let (sent, arrived) = (sent.as_object()?, arrived.as_object()?);
    sent.iter().find_map(|(name, was)| {
        let fact = FACTS.contains(&name.as_str());
        match (was, arrived.get(name)) {
            (Value::Number(_) | Value::Bool(_), Some(is)) if was != is => Some(name.clone()),
            (Value::String(_), Some(is)) if fact && was != is => Some(name.clone()),
            (_, None) if fact && BILLED.contains(&action) => Some(name.clone()),
            (Value::Object(_), Some(is)) => changed("", was, is).map(|inner| format!("{name}.{inner}")),
            _ => None,
        }
    })
}

/// The codes that the central system learns from a message that arrived: place of the canary, and code.
pub(super) fn learnt(canaries: &[Canary], end: End, sent: &Value, arrived: &Value) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    if end == End::Csms {
        pair(canaries, sent, arrived, &mut found);
    }
    found
}

fn pair(canaries: &[Canary], sent: &Value, arrived: &Value, found: &mut Vec<(usize, String)>) {
    let Some(sent) = sent.as_object() else { return };
    for (name, was) in sent {
        match (was, &arrived[name]) {
            (Value::String(was), Value::String(is)) if was != is && TOKEN_FIELDS.contains(&name.as_str()) => {
                found.extend(canaries.iter().position(|c| c.text == *was).map(|at| (at, is.clone())));
            }
            (was @ Value::Object(_), is) => pair(canaries, was, is, found),
            _ => {}
        }
    }
}

/// Why a CALLERROR is none. `worded_here`: the gateway worded it, so it has no excuse.
pub(super) fn wrong_error(version: Version, frame: &Value, worded_here: bool) -> Option<String> {
    let codes = if version == Version::V16 { CODES_16 } else { CODES_2 };
    let parts = frame.as_array().map_or(0, Vec::len);
    if parts != 5 {
        return Some(format!("an error has five parts, not {parts}"));
    }
    if !frame[2].as_str().is_some_and(|code| codes.contains(&code)) && worded_here {
        return Some("its code is none of this version".into());
    }
    if frame[3].as_str().is_none_or(|text| text.chars().count() > LONGEST_DESCRIPTION) {
        return Some("its description is no text of at most 255 characters".into());
    }
    (!frame[4].is_object()).then(|| "its details are no object".into())
}

/// Every string in a value.
pub(super) fn strings(value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, each)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, each)),
        _ => {}
    }
}

/// The beginning of a text, for a report.
pub(super) fn short(text: &str) -> String {
    text.chars().take(300).collect()
}
