//! Replies of the hash commands, RESP2 and RESP3, and their errors.

use crate::context::Shards;
use crate::testing::Store;
use engine::{Change, Effect, Key, Meta};
use protocol::resp::RespVersion;

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
const RANGE: &str = "-ERR value is out of range\r\n";
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

#[test]
fn a_hash_is_made_and_ends_with_its_fields() {
    let mut store = Store::new();
    store.expect(&[
        ("HSET h a 1 b 2", ":2\r\n"),
        ("HSET h a 3 c 4 c 5", ":1\r\n"),
        ("HMSET h d 6", "+OK\r\n"),
        ("HSETNX h d 7", ":0\r\n"),
        ("HSETNX h e 7", ":1\r\n"),
        ("HLEN h", ":5\r\n"),
        ("HVALS h", "*5\r\n$1\r\n3\r\n$1\r\n2\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n"),
        ("HDEL h a b c d d", ":4\r\n"),
        ("HDEL h e zz", ":1\r\n"),
        ("HDEL h e", ":0\r\n"),
        ("HGETALL h", "*0\r\n"),
    ]);
    assert_eq!(store.shards.0.iter().map(|shard| shard.len(0)).sum::<u64>(), 0);
}

#[test]
fn pairs_have_to_be_whole() {
    let mut store = Store::new();
    for name in ["HSET", "HMSET"] {
        let error =
            format!("-ERR wrong number of arguments for '{}' command\r\n", name.to_lowercase());
        assert_eq!(store.run(&format!("{name} h a")), error);
        assert_eq!(store.run(&format!("{name} h a 1 b")), error);
    }
}

#[test]
fn a_string_is_no_hash() {
    let mut store = Store::new();
    let key = Key::new(&store.shards.secret(), b"s");
    let number = key.hash.shard(store.shards.count());
    let change = Change::Put { value: b"x", meta: Meta::default() };
    store.shards.0[number].apply(&Effect::Key { db: 0, key, change }, store.now).unwrap();
    let lines = [
        "HSET s a 1",
        "HMSET s a 1",
        "HSETNX s a 1",
        "HGET s a",
        "HMGET s a",
        "HGETALL s",
        "HKEYS s",
        "HVALS s",
        "HLEN s",
        "HSTRLEN s a",
        "HDEL s a",
        "HEXISTS s a",
        "HINCRBY s a 1",
        "HINCRBYFLOAT s a 1",
        "HRANDFIELD s",
        "HRANDFIELD s 2",
        "HSCAN s 0",
        "HEXPIRE s 1 FIELDS 1 a",
        "HPEXPIREAT s 1 FIELDS 1 a",
        "HPERSIST s FIELDS 1 a",
        "HTTL s FIELDS 1 a",
        "HGETDEL s FIELDS 1 a",
        "HGETEX s FIELDS 1 a",
        "HSETEX s FIELDS 1 a 1",
    ];
    for line in lines {
        assert_eq!(store.run(line), WRONG, "{line}");
    }
}

#[test]
fn counters_check_what_they_add_to() {
    let mut store = Store::new();
    store.expect(&[
        ("HINCRBY h n 5", ":5\r\n"),
        ("HINCRBY h n -7", ":-2\r\n"),
        ("HINCRBY h n 1.5", NOT_INTEGER),
        ("HINCRBY h n -9223372036854775807", "-ERR increment or decrement would overflow\r\n"),
        ("HSET h s abc", ":1\r\n"),
        ("HINCRBY h s 1", "-ERR hash value is not an integer\r\n"),
        ("HINCRBYFLOAT h s 1", "-ERR hash value is not a float\r\n"),
        ("HINCRBYFLOAT h n abc", "-ERR value is not a valid float\r\n"),
        ("HINCRBYFLOAT h n inf", "-ERR value is NaN or Infinity\r\n"),
        ("HINCRBYFLOAT h s inf", "-ERR value is NaN or Infinity\r\n"),
        ("HINCRBYFLOAT h f 10.5", "$4\r\n10.5\r\n"),
        ("HINCRBYFLOAT h f 0.1", "$4\r\n10.6\r\n"),
        ("HINCRBYFLOAT h tenth 0.1", "$3\r\n0.1\r\n"),
        ("HINCRBYFLOAT h tenth 0.2", "$3\r\n0.3\r\n"),
        ("HINCRBYFLOAT h n 2.0e2", "$3\r\n198\r\n"),
        ("HINCRBY h n 1", ":199\r\n"),
    ]);
}

