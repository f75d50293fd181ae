//! Whether a payload is as the catalogue says, which has its facts from the standard's schemas: known fields only, those required there, of the
//! right type, no longer than allowed, and of a closed list one of its words.

use super::message::{BOOK, Tables};
use crate::ocpp::Version;
use crate::ocpp::catalogue::{FieldSpec, Fields};
use serde_json::Value;

/// Checks a payload against the fields of its message.
///
/// # Errors
/// The path of the first field that is wrong, and what is.
pub fn payload(version: Version, fields: &Fields, payload: &Value) -> Result<(), String> {
    object(BOOK.tables(version), fields, payload).map_err(|(path, what)| format!("{path}: {what}"))
}

type Wrong = (String, &'static str);

fn object(tables: Tables<'_>, fields: &Fields, value: &Value) -> Result<(), Wrong> {
    let members = value.as_object().ok_or((String::new(), "must be an object"))?;
    if let Some(stranger) = members.keys().find(|name| !fields.contains_key(*name)) {
        return Err((stranger.clone(), "there is no such field"));
    }
    for (name, spec) in fields {
        let below = |(path, what): Wrong| (format!("{name}.{path}"), what);
        match members.get(name) {
            None if spec.required => return Err((name.clone(), "is required")),
            None => {}
            Some(Value::Array(all)) if spec.list => {
                if all.len() < spec.min as usize {
                    return Err((name.clone(), "has too few elements"));
                }
                all.iter().try_for_each(|element| field(tables, spec, element)).map_err(below)?;
            }
            Some(_) if spec.list => return Err((name.clone(), "must be a list")),
            Some(there) => field(tables, spec, there).map_err(below)?,
        }
    }
    Ok(())
}

fn field(tables: Tables<'_>, spec: &FieldSpec, value: &Value) -> Result<(), Wrong> {
    if let Some(fields) = tables.object(&spec.is) {
        return object(tables, fields, value);
    }
    let is = |holds: bool, what| if holds { Ok(()) } else { Err((String::new(), what)) };
    match spec.is.as_str() {
        "boolean" => is(value.is_boolean(), "must be true or false"),
        "integer" => is(value.is_i64() || value.is_u64(), "must be a whole number"),
        "number" => is(value.is_number(), "must be a number"),
        "any" => Ok(()),
        // In 2.x a sampled value is a number.
        "decimal" => is(value.is_string() || value.is_number(), "must be a number in a string"),
        // The one field of a DataTransfer that has any type in 2.x.
        "vendor-data" => Ok(()),
        "enum" => is(value.as_str().is_some_and(|word| tables.words(spec).iter().any(|w| w == word)), "must be a word of its list"),
        _ => {
            let text = value.as_str().ok_or((String::new(), "must be a text"))?;
            is(spec.max.is_none_or(|max| text.chars().count() <= max as usize), "is too long")
        }
    }
}
