//! What a session costs: cut into charging periods that begin only where the price changes, and priced by `ocpi-tariffs`.
//!
//! Times are taken to the second and energy to the tenth of a Wh, both rounded down. The price is computed from whole seconds; what is
//! written into the CDR are hours of four decimals, rounded down in such a way that the parts sum to the whole, and that no reader who
//! computes with them arrives at another number of steps than we do.

mod course;
mod cut;

use super::json::{DECIMALS, Object};
use super::tariff::{Dimension, Money, Tariff};
use crate::charging::ChargingSession;
use crate::clock::Timestamp;
use crate::recipient::Ocpi;
use chrono_tz::Tz;
use course::Course;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// The most charging periods a CDR carries; at a hundred bytes or two each.
pub const MOST_PERIODS: usize = 4_000;

/// By what a session is billed.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The tariff; without one, everything is free.
    pub tariff: Option<&'a Tariff>,
    /// The zone that the tariff's clock times and dates are in.
    pub zone: Tz,
    /// The currency of a bill without a tariff, ISO 4217.
    pub currency: &'a str,
}

/// What was taken, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// When the session began, to the second.
    pub start: Timestamp,
    /// When it ended, to the second.
    pub end: Timestamp,
    /// Energy in kWh, at most four decimals, rounded down.
    pub energy_kwh: Decimal,
    /// From start to end in hours, at most four decimals, rounded down; where time has a price, the sum of time charging and not charging,
    /// each rounded down.
    pub total_time_h: Decimal,
    /// Of which not charging; nothing where time has no price, for then it is not told.
    pub parking_time_h: Decimal,
    /// ISO 4217.
    pub currency: String,
    /// The tariff, with the elements that priced something; `None` if nothing did.
    pub tariff: Option<Tariff>,
    /// Time has a price somewhere in the tariff.
    pub timed: bool,
    /// The charging periods, at least one, in the order of time.
    pub periods: Vec<Period>,
    /// The cost, dimension by dimension, each rounded to four decimals.
    pub costs: Costs,
    /// The cost in all, rounded to four decimals, the tariff's least and most price applied.
    pub total: Money,
}

/// A charging period: it ends where the next begins, and the last with the session. It has at least one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// When it begins, to the second.
    pub start: Timestamp,
    /// Energy in kWh, if there was any and it matters to the price.
    pub energy_kwh: Option<Decimal>,
    /// Time charging in hours, if it matters to the price or there is nothing else to tell.
    pub time_h: Option<Decimal>,
    /// Time not charging in hours, if it matters to the price or there is nothing else to tell.
    pub parking_time_h: Option<Decimal>,
}

/// The cost, dimension by dimension; `None` where nothing was priced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Costs {
    /// Of energy.
    pub energy: Option<Money>,
    /// Of time charging.
    pub time: Option<Money>,
    /// Of time not charging.
    pub parking: Option<Money>,
    /// Once.
    pub fixed: Option<Money>,
}

/// Why a session cannot be billed. Closed words: they go into logs, metrics and the operator's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unbillable {
    /// It still runs.
    Running,
    /// Its times make no sense: the end before the start, or outside the years 2000 to 2099.
    OddTimes,
    /// It lasted longer than 400 days.
    TooLong,
    /// Its readings fall, go back in time, are below zero or above a GWh.
    OddReadings,
    /// It has more than [`MOST_PERIODS`] charging periods.
    TooManyPeriods,
    /// Its tariff was not yet or no longer valid when it began.
    TariffNotValid,
    /// `ocpi-tariffs` refused to price it.
    Unpriced,
}

/// Bills a session.
///
/// # Errors
/// Why it cannot be billed.
pub fn bill(session: &ChargingSession, terms: &Terms<'_>) -> Result<Bill, Unbillable> {
    let course = Course::of(session)?;
    let begun = Timestamp(course.start * 1000);
    if terms.tariff.is_some_and(|t| t.start.is_some_and(|start| begun < start) || t.end.is_some_and(|end| begun >= end)) {
        return Err(Unbillable::TariffNotValid);
    }
    let cut::Cut { pieces, used } = cut::cut(&course, terms)?;
    let (costs, total) = match terms.tariff {
        Some(tariff) => price(&course, &pieces, tariff, terms.zone)?,
        None => Default::default(),
    };
    let tariff = terms.tariff.and_then(|tariff| {
        let limited = tariff.min_price.is_some() || tariff.max_price.is_some();
        let kept = |at: &usize| used.contains(at) || (used.is_empty() && limited);
        let elements: Vec<_> = (0..tariff.elements.len()).filter(kept).filter_map(|at| tariff.elements.get(at).cloned()).collect();
        (!elements.is_empty()).then(|| Tariff { elements, ..tariff.clone() })
    });

    let timed = terms.tariff.is_some_and(|t| t.prices(Dimension::Time) || t.prices(Dimension::ParkingTime));
    let metered = !timed || terms.tariff.is_some_and(Tariff::goes_by_energy);
    let mut clock = [0, 0];
    let periods = pieces
        .iter()
        .map(|piece| {
            let seconds = &mut clock[usize::from(piece.idle)];
            let before = hours(*seconds);
            *seconds += piece.seconds;
            let energy_kwh = (metered && piece.energy > 0).then(|| kwh(piece.energy));
            let volume = (energy_kwh.is_none() || timed && piece.seconds > 0).then(|| hours(*seconds) - before);
            Period {
                start: Timestamp(piece.start * 1000),
                energy_kwh,
                time_h: volume.filter(|_| !piece.idle),
                parking_time_h: volume.filter(|_| piece.idle),
            }
        })
        .collect();
    let idle: i64 = course.idle.iter().map(|(from, to)| to - from).sum();
    let lasted = course.end - course.start;
    let parking_time_h = if timed { hours(idle) } else { Decimal::ZERO };
    Ok(Bill {
        start: begun,
        end: Timestamp(course.end * 1000),
        energy_kwh: kwh(course.energy),
        total_time_h: if timed { parking_time_h + hours(lasted - idle) } else { hours(lasted) },
        parking_time_h,
        currency: terms.tariff.map_or(terms.currency, |tariff| &tariff.currency).to_owned(),
        tariff,
        timed,
        periods,
        costs,
        total,
    })
}

