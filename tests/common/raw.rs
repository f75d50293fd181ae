//! Both ends of the gateway as raw sockets: every byte of every frame is the test's own.

use sluis::config::{Config, Flags};
use sluis::gateway::Settings;
use sluis::serve::Serving;
use sluis::websocket::fuzz::Owned;
use sluis::websocket::{Opcode, Reader, Role, write, write_close};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What must happen happens within this time, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);
const KEY: [u8; 4] = [0x11, 0xf2, 0x83, 0x04];

/// One end of a WebSocket.
pub struct Peer {
    pub socket: TcpStream,
    mask: Option<[u8; 4]>,
    reader: Reader,
    come: VecDeque<Owned>,
}

impl Peer {
    fn new(socket: TcpStream, role: Role) -> Self {
        let mask = (role == Role::Client).then_some(KEY);
        Self { socket, mask, reader: Reader::new(role, 64 << 20), come: VecDeque::new() }
    }

    /// A whole frame's bytes, as this end writes them.
    pub fn bytes(&self, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, opcode, payload, self.mask);
        bytes
    }

    /// A frame that says it is not the last of its message.
    pub fn unfinished(&self, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes(opcode, payload);
        bytes[0] &= 0x7f;
        bytes
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.socket.write_all(bytes)).await.expect("the gateway reads").unwrap();
    }

    pub async fn text(&mut self, text: &str) {
        let bytes = self.bytes(Opcode::Text, text.as_bytes());
        self.raw(&bytes).await;
    }

    pub async fn ping(&mut self, payload: &[u8]) {
        let bytes = self.bytes(Opcode::Ping, payload);
        self.raw(&bytes).await;
    }

    pub async fn close(&mut self, code: Option<u16>) {
        let mut bytes = Vec::new();
        write_close(&mut bytes, code, self.mask);
        self.raw(&bytes).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Owned> {
        timeout(PATIENCE, self.within()).await.expect("something comes")
    }

    async fn within(&mut self) -> Option<Owned> {
        let mut bytes = vec![0; 65536];
        loop {
            if let Some(first) = self.come.pop_front() {
                return Some(first);
            }
            let length = self.socket.read(&mut bytes).await.ok().filter(|length| *length > 0)?;
            let mut input = &mut bytes[..length];
            while let Some(message) = self.reader.next(&mut input).expect("the gateway keeps to the protocol") {
                self.come.push_back(message.into());
            }
        }
    }

    /// The next frame that is no ping.
    pub async fn heard(&mut self) -> Option<Owned> {
        loop {
            match self.next().await {
                Some(Owned::Ping(_)) => {}
                other => return other,
            }
        }
    }

    /// The next frame, which is text.
    pub async fn hears(&mut self) -> String {
        match self.heard().await {
            Some(Owned::Text(text)) => text,
            other => panic!("expected text, got {other:?}"),
        }
    }
}

/// A gateway between raw ends.
pub struct Scene {
    pub serving: Serving,
    listener: TcpListener,
    _data: tempfile::TempDir,
}

impl Scene {
    /// Starts a gateway with a policy and with settings made different.
    pub async fn new(policy: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let values = vec![
            ("listen", "127.0.0.1:0".into()),
            ("admin", "127.0.0.1:0".into()),
            ("upstream.url", format!("ws://{}/csms", listener.local_addr().unwrap())),
            ("data_dir", data.path().join("data").display().to_string()),
            ("policy", policy.into()),
        ];
        let mut config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
        change(&mut config.stations);
        Self { serving: Serving::start(&config).await.unwrap(), listener, _data: data }
    }

    /// A station and its central system, connected through the gateway.
    pub async fn pair(&self, id: &str) -> (Peer, Peer) {
        let (station, csms, _) = self.pair_with(id, "", &[], None).await;
        (station, csms)
    }

    /// The same, with header lines and bytes that come right behind the request, and a small receive buffer. Gives the gateway's answer too.
    pub async fn pair_with(&self, id: &str, headers: &str, behind: &[u8], receive_buffer: Option<u32>) -> (Peer, Peer, String) {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let mut station = timeout(PATIENCE, socket.connect(self.serving.listen)).await.unwrap().unwrap();
        station.set_nodelay(true).unwrap();
        let request = format!(
            "GET /ocpp/{id} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ocpp1.6\r\n{headers}\r\n"
        );
        station.write_all(&[request.as_bytes(), behind].concat()).await.unwrap();
        let (mut csms, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        csms.set_nodelay(true).unwrap();
        let asked = head(&mut csms).await;
        let key = asked.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: ocpp1.6\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        csms.write_all(answer.as_bytes()).await.unwrap();
        let answer = head(&mut station).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        (Peer::new(station, Role::Client), Peer::new(csms, Role::Server), answer)
    }

    /// A number on the metrics page.
    pub async fn metric(&self, name: &str) -> f64 {
        let mut socket = TcpStream::connect(self.serving.admin).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).await.unwrap();
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
    }
}

/// An HTTP head, byte by byte, so that nothing of what follows is taken.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, socket.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}
