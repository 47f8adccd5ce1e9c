//! DEBUG: switches for test suites, closed unless `enable-debug-command` opens them.

use super::keys::encoding_of;
use super::support::{is, keyless, text};
use crate::client::{Awaited, Waiting};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::host::Reload;
use crate::limits::DEBUG_SLEEP_MAX_MS;
use crate::ops::glob;
use crate::row::{Flags, Outcome, Row};
use protocol::args::Args;
use protocol::resp::{parse_f64, parse_i64};

/// The row. It looks at keys, which its arguments don't name at fixed places, shard by shard.
pub(super) const ROW: Row = keyless(
    "server",
    ("DEBUG subcommand [argument...]", -2),
    Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE).and(Flags::WHOLE),
    debug,
    "1.0.0",
    "Switches for tests.",
);

const CLOSED: Failure = Failure::text(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you \
     can run it from a local connection, otherwise you need to set this option in the \
     configuration file, and then restart the server.",
);

const RELOAD_OPTIONS: Failure = Failure::text("ERR DEBUG RELOAD has the option NOSAVE only");

/// The double that PROTOCOL answers with, as Redis does.
const DOUBLE: f64 = 3141.0 / 1000.0;

/// What there is, as HELP shows it.
const HELP: &[&str] = &[
    "DEBUG <subcommand> [<arg> ...]. Subcommands are:",
    "CHANGE-REPL-ID | JMAP | QUICKLIST-PACKED-THRESHOLD <size> | REPLYBUFFER ... | PAUSE-CRON ...",
    "    Accepted without effect.",
    "ERROR <message>",
    "    Answers with that error.",
    "LOADAOF",
    "    Empties the store and loads the append-only file again. Meanwhile clients get LOADING.",
    "OBJECT <key>",
    "    Tells how a value is kept.",
    "PROTOCOL <type>",
    "    Answers with a value of that type.",
    "RELOAD [NOSAVE]",
    "    Writes a snapshot, empties the store and loads the snapshot again. Meanwhile clients get",
    "    LOADING. NOSAVE loads the one that is there; not with an append-only file.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Whether expired keys are removed on their own.",
    "SLEEP <seconds>",
    "    Does nothing for that long.",
    "STRINGMATCH-LEN <pattern> <text>",
    "    Whether the pattern fits the text.",
    "HELP",
    "    Returns this text.",
];

fn debug(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    if !ctx.host.may_debug(ctx.client.id) {
        return Err(CLOSED);
    }
    let name = args.at(1);
    let ignored = ["CHANGE-REPL-ID", "JMAP", "QUICKLIST-PACKED-THRESHOLD", "REPLYBUFFER"];
    if ignored.iter().any(|one| is(name, one)) || is(name, "PAUSE-CRON") {
        ctx.reply.ok();
        return Ok(());
    }
    match args.len() {
        2 if is(name, "HELP") => {
            ctx.reply.array(HELP.len());
            HELP.iter().for_each(|line| ctx.reply.simple(line));
        }
        2 if is(name, "LOADAOF") => return reload(ctx, Reload::Log),
        2 if is(name, "RELOAD") => return reload(ctx, Reload::Saved),
        3 if is(name, "RELOAD") && is(args.at(2), "NOSAVE") => return reload(ctx, Reload::AsItIs),
        _ if is(name, "RELOAD") => return Err(RELOAD_OPTIONS),
        3 if is(name, "ERROR") => return Err(Failure::made(text(args.at(2)).into_owned())),
        3 if is(name, "OBJECT") => return object(ctx, args.at(2)),
        3 if is(name, "PROTOCOL") => return protocol(ctx, args.at(2)),
        3 if is(name, "SLEEP") => {
            let seconds = parse_f64(args.at(2)).unwrap_or(0.0).max(0.0);
            ctx.host.sleep(((seconds * 1000.0) as u64).min(DEBUG_SLEEP_MAX_MS));
            ctx.reply.ok();
        }
        3 if is(name, "SET-ACTIVE-EXPIRE") => {
            ctx.host.set_active_expire(parse_i64(args.at(2)).is_some_and(|on| on != 0));
            ctx.reply.ok();
        }
        4 if is(name, "STRINGMATCH-LEN") => {
            ctx.reply.int(i64::from(glob::matches(args.at(2), args.at(3))));
        }
        _ => {
            let name = text(name);
            return Err(Failure::made(format!(
                "ERR unknown subcommand or wrong number of arguments for '{name}'. \
                 Try DEBUG HELP."
            )));
        }
    }
    Ok(())
}

/// Begins a reload, or, run again, answers how it went.
fn reload(ctx: &mut Ctx<'_>, how: Reload) -> Outcome {
    if ctx.client.executing {
        return Err(Failure::text("ERR the store can't be loaded again inside a transaction"));
    }
    let failed = |what| Failure::made(format!("ERR {what}"));
    let number = match ctx.client.waiting.take() {
        Some(Waiting { awaited: Awaited::Reload(number), .. }) => number,
        _ => ctx.host.reload(how).map_err(failed)?,
    };
    match ctx.host.reloaded(number) {
        Some(outcome) => outcome.map_err(failed)?,
        None => {
            let awaited = Awaited::Reload(number);
            ctx.client.waiting = Some(Waiting { awaited, until: u64::MAX });
            return Err(Failure::Later);
        }
    }
    ctx.reply.ok();
    Ok(())
}

fn object(ctx: &mut Ctx<'_>, key: &[u8]) -> Outcome {
    let now = ctx.now;
    let key = ctx.key(key);
    let entry = ctx.peek(&key).ok_or(Failure::NO_SUCH_KEY)?;
    let line = format!(
        "Value at:0x{:x} refcount:1 encoding:{} serializedlength:{} lru:0 lru_seconds_idle:{}",
        entry.version(),
        encoding_of(&entry),
        entry.memory_bytes(),
        entry.idle_ms(now) / 1000,
    );
    ctx.reply.simple(&line);
    Ok(())
}

/// One value of each type of the protocol, the same ones as Redis sends.
fn protocol(ctx: &mut Ctx<'_>, kind: &[u8]) -> Outcome {
    let reply = &mut ctx.reply;
    let kind = text(kind).to_ascii_lowercase();
    match kind.as_str() {
        "string" => reply.bulk(b"Hello World"),
        "integer" => reply.int(12345),
        "double" => reply.double(DOUBLE),
        "null" => reply.null(),
        "bignum" => reply.big_number("1234567999999999999999999999999999999"),
        "verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        "true" => reply.bool(true),
        "false" => reply.bool(false),
        "array" | "set" => {
            match kind.as_str() {
                "array" => reply.array(3),
                _ => reply.set(3),
            }
            (0..3).for_each(|n| reply.int(n));
        }
        "map" => {
            reply.map(3);
            for n in 0..3 {
                reply.int(n);
                reply.bool(n == 1);
            }
        }
        _ => {
            return Err(Failure::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn it_is_closed_unless_opened() {
        let mut store = Store::new();
        let refused = store.run("DEBUG SLEEP 0");
        assert!(refused.starts_with("-ERR DEBUG command not allowed. If the enable-debug-command"));
        assert_eq!(store.run("DEBUG RELOAD"), refused);
        assert_eq!(store.run("DEBUG LOADAOF"), refused);
    }
}
