//! Which plots a workload gets, made from its rounds.

use super::figures::{self, Figure};
use super::svg::{Bar, Line, Times, bars, times};
use crate::results::{Results, Round, Row, TimelineSlice, WorkloadResults};

/// A plot with its heading.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) note: String,
    pub(super) svg: String,
}

/// A bar plot for each figure of a workload.
pub(super) fn of_figures(results: &Results, workload: &WorkloadResults) -> Vec<Plot> {
    figures::of(workload).into_iter().map(|figure| figure_plot(results, workload, figure)).collect()
}

fn figure_plot(results: &Results, workload: &WorkloadResults, figure: &'static Figure) -> Plot {
    let rows = workload.rows.iter().filter(|row| !row.rounds.is_empty());
    let part = figure.unit.is_empty();
    let scaled = |value: f64| if part { value * 100.0 } else { value };
    let bar = |row: &Row| {
        let spread = row.spread(figure.of);
        let told =
            spread.map_or_else(|| "not measured".to_owned(), |s| figure.tell_whole(s.median));
        Bar {
            name: row.target.clone(),
            class: class_of(results, &row.target),
            value: spread.map(|s| (scaled(s.median), scaled(s.least), scaled(s.most))),
            told,
        }
    };
    let all: Vec<Bar> = rows.map(bar).collect();
    let better = if figure.better == figures::Better::More { "more" } else { "less" };
    Plot {
        title: figure.name.to_owned(),
        note: format!("{better} is better"),
        svg: bars(figure.name, if part { "%" } else { figure.unit }, &all),
    }
}

/// Latency over time, and memory and sessions where they were watched; a plot per target, with one
/// scale for all. Empty for a workload in which nothing happens.
pub(super) fn over_time(results: &Results, workload: &WorkloadResults) -> Vec<(String, Vec<Plot>)> {
    if workload.event == "steady" {
        return Vec::new();
    }
    let rounds: Vec<(&Row, &Round)> =
        workload.rows.iter().filter_map(|row| Some((row, row.rounds.first()?))).collect();
    let mut groups = Vec::new();
    let latency = |value: fn(&TimelineSlice) -> f64| {
        move |round: &Round| {
            let timeline = round.open.iter().flat_map(|open| &open.timeline);
            timeline
                .filter(|slice| slice.operations > 0)
                .map(|slice| (slice.at, value(slice)))
                .collect()
        }
    };
    groups.extend(group(results, &rounds, &Group {
        title: "Latency over time: median, 99th percentile (bold), longest of each tenth of a second",
        unit: "ms",
        by_tens: true,
        lines: &[
            ("thin", &latency(|slice| slice.p50)),
            ("thick", &latency(|slice| slice.p99)),
            ("dots", &latency(|slice| slice.most)),
        ],
    }));
    groups.extend(group(
        results,
        &rounds,
        &Group {
            title: "Resident memory over time, forked children included",
            unit: "MiB",
            by_tens: false,
            lines: &[("thick", &|round: &Round| {
                let samples = round.samples.iter();
                samples.filter_map(|s| Some((s.at, s.resident? as f64 / 1_048_576.0))).collect()
            })],
        },
    ));
    groups.extend(group(
        results,
        &rounds,
        &Group {
            title: "Items in the store over time",
            unit: "thousand items",
            by_tens: false,
            lines: &[("thick", &|round: &Round| {
                let samples = round.samples.iter();
                samples.filter_map(|s| Some((s.at, s.items? as f64 / 1000.0))).collect()
            })],
        },
    ));
    groups
}

/// The points of a line in a round.
type Points<'a> = &'a dyn Fn(&Round) -> Vec<(f64, f64)>;

/// Plots of one thing for all targets.
struct Group<'a> {
    title: &'a str,
    unit: &'a str,
    by_tens: bool,
    /// How each line looks, and its points.
    lines: &'a [(&'a str, Points<'a>)],
}

/// A plot per target that has points; `None` if none has.
fn group(
    results: &Results,
    rounds: &[(&Row, &Round)],
    group: &Group<'_>,
) -> Option<(String, Vec<Plot>)> {
    let of = |round: &Round| -> Vec<Vec<(f64, f64)>> {
        group.lines.iter().map(|(_, points)| points(round)).collect()
    };
    let all: Vec<_> = rounds.iter().map(|(row, round)| (*row, *round, of(round))).collect();
    let points = || all.iter().flat_map(|(_, _, lines)| lines.iter().flatten());
    points().next()?;
    let range = points()
        .fold((f64::MAX, 0.0_f64), |(low, high), (_, value)| (low.min(*value), high.max(*value)));
    let until = points().fold(0.0_f64, |until, (at, _)| until.max(*at));
    let plots = all.iter().filter(|(_, _, lines)| lines.iter().any(|line| !line.is_empty()));
    let plots = plots.map(|(row, round, lines)| {
        let color = class_of(results, &row.target);
        let styled = group.lines.iter().zip(lines);
        let lines = styled.map(|((style, _), points)| Line {
            class: format!("{style} {color}"),
            points: points.clone(),
        });
        let title = row.target.clone();
        let svg = times(&Times {
            title: &format!("{title}: {}", group.title),
            unit: group.unit,
            until,
            range,
            by_tens: group.by_tens,
            lines: lines.collect(),
            marks: &round.marks,
        });
        Plot { title, note: String::new(), svg }
    });
    Some((group.title.to_owned(), plots.collect()))
}

/// The class that gives a target its colour.
fn class_of(results: &Results, target: &str) -> String {
    let Some(at) = results.targets.iter().position(|known| known.name == target) else {
        return "c9".to_owned();
    };
    let server = results.targets.get(at).map_or("", |known| &*known.server);
    let before = results.targets.iter().take(at).filter(|known| known.server == server).count();
    // Shades of one colour for one server.
    let (first, shades) = match server {
        "sessile" => (0, 4),
        "redis" => (4, 2),
        "memcached" => (6, 2),
        _ => (8, 2),
    };
    format!("c{}", first + before % shades)
}
