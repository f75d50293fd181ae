//! What was spent, table by table and period by period, in a chain of hashes: the budget of a contributor's year, and the proof of it.

use super::arithmetic::{Rho, Variance};
use super::figures::{Method, TableFigures};
use super::parameters::{Parameters, TableParameters};
use super::period::Period;
use super::table::{Measure, Table};
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Entries of a ledger: 24 a year, for four centuries.
pub const MOST_ENTRIES: usize = 10_000;
/// The digest before the first entry.
pub const GENESIS: Digest = Digest([0; 32]);
/// What an entry's digest begins with, so that no other hash can be taken for one.
const DOMAIN: &[u8] = b"sluis/stats/ledger/1\n";

/// A SHA-256 digest, as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "a digest has 64 hexadecimal digits";
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

/// What one measure of a table was bounded by, noised with and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The measure.
    pub measure: Measure,
    /// R², in square contribution units.
    pub square: u64,
    /// σ², in square contribution units.
    pub variance: Variance,
    /// What it cost.
    pub rho: Rho,
}

/// One table of one period, released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the ledger, from 1.
    pub number: u64,
    /// The period.
    pub period: Period,
    /// The table.
    pub table: Table,
    /// How it is protected.
    pub method: Method,
    /// What it cost: at least what its measures did together. Zero for an exact table, which no budget covers: the sum of the year then says
    /// nothing of what that table tells.
    pub rho: Rho,
    /// Its measures; none of an exact table.
    pub spent: Vec<Spent>,
    /// What the calendar year has cost a contributor, with this entry.
    pub year: Rho,
    /// Of the list of cells ([`Geography::digest`](super::Geography::digest)).
    pub cells: Digest,
    /// Of the table's published figures ([`TableFigures::digest`](super::TableFigures::digest)).
    pub figures: Digest,
    /// The code that made it: a version and a digest of its sources.
    pub code: String,
    /// When it was made.
    pub at: Timestamp,
    /// The digest of the entry before it.
    pub previous: Digest,
    /// Of all of the above.
    pub digest: Digest,
}

/// Why nothing may be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The table of this period has been released; there are no revisions.
    #[error("this table of this period has been released, and there are no revisions")]
    Released(Table, Period),
    /// The year would cost a contributor more than the cap.
    #[error("the budget of the year {0} does not suffice")]
    Cap(u16),
    /// Exact figures of this other table and period count the same sessions.
    #[error("exact figures of {0:?} of {1} count the same sessions, and one could be told from the other what each withholds")]
    Overlaps(Table, Period),
    /// The ledger is full.
    #[error("the ledger is full")]
    Full,
}

/// What is wrong with a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The entry of this number does not follow from the one before: number, digest of the previous or its own digest.
    #[error("the chain is broken at entry {0}")]
    Chain(u64),
    /// The entry of this number says another sum of the year than its entries make, or costs less than its measures do.
    #[error("entry {0} does not add up")]
    Sum(u64),
    /// The entry of this number repeats a table of a period.
    #[error("entry {0} releases a table a second time")]
    Twice(u64),
    /// There are more than [`MOST_ENTRIES`].
    #[error("the ledger has too many entries")]
    TooLong,
}

