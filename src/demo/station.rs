//! A station of the demo: one connection through the gateway, one task. It plays the visits it is told to, and does what the central
//! system asks, as far as it can.

use super::cast::{Habit, Token, UNITS, Unit};
use super::ledger::Ledger;
use super::messages::{self, Call, MORNING, Visit};
use super::wire::{Line, PATIENCE, Trouble, config, worded};
use crate::ocpp::{Side, Version};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// What a station is told to do.
pub(super) enum Cue {
    /// A driver shows a card and goes away.
    Show(Token),
    /// A driver charges.
    Charge(Token),
    /// Charges for whoever the central system starts a session for, until it stops it.
    Remote,
    /// Sends what only some stations send.
    Chatter,
}

/// What a station's meter measured in the cue, in Wh: nothing, if nobody charged.
type Measured = Result<i64, Trouble>;

/// Gives cues to a station.
#[derive(Clone)]
pub(super) struct Stage(mpsc::Sender<(Cue, oneshot::Sender<Measured>)>);

impl Stage {
    /// Has a cue played to its end.
    pub(super) async fn play(&self, cue: Cue) -> Measured {
        let gone = || Trouble::Line("a station".to_owned(), "it has left");
        let (done, played) = oneshot::channel();
        self.0.send((cue, done)).await.map_err(|_| gone())?;
        played.await.map_err(|_| gone())?
    }
}

/// Time between two frames of a station, in milliseconds, so that an onlooker can follow.
pub(super) type Pace = Arc<AtomicU64>;

struct Station {
    unit: &'static Unit,
    line: Line,
    pace: Pace,
    meter: i64,
    sessions: i64,
    clock: i64,
    last: String,
    /// What the central system asked for and is not yet done.
    start: Option<(String, String, Option<i64>)>,
    stop: bool,
    reservation: Option<i64>,
    owed: Option<Call>,
}

/// Connects a station and boots it.
pub(super) async fn connect(unit: &'static Unit, gateway: SocketAddr, ledger: Arc<Ledger>, pace: Pace) -> Result<Stage, Trouble> {
    let failed = |why: String| Trouble::Surroundings("a station cannot connect", why);
    let mut request = format!("ws://{gateway}/ocpp/{}", unit.id).into_client_request().map_err(|e| failed(e.to_string()))?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(unit.version.subprotocol()));
    let socket = TcpStream::connect(gateway).await.map_err(|e| failed(e.kind().to_string()))?;
    let _ = socket.set_nodelay(true); // a slow demo is a demo all the same
    let upgraded = tokio_tungstenite::client_async_with_config(request, socket, Some(config())).await;
    let (socket, _) = upgraded.map_err(|_| failed("the upgrade was refused".to_owned()))?;
    let line = Line::new(socket, unit.id, Side::Station, ledger);
    let place = UNITS.iter().position(|other| other.id == unit.id).unwrap_or_default() as i64;
    let mut station = Station {
        unit,
        line,
        pace,
        meter: 1_200_000 + 137_311 * place,
        sessions: 0,
        clock: MORNING + 60 * place,
        last: unit.visitors[1].text.to_owned(),
        start: None,
        stop: false,
        reservation: None,
        owed: None,
    };
    station.call(messages::boot(unit)).await?;
    station.call(messages::status(unit, "Available", station.clock, None)).await?;
    station.call(("Heartbeat", json!({}))).await?;
    let (cues, mut coming) = mpsc::channel::<(Cue, oneshot::Sender<Measured>)>(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                frame = station.line.next() => {
                    let Ok(frame) = frame else { return };
                    if station.hears(&frame).await.is_err() || station.pays().await.is_err() {
                        return;
                    }
                }
                cue = coming.recv() => {
                    let Some((cue, done)) = cue else { return station.line.close().await };
                    let measured = station.play(cue).await;
                    let _ = done.send(measured); // whoever asked may have gone
                }
            }
        }
    });
    Ok(Stage(cues))
}

impl Station {
    async fn play(&mut self, cue: Cue) -> Measured {
        let unit = self.unit;
        match cue {
            Cue::Show(token) => {
                self.call(messages::authorize(unit, &token)).await?;
                self.last = token.text.to_owned();
                Ok(0)
            }
            Cue::Charge(token) => {
                self.call(messages::authorize(unit, &token)).await?;
                let visit = self.visit(token.text.to_owned(), token.kind.to_owned());
                self.charge(visit, "Local").await
            }
            Cue::Remote => {
                while self.start.is_none() {
                    self.hear().await?;
                }
                let (token, kind, id) = self.start.take().unwrap_or_default();
                let visit = Visit { remote_start: id, ..self.visit(token, kind) };
                self.charge(visit, "Remote").await
            }
            Cue::Chatter => {
                self.call(messages::vendor(unit, &self.last)).await?;
                self.call(messages::door(unit, self.clock, &self.last)).await?;
                if unit.version == Version::V21 {
                    self.call(messages::needs()).await?;
                }
                Ok(0)
            }
        }
    }

