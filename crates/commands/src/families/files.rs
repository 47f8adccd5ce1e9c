//! Snapshots and the log, as clients ask for them.
//!
//! What always holds: nothing here holds a shard's lock; the host writes.

use super::support::{is, keyless};
use crate::client::{Awaited, Unblocked, Waiting};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::host::{Begun, OnDisk};
use crate::row::{Flags, Handler, Outcome, Row};
use protocol::args::Args;
use protocol::resp::parse_i64;

const FLAGS: Flags = Flags::ADMIN.and(Flags::NO_SCRIPT);

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(
        ("BGREWRITEAOF", 1),
        FLAGS,
        rewrite,
        "1.0.0",
        "Has the append-only file written anew in the background.",
    ),
    row(
        ("BGSAVE [SCHEDULE]", -1),
        FLAGS,
        save_in_background,
        "1.0.0",
        "Has a snapshot written in the background.",
    ),
    row(
        ("LASTSAVE", 1),
        Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        last_save,
        "1.0.0",
        "Returns when the last snapshot was written.",
    ),
    row(("SAVE", 1), FLAGS.and(Flags::NO_MULTI), save, "1.0.0", "Writes a snapshot."),
    keyless(
        "generic",
        ("WAITAOF numlocal:integer numreplicas:integer timeout:integer", 4),
        Flags::BLOCKING,
        wait_for_log,
        "7.2.0",
        "Waits until the connection's last write is on the disk, or the time is over.",
    ),
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

fn save(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.host.save().map_err(failed)?;
    ctx.reply.ok();
    Ok(())
}

fn save_in_background(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    if args.len() > 2 || args.get(1).is_some_and(|word| !is(word, "SCHEDULE")) {
        return Err(Failure::SYNTAX);
    }
    let begun = ctx.host.save_in_background(args.len() > 1).map_err(failed)?;
    ctx.reply.simple(match begun {
        Begun::Now => "Background saving started",
        Begun::Later => "Background saving scheduled",
    });
    Ok(())
}

fn rewrite(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let begun = ctx.host.rewrite_log().map_err(failed)?;
    ctx.reply.simple(match begun {
        Begun::Now => "Background append only file rewriting started",
        Begun::Later => "Background append only file rewriting scheduled",
    });
    Ok(())
}

fn last_save(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.int(ctx.host.last_save_s() as i64);
    Ok(())
}

/// Answers how many logs have the connection's last write on the disk: ours, and those of replicas,
/// of which there are none.
fn wait_for_log(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let before = ctx.client.waiting.take();
    let unblocked = ctx.client.unblocked.take();
    if unblocked == Some(Unblocked::Error) {
        return Err(Failure::text("UNBLOCKED client unblocked via CLIENT UNBLOCK"));
    }
    let local = integer(args.at(1))?;
    if !(0..=1).contains(&local) {
        return Err(Failure::text("ERR value is out of range, must be between 0 and 1"));
    }
    let replicas = integer(args.at(2))?;
    if replicas < 0 {
        return Err(Failure::text("ERR value is out of range, must be positive"));
    }
    let until = deadline(ctx.now, before, args.at(3))?;
    let on_disk = ctx.host.on_disk();
    if local > 0 && on_disk == OnDisk::NoLog {
        return Err(Failure::text(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    let wrote = ctx.client.wrote;
    let has = i64::from(on_disk.has(wrote));
    let gives_up = ctx.client.executing || unblocked.is_some() || ctx.now >= until;
    let is_over = has >= local && replicas == 0 || gives_up;
    if !is_over {
        if has < local && before.is_none() {
            ctx.host.hurry_log();
        }
        let awaited = if has < local { Awaited::Disk(wrote) } else { Awaited::Nothing };
        ctx.client.waiting = Some(Waiting { awaited, until });
        return Err(Failure::Later);
    }
    ctx.reply.array(2);
    ctx.reply.int(has);
    ctx.reply.int(0);
    Ok(())
}

fn integer(arg: &[u8]) -> Result<i64, Failure> {
    parse_i64(arg).ok_or(Failure::NOT_AN_INTEGER)
}

/// When a wait of so many milliseconds ends, 0 for never; `before` is what it waited for if it has
/// begun already.
fn deadline(now: u64, before: Option<Waiting>, timeout: &[u8]) -> Result<u64, Failure> {
    let timeout =
        parse_i64(timeout).ok_or(Failure::text("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(Failure::text("ERR timeout is negative"));
    }
    Ok(match before {
        Some(waiting) => waiting.until,
        None if timeout == 0 => u64::MAX,
        None => now.saturating_add(timeout.unsigned_abs()),
    })
}

fn failed(what: String) -> Failure {
    Failure::made(format!("ERR {what}"))
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn a_wait_for_a_log_that_isn_t_there_is_an_error_or_over_at_once() {
        let mut store = Store::new();
        store.expect(&[
            ("WAITAOF 0 0 0", "*2\r\n:0\r\n:0\r\n"),
            (
                "WAITAOF 1 0 0",
                "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n",
            ),
            ("WAITAOF 2 0 0", "-ERR value is out of range, must be between 0 and 1\r\n"),
            ("WAITAOF 0 -1 0", "-ERR value is out of range, must be positive\r\n"),
            ("WAITAOF 0 0 -1", "-ERR timeout is negative\r\n"),
            ("WAITAOF 0 0 x", "-ERR timeout is not an integer or out of range\r\n"),
            ("WAITAOF x 0 0", "-ERR value is not an integer or out of range\r\n"),
            ("WAITAOF 0 0", "-ERR wrong number of arguments for 'waitaof' command\r\n"),
        ]);
    }
}
