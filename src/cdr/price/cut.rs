//! Cuts the course of a session into pieces that begin only where the price changes: a new piece wherever another price of any dimension
//! applies, where charging turns to idling if time has a price, and nowhere else (OCPI 2.2.1, CDRs: a charging period for every moment that
//! has relevance for the total costs; R10: and for no other).

use super::course::Course;
use super::{MOST_PERIODS, Terms, Unbillable, kwh};
use crate::cdr::json::DECIMALS;
use crate::cdr::tariff::{Dimension, Moment, PriceComponent, Tariff};
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use std::collections::BTreeSet;

const DAY: i64 = 86_400;
/// Places where the price might change; more than any sensible tariff gives in 400 days.
const MOST_CANDIDATES: usize = 400_000;

/// A piece of a session; it lasts to the beginning of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Seconds since 1970.
    pub(super) start: i64,
    /// How long it lasts; nothing, where the register jumps over a threshold.
    pub(super) seconds: i64,
    /// In tenths of a Wh.
    pub(super) energy: i64,
    /// Not charging. Told apart only if time has a price.
    pub(super) idle: bool,
}

/// A session in pieces.
pub(super) struct Cut {
    /// At least one, in order. Two may begin in one second; the library keeps such as they stand, for they are in order already.
    pub(super) pieces: Vec<Piece>,
    /// The places of the tariff's elements that gave a price.
    pub(super) used: BTreeSet<usize>,
}

/// What applies from a place on.
#[derive(PartialEq)]
struct Applies<'a> {
    energy: Option<&'a PriceComponent>,
    time: Option<&'a PriceComponent>,
    idle: bool,
    /// Charged here and now: a flat price counts where it first applies.
    flat: Option<&'a PriceComponent>,
}

pub(super) fn cut(course: &Course, terms: &Terms<'_>) -> Result<Cut, Unbillable> {
    let mut cut = Cut { pieces: Vec::new(), used: BTreeSet::new() };
    let places = match terms.tariff {
        Some(tariff) => candidates(course, tariff, terms.zone)?,
        None => vec![(course.start, 0)],
    };
    let mut before: Option<Applies<'_>> = None;
    let mut flat_due = true;
    let mut begins = Vec::new();
    for (second, energy) in places {
        let mut used = Vec::new();
        let mut applies = Applies { energy: None, time: None, idle: false, flat: None };
        if let Some(tariff) = terms.tariff {
            let local = second + offset(terms.zone, second);
            let moment = Moment { local, kwh: kwh(energy), lasted: second - course.start };
            let mut find = |dimension| {
                let (at, price) = tariff.price_of(dimension, &moment)?;
                used.push(at);
                Some(price)
            };
            applies.idle = (tariff.prices(Dimension::Time) || tariff.prices(Dimension::ParkingTime)) && course.is_idle(second);
            // Once all has been taken, another price of energy changes nothing.
            applies.energy =
                if energy < course.energy { find(Dimension::Energy) } else { before.as_ref().and_then(|before| before.energy) };
            applies.time = find(if applies.idle { Dimension::ParkingTime } else { Dimension::Time });
            applies.flat = if flat_due { find(Dimension::Flat) } else { None };
        }
        // A flat price that is due makes a piece of its own begin, whatever came before.
        let changes = applies.flat.is_some() || before.as_ref().is_none_or(|before| Applies { flat: None, ..*before } != applies);
        if changes {
            cut.used.extend(used);
            begins.push((second, energy, applies.idle));
            flat_due &= applies.flat.is_none();
            before = Some(applies);
        }
    }
    if begins.len() > MOST_PERIODS {
        return Err(Unbillable::TooManyPeriods);
    }
    let ends = begins.iter().skip(1).map(|(second, energy, _)| (*second, *energy)).chain([(course.end, course.energy)]);
    cut.pieces = begins
        .iter()
        .zip(ends)
        .map(|((start, energy, idle), (end, taken))| Piece { start: *start, seconds: end - start, energy: taken - energy, idle: *idle })
        .collect();
    Ok(cut)
}

