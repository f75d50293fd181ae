//! Rows 6, 7 and 8: crossing CALLs, ids used again, late answers.

use super::common::Lock;
use super::wire::Scene;
use sluis::clock::Timestamp;
use sluis::ocpp::{Side, Version};
use sluis::session::{MAX_ID, MAX_PENDING, Outcome, Step};

const TEN: i64 = 1_795_514_400_000;

/// Lets minutes pass at the gateway, and hands out what it does of its own accord.
fn pass_minutes(lock: &mut Lock, minutes: i64) -> Vec<Step> {
    // The first call sets the clock.
    (0..=minutes).flat_map(|minute| lock.session.on_time(Timestamp(TEN + minute * 60_000))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn field_06_calls_cross_with_equal_ids_and_no_answer_waits_behind_a_call() {
    let scene = Scene::new(&[]).await;
    let (mut station, mut csms) = scene.connects("ocpp1.6").await;
    // Both call at once, under the same id; neither answers before it has sent another.
    station.says(r#"[2,"1","Heartbeat",{}]"#).await;
    csms.says(r#"[2,"1","GetLocalListVersion",{}]"#).await;
    assert_eq!(csms.hears().await, r#"[2,"1","Heartbeat",{}]"#);
    assert_eq!(station.hears().await, r#"[2,"1","GetLocalListVersion",{}]"#);
    station.says(r#"[3,"1",{"listVersion":4}]"#).await;
    assert_eq!(csms.hears().await, r#"[3,"1",{"listVersion":4}]"#, "not held back by the station's own CALL");
    csms.says(r#"[3,"1",{"currentTime":"2026-11-24T10:00:00Z"}]"#).await;
    assert_eq!(station.hears().await, r#"[3,"1",{"currentTime":"2026-11-24T10:00:00Z"}]"#);
    // Many at once to a station go on in their order; it answers in another.
    for n in 0..20 {
        csms.says(&format!(r#"[2,"c{n}","TriggerMessage",{{"requestedMessage":"Heartbeat"}}]"#)).await;
    }
    for n in 0..20 {
        assert!(station.hears().await.starts_with(&format!(r#"[2,"c{n}","#)));
    }
    for n in (0..20).rev() {
        station.says(&format!(r#"[3,"c{n}",{{"status":"Accepted"}}]"#)).await;
        assert_eq!(csms.hears().await, format!(r#"[3,"c{n}",{{"status":"Accepted"}}]"#));
    }
    scene.serving.stop().await;
}

#[test]
fn field_06_one_call_more_than_may_wait_is_refused_and_the_others_are_still_answered() {
    for from in [Side::Station, Side::Csms] {
        let mut lock = Lock::new(Version::V16);
        let call = |n: usize| match from {
            Side::Station => format!(r#"[2,"{n}","Heartbeat",{{}}]"#),
            Side::Csms => format!(r#"[2,"{n}","ClearCache",{{}}]"#),
        };
        let answer = |n: usize| match from {
            Side::Station => format!(r#"[3,"{n}",{{"currentTime":"2026-11-24T10:00:00Z"}}]"#),
            Side::Csms => format!(r#"[3,"{n}",{{"status":"Accepted"}}]"#),
        };
        for n in 0..MAX_PENDING {
            assert_eq!(lock.pass(from, call(n).as_bytes()).0, [(from.other(), call(n))]);
        }
        let (sent, step) = lock.pass(from, call(MAX_PENDING).as_bytes());
        assert_eq!(sent, [(from, format!(r#"[4,"{MAX_PENDING}","GenericError","too many at a time",{{}}]"#))]);
        assert_eq!(step.seen.unwrap().outcome, Outcome::TooMany);
        for n in (0..MAX_PENDING).rev() {
            assert_eq!(lock.pass(from.other(), answer(n).as_bytes()).0, [(from, answer(n))]);
        }
        assert_eq!(lock.pass(from, call(MAX_PENDING).as_bytes()).0.len(), 1);
        assert_eq!(lock.session.waiting(from), 1);
    }
}

#[test]
fn field_07_the_same_bytes_again_are_a_retry_and_its_facts_are_the_same() {
    let mut lock = Lock::new(Version::V16);
    let start =
        r#"[2,"s1","StartTransaction",{"connectorId":1,"idTag":"04A2B3C4D5E6F7","meterStart":1,"timestamp":"2026-11-24T10:00:00Z"}]"#;
    let first = lock.station_sends(start);
    assert_eq!(lock.station_sends(start), first, "forwarded again, under the same id");
    assert!(lock.facts[0] == lock.facts[1]);
    let answer = |n: u32| format!(r#"[3,"s1",{{"transactionId":{n},"idTagInfo":{{"status":"Accepted"}}}}]"#);
    assert_eq!(lock.csms_sends(&answer(5)), answer(5));
    // A central system that does not know a retry when it sees one gives another number; the station goes by the first.
    assert_eq!(lock.csms_sends(&answer(6)), answer(6));
    let numbers: Vec<_> = lock.facts.iter().filter(|f| f.action == "StartTransactionResponse").map(|f| f.payload.as_str()).collect();
    assert_eq!(numbers, [r#"{"transactionId":5}"#]);
    assert!(lock.pass(Side::Csms, answer(7).as_bytes()).0.is_empty(), "two were sent, two were answered");
}

/// The answer to the first message was taken for that to the second, and a bill was acknowledged that nobody had.
#[test]
fn field_07_an_id_used_anew_for_another_message_is_not_answered_with_the_answer_to_the_first() {
    let mut lock = Lock::new(Version::V16);
    lock.station_sends(r#"[2,"1","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Charging"}]"#);
    let stop = r#"[2,"1","StopTransaction",{"transactionId":7,"meterStop":900,"timestamp":"2026-11-24T11:00:00Z"}]"#;
    let seen = lock.station_sends(stop);
    let id = seen.split('"').nth(1).unwrap().to_owned();
    assert_ne!(id, "1", "under an id of ours, or the answers could not be told apart");
    assert_eq!(lock.station_sends(stop), seen, "a retry of it has that id too");
    assert_eq!(lock.facts[0].message_id, id);
    let (sent, step) = lock.pass(Side::Csms, br#"[3,"1",{}]"#);
    assert!(sent.is_empty() && step.seen.unwrap().outcome == Outcome::Late);
    assert_eq!(
        lock.csms_sends(&format!(r#"[3,"{id}",{{"idTagInfo":{{"status":"Accepted"}}}}]"#)),
        r#"[3,"1",{"idTagInfo":{"status":"Accepted"}}]"#
    );
    assert!(lock.pass(Side::Csms, br#"[3,"1",{}]"#).0.is_empty());
    // Right after the answer an id is as good as new; likewise in the other direction.
    let beat = r#"[2,"1","Heartbeat",{}]"#;
    lock.csms_sends(&format!(r#"[3,"{id}",{{}}]"#));
    assert_eq!(lock.station_sends(beat), beat);
    lock.csms_sends(r#"[2,"g","GetConfiguration",{"key":["HeartbeatInterval"]}]"#);
    let renamed = lock.csms_sends(r#"[2,"g","ClearCache",{}]"#);
    let id = renamed.split('"').nth(1).unwrap().to_owned();
    assert_ne!(id, "g");
    assert_eq!(lock.station_sends(&format!(r#"[3,"{id}",{{"status":"Accepted"}}]"#)), r#"[3,"g",{"status":"Accepted"}]"#);
}

#[test]
fn field_07_ids_of_every_shape_find_their_way_back() {
    let long = "x".repeat(MAX_ID);
    for id in [
        r#""""#,
        r#""1""#,
        "7",
        "1234567",
        r#""a\u0062\"\\ \/""#,
        r#""04A2B3C4D5E6F7""#,
        r#""0123456789-0123456789-0123456789-0123456789""#,
    ] {
        let mut lock = Lock::new(Version::V16);
        let seen = lock.station_sends(&format!("[2,{id},\"Heartbeat\",{{}}]"));
        assert!(!seen.contains("04A2B3C4D5E6F7"));
        let up: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert!(up[1].as_str().is_none_or(|id| id.len() <= 36), "{seen}");
        let down = lock.csms_sends(&format!("[3,{},{{\"currentTime\":\"2026-11-24T10:00:00Z\"}}]", up[1]));
        let down: serde_json::Value = serde_json::from_str(&down).unwrap();
        assert_eq!(down[1], serde_json::from_str::<serde_json::Value>(id).unwrap());
    }
    let mut lock = Lock::new(Version::V201);
    assert_eq!(lock.station_sends(&format!("[2,\"{long}\",\"Heartbeat\",{{}}]")).len(), 37, "the longest goes up as a code");
    // One more, and numbers that could be a card: refused, so that the station is not left waiting.
    let refused = lock.answered_here(Side::Station, &format!("[2,\"{long}x\",\"Heartbeat\",{{}}]"));
    assert!(refused.starts_with(r#"[4,"-1","FormatViolation""#), "{refused}");
    for number in ["12345678", "-1", "1.5", "1e3"] {
        let refused = lock.answered_here(Side::Station, &format!("[2,{number},\"Heartbeat\",{{}}]"));
        assert_eq!(refused, format!(r#"[4,"{number}","RpcFrameworkError","the message could not be read",{{}}]"#));
    }
}

#[test]
fn field_07_an_unconfirmed_message_may_use_any_id() {
    let mut lock = Lock::new(Version::V21);
    let beat = r#"[2,"1","Heartbeat",{}]"#;
    assert_eq!(lock.station_sends(beat), beat);
    let send = r#"[6,"1","NotifyPeriodicEventStream",{"id":1,"pending":0,"basetime":"2026-11-24T10:00:00Z","data":[]}]"#;
    let (sent, _) = lock.pass(Side::Station, send.as_bytes());
    assert!(sent.iter().all(|(side, text)| *side == Side::Csms && text.starts_with(r#"[6,"1","#)), "{sent:?}");
    let answer = r#"[3,"1",{"currentTime":"2026-11-24T10:00:00Z"}]"#;
    assert_eq!(lock.csms_sends(answer), answer, "it waits for no answer, so it takes nobody's");
    assert!(lock.pass(Side::Csms, answer.as_bytes()).0.is_empty());
}

#[test]
fn field_08_a_call_that_is_never_answered_is_given_up_once_and_its_late_answer_goes_nowhere() {
    for from in [Side::Station, Side::Csms] {
        let mut lock = Lock::new(Version::V16);
        let (call, answer) = match from {
            Side::Station => (r#"[2,"1","Heartbeat",{}]"#, r#"[3,"1",{"currentTime":"2026-11-24T10:00:00Z"}]"#),
            Side::Csms => (r#"[2,"1","GetLocalListVersion",{}]"#, r#"[3,"1",{"listVersion":1,"idTag":"04A2B3C4D5E6F7"}]"#),
        };
        lock.pass(from, call.as_bytes());
        assert!(pass_minutes(&mut lock, 4).is_empty(), "either end may still wait");
        let steps = pass_minutes(&mut lock, 9);
        assert_eq!(steps.len(), 1);
        let sent: Vec<_> = steps[0].send.iter().map(|(side, frame)| (*side, frame.as_str().to_owned())).collect();
        assert_eq!(sent, [(from, r#"[4,"1","GenericError","no answer came in time",{}]"#.to_owned())]);
        assert_eq!(lock.session.waiting(from), 0);
        for outcome in [Outcome::Late, Outcome::Unmatched] {
            let (sent, step) = lock.pass(from.other(), answer.as_bytes());
            assert!(sent.is_empty() && step.seen.unwrap().outcome == outcome);
        }
    }
}

/// An acknowledgement of any kind waits for the facts: a station drops a message after so many errors.
#[test]
fn field_08_giving_up_a_transaction_message_waits_for_its_facts() {
    let mut lock = Lock::new(Version::V16);
    lock.station_sends(r#"[2,"1","StopTransaction",{"transactionId":7,"meterStop":900,"timestamp":"2026-11-24T11:00:00Z"}]"#);
    let steps = pass_minutes(&mut lock, 10);
    assert!(steps.len() == 1 && steps[0].settles);
}

#[test]
fn field_08_a_clock_that_jumps_ahead_gives_nothing_up() {
    let mut lock = Lock::new(Version::V16);
    lock.station_sends(r#"[2,"1","Heartbeat",{}]"#);
    for hours in [10, -1000, 20, 0] {
        assert!(lock.session.on_time(Timestamp(TEN + hours * 3_600_000)).is_empty());
    }
    assert_eq!(lock.session.waiting(Side::Station), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn field_08_answers_that_nobody_asked_for_go_nowhere_on_the_wire() {
    let scene = Scene::new(&[]).await;
    let (mut station, mut csms) = scene.connects("ocpp2.0.1").await;
    station.says(r#"[2,"1","Heartbeat",{}]"#).await;
    csms.hears().await;
    for _ in 0..2 {
        csms.says(r#"[3,"1",{"currentTime":"2026-11-24T10:00:00Z"}]"#).await;
    }
    csms.says(r#"[3,"2",{"idTokenInfo":{"status":"Accepted"}}]"#).await;
    csms.says(r#"[4,"3","GenericError","",{}]"#).await;
    csms.says(r#"[2,"last","GetLocalListVersion",{}]"#).await;
    assert_eq!(station.hears().await, r#"[3,"1",{"currentTime":"2026-11-24T10:00:00Z"}]"#);
    assert_eq!(station.hears().await, r#"[2,"last","GetLocalListVersion",{}]"#, "nothing between");
    station.says(r#"[3,"none",{"versionNumber":1,"idToken":"04A2B3C4D5E6F7"}]"#).await;
    station.says(r#"[3,"last",{"versionNumber":1}]"#).await;
    assert_eq!(csms.hears().await, r#"[3,"last",{"versionNumber":1}]"#);
    scene.serving.stop().await;
}
