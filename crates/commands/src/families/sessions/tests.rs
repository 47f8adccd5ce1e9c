//! Each rule of sessions, over RESP.

use crate::testing::{START, Store, words};

const NULL: &str = "$-1\r\n";
const ROTATED: &str = "+ROTATED\r\n";

#[test]
fn the_docs_list_the_commands_as_the_rows_do() {
    let docs = include_str!("../../../../../docs/sessions.md");
    for row in super::ROWS {
        let line = format!("| `{} {}` | {} |", row.name, row.syntax, row.summary);
        assert!(docs.contains(&line), "docs/sessions.md lacks {line}");
    }
}

/// The version that a command answers.
#[track_caller]
fn version(store: &mut Store, line: &str) -> u64 {
    let reply = store.run(line);
    let digits = reply.strip_prefix(':').unwrap_or_else(|| panic!("{line}: {reply}"));
    digits.trim_end().parse().unwrap()
}

/// The words of a reply to LOAD after the version, without marks and lengths.
#[track_caller]
fn load(store: &mut Store, line: &str) -> Vec<String> {
    let reply = store.run(line);
    assert!(reply.starts_with("*5\r\n"), "{line}: {reply}");
    let lines: Vec<&str> = reply.split("\r\n").collect();
    let mut words = Vec::new();
    let mut at = 1;
    while at < lines.len() - 1 {
        match lines[at].split_at(1) {
            ("$", "-1") => words.push("-".to_owned()),
            ("$", _) => {
                at += 1;
                words.push(lines[at].to_owned());
            }
            (":", number) => words.push(number.to_owned()),
            _ => {}
        }
        at += 1;
    }
    words.split_off(1)
}

fn names(store: &mut Store, user: &str) -> Vec<String> {
    let reply = store.run(&format!("SESSION.LIST {user}"));
    let lines: Vec<&str> = reply.split("\r\n").collect();
    lines.iter().filter(|line| line.starts_with("s:")).map(|line| (*line).to_owned()).collect()
}

#[test]
fn a_session_is_created_once_and_read_whole() {
    let mut store = Store::new();
    let made = version(&mut store, "SESSION.CREATE s IDLE 60 MAX 3600 USER ann SET 2 a 1 b 2");
    assert_eq!(store.run("SESSION.CREATE s SET 1 a 9"), NULL);
    assert_eq!(load(&mut store, "SESSION.LOAD s"), ["60000", "3600000", "ann", "a", "1", "b", "2"]);
    let whole = store.run("SESSION.LOAD s PEEK");
    let expected = format!(
        "*5\r\n:{made}\r\n:60000\r\n:3600000\r\n$3\r\nann\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n"
    );
    assert_eq!(whole, expected);
    version(&mut store, "SESSION.CREATE t");
    assert_eq!(load(&mut store, "SESSION.LOAD t"), ["-", "-", ""]);
    store.expect(&[
        ("SESSION.LOAD none", NULL),
        ("SET plain 1", "+OK\r\n"),
        ("HSET hash f v", ":1\r\n"),
        ("SESSION.CREATE plain", NULL),
        ("SESSION.CREATE hash", NULL),
        ("EXISTS s t", ":2\r\n"),
        ("TYPE s", "+hash\r\n"),
        ("TTL t", ":-1\r\n"),
        ("HLEN t", ":0\r\n"),
    ]);
    for line in ["SESSION.LOAD plain", "SESSION.LOAD hash", "SESSION.SAVE hash SET 1 a 1"] {
        assert!(store.run(line).starts_with("-WRONGTYPE "), "{line}");
    }
    assert!(store.run("SESSION.ROTATE hash s:new").starts_with("-WRONGTYPE "));
    store.expect(&[("SESSION.TOUCH hash", ":0\r\n"), ("SESSION.END hash none", ":0\r\n")]);
}

