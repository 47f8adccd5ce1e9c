//! Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! What always holds: EXEC runs under the locks of every key that its commands name (of all shards
//! if one of them is about whole databases), with one `now`, so nothing comes between. It ends the
//! transaction and all watches, whatever it answers.

use crate::client::{Queued, Transaction, WatchedKey};
use crate::context::Ctx;
use crate::dispatch::{OUT_OF_MEMORY, call, fail, forget_watches};
use crate::failure::Failure;
use crate::limits::WATCHED_MAX;
use crate::row::{Flags, Keys, Outcome, Row};
use engine::Watch;
use protocol::args::Args;

/// Flags that all of them have.
const FLAGS: Flags = Flags::NOT_QUEUED.and(Flags::NO_SCRIPT).and(Flags::LOADING).and(Flags::STALE);

/// The family's rows.
pub const ROWS: &[Row] = &[
    Row {
        name: "MULTI",
        syntax: "",
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
        syntax: "",
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
        syntax: "",
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
        syntax: "key...",
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
        syntax: "",
        arity: 1,
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST).and(Flags::NO_SCRIPT),
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
    let (db, now) = (ctx.db(), ctx.now);
    for key in args.from(1).iter() {
        let key = ctx.key(key);
        let shard = key.hash.shard(ctx.shards.count()) as u16;
        let watched = WatchedKey { shard, db: db as u16, hash: key.hash };
        if ctx.client.watched.contains(&watched) {
            continue;
        }
        if ctx.client.watched.len() >= WATCHED_MAX {
            return Err(Failure::text("ERR too many watched keys"));
        }
        let flag = ctx.client.watch.get_or_insert_with(Watch::default).clone();
        ctx.client.watched.insert(watched);
        ctx.shard_of(&key).watch(db, &key, &flag, now);
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
    let transaction = ctx.client.transaction.take();
    if args.len() != 1 {
        forget_watches(ctx);
        return Err(Failure::text(
            "EXECABORT Transaction discarded because of: \
             wrong number of arguments for 'exec' command",
        ));
    }
    let Some(transaction) = transaction else {
        return Err(Failure::text("ERR EXEC without MULTI"));
    };
    if transaction.aborted {
        forget_watches(ctx);
        return Err(Failure::text("EXECABORT Transaction discarded because of previous errors."));
    }
    if is_broken(ctx) {
        forget_watches(ctx);
        ctx.reply.null_array();
        return Ok(());
    }
    let db = ctx.client.db;
    ctx.client.executing = true;
    let executed = execute(ctx, &transaction.queued);
    ctx.client.executing = false;
    if let Err(full) = executed {
        ctx.client.transaction = Some(transaction);
        ctx.client.db = db;
        return Err(full);
    }
    forget_watches(ctx);
    Ok(())
}

/// Whether a watched key changed. One whose deadline has passed without anybody noticing yet is
/// ended now, and so breaks the watch.
fn is_broken(ctx: &mut Ctx<'_>) -> bool {
    let Some(flag) = ctx.client.watch.clone() else { return false };
    if !flag.is_broken() {
        for WatchedKey { shard, db, hash } in &ctx.client.watched {
            let shard = ctx.shards.shard(usize::from(*shard));
            shard.settle(usize::from(*db), *hash, ctx.now);
        }
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
    for Queued { row, number, args } in queued {
        let start = ctx.reply.len();
        let may_answer = if row.flags.has(Flags::WRITE) { Ok(()) } else { ctx.reply_fits() };
        match may_answer.and_then(|()| call(ctx, (row, *number), args.as_args()).map(drop)) {
            Ok(()) => changed |= row.flags.has(Flags::WRITE),
            Err(Failure::Full) if !changed => return Err(Failure::Full),
            Err(failure) => {
                let line = match &failure {
                    Failure::Error(line) => line,
                    // All shards are locked for a transaction that may go beyond its keys', and
                    // nothing waits in one.
                    Failure::Full | Failure::Beyond | Failure::Later => OUT_OF_MEMORY,
                };
                ctx.reply.truncate(start);
                fail(ctx.counters, line, &mut ctx.reply);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::counters::{Total, Totals};
    use crate::limits::WATCHED_MAX;
    use crate::testing::Store;

    const QUEUED: &str = "+QUEUED\r\n";
    const OK: &str = "+OK\r\n";

    #[test]
    fn commands_wait_for_exec_and_failures_stand_alone() {
        let mut store = Store::new();
        store.expect(&[
            ("MULTI", OK),
            ("SET s abc", QUEUED),
            ("HSET s f v", QUEUED),
            ("SELECT 1", QUEUED),
            ("SET s def", QUEUED),
            ("HELLO 3", QUEUED),
            ("GET nosuch", QUEUED),
        ]);
        let reply = store.run("EXEC");
        assert!(reply.starts_with("*6\r\n+OK\r\n-WRONGTYPE "), "{reply}");
        assert!(reply.ends_with("_\r\n"), "{reply}");
        store.expect(&[
            ("GET s", "$3\r\ndef\r\n"),
            ("EXEC", "-ERR EXEC without MULTI\r\n"),
            ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ]);
    }

    #[test]
    fn what_a_transaction_runs_is_counted() {
        let mut store = Store::new();
        for line in ["MULTI", "SET s a", "HGET s f", "CLIENT ID", "EXEC", "GET", "AUTH a b"] {
            store.run(line);
        }
        let mut totals = Totals::default();
        totals.add(&store.counters);
        let counted = |total: &Total| (total.name.clone(), total.calls, total.failed);
        let mut counted: Vec<_> = totals.commands().map(counted).collect();
        counted.sort();
        let expected = [
            ("auth", 1, 1),
            ("client|id", 1, 0),
            ("exec", 1, 0),
            ("get", 0, 0),
            ("hget", 1, 1),
            ("multi", 1, 0),
            ("set", 1, 0),
        ];
        assert_eq!(counted, expected.map(|(name, calls, failed)| (name.to_owned(), calls, failed)));
        let get = totals.commands().find(|total| total.name == "get").unwrap();
        assert_eq!(get.rejected, 1);
        assert_eq!(totals.errors.get("WRONGTYPE"), Some(&1));
    }

    #[test]
    fn a_refused_command_aborts_the_whole() {
        let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
        for refused in ["nosuch", "GET", "CLIENT nosuch", "SHUTDOWN"] {
            let mut store = Store::new();
            store.expect(&[("MULTI", OK), ("SET a 1", QUEUED)]);
            assert!(store.run(refused).starts_with("-ERR "), "{refused}");
            store.expect(&[("SET a 2", QUEUED), ("EXEC", aborted), ("GET a", "$-1\r\n")]);
        }
    }

    #[test]
    fn errors_of_the_commands_themselves_do_not_abort() {
        let mut store = Store::new();
        store.expect(&[
            ("MULTI", OK),
            ("MULTI", "-ERR MULTI calls can not be nested\r\n"),
            ("WATCH a", "-ERR WATCH inside MULTI is not allowed\r\n"),
            ("PING", QUEUED),
            ("EXEC", "*1\r\n+PONG\r\n"),
            (
                "EXEC x",
                "-EXECABORT Transaction discarded because of: wrong number of arguments for \
                 'exec' command\r\n",
            ),
        ]);
    }

    #[test]
    fn a_change_in_between_breaks_the_watch() {
        for change in ["SET a 2", "DEL a", "PEXPIRE a 10000", "FLUSHDB", "SWAPDB 0 1"] {
            let mut store = Store::new();
            store.expect(&[("SET a 1", OK), ("WATCH a a b", OK)]);
            store.run(change);
            store.expect(&[("MULTI", OK), ("PING", QUEUED), ("EXEC", "*-1\r\n")]);
            // The next transaction starts afresh.
            store.expect(&[("MULTI", OK), ("PING", QUEUED), ("EXEC", "*1\r\n+PONG\r\n")]);
            assert!(store.client.watched.is_empty() && store.client.watch.is_none());
        }
    }

    #[test]
    fn a_deadline_that_nobody_noticed_breaks_the_watch_too() {
        let mut store = Store::new();
        store.expect(&[("SET a 1 PX 1000", OK), ("WATCH a", OK), ("MULTI", OK)]);
        store.now += 1001;
        store.expect(&[("PING", QUEUED), ("EXEC", "*-1\r\n")]);
        // What was over when it was watched doesn't change any more.
        store.expect(&[("SET a 1 PX 1000", OK)]);
        store.now += 1001;
        store.expect(&[("WATCH a", OK), ("MULTI", OK), ("EXEC", "*0\r\n")]);
    }

    #[test]
    fn reads_unwatch_and_discard_break_nothing() {
        let mut store = Store::new();
        store.expect(&[("SET a 1", OK), ("WATCH a", OK), ("GET a", "$1\r\n1\r\n")]);
        store.expect(&[("MULTI", OK), ("EXEC", "*0\r\n"), ("WATCH a", OK), ("SET a 2", OK)]);
        store.expect(&[("UNWATCH", OK), ("MULTI", OK), ("EXEC", "*0\r\n")]);
        store.expect(&[("WATCH a", OK), ("SET a 2", OK), ("MULTI", OK), ("DISCARD", OK)]);
        store.expect(&[
            ("MULTI", OK),
            ("EXEC", "*0\r\n"),
            ("WATCH a", OK),
            ("RESET", "+RESET\r\n"),
        ]);
        assert!(store.client.watched.is_empty());
    }

    #[test]
    fn a_transaction_without_room_is_repeated_as_a_whole() {
        let mut store = Store::with_segments(24);
        let value = vec![b'x'; 40 << 20];
        store.run("MULTI");
        store.run("SELECT 2");
        assert_eq!(store.run_bytes(&[b"SET", b"a", &value]), QUEUED.as_bytes());
        assert!(store.run("EXEC").starts_with("-OOM "));
        let kept = store.client.transaction.as_ref().map(|kept| kept.queued.len());
        assert_eq!((kept, store.client.db), (Some(2), 0));
    }

    #[test]
    fn what_a_client_may_watch_is_bounded() {
        let mut store = Store::new();
        let keys: Vec<String> = (0..WATCHED_MAX).map(|n| format!("key:{n}")).collect();
        let all = format!("WATCH {}", keys.join(" "));
        store.expect(&[
            (&all, OK),
            (&all, OK),
            ("WATCH one:more", "-ERR too many watched keys\r\n"),
            ("MULTI", OK),
            ("EXEC", "*0\r\n"),
            ("WATCH one:more", OK),
            ("SET key:7 v", OK),
            ("MULTI", OK),
            ("EXEC", "*0\r\n"),
        ]);
        assert!(store.client.watched.is_empty());
    }
}
