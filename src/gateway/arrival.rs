//! A station's way in: from an accepted socket, through its handshake and the central system's, to the place among the live connections
//! from which it is relayed.
//!
//! Nobody is displaced by somebody who is not let in: a newcomer under an id that is connected already takes the place of the old
//! connection only once the central system has accepted it. The old one is pinged first where its life matters:
//! - the central system refuses the newcomer, as those do that allow one connection per id: if the old one is dead it is ended, and the
//!   central system is asked once more;
//! - the id has changed hands too often in the last minute (two stations with one id), or the configuration does not take the central
//!   system's word: an old one that answers stays, and the newcomer is told when to come again.

use super::admission::{Away, Seat};
use super::authenticate::{Channel, Identified};
use super::guard::{self, Refused};
use super::handshake::{self, Offered, Request};
use super::live::{Line, Place};
use super::relay::{self, Hop, Traffic};
use super::socket::Socket;
use super::upstream::{Call, Dialled, NoUpstream};
use super::{Course, Ending, Gateway, chance};
use crate::clock;
use crate::metrics::ConnectionGauge;
use crate::ocpp::Version;
use crate::tls::Trouble;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// How long an old connection may take to end, so that the central system hears of its end before it hears from the new one.
const PARTING: Duration = Duration::from_secs(1);

/// How a newcomer under a connected id shows that it may take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Takeover {
    /// The central system accepts it.
    #[default]
    Accepted,
    /// The old connection does not answer a ping: where the central system lets anybody in.
    Silent,
}

/// A station and the central system are both ready.
struct Opened {
    request: Request,
    version: Version,
    /// The subprotocol that the station is told, in its own spelling.
    echoed: Option<String>,
    csms: Dialled,
    place: Place,
}

impl Gateway {
    /// Serves an accepted connection until it ends. `secure` says that it came in where TLS is spoken.
    pub(super) async fn arrive(self: Arc<Self>, socket: TcpStream, secure: bool, mut seat: Seat) {
        let _ = socket.set_nodelay(true);
        // A change of the configuration is for those that come later.
        let course = self.course();
        let patience = course.settings.handshake_patience;
        // One deadline for both handshakes.
        let deadline = Instant::now() + patience;
        // What is needed only until the connection stands is on the heap, so that the task of one that stands is small.
        let opening = Box::pin(async {
            let mut drain = self.drain.subscribe();
            let secured = tokio::select! {
                secured = self.entrance.secure(socket, secure, patience) => secured.map_err(Trouble::code),
                _ = drain.wait_for(|draining| *draining) => Err("draining"),
            };
            let (mut socket, channel) = match secured {
                Ok(secured) => secured,
                // There is nobody who could read an answer.
                Err(code) => {
                    self.tell(seat.network, &Away { code, refusal: None });
                    return None;
                }
            };
            self.metrics.shaken(channel.tls);
            let opened = tokio::select! {
                opened = self.open(&course, &mut socket, &channel, &mut seat, deadline) => opened,
                _ = drain.wait_for(|draining| *draining) => Err(Away::busy("draining")),
            };
            seat.shaken();
            let opened = match opened {
                Ok(opened) => Box::new(opened),
                Err(away) => return Some((socket, Err(away))),
            };
            // The first byte of the upgrade is the last moment to be refused: from here on nothing interrupts it.
            let accepting = handshake::accept(&mut socket, &opened.request.key, opened.echoed.as_deref());
            let accepted = matches!(timeout(patience, accepting).await, Ok(Ok(())));
            Some((socket, if accepted { Ok(opened) } else { Err(Away::GONE) }))
        });
        match opening.await {
            None => {}
            Some((socket, Ok(opened))) => self.run(&course, socket, opened, &seat).await,
            Some((mut socket, Err(away))) => Box::pin(self.turn_away(&mut socket, seat.network, away)).await,
        }
    }

    async fn open(
        &self,
        course: &Course,
        socket: &mut Socket,
        channel: &Channel,
        seat: &mut Seat,
        deadline: Instant,
    ) -> Result<Opened, Away> {
        let patience = deadline.saturating_duration_since(Instant::now());
        let mut request = handshake::read(socket, patience, course.settings.paths).await?;
        self.admission.shake(&request.station, seat.network, Instant::now())?;
        if request.asked && request.offered.is_empty() {
            self.tell(seat.network, &Away { code: "no_common_version", refusal: None });
            let declining = handshake::decline(socket, &request.key);
            let _ = timeout(course.settings.handshake_patience, declining).await;
            return Err(Away::GONE);
        }
        let network = seat.network.to_string();
        let identified = timeout_at(deadline, self.entrance.authenticate(&mut request, channel, &network)).await;
        let Identified { authorization, proven } = identified.unwrap_or(Err(guard::SLOW)).map_err(Refused::away)?;
        request.authorization = authorization;
        seat.shaken();
        let offer = course.offer(&request);
        // Whoever has gone by itself is not dialled for, and displaces nobody.
        let old = self.live.of(&request.station);
        let csms = tokio::select! {
            dialled = self.reach(course, &request, &offer, old.as_deref(), proven) => dialled?,
            () = socket.gone() => return Err(Away::GONE),
        };
        let chosen = if course.dialler.offers_versions() { csms.version } else { Some(offer[0]) };
        // A central system that names no version speaks the one that was offered first.
        let version = chosen.unwrap_or(offer[0]);
        // In the station's own spelling; one that named none is named none, and neither is one whose central system named none.
        let echoed = request.offered.iter().find(|offered| Some(offered.version) == chosen).map(|offered| offered.name.clone());
        let place = self.live.enter(&request.station);
        // Most central systems close the old one themselves when they accept the new one: that it is gone already changes nothing.
        let gone_before = old.is_some_and(|old| old.leave(Ending::Displaced));
        self.count_takeover(&request.station, place.took_over || gone_before);
        if let Some(old) = &place.displaced {
            old.ends(PARTING).await;
        }
        if self.is_draining() {
            place.finish(Instant::now());
        }
        Ok(Opened { request, version, echoed, csms, place })
    }