#[test]
fn an_idle_timeout_slides_with_each_use_up_to_the_last_moment() {
    let mut store = Store::new();
    version(&mut store, "SESSION.CREATE s IDLE 10 MAX 25 SET 1 a 1");
    store.now += 9_000;
    assert_eq!(load(&mut store, "SESSION.LOAD s PEEK")[..2], ["1000", "16000"]);
    assert_eq!(load(&mut store, "SESSION.LOAD s")[..2], ["10000", "16000"]);
    for (uses, command) in ["HGET s a", "SESSION.TOUCH s", "HGETALL s"].iter().enumerate() {
        store.now += 2_000;
        store.run(command);
        let left = (16_000 - 2_000 * (uses as u64 + 1)).min(10_000);
        assert_eq!(store.run("PTTL s"), format!(":{left}\r\n"));
    }
    store.now += 8_000;
    store.run("SESSION.SAVE s SET 1 a 2");
    assert_eq!(load(&mut store, "SESSION.LOAD s PEEK")[..2], ["2000", "2000"]);
    store.now += 2_000;
    store.expect(&[
        ("SESSION.LOAD s", NULL),
        ("SESSION.SAVE s SET 1 a 3", NULL),
        ("DBSIZE", ":1\r\n"),
    ]);
    store.maintain();
    store.expect(&[("DBSIZE", ":0\r\n")]);
}

#[test]
fn uses_and_empty_saves_keep_the_version_and_changes_do_not() {
    let mut store = Store::new();
    let first = version(&mut store, "SESSION.CREATE s IDLE 100 SET 1 a 1");
    for same in
        ["SESSION.SAVE s", "SESSION.SAVE s IDLE 50", "SESSION.SAVE s MAX 9", "SESSION.SAVE s SET 0"]
    {
        assert_eq!(version(&mut store, same), first, "{same}");
    }
    store.run("SESSION.TOUCH s");
    store.run("SESSION.LOAD s");
    let mut last = version(&mut store, &format!("SESSION.SAVE s IF {first}"));
    assert_eq!(last, first);
    for change in ["SET 1 a 1", "DEL 1 none", "USER ann", "INIT 1 a 2", "INCR 1 n 1", "USER \"\""] {
        let next = version(&mut store, &format!("SESSION.SAVE s {change}"));
        assert!(next > last, "{change}");
        last = next;
    }
    let conflict = format!("-CONFLICT session version is {last}\r\n");
    assert_eq!(store.run(&format!("SESSION.SAVE s IF {first} SET 1 a 7")), conflict);
    assert_eq!(store.run(&format!("SESSION.ROTATE s t IF {first}")), conflict);
    assert_eq!(store.run("HGET s a"), "$1\r\n1\r\n");
    version(&mut store, &format!("SESSION.SAVE s IF {last} SET 1 a 7"));
}

#[test]
fn limits_change_by_name_and_the_last_moment_counts_from_creation() {
    let mut store = Store::new();
    version(&mut store, "SESSION.CREATE s IDLE 100 MAX 1000");
    store.now += 50_000;
    store.run("SESSION.SAVE s MAX 60");
    assert_eq!(load(&mut store, "SESSION.LOAD s")[..2], ["10000", "10000"]);
    store.run("SESSION.SAVE s MAX 0");
    assert_eq!(load(&mut store, "SESSION.LOAD s")[..2], ["100000", "-"]);
    store.run(&format!("SESSION.SAVE s IDLE 0 EXAT {}", store.now + 5));
    assert_eq!(load(&mut store, "SESSION.LOAD s")[..2], ["-", "5"]);
    store.run("SESSION.SAVE s EXAT 0");
    store.expect(&[
        ("PTTL s", ":-1\r\n"),
        ("EXPIRE s 20", ":1\r\n"),
        ("SESSION.TOUCH s", ":1\r\n"),
    ]);
    store.run("SESSION.SAVE s SET 1 a 1");
    store.expect(&[("PTTL s", ":20000\r\n")]);
    store.run("SESSION.SAVE s IDLE 30");
    store.run(&format!("SESSION.SAVE s EXAT {}", store.now + 60_000));
    store.expect(&[
        ("PTTL s", ":30000\r\n"),
        ("EXPIRE s 5", ":1\r\n"),
        ("PTTL s", ":5000\r\n"),
        ("SESSION.TOUCH s", ":1\r\n"),
        ("PTTL s", ":30000\r\n"),
        ("EXPIRE s 100", ":1\r\n"),
        ("PTTL s", ":60000\r\n"),
        ("PERSIST s", ":1\r\n"),
        ("PTTL s", ":60000\r\n"),
    ]);
    version(&mut store, "SESSION.SAVE s EXAT 1");
    store.expect(&[("SESSION.LOAD s", NULL), ("EXISTS s", ":0\r\n")]);
    version(&mut store, "SESSION.CREATE s EXAT 1 USER ann SET 1 a 1");
    store.expect(&[("SESSION.LOAD s", NULL), ("SESSION.LIST ann", "*0\r\n"), ("DBSIZE", ":0\r\n")]);
}

