//! Every bound of this crate: what a workload may ask for, and what a server may make us keep.

use std::time::Duration;

/// Sessions of one workload; each costs the generator five bytes.
pub const SESSIONS_MOST: u64 = 50_000_000;
/// Operations per second of an open loop; no machine comes near.
pub const RATE_MOST: f64 = 1e9;
/// Threads of a server.
pub const THREADS_MOST: usize = 1024;
/// Connections of one load.
pub const CONNECTIONS_MOST: usize = 10_000;
/// Operations in flight on one connection.
pub const PIPELINE_MOST: usize = 1024;
/// Bytes of one session's document.
pub const DOCUMENT_MOST: usize = 512 << 10;
/// Bytes of a reply that is not complete yet. A server that sends more has lost its mind.
pub const REPLY_MOST: usize = 8 << 20;
/// Bytes taken from a socket at once.
pub const READ_MOST: usize = 256 << 10;
/// Longest measurable latency; longer ones count as this long.
pub const LATENCY_MOST: Duration = Duration::from_secs(100);
/// Slices of a timeline, some 40 KB each; what comes later counts as in the last one.
pub const SLICES_MOST: usize = 1200;
/// Longest run of one load.
pub const RUN_MOST: Duration = Duration::from_secs(3600);
/// How long a load waits for replies after its last request was due.
pub const DRAIN: Duration = Duration::from_secs(5);
/// Events taken from one wait.
pub const EVENTS: usize = 512;
/// Bytes of a workload file.
pub const WORKLOAD_MOST: usize = 16 << 10;
/// How long a server may take to start, to answer a control command, to end.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of the answer to a control command (INFO, stats).
pub const ANSWER_MOST: usize = 1 << 20;
/// Targets of one comparison.
pub const TARGETS_MOST: usize = 16;
/// Rounds of one comparison.
pub const ROUNDS_MOST: u32 = 100;
