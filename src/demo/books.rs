//! The books of the demo's central system: sessions and drivers, all of them by the codes it was given, and the orders it words with them.

use super::cast::GUESS;
use super::messages::{MORNING, time};
use crate::ocpp::Version;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};

/// Sessions kept, and codes of cards seen; the oldest go first.
const MAX_KEPT: usize = 1000;

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

/// What the central system has learned, all of it by code.
#[derive(Default)]
pub(super) struct Books {
    sales: VecDeque<Sale>,
    /// Codes seen, with the token type they came with, the latest last.
    codes: VecDeque<(String, String)>,
    /// The latest at each station.
    latest: HashMap<String, (String, String)>,
    number: i64,
}

impl Books {
    /// The sessions, oldest first.
    pub(super) fn sales(&self) -> impl Iterator<Item = &Sale> {
        self.sales.iter()
    }

    /// Whether a session runs at a station.
    pub(super) fn is_charging(&self, station: &str) -> bool {
        self.sales.iter().any(|sale| sale.station == station && sale.to.is_none())
    }

    /// A code was shown at a station.
    pub(super) fn saw(&mut self, station: &str, code: &Value, kind: &str) {
        let Some(code) = code.as_str() else { return };
        let token = (code.to_owned(), kind.to_owned());
        self.codes.retain(|(known, _)| known != code);
        self.codes.push_back(token.clone());
        if self.codes.len() > MAX_KEPT {
            self.codes.pop_front();
        }
        self.latest.insert(station.to_owned(), token);
    }

    /// The same, from a 2.x token.
    pub(super) fn saw_token(&mut self, station: &str, token: &Value) {
        self.saw(station, &token["idToken"], token["type"].as_str().unwrap_or("Central"));
    }

    fn open(&mut self, sale: Sale) {
        self.sales.push_back(sale);
        if self.sales.len() > MAX_KEPT {
            self.sales.pop_front();
        }
    }

    /// 1.6: a session begins; returns its number.
    pub(super) fn begins(&mut self, station: &str, payload: &Value) -> i64 {
        self.number += 1;
        let code = payload["idTag"].as_str().unwrap_or_default().to_owned();
        let from = payload["meterStart"].as_i64().unwrap_or_default();
        self.open(Sale { station: station.to_owned(), transaction: self.number.to_string(), code, from, to: None });
        self.number
    }

    /// A session ends.
    pub(super) fn ends(&mut self, station: &str, transaction: &str, register: Option<i64>) {
        let running = |sale: &&mut Sale| sale.station == station && sale.transaction == transaction;
        if let Some(sale) = self.sales.iter_mut().find(running) {
            sale.to = register;
        }
    }

    /// 2.x: a TransactionEvent.
    pub(super) fn event(&mut self, station: &str, payload: &Value) {
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
    pub(super) fn word(&mut self, station: &str, version: Version, order: Order) -> Option<(&'static str, Value)> {
        let old = version == Version::V16;
        self.number += 1;
        let number = self.number;
        let token = |code: &str, kind: &str| json!({"idToken": code, "type": kind});
        let latest = self.latest.get(station);
        let wish = match order {
            Order::Start | Order::Guess => {
                let guess = (GUESS.to_owned(), "ISO14443".to_owned());
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
                    let list: Vec<Value> =
                        known.map(|(code, kind)| json!({"idToken": token(code, kind), "idTokenInfo": {"status": "Accepted"}})).collect();
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
    let samples =
        payload["meterValue"].as_array()?.iter().rev().flat_map(|reading| reading["sampledValue"].as_array().into_iter().flatten());
    let mut registers = samples.filter(|s| s.get("measurand").is_none_or(|m| m == "Energy.Active.Import.Register"));
    // rust_decimal writes whole numbers of Wh; a real station's fraction is cut here, where only the demo's own sums are made.
    registers.next().and_then(|s| s["value"].as_f64()).map(|wh| wh as i64)
}
