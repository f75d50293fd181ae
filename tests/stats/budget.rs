//! The ledger: what was spent, and that nothing is spent twice or beyond the cap.

use super::figures::{closed, empty_release};
use super::town::{ZONE, geography, period};
use sluis::clock::Timestamp;
use sluis::stats::{Broken, Clips, Digest, Ledger, NoRelease, NotParameters, Parameters, Refused, Rho, Table};

/// A ledger with everything of a year in it.
fn a_year() -> Ledger {
    let mut ledger = Ledger::default();
    for quarter in ["2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4"] {
        for month in period(quarter).months() {
            append(&mut ledger, &month.to_string());
        }
        append(&mut ledger, quarter);
    }
    ledger
}

fn append(ledger: &mut Ledger, name: &str) {
    let period = period(name);
    let release = empty_release(period, Table::of(period.is_quarter()), &Parameters::default(), ledger).unwrap();
    for entry in release.entries {
        ledger.append(entry).unwrap();
    }
}

#[test]
fn a_whole_year_costs_exactly_the_cap() {
    let mut ledger = a_year();
    assert_eq!(ledger.entries().len(), 24);
    assert_eq!(ledger.spent(2026), Rho(360_000));
    assert_eq!(ledger.spent(2026).to_string(), "0.360000");
    let last = ledger.entries().last().unwrap();
    assert_eq!((last.year, last.number), (Rho(360_000), 24));
    append(&mut ledger, "2027-01");
    assert_eq!(ledger.spent(2027), Rho(10_000));
    assert_eq!(Ledger::read(ledger.entries().to_vec()).unwrap(), ledger);
}

#[test]
fn nothing_is_released_twice() {
    let mut ledger = Ledger::default();
    append(&mut ledger, "2026-Q1");
    for table in Table::of(true) {
        let again = empty_release(period("2026-Q1"), &[*table], &Parameters::default(), &ledger).unwrap_err();
        assert_eq!(again, NoRelease::Refused(Refused::Released(*table, period("2026-Q1"))));
    }
    append(&mut ledger, "2026-01");
    append(&mut ledger, "2026-Q2");
}

#[test]
fn the_cap_holds_and_may_be_lowered() {
    let mut ledger = Ledger::default();
    append(&mut ledger, "2026-Q1");
    let capped = |cap: u32| Parameters { cap: Rho(cap), ..Parameters::default() };
    let q2 = |cap: u32| empty_release(period("2026-Q2"), Table::of(true), &capped(cap), &ledger);
    assert_eq!(q2(119_999).unwrap_err(), NoRelease::Refused(Refused::Cap(2026)));
    assert!(q2(120_000).is_ok());
    assert!(empty_release(period("2026-Q2"), &[Table::T3], &capped(78_000), &ledger).is_ok(), "one table fits where three do not");
    assert_eq!(q2(360_001).unwrap_err(), NoRelease::Parameters(NotParameters::Cap));
    assert!(empty_release(period("2027-Q2"), Table::of(true), &capped(60_000), &ledger).is_ok(), "another year");
}

#[test]
fn a_changed_ledger_is_broken() {
    let entries = a_year().entries().to_vec();
    let broken = |change: &dyn Fn(&mut Vec<sluis::stats::Entry>)| {
        let mut changed = entries.clone();
        change(&mut changed);
        Ledger::read(changed).unwrap_err()
    };
    assert_eq!(broken(&|e| e[3].rho = Rho(1)), Broken::Chain(4));
    assert_eq!(broken(&|e| e[3].period = period("2030-Q1")), Broken::Chain(4));
    assert_eq!(broken(&|e| e[3].spent[1].square += 1), Broken::Chain(4));
    assert_eq!(broken(&|e| e[3].figures = Digest::of(b"others")), Broken::Chain(4));
    assert_eq!(broken(&|e| e[3].code = "another".to_owned()), Broken::Chain(4));
    assert_eq!(broken(&|e| e[3].at = Timestamp(0)), Broken::Chain(4));
    assert_eq!(broken(&|e| drop(e.remove(3))), Broken::Chain(4));
    assert_eq!(broken(&|e| drop(e.remove(0))), Broken::Chain(1));
    assert_eq!(broken(&|e| e.swap(3, 4)), Broken::Chain(4));
    // Somebody who computes the chain again is found out by the sums.
    let again = |e: &mut Vec<sluis::stats::Entry>, from: usize| {
        for at in from..e.len() {
            e[at].number = at as u64 + 1;
            e[at].previous = if at == 0 { sluis::stats::GENESIS } else { e[at - 1].digest };
            e[at].digest = e[at].own_digest();
        }
    };
    let recomputed = |change: &dyn Fn(&mut Vec<sluis::stats::Entry>)| {
        broken(&|e| {
            change(e);
            again(e, 3);
        })
    };
    assert_eq!(recomputed(&|e| e[3].rho = Rho(1)), Broken::Sum(4));
    assert_eq!(recomputed(&|e| e[3].year = Rho(1)), Broken::Sum(4));
    assert_eq!(recomputed(&|e| e[3].spent[0].square *= 4), Broken::Sum(4), "R was larger than was paid for");
    assert_eq!(recomputed(&|e| drop(e.remove(3))), Broken::Sum(4));
    assert_eq!(recomputed(&|e| e[4] = e[3].clone()), Broken::Twice(5));
}

#[test]
fn an_entry_is_bound_to_what_was_published() {
    let release = empty_release(period("2026-Q1"), Table::of(true), &Parameters::default(), &Ledger::default()).unwrap();
    for (entry, table) in release.entries.iter().zip(&release.figures.tables) {
        assert_eq!((entry.table, entry.period), (table.table, table.period));
        assert_eq!((entry.figures, entry.cells), (table.digest(), geography().digest(table.table)));
        assert_eq!((entry.at, entry.code.as_str()), (closed(period("2026-Q1")), "test"));
        let json = serde_json::to_string(entry).unwrap();
        assert_eq!(&serde_json::from_str::<sluis::stats::Entry>(&json).unwrap(), entry);
    }
    assert!(period("2026-Q1").close(ZONE) <= release.entries[0].at);
}

#[test]
fn parameters_are_checked() {
    let wrong = |change: &dyn Fn(&mut Parameters)| {
        let mut parameters = Parameters::default();
        change(&mut parameters);
        parameters.check().unwrap_err()
    };
    assert_eq!(Parameters::default().check(), Ok(()));
    assert_eq!(wrong(&|p| p.contributors = 9), NotParameters::Contributors);
    assert_eq!(wrong(&|p| p.tables[1].measures[0].rho = Rho(8_001)), NotParameters::Split);
    assert_eq!(wrong(&|p| p.tables[1].measures.swap(0, 1)), NotParameters::Measures);
    assert_eq!(wrong(&|p| p.tables.swap(0, 1)), NotParameters::Measures);
    assert_eq!(wrong(&|p| p.tables[1].measures[1].base = 0), NotParameters::Base);
    assert_eq!(wrong(&|p| p.tables[1].measures[1].square = 0), NotParameters::Variance);
    assert_eq!(wrong(&|p| p.tables[1].measures[1].square = 1), NotParameters::Variance);
    assert_eq!(wrong(&|p| p.tables[1].measures[1].rho = Rho(0)), NotParameters::Variance);
    assert_eq!(wrong(&|p| p.tables[1].measures[1].square = u64::MAX), NotParameters::Variance);
    let wide = Parameters::new(Clips { sessions: u32::MAX, ..Clips::MONTH }, Clips::QUARTER);
    assert_eq!(wide.check(), Err(NotParameters::Variance));
}
