//! The formats in which a store survives: RDB snapshots, DUMP payloads, the append-only log.
//!
//! ```text
//! snapshot   items of the engine --rdb::Encoder--> pieces --rdb::Writer--> file --rdb::Reader--> items
//! one value  value --dump::write--> payload --dump::read--> value
//! log        effects --aof::record--> RESP commands --aof::Framer--> chunks, each with a line of facts
//!            chunks --aof::Reader--> records --aof::Replay--> effects
//! folder     aof::Manifest: which base and which increments make up the log, in order
//! ```
//!
//! Redis 7.0 loads what is written here, and what Redis and Valkey write is read here, as far as
//! there are types for it. What always holds: whatever the bytes, reading them ends with items or
//! with an error that says where; memory is taken only for bytes that came; nothing panics.
//! Not for: files, folders, threads, clocks. Everything works on slices, `Read` and `Write`.

#![forbid(unsafe_code)]

pub mod aof;
pub mod checksum;
pub mod dump;
pub mod extra;
pub mod faults;
pub mod limits;
pub mod lzf;
pub mod patch;
pub mod rdb;
