//! What a fact says, read leniently: any member may be absent or of another type, numbers may be text, and times may be anything. What has
//! no meaning is as if it were not there.

use super::energy::{Quantity, Sample};
use super::{Entry, StrayReason, Token};
use crate::clock::Timestamp;
use crate::ocpp::Version;
use crate::ocpp::json::{Cursor, Shape};
use crate::treat::time;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::str::FromStr;

/// Before this no station spoke OCPP over WebSocket: 2015-01-01, when its clock had not been set.
const DAWN: i64 = 1_420_070_400_000;
/// How far a station's clock may run ahead of the gateway's, in milliseconds: a day, for a time zone left out or doubled.
const AHEAD: i64 = 86_400_000;
/// The longest part of a key that is kept as it is, in bytes; of a longer one its digest is. Transaction ids have at most 36 characters.
const MAX_PART: usize = 64;
/// The longest code of a token, in bytes; a longer one is nobody's. OCPP 2.1 allows 255 characters.
const MAX_CODE: usize = 255;
/// The most meter values read from one message; a stop after two days with a reading each minute has 2,880.
const MAX_METER_VALUES: usize = 5_000;
/// The most sampled values read from one meter value: some sixty measurands, three phases.
const MAX_SAMPLED_VALUES: usize = 256;

/// A moment by the station's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Moment {
    /// When; on the gateway's clock if the station's was absurd.
    pub(super) at: Timestamp,
    /// When the gateway saw it.
    pub(super) seen: Timestamp,
    /// The station's time was absurd: unreadable, before [`DAWN`] or more than a day ahead.
    pub(super) odd: bool,
}

/// What a fact says.
pub(super) enum Said {
    Start(Start),
    /// The transaction's number, from the answer to a start.
    Number(i64),
    Stop(Stop),
    Readings(Readings),
    Event(Event),
    /// Nothing that a bill is made of.
    Nothing,
}

/// StartTransaction (OCPP 1.6 §4.8).
pub(super) struct Start {
    pub(super) connector: u32,
    pub(super) token: Option<Token>,
    /// In Wh.
    pub(super) meter: Option<Decimal>,
    pub(super) when: Moment,
}

/// StopTransaction (OCPP 1.6 §4.10).
pub(super) struct Stop {
    pub(super) number: i64,
    pub(super) token: Option<Token>,
    /// In Wh.
    pub(super) meter: Option<Decimal>,
    pub(super) when: Moment,
    pub(super) samples: Vec<(Quantity, Sample)>,
}

/// MeterValues (OCPP 1.6 §4.7).
pub(super) struct Readings {
    pub(super) connector: u32,
    pub(super) number: Option<i64>,
    pub(super) samples: Vec<(Quantity, Sample)>,
}

