//! `sluis opt-out …`: who does not want to be counted. Identifiers are read from a file or from standard input, a line each: as an argument they
//! would stay in the shell's history. None is printed.

use super::{FAILED, custody, error, print};
use crate::clock;
use crate::config::Config;
use crate::custody::Custody;
use crate::secret::Sensitive;
use crate::vault::contributors::{Heard, Objection};
use clap::{Args, Subcommand};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// The most that a file of identifiers may have, in bytes: a hundred thousand of them and more.
const MOST_BYTES: u64 = 16 << 20;
/// Why a released period stays as it is (R46).
const TOO_LATE: &str =
    "it is released: once data is anonymised nobody can find one person's part in it, and nothing is released a second time";

#[derive(Subcommand)]
pub(super) enum OptOut {
    /// Do not count somebody in statistics from now on, with all cards of the contract; takes what they added out of the periods that are open.
    Add {
        #[command(flatten)]
        whom: Whom,
        /// Why.
        #[arg(long, value_parser = Objection::ALL.map(Objection::name), default_value = "opt-out")]
        because: String,
    },
    /// Count somebody again, from the next session on.
    Remove {
        #[command(flatten)]
        whom: Whom,
    },
    /// List those who are not counted: since when and why, by a digest. Says not who.
    List,
}

#[derive(Args)]
pub(super) struct Whom {
    /// A card, a contract, or a code of the central system's. Better given by --file or standard input: arguments stay in the shell's history.
    identifier: Option<String>,
    /// A file with one a line; # begins a comment. Without it and without an argument: standard input.
    #[arg(long, conflicts_with = "identifier")]
    file: Option<PathBuf>,
}

pub(super) fn run(config: &Config, action: OptOut) -> Result<(), ExitCode> {
    let custody = custody(config)?;
    match action {
        OptOut::Add { whom, because } => {
            let why = Objection::from_name(&because).unwrap_or(Objection::OptOut);
            each(whom, |text| {
                let heard = custody.vault.object(text, why, clock::now()).map_err(|why| why.to_string())?;
                heard.map(|heard| answer(&heard)).ok_or_else(|| "the code is not known here, or was erased".to_owned())
            })
        }
        OptOut::Remove { whom } => each(whom, |text| match custody.vault.object_no_more(text).map_err(|why| why.to_string())? {
            Some(true) => Ok("is counted again from the next session on".to_owned()),
            Some(false) => Ok("was counted all along".to_owned()),
            None => Err("the code is not known here, or was erased".to_owned()),
        }),
        OptOut::List => list(&custody),
    }
}

fn answer(heard: &Heard) -> String {
    let mut answer = if heard.new { "is not counted from now on" } else { "was not counted before either" }.to_owned();
    if !heard.removed_from.is_empty() {
        answer += &format!("; taken out of {}", heard.removed_from.join(", "));
    }
    if !heard.too_late_for.is_empty() {
        answer += &format!("; too late for {}: {TOO_LATE}", heard.too_late_for.join(", "));
    }
    answer
}

/// Does something with each identifier, and tells by its line what came of it.
fn each(whom: Whom, mut act: impl FnMut(&Sensitive<String>) -> Result<String, String>) -> Result<(), ExitCode> {
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

fn list(custody: &Custody) -> Result<(), ExitCode> {
    let mut after = None;
    let mut count = 0u64;
    loop {
        let page = custody.store().opt_outs_after(after.as_ref()).map_err(|why| {
            error(&why.to_string());
            ExitCode::from(FAILED)
        })?;
        let Some(last) = page.last() else { break };
        after = Some(last.blind);
        for row in page {
            count += 1;
            let digest: String = row.blind.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            print(&format!("{digest}  since {}  {}\n", row.at.date(), row.why));
        }
    }
    print(&format!("{count} cards and contracts are not counted\n"));
    Ok(())
}
