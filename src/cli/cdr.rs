//! `sluis cdr …`: what became of sessions, and what an operator decides. Works on the store, also beside a running gateway. Prints ids, places
//! and prices; never a code.

use super::{FAILED, custody, error, print, told};
use crate::billing::office::{Entry, Held, Office, discard, list, retry};
use crate::clock;
use crate::config::Config;
use crate::custody::Custody;
use crate::recipient::Party;
use crate::store::{CdrRow, CdrState};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(super) enum Cdr {
    /// List CDRs, oldest first in each state.
    List {
        /// Only those in this state.
        #[arg(long, value_parser = CdrState::ALL.map(CdrState::name))]
        state: Option<String>,
        /// Only those of this e-MSP, such as NL-ABC.
        #[arg(long, value_parser = party)]
        emsp: Option<Party>,
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// List the CDRs that are held, each with the reason.
    Quarantine {
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Look again whose quarantined CDRs are, and queue them for their owners; refused where no agreement is valid today.
    Release {
        /// The CDR.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All that are quarantined, but those that need a credit by hand first.
        #[arg(long)]
        all: bool,
        /// With an id: it is this e-MSP's, by your decision. With --all: only those that turn out to be its.
        #[arg(long, value_parser = party)]
        emsp: Option<Party>,
    },
    /// Decide that a quarantined, queued or refused CDR goes to nobody.
    Discard {
        /// The CDR.
        id: String,
    },
    /// Take back a CDR that an e-MSP has, by a credit CDR.
    Credit {
        /// The CDR.
        id: String,
    },
    /// Queue a CDR once more that its e-MSP refused.
    Retry {
        /// The CDR.
        id: String,
    },
}

fn party(text: &str) -> Result<Party, &'static str> {
    Party::parse(text).ok_or("must be a country and a party id, such as NL-ABC")
}

pub(super) fn run(config: &Config, command: Cdr) -> Result<(), ExitCode> {
    let custody = custody(config)?;
    match command {
        Cdr::List { state, emsp, json } => {
            let states = CdrState::ALL.into_iter().filter(|one| state.as_deref().is_none_or(|name| name == one.name()));
            states.into_iter().try_for_each(|state| show(&custody, state, emsp, json))
        }
        Cdr::Quarantine { json } => show(&custody, CdrState::Quarantined, None, json),
        Cdr::Release { id: Some(id), emsp, .. } => office(config, &custody, |office| {
            let owner = office.release(&id, emsp, clock::now()).map_err(|why| refused(&id, why))?;
            print(&format!("{id} is queued for {owner}\n"));
            Ok(())
        }),
        Cdr::Release { id: None, emsp, .. } => office(config, &custody, |office| release_all(office, emsp)),
        Cdr::Discard { id } => {
            let sent = discard(&custody, &id).map_err(|why| refused(&id, why))?;
            print(&format!("{id} is discarded\n"));
            if sent > 0 {
                print(&format!("it was sent {sent} times: if its e-MSP has it all the same, settle that with it\n"));
            }
            Ok(())
        }
        Cdr::Credit { id } => office(config, &custody, |office| {
            let credit = office.credit(&id, clock::now()).map_err(|why| refused(&id, why))?;
            print(&format!("{id} is taken back by {credit}\n"));
            Ok(())
        }),
        Cdr::Retry { id } => retry(&custody, &id).map(|()| print(&format!("{id} is queued\n"))).map_err(|why| refused(&id, why)),
    }
}

fn release_all(office: &Office<'_>, emsp: Option<Party>) -> Result<(), ExitCode> {
    let (mut released, mut held) = (0, 0);
    let done = office.release_all(emsp, clock::now(), &mut |row, outcome| match outcome {
        Ok(owner) => {
            released += 1;
            print(&format!("{} is queued for {owner}\n", row.id));
        }
        Err(Held::Another) if emsp.is_some() => {}
        Err(why) => {
            held += 1;
            print(&format!("{} is held: {why}\n", row.id));
        }
    });
    print(&format!("{released} released, {held} held\n"));
    done.map_err(|why| refused("the list", why))
}

fn office(config: &Config, custody: &Custody, act: impl FnOnce(&Office<'_>) -> Result<(), ExitCode>) -> Result<(), ExitCode> {
    let desk = crate::serve::desk(config).map_err(|mistakes| told(&mistakes))?;
    let Some(desk) = desk else { return Err(told(&["billing.sites: is missing".to_owned()])) };
    act(&Office { custody, desk: &desk })
}

fn refused(id: &str, why: Held) -> ExitCode {
    error(&format!("{id}: {why}"));
    ExitCode::from(FAILED)
}

fn show(custody: &Custody, state: CdrState, emsp: Option<Party>, json: bool) -> Result<(), ExitCode> {
    let owner = emsp.map(|party| party.to_string());
    let mut each = |row: &CdrRow| {
        let entry = Entry::of(row);
        // Printing to a reader that went away ends the list.
        super::try_print(&if json { serde_json::to_string(&entry).unwrap_or_default() + "\n" } else { line(&entry) })
    };
    list(custody, state, owner.as_deref(), &mut each).map_err(|why| refused("the list", Held::Store(why)))
}

fn line(entry: &Entry) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{:<38} {:<11} {:<6} {:<20} {:<20} {:>9} kWh {:>9} {:<3} {}\n",
        entry.id,
        entry.state,
        or_dash(&entry.owner),
        or_dash(&entry.why),
        entry.location,
        or_dash(&entry.energy_kwh),
        or_dash(&entry.total_excl_vat),
        entry.currency.as_deref().unwrap_or("-"),
        entry.updated
    )
}
