//! The mask of RFC 6455 §5.3: the payload combined with a key of four bytes, over and over.

/// Masks or unmasks in place. `offset` is how many bytes of the same payload came before. Eight bytes at a time, in a form that compilers turn
/// into vector instructions.
pub fn apply(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let [a, b, c, d] = std::array::from_fn(|at| key[(at + offset) % 4]);
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::apply;

    #[test]
    fn every_length_and_offset_is_masked_as_the_standard_says() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..70_usize {
            for offset in 0..9 {
                let plain: Vec<u8> = (0..length).map(|n| n as u8).collect();
                let expected: Vec<u8> = plain.iter().enumerate().map(|(at, byte)| byte ^ key[(at + offset) % 4]).collect();
                let mut masked = plain;
                apply(&mut masked, key, offset);
                assert_eq!(masked, expected, "{length} {offset}");
            }
        }
    }
}
