//! CDRs reach the e-MSP that owns them exactly once, and those of a session in order, whatever it answers; nobody else gets anything; and all that left is in the
//! disclosure log.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/market.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "test code, shared")]
mod market;
#[path = "common/party.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "test code, shared")]
mod party;

use market::*;
use serde_json::{Value, json};
use sluis::billing::office::{Held, discard};
use sluis::clock::Timestamp;
use sluis::identity::{Declared, Identifier};
use sluis::metrics::Metrics;
use sluis::ocpi::peer::{Peer, Peers};
use sluis::recipient::Ocpi;
use sluis::secret::Sensitive;
use sluis::store::{CdrRow, CdrState, Op};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn cdrs_arrive_in_order_with_the_stored_bytes_and_the_headers_of_ocpi() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let ids = world.queue("NL-AAA", 0..40).await;
    let delivering = world.start(&[emsp("NL-AAA", &server.url)]);
    until("all arrive", || world.in_state(CdrState::Delivered, "NL-AAA") == 40).await;
    let more = world.queue("NL-AAA", 40..42).await;
    until("the rest arrives", || world.in_state(CdrState::Delivered, "NL-AAA") == 42).await;
    delivering.stop(Duration::from_secs(5)).await;
    let all: Vec<String> = ids.into_iter().chain(more).collect();
    assert_eq!(books.accepted(), all);
    assert_eq!(world.disclosed("NL-AAA"), all.iter().cloned().collect());
    let mut requests = HashSet::new();
    for (asked, id) in server.asked().iter().zip(&all) {
        let header = |name: &str| asked.headers.get(name).map(String::as_str).unwrap_or_default();
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/cdrs"));
        assert_eq!(asked.body, world.custody.store().cdr(id).unwrap().unwrap().body.unwrap());
        assert_eq!(header("authorization"), "Token Y3JlZGVudGlhbHMtdG9rZW4tNDcxMQ==");
        assert_eq!(header("content-type"), "application/json");
        let routing = ["ocpi-from-country-code", "ocpi-from-party-id", "ocpi-to-country-code", "ocpi-to-party-id"].map(header);
        assert_eq!(routing, ["NL", "CPO", "NL", "AAA"]);
        for name in ["x-request-id", "x-correlation-id"] {
            assert!(header(name).len() == 36 && header(name).as_bytes()[14] == b'4' && requests.insert(header(name).to_owned()));
        }
        assert!(header("cookie").is_empty());
    }
    let row = &world.custody.store().disclosures(None, 0).unwrap()[0];
    let subject = Identifier::from_wire("04000000000000", Declared::Undeclared);
    assert_eq!((row.purpose.as_str(), row.fields.as_str()), ("bill", "cdr_token id total_cost"));
    assert_eq!(row.subject, Some(world.custody.vault.subject_of(&subject)));
    assert_eq!(metric("sluis_delivery_attempts_total{recipient=\"NL-AAA\",outcome=\"accepted\"}"), Some(42.0));
}

