//! The engine's arena over the mapping: segments of one memory file.

use engine::{Backing, Memory, SEGMENT_WORDS, SegmentId};

use super::arena::{GRAIN, Mapping};

const WORD: usize = size_of::<u64>();

const _: () = assert!(engine::arena::GROUP_SEGMENTS * SEGMENT_WORDS * WORD == GRAIN);

impl Backing for Mapping {
    fn memory(&self) -> Memory {
        // SAFETY: the mapping is page-aligned, readable and writable over its whole length, and stays
        // so while `self` lives, which the arena owns beside the view. Nothing else in this process
        // touches its bytes.
        unsafe { Memory::new(self.base(), self.len() / WORD) }
    }

    fn populate(&self, segment: SegmentId) {
        let bytes = SEGMENT_WORDS * WORD;
        let start = segment.index() * bytes;
        Self::populate(self, start..start + bytes);
    }

    fn join(&self, group: usize) -> bool {
        Self::join(self, group * GRAIN..(group + 1) * GRAIN)
    }

    fn release(&self, segment: SegmentId) {
        let bytes = SEGMENT_WORDS * WORD;
        let start = segment.index() * bytes;
        // Punching a range inside the file can't fail; if it did, the pages would just stay.
        let _ = self.punch(start..start + bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_released_segment_gives_its_memory_back() {
        let map = Mapping::create("test", 4 << 20).unwrap();
        let memory = map.memory();
        assert_eq!(memory.words() * WORD, map.len());
        let segment = SegmentId(3);
        let at = segment.index() * SEGMENT_WORDS;
        let blocks = || rustix::fs::fstat(map.file()).unwrap().st_blocks;
        for word in 0..SEGMENT_WORDS {
            memory.word(at + word).store(7, Ordering::Relaxed);
        }
        assert_eq!(blocks() * 512, 64 << 10);
        map.release(segment);
        assert_eq!(blocks(), 0);
        assert_eq!(memory.word(at).load(Ordering::Relaxed), 0);
    }
}
