//! The station's opening handshake, read and answered by hand: some firmware matches header names by case, the central system must be
//! dialled before the station is answered, and a refusal must be a real HTTP answer (RFC 6455 §4.2; OCPP-J 1.6 §3.1).

use crate::ocpp::Version;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most bytes that an upgrade request may have.
pub const MAX_REQUEST: usize = 8192;
/// The most header lines.
const MAX_HEADERS: usize = 64;
/// The longest station id, in bytes as sent (OCPP 2.1 Part 4 §3.1: 48 characters; percent-encoded it may triple).
const MAX_STATION_ID: usize = 144;

/// What a station asked for.
pub struct Request {
    /// The last segment of the path, as sent: goes to the central system byte for byte.
    pub raw_id: String,
    /// The same, percent-decoded: the station's name here.
    pub station: String,
    /// `Authorization`, as sent. Passed to the central system only, and never logged.
    pub authorization: Option<Vec<u8>>,
    /// The versions offered that we speak, in the station's order. Empty if it offered none at all.
    pub offered: Vec<Version>,
    /// `Sec-WebSocket-Key`.
    pub key: String,
    /// What came after the request: the station may not wait for the answer.
    pub rest: Vec<u8>,
}

/// An answer that is no upgrade: status, reason, and a header line more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub u16, pub &'static str, pub Option<&'static str>);

const BAD: Refusal = Refusal(400, "Bad Request", None);

/// Reads an upgrade request, within `patience`.
///
/// # Errors
/// The [`Refusal`] to answer with; `None` if the peer is gone and there is nobody to answer.
pub async fn read<S: AsyncRead + Unpin>(socket: &mut S, patience: Duration) -> Result<Request, Option<Refusal>> {
    let mut bytes = Vec::with_capacity(1024);
    let reading = async {
        loop {
            if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
                return Ok(end + 4);
            }
            if bytes.len() >= MAX_REQUEST {
                return Err(Some(Refusal(431, "Request Header Fields Too Large", None)));
            }
            if socket.read_buf(&mut bytes).await.map_err(|_| None)? == 0 {
                return Err(None);
            }
        }
    };
    let end = tokio::time::timeout(patience, reading).await.map_err(|_| Some(Refusal(408, "Request Timeout", None)))??;
    let rest = bytes.split_off(end);
    parse(&bytes, rest).map_err(Some)
}

/// Reads the bytes of a request up to its empty line; `rest` is what came after it.
///
/// # Errors
/// The [`Refusal`] to answer with.
pub fn parse(bytes: &[u8], rest: Vec<u8>) -> Result<Request, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal(431, "Request Header Fields Too Large", None)),
        _ => return Err(BAD),
    }
    let all = |name: &'static str| request.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let has = |name: &'static str, word: &str| {
        all(name).any(|v| v.split(|b| *b == b',').any(|w| w.trim_ascii().eq_ignore_ascii_case(word.as_bytes())))
    };
    if request.method != Some("GET") {
        return Err(Refusal(405, "Method Not Allowed", Some("Allow: GET")));
    }
    if request.version != Some(1) {
        return Err(BAD);
    }
    if !has("Upgrade", "websocket") || !has("Connection", "upgrade") {
        return Err(Refusal(426, "Upgrade Required", Some("Upgrade: websocket")));
    }
    if !all("Sec-WebSocket-Version").any(|v| v.trim_ascii() == b"13") {
        return Err(Refusal(426, "Upgrade Required", Some("Sec-WebSocket-Version: 13")));
    }
    let key = all("Sec-WebSocket-Key").next().and_then(|v| std::str::from_utf8(v).ok()).map(str::trim).unwrap_or_default();
    if !STANDARD.decode(key).is_ok_and(|k| k.len() == 16) {
        return Err(BAD);
    }
    let (raw_id, station) = station(request.path.unwrap_or_default()).ok_or(Refusal(404, "Not Found", None))?;
    let mut asked = false;
    let mut offered = Vec::new();
    for name in all("Sec-WebSocket-Protocol").flat_map(|v| v.split(|b| *b == b',')).map(<[u8]>::trim_ascii).filter(|n| !n.is_empty()) {
        asked = true;
        let version = std::str::from_utf8(name).ok().and_then(Version::from_subprotocol);
        offered.extend(version.filter(|v| !offered.contains(v)));
    }
    // OCPP-J 1.6 §3.1.2: no common subprotocol means no connection.
    if asked && offered.is_empty() {
        return Err(Refusal(400, "Bad Request", None));
    }
    let authorization = all("Authorization").next().map(<[u8]>::to_vec);
    Ok(Request { raw_id, station, authorization, offered, key: key.to_owned(), rest })
}

/// The station id in a path: its last segment that is not empty, raw and decoded. `None` if there is none or it holds what no id may.
fn station(path: &str) -> Option<(String, String)> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let raw = path.split('/').rev().find(|segment| !segment.is_empty())?;
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            decoded.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8);
        } else {
            decoded.push(byte);
        }
    }
    let decoded = String::from_utf8(decoded).ok()?;
    let fine = raw.len() <= MAX_STATION_ID
        && !decoded.contains("..")
        && decoded != "."
        && !decoded.contains(['/', '\\'])
        && !decoded.chars().any(char::is_control);
    fine.then(|| (raw.to_owned(), decoded))
}

/// Answers a station: switching protocols, with the subprotocol if the station had offered any.
pub async fn accept<S: AsyncWrite + Unpin>(socket: &mut S, key: &str, version: Option<Version>) -> std::io::Result<()> {
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let protocol = version.map_or(String::new(), |v| format!("Sec-WebSocket-Protocol: {}\r\n", v.subprotocol()));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.flush().await
}

/// Answers a station with a refusal and ends the connection.
pub async fn refuse<S: AsyncWrite + Unpin>(socket: &mut S, refusal: Refusal) -> std::io::Result<()> {
    let Refusal(status, reason, header) = refusal;
    let header = header.map_or(String::new(), |h| format!("{h}\r\n"));
    let answer = format!("HTTP/1.1 {status} {reason}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n");
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}
