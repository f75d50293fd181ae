//! Failures of the field, on raw sockets: what keeps connections alive (failure 4), frames that are big, in pieces or compressed (failure 14),
//! peers that do not read, and ends of every kind.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/raw.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "test code, shared")]
mod raw;

use raw::{PATIENCE, Scene};
use sluis::websocket::Opcode;
use sluis::websocket::fuzz::Owned;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

const HEARTBEAT: &str = r#"[2,"h","Heartbeat",{}]"#;

fn call(id: usize) -> String {
    format!(r#"[2,"{id}","Heartbeat",{{}}]"#)
}

/// Pings every 200 ms, and patience for two and a half of them.
fn lively(settings: &mut sluis::gateway::Settings) {
    settings.ping_interval = Duration::from_millis(200);
    settings.idle_limit = Duration::from_millis(520);
}

#[tokio::test]
async fn field_04_each_hop_is_pinged_and_who_only_answers_pings_stays() {
    let scene = Scene::new("strict", lively).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    let start = Instant::now();
    let mut pings = [0, 0];
    // Four times as long as silence would be tolerated, nobody says a word, nor pings by itself.
    while start.elapsed() < Duration::from_millis(2100) {
        tokio::select! {
            came = station.next() => {
                assert_eq!(came, Some(Owned::Ping(Vec::new())));
                let pong = station.bytes(Opcode::Pong, &[]);
                station.raw(&pong).await;
                pings[0] += 1;
            }
            came = csms.next() => {
                assert_eq!(came, Some(Owned::Ping(Vec::new())));
                let pong = csms.bytes(Opcode::Pong, &[]);
                csms.raw(&pong).await;
                pings[1] += 1;
            }
        }
    }
    assert!(pings.iter().all(|pings| (5..=14).contains(pings)), "{pings:?}");
    station.text(HEARTBEAT).await;
    assert_eq!(csms.hears().await, HEARTBEAT);
}

#[tokio::test]
async fn field_04_any_traffic_counts_as_life_and_silence_ends_the_connection() {
    let scene = Scene::new("strict", lively).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    // The station answers no ping, but speaks; the central system only sends pongs that nobody asked for.
    for id in 0..20 {
        station.text(&call(id)).await;
        assert_eq!(csms.hears().await, call(id));
        let pong = csms.bytes(Opcode::Pong, b"unasked");
        csms.raw(&pong).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let silent = Instant::now();
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1001))));
    assert!(silent.elapsed() >= Duration::from_millis(400), "{:?}", silent.elapsed());
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1001))));
}

#[tokio::test]
async fn field_04_pings_are_answered_here_in_order_with_their_payload() {
    let scene = Scene::new("strict", |_| {}).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    let payloads: Vec<Vec<u8>> = (0..200_usize).map(|n| vec![n as u8; n % 126]).collect();
    let all = payloads.iter().flat_map(|payload| station.bytes(Opcode::Ping, payload)).collect::<Vec<_>>();
    station.raw(&all).await;
    let mut plain = Vec::new();
    while plain.len() < payloads.iter().map(|payload| payload.len() + 2).sum() {
        let mut bytes = [0; 4096];
        let length = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut station.socket, &mut bytes)).await.unwrap().unwrap();
        plain.extend_from_slice(&bytes[..length]);
    }
    let expected = payloads.iter().flat_map(|payload| [&[0x8a, payload.len() as u8], &payload[..]].concat()).collect::<Vec<_>>();
    assert_eq!(plain, expected);
    // None of them went on: what the central system hears first is the next message.
    station.text(HEARTBEAT).await;
    assert_eq!(csms.next().await, Some(Owned::Text(HEARTBEAT.into())));
    csms.ping(b"and back").await;
    csms.text(r#"[3,"h",{"currentTime":"2026-11-24T10:00:00Z"}]"#).await;
    assert!(station.hears().await.starts_with(r#"[3,"h""#));
}

#[tokio::test]
async fn field_04_pings_come_between_the_fragments_of_a_message() {
    let scene = Scene::new("strict", lively).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    let begin = station.unfinished(Opcode::Text, &HEARTBEAT.as_bytes()[..9]);
    station.raw(&begin).await;
    // The gateway pings in the midst of it, and the answer stands in the midst of it.
    assert_eq!(station.next().await, Some(Owned::Ping(Vec::new())));
    let rest = [
        station.bytes(Opcode::Pong, &[]),
        station.bytes(Opcode::Ping, b"mine"),
        station.bytes(Opcode::Continuation, &HEARTBEAT.as_bytes()[9..]),
    ];
    station.raw(&rest.concat()).await;
    assert_eq!(station.heard().await, Some(Owned::Pong));
    assert_eq!(csms.hears().await, HEARTBEAT);
}

#[tokio::test]
async fn field_04_nothing_is_written_to_a_side_that_has_closed() {
    let scene = Scene::new("strict", |_| {}).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    csms.close(Some(1000)).await;
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1000))), "the gateway answers the close frame with its code");
    station.text(HEARTBEAT).await;
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1000))));
    assert_eq!(csms.heard().await, None, "no byte after the close frame");
}

