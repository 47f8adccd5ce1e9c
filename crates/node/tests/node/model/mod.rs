//! The node against plain maps: three RESP clients and one of memcached, batches of requests cut
//! anywhere, a clock that jumps. Replies are compared exactly; every few hundred steps the whole
//! content is, and every invariant is checked.

mod cache;
mod generate;
mod state;

use crate::support::{Peer, Plan, Reply, Rig, START, encode, rng, seeds, show};
use cache::Exchange;
use engine::{Policy, Rng};
use generate::Scope;
use state::{Client, State, Value, Words};
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: usize = 3;
const TURNS: usize = 4000;
const TURNS_PER_COMPARISON: usize = 150;

struct Run {
    rig: Rig,
    state: State,
    peers: Vec<Peer>,
    cache: Peer,
    rng: Rng,
    /// Of each client the request whose end it hasn't sent yet, and that end.
    held: Vec<Option<(Words, Vec<u8>)>>,
    /// When the node wants its next turn.
    next: u64,
}

impl Run {
    fn new(seed: u64, shards: usize) -> Self {
        let plan = Plan { shards, policy: Policy::NoEviction, cap: 0, segments: 4000 };
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        Self {
            rig: Rig::new(plan),
            state: State { clients, now: START, ..State::default() },
            peers: (0..CLIENTS).map(|id| Peer::resp(id as u64 + 1)).collect(),
            cache: Peer::memcached(99),
            rng: rng(seed),
            held: vec![None; CLIENTS],
            next: u64::MAX,
        }
    }

    fn turn(&mut self) {
        match self.rng.below(10) {
            0..6 => self.batch(Scope::All),
            6 | 7 => self.exchanges(),
            8 => self.pass_time(),
            _ if self.rng.below(20) == 0 => self.reconnect(),
            _ => self.next = self.rig.end_of_turn(),
        }
    }

    fn pass_time(&mut self) {
        let step = match self.rng.below(12) {
            0 => self.rng.below(90_000),
            1 => self.rng.below(20 * 86_400_000),
            _ => self.rng.below(400),
        };
        self.advance(step);
    }

    /// Lets time pass; whenever the node asked for a turn in between, it gets one.
    fn advance(&mut self, step: u64) {
        let until = self.rig.now + step;
        self.next = self.rig.end_of_turn();
        for _ in 0..10_000 {
            if self.next > until {
                break;
            }
            self.rig.now = self.next.max(self.rig.now);
            self.next = self.rig.end_of_turn();
        }
        self.rig.now = until;
        self.state.pass(until);
    }

    /// Some client's batch, which may end in the middle of a request.
    fn batch(&mut self, scope: Scope) {
        let client = self.rng.below(CLIENTS as u64) as usize;
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        if let Some((words, end)) = self.held[client].take() {
            bytes.extend_from_slice(&end);
            expected.push((self.state.request(client, &words), words));
        }
        for _ in 0..1 + self.rng.below(40) {
            let words = generate::request(&mut self.rng, self.rig.now, scope);
            encode(&words.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut bytes);
            expected.push((self.state.request(client, &words), words));
        }
        if self.rng.below(3) == 0 {
            let words = generate::request(&mut self.rng, self.rig.now, scope);
            let mut end = Vec::new();
            encode(&words.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut end);
            let cut = 1 + self.rng.below(end.len() as u64 - 1) as usize;
            bytes.extend(end.drain(..cut));
            self.held[client] = Some((words, end));
        }
        for piece in cut(&mut self.rng, &bytes) {
            self.rig.feed(&mut self.peers[client], piece);
        }
        let out = std::mem::take(&mut self.peers[client].out);
        let mut rest = out.as_slice();
        for (expected, words) in expected {
            let said = Reply::take(&mut rest);
            assert!(
                expected.fits(&said),
                "client {client}: {}",
                self.differ(&words, &expected, &said)
            );
        }
        assert!(rest.is_empty(), "more replies than requests");
        assert_eq!(self.peers[client].waits(), self.held[client].is_some());
        let (real, known) = (self.peers[client].client(), &self.state.clients[client]);
        assert_eq!(real.db, known.db);
        assert_eq!(real.transaction.is_some(), known.queued.is_some());
        assert_eq!(real.watched.len(), known.watched.len());
    }

    /// What was asked, what should have been said, and what was; of a transaction the first
    /// command that differs.
    fn differ(&self, words: &Words, expected: &Reply, said: &Reply) -> String {
        let shown = |words: &Words| words.iter().map(|word| show(word)).collect::<Vec<_>>();
        if let (Reply::Array(a), Reply::Array(b)) = (expected, said)
            && let Some(at) = a.iter().zip(b).position(|(a, b)| !a.fits(b))
            && words[0] == b"EXEC"
        {
            return format!(
                "in EXEC: {:?}: {:?}, not {:?}",
                shown(&self.state.ran[at]),
                b[at],
                a[at]
            );
        }
        format!("{:?}: {said:?}, not {expected:?}", shown(words))
    }

    fn exchanges(&mut self) {
        for _ in 0..1 + self.rng.below(8) {
            let Some(exchange) = cache::exchange(&mut self.rng, &mut self.state) else { continue };
            let Exchange { bytes, .. } = &exchange;
            for piece in cut(&mut self.rng, bytes) {
                self.rig.feed(&mut self.cache, piece);
            }
            let said = std::mem::take(&mut self.cache.out);
            exchange.check(&said, &mut self.state);
        }
    }

