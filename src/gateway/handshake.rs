//! The station's opening handshake, read and answered by hand: some firmware matches header names by case, the central system must be
//! dialled before the station is answered, and a refusal must be a real HTTP answer (RFC 6455 §4.2; OCPP-J 1.6 §3.1).
//!
//! Lenient where firmware is known to be sloppy and nothing is gained by refusing: lines that end in LF only (RFC 9112 §2.2 allows it),
//! empty lines before the request, more than one space in the request line, header names in any case, a missing `Host`, a
//! `Sec-WebSocket-Key` that is not 16 bytes of base64 (§4.2.2: it need not be decoded). Strict where two readers could understand two
//! things: different values of a header that may stand once, a request with a body, folded lines.

mod target;

use super::admission::Away;
use super::chance;
use crate::ocpp::Version;
use std::io::{Read, Write};
use std::time::Duration;
pub use target::Paths;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most bytes that an upgrade request may have.
pub const MAX_REQUEST: usize = 8192;
/// The most header lines.
const MAX_HEADERS: usize = 64;
/// The longest `Sec-WebSocket-Key`.
const MAX_KEY: usize = 128;
/// What may still come from a peer that was refused is read for so long, and so much of it, that it gets to read the refusal.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

/// A version that a station offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The version.
    pub version: Version,
    /// As the station spells it: it may look for exactly that in the answer.
    pub name: String,
}

/// What a station asked for.
pub struct Request {
    /// The station's part of the path, as sent: goes to the central system byte for byte.
    pub raw_id: String,
    /// The same, percent-decoded: the station's name here.
    pub station: String,
    /// `Authorization`, as sent. Passed to the central system only, and never logged.
    pub authorization: Option<Vec<u8>>,
    /// Whether it named any subprotocol at all.
    pub asked: bool,
    /// The versions offered that we speak, in the station's order.
    pub offered: Vec<Offered>,
    /// `Sec-WebSocket-Key`.
    pub key: String,
    /// What came after the request: the station may not wait for the answer. No longer than [`MAX_REQUEST`].
    pub rest: Vec<u8>,
}

/// An answer that is no upgrade: status, reason, and a header line more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub u16, pub &'static str, pub Option<&'static str>);

const BAD: Away = Away::with("bad_request", 400, "Bad Request");
const TOO_BIG: Away = Away::with("request_too_big", 431, "Request Header Fields Too Large");

/// Reads an upgrade request, within `patience`.
///
/// # Errors
/// Why the station is turned away.
pub async fn read<S: AsyncRead + Unpin>(socket: &mut S, patience: Duration, paths: Paths) -> Result<Request, Away> {
    let mut bytes = Vec::with_capacity(1024);
    let reading = async {
        let mut seen = 0;
        loop {
            if let Some(end) = end(&bytes, seen) {
                return Ok(end);
            }
            // The end of the lines may stand across two reads.
            seen = bytes.len().saturating_sub(3);
            let room = MAX_REQUEST - bytes.len();
            if room == 0 {
                return Err(TOO_BIG);
            }
            if (&mut *socket).take(room as u64).read_buf(&mut bytes).await.map_err(|_| Away::GONE)? == 0 {
                return Err(Away::GONE);
            }
        }
    };
    let end = tokio::time::timeout(patience, reading).await.map_err(|_| Away::with("handshake_timeout", 408, "Request Timeout"))??;
    let rest = bytes.split_off(end);
    parse(&bytes, rest, paths)
}

/// Where the header lines end, if they do: at an empty line, whether lines end in CR LF or in LF. Empty lines before the request are none.
fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let first = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    memchr::memchr_iter(b'\n', &bytes[from.max(first).min(bytes.len())..]).map(|at| at + from.max(first)).find_map(|at| {
        let next = &bytes[at + 1..];
        match next {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        }
    })
}

