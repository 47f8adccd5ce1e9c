//! The server as clients see it: INFO, CONFIG, TIME, ROLE, SHUTDOWN and small ones.
//!
//! What always holds: what is told of shards was read from shards here; what is told of the rest
//! comes from the host.
//! Not for: COMMAND, MEMORY, SLOWLOG, LATENCY, DEBUG, which have files of their own.

use super::support::{container, help, is, keyless, text};
use super::{debug, latency, memory, slowlog};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::host::{Shutdown, Tally};
use crate::row::{Flags, Handler, Outcome, Row};
use protocol::args::Args;
use std::fmt::Write;

const GROUP: &str = "server";
const ALWAYS: Flags = Flags::LOADING.and(Flags::STALE);
const ADMIN: Flags = OWN.and(Flags::ADMIN);
const OWN: Flags = ALWAYS.and(Flags::NO_SCRIPT);

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(
        ("INFO [section...]", -1),
        ALWAYS.and(Flags::WHOLE),
        info,
        "1.0.0",
        "Returns facts and counters.",
    ),
    row(("TIME", 1), ALWAYS.and(Flags::FAST), time, "2.6.0", "Returns the server's time."),
    row(
        ("LOLWUT [VERSION version]", -1),
        Flags::READONLY.and(Flags::FAST),
        lolwut,
        "5.0.0",
        "Shows the version.",
    ),
    row(("ROLE", 1), ADMIN.and(Flags::FAST), role, "2.8.12", "Master."),
    row(
        ("SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]", -1),
        ADMIN.and(Flags::NO_MULTI),
        shutdown,
        "1.0.0",
        "Ends the server, after writing what has to be written.",
    ),
    container(GROUP, "CONFIG", "2.0.0", "Reads and changes settings.", CONFIG),
    container(GROUP, "ACL", "6.0.0", "Tells of users.", ACL),
    container(GROUP, "SLOWLOG", "2.2.12", "Tells which requests took long.", slowlog::SUBCOMMANDS),
    container(GROUP, "LATENCY", "2.8.13", "Tells what took long, and when.", latency::SUBCOMMANDS),
    container(GROUP, "MEMORY", "4.0.0", "Tells where memory goes.", memory::SUBCOMMANDS),
    debug::ROW,
];

const CONFIG: &[Row] = &[
    row(
        ("GET parameter...", -3),
        ADMIN,
        config_get,
        "2.0.0",
        "Returns the settings that fit any pattern.",
    ),
    row(("HELP", 2), ALWAYS, config_help, "5.0.0", "Returns this text."),
    row(("RESETSTAT", 2), ADMIN, config_reset, "2.0.0", "Sets counters back to zero."),
    row(("REWRITE", 2), ADMIN, config_rewrite, "2.8.0", "Writes the settings to their file."),
    row(
        ("SET <parameter value>...", -4),
        ADMIN,
        config_set,
        "2.0.0",
        "Changes settings, all or none.",
    ),
];

const ACL: &[Row] = &[
    row(("HELP", 2), ALWAYS, acl_help, "6.0.0", "Returns this text."),
    row(("WHOAMI", 2), OWN, acl_whoami, "6.0.0", "Returns the connection's user."),
];

const fn row(
    name: (&'static str, i32),
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    keyless(GROUP, name, flags, handler, since, summary)
}

/// The sections of INFO in their order, and whether they are shown when none is named.
const SECTIONS: &[(&str, bool)] = &[
    ("server", true),
    ("clients", true),
    ("memory", true),
    ("persistence", true),
    ("stats", true),
    ("replication", true),
    ("cpu", true),
    ("modules", true),
    ("commandstats", false),
    ("errorstats", true),
    ("latencystats", false),
    ("cluster", true),
    ("keyspace", true),
];

fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mut wanted = Vec::new();
    for (name, shown) in SECTIONS {
        let asked = |arg: &[u8]| {
            is(arg, name) || is(arg, "ALL") || is(arg, "EVERYTHING") || *shown && is(arg, "DEFAULT")
        };
        if args.len() == 1 && *shown || args.from(1).iter().any(asked) {
            wanted.push(*name);
        }
    }
    let counted = ["memory", "persistence", "stats", "keyspace"];
    let tally = match wanted.iter().any(|name| counted.contains(name)) {
        true => tally(ctx),
        false => Tally::default(),
    };
    let mut out = String::new();
    for name in wanted {
        let mut section = String::new();
        match name {
            "keyspace" => keyspace(&tally, &mut section),
            _ => ctx.host.info(name, &tally, &mut section),
        }
        if !section.is_empty() && !out.is_empty() {
            out.push_str("\r\n");
        }
        out += &section;
    }
    ctx.reply.verbatim("txt", out.as_bytes());
    Ok(())
}

fn keyspace(tally: &Tally, out: &mut String) {
    out.push_str("# Keyspace\r\n");
    for (db, (keys, deadlines)) in tally.databases.iter().enumerate() {
        if *keys > 0 {
            // Writing to a string can't fail.
            let _ = write!(out, "db{db}:keys={keys},expires={deadlines},avg_ttl=0,subexpiry=0\r\n");
        }
    }
}

