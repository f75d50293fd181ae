//! Tokens are pulled from e-MSPs and reach the central system with no original in any byte; an owner is asked about its own token; the
//! client's troubles tell nothing of what was said.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/market.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "test code, shared")]
mod market;
#[path = "common/party.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "test code, shared")]
mod party;

use market::*;
use serde_json::{Value, json};
use sluis::clock::Timestamp;
use sluis::config::{Config, Flags};
use sluis::delivery::Delivering;
use sluis::identity::{Codes, Declared, Identifier};
use sluis::ocpi::client::{Bounds, Pass, Trouble, joined};
use sluis::ocpi::peer::Endpoint;
use sluis::recipient::{Ocpi, Recipients};
use sluis::secret::Sensitive;
use sluis::serve::{Serving, StartError};
use sluis::store::{CdrState, Op};
use sluis::vault::VaultError;
use sluis::vault::tokens::EmspToken;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn originals(number: usize) -> [String; 5] {
    [
        format!("04A2B3C4D5{number:04}"),
        format!("C4711{number:04}"),
        format!("VISUAL{number:04}"),
        format!("GROUP{:04}", number / 2),
        format!("EAN{number:04}"),
    ]
}

/// A central system: says where its tokens are, and remembers what it was told.
async fn csms(mind: impl Fn(usize, &Asked) -> Option<Say> + Send + Sync + 'static) -> (Server, Arc<Mutex<HashMap<String, Value>>>) {
    let told = Arc::new(Mutex::new(HashMap::new()));
    let book = Arc::clone(&told);
    let server = Server::start(move |n, asked| {
        if let Some(say) = mind(n, asked) {
            return say;
        }
        let here = format!("http://{}", asked.headers["host"]);
        match asked.target.as_str() {
            "/versions" => Say::ocpi(
                200,
                1000,
                json!([{"version": "2.1.1", "url": format!("{here}/old")}, {"version": "2.2.1", "url": format!("{here}/2.2.1")},
                    {"version": "9.9", "url": format!("{here}/new")}]),
            ),
            "/2.2.1" => Say::ocpi(
                200,
                1000,
                json!({"version": "2.2.1", "endpoints": [
                    {"identifier": "tokens", "role": "SENDER", "url": format!("{here}/wrong")},
                    {"identifier": "tokens", "role": "RECEIVER", "url": format!("{here}/2.2.1/tokens/")}]}),
            ),
            target if asked.method == "PUT" => {
                book.lock().unwrap().insert(target.to_owned(), serde_json::from_str(&asked.body).unwrap());
                Say::ocpi(201, 1000, Value::Null)
            }
            _ => Say::status(404),
        }
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn the_central_system_is_told_of_tokens_by_code_and_never_by_an_original() {
    let world = World::new();
    let failures = AtomicU64::new(0);
    let (server, told) = csms(move |_, asked| {
        // Its token goes as it is, and every third PUT fails.
        if asked.headers["authorization"] != format!("Token {CREDENTIAL}") {
            return Some(Say::status(401));
        }
        (asked.method == "PUT" && failures.fetch_add(1, Ordering::SeqCst) % 3 == 1).then(|| Say::status(500))
    })
    .await;
    for number in 0..50 {
        world.custody.vault.keep_token(&token("NL-ABC", number)).await.unwrap();
    }
    let versions = format!("{}/versions", server.url);
    let delivery = world.delivery(&[emsp("NL-ABC", "http://127.0.0.1:1")], Some(&versions));
    let delivering = delivery.start();
    let due = || world.custody.store().tokens_due(u64::MAX >> 1, 1000).unwrap().len();
    let told_now = |round: u64| world.custody.store().tokens_due(round, 1000).unwrap().is_empty();
    let round = NOW as u64 / 86_400_000;
    until("all are told", || told_now(round)).await;
    assert_eq!((told.lock().unwrap().len(), due()), (50, 50));
    for number in 0..50 {
        let token = token("NL-ABC", number);
        let codes = world.custody.vault.token_codes(&token);
        let object = told.lock().unwrap()[&format!("/2.2.1/tokens/NL/ABC/{}?type=RFID", codes.uid)].clone();
        assert_eq!(object["uid"], codes.uid.as_str());
        assert_eq!(object["contract_id"], codes.contract.as_str());
        assert_eq!(object["group_id"], codes.group.unwrap().as_str());
        assert_eq!((&object["valid"], &object["whitelist"], &object["language"]), (&json!(true), &json!("ALLOWED"), &json!("nl")));
        assert_eq!((&object["last_updated"], &object["issuer"]), (&json!(token.updated_text), &json!("NL-ABC")));
        assert_eq!(
            world.custody.vault.token_of_code(codes.uid.as_str(), &Recipients::default()).unwrap().unwrap().updated_text,
            token.updated_text
        );
    }
    // A change is told at once, and nothing else with it.
    let before = server.count();
    let changed = EmspToken { valid: false, ..token("NL-ABC", 7) };
    world.custody.vault.keep_token(&changed).await.unwrap();
    world.doorbell.tokens();
    let code = world.custody.vault.token_codes(&changed).uid;
    let target = format!("/2.2.1/tokens/NL/ABC/{code}?type=RFID");
    until("the change is told", || told.lock().unwrap()[&target]["valid"] == json!(false) && told_now(round)).await;
    assert!(server.count() - before <= 2);
    delivering.stop(Duration::from_secs(5)).await;
    // A restart within the day tells nothing again.
    let before = server.count();
    let delivering = delivery.start();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(server.count(), before);
    // The next day tells all again; a new epoch, too, under new codes.
    world.now.store(NOW + 86_400_000, Ordering::SeqCst);
    until("the next day is told", || told_now(round + 1)).await;
    assert_eq!(told.lock().unwrap().len(), 50);
    world.custody.rotate(Timestamp(NOW)).unwrap();
    until("the new epoch is told", || told_now((1 << 32) + round + 1)).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(told.lock().unwrap().len(), 100);
    for number in 0..50 {
        // In the epoch that was not there when the token was kept.
        let code = world.custody.vault.token_codes(&token("NL-ABC", number)).uid;
        assert!(
            world.custody.vault.token_of_code(code.as_str(), &Recipients::default()).unwrap().is_some()
                && world.custody.keys.epoch_of(&code).unwrap().0 == 1
        );
    }
    for asked in server.asked() {
        let raw = String::from_utf8_lossy(&asked.raw).to_ascii_uppercase();
        for original in (0..50).flat_map(originals) {
            assert!(!raw.contains(&original), "{original} in {}", asked.target);
        }
        if asked.method == "PUT" {
            let routing = ["ocpi-from-country-code", "ocpi-from-party-id", "ocpi-to-country-code", "ocpi-to-party-id"];
            assert_eq!(routing.map(|name| asked.headers[name].as_str()), ["NL", "ABC", "NL", "CPO"]);
        }
    }
    // One disclosure for each token and epoch, however often it was told.
    assert_eq!(world.disclosed("csms").len(), 100);
    let log = world.custody.store().disclosures(None, 0).unwrap();
    assert!(log.iter().all(|row| row.purpose == "charge" && row.subject.is_some()));
    assert_eq!(log[0].fields.split(' ').collect::<HashSet<_>>().len(), 11);
}

#[tokio::test]
async fn tokens_are_pulled_page_by_page_and_on_the_same_origin_only() {
    let world = World::new();
    let evil = Server::start(|_, _| Say::ocpi(200, 1000, json!([]))).await;
    let elsewhere = format!("{}/tokens?page=2", evil.url);
    let lured: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let server = Server::start(move |_, asked| {
        let query: HashMap<_, _> = asked.target.split_once('?').unwrap().1.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let offset: usize = query["offset"].parse().unwrap();
        let mut page: Vec<Value> = (offset..(offset + 10).min(25)).map(|number| token_object("NL-ABD", number)).collect();
        if query.contains_key("date_from") {
            page.clear();
        }
        if offset == 10 {
            page.push(json!({"uid": 5}));
            page.push(json!("nonsense"));
            page.push(token_object("NL-XXX", 999));
        }
        let here = format!("http://{}/tokens", asked.headers["host"]);
        let next = if lured.load(Ordering::SeqCst) { elsewhere.clone() } else { format!("{here}?offset={}&limit=10", offset + 10) };
        let say = Say::ocpi(200, 1000, Value::Array(page)).with("x-total-count", "25").with("x-limit", "10");
        match offset {
            _ if query.contains_key("date_from") && !lured.load(Ordering::SeqCst) => say.with("x-total-count", "0"),
            0 | 10 => say.with("link", format!("<{next}>; rel=\"next\"")),
            _ => say,
        }
    })
    .await;
    let (recipient, mut peer) = emsp("NL-ABD", &server.url);
    peer.endpoints = vec![Endpoint { module: "tokens".into(), role: "SENDER".into(), url: format!("{}/tokens", server.url) }];
    let delivering = world.start(&[(recipient, peer)]);
    let mark = || world.custody.store().mark("tokens NL-ABD").unwrap();
    until("the pull ends", || mark() > 0).await;
    assert_eq!(world.custody.store().sizes().unwrap().tokens, 25);
    let newest = sluis::ocpi::token::moment("2026-11-23T10:24:00Z").unwrap();
    assert_eq!(mark(), newest.0 as u64);
    let there = world.custody.vault.token(&party("NL-ABD"), &Sensitive::new("04:A2:B3:C4:D5:00:24".into()), None).unwrap().unwrap();
    assert_eq!(there.updated, newest);
    until("it goes on from there", || server.asked().last().unwrap().target.contains("date_from=2026-11-23T10%3A24%3A00Z")).await;
    lured.store(true, Ordering::SeqCst);
    world.doorbell.parties();
    let garbage = "sluis_token_pulls_total{recipient=\"NL-ABD\",outcome=\"garbage\"}";
    until("a page elsewhere is not fetched", || metric(garbage) > Some(0.0)).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(evil.count(), 0);
    assert!(metric("sluis_tokens_pulled_total{recipient=\"NL-ABD\",outcome=\"skipped\"}") >= Some(3.0));
}

/// Tokens that an e-MSP offers in the order of their last change. One is updated after the first page of the first pull: all behind it move up,
/// and the first of the second page is on none.
async fn offers_and_updates_between_pages(world: &World, owner: &'static str, at: &'static str, counts: bool) -> (Server, Delivering) {
    let tokens: &'static Mutex<Vec<Value>> = Box::leak(Box::new(Mutex::new((0..25).map(|n| token_object(owner, n)).collect())));
    let server = Server::start(move |n, asked| {
        let query: HashMap<_, _> = asked.target.split_once('?').unwrap().1.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let offset: usize = query["offset"].parse().unwrap();
        let from = query.get("date_from").map(|from| from.replace("%3A", ":")).unwrap_or_default();
        let mut tokens = tokens.lock().unwrap();
        let found: Vec<Value> = tokens.iter().filter(|token| token["last_updated"].as_str().unwrap() >= from.as_str()).cloned().collect();
        if n == 0 {
            let mut updated = tokens.remove(0);
            updated["last_updated"] = json!(at);
            updated["valid"] = json!(false);
            tokens.push(updated);
        }
        let say = Say::ocpi(200, 1000, Value::Array(found.iter().skip(offset).take(10).cloned().collect()));
        let say = if counts { say.with("x-total-count", found.len().to_string()) } else { say };
        let next = format!("<http://{}/tokens?offset={}&limit=10&date_from={from}>; rel=\"next\"", asked.headers["host"], offset + 10);
        if offset + 10 < found.len() { say.with("link", next) } else { say }
    })
    .await;
    let (recipient, mut peer) = emsp(owner, &server.url);
    peer.endpoints = vec![Endpoint { module: "tokens".into(), role: "SENDER".into(), url: format!("{}/tokens", server.url) }];
    (server, world.start(&[(recipient, peer)]))
}

#[tokio::test]
async fn a_token_that_was_skipped_between_two_pages_is_found_again_soon() {
    let world = World::new();
    let (_server, delivering) = offers_and_updates_between_pages(&world, "NL-ABV", "2026-11-24T20:00:00Z", true).await;
    until("all are there", || world.custody.store().sizes().unwrap().tokens == 25).await;
    until("and the mark moves", || world.custody.store().mark("tokens NL-ABV").unwrap() == NOW as u64).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(metric("sluis_token_pulls_total{recipient=\"NL-ABV\",outcome=\"unquiet\"}"), Some(1.0));
}

/// Its clock is hours behind and it counts nothing: no pull can tell.
#[tokio::test]
async fn a_skipped_token_of_which_nothing_tells_is_found_within_a_day() {
    let world = World::new();
    let (server, delivering) = offers_and_updates_between_pages(&world, "NL-ABW", "2026-11-24T04:00:00Z", false).await;
    until("later pulls ask for what changed", || server.count() > 6).await;
    assert_eq!(world.custody.store().sizes().unwrap().tokens, 24);
    world.now.store(NOW + 86_400_000 - 1, Ordering::SeqCst);
    let before = server.count();
    until("it is not time yet", || server.count() > before + 2).await;
    assert_eq!(world.custody.store().sizes().unwrap().tokens, 24);
    world.now.store(NOW + 86_400_000, Ordering::SeqCst);
    until("all are pulled", || world.custody.store().sizes().unwrap().tokens == 25).await;
    delivering.stop(Duration::from_secs(5)).await;
}

/// What an e-MSP writes freely may name its customer, and what it writes finely is a name: neither goes to the central system.
#[tokio::test]
async fn the_central_system_is_told_no_free_text_and_no_fine_times() {
    let mut object = token_object("NL-ABC", 1);
    (object["issuer"], object["last_updated"]) = (json!("J. Jansen, 04A2B3C4D50001"), json!("2026-11-24T10:00:00.123456789+01:00"));
    let token = EmspToken::from_object(party("NL-ABC"), Ocpi::V221, &object).unwrap();
    let world = World::new();
    let codes = world.custody.vault.token_codes(&token);
    for version in Ocpi::ALL {
        let told = token.coded(version, &codes);
        assert_eq!((&told["issuer"], &told["last_updated"]), (&json!("NL-ABC"), &json!("2026-11-24T09:00:00Z")));
        let back = token.to_object(version);
        assert_eq!((&back["issuer"], &back["last_updated"]), (&object["issuer"], &object["last_updated"]), "its owner reads what it wrote");
    }
}

#[tokio::test]
async fn the_central_system_is_told_of_no_disputed_token_and_of_none_without_an_agreement() {
    let world = World::new();
    let (server, told) = csms(|_, asked| (asked.headers["authorization"] != format!("Token {CREDENTIAL}")).then(|| Say::status(401))).await;
    let vault = &world.custody.vault;
    let nowhere = "http://127.0.0.1:1";
    let mut ended = emsp("NL-ABS", nowhere);
    ended.0.valid = [None, Some("2026-11-23".into())];
    let parties = [emsp("NL-ABR", nowhere), emsp("NL-ABT", nowhere), ended];
    let contract = |owner: &str| EmspToken { uid: Sensitive::new("NL-ABT-C12345678".into()), ..token(owner, 8) };
    for token in [token("NL-ABR", 1), token("NL-ABT", 2), token("NL-ABR", 2), token("NL-ABS", 3), token("NL-ABU", 4), contract("NL-ABR")] {
        vault.keep_token(&token).await.unwrap();
    }
    let delivering = world.delivery(&parties, Some(&format!("{}/versions", server.url))).start();
    let round = NOW as u64 / 86_400_000;
    until("all are worked off", || world.custody.store().tokens_due(round, 1000).unwrap().is_empty()).await;
    delivering.stop(Duration::from_secs(5)).await;
    let code = vault.token_codes(&token("NL-ABR", 1)).uid;
    assert_eq!(told.lock().unwrap().keys().collect::<Vec<_>>(), [&format!("/2.2.1/tokens/NL/ABR/{code}?type=RFID")]);
    assert_eq!(world.disclosed("csms").len(), 1);
}

/// An erasure that left the e-MSP's token would be undone by the next day's round: its codes would be recorded anew.
#[tokio::test]
async fn what_was_erased_is_told_to_nobody_and_no_resync_brings_it_back() {
    let world = World::new();
    let (server, told) = csms(|_, asked| (asked.headers["authorization"] != format!("Token {CREDENTIAL}")).then(|| Say::status(401))).await;
    let vault = &world.custody.vault;
    let (gone, other, colleague) = (token("NL-ABO", 1), token("NL-ABO", 9), token("NL-ABO", 4));
    let fellow = EmspToken { contract: gone.uid.clone(), ..token("DE-ABP", 20) };
    for token in [&gone, &EmspToken { kind: "APP_USER".into(), ..gone.clone() }, &other, &colleague, &fellow] {
        vault.keep_token(token).await.unwrap();
    }
    let codes = vault.token_codes(&gone);
    let at = Timestamp(NOW - 500);
    for code in [codes.uid, vault.token_codes(&other).uid] {
        vault.keep_reference(code.as_str(), &party("NL-ABO"), "r-1", at).await.unwrap();
        vault.keep_reference(code.as_str(), &party("NL-ABO"), "r-0", Timestamp(NOW - 86_400_000)).await.unwrap();
    }
    let erase =
        |text: &Sensitive<String>| vault.erase(&Identifier::from_wire(text.expose(), Declared::Undeclared), Timestamp(NOW)).unwrap();
    assert_eq!(erase(&gone.uid), 1 + 3, "the record, both tokens of the card, and one that has it for its contract");
    assert_eq!(erase(&colleague.contract), 1 + 1, "by the contract too");
    assert_eq!(world.custody.store().sizes().unwrap().tokens, 1);
    let names = world.custody.store().secret_names("").unwrap();
    assert!(names.iter().all(|name| !name.contains(codes.uid.as_str())), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("authref ")).count(), 2, "another's stay");

    // Its owner says the same again, by push and by pull; and a day later the central system is told of all.
    assert_eq!(vault.keep_token(&gone).await.unwrap_err(), VaultError::Erased);
    assert_eq!(vault.keep_token(&colleague).await.unwrap_err(), VaultError::Erased);
    let pulled = Server::start(|_, _| {
        Say::ocpi(200, 1000, json!([token_object("NL-ABO", 1), token_object("NL-ABO", 4), token_object("NL-ABO", 9)]))
    })
    .await;
    let (recipient, mut peer) = emsp("NL-ABO", &pulled.url);
    peer.endpoints = vec![Endpoint { module: "tokens".into(), role: "SENDER".into(), url: format!("{}/tokens", pulled.url) }];
    let delivering = world.delivery(&[(recipient, peer)], Some(&format!("{}/versions", server.url))).start();
    until("the pull ends", || world.custody.store().mark("tokens NL-ABO").unwrap() > 0).await;
    until("the other is told", || told.lock().unwrap().len() == 1).await;
    world.now.store(NOW + 86_400_000, Ordering::SeqCst);
    let round = NOW as u64 / 86_400_000 + 1;
    until("the next day is told", || world.custody.store().tokens_due(round, 1000).unwrap().is_empty()).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert!(told.lock().unwrap().keys().all(|target| target.contains(vault.token_codes(&other).uid.as_str())));
    assert_eq!(world.custody.store().sizes().unwrap().tokens, 1);
    for code in [codes.uid, vault.token_codes(&colleague).contract] {
        assert!(world.custody.store().vault_row(&code).unwrap().is_none());
        assert!(vault.token_of_code(code.as_str(), &Recipients::default()).unwrap().is_none() && vault.subject(code.as_str()).is_none());
    }
    assert_eq!(vault.reference(codes.uid.as_str(), &party("NL-ABO"), Timestamp(NOW)).unwrap(), None);
    // An e-MSP that never had it is told nothing by what becomes of a guess.
    let guess = EmspToken { owner: party("DE-ABP"), ..colleague.clone() };
    assert!(vault.keep_token(&guess).await.is_ok() && vault.token(&guess.owner, &guess.uid, None).unwrap().is_some());
    // What its owner says of it later is another word.
    let later = EmspToken { updated: Timestamp(NOW + 1), ..gone };
    vault.keep_token(&later).await.unwrap();
}

/// A code of a code would restore to a code, and is nobody's card.
#[tokio::test]
async fn a_pulled_token_that_is_a_code_of_ours_is_skipped() {
    let world = World::new();
    let code = world.custody.vault.token_codes(&token("NL-ABQ", 1)).uid.to_string();
    let mut object = token_object("NL-ABQ", 2);
    object["uid"] = json!(code);
    let server = Server::start(move |_, _| Say::ocpi(200, 1000, json!([object, token_object("NL-ABQ", 3)]))).await;
    let (recipient, mut peer) = emsp("NL-ABQ", &server.url);
    peer.endpoints = vec![Endpoint { module: "tokens".into(), role: "SENDER".into(), url: format!("{}/tokens", server.url) }];
    let delivering = world.start(&[(recipient, peer)]);
    until("the pull ends", || world.custody.store().mark("tokens NL-ABQ").unwrap() > 0).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(world.custody.store().sizes().unwrap().tokens, 1);
}

#[tokio::test]
async fn a_change_while_a_token_is_being_told_is_told_too() {
    let world = World::new();
    let vault = &world.custody.vault;
    let first = token("NL-ABM", 1);
    vault.keep_token(&first).await.unwrap();
    let (read, _) = vault.tokens_due(5, 10).unwrap().remove(0);
    vault.keep_token(&EmspToken { valid: false, ..first }).await.unwrap();
    let store = world.custody.store();
    store.commit(vec![Op::TokenTold { token: read, round: 5 }]).await.unwrap();
    let (changed, token) = vault.tokens_due(5, 10).unwrap().remove(0);
    assert!(!token.unwrap().valid);
    store.commit(vec![Op::TokenTold { token: changed, round: 5 }]).await.unwrap();
    assert_eq!((vault.tokens_due(5, 10).unwrap().len(), vault.tokens_due(6, 10).unwrap().len()), (0, 1));
}

#[tokio::test]
async fn a_token_from_the_future_hides_no_change() {
    let world = World::new();
    let server = Server::start(|_, _| {
        let mut object = token_object("NL-ABN", 1);
        object["last_updated"] = json!("2099-01-01T00:00:00Z");
        Say::ocpi(200, 1000, json!([object]))
    })
    .await;
    let (recipient, mut peer) = emsp("NL-ABN", &server.url);
    peer.endpoints = vec![Endpoint { module: "tokens".into(), role: "SENDER".into(), url: format!("{}/tokens", server.url) }];
    let delivering = world.start(&[(recipient, peer)]);
    let mark = || world.custody.store().mark("tokens NL-ABN").unwrap();
    until("the pull ends", || mark() > 0).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(mark(), NOW as u64);
}

#[tokio::test]
async fn an_owner_is_asked_with_its_own_identifier_and_nobody_else_is() {
    let world = World::new();
    let server = Server::start(|n, _| match n {
        0 => Say::ocpi(200, 1000, json!({"allowed": "ALLOWED", "authorization_reference": "ref-1", "info": {"text": "J. Jansen"}})),
        1 => Say::ocpi(404, 2004, Value::Null),
        _ => Say::status(500),
    })
    .await;
    let with_tokens = |name: &str| {
        let (recipient, mut peer) = emsp(name, &server.url);
        peer.endpoints = vec![Endpoint { module: "tokens".into(), role: "SENDER".into(), url: format!("{}/tokens", server.url) }];
        (recipient, peer)
    };
    let mut ended = with_tokens("NL-ABF");
    ended.0.valid = [None, Some("2026-11-23".into())];
    let delivery = world.delivery(&[with_tokens("NL-ABE"), ended], None);
    let mine = token("NL-ABE", 1);
    let location = json!({"location_id": "LOC1", "evse_uids": ["1"]});
    let said = delivery.authorize(&mine, Some(&location)).await.unwrap();
    assert_eq!((said.allowed, said.reference.as_deref()), ("ALLOWED", Some("ref-1")));
    assert_eq!(delivery.authorize(&mine, None).await, Err(Trouble::Ocpi(2004)));
    assert_eq!(delivery.authorize(&mine, None).await, Err(Trouble::Http(500)));
    assert_eq!(delivery.authorize(&token("NL-ABF", 2), None).await, Err(Trouble::NoWay), "its agreement has ended");
    assert_eq!(delivery.authorize(&token("NL-ABG", 3), None).await, Err(Trouble::NoWay), "nobody knows it");
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].method.as_str()), (3, "POST"));
    assert_eq!(asked[0].target, "/tokens/04A2B3C4D50001/authorize?type=RFID");
    assert_eq!((serde_json::from_str::<Value>(&asked[0].body).unwrap(), asked[1].body.as_str()), (location, ""));
    let log = world.custody.store().disclosures(None, 0).unwrap();
    assert_eq!(log.len(), 3);
    assert_eq!(
        (log[0].recipient.as_str(), log[0].purpose.as_str(), log[0].fields.as_str()),
        ("NL-ABE", "charge", "uid evse_uids location_id")
    );
    assert!(log.iter().all(|row| row.subject == world.custody.vault.subject(world.custody.vault.token_codes(&mine).uid.as_str())));
}

