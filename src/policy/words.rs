//! A closed list of words, each found in one step.

/// A closed list of words. A hash table of its own, because a word here is found by its length and its ends: a third of what a general hash
/// costs, and the words are the catalogue's, so nobody can choose them to collide.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Words {
    words: Vec<String>,
    /// 0, or a place in `words` and 1; a power of two of them, at least half free.
    slots: Vec<u16>,
}

impl Words {
    /// The place of a word in the list, spelled as it is there.
    #[inline]
    pub(crate) fn place(&self, word: &str) -> Option<usize> {
        let mut at = hash(word.as_bytes());
        loop {
            // At least half are free, so the search ends.
            let place = usize::from(self.slots[at & (self.slots.len() - 1)]).checked_sub(1)?;
            if self.words[place] == word {
                return Some(place);
            }
            at += 1;
        }
    }

    /// Whether it is in the list, in any case.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.place(word).is_some() || self.words.iter().any(|w| w.eq_ignore_ascii_case(word))
    }
}

impl FromIterator<String> for Words {
    /// What is there twice counts once, where it was first.
    fn from_iter<I: IntoIterator<Item = String>>(words: I) -> Self {
        let mut list: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for word in words {
            if seen.insert(word.clone()) {
                list.push(word);
            }
        }
        assert!(list.len() < usize::from(u16::MAX), "the catalogue has a few thousand words");
        let mut slots = vec![0; (2 * list.len()).next_power_of_two().max(2)];
        for (place, word) in list.iter().enumerate() {
            let mut at = hash(word.as_bytes());
            while slots[at & (slots.len() - 1)] != 0 {
                at += 1;
            }
            let last = slots.len() - 1;
            slots[at & last] = place as u16 + 1;
        }
        Self { words: list, slots }
    }
}

/// From the first and last bytes and the length. The upper bits are the mixed ones.
#[inline]
fn hash(word: &[u8]) -> usize {
    let (head, tail) = if let (Some(head), Some(tail)) = (word.first_chunk(), word.last_chunk()) {
        (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
    } else if let (Some(head), Some(tail)) = (word.first_chunk(), word.last_chunk()) {
        (u64::from(u32::from_le_bytes(*head)), u64::from(u32::from_le_bytes(*tail)))
    } else {
        (word.first().copied().unwrap_or(0).into(), word.last().copied().unwrap_or(0).into())
    };
    let mixed = (head ^ tail.rotate_left(23) ^ word.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::Words;
    use proptest::prelude::*;

    #[test]
    fn an_empty_list_has_nothing() {
        let none: Words = std::iter::empty().collect();
        assert!(!none.has("") && !none.has("Word") && none.place("x").is_none());
    }

    proptest! {
        #[test]
        fn finds_what_a_list_finds(words in proptest::collection::vec("[A-Ca-c.]{0,18}", 0..60), other in "[A-Ca-c.]{0,18}") {
            let table: Words = words.iter().cloned().collect();
            for word in words.iter().chain([&other]) {
                prop_assert_eq!(table.place(word).is_some(), words.contains(word));
                prop_assert_eq!(table.has(word), words.iter().any(|w| w.eq_ignore_ascii_case(word)));
                let swapped = word.to_ascii_uppercase();
                prop_assert_eq!(table.has(&swapped), words.iter().any(|w| w.eq_ignore_ascii_case(&swapped)));
            }
        }
    }
}
