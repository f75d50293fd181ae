//! The framing of RFC 6455, sans-io and for both ends: bytes to messages ([`Reader`]) and messages to bytes ([`write()`]). Extensions are not
//! spoken, so a reserved bit is a violation; `permessage-deflate` is declined by not answering it.
//!
//! A frame that lies whole in the bytes at hand is unmasked in place and lent, not copied; only what is incomplete is kept, as far as it
//! has come and never more than the bound of a message. What breaks the protocol is refused at the first byte that shows it.

pub mod fuzz;
mod mask;
mod reader;
mod utf8;
mod writer;

pub use mask::apply as apply_mask;
pub use reader::{Message, Reader};
pub use writer::{MAX_HEAD, write, write_close};

/// The most bytes of a control frame's payload (RFC 6455 §5.5).
pub const MAX_CONTROL: usize = 125;

/// Which end of a connection is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Frames come masked, and go plain.
    Server,
    /// Frames come plain, and go masked.
    Client,
}

/// What a frame is (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message that was begun.
    Continuation = 0,
    /// A text message, or its beginning.
    Text = 1,
    /// A binary message, or its beginning.
    Binary = 2,
    /// The last word of a side.
    Close = 8,
    /// To be answered with a pong of the same payload.
    Ping = 9,
    /// The answer to a ping, or a sign of life that nobody asked for.
    Pong = 10,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// What a peer did wrong. The connection is to be failed with [`Violation::close_code`] (RFC 6455 §7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A reserved bit is set, and no extension was agreed (§5.2).
    ReservedBit,
    /// An opcode that means nothing (§5.2).
    Opcode,
    /// A frame to a server without a mask, or to a client with one (§5.1).
    Mask,
    /// A control frame in fragments, or of more than [`MAX_CONTROL`] bytes (§5.5).
    Control,
    /// A continuation of nothing, or a message begun inside another (§5.4).
    Fragment,
    /// A length in more bytes than it needs, or with its first bit set (§5.2).
    Length,
    /// A close frame with half a code, or a code that no frame may carry (§7.4).
    CloseCode,
    /// Text, or the reason of a close frame, that is not UTF-8 (§8.1).
    NotUtf8,
    /// A message above our bound.
    TooBig,
}

impl Violation {
    /// The code that the peer is closed with (§7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::NotUtf8 => 1007,
            Self::TooBig => 1009,
            _ => 1002,
        }
    }
}

/// Whether a close frame may carry this code: those of RFC 6455 §7.4.1 that are meant to be sent, those registered since (1012 to 1014), and
/// those of libraries and applications (3000 to 4999).
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
