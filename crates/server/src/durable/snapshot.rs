//! Snapshots: the store as it was at one moment, as an RDB file, while it goes on.
//!
//! ```text
//! cut of all shards -> for each: a page of its index, locked for as long as it takes to copy
//!                      what changes meanwhile puts its old items on the shard's tray
//! trays -> encoded without any lock -> file
//! ```
//!
//! What always holds: the file holds each key of the moment once, or there is no file. Memory
//! grows by what lies on the trays, which are emptied all the time.

use engine::{Entry, Keeper, OwnedItem};
use node::Node;
use persist::extra::Extra;
use persist::rdb::{Encoder, Facts, Writer};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// What a snapshot is written with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether strings are compressed where it pays.
    pub compress: bool,
    /// Whether the file is the base of a log.
    pub aof_base: bool,
    /// When it's written, Unix milliseconds.
    pub now_ms: u64,
    /// Bytes of memory in use, for the file's facts.
    pub used_memory: u64,
}

/// An item of the moment.
struct Kept {
    db: usize,
    key: Vec<u8>,
    item: OwnedItem,
}

/// Where a shard puts items.
type Tray = Arc<Mutex<Vec<Kept>>>;

struct Waiter(Tray);

impl Keeper for Waiter {
    fn keep(&mut self, db: usize, key: &[u8], entry: Entry<'_>) {
        let kept = Kept { db, key: key.to_vec(), item: entry.to_owned_item() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
    }
}

/// Writes a snapshot of this moment to `out`. `cut` is called with the journal's position at the
/// moment. Answers how many keys it has.
///
/// # Errors
/// Those of `out`; nothing of the snapshot is left in the store then.
pub fn write<W: Write>(
    node: &Node,
    options: Options,
    out: W,
    cut: impl FnOnce(u64),
) -> io::Result<u64> {
    let trays: Vec<Tray> = (0..node.shard_count()).map(|_| Tray::default()).collect();
    let take = |number: usize| trays.get(number).map(Arc::clone).unwrap_or_default();
    cut(node.begin_snapshot(|number| Box::new(Waiter(take(number)))));
    let written = write_trays(node, options, &trays, out);
    for number in 0..node.shard_count() {
        drop(node.with_shard(number, engine::Shard::end_snapshot));
    }
    written
}

fn write_trays<W: Write>(node: &Node, options: Options, trays: &[Tray], out: W) -> io::Result<u64> {
    let facts = Facts {
        version: "7.0.15",
        ctime: options.now_ms / 1000,
        used_memory: options.used_memory,
        aof_base: options.aof_base,
        more: &[],
    };
    let mut file = File {
        writer: Writer::new(out, &facts, options.compress)?,
        encoder: Encoder::new(options.compress),
        pieces: Vec::new(),
        db: None,
        keys: 0,
    };
    for number in 0..trays.len() {
        let step = |shard: &mut engine::Shard| shard.step_snapshot(1, options.now_ms);
        while node.with_shard(number, step).unwrap_or(false) {
            trays.iter().try_for_each(|tray| file.empty(tray))?;
        }
    }
    trays.iter().try_for_each(|tray| file.empty(tray))?;
    file.writer.finish()?;
    Ok(file.keys)
}

/// The file on its way.
struct File<W: Write> {
    writer: Writer<W>,
    encoder: Encoder,
    pieces: Vec<u8>,
    db: Option<usize>,
    keys: u64,
}

impl<W: Write> File<W> {
    /// Writes what lies on a tray.
    fn empty(&mut self, tray: &Tray) -> io::Result<()> {
        let items = std::mem::take(&mut *tray.lock().unwrap_or_else(PoisonError::into_inner));
        self.pieces.clear();
        for Kept { db, key, item } in items {
            if self.db.replace(db) != Some(db) {
                Encoder::select(db, &mut self.pieces);
            }
            self.encoder.owned(&key, &item, &Extra::of(&item.meta), &mut self.pieces);
            self.keys += 1;
        }
        if self.pieces.is_empty() { Ok(()) } else { self.writer.append(&self.pieces) }
    }
}
