//! The site register: where each connector of each station is, how it is called towards e-MSPs, and by which tariff it bills. A home is told
//! of no more closely than its city (R13): CDRs of home chargers may be sent, address and coordinates are mandatory in OCPI, and `#NA` does
//! not stand for unwillingness, so the parties agree on a generalisation, and this is ours.

use super::Party;
use chrono_tz::Tz;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Rows of a register.
const MOST_ROWS: usize = 1_000_000;
/// Beyond these, further mistakes are not told.
const MOST_MISTAKES: usize = 1_000;

/// ConnectorType of OCPI 2.2.1. Those that 2.1.1 lacks are written there all the same: there is no word for „another”.
const STANDARDS: &[&str] = &[
    "CHADEMO",
    "CHAOJI",
    "DOMESTIC_A",
    "DOMESTIC_B",
    "DOMESTIC_C",
    "DOMESTIC_D",
    "DOMESTIC_E",
    "DOMESTIC_F",
    "DOMESTIC_G",
    "DOMESTIC_H",
    "DOMESTIC_I",
    "DOMESTIC_J",
    "DOMESTIC_K",
    "DOMESTIC_L",
    "DOMESTIC_M",
    "DOMESTIC_N",
    "DOMESTIC_O",
    "GBT_AC",
    "GBT_DC",
    "IEC_60309_2_single_16",
    "IEC_60309_2_three_16",
    "IEC_60309_2_three_32",
    "IEC_60309_2_three_64",
    "IEC_62196_T1",
    "IEC_62196_T1_COMBO",
    "IEC_62196_T2",
    "IEC_62196_T2_COMBO",
    "IEC_62196_T3A",
    "IEC_62196_T3C",
    "NEMA_5_20",
    "NEMA_6_30",
    "NEMA_6_50",
    "NEMA_10_30",
    "NEMA_10_50",
    "NEMA_14_30",
    "NEMA_14_50",
    "PANTOGRAPH_BOTTOM_UP",
    "PANTOGRAPH_TOP_DOWN",
    "TESLA_R",
    "TESLA_S",
];
/// PowerType of OCPI 2.2.1.
const POWER_TYPES: &[&str] = &["AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"];
/// ConnectorFormat.
const FORMATS: &[&str] = &["SOCKET", "CABLE"];

/// The columns of the register, and whether each must be there.
pub const COLUMNS: &[(&str, bool)] = &[
    ("station", true),
    ("evse", true),
    ("connector", true),
    ("location_id", true),
    ("evse_uid", true),
    ("evse_id", true),
    ("connector_id", true),
    ("name", false),
    ("address", true),
    ("city", true),
    ("postal_code", false),
    ("state", false),
    ("country", true),
    ("latitude", true),
    ("longitude", true),
    ("standard", true),
    ("format", true),
    ("power_type", true),
    ("max_kw", false),
    ("tariff", true),
    ("home", false),
    ("time_zone", false),
    ("neighbourhood", false),
    ("municipality", false),
    ("province", false),
];

/// What a CDR says of where the session was (OCPI 2.2.1, CDRs, CdrLocation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The location's id, at most 36 characters.
    pub location_id: String,
    /// Its name, at most 255 characters.
    pub name: Option<String>,
    /// Street and number, at most 45 characters.
    pub address: String,
    /// City, at most 45 characters.
    pub city: String,
    /// Postal code, at most 10 characters.
    pub postal_code: Option<String>,
    /// State or province, at most 20 characters.
    pub state: Option<String>,
    /// ISO 3166 alpha-3.
    pub country: String,
    /// Degrees north, at most six decimals.
    pub latitude: Decimal,
    /// Degrees east, at most six decimals.
    pub longitude: Decimal,
    /// The EVSE's id at the CPO, at most 36 characters.
    pub evse_uid: String,
    /// The EVSE's public id, at most 48 characters.
    pub evse_id: String,
    /// The connector's id, at most 36 characters.
    pub connector_id: String,
    /// ConnectorType, such as `IEC_62196_T2`.
    pub standard: String,
    /// `SOCKET` or `CABLE`.
    pub format: String,
    /// PowerType, such as `AC_3_PHASE`.
    pub power_type: String,
    /// The most power it gives, in kW.
    pub max_kw: Option<Decimal>,
    /// At somebody's home: CDRs are told no more than the city (R13).
    pub home: bool,
}

