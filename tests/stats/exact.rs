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

/// A card that is alone in two neighbourhoods: neither is published, and what both are together follows from Gouda and its other ones.
#[test]
fn one_person_alone_in_two_neighbourhoods_is_not_found_in_their_sum() {
    let (geography, names) = shires();
    let alone = |place: &str, sessions: u32| {
        (0..sessions).map(|n| visit(7, place, &format!("2026-11-{:02}T08:00:00Z", 1 + n), 3_600, 37_300)).collect()
    };
    let visits =
        [alone("0-1", 20), alone("0-2", 18), people(100, 60, "0-3", 9_000), people(200, 70, "0-4", 9_000), people(300, 80, "2-1", 9_000)]
            .concat();
    let made = exact(&visits, &geography, Table::T1);
    assert_eq!(unions_that_tell(&visits, &made, &names), Vec::<String>::new());
}

/// What the second largest fleet knows of the largest, where each is alone in a neighbourhood with some others.
#[test]
fn a_fleet_is_not_found_in_the_sum_of_its_neighbourhood_and_another_fleets() {
    let (geography, names) = shires();
    let fleets = [people(1, 1, "0-1", 20_650_000), people(2, 1, "0-2", 4_500_000)].concat();
    let others =
        [people(10, 15, "0-1", 20_000), people(30, 15, "0-2", 20_000), people(100, 100, "0-3", 800_000), people(300, 80, "2-1", 20_000)];
    let visits = [fleets, others.concat()].concat();
    let made = exact(&visits, &geography, Table::T1);
    assert_eq!(unions_that_tell(&visits, &made, &names), Vec::<String>::new());
}

/// Found by a reader: nobody is safe in any class, all are together, and what one province takes off the country leaves one person.
#[test]
fn a_person_is_not_found_by_adding_up_all_classes_by_area() {
    let (mut places, mut names) = (Vec::new(), BTreeMap::new());
    for (province, class, max_w) in
        [("Z", Class::Ac, 11_000), ("F", Class::Ac, 11_000), ("U", Class::Ac, 11_000), ("U", Class::Hpc, 300_000)]
    {
        let key = format!("{province}-{class:?}");
        places.push(place(&key, [province, &format!("{province}-stad"), ""], max_w));
        names.insert(key, (["Nederland", province, &format!("{province}-stad")].map(str::to_owned).to_vec(), class));
    }
    let geography = Geography::new("Nederland", ZONE, &places, Grouping::default()).unwrap();
    let often = |who: u32, key: &str| {
        (1..=18).map(|day| visit(who, key, &format!("2026-11-{day:02}T08:00:00Z"), 3_600, 10_000)).collect::<Vec<_>>()
    };
    let visits =
        [often(1, "Z-Ac"), often(1, "F-Ac"), often(2, "U-Hpc"), people(100, 8, "U-Ac", 10_000), people(200, 8, "U-Hpc", 10_000)].concat();
    let made = exact(&visits, &geography, Table::T0);
    assert_eq!(value(&made, "Nederland", None, Measure::Sessions), Some(70));
    assert_eq!(unions_that_tell(&visits, &made, &names), Vec::<String>::new());
}

