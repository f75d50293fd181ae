//! Where a party is, and what is shown at its door: by the exchange of credentials, else by the configuration. The configuration's token
//! files are read once, at the start.

use super::client::{Client, Pass, Trouble};
use super::peer::{Endpoint, Peer, Peers, Who};
use crate::config::{Config, EmspConfig, TokenForm};
use crate::custody::{Custody, SecretError};
use crate::recipient::Ocpi;
use crate::secret::Sensitive;
use crate::tls::files::read_secret;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Longest credentials token (OCPI 2.2.1 §Credentials).
const LONGEST_TOKEN: usize = 64;
/// Shortest token that opens our door: 64 bits even where it is hexadecimal, and guesses are counted. How long theirs are is their affair.
const SHORTEST_INVITATION: usize = 16;

/// Where parties are.
pub struct Directory {
    peers: Peers,
    configured: Vec<Peer>,
    /// The central system's versions URL and the token it is called with.
    csms: Option<(String, Sensitive<String>)>,
}

/// A module of a party that can be called.
pub struct Contact {
    peer: Peer,
    url: String,
}

impl Contact {
    /// Where the module is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is shown there; `None` if the party has given no token.
    pub fn pass(&self) -> Option<Pass<'_>> {
        Pass::of(&self.peer)
    }

    /// The version spoken there.
    pub fn version(&self) -> Ocpi {
        self.peer.version
    }
}

impl Directory {
    /// A directory of the parties known by an exchange of credentials, with others to fall back on, and the central system's versions URL and
    /// token.
    pub fn new(peers: Peers, configured: Vec<Peer>, csms: Option<(String, Sensitive<String>)>) -> Self {
        Self { peers, configured, csms }
    }

    /// What is wrong with the token files that a configuration names, all of them, each by its key. A token that opens our door must be of one
    /// e-MSP only: it says who calls.
    pub fn mistakes(config: &Config) -> Vec<String> {
        let (mut mistakes, mut invitations) = (Vec::new(), Vec::new());
        for (number, emsp) in config.emsps.iter().enumerate() {
            let mut wrong = |key: &str, why: &str| mistakes.push(format!("emsp[{number}].{key}: {why}"));
            match emsp.token_file.as_deref().map(invitation).transpose() {
                Ok(token) => invitations.extend(token.map(|token| (number, token))),
                Err(why) => wrong("token_file", why),
            }
            if let Some(Err(why)) = emsp.their_token_file.as_deref().map(token) {
                wrong("their_token_file", why);
            }
        }
        // Looked at, to see which are the same.
        let first = |at: usize| {
            invitations[..at].iter().find(|(_, token): &&(usize, Sensitive<String>)| token.expose() == invitations[at].1.expose())
        };
        let twice = (0..invitations.len()).filter_map(|at| Some((invitations[at].0, first(at)?.0)));
        mistakes.extend(
            twice.map(|(number, other)| format!("emsp[{number}].token_file: holds the token of emsp[{other}], and tokens say who calls")),
        );
        let csms = config.ocpi.as_ref().and_then(|ocpi| ocpi.csms.as_ref()).map(|(_, file)| token(file));
        if let Some(Err(why)) = csms {
            mistakes.push(format!("ocpi.csms_token_file: {why}"));
        }
        mistakes
    }

    /// The directory that a configuration describes.
    ///
    /// # Errors
    /// Every token file that cannot be read or holds no token, by its key.
    pub fn read(custody: Arc<Custody>, config: &Config) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut token = |path: &Path, key: String| token(path).map_err(|why| mistakes.push(format!("{key}: {why}"))).ok();
        let mut configured = Vec::new();
        for (number, emsp) in config.emsps.iter().enumerate() {
            let Some(path) = &emsp.their_token_file else { continue };
            if let Some(token) = token(path, format!("emsp[{number}].their_token_file")) {
                configured.push(by_configuration(emsp, token));
            }
        }
        let csms = config.ocpi.as_ref().and_then(|ocpi| ocpi.csms.as_ref());
        let csms = csms.and_then(|(url, path)| token(path, "ocpi.csms_token_file".to_owned()).map(|token| (url.clone(), token)));
        if mistakes.is_empty() { Ok(Self::new(Peers::new(custody), configured, csms)) } else { Err(mistakes) }
    }

    /// How a module of a party is called: in `version` only, if one is given. `None` if there is no URL, no token, or another version.
    ///
    /// # Errors
    /// The store failed, or what it holds does not open.
    pub fn contact(&self, who: Who, version: Option<Ocpi>, module: &str, role: &str) -> Result<Option<Contact>, SecretError> {
        let fits = |peer: &Peer| peer.ours.is_some() && version.is_none_or(|version| version == peer.version);
        let contact = |peer: Peer| peer.url(module, role).map(str::to_owned).map(|url| Contact { peer, url });
        let exchanged = self.peers.find(who)?.filter(fits).and_then(contact);
        Ok(exchanged.or_else(|| self.configured.iter().filter(|peer| peer.who == who && fits(peer)).cloned().find_map(contact)))
    }

    /// Whether the configuration names a central system that is told of tokens.
    pub fn has_csms(&self) -> bool {
        self.csms.is_some()
    }

    /// Asks the central system where its modules are, in the newest version both speak. Its token is tried in base64, then as it is: many
    /// central systems never followed OCPI 2.2's change.
    ///
    /// # Errors
    /// It does not say so.
    pub async fn discover_csms(&self, client: &Client, module: &str, role: &str) -> Result<Contact, Trouble> {
        let (versions, token) = self.csms.as_ref().ok_or(Trouble::NoWay)?;
        let mut raw = false;
        let found = match discover(client, versions, token, raw, None).await {
            Err(Trouble::Http(401)) => {
                raw = true;
                discover(client, versions, token, raw, None).await
            }
            found => found,
        };
        let (version, endpoints) = found?;
        let peer = Peer { who: Who::Csms, version, endpoints, ours: Some(token.clone()), theirs: None, raw };
        let url = peer.url(module, role).ok_or(Trouble::NoWay)?.to_owned();
        Ok(Contact { peer, url })
    }
}

