//! Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! What always holds: EXEC runs under the locks of every key that its commands name (of all shards
//! if one of them is about whole databases), with one `now`, so nothing comes between. It ends the
//! transaction and all watches, whatever it answers.

use crate::client::{Queued, Transaction};
use crate::context::Ctx;
use crate::dispatch::{OUT_OF_MEMORY, fail, forget_watches};
use crate::failure::Failure;
use crate::limits::{WATCHED_BYTES_MAX, WATCHED_MAX};
use crate::row::{Flags, Keys, Outcome, Row};
use engine::Watch;
use protocol::args::Args;

/// Flags that all of them have.
const FLAGS: Flags = Flags::NOT_QUEUED.and(Flags::LOADING).and(Flags::STALE);

/// The family's rows.
pub const ROWS: &[Row] = &[
    Row {
        name: "MULTI",
        arity: 1,
        flags: FLAGS.and(Flags::FAST),
        keys: Keys::None,
        handler: multi,
        group: "transactions",
        since: "1.2.0",
        summary: "Starts a transaction.",
        subcommands: &[],
    },
    Row {
        name: "EXEC",
        arity: 1,
        flags: FLAGS,
        keys: Keys::None,
        handler: exec,
        group: "transactions",
        since: "1.2.0",
        summary: "Executes all commands in a transaction.",
        subcommands: &[],
    },
    Row {
        name: "DISCARD",
        arity: 1,
        flags: FLAGS.and(Flags::FAST),
        keys: Keys::None,
        handler: discard,
        group: "transactions",
        since: "2.0.0",
        summary: "Discards a transaction.",
        subcommands: &[],
    },
    Row {
        name: "WATCH",
        arity: -2,
        flags: FLAGS.and(Flags::FAST),
        keys: Keys::ALL,
        handler: watch,
        group: "transactions",
        since: "2.2.0",
        summary: "Monitors changes to keys to determine the execution of a transaction.",
        subcommands: &[],
    },
    Row {
        name: "UNWATCH",
        arity: 1,
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        keys: Keys::None,
        handler: unwatch,
        group: "transactions",
        since: "2.2.0",
        summary: "Forgets about watched keys of a transaction.",
        subcommands: &[],
    },
];

fn multi(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    if ctx.client.transaction.is_some() {
        return Err(Failure::text("ERR MULTI calls can not be nested"));
    }
    ctx.client.transaction = Some(Transaction::default());
    ctx.reply.ok();
    Ok(())
}

fn discard(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    if ctx.client.transaction.take().is_none() {
        return Err(Failure::text("ERR DISCARD without MULTI"));
    }
    forget_watches(ctx);
    ctx.reply.ok();
    Ok(())
}

fn watch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    if ctx.client.transaction.is_some() {
        return Err(Failure::text("ERR WATCH inside MULTI is not allowed"));
    }
    let db = ctx.db();
    for key in args.from(1).iter() {
        let bytes = ctx.client.watched_bytes + key.len();
        if ctx.client.watched.len() >= WATCHED_MAX || bytes > WATCHED_BYTES_MAX {
            return Err(Failure::text("ERR too many watched keys"));
        }
        let flag = ctx.client.watch.get_or_insert_with(Watch::default).clone();
        if ctx.client.watched.insert((db, key.into())) {
            ctx.client.watched_bytes = bytes;
            register(ctx, db, key, &flag);
        }
    }
    ctx.reply.ok();
    Ok(())
}

fn unwatch(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    forget_watches(ctx);
    ctx.reply.ok();
    Ok(())
}

fn exec(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let Some(transaction) = ctx.client.transaction.take() else {
        return Err(Failure::text("ERR EXEC without MULTI"));
    };
    let broken = is_broken(ctx);
    if args.len() != 1 {
        forget_watches(ctx);
        return Err(Failure::text(
            "EXECABORT Transaction discarded because of: \
             wrong number of arguments for 'exec' command",
        ));
    }
    if transaction.aborted {
        forget_watches(ctx);
        return Err(Failure::text("EXECABORT Transaction discarded because of previous errors."));
    }
    if broken {
        forget_watches(ctx);
        ctx.reply.null_array();
        return Ok(());
    }
    let db = ctx.client.db;
    if let Err(full) = execute(ctx, &transaction.queued) {
        ctx.client.transaction = Some(transaction);
        ctx.client.db = db;
        return Err(full);
    }
    forget_watches(ctx);
    Ok(())
}

/// Whether a watched key changed. One whose deadline has passed without anybody noticing yet is
/// ended by watching it once more, and so breaks the watch.
fn is_broken(ctx: &mut Ctx<'_>) -> bool {
    let Some(flag) = ctx.client.watch.clone() else { return false };
    if !flag.is_broken() {
        let watched = std::mem::take(&mut ctx.client.watched);
        for (db, key) in &watched {
            register(ctx, *db, key, &flag);
        }
        ctx.client.watched = watched;
    }
    flag.is_broken()
}

/// Runs the queued commands and writes their replies as one array.
///
/// # Errors
/// [`Failure::Full`], only as long as nothing has been changed, so that the whole can be repeated
/// once there is room. A command that finds no room later than that fails alone.
fn execute(ctx: &mut Ctx<'_>, queued: &[Queued]) -> Outcome {
    let mut changed = false;
    ctx.hashed = None;
    ctx.reply.array(queued.len());
    for Queued { row, args } in queued {
        let start = ctx.reply.len();
        match (row.handler)(ctx, args.as_args()) {
            Ok(()) => changed |= row.flags.has(Flags::WRITE),
            Err(Failure::Full) if !changed => return Err(Failure::Full),
            Err(failure) => {
                let line = match &failure {
                    Failure::Error(line) => line,
                    Failure::Full => OUT_OF_MEMORY,
                };
                ctx.reply.truncate(start);
                fail(ctx.host, line, &mut ctx.reply);
            }
        }
    }
    Ok(())
}

fn register(ctx: &mut Ctx<'_>, db: usize, key: &[u8], flag: &Watch) {
    let now = ctx.now;
    let key = ctx.key(key);
    ctx.shard_of(&key).watch(db, &key, flag, now);
}
