//! A release as people read it: one tidy CSV file per table, and a page with charts that needs nothing from elsewhere. Pure. It knows
//! published figures only and cannot name anything else (R21, I7): what is not in [`Figures`] cannot get onto a page.
//!
//! Every number stands with its margin, what is withheld says so, and a page made of figures that are not for publication says that first.

mod chart;
mod csv;
mod page;
mod words;

use crate::stats::{Entry, Figures, Rho};

/// What a report is made of.
#[derive(Clone, Copy)]
pub struct Papers<'a> {
    /// The published figures.
    pub figures: &'a Figures,
    /// The ledger's entries of this release.
    pub entries: &'a [Entry],
    /// What a contributor's year may cost at most.
    pub cap: Rho,
    /// Who made it, and when: a line under the title.
    pub imprint: &'a str,
    /// Recorded in a ledger for trials only: not for publication.
    pub scratch: bool,
}

/// The files of a report, each by its name: `t0.csv` … `t3.csv` for the tables there are, and `report.html`. The same papers make the same
/// bytes.
pub fn files(papers: &Papers<'_>) -> Vec<(String, Vec<u8>)> {
    let tables = papers.figures.tables.iter();
    let mut files: Vec<_> = tables.map(|table| (format!("{:?}.csv", table.table).to_lowercase(), csv::table(table))).collect();
    files.push(("report.html".to_owned(), page::page(papers).into_bytes()));
    files
}
