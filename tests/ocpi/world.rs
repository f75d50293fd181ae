//! A whole gateway with an OCPI surface on loopback, and a client that shows everything of an answer.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sluis::clock::Timestamp;
use sluis::config::{Config, Flags};
use sluis::custody::{Custody, Opening, Role};
use sluis::identity::{Codes, Declared, Identifier, Sighting};
use sluis::keys::Domain;
use sluis::metrics::Metrics;
use sluis::ocpi::client::Trouble;
use sluis::ocpi::peer::{Peer, Peers, Who};
use sluis::ocpi::server::{Asking, Errands, Surface};
use sluis::recipient::{Ocpi, Party};
use sluis::serve::Serving;
use sluis::store::{CdrRow, CdrState, Store};
use sluis::vault::tokens::EmspToken;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// 2026-11-24T10:00:00Z
pub(crate) const START: Timestamp = Timestamp(1_795_514_400_000);

/// An e-MSP of the configuration. It may register with `invitation-of-<party>`.
pub(crate) fn emsp(party: &str, version: &str, delivery: &str, more: &str) -> String {
    format!(
        "[[emsp]]\nparty = \"{party}\"\nagreement = \"DPA 1\"\nocpi = \"{version}\"\ndelivery = \"{delivery}\"\ntoken_file = \"TOKENS/{party}\"\n\
         their_token_file = \"TOKENS/{party}\"\n{more}\n"
    )
}

pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) port: u16,
    serving: Serving,
    dir: Arc<tempfile::TempDir>,
    config: Config,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(&[
            emsp("NL-ABC", "2.2.1", "pull", ""),
            emsp("NL-XYZ", "2.2.1", "pull", ""),
            emsp("NL-PSH", "2.2.1", "push", ""),
            emsp("DE-OLD", "2.1.1", "pull", ""),
            emsp("FR-NEW", "2.3.0", "pull", ""),
            emsp("NL-EXP", "2.2.1", "pull", "valid_until = \"2020-01-01\""),
        ])
        .await
    }

    pub(crate) async fn with(emsps: &[String]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let (config, port) = configuration(&dir, emsps);
        let serving = Serving::start(&config).await.unwrap();
        Self { url: config.ocpi.as_ref().unwrap().url.clone(), port, serving, dir, config }
    }

    pub(crate) async fn restarted(self) -> Self {
        let Self { url, port, serving, dir, config } = self;
        serving.stop().await;
        let serving = Serving::start(&config).await.unwrap();
        Self { url, port, serving, dir, config }
    }

    pub(crate) async fn stop(self) {
        self.serving.stop().await;
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn custody(&self) -> Arc<Custody> {
        Arc::clone(&self.serving.gateway.custody)
    }

    pub(crate) fn store(&self) -> Store {
        self.serving.gateway.custody.store().clone()
    }

    pub(crate) fn peers(&self) -> Peers {
        Peers::new(self.custody())
    }

    /// A token for a party, without an exchange.
    pub(crate) async fn granted(&self, who: &str) -> String {
        grant(&self.peers(), who).await
    }

    /// The code of an identifier in an e-MSP's domain; recorded in the central system's.
    pub(crate) async fn code_at(&self, party: &str, text: &str) -> String {
        let (country, id) = party.split_once('-').unwrap();
        let identifier = Identifier::from_wire(text, Declared::Undeclared);
        let custody = self.custody();
        let code = custody.keys.code(&identifier, None);
        let theirs = custody.keys.code_in(&Domain::emsp(country, id).unwrap(), &identifier, None);
        custody.vault.record(&[Sighting { code, identifier }]).await.unwrap();
        theirs.as_str().to_owned()
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send("GET", path, &[("authorization", &format!("Token {token}"))], b"").await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.call("POST", path, token, body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, path, &[("authorization", &format!("Token {token}")), ("content-type", "application/json")], &body).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(format!("/ocpi{path}")).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, hyper::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let asked = tokio::time::Instant::now();
        let response = sender.send_request(request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Answer { http: head.status.as_u16(), headers: head.headers, body, took: asked.elapsed() }
    }
}

async fn grant(peers: &Peers, who: &str) -> String {
    let who = Party::parse(who).map_or(Who::Csms, Who::Emsp);
    let token = peers.new_token().unwrap();
    let peer = Peer { who, version: Ocpi::V221, endpoints: Vec::new(), ours: None, theirs: Some(token.clone()), raw: false };
    peers.keep(&peer).await.unwrap();
    token.expose().clone()
}

fn configuration(dir: &tempfile::TempDir, emsps: &[String]) -> (Config, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tokens = dir.path().join("tokens");
    std::fs::create_dir_all(&tokens).unwrap();
    for entry in emsps {
        let party = entry.split('"').nth(1).unwrap();
        std::fs::write(tokens.join(party), format!("invitation-of-{party}\n")).unwrap();
        std::fs::set_permissions(tokens.join(party), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n[upstream]\nurl = \"ws://127.0.0.1:9/csms\"\n\
         [cpo]\nparty = \"NL-CPO\"\nname = \"The operator\"\n[ocpi]\nlisten = \"127.0.0.1:{port}\"\n{}",
        dir.path().join("data").display(),
        emsps.join("").replace("TOKENS", &tokens.display().to_string())
    );
    let file = dir.path().join("sluis.toml");
    std::fs::write(&file, text).unwrap();
    (Config::read(&Flags { config: Some(file), values: Vec::new() }, &|_| None).unwrap(), port)
}

/// Opens the store of a running gateway beside it.
pub(crate) fn beside(data: &std::path::Path) -> Custody {
    Custody::open(data, None, &Opening::new(Role::Beside, START)).unwrap()
}

/// The code of an identifier in the central system's domain, and the identifier.
pub(crate) fn codes(world: &World, text: &str) -> (String, Identifier) {
    let identifier = Identifier::from_wire(text, Declared::Undeclared);
    (world.custody().keys.code(&identifier, None).as_str().to_owned(), identifier)
}

/// The n-th CDR of an e-MSP, a second after the one before. All are of one card.
pub(crate) fn cdr(world: &World, owner: &str, n: i64, state: CdrState) -> CdrRow {
    let (code, identifier) = codes(world, "04A2B3C4D5E607");
    let sighting = Sighting { code: world.custody().keys.code(&identifier, None), identifier: identifier.clone() };
    let custody = world.custody();
    std::thread::spawn(move || custody.vault.record_blocking(&[sighting]).unwrap()).join().unwrap();
    let (country, id) = owner.split_once('-').unwrap();
    let theirs = world.custody().keys.code_in(&Domain::emsp(country, id).unwrap(), &identifier, None);
    let updated = Timestamp(START.0 + n * 1000);
    let body = format!(
        "{{\"id\":\"{owner}-{n}\",\"cdr_token\":{{\"uid\":\"{theirs}\"}},\"total_cost\":1.{n}0,\"last_updated\":\"{}\"}}",
        updated.rfc3339()
    );
    let draft = json!({"session": {"token": {"code": code}}}).to_string();
    CdrRow {
        seq: 0,
        id: format!("{owner}-{n}"),
        session: format!("S-{owner}-{n}"),
        owner: Some(owner.to_owned()),
        state,
        code: Some(theirs.as_str().to_owned()),
        draft,
        body: Some(body),
        why: None,
        updated,
        tries: 0,
    }
}

/// A token of an e-MSP in the shape of 2.2.1, with fields that are not kept.
pub(crate) fn token(party: &str, uid: &str) -> Value {
    let (country, id) = party.split_once('-').unwrap();
    json!({
        "country_code": country, "party_id": id, "uid": uid, "type": "RFID", "contract_id": format!("{party}-C00000001-X"),
        "visual_number": "VISUAL-4711", "issuer": "An e-MSP", "group_id": "GROUP-1", "valid": true, "whitelist": "ALLOWED", "language": "nl",
        "energy_contract": {"supplier_name": "x", "contract_id": "EAN-4711"}, "last_updated": "2026-11-24T10:00:00Z", "what": 1,
    })
}

pub(crate) struct Answer {
    pub(crate) http: u16,
    headers: HeaderMap,
    body: Bytes,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = hyper::StatusCode::from_u16(self.http).unwrap();
        *response.headers_mut() = self.headers.clone();
        sluis::fuzz::ocpi::conforms(&response).unwrap();
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> u64 {
        self.json()["status_code"].as_u64().unwrap()
    }

    pub(crate) fn statuses(&self) -> (u16, u64) {
        (self.http, self.code())
    }

    pub(crate) fn data(&self) -> Value {
        let mut json = self.json();
        assert_eq!(json["status_code"], 1000, "{json}");
        json["data"].take()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body, byte for byte, up to its time.
    pub(crate) fn timeless(&self) -> String {
        let (before, after) = self.text().split_once("\"timestamp\":\"").unwrap();
        format!("{before}{}", &after["2026-11-24T10:00:00Z".len()..])
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn header_names(&self) -> Vec<(String, usize)> {
        self.headers.iter().map(|(name, value)| (name.to_string(), value.len())).collect()
    }
}

struct Nobody;

impl Errands for Nobody {
    fn ask<'a>(&'a self, _: &'a EmspToken, _: Option<&'a Value>) -> Asking<'a> {
        Box::pin(async { Err(Trouble::NoWay) })
    }

    fn tokens_changed(&self) {}

    fn parties_changed(&self) {}
}

/// A surface without a listener, and tokens of an e-MSP, the central system, and an invitation.
pub(crate) async fn bare_surface() -> (Surface, Vec<String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = configuration(&dir, &[emsp("NL-ABC", "2.2.1", "pull", ""), emsp("NL-XYZ", "2.3.0", "push", "")]);
    let custody = Arc::new(Custody::open(&config.data_dir, None, &Opening::new(Role::Serve, START)).unwrap());
    let peers = Peers::new(Arc::clone(&custody));
    let tokens = vec![grant(&peers, "NL-ABC").await, grant(&peers, "csms").await, "invitation-of-NL-XYZ".to_owned()];
    let client = sluis::serve::ocpi_client(&config).unwrap();
    let surface = Surface::open(&config, custody, client, Arc::new(Nobody), Metrics::install().unwrap()).unwrap().unwrap();
    (surface, tokens, dir)
}

pub(crate) async fn whole(response: Response<Full<Bytes>>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();

struct Writer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From now on every log line of this process is kept.
pub(crate) fn capture_logs() {
    LOG.get_or_init(|| {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&buffer);
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::TRACE);
        log.with_writer(move || Writer(Arc::clone(&writer))).init();
        buffer
    });
}

pub(crate) fn logs() -> String {
    String::from_utf8_lossy(&LOG.get().unwrap().lock().unwrap()).into_owned()
}
