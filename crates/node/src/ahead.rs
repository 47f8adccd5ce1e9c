//! Fetching ahead: the cache misses of several requests overlap, first those of all buckets, then
//! those of all items.
//!
//! What always holds: nothing here is locked or changed, and nothing depends on it but time; a
//! guess about the wrong key is only a waste.

use crate::Node;
use crate::connection::{Connection, Worker};
use crate::memcached::McConnection;
use commands::memcached::DATABASE;
use engine::{KeyHash, prefetch};
use protocol::memcached::keys_ahead;
use protocol::resp::first_key;
use smallvec::SmallVec;

/// Requests that are looked at before they are executed.
pub(crate) const BATCH: usize = 16;

impl Node {
    /// Begins to fetch what the first request of `input` is about; [`Node::foreseen`] goes on.
    #[inline]
    pub fn foresee(&self, worker: &mut Worker, connection: &Connection, input: &[u8]) {
        if let Some(key) = first_key(input) {
            self.foresee_key(worker, connection.client.db, key);
        }
    }

    /// As [`Node::foresee`], of a memcached connection.
    #[inline]
    pub fn foresee_memcached(&self, worker: &mut Worker, _: &McConnection, input: &[u8]) {
        if let Some(key) = keys_ahead(input).next() {
            self.foresee_key(worker, DATABASE, key);
        }
    }

    #[inline]
    fn foresee_key(&self, worker: &mut Worker, db: usize, key: &[u8]) {
        let hash = self.secret.hash(key);
        let shard = hash.shard(self.shards.len());
        if let Some(bucket) = prefetch::home_bucket(&self.arena, shard, db, hash) {
            worker.foreseen.push((bucket, hash));
        }
    }

    /// Begins to fetch the items of all requests that were foreseen.
    #[inline]
    pub fn foreseen(&self, worker: &mut Worker) {
        for (bucket, hash) in worker.foreseen.drain(..) {
            prefetch::item(&self.arena, bucket, hash);
        }
    }

    /// Fetches the buckets and items of a batch of keys; answers the keys' hashes.
    #[inline]
    pub(crate) fn fetch_ahead<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
        db: usize,
    ) -> SmallVec<[KeyHash; BATCH]> {
        let mut hashes = SmallVec::new();
        let mut buckets: SmallVec<[_; BATCH]> = SmallVec::new();
        for key in keys.take(BATCH) {
            let hash = self.secret.hash(key);
            hashes.push(hash);
            let shard = hash.shard(self.shards.len());
            buckets.push(prefetch::home_bucket(&self.arena, shard, db, hash));
        }
        for (bucket, hash) in buckets.iter().zip(hashes.iter()) {
            if let Some(bucket) = bucket {
                prefetch::item(&self.arena, *bucket, *hash);
            }
        }
        hashes
    }
}