    /// A client goes, with what it watches and has queued, and comes again.
    fn reconnect(&mut self) {
        let client = self.rng.below(CLIENTS as u64) as usize;
        let gone = std::mem::replace(&mut self.peers[client], Peer::resp(client as u64 + 1));
        self.rig.leave(gone);
        self.state.clients[client] = Client::default();
        self.held[client] = None;
    }

    /// Compares all that the node has with the maps.
    fn compare(&mut self) {
        let before: Vec<usize> = self.state.databases.iter().map(BTreeMap::len).collect();
        self.advance(300);
        self.rig.settle();
        self.rig.node.check().unwrap();
        let mut peer = Peer::resp(50);
        for (db, before) in before.into_iter().enumerate() {
            assert_eq!(self.rig.say(&mut peer, &format!("SELECT {db}")), Reply::ok());
            let keys = self.rig.say(&mut peer, "DBSIZE").number() as usize;
            let range = self.state.databases[db].len()..=before;
            assert!(range.contains(&keys), "database {db} has {keys}, not {range:?}");
            let walked = self.walk(&mut peer, false);
            let expected: Vec<&Vec<u8>> = self.state.databases[db].keys().collect();
            assert_eq!(walked.iter().collect::<Vec<_>>(), expected, "keys of database {db}");
            match self.rig.say(&mut peer, "RANDOMKEY") {
                Reply::Bulk(key) => assert!(self.state.databases[db].contains_key(&key)),
                nothing => assert!(nothing == Reply::Nil && expected.is_empty()),
            }
            for (key, item) in &self.state.databases[db] {
                let due = item.deadline.map_or(-1, |deadline| deadline as i64);
                assert_eq!(self.rig.ask(&mut peer, &[b"PEXPIRETIME", key]).number(), due);
                match &item.value {
                    Value::String(value) => {
                        let said = self.rig.ask(&mut peer, &[b"GET", key]);
                        assert!(said == Reply::bulk(value), "another value");
                    }
                    Value::Hash(fields) => {
                        let said = self.rig.ask(&mut peer, &[b"HGETALL", key]);
                        assert_eq!(said.items().len(), 2 * fields.len());
                        for (field, (value, due)) in fields {
                            let request: [&[u8]; 5] =
                                [b"HPEXPIRETIME", key, b"FIELDS", b"1", field];
                            let due = Reply::int(due.map_or(-1, |due| due as i64));
                            assert_eq!(self.rig.ask(&mut peer, &request), Reply::Array(vec![due]));
                            let said = self.rig.ask(&mut peer, &[b"HGET", key, field]);
                            assert_eq!(said, Reply::bulk(value));
                        }
                    }
                }
            }
        }
    }

    /// All keys that SCAN reports, sorted; while others write, those that were there all along
    /// must be among them.
    fn walk(&mut self, peer: &mut Peer, disturbed: bool) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let mut cursor = b"0".to_vec();
        for _ in 0..100_000 {
            let count = (1 + self.rng.below(30)).to_string();
            let said = self.rig.ask(peer, &[b"SCAN", &cursor, b"COUNT", count.as_bytes()]);
            cursor = said.items()[0].bytes().to_vec();
            keys.extend(said.items()[1].items().iter().map(|key| key.bytes().to_vec()));
            if cursor == b"0" {
                keys.sort();
                return keys;
            }
            if disturbed {
                self.batch(Scope::Keys);
            }
        }
        panic!("the walk has no end");
    }

    fn walk_disturbed(&mut self) {
        let born = |state: &State| -> BTreeSet<(Vec<u8>, u64)> {
            state.databases[0].iter().map(|(key, item)| (key.clone(), item.born)).collect()
        };
        // A transaction that is under way may have databases to exchange in it.
        (0..CLIENTS).for_each(|client| self.finish(client));
        let before = born(&self.state);
        let seen: BTreeSet<Vec<u8>> = self.walk(&mut Peer::resp(51), true).into_iter().collect();
        for (key, _) in before.intersection(&born(&self.state)) {
            assert!(seen.contains(key), "SCAN missed {key:?}");
        }
    }

    /// Sends what a client holds back and ends its transaction.
    fn finish(&mut self, client: usize) {
        let held = self.held[client].take();
        let (words, bytes) = held.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        self.rig.feed(&mut self.peers[client], &bytes.concat());
        words.iter().for_each(|words| drop(self.state.request(client, words)));
        self.peers[client].out.clear();
        let discard = vec![b"DISCARD".to_vec()];
        let expected = self.state.request(client, &discard);
        assert_eq!(self.rig.say(&mut self.peers[client], "DISCARD"), expected);
    }
}

/// Bytes in pieces of any size.
fn cut<'b>(rng: &mut Rng, bytes: &'b [u8]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let most = [u64::MAX, 4000, 300, 20][rng.below(4) as usize].max(bytes.len() as u64 / 200);
    while !rest.is_empty() {
        let (piece, left) = rest.split_at((1 + rng.below(most)).min(rest.len() as u64) as usize);
        pieces.push(piece);
        rest = left;
    }
    pieces
}

fn run(shards: usize, fixed: u64) {
    for seed in seeds(fixed) {
        let mut run = Run::new(seed, shards);
        for turn in 1..=TURNS {
            run.turn();
            if turn % TURNS_PER_COMPARISON == 0 {
                run.compare();
                run.walk_disturbed();
            }
        }
        run.compare();
    }
}

#[test]
fn four_shards_do_what_maps_do() {
    run(4, 2);
}

#[test]
fn sixteen_shards_do_what_maps_do() {
    run(16, 1);
}
