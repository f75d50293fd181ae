//! `sluis attack` finds what is wrong with a gateway, and nothing where nothing is. Between the attack and a real gateway stand two proxies, one
//! on each side, that know of one another: together they make a gateway with a fault in it, of which the attack knows nothing.
#![cfg(feature = "attack")]
#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sha2::Digest;
use sluis::attack::{Attack, Class, Options, Report};
use sluis::config::{Config, Flags};
use sluis::ocpp::Version;
use sluis::serve::Serving;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

const SEED: u64 = 4711;

/// What is wrong with the gateway.
type Faults = &'static [Fault];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// One action goes up as the station sent it.
    Raw,
    /// The last card goes up in base64 in customData.
    Base64,
    /// The last card goes up backwards, as a close reason.
    CloseReason,
    /// The last card goes up as a number.
    Decimal,
    /// The station's User-Agent goes up.
    Header,
    /// A plain digest takes the place of a code.
    Digest,
    /// The answers to one action never come.
    Swallow,
    /// An answer comes twice.
    Twice,
    /// An answer lacks what it must have.
    Short,
    /// Codes come down as codes.
    Unrestored,
    /// Orders of the central system reach the station as they are.
    Echo,
    /// One action ends the connection.
    Drop,
    /// After so many messages on one connection nothing is accepted any more.
    HangAfterFlood,
    /// After a bad handshake the gateway is gone.
    CrashOnHandshake,
    /// A register reading arrives wrong.
    Altered,
    /// A message arrives twice.
    Doubled,
}

/// What the two proxies know of one another.
#[derive(Default)]
struct Shared {
    card: Mutex<String>,
    raw: Mutex<Option<String>>,
    order: Mutex<Option<String>>,
    header: Mutex<String>,
    swallowed: AtomicUsize,
    dead: AtomicUsize,
}

fn find(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .find_map(|(key, value)| if key == name { value.as_str().map(str::to_owned) } else { None })
            .or_else(|| fields.values().find_map(|value| find(value, name))),
        _ => None,
    }
}

fn put(value: &mut Value, name: &str, to: &str) {
    if let Value::Object(fields) = value {
        for (key, value) in fields {
            if key == name && value.is_string() {
                *value = json!(to);
            } else {
                put(value, name, to);
            }
        }
    }
}

impl Shared {
    /// A message on the station's side: what goes on of it. `None`: the connection ends.
    fn at_station(&self, faults: Faults, up: bool, text: &str) -> Option<Vec<String>> {
        let has = |fault| faults.contains(&fault);
        let mut frame: Value = serde_json::from_str(text).unwrap_or_default();
        let action = frame[2].as_str().unwrap_or_default();
        if up {
            if let Some(card) = find(&frame[3], "idTag").or_else(|| find(&frame[3], "idToken")).filter(|_| action == "Authorize") {
                *self.card.lock().unwrap() = card;
            }
            if action == "StatusNotification" {
                *self.raw.lock().unwrap() = Some(text.to_owned());
            }
            let dropped = has(Fault::Drop) && action == "FirmwareStatusNotification";
            return (!dropped).then(|| vec![text.to_owned()]);
        }
        let order = frame[0] == 2 && action.ends_with("StartTransaction");
        if has(Fault::Unrestored) && order {
            return Some(vec![self.order.lock().unwrap().take().unwrap_or(text.to_owned())]);
        }
        if has(Fault::Echo) {
            let stored = self.order.lock().unwrap().take();
            return Some(stored.filter(|_| !order).into_iter().chain([text.to_owned()]).collect());
        }
        let answer = frame[0] == 3;
        if answer && has(Fault::Swallow) && frame[2]["status"] == "UnknownVendorId" && self.swallowed.fetch_add(1, Ordering::SeqCst) < 2 {
            return Some(Vec::new());
        }
        let (time, interval) = (frame[2].get("currentTime").is_some(), frame[2].get("interval").is_some());
        if answer && has(Fault::Twice) && time && !interval {
            return Some(vec![text.to_owned(); 2]);
        }
        if answer && has(Fault::Short) && interval {
            frame[2].as_object_mut().unwrap().remove("status");
            return Some(vec![frame.to_string()]);
        }
        Some(vec![text.to_owned()])
    }

