//! Tokens that e-MSPs own, and the answer to the one question billing asks of a clear identifier: whose is it, and what is it called in its
//! owner's domain? Nothing clear leaves this room but to the e-MSP that owns it.

mod sealed;

use super::{Vault, VaultError, references};
use crate::clock::Timestamp;
use crate::identity::{Class, Codes, Declared, Identifier, SEPARATORS, Sighting};
use crate::keys::Domain;
use crate::pseudonym::Pseudonym;
use crate::recipient::{Party, Recipients};
use crate::seal;
use crate::secret::Sensitive;
use crate::store::{Op, PAGE, StoreError, TokenRow};
use sealed::{read, token_place, written};
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Tokens of one e-MSP at most: several times what the largest has. Besides memory and disk it bounds how many cards can be claimed by guessing: of
/// the 2^32 numbers that the shortest have, one in a thousand.
pub const MOST_TOKENS: u64 = 1 << 22;

/// A token of an e-MSP: of OCPI's object (2.2.1 §Tokens) what charging and billing need. The printed card number, the energy contract and the
/// default profile are not kept.
#[derive(Debug, Clone)]
pub struct EmspToken {
    /// Whose it is.
    pub owner: Party,
    /// `AD_HOC_USER`, `APP_USER`, `EMAID`, `OTHER` or `RFID`.
    pub kind: String,
    /// The identifier that a station reads.
    pub uid: Sensitive<String>,
    /// The contract; OCPI 2.1.1 calls it `auth_id`.
    pub contract: Sensitive<String>,
    /// Tokens of one group may stop each other's sessions.
    pub group: Option<Sensitive<String>>,
    /// Who issued the card, as printed on it.
    pub issuer: String,
    /// Whether it may be used at all.
    pub valid: bool,
    /// `ALWAYS`, `ALLOWED`, `ALLOWED_OFFLINE` or `NEVER`.
    pub whitelist: String,
    /// ISO 639-1.
    pub language: Option<String>,
    /// `last_updated`, by the e-MSP's word.
    pub updated: Timestamp,
    /// `last_updated` as the e-MSP wrote it.
    pub updated_text: String,
}

/// A token's codes in the central system's domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCodes {
    /// Of the identifier.
    pub uid: Pseudonym,
    /// Of the contract.
    pub contract: Pseudonym,
    /// Of the group.
    pub group: Option<Pseudonym>,
}

/// Whose a charging session is, and under which codes its owner is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The e-MSP.
    pub party: Party,
    /// The code of the identifier in the e-MSP's domain, 31 characters.
    pub uid: Pseudonym,
    /// The code of the contract in the e-MSP's domain; of the identifier again where the contract is not known.
    pub contract: Pseudonym,
    /// The OCPI token type.
    pub kind: String,
}

/// What an e-MSP's own code stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The identifier, as it was first seen.
    pub uid: Sensitive<String>,
    /// The contract, if the e-MSP's tokens say so.
    pub contract: Option<Sensitive<String>>,
}

/// Why nobody is known to own an identifier. Closed words: they stand in the operator's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unowned {
    /// No token, no provider and no range says whose it is.
    Unknown,
    /// More than one e-MSP could own it.
    Ambiguous,
    /// What the code stands for was erased, or never kept.
    Erased,
}

impl Unowned {
    /// The word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_owner",
            Self::Ambiguous => "ambiguous_owner",
            Self::Erased => "erased",
        }
    }
}

impl Vault {
    /// Keeps a token in place of what its owner said of it before, and records its codes in the central system's domain, so that the CSMS
    /// can be told of them. Durable when it returns. All in one change: how long it takes does not tell whether the identifier was seen before.
    ///
    /// # Errors
    /// Nothing is kept. [`VaultError::Erased`] if something it names was erased since it was last updated; [`VaultError::TooMany`] beyond
    /// [`MOST_TOKENS`].
    pub async fn keep_token(&self, token: &EmspToken) -> Result<TokenCodes, VaultError> {
        self.keep_within(token, MOST_TOKENS).await
    }