/// The totals less whatever is published under them of which the rest tells of one person: of fewer than ten, or of the largest to the second largest.
/// Whatever way leads down is gone, with each withheld total under it taken as a whole or taken apart.
fn unions_that_tell(visits: &[Visit], made: &TableFigures, names: &BTreeMap<String, (Vec<String>, Class)>) -> Vec<String> {
    let rows: Vec<&Row> = made.rows.iter().filter(|row| row.measure == Measure::Sessions).collect();
    let parts = |total: &Row| -> Vec<&Row> {
        let is_part = |part: &&&Row| match total.class {
            Some(class) => part.class == Some(class) && part.area.parent().as_ref() == Some(&total.area),
            None => part.class.is_some() && part.area == total.area && part.kind == Kind::Total,
        };
        rows.iter().filter(is_part).copied().collect()
    };
    let mut telling = Vec::new();
    for total in rows.iter().filter(|row| row.kind == Kind::Total && row.value.is_some()) {
        // Every set of withheld numbers that is left of the total by taking published ones off.
        let mut sets: Vec<Vec<&Row>> = vec![parts(total).into_iter().filter(|part| part.value.is_none()).collect()];
        // All classes of the areas in it add up to all classes of it, though that is told by neither.
        if total.class.is_none() {
            let within = |row: &&&Row| row.class.is_none() && row.area.parent().as_ref() == Some(&total.area) && row.value.is_none();
            sets.push(rows.iter().filter(within).copied().collect());
        }
        let mut seen = 0;
        while seen < sets.len() && sets.len() < 500 {
            for at in 0..sets[seen].len() {
                let (mut rest, whole) = (sets[seen].clone(), sets[seen][at]);
                if whole.kind == Kind::Total && parts(whole).iter().any(|part| part.value.is_some()) {
                    rest.remove(at);
                    rest.extend(parts(whole).into_iter().filter(|part| part.value.is_none()));
                    sets.push(rest);
                }
            }
            seen += 1;
        }
        for set in sets {
            let is_of = |visit: &&Visit, row: &Row| {
                let (path, class) = &names[&visit.place];
                path.starts_with(&row.area.path) && row.class.is_none_or(|of| of == *class)
            };
            let mut people: BTreeMap<_, u64> = BTreeMap::new();
            for visit in visits.iter().filter(|visit| set.iter().any(|row| is_of(visit, row))) {
                *people.entry(visit.contributor).or_default() += visit.wh;
            }
            let mut parts: Vec<u64> = people.into_values().collect();
            parts.sort_unstable_by(|a, b| b.cmp(a));
            let few = !parts.is_empty() && parts.len() < 10;
            if few || parts.len() > 1 && parts[2..].iter().sum::<u64>() * 10 < parts[0] {
                telling.push(format!("{:?} {:?}: {parts:?}", total.area.path, total.class));
            }
        }
    }
    telling
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

/// The least and the most that a withheld number of sessions can be for all that follows from the published ones: a programme with an unknown for
/// each withheld number, where the library has one for several.
fn interval(made: &TableFigures, truth: &[u64], at: usize) -> (f64, f64) {
    use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOutcome, Variable};
    let bound = |direction| {
        let mut problem = Problem::new(direction);
        let unknown = |at: &usize| made.rows[*at].measure == Measure::Sessions && made.rows[*at].value.is_none();
        // A bound far above all: so that there is an answer.
        let variables: BTreeMap<usize, Variable> =
            (0..made.rows.len()).filter(unknown).map(|of| (of, problem.add_var(if of == at { 1.0 } else { 0.0 }, (0.0, 1e6)))).collect();
        for relation in relations(made, Measure::Sessions) {
            let left: Vec<_> = relation.iter().filter_map(|(of, sign)| Some((*variables.get(of)?, *sign))).collect();
            let right: f64 =
                relation.iter().filter(|(of, _)| !variables.contains_key(of)).map(|(of, sign)| -sign * truth[*of] as f64).sum();
            if !left.is_empty() {
                problem.add_constraint(&left, ComparisonOp::Eq, right);
            }
        }
        match problem.solve() {
            Ok(SolveOutcome::Solution(solution)) => solution.objective(),
            other => panic!("{other:?}"),
        }
    };
    (bound(OptimizationDirection::Minimize), bound(OptimizationDirection::Maximize))
}

/// The total of all classes of an area that is safe by itself: left out lest it be a second way to others.
fn is_spare(row: &Row, truth: u64) -> bool {
    row.class.is_none() && row.area.parent().is_some() && truth >= 10
}

