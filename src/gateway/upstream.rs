//! The connection to the central system: dialled before the station is answered, with the station's own path segment, credentials and
//! versions. The handshake is ours (RFC 6455 §4.1): header names in canonical case, an answer without a subprotocol is no error, and
//! `Connection: keep-alive, Upgrade` is an upgrade.

mod addresses;
mod circuit;
mod dialler;

use super::admission::Away;
use super::handshake::Refusal;
use super::socket::Socket;
use crate::ocpp::Version;
use crate::reload::Watched;
use addresses::Addresses;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
pub(super) use dialler::Dialler;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use std::iter;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

/// The most bytes that the central system's answer may have; a redirection or an error page of more is nonsense like any other.
const MAX_ANSWER: usize = 16 * 1024;

/// How long an address may think before the next one is tried beside it: what RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// Where stations' connections go on to.
#[derive(Clone)]
pub struct Upstream {
    /// Host name or address, without port.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path without a slash at its end.
    pub base: String,
    /// Whether `/<id>` is added to the path, as the station wrote it; else all stations go to the same path.
    pub append_id: bool,
    /// Whether versions are offered. Some central systems fail where they are; they speak what the station is told.
    pub offers_versions: bool,
    /// TLS settings for `wss`; `None` for `ws`.
    pub tls: Option<Arc<Watched<Arc<rustls::ClientConfig>>>>,
    /// The name that its certificate must have, if it is not `host`.
    pub server_name: Option<String>,
    /// How long dialling and the handshake may take together.
    pub patience: Duration,
}

/// What a station asks of the central system.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Its id, as it wrote it.
    pub raw_id: &'a str,
    /// Its credentials, as it sent them.
    pub authorization: Option<&'a [u8]>,
    /// The versions that it speaks, the best first.
    pub offer: &'a [Version],
    /// Random bytes for `Sec-WebSocket-Key`.
    pub nonce: [u8; 16],
}

/// The central system has agreed.
pub struct Dialled {
    /// The upgraded connection.
    pub socket: Socket,
    /// What it chose; `None` if it named no subprotocol.
    pub version: Option<Version>,
    /// What came after its answer.
    pub rest: Vec<u8>,
}

/// Why there is no connection. The words are closed: they go into logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoUpstream {
    /// It refused with this HTTP status, which the station gets too.
    Refused(u16),
    /// Its name cannot be resolved.
    Unresolved,
    /// It cannot be reached, or did not answer in time.
    Unreachable,
    /// It could not be reached a moment ago, so this station did not even try.
    Resting,
    /// Too many stations are being connected to it at the moment.
    Crowded,
    /// Its certificate was not accepted, or TLS failed.
    Tls,
    /// It answered with something that is no valid upgrade.
    Nonsense,
}

impl NoUpstream {
    /// How the station is turned away.
    pub fn away(self) -> Away {
        let code = self.code();
        match self {
            Self::Refused(status) => {
                let challenge = (status == 401).then_some("WWW-Authenticate: Basic realm=\"ocpp\"");
                Away { code, refusal: Some(Refusal(status, reason(status), challenge)) }
            }
            Self::Unresolved | Self::Unreachable | Self::Resting | Self::Crowded => Away::busy(code),
            Self::Tls | Self::Nonsense => Away::with(code, 502, "Bad Gateway"),
        }
    }

    /// The word for logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused(_) => "csms_refused",
            Self::Unresolved => "csms_unresolved",
            Self::Unreachable => "csms_unreachable",
            Self::Resting => "csms_resting",
            Self::Crowded => "too_many_dials",
            Self::Tls => "csms_tls",
            Self::Nonsense => "csms_nonsense",
        }
    }

    /// Whether the central system is away for every station, and not for this one.
    fn is_away(self) -> bool {
        matches!(self, Self::Unresolved | Self::Unreachable | Self::Tls)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        500..=599 => "Server Error",
        _ => "Refused",
    }
}

