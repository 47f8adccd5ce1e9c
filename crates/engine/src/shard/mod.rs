//! One shard: a sequential store of keys, the unit of locking.
//!
//! ```text
//! key -> hash -> directory of the database -> slot -> item (header, key, value) in a segment
//! ```
//!
//! What always holds: between two calls the shard passes `check`; nothing it answers refers to a
//! key whose deadline is at or before the `now` that it was asked with.
//! Not for: choosing the shard of a key, or holding its lock.

mod apply;
mod entry;
mod store;
#[cfg(test)]
mod tests;
mod walk;

pub use entry::{Entry, StringView};
pub(crate) use store::Draft;

use crate::arena::{Arena, Owner};
use crate::due::Filing;
use crate::effect::{Effect, Journal, Key};
use crate::evict::Policy;
use crate::hash::BigHash;
use crate::index::{Index, Pages};
use crate::limits::{BANDS_MAX, DATABASES_MAX};
use crate::prefixes::PrefixTable;
use crate::rng::Rng;
use crate::segments::{Directory, Space};
use crate::sessions::Answers;
use crate::snapshot::Snapshot;
use crate::watch::{Watch, Watches};
use crate::wheel::Wheel;
use layout::{Address, Fields, HashKey, Header, KeyHash, SegmentId, State, key};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use store::Rehash;

/// What a shard is told when it's made.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// Which shard it is.
    pub number: usize,
    /// Databases of the store.
    pub databases: usize,
    /// Bands of due times; fewer leave fewer segments open.
    pub bands: usize,
    /// The secret under which keys are hashed.
    pub secret: HashKey,
    /// The version that its first change gets.
    pub first_version: u64,
    /// The policy whose use of recency it serves.
    pub policy: Policy,
}

/// What a shard counted since it was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Keys that ended by their deadline.
    pub expired: u64,
    /// Fields that ended by theirs.
    pub expired_fields: u64,
    /// Keys that were evicted.
    pub evicted: u64,
    /// Sessions that ended by their deadline, which the keys that did include.
    pub expired_sessions: u64,
    /// Sessions that were evicted, which the evicted keys include.
    pub evicted_sessions: u64,
    /// Sessions that were created.
    pub created_sessions: u64,
    /// Sessions that got another key by rotation.
    pub rotated_sessions: u64,
    /// Sessions that somebody ended: by END, by deleting, overwriting or emptying.
    pub ended_sessions: u64,
    /// Effects that changed something.
    pub changes: u64,
    /// Bytes of items written for clients.
    pub written: u64,
    /// Bytes of items that relocation copied.
    pub copied: u64,
    /// Segments that relocation emptied.
    pub relocated: u64,
    /// The longest time between a deadline and the key's end, in milliseconds.
    pub lag_max_ms: u64,
    /// These times of all keys that ended by their deadline, added up.
    pub lag_sum_ms: u64,
}

impl Stats {
    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        self.expired += other.expired;
        self.expired_fields += other.expired_fields;
        self.evicted += other.evicted;
        self.expired_sessions += other.expired_sessions;
        self.evicted_sessions += other.evicted_sessions;
        self.created_sessions += other.created_sessions;
        self.rotated_sessions += other.rotated_sessions;
        self.ended_sessions += other.ended_sessions;
        self.changes += other.changes;
        self.written += other.written;
        self.copied += other.copied;
        self.relocated += other.relocated;
        self.lag_max_ms = self.lag_max_ms.max(other.lag_max_ms);
        self.lag_sum_ms += other.lag_sum_ms;
    }
}

