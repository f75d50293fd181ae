//! Publication: what statistics need of the world. Sessions that end pass the gate and are kept, sealed, until their period closes; the engine
//! ([`crate::stats`]) makes a release of them; the release becomes durable together with its entry in the ledger and the end of the period's secret;
//! only then do its bytes leave, and every later request gets the same.
//!
//! ```text
//! billing ──▶ gate ──▶ store (sealed visits) ──▶ close: gathering ──▶ stats::release ──▶ files ──▶ store: one change ──▶ sink, admin page
//!               └ drops who objects, before anything is kept                                         └──▶ receipt of destruction
//! ```
//! What leaves is made from a release of the engine and nothing else (R21): the sink takes files, files are made from [`Publishable`], and that from
//! what the engine released. No room here sees an identifier (I7): the vault names contributors by digests that hold for one period.

pub mod close;
mod code;
pub mod files;
mod gate;
pub mod gathering;
pub mod manifest;
pub mod offline;
mod people;
pub mod plan;
pub mod receipt;
pub mod register;
pub mod scratch;
pub mod signature;
pub mod sink;
mod upkeep;
pub mod verify;

use crate::clock::Timestamp;
use crate::custody::{Custody, SecretError};
use crate::stats::{
    self, Broken, Figures, Geography, Ledger, Method, NoRandomness, NoRelease, Parameters, Period, Randomness, Refused, Table,
};
use crate::store::StoreError;
use crate::vault::VaultError;
pub use code::code;
pub use gate::Gate;
use gathering::Gathering;
use manifest::Manifest;
pub use people::People;
use ring::rand::{SecureRandom, SystemRandom};
use std::path::PathBuf;
use std::sync::Arc;

/// How a release is made: all of it public.
#[derive(Debug)]
pub struct Terms {
    /// Where things are counted.
    pub geography: Geography,
    /// Clips, costs and rounding.
    pub parameters: Parameters,
    /// How figures are protected.
    pub method: Method,
}

/// Publishes the statistics of one gateway.
pub struct Publication {
    /// Keys, vault and store.
    pub custody: Arc<Custody>,
    /// How releases are made.
    pub terms: Terms,
    /// Where releases are written to besides the store.
    pub dir: Option<PathBuf>,
}

/// What may be published: a release of the engine. Nothing else becomes files (R21).
pub struct Publishable<'a>(&'a stats::Release);

impl<'a> Publishable<'a> {
    /// Takes what the engine released.
    pub fn of(release: &'a stats::Release) -> Self {
        Self(release)
    }

    /// Its figures.
    pub fn figures(&self) -> &Figures {
        &self.0.figures
    }

    /// Its entries in the ledger.
    pub fn entries(&self) -> &[stats::Entry] {
        &self.0.entries
    }
}

/// A release, not yet recorded.
pub(crate) struct Made {
    pub(crate) release: stats::Release,
    pub(crate) manifest: Manifest,
    /// With the new entries.
    pub(crate) ledger: Ledger,
}

/// Why nothing was published. Nothing of a session is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// The ledger refuses.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The engine refuses, or has no noise.
    #[error(transparent)]
    NoRelease(#[from] NoRelease),
    /// The ledger's chain is broken.
    #[error("the ledger: {0}")]
    Ledger(#[from] Broken),
    /// A line of the ledger cannot be read.
    #[error("the ledger has a line that is no entry")]
    LedgerForm,
    /// The period was closed without a release, or its sessions are gone.
    #[error("the period was closed without a release, and what it had is destroyed")]
    Discarded,
    /// Nobody was counted yet in that period, nor before it.
    #[error("statistics began after this period")]
    Before,
    /// The gateway has counted sessions of the period itself.
    #[error("this gateway has counted sessions of the period itself: release it without a file of sessions")]
    Counted,
    /// Noise that can be repeated is for scratch ledgers.
    #[error("noise that can be repeated is for a scratch ledger only")]
    Repeatable,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// It is released and kept, but could not be written where the configuration says.
    #[error("it is released, but could not be written to statistics.dir")]
    Unwritten,
    /// The signing key cannot be had.
    #[error("the signing key: {0}")]
    Key(#[from] SecretError),
}

impl Terms {
    /// The rules of exact tables: the usual ones, with the least number of contributors that is asked for.
    fn rules(&self) -> stats::Rules {
        stats::Rules { contributors: self.parameters.contributors, ..stats::Rules::default() }
    }

    /// Looks whether the ledger allows a release of a period at all, before anything is read.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn allowed(&self, ledger: &Ledger, period: Period) -> Result<(), Refused> {
        let tables = Table::of(period.is_quarter());
        // Exact tables cost no budget; but what was released in one way is not released in another.
        if self.method == Method::Exact {
            let found = tables.iter().find(|table| ledger.find(**table, period).is_some());
            let free = found.map_or(Ok(()), |table| Err(Refused::Released(*table, period)));
            return free.and_then(|()| ledger.allows_exact(exact_table(period), period));
        }
        ledger.allows(tables, period, &self.parameters)
    }

    /// Makes a release of what was gathered, and its manifest.
    pub(crate) fn release(
        &self,
        period: Period,
        gathering: Gathering,
        mut ledger: Ledger,
        at: Timestamp,
        scratch: bool,
        randomness: &mut dyn Randomness,
    ) -> Result<Made, NotPublished> {
        let contributions = gathering.contributions(period, &self.geography);
        let tables = Table::of(period.is_quarter());
        let rules = (self.method == Method::Exact).then(|| self.rules());
        let release = match self.method {
            Method::DifferentiallyPrivate => {
                stats::release(period, tables, &self.geography, contributions, &self.parameters, &ledger, at, code(), randomness)?
            }
            Method::Exact => {
                stats::release_exact(period, exact_table(period), &self.geography, contributions, self.rules(), &ledger, at, code())?
            }
        };
        for entry in &release.entries {
            ledger.append(entry.clone())?;
        }
        let span = [period.begin(self.geography.zone()), period.end(self.geography.zone())];
        let manifest = Manifest::new(&release, &ledger, &self.parameters, rules, [span[0], span[1], at], scratch);
        Ok(Made { release, manifest, ledger })
    }
}

/// The table of a period that can be made without noise.
fn exact_table(period: Period) -> Table {
    if period.is_quarter() { Table::T1 } else { Table::T0 }
}

/// The operating system's generator, by ring.
pub struct SystemNoise(SystemRandom);

impl SystemNoise {
    /// The generator.
    #[expect(clippy::new_without_default, reason = "nobody wants noise by default")]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Randomness for SystemNoise {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.fill(bytes).map_err(|_| NoRandomness)
    }

    fn is_fit_for_publication(&self) -> bool {
        true
    }
}
