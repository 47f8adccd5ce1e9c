//! From a request's arguments to its answer.
//!
//! ```text
//! admit: name -> row, or an error, or QUEUED      (no locks, no shards)
//! locks: row  -> the keys whose shards the caller has to lock
//! run:   row  -> handler -> answer, or Again       (under those locks)
//! ```
//!
//! What always holds: a request that was answered by [`admit`] or [`run`] has had exactly one reply
//! written for it, unless the client wants none (CLIENT REPLY); after [`Again`] nothing is
//! written and the request can be run again. Nothing is allocated on the way of a common request.
//! Not for: locking, making room, pausing, time. The caller does that.

use crate::client::{Client, Queued, ReplyMode, Transaction, WatchedKey};
use crate::context::Ctx;
use crate::counters::{Command, Counters};
use crate::failure::Failure;
use crate::limits::{QUEUED_BYTES_MAX, QUEUED_MAX};
use crate::row::{Flags, Outcome, Row};
use crate::table::{Number, find_numbered, find_subcommand_numbered};
use engine::KeyHash;
use protocol::args::{Args, OwnedArgs};
use protocol::resp::Reply;

/// What a client gets whose key is longer than any may be.
pub const KEY_TOO_LONG: &str = "ERR a key may have 16000 bytes at most";

const _: () = assert!(engine::limits::KEY_MAX == 16_000);

/// What a client gets if there is no memory for its request and none can be made.
pub const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// The same for EXEC.
pub const EXEC_OUT_OF_MEMORY: &str = "EXECABORT Transaction discarded because of: \
     OOM command not allowed when used memory > 'maxmemory'.";

/// How much of an unknown name, and of the arguments with it, an error repeats.
const QUOTED_BYTES: usize = 128;

/// Finds what to execute, or answers itself: an error, or QUEUED inside MULTI.
#[inline]
pub fn admit(
    client: &mut Client,
    counters: &Counters,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Option<&'static Row> {
    let start = reply.len();
    let refusal = match look_up(args) {
        Ok(found) => {
            client.command = found.number;
            match check(client, args, found) {
                Ok(Verdict::Execute) => return Some(found.row),
                Ok(Verdict::Queued) => {
                    reply.queued();
                    settle(client, reply, start);
                    return None;
                }
                Err(refusal) => {
                    counters.rejected(found.number);
                    refusal
                }
            }
        }
        Err(refusal) => refusal,
    };
    client.abort_transaction();
    fail(counters, &refusal, reply);
    settle(client, reply, start);
    None
}

/// While the store is being loaded: refuses what needs more than the server itself. False if it's to
/// be executed as ever.
#[cold]
pub fn must_wait(
    client: &mut Client,
    counters: &Counters,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> bool {
    let Ok(found) = look_up(args) else { return false };
    if found.row.flags.has(Flags::LOADING) || !client.authenticated {
        return false;
    }
    client.command = found.number;
    client.abort_transaction();
    refuse(client, counters, LOADING, reply);
    true
}

/// Why a command has to be run again. Nothing was changed or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    /// There was no room: make some, or [`refuse`] it.
    Full,
    /// It needs all shards.
    AllShards,
    /// It waits for what [`Client::waiting`] says.
    Later,
}

/// Executes a command under the locks that [`locks`] asked for. Answers the nanoseconds that it
/// took, unless it's one that never takes long.
///
/// # Errors
/// See [`Again`].
#[inline]
pub fn run(ctx: &mut Ctx<'_>, row: &'static Row, args: Args<'_>) -> Result<Option<u64>, Again> {
    let start = ctx.reply.len();
    let mut took = None;
    match call(ctx, (row, ctx.client.command), args) {
        Ok(measured) => took = measured,
        Err(Failure::Error(line)) => {
            ctx.reply.truncate(start);
            fail(ctx.counters, &line, &mut ctx.reply);
        }
        Err(Failure::Full) => {
            ctx.reply.truncate(start);
            return Err(Again::Full);
        }
        Err(Failure::Beyond) => {
            ctx.reply.truncate(start);
            return Err(Again::AllShards);
        }
        Err(Failure::Later) => {
            ctx.reply.truncate(start);
            return Err(Again::Later);
        }
    }
    settle(ctx.client, &mut ctx.reply, start);
    Ok(took)
}

