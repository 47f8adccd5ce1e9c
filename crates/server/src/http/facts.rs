//! The numbers that the admin page tells, as they were at one moment.
//!
//! What always holds: what counts events only grows while the process lives, whatever clients
//! reset. No value of a client is in it, and of keys only handles.

use commands::counters::Durations;
use node::Reading;

/// Whether the store serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Serving,
    /// Its files are being read.
    Loading,
    /// Reads only: the log can't be written.
    LogFailed,
    /// Reads only: memory is used up and nothing may be evicted.
    MemoryFull,
}

impl Health {
    /// The word for it in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Loading => "loading",
            Self::LogFailed => "log_failed",
            Self::MemoryFull => "memory_full",
        }
    }
}

/// The numbers.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether the store serves.
    pub health: Health,
    /// When this was, Unix milliseconds.
    pub now_ms: u64,
    /// When the process started, Unix milliseconds.
    pub started_ms: u64,
    /// Requests since the start: of RESP, of memcached.
    pub requests: (u64, u64),
    /// Clients now.
    pub clients: u64,
    /// Clients ever taken in, refused, and ended for a limit.
    pub clients_ever: (u64, u64, u64),
    /// Bytes from clients and to them.
    pub moved: (u64, u64),
    /// Commands that were called, by name.
    pub commands: Vec<Command>,
    /// Error replies, by their code.
    pub errors: Vec<(String, u64)>,
    /// How long RESP's commands took.
    pub durations: Durations,
    /// What the shards count.
    pub shards: Reading,
    /// Bytes.
    pub memory: Memory,
    /// Steps of the wall clock.
    pub clock_steps: u64,
    /// Processor time, user and system (µs).
    pub processor_us: (u64, u64),
    /// Syncs of the log, and those that were late; none without a log.
    pub syncs: Option<(u64, u64)>,
    /// Commands that took long, newest first.
    pub slow: Vec<Slow>,
}

/// What was counted of a command.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Its name in lower case; of a subcommand `client|list`.
    pub name: String,
    /// Executed.
    pub calls: u64,
    /// Executed, and answered with an error.
    pub failed: u64,
    /// Refused.
    pub rejected: u64,
}

/// Bytes in use, each counted once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The arena's segments that hold memory.
    pub arena: u64,
    /// The process's heap, with what the allocator keeps.
    pub heap: u64,
    /// Of that, clients' buffers.
    pub clients: u64,
    /// The cap on arena and heap; 0: none.
    pub limit: u64,
    /// Resident, as the system counts.
    pub resident: u64,
}

/// A command that took long.
#[derive(Clone, Debug, Default)]
pub struct Slow {
    /// Its number; grows.
    pub id: u64,
    /// When it began, Unix seconds.
    pub at_s: u64,
    /// How long it took.
    pub microseconds: u64,
    /// Its name, and its subcommand's.
    pub command: String,
    /// What stands for its first key; empty if it has none.
    pub key: String,
}

impl Facts {
    /// Memory by what it's used for; together it's what counts under the cap.
    pub fn uses(&self) -> [(&'static str, u64); 6] {
        let Memory { arena, heap, clients, .. } = self.memory;
        let Reading { live_bytes, item_bytes, index_bytes, heap_bytes, .. } = self.shards;
        let items = live_bytes.min(item_bytes);
        let waste = item_bytes.saturating_sub(items);
        [
            ("items", items + heap_bytes),
            ("index", index_bytes),
            ("item_waste", waste),
            ("arena_other", arena.saturating_sub(item_bytes + index_bytes)),
            ("client_buffers", clients),
            ("heap_other", heap.saturating_sub(clients + heap_bytes)),
        ]
    }
}
