//! The `[statistics]` section.

use super::file::Reader;
use crate::stats::{Clips, Grouping, Method, NotParameters, Parameters, Rho};
use std::path::PathBuf;

/// How statistics are made. All of it but the directory is public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsConfig {
    /// Whether sessions are counted at all.
    pub enabled: bool,
    /// What the whole is called in figures.
    pub country: String,
    /// By its clocks periods begin and end.
    pub zone: chrono_tz::Tz,
    /// How figures are protected.
    pub method: Method,
    /// Clips, costs, rounding.
    pub parameters: Parameters,
    /// From how many charging points on something stands alone.
    pub grouping: Grouping,
    /// Where releases are written to besides the store.
    pub dir: Option<PathBuf>,
}

impl Default for StatisticsConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            country: "NL".to_owned(),
            zone: chrono_tz::Tz::Europe__Amsterdam,
            method: Method::DifferentiallyPrivate,
            parameters: Parameters::default(),
            grouping: Grouping::default(),
            dir: None,
        }
    }
}

/// Reads the section; `billing` says whether there is a site register.
pub(super) fn read(reader: &mut Reader<'_>, zone: chrono_tz::Tz, billing: bool) -> StatisticsConfig {
    let enabled = reader.flag("statistics.enabled", false);
    if enabled && !billing {
        reader.mistake("statistics.enabled", "needs billing.sites and cpo.party: sessions are counted when billing closes them");
    }
    let country = reader.text("statistics.country", Some("NL")).unwrap_or_default();
    if country.chars().count() > 64 || country.chars().any(char::is_control) {
        reader.mistake("statistics.country", "must be at most 64 characters without control characters");
    }
    let method = match reader.choice("statistics.mode", &["dp", "sdc"]) {
        1 => Method::Exact,
        _ => Method::DifferentiallyPrivate,
    };
    let mut number = |key, default: u32, least, most| u32::try_from(reader.number(key, default.into(), least, most)).unwrap_or(default);
    let (month, quarter, usual) = (Clips::MONTH, Clips::QUARTER, Grouping::default());
    let month = Clips {
        sessions: number("statistics.month_sessions", month.sessions, 1, 1_000),
        kwh: number("statistics.month_kwh", month.kwh, 1, 5_000),
        hours: number("statistics.month_hours", month.hours, 1, 744),
    };
    let quarter = Clips {
        sessions: number("statistics.quarter_sessions", quarter.sessions, 1, 3_000),
        kwh: number("statistics.quarter_kwh", quarter.kwh, 1, 5_000),
        hours: number("statistics.quarter_hours", quarter.hours, 1, 2_208),
    };
    let grouping = Grouping {
        neighbourhood: number("statistics.neighbourhood_points", usual.neighbourhood, 1, 100_000),
        municipality: number("statistics.municipality_points", usual.municipality, 1, 100_000),
        hub: number("statistics.hub_points", usual.hub, 2, 10_000),
    };
    let mut parameters = Parameters::new(month, quarter);
    parameters.contributors = number("statistics.contributors", parameters.contributors, 10, 1_000);
    parameters.cap = Rho(number("statistics.yearly_budget_millionths", parameters.cap.0, 1, 360_000));
    if let Err(why) = parameters.check() {
        let key = match why {
            NotParameters::Contributors => "statistics.contributors",
            NotParameters::Cap => "statistics.yearly_budget_millionths",
            _ => "statistics.month_sessions",
        };
        reader.mistake(key, &why.to_string());
    }
    let dir = reader.text("statistics.dir", None).map(PathBuf::from);
    StatisticsConfig { enabled, country, zone, method, parameters, grouping, dir }
}
