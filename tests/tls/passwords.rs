//! Passwords that are checked here, and those that the central system gets instead.

use super::common::{Lock, keyring};
use super::world::*;
use sluis::gateway::credentials::PasswordHash;
use sluis::ocpp::{Side, Version};
use sluis::policy::Rules;
use std::sync::Arc;

const OLD: &[u8] = b"old:pass:word \xff\x00 of bytes";
const NEW: &[u8] = b"new password of text";

fn hash(password: &[u8]) -> String {
    PasswordHash::make(password, 1000).unwrap().to_string()
}

/// Rotation: both passwords are good while the register holds both; who has neither is refused before the central system hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn field_12_a_password_is_checked_here_and_can_be_changed_without_a_gap() {
    let (folder, csms) = (Folder::new(), Csms::start(None).await);
    let register = folder.write("stations.csv", &format!("station,hash,hash2\nCS-1,{},\n", hash(OLD)));
    let upstream = folder.write("csms.csv", "station,password\nCS-1,what the CSMS knows\n");
    let settings = vec![("stations.passwords_file", register), ("upstream.passwords_file", upstream)];
    let gateway = Gateway::start(folder, &csms, settings).await;
    let knocks = async |password: &[u8]| knock(gateway.address(), None, "CS-1", Some(&basic("CS-1", password))).await.status();
    assert_eq!((knocks(NEW).await, knocks(b"").await, csms.came()), (401, 401, 0));
    assert_eq!((knocks(OLD).await, knocks(OLD).await), (101, 101));
    assert_eq!(csms.authorization().unwrap().into_bytes(), basic("CS-1", b"what the CSMS knows"));
    gateway.folder.write("stations.csv", &format!("station,hash,hash2\nCS-1,{},{}\n", hash(OLD), hash(NEW)));
    gateway.serving.reload().await;
    assert_eq!((knocks(OLD).await, knocks(NEW).await), (101, 101));
    gateway.folder.write("stations.csv", &format!("station,hash\nCS-1,{}\n", hash(NEW)));
    gateway.serving.reload().await;
    assert_eq!((knocks(OLD).await, knocks(NEW).await), (401, 101));
    // A register that cannot be read changes nothing.
    gateway.folder.write("stations.csv", "station,hash\nCS-1,nonsense\n");
    gateway.serving.reload().await;
    assert_eq!((knocks(OLD).await, knocks(NEW).await, csms.came()), (401, 101, 6));
    // A station that the central system has no password for is not sent there without one.
    gateway.folder.write("stations.csv", &format!("station,hash\nCS-1,{}\nCS-2,{}\n", hash(NEW), hash(NEW)));
    gateway.serving.reload().await;
    let answer = knock(gateway.address(), None, "CS-2", Some(&basic("CS-2", NEW))).await;
    assert_eq!((answer.status(), gateway.refused("no_upstream_password"), csms.came()), (503, 1, 6));
}

/// Guessing ends after a few tries, and the station itself still gets in.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_stopped_before_the_csms_hears_of_it_and_the_station_is_not_locked_out() {
    let (folder, csms) = (Folder::new(), Csms::start(None).await);
    let register = folder.write("stations.csv", &format!("station,hash\nCS-1,{}\n", hash(OLD)));
    let gateway = Gateway::start(folder, &csms, vec![("stations.passwords_file", register)]).await;
    let knocks = async |id: &str, password: &[u8]| knock(gateway.address(), None, id, Some(&basic(id, password))).await.status();
    assert_eq!(knocks("CS-1", OLD).await, 101);
    for id in ["CS-1", "nobody"] {
        let mut answers = Vec::new();
        for number in 0..7u8 {
            answers.push(knocks(id, &[number; 16]).await);
        }
        assert_eq!(answers, [401, 401, 401, 401, 401, 429, 429], "{id}");
    }
    assert_eq!((knocks("CS-1", OLD).await, csms.came()), (101, 2));
    assert!(gateway.refused("too_many_wrong_passwords") >= 4 && gateway.refused("unknown_station") >= 5);
}

