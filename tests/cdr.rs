//! Prices and CDRs: computed again from the text of OCPI, compared with golden ones in the documentation, and searched for what must not be
//! in them.

#[path = "cdr/recomputation.rs"]
mod recomputation;

use chrono_tz::Tz;
use proptest::prelude::*;
use recomputation::{Exact, Kind, PARTS, TestElement, TestTariff, compute};
use rust_decimal::Decimal;
use sluis::cdr::price::{Bill, Terms, Unbillable, bill};
use sluis::cdr::site::Sites;
use sluis::cdr::tariff::{Money, Tariffs};
use sluis::cdr::{AuthMethod, Cdr, CdrToken, Party, TokenKind};
use sluis::charging::{ChargingSession, Ending, Reading, Span, Token};
use sluis::clock::Timestamp;
use sluis::recipient::Ocpi;
use std::collections::{BTreeMap, BTreeSet};

// ── sessions and tariffs ────────────────────────────────────────────────────────────────────────────────────────────────────

fn moment(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp()
}

/// Readings and idle spans in milliseconds since the start.
fn session(start_ms: i64, lasted_ms: i64, readings: &[(i64, Decimal)], idle: &[(i64, i64)]) -> ChargingSession {
    let at = |ms: i64| Timestamp(start_ms + ms);
    ChargingSession {
        id: "0b9f6d0e-6a1b-4f57-9c3d-1f2e3d4c5b6a".to_owned(),
        station: "CS-1".to_owned(),
        evse: 1,
        connector: 1,
        token: Some(Token { code: "Z3TESTTESTTESTTESTTS".to_owned(), kind: None }),
        named: None,
        started: at(0),
        ended: Some(at(lasted_ms)),
        readings: readings.iter().map(|(ms, wh)| Reading { at: at(*ms), wh: *wh }).collect(),
        idle: idle.iter().map(|(from, to)| Span { from: at(*from), to: at(*to) }).collect(),
        ending: Some(Ending::Stopped),
        remarks: BTreeSet::new(),
    }
}

/// A tariff as a file would have it.
fn json(tariff: &TestTariff) -> String {
    let money = |amount: i128| Decimal::from_i128_with_scale(amount, 4).to_string();
    let time = |minute: u32| format!("\"{:02}:{:02}\"", minute / 60, minute % 60);
    let days = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
    let elements = tariff.elements.iter().map(|e| {
        let prices = e.prices.iter().map(|(kind, price, vat, step)| {
            let word = ["ENERGY", "FLAT", "PARKING_TIME", "TIME"][*kind as usize];
            let vat = vat.map(|vat| format!(",\"vat\":{}", money(vat))).unwrap_or_default();
            format!("{{\"type\":\"{word}\",\"price\":{}{vat},\"step_size\":{step}}}", money(*price))
        });
        let mut restrictions = Vec::new();
        restrictions.extend(e.start_time.map(|m| format!("\"start_time\":{}", time(m))));
        restrictions.extend(e.end_time.map(|m| format!("\"end_time\":{}", time(m))));
        restrictions.extend(e.start_date.map(|d| format!("\"start_date\":\"{d}\"")));
        restrictions.extend(e.end_date.map(|d| format!("\"end_date\":\"{d}\"")));
        restrictions.extend(e.min_energy.map(|t| format!("\"min_kwh\":{}", money(t))));
        restrictions.extend(e.max_energy.map(|t| format!("\"max_kwh\":{}", money(t))));
        restrictions.extend(e.min_duration.map(|d| format!("\"min_duration\":{d}")));
        restrictions.extend(e.max_duration.map(|d| format!("\"max_duration\":{d}")));
        if !e.days.is_empty() {
            let days: Vec<String> = e.days.iter().map(|d| format!("\"{}\"", days[*d as usize])).collect();
            restrictions.push(format!("\"day_of_week\":[{}]", days.join(",")));
        }
        let restrictions =
            if restrictions.is_empty() { String::new() } else { format!(",\"restrictions\":{{{}}}", restrictions.join(",")) };
        format!("{{\"price_components\":[{}]{restrictions}}}", prices.collect::<Vec<_>>().join(","))
    });
    let limit = |name: &str, limit: Option<(i128, i128)>| {
        limit.map(|(excl, incl)| format!("\"{name}\":{{\"excl_vat\":{},\"incl_vat\":{}}},", money(excl), money(incl))).unwrap_or_default()
    };
    format!(
        "[{{\"country_code\":\"NL\",\"party_id\":\"CPO\",\"id\":\"t\",\"currency\":\"EUR\",{}{}\"elements\":[{}],\"last_updated\":\"2026-01-01T00:00:00Z\"}}]",
        limit("min_price", tariff.min),
        limit("max_price", tariff.max),
        elements.collect::<Vec<_>>().join(",")
    )
}

