//! A comparison: every workload on every target, in rounds that take turns.
//!
//! What always holds: within a round the targets follow each other, and each round begins with
//! another one (A B C, B C A, ...), so that a machine whose speed drifts treats all alike. Each
//! measurement has a server of its own, started empty and ended after it. A target that fails is
//! skipped with its reason; the others go on.

mod measure;
mod sampler;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::dialect::Dialect;
use crate::interrupt;
use crate::launch::{self, Kind};
use crate::limits::TARGETS_MOST;
use crate::load::Address;
use crate::machine::{self, Machine, Process};
use crate::payload::Document;
use crate::random::Random;
use crate::results::{Results, Row, TargetFacts, WorkloadResults};
use crate::workload::{Event, Workload};

/// Where a target comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A program that is started for each measurement.
    Start {
        /// What it is.
        kind: Kind,
        /// Its file.
        program: PathBuf,
    },
    /// A server that runs already. Nothing is flushed, ended or set there: sessions are written under
    /// keys of their own, and end by themselves after ten minutes.
    Attach {
        /// Where it listens.
        address: Address,
        /// Its process, if it runs here.
        process: Option<Process>,
    },
}

/// A server and a way of storing sessions in it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// How sessions are stored.
    pub dialect: Dialect,
    /// The server.
    pub source: Source,
}

/// Everything that a comparison needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is measured.
    pub workloads: Vec<Workload>,
    /// On what.
    pub targets: Vec<Target>,
    /// How often; events other than storms are measured at most twice.
    pub rounds: u32,
    /// Threads of each server.
    pub threads: usize,
    /// Search for the highest rate that meets this 99th percentile (steady workloads, last round).
    pub find_p99: Option<Duration>,
    /// Whether generator and servers are kept on processors of their own.
    pub pinned: bool,
    /// Where servers have their folders.
    pub folder: PathBuf,
    /// The command line, for the report.
    pub command: String,
}

impl Plan {
    /// How many measurements it has: targets that a workload skips aren't counted.
    pub fn measurements(&self) -> usize {
        self.workloads.iter().map(|one| self.times(one) * rounds(self, one) as usize).sum()
    }

    /// About how many seconds all of it takes: the loads take what they take, and starting and
    /// filling a server some more.
    pub fn seconds(&self) -> f64 {
        let cells = self.workloads.iter().map(|one| {
            let seconds = self.times(one) as f64 * f64::from(rounds(self, one));
            seconds * (loads(one).as_secs_f64() + BESIDE)
        });
        cells.sum()
    }

    /// On how many targets a workload is measured.
    fn times(&self, workload: &Workload) -> usize {
        let measured = |target: &&Target| row(workload, target).skipped.is_none();
        self.targets.iter().filter(measured).count()
    }
}

/// Seconds of starting, filling and ending a server, in the mean.
const BESIDE: f64 = 0.45;

/// How long the loads of one measurement run.
fn loads(workload: &Workload) -> Duration {
    let once = workload.warm_up + workload.length;
    match workload.event {
        // Closed and open.
        Event::Steady | Event::Evict => once * 2,
        Event::Storm { .. } | Event::Snapshot { .. } | Event::Expire { .. } | Event::Restart => {
            once
        }
    }
}

/// Measures everything, telling about it on the standard error output; less, if it's told to end.
pub fn run(plan: &Plan) -> Results {
    let begun = Instant::now();
    let machine = Machine::here();
    let all = machine::processors();
    let (own, theirs) = match all.split_first() {
        Some((first, rest)) if plan.pinned && !rest.is_empty() => (vec![*first], rest.to_vec()),
        _ => (Vec::new(), Vec::new()),
    };
    if !own.is_empty() {
        machine::keep_to(&own);
    }
    let mut results = Results {
        program: format!("sessile-bench {}", env!("CARGO_PKG_VERSION")),
        command: plan.command.clone(),
        machine,
        threads: plan.threads,
        generator_on: own,
        servers_on: theirs,
        rounds: plan.rounds,
        targets: plan.targets.iter().map(facts).collect(),
        ..Results::default()
    };
    let (minutes, count) = (plan.seconds() / 60.0, plan.measurements());
    let _ = writeln!(std::io::stderr(), "{count} measurements, about {minutes:.0} minutes");
    let mut progress = Progress::new(plan);
    for workload in &plan.workloads {
        if interrupt::is_asked() {
            break;
        }
        let measured = compare(plan, workload, &results.servers_on, &mut progress);
        results.workloads.push(measured);
    }
    if interrupt::is_asked() {
        let rows = results.workloads.iter().flat_map(|workload| &workload.rows);
        results.interrupted = Some((rows.map(|row| row.rounds.len()).sum(), count));
        results.workloads.retain(|one| one.rows.iter().any(|row| !row.rounds.is_empty()));
    }
    machine::keep_to(&all);
    results.seconds = begun.elapsed().as_secs_f64();
    results
}

