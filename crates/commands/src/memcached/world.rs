//! What lies around the store, as memcached's commands see it.
//!
//! What always holds: no method of [`World`] blocks on a shard's lock.

use super::counters::Counters;
use std::fmt;

/// What memcached's commands may ask or tell the server.
pub trait World: fmt::Debug {
    /// The counters of all workers, added up.
    fn counters(&self) -> Counters;
    /// Starts the counters of all workers again at 0.
    fn reset_counters(&self);
    /// The server's own numbers.
    fn facts(&self) -> Facts;
    /// Sets the memory that the store may take, in bytes; false if that's impossible.
    fn set_memory_limit(&self, bytes: u64) -> bool;
    /// Shows each connection.
    fn connections(&self, see: &mut dyn FnMut(&Connection<'_>));
}

/// Numbers of the process and its settings, for `stats`.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// Processor time spent in it, in microseconds.
    pub user_us: u64,
    /// Processor time spent for it in the system, in microseconds.
    pub system_us: u64,
    /// Connections that it accepts at most.
    pub max_connections: u64,
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
    /// Bytes of memory that the store may take; 0 for no limit.
    pub memory_limit: u64,
    /// Worker threads.
    pub threads: u64,
    /// Whether it evicts when memory runs out.
    pub evicts: bool,
    /// The port of the memcached protocol.
    pub port: u16,
    /// The addresses that it listens on.
    pub addresses: String,
    /// The Unix socket of the memcached protocol, if there is one.
    pub socket: Option<String>,
    /// Seconds after which an idle connection is closed; 0 for never.
    pub idle_timeout: u64,
}

/// A connection, for `stats conns`.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Its number.
    pub id: u64,
    /// The peer, as `tcp:ADDRESS:PORT` or `unix:PATH`.
    pub peer: &'a str,
    /// The listener that it came through, likewise.
    pub listener: &'a str,
    /// Seconds since its last command.
    pub idle: u64,
}
