//! The connection to the central system: dialled before the station is answered, with the station's own path segment, credentials and
//! versions. The handshake is ours (RFC 6455 §4.1): header names in canonical case, an answer without a subprotocol is no error, and
//! `Connection: keep-alive, Upgrade` is an upgrade.

use super::handshake::Refusal;
use crate::ocpp::Version;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The most bytes that the central system's answer may have.
const MAX_ANSWER: usize = 16 * 1024;

/// Where stations' connections go on to.
#[derive(Clone)]
pub struct Upstream {
    /// Host name or address, without port.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path without a slash at its end; `/<id>` is added.
    pub base: String,
    /// TLS settings for `wss`; `None` for `ws`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// How long dialling and the handshake may take together.
    pub patience: Duration,
}

/// A socket to the central system, plain or with TLS.
pub enum Socket {
    /// `ws`
    Plain(TcpStream),
    /// `wss`
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
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
    /// It cannot be reached, or did not answer in time.
    Unreachable,
    /// Its certificate was not accepted, or TLS failed.
    Tls,
    /// It answered with something that is no valid upgrade.
    Nonsense,
}

impl NoUpstream {
    /// What the station is answered.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Refused(status) => Refusal(status, reason(status), (status == 401).then_some("WWW-Authenticate: Basic realm=\"ocpp\"")),
            Self::Unreachable => Refusal(503, "Service Unavailable", Some("Retry-After: 10")),
            Self::Tls | Self::Nonsense => Refusal(502, "Bad Gateway", Some("Retry-After: 30")),
        }
    }

    /// The word for logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused(_) => "csms_refused",
            Self::Unreachable => "csms_unreachable",
            Self::Tls => "csms_tls",
            Self::Nonsense => "csms_nonsense",
        }
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
    /// Dials the central system for a station.
    ///
    /// # Errors
    /// [`NoUpstream`], which says what to answer the station.
    pub async fn dial(
        &self,
        raw_id: &str,
        authorization: Option<&[u8]>,
        offer: &[Version],
        nonce: [u8; 16],
    ) -> Result<Dialled, NoUpstream> {
        tokio::time::timeout(self.patience, self.handshake(raw_id, authorization, offer, nonce))
            .await
            .map_err(|_| NoUpstream::Unreachable)?
    }

    async fn handshake(
        &self,
        raw_id: &str,
        authorization: Option<&[u8]>,
        offer: &[Version],
        nonce: [u8; 16],
    ) -> Result<Dialled, NoUpstream> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|_| NoUpstream::Unreachable)?;
        // Frames are written whole; waiting for more would only add latency.
        let _ = tcp.set_nodelay(true);
        let mut socket = match &self.tls {
            None => Socket::Plain(tcp),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|_| NoUpstream::Tls)?;
                let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.map_err(|_| NoUpstream::Tls)?;
                Socket::Tls(Box::new(tls))
            }
        };
        let key = STANDARD.encode(nonce);
        let default_port = if self.tls.is_some() { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = if self.port == default_port { String::new() } else { format!(":{}", self.port) };
        let protocols = offer.iter().map(|v| v.subprotocol()).collect::<Vec<_>>().join(", ");
        let mut request = format!(
            "GET {}/{raw_id} HTTP/1.1\r\nHost: {host}{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocols}\r\n",
            self.base
        )
        .into_bytes();
        if let Some(credentials) = authorization {
            request.extend_from_slice(b"Authorization: ");
            request.extend_from_slice(credentials);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let mut answer = Vec::with_capacity(512);
        let end = match &mut socket {
            Socket::Plain(s) => exchange(s, &request, &mut answer).await?,
            Socket::Tls(s) => exchange(s, &request, &mut answer).await?,
        };
        let rest = answer.split_off(end);
        let version = read_answer(&answer, &key, offer)?;
        Ok(Dialled { socket, version, rest })
    }
}

async fn exchange<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    socket: &mut S,
    request: &[u8],
    answer: &mut Vec<u8>,
) -> Result<usize, NoUpstream> {
    socket.write_all(request).await.map_err(|_| NoUpstream::Unreachable)?;
    socket.flush().await.map_err(|_| NoUpstream::Unreachable)?;
    loop {
        if let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") {
            return Ok(end + 4);
        }
        if answer.len() > MAX_ANSWER {
            return Err(NoUpstream::Nonsense);
        }
        if socket.read_buf(answer).await.map_err(|_| NoUpstream::Unreachable)? == 0 {
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
        None => Ok(None),
        Some(chosen) => {
            let version = std::str::from_utf8(chosen).ok().and_then(Version::from_subprotocol).filter(|v| offer.contains(v));
            version.map(Some).ok_or(NoUpstream::Nonsense)
        }
    }
}
