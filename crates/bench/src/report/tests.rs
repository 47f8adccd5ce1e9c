//! Reports of results that were made up: what is in them, and where.

use super::{about, html, keep, markdown, table, write};
use crate::results::{
    Closed, Open, Results, Round, Row, Sample, TargetFacts, TimelineSlice, WorkloadResults,
};

fn target(name: &str, server: &str) -> TargetFacts {
    let version = format!("{server} 1.0 <b>");
    let (name, server) = (name.to_owned(), server.to_owned());
    TargetFacts { name, server, dialect: "string".to_owned(), version }
}

fn round(rate: f64, p99: f64) -> Round {
    let closed = Closed { rate, server_us: Some(1e6 / rate), found: 1.0, ..Closed::default() };
    let slice = |n: u64| TimelineSlice {
        at: n as f64 / 10.0,
        operations: 100,
        p50: p99 / 4.0,
        p99,
        most: p99 * 3.0,
    };
    let open = Open {
        quantiles: vec![(0.5, p99 / 4.0), (0.99, p99), (0.999, p99 * 2.0)],
        timeline: (0..50).map(slice).collect(),
        ..Open::default()
    };
    let sample =
        |n: u64| Sample { at: n as f64 / 5.0, resident: Some(n << 24), items: Some(1000 - n) };
    Round {
        closed: Some(closed),
        open: Some(open),
        samples: (0..25).map(sample).collect(),
        marks: vec![(2.0, "snapshot begins".to_owned()), (4.5, "ends".to_owned())],
        ..Round::default()
    }
}

fn results() -> Results {
    let row = |name: &str, rounds: Vec<Round>| Row {
        target: name.to_owned(),
        command: format!("{name} --port PORT"),
        rounds,
        ..Row::default()
    };
    let skipped = Row {
        target: "memcached text".to_owned(),
        skipped: Some("no <snapshots>".to_owned()),
        ..Row::default()
    };
    let workload = |name: &str, event: &str| WorkloadResults {
        name: name.to_owned(),
        title: format!("The {name}"),
        event: event.to_owned(),
        rate: 5000.0,
        rows: vec![
            row("sessile string", vec![round(200_000.0, 0.5), round(210_000.0, 0.6)]),
            row("redis string", vec![round(100_000.0, 0.2), round(110_000.0, 0.3)]),
            skipped.clone(),
        ],
        ..WorkloadResults::default()
    };
    Results {
        targets: vec![
            target("sessile string", "sessile"),
            target("redis string", "redis"),
            target("memcached text", "memcached"),
        ],
        workloads: vec![workload("shop", "steady"), workload("snap", "snapshot")],
        ..Results::default()
    }
}

#[test]
fn the_terminal_gets_medians_the_best_marked_and_losses_named() {
    let text = table(&results());
    let line = |start: &str| text.lines().find(|line| line.trim().starts_with(start)).unwrap();
    assert!(line("sessile string").contains("205\u{a0}000*"), "{text}");
    assert!(line("redis string").contains("0.250*"), "{text}");
    assert!(text.contains("memcached text: not measured: no <snapshots>"));
    assert!(
        text.contains("  worse: The shop, p99: 0.550 ms (sessile string), 0.250 ms (redis string)")
    );
    let heads: Vec<_> = text.lines().filter(|line| line.contains("ops/s")).collect();
    let ends = |line: &str, word: &str| {
        line.find(word).map(|at| line[..at].chars().count() + word.chars().count())
    };
    assert_eq!(
        ends(heads[0], "ops/s").map(|end| end + 1),
        ends(line("sessile string"), "205\u{a0}000*").map(|end| end + 1),
        "columns stand below each other"
    );
}

#[test]
fn markdown_has_the_same_numbers_with_their_spread() {
    let text = markdown::markdown(&results());
    assert!(text.contains("**205\u{a0}000** (200\u{a0}000–210\u{a0}000)"), "{text}");
    assert!(text.contains("| The shop | Throughput, as fast as it goes | 205\u{a0}000 ops/s (sessile string) | 105\u{a0}000 ops/s (redis string) | 1.95 | better |"), "{text}");
    assert!(text.contains("- memcached text: not measured: no <snapshots>"));
    assert!(text.contains("redis string --port PORT"));
}

#[test]
fn the_page_needs_nothing_and_tells_text_from_markup() {
    let page = html::html(&results());
    for forbidden in ["http://", "https://", "<script", "url(", "@import", "<link", "<snapshots>"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("no &lt;snapshots&gt;") && page.contains("1.0 &lt;b&gt;"));
    assert!(page.contains("prefers-color-scheme: dark"));
    // A plot over time per target that was measured, for three things, in the one event.
    assert_eq!(page.matches("<polyline").count(), 2 * (3 + 1 + 1));
    assert_eq!(page.matches("snapshot begins").count(), 2 * 3);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(page.matches("<figure").count() > 10);
}

#[test]
fn programs_get_names_units_values_and_verdicts() {
    let numbers: serde_json::Value =
        serde_json::from_str(&super::numbers::json(&results()).unwrap()).unwrap();
    let first = &numbers["figures"][0];
    assert_eq!((&first["short"], &first["better"]), (&"ops/s".into(), &"more".into()));
    let shop = &numbers["workloads"]["shop"];
    assert_eq!(shop["sessile string"]["ops/s"], serde_json::json!([200_000.0, 210_000.0]));
    assert!(shop["sessile string"].get("kept").is_none(), "not measured, not told");
    assert!(shop.get("memcached text").is_none());
    let standings = numbers["standings"].as_array().unwrap();
    let of = |figure: &str| standings.iter().find(|one| one["figure"] == figure).unwrap();
    assert_eq!(of("ops/s")["verdict"], "better");
    assert_eq!(
        (&of("p99")["verdict"], &of("p99")["theirs"]),
        (&"worse".into(), &"redis string".into())
    );
}

#[test]
fn a_report_is_three_files_and_can_be_made_again_from_the_raw_one() {
    let folder = std::env::temp_dir().join(format!("sessile-bench-test-{}", std::process::id()));
    let written = write(&results(), &folder).unwrap();
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names, ["figures.json", "report.html", "report.md"]);
    assert_eq!(std::fs::read_to_string(&written[1]).unwrap(), html::html(&results()));
    let raw = std::fs::read_to_string(keep(&results(), &folder).unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&raw).unwrap(), results());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_report_of_an_interrupted_comparison_says_so_first() {
    let whole = results();
    assert!(!html::html(&whole).contains("told to end early"));
    let early = Results { interrupted: Some((3, 12)), ..whole };
    assert_eq!(about(&early)[0], "It was told to end early: 3 of 12 measurements were made.");
    for text in [html::html(&early), markdown::markdown(&early)] {
        assert!(text.contains("3 of 12 measurements"), "{text}");
    }
}
