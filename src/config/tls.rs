//! TLS where we listen, and how stations prove who they are.

use super::file::Reader;
use crate::gateway::Profile;
use crate::tls::{Revocation, ServerFiles};
use std::net::SocketAddr;
use std::path::PathBuf;

/// TLS where we listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates, keys, authorities, revocation lists.
    pub files: ServerFiles,
    /// A listener of its own for stations with TLS, beside the plain one; without it, `listen` speaks TLS.
    pub listen: Option<SocketAddr>,
    /// The admin port speaks TLS too.
    pub admin: bool,
}

/// How stations prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// The least that a station must show.
    pub profile: Profile,
    /// The register of stations with their hashed passwords; `None` leaves passwords to the central system.
    pub passwords: Option<PathBuf>,
    /// The central system may change a station's password although it is checked here.
    pub passes_changes: bool,
    /// A file with the one password that the central system is told for every station.
    pub upstream_password: Option<PathBuf>,
    /// A list of the passwords that it is told for each.
    pub upstream_passwords: Option<PathBuf>,
}

impl IdentityConfig {
    /// Whether the central system is kept from changing passwords that are checked here: it would lock the station out.
    pub fn keeps_passwords(&self) -> bool {
        self.passwords.is_some() && !self.passes_changes
    }
}

pub(super) fn tls(reader: &mut Reader<'_>) -> Option<TlsConfig> {
    let paths = |list: Vec<String>| -> Vec<PathBuf> { list.into_iter().map(PathBuf::from).collect() };
    let certificates = paths(reader.list("tls.certificates"));
    let keys = paths(reader.list("tls.keys"));
    let crls = paths(reader.list("tls.crls"));
    let client_ca = reader.text("tls.client_ca", None).map(PathBuf::from);
    let client_organization = reader.text("tls.client_organization", None);
    let revocation = if reader.choice("tls.revocation", &["strict", "known"]) == 0 { Revocation::Strict } else { Revocation::Known };
    let only_13 = reader.choice("tls.min_version", &["1.2", "1.3"]) == 1;
    let listen = reader.text("tls.listen", None).map(|_| reader.address("tls.listen", "127.0.0.1:9443"));
    let admin = reader.flag("tls.admin", false);
    if !keys.is_empty() && keys.len() != certificates.len() {
        reader.mistake("tls.keys", "must name one key for each of tls.certificates, in the same order, or none if each stands in its file");
    }
    if client_ca.is_none() {
        for (key, given) in [("tls.crls", !crls.is_empty()), ("tls.client_organization", client_organization.is_some())] {
            if given {
                reader.mistake(key, "needs tls.client_ca beside it");
            }
        }
    }
    if certificates.is_empty() {
        for (key, given) in
            [("tls.keys", !keys.is_empty()), ("tls.client_ca", client_ca.is_some()), ("tls.listen", listen.is_some()), ("tls.admin", admin)]
        {
            if given {
                reader.mistake(key, "needs tls.certificates beside it");
            }
        }
        return None;
    }
    let files = ServerFiles { certificates, keys, client_ca, client_organization, crls, revocation, only_13 };
    Some(TlsConfig { files, listen, admin })
}

