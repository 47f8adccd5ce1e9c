//! Hashes: fields and their values. Deadlines of fields are in [`super::hash_fields`].
//!
//! What always holds: no reply shows or counts a field that is due; one command is one effect.

use super::support::one_key;
use crate::context::Ctx;
use crate::failure::Failure;
use crate::limits::{RANDOM_PICKS_MAX, RANDOM_REPLY_BYTES_MAX, REPLY_BYTES_MAX};
use crate::ops::glob;
use crate::ops::hashes::{add, add_float, find};
use crate::row::{Flags, Handler, Outcome, Row};
use engine::hash::{Field, FieldDeadline, FieldEdit, HashView};
use engine::{Change, Rng};
use protocol::args::Args;
use protocol::resp::{Reply, RespVersion, parse_i64, parse_u64};
use smallvec::SmallVec;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

const WRITE: Flags = Flags::WRITE.and(Flags::FAST);
const GROW: Flags = WRITE.and(Flags::DENYOOM);
const READ: Flags = Flags::READONLY.and(Flags::FAST);
const WALK: Flags = Flags::READONLY;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(
        "HSET key <field value>...",
        -4,
        GROW,
        hset,
        "2.0.0",
        "Sets fields of a hash, which is made if missing.",
    ),
    row(
        "HMSET key <field value>...",
        -4,
        GROW,
        hmset,
        "2.0.0",
        "Sets fields of a hash; HSET under its old name.",
    ),
    row(
        "HSETNX key field value",
        4,
        GROW,
        hsetnx,
        "2.0.0",
        "Sets a field of a hash unless it is there.",
    ),
    row("HGET key field", 3, READ, hget, "2.0.0", "Returns the value of a field."),
    row("HMGET key field...", -3, READ, hmget, "2.0.0", "Returns the values of several fields."),
    row("HGETALL key", 2, WALK, hgetall, "2.0.0", "Returns all fields of a hash and their values."),
    row("HKEYS key", 2, WALK, hkeys, "2.0.0", "Returns the names of all fields of a hash."),
    row("HVALS key", 2, WALK, hvals, "2.0.0", "Returns the values of all fields of a hash."),
    row("HLEN key", 2, READ, hlen, "2.0.0", "Returns the number of fields of a hash."),
    row(
        "HSTRLEN key field",
        3,
        READ,
        hstrlen,
        "3.2.0",
        "Returns the length of the value of a field.",
    ),
    row(
        "HDEL key field...",
        -3,
        WRITE,
        hdel,
        "2.0.0",
        "Deletes fields; a hash without any is deleted too.",
    ),
    row("HEXISTS key field", 3, READ, hexists, "2.0.0", "Tells whether a hash has a field."),
    row(
        "HINCRBY key field increment",
        4,
        GROW,
        hincrby,
        "2.0.0",
        "Adds to the integer in a field.",
    ),
    row(
        "HINCRBYFLOAT key field increment:double",
        4,
        GROW,
        hincrbyfloat,
        "2.6.0",
        "Adds to the number in a field.",
    ),
    row(
        "HRANDFIELD key [count [WITHVALUES]]",
        -2,
        WALK,
        hrandfield,
        "6.2.0",
        "Returns random fields of a hash.",
    ),
    row(
        "HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        -3,
        WALK,
        hscan,
        "2.8.0",
        "Walks over the fields of a hash step by step.",
    ),
];

/// A row of a command on the hash under its first argument.
pub(super) const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    one_key("hash", (name, arity), flags, handler, since, summary)
}

type Edits<'a> = SmallVec<[FieldEdit<'a>; 8]>;

fn hset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let added = set(ctx, args, "hset")?;
    ctx.reply.int(added as i64);
    Ok(())
}

fn hmset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    set(ctx, args, "hmset")?;
    ctx.reply.ok();
    Ok(())
}

/// Sets the pairs after the key; how many fields are new.
fn set(ctx: &mut Ctx<'_>, args: Args<'_>, name: &str) -> Result<usize, Failure> {
    if !args.len().is_multiple_of(2) {
        return Err(Failure::arity(name));
    }
    let key = ctx.key(args.at(1));
    find(&mut *ctx.shards, ctx.client, &key, ctx.now)?;
    let deadline = FieldDeadline::Clear;
    let edits: Edits<'_> = (2..args.len())
        .step_by(2)
        .map(|i| FieldEdit::Set { field: args.at(i), value: args.at(i + 1), deadline })
        .collect();
    Ok(ctx.apply(&key, Change::Fields(&edits))?.added)
}

fn hsetnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let (field, value) = (args.at(2), args.at(3));
    if read(ctx, args)?.is_some() {
        ctx.reply.int(0);
        return Ok(());
    }
    let key = ctx.key(args.at(1));
    let edit = FieldEdit::Set { field, value, deadline: FieldDeadline::Clear };
    ctx.apply(&key, Change::Fields(&[edit]))?;
    ctx.reply.int(1);
    Ok(())
}

