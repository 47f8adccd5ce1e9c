//! Relocation: emptying sparse segments by moving their live items elsewhere.
//!
//! What always holds: an item moves as a whole, and the index refers to either place; at most
//! [`COPIED_PER_WRITTEN`](crate::limits::COPIED_PER_WRITTEN) bytes are copied per byte written,
//! except when there is no segment left and one must be emptied to go on.

use crate::effect::Key;
use crate::limits::{
    DETACHED_AT_ONCE, DETACHED_PER_SQUEEZE, RELOCATIONS_PER_OPENING, RELOCATIONS_PER_SQUEEZE,
};
use crate::shard::Shard;
use layout::{Address, Header, SegmentId, key};

impl Shard {
    /// Empties sparse segments as far as the credit goes.
    pub(crate) fn relocate_some(&mut self, now: u64) {
        for _ in 0..RELOCATIONS_PER_OPENING {
            if !self.space.is_sparse() {
                break;
            }
            let Some(victim) = self.space.sparsest() else { break };
            let cost = 8 * self.arena.meta(victim).live.get() as usize;
            if cost > self.copy_credit {
                break;
            }
            self.copy_credit -= cost;
            self.relocate(victim, now);
        }
        self.space.fill_reserve(&self.arena);
        self.space.opened = false;
    }

    /// Makes room when there is no segment left: frees some of what is gone already, or empties
    /// segments into the reserve. False if that gained no segment.
    pub(crate) fn squeeze(&mut self, now: u64) -> bool {
        let before = self.arena.available();
        // Index pages come last and not each gives a segment. Large hashes give none.
        for _ in 0..DETACHED_PER_SQUEEZE / DETACHED_AT_ONCE {
            let mut budget = DETACHED_AT_ONCE;
            self.free_segments(&mut budget);
            if self.arena.available() > before {
                return true;
            }
            if !self.has_free_segments() {
                break;
            }
        }
        // Large items may not pack any better elsewhere, so what counts is a segment more than
        // before, and the work is bounded.
        for _ in 0..RELOCATIONS_PER_SQUEEZE {
            if self.space.dead() < 2 * layout::SEGMENT_WORDS {
                return false;
            }
            let Some(victim) = self.space.sparsest() else { return false };
            self.relocate(victim, now);
            if self.arena.available() > before {
                return true;
            }
        }
        false
    }

    /// Moves every live item out of a sealed segment, which is given back thereby.
    pub(crate) fn relocate(&mut self, victim: SegmentId, now: u64) {
        let id = self.arena.meta(victim).directory.get();
        let Some(db) = self.database_of(id) else {
            // Its database is gone; free_detached is about to come here.
            return;
        };
        let mut bytes = Vec::new();
        for (at, header) in self.live_items(victim) {
            bytes.clear();
            key::unpack(self.body(at, header), header.key_form(), &self.prefixes, &mut bytes);
            let key = Key::new(&self.config.secret, &bytes);
            if !self.relocate_item((id, db), &key, (at, header), now) {
                return;
            }
        }
        self.stats.relocated += 1;
    }

    fn relocate_item(
        &mut self,
        (id, db): (u32, usize),
        key: &Key<'_>,
        (at, header): (Address, Header),
        now: u64,
    ) -> bool {
        let due = self.due_time(at, header);
        let band = self.band(db, due, now);
        let Ok(to) = self.room((id, band), header.words(), true) else { return false };
        let memory = *self.arena.memory();
        for i in 0..header.words() {
            memory.store(to.plus(i).index(), memory.load(at.plus(i).index()));
        }
        let Some(spot) = self.spot_of(db, at, key) else { return false };
        if let Some(Some(directory)) = self.directories.get_mut(id as usize) {
            directory.index.replace(&memory, spot.slot, key.hash, to);
        }
        if header.form() != layout::Form::Inline {
            let owning = &self.arena.meta(to.segment()).owning;
            owning.set(owning.get() + 1);
        }
        self.stats.copied += 8 * header.words() as u64;
        if let Some(due) = due {
            self.file(to, due, now);
        }
        self.bury(id, at, header, true);
        true
    }
}
