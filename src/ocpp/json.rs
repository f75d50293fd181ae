//! A cursor over JSON text (RFC 8259) that validates as it walks and never builds a tree, so that what is not treated can
//! leave as the very bytes that came. It never allocates but to unescape.

mod escapes;

use super::scan::special;
pub use escapes::write_string;
use escapes::{escape, unescape};
use std::borrow::Cow;
use std::ops::Range;

/// Deepest nesting of arrays and objects that a frame may have. The deepest message of OCPP 2.1 needs 11.
pub const MAX_DEPTH: u32 = 32;
/// Most members and elements a frame may have in all: a full local list of 10,000 entries has about 90,000.
pub const MAX_ELEMENTS: u32 = 200_000;

/// Why JSON text cannot be read. Says nothing of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON.
    #[error("not valid JSON")]
    Syntax,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deep")]
    Depth,
    /// More than [`MAX_ELEMENTS`] members and elements.
    #[error("too many elements")]
    Elements,
    /// An object names the same member twice.
    #[error("a member is named twice")]
    Duplicate,
}

/// A JSON string token: where its content stands (without the quotes) and whether it has escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The content's bytes in the source, quotes excluded.
    pub span: Range<usize>,
    /// Whether the content has a backslash.
    pub escaped: bool,
}

/// The shape of the value that stands at the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// `-` or a digit
    Number,
    /// `true` or `false`
    Boolean,
    /// `null`
    Null,
}

/// A position in JSON text.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    elements: u32,
}

