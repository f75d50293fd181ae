//! Where the central system is, from the keys under `upstream`.

use super::file::Reader;
use crate::tls::ClientFiles;
use std::path::PathBuf;
use std::time::Duration;

/// Where the central system is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// `wss` rather than `ws`.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path without a slash at its end.
    pub base: String,
    /// Whether a station's id is added to the path.
    pub append_id: bool,
    /// Whether versions are offered there.
    pub offers_versions: bool,
    /// CA certificates to trust beside the machine's own, and our own certificate.
    pub files: ClientFiles,
    /// The name that its certificate must have, if it is not the host's.
    pub server_name: Option<String>,
    /// How long dialling and the handshake may take.
    pub patience: Duration,
}

/// Reads `[upstream]`.
pub(super) fn read(reader: &mut Reader<'_>, allow_plaintext: bool) -> Option<UpstreamConfig> {
    let ca_file = reader.text("upstream.ca_file", None).map(PathBuf::from);
    let patience = Duration::from_secs(reader.number("upstream.timeout_seconds", 15, 1, 120));
    let append_id = reader.flag("upstream.append_id", true);
    let offers_versions = reader.choice("upstream.subprotocol", &["offer", "none"]) == 0;
    let (certificate, own_key) = (reader.text("upstream.certificate", None), reader.text("upstream.key", None));
    if certificate.is_some() != own_key.is_some() {
        reader.mistake("upstream.certificate", "and upstream.key go together");
    }
    let shown = certificate.is_some();
    let files = ClientFiles { ca_file, identity: certificate.zip(own_key).map(|(chain, key)| (chain.into(), key.into())) };
    let server_name = reader.text("upstream.server_name", None);
    if server_name.as_ref().is_some_and(|name| rustls::pki_types::ServerName::try_from(name.as_str()).is_err()) {
        reader.mistake("upstream.server_name", "is no host name");
    }
    let url = reader.text("upstream.url", None)?;
    if shown && url.starts_with("ws://") {
        reader.mistake("upstream.certificate", "is of no use without TLS: upstream.url must begin with wss://");
    }
    let mut wrong = |why: &str| {
        reader.mistake("upstream.url", why);
        None
    };
    let (tls, rest) = if let Some(rest) = url.strip_prefix("wss://") {
        (true, rest)
    } else if let Some(rest) = url.strip_prefix("ws://") {
        (false, rest)
    } else {
        return wrong("must begin with ws:// or wss://");
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    if authority.contains('@') {
        return wrong("must not hold credentials; a station's own are passed on");
    }
    if path.contains(['?', '#', ' ']) || !path.is_ascii() || path.bytes().any(|b| b.is_ascii_control()) {
        return wrong("has a path that cannot be sent");
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok().filter(|p| *p > 0)),
        _ => (authority, Some(if tls { 443 } else { 80 })),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let Some(port) = port else { return wrong("has a port that is no number from 1 to 65535") };
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
        return wrong("has no valid host");
    }
    let loopback =
        host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    if !tls && !loopback && !allow_plaintext {
        return wrong(
            "is plain ws:// beyond loopback; use wss://, or set allow_plaintext = true and know that it is reported as non-compliant",
        );
    }
    let base = path.trim_end_matches('/').to_owned();
    Some(UpstreamConfig { tls, host: host.to_owned(), port, base, append_id, offers_versions, files, server_name, patience })
}
