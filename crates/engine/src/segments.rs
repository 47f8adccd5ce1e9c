//! The segments that hold a shard's items: appending, counting the dead, choosing whom to empty.
//!
//! A segment is open (items are appended) or sealed. Sealed ones stand in 16 lists by how much of
//! them is dead, so that the sparsest is found at once. A sealed segment without live items is
//! given back in the same step.
//! What always holds: `live` of a segment is the words of its items that aren't marked dead;
//! `used` and `live` of the whole are the sums.
//! Not for: the index. Whoever kills an item has taken it out there.

use crate::arena::{Arena, SegmentMeta, Use};
use crate::effect::Full;
use crate::index::Index;
use crate::limits::{BANDS_MAX, DEAD_PER_MILLE, RESERVE_SEGMENTS};
use layout::{Address, Header, SEGMENT_WORDS, SegmentId};
use std::collections::BTreeSet;

const CLASSES: usize = 16;
const CLASS_WORDS: usize = SEGMENT_WORDS / CLASSES;
const NONE: u32 = u32::MAX;

/// One database's keys in one shard.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) index: Index,
    /// All its segments.
    pub(crate) segments: Vec<SegmentId>,
    /// The open one of each band.
    pub(crate) open: [Option<SegmentId>; BANDS_MAX],
    /// Keys that have a deadline.
    pub(crate) deadlines: u64,
    /// Keys that are sessions.
    pub(crate) sessions: u64,
    /// Sessions by their users: of each the hash of the user's name and that of its key.
    pub(crate) users: BTreeSet<(u64, u64)>,
}

impl Directory {
    pub(crate) const fn new(index: Index) -> Self {
        Self {
            index,
            segments: Vec::new(),
            open: [None; BANDS_MAX],
            deadlines: 0,
            sessions: 0,
            users: BTreeSet::new(),
        }
    }
}

impl Directory {
    /// Empties the users' lists, so many entries at a time as cost about as much as one segment;
    /// whether they are empty.
    pub(crate) fn forget_users(&mut self, budget: &mut usize) -> bool {
        const ENTRIES: usize = 64;
        while !self.users.is_empty() {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            for _ in 0..ENTRIES {
                self.users.pop_first();
            }
        }
        true
    }
}

/// The item segments of a shard.
#[derive(Debug)]
pub(crate) struct Space {
    /// First segment of each class of sealed ones; the first class has the most dead words.
    classes: [u32; CLASSES],
    /// Segments kept free for relocation.
    reserve: Vec<SegmentId>,
    /// Words appended to segments that are in use; a sealed one counts as full.
    pub(crate) used: usize,
    /// Words of live items.
    pub(crate) live: usize,
    /// Words at the ends of sealed segments that the next item was too large for.
    tails: usize,
    /// Whether a segment was opened for clients since somebody asked.
    pub(crate) opened: bool,
}

impl Space {
    pub(crate) const fn new() -> Self {
        Self {
            classes: [NONE; CLASSES],
            reserve: Vec::new(),
            used: 0,
            live: 0,
            tails: 0,
            opened: false,
        }
    }

    /// Room for `words` in the open segment of `band`. Relocation may use the reserve.
    #[inline]
    pub(crate) fn append(
        &mut self,
        arena: &Arena,
        directory: &mut Directory,
        (id, band): (u32, usize),
        words: usize,
        relocating: bool,
    ) -> Result<Address, Full> {
        if let Some(Some(segment)) = directory.open.get(band).copied() {
            let meta = arena.meta(segment);
            let used = meta.used.get() as usize;
            if used + words <= SEGMENT_WORDS {
                return Ok(self.extend(arena, segment, used, words));
            }
            self.seal(arena, segment);
            self.set_open(directory, band, None);
        }
        let segment = self.take(arena, relocating)?;
        self.opened |= !relocating;
        let meta = arena.meta(segment);
        meta.directory.set(id);
        meta.place.set(directory.segments.len() as u32);
        directory.segments.push(segment);
        self.set_open(directory, band, Some(segment));
        Ok(self.extend(arena, segment, 0, words))
    }

    /// Counts the item at `at` as dead and marks its header. True if that emptied a sealed
    /// segment, which the caller then has to [`Space::retire`].
    pub(crate) fn kill(&mut self, arena: &Arena, at: Address, header: Header) -> bool {
        arena.memory().store(at.index(), header.dead().0[0]);
        let meta = arena.meta(at.segment());
        let before = meta.live.get() as usize;
        let after = before - header.words();
        self.live -= header.words();
        if meta.sealed.get() == 0 {
            meta.live.set(after as u32);
            return false;
        }
        let tail = SEGMENT_WORDS - meta.used.get() as usize;
        if class(before + tail) != class(after + tail) {
            self.unlink(arena, at.segment());
            meta.live.set(after as u32);
            self.link(arena, at.segment());
        } else {
            meta.live.set(after as u32);
        }
        after == 0
    }

