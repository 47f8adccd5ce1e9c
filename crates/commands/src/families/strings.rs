//! Strings: storing and reading them, whole or in part.
//!
//! What always holds: GET and SET without options look the key up once and allocate nothing.
//! Not for: counting (see `counters`), LCS (see `lcs`).

use super::support::{is, one_key};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::expiry::{self, Clock};
use crate::ops::strings::{Condition, Found, TOO_LONG, entry, find};
use crate::row::{Flags, Handler, Keys, Outcome, Row};
use engine::limits::VALUE_MAX;
use engine::{Cause, Change, Key, Meta, StringView};
use protocol::args::Args;
use protocol::resp::{Reply, parse_i64};

const READ: Flags = Flags::READONLY.and(Flags::BRIEF);
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::BRIEF);
const WRITE_FAST: Flags = WRITE.and(Flags::FAST);
const TAKE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(("GET key", 2), READ_FAST, get, "1.0.0", "Returns the string value of a key."),
    row(
        (
            "SET key value [NX|XX|IFEQ comparison-value] [GET] [EX seconds|PX \
             milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
            -3,
        ),
        WRITE,
        set,
        "1.0.0",
        "Sets the string value of a key, on conditions.",
    ),
    row(("SETNX key value", 3), WRITE_FAST, setnx, "1.0.0", "Sets a key that doesn't exist."),
    row(
        ("SETEX key seconds value", 4),
        WRITE,
        setex,
        "2.0.0",
        "Sets a key and its time to live in seconds.",
    ),
    row(
        ("PSETEX key milliseconds value", 4),
        WRITE,
        psetex,
        "2.6.0",
        "Sets a key and its time in milliseconds.",
    ),
    row(
        ("GETSET key value", 3),
        WRITE_FAST,
        getset,
        "1.0.0",
        "Sets a key and returns its old value.",
    ),
    row(
        (
            "GETEX key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT \
             unix-time-milliseconds|PERSIST]",
            -2,
        ),
        TAKE_FAST,
        getex,
        "6.2.0",
        "Returns a string and sets its deadline.",
    ),
    row(("GETDEL key", 2), TAKE_FAST, getdel, "6.2.0", "Returns a string and deletes its key."),
    row(("APPEND key value", 3), WRITE_FAST, append, "2.0.0", "Appends bytes to a string."),
    row(("STRLEN key", 2), READ_FAST, strlen, "2.2.0", "Returns the length of a string."),
    row(
        ("SETRANGE key offset value", 4),
        WRITE,
        setrange,
        "2.2.0",
        "Overwrites a part of a string.",
    ),
    row(("GETRANGE key start end", 4), READ, getrange, "2.4.0", "Returns a part of a string."),
    row(
        ("SUBSTR key start end", 4),
        READ,
        getrange,
        "1.0.0",
        "Returns a part of a string (old name).",
    ),
    Row {
        keys: Keys::ALL,
        ..row(("MGET key...", -2), READ_FAST, mget, "1.0.0", "Returns the strings of several keys.")
    },
    Row {
        keys: PAIRS,
        ..row(
            ("MSET <key value>...", -3),
            WRITE,
            mset,
            "1.0.1",
            "Sets the strings of several keys.",
        )
    },
    Row {
        keys: PAIRS,
        ..row(
            ("MSETNX <key value>...", -3),
            WRITE,
            msetnx,
            "1.0.1",
            "Sets several keys if none exists.",
        )
    },
];

/// A row of a command on the string under its first argument.
pub(super) const fn row(
    name: (&'static str, i32),
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    one_key("string", name, flags, handler, since, summary)
}

fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let found = find(ctx.shards, ctx.client, &key, ctx.now)?;
    answer(&mut ctx.reply, found.map(|found| found.string));
    Ok(())
}

fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    if args.len() == 3 {
        ctx.apply(&key, Change::Put { value: args.at(2), meta: Meta::default() })?;
        ctx.reply.ok();
        return Ok(());
    }
    let options = Options::of_set(args.from(3))?;
    let said = options.deadline(ctx.now, "set")?;
    let found = entry(ctx.shards, ctx.client, &key, ctx.now);
    if options.get {
        let string = match found {
            Some(entry) => Some(entry.string().ok_or(Failure::WRONG_TYPE)?),
            None => None,
        };
        answer(&mut ctx.reply, string);
    }
    if !options.condition.holds(found)? {
        if !options.get {
            ctx.reply.null();
        }
        return Ok(());
    }
    let kept = found.and_then(|entry| entry.deadline());
    let deadline = if options.lifetime == Lifetime::Keep { kept } else { said };
    put(ctx, &key, args.at(2), deadline)?;
    if !options.get {
        ctx.reply.ok();
    }
    Ok(())
}

