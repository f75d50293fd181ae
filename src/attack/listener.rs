//! The hostile central system's door: accepts what the gateway dials, keeps every byte of the handshake for the leak oracle, and hands the
//! connection to whoever waits for that station.

use super::target::{Io, Stream, head, write};
use super::ws;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Connections of the gateway at a time.
const MAX_CONNECTIONS: usize = 8192;
/// How long the gateway's handshake may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests kept for whoever waits, per station.
const MAX_REQUESTS: usize = 16;

/// How the markers of bad handshakes begin; they end with a letter that no number has.
pub(super) const KNOCK: &str = "knock-";

/// A connection that the gateway made.
pub(super) struct Dialled {
    /// Its request, every byte.
    pub(super) request: Vec<u8>,
    /// What came after the request.
    pub(super) rest: Vec<u8>,
    /// The upgraded connection; `None` if it was refused.
    pub(super) stream: Option<Stream>,
}

struct Awaited {
    to: mpsc::Sender<Dialled>,
    refuse: bool,
}

/// The door.
#[derive(Default)]
pub(super) struct Listener {
    /// By the station's id, or by the marker of a bad handshake.
    awaited: Mutex<HashMap<String, Awaited>>,
}

/// Stops waiting when it is dropped.
pub(super) struct Waiting {
    door: Arc<Listener>,
    marker: String,
    pub(super) dialled: mpsc::Receiver<Dialled>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.door.lock().remove(&self.marker);
    }
}

impl Listener {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for connections of the station `marker`, and refuses them with 401 if `refuse`.
    pub(super) fn await_station(self: &Arc<Self>, marker: &str, refuse: bool) -> Waiting {
        let (to, dialled) = mpsc::channel(MAX_REQUESTS);
        self.lock().insert(marker.to_owned(), Awaited { to, refuse });
        Waiting { door: Arc::clone(self), marker: marker.to_owned(), dialled }
    }

    /// Says whether those who come as `marker` from now on are refused.
    pub(super) fn refuse(&self, marker: &str, refuse: bool) {
        if let Some(awaited) = self.lock().get_mut(marker) {
            awaited.refuse = refuse;
        }
    }

    /// Accepts for ever.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(20)).await; // out of file descriptors: let some connections end
                continue;
            };
            let (door, tls, room) = (Arc::clone(&self), tls.clone(), Arc::clone(&room));
            tokio::spawn(async move {
                let Ok(_room) = room.acquire().await else { return };
                let _ = timeout(PATIENCE, door.greet(socket, tls)).await;
            });
        }
    }

    async fn greet(&self, socket: TcpStream, tls: Option<TlsAcceptor>) -> Option<()> {
        let _ = socket.set_nodelay(true);
        let mut stream: Stream = match tls {
            None => Box::new(socket) as Box<dyn Io>,
            Some(tls) => Box::new(tls.accept(socket).await.ok()?),
        };
        let (request, rest) = head(&mut stream).await.ok()?;
        let text = String::from_utf8_lossy(&request).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let found = {
            let awaited = self.lock();
            // A bad handshake may have its marker anywhere.
            let found =
                awaited.get(name).or_else(|| awaited.iter().find(|(m, _)| m.starts_with(KNOCK) && path.contains(*m)).map(|(_, a)| a));
            found.map(|a| (a.to.clone(), a.refuse))
        };
        let Some((to, refuse)) = found else {
            write(&mut stream, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", PATIENCE).await;
            return None;
        };
        let answer = if refuse {
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
        } else {
            let protocol = header(&text, "sec-websocket-protocol").and_then(|all| all.split(',').next()).map(str::trim);
            let protocol = protocol.map_or_else(String::new, |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
            let accept = accept_key(header(&text, "sec-websocket-key").unwrap_or_default());
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
            )
        };
        write(&mut stream, answer.as_bytes(), PATIENCE).await;
        let stream = (!refuse).then_some(stream);
        to.try_send(Dialled { request, rest, stream }).ok()
    }
}

/// The value of a header in a request or an answer.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").skip(1);
    lines.filter_map(|line| line.split_once(':')).find(|(n, _)| n.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// `Sec-WebSocket-Accept` of a key (RFC 6455 §4.2.2).
pub(super) fn accept_key(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{}", ws::GUID).as_bytes());
    STANDARD.encode(digest)
}
