//! Escapes in JSON strings (RFC 8259 §7): checked, undone and written.

use super::Unreadable;

/// Passes over the escape at `at`; a lone surrogate is no character and is refused, as serde_json does.
pub(super) fn escape(bytes: &[u8], at: usize) -> Result<usize, Unreadable> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match unit(bytes, at + 2).ok_or(Unreadable::Syntax)? {
            0xd800..=0xdbff => {
                let low = (bytes.get(at + 6..at + 8) == Some(b"\\u")).then(|| unit(bytes, at + 8)).flatten();
                if matches!(low, Some(0xdc00..=0xdfff)) { Ok(at + 12) } else { Err(Unreadable::Syntax) }
            }
            0xdc00..=0xdfff => Err(Unreadable::Syntax),
            _ => Ok(at + 6),
        },
        _ => Err(Unreadable::Syntax),
    }
}

fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |unit, b| Some(unit * 16 + char::from(*b).to_digit(16)?))
}

/// Undoes the escapes of a string content that a [`Cursor`](super::Cursor) has read.
pub(super) fn unescape(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut plain = String::with_capacity(raw.len());
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        at += found;
        plain.push_str(&raw[copied..at]);
        let next = bytes.get(at + 1).copied().unwrap_or_default();
        at += 2;
        plain.push(match next {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = unit(bytes, at).unwrap_or(0xfffd);
                at += 4;
                let code = if (0xd800..0xdc00).contains(&high) {
                    let low = unit(bytes, at + 2).unwrap_or(0xdc00);
                    at += 6;
                    0x10000 + ((high - 0xd800) << 10) + (low.saturating_sub(0xdc00) & 0x3ff)
                } else {
                    high
                };
                char::from_u32(code).unwrap_or('\u{fffd}')
            }
            other => char::from(other),
        });
        copied = at;
    }
    plain.push_str(&raw[copied..]);
    plain
}

/// Writes `text` as a JSON string, quotes included.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                out.push_str("\\u00");
                out.push(char::from(b'0' + (c as u8 >> 4)));
                out.push(char::from_digit(u32::from(c) & 15, 16).unwrap_or('0'));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
