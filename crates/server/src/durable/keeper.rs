//! What keeps the store: decides when snapshots and rewrites happen, one at a time, and knows how
//! the last ones went.
//!
//! What always holds: a snapshot runs on a thread of its own, or on the one that asked for SAVE;
//! two never run at once, and none before everything is loaded. A log that failed refuses writes
//! until a rewrite has made it whole.

use super::aof::{Files, Sizes};
use super::due::Pause;
use super::folder::Folder;
use super::log::{Facts as LogFacts, Log, Policy};
use super::progress::{HowFar, Progress};
use super::reload::Reloads;
use super::snapshot::{self, Options};
use crate::config::{Config, Store};
use crate::log as say;
use crate::os::wake::Wake;
use crate::os::{heap, machine, schedule};
use crate::workers::Common;
use commands::host::{Begun, OnDisk};
use node::{Node, Until};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// What Redis says of a snapshot while there is one.
const SAVE_ON_ITS_WAY: &str = "Background save already in progress";
/// What it says of a rewrite.
const REWRITE_ON_ITS_WAY: &str = "Background append only file rewriting already in progress";
/// What it says of a snapshot in the background meanwhile.
const OTHER_ON_ITS_WAY: &str = "Another child process is active (AOF?): can't BGSAVE right now. \
     Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.";

/// What INFO tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// A snapshot is being written.
    pub saving: bool,
    /// When the last one was finished, Unix seconds.
    pub last_save_s: u64,
    /// How that went.
    pub last_save_ok: bool,
    /// How long it took, milliseconds; `None` if there was none.
    pub last_save_took_ms: Option<u64>,
    /// How many there were.
    pub saves: u64,
    /// When the one began that is being written (ms), or the base that is.
    pub began_ms: u64,
    /// Changes up to the last one.
    pub saved_changes: u64,
    /// A new base of the log is being written.
    pub rewriting: bool,
    /// One begins as soon as the snapshot is there that is being written.
    pub rewrite_scheduled: bool,
    /// How the last one went.
    pub last_rewrite_ok: bool,
    /// How long it took, milliseconds; `None` if there was none.
    pub last_rewrite_took_ms: Option<u64>,
    /// How many there were.
    pub rewrites: u64,
    /// Keys that the last snapshot or base had that was loaded.
    pub loaded_keys: u64,
    /// The log's files.
    pub sizes: Sizes,
    /// The log, if there is one.
    pub log: Option<LogFacts>,
}

/// Keeps a store in files.
#[derive(Debug)]
pub struct Durable {
    pub(super) node: Arc<Node>,
    pub(super) store: Arc<Store>,
    pub(super) common: Arc<Common>,
    /// The folder of snapshots, once it's in use.
    folder: Mutex<Option<Folder>>,
    pub(super) files: Mutex<Option<Files>>,
    pub(super) log: OnceLock<Arc<Log>>,
    /// What rings when replies may leave.
    pub(super) bells: Mutex<Vec<Arc<Wake>>>,
    /// The store isn't whole yet.
    pub(super) loading: AtomicBool,
    pub(super) progress: Progress,
    /// A snapshot or a rewrite is on its way.
    pub(super) busy: AtomicBool,
    /// If so, it's a rewrite.
    rewriting: AtomicBool,
    /// What begins as soon as nothing is.
    pub(super) save_scheduled: AtomicBool,
    pub(super) rewrite_scheduled: AtomicBool,
    /// Changes are logged, or will be once a switch that is on its way is done.
    pub(super) logs: AtomicBool,
    /// The log's base is on the disk: what is in the log can be read again.
    pub(super) founded: AtomicBool,
    pub(super) reloads: Reloads,
    pub(super) ending: AtomicBool,
    pub(super) facts: Mutex<Facts>,
    /// When the next snapshot and the next rewrite may be tried by themselves.
    pub(super) snapshots: Pause,
    pub(super) rewrites: Pause,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Durable {
    /// What will keep a node that holds nothing yet: call [`Durable::open`] next. Until that has
    /// returned it's loading.
    pub fn new(node: &Arc<Node>, store: &Arc<Store>, common: &Arc<Common>) -> Arc<Self> {
        let facts = Facts {
            last_save_s: common.clock.now().ms / 1000,
            last_save_ok: true,
            last_rewrite_ok: true,
            ..Facts::default()
        };
        Arc::new(Self {
            node: Arc::clone(node),
            store: Arc::clone(store),
            common: Arc::clone(common),
            folder: Mutex::default(),
            files: Mutex::default(),
            log: OnceLock::new(),
            bells: Mutex::default(),
            loading: AtomicBool::new(true),
            progress: Progress::default(),
            busy: AtomicBool::new(false),
            rewriting: AtomicBool::new(false),
            save_scheduled: AtomicBool::new(false),
            rewrite_scheduled: AtomicBool::new(false),
            founded: AtomicBool::new(true),
            logs: AtomicBool::new(store.config().appendonly),
            reloads: Reloads::default(),
            ending: AtomicBool::new(false),
            facts: Mutex::new(facts),
            snapshots: Pause::default(),
            rewrites: Pause::default(),
            threads: Mutex::default(),
        })
    }

    /// Whether the store isn't whole yet: nobody may be shown anything of it.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Acquire)
    }