#[test]
fn limits_of_a_century_slide_too() {
    let mut store = Store::new();
    let idle_ms = u64::from(u32::MAX) * 1_000;
    version(&mut store, "SESSION.CREATE s IDLE 4294967295 USER ann SET 1 a 1");
    store.now += 5_000;
    assert_eq!(store.run("PTTL s"), format!(":{}\r\n", idle_ms - 5_000));
    assert_eq!(load(&mut store, "SESSION.LOAD s")[0], idle_ms.to_string());
    assert_eq!(store.run("PTTL s"), format!(":{idle_ms}\r\n"));
    version(&mut store, "SESSION.SAVE s MAX 4000000000 SET 1 b 2");
    let left = 4_000_000_000_000_u64 - 5_000;
    let expected = [left.to_string(), left.to_string(), "ann".to_owned()];
    assert_eq!(load(&mut store, "SESSION.LOAD s")[..3], expected);
    version(&mut store, "SESSION.SAVE s IDLE 10");
    store.now += 2_000;
    store.run("SESSION.TOUCH s");
    assert_eq!(load(&mut store, "SESSION.LOAD s PEEK")[0], "10000");
    assert!(store.run("SESSION.LIST ann").starts_with("*1\r\n"));
    store.now += 10_000;
    store.expect(&[("SESSION.LOAD s", NULL)]);
}

#[test]
fn patches_merge_leaf_by_leaf() {
    // Fields before, what is saved, fields after in the order of their names.
    let cases = [
        ("a 1", "SET 1 b 2", "a 1 b 2"),
        ("a.b 1 a.c.d 1 ab 1", "SET 1 a 0", "a 0 ab 1"),
        ("a 1 b 2", "SET 1 a.b.c 3", "a.b.c 3 b 2"),
        ("a {} b 2", "SET 1 a.b 3", "a {} a.b 3 b 2"),
        ("a.b 1", "SET 1 a \"{} 3\"", "a {}_3 a.b 1"),
        ("a\\.b 1 a 1", "SET 1 a 2", "a 2 a\\.b 1"),
        ("a 1 a.b 2 ab 3", "DEL 2 a none", "a.b 2 ab 3"),
        ("a {} a.b 1 a.c.d 2 ab 3 a-x 4", "DELTREE 1 a", "a-x 4 ab 3"),
        ("a 1 b.c 2", "SET 1 c 3 DELTREE 1 \"\"", "c 3"),
        ("a 1", "INIT 2 a 9 b 9", "a 1 b 9"),
        ("a.b 1", "INIT 2 a {} a.b.c 1", "a.b.c 1"),
        ("n \"41 k7\"", "INCR 1 n 1", "n 42_k7"),
        ("", "INCR 1 n -3", "n -3"),
        ("n 9223372036854775806", "INCR 1 n 1", "n 9223372036854775807"),
        ("n 0.5", "INCR 1 n 2", "n 2.5"),
        ("n \"1 a\"", "INCR 1 n 1.0", "n 2.0_a"),
        ("", "PUSH l 1 PUSH l 2", "l [1,2]"),
        ("l \"[] k\"", "PUSH l []", "l [[]]_k"),
        ("l \"[1, [2,3] ,4] z\"", "PUSH l 5 TRIM 3", "l [[2,3],4,5]_z"),
        ("l [1,2]", "PUSH l 3 TRIM 0", "l []"),
        ("a 1 b 1", "INCR 1 a.n 1 PUSH b.l 1", "a.n 1 b.l [1]"),
        ("a 1", "SET 2 b 1 b.c 2", "a 1 b.c 2"),
        ("a 1 b 1 c 1", "SET 5 a.x 1 a.x.y 2 b.x 1 b 2 c.x 1", "a.x.y 2 b 2 c.x 1"),
    ];
    for (before, patch, after) in cases {
        let mut store = Store::new();
        let count = words(before).len() / 2;
        version(&mut store, &format!("SESSION.CREATE s SET {count} {before}"));
        version(&mut store, &format!("SESSION.SAVE s {patch}"));
        let mut found = load(&mut store, "SESSION.LOAD s").split_off(3);
        found.iter_mut().for_each(|word| *word = word.replace(' ', "_"));
        let mut pairs: Vec<String> = found.chunks(2).map(|pair| pair.join(" ")).collect();
        pairs.sort();
        assert_eq!(pairs.join(" "), after, "{before} | {patch}");
    }
}

