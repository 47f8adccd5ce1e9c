//! The Markdown twin of the page: the same figures, without plots.

use std::fmt::Write;

use super::figures::{self, Standing, Verdict};
use crate::results::{Results, Spread, WorkloadResults};

/// The report as Markdown.
pub(super) fn markdown(results: &Results) -> String {
    let mut text = String::from("# Session stores, measured\n\n");
    // Writing to a string doesn't fail.
    let _ = write!(text, "{}\n\n", super::about(results).join("  \n"));
    text.push_str(
        "Medians over rounds that took turns; in brackets the lowest and the highest round. The best \
         of each line of targets is bold. The numbers behind it are in `raw.json`.\n\n",
    );
    text.push_str(&summary(&figures::standings(results)));
    for workload in &results.workloads {
        text.push_str(&one(workload));
    }
    text.push_str(&commands(results));
    text
}

fn summary(standings: &[Standing<'_>]) -> String {
    if standings.is_empty() {
        return String::new();
    }
    let mut text = String::from("## Sessile beside the best rival\n\n");
    text.push_str("| workload | figure | Sessile's best | best rival | ratio | |\n");
    text.push_str("|---|---|---:|---:|---:|---|\n");
    for standing in standings {
        let Standing { workload, figure, ours, theirs, .. } = standing;
        let ratio = standing.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} ({}) | {} ({}) | {ratio} | {} |",
            workload.title,
            figure.name,
            figure.tell_whole(ours.1.median),
            ours.0,
            figure.tell_whole(theirs.1.median),
            theirs.0,
            match standing.verdict {
                Verdict::Win => "better",
                Verdict::Even => "even",
                Verdict::Loss => "**worse**",
            },
        );
    }
    text.push('\n');
    text
}

fn one(workload: &WorkloadResults) -> String {
    let figures = figures::of(workload);
    let mut text = format!("## {}\n\n{}\n\n", workload.title, workload.about);
    let _ = write!(text, "Terms: {}", workload.terms.join("; "));
    let _ = writeln!(text, "; {} operations per second in the open loop.\n", workload.rate);
    text.push_str("| target |");
    for figure in &figures {
        let unit =
            if figure.unit.is_empty() { String::new() } else { format!(" ({})", figure.unit) };
        let _ = write!(text, " {}{unit} |", figure.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(figures.len()));
    let best: Vec<_> = figures.iter().map(|figure| figure.best(&workload.rows)).collect();
    for row in workload.rows.iter().filter(|row| !row.rounds.is_empty()) {
        let _ = write!(text, "| {} |", row.target);
        for (figure, best) in figures.iter().zip(&best) {
            let Some(Spread { median, least, most }) = row.spread(figure.of) else {
                text.push_str(" - |");
                continue;
            };
            let is_best = best.as_ref().is_some_and(|(best, _)| best.target == row.target);
            let strong = if is_best { "**" } else { "" };
            let _ = write!(text, " {strong}{}{strong}", figure.tell(median));
            if row.rounds.len() > 1 {
                let _ = write!(text, " ({}–{})", figure.tell(least), figure.tell(most));
            }
            text.push_str(" |");
        }
        text.push('\n');
    }
    text.push('\n');
    for (target, note) in super::notes(workload) {
        let _ = writeln!(text, "- {target}: {note}");
    }
    text.push('\n');
    text
}

fn commands(results: &Results) -> String {
    let mut text = String::from("## Servers\n\n");
    for target in &results.targets {
        let _ = writeln!(text, "- {}: {}", target.name, target.version);
    }
    text.push_str("\nTheir command lines:\n\n```\n");
    for (_, command) in super::command_lines(results) {
        let _ = writeln!(text, "{command}");
    }
    text.push_str("```\n");
    text
}
