//! All numbers of a table, and what adds up to what.

use super::super::arithmetic::round_to;
use super::super::contribution::Contribution;
use super::super::figures::{Kind, Row};
use super::super::geography::{Area, Class, Geography};
use super::super::rows::{sort, totals_of};
use super::super::table::{Measure, Table};
use super::Rules;
use std::collections::{BTreeMap, BTreeSet};

/// Totals of a table, of areas and classes: with more of them it is not known how long the linear programmes take. The Netherlands have 342
/// municipalities and 12 provinces, and so at most 1,420 totals. The register alone says how many there are.
pub(super) const MOST_TOTALS: usize = 3_000;

/// A number of the table: of a cell or a total.
pub(super) struct Node {
    area: Area,
    /// `None`: of all classes.
    class: Option<Class>,
    /// A cell of the list, not a total.
    pub(super) cell: bool,
    points: u32,
    pub(super) contributors: u32,
    /// Per measure.
    pub(super) sums: Vec<Sum>,
    /// Of a cell with fewer than k contributors: each of them. Of any other number nobody.
    pub(super) few: Vec<Person>,
}

/// What a contributor did in a cell.
pub(super) struct Person {
    /// The same in all cells.
    pub(super) number: u32,
    /// Per measure.
    pub(super) parts: Vec<u64>,
}

/// What all contributors of a number did, and the two who did most.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) all: u64,
    pub(super) largest: u64,
    pub(super) second: u64,
}

/// A total and the parts that it is the sum of.
pub(super) struct Relation {
    pub(super) total: usize,
    pub(super) parts: Vec<usize>,
}

impl Relation {
    /// All that it adds up: the parts, and then the total.
    pub(super) fn members(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().copied().chain([self.total])
    }
}

/// All numbers of a table, cells first in their order, and what adds up to what.
pub(super) struct Hierarchy {
    pub(super) table: Table,
    pub(super) nodes: Vec<Node>,
    pub(super) relations: Vec<Relation>,
    /// Of each number: the relations that it is in, three at most.
    pub(super) relations_of: Vec<Vec<usize>>,
    /// Of each cell: the totals that it is part of.
    above: Vec<Vec<usize>>,
    pub(super) rules: Rules,
    /// Contributors so far.
    people: u32,
}

impl Hierarchy {
    pub(super) fn new(table: Table, geography: &Geography, rules: Rules) -> Self {
        let node = |area: &Area, class, cell, points| {
            let sums = vec![Sum::default(); table.measures().len()];
            Node { area: area.clone(), class, cell, points, contributors: 0, sums, few: Vec::new() }
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
        let relations: Vec<Relation> = parts.into_iter().map(|(total, parts)| Relation { total, parts }).collect();
        let mut relations_of = vec![Vec::new(); nodes.len()];
        for (number, relation) in relations.iter().enumerate() {
            relation.members().for_each(|node| relations_of[node].push(number));
        }
        Self { table, nodes, relations, relations_of, above, rules, people: 0 }
    }

    /// Whether a number is the total of all classes of an area that is part of another.
    pub(super) fn is_of_all_classes_within(&self, node: usize) -> bool {
        self.nodes[node].class.is_none() && self.nodes[node].area.parent().is_some()
    }

    /// Whether a number, if it is withheld, is so only because it would be a second way to others: whoever can tell it learns nothing of it.
    pub(super) fn is_spare(&self, node: usize) -> bool {
        self.is_of_all_classes_within(node) && !self.is_unsafe(&self.nodes[node])
    }

    /// How many totals there are.
    pub(super) fn totals(&self) -> usize {
        self.nodes.len() - self.above.len()
    }

    /// Adds a contributor to all numbers that it is part of.
    pub(super) fn add(&mut self, contribution: &Contribution) {
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
        self.people += 1; // of `MOST_CONTRIBUTORS` at most
        for (node, parts) in of {
            let node = &mut self.nodes[node];
            node.contributors = node.contributors.saturating_add(1);
            for (sum, part) in node.sums.iter_mut().zip(&parts) {
                sum.all = sum.all.saturating_add(*part);
                (sum.largest, sum.second) = (sum.largest.max(*part), sum.second.max((*part).min(sum.largest)));
            }
            if node.contributors >= self.rules.contributors {
                node.few = Vec::new();
            } else if node.cell {
                node.few.push(Person { number: self.people, parts });
            }
        }
    }

    /// Whether a number tells of one person: too few contributors, or the second largest could tell the largest's part (the p% rule).
    pub(super) fn is_unsafe(&self, node: &Node) -> bool {
        node.contributors < self.rules.contributors
            || self.table.measures().iter().zip(&node.sums).filter(|(measure, _)| **measure != Measure::Contributors).any(|(_, sum)| {
                let rest = u128::from(sum.all.saturating_sub(sum.largest).saturating_sub(sum.second));
                rest * 100 < u128::from(sum.largest) * u128::from(self.rules.percent)
            })
    }

    /// All rows of the table.
    pub(super) fn rows(&self, withheld: &BTreeSet<usize>, base: u64) -> Vec<Row> {
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
