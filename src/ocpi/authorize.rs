//! Real-time authorisation: the central system asks by a code whether a token may charge; its owner is asked by the identifier itself, and what it says
//! goes back with codes in place of identifiers and without free text.
//!
//! Only a code of ours is asked about (I5): a card number that the central system guesses is as unknown as any other word. Where OCPI lets an
//! e-MSP do without being asked, or it cannot be reached, its kept token decides, so that a driver can charge.
//!
//! Sources: OCPI 2.2.1 §Tokens (POST authorize, WhitelistType; 404 and 2004 for an unknown token), 2.1.1 §Tokens (AuthorizationInfo without token).

use super::client::{Authorization, Trouble, is_printable};
use super::envelope::{self, Outcome};
use super::server::{Failure, Surface, object};
use crate::identity::Codes;
use crate::recipient::Ocpi;
use crate::vault::tokens::{EmspToken, TokenCodes};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// EVSEs of one question.
const MOST_EVSES: usize = 256;
/// How long an owner may think: a driver is standing at the station, and its central system waits no longer either.
const PATIENCE: Duration = Duration::from_secs(10);

impl Surface {
    pub(super) async fn authorize(&self, version: Ocpi, code: &str, body: &Bytes) -> Result<Outcome, Failure> {
        let location = match location(body) {
            Ok(location) => location,
            Err(outcome) => return Ok(outcome),
        };
        let Some(code) = self.custody.keys.recognise(code) else { return Ok(Outcome::unknown_token()) };
        let Some(token) = self.custody.vault.token_of_code(code.as_str(), &self.register)? else { return Ok(Outcome::unknown_token()) };
        if self.recipient(&token.owner).is_none() {
            return Ok(Outcome::unknown_token());
        }
        let may_decide = token.whitelist != "NEVER";
        let said = if token.whitelist == "ALWAYS" { Err(Trouble::NoWay) } else { self.ask(&token, location.as_ref()).await };
        let said = match said {
            Ok(said) => said,
            Err(Trouble::Ocpi(envelope::NOT_ENOUGH)) => return Ok(Outcome::refused(envelope::NOT_ENOUGH, "Not enough information")),
            Err(Trouble::Ocpi(envelope::UNKNOWN_TOKEN) | Trouble::Http(404)) => return Ok(Outcome::unknown_token()),
            Err(_) if may_decide => by_what_is_kept(&token, location.as_ref()),
            Err(_) => return Ok(Outcome::trouble()),
        };
        let reference = said.reference.filter(|reference| !names(reference, &token));
        if let Some(reference) = &reference {
            self.custody.vault.keep_reference(code.as_str(), &token.owner, reference, self.now()).await?;
        }
        let mut answer = Map::new();
        answer.insert("allowed".into(), said.allowed.into());
        if version >= Ocpi::V221 {
            // The code that was asked by, which may be of an epoch before; the others are recorded before they leave (I4).
            let codes = TokenCodes { uid: code, ..self.custody.vault.known_codes(&token).await? };
            answer.insert("token".into(), token.coded(version, &codes));
            answer.extend(reference.map(|reference| ("authorization_reference".into(), reference.into())));
        }
        answer.extend(said.location.map(|location| ("location".into(), location)));
        Ok(Outcome::data(&Value::Object(answer)))
    }

    async fn ask(&self, token: &EmspToken, location: Option<&Value>) -> Result<Authorization, Trouble> {
        tokio::time::timeout(PATIENCE, self.errands.ask(token, location)).await.unwrap_or(Err(Trouble::TimedOut))
    }
}

/// What the owner said when it last spoke of the token.
fn by_what_is_kept(token: &EmspToken, asked: Option<&Value>) -> Authorization {
    Authorization { allowed: if token.valid { "ALLOWED" } else { "BLOCKED" }, location: asked.cloned(), reference: None }
}

/// LocationReferences, less what we do not know; none if the body is empty.
fn location(body: &Bytes) -> Result<Option<Value>, Outcome> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let said = object(body).ok_or_else(Outcome::no_json)?;
    let id = |value: &Value| value.as_str().filter(|text| (1..=36).contains(&text.len()) && is_printable(text)).map(str::to_owned);
    let place = said.get("location_id").and_then(id).ok_or_else(|| Outcome::invalid("location_id"))?;
    let list = |name: &'static str| match said.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(all)) if all.len() <= MOST_EVSES => {
            all.iter().map(id).collect::<Option<Vec<_>>>().ok_or_else(|| Outcome::invalid(name))
        }
        Some(_) => Err(Outcome::invalid(name)),
    };
    Ok(Some(json!({ "location_id": place, "evse_uids": list("evse_uids")? })))
}

/// Whether a reference holds an identifier of the token: some e-MSPs use the contract for one (OCPI issue 339), and then it stays behind.
fn names(reference: &str, token: &EmspToken) -> bool {
    let bare =
        |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| char::from(byte.to_ascii_uppercase())).collect::<String>();
    let reference = bare(reference);
    let holds = |text: &str| {
        let text = bare(text);
        text.len() >= 4 && reference.contains(&text)
    };
    // Compared with what goes to the central system, and nothing leaves.
    holds(token.uid.expose()) || holds(token.contract.expose()) || token.group.as_ref().is_some_and(|group| holds(group.expose()))
}
