//! The exchange of credentials, from whichever side it begins: what a credentials object says, and finding a party's endpoints with the token
//! it gave.
//!
//! Sources: OCPI 2.1.1 §Credentials (one party, no roles), 2.2.1 §Credentials (roles), 2.3.0 (hub_party_id, which we neither need nor send),
//! §Versions.

use super::auth::is_token;
use super::client::{Client, Pass, Trouble};
use super::directory::discover;
use super::peer::{Endpoint, Peer, Peers, Who};
use crate::clock::Timestamp;
use crate::custody::SecretError;
use crate::recipient::{Ocpi, Party, Recipient, Recipients};
use crate::secret::Sensitive;
use serde_json::{Value, json};

/// Endpoints of a party that are kept: all modules of OCPI in both roles, and room for own ones.
const MOST_ENDPOINTS: usize = 64;
/// Characters of a URL (2.2.1 §Types), and more than a module or a role has.
const LONGEST_URL: usize = 255;
const LONGEST_MODULE: usize = 64;
const LONGEST_ROLE: usize = 16;
/// Roles in which a party receives CDRs (2.2.1 §Types, Role).
const RECEIVING: [&str; 2] = ["EMSP", "HUB"];

/// Who we are to the others.
#[derive(Debug, Clone)]
pub struct Us {
    /// The charge-point operator.
    pub party: Party,
    /// Its name.
    pub name: String,
    /// The URL of our OCPI, without a slash at its end.
    pub url: String,
}

/// What a party says in a credentials object.
pub struct Theirs {
    /// The token that it is called with.
    pub token: Sensitive<String>,
    /// Its versions.
    pub url: String,
}

/// Why an exchange came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The credentials object lacks something, or names another party.
    #[error("its credentials lack {0}, or it is wrong")]
    Credentials(&'static str),
    /// Its interface cannot be used.
    #[error("its interface cannot be used: {0}")]
    Api(Trouble),
    /// It does not speak the version that it is configured to be spoken to in.
    #[error("it does not speak the version it should be spoken to in")]
    Version,
    /// It lacks an endpoint that is needed.
    #[error("it has no endpoint for {0}")]
    Endpoint(&'static str),
    /// Ours could not be read or kept.
    #[error(transparent)]
    Store(#[from] SecretError),
}

impl Us {
    /// The credentials object that gives `who` a token for us. To an e-MSP we are the charge-point operator; to the central system we are the
    /// e-MSPs whose agreement holds, since their tokens reach it through us.
    pub fn credentials(
        &self,
        version: Ocpi,
        who: Who,
        token: &Sensitive<String>,
        register: &Recipients,
        now: Timestamp,
    ) -> Sensitive<String> {
        let token = token.expose(); // into the answer to the party whose token it is
        let (url, party) = (format!("{}/versions", self.url), self.party);
        let object = if version == Ocpi::V211 {
            json!({
                "token": token, "url": url, "country_code": party.country(), "party_id": party.id(), "business_details": { "name": self.name },
            })
        } else {
            let role = |role: &str, party: Party, name: &str| json!({ "role": role, "country_code": party.country(), "party_id": party.id(), "business_details": { "name": name } });
            let mut roles = match who {
                Who::Emsp(_) => vec![role("CPO", party, &self.name)],
                Who::Csms => {
                    let valid = register.all().iter().filter(|recipient| recipient.may_receive(&now.date()));
                    valid.map(|recipient| role("EMSP", recipient.party, &recipient.name)).collect()
                }
            };
            if roles.is_empty() {
                roles.push(role("OTHER", party, &self.name));
            }
            json!({ "token": token, "url": url, "roles": roles })
        };
        Sensitive::new(object.to_string())
    }
}

impl Theirs {
    /// Reads a credentials object. An e-MSP must name the party that it is in the register, as an e-MSP or as a hub that speaks for one (2.1.1
    /// has no roles): whoever is only an operator of charge points there has no use for CDRs.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn read(version: Ocpi, who: Who, object: &Value) -> Result<Self, ExchangeError> {
        let wrong = ExchangeError::Credentials;
        let token = object.get("token").and_then(Value::as_str).and_then(is_token).ok_or(wrong("token"))?;
        let url =
            object.get("url").and_then(Value::as_str).filter(|url| !url.is_empty() && url.len() <= LONGEST_URL).ok_or(wrong("url"))?;
        let party = |object: &Value| Party::new(object.get("country_code")?.as_str()?, object.get("party_id")?.as_str()?);
        let may_receive = |object: &Value| object.get("role").and_then(Value::as_str).is_some_and(|role| RECEIVING.contains(&role));
        if let Who::Emsp(expected) = who {
            let named = match version {
                Ocpi::V211 => party(object) == Some(expected),
                _ => object
                    .get("roles")
                    .and_then(Value::as_array)
                    .is_some_and(|roles| roles.iter().any(|role| party(role) == Some(expected) && may_receive(role))),
            };
            if !named {
                return Err(wrong(if version == Ocpi::V211 { "party_id" } else { "roles" }));
            }
        }
        Ok(Self { token, url: url.to_owned() })
    }

    /// Asks the party for its endpoints in the version wanted, else in the newest that both speak. `raw`: how the token is shown first; the other
    /// way is tried if it is turned away.
    ///
    /// # Errors
    /// It cannot be called, or does not speak the version.
    pub async fn endpoints(&self, client: &Client, wanted: Option<Ocpi>, raw: bool) -> Result<Found, ExchangeError> {
        let ask = |raw| discover(client, &self.url, &self.token, raw, wanted);
        let (raw, said) = match ask(raw).await {
            Err(Trouble::Http(401 | 403) | Trouble::Ocpi(2000..3000)) => (!raw, ask(!raw).await),
            said => (raw, said),
        };
        let (version, mut endpoints) = said.map_err(|trouble| match trouble {
            Trouble::NoWay => ExchangeError::Version,
            trouble => ExchangeError::Api(trouble),
        })?;
        endpoints.retain(|e| e.module.len() <= LONGEST_MODULE && e.role.len() <= LONGEST_ROLE && e.url.len() <= LONGEST_URL);
        endpoints.truncate(MOST_ENDPOINTS);
        Ok(Found { version, endpoints, raw })
    }
}

/// What a party's versions and details say.
pub struct Found {
    /// The version agreed on.
    pub version: Ocpi,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Whether it takes our token as it is.
    pub raw: bool,
}

impl Found {
    /// The party as it is kept.
    ///
    /// # Errors
    /// An endpoint that is needed is missing: CDRs cannot be pushed to an e-MSP that takes none.
    pub fn peer(
        self,
        who: Who,
        recipient: Option<&Recipient>,
        ours: Sensitive<String>,
        theirs: Sensitive<String>,
    ) -> Result<Peer, ExchangeError> {
        let Self { version, endpoints, raw } = self;
        let peer = Peer { who, version, endpoints, ours: Some(ours), theirs: Some(theirs), raw };
        if recipient.is_some_and(|recipient| recipient.push) && peer.url("cdrs", "RECEIVER").is_none() {
            return Err(ExchangeError::Endpoint("cdrs"));
        }
        Ok(peer)
    }
}

/// An exchange that we begin.
pub struct Begin<'a> {
    /// With whom.
    pub who: Who,
    /// Its entry in the register; `None` for the central system.
    pub recipient: Option<&'a Recipient>,
    /// Its versions and the token for them: CREDENTIALS_TOKEN_A, or for a renewal the token it is called with.
    pub theirs: Theirs,
    /// The version to agree on; the newest that both speak if `None`.
    pub version: Option<Ocpi>,
    /// Whether the token is tried as it is first.
    pub raw: bool,
    /// Renew what was exchanged before (PUT) rather than register (POST).
    pub renew: bool,
}

