//! Tariffs, as OCPI 2.2.1 has them, less what no price needs: no texts, links, energy mixes or tariff types. Prices per kWh, per hour
//! charging, per hour connected without charging, and once; restricted by clock time, date, day of the week, energy and duration. A tariff
//! that goes by current, power or reservations is refused: it would need dimensions in the CDR that tell of the vehicle (R17, R18).

mod file;

use super::json::Object;
use crate::clock::Timestamp;
use crate::recipient::Ocpi;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// An amount of money; its currency stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Money {
    /// Without VAT.
    pub excl_vat: Decimal,
    /// With VAT; the same where no VAT applies.
    pub incl_vat: Decimal,
}

/// What a price is per (OCPI 2.2.1, Tariffs, TariffDimensionType).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dimension {
    /// Per kWh; steps of 1 Wh.
    Energy,
    /// Once.
    Flat,
    /// Per hour connected without charging; steps of 1 s.
    ParkingTime,
    /// Per hour charging; steps of 1 s.
    Time,
}

impl Dimension {
    pub(super) const ALL: [Self; 4] = [Self::Energy, Self::Flat, Self::ParkingTime, Self::Time];

    /// As OCPI writes it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Energy => "ENERGY",
            Self::Flat => "FLAT",
            Self::ParkingTime => "PARKING_TIME",
            Self::Time => "TIME",
        }
    }
}

/// A price of one dimension (OCPI 2.2.1, Tariffs, PriceComponent).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceComponent {
    /// Of what.
    pub dimension: Dimension,
    /// Per unit of the dimension, without VAT.
    pub price: Decimal,
    /// Per cent; `None` where no VAT applies.
    pub vat: Option<Decimal>,
    /// Billed in blocks of so many steps, at least 1.
    pub step_size: u32,
}

/// When an element applies (OCPI 2.2.1, Tariffs, TariffRestrictions); all that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Restrictions {
    /// From this minute of the local day.
    pub start_time: Option<u32>,
    /// Until this minute of the local day; if that is before `start_time`, the span goes over midnight.
    pub end_time: Option<u32>,
    /// From this local day, counted from 1970-01-01.
    pub start_date: Option<i64>,
    /// Until this local day, which is excluded.
    pub end_date: Option<i64>,
    /// Once so much has been taken.
    pub min_kwh: Option<Decimal>,
    /// Until so much has been taken.
    pub max_kwh: Option<Decimal>,
    /// Once the session has lasted so many seconds.
    pub min_duration: Option<i64>,
    /// Until the session has lasted so many seconds.
    pub max_duration: Option<i64>,
    /// On these local days of the week, Monday is 0; every day if empty.
    pub days: Vec<u8>,
}

/// A moment of a session, as far as restrictions ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Seconds of the local clock since 1970-01-01T00:00.
    pub(super) local: i64,
    /// Energy taken so far, in kWh.
    pub(super) kwh: Decimal,
    /// Seconds since the session began.
    pub(super) lasted: i64,
}

const DAY: i64 = 86_400;
const DAYS_OF_WEEK: [&str; 7] = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];

impl Restrictions {
    /// Whether all of them hold.
    pub(super) fn hold(&self, moment: &Moment) -> bool {
        let day = moment.local.div_euclid(DAY);
        let minute = moment.local.rem_euclid(DAY) / 60;
        let since = self.start_time.is_none_or(|start| minute >= i64::from(start));
        let until = self.end_time.is_none_or(|end| minute < i64::from(end));
        let over_midnight = matches!((self.start_time, self.end_time), (Some(start), Some(end)) if end < start);
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3).rem_euclid(7);
        (if over_midnight { since || until } else { since && until })
            && self.start_date.is_none_or(|start| day >= start)
            && self.end_date.is_none_or(|end| day < end)
            && self.min_kwh.is_none_or(|least| moment.kwh >= least)
            && self.max_kwh.is_none_or(|most| moment.kwh < most)
            && self.min_duration.is_none_or(|least| moment.lasted >= least)
            && self.max_duration.is_none_or(|most| moment.lasted < most)
            && (self.days.is_empty() || self.days.iter().any(|d| i64::from(*d) == weekday))
    }

    fn write(&self) -> String {
        let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let date = |day: i64| Timestamp(day.saturating_mul(DAY * 1000)).date();
        let days = self.days.iter().filter_map(|d| DAYS_OF_WEEK.get(usize::from(*d))).map(|d| format!("\"{d}\""));
        let object = Object::new()
            .maybe_text("start_time", self.start_time.map(time).as_deref())
            .maybe_text("end_time", self.end_time.map(time).as_deref())
            .maybe_text("start_date", self.start_date.map(date).as_deref())
            .maybe_text("end_date", self.end_date.map(date).as_deref())
            .maybe_number("min_kwh", self.min_kwh)
            .maybe_number("max_kwh", self.max_kwh)
            .maybe_number("min_duration", self.min_duration.map(Decimal::from))
            .maybe_number("max_duration", self.max_duration.map(Decimal::from));
        if self.days.is_empty() { object.close() } else { object.list("day_of_week", days).close() }
    }
}

