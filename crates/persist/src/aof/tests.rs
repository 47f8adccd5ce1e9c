//! Logs in memory: random effects against a shard, damage and cuts at every byte.

use super::record::NOTE;
use super::{Fault, Framer, Problem, Reader, Replay, Store, TOGETHER, Verdict, record, select};
use crate::faults::{Faults, FaultySink};
use crate::limits::{FIELDS_PER_RECORD, RECORD_BYTES};
use crate::rdb::Body;
use crate::rdb::tests::random_value;
use engine::hash::{FieldDeadline, FieldEdit};
use engine::{
    Arena, Cause, Change, Effect, Full, HashKey, HeapBacking, Key, Kind, Meta, OwnedItem, Policy,
    Rng, Shard, ShardConfig, Slide, State,
};
use std::io::Write;
use std::sync::Arc;

pub(super) const SECRET: HashKey = HashKey([3, 5]);
pub(super) const DATABASES: usize = 3;
/// The moment at which all of this happens; nothing ends before it.
const NOW: u64 = 1_000;
pub(super) const SEGMENTS: usize = 400;

pub(super) fn shard(segments: usize) -> Shard {
    let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(segments)), segments));
    let config = ShardConfig {
        number: 0,
        databases: DATABASES,
        bands: 2,
        secret: SECRET,
        first_version: 0,
        policy: Policy::NoEviction,
    };
    Shard::new(arena, config)
}

pub(super) struct Held(pub(super) Shard);

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

/// Keys of a test.
fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..12).map(|i| format!("key:{i}").into_bytes())
}

/// Their names.
pub(super) fn key_names() -> Vec<String> {
    keys().map(|key| String::from_utf8(key).unwrap()).collect()
}

/// All that a store holds, to be compared.
pub(super) fn shown(store: &mut Held) -> String {
    let mut all = String::new();
    for db in 0..DATABASES {
        for name in keys() {
            let key = Key::new(&SECRET, &name);
            let Some(entry) = store.0.meet(db, &key, NOW, false) else { continue };
            let item = entry.to_owned_item();
            let value = match Body::of(&item.value) {
                Body::String(bytes) => format!("{}", bytes.escape_ascii()),
                Body::Hash(hash) => {
                    let mut fields: Vec<_> = hash.iter(0).collect();
                    fields.sort_by_key(|field| field.name);
                    format!("{fields:?}")
                }
            };
            let user = item.user.escape_ascii();
            all += &format!("{db} {} {:?} {user} {value}\n", name.escape_ascii(), item.meta);
        }
    }
    all
}

/// Applies a random effect, and appends its records if it could be applied.
pub(super) fn random_effect(rng: &mut Rng, store: &mut Held, db: &mut usize, out: &mut Vec<u8>) {
    let name = format!("key:{}", rng.below(12)).into_bytes();
    let key = Key::new(&SECRET, &name);
    let deadline = (rng.below(2) == 0).then(|| 2_000 + rng.below(1 << 41));
    let meta = Meta {
        deadline,
        flags: if rng.below(3) == 0 { rng.next_u64() as u32 } else { 0 },
        cas: (rng.below(5) == 0).then(|| rng.next_u64() >> 24),
        ..Meta::default()
    };
    let names: Vec<Vec<u8>> = (0..6).map(|i| format!("field {i}").into_bytes()).collect();
    let values: Vec<Vec<u8>> =
        names.iter().map(|_| rng.next_u64().to_be_bytes().repeat(3)).collect();
    let count = rng.below(7) as usize;
    let edits: Vec<FieldEdit<'_>> = names
        .iter()
        .zip(&values)
        .map(|(field, value)| match rng.below(6) {
            0 => FieldEdit::Delete { field },
            1 => FieldEdit::Deadline { field, at: deadline },
            2 => FieldEdit::Set { field, value, deadline: FieldDeadline::At(9_000_000) },
            3 => FieldEdit::Set { field, value, deadline: FieldDeadline::Keep },
            _ => FieldEdit::Set { field, value, deadline: FieldDeadline::Clear },
        })
        .take(count)
        .collect();
    let mut item = OwnedItem { value: random_value(rng, SECRET.0), meta, user: Vec::new() };
    let held = store.kind(*db, &name);
    let (is_string, is_hash) = (held == Some(Kind::String), held == Some(Kind::Hash));
    let text = values[0].as_slice();
    let change = match rng.below(12) {
        0 | 1 => Change::Put { value: text, meta },
        2 if is_string => Change::Splice { at: rng.below(40) as usize, bytes: text },
        2 if held.is_none() => Change::Splice { at: 0, bytes: b"" },
        3 | 4 if !is_string && !edits.is_empty() => Change::Fields(&edits),
        5 => Change::Deadline { at: deadline, slide: rng.below(2) == 0 },
        6 => Change::Meta(meta),
        7 => Change::Remove(Cause::Deleted),
        8 | 9 => {
            if item.kind() == Kind::Hash && rng.below(2) == 0 {
                item.meta.slide = random_slide(rng, State::Session);
                item.user = b"ann".to_vec();
            }
            Change::Install(&item)
        }
        10 if !is_string => {
            let meta = Meta { slide: random_slide(rng, State::Session), ..meta };
            Change::Session {
                meta,
                user: b"bob",
                edits: &edits,
                renew: rng.below(2) == 0,
                fresh: held.is_none(),
            }
        }
        11 if is_hash => {
            let meta = Meta { slide: Slide::default().with_state(State::Alias), ..meta };
            let target = FieldEdit::Set { field: b"", value: text, deadline: FieldDeadline::Clear };
            return apply(
                store,
                db,
                key,
                Change::Session { meta, user: b"", edits: &[target], renew: true, fresh: false },
                out,
            );
        }
        _ if rng.below(20) == 0 => {
            let effect = match rng.below(2) {
                0 => Effect::Clear { db: *db },
                _ => Effect::Swap { a: 0, b: 1 },
            };
            store.apply(&effect).unwrap();
            return record(&effect, out);
        }
        _ => {
            *db = rng.below(DATABASES as u64) as usize;
            return select(*db, out);
        }
    };
    apply(store, db, key, change, out);
}

