//! The OCPI surface as parties see it: a whole gateway, real sockets, and e-MSPs that are small HTTP servers of their own.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/party.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared test code")]
mod party;

#[path = "ocpi/drivers.rs"]
mod drivers;
#[path = "ocpi/exchange.rs"]
mod exchange;
#[path = "ocpi/world.rs"]
mod world;

use proptest::prelude::*;
use serde_json::{Value, json};
use sluis::clock::Timestamp;
use sluis::fuzz::ocpi as fuzz;
use sluis::ocpi::peer::{Peers, Who};
use sluis::store::{CdrState, Op};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{START, World, cdr, codes, token};

pub(crate) trait ParseParty {
    fn parse_party(&self) -> sluis::recipient::Party;
}

impl ParseParty for str {
    fn parse_party(&self) -> sluis::recipient::Party {
        sluis::recipient::Party::parse(self).unwrap()
    }
}

#[tokio::test]
async fn nobody_and_those_who_may_receive_nothing_are_told_the_same() {
    let world = World::start().await;
    let expired = world.granted("NL-EXP").await;
    let mut answers = Vec::new();
    let stranger = "a-token-of-nobody".to_owned();
    for token in [&stranger, &expired, &"invitation-of-NL-EXP".to_owned()] {
        for path in ["/versions", "/2.2.1", "/2.2.1/cdrs", "/2.2.1/credentials", "/nowhere", "/2.2.1/tokens/NL/EXP/04A2B3C4"] {
            answers.push(world.get(path, token).await);
        }
    }
    for headers in [vec![], vec![("authorization", "")], vec![("authorization", "Basic YTpi")], vec![("authorization", "Token \u{e9}")]] {
        answers.push(world.send("GET", "/versions", &headers, b"").await);
    }
    answers.push(world.call("PUT", "/2.2.1/tokens/NL/EXP/04A2B3C4", &expired, &token("NL-EXP", "04A2B3C4")).await);
    for answer in &answers {
        assert_eq!(answer.statuses(), (401, 2000));
        assert_eq!(answer.timeless(), answers[0].timeless());
    }
    world.stop().await;
}