/// Each way of failing, as many times as it takes to be sure, then success.
#[tokio::test]
async fn each_failure_is_survived_and_each_cdr_accepted_once() {
    type Way = (&'static str, fn(&Asked, &Books) -> Say);
    let ways: &[Way] = &[
        ("reset before processing", |_, _| Say::Reset),
        ("reset after processing", |asked, books| {
            books.accept(asked);
            Say::Reset
        }),
        ("500", |_, _| Say::status(500)),
        ("503 with Retry-After", |_, _| Say::status(503).with("retry-after", "1")),
        ("429 with Retry-After", |_, _| Say::status(429).with("retry-after", "3600")),
        ("429 with a date", |_, _| Say::status(429).with("retry-after", "Wed, 24 Nov 2027 10:00:00 GMT")),
        ("401", |_, _| Say::ocpi(401, 2001, Value::Null)),
        ("403", |_, _| Say::status(403)),
        ("404", |_, _| Say::status(404)),
        ("200 with 3000", |_, _| Say::ocpi(200, 3000, Value::Null)),
        ("200 with 4001 of a hub", |_, _| Say::ocpi(200, 4001, Value::Null)),
        ("201 without a body, processed", |asked, books| {
            books.accept(asked);
            Say::status(201)
        }),
        ("204, processed", |asked, books| {
            books.accept(asked);
            Say::status(204)
        }),
        ("200 with garbage", |_, _| Say::Http(200, Vec::new(), b"<html>secret quagga".to_vec())),
        ("200 with another JSON", |_, _| Say::Http(200, Vec::new(), b"[1000]".to_vec())),
        ("a huge body, processed", |asked, books| {
            books.accept(asked);
            Say::Http(200, Vec::new(), vec![b' '; 3 << 20])
        }),
        ("a redirect elsewhere", |_, _| Say::status(307).with("location", "http://127.0.0.1:1/stolen")),
        ("a few refusals", |_, _| Say::ocpi(200, 2001, Value::Null)),
    ];
    let world = World::new();
    let failing: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let way: &'static Mutex<usize> = Box::leak(Box::new(Mutex::new(0)));
    let ways: &'static [Way] = Box::leak(ways.to_vec().into_boxed_slice());
    let (books, server) = books_of(|_, asked, books| {
        if failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return ways[*way.lock().unwrap()].1(asked, books);
        }
        books.accept(asked)
    })
    .await;
    let (log, _logging) = log();
    let delivering = world.start(&[emsp("NL-AAB", &server.url)]);
    let mut all = Vec::new();
    for (number, (name, _)) in ways.iter().enumerate() {
        *way.lock().unwrap() = number;
        failing.store(5, Ordering::SeqCst);
        let before = server.count();
        all.extend(world.queue("NL-AAB", 3 * number..3 * number + 3).await);
        until(name, || world.in_state(CdrState::Delivered, "NL-AAB") == all.len()).await;
        let tried: Vec<String> = server.asked()[before..].iter().map(Books::id).collect();
        assert_eq!(tried.len(), 8, "{name}: five failures, three CDRs; {tried:?}");
        assert_eq!(books.accepted(), all, "{name}");
    }
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(world.disclosed("NL-AAB"), all.into_iter().collect());
    let said = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(said.contains("a CDR was refused") && said.contains("NL-AAB") && said.contains("cdr-NL-AAB-00000"), "{said}");
    for secret in ["/cdrs", "quagga", "credentials-token", "Z0X", "cdr_token", "total_cost", "Y3JlZGVudGlhbHM", "stolen"] {
        assert!(!said.contains(secret), "{secret} in the log");
        assert!(!Metrics::install().unwrap().render().contains(secret), "{secret} in the metrics");
    }
    assert_eq!(metric("sluis_delivery_shut{recipient=\"NL-AAB\"}"), Some(0.0));
}

