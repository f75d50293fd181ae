//! Statistics of charging sessions that cannot be traced to a person. Pure: time is data, randomness an argument, and what a ledger or a
//! period store must keep is handed back to be kept elsewhere (I9). No clear identifier comes here, and nothing that could make one (I7).
//!
//! ```text
//!  visit ──▶ contribution (integers, one per contributor and period)
//!                 │ at the close, after the last late session
//!                 ▼
//!  clip (whole-vector L2) ──▶ sum ──▶ noise (exact discrete Gaussian) ──▶ release (threshold, rounding, totals) ──▶ figures
//!                                                                            └──▶ ledger entry, durable before the figures leave
//! ```
//! **The unit is a person.** Neighbouring inputs differ by one contributor with all its sessions of a period: all cards of a contract are one
//! contributor. Each measure of each table is one vector over all cells of that table; a contributor's vector is scaled down until its L2 norm
//! is at most R, so R is the sensitivity whatever a contributor does, and noise of variance R² / (2ρ) on every cell costs ρ
//! (zero-concentrated differential privacy; it adds up over measures, tables and periods).
//!
//! No floating point lies between a contribution and a published number; [`display`] has the only ones, to show a budget to people. The
//! method, its parameters and what an attacker may still learn: `docs/statistics.md`.

mod arithmetic;
mod clip;
mod contribution;
pub mod display;
mod figures;
mod geography;
mod ledger;
mod noise;
mod parameters;
mod period;
mod release;
mod rows;
mod table;

pub use arithmetic::{Rho, Variance};
pub use clip::{Clip, clip};
pub use contribution::{Contribution, Contributor, MOST_CONTRIBUTORS, MOST_PER_CELL, MOST_SECONDS, MOST_WH, Visit};
pub use figures::{Figures, Kind, MeasureFigures, Method, Mistake, Occupancy, Row, TableFigures};
pub use geography::{Area, Class, Geography, Grouping, Level, NotAGeography, Place};
pub use ledger::{Broken, Digest, Entry, GENESIS, Ledger, MOST_ENTRIES, Refused, Spent};
pub use noise::{NoNoise, NoRandomness, Noise, Randomness, TestNoise};
pub use parameters::{Clips, MeasureParameters, NotParameters, Parameters, TableParameters};
pub use period::{CLOSE_AFTER_DAYS, NotAPeriod, Period};
pub use release::{NoRelease, Release, release};
pub use table::{ARRIVAL_BINS, Bin, DURATION_BINS, ENERGY_BINS, Measure, SHAPE_BINS, Table, Unit};
