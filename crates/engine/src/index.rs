//! The index of one database in one shard: a trie of nodes above leaves of 32 buckets.
//!
//! ```text
//! root word (arena header) -> node (64 words) -> ... -> leaf (32 buckets of 7 slots)
//! ```
//!
//! A leaf that is full splits in two by the next bit of its keys' places; nothing else moves, so
//! the longest insert handles one leaf's 206 keys. A key that finds its home bucket full stands in
//! one of the seven buckets after it, and the home bucket counts it.
//! What always holds: each key has one slot; a leaf's count and its buckets' displaced counts are
//! right; whoever changes a slot bumps the version of its bucket.
//! Not for: knowing what an item is. The caller compares keys and hashes them again for a split.

use crate::arena::{Arena, Use};
use crate::effect::Full;
use crate::limits::LEAF_KEYS_MAX;
use layout::address::LEAF_SLOTS;
use layout::directory::{
    self, Control, DirectoryWord, Found, NODE_BITS, PROBE_MAX, bucket, descend, descend_from, place,
};
use layout::{
    Address, BUCKET_WORDS, KeyHash, LEAF_BUCKETS, LEAF_WORDS, Memory, NODE_WORDS, SEGMENT_WORDS,
    SegmentId, Slot,
};
use smallvec::SmallVec;

/// The leaves and nodes of a shard, used and free; shared by the shard's databases.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    leaves: Vec<Address>,
    nodes: Vec<Address>,
    generation: u64,
    /// Segments taken.
    pub(crate) segments: usize,
    /// Words of leaves and nodes in use.
    used_words: usize,
}

impl Pages {
    fn take_leaf(&mut self, arena: &Arena) -> Result<Address, Full> {
        let leaf =
            Self::take(&mut self.leaves, &mut self.segments, arena, Use::Leaves, LEAF_WORDS)?;
        self.used_words += LEAF_WORDS;
        Ok(leaf)
    }

    fn take_node(&mut self, arena: &Arena) -> Result<Address, Full> {
        let node = Self::take(&mut self.nodes, &mut self.segments, arena, Use::Nodes, NODE_WORDS)?;
        self.used_words += NODE_WORDS;
        Ok(node)
    }

    fn take(
        free: &mut Vec<Address>,
        segments: &mut usize,
        arena: &Arena,
        used_for: Use,
        words: usize,
    ) -> Result<Address, Full> {
        if free.is_empty() {
            let segment = arena.take(used_for).ok_or(Full)?;
            *segments += 1;
            let units = (0..SEGMENT_WORDS / words).rev();
            free.extend(units.map(|unit| segment.start().plus(unit * words)));
        }
        let at = free.pop().ok_or(Full)?;
        let live = &arena.meta(at.segment()).live;
        live.set(live.get() + 1);
        arena.memory().range(at.index(), words).iter().for_each(|word| {
            word.store(0, std::sync::atomic::Ordering::Relaxed);
        });
        Ok(at)
    }

    fn give(&mut self, arena: &Arena, at: Address, words: usize) {
        self.used_words -= words;
        let free = if words == LEAF_WORDS { &mut self.leaves } else { &mut self.nodes };
        free.push(at);
        let meta = arena.meta(at.segment());
        meta.live.set(meta.live.get() - 1);
        if meta.live.get() == 0 {
            free.retain(|unit| unit.segment() != at.segment());
            arena.give(at.segment());
            self.segments -= 1;
        }
    }

    /// Bytes of the leaves and nodes in use.
    pub(crate) const fn bytes_in_use(&self) -> usize {
        self.used_words * 8
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }
}

/// The index of one database.
#[derive(Debug)]
pub(crate) struct Index {
    root: Address,
    /// What the root word was when the index was detached from it.
    detached: DirectoryWord,
    /// Keys in it.
    pub(crate) keys: u64,
}

impl Index {
    /// An empty index whose root word stands at `root`.
    pub(crate) fn new(memory: &Memory, root: Address) -> Self {
        memory.store(root.index(), 0);
        Self { root, detached: DirectoryWord::EMPTY, keys: 0 }
    }

    /// Moves the root to another place, where `word` is what it refers to.
    pub(crate) fn set_root(&mut self, memory: &Memory, root: Address, word: u64) {
        self.root = root;
        memory.store(root.index(), word);
    }

    /// Lets go of the root word: nothing is found any more, and [`Index::free`] may follow.
    pub(crate) fn detach(&mut self, memory: &Memory) {
        self.detached = DirectoryWord(memory.load(self.root.index()));
        memory.store(self.root.index(), 0);
    }

    /// The address of the slot of a key; `is` compares.
    #[inline]
    pub(crate) fn find(
        &self,
        memory: &Memory,
        hash: KeyHash,
        is: impl FnMut(Address) -> bool,
    ) -> Option<Address> {
        let leaf = self.leaf(memory, hash).leaf;
        if leaf.is_empty() {
            return None;
        }
        directory::find_slot(memory, leaf.address(), hash, is)
    }

