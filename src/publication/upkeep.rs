//! What a running gateway does by itself: opens periods, closes those that are due, finishes what a restart broke off.

use super::{NotPublished, Publication, SystemNoise, sink};
use crate::clock::Timestamp;
use crate::stats::{Period, Refused};
use crate::store::Op;

/// Days after its close at which a period that could not be released is destroyed without a release: nothing is kept for good because a budget
/// was used up or a disk was full.
const PATIENCE_DAYS: i64 = 35;
const DAY: i64 = 86_400_000;

/// What a round of upkeep found. For metrics: no number of sessions or people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Periods that are open.
    pub open: usize,
    /// Periods that are due and could not be released or finished.
    pub overdue: usize,
    /// Periods released in this round.
    pub released: usize,
}

impl Publication {
    /// One round. Errors are counted and logged; the next round tries again.
    ///
    /// # Errors
    /// The store cannot be read at all.
    pub fn round(&self, now: Timestamp) -> Result<Round, NotPublished> {
        let zone = self.terms.geography.zone();
        self.open(now)?;
        let mut round = Round::default();
        for period in self.known(now)? {
            let row = self.custody.store().period(&period.to_string())?;
            let closed = row.as_ref().is_some_and(|row| row.closed.is_some());
            if !closed && period.close(zone) > now {
                round.open += usize::from(row.is_some());
                continue;
            }
            let done = if closed { self.finish(period, now) } else { self.close(period, now, &mut SystemNoise::new()) };
            // Somebody else may have been faster.
            let done = done.or_else(|why| if why.is_released() { self.finish(period, now) } else { Err(why) });
            match done.and_then(|()| self.write(period)) {
                Ok(()) => {
                    if !closed {
                        tracing::info!(period = %period, "statistics are released");
                        round.released += 1;
                    }
                }
                // Exact figures of its months are released, or of its quarter: it never can be, so nothing of it is kept.
                Err(NotPublished::Refused(Refused::Overlaps(..))) => {
                    self.discard(period, now)?;
                    tracing::info!(period = %period, "exact figures of the same sessions are released: the period is closed without a release");
                }
                Err(why) => {
                    round.overdue += 1;
                    tracing::error!(period = %period, reason = %why, "statistics could not be released, and are tried again");
                    if !closed && now.0 > period.close(zone).0.saturating_add(PATIENCE_DAYS * DAY) {
                        self.discard(period, now)?;
                        tracing::error!(period = %period, "the period is closed without a release, and what it had is destroyed");
                    }
                }
            }
        }
        Ok(round)
    }

    /// Closes a period without a release.
    ///
    /// # Errors
    /// It was not discarded.
    pub fn discard(&self, period: Period, now: Timestamp) -> Result<(), NotPublished> {
        let name = period.to_string();
        let mut ops = vec![Op::PeriodDiscard { name: name.clone(), at: now }];
        if self.custody.store().period(&name)?.is_none() {
            // Nobody was counted in it. That it is closed is kept all the same, or it would be looked at for ever.
            ops.insert(0, self.custody.vault.new_period(&name, now)?);
        }
        self.custody.store().commit_blocking(ops)?;
        self.purge(&name)
    }

    /// Opens the month and the quarter of now, so that a period in which nobody charged is released like any other.
    fn open(&self, now: Timestamp) -> Result<(), NotPublished> {
        let zone = self.terms.geography.zone();
        for period in [Period::month_of(now, zone), Period::quarter_of(now, zone)].into_iter().flatten() {
            if self.custody.store().period(&period.to_string())?.is_none() {
                self.custody.store().commit_blocking(vec![self.custody.vault.new_period(&period.to_string(), now)?])?;
            }
        }
        Ok(())
    }

    /// All periods from the first that was opened to now's.
    fn known(&self, now: Timestamp) -> Result<Vec<Period>, NotPublished> {
        let zone = self.terms.geography.zone();
        let names: Vec<Period> = self.custody.store().periods()?.iter().filter_map(|row| row.name.parse().ok()).collect();
        let mut all = Vec::new();
        for quarter in [false, true] {
            let mut at = names.iter().copied().filter(|period| period.is_quarter() == quarter).min_by_key(|period| period.begin(zone));
            // At most 200 years of months.
            while let Some(period) = at.filter(|period| period.begin(zone) <= now) {
                all.push(period);
                at = period.next().ok();
            }
        }
        Ok(all)
    }

    /// Writes a release where the configuration says, if it does.
    fn write(&self, period: Period) -> Result<(), NotPublished> {
        let (Some(dir), Some(files)) = (&self.dir, self.released(period)?) else { return Ok(()) };
        sink::write(&dir.join(period.to_string()), &files).map_err(|why| {
            tracing::error!(period = %period, reason = %why, "a release could not be written, and is kept in the store");
            NotPublished::Unwritten
        })
    }
}
