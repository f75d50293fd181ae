//! Calls other parties. One request, one answer, bounded in time and size; redirects are not followed and cookies not kept. What a party
//! answers is read leniently and handed on as data or as a word of a closed list: no error of this room holds bytes of an answer, a URL or a
//! token.
//!
//! Sources: OCPI 2.2.1 §Transport and format (headers, envelope, paging), §Status codes; 2.1.1 has no routing headers.

use super::address::{encoded, may_be_called, next_page};
pub use super::address::{joined, same_origin, with_query};
use super::peer::{Peer, Who};
use crate::recipient::{Ocpi, Party};
use crate::secret::Sensitive;
use crate::vault::tokens::EmspToken;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LINK, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ring::rand::SecureRandom;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// How long a call may take, and how much its answer may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Until the connection stands, TLS not included.
    pub connect: Duration,
    /// From the first step to the last byte of the answer.
    pub whole: Duration,
    /// Bytes of an answer's body.
    pub answer: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), whole: Duration::from_secs(60), answer: 1 << 20 }
    }
}

/// Why a call came to nothing. Closed, and empty of what was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Trouble {
    /// The URL is none that may be called: not `https://`, or `http://` where that is not allowed.
    #[error("its URL may not be called")]
    Address,
    /// There is no endpoint or no token to call it with.
    #[error("there is no endpoint or no token to call it with")]
    NoWay,
    /// No connection, or it broke.
    #[error("it cannot be reached")]
    Unreachable,
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// The answer is not what OCPI says.
    #[error("its answer cannot be read")]
    Garbage,
    /// The answer is too big.
    #[error("its answer is too big")]
    TooLarge,
    /// An HTTP status that is no success.
    #[error("it answered HTTP {0}")]
    Http(u16),
    /// An OCPI status that is no success.
    #[error("it answered OCPI {0}")]
    Ocpi(u16),
}

impl Trouble {
    /// One word, for metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::NoWay => "no_way",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Garbage => "garbage",
            Self::TooLarge => "too_large",
            Self::Http(300..400) => "http_redirect",
            Self::Http(401 | 403) => "unauthorized",
            Self::Http(429) => "http_429",
            Self::Http(400..500) => "http_client",
            Self::Http(_) => "http_server",
            Self::Ocpi(2000..3000) => "ocpi_client",
            Self::Ocpi(_) => "ocpi_server",
        }
    }
}

/// What is shown at a party's door: its token, and who speaks to whom.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// The token it gave us.
    pub token: &'a Sensitive<String>,
    /// Whether the token goes as it is, rather than in base64.
    pub raw: bool,
    /// The version spoken.
    pub version: Ocpi,
    /// Who speaks; the client's own party if `None`.
    pub from: Option<Party>,
    /// Who is spoken to; `None` for the modules that are not routed (versions, credentials).
    pub to: Option<Party>,
}

impl<'a> Pass<'a> {
    /// For a party; `None` if it has given no token.
    pub fn of(peer: &'a Peer) -> Option<Self> {
        let to = match peer.who {
            Who::Emsp(party) => Some(party),
            Who::Csms => None,
        };
        Some(Self { token: peer.ours.as_ref()?, raw: peer.raw, version: peer.version, from: None, to })
    }

    /// For the modules that are not routed: versions and credentials (2.2.1 §Message routing).
    #[must_use]
    pub fn unrouted(self) -> Self {
        Self { from: None, to: None, ..self }
    }
}

/// A complete answer of whatever status.
#[derive(Clone)]
pub struct Reply {
    /// The HTTP status.
    pub http: u16,
    /// The OCPI status, if there is an envelope.
    pub ocpi: Option<u16>,
    /// The envelope's data; `null` if there is none.
    pub data: Value,
    /// The URL of the next page, by the `Link` header.
    pub next: Option<String>,
    /// `X-Total-Count`.
    pub total: Option<u64>,
    /// `X-Limit`.
    pub limit: Option<u64>,
    /// Whether there is a `Location` header.
    pub located: bool,
    /// `Retry-After`, in seconds; dates are not read.
    pub retry_after: Option<Duration>,
}

impl Reply {
    /// The data of a success: HTTP 2xx and OCPI 1xxx.
    ///
    /// # Errors
    /// The OCPI status where there is one, else the HTTP status.
    pub fn success(self) -> Result<Answer, Trouble> {
        match (self.http, self.ocpi) {
            (200..300, Some(1000..2000)) => {
                Ok(Answer { http: self.http, data: self.data, next: self.next, total: self.total, limit: self.limit })
            }
            (_, Some(code @ 2000..)) => Err(Trouble::Ocpi(code)),
            (200..300, _) => Err(Trouble::Garbage),
            (http, _) => Err(Trouble::Http(http)),
        }
    }
}

