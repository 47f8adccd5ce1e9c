//! `appendonly` at run time: the log is begun, or ended, while the server goes on.
//!
//! What always holds: the manifest names the new log only when its base is on the disk; until then a
//! crash leaves what was there before. A log that was ended stays as it is, and is replaced by the
//! next one. Not on the thread that asks: a command may hold locks that this needs.

use super::aof::{FORMAT, Files};
use super::folder::Folder;
use super::keeper::{Durable, lock};
use super::log::{Increment, Log, Policy};
use crate::config::Config;
use crate::log as say;
use crate::os::schedule;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Durable {
    /// Gets ready to begin or to end to log changes, if these settings want that and it neither is so
    /// nor is about to be; whether they do. Then [`Durable::switch_log`] has to follow. To be called
    /// by one thread at a time.
    ///
    /// # Errors
    /// A sentence: the folder can't be used, or something else is on its way that must end first, an
    /// earlier switch say. Nothing has changed then.
    pub fn prepare_switch(&self, config: &Config) -> Result<bool, String> {
        // Not whether there is a log: one that is being ended is there still.
        if config.appendonly == self.logs.load(Ordering::Acquire) {
            return Ok(false);
        }
        self.take_turn(true)?;
        if config.appendonly
            && let Err(why) = self.take_files(config)
        {
            self.busy.store(false, Ordering::Release);
            return Err(why);
        }
        Ok(true)
    }

    /// Begins to log changes, or ends it, once the settings in force say so. INFO says when it's done
    /// (`aof_rewrite_in_progress`).
    ///
    /// # Errors
    /// A sentence: the system gives no thread. Nothing has changed then.
    pub fn switch_log(self: &Arc<Self>) -> Result<(), String> {
        let on = !self.logs.fetch_not(Ordering::AcqRel);
        let work = if on { Self::begin_log } else { Self::end_log };
        self.spawn("log", work).inspect_err(|_| self.logs.store(!on, Ordering::Release))
    }

    fn take_files(&self, config: &Config) -> Result<(), String> {
        let mut files = lock(&self.files);
        if files.is_none() {
            drop(self.folder_of(config)?);
            let folder = Folder::take(&Path::new(&config.dir).join(&config.appenddirname))?;
            *files = Some(Files::open(folder, &config.appendfilename, &self.common.latency)?);
        }
        Ok(())
    }

    fn begin_log(&self) {
        if let Err(why) = self.try_to_begin_log() {
            self.logs.store(false, Ordering::Release);
            say::warning(format_args!("can't begin the append-only file: {why}"));
        }
    }

    fn try_to_begin_log(&self) -> Result<(), String> {
        if let Some(files) = lock(&self.files).as_mut() {
            files.begin_anew();
        }
        self.founded.store(false, Ordering::Release);
        self.node.start_journal(FORMAT);
        let log = match self.log.get() {
            Some(log) => {
                log.begin();
                log
            }
            None => self.first_log()?,
        };
        self.settings_changed(&self.store.config());
        // Not before: the log's own threads begin as this one is, and replies wait for them.
        schedule::be_modest();
        if let Err(why) = self.rewrite() {
            // Tried again every few seconds, as after any failure.
            log.cannot_begin(&why);
        }
        Ok(())
    }

    fn first_log(&self) -> Result<&Arc<Log>, String> {
        let node = Arc::clone(&self.node);
        let clock = self.common.clock.clone();
        let log = Log::new(node, Increment::nowhere(), Policy::EverySecond, clock);
        let log = self.log.get_or_init(|| Arc::new(log));
        self.start_log(log)?;
        Ok(log)
    }

    fn end_log(&self) {
        self.node.stop_journal();
        let Some(log) = self.log.get() else { return };
        match log.end() {
            Ok(()) => say::notice(format_args!("changes are no longer logged")),
            Err(why) => say::warning(format_args!("the append-only file's end is lost: {why}")),
        }
    }
}
