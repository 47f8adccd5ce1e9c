//! The storage state machine of Sessile.
//!
//! A [`Shard`] is a sequential store: it finds items, applies effects, expires, evicts and
//! relocates, all through `&mut self` and with `now` as a parameter. Shards share one [`Arena`],
//! from which all segments come.
//!
//! What always holds: every change of state is an [`Effect`]; an item is in the index exactly if
//! its header isn't marked dead; a key past its deadline is never seen.
//!
//! Not for: locks, sockets, files, clocks, threads, logging. They stand above.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod arena;
mod due;
pub mod effect;
mod evict;
pub mod hash;
mod index;
mod integrity;
pub mod limits;
pub mod prefetch;
mod prefixes;
mod relocate;
mod rng;
mod segments;
mod sessions;
pub mod shard;
mod snapshot;
mod watch;
mod wheel;

pub use arena::{Arena, Backing, HeapBacking};
pub use effect::{Applied, Cause, Change, Effect, Full, Journal, Key, Meta, OwnedItem, OwnedValue};
pub use evict::Policy;
pub use layout::header::VERSION_BITS;
pub use layout::{
    Address, HashKey, KeyHash, Kind, Memory, SEGMENT_BYTES, SEGMENT_WORDS, SegmentId, Slide, State,
};
pub use rng::Rng;
pub use sessions::Answer;
pub use shard::{Entry, Shard, ShardConfig, Stats, StringView};
pub use snapshot::Keeper;
pub use watch::Watch;
