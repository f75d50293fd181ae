//! The configuration: flags over environment over file over defaults. Every mistake is found before anything is bound, and all are told
//! at once, each with its place and key. No value is ever quoted: it could be a secret.

mod billing;
mod emsp;
pub mod file;
mod frames;
mod limits;
mod ocpi;
mod statistics;
mod tls;
mod upstream;

use crate::gateway::handshake::Paths;
use crate::gateway::{Settings, Takeover};
use crate::ocpp::Version;
use crate::policy::Namespace;
use crate::pseudonym::Alphabet;
use crate::recipient::Recipients;
pub use billing::BillingConfig;
pub use emsp::{EmspConfig, TokenForm};
use file::Reader;
pub use ocpi::OcpiConfig;
pub use statistics::StatisticsConfig;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
pub use tls::{IdentityConfig, TlsConfig};
pub use upstream::UpstreamConfig;

/// What a queue has room for beyond a message that waits and one that was being read: their heads, and what came in one read with the second.
const QUEUE_SLACK: u64 = 64 << 10;
/// The bytes of an OCPP frame that may be allowed at most, whatever the file says.
const MOST_FRAME_BYTES: u64 = 16 << 20;

/// How long a peer may leave bytes waiting: a big message over a slow mobile connection must fit in.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// A configuration without mistakes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where stations connect.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    /// Where vault, journal and keys are kept.
    pub data_dir: PathBuf,
    /// The key-encryption key's file; in the data directory if `None`.
    pub kek_file: Option<PathBuf>,
    /// The directory of systemd credentials, if there is one.
    pub credentials: Option<PathBuf>,
    /// The policy: a profile's name, or the text of a policy file.
    pub policy: String,
    /// Plain text beyond loopback was asked for: not compliant (R78).
    pub allow_plaintext: bool,
    /// The central system; `None` only for commands that need none.
    pub upstream: Option<UpstreamConfig>,
    /// Operator-issued identifiers.
    pub namespaces: Vec<Namespace>,
    /// The alphabet of codes for the central system.
    pub alphabet: Alphabet,
    /// Times and bounds of the station side.
    pub stations: Settings,
    /// TLS where we listen.
    pub tls: Option<TlsConfig>,
    /// How stations prove who they are.
    pub identity: IdentityConfig,
    /// Days that billing facts are kept.
    pub journal_days: u64,
    /// Billing; `None` where no site register is named.
    pub billing: Option<BillingConfig>,
    /// Statistics.
    pub statistics: StatisticsConfig,
    /// The OCPI surface; `None` where no address is named.
    pub ocpi: Option<OcpiConfig>,
    /// The e-MSPs.
    pub emsps: Vec<EmspConfig>,
    /// JSON logs rather than text.
    pub log_json: bool,
    /// The most detailed level that is logged.
    pub log_level: tracing::Level,
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// Key and value, as if they stood in the file.
    pub values: Vec<(&'static str, String)>,
}

impl Config {
    /// Reads the configuration. `environment` looks up a variable; `read` reads a file.
    ///
    /// # Errors
    /// All mistakes, each with the file, flag or variable and the key.
    pub fn read(flags: &Flags, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        Self::look(flags, environment).done()
    }

    /// The same, whatever is wrong with it.
    pub fn look(flags: &Flags, environment: &dyn Fn(&str) -> Option<String>) -> Looked {
        Self::of(Reader::new(flags, environment))
    }

    /// [`Config::read`] of a file's text, which mistakes call `name`.
    pub fn read_text(flags: &Flags, environment: &dyn Fn(&str) -> Option<String>, name: &str, text: &str) -> Result<Self, Vec<String>> {
        Self::of(Reader::of_text(flags, environment, name, text)).done()
    }

