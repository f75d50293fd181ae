//! The framing against another one: the same bytes, however they are cut, are the same messages and the same verdict to tungstenite.

use proptest::prelude::*;
use sluis::websocket::fuzz::{Owned, holds, read_all};
use sluis::websocket::{Opcode, Role, Violation, apply_mask, write};
use std::io::{Cursor, Read, Write};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, protocol};

const MAX: usize = 2000;

/// A stream that only comes in; what is written to it is lost.
struct Incoming(Cursor<Vec<u8>>);

impl Read for Incoming {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(to)
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Frames as they may come: mostly sound, with every kind of fault among them.
#[derive(Debug, Clone)]
struct Sent {
    first: u8,
    payload: Vec<u8>,
    masked: bool,
    key: [u8; 4],
}

impl Sent {
    fn bytes(&self, to: &mut Vec<u8>) {
        to.push(self.first);
        let mask = if self.masked { 0x80 } else { 0 };
        match self.payload.len() {
            n @ ..126 => to.push(mask | n as u8),
            n => {
                to.push(mask | 126);
                to.extend_from_slice(&(n as u16).to_be_bytes());
            }
        }
        let begin = if self.masked {
            to.extend_from_slice(&self.key);
            to.len()
        } else {
            to.len()
        };
        to.extend_from_slice(&self.payload);
        if self.masked {
            apply_mask(&mut to[begin..], self.key, 0);
        }
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[a-zé€𝄞]{0,60}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => "[a-z€]{100,900}".prop_map(String::into_bytes),
        1 => (980_u16..5010, "[a-zé]{0,20}").prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
    ]
}

fn frame(role: Role) -> impl Strategy<Value = Sent> {
    let first = prop_oneof![
        6 => Just(0x81_u8), 3 => Just(0x01), 3 => Just(0x00), 3 => Just(0x80), 2 => Just(0x82), 1 => Just(0x02),
        2 => Just(0x89), 2 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>()
    ];
    let masked = prop::bool::weighted(if role == Role::Server { 0.98 } else { 0.02 });
    (first, payload(), masked, any::<[u8; 4]>()).prop_map(|(first, payload, masked, key)| Sent { first, payload, masked, key })
}

fn streams() -> impl Strategy<Value = (Role, Vec<Sent>, Vec<usize>)> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
        .prop_flat_map(|role| (Just(role), proptest::collection::vec(frame(role), 1..12), proptest::collection::vec(1_usize..80, 1..40)))
}

