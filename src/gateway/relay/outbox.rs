//! What waits to be written to one peer: whole frames, in order, in one buffer that is there only while something waits.

use super::{chance, loan};
use crate::treat::Outgoing;
use crate::websocket::{Opcode, Role, write, write_close};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// Bytes after which a peer that has not taken all is not slow, only its line is: in the time that it has for them (30 s) a modem takes ten
/// times as many.
const PROGRESS: usize = 4096;

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
    /// Since when the peer has taken less than [`PROGRESS`] of what waits.
    pub(super) since: Option<Instant>,
    /// What it has taken since then.
    taken: usize,
}

impl Outbox {
    pub(super) fn new(role: Role) -> Self {
        Self { role, closed: false, flushing: false, bytes: Vec::new(), gone: 0, since: None, taken: 0 }
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
                more => {
                    self.gone += more;
                    self.taken = self.taken.saturating_add(more);
                }
            }
            if self.taken >= PROGRESS {
                (self.since, self.taken) = (None, 0);
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
        (self.since, self.taken) = (None, 0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// A socket that takes so many bytes and no more.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        took: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let some = bytes.len().min(self.room);
            if some == 0 {
                return Poll::Pending;
            }
            self.room -= some;
            self.took.extend_from_slice(&bytes[..some]);
            Poll::Ready(Ok(some))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Debug, Clone)]
    enum Turn {
        Frame(usize),
        Ping,
        Takes(usize),
    }

    proptest! {
        /// Whatever is added and taken, what waits is what was added less what was taken, to the byte; all of it comes out in its order; and
        /// no more is kept than waits, but for a buffer's worth that is gone already.
        #[test]
        fn what_waits_is_counted_to_the_byte(
            turns in proptest::collection::vec(
                prop_oneof![
                    3 => (0usize..300).prop_map(Turn::Frame),
                    1 => (65_000usize..70_000).prop_map(Turn::Frame),
                    1 => Just(Turn::Ping),
                    3 => (0usize..400).prop_map(Turn::Takes),
                    1 => (0usize..40_000).prop_map(Turn::Takes),
                ],
                1..60,
            )
        ) {
            let task = &mut Context::from_waker(Waker::noop());
            let (mut outbox, mut socket, mut added) = (Outbox::new(Role::Server), Narrow::default(), Vec::new());
            for turn in turns {
                match turn {
                    Turn::Frame(length) => {
                        let text = "x".repeat(length);
                        write(&mut added, Opcode::Text, text.as_bytes(), None);
                        outbox.frame(&Outgoing::own(text)).unwrap();
                    }
                    Turn::Ping => {
                        write(&mut added, Opcode::Ping, &[], None);
                        outbox.ping().unwrap();
                    }
                    Turn::Takes(room) => {
                        socket.room = room;
                        let written = outbox.poll_write(&mut socket, task);
                        prop_assert_eq!(written.is_ready(), added.len() == socket.took.len());
                        prop_assert_eq!(outbox.since.is_some(), written.is_pending());
                        prop_assert!(outbox.bytes.len() <= outbox.waiting() + loan::ROOM);
                    }
                }
                prop_assert_eq!(outbox.waiting(), added.len() - socket.took.len());
                prop_assert!(added.starts_with(&socket.took));
            }
        }
    }
}
