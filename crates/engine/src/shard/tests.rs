//! The shard against a plain map, with a clock of its own; every few steps the whole shard is
//! checked. `SEED=n` repeats a run.

mod evicting;
mod filing;
mod freeing;
mod overdue;

use super::{Shard, ShardConfig};
use crate::arena::{Arena, HeapBacking};
use crate::effect::{Cause, Change, Effect, Full, Key, Meta};
use crate::evict::Policy;
use crate::hash::{FieldDeadline, FieldEdit};
use crate::rng::Rng;
use crate::watch::Watch;
use layout::{HashKey, Kind};
use std::collections::BTreeMap;
use std::sync::Arc;

const START: u64 = 1_800_000_000_000;
const SECRET: HashKey = HashKey([3, 5]);

fn shard(segments: usize, policy: Policy) -> Shard {
    let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(segments)), segments));
    let config =
        ShardConfig { number: 0, databases: 4, bands: 6, secret: SECRET, first_version: 0, policy };
    Shard::new(arena, config)
}

fn apply(
    shard: &mut Shard,
    db: usize,
    key: &[u8],
    change: Change<'_>,
    now: u64,
) -> Result<(), Full> {
    let key = Key::new(&SECRET, key);
    shard.apply(&Effect::Key { db, key, change }, now).map(|_| ())
}

fn put(shard: &mut Shard, key: &[u8], value: &[u8], deadline: Option<u64>, now: u64) {
    let meta = Meta { deadline, ..Meta::default() };
    apply(shard, 0, key, Change::Put { value, meta }, now).unwrap();
}

fn read(shard: &Shard, db: usize, key: &[u8], now: u64) -> Option<Vec<u8>> {
    Some(shard.peek(db, &Key::new(&SECRET, key), now)?.string()?.to_vec())
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>),
}

#[derive(Clone, Debug)]
struct Item {
    value: Value,
    deadline: Option<u64>,
    flags: u32,
}

#[derive(Default)]
struct Model {
    databases: [BTreeMap<Vec<u8>, Item>; 4],
}

impl Model {
    fn expire(&mut self, now: u64) {
        for database in &mut self.databases {
            for item in database.values_mut() {
                if let Value::Hash(fields) = &mut item.value {
                    fields.retain(|_, (_, due)| due.is_none_or(|due| due > now));
                }
            }
            database.retain(|_, item| {
                item.deadline.is_none_or(|deadline| deadline > now)
                    && item.value != Value::Hash(BTreeMap::new())
            });
        }
    }
}

struct World {
    shard: Shard,
    model: Model,
    rng: Rng,
    now: u64,
}

