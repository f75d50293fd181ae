//! One station's pair of sockets: one task, one loop. Each message is read, put through the session, recorded and written, in that
//! order (I4); each hop is kept alive by its own pings; what ends on one side ends on the other.

use super::live::{Order, Place};
use super::socket::Socket;
use super::{Ending, Gateway};
use crate::clock;
use crate::journal::Ticket;
use crate::ocpp::{Side, Version};
use crate::session::{Session, Step};
use crate::treat::Outgoing;
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// How long a peer may take to accept a frame before the connection is ended: memory must not grow behind a slow reader.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How long the closing handshake may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Facts on their way to the disk for one connection, before the next frame waits for them.
const MAX_TICKETS: usize = 256;

/// The WebSocket settings of both hops: small buffers that are allocated at once, bounded messages, nothing held back when writing.
fn settings(max_frame: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        // Restored identifiers may be longer than their codes.
        .max_write_buffer_size(4 * max_frame)
        .max_message_size(Some(max_frame))
        .max_frame_size(Some(max_frame))
}

/// A socket that takes only frames that have been through the treatment (I1), and the control frames of the WebSocket itself.
pub(super) struct Hop(WebSocketStream<Socket>);

impl Hop {
    /// The hop to a station: `rest` is what came after its upgrade request, `max_frame` the biggest message in bytes.
    pub(super) async fn server(socket: Socket, rest: Vec<u8>, max_frame: usize) -> Self {
        Self(WebSocketStream::from_partially_read(socket, rest, Role::Server, Some(settings(max_frame))).await)
    }

    /// The hop to the central system: `rest` is what came after its answer.
    pub(super) async fn client(socket: Socket, rest: Vec<u8>, max_frame: usize) -> Self {
        Self(WebSocketStream::from_partially_read(socket, rest, Role::Client, Some(settings(max_frame))).await)
    }

    async fn write(&mut self, frame: Outgoing) -> Result<(), Error> {
        self.push(Message::text(frame.into_text())).await
    }

    async fn ping(&mut self) -> Result<(), Error> {
        self.push(Message::Ping(Bytes::new())).await
    }

    async fn push(&mut self, message: Message) -> Result<(), Error> {
        timeout(WRITE_PATIENCE, self.0.send(message)).await.unwrap_or(Err(Error::ConnectionClosed))
    }

    async fn close(&mut self, code: u16, reason: &str) {
        // 1005, 1006 and 1015 must not be sent (RFC 6455 §7.4.1); a peer that went without a word is passed on as going away.
        let code = if matches!(code, 1005 | 1006 | 1015) || !(1000..5000).contains(&code) { 1001 } else { code };
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let closing = async {
            if self.0.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.0.next().await {}
            }
        };
        let _ = timeout(CLOSE_PATIENCE, closing).await;
    }
}

/// What passed, for the log line at the end.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Traffic {
    /// Messages from the station and from the central system.
    pub(super) frames: [u64; 2],
    /// Their bytes.
    pub(super) bytes: [u64; 2],
}

/// What came out of waiting.
enum Event {
    Came(Side, Option<Result<Message, Error>>),
    Tick,
    Told(Order),
    Late,
}

