//! What anybody can check of a release, offline and without us: signatures, the digest of every file, the chain of the ledger, what the ledger says of
//! the figures, and all totals.

use super::files;
use super::manifest::{Budget, FORMAT, Manifest};
use super::receipt::Receipt;
use super::signature::Signature;
use crate::stats::{Digest, Entry, Figures, Ledger, Method, Rho, TableFigures};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The largest file that is read.
const LARGEST: u64 = 1 << 30;

/// What came of a check.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong, each in a sentence. Empty: all is as it was made.
    pub failures: Vec<String>,
    /// What was checked, and what must be known besides.
    pub notes: Vec<String>,
}

struct Release<'a> {
    dir: &'a Path,
    verdict: Verdict,
}

/// Checks the release in a directory. `key` is the public key that it must be signed with; without one, whose key it is stays open.
pub fn verify(dir: &Path, key: Option<Digest>) -> Verdict {
    let mut release = Release { dir, verdict: Verdict::default() };
    release.check(key);
    release.verdict
}

impl Release<'_> {
    fn fail(&mut self, what: impl Into<String>) {
        self.verdict.failures.push(what.into());
    }

    fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        let path = self.dir.join(name);
        let read = match fs::metadata(&path) {
            Ok(found) if found.len() > LARGEST || !found.is_file() => Err("is too large, or no file".to_owned()),
            Ok(_) => fs::read(&path).map_err(|error| format!("cannot be read: {}", error.kind())),
            Err(error) => Err(format!("cannot be read: {}", error.kind())),
        };
        read.map_err(|why| self.fail(format!("{name} {why}"))).ok()
    }

    fn parsed<T: DeserializeOwned>(&mut self, name: &str, bytes: &[u8]) -> Option<T> {
        let parsed = serde_json::from_slice(bytes).ok();
        if parsed.is_none() {
            self.fail(format!("{name} is not in its form"));
        }
        parsed
    }

    /// Whether a file is signed; returns by whom.
    fn signed(&mut self, file: &str, signature: &str, bytes: &[u8]) -> Option<Digest> {
        let text = self.bytes(signature)?;
        let signature_read: Signature = self.parsed(signature, &text)?;
        if signature_read.file != file || !signature_read.holds(bytes) {
            self.fail(format!("the signature of {file} does not hold"));
            return None;
        }
        Some(signature_read.public_key)
    }

    fn check(&mut self, key: Option<Digest>) {
        let Some(bytes) = self.bytes(files::MANIFEST) else { return };
        let signer = self.signed(files::MANIFEST, files::MANIFEST_SIGNATURE, &bytes);
        let Some(manifest) = self.parsed::<Manifest>(files::MANIFEST, &bytes) else { return };
        if manifest.format != FORMAT {
            self.fail("manifest.json is of another form than this program knows");
            return;
        }
        let scratch = crate::custody::SigningKey::scratch().map(|key| Digest(key.public()));
        match (signer, key) {
            (Some(signer), Some(key)) if signer != key => self.fail("it is signed with another key than the one that was named"),
            (Some(signer), None) => {
                self.verdict.notes.push(format!("signed with {signer}: ask the publisher whether that is its key, or name it with --key"));
            }
            _ => {}
        }
        if signer.is_some() && signer == scratch && manifest.for_publication {
            self.fail("it says that it is for publication, and is signed with a key that everybody can make");
        }
        self.verdict.notes.extend(manifest.warnings.iter().cloned());
        if manifest.code != super::code() {
            self.verdict.notes.push("it was made by another version of the program, or from other sources, than this one".to_owned());
        }
        self.check_files(&manifest);
        self.check_figures(&manifest);
        self.check_receipt(&manifest, Digest::of(&bytes), signer);
    }

    fn check_files(&mut self, manifest: &Manifest) {
        let mut known: BTreeSet<&str> = [files::MANIFEST, files::MANIFEST_SIGNATURE, files::RECEIPT, files::RECEIPT_SIGNATURE].into();
        for file in &manifest.files {
            if file.name.contains(['/', '\\']) || file.name.starts_with('.') || file.name.is_empty() {
                self.fail("manifest.json names a file outside the directory");
                continue;
            }
            known.insert(&file.name);
            let Some(bytes) = self.bytes(&file.name) else { continue };
            if Digest::of(&bytes) != file.sha256 || bytes.len() as u64 != file.bytes {
                self.fail(format!("{} has other bytes than the manifest says", file.name));
            }
        }
        for name in [files::FIGURES, files::LEDGER] {
            if !manifest.files.iter().any(|file| file.name == name) {
                self.fail(format!("manifest.json does not list {name}"));
            }
        }
        let there = fs::read_dir(self.dir).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let strangers = there.filter(|name| !known.contains(name.as_str())).count();
        if strangers > 0 {
            self.verdict.notes.push(format!("{strangers} other files are in the directory; nothing vouches for them"));
        }
    }

    fn check_figures(&mut self, manifest: &Manifest) {
        let Some(bytes) = self.bytes(files::LEDGER) else { return };
        let Some(entries) = self.parsed::<Vec<Entry>>(files::LEDGER, &bytes) else { return };
        let ledger = match Ledger::read(entries) {
            Ok(ledger) => ledger,
            Err(why) => return self.fail(format!("ledger.json: {why}")),
        };
        if ledger.head() != manifest.ledger.head {
            self.fail("ledger.json ends with another entry than the manifest says");
        }
        let cost = ledger
            .entries()
            .iter()
            .filter(|entry| entry.period == manifest.period)
            .fold(0u32, |sum, entry| sum.saturating_add(entry.rho.0));
        let budget = Budget::of(&ledger, manifest.period.year(), Rho(cost), manifest.parameters.cap);
        if budget != manifest.budget {
            self.fail("the manifest's budget is not what the ledger's entries add up to");
        }
        if ledger.spent(manifest.period.year()) > manifest.parameters.cap {
            self.fail("the year has cost more than its cap");
        }
        let Some(bytes) = self.bytes(files::FIGURES) else { return };
        let Some(figures) = self.parsed::<Figures>(files::FIGURES, &bytes) else { return };
        if figures.period != manifest.period
            || figures.method != manifest.method
            || (figures.not_for_publication && manifest.for_publication)
        {
            self.fail("figures.json says otherwise than the manifest of period, method or whether it is for publication");
        }
        let listed: BTreeSet<_> = manifest.ledger.entries.iter().copied().collect();
        let own: BTreeSet<_> = ledger.entries().iter().filter(|entry| entry.period == figures.period).map(|entry| entry.number).collect();
        if listed != own || own.len() != figures.tables.len() {
            self.fail("the ledger has other entries of this period than the figures have tables");
        }
        for table in &figures.tables {
            let name = format!("{:?}", table.table);
            match ledger.find(table.table, figures.period) {
                None => self.fail(format!("the ledger has no entry of {name}")),
                Some(entry) if entry.figures != table.digest() => self.fail(format!("{name} has other numbers than the ledger says")),
                Some(entry) if entry.cells != table.cells || entry.rho != table.rho || entry.method != figures.method => {
                    self.fail(format!("{name} has other cells, another cost or another method than the ledger says"));
                }
                Some(entry) if entry.code != manifest.code => {
                    self.fail(format!("{name} was made by other code than the manifest says"));
                }
                Some(entry) if !is_as_entered(table, entry) => {
                    self.fail(format!("{name} says another bound or other noise than the ledger"));
                }
                Some(_) => {}
            }
            if !manifest.cells.iter().any(|cells| cells.table == table.table && cells.digest == table.cells) {
                self.fail(format!("{name} has another list of cells than the manifest says"));
            }
            if let Err(why) = table.verify() {
                self.fail(why.to_string());
            }
        }
    }

    fn check_receipt(&mut self, manifest: &Manifest, digest: Digest, signer: Option<Digest>) {
        if !self.dir.join(files::RECEIPT).exists() {
            self.fail("receipt.json is missing: nothing says that what the release was made from is destroyed");
            return;
        }
        let Some(bytes) = self.bytes(files::RECEIPT) else { return };
        let by = self.signed(files::RECEIPT, files::RECEIPT_SIGNATURE, &bytes);
        if by.is_some() && signer.is_some() && by != signer {
            self.fail("receipt.json is signed with another key than the manifest");
        }
        if let Some(receipt) = self.parsed::<Receipt>(files::RECEIPT, &bytes)
            && (receipt.period != manifest.period || receipt.manifest != digest)
        {
            self.fail("receipt.json is of another release");
        }
    }
}

/// Whether a table says of its bounds and its noise what its entry in the ledger does.
fn is_as_entered(table: &TableFigures, entry: &Entry) -> bool {
    if entry.method == Method::Exact {
        return table.measures.iter().all(|measure| measure.variance.is_none());
    }
    let said = table.measures.iter().map(|of| (of.measure, of.square, of.variance, of.rho));
    said.eq(entry.spent.iter().map(|of| (of.measure, of.square, Some(of.variance), of.rho)))
}
