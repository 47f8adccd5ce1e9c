//! Damage of all kinds to logs in memory, and what can be had from them.

mod unfit;

use super::super::tests::{DATABASES, Held, SECRET, SEGMENTS, Sample, sample, shard, shown, small};
use super::super::{Framer, Replay, TOGETHER, Trust, select, unlink};
use super::{Error, Problem, Stop, Survey, replay, survey};
use engine::Rng;
use std::collections::HashSet;
use std::io;

fn reading<'f>(file: &'f [u8]) -> impl FnMut(u64) -> io::Result<&'f [u8]> {
    move |at| Ok(file.get(at as usize..).unwrap_or_default())
}

/// What is wrong with a file, and the store that is had from it.
fn salvaged(file: &[u8]) -> (Survey, String, Option<Trust>) {
    let segments = if file.len() < 10_000 { 24 } else { SEGMENTS };
    salvaged_into(file, Held(shard(segments)), Replay::new(SECRET, DATABASES))
}

fn salvaged_into(
    file: &[u8],
    mut store: Held,
    mut state: Replay,
) -> (Survey, String, Option<Trust>) {
    let found = survey(reading(file), 0).unwrap();
    replay(reading(file), &found, &mut state, &mut store).unwrap();
    (found, shown(&mut store), state.into_trust())
}

/// A state's lines without their databases.
fn lines(state: &str) -> impl Iterator<Item = &str> {
    state.lines().filter_map(|line| line.split_once(' ')).map(|(_, line)| line)
}

/// Of each key what it holds, and apart from that when it ends: what is passed over may bring that
/// nearer.
fn parts(state: &str) -> impl Iterator<Item = String> {
    lines(state).flat_map(|line| {
        let (before, rest) = line.split_once("deadline: ").unwrap();
        let (ends, after) = rest.split_once(", flags").unwrap();
        [format!("{before}{after}"), format!("{before}{ends}")]
    })
}

/// Which keys there are: of each line the database and the name.
fn names(state: &str) -> HashSet<String> {
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    state.lines().map(name).collect()
}

#[test]
fn any_one_byte_is_mended() {
    for sample in [small(|_| 0), small(|ends| ends[ends.len() - 1] as u64)] {
        let last = sample.states.last().unwrap();
        assert!(salvaged(&sample.file).0.is_whole());
        for at in 0..sample.file.len() {
            for mask in [0x01, 0xf0] {
                let mut file = sample.file.clone();
                file[at] ^= mask;
                let (found, state, trust) = salvaged(&file);
                assert_eq!(&state, last, "byte {at}, {mask}");
                assert!(trust.is_none() && found.damages.is_empty(), "byte {at}, {mask}");
                let mends: Vec<_> = found.patches.iter().map(|p| (p.at, p.mask)).collect();
                assert_eq!(mends, [(at as u64, mask)], "byte {at}, {mask}");
            }
        }
    }
}

/// Takes a stretch out of a file in one of several ways.
fn damaged(sample: &Sample, rng: &mut Rng) -> (Vec<u8>, usize, usize) {
    let mut file = sample.file.clone();
    let length = file.len() as u64;
    let from = rng.below(length - 2) as usize;
    let to = from + 2 + rng.below((length - 2 - from as u64).min(400)) as usize;
    match rng.below(4) {
        0 => file[from..to].fill(0),
        1 => file[from..to].iter_mut().for_each(|byte| *byte = rng.next_u64() as u8),
        2 => file[from..to].rotate_left(1),
        _ => {
            file.drain(from..to);
        }
    }
    (file, from, to)
}

