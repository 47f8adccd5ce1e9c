//! Hash fields that end: the commands that set, read and take away their deadlines.
//!
//! They all say which fields they are about as `FIELDS n field [field ...]`. Codes, conditions and
//! clocks are rules of [`ops::hashes`](crate::ops::hashes).
//! What always holds: the deadlines of one command are applied by one effect, all or none.

use super::hashes::row;
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::expiry::{Clock, When};
use crate::ops::hashes::{Code, Draft, find};
use crate::row::{Flags, Outcome, Row};
use engine::Change;
use engine::hash::{FieldDeadline, FieldEdit};
use protocol::args::Args;
use protocol::resp::{Reply, parse_i64};

#[cfg(test)]
mod tests;

const WRITE: Flags = Flags::WRITE.and(Flags::FAST);
const GROW: Flags = WRITE.and(Flags::DENYOOM);
const READ: Flags = Flags::READONLY.and(Flags::FAST);

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(
        "HEXPIRE key seconds [NX|XX|GT|LT] FIELDS numfields field...",
        -6,
        GROW,
        hexpire,
        "7.4.0",
        "Lets fields of a hash end after some seconds.",
    ),
    row(
        "HPEXPIRE key milliseconds [NX|XX|GT|LT] FIELDS numfields field...",
        -6,
        GROW,
        hpexpire,
        "7.4.0",
        "Lets fields end after some milliseconds.",
    ),
    row(
        "HEXPIREAT key unix-time-seconds [NX|XX|GT|LT] FIELDS numfields field...",
        -6,
        GROW,
        hexpireat,
        "7.4.0",
        "Lets fields of a hash end at a Unix time.",
    ),
    row(
        "HPEXPIREAT key unix-time-milliseconds [NX|XX|GT|LT] FIELDS numfields \
         field...",
        -6,
        GROW,
        hpexpireat,
        "7.4.0",
        "Lets fields end at a Unix time in ms.",
    ),
    row(
        "HPERSIST key FIELDS numfields field...",
        -5,
        WRITE,
        hpersist,
        "7.4.0",
        "Takes the deadlines of fields away.",
    ),
    row(
        "HTTL key FIELDS numfields field...",
        -5,
        READ,
        httl,
        "7.4.0",
        "Returns the seconds that fields have left.",
    ),
    row(
        "HPTTL key FIELDS numfields field...",
        -5,
        READ,
        hpttl,
        "7.4.0",
        "Returns the milliseconds that fields have left.",
    ),
    row(
        "HEXPIRETIME key FIELDS numfields field...",
        -5,
        READ,
        hexpiretime,
        "7.4.0",
        "Returns the Unix times when fields end.",
    ),
    row(
        "HPEXPIRETIME key FIELDS numfields field...",
        -5,
        READ,
        hpexpiretime,
        "7.4.0",
        "Returns when fields end, in Unix ms.",
    ),
    row(
        "HGETDEL key FIELDS numfields field...",
        -5,
        WRITE,
        hgetdel,
        "8.0.0",
        "Returns the values of fields and deletes them.",
    ),
    row(
        "HGETEX key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT \
         unix-time-milliseconds|PERSIST] FIELDS numfields field...",
        -5,
        WRITE,
        hgetex,
        "8.0.0",
        "Returns values of fields and sets their deadlines.",
    ),
    row(
        "HSETEX key [FNX|FXX] [EX seconds|PX milliseconds|EXAT \
         unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL] FIELDS numfields \
         <field value>...",
        -6,
        GROW,
        hsetex,
        "8.0.0",
        "Sets fields together with their deadlines.",
    ),
];

fn hexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    expire(ctx, args, Clock::Seconds, "hexpire")
}

fn hpexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    expire(ctx, args, Clock::Millis, "hpexpire")
}

fn hexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    expire(ctx, args, Clock::UnixSeconds, "hexpireat")
}

fn hpexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    expire(ctx, args, Clock::UnixMillis, "hpexpireat")
}

