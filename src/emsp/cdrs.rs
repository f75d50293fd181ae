//! CDRs as an e-MSP has them, in OCPI 2.1.1, 2.2.1 and 2.3.0: read one after the other, each forgotten before the next. Of each only what a
//! bill shows. Exact numbers throughout.

use crate::pseudonym::Pseudonym;
use rust_decimal::Decimal;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;
use std::io::Read;

/// What a CDR says that a bill shows. What it does not say is empty or `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bill {
    /// The CDR's id.
    pub id: String,
    /// When the session began, as the CDR has it.
    pub start: String,
    /// When it ended, as the CDR has it.
    pub end: String,
    /// Energy in kWh.
    pub energy_kwh: Option<Decimal>,
    /// What it costs without VAT. Less than nothing in a credit CDR.
    pub total_excl_vat: Option<Decimal>,
    /// What it costs with VAT; OCPI 2.1.1 does not say.
    pub total_incl_vat: Option<Decimal>,
    /// ISO 4217.
    pub currency: String,
    /// Where: the address and the city.
    pub place: String,
    /// The code of the card. In OCPI 2.1.1 the one code there is, of card or contract.
    pub card: Option<Pseudonym>,
    /// The code of the contract.
    pub contract: Option<Pseudonym>,
}

/// Why CDRs cannot be read. Tells where, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CdrsError {
    /// Not JSON.
    #[error("line {0}, column {1}: is not JSON")]
    NotJson(usize, usize),
    /// It ends in the middle.
    #[error("line {0}, column {1}: ends in the middle of a CDR")]
    CutShort(usize, usize),
    /// JSON, but not CDRs.
    #[error("line {0}, column {1}: is neither a CDR, nor a list of CDRs, nor an OCPI answer that holds them")]
    NotCdrs(usize, usize),
    /// It cannot be read.
    #[error("cannot read: {0}")]
    Read(std::io::ErrorKind),
}

/// Calls `work` with each CDR in the input, in order: a JSON array of CDRs, one CDR, one on each line, or an OCPI answer (`{"data": …}`) with
/// an array or a CDR in it. Memory does not grow with their number.
///
/// # Errors
/// [`CdrsError`], or the error of `work`, which ends it.
pub fn each<E: From<CdrsError>>(input: impl Read, mut work: impl FnMut(Bill) -> Result<(), E>) -> Result<(), E> {
    let mut stopped = None;
    let mut hand = |bill| {
        work(bill).map_err(|error| {
            stopped = Some(error);
        })
    };
    let mut json = serde_json::Deserializer::from_reader(std::io::BufReader::new(input));
    let mut read = Ok(());
    while read.is_ok() && json.end().is_err() {
        read = Level { may_list: true, may_wrap: true, hand: &mut hand }.deserialize(&mut json);
    }
    match (stopped, read) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(told(&error).into()),
    }
}

/// The library's own words quote the value.
fn told(error: &serde_json::Error) -> CdrsError {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Io => CdrsError::Read(error.io_error_kind().unwrap_or(std::io::ErrorKind::Other)),
        serde_json::error::Category::Syntax => CdrsError::NotJson(line, column),
        serde_json::error::Category::Eof => CdrsError::CutShort(line, column),
        serde_json::error::Category::Data => CdrsError::NotCdrs(line, column),
    }
}

/// The members that are looked at.
const MEMBERS: [&str; 9] =
    ["id", "start_date_time", "total_energy", "currency", "total_cost", "cdr_token", "auth_id", "cdr_location", "location"];

/// One level of the input: what may stand here, and who gets the CDRs.
struct Level<'a, F> {
    may_list: bool,
    may_wrap: bool,
    hand: &'a mut F,
}

