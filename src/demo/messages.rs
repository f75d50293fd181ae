//! What the demo's stations say, in all three versions: a visit as a list of messages, with everything in them that real stations put there,
//! needed or not.

use super::cast::{Token, Unit};
use crate::ocpp::Version;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// 2026-11-24T08:00:00Z: when the demo's first session begins.
pub(super) const MORNING: i64 = 1_795_507_200;
/// Seconds between two readings: finer than anybody needs for a bill.
const EVERY: i64 = 300;
/// Readings in a visit, and so its length: 35 minutes.
const READINGS: i64 = 6;

/// A CALL: action and payload.
pub(super) type Call = (&'static str, Value);

/// One charging session at a station.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    /// What the driver shows; for a remote start what the central system sent, as the station read it.
    pub(super) token: String,
    /// What OCPP 2.x calls it.
    pub(super) kind: String,
    /// The station's own name for the session (2.x), or the central system's number for it (1.6).
    pub(super) transaction: String,
    /// Begins, in seconds since 1970.
    pub(super) at: i64,
    /// The meter at the beginning, in Wh.
    pub(super) meter: i64,
    /// What is charged, in Wh.
    pub(super) energy: i64,
    /// The remote start or the reservation that it follows from.
    pub(super) remote_start: Option<i64>,
    pub(super) reservation: Option<i64>,
}

impl Visit {
    pub(super) fn end(&self) -> i64 {
        self.at + (READINGS + 1) * EVERY
    }
}

/// The date and time as OCPP writes it (RFC 3339, UTC).
pub(super) fn time(seconds: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The civil date of a day number (Gregorian), counted in eras of 400 years from 0000-03-01.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", era * 400 + year + carry)
}

/// A station introduces itself, with every number that is printed on it.
pub(super) fn boot(unit: &Unit) -> Call {
    let payload = match unit.version {
        Version::V16 => json!({
            "chargePointVendor": unit.vendor, "chargePointModel": unit.model, "chargePointSerialNumber": unit.serial,
            "chargeBoxSerialNumber": unit.serial, "firmwareVersion": "4.2.1", "iccid": unit.iccid, "imsi": unit.imsi,
            "meterType": "DIN rail", "meterSerialNumber": unit.meter_serial,
        }),
        _ => json!({
            "reason": "PowerUp",
            "chargingStation": {
                "vendorName": unit.vendor, "model": unit.model, "serialNumber": unit.serial, "firmwareVersion": "5.0.3",
                "modem": {"iccid": unit.iccid, "imsi": unit.imsi},
            },
        }),
    };
    ("BootNotification", payload)
}

/// A connector changes its state. Of all places, some firmware names the last card here.
pub(super) fn status(unit: &Unit, state: &str, at: i64, last: Option<&str>) -> Call {
    let mut payload = match unit.version {
        Version::V16 => json!({"connectorId": 1, "errorCode": "NoError", "status": state, "timestamp": time(at), "vendorId": "nl.kade"}),
        _ => json!({"timestamp": time(at), "connectorStatus": state, "evseId": 1, "connectorId": 1}),
    };
    match (unit.version, last) {
        (Version::V16, Some(card)) => payload["info"] = json!(format!("reader ok, last card {card}")),
        (Version::V21, Some(card)) => payload["customData"] = json!({"vendorId": "nl.stroom", "lastCard": card}),
        _ => {}
    }
    ("StatusNotification", payload)
}

/// 2.x: what came of the switch at the door, with the service contract's serial number and card in its text.
pub(super) fn door(unit: &Unit, at: i64, last: &str) -> Call {
    let text = format!("door of {} opened, last card {last}", unit.serial);
    ("SecurityEventNotification", json!({"type": "TamperDetectionActivated", "timestamp": time(at), "techInfo": text}))
}

/// A message that only its vendor understands.
pub(super) fn vendor(unit: &Unit, last: &str) -> Call {
    let data = json!({"card": last, "meter": unit.meter_serial, "temperatures": [41, 43]}).to_string();
    (
        "DataTransfer",
        json!({"vendorId": format!("com.example.{}", unit.vendor.to_ascii_lowercase()), "messageId": "SessionTrace", "data": data}),
    )
}

