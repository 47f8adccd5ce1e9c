//! RDB: a snapshot as one file, the format of Redis.
//!
//! ```text
//! "REDIS0010" | aux: FA name value ... | FE database | FB keys, deadlines
//!             | [FA "sessile-item" extra] [FC deadline (8, ms)] type key value | ...
//!             | FF | checksum (8)
//!
//! length   00LLLLLL | 01LLLLLL L | 10000000 4 bytes, big end first | 10000001 8 bytes
//! string   length bytes | 11000000 i8 | 11000001 i16 | 11000010 i32 | 11000011 LZF
//! ```
//!
//! Version 10 is what is written, so that Redis 7.0 and everything since reads it. What it has no
//! word for stands in aux fields before the item ([`crate::extra`]): memcached's flags, a
//! session's times and user, and the deadlines of fields. Redis 7.4 has types of its own for
//! those (24 and 25, in version 12), which no earlier one reads; so in Redis the fields of our
//! files don't end. Between items stand marks, aux fields by which a stretch of a damaged file is
//! known to be right.
//!
//! Read are versions 1 to 15 of Redis (8.10) and 80 of Valkey: strings and hashes in each of their
//! encodings. Other types are passed over or refused, and so is what modules keep beside a key.
//! Sources: docs of sripathikrishnan/redis-rdb-tools and the wiki of leonchen83/redis-replicator
//! (versions to 10); the descriptions of redis/redis 13209 and redis/librdb 47 and 48 (type 25),
//! of redis/redis 14445 and redis/librdb 93 (version 13), 98 and 100 (version 14) and 107 (version
//! 15); what other readers take, written in Go and Rust: HDT3213/rdb 62 (version 80), rediscope and
//! 919927181/rdr (types 22 to 28), edijs1984/SnugKV (types 22 to 32); files of Redis 7.0.15.

mod collect;
mod encode;
mod input;
mod marks;
mod mend;
pub mod packed;
mod read;
mod skip;
mod template;
mod value;
mod write;

pub use encode::{Body, Encoder, length};
pub use input::{Error, Problem};
pub use marks::{Stretches, right_stretches};
pub use mend::{Mend, mend};
pub use read::{Event, Item, Others, Reader, Skipped};
pub use write::{Facts, Writer};

pub(crate) use collect::Collect;
pub(crate) use input::Input;
pub(crate) use op::KEY_METADATA;
pub(crate) use skip::metadata;
pub(crate) use template::Templates;
pub(crate) use value::{Form, is_kept, value};

/// The version that is written: Redis 7.0 and all later ones read it.
pub const VERSION: u16 = 10;
/// Versions that are read, of Redis.
pub const VERSIONS: std::ops::RangeInclusive<u16> = 1..=15;
/// The first version whose files end with a checksum.
const CHECKED: u16 = 5;
/// The version of Valkey 9.
pub const VERSION_VALKEY: u16 = 80;

/// What a byte says where an item could begin.
mod op {
    /// Field names of many hashes, Redis 8.10.
    pub(super) const TEMPLATE: u8 = 242;
    /// What modules keep beside the key that follows, Redis 8.6.
    pub(crate) const KEY_METADATA: u8 = 243;
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION: u8 = 245;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQUENCY: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZE: u8 = 251;
    pub(super) const EXPIRE_MS: u8 = 252;
    pub(super) const EXPIRE: u8 = 253;
    pub(super) const SELECT: u8 = 254;
    pub(super) const END: u8 = 255;
}

/// The types of values.
pub(crate) mod kind {
    pub(crate) const STRING: u8 = 0;
    pub(crate) const LIST: u8 = 1;
    pub(crate) const SET: u8 = 2;
    pub(crate) const ZSET: u8 = 3;
    pub(crate) const HASH: u8 = 4;
    pub(crate) const ZSET_2: u8 = 5;
    pub(crate) const MODULE_2: u8 = 7;
    pub(crate) const HASH_ZIPMAP: u8 = 9;
    pub(crate) const LIST_ZIPLIST: u8 = 10;
    pub(crate) const SET_INTSET: u8 = 11;
    pub(crate) const ZSET_ZIPLIST: u8 = 12;
    pub(crate) const HASH_ZIPLIST: u8 = 13;
    pub(crate) const LIST_QUICKLIST: u8 = 14;
    pub(crate) const STREAM: u8 = 15;
    pub(crate) const HASH_LISTPACK: u8 = 16;
    pub(crate) const ZSET_LISTPACK: u8 = 17;
    pub(crate) const LIST_QUICKLIST_2: u8 = 18;
    pub(crate) const STREAM_2: u8 = 19;
    pub(crate) const SET_LISTPACK: u8 = 20;
    pub(crate) const STREAM_3: u8 = 21;
    /// In Valkey's version 80: a hash whose fields may have deadlines. In Redis' 7.4, before its
    /// release, too, in another form.
    pub(crate) const HASH_22: u8 = 22;
    /// As [`HASH_LISTPACK_DATED`], without the first deadline; before the release of Redis 7.4.
    pub(crate) const HASH_LISTPACK_DATED_EARLY: u8 = 23;
    /// A large hash whose fields may have deadlines, Redis 7.4.
    pub(crate) const HASH_DATED: u8 = 24;
    /// A small hash whose fields may have deadlines, Redis 7.4.
    pub(crate) const HASH_LISTPACK_DATED: u8 = 25;
    pub(crate) const STREAM_4: u8 = 26;
    pub(crate) const STREAM_5: u8 = 27;
    pub(crate) const ARRAY: u8 = 28;
    /// Hashes whose names stand apart: see `template.rs`.
    pub(crate) const HASH_TEMPLATE_LISTPACK: u8 = 29;
    pub(crate) const HASH_TEMPLATE: u8 = 31;
    pub(crate) const HASH_TEMPLATE_REFERENCE: u8 = 32;
}

#[cfg(test)]
pub(crate) mod tests;
