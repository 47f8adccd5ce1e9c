//! Databases as a whole: walking, counting, emptying, exchanging.
//!
//! What always holds: shards are taken one by one, and a long walk takes each again and again for
//! a bounded number of keys, so that nobody waits for its whole.
//! A cursor of SCAN is `position << 6 | shard`; 0 begins and ends.

use super::keys::{database, kind_name};
use super::support::{is, keyless as row};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::limits::{KEYS_PER_SLICE, SCAN_COUNT_MAX};
use crate::ops::glob;
use crate::row::{Flags, Outcome, Row};
use engine::{Effect, Rng};
use protocol::args::Args;
use protocol::resp::{parse_i64, parse_u64};

const READ: Flags = Flags::READONLY.and(Flags::WHOLE);
const WRITE: Flags = Flags::WRITE.and(Flags::WHOLE);

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(
        "generic",
        ("SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]", -2),
        READ,
        scan,
        "2.8.0",
        "Walks over the keys step by step.",
    ),
    row(
        "generic",
        ("KEYS pattern", 2),
        READ,
        keys,
        "1.0.0",
        "Returns all keys that fit a pattern.",
    ),
    row("generic", ("RANDOMKEY", 1), READ, random_key, "1.0.0", "Returns a random key."),
    row(
        "server",
        ("DBSIZE", 1),
        READ.and(Flags::FAST),
        size,
        "1.0.0",
        "Returns the number of keys.",
    ),
    row(
        "server",
        ("FLUSHDB [ASYNC|SYNC]", -1),
        WRITE.and(Flags::ALL_SHARDS),
        flush_db,
        "1.0.0",
        "Deletes all keys of a database.",
    ),
    row(
        "server",
        ("FLUSHALL [ASYNC|SYNC]", -1),
        WRITE.and(Flags::ALL_SHARDS),
        flush_all,
        "1.0.0",
        "Deletes all keys.",
    ),
    row(
        "server",
        ("SWAPDB index1 index2", 3),
        WRITE.and(Flags::FAST).and(Flags::ALL_SHARDS),
        swap,
        "4.0.0",
        "Exchanges two databases.",
    ),
];

/// Bits of a cursor that name the shard.
const SHARD_BITS: u32 = 6;

fn scan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(1)).ok_or(Failure::text("ERR invalid cursor"))?;
    let filter = Filter::parse(args)?;
    let (mut shard, mut position) =
        ((cursor & ((1 << SHARD_BITS) - 1)) as usize, (cursor >> SHARD_BITS) as u32);
    let mut left = filter.count;
    let mut found = Found::default();
    while left > 0 && shard < ctx.shards.count() {
        let slice = left.min(KEYS_PER_SLICE);
        let (seen, next) = found.collect(ctx, (shard, position), slice, &filter);
        left = left.saturating_sub(seen.max(1));
        match next {
            Some(next) => position = next,
            None => (shard, position) = (shard + 1, 0),
        }
    }
    let next = if shard < ctx.shards.count() {
        u64::from(position) << SHARD_BITS | shard as u64
    } else {
        0
    };
    ctx.reply.array(2);
    ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.reply.array(found.ends.len());
    found.each(|key| ctx.reply.bulk(key));
    Ok(())
}

fn keys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let filter = Filter { pattern: Some(args.at(1)), kind: None, count: usize::MAX };
    let array = ctx.reply.deferred_array();
    let mut total = 0;
    for shard in 0..ctx.shards.count() {
        let mut position = Some(0);
        while let Some(from) = position {
            let mut found = Found::default();
            position = found.collect(ctx, (shard, from), KEYS_PER_SLICE, &filter).1;
            found.each(|key| ctx.reply.bulk(key));
            total += found.ends.len();
        }
    }
    ctx.reply.close_array(array, total);
    Ok(())
}

