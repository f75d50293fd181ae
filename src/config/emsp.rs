//! The `[[emsp]]` entries of the configuration.

use super::file::{EMSP_KEYS, Reader};
use super::ocpi::checked_address;
use crate::recipient::{Ocpi, Party, Recipient};
use std::path::PathBuf;
use toml::{Table, Value};

/// How a party writes a credentials token in the Authorization header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenForm {
    /// Base64, as OCPI has it since 2.2-d2.
    #[default]
    Base64,
    /// As it is, as in OCPI 2.1.1 and with many who speak 2.2.
    Raw,
}

/// An e-MSP as configured: its place in the register of recipients, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmspConfig {
    /// Its entry.
    pub recipient: Recipient,
    /// The file of the token that it calls us with until credentials are exchanged.
    pub token_file: Option<PathBuf>,
    /// Where its versions are, for an exchange of credentials that we begin.
    pub versions_url: Option<String>,
    /// Where CDRs are pushed to, without an exchange of credentials.
    pub cdrs_url: Option<String>,
    /// Where its tokens are pulled from and asked about, without an exchange of credentials.
    pub tokens_url: Option<String>,
    /// The file of the token that it is called with.
    pub their_token_file: Option<PathBuf>,
    /// How that token is written.
    pub token_form: TokenForm,
}

/// Reads all entries; mistakes are remembered with the entry's number and key.
pub(super) fn read(reader: &mut Reader<'_>, allow_plaintext: bool) -> Vec<EmspConfig> {
    let mut all: Vec<EmspConfig> = Vec::new();
    for (number, table) in reader.entries().iter().enumerate() {
        let mut entry = Entry { table, mistakes: Vec::new() };
        let emsp = entry.emsp(allow_plaintext);
        if let Some(emsp) = emsp {
            if all.iter().any(|other| other.recipient.party == emsp.recipient.party) {
                entry.mistakes.push(("party".into(), "is there twice"));
            }
            all.push(emsp);
        }
        for (key, why) in std::mem::take(&mut entry.mistakes) {
            reader.say(&format!("emsp[{number}].{key}: {why}"));
        }
    }
    all
}

struct Entry<'a> {
    table: &'a Table,
    mistakes: Vec<(String, &'static str)>,
}

impl Entry<'_> {
    fn emsp(&mut self, allow_plaintext: bool) -> Option<EmspConfig> {
        for key in self.table.keys().filter(|key| !EMSP_KEYS.contains(&key.as_str())) {
            self.mistakes.push((key.clone(), "there is no such key"));
        }
        let party = self.text("party").and_then(|text| {
            let party = Party::parse(&text);
            if party.is_none() {
                self.mistake("party", "must be a country and a party id, such as NL-ABC");
            }
            party
        });
        if !self.table.contains_key("party") {
            self.mistake("party", "is missing");
        }
        let agreement = self.text("agreement");
        if !self.table.contains_key("agreement") {
            self.mistake("agreement", "is missing: no e-MSP receives anything without one");
        }
        let name = self.text("name");
        let valid = [self.day("valid_from"), self.day("valid_until")];
        if let [Some(from), Some(until)] = &valid
            && from > until
        {
            self.mistake("valid_until", "is before valid_from: the agreement would never be valid");
        }
        let version = self.choice("ocpi", &["2.2.1", "2.1.1", "2.3.0"]);
        let push = self.choice("delivery", &["push", "pull"]) == "push";
        let token_form = if self.choice("token_form", &["base64", "raw"]) == "raw" { TokenForm::Raw } else { TokenForm::Base64 };
        let ranges = self.list("ranges");
        let [versions_url, cdrs_url, tokens_url] = ["versions_url", "cdrs_url", "tokens_url"].map(|key| self.address(key, allow_plaintext));
        let [token_file, their_token_file] = ["token_file", "their_token_file"].map(|key| self.text(key).map(PathBuf::from));
        if (cdrs_url.is_some() || tokens_url.is_some()) && their_token_file.is_none() {
            self.mistake("their_token_file", "is missing beside cdrs_url or tokens_url");
        }
        let party = party?;
        let recipient = Recipient {
            party,
            name: name.unwrap_or_else(|| party.to_string()),
            agreement: agreement?,
            valid,
            version: Ocpi::from_number(version).unwrap_or(Ocpi::V221),
            push,
            ranges,
        };
        Some(EmspConfig { recipient, token_file, versions_url, cdrs_url, tokens_url, their_token_file, token_form })
    }

    fn mistake(&mut self, key: &str, why: &'static str) {
        self.mistakes.push((key.to_owned(), why));
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.table.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.mistake(key, "must be a text that is not empty");
                None
            }
        }
    }

    fn day(&mut self, key: &str) -> Option<String> {
        let text = match self.table.get(key)? {
            Value::String(text) => text.clone(),
            Value::Datetime(day) => day.to_string(),
            _ => String::new(),
        };
        let is_day = chrono::NaiveDate::parse_from_str(&text, "%Y-%m-%d").is_ok() && text.len() == 10;
        if !is_day {
            self.mistake(key, "must be a day, such as 2026-11-24");
        }
        is_day.then_some(text)
    }

    fn choice(&mut self, key: &str, words: &[&'static str]) -> &'static str {
        let Some(text) = self.text(key) else { return words[0] };
        words.iter().find(|word| **word == text).copied().unwrap_or_else(|| {
            self.mistake(key, "is none of the words that config/sluis.toml lists");
            words[0]
        })
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        match self.table.get(key) {
            None => Vec::new(),
            Some(Value::Array(all)) if all.iter().all(|v| v.as_str().is_some_and(is_range)) => {
                all.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
            }
            Some(_) => {
                self.mistake(key, "must be a list of identifiers, or of at least four of their first characters and a *");
                Vec::new()
            }
        }
    }

    fn address(&mut self, key: &str, allow_plaintext: bool) -> Option<String> {
        let url = self.text(key)?;
        checked_address(&url, allow_plaintext).map_err(|why| self.mistake(key, why)).ok()
    }
}

/// Four characters at least: a shorter prefix would hand an e-MSP the customers of others.
fn is_range(pattern: &str) -> bool {
    let stem = pattern.strip_suffix('*').unwrap_or(pattern);
    stem.is_ascii() && !stem.contains('*') && stem.bytes().filter(u8::is_ascii_alphanumeric).count() >= 4
}
