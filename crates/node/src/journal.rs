//! The journal: the effects of all shards, written down in one order.
//!
//! ```text
//! effect          -> records in the group of the thread     (its shard is locked)
//! locks let go    -> the group joins the journal as a whole; its shards and keys note the position
//! reply           -> leaves once the journal is safe up to all that the reply has seen
//! ```
//!
//! A reply that tells of something revoked waits until that is on the disk, if revocations are held.
//! What always holds: the records of a key stand in the order in which its changes happened, those
//! of one command or transaction stand together. A journal that is off costs a load.
//! Not for: files, and what is safe: whoever writes takes the bytes and says so.

use crate::limits::{JOURNAL_WAITING_MAX, PARTS_KEPT, RECORDS_KEPT};
use crate::touched::{Places, Touched};
use engine::{Effect, Journal as Recorder, KeyHash};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How effects and what stands between them are written. All of them append.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The records of an effect; none for one that needn't be known later.
    pub effect: fn(&Effect<'_>, &mut Vec<u8>),
    /// What says to which database the records that follow belong.
    pub select: fn(usize, &mut Vec<u8>),
    /// What stands before records that belong together, and after them.
    pub together: [&'static [u8]; 2],
}

/// How far the journal has to have come before somebody is told something: positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Until {
    /// So far it's safe by the policy of whoever writes it, or, for what was only seen, nothing can
    /// be safe at the moment and whoever reads takes what there is.
    pub safe: u64,
    /// So far it's safe, whatever comes: what a request did itself.
    pub own: u64,
    /// So far it's on the disk.
    pub synced: u64,
}

impl Until {
    /// Until both have come true.
    #[inline]
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            safe: self.safe.max(other.safe),
            own: self.own.max(other.own),
            synced: self.synced.max(other.synced),
        }
    }

    /// Whether it has come to pass, once the journal has come as far as `reached`.
    #[inline]
    pub fn is_past(self, reached: Self) -> bool {
        self.safe <= reached.safe && self.own <= reached.own && self.synced <= reached.synced
    }

    /// The same for a request that only reads: what it moved along on its way, an overdue key say,
    /// isn't what its reply tells.
    #[inline]
    #[must_use]
    pub const fn seen(self) -> Self {
        Self { own: 0, ..self }
    }
}

/// Where the records of all shards come together. A position counts bytes since the start.
#[derive(Debug)]
pub struct Journal {
    on: AtomicBool,
    waiting: Mutex<Waiting>,
    /// The position after the last record.
    end: AtomicU64,
    /// The position up to which somebody has taken the bytes.
    taken: AtomicU64,
    /// The position up to which it's safe; see [`Journal::set_safe`].
    safe: AtomicU64,
    /// Whoever reads is told what there is, safe or not.
    shows_all: AtomicBool,
    /// The position up to which everything is on the disk.
    synced: AtomicU64,
    /// Whether who revokes something waits for the disk.
    holds_revocations: AtomicBool,
    /// The position after the last revocation that somebody waits for.
    revoked: AtomicU64,
    touched: Touched,
}

/// Records that nobody has taken yet.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The database of the record before, if the next one may rely on it.
    db: Option<usize>,
    select: Option<fn(usize, &mut Vec<u8>)>,
    together: [&'static [u8]; 2],
    /// Where a new file begins.
    cut: Option<u64>,
}

/// What [`Journal::take`] took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The position after the bytes.
    pub end: u64,
    /// The bytes are the first ones after a cut.
    pub after_cut: bool,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            on: AtomicBool::new(false),
            waiting: Mutex::default(),
            end: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            safe: AtomicU64::new(0),
            shows_all: AtomicBool::new(false),
            synced: AtomicU64::new(0),
            holds_revocations: AtomicBool::new(false),
            revoked: AtomicU64::new(0),
            touched: Touched::default(),
        }
    }
}

impl Journal {
    /// Whether effects are recorded.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// The position after the last record.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Bytes that wait to be taken.
    pub fn waiting_bytes(&self) -> u64 {
        // Somebody may append and take between the two looks.
        self.end().saturating_sub(self.taken.load(Ordering::Acquire))
    }

    /// Bytes that aren't on the disk yet.
    pub fn unsynced_bytes(&self) -> u64 {
        self.end().saturating_sub(self.synced())
    }

