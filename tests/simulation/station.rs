//! A charging station as they are in the field: it queues what makes a bill, sends one CALL at a time (mostly), retries under the same id or
//! another, repeats what was acknowledged, counts its ids anew, and is offline when it likes.

use super::dice::Dice;
use serde_json::{Value, json};
use sluis::clock::Timestamp;
use sluis::ocpp::Version;
use std::collections::VecDeque;

/// One charging session as it happened.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    pub(crate) card: String,
    pub(crate) started: Timestamp,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) over: bool,
    /// What the station calls it (2.x), or the number it was given (1.6).
    name: String,
    number: Option<i64>,
    events: i64,
}

/// A message that waits to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    action: &'static str,
    payload: Value,
    /// The session it belongs to.
    session: usize,
    /// Kept until it is acknowledged.
    pub(crate) bill: bool,
    /// What only it contains, as it stands in the journal.
    pub(crate) mark: String,
}

pub(crate) struct Station {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) cards: Vec<String>,
    pub(crate) truths: Vec<Truth>,
    pub(crate) queue: VecDeque<Message>,
    /// The id under which the first of the queue was sent last, and the frame.
    pub(crate) outstanding: Option<(String, String)>,
    charging: bool,
    register: i64,
    ids: u64,
}

impl Station {
    pub(crate) fn new(number: usize, version: Version, cards: Vec<String>) -> Self {
        let register = 10_000_000 * (number as i64 + 1);
        let name = format!("CS-{number}");
        Self { name, version, cards, truths: Vec::new(), queue: VecDeque::new(), outstanding: None, charging: false, register, ids: 0 }
    }

    /// Something happens at the station.
    pub(crate) fn lives(&mut self, dice: &mut Dice, now: i64) {
        if self.queue.len() > 12 {
            return;
        }
        match (self.charging, dice.below(4)) {
            (false, 0) => self.push("Heartbeat", json!({}), false, String::new()),
            (false, _) => self.begins(dice, now),
            (true, 0) => self.ends(now),
            (true, _) => self.reads_its_meter(dice, now),
        }
    }

    fn push(&mut self, action: &'static str, payload: Value, bill: bool, mark: String) {
        let session = self.truths.len().saturating_sub(1);
        self.queue.push_back(Message { action, payload, session, bill, mark });
    }

    /// A register that only one message shows.
    fn next_register(&mut self) -> i64 {
        self.register += 1_013;
        self.register
    }

    fn begins(&mut self, dice: &mut Dice, now: i64) {
        let card = self.cards[dice.below(self.cards.len() as u64) as usize].clone();
        let spelt = if dice.one_in(3) { card.to_lowercase() } else { card.clone() };
        let started = Timestamp(now / 1000 * 1000);
        let from = self.next_register();
        let name = format!("t{}", self.truths.len());
        self.truths.push(Truth { card, started, from, to: from, over: false, name, number: None, events: 0 });
        self.charging = true;
        match self.version {
            Version::V16 => {
                self.push("Authorize", json!({"idTag": spelt}), false, String::new());
                let start = json!({"connectorId": 1, "idTag": spelt, "meterStart": from, "timestamp": started.rfc3339()});
                self.push("StartTransaction", start, true, from.to_string());
            }
            _ => {
                self.push("Authorize", json!({"idToken": {"idToken": spelt, "type": "ISO14443"}}), false, String::new());
                self.event("Started", started, from, Some(spelt), dice.one_in(4));
            }
        }
    }

    fn reads_its_meter(&mut self, dice: &mut Dice, now: i64) {
        let (at, register) = (Timestamp(now / 1000 * 1000), self.next_register());
        if self.version == Version::V16 {
            let value = json!([{"timestamp": at.rfc3339(), "sampledValue": [{"value": register.to_string()}]}]);
            self.push("MeterValues", json!({"connectorId": 1, "transactionId": "?", "meterValue": value}), true, String::new());
        } else {
            self.event("Updated", at, register, None, dice.one_in(4));
        }
    }