    async fn keep_within(&self, token: &EmspToken, most: u64) -> Result<TokenCodes, VaultError> {
        let codes = self.token_codes(token);
        let sightings = sightings(token, &codes);
        for Sighting { identifier, .. } in &sightings {
            if self.was_erased(identifier, &token.owner.to_string())?.is_some_and(|until| token.updated <= until) {
                return Err(VaultError::Erased);
            }
        }
        let blind = self.token_blind(&identifier(&token.uid));
        let place = token_place(&token.owner.to_string(), &token.kind, &blind);
        let sealed = seal::seal(&written(token), &place, self.inner.keys.standing_wrapping(), &*self.inner.entropy)?;
        let row = TokenRow { owner: token.owner.to_string(), kind: token.kind.clone(), blind, updated: token.updated, sealed };
        let is_same = |other: &TokenRow| other.owner == row.owner && other.kind == row.kind;
        let new = !self.inner.store.tokens_by_blind(&blind)?.iter().any(is_same);
        if new && self.count(token.owner).await? >= most {
            return Err(VaultError::TooMany);
        }
        let (mut ops, fresh) = self.inner.unrecorded(&sightings)?;
        ops.push(Op::TokenPut(row));
        ops.extend(self.spread_objection(token)?);
        let done = self.inner.store.commit(ops).await;
        self.inner.recorded(done, &fresh)?;
        self.owned().entry(token.owner).and_modify(|count| *count += u64::from(new));
        Ok(codes)
    }

    /// How many tokens an e-MSP has; read from the store the first time, which takes a while if there are millions.
    async fn count(&self, owner: Party) -> Result<u64, VaultError> {
        if let Some(count) = self.owned().get(&owner) {
            return Ok(*count);
        }
        let store = self.inner.store.clone();
        let counted = tokio::task::spawn_blocking(move || store.tokens_of(&owner.to_string())).await;
        let count = counted.map_err(|_| StoreError::Closed)??;
        self.owned().insert(owner, count);
        Ok(count)
    }

    pub(super) fn forget_counts(&self) {
        self.owned().clear();
    }

