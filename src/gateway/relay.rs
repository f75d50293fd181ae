//! One station's pair of sockets: one task, one loop. Bytes are read, their messages put through the session, recorded and written, in that
//! order (I4); each hop is kept alive by its own pings; what ends on one side ends on the other.
//!
//! All messages that one read brought are worked off before anything is written, so that each side gets one write; only what must wait for the
//! disk lets the rest go first. A side that does not take what is written to it is waited for: meanwhile nothing more is read that could
//! grow its queue beyond its bound, and after some time the connection ends.

mod chance;
mod hop;
mod loan;
mod outbox;

pub(super) use hop::Hop;

use super::{Ending, Gateway};
use crate::clock;
use crate::identity::Epoch;
use crate::journal::Ticket;
use crate::ocpp::{Side, Version};
use crate::session::{Session, Step};
use crate::store::StoreError;
use crate::websocket::{Message, Violation};
use loan::Loan;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

/// Facts on their way to the disk for one connection, before the next frame waits for them.
const MAX_TICKETS: usize = 256;
/// Both sides, the station's first.
const SIDES: [Side; 2] = [Side::Station, Side::Csms];

/// What passed, for the log line at the end.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Traffic {
    /// Messages from the station and from the central system.
    pub(super) frames: [u64; 2],
    /// Their bytes.
    pub(super) bytes: [u64; 2],
}

/// Why it is over, and the code that the peers are closed with.
type End = (Ending, u16);

/// What came out of waiting.
enum Event {
    Came(Side, Loan),
    Lost(Side),
    Tick,
    Displaced,
    Drain,
}

/// One station's relay.
struct Relay<'a> {
    gateway: &'a Gateway,
    version: Version,
    station: &'a str,
    session: Session,
    /// By side.
    hops: [Hop; 2],
    /// The side that was heard last: the other one comes first.
    last: Side,
    tickets: Vec<Ticket>,
    traffic: Traffic,
}

/// Relays until either side ends, and says why it ended.
pub(super) fn run<'a>(
    gateway: &'a Gateway,
    version: Version,
    station: &'a str,
    hop_to_station: Hop,
    hop_to_csms: Hop,
    displaced: Arc<Notify>,
) -> impl Future<Output = (Ending, Traffic)> + Send + 'a {
    let session = Session::new(version, station, Arc::clone(&gateway.rules), gateway.custody.keys.clone());
    let hops = [hop_to_station, hop_to_csms];
    let mut relay =
        Relay { gateway, version, station, session, hops, last: Side::Csms, tickets: Vec::new(), traffic: Traffic::default() };
    async move {
        let (ending, code) = relay.until_it_ends(&displaced).await;
        // What happens once is on the heap, so that the loop's own state, which stays as long as the connection, is small.
        Box::pin(relay.end(code)).await;
        (ending, relay.traffic)
    }
}