impl World {
    fn key(&mut self) -> Vec<u8> {
        let n = self.rng.below(400);
        match n % 5 {
            0 => format!("session:{:032x}", u128::from(n) << 90 | 7).into_bytes(),
            1 => format!(":1:cache:Zx_{n}").into_bytes(),
            2 => format!("k{n}").into_bytes(),
            3 => format!("user:{n}:name of it").into_bytes(),
            _ => vec![n as u8; 1 + n as usize],
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.rng.below(200) {
            0 => self.rng.below(300_000),
            1..10 => self.rng.below(9_000),
            _ => self.rng.below(600),
        };
        let byte = self.rng.next_u64() as u8;
        vec![byte; len as usize]
    }

    fn deadline(&mut self) -> Option<u64> {
        match self.rng.below(6) {
            0 => Some(self.now + 1 + self.rng.below(3_000)),
            1 => Some(self.now + 1 + self.rng.below(200_000)),
            2 => Some(self.now + 1 + self.rng.below(30 * 86_400_000)),
            3 => Some(self.now + 100 * 365 * 86_400_000),
            _ => None,
        }
    }

    fn step(&mut self) {
        let db = if self.rng.below(4) == 0 { self.rng.below(4) as usize } else { 0 };
        let key = self.key();
        self.model.expire(self.now);
        match self.rng.below(20) {
            0..6 => self.put(db, key),
            6..9 => self.fields(db, key),
            9 => self.splice(db, key),
            10 | 11 => self.remove(db, key),
            12..14 => self.move_deadline(db, key),
            14 => self.set_meta(db, key),
            15 if self.rng.below(60) == 0 => self.clear(db),
            16 if self.rng.below(30) == 0 => self.swap(db),
            17 => self.copy(db, key),
            18 => self.pass_time(),
            _ => self.compare(db, &key),
        }
    }

    fn put(&mut self, db: usize, key: Vec<u8>) {
        let (value, deadline) = (self.value(), self.deadline());
        let flags = if self.rng.below(3) == 0 { self.rng.next_u64() as u32 } else { 0 };
        let meta = Meta { deadline, flags, ..Meta::default() };
        apply(&mut self.shard, db, &key, Change::Put { value: &value, meta }, self.now).unwrap();
        self.model.databases[db].insert(key, Item { value: Value::String(value), deadline, flags });
    }

    fn fields(&mut self, db: usize, key: Vec<u8>) {
        let model = self.model.databases[db].get(&key).cloned();
        if model.as_ref().is_some_and(|item| matches!(item.value, Value::String(_))) {
            return;
        }
        let mut item = model.unwrap_or_else(|| Item {
            value: Value::Hash(BTreeMap::new()),
            deadline: None,
            flags: 0,
        });
        let Value::Hash(fields) = &mut item.value else { unreachable!() };
        let many = if self.rng.below(10) == 0 { 600 } else { 5 };
        let edits: Vec<(u64, Vec<u8>, Vec<u8>, _)> = (0..self.rng.below(many))
            .map(|_| {
                let field = format!("field{}", self.rng.below(many * 2)).into_bytes();
                let value = vec![b'v'; self.rng.below(40) as usize];
                let due = (self.rng.below(5) == 0).then(|| self.now + 1 + self.rng.below(90_000));
                (self.rng.below(4), field, value, due)
            })
            .collect();
        let edits: Vec<FieldEdit<'_>> = edits
            .iter()
            .map(|(what, field, value, due)| match what {
                0 => FieldEdit::Delete { field },
                1 => FieldEdit::Deadline { field, at: *due },
                _ => FieldEdit::Set {
                    field,
                    value,
                    deadline: due.map_or(FieldDeadline::Keep, FieldDeadline::At),
                },
            })
            .collect();
        for edit in &edits {
            match *edit {
                FieldEdit::Delete { field } => {
                    fields.remove(field);
                }
                FieldEdit::Deadline { field, at } => {
                    if let Some((_, due)) = fields.get_mut(field) {
                        *due = at;
                    }
                }
                FieldEdit::Set { field, value, deadline } => {
                    let old = fields.get(field).and_then(|(_, due)| *due);
                    let due = if let FieldDeadline::At(at) = deadline { Some(at) } else { old };
                    fields.insert(field.to_vec(), (value.to_vec(), due));
                }
            }
        }
        apply(&mut self.shard, db, &key, Change::Fields(&edits), self.now).unwrap();
        if *fields == BTreeMap::new() {
            self.model.databases[db].remove(&key);
        } else {
            self.model.databases[db].insert(key, item);
        }
    }

    fn splice(&mut self, db: usize, key: Vec<u8>) {
        let bytes = self.value();
        let item = self.model.databases[db].get(&key).cloned();
        let mut item = item.unwrap_or_else(|| Item {
            value: Value::String(Vec::new()),
            deadline: None,
            flags: 0,
        });
        let Value::String(value) = &mut item.value else { return };
        let at = self.rng.below(value.len() as u64 + 20) as usize;
        value.resize(value.len().max(at + bytes.len()), 0);
        value[at..at + bytes.len()].copy_from_slice(&bytes);
        apply(&mut self.shard, db, &key, Change::Splice { at, bytes: &bytes }, self.now).unwrap();
        self.model.databases[db].insert(key, item);
    }

    fn remove(&mut self, db: usize, key: Vec<u8>) {
        let change = Change::Remove(Cause::Deleted);
        apply(&mut self.shard, db, &key, change, self.now).unwrap();
        self.model.databases[db].remove(&key);
    }

    fn move_deadline(&mut self, db: usize, key: Vec<u8>) {
        let at = self.deadline();
        let change = Change::Deadline { at, slide: false };
        apply(&mut self.shard, db, &key, change, self.now).unwrap();
        if let Some(item) = self.model.databases[db].get_mut(&key) {
            item.deadline = at;
        }
    }

    fn set_meta(&mut self, db: usize, key: Vec<u8>) {
        let (deadline, flags) = (self.deadline(), self.rng.next_u64() as u32);
        let meta = Meta { deadline, flags, state: Meta::STALE, cas: Some(7), ..Meta::default() };
        apply(&mut self.shard, db, &key, Change::Meta(meta), self.now).unwrap();
        if let Some(item) = self.model.databases[db].get_mut(&key) {
            (item.deadline, item.flags) = (deadline, flags);
        }
    }

    fn clear(&mut self, db: usize) {
        self.shard.apply(&Effect::Clear { db }, self.now).unwrap();
        self.model.databases[db].clear();
    }

    fn swap(&mut self, a: usize) {
        let b = self.rng.below(4) as usize;
        self.shard.apply(&Effect::Swap { a, b }, self.now).unwrap();
        self.model.databases.swap(a, b);
    }

    fn copy(&mut self, db: usize, key: Vec<u8>) {
        let to = self.key();
        let entry = self.shard.peek(db, &Key::new(&SECRET, &key), self.now);
        let item = entry.map(|entry| entry.to_owned_item());
        let model = self.model.databases[db].get(&key).cloned();
        assert_eq!(item.is_some(), model.is_some());
        if let (Some(item), Some(model)) = (item, model) {
            apply(&mut self.shard, db, &to, Change::Install(&item), self.now).unwrap();
            self.model.databases[db].insert(to, model);
        }
    }

    fn pass_time(&mut self) {
        self.now += match self.rng.below(50) {
            0 => 86_400_000,
            1..8 => self.rng.below(100_000),
            _ => self.rng.below(800),
        };
        while self.shard.maintain(self.now, 1_000) {}
        self.model.expire(self.now);
        let due = self.shard.next_due();
        assert!(due.is_none_or(|due| due > self.now));
    }

    fn compare(&mut self, db: usize, key: &[u8]) {
        let entry = self.shard.get(db, &Key::new(&SECRET, key), self.now);
        let model = self.model.databases[db].get(key);
        match (entry, model) {
            (None, None) => {}
            (Some(entry), Some(item)) => {
                assert_eq!((entry.deadline(), entry.flags()), (item.deadline, item.flags));
                match &item.value {
                    Value::String(value) => assert!(entry.string().unwrap().to_vec() == *value),
                    Value::Hash(fields) => {
                        let hash = entry.hash().unwrap();
                        let now = self.now;
                        let got: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)> = hash
                            .iter(now)
                            .map(|f| (f.name.to_vec(), (f.value.to_vec(), f.deadline)))
                            .collect();
                        assert_eq!(got, *fields);
                        assert_eq!(hash.live_len(now), fields.len());
                    }
                }
            }
            (entry, model) => panic!("{key:?}: {entry:?} but {model:?}"),
        }
    }