    pub(crate) fn ends(&mut self, now: i64) {
        if !self.charging {
            return;
        }
        let (at, register) = (Timestamp(now / 1000 * 1000), self.next_register());
        self.charging = false;
        let Some(truth) = self.truths.last_mut() else { return };
        (truth.to, truth.over) = (register, true);
        let card = truth.card.clone();
        if self.version == Version::V16 {
            let stop = json!({"transactionId": "?", "idTag": card, "meterStop": register, "timestamp": at.rfc3339(), "reason": "Local"});
            self.push("StopTransaction", stop, true, register.to_string());
        } else {
            self.event("Ended", at, register, Some(card), false);
        }
    }

    fn event(&mut self, kind: &str, at: Timestamp, register: i64, card: Option<String>, offline: bool) {
        let Some(truth) = self.truths.last_mut() else { return };
        let mut event = json!({
            "eventType": kind, "timestamp": at.rfc3339(), "triggerReason": "Authorized", "seqNo": truth.events,
            "transactionInfo": {"transactionId": truth.name}, "evse": {"id": 1, "connectorId": 1},
            "meterValue": [{"timestamp": at.rfc3339(), "sampledValue": [{"value": register}]}],
        });
        truth.events += 1;
        if let Some(card) = card {
            event["idToken"] = json!({"idToken": card, "type": "ISO14443"});
        }
        if offline {
            event["offline"] = json!(true);
        }
        let mark = at.rfc3339();
        self.push("TransactionEvent", event, true, mark);
    }

    fn next_id(&mut self, dice: &mut Dice) -> String {
        if self.ids > 3 && dice.one_in(30) {
            self.ids = 0;
        }
        self.ids += 1;
        self.ids.to_string()
    }

    /// The next CALL, if one may be sent: first of the queue, under a new id.
    pub(crate) fn calls(&mut self, dice: &mut Dice) -> Option<String> {
        if self.outstanding.is_some() {
            return None;
        }
        let first = self.queue.front()?;
        let truth = self.truths.get(first.session);
        let mut payload = first.payload.clone();
        if payload.get("transactionId").is_some() {
            payload["transactionId"] = json!(truth.and_then(|t| t.number)?);
        }
        let action = first.action;
        let id = self.next_id(dice);
        let frame = format!("[2,\"{id}\",\"{action}\",{payload}]");
        self.outstanding = Some((id, frame.clone()));
        Some(frame)
    }

    /// Its patience is over: the same again under the same id, or later under another; what makes no bill is dropped.
    pub(crate) fn loses_patience(&mut self, dice: &mut Dice) -> Option<String> {
        let (_, frame) = self.outstanding.clone()?;
        match dice.below(3) {
            0 => Some(frame),
            _ => {
                self.gives_up();
                None
            }
        }
    }

    pub(crate) fn gives_up(&mut self) {
        if self.outstanding.take().is_some() && self.queue.front().is_some_and(|first| !first.bill) {
            self.queue.pop_front();
        }
    }

    /// Breaks the standard: a second CALL under the id that is outstanding.
    pub(crate) fn reuses_its_id(&self) -> Option<String> {
        let (id, frame) = self.outstanding.as_ref()?;
        let heartbeat = format!("[2,\"{id}\",\"Heartbeat\",{{}}]");
        (*frame != heartbeat).then_some(heartbeat)
    }

    /// An answer comes. What was acknowledged by it, if anything.
    pub(crate) fn is_answered(&mut self, id: &str, result: Option<&Value>, dice: &mut Dice) -> Option<Message> {
        if self.outstanding.as_ref().is_none_or(|(outstanding, _)| outstanding != id) {
            return None;
        }
        let Some(result) = result else {
            self.gives_up();
            return None;
        };
        let first = self.queue.front()?.clone();
        if first.action == "StartTransaction" {
            let Some(number) = result.get("transactionId").and_then(Value::as_i64) else {
                // The answer to something else under the same id.
                self.gives_up();
                return None;
            };
            self.truths[first.session].number = Some(number);
        } else if first.bill && result.get("currentTime").is_some() {
            self.gives_up();
            return None;
        }
        self.outstanding = None;
        if !(first.bill && dice.one_in(15)) {
            self.queue.pop_front();
        }
        Some(first)
    }
}