fn hget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, ctx.now)?;
    value(&mut ctx.reply, hash.and_then(|hash| hash.get(args.at(2), ctx.now)));
    Ok(())
}

fn hmget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, ctx.now)?;
    let names = args.from(2);
    ctx.reply.array(names.len());
    for name in names.iter() {
        if ctx.reply.len() > REPLY_BYTES_MAX {
            return Err(Failure::REPLY_TOO_LARGE);
        }
        value(&mut ctx.reply, hash.and_then(|hash| hash.get(name, ctx.now)));
    }
    Ok(())
}

fn value(reply: &mut Reply<'_>, field: Option<Field<'_>>) {
    match field {
        Some(field) => reply.bulk(field.value),
        None => reply.null(),
    }
}

fn hgetall(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, ctx.now)?;
    ctx.reply.map(hash.map_or(0, |hash| hash.live_len(ctx.now)));
    for field in hash.iter().flat_map(|hash| hash.iter(ctx.now)) {
        ctx.reply.bulk(field.name);
        ctx.reply.bulk(field.value);
    }
    Ok(())
}

fn hkeys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    each(ctx, args, |field| field.name)
}

fn hvals(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    each(ctx, args, |field| field.value)
}

/// Answers one part of every field.
fn each(ctx: &mut Ctx<'_>, args: Args<'_>, part: fn(Field<'_>) -> &[u8]) -> Outcome {
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, ctx.now)?;
    ctx.reply.array(hash.map_or(0, |hash| hash.live_len(ctx.now)));
    for field in hash.iter().flat_map(|hash| hash.iter(ctx.now)) {
        ctx.reply.bulk(part(field));
    }
    Ok(())
}

fn hlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, ctx.now)?;
    ctx.reply.int(hash.map_or(0, |hash| hash.live_len(ctx.now)) as i64);
    Ok(())
}

fn hstrlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let length = read(ctx, args)?.map_or(0, |field| field.value.len());
    ctx.reply.int(length as i64);
    Ok(())
}

fn hexists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let found = read(ctx, args)?.is_some();
    ctx.reply.int(i64::from(found));
    Ok(())
}

/// The field that key and name, the first two arguments, stand for.
fn read<'c>(ctx: &'c mut Ctx<'_>, args: Args<'_>) -> Result<Option<Field<'c>>, Failure> {
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, ctx.now)?;
    Ok(hash.and_then(|hash| hash.get(args.at(2), ctx.now)))
}

fn hdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let found = find(&mut *ctx.shards, ctx.client, &key, ctx.now)?.is_some();
    let mut removed = 0;
    if found {
        let edits: Edits<'_> =
            args.from(2).iter().map(|field| FieldEdit::Delete { field }).collect();
        removed = ctx.apply(&key, Change::Fields(&edits))?.removed;
    }
    ctx.reply.int(removed as i64);
    Ok(())
}

fn hincrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let by = parse_i64(args.at(3)).ok_or(Failure::NOT_AN_INTEGER)?;
    let sum = add(read(ctx, args)?.map(|field| field.value), by)?;
    let mut digits = itoa::Buffer::new();
    overwrite(ctx, args, digits.format(sum).as_bytes())?;
    ctx.reply.int(sum);
    Ok(())
}

fn hincrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let by = args.at(3);
    let sum = add_float(by, || Ok(read(ctx, args)?.map(|field| field.value.to_vec())))?;
    overwrite(ctx, args, sum.as_bytes())?;
    ctx.reply.bulk(sum.as_bytes());
    Ok(())
}

/// Stores another value in the field of the first two arguments; a deadline that it has stays.
fn overwrite(ctx: &mut Ctx<'_>, args: Args<'_>, value: &[u8]) -> Outcome {
    let key = ctx.key(args.at(1));
    let edit = FieldEdit::Set { field: args.at(2), value, deadline: FieldDeadline::Keep };
    ctx.apply(&key, Change::Fields(&[edit]))?;
    Ok(())
}

/// `key [count [WITHVALUES]]`; a count below 0 may answer a field more than once.
fn hrandfield(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let count = match args.get(2) {
        Some(count) => Some(parse_i64(count).ok_or(Failure::NOT_AN_INTEGER)?),
        None => None,
    };
    let with_values = args.len() > 3;
    if let Some(count) = count {
        check_count(count, args)?;
    }
    let mut random = Rng::new(seed(ctx));
    let mut below = |bound| random.below(bound);
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, ctx.now)?;
    let (reply, now) = (&mut ctx.reply, ctx.now);
    match (count, hash.filter(|hash| !hash.is_over(now))) {
        (None, None) => reply.null(),
        (Some(_), None) => reply.array(0),
        (None, Some(hash)) => match hash.random_one(now, &mut below) {
            Some(field) => reply.bulk(field.name),
            None => reply.null(),
        },
        (Some(count @ 0..), Some(hash)) => {
            let fields = hash.random_distinct(count as usize, now, &mut below);
            picks(reply, fields.len(), with_values);
            fields.into_iter().for_each(|field| pick(reply, field, with_values));
        }
        (Some(count), Some(hash)) => {
            let wanted = count.unsigned_abs();
            if wanted > RANDOM_PICKS_MAX {
                return Err(OUT_OF_RANGE);
            }
            return repeated(reply, hash, wanted, now, &mut below, with_values);
        }
    }
    Ok(())
}

