//! Looks up one key after the other in flags, environment and file, and remembers every mistake.

use super::Flags;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use toml::{Table, Value};

/// How variables of the environment begin that are keys.
const PREFIX: &str = "SLUIS_";

/// Every key there is. In the environment a key is upper case after `SLUIS_`, with `__` for the dot.
pub const KEYS: &[&str] = &[
    "listen",
    "admin",
    "data_dir",
    "policy",
    "allow_plaintext",
    "upstream.url",
    "upstream.ca_file",
    "upstream.timeout_seconds",
    "upstream.append_id",
    "upstream.subprotocol",
    "upstream.certificate",
    "upstream.key",
    "upstream.server_name",
    "upstream.password_file",
    "upstream.passwords_file",
    "tls.certificates",
    "tls.keys",
    "tls.listen",
    "tls.min_version",
    "tls.client_ca",
    "tls.client_organization",
    "tls.crls",
    "tls.revocation",
    "tls.admin",
    "keys.kek_file",
    "keys.kek_credential",
    "identity.namespaces",
    "identity.alphabet",
    "stations.default_version",
    "stations.handshake_seconds",
    "stations.ping_seconds",
    "stations.idle_seconds",
    "stations.drain_seconds",
    "stations.max_frame_bytes",
    "stations.max_queue_bytes",
    "stations.max_connections",
    "frames.short_bytes",
    "frames.middle_bytes",
    "frames.answer_seconds",
    "frames.burst",
    "frames.per_second",
    "frames.bytes_per_frame",
    "frames.flood_seconds",
    "stations.versions",
    "stations.tenants",
    "stations.ids_ignore_case",
    "stations.takeover",
    "stations.probe_seconds",
    "limits.accepts_per_second",
    "limits.accept_burst",
    "limits.handshakes",
    "limits.connections_per_network",
    "limits.unlimited_networks",
    "limits.station_handshakes_per_minute",
    "limits.takeovers_per_minute",
    "limits.dials",
    "limits.memory_mib",
    "stations.security_profile",
    "stations.passwords_file",
    "stations.password_changes",
    "journal.keep_days",
    "cpo.party",
    "cpo.name",
    "cpo.time_zone",
    "billing.sites",
    "billing.tariffs",
    "billing.settle_minutes",
    "billing.max_age_hours",
    "billing.keep_days",
    "billing.least_wh",
    "statistics.enabled",
    "statistics.country",
    "statistics.mode",
    "statistics.contributors",
    "statistics.yearly_budget_millionths",
    "statistics.month_sessions",
    "statistics.month_kwh",
    "statistics.month_hours",
    "statistics.quarter_sessions",
    "statistics.quarter_kwh",
    "statistics.quarter_hours",
    "statistics.neighbourhood_points",
    "statistics.municipality_points",
    "statistics.hub_points",
    "statistics.dir",
    "ocpi.listen",
    "ocpi.url",
    "ocpi.tls",
    "ocpi.csms_url",
    "ocpi.csms_token_file",
    "log.format",
    "log.level",
];

/// Every key of an `[[emsp]]` entry.
pub const EMSP_KEYS: &[&str] = &[
    "party",
    "name",
    "agreement",
    "valid_from",
    "valid_until",
    "ocpi",
    "delivery",
    "ranges",
    "token_file",
    "versions_url",
    "cdrs_url",
    "tokens_url",
    "their_token_file",
    "token_form",
];

/// What the library of TOML says of a key that is given twice; its span is the second one.
const TWICE: &str = "duplicate key";

/// The table of e-MSPs.
const EMSP: &str = "emsp";

/// The variable of the environment that a key is read from.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// Variables that begin as ours do and are no key: misspelt, most likely. What Kubernetes sets for a service of this name is none of them.
///
/// Returns their names, in order. Values are not looked at.
pub fn strangers(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: BTreeSet<String> = KEYS.iter().map(|key| variable(key)).collect();
    let kubernetes =
        |rest: &str| rest.starts_with("PORT") || rest.contains("SERVICE_HOST") || rest.contains("SERVICE_PORT") || rest.contains("_PORT_");
    let strange = |name: &String| name.strip_prefix(PREFIX).is_some_and(|rest| !kubernetes(rest)) && !known.contains(name);
    let all: BTreeSet<String> = names.filter(strange).collect();
    all.into_iter().collect()
}