    fn compare_all(&mut self) {
        self.model.expire(self.now);
        for db in 0..4 {
            let keys: Vec<Vec<u8>> = self.model.databases[db].keys().cloned().collect();
            keys.iter().for_each(|key| self.compare(db, key));
            let mut seen = Vec::new();
            let mut position = Some(0);
            while let Some(at) = position {
                position = self.shard.scan(db, at, 3, self.now, &mut |key, entry| {
                    // A hash whose last field is due is still to be removed.
                    let empty = entry.hash().is_some_and(|hash| hash.live_len(self.now) == 0);
                    if !empty {
                        seen.push(key.to_vec());
                    }
                });
            }
            seen.sort();
            assert_eq!(seen, keys);
        }
        self.shard.check().unwrap();
    }
}

fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    });
    println!("SEED={seed}");
    seed
}

#[test]
fn random_effects_agree_with_a_map() {
    let seed = seed();
    for round in 0..6 {
        let policy = if round % 2 == 0 { Policy::AllKeysLru } else { Policy::AllKeysLfu };
        let mut world = World {
            shard: shard(4_000, policy),
            model: Model::default(),
            rng: Rng::new(seed.wrapping_add(round * 7919)),
            now: START,
        };
        for step in 0..6_000 {
            world.step();
            if step % 500 == 0 {
                world.compare_all();
            }
        }
        world.compare_all();
    }
}

