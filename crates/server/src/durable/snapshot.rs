//! Snapshots: the store as it was at one moment, as an RDB file or a base made of records, while it
//! goes on.
//!
//! ```text
//! cut of all shards -> for each: a page of its index, locked for as long as it takes to copy
//!                      what changes meanwhile puts its old items on the shard's tray
//! trays -> encoded without any lock -> file
//! ```
//!
//! What always holds: the file holds each key of the moment once, or there is no file. Memory
//! grows by what lies on the trays, which are emptied all the time; if the disk stalls so long that
//! too much comes together there, the snapshot gives way and fails.

use crate::latency::{Event, Latency};
use crate::limits::{TRAYS_LEAST, TRAYS_MOST, TRAYS_PART};
use crate::os::schedule;
use engine::{Entry, Keeper, OwnedItem};
use node::Node;
use persist::aof::BaseWriter;
use persist::extra::Extra;
use persist::rdb::{Encoder, Facts, Writer};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

/// The fact of a base which increment follows it.
pub(super) const FOLLOWS: &str = "sessile-increment";
/// Bytes that are encoded before they are written.
const PIECES: usize = 1 << 20;

/// What a snapshot is written with.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// What is told how long all shards stood still.
    pub latency: &'a Latency,
    /// Whether strings are compressed where it pays.
    pub compress: bool,
    /// Whether the file is the base of a log.
    pub aof_base: bool,
    /// Whether such a base is made of records instead of RDB.
    pub records: bool,
    /// The number of the increment that follows such a base.
    pub follows: Option<u64>,
    /// When it's written, Unix milliseconds.
    pub now_ms: u64,
    /// Bytes of memory in use, for the file's facts.
    pub used_memory: u64,
    /// Random, for the file's marks, by which parts of it are known to be right if others aren't;
    /// without one it has none.
    pub seed: Option<u64>,
}

/// An item of the moment.
struct Kept {
    db: usize,
    key: Vec<u8>,
    item: OwnedItem,
}

impl Kept {
    /// Bytes that it takes, more or less.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.item.bytes()
    }
}

/// Where a shard puts items.
type Tray = Arc<Mutex<Vec<Kept>>>;

/// All trays, what lies on them, and how much may.
struct Trays {
    each: Vec<Tray>,
    bytes: AtomicUsize,
    /// So much may lie there.
    most: usize,
    /// So much more may: what the walk's last page has brought, which is written next. A page is a
    /// few hundred items, however large.
    page: AtomicUsize,
    /// It was too much once.
    gave_way: AtomicBool,
    /// Somebody was told to forget what lay there then.
    forgets: AtomicBool,
}

impl Trays {
    fn new(maxmemory: u64, shards: usize) -> Self {
        let cap = if maxmemory == 0 { usize::MAX } else { maxmemory as usize };
        Self {
            each: (0..shards).map(|_| Tray::default()).collect(),
            bytes: AtomicUsize::new(0),
            most: (cap / TRAYS_PART).clamp(TRAYS_LEAST, TRAYS_MOST),
            page: AtomicUsize::new(0),
            gave_way: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
        }
    }

    /// A step of the walk, which brings a page.
    fn walk<T>(&self, step: impl FnOnce() -> T) -> T {
        self.page.store(TRAYS_MOST, Ordering::Relaxed);
        let done = step();
        let brought = self.bytes.load(Ordering::Relaxed).min(TRAYS_MOST);
        self.page.store(brought, Ordering::Relaxed);
        done
    }

    /// Whether more may be put there. Once it mayn't, it never may again: something of the moment
    /// is missing.
    fn takes_more(&self) -> bool {
        let most = self.most.saturating_add(self.page.load(Ordering::Relaxed));
        if self.bytes.load(Ordering::Relaxed) > most {
            self.gave_way.store(true, Ordering::Relaxed);
        }
        !self.has_given_way()
    }

    fn has_given_way(&self) -> bool {
        self.gave_way.load(Ordering::Relaxed)
    }

    /// Has a thread of its own take off and free what lies on all trays: whoever finds that it's too
    /// much holds a shard's lock, for which others wait, and the one who writes waits for the disk.
    fn forget(self: &Arc<Self>) {
        if self.forgets.swap(true, Ordering::Relaxed) {
            return;
        }
        let trays = Arc::clone(self);
        let forget = move || trays.each.iter().for_each(|tray| drop(taken(tray)));
        // Without a thread it goes when the snapshot does.
        let _ = Builder::new().name("forget".to_owned()).spawn(forget);
    }
}

