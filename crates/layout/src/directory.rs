//! The way from a key's hash to its index leaf.
//!
//! Above the leaves stands a trie of nodes, six bits a level, over the key's *place*: its 32-bit
//! position, skewed so that some regions of the trie are up to twice as dense as others. With
//! plain hashing every leaf fills at the same moment and all split together, so that right after
//! a wave of splits the index is half empty; skewed, the splits spread evenly over a doubling of
//! the keys, and the fill (hence bytes per key) is the same at any number of keys.
//!
//! ```text
//! directory word  63        62..40                41..6 -> 35..0
//!                 | node? | depth (6) | generation (21) | unit address >> 6 (35) |   0 = nothing
//! ```
//! The address counts 512-byte units (64 words): a node is one, a leaf is four.
//! The generation differs each time a leaf or node is put in place, and is never reused while a
//! reader may hold an old word.
//!
//! What always holds: places keep the order of positions, so SCAN's order is the directory's.

use crate::address::{Address, BUCKET_WORDS, LEAF_BUCKETS, NODE_WORDS, Slot};
use crate::hash::KeyHash;
use crate::memory::Memory;
use std::sync::atomic::Ordering;

/// Bits of the place that one node decides.
pub const NODE_BITS: u32 = NODE_WORDS.trailing_zeros();
/// How many buckets after its home one a key may be displaced to.
pub const PROBE_MAX: usize = 7;

const UNIT_SHIFT: u32 = 6;
const UNIT_BITS: u32 = 35;
const GENERATION_BITS: u32 = 21;
const DEPTH_SHIFT: u32 = UNIT_BITS + GENERATION_BITS;
const NODE_FLAG: u64 = 1 << 63;
const DISPLACED_MASK: u64 = 0xff;
const COUNT_SHIFT: u32 = 8;
const COUNT_MASK: u64 = 0xffff << COUNT_SHIFT;
const VERSION_ONE: u64 = 1 << 24;

const _: () = assert!(DEPTH_SHIFT + 6 <= 63);

/// Skews a position into a place; keeps order. One multiplication.
#[inline(always)]
pub const fn place(position: u32) -> u32 {
    let p = position as u64;
    // p + p(1 - p)/3 in units of 2^32: the slope falls from 4/3 to 2/3.
    (p + ((p * ((1 << 32) - p)) >> 32) / 3) as u32
}

/// The smallest position whose place is `at` or more.
pub fn first_position(at: u32) -> u32 {
    let (mut low, mut high) = (0u64, u64::from(u32::MAX));
    while low < high {
        let middle = low.midpoint(high);
        if place(middle as u32) >= at { high = middle } else { low = middle + 1 }
    }
    low as u32
}

/// One word of the directory: nothing, a leaf, or a node of 64 further words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryWord(pub u64);

impl DirectoryWord {
    /// Refers to nothing.
    pub const EMPTY: Self = Self(0);

    /// A leaf that holds the keys whose places agree in `depth` leading bits.
    pub const fn leaf(at: Address, depth: u32, generation: u64) -> Self {
        Self(
            (depth as u64) << DEPTH_SHIFT
                | (generation & ((1 << GENERATION_BITS) - 1)) << UNIT_BITS
                | at.0 >> UNIT_SHIFT,
        )
    }

    /// A node of 64 words.
    pub const fn node(at: Address, depth: u32, generation: u64) -> Self {
        Self(Self::leaf(at, depth, generation).0 | NODE_FLAG)
    }

    /// Whether there is nothing here.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it refers to a node.
    #[inline]
    pub const fn is_node(self) -> bool {
        self.0 & NODE_FLAG != 0
    }

    /// Where the leaf or node is.
    #[inline]
    pub const fn address(self) -> Address {
        Address((self.0 & ((1 << UNIT_BITS) - 1)) << UNIT_SHIFT)
    }

    /// How many leading bits of the place it stands for.
    #[inline]
    pub const fn depth(self) -> u32 {
        (self.0 >> DEPTH_SHIFT) as u32 & 63
    }
}

/// A leaf found for a place, and where the words that refer to it stand.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The word of the leaf; [`DirectoryWord::EMPTY`] if the directory is.
    pub leaf: DirectoryWord,
    /// The address of the word that was followed last.
    pub word: Address,
    /// How many leading bits of the place the container of `word` can tell apart: 0 for the root
    /// word, else six more than at the level above.
    pub limit: u32,
}

/// Walks from the root word at `root` to the leaf of `place`.
#[inline]
pub fn descend(memory: &Memory, root: Address, place: u32) -> Found {
    descend_from(memory, DirectoryWord(memory.load(root.index())), root, place)
}