#[tokio::test]
async fn field_14_a_message_of_the_bound_passes_and_one_byte_more_is_closed_with_1009() {
    let scene = Scene::new("observe", |settings| settings.max_frame = 2048).await;
    let message = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let (mut station, mut csms) = scene.pair("CP-1").await;
    station.text(&message(2048)).await;
    assert_eq!(csms.hears().await, message(2048));
    csms.text(&message(2048)).await;
    assert_eq!(station.hears().await, message(2048));
    station.text(&message(2049)).await;
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1009))));
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1009))));
    // In fragments, by their sum, and from the other side; and by a claim alone.
    let (mut station, mut csms) = scene.pair("CP-2").await;
    let parts = [csms.unfinished(Opcode::Text, message(2048).as_bytes()), csms.bytes(Opcode::Continuation, b"x")];
    csms.raw(&parts.concat()).await;
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1009))));
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1009))));
    let (mut station, _csms) = scene.pair("CP-3").await;
    station.raw(&[0x81, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).await;
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1009))));
}

#[tokio::test]
async fn field_14_fragments_of_one_byte_with_pings_between_and_bytes_one_by_one() {
    let scene = Scene::new("strict", |_| {}).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    let message = r#"[2,"é€𝄞","Heartbeat",{}]"#;
    let (first, rest) = message.as_bytes().split_at(1);
    let mut bytes = station.unfinished(Opcode::Text, first);
    for byte in rest {
        bytes.extend(station.bytes(Opcode::Ping, &[*byte]));
        bytes.extend(station.unfinished(Opcode::Continuation, &[*byte]));
    }
    bytes.extend(station.bytes(Opcode::Continuation, b""));
    station.raw(&bytes).await;
    let passed = csms.hears().await;
    assert!(passed.ends_with(r#""Heartbeat",{}]"#), "{passed}");
    for _ in rest {
        assert_eq!(station.heard().await, Some(Owned::Pong));
    }
    for byte in station.bytes(Opcode::Text, HEARTBEAT.as_bytes()) {
        station.raw(&[byte]).await;
    }
    assert_eq!(csms.hears().await, HEARTBEAT);
}

#[tokio::test]
async fn field_14_compression_is_declined_and_a_compressed_frame_is_refused() {
    let scene = Scene::new("strict", |_| {}).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let (mut station, mut csms, answer) = scene.pair_with("CP-1", offer, &[], None).await;
    assert!(!answer.to_ascii_lowercase().contains("extensions"), "{answer}");
    station.text(HEARTBEAT).await;
    assert_eq!(csms.hears().await, HEARTBEAT);
    let mut compressed = station.bytes(Opcode::Text, &[0xaa, 0x56, 0x2a, 0x2d, 0x00]);
    compressed[0] |= 0x40;
    station.raw(&compressed).await;
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1002))));
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1002))));
}

#[tokio::test]
async fn text_that_is_no_utf8_is_refused_before_its_end() {
    let scene = Scene::new("observe", |_| {}).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    let begin = station.unfinished(Opcode::Text, b"\"caf\xc3");
    station.raw(&begin).await;
    let wrong = station.unfinished(Opcode::Continuation, b"(");
    station.raw(&wrong).await;
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1007))));
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1007))));
}

