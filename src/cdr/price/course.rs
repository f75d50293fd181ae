//! The course of a session: how much had been taken at any second, and at which second so much had been taken. Whole seconds and tenths of
//! a Wh (the fourth decimal of a kWh) throughout, so that every part is exact and the parts sum to the whole.

use super::Unbillable;
use crate::charging::ChargingSession;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// 2000-01-01 and 2100-01-01, in seconds since 1970.
const YEARS: std::ops::Range<i64> = 946_684_800..4_102_444_800;
/// The longest session that is billed: 400 days.
const LONGEST: i64 = 400 * 86_400;
/// The most energy that is billed: a GWh, in tenths of a Wh.
const MOST_ENERGY: i64 = 10_000_000_000;

/// A stretch between two readings in which energy flows evenly or not at all. It may have no length, where the register jumps.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: i64,
    to: i64,
    /// What the reading before says, and how much more the one after.
    low: i64,
    rise: i64,
    /// Seconds in which energy flowed between the reading before and this stretch, and between both readings.
    before: i64,
    of: i64,
    flows: bool,
}

impl Stretch {
    /// Taken in all, so many seconds into it. Rounded down once, from the readings themselves.
    fn at(&self, seconds: i64) -> i64 {
        self.low + part(self.rise, self.before + if self.flows { seconds } else { 0 }, self.of)
    }

    fn high(&self) -> i64 {
        if self.of == 0 { self.low + self.rise } else { self.at(self.to - self.from) }
    }
}

/// The course of a session.
pub(super) struct Course {
    /// Seconds since 1970.
    pub(super) start: i64,
    pub(super) end: i64,
    /// Taken in all, in tenths of a Wh, rounded down.
    pub(super) energy: i64,
    /// Spans without charging, in order, apart and within the session.
    pub(super) idle: Vec<(i64, i64)>,
    stretches: Vec<Stretch>,
}

impl Course {
    /// Reads a session. Energy flows evenly between two readings, but not while the session was idle.
    pub(super) fn of(session: &ChargingSession) -> Result<Self, Unbillable> {
        let start = session.started.seconds();
        let end = session.ended.ok_or(Unbillable::Running)?.seconds();
        if !YEARS.contains(&start) || !YEARS.contains(&end) || end < start {
            return Err(Unbillable::OddTimes);
        }
        if end - start > LONGEST {
            return Err(Unbillable::TooLong);
        }
        let mut spans: Vec<(i64, i64)> = session
            .idle
            .iter()
            .map(|span| (span.from.seconds().max(start), span.to.seconds().min(end)))
            .filter(|(from, to)| from < to)
            .collect();
        spans.sort_unstable();
        let mut idle: Vec<(i64, i64)> = Vec::with_capacity(spans.len());
        for span in spans {
            match idle.last_mut() {
                Some(last) if span.0 <= last.1 => last.1 = last.1.max(span.1),
                _ => idle.push(span),
            }
        }
        let mut course = Self { start, end, energy: 0, idle, stretches: Vec::new() };
        let mut at = start;
        for reading in &session.readings {
            let read = reading.at.seconds().clamp(start, end);
            let energy = reading.wh.checked_mul(Decimal::TEN).and_then(|tenths| tenths.trunc().to_i64()).unwrap_or(-1);
            if read < at || energy < course.energy || energy > MOST_ENERGY || reading.wh.is_sign_negative() && !reading.wh.is_zero() {
                return Err(Unbillable::OddReadings);
            }
            course.flow(at, read, energy);
            at = read;
        }
        course.flow(at, end, course.energy);
        Ok(course)
    }

    /// Adds what flowed from `from` to `to`, up to `high` in all: evenly over the time that was not idle; over all of it, if all was idle.
    fn flow(&mut self, from: i64, to: i64, high: i64) {
        let low = std::mem::replace(&mut self.energy, high);
        let stretch = Stretch { from, to, low, rise: high - low, before: 0, of: 0, flows: true };
        if from == to {
            self.stretches.extend((high > low).then_some(stretch));
            return;
        }
        let first = self.idle.partition_point(|span| span.1 <= from);
        let spans = self.idle[first..].iter().take_while(|span| span.0 < to).map(|span| (span.0.max(from), span.1.min(to)));
        let spans: Vec<(i64, i64)> = spans.collect();
        let charging = to - from - spans.iter().map(|(begin, finish)| finish - begin).sum::<i64>();
        if charging == 0 {
            self.stretches.push(Stretch { of: to - from, ..stretch });
            return;
        }
        let (mut at, mut before) = (from, 0);
        for (begin, finish) in spans.into_iter().chain([(to, to)]) {
            for (from, to, flows) in [(at, begin, true), (begin, finish, false)] {
                self.stretches.extend((from < to).then_some(Stretch {
                    from,
                    to,
                    before: before + if flows { 0 } else { begin - at },
                    of: charging,
                    flows,
                    ..stretch
                }));
            }
            before += begin - at;
            at = finish;
        }
    }

    /// Taken when that second began; where the register jumps, before it did.
    pub(super) fn energy_at(&self, second: i64) -> i64 {
        let at = self.stretches.partition_point(|stretch| stretch.to < second);
        self.stretches.get(at).map_or(self.energy, |stretch| stretch.at(second.saturating_sub(stretch.from).max(0)))
    }