#[test]
fn when_it_is_full_nothing_changes_and_room_can_be_made() {
    let mut shard = shard(40, Policy::NoEviction);
    let mut rng = Rng::new(seed());
    let mut stored = BTreeMap::new();
    let mut refused = 0;
    for n in 0..40_000u64 {
        let key = format!("session:{:020x}", rng.below(6_000)).into_bytes();
        let value = vec![n as u8; rng.below(2_000) as usize];
        let meta = Meta::default();
        match apply(&mut shard, 0, &key, Change::Put { value: &value, meta }, START) {
            Ok(()) => {
                stored.insert(key, value);
            }
            Err(Full) => {
                refused += 1;
                assert!(read(&shard, 0, &key, START) == stored.get(&key).cloned());
                if refused % 3 == 0 {
                    let (gone, _) = stored.pop_first().unwrap();
                    apply(&mut shard, 0, &gone, Change::Remove(Cause::Deleted), START).unwrap();
                }
            }
        }
    }
    assert!(refused > 100);
    shard.check().unwrap();
    for (key, value) in &stored {
        assert!(read(&shard, 0, key, START).as_ref() == Some(value));
    }
    let (live, used, _) = shard.bytes();
    assert!(live * 100 > used * 80, "{live} of {used}: a full store must not be half empty");
}

#[test]
fn every_policy_does_what_its_name_says() {
    for policy in Policy::ALL {
        let mut shard = shard(2_000, policy);
        for n in 0..2_000u64 {
            let lasting = n % 4 == 0;
            let deadline = (!lasting).then(|| START + 100_000_000 + n * 1_000);
            put(&mut shard, format!("key:{n:06}").as_bytes(), b"value", deadline, START);
        }
        // The second half is used, later and often.
        for round in 0..40u64 {
            for n in 1_000..2_000u64 {
                let key = format!("key:{n:06}");
                shard.get(0, &Key::new(&SECRET, key.as_bytes()), START + 600_000 + round).unwrap();
            }
        }
        let now = START + 600_100;
        let evicted = (0..500).filter(|_| shard.make_room(policy, 16, now)).count();
        let left = |range: std::ops::Range<u64>, step: u64| {
            let there = |n: &u64| read(&shard, 0, format!("key:{n:06}").as_bytes(), now).is_some();
            range.filter(|n| (n % 4 == 0) == (step == 0)).filter(there).count()
        };
        let lasting = (left(0..1_000, 0), left(1_000..2_000, 0));
        let ending = (left(0..1_000, 1), left(1_000..2_000, 1));
        let what = format!("{}: {evicted} {lasting:?} {ending:?}", policy.name());
        if policy.is_volatile() {
            assert_eq!(lasting, (250, 250), "{what}");
        }
        match policy {
            Policy::NoEviction => assert_eq!((evicted, ending), (0, (750, 750)), "{what}"),
            Policy::AllKeysRandom | Policy::VolatileRandom => {
                assert!(ending.0.abs_diff(ending.1) < 120, "{what}");
            }
            _ => {
                assert_eq!(evicted, 500, "{what}");
                // Unused, rarely used or due first: in each case the first half goes.
                assert!(ending.1 > 735 && ending.0 < 500, "{what}");
            }
        }
        shard.check().unwrap();
    }
}