#[tokio::test]
async fn messages_that_come_together_go_on_in_their_order() {
    let scene = Scene::new("strict", |_| {}).await;
    // Some of them wait for the disk: new cards, and facts that are acknowledged.
    let messages: Vec<String> = (0..60)
        .map(|id| match id % 3 {
            0 => call(id),
            1 => format!(r#"[2,"{id}","Authorize",{{"idTag":"04A2B3C4D5{id:04X}"}}]"#),
            _ => format!(
                r#"[2,"{id}","StartTransaction",{{"connectorId":1,"idTag":"04A2B3C4D6{id:04X}","meterStart":{id},"timestamp":"2026-11-24T10:15:00Z"}}]"#
            ),
        })
        .collect();
    // The first half behind the upgrade request, where a station need not wait.
    let framed = |half: &[String]| {
        half.iter().fold(Vec::new(), |mut bytes, message| {
            sluis::websocket::write(&mut bytes, Opcode::Text, message.as_bytes(), Some([1, 2, 3, 4]));
            bytes
        })
    };
    let (mut station, mut csms, _) = scene.pair_with("CP-1", "", &framed(&messages[..30]), None).await;
    station.raw(&framed(&messages[30..])).await;
    let mut answers = Vec::new();
    for id in 0..60 {
        let seen = csms.hears().await;
        assert!(seen.starts_with(&format!("[2,\"{id}\",")), "{seen} at {id}");
        let answer = match id % 3 {
            0 => r#"{"currentTime":"2026-11-24T10:00:00Z"}"#,
            1 => r#"{"idTagInfo":{"status":"Accepted"}}"#,
            _ => r#"{"transactionId":7,"idTagInfo":{"status":"Accepted"}}"#,
        };
        answers.extend(csms.bytes(Opcode::Text, format!("[3,\"{id}\",{answer}]").as_bytes()));
    }
    csms.raw(&answers).await;
    for id in 0..60 {
        let answer = station.hears().await;
        assert!(answer.starts_with(&format!("[3,\"{id}\",")), "{answer} at {id}");
    }
}

#[tokio::test]
async fn codes_of_close_frames_are_passed_on_as_far_as_they_may_be() {
    let scene = Scene::new("strict", |_| {}).await;
    for (given, answered, passed) in [
        (Some(1000), Some(1000), Some(1000)),
        (Some(3001), Some(3001), Some(3001)),
        (Some(1012), Some(1012), Some(1012)),
        // Without a code it is answered without one; nobody can be told that there was none (1005).
        (None, None, Some(1001)),
    ] {
        let (mut station, mut csms) = scene.pair("CP-1").await;
        station.close(given).await;
        assert_eq!(csms.heard().await, Some(Owned::Close(passed)));
        csms.close(passed).await;
        assert_eq!(station.heard().await, Some(Owned::Close(answered)));
        assert_eq!(station.heard().await, None);
        assert_eq!(csms.socket.shutdown().await.map_err(|error| error.kind()), Ok(()));
    }
    for code in [1004_u16, 1005, 1006, 1015, 999, 2999, 5000] {
        let (mut station, mut csms) = scene.pair("CP-1").await;
        let bytes = station.bytes(Opcode::Close, &code.to_be_bytes());
        station.raw(&bytes).await;
        assert_eq!(station.heard().await, Some(Owned::Close(Some(1002))), "{code}");
        assert_eq!(csms.heard().await, Some(Owned::Close(Some(1002))), "{code}");
    }
}

/// A side that only shuts its sending half has ended; the other one is told, and so is what is left of it.
#[tokio::test]
async fn a_half_closed_socket_ends_the_connection() {
    let scene = Scene::new("strict", |_| {}).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    station.socket.shutdown().await.unwrap();
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1001))));
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1001))));
    assert_eq!(station.heard().await, None);
    let (mut station, mut csms) = scene.pair("CP-2").await;
    csms.socket.shutdown().await.unwrap();
    assert_eq!(station.heard().await, Some(Owned::Close(Some(1001))));
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1001))));
}

