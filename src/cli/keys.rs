//! The epochs of the keys (`sluis keys`) and the codes of cards (`sluis codes`). Both work beside a running gateway.

use super::{FAILED, custody, error, print};
use crate::billing;
use crate::clock;
use crate::config::Config;
use crate::custody::{EpochState, RotationError};
use crate::identity::Epoch;
use crate::pseudonym::Alphabet;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(super) enum Keys {
    /// List the epochs.
    List,
    /// Create the next epoch without using it yet, so that its codes can be handed out first.
    Create,
    /// Make the newest epoch the current one, creating it if need be. The one before stays live, so that its codes are restored, until it is
    /// destroyed.
    Rotate,
    /// Destroy an epoch's root for good: its codes can never be resolved again.
    Destroy {
        /// The epoch.
        epoch: u32,
        /// Also if sessions that are not billed yet lose their driver with it.
        #[arg(long)]
        force: bool,
    },
}

/// Tells the codes of what standard input lists.
pub(super) fn codes(config: &Config, epoch: Option<u32>) -> Result<(), ExitCode> {
    let custody = custody(config)?;
    let output = std::io::BufWriter::new(std::io::stdout().lock());
    let done = custody.codes(std::io::stdin().lock(), output, epoch.map(Epoch));
    done.map(|_| ()).map_err(|why| {
        error(&why.to_string());
        ExitCode::from(FAILED)
    })
}

/// Does what is asked with the epochs, and lists them.
pub(super) fn run(config: &Config, action: &Keys) -> Result<(), ExitCode> {
    let custody = custody(config)?;
    let failed = |why: RotationError| {
        error(&why.to_string());
        ExitCode::from(FAILED)
    };
    match action {
        Keys::List => {}
        Keys::Create => {
            let alphabet: Alphabet = config.alphabet;
            let epoch = custody.create_epoch(alphabet, clock::now()).map_err(failed)?;
            print(&format!("created epoch {}\n", epoch.0));
        }
        Keys::Rotate => {
            let epoch = custody.rotate(clock::now()).map_err(failed)?;
            print(&format!("epoch {} is now current; its codes differ from those before\n", epoch.0));
        }
        Keys::Destroy { epoch, force } => {
            let states = custody.epochs().map_err(failed)?;
            let state = states.iter().find(|s| s.epoch.0 == *epoch).map(|s| s.state);
            let refusal = match state {
                None => Some("there is no such epoch"),
                Some(EpochState::Current) => Some("it is the current epoch: rotate first"),
                Some(EpochState::Destroyed) => Some("it was destroyed before"),
                Some(EpochState::Prepared | EpochState::Ending) => None,
            };
            if let Some(why) = refusal {
                error(&format!("epoch {epoch} is not destroyed: {why}"));
                return Err(ExitCode::from(FAILED));
            }
            let unbilled = custody.unbilled_in(Epoch(*epoch)).map_err(|why| failed(why.into()))?;
            let unread = custody.unread_in(Epoch(*epoch), billing::READER).map_err(|why| failed(why.into()))?;
            if unbilled + unread > 0 && !force {
                error(&format!(
                    "epoch {epoch} is not destroyed: {unbilled} sessions that still run or are held, and {unread} facts that billing has not read \
                     yet, would be billed to nobody; wait, or --force"
                ));
                return Err(ExitCode::from(FAILED));
            }
            custody.destroy_epoch(Epoch(*epoch), clock::now()).map_err(failed)?;
            print(&format!("destroyed epoch {epoch}: its codes cannot be resolved again\n"));
        }
    }
    for status in custody.epochs().map_err(failed)? {
        let day = |time: Option<clock::Timestamp>| time.map_or("-".to_owned(), clock::Timestamp::date);
        print(&format!(
            "epoch {:<4} {:<10} {:<7} created {}  retired {}  destroyed {}\n",
            status.epoch.0,
            status.state.name(),
            if status.alphabet == Alphabet::Hex { "hex" } else { "base32" },
            status.created.date(),
            day(status.retired),
            day(status.destroyed)
        ));
    }
    Ok(())
}
