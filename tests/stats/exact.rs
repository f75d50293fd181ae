//! The exact mode: what is withheld, and that it cannot be computed from the rest.

use super::figures::closed;
use super::town::{ZONE, geography, period, place, visit};
use proptest::prelude::*;
use sluis::stats::{
    Class, Contribution, Geography, Grouping, Kind, Ledger, Measure, Method, NoRelease, Refused, Row, Rules, Table, TableFigures, Visit,
    release_exact,
};
use std::collections::{BTreeMap, BTreeSet};

fn exact(visits: &[Visit], geography: &Geography, table: Table) -> TableFigures {
    let period = if table.is_quarterly() { period("2026-Q4") } else { period("2026-11") };
    let contributions = Contribution::gather(visits, period, geography);
    let release =
        release_exact(period, table, geography, contributions, Rules::default(), &Ledger::default(), closed(period), "test").unwrap();
    assert_eq!(release.figures.method, Method::Exact);
    assert!(release.entries[0].method == Method::Exact && release.entries[0].rho.0 == 0);
    let [made] = release.figures.tables.try_into().unwrap();
    assert_eq!(made.verify(), Ok(()));
    made
}

/// `people` of numbers from `from` on, each with one session of `wh` at `place`.
fn people(from: u32, people: u32, place: &str, wh: u64) -> Vec<Visit> {
    (from..from + people).map(|n| visit(n, place, "2026-11-03T08:00:00Z", 3_600, wh)).collect()
}

fn value(made: &TableFigures, path: &str, class: Option<Class>, measure: Measure) -> Option<i64> {
    let is = |row: &&Row| row.area.path.join("/") == path && row.class == class && row.measure == measure;
    made.rows.iter().find(is).unwrap().value
}

const BINNENSTAD: &str = "Nederland/Zuid-Holland/Gouda/Binnenstad";
const PLASWIJK: &str = "Nederland/Zuid-Holland/Gouda/other neighbourhoods";
const GOUDA: &str = "Nederland/Zuid-Holland/Gouda";

#[test]
fn ten_contributors_are_published_and_nine_are_not() {
    let visits = |count| [people(0, count, "BIN-1", 10_000), people(100, 40, "PLA-1", 10_000), people(200, 40, "LEI-1", 10_000)].concat();
    let ten = exact(&visits(10), &geography(), Table::T1);
    assert_eq!(value(&ten, BINNENSTAD, Some(Class::Ac), Measure::Sessions), Some(10));
    assert_eq!(value(&ten, BINNENSTAD, Some(Class::Ac), Measure::Energy), Some(100));
    assert_eq!(value(&ten, GOUDA, Some(Class::Ac), Measure::Contributors), Some(50));
    let nine = exact(&visits(9), &geography(), Table::T1);
    for measure in [Measure::Sessions, Measure::Energy, Measure::Contributors] {
        assert_eq!(value(&nine, BINNENSTAD, Some(Class::Ac), measure), None);
    }
    // Gouda less Plaswijk would tell, so one of the two is withheld too.
    assert!(
        value(&nine, PLASWIJK, Some(Class::Ac), Measure::Sessions).is_none()
            || value(&nine, GOUDA, Some(Class::Ac), Measure::Sessions).is_none()
    );
}

/// The second largest fleet must not learn the largest's part by subtracting its own (R44).
#[test]
fn a_dominated_cell_is_withheld() {
    let others = [people(100, 40, "PLA-1", 10_000), people(200, 40, "LEI-1", 10_000)].concat();
    let with = |largest: u64, second: u64| {
        let fleets = [people(0, 1, "BIN-1", largest), people(1, 1, "BIN-2", second), people(10, 20, "BIN-3", 1_000)].concat();
        value(&exact(&[others.clone(), fleets].concat(), &geography(), Table::T1), BINNENSTAD, Some(Class::Ac), Measure::Sessions)
    };
    assert_eq!(with(200_000, 150_000), Some(20), "the others have 20 kWh, which is 10 % of 200 kWh");
    assert_eq!(with(200_001, 150_000), None, "and less than that of a little more");
}

/// One contract with many cards is one contributor: merged before they come here, they count once.
#[test]
fn a_contributor_with_many_sessions_is_one() {
    let mut visits = [people(100, 40, "PLA-1", 10_000), people(200, 40, "LEI-1", 10_000)].concat();
    visits.extend((0..30).map(|n| visit(7, &format!("BIN-{n}"), "2026-11-03T08:00:00Z", 3_600, 10_000)));
    assert_eq!(value(&exact(&visits, &geography(), Table::T1), BINNENSTAD, Some(Class::Ac), Measure::Sessions), None);
}

