//! What a session costs: cut into charging periods where the price changes, and priced by `ocpi-tariffs`.

use super::tariff::{Money, Tariff};
use crate::charging::ChargingSession;
use crate::clock::Timestamp;
use chrono_tz::Tz;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

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
    /// From start to end in hours, at most four decimals, rounded down.
    pub total_time_h: Decimal,
    /// Of which not charging.
    pub parking_time_h: Decimal,
    /// ISO 4217.
    pub currency: String,
    /// The tariff, with the elements that priced something; `None` if nothing did.
    pub tariff: Option<Tariff>,
    /// The charging periods, at least one, in the order of time.
    pub periods: Vec<Period>,
    /// The cost, dimension by dimension.
    pub costs: Costs,
    /// The cost in all, the tariff's least and most price applied.
    pub total: Money,
}

/// A charging period: it ends where the next begins, and the last with the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// When it begins, to the second.
    pub start: Timestamp,
    /// Energy in kWh, if it matters to the price.
    pub energy_kwh: Option<Decimal>,
    /// Time charging in hours, if it matters to the price.
    pub time_h: Option<Decimal>,
    /// Time not charging in hours, if it matters to the price.
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
    /// Its readings fall, go back in time, or are more than a GWh.
    OddReadings,
    /// It has more charging periods than a CDR may carry.
    TooManyPeriods,
    /// Its tariff was not yet or no longer valid when it began.
    TariffNotValid,
    /// The price could not be computed.
    Unpriced,
}

/// Bills a session.
///
/// # Errors
/// Why it cannot be billed.
pub fn bill(session: &ChargingSession, terms: &Terms<'_>) -> Result<Bill, Unbillable> {
    let _ = terms;
    session.ended.ok_or(Unbillable::Running)?;
    Err(Unbillable::Unpriced)
}