/// What a party said, when it said yes.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub http: u16,
    /// The envelope's data; `null` if there is none.
    pub data: Value,
    /// The URL of the next page.
    pub next: Option<String>,
    /// `X-Total-Count`.
    pub total: Option<u64>,
    /// `X-Limit`.
    pub limit: Option<u64>,
}

/// Prints the statuses, nothing of what was said.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}, {:?})", self.http, self.ocpi)
    }
}

/// Prints the status, nothing of what was said.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({})", self.http)
    }
}

/// An e-MSP's answer to a real-time authorisation, as far as it goes on: no free text, and no token but the one that was asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorization {
    /// `ALLOWED`, `BLOCKED`, `EXPIRED`, `NO_CREDIT` or `NOT_ALLOWED`.
    pub allowed: &'static str,
    /// Where it holds: `location_id` and `evse_uids`, for the location asked about.
    pub location: Option<Value>,
    /// The reference that the CDR repeats.
    pub reference: Option<String>,
}

/// The client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    us: Option<Party>,
    plaintext: bool,
    bounds: Bounds,
}

impl Client {
    /// A client that trusts what `tls` trusts. `us`: the party that calls come from. `plaintext`: `http://` may leave the machine.
    pub fn new(tls: rustls::ClientConfig, us: Option<Party>, plaintext: bool) -> Self {
        Self::bounded(tls, us, plaintext, Bounds::default())
    }

    /// [`Client::new`] with other bounds.
    pub fn bounded(tls: rustls::ClientConfig, us: Option<Party>, plaintext: bool, bounds: Bounds) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(bounds.connect));
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(2)
            .http1_max_buf_size(64 << 10)
            .build(connector);
        Self { http, us, plaintext, bounds }
    }

    /// The party that calls come from.
    pub fn party(&self) -> Option<Party> {
        self.us
    }

    /// GET.
    ///
    /// # Errors
    /// [`Trouble`]: anything but a success.
    pub async fn get(&self, url: &str, pass: &Pass<'_>) -> Result<Answer, Trouble> {
        self.call(Method::GET, url, pass, Bytes::new()).await?.success()
    }

    /// POST of a JSON text.
    ///
    /// # Errors
    /// [`Trouble`]: anything but a success.
    pub async fn post(&self, url: &str, pass: &Pass<'_>, body: impl Into<Bytes>) -> Result<Answer, Trouble> {
        self.call(Method::POST, url, pass, body.into()).await?.success()
    }

    /// PUT of a JSON text.
    ///
    /// # Errors
    /// [`Trouble`]: anything but a success.
    pub async fn put(&self, url: &str, pass: &Pass<'_>, body: impl Into<Bytes>) -> Result<Answer, Trouble> {
        self.call(Method::PUT, url, pass, body.into()).await?.success()
    }

    /// PATCH of a JSON text.
    ///
    /// # Errors
    /// [`Trouble`]: anything but a success.
    pub async fn patch(&self, url: &str, pass: &Pass<'_>, body: impl Into<Bytes>) -> Result<Answer, Trouble> {
        self.call(Method::PATCH, url, pass, body.into()).await?.success()
    }

    /// Asks the owner of a token whether it may charge now (2.2.1 §Tokens, POST authorize). `location`: LocationReferences.
    ///
    /// # Errors
    /// [`Trouble`]: anything but an answer to the question.
    pub async fn authorize(
        &self,
        tokens_url: &str,
        pass: &Pass<'_>,
        token: &EmspToken,
        location: Option<&Value>,
    ) -> Result<Authorization, Trouble> {
        // Into the URL of a call to its owner, which nobody logs.
        let url = Sensitive::new(format!("{}?type={}", joined(tokens_url, &[token.uid.expose(), "authorize"]), encoded(&token.kind)));
        let body = location.map(|location| Bytes::from(location.to_string())).unwrap_or_default();
        let answer = self.post(url.expose(), pass, body).await?;
        Authorization::read(&answer.data, location).ok_or(Trouble::Garbage)
    }

    /// One request and its answer of whatever status.
    ///
    /// # Errors
    /// There was no complete answer within the bounds.
    pub async fn call(&self, method: Method, url: &str, pass: &Pass<'_>, body: Bytes) -> Result<Reply, Trouble> {
        let uri: Uri = url.parse().map_err(|_| Trouble::Address)?;
        if !may_be_called(&uri, self.plaintext) {
            return Err(Trouble::Address);
        }
        let json = !body.is_empty();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        self.sign(request.headers_mut(), pass, json)?;
        tokio::time::timeout(self.bounds.whole, self.exchange(request)).await.map_err(|_| Trouble::TimedOut)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, Trouble> {
        // The library's errors may hold the URL: only what kind they are goes on.
        let response = self.http.request(request).await.map_err(|_| Trouble::Unreachable)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.bounds.answer)
            .collect()
            .await
            .map_err(|error| if error.downcast_ref::<LengthLimitError>().is_some() { Trouble::TooLarge } else { Trouble::Unreachable })?;
        let body = body.to_bytes();
        let mut envelope: Value = serde_json::from_slice(&body).unwrap_or_default();
        let ocpi = match envelope.get("status_code") {
            // Some write it as a text.
            Some(Value::String(text)) => text.parse().ok(),
            Some(code) => code.as_u64().and_then(|code| u16::try_from(code).ok()),
            None => None,
        };
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name: &str| text(name).and_then(|text| text.trim().parse().ok());
        Ok(Reply {
            http: head.status.as_u16(),
            ocpi,
            data: envelope.get_mut("data").map(Value::take).unwrap_or_default(),
            next: text(LINK.as_str()).and_then(next_page),
            total: number("x-total-count"),
            limit: number("x-limit"),
            located: head.headers.contains_key(LOCATION),
            retry_after: number(RETRY_AFTER.as_str()).map(Duration::from_secs),
        })
    }

    fn sign(&self, headers: &mut HeaderMap, pass: &Pass<'_>, json: bool) -> Result<(), Trouble> {
        let clear = pass.token.expose(); // into the header of a call to the party that gave it
        let token = Sensitive::new(if pass.raw { format!("Token {clear}") } else { format!("Token {}", STANDARD.encode(clear)) });
        let mut token = HeaderValue::from_str(token.expose()).map_err(|_| Trouble::NoWay)?;
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
        if json {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for name in ["x-request-id", "x-correlation-id"] {
            headers.insert(name, HeaderValue::from_str(&fresh_id()?).map_err(|_| Trouble::NoWay)?);
        }
        if pass.version >= Ocpi::V221
            && let (Some(from), Some(to)) = (pass.from.or(self.us), pass.to)
        {
            let routing = [
                ("ocpi-from-country-code", from.country()),
                ("ocpi-from-party-id", from.id()),
                ("ocpi-to-country-code", to.country()),
                ("ocpi-to-party-id", to.id()),
            ];
            for (name, value) in routing {
                headers.insert(name, HeaderValue::from_str(value).map_err(|_| Trouble::NoWay)?);
            }
        }
        Ok(())
    }
}

