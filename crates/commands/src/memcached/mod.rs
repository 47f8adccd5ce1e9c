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

pub use context::{Ctx, Settings};
pub use counters::{Count, Counters};
pub use flush::Flush;
pub use request::{Head, MetaArithmetic, MetaDelete, MetaGet, MetaSet, Request, Storing, Verb};
pub use world::{Facts, World};

use crate::failure::Failure;
use crate::ops::cache::{self, Mode};

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
    let done = dispatch(ctx, &request.verb, out)?;
    if request.noreply {
        out.truncate(before);
    }
    Ok(done)
}

fn dispatch(ctx: &mut Ctx<'_>, verb: &Verb<'_>, out: &mut Vec<u8>) -> Result<Done, Failure> {
    match verb {
        Verb::Get { keys, cas } => text::get(ctx, keys.iter(), *cas, out),
        Verb::GetAndTouch { keys, exptime, cas } => {
            text::get_and_touch(ctx, keys.iter(), (*exptime, *cas), out)
        }
        Verb::Store(asked) => text::store(ctx, asked, out),
        Verb::Delete(key) => text::delete(ctx, key, out),
        Verb::Count { key, down, delta } => text::count(ctx, key, (*down, *delta), out),
        Verb::Touch { key, exptime } => text::touch(ctx, key, *exptime, out),
        Verb::FlushAll(delay) => text::flush_all(ctx, *delay, out),
        Verb::MetaGet(head, asked) => meta::get(ctx, head, asked, out),
        Verb::MetaSet(head, asked) => meta::set(ctx, head, asked, out),
        Verb::MetaDelete(head, asked) => meta::delete(ctx, head, asked, out),
        Verb::MetaArithmetic(head, asked) => meta::arithmetic(ctx, head, asked, out),
        Verb::MetaDebug(head) => Ok(meta::debug(ctx, head, out)),
        Verb::MemoryLimit(megabytes) => Ok(text::memory_limit(ctx, *megabytes, out)),
        Verb::Stats(words) => Ok(stats::report(ctx, *words, out)),
        Verb::TooLarge { key, mode } => {
            text::too_large(ctx, key, *mode)?;
            line(out, text::TOO_LARGE);
            Ok(Done::Answered)
        }
        Verb::Version => {
            out.extend_from_slice(b"VERSION ");
            line(out, ctx.settings.version.as_bytes());
            Ok(Done::Answered)
        }
        Verb::Verbosity => {
            line(out, b"OK");
            Ok(Done::Answered)
        }
        Verb::NoOp => {
            line(out, b"MN");
            Ok(Done::Answered)
        }
        Verb::Quit => Ok(Done::Quit),
    }
}

/// Answers a request that there is no memory for. What `set` would have replaced is out of date,
/// so it goes, as in memcached.
pub fn refuse(ctx: &mut Ctx<'_>, request: &Request<'_>, out: &mut Vec<u8>) {
    let (stale, answer) = match &request.verb {
        Verb::Store(asked) => ((asked.mode == Mode::Set).then_some(asked.key), text::NO_MEMORY),
        Verb::MetaSet(head, asked) => {
            ((asked.mode == Mode::Set).then_some(head.key), text::NO_MEMORY)
        }
        _ => (None, text::NO_MEMORY_FOR_IT),
    };
    if let Some(key) = stale {
        // Removing needs no memory.
        let _ = cache::delete(&mut ctx.place(key), None);
    }
    ctx.counters.add(Count::NoMemory);
    if !request.noreply {
        line(out, answer);
    }
}

/// Empties the database if the moment of a delayed `flush_all` has come. To be asked before a
/// batch of requests and at the end of a turn, with the right to lock shards one at a time.
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
