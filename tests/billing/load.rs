//! Ten thousand sessions at a hundred stations of all versions, the way a field is: messages late, twice, out of order, offline for hours,
//! lost, stops that never come; and a clerk who dies again and again. What each session took and costs is computed here a second time, from
//! what the stations did.

use crate::recomputation::{Kind, PARTS, TestElement, TestTariff, compute};
use crate::world::*;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use sluis::billing::{BATCH, Clerk, Draft};
use sluis::charging::{ChargingSession, Reading, Span, Token};
use sluis::clock::Timestamp;
use sluis::custody::Role;
use sluis::ocpp::Version;
use sluis::store::{CdrRow, CdrState};
use sluis::treat::Fact;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Numbers that only look random, the same in every run; `SLUIS_SEED` makes others.
pub struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn between(&mut self, least: i64, most: i64) -> i64 {
        least + (self.roll() % (most - least + 1) as u64) as i64
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

/// What a session was, in truth. Times in seconds.
#[derive(Debug, Clone)]
struct Truth {
    station: usize,
    card: usize,
    started: i64,
    ended: i64,
    /// Seconds and Wh since the start.
    readings: Vec<(i64, i64)>,
    idle: Vec<(i64, i64)>,
}

/// A fact on its way to the gateway.
struct Sent {
    /// When the gateway sees it, in milliseconds.
    at: i64,
    station: usize,
    version: Version,
    fact: Fact,
}

const STATIONS: usize = 99;
const CARDS: usize = 40;
/// 2026-11-02T05:00:00Z: an hour before the day's price begins in Amsterdam.
const DAWN: i64 = 1_793_595_600;

fn name(station: usize) -> String {
    format!("S-{station:03}")
}

fn version_of(station: usize) -> Version {
    Version::ALL[station % 3]
}

/// Whose a card is.
fn owner(card: usize) -> Option<&'static str> {
    [Some(OLD), Some(ABC), Some(NEW), Some(ABC), None][card % 5]
}

fn card(card: usize) -> String {
    format!("04{:012X}", 0x00C0_FFEE_0000_u64 + card as u64 * 7919)
}

fn sites() -> String {
    let mut csv = SITES.lines().next().unwrap().to_owned() + "\n";
    for station in 0..STATIONS {
        let tariff = if station % 2 == 0 { "DAY" } else { "TIME" };
        let name = name(station);
        csv += &format!(
            "{name},*,*,LOC-{name},EVSE-{name},NL*CPO*E{station},1,Dam 1,Amsterdam,NLD,52.37020,4.89520,IEC_62196_T2,SOCKET,AC_3_PHASE,{tariff}\n"
        );
    }
    csv
}

const TARIFFS: &str = r#"[
{"country_code":"NL","party_id":"CPO","id":"DAY","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
 {"price_components":[{"type":"ENERGY","price":0.45,"vat":21,"step_size":1}],"restrictions":{"start_time":"07:00","end_time":"23:00"}},
 {"price_components":[{"type":"ENERGY","price":0.30,"vat":21,"step_size":1}]},
 {"price_components":[{"type":"FLAT","price":0.35,"vat":21,"step_size":1}]}]},
{"country_code":"NL","party_id":"CPO","id":"TIME","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
 {"price_components":[{"type":"ENERGY","price":0.40,"vat":21,"step_size":1},{"type":"TIME","price":1.20,"vat":21,"step_size":60},{"type":"PARKING_TIME","price":3.00,"vat":21,"step_size":300}]}]}]"#;

fn tariff(station: usize) -> TestTariff {
    let element = |prices, start_time, end_time| TestElement {
        prices,
        start_time,
        end_time,
        start_date: None,
        end_date: None,
        days: Vec::new(),
        min_energy: None,
        max_energy: None,
        min_duration: None,
        max_duration: None,
    };
    let vat = Some(210_000);
    let elements = if station.is_multiple_of(2) {
        vec![
            element(vec![(Kind::Energy, 4500, vat, 1)], Some(420), Some(1380)),
            element(vec![(Kind::Energy, 3000, vat, 1)], None, None),
            element(vec![(Kind::Flat, 3500, vat, 1)], None, None),
        ]
    } else {
        vec![element(vec![(Kind::Energy, 4000, vat, 1), (Kind::Time, 12_000, vat, 60), (Kind::Parking, 30_000, vat, 300)], None, None)]
    };
    TestTariff { elements, min: None, max: None }
}

