//! What commands ask and tell the server.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use commands::host::{
    Begun, ClientFacts, Host, LatencyEvent, MemoryFacts, OnDisk, Reload, Shutdown, SlowEntry, Tally,
};
use commands::{Client, Counters, Flags, Standing, Totals, Unblocked, find};
use engine::{HashKey, OwnedItem, OwnedValue};
use node::{Node, World};
use persist::dump;
use persist::rdb::Encoder;
use protocol::args::Args;
use protocol::resp::RespVersion;

use super::admin::Requests;
use super::info;
use super::memcached::AllCounters;
use super::slow::{SlowLog, shortened};
use crate::config::resolved::Allowed;
use crate::config::{Config, SetError, Store};
use crate::durable::keeper::Durable;
use crate::latency::Event;
use crate::log as say;
use crate::os::wake::Wake;
use crate::os::{heap, machine};
use crate::registry::Entry;
use crate::service::{Dialect, Now};
use crate::workers::Common;
use crate::workers::acceptor::Stopper;

/// How SHUTDOWN, if there was one, wants the server to end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AskedEnd {
    /// Whether a snapshot is to be written; none: as the settings say.
    pub(super) save: Option<bool>,
    /// Whether one was already.
    pub(super) prepared: bool,
}

/// The server around the node.
pub(super) struct ServerHost {
    pub(super) node: Arc<Node>,
    pub(super) store: Arc<Store>,
    pub(super) durable: Arc<Durable>,
    pub(super) asked_end: Mutex<AskedEnd>,
    pub(super) common: Arc<Common>,
    /// What memcached's commands count.
    pub(super) counters: AllCounters,
    stopper: Stopper,
    /// Microseconds from which a request is noted anywhere.
    worth_noting_us: AtomicU64,
    pub(super) slow: SlowLog,
    /// What each worker counts of its commands.
    commands: Mutex<Vec<Arc<Counters>>>,
    /// What each worker counts of its requests.
    pub(super) served: Box<[Arc<Requests>]>,
    /// What wakes each worker.
    bells: Mutex<Vec<Arc<Wake>>>,
    /// Held by who changes settings.
    configuring: Mutex<()>,
    /// What they stood at when they were set back.
    commands_base: Mutex<Totals>,
    /// Requests of connections that are gone.
    past_requests: AtomicU64,
    /// What the counters stood at when they were set back.
    pub(super) base: Mutex<info::Counters>,
    pause_all: AtomicU64,
    pause_writes: AtomicU64,
    pub(super) peak: AtomicU64,
    pub(super) startup: u64,
    pub(super) started: Now,
    pub(super) run_id: String,
}

/// The setting that can be refused though it's right: its folder may be somebody else's.
const APPENDONLY: &str = "appendonly";
/// How long a writer waits that finds the log behind (ms).
const BACKED_UP_MS: u64 = 5;
/// How long a paused connection sleeps before it asks again; UNPAUSE is heard that fast.
const PAUSE_STEP_MS: u64 = 50;