impl Upstream {
    /// The upgrade request. Header names in canonical case: central systems have firmware's habits too.
    fn request(&self, call: &Call<'_>, key: &str) -> Vec<u8> {
        let mut request = Vec::with_capacity(512);
        let mut say = |words: &[&str]| words.iter().for_each(|word| request.extend_from_slice(word.as_bytes()));
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let default_port = if self.tls.is_some() { 443 } else { 80 };
        let port = if self.port == default_port { String::new() } else { format!(":{}", self.port) };
        say(&["GET ", &self.base]);
        if self.append_id {
            say(&["/", call.raw_id]);
        } else if self.base.is_empty() {
            say(&["/"]);
        }
        say(&[" HTTP/1.1\r\nHost: ", open, &self.host, close, &port]);
        say(&["\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ", key, "\r\nSec-WebSocket-Version: 13\r\n"]);
        if self.offers_versions && !call.offer.is_empty() {
            for (version, before) in call.offer.iter().zip(iter::once("Sec-WebSocket-Protocol: ").chain(iter::repeat(", "))) {
                say(&[before, version.subprotocol()]);
            }
            say(&["\r\n"]);
        }
        if let Some(credentials) = call.authorization {
            request.extend_from_slice(b"Authorization: ");
            request.extend_from_slice(credentials);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }

    /// Connects to one of the addresses and shakes hands. If there was a choice of addresses, `chosen` says which it was.
    async fn connect(&self, addresses: &Addresses, call: &Call<'_>, chosen: &OnceLock<SocketAddr>) -> Result<Dialled, NoUpstream> {
        let places = addresses.of(&self.host, self.port).await.ok_or(NoUpstream::Unresolved)?;
        let tcp = match places.as_slice() {
            [only] => TcpStream::connect(only).await.map_err(|_| NoUpstream::Unreachable)?,
            several => {
                let (tcp, place) = race(several).await.ok_or(NoUpstream::Unreachable)?;
                let _ = chosen.set(place);
                tcp
            }
        };
        // Frames are written whole; waiting for more would only add latency.
        let _ = tcp.set_nodelay(true);
        let mut socket = match &self.tls {
            None => Socket::Plain(tcp),
            Some(config) => {
                let name = self.server_name.as_ref().unwrap_or(&self.host);
                let name = ServerName::try_from(name.clone()).map_err(|_| NoUpstream::Tls)?;
                let tls = TlsConnector::from(Arc::clone(&*config.get())).connect(name, tcp).await.map_err(|_| NoUpstream::Tls)?;
                Socket::Tls(Box::new(tls.into()))
            }
        };
        let key = STANDARD.encode(call.nonce);
        let mut answer = Vec::with_capacity(512);
        let end = exchange(&mut socket, &self.request(call, &key), &mut answer).await?;
        let rest = answer.split_off(end);
        let version = read_answer(&answer, &key, if self.offers_versions { call.offer } else { &[] })?;
        Ok(Dialled { socket, version, rest })
    }
}

/// Connects to the first of several addresses that answers (RFC 8305, section 5): each next one is tried when one has failed, or has not answered
/// within [`STAGGER`]. The addresses are few ([`Addresses`]), and with them the sockets that a dial may hold at a time.
async fn race(places: &[SocketAddr]) -> Option<(TcpStream, SocketAddr)> {
    let (mut left, mut trying) = (places.iter().copied(), FuturesUnordered::new());
    loop {
        if let Some(place) = left.next() {
            trying.push(async move { TcpStream::connect(place).await.map(|tcp| (tcp, place)) });
        }
        tokio::select! {
            Some(tried) = trying.next() => {
                if let Ok(connected) = tried {
                    return Some(connected);
                }
            }
            () = sleep(STAGGER), if left.len() > 0 => {}
            else => return None,
        }
    }
}

async fn exchange(socket: &mut Socket, request: &[u8], answer: &mut Vec<u8>) -> Result<usize, NoUpstream> {
    socket.write_all(request).await.map_err(|_| NoUpstream::Unreachable)?;
    socket.flush().await.map_err(|_| NoUpstream::Unreachable)?;
    loop {
        if let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") {
            return Ok(end + 4);
        }
        let room = MAX_ANSWER - answer.len();
        if room == 0 {
            return Err(NoUpstream::Nonsense);
        }
        if (&mut *socket).take(room as u64).read_buf(answer).await.map_err(|_| NoUpstream::Unreachable)? == 0 {
            return Err(if answer.is_empty() { NoUpstream::Unreachable } else { NoUpstream::Nonsense });
        }
    }
}

