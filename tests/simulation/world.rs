//! A world made of a seed: stations, a central system, a gateway between them, and all that goes wrong. Every event is one step of one of
//! them; after each it is looked at what must always hold, and in the end at what must have come of it.

use super::books::{self, Books};
use super::common::{keyring, rotate, strict};
use super::csms::Csms;
use super::dice::Dice;
use super::gateway::{Fault, Link, Mood, Stopped, Store};
use super::station::Station;
use rust_decimal::Decimal;
use serde_json::Value;
use sluis::clock::Timestamp;
use sluis::identity::Codes;
use sluis::keys::{Keyring, LIVE_EPOCHS};
use sluis::ocpp::{Side, Version};
use sluis::session::{Bounds, MAX_PENDING, Session};
use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// 2026-11-24T10:00:00Z.
const TEN: i64 = 1_795_514_400_000;
/// Epochs that a schedule may come to.
const EPOCHS: u32 = LIVE_EPOCHS as u32;

/// What a schedule came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// A digest of every frame that arrived anywhere: the same for the same seed (I9).
    pub(crate) trace: u64,
    pub(crate) frames: u64,
    pub(crate) crashes: u64,
    pub(crate) disconnects: u64,
    pub(crate) store_failures: u64,
    pub(crate) rotations: u64,
    pub(crate) erasures: u64,
    pub(crate) sessions: u64,
    pub(crate) acknowledged: u64,
}

pub(crate) struct World {
    dice: Dice,
    fault: Fault,
    keys: Arc<Keyring>,
    epochs: u32,
    store: Store,
    links: Vec<Link>,
    next_link: u64,
    stations: Vec<Station>,
    csms: Csms,
    /// The true time, and how far the gateway's clock is off.
    now: i64,
    skew: i64,
    /// Identifiers erased, and codes that may be unknown since.
    erased: BTreeSet<String>,
    calm: bool,
    report: Report,
    hash: DefaultHasher,
}

type Checked = Result<(), String>;

/// Runs the schedule of a seed.
pub(crate) fn run(seed: u64, fault: Fault, events: u32) -> Result<Report, String> {
    let mut world = World::new(seed, fault);
    for _ in 0..events {
        world.event()?;
    }
    world.settle()?;
    world.is_billed_as_it_happened()?;
    world.report.trace = world.hash.finish();
    Ok(world.report)
}

impl World {
    fn new(seed: u64, fault: Fault) -> Self {
        let mut dice = Dice(seed);
        let fleet: Vec<String> = (0..4).map(|n| format!("04C{n}{:010X}", dice.below(1 << 40))).collect();
        let count = 1 + dice.below(3) as usize;
        let stations = (0..count).map(|n| Station::new(n, Version::ALL[dice.below(3) as usize], fleet.clone())).collect();
        Self {
            dice,
            fault,
            keys: Arc::new(keyring(&[0], 0)),
            epochs: 1,
            store: Store::new(),
            links: Vec::new(),
            next_link: 0,
            stations,
            csms: Csms::default(),
            now: TEN,
            skew: 0,
            erased: BTreeSet::new(),
            calm: false,
            report: Report::default(),
            hash: DefaultHasher::new(),
        }
    }

    fn clock(&self) -> Timestamp {
        Timestamp(self.now + self.skew)
    }

    fn event(&mut self) -> Checked {
        self.now += self.dice.below(2_000) as i64;
        let at = self.dice.below(self.stations.len() as u64) as usize;
        match self.dice.below(100) {
            0..=11 => {
                self.now += 60_000 + self.dice.below(900_000) as i64;
                let now = self.now;
                self.stations[at].lives(&mut self.dice, now);
            }
            12..=26 => self.station_calls(at),
            27..=41 => return self.gateway_reads(Side::Station),
            42..=56 => return self.gateway_reads(Side::Csms),
            57..=69 => return self.csms_reads(),
            70..=82 => return self.station_reads(),
            83..=85 => self.station_is_impatient(at),
            86 => self.station_reuses_an_id(at),
            87..=88 => self.csms_calls(),
            89 => self.csms_answers_late(),
            90..=91 => return self.time_passes(),
            92 => self.store.flush(),
            93 => {
                self.store.mood = if self.dice.one_in(3) { Mood::Full } else { Mood::Well };
                self.report.store_failures += u64::from(self.store.mood == Mood::Full);
            }
            94 => {
                self.report.disconnects += 1;
                self.disconnect(at);
            }
            95 => return self.crash(),
            96 => self.skew = self.dice.below(7_200_000) as i64 - 3_600_000,
            97 if self.dice.one_in(4) => self.rotate(),
            98 if self.dice.one_in(4) => self.erase(),
            _ => self.store.mood = Mood::Well,
        }
        Ok(())
    }

