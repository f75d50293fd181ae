//! Attacks that once worked, each with the reason why it does not any more.

mod common;

use common::Lock;
use sluis::ocpp::{Side, Version};
use sluis::session::Outcome;

const CARD: &str = "04A2B3C4D5E6F7";

/// The central system plants a guess as a transaction id, has the station send it up again (which makes a code for the *reference*), and
/// orders a remote start with that code. If it came down as the card, the station would charge with it and send up the card's own code.
#[test]
fn the_code_of_a_reference_never_comes_down_as_a_card() {
    let mut lock = Lock::new(Version::V201);
    let event = format!(
        r#"[2,"7","TransactionEvent",{{"eventType":"Started","timestamp":"2026-11-24T10:00:00Z","triggerReason":"CablePluggedIn","seqNo":0,"transactionInfo":{{"transactionId":"{CARD}"}}}}]"#
    );
    let seen = lock.station_sends(&event);
    let code = seen.split("transactionId\":\"").nth(1).unwrap()[..20].to_owned();
    let order = format!(r#"[2,"8","RequestStartTransaction",{{"remoteStartId":1,"idToken":{{"idToken":"{code}","type":"ISO14443"}}}}]"#);
    let (sent, step) = lock.pass(Side::Csms, order.as_bytes());
    assert_eq!((sent[0].0, step.seen.unwrap().outcome), (Side::Csms, Outcome::ForeignIdentifier));
    // As what it stands for, it does come down.
    assert!(lock.csms_sends(&format!(r#"[2,"9","RequestStopTransaction",{{"transactionId":"{code}"}}]"#)).contains(CARD));
    // And the code of a card is no reference.
    let seen = lock.station_sends(&format!(r#"[2,"a","Authorize",{{"idToken":{{"idToken":"{CARD}","type":"ISO14443"}}}}]"#));
    let code = seen.split("idToken\":\"").nth(1).unwrap()[..20].to_owned();
    let (sent, _) = lock.pass(Side::Csms, format!(r#"[2,"b","RequestStopTransaction",{{"transactionId":"{code}"}}]"#).as_bytes());
    assert!(sent[0].0 == Side::Csms && !sent[0].1.contains(CARD));
}

/// A description that is no text was compared as if it were an empty one, and passed whole.
#[test]
fn an_error_whose_description_is_no_text_does_not_cross_as_it_is() {
    for odd in [r#"{"idTag":"04A2B3C4D5E6F7"}"#, r#"["04A2B3C4D5E6F7"]"#, "77771716"] {
        let mut lock = Lock::new(Version::V16);
        lock.csms_sends(r#"[2,"1","GetLocalListVersion",{}]"#);
        assert_eq!(lock.station_sends(&format!(r#"[4,"1","GenericError",{odd},{{}}]"#)), r#"[4,"1","GenericError","",{}]"#);
    }
    let mut lock = Lock::new(Version::V16);
    lock.csms_sends(r#"[2,"1","GetLocalListVersion",{}]"#);
    assert!(lock.station_sends(r#"[4,"1","GenericError",]"#).contains("InternalError"));
}

/// What comes back of a name or an id that the central system chose itself must not depend on whether it is a card in use here.
#[test]
fn echoes_do_not_tell_which_guess_is_a_card_in_use() {
    let told = |in_use: bool, ask: &str, answer: &str| {
        let mut lock = Lock::new(Version::V16);
        if in_use {
            for tag in [CARD, "GUEST-PASS"] {
                lock.station_authorizes(tag);
            }
        }
        let (sent, _) = lock.pass(Side::Csms, ask.as_bytes());
        if sent[0].0 == Side::Csms { sent } else { lock.pass(Side::Station, answer.as_bytes()).0 }
    };
    for (ask, answer) in [
        (r#"[2,"g","GetConfiguration",{"key":["04A2B3C4D5E6F7","x"]}]"#, r#"[3,"g",{"unknownKey":["04A2B3C4D5E6F7","x"]}]"#),
        (r#"[2,"g","GetConfiguration",{"key":["GUEST-PASS","x"]}]"#, r#"[3,"g",{"unknownKey":["GUEST-PASS","x"]}]"#),
        (r#"[2,"04A2B3C4D5E6F7","GetLocalListVersion",{}]"#, r#"[3,"04A2B3C4D5E6F7",{"listVersion":1}]"#),
    ] {
        assert_eq!(told(true, ask, answer), told(false, ask, answer), "{ask}");
    }
}

/// A card whose number reads as today's date, or as a number that a meter shows, raised the alarm in every frame.
#[test]
fn a_card_that_looks_like_a_date_or_a_number_can_be_billed() {
    for card in ["20261124", "1234", "00001000", "12345678"] {
        let mut lock = Lock::new(Version::V16);
        let start = format!(
            r#"[2,"1","StartTransaction",{{"connectorId":1,"idTag":"{card}","meterStart":12345678,"timestamp":"2026-11-24T10:00:00Z"}}]"#
        );
        lock.station_sends(&start);
        lock.csms_sends(r#"[3,"1",{"transactionId":5,"idTagInfo":{"status":"Accepted"}}]"#);
        let stop = format!(
            r#"[2,"2","StopTransaction",{{"idTag":"{card}","transactionId":5,"meterStop":4096,"timestamp":"2026-11-24T11:00:00Z","transactionData":[{{"timestamp":"2026-11-24T11:00:00Z","sampledValue":[{{"value":"12.34","context":"Transaction.End"}},{{"value":"4096","context":"Transaction.End"}}]}}]}}]"#
        );
        assert!(lock.station_sends(&stop).contains("\"4096\""), "{card}");
    }
}

/// A transaction message that cannot be passed on was answered with an empty result, so that the station took it for delivered.
#[test]
fn what_could_not_be_passed_on_is_not_acknowledged() {
    let mut lock = Lock::new(Version::V16);
    let answer = lock.answered_here(
        Side::Station,
        r#"[2,"s","StopTransaction",{"transactionId":5,"meterStop":{"a":1},"timestamp":"2026-11-24T11:00:00Z"}]"#,
    );
    assert_eq!(answer, r#"[4,"s","TypeConstraintViolation","not passed on",{}]"#);
    // A number in quotes and a sloppy time are no reason to lose a session.
    let odd = r#"[2,"s","StopTransaction",{"transactionId":"5","meterStop":"1234","timestamp":"2026-11-24T11:00:00.000 +00:00"}]"#;
    assert_eq!(lock.station_sends(odd), odd);
}

/// The last reading of a transaction said `Sample.Periodic` of itself and was thinned away.
#[test]
fn the_last_reading_of_a_transaction_always_passes() {
    let mut lock = Lock::new(Version::V201);
    let event = |kind: &str, minute: u32| {
        format!(
            r#"[2,"7","TransactionEvent",{{"eventType":"{kind}","timestamp":"2026-11-24T10:{minute:02}:00Z","triggerReason":"MeterValuePeriodic","seqNo":0,"transactionInfo":{{"transactionId":"1"}},"meterValue":[{{"timestamp":"2026-11-24T10:{minute:02}:00Z","sampledValue":[{{"value":1500,"context":"Sample.Periodic"}}]}}]}}]"#
        )
    };
    for (kind, minute, passes) in [("Updated", 0, true), ("Updated", 1, false), ("Ended", 5, true)] {
        assert_eq!(lock.station_sends(&event(kind, minute)).contains("1500"), passes, "{kind} {minute}");
    }
}

/// Without a vendor, its message id and data were not looked at.
#[test]
fn data_of_no_vendor_does_not_cross() {
    for odd in [
        r#"{"messageId":"04A2B3C4D5E6F7"}"#,
        r#"{"vendorId":null,"messageId":"04A2B3C4D5E6F7","data":null}"#,
        r#"{"data":"04A2B3C4D5E6F7"}"#,
    ] {
        let answer = Lock::new(Version::V16).answered_here(Side::Station, &format!(r#"[2,"d","DataTransfer",{odd}]"#));
        assert_eq!(answer, r#"[3,"d",{"status":"UnknownVendorId"}]"#);
    }
}

/// A card number with separators in odd places went down as the plain value of an unknown setting.
#[test]
fn no_spelling_of_a_card_can_be_planted_in_an_unknown_setting() {
    for value in ["04A2B-3C4", "0-4A2B3C4", "0-4-A-2-B-3-C-4", "04A2B3C-4D5E6F7", "NLABC-C0012-204-5"] {
        let mut lock = Lock::new(Version::V16);
        let answer = lock.answered_here(Side::Csms, &format!(r#"[2,"c","ChangeConfiguration",{{"key":"GuestCard","value":"{value}"}}]"#));
        assert_eq!(answer, r#"[3,"c",{"status":"Rejected"}]"#, "{value}");
    }
}