/// What adds up to what, as a reader of the table finds it: by area and class.
fn relations(made: &TableFigures, measure: Measure) -> Vec<Vec<(usize, f64)>> {
    let rows: Vec<_> = made.rows.iter().enumerate().filter(|(_, row)| row.measure == measure).collect();
    let mut relations = Vec::new();
    for (at, total) in rows.iter().filter(|(_, row)| row.kind == Kind::Total) {
        let parts = rows.iter().filter(|(_, part)| match total.class {
            Some(class) => part.class == Some(class) && part.area.parent().as_ref() == Some(&total.area),
            None => part.class.is_some() && part.area == total.area && part.kind == Kind::Total,
        });
        relations.push(parts.map(|(part, _)| (*part, -1.0)).chain([(*at, 1.0)]).collect());
    }
    relations
}

/// The withheld numbers that equations alone determine: elimination over the unknowns. Another way than the linear programme's.
fn determined(made: &TableFigures, measure: Measure) -> BTreeSet<usize> {
    let unknown: Vec<usize> =
        (0..made.rows.len()).filter(|at| made.rows[*at].measure == measure && made.rows[*at].value.is_none()).collect();
    let column: BTreeMap<usize, usize> = unknown.iter().enumerate().map(|(column, at)| (*at, column)).collect();
    let mut matrix: Vec<Vec<f64>> = relations(made, measure)
        .iter()
        .map(|relation| {
            let mut row = vec![0.0; unknown.len()];
            for (at, sign) in relation {
                if let Some(column) = column.get(at) {
                    row[*column] = *sign;
                }
            }
            row
        })
        .collect();
    let mut done = 0;
    for column in 0..unknown.len() {
        let Some(pivot) = (done..matrix.len()).find(|row| matrix[*row][column].abs() > 1e-9) else { continue };
        matrix.swap(done, pivot);
        let scale = matrix[done][column];
        matrix[done].iter_mut().for_each(|x| *x /= scale);
        let lead = matrix[done].clone();
        for (_, row) in matrix.iter_mut().enumerate().filter(|(at, _)| *at != done) {
            let factor = row[column];
            row.iter_mut().zip(&lead).for_each(|(x, y)| *x -= factor * y);
        }
        done += 1;
    }
    let single = matrix.iter().filter_map(|row| {
        let mut entries = row.iter().enumerate().filter(|(_, x)| x.abs() > 1e-9);
        entries.next().filter(|_| entries.next().is_none()).map(|(column, _)| unknown[column])
    });
    single.collect()
}

/// The true number of each row, by another way than the table's.
fn truth(visits: &[Visit], made: &TableFigures, names: &BTreeMap<String, (Vec<String>, Class)>) -> Vec<u64> {
    made.rows
        .iter()
        .map(|row| {
            visits
                .iter()
                .filter(|visit| {
                    let (path, class) = &names[&visit.place];
                    path.starts_with(&row.area.path) && row.class.is_none_or(|of| of == *class)
                })
                .count() as u64
        })
        .collect()
}

/// Six municipalities in two provinces, AC and HPC.
fn land() -> (Geography, BTreeMap<String, (Vec<String>, Class)>) {
    let mut places = Vec::new();
    let mut names = BTreeMap::new();
    for (n, (province, municipality)) in [("A", "a"), ("A", "b"), ("A", "c"), ("B", "d"), ("B", "e"), ("B", "f")].into_iter().enumerate() {
        for (class, max_w) in [(Class::Ac, 11_000), (Class::Hpc, 300_000)] {
            let key = format!("{n}-{class:?}");
            places.push(place(&key, [province, municipality, ""], max_w));
            names.insert(key, (vec!["Nederland".to_owned(), province.to_owned(), municipality.to_owned()], class));
        }
    }
    (Geography::new("Nederland", ZONE, &places, Grouping::default()).unwrap(), names)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is withheld, no number of somebody follows from the published ones.
    #[test]
    fn what_is_withheld_cannot_be_computed(counts in proptest::collection::vec(prop_oneof![0_u32..15, 30_u32..60], 12), wh in 1_000_u64..60_000) {
        let (geography, names) = land();
        let keys: Vec<_> = names.keys().cloned().collect();
        let visits: Vec<_> = counts.iter().enumerate().flat_map(|(n, count)| people(1_000 * n as u32, *count, &keys[n], wh + 100 * n as u64)).collect();
        let made = exact(&visits, &geography, Table::T0);
        let truth = truth(&visits, &made, &names);
        for (row, truth) in made.rows.iter().zip(&truth) {
            if row.measure == Measure::Sessions && row.value.is_some() {
                prop_assert!((row.value.unwrap() - *truth as i64).abs() <= 5, "{:?} is {}", row, truth);
                prop_assert!(*truth >= 10);
            }
        }
        for at in determined(&made, Measure::Sessions) {
            prop_assert_eq!(truth[at], 0, "{:?} follows from the rest", &made.rows[at]);
        }
    }
}

