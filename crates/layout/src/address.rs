//! Where things are: segments, word addresses, index slots, buckets, leaves and nodes.
//!
//! ```text
//! arena     segment 0 | segment 1 | segment 2 | ...          64 KiB each, 8,192 words
//! address   41 bits: segment (28) | word within it (13)      = the word's number in the arena
//!
//! slot      63            41 40                            0
//!           | tag (23 bits) | address of an item (41 bits) |   0 = empty
//!
//! bucket    word 0  control: | version (40) | leaf's keys (16, first bucket only) | displaced (8) |
//!           word 1..8  seven slots
//! leaf      32 buckets, 2 KiB           node   64 directory words, 512 bytes
//! ```
//!
//! What always holds: address 0 belongs to the arena's own header, so a slot of 0 is empty.

/// The size of a segment in bytes.
pub const SEGMENT_BYTES: usize = 64 * 1024;
/// The size of a segment in words.
pub const SEGMENT_WORDS: usize = SEGMENT_BYTES / 8;
/// Words in an index bucket: a control word and seven slots, one cache line.
pub const BUCKET_WORDS: usize = 8;
/// Slots in a bucket.
pub const BUCKET_SLOTS: usize = 7;
/// Buckets in a leaf of the index.
pub const LEAF_BUCKETS: usize = 32;
/// Words in a leaf of the index.
pub const LEAF_WORDS: usize = LEAF_BUCKETS * BUCKET_WORDS;
/// Slots in a leaf of the index.
pub const LEAF_SLOTS: usize = LEAF_BUCKETS * BUCKET_SLOTS;
/// Directory words in a node above the leaves.
pub const NODE_WORDS: usize = 64;

const SEGMENT_SHIFT: u32 = SEGMENT_WORDS.trailing_zeros();
pub(crate) const ADDRESS_BITS: u32 = 41;
/// The largest number of segments that an arena can have.
pub const SEGMENTS_MAX: usize = 1 << (ADDRESS_BITS - SEGMENT_SHIFT);

const _: () = assert!(BUCKET_WORDS * 8 == 64);
const _: () = assert!(LEAF_WORDS * 8 == 2048);
const _: () = assert!(SEGMENT_WORDS == 1 << 13);

/// The number of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentId(pub u32);

impl SegmentId {
    /// The address of the segment's first word.
    #[inline]
    pub const fn start(self) -> Address {
        Address((self.0 as u64) << SEGMENT_SHIFT)
    }

    /// The segment's place in tables.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of a word in the arena.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address(pub u64);

impl Address {
    /// The segment that holds the word.
    #[inline]
    pub const fn segment(self) -> SegmentId {
        SegmentId((self.0 >> SEGMENT_SHIFT) as u32)
    }

    /// The word's place within its segment.
    #[inline]
    pub const fn offset(self) -> usize {
        (self.0 as usize) & (SEGMENT_WORDS - 1)
    }

    /// The address `words` further on.
    #[inline]
    pub const fn plus(self, words: usize) -> Self {
        Self(self.0 + words as u64)
    }

    /// The word's place in the arena.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One slot of a bucket: a tag of the key's hash and the address of its item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(pub u64);

impl Slot {
    /// The slot that holds nothing.
    pub const EMPTY: Self = Self(0);

    /// A slot for the item at `address`.
    #[inline]
    pub const fn new(tag: u32, address: Address) -> Self {
        Self((tag as u64) << ADDRESS_BITS | address.0)
    }

    /// Whether it holds nothing.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// 23 bits of the key's hash.
    #[inline]
    pub const fn tag(self) -> u32 {
        (self.0 >> ADDRESS_BITS) as u32
    }

    /// Where the item is.
    #[inline]
    pub const fn address(self) -> Address {
        Address(self.0 & ((1 << ADDRESS_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_keep_tag_and_address() {
        let address = SegmentId(0x0fff_fffe).start().plus(8191);
        let slot = Slot::new(0x7f_ffff, address);
        assert_eq!((slot.tag(), slot.address()), (0x7f_ffff, address));
        assert_eq!((address.segment(), address.offset()), (SegmentId(0x0fff_fffe), 8191));
        assert_eq!(SEGMENTS_MAX, 1 << 28);
    }
}