#[test]
fn keys_end_within_a_moment_of_their_deadline_beside_many_others() {
    let mut shard = shard(4_000, Policy::NoEviction);
    for n in 0..100_000u64 {
        let deadline = START + 86_400_000 + n;
        put(&mut shard, format!("other:{n}").as_bytes(), b"x", Some(deadline), START);
    }
    let mut rng = Rng::new(seed());
    let mut deadlines: Vec<u64> = (0..2_000).map(|_| START + 1 + rng.below(200_000)).collect();
    for (n, deadline) in deadlines.iter().enumerate() {
        put(&mut shard, format!("probe:{n}").as_bytes(), b"x", Some(*deadline), START);
    }
    deadlines.sort_unstable();
    let mut now = START;
    while now < START + 210_000 {
        now = shard.next_due().unwrap_or(u64::MAX).min(now + 500);
        while shard.maintain(now, 100) {}
        let over = deadlines.partition_point(|deadline| *deadline + 200 <= now) as u64;
        assert!(shard.len(0) <= 102_000 - over);
    }
    assert_eq!((shard.len(0), shard.stats().expired), (100_000, 2_000));
    assert!(shard.stats().lag_max_ms <= 200, "{}", shard.stats().lag_max_ms);
    shard.check().unwrap();
}

#[test]
fn watches_break_on_every_change_but_a_slide() {
    let mut shard = shard(100, Policy::AllKeysLru);
    let key = Key::new(&SECRET, b"k");
    let change = |shard: &mut Shard, change: Change<'_>| {
        let watch = Watch::default();
        shard.watch(0, &key, &watch, START);
        shard.apply(&Effect::Key { db: 0, key, change }, START).unwrap();
        shard.unwatch(&watch, std::iter::once((0, key.hash)));
        watch.is_broken()
    };
    let slide = Change::Deadline { at: Some(START + 9_000), slide: true };
    assert!(!change(&mut shard, Change::Remove(Cause::Deleted)), "there was nothing to remove");
    assert!(change(&mut shard, Change::Put { value: b"v", meta: Meta::default() }));
    assert!(!change(&mut shard, slide));
    assert!(change(&mut shard, Change::Deadline { at: Some(START + 5), slide: false }));
    let watch = Watch::default();
    shard.watch(0, &key, &watch, START);
    shard.maintain(START + 200, 100);
    assert!(watch.is_broken(), "expiry is a change");
    put(&mut shard, b"k", b"v", None, START);
    for effect in
        [Effect::Swap { a: 0, b: 1 }, Effect::Swap { a: 0, b: 1 }, Effect::Clear { db: 0 }]
    {
        let watch = Watch::default();
        shard.watch(0, &key, &watch, START);
        shard.apply(&effect, START).unwrap();
        assert!(watch.is_broken(), "{effect:?}");
    }
    let watch = Watch::default();
    shard.watch(0, &key, &watch, START);
    shard.apply(&Effect::Clear { db: 0 }, START).unwrap();
    assert!(!watch.is_broken(), "an empty database doesn't change by being cleared");
}

#[test]
fn rewriting_everything_ten_times_stays_dense_and_copies_little() {
    let mut shard = shard(4_000, Policy::NoEviction);
    let mut rng = Rng::new(seed());
    let keys: Vec<String> =
        (0..20_000).map(|n| format!(":1:django.contrib.sessions.cache{:032x}", n * 977)).collect();
    let mut order: Vec<usize> = (0..keys.len()).collect();
    for round in 0..11 {
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i as u64 + 1) as usize);
        }
        for n in &order {
            let value = vec![b'v'; 250 + rng.below(300) as usize];
            let deadline = Some(START + round * 60_000 + 14 * 86_400_000);
            put(&mut shard, keys[*n].as_bytes(), &value, deadline, START + round * 60_000);
        }
    }
    shard.check().unwrap();
    let (live, used, index) = shard.bytes();
    let stats = shard.stats();
    assert!(live * 100 > used * 84, "{live} live of {used}");
    assert!(stats.copied <= 3 * stats.written, "{stats:?}");
    assert!(index <= 18 * 20_000 + 65_536, "{index} index bytes");
    assert_eq!(read(&shard, 0, b"absent", START), None);
    let first = shard.peek(0, &Key::new(&SECRET, keys[0].as_bytes()), START).unwrap();
    assert_eq!(first.kind(), Kind::String);
}

