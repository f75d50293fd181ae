//! Signatures of files, and what they are checked with: Ed25519 (RFC 8032), one small JSON file beside each signed file.

use crate::custody::SigningKey;
use crate::stats::Digest;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// The only algorithm.
const ALGORITHM: &str = "Ed25519";

/// A signature as it lies beside the file that it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The file that is signed: all its bytes.
    pub file: String,
    /// `Ed25519`.
    pub algorithm: String,
    /// The public key, 64 hexadecimal digits.
    pub public_key: Digest,
    /// The signature, 128 hexadecimal digits.
    pub signature: String,
}

impl Signature {
    /// Signs a file.
    pub fn of(file: &str, bytes: &[u8], key: &SigningKey) -> Self {
        let signature = key.sign(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { file: file.to_owned(), algorithm: ALGORITHM.to_owned(), public_key: Digest(key.public()), signature }
    }

    /// The bytes of the signature's own file.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::files::json(self)
    }

    /// Whether these bytes are the ones that were signed.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let pairs = self.signature.as_bytes().chunks(2);
        let signature: Option<Vec<u8>> =
            pairs.map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect();
        let key = UnparsedPublicKey::new(&ED25519, self.public_key.0);
        self.algorithm == ALGORITHM && signature.is_some_and(|signature| key.verify(bytes, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_bytes_alone() {
        let key = SigningKey::scratch().unwrap();
        let signature = Signature::of("a", b"bytes", &key);
        assert!(signature.holds(b"bytes") && !signature.holds(b"byte"));
        assert!(!Signature { algorithm: "none".into(), ..signature.clone() }.holds(b"bytes"));
        for wrong in ["", "zz", "é", &signature.signature[2..]] {
            assert!(!Signature { signature: wrong.into(), ..signature.clone() }.holds(b"bytes"), "{wrong}");
        }
        assert!(!Signature { public_key: Digest([1; 32]), ..signature }.holds(b"bytes"));
    }
}
