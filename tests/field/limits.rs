//! Each limit, crossed by one. Connections that run go on in every case.

use crate::wire::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// A connection from another address of this machine.
async fn from(address: &str, door: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(door).await.unwrap()
}

async fn station_from(address: &str, door: SocketAddr, id: &str) -> Station {
    let mut socket = from(address, door).await;
    socket.write_all(&request(&format!("/{id}"), &["Sec-WebSocket-Protocol: ocpp1.6"])).await.unwrap();
    Station::answered(socket).await
}

fn is_busy(station: &Station) {
    assert_eq!(station.head.status(), 503, "{}", station.head.text());
    let wait: u64 = station.head.value("Retry-After").unwrap().parse().unwrap();
    assert!((5..=20).contains(&wait));
}

/// Regression: who was refused at once was told before it was counted, so that a look at the metrics right after found nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_is_counted_before_it_is_told() {
    let world = World::open(&[("stations.max_connections", "1")]).await;
    let before = refused("too_many_connections");
    let running = world.talking("CS-1").await;
    for n in 1..=200_u32 {
        is_busy(&world.station("CS-2").await);
        assert!(refused("too_many_connections") >= before + f64::from(n), "refusal {n}");
    }
    running.works().await;
    world.gateway.stop().await;
}

#[tokio::test]
async fn limit_of_connections() {
    let world = World::open(&[("stations.max_connections", "2")]).await;
    let before = refused("too_many_connections");
    let (first, second) = (world.talking("CS-1").await, world.talking("CS-2").await);
    is_busy(&world.station("CS-3").await);
    assert!(refused("too_many_connections") >= before + 1.0);
    first.works().await;
    drop(second);
    until("it is gone", || world.gateway.gateway.live() == 1).await;
    until("its place is free", || world.csms.book.open() == 1).await;
    let third = loop {
        let station = world.station("CS-3").await;
        if station.head.status() == 101 {
            break station.talk().await;
        }
    };
    third.works().await;
    first.works().await;
    world.gateway.stop().await;
}

#[tokio::test]
async fn limit_of_connections_from_one_network() {
    let bound = [("limits.connections_per_network", "2"), ("limits.unlimited_networks", "127.0.9.0/24")];
    let world = World::open(&bound).await;
    let door = world.door();
    let before = refused("too_many_from_network");
    let first = station_from("127.0.0.2", door, "CS-1").await.talk().await;
    let _second = station_from("127.0.0.3", door, "CS-2").await.talk().await;
    is_busy(&station_from("127.0.0.4", door, "CS-3").await);
    assert!(refused("too_many_from_network") >= before + 1.0);
    // Another network is counted by itself, and one that is a balancer's not at all.
    assert_eq!(station_from("127.0.1.2", door, "CS-4").await.head.status(), 101);
    let mut balanced = Vec::new();
    for n in 0..5 {
        balanced.push(station_from("127.0.9.1", door, &format!("CS-1{n}")).await);
    }
    assert!(balanced.iter().all(|station| station.head.status() == 101));
    first.works().await;
    world.gateway.stop().await;
}

#[tokio::test]
async fn limit_of_handshakes_at_a_time() {
    let world = World::open(&[("limits.handshakes", "8"), ("limits.unlimited_networks", "127.0.9.0/24")]).await;
    let door = world.door();
    let running = station_from("127.0.8.1", door, "CS-1").await.talk().await;
    let before = refused("too_many_handshakes");
    // A quarter for one network …
    let mut waiting = vec![from("127.0.0.2", door).await, from("127.0.0.3", door).await];
    is_busy(&station_from("127.0.0.4", door, "CS-2").await);
    // … and all for those without a bound.
    for _ in 0..6 {
        waiting.push(from("127.0.9.1", door).await);
    }
    is_busy(&station_from("127.0.9.1", door, "CS-3").await);
    assert!(refused("too_many_handshakes") >= before + 2.0);
    running.works().await;
    // One of them says what it wants, and there is room for another.
    waiting[2].write_all(&request("/CS-4", &[])).await.unwrap();
    assert_eq!(Station::answered(waiting.remove(2)).await.head.status(), 101);
    assert_eq!(station_from("127.0.9.1", door, "CS-3").await.head.status(), 101);
    world.gateway.stop().await;
}

