//! One round of one target under one workload.
//!
//! The steps are the same for all: a server of its own, started empty; the sessions are stored; the
//! memory is taken; then what the workload is about.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::sampler::{Sampled, Sampler, Task};
use super::{Plan, Source, Target};
use crate::control::Control;
use crate::dialect::Dialect;
use crate::launch::{Kind, Server, Terms};
use crate::load::{self, Address, Arrivals, Burst, Job, Pace, Seen, Visitors};
use crate::machine::Process;
use crate::results::{Closed, Open, Round, TimelineSlice, quantiles};
use crate::workload::{Event, Workload};

/// Idle timeout of sessions written to a server that isn't ours to flush, in seconds.
const GUEST_IDLE: u32 = 600;
const FILL_CONNECTIONS: usize = 4;
const FILL_PIPELINE: usize = 64;
const FIND_STEPS: u32 = 6;
const SEED: u64 = 20_261_123;

/// What to measure.
pub(super) struct Case<'a> {
    pub(super) plan: &'a Plan,
    pub(super) workload: &'a Workload,
    pub(super) target: &'a Target,
    pub(super) processors: &'a [usize],
    pub(super) round: u32,
    pub(super) last: bool,
}

/// A server that is there, started or given.
struct Place {
    address: Address,
    process: Option<Process>,
    dialect: Dialect,
    server: Option<Server>,
}

impl Place {
    fn control(&self) -> io::Result<Control> {
        Control::connect(&self.address, self.dialect.is_resp())
    }

    fn resident(&self) -> Option<u64> {
        self.process.as_ref()?.resident()
    }
}

impl Case<'_> {
    /// Measures; notes the server's command line in `command`.
    pub(super) fn measure(&self, command: &mut String) -> io::Result<Round> {
        let mut place = self.place()?;
        if let Some(server) = &place.server {
            command.clone_from(&server.command);
        }
        let mut workload = self.workload.clone();
        if place.server.is_none() {
            workload.idle = workload.idle.min(GUEST_IDLE);
        }
        let seed = SEED ^ u64::from(self.round);
        let mut visitors = Visitors::new(&workload, seed);
        let mut round = fill(&place, &workload, &mut visitors)?;
        match workload.event {
            Event::Steady => self.steady(&place, &workload, &mut visitors, &mut round)?,
            Event::Evict => self.closed_and_open(&place, &workload, &mut visitors, &mut round)?,
            Event::Storm { factor, from, lasts } => {
                let burst = Burst { factor, from, lasts };
                let seen = open(&place, &workload, &mut visitors, Some(burst), Task::Look)?;
                note_event(&mut round, seen, from.as_secs_f64());
                round.marks = vec![
                    (from.as_secs_f64(), "storm begins".to_owned()),
                    ((from + lasts).as_secs_f64(), "ends".to_owned()),
                ];
            }
            Event::Snapshot { at } => {
                let seen = open(&place, &workload, &mut visitors, None, Task::Snapshot(at))?;
                note_event(&mut round, seen, at.as_secs_f64());
            }
            Event::Expire { sessions, at } => {
                expire(&place, &workload, &mut visitors, &mut round, sessions, at)?;
            }
            Event::Restart => restart(&mut place, &workload, &mut visitors, &mut round)?,
        }
        Ok(round)
    }

    fn place(&self) -> io::Result<Place> {
        let dialect = self.target.dialect;
        match &self.target.source {
            Source::Attach { address, process } => {
                let (address, process) = (address.clone(), process.clone());
                Ok(Place { address, process, dialect, server: None })
            }
            Source::Start { kind, program } => {
                let server = self.start(*kind, program)?;
                let (address, process) = (server.address.clone(), Some(server.process.clone()));
                Ok(Place { address, process, dialect, server: Some(server) })
            }
        }
    }

    fn start(&self, kind: Kind, program: &Path) -> io::Result<Server> {
        let terms = Terms {
            memory: self.workload.memory,
            threads: self.plan.threads,
            evict: true,
            processors: self.processors.to_vec(),
        };
        let name = format!("{}-{}-{}", self.workload.name, self.target.name, self.round);
        let folder = self.plan.folder.join(name.replace(' ', "-"));
        Server::start(kind, program, self.target.dialect, &terms, &folder)
    }

    fn steady(
        &self,
        place: &Place,
        workload: &Workload,
        visitors: &mut Visitors,
        round: &mut Round,
    ) -> io::Result<()> {
        self.closed_and_open(place, workload, visitors, round)?;
        let (Some(p99), Some(closed)) = (self.plan.find_p99, &round.closed) else { return Ok(()) };
        if self.last {
            let pace = Pace::Open { rate: 1.0, arrivals: Arrivals::Random, burst: None };
            let length = workload.length.min(Duration::from_secs(1));
            let job = Job { length, ..job(place, workload, pace) };
            let found = load::find_rate(&job, visitors, p99, closed.rate, FIND_STEPS)?;
            round.found_rate = Some(found.rate);
        }
        Ok(())
    }

    fn closed_and_open(
        &self,
        place: &Place,
        workload: &Workload,
        visitors: &mut Visitors,
        round: &mut Round,
    ) -> io::Result<()> {
        let seen = load::run(&job(place, workload, Pace::Closed), visitors)?;
        round.closed = Some(closed(&seen));
        let (seen, _) = open(place, workload, visitors, None, Task::Look)?;
        round.open = Some(opened(&seen, workload.rate));
        round.peak = place.resident();
        Ok(())
    }
}

