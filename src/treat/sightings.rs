//! The identifiers that a frame brings up, each once, however often the frame says it.

use crate::identity::Sighting;
use crate::pseudonym::Pseudonym;
use std::collections::BTreeMap;

/// Identifiers and references that one frame may bring up. The longest lists in practice are of certificates (hundreds, with serial numbers of which
/// each could be a card's) and of a tariff's drivers (hundreds). A longer one is refused rather than shortened: without a part of it the list would
/// say what is not so.
///
/// Each is sealed and recorded before the frame leaves, so that they take the memory of the frame twice over and 0.2 MB, two MACs each, and one
/// transaction of the store of as many rows as `sluis codes` writes at a time. A station that means ill is not bounded by this but by its allowance,
/// which counts bytes: it brings up as many in small frames. The session knows which messages have no such lists, and lets them bring up fewer.
pub(crate) const MAX_SIGHTINGS: usize = 1024;

/// So many are looked through one by one, which is all that a usual frame has; those beyond them are found by their code.
const FEW: usize = 16;

/// The identifiers of a frame in the order in which they came.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "nearly always there is none, and every frame has these")]
pub(crate) struct Sightings {
    /// In their order. Taken from here rather than by a method, which would move the rest with it at every frame.
    pub(crate) all: Vec<Sighting>,
    /// Where those beyond [`FEW`] are: as many as there are, so that a frame that says one thing many thousand times is not compared with a
    /// thousand others each time.
    places: Option<Box<BTreeMap<Pseudonym, usize>>>,
}

impl Sightings {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds one if it is new. `false` if there is no room for it.
    pub(crate) fn add(&mut self, sighting: Sighting) -> bool {
        let few = &self.all[..self.all.len().min(FEW)];
        let known = few.iter().position(|known| known.code == sighting.code);
        let known = known.or_else(|| self.places.as_ref()?.get(&sighting.code).copied());
        // Two with one code are a fault that the vault must see.
        if known.is_some_and(|at| self.all[at].identifier == sighting.identifier) {
            return true;
        }
        if self.all.len() >= MAX_SIGHTINGS {
            return false;
        }
        if self.all.len() >= FEW {
            self.places.get_or_insert_default().insert(sighting.code, self.all.len());
        }
        self.all.push(sighting);
        true
    }

    /// Takes back all but the first `length`, with what they were part of.
    pub(crate) fn truncate(&mut self, length: usize) {
        if length < self.all.len() {
            for sighting in self.all.drain(length..) {
                if let Some(places) = &mut self.places {
                    places.remove(&sighting.code);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Declared, Identifier};

    impl Sightings {
        fn found_by_code(&self) -> usize {
            self.places.as_ref().map_or(0, |places| places.len())
        }
    }

    fn sighting(n: usize) -> Sighting {
        let code = Pseudonym::from_text(&format!("Z0{n}")).unwrap();
        Sighting { code, identifier: Identifier::from_wire(&format!("CARD {n}"), Declared::Undeclared) }
    }

    #[test]
    fn each_is_kept_once_and_no_more_than_the_bound() {
        let mut sightings = Sightings::default();
        for _ in 0..3 {
            assert!((0..MAX_SIGHTINGS).all(|n| sightings.add(sighting(n))));
            assert_eq!(sightings.len(), MAX_SIGHTINGS);
        }
        assert!(!sightings.add(sighting(MAX_SIGHTINGS)));
        assert_eq!(sightings.found_by_code(), MAX_SIGHTINGS - FEW);
        let codes: Vec<_> = sightings.all.iter().map(|s| s.code).collect();
        assert!(codes.iter().enumerate().all(|(n, code)| *code == sighting(n).code));
    }

    #[test]
    fn what_is_taken_back_is_new_again_and_takes_no_room() {
        let mut sightings = Sightings::default();
        assert!((0..10).all(|n| sightings.add(sighting(n))));
        for round in 0..10 {
            let first = 10 + round * 100;
            assert!((first..first + 100).all(|n| sightings.add(sighting(n))));
            assert_eq!((sightings.len(), sightings.found_by_code()), (110, 110 - FEW));
            sightings.truncate(10);
            sightings.truncate(20);
            assert_eq!((sightings.len(), sightings.found_by_code()), (10, 0));
        }
        assert!(sightings.add(sighting(9)) && sightings.len() == 10);
        assert!(sightings.add(sighting(10)) && sightings.len() == 11);
    }

    #[test]
    fn two_identifiers_with_one_code_are_both_handed_to_the_vault() {
        let mut sightings = Sightings::default();
        for n in [1, 2] {
            let Sighting { code, .. } = sighting(1);
            assert!(sightings.add(Sighting { code, ..sighting(n) }));
        }
        assert_eq!(sightings.len(), 2);
    }
}
