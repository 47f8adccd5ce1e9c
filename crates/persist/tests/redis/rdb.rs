//! RDB files and DUMP payloads, both ways.

use crate::server::{Reply, Server, tool};
use engine::hash::{BigHash, Field, HashView, PackedHash, SipKey, stays_packed, write_field};
use engine::{Meta, OwnedItem, OwnedValue};
use persist::dump;
use persist::extra::{Extra, tag};
use persist::rdb::{Body, Encoder, Event, Facts, Others, Reader, Writer};
use std::collections::BTreeMap;
use tempfile::TempDir;

const SIP: SipKey = [9, 9];
const FACTS: Facts<'_> = Facts {
    version: "7.0.15",
    ctime: 1_800_000_000,
    used_memory: 1 << 20,
    aof_base: false,
    more: &[("sessile-ver", b"0.1.0")],
};
/// Far in the future, so that nothing ends during the test.
const LATER: u64 = 4_000_000_000_123;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A value as something to compare.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Value {
    String(Vec<u8>),
    Hash(Pairs),
}

impl Value {
    fn of(value: &OwnedValue) -> Self {
        match Body::of(value) {
            Body::String(bytes) => Self::String(bytes.to_vec()),
            Body::Hash(hash) => {
                Self::Hash(hash.iter(0).map(|f| (f.name.to_vec(), f.value.to_vec())).collect())
            }
        }
    }

    fn to_owned_value(&self) -> OwnedValue {
        let pairs = match self {
            Self::String(bytes) => return OwnedValue::String(bytes.clone()),
            Self::Hash(pairs) => pairs,
        };
        let mut run = Vec::new();
        for (name, value) in pairs {
            write_field(&mut run, Field { name, value, deadline: None });
        }
        if stays_packed(pairs.len(), run.len()) {
            return OwnedValue::Packed(run);
        }
        OwnedValue::Big(Box::new(BigHash::from_packed(SIP, PackedHash::new(&run))))
    }

    /// Has a server hold it.
    fn store(&self, server: &mut Server, key: &[u8]) {
        match self {
            Self::String(bytes) => _ = server.run(&[b"SET", key, bytes]),
            Self::Hash(pairs) => {
                for (name, value) in pairs {
                    server.run(&[b"HSET", key, name, value]);
                }
            }
        }
    }

    /// What a server holds.
    fn load(server: &mut Server, key: &[u8]) -> Self {
        if server.run(&[b"TYPE", key]) == Reply::Text(b"string".to_vec()) {
            return Self::String(server.run(&[b"GET", key]).bytes());
        }
        let all = server.run(&[b"HGETALL", key]).list();
        Self::Hash(all.as_chunks::<2>().0.iter().cloned().map(|[n, v]| (n, v)).collect())
    }
}

/// Strings and hashes in every encoding, each under its name.
fn samples() -> BTreeMap<Vec<u8>, Value> {
    let mut all = BTreeMap::new();
    let noise = |n: usize| -> Vec<u8> {
        (0..n).map(|i| (i.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 7) as u8).collect()
    };
    let integers = [0, 1, -1, 127, 128, -128, -129, 4095, -4096, 4096, 32767, -32769, 8_388_607];
    let integers = integers.into_iter().chain([-8_388_609, 2_147_483_647, -2_147_483_649]);
    let mut numbers: Vec<Vec<u8>> = integers.map(|n: i64| n.to_string().into_bytes()).collect();
    numbers.extend([i64::MAX, i64::MIN].map(|n| n.to_string().into_bytes()));
    numbers.extend([&b""[..], b"-0", b"01", b"+1", b"1.0", b" 1"].map(<[u8]>::to_vec));
    for n in [1, 20, 21, 63, 64, 65, 4095, 4096, 16_383, 16_384, 70_000] {
        numbers.push(noise(n));
        numbers.push(b"abcabcabd".iter().cycle().take(n).copied().collect());
    }
    for (i, value) in numbers.iter().enumerate() {
        all.insert(format!("string:{i}").into_bytes(), Value::String(value.clone()));
    }
    let named = |i: usize| format!("field:{i}").into_bytes();
    for count in [1, 2, 128, 129, 512, 513, 5000] {
        let pairs = (0..count).map(|i| (named(i), i.to_string().into_bytes())).collect();
        all.insert(format!("hash:{count}").into_bytes(), Value::Hash(pairs));
    }
    let pairs = numbers.iter().enumerate().map(|(i, value)| (value.clone(), named(i))).collect();
    all.insert(b"hash:of-numbers".to_vec(), Value::Hash(pairs));
    let short = numbers.iter().filter(|value| value.len() <= 64).enumerate();
    let pairs = short.map(|(i, value)| (named(i), value.clone())).collect();
    all.insert(b"hash:packed-numbers".to_vec(), Value::Hash(pairs));
    // The lengths of entries where their own lengths grow.
    let lengths = [61, 62, 63, 64, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128];
    let lengths = lengths.into_iter().chain(4090..4098).chain(16_374..16_386);
    let pairs = lengths.map(|n| (n.to_string().into_bytes(), noise(n))).collect();
    all.insert(b"hash:long-entries".to_vec(), Value::Hash(pairs));
    all
}

