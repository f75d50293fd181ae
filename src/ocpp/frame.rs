//! The OCPP-J envelope (OCPP-J 1.6 §4.2; OCPP 2.1 Part 4 §4.2): reads `[type, id, …]` and says where each part stands,
//! without reading the payload.

use super::Kind;
use super::json::{Cursor, Shape, Token, Unreadable};
use super::scan::special;
use std::borrow::Cow;
use std::ops::Range;

/// The parts of a frame, as places in its text.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// The message type.
    pub kind: Kind,
    /// The message id, unescaped; the digits, if it is a number.
    pub id: Cow<'a, str>,
    /// Whether the id is a number: some firmware forgets the quotes. Whole numbers of at most [`LONGEST_NUMBER`] digits are read.
    pub is_number: bool,
    /// Where the id token stands, quotes included.
    pub id_span: Range<usize>,
    /// CALL and SEND: the action. CALLERROR and CALLRESULTERROR: the error code. CALLRESULT: empty.
    pub name: Cow<'a, str>,
    /// Where the payload begins: the object of a CALL, CALLRESULT or SEND; the description of an error (the end bracket if
    /// there is none).
    pub rest: usize,
}

/// The most digits of a message id without quotes: fewer than a card number has, so it needs no code.
pub const LONGEST_NUMBER: usize = 7;

/// Why a frame cannot be read, and as much of its head as could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrame {
    /// The message type number, if it could be read.
    pub kind: Option<u64>,
    /// The message id, if it could be read.
    pub id: Option<String>,
    /// What is wrong.
    pub why: Unreadable,
}

/// As much of a head as was read.
#[derive(Default)]
struct Head<'a> {
    kind: Option<u64>,
    id: Option<Cow<'a, str>>,
}

impl<'a> Frame<'a> {
    /// Reads the head of a frame. The payload is not looked at; the treatment reads it.
    ///
    /// # Errors
    /// [`BadFrame`] with as much of the head as could be read, so that a CALL can still be answered under its own id.
    pub fn read(text: &'a str) -> Result<Self, BadFrame> {
        if let Some(frame) = Self::plain(text) {
            return Ok(frame);
        }
        let mut head = Head::default();
        let mut cursor = Cursor::new(text);
        Self::head(&mut cursor, &mut head).map_err(|why| BadFrame { kind: head.kind, id: head.id.map(Cow::into_owned), why })
    }

    /// The head of a CALL, CALLRESULT or SEND as nearly all are written, without white space and escapes; `None` leaves it to the careful way,
    /// which reads it the same.
    fn plain(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let kind = match bytes {
            [b'[', b'2', b',', b'"', ..] => Kind::Call,
            [b'[', b'3', b',', b'"', ..] => Kind::CallResult,
            [b'[', b'6', b',', b'"', ..] => Kind::Send,
            _ => return None,
        };
        // What is special and no quote is an escape or a control character.
        let end = special(bytes, 4);
        let (name, rest) = match (kind, bytes.get(end..)?) {
            (Kind::CallResult, [b'"', b',', ..]) => (4..4, end + 2),
            (Kind::Call | Kind::Send, [b'"', b',', b'"', ..]) => {
                let stop = special(bytes, end + 3);
                let [b'"', b',', ..] = bytes.get(stop..)? else { return None };
                (end + 3..stop, stop + 2)
            }
            _ => return None,
        };
        if matches!(bytes.get(rest), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            return None;
        }
        let (id, name) = (Cow::Borrowed(&text[4..end]), Cow::Borrowed(&text[name]));
        Some(Self { kind, id, is_number: false, id_span: 3..end + 1, name, rest })
    }

