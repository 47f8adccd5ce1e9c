//! `figures.json`: the report's figures as numbers, for programs that quote them.
//!
//! What always holds: names, units, which way is better, and verdicts are those of the page, since
//! they are made from the same list; a figure that a round doesn't have isn't among its values.

use std::collections::BTreeMap;

use serde::Serialize;

use super::figures::{self, Better, FIGURES, Verdict};
use crate::results::{Results, WorkloadResults};

/// Values of the rounds, by workload, target, and figure.
type Values<'r> = BTreeMap<&'r str, BTreeMap<&'r str, BTreeMap<&'static str, Vec<f64>>>>;

#[derive(Serialize)]
struct Numbers<'r> {
    figures: Vec<About>,
    workloads: Values<'r>,
    standings: Vec<Stands<'r>>,
}

/// What a figure is. A unit that is empty stands for a part of a whole.
#[derive(Serialize)]
struct About {
    short: &'static str,
    name: &'static str,
    unit: &'static str,
    better: &'static str,
}

/// Sessile's best target beside the best rival.
#[derive(Serialize)]
struct Stands<'r> {
    workload: &'r str,
    figure: &'static str,
    ours: &'r str,
    theirs: &'r str,
    verdict: &'static str,
}

/// The text of the file.
pub(super) fn json(results: &Results) -> serde_json::Result<String> {
    let figures = FIGURES.iter().map(|figure| About {
        short: figure.short,
        name: figure.name,
        unit: figure.unit,
        better: match figure.better {
            Better::More => "more",
            Better::Less => "less",
        },
    });
    let workloads = results.workloads.iter().map(|one| (one.name.as_str(), values(one)));
    let standings = figures::standings(results).into_iter().map(|one| Stands {
        workload: &one.workload.name,
        figure: one.figure.short,
        ours: one.ours.0,
        theirs: one.theirs.0,
        verdict: match one.verdict {
            Verdict::Win => "better",
            Verdict::Even => "even",
            Verdict::Loss => "worse",
        },
    });
    let numbers = Numbers {
        figures: figures.collect(),
        workloads: workloads.collect(),
        standings: standings.collect(),
    };
    serde_json::to_string_pretty(&numbers)
}

fn values(workload: &WorkloadResults) -> BTreeMap<&str, BTreeMap<&'static str, Vec<f64>>> {
    let rows = workload.rows.iter().filter(|row| !row.rounds.is_empty());
    let by_figure = |row: &crate::results::Row| {
        let all = figures::of(workload).into_iter().map(|figure| {
            (figure.short, row.rounds.iter().filter_map(figure.of).collect::<Vec<_>>())
        });
        all.filter(|(_, values)| !values.is_empty()).collect()
    };
    rows.map(|row| (row.target.as_str(), by_figure(row))).collect()
}
