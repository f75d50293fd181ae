//! The files of a release. **This is where writers of other forms plug in**: whatever [`written`] returns is listed in the manifest by its digest,
//! signed with it, kept, and handed out byte for byte.

use super::Publishable;
use super::manifest::{FileDigest, Manifest, SCRATCH};
use super::signature::Signature;
use crate::custody::SigningKey;
use crate::report::{self, Papers};
use crate::stats::{Digest, Entry};
use serde::Serialize;

/// All numbers.
pub const FIGURES: &str = "figures.json";
/// All entries of the ledger up to this release.
pub const LEDGER: &str = "ledger.json";
/// What the release says of itself.
pub const MANIFEST: &str = "manifest.json";
/// The manifest's signature.
pub const MANIFEST_SIGNATURE: &str = "manifest.sig.json";
/// That the secret and all that was sealed under it are gone.
pub const RECEIPT: &str = "receipt.json";
/// The receipt's signature.
pub const RECEIPT_SIGNATURE: &str = "receipt.sig.json";

/// A file's name and its bytes.
pub type File = (String, Vec<u8>);

/// Writes the figures in every form that there is: JSON, CSV and a page. Only what the engine released comes here (R21). The manifest says all
/// but the files.
pub fn written(release: &Publishable<'_>, manifest: &Manifest) -> Vec<File> {
    let papers = Papers {
        figures: release.figures(),
        entries: release.entries(),
        cap: manifest.parameters.cap,
        imprint: &format!(
            "Released {} by {}",
            manifest.made.get(..10).unwrap_or_default(),
            manifest.code.split(',').next().unwrap_or_default()
        ),
        scratch: manifest.warnings.iter().any(|warning| warning == SCRATCH),
    };
    let mut files = vec![(FIGURES.to_owned(), json(release.figures()))];
    files.extend(report::files(&papers));
    files
}

/// All files of a release: the figures, the ledger up to it, the manifest with the digest of each, and the manifest's signature.
pub fn bundle(release: &Publishable<'_>, mut manifest: Manifest, ledger: &[Entry], key: &SigningKey) -> Vec<File> {
    let mut files = written(release, &manifest);
    files.push((LEDGER.to_owned(), json(ledger)));
    let digest = |(name, bytes): &File| FileDigest { name: name.clone(), sha256: Digest::of(bytes), bytes: bytes.len() as u64 };
    manifest.files = files.iter().map(digest).collect();
    let manifest = json(&manifest);
    let signature = Signature::of(MANIFEST, &manifest, key).to_bytes();
    files.extend([(MANIFEST.to_owned(), manifest), (MANIFEST_SIGNATURE.to_owned(), signature)]);
    files
}

/// Readable JSON with a line end.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default(); // into memory, with texts for keys
    bytes.push(b'\n');
    bytes
}
