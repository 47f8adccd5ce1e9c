//! DUMP and RESTORE: a value as bytes that Redis reads, and back.
//!
//! What always holds: a payload is checked from its first byte to its last before anything of it is
//! stored. What stands beside a value isn't in its payload: deadline, flags, a session's user and
//! idle time.
//! Not for: the format, which the host knows.

use super::support::{is, one_key};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::strings::entry;
use crate::row::{Flags, Outcome, Row};
use engine::{Cause, Change, Meta, OwnedItem};
use protocol::args::Args;
use protocol::resp::parse_i64;

const BUSY_KEY: Failure = Failure::text("BUSYKEY Target key name already exists.");
const BAD_TTL: Failure = Failure::text("ERR Invalid TTL value, must be >= 0");
const BAD_IDLE: Failure = Failure::text("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQUENCY: Failure = Failure::text("ERR Invalid FREQ value, must be >= 0 and <= 255");

/// The family's rows.
pub const ROWS: &[Row] = &[
    one_key(
        "generic",
        ("DUMP key", 2),
        Flags::READONLY,
        dump,
        "2.6.0",
        "Returns a value as bytes for RESTORE.",
    ),
    one_key(
        "generic",
        (
            "RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] \
             [FREQ frequency]",
            -4,
        ),
        Flags::WRITE.and(Flags::DENYOOM),
        restore,
        "2.6.0",
        "Makes a key of what DUMP returned.",
    ),
];

fn dump(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    match entry(ctx.shards, ctx.client, &key, ctx.now).map(|entry| entry.to_owned_item()) {
        Some(item) => {
            let payload = ctx.host.dump(&item);
            ctx.reply.bulk(&payload);
        }
        None => ctx.reply.null(),
    }
    Ok(())
}

fn restore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let options = Options::of(args)?;
    let key = ctx.key(args.at(1));
    if !options.replace && ctx.peek(&key).is_some() {
        return Err(BUSY_KEY);
    }
    let ttl = parse_i64(args.at(2)).ok_or(Failure::NOT_AN_INTEGER)?;
    let ttl = u64::try_from(ttl).map_err(|_| BAD_TTL)?;
    let secret = ctx.shards.secret();
    let read = ctx.host.restore(args.at(3), &secret);
    let value = read.map_err(|what| Failure::made(format!("ERR {what}")))?;
    let deadline = match ttl {
        0 => None,
        at if options.absolute => Some(at),
        from_now => Some(ctx.now.saturating_add(from_now)),
    };
    if deadline.is_some_and(|at| i64::try_from(at).is_err()) {
        return Err(BAD_TTL);
    }
    if deadline.is_some_and(|at| at <= ctx.now) {
        ctx.apply(&key, Change::Remove(Cause::Deleted))?;
    } else {
        let meta = Meta { deadline, ..Meta::default() };
        let item = OwnedItem { value, meta, user: Vec::new() };
        if item.is_empty_hash() {
            return Err(Failure::text("ERR Bad data format: a hash without fields"));
        }
        ctx.apply(&key, Change::Install(&item))?;
    }
    ctx.reply.ok();
    Ok(())
}

/// What follows the payload. How much a key was used before is checked, and not kept.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
}

impl Options {
    fn of(args: Args<'_>) -> Result<Self, Failure> {
        let mut options = Self::default();
        let (mut idle, mut frequency) = (false, false);
        let mut i = 4;
        while let Some(option) = args.get(i) {
            let number = args.get(i + 1);
            if is(option, "REPLACE") {
                options.replace = true;
            } else if is(option, "ABSTTL") {
                options.absolute = true;
            } else if is(option, "IDLETIME")
                && let (Some(number), false) = (number, frequency)
            {
                let seconds = parse_i64(number).ok_or(Failure::NOT_AN_INTEGER)?;
                if seconds < 0 {
                    return Err(BAD_IDLE);
                }
                (idle, i) = (true, i + 1);
            } else if is(option, "FREQ")
                && let (Some(number), false) = (number, idle)
            {
                let uses = parse_i64(number).ok_or(Failure::NOT_AN_INTEGER)?;
                if !(0..=255).contains(&uses) {
                    return Err(BAD_FREQUENCY);
                }
                (frequency, i) = (true, i + 1);
            } else {
                return Err(Failure::SYNTAX);
            }
            i += 1;
        }
        Ok(options)
    }
}
