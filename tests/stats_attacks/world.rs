//! A small town that the attacker knows everything of: a municipality of two neighbourhoods, a crowd in which everybody charges alike, and a target
//! that charges far more than anybody may count.

use sluis::clock::Timestamp;
use sluis::stats::{
    Area, Class, Clip, Contribution, Contributor, Figures, Geography, Grouping, Kind, Measure, Parameters, Period, Place, Row, Table,
    Visit, clip,
};
use std::collections::BTreeMap;

pub(crate) const ZONE: chrono_tz::Tz = chrono_tz::Europe::Amsterdam;
const HOUR: i64 = 3_600_000;
/// Minutes connected and kWh of the crowd's visits: one in each bin of the histograms.
const MINUTES: [u64; 12] = [10, 20, 45, 90, 150, 210, 300, 420, 600, 900, 1_200, 1_600];
const KWH: [u64; 12] = [1, 3, 7, 12, 17, 22, 27, 35, 45, 55, 70, 90];

pub(crate) fn period(text: &str) -> Period {
    text.parse().unwrap()
}

/// Three months and their quarter.
pub(crate) const PERIODS: [&str; 4] = ["2026-10", "2026-11", "2026-12", "2026-Q4"];

/// The usual parameters, but for the rounding: the attacker gets every number as exactly as any configuration would give it.
pub(crate) fn parameters() -> Parameters {
    let mut parameters = Parameters::default();
    for measure in parameters.tables.iter_mut().flat_map(|table| &mut table.measures) {
        measure.base = 1;
    }
    parameters
}

pub(crate) fn geography() -> Geography {
    let place = |key: &str, neighbourhood: &str| Place {
        key: key.to_owned(),
        site: key.to_owned(),
        neighbourhood: Some(neighbourhood.to_owned()),
        municipality: Some("Gouda".to_owned()),
        province: Some("Zuid-Holland".to_owned()),
        max_w: Some(11_000),
        dc: false,
        home: false,
    };
    let grouping = Grouping { neighbourhood: 1, municipality: 1, hub: 2 };
    Geography::new("Nederland", ZONE, &[place("N", "Noord"), place("Z", "Zuid")], grouping).unwrap()
}

pub(crate) fn visit(place: &str, begun: i64, minutes: u64, kwh: u64) -> Visit {
    let seconds = minutes * 60;
    let ended = Timestamp(begun + i64::try_from(seconds).unwrap() * 1_000);
    Visit {
        contributor: Contributor([0; 16]),
        place: place.to_owned(),
        begun: Timestamp(begun),
        ended,
        known: ended,
        wh: kwh * 1_000,
        connected: seconds,
        charging: seconds,
    }
}

/// Somebody's contribution to a period.
pub(crate) fn contribution(visits: &[Visit], name: &str, geography: &Geography) -> Contribution {
    let mut all = Contribution::gather(visits, period(name), geography);
    all.next().unwrap_or_else(|| Contribution::new(period(name), geography))
}

/// 288 visits in a quarter at one place: at all hours, of all durations and energies, so that every bin is published.
pub(crate) fn everyday(place: &str, name: &str) -> Vec<Visit> {
    let months = period(name).its_quarter().months();
    let visit = |n: usize| {
        let day = i64::try_from(n / 3 % 27).unwrap();
        let begun = months[n % 3].begin(ZONE).0 + (day * 24 + i64::try_from(n % 24).unwrap()) * HOUR;
        visit(place, begun, MINUTES[n / 24], KWH[(n / 24 + n) % 12])
    };
    (0..288).map(visit).collect()
}

/// The target: `count` visits a month, in both neighbourhoods in turn, always at the same hour.
pub(crate) fn heavy(count: i64, name: &str) -> Vec<Visit> {
    let months = period(name).its_quarter().months();
    let begins = |month: &Period| month.begin(ZONE).0 + 18 * HOUR;
    let visit = |begin: i64, n: i64| visit(["N", "Z"][usize::from(n % 2 == 1)], begin + n / 2 % 14 * 48 * HOUR, 180, 30);
    months.iter().flat_map(|month| (0..count).map(move |n| visit(begins(month), n))).collect()
}

