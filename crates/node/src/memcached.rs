//! memcached's requests: decoded and executed one by one.
//!
//! What always holds: requests of a connection are executed in their order; a request of one key
//! runs under the lock of its shard, one of many keys takes their shards in turn. A delayed
//! `flush_all` that is due happens before any request.

use crate::ahead::BATCH;
use crate::connection::Served;
use crate::limits::TRIES;
use crate::locks::Locked;
use crate::{Node, Now, Until, World};
use commands::memcached::{self, Counters, Ctx, DATABASE, Done, Settings};
use engine::KeyHash;
use protocol::memcached::{McDecoder, McLimits, McOutcome, Request, keys_ahead};

/// Requests executed in one call, so that a connection doesn't starve the others.
const REQUESTS_PER_CALL: usize = 64;
/// Bytes of replies after which a call ends.
const OUTPUT_PER_CALL: usize = 64 * 1024;

/// A memcached connection, as the node sees it.
#[derive(Debug)]
pub struct McConnection {
    client: u64,
    decoder: McDecoder,
}

impl McConnection {
    /// A connection of the client of that number.
    pub fn new(client: u64) -> Self {
        Self { client, decoder: McDecoder::default() }
    }
}

/// What memcached's requests are executed with.
#[derive(Clone, Copy)]
pub struct McAround<'a> {
    /// What all requests need of the shell.
    pub world: &'a dyn World,
    /// What memcached's need beyond that.
    pub facts: &'a dyn memcached::World,
    /// The settings.
    pub settings: &'a Settings,
    /// The worker's counters.
    pub counters: &'a Counters,
}

impl Node {
    /// Executes the memcached requests at the start of `input`.
    pub fn serve_memcached(
        &self,
        connection: &mut McConnection,
        around: &McAround<'_>,
        input: &[u8],
        out: &mut Vec<u8>,
        now: Now,
    ) -> Served {
        let mut served = Served::default();
        let enough = out.len() + OUTPUT_PER_CALL;
        let limits = McLimits { item_max: around.settings.item_size_max };
        self.flush_if_due(now);
        for number in 0..REQUESTS_PER_CALL {
            let rest = input.get(served.consumed..).unwrap_or_default();
            if rest.is_empty() {
                return served;
            }
            if number % BATCH == 1 {
                // The first was foreseen; more than one came at once.
                self.fetch_ahead(keys_ahead(rest), DATABASE);
            }
            let McConnection { client, decoder } = connection;
            let swallow = match decoder.decode(rest, &limits) {
                McOutcome::NeedMore { at_least } => {
                    served.want = at_least;
                    return served;
                }
                McOutcome::Close { line } => {
                    say(line, out);
                    served.consumed = input.len();
                    (served.close, served.http) = (true, true);
                    return served;
                }
                McOutcome::Reject { consumed, line, swallow } => {
                    say(line, out);
                    served.consumed += consumed;
                    served.requests += 1;
                    swallow
                }
                McOutcome::Request { request, consumed, swallow } => {
                    if let Some(until) = around.world.paused(memcached::writes(&request)) {
                        served.pause_until = Some(until);
                        return served;
                    }
                    let writes = memcached::writes(&request);
                    let refused = writes && around.world.refuses_writes();
                    if around.world.is_loading() && memcached::needs_store(&request) {
                        tell(b"SERVER_ERROR loading: files are being read", &request, out);
                    } else if refused && !matches!(request, Request::Delete { .. }) {
                        tell(b"SERVER_ERROR the log can't be written", &request, out);
                    } else {
                        let before = out.len();
                        let (done, until) =
                            self.execute_memcached(*client, around, &request, out, now);
                        served.close = done == Done::Quit;
                        if refused {
                            // What is to go is gone, but nobody is told that it stays so.
                            out.truncate(before);
                            let line = b"SERVER_ERROR deleted in memory, not on disk";
                            tell(line, &request, out);
                        } else {
                            let until =
                                if writes { self.journal.told(until, false) } else { until.seen() };
                            served.until = served.until.and(until);
                        }
                    }
                    served.consumed += consumed;
                    served.requests += 1;
                    swallow
                }
            };
            served.swallow = swallow;
            if served.close {
                return served;
            }
            if swallow > 0 || out.len() > enough {
                break;
            }
        }
        served.again = true;
        served
    }

    /// Empties the database if a delayed `flush_all` is due.
    pub(crate) fn flush_if_due(&self, now: Now) {
        if self.flush.next().is_some_and(|at| at <= now.ms) {
            // Emptying needs no memory, so it doesn't fail.
            let _ = memcached::flush_if_due(&self.flush, &mut Locked::all(self), now.ms);
        }
    }

    /// Executes one request, again after making room if it found none.
    fn execute_memcached(
        &self,
        client: u64,
        around: &McAround<'_>,
        request: &Request<'_>,
        out: &mut Vec<u8>,
        now: Now,
    ) -> (Done, Until) {
        let hashed = request.key().map(|key| (key, self.secret.hash(key)));
        if let Request::Get { keys, .. } = request
            && keys.clone().nth(1).is_some()
        {
            self.fetch_ahead(*keys, DATABASE);
        }
        let before = out.len();
        for tries in 0..TRIES {
            let starved = self.is_short() && memcached::needs_memory(request);
            if !starved {
                let mut locked = self.locked_for(request, hashed);
                let mut ctx = self.context(client, around, hashed, &mut locked, now);
                match memcached::execute(&mut ctx, request, out) {
                    Ok(done) => return (done, locked.end()),
                    Err(_) => out.truncate(before),
                }
            }
            if !self.make_room(tries, now.ms) {
                break;
            }
        }
        let mut locked = self.locked_for(request, hashed);
        let mut ctx = self.context(client, around, hashed, &mut locked, now);
        memcached::refuse(&mut ctx, request, out);
        (Done::Answered, locked.end())
    }

    fn locked_for(&self, request: &Request<'_>, hashed: Option<(&[u8], KeyHash)>) -> Locked<'_> {
        match (hashed, request) {
            (Some((_, hash)), _) => Locked::one(self, hash),
            (None, Request::FlushAll { .. }) => Locked::all(self),
            (None, _) => Locked::in_turn(self),
        }
    }

    fn context<'a>(
        &'a self,
        client: u64,
        around: &McAround<'a>,
        hashed: Option<(&'a [u8], KeyHash)>,
        locked: &'a mut Locked<'_>,
        now: Now,
    ) -> Ctx<'a> {
        Ctx {
            now: now.ms,
            shards: locked,
            hashed,
            settings: around.settings,
            counters: around.counters,
            flush: &self.flush,
            client,
            host: around.world.host(),
            world: around.facts,
        }
    }
}

/// Answers a request with a line, unless it wants no answer.
fn tell(line: &[u8], request: &Request<'_>, out: &mut Vec<u8>) {
    if !request.noreply() {
        say(line, out);
    }
}

/// Writes a line, unless it's empty.
fn say(line: &[u8], out: &mut Vec<u8>) {
    if !line.is_empty() {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
}