/// The check above has power: with unsafe cells alone withheld, a number does follow.
#[test]
fn withholding_unsafe_cells_alone_would_tell_them() {
    let (geography, names) = land();
    let keys: Vec<_> = names.keys().cloned().collect();
    let visits: Vec<_> = (0..12_u32).flat_map(|n| people(1_000 * n, if n == 2 { 7 } else { 40 }, &keys[n as usize], 10_000)).collect();
    let mut made = exact(&visits, &geography, Table::T0);
    assert!(determined(&made, Measure::Sessions).iter().all(|at| truth(&visits, &made, &names)[*at] == 0));
    let truth = truth(&visits, &made, &names);
    let withheld = made
        .rows
        .iter()
        .zip(&truth)
        .filter(|(row, truth)| row.measure == Measure::Sessions && row.value.is_none() && **truth >= 10)
        .count();
    assert!(withheld >= 1, "something safe is withheld with it");
    for (row, truth) in made.rows.iter_mut().zip(&truth) {
        row.value = (*truth >= 10).then_some(*truth as i64);
    }
    assert!(determined(&made, Measure::Sessions).iter().any(|at| truth[*at] == 7));
}

#[test]
fn laxer_rules_other_tables_and_second_releases_are_refused() {
    let (geography, q4) = (geography(), period("2026-Q4"));
    let ask = |table: Table, rules: Rules, ledger: &Ledger| release_exact(q4, table, &geography, [], rules, ledger, closed(q4), "test");
    for rules in [
        Rules { contributors: 9, ..Rules::default() },
        Rules { percent: 9, ..Rules::default() },
        Rules { interval: 19, ..Rules::default() },
        Rules { base: 5, ..Rules::default() },
    ] {
        assert_eq!(ask(Table::T1, rules, &Ledger::default()).unwrap_err(), NoRelease::Rules);
    }
    for table in [Table::T0, Table::T2, Table::T3] {
        assert_eq!(ask(table, Rules::default(), &Ledger::default()).unwrap_err(), NoRelease::Table);
    }
    let mut ledger = Ledger::default();
    for entry in ask(Table::T1, Rules::default(), &ledger).unwrap().entries {
        ledger.append(entry).unwrap();
    }
    assert_eq!(ask(Table::T1, Rules::default(), &ledger).unwrap_err(), NoRelease::Refused(Refused::Released(Table::T1, q4)));
    let noisy = super::figures::empty_release(q4, &[Table::T1], &sluis::stats::Parameters::default(), &ledger).unwrap_err();
    assert_eq!(noisy, NoRelease::Refused(Refused::Released(Table::T1, q4)), "with noise neither");
    let contributions = Contribution::gather(&people(0, 40, "LEI-1", 1_000), q4, &geography).collect::<Vec<_>>();
    let early = release_exact(q4, Table::T1, &geography, contributions, Rules::default(), &ledger, sluis::clock::Timestamp(0), "test");
    assert_eq!(early.unwrap_err(), NoRelease::Open);
}

/// A country of 90 municipalities, most of them with cells of few: what hangs together there is large.
#[test]
fn a_country_is_looked_at_whole() {
    let (mut places, mut names, mut visits) = (Vec::new(), BTreeMap::new(), Vec::new());
    for n in 0..90_u32 {
        let (province, municipality) = (format!("P{:02}", n % 12), format!("M{n:03}"));
        for (class, max_w, people_there) in
            [(Class::Ac, 11_000, 3 + n * 37 % 60), (Class::Dc, 50_000, n * 13 % 25), (Class::Hpc, 300_000, n * 7 % 40)]
        {
            let key = format!("{n}-{class:?}");
            places.push(place(&key, [&province, &municipality, ""], max_w));
            names.insert(key.clone(), (vec!["Nederland".to_owned(), province.clone(), municipality.clone()], class));
            visits.extend(people(1_000 * n + max_w % 997, people_there, &key, 9_000 + u64::from(n * 31 % 20_000)));
        }
    }
    let geography = Geography::new("Nederland", ZONE, &places, Grouping::default()).unwrap();
    let made = exact(&visits, &geography, Table::T0);
    let truth = truth(&visits, &made, &names);
    let sessions =
        |withheld: bool| made.rows.iter().filter(|row| row.measure == Measure::Sessions && row.value.is_none() == withheld).count();
    assert!(sessions(true) > 30 && sessions(false) > 100, "{} withheld, {} shown", sessions(true), sessions(false));
    for at in determined(&made, Measure::Sessions) {
        assert_eq!(truth[at], 0, "{:?} follows from the rest", &made.rows[at]);
    }
}
