//! What a configuration file says survives being printed and read again.

/// Checks `data` as a file.
pub(crate) fn check(data: &[u8]) {
    server::config::check(data);
}
