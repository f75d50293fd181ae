//! The readers of frames and JSON against serde_json: what the one accepts the other does, with the same values. Where they may differ is
//! written down: nesting beyond [`MAX_DEPTH`], more than [`MAX_ELEMENTS`]; and of a member named twice serde_json keeps the last.

use crate::ocpp::frame::{Frame, LONGEST_NUMBER};
use crate::ocpp::json::{Cursor, MAX_DEPTH, MAX_ELEMENTS, Shape, Unreadable, write_string};
use serde_json::{Map, Value};

/// Names under which serde_json's own features hide numbers and raw text from themselves: it reads them as something else than JSON.
const SERDE_JSON_PRIVATE: &str = "$serde_json";

/// Reads bytes as JSON and as a frame.
///
/// # Panics
/// If our readers and serde_json differ.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut written = String::new();
    write_string(&mut written, text);
    assert_eq!(serde_json::from_str::<String>(&written).ok().as_deref(), Some(text), "a string is not what was written");
    let mut cursor = Cursor::new(text);
    let ours = cursor.skip().and_then(|span| if cursor.finished() { Ok(span) } else { Err(Unreadable::Syntax) });
    let mut cursor = Cursor::new(text);
    let walked = walk(&mut cursor);
    if walked.as_ref().is_ok_and(is_private) {
        return;
    }
    let theirs = serde_json::from_str::<Value>(text).ok();
    match (&ours, &theirs) {
        (Ok(span), Some(theirs)) => {
            assert_eq!(walked.as_ref(), Ok(theirs), "read as another value");
            assert_eq!(cursor.at(), span.end, "walking and skipping end at different places");
            head(text, theirs);
        }
        (Ok(_), None) => panic!("serde_json does not read what we read"),
        (Err(Unreadable::Depth), Some(value)) => assert!(depth(value) > MAX_DEPTH, "refused as too deep and is not"),
        (Err(Unreadable::Elements), Some(value)) => assert!(elements(value) > MAX_ELEMENTS, "refused as too large and is not"),
        (Err(why), Some(value)) => assert!(is_private(value), "serde_json reads what we refuse: {why}"),
        (Err(_), None) => {}
    }
    damaged_head(text);
}

fn is_private(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.iter().any(is_private),
        Value::Object(all) => all.iter().any(|(name, value)| name.starts_with(SERDE_JSON_PRIVATE) || is_private(value)),
        _ => false,
    }
}

/// Builds the value step by step, and asks every object for its members by looking ahead.
fn walk(cursor: &mut Cursor<'_>) -> Result<Value, Unreadable> {
    let shape = cursor.shape()?;
    match shape {
        Shape::Object => {
            let before = cursor.clone();
            let mut members = Map::new();
            let mut names = Vec::new();
            cursor.enter()?;
            if !cursor.take(b'}') {
                loop {
                    cursor.count()?;
                    let key = cursor.string()?;
                    let name = cursor.content(&key).into_owned();
                    if !cursor.take(b':') {
                        return Err(Unreadable::Syntax);
                    }
                    cursor.space();
                    let start = cursor.at();
                    let value = walk(cursor)?;
                    if !names.contains(&name) {
                        assert_eq!(before.peek(&name), Some(start..cursor.at()), "looking ahead finds another member");
                        let text = before.peek_string(&name);
                        assert_eq!(text.as_deref(), value.as_str(), "looking ahead reads another text");
                        names.push(name.clone());
                    }
                    members.insert(name, value);
                    if cursor.take(b'}') {
                        break;
                    }
                    if !cursor.take(b',') {
                        return Err(Unreadable::Syntax);
                    }
                }
            }
            cursor.leave();
            if let Some((found, end)) = before.flat(b"measurand") {
                assert_eq!(end, cursor.at(), "a flat object ends elsewhere");
                let found = &cursor.text()[found];
                assert_eq!(members.get("measurand").and_then(Value::as_str).unwrap_or_default(), found, "a flat object has another member");
            }
            Ok(Value::Object(members))
        }
        Shape::Array => {
            let mut elements = Vec::new();
            cursor.enter()?;
            if !cursor.take(b']') {
                loop {
                    cursor.count()?;
                    elements.push(walk(cursor)?);
                    if cursor.take(b']') {
                        break;
                    }
                    if !cursor.take(b',') {
                        return Err(Unreadable::Syntax);
                    }
                }
            }
            cursor.leave();
            Ok(Value::Array(elements))
        }
        Shape::String => {
            let token = cursor.string()?;
            let content = cursor.content(&token);
            assert_eq!(token.escaped, cursor.text()[token.span.clone()].contains('\\'), "escapes are not told");
            Ok(Value::String(content.into_owned()))
        }
        Shape::Number => {
            let text = cursor.number()?;
            serde_json::from_str(text).map_err(|_| Unreadable::Syntax)
        }
        Shape::Boolean | Shape::Null => {
            let span = cursor.skip()?;
            serde_json::from_str(&cursor.text()[span]).map_err(|_| Unreadable::Syntax)
        }
    }
}

