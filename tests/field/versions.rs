//! 1. Subprotocol missing, a list, unknown, not echoed; versions that change between reconnects.

use crate::wire::*;

async fn offers(world: &World, id: &str, lines: &[&str]) -> Station {
    Station::knock(world.door(), &request(&format!("/{id}"), lines)).await
}

fn offered_upstream(world: &World) -> Option<String> {
    world.csms.heads().last().unwrap().value("Sec-WebSocket-Protocol")
}

const AUTHORIZE: &str = r#"[2,"a","Authorize",{"idTag":"04A2B3C4D5E6F7"}]"#;

#[tokio::test]
async fn field_01_subprotocol_missing() {
    let versions = [("stations.versions", "ABB-*=2.0.1, OLD-7=1.6"), ("stations.default_version", "2.1")];
    let world = World::open(&versions).await;
    for (id, version) in [("ABB-1", "ocpp2.0.1"), ("OLD-7", "ocpp1.6"), ("OLD-77", "ocpp2.1")] {
        let station = offers(&world, id, &[]).await;
        assert_eq!(station.head.status(), 101);
        assert_eq!(station.head.value("Sec-WebSocket-Protocol"), None, "who names none is named none (RFC 6455 §4.1)");
        assert_eq!(offered_upstream(&world).as_deref(), Some(version));
        // It speaks that version: what Authorize of 1.6 holds is unknown in 2.x, and stays behind.
        let talking = station.talk().await;
        let before = world.csms.texts().len();
        talking.send(AUTHORIZE);
        until("it arrives", || world.csms.texts().len() > before).await;
        assert_eq!(world.csms.texts()[before].contains("idTag"), version == "ocpp1.6", "{}", world.csms.texts()[before]);
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_01_subprotocol_list() {
    let world = World::with(&[], |_, head| {
        let list = head.value("Sec-WebSocket-Protocol").unwrap();
        Answer::Yes(Some(list.split(", ").last().unwrap().to_owned()))
    })
    .await;
    for (lines, upstream, chosen) in [
        (vec!["Sec-WebSocket-Protocol: ocpp2.1, ocpp2.0.1, ocpp1.6"], "ocpp2.1, ocpp2.0.1, ocpp1.6", "ocpp1.6"),
        (vec!["Sec-WebSocket-Protocol: ocpp1.5,ocpp1.6"], "ocpp1.6", "ocpp1.6"),
        (vec!["Sec-WebSocket-Protocol: ocpp1.6, ocpp1.5, ocpp1.6"], "ocpp1.6", "ocpp1.6"),
        (vec!["Sec-WebSocket-Protocol: ocpp1.6", "sec-websocket-protocol: , soap, ocpp2.0.1 ,"], "ocpp1.6, ocpp2.0.1", "ocpp2.0.1"),
    ] {
        let station = offers(&world, "CS-1", &lines).await;
        assert_eq!(offered_upstream(&world).as_deref(), Some(upstream), "{lines:?}");
        assert_eq!(station.head.value("Sec-WebSocket-Protocol").as_deref(), Some(chosen), "the station gets what the CSMS chose");
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_01_subprotocol_in_other_case_and_spacing() {
    let world = World::open(&[]).await;
    for written in ["OCPP1.6", "Ocpp1.6", "ocpp1.6"] {
        let station = offers(&world, "CS-1", &[&format!("Sec-WebSocket-Protocol:\t {written} \t")]).await;
        assert_eq!(offered_upstream(&world).as_deref(), Some("ocpp1.6"), "the CSMS is offered the registered name");
        assert_eq!(station.head.value("Sec-WebSocket-Protocol").as_deref(), Some(written), "the station hears its own spelling");
    }
    world.gateway.stop().await;
}

/// OCPP-J 1.6 §3.1.2: the handshake is completed without a subprotocol, and the connection closed at once.
#[tokio::test]
async fn field_01_subprotocol_unknown() {
    let world = World::open(&[]).await;
    let before = refused("no_common_version");
    for written in ["ocpp1.5", "ocpp1.2, ocpp1.5", "soap", "ocpp2.0", "\u{fc}"] {
        let station = offers(&world, "CS-1", &[&format!("Sec-WebSocket-Protocol: {written}")]).await;
        assert_eq!((station.head.status(), station.head.value("Sec-WebSocket-Protocol")), (101, None), "{written}");
        assert_eq!(station.remains().await, [0x88, 2, 0x03, 0xEA], "a close frame with 1002, and nothing else");
    }
    assert!(refused("no_common_version") >= before + 5.0);
    assert!(world.csms.heads().is_empty(), "the CSMS was not even asked");
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_01_subprotocol_not_echoed_by_the_csms() {
    let world = World::with(&[], |_, _| Answer::Yes(None)).await;
    let station = offers(&world, "CS-1", &["Sec-WebSocket-Protocol: ocpp1.6, ocpp2.0.1"]).await;
    assert_eq!((station.head.status(), station.head.value("Sec-WebSocket-Protocol")), (101, None));
    let station = station.talk().await;
    station.send(AUTHORIZE);
    until("the first of the list is spoken", || world.csms.texts().len() == 1).await;
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_01_subprotocol_that_nobody_offered_is_chosen() {
    let world = World::with(&[], |n, _| Answer::Yes(Some(["ocpp2.0.1", "nonsense", "OCPP1.6"][n].into()))).await;
    for status in [502, 502, 101] {
        assert_eq!(world.station("CS-1").await.head.status(), status);
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_01_subprotocol_none_is_sent_where_the_csms_fails_on_it() {
    let world = World::with(&[("upstream.subprotocol", "none"), ("stations.versions", "NX*=2.0.1")], |_, head| {
        if head.text().contains("Protocol") { Answer::Say(b"HTTP/1.1 500 x\r\n\r\n".into()) } else { Answer::Yes(None) }
    })
    .await;
    for (id, list, told) in [
        ("CS-1", "ocpp1.6", Some("ocpp1.6")),
        ("CS-1", "ocpp2.0.1, ocpp1.6", Some("ocpp1.6")),
        ("CS-1", "ocpp2.1, ocpp2.0.1", Some("ocpp2.1")),
        ("NX1", "ocpp1.6, ocpp2.0.1", Some("ocpp2.0.1")),
        ("NX2", "ocpp1.6", Some("ocpp1.6")),
        ("NX3", "", None),
    ] {
        let line = format!("Sec-WebSocket-Protocol: {list}");
        let station = offers(&world, id, &[line.as_str()][..usize::from(!list.is_empty())]).await;
        assert_eq!(station.head.status(), 101);
        assert_eq!(station.head.value("Sec-WebSocket-Protocol").as_deref(), told, "{id} {list}");
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_01_subprotocol_changes_between_reconnects() {
    let world = World::open(&[]).await;
    let newer = r#"[2,"b","Authorize",{"idToken":{"idToken":"04A2B3C4D5E6F7","type":"ISO14443"}}]"#;
    for (list, call) in [("ocpp1.6", AUTHORIZE), ("ocpp2.0.1", newer), ("ocpp1.6", AUTHORIZE)] {
        let before = world.csms.texts().len();
        let station = offers(&world, "CS-1", &[&format!("Sec-WebSocket-Protocol: {list}")]).await.talk().await;
        station.send(call);
        until("it arrives, treated", || world.csms.texts().len() > before).await;
        assert!(!world.csms.texts().concat().contains("04A2B3C4D5E6F7"));
    }
    world.gateway.stop().await;
}
