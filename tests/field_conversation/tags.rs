//! Row 15: idTags of every shape.

use super::common::{Lock, kek, keyring, strict};
use super::wire::Scene;
use sluis::identity::Epoch;
use sluis::keys::{EpochKey, Keyring, StandingKey};
use sluis::ocpp::{Side, Version};
use sluis::pseudonym::Alphabet;
use sluis::session::Outcome;
use std::sync::Arc;

fn authorize(tag: &str) -> String {
    format!(r#"[2,"1","Authorize",{{"idTag":"{tag}"}}]"#)
}

/// The code under which a tag goes up, in a new connection.
fn code(tag: &str) -> String {
    let seen = Lock::new(Version::V16).station_sends(&authorize(tag));
    seen.split("\"idTag\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn field_15_one_card_is_one_code_however_it_is_spelt() {
    let cards = [
        vec![
            "04A2B3C4D5E6F7",
            "04a2b3c4d5e6f7",
            "04:A2:B3:C4:D5:E6:F7",
            "04-a2-b3-c4-d5-e6-f7",
            " 04A2B3C4D5E6F7 ",
            "04 A2 B3 C4 D5 E6 F7",
        ],
        vec!["NLTNMC00122045K", "NL-TNM-C00122045-K", "nl*tnm*c00122045", "NLTNMC00122045"],
        vec!["DE*8AA*123456*7", "DE-8AA-123456-7", "DE8AA1234567", "de*8aa*123456*7"],
        // Alfen: hexadecimal only, padded to what a card of ten bytes has.
        vec!["04A2B3C4", "04a2b3c4"],
        vec!["Visitor 7", "VISITOR 7", "visitor 7 "],
    ];
    let mut codes = Vec::new();
    for spellings in cards {
        let made: Vec<String> = spellings.iter().map(|tag| code(tag)).collect();
        assert!(made.iter().all(|code| *code == made[0] && code.len() == 20), "{spellings:?}: {made:?}");
        codes.push(made[0].clone());
    }
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 5);
}

#[test]
fn field_15_the_length_of_a_tag_is_not_the_length_of_its_code() {
    // 1.6 has 20 characters, 2.0.1 36, 2.1 255; stations send more in all of them.
    for length in [1, 20, 21, 36, 37, 255] {
        let tag: String = "QX7".chars().cycle().take(length).collect();
        let mut lock = Lock::new(Version::V16);
        let seen = lock.station_sends(&authorize(&tag));
        let code = seen.split("\"idTag\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert_eq!(code.len(), 20);
        let down = lock.csms_sends(&format!(r#"[2,"r","RemoteStartTransaction",{{"idTag":"{code}"}}]"#));
        assert_eq!(down, format!(r#"[2,"r","RemoteStartTransaction",{{"idTag":"{tag}"}}]"#));
    }
    let (sent, _) = Lock::new(Version::V16).pass(Side::Station, authorize(&"Q".repeat(256)).as_bytes());
    assert_eq!(sent, [(Side::Station, r#"[3,"1",{"idTagInfo":{"status":"Invalid"}}]"#.to_owned())]);
}

/// Found with the fuzz target `treat`: a card that was spelt with separators came back so, and was too long for the field.
#[test]
fn field_15_what_comes_back_has_room_in_its_field() {
    const SPELT: &str = "E1.03.A8.7D.06.B9.31.2C.05.77";
    let parent = |code: &str| format!(r#"[3,"2",{{"idTagInfo":{{"status":"Expired","parentIdTag":"{code}"}},"transactionId":0}}]"#);
    let start = r#"[2,"2","StartTransaction",{"connectorId":1,"idTag":"04A2B3C4","meterStart":1,"timestamp":"2026-11-24T10:00:00Z"}]"#;
    // By the station itself, or by another one, whose spelling is in the vault.
    for here in [true, false] {
        let mut lock = Lock::new(Version::V16);
        let code = lock.station_authorizes(SPELT);
        if !here {
            lock = Lock { vault: lock.vault, ..Lock::new(Version::V16) };
        }
        lock.station_sends(start);
        assert_eq!(lock.csms_sends(&parent(&code)), parent("E103A87D06B9312C0577"));
        // What the station makes of it is the same card.
        assert_eq!(lock.station_authorizes("E103A87D06B9312C0577"), code);
    }
    // Where there is room, it is spelt as it was.
    let mut lock = Lock::new(Version::V201);
    let authorize = |tag: &str| format!(r#"[2,"1","Authorize",{{"idToken":{{"idToken":"{tag}","type":"ISO14443"}}}}]"#);
    let order =
        |tag: &str| format!(r#"[2,"r","RequestStartTransaction",{{"remoteStartId":1,"idToken":{{"idToken":"{tag}","type":"ISO14443"}}}}]"#);
    let code = lock.station_sends(&authorize(SPELT)).split("\"idToken\":\"").nth(1).unwrap()[..20].to_owned();
    assert_eq!(lock.csms_sends(&order(&code)), order(SPELT));
}

/// A card that has no spelling short enough, and that this station has not written so itself.
#[test]
fn field_15_what_has_no_room_in_any_spelling_stays_out() {
    let long = "QX7".repeat(10);
    let mut lock = Lock::new(Version::V21);
    let seen = lock.station_sends(&format!(r#"[2,"1","Authorize",{{"idToken":{{"idToken":"{long}","type":"Central"}}}}]"#));
    let code = seen.split("\"idToken\":\"").nth(1).unwrap()[..20].to_owned();
    let mut lock = Lock { vault: lock.vault, ..Lock::new(Version::V16) };
    let order = format!(r#"[2,"r","RemoteStartTransaction",{{"idTag":"{code}"}}]"#);
    assert_eq!(lock.answered_here(Side::Csms, &order), r#"[3,"r",{"status":"Rejected"}]"#);
    lock.station_sends(&authorize("04A2B3C4"));
    let (sent, step) =
        lock.pass(Side::Csms, format!(r#"[3,"1",{{"idTagInfo":{{"parentIdTag":"{code}","status":"Accepted"}}}}]"#).as_bytes());
    assert_eq!(sent, [(Side::Station, r#"[3,"1",{"idTagInfo":{"status":"Accepted"}}]"#.to_owned())]);
    assert_eq!(step.seen.unwrap().outcome, Outcome::Treated, "nobody guessed anything");
    // Of a list, only what this station has room for.
    let list = format!(
        r#"[2,"l","SendLocalList",{{"listVersion":1,"updateType":"Full","localAuthorizationList":[{{"idTag":"{code}"}},{{"idTag":"WEB-1"}}]}}]"#
    );
    assert!(lock.csms_sends(&list).ends_with(r#""localAuthorizationList":[{"idTag":"WEB-1"}]}]"#));
    // To a station that has just written it, it goes as that wrote it.
    assert_eq!(lock.station_authorizes(&long), code);
    assert_eq!(lock.csms_sends(&order), order.replace(&code, &long));
}

#[test]
fn field_15_empty_and_null_and_absent_are_three_things() {
    let stop =
        |tag: &str| format!(r#"[2,"1","StopTransaction",{{"transactionId":7,{tag}"meterStop":9,"timestamp":"2026-11-24T11:00:00Z"}}]"#);
    // A stop without a card, by the app, by a button: as it is.
    for tag in ["", r#""idTag":"","#, r#""idTag":null,"#, r#""idTag":"  ","#] {
        let (sent, step) = Lock::new(Version::V16).pass(Side::Station, stop(tag).as_bytes());
        assert_eq!(sent, [(Side::Csms, stop(tag))]);
        assert!(step.sightings.is_empty() && step.facts.len() == 1);
    }
    for tag in [r#""""#, "null"] {
        let frame = format!(r#"[2,"1","Authorize",{{"idTag":{tag}}}]"#);
        assert_eq!(Lock::new(Version::V16).station_sends(&frame), frame);
    }
}

#[test]
fn field_15_tokens_of_2_x_that_name_nobody_pass_as_they_are() {
    for version in [Version::V201, Version::V21] {
        for token in [r#"{"idToken":"","type":"NoAuthorization"}"#, r#"{"type":"NoAuthorization","idToken":""}"#] {
            let frame = format!(
                r#"[2,"1","TransactionEvent",{{"eventType":"Started","timestamp":"2026-11-24T10:00:00Z","triggerReason":"CablePluggedIn","seqNo":0,"transactionInfo":{{"transactionId":"t1"}},"idToken":{token}}}]"#
            );
            assert_eq!(Lock::new(version).station_sends(&frame), frame);
        }
        // The type of a token does not make another card of it, unless it is a PIN.
        let code = |kind: &str, text: &str| {
            let seen =
                Lock::new(version).station_sends(&format!(r#"[2,"1","Authorize",{{"idToken":{{"idToken":"{text}","type":"{kind}"}}}}]"#));
            seen.split("\"idToken\":\"").nth(1).unwrap()[..20].to_owned()
        };
        assert_eq!(code("ISO14443", "04A2B3C4D5E6F7"), code("Central", "04:a2:b3:c4:d5:e6:f7"));
        assert_ne!(code("ISO14443", "12345678"), code("KeyCode", "12345678"));
    }
}

#[test]
fn field_15_groups_come_back_as_they_were_and_strange_ones_stay_out() {
    let mut lock = Lock::new(Version::V16);
    let group = lock.station_authorizes("GROUP-NORTH");
    lock.station_sends(&authorize("04A2B3C4D5E6F7"));
    let down = lock.csms_sends(&format!(r#"[3,"1",{{"idTagInfo":{{"status":"Accepted","parentIdTag":"{}"}}}}]"#, group.to_lowercase()));
    assert_eq!(down, r#"[3,"1",{"idTagInfo":{"status":"Accepted","parentIdTag":"GROUP-NORTH"}}]"#);
    lock.station_sends(&authorize("04A2B3C4D5E6F7"));
    let (sent, step) = lock.pass(Side::Csms, br#"[3,"1",{"idTagInfo":{"status":"Accepted","parentIdTag":"GUESS-1"}}]"#);
    assert_eq!(sent[0].1, r#"[3,"1",{"idTagInfo":{"status":"Accepted"}}]"#);
    assert_eq!(step.seen.unwrap().outcome, Outcome::ForeignIdentifier);
    let mut lock = Lock::new(Version::V201);
    lock.station_sends(r#"[2,"1","Authorize",{"idToken":{"idToken":"04A2B3C4D5E6F7","type":"ISO14443"}}]"#);
    let down = lock.csms_sends(r#"[3,"1",{"idTokenInfo":{"status":"Accepted","groupIdToken":{"idToken":"","type":"NoAuthorization"}}}]"#);
    assert!(down.contains(r#""groupIdToken":{"idToken":"","type":"NoAuthorization"}"#), "{down}");
}

/// For back ends that take nothing but hexadecimal digits.
#[test]
fn field_15_codes_of_hexadecimal_digits_only() {
    struct Same;
    impl sluis::seal::Entropy for Same {
        fn fill(&self, to: &mut [u8]) -> Result<(), sluis::seal::SealError> {
            to.fill(0x5a);
            Ok(())
        }
    }
    let epoch = EpochKey::generate(Epoch(3), Alphabet::Hex, &Same).unwrap();
    let keys = Keyring::new(vec![epoch], Epoch(3), StandingKey::generate(&Same).unwrap(), &kek()).unwrap();
    let mut lock = Lock::with(Version::V16, strict(), Arc::new(keys));
    let code = lock.station_authorizes("04A2B3C4D5E6F7");
    assert!(code.len() == 20 && code.starts_with("F3") && code.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_lowercase()), "{code}");
    let spaced: Vec<String> = code.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_lowercase()).collect();
    for spelt in [code.clone(), code.to_lowercase(), spaced.join(":")] {
        let down = lock.csms_sends(&format!(r#"[2,"{spelt}","RemoteStartTransaction",{{"idTag":"{spelt}"}}]"#));
        assert!(down.ends_with(r#"{"idTag":"04A2B3C4D5E6F7"}]"#), "{down}");
    }
    // A code that a station shows, as after a central system has programmed a card with it, is not coded again.
    assert!(lock.station_sends(&format!(r#"[2,"2","Authorize",{{"idTag":"{code}"}}]"#)).contains(&code));
    let _ = keyring;
}

#[tokio::test(flavor = "multi_thread")]
async fn field_15_a_card_spelt_by_two_stations_is_one_driver_on_the_wire() {
    let scene = Scene::new(&[("identity.alphabet", "hex")]).await;
    let mut seen = Vec::new();
    for tag in ["04a2b3c4d5e6f7", "04:A2:B3:C4:D5:E6:F7"] {
        let (mut station, mut csms) = scene.connects("ocpp1.6").await;
        station.says(&authorize(tag)).await;
        seen.push(csms.hears().await);
        csms.says(r#"[3,"1",{"idTagInfo":{"status":"Accepted"}}]"#).await;
        station.hears().await;
        station.hangs_up().await;
    }
    assert!(seen[0] == seen[1] && seen[0].contains("\"idTag\":\"F"), "{seen:?}");
    scene.serving.stop().await;
}
