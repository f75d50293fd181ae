//! 3. A second connection under one id: the old one is stale, or there are two stations with one id, or somebody tries.

use crate::wire::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sluis::gateway::credentials::PasswordHash;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

fn displaced() -> f64 {
    metric("ocpp_connections_displaced_total")
}

#[tokio::test]
async fn field_03_stale_connection_is_replaced_and_its_late_end_removes_nothing() {
    let world = World::open(&[]).await;
    let before = displaced();
    let first = world.talking("CS-1").await;
    first.works().await;
    let second = world.talking("CS-1").await;
    until("the first is told to go", || first.closed() == Some(1001) && world.csms.closed(0) == Some(1001)).await;
    assert!(displaced() >= before + 1.0);
    // What is left of the first goes last.
    drop(first);
    second.works().await;
    assert_eq!(world.gateway.gateway.live(), 1);
    let third = world.talking("CS-1").await;
    until("the second had not been forgotten", || second.closed() == Some(1001)).await;
    third.works().await;
    assert_eq!(world.gateway.gateway.live(), 1);
    world.gateway.stop().await;
}

/// The CSMS hears of the old one's end before the new one says a word.
#[tokio::test]
async fn field_03_stale_connection_ends_first_at_the_csms() {
    let world = World::open(&[]).await;
    let _dead = world.station("CS-1").await;
    let new = world.talking("CS-1").await;
    new.works().await;
    let events = world.csms.events();
    let at = |is: fn(&Event) -> bool| events.iter().position(is);
    assert!(at(|e| matches!(e, Event::Closed(0, 1001))) < at(|e| matches!(e, Event::Text(1, _))), "{events:?}");
    assert!(at(|e| matches!(e, Event::Closed(0, 1001))).is_some());
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_03_stale_or_not_nobody_is_displaced_by_somebody_who_is_not_let_in() {
    let world = World::with(&[("stations.probe_seconds", "1")], |_, head| {
        if head.value("Authorization").as_deref() == Some("Basic cmlnaHQ=") {
            return first(head);
        }
        Answer::Say(b"HTTP/1.1 401 no\r\nContent-Length: 0\r\n\r\n".into())
    })
    .await;
    let knock = async |credentials: &str| {
        let line = format!("Authorization: Basic {credentials}");
        Station::knock(world.door(), &request("/CS-1", &["Sec-WebSocket-Protocol: ocpp1.6", &line])).await
    };
    let station = knock("cmlnaHQ=").await.talk().await;
    for _ in 0..10 {
        let stranger = knock("d3Jvbmc=").await;
        assert_eq!(stranger.head.status(), 401);
        assert!(stranger.head.value("WWW-Authenticate").is_some());
    }
    station.works().await;
    assert_eq!((station.closed(), world.gateway.gateway.live()), (None, 1));
    // Not even one that does not answer.
    drop(station);
    until("it is gone", || world.gateway.gateway.live() == 0).await;
    let dead = knock("cmlnaHQ=").await;
    assert_eq!((dead.head.status(), knock("d3Jvbmc=").await.head.status()), (101, 401));
    assert_eq!(world.gateway.gateway.live(), 1);
    world.gateway.stop().await;
}

/// A CSMS that allows one connection per id: refuses the second with 409 as long as the first is there.
async fn one_per_id() -> Csms {
    let book: Arc<OnceLock<Arc<Book>>> = Arc::default();
    let theirs = Arc::clone(&book);
    let csms = Csms::start(move |_, head| {
        let open = theirs.get().map_or(0, |book| book.open());
        if open > 0 { Answer::Say(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n".into()) } else { first(head) }
    })
    .await;
    let _ = book.set(Arc::clone(&csms.book));
    csms
}

#[tokio::test]
async fn field_03_stale_connection_makes_room_at_a_csms_that_allows_one_per_id() {
    let world = World::beneath(one_per_id().await, &[("stations.probe_seconds", "1")]).await;
    let dead = world.station("CS-1").await;
    assert_eq!(dead.head.status(), 101);
    let new = world.talking("CS-1").await;
    new.works().await;
    let kinds: Vec<_> = world.csms.events().into_iter().filter(|event| !matches!(event, Event::Text(..))).collect();
    assert_eq!(kinds, [Event::Opened(0), Event::Closed(0, 1001), Event::Opened(2)], "1 was refused");
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_03_live_connection_stays_at_a_csms_that_allows_one_per_id() {
    let world = World::beneath(one_per_id().await, &[("stations.probe_seconds", "1")]).await;
    let station = world.talking("CS-1").await;
    assert_eq!(world.station("CS-1").await.head.status(), 409);
    station.works().await;
    assert_eq!(station.closed(), None);
    world.gateway.stop().await;
}

/// A station whose password is checked here has shown who it is before the CSMS is asked: the old connection, alive or not, ends first.
#[tokio::test]
async fn field_03_stale_connection_goes_first_where_the_station_is_known_here() {
    let dir = tempfile::tempdir().unwrap();
    let hash = PasswordHash::make(b"0123456789abcdef", 1000).unwrap();
    let register = dir.path().join("stations.csv");
    std::fs::write(&register, format!("station,hash\nCS-1,{hash}\n")).unwrap();
    // Who may read it is looked at.
    std::fs::set_permissions(&register, std::fs::Permissions::from_mode(0o600)).unwrap();
    let world = World::beneath(one_per_id().await, &[("stations.passwords_file", register.to_str().unwrap())]).await;
    let knock = async |password: &str| {
        let line = format!("Authorization: Basic {}", STANDARD.encode(format!("CS-1:{password}")));
        Station::knock(world.door(), &request("/CS-1", &["Sec-WebSocket-Protocol: ocpp1.6", &line])).await
    };
    let old = knock("0123456789abcdef").await.talk().await;
    old.works().await;
    assert_eq!(knock("fedcba9876543210").await.head.status(), 401);
    old.works().await;
    let new = knock("0123456789abcdef").await;
    assert_eq!(new.head.status(), 101);
    new.talk().await.works().await;
    until("the old one was told", || old.closed() == Some(1001)).await;
    assert_eq!(world.csms.heads().len(), 2, "the CSMS was asked once for each, and refused nobody");
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_03_two_stations_with_one_id_make_no_war() {
    no_war(Csms::start(|_, head| first(head)).await, 1001).await;
}

/// A CSMS that closes the old connection itself as soon as it accepts the new one.
#[tokio::test]
async fn field_03_two_stations_with_one_id_make_no_war_at_a_csms_that_takes_the_newest() {
    let book: Arc<OnceLock<Arc<Book>>> = Arc::default();
    let theirs = Arc::clone(&book);
    let csms = Csms::start(move |_, head| {
        theirs.get().unwrap().close_all();
        first(head)
    })
    .await;
    let _ = book.set(Arc::clone(&csms.book));
    no_war(csms, 1005).await;
}

async fn no_war(csms: Csms, goodbye: u16) {
    let world = World::beneath(csms, &[("limits.takeovers_per_minute", "3"), ("stations.probe_seconds", "1")]).await;
    let before = refused("flapping");
    let mut station = world.talking("CS-1").await;
    for _ in 0..3 {
        let other = world.talking("CS-1").await;
        until("it is displaced", || station.closed().is_some_and(|code| code == 1001 || code == goodbye)).await;
        other.works().await;
        station = other;
    }
    let dialled = world.csms.heads().len();
    let other = world.station("CS-1").await;
    assert_eq!(other.head.status(), 429, "one takeover more than may be in a minute");
    let wait: u64 = other.head.value("Retry-After").unwrap().parse().unwrap();
    assert!((30..=60).contains(&wait));
    assert_eq!(world.csms.heads().len(), dialled, "the CSMS is not bothered");
    station.works().await;
    assert!(refused("flapping") >= before + 1.0);
    // Another id has its own count, and one whose old connection is dead is let in all the same.
    let _other = world.talking("CS-2").await;
    drop(station);
    until("it is gone", || world.gateway.gateway.live() == 1).await;
    let dead = world.station("CS-1").await;
    assert_eq!(dead.head.status(), 101, "there is nothing to take over");
    let new = world.talking("CS-1").await;
    new.works().await;
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_03_silent_takeover_asks_the_old_one() {
    let world = World::open(&[("stations.takeover", "silent"), ("stations.probe_seconds", "1")]).await;
    let station = world.talking("CS-1").await;
    let other = world.station("CS-1").await;
    assert_eq!((other.head.status(), world.csms.heads().len()), (429, 1));
    station.works().await;
    drop(station);
    until("it is gone", || world.gateway.gateway.live() == 0).await;
    let _dead = world.station("CS-1").await;
    let start = tokio::time::Instant::now();
    let new = world.talking("CS-1").await;
    assert!(start.elapsed() >= Duration::from_secs(1), "the old one had its time to answer");
    new.works().await;
    world.gateway.stop().await;
}
