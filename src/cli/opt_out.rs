//! `sluis opt-out …`: who does not want to be counted. No identifier is printed.

use super::whom::{Whom, each};
use super::{FAILED, custody, error, print};
use crate::clock;
use crate::config::Config;
use crate::custody::Custody;
use crate::vault::contributors::{Heard, Objection};
use clap::Subcommand;
use std::process::ExitCode;

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
