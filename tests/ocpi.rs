//! The OCPI surface as parties see it: a whole gateway, real sockets, and e-MSPs that are small HTTP servers of their own.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/party.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared test code")]
mod party;

#[path = "ocpi/world.rs"]
mod world;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use party::{Party, Say};
use proptest::prelude::*;
use serde_json::{Value, json};
use sluis::clock::Timestamp;
use sluis::identity::{Declared, Identifier};
use sluis::ocpi::fuzz;
use sluis::ocpi::peer::{Peers, Who};
use sluis::store::{CdrState, Op};
use std::sync::Arc;
use world::{START, World, cdr, codes, emsp, token};

/// An e-MSP's own OCPI: versions, details, and what `more` says. Demands the token it gave, in the form it likes.
async fn an_emsp(version: &'static str, given: &'static str, raw: bool, modules: &'static [(&'static str, &'static str)]) -> Party {
    let own = Arc::new(std::sync::OnceLock::<String>::new());
    let url = Arc::clone(&own);
    let party = Party::start(move |_, asked| {
        let base = url.get().unwrap();
        let expected = if raw { format!("Token {given}") } else { format!("Token {}", STANDARD.encode(given)) };
        if asked.headers.get("authorization") != Some(&expected) {
            return Say::ocpi(401, 2000, Value::Null);
        }
        match asked.target.as_str() {
            "/versions" => {
                Say::ocpi(200, 1000, json!([{"version": "2.0", "url": "http://x"}, {"version": version, "url": format!("{base}/d")}]))
            }
            "/d" => {
                let endpoints: Vec<_> = modules
                    .iter()
                    .map(|(module, role)| json!({"identifier": module, "role": role, "url": format!("{base}/{module}")}))
                    .collect();
                Say::ocpi(200, 1000, json!({"version": version, "endpoints": endpoints}))
            }
            _ => Say::ocpi(404, 2000, Value::Null),
        }
    })
    .await;
    own.set(party.url.clone()).unwrap();
    party
}

const ALL: &[(&str, &str)] = &[("credentials", "SENDER"), ("cdrs", "RECEIVER"), ("tokens", "SENDER")];

fn credentials(version: &str, party: &Party, token: &str, id: &str) -> Value {
    let (country, id) = id.split_once('-').unwrap();
    let url = format!("{}/versions", party.url);
    let details = json!({"name": "An e-MSP", "website": "https://emsp.example", "what": 1});
    match version {
        "2.1.1" => json!({"token": token, "url": url, "party_id": id, "country_code": country, "business_details": details}),
        "2.2.1" => {
            json!({"token": token, "url": url, "roles": [{"role": "EMSP", "party_id": id, "country_code": country, "business_details": details}]})
        }
        _ => {
            json!({"token": token, "url": url, "hub_party_id": "NLHUB", "roles": [{"role": "EMSP", "party_id": id, "country_code": country, "business_details": details}]})
        }
    }
}