    /// The second in which so much had been taken; `None` if it never was.
    pub(super) fn reached(&self, energy: i64) -> Option<i64> {
        let at = self.stretches.partition_point(|stretch| stretch.high() < energy);
        let stretch = self.stretches.get(at)?;
        Some((stretch.from + part(stretch.of, energy - stretch.low, stretch.rise) - stretch.before).clamp(stretch.from, stretch.to))
    }

    /// Whether the session was idle when that second began.
    pub(super) fn is_idle(&self, second: i64) -> bool {
        let at = self.idle.partition_point(|span| span.1 <= second);
        self.idle.get(at).is_some_and(|span| span.0 <= second)
    }
}

/// `whole × share ÷ of`, rounded down; nothing of nothing. All are at most [`MOST_ENERGY`] and not negative, so 128 bits hold the product.
fn part(whole: i64, share: i64, of: i64) -> i64 {
    if of == 0 {
        return 0;
    }
    i64::try_from(i128::from(whole) * i128::from(share) / i128::from(of)).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charging::{Reading, Span};
    use crate::clock::Timestamp;
    use std::collections::BTreeSet;

    const START: i64 = 1_800_000_000;

    fn session(readings: &[(i64, &str)], idle: &[(i64, i64)], seconds: i64) -> ChargingSession {
        let at = |second: i64| Timestamp((START + second) * 1000);
        ChargingSession {
            id: "s".to_owned(),
            station: "CS-1".to_owned(),
            evse: 1,
            connector: 1,
            token: None,
            named: None,
            started: at(0),
            ended: Some(at(seconds)),
            readings: readings.iter().map(|(second, wh)| Reading { at: at(*second), wh: wh.parse().unwrap() }).collect(),
            idle: idle.iter().map(|(from, to)| Span { from: at(*from), to: at(*to) }).collect(),
            ending: None,
            remarks: BTreeSet::new(),
        }
    }

    fn course(readings: &[(i64, &str)], idle: &[(i64, i64)], seconds: i64) -> Course {
        Course::of(&session(readings, idle, seconds)).ok().unwrap()
    }

    #[test]
    fn energy_flows_evenly_between_readings_and_not_while_idle() {
        let c = course(&[(0, "0"), (100, "10"), (300, "30.05")], &[(150, 250)], 400);
        let taken = [0, 50, 100, 125, 150, 200, 250, 275, 300, 400].map(|second| c.energy_at(START + second));
        assert_eq!(taken, [0, 50, 100, 150, 200, 200, 200, 250, 300, 300]);
        assert_eq!([50, 200, 201, 300].map(|e| c.reached(e).unwrap() - START), [50, 150, 250, 300]);
        assert_eq!(c.reached(301), None);
        assert!([149, 250].iter().all(|s| !c.is_idle(START + s)) && [150, 249].iter().all(|s| c.is_idle(START + s)));
    }

    #[test]
    fn a_jump_belongs_to_what_follows_it() {
        let c = course(&[(0, "5"), (100, "5"), (100, "9")], &[], 200);
        assert_eq!([0, 1, 100, 101, 200].map(|s| c.energy_at(START + s)), [0, 50, 50, 90, 90]);
        assert_eq!([1, 50, 51, 90].map(|e| c.reached(e).unwrap() - START), [0, 0, 100, 100]);
        let c = course(&[(0, "7")], &[], 0);
        assert_eq!((c.energy, c.reached(70), c.energy_at(START)), (70, Some(START), 0));
    }

    #[test]
    fn idle_spans_are_put_in_order_and_clipped() {
        let c = course(&[(0, "0"), (100, "10")], &[(80, 999), (-5, 10), (5, 20), (20, 30), (50, 50)], 100);
        assert_eq!(c.idle, [(START, START + 30), (START + 80, START + 100)]);
        assert_eq!((c.energy_at(START + 30), c.energy_at(START + 80)), (0, 100));
        // All idle: as if it were not.
        assert_eq!(course(&[(0, "0"), (100, "10")], &[(0, 100)], 100).energy_at(START + 50), 50);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |session: &ChargingSession| Course::of(session).err();
        assert_eq!(refused(&session(&[(0, "2"), (1, "1")], &[], 9)), Some(Unbillable::OddReadings));
        assert_eq!(refused(&session(&[(5, "1"), (1, "2")], &[], 9)), Some(Unbillable::OddReadings));
        assert_eq!(refused(&session(&[(5, "-1")], &[], 9)), Some(Unbillable::OddReadings));
        assert_eq!(refused(&session(&[(5, "79228162514264337593543950335")], &[], 9)), Some(Unbillable::OddReadings));
        assert_eq!(refused(&session(&[], &[], -1)), Some(Unbillable::OddTimes));
        assert_eq!(refused(&session(&[], &[], LONGEST + 1)), Some(Unbillable::TooLong));
        let mut odd = session(&[], &[], 1);
        (odd.started, odd.ended) = (Timestamp(i64::MIN), Some(Timestamp(i64::MAX)));
        assert_eq!(refused(&odd), Some(Unbillable::OddTimes));
        odd.ended = None;
        assert_eq!(refused(&odd), Some(Unbillable::Running));
    }
}
