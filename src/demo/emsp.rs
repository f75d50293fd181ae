//! The e-MSP's view: what could be billed from the facts that the gateway has journalled, and for whom. The e-MSP knows its customers' cards; the
//! operator turned that list into codes once (`sluis codes`), so that neither needs to send a card number with a session.

use super::books::register;
use super::cast::{UNITS, bare};
use super::wire::Trouble;
use crate::custody::Custody;
use crate::store::JournalRow;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Facts read at a time.
const PAGE: usize = 500;

/// A session that could be billed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Billable {
    pub(super) station: String,
    pub(super) code: String,
    pub(super) from: String,
    pub(super) to: String,
    /// The register at the beginning and at the end, in Wh.
    registers: [Option<i64>; 2],
}

impl Billable {
    /// What was charged, in Wh; `None` while it runs.
    pub(super) fn energy(&self) -> Option<i64> {
        Some(self.registers[1]? - self.registers[0]?)
    }
}

/// The finished sessions in the journal, in the order they began.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn sessions(custody: &Custody) -> Result<Vec<Billable>, Trouble> {
    let (mut facts, mut seq) = (Facts::default(), 0);
    loop {
        let failed = |e: crate::store::StoreError| Trouble::Surroundings("the journal cannot be read", e.to_string());
        let page = custody.journal.after(seq, PAGE).map_err(failed)?;
        let Some(last) = page.last() else { break };
        seq = last.seq;
        page.iter().for_each(|row| facts.take(row));
    }
    let mut all: Vec<Billable> = facts.sessions.into_values().filter(|session| session.energy().is_some()).collect();
    all.sort_by(|one, other| (&one.from, &one.code).cmp(&(&other.from, &other.code)));
    Ok(all)
}

/// The e-MSP's own table: which customer a code stands for.
///
/// # Errors
/// The codes cannot be made.
pub(super) fn customers(custody: &Custody) -> Result<HashMap<String, &'static str>, Trouble> {
    let known: BTreeMap<String, &str> =
        UNITS.iter().flat_map(|unit| unit.visitors).filter_map(|t| Some((bare(t.text), t.customer?))).collect();
    let list: String = known.keys().map(|card| format!("{card}\n")).collect();
    let mut table = Vec::new();
    custody.codes(list.as_bytes(), &mut table, None).map_err(|e| Trouble::Surroundings("no codes for the customers", e.to_string()))?;
    let table = String::from_utf8_lossy(&table);
    let row = |line: &str| {
        let (card, code) = line.split_once('\t')?;
        Some((code.to_owned(), *known.get(card)?))
    };
    Ok(table.lines().filter_map(row).collect())
}

#[derive(Default)]
struct Facts {
    sessions: BTreeMap<(String, String), Billable>,
    /// 1.6: begun and not yet numbered, by station and message id.
    unnumbered: HashMap<(String, String), Billable>,
}

impl Facts {
    fn take(&mut self, row: &JournalRow) {
        let Ok(fact) = serde_json::from_str::<Value>(&row.payload) else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let asked = (row.station.clone(), row.message_id.clone());
        let named = |value: &Value| (row.station.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        match row.action.as_str() {
            "StartTransaction" => {
                let registers = [fact["meterStart"].as_i64(), None];
                let station = row.station.clone();
                let session =
                    Billable { station, code: text(&fact["idTag"]), from: text(&fact["timestamp"]), registers, ..Billable::default() };
                self.unnumbered.insert(asked, session);
            }
            "StartTransactionResponse" => {
                if let Some(session) = self.unnumbered.remove(&asked) {
                    self.sessions.insert(named(&fact["transactionId"]), session);
                }
            }
            "StopTransaction" => {
                let session = self.sessions.entry(named(&fact["transactionId"])).or_default();
                session.registers[1] = fact["meterStop"].as_i64();
                session.to = text(&fact["timestamp"]);
            }
            "TransactionEvent" => {
                let session = self.sessions.entry(named(&fact["transactionInfo"]["transactionId"])).or_default();
                session.station.clone_from(&row.station);
                match fact["eventType"].as_str() {
                    Some("Started") => {
                        session.code = text(&fact["idToken"]["idToken"]);
                        session.from = text(&fact["timestamp"]);
                        session.registers[0] = register(&fact);
                    }
                    Some("Ended") => {
                        session.to = text(&fact["timestamp"]);
                        session.registers[1] = register(&fact);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}
