//! OCPI's Token object, in and out: read leniently from its owner, written back to its owner, and written with codes in place of
//! identifiers for the central system.
//!
//! Sources: OCPI 2.1.1 §Tokens (`auth_id`, no party, no group), 2.2.1 §Tokens, 2.3.0 §Tokens (`type` is open).

use super::client::is_printable;
use crate::clock::Timestamp;
use crate::pseudonym::Pseudonym;
use crate::recipient::{Ocpi, Party};
use crate::secret::Sensitive;
use crate::vault::tokens::{EmspToken, TokenCodes};
use serde_json::{Map, Value, json};

/// Token types of OCPI 2.2.1, and EMAID of 2.3.0.
pub(super) const KINDS: [&str; 5] = ["AD_HOC_USER", "APP_USER", "EMAID", "OTHER", "RFID"];
const WHITELISTS: [&str; 4] = ["ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"];

impl EmspToken {
    /// From the object its owner sent. Fields that we do not keep (printed number, energy contract, default profile) and fields that nobody
    /// knows are left out.
    ///
    /// # Errors
    /// The field that is wrong, in a word that holds nothing of it.
    pub fn from_object(owner: Party, version: Ocpi, object: &Value) -> Result<Self, &'static str> {
        let text = |name: &'static str| match object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(name),
        };
        let identifier = |name: &'static str| match text(name)? {
            Some(text) if text.is_empty() || text.len() > 36 || !is_printable(text) => Err(name),
            text => Ok(text.map(|text| Sensitive::new(text.to_owned()))),
        };
        let word = |name: &'static str, words: &[&'static str]| {
            let said = text(name)?.ok_or(name)?;
            words.iter().find(|word| word.eq_ignore_ascii_case(said)).copied().ok_or(name)
        };
        if version >= Ocpi::V221 {
            let party = Party::new(text("country_code")?.unwrap_or_default(), text("party_id")?.unwrap_or_default());
            if party != Some(owner) {
                return Err("party_id");
            }
        }
        let kind = match word("type", &KINDS) {
            // An open list in 2.3.0: what a station does not know by another name is OTHER.
            Err(_) if version >= Ocpi::V230 && text("type")?.is_some() => "OTHER",
            kind => kind?,
        };
        let contract = if version >= Ocpi::V221 { "contract_id" } else { "auth_id" };
        let issuer =
            text("issuer")?.filter(|issuer| issuer.chars().count() <= 64 && !issuer.chars().any(char::is_control)).ok_or("issuer")?;
        let language = text("language")?;
        if language.is_some_and(|code| code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_alphabetic())) {
            return Err("language");
        }
        let updated_text = text("last_updated")?.ok_or("last_updated")?;
        Ok(Self {
            owner,
            kind: kind.to_owned(),
            uid: identifier("uid")?.ok_or("uid")?,
            contract: identifier(contract)?.ok_or(contract)?,
            group: if version >= Ocpi::V221 { identifier("group_id")? } else { None },
            issuer: issuer.to_owned(),
            valid: object.get("valid").and_then(Value::as_bool).ok_or("valid")?,
            whitelist: word("whitelist", &WHITELISTS)?.to_owned(),
            language: language.map(str::to_owned),
            updated: moment(updated_text).ok_or("last_updated")?,
            updated_text: updated_text.to_owned(),
        })
    }

    /// For its owner, and nobody else: identifiers are clear in it.
    pub fn to_object(&self, version: Ocpi) -> Value {
        let identifiers =
            [Some(self.uid.expose().as_str()), Some(self.contract.expose()), self.group.as_ref().map(|g| g.expose().as_str())];
        self.object(version, identifiers, &self.issuer, &self.updated_text)
    }

    /// For the central system: its own codes in place of the identifiers, the e-MSP's party in place of the issuer, which is free text, and the
    /// moment of the last change to the second, since a finer one would be a name of the token that its owner knows too.
    pub fn coded(&self, version: Ocpi, codes: &TokenCodes) -> Value {
        let codes = [Some(codes.uid.as_str()), Some(codes.contract.as_str()), codes.group.as_ref().map(Pseudonym::as_str)];
        self.object(version, codes, &self.owner.to_string(), &self.updated.rfc3339())
    }

    fn object(&self, version: Ocpi, [uid, contract, group]: [Option<&str>; 3], issuer: &str, updated: &str) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        let kind = match (version, self.kind.as_str()) {
            (Ocpi::V211, kind) if kind != "RFID" => "OTHER",
            (Ocpi::V221, "EMAID") => "OTHER",
            (_, kind) => kind,
        };
        if version >= Ocpi::V221 {
            put("country_code", Some(json!(self.owner.country())));
            put("party_id", Some(json!(self.owner.id())));
        }
        put("uid", uid.map(Value::from));
        put("type", Some(json!(kind)));
        put(if version >= Ocpi::V221 { "contract_id" } else { "auth_id" }, contract.map(Value::from));
        put("issuer", Some(json!(issuer)));
        put("group_id", group.filter(|_| version >= Ocpi::V221).map(Value::from));
        put("valid", Some(json!(self.valid)));
        put("whitelist", Some(json!(self.whitelist)));
        put("language", self.language.as_deref().map(Value::from));
        put("last_updated", Some(json!(updated)));
        Value::Object(object)
    }
}

