//! A node that is being loaded, as replay sees it.
//!
//! Memory has its cap then, too, and a cap that was lowered makes the policy evict. What the log
//! says of an evicted key afterwards builds on what is gone. So it's remembered which these are:
//! replay passes over such records until one says all of what the key holds. Of more keys than can
//! be remembered it's no longer known which they are: then it passes over what changes a part of any
//! key that isn't there, a new one, too.
//! What always holds: no key has a value that it never had.

use super::aside::Aside;
use super::keeper::lock;
use super::load::{LONG_AGO_MS, why};
use crate::limits::MISSING_KEYS;
use crate::log as say;
use engine::{Cause, Change, Effect, Full, Journal, Key, KeyHash, Kind, OwnedItem, Shard};
use node::Node;
use persist::aof::{Replay, ReplayError, Store, Trust, Unfit};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A node, and what it had to evict since it began to be loaded.
pub(super) struct Loading<'n> {
    node: &'n Node,
    missing: Arc<Missing>,
    /// Records that weren't applied for that.
    missed: u64,
    /// What is known of the keys, if some of the log is lost.
    pub(super) trust: Option<Trust>,
    /// Where records go that can't be applied, if they may be left out.
    pub(super) aside: Option<Aside>,
}

impl<'n> Loading<'n> {
    /// Begins to load into a node without a journal.
    pub(super) fn into(node: &'n Node) -> Self {
        let missing = Arc::new(Missing::default());
        for number in 0..node.shard_count() {
            let tap = Box::new(Tap(Arc::clone(&missing)));
            node.with_shard(number, |shard| shard.set_journal(Some(tap)));
        }
        Self { node, missing, missed: 0, trust: None, aside: None }
    }

    /// The node.
    pub(super) const fn node(&self) -> &'n Node {
        self.node
    }

    /// What applies an increment to it, after those before.
    pub(super) fn replay(&mut self) -> Replay {
        let replay = Replay::new(self.node.secret(), self.node.databases());
        replay.trusting(self.trust.take())
    }

    /// An increment was applied.
    pub(super) fn applied(&mut self, replay: Replay) {
        self.missed += replay.missed();
        self.trust = replay.into_trust();
    }

    /// Why a record can't be applied, or couldn't be left out.
    pub(super) fn why(&self, error: &ReplayError) -> String {
        let failure = self.aside.as_ref().and_then(Aside::failure);
        failure.map_or_else(|| why(self.node, error), str::to_owned)
    }

    /// Says in the log what had to go.
    pub(super) fn tell(&self) {
        if self.missing.some() {
            say::warning(format_args!(
                "keys were evicted while the log was loaded, see `maxmemory`; {} records that \
                 change a part of one, or of a key that may be one, weren't applied",
                self.missed
            ));
        }
    }

    fn apply_to_all(&self, effect: &Effect<'_>) -> Result<(), Full> {
        for number in 0..self.node.shard_count() {
            let done = self.node.with_shard(number, |shard| shard.apply(effect, LONG_AGO_MS));
            done.transpose()?;
        }
        Ok(())
    }

    fn shard<T>(&self, key: &Key<'_>, ask: impl FnOnce(&mut Shard) -> Option<T>) -> Option<T> {
        self.node.with_shard(key.hash.shard(self.node.shard_count()), ask).flatten()
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        for number in 0..self.node.shard_count() {
            self.node.with_shard(number, |shard| shard.set_journal(None));
        }
    }
}