impl ServerHost {
    pub(super) fn new(
        node: Arc<Node>,
        store: &Arc<Store>,
        durable: Arc<Durable>,
        common: &Arc<Common>,
        stopper: &Stopper,
    ) -> Self {
        let run_id: String = match machine::random::<20>() {
            Ok(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Err(_) => format!("{:040x}", machine::pid()),
        };
        Self {
            startup: heap::used() + node.arena_bytes(),
            node,
            store: Arc::clone(store),
            durable,
            asked_end: Mutex::default(),
            started: common.clock.now(),
            common: Arc::clone(common),
            counters: AllCounters::default(),
            stopper: stopper.clone(),
            worth_noting_us: AtomicU64::new(0),
            slow: SlowLog::default(),
            commands: Mutex::default(),
            served: (0..store.config().workers.max(1)).map(|_| Arc::default()).collect(),
            bells: Mutex::default(),
            configuring: Mutex::default(),
            commands_base: Mutex::default(),
            past_requests: AtomicU64::new(0),
            base: Mutex::default(),
            pause_all: AtomicU64::new(0),
            pause_writes: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            run_id,
        }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.store.config()
    }

    pub(super) fn generation(&self) -> u64 {
        self.store.generation()
    }

    pub(super) fn now(&self) -> Now {
        self.common.clock.now()
    }

    pub(super) fn count_requests(&self, requests: u64) {
        self.past_requests.fetch_add(requests, Ordering::Relaxed);
    }

    /// Requests executed since the start.
    pub(super) fn requests(&self) -> u64 {
        let entries = self.common.registry.entries();
        let now: u64 = entries.iter().map(|entry| entry.requests.load(Ordering::Relaxed)).sum();
        now + self.past_requests.load(Ordering::Relaxed)
    }

    /// Takes over what the settings say of the slow log and of latency events.
    pub(super) fn settings_changed(&self) {
        let config = self.config();
        let slow = u64::try_from(config.slowlog_log_slower_than_us).unwrap_or(u64::MAX);
        let latency = match config.latency_monitor_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1000),
        };
        self.worth_noting_us.store(slow.min(latency), Ordering::Relaxed);
        self.common.latency.set_threshold(config.latency_monitor_threshold_ms);
        self.durable.settings_changed(&config);
        // Who sleeps until something happens has to learn of new deadlines.
        self.common.registry.wake();
    }

    /// One more worker counts its commands.
    pub(super) fn counts(&self, counters: &Arc<Counters>) {
        let mut all = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(counters));
    }

    /// What all workers counted since the start.
    pub(super) fn totals_ever(&self) -> Totals {
        let mut totals = Totals::default();
        let all = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().for_each(|counters| totals.add(counters));
        totals
    }

    /// That bell wakes one more worker.
    pub(super) fn add_bell(&self, bell: &Arc<Wake>) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(bell));
    }

    /// Wakes every worker for a turn.
    pub(super) fn ring(&self) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.iter().for_each(|bell| bell.ring());
    }

    fn is_allowed(&self, allowed: Allowed, client: u64) -> bool {
        match allowed {
            Allowed::No => false,
            Allowed::Yes => true,
            Allowed::Local => {
                self.common.registry.find(client).is_some_and(|entry| entry.peer.is_local())
            }
        }
    }

    fn facts(&self, entry: &Entry, now_ms: u64) -> ClientFacts {
        let labels = entry.labels().clone();
        let relaxed = Ordering::Relaxed;
        let addr = entry.peer.to_string();
        let user = if labels.user.is_empty() { "default".to_owned() } else { labels.user };
        ClientFacts {
            id: entry.id,
            unix: addr.starts_with('/'),
            addr,
            laddr: entry.local.to_string(),
            fd: entry.fd,
            name: labels.name,
            age_s: now_ms.saturating_sub(entry.since_ms) / 1000,
            idle_s: now_ms.saturating_sub(entry.seen_ms.load(relaxed)) / 1000,
            db: entry.database.load(relaxed) as usize,
            input: entry.input.load(relaxed),
            output: entry.output.load(relaxed),
            user,
            resp: match entry.dialect {
                Dialect::Resp => entry.version.load(relaxed),
                Dialect::Memcached => 0,
            },
            library: (labels.library, labels.library_version),
            standing: Standing::from_bits(entry.standing.load(relaxed)),
        }
    }
}

impl World for ServerHost {
    fn host(&self) -> &dyn Host {
        self
    }

    #[inline]
    fn paused(&self, writes: bool) -> Option<u64> {
        let all = self.pause_all.load(Ordering::Relaxed);
        if writes && self.node.journal().is_backed_up() {
            // The disk doesn't follow: writers wait for it, rather than memory.
            return Some(self.now().ms + BACKED_UP_MS);
        }
        let until = if writes { all.max(self.pause_writes.load(Ordering::Relaxed)) } else { all };
        if until == 0 {
            return None;
        }
        let now = self.now().ms;
        (until > now).then(|| until.min(now + PAUSE_STEP_MS))
    }