fn element() -> impl Strategy<Value = TestElement> {
    let kind = prop::sample::select(vec![Kind::Energy, Kind::Energy, Kind::Flat, Kind::Parking, Kind::Time, Kind::Time]);
    let vat = prop::option::of(prop::sample::select(vec![0, 60_000, 210_000, 55_000]));
    let step = prop::sample::select(vec![1, 1, 7, 60, 300, 900, 1800, 500]);
    let prices = prop::collection::vec((kind, 0..30_000_i128, vat, step), 1..=3).prop_map(|mut prices| {
        let mut seen = BTreeSet::new();
        prices.retain(|price| seen.insert(price.0));
        prices
    });
    let minute = prop::sample::select(vec![60, 120, 150, 180, 420, 480, 1020, 1140, 1380, 1439]);
    let date = prop::sample::select(vec!["2026-03-29", "2026-03-28", "2026-10-25", "2026-10-26", "2026-06-05"]);
    let energy = prop::sample::select(vec![100_i128, 9_999, 10_000, 25_000, 50_000, 123_456, 200_000]);
    let duration = prop::sample::select(vec![1_i64, 59, 600, 1800, 3600, 7200, 14_400]);
    let days = prop::sample::select(vec![vec![5, 6], vec![0, 1, 2, 3, 4], vec![6], vec![3]]);
    let maybe = |weight: f64| prop::bool::weighted(weight);
    let which = (maybe(0.35), maybe(0.35), maybe(0.1), maybe(0.1), maybe(0.25), maybe(0.25), maybe(0.2), maybe(0.2), maybe(0.25));
    (prices, (minute.clone(), minute), (date.clone(), date), days, (energy.clone(), energy), (duration.clone(), duration), which).prop_map(
        |(prices, times, dates, days, energies, durations, which)| {
            let only = |is: bool, value: i128| is.then_some(value);
            let mut e = TestElement {
                prices,
                start_time: which.0.then_some(times.0),
                end_time: (which.1 && (!which.0 || times.0 != times.1)).then_some(times.1),
                start_date: which.2.then_some(dates.0),
                end_date: (which.3 && (!which.2 || dates.0 < dates.1)).then_some(dates.1),
                days: if which.8 { days } else { Vec::new() },
                min_energy: only(which.4, energies.0),
                max_energy: only(which.5 && (!which.4 || energies.0 < energies.1), energies.1),
                min_duration: which.6.then_some(durations.0),
                max_duration: (which.7 && (!which.6 || durations.0 < durations.1)).then_some(durations.1),
            };
            // 23:59 is refused as an end: it leaves out a minute.
            e.end_time = e.end_time.filter(|minute| *minute != 1439);
            e
        },
    )
}

fn tariff() -> impl Strategy<Value = TestTariff> {
    let limit = |range| prop::option::weighted(0.2, (range, 0..5_000_i128).prop_map(|(excl, vat): (i128, i128)| (excl, excl + vat)));
    (prop::collection::vec(element(), 1..=5), limit(0..50_000_i128), limit(60_000..200_000_i128))
        .prop_map(|(elements, min, max)| TestTariff { elements, min, max })
}