fn setnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let absent = entry(ctx.shards, ctx.client, &key, ctx.now).is_none();
    if absent {
        put(ctx, &key, args.at(2), None)?;
    }
    ctx.reply.int(i64::from(absent));
    Ok(())
}

fn setex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    set_for(ctx, args, Clock::Seconds, "setex")
}

fn psetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    set_for(ctx, args, Clock::Millis, "psetex")
}

fn set_for(ctx: &mut Ctx<'_>, args: Args<'_>, clock: Clock, name: &str) -> Outcome {
    let key = ctx.key(args.at(1));
    let deadline = expiry::positive(clock, args.at(2), ctx.now, name)?;
    put(ctx, &key, args.at(3), Some(deadline))?;
    ctx.reply.ok();
    Ok(())
}

fn getset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    get(ctx, args)?;
    let key = ctx.key(args.at(1));
    put(ctx, &key, args.at(2), None)
}

fn getex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let options = Options::of_getex(args.from(2))?;
    let key = ctx.key(args.at(1));
    let Some(found) = find(ctx.shards, ctx.client, &key, ctx.now)? else {
        ctx.reply.null();
        return Ok(());
    };
    let ends = found.entry.deadline().is_some();
    answer(&mut ctx.reply, Some(found.string));
    match options.deadline(ctx.now, "getex")? {
        Some(at) => expiry::arm(ctx, &key, at),
        None if options.lifetime == Lifetime::Endless && ends => {
            ctx.apply(&key, Change::Deadline { at: None, slide: false }).map(|_| ())
        }
        None => Ok(()),
    }
}

fn getdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    get(ctx, args)?;
    let key = ctx.key(args.at(1));
    ctx.apply(&key, Change::Remove(Cause::Deleted))?;
    Ok(())
}

fn append(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let bytes = args.at(2);
    let at = find(ctx.shards, ctx.client, &key, ctx.now)?.map_or(0, |found| found.string.len());
    if at + bytes.len() > VALUE_MAX {
        return Err(TOO_LONG);
    }
    let applied = ctx.apply(&key, Change::Splice { at, bytes })?;
    ctx.reply.int(applied.len as i64);
    Ok(())
}

fn strlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let found = find(ctx.shards, ctx.client, &key, ctx.now)?;
    ctx.reply.int(found.map_or(0, |found| found.string.len() as i64));
    Ok(())
}

fn setrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let at = parse_i64(args.at(2)).ok_or(Failure::NOT_AN_INTEGER)?;
    let Ok(at) = usize::try_from(at) else {
        return Err(Failure::text("ERR offset is out of range"));
    };
    let key = ctx.key(args.at(1));
    let bytes = args.at(3);
    let found = find(ctx.shards, ctx.client, &key, ctx.now)?;
    if bytes.is_empty() {
        ctx.reply.int(found.map_or(0, |found| found.string.len() as i64));
        return Ok(());
    }
    if at.checked_add(bytes.len()).is_none_or(|len| len > VALUE_MAX) {
        return Err(TOO_LONG);
    }
    let applied = ctx.apply(&key, Change::Splice { at, bytes })?;
    ctx.reply.int(applied.len as i64);
    Ok(())
}

fn getrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let start = parse_i64(args.at(2)).ok_or(Failure::NOT_AN_INTEGER)?;
    let end = parse_i64(args.at(3)).ok_or(Failure::NOT_AN_INTEGER)?;
    let key = ctx.key(args.at(1));
    match find(ctx.shards, ctx.client, &key, ctx.now)? {
        Some(Found { string, .. }) => {
            let range = slice(string.len(), start, end);
            ctx.reply.bulk_with(range.len(), |out| string.read(range.clone(), out));
        }
        None => ctx.reply.bulk(b""),
    }
    Ok(())
}

fn mget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    ctx.reply.array(args.len() - 1);
    for name in args.from(1).iter() {
        ctx.reply_fits()?;
        let key = ctx.key(name);
        let found = entry(ctx.shards, ctx.client, &key, ctx.now);
        answer(&mut ctx.reply, found.and_then(|entry| entry.string()));
    }
    Ok(())
}

fn mset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    for (name, value) in pairs(args, "mset")? {
        let key = ctx.key(name);
        put(ctx, &key, value, None)?;
    }
    ctx.reply.ok();
    Ok(())
}