/// The whole gateway, from a configuration file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_delivers_what_its_configuration_says() {
    let (books, server) = books_of(|_, asked, books| {
        if asked.method == "GET" {
            return Say::ocpi(200, 1000, json!([token_object("NL-ABK", 1)]));
        }
        books.accept(asked)
    })
    .await;
    let (csms_server, told) = csms(|_, _| None).await;
    let world = World::new();
    let ids = world.queue("NL-ABK", 0..3).await;
    let dir = world.dir.path();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        dir.join(name).display().to_string()
    };
    let theirs = file("theirs.token", "credentials-token-4711\n");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndata_dir = {dir:?}\n[upstream]\nurl = \"ws://127.0.0.1:1\"\n\
         [cpo]\nparty = \"NL-CPO\"\n[ocpi]\nlisten = \"127.0.0.1:0\"\ncsms_url = \"{0}/versions\"\ncsms_token_file = {theirs:?}\n\
         [[emsp]]\nparty = \"NL-ABK\"\nagreement = \"1\"\ncdrs_url = \"{1}/cdrs\"\ntokens_url = \"{1}/tokens\"\n\
         their_token_file = {theirs:?}\ntoken_form = \"raw\"\n",
        csms_server.url, server.url
    );
    let flags = Flags { config: Some(file("sluis.toml", &text).into()), values: Vec::new() };
    let config = Config::read(&flags, &|_| None).unwrap();
    let mut broken = config.clone();
    broken.emsps[0].their_token_file = Some(dir.join("absent"));
    let Err(StartError::Config(mistakes)) = Serving::start(&broken).await else { panic!("it started without a token") };
    assert_eq!(mistakes, ["emsp[0].their_token_file: does not exist"]);
    let serving = Serving::start(&config).await.unwrap();
    until("the CDRs arrive", || world.in_state(CdrState::Delivered, "NL-ABK") == 3).await;
    until("the token is told", || told.lock().unwrap().len() == 1).await;
    serving.stop().await;
    assert_eq!(books.accepted(), ids);
    assert!(server.asked().iter().all(|asked| asked.headers["authorization"] == "Token credentials-token-4711"));
}

