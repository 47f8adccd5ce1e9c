//! A worker's loop: one turn after the other.
//!
//! A turn reads what is ready on each ready connection, executes it, does the end-of-turn work once,
//! and then writes once per connection that has replies. All requests of a turn see one time. When
//! nothing is due, the worker sleeps.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::connection::{Connection, Phase};
use super::slab::Slab;
use super::{Common, Mailbox, Newcomer};
use crate::limits;
use crate::log::{self, Gate};
use crate::os::poll::{Interest, Poll, Ready};
use crate::os::socket::{self, Moved};
use crate::os::wake::Wake;
use crate::registry::{Arrival, Entry, Traffic};
use crate::service::{Now, Service};

/// The token of the worker's wake-up.
const WAKE: u64 = u64::MAX;
/// The token of the bell that tells that parked replies may leave.
const BELL: u64 = u64::MAX - 1;

static COMPLAINTS: Gate = Gate::new();
static EVICTIONS: Gate = Gate::new();

/// One worker, before and while it runs.
pub(super) struct Worker<S: Service> {
    index: usize,
    service: Arc<S>,
    common: Arc<Common>,
    mailbox: Arc<Mailbox>,
    traffic: Arc<Traffic>,
    bell: Arc<Wake>,
    poll: Poll,
    connections: Slab<Connection<S::Client>>,
    /// Where input lands that finds nothing waiting before it, one connection's after the other.
    scratch: Vec<u8>,
    /// Whose input lies where in `scratch`.
    fresh: Vec<Span>,
    /// The replies of this turn, one connection's after the other.
    out: Vec<u8>,
    /// Whose replies lie where in `out`.
    spans: Vec<Span>,
    /// Connections with more complete requests than their share of a turn.
    resume: Vec<u64>,
    /// Connections whose replies wait until the service is safe.
    parked: Vec<u64>,
    /// Connections whose next request waits for something.
    waiting: Vec<u64>,
    turn: u64,
    now: Now,
    /// When the connections' deadlines are looked at next (ms).
    sweep_ms: u64,
    /// When the service wants its next turn (ms).
    due_ms: u64,
}

#[derive(Clone, Copy)]
struct Span {
    token: u64,
    from: usize,
    to: usize,
}

impl<S: Service> Worker<S> {
    pub(super) fn new(
        index: usize,
        service: Arc<S>,
        common: Arc<Common>,
        mailbox: Arc<Mailbox>,
    ) -> io::Result<Self> {
        let poll = Poll::new(limits::EVENTS_PER_TURN)?;
        poll.add(&*mailbox.wake, WAKE, Interest::READ)?;
        let bell = Arc::new(Wake::new()?);
        poll.add(&*bell, BELL, Interest::READ)?;
        let now = common.clock.now();
        Ok(Self {
            index,
            service,
            traffic: common.registry.count(),
            common,
            mailbox,
            bell,
            poll,
            connections: Slab::new(),
            scratch: vec![0; limits::READS_PER_BATCH * limits::READ],
            fresh: Vec::new(),
            out: Vec::new(),
            spans: Vec::new(),
            resume: Vec::new(),
            parked: Vec::new(),
            waiting: Vec::new(),
            turn: 0,
            now,
            sweep_ms: u64::MAX,
            due_ms: now.ms,
        })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut state = self.service.worker(self.index, &self.bell);
        loop {
            let events = self.poll.wait(self.sleep_ms())?;
            self.now = self.common.clock.now();
            self.turn = self.turn.wrapping_add(1);
            let mut stop = false;
            for at in 0..events {
                match self.poll.ready(at) {
                    Some(ready) if ready.token == WAKE => stop |= self.open_mail(&mut state),
                    Some(ready) if ready.token == BELL => self.bell.hear(),
                    Some(ready) => self.ready(&mut state, ready),
                    None => {}
                }
            }
            self.serve_fresh(&mut state);
            self.go_on(&mut state);
            self.due_ms = self.service.end_of_turn(&mut state, self.now);
            self.release(&mut state);
            self.wake();
            self.flush(&mut state);
            if self.now.ms >= self.sweep_ms {
                self.sweep(&mut state);
            }
            if stop {
                return self.finish(&mut state);
            }
        }
    }

