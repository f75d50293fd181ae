//! CALLERROR and CALLRESULTERROR: the code crosses, the details never, the description only where free text has a purpose.

use super::{Context, Memory, Treated, Verdict, text};
use crate::ocpp::frame::Frame;
use crate::ocpp::json::{Cursor, Shape, Unreadable, write_string};
use crate::ocpp::{Kind, Side};
use crate::policy::Purpose;
use std::borrow::Cow;

/// Treats a CALLERROR or CALLRESULTERROR: the code is kept if the standard has it, the details never cross, and the description goes up
/// only where free text has a purpose, scrubbed; a station that quotes the whole request in it would quote a restored card number.
/// `id` is the message id that the recipient knows.
/// What comes of it is written into `treated`, which must be [`Treated::nothing`] so far.
pub(crate) fn error(
    context: &Context<'_>,
    memory: &Memory,
    text: &str,
    frame: &Frame<'_>,
    id: &str,
    treated: &mut Treated,
) -> Result<(), Unreadable> {
    let mut cursor = Cursor::inside(text, frame.rest);
    let mut description = None;
    let mut details = "{}";
    let mut readable = true;
    if cursor.clone().take(b']') {
        if text[..frame.rest].trim_end().ends_with(',') {
            return Err(Unreadable::Syntax);
        }
    } else {
        if cursor.shape()? == Shape::String {
            let token = cursor.string()?;
            description = Some(cursor.content(&token));
        } else {
            // Whatever stands there instead of a text does not go on.
            cursor.skip()?;
            readable = false;
        }
        if cursor.take(b',') {
            details = &text[cursor.skip()?];
        }
    }
    if !cursor.take(b']') || !cursor.finished() {
        return Err(Unreadable::Syntax);
    }
    let known = ERROR_CODES.contains(&&*frame.name);
    let description = description.unwrap_or_default();
    let kept = if context.to == Side::Station {
        description.clone()
    } else if context.rules.purposes[Side::Csms as usize].has(Purpose::Quality) {
        text::scrub(&description, |word| memory.watch.knows(word))
    } else {
        Cow::Borrowed("")
    };
    let untouched = context.rules.allow_all || (known && readable && kept == description && details == "{}" && frame.id == id);
    let out = &mut treated.frame.text;
    let mut id_place = frame.id_span.clone();
    if untouched {
        out.push_str(text);
    } else {
        out.push_str(if frame.kind == Kind::CallError { "[4," } else { "[5," });
        id_place.start = out.len();
        // What was a number stays one.
        if frame.id == id {
            out.push_str(&text[frame.id_span.clone()]);
        } else {
            write_string(out, id);
        }
        id_place.end = out.len();
        out.push_str(",\"");
        out.push_str(if known { &frame.name } else { "GenericError" });
        out.push_str("\",");
        write_string(out, kept.get(..255).unwrap_or(&kept));
        out.push_str(",{}]");
    }
    let withheld = u32::from(kept != description || !readable) + u32::from(details != "{}") + u32::from(!known);
    treated.tally.withheld = withheld;
    if frame.kind == Kind::CallError {
        // The caller chose this id itself; that it comes back must not tell it anything (I5).
        treated.tally.exempt.push(id_place);
    }
    treated.verdict = Verdict::Kept;
    treated.changed = !untouched;
    Ok(())
}

/// The error codes of OCPP-J 1.6 §4.2.3 and OCPP 2.1 Part 4 §4.3.
const ERROR_CODES: [&str; 15] = [
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
    "MessageTypeNotSupported",
    "RpcFrameworkError",
    "TimeoutError",
];
