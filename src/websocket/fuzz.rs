//! Any bytes as what a peer sends, and what must hold of how they are read: for fuzz targets and for the tests that replay their corpus.

use super::{Message, Opcode, Reader, Role, Violation, write, write_close};

/// The bound of a message in [`holds`].
pub const MAX_MESSAGE: usize = 4096;

/// A [`Message`] that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owned {
    /// [`Message::Text`]
    Text(String),
    /// [`Message::Binary`]
    Binary(Vec<u8>),
    /// [`Message::Ping`]
    Ping(Vec<u8>),
    /// [`Message::Pong`]
    Pong,
    /// [`Message::Close`]
    Close(Option<u16>),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong => Self::Pong,
            Message::Close(code) => Self::Close(code),
        }
    }
}

/// All that a reader makes of bytes that come in these pieces, and how it ends.
pub fn read_all<'a>(role: Role, max_message: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Owned>, Option<Violation>) {
    let mut reader = Reader::new(role, max_message);
    let mut all = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = &mut bytes[..];
        loop {
            match reader.next(&mut input) {
                Ok(Some(message)) => all.push(message.into()),
                Ok(None) => break,
                Err(violation) => return (all, Some(violation)),
            }
        }
    }
    (all, None)
}

/// What must hold of any bytes. The first byte says which end reads, the second how the rest is cut into pieces.
///
/// # Errors
/// What does not hold.
pub fn holds(bytes: &[u8]) -> Result<(), &'static str> {
    let [role, cut, stream @ ..] = bytes else { return Ok(()) };
    let (role, other) = if role % 2 == 0 { (Role::Server, Role::Client) } else { (Role::Client, Role::Server) };
    let whole = read_all(role, MAX_MESSAGE, [stream]);
    if read_all(role, MAX_MESSAGE, stream.chunks(usize::from(*cut) + 1)) != whole || read_all(role, MAX_MESSAGE, stream.chunks(1)) != whole
    {
        return Err("where the bytes are cut makes a difference");
    }
    let mut reader = Reader::new(role, MAX_MESSAGE);
    for piece in stream.chunks(usize::from(*cut) + 1) {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        while let Ok(Some(message)) = reader.next(&mut input) {
            if matches!(message, Message::Text(text) if text.len() > MAX_MESSAGE) {
                return Err("a message above the bound");
            }
        }
        // A vector may have twice the room that it needs; a control frame and the state are small.
        if reader.kept_bytes() > 2 * MAX_MESSAGE + 1024 {
            return Err("more is kept than the bound of a message");
        }
    }
    again(whole.0, other)
}

/// [`holds`], as the body of a fuzz target.
///
/// # Panics
/// If something does not hold.
pub fn run(bytes: &[u8]) {
    assert_eq!(holds(bytes), Ok(()));
}

/// What was read, written by the other end's rules and read again, is the same.
fn again(messages: Vec<Owned>, role: Role) -> Result<(), &'static str> {
    // A reader that is a server reads what is masked.
    let mask = (role == Role::Server).then_some([0x5a, 0, 0xff, 0x13]);
    let mut bytes = Vec::new();
    for message in &messages {
        match message {
            Owned::Text(text) => write(&mut bytes, Opcode::Text, text.as_bytes(), mask),
            Owned::Binary(payload) => write(&mut bytes, Opcode::Binary, payload, mask),
            Owned::Ping(payload) => write(&mut bytes, Opcode::Ping, payload, mask),
            Owned::Pong => write(&mut bytes, Opcode::Pong, &[], mask),
            Owned::Close(code) => write_close(&mut bytes, *code, mask),
        }
    }
    if read_all(role, MAX_MESSAGE, [&bytes[..]]) == (messages, None) { Ok(()) } else { Err("what was written is read as something else") }
}
