//! The figures that a round may have: the one list that tables, plots and verdicts are made from.
//!
//! What always holds: a figure that no round of a workload has is told nowhere; which way is better is
//! said once, here.

use crate::results::{Results, Round, Row, Spread, WorkloadResults};

/// Medians this close to each other are called even, whatever their spread.
const EVEN: f64 = 0.03;
/// The same where one of them is of a single round, whose spread nobody knows.
const EVEN_ONCE: f64 = 0.1;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    /// More of it.
    More,
    /// Less of it.
    Less,
}

/// Something that was measured.
pub(super) struct Figure {
    /// In a table's head.
    pub(super) short: &'static str,
    /// Above a plot.
    pub(super) name: &'static str,
    /// What one of it is; empty for a part of a whole, which is told in percent.
    pub(super) unit: &'static str,
    /// Which way is better.
    pub(super) better: Better,
    /// The figure of a round, in that unit.
    pub(super) of: fn(&Round) -> Option<f64>,
}

use Better::{Less, More};

fn open_at(round: &Round, quantile: f64) -> Option<f64> {
    round.open.as_ref()?.at(quantile)
}

const MIB: f64 = 1_048_576.0;

/// All of them, in the order in which they are told.
pub(super) const FIGURES: &[Figure] = &[
    figure("ops/s", "Throughput, as fast as it goes", "ops/s", More, |r| {
        r.closed.as_ref().map(|closed| closed.rate)
    }),
    figure("CPU", "Server's CPU per operation", "µs", Less, |r| r.closed.as_ref()?.server_us),
    figure("p50", "Median latency at the given rate", "ms", Less, |r| open_at(r, 0.5)),
    figure("p99", "99th percentile of latency at the given rate", "ms", Less, |r| open_at(r, 0.99)),
    figure("p99.9", "99.9th percentile of latency at the given rate", "ms", Less, |r| {
        open_at(r, 0.999)
    }),
    figure("rate for p99", "Highest rate that meets the p99 asked for", "ops/s", More, |r| {
        r.found_rate
    }),
    figure("B/session", "Resident memory per session", "bytes", Less, |r| r.bytes_per_session),
    figure("filled", "Sessions stored while filling", "per s", More, |r| {
        (r.fill_rate > 0.0).then_some(r.fill_rate)
    }),
    figure("quiet p99", "Median p99 of a tenth of a second before the event", "ms", Less, |r| {
        r.quiet_p99_ms
    }),
    figure("event p99", "Highest p99 of a tenth of a second from the event on", "ms", Less, |r| {
        r.event_p99_ms
    }),
    figure("event max", "Longest request from the event on", "ms", Less, |r| r.event_most_ms),
    figure("peak", "Peak of resident memory, forks included", "MiB", Less, |r| {
        r.peak.map(|bytes| bytes as f64 / MIB)
    }),
    figure("gone after", "Until 99 % of the sessions that were due were gone", "s", Less, |r| {
        r.gone_after
    }),
    figure("left", "Sessions that were due and still there at the end", "", Less, |r| {
        r.left_at_end
    }),
    figure("found", "Sessions that were there when they were wanted", "", More, |r| {
        let closed = r.closed.as_ref().map(|closed| closed.found);
        closed.filter(|found| *found < 0.9995)
    }),
    figure("ended in", "Until the server had ended", "s", Less, |r| r.ended_in),
    figure("back in", "From the start until it answered with everything loaded", "s", Less, |r| {
        // A server that has kept nothing is back at once, and nobody is helped.
        r.back_in.filter(|_| r.kept.is_some_and(|kept| kept > 0.5))
    }),
    figure("kept", "Sessions that outlived the restart", "", More, |r| r.kept),
];

const fn figure(
    short: &'static str,
    name: &'static str,
    unit: &'static str,
    better: Better,
    of: fn(&Round) -> Option<f64>,
) -> Figure {
    Figure { short, name, unit, better, of }
}

/// The figures that at least one row of a workload has.
pub(super) fn of(workload: &WorkloadResults) -> Vec<&'static Figure> {
    let has = |figure: &&Figure| workload.rows.iter().any(|row| row.spread(figure.of).is_some());
    FIGURES.iter().filter(has).collect()
}

impl Figure {
    /// A value in words, without its unit.
    pub(super) fn tell(&self, value: f64) -> String {
        if self.unit.is_empty() {
            return format!("{:.1} %", value * 100.0);
        }
        number(value)
    }

    /// A value with its unit.
    pub(super) fn tell_whole(&self, value: f64) -> String {
        let told = self.tell(value);
        if self.unit.is_empty() { told } else { format!("{told} {}", self.unit) }
    }

