//! The start of a kept store: its files are loaded, then the log goes on.
//!
//! What always holds: the store is called whole only when all of it was read and, if there is a log,
//! when whatever changes next is in it; an error leaves the files as they were, but for a torn end,
//! which is kept beside them.

use super::aof::{FORMAT, Files};
use super::folder::Folder;
use super::keeper::{Durable, lock};
use super::load;
use super::log::{Log, Policy};
use super::salvage::{self, Loaded};
use crate::config::Config;
use crate::log as say;
use crate::os::heap;
use persist::aof::manifest_name;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Durable {
    /// Loads what the files hold, and keeps the store from then on. To be called once, by any
    /// thread; the others see how far it has come. Answers whether all is loaded; false if it was
    /// told to stop before.
    ///
    /// # Errors
    /// A sentence: which file can't be read and why, or whose folder it is.
    pub fn open(self: &Arc<Self>) -> Result<bool, String> {
        match self.open_files() {
            Ok(()) => Ok(true),
            Err(_) if self.progress.is_stopped() => Ok(false),
            Err(what) => Err(what),
        }
    }

    fn open_files(self: &Arc<Self>) -> Result<(), String> {
        let config = self.store.config();
        let begun = self.common.clock.now().ms;
        self.progress.begin(begun);
        let ticking = Arc::clone(self);
        let thread = std::thread::Builder::new().name("durable".to_owned());
        let thread = thread.spawn(move || ticking.tick_on()).map_err(|error| error.to_string())?;
        lock(&self.threads).push(thread);
        let keys = if config.appendonly {
            self.open_log(&config, begun)?
        } else {
            self.load_snapshot(&config, begun)?
        };
        if let Some(keys) = keys {
            let took = self.common.clock.now().ms.saturating_sub(begun);
            say::notice(format_args!("DB loaded: {keys} keys in {took} ms"));
        }
        lock(&self.facts).saved_changes = self.changes();
        self.end_loading();
        Ok(())
    }

    /// The store is whole: everybody may see it.
    pub(super) fn end_loading(&self) {
        let (lifted, cap) = (self.node.settle_cap(), self.node.maxmemory());
        let used = heap::used() + self.node.arena_bytes();
        if lifted && used > cap {
            say::warning(format_args!(
                "more was loaded than 'maxmemory' allows: {used} bytes are in use, and it's {cap}. \
                 Writes that need memory are refused until keys have gone or it's raised"
            ));
        }
        self.loading.store(false, Ordering::Release);
        // The workers have what is overdue before them.
        self.ring();
    }

    /// Loads the snapshot, if there is one.
    pub(super) fn load_snapshot(
        &self,
        config: &Config,
        now_ms: u64,
    ) -> Result<Option<u64>, String> {
        let path = Path::new(&config.dir).join(&config.dbfilename);
        if !path.exists() {
            if !config.save.is_empty() {
                drop(self.folder_of(config)?);
            }
            return Ok(None);
        }
        drop(self.folder_of(config)?);
        let wrong = |what: String| format!("{}: {what}", path.display());
        self.progress.expect(&path);
        let found = if self.store.salvage() {
            salvage::load_snapshot(&self.node, &path, now_ms, &self.progress)
        } else {
            let file = self.progress.open(&path).map_err(|error| wrong(error.to_string()))?;
            load::rdb(&self.node, file, now_ms)
        };
        let found = found.map_err(wrong)?;
        found.warn(&config.dbfilename);
        lock(&self.facts).loaded_keys = found.keys;
        Ok(Some(found.keys))
    }

    /// Loads the log and goes on with it. A folder without one begins with its snapshot.
    fn open_log(self: &Arc<Self>, config: &Config, now_ms: u64) -> Result<Option<u64>, String> {
        // Snapshots go to the folder above: nobody else may keep anything there either.
        drop(self.folder_of(config)?);
        let folder = Folder::take(&Path::new(&config.dir).join(&config.appenddirname))?;
        let truncate = config.aof_load_truncated;
        let (mut files, loaded) = self.open_files_of(config, folder, now_ms)?;
        let mut salvaged = None;
        let keys = if files.is_new() {
            not_beside_an_old_log(config)?;
            self.load_snapshot(config, now_ms)?
        } else {
            let found;
            (found, salvaged) = match loaded {
                Some(loaded) => loaded,
                None => (files.load(&self.node, now_ms, truncate, &self.progress)?, None),
            };
            if salvaged.is_none() {
                let (keys, records) = (found.keys, found.records);
                lock(&self.facts).loaded_keys = keys;
                say::notice(format_args!("{keys} keys in the base, {records} records"));
            }
            Some((0..config.databases as usize).map(|db| self.keys(db)).sum())
        };
        files.tidy();
        let failed = |error: std::io::Error| format!("can't begin the append-only file: {error}");
        let is_full = files.is_full();
        if is_full {
            files.begin_anew();
        }
        let founds = is_full || files.is_new() || salvaged.is_some();
        let increment = files.begin_increment(true).map_err(failed)?;
        if founds {
            // Nothing is on its way yet: the base is what was loaded, or nothing.
            files.rewrite(&self.node, self.options(config), || ()).map_err(failed)?;
        }
        lock(&self.facts).sizes = files.sizes();
        if let Some(summary) = salvaged {
            summary.tell(keys.unwrap_or(0));
        }
        self.node.start_journal(FORMAT);
        let (node, clock) = (Arc::clone(&self.node), self.common.clock.clone());
        let log = Log::new(node, increment, Policy::EverySecond, clock);
        *lock(&self.files) = Some(files);
        self.start_log(self.log.get_or_init(|| Arc::new(log)))?;
        // They may have been changed since it began.
        self.settings_changed(&self.store.config());
        Ok(keys)
    }

    /// The log's files; if the start is to salvage, what can be had of them is loaded.
    fn open_files_of(
        &self,
        config: &Config,
        folder: Folder,
        now_ms: u64,
    ) -> Result<(Files, Option<Loaded>), String> {
        let (name, latency) = (&config.appendfilename, &self.common.latency);
        if !self.store.salvage() {
            return Ok((Files::open(folder, name, latency)?, None));
        }
        let (mut files, damage) = Files::open_damaged(folder, name, latency)?;
        if files.is_new() {
            // What the manifest named never counted: what there is of it is only kept.
            if let Some(what) = damage {
                say::warning(format_args!("the log is damaged: {what}"));
                files.aside(now_ms).copy()?;
            }
            return Ok((files, None));
        }
        let damage = (config.aof_load_truncated, damage);
        let loaded = files.salvage(&self.node, now_ms, damage, &self.progress)?;
        Ok((files, Some(loaded)))
    }

    /// Starts the threads of the log, which is set already: a worker that comes meanwhile is rung
    /// twice rather than never.
    pub(super) fn start_log(&self, log: &Arc<Log>) -> Result<(), String> {
        let threads = log.start().map_err(|error| error.to_string())?;
        lock(&self.threads).extend(threads);
        lock(&self.bells).iter().for_each(|bell| log.add_bell(bell));
        Ok(())
    }

    fn keys(&self, db: usize) -> u64 {
        let of = |number| self.node.with_shard(number, |shard| shard.len(db));
        (0..self.node.shard_count()).filter_map(of).sum()
    }
}

/// An error if there is no log but one of Redis before 7, which that would take over.
fn not_beside_an_old_log(config: &Config) -> Result<(), String> {
    let (name, folder) = (&config.appendfilename, &config.appenddirname);
    let old = Path::new(&config.dir).join(name);
    if !old.is_file() {
        return Ok(());
    }
    Err(format!(
        "{} is the log of a Redis before 7, and there is none in {folder}/ yet. To take it over, \
         move it into {folder}/ and write {folder}/{} with the line: file {name} seq 1 type b. To \
         begin without it, move it elsewhere",
        old.display(),
        manifest_name(name)
    ))
}
