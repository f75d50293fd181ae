//! The other parties: their credentials, sealed in the store, and their endpoints.

use crate::custody::{Custody, SecretError};
use crate::recipient::{Ocpi, Party};
use crate::secret::Sensitive;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

/// Another party of OCPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// An e-MSP of the register of recipients.
    Emsp(Party),
    /// The central system.
    Csms,
}

/// `NL-ABC`, or `csms`.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emsp(party) => party.fmt(f),
            Self::Csms => f.write_str("csms"),
        }
    }
}

/// What is known of a party: from the exchange of credentials (OCPI 2.2.1 §Credentials), or from the configuration.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who it is.
    pub who: Who,
    /// The version agreed on.
    pub version: Ocpi,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The token that we call it with (CREDENTIALS_TOKEN_B or C); `None` until it has given one.
    pub ours: Option<Sensitive<String>>,
    /// The token that it calls us with; `None` until we have given one.
    pub theirs: Option<Sensitive<String>>,
    /// Whether the token we call with goes into the header as it is, rather than in base64.
    pub raw: bool,
}

/// A module of a party and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `cdrs`, `tokens`, …
    pub module: String,
    /// `SENDER` or `RECEIVER`; empty in 2.1.1, which has no roles.
    pub role: String,
    /// Its URL.
    pub url: String,
}

impl Peer {
    /// The URL of a module in a role; a party of 2.1.1 names no roles.
    pub fn url(&self, module: &str, role: &str) -> Option<&str> {
        let fits = |e: &&Endpoint| e.module.eq_ignore_ascii_case(module) && (e.role.is_empty() || e.role.eq_ignore_ascii_case(role));
        self.endpoints.iter().find(fits).map(|endpoint| endpoint.url.as_str())
    }
}

/// The parties with which credentials were exchanged. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    custody: Arc<Custody>,
}

impl Peers {
    /// The parties whose credentials lie in a store.
    pub fn new(custody: Arc<Custody>) -> Self {
        Self { custody }
    }

    /// What is known of a party; `None` before the first exchange.
    ///
    /// # Errors
    /// The row does not open, or the store failed.
    pub fn find(&self, who: Who) -> Result<Option<Peer>, SecretError> {
        let text = self.custody.secret(&name(who))?;
        Ok(text.and_then(|text| read(who, &text)))
    }

    /// Keeps what is known of a party from now on. Durable when it returns.
    ///
    /// # Errors
    /// It is not kept.
    pub async fn keep(&self, peer: &Peer) -> Result<(), SecretError> {
        self.custody.keep_secret(&name(peer.who), &written(peer)).await
    }
}

fn name(who: Who) -> String {
    format!("ocpi {who}")
}

/// Into the seal, and nowhere else.
fn written(peer: &Peer) -> Sensitive<String> {
    let endpoints: Vec<Value> = peer.endpoints.iter().map(|e| json!([e.module, e.role, e.url])).collect();
    let secret = |token: &Option<Sensitive<String>>| token.as_ref().map(|token| token.expose().clone());
    let object = json!({
        "version": peer.version.number(), "endpoints": endpoints, "ours": secret(&peer.ours), "theirs": secret(&peer.theirs), "raw": peer.raw,
    });
    Sensitive::new(object.to_string())
}

/// Out of the seal.
fn read(who: Who, text: &Sensitive<String>) -> Option<Peer> {
    let object: Value = serde_json::from_str(text.expose()).ok()?;
    let secret = |name: &str| object[name].as_str().map(|token| Sensitive::new(token.to_owned()));
    let endpoint = |row: &Value| {
        let text = |at: usize| row[at].as_str().map(str::to_owned);
        Some(Endpoint { module: text(0)?, role: text(1)?, url: text(2)? })
    };
    Some(Peer {
        who,
        version: Ocpi::from_number(object["version"].as_str()?)?,
        endpoints: object["endpoints"].as_array()?.iter().filter_map(endpoint).collect(),
        ours: secret("ours"),
        theirs: secret("theirs"),
        raw: object["raw"].as_bool()?,
    })
}
