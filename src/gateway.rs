//! The door: accepts stations, dials the central system for each, and relays between the two.

mod admission;
mod arrival;
mod authenticate;
mod bucket;
mod chance;
mod course;
pub mod credentials;
mod crew;
mod guard;
pub mod handshake;
mod live;
mod machine;
mod relay;
pub mod socket;
pub mod upstream;

use crate::custody::Custody;
use crate::metrics::Metrics;
pub use crate::network::{Network, Range};
use crate::ocpp::{Side, Version};
use crate::policy::Rules;
use crate::session::Bounds;
use admission::{Admission, Seat};
pub use admission::{Away, Limits};
use arc_swap::ArcSwap;
pub use arrival::Takeover;
pub use authenticate::{Entrance, Profile};
use bucket::{Bucket, Rate};
pub use course::Course;
pub use crew::Crew;
pub use guard::Guard;
use live::Live;
use socket::Socket;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout, timeout_at};
use upstream::Upstream;

/// Refusals that are logged in a second; of more only the number is.
const LOGGED: Rate = Rate { times: 10, per: Duration::from_secs(1), burst: 50 };
/// How long a refusal may take.
const REFUSING: Duration = Duration::from_secs(2);
/// How often memory is looked at.
const BEAT: Duration = Duration::from_millis(500);
/// At a stop, connections are ended no faster than so far apart, so that the stations do not all come back at once; and in a shorter time
/// than the stop may take, so that the last one can still finish.
const APART: Duration = Duration::from_millis(20);

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
    /// The station never ceased to send faster than it may.
    Flood,
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
            Self::Flood => "flood",
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
    /// The same for stations by their id: exact, or a prefix with `*` at its end. The first that fits counts.
    pub versions: Vec<(String, Version)>,
    /// How ids are found in paths.
    pub paths: handshake::Paths,
    /// What a second connection under one id needs to replace the first.
    pub takeover: Takeover,
    /// How long an old connection may take to answer a ping when a new one wants its place.
    pub probe_patience: Duration,
    /// How long the opening handshake may take.
    pub handshake_patience: Duration,
    /// How often each hop is pinged.
    pub ping_interval: Duration,
    /// How long a side may be silent, pongs included.
    pub idle_limit: Duration,
    /// The biggest message, in bytes.
    pub max_frame: usize,
    /// The most bytes that wait to be written to one peer. From half of it on, nothing more is read that could add to them.
    pub max_queue: usize,
    /// How long a peer may leave bytes waiting before the connection is ended.
    pub write_patience: Duration,
    /// Bounds of the conversation.
    pub frames: Bounds,
    /// The most connections at a time.
    pub max_connections: usize,
    /// How long a stop may take.
    pub drain_limit: Duration,
    /// Bounds on newcomers.
    pub limits: Limits,
}

impl Settings {
    /// The version that a station speaks if it does not say.
    pub fn version_of(&self, station: &str) -> Version {
        let fits = |pattern: &str| pattern.strip_suffix('*').map_or(pattern == station, |prefix| station.starts_with(prefix));
        self.versions.iter().find(|(pattern, _)| fits(pattern)).map_or(self.default_version, |(_, version)| *version)
    }
}

/// The running gateway, shared by all connections.
pub struct Gateway {
    /// By what new connections go.
    course: ArcSwap<Course>,
    /// Keys, vault and journal.
    pub custody: Arc<Custody>,
    /// Counters.
    pub metrics: Metrics,
    /// TLS, and how stations prove who they are.
    pub entrance: Entrance,
    admission: Admission,
    drain: watch::Sender<bool>,
    live: Arc<Live>,
    polite: Arc<Semaphore>,
    logged: Bucket,
    unlogged: AtomicU64,
    /// Where connections live; without one, on the runtime that serves.
    crew: Option<Crew>,
}

/// Letting stations in broke off, which is a mistake of this program's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("letting stations in broke off")]
pub struct Broken;

