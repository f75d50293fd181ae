//! What a charging session costs, and the charge detail record (CDR) that an e-MSP bills it from: minimal, and naming nobody. Pure: the
//! same session, tariff and place make the same text (I9), and only codes come here (I7).

mod json;
pub mod price;
pub mod site;
pub mod tariff;
mod write;

use crate::clock::Timestamp;
use crate::recipient::Ocpi;
use price::Bill;
use serde::{Deserialize, Serialize};
use site::Place;

/// A party of a roaming network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Party {
    /// ISO 3166 alpha-2, upper case.
    pub country_code: String,
    /// Three letters or digits, upper case (ISO 15118).
    pub party_id: String,
}

/// A charging session as it is billed, before it is known whose it is; [`Cdr::write`] words it for its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cdr {
    /// Random; at most 36 characters, 39 for a credit.
    pub id: String,
    /// The session's random id; at most 36 characters.
    pub session_id: String,
    /// Who operates the station and issues the CDR.
    pub cpo: Party,
    /// What was taken and what it costs.
    pub bill: Bill,
    /// Where.
    pub place: Place,
    /// How the driver was authorised.
    pub auth_method: AuthMethod,
    /// What the e-MSP gave when it authorised the session; at most 36 characters.
    pub authorization_reference: Option<String>,
    /// The id of the CDR that this one takes back.
    pub credit_of: Option<String>,
    /// When the CDR was made.
    pub last_updated: Timestamp,
}

/// How a driver was authorised (OCPI 2.2.1, CDRs, AuthMethod).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AuthMethod {
    /// The e-MSP was asked at that moment.
    AuthRequest,
    /// The e-MSP started the session itself. 2.1.1 has no word for it and is told `AUTH_REQUEST`.
    Command,
    /// By a list that the e-MSP had given before.
    #[default]
    Whitelist,
}

/// The token of a CDR, for its owner and nobody else: codes of the owner's own domain (R23).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdrToken {
    /// The e-MSP's country, ISO 3166 alpha-2.
    pub country_code: String,
    /// The e-MSP's party id.
    pub party_id: String,
    /// The card's code, 31 characters.
    pub uid: String,
    /// What kind of token it is.
    pub kind: TokenKind,
    /// The contract's code, 31 characters.
    pub contract_id: String,
}

/// The kind of a token (OCPI 2.3.0, Tokens, TokenType).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TokenKind {
    /// A user that is known for one session only.
    AdHocUser,
    /// A user of an app.
    AppUser,
    /// A contract read from the vehicle; `OTHER` before 2.3.0.
    Emaid,
    /// None of these.
    Other,
    /// A card.
    #[default]
    Rfid,
}

impl Cdr {
    /// The CDR as OCPI JSON for the owner of `token`. `alias` gives a stable random-looking name, at most 16 characters, of its argument
    /// in the owner's domain: home sites go by it, so that two e-MSPs cannot tell that they write of the same house (R04, R13).
    pub fn write(&self, token: &CdrToken, version: Ocpi, alias: &dyn Fn(&str) -> String) -> String {
        write::write(self, token, version, alias)
    }

    /// The credit CDR that takes this one back: equal but for its id, the sign of its total, and the reference. `None` if this is a credit
    /// itself. OCPI 2.1.1 has no credit CDR; do not write one in that version.
    #[must_use]
    pub fn credit(&self, id: String, now: Timestamp) -> Option<Self> {
        self.credit_of.is_none().then(|| Self { id, credit_of: Some(self.id.clone()), last_updated: now, ..self.clone() })
    }
}
