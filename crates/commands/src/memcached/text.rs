//! The text commands.
//!
//! What always holds: a handler counts after the last thing that may fail, so that a request that
//! is repeated for want of memory is counted once.

use super::context::Ctx;
use super::counters::Count;
use super::{Done, line};
use crate::context::Shards;
use crate::failure::Failure;
use crate::limits::REPLY_BYTES_MAX;
use crate::ops::cache::{self, Counted, DATABASE, Deleted, Mode, Place, Store, Stored, expiry};
use engine::{Effect, Entry};
use protocol::memcached::Storing;
use std::ops::Range;

/// The answer to a counter command on what isn't a number.
pub(super) const NOT_A_NUMBER: &[u8] =
    b"CLIENT_ERROR cannot increment or decrement non-numeric value";
/// The answer to a value that is larger than an item may be.
pub(super) const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache";
/// The answer to a value that there is no memory for.
pub(super) const NO_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object";
/// The answer to another request that there is no memory for.
pub(super) const NO_MEMORY_FOR_IT: &[u8] = b"SERVER_ERROR out of memory";
/// The answer to growing what isn't a string.
pub(super) const WRONG_KIND: &[u8] = b"CLIENT_ERROR the key holds another kind of value";

const GETS: (Count, Count) = (Count::GetHits, Count::GetMisses);
const TOUCHES: (Count, Count) = (Count::TouchHits, Count::TouchMisses);

/// get, gets: the items of the keys that there are.
pub(super) fn get<'b>(
    ctx: &mut Ctx<'_>,
    keys: impl Iterator<Item = &'b [u8]>,
    with_cas: bool,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let before = out.len();
    for key in keys {
        let found = match ctx.place(key).get() {
            Some(entry) => item(key, entry, with_cas, out),
            None => false,
        };
        ctx.counters.add(Count::Gets);
        ctx.tally(found, GETS);
        if out.len() > REPLY_BYTES_MAX {
            out.truncate(before);
            line(out, REPLY_TOO_LARGE);
            return Ok(Done::Answered);
        }
    }
    line(out, b"END");
    Ok(Done::Answered)
}

/// What memcached answers when it can't write a reply.
const REPLY_TOO_LARGE: &[u8] = b"SERVER_ERROR out of memory writing get response";

/// gat, gats: the same, and every item found gets another deadline.
pub(super) fn get_and_touch<'b>(
    ctx: &mut Ctx<'_>,
    keys: impl Iterator<Item = &'b [u8]>,
    (exptime, with_cas): (i64, bool),
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let deadline = expiry(exptime, ctx.now);
    let before = out.len();
    for key in keys {
        let mut place = ctx.place(key);
        let found = match place.get() {
            Some(entry) => item(key, entry, with_cas, out),
            None => false,
        };
        if found {
            cache::touch(&mut place, deadline)?;
            place.get();
        }
        for what in [Count::Gets, Count::Touches] {
            ctx.counters.add(what);
        }
        ctx.tally(found, GETS);
        ctx.tally(found, TOUCHES);
        if out.len() > REPLY_BYTES_MAX {
            out.truncate(before);
            line(out, REPLY_TOO_LARGE);
            return Ok(Done::Answered);
        }
    }
    line(out, b"END");
    Ok(Done::Answered)
}

