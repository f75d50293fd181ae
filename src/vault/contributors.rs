//! Who contributes to statistics, and who does not want to. The reporting room asks by code and gets keyed digests that hold for one period
//! alone; an identifier stays here (I7).
//!
//! All cards of a contract are one person. A card that becomes known as a contract's only later is that contract's all the same: what it added
//! before is found by its own digest, and both are joined when the period closes.

use super::{Vault, VaultError};
use crate::clock::Timestamp;
use crate::identity::{Declared, Identifier};
pub use crate::keys::PeriodKey;
use crate::seal::SealError;
use crate::secret::Sensitive;
use crate::store::{Op, OptOutRow, PAGE, StoreError, VisitRow};
use std::collections::HashSet;
use std::sync::Arc;

/// Why somebody is not counted. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Objection {
    /// Said so in advance (R45).
    OptOut,
    /// Objected to statistics (GDPR art. 21(6), R47).
    Objection,
    /// Has the processing restricted (GDPR art. 18).
    Restriction,
}

impl Objection {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OptOut, Self::Objection, Self::Restriction];

    /// The word in the store and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OptOut => "opt-out",
            Self::Objection => "objection",
            Self::Restriction => "restriction",
        }
    }

    /// The reason that a word stands for.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }
}

/// Whoever a code stands for, as statistics may know them: by the digests of one period.
pub struct Person {
    card: Arc<Identifier>,
    contracts: Vec<Identifier>,
    /// Their digests among those who are not to be counted.
    objectors: Vec<[u8; 16]>,
    /// Whether they may be counted: nobody said no.
    pub counts: bool,
}

/// A person's digests in one period.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// Of the card.
    pub card: [u8; 16],
    /// Of the contract, if there is exactly one.
    pub contract: Option<[u8; 16]>,
}

impl Person {
    /// Their digests in a period.
    pub fn digests(&self, key: &PeriodKey) -> Digests {
        let contract = if let [contract] = self.contracts.as_slice() { Some(key.person(contract)) } else { None };
        Digests { card: key.person(&self.card), contract }
    }
}

/// What became of an objection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Whether they had not objected before.
    pub new: bool,
    /// Open periods that what they added was taken out of.
    pub removed_from: Vec<String>,
    /// Periods that were released before: nobody can find their part in those.
    pub too_late_for: Vec<String>,
}

/// All who are not to be counted, for a look at many identifiers.
pub struct Objectors<'a> {
    vault: &'a Vault,
    blinds: HashSet<[u8; 16]>,
}

impl Objectors<'_> {
    /// Whether a card or contract, in whatever spelling, is not to be counted.
    pub fn has(&self, text: &str) -> bool {
        let digest = || self.vault.objector(&Identifier::from_wire(text, Declared::Undeclared));
        !self.blinds.is_empty() && self.blinds.contains(&digest())
    }
}

/// What is known of cards and contracts when a period closes: which belong together, and who is not to be counted.
#[derive(Default)]
pub struct Links {
    /// A card and its contract.
    pub pairs: Vec<([u8; 16], [u8; 16])>,
    /// Those who are not to be counted.
    pub objectors: Vec<[u8; 16]>,
}

impl Vault {
    /// Draws the secret of a period, wrapped under a key that needs both the key-encryption key and the standing key.
    ///
    /// # Errors
    /// No random bytes.
    pub fn new_period(&self, name: &str, now: Timestamp) -> Result<Op, VaultError> {
        let inner = &self.inner;
        let key = PeriodKey::generate(name, &*inner.entropy)?;
        let wrapped = key.wrap(inner.keys.standing_wrapping(), &*inner.entropy)?.to_vec();
        Ok(Op::PeriodOpen { name: name.to_owned(), wrapped, at: now })
    }

    /// The secret of an open period; `None` if it was not opened yet or is released. Never kept in memory for longer than it is used.
    ///
    /// # Errors
    /// The store cannot be read, or the secret does not open.
    pub fn period_key(&self, name: &str) -> Result<Option<PeriodKey>, VaultError> {
        match self.inner.store.period(name)? {
            Some(row) if row.closed.is_none() => Ok(Some(PeriodKey::unwrap(name, &row.wrapped, self.inner.keys.standing_wrapping())?)),
            _ => Ok(None),
        }
    }

