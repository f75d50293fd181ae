//! What a release publishes, and what it does not.

use super::town::{ZONE, at, geography, period, visit};
use proptest::prelude::*;
use sluis::clock::Timestamp;
use sluis::stats::{
    Class, Contribution, Figures, Geography, Kind, Ledger, Level, Measure, NoNoise, NoRandomness, NoRelease, Parameters, Period,
    Randomness, Release, Row, Table, TableFigures, TestNoise, Unit, Visit, release,
};

/// No contributions.
const NOBODY: [sluis::stats::Contribution; 0] = [];

/// The moment at which a period may be released.
pub(crate) fn closed(period: Period) -> Timestamp {
    period.close(ZONE)
}

pub(crate) fn empty_release(period: Period, tables: &[Table], parameters: &Parameters, ledger: &Ledger) -> Result<Release, NoRelease> {
    let mut noise = TestNoise::not_for_publication(1);
    release(period, tables, &geography(), NOBODY, parameters, ledger, closed(period), "test", &mut noise)
}

/// The figures of visits, all tables of the period, with this noise.
pub(crate) fn figures(visits: &[Visit], geography: &Geography, period: Period, seed: u64) -> Figures {
    let contributions: Vec<_> = Contribution::gather(visits, period, geography).collect();
    drawn(contributions, geography, period, seed)
}

pub(crate) fn drawn(contributions: Vec<Contribution>, geography: &Geography, period: Period, seed: u64) -> Figures {
    let mut noise = TestNoise::not_for_publication(seed);
    let (parameters, ledger) = (Parameters::default(), Ledger::default());
    let tables = Table::of(period.is_quarter());
    release(period, tables, geography, contributions, &parameters, &ledger, closed(period), "test", &mut noise).unwrap().figures
}

fn table(figures: &Figures, table: Table) -> &TableFigures {
    figures.tables.iter().find(|of| of.table == table).unwrap()
}

fn find<'a>(figures: &'a Figures, kind: Kind, path: &str, class: Option<Class>, measure: Measure) -> Vec<&'a Row> {
    let rows = figures.tables.iter().flat_map(|table| &table.rows);
    rows.filter(|row| row.kind == kind && row.area.path.join("/") == path && row.class == class && row.measure == measure).collect()
}

/// `people` with `each` sessions at BIN and CEN, of an hour and 10 kWh.
fn crowd(people: u32, each: u32) -> Vec<Visit> {
    let mut visits = Vec::new();
    for n in 0..people {
        for m in 0..each {
            let place = if n % 2 == 0 { format!("BIN-{}", (n + m) % 60) } else { format!("CEN-{}", (n + m) % 45) };
            visits.push(visit(n, &place, &format!("2026-11-{:02}T{:02}:10:00Z", 1 + m % 28, (n + m) % 24), 3_600, 10_000));
        }
    }
    visits
}

#[test]
fn a_crowd_is_published_and_the_numbers_are_about_right() {
    let visits = crowd(4_000, 6);
    let figures = figures(&visits, &geography(), period("2026-Q4"), 3);
    for (measure, truth, margin) in
        [(Measure::Contributors, 2_000, 25), (Measure::Sessions, 12_000, 260), (Measure::Energy, 120_000, 5_000)]
    {
        let rows = find(&figures, Kind::Cell, "Nederland/Zuid-Holland/Gouda/Binnenstad", Some(Class::Ac), measure);
        let [row] = rows.as_slice() else { panic!("{measure:?}") };
        let off = row.value.unwrap() - truth;
        assert!(row.value.unwrap() % 10 == 0 && off.unsigned_abs() <= 2 * row.margin.unwrap(), "{row:?}");
        assert!(row.margin.unwrap() <= margin, "{row:?}");
    }
    assert!(figures.not_for_publication, "drawn with noise that can be repeated");
}

