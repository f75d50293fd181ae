//! The site register as statistics see it: one place per EVSE, named by its id.

use crate::cdr::site::{Site, Sites};
use crate::stats::{Geography, Grouping, NotAGeography, Place};
use chrono_tz::Tz;
use rust_decimal::prelude::ToPrimitive;

/// The geography of a register. `country` is its name in figures; `zone` says when periods begin.
///
/// # Errors
/// The register has no public charging point, or too many.
pub fn geography(sites: &Sites, country: &str, zone: Tz, grouping: Grouping) -> Result<Geography, NotAGeography> {
    let places: Vec<Place> = sites.iter().map(|(_, site)| place(site)).collect();
    Geography::new(country, zone, &places, grouping)
}

/// What visits name a site by.
pub fn key(site: &Site) -> &str {
    &site.place.evse_uid
}

fn place(site: &Site) -> Place {
    let place = &site.place;
    // A home is told by its province alone, whatever the register says of it (R13).
    let public = |text: &Option<String>| text.clone().filter(|_| !place.home);
    Place {
        key: key(site).to_owned(),
        site: if place.home { String::new() } else { place.name.clone().unwrap_or_else(|| format!("{}, {}", place.address, place.city)) },
        neighbourhood: public(&site.neighbourhood),
        municipality: public(&site.municipality),
        province: site.province.clone(),
        max_w: place.max_kw.and_then(|kw| (kw * rust_decimal::Decimal::ONE_THOUSAND).trunc().to_u32()),
        dc: place.power_type == "DC",
        home: place.home,
    }
}