/// OCPI's DateTime: RFC 3339, and UTC where no zone is written (2.2.1 §Types).
pub fn moment(text: &str) -> Option<Timestamp> {
    let zoned = chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    let bare = || chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|time| time.and_utc().timestamp_millis());
    zoned.or_else(|_| bare()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({
            "country_code": "nl", "party_id": "ABC", "uid": "04A2B3C4", "type": "RFID", "contract_id": "NL-ABC-C00000001-X",
            "visual_number": "VISUAL-4711", "issuer": "ABC", "group_id": "G1", "valid": true, "whitelist": "ALLOWED", "language": "nl",
            "energy_contract": {"supplier_name": "x", "contract_id": "EAN-4711"}, "last_updated": "2026-11-24T10:00:00Z", "what": 1,
        })
    }

    #[test]
    fn what_is_written_back_is_what_was_read_less_what_is_not_kept() {
        let owner = Party::parse("NLABC").unwrap();
        let token = EmspToken::from_object(owner, Ocpi::V221, &object()).unwrap();
        let back = token.to_object(Ocpi::V221);
        assert_eq!(back["uid"], "04A2B3C4");
        assert!(!back.to_string().contains("4711") && back.get("what").is_none());
        assert_eq!(EmspToken::from_object(owner, Ocpi::V221, &back).unwrap().to_object(Ocpi::V221), back);
        let old = token.to_object(Ocpi::V211);
        assert_eq!(EmspToken::from_object(owner, Ocpi::V211, &old).unwrap().to_object(Ocpi::V211), old);
        assert!(old.get("party_id").is_none() && old.get("group_id").is_none());
    }

    #[test]
    fn a_wrong_field_is_named_and_never_quoted() {
        let owner = Party::parse("NLABC").unwrap();
        let wrong = [
            ("party_id", json!("XYZ")),
            ("uid", json!("")),
            ("uid", json!("x".repeat(37))),
            ("uid", json!("a\u{7f}")),
            ("uid", json!(4)),
            ("type", json!("KEY")),
            ("contract_id", Value::Null),
            ("valid", json!("true")),
            ("whitelist", json!("SOMETIMES")),
            ("language", json!("dutch")),
            ("issuer", json!("x\n")),
            ("last_updated", json!("yesterday")),
        ];
        for (name, value) in wrong {
            let mut object = object();
            object[name] = value;
            assert_eq!(EmspToken::from_object(owner, Ocpi::V221, &object).unwrap_err(), name);
        }
    }

    #[test]
    fn moments_are_read_with_and_without_a_zone() {
        assert_eq!(moment("2026-11-24T10:00:00Z"), moment("2026-11-24T10:00:00"));
        assert_eq!(moment("2026-11-24T10:00:00.250Z").map(|t| t.0 % 1000), Some(250));
        assert_eq!(moment("2026-11-24T11:00:00+01:00"), moment("2026-11-24T10:00:00Z"));
        assert_eq!(moment("24-11-2026"), None);
    }
}
