//! Reads the file of tariffs: every mistake at once, each with its place. Numbers are read as they are written, never as floating point.

use super::{DAY, DAYS_OF_WEEK, Dimension, Element, Money, PriceComponent, Restrictions, Tariff};
use crate::cdr::json::DECIMALS;
use crate::clock::Timestamp;
use crate::recipient::Ocpi;
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Tariffs in a file, elements in a tariff.
const MOST_TARIFFS: usize = 10_000;
const MOST_ELEMENTS: usize = 100;
/// Of a price or limit, in any currency.
const MOST_MONEY: u32 = 10_000_000;
/// Of a step: a day in seconds is 86,400, ten kWh in Wh are 10,000.
const MOST_STEP: u32 = 1_000_000;
const MOST_KWH: u32 = 1_000_000;
const MOST_SECONDS: i64 = 400 * DAY;

/// The fields that may stand in the file and say nothing of the price.
const UNUSED: [&str; 4] = ["type", "tariff_alt_text", "tariff_alt_url", "energy_mix"];
const UNSUPPORTED: [&str; 5] = ["min_current", "max_current", "min_power", "max_power", "reservation"];

pub(super) fn read(json: &str) -> Result<Vec<Tariff>, Vec<String>> {
    let mistakes = RefCell::new(Vec::new());
    let items: Vec<&RawValue> = match serde_json::from_str(json) {
        Ok(items) => items,
        // Not serde_json's own words: they quote what they met.
        Err(error) => return Err(vec![format!("line {} column {}: this is no JSON array of tariffs", error.line(), error.column())]),
    };
    if items.len() > MOST_TARIFFS {
        return Err(vec![format!("there are more than {MOST_TARIFFS} tariffs")]);
    }
    let mut ids = BTreeSet::new();
    let mut list = Vec::new();
    for (at, item) in items.into_iter().enumerate() {
        let before = mistakes.borrow().len();
        let path = format!("[{at}]");
        let Some(tariff) = Fields::open(item, path.clone(), &mistakes).and_then(tariff) else { continue };
        if !ids.insert(tariff.id.to_ascii_uppercase()) {
            mistakes.borrow_mut().push(format!("{path}.id: an earlier tariff has it too"));
        }
        if mistakes.borrow().len() == before {
            mistakes.borrow_mut().extend(lint(&tariff).into_iter().map(|mistake| path.clone() + &mistake));
        }
        list.push(tariff);
    }
    let mistakes = mistakes.into_inner();
    if mistakes.is_empty() { Ok(list) } else { Err(mistakes) }
}

/// What `ocpi-tariffs` finds wrong with a tariff that we understood: an unknown currency or country, restrictions that never hold.
fn lint(tariff: &Tariff) -> Vec<String> {
    let json = tariff.write(Ocpi::V221);
    let Ok(report) = ocpi_tariffs::tariff::parse_with_version(&json, ocpi_tariffs::Version::V221) else {
        return vec![": ocpi-tariffs cannot read it".to_owned()];
    };
    let warnings = ocpi_tariffs::tariff::lint(&report.tariff).warnings;
    // Of a warning's id only the word: what may stand behind it in brackets is a value.
    let word = |id: &str| id.split('(').next().unwrap_or_default().replace('_', " ");
    let found = warnings.path_id_map();
    found
        .iter()
        .flat_map(|(path, ids)| ids.iter().map(move |id| format!("{}: {}", path.trim_start_matches('$'), word(id.as_str()))))
        .collect()
}

fn tariff(mut fields: Fields<'_>) -> Option<Tariff> {
    let country_code = fields.text("country_code", 2, 2);
    let party_id = fields.text("party_id", 3, 3);
    let id = fields.text("id", 1, 36);
    let currency = fields.text("currency", 3, 3);
    let [min_price, max_price] = ["min_price", "max_price"].map(|name| fields.object(name).map(money));
    let start = fields.moment("start_date_time");
    let end = fields.moment("end_date_time");
    let elements: Vec<Option<Element>> = fields.list("elements", MOST_ELEMENTS).into_iter().map(element).collect();
    fields.need(&["last_updated"]);
    let last_updated = fields.moment("last_updated");
    for name in UNUSED {
        fields.fields.remove(name);
    }
    let taxed = elements.iter().flatten().flat_map(|element| &element.prices).any(|price| price.vat.is_some_and(|vat| !vat.is_zero()));
    let limit = |name: &str, money: Option<Option<(Decimal, Option<Decimal>)>>| {
        let (excl_vat, incl_vat) = money??;
        if incl_vat.is_none() && taxed {
            fields.mistake(name, "needs incl_vat, as prices carry VAT");
        }
        let incl_vat = incl_vat.unwrap_or(excl_vat);
        if incl_vat < excl_vat {
            fields.mistake(name, "has an incl_vat below excl_vat");
        }
        Some(Money { excl_vat, incl_vat })
    };
    let min_price = limit("min_price", min_price);
    let max_price = limit("max_price", max_price);
    if let (Some(min), Some(max)) = (min_price, max_price)
        && (min.excl_vat > max.excl_vat || min.incl_vat > max.incl_vat)
    {
        fields.mistake("min_price", "is above max_price");
    }
    if matches!((start, end), (Some(start), Some(end)) if start >= end) {
        fields.mistake("end_date_time", "is not after start_date_time");
    }
    fields.close();
    Some(Tariff {
        country_code: country_code?.to_ascii_uppercase(),
        party_id: party_id?.to_ascii_uppercase(),
        id: id?,
        currency: currency?,
        min_price,
        max_price,
        elements: elements.into_iter().collect::<Option<_>>()?,
        start,
        end,
        last_updated: last_updated?,
    })
}

