//! Releases that are not for publication: with a ledger in a file of its own, for tests and for trying things out. Their manifests say so, and they
//! are signed with a key that everybody can make.

use super::files::{self, File};
use super::gathering::Gathering;
use super::receipt::Receipt;
use super::{NotPublished, Publishable, Terms};
use crate::custody::SigningKey;
use crate::stats::{Entry, Ledger, Period, Randomness};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

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
}

impl Scratch {
    /// Reads a ledger; one that is not there is empty.
    ///
    /// # Errors
    /// It cannot be read, or its chain is broken.
    pub fn open(file: &Path) -> Result<Self, NoScratch> {
        let failed = |why| NoScratch::File { file: file.to_owned(), why };
        let text = match fs::metadata(file) {
            Ok(found) if found.len() > LARGEST => return Err(failed(ErrorKind::FileTooLarge)),
            Ok(_) => fs::read_to_string(file).map_err(|error| failed(error.kind()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error.kind())),
        };
        let read = |line: &str| serde_json::from_str::<Entry>(line).map_err(|_| NotPublished::LedgerForm);
        let entries = text.lines().filter(|line| !line.trim().is_empty()).map(read).collect::<Result<_, _>>()?;
        Ok(Self { file: file.to_owned(), ledger: Ledger::read(entries).map_err(NotPublished::from)? })
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
        terms.allowed(&self.ledger, period).map_err(NotPublished::from)?;
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
        let mut draft = self.file.clone().into_os_string();
        draft.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(draft);
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
