//! What is published, and nothing else: numbers with their margins, flags for what is withheld, and the public parameters.

use super::arithmetic::{Rho, Variance};
use super::geography::{Area, Class};
use super::ledger::Digest;
use super::period::Period;
use super::rows::totals_of;
use super::table::{Bin, Measure, Table, Unit};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How figures are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Noise: zero-concentrated differential privacy for a contributor with all its sessions.
    DifferentiallyPrivate,
    /// Exact but rounded numbers, protected by suppression alone. Not differentially private; protection rests on these rules.
    Exact,
}

/// The figures of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The period.
    pub period: Period,
    /// How they are protected.
    pub method: Method,
    /// Drawn with noise that somebody can repeat: for tests, never to be published.
    pub not_for_publication: bool,
    /// A cell with fewer contributors is withheld (with noise: but for a chance of one in a million).
    pub contributors: u32,
    /// The tables.
    pub tables: Vec<TableFigures>,
}

/// The figures of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFigures {
    /// The table.
    pub table: Table,
    /// The period.
    pub period: Period,
    /// Of its list of cells.
    pub cells: Digest,
    /// What it cost.
    pub rho: Rho,
    /// What is public of its measures.
    pub measures: Vec<MeasureFigures>,
    /// Its numbers: by area, class, measure and bin, the country first.
    pub rows: Vec<Row>,
}

/// What is public of a measure of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureFigures {
    /// The measure.
    pub measure: Measure,
    /// What its numbers are in.
    pub unit: Unit,
    /// R², in square contribution units ([`Unit::size`] of them make one published unit).
    pub square: u64,
    /// σ² of the noise on each cell and bin, in square contribution units; `None` without noise.
    pub variance: Option<Variance>,
    /// What it cost.
    pub rho: Rho,
    /// Its numbers are multiples of this.
    pub base: u64,
    /// A single cell is published if the noisy sum over its bins of the measure that decides ([`Table::gate`]) is at least this, in contribution
    /// units of that measure; `None` without noise.
    pub threshold: Option<u64>,
}

/// What a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All that lies in the area and is published: the sum of the rows of its parts ([`Kind::Cell`], [`Kind::Remainder`], [`Kind::CutOff`]).
    Total,
    /// A cell.
    Cell,
    /// Cells of the area that are withheld, together.
    Remainder,
    /// What rounding up to zero added to cells and remainders of the area, with its sign: so that sums have no bias. Never above zero.
    CutOff,
}

/// One number, or the note that it is withheld.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What it is of.
    pub kind: Kind,
    /// The area.
    pub area: Area,
    /// The class; `None` for all classes together.
    pub class: Option<Class>,
    /// The measure.
    pub measure: Measure,
    /// The bin, of a measure that has them ([`Measure::bin_name`]); a withheld cell has one row for all its bins, without a bin.
    pub bin: Option<Bin>,
    /// The number, in the unit of the measure; `None` if it is withheld.
    pub value: Option<i64>,
    /// The true number of bounded contributions lies within this distance in 95 of 100 cases; rounding included. `None` if it is withheld, and of
    /// [`Kind::CutOff`], whose uncertainty is in the totals.
    pub margin: Option<u64>,
    /// Of a withheld cell: the area whose remainder counts it; `None` if nothing does.
    pub counted_in: Option<Area>,
    /// How many published cells and cells in published remainders are in it; 0 if its number is withheld.
    pub cells: u32,
    /// Of a total: how many cells of the area are not in it, for they are withheld and counted in the remainder of a wider area or nowhere.
    pub missing: u32,
    /// Public charging points in it; 0 for homes and for what is of no place.
    pub points: u32,
    /// Of time connected without bins: published hours per hour and charging point, in thousandths. From published numbers only.
    pub occupancy: Option<Occupancy>,
}

/// Time connected per charging point and hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// In thousandths.
    pub permille: u64,
    /// The 95 % margin, in thousandths.
    pub margin: u64,
}

/// What is wrong with figures: their totals do not add up, or they say of a row what no release would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind:?} of {measure:?} in {table:?} at {area:?} does not add up")]
pub struct Mistake {
    /// The table.
    pub table: Table,
    /// The kind of row.
    pub kind: Kind,
    /// The measure.
    pub measure: Measure,
    /// The area.
    pub area: Area,
}

/// What a total is of.
type Total = (Measure, Area, Option<Class>, Option<Bin>);

impl TableFigures {
    /// SHA-256 of the table as JSON with its members in their order, without spaces.
    pub fn digest(&self) -> Digest {
        // Writing to memory, with text keys only: it cannot fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Adds up all totals again from the published numbers, and looks whether numbers are multiples of their base and none of a cell is below
    /// zero.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn verify(&self) -> Result<(), Box<Mistake>> {
        let wrong = |row: &Row| Box::new(Mistake { table: self.table, kind: row.kind, measure: row.measure, area: row.area.clone() });
        let mut sums: BTreeMap<Total, (i64, u32)> = BTreeMap::new();
        let mut parts = BTreeSet::new();
        for row in &self.rows {
            let base = self.measures.iter().find(|of| of.measure == row.measure).map_or(0, |of| of.base);
            let base = i64::try_from(base).unwrap_or_default();
            if row.value.is_some_and(|value| value.checked_rem(base) != Some(0))
                || !parts.insert((row.kind, &row.area, row.class, row.measure, row.bin))
            {
                return Err(wrong(row));
            }
            let (Some(value), Some(class)) = (row.value, row.class) else { continue };
            let sign_fits = match row.kind {
                Kind::Total => continue,
                Kind::Cell | Kind::Remainder => value >= 0 && row.cells > 0,
                Kind::CutOff => value <= 0 && row.cells == 0,
            };
            if !sign_fits {
                return Err(wrong(row));
            }
            for (area, class) in totals_of(&row.area, class, row.kind != Kind::Cell) {
                let sum = sums.entry((row.measure, area, class, row.bin)).or_default();
                *sum = (sum.0.checked_add(value).ok_or_else(|| wrong(row))?, sum.1.saturating_add(row.cells));
            }
        }
        for row in self.rows.iter().filter(|row| row.kind == Kind::Total) {
            let sum = sums.remove(&(row.measure, row.area.clone(), row.class, row.bin));
            let expected = sum.filter(|(_, cells)| *cells > 0);
            if row.value != expected.map(|(value, _)| value) || row.cells != expected.map_or(0, |(_, cells)| cells) {
                return Err(wrong(row));
            }
        }
        // What no total counts: a total was left out. A table of the country alone has none by class.
        match sums.into_iter().find(|((_, _, class, _), (_, cells))| *cells > 0 || class.is_none()) {
            Some(((measure, area, ..), _)) => Err(Box::new(Mistake { table: self.table, kind: Kind::Total, measure, area })),
            None => Ok(()),
        }
    }
}