/// Every place (second, and energy taken) before the end where the price might change; the beginning first.
fn candidates(course: &Course, tariff: &Tariff, zone: Tz) -> Result<Vec<(i64, i64)>, Unbillable> {
    let mut seconds = BTreeSet::new();
    let mut energies = BTreeSet::new();
    // Of the local day.
    let mut minutes = BTreeSet::new();
    for restrictions in tariff.elements.iter().map(|element| &element.restrictions) {
        energies.extend([restrictions.min_kwh, restrictions.max_kwh].into_iter().flatten().filter_map(tenths));
        seconds.extend(
            [restrictions.min_duration, restrictions.max_duration].into_iter().flatten().map(|lasted| course.start.saturating_add(lasted)),
        );
        minutes.extend([restrictions.start_time, restrictions.end_time].into_iter().flatten().map(i64::from));
        // At midnight the date changes, and a start without an end ends.
        let clock = restrictions.start_time.is_some() || restrictions.start_date.is_some() || restrictions.end_date.is_some();
        minutes.extend((clock || restrictions.end_time.is_some() || !restrictions.days.is_empty()).then_some(0));
    }
    if tariff.prices(Dimension::Time) || tariff.prices(Dimension::ParkingTime) {
        seconds.extend(course.idle.iter().flat_map(|(from, to)| [*from, *to]));
    }
    if !minutes.is_empty() {
        let (offsets, changes) = offsets(zone, course.start, course.end);
        // Where the clock is put forward or back, any time of day may begin or end.
        seconds.extend(changes);
        let days = (course.start - DAY).div_euclid(DAY)..=(course.end + DAY).div_euclid(DAY);
        for day in days {
            for minute in &minutes {
                // With every offset of the session: too many places do no harm, and no hour that is skipped or comes twice is missed.
                seconds.extend(offsets.iter().map(|offset| day * DAY + minute * 60 - offset));
            }
            if seconds.len() > MOST_CANDIDATES {
                return Err(Unbillable::TooManyPeriods);
            }
        }
    }
    let mut places: Vec<(i64, i64)> =
        seconds.into_iter().filter(|s| (course.start..=course.end).contains(s)).map(|s| (s, course.energy_at(s))).collect();
    places.extend(energies.into_iter().filter_map(|energy| Some((course.reached(energy)?, energy))));
    places.push((course.start, 0));
    places.retain(|place| *place < (course.end, course.energy) || *place == (course.start, 0));
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// kWh of at most four decimals as tenths of a Wh.
fn tenths(kwh: Decimal) -> Option<i64> {
    kwh.checked_mul(Decimal::from(10_i64.pow(DECIMALS)))?.to_i64()
}

/// Seconds that the local clock is ahead of UTC.
fn offset(zone: Tz, second: i64) -> i64 {
    let utc = DateTime::from_timestamp(second, 0).unwrap_or_default().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// The offsets of the local clock between two moments, and the seconds at which it changes.
fn offsets(zone: Tz, from: i64, to: i64) -> (BTreeSet<i64>, Vec<i64>) {
    let mut at = from;
    let mut now = offset(zone, from);
    let mut found = (BTreeSet::from([now]), Vec::new());
    while at < to {
        // No zone changes twice in an hour.
        let next = (at + 3600).min(to);
        let then = offset(zone, next);
        if then != now {
            let (mut low, mut high) = (at, next);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if offset(zone, middle) == now { low = middle } else { high = middle }
            }
            found.0.insert(then);
            found.1.push(high);
        }
        (at, now) = (next, then);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_changes_when_it_does() {
        // 2026-03-29T01:00Z and 2026-10-25T01:00Z in Central Europe.
        let (offsets, changes) = offsets(chrono_tz::Europe::Amsterdam, 1_767_225_600, 1_798_761_600);
        assert_eq!((offsets, changes), (BTreeSet::from([3600, 7200]), vec![1_774_746_000, 1_792_890_000]));
        assert_eq!(super::offsets(chrono_tz::UTC, 0, 10_000_000).1, Vec::<i64>::new());
    }
}