fn has(file: &[u8], bytes: &[u8]) -> bool {
    file.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn no_damage_gives_a_value_that_never_was_or_revives_what_was_removed() {
    let mut rng = Rng::new(8);
    for round in 0..400 {
        let sample = sample(round % 60, 14, |_| 0);
        let (file, from, to) = damaged(&sample, &mut rng);
        let (found, state, _) = salvaged(&file);
        let ever: HashSet<String> = sample.between.iter().flat_map(|state| parts(state)).collect();
        let wrong: Vec<String> = parts(&state).filter(|part| !ever.contains(part)).collect();
        assert!(wrong.is_empty(), "round {round}: {wrong:?} after {found:?}");
        if has(&file, b"SWAPDB") {
            continue;
        }
        // Of what was there before the damage only that is missing which something removes.
        let before = sample.ends.iter().filter(|end| **end <= from).count();
        let start = if before == 0 { 0 } else { sample.ends[before - 1] };
        let had = sample.states.get(before.wrapping_sub(1)).map_or("", |state| state);
        // A session goes by what is passed over, too.
        let is_session = |name: &str| {
            let mut its = had.lines().filter(|line| line.starts_with(&format!("{name} ")));
            its.any(|line| !line.contains("Slide([0, 0])"))
        };
        for name in names(had).difference(&names(&state)).filter(|name| !is_session(name)) {
            let key = name.split_once(' ').unwrap().1;
            let removal = format!("$6\r\nUNLINK\r\n${}\r\n{key}\r\n", key.len());
            let removed = has(&sample.file[start..], removal.as_bytes());
            assert!(removed || has(&sample.file[start..], b"FLUSHDB"), "round {round}: {name}");
        }
        // What went in a chunk behind the damage, and didn't come back, isn't there.
        let after = 1 + sample.ends.iter().filter(|end| **end < to).count();
        for chunk in after..sample.states.len() {
            let mut gone = names(&sample.states[chunk - 1]);
            sample.states[chunk..].iter().for_each(|later| {
                let later = names(later);
                gone.retain(|name| !later.contains(name));
            });
            let back: Vec<_> = names(&state).intersection(&gone).cloned().collect();
            assert!(back.is_empty(), "round {round}: {back:?} is back after {found:?}");
        }
    }
}

/// A file of these chunks, the one with that number damaged beyond repair.
fn file(chunks: &[&str], damaged: usize) -> Vec<u8> {
    let mut file = Vec::new();
    let mut framer = Framer::open(7, &mut file);
    for (number, chunk) in chunks.iter().enumerate() {
        let records: Vec<u8> = chunk.split(';').flat_map(command).collect();
        let start = file.len();
        framer.frame(&records, 0, &mut file);
        if number == damaged {
            file[start + 4..start + 12].fill(b'?');
            file[start + 20..start + 30].fill(b'?');
        }
    }
    file
}

fn command(text: &str) -> Vec<u8> {
    let words: Vec<&str> = text.split(' ').collect();
    // An underscore is a space within a word.
    let args: String = words.iter().map(|w| format!("${}\r\n{w}\r\n", w.len())).collect();
    let args = args.replace('_', " ");
    format!("*{}\r\n{args}", words.len()).into_bytes()
}

/// Each key's name and its value.
fn held(state: &str) -> Vec<String> {
    let short = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        format!("{} {} {}", words[0], words[1], words[words.len() - 1])
    };
    state.lines().map(short).collect()
}

#[test]
fn behind_damage_whole_values_and_removals_count_and_parts_do_not() {
    let log = [
        "SELECT 0;SET key:1 old;SET key:2 old;SET key:3 old;SET key:4 a;SET key:5 old",
        "SET key:6 lost;DEL key:5",
        "SELECT 0;SET key:1 new;APPEND key:2 x;DEL key:3;RENAME key:4 key:7;SET key:8 1;INCR key:8",
        "APPEND key:9 x;DEL key:9;APPEND key:9 y;SET key:10 v;RENAME key:10 key:11",
    ];
    let (found, state, trust) = salvaged(&file(&log, 1));
    assert_eq!(found.damages.len(), 1);
    assert_eq!(
        held(&state),
        ["0 key:1 new", "0 key:2 old", "0 key:8 2", "0 key:9 y", "0 key:11 v"]
    );
    // The two APPENDs, and the RENAME of what may have been something else by then.
    assert_eq!(trust.unwrap().skipped(), 3);
}