impl Authorization {
    /// From an AuthorizationInfo object.
    fn read(data: &Value, asked: Option<&Value>) -> Option<Self> {
        const ALLOWED: [&str; 5] = ["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"];
        let allowed = data.get("allowed")?.as_str()?;
        let allowed = ALLOWED.into_iter().find(|word| word.eq_ignore_ascii_case(allowed))?;
        let id = |value: &Value| value.as_str().filter(|text| text.len() <= 36 && is_printable(text)).map(str::to_owned);
        let location = data.get("location").zip(asked).and_then(|(said, asked)| {
            let location_id = id(said.get("location_id")?)?;
            asked.get("location_id")?.as_str()?.eq_ignore_ascii_case(&location_id).then_some(())?;
            let words = |value: &Value| value.get("evse_uids").and_then(Value::as_array).into_iter().flatten().filter_map(id).collect();
            let (mut evses, asked): (Vec<String>, Vec<String>) = (words(said), words(asked));
            evses.retain(|evse| asked.is_empty() || asked.iter().any(|other| other.eq_ignore_ascii_case(evse)));
            evses.truncate(256);
            Some(serde_json::json!({"location_id": location_id, "evse_uids": evses}))
        });
        Some(Self { allowed, location, reference: data.get("authorization_reference").and_then(id) })
    }
}

/// U+0020 to U+007E, as OCPI's CiString.
pub(super) fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// A random UUID (version 4): it says nothing of what is asked.
fn fresh_id() -> Result<String, Trouble> {
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Trouble::NoWay)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_carries_no_free_text_and_no_other_place() {
        let asked = serde_json::json!({"location_id": "LOC1", "evse_uids": ["1"]});
        let said = serde_json::json!({
            "allowed": "ALLOWED", "info": {"language": "nl", "text": "Welkom J. Jansen"}, "token": {"uid": "04A2"},
            "location": {"location_id": "loc1", "evse_uids": ["1", 5, "04A2B3C4"], "x": 1}, "authorization_reference": "r-1",
        });
        let read = Authorization::read(&said, Some(&asked)).unwrap();
        assert_eq!(read.location, Some(serde_json::json!({"location_id": "loc1", "evse_uids": ["1"]})));
        assert_eq!((read.allowed, read.reference.as_deref()), ("ALLOWED", Some("r-1")));
        assert_eq!(Authorization::read(&said, None).unwrap().location, None);
        assert_eq!(Authorization::read(&serde_json::json!({"allowed": "PERHAPS"}), None), None);
    }
}
