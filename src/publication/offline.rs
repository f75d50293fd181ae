//! A file of sessions: one JSON object a line. Read as a stream, so that a million sessions need some 150 MB.
//!
//! ```text
//! {"session":"a1","token":"04A2B3C4","contract":"NL-ABC-000001","evse_uid":"EVSE-0001",
//!  "begin":"2026-10-01T08:00:00Z","end":"2026-10-01T10:30:00Z","kwh":11.5,"charging_seconds":7200}
//! ```
//! `station`, `evse` and `connector` may stand in place of `evse_uid`, and `wh` in place of `kwh`; `contract` and `charging_seconds` may be missing;
//! other members are passed over. A mistake is told by the number of its line, and no value is quoted.

use super::gathering::{Gathering, Stay};
use super::register;
use crate::cdr::site::Sites;
use crate::clock::Timestamp;
use crate::custody::Guests;
use crate::stats::Period;
use chrono::DateTime;
use chrono_tz::Tz;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, ErrorKind};

/// The longest line, in bytes.
pub const LONGEST_LINE: usize = 64 << 10;
/// Beyond these, further mistakes are counted only.
pub const MOST_MISTAKES: usize = 100;
/// More energy than this is a mistake: 100 MWh in one session.
const MOST_WH: u64 = 100_000_000;

/// A line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    session: Cow<'a, str>,
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow, default)]
    contract: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    station: Option<Cow<'a, str>>,
    #[serde(default)]
    evse: Option<u32>,
    #[serde(default)]
    connector: Option<u32>,
    #[serde(borrow, default)]
    evse_uid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    begin: Cow<'a, str>,
    #[serde(borrow)]
    end: Cow<'a, str>,
    #[serde(borrow, default)]
    kwh: Option<&'a RawValue>,
    #[serde(borrow, default)]
    wh: Option<&'a RawValue>,
    #[serde(borrow, default)]
    charging_seconds: Option<&'a RawValue>,
}

/// What came of a file.
pub struct Read {
    /// The sessions of the period.
    pub gathering: Gathering,
    /// Mistakes, each with its line; at most [`MOST_MISTAKES`].
    pub mistakes: Vec<String>,
    /// How many there are in all.
    pub wrong: u64,
}

/// By what a file is read.
pub struct Reading<'a> {
    /// The site register.
    pub sites: &'a Sites,
    /// By its clocks periods begin and end.
    pub zone: Tz,
    /// The period whose sessions are wanted.
    pub period: Period,
    /// Names the people.
    pub guests: &'a Guests,
    /// Whether a card or contract is not to be counted, beyond those of the opt-out file.
    pub objects: &'a dyn Fn(&str) -> bool,
}