#[test]
fn without_a_database_removals_count_in_all_of_them() {
    let log = [
        "SELECT 0;SET key:1 zero;SET key:2 zero;SELECT 1;SET key:1 one;SET key:3 one",
        "SELECT 2;SET key:3 two",
        "SET key:2 never;DEL key:1",
        "SELECT 1;SET key:3 more",
    ];
    let (_, state, _) = salvaged(&file(&log, 1));
    assert_eq!(held(&state), ["0 key:2 zero", "1 key:3 more"]);
    let (_, state, _) = salvaged(&file(&[log[0], log[1], "FLUSHDB", "SELECT 0;HSET key:1 f v"], 1));
    assert_eq!(held(&state), Vec::<String>::new());
    let (_, state, _) = salvaged(&file(&[log[0], log[1], "FLUSHALL;SELECT 0;APPEND key:4 v"], 1));
    assert_eq!(held(&state), ["0 key:4 v"]);
    let passed_over = "FLUSHALL;APPEND key:4 v;SET key:1 v;SELECT 0;APPEND key:4 v;APPEND key:1 v";
    let (_, state, trust) = salvaged(&file(&[log[0], log[1], passed_over], 1));
    assert_eq!((held(&state), trust.unwrap().skipped()), (Vec::new(), 4));
}

#[test]
fn where_a_value_went_without_a_database_is_known_in_none() {
    let goes = ["RENAME key:1 key:2", "COPY key:1 key:2", "COPY key:1 key:2 DB 1", "MOVE key:1 1"];
    for (goes, before, after) in
        goes.iter().flat_map(|goes| [(goes, 0, 0), (goes, 0, 1), (goes, 1, 0), (goes, 1, 1)])
    {
        let chunks = [
            &format!("SELECT {before};SET key:3 v"),
            "SELECT 2",
            &format!("FLUSHALL;SET key:1 lost;{goes}"),
            &format!("SELECT {after};APPEND key:1 v;APPEND key:2 v;APPEND key:3 v"),
        ];
        let (_, state, trust) = salvaged(&file(&chunks, 1));
        // A key that a MOVE doesn't name is new.
        let of_move: &[_] = if goes.starts_with("MOVE") { &["key:2"] } else { &[] };
        let known: Vec<_> =
            of_move.iter().chain(&["key:3"]).map(|key| format!("{after} {key} v")).collect();
        assert_eq!(held(&state), known, "{goes}, {before}, {after}");
        assert_eq!(trust.unwrap().skipped(), 5 - known.len() as u64, "{goes}, {before}, {after}");
    }
}

#[test]
fn what_is_there_after_a_lost_base_is_known_and_the_rest_is_not() {
    let log =
        file(&["SELECT 0;APPEND key:1 x;APPEND key:2 x;RENAME key:3 key:1;APPEND key:1 y"], 9);
    let mut store = Held(shard(24));
    let before = file(&["SELECT 0;SET key:1 had"], 9);
    replay(reading(&before), &Survey::default(), &mut Replay::new(SECRET, 2), &mut store).unwrap();
    let trusting = || Replay::new(SECRET, 2).trusting(Some(Trust::in_what_is_there()));
    let first = file(&["SELECT 0;APPEND key:1 x;APPEND key:2 x"], 9);
    let (_, state, trust) = salvaged_into(&first, store, trusting());
    assert_eq!((held(&state), trust.unwrap().skipped()), (vec!["0 key:1 hadx".to_owned()], 1));
    let mut store = Held(shard(24));
    replay(reading(&before), &Survey::default(), &mut Replay::new(SECRET, 2), &mut store).unwrap();
    let (_, state, trust) = salvaged_into(&log, store, trusting());
    assert_eq!((state, trust.unwrap().skipped()), (String::new(), 3));
}

#[test]
fn removals_in_the_lost_stretch_count() {
    let mut records = Vec::new();
    select(0, &mut records);
    records.extend(command("SET key:1 v"));
    records.extend_from_slice(TOGETHER[0]);
    records.extend(command("SET key:2 v"));
    records.extend_from_slice(TOGETHER[1]);
    let mut log = Vec::new();
    let mut framer = Framer::open(7, &mut log);
    framer.frame(&records, 0, &mut log);
    let start = log.len();
    records.clear();
    unlink([&b"key:1"[..]].into_iter(), &mut records);
    records.extend(command("SET key:3 v"));
    framer.frame(&records, 0, &mut log);
    let end = log.len();
    log[end - 20..end - 3].fill(b'!');
    let (found, state, _) = salvaged(&log);
    assert_eq!(
        (found.damages[0].offset, held(&state)),
        (start as u64, vec!["0 key:2 v".to_owned()])
    );
    assert!(!found.is_whole() || found.damages[0].until.is_none());
}

