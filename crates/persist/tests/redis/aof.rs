//! Logs, both ways: Redis loads ours with what we wrote, and we replay what it wrote.

use crate::server::{Reply, Server, tool};
use engine::hash::{FieldDeadline, FieldEdit, SipKey};
use engine::{
    Arena, Cause, Change, Effect, Full, HashKey, HeapBacking, Key, Kind, Meta, OwnedItem, Policy,
    Shard, ShardConfig, Slide, State,
};
use persist::aof::{
    Framer, Manifest, Part, Reader, Replay, Store, TOGETHER, base_name, commands, increment_name,
    manifest_name, record, select, unlink,
};
use persist::extra::Extra;
use persist::rdb::{self, Body, Event, Facts, Others, Writer};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const SECRET: HashKey = HashKey([7, 7]);
const SIP: SipKey = SECRET.0;
/// Time stands still while a log is loaded.
const NOW: u64 = 1_000;
const LATER: u64 = 4_000_000_000_123;
const PREFIX: &str = "appendonly.aof";

struct Held(Shard);

impl Held {
    fn new() -> Self {
        let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(400)), 400));
        let config = ShardConfig {
            number: 0,
            databases: 16,
            bands: 2,
            secret: SECRET,
            first_version: 0,
            policy: Policy::NoEviction,
        };
        Self(Shard::new(arena, config))
    }

    /// Loads a folder as Redis left it.
    fn load(folder: &Path) -> Self {
        let mut held = Self::new();
        let manifest = std::fs::read(folder.join(manifest_name(PREFIX))).unwrap();
        let manifest = Manifest::parse(&manifest).unwrap();
        let base = std::fs::File::open(folder.join(&manifest.base.unwrap().name)).unwrap();
        let mut reader = rdb::Reader::new(base, Others::Refuse, SIP).unwrap();
        while let Some(event) = reader.next().unwrap() {
            if let Event::Item(item) = event {
                let (key, change) = (Key::new(&SECRET, &item.key), Change::Install(&item.item));
                held.apply(&Effect::Key { db: item.db, key, change }).unwrap();
            }
        }
        for part in manifest.increments {
            let file = std::fs::File::open(folder.join(&part.name)).unwrap();
            let (mut reader, mut replay) = (Reader::new(file, 0), Replay::new(SECRET, 16));
            while let Some(record) = reader.next().unwrap() {
                replay.record(&record, &mut held).unwrap_or_else(|error| panic!("{error}"));
            }
        }
        held
    }
}

impl Store for Held {
    fn kind(&mut self, db: usize, key: &[u8]) -> Option<Kind> {
        self.0.peek(db, &Key::new(&SECRET, key), NOW).map(|entry| entry.kind())
    }

    fn item(&mut self, db: usize, key: &[u8]) -> Option<OwnedItem> {
        self.0.peek(db, &Key::new(&SECRET, key), NOW).map(|entry| entry.to_owned_item())
    }

    fn apply(&mut self, effect: &Effect<'_>) -> Result<(), Full> {
        self.0.apply(effect, NOW).map(|_| ())
    }
}

/// Every key that a server holds is the same in a store, and there are as many.
fn compare(server: &mut Server, held: &mut Held) {
    for db in 0..16 {
        server.say(&format!("SELECT {db}"));
        let keys = server.say("KEYS *").list();
        for key in &keys {
            let text = key.escape_ascii();
            let item = held.item(db, key).unwrap_or_else(|| panic!("{db} {text} is missing"));
            let at = server.run(&[b"PEXPIRETIME", key]);
            let deadline = item.meta.deadline.map_or(-1, |at| at.cast_signed());
            assert_eq!(at, Reply::Number(deadline), "{db} {text}");
            match Body::of(&item.value) {
                Body::String(bytes) => {
                    assert_eq!(server.run(&[b"GET", key]).bytes(), bytes, "{db} {text}");
                }
                Body::Hash(hash) => {
                    let all = server.run(&[b"HGETALL", key]).list();
                    let mut theirs: Vec<_> = all.as_chunks::<2>().0.to_vec();
                    let mut ours: Vec<_> =
                        hash.iter(0).map(|f| [f.name.to_vec(), f.value.to_vec()]).collect();
                    theirs.sort();
                    ours.sort();
                    assert_eq!(theirs, ours, "{db} {text}");
                }
            }
        }
        assert_eq!(keys.len() as u64, held.0.len(db), "database {db}");
    }
}