fn money(mut fields: Fields<'_>) -> Option<(Decimal, Option<Decimal>)> {
    fields.need(&["excl_vat"]);
    let excl_vat = fields.number("excl_vat", MOST_MONEY);
    let incl_vat = fields.number("incl_vat", MOST_MONEY);
    fields.close();
    Some((excl_vat?, incl_vat))
}

fn element(mut fields: Fields<'_>) -> Option<Element> {
    let prices: Vec<Option<PriceComponent>> = fields.list("price_components", Dimension::ALL.len()).into_iter().map(price).collect();
    let dimensions: Vec<Dimension> = prices.iter().flatten().map(|price| price.dimension).collect();
    if dimensions.iter().collect::<BTreeSet<_>>().len() < dimensions.len() {
        fields.mistake("price_components", "has two of one type");
    }
    let restrictions = fields.object("restrictions").map(restrictions).unwrap_or_default();
    fields.close();
    Some(Element { prices: prices.into_iter().collect::<Option<_>>()?, restrictions })
}

fn price(mut fields: Fields<'_>) -> Option<PriceComponent> {
    let word = fields.text("type", 1, 12);
    let dimension = word.as_ref().and_then(|word| Dimension::ALL.into_iter().find(|dimension| dimension.word() == word));
    if word.is_some() && dimension.is_none() {
        fields.mistake("type", "is none of ENERGY, FLAT, PARKING_TIME and TIME");
    }
    fields.need(&["price", "step_size"]);
    let price = fields.number("price", MOST_MONEY);
    let vat = fields.number("vat", 100);
    let step_size = fields.whole("step_size", 1, i64::from(MOST_STEP));
    fields.close();
    Some(PriceComponent { dimension: dimension?, price: price?, vat, step_size: u32::try_from(step_size?).ok()? })
}

fn restrictions(mut fields: Fields<'_>) -> Restrictions {
    for name in UNSUPPORTED {
        if fields.fields.remove(name).is_some() {
            fields.mistake(name, "is not supported: a price that goes by it cannot be shown without telling of the vehicle");
        }
    }
    let start_time = fields.parsed("start_time", "is no time of day such as 07:30", minute);
    let end_time = fields.parsed("end_time", "is no time of day such as 19:00", minute);
    let start_date = fields.parsed("start_date", "is no date such as 2026-01-31", day);
    let end_date = fields.parsed("end_date", "is no date such as 2026-01-31", day);
    let min_kwh = fields.number("min_kwh", MOST_KWH);
    let max_kwh = fields.number("max_kwh", MOST_KWH);
    let min_duration = fields.whole("min_duration", 0, MOST_SECONDS);
    let max_duration = fields.whole("max_duration", 0, MOST_SECONDS);
    let mut days = BTreeSet::new();
    if let Some(names) = fields.fields.remove("day_of_week").map(|raw| serde_json::from_str::<Vec<String>>(raw.get()).unwrap_or_default()) {
        for name in &names {
            match DAYS_OF_WEEK.iter().position(|day| day == name) {
                Some(day) => drop(days.insert(u8::try_from(day).unwrap_or_default())),
                None => fields.mistake("day_of_week", "is none of MONDAY to SUNDAY"),
            }
        }
        if names.is_empty() {
            fields.mistake("day_of_week", "names no day");
        }
    }
    // Without a beginning before it, midnight ends the day and does not begin it (OCPI 2.2.1: to stop at the end of the day, use 00:00).
    let (start, end) = (start_time.filter(|minute| *minute > 0), end_time.filter(|minute| *minute > 0));
    let never = |name: &str, is: bool| {
        if is {
            fields.mistake(name, "leaves nothing between it and its beginning");
        }
    };
    never("end_time", start.is_some() && start == end);
    never("end_date", matches!((start_date, end_date), (Some(from), Some(to)) if from >= to));
    never("max_kwh", max_kwh.is_some_and(|most| most <= min_kwh.unwrap_or_default()));
    never("max_duration", max_duration.is_some_and(|most| most <= min_duration.unwrap_or_default()));
    fields.close();
    Restrictions {
        start_time: start,
        end_time: end,
        start_date,
        end_date,
        min_kwh: min_kwh.filter(|least| !least.is_zero()),
        max_kwh,
        min_duration: min_duration.filter(|least| *least > 0),
        max_duration,
        days: if days.len() < DAYS_OF_WEEK.len() { days.into_iter().collect() } else { Vec::new() },
    }
}