impl Place {
    /// The place as an e-MSP is told of it: a public one as it is; a home as „Home” in its city, at the nearest tenth of a degree (some ten
    /// kilometres), without name, postal code and state, under ids that no other e-MSP sees (R04). `alias` names its argument in the
    /// e-MSP's domain, in at most 16 letters and digits.
    pub(super) fn told(&self, alias: &dyn Fn(&str) -> String, cpo: &Party) -> Self {
        if !self.home {
            return self.clone();
        }
        let coarse = |degrees: Decimal| degrees.round_dp_with_strategy(1, RoundingStrategy::MidpointAwayFromZero);
        let evse = alias(&format!("evse/{}", self.evse_uid));
        Self {
            location_id: alias(&format!("location/{}", self.location_id)),
            name: None,
            address: "Home".to_owned(),
            postal_code: None,
            state: None,
            latitude: coarse(self.latitude),
            longitude: coarse(self.longitude),
            // An id of the form that OCPI asks for, in the CPO's name and with nothing of the true one.
            evse_id: format!("{}*{}*E{evse}", cpo.country_code, cpo.party_id),
            evse_uid: evse,
            connector_id: "1".to_owned(),
            max_kw: None,
            ..self.clone()
        }
    }
}

/// A connector of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Where it is.
    pub place: Place,
    /// The id of its tariff; `None` charges nothing.
    pub tariff: Option<String>,
    /// The time zone its tariff goes by.
    pub zone: Tz,
    /// As the register has it, for statistics.
    pub neighbourhood: Option<String>,
    /// As the register has it, for statistics.
    pub municipality: Option<String>,
    /// As the register has it, for statistics.
    pub province: Option<String>,
}

/// A station's EVSE and connector; `None` is any.
type Key = (String, Option<u32>, Option<u32>);

/// The site register.
#[derive(Debug, Clone, Default)]
pub struct Sites {
    rows: HashMap<Key, Site>,
}

impl Sites {
    /// Reads the register: CSV with a header line, of the [`COLUMNS`] in any order. `evse` and `connector` are numbers, or `*` for any.
    /// `zone` is that of rows which name none. An empty `tariff` charges nothing.
    ///
    /// # Errors
    /// All mistakes, each with its line and column; no value is quoted.
    pub fn parse(csv: &str, zone: Tz) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(csv.as_bytes());
        let header = reader.headers().cloned().map_err(|_| vec!["line 1: no header could be read".to_owned()])?;
        let header: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
        for (at, name) in header.iter().enumerate() {
            if !COLUMNS.iter().any(|(column, _)| column == name) {
                mistakes.push(format!("line 1: column {} has a name that is not known", at + 1));
            } else if header[..at].contains(name) {
                mistakes.push(format!("line 1: column {name} is there twice"));
            }
        }
        for (name, _) in COLUMNS.iter().filter(|(name, needed)| *needed && !header.contains(name)) {
            mistakes.push(format!("line 1: column {name} is missing"));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut rows = HashMap::new();
        for record in reader.records() {
            if mistakes.len() >= MOST_MISTAKES || rows.len() > MOST_ROWS {
                mistakes.push(format!("there are more than {MOST_ROWS} rows or {MOST_MISTAKES} mistakes; the rest was not read"));
                break;
            }
            let Ok(record) = record else {
                mistakes.push("a line could not be read".to_owned());
                continue;
            };
            let line = record.position().map_or(0, csv::Position::line);
            if record.len() != header.len() {
                mistakes.push(format!("line {line}: has {} columns, the header {}", record.len(), header.len()));
                continue;
            }
            let before = mistakes.len();
            let mut row = Row { header: &header, record: &record, line, mistakes: &mut mistakes };
            let (key, site) = row.read(zone);
            if mistakes.len() > before {
                continue;
            }
            if let (Some(key), Some(site)) = (key, site)
                && rows.insert(key, site).is_some()
            {
                mistakes.push(format!("line {line}: an earlier line has the same station, evse and connector"));
            }
        }
        if mistakes.is_empty() { Ok(Self { rows }) } else { Err(mistakes) }
    }

    /// The site of a connector: the row of that connector, else of its EVSE, else of that connector at any EVSE, else of the station.
    pub fn find(&self, station: &str, evse: u32, connector: u32) -> Option<&Site> {
        [(Some(evse), Some(connector)), (Some(evse), None), (None, Some(connector)), (None, None)]
            .into_iter()
            .find_map(|(evse, connector)| self.rows.get(&(station.to_owned(), evse, connector)))
    }

    /// The ids of homes and of their EVSEs, in upper case: as OCPI compares them.
    pub fn homes(&self) -> HashSet<String> {
        let homes = self.rows.values().map(|site| &site.place).filter(|place| place.home);
        homes.flat_map(|place| [&place.location_id, &place.evse_uid]).map(|id| id.to_ascii_uppercase()).collect()
    }

    /// All rows, in no order, each with its station.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Site)> {
        self.rows.iter().map(|((station, _, _), site)| (station.as_str(), site))
    }
}

