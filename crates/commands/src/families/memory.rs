//! MEMORY: what keys and the whole take.

use super::server::tally;
use super::support::{help, is, keyless};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::row::{Flags, Handler, Keys, Outcome, Row};
use protocol::args::Args;
use protocol::resp::parse_i64;

/// The subcommands.
pub(super) const SUBCOMMANDS: &[Row] = &[
    row(("DOCTOR", 2), Flags::NONE, doctor, "Returns a report in words."),
    row(("HELP", 2), Flags::LOADING.and(Flags::STALE), memory_help, "Returns this text."),
    row(("MALLOC-STATS", 2), Flags::NONE, malloc_stats, "Returns what the allocator counts."),
    row(("PURGE", 2), Flags::NONE, purge, "Gives unused memory back to the system."),
    row(("STATS", 2), Flags::WHOLE, stats, "Returns where memory goes, in numbers."),
    Row {
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        ..row(
            ("USAGE key [SAMPLES count]", -3),
            Flags::READONLY,
            usage,
            "Returns the bytes that a key takes.",
        )
    },
];

const fn row(
    name: (&'static str, i32),
    flags: Flags,
    handler: Handler,
    summary: &'static str,
) -> Row {
    keyless("server", name, flags, handler, "4.0.0", summary)
}

fn memory_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    help(ctx, "MEMORY")
}

/// Nothing is sampled: the number is exact whatever the key holds.
fn usage(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mut at = 3;
    while let Some(option) = args.get(at) {
        if !is(option, "SAMPLES") || args.len() == at + 1 {
            return Err(Failure::SYNTAX);
        }
        let samples = parse_i64(args.at(at + 1)).ok_or(Failure::NOT_AN_INTEGER)?;
        if samples < 0 {
            return Err(Failure::SYNTAX);
        }
        at += 2;
    }
    let key = ctx.key(args.at(2));
    match ctx.peek(&key).map(|entry| entry.memory_bytes()) {
        Some(bytes) => ctx.reply.int(bytes as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn stats(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let facts = ctx.host.memory();
    let tally = tally(ctx);
    let keys: u64 = tally.databases.iter().map(|(keys, _)| keys).sum();
    let (live, items, index) = tally.bytes;
    let data = live as u64;
    let overhead = facts.used.saturating_sub(data);
    let used = facts.used.max(1);
    let wholes = [
        ("peak.allocated", facts.peak),
        ("total.allocated", facts.used),
        ("startup.allocated", facts.startup),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", facts.clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.index", index as u64),
        ("overhead.total", overhead),
        ("keys.count", keys),
        ("keys.bytes-per-key", facts.used.saturating_sub(facts.startup) / keys.max(1)),
        ("dataset.bytes", data),
        ("allocator.allocated", live as u64),
        ("allocator.active", items as u64),
        ("allocator.resident", facts.resident),
        ("allocator-fragmentation.bytes", (items as u64).saturating_sub(live as u64)),
        ("rss-overhead.bytes", facts.resident.saturating_sub(facts.used)),
        ("fragmentation.bytes", facts.resident.saturating_sub(facts.used)),
    ];
    let ratios = [
        ("dataset.percentage", data as f64 * 100.0 / used as f64),
        ("peak.percentage", facts.used as f64 * 100.0 / facts.peak.max(1) as f64),
        ("allocator-fragmentation.ratio", items as f64 / live.max(1) as f64),
        ("rss-overhead.ratio", facts.resident as f64 / used as f64),
        ("fragmentation", facts.resident as f64 / used as f64),
    ];
    ctx.reply.map(wholes.len() + ratios.len());
    for (name, value) in wholes {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.int(value as i64);
    }
    for (name, value) in ratios {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.double(value);
    }
    Ok(())
}

fn doctor(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let facts = ctx.host.memory();
    let line = if facts.limit == 0 {
        "No limit is set: with maxmemory the store would know when to make room.\n".to_owned()
    } else {
        let percent = facts.used.saturating_mul(100) / facts.limit.max(1);
        format!("{percent} percent of maxmemory are in use.\n")
    };
    ctx.reply.verbatim("txt", line.as_bytes());
    Ok(())
}

fn malloc_stats(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.verbatim("txt", b"Items live in an arena of segments: see MEMORY STATS.\n");
    Ok(())
}

fn purge(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.host.purge_memory();
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn usage_grows_with_the_value() {
        let mut store = Store::new();
        store.run("SET a 1");
        let small = store.run("MEMORY USAGE a");
        store.run_bytes(&[b"SET", b"a", &[b'x'; 1000]]);
        let large = store.run("MEMORY USAGE a SAMPLES 0");
        let bytes = |reply: &str| reply.trim_matches([':', '\r', '\n']).parse::<usize>().unwrap();
        assert!(bytes(&large) > bytes(&small) + 900, "{small} {large}");
        store.expect(&[
            ("MEMORY USAGE nosuch", "$-1\r\n"),
            ("MEMORY USAGE a SAMPLES", "-ERR syntax error\r\n"),
            ("MEMORY USAGE a SAMPLES -1", "-ERR syntax error\r\n"),
            ("MEMORY USAGE a SAMPLES x", "-ERR value is not an integer or out of range\r\n"),
            ("MEMORY PURGE", "+OK\r\n"),
        ]);
        assert!(store.run("MEMORY STATS").contains("$10\r\nkeys.count\r\n:1\r\n"));
    }
}