/// All withheld numbers of sessions could be a fifth smaller and larger.
fn all_are_wide(made: &TableFigures, truth: &[u64]) -> Result<(), TestCaseError> {
    for (at, row) in made.rows.iter().enumerate().filter(|(_, row)| row.measure == Measure::Sessions && row.value.is_none()) {
        let exact = truth[at] as f64;
        if exact > 0.0 && !is_spare(row, truth[at]) {
            let (least, most) = interval(made, truth, at);
            prop_assert!(least <= 0.8 * exact + 1e-6 && most >= 1.2 * exact - 1e-6, "{row:?} is {exact}, from {least} to {most}");
        }
    }
    Ok(())
}

/// Three municipalities in two provinces, with four neighbourhoods of AC each and a hub in the first two.
fn shires() -> (Geography, BTreeMap<String, (Vec<String>, Class)>) {
    let (mut places, mut names) = (Vec::new(), BTreeMap::new());
    for (n, (province, municipality)) in [("A", "a"), ("A", "b"), ("B", "c")].into_iter().enumerate() {
        let area = |part: &str| ["Nederland", province, municipality, part].map(str::to_owned).to_vec();
        for part in ["1", "2", "3", "4"] {
            let key = format!("{n}-{part}");
            places.push(place(&key, [province, municipality, part], 11_000));
            names.insert(key, (area(part), Class::Ac));
        }
        if n < 2 {
            for pole in 0..2 {
                let mut fast = place(&format!("{n}-hub-{pole}"), [province, municipality, "1"], 300_000);
                fast.site = "Plein".to_owned();
                places.push(fast);
            }
            names.insert(format!("{n}-hub-0"), (area("Plein"), Class::Hpc));
        }
    }
    let grouping = Grouping { neighbourhood: 1, ..Grouping::default() };
    (Geography::new("Nederland", ZONE, &places, grouping).unwrap(), names)
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

/// How many sessions one contributor has in each of `cells`: mostly none.
fn fleets(cells: usize) -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(prop_oneof![4 => Just(0_u32), 1 => 1_u32..20], cells)
}

