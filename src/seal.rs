//! Sealing: authenticated encryption, bound to the place where the result is kept. Pure: randomness is an argument, and keys come
//! from `keys` or from a file that another room read.
//!
//! A vault record is sealed under a data key of its own, which seals exactly once; the data key is wrapped under a key that is
//! derived from both the key-encryption key (KEK) and the root of the record's epoch. So a record is gone when its wrapped key is
//! overwritten, when its epoch's root is destroyed, or when the KEK is (which is what empties backups).

use crate::secret::Sensitive;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use zeroize::Zeroize;

/// Bytes of every key.
pub const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Bytes of a wrapped key: nonce, key, tag.
pub const WRAPPED: usize = NONCE + KEY + TAG;
/// Sealed texts are padded to a multiple of this many bytes, so that a record's length does not tell a 4-byte card from a 7-byte one.
const PAD: usize = 32;
/// Longest text that can be sealed, in bytes: far above any identifier (OCPP 2.1: 255 characters).
pub const LONGEST: usize = 4096;

/// A source of random bytes fit for keys. The shell hands in the operating system's; tests may hand in another.
pub trait Entropy: Send + Sync {
    /// Fills `to`. An error means that nothing may be sealed now.
    fn fill(&self, to: &mut [u8]) -> Result<(), SealError>;
}

/// Why sealing or opening failed. Carries nothing of what was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealError {
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    NoEntropy,
    /// It was sealed under another key, for another place, or has been altered.
    #[error("sealed under another key, moved from its place, or altered")]
    Broken,
    /// The text is longer than [`LONGEST`].
    #[error("too long to seal")]
    TooLong,
}

/// A key that wraps other keys: the KEK itself, or one derived for an epoch. Each wrapping draws a random 96-bit nonce, so one key
/// may wrap 2^32 times (NIST SP 800-38D §8.3).
pub struct WrappingKey(LessSafeKey);

impl WrappingKey {
    /// Takes 32 bytes of key.
    pub fn new(key: &[u8; KEY]) -> Self {
        Self(cipher(key))
    }

    /// Seals a key for one place: `place` names table, row and whatever else must not be swapped.
    pub fn wrap(&self, key: &Sensitive<[u8; KEY]>, place: &[u8], entropy: &dyn Entropy) -> Result<[u8; WRAPPED], SealError> {
        let mut wrapped = [0; WRAPPED];
        let (nonce, rest) = wrapped.split_at_mut(NONCE);
        entropy.fill(nonce)?;
        let mut nonce_bytes = [0; NONCE];
        nonce_bytes.copy_from_slice(nonce);
        let (text, tag) = rest.split_at_mut(KEY);
        text.copy_from_slice(key.expose()); // sealed in place on the next line
        let sealed = self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce_bytes), Aad::from(place), text);
        match sealed {
            Ok(made) => tag.copy_from_slice(made.as_ref()),
            Err(_) => {
                wrapped.zeroize();
                return Err(SealError::Broken);
            }
        }
        Ok(wrapped)
    }

    /// Opens a wrapped key at its place.
    pub fn unwrap(&self, wrapped: &[u8], place: &[u8]) -> Result<Sensitive<[u8; KEY]>, SealError> {
        let (nonce, text) = wrapped.split_at_checked(NONCE).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut text = text.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(place), &mut text);
        let key = opened.ok().and_then(|key| <[u8; KEY]>::try_from(&*key).ok()).map(Sensitive::new);
        text.zeroize();
        key.ok_or(SealError::Broken)
    }
}

/// The key-encryption key: wraps the roots of the epochs. Comes from a file; never stored beside what it wraps unless the operator lets it.
pub struct Kek {
    bytes: Sensitive<[u8; KEY]>,
}

impl Kek {
    /// Reads the content of a key file: 32 raw bytes, or 64 hex digits with or without a line end. `None` for anything else.
    pub fn from_file_content(content: &[u8]) -> Option<Self> {
        let mut bytes = [0; KEY];
        if content.len() == KEY {
            bytes.copy_from_slice(content);
        } else {
            let text = content.trim_ascii_end();
            if text.len() != 2 * KEY {
                return None;
            }
            for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
                let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
                *byte = digit(pair[0])? << 4 | digit(pair[1])?;
            }
        }
        Some(Self { bytes: Sensitive::new(bytes) })
    }

    /// The wrapping key for epoch roots and standing keys.
    pub fn wrapping(&self) -> WrappingKey {
        WrappingKey::new(self.bytes.expose()) // the one key this type exists to be
    }

    /// The raw key, for `keys` to mix into an epoch's wrapping key.
    pub(crate) fn bytes(&self) -> &Sensitive<[u8; KEY]> {
        &self.bytes
    }
}

/// A text sealed under a key of its own, with that key wrapped.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The record's data key, wrapped ([`WRAPPED`] bytes). Overwriting it erases the record.
    pub wrapped: Vec<u8>,
    /// The text, padded, encrypted and authenticated together with its place.
    pub text: Vec<u8>,
}

