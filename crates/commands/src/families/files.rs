//! Snapshots and the log, as clients ask for them.
//!
//! What always holds: nothing here holds a shard's lock; the host writes.

use super::support::{is, keyless};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::row::{Flags, Handler, Outcome, Row};
use protocol::args::Args;

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
    ctx.host.save(false).map_err(failed)?;
    ctx.reply.ok();
    Ok(())
}

fn save_in_background(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    if args.len() > 2 || args.get(1).is_some_and(|word| !is(word, "SCHEDULE")) {
        return Err(Failure::SYNTAX);
    }
    ctx.host.save(true).map_err(failed)?;
    ctx.reply.simple("Background saving started");
    Ok(())
}

fn rewrite(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.host.rewrite_log().map_err(failed)?;
    ctx.reply.simple("Background append only file rewriting started");
    Ok(())
}

fn last_save(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.int(ctx.host.last_save_s() as i64);
    Ok(())
}

fn failed(what: String) -> Failure {
    Failure::made(format!("ERR {what}"))
}
