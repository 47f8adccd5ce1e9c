//! Logs that are right by their checksums and have records that no store can apply.

use super::super::super::tests::{
    DATABASES, Held, SECRET, SEGMENTS, key_names, random_effect, shard, shown,
};
use super::super::super::{Framer, Replay, ReplayProblem, Store, Unfit, note, select};
use super::super::{Stop, replay, survey};
use super::{command, file, held, names, parts, reading};
use crate::extra::{Extra, tag};
use engine::{Effect, Full, Kind, OwnedItem, Rng};
use std::collections::HashSet;

/// A store that goes on without what can't be applied.
struct Lenient {
    held: Held,
    told: Vec<String>,
    records: Vec<u8>,
}

impl Store for Lenient {
    fn kind(&mut self, db: usize, key: &[u8]) -> Option<Kind> {
        self.held.kind(db, key)
    }

    fn item(&mut self, db: usize, key: &[u8]) -> Option<OwnedItem> {
        self.held.item(db, key)
    }

    fn apply(&mut self, effect: &Effect<'_>) -> Result<(), Full> {
        self.held.apply(effect)
    }

    fn leave_out(&mut self, unfit: &Unfit<'_>) -> bool {
        self.told.push(unfit.error.to_string());
        unfit.write(&mut self.records);
        true
    }
}

/// The store that is had from a whole file, and how many records weren't applied behind one that
/// can't be.
fn salvaged(file: &[u8]) -> (Lenient, u64) {
    let mut store = Lenient { held: Held(shard(SEGMENTS)), told: Vec::new(), records: Vec::new() };
    let found = survey(reading(file), 0).unwrap();
    assert!(found.damages.is_empty() && found.patches.is_empty());
    let mut state = Replay::new(SECRET, DATABASES);
    replay(reading(file), &found, &mut state, &mut store).unwrap();
    (store, state.into_trust().map_or(0, |trust| trust.skipped()))
}

fn left(log: &[&str]) -> (Vec<String>, Vec<String>, u64) {
    let (mut store, skipped) = salvaged(&file(log, usize::MAX));
    (held(&shown(&mut store.held)), store.told, skipped)
}

#[test]
fn a_record_that_does_not_fit_costs_its_key_and_no_other() {
    let log = [
        "SELECT 0;SET key:1 a;SET key:2 a;SET key:3 a;SET key:4 a",
        "SELECT 0;HSET key:1 f v;HSET key:1 f w;PEXPIREAT key:1 5000;APPEND key:2 b",
        "SELECT 0;RENAME key:1 key:3;SET key:4 b PX 5;DEL key:2;SELECT 1;SET key:1 other",
    ];
    let file = file(&log, usize::MAX);
    let (mut store, skipped) = salvaged(&file);
    // The key that `key:1` went to goes with it.
    assert_eq!(held(&shown(&mut store.held)), ["1 key:1 other"]);
    // The second HSET, the deadline, the RENAME.
    assert_eq!(skipped, 3);
    let [first, second] = store.told.try_into().unwrap();
    let at = file.windows(4).position(|window| window == b"HSET").unwrap() - "*4\r\n$4\r\n".len();
    let kind = "the key holds another kind of value";
    assert_eq!(first, format!("command 'HSET': {kind} (at byte {at})"));
    assert!(second.starts_with("command 'SET': its time isn't absolute"), "{second}");
    assert_eq!(store.records, [command("HSET key:1 f v"), command("SET key:4 b PX 5")].concat());
    // What says all of a value makes the key known again.
    let again = [log[0], log[1], "SELECT 0;SET key:1 c;APPEND key:1 d;HSET key:1 f v;SET key:1 e"];
    let (state, told, _) = left(&again);
    assert_eq!(state, ["0 key:1 e", "0 key:2 ab", "0 key:3 a", "0 key:4 a"]);
    assert_eq!(told.len(), 2);
    let emptied = [log[0], log[1], "SELECT 0;FLUSHDB;APPEND key:1 c"];
    assert_eq!(left(&emptied).0, ["0 key:1 c"]);
    let swapped = [log[0], log[1], "SELECT 0;SWAPDB 0 1;APPEND key:1 c;SELECT 1;APPEND key:1 c"];
    assert_eq!(left(&swapped).0[0], "0 key:1 c");
}

