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

/// Bytes of a memcached line, its end not counted, as in memcached.
pub const MC_LINE_MAX: usize = 2048;
/// Bytes of a memcached line with many keys.
pub const MC_MULTI_LINE_MAX: usize = 1024 * 1024;
/// Bytes of a memcached key.
pub const MC_KEY_MAX: usize = 250;
/// Bytes of a meta request's opaque token, its letter included.
pub const MC_OPAQUE_MAX: usize = 32;
/// Flags of a meta request.
pub const MC_FLAGS_MAX: usize = 17;
/// Bytes of a memcached item, unless configured otherwise.
pub const MC_ITEM_MAX: usize = 1024 * 1024;
