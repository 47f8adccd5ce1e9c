//! Every bound of the server that a client, a file or the system can push against, in one place.
//!
//! What an administrator may change is a directive instead (`config`), with its own range.

use std::time::Duration;

/// Events taken from the kernel per turn.
pub const EVENTS_PER_TURN: usize = 256;
/// Bytes read from a connection at a time, into a buffer that the worker's connections share.
pub const READ: usize = 64 << 10;
/// Reads of different connections that are served together.
pub const READS_PER_BATCH: usize = 4;
/// The least room made in a connection's own buffer for the rest of a request.
pub const READ_LEAST: usize = 16 << 10;
/// The most read into a connection's own buffer at a time.
pub const READ_MOST: usize = 1 << 20;
/// Batches of requests that one connection may have executed per turn before others get theirs.
pub const BATCHES_PER_TURN: usize = 8;
/// Reply bytes per turn after which the remaining connections wait for the next turn.
pub const OUTPUT_PER_TURN: usize = 16 << 20;
/// The shared reply buffer keeps at most this much room between turns.
pub const OUTPUT_KEPT: usize = 1 << 20;
/// Replies that wait for a client to read them, beyond which its further requests are not executed.
pub const OUTPUT_SOFT: usize = 8 << 20;
/// Requests kept for a client whose replies wait; beyond that, its socket is not read either.
pub const INPUT_HELD: usize = 16 << 20;
/// How long a connection that was told to go may take to read its last reply (ms).
pub const LINGER_MS: u64 = 1_000;
/// Bytes thrown away from a connection that was told to go before it is cut.
pub const LINGER_BYTES: u64 = 64 << 20;
/// Time within which a client must have authenticated, where a password is set (ms).
pub const UNAUTHENTICATED_MS: u64 = 10_000;
/// Request bytes that may wait for a client that has not authenticated.
pub const UNAUTHENTICATED_INPUT: usize = 1 << 20;
/// Time that a request has to end once it began, lest it ends its connection (ms). It gets as much
/// again whenever [`PARTIAL_BYTES`] of it came meanwhile: a large value over a slow line may take
/// long, a byte now and then may not.
pub const PARTIAL_MS: u64 = 60_000;
/// The progress that buys a request another [`PARTIAL_MS`]: 1 KiB/s.
pub const PARTIAL_BYTES: u64 = 60 << 10;
/// Time between two looks at the connections' deadlines (ms).
pub const SWEEP_MS: u64 = 1_000;
/// Connections taken from a listener before the acceptor looks at its other events.
pub const ACCEPTS_PER_TURN: usize = 256;
/// How long the acceptor leaves its listeners alone when there is no descriptor left (ms).
pub const EXHAUSTED_PAUSE_MS: u64 = 100;
/// Descriptors that the process needs besides its clients'.
pub const OTHER_DESCRIPTORS: u64 = 96;
/// Connections of the admin page at a time; one more ends the one that has waited longest.
pub const HTTP_CONNECTIONS: usize = 16;
/// Bytes of an admin request, from its first line to the blank one.
pub const HTTP_HEAD: usize = 8 << 10;
/// Bytes of what it asks for.
pub const HTTP_TARGET: usize = 1 << 10;
/// Header lines of an admin request.
pub const HTTP_HEADERS: usize = 64;
/// Time in which an admin request must have come (ms).
pub const HTTP_HEAD_MS: u64 = 5_000;
/// Time in which its answer must have been taken (ms).
pub const HTTP_ANSWER_MS: u64 = 10_000;
/// Time in which its client must have closed then (ms).
pub const HTTP_LINGER_MS: u64 = 1_000;
/// What the admin page tells may be so old (ms), whoever asks how often.
pub const HTTP_FACTS_MS: u64 = 200;
/// How long the admin page waits for the workers to look at their shards (ms).
pub const HTTP_SURVEY_MS: u64 = 50;
/// Commands of the slow log that the admin page shows.
pub const HTTP_SLOW: usize = 32;
/// A load that takes no longer is over before any client is answered.
pub const LOAD_UNTOLD: Duration = Duration::from_millis(200);
/// Increments of the log from which it gets a new base, however small it is: each start adds one.
pub const INCREMENTS_MOST: usize = 64;
/// Bytes of a snapshot that may wait to be written: what is changed while it goes on, and what a disk
/// that stalls keeps waiting.
pub const TRAYS_MOST: usize = 256 << 20;
/// No more of them than this part of `maxmemory`,
pub const TRAYS_PART: usize = 4;
/// or so many bytes if that is more: a store at its cap evicts what a snapshot still needs, so some
/// have to be able to wait in any case.
pub const TRAYS_LEAST: usize = 64 << 20;
/// Threads that put what is loaded into shards.
pub const FILLERS: usize = 4;
/// Items of a load that go to such a thread at once.
pub const FILL_ITEMS: usize = 128;
/// Bytes of them from which fewer do.
pub const FILL_BYTES: usize = 256 << 10;
/// Batches of them that may wait for such a thread.
pub const FILL_WAITING: usize = 8;
/// Keys of which it's remembered that they were evicted while a log was loaded. Once there are more,
/// any key that isn't there may be one: a new one isn't made by what changes a part of it.
pub const MISSING_KEYS: usize = 1 << 20;
/// How long a reload waits for the workers to come to the end of their turns (ms).
pub const RELOAD_QUIET_MS: u64 = 10_000;
/// Reloads of which it's remembered what went wrong.
pub const RELOAD_FAILURES: usize = 16;
/// Depth of `include` in configuration files.
pub const INCLUDE_DEPTH: usize = 16;
/// Bytes of one configuration file.
pub const CONFIG_FILE: u64 = 16 << 20;
/// Bytes of the text or path that one directive is given.
pub const CONFIG_TEXT: usize = 64 << 10;
/// Workers at most.
pub const WORKERS: usize = 128;
