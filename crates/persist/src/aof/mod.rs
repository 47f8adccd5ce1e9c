//! The append-only log: which files, what stands in them, and how they are read again.
//!
//! ```text
//! appendonly.aof.manifest      names a base and the increments after it, in order
//! appendonly.aof.1.base.rdb    an RDB file (crate::rdb), or
//! appendonly.aof.1.base.aof    records, as in an increment ([`BaseWriter`])
//! appendonly.aof.1.incr.aof    commands of Redis that state results:
//!
//! #sessile 1 <seed>                                      the opening line
//! #sc <sequence> <bytes> <chain> <checksum> <synced>     a chunk: its records follow
//! #sm <hex>                                              what Redis has no word for
//! *5 $3 SET $1 k $1 v $4 PXAT $13 1800000000000          the record that it belongs to
//! ######...                                              room for what comes ([`room`])
//! ```
//!
//! Redis 7.0 passes over lines that begin with `#` and runs the rest; its redis-check-aof too.
//! The checksum of a chunk covers the file's seed, the checksum before, the chunk's own line and
//! its bytes, so that nothing can be missing, doubled or left over from another file. `synced` says how much of the
//! file was on the disk when the chunk was written.
//!
//! What is found wrong while reading is one of two cases ([`Verdict`]): before what was synced
//! it's damage, and nothing may be loaded; after it, it's what a crash leaves of a write that
//! nobody was told of, and is cut.
//! What always holds: a chunk is all of what one turn of the journal gave, so an effect of several
//! records and a transaction are within one; it begins with the choice of its database, so that it can
//! be read where the chunks before it are lost ([`salvage`]).

mod base;
mod chunk;
mod manifest;
mod mend;
mod read;
mod record;
mod replay;
pub mod room;
pub mod salvage;

pub use base::{BaseFacts, BaseWriter, HEAD, is_ours};
pub use chunk::{ChunkLine, Framer, Tail};
pub use manifest::{
    Manifest, ManifestError, Part, base_name, increment_name, manifest_name, records_base_name,
};
pub use mend::mend;
pub use read::{Error, Fault, Problem, Reader, Record, Verdict};
pub use record::{TOGETHER, note, record, select, unlink};
pub use replay::{DryRun, Replay, ReplayError, ReplayProblem, Store, Trust, Unfit, commands};

#[cfg(test)]
mod tests;
