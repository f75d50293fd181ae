//! Places and visits to test with.

use sluis::clock::Timestamp;
use sluis::stats::{Contributor, Geography, Grouping, Period, Place, Visit};

pub(crate) const ZONE: chrono_tz::Tz = chrono_tz::Europe::Amsterdam;

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

pub(crate) fn period(text: &str) -> Period {
    text.parse().unwrap()
}

pub(crate) fn place(key: &str, area: [&str; 3], max_w: u32) -> Place {
    let name = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
    Place {
        key: key.to_owned(),
        site: format!("site of {key}"),
        province: name(area[0]),
        municipality: name(area[1]),
        neighbourhood: name(area[2]),
        max_w: Some(max_w),
        dc: max_w > 22_000,
        home: false,
    }
}

/// Two provinces. Gouda: 60 AC points in Binnenstad and 10 in Plaswijk, a hub of 4 HPC points. Leiden: 30 AC points, none in a neighbourhood.
/// Breda: 45 AC points in Centrum, one DC point. Homes in Gouda and in Groningen.
pub(crate) fn register() -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |count: u32, name: &str, area: [&str; 3], max_w: u32| {
        places.extend((0..count).map(|n| place(&format!("{name}-{n}"), area, max_w)));
    };
    add(60, "BIN", ["Zuid-Holland", "Gouda", "Binnenstad"], 11_000);
    add(10, "PLA", ["Zuid-Holland", "Gouda", "Plaswijk"], 22_000);
    add(4, "HUB", ["Zuid-Holland", "Gouda", "Plaswijk"], 300_000);
    add(30, "LEI", ["Zuid-Holland", "Leiden", ""], 11_000);
    add(45, "CEN", ["Noord-Brabant", "Breda", "Centrum"], 11_000);
    add(1, "SNEL", ["Noord-Brabant", "Breda", "Centrum"], 50_000);
    add(2, "HOME", ["Zuid-Holland", "Gouda", "Binnenstad"], 11_000);
    add(1, "FAR", ["Groningen", "Groningen", ""], 11_000);
    for place in &mut places {
        place.home = place.key.starts_with("HOME") || place.key.starts_with("FAR");
        if place.key.starts_with("HUB") {
            place.site = "Fastned Gouda".to_owned();
        }
    }
    places
}

pub(crate) fn geography() -> Geography {
    Geography::new("Nederland", ZONE, &register(), Grouping { municipality: 60, ..Grouping::default() }).unwrap()
}

pub(crate) fn who(number: u32) -> Contributor {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&number.to_be_bytes());
    Contributor(key)
}

/// A visit that was known as it ended.
pub(crate) fn visit(contributor: u32, place: &str, begun: &str, seconds: u64, wh: u64) -> Visit {
    let begun = at(begun);
    let ended = Timestamp(begun.0 + i64::try_from(seconds).unwrap() * 1_000);
    let charging = seconds / 2;
    Visit { contributor: who(contributor), place: place.to_owned(), begun, ended, known: ended, wh, connected: seconds, charging }
}