const OUT_OF_RANGE: Failure = Failure::text("ERR value is out of range");

fn check_count(count: i64, args: Args<'_>) -> Outcome {
    if count == i64::MIN {
        return Err(Failure::text(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ));
    }
    match args.get(3) {
        None => Ok(()),
        Some(option) if args.len() > 4 || !option.eq_ignore_ascii_case(b"WITHVALUES") => {
            Err(Failure::SYNTAX)
        }
        // Twice as many elements have to be countable.
        Some(_) if count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 => Err(OUT_OF_RANGE),
        Some(_) => Ok(()),
    }
}

/// Answers `wanted` picks, of which some may be of the same field.
fn repeated(
    reply: &mut Reply<'_>,
    hash: HashView<'_>,
    wanted: u64,
    now: u64,
    below: &mut dyn FnMut(u64) -> u64,
    with_values: bool,
) -> Outcome {
    let most = reply.len().saturating_add(RANDOM_REPLY_BYTES_MAX);
    let mut fits = true;
    picks(reply, wanted as usize, with_values);
    hash.random_repeated(wanted, now, below, &mut |field| {
        pick(reply, field, with_values);
        fits = reply.len() <= most;
        fits
    });
    if fits { Ok(()) } else { Err(OUT_OF_RANGE) }
}

/// The head of a reply of `count` fields.
fn picks(reply: &mut Reply<'_>, count: usize, with_values: bool) {
    let flat = with_values && reply.version() == RespVersion::Two;
    reply.array(if flat { count * 2 } else { count });
}

/// One field of it.
fn pick(reply: &mut Reply<'_>, field: Field<'_>, with_values: bool) {
    if with_values && reply.version() == RespVersion::Three {
        reply.array(2);
    }
    reply.bulk(field.name);
    if with_values {
        reply.bulk(field.value);
    }
}

/// A seed that differs from command to command: time, client, and place in its replies.
fn seed(ctx: &Ctx<'_>) -> u64 {
    let place = ctx.reply.len() as u64;
    let mixed = ctx.now_us ^ ctx.client.id.rotate_left(44) ^ place.rotate_left(24);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// `key cursor [MATCH pattern] [COUNT n] [NOVALUES]`
fn hscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(2)).ok_or(Failure::text("ERR invalid cursor"))?;
    let key = ctx.key(args.at(1));
    let Some(hash) = find(&mut *ctx.shards, ctx.client, &key, ctx.now)? else {
        // As in Redis, options aren't looked at then.
        ctx.reply.array(2);
        ctx.reply.bulk(b"0");
        ctx.reply.array(0);
        return Ok(());
    };
    let asked = Scan::parse(args)?;
    let (next, mut fields) = hash.scan(cursor, asked.count, ctx.now);
    if let Some(pattern) = asked.pattern {
        fields.retain(|field| glob::matches(pattern, field.name));
    }
    ctx.reply.array(2);
    ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.reply.array(fields.len() * if asked.values { 2 } else { 1 });
    for field in fields {
        ctx.reply.bulk(field.name);
        if asked.values {
            ctx.reply.bulk(field.value);
        }
    }
    Ok(())
}

/// A cursor as Redis reads it, by `strtoul`: no digits are 0, zeros and a sign may come first.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let value = match digits.get(zeros..)? {
        [] if zeros > 0 => 0,
        digits => parse_u64(digits)?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// The options of HSCAN.
struct Scan<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    values: bool,
}

impl<'a> Scan<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Failure> {
        let mut asked = Self { pattern: None, count: 10, values: true };
        let mut at = 3;
        while let Some(option) = args.get(at) {
            let argument = args.get(at + 1);
            if option.eq_ignore_ascii_case(b"NOVALUES") {
                asked.values = false;
                at += 1;
                continue;
            }
            let argument = argument.ok_or(Failure::SYNTAX)?;
            if option.eq_ignore_ascii_case(b"COUNT") {
                let count = parse_i64(argument).ok_or(Failure::NOT_AN_INTEGER)?;
                asked.count = match usize::try_from(count) {
                    Ok(count) if count > 0 => count,
                    _ => return Err(Failure::SYNTAX),
                };
            } else if option.eq_ignore_ascii_case(b"MATCH") {
                asked.pattern = Some(argument).filter(|pattern| *pattern != b"*");
            } else {
                return Err(Failure::SYNTAX);
            }
            at += 2;
        }
        Ok(asked)
    }
}
