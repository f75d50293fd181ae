//! What waits to be written to one peer: whole frames, in order, in one buffer that is there only while something waits.

use super::{chance, loan};
use crate::treat::Outgoing;
use crate::websocket::{Opcode, Role, write, write_close};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// Frames on their way to one peer.
pub(super) struct Outbox {
    role: Role,
    /// The close frame is among them: nothing may follow it.
    closed: bool,
    /// The socket took all bytes and may still hold some back (TLS).
    flushing: bool,
    bytes: Vec<u8>,
    /// How many of `bytes` are gone.
    gone: usize,
    /// Since when the peer has not taken all that waits.
    pub(super) since: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(role: Role) -> Self {
        Self { role, closed: false, flushing: false, bytes: Vec::new(), gone: 0, since: None }
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.gone
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.flushing
    }

    /// Adds a frame that has been through the treatment (I1): there is no other way to write data.
    pub(super) fn frame(&mut self, frame: &Outgoing) -> io::Result<()> {
        match frame.as_binary() {
            None => self.add(Opcode::Text, frame.as_str().as_bytes()),
            Some(bytes) => self.add(Opcode::Binary, bytes),
        }
    }

    pub(super) fn ping(&mut self) -> io::Result<()> {
        self.add(Opcode::Ping, &[])
    }

    pub(super) fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.add(Opcode::Pong, payload)
    }

    /// Adds the last frame. `None` gives no code.
    pub(super) fn close(&mut self, code: Option<u16>) -> io::Result<()> {
        if !self.closed {
            let mask = self.mask()?;
            write_close(self.room(), code, mask);
            self.closed = true;
        }
        Ok(())
    }

    fn add(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        if !self.closed {
            let mask = self.mask()?;
            write(self.room(), opcode, payload, mask);
        }
        Ok(())
    }

    fn mask(&self) -> io::Result<Option<[u8; 4]>> {
        if self.role == Role::Client { chance::four().map(Some) } else { Ok(None) }
    }

    fn room(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = loan::take();
        }
        &mut self.bytes
    }

    /// Writes as much as the socket takes; ready when nothing waits any more.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(&mut self, socket: &mut S, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.bytes.len() {
            let written = Pin::new(&mut *socket).poll_write(task, &self.bytes[self.gone..]);
            if written.is_pending() {
                self.wait();
            }
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => self.gone += more,
            }
            self.flushing = true;
        }
        loan::give(std::mem::take(&mut self.bytes));
        self.gone = 0;
        if self.flushing {
            let flushed = Pin::new(socket).poll_flush(task);
            if flushed.is_pending() {
                self.wait();
            }
            ready!(flushed)?;
            self.flushing = false;
        }
        self.since = None;
        Poll::Ready(Ok(()))
    }

    /// The peer takes no more. What it has taken of a big queue is dropped, so that the queue does not grow by what is gone.
    fn wait(&mut self) {
        if self.gone > loan::ROOM {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
        self.since.get_or_insert_with(Instant::now);
    }
}
