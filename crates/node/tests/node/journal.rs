//! The journal: what it says, replayed, gives the same store, whoever wrote and in what order;
//! and a snapshot with what the journal says after its cut gives it too.

use crate::support::{Around, Plan, Reply, START, at, encode, node, seeds};
use crate::threads::{THREADS, work};
use commands::Client;
use engine::{
    Change, Effect, Entry, Keeper, Key, OwnedItem, OwnedValue, Policy,
    hash::{FieldDeadline, FieldEdit, PackedHash},
};
use sessile_node::{Connection, Format, Node, Until, Worker};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Records as requests, so that a node can replay them.
const FORMAT: Format = Format {
    effect: write_effect,
    select: |db, out| say(&["SELECT".as_bytes(), db.to_string().as_bytes()], out),
    together: [b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"],
};

fn say(words: &[&[u8]], out: &mut Vec<u8>) {
    encode(words, out);
}

fn write_effect(effect: &Effect<'_>, out: &mut Vec<u8>) {
    match effect {
        Effect::Clear { .. } => say(&[b"FLUSHDB"], out),
        Effect::Swap { a, b } => {
            say(&[b"SWAPDB", a.to_string().as_bytes(), b.to_string().as_bytes()], out);
        }
        Effect::Key { key, change, .. } => write_change(key.bytes, change, out),
    }
}

fn write_change(key: &[u8], change: &Change<'_>, out: &mut Vec<u8>) {
    match change {
        Change::Put { value, meta } => match meta.deadline {
            Some(at) => say(&[b"SET", key, value, b"PXAT", at.to_string().as_bytes()], out),
            None => say(&[b"SET", key, value], out),
        },
        Change::Splice { at, bytes } => {
            say(&[b"SETRANGE", key, at.to_string().as_bytes(), bytes], out);
        }
        Change::Fields(edits) => edits.iter().for_each(|edit| write_field(key, edit, out)),
        Change::Deadline { at: Some(at), .. } => {
            say(&[b"PEXPIREAT", key, at.to_string().as_bytes()], out);
        }
        Change::Deadline { at: None, .. } => say(&[b"PERSIST", key], out),
        Change::Remove(_) => say(&[b"UNLINK", key], out),
        Change::Install(OwnedItem { value: OwnedValue::String(value), meta, .. }) => {
            write_change(key, &Change::Put { value, meta: *meta }, out);
        }
        Change::Install(_) | Change::Meta(_) | Change::Session { .. } => {
            panic!("no command of this test does that")
        }
    }
}

fn write_field(key: &[u8], edit: &FieldEdit<'_>, out: &mut Vec<u8>) {
    match edit {
        FieldEdit::Set { field, value, deadline } => {
            say(&[b"HSET", key, field, value], out);
            if let FieldDeadline::At(at) = deadline {
                let at = at.to_string();
                say(&[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", field], out);
            }
        }
        FieldEdit::Delete { field } => say(&[b"HDEL", key, field], out),
        FieldEdit::Deadline { field, at: Some(at) } => {
            say(&[b"HPEXPIREAT", key, at.to_string().as_bytes(), b"FIELDS", b"1", field], out);
        }
        FieldEdit::Deadline { field, at: None } => {
            say(&[b"HPERSIST", key, b"FIELDS", b"1", field], out);
        }
    }
}

/// Everything in a store: database, key -> deadline, value (a hash's fields in the order of their
/// names).
type All = BTreeMap<(usize, Vec<u8>), (Option<u64>, Vec<u8>)>;

fn everything(node: &Node, now: u64) -> All {
    let mut all = All::new();
    for shard in 0..node.shard_count() {
        node.with_shard(shard, |shard| {
            for db in 0..4 {
                let mut position = Some(0);
                while let Some(from) = position {
                    position = shard.scan(db, from, 100, now, &mut |key, entry| {
                        all.insert((db, key.to_vec()), (entry.deadline(), value(entry)));
                    });
                }
            }
        });
    }
    all
}

fn value(entry: Entry<'_>) -> Vec<u8> {
    let mut run = Vec::new();
    match entry.to_owned_item().value {
        OwnedValue::String(value) => return value,
        OwnedValue::Packed(packed) => run = packed,
        OwnedValue::Big(big) => big.to_packed(&mut run),
    }
    let mut fields: Vec<_> = PackedHash::new(&run)
        .iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec(), field.deadline))
        .collect();
    fields.sort();
    format!("{fields:?}").into_bytes()
}

fn new_node(cap: u64) -> Node {
    node(Plan { shards: 8, policy: Policy::VolatileLru, cap, segments: 2_000 })
}

/// Replays records while time stands still.
fn replay(node: &Node, records: &[u8]) {
    let (mut worker, mut out) = (Worker::default(), Vec::new());
    let mut connection = Connection::new(Client::new(7, true), 1 << 20);
    let mut done = 0;
    while done < records.len() {
        let rest = &records[done..];
        let served = node.serve(&mut worker, &mut connection, &Around, rest, &mut out, at(START));
        assert!(served.consumed > 0, "a record is torn");
        done += served.consumed;
    }
    let mut replies = out.as_slice();
    while !replies.is_empty() {
        let reply = Reply::take(&mut replies);
        assert!(!format!("{reply:?}").starts_with('-'), "{reply:?}");
    }
}

/// What a snapshot keeps, as records.
struct Writer(Arc<Mutex<Vec<u8>>>);

impl Keeper for Writer {
    fn keep(&mut self, db: usize, key: &[u8], entry: Entry<'_>) {
        let mut out = self.0.lock().unwrap();
        (FORMAT.select)(db, &mut out);
        let OwnedItem { value, meta, .. } = entry.to_owned_item();
        let mut run = Vec::new();
        match &value {
            OwnedValue::String(value) => {
                return write_change(key, &Change::Put { value, meta }, &mut out);
            }
            OwnedValue::Packed(packed) => run.clone_from(packed),
            OwnedValue::Big(big) => big.to_packed(&mut run),
        }
        for field in PackedHash::new(&run).iter() {
            let deadline = field.deadline.map_or(FieldDeadline::Clear, FieldDeadline::At);
            let edit = FieldEdit::Set { field: field.name, value: field.value, deadline };
            write_field(key, &edit, &mut out);
        }
        if let at @ Some(_) = meta.deadline {
            write_change(key, &Change::Deadline { at, slide: false }, &mut out);
        }
    }
}

#[test]
fn the_journal_of_many_threads_replays_to_the_same_store() {
    for seed in seeds(0) {
        let node = new_node(8 << 20);
        node.start_journal(FORMAT);
        let clock = AtomicU64::new(START);
        let snapshot = Arc::new(Mutex::new(Vec::new()));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (node, clock) = (&node, &clock);
                    let accounts: Vec<String> = (0..24).map(|n| format!("account:{n}")).collect();
                    if thread == 0 {
                        prepare(node, &accounts);
                    }
                    scope.spawn(move || work(node, thread, seed, clock))
                })
                .collect();
            // In the middle of it all, a snapshot; the journal goes on in a second file.
            let cut = node.begin_snapshot(true, |_| Box::new(Writer(Arc::clone(&snapshot))));
            for shard in 0..node.shard_count() {
                let step = |shard: &mut engine::Shard| shard.step_snapshot(1, 0);
                while node.with_shard(shard, step).unwrap() {}
                drop(node.with_shard(shard, engine::Shard::end_snapshot));
            }
            threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
            let (mut bytes, mut file) = (Vec::new(), &mut first);
            while let Some(taken) = node.journal().take(&mut bytes) {
                if taken.after_cut {
                    assert_eq!(taken.end - bytes.len() as u64, cut);
                    file = &mut second;
                }
                file.extend_from_slice(&bytes);
                node.journal().set_safe(taken.end);
            }
        });
        node.check().unwrap();
        assert!(
            node.journal().waiting_bytes() == 0 && node.journal().safe() == node.journal().end()
        );
        let now = clock.load(Ordering::Relaxed);
        let expected = everything(&node, now);
        assert!(expected.len() > 100, "{} keys", expected.len());

        let whole = new_node(0);
        replay(&whole, &first);
        replay(&whole, &second);
        same(&everything(&whole, now), &expected, "the journal alone");

        let since = new_node(0);
        replay(&since, &snapshot.lock().unwrap());
        replay(&since, &second);
        same(&everything(&since, now), &expected, "the snapshot and the journal since then");
    }
}

