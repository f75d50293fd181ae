//! The gateway under attack, as a station finds it: an address, TLS, credentials.

use super::Options;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The most bytes of an answer to a handshake that are read.
const MAX_ANSWER: usize = 64 << 10;
/// How long a connection may take to be made.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// A byte stream, plain or in TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
pub(super) type Stream = Box<dyn Io>;

/// Where stations connect, and how.
pub(super) struct Target {
    host: String,
    port: u16,
    /// Begins and ends with a slash.
    pub(super) path: String,
    tls: Option<TlsConnector>,
    user: Option<String>,
    password: Option<Vec<u8>>,
}

impl Target {
    /// Reads what the command line says.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(options: &Options) -> Result<Self, String> {
        let (secure, rest) = match options.target.split_once("://") {
            Some(("ws", rest)) => (false, rest),
            Some(("wss", rest)) => (true, rest),
            _ => return Err("--target is no ws:// or wss:// URL".into()),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("--target holds credentials: use --user and --password-file".into());
        }
        let default_port = if secure { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "--target has no valid port".to_owned())?)
            }
            _ => (authority, default_port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err("--target names no host".into());
        }
        let tls = if secure { Some(connector(options)?) } else { None };
        let path = if path.is_empty() { "/".into() } else { format!("/{}/", path.trim_end_matches('/')) };
        let password = match &options.password_file {
            None => None,
            Some(file) => Some(std::fs::read(file).map_err(|_| "--password-file cannot be read")?.trim_ascii_end().to_vec()),
        };
        Ok(Self { host, port, path, tls, user: options.user.clone(), password })
    }

    /// A connection, with TLS if the target has it.
    ///
    /// # Errors
    /// There is none: it is refused, nobody answers, or TLS fails.
    pub(super) async fn dial(&self) -> Result<Stream, &'static str> {
        let dialling = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|_| "the connection is refused")?;
            let _ = tcp.set_nodelay(true);
            match &self.tls {
                None => Ok(Box::new(tcp) as Stream),
                Some(connector) => {
                    let name = ServerName::try_from(self.host.clone()).map_err(|_| "the host is no name for TLS")?;
                    let tls = connector.connect(name, tcp).await.map_err(|_| "the TLS handshake fails")?;
                    Ok(Box::new(tls) as Stream)
                }
            }
        };
        timeout(DIAL_PATIENCE, dialling).await.unwrap_or(Err("nobody accepts the connection"))
    }

    /// The value of `Host`.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// The header line of the credentials of a station, if there are any; its name is the user unless one was given.
    pub(super) fn authorization(&self, station: &str) -> String {
        let Some(password) = &self.password else { return String::new() };
        let user = self.user.as_deref().unwrap_or(station);
        format!("Authorization: Basic {}\r\n", STANDARD.encode([user.as_bytes(), b":", password].concat()))
    }
}

/// Reads an HTTP head: what came until the empty line, and what came after it.
///
/// # Errors
/// The peer closed, or sent too much without an empty line.
pub(super) async fn head(stream: &mut Stream) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > MAX_ANSWER {
            return Err("the answer has no end");
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Err("the connection was closed without an answer"),
            Ok(_) => {}
        }
    }
}

/// Writes all of it, or gives up.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], patience: Duration) -> bool {
    let writing = async { stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() };
    timeout(patience, writing).await.unwrap_or(false)
}

fn certificates(file: &Path, flag: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |_| format!("{flag} has no certificates (PEM)");
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(wrong)?.collect();
    all.map_err(wrong).and_then(|all| if all.is_empty() { Err(format!("{flag} has no certificates (PEM)")) } else { Ok(all) })
}

fn key(file: &Path, flag: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|_| format!("{flag} has no private key (PEM)"))
}

fn connector(options: &Options) -> Result<TlsConnector, String> {
    let mut roots = rustls::RootCertStore::empty();
    match &options.ca {
        Some(file) => {
            roots.add_parsable_certificates(certificates(file, "--ca")?);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "TLS cannot be set up".to_owned())?
        .with_root_certificates(roots);
    let config = match (&options.client_cert, &options.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(file)) => builder
            .with_client_auth_cert(certificates(cert, "--client-cert")?, key(file, "--client-key")?)
            .map_err(|_| "--client-cert and --client-key do not belong together")?,
        _ => return Err("--client-cert and --client-key go together".into()),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// TLS for the central system's side, if asked for.
///
/// # Errors
/// What is wrong with the files.
pub(super) fn acceptor(options: &Options) -> Result<Option<TlsAcceptor>, String> {
    let (cert, file) = match (&options.upstream_cert, &options.upstream_key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(file)) => (cert, file),
        _ => return Err("--upstream-cert and --upstream-key go together".into()),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "TLS cannot be set up".to_owned())?
        .with_no_client_auth()
        .with_single_cert(certificates(cert, "--upstream-cert")?, key(file, "--upstream-key")?)
        .map_err(|_| "--upstream-cert and --upstream-key do not belong together")?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
