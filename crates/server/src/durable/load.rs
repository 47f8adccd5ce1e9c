//! Loading: what files hold becomes a store again.
//!
//! While a store is loaded its time stands still, long ago: nothing ends. So a key whose deadline
//! was moved later in the log lives to see it; what is overdue when the store opens ends then.
//! ```text
//! file -> read, checked, decompressed (this thread) -> batches by shard -> fillers -> shards
//! ```
//!
//! What always holds: a file that is damaged is an error that says where, never half a store that
//! is shown to clients; what a shard gets, one filler puts there, in the file's order.

use crate::limits::{FILL_BYTES, FILL_ITEMS, FILL_WAITING, FILLERS};
use crate::os::{heap, machine};
use engine::{Change, Effect, Key, KeyHash, SEGMENT_BYTES};
use node::Node;
use persist::aof::{ReplayError, ReplayProblem};
use persist::rdb::{Event, Item, Others, Reader};
use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// The moment at which everything is loaded: before any deadline.
pub const LONG_AGO_MS: u64 = 1;

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys that are in the store now.
    pub keys: u64,
    /// Values of types that this store doesn't have, which were passed over.
    pub skipped: u64,
    /// The first of them: what it is and its key.
    pub first_skipped: Option<String>,
    /// Whether a checksum said that the file is whole.
    pub checked: bool,
    /// Records behind it that were applied, or instead of it.
    pub records: u64,
}

impl Found {
    /// Says in the log what is worth knowing of a file.
    pub fn warn(&self, name: &str) {
        if let Some(first) = &self.first_skipped {
            crate::log::warning(format_args!(
                "{name}: {} values of types that this store doesn't have were passed over, the \
                 first: {first}",
                self.skipped
            ));
        }
    }
}

/// Loads an RDB file into a node that nobody uses yet. `began_ms` is the time that it is.
///
/// # Errors
/// A sentence: what is wrong with the file, and where; or that there is no memory for it.
pub fn rdb(node: &Node, file: impl Read, began_ms: u64) -> Result<Found, String> {
    let (found, mut reader) = rdb_part(node, file, began_ms)?;
    reader.nothing_follows().map_err(|error| error.to_string())?;
    Ok(found)
}

/// As [`rdb`], but something may follow the file in the same source.
pub(super) fn rdb_part<R: Read>(
    node: &Node,
    file: R,
    began_ms: u64,
) -> Result<(Found, Reader<R>), String> {
    let secret = node.secret();
    let mut reader =
        Reader::new(file, Others::Skip, secret.0).map_err(|error| error.to_string())?;
    for number in 0..node.shard_count() {
        node.with_shard(number, |shard| shard.set_began(began_ms));
    }
    let count = machine::cores().saturating_sub(1).clamp(1, FILLERS).min(node.shard_count());
    std::thread::scope(|scope| {
        let fillers: Result<Vec<_>, _> = (0..count).map(|_| Filler::start(scope, node)).collect();
        let mut fillers = fillers.map_err(|error| format!("there can be no thread: {error}"))?;
        let read = read_all(node, &mut reader, &mut fillers);
        let filled = fillers.into_iter().map(Filler::end).fold(Ok(()), Result::and);
        // Where a filler gave up, reading ended for no reason of its own.
        filled.and(read)
    })
    .map(|found| (found, reader))
}

/// Reads a file and deals its items out.
fn read_all<R: Read>(
    node: &Node,
    reader: &mut Reader<R>,
    fillers: &mut [Filler<'_>],
) -> Result<Found, String> {
    let secret = node.secret();
    let mut found = Found::default();
    while let Some(event) = reader.next().map_err(|error| error.to_string())? {
        match event {
            Event::Aux { .. } | Event::Resize { .. } => {}
            Event::Item(item) => {
                if item.db >= node.databases() {
                    return Err(format!("it has a database {}, see `databases`", item.db));
                }
                let hash = secret.hash(&item.key);
                let at = hash.shard(node.shard_count()) % fillers.len().max(1);
                let filler = fillers.get_mut(at).ok_or("nobody to fill it in")?;
                filler.put(hash, item)?;
                found.keys += 1;
            }
            Event::Skipped(skipped) => {
                found.skipped += 1;
                found.first_skipped.get_or_insert_with(|| {
                    format!("{} {}", skipped.what, skipped.key.escape_ascii())
                });
            }
            Event::End { checked } => found.checked = checked,
        }
    }
    Ok(found)
}

/// Items on their way to some shards.
type Batch = Vec<(KeyHash, Item)>;

/// A thread that puts items into some of the shards.
struct Filler<'s> {
    batch: Batch,
    /// Bytes of the batch, more or less.
    bytes: usize,
    to: SyncSender<Batch>,
    /// Batches whose items are in their shards: what one thread has taken from the allocator,
    /// another one gives back at the price of a lock for each piece.
    back: Receiver<Batch>,
    thread: ScopedJoinHandle<'s, Result<(), String>>,
}

