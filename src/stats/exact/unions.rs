//! What is withheld together. A published total less its published parts is what its withheld cells are together, to the digit, however wide the
//! interval of each is. So they must be as safe together as a number that is published: one person alone in two neighbourhoods must not be found
//! in their sum, nor one fleet in the one beside another in the other.
//!
//! Numbers are added up in two ways, by area and by class, and what is left of one total could be taken off what is left of another that crosses it.
//! So there is one way only: the total of all classes of an area is published only if those of its classes all are, but for the root's. Then what is
//! left of the published totals are blocks of withheld cells that never cross, and whatever sum of withheld cells follows is one of whole blocks. Blocks
//! that are safe are so together, and with any published numbers, for the p% rule holds of two safe numbers together: all others did no less than in both, and
//! the largest no more.

use super::super::table::Measure;
use super::hierarchy::{Hierarchy, Relation};
use std::collections::{BTreeMap, BTreeSet};

impl Hierarchy {
    /// Withholds the totals of all classes of areas below the root of which a class is withheld. One with nobody in it is nothing, and known to be.
    pub(super) fn leave_no_second_way(&self, withheld: &mut BTreeSet<usize>) {
        let crosses = |relation: &&Relation| {
            self.is_of_all_classes_within(relation.total)
                && relation.parts.iter().any(|part| withheld.contains(part) && self.nodes[*part].contributors > 0)
        };
        let more: Vec<usize> = self.relations.iter().filter(crosses).map(|relation| relation.total).collect();
        withheld.extend(more);
    }

    /// What else must be withheld, so that what is withheld together tells of nobody. Nothing is, of what no longer has anything open beside it.
    pub(super) fn beside_unsafe_unions(&self, withheld: &BTreeSet<usize>) -> BTreeSet<usize> {
        let of_total: BTreeMap<usize, &Relation> = self.relations.iter().map(|relation| (relation.total, relation)).collect();
        let mut more = BTreeSet::new();
        for relation in self.relations.iter().filter(|relation| !withheld.contains(&relation.total)) {
            let (mut cells, mut relations, mut next) = (Vec::new(), Vec::new(), vec![relation]);
            while let Some(relation) = next.pop() {
                relations.push(relation);
                for part in relation.parts.iter().filter(|part| withheld.contains(part)) {
                    if self.nodes[*part].cell {
                        cells.push(*part);
                    } else {
                        next.extend(of_total.get(part));
                    }
                }
            }
            if self.tell_of_few(&cells) {
                more.extend(self.smallest_open(relations.into_iter(), withheld));
            }
        }
        more
    }

    /// Whether the sum of these cells tells of one person, as [`is_unsafe`](Self::is_unsafe) says of a number. Of cells with fewer than k contributors each
    /// contributor is known; of a larger one only the two largest, and so the most that one, and two, can have done in all. Cells of nobody tell
    /// of nobody.
    fn tell_of_few(&self, cells: &[usize]) -> bool {
        let (small, large): (Vec<_>, Vec<_>) =
            cells.iter().map(|cell| &self.nodes[*cell]).partition(|node| node.contributors < self.rules.contributors);
        let mut people: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for person in small.iter().flat_map(|node| &node.few) {
            let sums = people.entry(person.number).or_insert_with(|| vec![0; person.parts.len()]);
            sums.iter_mut().zip(&person.parts).for_each(|(sum, part)| *sum = sum.saturating_add(*part));
        }
        if large.is_empty() && (people.len() as u64) < u64::from(self.rules.contributors) {
            return !people.is_empty();
        }
        self.table.measures().iter().enumerate().filter(|(_, measure)| **measure != Measure::Contributors).any(|(at, _)| {
            let (mut all, mut largest, mut second) = (0_u128, 0_u128, 0_u128);
            for sums in people.values() {
                let part = u128::from(sums[at]);
                all += part;
                (largest, second) = (largest.max(part), second.max(part.min(largest)));
            }
            for sum in large.iter().map(|node| node.sums[at]) {
                all += u128::from(sum.all);
                largest += u128::from(sum.largest);
                second += u128::from(sum.second);
            }
            all.saturating_sub(largest + second) * 100 < largest * u128::from(self.rules.percent)
        })
    }
}
