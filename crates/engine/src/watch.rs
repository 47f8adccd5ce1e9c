//! Watched keys: who is to be told that a key changed.
//!
//! A [`Watch`] is a flag that a client and the shards of its keys share. Any effect on a watched
//! key raises it, except a slide. Keys are known by their hash alone: of 64 keyed bits, two keys
//! that share one cost a transaction that is tried again, never one that should have been.
//! What always holds: a raised flag stays raised; forgetting costs what is forgotten; one that
//! there is no place for is raised at once.

use crate::limits::WATCHES_PER_SHARD;
use layout::KeyHash;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag of one client's transaction.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<AtomicBool>);

impl Watch {
    /// Whether a watched key changed.
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn break_it(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The watched keys of one shard, by database and hash.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    by_key: HashMap<(u32, KeyHash), SmallVec<[Watch; 1]>>,
    /// Pairs of a key and a watch.
    len: usize,
}

impl Watches {
    /// Whether nobody watches anything: the common case, asked on every effect.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(crate) fn add(&mut self, db: usize, hash: KeyHash, watch: &Watch) {
        if self.len >= WATCHES_PER_SHARD {
            watch.break_it();
            return;
        }
        let watchers = self.by_key.entry((db as u32, hash)).or_default();
        if !watchers.iter().any(|other| other.is(watch)) {
            watchers.push(watch.clone());
            self.len += 1;
        }
    }

    /// Removes `watch` from these keys.
    pub(crate) fn forget(&mut self, watch: &Watch, keys: impl Iterator<Item = (usize, KeyHash)>) {
        for (db, hash) in keys {
            let Entry::Occupied(mut entry) = self.by_key.entry((db as u32, hash)) else { continue };
            let watchers = entry.get_mut();
            if let Some(at) = watchers.iter().position(|other| other.is(watch)) {
                watchers.swap_remove(at);
                self.len -= 1;
            }
            if watchers.is_empty() {
                entry.remove();
            }
        }
        if self.by_key.len() < self.by_key.capacity() / 8 {
            self.by_key.shrink_to(2 * self.by_key.len());
        }
    }

    /// Tells those who watch a key.
    pub(crate) fn touch(&self, db: usize, hash: KeyHash) {
        if let Some(watchers) = self.by_key.get(&(db as u32, hash)) {
            watchers.iter().for_each(Watch::break_it);
        }
    }

    /// Tells those who watch a key of `db` for which `changed` says so.
    pub(crate) fn touch_all(&self, db: usize, changed: impl Fn(KeyHash) -> bool) {
        for ((of, hash), watchers) in &self.by_key {
            if *of == db as u32 && changed(*hash) {
                watchers.iter().for_each(Watch::break_it);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_leaves_no_trace_and_the_others_stay() {
        let mut watches = Watches::default();
        let (one, other) = (Watch::default(), Watch::default());
        let keys = || (0..1_000).map(|n| (n as usize % 4, KeyHash(n)));
        for (db, hash) in keys() {
            watches.add(db, hash, &one);
            watches.add(db, hash, &one);
        }
        watches.add(1, KeyHash(5), &other);
        assert_eq!(watches.len, 1_001);
        watches.forget(&one, keys());
        assert_eq!((watches.len, watches.by_key.len()), (1, 1));
        assert!(watches.by_key.capacity() < 100);
        watches.touch(1, KeyHash(9));
        watches.touch(2, KeyHash(5));
        assert!(!other.is_broken());
        watches.touch(1, KeyHash(5));
        assert!(other.is_broken() && !one.is_broken());
        watches.forget(&other, std::iter::once((1, KeyHash(5))));
        assert!(watches.is_empty() && watches.len == 0);
    }

    #[test]
    fn a_watch_without_a_place_is_broken() {
        let mut watches = Watches::default();
        let many = Watch::default();
        (0..WATCHES_PER_SHARD as u64).for_each(|n| watches.add(0, KeyHash(n), &many));
        let late = Watch::default();
        assert!(!many.is_broken());
        watches.add(0, KeyHash(0), &late);
        assert!(late.is_broken() && !many.is_broken());
        watches.forget(&late, std::iter::once((0, KeyHash(0))));
        assert_eq!(watches.len, WATCHES_PER_SHARD);
    }
}