    fn link(&mut self, at: usize) -> &mut Link {
        if let Some(place) = self.links.iter().position(|link| link.station == at) {
            return &mut self.links[place];
        }
        let station = &self.stations[at];
        let bounds = Bounds { patience: Duration::from_secs(300), ..Bounds::default() };
        let session = Session::new(station.version, &station.name, strict(), self.keys.clone()).within(bounds);
        self.next_link += 1;
        self.links.push(Link {
            number: self.next_link,
            station: at,
            session,
            from_station: VecDeque::new(),
            from_csms: VecDeque::new(),
            to_station: VecDeque::new(),
            to_csms: VecDeque::new(),
            calls: std::collections::BTreeMap::new(),
        });
        let last = self.links.len() - 1;
        &mut self.links[last]
    }

    fn station_calls(&mut self, at: usize) {
        if let Some(frame) = self.stations[at].calls(&mut self.dice) {
            self.link(at).from_station.push_back(frame);
        }
    }

    fn station_is_impatient(&mut self, at: usize) {
        if let Some(frame) = self.stations[at].loses_patience(&mut self.dice) {
            self.link(at).from_station.push_back(frame);
        }
    }

    fn station_reuses_an_id(&mut self, at: usize) {
        if let Some(frame) = self.stations[at].reuses_its_id() {
            self.link(at).from_station.push_back(frame);
        }
    }

    fn csms_calls(&mut self) {
        let count = self.links.len() as u64;
        let Some(link) = self.links.get_mut(self.dice.below(count) as usize) else { return };
        let station = &self.stations[link.station];
        let guess = &station.cards[self.dice.below(station.cards.len() as u64) as usize];
        link.from_csms.push_back(self.csms.calls(station.version == Version::V16, guess, &mut self.dice));
    }

    fn csms_answers_late(&mut self) {
        if self.csms.later.is_empty() {
            return;
        }
        let (link, answer) = self.csms.later.remove(self.dice.below(self.csms.later.len() as u64) as usize);
        if let Some(link) = self.links.iter_mut().find(|l| l.number == link) {
            link.from_csms.push_back(answer);
        }
    }

    /// The place of a link with something in the pipe, if any.
    fn ready(&mut self, pipe: impl Fn(&Link) -> bool) -> Option<usize> {
        let ready: Vec<usize> = (0..self.links.len()).filter(|at| pipe(&self.links[*at])).collect();
        self.dice.pick(&ready).copied()
    }

    fn gateway_reads(&mut self, from: Side) -> Checked {
        let pipe = |link: &Link| if from == Side::Station { !link.from_station.is_empty() } else { !link.from_csms.is_empty() };
        let Some(at) = self.ready(pipe) else { return Ok(()) };
        let now = self.clock();
        let link = &mut self.links[at];
        let frame = if from == Side::Station { link.from_station.pop_front() } else { link.from_csms.pop_front() };
        let Some(frame) = frame else { return Ok(()) };
        frame.hash(&mut self.hash);
        self.report.frames += 1;
        let read: Value = serde_json::from_str(&frame).map_err(|e| e.to_string())?;
        if read[0] == 2 {
            let count = link.calls.entry((from, read[1].as_str().unwrap_or_default().to_owned())).or_default();
            count.sent += 1;
            count.open = true;
        }
        let step = link.session.on_text(from, &frame, now, &self.store.durable);
        self.carry_out(at, step, from, &frame)
    }

    fn carry_out(&mut self, at: usize, step: sluis::session::Step, from: Side, raw: &str) -> Checked {
        let now = self.clock();
        let (calm, dice) = (self.calm, &mut self.dice);
        let strikes = !calm && dice.one_in(10);
        let link = &mut self.links[at];
        for side in [Side::Station, Side::Csms] {
            if link.session.waiting(side) > MAX_PENDING {
                return Err("more CALLs wait than may".into());
            }
        }
        let station = &self.stations[link.station];
        let (name, version) = (station.name.clone(), station.version);
        let done = link.take(&mut self.store, step, from, raw, (&name, version, now), (self.fault, strikes), || !calm && dice.one_in(150));
        match done {
            Ok(()) => Ok(()),
            Err(Stopped::Connection) => {
                let station = self.links[at].station;
                self.disconnect(station);
                Ok(())
            }
            Err(Stopped::Crash) => self.crash(),
        }
    }