/// Starts near the nights on which the clock changes, weekends, midnights; lengths of nothing to a day and a half.
fn charging_session() -> impl Strategy<Value = ChargingSession> {
    let anchors = [
        "2026-03-28T22:50:00Z",
        "2026-03-29T00:30:00Z",
        "2026-10-24T22:10:00Z",
        "2026-10-25T00:20:00Z",
        "2026-06-05T14:00:00Z",
        "2026-06-07T20:00:00Z",
        "2026-11-01T05:30:00Z",
    ];
    let start =
        (prop::sample::select(anchors.to_vec()), 0..7200_i64, 0..1000_i64).prop_map(|(anchor, s, ms)| (moment(anchor) + s) * 1000 + ms);
    let lasted = prop_oneof![1 => Just(0_i64), 2 => 0..5_000_i64, 8 => 0..14_400_000_i64, 1 => 0..130_000_000_i64];
    let readings = prop::collection::vec((0..=10_000_i64, 0..300_000_i64, prop::bool::weighted(0.2)), 0..8);
    let idle = prop::collection::vec((0..=10_000_i64, 0..=10_000_i64), 0..4);
    (start, lasted, readings, idle).prop_map(|(start, lasted, readings, idle)| {
        let at = |share: i64| lasted * share / 10_000;
        let mut shares: Vec<i64> = readings.iter().map(|r| r.0).collect();
        shares.sort_unstable();
        let mut hundredths = 0;
        let mut list = vec![(0, Decimal::ZERO)];
        for (share, (_, rise, flat)) in shares.iter().zip(&readings) {
            hundredths += if *flat { 0 } else { *rise };
            list.push((at(*share), Decimal::new(hundredths * 7, 2)));
        }
        let mut bounds: Vec<i64> = idle.iter().flat_map(|(a, b)| [at(*a), at(*b)]).collect();
        bounds.sort_unstable();
        // Apart and in order, as a session has them.
        let spans: Vec<(i64, i64)> = bounds.chunks_exact(2).map(|pair| (pair[0], pair[1])).filter(|(from, to)| from < to).collect();
        session(start, lasted, &list, &spans)
    })
}

// ── the comparison ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Whether an amount is the exact one, correctly rounded to four decimals. Where the exact one lies on a tie, or within a billionth of it
/// (hours are fractions that decimals only come near to), either neighbour is right.
fn is_rounded(amount: Decimal, exact: i128) -> bool {
    let ten_thousandths = (amount * Decimal::from(10_000)).normalize();
    assert_eq!(ten_thousandths.scale(), 0, "{amount} has more than four decimals");
    let unit = PARTS / 10_000;
    let off = (ten_thousandths.mantissa() * unit - exact).abs();
    off * 2 <= unit + PARTS / 1_000_000_000
}

fn assert_money(name: &str, money: Option<Money>, exact: Option<Exact>) -> Result<(), TestCaseError> {
    match (money, exact) {
        (None, None) => Ok(()),
        (Some(money), Some(exact)) => {
            prop_assert!(is_rounded(money.excl_vat, exact.0), "{name} without VAT: {} for {}/{PARTS}", money.excl_vat, exact.0);
            prop_assert!(is_rounded(money.incl_vat, exact.1), "{name} with VAT: {} for {}/{PARTS}", money.incl_vat, exact.1);
            Ok(())
        }
        // A price that applied to nothing is no cost, or a cost of nothing.
        (Some(money), None) => {
            prop_assert!(money.excl_vat.is_zero() && money.incl_vat.is_zero(), "{name}: {money:?} for nothing");
            Ok(())
        }
        (None, Some(exact)) => {
            prop_assert!(exact == (0, 0), "{name}: nothing for {exact:?}");
            Ok(())
        }
    }
}