/// Prices that apply under the same restrictions (OCPI 2.2.1, Tariffs, TariffElement).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// At least one, at most one of a dimension.
    pub prices: Vec<PriceComponent>,
    /// When they apply.
    pub restrictions: Restrictions,
}

/// A tariff without mistakes (OCPI 2.2.1, Tariffs, Tariff).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    /// The CPO's country, ISO 3166 alpha-2.
    pub country_code: String,
    /// The CPO's party id.
    pub party_id: String,
    /// At most 36 characters.
    pub id: String,
    /// ISO 4217.
    pub currency: String,
    /// A session costs at least this, without VAT and with it.
    pub min_price: Option<Money>,
    /// A session costs at most this, without VAT and with it.
    pub max_price: Option<Money>,
    /// Per dimension, the first that applies counts.
    pub elements: Vec<Element>,
    /// Sessions that begin before are not billed by it.
    pub start: Option<Timestamp>,
    /// Sessions that begin then or later are not billed by it.
    pub end: Option<Timestamp>,
    /// When it was last changed.
    pub last_updated: Timestamp,
}

impl Tariff {
    /// The price of a dimension at that moment, and the element it is in: of the first element that has one and whose restrictions hold.
    pub(super) fn price_of(&self, dimension: Dimension, moment: &Moment) -> Option<(usize, &PriceComponent)> {
        self.elements.iter().enumerate().find_map(|(at, element)| {
            let price = element.prices.iter().find(|price| price.dimension == dimension)?;
            element.restrictions.hold(moment).then_some((at, price))
        })
    }

    /// Whether any element has a price of the dimension.
    pub(super) fn prices(&self, dimension: Dimension) -> bool {
        self.elements.iter().flat_map(|element| &element.prices).any(|price| price.dimension == dimension)
    }

    /// Whether the price of anything goes by energy.
    pub(super) fn goes_by_energy(&self) -> bool {
        let restricted = |element: &Element| element.restrictions.min_kwh.is_some() || element.restrictions.max_kwh.is_some();
        self.prices(Dimension::Energy) || self.elements.iter().any(restricted)
    }

    /// The tariff in JSON. OCPI 2.1.1 knows neither its owner nor VAT nor a least or most price, and leaves them out.
    pub(super) fn write(&self, shape: Ocpi) -> String {
        let component = |price: &PriceComponent| {
            Object::new()
                .text("type", price.dimension.word())
                .number("price", price.price)
                .maybe_number("vat", price.vat.filter(|_| shape != Ocpi::V211))
                .number("step_size", Decimal::from(price.step_size))
                .close()
        };
        let element = |element: &Element| {
            let object = Object::new().list("price_components", element.prices.iter().map(component));
            let restricted = element.restrictions != Restrictions::default();
            object.maybe_raw("restrictions", restricted.then(|| element.restrictions.write())).close()
        };
        let limit = |money: Money| match shape {
            Ocpi::V211 => None,
            Ocpi::V221 => Some(Object::new().number("excl_vat", money.excl_vat).number("incl_vat", money.incl_vat).close()),
            Ocpi::V230 => Some(Object::new().number("before_taxes", money.excl_vat).number("after_taxes", money.incl_vat).close()),
        };
        let mut object = Object::new();
        if shape != Ocpi::V211 {
            object = object.text("country_code", &self.country_code).text("party_id", &self.party_id);
        }
        object = object
            .text("id", &self.id)
            .text("currency", &self.currency)
            .maybe_raw("min_price", self.min_price.and_then(limit))
            .maybe_raw("max_price", self.max_price.and_then(limit))
            .list("elements", self.elements.iter().map(element));
        if shape == Ocpi::V230 {
            // Prices are given without taxes; where no price names a rate, none applies.
            let taxed = self.elements.iter().flat_map(|element| &element.prices).any(|price| price.vat.is_some());
            object = object.text("tax_included", if taxed { "NO" } else { "N/A" });
        }
        if shape != Ocpi::V211 {
            object = object
                .maybe_text("start_date_time", self.start.map(Timestamp::rfc3339).as_deref())
                .maybe_text("end_date_time", self.end.map(Timestamp::rfc3339).as_deref());
        }
        object.text("last_updated", &self.last_updated.rfc3339()).close()
    }
}

/// The tariffs of an operator, by id.
#[derive(Debug, Clone, Default)]
pub struct Tariffs {
    list: Vec<Tariff>,
}

impl Tariffs {
    /// Reads a JSON array of OCPI 2.2.1 tariffs.
    ///
    /// # Errors
    /// All mistakes, each with its place; no value is quoted.
    pub fn parse(json: &str) -> Result<Self, Vec<String>> {
        file::read(json).map(|list| Self { list })
    }

    /// The tariff of that id, whatever its case.
    pub fn find(&self, id: &str) -> Option<&Tariff> {
        self.list.iter().find(|tariff| tariff.id.eq_ignore_ascii_case(id))
    }

    /// All tariffs.
    pub fn iter(&self) -> impl Iterator<Item = &Tariff> {
        self.list.iter()
    }
}
