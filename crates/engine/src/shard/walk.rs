//! Walks over a database, and what concerns a database as a whole.
//!
//! SCAN's order is that of key positions (the top 32 bits of the hash). A cursor is the position
//! at which to go on, so a split of a leaf in between neither skips nor repeats a key.
//! What always holds: a key that is there during the whole walk is seen.

use super::{Entry, Shard, Spot};
use crate::arena::Use;
use crate::effect::Key;
use crate::index::{Index, slot_in, slots};
use crate::limits::FREED_SEGMENT_COST;
use crate::shard::store::Rehash;
use layout::{Address, Header, LEAF_WORDS, SegmentId};

impl Shard {
    /// Shows the live keys of a database from `position` on, at least `count` of them if there
    /// are so many, in the order of positions. Answers where to go on; `None` at the end.
    pub fn scan(
        &self,
        db: usize,
        position: u32,
        count: usize,
        now: u64,
        see: &mut dyn FnMut(&[u8], Entry<'_>),
    ) -> Option<u32> {
        let directory = self.directory(db)?;
        let memory = self.arena.memory();
        let mut position = position;
        let mut seen = 0;
        let mut rehash = Rehash::new(&self.arena, &self.owner, &self.prefixes, self.config.secret);
        let mut key = Vec::new();
        loop {
            let (leaf, next) = directory.index.leaf_at(memory, position);
            let mut here: Vec<(u32, Address)> = leaf
                .map(|leaf| slots(memory, leaf))
                .unwrap_or_default()
                .iter()
                .map(|slot| (rehash.hash(slot.address()).position(), slot.address()))
                .filter(|(at, _)| *at >= position)
                .collect();
            here.sort_unstable();
            let mut last = None;
            for (at, item) in here {
                // Keys of one position are seen together: a cursor can't point between them.
                if seen >= count && last != Some(at) {
                    return Some(at);
                }
                last = Some(at);
                seen += 1;
                let header = Header::load(memory, item);
                if !self.is_over(item, header, now) {
                    let entry = Entry::new(self, Spot { slot: Address(0), at: item, header });
                    key.clear();
                    entry.key(&mut key);
                    see(&key, entry);
                }
            }
            position = next?;
        }
    }

    /// A live key of a database, picked at random; `None` if a few tries find none.
    pub fn random_key(&mut self, db: usize, now: u64) -> Option<Vec<u8>> {
        for _ in 0..100 {
            let at = self.random_item(db)?;
            let header = Header::load(self.arena.memory(), at);
            if !self.is_over(at, header, now) {
                let entry = Entry::new(self, Spot { slot: Address(0), at, header });
                let mut key = Vec::new();
                entry.key(&mut key);
                return Some(key);
            }
        }
        None
    }

    /// The item of a random slot; `None` if the database is empty.
    pub(crate) fn random_item(&mut self, db: usize) -> Option<Address> {
        if self.is_empty(db) {
            return None;
        }
        // Most leaves are half full at least.
        const TRIES_PER_LEAF: u32 = 8;
        loop {
            let position = self.rng.next_u64() as u32;
            let (Some(leaf), _) = self.directory(db)?.index.leaf_at(self.arena.memory(), position)
            else {
                continue;
            };
            for _ in 0..TRIES_PER_LEAF {
                let word = self.rng.below(LEAF_WORDS as u64) as usize;
                if let Some(slot) = slot_in(self.arena.memory(), leaf, word) {
                    return Some(slot.address());
                }
            }
            let start = self.rng.next_u64() as usize;
            let filled = slots(self.arena.memory(), leaf);
            if let Some(slot) = filled.get(start % filled.len().max(1)) {
                return Some(slot.address());
            }
        }
    }

    /// Detaches a database's directory; its memory is freed by [`Shard::maintain`].
    pub(crate) fn clear(&mut self, db: usize) {
        let Some(id) = self.roots.get_mut(db).and_then(Option::take) else { return };
        self.answers.forget_all(id);
        if let Some(Some(directory)) = self.directories.get_mut(id as usize) {
            directory.index.detach(self.arena.memory());
            directory.open = Default::default();
        }
        if !self.snapshot_needs(id) {
            self.free_later(id);
        }
    }

    /// Has a directory freed bit by bit that no database refers to any more.
    pub(crate) fn free_later(&mut self, id: u32) {
        self.detached.push(id);
        self.look_at_latest(0);
    }

    /// Exchanges two databases.
    pub(crate) fn swap(&mut self, a: usize, b: usize) {
        if a == b || a.max(b) >= self.roots.len() {
            return;
        }
        let memory = *self.arena.memory();
        for db in [a, b] {
            // A database without a directory gets one, so that there are two to exchange.
            self.directory_id(db);
        }
        self.roots.swap(a, b);
        let (to_a, to_b) = (self.root_word(a), self.root_word(b));
        let ids = [self.roots.get(a).copied().flatten(), self.roots.get(b).copied().flatten()];
        let [Some(in_a), Some(in_b)] = ids else { return };
        let words = (memory.load(to_a.index()), memory.load(to_b.index()));
        for (id, root, word) in [(in_a, to_a, words.1), (in_b, to_b, words.0)] {
            if let Some(Some(directory)) = self.directories.get_mut(id as usize) {
                directory.index.set_root(&memory, root, word);
            }
        }
    }

    /// Frees up to `budget` nodes, segments and pages of what is gone already, large values and
    /// databases, and nothing that is there; whether there is more.
    pub(crate) fn free_detached(&mut self, mut budget: usize) -> bool {
        self.free_nodes(&mut budget);
        // The system takes longer over a segment than anybody over an item.
        let mut segments = budget.div_ceil(FREED_SEGMENT_COST);
        self.free_segments(&mut segments);
        self.has_free_segments() || !self.big_detached.is_empty()
    }

    /// Frees up to `budget` nodes of large hashes that are gone; answers how many bytes that
    /// gives the heap back.
    pub fn free_hashes(&mut self, mut budget: usize) -> usize {
        self.free_nodes(&mut budget)
    }

    fn free_nodes(&mut self, budget: &mut usize) -> usize {
        let mut freed = 0;
        while let Some(big) = self.big_detached.last_mut() {
            let (before, shared) = (big.heap_bytes(), big.is_shared());
            let gone = big.drop_slice(budget);
            freed += if shared { 0 } else { before - big.heap_bytes() };
            if !gone {
                break;
            }
            self.big_detached.pop();
        }
        freed
    }

    /// Whether segments or pages of what is gone wait to be freed.
    pub(crate) const fn has_free_segments(&self) -> bool {
        !(self.long_detached.is_empty() && self.detached.is_empty())
    }

    /// Frees up to `budget` segments and pages of long values and databases that are gone, and
    /// takes them off it.
    pub(crate) fn free_segments(&mut self, budget: &mut usize) {
        while *budget > 0
            && let Some(segment) = self.long_detached.pop()
        {
            *budget -= 1;
            self.arena.give(segment);
        }
        while let Some(id) = self.detached.last().copied() {
            while let Some(segment) = self.last_segment(id) {
                if *budget == 0 {
                    return;
                }
                *budget -= 1;
                self.abandon(id, segment);
            }
            let Self { arena, pages, directories, .. } = self;
            let Some(place) = directories.get_mut(id as usize) else { return };
            if let Some(directory) = place
                && !(directory.forget_users(budget) && directory.index.free(arena, pages, budget))
            {
                return;
            }
            *place = None;
            self.detached.pop();
        }
    }

    fn last_segment(&self, id: u32) -> Option<SegmentId> {
        self.directories.get(id as usize)?.as_ref()?.segments.last().copied()
    }

    /// Gives back a segment of a detached directory with all that its items own.
    fn abandon(&mut self, id: u32, segment: SegmentId) {
        if self.arena.meta(segment).owning.get() > 0 {
            for (at, header) in self.live_items(segment) {
                self.let_go(at, header, false);
            }
        }
        self.due.remove(&(self.arena.meta(segment).due.get(), segment.0));
        if let Some(Some(directory)) = self.directories.get_mut(id as usize) {
            self.space.abandon(&self.arena, directory, segment);
        }
    }

    /// The items of a segment that aren't dead, in the order in which they stand: a copy, for who
    /// changes them.
    pub(crate) fn live_items(&self, segment: SegmentId) -> Vec<(Address, Header)> {
        self.live(segment).collect()
    }

    /// As [`Shard::live_items`], for who only looks.
    pub(crate) fn live(&self, segment: SegmentId) -> impl Iterator<Item = (Address, Header)> {
        debug_assert_eq!(self.arena.meta(segment).used_for.get(), Use::Items as u32);
        let end = self.arena.meta(segment).used.get() as usize;
        let mut offset = 0;
        let items = std::iter::from_fn(move || {
            let at = segment.start().plus(offset);
            let header = (offset < end).then(|| Header::load(self.arena.memory(), at))?;
            offset += header.words();
            (header.words() > 0).then_some((at, header))
        });
        items.filter(|(_, header)| !header.is_dead())
    }

    /// The database whose directory has this number; none if it was detached.
    pub(crate) fn database_of(&self, directory: u32) -> Option<usize> {
        self.roots.iter().position(|root| *root == Some(directory))
    }

    /// The place of an item in the index, found again from its key.
    pub(crate) fn spot_of(&self, db: usize, at: Address, key: &Key<'_>) -> Option<Spot> {
        let index: &Index = &self.directory(db)?.index;
        let memory = self.arena.memory();
        let slot = index.find(memory, key.hash, |item| item == at)?;
        Some(Spot { slot, at, header: Header::load(memory, at) })
    }
}
