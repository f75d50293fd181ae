//! All stations' way to the central system: only so many dial at a time, not in step, and none at all while it is known to be away.

use super::addresses::Addresses;
use super::circuit::Circuit;
use super::{Call, Dialled, NoUpstream, Upstream};
use crate::gateway::chance;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// When many dial, each waits for up to so long first.
const SPREAD: Duration = Duration::from_millis(250);

/// Dials for stations.
pub(crate) struct Dialler {
    upstream: Upstream,
    addresses: Addresses,
    circuit: Mutex<Circuit>,
    dials: Semaphore,
    most: usize,
}

impl Dialler {
    /// At most `most` stations dial at a time.
    pub(crate) fn new(upstream: Upstream, most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { upstream, addresses: Addresses::default(), circuit: Mutex::default(), dials: Semaphore::new(most), most }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the central system is offered versions, and so chooses one.
    pub(crate) fn offers_versions(&self) -> bool {
        self.upstream.offers_versions
    }

    /// Dials the central system for a station.
    ///
    /// # Errors
    /// [`NoUpstream`], which says what to answer the station.
    pub(crate) async fn dial(&self, call: &Call<'_>) -> Result<Dialled, NoUpstream> {
        let deadline = Instant::now() + self.upstream.patience;
        if self.circuit().is_shut(Instant::now()) {
            return Err(NoUpstream::Resting);
        }
        let Ok(Ok(_turn)) = timeout_at(deadline, self.dials.acquire()).await else { return Err(NoUpstream::Crowded) };
        if self.dials.available_permits() < self.most / 2 {
            sleep(SPREAD.mul_f64(chance::below(1 << 16) as f64 / 65536.0)).await;
        }
        if !self.circuit().asks(Instant::now()) {
            return Err(NoUpstream::Resting);
        }
        // The turn was waited for; the central system has its time for itself.
        let dialled = timeout(self.upstream.patience, self.upstream.connect(&self.addresses, call)).await;
        let dialled = dialled.unwrap_or(Err(NoUpstream::Unreachable));
        match &dialled {
            Err(no) if no.is_away() => self.circuit().failed(Instant::now(), chance::about),
            _ => self.circuit().reached(),
        }
        dialled
    }
}
