//! Chance, so that thousands of stations do not come back in step.

use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// Random bytes; `None` if the operating system gives none.
pub(super) fn bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A number below `bound`; the middle one where there is no chance to be had.
pub(super) fn below(bound: u64) -> u64 {
    let random = bytes().map_or(1 << 63, u64::from_be_bytes);
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

/// A time from half of `span` to all of it.
pub(super) fn about(span: Duration) -> Duration {
    let half = span / 2;
    half + Duration::from_micros(below(u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1)))
}
