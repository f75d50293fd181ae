//! Makes scripts: from a seed and a round's number, and nothing else. Most rounds are conversations as stations and central systems have them,
//! full of canaries and guesses; the others break rules, or strain the gateway.

use super::canary::{self, Nest};
use super::dice::Dice;
use super::listener::KNOCK;
use super::messages::{Builder, Filling, Messages};
use super::rules;
use super::script::{Call, End, Script, Step};
use crate::ocpp::Version;
use serde_json::{Value, json};

/// What kinds of script there are, in the order of the rounds: a multiple of the versions would give each version its own kinds.
const KINDS: [Kind; 20] = [
    Kind::Conversation,
    Kind::Guesses,
    Kind::Conversation,
    Kind::Sloppy,
    Kind::Conversation,
    Kind::Broken,
    Kind::Conversation,
    Kind::Guesses,
    Kind::Conversation,
    Kind::Handshakes,
    Kind::Conversation,
    Kind::Sloppy,
    Kind::Conversation,
    Kind::Flood,
    Kind::Conversation,
    Kind::Broken,
    Kind::Conversation,
    Kind::Rival,
    Kind::Conversation,
    Kind::Crowd,
];
/// Actions of each side in one conversation: all of them are played within a few rounds, and a script stays short enough to be read.
const ACTIONS: usize = 14;

#[derive(Clone, Copy)]
enum Kind {
    Conversation,
    Guesses,
    Sloppy,
    Broken,
    Handshakes,
    Flood,
    Rival,
    Crowd,
}

/// What the command line bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) flood_frames: usize,
    pub(super) frame_bytes: usize,
    pub(super) crowd: usize,
}

/// The script of a round.
pub(super) fn script(seed: u64, round: u64, versions: &[Version], bounds: Bounds) -> Script {
    let place = usize::try_from(round).unwrap_or(usize::MAX);
    let version = versions[place % versions.len()];
    // Within 60 rounds each version has each kind.
    let kind = KINDS[place % KINDS.len()];
    let messages = Messages::of(version);
    let mut pen =
        Pen { dice: Dice::of_round(seed, round), nest: Nest::new(), messages: &messages, minutes: 0, id: 0, steps: vec![Step::Open] };
    let headers = pen.headers();
    let name = match kind {
        Kind::Conversation => pen.conversation(place / KINDS.len() * 10 + place % KINDS.len() / 2),
        Kind::Guesses => pen.guesses(place),
        Kind::Sloppy => pen.sloppy(),
        Kind::Broken => pen.broken(),
        Kind::Handshakes => pen.handshakes(),
        Kind::Flood => pen.flood(bounds),
        Kind::Rival => pen.rival(),
        Kind::Crowd => pen.crowd(bounds),
    };
    let Pen { nest, steps, .. } = pen;
    Script { seed, round, version: version.number().into(), name: name.into(), canaries: nest.all, headers, steps }
}

/// A station that comes, has a session and goes: whether the gateway still does its work.
pub(super) fn health(version: Version, number: u64) -> Script {
    let messages = Messages::of(version);
    let mut pen = Pen { dice: Dice::new(number), nest: Nest::new(), messages: &messages, minutes: 0, id: 0, steps: vec![Step::Open] };
    let card = pen.card();
    pen.session(&card);
    let Pen { nest, steps, .. } = pen;
    Script {
        seed: 0,
        round: number,
        version: version.number().into(),
        name: "health".into(),
        canaries: nest.all,
        headers: Vec::new(),
        steps,
    }
}