#[test]
fn random_counts_are_checked_as_in_redis() {
    let mut store = Store::new();
    store.run("HSET h a 1");
    let exact = "-ERR value is out of range, value must between -9223372036854775807 and \
                 9223372036854775807\r\n";
    store.expect(&[
        ("HRANDFIELD h", "$1\r\na\r\n"),
        ("HRANDFIELD h 5", "*1\r\n$1\r\na\r\n"),
        ("HRANDFIELD h -2", "*2\r\n$1\r\na\r\n$1\r\na\r\n"),
        ("HRANDFIELD h 0", "*0\r\n"),
        ("HRANDFIELD missing", "$-1\r\n"),
        ("HRANDFIELD missing 3", "*0\r\n"),
        ("HRANDFIELD missing x", NOT_INTEGER),
        ("HRANDFIELD h 9223372036854775808", NOT_INTEGER),
        ("HRANDFIELD h -9223372036854775808", exact),
        ("HRANDFIELD h -9223372036854775807 WITHVALUES", RANGE),
        ("HRANDFIELD h 4611686018427387904 WITHVALUES", RANGE),
        ("HRANDFIELD h -9223372036854775807", RANGE),
        ("HRANDFIELD h 9223372036854775807", "*1\r\n$1\r\na\r\n"),
        ("HRANDFIELD h 1 x", "-ERR syntax error\r\n"),
        ("HRANDFIELD h 1 WITHVALUES x", "-ERR syntax error\r\n"),
    ]);
}

#[test]
fn pairs_are_nested_under_resp3_and_maps_are_maps() {
    let mut store = Store::new();
    store.run("HSET h a 1");
    store.client.version = RespVersion::Three;
    store.expect(&[
        ("HGETALL h", "%1\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HGETALL missing", "%0\r\n"),
        ("HRANDFIELD h 1 WITHVALUES", "*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HRANDFIELD h -1 WITHVALUES", "*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HRANDFIELD missing", "_\r\n"),
        ("HSCAN h 0", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ("HMGET h a b", "*2\r\n$1\r\n1\r\n_\r\n"),
    ]);
}

#[test]
fn scans_filter_and_check_their_options() {
    let mut store = Store::new();
    store.run("HSET h apple 1 bean 2");
    store.expect(&[
        ("HSCAN h 0 MATCH b*", "*2\r\n$1\r\n0\r\n*2\r\n$4\r\nbean\r\n$1\r\n2\r\n"),
        ("HSCAN h 0 NOVALUES COUNT 5 MATCH a*", "*2\r\n$1\r\n0\r\n*1\r\n$5\r\napple\r\n"),
        ("HSCAN h \"\" COUNT 0", "-ERR syntax error\r\n"),
        ("HSCAN h -01 COUNT 0", "-ERR syntax error\r\n"),
        ("HSCAN h x", "-ERR invalid cursor\r\n"),
        ("HSCAN h -", "-ERR invalid cursor\r\n"),
        ("HSCAN h 1.5", "-ERR invalid cursor\r\n"),
        ("HSCAN h 0 COUNT 0", "-ERR syntax error\r\n"),
        ("HSCAN h 0 COUNT x", NOT_INTEGER),
        ("HSCAN h 0 MATCH", "-ERR syntax error\r\n"),
        ("HSCAN h 0 FOO 1", "-ERR syntax error\r\n"),
        ("HSCAN missing 0 FOO", "*2\r\n$1\r\n0\r\n*0\r\n"),
    ]);
}

#[test]
fn a_million_fields_are_written_and_read_in_one_command() {
    let mut store = Store::new();
    let names: Vec<String> = (0..1_000_000).map(|i| format!("{i:07}")).collect();
    let mut words: Vec<&[u8]> = vec![b"HSET", b"big"];
    words.extend(names.iter().flat_map(|name| [name.as_bytes(), b"v"]));
    assert_eq!(store.run_bytes(&words), b":1000000\r\n");
    let all = store.run_bytes(&[b"HGETALL", b"big"]);
    assert_eq!(all.len(), "*2000000\r\n".len() + 1_000_000 * "$7\r\n1234567\r\n$1\r\nv\r\n".len());
    let mut words: Vec<&[u8]> = vec![b"HEXPIRE", b"big", b"10", b"FIELDS", b"1000000"];
    words.extend(names.iter().map(String::as_bytes));
    assert_eq!(store.run_bytes(&words).len(), "*1000000\r\n".len() + 4 * 1_000_000);
    store.now += 10_000;
    store.expect(&[
        ("HLEN big", ":0\r\n"),
        ("HRANDFIELD big", "$-1\r\n"),
        ("HGETALL big", "*0\r\n"),
    ]);
}