/// A listener on the thread that accepts from it.
pub struct Door {
    listener: TcpListener,
    /// Whether it speaks TLS.
    secure: bool,
    /// Of the crew, if there is one.
    hand: Option<usize>,
}

impl Gateway {
    /// Puts the parts together. Nothing is bound yet. Connections live on the threads of the crew, where there is one; else on the runtime that
    /// [`Gateway::serve`] runs on.
    pub fn new(
        rules: Arc<Rules>,
        custody: Arc<Custody>,
        upstream: Upstream,
        entrance: Entrance,
        settings: Settings,
        metrics: Metrics,
        crew: Option<Crew>,
    ) -> Arc<Self> {
        Arc::new(Self {
            custody,
            entrance,
            admission: Admission::new(&settings),
            course: ArcSwap::from_pointee(Course::new(rules, settings, upstream)),
            metrics,
            drain: watch::Sender::new(false),
            live: Arc::default(),
            polite: Arc::new(Semaphore::new(machine::room_for_refusals())),
            logged: Bucket::new(Some(LOGGED)),
            unlogged: AtomicU64::new(0),
            crew,
        })
    }

    /// By what new connections go at this moment.
    pub fn course(&self) -> Arc<Course> {
        self.course.load_full()
    }

    /// Has new connections go by another policy, other times and, where it is given, another way to the central system, all at once.
    /// Connections that stand go on as they began.
    pub fn steer(&self, rules: Arc<Rules>, settings: Settings, upstream: Option<Upstream>) {
        self.course.rcu(|old| old.turned(Arc::clone(&rules), settings.clone(), upstream.clone()));
    }

    /// Whether the gateway is stopping.
    pub fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Connections at this moment.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Takes a listener to the thread that is to accept from it: of the crew, so that a connection which stays there crosses no other. `secure`
    /// says that it speaks TLS.
    ///
    /// # Errors
    /// The operating system does not let that thread wait for it.
    pub fn door(&self, listener: TcpListener, secure: bool) -> io::Result<Door> {
        let Some(crew) = &self.crew else { return Ok(Door { listener, secure, hand: None }) };
        let hand = crew.post().hand;
        let listener = listener.into_std()?;
        let _there = crew.hand(hand).enter();
        Ok(Door { listener: TcpListener::from_std(listener)?, secure, hand: Some(hand) })
    }

    /// Accepts stations until `stop` is done, then ends all connections with 1001, one after the other, and returns when they are gone or
    /// the drain limit has passed. Several doors may be served at a time.
    ///
    /// # Errors
    /// [`Broken`]: accepting broke off. The gateway has said that it is stopping and has ended all connections, as at a stop.
    pub async fn serve(self: &Arc<Self>, door: Door, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), Broken> {
        if let Some(most) = self.admission.cut_by_descriptors() {
            tracing::warn!(
                connections = most,
                "the limit of open files allows fewer connections than stations.max_connections: raise it (LimitNOFILE=, ulimit -n)"
            );
        }
        let (gateway, hand) = (Arc::clone(self), self.crew.as_ref().zip(door.hand).map(|(crew, hand)| crew.hand(hand)));
        let accepting = async move { gateway.accept(door, stop).await };
        let accepting = match hand {
            None => tokio::spawn(accepting),
            Some(hand) => hand.spawn(accepting),
        };
        let accepted = accepting.await.map_err(|_| Broken);
        if accepted.is_err() {
            // The port is shut, so nobody is to send stations here.
            self.drain.send_replace(true);
            tracing::error!("letting stations in broke off: the gateway cannot go on");
        }
        self.part().await;
        accepted
    }

