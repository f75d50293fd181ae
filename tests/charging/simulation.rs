//! Thousands of sessions at once, and nonsense. What is no failure: that a session is corrected on the way. What is: that it is billed twice or
//! never, that its last bill is not what happened, or that batches and kills make a difference.

use super::books::{Books, Durable, Row, check, energy, t};
use super::world::{Dice, Truth, world};
use proptest::prelude::*;
use rust_decimal::Decimal;
use sluis::charging::{ChargingSession, Ending, Remark};
use sluis::clock::Timestamp;
use sluis::ocpp::Version;
use std::collections::BTreeMap;

/// What tells sessions apart.
type Place = (String, u32, Timestamp);

/// All bills of each session, without their random ids.
fn bills(durable: &Durable) -> BTreeMap<Place, Vec<ChargingSession>> {
    let mut bills = BTreeMap::new();
    for list in durable.bills.values() {
        let list: Vec<ChargingSession> = list.iter().map(|bill| ChargingSession { id: String::new(), ..bill.clone() }).collect();
        let last = list.last().expect("at least one");
        let twice = bills.insert((last.station.clone(), last.evse, last.started), list.clone());
        assert!(twice.is_none(), "two sessions at one place and time: {list:#?} {twice:#?}");
    }
    bills
}

fn is_as_it_happened(truths: &[Truth], bills: &BTreeMap<Place, Vec<ChargingSession>>) {
    for truth in truths {
        let list = bills.get(&(truth.station.clone(), truth.evse, truth.started));
        let bill = list.and_then(|list| list.last()).unwrap_or_else(|| panic!("never billed: {truth:#?}"));
        let readings: Vec<(Timestamp, Decimal)> = truth.readings.iter().map(|(at, wh)| (*at, Decimal::from(*wh))).collect();
        let mut remarks = bill.remarks.clone();
        remarks.remove(&Remark::Late);
        let same = bill.readings.iter().map(|r| (r.at, r.wh)).eq(readings)
            && bill.ended == Some(truth.ended)
            && bill.connector == truth.connector
            && bill.token.as_ref().map(|token| &token.code) == truth.token.as_ref()
            && bill.idle == truth.idle
            && (bill.ending == Some(Ending::Stopped)) == truth.stopped
            && remarks == truth.remarks;
        assert!(same, "{truth:#?}\nwas billed as\n{bill:#?}");
        list.into_iter().flatten().for_each(check);
    }
    assert_eq!(truths.len(), bills.len());
}

/// Reads a journal fact by fact, and lets everything age.
fn read_singly(rows: &[Row]) -> Books {
    let mut books = Books::new();
    books.journal = rows.to_vec();
    for at in 0..rows.len() {
        books.read(at);
        books.commit(at + 1);
    }
    books.wait(rows.last().map_or(t(0), |row| Timestamp(row.at.0 + 5 * 86_400_000)));
    books
}

/// Reads it in batches of any size and is killed at any point.
fn read_anyhow(rows: &[Row], dice: &mut Dice) -> (Books, usize) {
    let mut books = Books::new();
    books.journal = rows.to_vec();
    let (mut at, mut kills) = (0, 0);
    while at < rows.len() {
        let batch = 1 + dice.below(400) as usize;
        let end = rows.len().min(at + batch);
        let killed = dice.one_in(6).then(|| at + dice.below(batch as i64) as usize);
        (at..end).filter(|i| killed.is_none_or(|killed| *i <= killed)).for_each(|i| books.read(i));
        if killed.is_some() {
            kills += 1;
            at = books.kill();
        } else {
            books.commit(end);
            at = end;
        }
    }
    books.wait(rows.last().map_or(t(0), |row| Timestamp(row.at.0 + 5 * 86_400_000)));
    (books, kills)
}

#[test]
fn ten_thousand_sessions_are_billed_once_and_as_they_happened() {
    let mut counted = [0; 4];
    for seed in 0..5 {
        let (truths, rows) = world(seed, 45, 48);
        let singly = read_singly(&rows);
        let bills = bills(&singly.durable);
        is_as_it_happened(&truths, &bills);
        assert_eq!(singly.machine.open(), 0);
        let (anyhow, kills) = read_anyhow(&rows, &mut Dice(seed));
        assert!(super::simulation::bills(&anyhow.durable) == bills, "batches or kills make a difference");
        counted[0] += truths.len();
        counted[1] += rows.len();
        counted[2] += kills;
        counted[3] += bills.values().map(|list| list.len() - 1).sum::<usize>();
    }
    let [sessions, facts, kills, corrections] = counted;
    println!("{sessions} sessions, {facts} facts, {kills} kills, {corrections} corrections");
    assert!(sessions >= 10_000 && kills >= 50, "{sessions} sessions, {kills} kills");
}