fn compare(session: &ChargingSession, tariff: &TestTariff, zone: Tz) -> Result<(), TestCaseError> {
    let tariffs = Tariffs::parse(&json(tariff)).map_err(|why| TestCaseError::fail(format!("{why:?} in {}", json(tariff))))?;
    let bill = bill(session, &Terms { tariff: tariffs.find("T"), zone, currency: "EUR" })
        .map_err(|why| TestCaseError::fail(format!("{why:?}")))?;
    let expected = compute(session, tariff, zone);

    prop_assert_eq!(bill.energy_kwh, Decimal::from_i128_with_scale(expected.energy, 4).normalize());
    let hours = |seconds: i64| Decimal::new(seconds * 10_000 / 3600, 4);
    prop_assert_eq!(bill.parking_time_h, if bill.timed { hours(expected.parking_seconds) } else { Decimal::ZERO });
    let whole = hours(expected.parking_seconds + expected.charging_seconds);
    let parts = hours(expected.parking_seconds) + hours(expected.charging_seconds);
    prop_assert_eq!(bill.total_time_h, if bill.timed { parts } else { whole });
    let [energy, fixed, parking, time] = expected.costs;
    assert_money("energy", bill.costs.energy, energy)?;
    assert_money("fixed", bill.costs.fixed, fixed)?;
    assert_money("parking", bill.costs.parking, parking)?;
    assert_money("time", bill.costs.time, time)?;
    assert_money("total", Some(bill.total), Some(expected.total))?;

    parts_sum_to_the_whole(&bill)?;
    a_reader_of_the_cdr_comes_to_the_same(&bill, tariff, zone)
}

fn parts_sum_to_the_whole(bill: &Bill) -> Result<(), TestCaseError> {
    let periods = &bill.periods;
    prop_assert!(!periods.is_empty() && periods[0].start == bill.start);
    prop_assert!(periods.windows(2).all(|pair| pair[0].start <= pair[1].start) && periods.last().unwrap().start <= bill.end);
    prop_assert!(periods.iter().all(|p| p.energy_kwh.is_some() || p.time_h.is_some() || p.parking_time_h.is_some()));
    let sum = |of: fn(&sluis::cdr::price::Period) -> Option<Decimal>| periods.iter().filter_map(of).sum::<Decimal>();
    let metered = sum(|p| p.energy_kwh);
    prop_assert!(metered == bill.energy_kwh || metered.is_zero());
    if bill.timed {
        prop_assert_eq!(sum(|p| p.parking_time_h), bill.parking_time_h);
        prop_assert_eq!(sum(|p| p.time_h) + bill.parking_time_h, bill.total_time_h);
    }
    Ok(())
}

/// Prices the CDR as an e-MSP would, with the tariff elements in it: the total may differ by what four decimals of an hour are worth, in
/// every period once.
fn a_reader_of_the_cdr_comes_to_the_same(bill: &Bill, tariff: &TestTariff, zone: Tz) -> Result<(), TestCaseError> {
    use ocpi_tariffs::{Version, cdr, price::TariffSource};
    let written = golden(bill.clone()).write(&token(TokenKind::Rfid), Ocpi::V221, &alias);
    if bill.tariff.is_none() || tariff.min.is_some() || tariff.max.is_some() {
        return Ok(());
    }
    let parsed = cdr::parse_with_version(&written, Version::V221).unwrap();
    prop_assert!(parsed.unexpected_fields.is_empty());
    let report = cdr::price(&parsed.cdr, TariffSource::UseCdr, zone).unwrap().ignore_warnings();
    let total = report
        .total_cost
        .calculated
        .map_or((Decimal::ZERO, Decimal::ZERO), |price| (Decimal::from(price.excl_vat), Decimal::from(price.incl_vat.unwrap())));
    let dearest = tariff
        .elements
        .iter()
        .flat_map(|e| &e.prices)
        .filter(|p| matches!(p.0, Kind::Parking | Kind::Time))
        .map(|p| p.1)
        .max()
        .unwrap_or(0);
    let periods = Decimal::from(bill.periods.len() as u64 + 1);
    let allowed = Decimal::new(1, 4) * periods * Decimal::from_i128_with_scale(dearest, 4) * Decimal::new(13, 1) + Decimal::new(1, 4);
    prop_assert!((total.0 - bill.total.excl_vat).abs() <= allowed, "{total:?} for {:?}: {written}", bill.total);
    prop_assert!((total.1 - bill.total.incl_vat).abs() <= allowed, "{total:?} for {:?}: {written}", bill.total);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_price_is_what_ocpi_says(
        session in charging_session(),
        tariff in tariff(),
        zone in prop::sample::select(vec![Tz::Europe__Amsterdam, Tz::Europe__London, Tz::America__New_York, Tz::UTC, Tz::Asia__Kolkata]),
    ) {
        compare(&session, &tariff, zone)?;
    }
}

