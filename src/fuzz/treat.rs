//! One message and its answer through the treatment, by every profile: nothing of what a station plants comes out, no guess of the central
//! system reaches a station, what goes out is JSON in form, what was valid stays valid, and a policy that lets all pass changes no byte.
//!
//! The first byte says how the rest is read: below 128 as [choices](Choices) that shape a message of the catalogue, else as the text of a frame,
//! in which [`CARD`] is the canary.

use super::canary::{Canaries, Class, Planted, plain};
use super::choices::Choices;
use super::lock::{Lock, PROFILES};
use super::message::{BOOK, Shaped, Shaper};
use crate::ocpp::catalogue::MessageSpec;
use crate::ocpp::json::write_string;
use crate::ocpp::{Side, Version};
use crate::session::Outcome;
use std::fmt::Write as _;

/// The canary of inputs that are frames.
pub const CARD: &str = "04CA11AB1E5A1D";

/// Treats a message.
///
/// # Panics
/// If it leaks or comes out broken.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mode = choices.byte();
    let version = *choices.one_of(&Version::ALL);
    let profile = choices.one_of(&*PROFILES);
    let mut lock = Lock::new(version, profile);
    if mode >= 128 {
        given_frame(&mut lock, choices);
    } else {
        shaped(&mut lock, choices);
    }
}

fn shaped(lock: &mut Lock<'_>, mut choices: Choices<'_>) {
    let scene = choices.byte();
    let mut canaries = Canaries::new(scene);
    if scene & 4 != 0 {
        show_a_card(lock, &mut canaries, &mut choices);
    }
    let caller = if scene & 1 == 0 { Side::Station } else { Side::Csms };
    let (action, spec) = *choices.one_of(&BOOK.sent_by(lock.version, caller));
    let call = call(lock, &mut canaries, &mut choices, caller, action, spec);
    let Some(id) = exchange(lock, caller, action, &call) else { return };
    if scene & 2 != 0 {
        let answer = answer(lock, &mut canaries, &mut choices, caller.other(), &id, spec);
        exchange(lock, caller.other(), action, &answer);
    }
}

/// Makes a card known on the connection, so that the tripwire watches for it.
fn show_a_card(lock: &mut Lock<'_>, canaries: &mut Canaries, choices: &mut Choices<'_>) {
    let frame = a_card(lock, canaries, choices);
    let passed = lock.pass(Side::Station, frame.as_bytes());
    assert!(passed.sent.iter().any(|(to, _)| *to == Side::Csms), "a card was not passed on: {frame}");
    lock.pass(Side::Csms, ACCEPTED.as_bytes());
}

/// The answer to [`a_card`].
pub(super) const ACCEPTED: &str = "[3,\"a\",{}]";

/// The frame in which a station shows a card.
pub(super) fn a_card(lock: &mut Lock<'_>, canaries: &mut Canaries, choices: &mut Choices<'_>) -> String {
    let class = [Class::Rfid7, Class::Rfid4, Class::Rfid10, Class::Emaid][choices.below(4)];
    let card = canaries.spelt(class, choices.byte() & 0xf3);
    lock.plant(Side::Station, vec![(Planted::new(card.clone(), class, "token"), false)]);
    match lock.version {
        Version::V16 => format!("[2,\"a\",\"Authorize\",{{\"idTag\":\"{card}\"}}]"),
        _ => format!("[2,\"a\",\"Authorize\",{{\"idToken\":{{\"idToken\":\"{card}\",\"type\":\"ISO14443\"}}}}]"),
    }
}

/// A frame that was shaped.
pub(super) struct Made {
    pub(super) text: String,
    pub(super) id: String,
    pub(super) valid: bool,
    pub(super) planted: Vec<(Planted, bool)>,
}

/// A CALL, or a SEND where the message is one.
pub(super) fn call(
    lock: &Lock<'_>,
    canaries: &mut Canaries,
    choices: &mut Choices<'_>,
    from: Side,
    action: &str,
    spec: &MessageSpec,
) -> Made {
    let kind = if spec.kind.as_deref() == Some("send") { 6 } else { 2 };
    let mut planted = Vec::new();
    let id = message_id(canaries, choices, &mut planted);
    let shaped = Shaper::payload(choices, canaries, &lock.known, lock.version, from, &spec.request, false);
    let mut text = format!("[{kind},");
    write_string(&mut text, &id);
    let _ = write!(text, ",\"{action}\",{}]", shaped.text);
    planted.extend(shaped.planted);
    Made { text, id, valid: shaped.valid, planted }
}