#[tokio::test]
async fn credentials_are_exchanged_renewed_and_taken_back() {
    for (version, id, raw) in [("2.2.1", "NL-ABC", false), ("2.1.1", "DE-OLD", true), ("2.3.0", "FR-NEW", false), ("2.2.1", "NL-XYZ", true)]
    {
        let world = World::start().await;
        let them = an_emsp(version, "their-token-B", raw, ALL).await;
        let a = format!("invitation-of-{id}");
        let versions = world.get("/versions", &a).await.data();
        assert_eq!(versions, json!([{"version": version, "url": format!("{}/{version}", world.url)}]));
        let details = world.get(&format!("/{version}"), &a).await.data();
        let endpoint = |module: &str| details["endpoints"].as_array().unwrap().iter().find(|e| e["identifier"] == module).unwrap().clone();
        assert_eq!(endpoint("cdrs")["url"], format!("{}/{version}/cdrs", world.url));
        let role = if version == "2.1.1" { Value::Null } else { json!("SENDER") };
        assert_eq!(endpoint("cdrs")["role"], role);
        // CREDENTIALS_TOKEN_A opens nothing else.
        assert_eq!(world.get(&format!("/{version}/cdrs"), &a).await.statuses(), (401, 2000));
        for method in ["PUT", "DELETE"] {
            assert_eq!(world.call(method, &format!("/{version}/credentials"), &a, &json!({})).await.http, 405);
        }
        assert_eq!(world.get(&format!("/{version}/credentials"), &a).await.data()["token"], a);

        let ours = world.post(&format!("/{version}/credentials"), &a, &credentials(version, &them, "their-token-B", id)).await.data();
        let c = ours["token"].as_str().unwrap().to_owned();
        assert!(c.len() <= 64 && c.bytes().all(|b| (0x21..0x7f).contains(&b)));
        assert_eq!(ours["url"], format!("{}/versions", world.url));
        let us = if version == "2.1.1" { ours.clone() } else { ours["roles"][0].clone() };
        assert_eq!(
            (&us["country_code"], &us["party_id"], &us["business_details"]["name"]),
            (&json!("NL"), &json!("CPO"), &json!("The operator"))
        );
        assert_eq!(ours["roles"][0]["role"], if version == "2.1.1" { Value::Null } else { json!("CPO") });
        assert!(them.asked().iter().all(|asked| !asked.headers.contains_key("ocpi-to-party-id")), "versions are not routed");

        // Durable, and as it was said.
        let peer = world.peers().find(Who::Emsp(id.parse_party())).unwrap().unwrap();
        assert_eq!(
            (peer.version.number(), peer.raw, peer.url("cdrs", "RECEIVER")),
            (version, raw, Some(format!("{}/cdrs", them.url).as_str()))
        );
        assert_eq!(peer.ours.unwrap().expose(), "their-token-B");

        // A is spent, C opens in both spellings, with a line feed too, and a second registration is refused.
        assert_eq!(world.get("/versions", &a).await.statuses(), (401, 2000));
        for header in
            [format!("Token {c}"), format!("Token {}", STANDARD.encode(&c)), format!("token {}", STANDARD.encode(format!("{c}\n")))]
        {
            assert_eq!(world.send("GET", &format!("/{version}/cdrs"), &[("authorization", &header)], b"").await.statuses(), (200, 1000));
        }
        let again = world.post(&format!("/{version}/credentials"), &c, &credentials(version, &them, "their-token-B", id)).await;
        assert_eq!((again.http, again.header("allow").is_some()), (405, true));

        let renewed =
            world.call("PUT", &format!("/{version}/credentials"), &c, &credentials(version, &them, "their-token-B", id)).await.data();
        let d = renewed["token"].as_str().unwrap().to_owned();
        assert_ne!(c, d);
        assert_eq!(world.get("/versions", &c).await.http, 401);
        assert_eq!(world.get(&format!("/{version}/credentials"), &d).await.data()["token"], d);

        assert_eq!(world.call("DELETE", &format!("/{version}/credentials"), &d, &Value::Null).await.statuses(), (200, 1000));
        for gone in [&a, &c, &d] {
            assert_eq!(world.get("/versions", gone).await.statuses(), (401, 2000), "nothing opens any more");
        }
        world.stop().await;
    }
}

trait ParseParty {
    fn parse_party(&self) -> sluis::recipient::Party;
}

impl ParseParty for str {
    fn parse_party(&self) -> sluis::recipient::Party {
        sluis::recipient::Party::parse(self).unwrap()
    }
}

