//! What a release says of itself: method, parameters, budget, the proof from the ledger, and the digest of every file.

use crate::clock::Timestamp;
use crate::stats::{Digest, Ledger, Method, Parameters, Period, Release, Rho, Rules, Table, display};
use serde::{Deserialize, Serialize};

/// The form of manifest, receipt and signature.
pub const FORMAT: &str = "sluis statistics release 1";
/// Of a release of noisy figures.
const PRIVATE: &str = "Differentially private for a contributor (all cards of a contract) with all its sessions of the period. The noise is exact and was \
    drawn once; the same bytes answer every request, and there are no revisions.";
/// Of a release of exact figures.
const EXACT: &str = "NOT DIFFERENTIALLY PRIVATE. Exact, rounded numbers; the protection rests on thresholds, the p% rule and complementary suppression \
    alone, and does not hold against somebody who knows much of the sessions already.";
/// Of a scratch ledger.
pub const SCRATCH: &str = "NOT FOR PUBLICATION: made with a scratch ledger, so the budget of its contributors was not counted";
/// Of noise that can be repeated.
pub const FIXED: &str = "NOT FOR PUBLICATION: made with noise that can be repeated, so it protects nobody";

/// What a release says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The period.
    pub period: Period,
    /// Its first moment and the first after it, RFC 3339.
    pub from_to: [String; 2],
    /// How the figures are protected.
    pub method: Method,
    /// The same for people.
    pub statement: String,
    /// Whether it may be published.
    pub for_publication: bool,
    /// Why not, and what else must be known.
    pub warnings: Vec<String>,
    /// The version of the program, and the digest of the sources that made the figures.
    pub code: String,
    /// When it was made, RFC 3339.
    pub made: String,
    /// All parameters: they are public.
    pub parameters: Parameters,
    /// The rules of exact tables; none where there is noise.
    pub rules: Option<Rules>,
    /// What it cost.
    pub budget: Budget,
    /// The list of cells of each table, as digests.
    pub cells: Vec<Cells>,
    /// The proof that it was counted.
    pub ledger: Proof,
    /// What becomes of what it was made from.
    pub destruction: String,
    /// Every other file that was made with it.
    pub files: Vec<FileDigest>,
}

/// What the year has cost, in millionths of ρ (zero-concentrated differential privacy; it adds up).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The calendar year.
    pub year: u16,
    /// What this release cost.
    pub release: Rho,
    /// What the year has cost by now.
    pub spent: Rho,
    /// What the year may cost.
    pub cap: Rho,
    /// What is left of it.
    pub left: Rho,
    /// What the year's cost means: ε at δ = 10⁻⁶, with two decimals.
    pub epsilon: String,
    /// And the most by which somebody who knows everything else is right more often than wrong about one contributor, with three decimals.
    pub advantage: String,
}

/// The list of cells of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// The table.
    pub table: Table,
    /// SHA-256 of its list.
    pub digest: Digest,
}

/// Where a release stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The file with all entries up to this release.
    pub file: String,
    /// The digest of its last entry.
    pub head: Digest,
    /// The numbers of this release's entries.
    pub entries: Vec<u64>,
}

/// A file by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// How many there are.
    pub bytes: u64,
}

impl Budget {
    /// Of a year, by its ledger.
    pub fn of(ledger: &Ledger, year: u16, release: Rho, cap: Rho) -> Self {
        let spent = ledger.spent(year);
        Self {
            year,
            release,
            spent,
            cap,
            left: Rho(cap.0.saturating_sub(spent.0)),
            epsilon: format!("{:.2}", display::epsilon(spent)),
            advantage: format!("{:.3}", display::advantage(spent)),
        }
    }
}

impl Manifest {
    /// Of a release. `ledger` has its entries already; `rules` are those of exact tables; `times` are the period's first moment, the first after it, and
    /// when the release was made; `scratch` says that the ledger is not the one that budgets are counted in. The files are listed later.
    pub fn new(
        release: &Release,
        ledger: &Ledger,
        parameters: &Parameters,
        rules: Option<Rules>,
        times: [Timestamp; 3],
        scratch: bool,
    ) -> Self {
        let (figures, entries) = (&release.figures, &release.entries);
        let [from, to, at] = times.map(Timestamp::rfc3339);
        let fixed = figures.not_for_publication;
        let warnings = [(scratch, SCRATCH), (fixed, FIXED), (figures.method == Method::Exact, EXACT)];
        let cost = entries.iter().fold(0u32, |sum, entry| sum.saturating_add(entry.rho.0));
        let destruction = if scratch {
            "What it was made from was in memory only, under a secret that was drawn for this run and never written."
        } else {
            "The period's secret was destroyed in the very change that made this release durable. receipt.json says when what was sealed under it was gone too."
        };
        Self {
            format: FORMAT.to_owned(),
            period: figures.period,
            from_to: [from, to],
            method: figures.method,
            statement: if figures.method == Method::Exact { EXACT } else { PRIVATE }.to_owned(),
            for_publication: !scratch && !fixed,
            warnings: warnings.into_iter().filter(|(so, _)| *so).map(|(_, text)| text.to_owned()).collect(),
            code: entries.first().map(|entry| entry.code.clone()).unwrap_or_default(),
            made: at,
            parameters: parameters.clone(),
            rules,
            budget: Budget::of(ledger, figures.period.year(), Rho(cost), parameters.cap),
            cells: figures.tables.iter().map(|table| Cells { table: table.table, digest: table.cells }).collect(),
            ledger: Proof {
                file: super::files::LEDGER.to_owned(),
                head: ledger.head(),
                entries: entries.iter().map(|entry| entry.number).collect(),
            },
            destruction: destruction.to_owned(),
            files: Vec::new(),
        }
    }
}
