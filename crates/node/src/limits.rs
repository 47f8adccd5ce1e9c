//! The bounds of this crate.

/// Times that a request is run again after room was made for it.
pub const TRIES: u32 = 40;
/// Places that keys share by some bits of their hashes, with the position of the last change.
pub const TOUCHED_PLACES: usize = 1 << 13;
/// Bytes that a buffer of records keeps for the next ones.
pub const RECORDS_KEPT: usize = 1 << 20;
/// Keys of a group of changes whose places are kept for the next ones.
pub const PARTS_KEPT: usize = 1 << 10;
/// Bytes of records that may wait to be taken before writers wait too.
pub const JOURNAL_WAITING_MAX: u64 = 64 << 20;