#[test]
fn what_redis_saves_is_read() {
    // Two servers, so that long values are also read out of listpacks.
    for most in ["64", "20000"] {
        let mut server = Server::start(&["--hash-max-listpack-value", most]);
        let mut wanted = BTreeMap::new();
        for (i, (key, value)) in samples().into_iter().enumerate() {
            let db = if i % 3 == 0 { 5 } else { 0 };
            server.say(&format!("SELECT {db}"));
            value.store(&mut server, &key);
            let deadline = (i % 2 == 0).then_some(LATER + i as u64);
            if let Some(at) = deadline {
                server.run(&[b"PEXPIREAT", &key, at.to_string().as_bytes()]);
            }
            wanted.insert((db, key), (value, deadline));
        }
        server.say("SAVE");
        let file = std::fs::File::open(server.path("dump.rdb")).unwrap();
        let mut reader = Reader::new(file, Others::Refuse, SIP).unwrap();
        let (mut names, mut found) = (Vec::new(), BTreeMap::new());
        while let Some(event) = reader.next().unwrap() {
            match event {
                Event::Aux { name, .. } => names.push(name),
                Event::Item(item) => {
                    let value = Value::of(&item.item.value);
                    found.insert((item.db, item.key), (value, item.item.meta.deadline));
                }
                Event::End { checked } => assert!(checked),
                Event::Resize { .. } | Event::Skipped(_) => {}
            }
        }
        assert!(names.contains(&b"redis-ver".to_vec()) && names.contains(&b"aof-base".to_vec()));
        assert_eq!(found.len(), wanted.len());
        for (at, wanted) in &wanted {
            assert_eq!(found.get(at), Some(wanted), "{}", at.1.escape_ascii());
        }
    }
}

#[test]
fn other_types_of_redis_are_passed_over() {
    let mut server = Server::start(&[]);
    for words in [
        "RPUSH list:short a 1 b",
        "SADD set:numbers 1 2 3",
        "SADD set:words a b c",
        "ZADD zset:short 1 a 2.5 b",
        "XADD stream 1-1 a b",
        "XADD stream 1-2 a b",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group me COUNT 1 STREAMS stream >",
        "SET string kept",
        "HSET hash a b",
    ] {
        server.say(words);
    }
    for i in 0..600 {
        server.say(&format!("RPUSH list:long {i:0100}"));
        server.say(&format!("SADD set:long {i:070}"));
        server.say(&format!("ZADD zset:long {i}.25 {i:070}"));
    }
    server.run(&[
        b"FUNCTION",
        b"LOAD",
        b"#!lua name=l\nredis.register_function('f', function() end)",
    ]);
    server.say("SAVE");
    let bytes = std::fs::read(server.path("dump.rdb")).unwrap();
    let mut reader = Reader::new(bytes.as_slice(), Others::Skip, SIP).unwrap();
    let (mut kept, mut skipped) = (Vec::new(), BTreeMap::new());
    while let Some(event) = reader.next().unwrap() {
        match event {
            Event::Item(item) => kept.push(item.key),
            Event::Skipped(other) => *skipped.entry(other.what).or_insert(0) += 1,
            _ => {}
        }
    }
    kept.sort();
    assert_eq!(kept, [b"hash".to_vec(), b"string".to_vec()]);
    let all = [("function library", 1), ("list", 2), ("set", 3), ("sorted set", 2), ("stream", 1)];
    assert_eq!(skipped, all.into());
    let mut reader = Reader::new(bytes.as_slice(), Others::Refuse, SIP).unwrap();
    let error = loop {
        if let Err(error) = reader.next() {
            break error;
        }
    };
    assert!(error.to_string().contains("function library"), "{error}");
}

