//! What all tests stand on: a node, the world around it, connections fed with bytes, replies.

use crate::heap;
use commands::Client;
use commands::host::{Host, Nobody};
use commands::memcached::{self, Counters, Facts, Settings};
use engine::{Arena, HashKey, HeapBacking, Policy, Rng, SEGMENT_BYTES};
use protocol::args::Args;
use sessile_node::{
    Connection, Limits, McAround, McConnection, Node, NodeConfig, Now, Worker, World,
};
use std::sync::Arc;

/// The time at which every test starts.
pub(crate) const START: u64 = 1_800_000_000_000;
/// Databases of every node.
pub(crate) const DATABASES: usize = 4;

/// A shell that does nothing, around a host that is nobody.
#[derive(Debug)]
pub(crate) struct Around;

impl World for Around {
    fn host(&self) -> &dyn Host {
        &Nobody
    }
    fn paused(&self, _: bool) -> Option<u64> {
        None
    }
    fn took(&self, _: &Client, _: Args<'_>, _: u64) {}
}

impl memcached::World for Around {
    fn counters(&self) -> Counters {
        Counters::default()
    }
    fn reset_counters(&self) {}
    fn facts(&self) -> Facts {
        Facts::default()
    }
}

pub(crate) const fn at(ms: u64) -> Now {
    Now { ms, us: ms * 1000 }
}

/// Shards, policy, cap and the arena's segments of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) shards: usize,
    pub(crate) policy: Policy,
    pub(crate) cap: u64,
    pub(crate) segments: usize,
}

pub(crate) fn node(plan: Plan) -> Node {
    let Plan { shards, policy, cap, segments } = plan;
    let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(segments)), segments));
    let limits = Limits { maxmemory: cap, policy, samples: 10 };
    let secret = HashKey([3, 5]);
    let bands = (cap as usize / 20 / (SEGMENT_BYTES * shards)).clamp(1, 6);
    let bands = if cap == 0 { 6 } else { bands };
    Node::new(
        arena,
        NodeConfig { shards, databases: DATABASES, bands, secret, first_version: 0, limits },
    )
}

/// A node, its clock, and the heap that it and its connections take.
pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) now: u64,
    pub(crate) settings: Settings,
    worker: Worker,
    counters: Counters,
    /// What the thread held when the node was there and empty.
    base: i64,
}

impl Rig {
    pub(crate) fn new(plan: Plan) -> Self {
        let node = node(plan);
        let mut rig = Self {
            node,
            now: START,
            settings: Settings { item_size_max: 200 << 20, ..Settings::default() },
            worker: Worker::default(),
            counters: Counters::default(),
            base: 0,
        };
        rig.base = heap::held();
        rig
    }

    /// Bytes that were allocated since the node was made.
    pub(crate) fn heap(&self) -> u64 {
        (heap::held() - self.base).max(0) as u64
    }

    /// Gives a connection some bytes and takes what it answers.
    pub(crate) fn feed(&mut self, peer: &mut Peer, bytes: &[u8]) {
        peer.input.extend_from_slice(bytes);
        loop {
            let skip = peer.swallow.min(peer.input.len() as u64);
            peer.swallow -= skip;
            peer.input.drain(..skip as usize);
            let now = at(self.now);
            let served = match &mut peer.dialogue {
                Dialogue::Resp(connection) => {
                    let (worker, out) = (&mut self.worker, &mut peer.out);
                    self.node.serve(worker, connection, &Around, &peer.input, out, now)
                }
                Dialogue::Memcached(connection) => {
                    let around = McAround {
                        world: &Around,
                        facts: &Around,
                        settings: &self.settings,
                        counters: &self.counters,
                    };
                    let out = &mut peer.out;
                    self.node.serve_memcached(connection, &around, &peer.input, out, now)
                }
            };
            let last = &peer.out[peer.out.len().saturating_sub(60)..];
            assert!(!served.close && served.pause_until.is_none(), "closed: {}", show(last));
            assert!(served.consumed <= peer.input.len());
            peer.input.drain(..served.consumed);
            peer.swallow = served.swallow;
            if !served.again || peer.input.is_empty() {
                return;
            }
        }
    }

    /// The answer of a RESP connection to one command.
    pub(crate) fn ask(&mut self, peer: &mut Peer, words: &[&[u8]]) -> Reply {
        let mut bytes = Vec::new();
        encode(words, &mut bytes);
        self.feed(peer, &bytes);
        let out = std::mem::take(&mut peer.out);
        let mut rest = out.as_slice();
        let reply = Reply::take(&mut rest);
        assert!(rest.is_empty() && peer.input.is_empty(), "more than one reply");
        reply
    }

    /// As `ask`, of words in a line.
    pub(crate) fn say(&mut self, peer: &mut Peer, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask(peer, &words)
    }

    /// The answer of a memcached connection to some bytes.
    pub(crate) fn mc(&mut self, peer: &mut Peer, bytes: &[u8]) -> Vec<u8> {
        self.feed(peer, bytes);
        std::mem::take(&mut peer.out)
    }

    /// A connection ends.
    pub(crate) fn leave(&mut self, peer: Peer) {
        if let Dialogue::Resp(mut connection) = peer.dialogue {
            self.node.forget(&mut connection, &Nobody, at(self.now));
        }
    }

