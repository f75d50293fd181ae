//! Authorities, a central system, a gateway between, and stations that knock.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sluis::config::{Config, Flags};
use sluis::serve::Serving;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The bound only ends a test that has failed, and is longer than the gateway's own patience in any of them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
pub(crate) const NAME: &str = "gateway.test";

/// What a certificate is to be.
#[derive(Clone)]
pub(crate) struct Wish<'a> {
    pub(crate) common_name: &'a str,
    pub(crate) names: &'a [&'a str],
    pub(crate) organization: &'a str,
    pub(crate) years: (i32, i32),
    pub(crate) server: bool,
    pub(crate) rsa: bool,
}

/// A good certificate of a station.
pub(crate) fn station(id: &str) -> Wish<'_> {
    Wish { common_name: id, names: &[], organization: "Voltbaas", years: (2020, 2090), server: false, rsa: false }
}

/// A good certificate of a server.
pub(crate) fn server<'a>(names: &'a [&'a str]) -> Wish<'a> {
    Wish { common_name: "a server", names, organization: "Voltbaas", years: (2020, 2090), server: true, rsa: false }
}

/// A certificate with its chain and key, in PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) serial: u64,
}

static SERIAL: AtomicU64 = AtomicU64::new(1000);
/// ring makes no RSA keys; openssl does. One is enough.
static RSA: LazyLock<String> = LazyLock::new(|| {
    let made = std::process::Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).output();
    let made = made.expect("the tests need the program openssl");
    assert!(made.status.success());
    String::from_utf8(made.stdout).unwrap()
});

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    /// What stands between it and the root, for the chains that it signs.
    between: String,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, between: String::new() }
    }

    pub(crate) fn below(&self, name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), between: pem.clone() + &self.between, pem }
    }

    pub(crate) fn sign(&self, wish: &Wish<'_>) -> Identity {
        let key = if wish.rsa { KeyPair::from_pem(&RSA).unwrap() } else { KeyPair::generate().unwrap() };
        let names: Vec<String> = wish.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, wish.organization);
        params.distinguished_name.push(DnType::CommonName, wish.common_name);
        params.not_before = rcgen::date_time_ymd(wish.years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(wish.years.1, 1, 1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![if wish.server { ExtendedKeyUsagePurpose::ServerAuth } else { ExtendedKeyUsagePurpose::ClientAuth }];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: certificate.pem() + &self.between, key: key.serialize_pem(), serial }
    }

    pub(crate) fn revokes(&self, all: &[&Identity]) -> String {
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: all
                .iter()
                .map(|identity| rcgen::RevokedCertParams {
                    serial_number: SerialNumber::from(identity.serial),
                    revocation_time: rcgen::date_time_ymd(2026, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

pub(crate) fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}

fn chain(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap())
}

/// How a station speaks TLS.
pub(crate) struct Tls<'a> {
    pub(crate) trusts: &'a str,
    pub(crate) shows: Option<&'a Identity>,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) suites: Option<&'a [CipherSuite]>,
    pub(crate) sni: bool,
}

pub(crate) fn trusting(pem: &str) -> Tls<'_> {
    Tls { trusts: pem, shows: None, versions: rustls::ALL_VERSIONS, suites: None, sni: true }
}

impl Tls<'_> {
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut provider = provider();
        if let Some(suites) = self.suites {
            provider.cipher_suites.retain(|suite| suites.contains(&suite.suite()));
            assert_eq!(provider.cipher_suites.len(), suites.len());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(self.versions).unwrap();
        let builder = builder.with_root_certificates(roots(self.trusts));
        let mut config = match self.shows {
            Some(identity) => {
                let (chain, key) = chain(identity);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = self.sni;
        Arc::new(config)
    }
}

/// Any stream of bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What a station finds when it knocks.
pub(crate) enum Answer {
    /// TLS did not come about, or the connection ended without a word.
    Closed,
    /// An HTTP answer, and the connection.
    Head(String, Box<dyn Stream>),
}

impl Answer {
    /// The HTTP status; 0 if there was none.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Closed => 0,
            Self::Head(head, _) => head.split(' ').nth(1).unwrap().parse().unwrap(),
        }
    }

    pub(crate) fn head(&self) -> &str {
        match self {
            Self::Closed => "",
            Self::Head(head, _) => head,
        }
    }

    /// The conversation that follows a 101.
    pub(crate) fn talk(self) -> impl Future<Output = Talk> {
        let Self::Head(head, stream) = self else { panic!("the station was turned away without a word") };
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        async { Talk(WebSocketStream::from_raw_socket(stream, Role::Client, None).await) }
    }
}

/// A station's conversation.
pub(crate) struct Talk(WebSocketStream<Box<dyn Stream>>);