fn party(country_code: &str, party_id: &str) -> Party {
    Party { country_code: country_code.to_owned(), party_id: party_id.to_owned() }
}

fn token(kind: TokenKind) -> CdrToken {
    let Party { country_code, party_id } = party("NL", "EMP");
    let (uid, contract_id) = ("Z3WDZZNWBCGED07GQWAYB57K6W54V23".to_owned(), "Z35XK8T2M4Q9C7V1N0B6H3J8D2F5A1R".to_owned());
    CdrToken { country_code, party_id, uid, kind, contract_id }
}

/// A keyed digest would do this.
fn alias(name: &str) -> String {
    let digest = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{digest:016X}")
}

fn sites() -> Sites {
    Sites::parse(include_str!("../config/sites.csv"), Tz::Europe__Amsterdam).unwrap()
}

fn golden(bill: Bill) -> Cdr {
    Cdr {
        id: "6f1c8e52-3f0d-4a5e-9b61-7d2c40a91b3e".to_owned(),
        session_id: "0b9f6d0e-6a1b-4f57-9c3d-1f2e3d4c5b6a".to_owned(),
        cpo: party("NL", "CPO"),
        bill,
        place: sites().find("CS-1", 1, 1).unwrap().place.clone(),
        auth_method: AuthMethod::Whitelist,
        authorization_reference: None,
        credit_of: None,
        last_updated: Timestamp(moment("2026-11-04T09:00:00Z") * 1000),
    }
}

#[path = "cdr/golden.rs"]
mod golden_cdrs;

// ── the examples of the text, and the edges ─────────────────────────────────────────────────────────────────────────────────

fn price(elements: &str, session: &ChargingSession) -> Result<Bill, Unbillable> {
    let text = format!(
        "[{{\"country_code\":\"NL\",\"party_id\":\"CPO\",\"id\":\"t\",\"currency\":\"EUR\",{elements},\"last_updated\":\"2026-01-01T00:00:00Z\"}}]"
    );
    let tariffs = Tariffs::parse(&text).unwrap();
    bill(session, &Terms { tariff: tariffs.find("t"), zone: Tz::Europe__Amsterdam, currency: "EUR" })
}

fn total(elements: &str, session: &ChargingSession) -> String {
    price(elements, session).unwrap().total.excl_vat.to_string()
}

/// Charging for so many minutes from that moment, then idle for others.
fn minutes(start: &str, charging: i64, idle: i64, wh: i64) -> ChargingSession {
    let (full, end) = (charging * 60_000, (charging + idle) * 60_000);
    session(moment(start) * 1000, end, &[(0, Decimal::ZERO), (full, Decimal::from(wh))], &[(full, end)])
}

