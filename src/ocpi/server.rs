//! The OCPI surface: its own listener, for e-MSPs and for the central system, never on the stations' or the operator's port.
//!
//! A request is read whole and within bounds, its caller is found, then one room answers it: versions, credentials, cdrs, tokens (and, for the
//! central system, authorize), resolve. What the log says of it is module, method, status and party: the path may hold a card number.
//!
//! Routing headers are not read: a caller is who its token says, there is no broadcast, and nothing is passed on by them.
//!
//! Source: OCPI 2.2.1 §Transport and format.

use super::auth::{By, Caller, Doors, Invitation};
use super::client::{Authorization, Client, Trouble};
use super::directory;
use super::envelope::Outcome;
use super::exchange::Us;
use super::peer::{Peers, Who};
use super::tokens::Turns;
use crate::clock::{self, Timestamp};
use crate::config::{Config, EmspConfig, TokenForm};
use crate::custody::{Custody, SecretError};
use crate::metrics::Metrics;
use crate::ocpp::catalogue::Purpose;
use crate::recipient::{Ocpi, Party, Recipient, Recipients};
use crate::store::{DisclosureRow, Op, StoreError};
use crate::vault::VaultError;
use crate::vault::tokens::EmspToken;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use serde_json::Value;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

/// Parameters of a query that are looked at.
const MOST_PARAMETERS: usize = 32;
/// Characters of an id of a request that is given back.
const LONGEST_ID: usize = 64;
/// How long references of authorisations are kept where nothing is billed.
const REFERENCES: i64 = 4 * 86_400_000;

/// What the surface has others do.
pub trait Errands: Send + Sync + 'static {
    /// Asks the owner of a token whether it may charge now; written into the disclosure log before.
    fn ask<'a>(&'a self, token: &'a EmspToken, location: Option<&'a Value>) -> Asking<'a>;
    /// A token was kept: the central system is to be told.
    fn tokens_changed(&self);
    /// Credentials were exchanged or taken back.
    fn parties_changed(&self);
}

/// A question to an e-MSP that is under way.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Authorization, Trouble>> + Send + 'a>>;

/// The surface, without its listener.
pub struct Surface {
    pub(super) custody: Arc<Custody>,
    pub(super) peers: Peers,
    pub(super) register: Recipients,
    pub(super) us: Us,
    pub(super) client: Client,
    pub(super) errands: Arc<dyn Errands>,
    pub(super) metrics: Metrics,
    /// Credentials are exchanged one at a time, once everything is fetched.
    pub(super) exchange: tokio::sync::Mutex<()>,
    pub(super) turns: Turns,
    doors: Doors,
    forms: Vec<(Party, TokenForm)>,
    /// The path of our URL.
    base: String,
    /// How long references of authorisations are kept, in milliseconds.
    keep_references: i64,
}

