//! The end of a kept store.
//!
//! What always holds: SHUTDOWN ends nothing that would lose something, unless it's told to; whoever
//! ends the process otherwise (a signal) is told what was lost. A log that has failed is tried once
//! more, so that what was ended in memory alone doesn't come back.

use super::keeper::{Durable, lock};
use crate::log as say;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it's looked whether something that is on its way has ended.
const STEP: Duration = Duration::from_millis(5);

impl Durable {
    /// Sees to it that the server can end: writes what would be written then. `save` says whether a
    /// snapshot is; else the settings decide. What changes afterwards is written by
    /// [`Durable::end`].
    ///
    /// # Errors
    /// A sentence: what can't be written.
    pub fn prepare_end(&self, save: Option<bool>) -> Result<(), String> {
        if self.refuses_writes() {
            self.in_turn(true, Self::rewrite)?;
            if self.refuses_writes() {
                return Err("the append-only file isn't whole".to_owned());
            }
        }
        if self.saves_at_end(save) { self.in_turn(false, Self::write_snapshot) } else { Ok(()) }
    }

    /// The server ends, and nothing changes any more: writes what has to be written. `save` says
    /// whether a snapshot is; else the settings decide. `prepared`: whether
    /// [`Durable::prepare_end`] went well.
    ///
    /// # Errors
    /// A sentence: what couldn't be written.
    pub fn end(&self, save: Option<bool>, prepared: bool) -> Result<(), String> {
        self.stop();
        let flushed = self.close_log();
        if let Some(log) = self.log.get() {
            log.stop();
        }
        let threads: Vec<_> = std::mem::take(&mut *lock(&self.threads));
        threads.into_iter().for_each(|thread| drop(thread.join()));
        let flushed = flushed.or_else(|what| {
            say::warning(format_args!("{what}; a new one is tried"));
            let made = self.in_turn(true, Self::rewrite).and_then(|()| self.close_log());
            made.map_err(|why| format!("{what}, nor can there be a new one: {why}"))
        });
        // The snapshot of `prepare_end` had to be written while there was still somebody to go on for
        // if it failed, so others were answered meanwhile: what they changed, deadlines that their
        // reads moved included, is nowhere else if there is no log. It's counted from before that
        // snapshot's cut, so one may be written in vain, but none is left out.
        let is_there = prepared && lock(&self.facts).saved_changes == self.changes();
        let wanted = self.saves_at_end(save) && !is_there;
        let saved = if wanted { self.save() } else { Ok(()) };
        flushed.and(saved)?;
        self.reloads.lost.get().map_or(Ok(()), Clone::clone)
    }

    /// Whether the end is to write a snapshot. Half a store must not take the place of a whole one.
    fn saves_at_end(&self, save: Option<bool>) -> bool {
        save.unwrap_or_else(|| !self.store.config().save.is_empty()) && !self.is_loading()
    }

    fn close_log(&self) -> Result<(), String> {
        self.log().map_or(Ok(()), |log| {
            let flushed = log.flush().and_then(|()| log.close());
            flushed.map_err(|error| format!("the append-only file isn't whole: {error}"))
        })
    }

    /// Does that once nothing else is on its way.
    fn in_turn(
        &self,
        rewriting: bool,
        work: fn(&Self) -> Result<(), String>,
    ) -> Result<(), String> {
        while let Err(why) = self.take_turn(rewriting) {
            if self.is_loading() {
                return Err(why);
            }
            std::thread::sleep(STEP);
        }
        let done = work(self);
        self.busy.store(false, Ordering::Release);
        done
    }
}