/// Calls a handler and counts that. Answers as [`run`] does.
#[inline]
pub(crate) fn call(
    ctx: &mut Ctx<'_>,
    (row, number): (&'static Row, Number),
    args: Args<'_>,
) -> Result<Option<u64>, Failure> {
    let counters: &Counters = ctx.counters;
    let Some(command) = counters.of(number) else {
        return (row.handler)(ctx, args).map(|()| None);
    };
    if command.is_due() || !row.is_brief() {
        return call_timed(ctx, (row, command), args);
    }
    let outcome = (row.handler)(ctx, args);
    count(command, &outcome);
    outcome.map(|()| None)
}

#[inline(never)]
fn call_timed(
    ctx: &mut Ctx<'_>,
    (row, command): (&'static Row, &Command),
    args: Args<'_>,
) -> Result<Option<u64>, Failure> {
    let start = ctx.host.ticks_ns();
    let outcome = (row.handler)(ctx, args);
    let took = ctx.host.ticks_ns().saturating_sub(start);
    if !matches!(outcome, Err(Failure::Full | Failure::Beyond | Failure::Later)) {
        command.took(took, row.is_brief());
    }
    count(command, &outcome);
    outcome.map(|()| (!row.is_brief()).then_some(took))
}

/// Counts a call; one that found no memory will be repeated.
#[inline]
fn count(command: &Command, outcome: &Outcome) {
    match outcome {
        Ok(()) => {}
        Err(Failure::Error(_)) => command.failed(),
        Err(Failure::Full | Failure::Beyond | Failure::Later) => return,
    }
    command.called();
}

/// The answer to nearly everything while the store is being loaded.
pub const LOADING: &str = "LOADING the store's files are being read; INFO persistence says how far";

/// The answer to a write while the log can't be written.
pub const LOG_FAILED: &str = "MISCONF Errors writing to the AOF file: writes are refused until it \
                              can be written again. Reads go on.";

/// The answer to a revocation then: nobody sees the key any more, unless the server is started anew.
pub const ENDED_IN_MEMORY: &str = "MISCONF ended in memory, not on disk: the AOF file can't be \
                                   written";

/// Answers a request that was admitted but can't be run with an error line (without `-`).
pub fn refuse(client: &mut Client, counters: &Counters, line: &str, reply: &mut Reply<'_>) {
    let start = reply.len();
    (client.waiting, client.unblocked) = (None, None);
    counters.rejected(client.command);
    fail(counters, line, reply);
    settle(client, reply, start);
}

/// Which shards a command needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locks {
    /// Those of the keys that were shown (of none, if there are none).
    Keys,
    /// One at a time, as the handler asks for them.
    InTurn,
    /// All of them at once: a transaction with a command that is about whole databases.
    All,
}

/// Shows each key whose shard must be locked while `row` runs; [`watched_shards`] has more.
#[inline]
pub fn locks(
    client: &Client,
    row: &'static Row,
    args: Args<'_>,
    mut see: impl FnMut(&[u8]),
) -> Locks {
    row.keys.positions(args).for_each(|at| see(args.at(at)));
    if row.flags.has(Flags::NOT_QUEUED) {
        return transaction_locks(client, row, see);
    }
    locks_of(row)
}

#[inline]
const fn locks_of(row: &Row) -> Locks {
    if row.flags.has(Flags::ALL_SHARDS) {
        Locks::All
    } else if row.flags.has(Flags::WHOLE) {
        Locks::InTurn
    } else {
        Locks::Keys
    }
}

/// The shards that must be locked while `row` runs beside those of its keys: EXEC looks at what
/// the client watches.
pub fn watched_shards(client: &Client, row: &'static Row) -> impl Iterator<Item = usize> {
    let mut from = is_exec(row).then_some(0);
    std::iter::from_fn(move || {
        let first = WatchedKey { shard: from?, db: 0, hash: KeyHash(0) };
        let shard = client.watched.range(first..).next()?.shard;
        from = shard.checked_add(1);
        Some(usize::from(shard))
    })
}

/// Whether a command may change state, for CLIENT PAUSE WRITE; EXEC does if what it runs does.
pub fn writes(client: &Client, row: &'static Row) -> bool {
    row.flags.has(Flags::WRITE) || is_exec(row) && queues(client, Flags::WRITE)
}

/// Whether a command may need memory; EXEC does if what it runs does.
#[inline]
pub fn takes_memory(client: &Client, row: &'static Row) -> bool {
    row.flags.has(Flags::DENYOOM) || is_exec(row) && queues(client, Flags::DENYOOM)
}

/// Takes the client's watched keys out of their shards, one shard after the other.
pub fn forget_watches(ctx: &mut Ctx<'_>) {
    let mut watched = std::mem::take(&mut ctx.client.watched).into_iter().peekable();
    let Some(watch) = ctx.client.watch.take() else { return };
    while let Some(WatchedKey { shard, .. }) = watched.peek().copied() {
        let here = std::iter::from_fn(|| watched.next_if(|key| key.shard == shard));
        let keys = here.map(|key| (usize::from(key.db), key.hash));
        ctx.shards.shard(usize::from(shard)).unwatch(&watch, keys);
    }
}

/// Writes an error line and counts it by its code.
pub(crate) fn fail(counters: &Counters, line: &str, reply: &mut Reply<'_>) {
    counters.error(line);
    reply.error(line);
}

/// The row to execute, and its number.
#[derive(Clone, Copy)]
struct Found {
    row: &'static Row,
    number: Number,
}

enum Verdict {
    Execute,
    Queued,
}

#[inline]
fn look_up(args: Args<'_>) -> Result<Found, String> {
    let found = find_numbered(args.at(0)).ok_or_else(|| unknown(args))?;
    let (row, number) = found;
    if row.subcommands.is_empty() || args.len() < 2 {
        return Ok(Found { row, number });
    }
    match find_subcommand_numbered(found, args.at(1)) {
        Some((row, number)) => Ok(Found { row, number }),
        None => Err(unknown_subcommand(row, args.at(1))),
    }
}

/// Whether the command is executed now or later; the error line if it's neither.
#[inline]
fn check(client: &mut Client, args: Args<'_>, found: Found) -> Result<Verdict, String> {
    let row = found.row;
    if !row.accepts(args.len()) {
        // EXEC ends the transaction in any case; its handler has the locks that this takes.
        if is_exec(row) && client.authenticated {
            return Ok(Verdict::Execute);
        }
        return Err(wrong_arity(found.number.name()));
    }
    if !client.authenticated && !row.flags.has(Flags::NO_AUTH) {
        return Err("NOAUTH Authentication required.".to_owned());
    }
    match &mut client.transaction {
        None => Ok(Verdict::Execute),
        Some(transaction) => queue(transaction, args, found),
    }
}

#[cold]
fn queue(
    transaction: &mut Transaction,
    args: Args<'_>,
    Found { row, number }: Found,
) -> Result<Verdict, String> {
    if row.flags.has(Flags::NOT_QUEUED) {
        return Ok(Verdict::Execute);
    }
    if row.flags.has(Flags::NO_MULTI) {
        return Err("ERR Command not allowed inside a transaction".to_owned());
    }
    if transaction.aborted {
        // It will never run, so there is no reason to keep it.
        return Ok(Verdict::Queued);
    }
    let args = OwnedArgs::from_args(args);
    let bytes = transaction.bytes + args.size() + size_of::<Queued>();
    if transaction.queued.len() >= QUEUED_MAX || bytes > QUEUED_BYTES_MAX {
        transaction.queued = Vec::new();
        return Err("ERR too many commands or too much data queued in a transaction".to_owned());
    }
    transaction.bytes = bytes;
    transaction.queued.push(Queued { row, number, args });
    Ok(Verdict::Queued)
}

#[cold]
fn transaction_locks(client: &Client, row: &'static Row, mut see: impl FnMut(&[u8])) -> Locks {
    let Some(transaction) = client.transaction.as_ref().filter(|_| is_exec(row)) else {
        return locks_of(row);
    };
    for Queued { row, args, .. } in &transaction.queued {
        let args = args.as_args();
        row.keys.positions(args).for_each(|at| see(args.at(at)));
    }
    let flags = |queued: &Queued| queued.row.flags;
    let whole = transaction.queued.iter().map(flags).any(|flags| {
        flags.has(Flags::WHOLE) || flags.has(Flags::ALL_SHARDS) || flags.has(Flags::BEYOND)
    });
    if whole { Locks::All } else { Locks::Keys }
}

/// Whether a command may take something away for good; EXEC does if one of its commands may.
pub fn revokes(client: &Client, row: &Row) -> bool {
    row.flags.has(Flags::REVOKES) || is_exec(row) && queues(client, Flags::REVOKES)
}

fn queues(client: &Client, flag: Flags) -> bool {
    let queued = client.transaction.iter().flat_map(|transaction| &transaction.queued);
    queued.into_iter().any(|queued| queued.row.flags.has(flag))
}

#[inline]
fn is_exec(row: &Row) -> bool {
    row.flags.has(Flags::NOT_QUEUED) && row.name == "EXEC"
}

/// Drops the reply if the client wants none, and steps CLIENT REPLY SKIP on.
#[inline]
fn settle(client: &mut Client, reply: &mut Reply<'_>, start: usize) {
    if client.reply_mode == ReplyMode::On {
        return;
    }
    if matches!(client.reply_mode, ReplyMode::Off | ReplyMode::Skip) {
        reply.truncate(start);
    }
    client.reply_mode = match client.reply_mode {
        ReplyMode::SkipNext => ReplyMode::Skip,
        ReplyMode::Skip => ReplyMode::On,
        kept => kept,
    };
}

#[cold]
fn unknown(args: Args<'_>) -> String {
    let mut quoted = String::new();
    for arg in args.iter().skip(1) {
        let room = QUOTED_BYTES.saturating_sub(quoted.len());
        if room == 0 {
            break;
        }
        quoted += &format!("'{}' ", excerpt(arg, room));
    }
    let name = excerpt(args.at(0), QUOTED_BYTES);
    format!("ERR unknown command '{name}', with args beginning with: {quoted}")
}

#[cold]
fn unknown_subcommand(row: &Row, name: &[u8]) -> String {
    let name = excerpt(name, QUOTED_BYTES);
    format!("ERR unknown subcommand '{name}'. Try {} HELP.", row.name)
}

#[cold]
fn wrong_arity(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    format!("ERR wrong number of arguments for '{name}' command")
}

/// At most `most` bytes of what a client sent, up to a NUL, fit for one line.
pub(crate) fn excerpt(bytes: &[u8], most: usize) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text.get(..most).unwrap_or(text));
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find;
    use crate::testing::Store;

    fn needs(store: &Store, line: &str) -> (Locks, Vec<String>) {
        let mut args = OwnedArgs::default();
        line.split(' ').for_each(|word| args.push(word.as_bytes()));
        let row = look_up(args.as_args()).ok().unwrap().row;
        let mut keys = Vec::new();
        let locks = locks(&store.client, row, args.as_args(), |key| {
            keys.push(String::from_utf8_lossy(key).into_owned());
        });
        (locks, keys)
    }

    #[test]
    fn unknown_names_are_quoted_within_bounds() {
        let mut store = Store::new();
        let long = "x".repeat(300);
        store.expect(&[
            (
                "nosuch \"a\\r\\nb\" c",
                "-ERR unknown command 'nosuch', with args beginning with: 'a  b' 'c' \r\n",
            ),
            ("\"\"", "-ERR unknown command '', with args beginning with: \r\n"),
        ]);
        let reply = store.run(&format!("{long} {long} {long}"));
        let cut = "x".repeat(128);
        let expected =
            format!("-ERR unknown command '{cut}', with args beginning with: '{cut}' \r\n");
        assert_eq!(reply, expected);
    }

    #[test]
    fn before_authentication_little_is_allowed() {
        let mut store = Store::new();
        store.client.authenticated = false;
        let refused = "-NOAUTH Authentication required.\r\n";
        store.expect(&[
            ("GET a", refused),
            ("MULTI", refused),
            ("CLIENT LIST", refused),
            ("EXEC x", "-ERR wrong number of arguments for 'exec' command\r\n"),
            ("nosuch", "-ERR unknown command 'nosuch', with args beginning with: \r\n"),
        ]);
        assert!(store.run("HELLO 3").starts_with("-NOAUTH HELLO must be called with"));
        store.expect(&[("AUTH default x", "+OK\r\n"), ("GET a", "$-1\r\n")]);
    }

    #[test]
    fn locks_cover_what_a_transaction_runs_and_watches() {
        let mut store = Store::new();
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        assert_eq!(needs(&store, "GET a"), (Locks::Keys, keys(&["a"])));
        assert_eq!(needs(&store, "PING"), (Locks::Keys, keys(&[])));
        assert_eq!(needs(&store, "INFO"), (Locks::InTurn, keys(&[])));
        store.expect(&[("WATCH w v", "+OK\r\n")]);
        assert_eq!(needs(&store, "GET a"), (Locks::Keys, keys(&["a"])));
        assert_eq!(needs(&store, "UNWATCH"), (Locks::Keys, keys(&[])));
        assert_eq!(needs(&store, "WATCH x"), (Locks::Keys, keys(&["x"])));
        store.expect(&[
            ("MULTI", "+OK\r\n"),
            ("GET a", "+QUEUED\r\n"),
            ("MGET b c", "+QUEUED\r\n"),
        ]);
        assert_eq!(needs(&store, "DISCARD"), (Locks::Keys, keys(&[])));
        assert_eq!(needs(&store, "EXEC"), (Locks::Keys, keys(&["a", "b", "c"])));
        let exec = find(b"exec").unwrap();
        let mut shards: Vec<usize> = store.client.watched.iter().map(|k| k.shard.into()).collect();
        shards.dedup();
        assert_eq!(watched_shards(&store.client, exec).collect::<Vec<_>>(), shards);
        assert_eq!(watched_shards(&store.client, find(b"discard").unwrap()).next(), None);
        assert!(!writes(&store.client, exec) && !takes_memory(&store.client, exec));
        store.expect(&[("SET d 1", "+QUEUED\r\n")]);
        assert!(writes(&store.client, exec) && takes_memory(&store.client, exec));
        store.expect(&[("INFO", "+QUEUED\r\n")]);
        assert_eq!(needs(&store, "EXEC").0, Locks::All);
    }

    #[test]
    fn what_a_transaction_may_hold_is_bounded() {
        let mut store = Store::new();
        store.run("MULTI");
        for _ in 0..QUEUED_MAX {
            store.run("PING");
        }
        assert!(store.run("PING").starts_with("-ERR too many commands"));
        // What comes after is not kept either.
        assert_eq!(store.run("PING"), "+QUEUED\r\n");
        let kept = store.client.transaction.as_ref().map(|kept| kept.queued.len());
        assert_eq!(kept, Some(0));
        assert!(store.run("EXEC").starts_with("-EXECABORT "));
    }
}