/// One workload on all targets.
fn compare(
    plan: &Plan,
    workload: &Workload,
    processors: &[usize],
    progress: &mut Progress,
) -> WorkloadResults {
    let mut rows: Vec<Row> = plan.targets.iter().map(|target| row(workload, target)).collect();
    let count = rows.len().min(TARGETS_MOST);
    let rounds = rounds(plan, workload);
    for round in 0..rounds {
        for turn in 0..count {
            let at = (turn + round as usize) % count.max(1);
            let (Some(target), Some(row)) = (plan.targets.get(at), rows.get_mut(at)) else {
                continue;
            };
            if interrupt::is_asked() {
                return describe(workload, rows);
            }
            progress.step(&workload.name, &target.name, round + 1, rounds);
            if row.skipped.is_some() {
                progress.done("skipped");
                continue;
            }
            let last = round + 1 == rounds;
            let case = measure::Case { plan, workload, target, processors, round, last };
            match case.measure(&mut row.command) {
                Ok(measured) => {
                    progress.done(&measure::line(&measured));
                    row.rounds.push(measured);
                }
                Err(_) if interrupt::is_asked() => progress.done("interrupted"),
                Err(error) => {
                    progress.done(&format!("failed: {error}"));
                    row.skipped = Some(error.to_string());
                }
            }
        }
    }
    describe(workload, rows)
}

fn rounds(plan: &Plan, workload: &Workload) -> u32 {
    match workload.event {
        Event::Steady => plan.rounds,
        Event::Evict | Event::Storm { .. } => plan.rounds.min(2),
        Event::Snapshot { .. } | Event::Expire { .. } | Event::Restart => plan.rounds.min(1),
    }
}

fn row(workload: &Workload, target: &Target) -> Row {
    let attached = matches!(target.source, Source::Attach { .. });
    let memcached = matches!(&target.source, Source::Start { kind: Kind::Memcached, .. });
    let skipped = match workload.event {
        Event::Restart | Event::Evict if attached => Some("not done to a server that was given"),
        Event::Snapshot { .. } if memcached => Some("memcached has no snapshots"),
        Event::Snapshot { .. } if !target.dialect.is_resp() => Some("ordered over RESP"),
        Event::Restart if !memcached && !target.dialect.is_resp() => Some("ordered over RESP"),
        _ => None,
    };
    Row { target: target.name.clone(), skipped: skipped.map(str::to_owned), ..Row::default() }
}

fn describe(workload: &Workload, rows: Vec<Row>) -> WorkloadResults {
    let event = match workload.event {
        Event::Steady => "steady",
        Event::Storm { .. } => "storm",
        Event::Snapshot { .. } => "snapshot",
        Event::Expire { .. } => "expiry",
        Event::Evict => "eviction",
        Event::Restart => "restart",
    };
    let terms = vec![
        format!("{} sessions", thousands(workload.sessions)),
        format!("{} to {} bytes of JSON each", workload.bytes.start(), workload.bytes.end()),
        format!("operations: {}", workload.mix_text()),
        format!("{} connections, {} in flight on each", workload.connections, workload.pipeline),
        format!("used: {:?}", workload.popularity).to_lowercase(),
        format!(
            "idle timeout of {} s, {}",
            thousands(u64::from(workload.idle)),
            if workload.slide { "re-armed by every use" } else { "not re-armed by reading" }
        ),
        format!("cap of {} MB", workload.memory >> 20),
    ];
    WorkloadResults {
        name: workload.name.clone(),
        title: workload.title.clone(),
        about: workload.about.clone(),
        event: event.to_owned(),
        terms,
        rate: workload.rate,
        raw_bytes: raw_bytes(workload),
        memory: workload.memory,
        rows,
    }
}

