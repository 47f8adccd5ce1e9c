//! RESP requests: a batch decoded, fetched ahead, and executed one by one.
//!
//! What always holds: requests of a connection are executed in their order; one that has to wait
//! (CLIENT PAUSE, WAITAOF) leaves its bytes and those after it in the input; what ends a pause never waits.

use crate::ahead::BATCH;
use crate::connection::{Connection, Decoded, Served, Worker};
use crate::limits::TRIES;
use crate::locks::Locked;
use crate::{Node, Now, Until};
use commands::counters::NOWHERE;
use commands::dispatch::{self, Again, Locks};
use commands::{Client, Counters, Ctx, Flags, Host, Keys, Row};
use engine::KeyHash;
use engine::limits::KEY_MAX;
use protocol::args::{Args, Span};
use protocol::resp::{Decoder, Outcome, Reply, is_http_verb};
use smallvec::SmallVec;

/// Batches of one connection in one call, so that it doesn't starve the others.
const BATCHES: usize = 4;
/// Bytes of replies after which a call ends.
const OUTPUT_PER_CALL: usize = 64 * 1024;

/// What the shell gives for executing requests.
pub trait World {
    /// What commands may ask and tell the server.
    fn host(&self) -> &dyn Host;
    /// Until when (Unix milliseconds) a request has to wait that writes, or that doesn't.
    fn paused(&self, writes: bool) -> Option<u64>;
    /// Whether the store isn't whole yet, since its files are being read.
    fn is_loading(&self) -> bool {
        false
    }
    /// Whether writes are refused, since they couldn't be made to last.
    fn refuses_writes(&self) -> bool {
        false
    }
    /// A command that isn't fast by nature took this long.
    fn took(&self, client: &Client, args: Args<'_>, microseconds: u64);
}

/// What a request is executed with.
struct Around<'a> {
    world: &'a dyn World,
    host: &'a dyn Host,
    counters: &'a Counters,
    now: Now,
    /// Only what needs no keys is executed.
    loading: bool,
}

impl Node {
    /// Executes the requests at the start of `input`.
    pub fn serve(
        &self,
        worker: &mut Worker,
        connection: &mut Connection,
        world: &dyn World,
        input: &[u8],
        out: &mut Vec<u8>,
        now: Now,
    ) -> Served {
        let mut served = Served::default();
        connection.until = Until::default();
        let Worker { spans, batch, counters, .. } = worker;
        let around =
            Around { world, host: world.host(), counters, now, loading: world.is_loading() };
        for _ in 0..BATCHES {
            let more = self.batch((spans, batch), connection, &around, input, out, &mut served);
            served.until = connection.until;
            if !more {
                return served;
            }
        }
        served.again = true;
        served
    }

    /// Takes a client's watches back when it goes.
    pub fn forget(&self, connection: &mut Connection, host: &dyn Host, now: Now) {
        let client = &mut connection.client;
        if client.watched.is_empty() {
            return;
        }
        let mut locked = Locked::in_turn(self);
        let mut out = Vec::new();
        let reply = Reply::new(&mut out, client.version);
        let mut ctx = Ctx {
            now: now.ms,
            now_us: now.us,
            client,
            shards: &mut locked,
            host,
            counters: &NOWHERE,
            reply,
            hashed: None,
        };
        dispatch::forget_watches(&mut ctx);
    }

    /// One batch; whether there may be more.
    fn batch(
        &self,
        (spans, batch): (&mut Vec<Span>, &mut Vec<Decoded>),
        connection: &mut Connection,
        around: &Around<'_>,
        input: &[u8],
        out: &mut Vec<u8>,
        served: &mut Served,
    ) -> bool {
        spans.clear();
        batch.clear();
        connection.limits.authenticated = connection.client.authenticated;
        // Before it has logged in, a client's requests are taken one at a time: each may change
        // what the next one is allowed.
        let most = if connection.client.authenticated { BATCH } else { 1 };
        let mut at = served.consumed;
        let mut ended = None;
        while batch.len() < most {
            let rest = input.get(at..).unwrap_or_default();
            let first = spans.len();
            match connection.decoder.decode(rest, spans, &connection.limits) {
                Outcome::Done { consumed } => {
                    let last = spans.len();
                    batch.push(Decoded { base: at, end: at + consumed, first, last });
                    at += consumed;
                }
                other => {
                    ended = Some(other);
                    break;
                }
            }
        }
        if !self.execute_batch((spans, batch), connection, around, input, out, served) {
            if served.consumed != at {
                // What the decoder knows of an incomplete request is about bytes further on.
                connection.decoder = Decoder::default();
            }
            return false;
        }
        match ended {
            None => true,
            Some(Outcome::NeedMore { at_least }) => {
                served.want = at_least;
                false
            }
            Some(Outcome::DoneInline { consumed }) => {
                let owned = connection.decoder.take_inline();
                if !self.execute(connection, around, owned.as_args(), None, out, served) {
                    // It waits: its bytes stay.
                    connection.decoder = Decoder::default();
                    return false;
                }
                served.consumed += consumed;
                !served.close
            }
            Some(Outcome::Fail(fail)) => {
                let mut reply = Reply::new(out, connection.client.version);
                reply.error(&format!("ERR {}", fail.message()));
                served.consumed = input.len();
                served.close = true;
                false
            }
            Some(Outcome::Done { .. }) => true,
        }
    }