/// Writes one item of an answer; false if it isn't a string.
#[inline]
fn item(key: &[u8], entry: Entry<'_>, with_cas: bool, out: &mut Vec<u8>) -> bool {
    let Some(string) = entry.string() else { return false };
    let whole: Range<usize> = 0..string.len();
    let mut digits = itoa::Buffer::new();
    out.reserve(key.len() + string.len() + 64);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    out.extend_from_slice(digits.format(entry.flags()).as_bytes());
    out.push(b' ');
    out.extend_from_slice(digits.format(whole.end).as_bytes());
    if with_cas {
        out.push(b' ');
        out.extend_from_slice(digits.format(entry.cas()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    string.read(whole, out);
    out.extend_from_slice(b"\r\n");
    true
}

/// set, add, replace, append, prepend, cas.
pub(super) fn store(
    ctx: &mut Ctx<'_>,
    asked: &Storing<'_>,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let wanted = Store {
        mode: asked.mode,
        value: asked.value,
        flags: asked.flags,
        deadline: expiry(asked.exptime, ctx.now),
        compare: asked.compare,
        ..Store::default()
    };
    let answer: &[u8] = match store_within_limits(ctx, asked.key, &wanted)? {
        Some(Stored::Done(_)) => b"STORED",
        Some(Stored::NotStored) => b"NOT_STORED",
        Some(Stored::Exists) => b"EXISTS",
        Some(Stored::NotFound) => b"NOT_FOUND",
        Some(Stored::WrongKind) => WRONG_KIND,
        None => TOO_LARGE,
    };
    line(out, answer);
    Ok(Done::Answered)
}

/// Stores a value, and counts; `None` if it's too large.
pub(super) fn store_within_limits(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    wanted: &Store<'_>,
) -> Result<Option<Stored>, Failure> {
    let settings = *ctx.settings;
    let fits = |value: usize| settings.fits(key.len(), wanted.flags, value);
    if !fits(wanted.value.len()) {
        too_large(ctx, key, wanted.mode)?;
        return Ok(None);
    }
    let stored = cache::store(&mut ctx.place(key), wanted, fits)?;
    ctx.counters.add(Count::Sets);
    if let Stored::Done(_) = stored {
        ctx.counters.add(Count::Stored);
    }
    if wanted.compare.is_some() {
        match stored {
            Stored::Done(_) => ctx.counters.add(Count::CasHits),
            Stored::Exists => ctx.counters.add(Count::CasBadValue),
            Stored::NotFound => ctx.counters.add(Count::CasMisses),
            _ => {}
        }
    }
    Ok(Some(stored))
}

/// A value was refused for its size: what it would have replaced is out of date, so it goes.
pub(super) fn too_large(ctx: &mut Ctx<'_>, key: &[u8], mode: Mode) -> Result<(), Failure> {
    if mode == Mode::Set {
        cache::delete(&mut ctx.place(key), None)?;
    }
    ctx.counters.add(Count::TooLarge);
    Ok(())
}

/// delete.
pub(super) fn delete(ctx: &mut Ctx<'_>, key: &[u8], out: &mut Vec<u8>) -> Result<Done, Failure> {
    let deleted = cache::delete(&mut ctx.place(key), None)? == Deleted::Done;
    ctx.tally(deleted, (Count::DeleteHits, Count::DeleteMisses));
    line(out, if deleted { b"DELETED" } else { b"NOT_FOUND" });
    Ok(Done::Answered)
}

/// incr, decr.
pub(super) fn count(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    (down, delta): (bool, u64),
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let how = cache::Count { down, delta, compare: None, vivify: None, deadline: None, cas: None };
    let counted = cache::count(&mut ctx.place(key), &how)?;
    tally_count(ctx, down, counted);
    match counted {
        Counted::Done { value, .. } => {
            line(out, itoa::Buffer::new().format(value).as_bytes());
        }
        Counted::NotFound | Counted::Exists => line(out, b"NOT_FOUND"),
        Counted::NotANumber => line(out, NOT_A_NUMBER),
    }
    Ok(Done::Answered)
}

/// Counts what became of a counter.
pub(super) fn tally_count(ctx: &Ctx<'_>, down: bool, counted: Counted) {
    let (hits, misses) = match down {
        true => (Count::DecrHits, Count::DecrMisses),
        false => (Count::IncrHits, Count::IncrMisses),
    };
    match counted {
        Counted::Done { made: true, .. } => ctx.counters.add(Count::Stored),
        Counted::Done { .. } => ctx.counters.add(hits),
        Counted::NotFound => ctx.counters.add(misses),
        Counted::Exists | Counted::NotANumber => {}
    }
}

/// touch.
pub(super) fn touch(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    exptime: i64,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let deadline = expiry(exptime, ctx.now);
    let mut place: Place<'_> = ctx.place(key);
    let touched = cache::touch(&mut place, deadline)?;
    place.get();
    ctx.counters.add(Count::Touches);
    ctx.tally(touched, TOUCHES);
    line(out, if touched { b"TOUCHED" } else { b"NOT_FOUND" });
    Ok(Done::Answered)
}

/// flush_all: now, or at a moment that the flush is told.
pub(super) fn flush_all(
    ctx: &mut Ctx<'_>,
    delay: Option<i64>,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    match expiry(delay.unwrap_or(0), ctx.now) {
        Some(at) if at > ctx.now => ctx.flush.set(Some(at)),
        _ => {
            ctx.flush.set(None);
            clear(ctx.shards, ctx.now)?;
        }
    }
    ctx.counters.add(Count::Flushes);
    line(out, b"OK");
    Ok(Done::Answered)
}

/// Empties the database, shard by shard.
pub(super) fn clear(shards: &mut dyn Shards, now: u64) -> Result<(), Failure> {
    for number in 0..shards.count() {
        shards.shard(number).apply(&Effect::Clear { db: DATABASE }, now)?;
    }
    Ok(())
}

/// cache_memlimit, in megabytes.
pub(super) fn memory_limit(ctx: &Ctx<'_>, megabytes: u64, out: &mut Vec<u8>) -> Done {
    let answer: &[u8] = match megabytes.checked_mul(1024 * 1024) {
        Some(bytes) if megabytes >= 8 => {
            let limit = bytes.to_string();
            match ctx.host.configure(ctx.client, &[("maxmemory", &limit)]) {
                Ok(()) => b"OK",
                Err(_) => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
            }
        }
        Some(_) => b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m",
        None => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
    };
    line(out, answer);
    Done::Answered
}
