//! What came late and changes what was billed: the CDR that the e-MSP has is taken back by a credit CDR and followed by a right one; one that
//! nobody has seen is replaced.

use super::desk::{self, Desk, Made, why};
use super::{Draft, Ids};
use crate::charging::ChargingSession;
use crate::clock::Timestamp;
use crate::custody::Custody;
use crate::recipient::{Ocpi, Party};
use crate::store::{CdrRow, CdrState, Op, StoreError};

/// Why a CDR cannot be credited. Closed words, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCredit {
    /// Nobody has it: it can be discarded.
    #[error("nobody has it yet: discard it instead")]
    NotSent,
    /// It takes back another.
    #[error("it is a credit itself")]
    Credit,
    /// It was credited before.
    #[error("it was credited before")]
    Twice,
    /// OCPI 2.1.1 has no credit CDRs.
    #[error("OCPI 2.1.1 has no credit CDRs: settle it with the e-MSP by hand")]
    OldOcpi,
    /// Its record is not whole.
    #[error("its record is not whole")]
    NoRecord,
}

impl Desk {
    /// What brings the CDRs of a session in line with it: the first CDR, a correction, or nothing. `rows` are all its CDRs, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn settle(
        &self,
        session: &ChargingSession,
        rows: &[CdrRow],
        custody: &Custody,
        ids: &mut Ids<'_>,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        let drafts: Vec<Option<Draft>> = rows.iter().map(|row| Draft::read(&row.draft)).collect();
        let stands =
            |at: &usize| rows[*at].state != CdrState::Discarded && !is_credit(&drafts[*at]) && !is_credited(&rows[*at].id, &drafts);
        let Some(at) = (0..rows.len()).rev().find(stands) else {
            if !rows.is_empty() {
                return Ok(Settled::Same); // an operator discarded or credited it, and that stays so
            }
            return Ok(match self.make(session, ids.next(), None, custody, now)? {
                Made::Row(row, _) => Settled::Billed(vec![Op::CdrInsert(*row)]),
                Made::TooLittle => Settled::TooLittle,
            });
        };
        let (row, Some(old)) = (&rows[at], &drafts[at]) else { return Ok(Settled::Same) };
        let same_place =
            (&old.session.station, old.session.evse, old.session.connector) == (&session.station, session.evse, session.connector);
        let earlier = old.cdr.as_ref().map(|cdr| &cdr.place).filter(|_| same_place);
        let made = self.make(session, ids.next(), earlier, custody, now)?;
        if is_same(old, session, &made) {
            return Ok(Settled::Same);
        }
        let mut ops = Vec::new();
        let made = match row.state {
            // Nobody has it; what an e-MSP refused for good it does not book.
            CdrState::Quarantined | CdrState::Refused | CdrState::Discarded => {
                ops.push(Op::CdrMove { id: row.id.clone(), from: row.state, to: CdrState::Discarded, tries: row.tries });
                // The wrong one that the e-MSP has is still to be settled.
                if row.why.as_deref() == Some(why::NEEDS_MANUAL_CREDIT) { by_hand(session, made, ids.next(), now) } else { made }
            }
            CdrState::Queued | CdrState::Delivered => match self.credit(row, rows, custody, now)? {
                Ok(credit) => {
                    ops.push(Op::CdrInsert(credit));
                    made
                }
                Err(_) => by_hand(session, made, ids.next(), now),
            },
        };
        if let Made::Row(row, _) = made {
            ops.push(Op::CdrInsert(*row));
        }
        Ok(Settled::Corrected(ops))
    }

    /// The credit CDR of a row, with the codes that its owner got it with, in the version that the owner speaks now; held if the owner may receive
    /// nothing now; or why it cannot be credited. `rows` are all CDRs of its session.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn credit(
        &self,
        row: &CdrRow,
        rows: &[CdrRow],
        custody: &Custody,
        now: Timestamp,
    ) -> Result<Result<CdrRow, NoCredit>, StoreError> {
        let (mut draft, id, party) = match self.taken_back(row, rows, now) {
            Ok(credit) => credit,
            Err(why) => return Ok(Err(why)),
        };
        let written = match self.recipient(&party, now) {
            Some(recipient) => self.write(&mut draft, recipient, custody)?,
            None => {
                let Made::Row(row, _) = desk::held(id, draft, why::NO_AGREEMENT, now) else { return Ok(Err(NoCredit::NoRecord)) };
                return Ok(Ok(*row));
            }
        };
        Ok(written.ok_or(NoCredit::NoRecord).map(|written| CdrRow {
            seq: 0,
            id,
            session: row.session.clone(),
            owner: Some(written.owner),
            state: CdrState::Queued,
            code: Some(written.code),
            draft: written.draft,
            body: Some(written.body),
            why: None,
            updated: written.updated,
            tries: 0,
        }))
    }

    /// The record of the credit CDR of a row, not written yet, with its id and whose it is.
    fn taken_back(&self, row: &CdrRow, rows: &[CdrRow], now: Timestamp) -> Result<(Draft, String, Party), NoCredit> {
        if !matches!(row.state, CdrState::Queued | CdrState::Delivered | CdrState::Refused) {
            return Err(NoCredit::NotSent);
        }
        let mut draft = Draft::read(&row.draft).ok_or(NoCredit::NoRecord)?;
        if is_credited(&row.id, &rows.iter().map(|row| Draft::read(&row.draft)).collect::<Vec<_>>()) {
            return Err(NoCredit::Twice);
        }
        let party = draft.party().ok_or(NoCredit::NoRecord)?;
        // Without an entry nobody knows what it will speak.
        let speaks = self.version(&party).or(draft.written_in());
        if speaks == Some(Ocpi::V211) {
            return Err(NoCredit::OldOcpi);
        }
        let id = format!("{}-C", row.id); // 36 characters at most, and OCPI allows 39 for a credit
        let credit = draft.cdr.as_ref().ok_or(NoCredit::NoRecord)?.credit(id.clone(), now).ok_or(NoCredit::Credit)?;
        draft.cdr = Some(credit);
        draft.version = None;
        Ok((draft, id, party))
    }
}