    /// Whoever a code of the central system's domain stands for, or who has an identifier that the central system issued itself. `None` if
    /// that was erased, never kept, or cannot be told for certain: such a session counts for nobody.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn person(&self, code: &str) -> Result<Option<Person>, StoreError> {
        let Some(card) = self.behind(code)? else { return Ok(None) };
        let Some(contracts) = self.contracts_of(&card)? else { return Ok(None) };
        let objectors: Vec<_> = contracts.iter().chain([&*card]).map(|one| self.objector(one)).collect();
        let mut counts = true;
        for one in &objectors {
            counts &= self.inner.store.opt_out(one)?.is_none();
        }
        Ok(Some(Person { card, contracts, objectors, counts }))
    }

    /// What a session of a person adds to a period, sealed. `text` says where, when and how much; not whose. Nothing will be kept if the
    /// person has objected by then.
    ///
    /// # Errors
    /// No random bytes, or the text is too long.
    pub fn visit(&self, key: &PeriodKey, period: &str, session: &str, who: &Person, text: String) -> Result<Op, SealError> {
        let (session, Digests { card, contract }) = (key.session(session), who.digests(key));
        let sealed = key.seal(text, &session, &*self.inner.entropy)?;
        Ok(Op::VisitPut { row: VisitRow { period: period.to_owned(), session, card, contract, sealed }, unless: who.objectors.clone() })
    }

    /// Looks through all tokens of e-MSPs for cards and contracts that are known to a period. Reads and opens every token: some 5 µs each.
    ///
    /// # Errors
    /// The store cannot be read. A token that does not open joins nothing.
    pub fn links(&self, key: &PeriodKey, is_known: &dyn Fn(&[u8; 16]) -> bool) -> Result<Links, StoreError> {
        let objectors = self.objectors()?.blinds;
        let mut links = Links::default();
        let mut after = None;
        loop {
            let page = self.inner.store.tokens_after(after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(links) };
            after = Some(last.clone());
            for token in page.iter().filter_map(|row| self.open_token(row).ok()) {
                let (card, contract) = (super::tokens::identifier(&token.uid), super::tokens::identifier(&token.contract));
                let (its, of) = (key.person(&card), key.person(&contract));
                let objects = |one: &Identifier| objectors.contains(&self.objector(one));
                let (card_objects, contract_objects) = (objects(&card), objects(&contract));
                if is_known(&its) || is_known(&of) || card_objects {
                    links.pairs.push((its, of));
                }
                links.objectors.extend(card_objects.then_some(its));
                links.objectors.extend(contract_objects.then_some(of));
            }
        }
    }

    /// All who are not to be counted.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn objectors(&self) -> Result<Objectors<'_>, StoreError> {
        let mut blinds = HashSet::new();
        let mut after = None;
        loop {
            let page = self.inner.store.opt_outs_after(after.as_ref())?;
            let Some(last) = page.last() else { return Ok(Objectors { vault: self, blinds }) };
            after = Some(last.blind);
            blinds.extend(page.iter().map(|row| row.blind));
        }
    }

    /// Somebody is not to be counted any more: by a code of the central system's domain, a card or a contract. Reaches all cards of the
    /// contract, those learnt later too, and takes what they added out of the periods that are open. `None` if the code is not known here.
    /// Durable when it returns.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn object(&self, text: &Sensitive<String>, why: Objection, now: Timestamp) -> Result<Option<Heard>, VaultError> {
        let Some(target) = self.behind(text.expose())? else { return Ok(None) }; // looked up, and it stays here
        let flagged = self.flagged(&target)?;
        let mut everybody = flagged.clone();
        for contract in &flagged {
            for token in self.tokens_naming(contract)?.iter().filter_map(|row| self.open_token(row).ok()) {
                // A group is not a person: its other members have not objected.
                if super::tokens::identifier(&token.contract) == *contract {
                    everybody.push(super::tokens::identifier(&token.uid));
                }
            }
        }
        let store = &self.inner.store;
        let new = store.opt_out(&self.objector(&target))?.is_none();
        let row = |one: &Identifier| Op::OptOutPut(OptOutRow { blind: self.objector(one), at: now, why: why.name().to_owned() });
        let mut ops: Vec<Op> = flagged.iter().map(row).collect();
        let mut heard = Heard { new, removed_from: Vec::new(), too_late_for: Vec::new() };
        for period in store.periods()? {
            match self.period_key(&period.name)? {
                Some(key) => {
                    ops.extend(everybody.iter().map(|one| Op::VisitsForget { period: period.name.clone(), person: key.person(one) }));
                    heard.removed_from.push(period.name);
                }
                None => heard.too_late_for.push(period.name),
            }
        }
        store.commit_blocking(ops)?;
        store.scrub().or_else(|error| if error == StoreError::Locked { Ok(()) } else { Err(error) })?; // the next one empties the log
        Ok(Some(heard))
    }

    /// Somebody may be counted again, from the next session on. Returns whether they had objected; `None` if the code is not known here.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn object_no_more(&self, text: &Sensitive<String>) -> Result<Option<bool>, VaultError> {
        let Some(target) = self.behind(text.expose())? else { return Ok(None) }; // looked up, and it stays here
        let there = self.inner.store.opt_out(&self.objector(&target))?.is_some();
        let ops = self.flagged(&target)?.iter().map(|one| Op::OptOutDrop(self.objector(one))).collect();
        self.inner.store.commit_blocking(ops)?;
        Ok(Some(there))
    }

    /// A token says that a card is of a contract: whoever objected as the one objects as the other, and takes out what the contract added.
    pub(super) fn spread_objection(&self, token: &super::tokens::EmspToken) -> Result<Vec<Op>, VaultError> {
        let contract = super::tokens::identifier(&token.contract);
        let Some(row) = self.inner.store.opt_out(&self.objector(&super::tokens::identifier(&token.uid)))? else { return Ok(Vec::new()) };
        let mut ops = self.forget_visits(&contract)?;
        ops.push(Op::OptOutPut(OptOutRow { blind: self.objector(&contract), ..row }));
        Ok(ops)
    }

    /// Takes what an identifier added out of the open periods.
    pub(super) fn forget_visits(&self, identifier: &Identifier) -> Result<Vec<Op>, VaultError> {
        let mut ops = Vec::new();
        for period in self.inner.store.periods()?.into_iter().filter(|period| period.closed.is_none()) {
            if let Some(key) = self.period_key(&period.name)? {
                ops.push(Op::VisitsForget { person: key.person(identifier), period: period.name });
            }
        }
        Ok(ops)
    }

    /// A card or contract itself, and the contracts that it is a card of.
    fn flagged(&self, target: &Identifier) -> Result<Vec<Identifier>, VaultError> {
        let mut flagged = vec![target.clone()];
        flagged.extend(self.contracts_of(target)?.ok_or(VaultError::Seal(SealError::Broken))?);
        Ok(flagged)
    }

    /// The contracts that a card is of, by the tokens of e-MSPs; `None` if one does not open.
    fn contracts_of(&self, card: &Identifier) -> Result<Option<Vec<Identifier>>, StoreError> {
        let mut contracts: Vec<Identifier> = Vec::new();
        for row in self.inner.store.tokens_by_blind(&self.token_blind(card))? {
            let Ok(token) = self.open_token(&row) else { return Ok(None) };
            let contract = super::tokens::identifier(&token.contract);
            if !contracts.contains(&contract) {
                contracts.push(contract);
            }
        }
        Ok(Some(contracts))
    }

    /// Under the standing key: the same in every epoch and period.
    fn objector(&self, identifier: &Identifier) -> [u8; 16] {
        let canonical = identifier.canonical.expose(); // into a MAC
        self.inner.keys.blind("statistics objector", &[&[identifier.class.byte()], canonical.as_bytes()])
    }
}
