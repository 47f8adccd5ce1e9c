//! The arena: one mapping, cut into segments that all shards take from one pool.
//!
//! A segment is free, or belongs to one shard, which alone reads and writes its bytes and its
//! [`SegmentMeta`] under its lock. What always holds: at most `limit` segments are populated
//! (hold memory), except while the limit is being lowered; a segment that once held index pages
//! holds index pages for ever, so that a reader in another process that follows an old address
//! never takes value bytes for a bucket.
//!
//! Not for: making the mapping. A [`Backing`] brings it.

use layout::{Address, Memory, SEGMENT_WORDS, SegmentId};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::limits::READY_SEGMENTS;

/// Segments that make 2 MiB: what a system may keep as one huge page.
pub const GROUP_SEGMENTS: usize = 32;
/// Marks a group that is one piece, in its count of populated segments.
const JOINED: u8 = 0x80;

/// Where the arena's memory comes from.
pub trait Backing: Send + Sync {
    /// The mapping; the same for the backing's whole life.
    fn memory(&self) -> Memory;
    /// A segment without memory is about to be written: its memory may be brought at once.
    fn populate(&self, _segment: SegmentId) {}
    /// All segments of the `group`-th [`GROUP_SEGMENTS`] hold memory: it may be made one piece.
    /// Whether it was.
    fn join(&self, _group: usize) -> bool {
        false
    }
    /// Gives a segment's memory back to the system. Its bytes may read as anything afterwards.
    fn release(&self, segment: SegmentId);
}

/// What a segment is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Free.
    Free = 0,
    /// Items.
    Items = 1,
    /// Leaves of an index.
    Leaves = 2,
    /// Nodes of an index.
    Nodes = 3,
    /// A piece of a long value.
    Long = 4,
}

/// A number that only the owner of a segment changes; atomic because the table is shared.
#[derive(Debug, Default)]
pub struct Owned32(AtomicU32);

impl Owned32 {
    /// The number.
    #[inline]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    #[inline]
    pub fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// As [`Owned32`], of 64 bits.
#[derive(Debug, Default)]
pub struct Owned64(AtomicU64);

impl Owned64 {
    /// The number.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What is known of a segment; kept outside of it, so that a segment is all payload.
#[derive(Debug, Default)]
pub struct SegmentMeta {
    /// A [`Use`].
    pub used_for: Owned32,
    /// Words written so far, dead items included.
    pub used: Owned32,
    /// Words of live items; of an index segment, units in use.
    pub live: Owned32,
    /// Live items that own memory elsewhere (long and heap values).
    pub owning: Owned32,
    /// Counts the segment's lives, so that an old note about it shows as such.
    pub life: Owned32,
    /// The directory that its items belong to.
    pub directory: Owned32,
    /// Whether it's full: nothing is appended any more, and it's in the list of its class.
    pub sealed: Owned32,
    /// Neighbours in the list of segments with about as many live words.
    pub previous: Owned32,
    /// See `previous`.
    pub next: Owned32,
    /// Its place in its directory's list of segments.
    pub place: Owned32,
    /// A time before which none of its items that aren't filed in the wheel is due; `u64::MAX`
    /// if none ever is.
    pub due: Owned64,
}

const _: () = assert!(size_of::<SegmentMeta>() == 48);

/// The mapping and the pool of its segments.
pub struct Arena {
    backing: Box<dyn Backing>,
    memory: Memory,
    /// Metadata of 1,024 segments each, made when the first of them is used.
    meta: Box<[OnceLock<Box<[SegmentMeta]>>]>,
    pool: Mutex<Pool>,
    populated: AtomicUsize,
    limit: AtomicUsize,
    /// Of each group, how many segments hold memory.
    groups: Box<[AtomicU8]>,
}

/// Stands for a shard's right to read the segments that it took: slices into them borrow it, so
/// that nothing is written while they live.
#[derive(Debug)]
pub(crate) struct Owner(());

impl Owner {
    /// One for each shard.
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

const META_CHUNK: usize = 1024;

#[derive(Debug, Default)]
struct Pool {
    /// The first segment that was never used.
    fresh: u32,
    /// Free segments that hold memory.
    ready: Vec<u32>,
    /// Free segments whose memory was given back.
    empty: Vec<u32>,
    /// As `empty`, of those that held index pages.
    empty_index: Vec<u32>,
}

impl Arena {
    /// An arena over the whole of `backing`, of which `limit` segments may be populated.
    pub fn new(backing: Box<dyn Backing>, limit: usize) -> Self {
        let memory = backing.memory();
        let segments = memory.words() / SEGMENT_WORDS;
        let meta = (0..segments.div_ceil(META_CHUNK)).map(|_| OnceLock::new()).collect();
        // Segment 0 is the arena's own header.
        let pool = Mutex::new(Pool { fresh: 1, ..Pool::default() });
        let limit = AtomicUsize::new(limit.min(segments));
        let groups = (0..segments.div_ceil(GROUP_SEGMENTS)).map(|_| AtomicU8::new(0)).collect();
        let populated = AtomicUsize::new(1);
        let arena = Self { backing, memory, meta, pool, populated, limit, groups };
        arena.count_group(SegmentId(0), 1);
        arena
    }