/// All entries, the first first. Where they are kept is the shell's matter; they must be durable before the figures leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    /// The ledger of these entries, the whole chain checked.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn read(entries: Vec<Entry>) -> Result<Self, Broken> {
        let mut ledger = Self::default();
        for entry in entries {
            ledger.append(entry)?;
        }
        Ok(ledger)
    }

    /// Its entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The digest of its last entry.
    pub fn head(&self) -> Digest {
        self.entries.last().map_or(GENESIS, |entry| entry.digest)
    }

    /// What the releases of a calendar year have cost a contributor.
    pub fn spent(&self, year: u16) -> Rho {
        Rho(self.entries.iter().filter(|entry| entry.period.year() == year).fold(0, |sum, entry| sum.saturating_add(entry.rho.0)))
    }

    /// The entry of a table of a period.
    pub fn find(&self, table: Table, period: Period) -> Option<&Entry> {
        self.entries.iter().find(|entry| (entry.table, entry.period) == (table, period))
    }

    /// Looks whether these tables of a period may be released: none of them has been, and together they fit under the cap.
    ///
    /// # Errors
    /// Why not.
    pub fn allows(&self, tables: &[Table], period: Period, parameters: &Parameters) -> Result<(), Refused> {
        let mut sum = self.spent(period.year());
        for table in tables {
            if self.find(*table, period).is_some() {
                return Err(Refused::Released(*table, period));
            }
            sum = sum.plus(parameters.of(*table).rho).ok_or(Refused::Cap(period.year()))?;
        }
        if sum > parameters.cap {
            return Err(Refused::Cap(period.year()));
        }
        if self.entries.len() + tables.len() > MOST_ENTRIES { Err(Refused::Full) } else { Ok(()) }
    }

    /// Looks whether an exact table of a period may be released: it has not been, and no exact figures of a month and of its quarter are released
    /// both. What the quarter withholds could be told from its months, and what a month withholds from the quarter and the other two.
    ///
    /// # Errors
    /// Why not.
    pub fn allows_exact(&self, table: Table, period: Period) -> Result<(), Refused> {
        if self.find(table, period).is_some() {
            return Err(Refused::Released(table, period));
        }
        let overlaps = |entry: &&Entry| {
            entry.method == Method::Exact
                && entry.period != period
                && entry.period.its_quarter() == period.its_quarter()
                && entry.period.is_quarter() != period.is_quarter()
        };
        if let Some(entry) = self.entries.iter().find(overlaps) {
            return Err(Refused::Overlaps(entry.table, entry.period));
        }
        if self.entries.len() >= MOST_ENTRIES { Err(Refused::Full) } else { Ok(()) }
    }

    /// Appends an entry that follows from the last.
    ///
    /// # Errors
    /// It does not.
    pub fn append(&mut self, entry: Entry) -> Result<(), Broken> {
        let number = self.entries.len() as u64 + 1;
        if self.entries.len() >= MOST_ENTRIES {
            return Err(Broken::TooLong);
        }
        if entry.number != number || entry.previous != self.head() || entry.digest != entry.own_digest() {
            return Err(Broken::Chain(number));
        }
        if self.find(entry.table, entry.period).is_some() {
            return Err(Broken::Twice(number));
        }
        let parts = entry.spent.iter().try_fold(Rho(0), |sum, spent| sum.plus(spent.rho));
        let year = self.spent(entry.period.year()).plus(entry.rho);
        let complete = match entry.method {
            Method::DifferentiallyPrivate => entry.spent.iter().map(|spent| spent.measure).eq(entry.table.measures().iter().copied()),
            Method::Exact => entry.spent.is_empty() && entry.rho == Rho(0),
        };
        let paid = entry
            .spent
            .iter()
            .all(|spent| Variance::costing(spent.square, spent.rho).is_some_and(|least| least.ceil() <= spent.variance.ceil()));
        if !complete || !paid || parts.is_none_or(|parts| parts > entry.rho) || year != Some(entry.year) {
            return Err(Broken::Sum(number));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The entry that would be next: `of` says what a table with noise costs; an exact one has no cost to tell.
    pub(super) fn next(&self, made: &TableFigures, of: Option<&TableParameters>, code: &str, at: Timestamp) -> Option<Entry> {
        let measures = of.map_or(&[][..], |of| &of.measures);
        let spent = measures.iter().map(|m| Some(Spent { measure: m.measure, square: m.square, variance: m.variance()?, rho: m.rho }));
        let rho = of.map_or(Rho(0), |of| of.rho);
        let mut entry = Entry {
            number: self.entries.len() as u64 + 1,
            period: made.period,
            table: made.table,
            method: if of.is_some() { Method::DifferentiallyPrivate } else { Method::Exact },
            rho,
            spent: spent.collect::<Option<_>>()?,
            year: self.spent(made.period.year()).plus(rho)?,
            cells: made.cells,
            figures: made.digest(),
            code: code.to_owned(),
            at,
            previous: self.head(),
            digest: GENESIS,
        };
        entry.digest = entry.own_digest();
        Some(entry)
    }
}

impl Entry {
    /// SHA-256 of the words `sluis/stats/ledger/1`, a line feed and the entry as JSON with its members in their order, without spaces and with
    /// a `digest` of 64 zeros.
    pub fn own_digest(&self) -> Digest {
        let plain = Self { digest: GENESIS, ..self.clone() };
        let mut bytes = DOMAIN.to_vec();
        // Writing to memory, with text keys only: it cannot fail.
        bytes.extend(serde_json::to_vec(&plain).unwrap_or_default());
        Digest::of(&bytes)
    }
}
