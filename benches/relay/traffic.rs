//! What stations say: a charging session as it is on the street, over and over, in 1.6 and 2.0.1. Ids, transactions and times have places
//! of fixed width that are written over in the finished frame, so that saying it costs nothing.

use crate::wire;
use sluis::clock::{Timestamp, now};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Digits of a number that is written into a frame.
const WIDTH: usize = 7;
/// Stands for the number of the message.
const ID: &str = "#######";
/// Stands for the number of the transaction.
const TRANSACTION: &str = "@@@@@@@";
/// Stands for the time, as `2026-11-24T10:00:00Z`.
const TIME: &str = "TTTTTTTTTTTTTTTTTTTT";

/// One message of a station.
struct Message {
    frame: Vec<u8>,
    ids: Vec<usize>,
    transactions: Vec<usize>,
    times: Vec<usize>,
    /// Whether a bill may need it, so that its answer waits for the disk.
    billed: bool,
}

/// Messages that a bill may need.
const BILLED: [&str; 4] = ["\"StartTransaction\"", "\"StopTransaction\"", "\"MeterValues\"", "\"TransactionEvent\""];

/// What stations say of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Says {
    All,
    /// Only what a bill may need: the TransactionEvents of a station that speaks 2.0.1, for those of 1.6 are mostly thinned.
    Billed,
    /// Only what no bill needs.
    Unbilled,
}

/// The messages of a session, in order. Stations with the same card, version and words share them: a new station costs nothing to make up.
pub(crate) struct Script {
    messages: Arc<[Message]>,
    /// The message that is being said.
    frame: Vec<u8>,
    at: usize,
    sent: u32,
    transaction: u32,
    /// The second that was last told, and how it is written.
    time: (i64, String),
}

impl Script {
    /// Exchanges of a whole session.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The script of a station: every second one speaks 2.0.1.
    pub(crate) fn new(number: usize, says: Says) -> Self {
        // Two hundred cards, which the gateway soon knows.
        let (two, card) = (Self::speaks_two(number, says), number % 200);
        let mut known = KNOWN.lock().expect("nobody panics with it");
        let messages = Arc::clone(known.entry((two, card, says)).or_insert_with(|| messages(two, card, says)));
        let transaction = 1_000_000 + (number as u32 * 1000) % 8_000_000;
        Self { messages, frame: Vec::new(), at: 0, sent: 1_000_000, time: (0, Timestamp(0).rfc3339()), transaction }
    }

    fn speaks_two(number: usize, says: Says) -> bool {
        says == Says::Billed || !number.is_multiple_of(2)
    }

    /// The subprotocol of a station.
    pub(crate) fn protocol(number: usize, says: Says) -> &'static str {
        if Self::speaks_two(number, says) { "ocpp2.0.1" } else { "ocpp1.6" }
    }

    /// The next frame to send, and whether a bill may need it.
    pub(crate) fn next(&mut self) -> (&[u8], bool) {
        self.sent = (self.sent + 1) % 10_000_000;
        if self.at == 0 {
            self.transaction = (self.transaction + 1) % 10_000_000;
        }
        let at = self.at;
        self.at = (at + 1) % self.messages.len();
        let message = &self.messages[at];
        self.frame.clear();
        self.frame.extend_from_slice(&message.frame);
        for (places, number) in [(&message.ids, self.sent), (&message.transactions, self.transaction)] {
            for place in places {
                let mut rest = number;
                for digit in self.frame[*place..*place + WIDTH].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
        }
        if !message.times.is_empty() {
            let now = now();
            if now.seconds() != self.time.0 {
                self.time = (now.seconds(), now.rfc3339());
            }
        }
        for place in &message.times {
            self.frame[*place..*place + TIME.len()].copy_from_slice(self.time.1.as_bytes());
        }
        (&self.frame, message.billed)
    }

    /// Takes the transaction id that the central system gave.
    pub(crate) fn heard(&mut self, answer: &str) {
        if let Some((_, rest)) = answer.split_once("\"transactionId\":") {
            self.transaction = rest[..rest.find([',', '}']).unwrap_or(rest.len())].parse().unwrap_or(self.transaction);
        }
    }
}