/// TransactionEvent (OCPP 2.0.1 and 2.1 Part 2, block E).
pub(super) struct Event {
    pub(super) transaction: String,
    pub(super) kind: EventKind,
    pub(super) seq: Option<i64>,
    pub(super) when: Moment,
    pub(super) evse: Option<u32>,
    pub(super) connector: Option<u32>,
    pub(super) token: Option<Token>,
    /// Whether nothing is charged, if the event says so.
    pub(super) idle: Option<bool>,
    pub(super) samples: Vec<(Quantity, Sample)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EventKind {
    Started,
    Updated,
    Ended,
}

/// Reads a fact.
pub(super) fn read(entry: &Entry<'_>) -> Result<Said, StrayReason> {
    let payload = Json(entry.payload);
    let integer = |name: &str| payload.field(name).and_then(Json::integer);
    let when = || moment(payload.field("timestamp"), entry.at, None);
    let wh = |name: &str| payload.field(name).and_then(Json::decimal).filter(super::energy::is_register);
    let readings = |name: &str, when: Option<Moment>| meter_values(payload.field(name), entry.at, when);
    Ok(match entry.action {
        "StartTransaction" => Said::Start(Start {
            connector: integer("connectorId").and_then(number_of_place).ok_or(StrayReason::Unreadable)?,
            token: payload.field("idTag").and_then(|tag| token(tag, None)),
            meter: wh("meterStart"),
            when: when(),
        }),
        "StartTransactionResponse" => Said::Number(integer("transactionId").ok_or(StrayReason::Unreadable)?),
        "StopTransaction" => Said::Stop(Stop {
            number: integer("transactionId").ok_or(StrayReason::Unreadable)?,
            token: payload.field("idTag").and_then(|tag| token(tag, None)),
            meter: wh("meterStop"),
            when: when(),
            samples: readings("transactionData", None),
        }),
        // In 2.x they are never those of a transaction, which has them in its events.
        "MeterValues" if entry.version == Version::V16 => Said::Readings(Readings {
            connector: integer("connectorId").and_then(number_of_place).ok_or(StrayReason::Unreadable)?,
            number: integer("transactionId"),
            samples: readings("meterValue", None),
        }),
        "TransactionEvent" => {
            let info = payload.field("transactionInfo").ok_or(StrayReason::Unreadable)?;
            let transaction = info.field("transactionId").and_then(Json::text).filter(|id| !id.is_empty());
            let kind = payload.field("eventType").and_then(Json::text).unwrap_or_default();
            let evse = payload.field("evse");
            let place = |name: &str| evse?.field(name)?.integer().and_then(number_of_place).filter(|n| *n > 0);
            let card = payload.field("idToken");
            let when = when();
            Said::Event(Event {
                transaction: part(&transaction.ok_or(StrayReason::Unreadable)?),
                kind: if kind.eq_ignore_ascii_case("Started") {
                    EventKind::Started
                } else if kind.eq_ignore_ascii_case("Ended") {
                    EventKind::Ended
                } else {
                    EventKind::Updated
                },
                seq: integer("seqNo").filter(|n| *n >= 0),
                evse: place("id"),
                connector: place("connectorId"),
                token: card.and_then(|card| token(card.field("idToken")?, card.field("type").and_then(Json::text))),
                idle: info.field("chargingState").and_then(Json::text).and_then(|state| match &*state {
                    "Charging" => Some(false),
                    "EVConnected" | "SuspendedEV" | "SuspendedEVSE" | "Idle" => Some(true),
                    _ => None,
                }),
                samples: readings("meterValue", Some(when)),
                when,
            })
        }
        _ => Said::Nothing,
    })
}

/// A text as part of a key.
pub(super) fn part(text: &str) -> String {
    if text.len() <= MAX_PART { text.to_owned() } else { digest(text.as_bytes()) }
}

/// 32 hexadecimal digits that stand for a text.
pub(super) fn digest(text: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(text).iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn number_of_place(number: i64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn token(code: Json<'_>, kind: Option<Cow<'_, str>>) -> Option<Token> {
    let code = code.text()?.trim().to_ascii_uppercase();
    let anybody = kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("NoAuthorization"));
    if code.is_empty() || code.len() > MAX_CODE || anybody {
        return None;
    }
    Some(Token { code, kind: kind.filter(|kind| kind.len() <= MAX_PART).map(Cow::into_owned) })
}

/// A station's time, or in its place that of what encloses it, or the gateway's.
fn moment(text: Option<Json<'_>>, seen: Timestamp, outer: Option<Moment>) -> Moment {
    let at = text.and_then(Json::text).and_then(|text| time(&text)).and_then(|seconds| seconds.checked_mul(1000));
    match at.filter(|at| (DAWN..=seen.0.saturating_add(AHEAD)).contains(at)) {
        Some(at) => Moment { at: Timestamp(at), seen, odd: false },
        None => outer.unwrap_or(Moment { at: seen, seen, odd: true }),
    }
}

/// The energy in a list of meter values (OCPP 1.6 §7.33; 2.1 Part 2, MeterValueType): the active energy imported, at the outlet.
///
/// Values of other places are never billed: `Inlet` and `Upstream` also count what the station itself and its other outlets use, `EV` and
/// `Body` are the vehicle's or nobody's. Phases are added up only where the same meter value has no total.
fn meter_values(list: Option<Json<'_>>, seen: Timestamp, outer: Option<Moment>) -> Vec<(Quantity, Sample)> {
    let mut found = Vec::new();
    for value in list.map(|list| list.items(MAX_METER_VALUES)).unwrap_or_default() {
        let when = moment(value.field("timestamp"), seen, outer);
        // By quantity: the total, the sum of L1 to L3, the sum of L1-N to L3-N.
        let mut sums: [[Option<Decimal>; 3]; Quantity::ALL.len()] = Default::default();
        for sampled in value.field("sampledValue").map(|list| list.items(MAX_SAMPLED_VALUES)).unwrap_or_default() {
            let word = |name: &str| sampled.field(name).and_then(Json::text);
            let Some(quantity) = Quantity::of(word("measurand").as_deref(), word("context").as_deref()) else { continue };
            let outlet = word("location").is_none_or(|place| place.eq_ignore_ascii_case("Outlet"));
            let raw = word("format").is_none_or(|format| format.eq_ignore_ascii_case("Raw"));
            let wh = sampled.field("value").and_then(Json::decimal).and_then(|number| in_wh(number, sampled));
            let (true, true, Some(wh)) = (outlet, raw, wh) else { continue };
            let slot = match word("phase").as_deref() {
                None => 0,
                Some("L1" | "L2" | "L3") => 1,
                Some("L1-N" | "L2-N" | "L3-N") => 2,
                Some(_) => continue,
            };
            let sum = &mut sums[quantity as usize][slot];
            *sum = Some(match *sum {
                None => wh,
                Some(other) if slot == 0 => other.max(wh),
                Some(other) => other + wh,
            });
        }
        for (quantity, [total, phases, to_neutral]) in Quantity::ALL.into_iter().zip(sums) {
            if let Some(wh) = total.or(phases).or(to_neutral) {
                found.push((quantity, Sample { at: when.at, odd: when.odd, wh: wh.normalize() }));
            }
        }
    }
    found
}

/// A sampled value in Wh: `unit` in 1.6 (§7.45), `unitOfMeasure` with its power of ten in 2.x; without either it is Wh.
fn in_wh(number: Decimal, sampled: Json<'_>) -> Option<Decimal> {
    let measure = sampled.field("unitOfMeasure");
    let unit = sampled.field("unit").or_else(|| measure?.field("unit")).and_then(Json::text);
    let power = measure.and_then(|measure| measure.field("multiplier")).and_then(Json::integer).unwrap_or(0);
    let kilo = match unit.as_deref() {
        None => 0,
        Some(unit) if unit.eq_ignore_ascii_case("Wh") => 0,
        Some(unit) if unit.eq_ignore_ascii_case("kWh") => 3,
        Some(_) => return None,
    };
    scale(number, power.checked_add(kilo)?).filter(super::energy::is_register)
}

/// `number` × 10^`power`.
fn scale(number: Decimal, power: i64) -> Option<Decimal> {
    let ten = Decimal::TEN;
    match power {
        0..=20 => (0..power).try_fold(number, |n, _| n.checked_mul(ten)),
        -20..0 => (power..0).try_fold(number, |n, _| n.checked_div(ten)),
        _ => None,
    }
}

/// A value in a payload, read only as far as asked.
#[derive(Clone, Copy)]
struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    fn field(self, name: &str) -> Option<Self> {
        let span = Cursor::new(self.0).peek(name)?;
        self.0.get(span).map(Json).filter(|json| json.0 != "null")
    }

    /// The elements of a list, at most `most`.
    fn items(self, most: usize) -> Vec<Self> {
        let mut cursor = Cursor::new(self.0);
        let mut items = Vec::new();
        if cursor.shape() != Ok(Shape::Array) || cursor.enter().is_err() {
            return items;
        }
        while items.len() < most && !cursor.take(b']') {
            let Ok(span) = cursor.skip() else { break };
            items.extend(self.0.get(span).map(Json));
            if !cursor.take(b',') {
                break;
            }
        }
        items
    }

    /// A text, or a number as its text.
    fn text(self) -> Option<Cow<'a, str>> {
        let mut cursor = Cursor::new(self.0);
        match cursor.shape().ok()? {
            Shape::String => cursor.string().ok().map(|token| cursor.content(&token)),
            Shape::Number => cursor.number().ok().map(Cow::Borrowed),
            _ => None,
        }
    }

