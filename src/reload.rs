//! What is read from files and read again while the gateway runs: certificates, revocation lists, passwords. A new content takes the
//! place of the old one whole, or, if anything in it is wrong, not at all. Whoever holds the old one keeps it: running connections stay.

use arc_swap::ArcSwap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The most bytes of a file that is read here: a list of a hundred thousand stations, a revocation list of as many certificates.
pub const LONGEST: u64 = 64 << 20;

/// What is known of a file without reading it: when it was changed, its length and its number on the disk; `None` if it is not there.
type Stamp = Option<(i64, i64, u64, u64)>;

/// What came of a look at the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// Nothing has changed.
    Same,
    /// The new content is in force.
    New,
    /// The new content cannot be used; the old one stays.
    Kept,
}

impl Reloaded {
    /// The word in metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::New => "new",
            Self::Kept => "kept",
        }
    }
}

/// Something that can be read again. Looks at files: call it where blocking is allowed.
pub trait Reload: Send + Sync {
    /// What it is, in one word of a closed list, for logs and metrics.
    fn what(&self) -> &'static str;
    /// Reads the files again if they have changed, or in any case if `force`d.
    fn refresh(&self, force: bool) -> Reloaded;
}

/// Reads all over again, or tells everything that is wrong, each with its key and without a content.
type Read<T> = Box<dyn Fn() -> Result<T, Vec<String>> + Send + Sync>;

/// A value that is made of files.
pub struct Watched<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    read: Read<T>,
    current: ArcSwap<T>,
    stamps: Mutex<Vec<Stamp>>,
}

impl<T: Send + Sync> Watched<T> {
    /// Reads for the first time.
    ///
    /// # Errors
    /// What `read` says is wrong.
    pub fn open(
        what: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, Vec<String>> + Send + Sync + 'static,
    ) -> Result<Self, Vec<String>> {
        // Looked at before they are read: what changes in between is read again.
        let stamps = Mutex::new(files.iter().map(|file| stamp(file)).collect());
        let current = ArcSwap::from_pointee(read()?);
        Ok(Self { what, files, read: Box::new(read), current, stamps })
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<T> {
        self.current.load_full()
    }
}

impl<T: Send + Sync> Reload for Watched<T> {
    fn what(&self) -> &'static str {
        self.what
    }

    fn refresh(&self, force: bool) -> Reloaded {
        // One at a time; a signal and the timer may come together.
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let now: Vec<Stamp> = self.files.iter().map(|file| stamp(file)).collect();
        if *stamps == now && !force {
            return Reloaded::Same;
        }
        *stamps = now;
        match (self.read)() {
            Ok(fresh) => {
                self.current.store(Arc::new(fresh));
                tracing::info!(what = self.what, "read again");
                Reloaded::New
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!(what = self.what, reason = mistake, "cannot be used: what was read before stays in force");
                }
                Reloaded::Kept
            }
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    let of = fs::metadata(file).ok()?;
    Some((of.mtime(), of.mtime_nsec(), of.len(), of.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_content_leaves_the_old_one_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        fs::write(&file, "1").unwrap();
        let path = file.clone();
        let number = Watched::open("number", vec![file.clone()], move || {
            fs::read_to_string(&path).ok().and_then(|text| text.parse::<u32>().ok()).ok_or_else(|| vec!["number: is none".to_owned()])
        })
        .unwrap();
        let old = number.get();
        assert_eq!((*old, number.refresh(false)), (1, Reloaded::Same));
        fs::write(&file, "22").unwrap();
        assert_eq!((number.refresh(false), *number.get(), *old), (Reloaded::New, 22, 1));
        fs::write(&file, "no number").unwrap();
        assert_eq!(
            (number.refresh(false), number.refresh(false), number.refresh(true), *number.get()),
            (Reloaded::Kept, Reloaded::Same, Reloaded::Kept, 22)
        );
        fs::remove_file(&file).unwrap();
        assert_eq!((number.refresh(false), *number.get()), (Reloaded::Kept, 22));
        fs::write(&file, "333").unwrap();
        assert_eq!((number.refresh(false), *number.get()), (Reloaded::New, 333));
    }
}
