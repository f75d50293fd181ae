//! PEM files: certificates, keys and revocation lists. No message holds a path's content, only the key of the configuration.

use crate::reload::LONGEST;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Reads a file whose content is nobody's secret.
///
/// # Errors
/// What is wrong, in words.
pub fn read(path: &Path) -> Result<Vec<u8>, &'static str> {
    content(open(path)?)
}

/// Reads a file that others must not: a key, a list of passwords. It may be readable by its owner and its group (a group for keys is
/// common), but not by everybody.
///
/// # Errors
/// What is wrong, in words.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let file = open(path)?;
    // Of the open file, not of the name: it cannot be changed for another in between.
    if file.metadata().map_err(|_| "cannot be read")?.mode() & 0o007 != 0 {
        return Err("may be read or written by everybody on this machine; chmod 640 or 600");
    }
    content(file).map(Zeroizing::new)
}

fn open(path: &Path) -> Result<File, &'static str> {
    File::open(path).map_err(|why| if why.kind() == std::io::ErrorKind::NotFound { "does not exist" } else { "cannot be read" })
}

fn content(file: File) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|_| "cannot be read")?;
    if bytes.len() as u64 > LONGEST { Err("is too long") } else { Ok(bytes) }
}

/// All certificates of a file, in its order.
///
/// # Errors
/// What is wrong, in words.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    some(CertificateDer::pem_slice_iter(&read(path)?).collect(), "holds no certificate (PEM)")
}

/// All revocation lists of a file.
///
/// # Errors
/// What is wrong, in words.
pub fn crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, &'static str> {
    some(CertificateRevocationListDer::pem_slice_iter(&read(path)?).collect(), "holds no certificate revocation list (PEM)")
}

/// The first private key of a file.
///
/// # Errors
/// What is wrong, in words.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(&read_secret(path)?).map_err(|_| "holds no private key (PEM, not encrypted)")
}

fn some<T, E>(found: Result<Vec<T>, E>, none: &'static str) -> Result<Vec<T>, &'static str> {
    found.ok().filter(|all| !all.is_empty()).ok_or(none)
}