/// Reads the central system's answer, up to its empty line, to an upgrade with this key and these versions.
///
/// # Errors
/// [`NoUpstream::Refused`] with its HTTP status, or [`NoUpstream::Nonsense`].
pub fn read_answer(answer: &[u8], key: &str, offer: &[Version]) -> Result<Option<Version>, NoUpstream> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    if !matches!(response.parse(answer), Ok(httparse::Status::Complete(_))) {
        return Err(NoUpstream::Nonsense);
    }
    match response.code {
        Some(101) => {}
        Some(status @ 400..=599) => return Err(NoUpstream::Refused(status)),
        _ => return Err(NoUpstream::Nonsense),
    }
    let one = |name: &str| response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.trim_ascii());
    let expected = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let upgraded = one("Connection").is_some_and(|v| v.split(|b| *b == b',').any(|w| w.trim_ascii().eq_ignore_ascii_case(b"upgrade")));
    if one("Sec-WebSocket-Accept") != Some(expected.as_bytes())
        || !upgraded
        || one("Sec-WebSocket-Extensions").is_some_and(|v| !v.is_empty())
    {
        return Err(NoUpstream::Nonsense);
    }
    match one("Sec-WebSocket-Protocol").filter(|v| !v.is_empty()) {
        // Where nothing was offered nothing can be chosen, whatever it says.
        _ if offer.is_empty() => Ok(None),
        None => Ok(None),
        Some(chosen) => {
            let version = std::str::from_utf8(chosen).ok().and_then(Version::from_subprotocol).filter(|v| offer.contains(v));
            version.map(Some).ok_or(NoUpstream::Nonsense)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_says_where_to_whom_and_in_which_versions() {
        let mut upstream = Upstream {
            host: "csms.example".into(),
            port: 80,
            base: String::new(),
            append_id: true,
            offers_versions: true,
            tls: None,
            server_name: None,
            patience: Duration::from_secs(1),
        };
        let mut call = Call { raw_id: "CS%201", authorization: None, offer: &[Version::V201, Version::V16], nonce: [0; 16] };
        let asks = |upstream: &Upstream, call: &Call<'_>| String::from_utf8(upstream.request(call, "KEY")).unwrap();
        let rest = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: KEY\r\nSec-WebSocket-Version: 13\r\n";
        let offer = "Sec-WebSocket-Protocol: ocpp2.0.1, ocpp1.6\r\n";
        assert_eq!(asks(&upstream, &call), format!("GET /CS%201 HTTP/1.1\r\nHost: csms.example\r\n{rest}{offer}\r\n"));
        (upstream.host, upstream.port, upstream.append_id) = ("2001:db8::1".into(), 9000, false);
        call.authorization = Some(b"Basic x");
        let known = "Authorization: Basic x\r\n";
        assert_eq!(asks(&upstream, &call), format!("GET / HTTP/1.1\r\nHost: [2001:db8::1]:9000\r\n{rest}{offer}{known}\r\n"));
        (upstream.base, upstream.offers_versions) = ("/ocpp".into(), false);
        assert_eq!(asks(&upstream, &call), format!("GET /ocpp HTTP/1.1\r\nHost: [2001:db8::1]:9000\r\n{rest}{known}\r\n"));
        (upstream.append_id, upstream.offers_versions, call.offer) = (true, true, &[]);
        assert_eq!(asks(&upstream, &call), format!("GET /ocpp/CS%201 HTTP/1.1\r\nHost: [2001:db8::1]:9000\r\n{rest}{known}\r\n"));
    }
}
