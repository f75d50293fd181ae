//! Bytes to messages, in whatever pieces they come.

use super::utf8::Utf8;
use super::{MAX_CONTROL, Opcode, Role, Violation, mask, may_be_sent};

/// A message, or a control frame. What is lent is gone at the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// To be answered with a pong of this payload.
    Ping(&'a [u8]),
    /// A sign of life.
    Pong,
    /// The peer's last word, with its code if it gave one. Nothing that comes after it is read.
    Close(Option<u16>),
}

/// The frame whose payload is awaited.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    last: bool,
    key: Option<[u8; 4]>,
    /// Its payload, and how much of that has come.
    length: usize,
    come: usize,
}

/// A message in fragments.
#[derive(Debug, Clone, Copy)]
struct Begun {
    text: bool,
    utf8: Utf8,
}

/// What is kept of a message or of a control frame in its midst until it is whole. There is one only while something is incomplete.
#[derive(Debug, Default)]
struct Kept {
    message: Vec<u8>,
    control: Vec<u8>,
    begun: Option<Begun>,
    frame: Option<Frame>,
    head: [u8; super::MAX_HEAD],
    head_length: u8,
    /// Whether the last call lent what is kept here, so that it can go.
    lent: bool,
}

/// Reads the frames of one peer. Between messages it holds no memory but itself.
#[derive(Debug)]
pub struct Reader {
    role: Role,
    closed: bool,
    max_message: u32,
    pieces: u32,
    kept: Option<Box<Kept>>,
}

impl Reader {
    /// A reader for our end of a connection, of messages of at most `max_message` bytes (4 GiB are the most).
    pub fn new(role: Role, max_message: usize) -> Self {
        Self { role, closed: false, max_message: u32::try_from(max_message).unwrap_or(u32::MAX), pieces: 0, kept: None }
    }

    /// Bytes kept of what is incomplete.
    pub fn kept_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| size_of::<Kept>() + kept.message.capacity() + kept.control.capacity())
    }

    /// How many pieces of messages came since this was asked last, beside the last piece of each.
    pub fn pieces(&mut self) -> u32 {
        std::mem::take(&mut self.pieces)
    }

    /// Takes the next message from the front of `input`, whose bytes it may unmask. `None`: all bytes were taken, and more are needed.
    ///
    /// # Errors
    /// The first [`Violation`]; the reader is of no more use after it.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i mut [u8]) -> Result<Option<Message<'s>>, Violation> {
        if self.closed {
            *input = &mut [];
            return Ok(None);
        }
        if let Some(kept) = &mut self.kept {
            kept.forget_lent();
            if kept.is_idle() {
                self.kept = None;
            }
        }
        if self.kept.is_none() {
            // The common case: a whole message in one frame, and all of it here.
            match self.whole(input)? {
                Some((Opcode::Text, payload)) => {
                    return std::str::from_utf8(payload).map(|text| Some(Message::Text(text))).map_err(|_| Violation::NotUtf8);
                }
                Some((Opcode::Binary, payload)) => return Ok(Some(Message::Binary(payload))),
                Some((opcode, payload)) => return control(opcode, payload, &mut self.closed).map(Some),
                None if input.is_empty() => return Ok(None),
                None => {}
            }
        }
        let (role, max_message) = (self.role, self.max_message as usize);
        let complete = self.kept.get_or_insert_with(Box::default).advance(input, role, max_message, &mut self.pieces)?;
        let (Some(opcode), Some(kept)) = (complete, &mut self.kept) else { return Ok(None) };
        kept.lent = true;
        match opcode {
            Opcode::Text => std::str::from_utf8(&kept.message).map(|text| Some(Message::Text(text))).map_err(|_| Violation::NotUtf8),
            Opcode::Binary => Ok(Some(Message::Binary(&kept.message))),
            opcode => control(opcode, &kept.control, &mut self.closed).map(Some),
        }
    }

    /// Takes a whole unfragmented frame that lies at the front, if there is one. What can be refused by its head is refused.
    fn whole<'i>(&self, input: &mut &'i mut [u8]) -> Result<Option<(Opcode, &'i [u8])>, Violation> {
        let Some((frame, head)) = read_head(input, self.role)? else { return Ok(None) };
        frame.admitted(None, 0, self.max_message as usize)?;
        if !frame.last || input.len() - head < frame.length {
            return Ok(None);
        }
        let (taken, rest) = std::mem::take(input).split_at_mut(head + frame.length);
        *input = rest;
        let payload = &mut taken[head..];
        if let Some(key) = frame.key {
            mask::apply(payload, key, 0);
        }
        Ok(Some((frame.opcode, payload)))
    }
}

impl Kept {
    /// Drops what the last call lent, if it did.
    fn forget_lent(&mut self) {
        if !self.lent {
            return;
        }
        self.lent = false;
        let was_control = self.frame.is_some_and(|frame| frame.opcode.is_control());
        self.frame = None;
        if was_control {
            self.control = Vec::new();
        } else {
            self.message = Vec::new();
            self.begun = None;
        }
    }

    fn is_idle(&self) -> bool {
        self.begun.is_none() && self.frame.is_none() && self.head_length == 0
    }