/// What tungstenite makes of a stream: its messages, and the close code of its verdict, 0 for the end of the bytes.
fn theirs(role: Role, bytes: Vec<u8>) -> (Vec<Owned>, Option<u16>) {
    let settings = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX)).read_buffer_size(64);
    let role = if role == Role::Server { protocol::Role::Server } else { protocol::Role::Client };
    let mut socket = WebSocket::from_raw_socket(Incoming(Cursor::new(bytes)), role, Some(settings));
    let mut all = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => all.push(Owned::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => all.push(Owned::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => all.push(Owned::Ping(bytes.to_vec())),
            Ok(Message::Pong(_)) => all.push(Owned::Pong),
            Ok(Message::Close(frame)) => {
                all.push(Owned::Close(frame.map(|frame| frame.code.into())));
                return (all, None);
            }
            Ok(Message::Frame(_)) => unreachable!("only asked for when writing"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_)) => return (all, None),
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => return (all, Some(1009)),
            Err(Error::Utf8(_)) => return (all, Some(1007)),
            Err(Error::Protocol(_)) => return (all, Some(1002)),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for at in cuts.iter().cycle() {
        if rest.is_empty() {
            return pieces;
        }
        let (piece, after) = rest.split_at((*at).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_same_messages_and_the_same_verdict_as_tungstenite((role, frames, cuts) in streams()) {
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.bytes(&mut bytes);
        }
        let (messages, violation) = read_all(role, MAX, [&bytes[..]]);
        prop_assert_eq!(read_all(role, MAX, cut(&bytes, &cuts)), (messages.clone(), violation));
        let (their_messages, verdict) = theirs(role, bytes);
        // tungstenite closes with 1002 where a close frame has a code that no frame may carry, and does not call it an error.
        let (messages, code) = match violation {
            // The reason was no text either.
            Some(Violation::CloseCode) if verdict == Some(1007) => (messages, verdict),
            Some(Violation::CloseCode) if verdict.is_none() => {
                prop_assert!(matches!(their_messages.last(), Some(Owned::Close(Some(_)))));
                prop_assert_eq!(&messages[..], &their_messages[..their_messages.len() - 1]);
                return Ok(());
            }
            violation => (messages, violation.map(Violation::close_code)),
        };
        // Both look at a frame's head first, but tungstenite sees bad text only when it is all there, and so may find another fault before.
        if violation == Some(Violation::NotUtf8) && verdict != Some(1007) {
            prop_assert_eq!(&messages[..], &their_messages[..messages.len()]);
        } else {
            prop_assert_eq!((messages, code), (their_messages, verdict));
        }
    }

    #[test]
    fn what_is_written_is_read_again(text in ".{0,300}", length in 0_usize..70_000, key in any::<[u8; 4]>(), at in 1_usize..500) {
        for (role, mask) in [(Role::Server, Some(key)), (Role::Client, None)] {
            let binary = vec![0xa5; length];
            let mut bytes = Vec::new();
            write(&mut bytes, Opcode::Text, text.as_bytes(), mask);
            write(&mut bytes, Opcode::Binary, &binary, mask);
            let expected = (vec![Owned::Text(text.clone()), Owned::Binary(binary)], None);
            prop_assert_eq!(read_all(role, 80_000, cut(&bytes, &[at])), expected);
        }
    }

    #[test]
    fn any_bytes_are_read_alike_however_they_are_cut(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(holds(&bytes), Ok(()));
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Sent { first, payload: payload.to_vec(), masked: true, key: [1, 2, 3, 4] }.bytes(&mut bytes);
    bytes
}

fn refused(bytes: &[u8]) -> Option<Violation> {
    read_all(Role::Server, MAX, [bytes]).1
}

#[test]
fn what_breaks_the_protocol_is_refused_at_the_first_byte_that_shows_it() {
    for (bytes, violation) in [
        (&[0xc1][..], Violation::ReservedBit),
        (&[0xa1], Violation::ReservedBit),
        (&[0x91], Violation::ReservedBit),
        (&[0x83], Violation::Opcode),
        (&[0x8b], Violation::Opcode),
        (&[0x81, 0x05], Violation::Mask),
        (&[0x09], Violation::Control),
        (&[0x89, 0xfe], Violation::Control),
        (&[0x81, 0xfe, 0, 125], Violation::Length),
        (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Violation::Length),
        (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::Length),
        // Before a byte of it has come, or room was made for it.
        (&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Violation::TooBig),
        (&[0x80, 0x80, 0, 0, 0, 0], Violation::Fragment),
        // Text that cannot become valid any more, long before its end.
        (&[0x81, 0xfe, 1, 0, 0, 0, 0, 0, b'a', 0xf4, 0x90], Violation::NotUtf8),
    ] {
        assert_eq!(refused(bytes), Some(violation), "{bytes:x?}");
        assert_eq!(refused(&bytes[..bytes.len() - 1]), None, "{bytes:x?} but for its last byte");
    }
}

#[test]
fn a_message_may_have_its_bound_and_not_a_byte_more() {
    assert_eq!(refused(&masked(0x81, &[b'a'; MAX])), None);
    assert_eq!(refused(&masked(0x81, &[b'a'; MAX + 1])), Some(Violation::TooBig));
    let fragments = |last: usize| [masked(0x01, &[b'a'; MAX - 10]), masked(0x89, b"between"), masked(0x80, &vec![b'a'; last])].concat();
    assert_eq!(refused(&fragments(10)), None);
    assert_eq!(refused(&fragments(11)), Some(Violation::TooBig));
}

#[test]
fn close_frames_are_held_to_the_standard() {
    let closed = |payload: &[u8]| read_all(Role::Server, MAX, [&masked(0x88, payload)[..]]);
    assert_eq!(closed(b""), (vec![Owned::Close(None)], None));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999_u16] {
        assert_eq!(closed(&code.to_be_bytes()), (vec![Owned::Close(Some(code))], None));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16] {
        assert_eq!(closed(&code.to_be_bytes()).1, Some(Violation::CloseCode), "{code}");
    }
    assert_eq!(closed(&[3]).1, Some(Violation::CloseCode));
    assert_eq!(closed(b"\x03\xe8\xff").1, Some(Violation::NotUtf8));
    // Nothing after it is read, whatever it is.
    let after = [masked(0x88, b""), masked(0x81, b"late"), vec![0xff; 20]].concat();
    assert_eq!(read_all(Role::Server, MAX, [&after[..]]), (vec![Owned::Close(None)], None));
}
