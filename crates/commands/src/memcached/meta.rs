//! The meta commands.
//!
//! What always holds: flags are obeyed and answered in the order in which they stand in the
//! request, as memcached does; the answer is written before the one effect that may fail.

use super::context::Ctx;
use super::counters::Count;
use super::text::{NOT_A_NUMBER, TOO_LARGE, WRONG_KIND, store_within_limits, tally_count};
use super::{Done, line};
use crate::failure::Failure;
use crate::ops::cache::{
    self, Counted, Deleted, Place, SetAside, Store, Stored, expiry, seconds_left,
};
use engine::{Entry, Meta};
use protocol::memcached::{Arithmetic, Delete, Get, Head, Set};

/// Writes the flags of an answer: what all commands answer of the request's own words, and what
/// `more` adds for other letters.
fn echo(head: &Head<'_>, out: &mut Vec<u8>, mut more: impl FnMut(u8, &mut Vec<u8>)) {
    for flag in head.flags.iter() {
        match flag.letter {
            b'O' => {
                out.extend_from_slice(b" O");
                out.extend_from_slice(flag.token);
            }
            b'k' => {
                out.extend_from_slice(b" k");
                out.extend_from_slice(head.shown);
                if head.base64 {
                    out.extend_from_slice(b" b");
                }
            }
            letter => more(letter, out),
        }
    }
}

/// Writes a line with nothing but a code and the request's own words.
fn answer(head: &Head<'_>, code: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(code);
    echo(head, out, |_, _| {});
    out.extend_from_slice(b"\r\n");
}

/// An item as `mg` found it, and what becomes of it.
struct Seen {
    meta: Meta,
    cas: u64,
    fetched: bool,
    idle: u64,
    len: usize,
    made: bool,
    won: bool,
}

impl Seen {
    fn of(entry: Entry<'_>, now: u64) -> Self {
        Self {
            meta: entry.meta(),
            cas: entry.cas(),
            fetched: entry.is_fetched(),
            idle: entry.idle_ms(now) / 1000,
            len: entry.string().map_or(0, |string| string.len()),
            made: false,
            won: false,
        }
    }
}

/// mg.
pub(super) fn get(
    ctx: &mut Ctx<'_>,
    head: &Head<'_>,
    asked: &Get,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let now = ctx.now;
    let mut place = ctx.place(head.key);
    // What `h` and `l` tell is from before this use.
    let bump_first = !asked.no_bump && !head.flags.has(b'h') && !head.flags.has(b'l');
    let entry = if bump_first { place.get() } else { place.peek() };
    if let Some(entry) = entry {
        let mut seen = Seen::of(entry, now);
        let before = seen.meta;
        answer_item(head, asked, &mut seen, now, out);
        if asked.value {
            if let Some(string) = entry.string() {
                string.read(0..seen.len, out);
            }
            out.extend_from_slice(b"\r\n");
        }
        let rewritten = seen.meta != before;
        if seen.meta.state != before.state {
            cache::mark(&mut place, seen.meta)?;
        } else if rewritten {
            cache::touch(&mut place, seen.meta.deadline)?;
        }
        if !asked.no_bump && (rewritten || !bump_first) {
            place.get();
        }
        tally_get(ctx, asked, true);
        return Ok(Done::Answered);
    }
    let made = match asked.vivify {
        // A key of another kind is in the way, and not this command's to remove.
        Some(exptime) if place.any().is_none() => Some(make(&mut place, exptime, asked)?),
        _ => None,
    };
    match made {
        Some(mut seen) => {
            answer_item(head, asked, &mut seen, now, out);
            if asked.value {
                out.extend_from_slice(b"\r\n");
            }
        }
        None if head.quiet => {}
        None => answer(head, b"EN", out),
    }
    tally_get(ctx, asked, false);
    Ok(Done::Answered)
}

/// Makes the empty item that the reader has won.
fn make(place: &mut Place<'_>, exptime: i64, asked: &Get) -> Result<Seen, Failure> {
    let deadline = expiry(asked.touch.unwrap_or(exptime), place.now);
    let cas = cache::make_stub(place, deadline, asked.cas)?;
    // The reader is told that it won; that somebody won already is for the next one.
    let meta = Meta::default();
    Ok(Seen { meta, cas, fetched: false, idle: 0, len: 0, made: true, won: false })
}

