//! What a comparison has measured: the raw file, from which reports are made.
//!
//! What always holds: every figure of a report comes from here; each round stands by itself, so that
//! spread can be seen; what wasn't measured is absent, never zero. The file is JSON; times are
//! milliseconds or seconds and sizes bytes, as the names say.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::record::{Latency, QUANTILES, Slice};

/// A whole comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of this program.
    pub program: String,
    /// Its command line.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// Threads that each server executes requests with.
    pub threads: usize,
    /// Processors of the generator; empty: any.
    pub generator_on: Vec<usize>,
    /// Processors of the servers; empty: any.
    pub servers_on: Vec<usize>,
    /// Rounds that were asked for.
    pub rounds: u32,
    /// Seconds that all of it took.
    pub seconds: f64,
    /// If it was told to end early: the measurements that were made, and those there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<(usize, usize)>,
    /// What was compared.
    pub targets: Vec<TargetFacts>,
    /// What was measured.
    pub workloads: Vec<WorkloadResults>,
}

/// A server and a way of storing sessions in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Its name in this comparison, such as `redis hash`.
    pub name: String,
    /// The kind of server, or `attached`.
    pub server: String,
    /// How sessions are stored.
    pub dialect: String,
    /// What the server says its version is.
    pub version: String,
}

/// Everything about one workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkloadResults {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What it stands for.
    pub about: String,
    /// `steady`, `storm`, `snapshot`, `expiry`, `eviction` or `restart`.
    pub event: String,
    /// Its terms, in words: sessions, sizes, mix, connections.
    pub terms: Vec<String>,
    /// Operations per second of its open loop.
    pub rate: f64,
    /// Bytes of key and JSON of a session, in the mean.
    pub raw_bytes: f64,
    /// Bytes that the server could use.
    pub memory: u64,
    /// One row per target.
    pub rows: Vec<Row>,
}

/// One target under one workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The target's name.
    pub target: String,
    /// The server's command line, with PORT and DIR.
    pub command: String,
    /// Why it wasn't measured.
    pub skipped: Option<String>,
    /// The rounds, in order.
    pub rounds: Vec<Round>,
}

/// One round of one target. What a workload doesn't measure is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Resident bytes that the sessions added, per session that was stored.
    pub bytes_per_session: Option<f64>,
    /// Resident bytes of the server after the sessions were stored.
    pub resident: Option<u64>,
    /// Sessions created per second while the store was filled.
    pub fill_rate: f64,
    /// Items in the store after that.
    pub items: Option<u64>,
    /// As fast as it goes.
    pub closed: Option<Closed>,
    /// At the workload's rate.
    pub open: Option<Open>,
    /// The highest rate that met the 99th percentile asked for.
    pub found_rate: Option<f64>,
    /// Memory and items over time.
    pub samples: Vec<Sample>,
    /// When something began or ended, in seconds, and what.
    pub marks: Vec<(f64, String)>,
    /// 99th percentile of a tenth of a second in milliseconds: the median of those before the event.
    pub quiet_p99_ms: Option<f64>,
    /// The same: the highest of those from the event on.
    pub event_p99_ms: Option<f64>,
    /// Longest in milliseconds from the event on.
    pub event_most_ms: Option<f64>,
    /// Highest resident bytes, forked children's own included.
    pub peak: Option<u64>,
    /// Seconds from the deadline of the last session of the wave until at most one in a hundred of
    /// the wave was left; absent if that didn't happen while it was watched.
    pub gone_after: Option<f64>,
    /// Part of the wave that was still there at the end.
    pub left_at_end: Option<f64>,
    /// Seconds that the server took to end.
    pub ended_in: Option<f64>,
    /// Seconds from its start until it answered with everything loaded.
    pub back_in: Option<f64>,
    /// Part of the sessions that were there after a restart.
    pub kept: Option<f64>,
}

/// A closed loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// Operations per second.
    pub rate: f64,
    /// Commands per operation.
    pub commands: f64,
    /// Microseconds of the server's CPU per operation.
    pub server_us: Option<f64>,
    /// Microseconds of the generator's CPU per operation.
    pub generator_us: f64,
    /// Part of the sessions looked for that were there.
    pub found: f64,
    /// Operations that the server refused, and what it said first.
    pub refused: u64,
    /// See `refused`.
    pub refusal: Option<String>,
}

/// An open loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Operations per second that were asked for.
    pub asked: f64,
    /// Operations per second that were answered.
    pub rate: f64,
    /// Latency in milliseconds at quantiles: (quantile, ms).
    pub quantiles: Vec<(f64, f64)>,
    /// 99th percentile of the generator's own lateness, in milliseconds.
    pub late_p99_ms: f64,
    /// Microseconds of the server's CPU per operation.
    pub server_us: Option<f64>,
    /// Operations never answered.
    pub unanswered: u64,
    /// Operations that the server refused, and what it said first.
    pub refused: u64,
    /// See `refused`.
    pub refusal: Option<String>,
    /// Part of the sessions looked for that were there.
    pub found: f64,
    /// Latency over time.
    pub timeline: Vec<TimelineSlice>,
}

/// A slice of a timeline; milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimelineSlice {
    /// Seconds since the start.
    pub at: f64,
    /// Operations due in it.
    pub operations: u64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Longest.
    pub most: f64,
}

/// The server at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// Resident bytes, forked children's own included.
    pub resident: Option<u64>,
    /// Items.
    pub items: Option<u64>,
}

impl From<Slice> for TimelineSlice {
    fn from(slice: Slice) -> Self {
        let Slice { at, operations, p50, p99, most } = slice;
        Self { at, operations, p50, p99, most }
    }
}

impl Open {
    /// The latency at a quantile that was kept, in milliseconds.
    pub fn at(&self, quantile: f64) -> Option<f64> {
        let found = self.quantiles.iter().find(|(q, _)| (q - quantile).abs() < 1e-9);
        found.map(|&(_, ms)| ms)
    }
}

/// The quantiles of a load, in milliseconds.
pub fn quantiles(latency: &Latency) -> Vec<(f64, f64)> {
    QUANTILES.iter().map(|&q| (q, latency.at(q).as_secs_f64() * 1e3)).collect()
}

/// Middle and ends of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; of two in the middle, their mean.
    pub median: f64,
    /// The lowest.
    pub least: f64,
    /// The highest.
    pub most: f64,
}

impl Spread {
    /// Of the figures that are there; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().flatten().collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), least, most })
    }
}

impl Row {
    /// The spread of a figure over the rounds.
    pub fn spread(&self, figure: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_few_and_many() {
        assert_eq!(Spread::of([None]), None);
        let one = Spread::of([Some(3.0), None]).unwrap();
        assert_eq!((one.median, one.least, one.most), (3.0, 3.0, 3.0));
        let four = Spread::of([4.0, 1.0, 2.0, 9.0].map(Some)).unwrap();
        assert_eq!((four.median, four.least, four.most), (3.0, 1.0, 9.0));
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let round = Round { kept: Some(0.5), marks: vec![(1.0, "x".into())], ..Round::default() };
        let row = Row { target: "a".into(), rounds: vec![round], ..Row::default() };
        let workload = WorkloadResults { rows: vec![row], ..WorkloadResults::default() };
        let results = Results { workloads: vec![workload], ..Results::default() };
        let text = serde_json::to_string(&results).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
    }
}
