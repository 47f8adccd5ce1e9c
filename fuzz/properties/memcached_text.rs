//! Lines of memcached's text protocol.

/// Checks `data` as it is.
pub(crate) fn check(data: &[u8]) {
    super::memcached::check(data);
}