/// Writes the line about an item, obeying the flags in their order.
fn answer_item(head: &Head<'_>, asked: &Get, seen: &mut Seen, now: u64, out: &mut Vec<u8>) {
    if asked.value {
        number(out, b"VA ", seen.len as u64);
    } else {
        out.extend_from_slice(b"HD");
    }
    echo(head, out, |letter, out| match letter {
        b'T' => seen.meta.deadline = asked.touch.and_then(|exptime| expiry(exptime, now)),
        b'N' if seen.made => {
            seen.meta.deadline = asked.vivify.and_then(|exptime| expiry(exptime, now));
            seen.won = true;
        }
        b'R' => {
            let limit = asked.recache.and_then(|exptime| expiry(exptime, now));
            let below = match (seen.meta.deadline, limit) {
                (Some(deadline), Some(limit)) => {
                    seconds_left(deadline, now) < seconds_left(limit, now)
                }
                _ => false,
            };
            seen.won |= below && !seen.made && seen.meta.state & Meta::WON == 0;
        }
        b's' => number(out, b" s", seen.len as u64),
        b't' => ttl(out, seen.meta.deadline, now),
        b'c' => number(out, b" c", seen.cas),
        b'f' => number(out, b" f", u64::from(seen.meta.flags)),
        b'l' => number(out, b" l", seen.idle),
        b'h' => number(out, b" h", u64::from(seen.fetched)),
        _ => {}
    });
    let sent = seen.meta.state & Meta::WON != 0;
    if sent {
        out.extend_from_slice(b" Z");
    }
    if seen.meta.state & Meta::STALE != 0 {
        out.extend_from_slice(b" X");
        seen.won |= !sent;
    }
    if seen.won {
        out.extend_from_slice(b" W");
        seen.meta.state |= Meta::WON;
    }
    out.extend_from_slice(b"\r\n");
}

fn tally_get(ctx: &Ctx<'_>, asked: &Get, hit: bool) {
    ctx.counters.add(Count::Metas);
    ctx.counters.add(Count::Gets);
    ctx.tally(hit, (Count::GetHits, Count::GetMisses));
    if asked.touch.is_some() {
        ctx.counters.add(Count::Touches);
        ctx.tally(hit, (Count::TouchHits, Count::TouchMisses));
    }
}

/// ms.
pub(super) fn set(
    ctx: &mut Ctx<'_>,
    head: &Head<'_>,
    asked: &Set<'_>,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let now = ctx.now;
    let wanted = Store {
        mode: asked.mode,
        value: asked.value,
        flags: asked.flags,
        deadline: expiry(asked.exptime, now),
        compare: asked.compare,
        stale: asked.invalidate,
        cas: asked.cas,
    };
    let stored = store_within_limits(ctx, head.key, &wanted)?;
    ctx.counters.add(Count::Metas);
    let Some(stored) = stored else { return Ok(refuse(out, TOO_LARGE)) };
    let (code, cas): (&[u8], u64) = match stored {
        Stored::Done(_) if head.quiet => return Ok(Done::Answered),
        Stored::Done(cas) => (b"HD", cas),
        Stored::WrongKind => return Ok(refuse(out, WRONG_KIND)),
        Stored::NotStored => (b"NS", 0),
        Stored::Exists => (b"EX", 0),
        Stored::NotFound => (b"NF", 0),
    };
    out.extend_from_slice(code);
    echo(head, out, |letter, out| {
        if letter == b'c' {
            number(out, b" c", cas);
        }
    });
    out.extend_from_slice(b"\r\n");
    Ok(Done::Answered)
}

