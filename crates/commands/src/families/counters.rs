//! Strings that hold numbers: INCR and its kin.
//!
//! What always holds: a counter keeps its deadline; a count that fails changes nothing.

use super::strings::row;
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::strings::{add, add_float, find};
use crate::row::{Flags, Outcome, Row};
use engine::{Change, Meta};
use protocol::args::Args;
use protocol::resp::parse_i64;

const COUNT: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(("INCR key", 2), COUNT, incr, "1.0.0", "Adds one to the integer in a string."),
    row(("DECR key", 2), COUNT, decr, "1.0.0", "Subtracts one from the integer in a string."),
    row(("INCRBY key increment", 3), COUNT, incrby, "1.0.0", "Adds to the integer in a string."),
    row(
        ("DECRBY key decrement", 3),
        COUNT,
        decrby,
        "1.0.0",
        "Subtracts from the integer in a string.",
    ),
    row(
        ("INCRBYFLOAT key increment:double", 3),
        COUNT,
        incrbyfloat,
        "2.6.0",
        "Adds to the number in a string.",
    ),
];

fn incr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    count(ctx, args, 1)
}

fn decr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    count(ctx, args, -1)
}

fn incrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let by = parse_i64(args.at(2)).ok_or(Failure::NOT_AN_INTEGER)?;
    count(ctx, args, by)
}

fn decrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let by = parse_i64(args.at(2)).ok_or(Failure::NOT_AN_INTEGER)?;
    let by = by.checked_neg().ok_or(Failure::text("ERR decrement would overflow"))?;
    count(ctx, args, by)
}

fn count(ctx: &mut Ctx<'_>, args: Args<'_>, by: i64) -> Outcome {
    let key = ctx.key(args.at(1));
    let found = find(ctx.shards, ctx.client, &key, ctx.now)?;
    let sum = add(found.as_ref().map(|found| &found.string), by)?;
    let meta = found.map_or_else(Meta::default, |found| found.kept_meta());
    let mut buffer = itoa::Buffer::new();
    ctx.apply(&key, Change::Put { value: buffer.format(sum).as_bytes(), meta })?;
    ctx.reply.int(sum);
    Ok(())
}

fn incrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let found = find(ctx.shards, ctx.client, &key, ctx.now)?;
    let current = found.map(|found| found.string.as_slice().unwrap_or_default());
    let sum = add_float(current, args.at(2))?;
    let meta = found.map_or_else(Meta::default, |found| found.kept_meta());
    ctx.apply(&key, Change::Put { value: sum.as_bytes(), meta })?;
    ctx.reply.bulk(sum.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn counters_count_and_refuse_what_is_no_number() {
        let mut store = Store::new();
        store.expect(&[
            ("INCR a", ":1\r\n"),
            ("INCRBY a 41", ":42\r\n"),
            ("DECR a", ":41\r\n"),
            ("DECRBY a 50", ":-9\r\n"),
            ("GET a", "$2\r\n-9\r\n"),
            ("SET b x", "+OK\r\n"),
            ("INCR b", "-ERR value is not an integer or out of range\r\n"),
            ("INCRBY a 1.5", "-ERR value is not an integer or out of range\r\n"),
            ("SET c 9223372036854775807", "+OK\r\n"),
            ("INCR c", "-ERR increment or decrement would overflow\r\n"),
            ("DECRBY c -9223372036854775808", "-ERR decrement would overflow\r\n"),
            ("INCRBYFLOAT d 10.50", "$4\r\n10.5\r\n"),
            ("INCRBYFLOAT d 0.1", "$4\r\n10.6\r\n"),
            ("INCRBYFLOAT d x", "-ERR value is not a valid float\r\n"),
            ("INCRBYFLOAT b 1", "-ERR value is not a valid float\r\n"),
            ("INCRBYFLOAT d inf", "-ERR increment would produce NaN or Infinity\r\n"),
            ("HSET h f v", ":1\r\n"),
            ("INCR h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ]);
    }

    #[test]
    fn a_counter_keeps_its_deadline() {
        let mut store = Store::new();
        store.expect(&[("SET a 5 PX 100", "+OK\r\n"), ("INCR a", ":6\r\n")]);
        store.now += 100;
        store.expect(&[("INCR a", ":1\r\n")]);
        store.now += 100_000;
        store.expect(&[("GET a", "$1\r\n1\r\n")]);
    }
}
