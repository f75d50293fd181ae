//! The demo's central system: authorises whoever comes, keeps its books of sessions by the codes it is given, and starts, reserves and
//! stops with those codes. It knows no card.

use super::books::{Books, Order, Sale};
use super::cast::UNITS;
use super::ledger::Ledger;
use super::messages::{MORNING, time};
use super::wire::{Line, PATIENCE, Trouble, config, worded};
use crate::ocpp::{Side, Version};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// Orders waiting for one station.
const MAX_ORDERS: usize = 8;

/// An order on its way: action, payload, and where the answer goes.
type Wish = (&'static str, Value, oneshot::Sender<Value>);

/// Each station's version, and where orders for it go.
type Lines = HashMap<String, (Version, mpsc::Sender<Wish>)>;

/// The central system.
pub(super) struct Csms {
    books: Mutex<Books>,
    lines: Mutex<Lines>,
    changed: Notify,
    ledger: Arc<Ledger>,
}

impl Csms {
    /// Binds a port and serves it; returns where.
    pub(super) async fn start(ledger: Arc<Ledger>) -> Result<(Arc<Self>, u16), Trouble> {
        let failed = |e: std::io::Error| Trouble::Surroundings("no port for the central system", e.to_string());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let csms = Arc::new(Self { books: Mutex::default(), lines: Mutex::default(), changed: Notify::new(), ledger });
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

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sessions in the books.
    pub(super) fn sales(&self) -> Vec<Sale> {
        self.with(|books| books.sales().cloned().collect())
    }

    /// Returns when a session runs at a station.
    pub(super) async fn until_charging(&self, station: &str) -> Result<(), Trouble> {
        let running = || self.with(|books| books.is_charging(station));
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
        let line = self.lines().get(station).cloned();
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
        self.lines().insert(name.clone(), (version, wishes));
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
        // The demo's own stations live in the demo's day; a real one sets its clock by this.
        let now = if UNITS.iter().any(|unit| unit.id == station) { MORNING } else { crate::clock::now().seconds() };
        let answer = match (action, version) {
            ("BootNotification", _) => json!({"status": "Accepted", "currentTime": time(now), "interval": 900}),
            ("Heartbeat", _) => json!({"currentTime": time(now)}),
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
