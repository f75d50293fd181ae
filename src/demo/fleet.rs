//! A made-up fleet: a quarter of charging in two municipalities, for the statistics at the end of the demo. The same every time.
//!
//! The anchors are what EVnetNL published of its public charging points in 2015: a working day's sessions begin most often around nine in the morning and
//! end most often around five, a weekend's begin most often around a quarter to two; 8.4 kWh a session; 13.7 % of the time connected; 36.4 cards a point and
//! 2.5 points a card in a year; 8,600 sessions a week, which at those rates are some 2,500 points, 3.4 sessions a week each and 6.7 hours a session. What
//! lies between the anchors, and the hub of fast chargers, is ours (`docs/statistics.md`).

use crate::stats::Period;
use chrono_tz::Tz;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Ordinary charging points of Utrecht, in neighbourhoods of a hundred, and of Amersfoort; fast ones at the hub.
const UTRECHT: u64 = 500;
const AMERSFOORT: u64 = 60;
const HUB: u64 = 8;
/// Sessions of an ordinary point in a quarter: 3.43 a week.
const A_POINT: u64 = 45;
/// Sessions of a fast point in a quarter: three a day.
const A_FAST_POINT: u64 = 276;
/// 36,531 cards made 8,600 sessions a week: 3.06 of each in a quarter.
const SESSIONS_OF_100_CARDS: u64 = 306;
/// One in so many has objected.
const OBJECTS: u64 = 150;
const MINUTE: i64 = 60_000;
const HOUR: u64 = 60;
const NEIGHBOURHOODS: [&str; 5] = ["Lombok", "Wittevrouwen", "Zuilen", "Hoograven", "Lunetten"];
/// How often somebody comes for a visit in the hours from nine on, on working days and in weekends.
const VISITS: [[u64; 12]; 2] = [[6, 7, 8, 8, 9, 9, 9, 10, 10, 9, 9, 6], [5, 8, 11, 14, 18, 13, 10, 8, 5, 4, 3, 1]];

/// The fleet's papers, as an operator would have them.
pub(super) struct Fleet {
    /// The site register.
    pub(super) sites: String,
    /// The sessions of a quarter, one a line.
    pub(super) sessions: String,
    /// The same without those who objected.
    pub(super) without: String,
    /// Those who objected, a card a line.
    pub(super) objections: String,
    /// Every card and contract.
    pub(super) identifiers: BTreeSet<String>,
    /// How many cards and sessions there are, and how many people objected.
    pub(super) counts: [u64; 3],
}

/// SplitMix64: repeatable, for a made-up world only.
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

    /// The number of one of `weights`, each as often as its weight says.
    fn one_of(&mut self, weights: &[u64]) -> u64 {
        let mut at = self.between(0, weights.iter().sum());
        for (number, weight) in (0..).zip(weights) {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return number,
            }
        }
        0
    }
}

/// A session: minutes from midnight to its begin, minutes connected, Wh, minutes charging.
fn session(dice: &mut Dice, weekend: bool, fast: bool) -> [u64; 4] {
    let begin = |dice: &mut Dice, hour: u64| hour * HOUR + dice.between(0, HOUR);
    if fast {
        let hour = 9 + dice.one_of(&VISITS[usize::from(weekend)]);
        let minutes = dice.between(15, 36);
        return [begin(dice, hour), minutes, dice.between(20_000, 50_000), minutes];
    }
    // Percent of those who come to work, come home, come by.
    let (hour, connected) = match dice.one_of(if weekend { &[0, 25, 75] } else { &[30, 25, 45] }) {
        0 => (7 + dice.one_of(&[25, 50, 25]), dice.between(7 * HOUR, 9 * HOUR + 30)),
        1 => (16 + dice.one_of(&[15, 35, 25, 15, 10]), dice.between(11 * HOUR, 15 * HOUR)),
        _ => (9 + dice.one_of(&VISITS[usize::from(weekend)]), dice.between(30, if weekend { 6 } else { 4 } * HOUR)),
    };
    // Plug-in hybrids at 3.7 kW, and cars that take 11 kW: 8.4 kWh on average, as far as there is time for it.
    let (wh, kw) = if dice.between(0, 10) < 7 { (dice.between(2_000, 9_000), 3_700) } else { (dice.between(10_000, 20_300), 11_000) };
    let charging = (wh * HOUR).div_ceil(kw).min(connected);
    [begin(dice, hour), connected, wh.min(charging * kw / HOUR), charging]
}

