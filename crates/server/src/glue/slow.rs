//! The slow log, and the latency events that LATENCY shows.
//!
//! What always holds: both are bounded; arguments are shortened when they are taken in, so that
//! one large request doesn't stay in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use commands::host::{LatencyEvent, SlowEntry};
use protocol::args::Args;

/// Arguments of a request that an entry keeps.
const ARGS_MAX: usize = 32;
/// Bytes of an argument that an entry keeps.
const ARG_BYTES_MAX: usize = 128;
/// Samples of an event.
const SAMPLES_MAX: usize = 160;
/// Events.
const EVENTS_MAX: usize = 64;

/// Requests that took long, newest first.
#[derive(Debug, Default)]
pub(super) struct SlowLog {
    state: Mutex<(u64, VecDeque<SlowEntry>)>,
}

impl SlowLog {
    pub(super) fn add(&self, mut entry: SlowEntry, most: usize) {
        let mut state = self.lock();
        let (next, entries) = &mut *state;
        entry.id = *next;
        *next += 1;
        entries.push_front(entry);
        entries.truncate(most);
    }

    pub(super) fn latest(&self, count: usize) -> Vec<SlowEntry> {
        self.lock().1.iter().take(count).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().1.len()
    }

    pub(super) fn reset(&self) {
        self.lock().1.clear();
    }

    fn lock(&self) -> MutexGuard<'_, (u64, VecDeque<SlowEntry>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's arguments, shortened as Redis does it.
pub(super) fn shortened(args: Args<'_>) -> Vec<Vec<u8>> {
    let shown = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut kept: Vec<Vec<u8>> = args.iter().take(shown).map(shorten).collect();
    if args.len() > ARGS_MAX {
        kept.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
    }
    kept
}

fn shorten(arg: &[u8]) -> Vec<u8> {
    match arg.get(..ARG_BYTES_MAX) {
        Some(head) if arg.len() > ARG_BYTES_MAX => {
            let more = format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX);
            [head, more.as_bytes()].concat()
        }
        _ => arg.to_vec(),
    }
}

/// Events that took long at times.
#[derive(Debug, Default)]
pub(super) struct Latency {
    events: Mutex<BTreeMap<&'static str, LatencyEvent>>,
}

impl Latency {
    /// Takes a sample of an event in; of one second the longest stays.
    pub(super) fn add(&self, name: &'static str, at_s: u64, ms: u64) {
        let mut events = self.lock();
        if events.len() >= EVENTS_MAX && !events.contains_key(name) {
            return;
        }
        let event = events.entry(name).or_default();
        name.clone_into(&mut event.name);
        event.max_ms = event.max_ms.max(ms);
        match event.samples.last_mut() {
            Some((second, longest)) if *second == at_s => *longest = (*longest).max(ms),
            _ => event.samples.push((at_s, ms)),
        }
        if event.samples.len() > SAMPLES_MAX {
            event.samples.remove(0);
        }
    }

    pub(super) fn all(&self) -> Vec<LatencyEvent> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn reset(&self, names: &[&str]) -> usize {
        let mut events = self.lock();
        let before = events.len();
        events.retain(|name, _| {
            !names.is_empty() && !names.iter().any(|asked| asked.eq_ignore_ascii_case(name))
        });
        before - events.len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, LatencyEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
