//! Meter values: which measurands a purpose needs, and how fine a series may be. State of charge, current, voltage and series
//! finer than a quarter of an hour describe a vehicle (R17, R18); meters upstream of the station describe a household.

use crate::policy::Purpose;
use std::borrow::Cow;

/// The finest series that says little about a vehicle or a household: a quarter of an hour, in seconds (R17, R88).
pub(crate) const SLOT: i64 = 900;
/// Meter series remembered per station: one for each connector or running transaction, the oldest forgotten first.
pub(crate) const MAX_SERIES: usize = 64;
/// Quarters of an hour remembered of each series.
pub(crate) const REMEMBERED: usize = 64;

/// The purpose that needs a measurand. An absent one is `Energy.Active.Import.Register` (OCPP 1.6 §7.31; 2.1 Part 2, SampledValueType).
pub(crate) fn purpose(measurand: &str) -> Purpose {
    // Most others are told by their first letter.
    if !matches!(measurand.as_bytes(), [b'E' | b'e' | b'T' | b't' | b'R' | b'r', ..]) {
        return Purpose::SmartCharging;
    }
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

/// The key of a meter series, by what names it. A station that finds two names with one key thins its own series, no other's.
pub(crate) fn key(name: Option<&str>) -> u64 {
    let Some(name) = name else { return 0 };
    name.as_bytes().chunks(8).fold(name.len() as u64 + 1, |key, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (key.rotate_left(29) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// What was said of one sampled value beside its number.
#[derive(Debug, Default)]
pub(crate) struct Sample<'a> {
    pub(crate) measurand: Option<Cow<'a, str>>,
    pub(crate) context: Option<Cow<'a, str>>,
    pub(crate) location: Option<Cow<'a, str>>,
    pub(crate) format: Option<Cow<'a, str>>,
    /// The value is no plain number.
    pub(crate) opaque: bool,
    /// Its measurand says that no enabled purpose needs it.
    pub(crate) refused: bool,
    /// Something that changes the number's meaning (unit, phase, …) had to be withheld: without it the number would lie.
    pub(crate) garbled: bool,
}

impl Sample<'_> {
    /// The purpose that needs it.
    pub(crate) fn purpose(&self) -> Purpose {
        let is = |field: &Option<Cow<'_, str>>, word: &str| field.as_deref().is_some_and(|f| f.eq_ignore_ascii_case(word));
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

/// The quarters of an hour in which each meter series had a reading let through.
#[derive(Debug, Default)]
pub(crate) struct Series(Vec<Passed>);

#[derive(Debug)]
struct Passed {
    series: u64,
    /// The latest quarter of an hour.
    latest: i64,
    /// One bit for each of the 64 quarters up to the latest: 16 hours, so that what was stored while offline passes, and nothing finer.
    before: u64,
    /// The second of its quarter that passed, by quarter: what passed may pass again, if it is said once more or in several parts.
    at: [u16; REMEMBERED],
}

/// Its quarter of an hour, the place of that among those remembered, and the second of it.
fn quarter(seconds: i64) -> (i64, usize, u16) {
    let slot = seconds.div_euclid(SLOT);
    (slot, slot.rem_euclid(REMEMBERED as i64) as usize, seconds.rem_euclid(SLOT) as u16)
}

impl Series {
    /// Whether a reading at `seconds` is of the first moment of its quarter of an hour that passed in the series `key`.
    pub(crate) fn permits(&self, key: u64, seconds: i64) -> bool {
        let (slot, place, second) = quarter(seconds);
        self.0.iter().find(|p| p.series == key).is_none_or(|p| match p.latest - slot {
            age @ 0..64 => p.before & 1 << age == 0 || p.at[place] == second,
            _ => true,
        })
    }

    /// Notes that such a reading went through.
    pub(crate) fn note(&mut self, key: u64, seconds: i64) {
        let (slot, place, second) = quarter(seconds);
        let at = self.0.iter().position(|p| p.series == key);
        let new = Passed { series: key, latest: slot, before: 0, at: [0; REMEMBERED] };
        let mut passed = at.map_or(new, |at| self.0.remove(at));
        match slot - passed.latest {
            ahead @ 1..64 => (passed.latest, passed.before) = (slot, passed.before << ahead),
            -63..=0 => {}
            _ => (passed.latest, passed.before) = (slot, 0),
        }
        passed.before |= 1 << (passed.latest - slot);
        passed.at[place] = second;
        if self.0.len() >= MAX_SERIES {
            self.0.remove(0);
        }
        self.0.push(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_in_a_quarter_of_an_hour_in_whatever_order() {
        let mut series = Series::default();
        let mut passed = 0;
        for minute in [1, 61, 2, 62, 3, 63, 16, 31, 17, 46, 60, 59] {
            if series.permits(7, minute * 60) {
                series.note(7, minute * 60);
                passed += 1;
            }
        }
        assert_eq!(passed, 5);
        assert!(series.permits(8, 60));
    }
}
