//! What a session costs, computed again, second by second and with exact fractions, from the text of OCPI 2.2.1 (Tariffs; CDRs, `step_size`)
//! and from nothing of ours: neither the cutting into periods nor the library that prices them is used here.

use chrono::{DateTime, Datelike, Timelike};
use chrono_tz::Tz;
use sluis::charging::ChargingSession;

/// A tariff as the test makes it; money in ten-thousandths, energy in tenths of a Wh, VAT in ten-thousandths of a per cent.
#[derive(Debug, Clone)]
pub(crate) struct TestTariff {
    pub(crate) elements: Vec<TestElement>,
    pub(crate) min: Option<(i128, i128)>,
    pub(crate) max: Option<(i128, i128)>,
}

#[derive(Debug, Clone)]
pub(crate) struct TestElement {
    /// Kind, price, VAT, step.
    pub(crate) prices: Vec<(Kind, i128, Option<i128>, i128)>,
    pub(crate) start_time: Option<u32>,
    pub(crate) end_time: Option<u32>,
    pub(crate) start_date: Option<&'static str>,
    pub(crate) end_date: Option<&'static str>,
    pub(crate) days: Vec<u32>,
    pub(crate) min_energy: Option<i128>,
    pub(crate) max_energy: Option<i128>,
    pub(crate) min_duration: Option<i64>,
    pub(crate) max_duration: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Energy,
    Flat,
    Parking,
    Time,
}

/// Exact money: this many parts of [`PARTS`].
pub(crate) type Exact = (i128, i128);
/// Parts of a unit of money: ten-thousandths of money and of kWh, seconds in an hour, and ten-thousandths of a per cent.
pub(crate) const PARTS: i128 = 10_000 * 10_000 * 3600 * 1_000_000;

#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// In tenths of a Wh.
    pub(crate) energy: i128,
    pub(crate) charging_seconds: i64,
    pub(crate) parking_seconds: i64,
    pub(crate) costs: [Option<Exact>; 4],
    pub(crate) total: Exact,
}

/// A component in use: its place in the tariff.
type Place = (usize, usize);