    fn csms_reads(&mut self) -> Checked {
        let Some(at) = self.ready(|link| !link.to_csms.is_empty()) else { return Ok(()) };
        let link = &mut self.links[at];
        let Some(frame) = link.to_csms.pop_front() else { return Ok(()) };
        frame.hash(&mut self.hash);
        let bare: String = frame.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        if let Some(card) = self.stations[0].cards.iter().find(|card| bare.contains(*card)) {
            return Err(format!("the central system sees card {card}: {frame}"));
        }
        let read: Value = serde_json::from_str(&frame).map_err(|e| e.to_string())?;
        let number = link.number;
        if read[0] != 2 {
            answered(link, Side::Csms, &read)?;
        }
        let name = self.stations[link.station].name.clone();
        let answers = self.csms.reads(number, &name, &read, &mut self.dice)?;
        self.links[at].from_csms.extend(answers);
        self.codes_resolve()
    }

    fn station_reads(&mut self) -> Checked {
        let Some(at) = self.ready(|link| !link.to_station.is_empty()) else { return Ok(()) };
        let link = &mut self.links[at];
        let Some(frame) = link.to_station.pop_front() else { return Ok(()) };
        frame.hash(&mut self.hash);
        let read: Value = serde_json::from_str(&frame).map_err(|e| e.to_string())?;
        let station = &mut self.stations[link.station];
        if read[0] == 2 {
            for quoted in ["\"idTag\":\"", "\"idToken\":\""].iter().flat_map(|name| frame.split(name).skip(1)) {
                let token = quoted.split('"').next().unwrap_or_default();
                if !station.cards.iter().any(|card| card.eq_ignore_ascii_case(token)) {
                    return Err(format!("a station is sent a driver that is no card: {frame}"));
                }
            }
            let answer = format!("[3,{},{{\"status\":\"Accepted\"}}]", read[1]);
            match if self.calm { 99 } else { self.dice.below(12) } {
                0 => {}
                1 => link.from_station.extend([answer.clone(), answer]),
                2 => link.from_station.push_back(format!("[4,{},\"InternalError\",\"\",{{}}]", read[1])),
                _ => link.from_station.push_back(answer),
            }
            return Ok(());
        }
        answered(link, Side::Station, &read)?;
        let result = (read[0] == 3).then(|| &read[2]);
        let id = read[1].as_str().unwrap_or_default();
        let Some(message) = station.is_answered(id, result, &mut self.dice) else { return Ok(()) };
        self.report.acknowledged += u64::from(message.bill);
        let kept = |row: &books::Row| row.station == station.name && row.payload.contains(&message.mark);
        if message.bill && !message.mark.is_empty() && !self.store.durable.journal.iter().any(kept) {
            return Err(format!("acknowledged and not in the journal: {message:?}"));
        }
        Ok(())
    }

    fn time_passes(&mut self) -> Checked {
        self.now += 61_000;
        if self.fault == Fault::NeverGivesUp {
            return Ok(());
        }
        let now = self.clock();
        let numbers: Vec<u64> = self.links.iter().map(|link| link.number).collect();
        for number in numbers {
            let find = |world: &Self| world.links.iter().position(|link| link.number == number);
            let Some(at) = find(self) else { continue };
            for step in self.links[at].session.on_time(now) {
                let Some(at) = find(self) else { break };
                self.carry_out(at, step, Side::Csms, "")?;
            }
        }
        Ok(())
    }

    fn disconnect(&mut self, station: usize) {
        let Some(at) = self.links.iter().position(|link| link.station == station) else { return };
        let link = self.links.swap_remove(at);
        self.csms.later.retain(|(number, _)| *number != link.number);
        self.stations[station].gives_up();
    }

    /// The gateway dies and comes back with what is durable.
    fn crash(&mut self) -> Checked {
        self.report.crashes += 1;
        for station in 0..self.stations.len() {
            self.disconnect(station);
        }
        self.store.queue.clear();
        self.codes_resolve()?;
        self.acknowledged_is_there()
    }

    fn codes_resolve(&self) -> Checked {
        for text in &self.csms.codes {
            let Some(code) = self.keys.recognise(text) else { return Err(format!("{text} is no code of ours")) };
            let known = self.store.durable.codes.get(&code);
            if known.is_none() && !self.erased.contains(text) {
                return Err(format!("the central system has seen {text}, and nobody knows what it stands for"));
            }
        }
        Ok(())
    }

    /// What a station has dropped from its queue because it was acknowledged is in the journal: the beginning and the end of each session.
    fn acknowledged_is_there(&self) -> Checked {
        for station in &self.stations {
            let waits = |mark: &str| station.queue.iter().any(|message| message.mark == mark);
            for truth in station.truths.iter().filter(|_| station.version == Version::V16) {
                for mark in [truth.from, truth.to].map(|register| register.to_string()).iter().take(1 + usize::from(truth.over)) {
                    let there = self.store.durable.journal.iter().any(|row| row.station == station.name && row.payload.contains(mark));
                    if !there && !waits(mark) {
                        return Err(format!("{} was acknowledged and is gone after a crash: {truth:?}", station.name));
                    }
                }
            }
        }
        Ok(())
    }