#[test]
fn what_redis_logs_is_replayed() {
    let mut server = Server::start(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--aof-timestamp-enabled",
        "yes",
    ]);
    server.say("SET before:rewrite 1");
    server.say("HSET hash:before a 1 b 2");
    server.say("BGREWRITEAOF");
    while !server.path("appendonlydir").join(base_name(PREFIX, 2)).exists() {
        server.say("PING");
    }
    for words in [
        "SET plain value",
        "SET timed value EX 100000",
        "SET timed:2 value PX 100000000",
        "SETEX timed:3 100000 value",
        "PSETEX timed:4 100000000 value",
        "SET kept value KEEPTTL",
        "SET timed again KEEPTTL",
        "SETNX new value",
        "GETSET plain other",
        "MSET a 1 b 2 c 3",
        "MSETNX d 4 e 5",
        "APPEND plain -and-more",
        "APPEND appended text",
        "SETRANGE plain 3 XYZ",
        "SETRANGE ranged 5 end",
        "INCR counter",
        "INCRBY counter 41",
        "DECR counter",
        "DECRBY counter 7",
        "INCRBYFLOAT float 3.25",
        "GETDEL a",
        "GETEX b EX 100000",
        "GETEX timed:2 PERSIST",
        "EXPIRE c 100000",
        "PEXPIRE d 100000000",
        "EXPIREAT e 4000000000",
        "PEXPIREAT new 4000000000123",
        "PERSIST timed:3",
        "RENAME timed:4 renamed",
        "RENAMENX renamed renamed:2",
        "COPY plain copied",
        "COPY hash:before hash:copied DB 3",
        "MOVE appended 2",
        "HSET hash f 1 g 2 h 3 i 4",
        "HMSET hash j 5 k 6",
        "HSETNX hash l 7",
        "HDEL hash f g",
        "HINCRBY hash h 5",
        "HINCRBYFLOAT hash i 0.5",
        "UNLINK kept",
        "DEL float",
        "SELECT 4",
        "SET four 4",
        "SELECT 5",
        "SET five 5",
        "SWAPDB 4 5",
        "SELECT 6",
        "SET six 6",
        "FLUSHDB",
        "SELECT 0",
        "MULTI",
    ] {
        server.say(words);
    }
    for words in ["SET in:multi 1", "INCR in:multi", "EXEC"] {
        server.say(words);
    }
    let payload = server.say("DUMP hash").bytes();
    server.run(&[b"RESTORE", b"restored", b"100000000", &payload]);
    server.run(&[
        b"EVAL",
        b"redis.call('SET', 'by:script', 1) redis.call('INCR', 'by:script')",
        b"0",
    ]);
    for i in 0..700 {
        server.say(&format!("HSET large field:{i} {i}"));
    }
    server.say("WAIT 0 0");
    let mut held = Held::load(&server.path("appendonlydir"));
    compare(&mut server, &mut held);
    server.say("RPUSH list 1");
    let path = server.path("appendonlydir").join(increment_name(PREFIX, 2));
    let mut reader = Reader::new(std::fs::File::open(path).unwrap(), 0);
    let mut replay = Replay::new(SECRET, 16);
    let error = loop {
        let record = reader.next().unwrap().expect("the list isn't in the log");
        if let Err(error) = replay.record(&record, &mut held) {
            break error;
        }
    };
    assert!(error.to_string().starts_with("command 'RPUSH': it isn't known"), "{error}");
    assert!(commands().count() > 35);
}