/// What the vehicle says it needs.
pub(super) fn needs() -> Call {
    let dc = json!({"evMaxCurrent": 400, "evMaxVoltage": 800, "stateOfCharge": 38, "evEnergyCapacity": 77000});
    ("NotifyEVChargingNeeds", json!({"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "DC", "dcChargingParameters": dc}}))
}

fn token(visit: &Visit) -> Value {
    json!({"idToken": visit.token, "type": visit.kind})
}

/// May this card charge?
pub(super) fn authorize(unit: &Unit, card: &Token) -> Call {
    let payload = match unit.version {
        Version::V16 => json!({"idTag": card.text}),
        // Plug & Charge: the contract number a second time, in the certificate's name.
        _ if card.kind == "eMAID" => {
            let body = STANDARD.encode(format!("made up for the demo: CN={}, O=Contract", card.text));
            let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----");
            json!({"idToken": {"idToken": card.text, "type": "eMAID"}, "certificate": pem})
        }
        _ => {
            let printed = json!([{"additionalIdToken": card.text, "type": "visual_number"}]);
            json!({"idToken": {"idToken": card.text, "type": card.kind, "additionalInfo": printed}})
        }
    };
    ("Authorize", payload)
}

/// The session begins.
pub(super) fn start(unit: &Unit, visit: &Visit) -> Call {
    if unit.version == Version::V16 {
        let mut payload = json!({"connectorId": 1, "idTag": visit.token, "meterStart": visit.meter, "timestamp": time(visit.at)});
        if let Some(reservation) = visit.reservation {
            payload["reservationId"] = json!(reservation);
        }
        return ("StartTransaction", payload);
    }
    let mut payload = event(unit, visit, "Started", 0, "Authorized");
    payload["idToken"] = token(visit);
    if let Some(id) = visit.remote_start {
        payload["triggerReason"] = json!("RemoteStart");
        payload["transactionInfo"]["remoteStartId"] = json!(id);
    }
    if let Some(reservation) = visit.reservation {
        payload["reservationId"] = json!(reservation);
    }
    ("TransactionEvent", payload)
}

/// The readings on the way.
pub(super) fn readings(unit: &Unit, visit: &Visit) -> Vec<Call> {
    let reading = |n| {
        if unit.version == Version::V16 {
            let values = meter_value(unit, visit, n, "Sample.Periodic");
            let number: i64 = visit.transaction.parse().unwrap_or_default();
            return ("MeterValues", json!({"connectorId": 1, "transactionId": number, "meterValue": [values]}));
        }
        ("TransactionEvent", event(unit, visit, "Updated", n, "MeterValuePeriodic"))
    };
    (1..=READINGS).map(reading).collect()
}

/// The session ends. The meter signs for it, and names the driver in what it signs.
pub(super) fn stop(unit: &Unit, visit: &Visit, reason: &str) -> Call {
    if unit.version == Version::V16 {
        let number: i64 = visit.transaction.parse().unwrap_or_default();
        let mut last = meter_value(unit, visit, READINGS + 1, "Transaction.End");
        if let Some(values) = last["sampledValue"].as_array_mut() {
            values.push(json!({"value": signed(unit, visit), "format": "SignedData", "context": "Transaction.End", "measurand": "Energy.Active.Import.Register"}));
        }
        let data = json!([meter_value(unit, visit, 0, "Transaction.Begin"), last]);
        let payload = json!({
            "transactionId": number, "idTag": visit.token, "meterStop": visit.meter + visit.energy, "timestamp": time(visit.end()),
            "reason": reason, "transactionData": data,
        });
        return ("StopTransaction", payload);
    }
    let mut payload = event(unit, visit, "Ended", READINGS + 1, if reason == "Remote" { "RemoteStop" } else { "StopAuthorized" });
    payload["idToken"] = token(visit);
    payload["transactionInfo"]["stoppedReason"] = json!(reason);
    payload["meterValue"][0]["sampledValue"][0]["signedMeterValue"] = json!({
        "signedMeterData": STANDARD.encode(signed(unit, visit)), "signingMethod": "ECDSA-secp256r1-SHA256", "encodingMethod": "OCMF",
        "publicKey": STANDARD.encode(format!("made up for the demo: key of {}", unit.meter_serial)),
    });
    ("TransactionEvent", payload)
}

/// Signed meter data in the manner of OCMF: `ID` is the driver.
fn signed(unit: &Unit, visit: &Visit) -> String {
    let kwh = format!("{}.{:03}", (visit.meter + visit.energy) / 1000, (visit.meter + visit.energy) % 1000);
    let data = json!({"FV": "1.0", "GI": unit.vendor, "GS": unit.serial, "MS": unit.meter_serial, "IT": visit.kind, "ID": visit.token,
                      "RD": [{"TM": time(visit.end()), "TX": "E", "RV": kwh, "RU": "kWh"}]});
    format!("OCMF|{data}|{{\"SD\":\"3045022100\"}}")
}

fn event(unit: &Unit, visit: &Visit, kind: &str, number: i64, reason: &str) -> Value {
    let context = match kind {
        "Started" => "Transaction.Begin",
        "Ended" => "Transaction.End",
        _ => "Sample.Periodic",
    };
    json!({
        "eventType": kind, "timestamp": time(visit.at + number * EVERY), "triggerReason": reason, "seqNo": number,
        "transactionInfo": {"transactionId": visit.transaction}, "evse": {"id": 1, "connectorId": 1},
        "meterValue": [meter_value(unit, visit, number, context)],
    })
}

/// One reading: the register that the bill is made of, and all that stations add to it.
fn meter_value(unit: &Unit, visit: &Visit, number: i64, context: &str) -> Value {
    let register = visit.meter + visit.energy * number / (READINGS + 1);
    let at = time(visit.at + number * EVERY);
    let soc = 38 + 5 * number;
    let watts = visit.energy * 3600 / ((READINGS + 1) * EVERY);
    if unit.version == Version::V16 {
        let value =
            |value: String, measurand: &str, unit: &str| json!({"value": value, "context": context, "measurand": measurand, "unit": unit});
        return json!({"timestamp": at, "sampledValue": [
            value(register.to_string(), "Energy.Active.Import.Register", "Wh"),
            value(watts.to_string(), "Power.Active.Import", "W"),
            value(format!("{}.{}", watts / 690, watts / 69 % 10), "Current.Import", "A"),
            value(format!("23{}.4", number % 4), "Voltage", "V"),
            value(soc.to_string(), "SoC", "Percent"),
        ]});
    }
    let value = |value: i64, measurand: &str, unit: &str| json!({"value": value, "context": context, "measurand": measurand, "unitOfMeasure": {"unit": unit}});
    json!({"timestamp": at, "sampledValue": [
        value(register, "Energy.Active.Import.Register", "Wh"),
        value(watts, "Power.Active.Import", "W"),
        value(watts / 400, "Current.Import", "A"),
        value(400 + number % 4, "Voltage", "V"),
        value(soc, "SoC", "Percent"),
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::cast::UNITS;
    use crate::demo::wire::worded;

    #[test]
    fn time_is_written_as_the_standard_has_it() {
        assert_eq!(time(MORNING), "2026-11-24T08:00:00Z");
        assert_eq!(time(951_827_696), "2000-02-29T12:34:56Z");
    }

    #[test]
    fn every_message_is_what_the_types_of_rust_ocpp_want() {
        for unit in &UNITS {
            for token in &unit.visitors {
                let visit = Visit {
                    token: token.text.into(),
                    kind: token.kind.into(),
                    transaction: "1".into(),
                    at: MORNING,
                    meter: 1000,
                    energy: 14_000,
                    remote_start: Some(1),
                    reservation: Some(2),
                };
                let mut calls =
                    vec![boot(unit), authorize(unit, token), start(unit, &visit), stop(unit, &visit, "Local"), vendor(unit, token.text)];
                calls.push(status(unit, "Available", MORNING, Some(token.text)));
                calls.push(door(unit, MORNING, token.text));
                calls.extend(readings(unit, &visit));
                for (action, payload) in calls {
                    worded(unit.version, action, false, payload).unwrap_or_else(|e| panic!("{} {e}", unit.id));
                }
            }
        }
    }
}
