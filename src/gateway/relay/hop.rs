//! One side's socket, in both directions: what it takes and gives are WebSocket frames, and data goes only as [`Outgoing`].
//!
//! [`Outgoing`]: crate::treat::Outgoing

use super::super::socket::Socket;
use super::loan::Loan;
use super::outbox::Outbox;
use crate::websocket::{Message, Reader, Role};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout};

/// How long the closing handshake may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// A socket that takes only frames that have been through the treatment (I1), and the control frames of the WebSocket itself.
pub(in crate::gateway) struct Hop {
    socket: Socket,
    role: Role,
    pub(super) reader: Reader,
    pub(super) outbox: Outbox,
    /// What came with the handshake, or during a rest, and is to be read first.
    early: Vec<u8>,
    /// The peer's close frame came, with this code.
    pub(super) closed: Option<Option<u16>>,
    /// What comes can be understood no more, or nothing comes any more.
    pub(super) deaf: bool,
    /// When the last bytes came.
    pub(super) heard: Instant,
    /// When to ping next.
    pub(super) next_ping: Instant,
}

impl Hop {
    /// The hop to a station: `rest` is what came after its upgrade request, `max_frame` the biggest message in bytes.
    pub(in crate::gateway) fn server(socket: Socket, rest: Vec<u8>, max_frame: usize) -> Self {
        Self::new(socket, Role::Server, rest, max_frame)
    }

    /// The hop to the central system: `rest` is what came after its answer.
    pub(in crate::gateway) fn client(socket: Socket, rest: Vec<u8>, max_frame: usize) -> Self {
        Self::new(socket, Role::Client, rest, max_frame)
    }

    fn new(socket: Socket, role: Role, early: Vec<u8>, max_frame: usize) -> Self {
        let now = Instant::now();
        let (reader, outbox) = (Reader::new(role, max_frame), Outbox::new(role));
        Self { socket, role, reader, outbox, early, closed: None, deaf: false, heard: now, next_ping: now }
    }

    /// Bytes that came, none if no more will come. The buffer is borrowed only when there are some.
    pub(super) fn poll_read(&mut self, task: &mut Context<'_>) -> Poll<io::Result<Loan>> {
        if !self.early.is_empty() {
            return Poll::Ready(Ok(Loan::of(std::mem::take(&mut self.early))));
        }
        let mut loan = Loan::new();
        let read = pin!(self.socket.read_buf(&mut *loan)).poll(task);
        read.map_ok(|_| loan)
    }

    /// Keeps bytes that were read to be read again, before all others.
    pub(super) fn later(&mut self, bytes: &[u8]) {
        self.early.extend_from_slice(bytes);
    }

    /// Writes what waits; ready when nothing does any more.
    pub(super) fn poll_write(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbox.is_empty() { Poll::Ready(Ok(())) } else { self.outbox.poll_write(&mut self.socket, task) }
    }

    /// Closes with `code`, or in answer to the peer's own close frame with the code that it gave (RFC 6455 §5.5.1).
    pub(super) async fn part(&mut self, code: u16) {
        let _ = timeout(CLOSE_PATIENCE, self.parting(code)).await;
    }

    async fn parting(&mut self, code: u16) -> io::Result<()> {
        // 1005, 1006 and 1015 must not be sent (RFC 6455 §7.4.1); a peer that went without a word is passed on as going away.
        let code = if matches!(code, 1005 | 1006 | 1015) || !(1000..5000).contains(&code) { 1001 } else { code };
        self.outbox.close(self.closed.unwrap_or(Some(code)))?;
        poll_fn(|task| self.poll_write(task)).await?;
        while self.closed.is_none() && !self.deaf {
            let mut loan = poll_fn(|task| self.poll_read(task)).await?;
            self.deaf = loan.is_empty();
            let mut input = &mut loan[..];
            while self.closed.is_none() && !self.deaf {
                match self.reader.next(&mut input) {
                    Ok(Some(Message::Close(code))) => self.closed = Some(code),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => self.deaf = true,
                }
            }
        }
        // The server ends the connection first (RFC 6455 §7.1.1), and so does whoever fails it.
        if self.role == Role::Server || self.deaf {
            self.shut().await?;
        }
        // Whoever goes with bytes unread resets the connection, and the peer may lose the close frame.
        while !poll_fn(|task| self.poll_read(task)).await?.is_empty() {}
        self.shut().await
    }

    async fn shut(&mut self) -> io::Result<()> {
        poll_fn(|task| Pin::new(&mut self.socket).poll_shutdown(task)).await
    }
}