#[tokio::test]
async fn limit_of_handshakes_of_a_station_in_a_minute() {
    let world = World::open(&[("limits.station_handshakes_per_minute", "3")]).await;
    for _ in 0..3 {
        assert_eq!(world.station("CS-1").await.head.status(), 101);
    }
    let running = world.talking("CS-2").await;
    let fourth = world.station("CS-1").await;
    assert_eq!(fourth.head.status(), 429);
    assert!(fourth.head.value("Retry-After").is_some());
    assert_eq!(world.csms.heads().len(), 4, "the CSMS is not asked");
    // Whoever uses up the allowance elsewhere uses up nobody's here.
    assert_eq!(station_from("127.0.7.1", world.door(), "CS-1").await.head.status(), 101);
    running.works().await;
    world.gateway.stop().await;
}

/// More than are refused in words at a time, all there before the first is looked at.
#[tokio::test]
async fn a_storm_that_is_refused_is_told_when_to_come_again() {
    use std::io::Write;
    let world = World::open(&[("limits.accepts_per_second", "1"), ("limits.accept_burst", "1")]).await;
    let running = world.talking("CS-1").await;
    let storm: Vec<_> = (0..600)
        .map(|number| {
            let mut socket = std::net::TcpStream::connect(world.door()).unwrap();
            socket.write_all(&request(&format!("/CS-{number}"), &["Sec-WebSocket-Protocol: ocpp1.6"])).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();
    let mut let_in = 0;
    for socket in storm {
        let station = Station::answered(TcpStream::from_std(socket).unwrap()).await;
        if station.head.status() == 101 {
            let_in += 1;
        } else {
            is_busy(&station);
        }
    }
    // One a second.
    assert!(let_in < 30, "{let_in}");
    running.works().await;
    world.gateway.stop().await;
}

/// Each connects with all others before any says what it wants, as they do when power returns: they used to be closed without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_that_is_refused_before_it_says_a_word_is_told_when_to_come_again() {
    use std::io::Write;
    let world = World::open(&[("limits.accepts_per_second", "1"), ("limits.accept_burst", "1")]).await;
    let running = world.talking("CS-1").await;
    let storm: Vec<_> = (0..600).map(|_| std::net::TcpStream::connect(world.door()).unwrap()).collect();
    for (number, mut socket) in storm.into_iter().enumerate() {
        socket.write_all(&request(&format!("/CS-{number}"), &["Sec-WebSocket-Protocol: ocpp1.6"])).unwrap();
        socket.set_nonblocking(true).unwrap();
        let station = Station::answered(TcpStream::from_std(socket).unwrap()).await;
        if station.head.status() != 101 {
            is_busy(&station);
        }
    }
    running.works().await;
    world.gateway.stop().await;
}

#[tokio::test]
async fn limit_of_connections_accepted_per_second() {
    let world = World::open(&[("limits.accepts_per_second", "1"), ("limits.accept_burst", "3")]).await;
    let before = refused("accept_rate");
    let running = world.talking("CS-1").await;
    for id in ["CS-2", "CS-3"] {
        assert_eq!(world.station(id).await.head.status(), 101);
    }
    is_busy(&world.station("CS-4").await);
    assert!(refused("accept_rate") >= before + 1.0);
    running.works().await;
    // One more comes each second; who is refused uses up nothing.
    let refused_at = tokio::time::Instant::now();
    while world.station("CS-4").await.head.status() != 101 {
        assert!(refused_at.elapsed() < Duration::from_secs(20), "it is never let in");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn limit_of_stations_dialling_at_a_time() {
    let world = World::with(&[("limits.dials", "1"), ("upstream.timeout_seconds", "1")], |_, _| Answer::Silence).await;
    let before = refused("too_many_dials");
    let (a, b, c) = tokio::join!(world.station("CS-1"), world.station("CS-2"), world.station("CS-3"));
    for station in [a, b, c] {
        is_busy(&station);
    }
    assert!(refused("too_many_dials") >= before + 1.0, "the third waited a whole second for the second's turn to end");
    assert_eq!(world.csms.heads().len(), 2);
    world.gateway.stop().await;
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn limit_of_memory() {
    let ceiling = (resident_mib() + 100).to_string();
    let world = World::open(&[("limits.memory_mib", &ceiling)]).await;
    let running = world.talking("CS-1").await;
    let hoard = vec![1u8; 250 << 20];
    let before = refused("memory");
    let refusal = loop {
        let station = world.station("CS-2").await;
        if station.head.status() != 101 {
            break station;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    is_busy(&refusal);
    assert!(refused("memory") >= before + 1.0);
    running.works().await;
    drop(std::hint::black_box(hoard));
    while world.station("CS-2").await.head.status() != 101 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.works().await;
    world.gateway.stop().await;
}
