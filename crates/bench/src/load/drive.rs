//! The loop of a load: issue what is due, write, wait, take replies.
//!
//! What always holds: one thread, one wait per turn, one write per connection and turn. In the open
//! loop a request takes the connection that has been free for longest, or waits until one is free.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::connection::{Connection, Waiting};
use super::schedule::Schedule;
use super::visitors::{Visit, Visitors};
use super::{Job, Pace, Seen};
use crate::dialect::{Op, Reply, Said, Step};
use crate::limits::{CONNECTIONS_MOST, DRAIN, EVENTS, PIPELINE_MOST, READ_MOST};
use crate::machine;
use crate::payload::Document;
use crate::random::Random;
use crate::record::{Latency, Timeline};

/// A load that runs.
pub(super) struct Drive<'a> {
    job: &'a Job<'a>,
    connections: Vec<Connection>,
    set: OwnedFd,
    start: Instant,
    ready: VecDeque<usize>,
    schedule: Option<Schedule>,
    state: State<'a>,
    /// CPU times at the start of what counts: the server's, ours.
    before: Option<(Option<f64>, f64)>,
    pipeline: usize,
}

/// What replies change: apart from the connections, so that both can be borrowed at once.
struct State<'a> {
    job: &'a Job<'a>,
    visitors: &'a mut Visitors,
    random: Random,
    document: Document,
    keys: (Vec<u8>, Vec<u8>),
    counted: std::ops::Range<u64>,
    seen: Seen,
    timeline: Timeline,
    under_way: usize,
}