impl<'de, F: FnMut(Bill) -> Result<(), ()>> DeserializeSeed<'de> for Level<'_, F> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Bill) -> Result<(), ()>> Visitor<'de> for Level<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CDRs")
    }

    /// An OCPI answer without data: nothing to bill.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if !self.may_list {
            return Err(A::Error::custom("a list in a list"));
        }
        while list.next_element_seed(Level { may_list: false, may_wrap: false, hand: &mut *self.hand })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut members: HashMap<&'static str, Box<RawValue>> = HashMap::with_capacity(MEMBERS.len() + 1);
        let mut wrapped = false;
        while let Some(name) = object.next_key::<String>()? {
            // 2.1.1 calls the end by another name.
            let known = match name.as_str() {
                "stop_date_time" | "end_date_time" => Some("end"),
                name => MEMBERS.into_iter().find(|member| *member == name),
            };
            wrapped |= self.may_wrap && matches!(name.as_str(), "data" | "status_code");
            if self.may_wrap && name == "data" {
                object.next_value_seed(Level { may_list: true, may_wrap: false, hand: &mut *self.hand })?;
            } else if let Some(known) = known {
                members.insert(known, object.next_value()?);
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        if wrapped {
            return Ok(());
        }
        if !members.contains_key("id") {
            return Err(A::Error::custom("no CDR"));
        }
        (self.hand)(bill(&members)).map_err(|()| A::Error::custom("stopped"))
    }
}

fn bill(members: &HashMap<&'static str, Box<RawValue>>) -> Bill {
    let raw = |name: &str| members.get(name).map(|value| value.get());
    let text = |name: &str| raw(name).and_then(string).unwrap_or_default();
    let (total_excl_vat, total_incl_vat) = raw("total_cost").map_or((None, None), price);
    let token = raw("cdr_token").map(object).unwrap_or_default();
    let code = |text: Option<String>| text.as_deref().and_then(Pseudonym::normalised);
    let of_token = |name: &str| token.get(name).and_then(|value| string(value.get()));
    let location = raw("cdr_location").or_else(|| raw("location")).map(object).unwrap_or_default();
    let place = ["address", "city"].into_iter().filter_map(|name| location.get(name).and_then(|value| string(value.get())));
    Bill {
        id: text("id"),
        start: text("start_date_time"),
        end: text("end"),
        energy_kwh: raw("total_energy").and_then(decimal),
        total_excl_vat,
        total_incl_vat,
        currency: text("currency"),
        place: place.collect::<Vec<_>>().join(", "),
        card: code(of_token("uid").or_else(|| raw("auth_id").and_then(string))),
        contract: code(of_token("contract_id")),
    }
}

/// `total_cost` in its three shapes: a number (2.1.1), `{excl_vat, incl_vat?}` (2.2.1), `{before_taxes, taxes: [{amount}]}` (2.3.0).
fn price(raw: &str) -> (Option<Decimal>, Option<Decimal>) {
    if let Some(number) = decimal(raw) {
        return (Some(number), None);
    }
    let price = object(raw);
    let of = |name: &str| price.get(name).and_then(|value| decimal(value.get()));
    let Some(before) = of("before_taxes") else { return (of("excl_vat"), of("incl_vat")) };
    let taxes: Vec<Box<RawValue>> = price.get("taxes").and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    let amounts = taxes.iter().map(|tax| object(tax.get()).get("amount").and_then(|value| decimal(value.get())));
    let sum = amounts.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()).map(|all| all.into_iter().sum::<Decimal>());
    (Some(before), sum.and_then(|sum| before.checked_add(sum)))
}

fn object(raw: &str) -> HashMap<String, Box<RawValue>> {
    serde_json::from_str(raw).unwrap_or_default()
}

