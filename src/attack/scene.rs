//! Plays one script against the gateway: holds both ends of a line, does step after step, and judges everything that comes out of it.

mod steps;
mod verdict;

use super::canary::Canary;
use super::leaks::Finder;
use super::line::{Event, Line};
use super::listener::{Waiting, accept_key, header};
use super::messages::Messages;
use super::plan;
use super::script::{Call, Class, End, Finding, Script, Step, Wire};
use super::target::{head, write};
use super::world::{StationId, World};
use super::ws::{self, Heard};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Lines of what went over the wire that are kept for a reproduction file, the first ones, and the most bytes of one.
const MAX_WIRE: usize = 3000;
const MAX_WIRE_TEXT: usize = 8192;
/// Bytes of what the central system saw that are kept to look codes up in.
const MAX_SEEN: usize = 4 << 20;
/// Findings of one script, after which it stops.
const MAX_FINDINGS: usize = 20;
/// Strings that a parrot reads as cards at a time.
const MAX_TAPS: usize = 40;
/// How long to wait before a gateway that is busy (429, 503) is asked again.
const AGAIN: Duration = Duration::from_millis(250);
/// Ids of the CALLs of a flood begin so, and no canary does.
const FLOOD: &str = "f!";

/// A CALL that was sent.
struct Pending {
    call: Call,
    sent: Value,
    /// Canaries whose codes it holds.
    codes: Vec<usize>,
    arrived: bool,
    answered: u32,
    /// What its sender was answered, without type and id.
    answer: Value,
}

/// A script that is being played.
pub(super) struct Scene<'a> {
    world: &'a Arc<World>,
    script: &'a Script,
    messages: &'a Messages,
    station: StationId,
    waiting: Waiting,
    line: Option<Line>,
    secrets: Finder,
    guesses: Finder,
    pending: Vec<Pending>,
    codes: Vec<Option<String>>,
    seen: String,
    heard: BTreeSet<String>,
    /// Per end: it has sent what is no CALL of ours, so not everything that comes of it can be told.
    loose: [bool; 2],
    /// The gateway may close: something was sent that allows it.
    fragile: bool,
    flooded: (u64, u64),
    /// Whose flood it was, and of what: a gateway may give its CALLs other ids.
    flooding: Option<(End, &'static str)>,
    step: usize,
    findings: Vec<Finding>,
    began: Instant,
    wire: Vec<Wire>,
    /// The script is a health check of another's.
    nested: bool,
}

/// What came of a script.
pub(super) struct Played {
    pub(super) findings: Vec<Finding>,
    pub(super) wire: Vec<Wire>,
}

/// Plays a script.
pub(super) async fn play(world: &Arc<World>, script: &Script) -> Played {
    run(world, script, false).await
}

async fn run(world: &Arc<World>, script: &Script, nested: bool) -> Played {
    let station = world.station().await;
    let waiting = world.door.await_station(station.name(), false);
    let mut scene = Scene {
        world,
        script,
        messages: world.messages(&script.version),
        waiting,
        line: None,
        secrets: Finder::new(&script.canaries, |_, c| c.of == End::Station && !world.options.crosses.contains(&c.class)),
        guesses: Finder::new(&script.canaries, |_, c| c.of == End::Csms && !c.harmless),
        pending: Vec::new(),
        codes: vec![None; script.canaries.len()],
        seen: String::new(),
        heard: BTreeSet::new(),
        loose: [false; 2],
        fragile: false,
        flooded: (0, 0),
        flooding: None,
        step: 0,
        findings: Vec::new(),
        began: Instant::now(),
        wire: Vec::new(),
        nested,
        station,
    };
    {
        let mut others = world.others.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = script.canaries.iter().filter(|c| c.of == End::Station && !world.options.crosses.contains(&c.class));
        ours.for_each(|canary| others.add(&canary.text));
    }
    world.stats.conversations.fetch_add(u64::from(!nested), Ordering::Relaxed);
    world.stats.canaries.fetch_add(script.canaries.len() as u64, Ordering::Relaxed);
    for (at, step) in script.steps.iter().enumerate() {
        scene.step = at;
        scene.act(step).await;
        if !world.options.pace.is_zero() {
            sleep(world.options.pace).await;
        }
        if scene.findings.len() >= MAX_FINDINGS || scene.findings.iter().any(|f| matches!(f.class, Class::Crash | Class::Hang)) {
            break;
        }
    }
    scene.goodbye().await;
    Played { findings: scene.findings, wire: scene.wire }
}

