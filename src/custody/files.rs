//! The data directory, the key file, the serve lock and the operating system's random bytes.

use super::OpenError;
use crate::seal::{Entropy, KEY, Kek, SealError};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::Connection;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// The key-encryption key's name in the data directory, when the operator names no other place.
pub const KEK_FILE: &str = "kek";
/// The file whose lock says that a gateway serves from this directory.
pub const SERVE_LOCK: &str = "serve.lock";
/// Most bytes read of a key file: a longer one is no key.
const KEK_LONGEST: u64 = 128;

/// The operating system's generator, by ring.
pub(super) struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    pub(super) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, to: &mut [u8]) -> Result<(), SealError> {
        self.0.fill(to).map_err(|_| SealError::NoEntropy)
    }
}

/// Makes the data directory if need be, for its owner only. One that exists is left as it is.
pub(super) fn make_dir(dir: &Path) -> Result<(), OpenError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| OpenError::Directory { dir: dir.to_owned(), why: e.kind() })
}

/// Why a directory can neither be written in nor made; `None` if it can. Leaves nothing behind. A full disk and one that is
/// read-only are no reasons: they are no mistakes of a configuration, and may be over at the next start.
pub fn no_room(dir: &Path) -> Option<&'static str> {
    let ancestors = dir.ancestors().map(|at| if at.as_os_str().is_empty() { Path::new(".") } else { at });
    let looked = |at: &Path| match fs::metadata(at) {
        // A link that leads nowhere is there.
        Err(e) if e.kind() == ErrorKind::NotFound && fs::symlink_metadata(at).is_err() => None,
        found => Some((at.to_owned(), found)),
    };
    let tried = match ancestors.into_iter().find_map(looked)? {
        (_, Err(e)) => Err(e),
        (_, Ok(what)) if !what.is_dir() => Err(ErrorKind::NotADirectory.into()),
        (at, Ok(_)) => {
            let probe = at.join(format!(".sluis-probe-{}", std::process::id()));
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe);
            made.and_then(|_| fs::remove_file(&probe))
        }
    };
    match tried.err()?.kind() {
        ErrorKind::NotADirectory => Some("is no directory, and cannot be made: a file is in its way"),
        ErrorKind::NotFound => Some("cannot be made: its path leads nowhere"),
        ErrorKind::PermissionDenied => Some("cannot be made or written in: this user may not"),
        _ => None,
    }
}

/// Reads the key file, and refuses one that others may read. A systemd credential is exempt: systemd gives it to one service, through a
/// group entry of an access list.
pub(super) fn read_kek(path: &Path, credentials: Option<&Path>) -> Result<Kek, OpenError> {
    let failed = |e: std::io::Error| OpenError::KeyFile { file: path.to_owned(), why: e.kind() };
    let file = fs::File::open(path).map_err(failed)?;
    // Of the open file, not of the name: it cannot be changed for another in between.
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 && !credentials.is_some_and(|dir| path.starts_with(dir)) {
        return Err(OpenError::KeyReadable { file: path.to_owned(), mode });
    }
    let mut content = Zeroizing::new(Vec::with_capacity(KEK_LONGEST as usize + 1));
    file.take(KEK_LONGEST).read_to_end(&mut content).map_err(failed)?;
    Kek::from_file_content(&content).ok_or_else(|| OpenError::KeyForm(path.to_owned()))
}

/// Draws a key and puts it in place whole, on the disk, or not at all. One that another process made meanwhile stays.
pub(super) fn create_kek(path: &Path, entropy: &dyn Entropy) -> Result<(), OpenError> {
    let mut key = Zeroizing::new([0; KEY]);
    entropy.fill(&mut *key).map_err(|_| OpenError::NoEntropy)?;
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY + 1));
    for byte in key.iter() {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    text.push('\n');
    let draft = path.with_extension(format!("new.{}", std::process::id()));
    let made = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let _ = fs::remove_file(&draft); // a second name for the same file
    made.and_then(|()| fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|e| OpenError::KeyFile { file: path.to_owned(), why: e.kind() })
}

/// Says that a gateway serves from a directory. The lock is the database engine's own, on a file that holds nothing: it works on every
/// file system the data works on, and goes when the process goes, however it goes.
pub(super) struct ServeLock {
    /// Never used again; the mutex only lets custody be shared between threads.
    _conn: std::sync::Mutex<Connection>,
}

impl ServeLock {
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(SERVE_LOCK);
        let directory = |why| OpenError::Directory { dir: dir.to_owned(), why };
        fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(|e| directory(e.kind()))?;
        let conn = Connection::open(&path).map_err(|_| directory(ErrorKind::Other))?;
        conn.busy_timeout(std::time::Duration::ZERO).map_err(|_| directory(ErrorKind::Other))?;
        match conn.execute_batch("BEGIN EXCLUSIVE") {
            Ok(()) => Ok(Self { _conn: conn.into() }),
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Err(OpenError::Served(dir.to_owned())),
            Err(_) => Err(directory(ErrorKind::Other)),
        }
    }
}