#[test]
fn the_published_parameters_are_those_of_the_method() {
    let month = empty_release(period("2026-11"), &[Table::T0], &Parameters::default(), &Ledger::default()).unwrap().figures;
    let quarter = empty_release(period("2026-Q4"), Table::of(true), &Parameters::default(), &Ledger::default()).unwrap().figures;
    let sigma = |figures: &Figures, t: Table, m: Measure| {
        let of = table(figures, t).measures.iter().find(|of| of.measure == m).unwrap();
        let sigma = (of.variance.unwrap().numerator() as f64).sqrt() / of.unit.size() as f64;
        (
            sigma.round() as i64,
            of.threshold.unwrap().div_ceil(match of.unit {
                _ if t == Table::T1 => 1_000,
                Unit::Hours if t == Table::T2 => 3_600,
                _ => 1_000,
            }),
        )
    };
    assert_eq!(sigma(&month, Table::T0, Measure::Sessions), (98, 546), "k·R + z·σ sessions");
    assert_eq!(sigma(&month, Table::T0, Measure::Energy).1, 546, "sessions decide for all of T0");
    assert_eq!(sigma(&quarter, Table::T1, Measure::Contributors), (11, 64), "tau of the method's description: 63, rounded up");
    assert_eq!(sigma(&quarter, Table::T1, Measure::Sessions), (126, 64));
    assert_eq!(table(&month, Table::T0).rho.0, 10_000);
}

/// Nine contributors, whatever they do, are not published: not as a cell, not as a remainder, not in a histogram.
#[test]
fn fewer_than_ten_are_withheld() {
    let geography = geography();
    let mut visits = Vec::new();
    for n in 0..9 {
        for m in 0..200 {
            visits.push(visit(n, &format!("HUB-{}", m % 4), &format!("2026-11-{:02}T{:02}:10:00Z", 1 + m % 28, m % 24), 80_000, 9_000_000));
        }
    }
    for period in [period("2026-Q4"), period("2026-11")] {
        let contributions: Vec<_> = Contribution::gather(&visits, period, &geography).collect();
        for seed in 0..100 {
            let figures = drawn(contributions.clone(), &geography, period, seed);
            for row in figures.tables.iter().flat_map(|table| &table.rows) {
                assert_eq!((row.value, row.margin, row.cells, row.occupancy), (None, None, 0, None), "{row:?}");
            }
        }
    }
}

#[test]
fn nothing_is_published_of_an_empty_period() {
    for period in [period("2026-Q4"), period("2026-11")] {
        let tables = Table::of(period.is_quarter());
        let release = empty_release(period, tables, &Parameters::default(), &Ledger::default()).unwrap();
        assert!(release.figures.tables.iter().flat_map(|table| &table.rows).all(|row| row.value.is_none()));
    }
}

/// Bins that nobody is in have as much noise as others: that nobody is in them must not be told either.
#[test]
fn an_empty_bin_has_noise() {
    let visits: Vec<_> = (0..18_000)
        .map(|n| visit(n / 3, &format!("BIN-{}", n % 60), &format!("2026-11-{:02}T09:10:00Z", 1 + n % 28), 3_600, 10_000))
        .collect();
    let (mut squares, mut count) = (0.0, 0.0);
    for seed in 0..8 {
        let figures = figures(&visits, &geography(), period("2026-Q4"), seed);
        let cells = find(&figures, Kind::Cell, "Nederland", Some(Class::Ac), Measure::ByArrival);
        let cut = find(&figures, Kind::CutOff, "Nederland", Some(Class::Ac), Measure::ByArrival);
        assert_eq!(cells.len(), 24);
        for cell in cells.iter().filter(|cell| cell.bin != Some(10)) {
            let below = cut.iter().find(|row| row.bin == cell.bin).and_then(|row| row.value).unwrap_or(0);
            squares += (cell.value.unwrap() + below).pow(2) as f64;
            count += 1.0;
        }
    }
    // R = 16 and ρ = 0.006.
    let (sigma, expected) = ((squares / count).sqrt(), 16.0 / 0.012_f64.sqrt());
    assert!((sigma / expected - 1.0).abs() < 0.2, "{sigma} where {expected} is due");
}

