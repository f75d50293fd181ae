//! `sluis stats …`: releases, what they are worth, and what proves them.

use super::{FAILED, Options, custody, custody_or_new, error, print, told};
use crate::cdr::site::Sites;
use crate::clock;
use crate::config::Config;
use crate::custody::Guests;
use crate::publication::close::{self, released};
use crate::publication::files::FIGURES;
use crate::publication::offline::{MOST_MISTAKES, Reading};
use crate::publication::plan::{self, Plan};
use crate::publication::scratch::Scratch;
use crate::publication::{Publication, SystemNoise, Terms, sink, verify};
use crate::stats::{Digest, Figures, Ledger, Method, Period, Randomness, TestNoise};
use clap::{Args, Subcommand, ValueEnum};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// How a file of sessions is made.
const SESSIONS_HELP: &str = "A file of sessions has one JSON object a line:\n  \
    {\"session\":\"a1\",\"token\":\"04A2B3C4\",\"contract\":\"NL-ABC-000001\",\"evse_uid\":\"EVSE-0001\",\n   \
    \"begin\":\"2026-10-01T08:00:00Z\",\"end\":\"2026-10-01T10:30:00Z\",\"kwh\":11.5,\"charging_seconds\":7200}\n\
    station, evse and connector may stand in place of evse_uid, and wh in place of kwh; contract and charging_seconds\n\
    may be missing; other members are passed over. Mistakes are told by the number of their line.\n\
    An opt-out file has a card or contract a line; # begins a comment.";