#[tokio::test]
async fn answers_that_say_accepted_in_other_words_are_understood() {
    let world = World::new();
    let (books, server) = books_of(|n, asked, books| {
        let accepted = books.accept(asked);
        match n % 5 {
            0 => Say::status(201).with("location", "https://emsp.example/cdrs/1"),
            1 => Say::Http(201, vec![("location", "/cdrs/1".into())], b"created".to_vec()),
            2 => Say::status(409),
            3 => Say::Http(200, Vec::new(), br#"{"status_code":"1000","extra":{"x":[1]}}"#.to_vec()),
            _ => accepted,
        }
    })
    .await;
    let ids = world.queue("NL-AAC", 0..10).await;
    let delivering = world.start(&[emsp("NL-AAC", &server.url)]);
    until("all arrive", || world.in_state(CdrState::Delivered, "NL-AAC") == 10).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!((books.accepted(), server.count()), (ids, 10));
}

#[tokio::test]
async fn a_slow_drip_and_a_wrong_tls_end_by_the_clock() {
    let mut world = World::new();
    world.bounds.whole = Duration::from_millis(250);
    let (books, server) = books_of(|n, asked, books| if n < 2 { Say::Drip } else { books.accept(asked) }).await;
    let ids = world.queue("NL-AAD", 0..2).await;
    // A port that speaks no TLS.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = format!("https://{}", plain.local_addr().unwrap());
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        while heard.len() < 4096 {
            let (mut socket, _) = plain.accept().await.unwrap();
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            let _ = socket.read_buf(&mut heard).await;
        }
        heard
    });
    let delivering = world.start(&[emsp("NL-AAD", &server.url), emsp("NL-AAE", &tls)]);
    let to_tls = world.queue("NL-AAE", 0..1).await;
    until("all arrive", || world.in_state(CdrState::Delivered, "NL-AAD") == 2).await;
    until("TLS is tried", || metric("sluis_delivery_attempts_total{recipient=\"NL-AAE\",outcome=\"unreachable\"}") > Some(2.0)).await;
    let heard = heard.await.unwrap();
    delivering.stop(Duration::from_secs(5)).await;
    assert!(!heard.windows(5).any(|bytes| bytes == b"POST " || bytes == b"Token"), "nothing is said in plain text");
    assert_eq!(books.accepted(), ids);
    assert_eq!(world.state(&to_tls[0]), CdrState::Queued);
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::new();
    let elsewhere = Server::start(|_, _| Say::status(200)).await;
    let target = elsewhere.url.clone();
    let (_, server) = books_of(move |_, _, _| Say::status(307).with("location", target.clone())).await;
    let ids = world.queue("NL-AAF", 0..1).await;
    let delivery = world.delivery(&[emsp("NL-AAF", &server.url)], None);
    let delivering = delivery.start();
    until("it is tried", || server.count() > 3).await;
    assert_eq!(delivery.reservations().len(), 1, "and the operator is told");
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!((elsewhere.count(), world.state(&ids[0])), (0, CdrState::Queued));
}

#[tokio::test]
async fn a_poisonous_cdr_is_set_aside_and_the_rest_flows() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| match Books::id(asked).as_str() {
        "cdr-NL-AAG-00003" => Say::ocpi(200, 2001, Value::Null),
        "cdr-NL-AAG-00005" => Say::status(400),
        _ => books.accept(asked),
    })
    .await;
    let ids = world.queue("NL-AAG", 0..40).await;
    let delivering = world.start(&[emsp("NL-AAG", &server.url)]);
    until("the rest arrives", || world.in_state(CdrState::Delivered, "NL-AAG") == 38).await;
    delivering.stop(Duration::from_secs(5)).await;
    let refused = world.custody.store().cdrs_in(CdrState::Refused, Some("NL-AAG"), 0, 100).unwrap();
    assert_eq!(refused.iter().map(|row| (row.id.as_str(), row.tries)).collect::<Vec<_>>(), [(ids[3].as_str(), 8), (ids[5].as_str(), 8)]);
    let rest: Vec<_> = ids.iter().enumerate().filter(|(n, _)| ![3, 5].contains(n)).map(|(_, id)| id.clone()).collect();
    assert_eq!(books.accepted(), rest);
    // What was refused was seen all the same, and the log says so.
    assert_eq!(world.disclosed("NL-AAG"), ids.into_iter().collect());
}

/// An e-MSP that moves its endpoint overnight answers as OCPI says; in the morning its CDRs are not an operator's business, one by one.
#[tokio::test]
async fn an_endpoint_that_is_not_there_is_no_fault_of_the_cdrs() {
    let world = World::new();
    let (books, server) = books_of(|n, asked, books| match n {
        0..30 => Say::ocpi([404, 405, 410][n % 3], 2000, Value::Null),
        // That the token is not there is about the CDR.
        _ if Books::id(asked) == "cdr-NL-AAN-00002" => Say::ocpi(404, 2004, Value::Null),
        _ => books.accept(asked),
    })
    .await;
    let ids = world.queue("NL-AAN", 0..4).await;
    let delivering = world.start(&[emsp("NL-AAN", &server.url)]);
    until("the rest arrives", || world.in_state(CdrState::Delivered, "NL-AAN") == 3).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(world.state(&ids[2]), CdrState::Refused);
    assert_eq!(books.accepted(), [0, 1, 3].map(|n| ids[n].clone()));
}

