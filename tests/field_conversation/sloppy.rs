//! Row 10: JSON, enumerations and times that are not what the standard says.

use super::common::{Lock, messages};
use super::wire::Scene;
use sluis::ocpp::{Side, Version};
use sluis::session::Outcome;

const START: &str =
    r#"[2,"1","StartTransaction",{"connectorId":1,"idTag":"04A2B3C4D5E6F7","meterStart":1,"timestamp":"2026-11-24T10:00:00Z"}]"#;
const AUTHORIZE: &str = r#"[2,"1","Authorize",{"idToken":{"idToken":"04A2B3C4D5E6F7","type":"ISO14443"}}]"#;
const NO_FRAME: [(Version, &str); 3] =
    [(Version::V16, "FormationViolation"), (Version::V201, "RpcFrameworkError"), (Version::V21, "RpcFrameworkError")];
const NO_PAYLOAD: [(Version, &str); 3] =
    [(Version::V16, "FormationViolation"), (Version::V201, "FormatViolation"), (Version::V21, "FormatViolation")];

#[test]
fn field_10_what_is_no_frame_is_answered_under_the_id_that_could_be_read_or_minus_one() {
    for (version, code) in NO_FRAME {
        for (bad, id) in [
            ("", "-1"),
            ("null", "-1"),
            ("\0\0", "-1"),
            ("{\"a\":1}", "-1"),
            ("['2','1','Heartbeat',{}]", "-1"),
            ("[2,'1',\"Heartbeat\",{}]", "-1"),
            ("[2,null,\"Heartbeat\",{}]", "-1"),
            ("[2]", "-1"),
            ("[2,\"a\\u0062\"]", "ab"),
            ("[2,\"1\",\"Heartbeat\"]", "1"),
            ("[2,\"1\",Heartbeat,{}]", "1"),
            ("[2,\"1\",{}]", "1"),
            ("[02,\"1\",\"Heartbeat\",{}]", "-1"),
        ] {
            for from in [Side::Station, Side::Csms] {
                let answer = Lock::new(version).answered_here(from, bad);
                assert_eq!(answer, format!("[4,\"{id}\",\"{code}\",\"the message could not be read\",{{}}]"), "{bad}");
            }
        }
    }
}

