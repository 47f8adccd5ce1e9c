//! What the shards count, for somebody who must not wait for their locks, nor keep one.
//!
//! Who wants to know asks, and wakes a worker; workers look at the end of their turns, as they look
//! at everything else of a shard, and leave what they saw. What always holds: a worker waits for
//! nobody here, and while nobody asks this costs a turn one load. Not for commands: INFO locks the
//! shards one by one and answers of this very moment.

use crate::Node;
use engine::{Shard, Stats};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

/// What shards count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Keys, of all databases.
    pub keys: u64,
    /// Keys that have a deadline.
    pub deadlines: u64,
    /// Keys that are sessions.
    pub sessions: u64,
    /// What was counted since the start.
    pub stats: Stats,
    /// Bytes of live items.
    pub live_bytes: u64,
    /// Bytes of the segments that items stand in.
    pub item_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Bytes that live items have on the heap.
    pub heap_bytes: u64,
}

impl Reading {
    fn of(shard: &Shard, databases: usize) -> Self {
        let (live, items, index) = shard.bytes();
        let all = |count: fn(&Shard, usize) -> u64| (0..databases).map(|db| count(shard, db)).sum();
        Self {
            keys: all(Shard::len),
            deadlines: all(Shard::deadlines),
            sessions: all(Shard::sessions),
            stats: shard.stats(),
            live_bytes: live as u64,
            item_bytes: items as u64,
            index_bytes: index as u64,
            heap_bytes: shard.heap_bytes() as u64,
        }
    }

    fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.deadlines += other.deadlines;
        self.sessions += other.sessions;
        self.stats.add(&other.stats);
        self.live_bytes += other.live_bytes;
        self.item_bytes += other.item_bytes;
        self.index_bytes += other.index_bytes;
        self.heap_bytes += other.heap_bytes;
    }
}

/// What the shards counted when somebody last asked.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Somebody waits for at least one shard.
    asked: AtomicBool,
    sheets: Box<[Sheet]>,
}

#[derive(Debug, Default)]
struct Sheet {
    /// Nobody has looked since it was asked for.
    wanted: AtomicBool,
    reading: Mutex<Reading>,
}

impl Survey {
    pub(crate) fn new(shards: usize) -> Self {
        let sheets = std::iter::repeat_with(Sheet::default).take(shards).collect();
        Self { asked: AtomicBool::new(false), sheets }
    }
}

impl Node {
    /// Asks the workers to look at every shard at the end of their turns.
    pub fn ask_survey(&self) {
        for sheet in &self.survey.sheets {
            sheet.wanted.store(true, Ordering::Relaxed);
        }
        self.survey.asked.store(true, Ordering::Release);
    }

    /// Whether every shard was looked at since.
    pub fn is_surveyed(&self) -> bool {
        !self.survey.sheets.iter().any(|sheet| sheet.wanted.load(Ordering::Acquire))
    }

    /// What the shards counted when they were last looked at, added up.
    pub fn survey(&self) -> Reading {
        let mut sum = Reading::default();
        for sheet in &self.survey.sheets {
            sum.add(&sheet.reading.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }

    /// At the end of a turn: looks at the shards that somebody wants to know of. One that is busy
    /// is left to whoever is at work there.
    #[inline]
    pub(crate) fn answer_survey(&self) {
        if self.survey.asked.load(Ordering::Acquire) {
            self.look_at_shards();
        }
    }

    #[cold]
    fn look_at_shards(&self) {
        self.survey.asked.store(false, Ordering::Relaxed);
        for (number, sheet) in self.survey.sheets.iter().enumerate() {
            if sheet.wanted.load(Ordering::Relaxed) && !self.look_at_shard(number, sheet) {
                self.survey.asked.store(true, Ordering::Relaxed);
            }
        }
    }

    fn look_at_shard(&self, number: usize, sheet: &Sheet) -> bool {
        let Some(shard) = self.try_lock(number) else { return false };
        let mut kept = match sheet.reading.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        *kept = Reading::of(&shard, self.databases);
        sheet.wanted.store(false, Ordering::Release);
        true
    }
}
