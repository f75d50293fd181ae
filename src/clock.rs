//! Time, as an argument. The only room that reads the clocks; every pure room is handed a [`Timestamp`].

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment on the wall clock: milliseconds since 1970-01-01T00:00:00Z, leap seconds ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The moment in UTC as RFC 3339, to the second: `2026-11-24T10:00:00Z`.
    pub fn rfc3339(self) -> String {
        let of_day = self.seconds().rem_euclid(86_400);
        format!("{}T{:02}:{:02}:{:02}Z", self.date(), of_day / 3600, of_day / 60 % 60, of_day % 60)
    }

    /// The day in UTC, as `2026-11-24`.
    pub fn date(self) -> String {
        // Gregorian, counted in eras of 400 years from 0000-03-01.
        let days = self.seconds().div_euclid(86_400) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        format!("{year:04}-{month:02}-{:02}", of_year - (153 * shifted + 2) / 5 + 1)
    }
}

/// Reads the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_795_514_400, "2026-11-24"),
            (-1, "1969-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Timestamp(seconds * 1000).date(), day);
        }
    }
}
