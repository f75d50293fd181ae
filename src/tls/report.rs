//! What `sluis check` says about TLS: what a station can use with the certificates that are configured, and what it cannot.

use super::{DAY, KeyKind, Server, WARN_DAYS, provider};
use crate::clock::Timestamp;
use rustls::{CipherSuite, SupportedCipherSuite};

/// The suites that OCPP 2.0.1 asks of both ends (Part 2, A00.FR.318, and the OCPP 1.6 security white paper). The last two exchange keys by
/// RSA itself, without forward secrecy; rustls has none of that kind, and TLS 1.3 did away with them.
pub const REQUIRED: [(&str, Option<CipherSuite>); 4] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", None),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", None),
];

/// The page about TLS, as lines.
pub fn report(server: &Server, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for certificate in &server.certificates {
        let names = if certificate.dns_names.is_empty() { &certificate.common_names } else { &certificate.dns_names };
        let left = (certificate.not_after.0 - now.0).div_euclid(DAY);
        let warning = match left {
            ..0 => "  EXPIRED",
            0..WARN_DAYS => "  expires soon",
            _ if certificate.not_before > now => "  NOT VALID YET",
            _ => "",
        };
        lines.push(format!(
            "TLS certificate: {:<5} for {}; until {} ({left} days){warning}",
            certificate.key.name(),
            if names.is_empty() { "no name".to_owned() } else { names.join(", ") },
            certificate.not_after.date()
        ));
    }
    if server.unlisted {
        lines.push(format!("note: {}; tls.revocation = \"known\" says that this is meant", super::server::UNLISTED));
    }
    let has = |kind| server.certificates.iter().any(|certificate| certificate.key == kind);
    let suites = |tls13: bool| -> Vec<&'static str> {
        let possible = |suite: &&SupportedCipherSuite| match suite {
            SupportedCipherSuite::Tls13(_) => tls13,
            SupportedCipherSuite::Tls12(suite) => {
                !tls13 && !server.only_13 && server.certificates.iter().any(|c| suite.sign.iter().any(|scheme| signs(c.key, *scheme)))
            }
        };
        let all = provider().cipher_suites.clone();
        all.iter().filter(possible).filter_map(|suite| suite.suite().as_str()).collect()
    };
    lines.push(format!("TLS 1.3 suites: {}", suites(true).join(", ")));
    match suites(false) {
        none if none.is_empty() => lines.push("TLS 1.2 suites: none".to_owned()),
        some => lines.push(format!("TLS 1.2 suites: {}", some.join(", "))),
    }
    for (name, suite) in REQUIRED {
        let verdict = match suite {
            Some(_) if server.only_13 => "not possible: tls.min_version is 1.3",
            Some(_) if has(KeyKind::Ecdsa) => "possible",
            Some(_) => "not possible: it needs an ECDSA certificate",
            None => "never possible: RSA key exchange is not built in",
        };
        lines.push(format!("OCPP 2.0.1 suite {name}: {verdict}"));
    }
    if !has(KeyKind::Ecdsa) && !server.only_13 {
        lines.push(
            "note: without an ECDSA certificate, stations that keep to OCPP's list of suites (TLS 1.2) cannot connect: add one beside the other".to_owned(),
        );
    }
    lines.push("note: stations with TLS 1.1 or older, or with nothing but TLS_RSA_ suites, need a TLS terminator in front".to_owned());
    lines.extend(server.reservations().into_iter().map(|reservation| format!("note: {reservation}")));
    lines
}

fn signs(key: KeyKind, scheme: rustls::SignatureScheme) -> bool {
    use rustls::SignatureScheme as S;
    match key {
        KeyKind::Ecdsa => matches!(scheme, S::ECDSA_NISTP256_SHA256 | S::ECDSA_NISTP384_SHA384),
        KeyKind::Rsa => matches!(scheme, S::RSA_PKCS1_SHA256 | S::RSA_PSS_SHA256),
        KeyKind::Other => scheme == S::ED25519,
    }
}