/// `07:30` as the minute of the day.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':').filter(|_| text.len() == 5)?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    let (hour, minute) = (digits(hour).filter(|h| *h < 24)?, digits(minute).filter(|m| *m < 60)?);
    Some(hour * 60 + minute)
}

/// `2026-01-31` as the day since 1970-01-01.
fn day(text: &str) -> Option<i64> {
    let date = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10)?;
    Some(date.signed_duration_since(chrono::NaiveDate::default()).num_days())
}

/// An object of the file; what is taken from it is gone, what is left at the end is a mistake.
struct Fields<'a> {
    path: String,
    fields: BTreeMap<String, &'a RawValue>,
    mistakes: &'a RefCell<Vec<String>>,
}

impl<'a> Fields<'a> {
    fn open(raw: &'a RawValue, path: String, mistakes: &'a RefCell<Vec<String>>) -> Option<Self> {
        let Ok(fields) = serde_json::from_str(raw.get()) else {
            mistakes.borrow_mut().push(format!("{path}: is no JSON object"));
            return None;
        };
        Some(Self { path, fields, mistakes })
    }

    fn mistake(&self, name: &str, why: &str) {
        self.mistakes.borrow_mut().push(format!("{}.{name}: {why}", self.path));
    }

    fn need(&self, names: &[&str]) {
        for name in names.iter().filter(|name| !self.fields.contains_key(**name)) {
            self.mistake(name, "is missing");
        }
    }

