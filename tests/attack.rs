//! `sluis attack` finds what is wrong with a gateway, and nothing where nothing is. Between the attack and a real gateway stand two proxies, one
//! on each side, that know of one another: together they make a gateway with a fault in it, of which the attack knows nothing.
#![cfg(feature = "attack")]
#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
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
const ROUNDS: u64 = 20;

/// What is wrong with the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
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
    frames: AtomicUsize,
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
    fn at_station(&self, fault: Fault, up: bool, text: &str) -> Option<Vec<String>> {
        let frame: Value = serde_json::from_str(text).unwrap_or_default();
        let action = frame[2].as_str().unwrap_or_default();
        let as_it_is = Some(vec![text.to_owned()]);
        if up {
            if let Some(card) = find(&frame[3], "idTag").or_else(|| find(&frame[3], "idToken")).filter(|_| action == "Authorize") {
                *self.card.lock().unwrap() = card;
            }
            if fault == Fault::Raw && action == "StatusNotification" {
                *self.raw.lock().unwrap() = Some(text.to_owned());
            }
            if fault == Fault::Drop && action == "FirmwareStatusNotification" {
                return None;
            }
            return as_it_is;
        }
        let order = frame[0] == 2 && action.ends_with("StartTransaction");
        match fault {
            Fault::Unrestored if order => self.order.lock().unwrap().take().map(|order| vec![order]).or(as_it_is),
            Fault::Echo => {
                let stored = self.order.lock().unwrap().take();
                Some(stored.filter(|_| !order).into_iter().chain([text.to_owned()]).collect())
            }
            Fault::Swallow if frame[0] == 3 && frame[2]["status"] == "UnknownVendorId" => Some(Vec::new()),
            Fault::Twice if frame[0] == 3 && frame[2].get("interval").is_some() => Some(vec![text.to_owned(); 2]),
            Fault::Short if frame[0] == 3 && frame[2].get("interval").is_some() => {
                let mut frame = frame.clone();
                frame[2].as_object_mut().unwrap().remove("status");
                Some(vec![frame.to_string()])
            }
            _ => as_it_is,
        }
    }

    /// A message on the central system's side.
    fn at_csms(&self, fault: Fault, up: bool, text: &str) -> Vec<String> {
        let mut frame: Value = serde_json::from_str(text).unwrap_or_default();
        let action = frame[2].as_str().unwrap_or_default().to_owned();
        let card = self.card.lock().unwrap().clone();
        let bare: String = card.chars().filter(char::is_ascii_alphanumeric).collect();
        if !up {
            if action.ends_with("StartTransaction") {
                *self.order.lock().unwrap() = Some(text.to_owned());
            }
            return vec![text.to_owned()];
        }
        let call = frame[0] == 2;
        match fault {
            Fault::Raw if action == "StatusNotification" => {
                if let Some(raw) = self.raw.lock().unwrap().take() {
                    return vec![raw];
                }
            }
            Fault::Base64 if call && action == "MeterValues" => {
                frame[3]["customData"] = json!({"vendorId": "x", "note": STANDARD.encode(format!("card={card}"))});
            }
            Fault::Decimal if call && action == "Heartbeat" => {
                if let Ok(number) = u128::from_str_radix(&bare, 16) {
                    frame[3]["uptime"] = serde_json::from_str(&number.to_string()).unwrap();
                }
            }
            Fault::Digest if call && action == "Authorize" => {
                let digest = sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), &bare));
                let text: String = digest[..10].iter().map(|b| format!("{b:02x}")).collect();
                put(&mut frame[3], "idTag", &text);
                put(&mut frame[3], "idToken", &text);
            }
            Fault::Altered if call && action == "StopTransaction" => {
                if let Some(meter) = frame[3]["meterStop"].as_i64() {
                    frame[3]["meterStop"] = json!(meter / 10 * 10 + 1);
                }
            }
            Fault::Doubled if call && action == "BootNotification" => return vec![text.to_owned(); 2],
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
async fn proxy(listener: TcpListener, to: std::net::SocketAddr, fault: Fault, shared: Arc<Shared>, at_station: bool) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        if at_station && shared.dead.load(Ordering::SeqCst) == 1 {
            if fault == Fault::CrashOnHandshake {
                return; // the listener goes with it: refused from now on
            }
            std::mem::forget(socket); // accepted, and never looked at
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
                if fault == Fault::CrashOnHandshake && head.contains("Upgrade") {
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
            if fault == Fault::Header && !at_station {
                let agent = shared.header.lock().unwrap().clone();
                request.headers_mut().insert("User-Agent", agent.parse().unwrap());
            }
            let Ok(far) = TcpStream::connect(to).await else { return };
            let Ok((far, _)) = tokio_tungstenite::client_async(request, far).await else { return };
            let echo = |_: &Request, mut answer: Response| {
                if let Some(protocol) = protocol {
                    answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
                }
                Ok(answer)
            };
            let Ok(near) = tokio_tungstenite::accept_hdr_async(socket, echo).await else { return };
            let judge = |up: bool, text: &str| {
                if at_station
                    && up
                    && shared.frames.fetch_add(1, Ordering::SeqCst) > 0
                    && fault == Fault::HangAfterFlood
                    && text.contains("\"fl")
                {
                    shared.dead.store(1, Ordering::SeqCst);
                }
                if at_station { shared.at_station(fault, up, text) } else { Some(shared.at_csms(fault, up, text)) }
            };
            let reason = |reason: String| {
                if fault == Fault::CloseReason && !at_station {
                    return shared.card.lock().unwrap().chars().rev().collect();
                }
                reason
            };
            copy(near, far, judge, reason).await;
        });
    }
}

