//! Watched keys: who is to be told that a key changed.
//!
//! A [`Watch`] is a flag that a client and the shards of its keys share. Any effect on a watched
//! key raises it, except a slide. What always holds: a raised flag stays raised; a dropped client's
//! entries are swept by [`Watches::forget`].

use std::collections::HashMap;
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
}

/// The watched keys of one shard.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    by_key: HashMap<(usize, Box<[u8]>), Vec<Watch>>,
}

impl Watches {
    /// Whether nobody watches anything: the common case, asked on every effect.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(crate) fn add(&mut self, db: usize, key: &[u8], watch: &Watch) {
        let watchers = self.by_key.entry((db, key.into())).or_default();
        if !watchers.iter().any(|w| Arc::ptr_eq(&w.0, &watch.0)) {
            watchers.push(watch.clone());
        }
    }

    /// Removes every entry of `watch`.
    pub(crate) fn forget(&mut self, watch: &Watch) {
        self.by_key.retain(|_, watchers| {
            watchers.retain(|w| !Arc::ptr_eq(&w.0, &watch.0));
            !watchers.is_empty()
        });
    }

    /// Tells those who watch `key`.
    pub(crate) fn touch(&self, db: usize, key: &[u8]) {
        // The map's key is owned; a lookup by borrowed parts isn't worth a second map while
        // watches are few and looked up only if there are any.
        if let Some(watchers) = self.by_key.get(&(db, Box::from(key))) {
            watchers.iter().for_each(Watch::break_it);
        }
    }

    /// Tells those who watch a key of `db` for which `changed` says so.
    pub(crate) fn touch_all(&self, db: usize, changed: impl Fn(&[u8]) -> bool) {
        for ((_, key), watchers) in self.by_key.iter().filter(|((of, _), _)| *of == db) {
            if changed(key) {
                watchers.iter().for_each(Watch::break_it);
            }
        }
    }
}