    fn integer(self) -> Option<i64> {
        self.decimal().filter(Decimal::is_integer)?.to_i64()
    }

    /// A number, or a text that is one; a single comma may stand for the point.
    fn decimal(self) -> Option<Decimal> {
        let text = self.text()?;
        let text = text.trim();
        let (mantissa, power) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse().ok()?),
            None => (text, 0),
        };
        let plain =
            mantissa.bytes().enumerate().all(|(at, b)| b.is_ascii_digit() || b == b'.' || b == b',' || (at == 0 && b"+-".contains(&b)));
        let points = mantissa.bytes().filter(|b| b".,".contains(b)).count();
        if !plain || points > 1 || mantissa.len() > MAX_PART {
            return None;
        }
        scale(Decimal::from_str(&mantissa.replace(',', ".")).ok()?, power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_stations_write_them() {
        for (text, number) in [
            ("1234", "1234"),
            ("\"1234.50\"", "1234.5"),
            ("\"1234,5\"", "1234.5"),
            ("1e3", "1000"),
            ("-7", "-7"),
            ("\" +12.5e-1 \"", "1.25"),
        ] {
            assert_eq!(Json(text).decimal(), Decimal::from_str(number).ok(), "{text}");
        }
        for text in ["\"\"", "\"1,234.5\"", "true", "{}", "\"1_0\"", "1e99999", "\"NaN\"", "\"0x10\"", "\"--1\"", "\".\"", "\"e5\""] {
            assert_eq!(Json(text).decimal(), None, "{text}");
        }
    }

    fn samples(list: &str) -> Vec<(Quantity, i64, String)> {
        let seen = Timestamp(1_800_000_000_000);
        meter_values(Some(Json(list)), seen, None).into_iter().map(|(q, s)| (q, s.at.seconds(), s.wh.to_string())).collect()
    }

    #[test]
    fn energy_is_found_among_other_values() {
        let list = r#"[{"timestamp":"2026-11-24T10:00:00Z","sampledValue":[{"value":"1.5","unit":"kWh"},{"value":"7","measurand":"SoC"},
            {"value":"9","measurand":"Energy.Active.Export.Register"},{"value":"99","location":"Inlet"},{"value":"AB12","format":"SignedData"},
            {"value":"3","measurand":"Energy.Active.Import.Interval","context":"Sample.Clock"}]}]"#;
        let at = 1_795_514_400;
        assert_eq!(samples(list), [(Quantity::Register, at, "1500".to_owned()), (Quantity::ClockInterval, at, "3".to_owned())]);
    }

    #[test]
    fn phases_are_added_only_without_a_total() {
        let phases = r#"{"value":1,"phase":"L1"},{"value":2,"phase":"L2"},{"value":4,"phase":"L3"},{"value":50,"phase":"L1-N"}"#;
        let list = |more: &str| format!(r#"[{{"timestamp":"2026-11-24T10:00:00Z","sampledValue":[{phases}{more}]}}]"#);
        assert_eq!(samples(&list(""))[0].2, "7");
        assert_eq!(samples(&list(r#",{"value":8}"#))[0].2, "8");
    }

    #[test]
    fn a_unit_has_a_power_of_ten() {
        let list =
            |unit: &str| format!(r#"[{{"timestamp":"2026-11-24T10:00:00Z","sampledValue":[{{"value":12,"unitOfMeasure":{unit}}}]}}]"#);
        assert_eq!(samples(&list(r#"{"unit":"kWh","multiplier":-1}"#))[0].2, "1200");
        assert_eq!(samples(&list(r#"{"multiplier":3}"#))[0].2, "12000");
        assert!(samples(&list(r#"{"unit":"varh"}"#)).is_empty());
    }
}