#[test]
fn what_is_written_redis_loads() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("dump.rdb");
    let mut writer = Writer::new(std::fs::File::create(&path).unwrap(), &FACTS, true).unwrap();
    let samples = samples();
    let mut extra = Extra::default();
    extra.push(tag::USER, b"ann");
    for db in [0, 7] {
        writer.select(db).unwrap();
        writer.resize(samples.len() as u64, 1).unwrap();
        for (i, (key, value)) in samples.iter().enumerate() {
            let deadline = (i % 2 == 0).then_some(LATER + i as u64);
            let meta = Meta { deadline, flags: i as u32 % 4, ..Meta::default() };
            let extra = if i % 3 == 0 { extra.clone() } else { Extra::default() };
            writer.item(key, Body::of(&value.to_owned_value()), &meta, &extra).unwrap();
        }
        // What Redis has no word for: a field's deadline, and a hash without fields.
        let mut run = Vec::new();
        write_field(&mut run, Field { name: b"f", value: b"v", deadline: Some(LATER) });
        let dated = Body::Hash(HashView::Packed(PackedHash::new(&run)));
        writer.item(b"dated", dated, &Meta::default(), &Extra::default()).unwrap();
        let empty = Body::Hash(HashView::Packed(PackedHash::new(b"")));
        writer.item(b"empty", empty, &Meta::default(), &extra).unwrap();
    }
    writer.finish().unwrap();
    let (right, said) = tool("redis-check-rdb", &path);
    assert!(right, "{said}");

    let mut server = Server::start_in(folder, &[]);
    for db in [0, 7] {
        server.say(&format!("SELECT {db}"));
        assert_eq!(server.say("DBSIZE"), Reply::Number(samples.len() as i64 + 1));
        for (i, (key, value)) in samples.iter().enumerate() {
            assert_eq!(&Value::load(&mut server, key), value, "{}", key.escape_ascii());
            let at = if i % 2 == 0 { (LATER + i as u64).cast_signed() } else { -1 };
            assert_eq!(server.run(&[b"PEXPIRETIME", key]), Reply::Number(at));
        }
        assert_eq!(server.say("HGET dated f"), Reply::Text(b"v".to_vec()));
        assert_eq!(server.say("OBJECT ENCODING hash:128"), Reply::Text(b"listpack".to_vec()));
    }
}

#[test]
fn payloads_go_both_ways() {
    let mut server = Server::start(&["--sanitize-dump-payload", "yes"]);
    let mut encoder = Encoder::new(true);
    for (key, value) in samples() {
        value.store(&mut server, b"theirs");
        let payload = server.run(&[b"DUMP", b"theirs"]).bytes();
        let read = dump::read(&payload, SIP).unwrap();
        assert_eq!(Value::of(&read), value, "{}", key.escape_ascii());
        let mut ours = Vec::new();
        let item =
            OwnedItem { value: value.to_owned_value(), meta: Meta::default(), user: Vec::new() };
        dump::write_owned(&mut encoder, &item, &mut ours);
        server.run(&[b"RESTORE", b"ours", b"0", &ours, b"REPLACE"]);
        assert_eq!(Value::load(&mut server, b"ours"), value, "{}", key.escape_ascii());
        server.say("DEL theirs");
    }
    server.say("RPUSH list a b");
    let payload = server.run(&[b"DUMP", b"list"]).bytes();
    assert!(matches!(dump::read(&payload, SIP), Err(dump::Error::Kind(18))));
}
