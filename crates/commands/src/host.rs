//! What lies around the store, as commands see it.
//!
//! The server implements it; tests and replay use [`Nobody`]. What always holds: no method waits
//! for a shard's lock, since a command may hold some; texts go in and out as Redis writes them.
//! Not for: keys and values, which commands reach through their shards.

use crate::client::{Client, Standing, Unblocked};
use crate::counters::Totals;
use engine::{HashKey, OwnedItem, OwnedValue};
use std::fmt;

/// Settings, other clients, counters: everything that a command may ask or tell the server.
pub trait Host: fmt::Debug {
    /// The version of Redis that clients may take this for, such as `7.4.1`.
    fn version(&self) -> &str;
    /// The password that AUTH wants, if one is set.
    fn password(&self) -> Option<Vec<u8>>;

    /// The settings whose name fits one of the patterns, with their values (CONFIG GET).
    fn settings(&self, patterns: &[&str]) -> Vec<(String, String)>;
    /// Changes all these settings or none. `client` asks; some settings may only be changed from
    /// this machine. The error is what follows `ERR `.
    fn configure(&self, client: u64, pairs: &[(&str, &str)]) -> Result<(), String>;
    /// Writes the settings into the file they came from. The error is what follows `ERR `.
    fn rewrite_settings(&self) -> Result<(), String>;
    /// Sets the counters of INFO back to zero.
    fn reset_counters(&self);

    /// All connections, in the order in which they came.
    fn clients(&self) -> Vec<ClientFacts>;
    /// Ends another connection; whether it was there.
    fn kill(&self, id: u64) -> bool;
    /// Has another connection wait no longer; whether it waited. Its request is run again and finds
    /// that in [`Client::unblocked`].
    fn unblock(&self, id: u64, how: Unblocked) -> bool;
    /// What the client says about itself has changed: name, library, database, protocol version,
    /// whether it is authenticated.
    fn introduced(&self, client: &Client);
    /// Serves no client until that time (Unix milliseconds); if `all` is false, none that writes.
    /// 0 ends it.
    fn pause(&self, until: u64, all: bool);

    /// Appends a section of INFO to `out`, from its `# Title` to its last line; nothing if there
    /// is no such section. Names are in lower case.
    fn info(&self, section: &str, tally: &Tally, out: &mut String);
    /// A few numbers about memory.
    fn memory(&self) -> MemoryFacts;
    /// Gives unused memory back to the system.
    fn purge_memory(&self);
    /// Nanoseconds of a clock that only goes forward; for timing, never for deadlines.
    fn ticks_ns(&self) -> u64;

    /// The latest entries of the slow log, newest first, `count` at most.
    fn slow_log(&self, count: usize) -> Vec<SlowEntry>;
    /// How many there are.
    fn slow_log_len(&self) -> usize;
    /// Drops them all.
    fn reset_slow_log(&self);

    /// The events that LATENCY knows, with their samples.
    fn latency(&self) -> Vec<LatencyEvent>;
    /// Drops the samples of these events, or of all if none is named; how many events had some.
    fn reset_latency(&self, events: &[&str]) -> usize;
    /// What all workers counted of each command.
    fn totals(&self) -> Totals;
    /// Whether it may be told how long commands took (`latency-tracking`).
    fn tells_latency(&self) -> bool;