fn random_key(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let (db, now) = (ctx.db(), ctx.now);
    let mut picked = Vec::new();
    let mut seed = ctx.now_us;
    for number in 0..ctx.shards.count() {
        let shard = ctx.shards.shard(number);
        let keys = shard.len(db);
        if let Some(key) = shard.random_key(db, now) {
            // What the shards picked is the chance that the choice among them needs.
            seed = seed.wrapping_mul(31) ^ shard.secret().hash(&key).0;
            picked.push((keys, key));
        }
    }
    let total = picked.iter().map(|(keys, _)| keys).sum();
    let mut rank = Rng::new(seed).below(total);
    for (keys, key) in &picked {
        if rank < *keys {
            ctx.reply.bulk(key);
            return Ok(());
        }
        rank -= keys;
    }
    ctx.reply.null();
    Ok(())
}

fn size(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let db = ctx.db();
    let keys: u64 = (0..ctx.shards.count()).map(|number| ctx.shards.shard(number).len(db)).sum();
    ctx.reply.int(keys as i64);
    Ok(())
}

fn flush_db(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let db = ctx.db();
    flush(ctx, args, db..db + 1)
}

fn flush_all(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let databases = ctx.shards.databases();
    flush(ctx, args, 0..databases)
}

/// Detaches the databases; their memory is freed bit by bit, whether ASYNC was said or SYNC.
fn flush(ctx: &mut Ctx<'_>, args: Args<'_>, databases: std::ops::Range<usize>) -> Outcome {
    let plain = match args.get(1) {
        None => true,
        Some(how) => args.len() == 2 && (is(how, "ASYNC") || is(how, "SYNC")),
    };
    if !plain {
        return Err(Failure::SYNTAX);
    }
    let now = ctx.now;
    for number in 0..ctx.shards.count() {
        let shard = ctx.shards.shard(number);
        for db in databases.clone() {
            if !shard.is_empty(db) {
                shard.apply(&Effect::Clear { db }, now)?;
            }
        }
    }
    ctx.reply.ok();
    Ok(())
}

fn swap(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let a = database(ctx, args.at(1), Failure::text("ERR invalid first DB index"))?;
    let b = database(ctx, args.at(2), Failure::text("ERR invalid second DB index"))?;
    let now = ctx.now;
    // A database exchanged with itself is no change: nobody's watch breaks.
    for number in 0..if a == b { 0 } else { ctx.shards.count() } {
        ctx.shards.shard(number).apply(&Effect::Swap { a, b }, now)?;
    }
    ctx.reply.ok();
    Ok(())
}

/// Which keys a walk reports.
struct Filter<'a> {
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Failure> {
        let mut filter = Self { pattern: None, kind: None, count: 10 };
        let mut i = 2;
        while let Some(option) = args.get(i) {
            let argument = args.get(i + 1).ok_or(Failure::SYNTAX)?;
            if is(option, "MATCH") {
                filter.pattern = Some(argument).filter(|pattern| *pattern != b"*");
            } else if is(option, "COUNT") {
                let count = parse_i64(argument).ok_or(Failure::NOT_AN_INTEGER)?;
                if count < 1 {
                    return Err(Failure::SYNTAX);
                }
                filter.count = usize::try_from(count).unwrap_or(usize::MAX).min(SCAN_COUNT_MAX);
            } else if is(option, "TYPE") {
                filter.kind = Some(argument);
            } else {
                return Err(Failure::SYNTAX);
            }
            i += 2;
        }
        Ok(filter)
    }
}

/// Keys on their way into a reply, in one run of bytes.
#[derive(Default)]
struct Found {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Found {
    /// Adds what fits of about `count` keys from a place on; how many it looked at, and where to
    /// go on in that shard.
    fn collect(
        &mut self,
        ctx: &mut Ctx<'_>,
        (shard, position): (usize, u32),
        count: usize,
        filter: &Filter<'_>,
    ) -> (usize, Option<u32>) {
        let (db, now) = (ctx.db(), ctx.now);
        let mut seen = 0;
        let next = ctx.shards.shard(shard).scan(db, position, count, now, &mut |key, entry| {
            seen += 1;
            let kind = kind_name(entry.kind());
            let fits = filter.kind.is_none_or(|wanted| is(wanted, kind))
                && filter.pattern.is_none_or(|pattern| glob::matches(pattern, key));
            if fits {
                self.bytes.extend_from_slice(key);
                self.ends.push(self.bytes.len());
            }
        });
        (seen, next)
    }