/// OCPI 2.2.1, CDRs, `step_size`: its own figures.
#[test]
fn step_size_is_taken_once_per_session_and_of_time_only_where_no_parking_is_paid() {
    let parking = r#""elements":[{"price_components":[{"type":"TIME","price":1,"step_size":600},{"type":"PARKING_TIME","price":2,"step_size":600}]}]"#;
    // 21 minutes charging, 16 parking rounded up to 20.
    assert_eq!(total(parking, &minutes("2026-06-05T10:00:00Z", 21, 16, 5000)), "1.0167");
    let dearer_later = |kind: &str, step: u32, before: &str, after: &str| {
        format!(
            r#""elements":[{{"price_components":[{{"type":"{kind}","price":{before},"step_size":{step}}}],"restrictions":{{"end_time":"17:00"}}}},{{"price_components":[{{"type":"{kind}","price":{after},"step_size":{step}}}]}}]"#
        )
    };
    // 6 minutes at 5 an hour, 22 at 7: the total of 28 is rounded up to 30, not the 22.
    assert_eq!(total(&dearer_later("TIME", 600, "5", "7"), &minutes("2026-06-05T14:54:00Z", 28, 0, 5000)), "3.3");
    // 4.3 kWh at 0.20, 1.1 at 0.27: the total of 5.4 is rounded up to 5.5.
    let mut energy = minutes("2026-06-05T14:00:00Z", 120, 0, 5400);
    energy.readings.insert(1, Reading { at: Timestamp(moment("2026-06-05T15:00:00Z") * 1000), wh: Decimal::from(4300) });
    assert_eq!(total(&dearer_later("ENERGY", 500, "0.20", "0.27"), &energy), "1.184");
    // 115.2 Wh are 116 Wh.
    let little = session(moment("2026-06-05T10:00:00Z") * 1000, 60_000, &[(60_000, Decimal::new(1152, 1))], &[]);
    assert_eq!(total(r#""elements":[{"price_components":[{"type":"ENERGY","price":0.25,"step_size":1}]}]"#, &little), "0.029");
}

/// The night has 23 hours in March and 25 in October, and each of them is charged once.
#[test]
fn the_night_on_which_the_clock_changes_is_as_long_as_it_is() {
    let night = r#""elements":[{"price_components":[{"type":"TIME","price":1,"step_size":1}],"restrictions":{"start_time":"00:00","end_time":"06:00","day_of_week":["SUNDAY"]}},{"price_components":[{"type":"TIME","price":100,"step_size":1}],"restrictions":{"start_time":"06:00","end_time":"06:01"}}]"#;
    assert_eq!(total(night, &minutes("2026-03-28T22:00:00Z", 12 * 60, 0, 1)), "6.6667");
    assert_eq!(total(night, &minutes("2026-10-24T21:00:00Z", 12 * 60, 0, 1)), "8.6667");
    let skipped = r#""elements":[{"price_components":[{"type":"TIME","price":60,"step_size":1}],"restrictions":{"start_time":"02:30","end_time":"03:10"}}]"#;
    // From 2:00 straight to 3:00, so ten minutes are left; in October forty, twice begun.
    assert_eq!(total(skipped, &minutes("2026-03-29T00:00:00Z", 180, 0, 1)), "10");
    assert_eq!(total(skipped, &minutes("2026-10-24T23:00:00Z", 240, 0, 1)), "70");
}

/// OCPI 2.2.1, Tariffs, note on `min_price`: either amount keeps to its own limit. The library compares them as a pair.
#[test]
fn least_and_most_price_hold_with_vat_and_without() {
    let elements = |vat: &str| format!(r#""elements":[{{"price_components":[{{"type":"FLAT","price":11{vat},"step_size":1}}]}}]"#);
    let session = minutes("2026-06-05T10:00:00Z", 10, 0, 1000);
    let limited = |limits: &str, vat: &str| price(&format!("{limits},{}", elements(vat)), &session).unwrap().total;
    let money = |excl: i64, incl: i64| Money { excl_vat: Decimal::new(excl, 2), incl_vat: Decimal::new(incl, 2) };
    assert_eq!(limited(r#""min_price":{"excl_vat":10,"incl_vat":12.1}"#, ""), money(1100, 1210));
    assert_eq!(limited(r#""min_price":{"excl_vat":12,"incl_vat":13}"#, r#","vat":21"#), money(1200, 1331));
    assert_eq!(limited(r#""max_price":{"excl_vat":12,"incl_vat":13}"#, r#","vat":21"#), money(1100, 1300));
}

#[test]
fn a_period_begins_only_where_the_price_changes() {
    let day_and_night = r#""elements":[{"price_components":[{"type":"ENERGY","price":0.2,"step_size":1}],"restrictions":{"start_time":"23:00","end_time":"07:00"}},{"price_components":[{"type":"ENERGY","price":0.2,"step_size":1}],"restrictions":{"start_time":"07:00","end_time":"12:00"}},{"price_components":[{"type":"ENERGY","price":0.3,"step_size":1}]}]"#;
    // From half past twelve: at eleven at night it gets cheaper, at seven nothing changes, at noon it gets dearer. The vehicle idles once.
    let mut session = minutes("2026-06-05T10:30:00Z", 24 * 60, 0, 24_000);
    let at = |text: &str| Timestamp(moment(text) * 1000);
    session.idle = vec![Span { from: at("2026-06-05T15:00:00Z"), to: at("2026-06-05T16:00:00Z") }];
    let bill = price(day_and_night, &session).unwrap();
    let begins: Vec<String> = bill.periods.iter().map(|period| period.start.rfc3339()).collect();
    assert_eq!(begins, ["2026-06-05T10:30:00Z", "2026-06-05T21:00:00Z", "2026-06-06T10:00:00Z"]);
    assert!(bill.periods.iter().all(|period| period.energy_kwh.is_some() && period.time_h.is_none() && period.parking_time_h.is_none()));
    assert_eq!(bill.tariff.unwrap().elements.len(), 2, "the element for the morning priced nothing that the first had not");
    // All had been taken by half past ten: the night's price concerns nobody.
    session.readings[1].at = at("2026-06-05T20:30:00Z");
    assert_eq!(price(day_and_night, &session).unwrap().periods.len(), 1);
}

/// Nothing is told of charging and idling then, and a session of an hour lasted an hour.
#[test]
fn where_time_has_no_price_a_session_lasted_from_its_start_to_its_end() {
    let energy = r#""elements":[{"price_components":[{"type":"ENERGY","price":0.25,"step_size":1}]}]"#;
    let bill = price(energy, &minutes("2026-06-05T10:00:00Z", 28, 32, 4000)).unwrap();
    assert_eq!((bill.total_time_h, bill.timed), (Decimal::ONE, false));
}

#[test]
fn a_free_site_gives_a_cdr_that_costs_nothing() {
    let session = minutes("2026-06-05T10:00:00Z", 30, 30, 5000);
    let free = bill(&session, &Terms { tariff: None, zone: Tz::UTC, currency: "CHF" }).unwrap();
    assert_eq!((free.periods.len(), free.total, free.currency.as_str(), &free.tariff), (1, Money::default(), "CHF", &None));
    let written = golden(free).write(&token(TokenKind::Rfid), Ocpi::V221, &alias);
    assert!(written.contains(r#""total_cost":{"excl_vat":0,"incl_vat":0}"#) && !written.contains("tariff"), "{written}");
}

#[test]
fn a_tariff_bills_only_the_sessions_that_begin_while_it_is_valid() {
    let elements = r#""start_date_time":"2026-06-05T10:00:00Z","end_date_time":"2026-06-06T00:00:00Z","elements":[{"price_components":[{"type":"FLAT","price":1,"step_size":1}]}]"#;
    let begins = |start: &str| price(elements, &minutes(start, 10, 0, 0)).map(|bill| bill.total.excl_vat);
    assert_eq!(begins("2026-06-05T09:59:59Z"), Err(Unbillable::TariffNotValid));
    assert_eq!(begins("2026-06-05T10:00:00Z"), Ok(Decimal::ONE));
    assert_eq!(begins("2026-06-06T00:00:00Z"), Err(Unbillable::TariffNotValid));
}

#[test]
fn a_credit_takes_back_all_of_it_once() {
    let elements = r#""elements":[{"price_components":[{"type":"ENERGY","price":0.25,"vat":21,"step_size":1}]}]"#;
    let cdr = golden(price(elements, &minutes("2026-06-05T10:00:00Z", 30, 0, 4000)).unwrap());
    let credit = cdr.credit(format!("{}-C", cdr.id), cdr.last_updated).unwrap();
    assert!(credit.id.len() <= 39 && credit.credit("again".to_owned(), cdr.last_updated).is_none());
    let (given, taken) =
        (cdr.write(&token(TokenKind::Rfid), Ocpi::V230, &alias), credit.write(&token(TokenKind::Rfid), Ocpi::V230, &alias));
    let back = taken
        .replace(&credit.id, &cdr.id)
        .replace(&format!("\"credit\":true,\"credit_reference_id\":\"{}\",", cdr.id), "")
        .replace("\"before_taxes\":-1,", "\"before_taxes\":1,")
        .replace("\"amount\":-0.21}", "\"amount\":0.21}");
    assert_eq!(back, given);
    let stored: Cdr = serde_json::from_str(&serde_json::to_string(&credit).unwrap()).unwrap();
    assert_eq!(stored, credit);
}

#[test]
fn the_documented_files_are_right_and_fit_each_other() {
    let tariffs = Tariffs::parse(include_str!("../config/tariffs.json")).unwrap();
    let sites = sites();
    for (_, site) in sites.iter() {
        assert!(site.tariff.as_ref().is_none_or(|id| tariffs.find(id).is_some()), "{:?}", site.tariff);
    }
    let page = include_str!("../docs/cdr.md");
    for (column, _) in sluis::cdr::site::COLUMNS {
        assert!(page.contains(&format!("`{column}`")), "{column} is not documented");
    }
    assert_eq!(Ocpi::ALL.map(|shape| Ocpi::from_number(shape.number())), Ocpi::ALL.map(Some));
}

/// Whatever the types allow gives a bill or a reason.
fn any_session() -> impl Strategy<Value = ChargingSession> {
    let when = prop_oneof![5 => 1_774_000_000_000_i64..1_778_000_000_000, 1 => any::<i64>()];
    let wh = prop_oneof![
        5 => (0_i64..1_000_000_000, 0_u32..6).prop_map(|(n, scale)| Decimal::new(n, scale)),
        1 => (any::<i64>(), 0_u32..28).prop_map(|(n, scale)| Decimal::new(n, scale)),
        1 => Just(Decimal::MAX),
    ];
    (
        when.clone(),
        prop::option::of(when.clone()),
        prop::collection::vec((when.clone(), wh), 0..6),
        prop::collection::vec((when.clone(), when), 0..4),
    )
        .prop_map(|(start, end, mut readings, idle)| {
            readings.sort();
            let mut session = session(0, 0, &readings, &idle);
            (session.started, session.ended) = (Timestamp(start), end.map(Timestamp));
            session
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_session_makes_it_panic(session in any_session(), tariff in tariff()) {
        let tariffs = Tariffs::parse(&json(&tariff)).unwrap();
        if let Ok(bill) = bill(&session, &Terms { tariff: tariffs.find("t"), zone: Tz::Europe__Amsterdam, currency: "EUR" }) {
            parts_sum_to_the_whole(&bill)?;
            golden(bill).write(&token(TokenKind::Rfid), Ocpi::V211, &alias);
        }
    }
}