impl Store for Loading<'_> {
    fn kind(&mut self, db: usize, key: &[u8]) -> Option<Kind> {
        let key = Key::new(&self.node.secret(), key);
        self.shard(&key, |shard| Some(shard.peek(db, &key, LONG_AGO_MS)?.kind()))
    }

    fn item(&mut self, db: usize, key: &[u8]) -> Option<OwnedItem> {
        let key = Key::new(&self.node.secret(), key);
        self.shard(&key, |shard| Some(shard.peek(db, &key, LONG_AGO_MS)?.to_owned_item()))
    }

    fn apply(&mut self, effect: &Effect<'_>) -> Result<(), Full> {
        let (db, key, change) = match effect {
            Effect::Key { db, key, change } => (db, key, change),
            Effect::Clear { db } => {
                self.missing.move_all(|other| (other != *db).then_some(other));
                return self.apply_to_all(effect);
            }
            Effect::Swap { a, b } => {
                let other = |db| {
                    if db == *a {
                        *b
                    } else if db == *b {
                        *a
                    } else {
                        db
                    }
                };
                self.missing.move_all(|db| Some(other(db)));
                return self.apply_to_all(effect);
            }
        };
        let whole = matches!(change, Change::Put { .. } | Change::Install(_) | Change::Remove(_));
        let wanted = || whole || !self.missing.has(*db, key.hash);
        self.node.install_while(effect, key.hash, LONG_AGO_MS, wanted)?;
        if whole {
            self.missing.set(*db, key.hash, false);
        }
        Ok(())
    }

    fn misses_some(&self) -> bool {
        self.missing.some()
    }

    fn misses(&mut self, db: usize, key: &[u8]) -> bool {
        let hash = Key::new(&self.node.secret(), key).hash;
        self.missing.has(db, hash) || self.missing.is_uncounted(db) && self.kind(db, key).is_none()
    }

    fn set_missing(&mut self, db: usize, key: &[u8], missing: bool) {
        self.missing.set(db, Key::new(&self.node.secret(), key).hash, missing);
    }

    fn leave_out(&mut self, unfit: &Unfit<'_>) -> bool {
        self.aside.as_mut().is_some_and(|aside| aside.keep(unfit))
    }
}

/// Keys that were evicted, by their hashes.
#[derive(Debug, Default)]
struct Missing {
    keys: Mutex<Keys>,
    some: AtomicBool,
}

#[derive(Debug, Default)]
struct Keys {
    known: HashSet<(usize, KeyHash)>,
    /// Databases in which there are more than are remembered: a key that isn't there may be one.
    uncounted: HashSet<usize>,
}

impl Missing {
    fn some(&self) -> bool {
        self.some.load(Ordering::Relaxed)
    }

    fn has(&self, db: usize, hash: KeyHash) -> bool {
        self.some() && lock(&self.keys).known.contains(&(db, hash))
    }

    fn is_uncounted(&self, db: usize) -> bool {
        self.some() && lock(&self.keys).uncounted.contains(&db)
    }

    fn set(&self, db: usize, hash: KeyHash, missing: bool) {
        if !missing && !self.some() {
            return;
        }
        let mut keys = lock(&self.keys);
        if !missing {
            keys.known.remove(&(db, hash));
        } else if keys.known.len() < MISSING_KEYS {
            keys.known.insert((db, hash));
        } else {
            keys.uncounted.insert(db);
        }
        self.some.fetch_or(missing, Ordering::Relaxed);
    }

    /// The keys of each database are those of another one now, or of none.
    fn move_all(&self, to: impl Fn(usize) -> Option<usize>) {
        if !self.some() {
            return;
        }
        let mut keys = lock(&self.keys);
        let Keys { known, uncounted } = std::mem::take(&mut *keys);
        keys.known = known.into_iter().filter_map(|(db, hash)| Some((to(db)?, hash))).collect();
        keys.uncounted = uncounted.into_iter().filter_map(to).collect();
    }
}

/// What tells of evictions.
struct Tap(Arc<Missing>);

impl Journal for Tap {
    fn record(&mut self, effect: &Effect<'_>) {
        if let Effect::Key { db, key, change: Change::Remove(Cause::Evicted) } = effect {
            self.0.set(*db, key.hash, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::hash::{FieldDeadline, FieldEdit};
    use engine::{Arena, HashKey, HeapBacking, Meta, Policy};
    use node::{Limits, NodeConfig};
    use persist::aof::{self, Framer, Reader};

    const SECRET: HashKey = HashKey([1, 2]);

    fn node(segments: usize) -> Node {
        let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(segments)), segments));
        let limits = Limits { maxmemory: 0, policy: Policy::AllKeysLru, samples: 5 };
        Node::new(
            arena,
            NodeConfig {
                shards: 2,
                databases: 2,
                bands: 2,
                secret: SECRET,
                first_version: 0,
                limits,
            },
        )
    }

    fn log(out: &mut Vec<u8>, name: &str, change: Change<'_>) {
        let key = Key::new(&SECRET, name.as_bytes());
        aof::record(&Effect::Key { db: 0, key, change }, out);
    }

    fn set<'a>(field: &'a [u8], value: &'a [u8]) -> FieldEdit<'a> {
        FieldEdit::Set { field, value, deadline: FieldDeadline::Clear }
    }

