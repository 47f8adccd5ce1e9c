//! The page: one file, without script, that needs nothing from anywhere.

use std::fmt::Write;

use super::charts::{self, Plot};
use super::figures::{self, Standing, Verdict};
use super::svg::escaped;
use crate::results::{Results, WorkloadResults};

const STYLE: &str = include_str!("page.css");

/// The report as a page.
pub(super) fn html(results: &Results) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Session stores, measured</title>\n",
    );
    // Writing to a string doesn't fail.
    let _ = writeln!(page, "<style>\n{STYLE}</style></head><body>");
    page.push_str("<header><h1>Session stores, measured</h1>\n");
    for line in super::about(results) {
        let _ = writeln!(page, "<p>{}</p>", escaped(&line));
    }
    page.push_str(&contents(results));
    page.push_str("</header><main>\n");
    page.push_str(&summary(&figures::standings(results)));
    for workload in &results.workloads {
        page.push_str(&one(results, workload));
    }
    page.push_str(&servers(results));
    page + "</main></body></html>\n"
}

fn contents(results: &Results) -> String {
    let links = results.workloads.iter().map(|workload| {
        format!("<a href=\"#{}\">{}</a>", escaped(&workload.name), escaped(&workload.title))
    });
    format!("<nav>{}</nav>\n", links.collect::<Vec<_>>().join(" "))
}

fn summary(standings: &[Standing<'_>]) -> String {
    if standings.is_empty() {
        return String::new();
    }
    let count = |verdict| standings.iter().filter(|one| one.verdict == verdict).count();
    let mut text = format!(
        "<section><h2>Sessile beside the best rival</h2>\n<p>{} figures better, {} even, {} worse. \
         The best target of either side; even means that the rounds overlap, or 3 % at most between \
         the medians.</p>\n<table class=\"summary\"><tr><th>workload<th>figure<th>Sessile's best\
         <th>best rival<th>ratio<th></tr>\n",
        count(Verdict::Win),
        count(Verdict::Even),
        count(Verdict::Loss)
    );
    let mut last = "";
    for standing in standings {
        let (class, word) = match standing.verdict {
            Verdict::Win => ("good", "better"),
            Verdict::Even => ("soft", "even"),
            Verdict::Loss => ("bad", "worse"),
        };
        let title = if standing.workload.title == last { "" } else { &*standing.workload.title };
        last = &standing.workload.title;
        let side = |(target, value): (&str, f64)| {
            let told = escaped(&standing.figure.tell_whole(value));
            format!("<td class=\"n\">{told} <span class=\"soft\">{}</span>", escaped(target))
        };
        let _ = writeln!(
            text,
            "<tr><td>{}<td>{}{}{}<td class=\"n\">{}<td class=\"{class}\">{word}</tr>",
            escaped(title),
            escaped(standing.figure.name),
            side((standing.ours.0, standing.ours.1.median)),
            side((standing.theirs.0, standing.theirs.1.median)),
            standing.ratio().map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        );
    }
    text + "</table></section>\n"
}

fn one(results: &Results, workload: &WorkloadResults) -> String {
    let mut text = format!(
        "<section id=\"{}\"><h2>{}</h2>\n<p>{}</p>\n<p class=\"soft\">{}; {} operations per second in \
         the open loop.</p>\n",
        escaped(&workload.name),
        escaped(&workload.title),
        escaped(&workload.about),
        escaped(&workload.terms.join("; ")),
        workload.rate
    );
    for (target, note) in super::notes(workload) {
        let _ = writeln!(text, "<p class=\"note\">{}: {}</p>", escaped(&target), escaped(&note));
    }
    for (title, plots) in charts::over_time(results, workload) {
        let _ = writeln!(text, "<h3>{}</h3><div class=\"plots small\">", escaped(&title));
        plots.iter().for_each(|plot| text.push_str(&figure(plot)));
        text.push_str("</div>\n");
    }
    text.push_str("<div class=\"plots\">");
    charts::of_figures(results, workload).iter().for_each(|plot| text.push_str(&figure(plot)));
    text + "</div>\n" + &numbers(workload) + "</section>\n"
}

fn figure(plot: &Plot) -> String {
    let Plot { title, note, svg } = plot;
    let note = if note.is_empty() { String::new() } else { format!(" <small>{note}</small>") };
    format!("<figure><figcaption>{}{note}</figcaption>{svg}</figure>\n", escaped(title))
}

/// The numbers of all rounds.
fn numbers(workload: &WorkloadResults) -> String {
    let figures = figures::of(workload);
    let mut text = String::from("<details><summary>The numbers of each round</summary>\n");
    text.push_str("<div class=\"wide\" tabindex=\"0\"><table><tr><th>target<th>round");
    for figure in &figures {
        let unit =
            if figure.unit.is_empty() { String::new() } else { format!(", {}", figure.unit) };
        let _ = write!(text, "<th>{}{}", escaped(figure.short), escaped(&unit));
    }
    text.push_str("</tr>\n");
    for row in &workload.rows {
        for (number, round) in row.rounds.iter().enumerate() {
            let _ = write!(text, "<tr><td>{}<td class=\"n\">{}", escaped(&row.target), number + 1);
            for figure in &figures {
                let told =
                    (figure.of)(round).map_or_else(|| "–".to_owned(), |value| figure.tell(value));
                let _ = write!(text, "<td class=\"n\">{told}");
            }
            text.push_str("</tr>\n");
        }
    }
    text + "</table></div></details>\n"
}

fn servers(results: &Results) -> String {
    let mut text = String::from(
        "<section><h2>Servers</h2>\n<div class=\"wide\" tabindex=\"0\"><table><tr><th>target<th>version</tr>\n",
    );
    for target in &results.targets {
        let (name, version) = (escaped(&target.name), escaped(&target.version));
        let _ = writeln!(text, "<tr><td>{name}<td>{version}</tr>");
    }
    text.push_str("</table></div>\n<p>Their command lines:</p>\n<pre>");
    for (_, command) in super::command_lines(results) {
        let _ = writeln!(text, "{}", escaped(&command));
    }
    text + "</pre></section>\n"
}