/// A Heartbeat that must get through.
pub(super) fn heartbeat(id: &str) -> Call {
    Call {
        from: End::Station,
        id: id.into(),
        action: "Heartbeat".into(),
        frame: json!([2, id, "Heartbeat", {}]).to_string(),
        answers: vec![r#"[3,${id},{"currentTime":"2026-11-24T10:00:00Z"}]"#.into()],
        valid: true,
        must_arrive: true,
    }
}

/// A station reads a card.
pub(super) fn authorize(version: Version, id: &str, text: &str) -> Call {
    let (payload, answer) = if version == Version::V16 {
        (json!({"idTag": text.chars().take(20).collect::<String>()}), r#"{"idTagInfo":{"status":"Accepted"}}"#)
    } else {
        let kind = if canary::bare(text).chars().all(|c| c.is_ascii_hexdigit()) { "ISO14443" } else { "Central" };
        (json!({"idToken": {"idToken": text, "type": kind}}), r#"{"idTokenInfo":{"status":"Accepted"}}"#)
    };
    Call {
        from: End::Station,
        id: id.into(),
        action: "Authorize".into(),
        frame: json!([2, id, "Authorize", payload]).to_string(),
        answers: vec![format!("[3,${{id}},{answer}]")],
        valid: true,
        must_arrive: false,
    }
}

/// Writes a script.
struct Pen<'a> {
    dice: Dice,
    nest: Nest,
    messages: &'a Messages,
    minutes: i64,
    id: u64,
    steps: Vec<Step>,
}

impl Pen<'_> {
    fn builder(&mut self, of: End) -> Builder<'_> {
        Builder { messages: self.messages, dice: &mut self.dice, nest: &mut self.nest, of, minutes: &mut self.minutes }
    }

    fn v16(&self) -> bool {
        self.messages.version == Version::V16
    }

    fn new_id(&mut self, from: End) -> String {
        self.id += 1;
        format!("{}{}", if from == End::Station { 's' } else { 'c' }, self.id)
    }

    fn canary(&mut self, of: End, classes: &[canary::Class], room: usize) -> String {
        self.nest.draw(&mut self.dice, of, classes, room).unwrap_or_default()
    }

    /// A card of the station's that fits in an idTag of 1.6.
    fn card(&mut self) -> String {
        self.canary(End::Station, &[canary::Class::Card, canary::Class::Card, canary::Class::Contract], 20)
    }

    fn place(&self, text: &str) -> usize {
        self.nest.all.iter().position(|c| c.text == text).unwrap_or_default()
    }

    fn call(&mut self, call: Call) {
        self.steps.push(Step::Calls { calls: vec![call] });
    }

    /// Header lines that a station has no business sending on.
    fn headers(&mut self) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        for name in ["User-Agent", "Cookie", "X-Forwarded-For", "X-Card", "From"] {
            if self.dice.chance(60) {
                headers.push((name.to_owned(), self.canary(End::Station, canary::ALL, 60)));
            }
        }
        headers
    }

    fn token(&self, text: &str, kind: &str) -> Value {
        if self.v16() { json!(text) } else { json!({"idToken": text, "type": kind}) }
    }

    /// A CALL that is what the standard says, with its answer. `None`: it cannot be made with this filling.
    fn made(&mut self, from: End, action: &str, full: bool, filling: &Filling, answer: Option<String>) -> Option<Call> {
        let payload = self.builder(from).request(action, full, filling)?;
        let mut id = self.new_id(from);
        if from == End::Station && self.dice.chance(8) {
            id = self.canary(End::Station, canary::NAMES, 36);
        }
        let frame = json!([2, id, action, payload]).to_string();
        let frame = if self.dice.chance(10) { rules::respelt(&mut self.dice, &frame, action) } else { frame };
        let valid = answer.as_ref().is_some_and(|a| a.starts_with("[3"));
        let answers = vec![answer.unwrap_or_else(|| r#"[4,${id},"NotImplemented","",{}]"#.into())];
        Some(Call { from, id, action: action.into(), frame, answers, valid, must_arrive: false })
    }

    fn result(&mut self, of: End, action: &str, full: bool, filling: &Filling) -> Option<String> {
        let payload = self.builder(of).response(action, full, filling)?;
        Some(format!("[3,${{id}},{payload}]"))
    }

    /// A CALLERROR of an end, as talkative as it may be.
    fn error(&mut self, of: End) -> String {
        if of == End::Csms {
            return r#"[4,${id},"InternalError","out of order",{"retry":true}]"#.into();
        }
        let (what, key, value) = (self.canary(of, canary::ALL, 60), self.canary(of, canary::ALL, 60), self.canary(of, canary::ALL, 60));
        format!("[4,${{id}},\"InternalError\",{},{}]", Value::from(format!("failed for {what}")), json!({key: value}))
    }

    /// What the central system answers a station.
    fn reply(&mut self, action: &str) -> Option<String> {
        match self.dice.roll(5) {
            0 => Some(self.error(End::Csms)),
            1 => self.result(End::Csms, action, true, &Filling::Guesses),
            2 => self.result(End::Csms, action, true, &Filling::Named(None)),
            _ => self.result(End::Csms, action, false, &Filling::Named(None)),
        }
    }

    // --- conversations ---------------------------------------------------------------------------------------------------------------

    /// A driver comes, charges and goes, once by his card and once by remote start.
    fn session(&mut self, card: &str) {
        let place = self.place(card);
        let kind = if canary::bare(card).chars().all(|c| c.is_ascii_hexdigit()) { "ISO14443" } else { "eMAID" };
        self.boot();
        self.read(card, kind);
        let code = self.token(&format!("${{code:{place}}}"), kind);
        let id = self.new_id(End::Csms);
        let (action, order) = if self.v16() {
            ("RemoteStartTransaction", json!({"connectorId": 1, "idTag": code}))
        } else {
            ("RequestStartTransaction", json!({"evseId": 1, "remoteStartId": 5, "idToken": code}))
        };
        self.ordered(&id, action, &order, r#"{"status":"Accepted"}"#);
        let (start, tx) = (self.builder(End::Station).time(), self.dice.letters(b"0123456789abcdef", 12));
        let token = self.token(card, kind);
        if self.v16() {
            let payload = json!({"connectorId": 1, "idTag": token, "meterStart": 1200, "timestamp": start});
            self.said("StartTransaction", &payload, r#"{"idTagInfo":{"status":"Accepted"},"transactionId":4711}"#);
            for (context, value) in [("Sample.Periodic", 4000), ("Sample.Periodic", 9000)] {
                let at = self.builder(End::Station).time();
                let values = json!([{"timestamp": at, "sampledValue": [{"value": value.to_string(), "context": context, "measurand": "Energy.Active.Import.Register", "unit": "Wh"}]}]);
                self.said("MeterValues", &json!({"connectorId": 1, "transactionId": 4711, "meterValue": values}), "{}");
            }
            let end = self.builder(End::Station).time();
            let payload = json!({"transactionId": 4711, "idTag": card, "meterStop": 23_400, "timestamp": end, "reason": "Local"});
            self.said("StopTransaction", &payload, r#"{"idTagInfo":{"status":"Accepted"}}"#);
        } else {
            for (number, kind, reason) in
                [(0, "Started", "Authorized"), (1, "Updated", "MeterValuePeriodic"), (2, "Ended", "StopAuthorized")]
            {
                let at = self.builder(End::Station).time();
                let value = json!([{"timestamp": at, "sampledValue": [{"value": 1200 + number * 7000, "measurand": "Energy.Active.Import.Register"}]}]);
                let mut payload = json!({
                    "eventType": kind, "timestamp": at, "triggerReason": reason, "seqNo": number,
                    "transactionInfo": {"transactionId": tx}, "evse": {"id": 1, "connectorId": 1}, "meterValue": value,
                });
                if number != 1 {
                    payload["idToken"] = token.clone();
                }
                let answer = if number == 1 { "{}" } else { r#"{"idTokenInfo":{"status":"Accepted"}}"# };
                self.said("TransactionEvent", &payload, answer);
            }
        }
    }

    fn boot(&mut self) {
        let answer = r#"{"currentTime":"2026-11-24T10:00:00Z","interval":300,"status":"Accepted"}"#;
        if let Some(payload) = self.builder(End::Station).request("BootNotification", true, &Filling::Credible) {
            self.said("BootNotification", &payload, answer);
        }
    }

    fn read(&mut self, card: &str, kind: &str) {
        let token = self.token(card, kind);
        let (payload, answer) = if self.v16() {
            (json!({"idTag": token}), r#"{"idTagInfo":{"status":"Accepted"}}"#)
        } else {
            (json!({"idToken": token}), r#"{"idTokenInfo":{"status":"Accepted"}}"#)
        };
        self.said("Authorize", &payload, answer);
    }

    /// A CALL of the station's that must arrive.
    fn said(&mut self, action: &str, payload: &Value, answer: &str) {
        let id = self.new_id(End::Station);
        let frame = json!([2, id, action, payload]).to_string();
        let answers = vec![format!("[3,${{id}},{answer}]")];
        self.call(Call { from: End::Station, id, action: action.into(), frame, answers, valid: true, must_arrive: true });
    }

    /// A CALL of the central system's that must arrive.
    fn ordered(&mut self, id: &str, action: &str, payload: &Value, answer: &str) {
        let frame = json!([2, id, action, payload]).to_string();
        let answers = vec![format!("[3,${{id}},{answer}]")];
        self.call(Call { from: End::Csms, id: id.into(), action: action.into(), frame, answers, valid: true, must_arrive: true });
    }

    fn conversation(&mut self, number: usize) -> &'static str {
        let card = self.card();
        self.session(&card);
        let code = Filling::Named(Some(format!("${{code:{}}}", self.place(&card))));
        let (up, down) = (self.messages.actions(End::Station, true), self.messages.actions(End::Csms, true));
        for turn in 0..ACTIONS {
            let action = &up[(number * ACTIONS + turn) % up.len()];
            let filling = if self.dice.chance(50) { Filling::Canaries } else { Filling::Credible };
            let (full, reply) = (self.dice.chance(75), self.reply(action));
            let Some(mut call) = self.made(End::Station, action, full, &filling, reply) else { continue };
            if self.dice.chance(8) {
                // It answers twice, and first what nobody asked.
                let again = call.answers[0].clone();
                call.answers = vec![r#"[3,"nobody",{"status":"Accepted"}]"#.into(), again.clone(), again];
            }
            self.steps.push(Step::Calls { calls: vec![call] });
            let action = &down[(number * ACTIONS + turn) % down.len()];
            let reply = match self.dice.roll(5) {
                0 => Some(self.error(End::Station)),
                1 => self.result(End::Station, action, false, &Filling::Canaries),
                2 => self.result(End::Station, action, true, &Filling::Credible),
                _ => self.result(End::Station, action, true, &Filling::Canaries),
            };
            let full = self.dice.chance(60);
            let Some(call) = self.made(End::Csms, action, full, &code, reply) else { continue };
            let mut calls = vec![call];
            if self.dice.chance(25) {
                // Both at once.
                let (action, reply) = ("StatusNotification", Some("[3,${id},{}]".to_owned()));
                calls.extend(self.made(End::Station, action, true, &Filling::Canaries, reply));
            }
            self.steps.push(Step::Calls { calls });
        }
        for action in self.messages.actions(End::Station, false) {
            if let Some(payload) = self.builder(End::Station).request(&action, true, &Filling::Canaries) {
                let text = json!([6, "u1", action, payload]).to_string();
                self.steps.push(Step::Say { from: End::Station, text, binary: false });
            }
        }
        let reason = self.canary(End::Station, canary::ALL, 60);
        self.steps.push(Step::Close { from: End::Station, code: 1000, reason: format!("bye {reason}") });
        "conversation"
    }

    /// The central system guesses, in every place; the station helps it as well as it can.
    fn guesses(&mut self, number: usize) -> &'static str {
        let card = self.card();
        self.boot();
        let kind = if canary::bare(&card).chars().all(|c| c.is_ascii_hexdigit()) { "ISO14443" } else { "eMAID" };
        self.read(&card, kind);
        let first = self.nest.all.len();
        let (up, down) = (self.messages.actions(End::Station, true), self.messages.actions(End::Csms, true));
        for turn in 0..ACTIONS {
            let action = &down[(number * ACTIONS / 2 + turn) % down.len()];
            let reply = self.result(End::Station, action, false, &Filling::Named(None));
            let full = self.dice.chance(70);
            if let Some(mut call) = self.made(End::Csms, action, full, &Filling::Guesses, reply) {
                call.valid = false;
                self.call(call);
            }
            let action = &up[(number * ACTIONS / 2 + turn) % up.len()];
            if let Some(reply) = self.result(End::Csms, action, true, &Filling::Guesses) {
                let call = self.made(End::Station, action, false, &Filling::Credible, Some(reply));
                call.into_iter().for_each(|call| self.call(call));
            }
        }
        self.steps.push(Step::Parrot);
        let stranger = self.canary(End::Csms, &[canary::Class::Card], 20);
        let action = if self.v16() { "RemoteStartTransaction" } else { "RequestStartTransaction" };
        let order = |token: Value| {
            let payload = if self.v16() { json!({"idTag": token}) } else { json!({"remoteStartId": 1, "idToken": token}) };
            format!("[2,\"MINE\",\"{action}\",{payload}]")
        };
        let frames = [order(self.token(&card, "Central")), order(self.token(&stranger, "Central"))];
        self.steps.push(Step::Alike { from: End::Csms, action: action.into(), frames });
        let disguised = self.canary(End::Csms, &[canary::Class::Card, canary::Class::Contract], 20);
        for text in rules::disguises(&disguised, self.v16()) {
            let id = self.new_id(End::Csms);
            let frame = text.replace("MINE", &id);
            let answers = vec![r#"[3,${id},{"status":"Accepted"}]"#.to_owned()];
            self.call(Call { from: End::Csms, id, action: action.into(), frame, answers, valid: false, must_arrive: false });
        }
        self.steps.push(Step::Parrot);
        let guessed: Vec<usize> = (first..self.nest.all.len()).filter(|at| self.nest.all[*at].of == End::Csms).collect();
        let fit = |at: &usize| self.nest.all[*at].text.len() <= 20;
        let canaries = guessed.iter().copied().filter(fit).rev().step_by(1 + guessed.len() / 8).collect();
        self.steps.push(Step::Reveal { canaries });
        "guesses"
    }

    // --- rules broken ------------------------------------------------------------------------------------------------------------------

    /// Messages that are not quite what the standard says, from both ends.
    fn sloppy(&mut self) -> &'static str {
        let card = self.card();
        self.boot();
        self.read(&card, "Central");
        let mut planted = Vec::new();
        for _ in 0..2 * ACTIONS {
            let from = if self.dice.chance(70) { End::Station } else { End::Csms };
            let actions = self.messages.actions(from, true);
            let action = self.dice.pick(&actions).clone();
            let filling = if from == End::Station { Filling::Canaries } else { Filling::Guesses };
            let reply = self.result(from.other(), &action, false, &Filling::Named(None));
            let Some(mut call) = self.made(from, &action, true, &filling, reply) else { continue };
            let classes = if from == End::Station { canary::NAMES } else { canary::TOKENS };
            let canary = self.canary(from, classes, 20);
            if from == End::Csms {
                // It may come to stand anywhere, also where the central system's own words pass.
                self.nest.all.iter_mut().filter(|c| c.text == canary).for_each(|c| c.harmless = true);
                planted.push(self.place(&canary));
            }
            call.frame = rules::mutated(&mut self.dice, &call.frame, &canary);
            call.valid = false;
            self.call(call);
        }
        for from in [End::Station, End::Csms] {
            let canary = self.canary(from, &[canary::Class::Card, canary::Class::Contract], 40);
            for text in rules::nonsense(&mut self.dice, &canary) {
                self.steps.push(Step::Open);
                let binary = self.dice.chance(10);
                self.steps.push(Step::Say { from, text, binary });
            }
        }
        self.steps.push(Step::Open);
        self.steps.push(Step::Reveal { canaries: planted });
        self.session(&card);
        "sloppy messages"
    }

    /// RFC 6455 broken below the messages.
    fn broken(&mut self) -> &'static str {
        for _ in 0..8 {
            let from = if self.dice.chance(60) { End::Station } else { End::Csms };
            let canary = self.canary(from, &[canary::Class::Card, canary::Class::Contract], 40);
            let (bytes, must_close) = rules::frames(&mut self.dice, from, &canary);
            self.steps.push(Step::Open);
            self.steps.push(Step::Bytes { from, hex: super::scene::hex(&bytes), must_close });
        }
        self.steps.push(Step::Health);
        "WebSocket rules broken"
    }

    fn handshakes(&mut self) -> &'static str {
        self.steps.clear();
        for _ in 0..8 {
            let canary = self.canary(End::Station, canary::NAMES, 30).replace(' ', "-");
            let (bytes, pieces) = rules::handshake(&mut self.dice, &canary, self.messages.version);
            self.steps.push(Step::Knock { hex: super::scene::hex(&bytes), pieces, marker: KNOCK.into() });
        }
        self.steps.push(Step::Health);
        "handshakes"
    }

    // --- strain ------------------------------------------------------------------------------------------------------------------------

    fn flood(&mut self, bounds: Bounds) -> &'static str {
        let from = if self.dice.chance(70) { End::Station } else { End::Csms };
        self.steps.push(Step::Flood { from, frames: bounds.flood_frames, bytes: 0 });
        self.steps.push(Step::Open);
        for share in [90, 110] {
            self.steps.push(Step::Flood { from, frames: 2, bytes: bounds.frame_bytes / 100 * share });
            self.steps.push(Step::Open);
        }
        let reader = if self.dice.chance(50) { End::Station } else { End::Csms };
        self.steps.push(Step::Stall { reader, frames: bounds.flood_frames.min(200), bytes: 8192 });
        self.steps.push(Step::Health);
        "flood"
    }

    fn rival(&mut self) -> &'static str {
        let card = self.card();
        self.steps.push(Step::Rival { refused: true });
        self.session(&card);
        self.steps.push(Step::Rival { refused: false });
        self.steps.push(Step::Open);
        self.session(&card);
        "rival"
    }

    fn crowd(&mut self, bounds: Bounds) -> &'static str {
        let begun = rules::begun_handshake(&mut self.dice);
        self.steps.push(Step::Crowd { connections: bounds.crowd, hex: super::scene::hex(&begun) });
        let card = self.card();
        self.steps.push(Step::Open);
        self.session(&card);
        "crowd"
    }
}
