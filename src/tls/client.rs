//! The dialling side: which authorities are trusted, and the certificate that is shown to whoever asks.

use super::{files, provider};
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;

/// The files of the dialling side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientFiles {
    /// Authorities trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// A chain to show, with the own certificate first, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    /// All of them.
    pub fn all(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(chain, key)| [chain, key]);
        self.ca_file.iter().chain(identity).cloned().collect()
    }
}

/// Reads all files. TLS 1.2 and 1.3. `key` is the key of the configuration that asks for TLS; `needed` says that there must be
/// authorities at all.
///
/// # Errors
/// All mistakes, each with its key.
pub fn client(from: &ClientFiles, key: &str, needed: bool) -> Result<ClientConfig, Vec<String>> {
    let mut mistakes = Vec::new();
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // Some machines carry certificates that no longer parse; the others still count.
        let _ = roots.add(certificate);
    }
    match from.ca_file.as_deref().map(files::certificates).transpose() {
        Ok(authorities) => {
            for authority in authorities.into_iter().flatten() {
                if roots.add(authority).is_err() {
                    mistakes.push("upstream.ca_file: holds a certificate that cannot be an authority".to_owned());
                }
            }
        }
        Err(why) => mistakes.push(format!("upstream.ca_file: {why}")),
    }
    if roots.is_empty() && needed && mistakes.is_empty() {
        mistakes.push(format!("{key}: TLS needs CA certificates, and neither the machine nor upstream.ca_file has any"));
    }
    let identity = from.identity.as_ref().and_then(|(chain, own)| {
        let chain = files::certificates(chain).map_err(|why| mistakes.push(format!("upstream.certificate: {why}")));
        let own = files::key(own).map_err(|why| mistakes.push(format!("upstream.key: {why}")));
        chain.ok().zip(own.ok())
    });
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| vec![format!("{key}: TLS could not be set up")])?
        .with_root_certificates(roots);
    match identity {
        Some((chain, own)) => config.with_client_auth_cert(chain, own).map_err(|_| {
            vec!["upstream.key: cannot be used, or is not the key of the first certificate of upstream.certificate".to_owned()]
        }),
        None => Ok(config.with_no_client_auth()),
    }
}
