//! The exact mode, for those who must publish numbers without noise: what could tell of one person is withheld, and with it enough else that
//! nobody can compute it from the rest. **It is not differentially private.** Who knows nine of ten contributors learns the tenth's part from
//! whether the cell is there, and nothing of it protects against what a later release adds; protection rests on these rules alone.
//!
//! 1. A number is unsafe if fewer than k contributors are in it, or if the second largest could tell the largest to within p %:
//!    X − x₁ − x₂ < p % of x₁ (the p% rule). All cards of a contract are one contributor, so a fleet cannot hide in many cards. A cell is unsafe
//!    if any of its measures is, and then all of them are withheld. Totals are numbers like others.
//! 2. Totals are published, so more must be withheld: until for each withheld number the interval that fits all published ones reaches 20 % of
//!    its value beyond it on both sides ([`withholding`], by sums where they suffice and by linear programming over the whole hierarchy of areas
//!    and classes where they do not). A register or a table that is too large for that is refused ([`MOST_TOTALS`], [`intervals::MOST_PROGRAMMES`]).
//! 3. What is withheld under one total is safe by rule 1 together as well ([`unions`]): their sum follows from what is published.
//! 4. What is published is rounded to the nearest ten.
//!
//! Only T0 and T1 can be made so, and never the months' T0 and the T1 of their quarter: they count the same sessions in the same municipalities, so what
//! one withholds could be told from the other. The load shapes and histograms of T2 and T3 have hundreds of numbers of the same few contributors, which bound
//! each other in more ways than sums; nothing that we could check would cover them. Contributions are not clipped here, so that numbers are true.

mod hierarchy;
mod intervals;
mod unions;
mod withholding;

use super::arithmetic::Rho;
use super::contribution::{Contribution, MOST_CONTRIBUTORS};
use super::figures::{Figures, MeasureFigures, Method, TableFigures};
use super::geography::Geography;
use super::ledger::{Ledger, Refused};
use super::period::Period;
use super::release::{NoRelease, Release};
use super::table::Table;
use crate::clock::Timestamp;
use hierarchy::{Hierarchy, MOST_TOTALS};
use serde::{Deserialize, Serialize};

/// The rules of the exact mode. Who knows them knows more of what is withheld; they are published all the same, with the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// k: fewer contributors are withheld; 10 to 1,000.
    pub contributors: u32,
    /// p, in percent; 10 to 100.
    pub percent: u32,
    /// How far the interval of a withheld number must reach beyond it, in percent of it; 20 to 100.
    pub interval: u32,
    /// Published numbers are multiples of it; 10 to 1,000,000.
    pub base: u64,
}

impl Default for Rules {
    /// Ten contributors, 10 %, 20 %, to the nearest ten.
    fn default() -> Self {
        Self { contributors: 10, percent: 10, interval: 20, base: 10 }
    }
}

impl Rules {
    fn are_strict(self) -> bool {
        (10..=1_000).contains(&self.contributors)
            && (10..=100).contains(&self.percent)
            && (20..=100).contains(&self.interval)
            && (10..=1_000_000).contains(&self.base)
    }
}

/// Makes a release without noise of T0 or T1, as [`release`](super::release()) does with it.
///
/// # Errors
/// Why nothing is released.
#[expect(clippy::too_many_arguments, reason = "time and all that is kept elsewhere are arguments")]
pub fn release_exact(
    period: Period,
    table: Table,
    geography: &Geography,
    contributions: impl IntoIterator<Item = Contribution>,
    rules: Rules,
    ledger: &Ledger,
    at: Timestamp,
    code: &str,
) -> Result<Release, NoRelease> {
    if !rules.are_strict() {
        return Err(NoRelease::Rules);
    }
    if !matches!(table, Table::T0 | Table::T1) || table.is_quarterly() != period.is_quarter() {
        return Err(NoRelease::Table);
    }
    if at < period.close(geography.zone()) {
        return Err(NoRelease::Open);
    }
    ledger.allows_exact(table, period)?;
    let mut hierarchy = Hierarchy::new(table, geography, rules);
    if hierarchy.totals() > MOST_TOTALS {
        return Err(NoRelease::TooLarge);
    }
    for (count, contribution) in contributions.into_iter().enumerate() {
        if count >= MOST_CONTRIBUTORS {
            return Err(NoRelease::TooMany);
        }
        if contribution.period() != period || !contribution.is_of(geography) {
            return Err(NoRelease::Contribution);
        }
        hierarchy.add(&contribution);
    }
    let withheld = hierarchy.withheld().map_err(|intervals::OutOfProgrammes| NoRelease::TooLarge)?;
    let measures = table.measures().iter().map(|measure| MeasureFigures {
        measure: *measure,
        unit: measure.unit(),
        square: 0,
        variance: None,
        rho: Rho(0),
        base: rules.base,
        threshold: None,
    });
    let made = TableFigures {
        table,
        period,
        cells: geography.digest(table),
        rho: Rho(0),
        measures: measures.collect(),
        rows: hierarchy.rows(&withheld, rules.base),
    };
    let entry = ledger.next(&made, None, code, at).ok_or(Refused::Full)?;
    let figures =
        Figures { period, method: Method::Exact, not_for_publication: false, contributors: rules.contributors, tables: vec![made] };
    Ok(Release { figures, entries: vec![entry] })
}