/// JSON of any shape, made of the words that mean something.
fn anything() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        (0..40i64).prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("JSON", |x| x.is_finite()).prop_map(|x| format!("{x:e}")),
        "[0-9]{1,40}(\\.[0-9]{1,40})?(e[0-9]{1,5})?".prop_map(|text| format!("\"{text}\"")),
        (0..400i64).prop_map(|minute| format!("\"{}\"", t(minute - 200).rfc3339())),
        prop_oneof![
            Just("1970-01-01T00:00:00Z"),
            Just("9999-12-31T23:59:59Z"),
            Just("Started"),
            Just("Ended"),
            Just("Charging"),
            Just("Idle"),
            Just("kWh"),
            Just("L1"),
            Just("Sample.Clock"),
            Just("Energy.Active.Import.Interval"),
            Just("A"),
            Just("")
        ]
        .prop_map(|word| format!("\"{word}\"")),
    ];
    let name = prop::sample::select(vec![
        "connectorId",
        "idTag",
        "meterStart",
        "meterStop",
        "timestamp",
        "transactionId",
        "transactionData",
        "meterValue",
        "sampledValue",
        "value",
        "unit",
        "unitOfMeasure",
        "multiplier",
        "phase",
        "context",
        "measurand",
        "eventType",
        "seqNo",
        "transactionInfo",
        "chargingState",
        "evse",
        "id",
        "idToken",
        "type",
    ]);
    leaf.prop_recursive(4, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name.clone(), inner), 0..9).prop_map(|members| {
                let members: Vec<String> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// A payload that has what its message needs, with anything in the places that matter.
fn likely() -> impl Strategy<Value = (&'static str, String)> {
    let (id, number, odd) = (0..4i64, 0..4i64, anything());
    let wh = prop_oneof![(0..100_000i64).prop_map(|n| n.to_string()), any::<u64>().prop_map(|n| n.to_string()), anything()];
    let time = prop_oneof![6 => (0..400i64).prop_map(|m| format!("\"{}\"", t(m - 100).rfc3339())), 1 => anything()];
    let kind = prop::sample::select(vec!["Started", "Updated", "Ended"]);
    let which =
        prop::sample::select(vec!["StartTransaction", "StartTransactionResponse", "StopTransaction", "MeterValues", "TransactionEvent"]);
    (which, id, number, wh, time, kind, odd).prop_map(|(which, id, number, wh, time, kind, odd)| {
        let values = format!(r#"[{{"timestamp":{time},"sampledValue":[{{"value":{wh}}},{odd}]}},{odd}]"#);
        let payload = match which {
            "StartTransaction" => format!(r#"{{"connectorId":{id},"idTag":"A{number}","meterStart":{wh},"timestamp":{time}}}"#),
            "StartTransactionResponse" => format!(r#"{{"transactionId":{number}}}"#),
            "StopTransaction" => {
                format!(r#"{{"transactionId":{number},"meterStop":{wh},"timestamp":{time},"transactionData":{values}}}"#)
            }
            "MeterValues" => format!(r#"{{"connectorId":{id},"transactionId":{number},"meterValue":{values}}}"#),
            _ => format!(
                r#"{{"eventType":"{kind}","timestamp":{time},"seqNo":{number},"transactionInfo":{{"transactionId":"t{id}"}},"meterValue":{values},"idToken":{odd},"evse":{{"id":{id}}}}}"#
            ),
        };
        (which, payload)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes: no panic, nothing negative, nothing absurd, each session billed once, batches make no difference.
    #[test]
    fn no_payload_does_harm(
        facts in prop::collection::vec((prop_oneof![3 => likely(), 1 => ("[A-Za-z]{1,12}", anything()).prop_map(|(_, json)| ("MeterValues", json)), 1 => anything().prop_map(|json| ("TransactionEvent", json)), 1 => anything().prop_map(|json| ("StopTransaction", json))], 0..6u8, 0..90i64, 0..3usize), 1..40),
        seed: u64,
    ) {
        let mut seen = 0;
        let mut rows = Vec::new();
        for ((action, payload), message, later, version) in facts {
            seen += later;
            rows.push(Row { station: "S".into(), version: Version::ALL[version], at: t(seen), action, message: message.to_string(), payload });
        }
        let singly = read_singly(&rows);
        for session in singly.durable.bills.values().flatten() {
            check(session);
            prop_assert!(energy(session) >= Decimal::ZERO);
        }
        prop_assert_eq!(singly.machine.open(), 0);
        let mut dice = Dice(seed);
        let (anyhow, _) = read_anyhow(&rows, &mut dice);
        let sorted = |durable: &Durable| {
            let mut all: Vec<String> = durable.bills.values().map(|list| {
                let list: Vec<ChargingSession> = list.iter().map(|bill| ChargingSession { id: String::new(), ..bill.clone() }).collect();
                format!("{list:?}")
            }).collect();
            all.sort();
            all
        };
        prop_assert_eq!(sorted(&singly.durable), sorted(&anyhow.durable));
        prop_assert_eq!(singly.durable.strays.len(), anyhow.durable.strays.len());
    }
}
