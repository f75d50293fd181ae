//! A central system: answers at once, later, twice, with an error or never; sends CALLs of its own, among them guesses; and remembers all that
//! it was ever told, which is what a curious one has.

use super::dice::Dice;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Csms {
    numbers: i64,
    ids: u64,
    /// Codes it has seen.
    pub(crate) codes: BTreeSet<String>,
    /// By transaction, as it knows it: the code it began with.
    begun: BTreeMap<String, String>,
    /// Answers to be given later, by link.
    pub(crate) later: Vec<(u64, String)>,
    pub(crate) calm: bool,
}

impl Csms {
    /// A frame of a station arrives. The answers to give now; an error if a transaction changes its code.
    pub(crate) fn reads(&mut self, link: u64, station: &str, frame: &Value, dice: &mut Dice) -> Result<Vec<String>, String> {
        if frame[0] != 2 {
            return Ok(Vec::new());
        }
        let (id, payload) = (&frame[1], &frame[3]);
        let token = payload.get("idTag").or_else(|| payload.get("idToken")?.get("idToken")).and_then(Value::as_str);
        let token = token.map(str::to_owned);
        self.codes.extend(token.clone());
        let action = frame[2].as_str().unwrap_or_default();
        let transaction = match action {
            "StartTransaction" => {
                self.numbers += 1;
                Some(format!("{station} {}", self.numbers))
            }
            "StopTransaction" => Some(format!("{station} {}", payload["transactionId"])),
            "TransactionEvent" => Some(format!("{station} {}", payload["transactionInfo"]["transactionId"])),
            _ => None,
        };
        if let Some((transaction, code)) = transaction.zip(token) {
            let begun = self.begun.entry(transaction.clone()).or_insert_with(|| code.clone());
            if *begun != code {
                return Err(format!("transaction {transaction} began with {begun} and goes on with {code}"));
            }
        }
        let result = match action {
            "StartTransaction" => json!({"transactionId": self.numbers, "idTagInfo": {"status": "Accepted"}}),
            "Heartbeat" => json!({"currentTime": "2026-11-24T10:00:00Z"}),
            "Authorize" if payload.get("idTag").is_some() => json!({"idTagInfo": {"status": "Accepted"}}),
            "Authorize" => json!({"idTokenInfo": {"status": "Accepted"}}),
            _ => json!({}),
        };
        let answer = json!([3, id, result]).to_string();
        let chance = if self.calm { 99 } else { dice.below(20) };
        Ok(match chance {
            0 => vec![answer.clone(), answer],
            1 | 2 => {
                self.later.push((link, answer));
                Vec::new()
            }
            3 => Vec::new(),
            4 => vec![json!([4, id, "InternalError", "busy", {}]).to_string()],
            5 => vec![answer, json!([3, format!("none-{id}"), {"idTagInfo": {"status": "Accepted"}}]).to_string()],
            _ => vec![answer],
        })
    }

    /// A CALL of its own: an order for a driver it knows, for one it guesses, or a question.
    pub(crate) fn calls(&mut self, one_six: bool, guess: &str, dice: &mut Dice) -> String {
        self.ids += 1;
        // Ids as stations use them, so that both directions have the same at a time.
        let id = self.ids % 40;
        let codes: Vec<&String> = self.codes.iter().collect();
        let known = dice.pick(&codes).map_or(guess, |code| code.as_str());
        let driver = if dice.one_in(4) { guess } else { known };
        let token = json!({"idToken": driver, "type": "ISO14443"});
        let (action, payload) = match (dice.below(3), one_six) {
            (0, true) => ("RemoteStartTransaction", json!({"connectorId": 1, "idTag": driver})),
            (0, false) => ("RequestStartTransaction", json!({"remoteStartId": id, "idToken": token})),
            (1, true) => ("SendLocalList", json!({"listVersion": 1, "updateType": "Full", "localAuthorizationList": [{"idTag": driver}]})),
            (1, false) => {
                ("SendLocalList", json!({"versionNumber": 1, "updateType": "Full", "localAuthorizationList": [{"idToken": token}]}))
            }
            (_, true) => ("GetConfiguration", json!({"key": ["HeartbeatInterval"]})),
            (_, false) => ("GetLocalListVersion", json!({})),
        };
        json!([2, id.to_string(), action, payload]).to_string()
    }
}
