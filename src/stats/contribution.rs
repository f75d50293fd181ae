//! What one contributor adds to a period: whole numbers, summed over all its sessions, not yet clipped.

use super::geography::Geography;
use super::ledger::Digest;
use super::period::Period;
use super::table::{DURATION_BINS, ENERGY_BINS, Measure, Table};
use crate::clock::Timestamp;
use chrono::{Datelike, Offset, TimeZone, Timelike, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The longest visit, in seconds: 31 days. A longer one counts as its first 31.
pub const MOST_SECONDS: u64 = 31 * 86_400;
/// The most energy of a visit, in Wh: 10 MWh, more than any vehicle takes. More counts as that.
pub const MOST_WH: u64 = 10_000_000;
/// The most that one contributor's sum in one cell may be, in contribution units; more counts as that. Clipping takes far more away, and
/// products of the clip stay below 2¹²⁸ with it.
pub const MOST_PER_CELL: u64 = 1 << 40;
/// Contributors of a period.
pub const MOST_CONTRIBUTORS: usize = 20_000_000;
/// A thousandth of a session is the unit that sessions and contributors are counted in.
const ONE: u64 = 1_000;

/// Who contributed, in one period: a keyed hash that the shell makes of contract or card with a secret of that period alone. It prints as
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Contributor(pub [u8; 16]);

impl fmt::Debug for Contributor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contributor")
    }
}

/// A session that is over: what statistics know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Whose it was. All cards of a contract are one contributor.
    pub contributor: Contributor,
    /// The key of its [`Place`](super::Place).
    pub place: String,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// When it became known that it was over.
    pub known: Timestamp,
    /// Energy taken, in Wh. What a vehicle gave back is counted nowhere.
    pub wh: u64,
    /// Seconds connected.
    pub connected: u64,
    /// Seconds of these in which it charged.
    pub charging: u64,
}

impl Visit {
    /// The month that it counts in ([`Period::month_that_takes`]); `None` for an absurd time.
    pub fn month(&self, zone: Tz) -> Option<Period> {
        Period::month_that_takes(self.ended, self.known, zone).ok()
    }

    /// The quarter that it counts in.
    pub fn quarter(&self, zone: Tz) -> Option<Period> {
        Period::quarter_that_takes(self.ended, self.known, zone).ok()
    }

    /// Whether it counts in `period`.
    pub fn is_of(&self, period: Period, zone: Tz) -> bool {
        let its = if period.is_quarter() { self.quarter(zone) } else { self.month(zone) };
        its == Some(period)
    }
}

/// Where a number belongs: table, measure, cell, bin.
pub(super) type Slot = (Table, Measure, u32, u8);

/// What one contributor adds to one period, in contribution units: thousandths of sessions and contributors, Wh, seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// Of the cell lists that its cells are numbered by.
    cells: [Digest; 4],
    period: Period,
    #[serde(with = "slots")]
    sums: BTreeMap<Slot, u64>,
}

impl Contribution {
    /// Nothing yet.
    pub fn new(period: Period, geography: &Geography) -> Self {
        Self { cells: Table::ALL.map(|table| geography.digest(table)), period, sums: BTreeMap::new() }
    }

    /// Adds a visit of this contributor. Whether it counts in this period is the caller's to ask ([`Visit::is_of`]), and so is whether the
    /// contributor has opted out. `false`: the geography does not have its place, or is another than the one that this was begun with.
    pub fn add(&mut self, visit: &Visit, geography: &Geography) -> bool {
        let same = Table::of(self.period.is_quarter()).iter().all(|table| self.cells[*table as usize] == geography.digest(*table));
        let Some(cells) = geography.find(&visit.place).filter(|_| same) else { return false };
        for table in Table::of(self.period.is_quarter()) {
            if let Some(cell) = cells[*table as usize] {
                self.add_to(*table, cell, visit, geography.zone());
            }
        }
        true
    }

    fn add_to(&mut self, table: Table, cell: u32, visit: &Visit, zone: Tz) {
        let wh = visit.wh.min(MOST_WH);
        let connected = visit.connected.min(MOST_SECONDS);
        let charging = visit.charging.min(connected);
        // One second at least, for energy that was taken in less.
        let hours = if table == Table::T2 { hours(visit.begun.seconds(), connected.max(1), zone) } else { Vec::new() };
        for measure in table.measures() {
            let mut put = |bin: u8, value: u64| {
                if value > 0 {
                    let sum = self.sums.entry((table, *measure, cell, bin)).or_default();
                    *sum = if *measure == Measure::Contributors { ONE } else { sum.saturating_add(value).min(MOST_PER_CELL) };
                }
            };
            match measure {
                Measure::Contributors | Measure::Sessions => put(0, ONE),
                Measure::Energy => put(0, wh),
                Measure::Connected => put(0, connected),
                Measure::ByDuration => put(bin_of(&DURATION_BINS, connected / 60), ONE),
                Measure::ByEnergy => put(bin_of(&ENERGY_BINS, wh / 1_000), ONE),
                Measure::ByArrival => put(hour_bin(visit.begun.seconds(), zone).0 % 24, ONE),
                Measure::ConnectedByHour => spread(&hours, connected, connected, put),
                Measure::ChargingByHour => spread(&hours, charging, charging, put),
                Measure::EnergyByHour => spread(&hours, charging.max(1), wh, put),
            }
        }
    }