    fn load(node: &Node, records: &[u8]) -> u64 {
        let mut file = Vec::new();
        Framer::open(7, &mut file).frame(records, 0, &mut file);
        let mut store = Loading::into(node);
        let (mut reader, mut replay) = (Reader::new(file.as_slice(), 0), store.replay());
        while let Some(record) = reader.next().unwrap() {
            replay.record(&record, &mut store).unwrap();
        }
        replay.missed()
    }

    fn fields(store: &mut Loading<'_>, name: &str) -> Option<Vec<Vec<u8>>> {
        let item = store.item(0, name.as_bytes())?;
        let persist::rdb::Body::Hash(hash) = persist::rdb::Body::of(&item.value) else {
            panic!("{name} is a string")
        };
        Some(hash.iter(0).map(|field| field.name.to_vec()).collect())
    }

    #[test]
    fn what_was_evicted_is_not_half_there_later() {
        const KEYS: usize = 6_000;
        let mut records = Vec::new();
        for i in 0..KEYS {
            log(&mut records, &format!("h:{i}"), Change::Fields(&[set(b"first", &[b'v'; 600])]));
        }
        for i in 0..KEYS {
            log(&mut records, &format!("h:{i}"), Change::Fields(&[set(b"second", b"more")]));
        }
        // Of some, all is said anew, with one record for each field.
        for i in (0..KEYS).step_by(10) {
            let name = format!("h:{i}");
            log(&mut records, &name, Change::Remove(Cause::Deleted));
            log(&mut records, &name, Change::Fields(&[set(b"third", b"a")]));
            log(&mut records, &name, Change::Fields(&[set(b"fourth", b"b")]));
        }
        // Redis logs what can't be known any more.
        for i in (1..KEYS).step_by(10) {
            let words = ["RENAME".to_owned(), format!("h:{i}"), format!("moved:{i}")];
            let text: Vec<String> =
                words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
            records.extend_from_slice(format!("*3\r\n{}", text.concat()).as_bytes());
            log(&mut records, &format!("moved:{i}"), Change::Fields(&[set(b"fifth", b"c")]));
        }
        let small = node(40);
        let missed = load(&small, &records);
        assert!(missed > KEYS as u64 / 2, "{missed} records were passed over");
        small.check().unwrap();
        let mut store = Loading::into(&small);
        let (mut whole, mut anew) = (0, 0);
        for i in 0..KEYS {
            let Some(found) = fields(&mut store, &format!("h:{i}")) else { continue };
            let said: [&[u8]; 2] =
                if i % 10 == 0 { [b"fourth", b"third"] } else { [b"first", b"second"] };
            let mut found: Vec<&[u8]> = found.iter().map(Vec::as_slice).collect();
            found.sort_unstable();
            assert_eq!(found, said, "h:{i}");
            assert_ne!(i % 10, 1, "h:{i} was renamed");
            *(if i % 10 == 0 { &mut anew } else { &mut whole }) += 1;
        }
        for i in (1..KEYS).step_by(10) {
            let Some(found) = fields(&mut store, &format!("moved:{i}")) else { continue };
            assert_eq!(found.len(), 3, "moved:{i}");
        }
        assert!(whole > 0 && anew == KEYS / 10, "{whole} {anew}");
        // With room for all of it, nothing is passed over.
        let large = node(1_000);
        assert_eq!(load(&large, &records), 0);
        assert_eq!(fields(&mut Loading::into(&large), "moved:1").unwrap().len(), 3);
    }

    #[test]
    fn with_more_than_can_be_remembered_what_is_not_there_is_not_known() {
        let node = node(400);
        let mut store = Loading::into(&node);
        for n in 0..=MISSING_KEYS as u64 {
            store.missing.set(1, KeyHash(n), true);
        }
        assert!(store.misses(1, b"any") && !store.misses(0, b"any"));
        store.apply(&Effect::Swap { a: 0, b: 1 }).unwrap();
        assert!(store.misses(0, b"any") && !store.misses(1, b"any"));
        let key = Key::new(&SECRET, b"any");
        let change = Change::Put { value: b"v", meta: Meta::default() };
        store.apply(&Effect::Key { db: 0, key, change }).unwrap();
        assert!(!store.misses(0, b"any"));
        store.apply(&Effect::Clear { db: 0 }).unwrap();
        assert!(!store.misses(0, b"any") && !store.misses(0, b"other"));
    }
}