    fn head(cursor: &mut Cursor<'a>, head: &mut Head<'a>) -> Result<Self, Unreadable> {
        let comma = |cursor: &mut Cursor<'a>| if cursor.take(b',') { Ok(()) } else { Err(Unreadable::Syntax) };
        if !cursor.take(b'[') {
            return Err(Unreadable::Syntax);
        }
        let number = cursor.number()?;
        head.kind = match number.as_bytes() {
            [digit] => Some(u64::from(digit - b'0')),
            _ => number.parse().ok(),
        };
        comma(cursor)?;
        let is_number = match cursor.shape()? {
            Shape::String => false,
            Shape::Number => true,
            _ => return Err(Unreadable::Syntax),
        };
        let start = cursor.at();
        let id = if is_number {
            let digits = cursor.number()?;
            head.id = Some(Cow::Borrowed(digits));
            if digits.len() > LONGEST_NUMBER || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(Unreadable::Syntax);
            }
            Cow::Borrowed(digits)
        } else {
            let token = cursor.string()?;
            let id = cursor.content(&token);
            head.id = Some(id.clone());
            id
        };
        let id_span = start..cursor.at();
        let kind = match head.kind {
            Some(2) => Kind::Call,
            Some(3) => Kind::CallResult,
            Some(4) => Kind::CallError,
            Some(5) => Kind::CallResultError,
            Some(6) => Kind::Send,
            _ => return Err(Unreadable::Syntax),
        };
        comma(cursor)?;
        let name = if kind == Kind::CallResult {
            Cow::Borrowed("")
        } else {
            let name: Token = cursor.string()?;
            let name = cursor.content(&name);
            if matches!(kind, Kind::Call | Kind::Send) || !peek_end(cursor) {
                comma(cursor)?;
            }
            name
        };
        cursor.space();
        Ok(Self { kind, id, is_number, id_span, name, rest: cursor.at() })
    }
}

/// Whether the frame ends here: old firmware sends a CALLERROR without description and details.
fn peek_end(cursor: &Cursor<'_>) -> bool {
    cursor.clone().take(b']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_quick_way_reads_what_the_careful_way_reads(text in r#"\[[2-6],"[a-c\\ ]{0,20}",("[A-C\\]{0,20}",)? ?[\{\]" ]{0,4}"#) {
            if let Some(quick) = Frame::plain(&text) {
                let careful = Frame::head(&mut Cursor::new(&text), &mut Head::default());
                prop_assert_eq!(format!("{:?}", careful), format!("{:?}", Ok::<_, Unreadable>(quick)));
            }
        }
    }

    #[test]
    fn reads_the_five_kinds() {
        for (text, kind, name) in [
            (r#"[2,"1","Heartbeat",{}]"#, Kind::Call, "Heartbeat"),
            (r#" [ 3 , "1" , {} ] "#, Kind::CallResult, ""),
            (r#"[4,"1","GenericError","",{}]"#, Kind::CallError, "GenericError"),
            (r#"[4,"1","GenericError"]"#, Kind::CallError, "GenericError"),
            (r#"[5,"1","GenericError","",{}]"#, Kind::CallResultError, "GenericError"),
            (r#"[6,"1","NotifyPeriodicEventStream",{}]"#, Kind::Send, "NotifyPeriodicEventStream"),
        ] {
            let frame = Frame::read(text).unwrap();
            assert_eq!((frame.kind, &*frame.name, &*frame.id), (kind, name, "1"));
        }
    }

    #[test]
    fn a_bad_frame_keeps_the_id_it_could_read() {
        let bad = Frame::read(r#"[2,"a\u0062","Heartbeat"#).unwrap_err();
        assert_eq!((bad.kind, bad.id.as_deref()), (Some(2), Some("ab")));
        for text in [
            "",
            "{}",
            "[",
            "[2",
            "[2,-5,\"A\",{}]",
            "[2,5.0,\"A\",{}]",
            "[2,12345678,\"A\",{}]",
            "[2.0,\"1\",\"A\",{}]",
            "[99999999999999999999999,\"1\"]",
            "null",
        ] {
            assert!(Frame::read(text).is_err(), "{text}");
        }
    }
}
