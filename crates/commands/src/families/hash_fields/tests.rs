//! Replies and errors of the commands on fields' deadlines.

use crate::testing::{START, Store};

#[test]
fn deadlines_are_set_read_and_taken_away() {
    let mut store = Store::new();
    let seconds = START / 1000;
    store.expect(&[
        ("HSET h a 1 b 2", ":2\r\n"),
        ("HEXPIRE h 10 FIELDS 3 a b zz", "*3\r\n:1\r\n:1\r\n:-2\r\n"),
        ("HEXPIRE missing 10 FIELDS 2 a b", "*2\r\n:-2\r\n:-2\r\n"),
        ("HTTL h FIELDS 2 a zz", "*2\r\n:10\r\n:-2\r\n"),
        ("HPTTL missing FIELDS 1 a", "*1\r\n:-2\r\n"),
        ("HPERSIST h FIELDS 4 b b zz a", "*4\r\n:1\r\n:-1\r\n:-2\r\n:1\r\n"),
        ("HTTL h FIELDS 1 a", "*1\r\n:-1\r\n"),
        ("HPEXPIRE h 1500 FIELDS 1 a", "*1\r\n:1\r\n"),
    ]);
    store.now += 600;
    let end = format!("*1\r\n:{}\r\n", START + 1500);
    let end_seconds = format!("*1\r\n:{}\r\n", seconds + 2);
    store.expect(&[
        ("HPTTL h FIELDS 1 a", "*1\r\n:900\r\n"),
        ("HTTL h FIELDS 1 a", "*1\r\n:1\r\n"),
        ("HPEXPIRETIME h FIELDS 1 a", &end),
        ("HEXPIRETIME h FIELDS 1 a", &end_seconds),
    ]);
    store.now += 900;
    store.expect(&[("HKEYS h", "*1\r\n$1\r\nb\r\n"), ("HTTL h FIELDS 1 a", "*1\r\n:-2\r\n")]);
}

#[test]
fn a_deadline_in_the_past_deletes_even_the_key() {
    let mut store = Store::new();
    store.expect(&[
        ("HSET h a 1 b 2 c 3", ":3\r\n"),
        ("HEXPIRE h 0 FIELDS 2 a a", "*2\r\n:2\r\n:-2\r\n"),
        ("HPEXPIREAT h 5 FIELDS 1 b", "*1\r\n:2\r\n"),
        ("HEXPIREAT h 1 GT FIELDS 1 c", "*1\r\n:0\r\n"),
        ("HGETEX h PX 0 FIELDS 1 c", "*1\r\n$1\r\n3\r\n"),
        ("HSETEX h EXAT 1 FIELDS 1 d 4", ":1\r\n"),
    ]);
    assert_eq!(store.shards.0.iter().map(|shard| shard.len(0)).sum::<u64>(), 0);
}

#[test]
fn setting_clears_a_deadline_and_adding_keeps_it() {
    let mut store = Store::new();
    store.expect(&[
        ("HSETEX h EX 10 FIELDS 3 a 1 b 2 c 3", ":1\r\n"),
        ("HSET h a 5", ":0\r\n"),
        ("HINCRBY h b 5", ":7\r\n"),
        ("HINCRBYFLOAT h c 0.5", "$3\r\n3.5\r\n"),
        ("HTTL h FIELDS 3 a b c", "*3\r\n:-1\r\n:10\r\n:10\r\n"),
        ("HSETEX h KEEPTTL FIELDS 2 b 1 n 1", ":1\r\n"),
        ("HTTL h FIELDS 2 b n", "*2\r\n:10\r\n:-1\r\n"),
        ("HSETEX h FIELDS 1 b 2", ":1\r\n"),
        ("HTTL h FIELDS 1 b", "*1\r\n:-1\r\n"),
        ("HSETEX h FNX FIELDS 2 b 3 y 3", ":0\r\n"),
        ("HSETEX h PX 500 FXX FIELDS 1 b 4", ":1\r\n"),
        ("HSETEX missing FXX FIELDS 1 b 4", ":0\r\n"),
        ("HGETEX h PERSIST FIELDS 2 b y", "*2\r\n$1\r\n4\r\n$-1\r\n"),
        ("HPTTL h FIELDS 1 b", "*1\r\n:-1\r\n"),
        ("HGETDEL h FIELDS 3 b b zz", "*3\r\n$1\r\n4\r\n$-1\r\n$-1\r\n"),
        ("HGETDEL missing FIELDS 1 b", "*1\r\n$-1\r\n"),
    ]);
}

#[test]
fn errors_are_word_for_word() {
    const PLACE: &str =
        "-ERR Mandatory argument FIELDS is missing or not at the right position\r\n";
    const MATCH: &str = "-ERR The `numfields` parameter must match the number of arguments\r\n";
    const POSITIVE: &str = "-ERR Number of fields must be a positive integer\r\n";
    const ABOVE: &str = "-ERR Parameter `numFields` should be greater than 0\r\n";
    const NEGATIVE: &str = "-ERR invalid expire time, must be >= 0\r\n";
    const INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
    let mut store = Store::new();
    store.run("HSET h f v");
    store.expect(&[
        ("HEXPIRE h 10 FIELDS 1", "-ERR wrong number of arguments for 'hexpire' command\r\n"),
        ("HEXPIRE h x FIELDS 1 f", INTEGER),
        ("HEXPIRE h -1 FIELDS 1 f", NEGATIVE),
        ("HEXPIRE h 10 FIELD 1 f", PLACE),
        ("HEXPIRE h 10 NX XX FIELDS 1 f", PLACE),
        ("HEXPIRE h 10 FIELDS x f", ABOVE),
        ("HPEXPIRE h 10 FIELDS 0 f", ABOVE),
        ("HEXPIREAT h 10 FIELDS 2 f", MATCH),
        ("HEXPIRE h 10 FIELDS 1 f g", MATCH),
        (
            "HEXPIREAT h 99999999999 FIELDS 1 f",
            "-ERR invalid expire time in 'hexpireat' command\r\n",
        ),
        ("HTTL h FIELDS 0 f", POSITIVE),
        ("HTTL h FIELD 1 f", PLACE),
        ("HPERSIST h FIELDS 2 f", MATCH),
        ("HGETDEL h FIELDS x f", POSITIVE),
        ("HGETEX h KEEPTTL FIELDS 1 f", PLACE),
        ("HGETEX h EX 100 PERSIST FIELDS 1 f", PLACE),
        ("HGETEX h EX -5 FIELDS 1 f", NEGATIVE),
        ("HGETEX h EX x FIELDS 1 f", INTEGER),
        (
            "HGETEX h EXAT 99999999999 FIELDS 1 f",
            "-ERR invalid expire time in 'hgetex' command\r\n",
        ),
        ("HSETEX h BOGUS FIELDS 1 f v", "-ERR unknown argument: BOGUS\r\n"),
        (
            "HSETEX h FNX FXX FIELDS 1 f v",
            "-ERR Only one of FXX or FNX arguments can be specified\r\n",
        ),
        (
            "HSETEX h EX 60 KEEPTTL FIELDS 1 f v",
            "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified\r\n",
        ),
        ("HSETEX h FIELDS 0 f v", "-ERR invalid number of fields\r\n"),
        ("HSETEX h FIELDS 2 f v", "-ERR wrong number of arguments for 'hsetex' command\r\n"),
        ("HSETEX h FXX EX -5 FIELDS 1 f v", NEGATIVE),
    ]);
}