    /// Whether so much waits to be taken that writers should wait too.
    #[inline]
    pub fn is_backed_up(&self) -> bool {
        self.waiting_bytes() > JOURNAL_WAITING_MAX
    }

    /// The position up to which it's safe; see [`Journal::set_safe`].
    #[inline]
    pub fn safe(&self) -> u64 {
        if self.is_on() { self.safe.load(Ordering::Acquire) } else { u64::MAX }
    }

    /// The position after the last effect on a key, or on one that shares its place. The key's
    /// shard is locked.
    #[inline]
    pub(crate) fn last_of(&self, key: KeyHash) -> u64 {
        self.touched.last(key)
    }

    /// How far it has come.
    #[inline]
    pub fn reached(&self) -> Until {
        if !self.is_on() {
            return Until { safe: u64::MAX, own: u64::MAX, synced: u64::MAX };
        }
        let own = self.safe.load(Ordering::Acquire);
        let safe = if self.shows_all.load(Ordering::Acquire) { u64::MAX } else { own };
        Until { safe, own, synced: self.synced() }
    }

    /// What the reply of a request that may write waits for: it tells of what it did, or else that
    /// there was nothing left to do. So who asks again for what was done, perhaps as a reply was
    /// lost, waits as long as who did it; if that may have been a revocation, as this request did
    /// nothing or `revokes`, until it's on the disk.
    #[inline]
    pub(crate) fn told(&self, until: Until, revokes: bool) -> Until {
        let held = self.holds_revocations.load(Ordering::Relaxed) && (revokes || until.own == 0);
        let revoked = if held { self.revoked.load(Ordering::Acquire) } else { 0 };
        Until {
            safe: until.safe,
            own: until.own.max(until.safe),
            synced: until.synced.max(until.safe.min(revoked)),
        }
    }

    /// The position up to which everything is on the disk.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Says whether replies that tell of nothing that their own request did may leave at once, since
    /// nothing becomes safe at the moment.
    pub fn show_all(&self, all: bool) {
        self.shows_all.store(all, Ordering::Release);
    }

    /// Everything up to there is on the disk.
    pub fn set_synced(&self, position: u64) {
        self.synced.fetch_max(position, Ordering::AcqRel);
    }

    /// Says whether who revokes something is to wait for the disk.
    pub fn hold_revocations(&self, hold: bool) {
        self.holds_revocations.store(hold, Ordering::Relaxed);
    }

    /// Whether somebody waits for a revocation to come to the disk.
    #[inline]
    pub fn owes_sync(&self) -> bool {
        self.revoked.load(Ordering::Acquire) > self.synced()
    }

    /// It's safe up to there by the policy of whoever writes it, who may have replies wait longer.
    pub fn set_safe(&self, position: u64) {
        self.safe.fetch_max(position, Ordering::AcqRel);
    }

    /// Takes what waits, up to a cut if there is one, in exchange for an empty buffer. To be called
    /// by one thread at a time, which writes the bytes in this order. `None` if nothing waits.
    pub fn take(&self, bytes: &mut Vec<u8>) -> Option<Taken> {
        let mut waiting = self.lock();
        let start = self.taken.load(Ordering::Relaxed);
        let mut after_cut = false;
        bytes.clear();
        bytes.shrink_to(RECORDS_KEPT);
        match waiting.cut {
            Some(cut) if cut > start => {
                let rest = waiting.bytes.split_off((cut - start) as usize);
                *bytes = std::mem::replace(&mut waiting.bytes, rest);
            }
            cut => {
                after_cut = cut.is_some();
                // What is taken at once can be read without what was before it.
                (waiting.cut, waiting.db) = (None, None);
                std::mem::swap(bytes, &mut waiting.bytes);
            }
        }
        let end = start + bytes.len() as u64;
        self.taken.store(end, Ordering::Release);
        (after_cut || !bytes.is_empty()).then_some(Taken { end, after_cut })
    }

    /// Begins to record, in a format. The position goes on where it was.
    pub(crate) fn start(&self, format: Format) {
        let mut waiting = self.lock();
        waiting.select = Some(format.select);
        waiting.together = format.together;
        (waiting.db, waiting.cut) = (None, None);
        self.safe.store(self.end(), Ordering::Release);
        self.shows_all.store(false, Ordering::Release);
        self.synced.store(self.end(), Ordering::Release);
        self.on.store(true, Ordering::Release);
    }