struct Outcome {
    report: Report,
    dir: tempfile::TempDir,
}

fn options(target: String, report: Option<PathBuf>, rounds: u64) -> Options {
    Options {
        target,
        upstream_listen: "127.0.0.1:0".into(),
        seed: SEED,
        rounds: Some(rounds),
        time: None,
        concurrency: 3,
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
        report,
        deadline: Duration::from_secs(4),
        crosses: Vec::new(),
        flood_frames: 300,
        frame_bytes: 1 << 20,
        max_crowd: 20,
    }
}

/// A gateway with a fault, and an attack on it. With `replay`, that file is played instead.
async fn gateway_with(fault: Fault, rounds: u64) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let shared = Arc::new(Shared::default());
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let back = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("ws://{}/ocpp/", front.local_addr().unwrap());
    let attack = Attack::open(options(target, Some(dir.path().join("report")), rounds)).await.unwrap();
    let values = vec![
        ("listen", "127.0.0.1:0".into()),
        ("admin", "127.0.0.1:0".into()),
        ("upstream.url", format!("ws://{}/csms", back.local_addr().unwrap())),
        ("data_dir", dir.path().join("data").display().to_string()),
        ("stations.handshake_seconds", "1".into()),
    ];
    let config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
    let serving = Serving::start(&config).await.unwrap();
    tokio::spawn(proxy(back, attack.address().unwrap(), fault, Arc::clone(&shared), false));
    tokio::spawn(proxy(front, serving.listen, fault, shared, true));
    let report = attack.run(|_| {}).await.unwrap();
    serving.stop().await;
    Outcome { report, dir }
}

fn told(report: &Report) -> String {
    report.findings.iter().map(|(f, _)| format!("{}: {} [{}]\n", f.class.name(), f.what, f.key)).collect()
}

/// Attacks a gateway with a fault, and expects a finding of that class, whose file fails again when it is played.
async fn is_found(fault: Fault, class: Class, word: &str) {
    let Outcome { report, dir } = gateway_with(fault, ROUNDS).await;
    let found = report.findings.iter().find(|(f, _)| f.class == class && (f.what.contains(word) || f.key.contains(word)));
    let (_, file) = found.unwrap_or_else(|| panic!("{fault:?} is not found as {}:\n{}", class.name(), told(&report)));
    let text = std::fs::read_to_string(file.as_ref().unwrap()).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
    assert!(text.lines().any(|line| line.contains("\"do\":")), "{text}");
    drop(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_fault_has_no_findings() {
    let Outcome { report, .. } = gateway_with(Fault::None, ROUNDS).await;
    assert!(report.findings.is_empty(), "{}", told(&report));
    assert_eq!(report.rounds, ROUNDS);
    assert!(report.stopped.is_none() && report.frames > 3000 && report.canaries > 1000 && report.actions > 150, "{report:?}");
}

macro_rules! found {
    ($($name:ident: $fault:ident is $class:ident, $word:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                is_found(Fault::$fault, Class::$class, $word).await;
            }
        )*
    };
}

found! {
    an_action_that_goes_up_as_it_was_is_found: Raw is Leak, "StatusNotification";
    a_card_in_base64_is_found: Base64 is Leak, "MeterValues";
    a_card_in_a_close_reason_is_found: CloseReason is Leak, "backwards in a close reason";
    a_card_as_a_number_is_found: Decimal is Leak, "decimal number in Heartbeat";
    a_header_that_goes_on_is_found: Header is Leak, "the handshake";
    a_plain_digest_is_found: Digest is Leak, "unkeyed SHA-256 in Authorize";
    a_swallowed_answer_is_found: Swallow is Unanswered, "DataTransfer";
    an_answer_that_comes_twice_is_found: Twice is WrongAnswer, "answered twice";
    an_answer_that_is_no_valid_one_is_found: Short is WrongAnswer, "status is missing";
    a_code_that_comes_down_is_found: Unrestored is Unrestored, "StartTransaction";
    a_guess_that_comes_down_is_found: Echo is Oracle, "StartTransaction";
    a_connection_that_is_dropped_is_found: Drop is Crash, "FirmwareStatusNotification";
    a_gateway_that_hangs_after_a_flood_is_found: HangAfterFlood is Hang, "station";
    a_gateway_that_dies_of_a_handshake_is_found: CrashOnHandshake is Crash, "connect";
    a_reading_that_arrives_changed_is_found: Altered is Altered, "meterStop";
    a_message_that_arrives_twice_is_found: Doubled is Altered, "nobody sent";
}
