//! What one contributor adds to a period: whole numbers, summed over all its sessions, not yet clipped.

use super::geography::Geography;
use super::ledger::Digest;
use super::period::Period;
use super::table::{DURATION_BINS, ENERGY_BINS, Measure, Table};
use crate::clock::Timestamp;
use chrono::{Datelike, TimeZone, Timelike, Weekday};
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
/// All time zones of today are whole quarters of an hour from UTC.
const QUARTER_HOUR: i64 = 900;

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
        for measure in table.measures() {
            let mut put = |bin: u8, value: u64| {
                let sum = self.sums.entry((table, *measure, cell, bin)).or_default();
                *sum = if *measure == Measure::Contributors { ONE } else { sum.saturating_add(value).min(MOST_PER_CELL) };
            };
            match measure {
                Measure::Contributors | Measure::Sessions => put(0, ONE),
                Measure::Energy => put(0, wh),
                Measure::Connected => put(0, connected),
                Measure::ByDuration => put(bin_of(&DURATION_BINS, connected / 60), ONE),
                Measure::ByEnergy => put(bin_of(&ENERGY_BINS, wh / 1_000), ONE),
                Measure::ByArrival => put(hour_bin(visit.begun.seconds(), zone) % 24, ONE),
                Measure::ConnectedByHour => by_hour(visit.begun, connected, connected, zone, put),
                Measure::ChargingByHour => {
                    let charging = visit.charging.min(connected);
                    by_hour(visit.begun, charging, charging, zone, put);
                }
                Measure::EnergyByHour => by_hour(visit.begun, visit.charging.min(connected).max(1), wh, zone, put),
            }
        }
        self.sums.retain(|_, sum| *sum > 0);
    }

    /// The contributions of all contributors to `period`: only of visits that count in it, and whose places the geography has. For a file of
    /// sessions; a running gateway adds up as sessions end.
    pub fn gather<'a>(visits: impl IntoIterator<Item = &'a Visit>, period: Period, geography: &Geography) -> BTreeMap<Contributor, Self> {
        let mut all: BTreeMap<Contributor, Self> = BTreeMap::new();
        for visit in visits {
            if visit.is_of(period, geography.zone()) && geography.knows(&visit.place) {
                if all.len() >= MOST_CONTRIBUTORS && !all.contains_key(&visit.contributor) {
                    continue;
                }
                all.entry(visit.contributor).or_insert_with(|| Self::new(period, geography)).add(visit, geography);
            }
        }
        all
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

/// 0 to 23: the local hour of a weekday; 24 to 47: of a Saturday or Sunday.
fn hour_bin(seconds: i64, zone: Tz) -> u8 {
    let Some(local) = zone.timestamp_opt(seconds, 0).single() else { return 0 };
    let weekend = matches!(local.weekday(), Weekday::Sat | Weekday::Sun);
    u8::try_from(local.hour()).unwrap_or_default() % 24 + if weekend { 24 } else { 0 }
}

/// Spreads `amount` evenly over the `seconds` from `begun` on. What a bin gets is the difference of two amounts so far, each rounded down, so
/// that all bins together get the amount.
fn by_hour(begun: Timestamp, seconds: u64, amount: u64, zone: Tz, mut put: impl FnMut(u8, u64)) {
    let begin = begun.seconds();
    let Some(end) = i64::try_from(seconds).ok().and_then(|seconds| begin.checked_add(seconds)) else { return };
    let so_far = |at: i64| -> u64 {
        let part = u128::from(amount) * u128::from(at.abs_diff(begin)) / u128::from(seconds.max(1));
        u64::try_from(part).unwrap_or(u64::MAX)
    };
    let mut from = begin;
    // At most 31 days of hours, in steps of at most an hour: the clocks change at whole quarters of an hour.
    while from < end {
        let bin = hour_bin(from, zone);
        let mut to = from;
        while to < end && hour_bin(to, zone) == bin && to.abs_diff(from) < 3_600 {
            to = ((to.div_euclid(QUARTER_HOUR) + 1) * QUARTER_HOUR).min(end);
        }
        put(bin, so_far(to) - so_far(from));
        from = to;
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