fn vehicles(fleet: &[u32], keys: &[String]) -> Vec<Visit> {
    let of = |(sessions, key): (&u32, &String)| {
        (0..*sessions).map(|n| visit(999_999, key, &format!("2026-11-{:02}T08:00:00Z", 1 + n), 3_600, 40_000)).collect::<Vec<_>>()
    };
    fleet.iter().zip(keys).flat_map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is withheld, no number of somebody follows from the published ones.
    #[test]
    fn what_is_withheld_cannot_be_computed(counts in proptest::collection::vec(prop_oneof![0_u32..15, 30_u32..60], 12), wh in 1_000_u64..60_000, fleet in fleets(12)) {
        let (geography, names) = land();
        let keys: Vec<_> = names.keys().cloned().collect();
        let visits: Vec<_> = counts.iter().enumerate().flat_map(|(n, count)| people(1_000 * n as u32, *count, &keys[n], wh + 100 * n as u64)).collect();
        let visits = [visits, vehicles(&fleet, &keys)].concat();
        let made = exact(&visits, &geography, Table::T0);
        let truth = truth(&visits, &made, &names);
        for (row, truth) in made.rows.iter().zip(&truth) {
            if row.measure == Measure::Sessions && row.value.is_some() {
                prop_assert!((row.value.unwrap() - *truth as i64).abs() <= 5, "{:?} is {}", row, truth);
                prop_assert!(*truth >= 10);
            }
        }
        for at in determined(&made, Measure::Sessions) {
            prop_assert!(truth[at] == 0 || is_spare(&made.rows[at], truth[at]), "{:?} follows from the rest", &made.rows[at]);
        }
        prop_assert_eq!(unions_that_tell(&visits, &made, &names), Vec::<String>::new());
        all_are_wide(&made, &truth)?;
    }

    /// The same where cells lie a level deeper, and a total of a municipality may have to be withheld.
    #[test]
    fn what_is_withheld_is_wide_in_neighbourhoods_too(counts in proptest::collection::vec(prop_oneof![0_u32..13, 13_u32..30, 60_u32..90], 14), wh in 1_000_u64..60_000, fleet in fleets(14)) {
        let (geography, names) = shires();
        let keys: Vec<_> = names.keys().cloned().collect();
        let visits: Vec<_> = counts.iter().enumerate().flat_map(|(n, count)| people(1_000 * n as u32, *count, &keys[n], wh + 100 * n as u64)).collect();
        let visits = [visits, vehicles(&fleet, &keys)].concat();
        let made = exact(&visits, &geography, Table::T1);
        let truth = truth(&visits, &made, &names);
        for at in determined(&made, Measure::Sessions) {
            prop_assert!(truth[at] == 0 || is_spare(&made.rows[at], truth[at]), "{:?} follows from the rest", &made.rows[at]);
        }
        prop_assert_eq!(unions_that_tell(&visits, &made, &names), Vec::<String>::new());
        all_are_wide(&made, &truth)?;
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

/// A month's T0 and its quarter's T1 count the same sessions in the same municipalities: what one withholds could be told from the other.
#[test]
fn a_quarter_is_not_released_beside_its_months_nor_a_month_beside_its_quarter() {
    let geography = geography();
    let ask = |name: &str, ledger: &Ledger| {
        let of = period(name);
        let table = if of.is_quarter() { Table::T1 } else { Table::T0 };
        release_exact(of, table, &geography, [], Rules::default(), ledger, closed(of), "test")
    };
    let with = |names: &[&str]| {
        let mut ledger = Ledger::default();
        for name in names {
            ledger.append(ask(name, &ledger).unwrap().entries.remove(0)).unwrap();
        }
        ledger
    };
    let months = with(&["2026-10", "2026-11"]);
    assert_eq!(ask("2026-Q4", &months).unwrap_err(), NoRelease::Refused(Refused::Overlaps(Table::T0, period("2026-10"))));
    let quarter = with(&["2026-Q4"]);
    for month in ["2026-10", "2026-11", "2026-12"] {
        assert_eq!(ask(month, &quarter).unwrap_err(), NoRelease::Refused(Refused::Overlaps(Table::T1, period("2026-Q4"))));
    }
    // Other sessions are no matter.
    assert!(ask("2027-01", &quarter).is_ok() && ask("2026-Q3", &months).is_ok() && ask("2026-12", &months).is_ok());
}

/// A register in which more hangs together than is known to be checked in bounded time makes no exact table, and says so.
#[test]
fn a_register_past_the_bound_is_refused() {
    // Each municipality has two totals, each province two, and the country two; 3,000 may be.
    let country = |municipalities: usize| {
        let places: Vec<_> = (0..municipalities).map(|n| place(&format!("P{n}"), ["A", &format!("m{n}"), "w"], 11_000)).collect();
        Geography::new("Nederland", ZONE, &places, Grouping { neighbourhood: 1, ..Grouping::default() }).unwrap()
    };
    let ask = |geography: &Geography| {
        let q4 = period("2026-Q4");
        release_exact(q4, Table::T1, geography, [], Rules::default(), &Ledger::default(), closed(q4), "test")
    };
    assert!(ask(&country(1_498)).is_ok());
    assert_eq!(ask(&country(1_499)).unwrap_err(), NoRelease::TooLarge);
}

/// The Netherlands: 342 municipalities in 12 provinces, in each some neighbourhoods and a hub or two, so many of them small that much hangs together.
/// `scale` is how many people a large cell has.
fn netherlands(table: Table, scale: u32) -> (TableFigures, std::time::Duration) {
    let (mut places, mut visits, mut person) = (Vec::new(), Vec::new(), 0);
    for n in 0..342_u32 {
        let (province, municipality) = (format!("P{:02}", n % 12), format!("M{n:03}"));
        for part in 0..3 + n % 9 {
            let wijk = format!("W{part}");
            for (class, max_w) in [("ac", 11_000), ("dc", 50_000)] {
                let key = format!("{n}-{part}-{class}");
                places.push(place(&key, [&province, &municipality, &wijk], max_w));
                let mixed = n.wrapping_mul(7_919).wrapping_add(part * 104_729).wrapping_add(max_w) % 997;
                let count = 1 + mixed * scale / 997 / if class == "ac" { 1 } else { 3 };
                visits.extend(people(person, count, &key, 4_000 + u64::from(mixed) * 30));
                person += count;
            }
        }
        if n % 3 == 0 {
            for pole in 0..2 {
                let mut fast = place(&format!("{n}-hub-{pole}"), [&province, &municipality, "W0"], 300_000);
                fast.site = format!("Plein {n}");
                places.push(fast);
            }
            visits.extend(people(person, 1 + n % 40, &format!("{n}-hub-0"), 30_000));
            person += 1 + n % 40;
        }
    }
    let geography = Geography::new("Nederland", ZONE, &places, Grouping { neighbourhood: 1, ..Grouping::default() }).unwrap();
    #[expect(clippy::disallowed_methods, reason = "it is measured how long it takes")]
    let began = std::time::Instant::now();
    let made = exact(&visits, &geography, table);
    (made, began.elapsed())
}

/// The whole country is checked in bounded time, whether its cells are large or small.
#[test]
fn the_netherlands_are_looked_at_whole() {
    the_country_is_looked_at(&[(Table::T0, 60), (Table::T1, 24)]);
}

/// The cells of the size at which the most hangs together: where some are withheld and their municipalities just not.
/// `cargo test --release --test stats the_netherlands -- --include-ignored --nocapture`
#[test]
#[ignore = "for a release build: a minute without optimisation"]
fn the_netherlands_are_looked_at_whole_whatever_their_cells() {
    the_country_is_looked_at(&[(Table::T0, 20), (Table::T1, 30), (Table::T1, 45), (Table::T1, 60), (Table::T1, 90), (Table::T1, 150)]);
}

fn the_country_is_looked_at(tables: &[(Table, u32)]) {
    for (table, scale) in tables.iter().copied() {
        let (made, took) = netherlands(table, scale);
        let of =
            |withheld: bool| made.rows.iter().filter(|row| row.measure == Measure::Sessions && row.value.is_none() == withheld).count();
        println!("{table:?} of 342 municipalities, cells of up to {scale}: {} withheld, {} shown, {took:?}", of(true), of(false));
        assert!(of(true) > 30 && of(false) > 300, "{} withheld, {} shown", of(true), of(false));
        let told: Vec<_> = determined_singly(&made).into_iter().map(|at| &made.rows[at]).collect();
        assert!(told.is_empty(), "these follow from the rest: {told:?}");
    }
}

/// The withheld numbers that are the only ones in what they are added up with: no elimination, which takes too long for a country. None of its numbers
/// is nothing, but those of homes, of which it has none.
fn determined_singly(made: &TableFigures) -> Vec<usize> {
    let mut children: BTreeMap<(Vec<String>, Option<Class>), Vec<usize>> = BTreeMap::new();
    for (at, row) in made.rows.iter().enumerate().filter(|(_, row)| row.measure == Measure::Sessions && row.class.is_some()) {
        if row.kind == Kind::Total {
            children.entry((row.area.path.clone(), None)).or_default().push(at);
        }
        if let Some(parent) = row.area.parent() {
            children.entry((parent.path, row.class)).or_default().push(at);
        }
    }
    let totals: BTreeMap<_, usize> = made
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.measure == Measure::Sessions && row.kind == Kind::Total)
        .map(|(at, row)| ((row.area.path.clone(), row.class), at))
        .collect();
    let hidden = |at: &usize| made.rows[*at].value.is_none();
    children
        .into_iter()
        .filter_map(|(of, parts)| {
            let all: Vec<usize> = parts.into_iter().chain(totals.get(&of).copied()).filter(hidden).collect();
            <[usize; 1]>::try_from(all).ok().map(|[at]| at)
        })
        .filter(|at| made.rows[*at].class != Some(Class::Home))
        .collect()
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
