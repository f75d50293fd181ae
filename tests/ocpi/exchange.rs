//! Credentials: exchanged, renewed, taken back, and exchanges that fail.

use crate::ParseParty;
use crate::party::{Party, Say};
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluis::ocpi::peer::Who;
use std::sync::Arc;

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
    let role = |role: &str, id: &str| json!({"role": role, "country_code": "NL", "party_id": id, "business_details": {"name": "x"}});
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
        (with("roles", json!([role("CPO", "PSH")])), 2001),
        (with("roles", json!([role("CPO", "PSH"), role("EMSP", "XYZ"), role("NSP", "PSH")])), 2001),
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
    let answer = world.post("/2.2.1/credentials", "invitation-of-NL-PSH", &right).await;
    assert_eq!(answer.statuses(), (200, 1000), "A is still good");
    // A renewal in another role is none; one through a hub is, and who operates charge points beside it may.
    let token = answer.data()["token"].as_str().unwrap().to_owned();
    let renewal = |roles: Value| with("roles", roles);
    let operator = renewal(json!([role("CPO", "PSH")]));
    assert_eq!(world.call("PUT", "/2.2.1/credentials", &token, &operator).await.statuses(), (200, 2001));
    assert_eq!(world.get("/2.2.1/credentials", &token).await.statuses(), (200, 1000), "the old token is still good");
    let token = world.call("PUT", "/2.2.1/credentials", &token, &renewal(json!([role("HUB", "PSH")]))).await.data()["token"].clone();
    let both = renewal(json!([role("CPO", "PSH"), role("EMSP", "PSH")]));
    assert_eq!(world.call("PUT", "/2.2.1/credentials", token.as_str().unwrap(), &both).await.statuses(), (200, 1000));
    world.stop().await;
}