    fn execute_batch(
        &self,
        (spans, batch): (&[Span], &[Decoded]),
        connection: &mut Connection,
        around: &Around<'_>,
        input: &[u8],
        out: &mut Vec<u8>,
        served: &mut Served,
    ) -> bool {
        let args_of = |decoded: &Decoded| {
            let spans = spans.get(decoded.first..decoded.last).unwrap_or_default();
            Args::new(input.get(decoded.base..).unwrap_or_default(), spans)
        };
        let enough = out.len() + OUTPUT_PER_CALL;
        let hashes = match batch {
            [] | [_] => SmallVec::new(),
            // Nearly every command that has a key has it first; for the others this is a waste.
            _ => {
                let keys = batch.iter().map(|decoded| args_of(decoded).at(1));
                self.fetch_ahead(keys, connection.client.db)
            }
        };
        for (i, decoded) in batch.iter().enumerate() {
            let args = args_of(decoded);
            if !args.is_empty() {
                let hash = hashes.get(i).copied();
                if !self.execute(connection, around, args, hash, out, served) {
                    // It waits: its bytes stay.
                    return false;
                }
            }
            served.consumed = decoded.end;
            if served.close {
                return false;
            }
            if out.len() > enough {
                // The loop looks at its bounds on waiting replies between two calls.
                served.again = true;
                return false;
            }
        }
        true
    }

    /// Executes one request; false if it has to wait.
    #[inline]
    fn execute(
        &self,
        connection: &mut Connection,
        around: &Around<'_>,
        args: Args<'_>,
        hash: Option<KeyHash>,
        out: &mut Vec<u8>,
        served: &mut Served,
    ) -> bool {
        let client = &mut connection.client;
        let mut reply = Reply::new(out, client.version);
        let in_transaction = client.transaction.is_some();
        if around.loading && dispatch::must_wait(client, around.counters, args, &mut reply) {
            served.requests += 1;
            return true;
        }
        let Some(row) = dispatch::admit(client, around.counters, args, &mut reply) else {
            served.requests += 1;
            served.http = !in_transaction && is_http_verb(args.at(0));
            served.close |= client.close || served.http;
            return true;
        };
        let writes = dispatch::writes(client, row);
        if let Some(until) = around.world.paused(writes)
            && !row.flags.has(Flags::NO_PAUSE)
        {
            served.pause_until = Some(until);
            return false;
        }
        served.requests += 1;
        if writes && around.world.refuses_writes() {
            self.refuse_write((connection, row), around, args, out);
            return true;
        }
        let hashed = match (row.keys, hash) {
            (Keys::None, _) => None,
            (_, Some(hash)) => Some((args.at(1), hash)),
            (_, None) => Some((args.at(1), self.secret.hash(args.at(1)))),
        };
        for tries in 0..TRIES {
            let starved = self.is_short() && dispatch::takes_memory(&connection.client, row);
            if !starved {
                match self.run((connection, row, writes), around, args, hashed, out) {
                    Ok(()) => {
                        served.close |= connection.client.close;
                        return true;
                    }
                    Err(Again::Later) => {
                        served.requests -= 1;
                        served.waiting = connection.client.waiting;
                        return false;
                    }
                    Err(Again::Full | Again::AllShards) => {}
                }
            }
            if !self.make_room(tries, around.now.ms) {
                break;
            }
        }
        self.refuse(connection, around, out);
        true
    }

