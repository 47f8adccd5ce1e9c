//! The end of a turn: what isn't any request's own work.
//!
//! What always holds: a shard is looked after by the time that it named, by whichever worker comes
//! first; nobody waits for a lock here, and no lock is held for more than a slice.

use crate::{Node, Now};
use std::sync::atomic::Ordering;

/// Items that one slice handles under a lock.
const SLICE: usize = 128;
/// Slices in one turn, of all shards together: requests that came meanwhile wait no longer than
/// they take. While there is more, turns follow each other at once.
const SLICES_PER_TURN: usize = 2;

/// What is done at the end of a turn, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chore {
    /// Memory is brought back under its cap; a FLUSHALL that waits begins.
    Eviction,
    /// What has expired goes.
    Expiry,
}

impl Node {
    /// Does what is due. `heap` is what the process has allocated, in bytes; `done` is told what was
    /// just done. Answers when to call again at the latest: Unix milliseconds, `u64::MAX` for "not
    /// before the next request".
    pub fn end_of_turn(&self, now: Now, heap: u64, mut done: impl FnMut(Chore)) -> u64 {
        self.flush_if_due(now);
        self.fit_arena(heap);
        self.answer_survey();
        let more = self.keep_low_water(now.ms);
        let mut next =
            if more || self.is_short() && self.relieve(now.ms) { now.ms } else { u64::MAX };
        done(Chore::Eviction);
        next = next.min(self.flush.next().unwrap_or(u64::MAX));
        if self.next_look() <= now.ms {
            self.look_after_some(now.ms);
        }
        done(Chore::Expiry);
        next.min(self.next_look())
    }

    /// By when some shard has to be looked after.
    fn next_look(&self) -> u64 {
        let looks = self.looks.iter().map(|look| look.load(Ordering::Relaxed));
        looks.min().unwrap_or(u64::MAX)
    }

    /// Looks after the shards whose time has come, as far as the slices of a turn go.
    fn look_after_some(&self, now: u64) {
        let mut slices = SLICES_PER_TURN;
        // No shard is always the one that has to wait for the next turn.
        let first = now as usize;
        for number in (0..self.looks.len()).map(|i| first.wrapping_add(i) % self.looks.len()) {
            let is_due =
                self.looks.get(number).is_some_and(|look| look.load(Ordering::Relaxed) <= now);
            if is_due && slices > 0 {
                self.look_after(number, now, &mut slices);
            }
        }
    }

    fn look_after(&self, number: usize, now: u64, slices: &mut usize) {
        let Some(look) = self.looks.get(number) else { return };
        // Whoever holds the lock now may be doing the same; it's asked again next turn.
        let Some(mut shard) = self.try_lock(number) else { return };
        // Switched off, keys end only when they are met; what is gone is freed all the same.
        let expires = self.active_expire.load(Ordering::SeqCst);
        while *slices > 0 {
            *slices -= 1;
            let more = if expires { shard.maintain(now, SLICE) } else { shard.tidy(now, SLICE) };
            if !more {
                break;
            }
        }
        look.store(shard.next_look(), Ordering::SeqCst);
        if self.active_expire.load(Ordering::SeqCst) != expires {
            // It was switched meanwhile, and what the switch has stored is overwritten.
            look.store(0, Ordering::SeqCst);
        }
    }

    /// Brings memory back under a cap that was lowered or that the heap outgrew.
    fn relieve(&self, now: u64) -> bool {
        for tries in 0..4 {
            if !self.make_room(tries, now) {
                return false;
            }
        }
        self.arena.populated() > self.arena.limit()
    }
}