impl Reading<'_> {
    /// Reads a file of sessions.
    ///
    /// # Errors
    /// The operating system cannot read it.
    pub fn read(&self, mut input: impl BufRead) -> Result<Read, ErrorKind> {
        let mut read = Read { gathering: Gathering::default(), mistakes: Vec::new(), wrong: 0 };
        let places: HashSet<&str> = self.sites.iter().map(|(_, site)| register::key(site)).collect();
        let homes: HashSet<&str> = self.sites.iter().filter(|(_, site)| site.place.home).map(|(_, site)| register::key(site)).collect();
        let mut seen: HashMap<[u8; 16], u64> = HashMap::new();
        let mut line = Vec::new();
        let mut number = 0u64;
        while bounded(&mut input, &mut line).map_err(|error| error.kind())? {
            number += 1;
            let text = line.strip_prefix("\u{feff}".as_bytes()).filter(|_| number == 1).unwrap_or(&line).trim_ascii();
            if text.is_empty() {
                continue;
            }
            if let Err(why) = self.take(text, &places, &homes, &mut seen, &mut read.gathering) {
                read.wrong += 1;
                if read.mistakes.len() < MOST_MISTAKES {
                    read.mistakes.push(format!("line {number}: {why}"));
                }
            }
        }
        Ok(read)
    }

    fn take(
        &self,
        text: &[u8],
        places: &HashSet<&str>,
        homes: &HashSet<&str>,
        seen: &mut HashMap<[u8; 16], u64>,
        gathering: &mut Gathering,
    ) -> Result<(), &'static str> {
        if text.len() > LONGEST_LINE {
            return Err("is longer than 65536 bytes");
        }
        let line: Line<'_> = serde_json::from_slice(text)
            .map_err(|_| "is no JSON object with session, token, begin and end as texts and the rest in its form")?;
        let place = match (&line.evse_uid, &line.station) {
            (Some(uid), _) => places.get(uid.as_ref()).copied().ok_or("evse_uid is not in the site register")?,
            (None, Some(station)) => {
                let (evse, connector) = (line.evse.unwrap_or(0), line.connector.unwrap_or_else(|| line.evse.unwrap_or(0).min(1)));
                let site = self.sites.find(station, evse, connector).ok_or("station, evse and connector are not in the site register")?;
                register::key(site)
            }
            (None, None) => return Err("has neither evse_uid nor station"),
        };
        let (begun, ended) =
            (moment(&line.begin).ok_or("begin is no RFC 3339 moment")?, moment(&line.end).ok_or("end is no RFC 3339 moment")?);
        if ended < begun {
            return Err("ends before it begins");
        }
        let wh = match (line.kwh, line.wh) {
            (Some(kwh), None) => amount(kwh).and_then(|kwh| kwh.checked_mul(Decimal::ONE_THOUSAND)),
            (None, Some(wh)) => amount(wh),
            _ => return Err("has not exactly one of kwh and wh"),
        };
        let wh = wh.and_then(|wh| wh.trunc().to_u64()).filter(|wh| *wh <= MOST_WH).ok_or("its energy is no number from 0 to 100 MWh")?;
        let connected = u64::try_from((ended.0 - begun.0) / 1000).unwrap_or(0);
        let charging = match line.charging_seconds {
            Some(seconds) => {
                amount(seconds).and_then(|s| s.trunc().to_u64()).ok_or("charging_seconds is no number of seconds")?.min(connected)
            }
            None => connected,
        };
        if line.token.trim().is_empty() || line.session.is_empty() {
            return Err("session or token is empty");
        }
        let stay = Stay { place: place.to_owned(), begun, ended, wh, charging };
        let card = self.guests.digest(&line.token);
        let contract = line.contract.as_deref().filter(|contract| !contract.trim().is_empty());
        let holder = contract.map(|contract| self.guests.digest(contract));
        // The same session said twice counts once; said differently, nobody knows which is right.
        let mut gist = DefaultHasher::new();
        (&stay.place, begun, ended, wh, charging, card, holder).hash(&mut gist);
        let gist = gist.finish();
        match seen.insert(self.guests.session(&line.session), gist) {
            Some(before) if before == gist => return Ok(()),
            Some(_) => return Err("repeats a session with other values"),
            None => {}
        }
        // Wherever in the file card and contract stand together, they are one person: what is known too late in it counts as well.
        if let Some(holder) = holder {
            gathering.people.join(card, holder);
        }
        if (self.objects)(&line.token) || contract.is_some_and(|contract| (self.objects)(contract)) {
            gathering.people.object(card);
            return Ok(());
        }
        let of = if self.period.is_quarter() { Period::quarter_of(ended, self.zone) } else { Period::month_of(ended, self.zone) };
        if of.map_err(|_| "ends outside 2000 to 2199")? != self.period || (self.period.is_quarter() && homes.contains(place)) {
            return Ok(());
        }
        gathering.add(card, holder, stay);
        Ok(())
    }

    /// Reads a file of those who are not to be counted: a card or contract a line, `#` begins a comment. Returns how many lines are too long to be
    /// either.
    ///
    /// # Errors
    /// The operating system cannot read it.
    pub fn read_objections(&self, mut input: impl BufRead, gathering: &mut Gathering) -> Result<u64, ErrorKind> {
        let (mut line, mut wrong) = (Vec::new(), 0);
        while bounded(&mut input, &mut line).map_err(|error| error.kind())? {
            let text = line
                .strip_prefix("\u{feff}".as_bytes())
                .unwrap_or(&line)
                .split(|byte| *byte == b'#')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            match std::str::from_utf8(text) {
                Ok("") => {}
                Ok(text) if text.len() <= 255 => gathering.people.object(self.guests.digest(text)),
                _ => wrong += 1,
            }
        }
        Ok(wrong)
    }
}

/// Reads a line without its end; `false` at the end. Of a line that is too long the rest is passed over, and what is kept is longer than
/// [`LONGEST_LINE`].
fn bounded(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let there = input.fill_buf()?;
        if there.is_empty() {
            return Ok(any);
        }
        any = true;
        let (part, used, ended) = match memchr::memchr(b'\n', there) {
            Some(at) => (&there[..at], at + 1, true),
            None => (there, there.len(), false),
        };
        let room = (LONGEST_LINE + 2).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        input.consume(used);
        if ended {
            return Ok(true);
        }
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| Timestamp(at.timestamp_millis()))
}

/// A number that is not negative, exactly as it is written: also as a text.
fn amount(raw: &RawValue) -> Option<Decimal> {
    let text = raw.get().trim_matches('"');
    let number = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).ok()?;
    (number >= Decimal::ZERO).then_some(number)
}