fn string(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// A JSON number, exactly as it stands there; some write their numbers as texts.
fn decimal(raw: &str) -> Option<Decimal> {
    let number = raw.trim_matches('"');
    number.parse().or_else(|_| Decimal::from_scientific(number)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Bill>, CdrsError> {
        let mut bills = Vec::new();
        each(text.as_bytes(), |bill| {
            bills.push(bill);
            Ok::<_, CdrsError>(())
        })?;
        Ok(bills)
    }

    const CODE: &str = "Z3WDZZNWBCGED07GQWAYB57K6W54V23";

    #[test]
    fn the_three_shapes_say_the_same() {
        let old = format!(
            r#"{{"id":"1","start_date_time":"a","stop_date_time":"b","auth_id":"{CODE}","location":{{"address":"Kade 1","city":"Utrecht"}},"currency":"EUR","total_cost":4.00,"total_energy":15.342}}"#
        );
        let new = format!(
            r#"{{"id":"1","start_date_time":"a","end_date_time":"b","cdr_token":{{"uid":"{}","contract_id":"x"}},"cdr_location":{{"city":"Utrecht","address":"Kade 1"}},"currency":"EUR","total_cost":{{"excl_vat":4.00,"incl_vat":4.84}},"total_energy":15.342}}"#,
            CODE.to_lowercase()
        );
        let newest = new.replace(
            r#"{"excl_vat":4.00,"incl_vat":4.84}"#,
            r#"{"before_taxes":4.00,"taxes":[{"name":"VAT","amount":0.8},{"amount":4e-2}]}"#,
        );
        let [old, new, newest] = [old, new, newest].map(|text| all(&text).unwrap().remove(0));
        assert_eq!((new.card, old.card), (Pseudonym::from_text(CODE), Pseudonym::from_text(CODE)));
        assert_eq!(new.total_incl_vat.unwrap().to_string(), "4.84");
        assert_eq!(newest, new);
        assert_eq!(old, Bill { total_incl_vat: None, ..new.clone() });
        assert_eq!((new.energy_kwh.unwrap().to_string().as_str(), new.place.as_str()), ("15.342", "Kade 1, Utrecht"));
    }

    #[test]
    fn cdrs_come_in_every_wrapping() {
        let ids = |text: &str| all(text).map(|all| all.into_iter().map(|bill| bill.id).collect::<Vec<_>>().join(" "));
        for (text, expected) in [
            (r#"[{"id":"1"},{"id":"2","x":[{"id":"3"}]}]"#, "1 2"),
            (r#"{"id":"1"}"#, "1"),
            ("{\"id\":\"1\"}\n{\"id\":\"2\"}\n\n", "1 2"),
            (r#"{"data":[{"id":"1"},{"id":"2"}],"status_code":1000,"timestamp":"t"}"#, "1 2"),
            (r#"{"status_code":1000,"data":{"id":"1"}}"#, "1"),
            (r#"{"status_code":2001,"timestamp":"t"}"#, ""),
            (r#"{"data":null,"status_code":2001}"#, ""),
            ("{\"data\":[{\"id\":\"1\"}]}\n{\"data\":[{\"id\":\"2\"}]}", "1 2"),
            ("[]", ""),
            ("", ""),
        ] {
            assert_eq!(ids(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_cdr_is_told_by_its_place_and_not_quoted() {
        for (text, error) in [
            ("[{\"id\":\"1\"},\n\"s3cret\"]", CdrsError::NotCdrs(2, 8)),
            ("[{\"id\":\"1\"},\n{\"s3cret\":1}]", CdrsError::NotCdrs(2, 12)),
            ("{\"id\":s3cret}", CdrsError::NotJson(1, 7)),
            ("[{\"id\":\"1\"", CdrsError::CutShort(1, 10)),
            ("[[{\"id\":\"1\"}]]", CdrsError::NotCdrs(1, 3)),
            ("{\"s3cret\":1}", CdrsError::NotCdrs(1, 12)),
        ] {
            let found = all(text).unwrap_err();
            assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(&error), "{text}: {found}");
            assert!(!found.to_string().contains("s3cret"));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[\\[\\]{}:,\"0-9a-e.-]{0,60}", cut in 0usize..120) {
            let _ = all(&text);
            let whole = format!(r#"{{"data":[{{"id":"1","total_cost":{{"before_taxes":1e400,"taxes":[{text}]}},"cdr_token":{{"uid":"{CODE}"}}}}]}}"#);
            let _ = all(whole.get(..cut).unwrap_or(&whole));
        }
    }
}
