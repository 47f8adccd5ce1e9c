//! Reports of a comparison: a table for the terminal, a page with plots, its Markdown twin, its
//! figures for programs, and the raw results.
//!
//! What always holds: all are made from the same [`Results`] and nothing else; the page needs nothing
//! from anywhere (no script, no font, no request) and is legible on light and dark grounds.

mod charts;
mod figures;
mod html;
mod markdown;
mod numbers;
mod svg;
mod table;

use std::io;
use std::path::{Path, PathBuf};

use crate::compare::thousands;
use crate::results::{Results, WorkloadResults};

pub use table::table;

/// Writes the results as `raw.json` into `folder` and returns its path.
pub fn keep(results: &Results, folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join("raw.json");
    std::fs::write(&path, serde_json::to_string(results)? + "\n")?;
    Ok(path)
}

/// Writes `figures.json`, `report.html` and `report.md` into `folder` and returns their paths.
pub fn write(results: &Results, folder: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let (html, markdown) = (html::html(results), markdown::markdown(results));
    let figures = numbers::json(results)? + "\n";
    let files = [("figures.json", figures), ("report.html", html), ("report.md", markdown)];
    let mut written = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        written.push(path);
    }
    Ok(written)
}

/// Where, when and how it was measured, a sentence each.
fn about(results: &Results) -> Vec<String> {
    let machine = &results.machine;
    let on = |processors: &[usize]| match processors {
        [] => "any processor".to_owned(),
        some => {
            let numbers: Vec<String> = some.iter().map(usize::to_string).collect();
            format!("processor {}", numbers.join(", "))
        }
    };
    let early = results.interrupted.map(|(made, planned)| {
        format!("It was told to end early: {made} of {planned} measurements were made.")
    });
    let about = [
        format!(
            "{} with {} processors and {} MB of memory; {}, {}; {}.",
            machine.processor,
            machine.processors,
            thousands(machine.memory >> 20),
            machine.system,
            machine.kernel,
            machine.date
        ),
        format!(
            "The generator ran on {}, servers on {} with {} thread(s) each; {} rounds; it took {:.0} \
             minutes. {:.2} processes waited to run before it began.",
            on(&results.generator_on),
            on(&results.servers_on),
            results.threads,
            results.rounds,
            results.seconds / 60.0,
            machine.load
        ),
        format!("{}: {}", results.program, results.command),
    ];
    early.into_iter().chain(about).collect()
}

/// What has to be said of a workload's targets beside their figures.
fn notes(workload: &WorkloadResults) -> Vec<(String, String)> {
    let mut notes = Vec::new();
    for row in &workload.rows {
        if let Some(why) = &row.skipped {
            notes.push((row.target.clone(), format!("not measured: {why}")));
        }
        let closed = row.rounds.iter().filter_map(|round| round.closed.as_ref());
        let closed: Vec<_> = closed.map(|closed| (closed.refused, &closed.refusal)).collect();
        let open = row.rounds.iter().filter_map(|round| round.open.as_ref());
        let open: Vec<_> = open.collect();
        let refusals = open.iter().map(|open| (open.refused, &open.refusal)).chain(closed);
        let (mut refused, mut said) = (0, None);
        for (count, refusal) in refusals {
            refused += count;
            said = said.or(refusal.as_deref());
        }
        if refused > 0 {
            let said = said.unwrap_or_default();
            notes.push((row.target.clone(), format!("{refused} operations refused: {said}")));
        }
        let unanswered: u64 = open.iter().map(|open| open.unanswered).sum();
        if unanswered > 0 {
            let note = format!("{} operations were never answered", thousands(unanswered));
            notes.push((row.target.clone(), note));
        }
    }
    notes
}

/// The command line of each target, where it was started first.
fn command_lines(results: &Results) -> Vec<(String, String)> {
    let rows = || results.workloads.iter().flat_map(|workload| &workload.rows);
    let lines = results.targets.iter().filter_map(|target| {
        let row = rows().find(|row| row.target == target.name && !row.command.is_empty())?;
        Some((target.name.clone(), row.command.clone()))
    });
    lines.collect()
}

#[cfg(test)]
mod tests;
