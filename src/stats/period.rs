//! Periods: a month or a quarter of a calendar, in local time.

use crate::clock::Timestamp;
use chrono::{NaiveDate, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Days from a period's end to its close; what arrives until then still counts in it.
pub const CLOSE_AFTER_DAYS: i64 = 10;
/// The years that a period may be of.
const YEARS: std::ops::RangeInclusive<u16> = 2000..=2199;

/// A month (`2026-11`) or a quarter (`2026-Q4`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    year: u16,
    /// 1 to 12: its first month.
    month: u8,
    quarter: bool,
}

/// The text names no month and no quarter from 2000 to 2199.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a period is a month such as 2026-11 or a quarter such as 2026-Q4")]
pub struct NotAPeriod;

impl Period {
    /// The month `month` (1 to 12) of `year`.
    ///
    /// # Errors
    /// No such month, or the year lies outside 2000 to 2199.
    pub fn month(year: u16, month: u8) -> Result<Self, NotAPeriod> {
        if YEARS.contains(&year) && (1..=12).contains(&month) { Ok(Self { year, month, quarter: false }) } else { Err(NotAPeriod) }
    }

    /// The quarter `quarter` (1 to 4) of `year`.
    ///
    /// # Errors
    /// No such quarter, or the year lies outside 2000 to 2199.
    pub fn quarter(year: u16, quarter: u8) -> Result<Self, NotAPeriod> {
        if YEARS.contains(&year) && (1..=4).contains(&quarter) {
            Ok(Self { year, month: quarter * 3 - 2, quarter: true })
        } else {
            Err(NotAPeriod)
        }
    }

    /// The month in which `at` lies, by the clocks of `zone`.
    ///
    /// # Errors
    /// `at` lies outside 2000 to 2199.
    pub fn month_of(at: Timestamp, zone: Tz) -> Result<Self, NotAPeriod> {
        use chrono::Datelike;
        let local = zone.timestamp_millis_opt(at.0).single().ok_or(NotAPeriod)?;
        let year = u16::try_from(local.year()).map_err(|_| NotAPeriod)?;
        Self::month(year, u8::try_from(local.month()).map_err(|_| NotAPeriod)?)
    }

    /// The quarter in which `at` lies, by the clocks of `zone`.
    ///
    /// # Errors
    /// `at` lies outside 2000 to 2199.
    pub fn quarter_of(at: Timestamp, zone: Tz) -> Result<Self, NotAPeriod> {
        Self::month_of(at, zone).map(Self::its_quarter)
    }

    /// The month in which a session counts: the one it ended in, unless it became known after the close of that month; then the first that
    /// was not closed when it became known. Corrections never open a closed period.
    ///
    /// # Errors
    /// A time outside 2000 to 2199.
    pub fn month_that_takes(ended: Timestamp, known: Timestamp, zone: Tz) -> Result<Self, NotAPeriod> {
        Self::open_when_known(Self::month_of(ended, zone)?, known, zone)
    }

    /// The quarter in which a session counts, as [`Period::month_that_takes`].
    ///
    /// # Errors
    /// A time outside 2000 to 2199.
    pub fn quarter_that_takes(ended: Timestamp, known: Timestamp, zone: Tz) -> Result<Self, NotAPeriod> {
        Self::open_when_known(Self::quarter_of(ended, zone)?, known, zone)
    }

    fn open_when_known(mut period: Self, known: Timestamp, zone: Tz) -> Result<Self, NotAPeriod> {
        // At most 200 years of months.
        while period.close(zone) <= known {
            period = period.next()?;
        }
        Ok(period)
    }

    /// Its year: budgets are counted by it.
    pub fn year(self) -> u16 {
        self.year
    }

    /// Whether it is a quarter.
    pub fn is_quarter(self) -> bool {
        self.quarter
    }

    /// The quarter that a month lies in; a quarter itself.
    #[must_use]
    pub fn its_quarter(self) -> Self {
        Self { year: self.year, month: (self.month - 1) / 3 * 3 + 1, quarter: true }
    }

