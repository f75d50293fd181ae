//! 5. Storms of stations, a central system that is away, and stopping.

use crate::wire::*;
use sluis::gateway::Broken;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_05_storm_of_stations_is_served_or_told_when_to_come_again() {
    let world = World::open(&[("limits.accepts_per_second", "100"), ("limits.accept_burst", "50")]).await;
    let world = Arc::new(world);
    let running = world.talking("CS-0").await;
    let mut storm = tokio::task::JoinSet::new();
    for n in 1..=300 {
        let world = Arc::clone(&world);
        storm.spawn(async move { (world.station(&format!("CS-{n}")).await, n) });
    }
    let mut waits = HashSet::new();
    let (mut served, mut refused) = (Vec::new(), 0);
    while let Some(done) = storm.join_next().await {
        let (station, n) = done.unwrap();
        match station.head.status() {
            101 => served.push(station),
            503 => {
                waits.insert(station.head.value("Retry-After").unwrap());
                refused += 1;
            }
            // More than can be told at a time are closed without a word.
            0 => refused += 1,
            other => panic!("station {n} got {other}"),
        }
    }
    running.works().await;
    assert!(served.len() >= 49 && refused > 0, "{} served, {refused} refused", served.len());
    assert!(waits.len() > 3, "they are not all told the same: {waits:?}");
    assert_eq!(world.gateway.gateway.live(), served.len() + 1);
    Arc::into_inner(world).unwrap().gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_05_storm_does_not_hammer_a_dead_csms_and_is_served_soon_after_it_is_back() {
    let up = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&up);
    let world = World::with(
        &[("limits.dials", "10")],
        move |_, head| {
            if theirs.load(Ordering::SeqCst) { first(head) } else { Answer::Say(Vec::new()) }
        },
    )
    .await;
    let world = Arc::new(world);
    let mut storm = tokio::task::JoinSet::new();
    for n in 0..300 {
        let world = Arc::clone(&world);
        storm.spawn(async move { world.station(&format!("CS-{n}")).await });
    }
    while let Some(station) = storm.join_next().await {
        let head = station.unwrap().head;
        assert_eq!(head.status(), 503);
        assert!(head.value("Retry-After").is_some());
    }
    let tried = world.csms.heads().len();
    assert!((5..40).contains(&tried), "300 stations dialled {tried} times");
    assert!(refused("csms_resting") > 0.0 && refused("csms_unreachable") > 0.0);
    up.store(true, Ordering::SeqCst);
    let back = Instant::now();
    while world.station("CS-1").await.head.status() != 101 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(back.elapsed() < Duration::from_secs(6), "it took {:?}", back.elapsed());
    assert_eq!(world.station("CS-2").await.head.status(), 101, "and now for everybody");
    Arc::into_inner(world).unwrap().gateway.stop().await;
}

#[tokio::test]
async fn field_05_storm_after_a_stop_is_spread() {
    let World { csms, gateway, dir: _dir } = World::open(&[("stations.drain_seconds", "10")]).await;
    let door = gateway.listen;
    let mut stations = Vec::new();
    for n in 0..20 {
        let bytes = request(&format!("/CS-{n}"), &["Sec-WebSocket-Protocol: ocpp1.6"]);
        stations.push(Station::knock(door, &bytes).await.talk().await);
    }
    let start = Instant::now();
    let stopping = tokio::spawn(gateway.stop());
    until("the first is told to go", || stations.iter().any(|s| s.closed().is_some())).await;
    assert!(TcpStream::connect(door).await.is_err(), "nobody is let in any more");
    let first = Instant::now();
    until("all are told to go", || stations.iter().all(|s| s.closed().is_some())).await;
    assert!(first.elapsed() > Duration::from_millis(19 * 20 / 2), "all went within {:?}", first.elapsed());
    assert!(stations.iter().all(|s| s.closed() == Some(1001)));
    stopping.await.unwrap();
    assert!((0..20).all(|n| csms.closed(n) == Some(1001)));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn field_05_storm_or_not_a_stop_waits_for_what_is_outstanding() {
    let World { csms, gateway, dir: _dir } = World::open(&[("stations.drain_seconds", "10")]).await;
    let knock = async |id: &str| Station::knock(gateway.listen, &request(id, &["Sec-WebSocket-Protocol: ocpp1.6"])).await.talk().await;
    let waiting = TcpStream::connect(gateway.listen).await.unwrap();
    let (asking, hanging, idle) = (knock("/CS-0").await, knock("/CS-1").await, knock("/CS-2").await);
    let start =
        r#"[2,"t","StartTransaction",{"connectorId":1,"idTag":"04A2B3C4D5E6F7","meterStart":0,"timestamp":"2026-11-24T10:00:00Z"}]"#;
    asking.send(start);
    hanging.send(start);
    until("both are asked", || csms.texts().len() == 2).await;
    let begin = Instant::now();
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(Station::answered(waiting).await.head.status(), 503, "who has not said what it wants is told that it is too late");
    until("the idle one goes at once", || idle.closed() == Some(1001)).await;
    assert_eq!((asking.closed(), hanging.closed()), (None, None));
    csms.send(0, r#"[3,"t",{"transactionId":7,"idTagInfo":{"status":"Accepted"}}]"#);
    until("the other one goes when it has its answer", || asking.closed() == Some(1001)).await;
    assert!(asking.heard().iter().any(|text| text.contains(r#""transactionId":7"#)), "{:?}", asking.heard());
    assert_eq!(hanging.closed(), None);
    until("the last one does not wait for ever", || hanging.closed() == Some(1001)).await;
    assert!(begin.elapsed() >= Duration::from_secs(2));
    stopping.await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_door_that_breaks_is_seen_on_readyz_and_ends_what_stands() {
    let world = World::open(&[]).await;
    let station = world.talking("CS-1").await;
    let gateway = Arc::clone(&world.gateway.gateway);
    let door = gateway.door(TcpListener::bind("127.0.0.1:0").await.unwrap(), false).unwrap();
    let broke = gateway.serve(door, async { panic!("a mistake in accepting, made for a test") }).await;
    assert_eq!(broke, Err(Broken));
    let mut page = TcpStream::connect(world.gateway.admin).await.unwrap();
    page.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    page.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    until("the station is told to go elsewhere", || station.closed() == Some(1001)).await;
    world.gateway.stop().await;
}
