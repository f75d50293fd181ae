//! The demo's central system: authorises whoever comes, keeps its books of sessions by the codes it is given, and starts, reserves and
//! stops with those codes. It knows no card.

use super::ledger::Ledger;
use super::messages::{MORNING, time};
use super::wire::{Line, PATIENCE, Trouble, config, worded};
use crate::ocpp::{Side, Version};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// Sessions kept in the books, and codes of cards seen; the oldest go first.
const MAX_KEPT: usize = 1000;
/// Orders waiting for one station.
const MAX_ORDERS: usize = 8;

/// A charging session as the central system knows it: what it could bill.
#[derive(Debug, Clone)]
pub(super) struct Sale {
    pub(super) station: String,
    pub(super) transaction: String,
    pub(super) code: String,
    /// The register at the beginning and at the end, in Wh.
    pub(super) from: i64,
    pub(super) to: Option<i64>,
}

/// Something the central system does of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Starts a session for the driver it saw last at this station.
    Start,
    /// Stops the session that runs there.
    Stop,
    /// Reserves the connector for that driver.
    Reserve,
    /// Sends the codes it knows, to charge by while the line is down.
    LocalList,
    /// Asks for the state of the connector.
    Trigger,
    /// Tries a card number that it was never given (a curious back end).
    Guess,
    /// Asks for the station's log files, past the gateway.
    Logs,
}

#[derive(Default)]
struct Books {
    sales: VecDeque<Sale>,
    /// Codes seen, with the token type they came with, the latest last.
    codes: VecDeque<(String, String)>,
    /// The latest at each station.
    latest: HashMap<String, (String, String)>,
    lines: HashMap<String, (Version, mpsc::Sender<Wish>)>,
    number: i64,
}

