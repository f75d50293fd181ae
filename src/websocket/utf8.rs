//! UTF-8 that comes in pieces, refused at the first byte with which it can no longer become valid.

/// The characters' beginnings that wait for their rest: three bytes at most.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Utf8 {
    begun: [u8; 3],
    length: u8,
}

impl Utf8 {
    /// Takes the next piece; `false` once the text cannot be UTF-8.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> bool {
        while self.length > 0 {
            let Some((next, rest)) = piece.split_first() else { return true };
            let length = usize::from(self.length);
            let mut character = [0; 4];
            character[..length].copy_from_slice(&self.begun[..length]);
            character[length] = *next;
            match std::str::from_utf8(&character[..=length]) {
                Ok(_) => self.length = 0,
                // Four bytes are a character or none, so this stays within the three.
                Err(error) if error.error_len().is_none() && length < 3 => {
                    self.begun[length] = *next;
                    self.length += 1;
                }
                Err(_) => return false,
            }
            piece = rest;
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_none() => {
                let begun = &piece[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.length = begun.len() as u8;
                true
            }
            Err(_) => false,
        }
    }

    /// Whether the text may end here.
    pub(super) fn is_whole(self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Utf8;

    /// Where the text is refused if it comes byte by byte; `None` if it is not.
    fn refused_at(text: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        let at = text.iter().position(|byte| !utf8.take(&[*byte]));
        at.or_else(|| (!utf8.is_whole()).then_some(text.len()))
    }

    #[test]
    fn text_is_refused_at_the_first_byte_that_cannot_go_on() {
        assert_eq!(refused_at("κόσμε Ω € 𝄞 \u{10ffff}\u{0}".as_bytes()), None);
        // Beyond the last character, surrogates, overlong forms, a byte that never stands: at the byte that shows it.
        for (text, at) in [
            (&b"a\xf4\x90\x80\x80"[..], 2),
            (b"\xed\xa0\x80", 1),
            (b"\xe0\x80\x80", 1),
            (b"\xf0\x80\x80\x80", 1),
            (b"\xc0\xaf", 0),
            (b"\xff", 0),
            (b"\xe2\x82(", 2),
            (b"\xf0\x9d\x84", 3),
            (b"\x80", 0),
        ] {
            assert_eq!(refused_at(text), Some(at), "{text:x?}");
        }
    }

    #[test]
    fn where_text_is_cut_makes_no_difference() {
        for text in ["κόσμε € 𝄞!".as_bytes(), b"ab\xed\xa0\x80", "é".as_bytes(), b"\xf0\x9d\x84"] {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let mut utf8 = Utf8::default();
                    let whole = [&text[..first], &text[first..second], &text[second..]].into_iter().all(|piece| utf8.take(piece))
                        && utf8.is_whole();
                    assert_eq!(whole, std::str::from_utf8(text).is_ok(), "{text:x?} {first} {second}");
                }
            }
        }
    }
}
