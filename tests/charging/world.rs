//! A world of stations whose sessions are known: what happened, and the facts that came of it through lost answers, retries, repetitions,
//! offline times, reboots, lost messages and exchanged meters. What a session comes to is worked out here from what happened, by the
//! simplest means, and never from the facts.

use super::books::{Row, TEN, text};
use sluis::charging::{Remark, Span};
use sluis::clock::Timestamp;
use sluis::ocpp::Version;
use std::collections::BTreeSet;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// SplitMix64.
pub(crate) struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, n: i64) -> i64 {
        (self.next() % n.max(1) as u64) as i64
    }
    pub(crate) fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }
}

/// What happened, as it must be billed in the end.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) station: String,
    pub(crate) evse: u32,
    pub(crate) connector: u32,
    pub(crate) token: Option<String>,
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
    /// (when, Wh since the beginning).
    pub(crate) readings: Vec<(Timestamp, i64)>,
    pub(crate) idle: Vec<Span>,
    pub(crate) stopped: bool,
    /// All but `Late`, which tells of the facts and not of the session.
    pub(crate) remarks: BTreeSet<Remark>,
}

/// A point of a session's life.
struct Point {
    at: i64,
    register: i64,
    /// The meter was exchanged before it.
    exchanged: bool,
    charging: bool,
}

struct Station {
    name: String,
    version: Version,
    message: i64,
    number: i64,
    tag: i64,
    /// Offline between.
    offline: Vec<(i64, i64)>,
    /// Writes `transactionId` into its readings.
    numbers_readings: bool,
    kilo: bool,
    phases: bool,
}

impl Station {
    fn message(&mut self, dice: &mut Dice) -> String {
        // After a reboot they are counted anew.
        self.message = if dice.one_in(400) { 1 } else { self.message + 1 };
        self.message.to_string()
    }

    /// When the gateway sees what happened at a moment.
    fn seen(&self, at: i64, dice: &mut Dice) -> i64 {
        match self.offline.iter().find(|(from, to)| (*from..*to).contains(&at)) {
            Some((from, to)) => to + (at - from) / 200_000,
            None => at + 100 + dice.below(400),
        }
    }

    fn row(&self, seen: i64, action: &'static str, message: String, payload: String) -> Row {
        Row { station: self.name.clone(), version: self.version, at: Timestamp(seen), action, message, payload }
    }

