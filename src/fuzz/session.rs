//! A whole conversation in any order: CALLs of both sides, answers right and wrong, late and twice, retries, ids used again, errors, complaints
//! (CALLRESULTERROR), unconfirmed messages and rubbish. Beside what holds of each step (see `lock.rs`): no CALL gets more answers than it was
//! sent times, one that was passed on is answered under its sender's own id, and no more wait than may.

use super::canary::Canaries;
use super::choices::Choices;
use super::lock::{Lock, PROFILES, Passed};
use super::message::BOOK;
use super::treat::{ACCEPTED, Made, a_card, answer, call};
use crate::ocpp::catalogue::MessageSpec;
use crate::ocpp::frame::Frame;
use crate::ocpp::json::write_string;
use crate::ocpp::{Kind, Side, Version};
use crate::session::MAX_PENDING;
use std::collections::HashMap;

/// Frames of a conversation at most.
const LONGEST: usize = 64;
/// Ids that a side uses again and again.
const IDS: [&str; 6] = ["1", "2", "04A2B3C4D5E6F7", "0f6d1b0a-3c59-4b6e-9d3a-6f1c2d34aa01", "\u{e9}\"\\", ""];

/// Plays a conversation.
///
/// # Panics
/// If something that must hold does not.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let version = *choices.one_of(&Version::ALL);
    // All but the one that lets everything pass: it keeps no promise that could be broken here.
    let profile = choices.one_of(&PROFILES[..3]);
    let mut talk = Talk {
        lock: Lock::twice(version, profile),
        canaries: Canaries::new(choices.byte()),
        waiting: Default::default(),
        count: Default::default(),
        last: None,
    };
    for _ in 0..LONGEST {
        if choices.is_empty() {
            break;
        }
        talk.turn(&mut choices);
    }
}

/// A CALL that was passed on.
struct Waiting {
    /// The id that its recipient knows.
    sent: String,
    spec: Option<&'static MessageSpec>,
}

/// What a side has sent and got under one id.
#[derive(Default)]
struct Count {
    calls: usize,
    answers: usize,
}

struct Talk<'p> {
    lock: Lock<'p>,
    canaries: Canaries,
    /// By the side that sent the CALL.
    waiting: [Vec<Waiting>; 2],
    count: [HashMap<String, Count>; 2],
    last: Option<(Side, String, Option<&'static MessageSpec>)>,
}