/// A sequential store of keys.
pub struct Shard {
    pub(crate) arena: Arc<Arena>,
    pub(crate) owner: Owner,
    pub(crate) config: ShardConfig,
    /// For each database its directory's place in `directories`.
    pub(crate) roots: Vec<Option<u32>>,
    pub(crate) directories: Vec<Option<Directory>>,
    /// Directories that were detached and are freed bit by bit.
    pub(crate) detached: Vec<u32>,
    pub(crate) pages: Pages,
    pub(crate) prefixes: PrefixTable,
    pub(crate) space: Space,
    pub(crate) wheel: Wheel,
    pub(crate) filing: Option<Filing>,
    /// Segments by the earliest due time of their items.
    pub(crate) due: BTreeSet<(u64, u32)>,
    pub(crate) big: Vec<Option<Box<BigHash>>>,
    pub(crate) big_free: Vec<usize>,
    /// Bytes of the trees in `big`.
    pub(crate) big_bytes: usize,
    /// Large hashes that are freed bit by bit.
    pub(crate) big_detached: Vec<BigHash>,
    /// Segments of long values that are freed bit by bit.
    pub(crate) long_detached: Vec<SegmentId>,
    pub(crate) watches: Watches,
    pub(crate) rng: Rng,
    pub(crate) version: u64,
    /// See [`Shard::next_look`].
    pub(crate) next_look: u64,
    /// Bytes that relocation may copy.
    pub(crate) copy_credit: usize,
    pub(crate) stats: Stats,
    /// See [`Shard::set_began`].
    pub(crate) began: u64,
    pub(crate) journal: Option<Box<dyn Journal>>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) answers: Answers,
    /// Reused for keys and packed runs on their way into an item.
    pub(crate) scratch: Vec<u8>,
}

/// Where a key's item was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) slot: Address,
    pub(crate) at: Address,
    pub(crate) header: Header,
}

impl Shard {
    /// An empty shard. Its root words stand in the arena's first segment.
    pub fn new(arena: Arc<Arena>, config: ShardConfig) -> Self {
        let databases = config.databases.clamp(1, DATABASES_MAX);
        let bands = config.bands.clamp(1, BANDS_MAX);
        let shard = Self {
            arena,
            owner: Owner::new(),
            config: ShardConfig { databases, bands, ..config },
            roots: vec![None; databases],
            directories: Vec::new(),
            detached: Vec::new(),
            pages: Pages::default(),
            prefixes: PrefixTable::new(),
            space: Space::new(),
            wheel: Wheel::new(),
            filing: None,
            due: BTreeSet::new(),
            big: Vec::new(),
            big_free: Vec::new(),
            big_bytes: 0,
            big_detached: Vec::new(),
            long_detached: Vec::new(),
            watches: Watches::default(),
            rng: Rng::new(config.secret.0[0] ^ (config.number as u64) << 32),
            version: config.first_version,
            next_look: u64::MAX,
            copy_credit: 0,
            stats: Stats::default(),
            began: 0,
            journal: None,
            snapshot: None,
            answers: Answers::default(),
            scratch: Vec::new(),
        };
        for db in 0..databases {
            shard.arena.memory().store(shard.root_word(db).index(), 0);
        }
        shard
    }

    /// Sends every effect to `journal` from now on, or nowhere.
    pub fn set_journal(&mut self, journal: Option<Box<dyn Journal>>) {
        self.journal = journal;
    }

    /// Has items placed, and their recency noted, as at `now` or later. A store that is loaded
    /// is told earlier times, at which nothing has ended yet.
    pub const fn set_began(&mut self, now: u64) {
        self.began = now;
    }

    /// Sets the policy whose recency the shard keeps.
    pub const fn set_policy(&mut self, policy: Policy) {
        self.config.policy = policy;
    }

