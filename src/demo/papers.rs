//! The papers of the demo's operator: its configuration, register of sites, tariffs and the tokens that it shows at the e-MSPs' doors, as the
//! files that a real operator would write.

use super::cast::{EMSPS, UNITS};
use super::wire::Trouble;
use std::fmt::Write;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where each station stands, in the order of the cast: street, city, degrees north and east, tariff.
const SITES: [(&str, &str, &str, &str, &str); 12] = [
    ("Kadeplein 3", "Utrecht", "52.090700", "5.121400", "stad"),
    ("Kadeplein 5", "Utrecht", "52.090900", "5.121700", "stad"),
    ("Sluisweg 18", "Utrecht", "52.081200", "5.130400", "stad"),
    ("Wisselstraat 7", "Amersfoort", "52.155300", "5.387200", "stad"),
    ("Wisselstraat 9", "Amersfoort", "52.155500", "5.387500", "stad"),
    ("Lichtlaan 50", "Eindhoven", "51.441600", "5.469700", "dag-en-avond"),
    ("Lichtlaan 52", "Eindhoven", "51.441800", "5.469900", "dag-en-avond"),
    ("Fabriekspad 22", "Eindhoven", "51.447300", "5.455800", "dag-en-avond"),
    ("Havenkade 401", "Rotterdam", "51.905200", "4.486300", "snel"),
    ("Havenkade 501", "Rotterdam", "51.905900", "4.487100", "snel"),
    ("Havenkade 502", "Rotterdam", "51.906000", "4.487300", "snel"),
    ("Stroomplein 6", "Groningen", "53.219400", "6.566500", "stad"),
];

const TARIFFS: &str = r#"[
  {"country_code": "NL", "party_id": "PAL", "id": "stad", "currency": "EUR", "last_updated": "2026-01-01T00:00:00Z",
   "elements": [{"price_components": [{"type": "ENERGY", "price": 0.36, "vat": 21, "step_size": 1}]}]},
  {"country_code": "NL", "party_id": "PAL", "id": "dag-en-avond", "currency": "EUR", "last_updated": "2026-01-01T00:00:00Z",
   "elements": [
     {"price_components": [{"type": "ENERGY", "price": 0.41, "vat": 21, "step_size": 1}], "restrictions": {"start_time": "07:00", "end_time": "19:00"}},
     {"price_components": [{"type": "ENERGY", "price": 0.29, "vat": 21, "step_size": 1}]}]},
  {"country_code": "NL", "party_id": "PAL", "id": "snel", "currency": "EUR", "last_updated": "2026-01-01T00:00:00Z",
   "elements": [{"price_components": [
     {"type": "FLAT", "price": 0.50, "vat": 21, "step_size": 1}, {"type": "ENERGY", "price": 0.59, "vat": 21, "step_size": 1}]}]}
]"#;

/// Where an e-MSP is, and the token that it lets the operator in by.
pub(super) struct Door {
    pub(super) port: u16,
    pub(super) token: String,
}

/// Writes everything below `dir`; returns the configuration file.
pub(super) fn write(dir: &Path, doors: &[Door]) -> Result<PathBuf, Trouble> {
    let quoted = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
    let at = |name: &str| dir.join(name);
    let mut config = format!(
        "[cpo]\nparty = \"NL-PAL\"\nname = \"Paal en Plug\"\n[billing]\nsites = {}\ntariffs = {}\nsettle_minutes = 0\n",
        quoted(&at("sites.csv")),
        quoted(&at("tariffs.json"))
    );
    let mut files = vec![("sites.csv".to_owned(), sites()), ("tariffs.json".to_owned(), TARIFFS.to_owned())];
    for (emsp, door) in EMSPS.iter().zip(doors) {
        let (number, party) = (emsp.version.number(), emsp.party);
        let file = format!("{party}.token");
        let url = |module: &str| format!("http://127.0.0.1:{}/ocpi/{number}/{module}", door.port);
        let form = if number == "2.1.1" { "raw" } else { "base64" };
        let _ = write!(
            config,
            "[[emsp]]\nparty = \"{party}\"\nname = \"{}\"\nagreement = \"made up for the demo\"\nocpi = \"{number}\"\ndelivery = \"push\"\n\
             tokens_url = \"{}\"\ncdrs_url = \"{}\"\ntheir_token_file = {}\ntoken_form = \"{form}\"\n",
            emsp.name,
            url("tokens"),
            url("cdrs"),
            quoted(&at(&file))
        );
        files.push((file, door.token.clone()));
    }
    files.push(("sluis.toml".to_owned(), config));
    // Some hold a token, and none is anybody else's affair.
    let file = |name: &str| std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(at(name));
    for (name, content) in files {
        let written = file(&name).and_then(|mut file| file.write_all(content.as_bytes()));
        written.map_err(|e| Trouble::Surroundings("the operator's files cannot be written", e.to_string()))?;
    }
    Ok(at("sluis.toml"))
}

fn sites() -> String {
    let mut sites =
        "station,evse,connector,location_id,evse_uid,evse_id,connector_id,address,city,country,latitude,longitude,standard,format,power_type,tariff\n"
            .to_owned();
    for (n, (unit, (address, city, north, east, tariff))) in UNITS.iter().zip(SITES).enumerate() {
        let (standard, format, power) =
            if tariff == "snel" { ("IEC_62196_T2_COMBO", "CABLE", "DC") } else { ("IEC_62196_T2", "SOCKET", "AC_3_PHASE") };
        let _ = writeln!(
            sites,
            "{},*,*,L{n:02},E{n:02},NL*PAL*E{n:05},1,{address},{city},NLD,{north},{east},{standard},{format},{power},{tariff}",
            unit.id
        );
    }
    sites
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};

    #[test]
    fn the_papers_are_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let doors = [4711, 4712].map(|port| Door { port, token: "x".to_owned() });
        let config = write(dir.path(), &doors).unwrap();
        let config = Config::read(&Flags { config: Some(config), values: Vec::new() }, &|_| None).unwrap();
        assert_eq!(config.recipients().all().len(), EMSPS.len());
        assert_eq!(crate::billing::Desk::open(config.billing.as_ref().unwrap(), config.recipients()).err(), None);
    }
}
