//! The release of a period: bounded contributions, summed, noised, and worded as figures with their ledger entries.

use super::clip::{Clip, clip};
use super::contribution::{Contribution, MOST_CONTRIBUTORS};
use super::figures::{Figures, MeasureFigures, Method, TableFigures};
use super::geography::Geography;
use super::ledger::{Entry, Ledger, Refused};
use super::noise::{NoNoise, Noise, Randomness};
use super::parameters::{NotParameters, Parameters};
use super::period::Period;
use super::rows::{Sums, rows, single_threshold};
use super::table::Table;
use crate::clock::Timestamp;
use std::borrow::Borrow;

/// A release, made but not yet recorded: the entries must be durable before the figures leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// What is published.
    pub figures: Figures,
    /// One entry per table, to be appended to the ledger in their order.
    pub entries: Vec<Entry>,
}

/// Why nothing was released. Nothing is spent then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRelease {
    /// The ledger refuses.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A parameter is wrong.
    #[error(transparent)]
    Parameters(#[from] NotParameters),
    /// No noise could be drawn.
    #[error(transparent)]
    Noise(#[from] NoNoise),
    /// The period has not closed: late sessions may still come.
    #[error("the period has not closed yet")]
    Open,
    /// A table is of the other kind of period, or named twice, or none is named.
    #[error("a table is not one of this period, or named twice")]
    Table,
    /// A contribution is of another period or of another list of cells.
    #[error("a contribution is of another period or another register")]
    Contribution,
    /// A rule of the exact mode is laxer than it may be.
    #[error("a rule of the exact mode is laxer than it may be")]
    Rules,
    /// An exact table hangs together in more numbers than can be checked in bounded time.
    #[error("an exact table hangs together in more numbers than can be checked: it takes fewer areas, or noise")]
    TooLarge,
    /// There are more contributors than [`MOST_CONTRIBUTORS`].
    #[error("there are too many contributors")]
    TooMany,
}

/// Makes the release of some tables of a period, at the moment `at`, by the code of the version `code`.
///
/// Each contribution is of another contributor. They may be lent, or handed over one after another; what is kept of them is the sums. With the same arguments
/// and the same randomness the figures are the same, byte for byte, in whatever order the contributions come.
///
/// # Errors
/// Why nothing is released; nothing is spent then.
#[expect(clippy::too_many_arguments, reason = "time, randomness and all that is kept elsewhere are arguments")]
pub fn release<C: Borrow<Contribution>>(
    period: Period,
    tables: &[Table],
    geography: &Geography,
    contributions: impl IntoIterator<Item = C>,
    parameters: &Parameters,
    ledger: &Ledger,
    at: Timestamp,
    code: &str,
    randomness: &mut dyn Randomness,
) -> Result<Release, NoRelease> {
    allowed(period, tables, geography, parameters, ledger, at)?;
    let mut sums: Vec<Sums> = tables.iter().map(|table| Sums::zero(*table, geography)).collect();
    let mut room: Vec<u64> = Vec::new();
    for (count, contribution) in contributions.into_iter().enumerate() {
        if count >= MOST_CONTRIBUTORS {
            return Err(NoRelease::TooMany);
        }
        let contribution = contribution.borrow();
        if contribution.period() != period || !contribution.is_of(geography) {
            return Err(NoRelease::Contribution);
        }
        for sums in &mut sums {
            add(contribution, sums, parameters, &mut room);
        }
    }
    let not_for_publication = !randomness.is_fit_for_publication();
    let mut noise = Noise::new(randomness);
    for sums in &mut sums {
        disturb(sums, parameters, &mut noise)?;
    }
    let figures = sums.iter().map(|sums| words(sums, period, geography, parameters)).collect::<Result<Vec<_>, _>>()?;
    let mut after = ledger.clone();
    for table in &figures {
        let entry = after.next(table, Some(parameters.of(table.table)), code, at).ok_or(NotParameters::Variance)?;
        after.append(entry).map_err(|_| Refused::Full)?;
    }
    let entries = after.entries()[ledger.entries().len()..].to_vec();
    let contributors = parameters.contributors;
    Ok(Release {
        figures: Figures { period, method: Method::DifferentiallyPrivate, not_for_publication, contributors, tables: figures },
        entries,
    })
}

/// Looks whether the tables may be released now.
pub(super) fn allowed(
    period: Period,
    tables: &[Table],
    geography: &Geography,
    parameters: &Parameters,
    ledger: &Ledger,
    at: Timestamp,
) -> Result<(), NoRelease> {
    parameters.check()?;
    let of_period = tables.iter().enumerate().all(|(n, table)| table.is_quarterly() == period.is_quarter() && !tables[..n].contains(table));
    if tables.is_empty() || !of_period {
        return Err(NoRelease::Table);
    }
    if at < period.close(geography.zone()) {
        return Err(NoRelease::Open);
    }
    Ok(ledger.allows(tables, period, parameters)?)
}

/// Adds the clipped vectors of a contributor.
fn add(contribution: &Contribution, sums: &mut Sums, parameters: &Parameters, room: &mut Vec<u64>) {
    let table = sums.table;
    for (measure, sum) in parameters.of(table).measures.iter().zip(&mut sums.of) {
        room.clear();
        room.extend(contribution.vector(table, measure.measure).map(|(_, _, part)| part));
        clip(room, Clip { square: measure.square });
        let bins = usize::from(measure.measure.bins());
        for ((cell, bin, _), part) in contribution.vector(table, measure.measure).zip(&*room) {
            // A contribution from outside may number cells and bins that are not there: they are no part of the vector.
            if let Some(sum) = sum.get_mut(cell as usize * bins + usize::from(bin)).filter(|_| usize::from(bin) < bins) {
                // At most 2²³ of each of 20 million contributors.
                *sum = sum.saturating_add_unsigned(*part);
            }
        }
    }
}

/// Adds noise to every cell and bin: also to those that nobody was in, for that is what must not be told.
fn disturb(sums: &mut Sums, parameters: &Parameters, noise: &mut Noise<'_>) -> Result<(), NoRelease> {
    for (measure, sums) in parameters.of(sums.table).measures.iter().zip(&mut sums.of) {
        let variance = measure.variance().ok_or(NotParameters::Variance)?;
        for sum in sums {
            *sum = sum.saturating_add(noise.gaussian(variance)?);
        }
    }
    Ok(())
}

/// The figures of a table, from its noisy sums and public parameters alone.
fn words(sums: &Sums, period: Period, geography: &Geography, parameters: &Parameters) -> Result<TableFigures, NotParameters> {
    let table = sums.table;
    let of = parameters.of(table);
    let measures = of.measures.iter().map(|measure| {
        Ok(MeasureFigures {
            measure: measure.measure,
            unit: measure.measure.unit(),
            square: measure.square,
            variance: Some(measure.variance().ok_or(NotParameters::Variance)?),
            rho: measure.rho,
            base: measure.base,
            threshold: Some(single_threshold(table, measure.measure, parameters).ok_or(NotParameters::Variance)?),
        })
    });
    Ok(TableFigures {
        table,
        period,
        cells: geography.digest(table),
        rho: of.rho,
        measures: measures.collect::<Result<_, _>>()?,
        rows: rows(sums, period, geography, parameters).ok_or(NotParameters::Variance)?,
    })
}
