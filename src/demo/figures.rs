//! The statistics at the end of the demo: a release over the made-up fleet, made from a file of sessions as `sluis stats release --sessions` does, with a
//! scratch ledger; and what was promised of it, looked at from outside.

use super::fleet::Fleet;
use super::screen::{Ink, Screen};
use super::wire::Trouble;
use crate::cdr::site::Sites;
use crate::custody::Guests;
use crate::publication::gathering::Gathering;
use crate::publication::offline::Reading;
use crate::publication::scratch::Scratch;
use crate::publication::{SystemNoise, Terms, register, sink, verify};
use crate::stats::{Grouping, Method, Parameters, Period, Randomness, TestNoise};
use aho_corasick::AhoCorasick;
use chrono_tz::Tz;
use std::path::{Path, PathBuf};

const ZONE: Tz = chrono_tz::Europe::Amsterdam;
const QUARTER: &str = "2026-Q3";
/// The month whose figures are made again to see that who objected is not in them.
const MONTH: &str = "2026-09";

/// What came of it.
pub(super) struct Figures {
    report: PathBuf,
    counts: [u64; 3],
    checks: Vec<(bool, String)>,
}

fn failed(why: impl ToString) -> Trouble {
    Trouble::Surroundings("the statistics of the demo", why.to_string())
}

/// Makes the release in `out`, where it stays. `papers` is a directory for what it is made from, which is gone afterwards.
pub(super) fn make(papers: &Path, out: &Path) -> Result<Figures, Trouble> {
    let quarter: Period = QUARTER.parse().map_err(failed)?;
    let fleet = Fleet::of(quarter, ZONE);
    std::fs::create_dir(papers).map_err(failed)?;
    let sites = Sites::parse(&fleet.sites, ZONE).map_err(|mistakes| failed(mistakes.join("; ")))?;
    let geography = register::geography(&sites, "Nederland", ZONE, Grouping::default()).map_err(failed)?;
    let terms = Terms { geography, parameters: Parameters::default(), method: Method::DifferentiallyPrivate };
    let gathered = |sessions: &str, objections: &str, period: Period| -> Result<Gathering, Trouble> {
        let guests = Guests::new().map_err(failed)?;
        let reading = Reading { sites: &sites, zone: ZONE, period, guests: &guests, objects: &|_| false };
        let mut read = reading.read(sessions.as_bytes()).map_err(failed)?;
        let wrong = read.wrong + reading.read_objections(objections.as_bytes(), &mut read.gathering).map_err(failed)?;
        if wrong > 0 { Err(failed(format!("{wrong} lines of the fleet's files are wrong"))) } else { Ok(read.gathering) }
    };
    let release = |name: &str, gathering: Gathering, period: Period, noise: &mut dyn Randomness| {
        let mut scratch = Scratch::open(&papers.join(name)).map_err(failed)?;
        scratch.release(&terms, period, gathering, noise).map_err(failed)
    };
    let files = release("ledger", gathered(&fleet.sessions, &fleet.objections, quarter)?, quarter, &mut SystemNoise::new())?;
    sink::write(out, &files).map_err(failed)?;
    let verdict = verify::verify(out, None);
    let finder = AhoCorasick::builder().ascii_case_insensitive(true).build(&fleet.identifiers).map_err(failed)?;
    let mut found = 0;
    for entry in std::fs::read_dir(out).map_err(failed)? {
        found += finder.find_iter(&std::fs::read(entry.map_err(failed)?.path()).map_err(failed)?).count();
    }
    let control = finder.find_iter(fleet.sessions.as_bytes()).count() as u64;
    // The same noise over a file that lists who objected, over one in which they are not, and over one in which nobody objected.
    let month: Period = MONTH.parse().map_err(failed)?;
    let figures = |name: &str, sessions: &str, objections: &str| {
        let files = release(name, gathered(sessions, objections, month)?, month, &mut TestNoise::not_for_publication(1))?;
        Ok::<_, Trouble>(files.into_iter().find(|(name, _)| name == crate::publication::files::FIGURES))
    };
    let objected = figures("objected", &fleet.sessions, &fleet.objections)?;
    let never_there = figures("never-there", &fleet.without, "")?;
    let nobody = figures("nobody", &fleet.sessions, "")?;
    std::fs::remove_dir_all(papers).map_err(failed)?;
    let [_, sessions, objectors] = fleet.counts;
    let names = fleet.identifiers.len();
    let mut checks = vec![
        (
            verdict.failures.is_empty(),
            format!("the release can be checked offline: {} failures among signatures, digests, ledger and totals", verdict.failures.len()),
        ),
        (
            found == 0 && control == 2 * sessions,
            format!("none of the fleet's {names} cards and contracts in its files ({found} found; {control} in the file of sessions)"),
        ),
        (
            objected.is_some() && objected == never_there && objected != nobody,
            format!("under the same noise the figures are those of a world in which the {objectors} who objected never charged"),
        ),
    ];
    checks.extend(verdict.failures.into_iter().map(|failure| (false, failure)));
    Ok(Figures { report: out.join("report.html"), counts: fleet.counts, checks })
}

impl Figures {
    /// What was promised of the release, and whether it was kept.
    pub(super) fn checks(&self) -> Vec<(bool, String)> {
        self.checks.clone()
    }

    /// Where to read it.
    pub(super) fn show(&self, screen: &mut Screen) {
        let [cards, sessions, objectors] = self.counts;
        screen.heading("Statistics that cannot be traced to a person");
        screen.text(&format!(
            "  A made-up fleet: {cards} cards, {sessions} sessions in {QUARTER}, {objectors} people objected and are not counted."
        ));
        screen.text("  Released with exact noise and a scratch ledger, so marked as not for publication. The report, which stays:");
        screen.line(&[(Ink::Plain, "  "), (Ink::Bold, &self.report.display().to_string())]);
    }
}
