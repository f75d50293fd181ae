//! Whom a command is about. Identifiers are read from a file or from standard input, a line each: as an argument they would stay in the shell's
//! history.

use super::{FAILED, error, print};
use crate::secret::Sensitive;
use clap::Args;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// The most that a file of identifiers may have, in bytes: a hundred thousand of them and more.
const MOST_BYTES: u64 = 16 << 20;

#[derive(Args)]
pub(super) struct Whom {
    /// A card, a contract, or a code of the central system's. Better given by --file or standard input: arguments stay in the shell's history.
    identifier: Option<String>,
    /// A file with one a line; # begins a comment. Without it and without an argument: standard input.
    #[arg(long, conflicts_with = "identifier")]
    file: Option<PathBuf>,
}

/// Does something with each identifier, and tells by its line what came of it.
pub(super) fn each(whom: Whom, mut act: impl FnMut(&Sensitive<String>) -> Result<String, String>) -> Result<(), ExitCode> {
    let unreadable = |why: std::io::Error| {
        error(&format!("the identifiers cannot be read: {}", why.kind()));
        ExitCode::from(FAILED)
    };
    let lines: Vec<Sensitive<String>> = match (whom.identifier, whom.file) {
        (Some(identifier), _) => {
            error("note: an identifier given as an argument stays in the shell's history; use --file or standard input");
            vec![Sensitive::new(identifier)]
        }
        (None, Some(file)) => read(File::open(file).map_err(unreadable)?).map_err(unreadable)?,
        (None, None) => read(std::io::stdin().lock()).map_err(unreadable)?,
    };
    let mut failed = false;
    for (number, line) in lines.iter().enumerate() {
        let line = line.expose().trim_start_matches('\u{feff}'); // handed to the vault, and nowhere else
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        match act(&Sensitive::new(text.to_owned())) {
            Ok(said) => print(&format!("line {}: {said}\n", number + 1)),
            Err(why) => {
                failed = true;
                error(&format!("line {}: {why}", number + 1));
            }
        }
    }
    if failed { Err(ExitCode::from(FAILED)) } else { Ok(()) }
}

/// All lines, or none: who stands behind the bound must not be passed over in silence.
fn read(input: impl Read) -> std::io::Result<Vec<Sensitive<String>>> {
    let mut input = BufReader::new(input.take(MOST_BYTES));
    let lines = input.by_ref().lines().map(|line| line.map(Sensitive::new)).collect::<Result<_, _>>()?;
    if input.get_ref().limit() == 0 { Err(ErrorKind::FileTooLarge.into()) } else { Ok(lines) }
}