fn msetnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    for (name, _) in pairs(args, "msetnx")? {
        let key = ctx.key(name);
        if ctx.peek(&key).is_some() {
            ctx.reply.int(0);
            return Ok(());
        }
    }
    for (done, (name, value)) in pairs(args, "msetnx")?.enumerate() {
        let key = ctx.key(name);
        if let Err(failure) = put(ctx, &key, value, None) {
            // The command is run again: what it stored must not stand in its own way.
            for (name, _) in pairs(args, "msetnx")?.take(done) {
                let key = ctx.key(name);
                ctx.apply(&key, Change::Remove(Cause::Deleted))?;
            }
            return Err(failure);
        }
    }
    ctx.reply.int(1);
    Ok(())
}

/// What SET and GETEX were told beside key and value.
#[derive(Clone, Copy, Debug)]
struct Options<'a> {
    condition: Condition<'a>,
    get: bool,
    lifetime: Lifetime<'a>,
}

/// How long the value is to live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lifetime<'a> {
    /// Nothing was said.
    Unsaid,
    /// As long as the one before (KEEPTTL).
    Keep,
    /// For ever (PERSIST).
    Endless,
    /// Until the time that the argument means.
    Until(Clock, &'a [u8]),
}

impl<'a> Options<'a> {
    const NONE: Self =
        Self { condition: Condition::Always, get: false, lifetime: Lifetime::Unsaid };

    fn of_set(args: Args<'a>) -> Result<Self, Failure> {
        let mut options = Self::NONE;
        let mut i = 0;
        while let Some(option) = args.get(i) {
            i += 1;
            let free = |wanted: Condition<'_>| {
                options.condition == Condition::Always || options.condition == wanted
            };
            if is(option, "NX") && free(Condition::Absent) {
                options.condition = Condition::Absent;
            } else if is(option, "XX") && free(Condition::Present) {
                options.condition = Condition::Present;
            } else if is(option, "GET") {
                options.get = true;
            } else if is(option, "KEEPTTL")
                && matches!(options.lifetime, Lifetime::Unsaid | Lifetime::Keep)
            {
                options.lifetime = Lifetime::Keep;
            } else if is(option, "IFEQ") && options.condition == Condition::Always {
                options.condition = Condition::Equals(args.get(i).ok_or(Failure::SYNTAX)?);
                i += 1;
            } else {
                options.until(option, args.get(i))?;
                i += 1;
            }
        }
        Ok(options)
    }

    fn of_getex(args: Args<'a>) -> Result<Self, Failure> {
        let mut options = Self::NONE;
        let mut i = 0;
        while let Some(option) = args.get(i) {
            i += 1;
            if is(option, "PERSIST")
                && matches!(options.lifetime, Lifetime::Unsaid | Lifetime::Endless)
            {
                options.lifetime = Lifetime::Endless;
            } else {
                options.until(option, args.get(i))?;
                i += 1;
            }
        }
        Ok(options)
    }

    /// Takes EX, PX, EXAT or PXAT; the same one again overrides itself, as in Redis.
    fn until(&mut self, option: &[u8], argument: Option<&'a [u8]>) -> Outcome {
        let clock = Clock::of_option(option).ok_or(Failure::SYNTAX)?;
        let argument = argument.ok_or(Failure::SYNTAX)?;
        match self.lifetime {
            Lifetime::Unsaid => {}
            Lifetime::Until(before, _) if before == clock => {}
            _ => return Err(Failure::SYNTAX),
        }
        self.lifetime = Lifetime::Until(clock, argument);
        Ok(())
    }

    fn deadline(&self, now: u64, name: &str) -> Result<Option<u64>, Failure> {
        match self.lifetime {
            Lifetime::Until(clock, argument) => {
                expiry::positive(clock, argument, now, name).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Stores a value; a deadline that has passed deletes the key.
fn put(ctx: &mut Ctx<'_>, key: &Key<'_>, value: &[u8], deadline: Option<u64>) -> Outcome {
    let change = match deadline {
        Some(at) if at <= ctx.now => Change::Remove(Cause::Deleted),
        _ => Change::Put { value, meta: Meta { deadline, ..Meta::default() } },
    };
    ctx.apply(key, change).map(|_| ())
}

#[inline]
fn answer(reply: &mut Reply<'_>, string: Option<StringView<'_>>) {
    match string {
        Some(string) => {
            reply.bulk_with(string.len(), |out| string.read(0..string.len(), out));
        }
        None => reply.null(),
    }
}

/// Keys and values of MSET.
fn pairs<'a>(
    args: Args<'a>,
    name: &str,
) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])>, Failure> {
    if args.len().is_multiple_of(2) {
        return Err(Failure::arity(name));
    }
    Ok((1..args.len()).step_by(2).map(move |i| (args.at(i), args.at(i + 1))))
}

/// The bytes from `start` to `end`, both included; negative ones count from the end.
fn slice(len: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let len = len as i64;
    let from_start = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

#[cfg(test)]
mod tests;