    fn is_loading(&self) -> bool {
        self.durable.is_loading()
    }

    fn refuses_writes(&self) -> bool {
        self.durable.refuses_writes()
    }

    fn took(&self, client: &Client, args: Args<'_>, microseconds: u64) {
        if microseconds < self.worth_noting_us.load(Ordering::Relaxed) {
            return;
        }
        let config = self.config();
        let now = self.now();
        let threshold = config.slowlog_log_slower_than_us;
        if threshold >= 0 && microseconds >= threshold.unsigned_abs() {
            let entry = self.common.registry.find(client.id);
            let entry = SlowEntry {
                id: 0,
                at: (now.us.saturating_sub(microseconds)) / 1_000_000,
                microseconds,
                args: shortened(args),
                addr: entry.map(|entry| entry.peer.to_string()).unwrap_or_default(),
                name: String::from_utf8_lossy(&client.name).into_owned(),
            };
            self.slow.add(entry, config.slowlog_max_len);
        }
        let is_fast = find(args.at(0)).is_some_and(|row| row.flags.has(Flags::FAST));
        let event = if is_fast { Event::FastCommand } else { Event::Command };
        self.common.latency.took(event, microseconds);
    }
}

impl Host for ServerHost {
    fn password(&self) -> Option<Vec<u8>> {
        let password = self.config().requirepass.clone();
        (!password.is_empty()).then(|| password.into_bytes())
    }

    fn version(&self) -> &str {
        info::REDIS_VERSION
    }

    fn settings(&self, patterns: &[&str]) -> Vec<(String, String)> {
        let found = self.store.get(patterns.iter().copied());
        found.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn configure(&self, client: u64, pairs: &[(&str, &str)]) -> Result<(), String> {
        let local = self.is_allowed(Allowed::Local, client);
        let _one_at_a_time = self.configuring.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.store.prepare(pairs, local).map_err(|error| error.to_string())?;
        // What can fail comes first, so that all is changed or nothing. Who speaks of other settings
        // doesn't try again what couldn't be begun.
        let switches = pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case(APPENDONLY));
        let failed = |reason| {
            let name = APPENDONLY.to_owned();
            SetError::Failed { name, reason }.to_string()
        };
        let switches = switches && self.durable.prepare_switch(wanted.config()).map_err(failed)?;
        let before = self.store.put(wanted);
        self.settings_changed();
        if switches && let Err(why) = self.durable.switch_log() {
            self.store.put(before);
            self.settings_changed();
            return Err(failed(why));
        }
        Ok(())
    }

    fn rewrite_settings(&self) -> Result<(), String> {
        self.store.rewrite()
    }

    fn reset_counters(&self) {
        let totals = self.totals_ever();
        *self.commands_base.lock().unwrap_or_else(PoisonError::into_inner) = totals;
        let counters = info::Counters::of(self);
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }

    fn clients(&self) -> Vec<ClientFacts> {
        let now = self.now().ms;
        let entries = self.common.registry.entries();
        entries.iter().map(|entry| self.facts(entry, now)).collect()
    }

    fn kill(&self, id: u64) -> bool {
        self.common.registry.kill(id)
    }

    fn unblock(&self, id: u64, how: Unblocked) -> bool {
        self.common.registry.find(id).is_some_and(|entry| entry.unblock(how))
    }

    fn introduced(&self, client: &Client) {
        let Some(entry) = self.common.registry.find(client.id) else { return };
        entry.authenticated.store(client.authenticated, Ordering::Relaxed);
        let version = if client.version == RespVersion::Three { 3 } else { 2 };
        entry.version.store(version, Ordering::Relaxed);
        entry.database.store(client.db as u32, Ordering::Relaxed);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut labels = entry.labels();
        labels.name = text(&client.name);
        labels.library = text(&client.library.0);
        labels.library_version = text(&client.library.1);
    }

