//! The arena as an array of 8-byte words.
//!
//! What always holds: words are read and written by relaxed atomic operations of exactly eight
//! bytes, so that a reader in another process never meets a torn word and no access mixes sizes.
//! Order between words is the business of the caller (bucket versions, shard locks).
//! Not for: owning the mapping; whoever made it keeps it alive.

use crate::address::BUCKET_SLOTS;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// A borrowed view of a mapping as words. Copies of it all see the same memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: every access through `Memory` is atomic, except `bytes`, whose contract names the lock
// that the caller must hold.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// A view of `words` words at `base`.
    ///
    /// # Safety
    /// `base` is aligned to eight bytes and valid for reads and writes of `words * 8` bytes for
    /// as long as any copy of the view is used; all other access to that memory is atomic.
    pub const unsafe fn new(base: NonNull<u8>, words: usize) -> Self {
        Self { base: base.cast(), words }
    }

    /// The number of words.
    pub const fn words(&self) -> usize {
        self.words
    }

    /// The word at `at`. An address past the end is a broken invariant and ends the process.
    #[inline(always)]
    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.words, "an address past the end of the arena");
        // SAFETY: `at` is inside the mapping, which outlives `self` by the contract of `new`.
        unsafe { &*self.base.as_ptr().add(at) }
    }

    /// Reads the word at `at`.
    #[inline(always)]
    pub fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Relaxed)
    }

    /// Writes the word at `at`.
    #[inline(always)]
    pub fn store(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Relaxed);
    }

    /// The words `at .. at + count`, checked once.
    #[inline(always)]
    pub fn range(&self, at: usize, count: usize) -> &[AtomicU64] {
        assert!(at <= self.words && count <= self.words - at, "a range past the end of the arena");
        // SAFETY: the range is inside the mapping, which outlives `self` by the contract of `new`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(at), count) }
    }

    /// The control word and the slots of the index bucket at `at`.
    #[inline(always)]
    pub fn bucket(&self, at: usize) -> (&AtomicU64, &[AtomicU64; BUCKET_SLOTS]) {
        assert!(at < self.words && self.words - at > BUCKET_SLOTS, "a bucket past the end");
        // SAFETY: the eight words are inside the mapping, which outlives `self` by the contract of
        // `new`.
        unsafe {
            let control = self.base.as_ptr().add(at);
            (&*control, &*control.add(1).cast::<[AtomicU64; BUCKET_SLOTS]>())
        }
    }

    /// The bytes `skip .. skip + len` counted from the word `at`.
    ///
    /// # Safety
    /// No word of the range is written while the slice lives: the caller holds the lock of the
    /// shard that owns the segment, and holds it for reading only.
    #[inline(always)]
    pub unsafe fn bytes(&self, at: usize, skip: usize, len: usize) -> &[u8] {
        let end = skip.saturating_add(len).div_ceil(8);
        assert!(at <= self.words && end <= self.words - at, "bytes past the end of the arena");
        // SAFETY: the range is inside the mapping; the caller keeps writers away.
        unsafe {
            std::slice::from_raw_parts(self.base.as_ptr().add(at).cast::<u8>().add(skip), len)
        }
    }

    /// Asks the processor to fetch the cache line of the word `at`; any address is fine.
    #[inline(always)]
    pub fn prefetch(&self, at: usize) {
        if at < self.words {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the address is inside the mapping, and a prefetch reads nothing.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(self.base.as_ptr().add(at).cast());
            }
        }
    }
}

/// Writes bytes into words one after the other, whatever pieces they come in.
///
/// Every word is stored once; the last one is filled up with zeros by [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<'m> {
    words: &'m [AtomicU64],
    next: usize,
    held: u64,
    held_bytes: usize,
}

impl<'m> Writer<'m> {
    /// A writer over `count` words from `at` on.
    #[inline]
    pub fn new(memory: &'m Memory, at: usize, count: usize) -> Self {
        Self { words: memory.range(at, count), next: 0, held: 0, held_bytes: 0 }
    }

    /// Stores one whole word; only between whole words.
    #[inline]
    pub fn word(&mut self, value: u64) {
        debug_assert_eq!(self.held_bytes, 0, "a word in the middle of bytes");
        self.push(value);
    }

    /// Appends bytes.
    #[inline]
    pub fn bytes(&mut self, mut bytes: &[u8]) {
        if self.held_bytes > 0 {
            let take = bytes.len().min(8 - self.held_bytes);
            let (head, rest) = bytes.split_at(take);
            self.held |= partial(head) << (8 * self.held_bytes);
            self.held_bytes += take;
            bytes = rest;
            if self.held_bytes < 8 {
                return;
            }
            let full = self.held;
            self.held = 0;
            self.held_bytes = 0;
            self.push(full);
        }
        let (whole, rest) = bytes.as_chunks::<8>();
        let end = self.next.saturating_add(whole.len());
        let Some(target) = self.words.get(self.next..end) else { overflow() };
        for (word, chunk) in target.iter().zip(whole) {
            word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        self.next = end;
        self.held = partial(rest);
        self.held_bytes = rest.len();
    }

    /// Stores what is left, filled up with zeros, and answers how many words were written.
    #[inline]
    pub fn finish(mut self) -> usize {
        if self.held_bytes > 0 {
            let last = self.held;
            self.push(last);
        }
        self.next
    }

    #[inline]
    fn push(&mut self, value: u64) {
        let Some(word) = self.words.get(self.next) else { overflow() };
        word.store(value, Ordering::Relaxed);
        self.next += 1;
    }
}

#[cold]
#[expect(clippy::panic, reason = "a size computed wrong must not corrupt a neighbour")]
fn overflow() -> ! {
    panic!("a write past the end of its place in the arena")
}

/// Up to seven bytes as the low end of a word.
#[inline(always)]
fn partial(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_any_pieces_read_back_the_same() {
        let text: Vec<u8> = (0..100u8).collect();
        for cut in 0..text.len() {
            let mut storage = vec![u64::MAX; 16];
            let base = NonNull::new(storage.as_mut_ptr().cast::<u8>()).unwrap();
            // SAFETY: `storage` outlives `memory` and is used through it alone.
            let memory = unsafe { Memory::new(base, 16) };
            let mut writer = Writer::new(&memory, 1, 14);
            writer.word(7);
            writer.bytes(&text[..cut]);
            writer.bytes(&text[cut..]);
            assert_eq!(writer.finish(), 14);
            assert_eq!(memory.load(1), 7);
            // SAFETY: nobody writes any more.
            assert_eq!(unsafe { memory.bytes(2, 0, 100) }, &text[..]);
            assert_eq!(memory.load(0), u64::MAX);
            assert_eq!(memory.load(15), u64::MAX);
            assert_eq!(memory.load(14) >> 32, 0, "the last word is filled up with zeros");
        }
    }
}
