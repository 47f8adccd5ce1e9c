//! Every bound of the commands, in one place.

/// Commands that one transaction may queue.
pub const QUEUED_MAX: usize = 100_000;
/// Bytes of arguments that one transaction may queue.
pub const QUEUED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Keys that one client may watch; WATCH of one more is an error. Each takes about 100 bytes.
pub const WATCHED_MAX: usize = 10_000;
/// Bytes of a client's name, library name or library version.
pub const LABEL_BYTES_MAX: usize = 4096;
/// Different error codes that are counted.
pub const ERROR_CODES_MAX: usize = 128;
/// The longest nap that DEBUG SLEEP takes, in milliseconds.
pub const DEBUG_SLEEP_MAX_MS: u64 = 600_000;
/// Picks that one HRANDFIELD with a count below 0 may ask for.
pub const RANDOM_PICKS_MAX: u64 = 1 << 20;
/// Bytes that its reply may have.
pub const RANDOM_REPLY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Keys that SCAN looks at in one call, whatever COUNT says.
pub const SCAN_COUNT_MAX: usize = 100_000;
/// Keys that a walk over a database looks at under one lock.
pub const KEYS_PER_SLICE: usize = 1000;
/// Cells of the table that LCS fills: what Redis can hold of it in 512 MB, at four bytes each.
pub const LCS_CELLS_MAX: u64 = 1 << 27;
/// Bytes of pattern that matching one key may look at.
pub const GLOB_STEPS_MAX: usize = 1_000_000;
/// Bytes of replies that wait for a client after which a command that only collects more of them
/// (MGET, HMGET, reads inside EXEC, memcached's get of many keys) adds no further value and fails.
/// A single value may be longer.
pub const REPLY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Dicts and lists within each other in a JSON text that is appended to a session's list.
pub const JSON_DEPTH_MAX: usize = 100;
/// Milliseconds for which the old key of a session that got another one is remembered.
pub const TOMBSTONE_MS: u64 = 60_000;
/// The longest time, in seconds, for which the old key may stand for the new one.
pub const GRACE_MAX_S: u64 = 86_400;
/// Keys that stand for other keys that are followed: one more rotation within the grace of the
/// last each.
pub const ALIAS_HOPS_MAX: usize = 4;
/// Bytes of the token that tells a request that comes twice.
pub const TOKEN_BYTES_MAX: usize = 64;
/// Elements of a list that TRIM may ask for, and sessions that LIMIT may.
pub const COUNT_MAX: u64 = 1 << 32;
