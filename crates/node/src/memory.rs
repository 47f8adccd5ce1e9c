//! The memory cap: what counts, and how room is made.
//!
//! Everything counts: segments that hold memory, and the process's heap, which the shell counts
//! for us. The arena may populate what the heap leaves of the cap. What always holds: a write
//! that would go past the cap evicts (without any lock held) or is refused; but what the files held
//! is loaded past it, up to the arena's size, where the policy leaves it alone.

use crate::Node;
use engine::{Policy, SEGMENT_BYTES};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How much memory there is, and what happens without.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that everything together may take; 0: as much as the arena has.
    pub maxmemory: u64,
    /// What goes when they are used up.
    pub policy: Policy,
    /// How many keys the policy compares: see [`engine::Shard::make_room`].
    pub samples: usize,
}

#[derive(Debug)]
pub(crate) struct Memory {
    limits: Mutex<Limits>,
    /// Copies for the hot path.
    maxmemory: AtomicU64,
    heap: AtomicU64,
    /// Whether more is used than the cap allows, so that commands that need memory must wait.
    short: AtomicBool,
    /// The cap doesn't count for now: what is loaded has to be had.
    lifted: AtomicBool,
    /// The shard that gives room next.
    hand: AtomicUsize,
    /// Live sessions that were evicted.
    evicted_sessions: AtomicU64,
}

impl Memory {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits: Mutex::new(limits),
            maxmemory: AtomicU64::new(limits.maxmemory),
            heap: AtomicU64::new(0),
            short: AtomicBool::new(false),
            lifted: AtomicBool::new(false),
            hand: AtomicUsize::new(0),
            evicted_sessions: AtomicU64::new(0),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.maxmemory.store(limits.maxmemory, Ordering::Relaxed);
    }
}

/// Segments that eviction keeps free, so that writers needn't wait for it.
const LOW_WATER: usize = 24;
/// Nodes of large hashes freed in one step.
const SLICE: usize = 1024;
/// Steps of eviction in one turn.
const STEPS_PER_TURN: usize = 16;

impl Node {
    /// Bytes in use, everything counted.
    pub fn used_memory(&self) -> u64 {
        self.arena_bytes() + self.memory.heap.load(Ordering::Relaxed)
    }

    /// Bytes of segments that hold memory.
    pub fn arena_bytes(&self) -> u64 {
        (self.arena.populated() * SEGMENT_BYTES) as u64
    }

    /// Whether memory is used up and nothing may be evicted, so that most writes are refused.
    pub fn is_full(&self) -> bool {
        // The pool is asked, under its lock, only once all that may hold memory does.
        let at_limit = self.arena.populated() >= self.arena.limit();
        at_limit
            && (self.is_short() || self.arena.available() == 0)
            && self.policy() == Policy::NoEviction
    }

    /// The cap on all memory; 0: as much as the arena has.
    pub fn maxmemory(&self) -> u64 {
        self.memory.maxmemory.load(Ordering::Relaxed)
    }

    /// Live sessions that were evicted since the start, without a lock.
    pub fn evicted_sessions(&self) -> u64 {
        self.memory.evicted_sessions.load(Ordering::Relaxed)
    }

