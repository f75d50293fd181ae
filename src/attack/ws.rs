//! The WebSocket as far as the attack needs it (RFC 6455): frames written rightly or wrongly, and frames read with every rule checked. Its
//! own, because a library would not send what must be sent here, and would not say what it was sent.

use super::script::End;

/// The biggest message that is read; a gateway that sends more is broken in another way.
const LARGEST: usize = 16 << 20;

/// What is appended to a key (RFC 6455 §1.3).
pub(super) const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Text, binary, close, ping, pong.
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// One frame. `first` is the first byte: FIN, reserved bits and opcode. The station's end masks, as a client must.
pub(super) fn frame(from: End, first: u8, payload: &[u8]) -> Vec<u8> {
    framed(first, from == End::Station, payload.len() as u64, payload)
}

/// One frame, masked or not, that claims to be `length` bytes long.
pub(super) fn framed(first: u8, masked: bool, length: u64, payload: &[u8]) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut out = vec![first];
    match length {
        0..=125 => out.push(mask | length as u8),
        126..=0xffff => {
            out.push(mask | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    if masked {
        // The mask protects old proxies from crafted bytes, which nobody needs here.
        let key = [0x5a, 0x13, 0x37, 0xc4];
        out.extend_from_slice(&key);
        out.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
    } else {
        out.extend_from_slice(payload);
    }
    out
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// Code (1005: none was given) and reason.
    Close(u16, Vec<u8>),
    /// The rules were broken: how.
    Broken(&'static str),
}

/// Cuts what comes into messages.
pub(super) struct Reader {
    /// Whose ears these are: a station hears a server, which does not mask.
    end: End,
    buffer: Vec<u8>,
    /// Opcode and content of a message that comes in fragments.
    parts: Option<(u8, Vec<u8>)>,
}

impl Reader {
    pub(super) fn new(end: End, rest: Vec<u8>) -> Self {
        Self { end, buffer: rest, parts: None }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that is there whole.
    pub(super) fn next(&mut self) -> Option<Heard> {
        loop {
            let heard = self.frame()?;
            match heard {
                Ok(Some(heard)) => return Some(heard),
                Ok(None) => {}
                Err(how) => return Some(Heard::Broken(how)),
            }
        }
    }

    /// One frame. Outer `None`: not there yet. `Ok(None)`: a fragment.
    fn frame(&mut self) -> Option<Result<Option<Heard>, &'static str>> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        let (length, mut at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(self.buffer.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let masked = second & 0x80 != 0;
        if masked != (self.end == End::Csms) {
            return Some(Err(if masked { "a frame to a client was masked" } else { "a frame to a server was not masked" }));
        }
        if first & 0x70 != 0 {
            return Some(Err("a reserved bit is set"));
        }
        let Some(length) = usize::try_from(length).ok().filter(|l| *l <= LARGEST) else {
            return Some(Err("a frame is longer than any message"));
        };
        let key: [u8; 4] = if masked {
            at += 4;
            self.buffer.get(at - 4..at)?.try_into().ok()?
        } else {
            [0; 4]
        };
        let mut payload = self.buffer.get(at..at + length)?.to_vec();
        self.buffer.drain(..at + length);
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(b, k)| *b ^= k);
        Some(self.judge(first & 0x80 != 0, first & 0x0f, payload))
    }

    fn judge(&mut self, fin: bool, opcode: u8, payload: Vec<u8>) -> Result<Option<Heard>, &'static str> {
        if opcode >= CLOSE {
            if !fin || payload.len() > 125 {
                return Err("a control frame is in fragments or too long");
            }
            return Ok(Some(match opcode {
                CLOSE => match payload.split_first_chunk::<2>() {
                    None if payload.is_empty() => Heard::Close(1005, Vec::new()),
                    None => return Err("a close frame has half a code"),
                    Some((code, reason)) => {
                        let code = u16::from_be_bytes(*code);
                        if !(1000..5000).contains(&code) || matches!(code, 1004..=1006 | 1015) {
                            return Err("a close code that must not be sent");
                        }
                        if std::str::from_utf8(reason).is_err() {
                            return Err("a close reason is not UTF-8");
                        }
                        Heard::Close(code, reason.to_vec())
                    }
                },
                PING => Heard::Ping(payload),
                PONG => Heard::Pong,
                _ => return Err("an opcode that does not exist"),
            }));
        }
        let (opcode, content) = match (opcode, self.parts.take()) {
            (TEXT | BINARY, None) => (opcode, payload),
            (0, Some((opcode, mut parts))) => {
                parts.extend_from_slice(&payload);
                (opcode, parts)
            }
            _ => return Err("fragments out of order"),
        };
        if content.len() > LARGEST {
            return Err("a message is longer than any");
        }
        if !fin {
            self.parts = Some((opcode, content));
            return Ok(None);
        }
        if opcode == BINARY {
            return Ok(Some(Heard::Binary(content)));
        }
        String::from_utf8(content).map(|text| Some(Heard::Text(text))).map_err(|_| "a text message is not UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_forbidden_is_named() {
        let text = "é".repeat(40_000);
        for (writer, reader) in [(End::Station, End::Csms), (End::Csms, End::Station)] {
            for payload in ["", "x", &text[..200], &text] {
                let mut ears = Reader::new(reader, Vec::new());
                for byte in frame(writer, 0x80 | TEXT, payload.as_bytes()) {
                    ears.take(&[byte]);
                }
                assert_eq!(ears.next(), Some(Heard::Text(payload.into())));
                assert_eq!(ears.next(), None);
            }
            let mut ears = Reader::new(reader, Vec::new());
            ears.take(&frame(writer, TEXT, b"a"));
            ears.take(&frame(writer, 0x80 | PING, b"p"));
            ears.take(&frame(writer, 0x80, b"b"));
            assert_eq!((ears.next(), ears.next()), (Some(Heard::Ping(b"p".to_vec())), Some(Heard::Text("ab".into()))));
            for wrong in [
                frame(reader, 0x81, b"x"),
                frame(writer, 0xc1, b"x"),
                frame(writer, 0x83, b"x"),
                frame(writer, 0x09, b"x"),
                frame(writer, 0x80, b"x"),
                frame(writer, 0x81, b"\xff"),
                frame(writer, 0x88, &1006u16.to_be_bytes()),
                frame(writer, 0x88, &999u16.to_be_bytes()),
                framed(0x81, writer == End::Station, 1 << 62, b"x"),
            ] {
                let mut ears = Reader::new(reader, Vec::new());
                ears.take(&wrong);
                assert!(matches!(ears.next(), Some(Heard::Broken(_))), "{wrong:?}");
            }
        }
    }
}