    fn count_takeover(&self, station: &str, took_over: bool) {
        if took_over {
            self.metrics.displaced();
            self.admission.took_over(station, Instant::now());
        }
    }

    /// Dials the central system for a station, with regard to an older connection of the same one.
    async fn reach(
        &self,
        course: &Course,
        request: &Request,
        offer: &[Version],
        old: Option<&Line>,
        proven: bool,
    ) -> Result<Dialled, Away> {
        let dial = async || {
            let nonce = chance::bytes().ok_or(Away::busy("no_random_bytes"))?;
            let call = Call { raw_id: &request.raw_id, authorization: request.authorization.as_deref(), offer, nonce };
            Ok::<_, Away>(course.dialler.dial(&call).await)
        };
        let Some(old) = old else { return dial().await?.map_err(NoUpstream::away) };
        let flapping = !self.admission.may_take_over(&request.station, Instant::now());
        let patience = course.settings.probe_patience;
        if flapping || (course.settings.takeover == Takeover::Silent && !proven) {
            if old.answers(patience).await {
                return Err(Away::with(if flapping { "flapping" } else { "still_connected" }, 429, "Too Many Requests"));
            }
            old.leave(Ending::StationSilent);
            old.ends(PARTING).await;
        } else if proven {
            // It is who it says: the old one goes first, so that the central system never sees two.
            self.count_takeover(&request.station, old.leave(Ending::Displaced));
            old.ends(PARTING).await;
        }
        match dial().await? {
            // 401 is about the credentials, 404 about the id: no older connection is in the way.
            Err(NoUpstream::Refused(status)) if ![401, 404].contains(&status) && !old.has_ended() => {
                if old.answers(patience).await {
                    return Err(NoUpstream::Refused(status).away());
                }
                old.leave(Ending::StationSilent);
                old.ends(PARTING).await;
                dial().await?.map_err(NoUpstream::away)
            }
            dialled => dialled.map_err(NoUpstream::away),
        }
    }

    /// Relays until the connection ends. Of the request only the name and what came behind it stay: the rest has credentials.
    fn run<'a>(&'a self, course: &'a Course, socket: Socket, opened: Box<Opened>, seat: &'a Seat) -> impl Future<Output = ()> + Send + 'a {
        let Opened { request, version, csms, place, .. } = *opened;
        let (name, rest) = (request.station.into_boxed_str(), request.rest);
        let (upward, early) = (csms.socket, csms.rest);
        async move {
            let number = place.number();
            let _gauge = ConnectionGauge::new(&self.metrics, version);
            // The station's id and its address never stand together in a log (R80): the connection has a number.
            tracing::info!(connection = number, network = %seat.network, version = version.number(), "connection opened");
            let began = clock::now();
            let station = Hop::server(socket, rest, course.settings.max_frame);
            let csms = Hop::client(upward, early, course.settings.max_frame);
            let (ending, traffic) = relay::run(self, course, version, &name, station, csms, &place).await;
            drop(place);
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
    }
}

impl Course {
    /// The versions to offer for a station, the best first: its own list; what is configured for it if it has none.
    fn offer(&self, request: &Request) -> Vec<Version> {
        let usual = self.settings.version_of(&request.station);
        let mut offer: Vec<_> = request.offered.iter().map(|Offered { version, .. }| *version).collect();
        if offer.is_empty() {
            offer.push(usual);
        } else if !self.dialler.offers_versions()
            && let Some(at) = offer.iter().position(|version| *version == usual)
        {
            // The choice is ours: what is configured, if the station speaks it.
            offer.swap(0, at);
        }
        offer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It stays for as long as the connection: what grows here grows a hundred thousand times.
    #[test]
    fn the_task_of_a_connection_is_small() {
        fn size<T>(_: impl FnOnce(Arc<Gateway>, TcpStream, bool, Seat) -> T) -> usize {
            size_of::<T>()
        }
        let bytes = size(Gateway::arrive);
        assert!(bytes <= 3328, "{bytes}");
    }
}