#[test]
fn index_bytes_per_key_stay_low_at_any_number_of_keys() {
    let mut shard = shard(4_000, Policy::NoEviction);
    let mut worst = (0, 0);
    for n in 0..200_000u64 {
        put(&mut shard, format!("k{n}").as_bytes(), b"", None, START);
        // The step grows with the number, so that every stage of a doubling is looked at.
        if n > 2_000 && n % (n / 50) == 0 {
            let per_key = shard.pages.bytes_in_use() * 10 / (n as usize + 1);
            worst = worst.max((per_key, n));
        }
    }
    assert!(worst.0 <= 180, "{} tenths of a byte at {} keys", worst.0, worst.1);
    println!("worst: {} tenths of a byte at {} keys", worst.0, worst.1);
    shard.check().unwrap();
}

#[test]
fn an_open_segment_that_died_is_given_back_when_it_is_full() {
    let mut shard = shard(200, Policy::NoEviction);
    for round in 0..2_000u64 {
        // Each value dies in the band that it was written in: the next one is in another band.
        let deadline = (round % 2 == 0).then_some(START + 10_000);
        let value = vec![b'v'; 3_000 + round as usize % 64];
        put(&mut shard, b"one", &value, deadline, START);
    }
    shard.check().unwrap();
    let (live, used, _) = shard.bytes();
    assert!(live < 4_000 && used < 300_000, "{live} of {used}");
}

#[test]
fn items_that_leave_every_segment_half_empty_end_in_full_not_in_a_loop() {
    // Two of these never fit into one segment.
    let value = vec![b'v'; 34_000];
    let mut shard = shard(24, Policy::NoEviction);
    let mut refused = 0;
    for n in 0..200u32 {
        let meta = Meta::default();
        let key = format!("large:{}", n % 60);
        let put = Change::Put { value: &value, meta };
        refused += u32::from(apply(&mut shard, 0, key.as_bytes(), put, START).is_err());
    }
    assert!(refused > 0);
    shard.check().unwrap();
    assert!(shard.make_room(Policy::AllKeysRandom, 4, START), "evicting helps");
}

#[test]
fn a_key_that_is_written_again_and_again_leaves_no_pile_of_notes() {
    let mut shard = shard(200, Policy::NoEviction);
    let mut most = 0;
    for round in 0..200_000u64 {
        let now = START + round / 1_000;
        // Four keys in turn, in place: each write has a due time in the wheel's reach.
        let key = format!("hot:{}", round % 4);
        put(&mut shard, key.as_bytes(), b"value", Some(now + 50_000), now);
        if shard.next_look() <= now {
            shard.maintain(now, 128);
        }
        most = most.max(shard.wheel.len());
    }
    assert!(most < 4_096, "{most} notes");
    shard.check().unwrap();
}

#[test]
fn a_large_hash_ends_at_its_deadline_after_fields_of_it_have_ended() {
    let mut shard = shard(200, Policy::NoEviction);
    let set = |field, deadline| FieldEdit::Set { field, value: b"value", deadline };
    let names: Vec<String> = (0..1_000).map(|n| format!("field:{n:04}")).collect();
    let mut edits: Vec<FieldEdit<'_>> =
        names.iter().map(|name| set(name.as_bytes(), FieldDeadline::Clear)).collect();
    edits.push(set(b"fleeting", FieldDeadline::At(START + 1_000)));
    apply(&mut shard, 0, b"draft", Change::Fields(&edits), START).unwrap();
    let mut item = shard.peek(0, &Key::new(&SECRET, b"draft"), START).unwrap().to_owned_item();
    item.meta.deadline = Some(START + 5_000_000);
    // Stored at once, it's filed under its first field's deadline alone.
    apply(&mut shard, 0, b"cart", Change::Install(&item), START).unwrap();
    apply(&mut shard, 0, b"draft", Change::Remove(Cause::Deleted), START).unwrap();
    while shard.maintain(START + 2_000, 1_000) {}
    let key = Key::new(&SECRET, b"cart");
    assert_eq!(shard.get(0, &key, START + 2_000).unwrap().hash().unwrap().len(), 1_000);
    shard.check().unwrap();
    while shard.len(0) > 0 {
        assert!(shard.next_look() <= START + 5_000_100, "nobody will look");
        let now = shard.next_look();
        shard.maintain(now, 1_000);
    }
    assert_eq!(shard.stats().expired, 1);
    shard.check().unwrap();
}