    /// Takes bytes until a message or control frame is whole, whose opcode it gives, or until there are none left.
    fn advance(&mut self, input: &mut &mut [u8], role: Role, max_message: usize, pieces: &mut u32) -> Result<Option<Opcode>, Violation> {
        loop {
            let mut frame = match self.frame {
                Some(frame) => frame,
                None => match self.head(input, role)? {
                    Some(frame) => {
                        frame.admitted(self.begun.as_ref(), self.message.len(), max_message)?;
                        if matches!(frame.opcode, Opcode::Text | Opcode::Binary) {
                            self.begun = Some(Begun { text: frame.opcode == Opcode::Text, utf8: Utf8::default() });
                        }
                        frame
                    }
                    None => return Ok(None),
                },
            };
            let here = input.len().min(frame.length - frame.come);
            let (piece, rest) = std::mem::take(input).split_at_mut(here);
            *input = rest;
            if let Some(key) = frame.key {
                mask::apply(piece, key, frame.come);
            }
            frame.come += piece.len();
            self.frame = Some(frame);
            if frame.opcode.is_control() {
                self.control.extend_from_slice(piece);
            } else {
                // As much as has come, whatever length was claimed.
                self.message.extend_from_slice(piece);
                if let Some(Begun { text: true, utf8 }) = &mut self.begun {
                    let ends = frame.last && frame.come == frame.length;
                    if !utf8.take(piece) || ends && !utf8.is_whole() {
                        return Err(Violation::NotUtf8);
                    }
                }
            }
            if frame.come < frame.length {
                return Ok(None);
            }
            if frame.opcode.is_control() {
                return Ok(Some(frame.opcode));
            }
            if frame.last {
                return Ok(Some(if self.begun.is_some_and(|begun| begun.text) { Opcode::Text } else { Opcode::Binary }));
            }
            *pieces = pieces.saturating_add(1);
            self.frame = None;
        }
    }

    /// Reads a head that may come in pieces.
    fn head(&mut self, input: &mut &mut [u8], role: Role) -> Result<Option<Frame>, Violation> {
        loop {
            if let Some((frame, _)) = read_head(&self.head[..usize::from(self.head_length)], role)? {
                self.head_length = 0;
                return Ok(Some(frame));
            }
            let Some((first, rest)) = std::mem::take(input).split_first_mut() else { return Ok(None) };
            *input = rest;
            self.head[usize::from(self.head_length)] = *first;
            self.head_length += 1;
        }
    }
}

impl Frame {
    /// Whether this frame may come now: inside a message of which `length` bytes have come, if one has `begun`.
    fn admitted(&self, begun: Option<&Begun>, length: usize, max_message: usize) -> Result<(), Violation> {
        match (self.opcode, begun) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::Fragment),
            _ => {}
        }
        if length.saturating_add(self.length) > max_message { Err(Violation::TooBig) } else { Ok(()) }
    }
}

/// Reads a frame's head and says how many bytes it has; `None` if it is not all there. The first two bytes are judged as soon as they are.
fn read_head(bytes: &[u8], role: Role) -> Result<Option<(Frame, usize)>, Violation> {
    let Some(first) = bytes.first() else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBit);
    }
    let opcode = Opcode::of(first & 0x0f).ok_or(Violation::Opcode)?;
    let last = first & 0x80 != 0;
    if opcode.is_control() && !last {
        return Err(Violation::Control);
    }
    let Some(second) = bytes.get(1) else { return Ok(None) };
    let masked = second & 0x80 != 0;
    if masked != (role == Role::Server) {
        return Err(Violation::Mask);
    }
    let short = usize::from(second & 0x7f);
    if opcode.is_control() && short > MAX_CONTROL {
        return Err(Violation::Control);
    }
    let (length, at) = match short {
        126 => {
            let Some(two) = bytes[2..].first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*two)), 4)
        }
        127 => {
            let Some(eight) = bytes[2..].first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*eight), 10)
        }
        short => (short as u64, 2),
    };
    if at == 4 && length < 126 || at == 10 && (length < 0x1_0000 || length >> 63 != 0) {
        return Err(Violation::Length);
    }
    // What does not fit an address is above every bound.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !masked {
        return Ok(Some((Frame { opcode, last, key: None, length, come: 0 }, at)));
    }
    let Some(key) = bytes[at..].first_chunk::<4>() else { return Ok(None) };
    Ok(Some((Frame { opcode, last, key: Some(*key), length, come: 0 }, at + 4)))
}

/// A control frame that is whole.
fn control<'a>(opcode: Opcode, payload: &'a [u8], closed: &mut bool) -> Result<Message<'a>, Violation> {
    match opcode {
        Opcode::Ping => Ok(Message::Ping(payload)),
        Opcode::Close => {
            *closed = true;
            let Some((code, reason)) = payload.split_first_chunk::<2>() else {
                return if payload.is_empty() { Ok(Message::Close(None)) } else { Err(Violation::CloseCode) };
            };
            let code = u16::from_be_bytes(*code);
            if !may_be_sent(code) {
                return Err(Violation::CloseCode);
            }
            std::str::from_utf8(reason).map(|_| Message::Close(Some(code))).map_err(|_| Violation::NotUtf8)
        }
        _ => Ok(Message::Pong),
    }
}
