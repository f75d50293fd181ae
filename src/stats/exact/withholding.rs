//! What is withheld: what is unsafe, and then the smallest number that is added up with something withheld, as long as that can be told too closely.
//!
//! What can be told of a cell is told by the one sum that it is part of, so most is settled there: withheld parts of a published total are wide
//! if they are together so much more than the largest of them. Where totals are withheld too, numbers of several sums hang together, and a linear
//! programme decides ([`super::intervals`]). In it the withheld cells of one sum are one unknown, for nothing outside it tells them apart: each of
//! several can be nothing, and each can be all of them. So a programme has as many unknowns as there are withheld totals, and as many again
//! at most, however many cells there are.

use super::hierarchy::{Hierarchy, Relation};
use super::intervals::{MOST_PROGRAMMES, OutOfProgrammes, Programme, Unknown};
use std::collections::{BTreeMap, BTreeSet};

/// An unknown of a programme.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    /// A withheld total.
    Total(usize),
    /// The withheld cells of a relation, together.
    Cells(usize),
}

/// Unknowns that relations tie together.
#[derive(Default)]
struct Group {
    unknowns: Vec<Of>,
    relations: Vec<usize>,
}

/// What is settled of each measure of each number: that it could be as much larger, and as much smaller. What is wide enough stays so, for withholding
/// more only leaves more that fits.
struct Settled(Vec<[bool; 2]>);

impl Hierarchy {
    /// What is withheld. It ends at the latest when all that hangs together is, for then nothing bounds it.
    pub(super) fn withheld(&self) -> Result<BTreeSet<usize>, OutOfProgrammes> {
        let mut withheld: BTreeSet<usize> = (0..self.nodes.len()).filter(|node| self.is_unsafe(&self.nodes[*node])).collect();
        let mut settled = Settled(vec![[false; 2]; self.nodes.len() * self.table.measures().len()]);
        let mut left = MOST_PROGRAMMES;
        loop {
            self.widen(&mut withheld);
            let mut more = BTreeSet::new();
            for group in self.groups(&withheld) {
                for measure in 0..self.table.measures().len() {
                    if let Some(unknown) = self.too_narrow(&group, measure, &withheld, &mut settled, &mut left)? {
                        more.extend(self.another(unknown, &group, &withheld));
                        break;
                    }
                }
            }
            if more.is_empty() {
                return Ok(withheld);
            }
            withheld.extend(more);
        }
    }

    fn value(&self, node: usize, measure: usize) -> u64 {
        self.nodes[node].sums[measure].all
    }

    /// Withholds more wherever a sum alone tells something withheld too closely, which a programme would find too, one after another, or tells of few.
    fn widen(&self, withheld: &mut BTreeSet<usize>) {
        loop {
            self.leave_no_second_way(withheld);
            let narrow = self.relations.iter().filter(|relation| self.tells(relation, withheld));
            let mut more: BTreeSet<usize> = narrow.filter_map(|relation| self.smallest_open([relation].into_iter(), withheld)).collect();
            if more.is_empty() {
                more = self.beside_unsafe_unions(withheld);
            }
            if more.is_empty() {
                return;
            }
            withheld.extend(more);
        }
    }

    /// Whether a sum alone tells something withheld too closely: a part can be no more than all withheld parts together if the total is published,
    /// and the total no less than the published parts if it is not.
    fn tells(&self, relation: &Relation, withheld: &BTreeSet<usize>) -> bool {
        let parts = || relation.parts.iter().filter(|part| withheld.contains(part));
        let total = withheld.contains(&relation.total);
        (0..self.table.measures().len()).any(|measure| {
            let values = parts().map(|part| u128::from(self.value(*part, measure)));
            let sum: u128 = values.clone().sum();
            let (room, of) = if total && self.is_spare(relation.total) {
                (0, 0)
            } else if total {
                (sum, u128::from(self.value(relation.total, measure)))
            } else {
                let largest = values.max().unwrap_or(0);
                (sum - largest, largest)
            };
            room * 100 < of * u128::from(self.rules.interval)
        })
    }