/// Where a value was found, for the mistake that may be in it.
enum Found {
    File(Value),
    Words(String, String),
}

/// Reads keys and collects mistakes.
pub(super) struct Reader<'a> {
    flags: &'a Flags,
    environment: &'a dyn Fn(&str) -> Option<String>,
    file: Table,
    name: String,
    /// The file could not be read or parsed: what stands in it is not known.
    broken: bool,
    mistakes: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(flags: &'a Flags, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let mut reader = Self { flags, environment, file: Table::new(), name: String::new(), broken: false, mistakes: BTreeSet::new() };
        if let Some(path) = &flags.config {
            reader.name = path.display().to_string();
            match std::fs::read_to_string(path) {
                Err(error) => {
                    reader.broken = true;
                    reader.say(&format!("cannot be read: {}", error.kind()));
                }
                Ok(text) => reader.take(&text),
            }
        }
        reader
    }

    /// Reads a file's text, which mistakes call `name`.
    pub(super) fn of_text(flags: &'a Flags, environment: &'a dyn Fn(&str) -> Option<String>, name: &str, text: &str) -> Self {
        let mut reader = Self { flags, environment, file: Table::new(), name: name.to_owned(), broken: false, mistakes: BTreeSet::new() };
        reader.take(text);
        reader
    }

    fn take(&mut self, text: &str) {
        match text.parse::<Table>() {
            Ok(table) => self.file = table,
            Err(error) => {
                self.broken = true;
                let span = error.span().unwrap_or_default();
                let line = text.get(..span.start).unwrap_or_default().matches('\n').count() + 1;
                // The library's message as a whole quotes the line, which may hold a secret. A key is none.
                let bare = |key: &&str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
                let key = Some(error.message()).filter(|what| *what == TWICE).and_then(|_| text.get(span)).filter(bare);
                let what = key.map_or_else(|| "is not TOML".to_owned(), |key| format!("{key} is given twice"));
                self.say(&format!("line {line}: {what}"));
            }
        }
        self.unknown();
    }

    /// A variable of the environment that is no key.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    fn unknown(&mut self) {
        let mut strangers = Vec::new();
        for (key, value) in &self.file {
            match value {
                // Entries of a register are looked at by themselves.
                Value::Array(_) if key == EMSP => {}
                Value::Table(table) => strangers.extend(table.keys().map(|inner| format!("{key}.{inner}"))),
                _ => strangers.push(key.clone()),
            }
        }
        for key in strangers.into_iter().filter(|key| !KEYS.contains(&key.as_str())) {
            self.say(&format!("{key}: there is no such key"));
        }
    }

    /// The `[[emsp]]` entries, each as a reader of its own keys.
    pub(super) fn entries(&mut self) -> Vec<Table> {
        match self.file.get(EMSP) {
            None => Vec::new(),
            Some(Value::Array(all)) if all.iter().all(Value::is_table) => all.iter().filter_map(Value::as_table).cloned().collect(),
            Some(_) => {
                self.say(&format!("{EMSP}: must be entries under [[{EMSP}]]"));
                Vec::new()
            }
        }
    }

    /// A mistake in the file itself, at a place that is no single key.
    pub(super) fn say(&mut self, what: &str) {
        self.mistakes.insert(format!("{}: {what}", self.name));
    }

    fn find(&self, key: &str) -> Option<Found> {
        debug_assert!(KEYS.contains(&key), "{key} is read but not listed");
        if let Some((_, value)) = self.flags.values.iter().find(|(name, _)| *name == key) {
            return Some(Found::Words("command line".to_owned(), value.clone()));
        }
        let variable = variable(key);
        if let Some(value) = (self.environment)(&variable) {
            return Some(Found::Words(variable, value));
        }
        let value = match key.split_once('.') {
            Some((table, inner)) => self.file.get(table)?.get(inner)?,
            None => self.file.get(key)?,
        };
        Some(Found::File(value.clone()))
    }

    /// Where a key is set, if it is.
    fn place(&self, key: &str) -> Option<String> {
        if key == EMSP {
            return self.file.contains_key(EMSP).then(|| self.name.clone());
        }
        Some(match self.find(key)? {
            Found::Words(place, _) => place,
            Found::File(_) => self.name.clone(),
        })
    }

    /// Notes a mistake in the value of a key, wherever it was found. If it is nowhere, the mistake is that of another key that `why` names: of
    /// the partner that was given without it, or that its default does not fit.
    pub(super) fn mistake(&mut self, key: &str, why: &str) {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let partner = || why.split(|c| !word(c)).filter(|named| KEYS.contains(named)).find_map(|named| self.place(named));
        let place = self.place(key.split('[').next().unwrap_or(key)).or_else(partner).unwrap_or_else(|| "default".to_owned());
        self.mistakes.insert(format!("{place}: {key}: {why}"));
    }

    pub(super) fn text(&mut self, key: &str, default: Option<&str>) -> Option<String> {
        match self.find(key) {
            Some(Found::Words(_, words)) if !words.is_empty() => Some(words),
            Some(Found::File(Value::String(text))) if !text.is_empty() => Some(text),
            Some(_) => {
                self.mistake(key, "must be a text that is not empty");
                None
            }
            None => default.map(str::to_owned),
        }
    }

    pub(super) fn address(&mut self, key: &str, default: &str) -> SocketAddr {
        let fallback = SocketAddr::from(([127, 0, 0, 1], 0));
        let text = self.text(key, Some(default)).unwrap_or_default();
        let text = text.strip_prefix("localhost:").map_or(text.clone(), |port| format!("127.0.0.1:{port}"));
        text.parse().unwrap_or_else(|_| {
            self.mistake(key, "must be an address and a port, such as 127.0.0.1:9000");
            fallback
        })
    }

    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.find(key) {
            Some(Found::File(Value::Boolean(flag))) => flag,
            Some(Found::Words(_, words)) if words == "true" || words == "false" => words == "true",
            Some(_) => {
                self.mistake(key, "must be true or false");
                default
            }
            None => default,
        }
    }

    pub(super) fn number(&mut self, key: &str, default: u64, least: u64, most: u64) -> u64 {
        self.maybe_number(key, least, most).unwrap_or(default)
    }

    /// A number that has no default of its own.
    pub(super) fn maybe_number(&mut self, key: &str, least: u64, most: u64) -> Option<u64> {
        let number = match self.find(key)? {
            Found::File(Value::Integer(number)) => u64::try_from(number).ok(),
            Found::Words(_, words) => words.parse().ok(),
            Found::File(_) => None,
        };
        let number = number.filter(|n| (least..=most).contains(n));
        if number.is_none() {
            self.mistake(key, &format!("must be a number from {least} to {most}"));
        }
        number
    }

    /// The place of the value in `words`; the first is the default.
    pub(super) fn choice(&mut self, key: &str, words: &[&str]) -> usize {
        let Some(text) = self.text(key, Some(words[0])) else { return 0 };
        words.iter().position(|word| *word == text).unwrap_or_else(|| {
            self.mistake(key, &format!("must be one of {}", words.join(", ")));
            0
        })
    }

    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        match self.find(key) {
            None => Vec::new(),
            Some(Found::Words(_, words)) => words.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect(),
            Some(Found::File(Value::Array(values))) if values.iter().all(Value::is_str) => {
                values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
            }
            Some(Found::File(_)) => {
                self.mistake(key, "must be a list of texts");
                Vec::new()
            }
        }
    }

    /// A list, or `None` if the key is nowhere.
    pub(super) fn listed(&mut self, key: &str) -> Option<Vec<String>> {
        self.find(key)?;
        Some(self.list(key))
    }

    /// All mistakes, for every key that is set where that is, and whether the file could be read at all.
    pub(super) fn finish(self) -> (Vec<String>, Vec<(&'static str, String)>, bool) {
        let places = KEYS.iter().chain(&[EMSP]).filter_map(|key| Some((*key, self.place(key)?))).collect();
        (self.mistakes.into_iter().collect(), places, !self.broken)
    }
}