/// What lies on a tray, taken off.
fn taken(tray: &Tray) -> Vec<Kept> {
    std::mem::take(&mut *tray.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Puts a shard's items on its tray. Once there are too many on all of them, the disk doesn't
/// follow: nothing is kept any more, what was is forgotten, and the snapshot fails.
struct Waiter(Tray, Arc<Trays>);

impl Keeper for Waiter {
    fn keep(&mut self, db: usize, key: &[u8], entry: Entry<'_>) {
        if !self.1.takes_more() {
            self.1.forget();
            return;
        }
        let kept = Kept { db, key: key.to_vec(), item: entry.to_owned_item() };
        self.1.bytes.fetch_add(kept.bytes(), Ordering::Relaxed);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
    }
}

/// Writes a snapshot of this moment to `out`. The base of a log cuts the journal, and `cut` is called
/// after that. Answers how many keys it has.
///
/// # Errors
/// Those of `out`; nothing of the snapshot is left in the store then.
pub fn write<W: Write>(
    node: &Node,
    options: Options<'_>,
    out: W,
    cut: impl FnOnce(),
) -> io::Result<u64> {
    let trays = Arc::new(Trays::new(node.maxmemory(), node.shard_count()));
    let take = |number: usize| trays.each.get(number).map(Arc::clone).unwrap_or_default();
    let waiter = |number| Box::new(Waiter(take(number), Arc::clone(&trays)));
    options.latency.timed(Event::SnapshotCut, || {
        node.begin_snapshot(options.aof_base, |number| waiter(number) as Box<dyn Keeper>)
    });
    cut();
    let written = write_trays(node, options, &trays, out);
    for number in 0..node.shard_count() {
        drop(node.with_shard(number, engine::Shard::end_snapshot));
    }
    written
}

fn write_trays<W: Write>(
    node: &Node,
    options: Options<'_>,
    trays: &Trays,
    out: W,
) -> io::Result<u64> {
    let mut file = if options.aof_base && options.records {
        let seed = options.seed.ok_or_else(|| io::Error::other("no random number for a seed"))?;
        File::Records(BaseWriter::new(out, seed, options.follows)?)
    } else {
        File::Rdb(Box::new(Rdb::begin(options, out)?))
    };
    let mut keys = 0;
    for number in 0..trays.each.len() {
        // Others may wait for the shard, but not bring more because this does.
        let step =
            |shard: &mut engine::Shard| trays.walk(|| shard.step_snapshot(1, options.now_ms));
        while node.with_shard(number, step).unwrap_or(false) {
            for tray in &trays.each {
                keys += file.empty(tray, trays)?;
            }
            schedule::let_others_go();
        }
    }
    for tray in &trays.each {
        keys += file.empty(tray, trays)?;
    }
    match file {
        File::Rdb(rdb) => drop(rdb.writer.finish()?),
        File::Records(writer) => drop(writer.finish()?),
    }
    Ok(keys)
}

/// The file on its way.
enum File<W: Write> {
    Rdb(Box<Rdb<W>>),
    Records(BaseWriter<W>),
}

impl<W: Write> File<W> {
    /// Writes what lies on a tray; how many keys.
    fn empty(&mut self, tray: &Tray, trays: &Trays) -> io::Result<u64> {
        if trays.has_given_way() {
            return Err(io::Error::other("more changes than the disk takes meanwhile"));
        }
        let items = taken(tray);
        let keys = items.len() as u64;
        trays.bytes.fetch_sub(items.iter().map(Kept::bytes).sum(), Ordering::Relaxed);
        match self {
            Self::Rdb(rdb) => rdb.put(items)?,
            Self::Records(writer) => {
                for Kept { db, key, item } in items {
                    writer.item(db, &key, &item)?;
                }
            }
        }
        Ok(keys)
    }
}

/// A file of RDB on its way.
struct Rdb<W: Write> {
    writer: Writer<W>,
    encoder: Encoder,
    pieces: Vec<u8>,
    db: Option<usize>,
}

impl<W: Write> Rdb<W> {
    fn begin(options: Options<'_>, out: W) -> io::Result<Self> {
        let follows = options.follows.map(|number| number.to_string());
        let more = follows.as_ref().map(|number| (FOLLOWS, number.as_bytes()));
        let facts = Facts {
            version: "7.0.15",
            ctime: options.now_ms / 1000,
            used_memory: options.used_memory,
            aof_base: options.aof_base,
            more: more.as_slice(),
        };
        let mut writer = Writer::new(out, &facts, options.compress)?;
        if let Some(seed) = options.seed {
            writer.begin_marks(seed)?;
        }
        let encoder = Encoder::new(options.compress);
        Ok(Self { writer, encoder, pieces: Vec::new(), db: None })
    }

    fn put(&mut self, items: Vec<Kept>) -> io::Result<()> {
        self.pieces.clear();
        for Kept { db, key, item } in items {
            if self.db.replace(db) != Some(db) {
                Encoder::select(db, &mut self.pieces);
            }
            self.encoder.owned(&key, &item, &Extra::default(), &mut self.pieces);
            if self.pieces.len() >= PIECES {
                self.append()?;
            }
        }
        self.append()
    }

    /// Writes what is encoded, and a mark if one is due.
    fn append(&mut self) -> io::Result<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        self.writer.append(&self.pieces)?;
        self.pieces.clear();
        if self.writer.mark()? {
            self.db = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{
        Arena, Change, Effect, HashKey, HeapBacking, Key, Meta, Policy, Shard, ShardConfig,
    };
    use std::time::{Duration, Instant};

    #[test]
    fn trays_hold_a_part_of_all_memory() {
        let room = |maxmemory, bytes| {
            let trays = Trays::new(maxmemory, 1);
            trays.bytes.store(bytes, Ordering::Relaxed);
            trays.takes_more()
        };
        assert!(room(0, TRAYS_MOST) && !room(0, TRAYS_MOST + 1));
        assert!(room(64 << 30, TRAYS_MOST) && !room(64 << 30, TRAYS_MOST + 1));
        assert!(room(512 << 20, 128 << 20) && !room(512 << 20, (128 << 20) + 1));
        assert!(room(4 << 20, TRAYS_LEAST) && !room(4 << 20, TRAYS_LEAST + 1));
    }

    #[test]
    fn a_page_of_large_values_is_no_stalled_disk() {
        let trays = Trays::new(64 << 20, 1);
        trays.walk(|| {
            trays.bytes.store(100 << 20, Ordering::Relaxed);
            assert!(trays.takes_more());
        });
        trays.bytes.store((100 << 20) + TRAYS_LEAST, Ordering::Relaxed);
        assert!(trays.takes_more(), "what changes meanwhile");
        trays.bytes.store((100 << 20) + TRAYS_LEAST + 1, Ordering::Relaxed);
        assert!(!trays.takes_more());
    }

    #[test]
    fn what_gave_way_once_never_goes_on() {
        let trays = Trays::new(256 << 20, 1);
        trays.bytes.store(TRAYS_MOST, Ordering::Relaxed);
        assert!(!trays.takes_more());
        trays.bytes.store(0, Ordering::Relaxed);
        assert!(!trays.takes_more() && trays.has_given_way());
    }

    #[test]
    fn once_it_is_too_much_what_lies_on_every_tray_is_forgotten_while_the_disk_stalls() {
        let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(24)), 24));
        let secret = HashKey([1, 2]);
        let config = ShardConfig {
            number: 0,
            databases: 1,
            bands: 1,
            secret,
            first_version: 0,
            policy: Policy::NoEviction,
        };
        let mut shard = Shard::new(arena, config);
        let key = Key::new(&secret, b"k");
        let change = Change::Put { value: b"v", meta: Meta::default() };
        shard.apply(&Effect::Key { db: 0, key, change }, 1).unwrap();
        let trays = Arc::new(Trays::new(256 << 20, 3));
        let keep_on_each = || {
            for tray in &trays.each {
                let entry = shard.peek(0, &key, 1).unwrap();
                Waiter(Arc::clone(tray), Arc::clone(&trays)).keep(0, b"k", entry);
            }
            trays.each.iter().map(|tray| tray.lock().unwrap().len()).sum::<usize>()
        };
        assert_eq!(keep_on_each(), 3);
        trays.bytes.store(TRAYS_MOST, Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(60);
        while keep_on_each() > 0 {
            assert!(Instant::now() < deadline, "what lies there stays there");
            std::thread::yield_now();
        }
    }
}