pub(crate) fn compute(session: &ChargingSession, tariff: &TestTariff, zone: Tz) -> Expected {
    let (start, end) = (session.started.seconds(), session.ended.unwrap().seconds());
    let idle = |second: i64| session.idle.iter().any(|span| span.from.seconds() <= second && second < span.to.seconds());
    // Readings in tenths of a Wh, rounded down; the last holds until the end.
    let mut readings: Vec<(i64, i128)> = vec![(start, 0)];
    for reading in &session.readings {
        let tenths: String = (reading.wh * rust_decimal::Decimal::TEN).floor().to_string();
        readings.push((reading.at.seconds(), tenths.split('.').next().unwrap().parse().unwrap()));
    }
    readings.push((end, readings.last().unwrap().1));
    let mut thresholds: Vec<i128> = tariff.elements.iter().flat_map(|e| [e.min_energy, e.max_energy]).flatten().collect();
    thresholds.sort_unstable();

    let mut expected = Expected { energy: readings.last().unwrap().1, ..Expected::default() };
    let mut used: [Vec<(Place, i128)>; 4] = Default::default();
    let mut flat = None;
    let active = |kind: Kind, second: i64, energy: i128| -> Option<Place> {
        let local = DateTime::from_timestamp(second, 0).unwrap().with_timezone(&zone);
        let minute = local.hour() * 60 + local.minute();
        let date = || local.format("%Y-%m-%d").to_string();
        tariff.elements.iter().enumerate().find_map(|(at, e)| {
            let price = e.prices.iter().position(|price| price.0 == kind)?;
            let clock = match (e.start_time, e.end_time) {
                (Some(from), Some(to)) if to < from => minute >= from || minute < to,
                (from, to) => from.is_none_or(|from| minute >= from) && to.is_none_or(|to| minute < to),
            };
            let holds = clock
                && e.start_date.is_none_or(|from| date().as_str() >= from)
                && e.end_date.is_none_or(|to| date().as_str() < to)
                && (e.days.is_empty() || e.days.contains(&local.weekday().num_days_from_monday()))
                && e.min_energy.is_none_or(|least| energy >= least)
                && e.max_energy.is_none_or(|most| energy < most)
                && e.min_duration.is_none_or(|least| second - start >= least)
                && e.max_duration.is_none_or(|most| second - start < most);
            holds.then_some((at, price))
        })
    };
    let mut moment = |second: i64, energy: i128| {
        if flat.is_none() {
            flat = active(Kind::Flat, second, energy);
        }
    };
    let mut take = |kind: Kind, place: Option<Place>, amount: i128| {
        if amount > 0
            && let Some(place) = place
        {
            used[kind as usize].push((place, amount));
        }
    };

    // The pair of readings that a second lies between, and what flowed before it: a fraction of the rise between them.
    let mut energy = 0;
    let mut pair = 0;
    let mut flowed = 0;
    let mut flowing = 0;
    let mut entered = false;
    let mut second = start;
    moment(start, 0);
    loop {
        // What the register jumps by in this second, before anything else happens in it.
        while pair + 1 < readings.len() && readings[pair + 1].0 <= second {
            let reached = readings[pair + 1].1;
            if energy < reached {
                let steps = thresholds.iter().copied().filter(|t| energy < *t && *t < reached).chain([reached]);
                for to in steps.collect::<Vec<_>>() {
                    moment(second, energy);
                    take(Kind::Energy, active(Kind::Energy, second, energy), to - energy);
                    energy = to;
                }
            }
            pair += 1;
            entered = false;
        }
        if second >= end {
            break;
        }
        let ((from, low), (to, high)) = (readings[pair], readings[pair + 1]);
        if !entered {
            let charging = (from..to).filter(|second| !idle(*second)).count() as i128;
            (flowed, flowing, entered) = (0, charging, true);
        }
        let flows = !idle(second) || flowing == 0;
        let all = if flowing == 0 { i128::from(to - from) } else { flowing };
        let after = flowed + i128::from(flows);
        // In parts of `all`, exactly.
        let (exact_before, exact_after) = (low * all + (high - low) * flowed, low * all + (high - low) * after);
        moment(second, energy);
        for threshold in thresholds.iter().copied().filter(|t| exact_before < *t * all && *t * all < exact_after) {
            take(Kind::Energy, active(Kind::Energy, second, energy), threshold - energy);
            energy = threshold;
            moment(second, energy);
        }
        let reached = exact_after / all;
        take(Kind::Energy, active(Kind::Energy, second, energy), reached - energy);
        let kind = if idle(second) { Kind::Parking } else { Kind::Time };
        // The whole second costs what its end does: periods begin at whole seconds.
        take(kind, active(kind, second, energy), 1);
        *(if idle(second) { &mut expected.parking_seconds } else { &mut expected.charging_seconds }) += 1;
        energy = reached;
        flowed = after;
        second += 1;
    }

    // step_size: once per session and kind, on the total of the kind, at the price and step of the last that was paid; for time charging
    // only if no parking is paid.
    let totals = [expected.energy, 1, i128::from(expected.parking_seconds), i128::from(expected.charging_seconds)];
    let parking_paid = !used[Kind::Parking as usize].is_empty();
    used[Kind::Flat as usize].extend(flat.map(|place| (place, 1)));
    for kind in [Kind::Energy, Kind::Flat, Kind::Parking, Kind::Time] {
        let component = |place: &Place| tariff.elements[place.0].prices[place.1];
        let takings = &mut used[kind as usize];
        let Some(last) = takings.last().copied() else { continue };
        if kind != Kind::Flat && !(kind == Kind::Time && parking_paid) {
            // Energy is in tenths of a Wh and steps are in Wh.
            let step = component(&last.0).3 * if kind == Kind::Energy { 10 } else { 1 };
            let total = totals[kind as usize];
            takings.push((last.0, (total + step - 1) / step * step - total));
        }
        let mut sum = (0, 0);
        for (place, amount) in takings.iter() {
            let (_, price, vat, _) = component(place);
            // Parts per unit of amount and price.
            let unit = match kind {
                Kind::Energy => 3600 * 1_000_000,
                Kind::Flat => 10_000 * 3600 * 1_000_000,
                Kind::Parking | Kind::Time => 10_000 * 1_000_000,
            };
            let cost = price * amount * unit;
            sum.0 += cost;
            sum.1 += cost / 1_000_000 * (1_000_000 + vat.unwrap_or(0));
        }
        expected.costs[kind as usize] = Some(sum);
        expected.total.0 += sum.0;
        expected.total.1 += sum.1;
    }
    let money = PARTS / 10_000;
    if let Some((excl, incl)) = tariff.min {
        expected.total = (expected.total.0.max(excl * money), expected.total.1.max(incl * money));
    }
    if let Some((excl, incl)) = tariff.max {
        expected.total = (expected.total.0.min(excl * money), expected.total.1.min(incl * money));
    }
    expected
}
