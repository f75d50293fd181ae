//! The credentials module, for exchanges that the other party begins: GET, POST (register), PUT (renew), DELETE (unregister).
//!
//! A new token is durable before it is answered, and only then is CREDENTIALS_TOKEN_A spent: a crash in between lets the party register again.
//! An operator who puts another token into the party's `token_file` lets it register anew, whatever became of the old credentials.
//!
//! Source: OCPI 2.2.1 §Credentials (405 for POST when registered, and for PUT and DELETE when not).

use super::auth::{By, Caller};
use super::envelope::{self, Outcome};
use super::exchange::{ExchangeError, Theirs};
use super::peer::Who;
use super::server::{Surface, object};
use crate::config::TokenForm;
use crate::custody::SecretError;
use crate::recipient::Ocpi;
use bytes::Bytes;
use hyper::Method;

const METHODS: &str = "GET, POST, PUT, DELETE";

impl Surface {
    pub(super) async fn credentials(&self, caller: &Caller, version: Ocpi, method: &Method, body: &Bytes) -> Result<Outcome, SecretError> {
        // A party that was only given a token, without an exchange, has not registered yet.
        let registered = matches!(&caller.by, By::Peer(peer) if peer.ours.is_some());
        let may_register = !registered && !matches!(caller.by, By::Offer);
        match *method {
            Method::GET => Ok(self.our_credentials(caller, version)),
            Method::POST if may_register => self.take(caller, version, body).await,
            Method::PUT if registered => self.take(caller, version, body).await,
            Method::DELETE if registered => {
                self.peers.forget(caller.who).await?;
                Ok(Outcome::done())
            }
            _ => Ok(Outcome::no_method(METHODS)),
        }
    }

    fn our_credentials(&self, caller: &Caller, version: Ocpi) -> Outcome {
        let object = self.us.credentials(version, caller.who, &caller.token, &self.register, self.now());
        Outcome::text(object.expose().clone()) // to the party whose token is in it
    }

    /// Takes a party's credentials, finds its endpoints, and gives it a new token.
    async fn take(&self, caller: &Caller, version: Ocpi, body: &Bytes) -> Result<Outcome, SecretError> {
        let Some(object) = object(body) else { return Ok(Outcome::no_json()) };
        let who = caller.who;
        let recipient = match who {
            Who::Emsp(party) => self.register.find(&party),
            Who::Csms => None,
        };
        let theirs = match Theirs::read(version, who, &object) {
            Ok(theirs) => theirs,
            Err(ExchangeError::Credentials(what)) => return Ok(Outcome::invalid(what)),
            Err(_) => return Ok(Outcome::no_json()),
        };
        // A party that shows its token as it is most likely wants ours so, too; 2.1.1 knows nothing else.
        let raw = caller.raw || version == Ocpi::V211 || self.form(who) == TokenForm::Raw;
        let found = match theirs.endpoints(&self.client, Some(version), raw).await {
            Ok(found) => found,
            Err(ExchangeError::Version) => return Ok(Outcome::refused(envelope::NO_VERSION, "Unsupported version")),
            Err(_) => return Ok(Outcome::refused(envelope::NO_API, "Unable to use your API")),
        };
        let given = self.peers.new_token()?;
        let Ok(peer) = found.peer(who, recipient, theirs.token, given.clone()) else {
            return Ok(Outcome::refused(envelope::NO_ENDPOINT, "An endpoint that is needed is missing: cdrs RECEIVER"));
        };
        let _one_at_a_time = self.exchange.lock().await;
        if !self.still_opens(caller)? {
            return Ok(Outcome::unauthorized()); // a second exchange by the same token was quicker
        }
        self.peers.keep(&peer).await?;
        if matches!(caller.by, By::Invitation) {
            self.peers.spend(who, &self.peers.digest(&caller.token)).await?;
        }
        let object = self.us.credentials(version, who, &given, &self.register, self.now());
        Ok(Outcome::text(object.expose().clone())) // to the party whose token is in it
    }

    /// Whether the caller's token opens what it opened when it came in.
    fn still_opens(&self, caller: &Caller) -> Result<bool, SecretError> {
        let digest = self.peers.digest(&caller.token);
        match &caller.by {
            By::Invitation => Ok(!self.peers.is_spent(caller.who, &digest)?),
            By::Peer(_) | By::Offer => {
                let theirs = self.peers.find(caller.who)?.and_then(|peer| peer.theirs);
                Ok(theirs.is_some_and(|theirs| self.peers.digest(&theirs) == digest))
            }
        }
    }
}
