//! One load: many visitors over many connections, by one thread and one epoll set.
//!
//! What always holds: in the open loop a request is due when the schedule says so, whether or not a
//! connection is free; its latency counts from then. In the closed loop each connection asks again
//! as soon as it was answered, and latency counts from when it asked. Requests that were due in the
//! warm-up aren't counted; those that never got an answer count as long as they were waited for.
//! Not for: telling right contents from wrong ones.

mod connection;
mod drive;
mod find;
mod schedule;
mod visitors;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::dialect::{Dialect, Op};
use crate::machine::Process;
use crate::record::{Latency, Slice};
use crate::workload::Workload;

pub use connection::Socket;
pub use find::{Found, find_rate};
pub use schedule::{Arrivals, Burst};
pub use visitors::Visitors;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each connection as soon as it was answered.
    Closed,
    /// At a rate, whatever the answers do.
    Open {
        /// Operations per second.
        rate: f64,
        /// Their distances.
        arrivals: Arrivals,
        /// A time with more of them.
        burst: Option<Burst>,
    },
    /// Once through the whole population, as fast as it goes: creates it.
    Fill,
}

/// Everything that a load needs to know.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Where to.
    pub address: &'a Address,
    /// How sessions are stored.
    pub dialect: Dialect,
    /// Sizes, timeouts.
    pub workload: &'a Workload,
    /// When.
    pub pace: Pace,
    /// Connections.
    pub connections: usize,
    /// Operations in flight on each of them.
    pub pipeline: usize,
    /// How long it runs before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub length: Duration,
    /// Whether who misses his session makes another one.
    pub refill: bool,
    /// The server, if it runs here: its CPU time is taken at both ends of what counts.
    pub server: Option<&'a Process>,
    /// Width of the timeline's slices.
    pub slice: Duration,
}

impl<'a> Job<'a> {
    /// A load as the workload says, at this pace.
    pub fn new(workload: &'a Workload, address: &'a Address, dialect: Dialect, pace: Pace) -> Self {
        Self {
            address,
            dialect,
            workload,
            pace,
            connections: workload.connections,
            pipeline: workload.pipeline,
            warm_up: workload.warm_up,
            length: workload.length,
            refill: false,
            server: None,
            slice: Duration::from_millis(100),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Seconds that counted.
    pub seconds: f64,
    /// Operations answered in them.
    pub operations: u64,
    /// Commands that these operations took.
    pub commands: u64,
    /// Operations answered, by kind, in the order of [`Op::ALL`]; the whole run.
    pub by_op: [u64; Op::ALL.len()],
    /// Sessions that weren't there when they were looked for.
    pub missing: u64,
    /// Sessions that were looked for.
    pub sought: u64,
    /// Operations that the server refused, and the first refusal.
    pub refused: u64,
    /// What it said, the first time.
    pub refusal: Option<String>,
    /// Operations that were due and not answered when patience ended.
    pub unanswered: u64,
    /// Latencies of the operations that were due in the time that counted.
    pub latency: Latency,
    /// How much later than possible requests were sent: the generator's own share (open loop).
    pub late: Latency,
    /// Latencies over time.
    pub timeline: Vec<Slice>,
    /// CPU seconds of the server in the time that counted.
    pub server_cpu: Option<f64>,
    /// CPU seconds of the generator in the time that counted.
    pub own_cpu: f64,
}

impl Seen {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.operations as f64 / self.seconds } else { 0.0 }
    }

    /// Microseconds of the server's CPU per operation.
    pub fn server_us(&self) -> Option<f64> {
        let operations = self.operations.max(1) as f64;
        self.server_cpu.map(|seconds| seconds * 1e6 / operations)
    }

    /// Microseconds of the generator's CPU per operation.
    pub fn own_us(&self) -> f64 {
        self.own_cpu * 1e6 / self.operations.max(1) as f64
    }
}

/// Runs a load to its end. Fails if a connection can't be made or breaks.
pub fn run(job: &Job<'_>, visitors: &mut Visitors) -> io::Result<Seen> {
    drive::Drive::new(job, visitors)?.run()
}

#[cfg(test)]
mod tests;