/// Reads how stations prove who they are. `plain` says that some listener of theirs speaks no TLS, `loopback` that all of them are there.
pub(super) fn identity(
    reader: &mut Reader<'_>,
    tls: Option<&TlsConfig>,
    plain: bool,
    loopback: bool,
    allow_plaintext: bool,
) -> IdentityConfig {
    let passwords = reader.text("stations.passwords_file", None).map(PathBuf::from);
    let passes_changes = reader.choice("stations.password_changes", &["refuse", "pass"]) == 1;
    let upstream_password = reader.text("upstream.password_file", None).map(PathBuf::from);
    let upstream_passwords = reader.text("upstream.passwords_file", None).map(PathBuf::from);
    let derived = match (plain, &passwords) {
        (false, _) => Profile::TlsPassword,
        (true, Some(_)) => Profile::Password,
        (true, None) => Profile::None,
    };
    let key = "stations.security_profile";
    let asked = reader.maybe_number(key, 0, 3).and_then(|number| Profile::ALL.get(usize::try_from(number).ok()?).copied());
    let profile = asked.unwrap_or(derived);
    if asked.is_some() {
        if profile >= Profile::TlsPassword && plain {
            reader.mistake(key, "cannot be met by a listener without TLS: set tls.certificates, and listen only where TLS is spoken");
        }
        if profile == Profile::TlsCertificate && tls.is_some_and(|tls| tls.files.client_ca.is_none()) {
            reader.mistake(key, "needs tls.client_ca: who else would say that a certificate is good");
        }
        if profile == Profile::None && passwords.is_some() {
            reader.mistake(key, "is 0, which makes passwords needless: leave out stations.passwords_file, or set it to 1 or more");
        }
        if profile == Profile::None && !loopback && !allow_plaintext {
            reader.mistake(
                key,
                "may be 0 on loopback only; elsewhere set allow_plaintext = true, and know that it is reported as non-compliant",
            );
        }
    }
    IdentityConfig { profile, passwords, passes_changes, upstream_password, upstream_passwords }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};
    use crate::gateway::Profile;

    fn read(values: &[(&'static str, &str)]) -> Result<Config, String> {
        let values = values.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Config::read(&Flags { config: None, values }, &|_| None).map_err(|mistakes| mistakes.join("\n"))
    }

    const TLS: (&str, &str) = ("tls.certificates", "a.pem, b.pem");

    #[test]
    fn the_profile_follows_from_what_is_configured() {
        let profile = |values: &[(&'static str, &str)]| read(values).map(|config| config.identity.profile);
        assert_eq!(profile(&[]), Ok(Profile::None));
        assert_eq!(profile(&[("stations.passwords_file", "p.csv")]), Ok(Profile::Password));
        assert_eq!(profile(&[TLS]), Ok(Profile::TlsPassword));
        assert_eq!(profile(&[TLS, ("tls.client_ca", "ca.pem"), ("stations.security_profile", "3")]), Ok(Profile::TlsCertificate));
        assert_eq!(profile(&[TLS, ("tls.listen", "127.0.0.1:9443"), ("stations.security_profile", "1")]), Ok(Profile::Password));
        assert_eq!(profile(&[("stations.security_profile", "0")]), Ok(Profile::None));
    }

    #[test]
    fn what_cannot_be_met_is_told() {
        for (values, word) in [
            (&[("stations.security_profile", "2")][..], "stations.security_profile"),
            (&[TLS, ("tls.listen", "127.0.0.1:9443"), ("stations.security_profile", "2")], "stations.security_profile"),
            (&[TLS, ("stations.security_profile", "3")], "tls.client_ca"),
            (&[("stations.security_profile", "0"), ("stations.passwords_file", "p.csv")], "needless"),
            (&[TLS, ("listen", "0.0.0.0:9000"), ("stations.security_profile", "0")], "loopback"),
            (&[("stations.security_profile", "4")], "from 0 to 3"),
            (&[TLS, ("tls.keys", "a.key")], "tls.keys"),
            (&[("tls.keys", "a.key")], "tls.keys"),
            (&[("tls.client_ca", "ca.pem")], "tls.client_ca"),
            (&[TLS, ("tls.crls", "x.crl")], "tls.crls"),
            (&[("tls.admin", "true")], "tls.admin"),
            (&[TLS, ("listen", "0.0.0.0:9000"), ("tls.listen", "0.0.0.0:9443")], "listen: is beyond loopback"),
            (&[TLS, ("admin", "0.0.0.0:8080")], "admin: is beyond loopback"),
            (&[("ocpi.listen", "0.0.0.0:9300"), ("cpo.party", "NL-CPO")], "ocpi.listen: is beyond loopback"),
            (&[("ocpi.listen", "127.0.0.1:9300"), ("cpo.party", "NL-CPO"), ("ocpi.tls", "true")], "ocpi.tls"),
            (&[("upstream.url", "wss://c.example/"), ("upstream.certificate", "c.pem")], "upstream.key"),
            (&[("upstream.url", "ws://127.0.0.1/"), ("upstream.certificate", "c.pem"), ("upstream.key", "c.key")], "upstream.certificate"),
            (&[("upstream.url", "wss://c.example/"), ("upstream.server_name", "not a name")], "upstream.server_name"),
        ] {
            let said = read(values).expect_err(word);
            assert!(said.contains(word), "{values:?}: {said}");
        }
    }

    #[test]
    fn with_tls_every_port_may_be_beyond_loopback() {
        let values = [
            TLS,
            ("listen", "0.0.0.0:9000"),
            ("admin", "0.0.0.0:8080"),
            ("tls.admin", "true"),
            ("ocpi.listen", "0.0.0.0:9300"),
            ("ocpi.tls", "true"),
            ("cpo.party", "NL-CPO"),
        ];
        let config = read(&values).unwrap();
        assert_eq!(config.ocpi.unwrap().url, "https://0.0.0.0:9300/ocpi");
        // The plain listener stays at home, the other goes out.
        assert!(read(&[TLS, ("tls.listen", "0.0.0.0:9443"), ("stations.security_profile", "1")]).is_ok());
    }
}