/// What it costs without VAT, in parts; `None` where the price changes on the way, which is left to the other recomputation.
fn simple_cost(truth: &Truth) -> Option<i128> {
    let energy = i128::from(truth.readings.last().unwrap().1) * 10;
    let (per_energy, per_hour, money) = (3600 * 1_000_000, 10_000 * 1_000_000, PARTS / 10_000);
    if truth.station.is_multiple_of(2) {
        let hour = |second: i64| (second + 3600).rem_euclid(86_400); // Amsterdam in November
        let (from, to) = (hour(truth.started), hour(truth.started) + truth.ended - truth.started);
        let price = match (from, to) {
            (_, to) if to < 7 * 3600 => 3000,
            (from, to) if from >= 7 * 3600 && to < 23 * 3600 => 4500,
            (from, to) if from >= 23 * 3600 && to < 31 * 3600 => 3000,
            _ => return None,
        };
        return Some(energy * price * per_energy + 3500 * money);
    }
    let parked: i64 = truth.idle.iter().map(|(from, to)| to - from).sum();
    let charged = truth.ended - truth.started - parked;
    let up = |seconds: i64, step: i64| i128::from((seconds + step - 1) / step * step);
    let time = if parked > 0 { i128::from(charged) * 12_000 + up(parked, 300) * 30_000 } else { up(charged, 60) * 12_000 };
    Some(energy * 4000 * per_energy + time * per_hour)
}

fn as_session(truth: &Truth) -> ChargingSession {
    let at = |second: i64| Timestamp(second * 1000);
    ChargingSession {
        id: String::new(),
        station: name(truth.station),
        evse: 1,
        connector: 1,
        token: None::<Token>,
        named: None,
        started: at(truth.started),
        ended: Some(at(truth.ended)),
        readings: truth.readings.iter().map(|(second, wh)| Reading { at: at(truth.started + second), wh: Decimal::from(*wh) }).collect(),
        idle: truth.idle.iter().map(|(from, to)| Span { from: at(truth.started + from), to: at(truth.started + to) }).collect(),
        ending: None,
        remarks: BTreeSet::new(),
    }
}

