//! The live connection of each station. A newer one takes the place of an older one; the older one's end, which may come late, does not
//! remove the newer one, for each entry carries its generation.

use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Stations and their connections.
#[derive(Default)]
pub(super) struct Live {
    stations: DashMap<Box<str>, (u64, Arc<Notify>)>,
    generation: AtomicU64,
}

/// A connection's own entry.
pub(super) struct Place {
    /// The number of the connection, for logs.
    pub(super) number: u64,
    /// Told when a newer connection of the same station takes over.
    pub(super) displaced: Arc<Notify>,
    /// Whether an older connection had to make room.
    pub(super) took_over: bool,
}

impl Live {
    /// Stations that are connected.
    pub(super) fn len(&self) -> usize {
        self.stations.len()
    }

    /// Enters a connection; one that the station had before is told to end.
    pub(super) fn enter(&self, station: &str) -> Place {
        let number = self.generation.fetch_add(1, Ordering::Relaxed);
        let displaced = Arc::new(Notify::new());
        let old = self.stations.insert(station.into(), (number, Arc::clone(&displaced)));
        if let Some((_, old)) = &old {
            old.notify_one();
        }
        Place { number, displaced, took_over: old.is_some() }
    }

    /// Removes a connection that has ended, unless a newer one stands in its place.
    pub(super) fn leave(&self, station: &str, number: u64) {
        self.stations.remove_if(station, |_, (generation, _)| *generation == number);
    }
}
