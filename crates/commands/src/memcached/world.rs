//! What lies around the store, as memcached's commands see it, beyond what [`Host`] tells.
//!
//! What always holds: no method of [`World`] blocks on a shard's lock.
//!
//! [`Host`]: crate::host::Host

use super::counters::Counters;
use std::fmt;

/// What memcached's commands may ask or tell the server beyond what RESP's do.
pub trait World: fmt::Debug {
    /// The counters of all workers, added up.
    fn counters(&self) -> Counters;
    /// Starts the counters of all workers again at 0.
    fn reset_counters(&self);
    /// The server's own numbers.
    fn facts(&self) -> Facts;
}

/// Numbers of the process, for `stats`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// The process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// Processor time spent in it, in microseconds.
    pub user_us: u64,
    /// Processor time spent for it in the system, in microseconds.
    pub system_us: u64,
    /// Connections that it has.
    pub connections: u64,
    /// Connections that it ever had.
    pub connections_ever: u64,
    /// Connections that it refused.
    pub rejected: u64,
    /// Bytes that it read from clients.
    pub bytes_read: u64,
    /// Bytes that it wrote to them.
    pub bytes_written: u64,
    /// Worker threads.
    pub threads: u64,
}