    /// A key's item, without any trace of having looked.
    #[inline]
    pub fn peek(&self, db: usize, key: &Key<'_>, now: u64) -> Option<Entry<'_>> {
        let spot = self.locate(db, key)?;
        (!self.is_over(spot.at, spot.header, now)).then(|| Entry::new(self, spot))
    }

    /// A key's item, which counts as a use of it: one that has an idle timeout slides.
    #[inline]
    pub fn get(&mut self, db: usize, key: &Key<'_>, now: u64) -> Option<Entry<'_>> {
        let spot = self.locate(db, key)?;
        if spot.header.fields().has_any(Fields::GUARDED) {
            return self.get_guarded(db, key, spot, now);
        }
        if self.deadline(spot.at, spot.header).is_some_and(|deadline| deadline <= now) {
            return None;
        }
        let header = self.mark_used(spot, now);
        Some(Entry::new(self, Spot { header, ..spot }))
    }

    /// Notes that an item is used; its header then.
    #[inline]
    pub(crate) fn mark_used(&mut self, spot: Spot, now: u64) -> Header {
        let header = self.used(spot.header, now);
        if header != spot.header {
            self.arena.memory().store(spot.at.index(), header.0[0]);
        }
        header
    }

    /// Keys of a database, overdue ones that haven't been removed yet included.
    pub fn len(&self, db: usize) -> u64 {
        self.directory(db).map_or(0, |directory| directory.index.keys)
    }

    /// Whether a database has no key.
    pub fn is_empty(&self, db: usize) -> bool {
        self.len(db) == 0
    }

    /// Keys of a database that have a deadline.
    pub fn deadlines(&self, db: usize) -> u64 {
        self.directory(db).map_or(0, |directory| directory.deadlines)
    }

    /// Keys of a database that are sessions; tombstones and aliases aren't.
    pub fn sessions(&self, db: usize) -> u64 {
        self.directory(db).map_or(0, |directory| directory.sessions)
    }

    /// What it counted.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes of live items, bytes of item segments in use, bytes of the index's pages in use.
    pub fn bytes(&self) -> (usize, usize, usize) {
        (self.space.live * 8, self.space.used * 8, self.pages.bytes_in_use())
    }

    /// Bytes that live items have on the heap: large hashes.
    pub const fn heap_bytes(&self) -> usize {
        self.big_bytes
    }

    /// The secret under which keys are hashed.
    pub const fn secret(&self) -> HashKey {
        self.config.secret
    }

    /// Breaks `watch` on the next effect on `key`.
    pub fn watch(&mut self, db: usize, key: &Key<'_>, watch: &Watch, now: u64) {
        // A key that is overdue already doesn't change by being removed.
        self.reap(db, key, now);
        self.watches.add(db, key.hash, watch);
    }

    /// Forgets that `watch` is on these keys, each a database and a hash.
    pub fn unwatch(&mut self, watch: &Watch, keys: impl Iterator<Item = (usize, KeyHash)>) {
        self.watches.forget(watch, keys);
    }

    /// Ends what is overdue under the key of this hash, so that its watches know.
    pub fn settle(&mut self, db: usize, hash: KeyHash, now: u64) {
        let Some(spot) = self.locate_hash(db, hash) else { return };
        if self.due_time(spot.at, spot.header).is_some_and(|due| due <= now) {
            let mut bytes = Vec::new();
            Entry::new(self, spot).key(&mut bytes);
            self.end_due(db, &Key { bytes: &bytes, hash }, spot, now);
        }
    }

    /// Where the root word of a database stands.
    pub(crate) const fn root_word(&self, db: usize) -> Address {
        root_word(self.config.number, db)
    }

    pub(crate) fn directory(&self, db: usize) -> Option<&Directory> {
        let id = (*self.roots.get(db)?)?;
        self.directories.get(id as usize)?.as_ref()
    }

    /// The directory of a database and its number, made if there is none yet.
    pub(crate) fn directory_id(&mut self, db: usize) -> u32 {
        if let Some(Some(id)) = self.roots.get(db) {
            return *id;
        }
        let root = self.root_word(db);
        let fresh = Directory::new(Index::new(self.arena.memory(), root));
        let free = self.directories.iter().position(Option::is_none);
        let id = free.unwrap_or(self.directories.len());
        match self.directories.get_mut(id) {
            Some(place) => *place = Some(fresh),
            None => self.directories.push(Some(fresh)),
        }
        if let Some(root) = self.roots.get_mut(db) {
            *root = Some(id as u32);
        }
        id as u32
    }

    /// Finds a key's item, overdue or not.
    #[inline]
    pub(crate) fn locate(&self, db: usize, key: &Key<'_>) -> Option<Spot> {
        let index = &self.directory(db)?.index;
        let mut header = None;
        let memory = self.arena.memory();
        let slot = index.find(memory, key.hash, |at| {
            let here = Header::load(memory, at);
            header = Some((at, here));
            key::matches(self.body(at, here), here.key_form(), &self.prefixes, key.bytes)
        })?;
        let (at, header) = header?;
        Some(Spot { slot, at, header })
    }

    /// As [`Shard::locate`], of the key with this hash.
    pub(crate) fn locate_hash(&self, db: usize, hash: KeyHash) -> Option<Spot> {
        let index = &self.directory(db)?.index;
        let memory = self.arena.memory();
        let mut rehash = Rehash::new(&self.arena, &self.owner, &self.prefixes, self.config.secret);
        let mut at = Address(0);
        let slot = index.find(memory, hash, |item| {
            at = item;
            rehash.hash(item) == hash
        })?;
        Some(Spot { slot, at, header: Header::load(memory, at) })
    }

    /// Key and value of an item.
    #[inline]
    pub(crate) fn body(&self, at: Address, header: Header) -> &[u8] {
        self.arena.bytes(&self.owner, header.key_at(at), 0, header.body_bytes())
    }

    /// An item's value as it stands in the item.
    #[inline]
    pub(crate) fn value(&self, at: Address, header: Header) -> &[u8] {
        let body = self.body(at, header);
        body.get(key::kept_bytes(body, header.key_form())..).unwrap_or_default()
    }

    /// When an item's key ends.
    #[inline]
    pub(crate) fn deadline(&self, at: Address, header: Header) -> Option<u64> {
        match header.field(at, Fields::WIDE) {
            Some(word) => Some(self.arena.memory().load(word.index())),
            None => header.short_deadline(),
        }
    }

    /// Whether nobody but the commands of sessions may see an item: it's past its end, that of
    /// its key or of every field that it has, or what a session left behind.
    #[inline]
    pub(crate) fn is_over(&self, at: Address, header: Header, now: u64) -> bool {
        self.deadline(at, header).is_some_and(|deadline| deadline <= now)
            || header.fields().has_any(Fields::GUARDED) && self.is_guarded(at, header, now)
    }

    /// Whether an item is past its end, that of its key or of every field that it has.
    pub(crate) fn has_ended(&self, at: Address, header: Header, now: u64) -> bool {
        self.is_over(at, header, now)
            && (!self.slide_of(at, header).is_hidden()
                || self.deadline(at, header).is_some_and(|deadline| deadline <= now))
    }

    #[cold]
    fn is_guarded(&self, at: Address, header: Header, now: u64) -> bool {
        let slide = self.slide_of(at, header);
        slide.is_hidden() || slide.state() == State::Plain && self.is_emptied(at, header, now)
    }

    /// Whether an item is a hash with fields, all of which are past their end.
    pub(crate) fn is_emptied(&self, at: Address, header: Header, now: u64) -> bool {
        let spot = Spot { slot: Address(0), at, header };
        header.fields().has(Fields::FIELD_DUE)
            && self.due_time(at, header).is_some_and(|due| due <= now)
            && Entry::new(self, spot).hash().is_some_and(|hash| hash.is_over(now))
    }

    /// When something of an item ends: its key or its first field.
    #[inline]
    pub(crate) fn due_time(&self, at: Address, header: Header) -> Option<u64> {
        let deadline = self.deadline(at, header);
        let field = header.field(at, Fields::FIELD_DUE);
        match field.map(|word| self.arena.memory().load(word.index())) {
            Some(field) => Some(deadline.map_or(field, |deadline| deadline.min(field))),
            None => deadline,
        }
    }

    /// Hands an effect to the journal and to those who watch.
    pub(crate) fn record(&mut self, effect: &Effect<'_>) {
        self.stats.changes += 1;
        if !self.watches.is_empty() {
            self.tell_watchers(effect);
        }
        if let Some(journal) = &mut self.journal {
            journal.record(effect);
        }
    }
}

/// Where the root word of a shard's database stands: in the arena's first segment, after 64 words
/// of header, in a row for each shard.
pub(crate) const fn root_word(shard: usize, db: usize) -> Address {
    Address((64 + shard * DATABASES_MAX + db) as u64)
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("number", &self.config.number).finish_non_exhaustive()
    }
}