#[tokio::test]
async fn an_exchange_that_fails_says_why_and_changes_nothing() {
    let world = World::start().await;
    let them = an_emsp("2.2.1", "their-token-B", false, ALL).await;
    let old = an_emsp("2.1.1", "their-token-B", false, ALL).await;
    let bare = an_emsp("2.2.1", "their-token-B", false, &[("credentials", "SENDER")]).await;
    let right = credentials("2.2.1", &them, "their-token-B", "NL-PSH");
    let with = |field: &str, value: Value| {
        let mut object = right.clone();
        object[field] = value;
        object
    };
    let mut cases = vec![
        (credentials("2.2.1", &them, "their-token-B", "NL-XYZ"), 2001),
        (credentials("2.1.1", &them, "their-token-B", "NL-PSH"), 2001),
        (credentials("2.2.1", &them, "another-token", "NL-PSH"), 3001),
        (credentials("2.2.1", &old, "their-token-B", "NL-PSH"), 3002),
        (credentials("2.2.1", &bare, "their-token-B", "NL-PSH"), 3003),
        (with("token", json!("")), 2001),
        (with("token", json!("a b")), 2001),
        (with("token", json!("x".repeat(65))), 2001),
        (with("url", json!(1)), 2001),
        (with("url", json!("http://127.0.0.1:1/")), 3001),
    ];
    cases.push((json!({"token": "their-token-B", "url": "https://user@x/", "roles": right["roles"]}), 3001));
    for (body, code) in cases {
        let answer = world.post("/2.2.1/credentials", "invitation-of-NL-PSH", &body).await;
        assert_eq!((answer.http, answer.code()), (200, code), "{body}");
        assert!(answer.json().get("data").is_none());
    }
    for body in ["", "{", "[]", "4711"] {
        assert_eq!(
            world.send("POST", "/2.2.1/credentials", &[("authorization", "Token invitation-of-NL-PSH")], body.as_bytes()).await.statuses(),
            (400, 2001)
        );
    }
    assert!(world.peers().find(Who::Emsp("NL-PSH".parse_party())).unwrap().is_none());
    assert_eq!(world.post("/2.2.1/credentials", "invitation-of-NL-PSH", &right).await.statuses(), (200, 1000), "A is still good");
    world.stop().await;
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
async fn the_central_system_asks_by_code_and_learns_no_identifier() {
    let emsp_says = |asked: &party::Asked| match (asked.method.as_str(), asked.target.split('?').next().unwrap()) {
        ("POST", "/tokens/04A2B3C4D5E6F7/authorize") => Say::ocpi(
            200,
            1000,
            json!({
                "allowed": "ALLOWED", "authorization_reference": "ref-2026-11", "info": {"language": "nl", "text": "Dag J. Jansen"},
                "token": {"uid": "04A2B3C4D5E6F7", "visual_number": "VISUAL-4711"}, "location": {"location_id": "LOC1", "evse_uids": ["E1"]},
            }),
        ),
        ("POST", "/tokens/04A2B3C4D5E6F8/authorize") => {
            Say::ocpi(200, 1000, json!({"allowed": "BLOCKED", "authorization_reference": "NL-ABC-C04A2B3C4"}))
        }
        ("POST", "/tokens/04A2B3C4D5E6F9/authorize") => Say::ocpi(200, 2002, Value::Null),
        ("POST", "/tokens/04A2B3C4D5E6FA/authorize") => Say::ocpi(404, 2004, Value::Null),
        ("GET", _) => Say::ocpi(200, 1000, json!([])),
        _ => Say::status(500),
    };
    let them = Party::start(move |_, asked| emsp_says(asked)).await;
    let world = World::with(&[
        emsp("NL-ABC", "2.2.1", "pull", &format!("tokens_url = \"{}/tokens\"", them.url)),
        emsp("NL-XYZ", "2.2.1", "pull", ""),
    ])
    .await;
    let (abc, csms) = (world.granted("NL-ABC").await, world.granted("csms").await);
    let put = async |uid: &str, whitelist: &str| {
        let mut object = token("NL-ABC", uid);
        object["whitelist"] = json!(whitelist);
        object["contract_id"] = json!(format!("NL-ABC-C{}", &uid[..8]));
        assert_eq!(world.call("PUT", &format!("/2.2.1/tokens/NL/ABC/{uid}"), &abc, &object).await.http, 201);
        codes(&world, uid).0
    };
    let details = world.get("/2.2.1", &csms).await.data();
    assert!(
        details["endpoints"]
            .as_array()
            .unwrap()
            .contains(&json!({"identifier": "tokens", "role": "SENDER", "url": format!("{}/2.2.1/tokens", world.url)}))
    );
    let roles = world.get("/2.2.1/credentials", &csms).await.data()["roles"].clone();
    assert_eq!((roles[0]["role"].clone(), roles[0]["party_id"].clone(), roles.as_array().unwrap().len()), (json!("EMSP"), json!("ABC"), 2));

    let code = put("04A2B3C4D5E6F7", "NEVER").await;
    let place = json!({"location_id": "LOC1", "evse_uids": ["E1", "E2"], "driver": "J. Jansen"});
    let answer = world.post(&format!("/2.2.1/tokens/{code}/authorize?type=RFID"), &csms, &place).await;
    let said = answer.data();
    assert_eq!((said["allowed"].as_str(), said["authorization_reference"].as_str()), (Some("ALLOWED"), Some("ref-2026-11")));
    assert_eq!(said["location"], json!({"location_id": "LOC1", "evse_uids": ["E1"]}));
    assert_eq!(said["token"]["uid"], code);
    assert_eq!(said["token"]["contract_id"], codes(&world, "NL-ABC-C04A2B3C4").0);
    for secret in ["04A2B3C4", "C04A2B3C4", "4711", "Jansen", "info"] {
        assert!(!answer.text().contains(secret), "{secret}");
    }
    let asked = them.asked().into_iter().find(|asked| asked.method == "POST").unwrap();
    assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap(), json!({"location_id": "LOC1", "evse_uids": ["E1", "E2"]}));
    let row = world.store().disclosures(None, 0).unwrap().into_iter().find(|row| row.recipient == "NL-ABC").unwrap();
    assert_eq!((row.purpose.as_str(), row.subject), ("charge", world.custody().vault.subject(&code)));
    // The CDR will carry the reference.
    let owner = "NL-ABC".parse_party();
    let reference = |code: &str| world.custody().vault.reference(code, &owner, sluis::clock::now()).unwrap();
    assert_eq!(reference(&code).as_deref(), Some("ref-2026-11"));

    // 2.1.1 has no token in the answer.
    let old = world.post(&format!("/2.1.1/tokens/{}/authorize", code.to_lowercase()), &csms, &place).await.data();
    assert_eq!(old.as_object().unwrap().keys().collect::<Vec<_>>(), ["allowed", "location"]);
    // A reference that is the contract number stays behind.
    let code = put("04A2B3C4D5E6F8", "NEVER").await;
    let said = world.post(&format!("/2.2.1/tokens/{code}/authorize"), &csms, &Value::Null).await.data();
    assert_eq!((said["allowed"].as_str(), said.get("authorization_reference")), (Some("BLOCKED"), None));
    assert_eq!(reference(&code), None);
    let code = put("04A2B3C4D5E6F9", "NEVER").await;
    assert_eq!(world.post(&format!("/2.2.1/tokens/{code}/authorize"), &csms, &Value::Null).await.statuses(), (200, 2002));
    // When its owner does not answer, what it said before decides, unless it wants to be asked each time.
    let (asks, trusts, always) =
        (put("04A2B3C4D5E6FB", "NEVER").await, put("04A2B3C4D5E6FC", "ALLOWED").await, put("04A2B3C4D5E6FD", "ALWAYS").await);
    assert_eq!(world.post(&format!("/2.2.1/tokens/{asks}/authorize"), &csms, &Value::Null).await.statuses(), (200, 3000));
    assert_eq!(world.post(&format!("/2.2.1/tokens/{trusts}/authorize"), &csms, &Value::Null).await.data()["allowed"], "ALLOWED");
    let before = them.count();
    assert_eq!(world.post(&format!("/2.2.1/tokens/{always}/authorize"), &csms, &Value::Null).await.data()["allowed"], "ALLOWED");
    assert_eq!(before, them.count(), "nobody is asked about what is always allowed");

    // No oracle: a card number, however right, is as unknown as any word; so is a code of nobody's token.
    let denied = put("04A2B3C4D5E6FA", "NEVER").await;
    let unowned = codes(&world, "0455667788AABB").0;
    let mut answers = Vec::new();
    for word in
        [denied.as_str(), "04A2B3C4D5E6F7", "04:A2:B3:C4:D5:E6:F7", "NL-ABC-C04A2B3C4", &unowned, "Z0AAAAAAAAAAAAAAAAAA", "x", "%20"]
    {
        answers.push(world.post(&format!("/2.2.1/tokens/{word}/authorize"), &csms, &place).await);
    }
    for answer in &answers {
        assert_eq!((answer.statuses(), answer.timeless()), ((404, 2004), answers[0].timeless()));
    }
    for (body, status) in [("[]", (400, 2001)), ("{}", (200, 2001)), (r#"{"location_id":"L","evse_uids":[1]}"#, (200, 2001))] {
        let answer = world
            .send("POST", &format!("/2.2.1/tokens/{code}/authorize"), &[("authorization", &format!("Token {csms}"))], body.as_bytes())
            .await;
        assert_eq!(answer.statuses(), status, "{body}");
    }
    // Each to its own.
    assert_eq!(world.post(&format!("/2.2.1/tokens/{code}/authorize"), &abc, &place).await.statuses(), (404, 2000));
    for path in ["/2.2.1/cdrs", "/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F7", "/2.2.1/resolve"] {
        assert_eq!(world.get(path, &csms).await.statuses(), (404, 2000), "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn only_the_owner_learns_what_a_code_stands_for() {
    let world = World::start().await;
    let (abc, xyz) = (world.granted("NL-ABC").await, world.granted("NL-XYZ").await);
    let mine = cdr(&world, "NL-ABC", 1, CdrState::Delivered);
    let code = mine.code.clone().unwrap();
    let mut taken_back = cdr(&world, "NL-ABC", 2, CdrState::Discarded);
    let gone = world.code_at("NL-ABC", "04AABBCCDDEEFF").await;
    taken_back.code = Some(gone.clone());
    world.store().commit(vec![Op::CdrInsert(mine), Op::CdrInsert(taken_back)]).await.unwrap();
    let resolve = async |token: &str, body: Value| world.post("/2.2.1/resolve", token, &body).await;
    assert_eq!(resolve(&abc, json!({"code": code})).await.data(), json!({"uid": "04A2B3C4D5E607", "contract_id": null}));
    world.call("PUT", "/2.2.1/tokens/NL/ABC/04A2B3C4D5E607", &abc, &token("NL-ABC", "04A2B3C4D5E607")).await;
    let full = resolve(&abc, json!({"code": code.to_lowercase(), "what": 1})).await.data();
    assert_eq!(full, json!({"uid": "04A2B3C4D5E607", "contract_id": "NL-ABC-C00000001-X"}));
    let rows = world.store().disclosures(world.custody().vault.subject(&codes(&world, "04A2B3C4D5E607").0).as_ref(), 0).unwrap();
    assert_eq!((rows.len(), rows[0].recipient.as_str(), rows[0].purpose.as_str()), (1, "NL-ABC", "bill"), "once a day for a CDR");

    let erased = |world: &World| {
        let vault = world.custody().vault.clone();
        tokio::task::spawn_blocking(move || vault.erase(&Identifier::from_wire("04A2B3C4D5E607", Declared::Undeclared)).unwrap())
    };
    let foreign = world.code_at("NL-XYZ", "04A2B3C4D5E607").await;
    let csms = codes(&world, "04A2B3C4D5E607").0;
    let mut answers = vec![resolve(&xyz, json!({"code": code})).await];
    for word in [
        &foreign,
        &gone,
        &csms,
        &"04A2B3C4D5E607".to_owned(),
        &"Z0AAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        &String::new(),
        &"x".repeat(5000),
    ] {
        answers.push(resolve(&abc, json!({"code": word})).await);
    }
    erased(&world).await.unwrap();
    answers.push(resolve(&abc, json!({"code": code})).await);
    for answer in &answers {
        assert_eq!((answer.statuses(), answer.timeless()), ((404, 2004), answers[0].timeless()));
        assert_eq!(answer.header_names(), answers[0].header_names());
        let beats = answer.took.as_millis() / 50;
        assert!(beats >= 1, "an answer leaves on the beat");
    }
    assert_eq!(resolve(&abc, json!({"code": 4711})).await.statuses(), (200, 2001));
    assert_eq!(world.get("/2.2.1/resolve", &abc).await.statuses(), (405, 2000));
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
    for secret in [uid, "C0FFEE", "4711", &abc, "/tokens/", "authorization"] {
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