#[test]
fn what_cannot_be_merged_changes_nothing() {
    let mut store = Store::new();
    let made = version(
        &mut store,
        "SESSION.CREATE s SET 5 text \"\\\"12\\\"\" list [1] large 9223372036854775807 dict {} one 1",
    );
    for (patch, error) in [
        ("INCR 1 text 1", "field is not a number"),
        ("INCR 1 list 1.5", "field is not a number"),
        ("INCR 1 dict 1", "field is not a number"),
        ("INCR 1 one x", "INCR needs numbers"),
        ("INCR 1 large 1", "number would be too large"),
        ("INCR 1 one 1e999", "number would be too large"),
        ("PUSH text 1", "field is not a list"),
        ("PUSH dict 1", "field is not a list"),
        ("PUSH list [1", "PUSH needs a JSON value"),
        ("INCR 1 one 1 PUSH one 1", "field is not a list"),
    ] {
        let line = format!("SESSION.SAVE s SET 1 new 1 {patch}");
        assert_eq!(store.run(&line), format!("-ERR {error}\r\n"), "{patch}");
        let line = format!("SESSION.ROTATE s t SET 1 new 1 {patch}");
        assert_eq!(store.run(&line), format!("-ERR {error}\r\n"), "{patch}");
    }
    assert_eq!(version(&mut store, "SESSION.SAVE s"), made);
    store.expect(&[("HLEN s", ":5\r\n"), ("EXISTS t", ":0\r\n")]);
}

#[test]
fn options_are_named_when_they_are_wrong() {
    let mut store = Store::new();
    let long = "x".repeat(256);
    for (line, error) in [
        ("SESSION.CREATE s NOSUCH".to_owned(), "unknown option 'NOSUCH'"),
        ("SESSION.CREATE s DEL 1 a".to_owned(), "unknown option 'DEL'"),
        ("SESSION.SAVE s LIMIT 1".to_owned(), "unknown option 'LIMIT'"),
        ("SESSION.SAVE s SET 1 a 1 SET 1 b 1".to_owned(), "SET is given twice"),
        ("SESSION.SAVE s IDLE".to_owned(), "IDLE lacks an argument"),
        ("SESSION.SAVE s IDLE -1".to_owned(), "IDLE needs a whole number from 0 to 4294967295"),
        ("SESSION.SAVE s SET 2 a 1".to_owned(), "SET has fewer arguments than it says"),
        (
            "SESSION.CREATE s USER u LIMIT 0".to_owned(),
            "LIMIT needs a whole number from 1 to 4294967296",
        ),
        (format!("SESSION.CREATE s USER {long}"), "USER may have 255 bytes at most"),
        (format!("SESSION.CREATE s REQ {long}"), "REQ may have 64 bytes at most"),
        ("SESSION.ROTATE s t GRACE 86401".to_owned(), "GRACE needs a whole number from 0 to 86400"),
        ("SESSION.ROTATE s t ELSE NONE".to_owned(), "ELSE needs CREATE"),
        ("SESSION.CREATE s MAX 17592186044415".to_owned(), "MAX or EXAT lies too far ahead"),
        ("SESSION.LIST u FIELDS 2 a".to_owned(), "FIELDS has fewer arguments than it says"),
        ("SESSION.LIST u FIELDS 1 a b".to_owned(), "syntax error"),
        ("SESSION.LOAD s TWICE".to_owned(), "syntax error"),
        ("SESSION.ENDALL u EXCEPT".to_owned(), "syntax error"),
        ("SLIDE s x".to_owned(), "SLIDE needs a whole number from 0 to 4294967295"),
    ] {
        assert_eq!(store.run(&line), format!("-ERR {error}\r\n"), "{line}");
    }
    store.expect(&[("DBSIZE", ":0\r\n")]);
}

