//! A base of the log, in each form that Redis gives it.
//!
//! ```text
//! *.rdb             RDB: what is written here, and by Redis 7
//! any other name    RDB and then records, or only these: a log of Redis before 7, which Redis 7 made
//!                   its base as it was, or a base under `aof-use-rdb-preamble no`
//! ```
//!
//! What always holds: all of it is loaded, or it's an error. Records of Redis have no checksums, so
//! nothing but a whole file is taken for right; those that are written here have them.

use super::load::{Found, rdb_part, why};
use super::loading::Loading;
use engine::Shard;
use node::Node;
use persist::aof::{self, BaseFacts, DryRun, Reader, Record};
use persist::rdb::{self, Others, Reader as RdbReader};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

/// What is wrong with one of ours whose last chunks are missing.
pub(super) const CUT: &str = "it isn't all there: its end is missing";
/// What an operator is told of such a file that isn't whole.
pub(super) const NO_SALVAGE: &str = " (Redis wrote it, without checksums: see its redis-check-aof)";

/// Whether a base of that name may have records.
pub(super) fn has_records(name: &str) -> bool {
    !name.ends_with(".rdb")
}

/// Whether a base that may have records is one that was written here.
pub(super) fn is_ours(path: &Path) -> bool {
    let head = File::open(path).and_then(|file| {
        let mut head = Vec::new();
        file.take(aof::HEAD.len() as u64).read_to_end(&mut head)?;
        Ok(head)
    });
    head.is_ok_and(|head| aof::is_ours(&head))
}

/// The number of the increment that follows such a base, if it says so.
pub(super) fn followed_by(path: &Path) -> Option<u64> {
    let mut reader = Reader::new(File::open(path).ok()?, u64::MAX);
    let mut facts = BaseFacts::default();
    facts.note(&reader.next().ok()??);
    facts.follows()
}

/// Loads a base that may have records.
///
/// # Errors
/// A sentence: what is wrong with it, and where.
pub(super) fn load(
    store: &mut Loading<'_>,
    file: impl Read,
    began_ms: u64,
) -> Result<Found, String> {
    let (is_rdb, file) = begun(file).map_err(|error| error.to_string())?;
    let (node, mut replay) = (store.node(), store.replay());
    let mut found = Found::default();
    let apply =
        |record: &Record<'_>| replay.record(record, store).map_err(|error| why(node, &error));
    if is_rdb {
        let (of_rdb, reader) = rdb_part(node, file, began_ms)?;
        found = of_rdb;
        let offset = reader.offset();
        found.records = records(reader.into_rest(), offset, apply)?;
    } else {
        found.records = records(file, 0, apply)?;
    }
    store.applied(replay);
    found.keys = keys(node);
    Ok(found)
}

/// How many keys a node has.
pub(super) fn keys(node: &Node) -> u64 {
    let of = |shard: &mut Shard| (0..node.databases()).map(|db| shard.len(db)).sum::<u64>();
    (0..node.shard_count()).filter_map(|number| node.with_shard(number, of)).sum()
}

/// Whether records that are right, each of them, begin as a base of ours and don't end as one.
///
/// # Errors
/// They can't be read.
pub(super) fn is_cut(file: impl Read) -> Result<bool, String> {
    let (mut reader, mut facts) = (Reader::new(file, u64::MAX), BaseFacts::default());
    while let Some(record) = reader.next().map_err(|error| error.to_string())? {
        facts.note(&record);
    }
    Ok(facts.is_cut(reader.tail().is_some()))
}

/// Reads such a base through; how many records it has.
///
/// # Errors
/// A sentence: what is wrong with it, and where.
pub(super) fn read_through(file: impl Read) -> Result<u64, String> {
    let (is_rdb, file) = begun(file).map_err(|error| error.to_string())?;
    if !is_rdb {
        return read_records(file, 0);
    }
    let said = |error: rdb::Error| error.to_string();
    // A secret for values that nobody keeps.
    let mut reader = RdbReader::new(file, Others::Skip, [1, 2]).map_err(said)?;
    while reader.next().map_err(said)?.is_some() {}
    let offset = reader.offset();
    read_records(reader.into_rest(), offset)
}

/// Reads records through that stand so many bytes after the beginning of their file; how many.
///
/// # Errors
/// As [`read_through`].
pub(super) fn read_records(file: impl Read, offset: u64) -> Result<u64, String> {
    let mut dry = DryRun::default();
    records(file, offset, |record| dry.record(record))
}

fn records<E: ToString>(
    file: impl Read,
    offset: u64,
    mut each: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<u64, String> {
    let mut reader = Reader::resume(file, offset, None, None);
    let (mut count, mut facts) = (0, BaseFacts::default());
    while let Some(record) = reader.next().map_err(|error| error.to_string())? {
        each(&record).map_err(|error| error.to_string())?;
        facts.note(&record);
        count += 1;
    }
    if facts.is_cut(reader.tail().is_some()) { Err(CUT.to_owned()) } else { Ok(count) }
}

/// Whether a file begins as RDB does; the whole file again.
pub(super) fn begun<R: Read>(mut file: R) -> io::Result<(bool, impl Read)> {
    let mut head = Vec::new();
    (&mut file).take(6).read_to_end(&mut head)?;
    let is_rdb = head.starts_with(b"REDIS") || head.starts_with(b"VALKEY");
    Ok((is_rdb, Cursor::new(head).chain(file)))
}
