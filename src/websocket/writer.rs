//! Messages to bytes: one frame each, its head and payload in one buffer, so that one write takes it all.

use super::{MAX_CONTROL, Opcode, mask, may_be_sent};

/// The most bytes that a frame has before its payload.
pub const MAX_HEAD: usize = 14;

/// Appends a whole, unfragmented frame. A client gives a `mask`: four bytes that nobody can foretell, new for each frame (RFC 6455 §5.3,
/// §10.3). A control frame's payload is cut at [`MAX_CONTROL`] bytes.
pub fn write(to: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    let payload = if opcode.is_control() { &payload[..payload.len().min(MAX_CONTROL)] } else { payload };
    let masked = if mask.is_some() { 0x80 } else { 0 };
    to.reserve(MAX_HEAD + payload.len());
    to.push(0x80 | opcode as u8);
    match payload.len() {
        short @ ..126 => to.push(masked | short as u8),
        middle @ ..0x1_0000 => {
            to.push(masked | 126);
            to.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            to.push(masked | 127);
            to.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let Some(key) = mask else { return to.extend_from_slice(payload) };
    to.extend_from_slice(&key);
    let begin = to.len();
    to.extend_from_slice(payload);
    mask::apply(&mut to[begin..], key, 0);
}

/// Appends a close frame. A code that no frame may carry (1005 and 1006 stand for none) is left out, and what is left of the reason with it.
pub fn write_close(to: &mut Vec<u8>, code: Option<u16>, mask: Option<[u8; 4]>) {
    match code.filter(|code| may_be_sent(*code)) {
        Some(code) => write(to, Opcode::Close, &code.to_be_bytes(), mask),
        None => write(to, Opcode::Close, &[], mask),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6455 §5.7.
    #[test]
    fn frames_look_as_in_the_standard() {
        let made = |opcode, payload: &[u8], mask| {
            let mut bytes = Vec::new();
            write(&mut bytes, opcode, payload, mask);
            bytes
        };
        assert_eq!(made(Opcode::Text, b"Hello", None), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(made(Opcode::Text, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d])), masked);
        assert_eq!(made(Opcode::Binary, &[0; 256], None)[..4], [0x82, 0x7e, 0x01, 0x00]);
        assert_eq!(made(Opcode::Binary, &[0; 65536], None)[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn lengths_take_as_few_bytes_as_they_can() {
        for (length, head) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            let mut bytes = Vec::new();
            write(&mut bytes, Opcode::Binary, &vec![0; length], None);
            assert_eq!(bytes.len(), head + length);
        }
    }

    #[test]
    fn codes_that_are_never_sent_are_not_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
            let mut bytes = Vec::new();
            write_close(&mut bytes, Some(code), None);
            assert_eq!(bytes, [0x88, 0]);
        }
        let mut bytes = Vec::new();
        write_close(&mut bytes, Some(1001), None);
        assert_eq!(bytes, [0x88, 2, 0x03, 0xe9]);
    }
}
