//! Random bytes for masks and for jitter. A mask must be one that nobody can foretell (RFC 6455 §10.3), so it comes from the operating
//! system's generator: a kilobyte at a time for each thread, since a system call for four bytes would cost as much as the rest of a frame.

use ring::rand::{SecureRandom, SystemRandom};
use std::cell::RefCell;
use std::io;

/// Bytes that are fetched at a time.
const BATCH: usize = 1024;

struct Batch {
    bytes: [u8; BATCH],
    used: usize,
}

thread_local! {
    static BATCHES: RefCell<Batch> = const { RefCell::new(Batch { bytes: [0; BATCH], used: BATCH }) };
}

/// Four bytes, given out once.
///
/// # Errors
/// The system has no random bytes.
pub(super) fn four() -> io::Result<[u8; 4]> {
    BATCHES.with_borrow_mut(|batch| {
        if batch.used == BATCH {
            SystemRandom::new().fill(&mut batch.bytes).map_err(|_| io::Error::other("no random bytes"))?;
            batch.used = 0;
        }
        let mut four = [0; 4];
        four.copy_from_slice(&batch.bytes[batch.used..batch.used + 4]);
        batch.used += 4;
        Ok(four)
    })
}

/// A part between 0 and 1, for jitter: a half if there is no chance to be had.
pub(super) fn part() -> f64 {
    four().map_or(0.5, |four| f64::from(u32::from_ne_bytes(four)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::four;

    #[test]
    fn no_mask_comes_twice() {
        let masks: std::collections::HashSet<_> = (0..2000).map(|_| four().unwrap()).collect();
        // Two of two thousand are the same once in two thousand runs.
        assert!(masks.len() >= 1998);
    }
}
