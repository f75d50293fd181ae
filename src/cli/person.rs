//! What a person may ask of an operator: `sluis erase` (GDPR Art. 17) and `sluis disclosures` (Art. 15: who was told what). Both work beside a
//! running gateway. No identifier is printed.

use super::whom::{Whom, each};
use super::{FAILED, custody, error, print};
use crate::clock;
use crate::config::Config;
use crate::custody::Custody;
use crate::store::{DisclosureRow, StoreError};
use clap::Subcommand;
use std::fmt::Write;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(super) enum Disclosures {
    /// List all, oldest first.
    List {
        /// Only those to this recipient: an e-MSP such as NL-ABC, or csms.
        #[arg(long)]
        recipient: Option<String>,
    },
    /// List those about somebody: what a card, a contract or a code was told of, to whom, when and for what.
    About {
        #[command(flatten)]
        whom: Whom,
    },
}

/// Erases whoever is named from vault, tokens and statistics that are not released.
pub(super) fn erase(config: &Config, whom: Whom) -> Result<(), ExitCode> {
    let custody = custody(config)?;
    each(whom, |text| match custody.vault.erase_named(text, clock::now()) {
        Ok(Some(0)) => Ok("nothing was kept of it".to_owned()),
        Ok(Some(records)) => Ok(format!("erased ({records} records): its codes restore to nothing from now on")),
        Ok(None) => Err("the code is not known here, or was erased before".to_owned()),
        Err(why) => Err(why.to_string()),
    })
}

pub(super) fn disclosures(config: &Config, action: Disclosures) -> Result<(), ExitCode> {
    let custody = custody(config)?;
    let failed = |why: StoreError| {
        error(&why.to_string());
        ExitCode::from(FAILED)
    };
    match action {
        Disclosures::List { recipient } => {
            let theirs = |row: &DisclosureRow| recipient.as_ref().is_none_or(|one| row.recipient.eq_ignore_ascii_case(one));
            let mut count = 0u64;
            all(&custody, None, &mut |row| {
                if theirs(row) {
                    count += 1;
                    print(&format!("{}\n", line(row)));
                }
            })
            .map_err(failed)?;
            print(&format!("{count} disclosures\n"));
            Ok(())
        }
        Disclosures::About { whom } => each(whom, |text| {
            let subject = custody.vault.subject_named(text).map_err(|why| why.to_string())?;
            let Some(subject) = subject else { return Err("the code is not known here, or was erased before".to_owned()) };
            let (mut count, mut lines) = (0u64, String::new());
            all(&custody, Some(&subject), &mut |row| {
                count += 1;
                let _ = write!(lines, "\n  {}", line(row));
            })
            .map_err(|why| why.to_string())?;
            Ok(format!("{count} disclosures{lines}"))
        }),
    }
}

/// Reads the log, page by page.
fn all(custody: &Custody, subject: Option<&[u8; 16]>, each: &mut dyn FnMut(&DisclosureRow)) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let page = custody.store().disclosures(subject, after)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        page.iter().for_each(&mut *each);
    }
}

fn line(row: &DisclosureRow) -> String {
    let DisclosureRow { at, recipient, purpose, reference, fields, .. } = row;
    format!("{}  {recipient:<8}  {purpose:<8}  {reference}  {fields}", at.rfc3339())
}
