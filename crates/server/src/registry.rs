//! Who is connected: one entry per connection, readable from any thread.
//!
//! The worker that owns a connection stores facts into its entry's atomics; anyone may read them.
//! Nothing on the path of a request takes a lock: the table is locked to come and to go, and labels
//! are locked only when a client names itself. To end another connection, mark its entry and wake
//! its worker ([`Registry::kill`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::os::socket::Address;
use crate::os::wake::Wake;
use crate::service::{Dialect, Unblocked};

/// The facts of one connection. Loads and stores are relaxed: they are facts, not signals.
#[derive(Debug)]
pub struct Entry {
    /// Unique for the life of the process, growing.
    pub id: u64,
    /// The other end.
    pub peer: Address,
    /// Our end.
    pub local: Address,
    /// The language it speaks.
    pub dialect: Dialect,
    /// Its descriptor's number.
    pub fd: i32,
    /// The worker that owns it.
    pub worker: usize,
    /// When it came (ms since the Unix epoch).
    pub since_ms: u64,
    /// When it last sent something (ms since the Unix epoch).
    pub seen_ms: AtomicU64,
    /// Bytes of requests that wait in memory.
    pub input: AtomicU64,
    /// Bytes of replies that wait for it to read them.
    pub output: AtomicU64,
    /// Requests executed; the service counts.
    pub requests: AtomicU64,
    /// Its database; the service keeps it.
    pub database: AtomicU32,
    /// How its client stands, for CLIENT LIST; the service keeps it and knows what it means.
    pub standing: AtomicU64,
    /// RESP version, 2 or 3; the service keeps it.
    pub version: AtomicU32,
    /// Whether it may do more than say who it is; the service sets it. The loop ends connections
    /// that stay unauthenticated for too long.
    pub authenticated: AtomicBool,
    /// Not to be ended for being idle (a subscriber, a replica); the service sets it.
    pub exempt: AtomicBool,
    killed: AtomicBool,
    /// One of `wait`'s.
    wait: AtomicU8,
    labels: Mutex<Labels>,
    wake: Arc<Wake>,
}

/// What a client says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// CLIENT SETNAME.
    pub name: String,
    /// CLIENT SETINFO LIB-NAME.
    pub library: String,
    /// CLIENT SETINFO LIB-VER.
    pub library_version: String,
    /// The user it authenticated as.
    pub user: String,
}

impl Entry {
    /// What the client says about itself; hold the guard briefly.
    pub fn labels(&self) -> MutexGuard<'_, Labels> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody asked for its end.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Asks for its end: its worker closes it without sending what is left.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake.ring();
    }

    /// Its request waits, and anybody may end that.
    pub fn begin_wait(&self) {
        self.wait.store(wait::WAITS, Ordering::Release);
    }

    /// Whether its request waits, or did until somebody ended that.
    #[inline]
    pub fn waits(&self) -> bool {
        self.wait.load(Ordering::Relaxed) != wait::NONE
    }

    /// Asks for the end of its wait; false if it doesn't wait.
    pub fn unblock(&self, how: Unblocked) -> bool {
        let told = match how {
            Unblocked::Timeout => wait::TIMEOUT,
            Unblocked::Error => wait::ERROR,
        };
        let asked =
            self.wait.compare_exchange(wait::WAITS, told, Ordering::AcqRel, Ordering::Acquire);
        if asked.is_ok() {
            self.wake.ring();
        }
        asked.is_ok()
    }

    /// Whether somebody asked for the end of its wait.
    pub fn is_unblocked(&self) -> bool {
        matches!(self.wait.load(Ordering::Acquire), wait::TIMEOUT | wait::ERROR)
    }

    /// Its request is run again; whether somebody asked for that, and how.
    pub fn end_wait(&self) -> Option<Unblocked> {
        match self.wait.swap(wait::NONE, Ordering::AcqRel) {
            wait::TIMEOUT => Some(Unblocked::Timeout),
            wait::ERROR => Some(Unblocked::Error),
            _ => None,
        }
    }
}

/// How a connection's request stands: it doesn't wait, it does, or somebody has ended that.
mod wait {
    pub(super) const NONE: u8 = 0;
    pub(super) const WAITS: u8 = 1;
    pub(super) const TIMEOUT: u8 = 2;
    pub(super) const ERROR: u8 = 3;
}

