//! A map with a bound: two generations, so that what is used stays and what is not goes, without a list to keep in order.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// At most `bound` entries. When the young half is full it becomes the old half, and the old half is dropped.
pub(super) struct Cache<K, V> {
    halves: Mutex<(HashMap<K, V>, HashMap<K, V>)>,
    half: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub(super) fn new(bound: usize) -> Self {
        Self { halves: Mutex::default(), half: (bound / 2).max(1) }
    }

    pub(super) fn find(&self, key: &K) -> Option<V> {
        let (young, old) = &mut *self.lock();
        if let Some(value) = young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = old.remove_entry(key)?;
        self.keep_young(young, old, key, value.clone());
        Some(value)
    }

    pub(super) fn keep(&self, key: K, value: V) {
        let (young, old) = &mut *self.lock();
        old.remove(&key);
        self.keep_young(young, old, key, value);
    }

    pub(super) fn forget(&self, key: &K) {
        let (young, old) = &mut *self.lock();
        young.remove(key);
        old.remove(key);
    }

    pub(super) fn clear(&self) {
        *self.lock() = Default::default();
    }

    pub(super) fn len(&self) -> usize {
        let (young, old) = &*self.lock();
        young.len() + old.len()
    }

    fn keep_young(&self, young: &mut HashMap<K, V>, old: &mut HashMap<K, V>, key: K, value: V) {
        if young.len() >= self.half {
            *old = std::mem::take(young);
        }
        young.insert(key, value);
    }

    fn lock(&self) -> MutexGuard<'_, (HashMap<K, V>, HashMap<K, V>)> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner) // every step leaves the maps whole
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn stays_within_its_bound_and_keeps_what_is_used() {
        let cache = Cache::new(100);
        for n in 0..10_000 {
            cache.keep(n, n);
            assert!(cache.len() <= 100);
            assert_eq!(cache.find(&0), Some(0), "used each time");
        }
        assert_eq!(cache.find(&5000), None);
        cache.forget(&0);
        assert_eq!(cache.find(&0), None);
        cache.clear();
        assert_eq!(cache.len(), 0);
    }
}
