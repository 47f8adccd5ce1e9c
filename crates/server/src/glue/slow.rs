//! The slow log.
//!
//! What always holds: it's bounded; arguments are shortened when they are taken in, so that
//! one large request doesn't stay in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use commands::host::SlowEntry;
use protocol::args::Args;

/// Arguments of a request that an entry keeps.
const ARGS_MAX: usize = 32;
/// Bytes of an argument that an entry keeps.
const ARG_BYTES_MAX: usize = 128;

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