fn random_slide(rng: &mut Rng, state: State) -> Slide {
    Slide::default()
        .with_state(state)
        .with_idle_s(rng.below(3) as u32 * 600)
        .with_created(rng.below(1 << 40))
        .with_absolute((rng.below(2) == 0).then(|| 3_000 + rng.below(1 << 42)))
}

fn apply(store: &mut Held, db: &usize, key: Key<'_>, change: Change<'_>, out: &mut Vec<u8>) {
    let effect = Effect::Key { db: *db, key, change };
    store.apply(&effect).unwrap();
    record(&effect, out);
}

/// A file of so many chunks, where each one ends, and what stands in the store then.
pub(super) struct Sample {
    pub(super) file: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) states: Vec<String>,
    /// After each effect.
    pub(super) between: Vec<String>,
}

pub(super) fn sample(seed: u64, chunks: usize, synced: impl Fn(&[usize]) -> u64) -> Sample {
    let (mut rng, mut store, mut db) = (Rng::new(seed * 2 + 1), Held(shard(SEGMENTS)), 0);
    let mut file = Vec::new();
    let mut framer = Framer::open(seed, &mut file);
    let (mut ends, mut states) = (vec![file.len()], vec![shown(&mut store)]);
    let mut between = Vec::new();
    for _ in 0..chunks {
        let mut records = Vec::new();
        select(db, &mut records);
        let together = rng.below(3) == 0;
        if together {
            records.extend_from_slice(TOGETHER[0]);
        }
        for _ in 0..=rng.below(3) {
            random_effect(&mut rng, &mut store, &mut db, &mut records);
            between.push(shown(&mut store));
        }
        if together {
            records.extend_from_slice(TOGETHER[1]);
        }
        framer.frame(&records, synced(&ends), &mut file);
        ends.push(file.len());
        states.push(shown(&mut store));
    }
    Sample { file, ends, states, between }
}

/// A file of some chunks and few bytes.
pub(super) fn small(synced: impl Fn(&[usize]) -> u64) -> Sample {
    let samples = (0..).map(|seed| sample(seed, 7, &synced));
    let right = |sample: &Sample| sample.file.len() < 2_500 && sample.states[7].len() > 400;
    samples.into_iter().find(right).unwrap()
}

/// A file whose last chunk is of 4 KiB and more: a transaction, with notes in it.
fn long_tailed() -> Sample {
    let samples = (0..).map(|seed| sample(seed, 3, |_| 0));
    let right = |sample: &Sample| {
        let tail = &sample.file[sample.ends[2]..];
        let has = |bytes: &[u8]| tail.windows(bytes.len()).any(|window| window == bytes);
        (4096..8192).contains(&tail.len()) && has(TOGETHER[0]) && has(NOTE)
    };
    samples.into_iter().find(right).unwrap()
}

