//! When the central system is away, ten thousand stations must not hammer it: after a few failures in a row it is left alone for a moment,
//! then one station tries for all. A single success lets everybody through again. Pure: time and chance are arguments.

use std::time::Duration;
use tokio::time::Instant;

/// So many failures in a row before it is left alone.
const FAILURES: u32 = 5;
/// The first rest, doubled with each trial that fails.
const FIRST: Duration = Duration::from_millis(500);
/// The longest rest: this long after it is back, it is used again by the next station that comes.
const LONGEST: Duration = Duration::from_secs(5);

/// Whether the central system is worth trying.
#[derive(Debug, Clone, Copy)]
pub(super) enum Circuit {
    /// Everybody may dial; so many failed since the last success.
    Open(u32),
    /// Nobody dials until then. So many rests there were.
    Rests(Instant, u32),
    /// One station tries for all; another may if it has not come back by then.
    Tries(Instant, u32),
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Open(0)
    }
}

impl Circuit {
    /// Whether nobody may dial at this moment.
    pub(super) fn is_shut(self, now: Instant) -> bool {
        matches!(self, Self::Rests(until, _) | Self::Tries(until, _) if now < until)
    }

    /// Whether the last that was heard of the central system is that it is away.
    pub(super) fn is_away(self) -> bool {
        !matches!(self, Self::Open(_))
    }

    /// Whether a station may dial now: it does if it may.
    pub(super) fn asks(&mut self, now: Instant) -> bool {
        if self.is_shut(now) {
            return false;
        }
        if let Self::Rests(_, rests) | Self::Tries(_, rests) = *self {
            *self = Self::Tries(now + LONGEST, rests);
        }
        true
    }

    /// A station got through: so may all.
    pub(super) fn reached(&mut self) {
        *self = Self::default();
    }

    /// A station did not get through. `spread` draws a time from a part to all of what it is given.
    pub(super) fn failed(&mut self, now: Instant, spread: impl Fn(Duration) -> Duration) {
        let rest = |rests: u32| Self::Rests(now + spread((FIRST * (1 << rests.min(8))).min(LONGEST)), rests + 1);
        *self = match *self {
            Self::Open(failures) if failures + 1 < FAILURES => Self::Open(failures + 1),
            Self::Open(_) => rest(0),
            Self::Tries(_, rests) => rest(rests),
            // Who dialled before the rest began says nothing new.
            Self::Rests(..) => *self,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_central_system_is_tried_by_one_station_at_a_time() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut circuit = Circuit::default();
        for _ in 0..FAILURES {
            assert!(circuit.asks(at(0)));
        }
        for _ in 0..FAILURES - 1 {
            circuit.failed(at(0), |rest| rest);
        }
        assert!(circuit.asks(at(0)), "one failure less than it takes");
        circuit.failed(at(0), |rest| rest);
        assert!(!circuit.asks(at(499)) && circuit.is_shut(at(499)));
        circuit.failed(at(499), |rest| rest);
        assert!(!circuit.is_shut(at(500)), "a straggler does not make the rest longer");
        assert!(circuit.asks(at(500)) && !circuit.asks(at(500)), "one tries for all");
        circuit.failed(at(600), |rest| rest);
        assert!(!circuit.asks(at(1599)) && circuit.asks(at(1600)), "the second rest is twice as long");
        assert!(circuit.asks(at(1600 + 5000)), "one that does not come back does not keep the others out");
        circuit.reached();
        assert!((0..1000).all(|_| circuit.asks(at(6600))));
        let mut rests = 0;
        let mut now = at(10_000);
        let mut circuit = Circuit::Tries(now, 0);
        for _ in 0..100 {
            circuit.failed(now, |rest| rest);
            let Circuit::Rests(until, _) = circuit else { panic!("it does not rest") };
            assert!(until - now <= LONGEST);
            now = until;
            assert!(circuit.asks(now));
            rests += 1;
        }
        assert_eq!(rests, 100);
    }
}