    fn of(mut reader: Reader<'_>) -> Looked {
        let listen = reader.address("listen", "127.0.0.1:9000");
        let admin = reader.address("admin", "127.0.0.1:8080");
        let data_dir = PathBuf::from(reader.text("data_dir", Some("sluis-data")).unwrap_or_default());
        let kek_file = reader.text("keys.kek_file", None).map(PathBuf::from);
        let credential = reader.text("keys.kek_credential", None);
        let credentials = reader.variable("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let kek_file = match (kek_file, credential, &credentials) {
            (Some(_), Some(_), _) => {
                reader.mistake("keys.kek_credential", "is given beside keys.kek_file; name one of them");
                None
            }
            (None, Some(_), None) => {
                reader.mistake("keys.kek_credential", "needs systemd's LoadCredential=, and CREDENTIALS_DIRECTORY is not set");
                None
            }
            (None, Some(name), Some(directory)) => Some(directory.join(name)),
            (file, None, _) => file,
        };
        let policy = reader.text("policy", Some("strict")).unwrap_or_default();
        let policy = policy_text(&mut reader, policy);
        let allow_plaintext = reader.flag("allow_plaintext", false);
        let upstream = upstream::read(&mut reader, allow_plaintext);
        let mut namespaces = Vec::new();
        for (number, pattern) in reader.list("identity.namespaces").into_iter().enumerate() {
            match Namespace::parse(&pattern) {
                Ok(namespace) => namespaces.push(namespace),
                Err(why) => reader.mistake(&format!("identity.namespaces[{number}]"), why),
            }
        }
        let alphabet = match reader.choice("identity.alphabet", &["base32", "hex"]) {
            1 => Alphabet::Hex,
            _ => Alphabet::Base32,
        };
        let default_version = Version::ALL[reader.choice("stations.default_version", &["1.6", "2.0.1", "2.1"])];
        let max_frame = reader.number("stations.max_frame_bytes", 1 << 20, 1024, MOST_FRAME_BYTES) as usize;
        let max_queue = reader.number("stations.max_queue_bytes", 0, 0, 2 * MOST_FRAME_BYTES + QUEUE_SLACK) as usize;
        let least_queue = 2 * max_frame + QUEUE_SLACK as usize;
        if max_queue != 0 && max_queue < least_queue {
            reader.mistake("stations.max_queue_bytes", "must be at least twice stations.max_frame_bytes and 65536 more, or 0 to follow it");
        }
        let versions = limits::versions(&mut reader);
        let paths = Paths { tenants: reader.flag("stations.tenants", false), ignore_case: reader.flag("stations.ids_ignore_case", false) };
        let takeover = [Takeover::Accepted, Takeover::Silent][reader.choice("stations.takeover", &["accepted", "silent"])];
        let limits = limits::read(&mut reader);
        let frames = frames::read(&mut reader, max_frame);
        let mut seconds = |key, default, least, most| Duration::from_secs(reader.number(key, default, least, most));
        let ping_interval = seconds("stations.ping_seconds", 30, 1, 3600);
        let idle = seconds("stations.idle_seconds", 0, 0, 86_400);
        let stations = Settings {
            default_version,
            versions,
            paths,
            takeover,
            probe_patience: seconds("stations.probe_seconds", 5, 1, 60),
            handshake_patience: seconds("stations.handshake_seconds", 10, 1, 120),
            ping_interval,
            // Two pings may be lost; a little more, so that both ends do not give up at the same moment.
            idle_limit: if idle.is_zero() { ping_interval.mul_f64(2.6) } else { idle },
            drain_limit: seconds("stations.drain_seconds", 15, 1, 300),
            max_frame,
            max_queue: if max_queue == 0 { least_queue } else { max_queue },
            write_patience: WRITE_PATIENCE,
            frames,
            max_connections: reader.number("stations.max_connections", 100_000, 1, 1_000_000) as usize,
            limits,
        };
        if !idle.is_zero() && idle < ping_interval.mul_f64(2.5) {
            reader.mistake("stations.idle_seconds", "must be at least 2.5 times stations.ping_seconds, or 0 to follow it");
        }
        let journal_days = reader.number("journal.keep_days", 400, 1, 4000);
        let zone = time_zone(&mut reader);
        let billing = billing::read(&mut reader, zone);
        let statistics = statistics::read(&mut reader, zone, billing.is_some());
        let tls = tls::tls(&mut reader);
        let ocpi = ocpi::read(&mut reader, allow_plaintext);
        if tls.is_none() && ocpi.as_ref().is_some_and(|ocpi| ocpi.tls) {
            reader.mistake("ocpi.tls", "needs tls.certificates beside it");
        }
        let emsps = emsp::read(&mut reader, allow_plaintext);
        let log_json = reader.choice("log.format", &["json", "text"]) == 0;
        let levels = [tracing::Level::INFO, tracing::Level::ERROR, tracing::Level::WARN, tracing::Level::DEBUG];
        let log_level = levels[reader.choice("log.level", &["info", "error", "warn", "debug"])];
        // With a listener of its own for TLS, the other one is plain.
        let plain = tls.as_ref().is_none_or(|tls| tls.listen.is_some());
        let surface = ocpi.as_ref().map(|ocpi| ("ocpi.listen", ocpi.listen, !ocpi.tls));
        let pages = ("admin", admin, !tls.as_ref().is_some_and(|tls| tls.admin));
        for (key, address, plain) in [("listen", listen, plain), pages].into_iter().chain(surface) {
            if plain && !address.ip().is_loopback() && !allow_plaintext {
                reader.mistake(key, "is beyond loopback, where plain text is not allowed; use TLS ([tls]), or set allow_plaintext = true behind a TLS terminator, and know that it is reported as non-compliant");
            }
        }
        let beside = tls.as_ref().and_then(|tls| tls.listen);
        let loopback = [Some(listen), beside].into_iter().flatten().all(|address| address.ip().is_loopback());
        let identity = tls::identity(&mut reader, tls.as_ref(), plain, loopback, allow_plaintext);
        let mut ports = BTreeMap::new();
        let others = [("admin", Some(admin)), ("tls.listen", beside), ("ocpi.listen", ocpi.as_ref().map(|ocpi| ocpi.listen))];
        for (key, address) in [("listen", Some(listen))].into_iter().chain(others) {
            // Port 0 is any that is free.
            if let Some(other) = address.filter(|address| address.port() != 0).and_then(|address| ports.insert(address, key)) {
                reader.mistake(key, &format!("is the same address as {other}"));
            }
        }
        let (mistakes, places, whole) = reader.finish();
        let config = Self {
            listen,
            admin,
            data_dir,
            kek_file,
            credentials,
            policy,
            allow_plaintext,
            upstream,
            namespaces,
            alphabet,
            stations,
            tls,
            identity,
            journal_days,
            billing,
            statistics,
            ocpi,
            emsps,
            log_json,
            log_level,
        };
        Looked { config, mistakes, places, whole }
    }
}

