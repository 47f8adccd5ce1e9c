//! Every bound of the commands, in one place.

/// Commands that one transaction may queue.
pub const QUEUED_MAX: usize = 100_000;
/// Bytes of arguments that one transaction may queue.
pub const QUEUED_BYTES_MAX: usize = 256 * 1024 * 1024;
