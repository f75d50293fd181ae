//! What is judged: everything that came to either end, and whether it may have.

use super::super::canary::{Canary, bare};
use super::super::judge;
use super::super::line::Event;
use super::super::script::{Class, End};
use super::super::ws::{self, Heard};
use super::{FLOOD, MAX_SEEN, MAX_TAPS, Pending, Scene};
use serde_json::Value;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

impl Scene<'_> {
    pub(super) fn look_at_request(&mut self, request: &[u8]) {
        let text = String::from_utf8_lossy(request).into_owned();
        self.look(&text, "the handshake");
        // It may hold the station's credentials, which are nobody else's to read.
        let shown: Vec<&str> = text.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("authorization")).collect();
        self.note("csms got", &shown.join("\n"));
    }

    /// The leak oracle on what the central system got.
    pub(super) fn look(&mut self, text: &str, place: &str) {
        self.world.stats.checks.fetch_add(1, Ordering::Relaxed);
        let hits = self.secrets.find(text.as_bytes());
        let other =
            hits.is_empty().then(|| self.world.others.lock().unwrap_or_else(PoisonError::into_inner).find(text.as_bytes())).flatten();
        if let Some(other) = other {
            let what = format!("the central system was sent {other} on the connection of a station that never said it, in {place}");
            self.found(Class::Leak, &format!("other:{place}"), what);
        }
        for hit in hits {
            let Canary { text, class, .. } = &self.script.canaries[hit.canary];
            let what = format!("the central system was sent the {class:?} {text} {} in {place}", hit.how);
            self.found(Class::Leak, &format!("{place}:{}", hit.how), what);
        }
        if self.seen.len() + text.len() < MAX_SEEN {
            self.seen.push_str(&text.to_ascii_uppercase());
            self.seen.push('\n');
        }
    }

    pub(super) async fn take(&mut self, end: End, event: Event) {
        match event {
            Event::Gone => {
                if let Some(line) = &mut self.line {
                    line.closed[end as usize] = true;
                }
            }
            Event::Heard(Heard::Text(text)) => self.text(end, &text).await,
            Event::Heard(Heard::Binary(bytes)) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.text(end, &text).await;
            }
            Event::Heard(Heard::Ping(payload)) if end == End::Csms => self.look(&String::from_utf8_lossy(&payload), "a ping"),
            Event::Heard(Heard::Ping(_) | Heard::Pong) => {}
            Event::Heard(Heard::Close(code, reason)) => {
                let reason = String::from_utf8_lossy(&reason).into_owned();
                self.note(if end == End::Station { "station got" } else { "csms got" }, &format!("close {code} {reason}"));
                if end == End::Csms {
                    self.look(&reason, "a close reason");
                }
                if let Some(line) = &mut self.line {
                    line.closed[end as usize] = true;
                }
            }
            Event::Heard(Heard::Broken(how)) => {
                self.found(Class::WrongAnswer, how, format!("{} was sent what RFC 6455 forbids: {how}", end.name()));
                if let Some(line) = &mut self.line {
                    line.closed[end as usize] = true;
                }
            }
        }
    }

    async fn text(&mut self, end: End, text: &str) {
        self.world.stats.frames.fetch_add(1, Ordering::Relaxed);
        self.note(if end == End::Station { "station got" } else { "csms got" }, text);
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            if end == End::Csms {
                self.look(text, "what is no JSON");
            }
            return self.found(Class::Altered, "json", format!("{} was sent what is no JSON", end.name()));
        };
        let kind = frame[0].as_u64().unwrap_or_default();
        let id = frame[1].as_str().unwrap_or_default().to_owned();
        let action = match kind {
            2 | 6 => frame[2].as_str().unwrap_or_default().to_owned(),
            _ => self.last(end, &id).map_or("an answer".to_owned(), |p| format!("the answer to {}", p.call.action)),
        };
        if end == End::Csms {
            self.look(text, &action);
        } else {
            judge::strings(&frame, &mut |word| {
                if self.heard.len() < 4 * MAX_TAPS {
                    self.heard.insert(word.to_owned());
                }
            });
            for hit in self.guesses.find(text.as_bytes()) {
                let what =
                    format!("the station was sent {}, a guess of the central system, in {action}", self.script.canaries[hit.canary].text);
                self.found(Class::Oracle, &action, what);
            }
        }
        match kind {
            2 | 6 => self.arrived(end, kind, &id, &action, &frame[3]).await,
            3 | 4 => self.answered(end, kind, &id, &frame, text),
            5 if self.loose[end.other() as usize] => {}
            _ => self.found(Class::Altered, "kind", format!("{} was sent a message of an unknown kind", end.name())),
        }
    }

    pub(super) fn last(&self, from: End, id: &str) -> Option<&Pending> {
        self.pending.iter().rev().find(|p| p.call.from == from && p.call.id == id)
    }

    /// A CALL arrived at `end`.
    async fn arrived(&mut self, end: End, kind: u64, id: &str, action: &str, payload: &Value) {
        let from = end.other();
        let known = self.pending.iter().any(|p| p.call.from == from && p.call.id == id);
        if id.starts_with(FLOOD) || !known && self.flooding == Some((from, action)) && self.flooded.1 < self.flooded.0 {
            let answer = if end == End::Csms { r#"{"currentTime":"2026-11-24T10:00:00Z"}"# } else { r#"{"status":"Accepted"}"# };
            return self.send(end, ws::TEXT, &format!("[3,{},{answer}]", Value::from(id))).await;
        }
        let open = |p: &Pending| p.call.from == from && !p.arrived && p.call.action == action;
        let by_id = self.pending.iter().rposition(|p| open(p) && p.call.id == id);
        let Some(at) = by_id.or_else(|| self.pending.iter().position(|p| open(p) && p.answered == 0)) else {
            if !self.loose[from as usize] {
                self.found(Class::Altered, &format!("twice:{action}"), format!("{} was sent a {action} that nobody sent", end.name()));
            }
            if kind == 2 {
                self.send(end, ws::TEXT, &format!(r#"[4,{},"NotSupported","",{{}}]"#, Value::from(id))).await;
            }
            return;
        };
        self.pending[at].arrived = true;
        let Pending { call, sent, codes, .. } = &self.pending[at];
        let (answers, valid, codes) = (call.answers.clone(), call.valid, codes.clone());
        let changed = valid.then(|| judge::changed(action, sent, payload)).flatten();
        let learnt = judge::learnt(&self.script.canaries, end, sent, payload);
        if let Some(wrong) = valid.then(|| self.messages.wrong(action, false, payload)).flatten() {
            self.found(Class::Altered, &format!("invalid:{action}"), format!("the {action} that arrived is not valid: {wrong}"));
        }
        if let Some(name) = changed {
            self.found(Class::Altered, &format!("{action}.{name}"), format!("{name} of {action} arrived changed"));
        }
        for (canary, code) in learnt {
            self.codes[canary] = Some(code);
        }
        self.check_restored(&codes, action, payload, true);
        for answer in answers {
            let text = self.filled(&answer, id);
            self.send(end, ws::TEXT, &text).await;
        }
    }

    /// Where the central system sent codes, the station gets its own identifiers back.
    fn check_restored(&mut self, codes: &[usize], action: &str, payload: &Value, whole: bool) {
        let text = bare(&payload.to_string());
        for canary in codes {
            let Some(code) = self.codes[*canary].clone() else { continue };
            let original = &self.script.canaries[*canary].text;
            if text.contains(&bare(&code)) || whole && !text.contains(&bare(original)) {
                let what = format!("the station was sent the code {code} instead of {original} in {action}");
                self.found(Class::Unrestored, action, what);
            }
        }
    }

    /// A CALLRESULT or CALLERROR came to `end`.
    fn answered(&mut self, end: End, kind: u64, id: &str, frame: &Value, text: &str) {
        self.world.stats.checks.fetch_add(1, Ordering::Relaxed);
        if id.starts_with(FLOOD) {
            self.flooded.1 += 1;
            return;
        }
        let Some(at) = self.pending.iter().rposition(|p| p.call.from == end && p.call.id == id) else {
            if !self.loose[end as usize] {
                self.found(Class::WrongAnswer, "nothing", format!("{} got an answer to nothing: {}", end.name(), judge::short(text)));
            }
            return;
        };
        let pending = &mut self.pending[at];
        pending.answered += 1;
        pending.answer = Value::from(frame.as_array().map_or(&[][..], |f| &f[2..]).to_vec());
        let (action, twice) = (pending.call.action.clone(), pending.answered > 1);
        // What the peer worded itself and worded wrongly need not come back right.
        let must_be_valid = pending.call.valid || !pending.arrived;
        let hidden: Vec<usize> = (0..self.codes.len())
            .filter(|n| pending.arrived && pending.call.answers.iter().any(|a| a.contains(&format!("${{code:{n}}}"))))
            .collect();
        if twice {
            self.found(Class::WrongAnswer, &format!("twice:{action}"), format!("{}'s {action} was answered twice", end.name()));
        }
        let wrong = match kind {
            3 if frame.as_array().is_some_and(|f| f.len() != 3) => Some("a CALLRESULT has three parts".to_owned()),
            3 if must_be_valid => self.messages.wrong(&action, true, &frame[2]),
            3 => None,
            _ => judge::wrong_error(self.messages.version, frame, must_be_valid),
        };
        if let Some(wrong) = wrong {
            let what = format!("the answer to {}'s {action} is not valid: {wrong}: {}", end.name(), judge::short(text));
            self.found(Class::WrongAnswer, &action, what);
        }
        if end == End::Station {
            self.check_restored(&hidden, &format!("the answer to {action}"), &frame[2], false);
        }
    }
}