    /// A message on the central system's side.
    fn at_csms(&self, faults: Faults, up: bool, text: &str) -> Vec<String> {
        let has = |fault| faults.contains(&fault);
        let mut frame: Value = serde_json::from_str(text).unwrap_or_default();
        let action = frame[2].as_str().unwrap_or_default().to_owned();
        let card = self.card.lock().unwrap().clone();
        let bare: String = card.chars().filter(char::is_ascii_alphanumeric).collect();
        if !up || frame[0] != 2 {
            if !up && action.ends_with("StartTransaction") {
                *self.order.lock().unwrap() = Some(text.to_owned());
            }
            return vec![text.to_owned()];
        }
        match action.as_str() {
            "StatusNotification" if has(Fault::Raw) => return vec![self.raw.lock().unwrap().take().unwrap_or(text.to_owned())],
            "BootNotification" if has(Fault::Doubled) => return vec![text.to_owned(); 2],
            "MeterValues" if has(Fault::Base64) => {
                frame[3]["customData"] = json!({"vendorId": "x", "note": STANDARD.encode(format!("card={card}"))});
            }
            "Heartbeat" if has(Fault::Decimal) => {
                if let Ok(number) = u128::from_str_radix(&bare, 16) {
                    frame[3]["uptime"] = serde_json::from_str(&number.to_string()).unwrap();
                }
            }
            "Authorize" if has(Fault::Digest) => {
                let digest: String = sha2::Sha256::digest(&bare)[..10].iter().map(|b| format!("{b:02x}")).collect();
                put(&mut frame[3], "idTag", &digest);
                put(&mut frame[3], "idToken", &digest);
            }
            "StopTransaction" if has(Fault::Altered) => {
                if let Some(meter) = frame[3]["meterStop"].as_i64() {
                    frame[3]["meterStop"] = json!(meter + 1);
                }
            }
            _ => return vec![text.to_owned()],
        }
        vec![frame.to_string()]
    }
}

/// Copies messages between an accepted connection and a dialled one, through `judge`. Ends both when one ends or when told to.
async fn copy(
    near: tokio_tungstenite::WebSocketStream<TcpStream>,
    far: tokio_tungstenite::WebSocketStream<TcpStream>,
    judge: impl Fn(bool, &str) -> Option<Vec<String>>,
    reason: impl Fn(String) -> String,
) {
    let ((mut to_near, mut near), (mut to_far, mut far)) = (near.split(), far.split());
    loop {
        let (from_near, message) = tokio::select! {
            message = near.next() => (true, message),
            message = far.next() => (false, message),
        };
        let out = match message {
            Some(Ok(Message::Text(text))) => match judge(from_near, &text) {
                Some(texts) => texts.into_iter().map(Message::text).collect(),
                None => return,
            },
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.map(|mut frame| {
                    if !from_near {
                        return frame;
                    }
                    frame.reason = reason(frame.reason.to_string()).into();
                    frame
                });
                let _ = if from_near { to_far.send(Message::Close(frame)).await } else { to_near.send(Message::Close(frame)).await };
                // Both closing handshakes to their end.
                let ends = async {
                    while let Some(Ok(_)) = near.next().await {}
                    while let Some(Ok(_)) = far.next().await {}
                };
                let _ = tokio::time::timeout(Duration::from_millis(300), ends).await;
                return;
            }
            Some(Ok(Message::Binary(bytes))) => vec![Message::Binary(bytes)],
            Some(Ok(_)) => Vec::new(),
            _ => return,
        };
        for message in out {
            let sent = if from_near { to_far.send(message).await } else { to_near.send(message).await };
            if sent.is_err() {
                return;
            }
        }
    }
}

