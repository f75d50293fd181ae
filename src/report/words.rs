//! Words and numbers as the report writes them.

use crate::stats::{Area, Class, Level, Measure, Unit};

/// Text that stands in HTML, in an attribute too.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // What has no place in HTML.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A whole number with a thin space between thousands.
pub(super) fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::from(if value < 0 { "\u{2212}" } else { "" });
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    out
}

/// A number with its margin: `1 230 ± 190`.
pub(super) fn with_margin(value: i64, margin: Option<u64>) -> String {
    let margin = margin.map(|m| format!(" ± {}", number(i64::try_from(m).unwrap_or(i64::MAX))));
    format!("{}{}", number(value), margin.unwrap_or_default())
}

/// The class for people.
pub(super) fn class(class: Option<Class>) -> &'static str {
    match class {
        None => "all classes",
        Some(Class::Ac) => "AC up to 22 kW",
        Some(Class::Dc) => "fast, below 150 kW",
        Some(Class::Hpc) => "fast, 150 kW and more",
        Some(Class::Home) => "home chargers",
    }
}

/// The class for machines.
pub(super) fn class_code(class: Option<Class>) -> &'static str {
    match class {
        None => "all",
        Some(Class::Ac) => "ac",
        Some(Class::Dc) => "dc",
        Some(Class::Hpc) => "hpc",
        Some(Class::Home) => "home",
    }
}

/// The measure, as a heading.
pub(super) fn measure(measure: Measure) -> &'static str {
    match measure {
        Measure::Contributors => "Contributors",
        Measure::Sessions => "Sessions",
        Measure::Energy => "Energy",
        Measure::Connected => "Time connected",
        Measure::ConnectedByHour => "Time connected by hour",
        Measure::ChargingByHour => "Time charging by hour",
        Measure::EnergyByHour => "Energy by hour",
        Measure::ByDuration => "Sessions by time connected",
        Measure::ByEnergy => "Sessions by energy",
        Measure::ByArrival => "Sessions by hour of arrival",
    }
}

/// The unit behind a number.
pub(super) fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Contributors => "contributors",
        Unit::Sessions => "sessions",
        Unit::Kwh => "kWh",
        Unit::Hours => "hours",
    }
}

/// The level for machines.
pub(super) fn level_code(level: Level) -> &'static str {
    match level {
        Level::Country => "country",
        Level::Province => "province",
        Level::Municipality => "municipality",
        Level::OtherMunicipalities => "other_municipalities",
        Level::Homes => "homes",
        Level::Neighbourhood => "neighbourhood",
        Level::OtherNeighbourhoods => "other_neighbourhoods",
        Level::Hub => "hub",
    }
}

/// The area for people: its own name, with the municipality before a neighbourhood or a hub.
pub(super) fn area(area: &Area) -> String {
    match area.path.as_slice() {
        [] => String::new(),
        [.., municipality, part] if area.path.len() == 4 => format!("{municipality}, {part}"),
        [.., province, part] if matches!(area.level, Level::OtherMunicipalities | Level::Homes) => format!("{province}, {part}"),
        [.., last] => last.clone(),
    }
}