    fn rotate(&mut self) {
        if self.epochs < EPOCHS {
            self.report.rotations += 1;
            self.epochs += 1;
            let live: Vec<u32> = (0..self.epochs).collect();
            rotate(&self.keys, &live, self.epochs - 1);
        }
    }

    /// One card is erased: its codes restore to nothing, until it is seen again.
    fn erase(&mut self) {
        let Some(card) = self.dice.pick(&self.stations[0].cards).cloned() else { return };
        self.report.erasures += 1;
        let gone: Vec<_> = self.store.durable.codes.iter().filter(|(_, c)| c.eq_ignore_ascii_case(&card)).map(|(code, _)| *code).collect();
        for code in gone {
            self.store.durable.codes.remove(&code);
            self.erased.insert(code.to_string());
        }
    }

    /// All faults end, every session ends, every queue drains, every answer is given up that does not come: then what must have come of it.
    fn settle(&mut self) -> Checked {
        (self.calm, self.csms.calm, self.store.mood) = (true, true, Mood::Well);
        for round in 0..4_000u32 {
            if round == 1 {
                let now = self.now + 3_600_000;
                self.now = now;
                self.stations.iter_mut().for_each(|station| station.ends(now));
            }
            for at in 0..self.stations.len() {
                self.station_calls(at);
            }
            self.gateway_reads(Side::Station)?;
            self.csms_reads()?;
            self.gateway_reads(Side::Csms)?;
            self.station_reads()?;
            let quiet =
                |link: &Link| [&link.from_station, &link.from_csms, &link.to_station, &link.to_csms].into_iter().all(VecDeque::is_empty);
            if !self.links.iter().all(quiet) {
                continue;
            }
            let waits = |link: &Link| link.session.waiting(Side::Station) + link.session.waiting(Side::Csms) > 0;
            if !self.links.iter().any(waits) && self.stations.iter().all(|station| station.queue.is_empty()) {
                return self.each_call_was_answered();
            }
            self.time_passes()?;
            // A station whose answer got lost does not wait for ever either.
            if round % 16 == 15 {
                self.stations.iter_mut().for_each(Station::gives_up);
            }
        }
        let queues: Vec<_> = self.stations.iter().map(|s| (s.version, s.queue.len(), s.outstanding.is_some())).collect();
        let waiting: Vec<_> = self.links.iter().map(|l| [Side::Station, Side::Csms].map(|side| l.session.waiting(side))).collect();
        Err(format!("it does not settle: {queues:?} waiting {waiting:?}"))
    }

    /// On connections that lasted, each CALL has its answer; a retry may share that of the first.
    fn each_call_was_answered(&self) -> Checked {
        let mut calls = self.links.iter().flat_map(|link| &link.calls);
        match calls.find(|(_, count)| count.open) {
            Some(((side, id), count)) => Err(format!("{side:?} sent {} CALLs under id {id}, and the last got no answer", count.sent)),
            None => Ok(()),
        }
    }

    fn is_billed_as_it_happened(&mut self) -> Checked {
        self.store.flush();
        let mut books = Books::new();
        books.journal.clone_from(&self.store.durable.journal);
        for at in 0..books.journal.len() {
            books.read(at);
            books.commit(at + 1);
        }
        books.wait(Timestamp(self.now + 20 * 86_400_000));
        let all = books.all();
        let mut told = 0;
        for station in &self.stations {
            for truth in &station.truths {
                told += 1;
                let mine =
                    |session: &&&sluis::charging::ChargingSession| session.station == station.name && session.started == truth.started;
                let bills: Vec<_> = all.iter().filter(mine).collect();
                let right = |session: &sluis::charging::ChargingSession| {
                    books::energy(session) == Decimal::from(truth.to - truth.from) && session.ended.is_some() && session.token.is_some()
                };
                if bills.len() != 1 || !right(bills[0]) {
                    return Err(format!("{} {} was billed as {bills:#?}, and was {truth:?}", station.name, station.version.number()));
                }
            }
        }
        if all.len() != told {
            return Err(format!("{} sessions were billed, and {told} were charged", all.len()));
        }
        self.report.sessions = told as u64;
        Ok(())
    }
}

/// Counts an answer, which must be to a CALL of this link, and not one too many.
fn answered(link: &mut Link, to: Side, answer: &Value) -> Checked {
    let id = answer[1].as_str().unwrap_or_default().to_owned();
    let count = link.calls.entry((to, id)).or_default();
    count.answered += 1;
    count.open = false;
    if count.answered > count.sent {
        return Err(format!("{to:?} sent {} CALLs under an id and got one answer more: {answer}", count.sent));
    }
    Ok(())
}