impl Talk {
    /// Sends a CALL and gives the answer.
    pub(crate) async fn call(&mut self, call: &str) -> String {
        self.0.send(Message::text(call)).await.unwrap();
        let answered = async {
            loop {
                if let Message::Text(text) = self.0.next().await.expect("the connection stands").unwrap() {
                    return text.to_string();
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("an answer")
    }

    pub(crate) async fn heartbeat(&mut self) {
        assert_eq!(self.call(r#"[2,"h","Heartbeat",{}]"#).await, r#"[3,"h",{"currentTime":"2026-11-24T10:00:00Z"}]"#);
    }
}

pub(crate) fn basic(user: &str, password: &[u8]) -> Vec<u8> {
    format!("Basic {}", STANDARD.encode([user.as_bytes(), b":", password].concat())).into_bytes()
}

/// Opens TLS as a station.
pub(crate) async fn open(address: SocketAddr, tls: &Arc<ClientConfig>) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    open_named(address, tls, NAME).await
}

pub(crate) async fn open_named(
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
    name: &'static str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from(name).unwrap(), tcp).await
}

/// Knocks as a station of this id.
pub(crate) async fn knock(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, id: &str, authorization: Option<&[u8]>) -> Answer {
    let knocking = async {
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(TcpStream::connect(address).await.unwrap()),
            Some(tls) => match open(address, tls).await {
                Ok(stream) => Box::new(stream),
                Err(_) => return Answer::Closed,
            },
        };
        ask(stream, id, authorization).await
    };
    tokio::time::timeout(PATIENCE, knocking).await.expect("an answer of some kind")
}

/// Sends an upgrade request.
pub(crate) async fn ask(mut stream: Box<dyn Stream>, id: &str, authorization: Option<&[u8]>) -> Answer {
    let mut request = format!("GET /ocpp/{id} HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp1.6\r\n").into_bytes();
    if let Some(authorization) = authorization {
        request.extend([b"Authorization: ", authorization, b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    if stream.write_all(&request).await.is_err() || stream.flush().await.is_err() {
        return Answer::Closed;
    }
    match head(&mut stream).await {
        Some(head) => Answer::Head(head, stream),
        None => Answer::Closed,
    }
}

/// Reads to the end of an HTTP head.
pub(crate) async fn head<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        // One at a time: what follows belongs to the conversation.
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A central system that answers heartbeats, and remembers who came.
pub(crate) struct Csms {
    pub(crate) address: SocketAddr,
    pub(crate) came: Arc<AtomicUsize>,
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
}

impl Csms {
    pub(crate) async fn start(tls: Option<(&Identity, Option<&str>)>) -> Self {
        let acceptor = tls.map(|(own, client_ca)| {
            let builder = ServerConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions().unwrap();
            let builder = match client_ca {
                Some(pem) => builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)), Arc::new(provider())).build().unwrap(),
                ),
                None => builder.with_no_client_auth(),
            };
            let (chain, key) = chain(own);
            TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let csms = Self { address: listener.local_addr().unwrap(), came: Arc::default(), heads: Arc::default() };
        let (came, heads) = (Arc::clone(&csms.came), Arc::clone(&csms.heads));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                came.fetch_add(1, Ordering::SeqCst);
                let (acceptor, heads) = (acceptor.clone(), Arc::clone(&heads));
                tokio::spawn(async move {
                    let stream: Box<dyn Stream> = match acceptor {
                        None => Box::new(socket),
                        Some(acceptor) => match acceptor.accept(socket).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    converse(stream, heads).await;
                });
            }
        });
        csms
    }

    /// How many connections reached it.
    pub(crate) fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// The `Authorization` header of the newest.
    pub(crate) fn authorization(&self) -> Option<String> {
        let heads = self.heads.lock().unwrap();
        heads.last()?.lines().find_map(|line| line.strip_prefix("Authorization: ").map(str::to_owned))
    }
}

async fn converse(mut stream: Box<dyn Stream>, heads: Arc<Mutex<Vec<String>>>) {
    let Some(request) = head(&mut stream).await else { return };
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap().to_owned();
    heads.lock().unwrap().push(request);
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            let id = text.split('"').nth(1).unwrap().to_owned();
            let answer = format!(r#"[3,"{id}",{{"currentTime":"2026-11-24T10:00:00Z"}}]"#);
            if socket.send(Message::text(answer)).await.is_err() {
                return;
            }
        }
    }
}

/// A folder of files that only their owner reads.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        write(&path, content);
        path.display().to_string()
    }

    /// Writes a chain and its key, and gives the settings that name them.
    pub(crate) fn shelf(&self, all: &[&Identity]) -> Vec<(&'static str, String)> {
        let names = |what: &str, content: fn(&Identity) -> &str| -> String {
            let written = all.iter().enumerate().map(|(n, identity)| self.write(&format!("{n}.{what}"), content(identity)));
            written.collect::<Vec<_>>().join(",")
        };
        vec![("tls.certificates", names("pem", |identity| &identity.chain)), ("tls.keys", names("key", |identity| &identity.key))]
    }
}

fn write(path: &Path, content: &str) {
    // In place of the old one at once, as careful programs do.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, content).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&draft, path).unwrap();
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) serving: Serving,
    pub(crate) folder: Folder,
}

impl Gateway {
    pub(crate) async fn start(folder: Folder, csms: &Csms, settings: Vec<(&'static str, String)>) -> Self {
        let url = format!("ws://{}/csms", csms.address);
        Self::towards(folder, url, settings).await
    }

    pub(crate) async fn towards(folder: Folder, url: String, settings: Vec<(&'static str, String)>) -> Self {
        let config = config(&folder, url, settings).unwrap();
        Self { serving: Serving::start(&config).await.unwrap(), folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.serving.listen
    }

    /// How many connections were refused for a reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        let line = format!("ocpp_connections_refused_total{{reason=\"{reason}\"}} ");
        self.serving.gateway.metrics.render().lines().find_map(|l| l.strip_prefix(&line).map(|n| n.parse().unwrap())).unwrap_or(0)
    }

    /// Waits until a connection more than before was refused for a reason: the metric may come after the station's end.
    pub(crate) async fn refuses(&self, reason: &str, before: u64) {
        until(reason, || self.refused(reason) > before).await;
    }
}

pub(crate) fn config(folder: &Folder, url: String, settings: Vec<(&'static str, String)>) -> Result<Config, Vec<String>> {
    let mut values = vec![
        ("listen", "127.0.0.1:0".to_owned()),
        ("admin", "127.0.0.1:0".to_owned()),
        ("upstream.url", url),
        ("data_dir", folder.path("data").display().to_string()),
    ];
    values.extend(settings);
    Config::read(&Flags { config: None, values }, &|_| None)
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}
