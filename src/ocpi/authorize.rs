//! Real-time authorisation: the central system asks by a code whether a token may charge; its owner is asked by the identifier itself, and what it says
//! goes back with codes in place of identifiers and without free text.
//!
//! Only a code of ours is asked about (I5): a card number that the central system guesses is as unknown as any other word. Where OCPI lets an
//! e-MSP do without being asked, or it cannot be reached, its kept token decides, so that a driver can charge.
//!
//! Sources: OCPI 2.2.1 §Tokens (POST authorize, WhitelistType; 404 and 2004 for an unknown token), 2.1.1 §Tokens (AuthorizationInfo without token).

use super::client::{Authorization, Pass, Trouble, is_printable};
use super::envelope::{self, Outcome};
use super::peer::{Peer, Who};
use super::server::{Failure, Surface, object};
use crate::identity::Codes;
use crate::ocpp::catalogue::Purpose;
use crate::pseudonym::Pseudonym;
use crate::recipient::{Ocpi, Party};
use crate::store::{DisclosureRow, Op};
use crate::vault::tokens::EmspToken;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// EVSEs of one question.
const MOST_EVSES: usize = 256;

impl Surface {
    pub(super) async fn authorize(&self, version: Ocpi, code: &str, body: &Bytes) -> Result<Outcome, Failure> {
        let location = match location(body) {
            Ok(location) => location,
            Err(outcome) => return Ok(outcome),
        };
        let Some(code) = self.custody.keys.recognise(code) else { return Ok(Outcome::unknown_token()) };
        let Some(token) = self.custody.vault.token_of_code(code.as_str())? else { return Ok(Outcome::unknown_token()) };
        let recipient = self.register.find(&token.owner).filter(|recipient| recipient.may_receive(&self.now().date()));
        if recipient.is_none() {
            return Ok(Outcome::unknown_token());
        }
        let may_decide = token.whitelist != "NEVER";
        let said = if token.whitelist == "ALWAYS" { Err(Trouble::NoWay) } else { self.ask(&token, code, location.as_ref()).await? };
        let said = match said {
            Ok(said) => said,
            Err(Trouble::Ocpi(envelope::NOT_ENOUGH)) => return Ok(Outcome::refused(envelope::NOT_ENOUGH, "Not enough information")),
            Err(Trouble::Ocpi(envelope::UNKNOWN_TOKEN) | Trouble::Http(404)) => return Ok(Outcome::unknown_token()),
            Err(_) if may_decide => by_what_is_kept(&token, location.as_ref()),
            Err(_) => return Ok(Outcome::trouble()),
        };
        let reference = said.reference.filter(|reference| !names(reference, &token));
        if let Some(reference) = &reference {
            self.references.keep(code.as_str(), reference, self.now()).await?;
        }
        let mut answer = Map::new();
        answer.insert("allowed".into(), said.allowed.into());
        if version >= Ocpi::V221 {
            // The code that was asked by, which may be of an epoch before; the others are recorded before they leave (I4).
            let codes = crate::vault::tokens::TokenCodes { uid: code, ..self.custody.vault.known_codes(&token).await? };
            answer.insert("token".into(), token.coded(version, &codes));
            answer.extend(reference.map(|reference| ("authorization_reference".into(), reference.into())));
        }
        answer.extend(said.location.map(|location| ("location".into(), location)));
        Ok(Outcome::data(&Value::Object(answer)))
    }

    /// Asks the owner; written into the disclosure log before.
    async fn ask(
        &self,
        token: &EmspToken,
        code: Pseudonym,
        location: Option<&Value>,
    ) -> Result<Result<Authorization, Trouble>, Failure> {
        let Some(peer) = self.way_to(token.owner)? else { return Ok(Err(Trouble::NoWay)) };
        let (Some(url), Some(pass)) = (peer.url("tokens", "SENDER"), Pass::of(&peer)) else { return Ok(Err(Trouble::NoWay)) };
        let row = DisclosureRow {
            seq: 0,
            at: self.now(),
            recipient: token.owner.to_string(),
            purpose: Purpose::Charge.name().to_owned(),
            subject: self.custody.vault.subject(code.as_str()),
            reference: self.fresh_id()?,
            fields: if location.is_some() { "uid type location_id evse_uids" } else { "uid type" }.to_owned(),
        };
        self.custody.store().commit(vec![Op::Disclose(row)]).await?;
        Ok(self.asking.authorize(url, &pass, token, location).await)
    }

    /// Where an e-MSP is: by the exchange of credentials, else by the configuration.
    fn way_to(&self, party: Party) -> Result<Option<Peer>, Failure> {
        let exchanged = self.peers.find(Who::Emsp(party))?.filter(|peer| peer.ours.is_some());
        Ok(exchanged.or_else(|| self.ways.iter().find(|peer| peer.who == Who::Emsp(party)).cloned()))
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
    let bare = |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| char::from(byte.to_ascii_uppercase())).collect::<String>();
    let reference = bare(reference);
    let holds = |text: &str| {
        let text = bare(text);
        text.len() >= 4 && reference.contains(&text)
    };
    // Compared with what goes to the central system, and nothing leaves.
    holds(token.uid.expose()) || holds(token.contract.expose()) || token.group.as_ref().is_some_and(|group| holds(group.expose()))
}
