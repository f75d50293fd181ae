//! A token as it stands sealed in the store.

use super::{EmspToken, hex};
use crate::recipient::Party;
use crate::secret::Sensitive;
use crate::store::TokenRow;
use serde_json::{Value, json};

/// Where a row stands: what its seal is bound to.
pub(super) fn token_place(owner: &str, kind: &str, blind: &[u8; 16]) -> Vec<u8> {
    format!("v1|token|{owner}|{kind}|{}", hex(blind)).into_bytes()
}

/// Into the seal, and nowhere else.
pub(super) fn written(token: &EmspToken) -> Sensitive<String> {
    let EmspToken { uid, contract, group, issuer, valid, whitelist, language, updated_text, .. } = token;
    let object = json!({
        "uid": uid.expose(), "contract": contract.expose(), "group": group.as_ref().map(Sensitive::expose), "issuer": issuer,
        "valid": valid, "whitelist": whitelist, "language": language, "updated": updated_text,
    });
    Sensitive::new(object.to_string())
}

/// Out of the seal.
pub(super) fn read(text: &Sensitive<String>, row: &TokenRow) -> Option<EmspToken> {
    let object: Value = serde_json::from_str(text.expose()).ok()?;
    let text = |name: &str| object[name].as_str().map(str::to_owned);
    Some(EmspToken {
        owner: Party::parse(&row.owner)?,
        kind: row.kind.clone(),
        uid: Sensitive::new(text("uid")?),
        contract: Sensitive::new(text("contract")?),
        group: text("group").map(Sensitive::new),
        issuer: text("issuer")?,
        valid: object["valid"].as_bool()?,
        whitelist: text("whitelist")?,
        language: text("language"),
        updated: row.updated,
        updated_text: text("updated")?,
    })
}