#[track_caller]
fn same(got: &All, expected: &All, what: &str) {
    let differs = |key: &&(usize, Vec<u8>)| got.get(*key) != expected.get(*key);
    if let Some(key) = got.keys().chain(expected.keys()).find(differs) {
        let show = |all: &All| all.get(key).map(|(at, value)| (*at, crate::support::show(value)));
        let (got, expected) = (show(got), show(expected));
        panic!("{what}: {} is {got:?}, not {expected:?}", crate::support::show(&key.1));
    }
}

fn prepare(node: &Node, accounts: &[String]) {
    let mut records = Vec::new();
    for account in accounts {
        say(&[b"SET", account.as_bytes(), b"1000"], &mut records);
    }
    say(&[b"SET", b"watched", b"0"], &mut records);
    replay(node, &records);
}

#[test]
fn replies_know_how_far_the_journal_must_be_safe() {
    let node = new_node(0);
    let (mut worker, mut out) = (Worker::default(), Vec::new());
    let mut peers = [1, 2].map(|id| Connection::new(Client::new(id, true), 1 << 20));
    let mut position = |peer: usize, line: &str, node: &Node| {
        let mut bytes = Vec::new();
        encode(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut bytes);
        node.serve(&mut worker, &mut peers[peer], &Around, &bytes, &mut out, at(START)).until.safe
    };
    assert_eq!(position(0, "SET before x", &node), 0);
    node.start_journal(FORMAT);
    assert_eq!(position(0, "GET before", &node), 0);
    let written = position(0, "SET a x", &node);
    assert_eq!(written, node.journal().end());
    assert_eq!(position(1, "GET before", &node) % written, 0, "its shard or another");
    assert_eq!(position(1, "GET a", &node), written, "who reads it has seen it");
    assert_eq!(position(1, "PING", &node), 0, "what it was told before is no longer waited for");
    assert_eq!(position(1, "DEL nothing", &node) % written, 0, "nothing changed");
    let later = position(0, "MSET b 1 c 2 d 3", &node);
    assert!(later > written);
    let mut bytes = Vec::new();
    node.journal().take(&mut bytes).unwrap();
    assert_eq!(bytes.windows(5).filter(|five| five == b"MULTI").count(), 1);
    let key = Key::new(&node.secret(), b"b");
    assert!(everything(&node, START).contains_key(&(0, key.bytes.to_vec())));
}