#[tokio::test]
async fn each_sees_its_own_cdrs_page_by_page_and_counts_nobody_elses() {
    let world = World::start().await;
    let (abc, xyz) = (world.granted("NL-ABC").await, world.granted("NL-XYZ").await);
    let mut ops = Vec::new();
    for n in 0..250 {
        ops.push(Op::CdrInsert(cdr(&world, "NL-ABC", n, CdrState::Queued)));
        if n % 3 == 0 {
            ops.push(Op::CdrInsert(cdr(&world, "NL-XYZ", n, CdrState::Queued)));
        }
    }
    ops.push(Op::CdrInsert(cdr(&world, "NL-ABC", 900, CdrState::Quarantined)));
    ops.push(Op::CdrInsert(cdr(&world, "NL-ABC", 901, CdrState::Discarded)));
    ops.push(Op::CdrInsert(cdr(&world, "NL-ABC", 902, CdrState::Refused)));
    world.store().commit(ops).await.unwrap();

    let mut path = "/2.2.1/cdrs".to_owned();
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let answer = world.get(&path, &abc).await;
        assert_eq!((answer.header("x-total-count").unwrap(), answer.header("x-limit").unwrap()), ("251", "100"));
        let all = answer.data();
        let all = all.as_array().unwrap();
        ids.extend(all.iter().map(|cdr| cdr["id"].as_str().unwrap().to_owned()));
        for cdr in all {
            let row = world.store().cdr(cdr["id"].as_str().unwrap()).unwrap().unwrap();
            assert!(answer.text().contains(row.body.as_ref().unwrap()), "the same bytes as at a push");
        }
        pages += 1;
        match answer.header("link") {
            Some(link) => {
                let url = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
                path = url.strip_prefix(&world.url).unwrap().to_owned();
            }
            None => break,
        }
    }
    let expected: Vec<_> = (0..250).chain([902]).map(|n| format!("NL-ABC-{n}")).collect();
    assert_eq!((pages, ids), (3, expected), "oldest first, each once");
    let other = world.get("/2.2.1/cdrs?limit=5", &xyz).await;
    assert_eq!((other.header("x-total-count").unwrap(), other.data().as_array().unwrap().len()), ("84", 5));
    assert!(!other.text().contains("NL-ABC"));

    // Written down before it was answered, once for each CDR, with whom it was about.
    let rows: Vec<_> = (0..2).flat_map(|page| world.store().disclosures(None, page * 1000).unwrap()).collect();
    assert_eq!(rows.iter().filter(|row| row.recipient == "NL-ABC" && row.purpose == "bill").count(), 251);
    let row = rows.iter().find(|row| row.reference == "NL-ABC-7").unwrap();
    assert_eq!(row.fields, "cdr_token id last_updated total_cost");
    assert_eq!(row.subject, world.custody().vault.subject(&codes(&world, "04A2B3C4D5E607").0));

    // From inclusive, to exclusive; the link repeats both.
    let at = |n: i64| Timestamp(START.0 + n * 1000).rfc3339();
    let part = world.get(&format!("/2.2.1/cdrs?date_from={}&date_to={}&limit=2", at(10), at(20)), &abc).await;
    assert_eq!((part.header("x-total-count").unwrap(), part.data()[0]["id"].as_str().unwrap()), ("10", "NL-ABC-10"));
    let link = part.header("link").unwrap();
    assert!(link.contains(&format!("date_from={}&date_to={}&offset=2&limit=2", at(10), at(20))), "{link}");
    for bad in ["date_from=yesterday", "date_to=2026-13-01T00:00:00Z", "offset=-1", "limit=0", "limit=ten", "offset=1e3"] {
        let answer = world.get(&format!("/2.2.1/cdrs?{bad}"), &abc).await;
        assert_eq!(answer.statuses(), (200, 2001), "{bad}");
    }
    assert_eq!(world.get("/2.2.1/cdrs?offset=9999999&date_from=2026-11-24T10:00:00+01:00", &abc).await.data(), json!([]));
    // Another version than its own is nowhere, for CDRs as for anything.
    for path in ["/2.1.1/cdrs", "/2.3.0/cdrs", "/2.2.1/cdrs/NL-ABC-1", "/2.2.1/cdrs2"] {
        assert_eq!(world.get(path, &abc).await.statuses(), (404, 2000), "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_pulled_cdr_counts_as_delivered_once_its_owner_asks_for_what_comes_after_it() {
    let world = World::start().await;
    let (pull, push) = (world.granted("NL-ABC").await, world.granted("NL-PSH").await);
    for owner in ["NL-ABC", "NL-PSH"] {
        world.store().commit((0..6).map(|n| Op::CdrInsert(cdr(&world, owner, n, CdrState::Queued))).collect()).await.unwrap();
    }
    let queued = |owner: &str| world.store().cdrs_in(CdrState::Queued, Some(owner), 0, 100).unwrap().len();
    let eventually = async |owner: &str, count| {
        for _ in 0..200 {
            if queued(owner) == count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(queued(owner), count);
    };
    for _ in 0..3 {
        world.get("/2.2.1/cdrs?limit=2", &pull).await.data();
    }
    assert_eq!(queued("NL-ABC"), 6, "an answer may be lost on its way");
    world.get("/2.2.1/cdrs?limit=2&offset=2", &pull).await.data();
    eventually("NL-ABC", 4).await;
    let at = |n: i64| Timestamp(START.0 + n * 1000).rfc3339();
    // What was never handed out has not arrived, whatever is asked for.
    world.get(&format!("/2.2.1/cdrs?limit=1&date_from={}", at(5)), &pull).await.data();
    eventually("NL-ABC", 2).await;
    let left = world.store().cdrs_in(CdrState::Queued, Some("NL-ABC"), 0, 100).unwrap();
    assert_eq!(left.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["NL-ABC-4", "NL-ABC-5"]);
    assert_eq!(world.get("/2.2.1/cdrs", &pull).await.data().as_array().unwrap().len(), 6, "a pull can always be repeated");
    world.get("/2.2.1/cdrs", &push).await.data();
    world.get("/2.2.1/cdrs?offset=3", &push).await.data();
    assert_eq!(queued("NL-PSH"), 6, "what is pushed stays to be pushed");
    world.stop().await;
}

#[tokio::test]
async fn what_was_written_in_another_version_is_pulled_in_the_one_of_today() {
    let world = World::start().await;
    let abc = world.granted("NL-ABC").await;
    let mut row = cdr(&world, "NL-ABC", 0, CdrState::Delivered);
    row.draft = include_str!("common/draft.json").to_owned();
    row.body = Some(json!({"id": row.id, "auth_id": "Z0M", "total_cost": 4}).to_string());
    // 2.1.1 cannot be told of what is taken back.
    let mut credit = cdr(&world, "DE-OLD", 0, CdrState::Queued);
    credit.draft = row.draft.replace("\"credit_of\": null", "\"credit_of\": \"1f1ee299\"").replace("\"2.1.1\"", "\"2.2.1\"");
    let (credit_id, old) = (credit.id.clone(), world.granted("DE-OLD").await);
    world.store().commit(vec![Op::CdrInsert(row), Op::CdrInsert(credit)]).await.unwrap();
    let answer = world.get("/2.2.1/cdrs", &abc).await;
    let told = &answer.data()[0];
    assert_eq!((&told["total_cost"]["excl_vat"], &told["last_updated"]), (&json!(4), &json!("2026-11-24T11:00:00Z")));
    assert_eq!(told["cdr_token"]["uid"], "Z0Y67GJ3NSH42PW5V9QE7G703CMEHVT");
    assert!(told.get("auth_id").is_none() && answer.text().contains("\"id\":\"1f1ee299-6f0b-491c-aa5e-b17323ae254e\""));
    let rows = world.store().disclosures(None, 0).unwrap();
    assert!(rows[0].fields.contains("cdr_token") && !rows[0].fields.contains("auth_id"), "{}", rows[0].fields);
    assert_eq!(world.get("/2.1.1/cdrs", &old).await.data(), json!([]));
    assert_eq!(world.get("/2.1.1/cdrs?offset=1", &old).await.data(), json!([]));
    assert_eq!(world.store().cdr(&credit_id).unwrap().unwrap().state, CdrState::Queued, "nobody has it");
    assert_eq!(world.store().disclosures(None, 0).unwrap().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_token_is_put_read_and_patched_by_its_owner_only() {
    let world = World::start().await;
    let (abc, xyz) = (world.granted("NL-ABC").await, world.granted("NL-XYZ").await);
    let path = "/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F7";
    let object = token("NL-ABC", "04A2B3C4D5E6F7");
    assert_eq!(world.get(path, &abc).await.statuses(), (404, 2004));
    assert_eq!(world.call("PUT", path, &abc, &object).await.statuses(), (201, 1000));
    assert_eq!(world.call("PUT", path, &abc, &object).await.statuses(), (200, 1000));
    let mut kept = object.clone();
    for gone in ["visual_number", "energy_contract", "what"] {
        kept.as_object_mut().unwrap().remove(gone);
    }
    assert_eq!(world.get(path, &abc).await.data(), kept);
    assert_eq!(world.get("/2.2.1/tokens/nl/abc/04:a2:b3:c4:d5:e6:f7?type=rfid", &abc).await.data(), kept, "in any spelling");
    let told: Vec<_> =
        world.store().disclosures(None, 0).unwrap().into_iter().map(|row| (row.recipient, row.purpose, row.fields)).collect();
    let fields = kept.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(told, [("NL-ABC".to_owned(), "charge".to_owned(), fields)], "what an owner reads back is told of a person too: once a day");
    // Nobody else's path, whether there is something or not.
    let answers = [
        world.get(path, &xyz).await,
        world.get("/2.2.1/tokens/NL/ABC/0000000000000000", &xyz).await,
        world.get("/2.2.1/tokens/NL/XYZ/04A2B3C4D5E6F7", &xyz).await,
        world.call("PUT", path, &xyz, &object).await,
        world.call("PATCH", path, &xyz, &json!({"valid": false, "last_updated": "2027-01-01T00:00:00Z"})).await,
        world.call("PATCH", "/2.2.1/tokens/NL/XYZ/04A2B3C4D5E6F7", &xyz, &json!({"valid": false})).await,
    ];
    for answer in &answers {
        assert_eq!(answer.timeless(), answers[0].timeless());
        assert_eq!(answer.statuses(), (404, 2004));
    }

    let patch = |body: Value| world.call("PATCH", path, &abc, Box::leak(Box::new(body)));
    assert_eq!(patch(json!({"valid": false})).await.statuses(), (200, 2001), "a patch says when");
    assert_eq!(patch(json!({"valid": false, "last_updated": "2020-01-01T00:00:00Z"})).await.code(), 1000, "an older word is acknowledged");
    assert_eq!(world.get(path, &abc).await.data()["valid"], true, "and left alone");
    assert_eq!(patch(json!({"valid": false, "group_id": null, "what": 2, "last_updated": "2026-12-01T00:00:00Z"})).await.code(), 1000);
    let now = world.get(path, &abc).await.data();
    assert_eq!((&now["valid"], now.get("group_id"), &now["contract_id"]), (&json!(false), None, &object["contract_id"]));
    for wrong in [json!({"uid": "04A2B3C4D5E6F8"}), json!({"type": "OTHER"}), json!({"party_id": "XYZ"}), json!({"whitelist": "SOMETIMES"})]
    {
        let mut body = wrong.clone();
        body["last_updated"] = json!("2026-12-02T00:00:00Z");
        assert_eq!(patch(body).await.statuses(), (200, 2001), "{wrong}");
    }
    for (path, body) in [
        ("/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F8", object.clone()),
        ("/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F7?type=APP_USER", object.clone()),
        ("/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F7?type=SECRET", object.clone()),
        (path, token("NL-XYZ", "04A2B3C4D5E6F7")),
        (path, json!({})),
    ] {
        assert_eq!(world.call("PUT", path, &abc, &body).await.statuses(), (200, 2001), "{path}");
    }
    // A code of ours for the central system is nobody's card.
    let code = codes(&world, "04A2B3C4D5E6F7").0;
    let coded = world.call("PUT", &format!("/2.2.1/tokens/NL/ABC/{code}"), &abc, &token("NL-ABC", &code)).await;
    assert_eq!(coded.statuses(), (200, 2001));
    assert_eq!(world.call("DELETE", path, &abc, &Value::Null).await.statuses(), (405, 2000));
    assert_eq!(world.send("PUT", path, &[("authorization", &format!("Token {abc}"))], b"{").await.statuses(), (400, 2001));
    // Two types of one uid are two tokens; without a type in the query the object says it.
    let mut app = object.clone();
    app["type"] = json!("APP_USER");
    assert_eq!(world.call("PUT", path, &abc, &app).await.statuses(), (201, 1000));
    assert_eq!(world.get(&format!("{path}?type=APP_USER"), &abc).await.data()["type"], "APP_USER");
    assert_eq!(world.get(path, &abc).await.data()["type"], "RFID");
    world.stop().await;
}

#[tokio::test]
async fn tokens_have_the_shape_of_their_owners_version() {
    let world = World::start().await;
    let (old, new) = (world.granted("DE-OLD").await, world.granted("FR-NEW").await);
    let object = json!({"uid": "DEADBEEF", "type": "OTHER", "auth_id": "DE-OLD-C1", "issuer": "Old", "valid": true, "whitelist": "NEVER", "last_updated": "2026-11-24T10:00:00"});
    assert_eq!(world.call("PUT", "/2.1.1/tokens/DE/OLD/DEADBEEF?type=OTHER", &old, &object).await.statuses(), (201, 1000));
    assert_eq!(world.get("/2.1.1/tokens/DE/OLD/DEADBEEF?type=OTHER", &old).await.data(), object);
    let mut object = token("FR-NEW", "DEADBEEF");
    object["type"] = json!("WATCH");
    assert_eq!(world.call("PUT", "/2.3.0/tokens/FR/NEW/DEADBEEF?type=WATCH", &new, &object).await.statuses(), (201, 1000));
    assert_eq!(world.get("/2.3.0/tokens/FR/NEW/DEADBEEF?type=WATCH", &new).await.data()["type"], "OTHER");
    world.stop().await;
}

#[tokio::test]
async fn ids_are_given_back_if_they_are_ids_and_routing_is_ignored() {
    let world = World::start().await;
    let abc = format!("Token {}", world.granted("NL-ABC").await);
    let answer =
        world.send("GET", "/versions", &[("authorization", &abc), ("x-request-id", "0a1b-7"), ("x-correlation-id", "<script>")], b"").await;
    assert_eq!(answer.header("x-request-id"), Some("0a1b-7"));
    assert_eq!(answer.header("x-correlation-id").unwrap().len(), 36);
    let routed = [
        ("authorization", abc.as_str()),
        ("ocpi-to-country-code", "NL"),
        ("ocpi-to-party-id", "XYZ"),
        ("ocpi-from-country-code", "NL"),
        ("ocpi-from-party-id", "XYZ"),
    ];
    world.store().commit(vec![Op::CdrInsert(cdr(&world, "NL-XYZ", 1, CdrState::Queued))]).await.unwrap();
    assert_eq!(world.send("GET", "/2.2.1/cdrs", &routed, b"").await.data(), json!([]), "a caller is who its token says");
    let big = vec![b'x'; 65 << 10];
    assert_eq!(world.send("PUT", "/2.2.1/tokens/NL/ABC/X", &[("authorization", &abc)], &big).await.statuses(), (400, 2001));
    world.stop().await;
}

#[tokio::test]
async fn guessing_invitations_ends_and_locks_out_nobody_who_has_a_token() {
    let world = World::start().await;
    let abc = world.granted("NL-ABC").await;
    let guesses = (0..40).map(|n| format!("guess-{n}")).collect::<Vec<_>>();
    let tries = guesses.iter().map(|guess| world.get("/versions", guess));
    for answer in futures_util::future::join_all(tries).await {
        assert_eq!(answer.http, 401);
    }
    // A minute may have begun meanwhile: then the count is anew, and another round ends it.
    let mut shut = false;
    for _ in 0..2 {
        shut = shut || world.get("/versions", "invitation-of-NL-XYZ").await.http == 401;
        futures_util::future::join_all(guesses.iter().map(|guess| world.get("/versions", guess))).await;
    }
    assert!(shut || world.get("/versions", "invitation-of-NL-XYZ").await.http == 401);
    assert_eq!(world.get("/versions", &abc).await.http, 200);
    world.stop().await;
}

/// Sockets that say nothing, from one address: more than there are places.
#[tokio::test]
async fn silent_connections_of_one_network_shut_nobody_else_out_and_end_soon() {
    let world = World::start().await;
    let abc = world.granted("NL-ABC").await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(tokio::net::TcpStream::connect(("127.0.0.1", world.port)).await.unwrap());
    }
    // Linux has all of 127.0.0.0/8 on one machine.
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.77.1:0".parse().unwrap()).unwrap();
    let mut other = elsewhere.connect(([127, 0, 0, 1], world.port).into()).await.unwrap();
    other.write_all(b"GET /ocpi/versions HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    // Those that had a place lose it, and the network has its share again.
    let ends = async {
        for mut socket in silent {
            let _ = socket.read(&mut [0]).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(15), ends).await.expect("silence is not waited for");
    assert_eq!(world.get("/versions", &abc).await.http, 200);
    // Whoever has asked something may think before it asks the next.
    other.write_all(b"GET /ocpi/versions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    other.read_to_end(&mut rest).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&rest).matches("HTTP/1.1 401").count(), 1);
    world.stop().await;
}

#[tokio::test]
async fn credentials_survive_a_restart_and_reach_a_running_gateway() {
    let world = World::start().await;
    let token = world.granted("NL-ABC").await;
    let world = world.restarted().await;
    assert_eq!(world.get("/versions", &token).await.http, 200);
    let (dir, who) = (world.directory(), Who::Emsp("NL-ABC".parse_party()));
    // Another process takes them back.
    let beside = Arc::new(world::beside(&dir));
    Peers::new(beside).forget(who).await.unwrap();
    assert_eq!(world.get("/versions", &token).await.http, 401);
    world.stop().await;
}

/// The tokens in a log would be those of the whole binary's tests: all of them write into one buffer.
#[tokio::test]
async fn no_log_line_holds_a_path_a_token_or_an_identifier() {
    world::capture_logs();
    let world = World::start().await;
    let abc = world.granted("NL-ABC").await;
    let uid = "04C0FFEE5EC2E7";
    let mut object = token("NL-ABC", uid);
    object["contract_id"] = json!("NL-ABC-C0FFEE001");
    world.call("PUT", &format!("/2.2.1/tokens/NL/ABC/{uid}?type=RFID"), &abc, &object).await;
    world.get(&format!("/2.2.1/tokens/NL/ABC/{uid}"), &abc).await;
    world.get(&format!("/2.2.1/{uid}?{uid}={uid}"), &abc).await;
    world.get(&format!("/{uid}"), "a-token-of-nobody-4711").await;
    world
        .send(
            "PUT",
            &format!("/2.2.1/tokens/NL/ABC/{uid}"),
            &[("authorization", &format!("Token {abc}")), ("x-request-id", uid)],
            uid.as_bytes(),
        )
        .await;
    world.send(uid, "/versions", &[("authorization", &format!("Token {abc}"))], b"").await;
    world.stop().await;
    let log = world::logs();
    assert!(log.contains("NL-ABC") && log.contains("\"module\":\"tokens\""), "something was logged: {}", log.len());
    for secret in [uid, "C0FFEE", "a-token-of", &abc, "/tokens/", "authorization"] {
        assert!(!log.to_uppercase().contains(&secret.to_uppercase()), "{secret} is in the log");
    }
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "versions",
        "2.2.1",
        "2.1.1",
        "2.3.0",
        "credentials",
        "cdrs",
        "tokens",
        "authorize",
        "resolve",
        "NL",
        "ABC",
        "XYZ",
        "04A2B3C4D5E607",
        "%00",
        "%ff",
        "%",
        "..",
        "",
        "Z0AAAAAAAAAAAAAAAAAA",
        "\u{7f}",
    ]);
    let path = prop::collection::vec(word, 0..6).prop_map(|words| format!("/ocpi/{}", words.join("/")));
    let query = prop::sample::select(vec![
        "",
        "?date_from=2026-11-24T10:00:00Z",
        "?date_to=x&offset=1",
        "?limit=-1",
        "?offset=18446744073709551615&limit=1",
        "?type=RFID",
        "?type=%ff&&&=",
        "?type=\u{1}",
    ]);
    let method = prop::sample::select(vec!["GET", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X-Y"]);
    let headers = prop::collection::vec(
        prop::sample::select(vec![
            "token0",
            "token1",
            "token2",
            "x-request-id:a b",
            "x-correlation-id:\u{ff}",
            "content-type:text/plain",
            "authorization:Token =",
        ]),
        0..4,
    );
    let json = prop_oneof![
        Just(token("NL-ABC", "04A2B3C4D5E607").to_string()),
        Just(json!({"valid": false, "last_updated": "2027-01-01T00:00:00Z"}).to_string()),
        Just(
            json!({"token": "b", "url": "http://127.0.0.1:9/", "roles": [{"role": "EMSP", "party_id": "ABC", "country_code": "NL"}]})
                .to_string()
        ),
        Just(json!({"code": "Z0AAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}).to_string()),
        Just(json!({"location_id": "L", "evse_uids": []}).to_string()),
        Just("[".repeat(3000)),
        ".{0,60}",
    ];
    let mutation = (any::<prop::sample::Index>(), any::<u8>());
    (method, path, query, headers, json, prop::option::weighted(0.3, mutation)).prop_map(
        |(method, path, query, headers, json, mutation)| {
            let mut bytes = format!("{method} {path}{query}\n{}\n\n{json}", headers.join("\n")).into_bytes();
            if let Some((at, byte)) = mutation {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    )
}

#[test]
fn whatever_is_asked_the_answer_is_one_of_ocpis() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (surface, tokens, _dir) = runtime.block_on(world::bare_surface());
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let check = |bytes: Vec<u8>| {
        let Some(request) = fuzz::request(&bytes, &tokens) else { return Ok(()) };
        let response = runtime.block_on(async {
            let answer = surface.answer([127, 0, 0, 1].into(), request).await;
            world::whole(answer).await
        });
        fuzz::conforms(&response).map_err(|what| TestCaseError::fail(format!("{what}: {response:?}")))
    };
    let config = ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config.clone()).run(&requests(), check).unwrap();
    proptest::test_runner::TestRunner::new(config).run(&prop::collection::vec(any::<u8>(), 0..300), check).unwrap();
}