/// The sessions of one station, one after the other, and what of them comes to the gateway and when.
fn play(dice: &mut Dice, station: usize, count: usize, codes: &[String], truths: &mut Vec<Truth>, sent: &mut Vec<Sent>) {
    let version = version_of(station);
    let mut clock = DAWN + dice.between(0, 3600);
    let mut register = dice.between(0, 1_000_000);
    // Offline for hours, twice: what is said then comes after it, in order.
    let outages: Vec<(i64, i64)> = (0..2)
        .map(|_| {
            let from = DAWN + dice.between(0, 500_000);
            (from, from + dice.between(3600, 20_000))
        })
        .collect();
    let (mut number, mut message) = (station as i64 * 10_000, 0);
    let mut online = 0;
    for nth in 0..count {
        let started = clock;
        let card = dice.between(0, CARDS as i64 - 1) as usize;
        let code = &codes[card];
        let begin = register;
        let mut readings = vec![(0, 0)];
        let mut idle = Vec::new();
        // Time, kind, and what is said.
        let mut says: Vec<(i64, &'static str, String)> = Vec::new();
        let steps = dice.between(1, 4);
        let kilo = station.is_multiple_of(5);
        let measured = |register: i64, context: &str| {
            let (value, unit) =
                if kilo { (format!("{}.{:03}", register / 1000, register % 1000), "kWh") } else { (register.to_string(), "Wh") };
            if version == Version::V16 {
                format!(r#""sampledValue":[{{"value":"{value}","unit":"{unit}","context":"{context}"}}]"#)
            } else {
                format!(r#""sampledValue":[{{"value":{value},"context":"{context}","unitOfMeasure":{{"unit":"{unit}"}}}}]"#)
            }
        };
        let text = |second: i64| Timestamp(second * 1000).rfc3339();
        let lost_stop = version == Version::V16 && dice.chance(3) && nth + 1 < count;
        for step in 0..steps {
            clock += dice.between(60, 900);
            register += dice.between(50, 4000);
            // A message in fifty of 2.x is lost for ever.
            let lost = version != Version::V16 && dice.chance(2);
            if !lost {
                readings.push((clock - started, register - begin));
                says.push((clock, "reading", measured(register, "Sample.Periodic")));
            } else {
                says.push((clock, "lost", String::new()));
            }
            if version != Version::V16 && dice.chance(25) && step + 1 < steps {
                // The vehicle is full for a while.
                let from = clock + 1;
                clock += dice.between(120, 1200);
                readings.extend([(from - started, register - begin), (clock - started, register - begin)]);
                says.push((from, "suspended", measured(register, "Sample.Periodic")));
                says.push((clock, "charging", measured(register, "Sample.Periodic")));
                idle.push((from - started, clock - started));
            }
        }
        clock += dice.between(30, 600);
        register += dice.between(50, 500);
        if !lost_stop {
            readings.push((clock - started, register - begin));
        }
        let ended = if lost_stop { started + readings.last().unwrap().0 } else { clock };

        // Into messages.
        let mut facts: Vec<(i64, Fact)> = Vec::new();
        let mut id = || {
            message += 1;
            format!("m{message}")
        };
        if version == Version::V16 {
            number += 1;
            let start = format!(r#"{{"connectorId":1,"idTag":"{code}","meterStart":{begin},"timestamp":"{}"}}"#, text(started));
            let answer = |number: i64| format!(r#"{{"transactionId":{number},"idTagInfo":{{"status":"Accepted"}}}}"#);
            let first = id();
            facts.push((started, Fact { action: "StartTransaction", message_id: first.clone(), payload: start.clone() }));
            if dice.chance(8) {
                // The answer was lost: the station says it again, and gets another number or the same.
                let again = id();
                facts.push((started + 2, Fact { action: "StartTransaction", message_id: again.clone(), payload: start }));
                if dice.chance(50) {
                    facts.push((started + 2, Fact { action: "StartTransactionResponse", message_id: first, payload: answer(number) }));
                    number += 1;
                }
                facts.push((started + 3, Fact { action: "StartTransactionResponse", message_id: again, payload: answer(number) }));
            } else {
                facts.push((started + 1, Fact { action: "StartTransactionResponse", message_id: first, payload: answer(number) }));
            }
            for (second, _, values) in &says {
                let payload =
                    format!(r#"{{"connectorId":1,"transactionId":{number},"meterValue":[{{"timestamp":"{}",{values}}}]}}"#, text(*second));
                facts.push((*second, Fact { action: "MeterValues", message_id: id(), payload }));
            }
            if !lost_stop {
                let tag = if dice.chance(20) { String::new() } else { format!(r#""idTag":"{code}","#) };
                let payload = format!(r#"{{"transactionId":{number},{tag}"meterStop":{register},"timestamp":"{}"}}"#, text(clock));
                facts.push((clock, Fact { action: "StopTransaction", message_id: id(), payload }));
            }
        } else {
            let transaction = format!("{}-{nth}", name(station));
            let event = |second: i64, seq: i64, kind: &str, state: &str, more: &str, values: &str| {
                format!(
                    r#"{{"eventType":"{kind}","timestamp":"{0}","triggerReason":"MeterValuePeriodic","seqNo":{seq},"transactionInfo":{{"transactionId":"{transaction}"{state}}}{more},"meterValue":[{{"timestamp":"{0}",{values}}}]}}"#,
                    text(second)
                )
            };
            let charging = r#","chargingState":"Charging""#;
            let who = format!(r#","evse":{{"id":1,"connectorId":1}},"idToken":{{"idToken":"{code}","type":"ISO14443"}}"#);
            let push = |facts: &mut Vec<(i64, Fact)>, second, id, payload| {
                facts.push((second, Fact { action: "TransactionEvent", message_id: id, payload }));
            };
            push(&mut facts, started, id(), event(started, 0, "Started", charging, &who, &measured(begin, "Transaction.Begin")));
            let mut seq = 0;
            for (second, kind, values) in &says {
                seq += 1;
                let state = match *kind {
                    "suspended" => r#","chargingState":"SuspendedEV""#,
                    "charging" => charging,
                    _ => "",
                };
                if *kind != "lost" {
                    push(&mut facts, *second, id(), event(*second, seq, "Updated", state, "", values));
                }
            }
            push(&mut facts, clock, id(), event(clock, seq + 1, "Ended", "", "", &measured(register, "Transaction.End")));
        }

        // Onto the way.
        for (second, fact) in facts {
            let outage = outages.iter().find(|(from, to)| (*from..*to).contains(&second));
            let mut at = outage.map_or(second * 1000, |(_, to)| to * 1000);
            // Overtaken by others; some come so late that the bill did not wait for them.
            let mut late = if dice.chance(10) { dice.between(1_000, 400_000) } else { 0 };
            late += if dice.chance(2) { dice.between(1_000_000, 6_000_000) } else { 0 };
            if version != Version::V16 {
                at += late;
            } else {
                // A station of 1.6 sends one message after the other; readings may have been kept apart.
                at = at.max(online + 1);
                if fact.action == "MeterValues" {
                    at += late;
                }
                if late == 0 || fact.action != "MeterValues" {
                    online = at;
                }
            }
            if dice.chance(10) {
                // Said twice: under its id, or, for an event, under another.
                let mut twin = fact.clone();
                if version != Version::V16 && dice.chance(50) {
                    twin.message_id += "b";
                }
                sent.push(Sent { at: at + dice.between(1, 100_000), station, version, fact: twin });
            }
            sent.push(Sent { at, station, version, fact });
        }
        truths.push(Truth { station, card, started, ended, readings, idle });
        clock += dice.between(300, 3000);
    }
}

/// A number in the environment.
#[expect(clippy::disallowed_methods, reason = "a test is told by it how much to do")]
pub fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

/// Plays `count` sessions, and has the clerk die `deaths` times on the way.
pub async fn run(count: usize, deaths: usize) {
    let seed = asked("SLUIS_SEED").unwrap_or(20_261_124);
    let mut dice = Dice(seed);
    let mut world = World::with(recipients(), &sites(), TARIFFS);
    let mut codes = Vec::new();
    for n in 0..CARDS {
        if let Some(owner) = owner(n) {
            world.owns(owner, "RFID", &card(n), &format!("C-{n}")).await;
        }
        codes.push(world.code(&card(n)).await);
    }
    let (mut truths, mut sent) = (Vec::new(), Vec::new());
    for station in 0..STATIONS {
        let mine = count / STATIONS + usize::from(station < count % STATIONS);
        play(&mut dice, station, mine, &codes, &mut truths, &mut sent);
    }
    sent.sort_by_key(|sent| (sent.at, sent.station));
    let messages = sent.len();

    let mut clerk: Option<Clerk> = None;
    let (mut turns, mut died, mut took) = (0u64, 0, std::time::Duration::ZERO);
    let every = (messages / BATCH / deaths.max(1)).max(1) as u64;
    let chunks: Vec<Vec<Sent>> = {
        let mut rest = sent.into_iter().peekable();
        std::iter::from_fn(|| {
            let chunk: Vec<Sent> = rest.by_ref().take(dice.between(1, 3 * BATCH as i64) as usize).collect();
            (!chunk.is_empty()).then_some(chunk)
        })
        .collect()
    };
    let last = chunks.last().unwrap().last().unwrap().at;
    for chunk in chunks.into_iter().map(Some).chain([None]) {
        // At the very end, three days later, all waiting is over.
        let now = Timestamp(chunk.as_ref().map_or(last + 3 * 86_400_000, |chunk| chunk.last().unwrap().at));
        let tickets: Vec<_> = chunk
            .into_iter()
            .flatten()
            .map(|sent| world.custody.journal.submit(&name(sent.station), sent.version, Timestamp(sent.at), vec![sent.fact]))
            .collect();
        for ticket in tickets {
            ticket.durable().await.unwrap();
        }
        loop {
            turns += 1;
            let open = || Clerk::open(world.desk.clone(), world.custody.clone(), world.patience, Timestamp(now.0 - 3_600_000)).unwrap();
            let begun = tokio::time::Instant::now();
            let mut this = clerk.take().unwrap_or_else(open);
            let turn = this.turn(now, BATCH, &BTreeSet::new()).unwrap();
            let (more, done) = (turn.more, turn.ops.is_empty());
            let dies = turns % every == 0 && died < deaths;
            if dies {
                died += 1;
                if died % 2 == 0 {
                    world.custody.store().commit(turn.ops).await.unwrap();
                }
                drop(this);
                if died % 5 == 0 {
                    // The whole house.
                    let path = world.dir.path().join("data");
                    world.custody = custody(&world.dir.path().join("other"), Role::Beside);
                    world.custody = custody(&path, Role::Serve);
                }
                continue;
            }
            if !done {
                world.custody.store().commit(turn.ops.clone()).await.unwrap();
            }
            this.done(&turn);
            took += begun.elapsed();
            clerk = Some(this);
            if !more && done {
                break;
            }
        }
    }
    assert_eq!(clerk.unwrap().open_sessions(), 0);
    assert_eq!(died, deaths);
    check(&world, &truths);
    println!(
        "{count} sessions, {messages} messages, {turns} batches in {took:.1?}, {died} deaths, seed {seed}: {} CDRs",
        world.cdrs().len()
    );
}

/// Each session has exactly one CDR that stands, which says what it took and costs, for whom it is.
fn check(world: &World, truths: &[Truth]) {
    let rows: Vec<(CdrRow, Draft)> = cdrs(&world.custody).into_iter().map(|row| (row.clone(), draft(&row))).collect();
    let credited: HashMap<&str, &CdrRow> = rows.iter().filter_map(|(row, draft)| Some((draft.credit_of()?, row))).collect();
    let mut by_start: BTreeMap<(String, i64), Vec<&(CdrRow, Draft)>> = BTreeMap::new();
    let mut corrected = 0;
    for entry in &rows {
        let (row, draft) = entry;
        corrected += usize::from(draft.credit_of().is_some());
        if row.state == CdrState::Discarded || draft.credit_of().is_some() || credited.contains_key(row.id.as_str()) {
            continue;
        }
        by_start.entry((draft.session.station.clone(), draft.session.started.seconds())).or_default().push(entry);
    }
    let mut ids = BTreeSet::new();
    let (mut simple, mut thorough) = (0, 0);
    for (n, truth) in truths.iter().enumerate() {
        let key = (name(truth.station), truth.started);
        let standing = by_start.remove(&key).unwrap_or_else(|| {
            let near = |draft: &Draft| draft.session.station == key.0 && (draft.session.started.seconds() - truth.started).abs() < 10_000;
            let near: Vec<_> =
                rows.iter().filter(|(_, draft)| near(draft)).map(|(row, draft)| (row, draft.credit_of(), &draft.session)).collect();
            panic!("no CDR of {truth:?}: {near:?}")
        });
        let (row, draft) = standing.last().unwrap();
        let by_hand = row.why.as_deref() == Some("needs_manual_credit");
        assert!(
            standing.len() == 1 || (standing.len() == 2 && by_hand && owner(truth.card) == Some(OLD)),
            "{} CDRs of {truth:?}",
            standing.len()
        );
        assert!(standing.iter().all(|(row, _)| row.session == standing[0].0.session), "{truth:?}");
        assert!(ids.insert(row.session.clone()), "one session billed as two: {truth:?}");
        let bill = &draft.cdr.as_ref().unwrap().bill;
        assert_eq!(bill.energy_kwh, Decimal::new(truth.readings.last().unwrap().1, 3).normalize(), "{truth:?} {:?}", draft.session);
        assert_eq!((bill.start.seconds(), bill.end.seconds()), (truth.started, truth.ended), "{truth:?} {:?}", draft.session);
        let cost = simple_cost(truth);
        simple += usize::from(cost.is_some());
        if cost.is_none() || n % 100 == 0 {
            thorough += 1;
            let exact = compute(&as_session(truth), &tariff(truth.station), chrono_tz::Tz::Europe__Amsterdam).total;
            assert!(cost.is_none_or(|cost| cost == exact.0), "{cost:?} {exact:?} {truth:?}");
            assert!(is_rounded(bill.total.excl_vat, exact.0) && is_rounded(bill.total.incl_vat, exact.1), "{truth:?} {bill:?}");
        }
        if let Some(cost) = cost {
            assert!(is_rounded(bill.total.excl_vat, cost), "{truth:?} {bill:?}");
        }
        match (owner(truth.card), by_hand) {
            (Some(_), true) => {}
            (Some(owner), false) => {
                assert_eq!((row.state, row.owner.as_deref()), (CdrState::Queued, Some(owner)), "{truth:?}");
                let body = body(row);
                assert_eq!(body["total_energy"].as_f64().unwrap(), bill.energy_kwh.to_f64().unwrap());
            }
            (None, _) => assert_eq!(row.why.as_deref(), Some("unknown_owner"), "{truth:?}"),
        }
    }
    assert!(by_start.is_empty(), "CDRs of sessions that never were: {:?}", by_start.keys().take(5).collect::<Vec<_>>());
    println!("{corrected} credits; {simple} prices by closed form, {thorough} second by second");
}

/// Whether an amount is the exact one, rounded to four decimals; on a tie, or within a billionth of it, either neighbour is right.
fn is_rounded(amount: Decimal, exact: i128) -> bool {
    let ten_thousandths = (amount * Decimal::from(10_000)).normalize();
    let unit = PARTS / 10_000;
    ten_thousandths.scale() == 0 && (ten_thousandths.mantissa() * unit - exact).abs() * 2 <= unit + PARTS / 1_000_000_000
}