/// A configuration with all that is wrong with it.
pub struct Looked {
    /// As far as it could be read; what could not has its default.
    pub config: Config,
    mistakes: Vec<String>,
    /// Where each key is set.
    places: Vec<(&'static str, String)>,
    /// The file could be read: a key that is set nowhere has its default.
    whole: bool,
}

impl Looked {
    /// Adds what is wrong with the files that the configuration names, each beginning with its key; but nothing about a key of which something is
    /// known to be wrong, or that may stand in a file that could not be read.
    #[must_use]
    pub fn and(mut self, more: Vec<String>) -> Self {
        // Before any of these: a file has as many mistakes as it has.
        let known: Vec<String> = self.mistakes.iter().filter_map(|known| known.split_once(": ")).map(|(_, rest)| rest.to_owned()).collect();
        for mistake in more {
            let key = mistake.split([':', '[']).next().unwrap_or_default();
            if !known.iter().any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with([':', '[']))) {
                let place = self.places.iter().find(|(set, _)| *set == key);
                if place.is_none() && !self.whole {
                    continue;
                }
                self.mistakes.push(place.map_or_else(|| mistake.clone(), |(_, place)| format!("{place}: {mistake}")));
            }
        }
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// All mistakes, each with the file, flag or variable and the key.
    pub fn done(self) -> Result<Config, Vec<String>> {
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(self.mistakes) }
    }
}

impl Config {
    /// The register of recipients.
    pub fn recipients(&self) -> Recipients {
        Recipients::new(self.emsps.iter().map(|emsp| emsp.recipient.clone()).collect())
    }
}

/// The name of a built-in profile, or the text of the file that `policy` names.
fn policy_text(reader: &mut Reader<'_>, policy: String) -> String {
    use crate::policy::{Rules, file::PROFILES};
    if PROFILES.iter().any(|(name, _)| *name == policy) {
        return policy;
    }
    match std::fs::read_to_string(Path::new(&policy)) {
        Ok(text) => {
            for mistake in Rules::compile(&text, Vec::new()).err().into_iter().flatten() {
                reader.mistake("policy", &format!("the policy file: {mistake}"));
            }
            text
        }
        Err(_) => {
            reader.mistake("policy", "is neither a profile (strict, smart-charging, observe) nor a readable file");
            policy
        }
    }
}