/// Reads the bytes of a request up to its empty line; `rest` is what came after it.
///
/// # Errors
/// What to answer with.
pub fn parse(bytes: &[u8], rest: Vec<u8>, paths: Paths) -> Result<Request, Away> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let mut lenient = httparse::ParserConfig::default();
    lenient.allow_multiple_spaces_in_request_line_delimiters(true);
    match lenient.parse_request(&mut request, bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_BIG),
        _ => return Err(BAD),
    }
    let all = |name: &'static str| request.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.trim_ascii());
    let words = |name: &'static str| all(name).flat_map(|v| v.split(|b| *b == b',')).map(<[u8]>::trim_ascii).filter(|w| !w.is_empty());
    let has = |name: &'static str, word: &str| words(name).any(|w| w.eq_ignore_ascii_case(word.as_bytes()));
    // Said twice in the same words it is still one thing; in different words nobody knows which one counts.
    let one = |name: &'static str| {
        let first = all(name).next();
        if all(name).all(|value| Some(value) == first) { Ok(first) } else { Err(BAD) }
    };
    if request.method != Some("GET") {
        return Err(Away { code: "bad_request", refusal: Some(Refusal(405, "Method Not Allowed", Some("Allow: GET"))) });
    }
    if request.version != Some(1) || all("Transfer-Encoding").next().is_some() || one("Content-Length")?.is_some_and(|n| n != b"0") {
        return Err(BAD);
    }
    let upgrade = |header| Away { code: "bad_request", refusal: Some(Refusal(426, "Upgrade Required", Some(header))) };
    if !has("Upgrade", "websocket") || !has("Connection", "upgrade") {
        return Err(upgrade("Upgrade: websocket"));
    }
    if !has("Sec-WebSocket-Version", "13") {
        return Err(upgrade("Sec-WebSocket-Version: 13"));
    }
    let key = one("Sec-WebSocket-Key")?.and_then(|v| std::str::from_utf8(v).ok()).unwrap_or_default();
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(BAD);
    }
    let (raw_id, station) =
        target::station(request.path.unwrap_or_default(), paths).ok_or(Away::with("no_station_id", 404, "Not Found"))?;
    let mut offered: Vec<Offered> = Vec::new();
    for name in words("Sec-WebSocket-Protocol").filter_map(|name| std::str::from_utf8(name).ok()) {
        if let Some(version) = Version::from_subprotocol(name).filter(|v| offered.iter().all(|o| o.version != *v)) {
            offered.push(Offered { version, name: name.to_owned() });
        }
    }
    let asked = words("Sec-WebSocket-Protocol").next().is_some();
    let authorization = one("Authorization")?.map(<[u8]>::to_vec);
    Ok(Request { raw_id, station, authorization, asked, offered, key: key.to_owned(), rest })
}

/// Answers a station: switching protocols, with the subprotocol by the name that it is to hear.
pub async fn accept<S: AsyncWrite + Unpin>(socket: &mut S, key: &str, protocol: Option<&str>) -> std::io::Result<()> {
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    let answer = match protocol {
        None => [head, &accept, "\r\n\r\n"].concat(),
        Some(name) => [head, &accept, "\r\nSec-WebSocket-Protocol: ", name, "\r\n\r\n"].concat(),
    };
    socket.write_all(answer.as_bytes()).await?;
    socket.flush().await
}

/// Tells a station that there is no version in common as the standard wants it: the handshake is completed without a subprotocol, and
/// the connection closed at once (OCPP-J 1.6 §3.1.2, OCPP 2.x Part 4 §3.1.2). The close code is 1002: the offer broke the protocol.
pub async fn decline<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S, key: &str) -> std::io::Result<()> {
    accept(socket, key, None).await?;
    socket.write_all(&[0x88, 2, 0x03, 0xEA]).await?;
    socket.shutdown().await?;
    linger(socket).await;
    Ok(())
}

/// What a refused station is told.
fn worded(refusal: Refusal) -> String {
    let Refusal(status, reason, header) = refusal;
    let header = header.map_or(String::new(), |h| format!("{h}\r\n"));
    let retry = match status {
        429 => format!("Retry-After: {}\r\n", 30 + chance::below(31)),
        502..=504 => format!("Retry-After: {}\r\n", 5 + chance::below(16)),
        _ => String::new(),
    };
    format!("HTTP/1.1 {status} {reason}\r\n{header}{retry}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

/// Answers a station with a refusal if its whole request is there already, without waiting for anything: nothing is left unread then, so the
/// connection may be closed at once, and the peer sees the answer. The socket must not block. Returns whether it was done.
pub fn refuse_at_once(socket: &mut (impl Read + Write), refusal: Refusal) -> bool {
    let mut head = [0; 4096];
    let whole = matches!(socket.read(&mut head), Ok(n) if head[..n].ends_with(b"\r\n\r\n"));
    let answer = worded(refusal);
    // A new socket has room for it.
    whole && matches!(socket.write(answer.as_bytes()), Ok(n) if n == answer.len())
}

/// Answers a station with a refusal before its request is there. If the connection is closed then, its request is answered with a reset, and
/// some peers see the refusal all the same. The socket must not block.
pub fn refuse_unheard(socket: &mut impl Write, refusal: Refusal) {
    // Whether it was heard is not known either way.
    let _ = socket.write(worded(refusal).as_bytes());
}

/// Answers a station with a refusal and ends the connection. Where it may come again it is told when, and not all are told the same.
pub async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S, refusal: Refusal) -> std::io::Result<()> {
    let answer = worded(refusal);
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await?;
    linger(socket).await;
    Ok(())
}

/// Reads on after the last word: a socket that is closed with something unread is reset, and the peer may then never see what was written.
async fn linger<S: AsyncRead + Unpin>(socket: &mut S) {
    let (patience, most) = LINGER;
    let rest = async {
        let (mut buffer, mut left) = ([0; 512], most);
        while let Ok(n @ 1..) = socket.read(&mut buffer).await {
            left = left.saturating_sub(n);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(patience, rest).await;
}
