//! 11. The station's identity in the path.

use crate::wire::*;

async fn path(world: &World, target: &str) -> (u16, Option<String>) {
    let before = world.csms.heads().len();
    let status = Station::knock(world.door(), &request(target, &[])).await.head.status();
    (status, world.csms.heads().get(before).map(Head::target))
}

#[tokio::test]
async fn field_11_identity_goes_up_byte_for_byte() {
    let world = World::open(&[]).await;
    for (target, upstream) in [
        ("/CS-1", "/csms/CS-1"),
        ("/ocpp/CS_1", "/csms/CS_1"),
        ("/ws/1.6/CS-1/", "/csms/CS-1"),
        ("///CS-1", "/csms/CS-1"),
        ("/CS%7C1", "/csms/CS%7C1"),
        ("/CS%7c1", "/csms/CS%7c1"),
        ("/CS|1", "/csms/CS|1"),
        ("/CS%20a%25b", "/csms/CS%20a%25b"),
        ("/CS-1?token=4711", "/csms/CS-1"),
        ("ws://gateway:9000/ocpp/CS-1", "/csms/CS-1"),
        ("http://gateway/CS-1?x=/y", "/csms/CS-1"),
        ("/caf%C3%A9", "/csms/caf%C3%A9"),
        ("/café", "/csms/café"),
    ] {
        assert_eq!(path(&world, target).await, (101, Some(upstream.to_owned())), "{target}");
    }
    let longest = format!("/{}", "x".repeat(144));
    assert_eq!(path(&world, &longest).await.0, 101);
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_11_identity_that_is_none_is_refused() {
    let world = World::open(&[]).await;
    let before = refused("no_station_id");
    let long = format!("/{}", "x".repeat(145));
    let targets = [
        "/",
        "//",
        "/?CS-1",
        "/..",
        "/a/../CS-1",
        "/%2e%2e/CS-1",
        "/CS-1/..",
        "/a%2Fb",
        "/a%5cb",
        "/CS%00",
        "/CS%0d%0aX:y",
        "/CS%F",
        "/CS%FF",
        "http://gateway",
        &long,
    ];
    for target in targets {
        assert_eq!(path(&world, target).await, (404, None), "{target}");
    }
    assert!(refused("no_station_id") >= before + targets.len() as f64);
    world.gateway.stop().await;
}

/// The same station under two spellings: the second connection takes the place of the first, and the CSMS hears each spelling as it was.
#[tokio::test]
async fn field_11_identity_in_another_case() {
    let folded = World::open(&[("stations.ids_ignore_case", "true")]).await;
    let first = folded.talking("Cs-1").await;
    let second = folded.talking("CS-1").await;
    until("the first is displaced", || first.closed().is_some()).await;
    second.works().await;
    assert_eq!(folded.csms.heads().iter().map(Head::target).collect::<Vec<_>>(), ["/csms/Cs-1", "/csms/CS-1"]);
    folded.gateway.stop().await;

    let exact = World::open(&[]).await;
    let (first, second) = (exact.talking("Cs-1").await, exact.talking("CS-1").await);
    first.works().await;
    second.works().await;
    assert_eq!(exact.gateway.gateway.live(), 2);
    exact.gateway.stop().await;
}

#[tokio::test]
async fn field_11_identity_with_tenants() {
    let world = World::open(&[("stations.tenants", "true")]).await;
    let (first, second) = (world.talking("north/CS-1").await, world.talking("south/CS-1").await);
    first.works().await;
    second.works().await;
    assert_eq!(world.csms.heads().iter().map(Head::target).collect::<Vec<_>>(), ["/csms/north/CS-1", "/csms/south/CS-1"]);
    assert_eq!(path(&world, "/CS-1").await, (404, None), "an id without its tenant");
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_11_identity_is_not_added_where_the_url_is_fixed() {
    let world = World::open(&[("upstream.append_id", "false")]).await;
    assert_eq!(path(&world, "/CS-1").await, (101, Some("/csms".into())));
    world.gateway.stop().await;
}