/// A storm after a start: hundreds of stations whose passwords were never seen come at once, and come again when they are told to. Those
/// that are connected go on meanwhile, all get in, and the next storm costs next to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn field_12_a_storm_of_stations_does_not_bring_the_gateway_to_its_knees() {
    const STATIONS: usize = 500;
    let (folder, csms) = (Folder::new(), Csms::start(None).await);
    // The same salt for all only saves the test the time to make them. Without optimisation a round takes fifteen times as long.
    let hash = hash(NEW);
    let rows: String = (0..=STATIONS).map(|number| format!("CS-{number},{hash}\n")).collect();
    let register = folder.write("stations.csv", &format!("station,hash\n{rows}"));
    let settings = vec![("stations.passwords_file", register), ("stations.handshake_seconds", "20".to_owned())];
    let gateway = Gateway::start(folder, &csms, settings).await;
    let address = gateway.address();
    let mut talk = knock(address, None, "CS-0", Some(&basic("CS-0", NEW))).await.talk().await;
    let storm = || {
        let stations: Vec<_> = (1..=STATIONS)
            .map(|number| {
                tokio::spawn(async move {
                    let id = format!("CS-{number}");
                    let mut sent_away = 0;
                    loop {
                        match knock(address, None, &id, Some(&basic(&id, NEW))).await.status() {
                            101 => return sent_away,
                            503 => sent_away += 1,
                            other => panic!("{id} was answered {other}"),
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                    }
                })
            })
            .collect();
        async move {
            let mut sent_away = 0;
            for station in stations {
                sent_away += station.await.unwrap();
            }
            sent_away
        }
    };
    let began = tokio::time::Instant::now();
    let first = tokio::spawn(storm());
    while !first.is_finished() {
        // Within the patience of a call: those that are connected are served.
        talk.heartbeat().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (cold, sent_away) = (began.elapsed(), first.await.unwrap());
    let began = tokio::time::Instant::now();
    assert_eq!(storm().await, 0, "nobody whose password is known waits for a thread");
    println!("{STATIONS} stations: {cold:?} with {sent_away} sent away for a while, then {:?}", began.elapsed());
    talk.heartbeat().await;
}

/// With one password for all stations, each is still named by itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_central_system_gets_the_gateways_own_password() {
    let (folder, csms) = (Folder::new(), Csms::start(None).await);
    let settings = vec![("upstream.password_file", folder.write("csms.password", "the gateway's own: secret\n"))];
    let gateway = Gateway::start(folder, &csms, settings).await;
    // Also where the station has shown none, and where its id is not plain.
    for (id, user, header) in [("CS-1", "CS-1", Some(basic("CS-1", OLD))), ("CS%7C2", "CS|2", None)] {
        knock(gateway.address(), None, id, header.as_deref()).await.talk().await.heartbeat().await;
        assert_eq!(csms.authorization().unwrap().into_bytes(), basic(user, b"the gateway's own: secret"));
    }
}

/// A password that is checked here and changed by the central system would lock the station out.
#[test]
fn the_central_system_cannot_change_a_password_that_is_checked_here() {
    let key = "0123456789abcdef0123456789abcdef01234567";
    let orders = [
        (Version::V16, format!(r#"[2,"1","ChangeConfiguration",{{"key":"AuthorizationKey","value":"{key}"}}]"#)),
        (Version::V16, format!(r#"[2,"1","ChangeConfiguration",{{"key":"authorizationkey","value":"{key}"}}]"#)),
        (Version::V201, set_variable(key)),
        (Version::V21, set_variable(key)),
    ];
    for (version, order) in orders {
        let mut rules = Rules::compile("strict", Vec::new()).unwrap();
        let mut open = Lock::with(version, Arc::new(Rules::compile("strict", Vec::new()).unwrap()), Arc::new(keyring(&[0], 0)));
        assert_eq!(open.csms_sends(&order), order, "passed on where the central system checks passwords");
        rules.keep_station_passwords();
        let mut lock = Lock::with(version, Arc::new(rules), Arc::new(keyring(&[0], 0)));
        let (sent, _) = lock.pass(Side::Csms, order.as_bytes());
        assert!(sent.len() == 1 && sent[0].0 == Side::Csms && !sent[0].1.contains(key), "{sent:?}");
        assert!(sent[0].1.starts_with("[3,") && sent[0].1.contains("Rejected") || sent[0].1.starts_with("[4,"), "{sent:?}");
    }
}

fn set_variable(key: &str) -> String {
    format!(
        r#"[2,"1","SetVariables",{{"setVariableData":[{{"attributeValue":"{key}","component":{{"name":"SecurityCtrlr"}},"variable":{{"name":"BasicAuthPassword"}}}}]}}]"#
    )
}