impl Fleet {
    /// The fleet's quarter.
    pub(super) fn of(quarter: Period, zone: Tz) -> Self {
        let mut dice = Dice(2026);
        let (ordinary, points) = (UTRECHT + AMERSFOORT, UTRECHT + AMERSFOORT + HUB);
        let all = ordinary * A_POINT + HUB * A_FAST_POINT;
        let cards = all * 100 / SESSIONS_OF_100_CARDS;
        // Every twelfth card is the second one of its neighbour's contract.
        let person = |card: u64| if card % 12 == 11 { card - 1 } else { card };
        let names: Vec<(String, String)> =
            (0..cards).map(|card| (format!("{:014X}", dice.next() >> 8), format!("NL-VLT-C{:08}", person(card)))).collect();
        let (from, to) = (quarter.begin(zone).0, quarter.end(zone).0);
        let days = u64::try_from((to - from) / (24 * 60 * MINUTE)).unwrap_or(90);
        let (mut sessions, mut without) = (String::new(), String::new());
        for number in 0..all {
            let fast = number >= ordinary * A_POINT;
            let card = dice.between(0, cards);
            // A card is seen at two or three points, which it shares with others.
            let near = card * 7 % ordinary + dice.one_of(&[5, 3, 2]) * 17;
            let point = if fast { ordinary + dice.between(0, HUB) } else { near % ordinary };
            // A session that would end after the quarter is none of its.
            let day = i64::try_from(dice.between(0, days - 1)).unwrap_or(0);
            let midnight = from + day * 24 * 60 * MINUTE;
            let weekend = matches!(crate::clock::Timestamp(midnight).seconds().div_euclid(86_400).rem_euclid(7), 1 | 2);
            let [begin, connected, wh, charging] = session(&mut dice, weekend, fast);
            let at = |minutes: u64| crate::clock::Timestamp(midnight + i64::try_from(minutes).unwrap_or(0) * MINUTE).rfc3339();
            let (token, contract) = &names[usize::try_from(card).unwrap_or(0)];
            let line = format!(
                "{{\"session\":\"{number}\",\"token\":\"{token}\",\"contract\":\"{contract}\",\"evse_uid\":\"V{point}\",\"begin\":\"{}\",\"end\":\"{}\",\"wh\":{wh},\"charging_seconds\":{}}}\n",
                at(begin),
                at(begin + connected),
                charging * 60
            );
            sessions += &line;
            if person(card) % OBJECTS != 0 {
                without += &line;
            }
        }
        let objectors: Vec<&str> = (0..cards).step_by(OBJECTS as usize).map(|card| names[card as usize].0.as_str()).collect();
        Self {
            sites: sites(points, ordinary),
            sessions,
            without,
            objections: objectors.iter().fold(String::new(), |text, card| text + card + "\n"),
            counts: [cards, all, objectors.len() as u64],
            identifiers: names.into_iter().flat_map(|(token, contract)| [token, contract]).collect(),
        }
    }
}

fn sites(points: u64, ordinary: u64) -> String {
    let mut sites =
        "station,evse,connector,location_id,evse_uid,evse_id,connector_id,name,address,city,country,latitude,longitude,standard,format,\
                     power_type,max_kw,tariff,neighbourhood,municipality,province\n"
            .to_owned();
    for point in 0..points {
        let (name, kind, neighbourhood, town) = match point {
            _ if point >= ordinary => ("Knooppunt Lunetten", "IEC_62196_T2_COMBO,CABLE,DC,300", NEIGHBOURHOODS[4], "Utrecht"),
            _ if point >= UTRECHT => ("", "IEC_62196_T2,SOCKET,AC_3_PHASE,11", "Soesterkwartier", "Amersfoort"),
            _ => ("", "IEC_62196_T2,SOCKET,AC_3_PHASE,11", NEIGHBOURHOODS[(point % 5) as usize], "Utrecht"),
        };
        let _ = writeln!(
            sites,
            "VLT-{point},*,*,V{point},V{point},NL*PAL*V{point:05},1,{name},Laadplein {point},{town},NLD,52.090000,5.120000,{kind},stad,{neighbourhood},{town},Utrecht"
        );
    }
    sites
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the fleet is drawn from is what was published.
    #[test]
    fn the_fleet_charges_as_was_published() {
        let zone = chrono_tz::Europe::Amsterdam;
        let mut dice = Dice(1);
        for (weekend, busiest) in [(false, 8), (true, 13)] {
            let mut hours = [0u32; 24];
            (0..50_000).for_each(|_| hours[(session(&mut dice, weekend, false)[0] / HOUR) as usize] += 1);
            assert_eq!(hours.iter().max(), Some(&hours[busiest]), "{hours:?}");
        }
        let sum = |n: usize, dice: &mut Dice| (0..70_000).map(|m| session(dice, m % 7 > 4, false)[n]).sum::<u64>() as f64 / 70_000.0;
        let (hours, kwh) = (sum(1, &mut dice) / 60.0, sum(2, &mut dice) / 1_000.0);
        assert!((6.2..7.2).contains(&hours) && (7.6..8.8).contains(&kwh), "{hours} h, {kwh} kWh");
        let fleet = Fleet::of("2026-Q3".parse().unwrap(), zone);
        assert_eq!(fleet.sessions.lines().count() as u64, fleet.counts[1]);
        // A point's sessions of a quarter, and the hours of it that it is connected.
        let occupied = A_POINT as f64 * hours / (91.0 * 24.0);
        assert!((0.12..0.155).contains(&occupied), "{occupied}");
        assert!(crate::cdr::site::Sites::parse(&fleet.sites, zone).is_ok());
    }
}
