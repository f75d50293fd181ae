//! What `sluis codes` does: turns an operator's card list into codes once, and keeps what they stand for, so that the list the CSMS holds
//! afterwards can be restored. Streams: memory does not grow with the list.

use super::Custody;
use crate::identity::{Codes, Declared, Epoch, Identifier, Sighting};
use crate::pseudonym::Pseudonym;
use crate::vault::VaultError;
use std::io::{BufRead, Read, Write};
use zeroize::Zeroizing;

/// Longest line, in bytes: OCPP 2.1 allows an identifier of 255 characters.
pub const LONGEST_LINE: usize = 1024;
/// Lines per transaction: short enough that a gateway running beside waits a few milliseconds for the lock.
const BATCH: usize = 512;
/// Pause between transactions: room for that gateway to write.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coded {
    /// Lines coded.
    pub identifiers: u64,
    /// Lines that were codes of ours already and were printed as they are.
    pub already: u64,
    /// Empty lines.
    pub empty: u64,
}

/// Why it stopped. Lines before the one named are coded and recorded. Never quotes a line.
#[derive(Debug, thiserror::Error)]
pub enum CodesError {
    /// A line is too long or not UTF-8.
    #[error("line {0} is longer than {LONGEST_LINE} bytes or not UTF-8")]
    Line(u64),
    /// The epoch asked for does not exist or was destroyed.
    #[error("no such live epoch")]
    NotLive,
    /// Reading failed.
    #[error("cannot read: {0}")]
    Read(std::io::ErrorKind),
    /// Writing failed.
    #[error("cannot write: {0}")]
    Write(std::io::ErrorKind),
    /// The vault did not take them.
    #[error("line {0} or one of the {BATCH} before it was not recorded: {1}")]
    Vault(u64, VaultError),
}

/// A line that was read: its text, what it stands for (unless it is a code already), its codes.
type Line = (Zeroizing<String>, Option<Identifier>, Vec<Pseudonym>);

impl Custody {
    /// Reads identifiers, one a line, and writes `<identifier>\t<code>`: the code in the current epoch, and during a rotation, as a third
    /// column, the one in the epoch that is ending. With `epoch`, the code in that epoch only (to convert to a prepared one ahead). A line is
    /// written only after its codes are on the disk. A line that is a code of ours is its own code.
    pub fn codes(&self, mut input: impl BufRead, mut output: impl Write, epoch: Option<Epoch>) -> Result<Coded, CodesError> {
        let (mut coded, mut number) = (Coded::default(), 0);
        let epochs = match epoch {
            Some(epoch) if !self.keys.epochs().contains(&epoch) => return Err(CodesError::NotLive),
            Some(epoch) => vec![epoch],
            None => self.current_and_previous(),
        };
        let mut batch: Vec<Line> = Vec::with_capacity(BATCH);
        loop {
            let mut line = Zeroizing::new(String::with_capacity(64));
            let read = match input.by_ref().take(LONGEST_LINE as u64 + 1).read_line(&mut line) {
                Ok(length) if length > LONGEST_LINE => Err(CodesError::Line(number + 1)),
                Ok(length) => Ok(length),
                Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Err(CodesError::Line(number + 1)),
                Err(e) => Err(CodesError::Read(e.kind())),
            };
            if !matches!(read, Ok(1..)) {
                self.settle(&mut batch, &mut output, number)?; // what came before a bad line is done
                output.flush().map_err(|e| CodesError::Write(e.kind()))?;
                return read.map(|_| coded);
            }
            number += 1;
            let text = line.trim();
            if text.is_empty() {
                coded.empty += 1;
            } else if let Some(code) = self.keys.recognise(text) {
                coded.already += 1;
                batch.push((Zeroizing::new(text.to_owned()), None, vec![code]));
            } else {
                coded.identifiers += 1;
                let identifier = Identifier::from_wire(text, Declared::Undeclared);
                let codes = epochs.iter().map(|&epoch| self.keys.code(&identifier, Some(epoch))).collect();
                batch.push((Zeroizing::new(text.to_owned()), Some(identifier), codes));
            }
            if batch.len() == BATCH {
                self.settle(&mut batch, &mut output, number)?;
            }
        }
    }

    /// Records a batch, then writes it out.
    fn settle(&self, batch: &mut Vec<Line>, output: &mut impl Write, number: u64) -> Result<(), CodesError> {
        let sighted = |(_, identifier, codes): &Line| {
            let identifier = identifier.clone();
            codes.clone().into_iter().filter_map(move |code| identifier.clone().map(|identifier| Sighting { code, identifier }))
        };
        let sightings: Vec<Sighting> = batch.iter().flat_map(sighted).collect();
        let before = self.vault.counts().recorded;
        self.vault.record_blocking(&sightings).map_err(|error| CodesError::Vault(number, error))?;
        for (text, _, codes) in batch.drain(..) {
            let line = codes.iter().fold((*text).clone(), |line, code| format!("{line}\t{code}"));
            writeln!(output, "{line}").map_err(|e| CodesError::Write(e.kind()))?;
        }
        if self.vault.counts().recorded > before {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The current epoch, and the newest of those before it that are live.
    fn current_and_previous(&self) -> Vec<Epoch> {
        let current = self.keys.current();
        let previous = self.keys.epochs().into_iter().rfind(|epoch| *epoch < current);
        std::iter::once(current).chain(previous).collect()
    }
}