impl Relay<'_> {
    async fn until_it_ends(&mut self, displaced: &Notify) -> End {
        let mut drain = self.gateway.drain.subscribe();
        let mut draining = pin!(drain.wait_for(|draining| *draining));
        let mut displaced = pin!(displaced.notified());
        for hop in &mut self.hops {
            hop.next_ping = Instant::now() + jittered(self.gateway.settings.ping_interval);
        }
        let mut alarm = pin!(sleep_until(self.next_look()));
        loop {
            let event = poll_fn(|task| {
                if let Poll::Ready(event) = self.poll_sockets(task) {
                    return Poll::Ready(event);
                }
                self.set(alarm.as_mut());
                if alarm.as_mut().poll(task).is_ready() {
                    return Poll::Ready(Event::Tick);
                }
                if displaced.as_mut().poll(task).is_ready() {
                    return Poll::Ready(Event::Displaced);
                }
                draining.as_mut().poll(task).map(|_| Event::Drain)
            })
            .await;
            let done = match event {
                Event::Came(from, bytes) => self.came(from, bytes).await,
                Event::Lost(side) => Err(lost(side)),
                Event::Tick => {
                    let looked = self.look_after_both();
                    alarm.as_mut().reset(self.next_look());
                    looked
                }
                Event::Displaced => Err((Ending::Displaced, 1001)),
                Event::Drain => Err((Ending::Draining, 1001)),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn end(&mut self, code: u16) {
        // Facts that were let through are kept even if nobody will wait for their acknowledgement.
        for ticket in self.tickets.drain(..) {
            let _ = ticket.durable().await;
        }
        let [station, csms] = &mut self.hops;
        tokio::join!(station.part(code), csms.part(code));
    }

    /// Writes what waits, and reads from the sides that may be read from, in turns.
    fn poll_sockets(&mut self, task: &mut Context<'_>) -> Poll<Event> {
        for side in SIDES {
            if let Poll::Ready(Err(_)) = self.hops[side as usize].poll_write(task) {
                return Poll::Ready(Event::Lost(side));
            }
        }
        // Half of the bound, so that one more message does not cross it.
        let high = self.gateway.settings.max_queue / 2;
        if self.hops.iter().any(|hop| hop.outbox.waiting() > high) {
            return Poll::Pending;
        }
        for side in [self.last.other(), self.last] {
            match self.hops[side as usize].poll_read(task) {
                Poll::Ready(Ok(bytes)) => {
                    self.last = side;
                    return Poll::Ready(Event::Came(side, bytes));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Lost(side)),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Works off what came from one side, and writes what comes of it.
    async fn came(&mut self, from: Side, mut bytes: Loan) -> Result<(), End> {
        if bytes.is_empty() {
            self.hops[from as usize].deaf = true;
            return Err(lost(from));
        }
        self.hops[from as usize].heard = Instant::now();
        let (gateway, mut input) = (self.gateway, &mut bytes[..]);
        loop {
            let hop = &mut self.hops[from as usize];
            let (message, length) = match hop.reader.next(&mut input) {
                Ok(Some(Message::Text(text))) => (Ok(text), text.len()),
                Ok(Some(Message::Binary(bytes))) => (Err(bytes), bytes.len()),
                Ok(Some(Message::Ping(payload))) => {
                    hop.outbox.pong(payload).map_err(|_| lost(from))?;
                    continue;
                }
                Ok(Some(Message::Pong)) => continue,
                Ok(Some(Message::Close(code))) => {
                    hop.closed = Some(code);
                    return Err((Ending::closed_by(from), code.unwrap_or(1005)));
                }
                Ok(None) => break,
                Err(violation) => {
                    hop.deaf = true;
                    return Err(broken(violation));
                }
            };
            self.traffic.frames[from as usize] += 1;
            self.traffic.bytes[from as usize] += length as u64;
            let step = match message {
                Ok(text) => self.session.on_text(from, text, clock::now(), &gateway.custody.vault),
                Err(bytes) => self.session.on_frame(from, bytes, clock::now(), &gateway.custody.vault),
            };
            self.take(step).await?;
        }
        self.write().await
    }

    /// Carries out a step: record, then put where it will be written (I4). An error ends the connection: nothing was passed on that should
    /// not have been.
    async fn take(&mut self, step: Step) -> Result<(), End> {
        let gateway = self.gateway;
        if let Some(seen) = &step.seen {
            gateway.metrics.seen(self.version, seen);
        }
        let vault = &gateway.custody.vault;
        if !step.sightings.is_empty() {
            self.waiting_for(vault.record(&step.sightings)).await?.map_err(|error| {
                tracing::error!(reason = error.code(), "the vault cannot record; nothing is passed on");
                STORE_FAILED
            })?;
        }
        if !step.facts.is_empty() {
            self.tickets.push(gateway.custody.journal.submit(self.station, self.version, clock::now(), step.facts));
        }
        if !step.pins.is_empty() {
            self.waiting_for(Box::pin(pin_all(gateway, self.station, &step.pins))).await?.map_err(|_| STORE_FAILED)?;
        }
        if step.settles || self.tickets.len() >= MAX_TICKETS {
            let mut tickets = std::mem::take(&mut self.tickets);
            for ticket in tickets.drain(..) {
                self.waiting_for(ticket.durable()).await?.map_err(|error| {
                    tracing::error!(reason = error.code(), "the journal cannot keep facts; nothing is acknowledged");
                    STORE_FAILED
                })?;
            }
            // With its room, for the next ones.
            self.tickets = tickets;
        }
        for (to, frame) in step.send {
            gateway.metrics.sent(to, frame.as_str().len());
            self.hops[to as usize].outbox.frame(&frame).map_err(|_| lost(to))?;
        }
        Ok(())
    }

    /// Awaits the store. If that takes a while, what earlier messages came to is written first.
    async fn waiting_for<T>(&mut self, stored: impl Future<Output = T>) -> Result<T, End> {
        let mut stored = pin!(stored);
        if let Poll::Ready(done) = poll_fn(|task| Poll::Ready(stored.as_mut().poll(task))).await {
            return Ok(done);
        }
        self.write().await?;
        Ok(stored.await)
    }

    /// Writes what the sockets take at once; the rest waits, within its bound.
    async fn write(&mut self) -> Result<(), End> {
        let max_queue = self.gateway.settings.max_queue;
        poll_fn(|task| {
            for side in SIDES {
                let hop = &mut self.hops[side as usize];
                if let Poll::Ready(Err(_)) = hop.poll_write(task) {
                    return Poll::Ready(Err(lost(side)));
                }
                if hop.outbox.waiting() > max_queue {
                    return Poll::Ready(Err(SLOW));
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Looks whether either side is silent or slow, and pings those whose time has come. A ping that would stand behind other bytes says
    /// nothing, so it is left out.
    fn look_after_both(&mut self) -> Result<(), End> {
        let settings = &self.gateway.settings;
        let now = Instant::now();
        for side in SIDES {
            let hop = &mut self.hops[side as usize];
            if hop.outbox.since.is_some_and(|since| now >= since + settings.write_patience) {
                return Err(SLOW);
            }
            if now >= hop.heard + settings.idle_limit {
                return Err((Ending::silent(side), 1001));
            }
            if now >= hop.next_ping {
                hop.next_ping = now + jittered(settings.ping_interval);
                if hop.outbox.is_empty() {
                    hop.outbox.ping().map_err(|_| lost(side))?;
                }
            }
        }
        Ok(())
    }

    /// When [`Relay::look_after_both`] has something to do, if nothing more is heard. What is heard later only makes that look come early.
    fn next_look(&self) -> Instant {
        let settings = &self.gateway.settings;
        let [station, csms] = self.hops.each_ref().map(|hop| hop.next_ping.min(hop.heard + settings.idle_limit));
        self.slow_at().map_or(station.min(csms), |at| at.min(station).min(csms))
    }

    fn slow_at(&self) -> Option<Instant> {
        let since = self.hops.iter().filter_map(|hop| hop.outbox.since).min()?;
        Some(since + self.gateway.settings.write_patience)
    }

    /// One alarm for all that a connection waits for; it is set anew by ticks, and when a peer begins to be slow.
    fn set(&self, alarm: Pin<&mut Sleep>) {
        if let Some(at) = self.slow_at().filter(|at| *at < alarm.deadline()) {
            alarm.reset(at);
        }
    }
}

/// Remembers the transactions that began and lets those go that ended.
async fn pin_all(gateway: &Gateway, station: &str, pins: &[(String, Option<Epoch>)]) -> Result<(), StoreError> {
    for (transaction, epoch) in pins {
        match epoch {
            Some(epoch) => gateway.custody.vault.pin(station, transaction, *epoch, clock::now()).await?,
            None => gateway.custody.vault.unpin(station, transaction).await?,
        }
    }
    Ok(())
}

const STORE_FAILED: End = (Ending::StoreFailed, 1011);
const SLOW: End = (Ending::Slow, 1008);

fn lost(side: Side) -> End {
    (Ending::lost(side), 1006)
}

fn broken(violation: Violation) -> End {
    let ending = match violation {
        Violation::TooBig => Ending::TooBig,
        Violation::NotUtf8 => Ending::NotUtf8,
        _ => Ending::Protocol,
    };
    (ending, violation.close_code())
}

/// A little less than the interval, differently each time: connections that began together do not ping together.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.1 * chance::part())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_of_a_connection_is_small() {
        fn size<T>(_: impl FnOnce(&'static Gateway, &'static str, Hop, Hop, Arc<Notify>) -> T) -> usize {
            size_of::<T>()
        }
        let bytes = size(|gateway, station, to_station, to_csms, displaced| run(gateway, Version::V16, station, to_station, to_csms, displaced));
        println!("session {} hop {} step {} loop {bytes}", size_of::<Session>(), size_of::<Hop>(), size_of::<Step>());
        assert!(bytes <= 2560, "{bytes}");
    }
}
