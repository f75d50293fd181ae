//! What a release would be worth, before anything is spent: from the site register and from figures that are published already, and from nothing else.

use super::{Terms, manifest::Budget};
use crate::stats::{Figures, Kind, Ledger, Measure, Rho, Table};
use serde::Serialize;

/// What can be expected of one measure of one table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Expected {
    /// The table.
    pub table: Table,
    /// The measure.
    pub measure: Measure,
    /// Cells, bins counted.
    pub cells: usize,
    /// The standard deviation of the noise on a cell, in published units.
    pub sigma: f64,
    /// 95 of 100 numbers are within this of the truth, in published units; rounding included.
    pub margin: f64,
    /// The cell whose standard error is 10 %, in published units.
    pub ten_percent: f64,
    /// Of the last published figures of this table: cells that were published, and the middle one's margin in percent of its number.
    pub last: Option<Last>,
}

/// What the last published figures say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Last {
    /// The period.
    pub period: String,
    /// Cells that were published.
    pub published: usize,
    /// Cells that were withheld.
    pub withheld: usize,
    /// The margin of the cell in the middle, in percent of its number.
    pub median_margin_percent: Option<f64>,
}

/// Everything that can be said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// By table and measure.
    pub expected: Vec<Expected>,
    /// What a table costs, each time that it is released.
    pub costs: Vec<(Table, Rho)>,
    /// The year's budget.
    pub year: u16,
    /// What it has cost.
    pub spent: Rho,
    /// What is left.
    pub left: Rho,
    /// What a whole year of releases costs.
    pub whole_year: Rho,
}

/// Plans a year. `published` are released figures, the newest last.
pub fn plan(terms: &Terms, ledger: &Ledger, year: u16, published: &[Figures]) -> Plan {
    let mut expected = Vec::new();
    for table in Table::ALL {
        for measure in terms.parameters.of(table).measures.iter() {
            let unit = measure.measure.unit().size() as f64;
            let variance = measure.variance().map_or(0.0, |variance| variance.numerator() as f64 / variance.denominator() as f64);
            let sigma = variance.sqrt() / unit;
            expected.push(Expected {
                table,
                measure: measure.measure,
                cells: terms.geography.count(table) * usize::from(measure.measure.bins()),
                sigma,
                margin: 1.96 * sigma + measure.base as f64 / 2.0,
                ten_percent: 10.0 * sigma,
                last: published.iter().rev().find_map(|figures| last(figures, table, measure.measure)),
            });
        }
    }
    let costs: Vec<(Table, Rho)> = Table::ALL.into_iter().map(|table| (table, terms.parameters.of(table).rho)).collect();
    let whole = costs.iter().map(|(table, rho)| rho.0.saturating_mul(if table.is_quarterly() { 4 } else { 12 }));
    let whole_year = Rho(whole.fold(0, u32::saturating_add));
    let budget = Budget::of(ledger, year, Rho(0), terms.parameters.cap);
    Plan { expected, costs, year, spent: budget.spent, left: budget.left, whole_year }
}

fn last(figures: &Figures, table: Table, measure: Measure) -> Option<Last> {
    let of = figures.tables.iter().find(|of| of.table == table)?;
    let cells: Vec<_> = of.rows.iter().filter(|row| row.kind == Kind::Cell && row.measure == measure).collect();
    let mut margins: Vec<f64> =
        cells.iter().filter_map(|row| Some(100.0 * row.margin? as f64 / row.value.filter(|value| *value > 0)? as f64)).collect();
    margins.sort_by(f64::total_cmp);
    let published = cells.iter().filter(|row| row.value.is_some()).count();
    Some(Last {
        period: figures.period.to_string(),
        published,
        withheld: cells.len() - published,
        median_margin_percent: margins.get(margins.len() / 2).copied(),
    })
}
