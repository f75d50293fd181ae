//! Who may come in: every bound on newcomers, looked at before a connection costs anything. What is over a bound is refused with a word of a
//! closed list, and connections that run are never touched: overload sheds new ones.

use super::bucket::{Bucket, Buckets, Rate};
use super::handshake::Refusal;
use super::{Settings, machine};
use crate::network::{Network, Range};
use dashmap::DashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Of all places for handshakes, this part is the most that one network may hold, so that a single slow sender cannot take them all.
const SHARE: usize = 4;

/// Bounds on newcomers. Where it says so, 0 is no bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections accepted per second, once the burst is used up; 0 is no bound.
    pub accepts_per_second: u32,
    /// Connections accepted at once after a rest.
    pub accept_burst: u32,
    /// Opening handshakes at a time, TLS included.
    pub handshakes: usize,
    /// Connections at a time from one network (/24, /48); 0 is no bound.
    pub per_network: usize,
    /// Networks that stand for many stations (a balancer, a mobile operator's gateway) and have no bound of their own.
    pub unlimited: Vec<Range>,
    /// Handshakes in a minute with one station's id, from one network; 0 is no bound.
    pub station_handshakes: u32,
    /// How often in a minute a connection of a station may take the place of one that is still alive; 0 is no bound.
    pub takeovers: u32,
    /// Connections being made to the central system at a time.
    pub dials: usize,
    /// Resident memory in MiB from which on newcomers are refused; 0 is no bound.
    pub memory_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            accepts_per_second: 1000,
            accept_burst: 4000,
            handshakes: 2000,
            per_network: 5000,
            unlimited: Vec::new(),
            station_handshakes: 60,
            takeovers: 6,
            dials: 256,
            memory_mib: 0,
        }
    }
}

/// Why somebody is turned away, and what they are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// The word for logs and metrics; of a closed list.
    pub code: &'static str,
    /// The answer; `None` if nobody is there to hear it.
    pub refusal: Option<Refusal>,
}

impl Away {
    /// Turned away with an answer.
    pub const fn with(code: &'static str, status: u16, reason: &'static str) -> Self {
        Self { code, refusal: Some(Refusal(status, reason, None)) }
    }

    /// Turned away for now; the answer says when to come again.
    pub const fn busy(code: &'static str) -> Self {
        Self::with(code, 503, "Service Unavailable")
    }

    /// The peer went by itself.
    pub const GONE: Self = Self { code: "gone", refusal: None };
}

/// Counts who is in.
pub(super) struct Admission {
    limits: Limits,
    most: usize,
    /// Whether it is the descriptors and not the configuration that bound the connections.
    by_descriptors: bool,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    accepts: Bucket,
    stations: Buckets,
    takeovers: Buckets,
    /// One entry for each network with a connection, so no more than connections.
    networks: Arc<DashMap<Network, Share>>,
    tight: AtomicBool,
}

/// What one network holds.
#[derive(Debug, Default, Clone, Copy)]
struct Share {
    connections: usize,
    handshakes: usize,
}

fn a_minute(times: u32) -> Option<Rate> {
    (times > 0).then_some(Rate { times, per: Duration::from_secs(60), burst: times })
}