    /// The contributions to `period`, one per contributor, of visits in any order: of those that count in it and whose places the geography
    /// has. They are made one after another as they are asked for. For a file of sessions, or a store of them.
    pub fn gather<'a>(visits: impl IntoIterator<Item = &'a Visit>, period: Period, geography: &Geography) -> impl Iterator<Item = Self> {
        let of_period = |visit: &&Visit| visit.is_of(period, geography.zone()) && geography.knows(&visit.place);
        let mut visits: Vec<&Visit> = visits.into_iter().filter(of_period).collect();
        visits.sort_by_key(|visit| visit.contributor);
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = visits.get(at)?.contributor;
            let mut contribution = Self::new(period, geography);
            while let Some(visit) = visits.get(at).filter(|visit| visit.contributor == first) {
                contribution.add(visit, geography);
                at += 1;
            }
            Some(contribution)
        })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Its period.
    pub fn period(&self) -> Period {
        self.period
    }

    /// Whether its cells are numbered as those of `geography`.
    pub fn is_of(&self, geography: &Geography) -> bool {
        Table::of(self.period.is_quarter()).iter().all(|table| self.cells[*table as usize] == geography.digest(*table))
    }

    /// What it has of one measure of one table: cell, bin, sum.
    pub(super) fn vector(&self, table: Table, measure: Measure) -> impl Iterator<Item = (u32, u8, u64)> {
        self.sums.range((table, measure, 0, 0)..=(table, measure, u32::MAX, u8::MAX)).map(|((_, _, cell, bin), sum)| (*cell, *bin, *sum))
    }
}

/// The bin that `value` lies in.
fn bin_of(edges: &[u64], value: u64) -> u8 {
    u8::try_from(edges.partition_point(|edge| *edge <= value).saturating_sub(1)).unwrap_or_default()
}

/// 0 to 23: the local hour of a weekday; 24 to 47: of a Saturday or Sunday. With it, whether the clocks of `zone` are whole hours from UTC.
fn hour_bin(seconds: i64, zone: Tz) -> (u8, bool) {
    let Some(local) = zone.timestamp_opt(seconds, 0).single() else { return (0, true) };
    let weekend = matches!(local.weekday(), Weekday::Sat | Weekday::Sun);
    let whole = local.offset().fix().local_minus_utc() % 3_600 == 0;
    (u8::try_from(local.hour()).unwrap_or_default() % 24 + if weekend { 24 } else { 0 }, whole)
}

/// The seconds from `begin` on, cut where local hours end: of each part its bin and its seconds. Clocks change on the hour, or on the quarter
/// where they are not whole hours from UTC. At most 31 days of quarters.
fn hours(begin: i64, seconds: u64, zone: Tz) -> Vec<(u8, u64)> {
    let mut parts = Vec::new();
    let (mut from, mut left) = (begin, seconds.min(MOST_SECONDS));
    while left > 0 {
        let (bin, whole) = hour_bin(from, zone);
        let step = if whole { 3_600 } else { 900 };
        let part = u64::try_from(step - from.rem_euclid(step)).unwrap_or(1).min(left);
        parts.push((bin, part));
        from = from.saturating_add_unsigned(part);
        left -= part;
    }
    parts
}

/// Spreads `amount` evenly over the first `seconds` of `hours`. What a part gets is the difference of two amounts so far, each rounded down, so
/// all parts together get the amount.
fn spread(hours: &[(u8, u64)], seconds: u64, amount: u64, mut put: impl FnMut(u8, u64)) {
    let mut before: u64 = 0;
    let so_far = |at: u64| u64::try_from(u128::from(amount) * u128::from(at) / u128::from(seconds.max(1))).unwrap_or(u64::MAX);
    for (bin, part) in hours {
        let after = (before + part).min(seconds);
        put(*bin, so_far(after) - so_far(before));
        before = after;
    }
}

/// Serialised as a list: text formats allow no lists as keys.
mod slots {
    use super::{MOST_PER_CELL, Slot};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer>(sums: &BTreeMap<Slot, u64>, to: S) -> Result<S::Ok, S::Error> {
        sums.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Slot, u64>, D::Error> {
        let list = Vec::<(Slot, u64)>::deserialize(from)?;
        Ok(list.into_iter().map(|(slot, sum)| (slot, sum.min(MOST_PER_CELL))).collect())
    }
}