    pub(crate) fn end_of_turn(&mut self) -> u64 {
        let heap = self.heap();
        self.node.end_of_turn(at(self.now), heap, |_| ())
    }

    /// Lets the node do all that is due now.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.end_of_turn() > self.now {
                return;
            }
        }
        panic!("the end of a turn has no end");
    }
}

#[derive(Debug)]
enum Dialogue {
    Resp(Box<Connection>),
    Memcached(McConnection),
}

/// A connection and its buffers.
#[derive(Debug)]
pub(crate) struct Peer {
    dialogue: Dialogue,
    input: Vec<u8>,
    swallow: u64,
    pub(crate) out: Vec<u8>,
}

impl Peer {
    fn of(dialogue: Dialogue) -> Self {
        Self { dialogue, input: Vec::new(), swallow: 0, out: Vec::new() }
    }

    pub(crate) fn resp(id: u64) -> Self {
        let connection = Connection::new(Client::new(id, true), 512 << 20);
        Self::of(Dialogue::Resp(Box::new(connection)))
    }

    pub(crate) fn memcached(id: u64) -> Self {
        Self::of(Dialogue::Memcached(McConnection::new(id)))
    }

    /// The client behind a RESP connection.
    pub(crate) fn client(&self) -> &Client {
        match &self.dialogue {
            Dialogue::Resp(connection) => &connection.client,
            Dialogue::Memcached(_) => panic!("memcached knows no clients"),
        }
    }

    pub(crate) const fn waits(&self) -> bool {
        !self.input.is_empty()
    }
}

/// Appends a RESP request.
pub(crate) fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A reply, taken apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reply {
    /// A status, an error or a number, with its first byte.
    Line(String),
    Bulk(Vec<u8>),
    Nil,
    NilArray,
    Array(Vec<Self>),
    /// An expected array of pairs whose order is free, sorted.
    Pairs(Vec<Self>),
}

impl Reply {
    pub(crate) fn line(text: &str) -> Self {
        Self::Line(text.to_owned())
    }

    pub(crate) fn int(number: i64) -> Self {
        Self::Line(format!(":{number}"))
    }

    pub(crate) fn bulk(bytes: &[u8]) -> Self {
        Self::Bulk(bytes.to_vec())
    }

    pub(crate) fn ok() -> Self {
        Self::line("+OK")
    }

    /// Takes a reply off the front of `bytes`.
    #[track_caller]
    pub(crate) fn take(bytes: &mut &[u8]) -> Self {
        let end = bytes.windows(2).position(|two| two == b"\r\n");
        let end = end.unwrap_or_else(|| panic!("no whole reply"));
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        *bytes = &bytes[end + 2..];
        match line.as_str() {
            "$-1" => return Self::Nil,
            "*-1" => return Self::NilArray,
            _ => {}
        }
        match line.as_bytes()[0] {
            b'$' => {
                let len: usize = line[1..].parse().unwrap();
                let bulk = Self::bulk(&bytes[..len]);
                assert_eq!(&bytes[len..len + 2], b"\r\n");
                *bytes = &bytes[len + 2..];
                bulk
            }
            b'*' => {
                let len: usize = line[1..].parse().unwrap();
                Self::Array((0..len).map(|_| Self::take(bytes)).collect())
            }
            b'+' | b'-' | b':' => Self::Line(line),
            _ => panic!("not a reply: {line}"),
        }
    }

    /// Whether an actual reply is what this says.
    pub(crate) fn fits(&self, actual: &Self) -> bool {
        match (self, actual) {
            (Self::Pairs(pairs), Self::Array(all)) => {
                let mut actual: Vec<Self> =
                    all.chunks(2).map(|pair| Self::Array(pair.to_vec())).collect();
                actual.sort();
                *pairs == actual
            }
            (Self::Array(a), Self::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.fits(b))
            }
            (a, b) => a == b,
        }
    }

    #[track_caller]
    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::Line(line) if line.starts_with(':') => line[1..].parse().unwrap(),
            other => panic!("not a number: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bulk(bytes) => bytes,
            other => panic!("not a string: {other:?}"),
        }
    }

    pub(crate) fn is_oom(&self) -> bool {
        matches!(self, Self::Line(line) if line.starts_with("-OOM "))
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => f.write_str(line),
            Self::Bulk(bytes) => write!(f, "{:?}", show(bytes)),
            Self::Nil => f.write_str("nil"),
            Self::NilArray => f.write_str("nil array"),
            Self::Array(items) | Self::Pairs(items) => f.debug_list().entries(items).finish(),
        }
    }
}

/// Bytes for a message, shortened.
pub(crate) fn show(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(60)];
    let dots =
        if head.len() < bytes.len() { format!("..{} bytes", bytes.len()) } else { String::new() };
    format!("{}{dots}", head.escape_ascii())
}

/// The seeds of a test: `SEED` alone if it is set, or else some fixed ones and a fresh one.
pub(crate) fn seeds(fixed: u64) -> impl Iterator<Item = u64> {
    let given: Option<u64> = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let fresh = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let all = match given {
        Some(seed) => vec![seed],
        None => (1..=fixed).chain([1000 + u64::from(fresh)]).collect(),
    };
    all.into_iter().inspect(|seed| println!("SEED={seed}"))
}

/// Random numbers from a seed; neighbouring seeds give different ones.
pub(crate) const fn rng(seed: u64) -> Rng {
    let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995);
    rng.next_u64();
    rng
}