    fn meter_value(&self, at: i64, wh: i64) -> String {
        let (unit, unit_two) = if self.kilo { (r#","unit":"kWh""#, r#","unitOfMeasure":{"unit":"kWh"}"#) } else { ("", "") };
        let two = self.version != Version::V16;
        let sampled = |wh: i64, phase: &str| {
            let value = if self.kilo { format!("{}.{:03}", wh / 1000, wh % 1000) } else { wh.to_string() };
            if two { format!(r#"{{"value":{value}{phase}{unit_two}}}"#) } else { format!(r#"{{"value":"{value}"{phase}{unit}}}"#) }
        };
        let values = if self.phases {
            let parts = [wh / 3, wh / 2 - wh / 3, wh - wh / 2];
            let one = |(i, part): (usize, &i64)| sampled(*part, &format!(r#","phase":"L{}""#, i + 1));
            parts.iter().enumerate().map(one).collect::<Vec<_>>().join(",")
        } else {
            sampled(wh, "")
        };
        format!(
            r#"{{"timestamp":"{}","sampledValue":[{values},{{"value":{},"measurand":"Voltage"}}]}}"#,
            text(Timestamp(at)),
            if two { "230" } else { "\"230\"" }
        )
    }
}

/// What happened at a number of stations, and the journal of it.
pub(crate) fn world(seed: u64, stations: usize, sessions: usize) -> (Vec<Truth>, Vec<Row>) {
    let dice = &mut Dice(seed);
    let (mut truths, mut rows) = (Vec::new(), Vec::new());
    for n in 0..stations {
        let version = Version::ALL[n % 3];
        let mut offline = Vec::new();
        let mut at = TEN;
        while at < TEN + sessions as i64 * 6 * HOUR {
            at += HOUR * (5 + dice.below(60));
            let end = at + HOUR + dice.below(20 * HOUR);
            offline.push((at, end));
            at = end;
        }
        let mut station = Station {
            name: format!("CS{n}"),
            version,
            message: dice.below(50),
            number: dice.below(1000),
            tag: 0,
            offline,
            numbers_readings: !dice.one_in(3),
            kilo: dice.one_in(2),
            phases: dice.one_in(3),
        };
        let connectors = 1 + dice.below(3) as u32;
        for evse in 1..=connectors {
            let mut at = TEN + 1000 * dice.below(3600);
            let mut register = 3_000_000 + dice.below(4_000_000);
            for _ in 0..sessions / connectors as usize {
                at += 2 * MINUTE + 1000 * dice.below(3 * 3600);
                let points = life(dice, &mut at, &mut register);
                let truth = if version == Version::V16 {
                    one_six(dice, &mut station, evse, &points, &mut rows)
                } else {
                    two_x(dice, &mut station, evse, &points, &mut rows)
                };
                truths.push(truth);
            }
        }
    }
    rows.sort_by_key(|row: &Row| row.at);
    (truths, rows)
}

/// A session: from plugging in to leaving, with a reading each quarter of an hour.
fn life(dice: &mut Dice, at: &mut i64, register: &mut i64) -> Vec<Point> {
    let mut points = vec![Point { at: *at, register: *register, exchanged: false, charging: true }];
    let exchange = if dice.one_in(25) { 2 + dice.below(4) } else { -1 };
    let steps = dice.below(14);
    let full = 1 + dice.below(14);
    for step in 0..=steps {
        let last = step == steps;
        *at += if last { 1000 * (1 + dice.below(900)) } else { 15 * MINUTE };
        let exchanged = step == exchange && !last;
        let charging = step < full;
        if exchanged {
            *register = dice.below(1000);
        } else if charging {
            *register += dice.below(4000);
        }
        points.push(Point { at: *at, register: *register, exchanged, charging });
    }
    points
}

/// What is billed of points: (when, Wh), and whether the register fell.
fn taken(points: &[&Point]) -> (Vec<(Timestamp, i64)>, bool) {
    let mut sum = 0;
    let mut readings = vec![(Timestamp(points[0].at), 0)];
    for pair in points.windows(2) {
        if pair[1].register >= pair[0].register {
            sum += pair[1].register - pair[0].register;
        }
        readings.push((Timestamp(pair[1].at), sum));
    }
    (readings, points.iter().skip(1).any(|point| point.exchanged))
}

fn join(spans: impl Iterator<Item = (i64, i64)>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for (from, to) in spans.filter(|(from, to)| from < to) {
        match joined.last_mut().filter(|last| last.to.0 == from) {
            Some(last) => last.to = Timestamp(to),
            None => joined.push(Span { from: Timestamp(from), to: Timestamp(to) }),
        }
    }
    joined
}

fn one_six(dice: &mut Dice, station: &mut Station, evse: u32, points: &[Point], rows: &mut Vec<Row>) -> Truth {
    let (first, last) = (&points[0], &points[points.len() - 1]);
    station.tag += 1;
    let tag = format!("TAG{}", station.tag % 1000);
    let start =
        format!(r#"{{"connectorId":{evse},"idTag":"{tag}","meterStart":{},"timestamp":"{}"}}"#, first.register, text(Timestamp(first.at)));
    let mut remarks = BTreeSet::new();
    // Tries of the start until one is answered; the station may never learn a number.
    let mut numbers = Vec::new();
    let mut seen = station.seen(first.at, dice);
    let tries = if dice.one_in(6) { 1 + dice.below(3) } else { 1 };
    let answered = !dice.one_in(12);
    for attempt in 0..tries {
        let message = station.message(dice);
        rows.push(station.row(seen, "StartTransaction", message.clone(), start.clone()));
        // The central system may have answered an earlier try, too, but the station did not hear.
        if (attempt + 1 == tries && answered) || dice.one_in(3) {
            station.number = station.number % 300 + 1;
            // Now and then the journal has the answer after what the station said next.
            let later = if dice.one_in(20) { dice.below(20 * MINUTE) } else { 1 };
            let payload = format!(r#"{{"transactionId":{}}}"#, station.number);
            rows.push(station.row(seen + later, "StartTransactionResponse", message, payload));
            numbers.push(station.number);
        }
        seen += 2 + dice.below(30);
    }
    let number = if answered { *numbers.last().expect("the last try was answered") } else { -1 };
    // Readings, some twice.
    let inner = &points[1..points.len() - 1];
    for point in inner {
        let named = if number > 0 && station.numbers_readings { format!(r#""transactionId":{number},"#) } else { String::new() };
        let payload = format!(r#"{{"connectorId":{evse},{named}"meterValue":[{}]}}"#, station.meter_value(point.at, point.register));
        let seen = station.seen(point.at, dice);
        for again in 0..=i64::from(dice.one_in(10)) {
            let message = station.message(dice);
            rows.push(station.row(seen + again * (1 + dice.below(3)), "MeterValues", message, payload.clone()));
        }
    }
    // The stop: some never come, some days later, some twice, some with another card.
    let lost = dice.one_in(30);
    let late = if number > 0 && dice.one_in(40) { 50 * HOUR + dice.below(24 * HOUR) } else { 0 };
    if !lost {
        let other = number > 0 && dice.one_in(15);
        let card = if other { "OTHER" } else { &tag };
        let card = if number < 0 || other || dice.one_in(2) { format!(r#""idTag":"{card}","#) } else { String::new() };
        if other {
            remarks.insert(Remark::StoppedByAnother);
        }
        let all: Vec<String> = points.iter().map(|point| station.meter_value(point.at, point.register)).collect();
        let data = if dice.one_in(3) { format!(r#","transactionData":[{}]"#, all.join(",")) } else { String::new() };
        let payload = |number: i64| {
            let (meter, at) = (last.register, text(Timestamp(last.at)));
            format!(r#"{{"transactionId":{number},{card}"meterStop":{meter},"timestamp":"{at}"{data}}}"#)
        };
        let seen = station.seen(last.at, dice) + late;
        for again in 0..=i64::from(dice.one_in(10)) {
            let message = station.message(dice);
            rows.push(station.row(seen + again * dice.below(9 * HOUR), "StopTransaction", message, payload(number)));
        }
        if dice.one_in(20) && late == 0 {
            // The station never learned that it was heard, and tells it all again, days later.
            let seen = seen + 3 * 24 * HOUR + dice.below(24 * HOUR);
            let message = station.message(dice);
            rows.push(station.row(seen, "StartTransaction", message.clone(), start));
            station.number = station.number % 300 + 1;
            rows.push(station.row(seen + 1, "StartTransactionResponse", message, format!(r#"{{"transactionId":{}}}"#, station.number)));
            let message = station.message(dice);
            rows.push(station.row(seen + 2, "StopTransaction", message, payload(station.number)));
        }
    }
    let known: Vec<&Point> = points[..points.len() - usize::from(lost)].iter().collect();
    let (readings, fell) = taken(&known);
    if lost {
        remarks.insert(Remark::MissingStop);
        if known.len() == 1 {
            remarks.insert(Remark::NoEnergy);
        }
    }
    if fell {
        remarks.insert(Remark::RegisterFell);
    }
    let still = |pair: &[&Point]| pair[0].register == pair[1].register && !pair[1].exchanged;
    Truth {
        station: station.name.clone(),
        evse,
        connector: evse,
        token: Some(tag),
        started: Timestamp(first.at),
        ended: Timestamp(known[known.len() - 1].at),
        idle: join(known.windows(2).filter(|pair| still(pair)).map(|pair| (pair[0].at, pair[1].at))),
        readings,
        stopped: !lost,
        remarks,
    }
}

fn two_x(dice: &mut Dice, station: &mut Station, evse: u32, points: &[Point], rows: &mut Vec<Row>) -> Truth {
    station.tag += 1;
    let tag = format!("TAG{}", station.tag % 1000);
    let transaction = format!("{:016x}-{}", dice.next(), station.tag);
    let base = dice.below(3) * dice.below(500);
    let end = points.len() - 1;
    let (named_at, placed_at) = (dice.below(2) as usize, dice.below(2) as usize);
    let other = dice.one_in(15);
    let offline = dice.one_in(4);
    // What is lost: never what says who or where, so that the bill has both.
    let lost = |dice: &mut Dice, i: usize| match i {
        _ if i == named_at || i == placed_at => false,
        _ if i == end => dice.one_in(30),
        _ => dice.one_in(60),
    };
    let lost: Vec<bool> = (0..=end).map(|i| lost(dice, i)).collect();
    let late = if dice.one_in(40) { 50 * HOUR + dice.below(24 * HOUR) } else { 0 };
    for (i, point) in points.iter().enumerate().filter(|(i, _)| !lost[*i]) {
        let kind = if i == 0 {
            "Started"
        } else if i == end {
            "Ended"
        } else {
            "Updated"
        };
        let state = if point.charging { "Charging" } else { "SuspendedEV" };
        let mut payload = format!(
            r#"{{"eventType":"{kind}","timestamp":"{}","triggerReason":"Trigger","seqNo":{},"offline":{offline},"transactionInfo":{{"transactionId":"{transaction}","chargingState":"{state}"}},"meterValue":[{}]"#,
            text(Timestamp(point.at)),
            base + i as i64,
            station.meter_value(point.at, point.register),
        );
        if i == named_at {
            payload += &format!(r#","idToken":{{"idToken":"{tag}","type":"ISO14443"}}"#);
        }
        if other && i == end {
            payload += r#","idToken":{"idToken":"OTHER","type":"ISO14443"}"#;
        }
        if i == placed_at {
            payload += &format!(r#","evse":{{"id":{evse},"connectorId":1}}"#);
        }
        payload.push('}');
        // Stored events come in any order, behind newer ones.
        let mut seen = station.seen(point.at, dice);
        if offline {
            seen = station.seen(points[end].at, dice) + dice.below(10 * MINUTE);
        }
        if i == end {
            seen += late;
        }
        for again in 0..=i64::from(dice.one_in(8)) {
            let message = station.message(dice);
            rows.push(station.row(seen + again * dice.below(3 * HOUR), "TransactionEvent", message, payload.clone()));
        }
    }
    let known: Vec<&Point> = points.iter().enumerate().filter(|(i, _)| !lost[*i]).map(|(_, point)| point).collect();
    let (readings, _) = taken(&known);
    let mut remarks = BTreeSet::new();
    let fell = known.windows(2).any(|pair| pair[1].register < pair[0].register);
    let gap = lost[..known_end(&lost) + 1].iter().any(|lost| *lost);
    let named_by_other = other && !lost[end] && end != named_at;
    for (remark, so) in [
        (Remark::RegisterFell, fell),
        (Remark::MissingMessages, gap),
        (Remark::MissingStop, lost[end]),
        (Remark::NoEnergy, known.len() == 1),
        (Remark::StoppedByAnother, named_by_other),
    ] {
        if so {
            remarks.insert(remark);
        }
    }
    let ended = known[known.len() - 1].at;
    let suspended = known.windows(2).filter(|pair| !pair[0].charging).map(|pair| (pair[0].at, pair[1].at));
    Truth {
        station: station.name.clone(),
        evse,
        connector: 1,
        token: Some(tag),
        started: Timestamp(known[0].at),
        ended: Timestamp(ended),
        readings,
        idle: join(suspended),
        stopped: !lost[end],
        remarks,
    }
}

fn known_end(lost: &[bool]) -> usize {
    lost.iter().rposition(|lost| !lost).unwrap_or(0)
}