#[test]
fn a_rotated_session_leaves_a_tombstone_unless_it_stays_with_its_user() {
    for (before, options, alias) in [
        ("", "USER ann GRACE 30", false),
        ("USER ann", "USER ann GRACE 30", false),
        ("USER ann", "USER bob GRACE 30", false),
        ("USER ann", "USER \"\" GRACE 30", false),
        ("USER ann", "HARD GRACE 30", false),
        ("USER ann", "", false),
        ("USER ann", "GRACE 30", true),
        ("", "USER \"\" GRACE 30", true),
    ] {
        let mut store = Store::new();
        version(&mut store, &format!("SESSION.CREATE s {before} IDLE 100 SET 1 a 1"));
        let moved = version(&mut store, &format!("SESSION.ROTATE s t {options} SET 1 b 2"));
        assert_eq!(load(&mut store, "SESSION.LOAD t")[3..], ["a", "1", "b", "2"]);
        assert_eq!(version(&mut store, "SESSION.SAVE t"), moved);
        store.expect(&[("EXISTS s", ":0\r\n"), ("TYPE s", "+none\r\n"), ("HGETALL s", "*0\r\n")]);
        store.expect(&[("SESSION.CREATE s", NULL), ("SESSION.ROTATE s u", NULL)]);
        if alias {
            assert_eq!(store.run("SESSION.LOAD s"), store.run("SESSION.LOAD t"), "{options}");
            let later = version(&mut store, "SESSION.SAVE s SET 1 c 3");
            assert_eq!(version(&mut store, "SESSION.SAVE t"), later);
            store
                .expect(&[("SESSION.TOUCH s", ":1\r\n"), ("SESSION.ROTATE s u ELSE CREATE", NULL)]);
        } else {
            store.expect(&[
                ("SESSION.LOAD s", ROTATED),
                ("SESSION.LOAD s PEEK", ROTATED),
                ("SESSION.SAVE s SET 1 c 3", NULL),
                ("SESSION.TOUCH s", ":0\r\n"),
                ("SESSION.END s", ":0\r\n"),
                ("SESSION.LOAD s", ROTATED),
            ]);
        }
        store.now += 30_000;
        let then = store.run("SESSION.LOAD s");
        assert_eq!(then, if alias { NULL } else { ROTATED });
        store.now += 30_000;
        store.expect(&[("SESSION.LOAD s", NULL), ("SESSION.LOAD u", NULL), ("EXISTS t", ":1\r\n")]);
    }
}

#[test]
fn an_alias_ends_with_its_session_and_never_changes_hands() {
    let mut store = Store::new();
    version(&mut store, "SESSION.CREATE a");
    version(&mut store, "SESSION.ROTATE a b GRACE 30");
    version(&mut store, "SESSION.ROTATE b c GRACE 30");
    assert_eq!(load(&mut store, "SESSION.LOAD a"), ["-", "-", ""]);
    version(&mut store, "SESSION.SAVE c USER ann");
    store.expect(&[
        ("SESSION.LOAD a", ROTATED),
        ("SESSION.SAVE b SET 1 x 1", NULL),
        ("SESSION.END b", ":0\r\n"),
    ]);
    version(&mut store, "SESSION.ROTATE c d GRACE 30");
    store.expect(&[
        ("SESSION.END c", ":1\r\n"),
        ("SESSION.LOAD d", NULL),
        ("SESSION.LOAD c", NULL),
        ("SESSION.END c", ":0\r\n"),
    ]);
    version(&mut store, "SESSION.CREATE e");
    version(&mut store, "SESSION.ROTATE e f GRACE 30");
    store.expect(&[
        ("SESSION.END f", ":1\r\n"),
        ("SESSION.LOAD e", NULL),
        ("SESSION.SAVE e", NULL),
    ]);
    let made = version(&mut store, "SESSION.ROTATE e g ELSE CREATE SET 1 x 1");
    assert!(store.run("SESSION.LOAD g").contains(&format!(":{made}\r\n")));
}