#[tokio::test]
async fn nothing_leaves_without_an_agreement_that_is_valid_today() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let mut late = emsp("NL-AAH", &server.url);
    late.0.valid = [Some("2026-11-01".into()), Some("2026-11-24".into())];
    let mut early = emsp("NL-AAI", &server.url);
    early.0.valid = [Some("2026-11-25".into()), None];
    let mut pulls = emsp("NL-AAJ", &server.url);
    pulls.0.push = false;
    let first = world.queue("NL-AAH", 0..3).await;
    let parties = [late, early, pulls];
    let delivering = world.start(&parties);
    until("the agreement of today is served", || books.accepted() == first).await;
    // A second after midnight: one has ended, the other begun.
    let held = world.queue("NL-AAI", 0..2).await;
    world.queue("NL-AAJ", 0..2).await;
    world.queue("NL-AAK", 0..2).await;
    until("it is held", || metric("sluis_delivery_held{recipient=\"NL-AAI\",reason=\"agreement\"}") == Some(1.0)).await;
    until("what nobody may have is counted", || metric("sluis_cdr_queue{recipient=\"others\"}") >= Some(2.0)).await;
    until("its age is shown", || metric("sluis_cdr_oldest_seconds{recipient=\"NL-AAI\"}") == Some(60.0)).await;
    assert_eq!(books.accepted(), first);
    world.now.store(NOW + 14 * 3_600_000 + 1000, Ordering::SeqCst);
    let ended = world.queue("NL-AAH", 3..6).await;
    let both: Vec<_> = first.iter().chain(&held).cloned().collect();
    until("the new one is served", || books.accepted() == both).await;
    until("the old one is held", || metric("sluis_delivery_held{recipient=\"NL-AAH\",reason=\"agreement\"}") == Some(1.0)).await;
    // It is extended.
    world.now.store(NOW, Ordering::SeqCst);
    let all: Vec<_> = both.iter().chain(&ended).cloned().collect();
    until("what was held goes on", || books.accepted() == all).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(world.in_state(CdrState::Queued, "NL-AAJ") + world.in_state(CdrState::Queued, "NL-AAK"), 4);
    for nobody in ["NL-AAJ", "NL-AAK"] {
        assert!(world.disclosed(nobody).is_empty());
    }
}

#[tokio::test]
async fn a_dead_party_delays_no_other_and_takes_no_room() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let (silent, asked) = books_of(|_, _, _| Say::Drip).await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for name in ["NL-AAL", "NL-AAM"] {
        world.queue(name, 0..100).await;
    }
    let parties = [emsp("NL-AAL", &format!("http://{dead}")), emsp("NL-AAM", &asked.url), emsp("NL-AAN", &server.url)];
    let delivering = world.start(&parties);
    let tried = || metric("sluis_delivery_attempts_total{recipient=\"NL-AAL\",outcome=\"unreachable\"}").unwrap_or_default();
    until("the dead one is tried", || tried() > 3.0).await;
    let bytes = world.custody.store().sizes().unwrap().bytes;
    let ids = world.queue("NL-AAN", 0..50).await;
    until("the living one is served", || books.accepted() == ids).await;
    let before = tried();
    until("the dead one is tried on", || tried() > before + 200.0).await;
    // 50 CDRs came in; hundreds of failures left nothing.
    assert!(world.custody.store().sizes().unwrap().bytes < bytes + (200 << 10));
    assert_eq!((world.disclosed("NL-AAL").len(), world.disclosed("NL-AAM").len()), (1, 1), "of a hundred, one was tried");
    assert!(silent.accepted().is_empty());
    // The one that drips is in the middle of an answer: it is abandoned.
    let stopping = std::time::Duration::from_millis(50);
    tokio::time::timeout(Duration::from_secs(3), delivering.stop(stopping)).await.expect("a stop has a limit");
}

