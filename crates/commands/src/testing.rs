//! A whole store for the tests of handlers: real shards, a clock that the test moves.
//!
//! ```ignore
//! let mut store = Store::new();
//! assert_eq!(store.run("SET a 1 EX 1"), "+OK\r\n");
//! store.now += 1000;
//! assert_eq!(store.run("GET a"), "$-1\r\n");
//! ```
//!
//! What always holds: when a store is dropped, every shard of it is checked.
//! Not for: locks and transactions; the node has those.

use crate::client::Client;
use crate::context::{Ctx, Shards};
use crate::counters::Counters;
use crate::dispatch;
use crate::host::Nobody;
use engine::{Arena, HashKey, HeapBacking, Policy, Shard, ShardConfig};
use protocol::args::{Args, OwnedArgs};
use protocol::resp::Reply;
use std::sync::Arc;

/// The time at which every store starts.
pub(crate) const START: u64 = 1_800_000_000_000;
const SHARDS: usize = 4;
const DATABASES: usize = 16;
const SECRET: HashKey = HashKey([3, 5]);

/// A store without a world around it.
pub(crate) struct Store {
    /// Unix milliseconds.
    pub(crate) now: u64,
    /// Who asks.
    pub(crate) client: Client,
    /// What is asked beyond the shards.
    pub(crate) host: Nobody,
    /// What was counted.
    pub(crate) counters: Counters,
    /// The shards.
    pub(crate) shards: Plain,
}

impl Store {
    /// An empty store of 64 MB.
    pub(crate) fn new() -> Self {
        Self::with_segments(1024)
    }

    /// An empty store of that many segments of 64 KiB.
    pub(crate) fn with_segments(segments: usize) -> Self {
        let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(segments)), segments));
        let shards = (0..SHARDS)
            .map(|number| {
                let config = ShardConfig {
                    number,
                    databases: DATABASES,
                    bands: 2,
                    secret: SECRET,
                    first_version: 1,
                    policy: Policy::NoEviction,
                };
                Shard::new(Arc::clone(&arena), config)
            })
            .collect();
        let client = Client::new(1, true);
        Self {
            now: START,
            client,
            host: Nobody,
            counters: Counters::default(),
            shards: Plain(shards),
        }
    }

    /// The reply to a line: words, or text in double quotes with the escapes `\r \n \t \" \\ \xHH`.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let words = words(line);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        String::from_utf8_lossy(&self.run_bytes(&words)).into_owned()
    }

    /// The reply to a command of these arguments.
    pub(crate) fn run_bytes(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut owned = OwnedArgs::default();
        words.iter().for_each(|word| owned.push(word));
        let mut out = Vec::new();
        let mut ctx = Ctx {
            now: self.now,
            now_us: self.now * 1000,
            reply: Reply::new(&mut out, self.client.version),
            client: &mut self.client,
            shards: &mut self.shards,
            host: &self.host,
            counters: &self.counters,
            hashed: None,
        };
        execute(&mut ctx, owned.as_args());
        out
    }

    /// Checks that lines get replies: pairs of a line and its reply.
    #[track_caller]
    pub(crate) fn expect(&mut self, lines: &[(&str, &str)]) {
        for (line, reply) in lines {
            assert_eq!(self.run(line), *reply, "{line}");
        }
    }

    /// Ends what is due, as the node does between turns.
    pub(crate) fn maintain(&mut self) {
        for shard in &mut self.shards.0 {
            while shard.maintain(self.now, 1000) {}
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for shard in &self.shards.0 {
                shard.check().unwrap();
            }
        }
    }
}

/// Shards that nobody else uses.
pub(crate) struct Plain(pub(crate) Vec<Shard>);

impl Shards for Plain {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn databases(&self) -> usize {
        DATABASES
    }

    fn secret(&self) -> HashKey {
        SECRET
    }

    fn holds(&self, _: usize) -> bool {
        true
    }

    fn shard(&mut self, number: usize) -> &mut Shard {
        &mut self.0[number]
    }
}

fn execute(ctx: &mut Ctx<'_>, args: Args<'_>) {
    let Some(row) = dispatch::admit(ctx.client, ctx.counters, args, &mut ctx.reply) else { return };
    if dispatch::run(ctx, row, args).is_err() {
        dispatch::refuse(ctx.client, ctx.counters, dispatch::OUT_OF_MEMORY, &mut ctx.reply);
    }
}

/// The words of a line, as [`Store::run`] reads it.
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut bytes = line.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' => {}
            b'"' => words.push(quoted(&mut bytes)),
            _ => {
                let mut word = vec![byte];
                while let Some(next) = bytes.next_if(|next| *next != b' ') {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    words
}

fn quoted(bytes: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => match bytes.next().unwrap() {
                b'r' => word.push(b'\r'),
                b'n' => word.push(b'\n'),
                b't' => word.push(b'\t'),
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    let digits = str::from_utf8(&digits).unwrap();
                    word.push(u8::from_str_radix(digits, 16).unwrap());
                }
                other => word.push(other),
            },
            _ => word.push(byte),
        }
    }
    word
}