    /// Accepts stations until `stop` is done.
    async fn accept(self: &Arc<Self>, door: Door, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut beat = interval(BEAT);
        loop {
            let next = async {
                let place = match &self.crew {
                    Some(crew) => crew.place().await,
                    None => None,
                };
                (door.listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                next = next => next,
                _ = beat.tick() => {
                    if let Some(bytes) = self.admission.measure() {
                        self.metrics.resident(bytes);
                    }
                    continue;
                }
                () = &mut stop => break,
            };
            match accepted {
                Ok((socket, peer)) => match self.admission.admit(peer.ip(), Instant::now()) {
                    Ok(seat) => self.welcome(socket, &door, seat, place),
                    // Nobody shakes hands with a crowd: a station that waits for TLS sees the connection end.
                    Err(away) if door.secure => self.tell(Network::of(peer.ip()), &away),
                    Err(away) => self.shed(socket, Network::of(peer.ip()), away),
                },
                // It went before it was let in; there may be many of those.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(_) => {
                    // Out of file descriptors, most likely: let some connections end before the next try.
                    self.metrics.accept_failed();
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        // First of all nobody sends new stations here.
        self.drain.send_replace(true);
    }

    /// Gives an accepted connection a task of its own, on the thread where the fewest live. `place` is given back when it is begun with.
    fn welcome(self: &Arc<Self>, socket: TcpStream, door: &Door, seat: Seat, place: Option<OwnedSemaphorePermit>) {
        let (gateway, secure) = (Arc::clone(self), door.secure);
        let Some((crew, here)) = self.crew.as_ref().zip(door.hand) else {
            tokio::spawn(gateway.arrive(socket, secure, seat));
            return;
        };
        let post = crew.post();
        // A socket wakes the runtime that it was made on, so it is made anew where it is awaited.
        let moved = if post.hand == here { Ok(socket) } else { crew.moved(socket, post.hand) };
        let Ok(socket) = moved else { return self.metrics.accept_failed() };
        let hand = crew.hand(post.hand);
        hand.spawn(async move {
            drop(place);
            gateway.arrive(socket, secure, seat).await;
            drop(post);
        });
    }

    /// Whether new stations are told to come later because the central system is away.
    pub fn csms_is_away(&self) -> bool {
        self.course().dialler.is_away()
    }

    /// Ends all connections, spread over most of the time that there is.
    async fn part(&self) {
        let (start, limit) = (Instant::now(), self.course().settings.drain_limit);
        let lines = self.live.all();
        let many = u32::try_from(lines.len()).unwrap_or(u32::MAX).max(1);
        let apart = (limit.mul_f64(0.6) / many).min(APART);
        for (line, number) in lines.into_iter().zip(0..) {
            sleep_until(start + apart * number).await;
            // What is outstanding then may take a fifth of the time, and the closing handshake what is left.
            line.finish(Instant::now() + limit.mul_f64(0.2));
        }
        let _ = timeout_at(start + limit, self.admission.empty()).await;
    }

    /// Turns somebody away for whom there is no place: at once where the whole request is there already; else, if few are being told, once it has
    /// come; else without waiting for it. Counted before it is told, so that whoever was told finds it counted.
    fn shed(&self, socket: TcpStream, network: Network, away: Away) {
        self.tell(network, &away);
        let (Ok(mut socket), Some(refusal)) = (socket.into_std(), away.refusal) else { return };
        if handshake::refuse_at_once(&mut socket, refusal) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.polite).try_acquire_owned() else { return handshake::refuse_unheard(&mut socket, refusal) };
        let Ok(socket) = TcpStream::from_std(socket) else { return };
        tokio::spawn(async move {
            let _ = timeout(REFUSING, handshake::refuse(&mut Socket::Plain(socket), refusal)).await;
            drop(turn);
        });
    }

    /// Counts and logs a refusal.
    fn tell(&self, network: Network, away: &Away) {
        self.metrics.turned_away(away.code);
        if !self.logged.take(Instant::now()) {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unlogged = self.unlogged.swap(0, Ordering::Relaxed);
        tracing::info!(%network, reason = away.code, status = away.refusal.map(|r| r.0), unlogged, "connection refused");
    }

    /// Refuses a connection.
    async fn turn_away(&self, socket: &mut Socket, network: Network, away: Away) {
        if away == Away::GONE {
            return;
        }
        self.tell(network, &away);
        if let Some(refusal) = away.refusal {
            let _ = timeout(REFUSING, handshake::refuse(socket, refusal)).await;
        }
    }
}