    /// Whether commands that need memory have to make room first.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.memory.short.load(Ordering::Relaxed)
    }

    /// Gives the arena what the heap leaves of the cap. Called every turn.
    pub(crate) fn fit_arena(&self, heap: u64) {
        self.memory.heap.store(heap, Ordering::Relaxed);
        let cap = self.memory.maxmemory.load(Ordering::Relaxed);
        let segments = if cap == 0 || self.memory.lifted.load(Ordering::Relaxed) {
            usize::MAX
        } else {
            (cap.saturating_sub(heap) / SEGMENT_BYTES as u64) as usize
        };
        if segments.min(self.arena.capacity()) != self.arena.limit() {
            self.arena.set_limit(segments);
        }
        let short = self.arena.populated() > self.arena.limit();
        if short != self.is_short() {
            self.memory.short.store(short, Ordering::Relaxed);
        }
    }

    /// Lifts the cap up to what the arena has, until [`Node::settle_cap`], if there are keys that
    /// the policy never evicts: all of them, or those without a deadline. Whether it was lifted.
    pub(crate) fn lift_cap(&self) -> bool {
        let policy = self.policy();
        let takes_all =
            matches!(policy, Policy::AllKeysLru | Policy::AllKeysLfu | Policy::AllKeysRandom);
        if takes_all || self.maxmemory() == 0 {
            return false;
        }
        self.memory.lifted.store(true, Ordering::Relaxed);
        self.heap_shrank(0);
        true
    }

    /// Whether what is loaded may go past the cap.
    pub fn is_cap_lifted(&self) -> bool {
        self.memory.lifted.load(Ordering::Relaxed)
    }

    /// All is loaded: the cap counts again. Whether it was lifted meanwhile.
    pub fn settle_cap(&self) -> bool {
        let was = self.memory.lifted.swap(false, Ordering::Relaxed);
        if was {
            self.heap_shrank(0);
        }
        was
    }

    /// Makes room for a request that found none, with no lock held; harder with each try.
    /// Whether it's worth another try.
    pub(crate) fn make_room(&self, tries: u32, now: u64) -> bool {
        // What is there wasn't enough, so it takes more than that.
        let more = 4usize << tries.min(16);
        let wanted = self.arena.available().saturating_add(more).min(self.arena.limit());
        let mut gained = false;
        let mut idle = 0;
        while self.arena.available() < wanted && idle < self.shard_count() {
            if self.room_in_next(now) {
                gained = true;
                idle = 0;
            } else {
                idle += 1;
            }
        }
        // Whoever waited because memory was short is to see that it no longer is.
        self.heap_shrank(0);
        gained
    }

    /// Keeps some segments free while the policy allows eviction; whether there is more to do.
    pub(crate) fn keep_low_water(&self, now: u64) -> bool {
        let limit = self.arena.limit();
        let low = LOW_WATER.min(limit / 16 + 1);
        if self.policy() == Policy::NoEviction {
            return false;
        }
        for _ in 0..STEPS_PER_TURN {
            if self.arena.available() >= low {
                return false;
            }
            if !self.room_in_next(now) {
                return false;
            }
        }
        true
    }

    /// Frees free memory that waits for reuse.
    pub fn purge(&self) {
        let limit = self.arena.limit();
        self.arena.set_limit(0);
        self.arena.set_limit(limit);
    }

    /// Corrects what the last turn knew of the heap.
    fn heap_shrank(&self, bytes: u64) {
        let heap = self.memory.heap.load(Ordering::Relaxed);
        self.fit_arena(heap.saturating_sub(bytes));
    }

    fn room_in_next(&self, now: u64) -> bool {
        let limits = self.memory.limits();
        let number = self.memory.hand.fetch_add(1, Ordering::Relaxed) % self.shard_count();
        let Some(mut shard) = self.lock(number) else { return false };
        let before = self.arena.available();
        let sessions = shard.stats().evicted_sessions;
        // What a large hash that is gone has on the heap is freed before another key has to go.
        let mut freed = shard.free_hashes(SLICE);
        let mut gained = freed > 0;
        // A few keys at a time: the lock is held for microseconds.
        for _ in 0..8 {
            if freed > 0 || self.arena.available() > before {
                break;
            }
            if !shard.make_room(limits.policy, limits.samples, now) {
                break;
            }
            gained = true;
            freed = shard.free_hashes(SLICE);
        }
        let sessions = shard.stats().evicted_sessions - sessions;
        if sessions > 0 {
            self.memory.evicted_sessions.fetch_add(sessions, Ordering::Relaxed);
        }
        if freed > 0 {
            // The arena may have it now.
            self.heap_shrank(freed as u64);
        }
        self.note_look(number, shard.next_look());
        gained
    }
}