#[test]
fn behind_an_unknown_command_only_what_is_whole_counts() {
    let log = [
        "SELECT 1;SET key:2 a;SELECT 0;SET key:1 a;SET key:2 a;SET key:3 a;SET key:4 a",
        "SELECT 0;MULTI;SADD key:1 key:2;APPEND key:3 b;EXEC;SET key:5 a;APPEND key:5 b;DEL key:4",
    ];
    let (state, told, skipped) = left(&log);
    // What it names may have been removed, in whichever database.
    assert_eq!((state, skipped), (vec!["0 key:3 a".to_owned(), "0 key:5 ab".to_owned()], 1));
    assert!(told.len() == 1 && told[0].starts_with("command 'SADD': it isn't known"), "{told:?}");
    // Nor is it known where it belongs what follows a database that there isn't.
    let astray = [log[0], "SELECT 0;SELECT 99;SET key:1 b;DEL key:2", "SELECT 0;APPEND key:3 b"];
    let (state, told, skipped) = left(&astray);
    assert_eq!(state, ["0 key:1 a", "0 key:3 a", "0 key:4 a"]);
    assert_eq!((told.len(), skipped), (1, 2));
}

#[test]
fn what_is_passed_over_lets_nothing_last_longer() {
    let log = [
        "SELECT 0;SET key:1 a;SET key:2 a;SET key:3 a;PEXPIREAT key:3 1800000009000",
        "SELECT 0;SADD key:9 m;PEXPIREAT key:1 1800000005000;EXPIREAT key:2 1800000007;PEXPIREAT key:3 1800000009001",
        "SELECT 99;PEXPIREAT key:1 1800000004000;PERSIST key:2",
    ];
    let (mut store, skipped) = salvaged(&file(&log, usize::MAX));
    let mut ends = |key: &str| store.item(0, key.as_bytes()).unwrap().meta.deadline;
    let found = ["key:1", "key:2", "key:3"].map(|key| ends(key).unwrap());
    assert_eq!((found, skipped), ([4000, 7000, 9000].map(|ms| 1_800_000_000_000 + ms), 5));
}

#[test]
fn a_session_that_was_to_end_sooner_or_be_anothers_is_gone() {
    let said = |user: &str, ends: u64| {
        let mut extra = Extra::default();
        extra.push(tag::SESSION, &[1]);
        extra.push(tag::SESSION_CHANGE, &[1]);
        extra.push(tag::EMPTY_DEADLINE, &(1_800_000_000_000 + ends).to_le_bytes());
        if !user.is_empty() {
            extra.push(tag::USER, user.as_bytes());
        }
        extra
    };
    let left = |text: &str, extra: Option<Extra>| {
        let (mut log, mut records) = (Vec::new(), Vec::new());
        let mut framer = Framer::open(7, &mut log);
        select(0, &mut records);
        note(&said("ann", 9000), &mut records);
        records.extend(command("HSET s f v"));
        records.extend(command("LATER x"));
        extra.iter().for_each(|extra| note(extra, &mut records));
        records.extend(command(text));
        framer.frame(&records, 0, &mut log);
        let (mut store, skipped) = salvaged(&log);
        assert_eq!(skipped, 1, "{text}");
        store.item(0, b"s").is_some()
    };
    for (user, ends, stays) in
        [("ann", 9000, true), ("ann", 9001, true), ("ann", 8999, false), ("", 9000, false)]
    {
        assert_eq!(left("HSET s f w", Some(said(user, ends))), stays, "{user} {ends}");
    }
    assert!(left("PEXPIREAT s 1800000009500", None));
    assert!(!left("PEXPIREAT s 1800000008000", None));
    assert!(left("HSET s f w", None));
}

#[test]
fn a_note_that_does_not_fit_its_record_costs_its_key_alone() {
    let (mut log, mut records) = (Vec::new(), Vec::new());
    let mut framer = Framer::open(7, &mut log);
    for text in ["SELECT 0", "SET key:1 a", "SET key:2 a"] {
        records.extend(command(text));
    }
    framer.frame(&records, 0, &mut log);
    records.clear();
    select(0, &mut records);
    // It changes a session, and says nothing of one.
    let mut extra = Extra::default();
    extra.push(tag::SESSION_CHANGE, &[1]);
    note(&extra, &mut records);
    records.extend(command("HSET key:1 f v"));
    records.extend(command("APPEND key:2 b"));
    framer.frame(&records, 0, &mut log);
    let (mut store, _) = salvaged(&log);
    assert_eq!(held(&shown(&mut store.held)), ["0 key:2 ab"]);
    assert!(store.told[0].starts_with("command 'HSET': its arguments are wrong"));
    let from = records.len() - store.records.len() - command("APPEND key:2 b").len();
    assert_eq!(store.records, records[from..from + store.records.len()]);
}