    /// The withheld cells of a relation.
    fn cells<'a>(&'a self, relation: &'a Relation, withheld: &'a BTreeSet<usize>) -> impl Iterator<Item = usize> + 'a {
        relation.parts.iter().copied().filter(|part| self.nodes[*part].cell && withheld.contains(part))
    }

    /// The withheld totals of a relation.
    fn totals_in<'a>(&'a self, relation: &'a Relation, withheld: &'a BTreeSet<usize>) -> impl Iterator<Item = usize> + 'a {
        relation.members().filter(|node| !self.nodes[*node].cell && withheld.contains(node))
    }

    /// What programmes must be asked: unknowns that are tied together by relations with a withheld total. The others are settled by their own sums.
    fn groups(&self, withheld: &BTreeSet<usize>) -> Vec<Group> {
        let mut numbers: BTreeMap<Of, usize> = BTreeMap::new();
        let mut root: Vec<usize> = Vec::new();
        let find = |root: &mut Vec<usize>, mut at: usize| {
            while root[at] != at {
                root[at] = root[root[at]];
                at = root[at];
            }
            at
        };
        let mut tied: Vec<(usize, usize)> = Vec::new();
        for (number, relation) in self.relations.iter().enumerate() {
            let mut unknowns: Vec<Of> = self.totals_in(relation, withheld).map(Of::Total).collect();
            if unknowns.is_empty() {
                continue;
            }
            unknowns.extend(self.cells(relation, withheld).next().map(|_| Of::Cells(number)));
            let mut first = None;
            for unknown in unknowns {
                let at = *numbers.entry(unknown).or_insert_with(|| {
                    root.push(root.len());
                    root.len() - 1
                });
                let (one, other) = (find(&mut root, *first.get_or_insert(at)), find(&mut root, at));
                root[one.max(other)] = one.min(other);
            }
            tied.extend(first.map(|first| (first, number)));
        }
        let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
        let roots: Vec<usize> = (0..root.len()).map(|at| find(&mut root, at)).collect();
        for (unknown, at) in numbers {
            groups.entry(roots[at]).or_default().unknowns.push(unknown);
        }
        for (at, relation) in tied {
            groups.entry(roots[at]).or_default().relations.push(relation);
        }
        groups.into_values().collect()
    }

    /// The first unknown of a group whose interval is too narrow in a measure.
    fn too_narrow(
        &self,
        group: &Group,
        measure: usize,
        withheld: &BTreeSet<usize>,
        settled: &mut Settled,
        left: &mut u32,
    ) -> Result<Option<Of>, OutOfProgrammes> {
        let number: BTreeMap<Of, usize> = group.unknowns.iter().copied().zip(0..).collect();
        let unknowns = group.unknowns.iter().map(|of| self.wanted(*of, measure, withheld, settled)).collect();
        let equations = group.relations.iter().map(|relation| self.equation(*relation, measure, withheld, &number)).collect();
        let mut programme = Programme { unknowns, equations };
        let narrow = programme.too_narrow(left)?;
        for (of, unknown) in group.unknowns.iter().zip(&programme.unknowns) {
            for node in self.nodes_of(*of, withheld) {
                let settled = &mut settled.0[measure * self.nodes.len() + node];
                *settled = [settled[0] || unknown.higher.is_none(), settled[1] || unknown.lower.is_none()];
            }
        }
        Ok(narrow.map(|unknown| group.unknowns[unknown]))
    }

    fn nodes_of(&self, of: Of, withheld: &BTreeSet<usize>) -> Vec<usize> {
        match of {
            Of::Total(node) => vec![node],
            Of::Cells(relation) => self.cells(&self.relations[relation], withheld).collect(),
        }
    }

    /// What must be possible of an unknown, as far as it is not settled. A cell can be all of its relation's withheld cells; it can be nothing,
    /// unless it is the only one of them.
    fn wanted(&self, of: Of, measure: usize, withheld: &BTreeSet<usize>, settled: &Settled) -> Unknown {
        let nodes = self.nodes_of(of, withheld);
        let wanted = |way: usize| {
            let open = nodes.iter().filter(|node| !settled.0[measure * self.nodes.len() + **node][way]);
            let value =
                open.filter(|node| !self.is_spare(**node)).map(|node| self.value(*node, measure)).max().filter(|value| *value > 0)?;
            let reach = f64::from(self.rules.interval) / 100.0;
            Some(value as f64 * if way == 0 { 1.0 + reach } else { 1.0 - reach })
        };
        let truth: u64 = nodes.iter().map(|node| self.value(*node, measure)).fold(0, u64::saturating_add);
        Unknown { higher: wanted(0).filter(|wanted| (truth as f64) < *wanted), lower: wanted(1).filter(|_| nodes.len() == 1) }
    }

    /// The parts less the total are nothing: what is published goes to the right.
    fn equation(
        &self,
        relation: usize,
        measure: usize,
        withheld: &BTreeSet<usize>,
        number: &BTreeMap<Of, usize>,
    ) -> (Vec<(usize, f64)>, f64) {
        let of = &self.relations[relation];
        let (mut left, mut right) = (Vec::new(), 0_i128);
        for (node, sign) in of.parts.iter().map(|part| (*part, 1_i8)).chain([(of.total, -1)]) {
            if !withheld.contains(&node) {
                right -= i128::from(sign) * i128::from(self.value(node, measure));
            } else if !self.nodes[node].cell {
                left.extend(number.get(&Of::Total(node)).map(|unknown| (*unknown, f64::from(sign))));
            }
        }
        left.extend(number.get(&Of::Cells(relation)).map(|unknown| (*unknown, 1.0)));
        (left, right as f64)
    }

    /// What to withhold with something that is told too closely: of what is added up with it, or with others of its group, the cell with the
    /// fewest sessions; a total if there is no cell.
    fn another(&self, of: Of, group: &Group, withheld: &BTreeSet<usize>) -> Option<usize> {
        let near: &[usize] = match &of {
            Of::Total(node) => &self.relations_of[*node],
            Of::Cells(relation) => std::slice::from_ref(relation),
        };
        let relations = |of: &[usize]| of.iter().map(|relation| &self.relations[*relation]).collect::<Vec<_>>();
        self.smallest_open(relations(near).into_iter(), withheld)
            .or_else(|| self.smallest_open(relations(&group.relations).into_iter(), withheld))
    }

    /// Of all that these relations add up and that is not withheld: the cell with the least of the first measure; a total if there is no cell.
    pub(super) fn smallest_open<'a>(&self, of: impl Iterator<Item = &'a Relation>, withheld: &BTreeSet<usize>) -> Option<usize> {
        let candidates = of.flat_map(Relation::members).filter(|other| !withheld.contains(other));
        candidates.min_by_key(|other| (!self.nodes[*other].cell, self.nodes[*other].sums.first().map(|sum| sum.all), *other))
    }
}
