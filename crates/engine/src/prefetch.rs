//! Fetching ahead: a batch of requests lets its cache misses overlap.
//!
//! Reads index words without the shard's lock, by atomic loads; what it sees may be old, and is
//! used for nothing but prefetches.

use crate::arena::Arena;
use crate::shard::root_word;
use layout::directory::{DirectoryWord, bucket, descend, place};
use layout::{Address, BUCKET_WORDS, KeyHash, Slot};
use std::sync::atomic::Ordering;

/// Begins to fetch the home bucket of a key; its address for [`item`].
#[inline]
pub fn home_bucket(arena: &Arena, shard: usize, db: usize, hash: KeyHash) -> Option<Address> {
    let memory = arena.memory();
    let found = descend(memory, root_word(shard, db), place(hash.position()));
    let leaf: DirectoryWord = found.leaf;
    if leaf.is_empty() || leaf.is_node() {
        return None;
    }
    let at = bucket(leaf.address(), hash.bucket());
    memory.prefetch(at.index());
    Some(at)
}

/// Begins to fetch the start of the item that a bucket seems to have for a key.
#[inline]
pub fn item(arena: &Arena, bucket: Address, hash: KeyHash) {
    let memory = arena.memory();
    if bucket.index() + BUCKET_WORDS > memory.words() {
        return;
    }
    let (_, slots) = memory.bucket(bucket.index());
    for slot in slots {
        let slot = Slot(slot.load(Ordering::Relaxed));
        if slot.tag() == hash.tag() && !slot.is_empty() {
            let at = slot.address().index();
            for line in 0..PREFETCH_LINES {
                memory.prefetch(at + line * 8);
            }
            return;
        }
    }
}

/// Cache lines of an item that are fetched: header, key, and most of a small session.
const PREFETCH_LINES: usize = 8;