#[test]
fn who_asks_again_for_what_was_done_waits_as_who_did_it() {
    let node = new_node(0);
    node.start_journal(FORMAT);
    node.journal().hold_revocations(true);
    let (mut worker, mut out) = (Worker::default(), Vec::new());
    let mut peers = [1, 2].map(|id| Connection::new(Client::new(id, true), 1 << 20));
    let mut until = |peer: usize, line: &str| {
        let mut bytes = Vec::new();
        encode(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut bytes);
        node.serve(&mut worker, &mut peers[peer], &Around, &bytes, &mut out, at(START)).until
    };
    let set = until(0, "SET a x");
    assert!(set.own > 0 && set.synced == 0);
    assert_eq!(until(1, "SETNX a y"), set);
    assert_eq!(until(1, "GET a"), Until { own: 0, ..set });
    let removed = until(0, "DEL a");
    assert!(removed.own > set.own && removed.synced == removed.own);
    assert_eq!(until(1, "DEL a"), removed);
    assert_eq!(until(1, "GET a"), Until { own: 0, synced: 0, ..removed });
    // What was written since revokes nothing.
    let set = until(0, "SET a z");
    assert_eq!(set.synced, 0);
    assert_eq!(until(1, "SETNX a q"), Until { synced: removed.synced, ..set });
    // Nor does it help to do something else along with asking again.
    let removed = until(0, "DEL a");
    for line in ["MULTI", "DEL a", "SET b 1"] {
        until(1, line);
    }
    let both = until(1, "EXEC");
    assert!(both.own > removed.own && both.synced >= removed.synced, "{both:?}");
}

#[test]
fn the_journal_tells_results_not_what_was_asked() {
    let node = new_node(0);
    node.start_journal(FORMAT);
    let mut requests = Vec::new();
    for line in [
        "HSET h a 1 b 2",
        "HPEXPIRE h 5000 FIELDS 1 a",
        "HINCRBY h a 1",
        "HINCRBY h b 1",
        "HINCRBYFLOAT h c 1.5",
        "SET s 1 PX 7000",
        "INCR s",
        "APPEND s x",
        "SET s y KEEPTTL GET",
        "RENAME s t",
        "GETEX t PERSIST",
        "MSET x 1 y 2",
        "COPY x z",
        "SELECT 2",
        "SETEX elsewhere 100 v",
        "SWAPDB 2 3",
        "FLUSHDB",
        "GETDEL elsewhere",
    ] {
        say(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut requests);
    }
    replay(&node, &requests);
    let mut records = Vec::new();
    node.journal().take(&mut records).unwrap();
    let again = new_node(0);
    replay(&again, &records);
    let all = everything(&node, START);
    assert_eq!(all.len(), 6);
    assert_eq!(everything(&again, START), all);
    assert!(!records.windows(6).any(|six| six == b"INCRBY"));
}
