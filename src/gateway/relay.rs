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

use super::live::{Order, Place};
use super::{Course, Ending, Gateway};
use crate::clock;
use crate::identity::Epoch;
use crate::journal::Ticket;
use crate::ocpp::{Side, Version};
use crate::session::{Pace, Session, Step};
use crate::store::StoreError;
use crate::websocket::{Message, Violation};
use loan::Loan;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
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
    Told(Order),
}

/// One station's relay.
struct Relay<'a> {
    gateway: &'a Gateway,
    course: &'a Course,
    version: Version,
    station: &'a str,
    place: &'a Place,
    session: Session,
    /// By side.
    hops: [Hop; 2],
    /// The side that was heard last: the other one comes first.
    last: Side,
    tickets: Vec<Ticket>,
    traffic: Traffic,
    /// Until when the station is not read, because it has sent faster than it may.
    rest: Option<Instant>,
    /// When the connection is to end at the latest; before, it ends as soon as no CALL is outstanding.
    finish: Option<Instant>,
    /// When the CALL that waits longest has waited long enough, or one before it had.
    due: Option<Instant>,
}

/// Relays until either side ends, and says why it ended.
pub(super) fn run<'a>(
    gateway: &'a Gateway,
    course: &'a Course,
    version: Version,
    station: &'a str,
    hop_to_station: Hop,
    hop_to_csms: Hop,
    place: &'a Place,
) -> impl Future<Output = (Ending, Traffic)> + Send + 'a {
    let session = Session::new(version, station, Arc::clone(&course.rules), gateway.custody.keys.clone());
    let mut relay = Relay {
        gateway,
        course,
        version,
        station,
        place,
        session: session.within(course.settings.frames),
        hops: [hop_to_station, hop_to_csms],
        last: Side::Csms,
        tickets: Vec::new(),
        traffic: Traffic::default(),
        rest: None,
        finish: None,
        due: None,
    };
    async move {
        let (ending, code) = relay.until_it_ends().await;
        // What happens once is on the heap, so that the loop's own state, which stays as long as the connection, is small.
        Box::pin(relay.end(code)).await;
        (ending, relay.traffic)
    }
}

