//! A synthetic city: the margin printed with each number is right.

use super::figures::drawn;
use super::town::{ZONE, period, place};
use sluis::clock::Timestamp;
use sluis::stats::{
    Clip, Contribution, Contributor, Geography, Grouping, Kind, Measure, Parameters, Period, Randomness, Table, TestNoise, Visit, clip,
};
use std::collections::BTreeMap;

/// Random numbers for the city's life; its own, for the library's randomness is bytes.
struct Dice(TestNoise);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) % n
    }
}

/// 400 AC points in 8 neighbourhoods of two municipalities, a hub of fast chargers.
fn city() -> Geography {
    let mut places = Vec::new();
    for n in 0..400 {
        let town = if n % 3 == 0 { "Delft" } else { "Den Haag" };
        places.push(place(&format!("AC-{n}"), ["Zuid-Holland", town, &format!("wijk {}", n % 8)], 11_000));
    }
    places.extend((0..10).map(|n| place(&format!("HPC-{n}"), ["Zuid-Holland", "Den Haag", "wijk 1"], 300_000)));
    for place in places.iter_mut().filter(|place| place.key.starts_with("HPC")) {
        place.site = "Ypenburg".to_owned();
    }
    Geography::new("Nederland", ZONE, &places, Grouping { neighbourhood: 20, ..Grouping::default() }).unwrap()
}

/// 3,000 cards, some 45,000 sessions in the quarter, half a dozen heavy ones among them.
fn visits(period: Period) -> Vec<Visit> {
    let mut dice = Dice(TestNoise::not_for_publication(2026));
    let (begin, end) = (period.begin(ZONE).0, period.end(ZONE).0);
    let mut visits = Vec::new();
    for card in 0..3_000_u32 {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&card.to_be_bytes());
        let sessions = if card % 500 == 0 { 300 } else { 3 + dice.below(24) };
        let home = dice.below(400);
        for _ in 0..sessions {
            let ended = Timestamp(begin + i64::try_from(dice.below(u64::try_from(end - begin).unwrap())).unwrap());
            let hpc = dice.below(10) == 0;
            let connected = if hpc { 900 + dice.below(1_500) } else { 3_600 + dice.below(40_000) };
            let near = (home + dice.below(5)) % 400;
            visits.push(Visit {
                contributor: Contributor(key),
                place: if hpc { format!("HPC-{}", dice.below(10)) } else { format!("AC-{near}") },
                begun: Timestamp(ended.0 - i64::try_from(connected).unwrap() * 1_000),
                ended,
                known: ended,
                wh: 5_000 + dice.below(35_000),
                connected,
                charging: connected / 2,
            });
        }
    }
    visits
}

type Slot = (Table, Measure, u32, u8);

/// The sums of clipped contributions, in published units, as nobody but a test may see them.
fn truth(contributions: &[Contribution], parameters: &Parameters) -> BTreeMap<Slot, f64> {
    let mut sums: BTreeMap<Slot, f64> = BTreeMap::new();
    for contribution in contributions {
        let json = serde_json::to_value(contribution).unwrap();
        let slots: Vec<(Slot, u64)> = serde_json::from_value(json["sums"].clone()).unwrap();
        let mut by_measure: BTreeMap<(Table, Measure), Vec<(Slot, u64)>> = BTreeMap::new();
        for (slot, sum) in slots {
            by_measure.entry((slot.0, slot.1)).or_default().push((slot, sum));
        }
        for ((table, measure), slots) in by_measure {
            let mut vector: Vec<u64> = slots.iter().map(|slot| slot.1).collect();
            clip(&mut vector, Clip { square: parameters.of(table).of(measure).unwrap().square });
            for ((slot, _), part) in slots.iter().zip(vector) {
                *sums.entry(*slot).or_default() += part as f64 / measure.unit().size() as f64;
            }
        }
    }
    sums
}

/// Of every published number of 25 releases: how often the true one lies within its margin.
fn coverage(period: Period) -> BTreeMap<(Table, Kind), (u32, u32)> {
    let geography = city();
    let parameters = Parameters::default();
    let contributions: Vec<_> = Contribution::gather(&visits(period), period, &geography).collect();
    let truth = truth(&contributions, &parameters);
    let mut counts: BTreeMap<(Table, Kind), (u32, u32)> = BTreeMap::new();
    for seed in 0..25 {
        let figures = drawn(contributions.clone(), &geography, period, 1_000 + seed);
        for table in &figures.tables {
            let cells: Vec<_> = geography.list(table.table).map(|(area, class, _)| (area.clone(), class)).collect();
            let number = |area: &sluis::stats::Area, class| {
                u32::try_from(cells.iter().position(|cell| *cell == (area.clone(), class)).unwrap()).unwrap()
            };
            // Of each cell and measure: the area whose numbers it is in, itself if it is published.
            let mut counted = BTreeMap::new();
            for row in table.rows.iter().filter(|row| row.kind == Kind::Cell) {
                let at = if row.value.is_some() { Some(row.area.clone()) } else { row.counted_in.clone() };
                counted.insert((row.measure, number(&row.area, row.class.unwrap())), (at, row.value.is_some()));
            }
            for row in &table.rows {
                let (Some(value), Some(margin)) = (row.value, row.margin) else { continue };
                let inside = |cell: u32| match (row.kind, &counted[&(row.measure, cell)]) {
                    (_, (None, _)) | (Kind::CutOff, _) => false,
                    (Kind::Cell, _) => cells[cell as usize].0 == row.area && row.class == Some(cells[cell as usize].1),
                    (Kind::Remainder, (Some(at), published)) => !published && *at == row.area && row.class == Some(cells[cell as usize].1),
                    (Kind::Total, (Some(at), _)) => {
                        at.path.starts_with(&row.area.path) && row.class.is_none_or(|class| class == cells[cell as usize].1)
                    }
                };
                let bin = row.bin.unwrap_or(0);
                let exact: f64 = (0..u32::try_from(cells.len()).unwrap())
                    .filter(|cell| inside(*cell))
                    .filter_map(|cell| truth.get(&(table.table, row.measure, cell, bin)))
                    .sum();
                let count = counts.entry((table.table, row.kind)).or_default();
                count.1 += 1;
                count.0 += u32::from((value as f64 - exact).abs() <= margin as f64);
            }
        }
    }
    counts
}

fn is_right(counts: &BTreeMap<(Table, Kind), (u32, u32)>, table: Table, kind: Kind) {
    let (inside, all) = counts[&(table, kind)];
    let share = f64::from(inside) / f64::from(all);
    // Four standard deviations of so many independent numbers, at least two hundredths.
    let slack = (4.0 * (0.95 * 0.05 / f64::from(all)).sqrt()).max(0.02);
    assert!((share - 0.95).abs() <= slack, "{table:?} {kind:?}: {inside} of {all}");
}

#[test]
fn the_margins_of_a_quarter_are_right() {
    let counts = coverage(period("2026-Q4"));
    for (table, kind) in
        [(Table::T1, Kind::Cell), (Table::T1, Kind::Total), (Table::T2, Kind::Cell), (Table::T3, Kind::Cell), (Table::T3, Kind::Total)]
    {
        is_right(&counts, table, kind);
    }
}

#[test]
fn the_margins_of_a_month_are_right() {
    let counts = coverage(period("2026-11"));
    is_right(&counts, Table::T0, Kind::Cell);
    is_right(&counts, Table::T0, Kind::Total);
}