#[tokio::test]
async fn a_party_that_asks_for_time_gets_it() {
    let mut world = World::new();
    world.pace.longest_asked = Duration::from_secs(2);
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let (books, server) = books_of(move |n, asked, books| {
        seen.lock().unwrap().push(tokio::time::Instant::now());
        match n {
            0 => Say::status(429).with("retry-after", "1"),
            1 => Say::status(503).with("retry-after", "86400"),
            _ => books.accept(asked),
        }
    })
    .await;
    world.queue("NL-ABH", 0..1).await;
    let delivering = world.start(&[emsp("NL-ABH", &server.url)]);
    until("it arrives", || books.accepted().len() == 1).await;
    delivering.stop(Duration::from_secs(5)).await;
    let times = times.lock().unwrap();
    let waits: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(waits.len() == 2 && waits[0] >= 0.99 && waits[1] >= 1.99 && waits[1] < 30.0, "{waits:?}");
}

#[tokio::test]
async fn a_version_that_the_cdr_is_not_written_in_is_no_way() {
    let world = World::new();
    let (_, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let (recipient, peer) = emsp("NL-ABI", &server.url);
    let ids = world.queue("NL-ABI", 0..1).await;
    let delivering = world.start(&[(recipient, Peer { version: Ocpi::V230, ..peer })]);
    until("it is held", || metric("sluis_delivery_held{recipient=\"NL-ABI\",reason=\"no_way\"}") == Some(1.0)).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!((server.count(), world.state(&ids[0])), (0, CdrState::Queued));
    assert!(world.disclosed("NL-ABI").is_empty());
}

#[tokio::test]
async fn what_an_operator_takes_out_of_the_queue_is_not_sent() {
    let mut world = World::new();
    world.pace.doubts = u32::MAX;
    let open: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let (books, server) =
        books_of(|_, asked, books| if open.load(Ordering::SeqCst) { books.accept(asked) } else { Say::status(500) }).await;
    let ids = world.queue("NL-ABL", 0..3).await;
    let delivering = world.start(&[emsp("NL-ABL", &server.url)]);
    until("the first is tried", || server.count() > 2).await;
    // It and the next are in the worker's memory by now.
    for id in &ids[..2] {
        let discarded = Op::CdrMove { id: id.clone(), from: CdrState::Queued, to: CdrState::Discarded, tries: 0 };
        world.custody.store().commit(vec![discarded]).await.unwrap();
    }
    // An attempt that was under way meanwhile ends.
    until("it goes on to the third", || books.seen.lock().unwrap().contains(&ids[2])).await;
    open.store(true, Ordering::SeqCst);
    until("the third arrives", || world.state(&ids[2]) == CdrState::Delivered).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(books.accepted(), ids[2..]);
    assert_eq!([world.state(&ids[0]), world.state(&ids[1])], [CdrState::Discarded, CdrState::Discarded]);
    assert!(!books.seen.lock().unwrap().contains(&ids[1]) && !world.disclosed("NL-ABL").contains(&ids[1]));
}

/// The e-MSP has moved to 2.2.1 while they waited.
#[tokio::test]
async fn what_was_written_in_another_version_is_pushed_in_the_one_of_today() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let row = CdrRow {
        seq: 0,
        id: "1f1ee299-6f0b-491c-aa5e-b17323ae254e".to_owned(),
        session: "s".to_owned(),
        owner: Some("NL-AAV".to_owned()),
        state: CdrState::Queued,
        code: Some("Z0Y67GJ3NSH42PW5V9QE7G703CMEHVT".to_owned()),
        draft: include_str!("common/draft.json").to_owned(),
        body: Some(json!({"id": "1f1ee299-6f0b-491c-aa5e-b17323ae254e", "auth_id": "Z0M", "total_cost": 4}).to_string()),
        why: None,
        updated: Timestamp(1_795_518_000_000),
        tries: 0,
    };
    let credit = CdrRow {
        id: "credit".to_owned(),
        owner: Some("NL-AAU".to_owned()),
        draft: row.draft.replace("\"credit_of\": null", "\"credit_of\": \"1f1ee299\"").replace("\"2.1.1\"", "\"2.2.1\""),
        ..row.clone()
    };
    world.custody.store().commit(vec![Op::CdrInsert(row), Op::CdrInsert(credit)]).await.unwrap();
    let (mut recipient, mut peer) = emsp("NL-AAU", &server.url);
    (recipient.version, peer.version) = (Ocpi::V211, Ocpi::V211);
    let delivering = world.start(&[emsp("NL-AAV", &server.url), (recipient, peer)]);
    until("it arrives", || world.in_state(CdrState::Delivered, "NL-AAV") == 1).await;
    until("a credit that 2.1.1 has no words for waits for an operator", || world.in_state(CdrState::Refused, "NL-AAU") == 1).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(books.accepted(), ["1f1ee299-6f0b-491c-aa5e-b17323ae254e"]);
    let [asked] = &server.asked()[..] else { panic!("one was sent") };
    let told: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((&told["total_cost"]["excl_vat"], &told["last_updated"]), (&json!(4), &json!("2026-11-24T11:00:00Z")));
    assert!(told.get("cdr_token").is_some() && told.get("auth_id").is_none());
}

