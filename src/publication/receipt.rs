//! The receipt of a destruction: made after the release, when the period's secret and everything sealed under it are gone from the store and
//! its log. It names no number of sessions or contributors: those are never exact.

use super::files::{self, File};
use super::signature::Signature;
use crate::clock::Timestamp;
use crate::custody::SigningKey;
use crate::stats::{Digest, Period};
use serde::{Deserialize, Serialize};

/// What was destroyed, when, and for which release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The period.
    pub period: Period,
    /// SHA-256 of the release's manifest.
    pub manifest: Digest,
    /// When the secret was destroyed: together with the release becoming durable, RFC 3339.
    pub secret_destroyed: String,
    /// When it was found that nothing sealed under it is left, RFC 3339.
    pub nothing_left: String,
    /// The same for people.
    pub statement: String,
}

impl Receipt {
    /// For a release whose inputs lay in the store.
    pub fn of_store(period: Period, manifest: &[u8], destroyed: Timestamp, now: Timestamp) -> Self {
        let statement = "The secret that contributors were named by was overwritten, all that was sealed under it was deleted and overwritten, \
            and the database's log was emptied. Copies of the data directory made before then hold the secret only under the key-encryption key.";
        Self::new(period, manifest, destroyed, now, statement)
    }

    /// For a release made from a file of sessions. The file is its owner's to destroy.
    pub fn of_memory(period: Period, manifest: &[u8], now: Timestamp) -> Self {
        let statement = "The secret that contributors were named by and their contributions were in memory only, and are wiped. The file of sessions that \
            the release was made from is not ours to destroy.";
        Self::new(period, manifest, now, now, statement)
    }

    fn new(period: Period, manifest: &[u8], destroyed: Timestamp, now: Timestamp, statement: &str) -> Self {
        let [secret_destroyed, nothing_left] = [destroyed, now].map(Timestamp::rfc3339);
        Self { period, manifest: Digest::of(manifest), secret_destroyed, nothing_left, statement: statement.to_owned() }
    }

    /// The receipt and its signature.
    pub fn files(&self, key: &SigningKey) -> [File; 2] {
        let bytes = files::json(self);
        let signature = Signature::of(files::RECEIPT, &bytes, key).to_bytes();
        [(files::RECEIPT.to_owned(), bytes), (files::RECEIPT_SIGNATURE.to_owned(), signature)]
    }
}
