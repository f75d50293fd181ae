//! Properties that hold for all input: what a hostile station or central system may send.

mod common;

use common::messages::{self, Canaries};
use common::{Lock, allow_all, keyring, strict};
use proptest::prelude::*;
use sluis::ocpp::{Side, Version};
use std::sync::{Arc, LazyLock};

fn call(id: &str, action: &str, payload: &serde_json::Value) -> String {
    format!("[2,\"{id}\",\"{action}\",{payload}]")
}

fn is_frame(text: &str) -> bool {
    serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok_and(|f| f.len() >= 3 && f[1].is_string())
}

/// The canaries (card-shaped strings) in a text.
fn canaries(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_hexdigit()).filter(|run| run.len() == 14 && run.starts_with("04")).collect()
}

#[test]
fn no_canary_of_a_station_crosses_in_any_message_of_any_version() {
    let mut crossed = Vec::new();
    for message in messages::all(&mut Canaries::new(1)) {
        let mut lock = Lock::new(message.version);
        let name = format!("{} {}", message.version.number(), message.action);
        if message.from_station {
            let kind = if message.send { 6 } else { 2 };
            let frame = format!("[{kind},\"m1\",\"{}\",{}]", message.action, message.request);
            let (sent, step) = lock.pass(Side::Station, frame.as_bytes());
            assert_eq!(sent.len(), usize::from(!message.send || sent.iter().any(|s| s.0 == Side::Csms)), "{name}: {sent:?}");
            for (side, text) in &sent {
                assert!(is_frame(text), "{name}: {text}");
                if *side == Side::Csms && !canaries(text).is_empty() {
                    crossed.push(format!("{name}: {text}"));
                }
            }
            assert_ne!(step.seen.unwrap().outcome, sluis::session::Outcome::Tripwire, "{name}: left to the tripwire: {frame}");
        } else {
            // The station answers a CALL of the central system.
            let (sent, _) = lock.pass(Side::Csms, call("m1", &message.action, &serde_json::json!({})).as_bytes());
            if sent[0].0 == Side::Csms {
                continue;
            }
            let frame = format!("[3,\"m1\",{}]", message.response);
            let (sent, _) = lock.pass(Side::Station, frame.as_bytes());
            assert_eq!(sent.len(), 1, "{name}");
            if !canaries(&sent[0].1).is_empty() {
                crossed.push(format!("{name} answer: {}", sent[0].1));
            }
        }
    }
    assert!(crossed.is_empty(), "{} messages leak:\n{}", crossed.len(), crossed.join("\n"));
}

#[test]
fn no_guessed_card_reaches_a_station_as_a_token() {
    for message in messages::all(&mut Canaries::new(2)).into_iter().filter(|m| !m.from_station) {
        let mut lock = Lock::new(message.version);
        let (sent, _) = lock.pass(Side::Csms, call("m1", &message.action, &message.request).as_bytes());
        assert_eq!(sent.len(), 1, "{}", message.action);
        assert!(is_frame(&sent[0].1));
        for name in ["idTag", "parentIdTag", "idToken", "additionalIdToken", "customerIdentifier"] {
            for quoted in sent[0].1.split(&format!("\"{name}\":\"")).skip(1) {
                assert!(sent[0].0 == Side::Csms || !quoted.starts_with("04"), "{}: {}", message.action, sent[0].1);
            }
        }
    }
}

#[test]
fn an_allow_all_plan_is_the_identity() {
    for message in messages::all(&mut Canaries::new(3)) {
        let mut lock = Lock::with(message.version, allow_all(), Arc::new(keyring(&[0], 0)));
        let (from, to) = if message.from_station { (Side::Station, Side::Csms) } else { (Side::Csms, Side::Station) };
        let kind = if message.send { 6 } else { 2 };
        let frame = format!(" [ {kind}, \"04A2B3C4D5E6F7\" ,\"{}\",\t{}\r\n] ", message.action, message.request);
        let (sent, _) = lock.pass(from, frame.as_bytes());
        assert_eq!(sent, [(to, frame)]);
        if !message.send {
            let frame = format!("[3,\"04A2B3C4D5E6F7\",{}]", message.response);
            let (sent, _) = lock.pass(to, frame.as_bytes());
            assert_eq!(sent, [(from, frame)]);
        }
    }
}

