//! Settings that running threads look at: one atomic each, changed by CONFIG SET.
//!
//! The resolved configuration is the truth; these are its copies where a lock would be too dear.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// The settings. All loads and stores are relaxed: each stands for itself.
#[derive(Debug)]
pub struct Live {
    /// Connections at most.
    pub clients_most: AtomicUsize,
    /// Seconds of silence after which a connection ends; 0: never.
    pub idle_s: AtomicU64,
    /// Seconds of silence before TCP probes; 0: none.
    pub keepalive_s: AtomicU32,
    /// Refuse strangers from other machines while there is no password.
    pub protected: AtomicBool,
    /// A password is asked for.
    pub password: AtomicBool,
    /// Unexecuted request bytes that one connection may have waiting.
    pub query_most: AtomicUsize,
    /// Reply bytes that may wait for a connection to read; 0: no limit.
    pub output_hard: AtomicUsize,
    /// Reply bytes that may wait for `output_soft_s`; 0: no limit.
    pub output_soft: AtomicUsize,
    /// Seconds for which `output_soft` may be exceeded.
    pub output_soft_s: AtomicU64,
    /// Bytes that all connections' buffers may hold together; 0: no limit.
    pub buffers_most: AtomicU64,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            clients_most: AtomicUsize::new(10_000),
            idle_s: AtomicU64::new(0),
            keepalive_s: AtomicU32::new(300),
            protected: AtomicBool::new(true),
            password: AtomicBool::new(false),
            query_most: AtomicUsize::new(1 << 30),
            output_hard: AtomicUsize::new(1 << 30),
            output_soft: AtomicUsize::new(256 << 20),
            output_soft_s: AtomicU64::new(60),
            buffers_most: AtomicU64::new(0),
        }
    }
}

impl Live {
    /// Whether a connection starts without a password to give.
    pub fn is_open(&self) -> bool {
        !self.password.load(Ordering::Relaxed)
    }
}
