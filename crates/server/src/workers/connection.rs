//! One connection: its socket, what waits in it, and the rules of when to read, execute and write.
//!
//! Input that arrives while nothing waits is executed from the worker's buffer; only the unfinished
//! rest moves into the connection's own. Output leaves from the worker's buffer too; only what the
//! socket would not take moves here.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::limits;
use crate::live::Live;
use crate::os::poll::Interest;
use crate::os::socket::{self, Moved};
use crate::registry::{Entry, Registry, Traffic};
use crate::service::{Awaited, Now, Service, Until};

/// How far along its life a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests are executed.
    Open,
    /// No more requests; the last replies are on their way.
    Closing,
    /// All is sent, the sending side is shut; what still comes is thrown away until the deadline.
    Lingering,
}

/// One connection and its client's state.
#[derive(Debug)]
pub(super) struct Connection<C> {
    pub(super) socket: OwnedFd,
    pub(super) entry: Arc<Entry>,
    pub(super) client: C,
    traffic: Arc<Traffic>,
    pub(super) phase: Phase,
    /// Complete requests may be waiting in `input`: the worker comes back without an event.
    pub(super) again: bool,
    /// The turn in which it was last served.
    pub(super) turn: u64,
    /// When the unfinished request began, or its present minute did (ms; 0: there is none).
    pub(super) partial_ms: u64,
    /// Bytes of it that came in that minute.
    partial_bytes: u64,
    /// Until when nothing is served (ms; 0: now).
    pub(super) pause_ms: u64,
    /// What its next request waits for, until `pause_ms` at most.
    pub(super) awaits: Option<Awaited>,
    /// The worker's list of those who wait has it.
    pub(super) listed: bool,
    /// Since when more than the soft limit of replies waits (ms; 0: not now).
    pub(super) over_ms: u64,
    /// When lingering ends (ms).
    pub(super) linger_ms: u64,
    /// How far the service has to be safe before the replies may leave that haven't begun to.
    pub(super) until: Until,
    /// Its replies wait for that; nothing more is served meanwhile, so that they don't wait for
    /// ever.
    pub(super) parked: bool,
    interest: Interest,
    input: Vec<u8>,
    /// Bytes of `input` that are done with.
    start: usize,
    /// Bytes of input that the service wants to see before it is called again.
    want: usize,
    swallow: u64,
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
    /// What the registry believes these buffers hold.
    accounted: u64,
}

impl<C> Connection<C> {
    pub(super) fn new(
        socket: OwnedFd,
        entry: Arc<Entry>,
        client: C,
        traffic: &Arc<Traffic>,
    ) -> Self {
        Self {
            socket,
            entry,
            client,
            traffic: Arc::clone(traffic),
            phase: Phase::Open,
            again: false,
            turn: 0,
            partial_ms: 0,
            partial_bytes: 0,
            pause_ms: 0,
            awaits: None,
            listed: false,
            over_ms: 0,
            linger_ms: 0,
            until: Until::default(),
            parked: false,
            interest: Interest::READ,
            input: Vec::new(),
            start: 0,
            want: 0,
            swallow: 0,
            output: Vec::new(),
            sent: 0,
            accounted: 0,
        }
    }

    /// Request bytes that wait here.
    pub(super) fn waiting_input(&self) -> usize {
        self.input.len() - self.start
    }

    /// Reply bytes that wait here.
    pub(super) fn waiting_output(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Whether requests may be executed now.
    pub(super) fn may_serve(&self) -> bool {
        self.phase == Phase::Open
            && self.pause_ms == 0
            && !self.parked
            && self.waiting_output() < limits::OUTPUT_SOFT
    }

    /// What its socket should be watched for; `None` if that is what it is watched for.
    pub(super) fn new_interest(&mut self) -> Option<Interest> {
        let read = match self.phase {
            Phase::Open => self.may_serve() || self.waiting_input() < limits::INPUT_HELD,
            Phase::Closing => false,
            Phase::Lingering => true,
        };
        let wanted = Interest { read, write: self.waiting_output() > 0 && !self.parked };
        (wanted != self.interest).then(|| {
            self.interest = wanted;
            wanted
        })
    }

    /// Reads once: into `scratch` if nothing waits here, otherwise onto what waits.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> Moved {
        let moved = self.read_into(scratch);
        if let Moved::Bytes(bytes) = moved {
            self.partial_bytes = self.partial_bytes.saturating_add(bytes as u64);
            self.traffic.came(bytes);
        }
        moved
    }

    fn read_into(&mut self, scratch: &mut [u8]) -> Moved {
        if self.input.is_empty() {
            return socket::read(&self.socket, scratch);
        }
        if self.start > 0 {
            self.input.drain(..self.start);
            self.start = 0;
        }
        // Room for what is missing, but never more than a quarter of what has already come: memory
        // follows the bytes, not the lengths that a client announces.
        let have = self.input.len();
        let missing = self.want.saturating_sub(have).max(limits::READ_LEAST);
        let room = missing.min((have / 4).clamp(limits::READ, limits::READ_MOST));
        if self.input.capacity() - have < room.min(limits::READ_LEAST) {
            self.input.reserve_exact(room.max(missing.min(have / 4)));
        }
        socket::read_onto(&self.socket, &mut self.input)
    }

