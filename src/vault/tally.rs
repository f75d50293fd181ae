//! What the vault counts. Numbers only: no person can be told from them.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the vault holds and has done since it was opened. No person can be told from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VaultCounts {
    /// Identifiers in memory.
    pub known: usize,
    /// Records written.
    pub recorded: u64,
    /// Codes revealed.
    pub revealed: u64,
    /// Codes asked for that have no record, or could not be read.
    pub unknown: u64,
    /// Failed reads and records that did not open: any is an incident.
    pub failures: u64,
    /// Collisions refused: any is an incident.
    pub collisions: u64,
}

/// The counters behind [`VaultCounts`].
#[derive(Default)]
pub(super) struct Tally {
    pub(super) recorded: Counter,
    pub(super) revealed: Counter,
    pub(super) unknown: Counter,
    pub(super) failures: Counter,
    pub(super) collisions: Counter,
}

impl Tally {
    pub(super) fn read(&self, known: usize) -> VaultCounts {
        VaultCounts {
            known,
            recorded: self.recorded.read(),
            revealed: self.revealed.read(),
            unknown: self.unknown.read(),
            failures: self.failures.read(),
            collisions: self.collisions.read(),
        }
    }
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
