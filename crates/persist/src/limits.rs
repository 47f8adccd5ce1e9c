//! Every bound of this crate, in one place.

use engine::limits::KEY_MAX;

/// Bytes of one string in a file: Redis' own limit.
pub const STRING_MAX: u64 = 512 << 20;
/// Bytes that are made room for before any of them has come.
pub const AHEAD_MAX: usize = 64 << 10;
/// Strings of so many bytes or fewer are never compressed, as in Redis.
pub const UNCOMPRESSED_MAX: usize = 20;
/// Hashes of more fields aren't written as one packed string (what Redis keeps packed itself).
pub const PACKED_FIELDS_MAX: usize = 128;
/// Nor are those with a longer name or value.
pub const PACKED_STRING_MAX: usize = 64;
/// Field names of all templates of hashes in a file.
pub const TEMPLATE_FIELDS_MAX: usize = 1 << 20;
/// Bytes of them.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a note in the log, when read.
pub const NOTE_MAX: usize = 64 << 20;
/// Bytes of one aux field of what stands beside an item; more goes into several.
pub const EXTRA_PIECE_MAX: usize = 1 << 20;
/// Bytes of a line of the log that begins with `#`, its end included. Redis 7.0 reads up to 1,024
/// in one go; what it doesn't read whole it takes for a record.
pub const LINE_MAX: usize = 100;
/// Bytes of such a line when read.
pub const LINE_READ_MAX: usize = 1024;
/// Bytes of a line of room in the log.
pub const ROOM_LINE: u64 = 64;
/// Bytes that one record of the log may have when read: a key, a field and its value, or a few
/// megabytes of fields.
pub const RECORD_MAX: u64 = 2 * STRING_MAX + (64 << 20);
/// Bytes of fields in one record that is written, if they are more than one.
pub const RECORD_BYTES: usize = 16 << 20;
/// Bytes of the records of one chunk of the log.
pub const CHUNK_MAX: u64 = 4 << 30;
/// Bytes of records after which a chunk of a base ends.
pub const BASE_CHUNK: usize = 1 << 20;
/// Lines in a stretch that isn't right of which it isn't known yet whether they begin a chunk.
pub const CLAIMS_MAX: usize = 1 << 18;
/// Arguments of one record of the log.
pub const ARGS_MAX: usize = 1 << 20;
/// Fields of one HSET, HDEL or HPEXPIREAT that is written.
pub const FIELDS_PER_RECORD: usize = 512;
// What is written can be read: the head and the end of each argument take less than 32 bytes.
const _: () = assert!(
    RECORD_MAX
        > KEY_MAX as u64
            + 2 * STRING_MAX
            + (RECORD_BYTES + 32 * (2 * FIELDS_PER_RECORD + 5)) as u64
);
const _: () = assert!(RECORD_MAX < CHUNK_MAX && RECORD_MAX < u32::MAX as u64);
/// Bytes of a manifest.
pub const MANIFEST_MAX: usize = 1 << 20;
/// Bytes of a line of a manifest; Redis' limit.
pub const MANIFEST_LINE_MAX: usize = 1024;
/// Files that a manifest names.
pub const PARTS_MAX: usize = 4096;
/// Bytes of a file name in a manifest.
pub const NAME_MAX: usize = 255;
/// Bytes that are summed up to find out which byte of a chunk's line has changed.
pub const MEND_TRIES_BYTES: usize = 4 << 30;
/// Bytes of a chunk in which a changed byte is looked for, its line included.
pub const MEND_BYTES: usize = 64 << 20;
/// Places of one file at which that is done.
pub const MENDS_MAX: usize = 1024;
/// Bytes of an RDB file after which the next item has a mark before it. A fuzzer, which looks through
/// whole files again and again, has smaller ones.
pub const MARK_EVERY: u64 = if cfg!(fuzzing) { 4 << 10 } else { 1 << 20 };
/// Bytes between two marks when read: those and the largest item.
pub const MARK_STRETCH_MAX: u64 = 2 << 30;
