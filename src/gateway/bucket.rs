//! Token buckets: how often something may happen, with a burst that has been saved up. Time is an argument.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Buckets of one table: a fixed number, so that names which an attacker makes up cannot make it grow.
const SLOTS: usize = 1 << 16;

/// How often something may happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// So many in [`Rate::per`].
    pub(super) times: u32,
    /// The span.
    pub(super) per: Duration,
    /// So many at once, after a rest.
    pub(super) burst: u32,
}

/// How empty a bucket is: the moment at which it will be full again. Begins full.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    full_at: Option<Instant>,
}

impl Rate {
    /// How long one token takes to come.
    fn each(self) -> Duration {
        self.per / self.times.max(1)
    }

    /// Whether there is a token now.
    fn has(self, level: Level, now: Instant) -> bool {
        let missing = level.full_at.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        missing + self.each() <= self.each() * self.burst.max(1)
    }

    /// Takes a token if there is one.
    fn take(self, level: &mut Level, now: Instant) -> bool {
        let has = self.has(*level, now);
        if has {
            level.full_at = Some(level.full_at.map_or(now, |full| full.max(now)) + self.each());
        }
        has
    }
}

/// One bucket for all.
pub(super) struct Bucket {
    rate: Option<Rate>,
    level: Mutex<Level>,
}

impl Bucket {
    /// A full bucket; without a rate, a bottomless one.
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate, level: Mutex::default() }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&self, now: Instant) -> bool {
        self.rate.is_none_or(|rate| rate.take(&mut self.level.lock().unwrap_or_else(PoisonError::into_inner), now))
    }
}

/// A bucket for each name. Names share 65,536 buckets by a hash with a key of this process, so the memory is bounded (1 MiB) and nobody can
/// choose a name that empties another's; two names that share one by chance have one allowance between them.
pub(super) struct Buckets {
    rate: Option<Rate>,
    key: RandomState,
    levels: Mutex<Box<[Level]>>,
}

impl Buckets {
    /// Full buckets; without a rate, bottomless ones.
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let slots = if rate.is_some() { SLOTS } else { 0 };
        Self { rate, key: RandomState::new(), levels: Mutex::new(vec![Level::default(); slots].into()) }
    }

    fn with<T>(&self, name: impl Hash, look: impl FnOnce(Rate, &mut Level) -> T) -> Option<T> {
        let slot = self.key.hash_one(name) as usize % SLOTS;
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        Some(look(self.rate?, levels.get_mut(slot)?))
    }

    /// Whether a name has a token now.
    pub(super) fn has(&self, name: impl Hash, now: Instant) -> bool {
        self.with(name, |rate, level| rate.has(*level, now)).unwrap_or(true)
    }

    /// Takes a name's token if it has one.
    pub(super) fn take(&self, name: impl Hash, now: Instant) -> bool {
        self.with(name, |rate, level| rate.take(level, now)).unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { times: 10, per: Duration::from_secs(1), burst: 3 };
        let (bucket, start) = (Bucket::new(Some(rate)), Instant::now());
        let taken = |ms: u64| bucket.take(start + Duration::from_millis(ms));
        assert!(taken(0) && taken(0) && taken(0), "the burst");
        assert!(!taken(0) && !taken(99), "one more than the burst");
        assert!(taken(100) && !taken(100), "one for each tenth of a second");
        assert!(!taken(50), "a clock that goes back gives nothing");
        assert!(taken(10_000) && taken(10_000) && taken(10_000) && !taken(10_000), "no more is saved up than the burst");
        assert!((0..100_000).all(|_| Bucket::new(None).take(start)));
    }

    #[test]
    fn each_name_has_a_bucket_of_its_own() {
        let buckets = Buckets::new(Some(Rate { times: 2, per: Duration::from_secs(60), burst: 2 }));
        let start = Instant::now();
        assert!(buckets.take("CS-1", start) && buckets.has("CS-1", start) && buckets.take("CS-1", start));
        assert!(!buckets.has("CS-1", start) && !buckets.take("CS-1", start));
        assert!(buckets.take("CS-2", start));
        assert!(buckets.take("CS-1", start + Duration::from_secs(30)));
    }
}
