//! A workload: who visits, how often, and what happens meanwhile.
//!
//! What always holds: a workload is a small text file (see `parse`) and nothing else; the ones that
//! come with the program are compiled in, and any can be given as a path instead.

mod parse;

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::dialect::Op;
use crate::random::Popularity;

pub use parse::{parse, rate, time};

/// The workloads that come with the program, in the order in which they are run and reported.
const EMBEDDED: [(&str, &str); 8] = [
    ("browse", include_str!("../../workloads/browse.txt")),
    ("shop", include_str!("../../workloads/shop.txt")),
    ("large", include_str!("../../workloads/large.txt")),
    ("storm", include_str!("../../workloads/storm.txt")),
    ("expiry", include_str!("../../workloads/expiry.txt")),
    ("eviction", include_str!("../../workloads/eviction.txt")),
    ("snapshot", include_str!("../../workloads/snapshot.txt")),
    ("restart", include_str!("../../workloads/restart.txt")),
];

/// What happens during a run besides visits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Nothing: first as fast as it goes, then at the given rate.
    Steady,
    /// The rate is multiplied for a while; the additional visits are sign-ins.
    Storm {
        /// Times the rate.
        factor: f64,
        /// When it begins.
        from: Duration,
        /// How long it lasts.
        lasts: Duration,
    },
    /// The server is told to save everything.
    Snapshot {
        /// When.
        at: Duration,
    },
    /// Additional sessions end all at once.
    Expire {
        /// How many.
        sessions: u64,
        /// When, in whole seconds after the last of them was written.
        at: Duration,
    },
    /// The population needs more memory than the server may use; who finds his session gone makes
    /// another one.
    Evict,
    /// The server is ended cleanly and started again.
    Restart,
}

/// A workload, complete: nothing is left to defaults of others.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its name, as on the command line.
    pub name: String,
    /// Its name in reports.
    pub title: String,
    /// What it stands for, in a sentence or two.
    pub about: String,
    /// Sessions in the store when it begins.
    pub sessions: u64,
    /// Bytes of a session as JSON.
    pub bytes: RangeInclusive<usize>,
    /// What all keys begin with.
    pub prefix: String,
    /// Seconds until an unused session ends.
    pub idle: u32,
    /// Whether reading a session re-arms that time.
    pub slide: bool,
    /// Which sessions are used.
    pub popularity: Popularity,
    /// Shares of the operations, in the order of [`Op::ALL`]; their sum is 1.
    pub mix: [f64; 5],
    /// Connections.
    pub connections: usize,
    /// Operations in flight on each.
    pub pipeline: usize,
    /// Operations per second of the open loop.
    pub rate: f64,
    /// Bytes that the server may use.
    pub memory: u64,
    /// What happens meanwhile.
    pub event: Event,
    /// How long a load runs before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub length: Duration,
}

impl Workload {
    /// All that come with the program.
    pub fn all() -> Vec<Result<Self, String>> {
        EMBEDDED.iter().map(|(name, text)| parse(name, text)).collect()
    }

    /// The one of this name, or the one in the file at this path.
    pub fn find(name: &str) -> Result<Self, String> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) {
            return parse(name, text);
        }
        let names: Vec<_> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        let text = std::fs::read_to_string(name).map_err(|error| {
            format!("no workload {name} ({}), and as a file: {error}", names.join(", "))
        })?;
        let stem = std::path::Path::new(name).file_stem().map(|stem| stem.to_string_lossy());
        parse(&stem.unwrap_or_default(), &text).map_err(|error| format!("{name}: {error}"))
    }

    /// The same with one setting said otherwise, as a line of the file would say it.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, String> {
        parse::set(&mut self, name, value)?;
        Ok(self)
    }

    /// Whether it is measured as fast as it goes and at a rate, with nothing else happening.
    pub fn is_steady(&self) -> bool {
        self.event == Event::Steady
    }

    /// The mix in words.
    pub fn mix_text(&self) -> String {
        let shares = Op::ALL.iter().zip(self.mix).filter(|(_, share)| *share > 0.0);
        let words: Vec<_> =
            shares.map(|(op, share)| format!("{} {:.1} %", op.name(), share * 100.0)).collect();
        words.join(", ").replace(".0 %", " %")
    }
}