    /// The target whose median is best; none if fewer than two have one.
    pub(super) fn best<'r>(&self, rows: &'r [Row]) -> Option<(&'r Row, Spread)> {
        let all: Vec<_> = rows.iter().filter_map(|row| Some((row, row.spread(self.of)?))).collect();
        if all.len() < 2 {
            return None;
        }
        all.into_iter().reduce(|best, other| {
            let other_wins = match self.better {
                More => other.1.median > best.1.median,
                Less => other.1.median < best.1.median,
            };
            if other_wins { other } else { best }
        })
    }
}

/// A number with three digits that count, thousands apart.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        return crate::compare::thousands(value.round().max(0.0) as u64);
    }
    let places = match size {
        0.0 => 0,
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

/// How Sessile's best target stands beside the rivals' best one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Better.
    Win,
    /// Within the spread of the rounds, or as good as equal.
    Even,
    /// Worse.
    Loss,
}

/// One figure of one workload: ours beside the best rival's.
pub(super) struct Standing<'r> {
    pub(super) workload: &'r WorkloadResults,
    pub(super) figure: &'static Figure,
    pub(super) ours: (&'r str, Spread),
    pub(super) theirs: (&'r str, Spread),
    pub(super) verdict: Verdict,
}

impl Standing<'_> {
    /// Ours over theirs.
    pub(super) fn ratio(&self) -> Option<f64> {
        let theirs = self.theirs.1.median;
        (theirs > 0.0).then(|| self.ours.1.median / theirs)
    }
}

/// How each figure stands; empty if there is no Sessile or no rival among the targets.
pub(super) fn standings(results: &Results) -> Vec<Standing<'_>> {
    let is_ours = |row: &Row| {
        let mut targets = results.targets.iter();
        targets.any(|target| target.name == row.target && target.server == "sessile")
    };
    let mut all = Vec::new();
    for workload in &results.workloads {
        let (ours, theirs): (Vec<Row>, Vec<Row>) =
            workload.rows.iter().cloned().partition(|row| is_ours(row));
        for figure in of(workload) {
            let named = |rows: &[Row]| {
                let (row, spread) = best_of(figure, rows)?;
                let row = workload.rows.iter().find(|known| known.target == row.target)?;
                Some((row.target.as_str(), spread))
            };
            if let (Some(ours), Some(theirs)) = (named(&ours), named(&theirs)) {
                let verdict = judge(figure.better, ours.1, theirs.1);
                all.push(Standing { workload, figure, ours, theirs, verdict });
            }
        }
    }
    all
}

fn best_of<'r>(figure: &Figure, rows: &'r [Row]) -> Option<(&'r Row, Spread)> {
    figure.best(rows).or_else(|| {
        let mut all = rows.iter().filter_map(|row| Some((row, row.spread(figure.of)?)));
        all.next()
    })
}

fn judge(better: Better, ours: Spread, theirs: Spread) -> Verdict {
    let is_once = |spread: Spread| spread.least.total_cmp(&spread.most).is_eq();
    let even = if is_once(ours) || is_once(theirs) { EVEN_ONCE } else { EVEN };
    let close = (ours.median - theirs.median).abs() <= even * ours.median.abs().max(theirs.median);
    let overlap = ours.least <= theirs.most && theirs.least <= ours.most;
    if close || overlap {
        return Verdict::Even;
    }
    let more = ours.median > theirs.median;
    if more == (better == More) { Verdict::Win } else { Verdict::Loss }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, told) in [
            (0.0, "0"),
            (0.01234, "0.012"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.5, "1\u{a0}235"),
        ] {
            assert_eq!(number(value), told);
        }
    }

    #[test]
    fn a_verdict_needs_more_than_noise() {
        let spread = |least, median, most| Spread { median, least, most };
        let one = spread(9.0, 10.0, 11.0);
        assert_eq!(judge(More, one, spread(10.5, 12.0, 13.0)), Verdict::Even, "they overlap");
        assert_eq!(judge(More, one, spread(12.0, 13.0, 14.0)), Verdict::Loss);
        assert_eq!(judge(Less, one, spread(12.0, 13.0, 14.0)), Verdict::Win);
        let near = spread(10.1, 10.2, 10.3);
        assert_eq!(judge(Less, spread(9.9, 10.0, 10.05), near), Verdict::Even, "2 %");
        let (ten, eleven) = (spread(10.0, 10.0, 10.0), spread(10.9, 10.9, 10.9));
        assert_eq!(judge(Less, ten, eleven), Verdict::Even, "one round, 9 %");
        assert_eq!(judge(Less, ten, spread(11.5, 11.5, 11.5)), Verdict::Win);
    }
}
