//! The CDR in the words of each OCPI version, with nothing that billing does not need (R01, R10): no meter id, remark, signed data or
//! series of power, current or state of charge; the one EVSE and connector; the tariff elements that priced something.

use super::json::{Object, number};
use super::price::Period;
use super::site::Place;
use super::tariff::{Dimension, Money};
use super::{AuthMethod, Cdr, CdrToken, TokenKind};
use crate::clock::Timestamp;
use crate::recipient::Ocpi;
use rust_decimal::Decimal;

/// `N/A` of a postal code where OCPI 2.1.1 insists on one.
const NO_POSTAL_CODE: &str = "-";

pub(super) fn write(cdr: &Cdr, token: &CdrToken, shape: Ocpi, alias: &dyn Fn(&str) -> String) -> String {
    let bill = &cdr.bill;
    let place = cdr.place.told(alias, &cdr.cpo);
    let tariff_id = bill.tariff.as_ref().map(|tariff| tariff.id.as_str());
    let periods = bill.periods.iter().map(|period| charging_period(period, tariff_id.filter(|_| shape != Ocpi::V211)));
    let tariffs = bill.tariff.as_ref().map(|tariff| format!("[{}]", tariff.write(shape)));
    // Told where a price could depend on it: then the periods tell it too.
    let parking_time = bill.timed.then_some(bill.parking_time_h);
    let total = if cdr.credit_of.is_some() { Money { excl_vat: -bill.total.excl_vat, incl_vat: -bill.total.incl_vat } } else { bill.total };
    let (start, end) = (bill.start.rfc3339(), bill.end.rfc3339());

    if shape == Ocpi::V211 {
        return Object::new()
            .text("id", &cdr.id)
            .text("start_date_time", &start)
            .text("stop_date_time", &end)
            .text("auth_id", &token.contract_id)
            .text("auth_method", auth_method(cdr.auth_method, shape))
            .raw("location", &location_v211(&place, tariff_id, bill.start))
            .text("currency", &bill.currency)
            .maybe_raw("tariffs", tariffs)
            .list("charging_periods", periods)
            .number("total_cost", total.excl_vat)
            .number("total_energy", bill.energy_kwh)
            .number("total_time", bill.total_time_h)
            .maybe_number("total_parking_time", parking_time)
            .text("last_updated", &cdr.last_updated.rfc3339())
            .close();
    }
    let cost = |money: Option<Money>| money.filter(|money| !money.incl_vat.is_zero()).map(|money| price(money, shape));
    let mut object = Object::new()
        .text("country_code", &cdr.cpo.country_code)
        .text("party_id", &cdr.cpo.party_id)
        .text("id", &cdr.id)
        .text("start_date_time", &start)
        .text("end_date_time", &end)
        .text("session_id", &cdr.session_id)
        .raw("cdr_token", &cdr_token(token, shape))
        .text("auth_method", auth_method(cdr.auth_method, shape))
        .maybe_text("authorization_reference", cdr.authorization_reference.as_deref())
        .raw("cdr_location", &cdr_location(&place))
        .text("currency", &bill.currency)
        .maybe_raw("tariffs", tariffs)
        .list("charging_periods", periods)
        .raw("total_cost", &price(total, shape))
        .maybe_raw("total_fixed_cost", cost(bill.costs.fixed))
        .number("total_energy", bill.energy_kwh)
        .maybe_raw("total_energy_cost", cost(bill.costs.energy))
        .number("total_time", bill.total_time_h)
        .maybe_raw("total_time_cost", cost(bill.costs.time))
        .maybe_number("total_parking_time", parking_time)
        .maybe_raw("total_parking_cost", cost(bill.costs.parking));
    if let Some(credited) = &cdr.credit_of {
        object = object.raw("credit", "true").text("credit_reference_id", credited);
    }
    object.text("last_updated", &cdr.last_updated.rfc3339()).close()
}

fn charging_period(period: &Period, tariff_id: Option<&str>) -> String {
    let volumes =
        [(Dimension::Energy, period.energy_kwh), (Dimension::Time, period.time_h), (Dimension::ParkingTime, period.parking_time_h)];
    let dimensions = volumes.into_iter().filter_map(|(dimension, volume)| Some((dimension, volume?)));
    let dimensions = dimensions.map(|(dimension, volume)| Object::new().text("type", dimension.word()).number("volume", volume).close());
    Object::new().text("start_date_time", &period.start.rfc3339()).list("dimensions", dimensions).maybe_text("tariff_id", tariff_id).close()
}