#[test]
fn rotation_creates_instead_only_if_asked_and_never_overwrites() {
    let mut store = Store::new();
    store.expect(&[("SESSION.ROTATE none new SET 1 a 1", NULL), ("EXISTS new", ":0\r\n")]);
    version(&mut store, "SESSION.ROTATE none new SET 1 a 1 IDLE 60 USER ann ELSE CREATE");
    assert_eq!(load(&mut store, "SESSION.LOAD new"), ["60000", "-", "ann", "a", "1"]);
    version(&mut store, "SESSION.ROTATE none newer ELSE CREATE 1 b 2 SET 1 a 1");
    assert_eq!(load(&mut store, "SESSION.LOAD newer")[3..], ["b", "2"]);
    let taken = "-ERR target session exists\r\n";
    store.expect(&[
        ("SESSION.ROTATE new newer", taken),
        ("SESSION.ROTATE new new", taken),
        ("SET string 1", "+OK\r\n"),
        ("SESSION.ROTATE new string", taken),
        ("HGET newer b", "$1\r\n2\r\n"),
    ]);
    assert_eq!(load(&mut store, "SESSION.LOAD new")[3..], ["a", "1"]);
}

#[test]
fn the_last_moment_counts_from_rotation_and_creation_from_the_sign_in() {
    let mut store = Store::new();
    version(&mut store, "SESSION.CREATE s:1 MAX 100");
    store.now += 10_000;
    version(&mut store, "SESSION.ROTATE s:1 s:2 USER ann");
    assert_eq!(load(&mut store, "SESSION.LOAD s:2")[1], "90000");
    let created = format!(":{}\r\n", START + 10_000);
    assert!(store.run("SESSION.LIST ann").contains(&created));
    store.now += 10_000;
    version(&mut store, "SESSION.ROTATE s:2 s:3 MAX 50 HARD");
    assert_eq!(load(&mut store, "SESSION.LOAD s:3")[1], "50000");
    assert!(store.run("SESSION.LIST ann").contains(&created));
    store.now += 5_000;
    version(&mut store, "SESSION.SAVE s:3 MAX 20");
    assert_eq!(load(&mut store, "SESSION.LOAD s:3")[1], "15000");
}

#[test]
fn a_users_sessions_are_listed_newest_first_and_ended_at_once() {
    let mut store = Store::new();
    for n in 1..=3 {
        store.now += 1_000;
        version(&mut store, &format!("SESSION.CREATE s:{n} IDLE 100 USER ann SET 2 n {n} x y"));
    }
    store.now += 5_000;
    store.run("SESSION.TOUCH s:2");
    version(&mut store, "SESSION.CREATE s:4 USER bob");
    version(&mut store, "SESSION.CREATE s:5");
    assert_eq!(names(&mut store, "ann"), ["s:3", "s:2", "s:1"]);
    let (made, seen) = (START + 2_000, START + 8_000);
    let second = format!("*4\r\n$3\r\ns:2\r\n:{made}\r\n:{seen}\r\n*2\r\n$1\r\nn\r\n$1\r\n2\r\n");
    assert!(store.run("SESSION.LIST ann FIELDS 2 n none").contains(&second));
    version(&mut store, "SESSION.ROTATE s:1 s:6 GRACE 60");
    store.expect(&[("RENAME s:2 s:7", "+OK\r\n"), ("COPY s:3 s:8", ":1\r\n")]);
    assert_eq!(names(&mut store, "ann"), ["s:3", "s:7", "s:6"]);
    assert!(store.run("SESSION.LOAD s:8").starts_with("-WRONGTYPE "));
    store.expect(&[
        ("SESSION.ENDALL ann EXCEPT s:1", ":2\r\n"),
        ("EXISTS s:3 s:6 s:7 s:4 s:8", ":3\r\n"),
        ("SESSION.ENDALL ann", ":1\r\n"),
        ("SESSION.ENDALL ann", ":0\r\n"),
        ("SESSION.LOAD s:1", NULL),
        ("SESSION.LIST \"\"", "*0\r\n"),
    ]);
    version(&mut store, "SESSION.SAVE s:5 USER bob");
    assert_eq!(names(&mut store, "bob").len(), 2);
    version(&mut store, "SESSION.SAVE s:4 USER \"\"");
    assert_eq!(names(&mut store, "bob"), ["s:5"]);
    store.expect(&[("SET s:5 1", "+OK\r\n"), ("SESSION.LIST bob", "*0\r\n")]);
}

