//! What an operator does with CDRs (`sluis cdr …`), also beside a running gateway: on the store only, and each change is refused if the CDR
//! is no longer where the operator saw it.

use super::desk::{Desk, Written, why};
use super::{Draft, NoCredit};
use crate::cdr::Cdr;
use crate::clock::Timestamp;
use crate::custody::Custody;
use crate::recipient::Party;
use crate::store::{CdrRow, CdrState, Op, PAGE, StoreError};
use serde::Serialize;

/// A CDR in the operator's list. Names no driver and no code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Where it is on its way.
    pub state: &'static str,
    /// The e-MSP it belongs to.
    pub owner: Option<String>,
    /// Why it is where it is.
    pub why: Option<String>,
    /// The location's id; the station's where the site is not known.
    pub location: String,
    /// In kWh; `None` where it has no bill.
    pub energy_kwh: Option<String>,
    /// What it costs without VAT; negative if it takes back another.
    pub total_excl_vat: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// The id of the CDR that it takes back.
    pub credit_of: Option<String>,
    /// When it was last changed.
    pub updated: String,
}

/// Why an operator's wish was not done. Nothing of a record is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Held {
    /// There is none.
    #[error("there is no such CDR")]
    NoSuchCdr,
    /// Only where it is quarantined.
    #[error("it is not quarantined")]
    NotQuarantined,
    /// Only where it was refused.
    #[error("no e-MSP refused it")]
    NotRefused,
    /// Sent and accepted.
    #[error("it is delivered: credit it instead")]
    Sent,
    /// Still not known whose it is, by a closed word.
    #[error("nobody can be told of it: {0}")]
    Unowned(&'static str),
    /// It has no price, or no place, by a closed word.
    #[error("it has no bill: {0}")]
    Unbilled(&'static str),
    /// R05.
    #[error("its e-MSP has no entry in the configuration that is valid today")]
    NoAgreement,
    /// It is not of the e-MSP that was asked for.
    #[error("it is another e-MSP's")]
    Another,
    /// Only by its own id.
    #[error("the e-MSP has an earlier one that cannot be credited: settle that by hand, then release this one by its id")]
    ByHand,
    /// It cannot be credited.
    #[error(transparent)]
    NoCredit(#[from] NoCredit),
    /// Its record is not whole.
    #[error("its record is not whole")]
    NoRecord,
    /// Somebody else was faster.
    #[error("it has changed meanwhile")]
    Changed,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for Held {
    fn from(error: StoreError) -> Self {
        if error == StoreError::Conflict { Self::Changed } else { Self::Store(error) }
    }
}

/// The operator's desk.
pub struct Office<'a> {
    /// Keys, vault and store.
    pub custody: &'a Custody,
    /// By what is billed.
    pub desk: &'a Desk,
}

/// All CDRs in a state, of one owner or of all, oldest first, a page at a time; until `each` says that it has seen enough.
///
/// # Errors
/// The store cannot be read.
pub fn list(custody: &Custody, state: CdrState, owner: Option<&str>, each: &mut dyn FnMut(&CdrRow) -> bool) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let page = custody.store().cdrs_in(state, owner, after, PAGE)?;
        for row in &page {
            if !each(row) {
                return Ok(());
            }
        }
        match page.last() {
            Some(last) => after = last.seq,
            None => return Ok(()),
        }
    }
}

impl Entry {
    /// What the list says of a row.
    pub fn of(row: &CdrRow) -> Self {
        let draft = Draft::read(&row.draft);
        let cdr = draft.as_ref().and_then(|draft| draft.cdr.as_ref());
        let station = || draft.as_ref().map(|draft| draft.session.station.clone());
        let taken_back = |cdr: &Cdr| cdr.credit_of.is_some() && !cdr.bill.total.excl_vat.is_zero();
        let total = |cdr: &Cdr| if taken_back(cdr) { -cdr.bill.total.excl_vat } else { cdr.bill.total.excl_vat };
        Self {
            id: row.id.clone(),
            state: row.state.name(),
            owner: row.owner.clone(),
            why: row.why.clone(),
            location: cdr.map(|cdr| cdr.place.location_id.clone()).or_else(station).unwrap_or_default(),
            energy_kwh: cdr.map(|cdr| cdr.bill.energy_kwh.normalize().to_string()),
            total_excl_vat: cdr.map(|cdr| total(cdr).normalize().to_string()),
            currency: cdr.map(|cdr| cdr.bill.currency.clone()),
            credit_of: cdr.and_then(|cdr| cdr.credit_of.clone()),
            updated: row.updated.rfc3339(),
        }
    }
}