#[tokio::test]
async fn what_goes_wrong_is_told_in_words_of_ours() {
    let server = Server::start(|n, _| match n {
        0 => Say::Http(200, Vec::new(), b"secret 4711".to_vec()),
        1 => Say::ocpi(400, 2001, json!("secret 4711")),
        2 => Say::status(418),
        3 => Say::Http(200, Vec::new(), vec![b'4'; 2 << 20]),
        4 => Say::Http(200, vec![("x-huge", "4711".repeat(40_000))], Vec::new()),
        5 => Say::status(302).with("location", "https://elsewhere.example/4711"),
        _ => Say::Reset,
    })
    .await;
    let client = client(Bounds::default());
    let token = Sensitive::new(CREDENTIAL.to_owned());
    let pass = Pass { token: &token, raw: false, version: Ocpi::V221, from: None, to: None };
    let url = joined(&server.url, &["04A2B3C4711"]);
    let mut troubles = Vec::new();
    for _ in 0..7 {
        troubles.push(client.get(&url, &pass).await.unwrap_err());
    }
    let expected = [
        Trouble::Garbage,
        Trouble::Ocpi(2001),
        Trouble::Http(418),
        Trouble::TooLarge,
        Trouble::Unreachable,
        Trouble::Http(302),
        Trouble::Unreachable,
    ];
    assert_eq!(troubles, expected);
    for trouble in troubles {
        assert!(!format!("{trouble} {trouble:?} {}", trouble.code()).contains("4711"));
    }
    for url in ["http://emsp.example/x", "ftp://127.0.0.1/", "nonsense", "https://u@127.0.0.1/"] {
        assert_eq!(client.get(url, &pass).await.unwrap_err(), Trouble::Address, "{url}");
    }
    assert!(!server.asked()[0].headers.contains_key("ocpi-from-party-id"), "modules that are not routed carry no parties");
}