    fn owned(&self) -> MutexGuard<'_, HashMap<Party, u64>> {
        self.inner.tokens.lock().unwrap_or_else(PoisonError::into_inner) // every step leaves the map whole
    }

    /// The rows of all tokens that name an identifier, as card, contract or group. Reads them all: contracts and groups are sealed.
    pub(super) fn tokens_naming(&self, identifier: &Identifier) -> Result<Vec<TokenRow>, StoreError> {
        let blind = self.token_blind(identifier);
        let named = |text: &Sensitive<String>| self::identifier(text) == *identifier;
        // A row that does not open brings nothing back, unless it is the identifier's own.
        let names = |token: EmspToken| named(&token.contract) || token.group.as_ref().is_some_and(named);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.inner.store.tokens_after(after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.clone());
            found.extend(page.into_iter().filter(|row| row.blind == blind || self.open_token(row).is_ok_and(names)));
        }
    }

    /// Remembers that what the owner of a token said of an identifier until `now` stays erased: a keyed digest, and the moment. Of its owner
    /// only, or any e-MSP could ask by pushing guesses whether somebody was erased here. As many as tokens that an operator has erased.
    pub(super) fn erased_until(&self, identifier: &Identifier, token: &TokenRow, now: Timestamp) -> Result<Op, VaultError> {
        let name = self.erased_name(identifier, &token.owner);
        let until = now.max(token.updated); // a clock that is ahead of ours does not outlive the erasure
        let text = Sensitive::new(until.0.to_string());
        let sealed = seal::seal(&text, &references::place(&name), self.inner.keys.standing_wrapping(), &*self.inner.entropy)?;
        Ok(Op::SecretPut { name, sealed })
    }

    fn was_erased(&self, identifier: &Identifier, owner: &str) -> Result<Option<Timestamp>, VaultError> {
        let name = self.erased_name(identifier, owner);
        let Some(sealed) = self.inner.store.secret(&name)? else { return Ok(None) };
        let text = seal::open(&sealed, &references::place(&name), self.inner.keys.standing_wrapping())?;
        Ok(text.expose().parse().ok().map(Timestamp)) // a moment
    }

    fn erased_name(&self, identifier: &Identifier, owner: &str) -> String {
        format!("erased {owner} {}", hex(&self.token_blind(identifier)))
    }

    /// The field that holds a code of ours for the central system: nobody's card does, and a code of a code would restore to a code.
    pub fn coded_field(&self, token: &EmspToken) -> Option<&'static str> {
        let is_code = |text: &Sensitive<String>| self.inner.keys.recognise(text.expose()).is_some(); // its check is looked at, and nothing leaves
        [("uid", Some(&token.uid)), ("contract_id", Some(&token.contract)), ("group_id", token.group.as_ref())]
            .into_iter()
            .find_map(|(name, text)| text.is_some_and(is_code).then_some(name))
    }

    /// A token by its owner and identifier, in any spelling; by its type too, if given.
    ///
    /// # Errors
    /// The store cannot be read, or a row does not open.
    pub fn token(&self, owner: &Party, uid: &Sensitive<String>, kind: Option<&str>) -> Result<Option<EmspToken>, VaultError> {
        let rows = self.inner.store.tokens_by_blind(&self.token_blind(&identifier(uid)))?;
        let owner = owner.to_string();
        let found = rows.iter().find(|row| row.owner == owner && kind.is_none_or(|kind| row.kind == kind));
        found.map(|row| self.open_token(row)).transpose()
    }

    /// All tokens in a fixed order, after one; a page at a time.
    ///
    /// # Errors
    /// The store cannot be read, or a row does not open.
    pub fn tokens_after(&self, after: Option<&TokenRow>, most: usize) -> Result<Vec<(TokenRow, EmspToken)>, VaultError> {
        let rows = self.inner.store.tokens_after(after, most)?;
        rows.into_iter().map(|row| self.open_token(&row).map(|token| (row, token))).collect()
    }

    /// A token's codes in the central system's domain, in the current epoch.
    pub fn token_codes(&self, token: &EmspToken) -> TokenCodes {
        let code = |text: &Sensitive<String>| self.inner.keys.code(&identifier(text), None);
        TokenCodes { uid: code(&token.uid), contract: code(&token.contract), group: token.group.as_ref().map(code) }
    }

    /// [`Vault::token_codes`], recorded: they may leave when it returns, in an epoch that was not there yet when the token was kept too.
    ///
    /// # Errors
    /// None of the codes may leave.
    pub async fn known_codes(&self, token: &EmspToken) -> Result<TokenCodes, VaultError> {
        let codes = self.token_codes(token);
        self.record(&sightings(token, &codes)).await?;
        Ok(codes)
    }

    /// Tokens that the central system has not been told of in a round or a later one, or that changed since. A row that does not open comes
    /// without its token.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tokens_due(&self, round: u64, most: usize) -> Result<Vec<(TokenRow, Option<EmspToken>)>, VaultError> {
        let rows = self.inner.store.tokens_due(round, most)?;
        Ok(rows.into_iter().map(|row| (self.open_token(&row).ok(), row)).map(|(token, row)| (row, token)).collect())
    }

    /// The number of the epoch in which codes are made now.
    pub fn epoch_number(&self) -> u32 {
        self.inner.keys.current().0
    }

    /// The token that a code of the central system's domain stands for, of whichever owner; `None` if it is no code of ours, was erased, or is
    /// no e-MSP's token, or one that another could own too.
    ///
    /// # Errors
    /// The store cannot be read, or a row does not open.
    pub fn token_of_code(&self, code: &str, recipients: &Recipients) -> Result<Option<EmspToken>, VaultError> {
        let Some(identifier) = self.behind(code)? else { return Ok(None) };
        let rows = self.inner.store.tokens_by_blind(&self.token_blind(&identifier))?;
        match (rows.first(), by_tokens(&rows, &identifier, recipients)) {
            (Some(row), Ok(Some(_))) => self.open_token(row).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether another e-MSP than a token's owner could own its identifier: nobody is told of either then.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_disputed(&self, token: &EmspToken, recipients: &Recipients) -> Result<bool, VaultError> {
        let identifier = identifier(&token.uid);
        let rows = self.inner.store.tokens_by_blind(&self.token_blind(&identifier))?;
        Ok(by_tokens(&rows, &identifier, recipients).is_err())
    }

    /// Whose an identifier is: by the tokens that e-MSPs have pushed, else by the provider in an eMAID, else by a configured range; never
    /// guessed. A token does not outweigh the others: one pushed for an eMAID of another e-MSP's, or for what the ranges give to others only,
    /// is no more than a claim, and an operator decides. `code` is a code of the central system's domain, or an identifier that the central
    /// system issued itself. A contract id says nothing of the owner: its provider may differ from the party (OCPI issue 358).
    ///
    /// # Errors
    /// The store cannot be read, or a row does not open.
    pub fn owner(&self, code: &str, recipients: &Recipients) -> Result<Result<Ownership, Unowned>, VaultError> {
        let Some(identifier) = self.behind(code)? else { return Ok(Err(Unowned::Erased)) };
        let rows = self.inner.store.tokens_by_blind(&self.token_blind(&identifier))?;
        let party =
            by_tokens(&rows, &identifier, recipients).and_then(|found| match (found, by_value(&identifier, recipients).as_slice()) {
                (Some(party), _) => Ok(party),
                (None, [party]) => Ok(*party),
                (None, []) => Err(Unowned::Unknown),
                (None, _) => Err(Unowned::Ambiguous),
            });
        party.map_or_else(|why| Ok(Err(why)), |party| self.told(&identifier, code, party, &rows).map(Ok))
    }

    /// How an e-MSP is told of an identifier that is its customer's by an operator's decision; by its token, if it pushed one. `None` if what
    /// the code stands for was erased.
    ///
    /// # Errors
    /// The store cannot be read, or a row does not open.
    pub fn owned_by(&self, code: &str, party: Party) -> Result<Option<Ownership>, VaultError> {
        let Some(identifier) = self.behind(code)? else { return Ok(None) };
        let rows = self.inner.store.tokens_by_blind(&self.token_blind(&identifier))?;
        self.told(&identifier, code, party, &rows).map(Some)
    }

    /// The codes in the e-MSP's domain, in the epoch of the code that the central system knows.
    fn told(&self, identifier: &Identifier, code: &str, party: Party, rows: &[TokenRow]) -> Result<Ownership, VaultError> {
        let epoch = self.inner.keys.recognise(code).and_then(|code| self.inner.keys.epoch_of(&code));
        let (owner, shown) = (party.to_string(), kind(identifier.class));
        let of_owner = || rows.iter().filter(|row| row.owner == owner);
        // An app's user may have the number of a card: what a station reads is the card.
        let token = of_owner().find(|row| row.kind == shown).or_else(|| of_owner().next()).map(|row| self.open_token(row)).transpose()?;
        let domain = domain(&party);
        let code = |identifier: &Identifier| self.inner.keys.code_in(&domain, identifier, epoch);
        let uid = code(identifier);
        let contract = token.as_ref().map_or(uid, |token| code(&self::identifier(&token.contract)));
        Ok(Ownership { party, uid, contract, kind: token.map_or_else(|| shown.to_owned(), |token| token.kind) })
    }

    /// A keyed digest of whom a code stands for, the same in every epoch: for the disclosure log. `None` if it was erased.
    pub fn subject(&self, code: &str) -> Option<[u8; 16]> {
        self.behind(code).ok().flatten().map(|identifier| self.subject_of(&identifier))
    }

    /// [`Vault::subject`] of a clear identifier, for answers to the person it belongs to.
    pub fn subject_of(&self, identifier: &Identifier) -> [u8; 16] {
        let canonical = identifier.canonical.expose(); // into a MAC
        self.inner.keys.blind("subject", &[&[identifier.class.byte()], canonical.as_bytes()])
    }

    /// [`Vault::subject`] of whoever is named: by card, contract, or a code in the central system's domain. `None` if the code is unknown or
    /// erased.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn subject_named(&self, text: &Sensitive<String>) -> Result<Option<[u8; 16]>, VaultError> {
        let identifier = self.behind(text.expose())?; // looked up, and it stays here
        Ok(identifier.map(|identifier| self.subject_of(&identifier)))
    }

    /// [`Vault::subject`] of whoever has a token.
    pub fn subject_of_token(&self, token: &EmspToken) -> [u8; 16] {
        self.subject_of(&identifier(&token.uid))
    }

    /// What an e-MSP's own code stands for, given the code in the central system's domain that it was made beside (a CDR has both): identifier
    /// and, where it is known, contract. `None` alike for a code that is another's, unknown, or erased (R25).
    ///
    /// # Errors
    /// The store cannot be read, or a row does not open.
    pub fn resolve(&self, party: &Party, code: &str, beside: &str) -> Result<Option<Resolved>, VaultError> {
        let Some(code) = self.inner.keys.recognise_in(&domain(party), code) else { return Ok(None) };
        let Some(identifier) = self.behind(beside)? else { return Ok(None) };
        if self.inner.keys.code_in(&domain(party), &identifier, self.inner.keys.epoch_of(&code)) != code {
            return Ok(None);
        }
        let contract = self.token(party, &identifier.original, None)?.map(|token| token.contract);
        Ok(Some(Resolved { uid: identifier.original.clone(), contract }))
    }

    /// A keyed name in one e-MSP's domain for something that is not a person (a home's location): 16 characters, stable, one way.
    pub fn alias(&self, party: &Party, text: &str) -> String {
        let digest = self.inner.keys.digest(&format!("alias {party}"), text);
        digest.iter().map(|b| char::from(*b)).collect()
    }

    /// The identifier behind a code of the central system's domain, or the operator-issued identifier itself. `None` only if it is unknown,
    /// erased or does not open: a store that cannot be read is an error, or its sessions would be taken for those of nobody.
    pub(super) fn behind(&self, code: &str) -> Result<Option<Arc<Identifier>>, StoreError> {
        let Some(code) = self.inner.keys.recognise(code) else {
            let theirs = !Pseudonym::looks_like(code);
            return Ok(theirs.then(|| Arc::new(Identifier::from_wire(code, Declared::Undeclared))));
        };
        let found = self.inner.identifier(&code);
        if found.is_none() && self.inner.store.vault_row(&code)?.is_some() {
            return Ok(self.inner.identifier(&code)); // it could not be read a moment ago, and now it can; or it does not open
        }
        Ok(found)
    }

    pub(super) fn open_token(&self, row: &TokenRow) -> Result<EmspToken, VaultError> {
        let place = token_place(&row.owner, &row.kind, &row.blind);
        let text = seal::open(&row.sealed, &place, self.inner.keys.standing_wrapping())?;
        read(&text, row).ok_or(VaultError::Seal(seal::SealError::Broken))
    }

    /// Under the standing key, so that a token is found whatever the epoch of the code it is asked by.
    pub(super) fn token_blind(&self, identifier: &Identifier) -> [u8; 16] {
        let canonical = identifier.canonical.expose(); // into a MAC
        self.inner.keys.blind("token", &[&[identifier.class.byte()], canonical.as_bytes()])
    }
}

