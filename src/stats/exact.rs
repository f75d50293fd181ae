//! The exact mode, for those who must publish numbers without noise: what could tell of one person is withheld, and with it enough else that
//! nobody can compute it from the rest. **It is not differentially private.** Who knows nine of ten contributors learns the tenth's part from
//! whether the cell is there, and nothing of it protects against what a later release adds; protection rests on these rules alone.
//!
//! 1. A number is unsafe if fewer than k contributors are in it, or if the second largest could tell the largest to within p %:
//!    X − x₁ − x₂ < p % of x₁ (the p% rule). All cards of a contract are one contributor, so a fleet cannot hide in many cards. A cell is unsafe
//!    if any of its measures is, and then all of them are withheld. Totals are numbers like others.
//! 2. Totals are published, so more must be withheld: until for each withheld number the interval that fits all published ones reaches 20 % of
//!    its value beyond it on both sides ([`intervals`]: linear programming over the whole hierarchy of areas and classes).
//! 3. What is published is rounded to the nearest ten.
//!
//! Only T0 and T1 can be made so. The load shapes and histograms of T2 and T3 have hundreds of numbers of the same few contributors, which bound
//! each other in more ways than sums; nothing that we could check would cover them. Contributions are not clipped here, so that numbers are true.

mod intervals;

use super::arithmetic::{Rho, round_to};
use super::contribution::{Contribution, MOST_CONTRIBUTORS};
use super::figures::{Figures, Kind, MeasureFigures, Method, Row, TableFigures};
use super::geography::{Area, Class, Geography};
use super::ledger::{Ledger, MOST_ENTRIES, Refused};
use super::period::Period;
use super::release::{NoRelease, Release};
use super::rows::{sort, totals_of};
use super::table::{Measure, Table};
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The rules of the exact mode. Who knows them knows more of what is withheld; they are published all the same, with the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// k: fewer contributors are withheld; 10 to 1,000.
    pub contributors: u32,
    /// p, in percent; 10 to 100.
    pub percent: u32,
    /// How far the interval of a withheld number must reach beyond it, in percent of it; 20 to 100.
    pub interval: u32,
    /// Published numbers are multiples of it; 10 to 1,000,000.
    pub base: u64,
}

impl Default for Rules {
    /// Ten contributors, 10 %, 20 %, to the nearest ten.
    fn default() -> Self {
        Self { contributors: 10, percent: 10, interval: 20, base: 10 }
    }
}

impl Rules {
    fn are_strict(self) -> bool {
        (10..=1_000).contains(&self.contributors)
            && (10..=100).contains(&self.percent)
            && (20..=100).contains(&self.interval)
            && (10..=1_000_000).contains(&self.base)
    }
}

/// A number of the table: of a cell or a total.
struct Node {
    area: Area,
    /// `None`: of all classes.
    class: Option<Class>,
    /// A cell of the list, not a total.
    cell: bool,
    points: u32,
    contributors: u32,
    /// Per measure.
    sums: Vec<Sum>,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    all: u64,
    largest: u64,
    second: u64,
}

/// A total and the parts that it is the sum of.
type Relation = (usize, Vec<usize>);

/// Makes a release without noise of T0 or T1, as [`release`](super::release()) does with it.
///
/// # Errors
/// Why nothing is released.
#[expect(clippy::too_many_arguments, reason = "time and all that is kept elsewhere are arguments")]
pub fn release_exact(
    period: Period,
    table: Table,
    geography: &Geography,
    contributions: impl IntoIterator<Item = Contribution>,
    rules: Rules,
    ledger: &Ledger,
    at: Timestamp,
    code: &str,
) -> Result<Release, NoRelease> {
    if !rules.are_strict() {
        return Err(NoRelease::Rules);
    }
    if !matches!(table, Table::T0 | Table::T1) || table.is_quarterly() != period.is_quarter() {
        return Err(NoRelease::Table);
    }
    if at < period.close(geography.zone()) {
        return Err(NoRelease::Open);
    }
    if ledger.find(table, period).is_some() {
        return Err(Refused::Released(table, period).into());
    }
    if ledger.entries().len() >= MOST_ENTRIES {
        return Err(Refused::Full.into());
    }
    let mut hierarchy = Hierarchy::new(table, geography);
    for (count, contribution) in contributions.into_iter().enumerate() {
        if count >= MOST_CONTRIBUTORS {
            return Err(NoRelease::TooMany);
        }
        if contribution.period() != period || !contribution.is_of(geography) {
            return Err(NoRelease::Contribution);
        }
        hierarchy.add(&contribution);
    }
    let withheld = hierarchy.withheld(rules);
    let measures = table.measures().iter().map(|measure| MeasureFigures {
        measure: *measure,
        unit: measure.unit(),
        square: 0,
        variance: None,
        rho: Rho(0),
        base: rules.base,
        threshold: None,
    });
    let made = TableFigures {
        table,
        period,
        cells: geography.digest(table),
        rho: Rho(0),
        measures: measures.collect(),
        rows: hierarchy.rows(&withheld, rules.base),
    };
    let entry = ledger.next(&made, None, code, at).ok_or(Refused::Full)?;
    let figures =
        Figures { period, method: Method::Exact, not_for_publication: false, contributors: rules.contributors, tables: vec![made] };
    Ok(Release { figures, entries: vec![entry] })
}