/// What is known of a connection when it comes.
#[derive(Debug)]
pub struct Arrival {
    /// The other end.
    pub peer: Address,
    /// Our end.
    pub local: Address,
    /// The language it speaks.
    pub dialect: Dialect,
    /// Its descriptor's number.
    pub fd: i32,
    /// The worker that will own it.
    pub worker: usize,
    /// When it came (ms since the Unix epoch).
    pub now_ms: u64,
    /// Whether it needs no password.
    pub authenticated: bool,
}

/// What one worker's sockets moved; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// Counts bytes that came; for the owning worker only.
    pub fn came(&self, bytes: usize) {
        add(&self.received, bytes);
    }

    /// Counts bytes that left; for the owning worker only.
    pub fn left(&self, bytes: usize) {
        add(&self.sent, bytes);
    }
}

/// One writer: a plain store instead of a locked addition.
fn add(counter: &AtomicU64, bytes: usize) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(bytes as u64);
    counter.store(sum, Ordering::Relaxed);
}

/// The table of connections and the counters around it.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Mutex<BTreeMap<u64, Arc<Entry>>>,
    next_id: AtomicU64,
    traffic: Mutex<Vec<Arc<Traffic>>>,
    /// Connections ever welcomed.
    pub welcomed: AtomicU64,
    /// Connections that went again.
    pub left: AtomicU64,
    /// Connections refused: too many, protected mode, or by the service.
    pub refused: AtomicU64,
    /// Connections ended for a limit: buffers, deadlines, idleness.
    pub evicted: AtomicU64,
    /// Bytes that wait in all connections' own buffers.
    pub buffered: AtomicU64,
    /// Connections whose request waits for something.
    pub blocked: AtomicU64,
}

impl Registry {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters a connection, which gets the next id.
    pub fn enter(&self, arrival: Arrival, wake: Arc<Wake>) -> Arc<Entry> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let entry = Arc::new(Entry {
            id,
            peer: arrival.peer,
            local: arrival.local,
            dialect: arrival.dialect,
            fd: arrival.fd,
            worker: arrival.worker,
            since_ms: arrival.now_ms,
            seen_ms: AtomicU64::new(arrival.now_ms),
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            database: AtomicU32::new(0),
            standing: AtomicU64::new(0),
            version: AtomicU32::new(2),
            authenticated: AtomicBool::new(arrival.authenticated),
            exempt: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            wait: AtomicU8::new(wait::NONE),
            labels: Mutex::default(),
            wake,
        });
        self.table().insert(id, Arc::clone(&entry));
        self.welcomed.fetch_add(1, Ordering::Relaxed);
        entry
    }

    /// Where one more worker counts what its sockets move.
    pub fn count(&self) -> Arc<Traffic> {
        let traffic = Arc::new(Traffic::default());
        let mut all = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&traffic));
        traffic
    }

    /// Bytes that all workers received and sent.
    pub fn moved(&self) -> (u64, u64) {
        let all = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().fold((0, 0), |(received, sent), one| {
            let more = (one.received.load(Ordering::Relaxed), one.sent.load(Ordering::Relaxed));
            (received + more.0, sent + more.1)
        })
    }

    /// Takes a connection out again.
    pub fn leave(&self, entry: &Entry) {
        if self.table().remove(&entry.id).is_some() {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many are connected.
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    /// All connections, oldest first.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.table().values().cloned().collect()
    }

    /// The connection with that id.
    pub fn find(&self, id: u64) -> Option<Arc<Entry>> {
        self.table().get(&id).cloned()
    }

    /// Ends the connection with that id; false if there is none.
    pub fn kill(&self, id: u64) -> bool {
        self.find(id).map(|entry| entry.kill()).is_some()
    }

    /// Wakes each worker that has a connection, so that it looks at the settings again.
    pub fn wake(&self) {
        let mut rung: Vec<Arc<Wake>> = Vec::new();
        for entry in self.entries() {
            if !rung.iter().any(|wake| Arc::ptr_eq(wake, &entry.wake)) {
                entry.wake.ring();
                rung.push(Arc::clone(&entry.wake));
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