    /// How long there is nothing to do (ms; `None`: until something happens).
    fn sleep_ms(&self) -> Option<u64> {
        if !self.resume.is_empty() {
            return Some(0);
        }
        let due = self.due_ms.min(self.sweep_ms);
        if due <= self.now.ms {
            return Some(0);
        }
        // A clock that stands still brings nothing due by waiting; whoever moves it wakes us.
        (due != u64::MAX && self.common.clock.runs()).then(|| due - self.now.ms)
    }

    fn sweep_by(&mut self, at_ms: u64) {
        self.sweep_ms = self.sweep_ms.min(at_ms);
    }

    /// Takes in newcomers and looks for killed connections. True if the worker shall stop.
    fn open_mail(&mut self, state: &mut S::Worker) -> bool {
        self.mailbox.wake.hear();
        let inbox = self.mailbox.take();
        for newcomer in inbox.newcomers {
            self.welcome(state, newcomer);
        }
        let killed = |(token, connection): (u64, &Connection<S::Client>)| {
            connection.entry.is_killed().then_some(token)
        };
        let killed: Vec<u64> = self.connections.iter().filter_map(killed).collect();
        for token in killed {
            self.close(state, token);
        }
        // Settings may have changed, or the clock.
        self.sweep_by(self.now.ms);
        inbox.stop
    }

    fn welcome(&mut self, state: &mut S::Worker, newcomer: Newcomer) {
        let Newcomer { socket, peer, local, dialect } = newcomer;
        let arrival = Arrival {
            peer,
            local,
            dialect,
            fd: socket.as_raw_fd(),
            worker: self.index,
            now_ms: self.now.ms,
            authenticated: self.common.live.is_open(),
        };
        let entry = self.common.registry.enter(arrival, Arc::clone(&self.mailbox.wake));
        let client = match self.service.connect(state, &entry, self.now) {
            Ok(client) => client,
            Err(reason) => {
                socket::write(&socket, &reason);
                self.common.registry.refused.fetch_add(1, Ordering::Relaxed);
                return self.forget(&entry);
            }
        };
        let token = self.connections.insert(Connection::new(socket, entry, client, &self.traffic));
        let Some(connection) = self.connections.get_mut(token) else { return };
        if self.poll.add(&connection.socket, token, Interest::READ).is_err() {
            self.close(state, token);
        }
    }

    /// A connection's socket is ready for something.
    fn ready(&mut self, state: &mut S::Worker, ready: Ready) {
        let Some(connection) = self.connections.get_mut(ready.token) else { return };
        if ready.write {
            let was_held = !connection.may_serve();
            // Replies that wait may have joined those that the socket had no room for.
            if !connection.parked && !connection.send_waiting() {
                return self.close(state, ready.token);
            }
            if was_held && connection.may_serve() && connection.waiting_input() > 0 {
                connection.again = true;
                self.resume.push(ready.token);
            }
            self.settle(state, ready.token);
        }
        if ready.read || ready.gone {
            self.readable(state, ready.token);
        }
    }