#[test]
fn a_limit_ends_the_oldest() {
    let mut store = Store::new();
    for n in 1..=5 {
        store.now += 10;
        version(&mut store, &format!("SESSION.CREATE s:{n} USER ann LIMIT 3"));
    }
    assert_eq!(names(&mut store, "ann"), ["s:5", "s:4", "s:3"]);
    version(&mut store, "SESSION.CREATE s:6");
    store.now += 10;
    version(&mut store, "SESSION.ROTATE s:6 s:7 USER ann LIMIT 2");
    assert_eq!(names(&mut store, "ann"), ["s:7", "s:5"]);
    version(&mut store, "SESSION.ROTATE s:5 s:8 LIMIT 2");
    assert_eq!(names(&mut store, "ann"), ["s:7", "s:8"]);
    version(&mut store, "SESSION.CREATE s:9 LIMIT 1");
    assert_eq!(store.run("SESSION.CREATE s:9 USER ann LIMIT 1"), NULL);
    assert_eq!(names(&mut store, "ann").len(), 2);
}

#[test]
fn a_request_that_comes_twice_is_answered_once() {
    let mut store = Store::new();
    let made = version(&mut store, "SESSION.CREATE s REQ t1 SET 1 n 1");
    assert_eq!(version(&mut store, "SESSION.CREATE s REQ t1 SET 1 n 1"), made);
    assert_eq!(store.run("SESSION.CREATE s REQ t2"), NULL);
    let added = version(&mut store, "SESSION.SAVE s REQ t3 INCR 1 n 1");
    assert_eq!(version(&mut store, "SESSION.SAVE s REQ t3 INCR 1 n 1"), added);
    store.expect(&[("HGET s n", "$1\r\n2\r\n")]);
    let moved = version(&mut store, "SESSION.ROTATE s t REQ t4 INCR 1 n 1");
    assert_eq!(version(&mut store, "SESSION.ROTATE s t REQ t4 INCR 1 n 1"), moved);
    store.expect(&[("HGET t n", "$1\r\n3\r\n")]);
    let added = version(&mut store, "SESSION.SAVE t REQ t6 INCR 1 n 1");
    version(&mut store, "SESSION.ROTATE t u GRACE 30");
    assert_eq!(version(&mut store, "SESSION.SAVE t REQ t6 INCR 1 n 1"), added);
    store.expect(&[("HGET u n", "$1\r\n4\r\n"), ("SESSION.END u", ":1\r\n")]);
    version(&mut store, "SESSION.CREATE s:t REQ t4");
    store.now += 60_000;
    store.expect(&[("SESSION.ROTATE s s:t REQ t4", "-ERR target session exists\r\n")]);
    let made = version(&mut store, "SESSION.CREATE u REQ t5");
    store.expect(&[("SESSION.END u", ":1\r\n"), ("SESSION.SAVE u REQ t5", NULL)]);
    assert!(version(&mut store, "SESSION.CREATE u REQ t5") > made);
}