/// `key time [NX | XX | GT | LT] FIELDS n field [field ...]`
fn expire(ctx: &mut Ctx<'_>, args: Args<'_>, clock: Clock, name: &str) -> Outcome {
    let now = ctx.now;
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, now)?;
    let at = clock.deadline(args.at(2), now, name)?;
    let when = When::of_option(args.at(3));
    let list = args.from(if when.is_some() { 4 } else { 3 });
    let fields = named(list, "ERR Parameter `numFields` should be greater than 0")?;
    let mut draft = Draft::new(hash, fields.len(), now);
    ctx.reply.array(fields.len());
    for field in fields.iter() {
        let code = draft.expire(field, at, when.unwrap_or(When::Always));
        ctx.reply.int(code as i64);
    }
    let edits = draft.into_edits();
    apply(ctx, args, &edits)
}

fn hpersist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.now;
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, now)?;
    let fields = named(args.from(2), FIELDS_NOT_POSITIVE)?;
    let mut draft = Draft::new(hash, fields.len(), now);
    ctx.reply.array(fields.len());
    for field in fields.iter() {
        ctx.reply.int(draft.persist(field) as i64);
    }
    let edits = draft.into_edits();
    apply(ctx, args, &edits)
}

fn httl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    // A field that has any time left has a second left, not none.
    deadlines(ctx, args, |at, now| at.saturating_sub(now).div_ceil(1000))
}

fn hpttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    deadlines(ctx, args, |at, now| at.saturating_sub(now))
}

fn hexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    deadlines(ctx, args, |at, _| at.div_ceil(1000))
}

fn hpexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    deadlines(ctx, args, |at, _| at)
}

/// `key FIELDS n field [field ...]`, answered by what `shown` makes of deadline and time.
fn deadlines(ctx: &mut Ctx<'_>, args: Args<'_>, shown: fn(u64, u64) -> u64) -> Outcome {
    let now = ctx.now;
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, now)?;
    let fields = named(args.from(2), FIELDS_NOT_POSITIVE)?;
    ctx.reply.array(fields.len());
    for name in fields.iter() {
        let field = hash.and_then(|hash| hash.get(name, now));
        ctx.reply.int(match field.map(|field| field.deadline) {
            None => Code::Missing as i64,
            Some(None) => Code::Endless as i64,
            Some(Some(at)) => i64::try_from(shown(at, now)).unwrap_or(i64::MAX),
        });
    }
    Ok(())
}

fn hgetdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.now;
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, now)?;
    let fields = named(args.from(2), FIELDS_NOT_POSITIVE)?;
    let mut draft = Draft::new(hash, fields.len(), now);
    ctx.reply.array(fields.len());
    for field in fields.iter() {
        value(&mut ctx.reply, &draft, field);
        draft.delete(field);
    }
    let edits = draft.into_edits();
    apply(ctx, args, &edits)
}

/// `key [EX s | PX ms | EXAT unix-s | PXAT unix-ms | PERSIST] FIELDS n field [field ...]`
fn hgetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.now;
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, now)?;
    let clock = Clock::of_option(args.at(2));
    let persist = args.at(2).eq_ignore_ascii_case(b"PERSIST");
    let list = match (clock, persist) {
        (Some(_), _) => args.from(4),
        (None, true) => args.from(3),
        (None, false) => args.from(2),
    };
    let fields = named(list, FIELDS_NOT_POSITIVE)?;
    let at = match clock {
        Some(clock) => Some(clock.deadline(args.at(3), now, "hgetex")?),
        None => None,
    };
    let mut draft = Draft::new(hash, fields.len(), now);
    ctx.reply.array(fields.len());
    for field in fields.iter() {
        value(&mut ctx.reply, &draft, field);
        if let Some(at) = at {
            draft.expire(field, at, When::Always);
        } else if persist {
            draft.persist(field);
        }
    }
    let edits = draft.into_edits();
    apply(ctx, args, &edits)
}

fn hsetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.now;
    let asked = SetEx::parse(args, now)?;
    let key = ctx.key(args.at(1));
    let hash = find(&mut *ctx.shards, ctx.client, &key, now)?;
    let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.get(name, now).is_some());
    let pairs = asked.pairs;
    let names = || pairs.iter().step_by(2);
    let holds = match asked.condition {
        Condition::None => true,
        Condition::AllMissing => !names().any(is_there),
        Condition::AllThere => names().all(is_there),
    };
    let edits: Vec<FieldEdit<'_>> = names()
        .zip(pairs.iter().skip(1).step_by(2))
        .map(|(field, value)| match asked.deadline {
            FieldDeadline::At(at) if at <= now => FieldEdit::Delete { field },
            deadline => FieldEdit::Set { field, value, deadline },
        })
        .collect();
    ctx.reply.int(i64::from(holds));
    if holds { apply(ctx, args, &edits) } else { Ok(()) }
}