/// Effects of every kind that Redis 7.0 has commands for.
fn write_log(held: &mut Held, out: &mut Vec<u8>) {
    let mut chunk = Vec::new();
    let mut framer = Framer::open(0xfeed, out);
    let mut put = |db: usize, name: &[u8], change: Change<'_>| {
        let effect = Effect::Key { db, key: Key::new(&SECRET, name), change };
        held.apply(&effect).unwrap();
        chunk.clear();
        select(db, &mut chunk);
        record(&effect, &mut chunk);
        let synced = out.len() as u64;
        framer.frame(&chunk, synced, out);
    };
    let meta = Meta { deadline: Some(LATER), flags: 7, cas: Some(1 << 60), ..Meta::default() };
    put(0, b"string", Change::Put { value: b"\r\n*1\r\n#", meta: Meta::default() });
    put(0, b"timed", Change::Put { value: &[b'x'; 3000], meta });
    put(0, b"spliced", Change::Splice { at: 3, bytes: b"abc" });
    put(0, b"empty", Change::Splice { at: 0, bytes: b"" });
    let names: Vec<Vec<u8>> = (0..1300).map(|i| format!("field:{i}").into_bytes()).collect();
    let set = |field| FieldEdit::Set { field, value: b"value", deadline: FieldDeadline::Clear };
    let edits: Vec<FieldEdit<'_>> = names.iter().map(|name| set(name)).collect();
    put(3, b"hash", Change::Fields(&edits));
    put(3, b"hash", Change::Fields(&[FieldEdit::Delete { field: b"field:7" }]));
    put(3, b"hash", Change::Deadline { at: Some(LATER), slide: false });
    put(0, b"timed", Change::Meta(Meta { flags: 9, ..Meta::default() }));
    put(0, b"gone", Change::Put { value: b"", meta: Meta::default() });
    put(0, b"gone", Change::Remove(Cause::Expired));
    let slide = Slide::default().with_state(State::Session).with_idle_s(600);
    let meta = Meta { slide, ..meta };
    let user = [b'u'; 255];
    let session =
        Change::Session { meta, user: &user, edits: &edits[..5], renew: true, fresh: false };
    put(0, b"session", session);
    put(
        0,
        b"session",
        Change::Session { meta, user: &user, edits: &edits[5..9], renew: false, fresh: false },
    );
    let mut all = Vec::new();
    all.extend_from_slice(TOGETHER[0]);
    let item = held.item(0, b"session").unwrap();
    let key = Key::new(&SECRET, b"installed");
    let effect = Effect::Key { db: 0, key, change: Change::Install(&item) };
    held.apply(&effect).unwrap();
    select(0, &mut all);
    record(&effect, &mut all);
    unlink([&b"nothing"[..], b"never"].into_iter(), &mut all);
    for effect in [Effect::Swap { a: 3, b: 9 }, Effect::Clear { db: 3 }] {
        held.apply(&effect).unwrap();
        if let Effect::Clear { db } = effect {
            select(db, &mut all);
        }
        record(&effect, &mut all);
    }
    all.extend_from_slice(TOGETHER[1]);
    let synced = out.len() as u64;
    framer.frame(&all, synced, out);
}

#[test]
fn what_is_logged_redis_loads() {
    let folder = TempDir::new().unwrap();
    let parts = folder.path().join("appendonlydir");
    std::fs::create_dir(&parts).unwrap();
    let facts = Facts { version: "7.0.15", ctime: 1, used_memory: 1, aof_base: true, more: &[] };
    let base = std::fs::File::create(parts.join(base_name(PREFIX, 1))).unwrap();
    let mut writer = Writer::new(base, &facts, true).unwrap();
    let mut held = Held::new();
    let value = engine::OwnedValue::String(b"from the base".to_vec());
    writer.select(0).unwrap();
    writer.item(b"base", Body::of(&value), &Meta::default(), &Extra::default()).unwrap();
    writer.finish().unwrap();
    let change = Change::Put { value: b"from the base", meta: Meta::default() };
    let key = Key::new(&SECRET, b"base");
    held.apply(&Effect::Key { db: 0, key, change }).unwrap();
    let mut log = Vec::new();
    write_log(&mut held, &mut log);
    assert!(log.split(|b| *b == b'\n').all(|line| !line.starts_with(b"#") || line.len() < 100));
    std::fs::write(parts.join(increment_name(PREFIX, 1)), &log).unwrap();
    let manifest = Manifest {
        base: Some(Part { name: base_name(PREFIX, 1), sequence: 1 }),
        history: Vec::new(),
        increments: vec![Part { name: increment_name(PREFIX, 1), sequence: 1 }],
        begins: false,
    };
    let mut text = Vec::new();
    manifest.render(&mut text);
    let path = parts.join(manifest_name(PREFIX));
    std::fs::write(&path, &text).unwrap();
    let (right, said) = tool("redis-check-aof", &path);
    assert!(right && said.contains("All AOF files and manifest are valid"), "{said}");

    // Under everysec Redis answers before it writes while a sync is on its way.
    let mut server = Server::start_in(folder, &["--appendonly", "yes", "--appendfsync", "always"]);
    compare(&mut server, &mut held);
    let mut loaded = Held::load(&server.path("appendonlydir"));
    compare(&mut server, &mut loaded);
    // Redis goes on in our folder, and what it writes is read with ours.
    server.say("SELECT 0");
    server.say("SET by:redis 1");
    server.say("APPEND string more");
    let mut both = Held::load(&server.path("appendonlydir"));
    compare(&mut server, &mut both);
    let item = both.item(0, b"session").unwrap();
    assert_eq!((item.meta.slide.state(), item.user.len()), (State::Session, 255));
}