#[test]
fn plain_commands_meet_a_session_as_a_hash() {
    let mut store = Store::new();
    version(&mut store, "SESSION.CREATE s IDLE 100 USER ann SET 1 a 1");
    store.expect(&[
        ("HSET s b 2", ":1\r\n"),
        ("HDEL s a b", ":2\r\n"),
        ("EXISTS s", ":1\r\n"),
        ("HGETALL s", "*0\r\n"),
        ("HRANDFIELD s", NULL),
        ("COPY s t", ":0\r\n"),
        ("HSETEX s EX 1 FIELDS 1 f v", ":1\r\n"),
    ]);
    store.now += 1_000;
    store.expect(&[("HLEN s", ":0\r\n"), ("EXISTS s", ":1\r\n")]);
    store.maintain();
    assert_eq!(load(&mut store, "SESSION.LOAD s"), ["100000", "-", "ann"]);
    for n in 0..600 {
        store.run(&format!("HSET s f{n} v"));
    }
    assert_eq!(load(&mut store, "SESSION.LOAD s").len(), 3 + 1_200);
    version(&mut store, "SESSION.SAVE s DELTREE 1 \"\"");
    assert_eq!(load(&mut store, "SESSION.LOAD s"), ["100000", "-", "ann"]);
    store.expect(&[
        ("MOVE s 3", ":1\r\n"),
        ("SESSION.LIST ann", "*0\r\n"),
        ("SELECT 3", "+OK\r\n"),
    ]);
    assert_eq!(load(&mut store, "SESSION.LOAD s"), ["100000", "-", "ann"]);
    store.expect(&[("SWAPDB 3 0", "+OK\r\n"), ("SELECT 0", "+OK\r\n")]);
    assert!(store.run("SESSION.LIST ann").starts_with("*1\r\n"));
    store.expect(&[("DEL s", ":1\r\n"), ("SESSION.LIST ann", "*0\r\n")]);
    version(&mut store, "SESSION.CREATE s USER ann");
    store.expect(&[("FLUSHDB", "+OK\r\n"), ("SESSION.LIST ann", "*0\r\n")]);
}

#[test]
fn plain_commands_do_not_see_what_a_session_left_but_may_write_there() {
    let mut store = Store::new();
    for (n, write) in ["SET k 1", "HSET k f v", "RENAME other k", "APPEND k x"].iter().enumerate() {
        store.run("FLUSHALL");
        store.run("SET other 1");
        version(&mut store, "SESSION.CREATE k");
        version(
            &mut store,
            if n % 2 == 0 { "SESSION.ROTATE k l" } else { "SESSION.ROTATE k l GRACE 9" },
        );
        store.expect(&[
            ("EXPIRE k 100", ":0\r\n"),
            ("PERSIST k", ":0\r\n"),
            ("SLIDE k 100", ":0\r\n"),
            ("RENAME k m", "-ERR no such key\r\n"),
            ("KEYS k", "*0\r\n"),
        ]);
        store.run(write);
        store.expect(&[("EXISTS k", ":1\r\n"), ("TTL k", ":-1\r\n")]);
        assert!(store.run("SESSION.LOAD k").starts_with("-WRONGTYPE "), "{write}");
    }
    version(&mut store, "SESSION.CREATE a");
    version(&mut store, "SESSION.ROTATE a b GRACE 9");
    store.expect(&[("DEL a", ":0\r\n"), ("SESSION.LOAD a", NULL), ("EXISTS b", ":1\r\n")]);
}

#[test]
fn any_key_may_slide() {
    let mut store = Store::new();
    store.expect(&[
        ("SLIDE none 10", ":0\r\n"),
        ("SET k v", "+OK\r\n"),
        ("SLIDE k 10 MAX 15", ":1\r\n"),
        ("PTTL k", ":10000\r\n"),
    ]);
    store.now += 4_000;
    store.expect(&[("GET k", "$1\r\nv\r\n"), ("PTTL k", ":10000\r\n"), ("APPEND k w", ":2\r\n")]);
    store.now += 6_000;
    store.expect(&[("TYPE k", "+string\r\n"), ("EXISTS k", ":1\r\n"), ("PTTL k", ":4000\r\n")]);
    store.expect(&[("STRLEN k", ":2\r\n"), ("PTTL k", ":5000\r\n"), ("EXPIRE k 60", ":1\r\n")]);
    store.expect(&[("PTTL k", ":5000\r\n"), ("SLIDE k 0 MAX 0", ":1\r\n"), ("PTTL k", ":-1\r\n")]);
    store.expect(&[("SLIDE k 7", ":1\r\n"), ("SET k w", "+OK\r\n"), ("PTTL k", ":-1\r\n")]);
    let long = "x".repeat(100_000);
    store.run(&format!("SET long {long}"));
    store.expect(&[
        ("SLIDE long 5", ":1\r\n"),
        ("STRLEN long", ":100000\r\n"),
        ("PTTL long", ":5000\r\n"),
    ]);
    store.client.no_touch = true;
    store.now += 1_000;
    store.expect(&[("STRLEN long", ":100000\r\n"), ("PTTL long", ":4000\r\n")]);
}