impl Scene<'_> {
    fn found(&mut self, class: Class, key: &str, what: String) {
        let key = format!("{}:{key}", class.name());
        if self.findings.iter().all(|f| f.key != key) {
            self.findings.push(Finding { class, what, key, step: self.step });
        }
    }

    fn note(&mut self, wire: &'static str, text: &str) {
        if self.wire.len() < MAX_WIRE {
            let text = text.chars().take(MAX_WIRE_TEXT).collect();
            let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.wire.push(Wire { ms, wire, text });
        }
    }

    async fn act(&mut self, step: &Step) {
        match step {
            Step::Open => self.open().await,
            Step::Calls { calls } => self.calls(calls).await,
            Step::Say { from, text, binary } => {
                let text = self.filled(text, "");
                self.say(*from, if *binary { ws::BINARY } else { ws::TEXT }, &text).await;
                self.settle().await;
            }
            Step::Bytes { from, hex, must_close } => self.bytes(*from, &unhex(hex), *must_close).await,
            Step::Parrot => self.parrot().await,
            Step::Reveal { canaries } => self.reveal(canaries).await,
            Step::Alike { from, action, frames } => self.alike(*from, action, frames).await,
            Step::Knock { hex, pieces, marker } => self.knock(&unhex(hex), *pieces, marker).await,
            Step::Crowd { connections, hex } => self.crowd(*connections, &unhex(hex)).await,
            Step::Flood { from, frames, bytes } => self.flood(*from, *frames, *bytes).await,
            Step::Stall { reader, frames, bytes } => self.stall(*reader, *frames, *bytes).await,
            Step::Rival { refused } => self.rival(*refused).await,
            Step::Close { from, code, reason } => self.close(*from, *code, reason).await,
            Step::Health => self.health().await,
        }
    }

    // --- connections ---------------------------------------------------------------------------------------------------------------

    async fn open(&mut self) {
        if self.line.as_ref().is_some_and(Line::is_whole) {
            return;
        }
        self.line = None;
        let deadline = Instant::now() + self.world.deadline;
        loop {
            while let Ok(stale) = self.waiting.dialled.try_recv() {
                self.look_at_request(&stale.request);
            }
            match self.connect(deadline).await {
                Ok(line) => {
                    self.line = Some(line);
                    self.pending.clear();
                    (self.loose, self.fragile, self.flooding) = ([false; 2], false, None);
                    return;
                }
                Err((_, _, true)) if Instant::now() + AGAIN < deadline => sleep(AGAIN).await,
                Err((class, what, _)) => return self.found(class, "open", format!("a station cannot connect: {what}")),
            }
        }
    }

    /// Connects a station under this scene's id. An error says whether it is worth asking again.
    async fn connect(&mut self, deadline: Instant) -> Result<Line, (Class, String, bool)> {
        let crash = |what: &str| (Class::Crash, what.to_owned(), false);
        let mut station = self.world.target.dial().await.map_err(|what| {
            (if what.starts_with("nobody") { Class::Hang } else { Class::Crash }, what.to_owned(), what.starts_with("the connection is"))
        })?;
        let (request, key) = self.request();
        if !write(&mut station, request.as_bytes(), self.world.deadline).await {
            return Err(crash("the handshake cannot be sent"));
        }
        let answer = timeout_at(deadline, head(&mut station)).await;
        let answer = answer.map_err(|_| (Class::Hang, "no answer to the handshake".to_owned(), false))?;
        // A gateway that limits how many come may also just close.
        let (answer, rest) = answer.map_err(|what| (Class::Crash, what.to_owned(), true))?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status: u16 = answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or_default();
        if status != 101 {
            return Err((Class::Crash, format!("a normal handshake is answered with status {status}"), matches!(status, 429 | 503)));
        }
        let protocol = format!("ocpp{}", self.script.version);
        if header(&answer, "sec-websocket-accept") != Some(accept_key(&key).as_str())
            || header(&answer, "sec-websocket-protocol") != Some(protocol.as_str())
        {
            self.found(Class::WrongAnswer, "handshake", "the answer to the handshake has not the right key or subprotocol".into());
        }
        loop {
            let dialled = timeout_at(deadline, self.waiting.dialled.recv()).await.ok().flatten();
            let Some(dialled) = dialled else {
                return Err((Class::Hang, "it is answered, but the central system at --upstream-listen is never dialled".into(), false));
            };
            self.look_at_request(&dialled.request);
            if let Some(stream) = dialled.stream {
                return Ok(Line::new((station, rest), (stream, dialled.rest)));
            }
        }
    }

    fn request(&self) -> (String, String) {
        let target = &self.world.target;
        let key = self.world.key();
        let more: String = self.script.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "GET {}{} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: ocpp{}\r\n{}{more}\r\n",
            target.path,
            self.station.name(),
            target.authority(),
            self.script.version,
            target.authorization(self.station.name()),
        );
        (request, key)
    }

    async fn goodbye(&mut self) {
        if self.line.as_ref().is_some_and(Line::is_whole) && !self.fragile {
            self.settle().await;
        }
        if self.line.as_ref().is_some_and(Line::is_whole) {
            self.close(End::Station, 1000, "").await;
        }
    }

    // --- sending ---------------------------------------------------------------------------------------------------------------------

    /// Writes bytes while what comes is looked at. `false`: they could not be written in time.
    async fn put(&mut self, from: End, bytes: Vec<u8>, patience: Duration) -> bool {
        let Some(line) = self.line.as_ref().filter(|line| !line.closed[from as usize]) else { return false };
        let mut writing = std::pin::pin!(line.writing(from, bytes, patience));
        loop {
            let Some(line) = &mut self.line else { return false };
            tokio::select! {
                biased; // what comes is looked at here only if nothing can be written, or answers to answers would pile up
                written = &mut writing => return written,
                Some((end, event)) = line.events.recv() => Box::pin(self.take(end, event)).await,
            }
        }
    }

    async fn say(&mut self, from: End, opcode: u8, text: &str) {
        self.loose[from as usize] = true;
        self.fragile = true;
        self.send(from, opcode, text).await;
    }

    async fn send(&mut self, from: End, opcode: u8, text: &str) {
        self.world.stats.frames.fetch_add(1, Ordering::Relaxed);
        self.note(if from == End::Station { "station sent" } else { "csms sent" }, text);
        self.put(from, ws::frame(from, 0x80 | opcode, text.as_bytes()), self.world.deadline).await;
    }

    /// A frame with codes and the id put in their places. A code that was never learnt stays a word that is none.
    fn filled(&self, template: &str, id: &str) -> String {
        let mut text = template.replace("${id}", &Value::from(id).to_string());
        while let Some(at) = text.find("${code:") {
            let Some(end) = text[at..].find('}') else { break };
            let code = text[at + 7..at + end].parse().ok().and_then(|n: usize| self.codes.get(n)?.clone());
            text.replace_range(at..=at + end, code.as_deref().unwrap_or("none"));
        }
        text
    }

    // --- CALLs -----------------------------------------------------------------------------------------------------------------------

    async fn calls(&mut self, calls: &[Call]) {
        if !self.line.as_ref().is_some_and(Line::is_whole) {
            return;
        }
        let first = self.pending.len();
        for call in calls {
            let codes = (0..self.codes.len()).filter(|n| call.frame.contains(&format!("${{code:{n}}}"))).collect::<Vec<_>>();
            if codes.iter().any(|n| self.codes[*n].is_none()) {
                continue; // its card has not been seen, which is another finding if it should have been
            }
            let text = self.filled(&call.frame, &call.id);
            let sent = serde_json::from_str::<Value>(&text).map_or(Value::Null, |frame| frame[3].clone());
            self.pending.push(Pending { call: call.clone(), sent, codes, arrived: false, answered: 0, answer: Value::Null });
            self.world.stats.played(&self.script.version, call.from, &call.action);
            self.send(call.from, ws::TEXT, &text).await;
        }
        self.until(|scene| scene.pending[first..].iter().all(|p| p.answered > 0)).await;
        if !self.line.as_ref().is_some_and(Line::is_whole) {
            return self.gone();
        }
        let mut findings = Vec::new();
        for Pending { call, codes, arrived, answered, .. } in &self.pending[first..] {
            let (action, from) = (&call.action, call.from.name());
            if *answered == 0 {
                findings.push((Class::Unanswered, action.clone(), format!("{from}'s {action} has no answer in time")));
            } else if call.must_arrive && !arrived {
                let class = if codes.is_empty() { Class::Altered } else { Class::Unrestored };
                findings.push((class, format!("arrive:{action}"), format!("{from}'s {action} did not arrive, and must")));
            }
        }
        findings.into_iter().for_each(|(class, key, what)| self.found(class, &key, what));
    }

    /// A Heartbeat through and through: whatever was sent before has been dealt with when it is answered.
    async fn settle(&mut self) {
        if self.line.as_ref().is_some_and(Line::is_whole) {
            let call = plan::heartbeat(&format!("h{:x}", self.world.next()));
            self.calls(&[call]).await;
        }
    }

    fn gone(&mut self) {
        if !self.fragile {
            let about = match self.script.steps.get(self.step) {
                Some(Step::Calls { calls }) => calls.iter().map(|c| c.action.as_str()).collect::<Vec<_>>().join(", "),
                _ => "a normal message".into(),
            };
            self.found(Class::Crash, &format!("line:{about}"), format!("the connection was ended upon {about}"));
        }
    }

    /// Takes what comes until `done`, the deadline, or the end of the line. The deadline begins anew whenever something comes.
    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let mut deadline = Instant::now() + self.world.deadline;
        while !done(self) {
            let Some(line) = self.line.as_mut().filter(|line| line.is_whole()) else { return };
            let Ok(event) = timeout_at(deadline, line.events.recv()).await else { return };
            let Some((end, event)) = event else { return };
            if matches!(&event, Event::Heard(Heard::Text(_))) {
                deadline = Instant::now() + self.world.deadline;
            }
            self.take(end, event).await;
        }
    }
}

/// Bytes as a script writes them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}