#[test]
fn figures_do_not_depend_on_the_order_of_contributions_and_are_the_same_every_time() {
    let (geography, period) = (geography(), period("2026-Q4"));
    let mut contributions: Vec<_> = Contribution::gather(&crowd(800, 5), period, &geography).collect();
    let first = serde_json::to_vec(&drawn(contributions.clone(), &geography, period, 9)).unwrap();
    contributions.reverse();
    assert_eq!(serde_json::to_vec(&drawn(contributions.clone(), &geography, period, 9)).unwrap(), first);
    assert_ne!(serde_json::to_vec(&drawn(contributions, &geography, period, 10)).unwrap(), first);
}

/// R45: who opts out before a session counts leaves the same bytes as who never came.
#[test]
fn who_opted_out_leaves_no_trace() {
    let (geography, period) = (geography(), period("2026-Q4"));
    let crowd = crowd(500, 5);
    let with = crowd.iter().cloned().chain((0..50).map(|n| visit(9_999, &format!("BIN-{n}"), "2026-11-03T08:00:00Z", 3_600, 20_000)));
    let with: Vec<_> = with.filter(|visit| visit.contributor != super::town::who(9_999)).collect();
    assert_eq!(figures(&with, &geography, period, 4), figures(&crowd, &geography, period, 4));
}

/// A contributor with 20,000 sessions moves every number by at most its bound and what rounding adds.
#[test]
fn a_heavy_contributor_moves_a_number_by_its_bound_at_most() {
    let geography = geography();
    let crowd = crowd(3_000, 5);
    let taxi: Vec<_> = (0..20_000_u32)
        .map(|n| {
            visit(77_777, &format!("BIN-{}", n % 60), &format!("2026-11-{:02}T{:02}:{:02}:00Z", 1 + n % 28, n % 24, n % 60), 7_200, 50_000)
        })
        .collect();
    let with: Vec<_> = crowd.iter().cloned().chain(taxi).collect();
    for (period, sessions, kwh, hours) in [(period("2026-11"), 8, 150, 100), (period("2026-Q4"), 16, 300, 250)] {
        let (a, b) = (figures(&crowd, &geography, period, 5), figures(&with, &geography, period, 5));
        let mut moved = 0;
        for (a, b) in a.tables.iter().zip(&b.tables) {
            for row in a.rows.iter().filter(|row| row.kind == Kind::Cell && row.value.is_some()) {
                let same = |other: &&Row| {
                    (other.kind, &other.area, other.class, other.measure, other.bin)
                        == (row.kind, &row.area, row.class, row.measure, row.bin)
                };
                let Some(value) = b.rows.iter().find(same).and_then(|row| row.value) else { continue };
                let bound = match row.measure.unit() {
                    Unit::Contributors => 1,
                    Unit::Sessions => sessions,
                    Unit::Kwh => kwh,
                    Unit::Hours => hours,
                };
                let off = value - row.value.unwrap();
                assert!(off.abs() <= bound + 10, "{row:?} moves by {off}");
                moved += i64::from(off != 0);
            }
        }
        assert!(moved > 0);
    }
}

fn tampered(figures: &Figures, table: Table, change: impl Fn(&mut Row), which: impl Fn(&Row) -> bool) -> bool {
    let mut changed = figures.tables.iter().find(|of| of.table == table).unwrap().clone();
    assert_eq!(changed.verify(), Ok(()));
    change(changed.rows.iter_mut().find(|row| which(row)).unwrap());
    changed.verify().is_err()
}

