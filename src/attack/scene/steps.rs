//! The steps that are no plain messages: bytes below the WebSocket, cards that a station reads, connections of their own, strain.

use super::super::target::Stream;
use super::*;

impl Scene<'_> {
    pub(super) async fn bytes(&mut self, from: End, bytes: &[u8], must_close: bool) {
        if !self.line.as_ref().is_some_and(Line::is_whole) {
            return;
        }
        self.loose[from as usize] = true;
        self.fragile = true;
        self.note(if from == End::Station { "station sent bytes" } else { "csms sent bytes" }, &hex(bytes));
        self.put(from, bytes.to_vec(), self.world.deadline).await;
        if !must_close {
            return self.settle().await;
        }
        self.until(|_| false).await;
        if self.line.as_ref().is_some_and(Line::is_whole) {
            let what = format!("{} broke RFC 6455 and the connection was not ended", from.name());
            self.found(Class::WrongAnswer, &format!("rfc6455:{}", hex(&bytes[..bytes.len().min(2)])), what);
        }
        self.line = None;
    }

    pub(super) async fn parrot(&mut self) {
        let words: Vec<String> =
            std::mem::take(&mut self.heard).into_iter().filter(|w| (4..=20).contains(&w.len())).take(MAX_TAPS).collect();
        for word in words {
            self.tap(&word).await;
        }
    }

    /// The station reads a card.
    async fn tap(&mut self, text: &str) {
        let call = plan::authorize(self.messages.version, &format!("t{:x}", self.world.next()), text);
        self.calls(&[call]).await;
    }

    pub(super) async fn reveal(&mut self, canaries: &[usize]) {
        self.settle().await;
        let before = self.seen.clone();
        for (at, canary) in canaries.iter().enumerate() {
            let Some(Canary { text, .. }) = self.script.canaries.get(*canary) else { continue };
            let text = text.clone();
            // From here on it is no guess any more but a card that the station has read.
            let shown = &canaries[..=at];
            self.guesses = Finder::new(&self.script.canaries, |at, c| c.of == End::Csms && !c.harmless && !shown.contains(&at));
            self.tap(&text).await;
            if let Some(code) = self.codes[*canary].clone().filter(|code| before.contains(&code.to_ascii_uppercase())) {
                let what = format!("the central system sent {text} down, and had seen its code {code} before any station showed the card");
                self.found(Class::Oracle, "pair", what);
            }
        }
    }

    pub(super) async fn alike(&mut self, from: End, action: &str, frames: &[String; 2]) {
        let mut answers = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            let id = format!("a{:x}{at}", self.world.next());
            let call = Call {
                from,
                id: id.clone(),
                action: action.to_owned(),
                frame: frame.replace("MINE", &id),
                answers: vec![r#"[4,${id},"InternalError","",{}]"#.into()],
                valid: false,
                must_arrive: false,
            };
            self.calls(&[call]).await;
            answers.extend(self.last(from, &id).filter(|p| p.answered > 0).map(|p| p.answer.clone()));
        }
        if answers.len() == 2 && answers[0] != answers[1] {
            let what = format!("a {action} with the number of a card in use is answered otherwise than one with a number that is not");
            self.found(Class::Oracle, &format!("alike:{action}"), what);
        }
    }

    pub(super) async fn knock(&mut self, bytes: &[u8], pieces: usize, marker: &str) {
        let marker = format!("{marker}{}z", self.world.next());
        let bytes = replace(&replace(bytes, b"MARKER", marker.as_bytes()), b"PATH/", self.world.target.path.as_bytes());
        let mut waiting = self.world.door.await_station(&marker, false);
        // Whether that is a fault or a limit, a normal station finds out.
        let Ok(mut stream) = self.world.target.dial().await else { return self.health().await };
        self.note("knock", &String::from_utf8_lossy(&bytes));
        for piece in bytes.chunks(bytes.len().div_ceil(pieces.max(1)).max(1)) {
            // A gateway that has heard enough may close, so a failure is none of ours.
            if !write(&mut stream, piece, self.world.deadline).await {
                break;
            }
            if pieces > 1 {
                sleep(Duration::from_millis(5)).await;
            }
        }
        let heard = timeout(self.world.deadline, head(&mut stream)).await;
        match heard {
            Err(_) => self.found(Class::Hang, "knock", "a bad handshake is neither answered nor ended".into()),
            Ok(Err(_)) => {}
            Ok(Ok((answer, _))) => {
                let answer = String::from_utf8_lossy(&answer).into_owned();
                self.note("knock heard", &answer);
                if !answer.starts_with("HTTP/1.1 ") {
                    self.found(Class::WrongAnswer, "http", "a handshake is answered with what is no HTTP".into());
                }
            }
        }
        drop(stream);
        while let Ok(dialled) = waiting.dialled.try_recv() {
            self.look_at_request(&dialled.request);
        }
    }

    pub(super) async fn crowd(&mut self, connections: usize, bytes: &[u8]) {
        let connections = connections.min(self.world.options.max_crowd);
        let mut crowd: Vec<Stream> = Vec::new();
        for _ in 0..connections {
            if let Ok(mut stream) = self.world.target.dial().await {
                write(&mut stream, bytes, Duration::from_secs(1)).await;
                crowd.push(stream);
            }
        }
        self.health().await;
        drop(crowd);
    }

    pub(super) async fn flood(&mut self, from: End, frames: usize, bytes: usize) {
        if !self.line.as_ref().is_some_and(Line::is_whole) {
            return;
        }
        self.fragile = true; // a gateway may end a connection that floods it
        self.flooded = (0, 0);
        let action = if from == End::Station { "Heartbeat" } else { "ClearCache" };
        self.flooding = Some((from, action));
        let filler = if bytes > 0 { format!(r#""x":"{}""#, "a".repeat(bytes)) } else { String::new() };
        for number in 0..frames {
            let text = format!(r#"[2,"{FLOOD}{number:x}","{action}",{{{filler}}}]"#);
            self.world.stats.frames.fetch_add(1, Ordering::Relaxed);
            self.flooded.0 += 1;
            if !self.put(from, ws::frame(from, 0x80 | ws::TEXT, text.as_bytes()), self.world.deadline).await {
                self.flooded.0 -= 1;
                break;
            }
        }
        self.until(|scene| scene.flooded.1 >= scene.flooded.0).await;
        if self.line.as_ref().is_some_and(Line::is_whole) && self.flooded.1 < self.flooded.0 {
            let (sent, answered) = self.flooded;
            self.found(
                Class::Unanswered,
                "flood",
                format!("{answered} of {sent} CALLs of a flood were answered, and the connection stays"),
            );
        }
        self.settle().await;
    }

    pub(super) async fn stall(&mut self, reader: End, frames: usize, bytes: usize) {
        let Some(line) = self.line.as_ref().filter(|line| line.is_whole()) else { return };
        self.fragile = true;
        line.pause(reader, true);
        let from = reader.other();
        self.loose = [true; 2];
        for number in 0..frames {
            let text = format!(r#"[2,"{FLOOD}{number:x}","DataTransfer",{{"vendorId":"{}"}}]"#, "a".repeat(bytes));
            if !self.put(from, ws::frame(from, 0x80 | ws::TEXT, text.as_bytes()), Duration::from_millis(500)).await {
                break;
            }
        }
        self.health().await;
        self.line = None;
    }

    pub(super) async fn rival(&mut self, refused: bool) {
        if !self.line.as_ref().is_some_and(Line::is_whole) {
            return;
        }
        self.world.door.refuse(self.station.name(), refused);
        let deadline = Instant::now() + self.world.deadline;
        let rival = self.connect(deadline).await;
        self.world.door.refuse(self.station.name(), false);
        match rival {
            Ok(_) if refused => self.found(Class::WrongAnswer, "rival", "a station that the central system refuses was let in".into()),
            Ok(line) => {
                self.line = Some(line);
                self.pending.clear();
                self.fragile = false;
            }
            // The first one stays: that is one way to do it, and the only one if the second was refused.
            Err((Class::Hang, what, _)) => self.found(Class::Hang, "rival", format!("a second connection of the same station: {what}")),
            Err(_) => {}
        }
        self.settle().await;
    }

    pub(super) async fn close(&mut self, from: End, code: u16, reason: &str) {
        if !self.line.as_ref().is_some_and(Line::is_whole) {
            self.line = None;
            return;
        }
        self.fragile = true;
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        self.put(from, ws::frame(from, 0x80 | ws::CLOSE, &payload), self.world.deadline).await;
        let deadline = Instant::now() + self.world.deadline;
        // Both ends must hear of it.
        while let Some(line) = self.line.as_mut().filter(|line| line.closed != [true; 2]) {
            let Ok(event) = timeout_at(deadline, line.events.recv()).await else {
                self.found(Class::Hang, "close", format!("{} closed, and the other connection was not ended", from.name()));
                break;
            };
            match event {
                Some((end, event)) => self.take(end, event).await,
                None => break,
            }
        }
        self.line = None;
    }

    pub(super) async fn health(&mut self) {
        if self.nested {
            return;
        }
        let script = plan::health(self.messages.version, self.world.next());
        let played = Box::pin(run(self.world, &script, true)).await;
        for finding in played.findings {
            self.found(finding.class, &format!("health:{}", finding.key), format!("a normal station afterwards: {}", finding.what));
        }
    }
}

fn replace(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, what) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}
