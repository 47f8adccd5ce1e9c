//! The highest rate at which a server still meets a 99th percentile.
//!
//! A search by halves over open-loop runs. A rate counts as met if its p99 is within the bound, the
//! server kept up (nothing unanswered), and nothing was refused.

use std::io;
use std::time::Duration;

use super::{Job, Pace, Seen, Visitors, run};

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Operations per second of the highest rate that was met; 0 if none was.
    pub rate: f64,
    /// Every rate that was tried, with its 99th percentile in seconds, and whether it was met.
    pub tried: Vec<(f64, f64, bool)>,
}

/// Searches below `most`, the rate of a closed loop; each of the `steps` halves what is unknown.
pub fn find_rate(
    job: &Job<'_>,
    visitors: &mut Visitors,
    p99: Duration,
    most: f64,
    steps: u32,
) -> io::Result<Found> {
    let Pace::Open { arrivals, .. } = job.pace else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a search needs an open loop"));
    };
    let (mut low, mut high) = (0.0, most.max(2.0));
    let mut tried = Vec::new();
    for _ in 0..steps {
        let rate = (low + high) / 2.0;
        let pace = Pace::Open { rate, arrivals, burst: None };
        let seen = run(&Job { pace, ..job.clone() }, visitors)?;
        let met = meets(&seen, p99);
        tried.push((rate, seen.latency.at(0.99).as_secs_f64(), met));
        if met { low = rate } else { high = rate }
    }
    Ok(Found { rate: low, tried })
}

fn meets(seen: &Seen, p99: Duration) -> bool {
    seen.latency.at(0.99) <= p99 && seen.unanswered == 0 && seen.refused == 0
}