/// What the messages of a station depend on: whether it speaks 2.0.1, the number of its card, and what it says.
type Kind = (bool, usize, Says);

/// The messages of stations of each kind.
static KNOWN: Mutex<BTreeMap<Kind, Arc<[Message]>>> = Mutex::new(BTreeMap::new());

fn messages(speaks_two: bool, card: usize, says: Says) -> Arc<[Message]> {
    let card = format!("04A2B3C4D5{card:04X}");
    let mut texts = if speaks_two { two(&card) } else { one_six(&card) };
    if says != Says::All {
        texts.retain(|text| BILLED.iter().any(|action| text.contains(action)) == (says == Says::Billed));
    }
    let messages = texts.iter().map(|text| {
        let frame = wire::text(text, true);
        let places = |mark: &str| frame.windows(mark.len()).enumerate().filter(|(_, w)| *w == mark.as_bytes()).map(|(at, _)| at).collect();
        let billed = BILLED.iter().any(|action| text.contains(action));
        Message { ids: places(ID), transactions: places(TRANSACTION), times: places(TIME), frame, billed }
    });
    messages.collect()
}

fn samples(sampled: impl Fn(&str, &str, &str) -> String) -> String {
    [
        ("Energy.Active.Import.Register", "1234567.5", "Wh"),
        ("Power.Active.Import", "10987.3", "W"),
        ("Current.Import", "15.92", "A"),
        ("Current.Offered", "16", "A"),
        ("Voltage", "229.7", "V"),
        ("Frequency", "49.98", "Hz"),
        ("Temperature", "31.5", "Celsius"),
        ("SoC", "63", "Percent"),
    ]
    .map(|(measurand, value, unit)| sampled(measurand, value, unit))
    .join(",")
}

