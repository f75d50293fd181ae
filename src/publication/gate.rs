//! The gate: what a session that ended adds to statistics, decided before anything is kept. Who objects, whoever cannot be told for certain and
//! what the register does not know is dropped here; a home adds to the monthly table alone, where it is told by province (R13).

use super::gathering::Stay;
use super::register;
use crate::cdr::site::Site;
use crate::charging::ChargingSession;
use crate::clock::Timestamp;
use crate::custody::Custody;
use crate::stats::Period;
use crate::store::{Op, StoreError};
use crate::vault::VaultError;
use crate::vault::contributors::Person;
use chrono_tz::Tz;
use rust_decimal::prelude::ToPrimitive;

/// Decides what counts. Has no memory: all it knows is in the vault and in the store.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// By its clocks periods begin and end.
    pub zone: Tz,
}

impl Gate {
    /// The changes that a session which ended makes, to be committed with the rest of what billing does with it. `site` is where it was;
    /// `counts` is whether it took anything; `first` is whether it was not billed before. A session counts once, in the first period that was
    /// open; what becomes known later changes that period as long as it is open, and nothing afterwards.
    ///
    /// # Errors
    /// The store or the vault cannot be read: begin again.
    pub fn pass(
        &self,
        session: &ChargingSession,
        site: Option<&Site>,
        counts: bool,
        first: bool,
        custody: &Custody,
        now: Timestamp,
    ) -> Result<Vec<Op>, VaultError> {
        let mut ops = Vec::new();
        let Some(ended) = session.ended.map(|ended| ended.min(now)) else { return Ok(ops) };
        let person = match (&session.token, counts) {
            (Some(token), true) => custody.vault.person(&token.code)?.filter(|person| person.counts),
            _ => None,
        };
        for quarter in [false, true] {
            let there = self.period_with(session, quarter, custody)?;
            let stay = site.filter(|site| !(quarter && site.place.home)).map(|site| stay(session, site, ended));
            let wanted = stay.zip(person.as_ref());
            match (wanted, there) {
                (Some((stay, person)), Some((period, _))) => ops.extend(self.put(session, &period, person, &stay, custody, now)?),
                (Some((stay, person)), None) => {
                    if let Some(period) = self.target(ended, now, first, quarter, custody.store())? {
                        ops.extend(self.put(session, &period, person, &stay, custody, now)?);
                    }
                }
                (None, Some((period, session))) => ops.push(Op::VisitDrop { period, session }),
                (None, None) => {}
            }
        }
        Ok(ops)
    }

    /// The open period that a session is in already.
    fn period_with(&self, session: &ChargingSession, quarter: bool, custody: &Custody) -> Result<Option<(String, [u8; 16])>, VaultError> {
        let (store, vault) = (custody.store(), &custody.vault);
        for row in store.periods()?.into_iter().filter(|row| row.closed.is_none()) {
            let same_length = row.name.parse::<Period>().is_ok_and(|period| period.is_quarter() == quarter);
            if same_length && let Some(key) = vault.period_key(&row.name)? {
                let digest = key.session(&session.id);
                if store.has_visit(&row.name, &digest)? {
                    return Ok(Some((row.name, digest)));
                }
            }
        }
        Ok(None)
    }

    /// The period that a session counts in: the one it ended in, or, where that is closed, the next that is open. A session that was billed
    /// before, and is in no open period, may have counted already: it counts only if its own period is open still.
    fn target(
        &self,
        ended: Timestamp,
        now: Timestamp,
        first: bool,
        quarter: bool,
        store: &crate::store::Store,
    ) -> Result<Option<Period>, StoreError> {
        let of = |at| if quarter { Period::quarter_of(at, self.zone) } else { Period::month_of(at, self.zone) };
        let taken = if quarter { Period::quarter_that_takes } else { Period::month_that_takes }(ended, now, self.zone);
        let (Ok(own), Ok(mut period)) = (of(ended), taken) else { return Ok(None) };
        // Also where a clock went back, or somebody released from a file.
        while store.period(&period.to_string())?.is_some_and(|row| row.closed.is_some()) {
            let Ok(next) = period.next() else { return Ok(None) };
            period = next;
        }
        Ok((first || period == own).then_some(period))
    }

    fn put(
        &self,
        session: &ChargingSession,
        period: &dyn ToString,
        person: &Person,
        stay: &Stay,
        custody: &Custody,
        now: Timestamp,
    ) -> Result<Option<Op>, VaultError> {
        let (store, vault, period) = (custody.store(), &custody.vault, period.to_string());
        if store.period(&period)?.is_none() {
            let open = vault.new_period(&period, now)?;
            match store.commit_blocking(vec![open]) {
                Ok(()) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(key) = vault.period_key(&period)? else { return Ok(None) }; // released meanwhile
        let text = serde_json::to_string(stay).unwrap_or_default(); // numbers and one text
        Ok(Some(vault.visit(&key, &period, &session.id, person, text)?))
    }
}

fn stay(session: &ChargingSession, site: &Site, ended: Timestamp) -> Stay {
    let begun = session.started.min(ended);
    let idle: i64 = session.idle.iter().map(|span| span.to.0.saturating_sub(span.from.0).max(0)).sum();
    let charging = ended.0.saturating_sub(begun.0).saturating_sub(idle).max(0) / 1000;
    let wh = session.readings.last().and_then(|reading| reading.wh.trunc().to_u64()).unwrap_or(0);
    Stay { place: register::key(site).to_owned(), begun, ended, wh, charging: u64::try_from(charging).unwrap_or(0) }
}
