//! Row 9: what a station stored while it was offline, sent again and again.

use super::common::{Lock, keyring, rotate, strict};
use super::wire::{End, Scene};
use sluis::ocpp::{Side, Version};
use sluis::session::{Outcome, Session};
use std::sync::Arc;

const CARD: &str = "04A2B3C4D5E6F7";

fn start(id: &str, time: &str) -> String {
    format!(r#"[2,"{id}","StartTransaction",{{"connectorId":1,"idTag":"{CARD}","meterStart":1000,"timestamp":"{time}"}}]"#)
}

fn stop(id: &str, number: i64, time: &str) -> String {
    format!(r#"[2,"{id}","StopTransaction",{{"transactionId":{number},"idTag":"{CARD}","meterStop":9000,"timestamp":"{time}"}}]"#)
}

fn tag(frame: &str) -> String {
    frame.split("\"idTag\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn field_09_old_messages_pass_with_their_own_time() {
    let mut lock = Lock::new(Version::V16);
    for (n, time) in ["2026-11-24T09:00:00Z", "2026-11-23T10:00:00Z", "2026-08-24T10:00:00Z", "1970-01-01T00:00:17Z"].iter().enumerate() {
        let seen = lock.station_sends(&start(&n.to_string(), time));
        assert!(seen.contains(time), "{seen}");
        lock.csms_sends(&format!(r#"[3,"{n}",{{"transactionId":{},"idTagInfo":{{"status":"Accepted"}}}}]"#, n + 1));
    }
    // A station that never got a number sends -1; another one that nobody knows, too.
    for number in [-1, 4711] {
        let seen = lock.station_sends(&stop(&format!("s{number}"), number, "2026-11-23T11:00:00Z"));
        assert!(seen.contains(&format!("\"transactionId\":{number},")), "{seen}");
        lock.csms_sends(&format!(r#"[3,"s{number}",{{}}]"#));
    }
    assert_eq!(lock.facts.iter().filter(|f| f.action == "StopTransaction").count(), 2);
}

#[test]
fn field_09_events_with_gaps_and_repetitions_pass_as_they_are() {
    let mut lock = Lock::new(Version::V201);
    for (n, (kind, seq)) in
        [("Started", 0), ("Updated", 4), ("Updated", 2), ("Updated", 2), ("Ended", 9), ("Ended", 9), ("Started", 0)].iter().enumerate()
    {
        let event = format!(
            r#"[2,"{n}","TransactionEvent",{{"eventType":"{kind}","timestamp":"2026-11-23T10:0{n}:00Z","triggerReason":"Authorized","seqNo":{seq},"offline":true,"transactionInfo":{{"transactionId":"t1"}}}}]"#
        );
        assert_eq!(lock.station_sends(&event), event);
        lock.csms_sends(&format!(r#"[3,"{n}",{{}}]"#));
    }
    assert_eq!(lock.facts.len(), 7);
}

/// Another connection of the same station, with what is durable.
fn reconnect(lock: &mut Lock) {
    lock.session = Session::new(Version::V16, "CP-1", strict(), lock.keys.clone());
}

/// The same session does not split: a transaction keeps the code that it began with, over reconnects, lost acknowledgements and rotations.
#[test]
fn field_09_a_transaction_keeps_its_code_through_reconnects_and_a_rotation() {
    let mut lock = Lock::with(Version::V16, strict(), Arc::new(keyring(&[0], 0)));
    let began = tag(&lock.station_sends(&start("1", "2026-11-24T10:00:00Z")));
    lock.csms_sends(r#"[3,"1",{"transactionId":5,"idTagInfo":{"status":"Accepted"}}]"#);
    rotate(&lock.keys, &[0, 1], 1);
    reconnect(&mut lock);
    assert_ne!(tag(&lock.station_sends(&format!(r#"[2,"a","Authorize",{{"idTag":"{CARD}"}}]"#))), began, "what begins now has a new code");
    lock.csms_sends(r#"[3,"a",{"idTagInfo":{"status":"Accepted"}}]"#);
    // Stopped; the acknowledgement is lost on the way, twice; the third is repeated though it came.
    for round in 0..4 {
        let seen = lock.station_sends(&stop(&format!("s{round}"), 5, "2026-11-24T11:00:00Z"));
        assert_eq!(tag(&seen), began, "round {round}");
        lock.csms_sends(&format!(r#"[3,"s{round}",{{}}]"#));
        if round < 2 {
            reconnect(&mut lock);
        }
    }
    // The number is used again for another transaction, which has the code of its own beginning.
    let begun = tag(&lock.station_sends(&start("2", "2026-11-24T12:00:00Z")));
    assert_ne!(begun, began);
    lock.csms_sends(r#"[3,"2",{"transactionId":5,"idTagInfo":{"status":"Accepted"}}]"#);
    assert_eq!(tag(&lock.station_sends(&stop("s9", 5, "2026-11-24T13:00:00Z"))), begun);
}

/// Central systems that write the number in quotes, or stations that do, mean the same transaction.
#[test]
fn field_10_a_number_in_quotes_is_the_same_transaction() {
    let pairs = [
        ("\"5\"", "5"),
        ("5", "\"5\""),
        ("5.0", "5"),
        ("\"5\"", "5.0"),
        ("5e3", "5000"),
        ("123456789", "123456789"),
        ("-12345678", "\"-12345678\""),
    ];
    for (answered, stopped) in pairs {
        let mut lock = Lock::with(Version::V16, strict(), Arc::new(keyring(&[0], 0)));
        let began = tag(&lock.station_sends(&start("1", "2026-11-24T10:00:00Z")));
        lock.csms_sends(&format!(r#"[3,"1",{{"transactionId":{answered},"idTagInfo":{{"status":"Accepted"}}}}]"#));
        let number: f64 = answered.trim_matches('"').parse().unwrap();
        assert_eq!(lock.facts.last().unwrap().payload, format!(r#"{{"transactionId":{number}}}"#));
        rotate(&lock.keys, &[0, 1], 1);
        reconnect(&mut lock);
        let seen = lock
            .station_sends(&stop("2", 5, "2026-11-24T11:00:00Z").replace("\"transactionId\":5", &format!("\"transactionId\":{stopped}")));
        assert_eq!(tag(&seen), began, "{answered} and {stopped}");
    }
}

/// Found by the simulation: a second answer to a start, after a rotation, moved the running transaction to the new epoch.
#[test]
fn field_09_a_second_answer_to_a_start_does_not_move_the_transaction() {
    let mut lock = Lock::with(Version::V16, strict(), Arc::new(keyring(&[0], 0)));
    let began = tag(&lock.station_sends(&start("4", "2026-11-24T10:00:00Z")));
    let answer = r#"[3,"4",{"transactionId":3,"idTagInfo":{"status":"Accepted"}}]"#;
    lock.csms_sends(answer);
    rotate(&lock.keys, &[0, 1], 1);
    lock.station_sends(&start("4", "2026-11-24T10:00:00Z"));
    lock.csms_sends(answer);
    assert_eq!(tag(&lock.station_sends(&stop("5", 3, "2026-11-24T11:00:00Z"))), began);
}

async fn exchange(from: &mut End, to: &mut End, call: &str, answer: &str) -> String {
    from.says(call).await;
    let seen = to.hears().await;
    to.says(answer).await;
    assert_eq!(from.hears().await, answer);
    seen
}

/// Through the real store: reconnects between, the same again, one fact each; the code of the beginning to the end.
#[tokio::test(flavor = "multi_thread")]
async fn field_09_a_replayed_queue_leaves_each_fact_once_on_the_disk() {
    let scene = Scene::new(&[]).await;
    let (mut station, mut csms) = scene.connects("ocpp1.6").await;
    let began = exchange(
        &mut station,
        &mut csms,
        &start("1", "2026-11-23T10:00:00Z"),
        r#"[3,"1",{"transactionId":5,"idTagInfo":{"status":"Accepted"}}]"#,
    )
    .await;
    station.hangs_up().await;
    let mut stops = Vec::new();
    for _ in 0..3 {
        let (mut station, mut csms) = scene.connects("ocpp1.6").await;
        stops.push(exchange(&mut station, &mut csms, &stop("2", 5, "2026-11-23T11:00:00Z"), r#"[3,"2",{}]"#).await);
        station.hangs_up().await;
    }
    assert!(stops.iter().all(|seen| *seen == stops[0] && tag(seen) == tag(&began)), "{stops:?}");
    let rows = scene.serving.gateway.custody.journal.after(0, 100).unwrap();
    let actions: Vec<_> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["StartTransaction", "StartTransactionResponse", "StopTransaction"]);
    scene.serving.stop().await;
}

#[test]
fn field_09_a_refused_replay_is_not_acknowledged() {
    let mut lock = Lock::new(Version::V16);
    let (sent, step) = lock.pass(Side::Station, stop("1", 5, "yesterday").replace("9000", "\"many\"").as_bytes());
    assert_eq!(sent, [(Side::Station, r#"[4,"1","TypeConstraintViolation","not passed on",{}]"#.to_owned())]);
    assert_eq!(step.seen.unwrap().outcome, Outcome::AnsweredHere);
}