/// A proxy on one side. The one at the station copies what is no proper handshake byte by byte.
async fn proxy(listener: TcpListener, to: std::net::SocketAddr, faults: Faults, shared: Arc<Shared>, at_station: bool) {
    let mut held = Vec::new();
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        if at_station && shared.dead.load(Ordering::SeqCst) == 1 {
            if faults.contains(&Fault::CrashOnHandshake) {
                return; // the listener goes with it: refused from now on
            }
            held.push(socket); // accepted, and never looked at
            continue;
        }
        tokio::spawn(async move {
            let mut head = vec![0; 4096];
            // A proper handshake of the attack comes in one piece.
            let Ok(count) = socket.peek(&mut head).await else { return };
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let proper = head.ends_with("\r\n\r\n")
                && head.lines().next().is_some_and(|line| line.contains("/csms/attack-") || line.contains("/ocpp/attack-"));
            if !proper {
                if faults.contains(&Fault::CrashOnHandshake) && head.contains("Upgrade") {
                    shared.dead.store(1, Ordering::SeqCst);
                }
                let (mut near, Ok(mut far)) = (socket, TcpStream::connect(to).await) else { return };
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                return;
            }
            if at_station && head.contains("User-Agent: ") {
                *shared.header.lock().unwrap() = head.split("User-Agent: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
            }
            let path = head.split(' ').nth(1).unwrap();
            let protocol = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
            let mut request = format!("ws://{to}{path}").into_client_request().unwrap();
            if let Some(protocol) = protocol {
                request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
            }
            if faults.contains(&Fault::Header) && !at_station {
                let agent = shared.header.lock().unwrap().clone();
                request.headers_mut().insert("User-Agent", agent.parse().unwrap());
            }
            let Ok(far) = TcpStream::connect(to).await else { return };
            let Ok((far, _)) = tokio_tungstenite::client_async(request, far).await else { return };
            #[expect(clippy::result_large_err, reason = "the library's signature")]
            let echo = |_: &Request, mut answer: Response| {
                if let Some(protocol) = protocol {
                    answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
                }
                Ok(answer)
            };
            let Ok(near) = tokio_tungstenite::accept_hdr_async(socket, echo).await else { return };
            let judge = |up: bool, text: &str| {
                if at_station && up && faults.contains(&Fault::HangAfterFlood) && text.contains("\"f!") {
                    shared.dead.store(1, Ordering::SeqCst);
                }
                if at_station { shared.at_station(faults, up, text) } else { Some(shared.at_csms(faults, up, text)) }
            };
            let reason = |reason: String| {
                if faults.contains(&Fault::CloseReason) && !at_station {
                    return shared.card.lock().unwrap().chars().rev().collect();
                }
                reason
            };
            copy(near, far, judge, reason).await;
        });
    }
}

fn options(target: String, report: PathBuf, rounds: u64, concurrency: usize, patient: bool) -> Options {
    Options {
        target,
        upstream_listen: "127.0.0.1:0".into(),
        seed: SEED,
        rounds: Some(rounds),
        time: None,
        concurrency,
        ca: None,
        client_cert: None,
        client_key: None,
        upstream_cert: None,
        upstream_key: None,
        user: None,
        password_file: None,
        stations: Vec::new(),
        id_prefix: "attack-".into(),
        versions: Version::ALL.to_vec(),
        report: Some(report),
        // Where nothing is wrong nobody waits so long; where something is, every wait in vain does.
        deadline: Duration::from_secs(if patient { 30 } else { 3 }),
        pace: Duration::ZERO,
        crosses: Vec::new(),
        flood_frames: 300,
        frame_bytes: 1 << 20,
        max_crowd: 20,
        trials: 3,
    }
}

/// A gateway with faults, reachable for an attack that is already listening.
struct Gateway {
    serving: Serving,
    attack: Attack,
    dir: tempfile::TempDir,
}

impl Gateway {
    async fn with(faults: Faults, rounds: u64, concurrency: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared::default());
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let back = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("ws://{}/ocpp/", front.local_addr().unwrap());
        let attack = Attack::open(options(target, dir.path().join("report"), rounds, concurrency, faults.is_empty())).await.unwrap();
        let values = vec![
            ("listen", "127.0.0.1:0".into()),
            ("admin", "127.0.0.1:0".into()),
            ("upstream.url", format!("ws://{}/csms", back.local_addr().unwrap())),
            ("data_dir", dir.path().join("data").display().to_string()),
            ("stations.handshake_seconds", "1".into()),
        ];
        let config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
        let serving = Serving::start(&config).await.unwrap();
        tokio::spawn(proxy(back, attack.address().unwrap(), faults, Arc::clone(&shared), false));
        tokio::spawn(proxy(front, serving.listen, faults, shared, true));
        Self { serving, attack, dir }
    }

    async fn attacked(self) -> (Report, tempfile::TempDir) {
        let report = self.attack.run(|_| {}).await.unwrap();
        self.serving.stop().await;
        (report, self.dir)
    }
}

