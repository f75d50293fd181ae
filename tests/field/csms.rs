//! What a central system may do instead of agreeing: the station gets a defined answer, and soon.

use crate::wire::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

fn accepts(head: &Head) -> String {
    let accept = derive_accept_key(head.value("Sec-WebSocket-Key").unwrap().as_bytes());
    format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n")
}

#[tokio::test]
async fn a_csms_that_says_no_or_nonsense() {
    let turn = Arc::new(AtomicUsize::new(0));
    let sized = |head: &Head, size: usize| {
        let bare = accepts(head).len() + "X: \r\n\r\n".len();
        format!("{}X: {}\r\n\r\n", accepts(head), "x".repeat(size - bare)).into_bytes()
    };
    type Says = fn(&Head) -> String;
    let answers: Vec<(u16, Says)> = vec![
        (400, |_| "HTTP/1.1 400 Bad\r\n\r\n".into()),
        (401, |_| "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n".into()),
        (403, |_| "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody".into()),
        (404, |_| "HTTP/1.0 404 Not Found\r\n\r\n<html>".into()),
        (429, |_| "HTTP/1.1 429 Slow\r\n\r\n".into()),
        (503, |_| "HTTP/1.1 503\r\n\r\n".into()),
        (502, |_| "HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.example/4711\r\n\r\n".into()),
        (502, |_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into()),
        (502, |_| "HTTP/1.1 100 Continue\r\n\r\n".into()),
        (502, |_| "SSH-2.0-OpenSSH_9.6\r\n\r\n".into()),
        (502, |_| "HTTP/1.1 101 Swi".into()),
        (502, |_| "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: d3Jvbmc=\r\n\r\n".into()),
        (502, |head| accepts(head).replace("Connection: Upgrade", "Connection: close") + "\r\n"),
        (502, |head| accepts(head) + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
    ];
    let wanted: Vec<u16> = answers.iter().map(|(status, _)| *status).chain([101, 502]).collect();
    let many = answers.len();
    let theirs = Arc::clone(&turn);
    let world = World::with(&[], move |_, head| {
        let n = theirs.load(Ordering::SeqCst);
        Answer::Say(match n.checked_sub(many) {
            None => answers[n].1(head).into_bytes(),
            // As long as an answer may be, and one byte more.
            Some(over) => sized(head, 16 * 1024 + over),
        })
    })
    .await;
    for (n, status) in wanted.into_iter().enumerate() {
        turn.store(n, Ordering::SeqCst);
        let head = world.station(&format!("CS-{n}")).await.head;
        assert_eq!(head.status(), status, "answer {n}");
        assert!(!head.text().contains("4711"), "nothing of what it said is passed on");
        assert_eq!(head.value("Retry-After").is_some(), matches!(status, 429 | 502 | 503), "answer {n}");
    }
    assert!(refused("csms_refused") >= 6.0 && refused("csms_nonsense") >= 9.0);
    world.gateway.stop().await;
}

#[tokio::test]
async fn a_csms_that_answers_byte_by_byte() {
    let world = World::with(&[], |_, head| Answer::Drip(head.value("Sec-WebSocket-Protocol"))).await;
    world.talking("CS-1").await.works().await;
    world.gateway.stop().await;
}

#[tokio::test]
async fn a_csms_that_accepts_and_never_answers() {
    let world = World::with(&[("upstream.timeout_seconds", "1")], |_, _| Answer::Silence).await;
    let start = tokio::time::Instant::now();
    let station = world.station("CS-1").await;
    assert_eq!(station.head.status(), 503);
    assert!(station.head.value("Retry-After").is_some());
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&start.elapsed()));
    world.gateway.stop().await;
}

#[tokio::test]
async fn a_csms_whose_name_leads_nowhere() {
    let world = World::open(&[("upstream.url", "ws://csms.invalid/x"), ("allow_plaintext", "true")]).await;
    let before = refused("csms_unresolved");
    let station = world.station("CS-1").await;
    assert_eq!(station.head.status(), 503);
    assert!(station.head.value("Retry-After").is_some() && refused("csms_unresolved") >= before + 1.0);
    world.gateway.stop().await;
}

#[tokio::test]
async fn a_csms_by_its_name() {
    let csms = Csms::start(|_, head| first(head)).await;
    let url = format!("ws://localhost:{}/csms", csms.address.port());
    let world = World::beneath(csms, &[("upstream.url", &url)]).await;
    for id in ["CS-1", "CS-2"] {
        world.talking(id).await.works().await;
    }
    assert!(world.csms.heads()[0].value("Host").unwrap().starts_with("localhost:"));
    world.gateway.stop().await;
}
