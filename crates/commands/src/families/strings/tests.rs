//! Strings as clients see them.

use crate::testing::Store;

const NULL: &str = "$-1\r\n";
const SYNTAX: &str = "-ERR syntax error\r\n";

#[test]
fn set_stores_on_its_conditions() {
    let mut store = Store::new();
    store.expect(&[
        ("SET a 1", "+OK\r\n"),
        ("GET a", "$1\r\n1\r\n"),
        ("SET a 2 NX", NULL),
        ("SET a 2 XX", "+OK\r\n"),
        ("SET b 2 XX", NULL),
        ("SET b 2 NX GET", NULL),
        ("SET b 3 NX GET", "$1\r\n2\r\n"),
        ("SET b 3 IFEQ 1", NULL),
        ("SET b 3 IFEQ 2", "+OK\r\n"),
        ("SET b 4 IFEQ 3 GET", "$1\r\n3\r\n"),
        ("SET none 4 IFEQ 3", NULL),
        ("SET b 1 NX XX", SYNTAX),
        ("SET b 1 IFEQ", SYNTAX),
        ("SET b 1 EX", SYNTAX),
        ("SET b 1 EX 1 PX 1", SYNTAX),
        ("SET b 1 KEEPTTL EX 1", SYNTAX),
        ("SET b 1 EX x", "-ERR value is not an integer or out of range\r\n"),
        ("SET b 1 EX 0", "-ERR invalid expire time in 'set' command\r\n"),
        ("SET b 1 PX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"),
        ("SET b 1 EX 9223372036854775", "-ERR invalid expire time in 'set' command\r\n"),
        ("HSET h f v", ":1\r\n"),
        ("SET h 1 GET", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("SET h 1", "+OK\r\n"),
        ("SETNX h 1", ":0\r\n"),
        ("SETNX i 1", ":1\r\n"),
        ("GETSET i 2", "$1\r\n1\r\n"),
        ("GETSET j 2", NULL),
        ("GETDEL j", "$1\r\n2\r\n"),
        ("GETDEL j", NULL),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n"),
        ("MSETNX a 1 z 2", ":0\r\n"),
        ("MSETNX y 1 z 2 y 3", ":1\r\n"),
        ("MGET y z none", "*3\r\n$1\r\n3\r\n$1\r\n2\r\n$-1\r\n"),
    ]);
}

#[test]
fn deadlines_are_exact_and_kept_or_dropped_as_said() {
    let mut store = Store::new();
    store.expect(&[("SET a 1 PX 100", "+OK\r\n"), ("SETEX b 1 1", "+OK\r\n")]);
    store.now += 99;
    store.expect(&[("GET a", "$1\r\n1\r\n"), ("SET b 2 KEEPTTL", "+OK\r\n")]);
    store.now += 1;
    store.expect(&[("GET a", NULL), ("GET b", "$1\r\n2\r\n")]);
    store.now += 900;
    store.expect(&[
        ("GET b", NULL),
        ("SET a 1 EX 1", "+OK\r\n"),
        ("GETEX a PERSIST", "$1\r\n1\r\n"),
        ("GETEX a PERSIST EX 1", SYNTAX),
        ("GETEX a EX -1", "-ERR invalid expire time in 'getex' command\r\n"),
        ("GETEX b EX 1", NULL),
    ]);
    store.now += 2000;
    store.expect(&[
        ("GETEX a PX 10", "$1\r\n1\r\n"),
        ("SET c 1 PXAT 5", "+OK\r\n"),
        ("GET c", NULL),
        ("PSETEX c 0 1", "-ERR invalid expire time in 'psetex' command\r\n"),
    ]);
    store.now += 10;
    store.expect(&[("GET a", NULL)]);
    store.maintain();
}

#[test]
fn parts_of_strings() {
    let mut store = Store::new();
    store.expect(&[
        ("APPEND a Hello", ":5\r\n"),
        ("APPEND a \" World\"", ":11\r\n"),
        ("STRLEN a", ":11\r\n"),
        ("STRLEN none", ":0\r\n"),
        ("GETRANGE a 0 4", "$5\r\nHello\r\n"),
        ("GETRANGE a -5 -1", "$5\r\nWorld\r\n"),
        ("GETRANGE a -1 -5", "$0\r\n\r\n"),
        ("GETRANGE a 6 100", "$5\r\nWorld\r\n"),
        ("SUBSTR a 20 30", "$0\r\n\r\n"),
        ("GETRANGE a -100 0", "$1\r\nH\r\n"),
        ("GETRANGE a -9223372036854775808 9223372036854775807", "$11\r\nHello World\r\n"),
        ("SETRANGE a 6 Redis", ":11\r\n"),
        ("GET a", "$11\r\nHello Redis\r\n"),
        ("SETRANGE n 2 x", ":3\r\n"),
        ("GET n", "$3\r\n\0\0x\r\n"),
        ("SETRANGE m 2 \"\"", ":0\r\n"),
        ("GET m", NULL),
        ("SETRANGE m -1 x", "-ERR offset is out of range\r\n"),
        (
            "SETRANGE m 536870912 x",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n",
        ),
        (
            "SETRANGE m 9223372036854775807 x",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n",
        ),
    ]);
}

#[test]
fn msetnx_that_finds_no_room_leaves_nothing() {
    let mut store = Store::with_segments(48);
    let big = vec![b'x'; 2_000_000];
    let reply = store.run_bytes(&[b"MSETNX", b"a", &big, b"b", &big, b"c", &big]);
    assert_eq!(reply, b"-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    store.expect(&[("MGET a b c", "*3\r\n$-1\r\n$-1\r\n$-1\r\n")]);
}
