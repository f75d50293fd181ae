//! A line through the gateway: the station's connection and the central system's, both in these hands. What comes on either is read at once
//! and queued, so that neither end holds the other up.

use super::script::End;
use super::target::{Stream, write};
use super::ws::{self, Heard, Reader};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

/// Messages that wait to be looked at, for both ends together. Beyond this, nothing more is read.
const MAX_QUEUED: usize = 1024;
/// How long an answer to a ping or a close may take to be written.
const COURTESY: Duration = Duration::from_secs(2);

/// What came at an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Heard(Heard),
    /// The connection is gone.
    Gone,
}

type Writer = Arc<Mutex<WriteHalf<Stream>>>;

pub(super) struct Line {
    writers: [Writer; 2],
    pub(super) events: mpsc::Receiver<(End, Event)>,
    paused: [watch::Sender<bool>; 2],
    readers: [JoinHandle<()>; 2],
    /// Ends whose connection is closed or gone.
    pub(super) closed: [bool; 2],
}

impl Line {
    /// A line of two connections, each with what came after its handshake.
    pub(super) fn new(station: (Stream, Vec<u8>), csms: (Stream, Vec<u8>)) -> Self {
        let (to, events) = mpsc::channel(MAX_QUEUED);
        let start = |end: End, (stream, rest): (Stream, Vec<u8>)| {
            let (reading, writing) = tokio::io::split(stream);
            let writer = Arc::new(Mutex::new(writing));
            let (pause, paused) = watch::channel(false);
            let reader = tokio::spawn(listen(end, reading, Arc::clone(&writer), to.clone(), paused, rest));
            (writer, pause, reader)
        };
        let ((a, pa, ra), (b, pb, rb)) = (start(End::Station, station), start(End::Csms, csms));
        Self { writers: [a, b], events, paused: [pa, pb], readers: [ra, rb], closed: [false; 2] }
    }

    /// Whether both ends are there.
    pub(super) fn is_whole(&self) -> bool {
        self.closed == [false; 2]
    }

    /// A writer of an end's bytes that can be used while events are read. Gives whether all was written in time.
    pub(super) fn writing(&self, from: End, bytes: Vec<u8>, patience: Duration) -> impl Future<Output = bool> + use<> {
        let writer = Arc::clone(&self.writers[from as usize]);
        async move { write(&mut *writer.lock().await, &bytes, patience).await }
    }

    /// Stops an end from reading, or lets it read again.
    pub(super) fn pause(&self, end: End, pause: bool) {
        self.paused[end as usize].send_replace(pause);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(
    end: End,
    mut stream: ReadHalf<Stream>,
    writer: Writer,
    to: mpsc::Sender<(End, Event)>,
    mut paused: watch::Receiver<bool>,
    rest: Vec<u8>,
) {
    let mut reader = Reader::new(end, rest);
    let mut bytes = vec![0; 16 << 10];
    'line: loop {
        while let Some(heard) = reader.next() {
            let (reply, over) = match &heard {
                Heard::Ping(payload) => (Some(ws::frame(end, 0x80 | ws::PONG, payload)), false),
                Heard::Close(code, _) => {
                    let code = if *code == 1005 { Vec::new() } else { code.to_be_bytes().to_vec() };
                    (Some(ws::frame(end, 0x80 | ws::CLOSE, &code)), false)
                }
                Heard::Broken(_) => (None, true),
                _ => (None, false),
            };
            if let Some(reply) = reply {
                // If something is being written just now, that is sign of life enough.
                if let Ok(mut writer) = writer.try_lock() {
                    write(&mut *writer, &reply, COURTESY).await;
                    // The server closes the connection first (RFC 6455 §7.1.1), or the gateway waits for it.
                    if end == End::Csms && matches!(heard, Heard::Close(..)) {
                        let _ = tokio::time::timeout(COURTESY, writer.shutdown()).await;
                    }
                }
            }
            if to.send((end, Event::Heard(heard))).await.is_err() || over {
                break 'line;
            }
        }
        if paused.wait_for(|paused| !*paused).await.is_err() {
            break;
        }
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(count) => reader.take(&bytes[..count]),
        }
    }
    let _ = to.send((end, Event::Gone)).await;
}
