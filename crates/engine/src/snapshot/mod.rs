//! Snapshots: the state of one moment, kept bit by bit while the shard goes on.
//!
//! ```text
//! cut       the version C is noted, the cursor stands before the first key
//! walk      cursor -> the next leaf: items with a version up to C are kept
//! change    of a key behind which the cursor isn't yet: the old item, up to C, is kept first
//! move      of such a key's deadline: the one that it had at the cut is noted (`moved`)
//! ```
//!
//! What was written after the cut has a later version, so nothing is remembered for each key, and
//! memory grows by what waits to be taken away only, and by what is noted in [`moved`]. A database
//! that is emptied during the walk stays, out of reach, until the walk has passed it.
//! What always holds: each key that lived at the cut is kept exactly once, with the value, the
//! deadline and all else that it had then. What a session left behind under its old key is kept,
//! too.
//! Not for: formats and files; a [`Keeper`] writes.

mod moved;

use crate::effect::Key;
use crate::index::slots;
use crate::shard::{Entry, Shard, Spot};
use layout::address::LEAF_SLOTS;
use layout::header::Fields;
use layout::{Address, Header, KeyHash, Slot};
use moved::Moved;
use smallvec::SmallVec;
use std::fmt;

/// Whoever takes the items of a snapshot, under the shard's lock.
pub trait Keeper: Send {
    /// An item of the moment, in no order but that of its database's walk.
    fn keep(&mut self, db: usize, key: &[u8], entry: Entry<'_>);
}

/// A snapshot on its way.
pub(crate) struct Snapshot {
    /// What is walked, in this order.
    held: Vec<Held>,
    /// Which of them is walked.
    at: usize,
    /// The position in it from which on keys are still to be kept.
    position: u32,
    /// The last version before the cut.
    version: u64,
    keeper: Box<dyn Keeper>,
}

/// A database at the cut.
struct Held {
    db: usize,
    /// Its directory then.
    directory: u32,
    moved: Moved,
}

impl Shard {
    /// Begins a snapshot of this moment. An earlier one that wasn't finished is forgotten.
    pub fn begin_snapshot(&mut self, keeper: Box<dyn Keeper>) {
        self.end_snapshot();
        let full = |db: &usize| !self.is_empty(*db);
        let held = (0..self.roots.len())
            .filter(full)
            .filter_map(|db| Some((db, self.roots.get(db).copied().flatten()?)))
            .map(|(db, directory)| Held { db, directory, moved: Moved::default() })
            .collect();
        let version = self.version;
        self.snapshot = Some(Snapshot { held, at: 0, position: 0, version, keeper });
    }

    /// Walks over up to `leaves` pages of the index (about 150 keys each); whether there is more
    /// to walk. Keys whose deadline has passed at `now` are left out.
    pub fn step_snapshot(&mut self, leaves: usize, now: u64) -> bool {
        let Some(mut snapshot) = self.snapshot.take() else { return false };
        for _ in 0..leaves {
            let Some(id) = snapshot.held.get(snapshot.at).map(|held| held.directory) else { break };
            match self.keep_leaf(&mut snapshot, now) {
                Some(next) => snapshot.position = next,
                None => {
                    (snapshot.at, snapshot.position) = (snapshot.at + 1, 0);
                    self.let_directory_go(id);
                }
            }
        }
        let more = snapshot.at < snapshot.held.len();
        self.snapshot = Some(snapshot);
        more
    }

    /// What takes the items, as long as the snapshot isn't ended.
    pub fn keeper(&mut self) -> Option<&mut (dyn Keeper + 'static)> {
        self.snapshot.as_mut().map(|snapshot| &mut *snapshot.keeper)
    }

    /// Ends a snapshot, complete or not, and gives its keeper back.
    pub fn end_snapshot(&mut self) -> Option<Box<dyn Keeper>> {
        let snapshot = self.snapshot.take()?;
        for held in snapshot.held.iter().skip(snapshot.at) {
            self.let_directory_go(held.directory);
        }
        Some(snapshot.keeper)
    }

    /// Keeps an item that is about to go or to get a later version, if the walk still has it
    /// before it.
    #[inline]
    pub(crate) fn keep_before_change(&mut self, db: usize, key: &Key<'_>, spot: Spot) {
        if self.snapshot.is_some() {
            self.keep_old(db, key, spot, false);
        }
    }