/// Key and JSON of a session in the mean, over a thousand of them.
fn raw_bytes(workload: &Workload) -> f64 {
    const MANY: u64 = 1000;
    let mut random = Random::new(1);
    let mut document = Document::default();
    let spread = (workload.bytes.end() - workload.bytes.start() + 1) as u64;
    let sum: usize = (0..MANY)
        .map(|_| {
            let bytes = workload.bytes.start() + random.below(spread) as usize;
            document.fill(bytes, &mut random);
            document.json_len()
        })
        .sum();
    sum as f64 / MANY as f64 + (workload.prefix.len() + 32) as f64
}

fn facts(target: &Target) -> TargetFacts {
    let (server, version) = match &target.source {
        Source::Start { kind, program } => (kind.name().to_owned(), launch::version(program)),
        Source::Attach { address, .. } => ("attached".to_owned(), address.to_string()),
    };
    let (name, dialect) = (target.name.clone(), target.dialect.name().to_owned());
    TargetFacts { name, server, dialect, version }
}

/// A number with a blank between thousands.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    out
}

/// What is going on, on the standard error output: a line per measurement.
struct Progress {
    step: usize,
    steps: usize,
    begun: Instant,
}

impl Progress {
    fn new(plan: &Plan) -> Self {
        let rounds = |workload| rounds(plan, workload) as usize;
        let steps = plan.workloads.iter().map(rounds).sum::<usize>() * plan.targets.len();
        Self { step: 0, steps, begun: Instant::now() }
    }

    fn step(&mut self, workload: &str, target: &str, round: u32, rounds: u32) {
        self.step += 1;
        let seconds = self.begun.elapsed().as_secs();
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let steps = self.steps;
        let mut out = std::io::stderr().lock();
        let step = self.step;
        let _ = write!(out, "{minutes}:{seconds:02} [{step:3}/{steps}] {workload:9} {target:18} ");
        let _ = write!(out, "round {round}/{rounds}  ");
        let _ = out.flush();
    }

    fn done(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1000), "1\u{a0}000");
        assert_eq!(thousands(1_234_567), "1\u{a0}234\u{a0}567");
    }

    #[test]
    fn what_a_target_cannot_do_is_skipped_with_a_reason() {
        let workload = Workload::find("snapshot").unwrap();
        let source = Source::Start { kind: Kind::Memcached, program: "memcached".into() };
        let target = Target { name: "m".into(), dialect: Dialect::Meta, source };
        assert!(row(&workload, &target).skipped.unwrap().contains("no snapshots"));
        assert_eq!(row(&Workload::find("shop").unwrap(), &target).skipped, None);
    }

    #[test]
    fn how_long_it_takes_is_known_before() {
        let source = Source::Start { kind: Kind::Memcached, program: "memcached".into() };
        let target = Target { name: "m".into(), dialect: Dialect::Meta, source };
        let plan = |names: &[&str]| Plan {
            workloads: names.iter().map(|name| Workload::find(name).unwrap()).collect(),
            targets: vec![target.clone()],
            rounds: 3,
            threads: 1,
            find_p99: None,
            pinned: true,
            folder: PathBuf::new(),
            command: String::new(),
        };
        let shop = plan(&["shop"]);
        assert_eq!(shop.measurements(), 3);
        assert!((shop.seconds() - 3.0 * (2.0 * 2.5 + BESIDE)).abs() < 1e-9);
        assert_eq!(plan(&["shop", "snapshot"]).measurements(), 3, "memcached has no snapshots");
        assert_eq!(plan(&["expiry", "storm"]).measurements(), 1 + 2);
    }

    #[test]
    fn raw_bytes_are_key_and_value() {
        let workload = Workload::find("shop").unwrap();
        let raw = raw_bytes(&workload) - (workload.prefix.len() + 32) as f64;
        assert!((410.0..510.0).contains(&raw), "{raw}");
    }
}
