//! The listening side. One set of certificates serves stations, OCPI parties and the admin port; only stations are asked for theirs.

use super::certificate::{Certificate, next_update};
use super::{DAY, Trouble, WARN_DAYS, files, provider};
use crate::clock::{self, Timestamp};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Sessions kept for stations that resume without tickets (TLS 1.2 session ids).
const SESSIONS: usize = 4096;

/// What is done with a station's certificate that no revocation list speaks of, once there are any lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revocation {
    /// It is refused: there must be a list of every authority.
    #[default]
    Strict,
    /// It is accepted: only what a list names is refused.
    Known,
}

/// The files of the listening side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerFiles {
    /// Chains, each with the server's own certificate first.
    pub certificates: Vec<PathBuf>,
    /// The key of each chain; empty if each stands in the file of its chain.
    pub keys: Vec<PathBuf>,
    /// Authorities of stations' certificates; without it no station is asked for one.
    pub client_ca: Option<PathBuf>,
    /// What the organization of a station's certificate must be.
    pub client_organization: Option<String>,
    /// Revocation lists.
    pub crls: Vec<PathBuf>,
    /// What is done with a certificate that no list speaks of.
    pub revocation: Revocation,
    /// TLS 1.3 only.
    pub only_13: bool,
}

impl ServerFiles {
    /// All of them.
    pub fn all(&self) -> Vec<PathBuf> {
        self.certificates.iter().chain(&self.keys).chain(&self.client_ca).chain(&self.crls).cloned().collect()
    }
}

/// The keys of session tickets. They outlive a change of certificates, so that stations resume after it too; a client certificate is
/// checked again at each resumption.
pub struct Tickets {
    stations: Arc<dyn ProducesTickets>,
    others: Arc<dyn ProducesTickets>,
}

impl Tickets {
    /// Draws keys.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn new() -> Result<Self, &'static str> {
        let draw = || rustls::crypto::ring::Ticketer::new().map_err(|_| "the operating system gives no random bytes");
        Ok(Self { stations: draw()?, others: draw()? })
    }
}

/// All that a listener needs to speak TLS.
pub struct Server {
    stations: Arc<ServerConfig>,
    others: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    organization: Option<String>,
    /// The certificates that are served, in the order in which they are tried.
    pub certificates: Vec<Certificate>,
    /// When the next revocation lists are due; those that say so.
    pub lists_due: Vec<Timestamp>,
    /// Stations show certificates and revocation is to be strict, but there is no list, so nothing is revoked.
    pub unlisted: bool,
    /// TLS 1.3 only.
    pub only_13: bool,
}

/// What is said where revocation is to be strict without a list.
pub(super) const UNLISTED: &str =
    "no certificate revocation list is configured (tls.crls), so a station's withdrawn certificate is accepted until it ends";

impl Server {
    /// Reads all files.
    ///
    /// # Errors
    /// All mistakes, each with its key.
    pub fn read(from: &ServerFiles, tickets: &Tickets) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut shelf = shelf(from, &mut mistakes);
        // An elliptic signature costs a tenth of an RSA one, and stations with OCPP's list of suites know no other.
        shelf.sort_by_key(|(certificate, _)| certificate.key != super::KeyKind::Ecdsa);
        let mut lists_due = Vec::new();
        let verifier = verifier(from, &mut lists_due, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let (certificates, keys): (Vec<_>, Vec<_>) = shelf.into_iter().unzip();
        let keys: Arc<dyn ResolvesServerCert> = Arc::new(Shelf(keys));
        let config = |verifier: Option<&Arc<dyn ClientCertVerifier>>, tickets: &Arc<dyn ProducesTickets>| {
            let versions: &[&'static SupportedProtocolVersion] =
                if from.only_13 { &[&rustls::version::TLS13] } else { rustls::ALL_VERSIONS };
            let builder = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(versions)
                .map_err(|_| vec!["tls.certificates: TLS could not be set up".to_owned()])?;
            let builder = match verifier {
                Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
                None => builder.with_no_client_auth(),
            };
            let mut config = builder.with_cert_resolver(Arc::clone(&keys));
            config.ticketer = Arc::clone(tickets);
            config.send_tls13_tickets = 1;
            config.session_storage =
                if from.only_13 { Arc::new(NoServerSessionStorage {}) } else { ServerSessionMemoryCache::new(SESSIONS) };
            Ok::<_, Vec<String>>(Arc::new(config))
        };
        Ok(Self {
            stations: config(verifier.as_ref(), &tickets.stations)?,
            others: config(None, &tickets.others)?,
            unlisted: verifier.is_some() && from.crls.is_empty() && from.revocation == Revocation::Strict,
            verifier,
            organization: from.client_organization.clone(),
            certificates,
            lists_due,
            only_13: from.only_13,
        })
    }

    /// Whether stations are asked for a certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.verifier.is_some()
    }