/// Seals a text for one place. A rewrite is a new call, with a new data key.
pub fn seal(text: &Sensitive<String>, place: &[u8], wrapping: &WrappingKey, entropy: &dyn Entropy) -> Result<Sealed, SealError> {
    let bytes = text.expose().as_bytes(); // encrypted below, in a buffer that never grows
    if bytes.len() > LONGEST {
        return Err(SealError::TooLong);
    }
    let mut key = [0; KEY];
    entropy.fill(&mut key)?;
    let key = Sensitive::new(key);
    let wrapped = wrapping.wrap(&key, place, entropy)?.to_vec();
    let padded = (bytes.len() + 2).next_multiple_of(PAD);
    let mut text = Vec::with_capacity(padded + TAG);
    text.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    text.extend_from_slice(bytes);
    text.resize(padded, 0);
    // Nonce zero: this key seals once, here.
    let nonce = Nonce::assume_unique_for_key([0; NONCE]);
    match cipher(key.expose()).seal_in_place_append_tag(nonce, Aad::from(place), &mut text) {
        Ok(()) => Ok(Sealed { wrapped, text }),
        Err(_) => {
            text.zeroize();
            Err(SealError::Broken)
        }
    }
}

/// Opens a sealed text at its place.
pub fn open(sealed: &Sealed, place: &[u8], wrapping: &WrappingKey) -> Result<Sensitive<String>, SealError> {
    let key = wrapping.unwrap(&sealed.wrapped, place)?;
    let mut text = sealed.text.clone();
    let nonce = Nonce::assume_unique_for_key([0; NONCE]);
    let padded = cipher(key.expose()).open_in_place(nonce, Aad::from(place), &mut text);
    let clear = padded.ok().and_then(|padded| {
        let (length, rest) = padded.split_first_chunk::<2>()?;
        let bytes = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        std::str::from_utf8(bytes).ok().map(|clear| Sensitive::new(clear.to_owned()))
    });
    text.zeroize();
    clear.ok_or(SealError::Broken)
}

fn cipher(key: &[u8; KEY]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256-GCM takes any 32 bytes"))
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey([sensitive])")
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek([sensitive])")
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.text.len())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Bytes that differ on each call and are the same in each run.
    #[derive(Default)]
    pub(crate) struct Counting(AtomicU64);

    impl Entropy for Counting {
        fn fill(&self, to: &mut [u8]) -> Result<(), SealError> {
            for (place, byte) in to.iter_mut().enumerate() {
                *byte = (self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8 ^ place as u8;
            }
            Ok(())
        }
    }

    struct Dry;
    impl Entropy for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), SealError> {
            Err(SealError::NoEntropy)
        }
    }

    fn clear(text: &str) -> Sensitive<String> {
        Sensitive::new(text.to_owned())
    }

    #[test]
    fn a_key_file_is_raw_or_hex() {
        let hex = [b'a'; 64];
        let raw = [0xAA; 32];
        let key = |content: &[u8]| Kek::from_file_content(content).map(|kek| *kek.bytes.expose());
        assert_eq!(key(&hex), Some(raw));
        assert_eq!(key(&[&hex[..], b"\r\n"].concat()), Some(raw));
        assert_eq!(key(&raw), Some(raw));
        for wrong in [&hex[..63], &raw[..31], b"", &[b'g'; 64][..]] {
            assert!(key(wrong).is_none());
        }
    }

    #[test]
    fn no_entropy_seals_nothing() {
        assert_eq!(seal(&clear("x"), b"a", &WrappingKey::new(&[7; KEY]), &Dry).unwrap_err(), SealError::NoEntropy);
    }

    #[test]
    fn lengths_are_blurred() {
        let key = WrappingKey::new(&[7; KEY]);
        let length = |text: &str| seal(&clear(text), b"a", &key, &Counting::default()).unwrap().text.len();
        assert_eq!(length("04A2B3C4"), length("04:A2:B3:C4:D5:E6:F7"));
        assert_eq!(seal(&clear(&"x".repeat(LONGEST + 1)), b"a", &key, &Counting::default()), Err(SealError::TooLong));
    }

    proptest! {
        #[test]
        fn opens_at_its_place_only(text in any::<String>().prop_filter("short", |t| t.len() <= LONGEST), flip in any::<(usize, u8)>()) {
            let (key, other, entropy) = (WrappingKey::new(&[7; KEY]), WrappingKey::new(&[8; KEY]), Counting::default());
            let sealed = seal(&clear(&text), b"v1|here", &key, &entropy).unwrap();
            let opened = open(&sealed, b"v1|here", &key).unwrap();
            prop_assert_eq!(opened.expose(), &text);
            prop_assert!(open(&sealed, b"v1|there", &key).is_err());
            prop_assert!(open(&sealed, b"v1|here", &other).is_err());
            let second = seal(&clear(&text), b"v1|here", &key, &entropy).unwrap();
            prop_assert_ne!(&second.text, &sealed.text, "each sealing has its own key");
            let swapped = Sealed { wrapped: second.wrapped, text: sealed.text.clone() };
            prop_assert!(open(&swapped, b"v1|here", &key).is_err());
            let mut broken = sealed;
            let (place, bits) = (flip.0 % (WRAPPED + broken.text.len()), flip.1.max(1));
            if place < WRAPPED { broken.wrapped[place] ^= bits } else { broken.text[place - WRAPPED] ^= bits }
            prop_assert!(open(&broken, b"v1|here", &key).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_panic(wrapped in any::<Vec<u8>>(), text in any::<Vec<u8>>()) {
            let sealed = Sealed { wrapped, text };
            prop_assert!(open(&sealed, b"v1|here", &WrappingKey::new(&[7; KEY])).is_err());
        }
    }
}
