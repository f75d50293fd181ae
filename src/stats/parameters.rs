//! The public parameters of a release: how much one contributor may count, what each table costs, and how numbers are rounded.

use super::arithmetic::{Rho, Variance};
use super::table::{Measure, Table};
use serde::{Deserialize, Serialize};

/// The least k: contributors below which a cell is not published.
const LEAST_CONTRIBUTORS: u32 = 10;
/// The most k.
const MOST_CONTRIBUTORS: u32 = 1_000;
/// The most that a year may cost a contributor: 0.36.
const MOST_A_YEAR: Rho = Rho(360_000);
/// The least variance, in square contribution units. Sums of discrete Gaussians and thresholds are then as those of continuous ones.
const LEAST_VARIANCE: u64 = 100;
/// The largest square of a clip: R < 2²³ contribution units, so that products of the clip stay below 2¹²⁸.
const MOST_SQUARE: u64 = 1 << 46;

/// How one measure of a table is bounded, noised and rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureParameters {
    /// The measure.
    pub measure: Measure,
    /// R², in square contribution units: R is the most that the vector of a contributor over all cells and bins of the table may be long.
    pub square: u64,
    /// What it costs.
    pub rho: Rho,
    /// Published numbers are multiples of it, in published units.
    pub base: u64,
}

impl MeasureParameters {
    /// The variance of the noise on each number.
    pub fn variance(&self) -> Option<Variance> {
        Variance::costing(self.square, self.rho)
    }
}

/// How one table is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableParameters {
    /// The table.
    pub table: Table,
    /// What it costs: at least what its measures do together.
    pub rho: Rho,
    /// Its measures, in the table's order.
    pub measures: Vec<MeasureParameters>,
}

impl TableParameters {
    /// Those of one of its measures.
    pub fn of(&self, measure: Measure) -> Option<&MeasureParameters> {
        self.measures.iter().find(|of| of.measure == measure)
    }
}

/// All of them. They are public: the protection does not rest on their secrecy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// A cell with fewer contributors is published with a chance of at most one in a million.
    pub contributors: u32,
    /// The most that all releases of a calendar year may cost a contributor.
    pub cap: Rho,
    /// The tables, T0 to T3.
    pub tables: [TableParameters; 4],
}

/// What is wrong with parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotParameters {
    /// The least number of contributors lies outside 10 to 1,000.
    #[error("the least number of contributors must be from 10 to 1000")]
    Contributors,
    /// The yearly cap is above 0.36.
    #[error("the yearly cap may be lowered below 0.36, not raised")]
    Cap,
    /// A table lacks a measure, has one twice or has one of another table.
    #[error("a table's measures are not its own")]
    Measures,
    /// The measures of a table cost more than the table.
    #[error("the measures of a table cost more than the table")]
    Split,
    /// A clip or the variance that follows from it lies outside what can be counted exactly.
    #[error("a clip and its share of the budget make a variance that cannot be drawn exactly")]
    Variance,
    /// A number is to be rounded to a multiple of 0, or of more than 1,000,000.
    #[error("a rounding base must be from 1 to 1000000")]
    Base,
}

/// The clips of a period: the most one contributor counts, per measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clips {
    /// Sessions.
    pub sessions: u32,
    /// Energy in kWh.
    pub kwh: u32,
    /// Connected and charging time in hours.
    pub hours: u32,
}

impl Clips {
    /// 8 sessions, 150 kWh, 100 hours.
    pub const MONTH: Self = Self { sessions: 8, kwh: 150, hours: 100 };
    /// 16 sessions, 300 kWh, 250 hours.
    pub const QUARTER: Self = Self { sessions: 16, kwh: 300, hours: 250 };

    /// R² of a measure, in square contribution units.
    fn square(self, measure: Measure) -> u64 {
        use super::table::Unit;
        let of = match measure.unit() {
            // √2 contributors: somebody seen in one cell counts whole, in two almost, in many in part.
            Unit::Contributors => return 2_000_000,
            Unit::Sessions => self.sessions,
            Unit::Kwh => self.kwh,
            Unit::Hours => self.hours,
        };
        let radius = u64::from(of).saturating_mul(measure.unit().size());
        radius.saturating_mul(radius)
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self::new(Clips::MONTH, Clips::QUARTER)
    }
}

impl Parameters {
    /// The usual ones with these clips: at least 10 contributors, 0.36 a year; 0.010 for T0, 0.024 for T1, 0.018 for T2 and for T3, each in
    /// equal parts for its measures; all numbers to the nearest ten.
    pub fn new(month: Clips, quarter: Clips) -> Self {
        let table = |table: Table, rho: u32| {
            let clips = if table.is_quarterly() { quarter } else { month };
            let count = u32::try_from(table.measures().len()).unwrap_or(1);
            let of = |measure: &Measure| MeasureParameters {
                measure: *measure,
                square: clips.square(*measure),
                rho: Rho(rho / count),
                base: 10,
            };
            TableParameters { table, rho: Rho(rho), measures: table.measures().iter().map(of).collect() }
        };
        let tables = [table(Table::T0, 10_000), table(Table::T1, 24_000), table(Table::T2, 18_000), table(Table::T3, 18_000)];
        Self { contributors: LEAST_CONTRIBUTORS, cap: MOST_A_YEAR, tables }
    }

    /// Those of a table.
    pub fn of(&self, table: Table) -> &TableParameters {
        &self.tables[table as usize]
    }

    /// Looks whether a release may be made with them.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(&self) -> Result<(), NotParameters> {
        if !(LEAST_CONTRIBUTORS..=MOST_CONTRIBUTORS).contains(&self.contributors) {
            return Err(NotParameters::Contributors);
        }
        if self.cap > MOST_A_YEAR {
            return Err(NotParameters::Cap);
        }
        for (table, of) in Table::ALL.into_iter().zip(&self.tables) {
            if of.table != table || !of.measures.iter().map(|m| m.measure).eq(table.measures().iter().copied()) {
                return Err(NotParameters::Measures);
            }
            let cost = of.measures.iter().try_fold(Rho(0), |sum, m| sum.plus(m.rho)).ok_or(NotParameters::Split)?;
            if cost > of.rho {
                return Err(NotParameters::Split);
            }
            for measure in &of.measures {
                let enough = measure.variance().is_some_and(|variance| variance.ceil() >= LEAST_VARIANCE);
                if !enough || !(1..=MOST_SQUARE).contains(&measure.square) {
                    return Err(NotParameters::Variance);
                }
                if !(1..=1_000_000).contains(&measure.base) {
                    return Err(NotParameters::Base);
                }
            }
        }
        Ok(())
    }
}
