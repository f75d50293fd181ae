//! A made-up country with an operator in all of its municipalities: a site register, and a quarter of sessions written as they are made. The
//! same seed makes the same bytes.

use sluis::clock::Timestamp;
use sluis::stats::Period;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// As many as the Netherlands have.
const MUNICIPALITIES: u64 = 342;
const PROVINCES: u64 = 12;
/// Sessions of an ordinary charging point in a quarter: what EVnetNL's had in 2015 (`docs/statistics.md`).
const A_POINT: u64 = 45;
/// Ordinary charging points of a neighbourhood.
const A_NEIGHBOURHOOD: u64 = 60;
/// One fast charging point to so many ordinary ones; they stand together in eights.
const SLOW_TO_FAST: u64 = 20;
const A_HUB: u64 = 8;
/// One home charger to so many public points.
const PUBLIC_TO_HOME: u64 = 50;
const MINUTE: i64 = 60_000;
const DAY: u64 = 24 * 60;

/// How large the country is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) sessions: u64,
    pub(crate) cards: u64,
    pub(crate) seed: u64,
}

/// SplitMix64: repeatable, for a made-up country only.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` up to, not including, `high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low).max(1)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Slow,
    Fast,
    Home,
}

/// What there is of a municipality: its charging points have the numbers from `first` on, the ordinary ones before the fast ones before homes.
struct Municipality {
    first: u64,
    slow: u64,
    fast: u64,
    home: u64,
}

impl Municipality {
    fn points(&self) -> u64 {
        self.slow + self.fast + self.home
    }
}

/// The country.
pub(crate) struct Country {
    size: Size,
    municipalities: Vec<Municipality>,
    points: u64,
}

impl Country {
    /// Municipalities as unlike in size as real ones: the n-th has a share of 1 / (n + 10).
    pub(crate) fn of(size: Size) -> Self {
        let shares: f64 = (0..MUNICIPALITIES).map(|n| 1.0 / (n as f64 + 10.0)).sum();
        let (mut municipalities, mut points) = (Vec::new(), 0);
        for number in 0..MUNICIPALITIES {
            let share = 1.0 / (number as f64 + 10.0) / shares;
            let slow = ((size.sessions / A_POINT) as f64 * share).ceil() as u64;
            let fast = slow / SLOW_TO_FAST / A_HUB * A_HUB;
            let municipality = Municipality { first: points, slow, fast, home: slow / PUBLIC_TO_HOME };
            points += municipality.points();
            municipalities.push(municipality);
        }
        Self { size, municipalities, points }
    }

    pub(crate) fn points(&self) -> u64 {
        self.points
    }

    /// Writes the site register.
    pub(crate) fn write_sites(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(
            b"station,evse,connector,location_id,evse_uid,evse_id,connector_id,name,address,city,country,latitude,longitude,standard,format,power_type,max_kw,tariff,home,neighbourhood,municipality,province\n",
        )?;
        for (number, municipality) in self.municipalities.iter().enumerate() {
            let province = number as u64 % PROVINCES;
            for at in 0..municipality.points() {
                let point = municipality.first + at;
                let (kind, neighbourhood, name) = match municipality.kind(at) {
                    Kind::Slow => ("IEC_62196_T2,SOCKET,AC_3_PHASE,11,,false", at / A_NEIGHBOURHOOD, String::new()),
                    Kind::Fast => {
                        let hub = (at - municipality.slow) / A_HUB;
                        ("IEC_62196_T2_COMBO,CABLE,DC,300,,false", hub, format!("Plein {hub}"))
                    }
                    Kind::Home => ("IEC_62196_T2,SOCKET,AC_3_PHASE,11,,true", 0, String::new()),
                };
                writeln!(
                    out,
                    "S{point},*,*,L{point},P{point},NL*BEN*P{point},1,{name},Laadplein {at},Stad {number},NLD,52.090000,5.120000,{kind},Wijk {neighbourhood},Gemeente {number},Provincie {province}"
                )?;
            }
        }
        out.flush()
    }

    /// Writes the sessions of a quarter, one a line, as they are made: nothing of them is kept here.
    pub(crate) fn write_sessions(&self, path: &Path, quarter: Period, zone: chrono_tz::Tz) -> io::Result<u64> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut dice = Dice(self.size.seed);
        let (from, to) = (quarter.begin(zone).0, quarter.end(zone).0);
        let minutes = u64::try_from((to - from) / MINUTE).unwrap_or(0);
        let mut bytes = 0;
        for number in 0..self.size.sessions {
            // One session in a hundred is of one of a hundred heavy cards: taxis and vans, at a hundred sessions a quarter and more.
            let card = if dice.between(0, 100) == 0 { dice.between(0, 100) } else { dice.between(0, self.size.cards) };
            let home = self.at_home(card);
            // Four in five near home.
            let municipality = if dice.between(0, 5) > 0 { home } else { self.holding(dice.between(0, self.points)) };
            let at = match dice.between(0, 100) {
                0..10 if municipality.fast > 0 => municipality.slow + dice.between(0, municipality.fast),
                10 if municipality.home > 0 => municipality.slow + municipality.fast + dice.between(0, municipality.home),
                // A card has its own corner of the town.
                11..70 => (card * 7 + dice.between(0, 20)) % municipality.slow,
                _ => dice.between(0, municipality.slow),
            };
            let point = municipality.first + at;
            let (connected, wh) = match municipality.kind(at) {
                Kind::Fast => (dice.between(12, 45), dice.between(12_000, 55_000)),
                _ if dice.between(0, 4) == 0 => (dice.between(8 * 60, 15 * 60), dice.between(5_000, 45_000)),
                _ => (dice.between(25, 6 * 60), dice.between(1_500, 18_000)),
            };
            let hour = [7, 8, 8, 9, 10, 12, 14, 16, 17, 17, 18, 18, 19, 20, 22][usize::try_from(dice.between(0, 15)).unwrap_or(0)];
            let begin = dice.between(0, minutes / DAY - 1) * DAY + hour * 60 + dice.between(0, 60);
            let moment = |minute: u64| Timestamp(from + i64::try_from(minute).unwrap_or(0) * MINUTE).rfc3339();
            // Every eighth card is the second one of its neighbour's contract.
            let contract = if card % 8 == 7 { card - 1 } else { card };
            let charging = (connected.min(wh / 100 + 10)) * 60;
            let line = format!(
                "{{\"session\":\"b{number}\",\"token\":\"{:014X}\",\"contract\":\"NL-BEN-C{contract:08}\",\"evse_uid\":\"P{point}\",\"begin\":\"{}\",\"end\":\"{}\",\"kwh\":{}.{:03},\"charging_seconds\":{charging}}}\n",
                0x04_0000_0000_0000 | card.wrapping_mul(0x9E37_79B9),
                moment(begin),
                moment(begin + connected),
                wh / 1_000,
                wh % 1_000,
            );
            out.write_all(line.as_bytes())?;
            bytes += line.len() as u64;
        }
        out.flush()?;
        Ok(bytes)
    }

    /// Where a card is at home: by the number of charging points there.
    fn at_home(&self, card: u64) -> &Municipality {
        self.holding(card.wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.points)
    }

    /// The municipality of a charging point.
    fn holding(&self, point: u64) -> &Municipality {
        let after = self.municipalities.partition_point(|municipality| municipality.first <= point);
        &self.municipalities[after.saturating_sub(1)]
    }
}

impl Municipality {
    fn kind(&self, at: u64) -> Kind {
        match at {
            at if at < self.slow => Kind::Slow,
            at if at < self.slow + self.fast => Kind::Fast,
            _ => Kind::Home,
        }
    }
}
