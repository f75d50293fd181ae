//! The key that releases of statistics are signed with: Ed25519 (RFC 8032), drawn at its first use and kept sealed like every secret that
//! outlives epochs.

use super::{Custody, SecretError, secret_place};
use crate::seal::{self, KEY, SealError};
use crate::secret::Sensitive;
use crate::store::Op;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The key's name among the secrets.
const NAME: &str = "statistics signing key";
/// From this everybody can make the key of releases that are not for publication.
const SCRATCH: &[u8] = b"sluis scratch releases: everybody has this key, and what it signs is not for publication";

/// Signs releases.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key of releases that are not for publication: no secret.
    pub fn scratch() -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(&Sha256::digest(SCRATCH)).ok().map(Self)
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.0.public_key().as_ref()); // as long as RFC 8032 says
        public
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(message).as_ref()); // as long as RFC 8032 says
        signature
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey([sensitive])")
    }
}

impl Custody {
    /// The key that releases are signed with; drawn and kept if there is none yet.
    ///
    /// # Errors
    /// No random bytes, it does not open, or the store failed.
    pub fn signing_key(&self) -> Result<SigningKey, SecretError> {
        if self.store.secret(NAME)?.is_none() {
            let seed = Zeroizing::new(self.random::<KEY>()?);
            let text = Sensitive::new(seed.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            let sealed = seal::seal(&text, &secret_place(NAME), self.keys.standing_wrapping(), &*self.entropy)?;
            // If another process does the same, one of them wins, and both read it.
            self.store.commit_blocking(vec![Op::SecretKeep { name: NAME.to_owned(), sealed }])?;
        }
        let text = self.secret(NAME)?.ok_or(SealError::Broken)?;
        let mut seed = Zeroizing::new([0; KEY]);
        for (byte, pair) in seed.iter_mut().zip(text.expose().as_bytes().chunks_exact(2)) {
            // Into the key, and nowhere else.
            *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(SealError::Broken)?;
        }
        Ed25519KeyPair::from_seed_unchecked(&*seed).map(SigningKey).map_err(|_| SealError::Broken.into())
    }
}
