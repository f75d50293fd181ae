//! Each bound of the conversation, crossed by one.

use super::common::Lock;
use super::wire::Scene;
use sluis::clock::Timestamp;
use sluis::ocpp::json::{MAX_DEPTH, MAX_ELEMENTS};
use sluis::ocpp::{Side, Version};
use sluis::session::{Allowance, Bounds, Outcome, Pace, Session};
use std::time::Duration;

/// A frame of exactly so many bytes: blanks count.
fn padded(frame: &str, bytes: usize) -> String {
    format!("{}{}]", &frame[..frame.len() - 1], " ".repeat(bytes - frame.len()))
}

#[test]
fn limit_frame_size_goes_by_the_action() {
    let Bounds { short, middle, .. } = Bounds::default();
    let long = r#"[2,"1","StopTransaction",{"transactionId":7,"meterStop":900,"timestamp":"2026-11-24T11:00:00Z"}]"#;
    for (frame, most) in [(r#"[2,"1","Heartbeat",{}]"#, short), (r#"[2,"1","Authorize",{"idTag":"1"}]"#, middle), (long, 1 << 20)] {
        let (sent, _) = Lock::new(Version::V16).pass(Side::Station, padded(frame, most).as_bytes());
        assert_eq!(sent[0].0, Side::Csms, "{frame}");
        if most < 1 << 20 {
            let (sent, step) = Lock::new(Version::V16).pass(Side::Station, padded(frame, most + 1).as_bytes());
            assert_eq!(sent, [(Side::Station, r#"[4,"1","GenericError","the message is too big",{}]"#.to_owned())]);
            assert_eq!(step.seen.unwrap().outcome, Outcome::TooBig);
        }
    }
    // An answer that is too big: who waits for it is told.
    let mut lock = Lock::new(Version::V16);
    let answer = r#"[3,"1",{"currentTime":"2026-11-24T10:00:00Z"}]"#;
    lock.station_sends(r#"[2,"1","Heartbeat",{}]"#);
    assert_eq!(lock.csms_sends(&padded(answer, middle)).len(), middle);
    lock.station_sends(r#"[2,"1","Heartbeat",{}]"#);
    assert_eq!(lock.csms_sends(&padded(answer, middle + 1)), r#"[4,"1","InternalError","the answer was too big",{}]"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_frame_size_on_the_wire_is_an_answer_first_and_a_close_only_beyond_all() {
    let scene = Scene::new(&[("stations.max_frame_bytes", "65536"), ("frames.short_bytes", "2048")]).await;
    let (mut station, mut csms) = scene.connects("ocpp1.6").await;
    station.says(&padded(r#"[2,"1","Heartbeat",{}]"#, 2049)).await;
    assert_eq!(station.hears().await, r#"[4,"1","GenericError","the message is too big",{}]"#);
    station.says(&padded(r#"[2,"2","Heartbeat",{}]"#, 2048)).await;
    assert_eq!(csms.hears().await.len(), 2048);
    station.says(&padded(r#"[2,"3","Heartbeat",{}]"#, 65_537)).await;
    assert_eq!(station.ends().await, 1009);
    scene.serving.stop().await;
}

#[test]
fn limit_depth_and_elements() {
    let mut lock = Lock::new(Version::V16);
    // The frame's own bracket and the payload's are two of them.
    let deep = |depth: usize| format!(r#"[2,"1","Heartbeat",{{"x":{}1{}}}]"#, "[".repeat(depth), "]".repeat(depth));
    assert!(lock.pass(Side::Station, deep(MAX_DEPTH as usize - 2).as_bytes()).0[0].0 == Side::Csms);
    let refused = lock.answered_here(Side::Station, &deep(MAX_DEPTH as usize - 1));
    assert!(refused.starts_with(r#"[4,"1","FormationViolation""#), "{refused}");
    // With the member of the payload itself.
    let many = |n: usize| {
        format!(
            r#"[2,"1","StopTransaction",{{"transactionId":7,"meterStop":9,"timestamp":"2026-11-24T11:00:00Z","x":[{}1]}}]"#,
            "1,".repeat(n - 1)
        )
    };
    let most = MAX_ELEMENTS as usize - 4;
    assert!(Lock::new(Version::V16).pass(Side::Station, many(most).as_bytes()).0[0].0 == Side::Csms);
    assert!(Lock::new(Version::V16).answered_here(Side::Station, &many(most + 1)).contains("FormationViolation"));
}

#[test]
fn limit_identifiers_of_a_frame() {
    // One of the token itself.
    let authorize = |more: std::ops::Range<usize>| {
        let additional: Vec<String> = more.map(|n| format!(r#"{{"additionalIdToken":"04A2B3C4{n:06X}","type":"x"}}"#)).collect();
        format!(
            r#"[2,"1","Authorize",{{"idToken":{{"idToken":"04A2B3C4000000","type":"ISO14443","additionalInfo":[{}]}}}}]"#,
            additional.join(",")
        )
    };
    let mut lock = Lock::new(Version::V201);
    let (sent, step) = lock.pass(Side::Station, authorize(1..64).as_bytes());
    assert_eq!((sent[0].0, step.sightings.len()), (Side::Csms, 64));
    let mut lock = Lock::new(Version::V201);
    let (sent, step) = lock.pass(Side::Station, authorize(1..65).as_bytes());
    assert_eq!(sent, [(Side::Station, r#"[4,"1","OccurrenceConstraintViolation","too many at a time",{}]"#.to_owned())]);
    assert!(step.sightings.is_empty());
    // Where the standard bounds no list, there may be more.
    let certificates = |n: usize| {
        let chains: Vec<String> = (0..n)
            .map(|n| {
                format!(
                    r#"{{"certificateType":"V2GCertificateChain","certificateHashData":{{"hashAlgorithm":"SHA256","issuerNameHash":"{0}","issuerKeyHash":"{0}","serialNumber":"5F{n:08X}"}}}}"#,
                    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
                )
            })
            .collect();
        format!(r#"[3,"g",{{"status":"Accepted","certificateHashDataChain":[{}]}}]"#, chains.join(","))
    };
    for (n, crosses) in [(65, true), (1024, true), (1025, false), (3000, false)] {
        let mut lock = Lock::new(Version::V201);
        lock.csms_sends(r#"[2,"g","GetInstalledCertificateIds",{}]"#);
        let (sent, step) = lock.pass(Side::Station, certificates(n).as_bytes());
        assert_eq!(step.sightings.len(), if crosses { n } else { 0 });
        assert_eq!(sent[0].0, Side::Csms);
        assert_eq!(sent[0].1 == r#"[4,"g","InternalError","the answer was withheld",{}]"#, !crosses);
        assert_eq!(step.seen.unwrap().outcome, if crosses { Outcome::Treated } else { Outcome::TooMany });
    }
    let mut lock = Lock::new(Version::V21);
    lock.csms_sends(r#"[2,"g","GetTariffs",{"evseId":1}]"#);
    let drivers: Vec<String> = (0..500).map(|n| format!("\"04A2B3C4{n:06X}\"")).collect();
    let tariffs = format!(
        r#"[3,"g",{{"status":"Accepted","tariffAssignments":[{{"tariffId":"T1","tariffKind":"DriverTariff","idTokens":[{}]}}]}}]"#,
        drivers.join(",")
    );
    assert_eq!(lock.pass(Side::Station, tariffs.as_bytes()).1.sightings.len(), 500);
}

/// A station that reports events of one transaction names it in each of them.
#[test]
fn limit_identifiers_of_a_frame_counts_each_of_them_once() {
    let events = |transactions: usize, each: usize| {
        let events: Vec<String> = (0..transactions * each)
            .map(|n| {
                let transaction = n % transactions;
                format!(
                    r#"{{"eventId":{n},"timestamp":"2026-11-24T10:00:00Z","trigger":"Alerting","actualValue":"1","transactionId":"tx-04A2B3C4{transaction:06X}","component":{{"name":"EVSE"}},"eventNotificationType":"HardWiredNotification","variable":{{"name":"Problem"}}}}"#
                )
            })
            .collect();
        format!(r#"[2,"1","NotifyEvent",{{"generatedAt":"2026-11-24T10:00:00Z","seqNo":0,"eventData":[{}]}}]"#, events.join(","))
    };
    for (transactions, each, crosses) in [(1, 65, true), (1, 3000, true), (65, 40, true), (1024, 3, true), (1025, 1, false)] {
        for version in [Version::V201, Version::V21] {
            let mut lock = Lock::new(version);
            let (sent, step) = lock.pass(Side::Station, events(transactions, each).as_bytes());
            if crosses {
                assert_eq!((sent[0].0, step.sightings.len()), (Side::Csms, transactions));
                assert!(sent[0].1.matches(step.sightings[0].code.as_str()).count() == each);
                assert!(!sent[0].1.contains("04A2B3C4"));
            } else {
                let refused = r#"[4,"1","OccurrenceConstraintViolation","too many at a time",{}]"#.to_owned();
                assert_eq!((sent, step.sightings.len()), (vec![(Side::Station, refused)], 0));
            }
        }
    }
    // One card in many spellings is one.
    let spelt: Vec<String> = (0..100)
        .map(|n| {
            let card: String =
                "04a2b3c4d5e6f7".char_indices().map(|(at, c)| if n >> (at % 7) & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect();
            format!(r#"{{"additionalIdToken":"{card}","type":"x"}}"#)
        })
        .collect();
    let authorize = format!(
        r#"[2,"1","Authorize",{{"idToken":{{"idToken":"04:A2:B3:C4:D5:E6:F7","type":"ISO14443","additionalInfo":[{}]}}}}]"#,
        spelt.join(",")
    );
    let (sent, step) = Lock::new(Version::V201).pass(Side::Station, authorize.as_bytes());
    assert_eq!((sent[0].0, step.sightings.len()), (Side::Csms, 1));
}

/// Small enough that a test crosses it.
fn few(burst: u32) -> Bounds {
    let station = Allowance { burst, per_second: 10, bytes_per_frame: 1 << 20, patience: Duration::from_secs(2) };
    Bounds { station, ..Bounds::default() }
}

#[test]
fn limit_frames_at_once() {
    let mut lock = Lock::new(Version::V16);
    let session = Session::new(Version::V16, "CP-1", super::common::strict(), lock.keys.clone());
    lock.session = session.within(few(5));
    let mut pace = |n: usize| lock.pass(Side::Station, format!(r#"[2,"{n}","Heartbeat",{{}}]"#).as_bytes()).1.pace;
    assert!((0..5).all(|n| pace(n) == Pace::Go));
    assert!(matches!(pace(5), Pace::Rest(_)), "it is forwarded, and the next is not read yet");
    // What comes from the central system does not count.
    assert_eq!(lock.pass(Side::Csms, br#"[2,"c","ClearCache",{}]"#).1.pace, Pace::Go);
}

/// The pace of frames that come so many milliseconds after the first, each of so many bytes.
fn paces(station: Allowance, frames: &[(i64, usize)]) -> Vec<Pace> {
    let mut lock = Lock::new(Version::V16);
    let session = Session::new(Version::V16, "CP-1", super::common::strict(), lock.keys.clone());
    lock.session = session.within(Bounds { station, ..Bounds::default() });
    let frame = |bytes| padded(r#"[2,"1","Heartbeat",{}]"#, bytes);
    let mut pace = |(after, bytes): &(i64, usize)| {
        lock.session.on_text(Side::Station, &frame(*bytes), Timestamp(1_795_514_400_000 + after), &lock.vault).pace
    };
    frames.iter().map(&mut pace).collect()
}

#[test]
fn limit_frames_per_second() {
    let ten = Allowance { burst: 1, per_second: 10, bytes_per_frame: 1 << 20, patience: Duration::from_secs(60) };
    // The bytes of a frame of 22 count as well, for a thousandth of a millisecond.
    assert_eq!(paces(ten, &[(0, 22), (101, 22)])[1], Pace::Go);
    assert!(matches!(paces(ten, &[(0, 22), (99, 22)])[1], Pace::Rest(_)));
}

#[test]
fn limit_bytes_that_count_as_a_frame() {
    let two = Allowance { burst: 2, per_second: 10, bytes_per_frame: 1000, patience: Duration::from_secs(60) };
    assert_eq!(paces(two, &[(0, 1000)]), [Pace::Go], "one for itself and one for its bytes");
    assert_eq!(paces(two, &[(0, 1001)]), [Pace::Rest(Duration::from_millis(1))]);
}

#[test]
fn limit_of_time_of_a_flood() {
    let one = Allowance { burst: 1, per_second: 1, bytes_per_frame: 1 << 20, patience: Duration::from_secs(2) };
    let flood: Vec<(i64, usize)> = (0..=2002).map(|after| (after, 22)).collect();
    let paces = paces(one, &flood);
    // The bucket is empty from the second frame on, a millisecond after the first.
    assert_eq!(paces[0], Pace::Go);
    assert!(paces[1..=2001].iter().all(|pace| matches!(pace, Pace::Rest(_))));
    assert_eq!(paces[2002], Pace::Cut);
}

#[test]
fn limit_of_time_for_an_answer() {
    let mut lock = Lock::new(Version::V16);
    let session = Session::new(Version::V16, "CP-1", super::common::strict(), lock.keys.clone());
    lock.session = session.within(Bounds { patience: Duration::from_secs(30), ..Bounds::default() });
    lock.station_sends(r#"[2,"1","Heartbeat",{}]"#);
    let mut given_up = |after: i64| lock.session.on_time(Timestamp(1_795_514_400_000 + after)).len();
    assert_eq!((given_up(29_999), given_up(30_000), given_up(30_001)), (0, 1, 0));
}

/// A flood is slowed to the steady rate, and cut when it does not end; the central system is heard meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn limit_a_flood_on_the_wire_is_slowed_and_then_cut() {
    let more = [("frames.burst", "100"), ("frames.per_second", "50"), ("frames.flood_seconds", "1"), ("frames.bytes_per_frame", "1048576")];
    let scene = Scene::new(&more).await;
    let (mut station, mut csms) = scene.connects("ocpp1.6").await;
    let flood = tokio::spawn(async move {
        // More than the bound takes in its time, and than both can be sent before the cut.
        for n in 0..1_000 {
            station.says(&format!(r#"[2,"{n}","Heartbeat",{{}}]"#)).await;
        }
        station
    });
    let mut heard = 0;
    while heard < 110 {
        csms.hears().await;
        heard += 1;
    }
    csms.says(r#"[2,"c","ClearCache",{}]"#).await;
    let mut station = flood.await.unwrap();
    // Among the refusals of those that are too many at a time.
    while station.hears().await != r#"[2,"c","ClearCache",{}]"# {}
    assert_eq!(station.ends().await, 1008);
    scene.serving.stop().await;
}

/// Hundreds of stored messages pass through the default bounds as fast as they are answered.
#[tokio::test(flavor = "multi_thread")]
async fn limit_an_offline_queue_drains_at_full_speed() {
    let scene = Scene::new(&[]).await;
    let (mut station, mut csms) = scene.connects("ocpp1.6").await;
    tokio::spawn(async move {
        loop {
            let call = csms.hears().await;
            let id = call.split('"').nth(1).unwrap().to_owned();
            csms.says(&format!(r#"[3,"{id}",{{}}]"#)).await;
            if id == "299" {
                return csms;
            }
        }
    });
    for n in 0..300 {
        let minute = n % 60;
        let hour = n / 60;
        station
            .says(&format!(
                r#"[2,"{n}","MeterValues",{{"connectorId":1,"transactionId":7,"meterValue":[{{"timestamp":"2026-11-23T{hour:02}:{minute:02}:00Z","sampledValue":[{{"value":"{n}","context":"Transaction.Begin"}}]}}]}}]"#
            ))
            .await;
        assert_eq!(station.hears().await, format!(r#"[3,"{n}",{{}}]"#));
    }
    scene.serving.stop().await;
}

/// The table in `docs/field.md` names a test for every key that is a bound, and each of these tests is there.
#[test]
fn every_bound_has_a_test_that_crosses_it() {
    const NO_BOUNDS: [&str; 9] = [
        "limits.unlimited_networks",
        "stations.default_version",
        "stations.versions",
        "stations.tenants",
        "stations.ids_ignore_case",
        "stations.takeover",
        "stations.security_profile",
        "stations.passwords_file",
        "stations.password_changes",
    ];
    fn code(dir: &std::path::Path, found: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                code(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let house = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    for part in ["src", "tests"] {
        code(&house.join(part), &mut all);
    }
    let page = include_str!("../../docs/field.md");
    let table = page.split("<!-- keys -->").nth(1).unwrap().split("<!-- end of keys -->").next().unwrap();
    let rows: Vec<Vec<&str>> = table.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('`').collect()).collect();
    for row in &rows {
        assert!(all.contains(&format!("fn {}()", row[3])), "there is no test {}", row[3]);
    }
    let mut named: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    let sections = ["limits.", "frames.", "stations."];
    let mut bounds: Vec<&str> =
        sluis::config::file::KEYS.iter().copied().filter(|key| sections.iter().any(|of| key.starts_with(of))).collect();
    bounds.retain(|key| !NO_BOUNDS.contains(key));
    named.sort_unstable();
    bounds.sort_unstable();
    assert_eq!(named, bounds);
}
