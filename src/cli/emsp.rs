//! `sluis emsp`: the operator hands an e-MSP the key of its domain; the e-MSP reads its CDRs with it.

use super::{FAILED, Options, custody, error, print};
use crate::clock;
use crate::custody::Custody;
use crate::emsp::{Customers, Layout, ResolveError, Resolved, Resolver, read_share, write_share};
use crate::keys::DomainShare;
use crate::recipient::{Party, Recipients};
use clap::Subcommand;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What an e-MSP is given, or does itself.
#[derive(Subcommand)]
pub(super) enum Emsp {
    /// Write the key of an e-MSP's codes to a file, for the e-MSP; logged as a disclosure. Again after each rotation.
    Key {
        #[command(flatten)]
        options: Options,
        /// The e-MSP, as NL-ABC.
        party: String,
        /// The new file [default: sluis-NL-ABC.key]
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// At the e-MSP: tell which customer each CDR is for. Exit 0 only if all were found.
    Resolve {
        /// The key file; several, if CDRs of former epochs are among them.
        #[arg(long, required = true)]
        key: Vec<PathBuf>,
        /// The e-MSP's tokens: CSV with the header uid[,contract_id][,customer]
        #[arg(long)]
        tokens: PathBuf,
        /// A JSON object on each line instead of CSV.
        #[arg(long)]
        json: bool,
        /// Files of CDRs, or - for standard input.
        #[arg(required = true)]
        cdrs: Vec<PathBuf>,
    },
}

pub(super) fn run(command: Emsp) -> Result<(), ExitCode> {
    match command {
        Emsp::Key { options, party, out } => options.config().and_then(|config| {
            let recipients = config.recipients();
            let party = entitled(&party, &recipients).map_err(failed)?;
            let path = out.unwrap_or_else(|| PathBuf::from(format!("sluis-{party}.key")));
            hand_out(&custody(&config)?, &party, &path).map_err(failed)
        }),
        Emsp::Resolve { key, tokens, json, cdrs } => {
            let layout = if json { Layout::Json } else { Layout::Csv };
            let Resolved { cdrs, found } = resolve(&key, &tokens, layout, &cdrs).map_err(failed)?;
            let missed = cdrs - found;
            let line = format!("{found} of {cdrs} CDRs are of customers in the list");
            if missed == 0 {
                error(&line);
                return Ok(());
            }
            Err(failed(format!("{line}; {missed} are of nobody in it, or not in the domain or epochs of this key")))
        }
    }
}

fn failed(why: impl AsRef<str>) -> ExitCode {
    error(why.as_ref());
    ExitCode::from(FAILED)
}

/// The party, if it is in the register and its agreement is valid today: nobody else gets anything (R22, R87).
fn entitled(text: &str, recipients: &Recipients) -> Result<Party, &'static str> {
    let party = Party::parse(text).ok_or("an e-MSP is named by country and party id, such as NL-ABC")?;
    let recipient = recipients.find(&party).ok_or("there is no [[emsp]] entry of this party: it gets no key")?;
    if !recipient.may_receive(&clock::now().date()) {
        return Err("the agreement with this party is not valid today: it gets no key");
    }
    Ok(party)
}

/// Writes the key, once it is in the log.
fn hand_out(custody: &Custody, party: &Party, path: &Path) -> Result<(), String> {
    let share = custody.hand_out(party, clock::now()).map_err(|why| format!("the disclosure cannot be logged: {why}"))?;
    write_share(path, &share).map_err(|why| format!("{}: {why}", path.display()))?;
    let epochs: Vec<String> = share.epochs().map(|epoch| epoch.0.to_string()).collect();
    print(&format!("wrote the key of {party} for epoch {} to {}\n", epochs.join(", "), path.display()));
    print("give it to the e-MSP over a channel that only it can read, and delete it here\n");
    Ok(())
}

fn resolve(keys: &[PathBuf], tokens: &Path, layout: Layout, cdrs: &[PathBuf]) -> Result<Resolved, String> {
    let in_file = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let open = |path: &Path| File::open(path).map_err(|e| in_file(path, &e.kind()));
    let shares = keys.iter().map(|path| read_share(path).map_err(|why| in_file(path, &why))).collect::<Result<Vec<_>, _>>()?;
    if shares.windows(2).any(|pair| pair[0].party() != pair[1].party()) {
        return Err("the keys are of different parties".to_owned());
    }
    let customers = Customers::read(open(tokens)?, &shares).map_err(|why| in_file(tokens, &why))?;
    drop::<Vec<DomainShare>>(shares); // wiped: no longer needed
    let written = |why: ResolveError| why.to_string();
    let mut resolver = Resolver::new(&customers, layout, std::io::stdout().lock()).map_err(written)?;
    for path in cdrs {
        let read = if path.as_os_str() == "-" { resolver.read(std::io::stdin().lock()) } else { resolver.read(open(path)?) };
        if let Err(why) = read {
            let _ = resolver.finish(); // what was read before stands
            return Err(in_file(path, &why));
        }
    }
    resolver.finish().map_err(written)
}