    /// The bytes.
    #[inline(always)]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Segments that hold memory, free ones that wait included.
    pub fn populated(&self) -> usize {
        self.populated.load(Ordering::Relaxed)
    }

    /// How many segments may hold memory.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets how many segments may hold memory, at most as many as the mapping has.
    pub fn set_limit(&self, segments: usize) {
        self.limit.store(segments.min(self.memory.words() / SEGMENT_WORDS), Ordering::Relaxed);
        if self.populated() > segments {
            self.release_ready();
        }
    }

    /// Segments that the mapping has.
    pub const fn capacity(&self) -> usize {
        self.memory.words() / SEGMENT_WORDS
    }

    /// Segments that can still be taken.
    pub fn available(&self) -> usize {
        let ready = self.lock().ready.len();
        ready + self.limit().saturating_sub(self.populated())
    }

    /// Takes a segment, or none if the limit is reached.
    pub fn take(&self, used_for: Use) -> Option<SegmentId> {
        let index = matches!(used_for, Use::Leaves | Use::Nodes);
        let mut pool = self.lock();
        if !index && let Some(id) = pool.ready.pop() {
            return Some(self.begin(SegmentId(id), used_for));
        }
        if self.populated() >= self.limit() {
            // An index page may need a place that waits as a free item segment.
            let id = pool.ready.pop().filter(|_| index)?;
            self.depopulate(SegmentId(id));
            pool.empty.push(id);
        }
        let recycled = if index { pool.empty_index.pop() } else { None };
        let id = recycled.or_else(|| if index { None } else { pool.empty.pop() });
        let id = match id {
            Some(id) => id,
            None if (pool.fresh as usize) < self.memory.words() / SEGMENT_WORDS => {
                pool.fresh += 1;
                pool.fresh - 1
            }
            // The mapping is used up: index pages may take what never was one.
            None => pool.empty.pop()?,
        };
        self.populated.fetch_add(1, Ordering::Relaxed);
        drop(pool);
        self.count_group(SegmentId(id), 1);
        self.backing.populate(SegmentId(id));
        Some(self.begin(SegmentId(id), used_for))
    }

    /// Gives a segment back.
    pub fn give(&self, id: SegmentId) {
        let meta = self.meta(id);
        let index =
            meta.used_for.get() == Use::Leaves as u32 || meta.used_for.get() == Use::Nodes as u32;
        meta.used_for.set(Use::Free as u32);
        meta.life.set(meta.life.get().wrapping_add(1));
        let mut pool = self.lock();
        if !index && pool.ready.len() < READY_SEGMENTS && self.populated() <= self.limit() {
            pool.ready.push(id.0);
            return;
        }
        self.depopulate(id);
        let free = if index { &mut pool.empty_index } else { &mut pool.empty };
        free.push(id.0);
    }

    /// What is known of a segment.
    #[inline]
    pub fn meta(&self, id: SegmentId) -> &SegmentMeta {
        let chunk = self.meta.get(id.index() / META_CHUNK).map(|chunk| {
            chunk.get_or_init(|| (0..META_CHUNK).map(|_| SegmentMeta::default()).collect())
        });
        match chunk.and_then(|chunk| chunk.get(id.index() % META_CHUNK)) {
            Some(meta) => meta,
            None => outside(id),
        }
    }

    /// The bytes `skip .. skip + len` counted from `at`, of a segment of `owner`'s.
    #[inline]
    pub(crate) fn bytes<'s>(
        &'s self,
        _owner: &'s Owner,
        at: Address,
        skip: usize,
        len: usize,
    ) -> &'s [u8] {
        // SAFETY: a segment's bytes are written by its shard alone, and a shard writes only in
        // methods that borrow it, and so its `Owner`, mutably; the slice borrows the `Owner`.
        unsafe { self.memory.bytes(at.index(), skip, len) }
    }

