//! How fast a station may send. Pure: time is an argument.
//!
//! A station that was offline sends thousands of stored messages as fast as they are answered; a broken or hostile one never stops. Both are
//! told apart by how long it lasts. A bucket of frames, filled at a steady rate, lets the first send at full speed; when it is empty the
//! station is read only as fast as the bucket fills, so what it sends waits in its own socket and nothing is lost; and one that has kept
//! it empty for longer than any queue takes is cut.

use super::Pace;
use std::time::Duration;

/// What a frame may cost. Bytes count as frames: reading, treating and writing a big frame takes as long as many small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Frames that may come at once. The default lets 20,000 stored transaction messages of 1 KiB pass at full speed.
    pub burst: u32,
    /// Frames a second for ever after. The default is that of a local controller with a hundred stations that each read their meter every
    /// two seconds.
    pub per_second: u32,
    /// Bytes that cost as much as one frame; each frame costs one more for every so many bytes it has.
    pub bytes_per_frame: u32,
    /// How long a station may go on with an empty bucket before it is cut.
    pub patience: Duration,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { burst: 40_000, per_second: 100, bytes_per_frame: 1024, patience: Duration::from_secs(900) }
    }
}

/// What a card or other identifier that was never seen before costs, in frames: it stays in the vault as long as its epoch. By default two thousand
/// may come at once, and five a second for ever after.
const NEWCOMER: i64 = 20;

/// The bucket of one station.
#[derive(Debug)]
pub(super) struct Budget {
    allowance: Allowance,
    /// What is left, in thousandths of a frame; below zero when a frame cost more than was left.
    left: i64,
    /// Up to when it is filled, in milliseconds.
    at: i64,
    /// Since when it has not been more than half a second's worth above empty.
    empty_since: Option<i64>,
}

impl Budget {
    /// A full bucket.
    pub(super) fn new(allowance: Allowance) -> Self {
        Self { allowance, left: i64::from(allowance.burst) * 1000, at: 0, empty_since: None }
    }

    /// Pays for so many identifiers that were never seen before. What is owed is felt with the next frame.
    pub(super) fn owe(&mut self, newcomers: usize) {
        let frames = i64::try_from(newcomers).unwrap_or(i64::MAX).saturating_mul(NEWCOMER);
        self.left = self.left.saturating_sub(frames.saturating_mul(1000));
    }

    /// Pays for a frame of so many bytes at `now`, in milliseconds on a clock that never goes back.
    pub(super) fn spend(&mut self, bytes: usize, now: i64) -> Pace {
        let Allowance { burst, per_second, bytes_per_frame, patience } = self.allowance;
        let rate = i64::from(per_second.max(1));
        // Thousandths of a frame per millisecond are frames per second.
        let filled = now.saturating_sub(self.at).max(0).saturating_mul(rate);
        self.left = self.left.saturating_add(filled).min(i64::from(burst) * 1000);
        self.at = now;
        let share = (bytes as u64).saturating_mul(1000) / u64::from(bytes_per_frame.max(1));
        self.left = self.left.saturating_sub(1000).saturating_sub(i64::try_from(share).unwrap_or(i64::MAX));
        if self.left > rate * 500 {
            self.empty_since = None;
        }
        if self.left >= 0 {
            return Pace::Go;
        }
        let since = *self.empty_since.get_or_insert(now);
        if now.saturating_sub(since) > i64::try_from(patience.as_millis()).unwrap_or(i64::MAX) {
            return Pace::Cut;
        }
        Pace::Rest(Duration::from_millis(self.left.saturating_neg().div_euclid(rate) as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Allowance = Allowance { burst: 10, per_second: 2, bytes_per_frame: 1000, patience: Duration::from_secs(60) };

    #[test]
    fn the_burst_passes_and_one_more_rests() {
        let mut budget = Budget::new(SMALL);
        for _ in 0..10 {
            assert_eq!(budget.spend(0, 5), Pace::Go);
        }
        assert_eq!(budget.spend(0, 5), Pace::Rest(Duration::from_millis(501)), "one frame at two a second");
    }

    /// Without this a station could fill the store of all with cards that it makes up.
    #[test]
    fn a_new_identifier_costs_more_than_a_frame() {
        let allowance = Allowance { burst: 100, per_second: 10, ..SMALL };
        let mut budget = Budget::new(allowance);
        budget.owe(4);
        assert_eq!(budget.spend(0, 0), Pace::Go);
        budget.owe(1);
        assert_eq!(budget.spend(0, 0), Pace::Rest(Duration::from_millis(201)), "two frames at ten a second");
        budget.owe(usize::MAX);
        assert!(matches!(budget.spend(0, 0), Pace::Rest(_)), "no overflow");
    }

    #[test]
    fn big_frames_cost_as_many_small_ones() {
        let mut budget = Budget::new(SMALL);
        assert_eq!(budget.spend(9_000, 0), Pace::Go);
        assert_eq!(budget.spend(1_000, 0), Pace::Rest(Duration::from_millis(1001)));
        assert_eq!(Budget::new(SMALL).spend(usize::MAX, 0), Budget::new(SMALL).spend(usize::MAX, 0), "no overflow");
    }

    /// Who rests as told is never cut before its patience is over, and sends at the steady rate meanwhile; who goes quiet starts anew.
    #[test]
    fn a_station_that_never_stops_is_slowed_and_then_cut() {
        let mut budget = Budget::new(SMALL);
        let (mut now, mut sent) = (0, 0);
        let cut = loop {
            match budget.spend(0, now) {
                Pace::Go => {}
                Pace::Rest(rest) => now += rest.as_millis() as i64,
                Pace::Cut => break now,
            }
            sent += 1;
            assert!(sent < 1000);
        };
        assert!((60_000..62_000).contains(&cut), "{cut}");
        assert!((125..135).contains(&sent), "{sent}");
        assert_eq!(budget.spend(0, cut + 10_000), Pace::Go);
        assert_eq!(budget.empty_since, None);
    }

    #[test]
    fn an_offline_queue_drains_at_full_speed() {
        let mut budget = Budget::new(Allowance::default());
        let waited: Duration = (0..20_000)
            .map(|n| match budget.spend(1024, n / 10) {
                Pace::Go => Duration::ZERO,
                Pace::Rest(rest) => rest,
                Pace::Cut => Duration::MAX,
            })
            .sum();
        assert_eq!(waited, Duration::ZERO);
        // A queue three times as long is slowed, and not cut.
        let mut now = 2_000;
        for _ in 0..40_000 {
            match budget.spend(1024, now) {
                Pace::Go => {}
                Pace::Rest(rest) => now += rest.as_millis() as i64,
                Pace::Cut => panic!("cut after {now} ms"),
            }
        }
        assert!((780_000..820_000).contains(&now), "{now}");
    }
}