/// A line of the register.
struct Row<'a> {
    header: &'a [&'a str],
    record: &'a csv::StringRecord,
    line: u64,
    mistakes: &'a mut Vec<String>,
}

impl<'a> Row<'a> {
    fn read(&mut self, zone: Tz) -> (Option<Key>, Option<Site>) {
        let station = self.text("station", 255);
        let evse = self.number_or_any("evse");
        let connector = self.number_or_any("connector");
        let latitude = self.degrees("latitude", 90);
        let longitude = self.degrees("longitude", 180);
        let home = match self.value("home") {
            "" | "false" => Some(false),
            "true" => Some(true),
            _ => self.wrong("home", "is neither true nor false"),
        };
        let country = self.text("country", 3).filter(|country| {
            let right = country.len() == 3 && country.bytes().all(|b| b.is_ascii_uppercase());
            right || self.wrong::<()>("country", "is no ISO 3166 alpha-3 code").is_some()
        });
        let zone = match self.value("time_zone") {
            "" => Some(zone),
            name => name.parse().ok().or_else(|| self.wrong("time_zone", "is no IANA time zone")),
        };
        let max_kw = match self.value("max_kw") {
            "" => None,
            text => Decimal::from_str_exact(text)
                .ok()
                .filter(|kw| *kw > Decimal::ZERO && *kw <= Decimal::from(10_000))
                .or_else(|| self.wrong("max_kw", "is no number of kW above 0, at most 10000")),
        };
        let place = Place {
            location_id: self.id("location_id", 36),
            name: self.maybe("name", 255),
            address: self.text("address", 45).unwrap_or_default(),
            city: self.text("city", 45).unwrap_or_default(),
            postal_code: self.maybe("postal_code", 10),
            state: self.maybe("state", 20),
            country: country.unwrap_or_default(),
            latitude: latitude.unwrap_or_default(),
            longitude: longitude.unwrap_or_default(),
            evse_uid: self.id("evse_uid", 36),
            evse_id: self.id("evse_id", 48),
            connector_id: self.id("connector_id", 36),
            standard: self.one_of("standard", STANDARDS),
            format: self.one_of("format", FORMATS),
            power_type: self.one_of("power_type", POWER_TYPES),
            max_kw,
            home: home.unwrap_or_default(),
        };
        let tariff = self.maybe("tariff", 36);
        let [neighbourhood, municipality, province] = ["neighbourhood", "municipality", "province"].map(|name| self.maybe(name, 255));
        let key = station.zip(evse.zip(connector)).map(|(station, (evse, connector))| (station, evse, connector));
        (key, zone.map(|zone| Site { place, tariff, zone, neighbourhood, municipality, province }))
    }

