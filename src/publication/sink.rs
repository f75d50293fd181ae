//! Where released bytes leave to: a directory. Each file appears whole or not at all, and one that is there with other bytes is not touched.

use super::files::{self, File};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Why files could not be written. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// The operating system said no.
    #[error("cannot write {}: {why}", .file.display())]
    Failed {
        /// The file.
        file: PathBuf,
        /// What it said.
        why: ErrorKind,
    },
    /// Something else is there.
    #[error("{} is there already and is another file", .0.display())]
    Another(PathBuf),
}

/// Sees that a release could be written into a directory: that it can be made and written to, and that no release is there.
///
/// # Errors
/// It could not.
pub fn prepare(dir: &Path) -> Result<(), NotWritten> {
    let failed = |file: &Path, error: std::io::Error| NotWritten::Failed { file: file.to_owned(), why: error.kind() };
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    if let Some(there) = [files::MANIFEST, files::FIGURES, files::LEDGER].map(|name| dir.join(name)).into_iter().find(|path| path.exists())
    {
        return Err(NotWritten::Another(there));
    }
    let draft = dir.join(format!(".{}.{}", files::MANIFEST, std::process::id()));
    fs::write(&draft, b"").and_then(|()| fs::remove_file(&draft)).map_err(|error| failed(dir, error))
}

/// Writes files into a directory, which is made if need be.
///
/// # Errors
/// What was written before stays: the same call can be made again.
pub fn write(dir: &Path, files: &[File]) -> Result<(), NotWritten> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |error: std::io::Error| NotWritten::Failed { file, why: error.kind() }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    for (name, bytes) in files {
        let path = dir.join(name);
        match fs::read(&path) {
            Ok(there) if there == *bytes => continue,
            Ok(_) => return Err(NotWritten::Another(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path)(error)),
        }
        let draft = dir.join(format!(".{name}.{}", std::process::id()));
        let written = (|| {
            let mut file = fs::File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        })();
        written.map_err(|error| {
            let _ = fs::remove_file(&draft); // half a file is none
            failed(&path)(error)
        })?;
    }
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}