    /// Adds a key that isn't there. `rehash` hashes the key of an item again.
    pub(crate) fn insert(
        &mut self,
        arena: &Arena,
        pages: &mut Pages,
        hash: KeyHash,
        item: Address,
        rehash: &mut dyn FnMut(Address) -> KeyHash,
    ) -> Result<(), Full> {
        let memory = arena.memory();
        loop {
            let found = self.leaf(memory, hash);
            if found.leaf.is_empty() {
                let leaf = pages.take_leaf(arena)?;
                let word = DirectoryWord::leaf(leaf, found.limit, pages.next_generation());
                memory.store(found.word.index(), word.0);
                continue;
            }
            let leaf = found.leaf.address();
            let keys = Control(memory.load(leaf.index())).count();
            if keys < LEAF_KEYS_MAX && place_slot(memory, leaf, hash, item) {
                self.keys += 1;
                return Ok(());
            }
            self.split(arena, pages, place(hash.position()), found, rehash)?;
        }
    }

    /// Points a key's slot at another item.
    #[inline]
    pub(crate) fn replace(&self, memory: &Memory, slot: Address, hash: KeyHash, item: Address) {
        let at = bucket_of(slot);
        bump(memory, at);
        memory.store(slot.index(), Slot::new(hash.tag(), item).0);
        bump(memory, at);
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, memory: &Memory, slot: Address, hash: KeyHash) {
        let at = bucket_of(slot);
        bump(memory, at);
        memory.store(slot.index(), 0);
        bump(memory, at);
        let leaf = Address(slot.0 - slot.0 % LEAF_WORDS as u64);
        let home = bucket(leaf, hash.bucket());
        if home != at {
            let control = Control(memory.load(home.index()));
            memory.store(home.index(), control.with_displaced(control.displaced() - 1).0);
        }
        let control = Control(memory.load(leaf.index()));
        memory.store(leaf.index(), control.with_count(control.count() - 1).0);
        self.keys -= 1;
    }

    /// The leaf in charge of a position, the position at which the next leaf begins (none after
    /// the last), for walks in order.
    pub(crate) fn leaf_at(&self, memory: &Memory, position: u32) -> (Option<Address>, Option<u32>) {
        let here = place(position);
        let found = if self.detached.is_empty() {
            descend(memory, self.root, here)
        } else {
            // A snapshot walks over what its database has let go of.
            descend_from(memory, self.detached, self.root, here)
        };
        let depth = if found.leaf.is_empty() { found.limit } else { found.leaf.depth() };
        let next = (u64::from(here) >> (32 - depth)) + 1;
        let next =
            (next < 1 << depth).then(|| directory::first_position((next << (32 - depth)) as u32));
        let leaf = (!found.leaf.is_empty()).then(|| found.leaf.address());
        (leaf, next)
    }

    /// Frees the pages of an index that was detached, at most `budget` of them; whether all are
    /// gone.
    pub(crate) fn free(&mut self, arena: &Arena, pages: &mut Pages, budget: &mut usize) -> bool {
        let word = self.detached;
        if word.is_empty() || free_below(arena, pages, word, 0, budget) {
            self.detached = DirectoryWord::EMPTY;
            return true;
        }
        false
    }

    #[inline]
    fn leaf(&self, memory: &Memory, hash: KeyHash) -> Found {
        descend(memory, self.root, place(hash.position()))
    }

    /// Splits a leaf in two; a node is put in between if its own has no room to tell them apart.
    fn split(
        &self,
        arena: &Arena,
        pages: &mut Pages,
        at: u32,
        found: Found,
        rehash: &mut dyn FnMut(Address) -> KeyHash,
    ) -> Result<(), Full> {
        let memory = arena.memory();
        let depth = found.leaf.depth();
        if depth >= u32::BITS - NODE_BITS {
            return Err(Full);
        }
        let node = if depth == found.limit { Some(pages.take_node(arena)?) } else { None };
        let left = found.leaf.address();
        let right = match pages.take_leaf(arena) {
            Ok(right) => right,
            Err(full) => {
                if let Some(node) = node {
                    pages.give(arena, node, NODE_WORDS);
                }
                return Err(full);
            }
        };
        distribute(memory, left, right, depth, rehash);
        let low = DirectoryWord::leaf(left, depth + 1, pages.next_generation());
        let high = DirectoryWord::leaf(right, depth + 1, pages.next_generation());
        let (first, span) = match node {
            Some(node) => (node, NODE_WORDS),
            None => {
                let index = ((at << (found.limit - NODE_BITS)) >> (32 - NODE_BITS)) as usize;
                let span = 1usize << (found.limit - depth);
                let start = Address(found.word.0 - index as u64);
                (start.plus(index & !(span - 1)), span)
            }
        };
        for i in 0..span {
            let word = if i < span / 2 { low } else { high };
            memory.store(first.plus(i).index(), word.0);
        }
        if let Some(node) = node {
            let word = DirectoryWord::node(node, depth, pages.next_generation());
            memory.store(found.word.index(), word.0);
        }
        Ok(())
    }
}

