//! Snapshots under change: what was kept is what was there at the cut, each key once.

use super::Keeper;
use crate::effect::{Cause, Change, Effect, Key, Meta, OwnedValue};
use crate::hash::{FieldDeadline, FieldEdit};
use crate::shard::{Entry, Shard, ShardConfig};
use crate::{Arena, HashKey, HeapBacking, Policy, Rng};
use layout::{Slide, State};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const START: u64 = 1_800_000_000_000;
const SECRET: HashKey = HashKey([3, 5]);

/// An item's value as bytes, all that stands beside it, and its user.
type Item = (Vec<u8>, Meta, Vec<u8>);

/// A database, a key, and its item.
type Kept = Arc<Mutex<Vec<((usize, Vec<u8>), Item)>>>;

struct Collector(Kept);

impl Keeper for Collector {
    fn keep(&mut self, db: usize, key: &[u8], entry: Entry<'_>) {
        self.0.lock().unwrap().push(((db, key.to_vec()), item(entry)));
    }
}

fn shard(databases: usize) -> Shard {
    let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(3_000)), 3_000));
    let config = ShardConfig {
        number: 1,
        databases,
        bands: 4,
        secret: SECRET,
        first_version: 0,
        policy: Policy::AllKeysLru,
    };
    Shard::new(arena, config)
}

fn item(entry: Entry<'_>) -> Item {
    let item = entry.to_owned_item();
    let value = match item.value {
        OwnedValue::String(value) => value,
        OwnedValue::Packed(run) => run,
        OwnedValue::Big(big) => {
            let mut run = Vec::new();
            big.to_packed(&mut run);
            run
        }
    };
    (value, item.meta, item.user)
}