    fn value(&self, name: &str) -> &'a str {
        self.header.iter().position(|column| *column == name).and_then(|at| self.record.get(at)).unwrap_or_default()
    }

    fn wrong<T>(&mut self, name: &str, why: &str) -> Option<T> {
        self.mistakes.push(format!("line {}: {name} {why}", self.line));
        None
    }

    fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let value = self.value(name);
        if value.is_empty() {
            return self.wrong(name, "is empty");
        }
        self.maybe(name, most)
    }

    fn maybe(&mut self, name: &str, most: usize) -> Option<String> {
        let value = self.value(name);
        if value.chars().count() > most || value.chars().any(char::is_control) {
            return self.wrong(name, &format!("is longer than {most} characters or has control characters"));
        }
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// A CiString: printable ASCII.
    fn id(&mut self, name: &str, most: usize) -> String {
        let id = self.text(name, most).unwrap_or_default();
        if !id.bytes().all(|b| matches!(b, b'!'..=b'~')) {
            self.wrong::<()>(name, "has other characters than printable ASCII ones");
        }
        id
    }

    fn one_of(&mut self, name: &str, words: &[&str]) -> String {
        let value = self.value(name);
        if !words.contains(&value) {
            self.wrong::<()>(name, "is no value of OCPI 2.2.1");
        }
        value.to_owned()
    }

    fn number_or_any(&mut self, name: &str) -> Option<Option<u32>> {
        match self.value(name) {
            "*" => Some(None),
            text => text.parse().map(Some).ok().or_else(|| self.wrong(name, "is neither a number nor *")),
        }
    }

    /// Degrees with one to seven decimals; written with the six that all versions of OCPI allow.
    fn degrees(&mut self, name: &str, most: u32) -> Option<Decimal> {
        let text = self.value(name);
        let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let plain = text.bytes().enumerate().all(|(at, b)| b.is_ascii_digit() || b == b'.' || (b == b'-' && at == 0));
        let degrees = Decimal::from_str_exact(text).ok().filter(|d| plain && (1..=7).contains(&decimals) && d.abs() <= Decimal::from(most));
        degrees
            .map(|d| d.trunc_with_scale(6))
            .or_else(|| self.wrong(name, &format!("is no number from -{most} to {most} with 1 to 7 decimals")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "station,evse,connector,location_id,evse_uid,evse_id,connector_id,address,city,country,latitude,longitude,standard,format,power_type,tariff,home,time_zone,postal_code,name";
    const ROW: &str = "CS-1,1,2,LOC1,3256,BE*BEC*E041503003,1,\"Plein 1, links\",Gent,BEL,51.047599,3.729944,IEC_62196_T2,SOCKET,AC_3_PHASE,day,,,9000,Zuid";

    fn parse(rows: &[&str]) -> Result<Sites, Vec<String>> {
        Sites::parse(&format!("{HEADER}\n{}\n", rows.join("\n")), chrono_tz::Europe::Brussels)
    }

    #[test]
    fn a_connector_is_found_by_the_narrowest_row() {
        let named = |city: &str, of: &str| ROW.replace(",1,2,", of).replace("Gent", city);
        let rows = [named("A", ",1,2,"), named("B", ",1,*,"), named("C", ",*,2,"), named("D", ",*,*,")];
        let sites = parse(&rows.each_ref().map(String::as_str)).unwrap();
        let city = |station, evse, connector| sites.find(station, evse, connector).map(|site| site.place.city.as_str());
        assert_eq!(
            [city("CS-1", 1, 2), city("CS-1", 1, 9), city("CS-1", 9, 2), city("CS-1", 9, 9)],
            [Some("A"), Some("B"), Some("C"), Some("D")]
        );
        assert_eq!(city("CS-2", 1, 2), None);
        assert_eq!(sites.iter().count(), 4);
        let site = sites.find("CS-1", 1, 2).unwrap();
        assert_eq!(
            (site.zone, site.place.address.as_str(), site.tariff.as_deref()),
            (chrono_tz::Europe::Brussels, "Plein 1, links", Some("day"))
        );
    }

    #[test]
    fn all_mistakes_are_told_with_line_and_column_and_no_value_is_quoted() {
        let long = "s3cret".repeat(10);
        let bad = format!("CS-1,x,-1,{long},é,,1,{long},,BE,51.04759999,191.729944,s3cret,HOLE,AC,day,maybe,Europe/Gent,s3cret s3cret,n");
        let mistakes = parse(&[ROW, &bad, ROW, "short,row"]).unwrap_err();
        let all = mistakes.join("\n");
        for column in [
            "evse",
            "connector",
            "location_id",
            "evse_uid",
            "evse_id",
            "address",
            "city",
            "country",
            "latitude",
            "longitude",
            "standard",
            "format",
            "power_type",
            "home",
            "time_zone",
            "postal_code",
        ] {
            assert!(all.contains(&format!("line 3: {column} ")), "{column} in\n{all}");
        }
        assert!(all.contains("line 4: an earlier line") && all.contains("line 5: has 2 columns"), "{all}");
        assert!(!all.contains("s3cret") && !all.contains("maybe"), "{all}");
    }

    #[test]
    fn the_header_is_checked() {
        let mistakes = Sites::parse("station,evse,evse,s3cret\n", chrono_tz::UTC).unwrap_err().join("\n");
        assert!(
            mistakes.contains("column 4 has a name") && mistakes.contains("evse is there twice") && mistakes.contains("tariff is missing"),
            "{mistakes}"
        );
        assert!(!mistakes.contains("s3cret"));
        assert!(Sites::parse("", chrono_tz::UTC).is_err());
    }

    #[test]
    fn a_home_is_told_of_no_more_closely_than_its_city() {
        let sites = parse(&[&ROW.replace("day,,", "day,true,")]).unwrap();
        let place = &sites.find("CS-1", 1, 2).unwrap().place;
        let cpo = Party { country_code: "NL".to_owned(), party_id: "CPO".to_owned() };
        let told = place.told(&|name| format!("{:016X}", name.len()), &cpo);
        let all = serde_json::to_string(&told).unwrap();
        for detail in ["Plein", "9000", "Zuid", "LOC1", "3256", "041503003", "51.04", "3.72"] {
            assert!(!all.contains(detail), "{detail} in {all}");
        }
        assert_eq!(
            (told.city.as_str(), told.latitude.to_string(), told.longitude.to_string()),
            ("Gent", "51.0".to_owned(), "3.7".to_owned())
        );
        assert_eq!(told.evse_id, "NL*CPO*E0000000000000009");
        let public = Place { home: false, ..place.clone() };
        assert_eq!(public.told(&|_| String::new(), &cpo), public);
    }
}
