//! Where a JSON string ends: finds the next byte that matters, eight bytes at a time. (hot)

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The place of the first quote, backslash or control character at or after `from`; the length of `bytes` if there is none. `from` is a
/// place in `bytes` or its end.
#[inline]
pub(crate) fn special(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = marks(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    special_at_the_end(bytes, at)
}

/// [`special`] where fewer than eight bytes are left, which happens once or twice in a frame.
#[inline(never)]
fn special_at_the_end(bytes: &[u8], at: usize) -> usize {
    let passed = (at + 8).saturating_sub(bytes.len()) as u32;
    match bytes.last_chunk() {
        // The last eight, without those that were passed already: the zeros that take their places are a hit at the end itself.
        Some(chunk) if passed < 8 => at + marks(u64::from_le_bytes(*chunk) >> (8 * passed)).trailing_zeros() as usize / 8,
        _ => bytes.iter().skip(at).position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).map_or(bytes.len(), |n| at + n),
    }
}

/// The high bit of each byte that is a quote, a backslash or a control character: Mycroft's test for a zero byte, with one mask for all three.
/// Higher bits than the lowest may be wrong, by a borrow.
#[inline]
fn marks(word: u64) -> u64 {
    let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * 0x20);
    (quote | backslash | control) & !word & HIGHS
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
        fn eight_at_a_time_finds_what_one_at_a_time_finds(bytes in proptest::collection::vec(prop_oneof![9 => any::<u8>(), 1 => Just(b'"')], 0..200), from in 0usize..200) {
            let from = from.min(bytes.len());
            let right = one_by_one(&bytes, from);
            prop_assert_eq!(special(&bytes, from), right);
        }
    }
}
