//! From noisy sums to rows: which cells are published, what becomes of the others, and totals that add up. All of it is made from noisy
//! numbers and public parameters, so it costs no budget and can be done again by anybody who has them.

use super::arithmetic::{margin, most_in, rare_excess, round_to};
use super::figures::{Kind, Occupancy, Row};
use super::geography::{Area, Cell, Class, Geography};
use super::parameters::{MeasureParameters, Parameters};
use super::period::Period;
use super::table::{Bin, Measure, Table};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The sums of a table: of each measure one number per cell and bin, bins of a cell together.
pub(super) struct Sums {
    pub(super) table: Table,
    pub(super) of: Vec<Vec<i64>>,
}

impl Sums {
    pub(super) fn zero(table: Table, geography: &Geography) -> Self {
        let of = table.measures().iter().map(|measure| vec![0; geography.count(table) * usize::from(measure.bins())]).collect();
        Self { table, of }
    }

    fn at(&self, measure: Measure) -> Option<&[i64]> {
        let number = self.table.measures().iter().position(|other| *other == measure)?;
        self.of.get(number).map(Vec::as_slice)
    }
}

/// The least noisy sum over `cells` cells at which they are published: what fewer than k contributors can add up to at most, and what noise
/// exceeds with a chance of one in a million. In contribution units of the deciding measure `gate`.
fn threshold(cells: u64, gate: &MeasureParameters, contributors: u32) -> Option<u128> {
    let parts = cells.checked_mul(u64::from(gate.measure.bins()))?;
    let mut most = most_in(parts, gate.square);
    if gate.measure == Measure::Contributors {
        // In one cell nobody counts more than once.
        most = most.min(u128::from(parts) * u128::from(gate.measure.unit().size()));
    }
    Some(u128::from(contributors) * most + rare_excess(parts, gate.variance()?))
}

/// The threshold of a single cell.
pub(super) fn single_threshold(table: Table, measure: Measure, parameters: &Parameters) -> Option<u64> {
    let gate = parameters.of(table).of(table.gate(measure))?;
    u64::try_from(threshold(1, gate, parameters.contributors)?).ok()
}

/// What becomes of the cells of a table, by one deciding measure.
struct Decision {
    /// Per cell: published, or the number of the remainder that counts it, or nothing.
    fates: Vec<Fate>,
    remainders: Vec<Remainder>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Published,
    In(usize),
    Withheld,
}

struct Remainder {
    area: Area,
    class: Class,
    cells: Vec<usize>,
}

/// Decides by noisy numbers. Cells below the threshold are put together in their area, and if they are below it together too, in the next wider
/// one; what is below it in the whole country is withheld for good.
fn decide(sums: &Sums, gate: &MeasureParameters, cells: &[Cell], contributors: u32) -> Option<Decision> {
    let bins = usize::from(gate.measure.bins());
    let noisy: Vec<i128> = sums.at(gate.measure)?.chunks(bins).map(|cell| cell.iter().map(|n| i128::from(*n)).sum()).collect();
    let passes = |cells: &[usize]| -> Option<bool> {
        let sum: i128 = cells.iter().map(|cell| noisy[*cell]).sum();
        Some(sum >= i128::try_from(threshold(cells.len() as u64, gate, contributors)?).ok()?)
    };
    let mut fates = vec![Fate::Withheld; cells.len()];
    let mut remainders = Vec::new();
    // By area and class: deeper areas first.
    let mut pools: BTreeMap<(std::cmp::Reverse<usize>, Area, Class), Vec<usize>> = BTreeMap::new();
    for (number, cell) in cells.iter().enumerate() {
        if passes(&[number])? {
            fates[number] = Fate::Published;
        } else if let Some(area) = cell.area.parent() {
            pools.entry((std::cmp::Reverse(area.path.len()), area, cell.class)).or_default().push(number);
        }
    }
    while let Some(((_, area, class), mut together)) = pools.pop_first() {
        together.sort_unstable();
        if passes(&together)? {
            for cell in &together {
                fates[*cell] = Fate::In(remainders.len());
            }
            remainders.push(Remainder { area, class, cells: together });
        } else if let Some(wider) = area.parent() {
            pools.entry((std::cmp::Reverse(wider.path.len()), wider, class)).or_default().extend(together);
        }
    }
    Some(Decision { fates, remainders })
}