/// An order on its way: action, payload, and where the answer goes.
type Wish = (&'static str, Value, oneshot::Sender<Value>);

/// The central system.
pub(super) struct Csms {
    books: Mutex<Books>,
    changed: Notify,
    ledger: Arc<Ledger>,
}

impl Csms {
    /// Binds a port and serves it; returns where.
    pub(super) async fn start(ledger: Arc<Ledger>) -> Result<(Arc<Self>, u16), Trouble> {
        let failed = |e: std::io::Error| Trouble::Surroundings("no port for the central system", e.to_string());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let csms = Arc::new(Self { books: Mutex::default(), changed: Notify::new(), ledger });
        let this = Arc::clone(&csms);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let this = Arc::clone(&this);
                tokio::spawn(async move { this.station(socket).await });
            }
        });
        Ok((csms, port))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        work(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The sessions in the books.
    pub(super) fn sales(&self) -> Vec<Sale> {
        self.with(|books| books.sales.iter().cloned().collect())
    }

    /// Returns when a session runs at a station.
    pub(super) async fn until_charging(&self, station: &str) -> Result<(), Trouble> {
        let running = || self.with(|books| books.sales.iter().any(|sale| sale.station == station && sale.to.is_none()));
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if running() {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.map_err(|_| Trouble::Silence(station.to_owned(), "start".to_owned()))
    }

    /// Has an order carried out and returns the station's answer (or the gateway's).
    pub(super) async fn order(&self, station: &str, order: Order) -> Result<Value, Trouble> {
        let silence = |what: &str| Trouble::Silence("the central system".to_owned(), what.to_owned());
        let line = self.with(|books| books.lines.get(station).cloned());
        let (version, line) = line.ok_or_else(|| silence("connection"))?;
        let (action, payload) = self.with(|books| books.word(station, version, order)).ok_or_else(|| silence("search for a code"))?;
        let payload = worded(version, action, false, payload)?;
        let (answer, answered) = oneshot::channel();
        line.send((action, payload, answer)).await.map_err(|_| silence(action))?;
        tokio::time::timeout(PATIENCE, answered).await.ok().and_then(Result::ok).ok_or_else(|| silence(action))
    }

    /// One station's connection.
    async fn station(&self, socket: TcpStream) {
        let _ = socket.set_nodelay(true); // a slow demo is a demo all the same
        let mut known = None;
        let ledger = Arc::clone(&self.ledger);
        #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
        let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            ledger.handshake(format!("{} {:?}", request.uri(), request.headers()).as_bytes());
            let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let offers = request.headers().get_all("sec-websocket-protocol");
            let offers: Vec<&str> = offers.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
            let version = offers.iter().find_map(|offer| Version::from_subprotocol(offer));
            if let Some(version) = version {
                response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(version.subprotocol()));
            }
            known = Some((name, version.unwrap_or(Version::V16)));
            Ok(response)
        };
        let Ok(socket) = tokio_tungstenite::accept_hdr_async_with_config(socket, choose, Some(config())).await else { return };
        let Some((name, version)) = known else { return };
        let (wishes, orders) = mpsc::channel(MAX_ORDERS);
        self.with(|books| books.lines.insert(name.clone(), (version, wishes)));
        let mut line = Line::new(socket, &name, Side::Csms, Arc::clone(&self.ledger));
        if let Err(trouble) = self.serve(&mut line, version, orders).await
            && !matches!(trouble, Trouble::Line(..))
        {
            self.ledger.say(|screen| screen.text(&trouble.to_string()));
        }
    }

    async fn serve(&self, line: &mut Line, version: Version, mut orders: mpsc::Receiver<Wish>) -> Result<(), Trouble> {
        let mut waiting: HashMap<String, oneshot::Sender<Value>> = HashMap::new();
        loop {
            tokio::select! {
                frame = line.next() => {
                    let frame = frame?;
                    let id = frame[1].as_str().unwrap_or_default().to_owned();
                    match frame[0].as_u64() {
                        Some(2) => {
                            let action = frame[2].as_str().unwrap_or_default();
                            let answer = self.answer(&line.station, version, action, &frame[3]);
                            line.send(&match answer {
                                Some(payload) => json!([3, id, worded(version, action, true, payload)?]),
                                None => json!([4, id, "NotImplemented", "", {}]),
                            }).await?;
                            self.changed.notify_waiters();
                        }
                        Some(3) => drop(waiting.remove(&id).map(|answer| answer.send(frame[2].clone()))),
                        Some(4) => drop(waiting.remove(&id).map(|answer| answer.send(json!({"error": frame[2]})))),
                        _ => {}
                    }
                }
                order = orders.recv() => {
                    let Some((action, payload, answer)) = order else { return Ok(()) }; // another connection took its place
                    let id = line.call(action, &payload).await?;
                    waiting.insert(id, answer);
                }
            }
        }
    }

    /// What the central system answers to a station.
    fn answer(&self, station: &str, version: Version, action: &str, payload: &Value) -> Option<Value> {
        let answer = match (action, version) {
            ("BootNotification", _) => json!({"status": "Accepted", "currentTime": time(MORNING), "interval": 900}),
            ("Heartbeat", _) => json!({"currentTime": time(MORNING)}),
            ("Authorize", Version::V16) => {
                self.with(|books| books.saw(station, &payload["idTag"], "ISO14443"));
                json!({"idTagInfo": {"status": "Accepted"}})
            }
            ("Authorize", _) => {
                self.with(|books| books.saw_token(station, &payload["idToken"]));
                json!({"idTokenInfo": {"status": "Accepted"}})
            }
            ("StartTransaction", Version::V16) => {
                let number = self.with(|books| books.begins(station, payload));
                json!({"idTagInfo": {"status": "Accepted"}, "transactionId": number})
            }
            ("StopTransaction", Version::V16) => {
                let number = payload["transactionId"].to_string();
                self.with(|books| books.ends(station, &number, payload["meterStop"].as_i64()));
                json!({"idTagInfo": {"status": "Accepted"}})
            }
            ("TransactionEvent", Version::V201 | Version::V21) => {
                self.with(|books| books.event(station, payload));
                if payload.get("idToken").is_some() { json!({"idTokenInfo": {"status": "Accepted"}}) } else { json!({}) }
            }
            ("DataTransfer", _) => json!({"status": "Accepted"}),
            ("NotifyEVChargingNeeds", _) => json!({"status": "Accepted"}),
            ("MeterValues" | "StatusNotification" | "SecurityEventNotification" | "NotifyEvent" | "NotifyReport", _) => json!({}),
            ("FirmwareStatusNotification" | "DiagnosticsStatusNotification" | "LogStatusNotification", _) => json!({}),
            _ => return None,
        };
        Some(answer)
    }
}

impl Books {
    fn saw(&mut self, station: &str, code: &Value, kind: &str) {
        let Some(code) = code.as_str() else { return };
        let token = (code.to_owned(), kind.to_owned());
        self.codes.retain(|(known, _)| known != code);
        self.codes.push_back(token.clone());
        if self.codes.len() > MAX_KEPT {
            self.codes.pop_front();
        }
        self.latest.insert(station.to_owned(), token);
    }

    fn saw_token(&mut self, station: &str, token: &Value) {
        self.saw(station, &token["idToken"], token["type"].as_str().unwrap_or("Central"));
    }

    fn open(&mut self, sale: Sale) {
        self.sales.push_back(sale);
        if self.sales.len() > MAX_KEPT {
            self.sales.pop_front();
        }
    }

