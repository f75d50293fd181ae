//! Where a JSON string ends: finds the next byte that matters, sixteen bytes at a time. (hot)

use wide::u8x16;

/// The place of the first quote, backslash or control character at or after `from`; the length of `bytes` if there is none. `from` is a
/// place in `bytes` or its end.
#[inline]
pub(crate) fn special(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = marks(chunk);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    special_at_the_end(bytes, at)
}

/// [`special`] where fewer than sixteen bytes are left, which happens a few times in a frame.
#[inline(never)]
fn special_at_the_end(bytes: &[u8], at: usize) -> usize {
    let left = bytes.len().saturating_sub(at);
    match bytes.last_chunk() {
        // The last sixteen, without those that were passed already; a hit is put at the end itself.
        Some(chunk) => at + (marks(chunk) >> (16 - left) | 1 << left).trailing_zeros() as usize,
        None => bytes.iter().skip(at).position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).map_or(bytes.len(), |n| at + n),
    }
}

/// One bit for each byte that is a quote, a backslash or a control character.
#[inline]
fn marks(chunk: &[u8; 16]) -> u32 {
    let bytes = u8x16::new(*chunk);
    let is = |byte: u8| bytes.cmp_eq(u8x16::splat(byte));
    let control = bytes.min(u8x16::splat(0x1f)).cmp_eq(bytes);
    (control | is(b'"') | is(b'\\')).move_mask() as u32
}

#[cfg(test)]
mod tests {
    use super::special;
    use proptest::prelude::*;

    fn one_by_one(bytes: &[u8], from: usize) -> usize {
        (from..bytes.len()).find(|at| matches!(bytes[*at], b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len())
    }

    #[test]
    fn every_byte_is_told_at_every_place_in_every_length() {
        for length in 0..=50 {
            let plain = vec![b'a'; length];
            for from in 0..=length {
                assert_eq!(special(&plain, from), length);
            }
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text = plain.clone();
                    text[place] = byte;
                    for from in [0, place.saturating_sub(1), place, place + 1] {
                        let right = one_by_one(&text, from);
                        assert_eq!(special(&text, from), right, "{byte:#x} at {place} of {length} from {from}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn sixteen_at_a_time_finds_what_one_at_a_time_finds(bytes in proptest::collection::vec(prop_oneof![9 => any::<u8>(), 1 => Just(b'"')], 0..200), from in 0usize..200) {
            let from = from.min(bytes.len());
            let right = one_by_one(&bytes, from);
            prop_assert_eq!(special(&bytes, from), right);
        }
    }
}
