//! The other parties: their credentials, sealed in the store, and their endpoints.

use crate::custody::{Custody, SecretError};
use crate::recipient::{Ocpi, Party};
use crate::secret::Sensitive;
use crate::store::Op;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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

    /// Forgets a party: nothing opens for it any more, and it is called no more. Durable when it returns.
    ///
    /// # Errors
    /// It is not forgotten.
    pub async fn forget(&self, who: Who) -> Result<(), SecretError> {
        Ok(self.custody.store().commit(vec![Op::SecretDrop(name(who)), Op::SecretDrop(offer(who))]).await?)
    }

    /// Offers a party a token in an exchange that we begin, beside the one that it has. Durable when it returns.
    ///
    /// # Errors
    /// It is not offered.
    pub async fn offer(&self, who: Who, token: &Sensitive<String>) -> Result<(), SecretError> {
        self.custody.keep_secret(&offer(who), token).await
    }

    /// Takes an offer back, or away once it is the party's token.
    ///
    /// # Errors
    /// The store failed.
    pub async fn withdraw(&self, who: Who) -> Result<(), SecretError> {
        Ok(self.custody.store().commit(vec![Op::SecretDrop(offer(who))]).await?)
    }

    /// The token that a party is offered.
    ///
    /// # Errors
    /// The row does not open, or the store failed.
    pub fn offered(&self, who: Who) -> Result<Option<Sensitive<String>>, SecretError> {
        self.custody.secret(&offer(who))
    }

    /// Remembers that a party has registered with a CREDENTIALS_TOKEN_A: it opens nothing any more. Another one may be given.
    ///
    /// # Errors
    /// It is not remembered.
    pub async fn spend(&self, who: Who, digest: &[u8; 16]) -> Result<(), SecretError> {
        self.custody.keep_secret(&spent(who), &Sensitive::new(hex(digest))).await
    }

    /// Whether a party has registered with the CREDENTIALS_TOKEN_A of this digest.
    ///
    /// # Errors
    /// The row does not open, or the store failed.
    pub fn is_spent(&self, who: Who, digest: &[u8; 16]) -> Result<bool, SecretError> {
        let last = self.custody.secret(&spent(who))?;
        Ok(last.is_some_and(|last| *last.expose() == hex(digest))) // a digest, compared with a digest
    }

    /// A keyed digest of a credentials token: it is looked up by this.
    pub fn digest(&self, token: &Sensitive<String>) -> [u8; 16] {
        self.custody.keys.blind("ocpi token", &[token.expose().as_bytes()]) // into a MAC
    }

    /// A new credentials token: 43 characters of base64url, 256 random bits.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn new_token(&self) -> Result<Sensitive<String>, SecretError> {
        Ok(Sensitive::new(URL_SAFE_NO_PAD.encode(self.custody.random::<32>()?)))
    }
}

fn offer(who: Who) -> String {
    format!("ocpi offer {who}")
}

fn spent(who: Who) -> String {
    format!("ocpi spent {who}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