#[test]
fn keys_that_the_lost_stretch_took_away_are_not_back() {
    let log = [
        "SELECT 0;SET key:1 v;SET key:2 v;SET key:3 v;SET key:4 v;SET key:5 v",
        "SET key:6 lost;RENAME key:1 key:2;RENAMENX key:3 key:7;MOVE key:4 1",
        "SELECT 0;SET key:8 v",
    ];
    let mut file = file(&log, 9);
    let at = file.windows(4).position(|window| window == b"lost").unwrap();
    file[at..at + 4].fill(b'?');
    let (found, state, _) = salvaged(&file);
    // What had the new names before is as it was: nobody knows what it should have become.
    assert_eq!(held(&state), ["0 key:2 v", "0 key:5 v", "0 key:8 v"]);
    assert!(found.damages[0].until.is_some());
}

#[test]
fn a_value_that_looks_like_a_flush_empties_nothing() {
    let flush = "*1\r\n$8\r\nFLUSHALL\r\n*1\r\n$7\r\nFLUSHDB\r\n";
    let log = ["SELECT 0;SET key:1 v", &format!("SET key:2 {flush}"), "SELECT 0;SET key:3 v"];
    let (_, state, _) = salvaged(&file(&log, 1));
    assert_eq!(held(&state), ["0 key:1 v", "0 key:3 v"]);
}

/// A file that can't be read from some byte on.
struct Failing<'f> {
    file: &'f [u8],
    at: usize,
    fails_at: usize,
}

impl io::Read for Failing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.fails_at.saturating_sub(self.at);
        if left == 0 && self.fails_at < self.file.len() {
            return Err(io::Error::other("the disk"));
        }
        let mut rest = self.file.get(self.at..).unwrap_or_default();
        let most = into.len().min(left).min(16);
        let count = io::Read::read(&mut rest, into.get_mut(..most).unwrap_or_default())?;
        self.at += count;
        Ok(count)
    }
}

#[test]
fn a_disk_that_fails_the_second_time_is_no_damage() {
    let log = [
        "SELECT 0;SET key:1 v;SET key:2 v",
        "SELECT 0;DEL key:1;DEL key:2",
        "SELECT 0;SET key:3 v",
        "SELECT 0;SET key:4 v",
    ];
    let file = file(&log, 2);
    let found = survey(reading(&file), 0).unwrap();
    let damage = found.damages[0].offset as usize;
    for fails_at in 0..damage {
        // Only once, before the damage: what stands there must not be passed over.
        let mut first = Some(fails_at);
        let open = |at| {
            let fails_at = first.take().unwrap_or(usize::MAX);
            Ok(Failing { file: &file, at: at as usize, fails_at })
        };
        let mut store = Held(shard(24));
        let done = replay(open, &found, &mut Replay::new(SECRET, DATABASES), &mut store);
        assert!(
            matches!(&done, Err(Stop::Read(Error { problem: Problem::Io(_), .. }))),
            "byte {fails_at}: {done:?}"
        );
    }
}

/// Lines of chunks that no seed explains, each with megabytes announced, for [`command`].
fn forged(lines: usize, announced: usize) -> String {
    let line = |number: usize| format!("#sc_3_{announced}_{:016x}_{number:016x}_1000\r\n", 7);
    (0..lines).map(line).collect()
}

#[test]
fn lines_of_chunks_in_a_value_take_no_time_each() {
    // Summed up one by one, what they announce would be terabytes.
    let value = forged(200_000, 9 << 20);
    let log = [
        "SELECT 0;SET key:1 v",
        "SET key:2 v",
        &format!("SELECT 0;SET key:3 {value}"),
        "SELECT 0;SET key:4 v",
    ];
    let keys = [["0 key:1 v", "0 key:3 1"], ["0 key:1 v", "0 key:2 v"]];
    for (damaged, keys) in [1, 2].into_iter().zip(keys) {
        let file = file(&log, damaged);
        let state = Replay::new(SECRET, DATABASES);
        let (found, state, _) = salvaged_into(&file, Held(shard(SEGMENTS)), state);
        assert!(found.damages.len() == 1 && found.damages[0].until.is_some(), "{damaged}");
        let held = held(&state);
        let short: Vec<&str> = held.iter().map(|line| &line[..line.len().min(9)]).collect();
        assert_eq!(short, [keys[0], keys[1], "0 key:4 v"]);
    }
}
