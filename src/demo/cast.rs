//! The made-up world: a dozen stations and the drivers who come by. Every identifier here is invented, in the shape that real ones have.

use crate::ocpp::Version;
use crate::recipient::Ocpi;

/// An identifier that must not get past the gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret {
    /// What it is, for people.
    pub(super) what: &'static str,
    /// The identifier.
    pub(super) text: &'static str,
}

/// A card or contract that a driver shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    /// As the reader of this station spells it.
    pub(super) text: &'static str,
    /// What OCPP 2.x calls it.
    pub(super) kind: &'static str,
    /// Whose customer the driver is; `None` for one whom no e-MSP of this world knows.
    pub(super) customer: Option<Customer>,
}

/// A customer of an e-MSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Customer {
    /// The place of the e-MSP in [`EMSPS`].
    pub(super) emsp: usize,
    /// The number by which the e-MSP knows its customer.
    pub(super) number: &'static str,
    /// The contract, which no station ever sees unless it is what the driver shows.
    pub(super) contract: &'static str,
}

/// An e-MSP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Emsp {
    pub(super) party: &'static str,
    pub(super) name: &'static str,
    pub(super) version: Ocpi,
    /// What is received there, as a place that is searched for leaks.
    pub(super) place: &'static str,
}

/// The e-MSPs. The second speaks the oldest OCPI there is, and sees to it that an answer of its own gets lost.
pub(super) const EMSPS: [Emsp; 2] = [
    Emsp { party: "NL-DYK", name: "Dijk Mobility", version: Ocpi::V221, place: "what Dijk Mobility received" },
    Emsp { party: "DE-ELB", name: "Elbe Laden", version: Ocpi::V211, place: "what Elbe Laden received" },
];

macro_rules! dijk {
    ($number:literal) => {
        Some(Customer { emsp: 0, number: $number, contract: concat!("NL-DYK-C0000", $number) })
    };
}

macro_rules! elbe {
    ($number:literal) => {
        Some(Customer { emsp: 1, number: $number, contract: concat!("DE-ELB-C0000", $number) })
    };
}

/// How a session of a station comes about, and what else the station is made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// Somebody holds a card against the reader.
    Plain,
    /// The second session is started from an app, and stopped from there.
    Remote,
    /// The connector is reserved first.
    Reserved,
    /// The central system sends a list of cards that may charge while the line is down.
    LocalList,
    /// Refuses a reservation, quoting the whole request in its error.
    Quotes,
}

/// A station.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub(super) id: &'static str,
    pub(super) version: Version,
    pub(super) vendor: &'static str,
    pub(super) model: &'static str,
    pub(super) serial: &'static str,
    pub(super) meter_serial: &'static str,
    pub(super) iccid: &'static str,
    pub(super) imsi: &'static str,
    pub(super) habit: Habit,
    /// Who comes first, and who second.
    pub(super) visitors: [Token; 2],
}

const fn card(text: &'static str, customer: Option<Customer>) -> Token {
    Token { text, kind: "ISO14443", customer }
}

/// Who shows the contract has no other.
const fn contract(text: &'static str, customer: Option<Customer>) -> Token {
    let customer = match customer {
        Some(Customer { emsp, number, .. }) => Some(Customer { emsp, number, contract: text }),
        None => None,
    };
    Token { text, kind: "eMAID", customer }
}

macro_rules! unit {
    ($id:literal $version:ident $vendor:literal $model:literal $serial:literal $meter:literal $iccid:literal $imsi:literal $habit:ident $first:expr, $second:expr) => {
        Unit {
            id: $id,
            version: Version::$version,
            vendor: $vendor,
            model: $model,
            serial: $serial,
            meter_serial: $meter,
            iccid: $iccid,
            imsi: $imsi,
            habit: Habit::$habit,
            visitors: [$first, $second],
        }
    };
}