/// Begins an exchange: offers the party a new token, and keeps what it answers. The token it had stays good until then. While the exchange runs
/// the party calls us back, so a gateway must be serving from the same data directory.
///
/// # Errors
/// Nothing has changed.
pub async fn begin(
    begin: Begin<'_>,
    us: &Us,
    peers: &Peers,
    client: &Client,
    register: &Recipients,
    now: Timestamp,
) -> Result<Peer, ExchangeError> {
    let Begin { who, recipient, theirs, version, raw, renew } = begin;
    let found = theirs.endpoints(client, version, raw).await?;
    let credentials = found.endpoints.iter().find(|e| e.module.eq_ignore_ascii_case("credentials"));
    let credentials = credentials.map(|e| e.url.clone()).ok_or(ExchangeError::Endpoint("credentials"))?;
    let given = peers.new_token()?;
    peers.offer(who, &given).await?;
    let body = us.credentials(found.version, who, &given, register, now);
    let pass = Pass { token: &theirs.token, raw: found.raw, version: found.version, from: None, to: None };
    let body = body.expose().clone(); // to the party that it gives a token to
    let answer = if renew { client.put(&credentials, &pass, body).await } else { client.post(&credentials, &pass, body).await };
    let read = answer.map_err(ExchangeError::Api).and_then(|answer| Theirs::read(found.version, who, &answer.data));
    let made = read.and_then(|theirs| found.peer(who, recipient, theirs.token, given));
    match made {
        Ok(peer) => {
            peers.keep(&peer).await?;
            peers.withdraw(who).await?;
            Ok(peer)
        }
        Err(error) => {
            peers.withdraw(who).await?;
            Err(error)
        }
    }
}
