//! The bytes that other processes may read.
//!
//! One arena of shared memory holds every key. This crate says what its bytes mean: words and
//! addresses, index buckets, the directory above them, item headers, packed keys, the key hash.
//! The engine writes these bytes under a shard's lock; a reader in another process will read the
//! same bytes with the same functions, so that the two can't drift.
//!
//! What always holds: shared bytes are written by 8-byte atomic stores only, and every address
//! that is read from the arena is checked against its size before use.
//!
//! Not for: deciding what to write. Nothing here allocates, locks or knows the time.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod address;
pub mod directory;
pub mod hash;
pub mod header;
pub mod key;
pub mod memory;
pub mod slide;

pub use address::{
    Address, BUCKET_WORDS, LEAF_BUCKETS, LEAF_WORDS, NODE_WORDS, SEGMENT_BYTES, SEGMENT_WORDS,
    SegmentId, Slot,
};
pub use hash::{HashKey, KeyHash};
pub use header::{Fields, Form, Header, Kind};
pub use memory::Memory;
pub use slide::{Slide, State};
