//! LATENCY: what took long and when, which the host remembers.

use super::support::{help, keyless, text};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::host::LatencyEvent;
use crate::row::{Flags, Handler, Outcome, Row};
use protocol::args::Args;
use std::fmt::Write;

const HELP: Flags = Flags::LOADING.and(Flags::STALE);
const FLAGS: Flags = HELP.and(Flags::ADMIN).and(Flags::NO_SCRIPT);

/// The subcommands.
pub(super) const SUBCOMMANDS: &[Row] = &[
    row(("DOCTOR", 2), FLAGS, doctor, "2.8.13", "Returns a report in words."),
    row(("GRAPH event", 3), FLAGS, graph, "2.8.13", "Draws the samples of an event."),
    row(("HELP", 2), HELP, latency_help, "2.8.13", "Returns this text."),
    row(
        ("HISTOGRAM [command...]", -2),
        FLAGS,
        histogram,
        "7.0.0",
        "Returns how long commands took.",
    ),
    row(("HISTORY event", 3), FLAGS, history, "2.8.13", "Returns the samples of an event."),
    row(("LATEST", 2), FLAGS, latest, "2.8.13", "Returns the latest sample of each event."),
    row(
        ("RESET [event...]", -2),
        FLAGS,
        reset,
        "2.8.13",
        "Drops the samples of some events, or of all.",
    ),
];

/// What helps against each event.
const ADVICE: &[(&str, &str)] = &[
    ("command", "SLOWLOG GET has the requests: SCAN instead of KEYS, smaller collections, UNLINK."),
    (
        "fast-command",
        "Such a command does little: the processor was taken away, or memory was swapped. Look for \
         other programs on the machine.",
    ),
    (
        "aof-write",
        "The disk takes writes slowly: look for what else writes to it, or give the log one of its \
         own. Workers go on while a sync is on its way.",
    ),
    (
        "aof-fsync",
        "The disk syncs slowly. Under appendfsync always each writer waits for that; under everysec \
         replies wait once a second could be lost.",
    ),
    (
        "snapshot-cut",
        "All shards stood still at once for a snapshot or a rewrite: a command or a script held one \
         of them meanwhile.",
    ),
    (
        "eviction-cycle",
        "Memory is used up and keys go at the pace of the writes: raise maxmemory or shorten TTLs.",
    ),
    ("expire-cycle", "Many keys ended at one moment: spread their TTLs."),
];

const fn row(
    name: (&'static str, i32),
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    keyless("server", name, flags, handler, since, summary)
}

fn latency_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    help(ctx, "LATENCY")
}

fn event(ctx: &Ctx<'_>, name: &[u8]) -> Option<LatencyEvent> {
    ctx.host.latency().into_iter().find(|event| event.name.as_bytes() == name)
}

fn history(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let samples = event(ctx, args.at(2)).map(|event| event.samples).unwrap_or_default();
    ctx.reply.array(samples.len());
    for (at, milliseconds) in samples {
        ctx.reply.array(2);
        ctx.reply.int(at as i64);
        ctx.reply.int(milliseconds as i64);
    }
    Ok(())
}

fn latest(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let mut events = ctx.host.latency();
    events.retain(|event| !event.samples.is_empty());
    ctx.reply.array(events.len());
    for event in events {
        let (at, milliseconds) = event.samples.last().copied().unwrap_or_default();
        ctx.reply.array(4);
        ctx.reply.bulk(event.name.as_bytes());
        ctx.reply.int(at as i64);
        ctx.reply.int(milliseconds as i64);
        ctx.reply.int(event.max_ms as i64);
    }
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let names: Vec<_> = args.from(2).iter().map(text).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    ctx.reply.int(ctx.host.reset_latency(&names) as i64);
    Ok(())
}

fn graph(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let name = text(args.at(2));
    let found = event(ctx, args.at(2)).filter(|event| !event.samples.is_empty());
    let event = found
        .ok_or_else(|| Failure::made(format!("ERR No samples available for event '{name}'")))?;
    let most = event.samples.iter().map(|(_, took)| *took).max().unwrap_or(0).max(1);
    let mut out = format!("{name}: at most {} ms\n", event.max_ms);
    for (at, took) in &event.samples {
        let bar = "#".repeat((took.saturating_mul(40) / most) as usize);
        // Writing to a string can't fail.
        let _ =
            writeln!(out, "{:>6} s ago {took:>6} ms {bar}", (ctx.now / 1000).saturating_sub(*at));
    }
    ctx.reply.verbatim("txt", out.as_bytes());
    Ok(())
}

fn doctor(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let mut out = String::new();
    for event in ctx.host.latency() {
        let count = event.samples.len();
        let name = &event.name;
        // Writing to a string can't fail.
        let _ = writeln!(out, "{name}: {count} samples, at most {} ms", event.max_ms);
        if let Some((_, advice)) = ADVICE.iter().find(|(of, _)| of == name) {
            let _ = writeln!(out, "  {advice}");
        }
    }
    if out.is_empty() {
        out.push_str(
            "Nothing took long, or nobody watched: latency-monitor-threshold says from how many \
             milliseconds on an event counts.\n",
        );
    }
    ctx.reply.verbatim("txt", out.as_bytes());
    Ok(())
}

fn histogram(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let totals = ctx.host.totals();
    let mut commands: Vec<_> = totals.commands().filter(|command| command.calls > 0).collect();
    if !ctx.host.tells_latency() {
        commands.clear();
    }
    commands.retain(|command| {
        let name = command.name.as_bytes();
        let container = name.split(|byte| *byte == b'|').next().unwrap_or_default();
        let mut wanted = args.from(2).iter();
        args.len() == 2
            || wanted
                .any(|arg| arg.eq_ignore_ascii_case(name) || arg.eq_ignore_ascii_case(container))
    });
    ctx.reply.map(commands.len());
    for command in commands {
        ctx.reply.bulk(command.name.as_bytes());
        ctx.reply.map(2);
        ctx.reply.bulk(b"calls");
        ctx.reply.int(command.calls as i64);
        ctx.reply.bulk(b"histogram_usec");
        let buckets = command.histogram();
        ctx.reply.map(buckets.len());
        for (bound, count) in buckets {
            ctx.reply.int(bound as i64);
            ctx.reply.int(count as i64);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn without_samples_there_is_little_to_say() {
        let mut store = Store::new();
        store.expect(&[
            ("LATENCY HISTORY foo", "*0\r\n"),
            ("LATENCY LATEST", "*0\r\n"),
            ("LATENCY RESET", ":0\r\n"),
            ("LATENCY RESET a b", ":0\r\n"),
            ("LATENCY GRAPH foo", "-ERR No samples available for event 'foo'\r\n"),
            ("LATENCY HISTOGRAM", "*0\r\n"),
            ("LATENCY DOCTOR x", "-ERR wrong number of arguments for 'latency|doctor' command\r\n"),
        ]);
    }
}