/// A round in a few words, for the progress.
pub(super) fn line(round: &Round) -> String {
    let mut parts = Vec::new();
    if let Some(closed) = &round.closed {
        parts.push(format!("{:6.0}/s", closed.rate));
        parts.extend(closed.server_us.map(|us| format!("{us:5.1} µs CPU")));
    }
    if let Some(open) = &round.open {
        parts.extend(open.at(0.99).map(|ms| format!("p99 {ms:.2} ms")));
    }
    parts.extend(round.bytes_per_session.map(|bytes| format!("{bytes:.0} B/session")));
    parts.extend(round.event_p99_ms.map(|ms| format!("in the event {ms:.2} ms")));
    parts.extend(round.gone_after.map(|s| format!("gone after {s:.1} s")));
    parts.extend(round.back_in.map(|s| format!("back in {s:.2} s")));
    parts.extend(round.kept.map(|part| format!("kept {:.1} %", part * 100.0)));
    parts.extend(round.found_rate.map(|rate| format!("meets its p99 up to {rate:.0}/s")));
    parts.join("  ")
}

fn job<'a>(place: &'a Place, workload: &'a Workload, pace: Pace) -> Job<'a> {
    let job = Job::new(workload, &place.address, place.dialect, pace);
    Job { server: place.process.as_ref(), refill: workload.event == Event::Evict, ..job }
}

/// Stores all sessions and takes the memory that they took.
fn fill(place: &Place, workload: &Workload, visitors: &mut Visitors) -> io::Result<Round> {
    let empty = place.resident();
    let before = place.control()?.items().unwrap_or(0);
    let seen = create(place, workload, visitors)?;
    let items = place.control()?.items().ok().map(|items| items.saturating_sub(before));
    let resident = place.resident();
    let grown = empty.zip(resident).map(|(empty, full)| full.saturating_sub(empty) as f64);
    let bytes_per_session = grown.zip(items).map(|(bytes, items)| bytes / items.max(1) as f64);
    Ok(Round { bytes_per_session, resident, fill_rate: seen.rate(), items, ..Round::default() })
}

fn create(place: &Place, workload: &Workload, visitors: &mut Visitors) -> io::Result<Seen> {
    let job = job(place, workload, Pace::Fill);
    let job = Job { connections: FILL_CONNECTIONS, pipeline: FILL_PIPELINE, ..job };
    let seen = load::run(&job, visitors)?;
    if seen.refused > 0 {
        let said = seen.refusal.unwrap_or_default();
        return Err(io::Error::other(format!("{} sessions refused: {said}", seen.refused)));
    }
    Ok(seen)
}

/// An open loop with somebody who looks meanwhile.
fn open(
    place: &Place,
    workload: &Workload,
    visitors: &mut Visitors,
    burst: Option<Burst>,
    task: Task,
) -> io::Result<(Seen, Sampled)> {
    let pace = Pace::Open { rate: workload.rate, arrivals: Arrivals::Random, burst };
    let job = job(place, workload, pace);
    let sampler = Sampler::start(place.process.clone(), place.control()?, task, job.warm_up);
    let seen = load::run(&job, visitors);
    let sampled = sampler.finish();
    if let Some(failed) = &sampled.failed {
        return Err(io::Error::other(failed.clone()));
    }
    Ok((seen?, sampled))
}

