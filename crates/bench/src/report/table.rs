//! The terminal's table: medians, the best of each figure marked.

use super::figures::{self, Verdict};
use crate::results::{Results, WorkloadResults};

/// What is written to the terminal at the end of a comparison.
pub fn table(results: &Results) -> String {
    let mut text = String::new();
    for workload in &results.workloads {
        text.push_str(&one(workload));
        text.push('\n');
    }
    text.push_str(&verdicts(results));
    text
}

/// A table of one workload.
fn one(workload: &WorkloadResults) -> String {
    let figures = figures::of(workload);
    let mut lines = vec![vec![String::new()]];
    if let Some(head) = lines.first_mut() {
        let unit = |unit: &str| if unit.is_empty() { String::new() } else { format!(" {unit}") };
        head.extend(figures.iter().map(|figure| {
            let unit = if figure.short.contains('/') { String::new() } else { unit(figure.unit) };
            format!("{}{unit}", figure.short)
        }));
    }
    let best: Vec<_> = figures.iter().map(|figure| figure.best(&workload.rows)).collect();
    for row in workload.rows.iter().filter(|row| !row.rounds.is_empty()) {
        let mut cells = vec![row.target.clone()];
        for (figure, best) in figures.iter().zip(&best) {
            let is_best = best.as_ref().is_some_and(|(best, _)| best.target == row.target);
            let mark = if is_best { "*" } else { " " };
            cells.push(match row.spread(figure.of) {
                Some(spread) => format!("{}{mark}", figure.tell(spread.median)),
                None => "- ".to_owned(),
            });
        }
        lines.push(cells);
    }
    let mut text = format!("{}\n", workload.title);
    text.push_str(&aligned(&lines));
    for row in &workload.rows {
        if let Some(why) = &row.skipped {
            text.push_str(&format!("  {}: not measured: {why}\n", row.target));
        }
    }
    text
}

/// Cells in columns: the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let padded =
                if column == 0 { format!("  {cell:width$}") } else { format!("  {cell:>width$}") };
            text.push_str(&padded);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Where Sessile stands, in three lines.
fn verdicts(results: &Results) -> String {
    let standings = figures::standings(results);
    let count = |verdict| standings.iter().filter(|one| one.verdict == verdict).count();
    if standings.is_empty() {
        return String::new();
    }
    let (wins, even, losses) = (count(Verdict::Win), count(Verdict::Even), count(Verdict::Loss));
    let mut text = format!(
        "Sessile's best beside the best rival: {wins} figures better, {even} even, {losses} worse.\n"
    );
    for standing in standings.iter().filter(|one| one.verdict == Verdict::Loss) {
        text.push_str(&format!(
            "  worse: {}, {}: {} ({}), {} ({})\n",
            standing.workload.title,
            standing.figure.short,
            standing.figure.tell_whole(standing.ours.1.median),
            standing.ours.0,
            standing.figure.tell_whole(standing.theirs.1.median),
            standing.theirs.0,
        ));
    }
    text
}