impl Office<'_> {
    /// Looks again whose a quarantined CDR is, now that tokens, ranges, sites or an agreement may be there, and queues it for its owner.
    /// `decided`: the operator says whose it is. Returns the owner.
    ///
    /// # Errors
    /// It stays where it is.
    pub fn release(&self, id: &str, decided: Option<Party>, now: Timestamp) -> Result<String, Held> {
        let row = self.row(id)?;
        self.release_row(&row, decided, None, now)
    }

    /// [`Office::release`] of all that are quarantined, oldest first, but those that need a credit by hand; of those that turn out to be
    /// `only`'s, if given. `each` is told what came of each.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn release_all(
        &self,
        only: Option<Party>,
        now: Timestamp,
        each: &mut dyn FnMut(&CdrRow, Result<String, Held>),
    ) -> Result<(), Held> {
        list(self.custody, CdrState::Quarantined, None, &mut |row| {
            let by_hand = row.why.as_deref() == Some(why::NEEDS_MANUAL_CREDIT);
            each(row, if by_hand { Err(Held::ByHand) } else { self.release_row(row, None, only, now) });
            true
        })?;
        Ok(())
    }

    fn release_row(&self, row: &CdrRow, decided: Option<Party>, only: Option<Party>, now: Timestamp) -> Result<String, Held> {
        if row.state != CdrState::Quarantined {
            return Err(Held::NotQuarantined);
        }
        let vault = &self.custody.vault;
        let mut draft = Draft::read(&row.draft).ok_or(Held::NoRecord)?;
        let party = if draft.credit_of().is_some() {
            // It goes to whoever has what it takes back, under the same codes.
            draft.party().ok_or(Held::NoRecord)?
        } else {
            let (party, token) = self.desk.owner(draft.session.token.as_ref(), decided, vault)?.map_err(Held::Unowned)?;
            draft.token = Some(token);
            party
        };
        if only.or(decided).is_some_and(|only| only != party) {
            return Err(Held::Another);
        }
        let recipient = self.desk.recipient(&party, now).ok_or(Held::NoAgreement)?;
        let cdr = match draft.cdr.take() {
            Some(cdr) => cdr,
            None => {
                let (bill, place) = self.desk.price(&draft.session, None).map_err(Held::Unbilled)?;
                self.desk.cdr(row.id.clone(), &draft.session, bill, place, now)
            }
        };
        draft.cdr = Some(Cdr { last_updated: now, ..cdr });
        let Written { owner, code, draft, body, updated } =
            self.desk.write(&mut draft, recipient, self.custody)?.ok_or(Held::NoCredit(NoCredit::OldOcpi))?;
        self.custody.store().commit_blocking(vec![Op::CdrAssign {
            id: row.id.clone(),
            owner: owner.clone(),
            code,
            draft,
            body,
            updated,
        }])?;
        Ok(owner)
    }

    /// Takes back a CDR that an e-MSP has, by a credit CDR. Returns its id.
    ///
    /// # Errors
    /// It cannot be credited.
    pub fn credit(&self, id: &str, now: Timestamp) -> Result<String, Held> {
        let row = self.row(id)?;
        let rows = self.custody.store().cdrs_of_session(&row.session)?;
        let credit = self.desk.credit(&row, &rows, self.custody, now)??;
        let id = credit.id.clone();
        self.custody.store().commit_blocking(vec![Op::CdrInsert(credit)])?;
        Ok(id)
    }

    fn row(&self, id: &str) -> Result<CdrRow, Held> {
        self.custody.store().cdr(id)?.ok_or(Held::NoSuchCdr)
    }
}

/// Decides that a CDR that its e-MSP has not accepted goes to nobody, and with it what would take it back. Returns how often it was sent: its
/// e-MSP may have it all the same. If it is on its way at this moment and is accepted, it counts as delivered.
///
/// # Errors
/// It stays where it is.
pub fn discard(custody: &Custody, id: &str) -> Result<u32, Held> {
    let row = custody.store().cdr(id)?.ok_or(Held::NoSuchCdr)?;
    if row.state == CdrState::Delivered {
        return Err(Held::Sent);
    }
    let takes_it_back = |other: &CdrRow| Draft::read(&other.draft).is_some_and(|draft| draft.credit_of() == Some(id));
    let mut all = custody.store().cdrs_of_session(&row.session)?;
    all.retain(|other| other.id == id || takes_it_back(other) && other.state != CdrState::Delivered);
    let discarded = |row: CdrRow| Op::CdrMove { id: row.id, from: row.state, to: CdrState::Discarded, tries: row.tries };
    custody.store().commit_blocking(all.into_iter().map(discarded).collect())?;
    Ok(row.tries)
}

/// Queues a refused CDR once more.
///
/// # Errors
/// It stays where it is.
pub fn retry(custody: &Custody, id: &str) -> Result<(), Held> {
    let row = custody.store().cdr(id)?.ok_or(Held::NoSuchCdr)?;
    if row.state != CdrState::Refused {
        return Err(Held::NotRefused);
    }
    step(custody, row, CdrState::Queued)
}

fn step(custody: &Custody, row: CdrRow, to: CdrState) -> Result<(), Held> {
    Ok(custody.store().commit_blocking(vec![Op::CdrMove { id: row.id, from: row.state, to, tries: row.tries }])?)
}