impl<'a> Drive<'a> {
    /// Connects.
    pub(super) fn new(job: &'a Job<'a>, visitors: &'a mut Visitors) -> io::Result<Self> {
        // Sleeps end when they are told to: else the kernel may add 50 microseconds to each.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for at in 0..job.connections.clamp(1, CONNECTIONS_MOST) {
            let connection = Connection::open(job.address)?;
            epoll::add(&set, &connection.socket, EventData::new_u64(at as u64), EventFlags::IN)?;
            connections.push(connection);
        }
        let seed = visitors.count() ^ 0xd01;
        let schedule = match job.pace {
            Pace::Open { rate, arrivals, burst } => {
                Some(Schedule::new(rate, arrivals, burst, job.warm_up, seed))
            }
            Pace::Closed | Pace::Fill => None,
        };
        let (from, to) = match job.pace {
            Pace::Fill => (0, u64::MAX),
            _ => (ns(job.warm_up), ns(job.warm_up + job.length)),
        };
        let state = State {
            job,
            visitors,
            random: Random::new(seed ^ 0xa11),
            document: Document::default(),
            keys: (Vec::new(), Vec::new()),
            counted: from..to,
            seen: Seen { latency: Latency::new(), late: Latency::new(), ..Seen::default() },
            timeline: Timeline::new(job.slice),
            under_way: 0,
        };
        let ready = (0..connections.len()).collect();
        let pipeline = job.pipeline.clamp(1, PIPELINE_MOST);
        let start = Instant::now();
        Ok(Self { job, connections, set, start, ready, schedule, state, before: None, pipeline })
    }

    /// Runs it.
    pub(super) fn run(mut self) -> io::Result<Seen> {
        let blank = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = vec![blank; EVENTS];
        let mut scratch = vec![0; READ_MOST];
        let drained = self.state.counted.end.saturating_add(ns(DRAIN));
        loop {
            let now = self.now();
            self.note_cpu(now);
            let more = self.issue(now)?;
            if (!more && self.state.under_way == 0) || now >= drained {
                break;
            }
            let timeout = self.timeout(now).map(timespec);
            let count = match epoll::wait(&self.set, events.as_mut_slice(), timeout.as_ref()) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in events.iter().take(count) {
                let (at, flags) = (event.data.u64() as usize, event.flags);
                self.serve(at, flags, &mut scratch)?;
            }
        }
        Ok(self.finish())
    }

    fn now(&self) -> u64 {
        ns(self.start.elapsed())
    }

    /// Takes the CPU times at the first turn of what counts and at the first after it.
    fn note_cpu(&mut self, now: u64) {
        if self.before.is_none() && now >= self.state.counted.start {
            self.before = Some(self.cpu());
        }
        if now >= self.state.counted.end && self.state.seen.seconds == 0.0 {
            self.close_count(now);
        }
    }

    fn close_count(&mut self, now: u64) {
        let (server, own) = self.before.unwrap_or_default();
        let (server_now, own_now) = self.cpu();
        let seen = &mut self.state.seen;
        seen.seconds = now.saturating_sub(self.state.counted.start) as f64 / 1e9;
        seen.server_cpu = server.zip(server_now).map(|(before, after)| after - before);
        seen.own_cpu = own_now - own;
    }

    fn cpu(&self) -> (Option<f64>, f64) {
        (self.job.server.and_then(|server| server.cpu_seconds()), machine::own_cpu_seconds())
    }

    /// Issues what can be issued; false once nothing more ever will be.
    fn issue(&mut self, now: u64) -> io::Result<bool> {
        match self.job.pace {
            Pace::Open { .. } => self.issue_due(now),
            Pace::Closed => {
                let more = now < self.state.counted.end;
                self.issue_all(now, more)?;
                Ok(more)
            }
            Pace::Fill => {
                self.issue_all(now, true)?;
                Ok(false)
            }
        }
    }

    /// Open loop: everything that is due, as long as a connection is free.
    fn issue_due(&mut self, now: u64) -> io::Result<bool> {
        let end = self.state.counted.end;
        let Some(schedule) = &mut self.schedule else { return Ok(false) };
        while schedule.due() <= now && schedule.due() < end {
            let Some(at) = self.ready.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(at) else { continue };
            let due = schedule.due();
            let visit = self.state.visitors.next(schedule.extra());
            schedule.advance();
            self.state.begin(connection, visit, due);
            if due >= self.state.counted.start {
                let late = now.saturating_sub(due.max(connection.free_since));
                self.state.seen.late.add(Duration::from_nanos(late));
            }
            connection.listed = connection.waiting.len() < self.pipeline;
            if connection.listed {
                self.ready.push_back(at);
            }
            flush(&self.set, connection, at)?;
        }
        Ok(schedule.due() < end)
    }

    /// Closed loop: every connection that was answered asks again, as much as fits in flight.
    fn issue_all(&mut self, now: u64, more: bool) -> io::Result<()> {
        while let Some(at) = self.ready.pop_front() {
            let Some(connection) = self.connections.get_mut(at) else { continue };
            connection.listed = false;
            if !more {
                continue;
            }
            for _ in 0..self.pipeline {
                let visit = match self.job.pace {
                    Pace::Fill => self.state.visitors.fill(),
                    _ => Some(self.state.visitors.next(0.0)),
                };
                let Some(visit) = visit else { break };
                self.state.begin(connection, visit, now);
            }
            flush(&self.set, connection, at)?;
        }
        Ok(())
    }

    /// Nanoseconds until something has to be done besides taking replies; `None`: nothing.
    fn timeout(&self, now: u64) -> Option<u64> {
        let counted = &self.state.counted;
        let border = if now < counted.start { counted.start } else { counted.end };
        let border = if now < border { border } else { border.saturating_add(ns(DRAIN)) };
        let due = match &self.schedule {
            Some(schedule) if !self.ready.is_empty() && schedule.due() < counted.end => {
                schedule.due()
            }
            _ => u64::MAX,
        };
        let next = border.min(due);
        (next != u64::MAX).then(|| next.saturating_sub(now))
    }

    fn serve(&mut self, at: usize, flags: EventFlags, scratch: &mut [u8]) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(at) else { return Ok(()) };
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let (start, state) = (self.start, &mut self.state);
            let mut now = None;
            connection.receive(self.job.dialect, scratch, |reply, bytes, connection| {
                let now = *now.get_or_insert_with(|| ns(start.elapsed()));
                state.answer(connection, reply, bytes, now);
            })?;
            let room = match self.job.pace {
                Pace::Open { .. } => connection.waiting.len() < self.pipeline,
                Pace::Closed | Pace::Fill => connection.waiting.is_empty(),
            };
            if room && !connection.listed {
                connection.listed = true;
                connection.free_since = now.unwrap_or(connection.free_since);
                self.ready.push_back(at);
            }
        }
        flush(&self.set, connection, at)
    }

    /// Counts what was never answered or never sent as long as it was waited for.
    fn finish(mut self) -> Seen {
        let now = self.now();
        if self.state.seen.seconds == 0.0 {
            self.close_count(now);
        }
        let mut left: Vec<u64> = Vec::new();
        for connection in &self.connections {
            left.extend(connection.waiting.iter().map(|waiting| waiting.due));
        }
        if let Some(schedule) = &mut self.schedule {
            while schedule.due() < self.state.counted.end {
                left.push(schedule.due());
                schedule.advance();
            }
        }
        self.state.seen.unanswered = left.len() as u64;
        for due in left {
            self.state.record(due, now);
        }
        self.state.seen.timeline = self.state.timeline.slices();
        self.state.seen
    }
}

