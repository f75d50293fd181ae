//! The door: accepts stations, dials the central system for each, and relays between the two.

mod authenticate;
pub mod credentials;
mod guard;
pub mod handshake;
mod live;
mod relay;
pub mod socket;
pub mod upstream;

use crate::clock;
use crate::custody::Custody;
use crate::metrics::{ConnectionGauge, Metrics};
use crate::ocpp::{Side, Version};
use crate::policy::Rules;
pub use authenticate::{Entrance, Profile};
pub use guard::Guard;
use guard::Refused;
use handshake::Refusal;
use live::{Live, Place};
use relay::{Hop, Traffic};
use socket::Socket;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use upstream::{Dialled, Upstream};

/// Why a connection ended. A closed list: it goes into logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The station closed it.
    StationClosed,
    /// The central system closed it.
    CsmsClosed,
    /// The station's connection broke.
    StationLost,
    /// The central system's connection broke.
    CsmsLost,
    /// The station said nothing and answered no ping.
    StationSilent,
    /// The central system said nothing and answered no ping.
    CsmsSilent,
    /// A new connection of the same station took its place.
    Displaced,
    /// The gateway is stopping.
    Draining,
    /// A message was too big.
    TooBig,
    /// A text message was not UTF-8.
    NotUtf8,
    /// The WebSocket protocol was broken.
    Protocol,
    /// A peer did not read what was written to it.
    Slow,
    /// The store could not keep what must be kept before anything goes on.
    StoreFailed,
}

impl Ending {
    /// The word in logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::StationClosed => "station_closed",
            Self::CsmsClosed => "csms_closed",
            Self::StationLost => "station_lost",
            Self::CsmsLost => "csms_lost",
            Self::StationSilent => "station_silent",
            Self::CsmsSilent => "csms_silent",
            Self::Displaced => "displaced",
            Self::Draining => "draining",
            Self::TooBig => "too_big",
            Self::NotUtf8 => "not_utf8",
            Self::Protocol => "protocol",
            Self::Slow => "slow",
            Self::StoreFailed => "store_failed",
        }
    }

    fn closed_by(side: Side) -> Self {
        if side == Side::Station { Self::StationClosed } else { Self::CsmsClosed }
    }

    fn lost(side: Side) -> Self {
        if side == Side::Station { Self::StationLost } else { Self::CsmsLost }
    }

    fn silent(side: Side) -> Self {
        if side == Side::Station { Self::StationSilent } else { Self::CsmsSilent }
    }
}

/// Times and bounds of the station side.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Spoken with a station that offers no subprotocol.
    pub default_version: Version,
    /// How long the opening handshake may take.
    pub handshake_patience: Duration,
    /// How often each hop is pinged.
    pub ping_interval: Duration,
    /// How long a side may be silent, pongs included.
    pub idle_limit: Duration,
    /// The biggest message, in bytes.
    pub max_frame: usize,
    /// The most connections at a time.
    pub max_connections: usize,
    /// How long a stop may take.
    pub drain_limit: Duration,
}

/// The running gateway, shared by all connections.
pub struct Gateway {
    /// The compiled policy.
    pub rules: Arc<Rules>,
    /// Keys, vault and journal.
    pub custody: Arc<Custody>,
    /// Where stations go on to.
    pub upstream: Upstream,
    /// TLS, and how stations prove who they are.
    pub entrance: Entrance,
    /// Times and bounds.
    pub settings: Settings,
    /// Counters.
    pub metrics: Metrics,
    drain: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    live: Live,
}