    fn begin(&self, id: SegmentId, used_for: Use) -> SegmentId {
        let meta = self.meta(id);
        meta.used_for.set(used_for as u32);
        for number in [&meta.used, &meta.live, &meta.owning, &meta.directory, &meta.sealed] {
            number.set(0);
        }
        meta.due.set(u64::MAX);
        id
    }

    fn release_ready(&self) {
        let mut pool = self.lock();
        while let Some(id) = pool.ready.pop() {
            self.depopulate(SegmentId(id));
            pool.empty.push(id);
        }
    }

    /// Lets the backing make one piece of up to `budget` groups that hold memory everywhere.
    /// For a thread that has nothing else to do: the system copies 2 MiB for each.
    pub fn join_groups(&self, budget: usize) -> usize {
        let mut joined = 0;
        for (group, count) in self.groups.iter().enumerate() {
            let full = GROUP_SEGMENTS as u8;
            if joined < budget && count.load(Ordering::Relaxed) == full {
                // Marked whether it worked or not: it isn't tried twice.
                let _ = count.compare_exchange(
                    full,
                    full | JOINED,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                joined += usize::from(self.backing.join(group));
            }
        }
        joined
    }

    /// Gives a segment's memory back to the system.
    fn depopulate(&self, id: SegmentId) {
        self.backing.release(id);
        self.populated.fetch_sub(1, Ordering::Relaxed);
        self.count_group(id, u8::MAX);
    }

    /// Counts one segment more (1) or less (255) in its group, which is no longer one piece.
    fn count_group(&self, id: SegmentId, by: u8) {
        if let Some(count) = self.groups.get(id.index() / GROUP_SEGMENTS) {
            let next = |count: u8| Some((count & !JOINED).wrapping_add(by));
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        // The pool is consistent between any two statements that could panic.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("populated", &self.populated())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}

#[cold]
#[expect(clippy::panic, reason = "a broken invariant must not become a wrong answer")]
fn outside(id: SegmentId) -> ! {
    panic!("segment {} is outside the arena", id.0)
}

/// A backing on the heap, for tests and tools: zeroed pages that the system fills on first touch.
#[derive(Debug)]
pub struct HeapBacking {
    words: Box<[AtomicU64]>,
}

impl HeapBacking {
    /// Room for `segments` segments.
    pub fn new(segments: usize) -> Self {
        let zeros = vec![0u64; segments * SEGMENT_WORDS].into_boxed_slice();
        // SAFETY: `AtomicU64` has the size, alignment and bit validity of `u64`.
        let words = unsafe { Box::from_raw(Box::into_raw(zeros) as *mut [AtomicU64]) };
        Self { words }
    }
}

impl Backing for HeapBacking {
    fn memory(&self) -> Memory {
        let base = NonNull::from(&*self.words).cast::<u8>();
        // SAFETY: the words live as long as `self`, which the arena owns beside the view; they
        // are atomics with interior mutability, and nothing else uses them.
        unsafe { Memory::new(base, self.words.len()) }
    }

    /// Fills the segment with a pattern, so that whoever still reads it is found out.
    fn release(&self, segment: SegmentId) {
        let start = segment.index() * SEGMENT_WORDS;
        let words = self.words.get(start..start + SEGMENT_WORDS).unwrap_or_default();
        words.iter().for_each(|word| word.store(0xdead_dead_dead_dead, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_index_segments_stay_index_segments() {
        let arena = Arena::new(Box::new(HeapBacking::new(64)), 8);
        let taken: Vec<SegmentId> = std::iter::from_fn(|| arena.take(Use::Items)).collect();
        assert_eq!((taken.len(), arena.populated()), (7, 8));
        arena.give(taken[0]);
        let leaf = arena.take(Use::Leaves).unwrap();
        assert_ne!(leaf, taken[0], "item segments don't become leaves while there are others");
        assert_eq!(arena.take(Use::Items), None);
        arena.give(leaf);
        let items = arena.take(Use::Items).unwrap();
        assert_ne!(items, leaf);
        assert_eq!(arena.populated(), 8);
    }

    #[test]
    fn a_lower_limit_gives_memory_back() {
        let arena = Arena::new(Box::new(HeapBacking::new(64)), 8);
        let taken: Vec<SegmentId> = std::iter::from_fn(|| arena.take(Use::Items)).collect();
        taken.iter().for_each(|id| arena.give(*id));
        assert_eq!(arena.populated(), 8);
        arena.set_limit(2);
        assert_eq!(arena.populated(), 1);
    }
}
