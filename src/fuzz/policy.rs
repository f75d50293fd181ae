//! Policy files and configuration files: any text is read or refused without a panic, twice alike, and no mistake quotes a value.
//!
//! The first byte says which of the two it is and where a canary is planted: in the place of the n-th value of what can be read as TOML.

use super::choices::Choices;
use super::message::BOOK;
use crate::config::{Config, Flags};
use crate::policy::{Namespace, Rules};
use toml::{Table, Value};

/// A value that no message may quote.
const CANARY: &str = "kanarie-04CA11AB1E5A1D";

/// Reads a file.
///
/// # Panics
/// If a mistake quotes a value, or the same text is read in two ways.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (what, place) = (choices.byte(), choices.byte());
    let Ok(text) = std::str::from_utf8(choices.rest()) else { return };
    if let Ok(namespace) = Namespace::parse(text) {
        let _ = (namespace.matches(text), namespace.matches(CANARY), namespace.matches(""));
    }
    let read = if what & 1 == 0 { policy } else { config };
    read(text);
    // A key that is unknown is named; only values are secret.
    if text.contains(CANARY) {
        return;
    }
    let Ok(mut table) = text.parse::<Table>() else { return };
    let mut left = usize::from(place);
    let canary = match what >> 1 & 3 {
        0 => Value::String(CANARY.to_owned()),
        1 => Value::Array(vec![Value::String(CANARY.to_owned())]),
        2 => Value::String(format!("charge\n{CANARY}\"")),
        _ => Value::Table(Table::from_iter([("x".to_owned(), Value::String(CANARY.to_owned()))])),
    };
    if plant(&mut table, &mut left, &canary)
        && let Ok(text) = toml::to_string(&table)
    {
        for mistake in read(&text) {
            assert!(!mistake.contains(CANARY), "quotes a value: {mistake}");
        }
    }
}

/// Puts the canary in the place of the n-th value.
fn plant(table: &mut Table, left: &mut usize, canary: &Value) -> bool {
    table.iter_mut().any(|(_, value)| plant_in(value, left, canary))
}

fn plant_in(value: &mut Value, left: &mut usize, canary: &Value) -> bool {
    let inside = match value {
        Value::Table(table) => plant(table, left, canary),
        Value::Array(all) => all.iter_mut().any(|element| plant_in(element, left, canary)),
        _ => false,
    };
    if inside {
        return true;
    }
    if *left == 0 {
        *value = canary.clone();
        return true;
    }
    *left -= 1;
    false
}

fn policy(text: &str) -> Vec<String> {
    let compiled = || Rules::compile_with(text, Vec::new(), &BOOK.standard);
    match (compiled(), compiled()) {
        (Ok(one), Ok(two)) => {
            assert!(one == two, "compiled in two ways: {text}");
            Vec::new()
        }
        (Err(one), Err(two)) => {
            assert_eq!(one, two, "refused in two ways");
            assert!(!one.is_empty(), "refused without a reason");
            one
        }
        _ => panic!("compiled once and not twice: {text}"),
    }
}

fn config(text: &str) -> Vec<String> {
    // The policy would be read from a file, perhaps one without an end.
    let flags = Flags { config: None, values: vec![("policy", "strict".to_owned())] };
    let read = || Config::read_text(&flags, &|_| None, "sluis.toml", text);
    match (read(), read()) {
        (Ok(one), Ok(two)) => {
            assert_eq!(format!("{one:?}"), format!("{two:?}"), "read in two ways");
            Vec::new()
        }
        (Err(one), Err(two)) => {
            assert_eq!(one, two, "refused in two ways");
            assert!(!one.is_empty(), "refused without a reason");
            one
        }
        _ => panic!("read once and not twice: {text}"),
    }
}