    fn each(&self, mut see: impl FnMut(&[u8])) {
        let mut start = 0;
        for end in &self.ends {
            see(self.bytes.get(start..*end).unwrap_or_default());
            start = *end;
        }
    }
}

/// A cursor as `strtoul` takes it, which knows leading zeros.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let digits = text.iter().position(|byte| *byte != b'0').unwrap_or(text.len().checked_sub(1)?);
    parse_u64(text.get(digits..)?)
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;
    use std::collections::BTreeSet;

    /// Walks a database by SCAN; every key as often as it was reported.
    fn walk(store: &mut Store, options: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut cursor = "0".to_owned();
        for _ in 0..100_000 {
            let reply = store.run(&format!("SCAN {cursor} {options}"));
            let mut words = reply.split("\r\n").filter(|line| !line.starts_with(['*', '$']));
            words.next().unwrap().clone_into(&mut cursor);
            keys.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
            if cursor == "0" {
                return keys;
            }
        }
        panic!("the walk has no end");
    }

    #[test]
    fn a_walk_sees_every_key_once_and_only_what_fits() {
        let mut store = Store::new();
        for i in 0..3000 {
            store.run(&format!("SET key:{i} {i}"));
        }
        store.run("HSET hash f v");
        for options in ["", "COUNT 1", "COUNT 100000"] {
            let keys = walk(&mut store, options);
            assert_eq!(keys.len(), 3001);
            assert_eq!(keys.into_iter().collect::<BTreeSet<_>>().len(), 3001);
        }
        assert_eq!(walk(&mut store, "MATCH key:29?? COUNT 50").len(), 100);
        assert_eq!(walk(&mut store, "TYPE HASH"), ["hash"]);
        assert_eq!(walk(&mut store, "TYPE zset COUNT 999"), [""; 0]);
        assert_eq!(store.run("KEYS h*"), "*1\r\n$4\r\nhash\r\n");
        assert!(store.run("KEYS *").starts_with("*3001\r\n"));
        store.expect(&[
            ("DBSIZE", ":3001\r\n"),
            ("SCAN x", "-ERR invalid cursor\r\n"),
            ("SCAN 0 COUNT 0", "-ERR syntax error\r\n"),
            ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range\r\n"),
            ("SCAN 0 MATCH", "-ERR syntax error\r\n"),
            ("SCAN 0 NOVALUES", "-ERR syntax error\r\n"),
            ("SCAN 18446744073709551615", "*2\r\n$1\r\n0\r\n*0\r\n"),
            ("FLUSHDB", "+OK\r\n"),
            ("DBSIZE", ":0\r\n"),
            ("KEYS *", "*0\r\n"),
            ("RANDOMKEY", "$-1\r\n"),
        ]);
        store.maintain();
    }

    #[test]
    fn databases_change_places_and_are_emptied() {
        let mut store = Store::new();
        store.expect(&[
            ("SET a 0", "+OK\r\n"),
            ("SWAPDB 0 1", "+OK\r\n"),
            ("GET a", "$-1\r\n"),
            ("SWAPDB 0 1", "+OK\r\n"),
            ("GET a", "$1\r\n0\r\n"),
            ("COPY a b DB 5", ":1\r\n"),
            ("SWAPDB x 1", "-ERR invalid first DB index\r\n"),
            ("SWAPDB 0 x", "-ERR invalid second DB index\r\n"),
            ("SWAPDB 0 16", "-ERR DB index is out of range\r\n"),
            ("FLUSHDB NOW", "-ERR syntax error\r\n"),
            ("FLUSHALL ASYNC", "+OK\r\n"),
        ]);
        store.client.db = 5;
        store.expect(&[("DBSIZE", ":0\r\n")]);
    }

    #[test]
    fn random_keys_are_all_kinds_of_keys() {
        let mut store = Store::new();
        for i in 0..20 {
            store.run(&format!("SET key:{i} {i}"));
        }
        let seen: BTreeSet<String> = (0..2000).map(|_| store.run("RANDOMKEY")).collect();
        assert!(seen.len() > 15, "{} of 20", seen.len());
    }
}
