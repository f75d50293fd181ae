//! Just enough WebSocket for a load that costs less than what it measures: upgrade by hand, frames masked with a key of zeros (which
//! masks nothing and is allowed), answers read as far as their id.

use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// One end of a connection.
pub(crate) struct Wire<S> {
    socket: S,
    bytes: Vec<u8>,
    read: usize,
}

/// A data frame as it lies in the buffer.
pub(crate) struct Frame {
    start: usize,
    end: usize,
    mask: [u8; 4],
}

/// An answer that is no upgrade.
pub(crate) struct Refused {
    pub(crate) status: u16,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Upgrades as a station.
    pub(crate) async fn connect(socket: S, path: &str, protocol: &str) -> Result<Self> {
        Self::ask(socket, path, protocol).await?.map_err(|refused| Error::other(format!("no upgrade: {}", refused.status)))
    }

    /// Asks to be upgraded as a station.
    pub(crate) async fn ask(mut socket: S, path: &str, protocol: &str) -> Result<std::result::Result<Self, Refused>> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        socket.flush().await?;
        let mut wire = Self { socket, bytes: Vec::new(), read: 0 };
        let head = wire.head().await?;
        if head.starts_with("HTTP/1.1 101") {
            return Ok(Ok(wire));
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let retry_after = head.lines().find_map(|line| line.strip_prefix("Retry-After: ")?.trim().parse().ok());
        Ok(Err(Refused { status, retry_after }))
    }

    /// Upgrades as a central system, which takes the first subprotocol.
    pub(crate) async fn accept(socket: S) -> Result<Self> {
        let mut wire = Self { socket, bytes: Vec::new(), read: 0 };
        let head = wire.head().await?;
        let header = |name: &str| {
            let line = head.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
            Some(line.split_once(':')?.1.split(',').next()?.trim().to_owned())
        };
        let key = header("sec-websocket-key").ok_or(broken("no key"))?;
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let protocol = header("sec-websocket-protocol").map_or(String::new(), |p| format!("Sec-WebSocket-Protocol: {p}\r\n"));
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
        );
        wire.socket.write_all(answer.as_bytes()).await?;
        wire.socket.flush().await?;
        Ok(wire)
    }

    async fn head(&mut self) -> Result<String> {
        loop {
            if let Some(at) = self.bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.bytes[..at]).into_owned();
                self.bytes.drain(..at + 4);
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.bytes.reserve(2048);
        match self.socket.read_buf(&mut self.bytes).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The next text message; pings are answered, other control frames passed over.
    pub(crate) async fn next(&mut self) -> Result<Frame> {
        loop {
            let (opcode, frame) = loop {
                if let Some(found) = self.parse()? {
                    break found;
                }
                if self.read > 0 {
                    self.bytes.drain(..self.read);
                    self.read = 0;
                }
                self.fill().await?;
            };
            match opcode {
                0x1 | 0x2 => return Ok(frame),
                0x8 => return Err(ErrorKind::ConnectionAborted.into()),
                0x9 => {
                    let masked = if frame.mask == [0; 4] { 0 } else { 0x80 };
                    let mut pong = vec![0x8A, (0x80 ^ masked) | (frame.end - frame.start) as u8];
                    if masked == 0 {
                        pong.extend_from_slice(&[0; 4]);
                    }
                    pong.extend_from_slice(&self.bytes[frame.start..frame.end]);
                    self.write(&pong).await?;
                }
                _ => {}
            }
        }
    }

    fn parse(&mut self) -> Result<Option<(u8, Frame)>> {
        let bytes = &self.bytes[self.read..];
        let [first, second, ..] = *bytes else { return Ok(None) };
        if first & 0x80 == 0 {
            return Err(broken("a fragment"));
        }
        let (length, mut at) = match second & 0x7F {
            126 if bytes.len() >= 4 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            126 => return Ok(None),
            127 => return Err(broken("a big frame")),
            n => (usize::from(n), 2),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            let Some(key) = bytes.get(at..at + 4) else { return Ok(None) };
            mask.copy_from_slice(key);
            at += 4;
        }
        if bytes.len() < at + length {
            return Ok(None);
        }
        let start = self.read + at;
        self.read = start + length;
        Ok(Some((first & 0x0F, Frame { start, end: start + length, mask })))
    }

    /// As much of a message as fits into `head`, unmasked. Valid until the next message is read.
    pub(crate) fn peek<'a>(&self, frame: &Frame, head: &'a mut [u8]) -> &'a str {
        let length = head.len().min(frame.end - frame.start);
        for (at, byte) in head[..length].iter_mut().enumerate() {
            *byte = self.bytes[frame.start + at] ^ frame.mask[at % 4];
        }
        std::str::from_utf8(&head[..length]).unwrap_or_default()
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }
}

/// A text frame: masked as stations must, or plain as central systems must.
pub(crate) fn text(payload: &str, masked: bool) -> Vec<u8> {
    let mut frame = vec![0x81];
    let bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        short @ ..126 => frame.push(bit | short as u8),
        long => {
            frame.push(bit | 126);
            frame.extend_from_slice(&u16::try_from(long).expect("frames of the bench are short").to_be_bytes());
        }
    }
    if masked {
        frame.extend_from_slice(&[0; 4]);
    }
    frame.extend_from_slice(payload.as_bytes());
    frame
}