/// Price: 2.2.1 says it with and without VAT; 2.3.0 without, and what the tax is.
fn price(money: Money, shape: Ocpi) -> String {
    if shape != Ocpi::V230 {
        return Object::new().number("excl_vat", money.excl_vat).number("incl_vat", money.incl_vat).close();
    }
    let tax = money.incl_vat - money.excl_vat;
    let taxes = (!tax.is_zero()).then(|| Object::new().text("name", "VAT").number("amount", tax).close());
    Object::new().number("before_taxes", money.excl_vat).list("taxes", taxes).close()
}

fn auth_method(method: AuthMethod, shape: Ocpi) -> &'static str {
    match method {
        AuthMethod::Whitelist => "WHITELIST",
        AuthMethod::Command if shape != Ocpi::V211 => "COMMAND",
        AuthMethod::AuthRequest | AuthMethod::Command => "AUTH_REQUEST",
    }
}

fn cdr_token(token: &CdrToken, shape: Ocpi) -> String {
    let kind = match token.kind {
        TokenKind::AdHocUser => "AD_HOC_USER",
        TokenKind::AppUser => "APP_USER",
        TokenKind::Emaid if shape == Ocpi::V230 => "EMAID",
        TokenKind::Emaid | TokenKind::Other => "OTHER",
        TokenKind::Rfid => "RFID",
    };
    Object::new()
        .text("country_code", &token.country_code)
        .text("party_id", &token.party_id)
        .text("uid", &token.uid)
        .text("type", kind)
        .text("contract_id", &token.contract_id)
        .close()
}

fn coordinates(place: &Place) -> String {
    // Six decimals are the only number that both 2.1.1 (six) and 2.2.1 (five to seven) accept.
    Object::new().text("latitude", &format!("{:.6}", place.latitude)).text("longitude", &format!("{:.6}", place.longitude)).close()
}

fn cdr_location(place: &Place) -> String {
    Object::new()
        .text("id", &place.location_id)
        .maybe_text("name", place.name.as_deref())
        .text("address", &place.address)
        .text("city", &place.city)
        .maybe_text("postal_code", place.postal_code.as_deref())
        .maybe_text("state", place.state.as_deref())
        .text("country", &place.country)
        .raw("coordinates", &coordinates(place))
        .text("evse_uid", &place.evse_uid)
        .text("evse_id", &place.evse_id)
        .text("connector_id", &place.connector_id)
        .text("connector_standard", &place.standard)
        .text("connector_format", &place.format)
        .text("connector_power_type", &place.power_type)
        .close()
}

/// 2.1.1 wants a whole Location: its mandatory parts, with the one EVSE and connector.
fn location_v211(place: &Place, tariff_id: Option<&str>, as_of: Timestamp) -> String {
    let as_of = as_of.rfc3339();
    // 2.1.1 knows no two phases.
    let (power_type, phases, volts) = match place.power_type.as_str() {
        "DC" => ("DC", 1, 400),
        "AC_1_PHASE" => ("AC_1_PHASE", 1, 230),
        _ => ("AC_3_PHASE", 3, 230),
    };
    let amperes = place.max_kw.map_or(Decimal::from(16), |kw| (kw * Decimal::from(1000) / Decimal::from(phases * volts)).round());
    let connector = Object::new()
        .text("id", &place.connector_id)
        .text("standard", &place.standard)
        .text("format", &place.format)
        .text("power_type", power_type)
        .raw("voltage", &number(Decimal::from(volts)))
        .raw("amperage", &number(amperes))
        .maybe_text("tariff_id", tariff_id)
        .text("last_updated", &as_of)
        .close();
    let evse = Object::new()
        .text("uid", &place.evse_uid)
        .text("evse_id", &place.evse_id)
        .text("status", "UNKNOWN")
        .list("connectors", [connector])
        .text("last_updated", &as_of)
        .close();
    Object::new()
        .text("id", &place.location_id)
        .text("type", "UNKNOWN")
        .maybe_text("name", place.name.as_deref())
        .text("address", &place.address)
        .text("city", &place.city)
        .text("postal_code", place.postal_code.as_deref().unwrap_or(NO_POSTAL_CODE))
        .text("country", &place.country)
        .raw("coordinates", &coordinates(place))
        .list("evses", [evse])
        .text("last_updated", &as_of)
        .close()
}
