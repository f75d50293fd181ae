//! 2. Header case and sloppy handshakes. 12. Credentials as bytes. 14. Requests that are too big, too slow or too early.

use crate::wire::*;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn sent(world: &World, bytes: impl AsRef<[u8]>) -> Head {
    Station::knock(world.door(), bytes.as_ref()).await.head
}

#[tokio::test]
async fn field_02_header_case_is_canonical_on_both_sides() {
    let world = World::open(&[]).await;
    let answer = sent(&world, request("/CS-1", &["sec-websocket-protocol: ocpp1.6", "AUTHORIZATION: Basic eDp5"])).await;
    assert_eq!(
        answer.text(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    );
    let asked = &world.csms.heads()[0];
    let key = asked.value("Sec-WebSocket-Key").unwrap();
    assert_eq!(
        asked.text(),
        format!(
            "GET /csms/CS-1 HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp1.6\r\nAuthorization: Basic eDp5\r\n\r\n",
            world.csms.address
        )
    );
    assert_ne!(key, KEY, "each handshake has a key of its own");
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_02_sloppy_handshakes_are_understood() {
    let world = World::open(&[("limits.station_handshakes_per_minute", "0"), ("limits.takeovers_per_minute", "0")]).await;
    let usual = String::from_utf8(request("/CS-1", &["Sec-WebSocket-Protocol: ocpp1.6"])).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(usual.contains(from));
        usual.replace(from, to)
    };
    for (what, bytes) in [
        ("a list in Connection", changed("Connection: Upgrade", "Connection: keep-alive, Upgrade")),
        ("other case", changed("Connection: Upgrade", "connection: UPGRADE").replace("Upgrade: websocket", "UPGRADE: WebSocket")),
        ("white space", changed("Connection: Upgrade", "Connection: \t Upgrade \t ").replace("Version: 13", "Version:13")),
        ("lines that end in LF", changed("\r\n", "\n")),
        ("both ends of lines", changed("Host: gateway\r\n", "Host: gateway\n")),
        ("an LF that ends the request", format!("{}\n", usual.trim_end_matches("\r\n").to_owned() + "\r\n")),
        ("empty lines before", format!("\r\n\r\n{usual}")),
        ("two spaces", changed("GET /CS-1 ", "GET  /CS-1  ")),
        ("no Host", changed("Host: gateway\r\n", "")),
        (
            "the same header twice",
            changed("Host: gateway", &format!("Sec-WebSocket-Key: {KEY}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13")),
        ),
        ("Connection twice", changed("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade")),
        ("an empty body", changed("Host: gateway", "Content-Length: 0")),
        ("headers without a value", changed("Host: gateway", "Origin:\r\nUser-Agent: \r\nX:")),
    ] {
        let answer = sent(&world, &bytes).await;
        assert_eq!(answer.status(), 101, "{what}: {}", answer.text());
        assert_eq!(answer.value("Sec-WebSocket-Accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{what}");
    }
    world.gateway.stop().await;
}

/// Firmware sends keys of other lengths, and always the same one; the key is nothing but a proof that the answer is to this request.
#[tokio::test]
async fn field_02_odd_keys_are_answered_as_they_are() {
    let world = World::open(&[]).await;
    for (key, accept) in
        [("dGhlIHNhbXBsZSBub25jZQ", "qrGU7Qn8pHpHLY34vnJlsTHu2TE="), ("x", ""), ("12345678901234567890", ""), ("dGhl/+==", "")]
    {
        let bytes = String::from_utf8(request("/CS-1", &[])).unwrap().replace(KEY, key);
        let answer = sent(&world, bytes).await;
        assert_eq!(answer.status(), 101, "{key}");
        let expected = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        assert_eq!(answer.value("Sec-WebSocket-Accept"), Some(expected.clone()));
        assert!(accept.is_empty() || accept.len() == expected.len());
    }
    let long = "k".repeat(129);
    for key in ["", " ", "two words", "caf\u{e9}", &long] {
        let bytes = String::from_utf8(request("/CS-1", &[])).unwrap().replace(KEY, key);
        assert_eq!(sent(&world, bytes).await.status(), 400, "{key:?}");
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_02_what_could_be_read_in_two_ways_is_refused() {
    let world = World::open(&[]).await;
    let before = refused("bad_request");
    for (what, status, lines) in [
        ("two keys", 400, vec!["Sec-WebSocket-Key: b3RoZXIgc2FtcGxlIGtleQ=="]),
        ("two credentials", 400, vec!["Authorization: Basic eDp5", "Authorization: Basic eDp6"]),
        ("a body", 400, vec!["Content-Length: 5"]),
        ("a body of unknown length", 400, vec!["Transfer-Encoding: chunked"]),
        ("two lengths", 400, vec!["Content-Length: 0", "Content-Length: 5"]),
        ("a folded line", 400, vec!["X-A: b", " c: d"]),
        ("a space before the colon", 400, vec!["X-A : b"]),
        ("a control character", 400, vec!["X-A: \u{1}"]),
        ("a line that is no header", 400, vec!["nonsense"]),
    ] {
        assert_eq!(sent(&world, request("/CS-1", &lines)).await.status(), status, "{what}");
    }
    let usual = String::from_utf8(request("/CS-1", &[])).unwrap();
    for (status, from, to) in [
        (405, "GET ", "POST "),
        (400, "HTTP/1.1", "HTTP/1.0"),
        (400, "GET /CS-1 HTTP/1.1", "GET /CS-1"),
        (426, "Upgrade: websocket", "Upgrade: h2c"),
        (426, "Connection: Upgrade", "Connection: close"),
        (426, "Version: 13", "Version: 8"),
        (400, "GET", "G\u{0}T"),
    ] {
        let answer = sent(&world, usual.replace(from, to)).await;
        assert_eq!(answer.status(), status, "{to}");
        assert_eq!(answer.value("Connection").as_deref(), Some("close"));
    }
    assert_eq!(sent(&world, usual.replace("Version: 13", "Version: 8")).await.value("Sec-WebSocket-Version").as_deref(), Some("13"));
    assert!(refused("bad_request") >= before + 16.0);
    assert!(world.csms.heads().is_empty());
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_02_extensions_are_neither_passed_on_nor_promised() {
    let world = World::open(&[]).await;
    let answer = sent(&world, request("/CS-1", &["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"])).await;
    assert_eq!(answer.status(), 101);
    assert!(!answer.text().to_lowercase().contains("extensions"));
    assert!(!world.csms.heads()[0].text().to_lowercase().contains("extensions"));
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_12_credentials_pass_byte_for_byte_and_to_nobody_else() {
    let world = World::open(&[]).await;
    let mut bytes = request("/CS-1", &[]);
    bytes.truncate(bytes.len() - 2);
    let credentials = b"Basic \x80\xff:\xfe\xc3(secret-4711";
    bytes.extend_from_slice(b"Authorization:  ");
    bytes.extend_from_slice(credentials);
    bytes.extend_from_slice(b" \r\n\r\n");
    assert_eq!(sent(&world, bytes).await.status(), 101);
    let asked = world.csms.heads().remove(0).0;
    let at = asked.windows(17).position(|w| w == b"\r\nAuthorization: ").unwrap() + 17;
    assert_eq!(&asked[at..at + credentials.len() + 4], [credentials.as_slice(), b"\r\n\r\n"].concat());
    let page = sluis::metrics::Metrics::install().unwrap().render();
    assert!(!page.contains("4711"));
    for file in std::fs::read_dir(world.data()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap_or_default();
        assert!(!content.windows(11).any(|w| w == b"secret-4711"));
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_14_requests_that_are_too_big() {
    let world = World::open(&[("limits.station_handshakes_per_minute", "0")]).await;
    let sized = |size: usize| {
        let bare = request("/CS-1", &["X: "]).len();
        request("/CS-1", &[&format!("X: {}", "x".repeat(size - bare))])
    };
    let before = refused("request_too_big");
    assert_eq!(sent(&world, sized(8192)).await.status(), 101, "as big as may be");
    assert_eq!(sent(&world, sized(8193)).await.status(), 431, "one byte more");
    assert_eq!(sent(&world, sized(200_000)).await.status(), 431, "the answer is read although not all was taken");
    let lines = |many: usize| {
        let lines: Vec<_> = (0..many - 5).map(|n| format!("X-{n}: y")).collect();
        request("/CS-2", &lines.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(sent(&world, lines(64)).await.status(), 101);
    assert_eq!(sent(&world, lines(65)).await.status(), 431);
    assert!(refused("request_too_big") >= before + 3.0);
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_14_slow_and_silent_peers_are_let_go() {
    let world = World::open(&[("stations.handshake_seconds", "1")]).await;
    let before = refused("handshake_timeout");
    let silent = TcpStream::connect(world.door()).await.unwrap();
    let mut halfway = TcpStream::connect(world.door()).await.unwrap();
    halfway.write_all(b"GET /CS-1 HTTP/1.1\r\nUpgrade: web").await.unwrap();
    // One byte after the other, for as long as it is let.
    let drip = async {
        let mut socket = TcpStream::connect(world.door()).await.unwrap();
        for byte in request("/CS-1", &[]).iter().cycle() {
            if socket.write_all(&[*byte]).await.is_err() || socket.try_read(&mut [0; 12]).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let start = tokio::time::Instant::now();
    let (silent, halfway, ()) = tokio::join!(Station::answered(silent), Station::answered(halfway), drip);
    assert_eq!((silent.head.status(), halfway.head.status()), (408, 408));
    assert!(start.elapsed() >= Duration::from_secs(1) && refused("handshake_timeout") >= before + 2.0);
    assert!(world.csms.heads().is_empty());
    world.gateway.stop().await;
}

#[tokio::test]
async fn field_14_what_comes_before_the_answer_is_not_lost() {
    let world = World::open(&[]).await;
    let mut bytes = request("/CS-1", &["Sec-WebSocket-Protocol: ocpp1.6"]);
    // A heartbeat, masked with zeros.
    let text = br#"[2,"early","Heartbeat",{}]"#;
    bytes.extend_from_slice(&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0]);
    bytes.extend_from_slice(text);
    let station = Station::knock(world.door(), &bytes).await.talk().await;
    until("it is answered", || station.heard().iter().any(|answer| answer.starts_with(r#"[3,"early","#))).await;
    world.gateway.stop().await;
}

#[tokio::test]
async fn a_station_that_goes_while_the_csms_thinks_is_not_waited_for() {
    let world = World::with(&[], |_, _| Answer::Silence).await;
    let mut socket = TcpStream::connect(world.door()).await.unwrap();
    socket.write_all(&request("/CS-1", &[])).await.unwrap();
    until("the CSMS is asked", || world.csms.heads().len() == 1).await;
    // Half closed: it will not say another word.
    socket.shutdown().await.unwrap();
    let station = Station::answered(socket).await;
    assert_eq!(station.head.text(), "", "there is nobody to answer");
    world.gateway.stop().await;
}