    /// The months of a quarter; of a month, itself.
    pub fn months(self) -> Vec<Self> {
        let months = if self.quarter { 3 } else { 1 };
        (self.month..self.month + months).map(|month| Self { year: self.year, month, quarter: false }).collect()
    }

    /// The period of the same length after it.
    ///
    /// # Errors
    /// It would lie after 2199.
    pub fn next(self) -> Result<Self, NotAPeriod> {
        let (year, month) = self.end_month();
        if YEARS.contains(&year) { Ok(Self { year, month, quarter: self.quarter }) } else { Err(NotAPeriod) }
    }

    /// Its first moment, by the clocks of `zone`.
    pub fn begin(self, zone: Tz) -> Timestamp {
        midnight(self.year, self.month, 0, zone)
    }

    /// The first moment after it.
    pub fn end(self, zone: Tz) -> Timestamp {
        let (year, month) = self.end_month();
        midnight(year, month, 0, zone)
    }

    /// The first moment at which it may be released: [`CLOSE_AFTER_DAYS`] days after its end. What becomes known from then on is the next one's.
    pub fn close(self, zone: Tz) -> Timestamp {
        let (year, month) = self.end_month();
        midnight(year, month, CLOSE_AFTER_DAYS, zone)
    }

    /// Its days from Monday to Friday, and its Saturdays and Sundays.
    pub fn days(self) -> [u32; 2] {
        use chrono::Datelike;
        let (year, month) = self.end_month();
        let first = |year: u16, month: u8| NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), 1).unwrap_or_default();
        let (begin, end) = (first(self.year, self.month), first(year, month));
        let mut days = [0, 0];
        for day in begin.iter_days().take_while(|day| *day < end) {
            days[usize::from(day.weekday().num_days_from_monday() >= 5)] += 1;
        }
        days
    }

    /// How long it lasts, in whole hours; with summer time an hour more or less.
    pub fn hours(self, zone: Tz) -> u64 {
        u64::try_from((self.end(zone).0 - self.begin(zone).0) / 3_600_000).unwrap_or_default()
    }

    /// Year and month of the month after it.
    fn end_month(self) -> (u16, u8) {
        let month = self.month + if self.quarter { 3 } else { 1 };
        if month > 12 { (self.year + 1, month - 12) } else { (self.year, month) }
    }
}

/// Midnight at the beginning of the day `days` after the first of a month; where clocks skip it, the first moment after.
fn midnight(year: u16, month: u8, days: i64, zone: Tz) -> Timestamp {
    let day = NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), 1).unwrap_or_default() + chrono::TimeDelta::days(days);
    // The hours 0 to 3: no zone skips more than that at once.
    let local = (0..4).filter_map(|hour| day.and_hms_opt(hour, 0, 0)).find_map(|at| zone.from_local_datetime(&at).earliest());
    Timestamp(local.map_or(0, |at| at.timestamp_millis()))
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quarter {
            write!(f, "{:04}-Q{}", self.year, self.month.div_ceil(3))
        } else {
            write!(f, "{:04}-{:02}", self.year, self.month)
        }
    }
}

impl FromStr for Period {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, NotAPeriod> {
        let (year, rest) = text.split_once('-').ok_or(NotAPeriod)?;
        let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(year, 4) {
            return Err(NotAPeriod);
        }
        let year = year.parse().map_err(|_| NotAPeriod)?;
        match rest.strip_prefix('Q') {
            Some(quarter) if digits(quarter, 1) => Self::quarter(year, quarter.parse().map_err(|_| NotAPeriod)?),
            None if digits(rest, 2) => Self::month(year, rest.parse().map_err(|_| NotAPeriod)?),
            _ => Err(NotAPeriod),
        }
    }
}

impl TryFrom<String> for Period {
    type Error = NotAPeriod;

    fn try_from(text: String) -> Result<Self, NotAPeriod> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}
