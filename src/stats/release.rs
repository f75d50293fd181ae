//! The release of a period.

use super::contribution::Contribution;
use super::figures::Figures;
use super::geography::Geography;
use super::ledger::{Entry, Ledger, Refused};
use super::noise::{NoNoise, Randomness};
use super::parameters::{NotParameters, Parameters};
use super::period::Period;
use super::table::Table;
use crate::clock::Timestamp;

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
    #[error("the period closes later")]
    Open,
    /// A table is of the other kind of period, or named twice, or none is named.
    #[error("a table is not one of this period")]
    Table,
    /// A contribution is of another period or of another list of cells.
    #[error("a contribution is of another period or another register")]
    Contribution,
    /// There are more contributors than [`MOST_CONTRIBUTORS`](super::MOST_CONTRIBUTORS).
    #[error("there are too many contributors")]
    TooMany,
}

/// Makes the release of some tables of a period, at the moment `at`, by the code of the version `code`.
///
/// Each contribution is of another contributor. They may be read one after another; what is kept of them is the sums. With the same arguments
/// and the same randomness the figures are the same, byte for byte, in whatever order the contributions come.
///
/// # Errors
/// Why nothing is released; nothing is spent then.
#[expect(clippy::too_many_arguments, reason = "time, randomness and all that is kept elsewhere are arguments")]
pub fn release(
    _period: Period,
    _tables: &[Table],
    _geography: &Geography,
    _contributions: impl IntoIterator<Item = Contribution>,
    _parameters: &Parameters,
    _ledger: &Ledger,
    _at: Timestamp,
    _code: &str,
    _randomness: &mut dyn Randomness,
) -> Result<Release, NoRelease> {
    todo!()
}