    /// How far loading has come, while it goes on.
    pub fn how_far(&self) -> Option<HowFar> {
        self.is_loading().then(|| self.progress.now())
    }

    /// The server is to end: nothing is loaded any more, and nothing begun.
    pub fn stop(&self) {
        self.ending.store(true, Ordering::Release);
        self.progress.stop();
    }

    /// Writes a snapshot now; returns when it's on the disk.
    ///
    /// # Errors
    /// A sentence: the files are being read, a snapshot or a rewrite is on its way, or why it can't be
    /// written.
    pub fn save(&self) -> Result<(), String> {
        self.take_turn(false)?;
        let done = self.write_snapshot();
        self.busy.store(false, Ordering::Release);
        done
    }

    /// Has a snapshot written by another thread; `schedule`: after the rewrite that is on its way,
    /// if there is one.
    ///
    /// # Errors
    /// A sentence: something is on its way, or there can be no thread.
    pub fn save_in_background(self: &Arc<Self>, schedule: bool) -> Result<Begun, String> {
        if let Err(why) = self.take_turn(false) {
            let is_other = !self.is_loading() && self.rewriting.load(Ordering::Relaxed);
            if is_other && schedule {
                self.save_scheduled.store(true, Ordering::Release);
                return Ok(Begun::Later);
            }
            return Err(if is_other { OTHER_ON_ITS_WAY.to_owned() } else { why });
        }
        self.spawn("snapshot", |durable| {
            schedule::be_modest();
            drop(durable.write_snapshot());
        })?;
        Ok(Begun::Now)
    }

    /// Has the log's base written anew by another thread, after the snapshot that is on its way if
    /// there is one.
    ///
    /// # Errors
    /// A sentence: there is no log, one is on its way, or there can be no thread.
    pub fn rewrite_in_background(self: &Arc<Self>) -> Result<Begun, String> {
        if self.log().is_none() {
            return Err("there is no append-only file (appendonly is 'no')".to_owned());
        }
        if let Err(why) = self.take_turn(true) {
            if self.is_loading() || self.rewriting.load(Ordering::Relaxed) {
                return Err(why);
            }
            self.rewrite_scheduled.store(true, Ordering::Release);
            return Ok(Begun::Later);
        }
        self.spawn("rewrite", |durable| {
            schedule::be_modest();
            drop(durable.rewrite());
        })?;
        Ok(Begun::Now)
    }

    /// What a worker does at the end of its turn, before its replies leave.
    #[inline]
    pub fn end_of_turn(&self) {
        if let Some(log) = self.log() {
            log.end_of_turn();
        }
    }

    /// How far the journal has come for replies that leave now.
    #[inline]
    pub fn reached(&self) -> Until {
        self.log().map_or_else(|| self.node.journal().reached(), |log| log.reached())
    }

