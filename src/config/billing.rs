//! How sessions become bills, from the keys under `billing` and `cpo`.

use super::file::Reader;
use super::ocpi::CPO_NAME;
use crate::recipient::Party;
use std::path::PathBuf;
use std::time::Duration;

/// How sessions become bills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingConfig {
    /// The party that CDRs come from: the charge-point operator.
    pub cpo: Party,
    /// Its name.
    pub name: String,
    /// Where sites are that name no time zone.
    pub zone: chrono_tz::Tz,
    /// The site register, a CSV file.
    pub sites: PathBuf,
    /// The tariffs, a JSON file; none if all sites are free.
    pub tariffs: Option<PathBuf>,
    /// How long an ended session waits for messages that are still missing.
    pub settle: Duration,
    /// How long nothing may be heard of a session before it is closed.
    pub max_age: Duration,
    /// Days that sessions, CDRs and disclosures are kept once they are done with.
    pub keep_days: u64,
    /// Sessions of less energy, in Wh, are not billed.
    pub least_wh: u64,
}

/// Reads them; `None` where no site register is named. Sites that name no time zone are in `zone`.
pub(super) fn read(reader: &mut Reader<'_>, zone: chrono_tz::Tz) -> Option<BillingConfig> {
    let party = reader.text("cpo.party", None);
    let name = reader.text("cpo.name", Some(CPO_NAME)).unwrap_or_default();
    let sites = reader.text("billing.sites", None).map(PathBuf::from);
    let tariffs = reader.text("billing.tariffs", None).map(PathBuf::from);
    let settle = Duration::from_secs(60 * reader.number("billing.settle_minutes", 15, 0, 10_080));
    let max_age = Duration::from_secs(3600 * reader.number("billing.max_age_hours", 48, 1, 1440));
    // A start that a station repeats after its session was forgotten would be billed again: a quarter of a year offline is longer than stations keep.
    let keep_days = reader.number("billing.keep_days", 400, 92, 4000);
    let least_wh = reader.number("billing.least_wh", 1, 0, 1_000_000);
    let cpo = party.as_deref().map(Party::parse);
    // Told here once, for CDRs and the OCPI surface alike.
    if cpo == Some(None) {
        reader.mistake("cpo.party", "must be a country and a party id, such as NL-CPO");
    }
    if tariffs.is_some() && sites.is_none() {
        reader.mistake("billing.tariffs", "needs billing.sites beside it");
    }
    let sites = sites?;
    if cpo.is_none() {
        reader.mistake("billing.sites", "needs cpo.party beside it");
    }
    Some(BillingConfig { cpo: cpo??, name, zone, sites, tariffs, settle, max_age, keep_days, least_wh })
}