#[test]
fn field_10_a_call_whose_payload_cannot_be_read_is_answered_and_goes_nowhere() {
    for (version, code) in NO_PAYLOAD {
        for payload in [
            "{},",
            "{},{}",
            "{}]",
            "{,}",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{\"a\":]",
            "{\"configurationKey\":]}",
            "{\"a\":+1}",
            "{\"a\":01}",
            "{\"a\":.5}",
            "{\"a\":0x1}",
            "{\"a\":True}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\\x41\"}",
            "{\"a\":1 /* no */}",
            "{\"a\":1}{",
            "undefined",
            "{a:1}",
        ] {
            for from in [Side::Station, Side::Csms] {
                let action = if from == Side::Station { "Heartbeat" } else { "ClearCache" };
                let answer = Lock::new(version).answered_here(from, &format!("[2,\"1\",\"{action}\",{payload}]"));
                assert_eq!(answer, format!("[4,\"1\",\"{code}\",\"the message could not be read\",{{}}]"), "{payload}");
            }
        }
    }
}

#[test]
fn field_10_an_answer_that_cannot_be_read_ends_the_wait_of_who_asked() {
    let mut lock = Lock::new(Version::V16);
    lock.csms_sends(r#"[2,"g","GetConfiguration",{}]"#);
    assert_eq!(lock.station_sends(r#"[3,"g",{"configurationKey":]}]"#), r#"[4,"g","InternalError","the answer could not be read",{}]"#);
    lock.csms_sends(r#"[2,"g","GetConfiguration",{}]"#);
    assert_eq!(lock.station_sends(r#"[3,"g"]"#), r#"[4,"g","InternalError","the answer could not be read",{}]"#);
}

#[test]
fn field_10_null_payloads_and_what_firmware_puts_around_a_frame() {
    for (sent, passes) in [
        ("[2,\"1\",\"Heartbeat\",null]", "[2,\"1\",\"Heartbeat\",{}]"),
        ("\u{feff}[2,\"1\",\"Heartbeat\",{}]", "[2,\"1\",\"Heartbeat\",{}]"),
        ("[2,\"1\",\"Heartbeat\",{}]\0", "[2,\"1\",\"Heartbeat\",{}]"),
        ("[2,\"1\",\"Heartbeat\",{}]\r\n\0\0", "[2,\"1\",\"Heartbeat\",{}]\r\n"),
        (" \r\n\t[ 2 ,\n\"1\", \"Heartbeat\" , { } ]\n ", " \r\n\t[ 2 ,\n\"1\", \"Heartbeat\" , { } ]\n "),
        ("[2,1,\"Heartbeat\",{}]", "[2,1,\"Heartbeat\",{}]"),
    ] {
        assert_eq!(Lock::new(Version::V16).station_sends(sent), passes);
    }
    // A byte that is no UTF-8, and white space that is none of JSON.
    for bad in [&b"[2,\"1\",\"Heartbeat\",{}]\xff"[..], b"\x0b[2,\"1\",\"Heartbeat\",{}]", b"[2,\"1\",\"Heart\0beat\",{}]"] {
        let (sent, step) = Lock::new(Version::V16).pass(Side::Station, bad);
        assert!(sent.len() == 1 && sent[0].0 == Side::Station && step.seen.unwrap().outcome == Outcome::Refused, "{sent:?}");
    }
}

#[test]
fn field_10_times_as_stations_write_them() {
    let start = |time: &str| format!(r#"[2,"1","StartTransaction",{{"connectorId":1,"idTag":"WEB-1","meterStart":1,"timestamp":{time}}}]"#);
    for time in
        ["2026-11-24T10:00:00", "2026-11-24 10:00:00Z", "2026-11-24T10:00:00.123456789+0100", "1970-01-01T00:00:00Z", "2026-11-24T10:00Z"]
    {
        let frame = start(&format!("\"{time}\""));
        assert_eq!(Lock::new(Version::V16).station_sends(&frame), frame);
    }
    // What is no time is the time of arrival: a session is not lost for a clock that writes nonsense, and nothing crosses that could be anything.
    for nonsense in [
        "\"+222222017-01-01T00:00:00Z\"",
        "\"222222017-01-01T00:00:00Z\"",
        "\"\"",
        "\"04A2B3C4D5E6F7\"",
        "1795514400",
        "\"2026-13-01T00:00:00Z\"",
    ] {
        let seen = Lock::new(Version::V16).station_sends(&start(nonsense));
        assert_eq!(seen, start("\"2026-11-24T10:00:00Z\""), "{nonsense}");
    }
}

#[test]
fn field_10_enumerations_and_numbers_that_are_not_quite() {
    // Words are compared without case; a required one that is unknown becomes the one that the catalogue names, another stays behind.
    let status =
        |code: &str, status: &str| format!(r#"[2,"1","StatusNotification",{{"connectorId":1,"errorCode":"{code}","status":"{status}"}}]"#);
    let lower = status("noerror", "charging");
    assert_eq!(Lock::new(Version::V16).station_sends(&lower), lower);
    assert_eq!(Lock::new(Version::V16).station_sends(&status("Card04A2B3C4", "Charging")), status("OtherError", "Charging"));
    // Downwards words are kept as they are, known or not.
    let reset = r#"[2,"1","Reset",{"type":"VeryHard"}]"#;
    assert_eq!(Lock::new(Version::V16).csms_sends(reset), reset);
    // Numbers in quotes and quoted numbers without them.
    let odd = r#"[2,"1","MeterValues",{"connectorId":"1","transactionId":"7","meterValue":[{"timestamp":"2026-11-24T10:00:00Z","sampledValue":[{"value":12.50e1}]}]}]"#;
    assert_eq!(Lock::new(Version::V16).station_sends(odd), odd);
    // A card as a number is no card number as the standard has it: refused in the words of the standard, and not passed on.
    let (sent, _) = Lock::new(Version::V16).pass(Side::Station, br#"[2,"1","Authorize",{"idTag":12345678}]"#);
    assert_eq!(sent, [(Side::Station, r#"[3,"1",{"idTagInfo":{"status":"Invalid"}}]"#.to_owned())]);
    let (sent, _) = Lock::new(Version::V16).pass(Side::Station, br#"[2,"1","Authorize",{"idTag":["04A2B3C4"]}]"#);
    assert_eq!(sent, [(Side::Station, r#"[3,"1",{"idTagInfo":{"status":"Invalid"}}]"#.to_owned())]);
}

/// Of a StartTransaction, the station was told that its transaction has the number 0 and its card is invalid.
#[test]
fn field_10_an_answer_that_cannot_be_read_is_not_made_up() {
    let mut asked = 0;
    for message in messages::all(&mut messages::Canaries::new(7)).iter().filter(|message| message.from_station && !message.send) {
        let call = format!(r#"[2,"1","{}",{}]"#, message.action, message.request);
        for bad in [r#"["x"]"#, r#""x""#, "17", "true", "[{}]", "[[]]"] {
            let mut lock = Lock::new(message.version);
            let (sent, _) = lock.pass(Side::Station, call.as_bytes());
            if sent[0].0 == Side::Station {
                continue;
            }
            asked += 1;
            let (sent, step) = lock.pass(Side::Csms, format!(r#"[3,"1",{bad}]"#).as_bytes());
            assert_eq!(sent, [(Side::Station, r#"[4,"1","InternalError","the answer could not be read",{}]"#.to_owned())], "{call} {bad}");
            assert!(step.facts.is_empty() && step.pins.is_empty() && step.seen.unwrap().outcome == Outcome::Refused);
        }
    }
    assert!(asked > 100, "{asked}");
    // What stands where it must be something else.
    for (version, call, bad) in [
        (Version::V16, START, r#"{"transactionId":"seven","idTagInfo":{"status":"Accepted"}}"#),
        (Version::V16, START, r#"{"transactionId":7,"idTagInfo":"Accepted"}"#),
        (Version::V16, START, r#"{"transactionId":7,"idTagInfo":{"status":["Accepted"]}}"#),
        (Version::V16, r#"[2,"1","Authorize",{"idTag":"04A2B3C4D5E6F7"}]"#, r#"{"idTagInfo":["Accepted"]}"#),
        (Version::V201, AUTHORIZE, r#"{"idTokenInfo":{"status":7}}"#),
        (Version::V21, AUTHORIZE, r#"{"idTokenInfo":true}"#),
        (Version::V201, r#"[2,"1","Heartbeat",{}]"#, r#"{"currentTime":{"a":1}}"#),
    ] {
        let mut lock = Lock::new(version);
        lock.station_sends(call);
        let facts = lock.facts.len();
        let (sent, step) = lock.pass(Side::Csms, format!(r#"[3,"1",{bad}]"#).as_bytes());
        assert_eq!(sent, [(Side::Station, r#"[4,"1","InternalError","the answer could not be read",{}]"#.to_owned())], "{bad}");
        assert!(lock.facts.len() == facts && step.pins.is_empty(), "{bad}");
    }
}

/// The station sends it again, as it does after an error; then its transaction has the number that the second answer names, and only that.
#[test]
fn field_10_a_start_whose_answer_could_not_be_read_is_sent_again_and_billed_once() {
    let mut lock = Lock::new(Version::V16);
    let first = lock.station_sends(START);
    let (_, step) = lock.pass(Side::Csms, br#"[3,"1",{"transactionId":7,"idTagInfo":17}]"#);
    assert!(step.settles, "an error is an answer too: the facts are on the disk before it");
    assert_eq!(lock.station_sends(START), first);
    let answer = r#"[3,"1",{"transactionId":8,"idTagInfo":{"status":"Accepted"}}]"#;
    let (sent, step) = lock.pass(Side::Csms, answer.as_bytes());
    assert!(sent == [(Side::Station, answer.to_owned())] && step.pins.len() == 1);
    let numbers: Vec<_> = lock.facts.iter().filter(|fact| fact.action == "StartTransactionResponse").map(|fact| &*fact.payload).collect();
    assert_eq!(numbers, [r#"{"transactionId":8}"#]);
}

#[test]
fn field_10_a_stop_whose_answer_could_not_be_read_has_not_ended_its_transaction() {
    let mut lock = Lock::new(Version::V16);
    let stop =
        |id: u32| format!(r#"[2,"{id}","StopTransaction",{{"transactionId":{id},"meterStop":900,"timestamp":"2026-11-24T11:00:00Z"}}]"#);
    // The ninth end that is acknowledged lets the first transaction go; these are not.
    for id in 0..20 {
        lock.station_sends(&stop(id));
        let (_, step) = lock.pass(Side::Csms, format!(r#"[3,"{id}","x"]"#).as_bytes());
        assert!(step.settles && step.pins.is_empty(), "{id}");
    }
}

/// PHP writes an empty list for whatever is empty.
#[test]
fn field_10_an_empty_list_from_above_is_an_empty_object() {
    let mut lock = Lock::new(Version::V16);
    for (empty, id) in [("[]", "1"), ("[ ]", "2"), ("null", "3")] {
        lock.station_sends(&format!(r#"[2,"{id}","StatusNotification",{{"connectorId":1,"errorCode":"NoError","status":"Available"}}]"#));
        assert_eq!(lock.csms_sends(&format!(r#"[3,"{id}",{empty}]"#)), format!(r#"[3,"{id}",{{}}]"#));
        assert_eq!(lock.csms_sends(&format!(r#"[2,"{id}","ClearCache",{empty}]"#)), format!(r#"[2,"{id}","ClearCache",{{}}]"#));
        lock.station_sends(&format!(r#"[3,"{id}",{{"status":"Accepted"}}]"#));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn field_10_bad_json_on_the_wire_is_answered_and_the_connection_stays() {
    let scene = Scene::new(&[]).await;
    for (protocol, code) in [("ocpp1.6", "FormationViolation"), ("ocpp2.0.1", "RpcFrameworkError"), ("ocpp2.1", "RpcFrameworkError")] {
        let (mut station, mut csms) = scene.connects(protocol).await;
        for (bad, id) in [("hello", "-1"), ("[2,\"7\",\"Heartbeat\"", "7"), ("", "-1")] {
            station.says(bad).await;
            assert_eq!(station.hears().await, format!("[4,\"{id}\",\"{code}\",\"the message could not be read\",{{}}]"));
        }
        csms.says("garbage").await;
        assert!(csms.hears().await.starts_with("[4,\"-1\","));
        station.says("[2,\"8\",\"Heartbeat\",{}]\0").await;
        assert_eq!(csms.hears().await, "[2,\"8\",\"Heartbeat\",{}]", "the first that the central system hears of it");
        station.hangs_up().await;
    }
    scene.serving.stop().await;
}
