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
    /// Nothing comes any more.
    pub(super) ended: bool,
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
        Self { socket, role, reader, outbox, early, closed: None, deaf: false, ended: false, heard: now, next_ping: now }
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
            (self.deaf, self.ended) = (loan.is_empty(), loan.is_empty());
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
        // With nothing unread there is nothing to wait for.
        if self.ended {
            return self.shut().await;
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

#[cfg(test)]
mod tests {
    use super::super::run;
    use super::*;
    use crate::config::{Config, Flags};
    use crate::gateway::Ending;
    use crate::ocpp::Version;
    use crate::serve::Serving;
    use crate::websocket::fuzz::Owned;
    use crate::websocket::{Opcode, write};
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    /// What must happen happens within this time, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// The most bytes that may wait, in these tests.
    const BOUND: usize = 8192;

    /// The gateway's end of a connection with small buffers, and the other end.
    async fn connection() -> (TcpStream, TcpStream) {
        let far = TcpSocket::new_v4().unwrap();
        far.set_recv_buffer_size(4096).unwrap();
        far.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let far: TcpListener = far.listen(1).unwrap();
        let near = TcpSocket::new_v4().unwrap();
        near.set_send_buffer_size(4096).unwrap();
        let (near, far) = tokio::join!(near.connect(far.local_addr().unwrap()), far.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// Writes until both buffers on the way are full, and says how many bytes they took.
    async fn fill(near: &TcpStream) -> usize {
        let mut taken = 0;
        // Not writable for so long: nothing moves any more, since nobody reads.
        while timeout(Duration::from_millis(200), near.writable()).await.is_ok() {
            while let Ok(more) = near.try_write(&[0; 1024]) {
                taken += more;
            }
        }
        taken
    }

    /// A text message of so many bytes in all with its header of four, as the central system writes it.
    fn message(bytes: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        write(&mut frame, Opcode::Text, "x".repeat(bytes - 4).as_bytes(), None);
        assert_eq!(frame.len(), bytes);
        frame
    }

    /// The central system sends `messages` to a station that reads only once the gateway has them all, or has given up. What the station gets, and
    /// how it ended.
    async fn to_one_that_does_not_read(messages: &[Vec<u8>]) -> (Vec<Owned>, Ending) {
        let data = tempfile::tempdir().unwrap();
        let values = [("listen", "127.0.0.1:0"), ("admin", "127.0.0.1:0"), ("upstream.url", "ws://127.0.0.1:9/"), ("policy", "observe")];
        let mut values: Vec<_> = values.map(|(key, value)| (key, value.to_owned())).into();
        values
            .extend([("data_dir", data.path().join("data").display().to_string()), ("stations.max_frame_bytes", (BOUND / 2).to_string())]);
        let mut config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
        // Less than the configuration allows, so that a few messages reach it.
        config.stations.max_queue = BOUND;
        let serving = Serving::start(&config).await.unwrap();
        let gateway = std::sync::Arc::clone(&serving.gateway);
        let ((station_near, mut station), (csms_near, mut csms)) = (connection().await, connection().await);
        let full = fill(&station_near).await;
        let relayed = tokio::spawn(async move {
            let (course, place) = (gateway.course(), gateway.live.enter("CP-1"));
            let most = course.settings.max_frame;
            let to_station = Hop::server(Socket::Plain(station_near), Vec::new(), most);
            let to_csms = Hop::client(Socket::Plain(csms_near), Vec::new(), most);
            run(&gateway, &course, Version::V16, "CP-1", to_station, to_csms, &place).await.0
        });
        let mut answers = Reader::new(Role::Server, BOUND);
        for message in messages {
            // In one piece with a ping, which is answered when the message was worked off; or the connection is closed.
            let mut piece = message.clone();
            write(&mut piece, Opcode::Ping, b"done?", None);
            csms.write_all(&piece).await.unwrap();
            let _ = timeout(Duration::from_secs(5), next(&mut csms, &mut answers)).await;
        }
        // Now it reads: first what was there before.
        timeout(PATIENCE, station.read_exact(&mut vec![0; full])).await.unwrap().unwrap();
        let (mut heard, mut reader) = (Vec::new(), Reader::new(Role::Client, BOUND));
        while heard.len() < messages.len() {
            match next(&mut station, &mut reader).await {
                Some(message) => heard.push(message),
                None => break,
            }
        }
        // It goes, unless it was sent away.
        drop(station);
        let ending = timeout(PATIENCE, relayed).await.unwrap().unwrap();
        drop(csms);
        serving.stop().await;
        (heard, ending)
    }

    /// The next message, or `None` at the end of the stream.
    async fn next(socket: &mut TcpStream, reader: &mut Reader) -> Option<Owned> {
        let mut byte = [0];
        loop {
            match timeout(PATIENCE, socket.read(&mut byte)).await.expect("something comes") {
                Ok(1..) => {}
                _ => return None,
            }
            if let Some(message) = reader.next(&mut &mut byte[..]).unwrap() {
                return Some(message.into());
            }
        }
    }

    /// Exactly so many bytes may wait for a peer that reads late, and it gets them all; one more ends its connection at once.
    #[tokio::test(flavor = "multi_thread")]
    async fn limit_of_bytes_that_wait_for_a_peer() {
        let half = message(BOUND / 2);
        let (heard, ending) = to_one_that_does_not_read(&[half.clone(), half.clone()]).await;
        let text = |bytes: &[u8]| Owned::Text(String::from_utf8(bytes[4..].to_vec()).unwrap());
        assert_eq!(heard, [text(&half), text(&half)]);
        assert_ne!(ending, Ending::Slow);
        let more = message(BOUND / 2 + 1);
        let (heard, ending) = to_one_that_does_not_read(&[half.clone(), more.clone()]).await;
        assert_eq!(ending, Ending::Slow);
        // What was promised to it is whole as far as it goes.
        assert!(heard.iter().zip([text(&half), text(&more)]).all(|(heard, sent)| *heard == sent), "{heard:?}");
    }
}
