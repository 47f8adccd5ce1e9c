//! `sessile-bench`: loads servers with session traffic, and compares them.

#![forbid(unsafe_code)]

use std::io;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bench::args::{Command, Flag, Given, help};
use bench::compare::{self, Plan, Source, Target};
use bench::dialect::Dialect;
use bench::interrupt;
use bench::launch::{self, Kind};
use bench::limits::{ROUNDS_MOST, TARGETS_MOST, THREADS_MOST};
use bench::load::{self, Address, Arrivals, Job, Pace, Seen, Visitors};
use bench::machine::Process;
use bench::report;
use bench::results::Results;
use bench::workload::{self, Workload};

const ABOUT: &str =
    "session traffic for Sessile, Redis, Valkey and memcached, and what it costs them";

/// What an option is that takes a time.
const A_TIME: &str = "a time such as 1ms or 5s";

const COMMANDS: [Command; 4] = [
    Command {
        name: "compare",
        takes: "[OPTIONS]",
        about: "Starts what it finds (or takes what is given), loads all alike, writes a report.",
        words: 0,
        flags: &[
            Flag("workloads", "A,B,...", "which, by name or file (default: all that come along)"),
            Flag(
                "targets",
                "A,B,...",
                "which, such as \"redis hash,memcached\" (default: all found)",
            ),
            Flag("rounds", "N", "how often each is measured (default 3)"),
            Flag("threads", "N", "threads of each server (default 1)"),
            Flag("scale", "X", "multiplies the times of steady loads (default 1)"),
            Flag("find-rate", "P99", "also search the highest rate with this p99, such as 1ms"),
            Flag("sessile", "FILE", "our server's program, if it isn't on the PATH"),
            Flag("attach", "NAME=DIALECT@ADDRESS[#PID]", "a server that runs; may be repeated"),
            Flag("only-attached", "", "start nothing"),
            Flag("unpinned", "", "let generator and servers use the same processors"),
            Flag("how-long", "", "say how many seconds it will take, and measure nothing"),
            Flag("out", "DIR", "where the report goes (default bench-report)"),
        ],
    },
    Command {
        name: "run",
        takes: "DIALECT@ADDRESS [OPTIONS]",
        about: "One load on one server that runs. Dialects: string, hash, session, text, meta.",
        words: 1,
        flags: &[
            Flag("workload", "NAME", "by name or file (default shop)"),
            Flag("rate", "N", "open loop with N operations per second (default: closed loop)"),
            Flag("even", "", "open loop with even distances instead of random ones"),
            Flag("find-rate", "P99", "search the highest rate that meets this p99, such as 1ms"),
            Flag("sessions", "N", "instead of the workload's"),
            Flag("bytes", "A..B", "instead of the workload's"),
            Flag("mix", "MIX", "instead of the workload's, such as \"load 90, change 10\""),
            Flag(
                "popularity",
                "P",
                "instead of the workload's: uniform, zipf 0.9, hot 90 % to 10 %",
            ),
            Flag("idle", "TIME", "instead of the workload's"),
            Flag("connections", "N", "instead of the workload's"),
            Flag("pipeline", "N", "operations in flight per connection, instead of the workload's"),
            Flag("length", "TIME", "instead of the workload's"),
            Flag("warm-up", "TIME", "instead of the workload's"),
            Flag("pid", "N", "the server's process: its CPU is told too"),
            Flag("seed", "N", "another population (default 1)"),
            Flag("no-fill", "", "the sessions are there already (same seed, sizes, workload)"),
        ],
    },
    Command {
        name: "report",
        takes: "RAW.json [OPTIONS]",
        about: "Makes the report again from the raw results of a comparison.",
        words: 1,
        flags: &[Flag("out", "DIR", "where it goes (default: beside the raw results)")],
    },
    Command {
        name: "workloads",
        takes: "",
        about: "Lists the workloads that come along.",
        words: 0,
        flags: &[],
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match start(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &[String]) -> Result<(), String> {
    let Some((name, rest)) = args.split_first() else {
        print!("{}", help("sessile-bench", ABOUT, &COMMANDS));
        return Err("a command is needed".to_owned());
    };
    if args.iter().any(|arg| arg == "--help" || arg == "-h") || name == "help" {
        print!("{}", help("sessile-bench", ABOUT, &COMMANDS));
        return Ok(());
    }
    if name == "--version" {
        println!("sessile-bench {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let command = COMMANDS.iter().find(|command| command.name == name);
    let command = command.ok_or_else(|| format!("{name}: no such command; try --help"))?;
    let given = Given::read(command, rest)?;
    match command.name {
        "compare" => compare(&given, args),
        "run" => run(&given),
        "report" => report_again(&given),
        _ => list(),
    }
}

fn compare(given: &Given, args: &[String]) -> Result<(), String> {
    let out = PathBuf::from(given.text("out").unwrap_or("bench-report"));
    let folder = std::env::temp_dir().join(format!("sessile-bench-{}", std::process::id()));
    let words =
        args.iter().map(|arg| if arg.contains(' ') { format!("\"{arg}\"") } else { arg.clone() });
    let rounds =
        given.value("rounds", &format!("a whole number from 1 to {ROUNDS_MOST}"), |text| {
            text.parse().ok().filter(|rounds| (1..=ROUNDS_MOST).contains(rounds))
        })?;
    let threads =
        given.value("threads", &format!("a whole number from 1 to {THREADS_MOST}"), |text| {
            text.parse().ok().filter(|threads| (1..=THREADS_MOST).contains(threads))
        })?;
    let plan = Plan {
        workloads: workloads(given)?,
        targets: targets(given)?,
        rounds: rounds.unwrap_or(3),
        threads: threads.unwrap_or(1),
        find_p99: given.value("find-rate", A_TIME, workload::time)?,
        pinned: !given.has("unpinned"),
        folder: folder.clone(),
        command: format!("sessile-bench {}", words.collect::<Vec<_>>().join(" ")),
    };
    if given.has("how-long") {
        println!("{:.0}", plan.seconds());
        return Ok(());
    }
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    interrupt::watch().map_err(|error| format!("can't watch signals: {error}"))?;
    let results = compare::run(&plan);
    let _ = std::fs::remove_dir_all(&folder);
    if let Some((0, _)) = results.interrupted {
        return Err("interrupted before anything was measured".to_owned());
    }
    println!("{}", report::table(&results));
    let failed = |error: io::Error| format!("{}: {error}", out.display());
    println!("\nwrote {}", report::keep(&results, &out).map_err(failed)?.display());
    write(&results, &out)?;
    match results.interrupted {
        Some((made, planned)) => Err(format!("interrupted: {made} of {planned} measurements")),
        None => Ok(()),
    }
}

fn workloads(given: &Given) -> Result<Vec<Workload>, String> {
    let mut workloads: Vec<Workload> = match given.text("workloads") {
        Some(names) => {
            names.split(',').map(|name| Workload::find(name.trim())).collect::<Result<Vec<_>, _>>()
        }
        None => Workload::all().into_iter().collect(),
    }?;
    let scale = given.value("scale", "a number from 0.01 to 1000", |text| {
        text.parse().ok().filter(|scale| (0.01..=1000.0).contains(scale))
    })?;
    for workload in &mut workloads {
        if workload.is_steady() {
            let seconds = workload.length.as_secs_f64() * scale.unwrap_or(1.0);
            workload.length = Duration::from_secs_f64(seconds);
        }
    }
    Ok(workloads)
}

/// What is installed and what was given, as far as it was asked for.
fn targets(given: &Given) -> Result<Vec<Target>, String> {
    let mut targets = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|_| !given.has("only-attached")) {
        let named = given.text("sessile").filter(|_| kind == Kind::Sessile);
        let Some(program) = launch::find(kind, named) else {
            if let Some(named) = named {
                return Err(format!("--sessile {named}: no such file"));
            }
            continue;
        };
        for &dialect in kind.dialects() {
            let source = Source::Start { kind, program: program.clone() };
            targets.push(Target { name: format!("{} {dialect}", kind.name()), dialect, source });
        }
    }
    for text in given.all("attach") {
        let wrong = || format!("--attach {text}: not NAME=DIALECT@ADDRESS[#PID]");
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (rest, process) = match rest.split_once('#') {
            Some((rest, id)) => (rest, Some(Process { id: id.parse().map_err(|_| wrong())? })),
            None => (rest, None),
        };
        let (dialect, address) = target(rest)?;
        let source = Source::Attach { address, process };
        targets.push(Target { name: name.to_owned(), dialect, source });
    }
    if let Some(wanted) = given.text("targets") {
        let wanted: Vec<_> = wanted.split(',').map(str::trim).collect();
        let known = |want: &&str| targets.iter().any(|target| target.name.starts_with(want));
        if let Some(unknown) = wanted.iter().find(|want| !known(want)) {
            let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
            return Err(format!("--targets: no {unknown}; there are {}", names.join(", ")));
        }
        targets.retain(|target| wanted.iter().any(|want| target.name.starts_with(want)));
    }
    if targets.is_empty() {
        if given.has("only-attached") {
            return Err("--only-attached: no --attach names a server".to_owned());
        }
        return Err(
            "no server found: install redis-server or memcached, or name --sessile".to_owned()
        );
    }
    targets.truncate(TARGETS_MOST);
    Ok(targets)
}

/// `DIALECT@HOST:PORT` or `DIALECT@/path/of/socket`.
fn target(text: &str) -> Result<(Dialect, Address), String> {
    let wrong = || format!("{text}: not DIALECT@HOST:PORT or DIALECT@/PATH");
    let (dialect, address) = text.split_once('@').ok_or_else(wrong)?;
    let dialect = Dialect::named(dialect).ok_or_else(wrong)?;
    if address.starts_with('/') {
        return Ok((dialect, Address::Unix(address.into())));
    }
    let mut found = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    Ok((dialect, Address::Tcp(found.next().ok_or_else(wrong)?)))
}

fn run(given: &Given) -> Result<(), String> {
    let place = given.words.first().ok_or("run: DIALECT@ADDRESS is needed")?;
    let (dialect, address) = target(place)?;
    let workload = adjusted(given)?;
    let seed = given.value("seed", "a whole number", |text| text.parse().ok())?.unwrap_or(1);
    let process = given.value("pid", "a process's number", |text| text.parse().ok())?;
    let process = process.map(|id| Process { id });
    let rate = given.value("rate", "a number of operations per second", workload::rate)?;
    let find = given.value("find-rate", A_TIME, workload::time)?;
    let mut visitors = Visitors::new(&workload, seed);
    let failed = |error: io::Error| format!("{address}: {error}");
    if !given.has("no-fill") {
        let job = Job::new(&workload, &address, dialect, Pace::Fill);
        let job = Job { connections: 4, pipeline: 64, ..job };
        let seen = load::run(&job, &mut visitors).map_err(failed)?;
        println!("stored {} sessions, {:.0} per second", workload.sessions, seen.rate());
        tell_refusals(&seen);
    }
    let arrivals = if given.has("even") { Arrivals::Even } else { Arrivals::Random };
    let pace = rate.map_or(Pace::Closed, |rate| Pace::Open { rate, arrivals, burst: None });
    let job = Job { server: process.as_ref(), ..Job::new(&workload, &address, dialect, pace) };
    let seen = load::run(&job, &mut visitors).map_err(failed)?;
    tell(&seen);
    if let Some(p99) = find {
        let open = Pace::Open { rate: 1.0, arrivals, burst: None };
        let job = Job { pace: open, ..job };
        let most = if rate.is_none() { seen.rate() } else { 1e6 };
        let found = load::find_rate(&job, &mut visitors, p99, most, 8).map_err(failed)?;
        for (rate, p99, met) in &found.tried {
            let verdict = if *met { "met" } else { "not met" };
            println!("  {rate:9.0}/s: p99 {:8.3} ms, {verdict}", p99 * 1e3);
        }
        println!("highest rate with a p99 of {p99:?}: {:.0}/s", found.rate);
    }
    Ok(())
}

/// The workload with what the command line says otherwise.
fn adjusted(given: &Given) -> Result<Workload, String> {
    let mut workload = Workload::find(given.text("workload").unwrap_or("shop"))?;
    let settings = [
        "sessions",
        "bytes",
        "mix",
        "popularity",
        "idle",
        "connections",
        "pipeline",
        "length",
        "warm-up",
    ];
    for name in settings {
        if let Some(value) = given.text(name) {
            workload = workload.with(name, value).map_err(|error| format!("--{error}"))?;
        }
    }
    Ok(workload)
}

fn tell(seen: &Seen) {
    let ms = |quantile| seen.latency.at(quantile).as_secs_f64() * 1e3;
    println!(
        "{:.0} operations per second ({} in {:.2} s)",
        seen.rate(),
        seen.operations,
        seen.seconds
    );
    println!(
        "latency in ms: p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3}",
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(0.999),
        ms(1.0)
    );
    let server = seen.server_us().map(|us| format!("server {us:.2}, "));
    println!(
        "CPU per operation in µs: {}generator {:.2}",
        server.unwrap_or_default(),
        seen.own_us()
    );
    if seen.late.count() > 0 {
        println!("generator late by p99 {:.3} ms", seen.late.at(0.99).as_secs_f64() * 1e3);
    }
    println!(
        "commands per operation {:.2}, sessions not found {} of {}, unanswered {}",
        seen.commands as f64 / seen.operations.max(1) as f64,
        seen.missing,
        seen.sought,
        seen.unanswered
    );
    tell_refusals(seen);
}

fn tell_refusals(seen: &Seen) {
    if seen.refused > 0 {
        println!("refused {}: {}", seen.refused, seen.refusal.as_deref().unwrap_or_default());
    }
}

fn report_again(given: &Given) -> Result<(), String> {
    let raw = Path::new(given.words.first().ok_or("report: RAW.json is needed")?);
    let text =
        std::fs::read_to_string(raw).map_err(|error| format!("{}: {error}", raw.display()))?;
    let results: Results =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", raw.display()))?;
    // The numbers stay as they were written.
    let beside = raw.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    write(&results, &given.text("out").map_or(beside, PathBuf::from))
}

fn write(results: &Results, out: &Path) -> Result<(), String> {
    let files =
        report::write(results, out).map_err(|error| format!("{}: {error}", out.display()))?;
    for file in files {
        println!("wrote {}", file.display());
    }
    Ok(())
}

fn list() -> Result<(), String> {
    for workload in Workload::all() {
        let workload = workload?;
        println!("{:10} {}. {}", workload.name, workload.title, workload.about);
    }
    Ok(())
}