fn one_six(card: &str) -> Vec<String> {
    let call = |action: &str, payload: &str| format!("[2,\"{ID}\",\"{action}\",{payload}]");
    let sampled = |measurand: &str, value: &str, unit: &str| {
        format!(
            r#"{{"value":"{value}","context":"Sample.Periodic","format":"Raw","measurand":"{measurand}","location":"Outlet","unit":"{unit}"}}"#
        )
    };
    let meter = call(
        "MeterValues",
        &format!(
            r#"{{"connectorId":1,"transactionId":{TRANSACTION},"meterValue":[{{"timestamp":"TTTTTTTTTTTTTTTTTTTT","sampledValue":[{}]}}]}}"#,
            samples(sampled)
        ),
    );
    let mut all = vec![
        call("BootNotification", r#"{"chargePointVendor":"Example","chargePointModel":"Two Sockets","firmwareVersion":"1.2.3"}"#),
        call("StatusNotification", r#"{"connectorId":1,"errorCode":"NoError","status":"Preparing","timestamp":"TTTTTTTTTTTTTTTTTTTT"}"#),
        call("Authorize", &format!(r#"{{"idTag":"{card}"}}"#)),
        call(
            "StartTransaction",
            &format!(r#"{{"connectorId":1,"idTag":"{card}","meterStart":1234000,"timestamp":"TTTTTTTTTTTTTTTTTTTT"}}"#),
        ),
        call("StatusNotification", r#"{"connectorId":1,"errorCode":"NoError","status":"Charging","timestamp":"TTTTTTTTTTTTTTTTTTTT"}"#),
    ];
    for _ in 0..5 {
        all.push(meter.clone());
        all.push(call("Heartbeat", "{}"));
        all.push(meter.clone());
    }
    all.push(call(
        "StopTransaction",
        &format!(
            r#"{{"idTag":"{card}","meterStop":1250000,"timestamp":"TTTTTTTTTTTTTTTTTTTT","transactionId":{TRANSACTION},"reason":"Local"}}"#
        ),
    ));
    all.push(call(
        "StatusNotification",
        r#"{"connectorId":1,"errorCode":"NoError","status":"Available","timestamp":"TTTTTTTTTTTTTTTTTTTT"}"#,
    ));
    all
}

fn two(card: &str) -> Vec<String> {
    let call = |action: &str, payload: &str| format!("[2,\"{ID}\",\"{action}\",{payload}]");
    let token = format!(r#""idToken":{{"idToken":"{card}","type":"ISO14443"}}"#);
    let sampled = |measurand: &str, value: &str, unit: &str| {
        format!(
            r#"{{"value":{value},"context":"Sample.Periodic","measurand":"{measurand}","location":"Outlet","unitOfMeasure":{{"unit":"{unit}"}}}}"#
        )
    };
    let event = |kind: &str, reason: &str, more: &str| {
        call(
            "TransactionEvent",
            &format!(
                r#"{{"eventType":"{kind}","timestamp":"TTTTTTTTTTTTTTTTTTTT","triggerReason":"{reason}","seqNo":1,"transactionInfo":{{"transactionId":"tx-{TRANSACTION}"}},"evse":{{"id":1,"connectorId":1}}{more}}}"#
            ),
        )
    };
    let meter = |context: &str| {
        format!(
            r#","meterValue":[{{"timestamp":"TTTTTTTTTTTTTTTTTTTT","sampledValue":[{}]}}]"#,
            samples(sampled).replace("Sample.Periodic", context)
        )
    };
    let mut all = vec![
        call("BootNotification", r#"{"reason":"PowerUp","chargingStation":{"vendorName":"Example","model":"Two Sockets"}}"#),
        call("StatusNotification", r#"{"timestamp":"TTTTTTTTTTTTTTTTTTTT","connectorStatus":"Available","evseId":1,"connectorId":1}"#),
        call("Authorize", &format!("{{{token}}}")),
        event("Started", "Authorized", &format!(",{token}{}", meter("Transaction.Begin"))),
        call("StatusNotification", r#"{"timestamp":"TTTTTTTTTTTTTTTTTTTT","connectorStatus":"Occupied","evseId":1,"connectorId":1}"#),
    ];
    for _ in 0..5 {
        all.push(event("Updated", "MeterValuePeriodic", &meter("Sample.Periodic")));
        all.push(call("Heartbeat", "{}"));
        all.push(event("Updated", "MeterValuePeriodic", &meter("Sample.Periodic")));
    }
    all.push(event("Ended", "EVDeparted", &format!(",{token}{}", meter("Transaction.End"))));
    all.push(call(
        "StatusNotification",
        r#"{"timestamp":"TTTTTTTTTTTTTTTTTTTT","connectorStatus":"Available","evseId":1,"connectorId":1}"#,
    ));
    all
}

/// A central system's answer to a CALL of which the beginning is known.
pub(crate) fn answer(head: &str, transaction: u32) -> Option<String> {
    let mut words = head.split('"');
    let (_, id, _, action) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let payload = match action {
        "BootNotification" => r#"{"currentTime":"2026-11-24T10:00:00Z","interval":300,"status":"Accepted"}"#,
        "Heartbeat" => r#"{"currentTime":"2026-11-24T10:00:00Z"}"#,
        "Authorize" if head.contains("\"idToken\"") => r#"{"idTokenInfo":{"status":"Accepted"}}"#,
        "Authorize" | "StopTransaction" => r#"{"idTagInfo":{"status":"Accepted"}}"#,
        "StartTransaction" => {
            return Some(format!(r#"[3,"{id}",{{"transactionId":{transaction},"idTagInfo":{{"status":"Accepted"}}}}]"#));
        }
        _ => "{}",
    };
    Some(format!(r#"[3,"{id}",{payload}]"#))
}
