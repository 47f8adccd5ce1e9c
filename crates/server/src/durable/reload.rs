//! DEBUG RELOAD and DEBUG LOADAOF: the store is emptied and loaded again while the server runs.
//!
//! ```text
//! loading -> every worker has ended the turn it was in -> the log is on the disk -> a snapshot is
//! written -> what will be read is read once, to see that it's whole -> emptied -> loaded -> open
//! ```
//!
//! What always holds: from the first step to the last clients get LOADING, and nobody changes or
//! sees anything; up to emptying, whatever goes wrong is an error and the store is as it was. If what
//! was whole a moment before can't be loaded (there is no memory, say), the store is in the files
//! alone: nobody is shown half of it, the server ends, and its next start loads them.
//! For tests only: everybody waits for as long as it takes. Nothing of it is logged, since what the
//! files make up is what there was.

use super::aof::FORMAT;
use super::check::Report;
use super::keeper::{Durable, lock};
use super::load::LONG_AGO_MS;
use crate::config::Config;
use crate::limits::{RELOAD_FAILURES, RELOAD_QUIET_MS};
use crate::log as say;
use commands::host::Reload;
use engine::Effect;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is gone is freed in such slices.
const SLICE: usize = 1024;

/// Reloads so far.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// The last one that began; they have numbers from 1.
    begun: AtomicU64,
    /// The last one that has ended.
    ended: AtomicU64,
    /// What went wrong with some of them, and with which.
    failures: std::sync::Mutex<VecDeque<(u64, String)>>,
    /// For each worker the reload that it knows of: all its requests get LOADING.
    workers: std::sync::Mutex<Vec<Arc<AtomicU64>>>,
    /// Why there is no whole store any more; an error unless the server was told to end.
    pub(super) lost: std::sync::OnceLock<Result<(), String>>,
}

impl Durable {
    /// Has the store loaded again by another thread; the number of that reload. `give_up` ends the
    /// server.
    ///
    /// # Errors
    /// A sentence: it can't be done, or something else is on its way.
    pub fn reload(
        self: &Arc<Self>,
        how: Reload,
        give_up: impl FnOnce() + Send + 'static,
    ) -> Result<u64, String> {
        let log = self.log();
        if how == Reload::Log && log.is_none() {
            return Err("there is no append-only file (appendonly is 'no')".to_owned());
        }
        if how == Reload::AsItIs && log.is_some() {
            return Err("with an append-only file NOSAVE would leave the two apart".to_owned());
        }
        self.take_turn(false)?;
        let number = self.reloads.begun.fetch_add(1, Ordering::AcqRel) + 1;
        self.start("reload", move |durable| {
            durable.loading.store(true, Ordering::Release);
            let failure = durable.reload_now(number, how).err();
            if durable.reloads.lost.get().is_some() {
                return give_up();
            }
            durable.end_loading();
            durable.busy.store(false, Ordering::Release);
            durable.end_reload(number, failure);
        })?;
        Ok(number)
    }

    /// How a reload went; `None` while it goes on.
    pub fn reloaded(&self, number: u64) -> Option<Result<(), String>> {
        if self.reloads.ended.load(Ordering::Acquire) < number {
            return None;
        }
        let failures = lock(&self.reloads.failures);
        let failure = failures.iter().find(|(of, _)| *of == number);
        Some(failure.map_or(Ok(()), |(_, what)| Err(what.clone())))
    }

    /// One more worker: it tells there, after each turn in which it was loading, of which reload it
    /// knows ([`Durable::reload_begun`]).
    pub fn add_worker(&self) -> Arc<AtomicU64> {
        let knows = Arc::default();
        lock(&self.reloads.workers).push(Arc::clone(&knows));
        knows
    }

    /// The last reload that began.
    pub fn reload_begun(&self) -> u64 {
        self.reloads.begun.load(Ordering::Acquire)
    }

    fn end_reload(&self, number: u64, failure: Option<String>) {
        if let Some(what) = failure {
            say::warning(format_args!("can't load the store again: {what}"));
            let mut failures = lock(&self.reloads.failures);
            failures.push_back((number, what));
            if failures.len() > RELOAD_FAILURES {
                failures.pop_front();
            }
        }
        self.reloads.ended.store(number, Ordering::Release);
        self.ring();
    }

    fn reload_now(&self, number: u64, how: Reload) -> Result<(), String> {
        let config = self.store.config();
        let begun = self.common.clock.now().ms;
        self.progress.begin(begun);
        self.wait_for_workers(number)?;
        if let Some(log) = self.log() {
            log.flush().map_err(|error| format!("the append-only file: {error}"))?;
        }
        if how == Reload::Saved {
            self.write_snapshot()?;
        }
        let folder = Path::new(&config.dir);
        let path = match how {
            Reload::Log => folder.join(&config.appenddirname),
            Reload::Saved | Reload::AsItIs => folder.join(&config.dbfilename),
        };
        let report = Report::of(&[path.to_string_lossy().into_owned()], false);
        if report.bad > 0 {
            return Err(report.text.trim_end().replace('\n', "; "));
        }
        let logs = self.log().is_some();
        if logs {
            self.node.stop_journal();
        }
        self.empty();
        if let Err(what) = self.load_again(&config, how, begun) {
            let what = format!("the store is in its files alone, which couldn't be loaded: {what}");
            say::warning(format_args!("{what}"));
            let why = if self.progress.is_stopped() { Ok(()) } else { Err(what.clone()) };
            // It's the first one: after it nothing is loaded any more.
            let _ = self.reloads.lost.set(why);
            return Err(what);
        }
        if logs {
            self.node.start_journal(FORMAT);
        }
        lock(&self.facts).saved_changes = self.changes();
        Ok(())
    }

    fn load_again(&self, config: &Config, how: Reload, now_ms: u64) -> Result<(), String> {
        if how != Reload::Log {
            return self.load_snapshot(config, now_ms).map(drop);
        }
        let mut files = lock(&self.files);
        let files = files.as_mut().ok_or("there is no log")?;
        files.load(&self.node, now_ms, false, &self.progress).map(drop)
    }

    /// Waits until no worker executes what it took for a whole store.
    fn wait_for_workers(&self, number: u64) -> Result<(), String> {
        const STEP: Duration = Duration::from_millis(1);
        for _ in 0..RELOAD_QUIET_MS {
            self.ring();
            let workers = lock(&self.reloads.workers);
            if workers.iter().all(|knows| knows.load(Ordering::Acquire) >= number) {
                return Ok(());
            }
            drop(workers);
            std::thread::sleep(STEP);
        }
        Err("a command takes too long".to_owned())
    }

    /// Takes everything out of the store.
    fn empty(&self) {
        for number in 0..self.node.shard_count() {
            self.node.with_shard(number, |shard| {
                for db in 0..self.node.databases() {
                    // It needs no memory.
                    let _ = shard.apply(&Effect::Clear { db }, LONG_AGO_MS);
                }
                while shard.tidy(LONG_AGO_MS, SLICE) {}
            });
        }
    }
}