impl State<'_> {
    /// Puts a visit's first step into the connection's buffer.
    fn begin(&mut self, connection: &mut Connection, visit: Visit, due: u64) {
        let waiting = Waiting {
            visit,
            due,
            step: 0,
            replies: 0,
            fresh: true,
            missing: false,
            refused: false,
            commands: 0,
        };
        self.under_way += 1;
        let step = visit.op.steps().first().copied().unwrap_or(Step::Load);
        self.say(connection, waiting, step);
    }

    /// Writes one step's requests and lets the operation wait for the replies.
    fn say(&mut self, connection: &mut Connection, mut waiting: Waiting, step: Step) {
        let visit = waiting.visit;
        let (key, new_key) = &mut self.keys;
        key.clear();
        new_key.clear();
        self.visitors.key(visit.session, visit.generation, key);
        if step == Step::Rotate {
            self.visitors.key(visit.session, visit.generation + 1, new_key);
        }
        match step {
            Step::Load | Step::End => {}
            Step::Change if !self.job.dialect.writes_whole() => {
                self.document.fill_change(&mut self.random);
            }
            Step::Change | Step::Rotate | Step::Create => {
                let sizes = &self.job.workload.bytes;
                let spread = (sizes.end() - sizes.start() + 1) as u64;
                let bytes = sizes.start() + self.random.below(spread) as usize;
                self.document.fill(bytes, &mut self.random);
            }
        }
        let said = Said {
            key,
            new_key,
            document: &self.document,
            idle: self.job.workload.idle,
            slide: self.job.workload.slide,
        };
        waiting.replies = self.job.dialect.say(step, &said, &mut connection.out);
        waiting.commands += waiting.replies;
        waiting.fresh = true;
        connection.waiting.push_back(waiting);
    }

    /// One reply: the oldest operation of the connection is a reply nearer to its end.
    fn answer(&mut self, connection: &mut Connection, reply: Reply, bytes: &[u8], now: u64) {
        let Some(waiting) = connection.waiting.front_mut() else { return };
        let step = waiting.visit.op.steps().get(usize::from(waiting.step)).copied();
        if waiting.fresh {
            waiting.fresh = false;
            if step == Some(Step::Load) {
                self.seen.sought += 1;
                waiting.missing = reply == Reply::Missing;
                self.seen.missing += u64::from(waiting.missing);
            }
        }
        if reply == Reply::Refused {
            waiting.refused = true;
            if self.seen.refusal.is_none() {
                self.seen.refusal = Some(String::from_utf8_lossy(bytes).trim_end().to_owned());
            }
        }
        waiting.replies = waiting.replies.saturating_sub(1);
        if waiting.replies > 0 {
            return;
        }
        let Some(mut waiting) = connection.waiting.pop_front() else { return };
        if let Some(step) = self.next_step(&mut waiting) {
            self.say(connection, waiting, step);
            return;
        }
        self.under_way -= 1;
        self.count(&waiting, now);
    }

    /// The step after the one that was just answered, if there is any.
    fn next_step(&self, waiting: &mut Waiting) -> Option<Step> {
        if waiting.refused {
            return None;
        }
        if waiting.missing {
            // Who leaves anyway, or whose app doesn't care, goes without a session.
            if !self.job.refill || waiting.visit.op == Op::SignOut {
                return None;
            }
            // As a framework does: no session, so a new one, under the key that counts from now on.
            waiting.missing = false;
            waiting.visit.generation += u32::from(waiting.visit.op == Op::SignIn);
            waiting.visit.op = Op::Create;
            waiting.step = 0;
            return Some(Step::Create);
        }
        waiting.step += 1;
        waiting.visit.op.steps().get(usize::from(waiting.step)).copied()
    }

    fn count(&mut self, waiting: &Waiting, now: u64) {
        let at = Op::ALL.iter().position(|&op| op == waiting.visit.op);
        if let Some(slot) = at.and_then(|at| self.seen.by_op.get_mut(at)) {
            *slot += 1;
        }
        self.seen.refused += u64::from(waiting.refused);
        if self.counted.contains(&now) {
            self.seen.operations += 1;
            self.seen.commands += u64::from(waiting.commands);
        }
        self.record(waiting.due, now);
    }

    fn record(&mut self, due: u64, now: u64) {
        if self.counted.contains(&due) {
            let took = Duration::from_nanos(now.saturating_sub(due));
            self.seen.latency.add(took);
            self.timeline.add(Duration::from_nanos(due - self.counted.start), took);
        }
    }
}

/// Writes what a connection has to say, and has it watched for room if that isn't all.
fn flush(set: &OwnedFd, connection: &mut Connection, at: usize) -> io::Result<()> {
    let stuffed = !connection.flush()?;
    if stuffed != connection.stuffed {
        connection.stuffed = stuffed;
        let more = if stuffed { EventFlags::OUT } else { EventFlags::empty() };
        let data = EventData::new_u64(at as u64);
        epoll::modify(set, &connection.socket, data, EventFlags::IN | more)?;
    }
    Ok(())
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}