/// The one e-MSP that says that an identifier is its, if nothing speaks against it; `None` if none says so.
fn by_tokens(rows: &[TokenRow], identifier: &Identifier, recipients: &Recipients) -> Result<Option<Party>, Unowned> {
    let mut owners: Vec<Party> = rows.iter().filter_map(|row| Party::parse(&row.owner)).collect();
    owners.dedup(); // rows are in the order of their owners
    let mut others = by_value(identifier, recipients);
    // What is no contract number of a form that is known may yet begin with its provider (`NL-ABC-1234`). That gives it to nobody, but speaks.
    let bare = || identifier.canonical.expose().chars().filter(|c| !SEPARATORS.contains(c)).collect::<String>(); // compared with public names
    if identifier.class == Class::Other {
        others.extend(bare().get(..5).and_then(Party::parse).filter(|party| recipients.find(party).is_some()));
    }
    match owners.as_slice() {
        [] => Ok(None),
        [party] if others.is_empty() || others.contains(party) => Ok(Some(*party)),
        _ => Err(Unowned::Ambiguous),
    }
}

/// The provider in an eMAID, else those whose configured ranges fit.
fn by_value(identifier: &Identifier, recipients: &Recipients) -> Vec<Party> {
    let canonical = identifier.canonical.expose(); // compared with public patterns
    if identifier.class == Class::Emaid
        && let Some(party) = canonical.get(..5).and_then(Party::parse)
        && recipients.find(&party).is_some()
    {
        return vec![party];
    }
    let fits = |pattern: &String| {
        let bare = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        match pattern.strip_suffix('*') {
            Some(stem) => bare(canonical).starts_with(&bare(stem)),
            None => bare(canonical) == bare(pattern),
        }
    };
    recipients.all().iter().filter(|recipient| recipient.ranges.iter().any(fits)).map(|recipient| recipient.party).collect()
}

