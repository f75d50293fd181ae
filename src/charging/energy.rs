//! Energy from meter readings: what was taken since the beginning, never falling, whatever the readings say.

use super::facts::digest;
use super::{Reading, Span};
use crate::clock::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Readings kept of a session for each quantity. Two days of quarters of an hour are 192. Beyond it neighbours are merged: the first and the
/// last stay, and so does the energy.
pub const MAX_READINGS: usize = 512;
/// The highest value of a register, in Wh: 10 TWh. Anything above is no reading.
const MAX_REGISTER: i64 = 10_000_000_000_000;
/// The most that is taken between two readings, in Wh: 2 MWh, twice the battery of the largest lorry. A longer step is a leap: the register was
/// not ready, or the meter was exchanged.
const MAX_STEP: i64 = 2_000_000;
/// The most that a session is billed, in Wh: 10 MWh.
const MAX_SESSION: i64 = 10_000_000;
/// The most that a station delivers, in Wh in each hour: 4 MW, a little over the megawatt charging system.
const MAX_POWER: i64 = 4_000_000;
/// What may be taken in no time at all, in Wh: for clocks that are off by five minutes.
const NO_TIME: i64 = 333_000;
/// What is believed of a start of zero that the readings after it are far from, in Wh in each hour: 500 kW, the fastest of the common stations.
const ZERO_POWER: i64 = 500_000;
/// And what it may be off at once, in Wh.
const ZERO_SLOP: i64 = 1_000;
/// And by how many times what is taken from it may be quicker than what is taken afterwards.
const ZERO_PACE: i64 = 10;
/// What a register may fall without having fallen, in Wh: half of the last digit of one that shows tenths of a kWh.
pub(super) const ROUNDING: i64 = 50;
/// How far outside the session the time of something of it may lie, in milliseconds.
pub(super) const SLOP: i64 = 60_000;

/// What a meter value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Quantity {
    /// `Energy.Active.Import.Register`.
    Register,
    /// `Energy.Active.Import.Interval`, of the intervals between samples.
    Interval,
    /// The same of intervals that are aligned to the clock: another series, to be added to no other.
    ClockInterval,
}

impl Quantity {
    pub(super) const ALL: [Self; 3] = [Self::Register, Self::Interval, Self::ClockInterval];

    /// By `measurand` and `context`; an absent measurand is the register (OCPP 1.6 §7.31; 2.1 Part 2, SampledValueType). `None` for what
    /// is not imported active energy: what a vehicle gives back is never subtracted.
    pub(super) fn of(measurand: Option<&str>, context: Option<&str>) -> Option<Self> {
        let is = |word: Option<&str>, name: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(name));
        if measurand.is_none() || is(measurand, "Energy.Active.Import.Register") {
            Some(Self::Register)
        } else if !is(measurand, "Energy.Active.Import.Interval") {
            None
        } else if is(context, "Sample.Clock") {
            Some(Self::ClockInterval)
        } else {
            Some(Self::Interval)
        }
    }
}

/// Whether a register can have this value.
pub(super) fn is_register(wh: &Decimal) -> bool {
    !wh.is_sign_negative() && *wh <= Decimal::from(MAX_REGISTER) || wh.is_zero()
}

/// One value, in Wh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Timestamp, Decimal, bool)", into = "(Timestamp, Decimal, bool)")]
pub(super) struct Sample {
    pub(super) at: Timestamp,
    pub(super) wh: Decimal,
    /// Its time is not the station's.
    pub(super) odd: bool,
}

impl From<(Timestamp, Decimal, bool)> for Sample {
    fn from((at, wh, odd): (Timestamp, Decimal, bool)) -> Self {
        Self { at, wh, odd }
    }
}

impl From<Sample> for (Timestamp, Decimal, bool) {
    fn from(sample: Sample) -> Self {
        (sample.at, sample.wh, sample.odd)
    }
}

/// All that was read of the meter in a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meter {
    /// `meterStart` and `meterStop` of 1.6: the first and the last whatever the clocks say, and the total that the station stands for.
    pub(super) start: Option<Sample>,
    pub(super) stop: Option<Sample>,
    /// By [`Quantity`], each in the order of time, one for each moment.
    series: [Vec<Sample>; 3],
    /// Up to where intervals were merged, by [`Quantity`]: what comes later from before is not added again.
    merged: [Option<Timestamp>; 3],
}

