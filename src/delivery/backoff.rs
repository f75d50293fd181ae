//! How long to wait after a failure: exponential, with full jitter, so that a hundred gateways do not come back to an e-MSP in step.

use std::time::Duration;

/// Times and bounds of delivery.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The wait after a first failure is drawn from up to this.
    pub first: Duration,
    /// No wait is longer, unless a party asks for it.
    pub longest: Duration,
    /// The least wait where the door is shut: a token or a URL does not become right by asking again.
    pub slow: Duration,
    /// A party that asks for more (`Retry-After`) is understood to ask for this.
    pub longest_asked: Duration,
    /// How often the store is looked at without a ring: what another process changed, an agreement that has begun.
    pub tick: Duration,
    /// After a rest, how long news is gathered before the store is looked at: a hundred idle workers are not each woken by each CDR.
    pub gather: Duration,
    /// How long an e-MSP may think about a token: a driver is standing there.
    pub ask: Duration,
    /// How often tokens are pulled.
    pub pull: Duration,
    /// How often all tokens are pulled, and not only what changed.
    pub whole: Duration,
    /// After so many refusals in a row a CDR is refused for good, so that the queue behind it moves on.
    pub refusals: u32,
    /// After so many failures in a row that the party itself answered with, whether it is the party or the CDR is tried with those behind it.
    pub doubts: u32,
}

impl Default for Pace {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            first: Duration::from_secs(1),
            longest: minutes(15),
            slow: minutes(5),
            longest_asked: minutes(120),
            tick: Duration::from_secs(5),
            gather: Duration::from_millis(200),
            ask: Duration::from_secs(15),
            pull: minutes(60),
            whole: minutes(24 * 60),
            refusals: 8,
            doubts: 8,
        }
    }
}

/// Counts failures in a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure; `random` is uniform.
    pub(super) fn next(&mut self, pace: &Pace, random: u64) -> Duration {
        let bound = pace.first.saturating_mul(1 << self.failures.min(30)).min(pace.longest);
        self.failures = self.failures.saturating_add(1);
        let nanos = u128::from(random).saturating_mul(bound.as_nanos()) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whether nothing has failed yet.
    pub(super) fn is_first(self) -> bool {
        self.failures == 0
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_fill_the_range() {
        let pace = Pace::default();
        let mut backoff = Backoff::default();
        let longest: Vec<u64> = (0..40).map(|_| backoff.next(&pace, u64::MAX).as_secs_f64().round() as u64).collect();
        assert_eq!(longest[..4], [1, 2, 4, 8]);
        assert!(longest[10..].iter().all(|wait| *wait == 900));
        assert_eq!(backoff.next(&pace, 0), Duration::ZERO);
        assert_eq!(backoff.next(&pace, u64::MAX / 2).as_secs(), 449);
        backoff.reset();
        assert!(backoff.next(&pace, u64::MAX) <= pace.first);
    }
}
