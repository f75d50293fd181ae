//! Places for connections: so many in all, and a share of them for each network, so that one caller who holds what it gets shuts nobody else out.

use crate::network::Network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The places of a listener.
pub(super) struct Places {
    most: usize,
    share: usize,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    all: usize,
    /// One entry for each network that holds a place, so no more than places.
    networks: HashMap<Network, usize>,
}

/// A place; free again when it is dropped.
pub(super) struct Place {
    network: Network,
    held: Arc<Mutex<Held>>,
}

impl Places {
    /// So many places, and of them so many for one network.
    pub(super) fn new(most: usize, share: usize) -> Self {
        Self { most, share, held: Arc::default() }
    }

    /// A place for a caller, if there is one left for it.
    pub(super) fn take(&self, from: IpAddr) -> Option<Place> {
        let network = Network::of(from);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = held.networks.get(&network).copied().unwrap_or(0);
        if held.all >= self.most || theirs >= self.share {
            return None;
        }
        held.all += 1;
        held.networks.insert(network, theirs + 1);
        Some(Place { network, held: Arc::clone(&self.held) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        let left = held.networks.get(&self.network).map_or(0, |theirs| theirs.saturating_sub(1));
        if left == 0 {
            held.networks.remove(&self.network);
        } else {
            held.networks.insert(self.network, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_share_and_nothing_stays_behind() {
        let places = Places::new(5, 3);
        let from = |text: &str| places.take(text.parse().unwrap());
        let mut held: Vec<_> = (1..4).map(|n| from(&format!("192.0.2.{n}")).unwrap()).collect();
        assert!(from("192.0.2.9").is_none() && from("::ffff:192.0.2.9").is_none(), "a network, in whatever clothes");
        held.extend(["198.51.100.1", "2001:db8::1"].map(|other| from(other).unwrap()));
        assert!(from("203.0.113.1").is_none(), "all are taken");
        held.remove(0);
        held.push(from("192.0.2.9").unwrap());
        drop(held);
        let left = places.held.lock().unwrap();
        assert!(left.all == 0 && left.networks.is_empty());
    }
}