    fn visit(&mut self, token: String, kind: String) -> Visit {
        self.sessions += 1;
        self.clock += 3600;
        // The firmware of some 2.x stations names a session after the card.
        let transaction =
            if self.unit.habit == Habit::Plain { format!("{token}-{}", self.sessions) } else { format!("T{}", self.sessions) };
        let energy = 7_000 + 613 * self.sessions + self.meter % 4_321;
        let reservation = self.reservation.take();
        Visit { token, kind, transaction, at: self.clock, meter: self.meter, energy, remote_start: None, reservation }
    }

    /// A session from plugging in to driving off.
    async fn charge(&mut self, mut visit: Visit, reason: &str) -> Measured {
        let unit = self.unit;
        self.last.clone_from(&visit.token);
        let begin = if unit.version == Version::V16 { ["Preparing", "Charging"] } else { ["Occupied", "Occupied"] };
        self.call(messages::status(unit, begin[0], visit.at, None)).await?;
        let started = self.call(messages::start(unit, &visit)).await?;
        if unit.version == Version::V16 {
            visit.transaction = started["transactionId"].to_string();
            self.call(messages::status(unit, begin[1], visit.at, None)).await?;
        }
        for reading in messages::readings(unit, &visit) {
            self.call(reading).await?;
        }
        while reason == "Remote" && !self.stop {
            self.hear().await?;
        }
        self.stop = false;
        self.call(messages::stop(unit, &visit, reason)).await?;
        self.call(messages::status(unit, "Available", visit.end(), Some(&visit.token))).await?;
        self.meter += visit.energy;
        self.clock = visit.end();
        Ok(visit.energy)
    }

    /// Sends a CALL and waits for its answer; meanwhile does what the central system asks.
    async fn call(&mut self, (action, payload): Call) -> Result<Value, Trouble> {
        let payload = worded(self.unit.version, action, false, payload)?;
        tokio::time::sleep(Duration::from_millis(self.pace.load(Ordering::Relaxed))).await;
        let id = self.line.call(action, &payload).await?;
        loop {
            let next = tokio::time::timeout(PATIENCE, self.line.next()).await;
            let frame = next.map_err(|_| Trouble::Silence(self.unit.id.to_owned(), action.to_owned()))??;
            if matches!(frame[0].as_u64(), Some(3 | 4)) && frame[1] == id.as_str() {
                return Ok(frame[2].clone());
            }
            self.hears(&frame).await?;
        }
    }

    /// Waits for the central system to ask for something.
    async fn hear(&mut self) -> Result<(), Trouble> {
        let next = tokio::time::timeout(PATIENCE, self.line.next()).await;
        let frame = next.map_err(|_| Trouble::Silence(self.unit.id.to_owned(), "remote start or stop".to_owned()))??;
        self.hears(&frame).await
    }

    /// Does what the central system asks, and answers.
    async fn hears(&mut self, frame: &Value) -> Result<(), Trouble> {
        if frame[0] != 2 {
            return Ok(());
        }
        let (id, action, payload) = (&frame[1], frame[2].as_str().unwrap_or_default(), &frame[3]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match action {
            "RemoteStartTransaction" => self.start = Some((text(&payload["idTag"]), "ISO14443".to_owned(), None)),
            "RequestStartTransaction" => {
                let token = &payload["idToken"];
                self.start = Some((text(&token["idToken"]), text(&token["type"]), payload["remoteStartId"].as_i64()));
            }
            "RemoteStopTransaction" | "RequestStopTransaction" => self.stop = true,
            // Careless firmware: the error quotes the whole request, in which the gateway has put the card number back.
            "ReserveNow" if self.unit.habit == Habit::Quotes => {
                let quote = format!("cannot reserve for {payload}");
                return self.line.send(&json!([4, id, "InternalError", quote, {"request": payload}])).await;
            }
            "ReserveNow" => self.reservation = payload["reservationId"].as_i64().or_else(|| payload["id"].as_i64()),
            "TriggerMessage" => self.owed = Some(messages::status(self.unit, "Available", self.clock, Some(&self.last))),
            "SendLocalList" => {}
            _ => return self.line.send(&json!([4, id, "NotImplemented", "", {}])).await,
        }
        let answer = worded(self.unit.version, action, true, json!({"status": "Accepted"}))?;
        self.line.send(&json!([3, id, answer])).await
    }

    /// Sends what the central system asked to be told.
    async fn pays(&mut self) -> Result<(), Trouble> {
        match self.owed.take() {
            Some(call) => self.call(call).await.map(drop),
            None => Ok(()),
        }
    }
}