impl<'s> Filler<'s> {
    fn start<'e>(scope: &'s Scope<'s, 'e>, node: &'e Node) -> std::io::Result<Self> {
        let (to, from) = sync_channel(FILL_WAITING);
        let (done, back) = channel();
        let thread = Builder::new().name("load".to_owned());
        let thread = thread.spawn_scoped(scope, move || fill(node, &from, &done))?;
        Ok(Self { batch: Batch::new(), bytes: 0, to, back, thread })
    }

    /// Takes one more item.
    fn put(&mut self, hash: KeyHash, item: Item) -> Result<(), String> {
        self.bytes += item.key.len() + item.item.bytes();
        self.batch.push((hash, item));
        let is_full = self.batch.len() >= FILL_ITEMS || self.bytes >= FILL_BYTES;
        if is_full { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), String> {
        self.bytes = 0;
        let mut next = Batch::with_capacity(FILL_ITEMS);
        for mut old in self.back.try_iter() {
            old.clear();
            next = old;
        }
        let batch = std::mem::replace(&mut self.batch, next);
        self.to.send(batch).map_err(|_| "the load has ended".to_owned())
    }

    /// Returns when all that it was given is in the shards; says why it couldn't be.
    fn end(mut self) -> Result<(), String> {
        let sent = self.send();
        drop(self.to);
        let filled = self.thread.join();
        filled.unwrap_or_else(|_| Err("a thread of the load panicked".to_owned())).and(sent)
    }
}

/// Puts items into shards until no more come.
fn fill(node: &Node, from: &Receiver<Batch>, done: &Sender<Batch>) -> Result<(), String> {
    for batch in from {
        for (hash, Item { db, key, item, .. }) in &batch {
            let key = Key { bytes: key, hash: *hash };
            let effect = Effect::Key { db: *db, key, change: Change::Install(item) };
            node.install(&effect, *hash, LONG_AGO_MS).map_err(|_| no_room(node))?;
        }
        // Nobody wants them any more once everything is read.
        let _ = done.send(batch);
    }
    Ok(())
}

/// What is wrong with a record, and what can be done about it if that is memory.
pub(super) fn why(node: &Node, error: &ReplayError) -> String {
    match error.problem {
        ReplayProblem::Full => format!("{error}: {}", no_room(node)),
        _ => error.to_string(),
    }
}