/// The stations: five of OCPP 1.6, four of 2.0.1, three of 2.1. The first driver comes by at three of them, one in each version, and each
/// reader spells the card in its own way.
pub(super) const UNITS: [Unit; 12] = [
    unit!("UTR-0101" V16 "Kade" "Paal 22" "KD22-A0049317" "MTR-7741-K903" "8931440400012345671" "204046123451671" Plain
        card("04A22B6A5C1180", dijk!("1001")), card("7BE9D1F4", dijk!("1002"))),
    unit!("UTR-0102" V16 "Kade" "Paal 22" "KD22-A0049318" "MTR-7741-K904" "8931440400012345689" "204046123451689" Remote
        card("B36C0E5A", elbe!("7001")), card("04F1C6E2B75D84", dijk!("1003"))),
    unit!("UTR-0103" V16 "Kade" "Paal 11" "KD11-B0070022" "MTR-7712-K118" "8931440400012345697" "204046123451697" Reserved
        card("04D85AE29C7F81", dijk!("1004")), card("9C4AE07D", elbe!("7002"))),
    unit!("AMF-0201" V16 "Wissel" "W1 Duo" "WSL1-7F20C9" "EM340-D55E19" "8931081520041177203" "204083004117203" LocalList
        card("046E3D92C15B80", elbe!("7003")), card("E5F20B7C", dijk!("1005"))),
    unit!("AMF-0202" V16 "Wissel" "W1 Duo" "WSL1-7F20CA" "EM340-D55E1A" "8931081520041177211" "204083004117211" Quotes
        card("04BC71E80F9A82", dijk!("1006")), card("2DF7A96B", elbe!("7004"))),
    unit!("EHV-0301" V201 "Voltaire" "Boulevard 50" "VLT-50-00C3E7" "PT-A88412F" "8935101812098455512" "204109845551200" Plain
        card("04:a2:2b:6a:5c:11:80", dijk!("1001")), contract("NL-TNM-C00122045-K", dijk!("1007"))),
    unit!("EHV-0302" V201 "Voltaire" "Boulevard 50" "VLT-50-00C3E8" "PT-A88413B" "8935101812098455520" "204109845552000" Remote
        card("C7A05E91", elbe!("7005")), card("0459BE7A2D6F80", dijk!("1008"))),
    unit!("EHV-0303" V201 "Voltaire" "Laan 22" "VLT-22-01D4A0" "PT-B10077C" "8935101812098455538" "204109845553800" LocalList
        card("F1D83B6E", dijk!("1009")), contract("DE*8AA*C12B45678*3", None)),
    unit!("RTM-0401" V201 "Haven" "Kraan DC" "HVN-DC-9A61F2" "DCM-3-77E0B1" "8944501207159933044" "204163304400712" Reserved
        card("04C3E97F5A1D80", dijk!("1010")), card("A8B64C2F", elbe!("7006"))),
    unit!("RTM-0501" V21 "Haven" "Kraan DC+" "HVN-DP-9B7710" "DCM-4-80F3A5" "8944501207159933051" "204163305100712" Plain
        card("04-A2-2B-6A-5C-11-80", dijk!("1001")), contract("NLTNMC0B731E52", dijk!("1011"))),
    unit!("RTM-0502" V21 "Haven" "Kraan DC+" "HVN-DP-9B7711" "DCM-4-80F3A6" "8944501207159933069" "204163306900712" Remote
        card("5E0DC8B3", elbe!("7007")), card("04E7A48C6B2F90", dijk!("1012"))),
    unit!("GRQ-0601" V21 "Stroom" "S3 Duo" "STR-S3-004C8E1" "SM-19E6F07" "8931440901127766530" "204041127766530" Reserved
        card("D2916FEA", dijk!("1013")), contract("NL-HVN-CA81B0F63-7", elbe!("7099"))),
];

impl Unit {
    /// What is wired into it, and what it knows of its visitors: all that the gateway is to keep from going up.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = vec![
            Secret { what: "serial number", text: self.serial },
            Secret { what: "meter number", text: self.meter_serial },
            Secret { what: "SIM card number", text: self.iccid },
            Secret { what: "mobile subscriber number", text: self.imsi },
        ];
        secrets.extend(self.visitors.iter().map(Token::secret));
        secrets
    }
}

impl Token {
    fn secret(&self) -> Secret {
        Secret { what: if self.kind == "eMAID" { "contract number" } else { "card number" }, text: self.text }
    }
}

/// Letters and digits, upper case.
pub(super) fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// Every identifier of this world, each once.
pub(super) fn secrets() -> Vec<Secret> {
    let contract = |customer: &Customer| Secret { what: "contract number", text: customer.contract };
    let mut all: Vec<Secret> = UNITS.iter().flat_map(Unit::secrets).collect();
    all.extend(customers().map(|(_, customer)| contract(&customer)));
    all.sort_by_key(|secret| bare(secret.text));
    all.dedup_by_key(|secret| bare(secret.text));
    all
}

/// Everybody who is some e-MSP's customer, as often as they come by.
pub(super) fn customers() -> impl Iterator<Item = (Token, Customer)> {
    UNITS.iter().flat_map(|unit| unit.visitors).filter_map(|token| Some((token, token.customer?)))
}

/// A card that nobody here has, for a central system that tries its luck.
pub(super) const GUESS: &str = "04C0FFEE123480";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Class, Declared, Identifier};

    #[test]
    fn the_world_is_what_the_demo_says_it_is() {
        let of = |version| UNITS.iter().filter(|unit| unit.version == version).count();
        assert_eq!(Version::ALL.map(of), [5, 4, 3]);
        for token in UNITS.iter().flat_map(|unit| unit.visitors) {
            let class = if token.kind == "eMAID" { Class::Emaid } else { Class::Rfid };
            assert_eq!(Identifier::from_wire(token.text, Declared::Undeclared).class, class, "{}", token.text);
            assert!(token.text.len() <= 20, "fits an idTag");
        }
        assert!(secrets().len() > 60);
        assert!(!secrets().iter().any(|secret| bare(secret.text).contains(GUESS)));
    }
}