    /// Rings that bell whenever replies may leave that waited for the disk.
    pub fn add_bell(&self, bell: &Arc<Wake>) {
        let mut bells = lock(&self.bells);
        bells.push(Arc::clone(bell));
        if let Some(log) = self.log.get() {
            log.add_bell(bell);
        }
    }

    /// Whether nothing may be written, since the log isn't whole.
    pub fn refuses_writes(&self) -> bool {
        self.log().is_some_and(|log| log.has_failed())
    }

    /// How far the log is on the disk.
    pub fn on_disk(&self) -> OnDisk {
        match self.log() {
            // It's being switched on.
            None if self.logs.load(Ordering::Acquire) => OnDisk::Unknown,
            None => OnDisk::NoLog,
            Some(log) if log.has_failed() || !self.founded.load(Ordering::Acquire) => {
                OnDisk::Unknown
            }
            Some(log) => OnDisk::To(log.synced()),
        }
    }

    /// Has what was written so far brought to the disk, under whichever policy.
    pub fn hurry_log(&self) {
        if let Some(log) = self.log() {
            log.hurry();
        }
    }

    /// Syncs of the log, and delayed ones, if there is one. Waits for no worker.
    pub fn syncs(&self) -> Option<(u64, u64)> {
        self.log().map(|log| log.syncs())
    }

    /// Takes over what the settings say now.
    pub fn settings_changed(&self, config: &Config) {
        if let (Some(log), Some(policy)) = (self.log.get(), Policy::named(&config.appendfsync)) {
            log.set_policy(policy);
            log.spare(config.no_appendfsync_on_rewrite);
        }
        self.node.journal().hold_revocations(config.session_revocation_fsync);
    }

    /// Wakes every worker for a turn.
    pub(super) fn ring(&self) {
        lock(&self.bells).iter().for_each(|bell| bell.ring());
    }

    /// How it stands.
    pub fn facts(&self) -> Facts {
        Facts {
            saving: self.busy.load(Ordering::Relaxed) && !self.rewriting.load(Ordering::Relaxed),
            rewriting: self.busy.load(Ordering::Relaxed) && self.rewriting.load(Ordering::Relaxed),
            rewrite_scheduled: self.rewrite_scheduled.load(Ordering::Relaxed),
            log: self.log().map(|log| log.facts()),
            ..*lock(&self.facts)
        }
    }

    /// The log, if changes are logged.
    #[inline]
    pub(super) fn log(&self) -> Option<&Arc<Log>> {
        self.log.get().filter(|log| log.is_on())
    }

    /// Changes since the start.
    pub(super) fn changes(&self) -> u64 {
        let of = |number| self.node.with_shard(number, |shard| shard.stats().changes);
        (0..self.node.shard_count()).filter_map(of).sum()
    }

    pub(super) fn take_turn(&self, rewriting: bool) -> Result<(), String> {
        if self.is_loading() {
            return Err("the store's files are being read".to_owned());
        }
        if self.busy.swap(true, Ordering::AcqRel) {
            let is_rewrite = self.rewriting.load(Ordering::Relaxed);
            return Err(if is_rewrite { REWRITE_ON_ITS_WAY } else { SAVE_ON_ITS_WAY }.to_owned());
        }
        self.rewriting.store(rewriting, Ordering::Relaxed);
        lock(&self.facts).began_ms = self.common.clock.now().ms;
        Ok(())
    }

    /// Has another thread do that, whose turn it is.
    pub(super) fn spawn(self: &Arc<Self>, name: &str, work: fn(&Self)) -> Result<(), String> {
        self.start(name, move |durable| {
            work(durable);
            durable.busy.store(false, Ordering::Release);
        })
    }

