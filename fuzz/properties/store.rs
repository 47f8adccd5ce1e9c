//! A small store that logs are replayed into.

use engine::{
    Arena, Effect, Full, HashKey, HeapBacking, Key, Kind, OwnedItem, Policy, Shard, ShardConfig,
};
use persist::aof::{Store, Unfit};
use std::sync::Arc;

pub(crate) const SECRET: HashKey = HashKey([3, 5]);
const NOW: u64 = 1_000;
const SEGMENTS: usize = 24;

/// `.1`: whether it goes on without records that can't be applied, as a salvage does, or refuses
/// them, as any other start.
pub(crate) struct Held(pub(crate) Shard, bool);

impl Store for Held {
    fn kind(&mut self, db: usize, key: &[u8]) -> Option<Kind> {
        self.0.peek(db, &Key::new(&SECRET, key), NOW).map(|entry| entry.kind())
    }

    fn item(&mut self, db: usize, key: &[u8]) -> Option<OwnedItem> {
        self.0.peek(db, &Key::new(&SECRET, key), NOW).map(|entry| entry.to_owned_item())
    }

    fn apply(&mut self, effect: &Effect<'_>) -> Result<(), Full> {
        self.0.apply(effect, NOW).map(|_| ())
    }

    fn leave_out(&mut self, unfit: &Unfit<'_>) -> bool {
        unfit.write(&mut Vec::new());
        self.1
    }
}

/// An empty one; `lenient`: whether it goes on without what can't be applied.
pub(crate) fn small(lenient: bool) -> Held {
    let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(SEGMENTS)), SEGMENTS));
    let config = ShardConfig {
        number: 0,
        databases: 2,
        bands: 2,
        secret: SECRET,
        first_version: 0,
        policy: Policy::NoEviction,
    };
    Held(Shard::new(arena, config), lenient)
}
