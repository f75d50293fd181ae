//! Any bytes as a request to the OCPI surface, and what must hold of every answer.

use super::lock::NOON;
use super::vault::scratch;
use crate::clock::Timestamp;
use crate::config::{Config, Flags};
use crate::custody::{Custody, Opening, Role};
use crate::metrics::Metrics;
use crate::ocpi::client::Trouble;
use crate::ocpi::peer::{Peer, Peers, Who};
use crate::ocpi::server::{Asking, Errands, Surface};
use crate::recipient::{Ocpi, Party};
use crate::vault::tokens::EmspToken;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Asks the surface.
///
/// # Panics
/// If the answer is none of OCPI's.
pub fn run(bytes: &[u8]) {
    let desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
    let tokens: Vec<&str> = desk.tokens.iter().map(String::as_str).collect();
    let Some(request) = request(bytes, &tokens) else { return };
    let response = desk.runtime.block_on(async {
        let (head, body) = desk.surface.answer([127, 0, 0, 1].into(), request).await.into_parts();
        let Ok(body) = body.collect().await;
        Response::from_parts(head, body.to_bytes())
    });
    if let Err(what) = conforms(&response) {
        panic!("{what}: {response:?}");
    }
}

/// A surface without a listener, with tokens of an e-MSP and of the central system, and an invitation of another e-MSP.
struct Desk {
    runtime: tokio::runtime::Runtime,
    surface: Surface,
    tokens: Vec<String>,
}

static DESK: LazyLock<Mutex<Desk>> = LazyLock::new(|| Mutex::new(Desk::new()));

impl Desk {
    fn new() -> Self {
        let dir = scratch("ocpi");
        let invitation = dir.join("invitation");
        std::fs::write(&invitation, "invitation-of-NL-XYZ\n").expect("a scratch file");
        std::fs::set_permissions(&invitation, std::fs::Permissions::from_mode(0o600)).expect("a scratch file");
        let text = format!(
            "data_dir = \"{}\"\n[cpo]\nparty = \"NL-CPO\"\n[ocpi]\nlisten = \"127.0.0.1:9\"\n[[emsp]]\nparty = \"NL-ABC\"\n\
             agreement = \"1\"\ndelivery = \"pull\"\n[[emsp]]\nparty = \"NL-XYZ\"\nagreement = \"1\"\nocpi = \"2.3.0\"\n\
             delivery = \"push\"\ntoken_file = \"{}\"\n",
            dir.join("data").display(),
            invitation.display()
        );
        let config = Config::read_text(&Flags::default(), &|_| None, "sluis.toml", &text).expect("a configuration without mistakes");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let opening = Opening::new(Role::Serve, Timestamp(NOON));
        let custody = Arc::new(Custody::open(&config.data_dir, None, &opening).expect("a new store"));
        let peers = Peers::new(Arc::clone(&custody));
        let grant = |who: Who| {
            let token = peers.new_token().expect("random bytes");
            let peer = Peer { who, version: Ocpi::V221, endpoints: Vec::new(), ours: None, theirs: Some(token.clone()), raw: false };
            runtime.block_on(peers.keep(&peer)).expect("a new row");
            // Why exposed: it goes into the requests.
            token.expose().clone()
        };
        let party = Party::parse("NL-ABC").expect("a party");
        let tokens = vec![grant(Who::Emsp(party)), grant(Who::Csms), "invitation-of-NL-XYZ".to_owned()];
        let client = crate::serve::ocpi_client(&config).expect("a client");
        let metrics = Metrics::install().expect("counters");
        let surface = Surface::open(&config, custody, client, Arc::new(Nobody), metrics);
        let surface = surface.ok().flatten().expect("a surface without mistakes");
        Self { runtime, surface, tokens }
    }
}

/// Nobody to ask.
struct Nobody;

impl Errands for Nobody {
    fn ask<'a>(&'a self, _: &'a EmspToken, _: Option<&'a Value>) -> Asking<'a> {
        Box::pin(async { Err(Trouble::NoWay) })
    }

    fn tokens_changed(&self) {}

    fn parties_changed(&self) {}
}

/// Reads bytes as a request: a line of method and target, lines of headers, an empty line, the body. A header `token` followed by a digit stands for
/// one of the `tokens`. `None` for what no HTTP library would hand on.
pub fn request(bytes: &[u8], tokens: &[&str]) -> Option<Request<Bytes>> {
    let end = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let mut request = Request::new(Bytes::copy_from_slice(body));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = target.parse::<Uri>().ok()?;
    for line in lines.take(64) {
        if let [b't', b'o', b'k', b'e', b'n', digit] = line {
            let token = tokens.get(usize::from(digit.wrapping_sub(b'0')))?;
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&format!("Token {token}")).ok()?);
        } else if let Some(at) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = (HeaderName::from_bytes(&line[..at]).ok()?, HeaderValue::from_bytes(&line[at + 1..]).ok()?);
            request.headers_mut().append(name, value);
        }
    }
    Some(request)
}

/// What must hold of every answer: a status of those that OCPI leaves to HTTP, JSON, an envelope, and ids that say nothing.
///
/// # Errors
/// What does not hold.
pub fn conforms(response: &Response<Bytes>) -> Result<(), &'static str> {
    let envelope: Value = serde_json::from_slice(response.body()).map_err(|_| "the body is no JSON")?;
    let code = envelope.get("status_code").and_then(Value::as_u64).ok_or("no status_code")?;
    let classes = match response.status().as_u16() {
        200 => 1000..4000,
        201 => 1000..2000,
        400 | 401 | 404 | 405 => 2000..3000,
        _ => return Err("an HTTP status that OCPI has no use for"),
    };
    let text = |name: &str| envelope.get(name).and_then(Value::as_str);
    let names = ["data", "status_code", "status_message", "timestamp"];
    let id = |name: &str| response.headers().get(name).and_then(|id| id.to_str().ok()).is_some_and(|id| (1..=64).contains(&id.len()));
    let checks = [
        (classes.contains(&code), "HTTP and OCPI status do not fit"),
        (text("timestamp").and_then(crate::ocpi::token::moment).is_some(), "no timestamp"),
        (text("status_message").is_some_and(|text| (1..=255).contains(&text.len())), "no status_message"),
        (code < 2000 || envelope.get("data").is_none(), "data in a refusal"),
        (envelope.as_object().is_some_and(|fields| fields.keys().all(|name| names.contains(&name.as_str()))), "a field too many"),
        (response.headers().get("content-type").is_some_and(|kind| kind == "application/json"), "no content type"),
        (id("x-request-id") && id("x-correlation-id"), "no ids"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
}