    fn readable(&mut self, state: &mut S::Worker, token: u64) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if connection.again {
            // It has complete requests left; `go_on` serves them before more is read.
            return;
        }
        if connection.phase != Phase::Open {
            return self.discard(state, token);
        }
        if connection.waiting_input() == 0 && connection.may_serve() {
            return self.read_fresh(state, token);
        }
        let from = self.room(state);
        let Some(connection) = self.connections.get_mut(token) else { return };
        let scratch = self.scratch.get_mut(from..from + limits::READ).unwrap_or_default();
        let fresh = connection.waiting_input() == 0;
        match connection.read(scratch) {
            Moved::Closed => return self.close(state, token),
            Moved::Blocked => return,
            Moved::Bytes(bytes) => {
                connection.entry.seen_ms.store(self.now.ms, Ordering::Relaxed);
                if fresh {
                    connection.keep(scratch.get(..bytes).unwrap_or_default(), self.now.ms);
                }
            }
        }
        if connection.may_serve() {
            self.serve_waiting(state, token);
        } else {
            self.settle(state, token);
        }
    }

    /// Where in `scratch` the next read may land, behind what waits there to be served.
    fn room(&mut self, state: &mut S::Worker) -> usize {
        let used = self.fresh.last().map_or(0, |last| last.to);
        if used + limits::READ <= self.scratch.len() {
            return used;
        }
        self.serve_fresh(state);
        0
    }

    /// Reads from a connection that has nothing waiting; [`Worker::serve_fresh`] serves it.
    fn read_fresh(&mut self, state: &mut S::Worker, token: u64) {
        let from = self.room(state);
        let Some(connection) = self.connections.get_mut(token) else { return };
        match connection.read(self.scratch.get_mut(from..from + limits::READ).unwrap_or_default()) {
            Moved::Closed => self.close(state, token),
            Moved::Blocked => {}
            Moved::Bytes(bytes) => {
                connection.entry.seen_ms.store(self.now.ms, Ordering::Relaxed);
                self.fresh.push(Span { token, from, to: from + bytes });
            }
        }
    }

    /// Serves what was read from connections that had nothing waiting, all of it known to the
    /// service beforehand, so that the memory of many requests is fetched at once.
    fn serve_fresh(&mut self, state: &mut S::Worker) {
        let mut fresh = std::mem::take(&mut self.fresh);
        let scratch = std::mem::take(&mut self.scratch);
        let input = |span: &Span| scratch.get(span.from..span.to).unwrap_or_default();
        if fresh.len() > 1 {
            for span in &fresh {
                if let Some(connection) = self.connections.get_mut(span.token) {
                    self.service.foresee(state, &connection.client, input(span));
                }
            }
            self.service.foreseen(state);
        }
        for span in fresh.drain(..) {
            let Some(connection) = self.connections.get_mut(span.token) else { continue };
            if self.out.len() >= limits::OUTPUT_PER_TURN {
                connection.keep(input(&span), self.now.ms);
                self.serve_waiting(state, span.token);
                continue;
            }
            connection.turn = self.turn;
            let from = self.out.len();
            let out = &mut self.out;
            let complaint =
                connection.serve_fresh(&*self.service, state, input(&span), out, self.now);
            self.served(state, span.token, from, complaint);
        }
        (self.fresh, self.scratch) = (fresh, scratch);
    }

    /// Serves the connections that had more than their share of an earlier turn.
    fn go_on(&mut self, state: &mut S::Worker) {
        for token in std::mem::take(&mut self.resume) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            if connection.turn == self.turn || self.out.len() >= limits::OUTPUT_PER_TURN {
                self.resume.push(token);
                continue;
            }
            connection.again = false;
            if connection.may_serve() && connection.waiting_input() > 0 {
                // It may have waited for us: that is not held against its request.
                connection.begin(self.now.ms);
                self.serve_waiting(state, token);
            }
        }
    }

    fn serve_waiting(&mut self, state: &mut S::Worker, token: u64) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        if self.out.len() >= limits::OUTPUT_PER_TURN {
            connection.again = true;
            self.resume.push(token);
            return;
        }
        connection.turn = self.turn;
        let from = self.out.len();
        let complaint = connection.serve_waiting(&*self.service, state, &mut self.out, self.now);
        self.served(state, token, from, complaint);
    }

    /// Notes what a serving left behind: replies, a goodbye, requests for later.
    fn served(
        &mut self,
        state: &mut S::Worker,
        token: u64,
        from: usize,
        complaint: Option<&'static str>,
    ) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        let to = self.out.len();
        if let Some(text) = complaint
            && COMPLAINTS.opens(self.now.ms)
        {
            log::warning(format_args!("{text} (from {})", connection.entry.peer));
        }
        if connection.again {
            self.resume.push(token);
        }
        let pause_ms = connection.pause_ms;
        if connection.awaits.is_some() {
            self.common.registry.blocked.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut connection.listed, true) {
                self.waiting.push(token);
            }
        }
        if connection.waiting_output() > 0
            && !connection.parked
            && !connection.may_leave(self.service.reached())
        {
            // Replies have joined what the socket did not take before.
            connection.park(&[]);
            self.parked.push(token);
        }
        if to > from || connection.phase != Phase::Open {
            self.spans.push(Span { token, from, to });
        } else if connection.waiting_input() > 0 || connection.partial_ms > 0 || pause_ms > 0 {
            self.settle(state, token);
        }
        if pause_ms > 0 {
            self.sweep_by(pause_ms);
        }
    }

    /// Sends the replies that waited until the service was safe.
    fn release(&mut self, state: &mut S::Worker) {
        if self.parked.is_empty() {
            return;
        }
        // In this order: whoever waits for nothing that is lost isn't closed for it.
        let (lost, reached) = (self.service.lost(), self.service.reached());
        for token in std::mem::take(&mut self.parked) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            if !connection.may_leave(reached) {
                if lost {
                    self.close(state, token);
                } else {
                    self.parked.push(token);
                }
                continue;
            }
            connection.parked = false;
            if !connection.send_waiting() {
                self.close(state, token);
                continue;
            }
            if connection.waiting_input() > 0 && connection.may_serve() {
                connection.again = true;
                self.resume.push(token);
            }
            self.settle(state, token);
        }
    }

    /// Has requests served again in the next turn that have what they waited for.
    fn wake(&mut self) {
        for token in std::mem::take(&mut self.waiting) {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            let has_come = |awaited| self.service.has_come(awaited);
            let goes_on = connection.entry.is_unblocked();
            if !goes_on && connection.awaits.is_some_and(|awaited| !has_come(awaited)) {
                self.waiting.push(token);
                continue;
            }
            connection.listed = false;
            if connection.end_wait(&self.common.registry) {
                connection.pause_ms = 0;
                if connection.may_serve() {
                    connection.again = true;
                    self.resume.push(token);
                }
            }
        }
    }

    /// Writes this turn's replies, once per connection.
    fn flush(&mut self, state: &mut S::Worker) {
        if self.spans.is_empty() {
            return;
        }
        let mut spans = std::mem::take(&mut self.spans);
        let mut out = std::mem::take(&mut self.out);
        let reached = self.service.reached();
        for span in spans.drain(..) {
            let Some(connection) = self.connections.get_mut(span.token) else { continue };
            let replies = out.get(span.from..span.to).unwrap_or_default();
            if !connection.may_leave(reached) {
                if !connection.parked {
                    self.parked.push(span.token);
                }
                connection.park(replies);
                self.settle(state, span.token);
            } else if connection.send(replies) {
                self.settle(state, span.token);
            } else {
                self.close(state, span.token);
            }
        }
        out.clear();
        if out.capacity() > limits::OUTPUT_KEPT {
            out.shrink_to(limits::OUTPUT_KEPT);
        }
        (self.spans, self.out) = (spans, out);
    }

    /// After anything happened to a connection: its limits, its end, and what it is watched for.
    fn settle(&mut self, state: &mut S::Worker, token: u64) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        let (input, output) = (connection.waiting_input(), connection.waiting_output());
        if connection.phase == Phase::Closing && output == 0 {
            return self.part(state, token);
        }
        connection.account(&self.common.registry);
        if let Some(interest) = connection.new_interest()
            && self.poll.modify(&connection.socket, token, interest).is_err()
        {
            return self.close(state, token);
        }
        if input == 0 && output == 0 {
            connection.over_ms = 0;
            if connection.partial_ms > 0 {
                self.sweep_by(self.now.ms.saturating_add(limits::SWEEP_MS));
            }
            return;
        }
        let live = &self.common.live;
        let (hard, soft) =
            (live.output_hard.load(Ordering::Relaxed), live.output_soft.load(Ordering::Relaxed));
        if soft == 0 || output < soft {
            connection.over_ms = 0;
        } else if connection.over_ms == 0 {
            connection.over_ms = self.now.ms;
        }
        let buffers = live.buffers_most.load(Ordering::Relaxed);
        let reason = if hard > 0 && output > hard {
            "it doesn't read its replies"
        } else if input > live.query_most.load(Ordering::Relaxed) {
            "its request exceeds client-query-buffer-limit"
        } else if input > limits::UNAUTHENTICATED_INPUT && !connection.is_known(live) {
            "it did not authenticate first"
        } else if buffers > 0 && self.common.registry.buffered.load(Ordering::Relaxed) > buffers {
            "all clients' buffers exceed maxmemory-clients"
        } else {
            return self.sweep_by(self.now.ms.saturating_add(limits::SWEEP_MS));
        };
        self.evict(state, token, reason);
    }

    /// All is said: shut our side, and close once the peer did or nothing more comes.
    fn part(&mut self, state: &mut S::Worker, token: u64) {
        let Some(connection) = self.connections.get_mut(token) else { return };
        // Closing with unread input would reset the connection and might take the last reply along.
        match socket::read(&connection.socket, &mut self.scratch) {
            Moved::Blocked | Moved::Closed => return self.close(state, token),
            Moved::Bytes(bytes) => self.traffic.came(bytes),
        }
        socket::shut(&connection.socket);
        connection.phase = Phase::Lingering;
        connection.linger_ms = self.now.ms.saturating_add(limits::LINGER_MS);
        let until = connection.linger_ms;
        if let Some(interest) = connection.new_interest()
            && self.poll.modify(&connection.socket, token, interest).is_err()
        {
            return self.close(state, token);
        }
        self.sweep_by(until);
    }

    /// Throws away what a connection sends after its end.
    fn discard(&mut self, state: &mut S::Worker, token: u64) {
        let from = self.room(state);
        let Some(connection) = self.connections.get_mut(token) else { return };
        let scratch = self.scratch.get_mut(from..).unwrap_or_default();
        match socket::read(&connection.socket, scratch) {
            Moved::Closed => self.close(state, token),
            Moved::Blocked => {}
            Moved::Bytes(bytes) => {
                if !connection.discard(bytes) {
                    self.close(state, token);
                }
            }
        }
    }

    /// Looks at every connection's deadlines.
    fn sweep(&mut self, state: &mut S::Worker) {
        let tokens: Vec<u64> = self.connections.tokens().collect();
        let next = self.now.ms.saturating_add(limits::SWEEP_MS);
        self.sweep_ms = u64::MAX;
        for token in tokens {
            let Some(connection) = self.connections.get_mut(token) else { continue };
            if connection.pause_ms > 0 && connection.pause_ms <= self.now.ms {
                connection.pause_ms = 0;
                connection.end_wait(&self.common.registry);
                if connection.waiting_input() > 0 {
                    connection.again = true;
                    self.resume.push(token);
                }
                self.settle(state, token);
            }
            let Some(connection) = self.connections.get_mut(token) else { continue };
            match connection.overdue(&self.common.live, self.now.ms) {
                Some("") => self.close(state, token),
                Some(reason) => self.evict(state, token, reason),
                None if connection.pause_ms > 0 => {
                    // A pause may be long, and who doesn't read his replies meanwhile goes.
                    let soonest = if connection.over_ms > 0 { next } else { u64::MAX };
                    let at = connection.pause_ms.min(soonest);
                    self.sweep_by(at);
                }
                None if connection.has_deadline(&self.common.live) => self.sweep_by(next),
                None => {}
            }
        }
    }

    fn evict(&mut self, state: &mut S::Worker, token: u64, reason: &str) {
        self.common.registry.evicted.fetch_add(1, Ordering::Relaxed);
        if EVICTIONS.opens(self.now.ms)
            && let Some(connection) = self.connections.get_mut(token)
        {
            let entry = &connection.entry;
            log::notice(format_args!("closing client {} {}: {reason}", entry.id, entry.peer));
        }
        self.close(state, token);
    }

    /// Ends a connection now. Its descriptor leaves the epoll set by being closed.
    fn close(&mut self, state: &mut S::Worker, token: u64) {
        if let Some(connection) = self.connections.remove(token) {
            let (entry, client) = connection.retire(&self.common.registry);
            self.service.disconnect(state, client);
            self.forget(&entry);
        }
    }

    fn forget(&self, entry: &Entry) {
        self.common.registry.leave(entry);
        self.mailbox.load.fetch_sub(1, Ordering::Relaxed);
    }

    /// The end: gives waiting replies one more chance, then closes everything.
    fn finish(&mut self, state: &mut S::Worker) -> io::Result<()> {
        let tokens: Vec<u64> = self.connections.tokens().collect();
        for token in tokens {
            // What isn't safe now never will be: its client learns nothing, rather than a lie.
            if let Some(connection) = self.connections.get_mut(token)
                && !connection.parked
            {
                connection.send_waiting();
            }
            self.close(state, token);
        }
        Ok(())
    }
}