#[derive(Subcommand)]
pub(super) enum Stats {
    /// Release a period: from the sessions that this gateway saw, or from a file. What this gateway released before is written again, byte for byte.
    #[command(after_help = SESSIONS_HELP)]
    Release(Release),
    /// Check a release: signatures, the digest of every file, the ledger's chain, all totals. Needs nothing but the files.
    Verify {
        /// The directory of the release.
        dir: PathBuf,
        /// The publisher's public key, 64 hexadecimal digits, as `sluis stats ledger` prints it.
        #[arg(long)]
        key: Option<String>,
    },
    /// Print what releases would be worth, from the site register and published figures only, and what is left of the budget.
    Plan {
        /// The site register [default: billing.sites]
        #[arg(long)]
        sites: Option<PathBuf>,
        /// The calendar year [default: this one]
        #[arg(long)]
        year: Option<u16>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what was spent, release by release, and the public key that releases are signed with.
    Ledger {
        /// As JSON, one entry a line, as the chain of digests goes over it.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(super) struct Release {
    /// The period: a month such as 2026-10, or a quarter such as 2026-Q4.
    #[arg(long)]
    period: Period,
    /// Where to write the release.
    #[arg(long)]
    out: PathBuf,
    /// A file of sessions, instead of those that this gateway saw.
    #[arg(long)]
    sessions: Option<PathBuf>,
    /// The site register [default: billing.sites]
    #[arg(long)]
    sites: Option<PathBuf>,
    /// A file of cards and contracts that are not to be counted, beside those of `sluis opt-out`.
    #[arg(long, requires = "sessions")]
    opt_out: Option<PathBuf>,
    /// Pass over lines with mistakes, instead of releasing nothing.
    #[arg(long, requires = "sessions")]
    skip_bad: bool,
    /// Count the budget in this file instead of the real ledger: for trying out. The release says that it is NOT FOR PUBLICATION.
    #[arg(long, requires = "sessions")]
    scratch_ledger: Option<PathBuf>,
    /// Draw noise that can be repeated, from this seed: for tests. NOT FOR PUBLICATION.
    #[arg(long, requires = "scratch_ledger")]
    fixed_noise: Option<u64>,
    /// How figures are protected [default: statistics.mode]
    #[arg(long)]
    mode: Option<Mode>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Exact noise: differentially private.
    Dp,
    /// Exact rounded tables with suppression: not differentially private.
    Sdc,
}

pub(super) fn run(options: Options, action: Stats) -> Result<(), ExitCode> {
    match action {
        Stats::Verify { dir, key } => check(&dir, key.as_deref()),
        Stats::Release(asked) => release(&options.config()?, asked),
        Stats::Plan { sites, year, json } => show_plan(&options.config()?, sites.as_deref(), year, json),
        Stats::Ledger { json } => show_ledger(&options.config()?, json),
    }
}

fn failed(why: impl ToString) -> ExitCode {
    error(&why.to_string());
    ExitCode::from(FAILED)
}

fn register(config: &Config, named: Option<&Path>) -> Result<Sites, ExitCode> {
    let (key, path) = match (named, &config.billing) {
        (Some(path), _) => ("--sites", path),
        (None, Some(billing)) => ("billing.sites", billing.sites.as_path()),
        (None, None) => return Err(told(&["billing.sites: is missing (or --sites)".to_owned()])),
    };
    let say = |why: String| format!("{key}: {}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(&[say(format!("cannot be read: {}", error.kind()))]))?;
    let sites = Sites::parse(text.trim_start_matches('\u{feff}'), config.statistics.zone);
    sites.map_err(|mistakes| told(&mistakes.into_iter().map(say).collect::<Vec<_>>()))
}

fn terms(config: &Config, sites: &Sites, mode: Option<Mode>) -> Result<Terms, ExitCode> {
    let terms = crate::serve::terms(config, sites).map_err(|why| told(&[why]))?;
    Ok(match mode {
        Some(Mode::Dp) => Terms { method: Method::DifferentiallyPrivate, ..terms },
        Some(Mode::Sdc) => Terms { method: Method::Exact, ..terms },
        None => terms,
    })
}

fn release(config: &Config, asked: Release) -> Result<(), ExitCode> {
    let (period, now) = (asked.period, clock::now());
    let sites = register(config, asked.sites.as_deref())?;
    let terms = terms(config, &sites, asked.mode)?;
    if let Some(file) = &asked.scratch_ledger {
        let mut scratch = Scratch::open(file).map_err(failed)?;
        scratch.allows(&terms, period).map_err(failed)?;
        let gathering = read(&asked, &sites, &terms, &|_| false)?;
        // There is no second way to these bytes: what cannot be written is not made.
        sink::prepare(&asked.out).map_err(failed)?;
        let mut noise: Box<dyn Randomness> = match asked.fixed_noise {
            Some(seed) => Box::new(TestNoise::not_for_publication(seed)),
            None => Box::new(SystemNoise::new()),
        };
        let files = scratch.release(&terms, period, gathering, &mut *noise).map_err(failed)?;
        sink::write(&asked.out, &files).map_err(failed)?;
        print(&format!("{period} is released in {}: NOT FOR PUBLICATION (scratch ledger)\n", asked.out.display()));
        return Ok(());
    }
    let custody = Arc::new(custody_or_new(config)?);
    let publication = Publication { custody, terms, dir: None };
    let again = |why: crate::publication::NotPublished| if why.is_released() { Ok(true) } else { Err(failed(why)) };
    let before = if asked.sessions.is_some() {
        match publication.may_take_file(period) {
            Err(why) => again(why)?,
            Ok(()) => {
                let objectors = publication.custody.vault.objectors().map_err(failed)?;
                let gathering = read(&asked, &sites, &publication.terms, &|text| objectors.has(text))?;
                publication.close_file(period, gathering, now, &mut SystemNoise::new()).map_or_else(again, |()| Ok(false))?
            }
        }
    } else if config.statistics.enabled {
        publication.close(period, now, &mut SystemNoise::new()).map_or_else(again, |()| Ok(false))?
    } else {
        return Err(told(&["statistics.enabled: is false, so this gateway counts nobody; name a file with --sessions".to_owned()]));
    };
    let unfinished = |why| failed(format!("{period} is released and kept, but not finished: {why}; run this again"));
    publication.finish(period, now).map_err(unfinished)?;
    let files = publication.released(period).map_err(failed)?.ok_or_else(|| failed("the release is not in the store"))?;
    sink::write(&asked.out, &files).map_err(failed)?;
    let how = if before { "was released before: the same bytes are in" } else { "is released in" };
    print(&format!("{period} {how} {}\n", asked.out.display()));
    Ok(())
}

/// Reads the file of sessions and that of objections.
fn read(
    asked: &Release,
    sites: &Sites,
    terms: &Terms,
    objects: &dyn Fn(&str) -> bool,
) -> Result<crate::publication::gathering::Gathering, ExitCode> {
    let path = asked.sessions.as_deref().unwrap_or(Path::new(""));
    let open =
        |path: &Path| File::open(path).map(BufReader::new).map_err(|why| failed(format!("cannot read {}: {}", path.display(), why.kind())));
    let unreadable = |path: &Path, why: std::io::ErrorKind| failed(format!("cannot read {}: {why}", path.display()));
    // Both are opened first, and read to their ends: all mistakes are told at once.
    let (sessions, opt_out) = (open(path), asked.opt_out.as_deref().map(|path| open(path).map(|file| (path, file))).transpose());
    let (sessions, opt_out) = (sessions?, opt_out?);
    let guests = Guests::new().map_err(failed)?;
    let reading = Reading { sites, zone: terms.geography.zone(), period: asked.period, guests: &guests, objects };
    let mut read = reading.read(sessions).map_err(|why| unreadable(path, why))?;
    for mistake in &read.mistakes {
        error(&format!("{}: {mistake}", path.display()));
    }
    if read.wrong > MOST_MISTAKES as u64 {
        error(&format!("{}: and {} more", path.display(), read.wrong - MOST_MISTAKES as u64));
    }
    let mut stops = false;
    if let Some((path, file)) = opt_out {
        let wrong = reading.read_objections(file, &mut read.gathering).map_err(|why| unreadable(path, why))?;
        if wrong > 0 {
            stops = true;
            error(&format!("nothing is released: {wrong} lines of {} are no card and no contract", path.display()));
        }
    }
    if read.wrong > 0 && !asked.skip_bad {
        stops = true;
        error("nothing is released: correct the file, or pass over these lines with --skip-bad");
    }
    if stops { Err(ExitCode::from(FAILED)) } else { Ok(read.gathering) }
}

fn check(dir: &Path, key: Option<&str>) -> Result<(), ExitCode> {
    let key = key
        .map(|key| Digest::try_from(key.to_ascii_lowercase()).map_err(|_| failed("--key: must be 64 hexadecimal digits")))
        .transpose()?;
    let verdict = verify::verify(dir, key);
    for note in &verdict.notes {
        print(&format!("note: {note}\n"));
    }
    for failure in &verdict.failures {
        error(failure);
    }
    if verdict.failures.is_empty() {
        print(&format!("{}: the release is as it was made\n", dir.display()));
        Ok(())
    } else {
        Err(ExitCode::from(FAILED))
    }
}

fn show_ledger(config: &Config, json: bool) -> Result<(), ExitCode> {
    let custody = custody(config)?;
    let ledger = close::ledger(custody.store()).map_err(failed)?;
    if json {
        for entry in ledger.entries() {
            print(&(serde_json::to_string(entry).map_err(failed)? + "\n"));
        }
        return Ok(());
    }
    for entry in ledger.entries() {
        print(&format!(
            "{:>4} {:<8} {:?} cost {}  the year {}  {}\n",
            entry.number, entry.period, entry.table, entry.rho, entry.year, entry.digest
        ));
    }
    let mut years: Vec<u16> = ledger.entries().iter().map(|entry| entry.period.year()).collect();
    years.sort_unstable();
    years.dedup();
    for year in years {
        print(&budget(&ledger, year, config));
    }
    let key = custody.signing_key().map_err(failed)?;
    print(&format!("releases are signed with {}\n", Digest(key.public())));
    Ok(())
}

fn budget(ledger: &Ledger, year: u16, config: &Config) -> String {
    let (spent, cap) = (ledger.spent(year), config.statistics.parameters.cap);
    format!("{year}: spent {spent} of {cap}, left {}\n", crate::stats::Rho(cap.0.saturating_sub(spent.0)))
}

fn show_plan(config: &Config, sites: Option<&Path>, year: Option<u16>, json: bool) -> Result<(), ExitCode> {
    let terms = terms(config, &register(config, sites)?, None)?;
    // A plan needs no data directory; where there is one, what was published from it counts.
    let (mut ledger, mut published) = (Ledger::default(), Vec::new());
    if config.data_dir.join(crate::store::DATABASE).exists() {
        let custody = custody_or_new(config)?;
        ledger = close::ledger(custody.store()).map_err(failed)?;
        for period in custody.store().periods().map_err(failed)? {
            let files = released(custody.store(), &period.name).map_err(failed)?.unwrap_or_default();
            let figures = files.iter().find(|(name, _)| name == FIGURES);
            published.extend(figures.and_then(|(_, bytes)| serde_json::from_slice::<Figures>(bytes).ok()));
        }
    }
    let this_year = clock::now().date().get(..4).and_then(|year| year.parse().ok()).unwrap_or(2026);
    let plan = plan::plan(&terms, &ledger, year.unwrap_or(this_year), &published);
    if json {
        print(&(serde_json::to_string_pretty(&plan).map_err(failed)? + "\n"));
        return Ok(());
    }
    print(&page(&plan));
    Ok(())
}

fn page(plan: &Plan) -> String {
    let mut page =
        format!("{:<5} {:<18} {:>7} {:>10} {:>10} {:>12}  last published\n", "table", "measure", "cells", "sigma", "95 % +-", "10 % at");
    for one in &plan.expected {
        let last = one.last.as_ref().map_or("-".to_owned(), |last| {
            let margin = last.median_margin_percent.map_or("-".to_owned(), |percent| format!("{percent:.0} %"));
            format!("{}: {} of {} cells, middle margin {margin}", last.period, last.published, last.published + last.withheld)
        });
        let measure = format!("{:?}", one.measure);
        page += &format!(
            "{:<5} {measure:<18} {:>7} {:>10.1} {:>10.1} {:>12.0}  {last}\n",
            format!("{:?}", one.table),
            one.cells,
            one.sigma,
            one.margin,
            one.ten_percent
        );
    }
    for (table, rho) in &plan.costs {
        page += &format!("{table:?} costs {rho} each time\n");
    }
    page += &format!("a whole year of releases costs {}\n", plan.whole_year);
    page += &format!("{}: spent {}, left {}\n", plan.year, plan.spent, plan.left);
    page
}
