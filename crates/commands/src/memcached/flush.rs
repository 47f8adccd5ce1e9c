//! `flush_all` with a delay: at a moment in the future everything ends.
//!
//! What always holds: at most one moment is set; a later `flush_all` replaces it.
//! Not for: emptying the database. Whoever runs the store asks [`Flush::take_due`] before it
//! executes requests and at the end of a turn, and clears the database when it says so.

use std::sync::atomic::{AtomicU64, Ordering};

const NEVER: u64 = u64::MAX;

/// When the database is to be emptied.
#[derive(Debug)]
pub struct Flush(AtomicU64);

impl Default for Flush {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl Flush {
    /// Sets the moment, in Unix milliseconds; `None` if nothing is to happen.
    pub fn set(&self, at: Option<u64>) {
        self.0.store(at.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// The moment, for whoever sleeps until something is due.
    #[inline]
    pub fn next(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != NEVER)
    }

    /// Whether the moment has come; says so to one caller only.
    #[inline]
    pub fn take_due(&self, now: u64) -> bool {
        let at = self.0.load(Ordering::Relaxed);
        at <= now
            && self.0.compare_exchange(at, NEVER, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_comes_once_and_can_be_replaced() {
        let flush = Flush::default();
        assert!(!flush.take_due(u64::MAX - 1));
        flush.set(Some(100));
        flush.set(Some(200));
        assert_eq!(flush.next(), Some(200));
        assert!(!flush.take_due(199) && flush.take_due(200) && !flush.take_due(300));
        flush.set(Some(5));
        flush.set(None);
        assert_eq!((flush.next(), flush.take_due(9)), (None, false));
    }
}