/// What a total is of.
type Key = (Area, Option<Class>, Bin);

/// A total, as its parts are added to it.
#[derive(Default, Clone, Copy)]
struct Sum {
    value: i64,
    /// Numbers that were rounded.
    rounded: u64,
    cells: u32,
    /// All cells of the area.
    all: u32,
    points: u32,
    homes: bool,
}

/// All rows of a table; `None` if a parameter makes no sense, which [`Parameters::check`] has excluded.
pub(super) fn rows(sums: &Sums, period: Period, geography: &Geography, parameters: &Parameters) -> Option<Vec<Row>> {
    let of = parameters.of(sums.table);
    let cells = geography.cells(sums.table);
    let mut all = Vec::new();
    let mut decisions: BTreeMap<Measure, Decision> = BTreeMap::new();
    for measure in &of.measures {
        let gate = of.of(sums.table.gate(measure.measure))?;
        let decision = match decisions.entry(gate.measure) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(free) => free.insert(decide(sums, gate, cells, parameters.contributors)?),
        };
        let hours = period.hours(geography.zone());
        let writer = Writer { measure, cells, decision, hours, totals: BTreeMap::new(), cut: BTreeMap::new(), rows: Vec::new() };
        all.extend(writer.write(sums.at(measure.measure)?));
    }
    sort(&mut all);
    Some(all)
}

/// Puts rows in their order.
pub(super) fn sort(rows: &mut [Row]) {
    rows.sort_by(|a, b| key(a).cmp(&key(b)));
}

/// The order of rows: areas as a tree, the wider first; then class, measure, kind and bin.
fn key(row: &Row) -> (&[String], super::geography::Level, Option<Class>, Measure, Kind, Option<Bin>) {
    (&row.area.path, row.area.level, row.class, row.measure, row.kind, row.bin)
}

/// Writes the rows of one measure.
struct Writer<'a> {
    measure: &'a MeasureParameters,
    cells: &'a [Cell],
    decision: &'a Decision,
    /// Of the period.
    hours: u64,
    totals: BTreeMap<Key, Sum>,
    /// What rounding up to zero added, by area, class and bin.
    cut: BTreeMap<(Area, Class, Bin), i64>,
    rows: Vec<Row>,
}

