//! Releases that are not for publication: with a ledger in a file of its own, for tests and for trying things out. Their manifests say so, and they
//! are signed with a key that everybody can make. One process at a time has a ledger; another waits until it is done.

use super::files::{self, File};
use super::gathering::Gathering;
use super::receipt::Receipt;
use super::{NotPublished, Publishable, Terms};
use crate::custody::SigningKey;
use crate::stats::{Entry, Ledger, Period, Randomness};
use rusqlite::Connection;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// How long one process waits for another that has the ledger: longer than a release of a million sessions takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most bytes of a scratch ledger: some ten thousand entries.
const LARGEST: u64 = 32 << 20;

/// Why there is no scratch release.
#[derive(Debug, thiserror::Error)]
pub enum NoScratch {
    /// As for any release.
    #[error(transparent)]
    NotPublished(#[from] NotPublished),
    /// The ledger's file.
    #[error("the scratch ledger {}: {why}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        why: ErrorKind,
    },
}

/// A ledger in a file: an entry a line, as JSON.
pub struct Scratch {
    file: PathBuf,
    ledger: Ledger,
    /// The database engine's lock on a file beside it, which holds nothing: it goes when the process goes, however it goes.
    _lock: Mutex<Connection>,
}

impl Scratch {
    /// Reads a ledger; one that is not there is empty. Nobody else has it until this is dropped.
    ///
    /// # Errors
    /// It cannot be read, its chain is broken, or somebody else has it for too long.
    pub fn open(file: &Path) -> Result<Self, NoScratch> {
        let failed = |why| NoScratch::File { file: file.to_owned(), why };
        let lock = locked(&beside(file, ".lock")).map_err(failed)?;
        let text = match fs::metadata(file) {
            Ok(found) if found.len() > LARGEST => return Err(failed(ErrorKind::FileTooLarge)),
            Ok(_) => fs::read_to_string(file).map_err(|error| failed(error.kind()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error.kind())),
        };
        let read = |line: &str| serde_json::from_str::<Entry>(line).map_err(|_| NotPublished::LedgerForm);
        let entries = text.lines().filter(|line| !line.trim().is_empty()).map(read).collect::<Result<_, _>>()?;
        Ok(Self { file: file.to_owned(), ledger: Ledger::read(entries).map_err(NotPublished::from)?, _lock: Mutex::new(lock) })
    }

    /// Looks whether a period may be released, before anything is read or written.
    ///
    /// # Errors
    /// Why not.
    pub fn allows(&self, terms: &Terms, period: Period) -> Result<(), NoScratch> {
        Ok(terms.allowed(&self.ledger, period).map_err(NotPublished::from)?)
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Releases a period, as at the moment of its close. The entries are in the ledger's file, on the disk, when it returns the files.
    ///
    /// # Errors
    /// Nothing was released.
    pub fn release(
        &mut self,
        terms: &Terms,
        period: Period,
        gathering: Gathering,
        randomness: &mut dyn Randomness,
    ) -> Result<Vec<File>, NoScratch> {
        let at = period.close(terms.geography.zone());
        self.allows(terms, period)?;
        let made = terms.release(period, gathering, self.ledger.clone(), at, true, randomness)?;
        let key = SigningKey::scratch().ok_or(NotPublished::Key(crate::custody::SecretError::broken()))?;
        let mut files = files::bundle(&Publishable::of(&made.release), made.manifest, made.ledger.entries(), &key);
        let manifest = files.iter().find(|(name, _)| name == files::MANIFEST).map(|(_, bytes)| Receipt::of_memory(period, bytes, at));
        files.extend(manifest.into_iter().flat_map(|receipt| receipt.files(&key)));
        self.keep(&made.ledger)?;
        self.ledger = made.ledger;
        Ok(files)
    }

    /// Whole or not at all.
    fn keep(&self, ledger: &Ledger) -> Result<(), NoScratch> {
        let lines: String = ledger.entries().iter().map(|entry| serde_json::to_string(entry).unwrap_or_default() + "\n").collect(); // texts for keys
        let draft = beside(&self.file, &format!(".{}", std::process::id()));
        let written = (|| {
            let mut file = fs::File::create(&draft)?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &self.file)
        })();
        written.map_err(|error: std::io::Error| {
            let _ = fs::remove_file(&draft); // half a ledger is none
            NoScratch::File { file: self.file.clone(), why: error.kind() }
        })
    }
}

/// A file beside another, by its name and an ending.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.to_owned().into_os_string();
    name.push(ending);
    name.into()
}

fn locked(path: &Path) -> Result<Connection, ErrorKind> {
    // Made here first, for the reason why it cannot be is told then.
    fs::OpenOptions::new().append(true).create(true).open(path).map_err(|error| error.kind())?;
    let lock = Connection::open(path).and_then(|lock| {
        lock.busy_timeout(PATIENCE)?;
        lock.execute_batch("BEGIN EXCLUSIVE")?;
        Ok(lock)
    });
    lock.map_err(|why| match why.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy) => ErrorKind::ResourceBusy,
        _ => ErrorKind::Other,
    })
}