/// The occupied slots of a leaf.
pub(crate) fn slots(memory: &Memory, leaf: Address) -> SmallVec<[Slot; LEAF_SLOTS]> {
    let words = memory.range(leaf.index(), LEAF_WORDS);
    let slots = words.iter().enumerate().filter(|(i, _)| i % BUCKET_WORDS != 0);
    let slots = slots.map(|(_, word)| Slot(word.load(std::sync::atomic::Ordering::Relaxed)));
    slots.filter(|slot| !slot.is_empty()).collect()
}

/// The slot in one word of a leaf, if that is an occupied slot.
pub(crate) fn slot_in(memory: &Memory, leaf: Address, word: usize) -> Option<Slot> {
    let is_slot = word < LEAF_WORDS && !word.is_multiple_of(BUCKET_WORDS);
    let slot = is_slot.then(|| Slot(memory.load(leaf.plus(word).index())))?;
    (!slot.is_empty()).then_some(slot)
}

fn bucket_of(slot: Address) -> Address {
    Address(slot.0 - slot.0 % BUCKET_WORDS as u64)
}

/// Bumps the version of a bucket: once before a change and once after.
pub(crate) fn bump(memory: &Memory, bucket: Address) {
    use std::sync::atomic::{Ordering, fence};
    let control = Control(memory.load(bucket.index())).bumped();
    // Release on both sides: a foreign reader that sees a word of the change sees the odd
    // version too, and one that sees the even version sees the whole change.
    fence(Ordering::Release);
    memory.store(bucket.index(), control.0);
    fence(Ordering::Release);
}

/// As [`bump`], for whoever changes the bytes of the item that `slot` refers to.
#[inline]
pub(crate) fn bump_slot(memory: &Memory, slot: Address) {
    bump(memory, bucket_of(slot));
}

/// Puts a key into its home bucket or one soon after; whether there was room.
fn place_slot(memory: &Memory, leaf: Address, hash: KeyHash, item: Address) -> bool {
    for step in 0..=PROBE_MAX {
        let at = bucket(leaf, hash.bucket() + step);
        for i in 1..BUCKET_WORDS {
            if memory.load(at.plus(i).index()) != 0 {
                continue;
            }
            bump(memory, at);
            memory.store(at.plus(i).index(), Slot::new(hash.tag(), item).0);
            bump(memory, at);
            if step > 0 {
                let home = bucket(leaf, hash.bucket());
                let control = Control(memory.load(home.index()));
                memory.store(home.index(), control.with_displaced(control.displaced() + 1).0);
            }
            let control = Control(memory.load(leaf.index()));
            memory.store(leaf.index(), control.with_count(control.count() + 1).0);
            return true;
        }
    }
    false
}

/// Divides the keys of `left`, which are told apart by the bit after `depth`, over both leaves.
fn distribute(
    memory: &Memory,
    left: Address,
    right: Address,
    depth: u32,
    rehash: &mut dyn FnMut(Address) -> KeyHash,
) {
    let keys = slots(memory, left);
    let keys: SmallVec<[(KeyHash, Address); LEAF_SLOTS]> =
        keys.iter().map(|slot| (rehash(slot.address()), slot.address())).collect();
    for i in 0..LEAF_BUCKETS {
        let at = bucket(left, i);
        bump(memory, at);
        for word in 1..BUCKET_WORDS {
            memory.store(at.plus(word).index(), 0);
        }
        let control = Control(memory.load(at.index())).with_displaced(0);
        memory.store(at.index(), control.with_count(0).0);
        bump(memory, at);
    }
    for (hash, item) in keys {
        let high = place(hash.position()) << depth >> 31 == 1;
        let fits = place_slot(memory, if high { right } else { left }, hash, item);
        // Each had its place among all of them, in the same order of buckets; with fewer there
        // is no less room. A key left out would be lost, so the process ends instead.
        assert!(fits, "a key lost its place in a split");
    }
}

fn free_below(
    arena: &Arena,
    pages: &mut Pages,
    word: DirectoryWord,
    level: u32,
    budget: &mut usize,
) -> bool {
    let memory = arena.memory();
    if !word.is_node() {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        pages.give(arena, word.address(), LEAF_WORDS);
        return true;
    }
    if level > u32::BITS / NODE_BITS {
        return true;
    }
    let mut i = 0;
    while i < NODE_WORDS {
        let at = word.address().plus(i);
        let child = DirectoryWord(memory.load(at.index()));
        let below = (level + 1) * NODE_BITS;
        let span = if child.is_node() || child.is_empty() {
            1
        } else {
            1 << below.saturating_sub(child.depth())
        };
        if !child.is_empty() && !free_below(arena, pages, child, level + 1, budget) {
            return false;
        }
        for n in 0..span {
            memory.store(at.plus(n).index(), 0);
        }
        i += span;
    }
    pages.give(arena, word.address(), NODE_WORDS);
    true
}

/// Whether `segment` is one of the index's own; for the checker.
pub(crate) fn is_index_segment(arena: &Arena, segment: SegmentId) -> bool {
    let used_for = arena.meta(segment).used_for.get();
    used_for == Use::Leaves as u32 || used_for == Use::Nodes as u32
}