impl Gateway {
    /// Puts the parts together. Nothing is bound yet.
    pub fn new(
        rules: Arc<Rules>,
        custody: Arc<Custody>,
        upstream: Upstream,
        entrance: Entrance,
        settings: Settings,
        metrics: Metrics,
    ) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(settings.max_connections));
        Arc::new(Self {
            rules,
            custody,
            upstream,
            entrance,
            settings,
            metrics,
            drain: watch::Sender::new(false),
            connections,
            live: Live::default(),
        })
    }

    /// Whether the gateway is stopping.
    pub fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Connections at this moment.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Accepts stations until `stop` is done, then closes all connections with 1001 and returns when they are gone or the drain limit
    /// has passed. `secure` says that this listener speaks TLS; several listeners may be served at a time.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, secure: bool, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let gateway = Arc::clone(self);
                    tokio::spawn(async move { gateway.station(socket, peer, secure).await });
                }
                Err(_) => {
                    // Out of file descriptors, most likely: let some connections end before the next try.
                    self.metrics.accept_failed();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        self.drain.send_replace(true);
        let all = self.settings.max_connections.try_into().unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(self.settings.drain_limit, self.connections.acquire_many(all)).await;
    }

    async fn station(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, secure: bool) {
        let network = network(peer.ip());
        let _ = socket.set_nodelay(true);
        let Ok(_permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            let (full, code) = (Refusal(503, "Service Unavailable", Some("Retry-After: 30")), "too_many_connections");
            // Nobody shakes hands with a crowd: a station that waits for TLS sees the connection end.
            if secure {
                self.refused(&network, code);
            } else {
                self.turn_away(&mut Socket::Plain(socket), &network, code, full).await;
            }
            return;
        };
        // One deadline for both handshakes.
        let deadline = Instant::now() + self.settings.handshake_patience;
        let (mut socket, channel) = match self.entrance.secure(socket, secure, self.settings.handshake_patience).await {
            Ok(secured) => secured,
            Err(trouble) => return self.refused(&network, trouble.code()),
        };
        self.metrics.shaken(channel.tls);
        let mut request = match handshake::read(&mut socket, deadline.saturating_duration_since(Instant::now())).await {
            Ok(request) => request,
            Err(Some(refusal)) => return self.turn_away(&mut socket, &network, "bad_handshake", refusal).await,
            Err(None) => return,
        };
        let authenticated = timeout_at(deadline, self.entrance.authenticate(&mut request, &channel, &network)).await;
        let authorization = match authenticated.unwrap_or(Err(guard::SLOW)) {
            Ok(authorization) => authorization,
            Err(Refused(code, refusal)) => return self.turn_away(&mut socket, &network, code, refusal).await,
        };
        let mut nonce = [0; 16];
        if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut nonce).is_err() {
            return self
                .turn_away(&mut socket, &network, "no_random_bytes", Refusal(503, "Service Unavailable", Some("Retry-After: 30")))
                .await;
        }
        let silent_on_version = request.offered.is_empty();
        let offer = if silent_on_version { vec![self.settings.default_version] } else { request.offered };
        let dialled = self.upstream.dial(&request.raw_id, authorization.as_deref(), &offer, nonce).await;
        let Dialled { socket: csms, version: chosen, rest } = match dialled {
            Ok(dialled) => dialled,
            Err(no) => return self.turn_away(&mut socket, &network, no.code(), no.refusal()).await,
        };
        // A central system that names no version speaks the one that was offered first.
        let version = chosen.unwrap_or(offer[0]);
        let echoed = if silent_on_version { None } else { chosen };
        if handshake::accept(&mut socket, &request.key, echoed).await.is_err() {
            return;
        }
        let Place { number, displaced, took_over } = self.live.enter(&request.station);
        if took_over {
            self.metrics.displaced();
        }
        let _gauge = ConnectionGauge::new(&self.metrics, version);
        // The station's id and its address never stand together in a log (R80): the connection has a number.
        tracing::info!(connection = number, network, version = version.number(), "connection opened");
        let began = clock::now();
        let station = Hop::server(socket, request.rest, self.settings.max_frame).await;
        let csms = Hop::client(csms, rest, self.settings.max_frame).await;
        let (ending, traffic) = relay::run(&self, version, &request.station, station, csms, displaced).await;
        self.live.leave(&request.station, number);
        self.metrics.ended(ending);
        let Traffic { frames, bytes } = traffic;
        tracing::info!(
            connection = number,
            ending = ending.code(),
            frames_from_station = frames[0],
            frames_from_csms = frames[1],
            bytes_from_station = bytes[0],
            bytes_from_csms = bytes[1],
            milliseconds = clock::now().0 - began.0,
            "connection ended"
        );
    }

    /// Counts a connection that ended before there was anybody to answer.
    fn refused(&self, network: &str, code: &'static str) {
        self.metrics.turned_away(code);
        tracing::info!(network, reason = code, "connection refused");
    }

    async fn turn_away(&self, socket: &mut Socket, network: &str, code: &'static str, refusal: Refusal) {
        self.metrics.turned_away(code);
        tracing::info!(network, reason = code, status = refusal.0, "connection refused");
        let _ = tokio::time::timeout(Duration::from_secs(2), handshake::refuse(socket, refusal)).await;
    }
}

/// An address as it may be written down: the first 24 bits of IPv4, the first 48 of IPv6 (R79). IPv4 in IPv6 clothes is IPv4.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_before_they_are_written() {
        for (address, cut) in
            [("192.168.10.17", "192.168.10.0/24"), ("::ffff:10.1.2.3", "10.1.2.0/24"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48")]
        {
            assert_eq!(network(address.parse().unwrap()), cut);
        }
    }
}