/// What HSETEX makes its work depend on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    None,
    /// FNX
    AllMissing,
    /// FXX
    AllThere,
}

/// A request of HSETEX.
struct SetEx<'a> {
    condition: Condition,
    deadline: FieldDeadline,
    /// Fields and values in turn.
    pairs: Args<'a>,
}

impl<'a> SetEx<'a> {
    /// `key [FNX | FXX] [EX s | PX ms | EXAT unix-s | PXAT unix-ms | KEEPTTL] FIELDS n field
    /// value [field value ...]`, options in any order.
    fn parse(args: Args<'a>, now: u64) -> Result<Self, Failure> {
        let (mut condition, mut keep, mut time) = (Condition::None, false, None);
        let mut at = 2;
        loop {
            let option = args.get(at).ok_or_else(|| Failure::arity("hsetex"))?;
            let clock = Clock::of_option(option);
            let is_keep = option.eq_ignore_ascii_case(b"KEEPTTL");
            let asked = match () {
                () if option.eq_ignore_ascii_case(b"FNX") => Some(Condition::AllMissing),
                () if option.eq_ignore_ascii_case(b"FXX") => Some(Condition::AllThere),
                () => None,
            };
            if option.eq_ignore_ascii_case(b"FIELDS") {
                break;
            } else if let Some(asked) = asked {
                if condition != Condition::None {
                    return Err(Failure::text(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                condition = asked;
            } else if is_keep || clock.is_some() {
                if keep || time.is_some() {
                    return Err(Failure::text(
                        "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
                    ));
                }
                keep = is_keep;
                if let Some(clock) = clock {
                    at += 1;
                    let given = args.get(at).ok_or(Failure::text("ERR missing expire time"))?;
                    time = Some((clock, given));
                }
            } else {
                let option = String::from_utf8_lossy(option.get(..NAMED_MAX).unwrap_or(option));
                return Err(Failure::made(format!("ERR unknown argument: {option}")));
            }
            at += 1;
        }
        let pairs = Self::pairs(args.from(at))?;
        let deadline = match time {
            Some((clock, given)) => FieldDeadline::At(clock.deadline(given, now, "hsetex")?),
            None if keep => FieldDeadline::Keep,
            None => FieldDeadline::Clear,
        };
        Ok(Self { condition, deadline, pairs })
    }

    /// `FIELDS n field value [field value ...]`
    fn pairs(list: Args<'a>) -> Result<Args<'a>, Failure> {
        let count = list.get(1).ok_or_else(|| Failure::arity("hsetex"))?;
        let count = match parse_i64(count).map(usize::try_from) {
            Some(Ok(count)) if count > 0 => count,
            _ => return Err(Failure::text("ERR invalid number of fields")),
        };
        let pairs = list.from(2);
        if count.checked_mul(2) != Some(pairs.len()) {
            return Err(Failure::arity("hsetex"));
        }
        Ok(pairs)
    }
}

/// Bytes of an unknown option that its error repeats.
const NAMED_MAX: usize = 128;
const FIELDS_NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// The fields of `FIELDS n field [field ...]`, which must be all of `list`. If `n` isn't a number
/// above 0, the error is `not_positive`.
fn named<'a>(list: Args<'a>, not_positive: &'static str) -> Result<Args<'a>, Failure> {
    if !list.at(0).eq_ignore_ascii_case(b"FIELDS") {
        return Err(Failure::text(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = match parse_i64(list.at(1)).map(usize::try_from) {
        Some(Ok(count)) if count > 0 => count,
        _ => return Err(Failure::text(not_positive)),
    };
    let fields = list.from(2);
    if fields.len() != count {
        return Err(Failure::text(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(fields)
}

/// Answers a field's value, or nothing.
fn value(reply: &mut Reply<'_>, draft: &Draft<'_, '_>, field: &[u8]) {
    match draft.value(field) {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

/// Applies edits of the command's key, if there are any.
fn apply(ctx: &mut Ctx<'_>, args: Args<'_>, edits: &[FieldEdit<'_>]) -> Outcome {
    if !edits.is_empty() {
        let key = ctx.key(args.at(1));
        ctx.apply(&key, Change::Fields(edits))?;
    }
    Ok(())
}
