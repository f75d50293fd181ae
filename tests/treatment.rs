//! What the treatment does to single frames, in the words of the domain.

mod common;
#[path = "treatment/lists.rs"]
mod lists;

use common::{Lock, keyring, rotate, strict};
use sluis::ocpp::{Side, Version};
use sluis::session::Outcome;
use std::sync::Arc;

const CARD: &str = "04A2B3C4D5E6F7";

#[test]
fn the_csms_sees_a_code_and_the_station_gets_its_card_back() {
    let mut lock = Lock::new(Version::V16);
    let code = lock.station_authorizes(CARD);
    assert_eq!(code.len(), 20);
    assert!(code.starts_with("Z0"));
    for spelling in [code.clone(), code.to_lowercase()] {
        let down = lock.csms_sends(&format!(r#"[2,"r1","RemoteStartTransaction",{{"connectorId":1,"idTag":"{spelling}"}}]"#));
        assert_eq!(down, format!(r#"[2,"r1","RemoteStartTransaction",{{"connectorId":1,"idTag":"{CARD}"}}]"#));
        lock.station_sends(r#"[3,"r1",{"status":"Accepted"}]"#);
    }
}

#[test]
fn one_card_has_one_code_in_every_version_and_spelling() {
    let code = Lock::new(Version::V16).station_authorizes(CARD);
    for version in [Version::V201, Version::V21] {
        for spelling in ["04:a2:b3:c4:d5:e6:f7", "04A2B3C4D5E6F7"] {
            let seen = Lock::new(version)
                .station_sends(&format!(r#"[2,"a","Authorize",{{"idToken":{{"type":"ISO14443","idToken":"{spelling}"}}}}]"#));
            assert_eq!(seen, format!(r#"[2,"a","Authorize",{{"idToken":{{"type":"ISO14443","idToken":"{code}"}}}}]"#));
        }
    }
}

#[test]
fn untouched_bytes_stay_as_they_were() {
    let frame =
        " [2 , \"h1\",\"StatusNotification\", { \"connectorId\" : 1.0e0,\r\n\"errorCode\":\"NoErr\\u006fr\" , \"status\":\"Charging\"} ] ";
    assert_eq!(Lock::new(Version::V16).station_sends(frame), frame);
    let boot = r#"[2,"b","BootNotification",{"chargePointVendor":"Ven dor","chargePointModel":"M-1"}]"#;
    assert_eq!(Lock::new(Version::V16).station_sends(boot), boot);
}

#[test]
fn what_no_purpose_needs_stays_behind() {
    let mut lock = Lock::new(Version::V16);
    let seen = lock.station_sends(
        r#"[2,"b","BootNotification",{"chargePointSerialNumber":"SN-12345678","chargePointVendor":"V","iccid":"89310000000000000001","chargePointModel":"M","imsi":"204040000000001","vendorExtra":{"a":[1,{"b":2}]}}]"#,
    );
    assert_eq!(seen, r#"[2,"b","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]"#);
    let seen = lock.station_sends(
        r#"[2,"s","StatusNotification",{"connectorId":1,"info":"card 04A2B3C4","errorCode":"VendorSpecial","status":"Faulted","vendorErrorCode":"x"}]"#,
    );
    assert_eq!(seen, r#"[2,"s","StatusNotification",{"connectorId":1,"errorCode":"OtherError","status":"Faulted"}]"#);
}

#[test]
fn a_session_is_billed_from_what_crosses() {
    let mut lock = Lock::new(Version::V16);
    let code = lock.station_authorizes(CARD);
    let up = lock.station_sends(&format!(
        r#"[2,"1","StartTransaction",{{"connectorId":1,"idTag":"{CARD}","meterStart":1000,"timestamp":"2026-11-24T10:00:00Z"}}]"#
    ));
    assert_eq!(
        up,
        format!(r#"[2,"1","StartTransaction",{{"connectorId":1,"idTag":"{code}","meterStart":1000,"timestamp":"2026-11-24T10:00:00Z"}}]"#)
    );
    let (_, step) = lock.pass(Side::Csms, br#"[3,"1",{"transactionId":42,"idTagInfo":{"status":"Accepted"}}]"#);
    assert!(step.settles);
    let id = |t: &str| format!("m{}", &t[14..16]);
    let meter = |t: &str, v: &str| {
        let id = id(t);
        format!(
            r#"[2,"{id}","MeterValues",{{"connectorId":1,"transactionId":42,"meterValue":[{{"timestamp":"{t}","sampledValue":[{{"value":"{v}","measurand":"Energy.Active.Import.Register","unit":"Wh"}},{{"value":"80","measurand":"SoC"}},{{"value":"16.1","measurand":"Current.Import","phase":"L1"}}]}}]}}]"#
        )
    };
    let kept = |t: &str, v: &str| {
        let id = id(t);
        format!(
            r#"[2,"{id}","MeterValues",{{"connectorId":1,"transactionId":42,"meterValue":[{{"timestamp":"{t}","sampledValue":[{{"value":"{v}","measurand":"Energy.Active.Import.Register","unit":"Wh"}}]}}]}}]"#
        )
    };
    assert_eq!(lock.station_sends(&meter("2026-11-24T10:15:00Z", "1500")), kept("2026-11-24T10:15:00Z", "1500"));
    assert_eq!(lock.answered_here(Side::Station, &meter("2026-11-24T10:16:00Z", "1600")), r#"[3,"m16",{}]"#);
    assert_eq!(lock.station_sends(&meter("2026-11-24T10:30:00Z", "2500")), kept("2026-11-24T10:30:00Z", "2500"));
    let stop = format!(
        r#"[2,"3","StopTransaction",{{"transactionId":42,"idTag":"{CARD}","meterStop":9000,"timestamp":"2026-11-24T11:00:00Z","reason":"Local"}}]"#
    );
    assert_eq!(lock.station_sends(&stop), stop.replace(CARD, &code));
    let actions: Vec<_> = lock.facts.iter().map(|f| f.action).collect();
    assert_eq!(actions, ["StartTransaction", "StartTransactionResponse", "MeterValues", "MeterValues", "StopTransaction"]);
    assert!(lock.facts.iter().all(|f| !f.payload.contains(CARD)));
    assert_eq!(lock.facts[1].payload, r#"{"transactionId":42}"#);
}

#[test]
fn signed_meter_data_is_withheld_whole_however_it_comes() {
    let mut lock = Lock::new(Version::V16);
    for value in
        [r#""OCMF|{\"ID\":\"04A2B3C4D5E6F7\"}|{}","format":"SignedData""#, r#""T0NNRnx7IklEIjoiMDRBMkIzQzQifQ==""#, r#""4F434D46""#]
    {
        let frame = format!(
            r#"[2,"s","StopTransaction",{{"transactionId":1,"meterStop":5,"timestamp":"2026-11-24T11:00:00Z","transactionData":[{{"timestamp":"2026-11-24T11:00:00Z","sampledValue":[{{"value":{value}}},{{"value":"5","context":"Transaction.End"}}]}}]}}]"#
        );
        let seen = lock.station_sends(&frame);
        assert!(seen.contains(r#""sampledValue":[{"value":"5","context":"Transaction.End"}]"#), "{seen}");
    }
}

/// What the strict policy has, and one purpose more towards the central system.
fn with_purpose(more: &str) -> Arc<sluis::policy::Rules> {
    let text = format!(
        r#"
        name = "more"
        [csms]
        purposes = ["charge", "bill", "operate", "{more}"]
        [station]
        purposes = ["charge", "bill", "operate"]"#
    );
    Arc::new(sluis::policy::Rules::compile(&text, vec![]).unwrap())
}

#[test]
fn calibration_law_lets_signed_data_pass_whole() {
    let rules = with_purpose("calibration-law");
    let mut lock = Lock::with(Version::V16, rules, Arc::new(keyring(&[0], 0)));
    lock.station_authorizes(CARD);
    let frame = r#"[2,"s","StopTransaction",{"transactionId":1,"meterStop":5,"timestamp":"2026-11-24T11:00:00Z","transactionData":[{"timestamp":"2026-11-24T11:00:00Z","sampledValue":[{"value":"OCMF|{\"ID\":\"04A2B3C4D5E6F7\"}","context":"Transaction.End","format":"SignedData"}]}]}]"#;
    assert_eq!(lock.station_sends(frame), frame);
}

#[test]
fn a_guessed_card_number_is_refused_and_never_relayed() {
    let mut lock = Lock::new(Version::V16);
    let answer = lock.answered_here(Side::Csms, &format!(r#"[2,"r","RemoteStartTransaction",{{"idTag":"{CARD}"}}]"#));
    assert_eq!(answer, r#"[3,"r",{"status":"Rejected"}]"#);
    // In an answer, only what stands for it is withheld.
    lock.station_sends(r#"[2,"a","Authorize",{"idTag":"11223344"}]"#);
    let down = lock.csms_sends(&format!(r#"[3,"a",{{"idTagInfo":{{"parentIdTag":"{CARD}","status":"Accepted"}}}}]"#));
    assert_eq!(down, r#"[3,"a",{"idTagInfo":{"status":"Accepted"}}]"#);
    // An operator's own identifiers pass both ways.
    let web = r#"[2,"r2","RemoteStartTransaction",{"idTag":"web-4711"}]"#;
    assert_eq!(lock.csms_sends(web), web);
    let up = r#"[2,"a2","Authorize",{"idTag":"WEB-4711"}]"#;
    assert_eq!(lock.station_sends(up), up);
}

#[test]
fn a_forged_or_erased_code_is_refused() {
    let mut lock = Lock::new(Version::V16);
    let code = lock.station_authorizes(CARD);
    lock.vault.codes.clear();
    let mut fresh = Lock::new(Version::V16);
    assert_eq!(
        fresh.answered_here(Side::Csms, &format!(r#"[2,"r","RemoteStartTransaction",{{"idTag":"{code}"}}]"#)),
        r#"[3,"r",{"status":"Rejected"}]"#
    );
    let forged = format!("{}0", &code[..19]);
    assert!(
        forged == code
            || fresh.answered_here(Side::Csms, &format!(r#"[2,"r","RemoteStartTransaction",{{"idTag":"{forged}"}}]"#)).contains("Rejected")
    );
}

#[test]
fn a_message_id_that_holds_a_card_goes_up_as_a_code_and_comes_back() {
    let mut lock = Lock::new(Version::V16);
    let frame = format!(r#"[2,"tag-{CARD}","Heartbeat",{{}}]"#);
    let seen = lock.station_sends(&frame);
    assert!(!seen.contains(CARD), "{seen}");
    let id = seen.split('"').nth(1).unwrap().to_owned();
    let down = lock.csms_sends(&format!(r#"[3,"{id}",{{"currentTime":"2026-11-24T10:00:00Z"}}]"#));
    assert_eq!(down, format!(r#"[3,"tag-{CARD}",{{"currentTime":"2026-11-24T10:00:00Z"}}]"#));
    assert_eq!(lock.station_sends(&frame), seen, "a retry has the same id");
}

#[test]
fn a_transaction_id_that_holds_a_card_is_restored_on_the_way_back() {
    let mut lock = Lock::new(Version::V201);
    let event = |id: &str| {
        format!(
            r#"[2,"t","TransactionEvent",{{"eventType":"Started","timestamp":"2026-11-24T10:00:00Z","triggerReason":"Authorized","seqNo":0,"transactionInfo":{{"transactionId":"{id}"}}}}]"#
        )
    };
    let seen = lock.station_sends(&event("tx-04A2B3C4D5E6F7-1"));
    assert!(!seen.contains("04A2B3C4"), "{seen}");
    let code = seen.split("transactionId\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let down = lock.csms_sends(&format!(r#"[2,"r","RequestStopTransaction",{{"transactionId":"{code}"}}]"#));
    assert_eq!(down, r#"[2,"r","RequestStopTransaction",{"transactionId":"tx-04A2B3C4D5E6F7-1"}]"#);
    let uuid = event("550e8400-e29b-41d4-a716-446655440000");
    assert_eq!(Lock::new(Version::V201).station_sends(&uuid), uuid);
}

#[test]
fn a_call_error_does_not_quote_a_restored_card() {
    let mut lock = Lock::new(Version::V16);
    let code = lock.station_authorizes(CARD);
    lock.csms_sends(&format!(r#"[2,"r","RemoteStartTransaction",{{"idTag":"{code}"}}]"#));
    let seen = lock.station_sends(&format!(
        r#"[4,"r","FormationViolation","cannot read [2,\"r\",{{\"idTag\":\"{CARD}\"}}]",{{"request":{{"idTag":"{CARD}"}}}}]"#
    ));
    assert_eq!(seen, r#"[4,"r","FormationViolation","",{}]"#);
    lock.csms_sends(&format!(r#"[2,"r","RemoteStartTransaction",{{"idTag":"{code}"}}]"#));
    assert_eq!(lock.station_sends(&format!(r#"[4,"r","{CARD}"]"#)), r#"[4,"r","GenericError","",{}]"#);
}

#[test]
fn every_bad_frame_gets_exactly_one_answer_and_nothing_crosses() {
    for bad in [
        &b"\xff\xfe"[..],
        b"",
        b"{}",
        b"[2,\"x\",\"Authorize\",{\"idTag\":\"04A2B3C4\"}",
        b"[2,\"x\",\"Authorize\",{\"idTag\":\"04A2B3C4\",}]",
        b"[2,\"x\",\"Authorize\",{\"idTag\":\"04A2B3C4\",\"idTag\":\"1\"}]",
        b"[2,\"x\",\"Authorize\",{\"idTag\":{\"a\":1}}]",
        b"[2,\"x\",\"Authorize\",{\"idTag\":\"\\ud800\"}]",
        b"[2,\"x\",\"Authorize\",[]]",
        b"[2,\"x\",\"Authorize\",{}]]",
        b"[2,\"x\",\"Unheard\",{}]",
        b"[2,\"x\",\"RemoteStartTransaction\",{\"idTag\":\"1\"}]",
        b"[7,\"x\",\"Authorize\",{}]",
        b"[2,-5,\"Heartbeat\",{}]",
        b"[2,\"x\",\"BootNotification-Signed\",{}]",
        format!("[2,\"x\",\"DataTransfer\",{{\"vendorId\":\"v\",\"data\":{}1{}}}]", "[".repeat(500), "]".repeat(500)).as_bytes(),
    ] {
        let mut lock = Lock::new(Version::V16);
        let (sent, _) = lock.pass(Side::Station, bad);
        assert_eq!(sent.len(), 1, "{}", String::from_utf8_lossy(bad));
        assert_eq!(sent[0].0, Side::Station, "{}", sent[0].1);
        let answer: serde_json::Value = serde_json::from_str(&sent[0].1).unwrap();
        assert!(answer[0] == 3 || answer[0] == 4, "{answer}");
    }
}

#[test]
fn an_answer_that_cannot_be_read_still_ends_the_call() {
    let mut lock = Lock::new(Version::V16);
    lock.station_sends(r#"[2,"h","Heartbeat",{}]"#);
    assert!(lock.csms_sends(r#"[3,"h",{"currentTime":"#).starts_with(r#"[4,"h","InternalError""#));
    let (sent, step) = lock.pass(Side::Csms, br#"[3,"h",{"currentTime":"2026-11-24T10:00:00Z"}]"#);
    assert!(sent.is_empty() && step.seen.unwrap().outcome == Outcome::Unmatched, "a second answer is not forwarded");
}

#[test]
fn unknown_vendors_and_their_messages_are_refused_as_the_standard_says() {
    let mut lock = Lock::new(Version::V16);
    assert_eq!(
        lock.answered_here(Side::Station, r#"[2,"d","DataTransfer",{"vendorId":"com.example","data":"04A2B3C4"}]"#),
        r#"[3,"d",{"status":"UnknownVendorId"}]"#
    );
    assert_eq!(
        lock.answered_here(Side::Station, r#"[2,"d","DataTransfer",{"vendorId":"org.openchargealliance.costmsg","messageId":"Nonsense"}]"#),
        r#"[3,"d",{"status":"UnknownMessageId"}]"#
    );
}

#[test]
fn a_transaction_keeps_the_epoch_it_started_in() {
    let mut lock = Lock::new(Version::V16);
    let code = lock.station_authorizes(CARD);
    lock.station_sends(&format!(
        r#"[2,"1","StartTransaction",{{"connectorId":1,"idTag":"{CARD}","meterStart":0,"timestamp":"2026-11-24T10:00:00Z"}}]"#
    ));
    lock.csms_sends(r#"[3,"1",{"transactionId":7,"idTagInfo":{"status":"Accepted"}}]"#);
    // The keys rotate; the station reconnects and stops without booting.
    let mut later = Lock::with(Version::V16, strict(), Arc::new(keyring(&[0, 1], 1)));
    later.vault.pins = lock.vault.pins.clone();
    assert_ne!(later.station_authorizes(CARD), code);
    let stop =
        format!(r#"[2,"2","StopTransaction",{{"idTag":"{CARD}","transactionId":7,"meterStop":9,"timestamp":"2026-11-24T11:00:00Z"}}]"#);
    assert_eq!(later.station_sends(&stop), stop.replace(CARD, &code));
}

/// What was coded once on a connection is not coded again: it must not outlive what it was made of.
#[test]
fn a_known_card_has_a_new_code_after_a_rotation_and_its_transaction_the_old_one() {
    let mut lock = Lock::new(Version::V16);
    let old = lock.station_authorizes(CARD);
    assert_eq!(lock.station_authorizes(CARD), old);
    lock.station_sends(&format!(
        r#"[2,"1","StartTransaction",{{"connectorId":1,"idTag":"{CARD}","meterStart":0,"timestamp":"2026-11-24T10:00:00Z"}}]"#
    ));
    lock.csms_sends(r#"[3,"1",{"transactionId":7,"idTagInfo":{"status":"Accepted"}}]"#);
    rotate(&lock.keys, &[0, 1], 1);
    let new = lock.station_authorizes(CARD);
    assert!(old.starts_with("Z0") && new.starts_with("Z1"));
    assert_eq!(new, Lock::with(Version::V16, strict(), Arc::new(keyring(&[0, 1], 1))).station_authorizes(CARD));
    let stop = |id: u32, transaction: u32| {
        format!(
            r#"[2,"s{id}","StopTransaction",{{"idTag":"{CARD}","transactionId":{transaction},"meterStop":9,"timestamp":"2026-11-24T11:00:00Z"}}]"#
        )
    };
    for id in 0..3 {
        assert_eq!(lock.station_sends(&stop(id, 7)), stop(id, 7).replace(CARD, &old));
        assert_eq!(lock.station_authorizes(CARD), new);
        assert_eq!(lock.station_sends(&stop(id + 10, 8)), stop(id + 10, 8).replace(CARD, &new));
    }
    // The old epoch is destroyed: nothing is coded in it any more, whatever was pinned or remembered.
    rotate(&lock.keys, &[5], 5);
    let last = lock.station_authorizes(CARD);
    assert!(last.starts_with("Z5"));
    assert_eq!(lock.station_sends(&stop(20, 7)), stop(20, 7).replace(CARD, &last));
}

#[test]
fn a_known_text_is_coded_by_what_it_is_declared_to_be() {
    let authorize = |lock: &mut Lock, text: &str, kind: &str| {
        let seen = lock.station_sends(&format!(r#"[2,"a","Authorize",{{"idToken":{{"idToken":"{text}","type":"{kind}"}}}}]"#));
        lock.csms_sends(r#"[3,"a",{"idTokenInfo":{"status":"Accepted"}}]"#);
        seen.split('"').nth(9).unwrap().to_owned()
    };
    let kinds = ["ISO14443", "KeyCode", "MacAddress", "ISO14443", "KeyCode", "MacAddress"];
    let mut lock = Lock::new(Version::V201);
    let here: Vec<_> = kinds.iter().map(|kind| authorize(&mut lock, CARD, kind)).collect();
    let apart: Vec<_> = kinds.iter().map(|kind| authorize(&mut Lock::new(Version::V201), CARD, kind)).collect();
    assert_eq!(here, apart);
    assert!(here[0] != here[1] && here[1] != here[2] && here[0] != here[2]);
    // Another spelling between two of the same does not confuse them.
    for spelling in [CARD, "04:A2:B3:C4:D5:E6:F7", CARD] {
        assert_eq!(authorize(&mut lock, spelling, "ISO14443"), here[0]);
    }
    for other in 0..40 {
        assert_ne!(authorize(&mut lock, &format!("04A2B3C4D5E6{other:02}"), "ISO14443"), here[0]);
    }
    assert_eq!(authorize(&mut lock, CARD, "ISO14443"), here[0]);
}

#[test]
fn the_observing_policy_changes_nothing_and_says_what_it_would_have_done() {
    let rules = Arc::new(sluis::policy::Rules::compile("observe", vec![]).unwrap());
    let mut lock = Lock::with(Version::V16, rules, Arc::new(keyring(&[0], 0)));
    let frame = format!(r#"[2,"tag-{CARD}","Authorize",{{"idTag":"{CARD}"}}]"#);
    let (sent, step) = lock.pass(Side::Station, frame.as_bytes());
    assert_eq!(sent, [(Side::Csms, frame)]);
    assert_eq!(step.seen.unwrap().outcome, Outcome::Treated);
    let answer = format!(r#"[3,"tag-{CARD}",{{"idTagInfo":{{"status":"Accepted"}}}}]"#);
    assert_eq!(lock.csms_sends(&answer), answer);
}

#[test]
fn a_number_whose_unit_had_to_be_withheld_does_not_go_on_as_another() {
    let text = r#"
        name = "load"
        [csms]
        purposes = ["charge", "bill", "operate", "smart-charging"]
        [station]
        purposes = ["charge", "bill", "operate"]"#;
    let rules = Arc::new(sluis::policy::Rules::compile(text, vec![]).unwrap());
    let mut lock = Lock::with(Version::V16, rules, Arc::new(keyring(&[0], 0)));
    for odd in [r#""unit":"furlong""#, r#""measurand":"Speed""#, r#""phase":"L9""#, r#""location":"Moon""#] {
        let frame = format!(
            r#"[2,"m","MeterValues",{{"connectorId":1,"meterValue":[{{"timestamp":"2026-11-24T10:00:00Z","sampledValue":[{{"value":"5",{odd}}},{{"value":"7"}}]}}]}}]"#
        );
        let seen = lock.station_sends(&frame);
        assert!(seen.contains(r#""sampledValue":[{"value":"7"}]"#), "{seen}");
    }
}

#[test]
fn the_answer_to_an_unlisted_setting_keeps_its_name_and_withholds_its_value() {
    let mut lock = Lock::new(Version::V201);
    let names = r#""component":{"name":"VendorCtrlr"},"variable":{"name":"VendorSecret"}"#;
    lock.csms_sends(&format!(r#"[2,"g","GetVariables",{{"getVariableData":[{{{names}}}]}}]"#));
    let seen = lock.station_sends(&format!(
        r#"[3,"g",{{"getVariableResult":[{{"attributeStatus":"Accepted","attributeValue":"04A2B3C4",{names}}}]}}]"#
    ));
    assert_eq!(seen, format!(r#"[3,"g",{{"getVariableResult":[{{"attributeStatus":"Accepted",{names}}}]}}]"#));
    let mut lock = Lock::new(Version::V16);
    lock.csms_sends(r#"[2,"g","GetConfiguration",{"key":["VendorKey","HeartbeatInterval"]}]"#);
    let seen = lock.station_sends(
        r#"[3,"g",{"configurationKey":[{"key":"VendorKey","readonly":false,"value":"04A2B3C4"},{"key":"HeartbeatInterval","readonly":false,"value":"300"},{"key":"Other","readonly":true,"value":"1"}]}]"#,
    );
    assert_eq!(
        seen,
        r#"[3,"g",{"configurationKey":[{"key":"VendorKey","readonly":false},{"key":"HeartbeatInterval","readonly":false,"value":"300"}]}]"#
    );
}

#[test]
fn a_session_is_not_lost_for_a_clock_that_writes_nonsense() {
    let mut lock = Lock::new(Version::V16);
    let stop = r#"[2,"2","StopTransaction",{"transactionId":7,"meterStop":9,"timestamp":"04A2B3C4D5E6F7"}]"#;
    assert_eq!(lock.station_sends(stop), stop.replace(CARD, "2026-11-24T10:00:00Z"));
}

/// Found with the fuzz target `policy`: serde names the word it cannot use.
#[test]
fn a_mistake_in_a_policy_file_quotes_no_value() {
    let secret = "hunter2, expected `charge`\nmore";
    let quoted = serde_json::to_string(secret).unwrap();
    for wrong in [
        format!("name = \"x\"\n[csms]\npurposes = [{quoted}]\n[station]\npurposes = []\n"),
        format!("name = \"x\"\n[csms]\npurposes = {quoted}\n[station]\npurposes = []\n"),
        format!("name = \"x\"\nmode = {quoted}\n[csms]\npurposes = []\n[station]\npurposes = []\n"),
        format!("name = {quoted}\n[csms]\npurposes = []\n[station]\npurposes = []\n"),
    ] {
        let mistakes = sluis::policy::Rules::compile(&wrong, vec![]).unwrap_err();
        assert!(
            !mistakes.is_empty() && mistakes.iter().all(|mistake| !mistake.contains("hunter2") && !mistake.contains("more")),
            "{mistakes:?}"
        );
    }
}

/// Found by a reader who mended one mistake after the other, each at the price of a start.
#[test]
fn all_mistakes_of_a_policy_file_are_told_at_once() {
    let wrong = r#"
nmae = "x"
mode = "enforced"
[csms]
purposes = ["charge", "marketing", 3]
purpose = []
[[override]]
version = 1.6
field = "BootNotification.request.reason"
[[override]]
version = "2.1"
field = "BootNotification.request.reasons"
treatment = "keeps"
reason = 1
why = "so"
[[override]]
version = "1.6"
field = "Authorize.request.idTag"
treatment = "keep"
reason = "r"
"#;
    let mistakes = sluis::policy::Rules::compile(wrong, vec![]).unwrap_err();
    let keys: Vec<&str> = mistakes.iter().map(|mistake| mistake.split_once(": ").unwrap().0).collect();
    let mut expected = [
        "nmae",
        "name",
        "mode",
        "csms.purposes[1]",
        "csms.purposes[2]",
        "csms.purpose",
        "station",
        "override[0].version",
        "override[0].treatment",
        "override[0].reason",
        "override[1].field",
        "override[1].treatment",
        "override[1].reason",
        "override[1].why",
        "override[2].treatment",
    ];
    let mut told = keys.clone();
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected, "{mistakes:#?}");
    assert_eq!(sluis::policy::Rules::compile("name = ", vec![]).unwrap_err().len(), 1);
    assert_eq!(sluis::policy::explain::explain(wrong, None, sluis::policy::explain::Layout::Text).unwrap_err(), mistakes[..].to_vec());
}

/// A sampled value of OCPP 1.6 at a minute past twelve.
fn reading(minute: u32, measurand: &str, value: &str) -> String {
    format!(r#"{{"timestamp":"2026-11-24T12:{minute:02}:00Z","sampledValue":[{{"value":"{value}","measurand":"{measurand}"}}]}}"#)
}

const ENERGY: &str = "Energy.Active.Import.Register";

/// Found by a reader: the last reading of the list was privileged, and when that was one of the power, the energy was lost.
#[test]
fn the_last_reading_of_energy_passes_whatever_stands_behind_it() {
    for behind in ["Power.Active.Import", "SoC", "Voltage"] {
        let mut lock = Lock::new(Version::V16);
        let list = [reading(1, ENERGY, "90"), reading(12, ENERGY, "98"), reading(14, ENERGY, "100"), reading(14, behind, "7")].join(",");
        let seen = lock.station_sends(&format!(
            r#"[2,"1","StopTransaction",{{"transactionId":7,"meterStop":100,"timestamp":"2026-11-24T12:14:00Z","transactionData":[{list}]}}]"#
        ));
        assert!(seen.contains(&reading(1, ENERGY, "90")) && seen.contains(&reading(14, ENERGY, "100")), "{seen}");
        assert!(!seen.contains("98") && !seen.contains(behind), "{seen}");
        for version in [Version::V201, Version::V21] {
            let mut lock = Lock::new(version);
            let at = |minute: u32, measurand: &str, context: &str| {
                format!(
                    r#"{{"timestamp":"2026-11-24T12:{minute:02}:00Z","sampledValue":[{{"value":{minute},"measurand":"{measurand}","context":"{context}"}}]}}"#
                )
            };
            let event = |id: u32, kind: &str, list: &[String]| {
                let list = list.join(",");
                format!(
                    r#"[2,"{id}","TransactionEvent",{{"eventType":"{kind}","timestamp":"2026-11-24T12:14:00Z","triggerReason":"MeterValuePeriodic","seqNo":{id},"transactionInfo":{{"transactionId":"t1"}},"meterValue":[{list}]}}]"#
                )
            };
            for context in ["Sample.Periodic", "Sample.Clock", "Trigger", "Other"] {
                lock.station_sends(&event(1, "Updated", &[at(1, ENERGY, context)]));
                let seen = lock.station_sends(&event(2, "Ended", &[at(14, ENERGY, context), at(14, behind, context)]));
                assert!(seen.contains(&at(14, ENERGY, context)) && !seen.contains(behind), "{seen}");
            }
        }
    }
}

/// Found by a reader: an energy that went out and one that came in, of the same moment in two elements, were taken for too fine a series.
#[test]
fn what_was_measured_at_one_moment_is_one_reading_in_whatever_parts_it_comes() {
    let mut lock = Lock::new(Version::V16);
    let values = |id: u32, list: &[String]| format!(r#"[2,"{id}","MeterValues",{{"connectorId":1,"meterValue":[{}]}}]"#, list.join(","));
    let both = [reading(0, "Energy.Active.Export.Register", "3"), reading(0, ENERGY, "100")];
    let ask = values(1, &both);
    assert_eq!(lock.station_sends(&ask), ask);
    let part = values(2, &[reading(0, "Energy.Active.Export.Interval", "1")]);
    assert_eq!(lock.station_sends(&part), part);
    assert_eq!(lock.answered_here(Side::Station, &values(3, &[reading(5, ENERGY, "101")])), r#"[3,"3",{}]"#);
}

/// Found by a reader: a reading counted as passed although the central system had refused its message, and the next attempt went without it.
#[test]
fn what_is_sent_again_after_an_error_is_whole() {
    let mut lock = Lock::new(Version::V16);
    let list: Vec<String> = [0, 16, 31, 46].map(|minute| reading(minute, ENERGY, "100")).into();
    let stop = format!(
        r#"[2,"b1","StopTransaction",{{"transactionId":7,"meterStop":100,"timestamp":"2026-11-24T12:46:00Z","transactionData":[{}]}}]"#,
        list.join(",")
    );
    for id in ["b1", "b1", "b2"] {
        let attempt = stop.replace("b1", id);
        assert_eq!(lock.station_sends(&attempt), attempt);
        lock.csms_sends(&format!(r#"[4,"{id}","InternalError","",{{}}]"#));
    }
    // But not a finer series: a central system that refuses all it gets gains nothing by it.
    let finer = stop.replace("b1", "b3").replace("12:16:00", "12:17:00");
    assert!(!lock.station_sends(&finer).contains("12:17:00"));
}

/// Found by a reader: central systems count transactions from 1, as stations do connectors.
#[test]
fn the_series_of_a_connector_is_not_that_of_a_transaction_of_the_same_number() {
    let mut lock = Lock::new(Version::V16);
    let list: Vec<String> = [1, 16].map(|minute| reading(minute, ENERGY, "100")).into();
    lock.station_sends(&format!(r#"[2,"1","MeterValues",{{"connectorId":1,"meterValue":[{}]}}]"#, list.join(",")));
    let list: Vec<String> = [2, 17, 32, 50].map(|minute| reading(minute, ENERGY, "100")).into();
    let stop = format!(
        r#"[2,"2","StopTransaction",{{"transactionId":1,"meterStop":100,"timestamp":"2026-11-24T12:50:00Z","transactionData":[{}]}}]"#,
        list.join(",")
    );
    assert_eq!(lock.station_sends(&stop), stop);
}

#[test]
fn a_time_with_a_long_fraction_is_cut_and_not_that_of_its_arrival() {
    let mut lock = Lock::new(Version::V16);
    let stop = r#"[2,"2","StopTransaction",{"transactionId":7,"meterStop":9,"timestamp":"2024-06-01T12:00:00.000000000000Z"}]"#;
    assert_eq!(lock.station_sends(stop), stop.replace(".000000000000Z", ".000Z"));
}

/// The certificate that plug-and-charge lets pass names the contract, and in a DataTransfer of 1.6 the tripwire stopped the whole message for it.
#[test]
fn a_contract_and_its_certificate_cross_for_plug_and_charge_in_a_data_transfer_too() {
    let text =
        "name = \"pnc\"\n[csms]\npurposes = [\"charge\", \"plug-and-charge\"]\n[station]\npurposes = [\"charge\", \"plug-and-charge\"]\n";
    let rules = Arc::new(sluis::policy::Rules::compile(text, vec![]).unwrap());
    let mut contract = rcgen::CertificateParams::default();
    contract.distinguished_name.push(rcgen::DnType::CommonName, "NLTNMC00122045");
    let pem = contract.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    let transfer = |data: serde_json::Value| {
        let data =
            serde_json::json!({"vendorId": "org.openchargealliance.iso15118pnc", "messageId": "Authorize", "data": data.to_string()});
        format!(r#"[2,"d","DataTransfer",{data}]"#)
    };
    let mut lock = Lock::with(Version::V16, Arc::clone(&rules), Arc::new(keyring(&[0], 0)));
    // The second time the contract is one in use before the message comes.
    for _ in 0..2 {
        let seen = lock
            .station_sends(&transfer(serde_json::json!({"idToken": {"idToken": "NLTNMC00122045", "type": "eMAID"}, "certificate": pem})));
        let data: serde_json::Value = serde_json::from_str(&seen).unwrap();
        let data: serde_json::Value = serde_json::from_str(data[3]["data"].as_str().unwrap()).unwrap();
        assert!(data["certificate"] == pem && data["idToken"]["idToken"].as_str().unwrap().starts_with("Z0"), "{seen}");
        lock.csms_sends(r#"[3,"d",{"status":"Accepted"}]"#);
    }
    // Beside it, the tripwire looks as ever.
    let hidden = serde_json::json!({
        "idToken": {"idToken": "NLTNMC00122045", "type": "eMAID"},
        "iso15118CertificateHashData": [{"hashAlgorithm": "SHA256", "issuerNameHash": "1", "issuerKeyHash": "1", "serialNumber": "1",
            "responderURL": "https://ocsp.example/NLTNMC00122045"}],
        "certificate": pem,
    });
    let (sent, _) = lock.pass(Side::Station, transfer(hidden).as_bytes());
    assert!(!sent.iter().any(|(side, text)| *side == Side::Csms && text.contains("NLTNMC00122045")), "{sent:?}");
}

/// Regression: a card named like a part of a key's name made every answer with that key a leak, and the answer was withheld.
#[test]
fn a_tag_that_is_a_part_of_a_key_s_name_withholds_no_configuration() {
    let mut lock = Lock::new(Version::V16);
    lock.station_authorizes("FREEVEND");
    let asked = r#"[2,"9","GetConfiguration",{}]"#;
    assert_eq!(lock.csms_sends(asked), asked);
    let answer = r#"[3,"9",{"configurationKey":[{"key":"FreevendIdTag","readonly":false,"value":"freevend"},{"key":"HeartbeatInterval","readonly":false,"value":"60"}]}]"#;
    let got = lock.station_sends(answer);
    assert!(got.contains("HeartbeatInterval") && !got.starts_with("[4"), "{got}");
}

/// Regression: the customer was dropped from the request, which then asked to clear nobody's data, or everybody's.
#[test]
fn who_is_to_be_forgotten_is_named_by_a_certificate_too() {
    let digest = "ab".repeat(32);
    for version in [Version::V201, Version::V21] {
        let asked = format!(
            r#"[2,"9","CustomerInformation",{{"requestId":1,"report":false,"clear":true,"customerCertificate":{{"hashAlgorithm":"SHA256","issuerNameHash":"{digest}","issuerKeyHash":"{digest}","serialNumber":"{digest}"}}}}]"#
        );
        assert_eq!(Lock::new(version).csms_sends(&asked), asked);
    }
}

/// Regression: some firmware forgets the quotes around a message id, and does not know its own number again as a text.
#[test]
fn an_answer_of_the_gateway_s_own_has_a_number_for_an_id_where_the_message_had_one() {
    let mut lock = Lock::new(Version::V16);
    assert_eq!(lock.answered_here(Side::Station, r#"[2,78,"Nonsense",{}]"#), r#"[4,78,"NotImplemented","not passed on",{}]"#);
    let vendor = r#"[2,79,"DataTransfer",{"vendorId":"com.example"}]"#;
    assert!(lock.answered_here(Side::Station, vendor).starts_with("[3,79,"));
    // Of an answer that cannot be passed on.
    let asked = r#"[2,80,"Heartbeat",{}]"#;
    assert_eq!(lock.station_sends(asked), asked);
    let (sent, _) = lock.pass(Side::Csms, br#"[3,"80",{"currentTime":"#);
    assert!(sent.iter().any(|(side, text)| *side == Side::Station && text.starts_with("[4,80,")), "{sent:?}");
}

/// What a meter has signed crosses where calibration law asks for it, and may hold the card: it is not kept beside the card's code.
#[test]
fn signed_readings_are_not_kept() {
    let rules = with_purpose("calibration-law");
    let signed = r#"OCMF|{\"ID\":\"04A2B3C4D5E6F7\"}|{}"#;
    let mut lock = Lock::with(Version::V16, rules.clone(), Arc::new(keyring(&[0], 0)));
    let seen = lock.station_sends(&format!(
        r#"[2,"s","StopTransaction",{{"transactionId":7,"meterStop":12500,"timestamp":"2026-11-29T01:20:00Z","idTag":"{CARD}","transactionData":[{{"timestamp":"2026-11-29T01:20:00Z","sampledValue":[{{"value":"{signed}","format":"SignedData","context":"Transaction.End"}},{{"value":"12500","context":"Transaction.End"}}]}}]}}]"#
    ));
    assert!(seen.contains(signed));
    let kept = &lock.facts[0].payload;
    assert!(!kept.contains(CARD) && kept.contains(r#""value":"12500""#) && kept.contains(r#""meterStop":12500"#), "{kept}");
    serde_json::from_str::<serde_json::Value>(kept).unwrap();
    let mut lock = Lock::with(Version::V201, rules, Arc::new(keyring(&[0], 0)));
    let seen = lock.station_sends(&format!(
        r#"[2,"e","TransactionEvent",{{"eventType":"Ended","timestamp":"2026-11-29T01:20:00Z","triggerReason":"EVDeparted","seqNo":2,"transactionInfo":{{"transactionId":"t1"}},"meterValue":[{{"timestamp":"2026-11-29T01:20:00Z","sampledValue":[{{"value":12500,"context":"Transaction.End","signedMeterValue":{{"signedMeterData":"{signed}","signingMethod":"","encodingMethod":"OCMF","publicKey":""}}}}]}}]}}]"#
    ));
    assert!(seen.contains(signed));
    let kept = &lock.facts[0].payload;
    assert!(!kept.contains(CARD) && kept.contains(r#""value":12500"#), "{kept}");
    serde_json::from_str::<serde_json::Value>(kept).unwrap();
}

/// R57: an order with the code of a card that was erased is refused, also on the connection that the card was seen on last.
#[test]
fn an_erased_code_is_restored_on_no_connection() {
    let mut lock = Lock::new(Version::V16);
    let code = lock.station_authorizes(CARD);
    let start = format!(r#"[2,"r","RemoteStartTransaction",{{"connectorId":1,"idTag":"{code}"}}]"#);
    assert!(lock.csms_sends(&start).contains(CARD));
    lock.station_sends(r#"[3,"r",{"status":"Accepted"}]"#);
    lock.vault.codes.clear();
    assert_eq!(lock.answered_here(Side::Csms, &start), r#"[3,"r",{"status":"Rejected"}]"#);
}

/// A PIN is kept nowhere but on the connection on which it was entered, and is restored there.
#[test]
fn a_pin_is_restored_where_it_was_entered() {
    let mut lock = Lock::new(Version::V201);
    let token = |text: &str| format!(r#""idToken":{{"idToken":"{text}","type":"KeyCode"}}"#);
    let seen = lock.station_sends(&format!(r#"[2,"a","Authorize",{{{}}}]"#, token("4711-08")));
    let code = seen.split('"').nth(9).unwrap().to_owned();
    lock.csms_sends(r#"[3,"a",{"idTokenInfo":{"status":"Accepted"}}]"#);
    lock.vault.codes.clear();
    let start = |text: &str| format!(r#"[2,"r","RequestStartTransaction",{{{},"remoteStartId":1}}]"#, token(text));
    assert_eq!(lock.csms_sends(&start(&code)), start("4711-08"));
}

/// I5: the central system knows a transaction by its code. One that it names clear it has guessed, and whether the station knows it is not told.
#[test]
fn a_transaction_that_the_central_system_was_never_shown_is_not_asked_for() {
    for version in [Version::V201, Version::V21] {
        let mut lock = Lock::new(version);
        let seen = lock.station_sends(&format!(
            r#"[2,"e","TransactionEvent",{{"eventType":"Started","timestamp":"2026-11-29T01:20:00Z","triggerReason":"Authorized","seqNo":0,"transactionInfo":{{"transactionId":"{CARD}-0042"}}}}]"#
        ));
        assert!(!seen.contains(CARD));
        let code = seen.split("transactionId\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        lock.csms_sends(r#"[3,"e",{}]"#);
        let ask = |id: &str| format!(r#"[2,"g","GetTransactionStatus",{{"transactionId":"{id}"}}]"#);
        for guess in [format!("{CARD}-0042"), "04112233445566-0042".to_owned()] {
            let answer = lock.answered_here(Side::Csms, &ask(&guess));
            assert!(answer.starts_with(r#"[3,"g",{"#) || answer.starts_with(r#"[4,"g","#), "{answer}");
        }
        assert_eq!(lock.csms_sends(&ask(&code)), ask(&format!("{CARD}-0042")));
        lock.station_sends(r#"[3,"g",{"ongoingIndicator":true,"messagesInQueue":false}]"#);
        for plain in ["17", "5f0c7a9e-1d2b-4c3d-8e4f-0a1b2c3d4e5f"] {
            assert_eq!(lock.csms_sends(&ask(plain)), ask(plain));
            lock.station_sends(r#"[3,"g",{"messagesInQueue":false}]"#);
        }
    }
}

/// An explicit null says nothing: without a measurand it is the register of energy.
#[test]
fn a_measurand_that_is_null_is_the_register() {
    let event = r#"[2,"e","TransactionEvent",{"eventType":"Ended","timestamp":"2026-11-29T01:20:00Z","triggerReason":"EVDeparted","seqNo":2,"transactionInfo":{"transactionId":"t1"},"meterValue":[{"timestamp":"2026-11-29T01:20:00Z","sampledValue":[{"value":12500,"context":"Transaction.End","measurand":null}]}]}]"#;
    assert_eq!(Lock::new(Version::V201).station_sends(event), event);
    let values = r#"[2,"m","MeterValues",{"connectorId":1,"transactionId":7,"meterValue":[{"timestamp":"2026-11-29T01:20:00Z","sampledValue":[{"value":"12500","measurand":null}]}]}]"#;
    assert_eq!(Lock::new(Version::V16).station_sends(values), values);
}
