//! Real threads on one node: no update is lost, nothing hangs, every invariant holds at the end.
//! The number of rounds is fixed, so timing decides nothing but the order.

use crate::support::{Around, Plan, Reply, START, at, encode, node, rng, seeds};
use commands::Client;
use engine::Policy;
use sessile_node::{Connection, Node, Worker};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const THREADS: u64 = 4;
const ROUNDS: u64 = 3_000;
const ACCOUNTS: u64 = 24;
const EACH: i64 = 1_000;

/// A connection of a thread.
pub(crate) struct Peer<'n> {
    node: &'n Node,
    worker: Worker,
    connection: Connection,
    clock: &'n AtomicU64,
}

impl<'n> Peer<'n> {
    pub(crate) fn new(node: &'n Node, id: u64, clock: &'n AtomicU64) -> Self {
        let connection = Connection::new(Client::new(id, true), 1 << 20);
        Self { node, worker: Worker::default(), connection, clock }
    }

    /// The replies to requests, one a line, sent at once.
    fn say(&mut self, lines: &[String]) -> Vec<Reply> {
        let mut bytes = Vec::new();
        for line in lines {
            encode(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut bytes);
        }
        let (mut out, mut done) = (Vec::new(), 0);
        while done < bytes.len() {
            let now = at(self.clock.fetch_add(1, Ordering::Relaxed));
            let Self { node, worker, connection, .. } = self;
            let served = node.serve(worker, connection, &Around, &bytes[done..], &mut out, now);
            done += served.consumed;
        }
        let mut rest = out.as_slice();
        let replies = lines.iter().map(|_| Reply::take(&mut rest)).collect();
        assert!(rest.is_empty());
        replies
    }

    pub(crate) fn one(&mut self, line: String) -> Reply {
        self.say(&[line]).remove(0)
    }
}

/// One thread's rounds; how often it has added 1 to `watched`.
pub(crate) fn work(node: &Node, thread: u64, seed: u64, clock: &AtomicU64) -> i64 {
    let mut rng = rng(seed * THREADS + thread);
    let mut peer = Peer::new(node, thread + 1, clock);
    let mut added = 0;
    for round in 0..ROUNDS {
        match rng.below(12) {
            0..4 => {
                let (from, to) = (rng.below(ACCOUNTS), rng.below(ACCOUNTS));
                let sum = rng.below(50);
                let replies = peer.say(&[
                    "MULTI".to_owned(),
                    format!("DECRBY account:{from} {sum}"),
                    format!("INCRBY account:{to} {sum}"),
                    "EXEC".to_owned(),
                ]);
                assert_eq!(replies[3].items().len(), 2);
            }
            4 => {
                let accounts: Vec<String> = (0..ACCOUNTS).map(|n| format!("account:{n}")).collect();
                let all = peer.one(format!("MGET {}", accounts.join(" ")));
                let number = |reply: &Reply| -> i64 {
                    str::from_utf8(reply.bytes()).unwrap().parse().unwrap()
                };
                let sum: i64 = all.items().iter().map(number).sum();
                assert_eq!(sum, ACCOUNTS as i64 * EACH, "a transfer was seen half done");
            }
            5 | 6 => {
                let before = peer.say(&["WATCH watched".to_owned(), "GET watched".to_owned()]);
                let value: i64 = str::from_utf8(before[1].bytes()).unwrap().parse().unwrap();
                let set =
                    ["MULTI".to_owned(), format!("SET watched {}", value + 1), "EXEC".to_owned()];
                added += i64::from(peer.say(&set)[2] != Reply::NilArray);
            }
            7 => {
                // Another database: it is emptied and exchanged all the time.
                let key = rng.below(500);
                peer.say(&[
                    "SELECT 1".to_owned(),
                    format!("SET junk:{key} {} PX {}", "x".repeat(700), 1 + rng.below(4_000)),
                    format!("HSET hash:{key} f{round} v"),
                    format!("HPEXPIRE hash:{key} {} FIELDS 1 f{round}", 1 + rng.below(3_000)),
                    "SELECT 0".to_owned(),
                ]);
            }
            8 if rng.below(20) == 0 => {
                peer.say(&["SELECT 1".into(), "FLUSHDB".into(), "SELECT 0".into()]);
            }
            8 => {
                peer.one("SWAPDB 1 2".to_owned());
            }
            9 => {
                let key = rng.below(20_000);
                let line = format!("SET volatile:{key} {} PX 10000000", "y".repeat(1_500));
                assert_eq!(peer.one(line), Reply::ok());
            }
            10 => {
                peer.say(&["SCAN 0 COUNT 100".into(), "DBSIZE".into(), "RANDOMKEY".into()]);
            }
            _ => {
                node.end_of_turn(at(clock.fetch_add(3, Ordering::Relaxed)), 0, |_| ());
            }
        }
    }
    added
}

#[test]
fn threads_lose_nothing_and_never_hang() {
    for seed in seeds(0) {
        // The cap is small, so that keys with a deadline are evicted all the time.
        let plan = Plan { shards: 8, policy: Policy::VolatileLru, cap: 8 << 20, segments: 1_000 };
        let node = node(plan);
        let clock = AtomicU64::new(START);
        let mut peer = Peer::new(&node, 100, &clock);
        for n in 0..ACCOUNTS {
            assert_eq!(peer.one(format!("SET account:{n} {EACH}")), Reply::ok());
        }
        assert_eq!(peer.one("SET watched 0".to_owned()), Reply::ok());
        let added: i64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (node, clock) = (&node, &clock);
                    scope.spawn(move || work(node, thread, seed, clock))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let accounts: Vec<String> =
            (0..ACCOUNTS).map(|n| format!("INCRBY account:{n} 0")).collect();
        let sum: i64 = peer.say(&accounts).iter().map(Reply::number).sum();
        assert_eq!(sum, ACCOUNTS as i64 * EACH);
        assert_eq!(peer.one("INCRBY watched 0".to_owned()), Reply::int(added));
        assert!(added > 0);
        node.check().unwrap();
    }
}