/// What all shards counted.
pub(super) fn tally(ctx: &mut Ctx<'_>) -> Tally {
    let databases = ctx.shards.databases();
    let mut tally = Tally { databases: vec![(0, 0); databases], ..Tally::default() };
    for number in 0..ctx.shards.count() {
        let shard = ctx.shards.shard(number);
        for (db, (keys, deadlines)) in tally.databases.iter_mut().enumerate() {
            *keys += shard.len(db);
            *deadlines += shard.deadlines(db);
        }
        let (live, items, index) = shard.bytes();
        tally.bytes.0 += live;
        tally.bytes.1 += items;
        tally.bytes.2 += index;
        tally.stats.add(&shard.stats());
    }
    tally
}

fn time(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let (seconds, rest) = (ctx.now_us / 1_000_000, ctx.now_us % 1_000_000);
    ctx.reply.array(2);
    ctx.reply.bulk(itoa::Buffer::new().format(seconds).as_bytes());
    ctx.reply.bulk(itoa::Buffer::new().format(rest).as_bytes());
    Ok(())
}

fn lolwut(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let line = format!("Sessile, where sessions sit. Redis ver. {}\n", ctx.host.version());
    ctx.reply.verbatim("txt", line.as_bytes());
    Ok(())
}

fn role(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.array(3);
    ctx.reply.bulk(b"master");
    ctx.reply.int(0);
    ctx.reply.array(0);
    Ok(())
}

fn shutdown(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mut how = Shutdown::default();
    for option in args.from(1).iter() {
        if is(option, "NOSAVE") && how.save != Some(true) {
            how.save = Some(false);
        } else if is(option, "SAVE") && how.save != Some(false) {
            how.save = Some(true);
        } else if is(option, "NOW") {
            how.now = true;
        } else if is(option, "FORCE") {
            how.force = true;
        } else if is(option, "ABORT") {
            how.abort = true;
        } else {
            return Err(Failure::SYNTAX);
        }
    }
    if how.abort && how != (Shutdown { abort: true, ..Shutdown::default() }) {
        return Err(Failure::SYNTAX);
    }
    ctx.host.shutdown(how).map_err(said)?;
    if how.abort {
        ctx.reply.ok();
    }
    Ok(())
}

fn config_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    help(ctx, "CONFIG")
}

fn config_get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let patterns: Vec<String> =
        args.from(2).iter().map(|pattern| text(pattern).to_ascii_lowercase()).collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let found = ctx.host.settings(&patterns);
    ctx.reply.map(found.len());
    for (name, value) in found {
        // A setting that was named, not matched, comes back as the client spells it.
        let mut asked = args.from(2).iter();
        let asked = asked.find(|asked| asked.eq_ignore_ascii_case(name.as_bytes()));
        ctx.reply.bulk(asked.unwrap_or(name.as_bytes()));
        ctx.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn config_set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    if !args.len().is_multiple_of(2) {
        return Err(Failure::SYNTAX);
    }
    let mut pairs = Vec::new();
    for at in (2..args.len()).step_by(2) {
        let name = text(args.at(at));
        let Ok(value) = str::from_utf8(args.at(at + 1)) else {
            return Err(Failure::made(format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - \
                 the value must be text"
            )));
        };
        pairs.push((name, value));
    }
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, *value)).collect();
    ctx.host.configure(ctx.client.id, &pairs).map_err(said)?;
    ctx.reply.ok();
    Ok(())
}

fn config_rewrite(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.host.rewrite_settings().map_err(said)?;
    ctx.reply.ok();
    Ok(())
}

fn config_reset(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.host.reset_counters();
    ctx.reply.ok();
    Ok(())
}

fn acl_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    help(ctx, "ACL")
}

fn acl_whoami(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.bulk(b"default");
    Ok(())
}

/// What the host said, as an error line.
fn said(reason: String) -> Failure {
    Failure::made(format!("ERR {reason}"))
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn info_counts_keys_and_takes_several_sections() {
        let mut store = Store::new();
        store.run("SET a 1");
        store.run("SET b 1 PX 1000");
        store.run("SELECT 3");
        store.run("SET c 1");
        let all = "# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0,subexpiry=0\r\n\
                   db3:keys=1,expires=0,avg_ttl=0,subexpiry=0\r\n";
        let reply = format!("${}\r\n{all}\r\n", all.len());
        for line in ["INFO keyspace", "INFO", "INFO nosuch everything KEYSPACE"] {
            assert_eq!(store.run(line), reply, "{line}");
        }
        assert_eq!(store.run("INFO nosuch"), "$0\r\n\r\n");
    }

    #[test]
    fn small_ones() {
        let mut store = Store::new();
        store.expect(&[
            ("TIME", "*2\r\n$10\r\n1800000000\r\n$1\r\n0\r\n"),
            ("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
            ("ACL WHOAMI", "$7\r\ndefault\r\n"),
            ("SHUTDOWN foo", "-ERR syntax error\r\n"),
            ("SHUTDOWN SAVE NOSAVE", "-ERR syntax error\r\n"),
            ("SHUTDOWN ABORT NOW", "-ERR syntax error\r\n"),
            ("CONFIG GET foo", "*0\r\n"),
            ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command\r\n"),
            ("CONFIG SET a 1 b", "-ERR syntax error\r\n"),
            ("CONFIG REWRITE", "-ERR The server is running without a config file\r\n"),
            ("CONFIG RESETSTAT", "+OK\r\n"),
        ]);
        store.run("MULTI");
        let refused = "-ERR Command not allowed inside a transaction\r\n";
        assert_eq!(store.run("SHUTDOWN"), refused);
    }
}