/// One that the e-MSP cannot digest holds up neither the rest nor, for ever, itself; but what takes it back stays behind it.
#[tokio::test]
async fn a_cdr_that_fails_for_ever_is_stepped_over_and_its_session_waits_for_it() {
    let world = World::new();
    let mended: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let (books, server) = books_of(|_, asked, books| match Books::id(asked).as_str() {
        "cdr-NL-AAR-00003" if !mended.load(Ordering::SeqCst) => Say::status(500),
        "cdr-NL-AAR-00004" if !mended.load(Ordering::SeqCst) => Say::ocpi(200, 3000, Value::Null),
        _ => books.accept(asked),
    })
    .await;
    let store = world.custody.store();
    let mut ids = world.queue("NL-AAR", 0..35).await;
    let stuck = store.cdr(&ids[3]).unwrap().unwrap();
    let credit = format!("{}-C", stuck.id);
    let body = stuck.body.clone().unwrap().replace(&stuck.id, &credit);
    store.commit(vec![Op::CdrInsert(CdrRow { seq: 0, id: credit.clone(), body: Some(body), ..stuck })]).await.unwrap();
    ids.extend(world.queue("NL-AAR", 35..80).await);
    let delivering = world.start(&[emsp("NL-AAR", &server.url)]);
    until("the rest arrives", || world.in_state(CdrState::Delivered, "NL-AAR") == 78).await;
    assert!(!books.seen.lock().unwrap().contains(&credit), "nothing is taken back that is not there");
    // Those behind it that were read later too.
    ids.extend(world.queue("NL-AAR", 80..120).await);
    until("what comes later arrives", || world.in_state(CdrState::Delivered, "NL-AAR") == 118).await;
    assert_eq!([&ids[3], &ids[4], &credit].map(|id| world.state(id)), [CdrState::Queued; 3]);
    let rest: Vec<String> = ids.iter().filter(|id| **id != ids[3] && **id != ids[4]).cloned().collect();
    assert_eq!(books.accepted(), rest, "and in order");
    mended.store(true, Ordering::SeqCst);
    until("it arrives once it can", || world.in_state(CdrState::Queued, "NL-AAR") == 0).await;
    delivering.stop(Duration::from_secs(5)).await;
    let accepted = books.accepted();
    let place = |id: &String| accepted.iter().position(|other| other == id).unwrap();
    assert!(accepted.len() == 121 && place(&ids[3]) < place(&credit) && place(&ids[4]) >= 118);
}

