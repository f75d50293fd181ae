//! The tokens module, received: an e-MSP puts, patches and reads its own tokens, and nobody else's. They are kept in the vault; the card number is
//! in the path here, which is why no path is ever logged.
//!
//! A word that is older than what is kept is acknowledged and left alone: pushes overtake each other. Identifiers are compared without case, as
//! OCPI's CiString is from 2.2 on.
//!
//! Sources: OCPI 2.1.1, 2.2.1 and 2.3.0 §Tokens (Receiver interface); §Transport and format (client-owned objects: 404 for another's path, 2001
//! where path and object differ).

use super::envelope::{self, Outcome};
use super::peer::Who;
use super::server::{Query, Surface, object};
use super::token::KINDS;
use crate::ocpp::catalogue::Purpose;
use crate::recipient::{Ocpi, Party, Recipient};
use crate::secret::Sensitive;
use crate::vault::VaultError;
use crate::vault::tokens::EmspToken;
use bytes::Bytes;
use hyper::Method;
use std::hash::{BuildHasher, RandomState};
use tokio::sync::Mutex;

/// Pushes of different tokens that are looked at and kept at once; those of one token follow each other.
const AT_ONCE: usize = 64;

/// Sees to it that one token's pushes follow each other.
pub(super) struct Turns {
    turns: Vec<Mutex<()>>,
    hash: RandomState,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { turns: (0..AT_ONCE).map(|_| Mutex::new(())).collect(), hash: RandomState::new() }
    }

    fn of(&self, uid: &Sensitive<String>) -> Option<&Mutex<()>> {
        let bare = uid.expose().bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase()); // into a hash of this process
        self.turns.get((self.hash.hash_one(bare.collect::<Vec<_>>()) % AT_ONCE as u64) as usize)
    }
}

impl Surface {
    /// `path`: country, party and uid.
    pub(super) async fn tokens(
        &self,
        recipient: &Recipient,
        version: Ocpi,
        method: &Method,
        [country, party, uid]: [&str; 3],
        query: &Query,
        body: &Bytes,
    ) -> Result<Outcome, VaultError> {
        if ![Method::GET, Method::PUT, Method::PATCH].contains(method) {
            return Ok(Outcome::no_method("GET, PUT, PATCH"));
        }
        if Party::new(country, party) != Some(recipient.party) {
            return Ok(Outcome::unknown_token());
        }
        let asked = match query.find("type").map(|text| kind(version, text)) {
            Some(None) => return Ok(Outcome::invalid("type")),
            kind => kind.flatten(),
        };
        let uid = Sensitive::new(uid.to_owned());
        let _turn = match self.turns.of(&uid) {
            Some(turn) if *method != Method::GET => Some(turn.lock().await),
            _ => None,
        };
        let kept = self.kept(&recipient.party, &uid, asked)?;
        let token = match *method {
            Method::GET => {
                let Some(token) = kept else { return Ok(Outcome::unknown_token()) };
                let object = token.to_object(version);
                let fields =
                    object.as_object().into_iter().flat_map(|object| object.keys()).map(String::as_str).collect::<Vec<_>>().join(" ");
                let subject = self.custody.vault.subject_of_token(&token);
                // Its owner said it before; and still it is told of a person.
                let reference =
                    format!("token {} {} {}", token.kind, format_args!("{:032x}", u128::from_be_bytes(subject)), self.now().date());
                self.disclose(Who::Emsp(recipient.party), Purpose::Charge, Some(subject), reference, fields).await?;
                return Ok(Outcome::data(&object));
            }
            Method::PUT => match object(body) {
                Some(said) => EmspToken::from_object(recipient.party, version, &said),
                None => return Ok(Outcome::no_json()),
            },
            _ => {
                let Some(said) = object(body) else { return Ok(Outcome::no_json()) };
                let Some(kept) = &kept else { return Ok(Outcome::unknown_token()) };
                if said.get("last_updated").is_none() {
                    return Ok(Outcome::invalid("last_updated"));
                }
                let mut merged = kept.to_object(version);
                if let (Some(merged), Some(said)) = (merged.as_object_mut(), said.as_object()) {
                    merged.extend(said.clone());
                }
                EmspToken::from_object(recipient.party, version, &merged)
            }
        };
        let token = match token {
            Ok(token) => token,
            Err(what) => return Ok(Outcome::invalid(what)),
        };
        if !token.uid.expose().eq_ignore_ascii_case(uid.expose()) {
            return Ok(Outcome::invalid("uid")); // compared with the path, and nothing leaves
        }
        // A PATCH keeps the type; a PUT without one in its query is of the type that the object says.
        let expected = if *method == Method::PATCH { kept.as_ref().map(|kept| kept.kind.as_str()) } else { asked };
        if expected.is_some_and(|expected| expected != token.kind) {
            return Ok(Outcome::invalid("type"));
        }
        if let Some(what) = self.custody.vault.coded_field(&token) {
            return Ok(Outcome::invalid(what));
        }
        // Without a type in the query another type's token may have been found.
        let kept = kept.filter(|kept| kept.kind == token.kind);
        if kept.as_ref().is_some_and(|kept| token.updated < kept.updated) {
            return Ok(Outcome::done());
        }
        match self.custody.vault.keep_token(&token).await {
            // An old word too: acknowledged, as for one that nobody has heard of, and left alone.
            Err(VaultError::Erased) => {}
            Err(VaultError::TooMany) => return Ok(Outcome::refused(envelope::CLIENT_ERROR, "Too many tokens")),
            kept => {
                kept?;
                self.errands.tokens_changed();
            }
        }
        Ok(if kept.is_none() { Outcome::done().created() } else { Outcome::done() })
    }

    /// What is kept under a path; without a type the RFID token, as OCPI has it, else the one there is.
    fn kept(&self, owner: &Party, uid: &Sensitive<String>, asked: Option<&str>) -> Result<Option<EmspToken>, VaultError> {
        let vault = &self.custody.vault;
        match asked {
            Some(kind) => vault.token(owner, uid, Some(kind)),
            None => Ok(vault.token(owner, uid, Some("RFID"))?.or(vault.token(owner, uid, None)?)),
        }
    }
}

/// A token type of a query; 2.3.0 has an open list, where what we do not know by another name is OTHER.
fn kind(version: Ocpi, text: &str) -> Option<&'static str> {
    let known = KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(text));
    known.or_else(|| (version >= Ocpi::V230 && !text.is_empty()).then_some("OTHER"))
}