/// Has the library price the pieces, and applies the least and most price.
fn price(course: &Course, pieces: &[cut::Piece], tariff: &Tariff, zone: Tz) -> Result<(Costs, Money), Unbillable> {
    use ocpi_tariffs::{Version, cdr, price, tariff as tariffs};
    let moment = |second: i64| Timestamp(second * 1000).rfc3339();
    let dimension = |kind: Dimension, volume: &str| Object::new().text("type", kind.word()).raw("volume", volume).close();
    let periods = pieces.iter().map(|piece| {
        // Hours with as many decimals as there are: the library rounds them to the nanosecond, so it computes with our seconds.
        let hours = (Decimal::from(piece.seconds) / Decimal::from(3600)).to_string();
        let time = if piece.idle { Dimension::ParkingTime } else { Dimension::Time };
        let energy = (piece.energy > 0).then(|| dimension(Dimension::Energy, &kwh(piece.energy).to_string()));
        let time = (piece.seconds > 0 || energy.is_none()).then(|| dimension(time, &hours));
        let dimensions = energy.into_iter().chain(time);
        Object::new().text("start_date_time", &moment(piece.start)).list("dimensions", dimensions).close()
    });
    let record = Object::new()
        .text("country_code", &tariff.country_code)
        .text("party_id", &tariff.party_id)
        .text("currency", &tariff.currency)
        .text("start_date_time", &moment(course.start))
        .text("end_date_time", &moment(course.end))
        .raw("total_cost", r#"{"excl_vat":0}"#)
        .number("total_energy", kwh(course.energy))
        .number("total_time", Decimal::ZERO)
        .list("charging_periods", periods)
        .close();
    // The library compares limits as pairs of both amounts; OCPI has each amount keep to its own limit. We apply them below.
    let unlimited = Tariff { min_price: None, max_price: None, ..tariff.clone() }.write(Ocpi::V221);
    let record = cdr::parse_with_version(&record, Version::V221).map_err(|_| Unbillable::Unpriced)?;
    let unlimited = tariffs::parse_with_version(&unlimited, Version::V221).map_err(|_| Unbillable::Unpriced)?;
    let report = cdr::price(&record.cdr, price::TariffSource::single(unlimited.tariff), zone).map_err(|_| Unbillable::Unpriced)?;
    let report = report.ignore_warnings();

    let money = |price: ocpi_tariffs::Price| {
        let excl_vat = Decimal::from(price.excl_vat).normalize();
        Money { excl_vat, incl_vat: price.incl_vat.map_or(excl_vat, |amount| Decimal::from(amount).normalize()) }
    };
    let costs = Costs {
        energy: report.total_energy_cost.calculated.map(money),
        time: report.total_charging_time_cost.calculated.map(money),
        parking: report.total_idle_cost.calculated.map(money),
        fixed: report.total_fixed_cost.calculated.map(money),
    };
    let mut total = report.total_cost.calculated.map(money).unwrap_or_default();
    if let Some(least) = tariff.min_price {
        total = Money { excl_vat: total.excl_vat.max(least.excl_vat), incl_vat: total.incl_vat.max(least.incl_vat) };
    }
    if let Some(most) = tariff.max_price {
        total = Money { excl_vat: total.excl_vat.min(most.excl_vat), incl_vat: total.incl_vat.min(most.incl_vat) };
    }
    Ok((costs, total))
}

/// Tenths of a Wh as kWh: exact.
fn kwh(tenths: i64) -> Decimal {
    Decimal::new(tenths, DECIMALS).normalize()
}

/// Seconds as hours of four decimals, rounded down: of whole seconds no number of steps is ever left unfinished or begun by it.
fn hours(seconds: i64) -> Decimal {
    Decimal::new(seconds * 10_i64.pow(DECIMALS) / 3600, DECIMALS).normalize()
}