/// md.
pub(super) fn delete(
    ctx: &mut Ctx<'_>,
    head: &Head<'_>,
    asked: &Delete,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let now = ctx.now;
    let mut place = ctx.place(head.key);
    let deleted = if asked.invalidate || asked.empty {
        let how = SetAside {
            compare: asked.compare,
            stale: asked.invalidate,
            empty: asked.empty,
            deadline: asked.touch.map(|exptime| expiry(exptime, now)),
            cas: asked.cas,
        };
        cache::set_aside(&mut place, &how)?
    } else {
        cache::delete(&mut place, asked.compare)?
    };
    ctx.counters.add(Count::Metas);
    ctx.tally(deleted == Deleted::Done, (Count::DeleteHits, Count::DeleteMisses));
    match deleted {
        Deleted::Exists => answer(head, b"EX", out),
        Deleted::Done if head.quiet => {}
        Deleted::Done => answer(head, b"HD", out),
        Deleted::NotFound => answer(head, b"NF", out),
    }
    Ok(Done::Answered)
}

/// ma.
pub(super) fn arithmetic(
    ctx: &mut Ctx<'_>,
    head: &Head<'_>,
    asked: &Arithmetic,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let now = ctx.now;
    let how = cache::Count {
        down: asked.down,
        delta: asked.delta,
        compare: asked.compare,
        vivify: asked.vivify.map(|exptime| (expiry(exptime, now), asked.initial)),
        deadline: asked.touch.map(|exptime| expiry(exptime, now)),
        cas: asked.cas,
    };
    let counted = cache::count(&mut ctx.place(head.key), &how)?;
    ctx.counters.add(Count::Metas);
    tally_count(ctx, asked.down, counted);
    let (value, cas, mut deadline, made) = match counted {
        Counted::Done { .. } if head.quiet => return Ok(Done::Answered),
        Counted::Done { value, cas, deadline, made } => (value, cas, deadline, made),
        Counted::NotANumber => return Ok(refuse(out, NOT_A_NUMBER)),
        Counted::NotFound | Counted::Exists => {
            answer(head, if counted == Counted::NotFound { b"NF" } else { b"EX" }, out);
            return Ok(Done::Answered);
        }
    };
    let mut digits = itoa::Buffer::new();
    let text = digits.format(value).as_bytes();
    if asked.value {
        number(out, b"VA ", text.len() as u64);
    } else {
        out.extend_from_slice(b"HD");
    }
    echo(head, out, |letter, out| match letter {
        b'c' => number(out, b" c", cas),
        b't' => ttl(out, deadline, now),
        b'T' => deadline = how.deadline.flatten(),
        b'N' if made => deadline = how.vivify.and_then(|(deadline, _)| deadline),
        _ => {}
    });
    out.extend_from_slice(b"\r\n");
    if asked.value {
        line(out, text);
    }
    Ok(Done::Answered)
}

/// me: what is known of an item, for people.
pub(super) fn debug(ctx: &mut Ctx<'_>, head: &Head<'_>, out: &mut Vec<u8>) -> Done {
    let now = ctx.now;
    ctx.counters.add(Count::Metas);
    let place = ctx.place(head.key);
    let Some(entry) = place.peek() else {
        line(out, b"EN");
        return Done::Answered;
    };
    out.extend_from_slice(b"ME ");
    out.extend_from_slice(head.shown);
    // Time since the end, so it's negative while the item lives; and -1 if it never ends.
    out.extend_from_slice(b" exp=-");
    let left = entry.deadline().map_or(1, |deadline| seconds_left(deadline, now));
    number(out, b"", left);
    number(out, b" la=", entry.idle_ms(now) / 1000);
    number(out, b" cas=", entry.cas());
    out.extend_from_slice(if entry.is_fetched() { b" fetch=yes" } else { b" fetch=no" });
    out.extend_from_slice(b" cls=1");
    number(out, b" size=", entry.memory_bytes() as u64);
    out.extend_from_slice(b"\r\n");
    Done::Answered
}

fn refuse(out: &mut Vec<u8>, answer: &[u8]) -> Done {
    line(out, answer);
    Done::Answered
}

fn number(out: &mut Vec<u8>, before: &[u8], value: u64) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn ttl(out: &mut Vec<u8>, deadline: Option<u64>, now: u64) {
    match deadline {
        Some(deadline) => number(out, b" t", seconds_left(deadline, now)),
        None => out.extend_from_slice(b" t-1"),
    }
}