impl Relay<'_> {
    async fn until_it_ends(&mut self) -> End {
        let place = self.place;
        for hop in &mut self.hops {
            hop.next_ping = Instant::now() + jittered(self.course.settings.ping_interval);
        }
        let mut alarm = pin!(sleep_until(self.next_look()));
        let mut order = pin!(place.order());
        loop {
            if self.finish.is_some() && self.session.is_idle() {
                return DRAINED;
            }
            let event = poll_fn(|task| {
                // First, for sockets may have something for ever.
                if let Poll::Ready(told) = order.as_mut().poll(task) {
                    return Poll::Ready(Event::Told(told));
                }
                if let Poll::Ready(event) = self.poll_sockets(task) {
                    return Poll::Ready(event);
                }
                self.set(alarm.as_mut());
                alarm.as_mut().poll(task).map(|()| Event::Tick)
            })
            .await;
            let done = match event {
                // For the same reason the alarm is not only heard when it rings.
                Event::Came(from, bytes) => match self.came(from, bytes).await {
                    Ok(()) if self.hops[from as usize].heard >= alarm.deadline() => {
                        let looked = self.look_around().await;
                        alarm.as_mut().reset(self.next_look());
                        looked
                    }
                    done => done,
                },
                Event::Lost(side) => Err(lost(side)),
                Event::Tick => {
                    self.forgive(Instant::now().saturating_duration_since(alarm.deadline()));
                    let looked = self.look_around().await;
                    alarm.as_mut().reset(self.next_look());
                    looked
                }
                Event::Told(told) => {
                    order.set(place.order());
                    self.obey(told)
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Who was not looked after for a while (the process was stopped, or had no processor) was not heard either: nobody is silent or slow for that.
    fn forgive(&mut self, late: Duration) {
        if late > self.course.settings.ping_interval / 2 {
            let now = Instant::now();
            for hop in &mut self.hops {
                hop.heard = now;
                hop.outbox.since = hop.outbox.since.map(|_| now);
            }
        }
    }

    /// Does what others have told this connection to do.
    fn obey(&mut self, order: Order) -> Result<(), End> {
        match order {
            Order::Ping => self.hops[Side::Station as usize].outbox.ping().map_err(|_| lost(Side::Station)),
            Order::Finish(by) => {
                self.finish = Some(by);
                Ok(())
            }
            Order::Leave(why) => Err((why, 1001)),
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
        let high = self.course.settings.max_queue / 2;
        if self.hops.iter().any(|hop| hop.outbox.waiting() > high) {
            return Poll::Pending;
        }
        for side in [self.last.other(), self.last] {
            if side == Side::Station && self.rest.is_some() {
                continue;
            }
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
            let hop = &mut self.hops[from as usize];
            (hop.deaf, hop.ended) = (true, true);
            return Err(lost(from));
        }
        self.hops[from as usize].heard = Instant::now();
        if from == Side::Station {
            self.place.heard();
        }
        let (gateway, mut input) = (self.gateway, &mut bytes[..]);
        loop {
            let hop = &mut self.hops[from as usize];
            let (message, length) = match hop.reader.next(&mut input) {
                Ok(Some(Message::Text(text))) => (Ok(text), text.len()),
                Ok(Some(Message::Binary(bytes))) => (Err(bytes), bytes.len()),
                Ok(Some(Message::Ping(payload))) => {
                    hop.outbox.pong(payload).map_err(|_| lost(from))?;
                    self.pay(from)?;
                    if self.rests(from, input) {
                        break;
                    }
                    continue;
                }
                Ok(Some(Message::Pong)) => {
                    self.pay(from)?;
                    if self.rests(from, input) {
                        break;
                    }
                    continue;
                }
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
            let mut step = match message {
                Ok(text) => self.session.on_text(from, text, clock::now(), &gateway.custody.vault),
                Err(bytes) => self.session.on_binary(from, bytes, clock::now(), &gateway.custody.vault),
            };
            self.keep(step.pace)?;
            self.take(&mut step).await?;
            if self.rests(from, input) {
                break;
            }
        }
        for _ in 0..self.hops[from as usize].reader.pieces() {
            self.pay(from)?;
        }
        if self.due.is_none() && !self.session.is_idle() {
            self.due = self.session.left_to_wait().map(|left| Instant::now() + left);
        }
        self.write().await
    }

    /// Whether a side is to rest. What came with it is read when that side is read again.
    fn rests(&mut self, from: Side, rest: &[u8]) -> bool {
        let rests = from == Side::Station && self.rest.is_some();
        if rests {
            self.hops[from as usize].later(rest);
        }
        rests
    }

    /// Has a side pay for a frame that is no message.
    fn pay(&mut self, from: Side) -> Result<(), End> {
        let pace = self.session.on_piece(from, clock::now());
        self.keep(pace)
    }

    /// Keeps a station to the pace that it may go at.
    fn keep(&mut self, pace: Pace) -> Result<(), End> {
        match pace {
            Pace::Go => {}
            Pace::Rest(pause) => self.rest = Some(Instant::now() + pause),
            Pace::Cut => return Err((Ending::Flood, 1008)),
        }
        Ok(())
    }

    /// Carries out a step: record, then put where it will be written (I4). An error ends the connection: nothing was passed on that should
    /// not have been.
    async fn take(&mut self, step: &mut Step) -> Result<(), End> {
        let gateway = self.gateway;
        if let Some(seen) = &step.seen {
            gateway.metrics.seen(self.version, seen);
        }
        let vault = &gateway.custody.vault;
        if !step.sightings.is_empty() {
            let newcomers = self.waiting_for(pin!(vault.record(&step.sightings))).await?.map_err(|error| {
                tracing::error!(reason = error.code(), "the vault cannot record; nothing is passed on");
                STORE_FAILED
            })?;
            self.session.owe(newcomers);
        }
        // Before the facts: a retry after a crash must not carry another code than the fact that is there.
        if !step.pins.is_empty() {
            let pinned = Box::pin(pin_all(gateway, self.station, &step.pins));
            self.waiting_for(pin!(pinned)).await?.map_err(|_| STORE_FAILED)?;
        }
        if !step.facts.is_empty() {
            self.tickets.push(gateway.custody.journal.submit(self.station, self.version, clock::now(), std::mem::take(&mut step.facts)));
        }
        if step.settles || self.tickets.len() >= MAX_TICKETS {
            let mut tickets = std::mem::take(&mut self.tickets);
            for ticket in tickets.drain(..) {
                self.waiting_for(pin!(ticket.durable())).await?.map_err(|error| {
                    tracing::error!(reason = error.code(), "the journal cannot keep facts; nothing is acknowledged");
                    STORE_FAILED
                })?;
            }
            // With its room, for the next ones.
            self.tickets = tickets;
        }
        for (to, frame) in step.send.drain(..) {
            gateway.metrics.sent(to, frame.as_binary().unwrap_or(frame.as_str().as_bytes()).len());
            self.hops[to as usize].outbox.frame(&frame).map_err(|_| lost(to))?;
        }
        Ok(())
    }

    /// Awaits the store. If that takes a while, what earlier messages came to is written first.
    async fn waiting_for<T>(&mut self, mut stored: Pin<&mut impl Future<Output = T>>) -> Result<T, End> {
        if let Poll::Ready(done) = poll_fn(|task| Poll::Ready(stored.as_mut().poll(task))).await {
            return Ok(done);
        }
        self.write().await?;
        Ok(stored.await)
    }

    /// Writes what the sockets take at once; the rest waits, within its bound.
    async fn write(&mut self) -> Result<(), End> {
        let max_queue = self.course.settings.max_queue;
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

    /// Does what time asks for: gives up CALLs that wait too long, ends what is silent, slow or late, and pings those whose time has come.
    async fn look_around(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.finish.is_some_and(|by| now >= by) {
            return Err(DRAINED);
        }
        if self.rest.is_some() {
            // Who is not read cannot be heard.
            self.hops[Side::Station as usize].heard = now;
            self.rest = self.rest.filter(|until| now < *until);
        }
        for mut step in self.session.on_time(clock::now()) {
            self.take(&mut step).await?;
        }
        self.due = self.session.left_to_wait().map(|left| now + left);
        self.look_after_both(now)
    }

    /// A ping that would stand behind other bytes says nothing, so it is left out.
    fn look_after_both(&mut self, now: Instant) -> Result<(), End> {
        let settings = &self.course.settings;
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

    /// When [`Relay::look_around`] has something to do, if nothing more is heard. What is heard later only makes that look come early.
    fn next_look(&self) -> Instant {
        let settings = &self.course.settings;
        let [station, csms] = self.hops.each_ref().map(|hop| hop.next_ping.min(hop.heard + settings.idle_limit));
        self.sooner().map_or(station.min(csms), |at| at.min(station).min(csms))
    }

    /// What is not always awaited: the end of a rest, of a peer's time to read, of a CALL's to be answered, of the connection's to finish.
    fn sooner(&self) -> Option<Instant> {
        self.slow_at().into_iter().chain(self.rest).chain(self.finish).chain(self.due).min()
    }

    fn slow_at(&self) -> Option<Instant> {
        let since = self.hops.iter().filter_map(|hop| hop.outbox.since).min()?;
        Some(since + self.course.settings.write_patience)
    }

    /// One alarm for all that a connection waits for: it is set anew when it has rung, and when something comes up that is sooner.
    fn set(&self, alarm: Pin<&mut Sleep>) {
        if let Some(at) = self.sooner().filter(|at| *at < alarm.deadline()) {
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
const DRAINED: End = (Ending::Draining, 1001);

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
        fn size<T>(_: impl FnOnce(&'static Gateway, &'static Course, &'static str, Hop, Hop, &'static Place) -> T) -> usize {
            size_of::<T>()
        }
        let bytes = size(|gateway, course, station, to_station, to_csms, place| {
            run(gateway, course, Version::V16, station, to_station, to_csms, place)
        });
        println!("session {} hop {} step {} loop {bytes}", size_of::<Session>(), size_of::<Hop>(), size_of::<Step>());
        assert!(bytes <= 2336, "{bytes}");
    }
}