fn told(report: &Report) -> String {
    report.findings.iter().map(|(f, _)| format!("{}: {} [{}]\n", f.class.name(), f.what, f.key)).collect()
}

/// Attacks a gateway with faults, and expects of each a finding of its class, written to a file.
async fn are_found(faults: Faults, rounds: u64, concurrency: usize, expected: &[(Class, &str)]) {
    let (report, _dir) = Gateway::with(faults, rounds, concurrency).await.attacked().await;
    for (class, word) in expected {
        let found = report.findings.iter().find(|(f, _)| f.class == *class && f.what.contains(word));
        let (_, file) = found.unwrap_or_else(|| panic!("no {} {word:?} is found:\n{}", class.name(), told(&report)));
        let text = std::fs::read_to_string(file.as_ref().unwrap()).unwrap();
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()) && text.contains("{\"do\":"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_fault_has_no_findings() {
    let (report, _dir) = Gateway::with(&[], 20, 4).await.attacked().await;
    assert!(report.findings.is_empty(), "{}", told(&report));
    assert!(report.stopped.is_none() && report.rounds == 20, "{report:?}");
    assert!(report.frames > 3000 && report.canaries > 1000 && report.actions > 150, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_ways_to_leak_a_card_are_found() {
    let faults = &[Fault::Raw, Fault::Base64, Fault::CloseReason, Fault::Decimal, Fault::Header, Fault::Digest];
    let expected = [
        (Class::Leak, "in StatusNotification"),
        (Class::Leak, "base64 in MeterValues"),
        (Class::Leak, "backwards in a close reason"),
        (Class::Leak, "as a decimal number in Heartbeat"),
        (Class::Leak, "in the handshake"),
        (Class::Leak, "as an unkeyed SHA-256 in Authorize"),
    ];
    are_found(faults, 8, 1, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_double_and_wrong_answers_and_messages_are_found() {
    let faults = &[Fault::Swallow, Fault::Twice, Fault::Short, Fault::Altered, Fault::Doubled, Fault::Unrestored];
    let expected = [
        (Class::Unanswered, "DataTransfer has no answer"),
        (Class::WrongAnswer, "Heartbeat was answered twice"),
        (Class::WrongAnswer, "status is missing"),
        (Class::Altered, "meterStop of StopTransaction arrived changed"),
        (Class::Altered, "a BootNotification that nobody sent"),
        (Class::Unrestored, "StartTransaction"),
    ];
    are_found(faults, 10, 3, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guess_that_comes_down_is_found() {
    are_found(&[Fault::Echo], 8, 2, &[(Class::Oracle, "a guess of the central system, in R")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_dropped_upon_a_message_is_found() {
    are_found(&[Fault::Drop], 8, 2, &[(Class::Crash, "the connection was ended upon FirmwareStatusNotification")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_hangs_after_a_flood_is_found() {
    are_found(&[Fault::HangAfterFlood], 14, 3, &[(Class::Hang, "no answer to the handshake")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_dies_of_a_handshake_is_found() {
    are_found(&[Fault::CrashOnHandshake], 12, 3, &[(Class::Crash, "a station cannot connect")]).await;
}

/// What is found is played again from its file: it fails as long as the fault is there, and not after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_can_be_played_again() {
    let (report, dir) = Gateway::with(&[Fault::Raw], 3, 1).await.attacked().await;
    let file = report.findings.iter().find(|(f, _)| f.class == Class::Leak).unwrap().1.clone().unwrap();
    for (faults, still) in [(&[Fault::Raw][..], true), (&[][..], false)] {
        let Gateway { serving, attack, dir: _dir } = Gateway::with(faults, 0, 1).await;
        let replayed = attack.replay(&file).await.unwrap();
        assert_eq!((replayed.still, replayed.then.class), (still, Class::Leak), "{replayed:?}");
        serving.stop().await;
    }
    let Gateway { attack, .. } = Gateway::with(&[], 0, 1).await;
    std::fs::write(dir.path().join("no.jsonl"), "{}\n").unwrap();
    assert!(attack.replay(&dir.path().join("no.jsonl")).await.unwrap_err().contains("line 1"));
}