impl Writer<'_> {
    fn write(mut self, noisy: &[i64]) -> Vec<Row> {
        let bins = self.measure.measure.bins();
        for (number, (cell, fate)) in self.cells.iter().zip(&self.decision.fates).enumerate() {
            for (area, class) in totals_of(&cell.area, cell.class, false) {
                for bin in 0..bins {
                    self.totals.entry((area.clone(), class, bin)).or_default().all += 1;
                }
            }
            if *fate == Fate::Published {
                for bin in 0..bins {
                    let sum = noisy[number * usize::from(bins) + usize::from(bin)];
                    let at = cell.area.parent().unwrap_or_else(|| cell.area.clone());
                    self.publish(Kind::Cell, &cell.area, cell.class, bin, i128::from(sum), &[number], at);
                }
            } else {
                let counted_in = match fate {
                    Fate::In(remainder) => self.decision.remainders.get(*remainder).map(|r| r.area.clone()),
                    _ => None,
                };
                let row = self.row(Kind::Cell, cell.area.clone(), Some(cell.class), 0);
                self.rows.push(Row { bin: None, counted_in, points: cell.points, ..row });
            }
        }
        for remainder in &self.decision.remainders {
            for bin in 0..bins {
                let sum = remainder.cells.iter().map(|cell| i128::from(noisy[cell * usize::from(bins) + usize::from(bin)])).sum();
                self.publish(Kind::Remainder, &remainder.area, remainder.class, bin, sum, &remainder.cells, remainder.area.clone());
            }
        }
        for ((area, class, bin), value) in std::mem::take(&mut self.cut) {
            for key in totals_of(&area, class, true) {
                // A table of the country alone has no totals by class.
                if let Some(total) = self.totals.get_mut(&(key.0, key.1, bin)) {
                    total.value += value;
                }
            }
            let row = self.row(Kind::CutOff, area, Some(class), bin);
            self.rows.push(Row { value: Some(value), ..row });
        }
        for ((area, class, bin), sum) in std::mem::take(&mut self.totals) {
            let row = self.row(Kind::Total, area, class, bin);
            let missing = sum.all - sum.cells;
            if sum.cells == 0 {
                self.rows.push(Row { missing, ..row });
                continue;
            }
            let margin = self.margin(u64::from(sum.cells), sum.rounded);
            let occupancy = self.occupancy(sum.value, margin, sum.points).filter(|_| !sum.homes);
            let (value, margin) = (Some(sum.value), Some(margin));
            self.rows.push(Row { value, margin, cells: sum.cells, missing, points: sum.points, occupancy, ..row });
        }
        self.rows
    }

    /// Publishes a number of some cells, and adds it to the totals. What is cut off below zero is noted at `cut_at`.
    #[expect(clippy::too_many_arguments, reason = "a number is of so much")]
    fn publish(&mut self, kind: Kind, area: &Area, class: Class, bin: Bin, sum: i128, of: &[usize], cut_at: Area) {
        let size = self.measure.measure.unit().size();
        let rounded = round_to(sum, self.measure.base * size) / i128::from(size);
        let rounded = i64::try_from(rounded).unwrap_or(i64::MAX);
        let value = rounded.max(0);
        if rounded < 0 {
            *self.cut.entry((cut_at, class, bin)).or_default() += rounded;
        }
        let cells = u32::try_from(of.len()).unwrap_or(u32::MAX);
        let points = of.iter().filter_map(|cell| self.cells.get(*cell)).map(|cell| cell.points).sum();
        for (wider, class_of_total) in totals_of(area, class, kind != Kind::Cell) {
            let total = self.totals.entry((wider, class_of_total, bin)).or_default();
            total.value += value;
            total.rounded += 1;
            total.cells += cells;
            total.points += points;
            total.homes |= class == Class::Home;
        }
        let margin = self.margin(u64::from(cells), 1);
        let occupancy = self.occupancy(value, margin, points);
        let row = self.row(kind, area.clone(), Some(class), bin);
        self.rows.push(Row { value: Some(value), margin: Some(margin), cells, points, occupancy, ..row });
    }

    fn margin(&self, draws: u64, rounded: u64) -> u64 {
        margin(draws, self.measure.variance(), rounded, self.measure.base, self.measure.measure.unit().size())
    }

    /// Published hours per hour and charging point.
    fn occupancy(&self, hours: i64, margin: u64, points: u32) -> Option<Occupancy> {
        let whole = self.hours.checked_mul(u64::from(points)).filter(|whole| *whole > 0 && self.measure.measure == Measure::Connected)?;
        let permille = |hours: u64| hours.saturating_mul(1_000);
        let value = permille(u64::try_from(hours).unwrap_or_default());
        Some(Occupancy { permille: (value + whole / 2) / whole, margin: permille(margin).div_ceil(whole) })
    }

    /// A row with nothing in it yet.
    fn row(&self, kind: Kind, area: Area, class: Option<Class>, bin: Bin) -> Row {
        Row {
            kind,
            area,
            class,
            measure: self.measure.measure,
            bin: (self.measure.measure.bins() > 1).then_some(bin),
            value: None,
            margin: None,
            counted_in: None,
            cells: 0,
            missing: 0,
            points: 0,
            occupancy: None,
        }
    }
}

/// The totals that a number of a class is part of: of all areas that `area` lies in, by class and of all classes. What is of an area as a whole
/// (`whole`: a remainder, what was cut off) is part of its own totals too. The country lies in nothing; its cells are part of its own total
/// of all classes.
pub(super) fn totals_of(area: &Area, class: Class, whole: bool) -> Vec<(Area, Option<Class>)> {
    let own = whole.then(|| area.clone());
    let wider: Vec<Area> = own.into_iter().chain(std::iter::successors(area.parent(), Area::parent)).collect();
    if wider.is_empty() {
        return vec![(area.clone(), None)];
    }
    wider.into_iter().flat_map(|area| [(area.clone(), Some(class)), (area, None)]).collect()
}