    /// Ends recording; what waits is still to be taken.
    pub(crate) fn stop(&self) {
        self.on.store(false, Ordering::Release);
    }

    /// Begins a new file here. All shards are locked, so no record is on its way.
    pub(crate) fn cut(&self) -> u64 {
        let mut waiting = self.lock();
        let end = self.end();
        waiting.cut = Some(end);
        waiting.db = None;
        end
    }

    /// Adds the group of this thread, whose shards are still locked. Answers what whoever made it
    /// waits for, or `None` if there is none. `together`: it's to be replayed as a whole or not at
    /// all.
    #[inline]
    pub(crate) fn add_group(&self, together: bool) -> Option<Until> {
        if !self.is_on() {
            return None;
        }
        GROUP.with_borrow_mut(|group| (!group.parts.is_empty()).then(|| self.add(group, together)))
    }

    fn add(&self, group: &mut Group, together: bool) -> Until {
        let mut waiting = self.lock();
        let waiting = &mut *waiting;
        let before = waiting.bytes.len();
        let together = together && group.parts.len() > 1;
        let mut from = 0;
        for (i, (db, to)) in group.parts.drain(..).enumerate() {
            if waiting.db != Some(db)
                && let Some(select) = waiting.select
            {
                select(db, &mut waiting.bytes);
                waiting.db = Some(db);
            }
            if together && i == 0 {
                waiting.bytes.extend_from_slice(waiting.together[0]);
            }
            waiting.bytes.extend_from_slice(group.bytes.get(from..to).unwrap_or_default());
            from = to;
        }
        if together {
            waiting.bytes.extend_from_slice(waiting.together[1]);
        }
        group.bytes.clear();
        group.bytes.shrink_to(RECORDS_KEPT);
        if group.parts.capacity() > PARTS_KEPT {
            group.parts = SmallVec::new();
        }
        group.emptied.clear();
        let end = self.end() + (waiting.bytes.len() - before) as u64;
        self.end.store(end, Ordering::Release);
        self.touched.note(&mut group.places, end);
        let revokes = std::mem::take(&mut group.revokes);
        if !revokes || !self.holds_revocations.load(Ordering::Relaxed) {
            return Until { safe: end, own: end, synced: 0 };
        }
        self.revoked.store(end, Ordering::Release);
        Until { safe: end, own: end, synced: end }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that one thread made since it last let go of a lock.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    /// For each record its database, and where it ends in `bytes`.
    parts: SmallVec<[(usize, usize); 8]>,
    /// Databases that were emptied since the last record of another kind. Emptying happens in
    /// every shard that has keys, under all locks, and is told once.
    emptied: SmallVec<[usize; 4]>,
    /// What they are on.
    places: Places,
    /// Whether one of them revokes something.
    revokes: bool,
}

thread_local! {
    /// The locks that a thread holds cover a group of effects, whichever shards they are on.
    static GROUP: RefCell<Group> = RefCell::default();
}

/// Writes one shard's effects down.
pub(crate) struct Tap {
    pub(crate) shard: usize,
    pub(crate) format: Format,
}

impl Recorder for Tap {
    fn record(&mut self, effect: &Effect<'_>) {
        GROUP.with_borrow_mut(|group| {
            let db = match effect {
                Effect::Clear { db } if group.emptied.contains(db) => return,
                // It happens in every shard, under all locks; one of them tells.
                Effect::Swap { .. } if self.shard != 0 => return,
                Effect::Key { db, .. } | Effect::Clear { db } => *db,
                Effect::Swap { a, .. } => *a,
            };
            match effect {
                Effect::Clear { .. } => group.emptied.push(db),
                _ => group.emptied.clear(),
            }
            let before = group.bytes.len();
            (self.format.effect)(effect, &mut group.bytes);
            if group.bytes.len() > before {
                match effect {
                    Effect::Key { key, .. } => group.places.add(key.hash),
                    Effect::Clear { .. } | Effect::Swap { .. } => group.places.add_all(),
                }
                group.parts.push((db, group.bytes.len()));
                group.revokes |= effect.revokes();
            }
        });
    }
}