/// All numbers of a table, cells first in their order, and what adds up to what.
struct Hierarchy {
    table: Table,
    nodes: Vec<Node>,
    relations: Vec<Relation>,
    /// Of each cell: the totals that it is part of.
    above: Vec<Vec<usize>>,
}

impl Hierarchy {
    fn new(table: Table, geography: &Geography) -> Self {
        let node = |area: &Area, class, cell, points| {
            let sums = vec![Sum::default(); table.measures().len()];
            Node { area: area.clone(), class, cell, points, contributors: 0, sums }
        };
        let mut nodes: Vec<Node> = geography.list(table).map(|(area, class, points)| node(area, Some(class), true, points)).collect();
        let mut totals: BTreeMap<(Area, Option<Class>), usize> = BTreeMap::new();
        let mut above = Vec::new();
        for (area, class, points) in geography.list(table) {
            let mut of_cell = Vec::new();
            for (wider, class) in totals_of(area, class, false) {
                let number = *totals.entry((wider.clone(), class)).or_insert_with(|| {
                    nodes.push(node(&wider, class, false, 0));
                    nodes.len() - 1
                });
                nodes[number].points += points;
                of_cell.push(number);
            }
            above.push(of_cell);
        }
        let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, node) in nodes.iter().enumerate().filter(|(_, node)| node.class.is_some()) {
            // A class is part of the same class in the next wider area; a total of a class also of all classes in its own area.
            let wider = node.area.parent().and_then(|area| totals.get(&(area, node.class)));
            let all = totals.get(&(node.area.clone(), None)).filter(|_| !node.cell);
            for total in [wider, all].into_iter().flatten() {
                parts.entry(*total).or_default().push(number);
            }
        }
        Self { table, nodes, relations: parts.into_iter().collect(), above }
    }

    /// Adds a contributor to all numbers that it is part of.
    fn add(&mut self, contribution: &Contribution) {
        let mut of: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        let measures = self.table.measures();
        for (at, measure) in measures.iter().enumerate() {
            for (cell, _, part) in contribution.vector(self.table, *measure) {
                let Some(above) = self.above.get(cell as usize) else { continue };
                for node in above.iter().copied().chain([cell as usize]) {
                    let sum = &mut of.entry(node).or_insert_with(|| vec![0; measures.len()])[at];
                    *sum = sum.saturating_add(part);
                }
            }
        }
        for (node, parts) in of {
            let node = &mut self.nodes[node];
            node.contributors = node.contributors.saturating_add(1);
            for (sum, part) in node.sums.iter_mut().zip(parts) {
                sum.all = sum.all.saturating_add(part);
                (sum.largest, sum.second) = (sum.largest.max(part), sum.second.max(part.min(sum.largest)));
            }
        }
    }

    fn is_unsafe(&self, node: &Node, rules: Rules) -> bool {
        node.contributors < rules.contributors
            || self.table.measures().iter().zip(&node.sums).filter(|(measure, _)| **measure != Measure::Contributors).any(|(_, sum)| {
                let rest = u128::from(sum.all.saturating_sub(sum.largest).saturating_sub(sum.second));
                rest * 100 < u128::from(sum.largest) * u128::from(rules.percent)
            })
    }

    /// What is withheld: what is unsafe, and then, as long as the interval of something withheld is too narrow, the smallest number that is added
    /// up with it. It ends at the latest when all that hangs together is withheld, for then nothing bounds it.
    fn withheld(&self, rules: Rules) -> BTreeSet<usize> {
        let mut withheld: BTreeSet<usize> = (0..self.nodes.len()).filter(|node| self.is_unsafe(&self.nodes[*node], rules)).collect();
        // What is wide enough stays so: withholding more only leaves more that fits.
        let mut wide: BTreeSet<usize> = BTreeSet::new();
        loop {
            self.pair(&mut withheld);
            let mut more = BTreeSet::new();
            for group in self.groups(&withheld) {
                let relations = self.relations_of(&group, &withheld);
                for node in group.iter().copied() {
                    if !wide.contains(&node) && self.is_too_narrow(node, &group, &relations, rules) {
                        more.extend(self.another(node, &group, &withheld));
                        break;
                    }
                    wide.insert(node);
                }
            }
            if more.is_empty() {
                return withheld;
            }
            withheld.extend(more);
        }
    }

    /// Withholds a second number wherever one alone of what is added up is withheld: it could be read off. The linear programme would find these too,
    /// one after another; here they cost nothing.
    fn pair(&self, withheld: &mut BTreeSet<usize>) {
        loop {
            let lone = self.relations.iter().filter_map(|relation| {
                let mut hidden = relation.1.iter().chain([&relation.0]).filter(|node| withheld.contains(node));
                let node = hidden.next().filter(|_| hidden.next().is_none())?;
                let told = self.nodes.get(*node)?.sums.iter().any(|sum| sum.all > 0);
                told.then(|| self.smallest_open(&mut [relation].into_iter(), withheld)).flatten()
            });
            let more: BTreeSet<usize> = lone.collect();
            if more.is_empty() {
                return;
            }
            withheld.extend(more);
        }
    }

    /// Withheld numbers that relations tie together.
    fn groups(&self, withheld: &BTreeSet<usize>) -> Vec<Vec<usize>> {
        let mut group: BTreeMap<usize, usize> = withheld.iter().map(|node| (*node, *node)).collect();
        let find = |group: &BTreeMap<usize, usize>, mut node: usize| {
            while let Some(next) = group.get(&node).filter(|next| **next != node) {
                node = *next;
            }
            node
        };
        for (total, parts) in &self.relations {
            let mut tied = parts.iter().chain([total]).filter(|node| withheld.contains(node));
            if let Some(first) = tied.next() {
                for other in tied {
                    let (a, b) = (find(&group, *first), find(&group, *other));
                    group.insert(a.max(b), a.min(b));
                }
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for node in withheld {
            groups.entry(find(&group, *node)).or_default().push(*node);
        }
        groups.into_values().collect()
    }

    /// The relations that a group's withheld numbers are in.
    fn relations_of(&self, group: &[usize], withheld: &BTreeSet<usize>) -> Vec<&Relation> {
        let group: BTreeSet<usize> = group.iter().copied().collect();
        let is_in = |node: &usize| withheld.contains(node) && group.contains(node);
        self.relations.iter().filter(|(total, parts)| is_in(total) || parts.iter().any(is_in)).collect()
    }

    /// Whether the interval of a withheld number is too narrow in any measure.
    fn is_too_narrow(&self, node: usize, group: &[usize], relations: &[&Relation], rules: Rules) -> bool {
        (0..self.table.measures().len()).any(|measure| {
            let value = |node: usize| self.nodes.get(node).and_then(|node| node.sums.get(measure)).map_or(0, |sum| sum.all);
            intervals::is_too_narrow(node, group, relations, &value, rules.interval)
        })
    }

    /// What to withhold with a number: of what is added up with it or with others of its group, the cell with the fewest sessions; a total if
    /// there is no cell.
    fn another(&self, node: usize, group: &[usize], withheld: &BTreeSet<usize>) -> Option<usize> {
        let near = |node: usize| self.relations.iter().filter(move |(total, parts)| *total == node || parts.contains(&node));
        self.smallest_open(&mut near(node), withheld)
            .or_else(|| self.smallest_open(&mut group.iter().flat_map(|node| near(*node)), withheld))
    }

    /// Of all that these relations add up and that is not withheld: the cell with the least of the first measure; a total if there is no cell.
    fn smallest_open(&self, of: &mut dyn Iterator<Item = &Relation>, withheld: &BTreeSet<usize>) -> Option<usize> {
        let candidates = of.flat_map(|(total, parts)| parts.iter().chain([total]).copied()).filter(|other| !withheld.contains(other));
        candidates.min_by_key(|other| (!self.nodes[*other].cell, self.nodes[*other].sums.first().map(|sum| sum.all), *other))
    }

    fn rows(&self, withheld: &BTreeSet<usize>, base: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut missing = vec![0_u32; self.nodes.len()];
        let mut parts = vec![0_u32; self.nodes.len()];
        for (cell, above) in self.above.iter().enumerate() {
            for total in above {
                parts[*total] += 1;
                missing[*total] += u32::from(withheld.contains(&cell));
            }
        }
        for (number, node) in self.nodes.iter().enumerate() {
            for (measure, sum) in self.table.measures().iter().zip(&node.sums) {
                let size = measure.unit().size();
                let value = i64::try_from(round_to(i128::from(sum.all), base * size) / i128::from(size)).unwrap_or(i64::MAX);
                let shown = !withheld.contains(&number);
                rows.push(Row {
                    kind: if node.cell { Kind::Cell } else { Kind::Total },
                    area: node.area.clone(),
                    class: node.class,
                    measure: *measure,
                    bin: None,
                    value: shown.then_some(value),
                    margin: shown.then_some(base / 2),
                    counted_in: None,
                    // A total of an exact table counts what is withheld too.
                    cells: if !shown {
                        0
                    } else if node.cell {
                        1
                    } else {
                        parts[number]
                    },
                    missing: missing[number],
                    points: node.points,
                    occupancy: None,
                });
            }
        }
        sort(&mut rows);
        rows
    }
}