/// Returns at that moment; never without one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Relays until either side ends, and says why it ended.
pub(super) async fn run(
    gateway: &Gateway,
    version: Version,
    station_id: &str,
    mut station: Hop,
    mut csms: Hop,
    place: &Place,
) -> (Ending, Traffic) {
    let mut session = Session::new(version, station_id, Arc::clone(&gateway.rules), gateway.custody.keys.clone());
    let mut traffic = Traffic::default();
    let mut tickets: Vec<Ticket> = Vec::new();
    let mut tick = interval(gateway.settings.ping_interval);
    tick.tick().await;
    let mut heard = [Instant::now(); 2];
    // Set when the connection is to end as soon as no CALL is outstanding, and by then at the latest.
    let mut finish: Option<Instant> = None;
    let (ending, code) = loop {
        if finish.is_some() && session.is_idle() {
            break (Ending::Draining, 1001);
        }
        let event = tokio::select! {
            message = station.0.next() => Event::Came(Side::Station, message),
            message = csms.0.next() => Event::Came(Side::Csms, message),
            _ = tick.tick() => Event::Tick,
            order = place.order() => Event::Told(order),
            () = until(finish) => Event::Late,
        };
        match event {
            Event::Came(from, Some(Ok(message))) => {
                heard[from as usize] = Instant::now();
                if from == Side::Station {
                    place.heard();
                }
                let (custody, now) = (&gateway.custody, clock::now());
                if message.is_text() || message.is_binary() {
                    traffic.frames[from as usize] += 1;
                    traffic.bytes[from as usize] += message.len() as u64;
                }
                let step = match &message {
                    Message::Text(text) => session.on_text(from, text.as_str(), now, &custody.vault),
                    Message::Binary(bytes) => session.on_frame(from, bytes, now, &custody.vault),
                    Message::Close(frame) => {
                        let code = frame.as_ref().map_or(1005, |f| f.code.into());
                        break (Ending::closed_by(from), code);
                    }
                    // tungstenite answers pings itself.
                    _ => continue,
                };
                drop(message);
                if let Err(end) = take(gateway, version, station_id, step, &mut tickets, &mut station, &mut csms).await {
                    break end;
                }
            }
            Event::Came(from, Some(Err(error))) => break failed(from, &error),
            Event::Came(from, None) => break (Ending::closed_by(from), 1006),
            Event::Tick => {
                let silent =
                    [Side::Station, Side::Csms].into_iter().find(|side| heard[*side as usize].elapsed() > gateway.settings.idle_limit);
                if let Some(side) = silent {
                    break (Ending::silent(side), 1001);
                }
                if station.ping().await.is_err() {
                    break (Ending::StationLost, 1006);
                }
                if csms.ping().await.is_err() {
                    break (Ending::CsmsLost, 1006);
                }
            }
            Event::Told(Order::Ping) => {
                if station.ping().await.is_err() {
                    break (Ending::StationLost, 1006);
                }
            }
            Event::Told(Order::Finish(by)) => finish = Some(by),
            Event::Told(Order::Leave(why)) => break (why, 1001),
            Event::Late => break (Ending::Draining, 1001),
        }
    };
    // Facts that were let through are kept even if nobody will wait for their acknowledgement.
    for ticket in tickets {
        let _ = ticket.durable().await;
    }
    tokio::join!(station.close(code, ""), csms.close(code, ""));
    (ending, traffic)
}

/// Carries out a step: record, then write (I4). An error ends the connection: nothing was passed on that should not have been.
async fn take(
    gateway: &Gateway,
    version: Version,
    station_id: &str,
    step: Step,
    tickets: &mut Vec<Ticket>,
    station: &mut Hop,
    csms: &mut Hop,
) -> Result<(), (Ending, u16)> {
    if let Some(seen) = &step.seen {
        gateway.metrics.seen(version, seen);
    }
    let store_failed = || (Ending::StoreFailed, 1011);
    let vault = &gateway.custody.vault;
    if !step.sightings.is_empty() {
        vault.record(&step.sightings).await.map_err(|error| {
            tracing::error!(reason = error.code(), "the vault cannot record; nothing is passed on");
            store_failed()
        })?;
    }
    if !step.facts.is_empty() {
        tickets.push(gateway.custody.journal.submit(station_id, version, clock::now(), step.facts));
    }
    for (transaction, epoch) in &step.pins {
        let done = match epoch {
            Some(epoch) => vault.pin(station_id, transaction, *epoch, clock::now()).await,
            None => vault.unpin(station_id, transaction).await,
        };
        done.map_err(|_| store_failed())?;
    }
    if step.settles || tickets.len() >= MAX_TICKETS {
        for ticket in tickets.drain(..) {
            ticket.durable().await.map_err(|error| {
                tracing::error!(reason = error.code(), "the journal cannot keep facts; nothing is acknowledged");
                store_failed()
            })?;
        }
    }
    for (to, frame) in step.send {
        gateway.metrics.sent(to, frame.as_str().len());
        let written = match to {
            Side::Station => station.write(frame).await,
            Side::Csms => csms.write(frame).await,
        };
        written.map_err(|error| failed(to, &error))?;
    }
    Ok(())
}

/// The ending that a WebSocket error means, and the close code that the peers get. The error itself is never shown: it may hold a frame.
fn failed(side: Side, error: &Error) -> (Ending, u16) {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => (Ending::TooBig, 1009),
        Error::Utf8(_) => (Ending::NotUtf8, 1007),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed => {
            (Ending::lost(side), 1006)
        }
        Error::Protocol(_) => (Ending::Protocol, 1002),
        Error::WriteBufferFull(_) => (Ending::Slow, 1008),
        _ => (Ending::lost(side), 1006),
    }
}