impl Admission {
    pub(super) fn new(settings: &Settings) -> Self {
        let limits = settings.limits.clone();
        let room = machine::room_for_connections().unwrap_or(usize::MAX);
        let most = settings.max_connections.min(room).min(Semaphore::MAX_PERMITS);
        machine::make_room_for(most);
        let accepts = Rate { times: limits.accepts_per_second, per: Duration::from_secs(1), burst: limits.accept_burst };
        Self {
            most,
            by_descriptors: room < settings.max_connections,
            connections: Arc::new(Semaphore::new(most)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            accepts: Bucket::new((limits.accepts_per_second > 0).then_some(accepts)),
            stations: Buckets::new(a_minute(limits.station_handshakes)),
            takeovers: Buckets::new(a_minute(limits.takeovers)),
            networks: Arc::default(),
            tight: AtomicBool::new(false),
            limits,
        }
    }

    /// The most connections at a time, if the descriptors give fewer than the configuration says.
    pub(super) fn cut_by_descriptors(&self) -> Option<usize> {
        self.by_descriptors.then_some(self.most)
    }

    /// Looks how much memory is in use; gives the bytes.
    pub(super) fn measure(&self) -> Option<u64> {
        let resident = machine::resident()?;
        let ceiling = self.limits.memory_mib << 20;
        let tight = ceiling > 0 && resident >= ceiling;
        if self.tight.swap(tight, Ordering::Relaxed) != tight {
            tracing::warn!(tight, "memory: newcomers are refused while it is tight");
        }
        Some(resident)
    }

    /// A place for a connection that has just been accepted.
    ///
    /// # Errors
    /// Which bound it is over.
    pub(super) fn admit(&self, address: IpAddr, now: Instant) -> Result<Seat, Away> {
        // First what costs least, and what an attacker can do most of.
        if !self.accepts.take(now) {
            return Err(Away::busy("accept_rate"));
        }
        if self.tight.load(Ordering::Relaxed) {
            return Err(Away::busy("memory"));
        }
        let full = if self.by_descriptors { "no_descriptors" } else { "too_many_connections" };
        let connection = Arc::clone(&self.connections).try_acquire_owned().map_err(|_| Away::busy(full))?;
        let handshake = Arc::clone(&self.handshakes).try_acquire_owned().map_err(|_| Away::busy("too_many_handshakes"))?;
        let network = Network::of(address);
        let bounded = !self.limits.unlimited.iter().any(|range| range.holds(address.to_canonical()));
        let mut share = self.networks.entry(network).or_default();
        if bounded && self.limits.per_network > 0 && share.connections >= self.limits.per_network {
            return Err(Away::busy("too_many_from_network"));
        }
        if bounded && share.handshakes >= self.limits.handshakes.div_ceil(SHARE) {
            return Err(Away::busy("too_many_handshakes"));
        }
        share.connections += 1;
        share.handshakes += 1;
        Ok(Seat { network, networks: Arc::clone(&self.networks), _connection: connection, handshake: Some(handshake) })
    }

    /// Whether a station may shake hands once more. Counted by id and network, so that nobody elsewhere can use up a station's allowance.
    ///
    /// # Errors
    /// It came too often.
    pub(super) fn shake(&self, station: &str, network: Network, now: Instant) -> Result<(), Away> {
        let fine = self.stations.take((station, network), now);
        if fine { Ok(()) } else { Err(Away::with("station_rate", 429, "Too Many Requests")) }
    }

    /// Whether a station's connection may take the place of one that is alive.
    pub(super) fn may_take_over(&self, station: &str, now: Instant) -> bool {
        self.takeovers.has(station, now)
    }

    /// A station's connection has taken the place of another.
    pub(super) fn took_over(&self, station: &str, now: Instant) {
        self.takeovers.take(station, now);
    }

    /// Returns when nobody is left.
    pub(super) async fn empty(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let _ = self.connections.acquire_many(all).await;
    }
}

/// A connection's place among all: given back when it is dropped.
pub(super) struct Seat {
    /// Where it came from.
    pub(super) network: Network,
    networks: Arc<DashMap<Network, Share>>,
    _connection: OwnedSemaphorePermit,
    handshake: Option<OwnedSemaphorePermit>,
}

impl Seat {
    /// The opening handshake is over, for better or worse.
    pub(super) fn shaken(&mut self) {
        if self.handshake.take().is_some()
            && let Some(mut share) = self.networks.get_mut(&self.network)
        {
            share.handshakes = share.handshakes.saturating_sub(1);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shaken();
        self.networks.remove_if_mut(&self.network, |_, share| {
            share.connections = share.connections.saturating_sub(1);
            share.connections == 0
        });
    }
}