/// What came of a session.
pub(super) enum Settled {
    /// Its first CDR.
    Billed(Vec<Op>),
    /// It was billed before, and that is put right.
    Corrected(Vec<Op>),
    /// It took too little to be billed.
    TooLittle,
    /// What was billed is right.
    Same,
}

fn is_credit(draft: &Option<Draft>) -> bool {
    draft.as_ref().is_some_and(|draft| draft.credit_of().is_some())
}

fn is_credited(id: &str, drafts: &[Option<Draft>]) -> bool {
    drafts.iter().flatten().any(|draft| draft.credit_of() == Some(id))
}

/// Whether the e-MSP would be told the same: energy, times, price, place and whom. Its codes of today do not count: a contract that became known
/// since is no reason for a credit.
fn is_same(old: &Draft, session: &ChargingSession, made: &Made) -> bool {
    let Made::Row(_, new) = made else { return false };
    let who = |session: &ChargingSession| session.token.as_ref().map(|token| token.code.clone());
    let bill = |draft: &Draft| draft.cdr.as_ref().map(|cdr| (cdr.bill.clone(), cdr.place.clone()));
    if who(&old.session) != who(session) || bill(old) != bill(new) {
        return false;
    }
    match (old.party(), new.party()) {
        (Some(old), Some(new)) => old == new,
        // Without a bill there is only the session to compare.
        _ => new.cdr.is_some() || old.session == *session,
    }
}

/// A CDR that an operator must settle with the e-MSP, which cannot be sent a credit.
fn by_hand(session: &ChargingSession, made: Made, id: String, now: Timestamp) -> Made {
    match made {
        Made::Row(row, draft) => desk::held(row.id, Draft { version: None, ..*draft }, why::NEEDS_MANUAL_CREDIT, now),
        // Nothing is to be billed instead, and still what was billed is wrong.
        Made::TooLittle => {
            let draft = Draft { session: session.clone(), cdr: None, token: None, version: None };
            desk::held(id, draft, why::NEEDS_MANUAL_CREDIT, now)
        }
    }
}