#[test]
fn totals_add_up_from_published_numbers_and_a_change_is_found() {
    let geography = geography();
    let crowd = crowd(4_000, 6);
    for period in [period("2026-Q4"), period("2026-11")] {
        let figures = figures(&crowd, &geography, period, 6);
        for of in &figures.tables {
            of.verify().unwrap();
            let number = |row: &Row| row.value.is_some();
            for kind in [Kind::Cell, Kind::Total] {
                assert!(tampered(&figures, of.table, |row| row.value = row.value.map(|v| v + 10), |row| number(row) && row.kind == kind));
                assert!(tampered(&figures, of.table, |row| row.value = row.value.map(|v| v + 1), |row| number(row) && row.kind == kind));
            }
            if of.rows.iter().any(|row| row.kind == Kind::Total && !number(row)) {
                assert!(tampered(&figures, of.table, |row| row.value = Some(10), |row| row.kind == Kind::Total && !number(row)));
            }
            let mut without = of.clone();
            let total = without.rows.iter().position(|row| row.kind == Kind::Total && row.value.is_some()).unwrap();
            without.rows.remove(total);
            assert!(without.verify().is_err(), "a total is missing");
            let mut doubled = of.clone();
            doubled.rows.push(doubled.rows[total].clone());
            assert!(doubled.verify().is_err());
        }
    }
}

/// What is withheld stays in totals as noise: in the remainder of its area, or of a wider one.
#[test]
fn withheld_cells_are_counted_in_remainders() {
    let geography = geography();
    let mut visits = crowd(2_000, 6);
    // 40 people each at Plaswijk and at Leiden: each below the threshold of 64, together in the province above that of two cells.
    for n in 0..110 {
        let place = if n % 2 == 0 { "PLA-1" } else { "LEI-1" };
        visits.push(visit(10_000 + n, place, "2026-11-03T08:00:00Z", 3_600, 20_000));
    }
    let figures = figures(&visits, &geography, period("2026-Q4"), 8);
    let leiden = find(&figures, Kind::Cell, "Nederland/Zuid-Holland/Leiden/other neighbourhoods", Some(Class::Ac), Measure::Sessions);
    assert_eq!((leiden[0].value, leiden[0].cells), (None, 0));
    let counted_in = leiden[0].counted_in.clone().unwrap();
    assert_eq!((counted_in.level, counted_in.path.join("/").as_str()), (Level::Province, "Nederland/Zuid-Holland"));
    let remainder = find(&figures, Kind::Remainder, "Nederland/Zuid-Holland", Some(Class::Ac), Measure::Contributors);
    assert_eq!(remainder[0].cells, 2);
    assert!((remainder[0].value.unwrap() - 110).unsigned_abs() <= 2 * remainder[0].margin.unwrap());
    let gouda = find(&figures, Kind::Total, "Nederland/Zuid-Holland/Gouda", Some(Class::Ac), Measure::Contributors);
    assert_eq!((gouda[0].cells, gouda[0].missing), (1, 1), "Plaswijk is not in Gouda's total, and the row says so");
    let province = find(&figures, Kind::Total, "Nederland/Zuid-Holland", Some(Class::Ac), Measure::Contributors);
    assert_eq!((province[0].cells, province[0].missing), (3, 0));
}

#[test]
fn occupancy_is_made_from_published_numbers() {
    let figures = figures(&crowd(4_000, 6), &geography(), period("2026-11"), 2);
    let gouda = find(&figures, Kind::Cell, "Nederland/Zuid-Holland/Gouda", Some(Class::Ac), Measure::Connected);
    let [row] = gouda.as_slice() else { panic!() };
    let (hours, occupancy) = (row.value.unwrap(), row.occupancy.unwrap());
    assert_eq!(row.points, 70);
    assert_eq!(occupancy.permille, (u64::try_from(hours).unwrap() * 1_000 + 70 * 720 / 2) / (70 * 720));
    assert_eq!(occupancy.margin, (row.margin.unwrap() * 1_000).div_ceil(70 * 720));
    for row in figures.tables.iter().flat_map(|table| &table.rows).filter(|row| row.class.is_none() || row.class == Some(Class::Home)) {
        assert!(row.occupancy.is_none() || row.area.level != Level::Homes);
    }
}