/// Only an outage that answers each CDR alike: when it ends, one CDR may have been the first to find out.
#[tokio::test]
async fn an_outage_changes_the_order_by_one_cdr_at_most() {
    for outage in 30..34 {
        let world = World::new();
        let (books, server) = books_of(move |n, asked, books| if n < outage { Say::status(503) } else { books.accept(asked) }).await;
        let ids = world.queue("NL-AAS", 0..40).await;
        let delivering = world.start(&[emsp("NL-AAS", &server.url)]);
        until("all arrive", || world.in_state(CdrState::Delivered, "NL-AAS") == 40).await;
        delivering.stop(Duration::from_secs(5)).await;
        let accepted = books.accepted();
        assert_eq!(accepted.iter().collect::<HashSet<_>>(), ids.iter().collect::<HashSet<_>>());
        assert_eq!(accepted.len(), 40);
        let sorted_without_one = (0..40).any(|gone| {
            let rest: Vec<_> = accepted.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, id)| id).collect();
            rest.is_sorted()
        });
        assert!(sorted_without_one, "{accepted:?}");
    }
}

#[tokio::test]
async fn an_operator_discards_a_queued_cdr_beside_the_running_gateway() {
    let mut world = World::new();
    (world.pace.doubts, world.pace.longest) = (u32::MAX, Duration::from_secs(3600));
    (world.pace.first, world.pace.tick) = (Duration::from_secs(3600), Duration::from_millis(20));
    let beside = open(world.dir.path());
    let theirs = Arc::clone(&beside);
    let (books, server) = books_of(move |_, asked, books| match Books::id(asked).as_str() {
        "cdr-NL-AAT-00000" => Say::status(500),
        // It is discarded in the moment in which it is on its way.
        id @ "cdr-NL-AAT-00002" => {
            discard(&theirs, id).unwrap();
            books.accept(asked)
        }
        _ => books.accept(asked),
    })
    .await;
    let ids = world.queue("NL-AAT", 0..4).await;
    let delivering = world.start(&[emsp("NL-AAT", &server.url)]);
    until("the first is tried", || metric("sluis_delivery_attempts_total{recipient=\"NL-AAT\",outcome=\"http_server\"}").is_some()).await;
    assert!(discard(&beside, &ids[0]).unwrap() > 0, "it may be there all the same");
    until("the rest arrives", || world.in_state(CdrState::Queued, "NL-AAT") == 0).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(books.accepted(), ids[1..], "each once");
    assert_eq!(world.state(&ids[0]), CdrState::Discarded);
    assert_eq!(world.in_state(CdrState::Delivered, "NL-AAT"), 3, "and what was accepted is delivered, whatever was decided meanwhile");
    assert_eq!(discard(&beside, &ids[2]), Err(Held::Sent));
}

#[tokio::test]
async fn new_credentials_are_tried_at_once() {
    let mut world = World::new();
    world.pace.slow = Duration::from_secs(3600);
    let (books, server) =
        books_of(|_, asked, books| if asked.headers["authorization"] == "Token better" { books.accept(asked) } else { Say::status(401) })
            .await;
    let ids = world.queue("NL-AAO", 0..2).await;
    let (recipient, peer) = emsp("NL-AAO", &server.url);
    let delivering = world.start(&[(recipient, peer.clone())]);
    until("the old token is refused", || server.count() == 1).await;
    until("it is shown", || metric("sluis_delivery_shut{recipient=\"NL-AAO\"}") == Some(1.0)).await;
    let better = Peer { ours: Some(Sensitive::new("better".into())), raw: true, ..peer };
    Peers::new(Arc::clone(&world.custody)).keep(&better).await.unwrap();
    world.doorbell.parties();
    until("the new one is taken", || books.accepted() == ids).await;
    delivering.stop(Duration::from_secs(5)).await;
}