impl Meter {
    /// Adds a value. Of two for one moment the higher stays.
    pub(super) fn add(&mut self, quantity: Quantity, sample: Sample) {
        let merged = &mut self.merged[quantity as usize];
        let series = &mut self.series[quantity as usize];
        // Of an interval without a time nobody knows whether it was counted.
        let lost = quantity != Quantity::Register && (sample.odd || sample.wh > Decimal::from(MAX_STEP));
        if lost || merged.is_some_and(|merged| sample.at <= merged) {
            return;
        }
        match series.binary_search_by_key(&sample.at, |other| other.at) {
            Ok(at) => series[at].wh = series[at].wh.max(sample.wh),
            Err(at) => series.insert(at, sample),
        }
        if series.len() <= MAX_READINGS {
            return;
        }
        if quantity == Quantity::Register {
            // An inner reading of a stretch without a fall says nothing of the energy.
            let inner = |i: &usize| !breaks(&series[i - 1], &series[*i]) && !breaks(&series[*i], &series[i + 1]);
            let narrow = |i: &usize| series[i + 1].at.0.saturating_sub(series[i - 1].at.0);
            let places = 1..series.len() - 1;
            let at = places.clone().filter(inner).min_by_key(narrow).or_else(|| places.min_by_key(narrow));
            series.remove(at.unwrap_or(1));
        } else {
            // The oldest two: what is still to come is seldom older.
            let first = series.remove(0);
            series[0].wh += first.wh;
            *merged = Some(first.at);
        }
    }

    /// The moments of all values that have the station's own time.
    pub(super) fn moments(&self) -> impl Iterator<Item = Timestamp> {
        self.series.iter().flatten().filter(|sample| !sample.odd).map(|sample| sample.at)
    }

    /// The last value of the register.
    pub(super) fn last(&self) -> Option<Sample> {
        self.series[Quantity::Register as usize].last().or(self.start.as_ref()).copied()
    }

    /// The energy of the session.
    ///
    /// The register counts if there are two values of it. If those are `meterStart` and `meterStop` alone, intervals give the shape and they the
    /// total, for intervals may be incomplete. Without a register the intervals are added up.
    pub(super) fn measure(&self, window: &Window) -> Measured {
        let series = |quantity: Quantity| self.series[quantity as usize].iter().copied();
        let mut fits = |sample: &Sample| window.has(sample, self.start.is_some(), self.stop.is_some());
        let mut inner: Vec<Sample> = series(Quantity::Register).filter(&mut fits).collect();
        if window.mended {
            // Their times do not give their order, so it is that of their values; and no speed can be told from them.
            inner.sort_by_key(|sample| sample.wh);
            inner.iter_mut().for_each(|sample| sample.odd = true);
        }
        let mut start = self.start.map(|start| Sample { at: window.from, ..start });
        let stop = self.stop.map(|stop| Sample { at: window.to.unwrap_or(stop.at), ..stop });
        if let (Some(start), Some(stop)) = (&start, &stop)
            && start.wh < stop.wh
            && !breaks(start, stop)
        {
            // They are the total. Readings that agree with each other and not with them are of another register, such as one that counts
            // from the meter's first day; where the meter was exchanged, it fell on the way.
            let between = start.wh - Decimal::from(ROUNDING)..=stop.wh + Decimal::from(ROUNDING);
            let agree = inner.windows(2).all(|pair| !breaks(&pair[0], &pair[1]));
            if agree && !inner.iter().all(|sample| between.contains(&sample.wh)) {
                inner.clear();
            }
        }
        let zeroed = start.is_some_and(|start| is_no_zero(&start, inner.iter().chain(&stop)));
        if zeroed {
            start = None;
        }
        let bare = inner.is_empty();
        let register: Vec<Sample> = start.into_iter().chain(inner).chain(stop).collect();
        let mut intervals: Vec<Sample> = series(Quantity::Interval).filter(&mut fits).collect();
        if intervals.is_empty() {
            intervals = series(Quantity::ClockInterval).filter(&mut fits).collect();
        }
        let mut measured = of_register(window, &register);
        measured.fell |= zeroed;
        if (measured.told && !bare) || intervals.is_empty() {
            return measured;
        }
        let total = measured.total().filter(|total| !total.is_zero());
        let mut shaped = of_intervals(window, &intervals, total);
        if let (Some(total), Some(stop)) = (total, stop) {
            shaped.go(window.clamp(stop.at), total, false);
        }
        Measured { fell: measured.fell && total.is_none(), ..shaped }
    }
}

/// The times between which readings count.
pub(super) struct Window {
    pub(super) from: Timestamp,
    /// The end if there was one.
    pub(super) to: Option<Timestamp>,
    /// The times of the station contradict each other: its order of readings does not count.
    pub(super) mended: bool,
}

impl Window {
    fn has(&self, sample: &Sample, starts: bool, stops: bool) -> bool {
        let slop = |fixed: bool| if fixed { 0 } else { SLOP };
        let late = self.to.is_some_and(|to| sample.at.0 > to.0.saturating_add(slop(stops)));
        let early = sample.at.0 < self.from.0.saturating_sub(slop(starts));
        self.mended || !(late || early)
    }

    /// Whether a reading is left out because its time lies well outside.
    pub(super) fn is_far_from(&self, at: Timestamp) -> bool {
        !self.has(&Sample { at, wh: Decimal::ZERO, odd: false }, false, false)
    }

    fn clamp(&self, at: Timestamp) -> Timestamp {
        let at = at.max(self.from);
        self.to.map_or(at, |to| at.min(to.max(self.from)))
    }
}