/// A party's versions, and the endpoints of the one wanted, else of the newest that both speak (2.2.1 §Versions).
///
/// # Errors
/// It does not answer, or speaks none of our versions ([`Trouble::NoWay`]).
pub async fn discover(
    client: &Client,
    versions_url: &str,
    token: &Sensitive<String>,
    raw: bool,
    wanted: Option<Ocpi>,
) -> Result<(Ocpi, Vec<Endpoint>), Trouble> {
    // The module of versions is the same in all of them, and not routed.
    let pass = Pass { token, raw, version: Ocpi::V211, from: None, to: None };
    let versions = client.get(versions_url, &pass).await?.data;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let known = |row: &Value| Some((Ocpi::from_number(&text(row, "version")?)?, text(row, "url")?));
    let offered = versions.as_array().ok_or(Trouble::Garbage)?.iter().filter_map(known);
    let chosen = offered.filter(|(version, _)| wanted.is_none_or(|wanted| wanted == *version)).max_by_key(|(version, _)| *version);
    let (version, url) = chosen.ok_or(Trouble::NoWay)?;
    let details = client.get(&url, &pass).await?.data;
    let endpoint = |row: &Value| {
        Some(Endpoint { module: text(row, "identifier")?, role: text(row, "role").unwrap_or_default(), url: text(row, "url")? })
    };
    let endpoints = details.get("endpoints").and_then(Value::as_array).ok_or(Trouble::Garbage)?;
    Ok((version, endpoints.iter().filter_map(endpoint).collect()))
}

/// The endpoints that an entry of the configuration names.
fn by_configuration(emsp: &EmspConfig, token: Sensitive<String>) -> Peer {
    let endpoint = |module: &str, role: &str, url: &Option<String>| {
        url.as_ref().map(|url| Endpoint { module: module.to_owned(), role: role.to_owned(), url: url.clone() })
    };
    let endpoints = [endpoint("cdrs", "RECEIVER", &emsp.cdrs_url), endpoint("tokens", "SENDER", &emsp.tokens_url)];
    Peer {
        who: Who::Emsp(emsp.recipient.party),
        version: emsp.recipient.version,
        endpoints: endpoints.into_iter().flatten().collect(),
        ours: Some(token),
        theirs: None,
        raw: emsp.token_form == TokenForm::Raw,
    }
}

/// The token in a file that others must not read: U+0021 to U+007E, at most 64 characters; white space around it is not part of it.
///
/// # Errors
/// Why not, in words that hold nothing of it.
pub(crate) fn token(path: &Path) -> Result<Sensitive<String>, &'static str> {
    let bytes = read_secret(path)?;
    let token = bytes.trim_ascii();
    let fits = !token.is_empty() && token.len() <= LONGEST_TOKEN && token.iter().all(|byte| (0x21..0x7f).contains(byte));
    let token = std::str::from_utf8(token).ok().filter(|_| fits).ok_or("holds no credentials token")?;
    Ok(Sensitive::new(token.to_owned()))
}

/// A token that opens our door, in a file: long enough that nobody guesses it.
///
/// # Errors
/// As for [`token`].
pub(crate) fn invitation(path: &Path) -> Result<Sensitive<String>, &'static str> {
    let invitation = token(path)?;
    // Looked at, for its length only.
    if invitation.expose().len() < SHORTEST_INVITATION { Err("must hold 16 characters or more") } else { Ok(invitation) }
}