/// Replays a file up to its end or its first error.
pub(super) fn replay(
    file: &[u8],
    synced: u64,
) -> (String, Option<super::Error>, Option<super::Tail>) {
    // A small file needs little room.
    let segments = if file.len() < 10_000 { 24 } else { SEGMENTS };
    let (mut store, mut reader) = (Held(shard(segments)), Reader::new(file, synced));
    let mut replay = Replay::new(SECRET, DATABASES);
    let error = loop {
        match reader.next() {
            Ok(Some(record)) => replay.record(&record, &mut store).unwrap(),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    (shown(&mut store), error, reader.tail())
}

#[test]
fn replay_comes_to_the_same_state() {
    for seed in 0..150 {
        let sample = sample(seed, 20, |_| 0);
        let (state, error, _) = replay(&sample.file, 0);
        assert!(error.is_none(), "seed {seed}: {error:?}");
        assert_eq!(&state, sample.states.last().unwrap(), "seed {seed}");
    }
}

#[test]
fn a_cut_at_any_byte_leaves_whole_chunks() {
    cut_at_every_byte(&small(|_| 0));
}

#[test]
fn a_cut_at_any_byte_of_a_long_transaction_with_notes_takes_all_of_it() {
    cut_at_every_byte(&long_tailed());
}

fn cut_at_every_byte(sample: &Sample) {
    for cut in 0..sample.file.len() {
        let (state, error, tail) = replay(&sample.file[..cut], 0);
        let whole = sample.ends.iter().filter(|end| **end <= cut).count();
        if whole > 0 && sample.ends[whole - 1] == cut || cut == 0 {
            assert!(error.is_none(), "cut {cut}: {error:?}");
        } else {
            let error = error.unwrap();
            let at = if whole == 0 { 0 } else { sample.ends[whole - 1] };
            assert_eq!(error.offset, at as u64, "cut {cut}: {error}");
            let torn = matches!(error.problem, Problem::Bad { verdict: Verdict::Torn, .. });
            assert!(torn, "cut {cut}: {error}");
        }
        assert_eq!(state, sample.states[whole.saturating_sub(1)], "cut {cut}");
        // Whoever cuts there can go on.
        if let Some(tail) = tail {
            let mut file = sample.file[..sample.ends[whole - 1]].to_vec();
            let mut records = Vec::new();
            select(1, &mut records);
            Framer::resume(tail).frame(&records, 0, &mut file);
            assert!(replay(&file, 0).1.is_none(), "cut {cut}");
        }
    }
}

#[test]
fn what_was_synced_is_damaged_not_torn() {
    let sample = small(|ends| ends[ends.len().saturating_sub(3)] as u64);
    for at in 0..sample.file.len() {
        let mut file = sample.file.clone();
        file[at] ^= 0x11;
        let (state, error, _) = replay(&file, 0);
        let Some(error) = error else {
            // A line that became a remark: its chunk counts as one that Redis appended.
            assert_eq!(&state, sample.states.last().unwrap(), "byte {at}");
            continue;
        };
        assert!(
            error.offset <= at as u64
                || matches!(error.problem, Problem::Bad { fault: Fault::ChunkLine, .. }),
            "byte {at}: {error}"
        );
        assert!(sample.states.contains(&state) || error.offset > at as u64, "byte {at}: {error}");
        let chunk = sample.ends.iter().filter(|end| **end <= at).count();
        // The last three chunks weren't known to be synced.
        let damaged =
            matches!(error.problem, Problem::Bad { verdict: Verdict::Damaged { .. }, .. });
        assert!(damaged || chunk + 3 >= sample.ends.len(), "byte {at}, chunk {chunk}: {error}");
    }
    let cut = &sample.file[..sample.file.len() - 1];
    let (_, error, _) = replay(cut, u64::MAX);
    let damaged = Verdict::Damaged { synced: u64::MAX };
    let error = error.unwrap();
    assert!(
        matches!(error.problem, Problem::Bad { fault: Fault::ChunkCut, verdict } if verdict == damaged)
    );
}

#[test]
fn no_flipped_byte_gives_another_state() {
    let sample = small(|_| 0);
    for at in 0..sample.file.len() {
        for bit in [0, 2, 5] {
            let mut file = sample.file.clone();
            file[at] ^= 1 << bit;
            let (state, error, _) = replay(&file, 0);
            assert!(sample.states.contains(&state), "byte {at}, bit {bit}");
            let last = sample.states.last().unwrap();
            assert!(error.is_some() || &state == last, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn chunks_can_be_neither_missing_nor_doubled_nor_foreign() {
    let (one, other) = (sample(5, 6, |_| 0), sample(6, 6, |_| 0));
    let piece =
        |sample: &Sample, i: usize| sample.file[sample.ends[i]..sample.ends[i + 1]].to_vec();
    let start = one.file[..one.ends[2]].to_vec();
    for next in [piece(&one, 1), piece(&one, 3), piece(&other, 2)] {
        let file = [start.clone(), next].concat();
        let (state, error, _) = replay(&file, 0);
        assert_eq!(state, one.states[2]);
        assert_eq!(error.unwrap().offset, start.len() as u64);
    }
}

#[test]
fn a_torn_tail_of_zeros_or_noise_is_cut() {
    let sample = sample(9, 5, |ends| ends.last().map_or(0, |end| *end as u64));
    let kept = sample.ends[4];
    let mut rng = Rng::new(77);
    for length in [1, 100, 5_000] {
        let noise: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        for tail in [vec![0; length], noise] {
            let file = [&sample.file[..kept], &tail].concat();
            let (state, error, _) = replay(&file, 0);
            assert_eq!(state, sample.states[4]);
            let error = error.unwrap();
            assert_eq!(error.offset, kept as u64);
            let torn = matches!(error.problem, Problem::Bad { verdict: Verdict::Torn, .. });
            assert!(torn, "{error}");
        }
    }
}

#[test]
fn a_power_loss_takes_nothing_that_was_synced() {
    let sample = small(|_| 0);
    for synced_after in [0, 2, 5] {
        let mut sink = FaultySink::new(Faults { most_per_write: 5, ..Faults::default() });
        sink.write_all(&sample.file[..sample.ends[0]]).unwrap();
        sink.sync().unwrap();
        for (i, pair) in sample.ends.windows(2).enumerate() {
            sink.write_all(&sample.file[pair[0]..pair[1]]).unwrap();
            if i < synced_after {
                sink.sync().unwrap();
            }
        }
        for kept in 0..=sink.bytes().len() - sink.synced() {
            let (state, error, _) = replay(sink.after_power_loss(kept), 0);
            let found = sample.states.iter().rposition(|known| *known == state);
            assert!(found.is_some_and(|found| found >= synced_after), "{kept} bytes kept");
            let cut = sample.ends.contains(&(sink.synced() + kept));
            let whole = error.is_none();
            assert_eq!(whole, cut, "{kept} bytes kept: {error:?}");
        }
    }
}

#[test]
fn a_value_cannot_pass_for_a_chunk() {
    let mut file = Vec::new();
    let mut framer = Framer::open(1234, &mut file);
    let mut forged = Vec::new();
    // A client who knows all but the seed.
    Framer::open(99, &mut forged).frame(b"*1\r\n$4\r\nPING\r\n", 1 << 20, &mut forged);
    let forged = [b"\r\n".as_slice(), &forged, b"\r\n"].concat();
    let mut records = Vec::new();
    let key = Key::new(&SECRET, b"k");
    let change = Change::Put { value: &forged, meta: Meta::default() };
    record(&Effect::Key { db: 0, key, change }, &mut records);
    framer.frame(&records, 0, &mut file);
    file.truncate(file.len() - 3);
    let error = replay(&file, 0).1.unwrap();
    assert!(matches!(error.problem, Problem::Bad { verdict: Verdict::Torn, .. }), "{error}");
}

#[test]
fn a_later_layout_is_left_alone() {
    let error = replay(b"#sessile 2 0123456789abcdef more\r\n*1\r\n$4\r\nPING\r\n", 0).1.unwrap();
    assert!(matches!(error.problem, Problem::Newer));
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let long = vec![b'k'; engine::limits::KEY_MAX + 1];
    let mut log = Vec::new();
    let change = Change::Put { value: b"v", meta: Meta::default() };
    record(&Effect::Key { db: 0, key: Key::new(&SECRET, &long), change }, &mut log);
    let (mut store, mut reader) = (Held(shard(24)), Reader::new(log.as_slice(), 0));
    let record = reader.next().unwrap().unwrap();
    let error = Replay::new(SECRET, 1).record(&record, &mut store).unwrap_err();
    assert!(matches!(error.problem, super::ReplayProblem::TooLong), "{error}");
}

#[test]
fn logs_of_redis_are_read() {
    let log = b"#TS:1800000000\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$1\r\n7\r\n\
        *1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$5\r\nkey:1\r\n*1\r\n$4\r\nEXEC\r\n";
    let (state, error, tail) = replay(log, 0);
    assert!(error.is_none() && tail.is_none() && state.ends_with(" 8\n"), "{state}");
    let multi = log.windows(9).position(|w| w == b"*1\r\n$5\r\nM").unwrap();
    for cut in multi + 1..log.len() {
        let (state, error, _) = replay(&log[..cut], 0);
        assert!(state.ends_with(" 7\n"), "cut {cut}: {state}");
        let error = error.unwrap();
        let torn = matches!(error.problem, Problem::Bad { verdict: Verdict::Torn, .. });
        assert!(torn && error.offset <= cut as u64, "cut {cut}: {error}");
    }
    let (mut store, mut reader) =
        (Held(shard(SEGMENTS)), Reader::new(&b"*1\r\n$5\r\nLPUSH\r\n"[..], 0));
    let record = reader.next().unwrap().unwrap();
    let error = Replay::new(SECRET, 1).record(&record, &mut store).unwrap_err();
    assert_eq!(error.to_string(), "command 'LPUSH': it isn't known (at byte 0)");
}

/// A store that got these records, each of which had at most so many bytes.
fn replayed(records: &[u8], most: usize) -> Held {
    let mut file = Vec::new();
    Framer::open(1, &mut file).frame(records, 0, &mut file);
    let mut store = Held(shard(SEGMENTS));
    let (mut reader, mut replay) =
        (Reader::new(file.as_slice(), 0), Replay::new(SECRET, DATABASES));
    let mut before = reader.offset();
    while let Some(record) = reader.next().unwrap() {
        replay.record(&record, &mut store).unwrap();
        let now = reader.offset();
        assert!(now - before <= most as u64, "{} bytes", now - before);
        before = now;
    }
    store
}

#[test]
fn a_record_has_few_fields_or_few_bytes() {
    let long = vec![b'x'; RECORD_BYTES / 2 + 1];
    let named = |i: usize| format!("{i:0300}").into_bytes();
    let names: Vec<Vec<u8>> = (0..FIELDS_PER_RECORD * 2 + 1).map(named).collect();
    let set = |(i, field): (usize, &'static [u8])| FieldEdit::Set {
        field,
        value: if i < 3 { Box::leak(long.clone().into_boxed_slice()) } else { b"v" },
        deadline: FieldDeadline::At(5_000),
    };
    let names: Vec<&'static [u8]> =
        names.into_iter().map(|name| &*Box::leak(name.into_boxed_slice())).collect();
    let sets: Vec<FieldEdit<'_>> = names.iter().copied().enumerate().map(set).collect();
    let ends = names.iter().map(|field| FieldEdit::Deadline { field, at: None });
    let goes = names.iter().skip(4).map(|field| FieldEdit::Delete { field });
    let mut records = Vec::new();
    let key = Key::new(&SECRET, b"key:1");
    for edits in [sets, ends.collect(), goes.collect()] {
        let change = Change::Fields(&edits);
        record(&Effect::Key { db: 0, key, change }, &mut records);
    }
    let mut store = replayed(&records, RECORD_BYTES + (1 << 20));
    let item = store.item(0, b"key:1").unwrap();
    let Body::Hash(hash) = Body::of(&item.value) else { panic!("no hash") };
    assert_eq!((hash.len(), hash.first_deadline()), (4, None));
    assert_eq!(hash.get(names[0], 0).unwrap().value, long);
}

#[test]
fn a_time_that_is_too_late_is_the_latest() {
    let latest = i64::MAX as u64;
    for (words, deadline) in [
        (vec!["SET", "k", "v", "PXAT", "9223372036854775807"], latest),
        (vec!["SET", "k", "v", "PXAT", "18446744073709551615"], latest),
        (vec!["SET", "k", "v", "EXAT", "9223372036854775807"], latest),
        (vec!["SET", "k", "v", "PXAT", "1800000000000"], 1_800_000_000_000),
    ] {
        let text: Vec<String> =
            words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        let record = format!("*{}\r\n{}", words.len(), text.concat());
        let store = replayed(record.as_bytes(), 1000);
        let key = Key::new(&SECRET, b"k");
        let found = store.0.peek(0, &key, 0).map(|entry| entry.deadline());
        assert_eq!(found, Some(Some(deadline)), "{words:?}");
    }
}