    /// Whether that client may use DEBUG (`enable-debug-command`).
    fn may_debug(&self, client: u64) -> bool;
    /// Lets the calling thread do nothing for that long (DEBUG SLEEP).
    fn sleep(&self, milliseconds: u64);
    /// Whether expired keys are removed on their own (DEBUG SET-ACTIVE-EXPIRE).
    fn set_active_expire(&self, on: bool);
    /// Writes a snapshot now. The error is what follows `ERR `.
    fn save(&self) -> Result<(), String>;
    /// Has a snapshot written by another thread, if `schedule` says so after a rewrite that is on
    /// its way. The error is what follows `ERR `.
    fn save_in_background(&self, schedule: bool) -> Result<Begun, String>;
    /// Has the base of the log written anew by another thread, after a snapshot that is on its way.
    /// The error is what follows `ERR `.
    fn rewrite_log(&self) -> Result<Begun, String>;
    /// How far the log is on the disk.
    fn on_disk(&self) -> OnDisk;
    /// Has what was written so far brought to the disk at once. Waits for nothing.
    fn hurry_log(&self);
    /// Has the store emptied and loaded again by another thread; the number of that reload. The
    /// error is what follows `ERR `.
    fn reload(&self, how: Reload) -> Result<u64, String>;
    /// How a reload went; `None` while it goes on. The error is what follows `ERR `.
    fn reloaded(&self, number: u64) -> Option<Result<(), String>>;
    /// When the last snapshot was written, Unix seconds.
    fn last_save_s(&self) -> u64;
    /// A value as DUMP answers it.
    fn dump(&self, item: &OwnedItem) -> Vec<u8>;
    /// The value of such bytes, for shards under that secret. The error is what follows `ERR `.
    fn restore(&self, payload: &[u8], secret: &HashKey) -> Result<OwnedValue, String>;
    /// Ends the server, or takes that back. The error is what follows `ERR `.
    fn shutdown(&self, how: Shutdown) -> Result<(), String>;
}

/// When something begins that another thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// It has.
    Now,
    /// Once what is on its way has ended.
    Later,
}

/// How far the log is on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDisk {
    /// Changes aren't logged.
    NoLog,
    /// At the moment nothing can be said: the log has failed, or its base isn't there yet.
    Unknown,
    /// Up to this position of the journal.
    To(u64),
}

impl OnDisk {
    /// Whether that position is on the disk.
    pub fn has(self, position: u64) -> bool {
        matches!(self, Self::To(end) if position <= end)
    }
}

/// From what the store is loaded again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reload {
    /// From a snapshot that is written first.
    Saved,
    /// From the snapshot that is there.
    AsItIs,
    /// From the log.
    Log,
}

/// How SHUTDOWN is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shutdown {
    /// Write a snapshot first; none: as the settings say.
    pub save: Option<bool>,
    /// Don't wait for replicas.
    pub now: bool,
    /// Go even if something can't be written.
    pub force: bool,
    /// Take an earlier request back.
    pub abort: bool,
}

/// What CLIENT LIST says of a connection.
#[derive(Clone, Debug, Default)]
pub struct ClientFacts {
    /// Its number.
    pub id: u64,
    /// The other end, `address:port` or `path:0`.
    pub addr: String,
    /// Our end.
    pub laddr: String,
    /// Whether it came through a Unix socket.
    pub unix: bool,
    /// Its descriptor.
    pub fd: i32,
    /// The name that it gave itself.
    pub name: String,
    /// Seconds since it came.
    pub age_s: u64,
    /// Seconds since it last sent something.
    pub idle_s: u64,
    /// Its database.
    pub db: usize,
    /// Bytes of requests that wait.
    pub input: u64,
    /// Bytes of replies that wait.
    pub output: u64,
    /// The user; `default` unless it authenticated as another.
    pub user: String,
    /// The protocol version of its replies; 0 if it speaks memcached.
    pub resp: u32,
    /// Its library and the library's version.
    pub library: (String, String),
    /// Its last command, its transaction and its modes.
    pub standing: Standing,
}

/// What the shards counted, together; whoever asks for INFO has walked them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Of each database the keys and those with a deadline.
    pub databases: Vec<(u64, u64)>,
    /// The counters of all shards.
    pub stats: engine::Stats,
    /// Bytes of live items, of item segments, of index segments.
    pub bytes: (usize, usize, usize),
}

