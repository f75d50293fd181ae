//! Periods, places and what a visit adds.

use super::town::{ZONE, at, geography, period, place, register, visit};
use sluis::clock::Timestamp;
use sluis::stats::{Class, Contribution, Geography, Grouping, Level, NotAGeography, Period, Table};

#[test]
fn periods_read_and_print_alike() {
    for text in ["2026-01", "2026-12", "2026-Q1", "2026-Q4", "2000-Q1", "2199-12"] {
        assert_eq!(period(text).to_string(), text);
        assert_eq!(serde_json::from_str::<Period>(&format!("\"{text}\"")).unwrap(), period(text));
    }
    for text in [
        "2026-13", "2026-00", "2026-Q5", "2026-Q0", "2026-1", "26-01", "2026", "1999-Q4", "2200-01", "2026-q1", "2026-Q01", "2026-+1", "",
        "-", "2026-Q",
    ] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
}

#[test]
fn a_period_is_bounded_by_local_midnights() {
    let q4 = period("2026-Q4");
    assert_eq!((q4.begin(ZONE), q4.end(ZONE)), (at("2026-10-01T00:00:00+02:00"), at("2027-01-01T00:00:00+01:00")));
    assert_eq!(q4.close(ZONE), at("2027-01-11T00:00:00+01:00"));
    assert_eq!(q4.hours(ZONE), 92 * 24 + 1, "an hour more: summer time ends");
    let march = period("2026-03");
    assert_eq!((march.hours(ZONE), march.close(ZONE)), (31 * 24 - 1, at("2026-04-11T00:00:00+02:00")));
    assert_eq!(q4.next().unwrap(), period("2027-Q1"));
    assert_eq!(period("2026-12").next().unwrap(), period("2027-01"));
    assert!(period("2199-Q4").next().is_err());
    assert_eq!(q4.months(), [period("2026-10"), period("2026-11"), period("2026-12")]);
    assert_eq!(period("2026-11").its_quarter(), q4);
    // A zone whose clocks skip midnight.
    assert!(period("2018-11").begin(chrono_tz::America::Sao_Paulo) < period("2018-11").end(chrono_tz::America::Sao_Paulo));
}

#[test]
fn a_session_counts_when_it_ends_unless_it_is_known_too_late() {
    let month = |ended: &str, known: &str| Period::month_that_takes(at(ended), at(known), ZONE).unwrap().to_string();
    assert_eq!(month("2026-10-31T23:59:59+01:00", "2026-10-31T23:59:59+01:00"), "2026-10");
    assert_eq!(month("2026-11-01T00:00:00+01:00", "2026-11-01T00:00:00+01:00"), "2026-11");
    assert_eq!(month("2026-10-31T22:00:00Z", "2026-11-10T22:59:59Z"), "2026-10", "known in time");
    assert_eq!(month("2026-10-31T22:00:00Z", "2026-11-10T23:00:00Z"), "2026-11", "known at the close: the next month's");
    assert_eq!(month("2026-10-31T22:00:00Z", "2027-06-01T00:00:00Z"), "2027-05", "the first that was open");
    let quarter = |ended: &str, known: &str| Period::quarter_that_takes(at(ended), at(known), ZONE).unwrap().to_string();
    assert_eq!(quarter("2026-12-31T22:59:59Z", "2027-01-10T22:59:59Z"), "2026-Q4");
    assert_eq!(quarter("2026-12-31T22:59:59Z", "2027-01-10T23:00:00Z"), "2027-Q1");
    assert!(Period::month_that_takes(Timestamp(i64::MAX), Timestamp(0), ZONE).is_err());
    assert!(Period::month_that_takes(Timestamp(i64::MIN), Timestamp(0), ZONE).is_err());
}

fn names(geography: &Geography, table: Table) -> Vec<String> {
    geography.list(table).map(|(area, class, points)| format!("{} {:?} {class:?} {points}", area.path[1..].join("/"), area.level)).collect()
}

