//! Real-time authorisation: the central system asks by a code whether a token may charge; its owner is asked by the identifier itself, and what it says
//! goes back with codes in place of identifiers and without free text. The reference that it gives stays here and goes into the CDR: to the central
//! system it would be a name of the session that the e-MSP knows too (R04). Each answer is a row in the disclosure log.
//!
//! Only a code of ours is asked about (I5): a card number that the central system guesses is as unknown as any other word. Where OCPI lets an
//! e-MSP do without being asked, or it cannot be reached, its kept token decides, so that a driver can charge.
//!
//! Sources: OCPI 2.2.1 §Tokens (POST authorize, WhitelistType; 404 and 2004 for an unknown token), 2.1.1 §Tokens (AuthorizationInfo without token).

use super::client::{Authorization, Trouble, is_printable};
use super::envelope::{self, Outcome};
use super::peer::Who;
use super::server::{Failure, Surface, object};
use crate::identity::{Class, Codes, Declared, Identifier};
use crate::ocpp::catalogue::Purpose;
use crate::recipient::Ocpi;
use crate::treat::Watch;
use crate::vault::VaultError;
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
        // It may have been erased while its owner thought: nothing of it is kept anew then.
        if self.custody.vault.token_of_code(code.as_str(), &self.register)?.is_none() {
            return Ok(Outcome::unknown_token());
        }
        let codes = self.custody.vault.token_codes(&token);
        if let Some(reference) = said.reference.filter(|reference| !names(reference, &token, &codes)) {
            self.custody.vault.keep_reference(code.as_str(), &token.owner, &reference, self.now()).await?;
        }
        let mut answer = Map::new();
        answer.insert("allowed".into(), said.allowed.into());
        if version >= Ocpi::V221 {
            // The code that was asked by, which may be of an epoch before; the others are recorded before they leave (I4).
            let codes = TokenCodes { uid: code, ..self.custody.vault.known_codes(&token).await? };
            answer.insert("token".into(), token.coded(version, &codes));
        }
        if let Some(mut location) = said.location {
            if let Some(evses) = location.get_mut("evse_uids").and_then(Value::as_array_mut) {
                evses.retain(|evse| evse.as_str().is_some_and(|evse| !names(evse, &token, &codes)));
            }
            answer.insert("location".into(), location);
        }
        let of_token = answer.get("token").and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let fields = answer.keys().filter(|name| *name != "token").chain(of_token).map(String::as_str).collect::<Vec<_>>().join(" ");
        let reference = uuid::Builder::from_random_bytes(self.custody.random::<16>().map_err(VaultError::from)?).into_uuid().to_string();
        self.disclose(Who::Csms, Purpose::Charge, self.custody.vault.subject(code.as_str()), reference, fields).await?;
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

/// Whether a word of the owner's holds an identifier of the token: some e-MSPs use the contract for a reference (OCPI issue 339), with or without
/// its check digit, or the part of it that is the customer's number; and then it stays behind.
fn names(word: &str, token: &EmspToken, codes: &TokenCodes) -> bool {
    let bare =
        |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| char::from(byte.to_ascii_uppercase())).collect::<String>();
    let here = bare(word);
    // Compared with what would go on, and nothing leaves.
    let holds = |text: &str| text.len() >= 4 && here.contains(text);
    let mut watch = Watch::default();
    let group = codes.group.zip(token.group.as_ref());
    [(codes.uid, &token.uid), (codes.contract, &token.contract)].into_iter().chain(group).any(|(code, text)| {
        let identifier = Identifier::from_wire(text.expose(), Declared::Undeclared);
        let canonical = bare(identifier.canonical.expose());
        // Nine characters in an eMAID, six in a contract number of the older form.
        let customer = canonical.get(5..if canonical.len() < 14 { 11 } else { 14 }).filter(|_| identifier.class == Class::Emaid);
        watch.add(code, &identifier, None);
        holds(&bare(text.expose())) || holds(&canonical) || customer.is_some_and(holds)
    }) || watch.knows(word)
}
