//! A map that never grows past its limit: what was not asked for in a long time goes.
//! Used for verified tokens, compiled forms and known tenants; everything in it can be found again elsewhere.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// Values by key, at most `entries_max` of them.
///
/// At the limit the half that was not asked for in the longest time is dropped at once, so that a flood of new keys costs each of them
/// a constant share of one sweep.
pub struct BoundedMap<K, V> {
    entries: RwLock<HashMap<K, Entry<V>>>,
    clock: AtomicU64,
    entries_max: usize,
}

struct Entry<V> {
    value: V,
    last_asked: AtomicU64,
}

impl<K: Eq + Hash, V: Clone> BoundedMap<K, V> {
    /// An empty map.
    pub fn new(entries_max: usize) -> Self {
        Self { entries: RwLock::default(), clock: AtomicU64::new(0), entries_max }
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(key)?;
        entry.last_asked.store(self.clock.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(entry.value.clone())
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Sets the value of `key`.
    pub fn insert(&self, key: K, value: V) {
        // The clock ticks with insertions only: lookups are many, and need not agree on who came first.
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.entries_max && !entries.contains_key(&key) {
            drop_older_half(&mut entries);
        }
        entries.insert(key, Entry { value, last_asked: AtomicU64::new(now) });
    }

    /// Forgets `key`, where what is known of it may be wrong.
    pub fn remove(&self, key: &K) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

fn drop_older_half<K: Eq + Hash, V>(entries: &mut HashMap<K, Entry<V>>) {
    let asked = |entry: &Entry<V>| entry.last_asked.load(Ordering::Relaxed);
    let mut times: Vec<u64> = entries.values().map(asked).collect();
    let middle = times.len() / 2;
    let median = *times.select_nth_unstable(middle).1;
    entries.retain(|_, entry| asked(entry) >= median);
    // Where most were asked for at the same time, hardly any are older than the median: any of them may go.
    let mut surplus = entries.len().saturating_sub(middle);
    entries.retain(|_, entry| {
        let goes = surplus > 0 && asked(entry) == median;
        surplus -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_limit_and_keeps_what_is_asked_for() {
        let map = BoundedMap::new(8);
        map.insert("kept".to_owned(), 0);
        for number in 0..1000 {
            map.insert(number.to_string(), number);
            assert_eq!(map.get(&"kept".to_owned()), Some(0), "after {number}");
            assert!(map.entries.read().expect("not poisoned").len() <= 8);
        }
        assert_eq!(map.get(&"999".to_owned()), Some(999));
        assert_eq!(map.get(&"1".to_owned()), None);
    }

    #[test]
    fn entries_that_were_all_asked_for_at_the_same_time_make_room_too() {
        let map = BoundedMap::new(8);
        for number in 0..8 {
            map.insert(number, number);
        }
        assert!((0..8).all(|number| map.get(&number) == Some(number)));
        map.insert(8, 8);
        assert_eq!(map.get(&8), Some(8));
        assert_eq!((0..8).filter(|number| map.get(number).is_some()).count(), 4);
    }
}