/// `people` contributions of the crowd, half of them in each neighbourhood: five of twelve charge every day, the others once a month.
pub(crate) fn crowd(people: usize, name: &str, geography: &Geography) -> Vec<Contribution> {
    let once = |place| {
        let months = period(name).its_quarter().months();
        months.iter().map(|month| visit(place, month.begin(ZONE).0 + 9 * HOUR, 90, 12)).collect::<Vec<_>>()
    };
    let kinds = [everyday("N", name), everyday("Z", name), once("N"), once("Z")].map(|visits| contribution(&visits, name, geography));
    (0..people).map(|n| kinds[n % 2 + if n / 2 % 12 < 5 { 0 } else { 2 }].clone()).collect()
}

/// Where a number belongs.
pub(crate) type Slot = (Table, Measure, u32, u8);
/// What is counted where, in published units.
pub(crate) type Sums = BTreeMap<Slot, f64>;

/// The sums of contributions as nobody but a test and an attacker who knows all sessions may see them: bounded, as they are published.
pub(crate) fn bounded(contributions: &[Contribution]) -> Sums {
    summed(contributions, true)
}

/// The same of all that was charged.
pub(crate) fn unbounded(contributions: &[Contribution]) -> Sums {
    summed(contributions, false)
}

fn summed(contributions: &[Contribution], clipped: bool) -> Sums {
    let (mut sums, parameters) = (Sums::new(), parameters());
    for contribution in contributions {
        let json = serde_json::to_value(contribution).unwrap();
        let slots: Vec<(Slot, u64)> = serde_json::from_value(json["sums"].clone()).unwrap();
        let mut vectors: BTreeMap<(Table, Measure), Vec<(Slot, u64)>> = BTreeMap::new();
        for (slot, part) in slots {
            vectors.entry((slot.0, slot.1)).or_default().push((slot, part));
        }
        for ((table, measure), slots) in vectors {
            let mut vector: Vec<u64> = slots.iter().map(|(_, part)| *part).collect();
            if clipped {
                clip(&mut vector, Clip { square: parameters.of(table).of(measure).unwrap().square });
            }
            for ((slot, _), part) in slots.iter().zip(vector) {
                *sums.entry(*slot).or_default() += part as f64 / measure.unit().size() as f64;
            }
        }
    }
    sums
}

/// The standard deviation that a measure's noise is said to have, in published units.
pub(crate) fn sigma(table: Table, measure: Measure) -> f64 {
    let of = *parameters().of(table).of(measure).unwrap();
    let variance = of.variance().unwrap();
    (variance.numerator() as f64 / variance.denominator() as f64).sqrt() / measure.unit().size() as f64
}

/// The published numbers of single cells, each where it belongs; one that was cut at zero with what was cut off, as far as that can be told.
pub(crate) fn numbers(figures: &Figures, geography: &Geography) -> Sums {
    let mut numbers = Sums::new();
    for table in &figures.tables {
        let cut: BTreeMap<_, _> = table
            .rows
            .iter()
            .filter(|row| row.kind == Kind::CutOff)
            .map(|row| ((&row.area.path, row.class, row.measure, row.bin), row.value.unwrap()))
            .collect();
        for row in table.rows.iter().filter(|row| row.kind == Kind::Cell) {
            let Some(mut value) = row.value else { continue };
            let at = row.area.parent().unwrap_or_else(|| row.area.clone());
            if value == 0 {
                value += cut.get(&(&at.path, row.class, row.measure, row.bin)).copied().unwrap_or(0);
            }
            numbers.insert((table.table, row.measure, number(table.table, row, geography), row.bin.unwrap_or(0)), value as f64);
        }
    }
    numbers
}

fn number(table: Table, row: &Row, geography: &Geography) -> u32 {
    let is_it = |cell: (&Area, Class, u32)| *cell.0 == row.area && Some(cell.1) == row.class;
    u32::try_from(geography.list(table).position(is_it).unwrap()).unwrap()
}
