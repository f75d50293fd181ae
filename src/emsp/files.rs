//! The key file: written for its reader only, and refused where others could have read it.

use crate::keys::{DomainShare, LONGEST_SHARE, ShareError};
use crate::secret::Sensitive;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Why a key file could not be used. Names no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("{0}")]
    File(ErrorKind),
    /// There is one already: it may be somebody's only copy of the keys of an epoch that is gone.
    #[error("is there already, and is not overwritten; name another file")]
    Exists,
    /// Others may read it.
    #[error("is readable by others (mode {0:03o}): chmod 600")]
    Readable(u32),
    /// What is in it is no share, or a damaged one.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// Writes a share to a new file that only its owner may read; it is on the disk when this returns.
///
/// # Errors
/// [`KeyFileError`]; there is no file then.
pub fn write_share(path: &Path, share: &DomainShare) -> Result<(), KeyFileError> {
    let text = share.to_text();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => KeyFileError::Exists,
        kind => KeyFileError::File(kind),
    })?;
    // Into the file that it is made for.
    file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        let _ = fs::remove_file(path); // half a key is of no use
        KeyFileError::File(e.kind())
    })
}

/// Reads a share from a file that only its owner may read.
///
/// # Errors
/// [`KeyFileError`]
pub fn read_share(path: &Path) -> Result<DomainShare, KeyFileError> {
    let failed = |e: std::io::Error| KeyFileError::File(e.kind());
    let file = fs::File::open(path).map_err(failed)?;
    // Of the open file, not of the name: it cannot be changed for another in between.
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Readable(mode));
    }
    // Room for all that may come: growing would leave keys behind in freed memory.
    let mut text = zeroize::Zeroizing::new(String::with_capacity(LONGEST_SHARE + 2));
    file.take(LONGEST_SHARE as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(DomainShare::parse(&Sensitive::new(std::mem::take(&mut *text)))?)
}