    /// Shakes hands with a station, within `patience`. Gives its certificate if it has shown one: of a trusted authority, valid now, not
    /// revoked, of the right organization.
    ///
    /// # Errors
    /// [`Trouble`]; the station was sent the alert that TLS has for it.
    pub async fn accept_station<S>(&self, socket: S, patience: Duration) -> Result<(TlsStream<S>, Option<Certificate>), Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = shake(&self.stations, socket, patience).await?;
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates().unwrap_or_default();
        let (Some(verifier), Some((own, others))) = (&self.verifier, shown.split_first()) else { return Ok((stream, None)) };
        // The session of a ticket brings the certificate of its first handshake, which may have expired or been revoked since.
        if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            verifier.verify_client_cert(own, others, UnixTime::now()).map_err(|why| Trouble::of_tls(&why))?;
        }
        let certificate = Certificate::read(own).ok_or(Trouble::CertificateInvalid)?;
        if self.organization.as_ref().is_some_and(|must| !certificate.organizations.contains(must)) {
            return Err(Trouble::CertificateForeign);
        }
        Ok((stream, Some(certificate)))
    }

    /// Shakes hands with anybody else, within `patience`.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S, patience: Duration) -> Result<TlsStream<S>, Trouble> {
        shake(&self.others, socket, patience).await
    }

    /// When the first of the certificates ends.
    pub fn ends(&self) -> Option<Timestamp> {
        self.certificates.iter().map(|certificate| certificate.not_after).min()
    }

    /// What should be seen to soon, in closed words.
    pub fn reservations(&self) -> Vec<&'static str> {
        let now = clock::now().0;
        let within = |days: i64| self.ends().is_some_and(|ends| ends.0 <= now + days * DAY);
        let own = if within(0) {
            Some("a TLS certificate has expired")
        } else {
            within(WARN_DAYS).then_some("a TLS certificate expires within 30 days")
        };
        let lists = self.lists_due.iter().any(|due| due.0 <= now).then_some("a certificate revocation list is out of date");
        let unlisted = self.unlisted.then_some(UNLISTED);
        own.into_iter().chain(lists).chain(unlisted).collect()
    }
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ServerConfig>,
    socket: S,
    patience: Duration,
) -> Result<TlsStream<S>, Trouble> {
    match tokio::time::timeout(patience, TlsAcceptor::from(Arc::clone(config)).accept(socket)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(why)) => Err(Trouble::of(&why)),
        Err(_) => Err(Trouble::Slow),
    }
}

fn shelf(from: &ServerFiles, mistakes: &mut Vec<String>) -> Vec<(Certificate, Arc<CertifiedKey>)> {
    let mut shelf = Vec::new();
    for (number, path) in from.certificates.iter().enumerate() {
        let key_path = from.keys.get(number).unwrap_or(path);
        let key_name = if from.keys.is_empty() { format!("tls.certificates[{number}]") } else { format!("tls.keys[{number}]") };
        let (chain, key) = (files::certificates(path), files::key(key_path));
        let mut wrong = |key: String, why: &str| mistakes.push(format!("{key}: {why}"));
        let (Ok(chain), Ok(key)) = (&chain, &key) else {
            // A file for both that cannot be read is one mistake, not two.
            let whys = [(format!("tls.certificates[{number}]"), chain.err()), (key_name, key.err())];
            let twice = whys[0] == whys[1];
            for (key, why) in whys.into_iter().skip(usize::from(twice)) {
                why.into_iter().for_each(|why| wrong(key.clone(), why));
            }
            continue;
        };
        let Some(certificate) = chain.first().and_then(|own| Certificate::read(own)) else {
            wrong(format!("tls.certificates[{number}]"), "holds something that is no certificate");
            continue;
        };
        let Ok(key) = provider().key_provider.load_private_key(key.clone_key()) else {
            wrong(key_name, "holds a key of a kind that cannot be used: ECDSA P-256 or P-384, RSA of 2048 bits or more, or Ed25519");
            continue;
        };
        let certified = CertifiedKey::new(chain.clone(), key);
        if certified.keys_match().is_err() {
            wrong(key_name, "is not the key of the first certificate of its chain");
            continue;
        }
        shelf.push((certificate, Arc::new(certified)));
    }
    shelf
}

fn verifier(from: &ServerFiles, due: &mut Vec<Timestamp>, mistakes: &mut Vec<String>) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    match files::certificates(from.client_ca.as_deref()?) {
        Ok(authorities) => {
            for authority in authorities {
                if roots.add(authority).is_err() {
                    mistakes.push("tls.client_ca: holds a certificate that cannot be an authority".to_owned());
                }
            }
        }
        Err(why) => mistakes.push(format!("tls.client_ca: {why}")),
    }
    let mut lists = Vec::new();
    for (number, path) in from.crls.iter().enumerate() {
        match files::crls(path) {
            Ok(found) => lists.extend(found),
            Err(why) => mistakes.push(format!("tls.crls[{number}]: {why}")),
        }
    }
    due.extend(lists.iter().filter_map(|list| next_update(list)));
    if roots.is_empty() {
        return None;
    }
    // Nobody is turned away for showing no certificate at this point: whether one is needed is decided once the station has said who it is.
    let mut builder =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).with_crls(lists).allow_unauthenticated();
    if from.revocation == Revocation::Known {
        builder = builder.allow_unknown_revocation_status();
    }
    builder.build().map_err(|_| mistakes.push("tls.crls: holds a list that cannot be used".to_owned())).ok()
}

/// The certificates, in the order in which they are tried.
#[derive(Debug)]
struct Shelf(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shelf {
    /// The first whose signature the peer can check, of those with the name it asks for if there is one. Without a name, or with one that
    /// no certificate has, the first of all: some stations send none, and some an address or what their installer typed.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls leaves out of this list what fits none of the offered cipher suites.
        let usable = || self.0.iter().filter(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        let asked = hello.server_name().filter(|_| self.0.len() > 1).and_then(|name| ServerName::try_from(name).ok());
        let named = asked.and_then(|asked| usable().find(|key| key.cert.first().is_some_and(|own| has_name(own, &asked))));
        named.or_else(|| usable().next()).cloned()
    }
}

fn has_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(certificate).is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
}