    /// A text of that length; its absence is a mistake.
    fn text(&mut self, name: &str, least: usize, most: usize) -> Option<String> {
        let text = self.fields.remove(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let text = text.filter(|text| (least..=most).contains(&text.len()) && text.bytes().all(|b| matches!(b, b' '..=b'~')));
        if text.is_none() {
            self.mistake(name, &format!("must be a text of {least} to {most} printable ASCII characters"));
        }
        text
    }

    fn parsed<T>(&mut self, name: &str, why: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let raw = self.fields.remove(name)?;
        let parsed = serde_json::from_str::<String>(raw.get()).ok().and_then(|text| parse(&text));
        if parsed.is_none() {
            self.mistake(name, why);
        }
        parsed
    }

    fn moment(&mut self, name: &str) -> Option<Timestamp> {
        self.parsed(name, "is no moment such as 2026-01-31T12:00:00Z", |text| {
            chrono::DateTime::parse_from_rfc3339(text).ok().map(|moment| Timestamp(moment.timestamp_millis()))
        })
    }

    /// A number from 0 to `most` with at most four decimals.
    fn number(&mut self, name: &str, most: u32) -> Option<Decimal> {
        let raw = self.fields.remove(name)?;
        let number = Decimal::from_str_exact(raw.get()).ok().map(|number| number.normalize());
        let number = number.filter(|n| n.scale() <= DECIMALS && *n >= Decimal::ZERO && *n <= Decimal::from(most));
        if number.is_none() {
            self.mistake(name, &format!("must be a number from 0 to {most} with at most {DECIMALS} decimals"));
        }
        number
    }

    fn whole(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let raw = self.fields.remove(name)?;
        let number = raw.get().parse::<i64>().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.mistake(name, &format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    fn object(&mut self, name: &str) -> Option<Self> {
        let raw = self.fields.remove(name)?;
        Fields::open(raw, format!("{}.{name}", self.path), self.mistakes)
    }

    /// A list of 1 to `most` objects.
    fn list(&mut self, name: &str, most: usize) -> Vec<Self> {
        let items: Option<Vec<&'a RawValue>> = self.fields.remove(name).and_then(|raw| serde_json::from_str(raw.get()).ok());
        let Some(items) = items.filter(|items| (1..=most).contains(&items.len())) else {
            self.mistake(name, &format!("must be a list of 1 to {most} objects"));
            return Vec::new();
        };
        let path = |at| format!("{}.{name}[{at}]", self.path);
        items.into_iter().enumerate().filter_map(|(at, raw)| Fields::open(raw, path(at), self.mistakes)).collect()
    }

    fn close(self) {
        for name in self.fields.keys() {
            // A name that is not ours may be anything: only its place is told, by the names around it.
            let known = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && name.len() <= 32;
            self.mistake(if known { name } else { "?" }, "is no field of an OCPI 2.2.1 tariff");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"[{"country_code":"nl","party_id":"CPO","id":"day","currency":"EUR","type":"REGULAR","tariff_alt_url":"https://x.example",
      "min_price":{"excl_vat":0.5,"incl_vat":0.605},
      "elements":[{"price_components":[{"type":"ENERGY","price":0.25,"vat":21,"step_size":1}],
                   "restrictions":{"start_time":"07:00","end_time":"00:00","day_of_week":["SUNDAY","MONDAY"],"start_date":"2026-01-01","max_kwh":20.5}},
                  {"price_components":[{"type":"FLAT","price":0.10,"step_size":1},{"type":"TIME","price":1,"step_size":60}]}],
      "last_updated":"2026-01-01T00:00:00Z"}]"#;

    #[test]
    fn a_tariff_is_read_and_written_without_what_no_price_needs() {
        let tariffs = read(GOOD).unwrap();
        let written = tariffs[0].write(Ocpi::V221);
        assert_eq!(read(&format!("[{written}]")).unwrap(), tariffs);
        assert!(!written.contains("alt") && !written.contains("REGULAR") && written.contains("\"price\":0.1,"), "{written}");
        let restrictions = &tariffs[0].elements[0].restrictions;
        assert_eq!((restrictions.start_time, restrictions.end_time, restrictions.start_date), (Some(420), None, Some(20_454)));
        assert_eq!(restrictions.days, [0, 6]);
        assert_eq!(tariffs[0].country_code, "NL");
        let old = tariffs[0].write(Ocpi::V211);
        assert!(!old.contains("vat") && !old.contains("country_code") && !old.contains("min_price"), "{old}");
        let new = tariffs[0].write(Ocpi::V230);
        assert!(new.contains(r#""tax_included":"NO""#) && new.contains(r#""min_price":{"before_taxes":0.5,"after_taxes":0.605}"#), "{new}");
    }

    #[test]
    fn all_mistakes_are_told_and_no_value_is_quoted() {
        let bad = r#"[{"country_code":"NLD","party_id":"CPO","id":"s3cret","currency":"EUR","s3cret-key!":1,"min_prise":1,
          "max_price":{"excl_vat":1},
          "elements":[{"price_components":[{"type":"s3cret","price":0.12345,"step_size":0},{"type":"TIME","price":1e2,"vat":101,"step_size":1}],
            "restrictions":{"start_time":"7:00","end_date":"2026-02-30","max_kwh":-1,"max_power":16,"day_of_week":["MON"]}},
           {"price_components":[{"type":"FLAT","price":1,"vat":21,"step_size":1},{"type":"FLAT","price":1,"step_size":1}],"restrictions":{"start_time":"07:00","end_time":"07:00","min_kwh":5,"max_kwh":5}}],
          "last_updated":"yesterday"},
          7]"#;
        let mistakes = read(bad).unwrap_err();
        let all = mistakes.join("\n");
        for place in [
            "[0].country_code:",
            "[0].?:",
            "[0].min_prise:",
            "[0].elements[0].price_components[0].type:",
            "[0].elements[0].price_components[0].price:",
            "[0].elements[0].price_components[0].step_size:",
            "[0].elements[0].price_components[1].price:",
            "[0].elements[0].price_components[1].vat:",
            "[0].elements[0].restrictions.start_time:",
            "[0].elements[0].restrictions.end_date:",
            "[0].elements[0].restrictions.max_kwh:",
            "[0].elements[0].restrictions.max_power:",
            "[0].elements[0].restrictions.day_of_week:",
            "[0].elements[1].price_components:",
            "[0].elements[1].restrictions.end_time:",
            "[0].elements[1].restrictions.max_kwh:",
            "[0].last_updated:",
            "[1]:",
            "[0].max_price:",
        ] {
            assert!(all.contains(place), "{place} in\n{all}");
        }
        assert!(!all.contains("s3cret"), "{all}");
    }

    #[test]
    fn what_only_the_library_knows_is_told_too() {
        let mistakes = read(&GOOD.replace("EUR", "QQQ")).unwrap_err();
        assert!(mistakes[0].starts_with("[0].currency: ") && !mistakes[0].contains("QQQ"), "{mistakes:?}");
        let twice = format!("[{0},{0}]", &GOOD[1..GOOD.len() - 1]);
        assert_eq!(read(&twice).unwrap_err(), ["[1].id: an earlier tariff has it too"]);
        assert_eq!(read("[\n{]").unwrap_err(), ["line 2 column 2: this is no JSON array of tariffs"]);
    }
}
