//! The four tables: what each counts, over which cells, and in which bins. Public and fixed.

use super::geography::Class;
use serde::{Deserialize, Serialize};

/// A table of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// Headline, monthly: municipality × class, and home chargers by province.
    T0,
    /// Use, quarterly: neighbourhood × class, hub × class.
    T1,
    /// Load shape, quarterly: municipality or group of municipalities × class × 48 hours.
    T2,
    /// Histograms, quarterly: class × duration, energy and hour of arrival.
    T3,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::T0, Self::T1, Self::T2, Self::T3];

    /// Those of a month (`false`) or of a quarter (`true`).
    pub fn of(quarter: bool) -> &'static [Self] {
        if quarter { &[Self::T1, Self::T2, Self::T3] } else { &[Self::T0] }
    }

    /// Whether its periods are quarters.
    pub fn is_quarterly(self) -> bool {
        self != Self::T0
    }

    /// What it counts.
    pub fn measures(self) -> &'static [Measure] {
        match self {
            Self::T0 => &[Measure::Sessions, Measure::Energy, Measure::Connected],
            Self::T1 => &[Measure::Contributors, Measure::Sessions, Measure::Energy],
            Self::T2 => &[Measure::ConnectedByHour, Measure::ChargingByHour, Measure::EnergyByHour],
            Self::T3 => &[Measure::ByDuration, Measure::ByEnergy, Measure::ByArrival],
        }
    }

    /// The measure that decides whether a measure's numbers are published: in T0 sessions and in T1 contributors decide for all, in T2 and
    /// T3 each for itself, over all its bins.
    pub fn gate(self, measure: Measure) -> Measure {
        match self {
            Self::T0 => Measure::Sessions,
            Self::T1 => Measure::Contributors,
            Self::T2 | Self::T3 => measure,
        }
    }

    /// The classes that it has cells of.
    pub fn classes(self) -> &'static [Class] {
        match self {
            Self::T0 => &[Class::Ac, Class::Dc, Class::Hpc, Class::Home],
            _ => &[Class::Ac, Class::Dc, Class::Hpc],
        }
    }
}

/// What is counted. One measure of one table is one vector over all cells and bins of that table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Contributors seen in the cell.
    Contributors,
    /// Sessions.
    Sessions,
    /// Energy taken.
    Energy,
    /// Time connected.
    Connected,
    /// Time connected by local hour, weekdays and weekends apart.
    ConnectedByHour,
    /// Time charging by local hour. A visit says only for how long it charged; that time is laid at its beginning.
    ChargingByHour,
    /// Energy by local hour, spread evenly over the time charging.
    EnergyByHour,
    /// Sessions by the time connected.
    ByDuration,
    /// Sessions by energy.
    ByEnergy,
    /// Sessions by local hour of arrival.
    ByArrival,
}

/// What published numbers are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Contributors.
    Contributors,
    /// Sessions.
    Sessions,
    /// Kilowatt-hours.
    Kwh,
    /// Hours.
    Hours,
}

/// Load shape: 24 local hours of weekdays (0 to 23), then 24 of Saturdays and Sundays (24 to 47).
pub const SHAPE_BINS: u8 = 48;
/// Local hours of arrival.
pub const ARRIVAL_BINS: u8 = 24;
/// Lower edges of the bins of time connected, in minutes; the last is open.
pub const DURATION_BINS: [u64; 12] = [0, 15, 30, 60, 120, 180, 240, 360, 480, 720, 1080, 1440];
/// Lower edges of the bins of energy, in kWh; the last is open.
pub const ENERGY_BINS: [u64; 12] = [0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80];

/// The number of a bin, from 0.
pub type Bin = u8;

impl Measure {
    /// Its bins; 1 if it has none.
    pub fn bins(self) -> u8 {
        match self {
            Self::Contributors | Self::Sessions | Self::Energy | Self::Connected => 1,
            Self::ConnectedByHour | Self::ChargingByHour | Self::EnergyByHour => SHAPE_BINS,
            Self::ByDuration | Self::ByEnergy => 12,
            Self::ByArrival => ARRIVAL_BINS,
        }
    }

    /// What its published numbers are in.
    pub fn unit(self) -> Unit {
        match self {
            Self::Contributors => Unit::Contributors,
            Self::Sessions | Self::ByDuration | Self::ByEnergy | Self::ByArrival => Unit::Sessions,
            Self::Energy | Self::EnergyByHour => Unit::Kwh,
            Self::Connected | Self::ConnectedByHour | Self::ChargingByHour => Unit::Hours,
        }
    }

    /// What its bin is called: `weekday 08:00`, `60-119 min`, `20-24 kWh`, `08:00`; `None` for a measure without bins.
    pub fn bin_name(self, bin: Bin) -> Option<String> {
        let between = |edges: &[u64], unit: &str| {
            let low = edges.get(usize::from(bin)).copied().unwrap_or_default();
            match edges.get(usize::from(bin) + 1) {
                Some(next) => format!("{low}-{} {unit}", next - 1),
                None => format!("{low} {unit} or more"),
            }
        };
        match self {
            Self::Contributors | Self::Sessions | Self::Energy | Self::Connected => None,
            Self::ConnectedByHour | Self::ChargingByHour | Self::EnergyByHour => {
                let days = if bin < 24 { "weekday" } else { "weekend" };
                Some(format!("{days} {:02}:00", bin % 24))
            }
            Self::ByDuration => Some(between(&DURATION_BINS, "min")),
            Self::ByEnergy => Some(between(&ENERGY_BINS, "kWh")),
            Self::ByArrival => Some(format!("{bin:02}:00")),
        }
    }
}

impl Unit {
    /// How many contribution units make one published unit. Contributions are counted in thousandths of a session and of a contributor, in
    /// Wh and in seconds: fine enough that scaling a vector down and rounding its parts towards zero takes nothing that anybody could see.
    pub fn size(self) -> u64 {
        match self {
            Self::Contributors | Self::Sessions | Self::Kwh => 1_000,
            Self::Hours => 3_600,
        }
    }
}