    /// Answers a write while none can be made to last. What takes something away is done all the
    /// same: a session that somebody ended must not be served on; but nobody is told that it's done.
    #[cold]
    fn refuse_write(
        &self,
        (connection, row): (&mut Connection, &'static Row),
        around: &Around<'_>,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) {
        let mut line = dispatch::LOG_FAILED;
        if row.flags.has(Flags::REVOKES) {
            // It needs no memory, so it doesn't fail; its reply and what that would wait for go.
            let (until, before) = (connection.until, out.len());
            let done = self.run((connection, row, true), around, args, None, out);
            connection.until = until;
            let is_error = out.get(before).is_some_and(|first| *first == b'-');
            if done.is_ok() && is_error {
                return;
            }
            out.truncate(before);
            line = dispatch::ENDED_IN_MEMORY;
        }
        let client = &mut connection.client;
        let mut reply = Reply::new(out, client.version);
        dispatch::refuse(client, around.counters, line, &mut reply);
    }

    /// Answers a request for which no room could be made. With EXEC its transaction ends.
    #[cold]
    fn refuse(&self, connection: &mut Connection, around: &Around<'_>, out: &mut Vec<u8>) {
        let ended = connection.client.transaction.take().is_some();
        if ended {
            self.forget(connection, around.host, around.now);
        }
        let line = if ended { dispatch::EXEC_OUT_OF_MEMORY } else { dispatch::OUT_OF_MEMORY };
        let client = &mut connection.client;
        let mut reply = Reply::new(out, client.version);
        dispatch::refuse(client, around.counters, line, &mut reply);
    }

    #[inline]
    fn run(
        &self,
        (connection, row, writes): (&mut Connection, &'static Row, bool),
        around: &Around<'_>,
        args: Args<'_>,
        hashed: Option<(&[u8], KeyHash)>,
        out: &mut Vec<u8>,
    ) -> Result<(), Again> {
        let client = &mut connection.client;
        let locked = match hashed {
            Some((key, hash)) if row.keys == Keys::FIRST && !row.flags.has(Flags::NOT_QUEUED) => {
                let fits = key.len() <= KEY_MAX;
                fits.then(|| Locked::one(self, hash))
            }
            _ => self.lock_for(client, row, args),
        };
        let Some(locked) = locked else {
            let mut reply = Reply::new(out, client.version);
            dispatch::refuse(client, around.counters, dispatch::KEY_TOO_LONG, &mut reply);
            return Ok(());
        };
        match self.run_under(locked, (connection, row, writes), around, args, hashed, out) {
            Err(Again::AllShards) => {
                self.run_under_all((connection, row, writes), around, args, out)
            }
            outcome => outcome,
        }
    }

    /// Runs a command that needs more shards than its keys say.
    #[cold]
    #[inline(never)]
    fn run_under_all(
        &self,
        (connection, row, writes): (&mut Connection, &'static Row, bool),
        around: &Around<'_>,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Again> {
        self.run_under(Locked::all(self), (connection, row, writes), around, args, None, out)
    }

    #[inline(always)]
    fn run_under(
        &self,
        mut locked: Locked<'_>,
        (connection, row, writes): (&mut Connection, &'static Row, bool),
        around: &Around<'_>,
        args: Args<'_>,
        hashed: Option<(&[u8], KeyHash)>,
        out: &mut Vec<u8>,
    ) -> Result<(), Again> {
        let client = &mut connection.client;
        let version = client.version;
        let revokes = writes && dispatch::revokes(client, row);
        let mut ctx = Ctx {
            now: around.now.ms,
            now_us: around.now.us,
            client,
            shards: &mut locked,
            host: around.host,
            counters: around.counters,
            reply: Reply::new(out, version),
            hashed,
        };
        let outcome = dispatch::run(&mut ctx, row, args);
        let until = locked.end();
        if writes {
            let until = self.journal.told(until, revokes);
            connection.until = connection.until.and(until);
            connection.client.wrote = connection.client.wrote.max(until.own);
        } else {
            connection.until = connection.until.and(until.seen());
        }
        if let Some(nanoseconds) = outcome? {
            around.world.took(&connection.client, args, nanoseconds / 1000);
        }
        Ok(())
    }

    /// Locks what a command needs; none if one of its keys is too long for any command.
    fn lock_for(&self, client: &Client, row: &'static Row, args: Args<'_>) -> Option<Locked<'_>> {
        let mut numbers: SmallVec<[usize; 16]> = SmallVec::new();
        let mut longest = 0;
        let locks = dispatch::locks(client, row, args, |key| {
            longest = key.len().max(longest);
            numbers.push(self.secret.hash(key).shard(self.shard_count()));
        });
        if longest > KEY_MAX {
            return None;
        }
        numbers.extend(dispatch::watched_shards(client, row));
        Some(match locks {
            Locks::Keys => Locked::these(self, numbers),
            Locks::InTurn => Locked::in_turn(self),
            Locks::All => Locked::all(self),
        })
    }
}