pub(super) fn identifier(text: &Sensitive<String>) -> Identifier {
    Identifier::from_wire(text.expose(), Declared::Undeclared) // into its canonical form, which stays sensitive
}

fn domain(party: &Party) -> Domain {
    Domain::emsp(party.country(), party.id()).unwrap_or(Domain::Quality)
}

fn kind(class: Class) -> &'static str {
    match class {
        Class::Rfid => "RFID",
        Class::Emaid => "EMAID",
        _ => "OTHER",
    }
}

fn sightings(token: &EmspToken, codes: &TokenCodes) -> Vec<Sighting> {
    let uid = Sighting { code: codes.uid, identifier: identifier(&token.uid) };
    let contract = Sighting { code: codes.contract, identifier: identifier(&token.contract) };
    let group = codes.group.zip(token.group.as_ref()).map(|(code, group)| Sighting { code, identifier: identifier(group) });
    [uid, contract].into_iter().chain(group).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::{Custody, Opening, Role};

    #[tokio::test]
    async fn an_e_msp_claims_no_more_identifiers_than_it_may_have_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Custody::open(dir.path(), None, &Opening::new(Role::Beside, Timestamp(0))).unwrap().vault;
        let token = |owner: &str, n: u32| EmspToken {
            owner: Party::parse(owner).unwrap(),
            kind: "RFID".to_owned(),
            uid: Sensitive::new(format!("{n:08X}")),
            contract: Sensitive::new("c".to_owned()),
            group: None,
            issuer: String::new(),
            valid: true,
            whitelist: "ALLOWED".to_owned(),
            language: None,
            updated: Timestamp(0),
            updated_text: String::new(),
        };
        let mut vault = open();
        for n in 0..3 {
            vault.keep_within(&token("NL-ABC", n), 3).await.unwrap();
        }
        for _ in 0..2 {
            assert_eq!(vault.keep_within(&token("NL-ABC", 3), 3).await.unwrap_err(), VaultError::TooMany);
            vault.keep_within(&token("NL-ABC", 2), 3).await.unwrap(); // said again
            vault.keep_within(&token("NL-XYZ", 3), 3).await.unwrap();
            vault = open(); // counted anew
        }
        vault.erase(&identifier(&token("NL-ABC", 1).uid), Timestamp(0)).unwrap();
        vault.keep_within(&token("NL-ABC", 3), 3).await.unwrap();
    }
}