/// A CALLRESULT, or a CALLERROR with whatever in it.
pub(super) fn answer(
    lock: &Lock<'_>,
    canaries: &mut Canaries,
    choices: &mut Choices<'_>,
    from: Side,
    id: &str,
    spec: &MessageSpec,
) -> Made {
    let mut text = String::new();
    let error = choices.rarely(64);
    text.push_str(if error { "[4," } else { "[3," });
    write_string(&mut text, id);
    let shaped = if error {
        let code = ["InternalError", "GenericError", "FormationViolation", "made up"][choices.below(4)];
        let words = ["", "no: ", "card=", "{\\\"idTag\\\":\\\""][choices.below(4)];
        let mut planted = Vec::new();
        let mut secret = |field| {
            let (text, class) = canaries.make(choices, 100).unwrap_or_else(|| (CARD.to_owned(), Class::Rfid7));
            planted.push((Planted::new(text.clone(), class, field), false));
            text
        };
        let (description, detail) = (secret("description"), secret("unknown"));
        let _ = write!(text, ",\"{code}\",\"{words}{description}\",{{\"{detail}\":\"{detail}\"}}]");
        Shaped { text: String::new(), planted, valid: false }
    } else {
        let shaped = Shaper::payload(choices, canaries, &lock.known, lock.version, from, &spec.response, true);
        text.extend([",", &shaped.text, "]"]);
        shaped
    };
    Made { text, id: id.to_owned(), valid: shaped.valid, planted: shaped.planted }
}

fn message_id(canaries: &mut Canaries, choices: &mut Choices<'_>, planted: &mut Vec<(Planted, bool)>) -> String {
    match choices.below(8) {
        0..4 => "m1".to_owned(),
        4 => "0f6d1b0a-3c59-4b6e-9d3a-6f1c2d34aa01".to_owned(),
        5 => "x".repeat(choices.below(200)),
        6 => "\"\\\u{7}".to_owned(),
        _ => {
            let Some((text, class)) = canaries.make(choices, 36) else { return String::new() };
            planted.push((Planted::new(text.clone(), class, "id"), false));
            text
        }
    }
}

/// Passes a frame through. Gives back the id under which its recipient knows it, if it was a CALL and went on.
pub(super) fn exchange(lock: &mut Lock<'_>, from: Side, action: &str, made: &Made) -> Option<String> {
    lock.plant(from, made.planted.clone());
    let passed = lock.pass(from, made.text.as_bytes());
    let call = made.text.starts_with("[2");
    assert!(passed.sent.len() <= 2, "more than the frame and an answer");
    if lock.allows_all() {
        let depth = made.id.len() <= 128;
        let whole = passed.sent.as_slice() == [(from.other(), made.text.clone())];
        // What is no JSON, and an id that is too long, are refused by every policy.
        assert!(whole || !depth || passed.outcome == Outcome::Refused && !made.valid, "changed: {} into {:?}", made.text, passed.sent);
    }
    let mut went_on = None;
    for (to, text) in &passed.sent {
        if *to == from.other() && text.starts_with("[2") {
            went_on = crate::ocpp::frame::Frame::read(text).ok().map(|frame| frame.id.into_owned());
        }
        if !lock.allows_all() && (made.valid || *to == from && call) {
            lock.check_valid(text, action);
        }
    }
    assert!(!call || !passed.sent.is_empty(), "a CALL without an answer: {}", made.text);
    went_on
}

/// A frame as it is, from a station that has perhaps shown the card.
fn given_frame(lock: &mut Lock<'_>, mut choices: Choices<'_>) {
    let how = choices.byte();
    let Ok(text) = std::str::from_utf8(choices.rest()) else { return };
    if how & 2 != 0 {
        lock.pass(Side::Station, format!("[2,\"a\",\"Authorize\",{{\"idTag\":\"{CARD}\"}}]").as_bytes());
    }
    let from = if how & 1 == 0 { Side::Station } else { Side::Csms };
    let passed = lock.pass(from, text.as_bytes());
    for (to, sent) in &passed.sent {
        if *to == from {
            continue;
        }
        assert!(!lock.allows_all() || sent == text, "changed: {text} into {sent}");
        // What sloppy firmware puts around a frame is cut off.
        let plain = text.trim_start_matches('\u{feff}').trim_end_matches('\0');
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(plain).is_ok(), "no JSON, and passed on: {text}");
        assert!(lock.allows_all() || from == Side::Csms || how & 4 != 0 || !shows_card(sent), "leaks: {sent} from {text}");
    }
}

/// Whether [`CARD`] is in a text as cards are spelt: in one piece, or in pairs with one kind of separator between them. Not as a part of
/// something longer that can only be a digest or a certificate.
fn shows_card(text: &str) -> bool {
    if memchr::memmem::find(&plain(text), CARD.as_bytes()).is_none() || text.contains("-----BEGIN") {
        return false;
    }
    text.split('"').any(|part| {
        let part = part.to_ascii_uppercase();
        let one_piece = part.find(CARD).is_some_and(|at| {
            let within = |c: char| c.is_ascii_alphanumeric() || "+/=-_".contains(c);
            let before = part[..at].chars().rev().take_while(|c| within(*c)).count();
            let after = part[at + CARD.len()..].chars().take_while(|c| within(*c)).count();
            before + after + CARD.len() < 32
        });
        let pairs = [":", "-", " ", "."].iter().any(|mark| {
            let pairs: Vec<&str> = (0..7).map(|n| &CARD[2 * n..2 * n + 2]).collect();
            let spelt = pairs.join(mark);
            part.find(&spelt).is_some_and(|at| {
                let alone = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
                alone(part[..at].chars().next_back()) && alone(part[at + spelt.len()..].chars().next())
            })
        });
        one_piece || pairs
    })
}