/// Numbers about memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryFacts {
    /// In use, everything counted.
    pub used: u64,
    /// The highest that `used` has been.
    pub peak: u64,
    /// In use before there were any data.
    pub startup: u64,
    /// Buffers and state of connections.
    pub clients: u64,
    /// Resident in memory, as the system says.
    pub resident: u64,
    /// The limit; 0 for none.
    pub limit: u64,
}

/// A request that took long.
#[derive(Clone, Debug, Default)]
pub struct SlowEntry {
    /// Its number; grows.
    pub id: u64,
    /// When it began, in Unix seconds.
    pub at: u64,
    /// How long it took.
    pub microseconds: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// Who asked.
    pub addr: String,
    /// The name that the client gave itself.
    pub name: String,
}

/// An event that took long at times.
#[derive(Clone, Debug, Default)]
pub struct LatencyEvent {
    /// Its name, such as `command`.
    pub name: String,
    /// When (Unix seconds) and how long (milliseconds), oldest first.
    pub samples: Vec<(u64, u64)>,
    /// The longest ever.
    pub max_ms: u64,
}

/// A host with nothing around the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Host for Nobody {
    fn version(&self) -> &str {
        "7.4.0"
    }
    fn password(&self) -> Option<Vec<u8>> {
        None
    }
    fn settings(&self, _: &[&str]) -> Vec<(String, String)> {
        Vec::new()
    }
    fn configure(&self, _: u64, _: &[(&str, &str)]) -> Result<(), String> {
        Ok(())
    }
    fn rewrite_settings(&self) -> Result<(), String> {
        Err("The server is running without a config file".to_owned())
    }
    fn reset_counters(&self) {}
    fn clients(&self) -> Vec<ClientFacts> {
        Vec::new()
    }
    fn kill(&self, _: u64) -> bool {
        false
    }
    fn unblock(&self, _: u64, _: Unblocked) -> bool {
        false
    }
    fn introduced(&self, _: &Client) {}
    fn pause(&self, _: u64, _: bool) {}
    fn info(&self, _: &str, _: &Tally, _: &mut String) {}
    fn memory(&self) -> MemoryFacts {
        MemoryFacts::default()
    }
    fn purge_memory(&self) {}
    fn ticks_ns(&self) -> u64 {
        0
    }
    fn slow_log(&self, _: usize) -> Vec<SlowEntry> {
        Vec::new()
    }
    fn slow_log_len(&self) -> usize {
        0
    }
    fn reset_slow_log(&self) {}
    fn latency(&self) -> Vec<LatencyEvent> {
        Vec::new()
    }
    fn reset_latency(&self, _: &[&str]) -> usize {
        0
    }
    fn totals(&self) -> Totals {
        Totals::default()
    }
    fn tells_latency(&self) -> bool {
        false
    }
    fn may_debug(&self, _: u64) -> bool {
        false
    }
    fn sleep(&self, _: u64) {}
    fn set_active_expire(&self, _: bool) {}
    fn save(&self) -> Result<(), String> {
        Err("there are no files".to_owned())
    }
    fn save_in_background(&self, _: bool) -> Result<Begun, String> {
        Err("there are no files".to_owned())
    }
    fn rewrite_log(&self) -> Result<Begun, String> {
        Err("there are no files".to_owned())
    }
    fn on_disk(&self) -> OnDisk {
        OnDisk::NoLog
    }
    fn hurry_log(&self) {}
    fn reload(&self, _: Reload) -> Result<u64, String> {
        Err("there are no files".to_owned())
    }
    fn reloaded(&self, _: u64) -> Option<Result<(), String>> {
        None
    }
    fn last_save_s(&self) -> u64 {
        0
    }
    fn dump(&self, _: &OwnedItem) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&self, _: &[u8], _: &HashKey) -> Result<OwnedValue, String> {
        Err("DUMP payload version or checksum are wrong".to_owned())
    }
    fn shutdown(&self, _: Shutdown) -> Result<(), String> {
        Ok(())
    }
}
