//! How far the journal must be safe before somebody is told of a key: up to the last change of all
//! that the reply tells of, and no further.

use crate::support::{Around, Plan, START, at, encode, node};
use commands::Client;
use engine::Policy;
use sessile_node::{Connection, Format, Node, Worker};

const ONE_BYTE: Format =
    Format { effect: |_, out| out.push(b'.'), select: |_, _| (), together: [b"", b""] };

/// A node of a single shard, so that all keys are neighbours.
struct Waits {
    node: Node,
    worker: Worker,
    peers: u64,
}

impl Waits {
    fn new() -> Self {
        let node = node(Plan { shards: 1, policy: Policy::NoEviction, cap: 0, segments: 64 });
        node.start_journal(ONE_BYTE);
        Self { node, worker: Worker::default(), peers: 0 }
    }

    /// How far the reply to these lines waits, to somebody who hasn't asked for anything before.
    fn of(&mut self, lines: &[&str]) -> u64 {
        self.peers += 1;
        let mut peer = Connection::new(Client::new(self.peers, true), 1 << 20);
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        for line in lines {
            encode(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut bytes);
        }
        let served =
            self.node.serve(&mut self.worker, &mut peer, &Around, &bytes, &mut out, at(START));
        assert!(!out.starts_with(b"-"), "{lines:?}: {}", String::from_utf8_lossy(&out));
        served.until.safe
    }
}

#[test]
fn who_reads_a_key_waits_for_its_changes_alone() {
    let mut waits = Waits::new();
    let old = waits.of(&["SET old 1"]);
    let h = waits.of(&["HSET h f 1"]);
    let new = waits.of(&["SET new 1"]);
    assert!(0 < old && old < h && h < new);
    for (line, position) in [
        ("GET old", old),
        ("TTL old", old),
        ("HGETALL h", h),
        ("GET new", new),
        ("GET nothing", 0),
        ("SETNX old 2", old),
        ("INCR old", new + 1),
        ("GET old", new + 1),
    ] {
        assert_eq!(waits.of(&[line]), position, "{line}");
    }
    assert_eq!(waits.of(&["GET old", "HGET h f", "GET nothing"]), new + 1, "the latest of all");
}

#[test]
fn who_reads_more_waits_for_the_shard() {
    let mut waits = Waits::new();
    waits.of(&["SET a 1"]);
    waits.of(&["SET b 1"]);
    let last = waits.of(&["SET c 1"]);
    for lines in [&["MGET a b"][..], &["DBSIZE"], &["KEYS *"], &["MULTI", "GET a", "EXEC"]] {
        assert_eq!(waits.of(lines), last, "{lines:?}");
    }
}

#[test]
fn a_key_that_was_taken_away_by_others_is_waited_for() {
    let mut waits = Waits::new();
    let written = waits.of(&["SET a 1"]);
    waits.of(&["SET b 1"]);
    let moved = waits.of(&["RENAME a c"]);
    assert!(moved > written);
    assert_eq!(waits.of(&["GET a"]), moved);
    assert_eq!(waits.of(&["GET c"]), moved);
    let emptied = waits.of(&["FLUSHDB"]);
    assert!(emptied > moved);
    assert_eq!(waits.of(&["GET a"]), emptied);
    assert_eq!(waits.of(&["GET never"]), emptied, "nobody knows which keys there were");
    waits.of(&["SET d 1"]);
    assert_eq!(waits.of(&["GET b"]), emptied);
    let swapped = waits.of(&["SWAPDB 0 1"]);
    assert_eq!(waits.of(&["GET b"]), swapped);
}

#[test]
fn who_reads_a_session_waits_for_what_its_key_stands_for() {
    let mut waits = Waits::new();
    waits.of(&["SESSION.CREATE old USER ann SET 1 a 1"]);
    let rotated = waits.of(&["SESSION.ROTATE old new GRACE 60"]);
    waits.of(&["SET between 1"]);
    assert_eq!(waits.of(&["SESSION.LOAD new PEEK"]), rotated);
    let saved = waits.of(&["SESSION.SAVE new SET 1 a 2"]);
    assert!(saved > rotated);
    assert_eq!(waits.of(&["SESSION.LOAD new PEEK"]), saved);
    assert!(waits.of(&["SESSION.LOAD old PEEK"]) >= saved, "through the alias");
    waits.of(&["SESSION.CREATE other SET 1 a 1"]);
    assert_eq!(waits.of(&["SESSION.LOAD new PEEK"]), saved);
    let ended = waits.of(&["SESSION.END new"]);
    assert!(waits.of(&["SESSION.LOAD old PEEK"]) >= ended);
    assert!(waits.of(&["SESSION.LIST ann"]) >= ended);
}