impl Talk<'_> {
    fn turn(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        let from = if what & 1 == 0 { Side::Station } else { Side::Csms };
        match what >> 1 & 15 {
            0..=4 => self.call(from, choices),
            5..=9 => self.answer(from, choices),
            10 => {
                if let Some((from, text, spec)) = self.last.clone() {
                    self.pass(from, &text, spec);
                }
            }
            11 => {
                let id = self.some_id(from, choices);
                self.say(from, &id, |id| format!("[5,{id},\"FormatViolation\",\"card 04:A2:B3:C4\",{{\"x\":1}}]"));
            }
            12 => {
                let id = self.some_id(from, choices);
                self.say(from, &id, |id| format!("[6,{id},\"NotifyPeriodicEventStream\",{{\"id\":1,\"pending\":0,\"basetime\":\"2026-11-24T10:00:00Z\",\"data\":[]}}]"));
            }
            13 => {
                let text = a_card(&mut self.lock, &mut self.canaries, choices);
                self.pass(Side::Station, &text, None);
                self.pass(Side::Csms, ACCEPTED, None);
            }
            14 => {
                // Time goes on, or back: the clocks of machines do.
                self.lock.now.0 += [1, 60_000, 900_000, -3_600_000, 86_400_000][choices.below(5)];
                for n in 0..choices.below(80) {
                    let text = format!("[2,\"f{n}\",\"Heartbeat\",{{}}]");
                    self.pass(from, &text, None);
                }
            }
            _ => {
                let rubbish = choices.some(60);
                let text = String::from_utf8_lossy(rubbish).into_owned();
                self.pass(from, &text, None);
            }
        }
    }

    fn call(&mut self, from: Side, choices: &mut Choices<'_>) {
        let (action, spec) = *choices.one_of(&BOOK.sent_by(self.lock.version, from));
        let made = call(&self.lock, &mut self.canaries, choices, from, action, spec);
        let made = if choices.byte() & 1 == 0 { renamed(made, choices.one_of::<&str>(&IDS)) } else { made };
        self.lock.plant(from, made.planted.clone());
        self.pass(from, &made.text, Some(spec));
        self.last = Some((from, made.text, Some(spec)));
    }

    fn answer(&mut self, from: Side, choices: &mut Choices<'_>) {
        let waiting = &self.waiting[from.other() as usize];
        let known = if waiting.is_empty() { None } else { Some(choices.one_of(waiting)) };
        let (id, spec) = match known {
            Some(waiting) if !choices.rarely(32) => (waiting.sent.clone(), waiting.spec),
            _ => ((*choices.one_of(&IDS)).to_owned(), None),
        };
        let spec = spec.unwrap_or_else(|| BOOK.message(self.lock.version, "Heartbeat"));
        let made = answer(&self.lock, &mut self.canaries, choices, from, &id, spec);
        self.lock.plant(from, made.planted.clone());
        self.pass(from, &made.text, None);
        self.last = Some((from, made.text, None));
    }

    fn some_id(&self, from: Side, choices: &mut Choices<'_>) -> String {
        let used: Vec<&String> = self.count[from as usize].keys().collect();
        let mut used: Vec<&str> = used.into_iter().map(String::as_str).collect();
        used.sort_unstable();
        used.extend(IDS);
        (*choices.one_of(&used)).to_owned()
    }

    fn say(&mut self, from: Side, id: &str, words: impl FnOnce(&str) -> String) {
        let mut quoted = String::new();
        write_string(&mut quoted, id);
        let text = words(&quoted);
        self.pass(from, &text, None);
    }

    fn pass(&mut self, from: Side, text: &str, spec: Option<&'static MessageSpec>) {
        let read = Frame::read(text).ok();
        let id = read.as_ref().map(|frame| frame.id.clone().into_owned());
        if let (Some(frame), Some(id)) = (&read, &id)
            && frame.kind == Kind::Call
        {
            self.count[from as usize].entry(id.clone()).or_default().calls += 1;
        }
        let Passed { sent, .. } = self.lock.pass(from, text.as_bytes());
        assert!([Side::Station, Side::Csms].into_iter().all(|side| self.lock.waiting(side) <= MAX_PENDING), "more CALLs wait than may");
        for (to, text) in &sent {
            let Ok(frame) = Frame::read(text) else { panic!("no frame: {text}") };
            match frame.kind {
                Kind::Call => {
                    assert_eq!(*to, from.other(), "a CALL went back to its sender");
                    self.waiting[from as usize].push(Waiting { sent: frame.id.into_owned(), spec });
                }
                Kind::CallResult | Kind::CallError => self.answered(*to, &frame.id, id.as_deref(), from),
                Kind::CallResultError | Kind::Send => assert_eq!(*to, from.other(), "an unconfirmed message went back"),
            }
        }
        for waiting in &mut self.waiting {
            // The oldest beyond this were answered with an error.
            let over = waiting.len().saturating_sub(MAX_PENDING);
            waiting.drain(..over);
        }
    }

    fn answered(&mut self, to: Side, id: &str, received: Option<&str>, from: Side) {
        // `-1` is the standard's id for what had none that could be read or is too long to be said again.
        let id = match received {
            Some(received) if id == "-1" && to == from => received,
            None if id == "-1" => return,
            _ => id,
        };
        let count = self.count[to as usize].entry(id.to_owned()).or_default();
        count.answers += 1;
        assert!(count.answers <= count.calls || to == from && received.is_none(), "more answers than CALLs of that id");
        if to != from
            && let Some(received) = received
            && let Some(at) = self.waiting[to as usize].iter().position(|w| w.sent == received)
        {
            self.waiting[to as usize].remove(at);
        }
    }
}

/// The same frame under another id.
fn renamed(made: Made, id: &str) -> Made {
    let Ok(frame) = Frame::read(&made.text) else { return made };
    let mut text = made.text[..frame.id_span.start].to_owned();
    write_string(&mut text, id);
    text.push_str(&made.text[frame.id_span.end..]);
    Made { text, id: id.to_owned(), ..made }
}