#[test]
fn the_hierarchy_is_as_the_register_says() {
    let geography = geography();
    assert_eq!(
        names(&geography, Table::T0),
        [
            "Noord-Brabant/Breda Municipality Ac 45",
            "Noord-Brabant/Breda Municipality Dc 1",
            "Zuid-Holland/Gouda Municipality Ac 70",
            "Zuid-Holland/Gouda Municipality Hpc 4",
            "Zuid-Holland/Leiden Municipality Ac 30",
            "Noord-Brabant/homes Homes Home 0",
            "Zuid-Holland/homes Homes Home 0",
            "elsewhere/homes Homes Home 0",
        ]
    );
    assert_eq!(
        names(&geography, Table::T1),
        [
            "Noord-Brabant/Breda/Centrum Neighbourhood Ac 45",
            "Noord-Brabant/Breda/Centrum Neighbourhood Dc 1",
            "Zuid-Holland/Gouda/Binnenstad Neighbourhood Ac 60",
            "Zuid-Holland/Gouda/other neighbourhoods OtherNeighbourhoods Ac 10",
            "Zuid-Holland/Leiden/other neighbourhoods OtherNeighbourhoods Ac 30",
            "Zuid-Holland/Gouda/Fastned Gouda Hub Hpc 4",
        ],
        "a single fast charger is no hub, and ten poles are no neighbourhood"
    );
    assert_eq!(
        names(&geography, Table::T2),
        [
            "Zuid-Holland/Gouda Municipality Ac 70",
            "Zuid-Holland/Gouda Municipality Hpc 4",
            "Noord-Brabant/other municipalities OtherMunicipalities Ac 45",
            "Noord-Brabant/other municipalities OtherMunicipalities Dc 1",
            "Zuid-Holland/other municipalities OtherMunicipalities Ac 30",
        ]
    );
    assert_eq!(names(&geography, Table::T3), [" Country Ac 145", " Country Dc 1", " Country Hpc 4"]);
    assert!(geography.is_home("HOME-0") && geography.is_home("FAR-0") && !geography.is_home("BIN-0") && !geography.knows("NOWHERE"));
}

/// The list of cells is public, so it may not depend on who has a charger at home.
#[test]
fn homes_leave_no_trace_in_the_list_of_cells() {
    let without: Vec<_> = register().into_iter().filter(|place| !place.home).collect();
    let grouping = Grouping { municipality: 60, ..Grouping::default() };
    let without = Geography::new("Nederland", ZONE, &without, grouping).unwrap();
    for table in Table::ALL {
        assert_eq!(geography().digest(table), without.digest(table));
    }
}

#[test]
fn a_register_in_another_order_is_the_same_geography() {
    let mut places = register();
    places.reverse();
    let grouping = Grouping { municipality: 60, ..Grouping::default() };
    let other = Geography::new("Nederland", ZONE, &places, grouping).unwrap();
    for table in Table::ALL {
        assert_eq!(other.digest(table), geography().digest(table));
    }
    places.push(place("BIN-0", ["Zuid-Holland", "Gouda", "Binnenstad"], 11_000));
    let doubled = Geography::new("Nederland", ZONE, &places, grouping).unwrap();
    assert_eq!(doubled.digest(Table::T1), geography().digest(Table::T1), "a second connector is no second charging point");
    places.push(place("NEW", ["Zuid-Holland", "Gouda", "Binnenstad"], 11_000));
    let grown = Geography::new("Nederland", ZONE, &places, grouping).unwrap();
    assert_ne!(grown.digest(Table::T1), geography().digest(Table::T1));
    let home = sluis::stats::Place { home: true, ..place("H", ["A", "B", "C"], 11_000) };
    assert_eq!(Geography::new("Nederland", ZONE, &[home], grouping).unwrap_err(), NotAGeography::Empty);
}

#[test]
fn power_makes_the_class() {
    let class = |max_w: Option<u32>, dc: bool| {
        let place = sluis::stats::Place { max_w, dc, ..place("P", ["A", "B", "C"], 1) };
        let geography = Geography::new("Nederland", ZONE, &[place], Grouping::default()).unwrap();
        geography.list(Table::T3).next().map(|(area, class, _)| (area.level, class)).unwrap()
    };
    for (max_w, dc, expected) in [
        (Some(22_000), false, Class::Ac),
        (Some(43_000), false, Class::Dc),
        (Some(20_000), true, Class::Dc),
        (Some(149_999), true, Class::Dc),
        (Some(150_000), true, Class::Hpc),
        (None, true, Class::Dc),
        (None, false, Class::Ac),
    ] {
        assert_eq!(class(max_w, dc), (Level::Country, expected), "{max_w:?} {dc}");
    }
}

