//! What memcached's statistics count.
//!
//! What always holds: one set of counters has one writer, so counting needs no locked
//! instruction; whoever reads adds up all sets.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Count {
    /// Keys that were asked for.
    Gets,
    /// Values that clients wanted stored.
    Sets,
    /// Calls of `flush_all`.
    Flushes,
    /// Keys that were touched, or should have been.
    Touches,
    /// Meta commands.
    Metas,
    /// Keys asked for and found.
    GetHits,
    /// Keys asked for and not found.
    GetMisses,
    /// Deletions of what wasn't there.
    DeleteMisses,
    /// Deletions.
    DeleteHits,
    /// Additions to what wasn't there.
    IncrMisses,
    /// Additions.
    IncrHits,
    /// Subtractions from what wasn't there.
    DecrMisses,
    /// Subtractions.
    DecrHits,
    /// Comparisons with what wasn't there.
    CasMisses,
    /// Comparisons that held.
    CasHits,
    /// Comparisons that didn't hold.
    CasBadValue,
    /// Keys touched.
    TouchHits,
    /// Keys to touch that weren't there.
    TouchMisses,
    /// Values that were too large.
    TooLarge,
    /// Values that there was no memory for.
    NoMemory,
    /// Items that were stored.
    Stored,
}

const COUNTS: usize = Count::Stored as usize + 1;

/// The counters of one worker.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; COUNTS]);

impl Counters {
    /// Counts one more.
    #[inline]
    pub fn add(&self, what: Count) {
        if let Some(counter) = self.0.get(what as usize) {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// How many were counted.
    pub fn get(&self, what: Count) -> u64 {
        self.0.get(what as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Adds another worker's numbers to these.
    pub fn merge(&self, other: &Self) {
        for (to, from) in self.0.iter().zip(&other.0) {
            let sum = to.load(Ordering::Relaxed).wrapping_add(from.load(Ordering::Relaxed));
            to.store(sum, Ordering::Relaxed);
        }
    }

    /// Starts again at 0.
    pub fn reset(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }
}
