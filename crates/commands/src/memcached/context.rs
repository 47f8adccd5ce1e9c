//! What memcached's commands work with.

use super::counters::{Count, Counters};
use super::flush::Flush;
use super::world::World;
use crate::context::Shards;
use crate::host::Host;
use crate::ops::cache::Place;
use engine::{Key, KeyHash};

/// Settings that memcached's commands obey.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The size of the largest item in bytes, counted as memcached does.
    pub item_size_max: usize,
    /// The version of memcached that clients are told.
    pub version: &'static str,
    /// The version of the server itself.
    pub server_version: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            item_size_max: 1024 * 1024,
            version: "1.6.18",
            server_version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl Settings {
    /// Whether an item isn't too large, by memcached's arithmetic: a header of 48 bytes, a CAS
    /// value, the key and a zero, the flags unless they are 0, the value and a line end.
    pub const fn fits(&self, key: usize, flags: u32, value: usize) -> bool {
        let flags = if flags == 0 { 0 } else { 4 };
        value.saturating_add(48 + 8 + key + 1 + flags + 2) <= self.item_size_max
    }
}

/// What memcached's commands work with.
pub struct Ctx<'a> {
    /// Unix time in milliseconds; the same during the whole request.
    pub now: u64,
    /// The store. The shards of the request's keys are locked.
    pub shards: &'a mut dyn Shards,
    /// The first key of the request and its hash, if it was hashed before.
    pub hashed: Option<(&'a [u8], KeyHash)>,
    /// The settings.
    pub settings: &'a Settings,
    /// The worker's counters.
    pub counters: &'a Counters,
    /// When the database is to be emptied.
    pub flush: &'a Flush,
    /// Who asks, by number.
    pub client: u64,
    /// Settings of the server and other clients.
    pub host: &'a dyn Host,
    /// What else lies around the store.
    pub world: &'a dyn World,
}

impl Ctx<'_> {
    /// A key's place in its shard.
    #[inline]
    pub(super) fn place<'p>(&'p mut self, bytes: &'p [u8]) -> Place<'p> {
        let key = match self.hashed {
            Some((known, hash)) if std::ptr::eq(known, bytes) => Key { bytes, hash },
            _ => Key::new(&self.shards.secret(), bytes),
        };
        let number = key.hash.shard(self.shards.count());
        Place { shard: self.shards.shard(number), key, now: self.now }
    }

    /// Counts one more, and a hit or a miss of it.
    #[inline]
    pub(super) fn tally(&self, hit: bool, (hits, misses): (Count, Count)) {
        self.counters.add(if hit { hits } else { misses });
    }
}

impl std::fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("now", &self.now).finish_non_exhaustive()
    }
}