    /// Starts a thread, which says itself when its turn is over.
    pub(super) fn start(
        self: &Arc<Self>,
        name: &str,
        work: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<(), String> {
        let durable = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            work(&durable);
        });
        match thread {
            Ok(thread) => {
                let mut threads = lock(&self.threads);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
                Ok(())
            }
            Err(error) => {
                self.busy.store(false, Ordering::Release);
                Err(format!("there can be no thread: {error}"))
            }
        }
    }

    pub(super) fn options(&self, config: &Config) -> Options<'_> {
        Options {
            latency: &self.common.latency,
            compress: config.rdbcompression,
            aof_base: false,
            records: !config.aof_use_rdb_preamble,
            follows: None,
            now_ms: self.common.clock.now().ms,
            used_memory: heap::used() + self.node.arena_bytes(),
            seed: machine::random::<8>().ok().map(u64::from_le_bytes),
        }
    }

    /// Writes a snapshot, and notes how it went.
    pub(super) fn write_snapshot(&self) -> Result<(), String> {
        let config = self.store.config();
        let begun = self.common.clock.now().ms;
        let changes = self.changes();
        self.write_beside(true);
        let done = self.folder_of(&config).and_then(|folder| {
            let folder = folder.as_ref().ok_or("no folder")?;
            let written = folder.replace(&config.dbfilename, |out| {
                snapshot::write(&self.node, self.options(&config), out, || ()).map(drop)
            });
            written.map_err(|error| format!("{}: {error}", config.dbfilename))
        });
        self.write_beside(false);
        let now = self.common.clock.now().ms;
        self.snapshots.note(done.is_ok(), now);
        let mut facts = lock(&self.facts);
        facts.last_save_ok = done.is_ok();
        match &done {
            Ok(bytes) => {
                facts.last_save_s = now / 1000;
                facts.last_save_took_ms = Some(now.saturating_sub(begun));
                facts.saves += 1;
                facts.saved_changes = changes;
                say::notice(format_args!("DB saved on disk: {bytes} bytes"));
            }
            Err(what) => say::warning(format_args!("can't write the snapshot: {what}")),
        }
        done.map(drop)
    }

    /// The folder of snapshots, taken when it's first needed.
    pub(super) fn folder_of(
        &self,
        config: &Config,
    ) -> Result<MutexGuard<'_, Option<Folder>>, String> {
        let mut folder = lock(&self.folder);
        if folder.is_none() {
            *folder = Some(Folder::take(Path::new(&config.dir))?);
        }
        Ok(folder)
    }

    /// Writes the log's base anew, and notes how it went.
    pub(super) fn rewrite(&self) -> Result<(), String> {
        let begun = self.common.clock.now().ms;
        self.write_beside(true);
        let done = self.rewrite_files();
        self.write_beside(false);
        let now = self.common.clock.now().ms;
        self.rewrites.note(done.is_ok(), now);
        // One that failed has begun an increment, maybe.
        let sizes = lock(&self.files).as_ref().map(Files::sizes).unwrap_or_default();
        let mut facts = lock(&self.facts);
        (facts.last_rewrite_ok, facts.sizes) = (done.is_ok(), sizes);
        facts.last_rewrite_took_ms = Some(now.saturating_sub(begun));
        facts.rewrites += 1;
        match &done {
            Ok(bytes) => {
                self.founded.store(true, Ordering::Release);
                self.ring();
                say::notice(format_args!("the append-only file was rewritten: {bytes} bytes"));
            }
            Err(what) => say::warning(format_args!("can't rewrite the append-only file: {what}")),
        }
        done.map(drop)
    }

    /// A snapshot or a base is being written from now on, or no more.
    fn write_beside(&self, beside: bool) {
        if let Some(log) = self.log() {
            log.write_beside(beside);
        }
    }

    fn rewrite_files(&self) -> Result<u64, String> {
        let config = self.store.config();
        let mut files = lock(&self.files);
        let (Some(files), Some(log)) = (files.as_mut(), self.log()) else {
            return Err("there is no log".to_owned());
        };
        // The log goes on in the one before until the cut.
        let next = files.begin_increment(false).map_err(|error| error.to_string())?;
        log.prepare(next);
        let written = files.rewrite(&self.node, self.options(&config), || log.go_on());
        if written.is_err() {
            files.keep_for_later(log.unprepare());
        }
        let bytes = written.map_err(|error| error.to_string())?;
        // All that the base doesn't have is in the new increment, from its first byte on.
        log.mended();
        Ok(bytes)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