    /// The same of one that may have the same version afterwards.
    #[inline]
    pub(crate) fn keep_before_rewrite(&mut self, db: usize, key: &Key<'_>, spot: Spot) {
        if self.snapshot.is_some() {
            self.keep_old(db, key, spot, true);
        }
    }

    /// Notes the deadline of an item before it's moved in place.
    #[inline]
    pub(crate) fn note_before_move(&mut self, db: usize, key: &Key<'_>, spot: Spot) {
        if self.snapshot.is_some() {
            self.note_deadline(db, key, spot);
        }
    }

    #[cold]
    fn keep_old(&mut self, db: usize, key: &Key<'_>, spot: Spot, stays: bool) {
        let Some(id) = self.roots.get(db).copied().flatten() else { return };
        let Some(mut snapshot) = self.snapshot.take() else { return };
        if spot.header.version() <= snapshot.version
            && let Some(held) = snapshot.still_before(id, key.hash)
            && let Some(header) = held.moved.take(key.hash, stays).then(spot.header)
        {
            let then = held.db;
            snapshot.keeper.keep(then, key.bytes, Entry::new(self, Spot { header, ..spot }));
        }
        self.snapshot = Some(snapshot);
    }

    #[cold]
    fn note_deadline(&mut self, db: usize, key: &Key<'_>, spot: Spot) {
        if spot.header.fields().has(Fields::WIDE) {
            return self.keep_old(db, key, spot, true);
        }
        let Some(id) = self.roots.get(db).copied().flatten() else { return };
        let Some(snapshot) = &mut self.snapshot else { return };
        if spot.header.version() <= snapshot.version
            && let Some(held) = snapshot.still_before(id, key.hash)
        {
            held.moved.note(key.hash, spot.header.short_deadline());
        }
    }

    /// Whether a directory is still to be walked; its memory may not be freed before.
    pub(crate) fn snapshot_needs(&self, id: u32) -> bool {
        let held = self.snapshot.as_ref().map(|snapshot| snapshot.held.iter().skip(snapshot.at));
        held.is_some_and(|mut held| held.any(|held| held.directory == id))
    }

    /// The walk doesn't need a directory any more: if no database does either, it goes.
    fn let_directory_go(&mut self, id: u32) {
        if self.database_of(id).is_none() {
            self.free_later(id);
        }
    }

    /// Keeps the items of the leaf at the cursor. Answers where the next one begins.
    fn keep_leaf(&mut self, snapshot: &mut Snapshot, now: u64) -> Option<u32> {
        let held = snapshot.held.get_mut(snapshot.at)?;
        let directory = self.directories.get(held.directory as usize)?.as_ref()?;
        let memory = self.arena.memory();
        let (leaf, next) = directory.index.leaf_at(memory, snapshot.position);
        let noted = held.moved.passed(next);
        let here: SmallVec<[Slot; LEAF_SLOTS]> =
            leaf.map(|leaf| slots(memory, leaf)).unwrap_or_default();
        let mut key = Vec::new();
        for slot in here {
            let at = slot.address();
            let header = Header::load(memory, at);
            if header.version() > snapshot.version {
                continue;
            }
            let entry = Entry::new(self, Spot { slot: Address(0), at, header });
            key.clear();
            entry.key(&mut key);
            let noted = noted.of(|| self.config.secret.hash(&key));
            // What the log says after the cut is about keys that the moment had, over or not.
            if noted.is_none() && self.has_ended(at, header, now) {
                continue;
            }
            if let Some(header) = noted.unwrap_or_default().then(header) {
                let entry = Entry::new(self, Spot { slot: Address(0), at, header });
                snapshot.keeper.keep(held.db, &key, entry);
            }
        }
        next
    }
}

impl Snapshot {
    /// The database that a key belonged to at the cut, if the walk hasn't passed the key.
    fn still_before(&mut self, id: u32, hash: KeyHash) -> Option<&mut Held> {
        let place = self.held.iter().position(|held| held.directory == id)?;
        let passed = place < self.at || place == self.at && hash.position() < self.position;
        if passed { None } else { self.held.get_mut(place) }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