    /// Executes `fresh`, which was read while nothing waited, and keeps the rest.
    pub(super) fn serve_fresh<S: Service<Client = C>>(
        &mut self,
        service: &S,
        state: &mut S::Worker,
        fresh: &[u8],
        out: &mut Vec<u8>,
        now: Now,
    ) -> Option<&'static str> {
        let (used, complaint) = self.execute(service, state, fresh, out, now);
        let rest = fresh.get(used..).unwrap_or_default();
        if self.phase == Phase::Open && !rest.is_empty() {
            self.input.reserve_exact(rest.len());
            self.input.extend_from_slice(rest);
        }
        self.progress(now.ms);
        complaint
    }

    /// Executes what waits here.
    pub(super) fn serve_waiting<S: Service<Client = C>>(
        &mut self,
        service: &S,
        state: &mut S::Worker,
        out: &mut Vec<u8>,
        now: Now,
    ) -> Option<&'static str> {
        let input = std::mem::take(&mut self.input);
        let data = input.get(self.start..).unwrap_or_default();
        let (used, complaint) = self.execute(service, state, data, out, now);
        self.start += used;
        if self.phase == Phase::Open && self.start < input.len() {
            self.input = input;
        } else {
            // An idle connection owns no buffer.
            self.start = 0;
        }
        self.progress(now.ms);
        complaint
    }

    /// After an execution: starts the clock of the request that is unfinished now, unless it is the
    /// one whose clock runs already.
    fn progress(&mut self, now_ms: u64) {
        if self.waiting_input() == 0 && self.swallow == 0 {
            self.partial_ms = 0;
        } else if self.partial_ms == 0 {
            self.begin(now_ms);
        }
    }

    /// Starts the clock of the unfinished request anew, as after a time in which nothing was read
    /// or served.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.partial_ms = now_ms;
        self.partial_bytes = 0;
    }

    /// Executes up to a turn's batches from the front of `data`; returns the bytes done with.
    fn execute<S: Service<Client = C>>(
        &mut self,
        service: &S,
        state: &mut S::Worker,
        data: &[u8],
        out: &mut Vec<u8>,
        now: Now,
    ) -> (usize, Option<&'static str>) {
        let mut at = 0;
        self.again = false;
        for _ in 0..limits::BATCHES_PER_TURN {
            at += self.swallowed(data.len() - at);
            let rest = data.get(at..).unwrap_or_default();
            if rest.is_empty() || rest.len() < self.want {
                return (at, None);
            }
            let own = !self.output.is_empty();
            let target = if own { &mut self.output } else { &mut *out };
            let served = service.serve(state, &mut self.client, rest, target, now);
            at += served.consumed.min(rest.len());
            self.swallow = served.swallow;
            if served.consumed > 0 {
                // What is left belongs to another request.
                self.partial_ms = 0;
            }
            self.until = self.until.and(served.until);
            let left = data.len() - at;
            // A service that waits must wait for something that has not come yet.
            self.want = if served.again { 0 } else { served.want.max(left.saturating_add(1)) };
            if left == 0 {
                self.want = 0;
            }
            if served.close {
                self.phase = Phase::Closing;
                return (at, served.complaint);
            }
            if let Some(until) = served.pause_until.filter(|until| *until > now.ms) {
                self.pause_ms = until;
                self.want = 0;
                return (at, served.complaint);
            }
            if let Some(waiting) = served.waiting {
                self.awaits = Some(waiting.awaited);
                if !matches!(waiting.awaited, Awaited::Reload(_)) {
                    self.entry.begin_wait();
                }
                self.pause_ms = waiting.until;
                self.want = 0;
                return (at, served.complaint);
            }
            if self.swallow > 0 && left > 0 {
                self.want = 0;
                continue;
            }
            if !served.again || left == 0 {
                return (at, served.complaint);
            }
            if out.len() >= limits::OUTPUT_PER_TURN || !self.may_serve() {
                break;
            }
        }
        self.again = true;
        (at, None)
    }

    /// Of `available` bytes, those that were announced to be thrown away.
    fn swallowed(&mut self, available: usize) -> usize {
        let skip = usize::try_from(self.swallow).unwrap_or(usize::MAX).min(available);
        self.swallow -= skip as u64;
        if skip > 0 && self.swallow == 0 {
            self.partial_ms = 0;
        }
        skip
    }

    /// Keeps input that can't be executed now.
    pub(super) fn keep(&mut self, fresh: &[u8], now_ms: u64) {
        self.input.extend_from_slice(fresh);
        self.begin(now_ms);
    }

    /// Counts bytes thrown away after the end; false once they are too many.
    pub(super) fn discard(&mut self, bytes: usize) -> bool {
        self.traffic.came(bytes);
        self.swallow = self.swallow.saturating_add(bytes as u64);
        self.swallow < limits::LINGER_BYTES
    }

    /// Why it has to go by now; an empty reason is none worth a line.
    pub(super) fn overdue(&mut self, live: &Live, now_ms: u64) -> Option<&'static str> {
        let passed = |since: u64, most: u64| since > 0 && now_ms.saturating_sub(since) >= most;
        let seen = self.entry.seen_ms.load(Ordering::Relaxed);
        let idle_ms = live.idle_s.load(Ordering::Relaxed).saturating_mul(1000);
        if self.phase == Phase::Lingering {
            return (now_ms >= self.linger_ms).then_some("");
        }
        if passed(self.over_ms, live.output_soft_s.load(Ordering::Relaxed).saturating_mul(1000)) {
            return Some("it doesn't read its replies");
        }
        if !self.is_known(live) && passed(self.entry.since_ms, limits::UNAUTHENTICATED_MS) {
            return Some("it did not authenticate in time");
        }
        if self.may_serve() && !self.again && passed(self.partial_ms, limits::PARTIAL_MS) {
            if self.partial_bytes < limits::PARTIAL_BYTES {
                return Some("its request does not end");
            }
            self.begin(now_ms);
        }
        let may_idle = self.awaits.is_some() || self.entry.exempt.load(Ordering::Relaxed);
        if idle_ms > 0 && passed(seen, idle_ms) && !may_idle {
            return Some("");
        }
        None
    }

    /// Whether any deadline may come true without an event.
    pub(super) fn has_deadline(&self, live: &Live) -> bool {
        self.phase != Phase::Open
            || self.partial_ms > 0
            || self.over_ms > 0
            || !self.is_known(live)
            || live.idle_s.load(Ordering::Relaxed) > 0
    }

    /// Whether it has authenticated or need not.
    pub(super) fn is_known(&self, live: &Live) -> bool {
        live.is_open() || self.entry.authenticated.load(Ordering::Relaxed)
    }

    /// Sends `bytes` after what waits already. False if the connection is over.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let mut rest = bytes;
        if self.output.is_empty() {
            match socket::write(&self.socket, bytes) {
                Moved::Bytes(sent) => {
                    self.traffic.left(sent);
                    rest = bytes.get(sent..).unwrap_or_default();
                }
                Moved::Blocked => {}
                Moved::Closed => return false,
            }
        }
        self.output.extend_from_slice(rest);
        true
    }

    /// Keeps `bytes` behind what waits already, all of it until the service is safe.
    pub(super) fn park(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        self.parked = true;
    }

    /// Whether its replies may leave now. If so, that is settled: what they tell was safe once.
    pub(super) fn may_leave(&mut self, reached: Until) -> bool {
        let may = self.until.is_past(reached);
        if may {
            self.until = Until::default();
        }
        may
    }

    /// Sends what waits, as far as the socket takes it. False if the connection is over.
    pub(super) fn send_waiting(&mut self) -> bool {
        match socket::write(&self.socket, self.output.get(self.sent..).unwrap_or_default()) {
            Moved::Bytes(sent) => {
                self.traffic.left(sent);
                self.sent += sent;
            }
            Moved::Blocked => {}
            Moved::Closed => return self.waiting_output() == 0,
        }
        if self.sent == self.output.len() {
            self.output = Vec::new();
            self.sent = 0;
        }
        true
    }

    /// Its request waits no longer, whatever comes of it. False if none did.
    pub(super) fn end_wait(&mut self, registry: &Registry) -> bool {
        let waited = self.awaits.take().is_some();
        if waited {
            registry.blocked.fetch_sub(1, Ordering::Relaxed);
        }
        waited
    }

    /// Tells the registry what the buffers hold now.
    pub(super) fn account(&mut self, registry: &Registry) {
        let held = (self.input.capacity() + self.output.capacity()) as u64;
        if held == self.accounted && held == 0 {
            return;
        }
        self.entry.input.store(self.waiting_input() as u64, Ordering::Relaxed);
        self.entry.output.store(self.waiting_output() as u64, Ordering::Relaxed);
        if held >= self.accounted {
            registry.buffered.fetch_add(held - self.accounted, Ordering::Relaxed);
        } else {
            registry.buffered.fetch_sub(self.accounted - held, Ordering::Relaxed);
        }
        self.accounted = held;
    }

    /// Takes its buffers off the registry's books and gives up the client's state.
    pub(super) fn retire(mut self, registry: &Registry) -> (Arc<Entry>, C) {
        registry.buffered.fetch_sub(self.accounted, Ordering::Relaxed);
        self.accounted = 0;
        self.end_wait(registry);
        (self.entry, self.client)
    }
}