/// A frame that is JSON has the kind, id and name that serde_json sees, and one that is refused breaks the form.
fn head(text: &str, value: &Value) {
    let parts = value.as_array().map_or(&[][..], Vec::as_slice);
    let kind = parts.first().and_then(Value::as_u64);
    // A whole number of few digits is an id whose quotes were forgotten.
    let number = parts.get(1).and_then(Value::as_u64).map(|id| id.to_string());
    let short = number.as_deref().filter(|id| id.len() <= LONGEST_NUMBER);
    let id = parts.get(1).and_then(Value::as_str).or(short);
    let named = kind != Some(3);
    let name = parts.get(2).and_then(Value::as_str);
    // CALL, SEND and CALLRESULT have a payload; an error may end with its code.
    let least = if matches!(kind, Some(4 | 5)) { 3 } else { 3 + usize::from(named) };
    let whole = kind.is_some_and(|k| (2..=6).contains(&k)) && id.is_some() && parts.len() >= least && (!named || name.is_some());
    match Frame::read(text) {
        Ok(frame) => {
            assert!(whole, "read as a frame and is none");
            assert_eq!((Some(&*frame.id), named.then_some(&*frame.name)), (id, name.filter(|_| named)), "another id or name");
            let stands = &text[frame.id_span];
            let there = if frame.is_number { Some(stands.to_owned()) } else { serde_json::from_str(stands).ok() };
            assert_eq!(there.as_deref(), id, "the id stands elsewhere");
            let mut payload = Cursor::inside(text, frame.rest);
            if let Some(expected) = parts.get(2 + usize::from(named)) {
                assert_eq!(walk(&mut payload).as_ref(), Ok(expected), "the payload stands elsewhere");
            }
        }
        Err(bad) => {
            // `2.0` and `-0` are numbers, but no message types.
            let odd = kind.is_none() || !text.trim_start_matches(['[', ' ', '\t', '\n', '\r']).starts_with(|c: char| c.is_ascii_digit());
            assert!(!whole || odd, "a frame is refused");
            // Of a number that is too long to be an id, its own text is said again.
            let odd_number = parts.get(1).is_some_and(Value::is_number) && bad.id.as_deref().is_some_and(|id| text.contains(id));
            assert!(bad.id.is_none() || bad.id.as_deref() == id || odd_number, "the id of a bad frame is another");
            assert!(bad.kind.is_none() || bad.kind == kind, "the kind of a bad frame is another");
        }
    }
}

/// What is no JSON may still have a head that can be read; its places are within the text.
fn damaged_head(text: &str) {
    if let Ok(frame) = Frame::read(text) {
        assert!(text.is_char_boundary(frame.rest) && text.get(frame.id_span).is_some(), "a place outside the text");
    }
}

fn depth(value: &Value) -> u32 {
    match value {
        Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
        Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn elements(value: &Value) -> u32 {
    match value {
        Value::Array(all) => all.iter().map(|v| 1 + elements(v)).sum(),
        Value::Object(all) => all.values().map(|v| 1 + elements(v)).sum(),
        _ => 0,
    }
}