static MESSAGES: LazyLock<Vec<messages::Message>> = LazyLock::new(|| messages::all(&mut Canaries::new(4)));

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_bytes_come_there_is_at_most_one_answer_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), station: bool, version in 0usize..3) {
        let from = if station { Side::Station } else { Side::Csms };
        let (sent, _) = Lock::new(Version::ALL[version]).pass(from, &bytes);
        prop_assert!(sent.len() <= 1);
        prop_assert!(sent.iter().all(|(side, text)| *side == from && is_frame(text)));
    }

    /// A valid message with a few bytes changed, cut or doubled.
    #[test]
    fn a_damaged_message_is_treated_or_refused_and_what_leaves_is_json(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..4),
    ) {
        let message = &MESSAGES[which.index(MESSAGES.len())];
        let mut bytes = call("m1", &message.action, &message.request).into_bytes();
        for (place, byte, how) in damage {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at + 1),
                2 => bytes.insert(at, b"{}[]\",:\\0"[usize::from(byte) % 9]),
                _ => { bytes.remove(at); if bytes.is_empty() { bytes.push(b'['); } }
            }
        }
        let from = if message.from_station { Side::Station } else { Side::Csms };
        let mut lock = Lock::new(message.version);
        let (sent, _) = lock.pass(from, &bytes);
        prop_assert!(sent.len() <= 1, "{:?}", sent);
        for (_, text) in &sent {
            prop_assert!(is_frame(text), "{} from {}", text, String::from_utf8_lossy(&bytes));
        }
        // Whoever reads it as JSON reads it the same: what serde_json refuses is not passed on.
        if serde_json::from_slice::<serde_json::Value>(&bytes).is_err() {
            prop_assert!(sent.iter().all(|(side, _)| *side == from));
        }
    }

    #[test]
    fn restoring_undoes_pseudonymising(tag in "[ -~]{1,36}") {
        prop_assume!(!tag.trim().is_empty() && !tag.to_uppercase().starts_with("WEB-"));
        let mut lock = Lock::new(Version::V16);
        let quoted = serde_json::to_string(&tag).unwrap();
        let seen = lock.station_sends(&format!("[2,\"a\",\"Authorize\",{{\"idTag\":{quoted}}}]"));
        let code: serde_json::Value = serde_json::from_str(&seen).unwrap();
        let code = code[3]["idTag"].as_str().unwrap().to_owned();
        prop_assert!(code.len() == 20 && !code.eq_ignore_ascii_case(&tag));
        let down = lock.csms_sends(&format!("[2,\"r\",\"RemoteStartTransaction\",{{\"idTag\":\"{}\"}}]", code.to_lowercase()));
        let restored: serde_json::Value = serde_json::from_str(&down).unwrap();
        let restored = restored[3]["idTag"].as_str().unwrap();
        if restored != tag {
            // It is longer than the field: then without separators, if that fits and is the same card.
            prop_assert!(tag.len() > 20 && restored.len() <= 20);
            let quoted = serde_json::to_string(restored).unwrap();
            let again = lock.station_sends(&format!("[2,\"b\",\"Authorize\",{{\"idTag\":{quoted}}}]"));
            prop_assert!(again.contains(&code), "{} is not {}", again, code);
        }
    }
}

#[test]
fn a_flood_of_unanswered_calls_stays_bounded_and_each_gets_one_answer() {
    let mut lock = Lock::new(Version::V16);
    let mut answered = 0;
    for n in 0..1000 {
        let (sent, _) = lock.pass(Side::Station, format!("[2,\"{n}\",\"Heartbeat\",{{}}]").as_bytes());
        answered += sent.iter().filter(|(side, _)| *side == Side::Station).count();
    }
    assert_eq!(answered, 1000 - sluis::session::MAX_PENDING);
    let (sent, _) = lock.pass(Side::Csms, br#"[3,"999",{"currentTime":"2026-11-24T10:00:00Z"}]"#);
    assert!(sent.is_empty(), "an answer that comes after the error is not forwarded");
    let _ = strict();
}