    /// Gives back a segment without live items, open or sealed.
    pub(crate) fn retire(&mut self, arena: &Arena, directory: &mut Directory, id: SegmentId) {
        let meta = arena.meta(id);
        if meta.sealed.get() == 0 {
            self.used -= meta.used.get() as usize;
        } else {
            self.unlink(arena, id);
            self.used -= SEGMENT_WORDS;
            self.tails -= SEGMENT_WORDS - meta.used.get() as usize;
        }
        for open in directory.open.iter_mut().filter(|open| **open == Some(id)) {
            *open = None;
        }
        let place = meta.place.get() as usize;
        directory.segments.swap_remove(place);
        if let Some(moved) = directory.segments.get(place) {
            arena.meta(*moved).place.set(place as u32);
        }
        arena.give(id);
        self.fill_reserve(arena);
    }

    /// As [`Space::retire`], of a segment whose live items nobody wants any more.
    pub(crate) fn abandon(&mut self, arena: &Arena, directory: &mut Directory, id: SegmentId) {
        self.live -= arena.meta(id).live.get() as usize;
        self.retire(arena, directory, id);
    }

    /// Words of dead items: what relocation can gain back. Tails aren't among them.
    pub(crate) const fn dead(&self) -> usize {
        self.used - self.live - self.tails
    }

    /// Whether enough is dead for relocation to pay.
    pub(crate) const fn is_sparse(&self) -> bool {
        self.dead() * 1000 > self.used * DEAD_PER_MILLE && self.used > 4 * SEGMENT_WORDS
    }

    /// The sealed segment with the most dead words, as far as classes tell.
    pub(crate) fn sparsest(&self) -> Option<SegmentId> {
        // Emptying one of the fullest class gains next to nothing.
        let worthwhile = self.classes.iter().take(CLASSES - 1);
        worthwhile.copied().find(|first| *first != NONE).map(SegmentId)
    }

    /// Takes free segments for relocation while there are any.
    pub(crate) fn fill_reserve(&mut self, arena: &Arena) {
        while self.reserve.len() < RESERVE_SEGMENTS {
            let Some(segment) = arena.take(Use::Items) else { return };
            self.reserve.push(segment);
        }
    }

    fn take(&mut self, arena: &Arena, relocating: bool) -> Result<SegmentId, Full> {
        let taken = arena.take(Use::Items);
        taken.or_else(|| if relocating { self.reserve.pop() } else { None }).ok_or(Full)
    }

    #[inline]
    fn extend(&mut self, arena: &Arena, id: SegmentId, used: usize, words: usize) -> Address {
        let meta = arena.meta(id);
        meta.used.set((used + words) as u32);
        meta.live.set(meta.live.get() + words as u32);
        self.used += words;
        self.live += words;
        id.start().plus(used)
    }

    fn seal(&mut self, arena: &Arena, id: SegmentId) {
        let meta = arena.meta(id);
        let tail = SEGMENT_WORDS - meta.used.get() as usize;
        self.used += tail;
        self.tails += tail;
        meta.sealed.set(1);
        self.link(arena, id);
    }

    fn set_open(&self, directory: &mut Directory, band: usize, segment: Option<SegmentId>) {
        if let Some(open) = directory.open.get_mut(band) {
            *open = segment;
        }
    }

    fn link(&mut self, arena: &Arena, id: SegmentId) {
        let meta = arena.meta(id);
        let Some(first) = self.classes.get_mut(class_of(meta)) else { return };
        meta.previous.set(NONE);
        meta.next.set(*first);
        if *first != NONE {
            arena.meta(SegmentId(*first)).previous.set(id.0);
        }
        *first = id.0;
    }

    fn unlink(&mut self, arena: &Arena, id: SegmentId) {
        let meta = arena.meta(id);
        let (previous, next) = (meta.previous.get(), meta.next.get());
        if previous != NONE {
            arena.meta(SegmentId(previous)).next.set(next);
        } else if let Some(first) = self.classes.get_mut(class_of(meta)) {
            *first = next;
        }
        if next != NONE {
            arena.meta(SegmentId(next)).previous.set(previous);
        }
    }
}

/// The list for a sealed segment.
fn class_of(meta: &SegmentMeta) -> usize {
    class(meta.live.get() as usize + SEGMENT_WORDS - meta.used.get() as usize)
}

/// The list for a segment with this many words that aren't dead.
const fn class(kept: usize) -> usize {
    let class = kept / CLASS_WORDS;
    if class < CLASSES { class } else { CLASSES - 1 }
}