    fn begins(&mut self, station: &str, payload: &Value) -> i64 {
        self.number += 1;
        let code = payload["idTag"].as_str().unwrap_or_default().to_owned();
        let from = payload["meterStart"].as_i64().unwrap_or_default();
        self.open(Sale { station: station.to_owned(), transaction: self.number.to_string(), code, from, to: None });
        self.number
    }

    fn ends(&mut self, station: &str, transaction: &str, register: Option<i64>) {
        let running = |sale: &&mut Sale| sale.station == station && sale.transaction == transaction;
        if let Some(sale) = self.sales.iter_mut().find(running) {
            sale.to = register;
        }
    }

    fn event(&mut self, station: &str, payload: &Value) {
        let transaction = payload["transactionInfo"]["transactionId"].as_str().unwrap_or_default();
        let register = register(payload);
        match payload["eventType"].as_str() {
            Some("Started") => {
                let code = payload["idToken"]["idToken"].as_str().unwrap_or_default().to_owned();
                let from = register.unwrap_or_default();
                self.open(Sale { station: station.to_owned(), transaction: transaction.to_owned(), code, from, to: None });
            }
            Some("Ended") => self.ends(station, transaction, register),
            _ => {}
        }
    }

    /// An order as a message, if the books have what it takes.
    fn word(&mut self, station: &str, version: Version, order: Order) -> Option<(&'static str, Value)> {
        let old = version == Version::V16;
        self.number += 1;
        let number = self.number;
        let token = |code: &str, kind: &str| json!({"idToken": code, "type": kind});
        let latest = self.latest.get(station);
        let wish = match order {
            Order::Start | Order::Guess => {
                let guess = (super::cast::GUESS.to_owned(), "ISO14443".to_owned());
                let (code, kind) = if order == Order::Guess { &guess } else { latest? };
                if old {
                    ("RemoteStartTransaction", json!({"connectorId": 1, "idTag": code}))
                } else {
                    ("RequestStartTransaction", json!({"idToken": token(code, kind), "remoteStartId": number, "evseId": 1}))
                }
            }
            Order::Stop => {
                let sale = self.sales.iter().rfind(|sale| sale.station == station && sale.to.is_none())?;
                if old {
                    ("RemoteStopTransaction", json!({"transactionId": sale.transaction.parse::<i64>().ok()?}))
                } else {
                    ("RequestStopTransaction", json!({"transactionId": sale.transaction}))
                }
            }
            Order::Reserve => {
                let ((code, kind), until) = (latest?, time(MORNING + 7200));
                if old {
                    ("ReserveNow", json!({"connectorId": 1, "expiryDate": until, "idTag": code, "reservationId": number}))
                } else {
                    ("ReserveNow", json!({"id": number, "expiryDateTime": until, "idToken": token(code, kind), "evseId": 1}))
                }
            }
            Order::LocalList => {
                let known = self.codes.iter().rev().take(3);
                if old {
                    let list: Vec<Value> = known.map(|(code, _)| json!({"idTag": code, "idTagInfo": {"status": "Accepted"}})).collect();
                    ("SendLocalList", json!({"listVersion": number, "updateType": "Full", "localAuthorizationList": list}))
                } else {
                    let list: Vec<Value> = known.map(|(code, kind)| json!({"idToken": token(code, kind), "idTokenInfo": {"status": "Accepted"}})).collect();
                    ("SendLocalList", json!({"versionNumber": number, "updateType": "Full", "localAuthorizationList": list}))
                }
            }
            Order::Trigger if old => ("TriggerMessage", json!({"requestedMessage": "StatusNotification", "connectorId": 1})),
            Order::Trigger => ("TriggerMessage", json!({"requestedMessage": "StatusNotification", "evse": {"id": 1, "connectorId": 1}})),
            Order::Logs if old => ("GetDiagnostics", json!({"location": "ftp://logs.back-end.example/upload"})),
            Order::Logs => {
                let log = json!({"remoteLocation": "https://logs.back-end.example/upload"});
                ("GetLog", json!({"logType": "DiagnosticsLog", "requestId": number, "log": log}))
            }
        };
        Some(wish)
    }
}

/// The energy register of a TransactionEvent, in Wh.
pub(super) fn register(payload: &Value) -> Option<i64> {
    let samples = payload["meterValue"].as_array()?.iter().rev().flat_map(|reading| reading["sampledValue"].as_array().into_iter().flatten());
    let mut registers = samples.filter(|s| s.get("measurand").is_none_or(|m| m == "Energy.Active.Import.Register"));
    // rust_decimal writes whole numbers of Wh; a real station's fraction is cut here, where only the demo's own sums are made.
    registers.next().and_then(|s| s["value"].as_f64()).map(|wh| wh as i64)
}
