//! The OCPI surface, from the keys under `ocpi` and `cpo`.

use super::file::Reader;
use crate::recipient::Party;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The charge-point operator's name where none is given.
pub(super) const CPO_NAME: &str = "Charge point operator";

/// The OCPI surface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcpiConfig {
    /// Where parties call.
    pub listen: SocketAddr,
    /// The URL under which they reach it, without a slash at its end.
    pub url: String,
    /// TLS is spoken there, with the certificates of `[tls]`.
    pub tls: bool,
    /// The central system's own OCPI: its versions URL and the file of the token it is called with.
    pub csms: Option<(String, PathBuf)>,
    /// The party that we are there: the charge-point operator.
    pub cpo: Party,
    /// Its name.
    pub name: String,
}

/// Reads them; `None` where no address is named.
pub(super) fn read(reader: &mut Reader<'_>, allow_plaintext: bool) -> Option<OcpiConfig> {
    let url = reader.text("ocpi.url", None).and_then(|url| web_address(reader, "ocpi.url", &url, allow_plaintext));
    let csms_url = reader.text("ocpi.csms_url", None).and_then(|url| web_address(reader, "ocpi.csms_url", &url, allow_plaintext));
    let csms_token = reader.text("ocpi.csms_token_file", None).map(PathBuf::from);
    if csms_url.is_some() != csms_token.is_some() {
        reader.mistake("ocpi.csms_url", "and ocpi.csms_token_file go together");
    }
    reader.text("ocpi.listen", None)?;
    let listen = reader.address("ocpi.listen", "127.0.0.1:9300");
    let tls = reader.flag("ocpi.tls", false);
    let url = url.unwrap_or_else(|| format!("{}://{listen}/ocpi", if tls { "https" } else { "http" }));
    let party = reader.text("cpo.party", None);
    let name = reader.text("cpo.name", Some(CPO_NAME)).unwrap_or_default();
    if party.is_none() {
        reader.mistake("ocpi.listen", "needs cpo.party beside it");
    }
    Some(OcpiConfig { listen, url, tls, csms: csms_url.zip(csms_token), cpo: Party::parse(&party?)?, name })
}

/// An `https://` address, or `http://` where that is allowed, without a slash at its end.
fn web_address(reader: &mut Reader<'_>, key: &str, url: &str, allow_plaintext: bool) -> Option<String> {
    match checked_address(url, allow_plaintext) {
        Ok(url) => Some(url),
        Err(why) => {
            reader.mistake(key, why);
            None
        }
    }
}

/// The same; the error says what is wrong.
pub(super) fn checked_address(url: &str, allow_plaintext: bool) -> Result<String, &'static str> {
    let parsed = url.parse::<axum::http::Uri>().map_err(|_| "is no URL")?;
    let host = parsed.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback =
        host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    match parsed.scheme_str() {
        _ if host.is_empty() || parsed.query().is_some() || parsed.authority().is_some_and(|a| a.as_str().contains('@')) => {
            Err("must be https:// with a host, and neither credentials nor a query")
        }
        Some("https") => Ok(url.trim_end_matches('/').to_owned()),
        Some("http") if loopback || allow_plaintext => Ok(url.trim_end_matches('/').to_owned()),
        Some("http") => Err(
            "is plain http:// beyond loopback; use https://, or set allow_plaintext = true and know that it is reported as non-compliant",
        ),
        _ => Err("must begin with https://"),
    }
}