/// Why a request could not be worked on. Holds nothing of it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Surface {
    /// The surface that a configuration describes; `None` where it describes none. Reads the files of the tokens that parties begin with. `client`
    /// fetches versions and endpoints in an exchange of credentials.
    ///
    /// # Errors
    /// Every token file that cannot be read or holds no token, by its key.
    pub fn open(
        config: &Config,
        custody: Arc<Custody>,
        client: Client,
        errands: Arc<dyn Errands>,
        metrics: Metrics,
    ) -> Result<Option<Self>, Vec<String>> {
        let Some(ocpi) = &config.ocpi else { return Ok(None) };
        let peers = Peers::new(Arc::clone(&custody));
        let (mut mistakes, mut invitations) = (Vec::new(), Vec::new());
        for (number, emsp) in config.emsps.iter().enumerate() {
            let Some(file) = &emsp.token_file else { continue };
            match directory::invitation(file) {
                Ok(token) => invitations.push(Invitation { who: Who::Emsp(emsp.recipient.party), digest: peers.digest(&token) }),
                Err(why) => mistakes.push(format!("emsp[{number}].token_file: {why}")),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let parties = config.emsps.iter().map(|emsp| Who::Emsp(emsp.recipient.party)).chain([Who::Csms]).collect();
        let base = ocpi.url.parse::<hyper::Uri>().map(|uri| uri.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        let billing = config.billing.as_ref().map(|billing| (billing.max_age + billing.settle).as_millis());
        let keep_references = billing.and_then(|ms| i64::try_from(ms).ok()).map_or(REFERENCES, |ms| ms + REFERENCES / 2);
        Ok(Some(Self {
            peers: peers.clone(),
            register: config.recipients(),
            us: Us { party: ocpi.cpo, name: ocpi.name.clone(), url: ocpi.url.clone() },
            client,
            errands,
            metrics,
            exchange: tokio::sync::Mutex::new(()),
            turns: Turns::new(),
            doors: Doors::new(peers, parties, invitations),
            forms: config.emsps.iter().map(|EmspConfig { recipient, token_form, .. }| (recipient.party, *token_form)).collect(),
            base,
            keep_references,
            custody,
        }))
    }

    /// Answers a request. Whatever it is, the answer is one of OCPI's.
    pub async fn answer(&self, from: IpAddr, request: Request<Bytes>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let segments = segments(head.uri.path().strip_prefix(self.base.as_str()).unwrap_or_default());
        let route = segments.as_deref().map_or(Route::Nowhere, Route::of);
        let query = Query::read(head.uri.query().unwrap_or_default());
        let (outcome, party) = self.decide(from, &head.headers, &route, &head.method, &query, &body).await;
        let (module, method) = (route.module(), method_name(&head.method));
        self.metrics.ocpi(module, method, outcome.class());
        let party = party.map_or_else(|| "-".to_owned(), |who| who.to_string());
        tracing::info!(module, method, status = outcome.http.as_u16(), ocpi = outcome.code, party, "ocpi");
        self.respond(outcome, &head.headers)
    }

    /// An outcome as it goes out, with the ids of its request.
    pub(super) fn respond(&self, outcome: Outcome, asked: &HeaderMap) -> Response<Full<Bytes>> {
        let mut response = outcome.into_response(self.now());
        for name in ["x-request-id", "x-correlation-id"] {
            if let Some(id) = self.id(asked.get(name)) {
                response.headers_mut().insert(HeaderName::from_static(name), id);
            }
        }
        response
    }

    async fn decide(
        &self,
        from: IpAddr,
        headers: &HeaderMap,
        route: &Route<'_>,
        method: &Method,
        query: &Query,
        body: &Bytes,
    ) -> (Outcome, Option<Who>) {
        let minute = u64::try_from(self.now().seconds() / 60).unwrap_or(0);
        let caller = match self.doors.enter(headers.get(AUTHORIZATION), from, minute).await {
            Ok(Some(caller)) => caller,
            Ok(None) => return (Outcome::unauthorized(), None),
            Err(error) => {
                tracing::error!(reason = %error, "credentials cannot be read");
                return (Outcome::trouble(), None);
            }
        };
        let who = caller.who;
        let outcome = self.within(caller, route, method, query, body).await.unwrap_or_else(|failure| {
            tracing::error!(module = route.module(), reason = %failure, "an OCPI request could not be worked on");
            Outcome::trouble()
        });
        (outcome, Some(who))
    }

    /// Once the caller is known.
    async fn within(&self, caller: Caller, route: &Route<'_>, method: &Method, query: &Query, body: &Bytes) -> Result<Outcome, Failure> {
        let recipient = match caller.who {
            Who::Emsp(party) => match self.recipient(&party) {
                Some(recipient) => Some(recipient),
                // In no register, or under no agreement that is valid today: as if it were nobody (R05).
                None => return Ok(Outcome::unauthorized()),
            },
            Who::Csms => None,
        };
        let version = match route {
            Route::Nowhere => return Ok(Outcome::nowhere()),
            Route::Versions if *method == Method::GET => return Ok(self.versions(&caller)),
            Route::Versions => return Ok(Outcome::no_method("GET")),
            Route::In(version, _) if self.spoken(caller.who).contains(version) => *version,
            Route::In(..) => return Ok(Outcome::nowhere()),
        };
        match (route.parts(), recipient) {
            ([], _) if *method == Method::GET => Ok(self.details(&caller, version)),
            ([], _) => Ok(Outcome::no_method("GET")),
            (["credentials"], _) => {
                let outcome = self.credentials(&caller, version, method, body).await?;
                if *method != Method::GET && outcome.code < 2000 {
                    self.errands.parties_changed();
                }
                Ok(outcome)
            }
            // Anything else needs a token that was exchanged.
            _ if !matches!(caller.by, By::Peer(_)) => Ok(Outcome::unauthorized()),
            (["cdrs"], Some(recipient)) if *method == Method::GET => Ok(self.cdrs(recipient, version, query).await?),
            (["cdrs"], Some(_)) => Ok(Outcome::no_method("GET")),
            (["tokens", country, party, uid], Some(recipient)) => {
                Ok(self.tokens(recipient, version, method, [country, party, uid], query, body).await?)
            }
            (["tokens", code, "authorize"], None) if *method == Method::POST => self.authorize(version, code, body).await,
            (["tokens", _, "authorize"], None) => Ok(Outcome::no_method("POST")),
            (["resolve"], Some(recipient)) if *method == Method::POST => self.resolve(recipient, body).await,
            (["resolve"], Some(_)) => Ok(Outcome::no_method("POST")),
            _ => Ok(Outcome::nowhere()),
        }
    }

    /// A party that may receive something today.
    pub(super) fn recipient(&self, party: &Party) -> Option<&Recipient> {
        self.register.find(party).filter(|recipient| recipient.may_receive(&self.now().date()))
    }

    /// Writes down what is about to leave, and to whom (R52); durable when it returns.
    pub(super) async fn disclose(
        &self,
        to: Who,
        purpose: Purpose,
        subject: Option<[u8; 16]>,
        reference: String,
        fields: String,
    ) -> Result<(), StoreError> {
        let (recipient, purpose) = (to.to_string(), purpose.name().to_owned());
        let row = DisclosureRow { seq: 0, at: self.now(), recipient, purpose, subject, reference, fields };
        self.custody.store().commit(vec![Op::Disclose(row)]).await
    }

    /// How the configuration says a party wants its token written.
    pub(super) fn form(&self, who: Who) -> TokenForm {
        let Who::Emsp(party) = who else { return TokenForm::Base64 };
        self.forms.iter().find(|(other, _)| *other == party).map_or(TokenForm::Base64, |(_, form)| *form)
    }

    pub(super) fn now(&self) -> Timestamp {
        clock::now()
    }

    /// Forgets references that no session can need any more.
    pub(super) async fn sweep(&self) {
        if self.custody.vault.sweep_references(Timestamp(self.now().0 - self.keep_references)).await.is_err() {
            tracing::warn!("old references of authorisations could not be dropped");
        }
    }

    pub(super) fn refused_connection(&self) {
        self.metrics.ocpi_refused();
    }

    /// The id that the caller gave, if it is one; else a random one: it says nothing of what was asked.
    fn id(&self, given: Option<&HeaderValue>) -> Option<HeaderValue> {
        let is_id = |id: &&HeaderValue| {
            (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        };
        given.filter(is_id).cloned().or_else(|| {
            let bytes = self.custody.random::<16>().ok()?;
            HeaderValue::from_str(&uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()).ok()
        })
    }
}

/// What a path leads to.
enum Route<'a> {
    Versions,
    In(Ocpi, Vec<&'a str>),
    Nowhere,
}

impl<'a> Route<'a> {
    fn of(segments: &'a [String]) -> Self {
        match segments {
            [versions] if versions == "versions" => Self::Versions,
            [number, rest @ ..] => match Ocpi::from_number(number) {
                Some(version) => Self::In(version, rest.iter().map(String::as_str).collect()),
                None => Self::Nowhere,
            },
            [] => Self::Nowhere,
        }
    }

    fn parts(&self) -> &[&'a str] {
        match self {
            Self::In(_, parts) => parts,
            Self::Versions | Self::Nowhere => &[],
        }
    }

    /// A word of a closed list, for logs and metrics.
    fn module(&self) -> &'static str {
        match (self, self.parts()) {
            (Self::Nowhere, _) => "unknown",
            (_, []) => "versions",
            (_, ["credentials", ..]) => "credentials",
            (_, ["cdrs", ..]) => "cdrs",
            (_, ["tokens", _, "authorize"]) => "authorize",
            (_, ["tokens", ..]) => "tokens",
            (_, ["resolve", ..]) => "resolve",
            _ => "unknown",
        }
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// A JSON object.
pub(super) fn object(body: &Bytes) -> Option<Value> {
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

/// The segments of a path, decoded; a slash at its end does not count. `None` if it cannot be read.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    path.strip_suffix('/').unwrap_or(path).split('/').map(decoded).collect()
}

/// The parameters of a query.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what can be read. `+` stands for itself: it is in dates, and callers forget to encode it.
    pub(super) fn read(query: &str) -> Self {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=')?;
            Some((decoded(name)?, decoded(value)?))
        };
        Self(query.split('&').filter_map(pair).take(MOST_PARAMETERS).collect())
    }

    /// The first value of a parameter.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Percent-decodes (RFC 3986 §2.1); `None` for a broken escape or what is no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            bytes.push((digit(rest.next())? * 16 + digit(rest.next())?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_segment_by_segment() {
        let read = |path: &str| segments(path).map(|all| all.join("|"));
        assert_eq!(read("/2.2.1/tokens/NL/ABC/04%3aA2%2FB3/").as_deref(), Some("2.2.1|tokens|NL|ABC|04:A2/B3"));
        assert_eq!(read("/versions").as_deref(), Some("versions"));
        for broken in ["", "versions", "/a%", "/a%4", "/a%zz", "/%ff"] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn every_path_has_a_module_of_the_closed_list() {
        for (path, module) in [
            ("/versions", "versions"),
            ("/2.2.1", "versions"),
            ("/2.2.1/", "versions"),
            ("/2.2", "unknown"),
            ("/", "unknown"),
            ("/2.1.1/credentials", "credentials"),
            ("/2.3.0/tokens/Z0/authorize", "authorize"),
            ("/2.3.0/tokens/NL/ABC/04A2", "tokens"),
            ("/2.3.0/04A2B3C4", "unknown"),
        ] {
            let segments = segments(path).unwrap();
            assert_eq!(Route::of(&segments).module(), module, "{path}");
        }
    }
}