fn everything(shard: &Shard, now: u64) -> BTreeMap<(usize, Vec<u8>), Item> {
    let mut all = BTreeMap::new();
    for db in 0..3 {
        let mut position = Some(0);
        while let Some(at) = position {
            position = shard.scan(db, at, 100, now, &mut |key, entry| {
                all.insert((db, key.to_vec()), item(entry));
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
    let deadline = match rng.below(12) {
        0..4 => Some(now + 1 + rng.below(40_000)),
        // Past 2058.
        4 => Some(3_000_000_000_000 + rng.below(40_000)),
        _ => None,
    };
    match rng.below(20) {
        0..5 => {
            let value = vec![rng.below(256) as u8; rng.below(300) as usize];
            let meta = Meta { deadline, ..meta(rng, State::Plain, now) };
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
        16 => {
            let met = shard.peek(db, &Key::new(&SECRET, &key), now).map(|entry| entry.meta());
            if let Some(meta) = met {
                let (flags, slide) = (7, meta.slide.with_idle_s(rng.below(9) as u32));
                let change = Change::Meta(Meta { deadline, flags, slide, ..meta });
                apply(shard, db, &key, change, now);
            }
        }
        17 => {
            let user = [b"ann", b"bob"][rng.below(2) as usize];
            let value = [1; 60];
            let edit =
                FieldEdit::Set { field: b"a", value: &value, deadline: FieldDeadline::Clear };
            let edits = &[edit][..rng.below(2) as usize];
            let meta = meta(rng, State::Session, now);
            apply(
                shard,
                db,
                &key,
                Change::Session { meta, user, edits, renew: false, fresh: false },
                now,
            );
        }
        // Reads, by which what has an idle timeout slides.
        18..20 => _ = shard.get(db, &Key::new(&SECRET, &key), now),
        _ => {}
    }
}

/// What stands beside a value, at random.
fn meta(rng: &mut Rng, state: State, now: u64) -> Meta {
    let idle = [0, 5, 600, 2_000_000_000][rng.below(4) as usize];
    let slide = Slide::default().with_state(state).with_idle_s(idle);
    let slide = if state == State::Session { slide.with_created(now) } else { slide };
    Meta { deadline: slide.slid(now), slide, ..Meta::default() }
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
        let mut shard = shard(3);
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
                    now += rng.below(200);
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
    let mut shard = shard(1);
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

#[test]
fn a_deadline_is_that_of_the_cut_moved_or_over_before_the_walk_comes_by() {
    let (mut shard, keys) = (shard(1), ["later", "earlier", "slid", "far", "never", "same"]);
    let slide = Slide::default().with_idle_s(10);
    for name in keys {
        let slide = if name == "slid" { slide } else { Slide::default() };
        let meta = Meta { deadline: Some(START + 10_000), slide, ..Meta::default() };
        apply(&mut shard, 0, name.as_bytes(), Change::Put { value: b"x", meta }, START);
    }
    let kept = Kept::default();
    shard.begin_snapshot(Box::new(Collector(Arc::clone(&kept))));
    let move_to = |shard: &mut Shard, name: &str, at: Option<u64>| {
        apply(shard, 0, name.as_bytes(), Change::Deadline { at, slide: false }, START + 1_000);
    };
    move_to(&mut shard, "later", Some(START + 90_000));
    move_to(&mut shard, "later", Some(START + 95_000));
    move_to(&mut shard, "earlier", Some(START + 2_000));
    move_to(&mut shard, "far", Some(4_000_000_000_000));
    move_to(&mut shard, "far", Some(START + 2_000));
    move_to(&mut shard, "never", None);
    assert!(shard.get(0, &Key::new(&SECRET, b"slid"), START + 5_000).is_some());
    while shard.step_snapshot(1, START + 12_000) {}
    drop(shard.end_snapshot());
    let mut kept = std::mem::take(&mut *kept.lock().unwrap());
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    let kept: Vec<_> = kept.iter().map(|(key, item)| (&key.1[..], item.1.deadline)).collect();
    // Of what nobody has moved nothing is needed once it's over.
    let moved = ["earlier", "far", "later", "never", "slid"];
    let moved = moved.map(|name| (name.as_bytes(), Some(START + 10_000)));
    assert_eq!(kept, moved);
    shard.check().unwrap();
}

#[test]
fn a_large_hash_that_an_edit_leaves_as_it_is_is_kept_once() {
    let mut shard = shard(1);
    let value = [0; 9_000];
    let set = FieldEdit::Set { field: b"a", value: &value, deadline: FieldDeadline::Clear };
    apply(&mut shard, 0, b"large", Change::Fields(&[set]), START);
    let kept = Kept::default();
    shard.begin_snapshot(Box::new(Collector(Arc::clone(&kept))));
    for _ in 0..2 {
        apply(&mut shard, 0, b"large", Change::Fields(&[FieldEdit::Delete { field: b"b" }]), START);
    }
    apply(&mut shard, 0, b"large", Change::Fields(&[FieldEdit::Delete { field: b"a" }]), START);
    while shard.step_snapshot(1, START) {}
    assert_eq!(kept.lock().unwrap().len(), 1);
}

#[test]
fn what_is_noted_goes_as_the_walk_passes() {
    let mut shard = shard(1);
    let meta = Meta { deadline: Some(START + 10_000), ..Meta::default() };
    let names: Vec<String> = (0..5_000).map(|n| format!("key:{n}")).collect();
    for name in &names {
        apply(&mut shard, 0, name.as_bytes(), Change::Put { value: b"x", meta }, START);
    }
    let kept = Kept::default();
    shard.begin_snapshot(Box::new(Collector(Arc::clone(&kept))));
    let counted = |shard: &Shard| -> usize {
        shard.snapshot.iter().flat_map(|s| &s.held).map(|h| h.moved.len()).sum()
    };
    let mut noted = Vec::new();
    for round in 1..4 {
        for name in &names {
            let at = Some(START + 10_000 + round);
            apply(&mut shard, 0, name.as_bytes(), Change::Deadline { at, slide: true }, START);
        }
        noted.push(counted(&shard));
        shard.step_snapshot(1, START);
    }
    assert_eq!(noted[0], 5_000, "a key is noted once");
    assert!(noted.is_sorted_by(|a, b| a > b), "{noted:?}");
    assert_eq!(counted(&shard), 5_000 - kept.lock().unwrap().len());
    while shard.step_snapshot(1, START) {}
    assert_eq!((counted(&shard), kept.lock().unwrap().len()), (0, 5_000));
}
