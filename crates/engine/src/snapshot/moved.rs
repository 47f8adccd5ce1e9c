//! What is noted of keys that the walk hasn't reached and that changed without a later version.
//!
//! ```text
//! deadline moved in place     16 bytes: the key's hash, the deadline at the cut; the first move only
//! item written anew           8 bytes: the key's hash; the item was kept before
//! ```
//!
//! Reads of sessions move deadlines all the time, so a move costs a note and no copy of the item.
//! Both are kept in the order of the walk, which takes out what it passes: memory is for keys of
//! the cut that are still before it, and nothing that grows copies all the others.
//! What always holds: a key's hash is in one of the two at most, and never twice.
//! Not for: deadlines that take a word of their own; such items are kept as a whole.

use layout::{Header, KeyHash};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;

/// What is noted of the keys of one database.
#[derive(Default)]
pub(super) struct Moved {
    /// By a key's hash, the deadline at the cut.
    deadlines: BTreeMap<u64, Option<NonZero<u64>>>,
    /// Hashes of the keys that were kept and still have a version of before the cut.
    kept: BTreeSet<u64>,
}

/// What is noted of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Noted {
    /// Nothing: it is as it was.
    #[default]
    Nothing,
    /// Its deadline was this.
    Deadline(Option<u64>),
    /// It has been kept.
    Kept,
}

impl Noted {
    /// The header that an item had at the cut, unless it has been kept.
    pub(super) const fn then(self, header: Header) -> Option<Header> {
        match self {
            Self::Nothing => Some(header),
            Self::Deadline(deadline) => Some(header.with_deadline(deadline)),
            Self::Kept => None,
        }
    }
}

impl Moved {
    /// Notes the deadline that a key has, if nothing is noted of it yet.
    pub(super) fn note(&mut self, key: KeyHash, deadline: Option<u64>) {
        if !self.kept.contains(&key.0) {
            self.deadlines.entry(key.0).or_insert_with(|| deadline.and_then(NonZero::new));
        }
    }

    /// Takes out what is noted of a key that is kept now. `stays`: its item may come by again with
    /// the version that it has.
    pub(super) fn take(&mut self, key: KeyHash, stays: bool) -> Noted {
        if self.kept.contains(&key.0) {
            return Noted::Kept;
        }
        if stays {
            self.kept.insert(key.0);
        }
        self.deadlines.remove(&key.0).map_or(Noted::Nothing, as_noted)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.deadlines.len() + self.kept.len()
    }

    /// Takes out what is noted of keys before this position; of all without one.
    pub(super) fn passed(&mut self, next: Option<u32>) -> Passed {
        let is_before = |key: &u64| next.is_none_or(|next| KeyHash(*key).position() < next);
        let mut passed = Passed(Vec::new());
        while let Some(first) = self.deadlines.first_entry().filter(|first| is_before(first.key()))
        {
            let (key, deadline) = first.remove_entry();
            passed.0.push((key, as_noted(deadline)));
        }
        while let Some(key) = self.kept.first().copied().filter(is_before) {
            self.kept.remove(&key);
            passed.0.push((key, Noted::Kept));
        }
        passed.0.sort_unstable_by_key(|(key, _)| *key);
        passed
    }
}

/// What was noted of the keys of a page, in the order of their hashes.
pub(super) struct Passed(Vec<(u64, Noted)>);

impl Passed {
    /// What was noted of the key with this hash, which is asked for if there is anything.
    pub(super) fn of(&self, key: impl FnOnce() -> KeyHash) -> Option<Noted> {
        if self.0.is_empty() {
            return None;
        }
        let key = key().0;
        let place = self.0.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.0.get(place).map(|(_, noted)| *noted)
    }
}

fn as_noted(deadline: Option<NonZero<u64>>) -> Noted {
    Noted::Deadline(deadline.map(NonZero::get))
}
