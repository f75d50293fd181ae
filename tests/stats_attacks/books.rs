//! What stands in the way besides noise: the ledger, and secrets that live for one period.

use super::world::{ZONE, crowd, geography, parameters, period};
use sluis::custody::Guests;
use sluis::stats::{Ledger, NoRelease, Refused, Table, TestNoise, release};

/// Erased, opted out or credited: there is no second release of a period, whatever changed, and none of one table of it.
#[test]
fn the_ledger_refuses_a_second_release_whatever_has_changed() {
    let (geography, with, mut ledger) = (geography(), parameters(), Ledger::default());
    for name in ["2026-10", "2026-Q4"] {
        let (period, people) = (period(name), crowd(240, name, &geography));
        let tables = Table::of(period.is_quarter());
        let asked = |tables: &[Table], people: &[_], ledger: &Ledger| {
            let mut noise = TestNoise::not_for_publication(3);
            release(period, tables, &geography, people, &with, ledger, period.close(ZONE), "test", &mut noise)
        };
        for entry in asked(tables, &people, &ledger).unwrap().entries {
            ledger.append(entry).unwrap();
        }
        for table in tables {
            let again = asked(&[*table], &people[1..], &ledger).unwrap_err();
            assert_eq!(again, NoRelease::Refused(Refused::Released(*table, period)));
        }
    }
}

/// A card has another key in every period: whoever got hold of two periods' keys cannot tell who is in both.
#[test]
fn nobody_has_the_same_key_in_two_periods() {
    let [one, other] = [Guests::new().unwrap(), Guests::new().unwrap()];
    let cards: Vec<String> = (0..1_000).map(|n| format!("04A2{n:010X}")).collect();
    let keys = |guests: &Guests| cards.iter().map(|card| guests.digest(card)).collect::<std::collections::BTreeSet<_>>();
    let (first, second) = (keys(&one), keys(&other));
    assert_eq!((first.len(), second.len()), (cards.len(), cards.len()));
    assert_eq!(first.intersection(&second).count(), 0);
}
