//! Key derivation and the two MACs behind a code. One dated label per derived key: a change of meaning takes a new date.

use crate::identity::{Epoch, Identifier};
use crate::pseudonym::{Alphabet, EMSP_LENGTH, Pseudonym};
use crate::seal::{KEY, Kek, WrappingKey};
use crate::secret::Sensitive;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const PSEUDONYM: &[u8] = b"sluis 20260101 pseudonym ";
const RECOGNISE: &[u8] = b"sluis 20260101 recognise ";
const INDEX: &[u8] = b"sluis 20260101 blind index";
const WRAP: &[u8] = b"sluis 20260101 vault record keys";
const WRAP_STANDING: &[u8] = b"sluis 20261124 standing record keys";
const PEOPLE: &[u8] = b"sluis 20261128 statistics people";
const SESSIONS: &[u8] = b"sluis 20261128 statistics sessions";
const VISITS: &[u8] = b"sluis 20261128 statistics visits";

/// HMAC-SHA256 with the key already absorbed: cloned for each use, which halves the cost of a MAC over a short text.
#[derive(Clone)]
pub(crate) struct Mac256(Hmac<Sha256>);

impl Mac256 {
    pub(crate) fn new(key: &[u8; KEY]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// The keys of one epoch in one domain.
pub(super) struct DomainKeys {
    pseudonym: Mac256,
    recognise: Mac256,
}

impl DomainKeys {
    pub(super) fn derive(root: &Sensitive<[u8; KEY]>, domain: &[u8]) -> Self {
        Self { pseudonym: expand(root, &[PSEUDONYM, domain]), recognise: expand(root, &[RECOGNISE, domain]) }
    }

    /// From the two keys themselves, as a share carries them.
    pub(super) fn of(pair: &[Sensitive<[u8; KEY]>; 2]) -> Self {
        let [pseudonym, recognise] = pair.each_ref().map(|key| Mac256::new(key.expose())); // into the MACs
        Self { pseudonym, recognise }
    }

    /// Mark, epoch digit, body, check.
    pub(super) fn code(&self, alphabet: Alphabet, epoch: Epoch, length: usize, identifier: &Identifier) -> Pseudonym {
        let mut text = Vec::with_capacity(EMSP_LENGTH);
        text.extend([alphabet.mark(), b'0' + (epoch.0 % 10) as u8]);
        // Into a MAC: what leaves is the code.
        let body = self.pseudonym.of(&[&[identifier.class.byte()], identifier.canonical.expose().as_bytes()]);
        alphabet.spell(&body, length - 2 - alphabet.check_length(), &mut text);
        let check = self.recognise.of(&[&text]);
        alphabet.spell(&check, alphabet.check_length(), &mut text);
        Pseudonym::from_bytes(&text).expect("both alphabets are upper-case letters and digits, and 31 fit")
    }

    /// Whether the check at the end of `code` is right. The caller has seen to shape and length. Not in constant time: a caller learns one
    /// bit per try either way, and a code that passes still resolves to nothing unless it was recorded.
    pub(super) fn proves(&self, alphabet: Alphabet, code: &Pseudonym) -> bool {
        let text = code.as_str().as_bytes();
        let (before, check) = text.split_at(text.len() - alphabet.check_length());
        let mut right = Vec::with_capacity(4);
        alphabet.spell(&self.recognise.of(&[before]), alphabet.check_length(), &mut right);
        right == check
    }
}

/// The two keys of one epoch in one domain, as bytes: what is handed to the domain's owner. From them neither the root nor any other key
/// can be had, since HKDF-Expand is a pseudo-random function (RFC 5869 §3).
pub(super) fn domain_pair(root: &Sensitive<[u8; KEY]>, domain: &[u8]) -> [Sensitive<[u8; KEY]>; 2] {
    [PSEUDONYM, RECOGNISE].map(|label| Sensitive::new(*expand_bytes(root, &[label, domain])))
}

/// The key of the vault's blind index.
pub(super) fn index(root: &Sensitive<[u8; KEY]>) -> Mac256 {
    expand(root, &[INDEX])
}

/// The key that wraps the data keys of an epoch's vault records. Needs the KEK *and* the root: either one's destruction destroys it.
pub(super) fn wrapping(root: &Sensitive<[u8; KEY]>, kek: &Kek) -> WrappingKey {
    mixed(root, kek, WRAP)
}

/// The key that wraps the data keys of records which outlive epochs: tokens of e-MSPs, credentials. Needs the KEK *and* the standing key.
pub(super) fn standing_wrapping(root: &Sensitive<[u8; KEY]>, kek: &Kek) -> WrappingKey {
    mixed(root, kek, WRAP_STANDING)
}

/// What the secret of a period of statistics becomes: the digests of people and of sessions, and the key that wraps visits' data keys.
pub(super) fn period(secret: &Sensitive<[u8; KEY]>) -> (Mac256, Mac256, WrappingKey) {
    (expand(secret, &[PEOPLE]), expand(secret, &[SESSIONS]), WrappingKey::new(&expand_bytes(secret, &[VISITS])))
}

fn mixed(root: &Sensitive<[u8; KEY]>, kek: &Kek, info: &[u8]) -> WrappingKey {
    let mixed = Hkdf::<Sha256>::new(Some(kek.bytes().expose()), root.expose()); // key derivation
    let mut key = Zeroizing::new([0; KEY]);
    mixed.expand(info, &mut *key).expect("32 bytes are within HKDF's 8,160");
    WrappingKey::new(&key)
}

fn expand(root: &Sensitive<[u8; KEY]>, info: &[&[u8]]) -> Mac256 {
    Mac256::new(&expand_bytes(root, info))
}

/// HKDF-Expand alone: a root is uniform already (RFC 5869 §3.3).
fn expand_bytes(root: &Sensitive<[u8; KEY]>, info: &[&[u8]]) -> Zeroizing<[u8; KEY]> {
    let root = Hkdf::<Sha256>::from_prk(root.expose()).expect("a root is as long as the hash"); // key derivation
    let mut key = Zeroizing::new([0; KEY]);
    root.expand_multi_info(info, &mut *key).expect("32 bytes are within HKDF's 8,160");
    key
}