/// Writes the same frame until the gateway reads no more, and says how many bytes it took.
async fn fill(to: &mut raw::Peer, frame: &[u8], most: usize) -> usize {
    let (mut taken, mut at) = (0, 0);
    while taken < most {
        match timeout(Duration::from_millis(700), to.socket.write(&frame[at..])).await {
            Ok(Ok(length)) => {
                taken += length;
                at = (at + length) % frame.len();
            }
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => break,
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_is_waited_for_within_a_bound_and_ended() {
    let scene = Scene::new("observe", |settings| {
        settings.max_frame = 64 << 10;
        settings.max_queue = 256 << 10;
        settings.write_patience = Duration::from_secs(4);
    })
    .await;
    let (mut station, mut csms, _) = scene.pair_with("CP-1", "", &[], Some(4096)).await;
    let frame = csms.bytes(Opcode::Text, format!("\"{}\"", "x".repeat(60 << 10)).as_bytes());
    let taken = fill(&mut csms, &frame, 256 << 20).await;
    // What the kernel holds in the four buffers on the way is the most of it.
    assert!(taken < 64 << 20, "the gateway read {taken} bytes for a station that reads none");
    let before = scene.metric("ocpp_connections_ended_total{reason=\"slow\"}").await;
    assert_eq!(before, 0.0, "patience first");
    let ended = async {
        while scene.metric("ocpp_connections_ended_total{reason=\"slow\"}").await < 1.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the connection ends");
    // What was promised to the station before is whole as far as it got; then its stream ends.
    while station.heard().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn field_04_pings_are_answered_while_the_other_side_does_not_read() {
    let scene = Scene::new("observe", |settings| {
        settings.max_frame = 16 << 20;
        settings.max_queue = 256 << 20;
    })
    .await;
    let (mut station, mut csms, _) = scene.pair_with("CP-1", "", &[], Some(4096)).await;
    let frame = csms.bytes(Opcode::Text, format!("\"{}\"", "x".repeat(1 << 20)).as_bytes());
    // Far more than the kernel holds, and less than the gateway may.
    for _ in 0..32 {
        csms.raw(&frame).await;
    }
    csms.ping(b"alive?").await;
    assert_eq!(csms.heard().await, Some(Owned::Pong));
    // And the other direction goes on.
    station.text("\"up\"").await;
    assert_eq!(csms.hears().await, "\"up\"");
    // Nothing was lost on the way.
    for _ in 0..32 {
        assert_eq!(station.hears().await.len(), (1 << 20) + 2);
    }
}

#[tokio::test]
async fn an_allowance_for_waiting_bytes_below_a_message_is_refused() {
    use sluis::config::{Config, Flags};
    let read = |queue: &str| {
        let values = vec![("stations.max_frame_bytes", "4096".into()), ("stations.max_queue_bytes", queue.into())];
        Config::read(&Flags { config: None, values }, &|_| None)
    };
    assert_eq!(read("0").unwrap().stations.max_queue, 73_728);
    assert_eq!(read("73728").unwrap().stations.max_queue, 73_728);
    assert!(read("73727").unwrap_err().iter().any(|mistake| mistake.contains("stations.max_queue_bytes")));
}

/// Sockets that always have something were all that was looked at: neither time nor orders were heard any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_station_that_never_stops_sending_is_ended_all_the_same() {
    let scene = Scene::new("strict", |settings| settings.drain_limit = Duration::from_secs(5)).await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    // A CALL that nobody answers, so that the end has to come by the clock.
    station.text(HEARTBEAT).await;
    assert_eq!(csms.hears().await, HEARTBEAT);
    let pings = station.bytes(Opcode::Ping, b"and again").repeat(500);
    let (mut from_gateway, mut to_gateway) = station.socket.into_split();
    let sending = tokio::spawn(async move { while to_gateway.write_all(&pings).await.is_ok() {} });
    let (busy, is_busy) = tokio::sync::oneshot::channel();
    let receiving = tokio::spawn(async move {
        let (mut last, mut bytes, mut came, mut busy) = (Vec::new(), vec![0; 65536], 0, Some(busy));
        while let Ok(length @ 1..) = tokio::io::AsyncReadExt::read(&mut from_gateway, &mut bytes).await {
            last.extend_from_slice(&bytes[..length]);
            last.drain(..last.len().saturating_sub(4));
            came += length;
            // Thousands of them were answered, and there is no end of them.
            if came > 100_000
                && let Some(busy) = busy.take()
            {
                let _ = busy.send(());
            }
        }
        last
    });
    timeout(PATIENCE, is_busy).await.unwrap().unwrap();
    timeout(PATIENCE, scene.serving.stop()).await.expect("the gateway stops");
    assert_eq!(timeout(PATIENCE, receiving).await.unwrap().unwrap(), [0x88, 2, 0x03, 0xe9], "closed with 1001");
    assert_eq!(csms.heard().await, Some(Owned::Close(Some(1001))));
    timeout(PATIENCE, sending).await.unwrap().unwrap();
}

/// Regression: the time that a peer has to take what is written began with the first byte that waited and not with the last that it took, so a
/// station on a slow line never got a long list.
#[tokio::test]
async fn a_station_that_takes_longer_than_the_patience_but_never_stops_taking_gets_it_all() {
    let patience = Duration::from_millis(600);
    let scene = Scene::new("observe", |settings| settings.write_patience = patience).await;
    let (mut station, mut csms, _) = scene.pair_with("CP-1", "", &[], Some(4096)).await;
    // More than the buffers of the operating system take by themselves.
    let long = format!(r#"[2,"l","DataTransfer",{{"vendorId":"com.example","data":"{}"}}]"#, "x".repeat(900_000));
    let frame = csms.bytes(Opcode::Text, long.as_bytes());
    let writing = tokio::spawn(async move {
        csms.raw(&frame).await;
        csms
    });
    let (mut taken, mut piece, start) = (0, vec![0; 65_536], Instant::now());
    while taken < long.len() {
        let length = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut station.socket, &mut piece)).await.unwrap().unwrap();
        assert_ne!(length, 0, "it was sent away after {taken} bytes, {:?}", start.elapsed());
        taken += length;
        // A line, not a condition: the time that so many bytes take.
        tokio::time::sleep(Duration::from_millis(2 * length as u64 / 1000)).await;
    }
    assert!(start.elapsed() > 2 * patience, "the line was too fast to show it: {:?}", start.elapsed());
    drop(writing.await.unwrap());
}

/// Regression: pings, pongs and empty pieces of a message were as many as a station liked.
#[tokio::test]
async fn limit_frames_that_are_no_messages() {
    for kind in ["ping", "pong", "piece"] {
        let scene = Scene::new("strict", |settings| {
            settings.frames.station =
                sluis::session::Allowance { burst: 50, per_second: 1000, patience: Duration::from_millis(500), ..Default::default() };
        })
        .await;
        let (mut station, _csms) = scene.pair("CP-1").await;
        let mut flood = match kind {
            "ping" => station.bytes(Opcode::Ping, &[]),
            "pong" => station.bytes(Opcode::Pong, &[]),
            // The first piece of a message that never ends.
            _ => station.unfinished(Opcode::Text, b"["),
        };
        let more = if kind == "piece" { station.unfinished(Opcode::Continuation, &[]) } else { flood.clone() };
        let many = more.repeat(200);
        flood.extend_from_slice(&many);
        let start = Instant::now();
        // Until it is sent away: its socket takes no more then.
        while timeout(PATIENCE, station.socket.write_all(&flood)).await.unwrap().is_ok() {
            flood.clone_from(&many);
            assert!(start.elapsed() < PATIENCE, "{kind} without end");
        }
        assert!(scene.metric("ocpp_connections_ended_total{reason=\"flood\"}").await >= 1.0, "{kind}");
    }
}

/// Regression: how long an answer is waited for was looked at with the pings only.
#[tokio::test]
async fn an_answer_is_given_up_when_its_time_is_over_however_seldom_pings_are() {
    let scene = Scene::new("strict", |settings| {
        settings.frames.patience = Duration::from_millis(300);
        (settings.ping_interval, settings.idle_limit) = (Duration::from_secs(600), Duration::from_secs(1800));
    })
    .await;
    let (mut station, mut csms) = scene.pair("CP-1").await;
    for id in 0..2 {
        station.text(&call(id)).await;
        csms.hears().await;
        let start = Instant::now();
        assert!(station.hears().await.starts_with(&format!(r#"[4,"{id}","GenericError""#)));
        assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    }
}