/// As [`descend`], from a root word that was read before at `root`.
#[inline]
pub fn descend_from(memory: &Memory, word: DirectoryWord, root: Address, place: u32) -> Found {
    let (mut at, mut word, mut limit) = (root, word, 0);
    // Each level decides six bits, so the walk ends; the bound is for words that a reader
    // catches in mid-change.
    while word.is_node() && limit < u32::BITS {
        let index = (place << limit) >> (u32::BITS - NODE_BITS);
        at = word.address().plus(index as usize);
        word = DirectoryWord(memory.load(at.index()));
        limit += NODE_BITS;
    }
    Found { leaf: word, word: at, limit }
}

/// The bucket `index` (taken modulo the leaf's size) of a leaf.
#[inline(always)]
pub const fn bucket(leaf: Address, index: usize) -> Address {
    leaf.plus((index % LEAF_BUCKETS) * BUCKET_WORDS)
}

/// The control word of a bucket: its version, and how many keys at home here live elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Control(pub u64);

impl Control {
    /// How many keys whose home is this bucket stand in a later one.
    #[inline(always)]
    pub const fn displaced(self) -> u64 {
        self.0 & DISPLACED_MASK
    }

    /// The keys of the whole leaf; kept in its first bucket only.
    #[inline]
    pub const fn count(self) -> u64 {
        (self.0 & COUNT_MASK) >> COUNT_SHIFT
    }

    /// The same with another number of displaced keys.
    #[must_use]
    pub const fn with_displaced(self, displaced: u64) -> Self {
        Self(self.0 & !DISPLACED_MASK | displaced)
    }

    /// The same with another number of keys in the leaf.
    #[must_use]
    pub const fn with_count(self, count: u64) -> Self {
        Self(self.0 & !COUNT_MASK | count << COUNT_SHIFT)
    }

    /// The same with the next version: odd while a change is under way, even when it's done.
    #[must_use]
    #[inline]
    pub const fn bumped(self) -> Self {
        Self(self.0.wrapping_add(VERSION_ONE))
    }

    /// The version.
    pub const fn version(self) -> u64 {
        self.0 >> 24
    }
}

/// Finds the slot of a key: `is` is asked about each item whose tag fits.
///
/// Answers the slot's own address. The key's home bucket is looked at first; later ones only if
/// some key of that home was displaced.
#[inline]
pub fn find_slot(
    memory: &Memory,
    leaf: Address,
    hash: KeyHash,
    mut is: impl FnMut(Address) -> bool,
) -> Option<Address> {
    let home = hash.bucket();
    // One comparison tells tag and emptiness: tags agree where the difference is an address.
    let wanted = Slot::new(hash.tag(), Address(0)).0;
    let mut step = 0;
    loop {
        let at = bucket(leaf, home + step);
        let (control, slots) = memory.bucket(at.index());
        for (i, word) in slots.iter().enumerate() {
            let slot = Slot(word.load(Ordering::Relaxed));
            if slot.0 ^ wanted < ADDRESS_END && !slot.is_empty() && is(slot.address()) {
                return Some(at.plus(i + 1));
            }
        }
        let displaced = Control(control.load(Ordering::Relaxed)).displaced();
        if step == 0 && displaced == 0 || step == PROBE_MAX {
            return None;
        }
        step += 1;
    }
}

/// One past the largest address.
const ADDRESS_END: u64 = 1 << crate::address::ADDRESS_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_the_order_of_positions() {
        let mut last = 0;
        for position in (0..=u32::MAX).step_by(65_521) {
            let here = place(position);
            assert!(here >= last);
            last = here;
            assert!(first_position(here) <= position);
        }
        assert_eq!((place(0), place(u32::MAX)), (0, u32::MAX));
        assert_eq!(first_position(0), 0);
    }

    #[test]
    fn dense_regions_are_twice_as_dense_as_thin_ones() {
        let keys = |from: u32, to: u32| f64::from(first_position(to) - first_position(from));
        let thin = keys(0, 1 << 20);
        let dense = keys(u32::MAX - (1 << 20), u32::MAX);
        assert!((dense / thin - 2.0).abs() < 0.01, "{}", dense / thin);
    }

    #[test]
    fn words_keep_what_they_are_given() {
        let at = Address(0x1_0000_0040 & !63);
        let word = DirectoryWord::leaf(at, 32, 0x3f_ffff);
        assert_eq!((word.address(), word.depth(), word.is_node()), (at, 32, false));
        assert!(DirectoryWord::node(at, 6, 1).is_node());
    }
}
