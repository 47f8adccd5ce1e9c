//! The bounds of this crate.

/// Bytes of records that may wait to be taken before writers wait too.
pub const JOURNAL_WAITING_MAX: u64 = 64 << 20;