fn time_zone(reader: &mut Reader<'_>) -> chrono_tz::Tz {
    let zone = reader.text("cpo.time_zone", Some("Europe/Amsterdam")).unwrap_or_default();
    zone.parse().unwrap_or_else(|_| {
        reader.mistake("cpo.time_zone", "is no IANA time zone, such as Europe/Amsterdam");
        chrono_tz::Tz::UTC
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&'static str, &str)]) -> Result<Config, Vec<String>> {
        let values = values.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Config::read(&Flags { config: None, values }, &|_| None)
    }

    #[test]
    fn the_documented_file_says_what_the_defaults_are() {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config/sluis.toml"));
        let documented = Config::read(&Flags { config: Some(path.clone()), values: Vec::new() }, &|_| None).unwrap();
        let default = read(&[]).unwrap();
        let upstream = documented.upstream.clone();
        assert_eq!(format!("{:?}", Config { upstream: None, ..documented }), format!("{default:?}"));
        assert_eq!(upstream.unwrap().base, "/csms");
        let text = std::fs::read_to_string(path).unwrap();
        for key in file::KEYS {
            let name = key.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("{name} = ")), "{key} is not documented");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_no_value_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sluis.toml");
        std::fs::write(&path, "listen = \"nonsense-4711\"\nlitsen = 1\n[upstream]\nurl = \"http://secret-4711\"\n[identity]\nnamespaces = [\"04*\", \"AB\"]\n[stations]\nping_seconds = \"4711\"\n[what]\never = 1\n").unwrap();
        let mistakes = Config::read(&Flags { config: Some(path), values: Vec::new() }, &|_| None).unwrap_err();
        let all = mistakes.join("\n");
        for key in
            ["listen", "litsen", "upstream.url", "identity.namespaces[0]", "identity.namespaces[1]", "stations.ping_seconds", "what.ever"]
        {
            assert!(all.contains(key), "{key} in {all}");
        }
        assert!(!all.contains("4711"), "{all}");
        assert!(mistakes.iter().all(|m| m.contains("sluis.toml")), "{all}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_by_its_line_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sluis.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\npassword = s3cret\n").unwrap();
        let mistakes = Config::read(&Flags { config: Some(path), values: Vec::new() }, &|_| None).unwrap_err();
        assert!(mistakes[0].contains("line 2") && !mistakes[0].contains("s3cret"), "{mistakes:?}");
    }

    #[test]
    fn a_key_that_is_given_twice_is_named_and_its_values_are_not() {
        let twice = |text: &str| Config::read_text(&Flags::default(), &|_| None, "sluis.toml", text).unwrap_err();
        assert_eq!(twice("listen = \"127.0.0.1:1\"\nlisten = \"s3cret\"\n"), ["sluis.toml: line 2: listen is given twice"]);
        assert_eq!(twice("[stations]\nping_seconds = 5\n[stations]\n"), ["sluis.toml: line 3: stations is given twice"]);
        assert_eq!(twice("\"s3cret \" = 1\n\"s3cret \" = 2\n"), ["sluis.toml: line 2: is not TOML"]);
    }

    #[test]
    fn a_mistake_of_two_keys_is_told_where_one_of_them_is_set() {
        let partner = |key: &'static str, value: &str| read(&[(key, value)]).unwrap_err();
        for (key, value, mistake) in [
            ("ocpi.csms_token_file", "a", "command line: ocpi.csms_url: and ocpi.csms_token_file go together"),
            ("upstream.key", "a", "command line: upstream.certificate: and upstream.key go together"),
            ("listen", "127.0.0.1:8080", "command line: admin: is the same address as listen"),
            ("frames.middle_bytes", "1024", "command line: frames.short_bytes: must not be more than frames.middle_bytes"),
        ] {
            assert_eq!(partner(key, value), [mistake]);
        }
    }

    #[test]
    fn flags_beat_the_environment_and_the_environment_beats_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sluis.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:1\"\n[stations]\nping_seconds = 5\n").unwrap();
        let environment = |name: &str| match name {
            "SLUIS_LISTEN" | "SLUIS_ADMIN" => Some("127.0.0.1:2".to_owned()),
            "SLUIS_STATIONS__PING_SECONDS" => Some("7".to_owned()),
            "SLUIS_IDENTITY__NAMESPACES" => Some("WEB-*, APP_*".to_owned()),
            _ => None,
        };
        let flags = Flags { config: Some(path), values: vec![("admin", "127.0.0.1:3".to_owned())] };
        let config = Config::read(&flags, &environment).unwrap();
        assert_eq!((config.listen.port(), config.admin.port()), (2, 3));
        assert_eq!((config.stations.ping_interval.as_secs(), config.namespaces.len()), (7, 2));
    }

    #[test]
    fn plain_text_stays_on_loopback() {
        assert!(read(&[("listen", "0.0.0.0:9000")]).is_err());
        assert!(read(&[("upstream.url", "ws://csms.example/ocpp")]).is_err());
        assert!(read(&[("upstream.url", "wss://csms.example/ocpp")]).is_ok());
        assert!(read(&[("upstream.url", "ws://[::1]:9100")]).is_ok());
        assert!(read(&[("listen", "0.0.0.0:9000"), ("allow_plaintext", "true")]).is_ok());
    }
}