fn no_room(node: &Node) -> String {
    let used = heap::used() + node.arena_bytes();
    let most = (node.arena().capacity() * SEGMENT_BYTES) as u64;
    let (what, most) = match node.maxmemory() {
        cap if cap == 0 || node.is_cap_lifted() => ("arena-max", most),
        cap => ("maxmemory", cap),
    };
    format!(
        "there isn't enough memory for it: {used} bytes are in use, and '{what}' is {most}; a start \
         with more of it loads the files"
    )
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{self, Options};
    use super::*;
    use crate::latency::Latency;
    use crate::os::clock::Clock;
    use engine::hash::{FieldDeadline, FieldEdit};
    use engine::{Arena, HashKey, HeapBacking, Meta, Policy, Rng};
    use node::{Limits, NodeConfig};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const NOW: u64 = 1_800_000_000_000;

    fn node() -> Node {
        let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(4_000)), 4_000));
        let limits = Limits { maxmemory: 0, policy: Policy::NoEviction, samples: 5 };
        let secret = HashKey([1, 2]);
        Node::new(
            arena,
            NodeConfig { shards: 4, databases: 4, bands: 4, secret, first_version: 0, limits },
        )
    }

    fn apply(node: &Node, db: usize, name: &str, change: Change<'_>) {
        let key = Key::new(&node.secret(), name.as_bytes());
        node.install(&Effect::Key { db, key, change }, key.hash, NOW).unwrap();
    }

    fn some_changes(node: &Node, rng: &mut Rng, count: u64) {
        for _ in 0..count {
            let (db, n) = (rng.below(2) as usize, rng.below(3_000));
            let deadline = (rng.below(3) == 0).then(|| NOW + 1 + rng.below(1 << 41));
            if n % 3 > 0 {
                let value = vec![rng.below(90) as u8; rng.below(600) as usize];
                let meta = Meta { deadline, flags: (n % 5) as u32, ..Meta::default() };
                apply(node, db, &format!("s:{n}"), Change::Put { value: &value, meta });
                continue;
            }
            let names: Vec<String> =
                (0..1 + rng.below(300)).map(|_| format!("field:{}", rng.below(900))).collect();
            let value = vec![b'v'; rng.below(90) as usize];
            let edit = |name| FieldEdit::Set {
                field: str::as_bytes(name),
                value: &value,
                deadline: deadline.map_or(FieldDeadline::Clear, FieldDeadline::At),
            };
            let edits: Vec<FieldEdit<'_>> = names.iter().map(|name| edit(name)).collect();
            apply(node, db, &format!("h:{n}"), Change::Fields(&edits));
        }
    }

    fn everything(node: &Node) -> BTreeMap<(usize, Vec<u8>), String> {
        let mut all = BTreeMap::new();
        for number in 0..node.shard_count() {
            node.with_shard(number, |shard| {
                for db in 0..4 {
                    let mut position = Some(0);
                    while let Some(from) = position {
                        position = shard.scan(db, from, 100, NOW, &mut |key, entry| {
                            let mut shown = format!("{:?} {}", entry.deadline(), entry.flags());
                            if let Some(string) = entry.string() {
                                shown += &format!("{:?}", string.to_vec());
                            }
                            let fields = entry.hash().into_iter().flat_map(|hash| hash.iter(0));
                            let mut fields: Vec<String> =
                                fields.map(|field| format!("{field:?}")).collect();
                            fields.sort();
                            all.insert((db, key.to_vec()), shown + &fields.concat());
                        });
                    }
                }
            });
        }
        all
    }

    fn options(latency: &Latency) -> Options<'_> {
        Options {
            latency,
            compress: true,
            aof_base: false,
            records: false,
            follows: None,
            now_ms: NOW,
            used_memory: 0,
            seed: Some(9),
        }
    }

    #[test]
    fn a_snapshot_under_change_is_whole_and_has_each_key_once() {
        let node = node();
        let mut rng = Rng::new(5);
        some_changes(&node, &mut rng, 4_000);
        let latency = Latency::new(Clock::manual(NOW * 1000));
        let mut file = Vec::new();
        let over = AtomicBool::new(false);
        let keys = std::thread::scope(|scope| {
            let changing = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    some_changes(&node, &mut rng, 50);
                }
            });
            let keys = snapshot::write(&node, options(&latency), &mut file, || ()).unwrap();
            over.store(true, Ordering::Relaxed);
            changing.join().unwrap();
            keys
        });
        let again = self::node();
        let found = rdb(&again, file.as_slice(), NOW).unwrap();
        assert_eq!((found.keys, found.skipped, found.checked), (keys, 0, true));
        again.check().unwrap();
        node.check().unwrap();
        assert_eq!(everything(&again).len() as u64, keys);
    }

    #[test]
    fn a_quiet_store_loads_to_the_same_and_a_torn_file_does_not() {
        let node = node();
        some_changes(&node, &mut Rng::new(6), 3_000);
        let latency = Latency::new(Clock::manual(NOW * 1000));
        let mut file = Vec::new();
        snapshot::write(&node, options(&latency), &mut file, || ()).unwrap();
        let again = self::node();
        rdb(&again, file.as_slice(), NOW).unwrap();
        assert!(everything(&again) == everything(&node));
        for cut in [1, 8, 9, 100, file.len() / 2, file.len() - 1] {
            let error = rdb(&self::node(), &file[..cut], NOW).unwrap_err();
            assert!(error.contains("byte") || error.contains("offset"), "{error}");
        }
        let middle = file.len() / 2;
        file[middle] ^= 0x10;
        rdb(&self::node(), file.as_slice(), NOW).unwrap_err();
        file[middle] ^= 0x10;
        file.push(b'\n');
        let error = rdb(&self::node(), file.as_slice(), NOW).unwrap_err();
        assert!(error.contains("follows the file's end"), "{error}");
    }
}
