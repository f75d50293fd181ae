//! A frame on its usual way asks the allocator for nothing: what it needs was there for the frame before. Counted, not looked at.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

mod common;

use allocation_counter::measure;
use common::{Lock, keyring, strict};
use sluis::clock::Timestamp;
use sluis::config::{Config, Flags};
use sluis::ocpp::{Side, Version};
use sluis::serve::Serving;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, accept_hdr, client};

/// CALLs without an identifier, with the central system's answer. The reading is one that is thinned, so it is answered here.
const USUAL: [(Version, &str, Option<&str>); 5] = [
    (Version::V16, r#"[2,"12345","Heartbeat",{}]"#, Some(r#"[3,"12345",{"currentTime":"2026-11-24T10:15:00Z"}]"#)),
    (
        Version::V16,
        r#"[2,"12345","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Charging","info":"all is well","timestamp":"2026-11-24T10:15:00Z"}]"#,
        Some(r#"[3,"12345",{}]"#),
    ),
    (
        Version::V16,
        r#"[2,"12345","MeterValues",{"connectorId":1,"transactionId":42,"meterValue":[{"timestamp":"2026-11-24T10:15:00Z","sampledValue":[{"value":"15.9","measurand":"Current.Import","unit":"A"},{"value":"63","measurand":"SoC","unit":"Percent"}]}]}]"#,
        None,
    ),
    (Version::V201, r#"[2,"12345","Heartbeat",{}]"#, Some(r#"[3,"12345",{"currentTime":"2026-11-24T10:15:00Z"}]"#)),
    (
        Version::V201,
        r#"[2,"12345","StatusNotification",{"timestamp":"2026-11-24T10:15:00Z","connectorStatus":"Occupied","evseId":1,"connectorId":1}]"#,
        Some(r#"[3,"12345",{}]"#),
    ),
];

#[test]
fn a_usual_frame_is_treated_without_an_allocation() {
    for (version, call, answer) in USUAL {
        let mut lock = Lock::with(version, strict(), Arc::new(keyring(&[0], 0)));
        let mut exchange = || {
            let up = lock.session.on_text(Side::Station, call, Timestamp(0), &lock.vault);
            assert_eq!(up.send[0].0 == Side::Csms, answer.is_some(), "{call}");
            drop(up);
            let down = answer.map(|answer| lock.session.on_text(Side::Csms, answer, Timestamp(0), &lock.vault));
            assert!(down.is_none_or(|step| step.send.len() == 1));
        };
        // The first ones make the room.
        (0..10).for_each(|_| exchange());
        let counted = measure(|| (0..100).for_each(|_| exchange()));
        assert_eq!(counted.count_total, 0, "{} bytes in 100 exchanges of {call}", counted.bytes_total);
    }
}

/// The count sees what it should: a frame that is kept is an allocation.
#[test]
fn a_frame_that_is_kept_is_counted() {
    let mut lock = Lock::with(Version::V16, strict(), Arc::new(keyring(&[0], 0)));
    let mut exchange = || {
        let step = lock.session.on_text(Side::Station, USUAL[0].1, Timestamp(0), &lock.vault);
        drop(lock.session.on_text(Side::Csms, USUAL[0].2.unwrap(), Timestamp(0), &lock.vault));
        step
    };
    (0..10).for_each(|_| drop(exchange()));
    let mut kept = Vec::with_capacity(100);
    let counted = measure(|| (0..100).for_each(|_| kept.push(exchange())));
    assert!(counted.count_total >= 80, "{}", counted.count_total);
}

/// The central system: answers every heartbeat, for as long as it is asked.
fn csms(listener: &TcpListener) {
    let (socket, _) = listener.accept().unwrap();
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("Sec-WebSocket-Protocol", "ocpp1.6".parse().unwrap());
        Ok(response)
    };
    let mut socket = accept_hdr(socket, choose).unwrap();
    while let Ok(message) = socket.read() {
        if message.is_text() && socket.send(Message::text(USUAL[0].2.unwrap())).is_err() {
            return;
        }
    }
}

/// A station that exchanges as many heartbeats as it is told to, and says when they are done.
fn station(to: SocketAddr, orders: &mpsc::Receiver<(usize, oneshot::Sender<()>)>) {
    let mut request = format!("ws://{to}/CP-1").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "ocpp1.6".parse().unwrap());
    let (mut socket, _) = client(request, TcpStream::connect(to).unwrap()).unwrap();
    for (times, done) in orders {
        for _ in 0..times {
            socket.send(Message::text(USUAL[0].1)).unwrap();
            while !socket.read().unwrap().is_text() {}
        }
        done.send(()).unwrap();
    }
}

/// The same for the whole way through the gateway: read, unmask, treat, count, mask, write. What else the gateway's thread does meanwhile (it
/// looks after its store, its counters and its clocks) may allocate; that does not grow with the frames.
#[test]
fn a_usual_frame_crosses_the_gateway_without_an_allocation() {
    const EXCHANGES: usize = 2000;
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let values = vec![
        ("listen", "127.0.0.1:0".to_owned()),
        ("admin", "127.0.0.1:0".to_owned()),
        ("upstream.url", format!("ws://{}/csms", listener.local_addr().unwrap())),
        ("data_dir", data.path().join("data").display().to_string()),
    ];
    let config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
    // All of the gateway is on this thread, and nothing else is.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let serving = runtime.block_on(Serving::start(&config)).unwrap();
    let (orders, told) = mpsc::channel();
    let to = serving.listen;
    let threads = [std::thread::spawn(move || csms(&listener)), std::thread::spawn(move || station(to, &told))];
    let exchange = |times: usize| {
        let (done, all) = oneshot::channel();
        orders.send((times, done)).unwrap();
        runtime.block_on(all).unwrap();
    };
    exchange(100);
    let counted = measure(|| exchange(EXCHANGES));
    assert!(counted.count_total < EXCHANGES as u64 / 10, "{} allocations in {EXCHANGES} exchanges", counted.count_total);
    drop(orders);
    runtime.block_on(serving.stop());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