#[test]
fn nothing_is_released_before_its_time_or_for_another_period() {
    let (geography, parameters, ledger) = (geography(), Parameters::default(), Ledger::default());
    let q4 = period("2026-Q4");
    let ask = |period: Period, tables: &[Table], contributions: Vec<Contribution>, at: Timestamp| {
        let mut noise = TestNoise::not_for_publication(1);
        release(period, tables, &geography, contributions, &parameters, &ledger, at, "test", &mut noise).unwrap_err()
    };
    assert_eq!(ask(q4, &[Table::T1], vec![], Timestamp(closed(q4).0 - 1)), NoRelease::Open);
    assert_eq!(ask(q4, &[Table::T0], vec![], closed(q4)), NoRelease::Table);
    assert_eq!(ask(q4, &[Table::T1, Table::T1], vec![], closed(q4)), NoRelease::Table);
    assert_eq!(ask(q4, &[], vec![], closed(q4)), NoRelease::Table);
    assert_eq!(ask(period("2026-11"), &[Table::T3], vec![], closed(q4)), NoRelease::Table);
    let other = Contribution::new(period("2026-Q3"), &geography);
    assert_eq!(ask(q4, &[Table::T1], vec![other], closed(q4)), NoRelease::Contribution);
    let grown = [super::town::register(), vec![super::town::place("NEW", ["A", "B", "C"], 1)]].concat();
    let grown = Geography::new("Nederland", ZONE, &grown, sluis::stats::Grouping::default()).unwrap();
    assert_eq!(ask(q4, &[Table::T1], vec![Contribution::new(q4, &grown)], closed(q4)), NoRelease::Contribution);
}

struct Broken;

impl Randomness for Broken {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), NoRandomness> {
        Err(NoRandomness)
    }

    fn is_fit_for_publication(&self) -> bool {
        true
    }
}

#[test]
fn without_randomness_nothing_is_released() {
    let q4 = period("2026-Q4");
    let (parameters, ledger) = (Parameters::default(), Ledger::default());
    let refused = release(q4, &[Table::T1], &geography(), NOBODY, &parameters, &ledger, closed(q4), "test", &mut Broken).unwrap_err();
    assert_eq!(refused, NoRelease::Noise(NoNoise::NoRandomness(NoRandomness)));
}

#[test]
fn late_sessions_are_the_next_period_s() {
    let geography = geography();
    let mut late = visit(1, "BIN-1", "2026-12-31T12:00:00+01:00", 3_600, 10_000);
    late.known = at("2027-01-11T00:00:00+01:00");
    assert_eq!(Contribution::gather([&late], period("2026-Q4"), &geography).count(), 0);
    assert_eq!(Contribution::gather([&late], period("2027-Q1"), &geography).count(), 1);
    late.known = at("2027-01-10T23:59:59+01:00");
    assert_eq!(Contribution::gather([&late], period("2026-Q4"), &geography).count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever contributions hold: totals add up, numbers are multiples of ten, and nothing of a cell is below zero.
    #[test]
    fn whatever_comes_the_figures_are_sound(
        seed in any::<u64>(),
        visits in proptest::collection::vec((0_u32..40, 0_usize..153, 0_i64..7_900_000_000, any::<u64>(), 0_u64..40_000_000), 0..400),
    ) {
        let geography = geography();
        let register = super::town::register();
        let begin = period("2026-Q4").begin(ZONE).0;
        let visits: Vec<_> = visits.into_iter().map(|(who, place, ms, wh, seconds)| {
            let ended = Timestamp(begin + ms);
            let begun = Timestamp(ended.0 - i64::try_from(seconds).unwrap() * 1_000);
            Visit { contributor: super::town::who(who), place: register[place % register.len()].key.clone(), begun, ended, known: ended, wh, connected: seconds, charging: seconds / 3 }
        }).collect();
        for period in [period("2026-Q4"), period("2026-11")] {
            let figures = figures(&visits, &geography, period, seed);
            for of in &figures.tables {
                prop_assert_eq!(of.verify(), Ok(()));
                let text = serde_json::to_string(of).unwrap();
                let read: TableFigures = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(read.digest(), of.digest());
            }
        }
    }
}