impl<'a> Cursor<'a> {
    /// Stands at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, elements: 0 }
    }

    /// Stands at `at`, inside the outermost bracket.
    pub fn inside(text: &'a str, at: usize) -> Self {
        Self { text, at, depth: 1, elements: 0 }
    }

    /// The byte position.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The text that the cursor walks over.
    pub fn text(&self) -> &'a str {
        self.text
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over white space.
    #[inline]
    pub fn space(&mut self) {
        // Stations write no white space, so the first byte usually says that there is none.
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    /// Passes over white space and then `byte`, if it stands there.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.byte() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// The shape of the next value, by its first byte.
    #[inline]
    pub fn shape(&mut self) -> Result<Shape, Unreadable> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Shape::Object),
            Some(b'[') => Ok(Shape::Array),
            Some(b'"') => Ok(Shape::String),
            Some(b'-' | b'0'..=b'9') => Ok(Shape::Number),
            Some(b't' | b'f') => Ok(Shape::Boolean),
            Some(b'n') => Ok(Shape::Null),
            _ => Err(Unreadable::Syntax),
        }
    }

    /// Enters an object or array whose bracket stands at the cursor. Every `enter` has its [`Cursor::leave`].
    #[inline]
    pub fn enter(&mut self) -> Result<(), Unreadable> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Unreadable::Depth) } else { Ok(()) }
    }

    /// Leaves an object or array whose closing bracket was taken.
    #[inline]
    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Counts one member or element.
    #[inline]
    pub fn count(&mut self) -> Result<(), Unreadable> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS { Err(Unreadable::Elements) } else { Ok(()) }
    }

    /// Reads a string token.
    #[inline]
    pub fn string(&mut self) -> Result<Token, Unreadable> {
        self.space();
        if self.byte() != Some(b'"') {
            return Err(Unreadable::Syntax);
        }
        let start = self.at + 1;
        let mut escaped = false;
        let at = end_of_string(self.text.as_bytes(), start, &mut escaped)?;
        self.at = at + 1;
        Ok(Token { span: start..at, escaped })
    }

    /// The content of a token, unescaped.
    #[inline]
    pub fn content(&self, token: &Token) -> Cow<'a, str> {
        let raw = &self.text[token.span.clone()];
        if token.escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) }
    }

    /// Reads a number, as its text.
    pub fn number(&mut self) -> Result<&'a str, Unreadable> {
        self.space();
        let start = self.at;
        self.at = past_number(self.text.as_bytes(), start)?;
        Ok(&self.text[start..self.at])
    }

    /// Passes over one whole value, whatever it is, checking its grammar. Returns where it stood.
    pub fn skip(&mut self) -> Result<Range<usize>, Unreadable> {
        let bytes = self.text.as_bytes();
        let start = past_space(bytes, self.at);
        self.at = past_value(bytes, start, self.depth, &mut self.elements)?;
        Ok(start..self.at)
    }

    /// Looks ahead in an object that stands at the cursor: if all its members are strings without escapes, and there is no white space, where
    /// the value of `name` stands (quotes excluded; empty if there is no such member) and where the object ends. Most sampled values of
    /// OCPP 1.6 are such. The cursor does not move.
    pub fn flat<const N: usize>(&self, name: &[u8; N]) -> Option<(Range<usize>, usize)> {
        let bytes = self.text.as_bytes();
        let (mut at, mut found) = (self.at + 2, 0..0);
        if bytes.get(at - 1) != Some(&b'"') {
            return None;
        }
        // Four bytes at once; nearer to the end of the text than that, it is left to the careful way.
        let four = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map(|four| u32::from_le_bytes(*four));
        const VALUE: u32 = u32::from_le_bytes(*b"\":\"\0");
        const NEXT: u32 = u32::from_le_bytes(*b"\",\"\0");
        const LAST: u32 = u32::from_le_bytes(*b"\"}\0\0");
        loop {
            // A special byte that is no quote is an escape or a control character.
            let end = special(bytes, at);
            if four(end)? & 0xff_ffff != VALUE {
                return None;
            }
            let stop = special(bytes, end + 3);
            if end - at == N && bytes[at..].first_chunk() == Some(name) {
                found = end + 3..stop;
            }
            let behind = four(stop)?;
            if behind & 0xff_ffff == NEXT {
                at = stop + 3;
            } else if behind & 0xffff == LAST {
                return Some((found, stop + 2));
            } else {
                return None;
            }
        }
    }

    /// Goes on to a place that [`Cursor::flat`] has found.
    pub fn jump(&mut self, to: usize) {
        self.at = to;
    }

    /// Whether only white space is left.
    pub fn finished(&mut self) -> bool {
        self.space();
        self.at == self.text.len()
    }

    /// Looks ahead, from a cursor that stands at an object: where the value of the first member `name` stands. The cursor
    /// itself does not move. `None` if it is no object, has no such member or cannot be read.
    pub fn peek(&self, name: &str) -> Option<Range<usize>> {
        let mut ahead = self.clone();
        if ahead.shape() != Ok(Shape::Object) {
            return None;
        }
        ahead.enter().ok()?;
        if ahead.take(b'}') {
            return None;
        }
        loop {
            let key = ahead.string().ok()?;
            let found = ahead.content(&key) == name;
            if !ahead.take(b':') {
                return None;
            }
            let span = ahead.skip().ok()?;
            if found {
                return Some(span);
            }
            if !ahead.take(b',') {
                return None;
            }
        }
    }

    /// Like [`Cursor::peek`], for a member whose value is a string: its content, unescaped.
    pub fn peek_string(&self, name: &str) -> Option<Cow<'a, str>> {
        let span = self.peek(name)?;
        let mut there = Cursor { at: span.start, ..self.clone() };
        let token = there.string().ok()?;
        Some(there.content(&token))
    }
}

#[inline]
fn past_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The place of the quote that ends the string whose content begins at `at`.
#[inline]
fn end_of_string(bytes: &[u8], mut at: usize, escaped: &mut bool) -> Result<usize, Unreadable> {
    loop {
        at = special(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') => {
                *escaped = true;
                at = escape(bytes, at)?;
            }
            // A control character, or the end of the text.
            _ => return Err(Unreadable::Syntax),
        }
    }
}

fn past_number(bytes: &[u8], mut at: usize) -> Result<usize, Unreadable> {
    let digits = |from: usize| {
        let count = bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 { Err(Unreadable::Syntax) } else { Ok(from + count) }
    };
    at += usize::from(bytes.get(at) == Some(&b'-'));
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at = digits(at + 1 + sign)?;
    }
    Ok(at)
}

/// The place behind the value that begins at `at`.
fn past_value(bytes: &[u8], at: usize, depth: u32, elements: &mut u32) -> Result<usize, Unreadable> {
    match bytes.get(at) {
        Some(b'"') => Ok(end_of_string(bytes, at + 1, &mut false)? + 1),
        Some(b'-' | b'0'..=b'9') => past_number(bytes, at),
        Some(open @ (b'{' | b'[')) => past_members(bytes, at + 1, *open == b'{', depth + 1, elements),
        _ => {
            let rest = bytes.get(at..).unwrap_or_default();
            let word = [&b"true"[..], b"false", b"null"].into_iter().find(|w| rest.starts_with(w));
            Ok(at + word.ok_or(Unreadable::Syntax)?.len())
        }
    }
}