fn expire(
    place: &Place,
    workload: &Workload,
    visitors: &mut Visitors,
    round: &mut Round,
    sessions: u64,
    at: Duration,
) -> io::Result<()> {
    let before = place.control()?.items()?;
    let wave = Workload { idle: at.as_secs() as u32, ..workload.clone() };
    create(place, &wave, &mut Visitors::of(&wave, sessions, SEED ^ 0x3a7e))?;
    let written = Instant::now();
    let begun = Instant::now() + workload.warm_up;
    let (seen, sampled) = open(place, workload, visitors, None, Task::Count)?;
    let deadline = at.as_secs_f64() - (begun - written).as_secs_f64();
    let left =
        |items: Option<u64>| items.map(|i| i.saturating_sub(before) as f64 / sessions as f64);
    let gone = sampled.samples.iter().find(|sample| left(sample.items).is_some_and(|l| l <= 0.01));
    round.gone_after = gone.map(|sample| (sample.at - deadline).max(0.0));
    round.left_at_end = left(sampled.samples.last().and_then(|sample| sample.items));
    note_event(round, (seen, sampled), deadline);
    round.marks = vec![(deadline, "all of the wave is due".to_owned())];
    Ok(())
}

fn restart(
    place: &mut Place,
    workload: &Workload,
    visitors: &mut Visitors,
    round: &mut Round,
) -> io::Result<()> {
    let before = place.control()?.items()?;
    let Some(server) = &mut place.server else {
        return Err(io::Error::other("not done to a server that was given"));
    };
    let (ended, back) = server.restart()?;
    place.process = Some(server.process.clone());
    let after = place.control()?.items()?;
    round.ended_in = Some(ended.as_secs_f64());
    round.back_in = Some(back.as_secs_f64());
    round.kept = Some(after as f64 / before.max(1) as f64);
    let (seen, _) = open(place, workload, visitors, None, Task::Look)?;
    round.open = Some(opened(&seen, workload.rate));
    Ok(())
}

/// Latencies before and from `at` seconds on, and what was seen meanwhile.
fn note_event(round: &mut Round, (seen, sampled): (Seen, Sampled), at: f64) {
    let worst = |slices: &mut dyn Iterator<Item = f64>| slices.reduce(f64::max);
    let timeline = &seen.timeline;
    round.quiet_p99_ms =
        median(timeline.iter().filter(|slice| slice.at + 0.1 < at).map(|slice| slice.p99));
    let from = || timeline.iter().filter(|slice| slice.at + 0.1 > at);
    round.event_p99_ms = worst(&mut from().map(|slice| slice.p99));
    round.event_most_ms = worst(&mut from().map(|slice| slice.most));
    round.peak = sampled.samples.iter().filter_map(|sample| sample.resident).max();
    round.samples = sampled.samples;
    round.marks = sampled.marks;
    round.open = Some(opened(&seen, seen.rate()));
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    crate::results::Spread::of(values.map(Some)).map(|spread| spread.median)
}

fn closed(seen: &Seen) -> Closed {
    Closed {
        rate: seen.rate(),
        commands: seen.commands as f64 / seen.operations.max(1) as f64,
        server_us: seen.server_us(),
        generator_us: seen.own_us(),
        found: found(seen),
        refused: seen.refused,
        refusal: seen.refusal.clone(),
    }
}

fn opened(seen: &Seen, asked: f64) -> Open {
    Open {
        asked,
        rate: seen.rate(),
        quantiles: quantiles(&seen.latency),
        late_p99_ms: seen.late.at(0.99).as_secs_f64() * 1e3,
        server_us: seen.server_us(),
        unanswered: seen.unanswered,
        refused: seen.refused,
        refusal: seen.refusal.clone(),
        found: found(seen),
        timeline: seen.timeline.iter().copied().map(TimelineSlice::from).collect(),
    }
}

fn found(seen: &Seen) -> f64 {
    1.0 - seen.missing as f64 / seen.sought.max(1) as f64
}