/// What the meter says.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// As [`ChargingSession::readings`](super::ChargingSession::readings), but for the one at the beginning.
    pub(super) readings: Vec<Reading>,
    /// Between two readings nothing was taken.
    pub(super) idle: Vec<Span>,
    /// The register fell or leapt.
    pub(super) fell: bool,
    /// Whether energy can be told at all.
    pub(super) told: bool,
}

impl Measured {
    fn total(&self) -> Option<Decimal> {
        self.readings.last().filter(|_| self.told).map(|last| last.wh)
    }

    /// The next reading; the time goes on and the energy does not fall.
    fn go(&mut self, at: Timestamp, wh: Decimal, gap: bool) {
        let last = self.readings.last().copied();
        let at = last.map_or(at, |last| at.max(last.at));
        let wh = last.map_or(wh, |last| wh.max(last.wh)).min(Decimal::from(MAX_SESSION));
        if let Some(last) = last.filter(|last| last.at < at && last.wh == wh && !gap) {
            match self.idle.last_mut().filter(|span| span.to == last.at) {
                Some(span) => span.to = at,
                None => self.idle.push(Span { from: last.at, to: at }),
            }
        }
        self.readings.push(Reading { at, wh: wh.normalize() });
    }
}

/// Whether no meter that is well goes from one value to the other.
fn breaks(a: &Sample, b: &Sample) -> bool {
    let step = b.wh - a.wh;
    let time = b.at.0.saturating_sub(a.at.0).max(0);
    let most = Decimal::from(time) * Decimal::from(MAX_POWER) / Decimal::from(3_600_000) + Decimal::from(NO_TIME);
    step < Decimal::from(-ROUNDING) || step > Decimal::from(MAX_STEP) || (!a.odd && !b.odd && step > most)
}

/// Whether a start of zero stands for a meter that the station did not know yet: a jump that no common station makes, and nothing of what
/// follows is nearly as quick. A register that counts each session from zero goes on as it began.
fn is_no_zero<'a>(start: &Sample, after: impl Iterator<Item = &'a Sample>) -> bool {
    let after: Vec<&Sample> = after.filter(|sample| !sample.wh.is_zero()).collect();
    let [first, .., _] = &after[..] else { return false };
    if !start.wh.is_zero() || start.odd || after.iter().any(|sample| sample.odd) {
        return false;
    }
    let hours = |a: &Sample, b: &Sample| Decimal::from(b.at.0.saturating_sub(a.at.0).max(0)) / Decimal::from(3_600_000);
    let took = hours(start, first);
    let pace = |pair: &[&Sample]| (pair[1].wh - pair[0].wh) / hours(pair[0], pair[1]).max(Decimal::new(1, 3));
    let quickest = after.windows(2).map(pace).max().unwrap_or_default().max(Decimal::ZERO);
    let likely = |power: Decimal| first.wh <= power * took + Decimal::from(ZERO_SLOP);
    !likely(Decimal::from(ZERO_POWER)) && !likely(quickest * Decimal::from(ZERO_PACE))
}

/// The energy of a register: what it grew in each stretch without a fall or leap. What was taken across one is not billed. A single value
/// that its neighbours do not agree with is a slip, and left out.
fn of_register(window: &Window, samples: &[Sample]) -> Measured {
    let mut measured = Measured::default();
    let mut stretches: Vec<Vec<Sample>> = Vec::new();
    for (i, sample) in samples.iter().enumerate() {
        let previous = stretches.last().and_then(|stretch| stretch.last()).copied();
        match previous {
            Some(previous) if breaks(&previous, sample) => {
                if samples.get(i + 1).is_some_and(|next| !breaks(&previous, next)) {
                    continue;
                }
                measured.fell = true;
                stretches.push(vec![*sample]);
            }
            Some(_) => stretches.last_mut().into_iter().for_each(|stretch| stretch.push(*sample)),
            None => stretches.push(vec![*sample]),
        }
    }
    let mut base = Decimal::ZERO;
    for stretch in &stretches {
        let [first, .., last] = &stretch[..] else {
            // A value on its own tells no energy.
            stretch.iter().for_each(|only| measured.go(window.clamp(only.at), base, true));
            continue;
        };
        measured.told = true;
        for (i, sample) in stretch.iter().enumerate() {
            let wh = sample.wh.max(first.wh).min(last.wh.max(first.wh));
            measured.go(window.clamp(sample.at), base + wh - first.wh, i == 0);
        }
        base += (last.wh - first.wh).max(Decimal::ZERO);
    }
    measured
}

/// The energy of intervals, added up, at most `total`.
fn of_intervals(window: &Window, samples: &[Sample], total: Option<Decimal>) -> Measured {
    let mut measured = Measured { told: true, ..Measured::default() };
    let mut sum = Decimal::ZERO;
    measured.go(window.from, sum, true);
    for sample in samples {
        sum += sample.wh;
        measured.go(window.clamp(sample.at), total.map_or(sum, |total| sum.min(total)), false);
    }
    measured
}

/// A short text that changes when a bill would.
pub(super) fn gist(parts: &impl Serialize) -> String {
    digest(&serde_json::to_vec(parts).unwrap_or_default())
}
