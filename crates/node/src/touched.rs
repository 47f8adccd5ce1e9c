//! How far the journal has to be safe for one key.
//!
//! ```text
//! one     8 B each   | position after the last effect on any key of this place  | x 8,192
//! other   8 B each   | the same, the places being by other bits of the hash     | x 8,192
//! all     8 B          position after the last effect on keys that it doesn't name
//! ```
//!
//! Who reads one key waits for the changes of that key, not for all those of its shard: while a
//! sync takes its time, only what was written meanwhile isn't told.
//! What always holds: no position is smaller than that of the last effect on any key of its place;
//! it's noted while the shards are locked on which the effect happened. Of a key's two places the
//! smaller position counts. Keys that share both wait for each other, which costs time, never truth.
//! Source: the count-min sketch of Cormode and Muthukrishnan, with a maximum for the sum.

use crate::limits::{PARTS_KEPT, TOUCHED_PLACES};
use engine::KeyHash;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering};

/// Positions by key.
#[derive(Debug)]
pub(crate) struct Touched {
    one: Box<[AtomicU64]>,
    other: Box<[AtomicU64]>,
    all: AtomicU64,
}

/// What the effects of a group are on.
#[derive(Debug, Default)]
pub(crate) struct Places {
    some: SmallVec<[KeyHash; 8]>,
    all: bool,
}

impl Places {
    /// Adds a key.
    pub(crate) fn add(&mut self, hash: KeyHash) {
        self.some.push(hash);
    }

    /// Adds whatever key there is.
    pub(crate) fn add_all(&mut self) {
        self.all = true;
    }
}

impl Default for Touched {
    fn default() -> Self {
        let places = || (0..TOUCHED_PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { one: places(), other: places(), all: AtomicU64::new(0) }
    }
}

impl Touched {
    /// Notes that the effects on those places, which are forgotten, end at a position.
    pub(crate) fn note(&self, places: &mut Places, position: u64) {
        for hash in places.some.drain(..) {
            for place in self.places_of(hash).into_iter().flatten() {
                place.store(position, Ordering::Release);
            }
        }
        if places.some.capacity() > PARTS_KEPT {
            places.some = SmallVec::new();
        }
        if std::mem::take(&mut places.all) {
            self.all.store(position, Ordering::Release);
        }
    }

    /// The position after the last effect on a key.
    pub(crate) fn last(&self, hash: KeyHash) -> u64 {
        let all = self.all.load(Ordering::Acquire);
        let places = self.places_of(hash).into_iter().flatten();
        let least = places.map(|place| place.load(Ordering::Acquire)).min();
        least.map_or(u64::MAX, |least| least.max(all))
    }

    fn places_of(&self, hash: KeyHash) -> [Option<&AtomicU64>; 2] {
        let [a, b] = [hash.0 as usize, hash.position() as usize];
        [self.one.get(a % TOUCHED_PLACES), self.other.get(b % TOUCHED_PLACES)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_for_its_own_changes_and_for_those_of_all() {
        let touched = Touched::default();
        // Of the same place in one of the two.
        let (a, b) = (KeyHash(1 | 1 << 32), KeyHash(1 | 2 << 32));
        let mut places = Places::default();
        places.add(a);
        touched.note(&mut places, 7);
        assert_eq!((touched.last(a), touched.last(b)), (7, 0));
        // The places were forgotten.
        places.add(b);
        touched.note(&mut places, 9);
        assert_eq!((touched.last(a), touched.last(b)), (7, 9));
        places.add_all();
        touched.note(&mut places, 11);
        assert_eq!((touched.last(a), touched.last(b)), (11, 11));
        // A key that shares both places waits too.
        places.add(a);
        touched.note(&mut places, 13);
        let twin = KeyHash(1 | 1 << 32 | TOUCHED_PLACES as u64);
        assert_eq!((touched.last(twin), touched.last(b)), (13, 11));
    }
}