    fn pause(&self, until: u64, all: bool) {
        if until == 0 {
            self.pause_all.store(0, Ordering::Relaxed);
            self.pause_writes.store(0, Ordering::Relaxed);
            return;
        }
        let which = if all { &self.pause_all } else { &self.pause_writes };
        which.fetch_max(until, Ordering::Relaxed);
    }

    fn info(&self, section: &str, tally: &Tally, out: &mut String) {
        info::section(self, section, tally, out);
    }

    fn memory(&self) -> MemoryFacts {
        let used = self.node.used_memory();
        let peak = self.peak.fetch_max(used, Ordering::Relaxed).max(used);
        MemoryFacts {
            used,
            peak,
            startup: self.startup,
            clients: self.common.registry.buffered.load(Ordering::Relaxed),
            resident: machine::resident().unwrap_or(0),
            limit: self.config().maxmemory,
        }
    }

    fn purge_memory(&self) {
        self.node.purge();
        heap::give_back();
    }

    fn ticks_ns(&self) -> u64 {
        self.common.clock.ticks_ns()
    }

    fn slow_log(&self, count: usize) -> Vec<SlowEntry> {
        self.slow.latest(count)
    }

    fn slow_log_len(&self) -> usize {
        self.slow.len()
    }

    fn reset_slow_log(&self) {
        self.slow.reset();
    }

    fn latency(&self) -> Vec<LatencyEvent> {
        self.common.latency.all()
    }

    fn reset_latency(&self, events: &[&str]) -> usize {
        self.common.latency.reset(events)
    }

    fn totals(&self) -> Totals {
        let base = self.commands_base.lock().unwrap_or_else(PoisonError::into_inner);
        self.totals_ever().since(&base)
    }

    fn tells_latency(&self) -> bool {
        self.config().latency_tracking
    }

    fn may_debug(&self, client: u64) -> bool {
        self.is_allowed(self.config().debug_command, client)
    }

    fn sleep(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    fn set_active_expire(&self, on: bool) {
        self.node.set_active_expire(on);
    }

    fn save(&self) -> Result<(), String> {
        self.durable.save()
    }

    fn save_in_background(&self, schedule: bool) -> Result<Begun, String> {
        self.durable.save_in_background(schedule)
    }

    fn rewrite_log(&self) -> Result<Begun, String> {
        self.durable.rewrite_in_background()
    }

    fn on_disk(&self) -> OnDisk {
        self.durable.on_disk()
    }

    fn hurry_log(&self) {
        self.durable.hurry_log();
    }

    fn reload(&self, how: Reload) -> Result<u64, String> {
        let stopper = self.stopper.clone();
        self.durable.reload(how, move || stopper.stop())
    }

    fn reloaded(&self, number: u64) -> Option<Result<(), String>> {
        self.durable.reloaded(number)
    }

    fn last_save_s(&self) -> u64 {
        self.durable.facts().last_save_s
    }

    fn dump(&self, item: &OwnedItem) -> Vec<u8> {
        let mut payload = Vec::new();
        dump::write_owned(&mut Encoder::new(true), item, &mut payload);
        payload
    }

    fn restore(&self, payload: &[u8], secret: &HashKey) -> Result<OwnedValue, String> {
        dump::read(payload, secret.0).map_err(|error| error.to_string())
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), String> {
        if how.abort {
            return Err("No shutdown in progress.".to_owned());
        }
        if !how.force
            && let Err(what) = self.durable.prepare_end(how.save)
        {
            say::warning(format_args!("SHUTDOWN is refused: {what}"));
            return Err("Errors trying to SHUTDOWN. Check logs.".to_owned());
        }
        let asked = AskedEnd { save: how.save, prepared: !how.force };
        *self.asked_end.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        self.stopper.stop();
        Ok(())
    }
}

impl fmt::Debug for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHost").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}
