//! Every bound of the codecs, in one place.

/// Arguments of one RESP request.
pub const ARGS_MAX: usize = 1024 * 1024;
/// Bytes of one argument, unless configured otherwise.
pub const BULK_MAX: usize = 512 * 1024 * 1024;
/// Bytes of an inline request or of a length line.
pub const INLINE_MAX: usize = 64 * 1024;
/// Arguments of a request before the client has logged in.
pub const UNAUTHENTICATED_ARGS_MAX: usize = 10;
/// Bytes of an argument before the client has logged in.
pub const UNAUTHENTICATED_BULK_MAX: usize = 16 * 1024;