/// What it holds, as text: table, measure, cell, bin and sum.
fn sums(contribution: &Contribution) -> Vec<(Table, sluis::stats::Measure, u32, u8, u64)> {
    let json = serde_json::to_value(contribution).unwrap();
    serde_json::from_value::<Vec<((Table, sluis::stats::Measure, u32, u8), u64)>>(json["sums"].clone())
        .unwrap()
        .into_iter()
        .map(|((table, measure, cell, bin), sum)| (table, measure, cell, bin, sum))
        .collect()
}

#[test]
fn a_visit_adds_to_every_table_of_its_period() {
    use sluis::stats::Measure::*;
    let geography = geography();
    let mut contribution = Contribution::new(period("2026-Q4"), &geography);
    // From Friday 23:30 to Saturday 01:15 local time; charging for the first 52.5 minutes.
    assert!(contribution.add(&visit(1, "BIN-3", "2026-11-06T23:30:00+01:00", 6_300, 10_500), &geography));
    assert_eq!(
        sums(&contribution),
        [
            (Table::T1, Contributors, 2, 0, 1_000),
            (Table::T1, Sessions, 2, 0, 1_000),
            (Table::T1, Energy, 2, 0, 10_500),
            (Table::T2, ConnectedByHour, 0, 23, 1_800),
            (Table::T2, ConnectedByHour, 0, 24, 3_600),
            (Table::T2, ConnectedByHour, 0, 25, 900),
            (Table::T2, ChargingByHour, 0, 23, 1_800),
            (Table::T2, ChargingByHour, 0, 24, 1_350),
            (Table::T2, EnergyByHour, 0, 23, 6_000),
            (Table::T2, EnergyByHour, 0, 24, 4_500),
            (Table::T3, ByDuration, 0, 3, 1_000),
            (Table::T3, ByEnergy, 0, 3, 1_000),
            (Table::T3, ByArrival, 0, 23, 1_000),
        ]
    );
    contribution.add(&visit(1, "BIN-4", "2026-11-07T12:00:00+01:00", 600, 1_000), &geography);
    let twice = sums(&contribution);
    assert!(twice.contains(&(Table::T1, Contributors, 2, 0, 1_000)) && twice.contains(&(Table::T1, Sessions, 2, 0, 2_000)));
    let stored: Contribution = serde_json::from_str(&serde_json::to_string(&contribution).unwrap()).unwrap();
    assert_eq!(stored, contribution);
}

#[test]
fn the_hours_of_the_night_that_clocks_change_are_local() {
    use sluis::stats::Measure::ConnectedByHour;
    let geography = geography();
    // 2026-10-25, 01:30 to 03:30 local: three hours, for two o'clock comes twice.
    let mut contribution = Contribution::new(period("2026-Q4"), &geography);
    contribution.add(&visit(1, "BIN-3", "2026-10-25T01:30:00+02:00", 3 * 3_600, 0), &geography);
    let hours: Vec<_> = sums(&contribution).into_iter().filter(|s| s.1 == ConnectedByHour).map(|s| (s.3, s.4)).collect();
    assert_eq!(hours, [(25, 1_800), (26, 7_200), (27, 1_800)]);
}

#[test]
fn homes_count_in_the_monthly_table_of_their_province_only() {
    let geography = geography();
    for (key, cell) in [("HOME-1", 6), ("FAR-0", 7)] {
        let visit = visit(1, key, "2026-11-06T23:30:00+01:00", 6_300, 10_500);
        let mut quarter = Contribution::new(period("2026-Q4"), &geography);
        assert!(quarter.add(&visit, &geography) && quarter.is_empty());
        let mut month = Contribution::new(period("2026-11"), &geography);
        month.add(&visit, &geography);
        assert!(sums(&month).iter().all(|s| (s.0, s.2) == (Table::T0, cell)) && sums(&month).len() == 3);
    }
}

#[test]
fn absurd_visits_are_bounded() {
    let geography = geography();
    let mut contribution = Contribution::new(period("2026-Q4"), &geography);
    let mut odd = visit(1, "BIN-3", "2026-11-06T23:30:00+01:00", 60, 1);
    (odd.wh, odd.connected, odd.charging) = (u64::MAX, u64::MAX, u64::MAX);
    odd.begun = Timestamp(i64::MAX);
    for _ in 0..3 {
        contribution.add(&odd, &geography);
    }
    odd.begun = Timestamp(i64::MIN);
    contribution.add(&odd, &geography);
    assert!(sums(&contribution).iter().all(|s| s.4 <= 4 * sluis::stats::MOST_WH));
    odd.place = "NOWHERE".to_owned();
    assert!(!contribution.add(&odd, &geography));
}
