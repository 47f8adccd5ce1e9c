//! Looks at a server ten times a second while a load runs, and gives it an order at its time.
//!
//! What always holds: it has a thread and a connection of its own, so that the generator doesn't
//! wait for it; what can't be read at a moment is absent from that sample.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::machine::{self, Process};
use crate::results::Sample;

const EVERY: Duration = Duration::from_millis(100);

/// What to do besides looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Nothing.
    Look,
    /// Counts the items too.
    Count,
    /// Orders a snapshot at this time and notes its end.
    Snapshot(Duration),
}

/// A sampler at work.
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sampled>,
}

/// What it saw.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    pub(super) samples: Vec<Sample>,
    pub(super) marks: Vec<(f64, String)>,
    /// Why the order wasn't carried out.
    pub(super) failed: Option<String>,
}

impl Sampler {
    /// Starts looking; times count from `warm_up` after now.
    pub(super) fn start(
        process: Option<Process>,
        control: Control,
        task: Task,
        warm_up: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let begun = Instant::now() + warm_up;
        let thread = thread::spawn(move || {
            // The generator's processor is the generator's.
            machine::keep_to(&(0..1024).collect::<Vec<_>>());
            let mut look =
                Look { process, control, task, begun, sampled: Sampled::default(), saving: false };
            while !ended.load(Ordering::Relaxed) {
                look.once();
                thread::sleep(EVERY);
            }
            look.sampled
        });
        Self { stop, thread }
    }

    /// Ends it and returns what it saw.
    pub(super) fn finish(self) -> Sampled {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

struct Look {
    process: Option<Process>,
    control: Control,
    task: Task,
    begun: Instant,
    sampled: Sampled,
    saving: bool,
}

impl Look {
    fn once(&mut self) {
        let Some(at) = Instant::now().checked_duration_since(self.begun) else { return };
        let at = at.as_secs_f64();
        match self.task {
            Task::Snapshot(when) if at >= when.as_secs_f64() && self.sampled.marks.is_empty() => {
                self.saving = true;
                self.sampled.marks.push((at, "snapshot begins".to_owned()));
                if let Err(error) = self.control.ask("BGSAVE") {
                    self.saving = false;
                    self.sampled.failed = Some(format!("BGSAVE: {error}"));
                }
            }
            Task::Snapshot(_) if self.saving => {
                let busy = self.control.fact("rdb_bgsave_in_progress").ok().flatten();
                if busy.as_deref() == Some("0") {
                    self.saving = false;
                    self.sampled.marks.push((at, "ends".to_owned()));
                }
            }
            _ => {}
        }
        let items = if self.task == Task::Count { self.control.items().ok() } else { None };
        let resident = self.process.as_ref().and_then(Process::resident_with_children);
        self.sampled.samples.push(Sample { at, resident, items });
    }
}
