//! The bounds of documents, as in `sessile.paths` and `sessile.document`, of replies, and of the fast
//! path.

/// Components of a path, at most.
pub(crate) const DEPTH_MAX: usize = 32;
/// Bytes of a path's name, at most.
pub(crate) const PATH_MAX: usize = 1024;
/// Leaves of a document, at most.
pub(crate) const LEAVES_MAX: usize = 4096;
/// The first number that is no stamp: what has none stands behind all that have one.
pub(crate) const UNORDERED: u64 = 36_u64.pow(12);
/// Digits of a stamp, at most.
pub(crate) const STAMP_DIGITS: usize = 12;
/// Containers in containers of one leaf that are read or written here.
pub(crate) const NESTED_MAX: usize = 30;
/// Bytes of one string in a reply, at most; as in `sessile.wire`, like the next two.
pub(crate) const BULK_MAX: usize = 512 * 1024 * 1024;
/// Items of an array in a reply, at most.
pub(crate) const ITEMS_MAX: i64 = 1024 * 1024;
/// Arrays in arrays of a reply.
pub(crate) const NESTED_REPLIES_MAX: usize = 8;
/// Digits of a number in a reply that are read here: one fewer than an `i64` may have.
pub(crate) const DIGITS_MAX: usize = 18;
/// New leaves beside old ones that are taken here: each is compared with all that were there.
pub(crate) const FRESH_MAX: usize = 64;
/// Keys of dicts that are kept for other documents, at most.
pub(crate) const KEPT_KEYS: usize = 1024;
/// Bytes of such a key, at most.
pub(crate) const KEPT_KEY_MAX: usize = 32;
/// Bytes taken from a socket at once; as in `sessile.pool`.
pub(crate) const CHUNK: usize = 16 * 1024;
