//! Who is one person: cards and contracts that belong together, by their digests in one period. What was known when a session ended and what
//! is known when the period closes are joined: two halves of one contributor would count twice (and cost the person four times the budget).

use std::collections::HashMap;

/// Digests that belong together.
#[derive(Default)]
pub struct People {
    numbers: HashMap<[u8; 16], u32>,
    /// Each points to another of the same person, or to itself.
    parent: Vec<u32>,
    /// Of roots: whether somebody of them objects.
    objects: Vec<bool>,
}

impl People {
    /// The number of a digest, given at its first sight.
    pub fn number(&mut self, digest: [u8; 16]) -> u32 {
        let next = u32::try_from(self.parent.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(digest).or_insert(next);
        if number == next && self.parent.len() < u32::MAX as usize {
            self.parent.push(next);
            self.objects.push(false);
        }
        number
    }

    /// Whether a digest was seen.
    pub fn knows(&self, digest: &[u8; 16]) -> bool {
        self.numbers.contains_key(digest)
    }

    /// The two are one person.
    pub fn join(&mut self, one: [u8; 16], other: [u8; 16]) {
        let (one, other) = (self.number(one), self.number(other));
        let (one, other) = (self.root(one), self.root(other));
        if one != other {
            self.parent[one.max(other) as usize] = one.min(other);
            let objects = self.objects[one as usize] || self.objects[other as usize];
            self.objects[one.min(other) as usize] = objects;
        }
    }

    /// Whoever has the digest is not to be counted.
    pub fn object(&mut self, digest: [u8; 16]) {
        let number = self.number(digest);
        let root = self.root(number);
        self.objects[root as usize] = true;
    }

    /// Who a number is: the same for all that belong together.
    pub fn root(&mut self, number: u32) -> u32 {
        let mut at = number;
        while self.parent[at as usize] != at {
            let above = self.parent[self.parent[at as usize] as usize];
            self.parent[at as usize] = above; // halves the way for the next
            at = above;
        }
        at
    }

    /// Whether a person, by its root, may be counted.
    pub fn counts(&self, root: u32) -> bool {
        !self.objects[root as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_of_a_contract_are_one_person_in_whatever_order_it_becomes_known() {
        let mut people = People::default();
        let [a, b, c, contract, other] = [1, 2, 3, 4, 5].map(|n| [n; 16]);
        let numbers = [a, b, c, other].map(|digest| people.number(digest));
        people.join(a, contract);
        people.object(c);
        people.join(b, contract);
        assert_eq!(people.root(numbers[0]), people.root(numbers[1]));
        let of_ab = people.root(numbers[0]);
        assert!(people.counts(of_ab));
        people.join(contract, c);
        let all = numbers.map(|number| people.root(number));
        assert!(all[0] == all[1] && all[1] == all[2] && all[3] != all[0]);
        assert!(!people.counts(all[0]) && people.counts(all[3]), "one who objects speaks for all cards of the contract");
    }
}
