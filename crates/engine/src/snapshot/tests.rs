//! Snapshots under change: what was kept is what was there at the cut, each key once.

use super::Keeper;
use crate::effect::{Cause, Change, Effect, Key, Meta, OwnedValue};
use crate::hash::{FieldDeadline, FieldEdit};
use crate::shard::{Entry, Shard, ShardConfig};
use crate::{Arena, HashKey, HeapBacking, Policy, Rng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const START: u64 = 1_800_000_000_000;
const SECRET: HashKey = HashKey([3, 5]);

/// A database, a key, and the value as bytes.
type Kept = Arc<Mutex<Vec<((usize, Vec<u8>), Vec<u8>)>>>;

struct Collector(Kept);

impl Keeper for Collector {
    fn keep(&mut self, db: usize, key: &[u8], entry: Entry<'_>) {
        self.0.lock().unwrap().push(((db, key.to_vec()), value(entry)));
    }
}

fn value(entry: Entry<'_>) -> Vec<u8> {
    match entry.to_owned_item().value {
        OwnedValue::String(value) => value,
        OwnedValue::Packed(run) => run,
        OwnedValue::Big(big) => {
            let mut run = Vec::new();
            big.to_packed(&mut run);
            run
        }
    }
}

fn everything(shard: &Shard, now: u64) -> BTreeMap<(usize, Vec<u8>), Vec<u8>> {
    let mut all = BTreeMap::new();
    for db in 0..3 {
        let mut position = Some(0);
        while let Some(at) = position {
            position = shard.scan(db, at, 100, now, &mut |key, entry| {
                all.insert((db, key.to_vec()), value(entry));
            });
        }
    }
    all
}

fn apply(shard: &mut Shard, db: usize, key: &[u8], change: Change<'_>, now: u64) {
    let effect = Effect::Key { db, key: Key::new(&SECRET, key), change };
    shard.apply(&effect, now).unwrap();
}

/// One change at random.
fn change(shard: &mut Shard, rng: &mut Rng, now: u64) {
    let db = rng.below(3) as usize;
    let key = format!("key:{}", rng.below(900)).into_bytes();
    let deadline = (rng.below(3) == 0).then(|| now + 1 + rng.below(40_000));
    match rng.below(16) {
        0..5 => {
            let value = vec![rng.below(256) as u8; rng.below(300) as usize];
            let meta = Meta { deadline, ..Meta::default() };
            apply(shard, db, &key, Change::Put { value: &value, meta }, now);
        }
        5..9 => {
            let is_string =
                shard.peek(db, &Key::new(&SECRET, &key), now).is_some_and(|e| e.hash().is_none());
            if is_string {
                return;
            }
            let names: Vec<String> =
                (0..rng.below(90)).map(|_| format!("field:{}", rng.below(400))).collect();
            let value = [rng.below(256) as u8; 30];
            let edits: Vec<FieldEdit<'_>> = names
                .iter()
                .map(|name| match rng.below(4) {
                    0 => FieldEdit::Delete { field: name.as_bytes() },
                    n => FieldEdit::Set {
                        field: name.as_bytes(),
                        value: &value,
                        deadline: if n == 1 {
                            FieldDeadline::At(now + 1 + rng.below(30_000))
                        } else {
                            FieldDeadline::Clear
                        },
                    },
                })
                .collect();
            apply(shard, db, &key, Change::Fields(&edits), now);
        }
        9..11 => apply(shard, db, &key, Change::Remove(Cause::Deleted), now),
        11 => apply(shard, db, &key, Change::Deadline { at: deadline, slide: false }, now),
        12 => {
            let item = shard.peek(db, &Key::new(&SECRET, &key), now).map(|e| e.to_owned_item());
            let target = format!("key:{}", rng.below(900));
            if let Some(item) = item {
                apply(shard, db, target.as_bytes(), Change::Install(&item), now);
            }
        }
        13 if rng.below(8) == 0 => _ = shard.make_room(Policy::AllKeysLru, 3, now),
        13 => _ = shard.evict(Policy::AllKeysRandom, 3, now),
        14 if rng.below(40) == 0 => _ = shard.apply(&Effect::Clear { db }, now),
        15 if rng.below(40) == 0 => {
            let b = rng.below(3) as usize;
            _ = shard.apply(&Effect::Swap { a: db, b }, now);
        }
        _ => {}
    }
}

#[test]
fn a_snapshot_is_the_moment_of_its_cut_whatever_changes_meanwhile() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64)
    });
    println!("SEED={seed}");
    for round in 0..12 {
        let mut rng = Rng::new(seed.wrapping_add(round));
        let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(3_000)), 3_000));
        let config = ShardConfig {
            number: 1,
            databases: 3,
            bands: 4,
            secret: SECRET,
            first_version: 0,
            policy: Policy::AllKeysLru,
        };
        let mut shard = Shard::new(arena, config);
        let mut now = START;
        for _ in 0..3_000 {
            change(&mut shard, &mut rng, now);
        }
        for _ in 0..3 {
            // What is overdue but still there at the cut is kept too, walked or changed.
            let expected = everything(&shard, 0);
            let kept = Kept::default();
            shard.begin_snapshot(Box::new(Collector(Arc::clone(&kept))));
            let busy = rng.below(80);
            // Nothing ends by its deadline here: a walk leaves out what is due when it comes by.
            while shard.step_snapshot(1, 0) {
                for _ in 0..rng.below(busy + 1) {
                    change(&mut shard, &mut rng, now);
                }
                while shard.maintain(now, 100) {}
                shard.check().unwrap();
            }
            assert!(shard.end_snapshot().is_some());
            let kept = std::mem::take(&mut *kept.lock().unwrap());
            let count = kept.len();
            let kept: BTreeMap<_, _> = kept.into_iter().collect();
            assert_eq!(kept.len(), count, "a key was kept twice");
            assert!(kept == expected, "{} kept, {} expected", kept.len(), expected.len());
            now += rng.below(20_000);
            while shard.maintain(now, 100) {}
            shard.check().unwrap();
        }
    }
}

#[test]
fn a_database_that_is_emptied_stays_until_the_walk_has_passed_it() {
    let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(3_000)), 3_000));
    let config = ShardConfig {
        number: 0,
        databases: 1,
        bands: 1,
        secret: SECRET,
        first_version: 0,
        policy: Policy::NoEviction,
    };
    let mut shard = Shard::new(arena, config);
    for n in 0..5_000 {
        let change = Change::Put { value: &[1; 100], meta: Meta::default() };
        apply(&mut shard, 0, format!("key:{n}").as_bytes(), change, START);
    }
    let (live, ..) = shard.bytes();
    let kept = Kept::default();
    shard.begin_snapshot(Box::new(Collector(Arc::clone(&kept))));
    shard.apply(&Effect::Clear { db: 0 }, START).unwrap();
    while shard.maintain(START, 1_000) {}
    assert_eq!((shard.len(0), shard.bytes().0), (0, live), "held for the walk");
    while shard.step_snapshot(4, START) {}
    assert_eq!(kept.lock().unwrap().len(), 5_000);
    while shard.maintain(START, 1_000) {}
    assert_eq!(shard.bytes().0, 0, "and freed after it");
    drop(shard.end_snapshot());
    shard.check().unwrap();
}
