//! What a request of memcached's protocol means: the text commands and the meta commands, on
//! database 0.
//!
//! What always holds: a handler writes a whole answer, or fails for want of memory and has changed
//! nothing that a repetition would not change again; the caller truncates the answer then.
//! Not for: bytes of requests, which the codec takes apart; rules of storing, which stand in
//! [`crate::ops::cache`]; locks. `docs/memcached.md` says what users see of it.

mod context;
mod counters;
mod flush;
mod meta;
mod request;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod world;

pub use crate::ops::cache::DATABASE;
pub use context::{Ctx, Settings};
pub use counters::{Count, Counters};
pub use flush::Flush;
pub use request::{keys, needs_memory, needs_store, writes};
pub use world::{Facts, World};

use crate::failure::Failure;
use crate::ops::cache;
use protocol::memcached::{Mode, Request};

/// What becomes of the connection after a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// It goes on.
    Answered,
    /// The client wants it closed.
    Quit,
}

/// Executes a request, and writes its answer.
///
/// Shards are taken one at a time, key by key: no cut over several keys is promised.
///
/// # Errors
/// [`Failure::Full`]: the caller truncates the answer, makes room without holding a lock, and
/// executes the whole request again, or says [`refuse`].
pub fn execute(
    ctx: &mut Ctx<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let before = out.len();
    let done = dispatch(ctx, request, out)?;
    if request.noreply() {
        out.truncate(before);
    }
    Ok(done)
}

fn dispatch(ctx: &mut Ctx<'_>, request: &Request<'_>, out: &mut Vec<u8>) -> Result<Done, Failure> {
    match request {
        Request::Get { keys, with_cas } => text::get(ctx, *keys, *with_cas, out),
        Request::GetAndTouch { keys, exptime, with_cas } => {
            text::get_and_touch(ctx, *keys, (*exptime, *with_cas), out)
        }
        Request::Store { storing, .. } => text::store(ctx, storing, out),
        Request::Delete { key, .. } => text::delete(ctx, key, out),
        Request::Count { key, down, delta, .. } => text::count(ctx, key, (*down, *delta), out),
        Request::Touch { key, exptime, .. } => text::touch(ctx, key, *exptime, out),
        Request::FlushAll { delay, .. } => text::flush_all(ctx, *delay, out),
        Request::MetaGet(head, asked) => meta::get(ctx, head, asked, out),
        Request::MetaSet(head, asked) => meta::set(ctx, head, asked, out),
        Request::MetaDelete(head, asked) => meta::delete(ctx, head, asked, out),
        Request::MetaArithmetic(head, asked) => meta::arithmetic(ctx, head, asked, out),
        Request::MetaDebug(head) => Ok(meta::debug(ctx, head, out)),
        Request::MemoryLimit { megabytes, .. } => Ok(text::memory_limit(ctx, *megabytes, out)),
        Request::Stats { words } => Ok(stats::report(ctx, *words, out)),
        Request::TooLarge { key, mode, .. } => {
            text::too_large(ctx, key, *mode)?;
            Ok(say(out, text::TOO_LARGE))
        }
        Request::Version => {
            out.extend_from_slice(b"VERSION ");
            Ok(say(out, ctx.settings.version.as_bytes()))
        }
        Request::Verbosity { .. } => Ok(say(out, b"OK")),
        Request::MetaNoop => Ok(say(out, b"MN")),
        Request::Quit => Ok(Done::Quit),
    }
}

/// Answers a request that there is no memory for. What `set` would have replaced is out of date,
/// so it goes, as in memcached.
pub fn refuse(ctx: &mut Ctx<'_>, request: &Request<'_>, out: &mut Vec<u8>) {
    let (stale, answer) = match request {
        Request::Store { storing, .. } => {
            ((storing.mode == Mode::Set).then_some(storing.key), text::NO_MEMORY)
        }
        Request::MetaSet(head, asked) => {
            ((asked.mode == Mode::Set).then_some(head.key), text::NO_MEMORY)
        }
        _ => (None, text::NO_MEMORY_FOR_IT),
    };
    if let Some(key) = stale {
        // Removing needs no memory.
        let _ = cache::delete(&mut ctx.place(key), None);
    }
    ctx.counters.add(Count::NoMemory);
    if !request.noreply() {
        line(out, answer);
    }
}

/// Empties the database if the moment of a delayed `flush_all` has come. To be asked before a
/// batch of requests and at the end of a turn, with all shards locked.
///
/// # Errors
/// None in practice: emptying needs no memory.
pub fn flush_if_due(
    flush: &Flush,
    shards: &mut dyn crate::context::Shards,
    now: u64,
) -> Result<(), Failure> {
    if flush.take_due(now) { text::clear(shards, now) } else { Ok(()) }
}

/// Writes a line.
#[inline]
fn line(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Writes a line that is a whole answer.
fn say(out: &mut Vec<u8>, text: &[u8]) -> Done {
    line(out, text);
    Done::Answered
}