fn past_members(bytes: &[u8], at: usize, named: bool, depth: u32, elements: &mut u32) -> Result<usize, Unreadable> {
    if depth > MAX_DEPTH {
        return Err(Unreadable::Depth);
    }
    let close = if named { b'}' } else { b']' };
    let mut at = past_space(bytes, at);
    if bytes.get(at) == Some(&close) {
        return Ok(at + 1);
    }
    loop {
        *elements += 1;
        if *elements > MAX_ELEMENTS {
            return Err(Unreadable::Elements);
        }
        if named {
            if bytes.get(at) != Some(&b'"') {
                return Err(Unreadable::Syntax);
            }
            at = past_space(bytes, end_of_string(bytes, at + 1, &mut false)? + 1);
            if bytes.get(at) != Some(&b':') {
                return Err(Unreadable::Syntax);
            }
            at = past_space(bytes, at + 1);
        }
        at = past_space(bytes, past_value(bytes, at, depth, elements)?);
        match bytes.get(at) {
            Some(b',') => at = past_space(bytes, at + 1),
            Some(b) if *b == close => return Ok(at + 1),
            _ => return Err(Unreadable::Syntax),
        }
    }
}

/// What stands between the quotes of a value, if it is a text; else the value.
pub fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> bool {
        let mut cursor = Cursor::new(text);
        cursor.skip().is_ok() && cursor.finished()
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_what_is_json(text in r#"[\[\]{}",:0-9eE.+\-a-fntrulse\\ ]{0,40}"#) {
            prop_assert_eq!(accepts(&text), serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn strings_survive_escaping(text in any::<String>()) {
            let mut json = String::new();
            write_string(&mut json, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text.clone());
            let escaped = serde_json::to_string(&text).unwrap();
            let mut cursor = Cursor::new(&escaped);
            let token = cursor.string().unwrap();
            prop_assert_eq!(cursor.content(&token), text);
        }

        #[test]
        fn escapes_are_read_as_serde_json_reads_them(units in proptest::collection::vec(any::<u16>(), 0..6)) {
            let text: String = units.iter().map(|u| format!("\\u{u:04x}")).collect();
            let json = format!("\"{text}\"");
            let mut cursor = Cursor::new(&json);
            match (cursor.string(), serde_json::from_str::<String>(&json)) {
                (Ok(token), Ok(theirs)) => prop_assert_eq!(cursor.content(&token), theirs),
                (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok()),
            }
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(accepts(&nested(MAX_DEPTH as usize)));
        assert!(!accepts(&nested(MAX_DEPTH as usize + 1)));
        assert!(!accepts(&nested(1_000_000)));
    }

    #[test]
    fn peek_finds_an_escaped_name_and_stays_where_it_is() {
        let cursor = Cursor::new(r#"{"a":{"type":1},"ty\u0070e":"x\n"}"#);
        assert_eq!(cursor.peek_string("type").as_deref(), Some("x\n"));
        assert_eq!(cursor.at(), 0);
    }

    #[test]
    fn flat_finds_the_member_and_the_end_or_leaves_it_to_the_careful_way() {
        let text = r#"{"a":"1","name":"x\ty","b":""} , "#;
        let flat = |text: &str| Cursor::new(text).flat(b"name").map(|(found, end)| (text[found].to_owned(), text[end..].to_owned()));
        assert_eq!(flat(&text.replace("\\t", "-")), Some(("x-y".into(), " , ".into())));
        assert_eq!(flat(&text.replace("name", "game").replace("\\t", "-")), Some((String::new(), " , ".into())));
        for other in [
            text,
            "{}    ",
            r#"{"name":1}   "#,
            r#"{"name" :"x"}   "#,
            r#"{"name":"x"    "#,
            r#"{"name":"x",}   "#,
            r#"{"name":"x"}"#,
            "{",
            "",
        ] {
            assert_eq!(flat(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_flat_ends_where_it_is_skipped_to(text in r#"\{("[a-c]{0,9}":"[a-c\\n ]{0,20}",?){0,4}[ \\]?\}    "#) {
            if let Some((_, end)) = Cursor::new(&text).flat(b"abc") {
                let mut cursor = Cursor::new(&text);
                prop_assert_eq!(cursor.skip().map(|span| span.end), Ok(end));
            }
        }
    }
}
