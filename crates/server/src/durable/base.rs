//! A base of the log, in each form that Redis gives it.
//!
//! ```text
//! *.rdb             RDB: what is written here, and by Redis 7
//! any other name    RDB and then records, or only these: a log of Redis before 7, which Redis 7 made
//!                   its base as it was, or a base under `aof-use-rdb-preamble no`
//! ```
//!
//! What always holds: all of it is loaded, or it's an error. Records of Redis have no checksums, so
//! nothing but a whole file is taken for right.

use super::load::{Found, rdb_part, why};
use super::loading::Loading;
use persist::aof::{DryRun, Reader, Record};
use persist::rdb::{self, Others, Reader as RdbReader};
use std::io::{self, Cursor, Read};

/// What an operator is told of such a file that isn't whole.
pub(super) const NO_SALVAGE: &str = " (Redis wrote it, without checksums: see its redis-check-aof)";

/// Whether a base of that name may have records.
pub(super) fn has_records(name: &str) -> bool {
    !name.ends_with(".rdb")
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
    Ok(found)
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
    let mut count = 0;
    while let Some(record) = reader.next().map_err(|error| error.to_string())? {
        each(&record).map_err(|error| error.to_string())?;
        count += 1;
    }
    Ok(count)
}

/// Whether a file begins as RDB does; the whole file again.
pub(super) fn begun<R: Read>(mut file: R) -> io::Result<(bool, impl Read)> {
    let mut head = Vec::new();
    (&mut file).take(6).read_to_end(&mut head)?;
    let is_rdb = head.starts_with(b"REDIS") || head.starts_with(b"VALKEY");
    Ok((is_rdb, Cursor::new(head).chain(file)))
}
