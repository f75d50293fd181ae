//! Meter values: which measurands a purpose needs, and how fine a series may be. State of charge, current, voltage and series
//! finer than a quarter of an hour describe a vehicle (R17, R18); meters upstream of the station describe a household.

use crate::policy::Purpose;

/// The finest series that says little about a vehicle or a household: a quarter of an hour, in seconds (R17, R88).
pub(crate) const SLOT: i64 = 900;
/// Meter series remembered per station: one for each connector or running transaction, the oldest forgotten first.
pub(crate) const MAX_SERIES: usize = 64;

/// The purpose that needs a measurand. An absent one is `Energy.Active.Import.Register` (OCPP 1.6 §7.31; 2.1 Part 2, SampledValueType).
pub(crate) fn purpose(measurand: &str) -> Purpose {
    let is = |name: &str| measurand.eq_ignore_ascii_case(name);
    let energy = |prefix: &str| measurand.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    if energy("Energy.Active.Import.") || energy("Energy.Active.Export.") || is("Energy.Active.Net") {
        Purpose::Bill
    } else if energy("Energy.") || is("Temperature") || is("RPM") {
        Purpose::Quality
    } else {
        Purpose::SmartCharging
    }
}

/// What was said of one sampled value beside its number.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) measurand: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) format: Option<String>,
    /// The value is no plain number.
    pub(crate) opaque: bool,
    /// Something that changes the number's meaning (unit, phase, …) had to be withheld: without it the number would lie.
    pub(crate) garbled: bool,
}

impl Sample {
    /// The purpose that needs it.
    pub(crate) fn purpose(&self) -> Purpose {
        let is = |field: &Option<String>, word: &str| field.as_deref().is_some_and(|f| f.eq_ignore_ascii_case(word));
        if self.opaque || is(&self.format, "SignedData") {
            Purpose::CalibrationLaw
        } else if is(&self.location, "Upstream") || is(&self.location, "EV") {
            Purpose::SmartCharging
        } else {
            self.measurand.as_deref().map_or(Purpose::Bill, purpose)
        }
    }

    /// Whether it marks the beginning or the end of something, which a bill is made of.
    pub(crate) fn is_boundary(&self, event_is_boundary: bool) -> bool {
        self.context.as_deref().map_or(event_is_boundary, |c| {
            ["Transaction.Begin", "Transaction.End", "Interruption.Begin", "Interruption.End"].iter().any(|b| b.eq_ignore_ascii_case(c))
        })
    }
}

/// The quarter of an hour in which each meter series last had a reading let through.
#[derive(Debug, Default)]
pub(crate) struct Series(Vec<(u64, i64)>);

impl Series {
    /// Whether a reading at `seconds` opens a new quarter of an hour in the series `key`.
    pub(crate) fn permits(&self, key: u64, seconds: i64) -> bool {
        self.0.iter().find(|(k, _)| *k == key).is_none_or(|(_, slot)| *slot != seconds.div_euclid(SLOT))
    }

    /// Notes that such a reading went through.
    pub(crate) fn note(&mut self, key: u64, seconds: i64) {
        self.0.retain(|(k, _)| *k != key);
        if self.0.len() >= MAX_SERIES {
            self.0.remove(0);
        }
        self.0.push((key, seconds.div_euclid(SLOT)));
    }
}