#[test]
fn what_the_store_lacks_is_no_fault_of_the_record() {
    for (text, lacks) in [("SELECT 0;SELECT 50", true), ("SELECT 0;SELECT 64", false)] {
        let file = file(&[text], usize::MAX);
        let mut store = Lenient { held: Held(shard(24)), told: Vec::new(), records: Vec::new() };
        let found = survey(reading(&file), 0).unwrap();
        let mut state = Replay::new(SECRET, DATABASES);
        let done = replay(reading(&file), &found, &mut state, &mut store);
        let is_lacking = matches!(
            &done,
            Err(Stop::Replay(error)) if matches!(error.problem, ReplayProblem::BeyondDatabases)
        );
        assert_eq!((is_lacking, done.is_ok()), (lacks, !lacks), "{text}");
    }
}

/// A record that can't be applied, and the keys that it names; `None`: nobody can say which.
fn random_unfit(rng: &mut Rng, all: bool) -> (String, Option<Vec<String>>) {
    let mut key = || format!("key:{}", rng.below(12));
    let (one, two) = (key(), key());
    let both = Some(vec![one.clone(), two.clone()]);
    let only = Some(vec![one.clone()]);
    match rng.below(if all { 11 } else { 8 }) {
        0 => (format!("SET {one} v EX 5"), only),
        1 => (format!("RENAME missing {one}"), only),
        2 => (format!("COPY {one} {two} DB x"), both),
        3 => (format!("MSET {one} v {two}"), both),
        4 => (format!("RESTORE {one} 0 payload"), only),
        5 => (format!("HINCRBY {one} f x"), only),
        6 => (format!("MOVE {one} x"), only),
        7 => (format!("PEXPIREAT {one} soon"), only),
        8 => ("SELECT 99".to_owned(), None),
        9 => ("SWAPDB 0 99".to_owned(), None),
        _ => (format!("SADD {one} {two}"), None),
    }
}

#[test]
fn no_unfit_record_gives_a_value_that_never_was_or_revives_what_was_removed() {
    let mut rng = Rng::new(11);
    for round in 0..200 {
        let all = round % 2 == 0;
        let (mut store, mut db) = (Held(shard(SEGMENTS)), 0);
        let (mut file, mut ever, mut doubted) = (Vec::new(), HashSet::new(), HashSet::new());
        let mut framer = Framer::open(round, &mut file);
        for _ in 0..14 {
            let mut records = Vec::new();
            select(db, &mut records);
            for _ in 0..=rng.below(3) {
                if rng.below(8) == 0 {
                    let (text, keys) = random_unfit(&mut rng, all);
                    records.extend(command(&text));
                    doubted.extend(keys.unwrap_or_else(key_names));
                }
                random_effect(&mut rng, &mut store, &mut db, &mut records);
                ever.extend(parts(&shown(&mut store)));
            }
            framer.frame(&records, 0, &mut file);
        }
        let truth = shown(&mut store);
        let (mut found, _) = salvaged(&file);
        let state = shown(&mut found.held);
        let told = found.told;
        let wrong: Vec<String> = parts(&state).filter(|part| !ever.contains(part)).collect();
        assert!(wrong.is_empty(), "round {round}: {wrong:?} after {told:?}");
        let back: Vec<_> = names(&state).difference(&names(&truth)).cloned().collect();
        assert!(back.is_empty(), "round {round}: {back:?} is back after {told:?}");
        let is_sure =
            |line: &&str| !line.split(' ').nth(1).is_some_and(|key| doubted.contains(key));
        let (is, should): (Vec<_>, Vec<_>) =
            (state.lines().filter(is_sure).collect(), truth.lines().filter(is_sure).collect());
        assert_eq!(is, should, "round {round}, after {told:?}");
    }
}
