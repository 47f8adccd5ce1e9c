//! Sessions in one shard: what slides, what is hidden, who is listed; at random against a model
//! that knows only whole sessions. `SEED=n` repeats a run.

use super::*;
use crate::arena::{Arena, HeapBacking};
use crate::effect::{Journal, OwnedItem};
use crate::evict::Policy;
use crate::hash::FieldDeadline;
use crate::rng::Rng;
use crate::shard::ShardConfig;
use layout::HashKey;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const START: u64 = 1_800_000_000_000;
const SECRET: HashKey = HashKey([3, 5]);

fn shard(segments: usize, policy: Policy) -> Shard {
    let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(segments)), segments));
    let config =
        ShardConfig { number: 0, databases: 2, bands: 6, secret: SECRET, first_version: 0, policy };
    Shard::new(arena, config)
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key::new(&SECRET, bytes)
}

fn apply(shard: &mut Shard, name: &[u8], change: Change<'_>, now: u64) -> Result<Applied, Full> {
    shard.apply(&Effect::Key { db: 0, key: key(name), change }, now)
}

fn set<'a>(field: &'a [u8], value: &'a [u8]) -> FieldEdit<'a> {
    FieldEdit::Set { field, value, deadline: FieldDeadline::Clear }
}

fn meta(state: State, idle_s: u32, absolute: Option<u64>, now: u64) -> Meta {
    let slide = Slide::default()
        .with_state(state)
        .with_idle_s(idle_s)
        .with_absolute(absolute)
        .with_created(now);
    Meta { deadline: slide.slid(now).or(absolute), slide, ..Meta::default() }
}

fn session<'a>(meta: Meta, user: &'a [u8], edits: &'a [FieldEdit<'a>]) -> Change<'a> {
    Change::Session { meta, user, edits, renew: !edits.is_empty(), fresh: false }
}

fn listed(shard: &Shard, user: &[u8], now: u64) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    shard.sessions_of(0, user, now, &mut |_, entry| {
        let mut name = Vec::new();
        entry.key(&mut name);
        names.push(name);
    });
    names.sort();
    names
}

#[test]
fn a_use_slides_up_to_the_absolute_deadline_and_changes_no_version() {
    let mut shard = shard(64, Policy::NoEviction);
    let put =
        Change::Put { value: b"x", meta: meta(State::Plain, 10, Some(START + 15_000), START) };
    let version = apply(&mut shard, b"k", put, START).unwrap().version;
    let left = |shard: &Shard, now| shard.peek(0, &key(b"k"), now).map(|entry| entry.deadline());
    assert_eq!(left(&shard, START), Some(Some(START + 10_000)));
    assert_eq!(left(&shard, START + 10_000), None);
    let entry = shard.get(0, &key(b"k"), START + 3_000).unwrap();
    assert_eq!((entry.deadline(), entry.version()), (Some(START + 13_000), version));
    shard.get(0, &key(b"k"), START + 12_000);
    assert_eq!(left(&shard, START + 12_000), Some(Some(START + 15_000)));
    shard.check().unwrap();
    let change = Change::Deadline { at: None, slide: false };
    apply(&mut shard, b"k", change, START + 12_000).unwrap();
    assert_eq!(left(&shard, START + 12_000), Some(Some(START + 15_000)));
    shard.maintain(START + 15_064, 100);
    assert_eq!(shard.len(0), 0);
}

#[test]
fn an_empty_session_is_there_and_a_hash_takes_over_from_what_one_left() {
    let mut shard = shard(64, Policy::NoEviction);
    let live = meta(State::Session, 0, None, START);
    apply(&mut shard, b"s", session(live, b"ann", &[]), START).unwrap();
    apply(&mut shard, b"s", Change::Fields(&[set(b"f", b"v")]), START).unwrap();
    assert_eq!(shard.peek(0, &key(b"s"), START).unwrap().user(), b"ann");
    let delete = [FieldEdit::Delete { field: b"f" }];
    apply(&mut shard, b"s", Change::Fields(&delete), START).unwrap();
    let entry = shard.peek(0, &key(b"s"), START).unwrap();
    assert!(entry.hash().unwrap().is_empty() && entry.user() == b"ann");
    assert_eq!(listed(&shard, b"ann", START), [b"s"]);
    let tombstone = meta(State::Tombstone, 0, Some(START + 60_000), START);
    apply(&mut shard, b"s", session(tombstone, b"", &[]), START).unwrap();
    shard.check().unwrap();
    assert!(
        shard.peek(0, &key(b"s"), START).is_none() && shard.get(0, &key(b"s"), START).is_none()
    );
    let met = shard.meet(0, &key(b"s"), START, true).unwrap();
    assert_eq!(met.slide().state(), State::Tombstone);
    assert!(listed(&shard, b"ann", START).is_empty());
    let fields = apply(&mut shard, b"s", Change::Fields(&[set(b"a", b"b")]), START).unwrap();
    assert!(!fields.existed);
    assert_eq!(shard.peek(0, &key(b"s"), START).unwrap().slide(), Slide::default());
    shard.check().unwrap();
}

#[test]
fn a_large_session_changes_in_place_and_goes_on_empty() {
    let mut shard = shard(256, Policy::NoEviction);
    let live = meta(State::Session, 60, None, START);
    let names: Vec<Vec<u8>> = (0..700).map(|n| format!("field:{n}").into_bytes()).collect();
    let edits: Vec<FieldEdit<'_>> = names.iter().map(|name| set(name, b"value")).collect();
    let first = apply(&mut shard, b"s", session(live, b"ann", &edits), START).unwrap();
    let same = apply(&mut shard, b"s", session(live, b"ann", &[]), START).unwrap();
    assert_eq!((first.version, first.added), (same.version, 700));
    let other = Change::Session { meta: live, user: b"bob", edits: &[], renew: true, fresh: false };
    let other = apply(&mut shard, b"s", other, START).unwrap();
    assert!(other.version > first.version);
    shard.check().unwrap();
    assert_eq!((listed(&shard, b"ann", START).len(), listed(&shard, b"bob", START).len()), (0, 1));
    let gone: Vec<FieldEdit<'_>> =
        names.iter().map(|name| FieldEdit::Delete { field: name }).collect();
    apply(&mut shard, b"s", session(live, b"bob", &gone), START).unwrap();
    apply(&mut shard, b"s", session(live, b"bob", &[set(b"x", b"y")]), START).unwrap();
    apply(&mut shard, b"s", Change::Fields(&[FieldEdit::Delete { field: b"x" }]), START).unwrap();
    let entry = shard.peek(0, &key(b"s"), START).unwrap();
    assert_eq!((entry.hash().unwrap().len(), entry.user()), (0, &b"bob"[..]));
    shard.check().unwrap();
    apply(&mut shard, b"s", Change::Remove(Cause::Deleted), START).unwrap();
    while shard.maintain(START, 100) {}
    assert_eq!(shard.heap_bytes(), 0);
    shard.check().unwrap();
}

#[test]
fn answers_are_remembered_for_a_minute_and_as_long_as_the_session() {
    let mut shard = shard(64, Policy::NoEviction);
    let live = meta(State::Session, 0, None, START);
    apply(&mut shard, b"s", session(live, b"", &[]), START).unwrap();
    shard.remember(0, &key(b"s"), b"token", 7, START);
    assert_eq!(shard.answered(0, &key(b"s"), b"token", START + 59_999), Some(7));
    assert_eq!(shard.answered(0, &key(b"s"), b"token", START + 60_000), None);
    assert_eq!(shard.answered(0, &key(b"s"), b"other", START), None);
    assert_eq!(shard.answered(0, &key(b"t"), b"token", START), None);
    apply(&mut shard, b"s", Change::Remove(Cause::Deleted), START).unwrap();
    assert_eq!(shard.answered(0, &key(b"s"), b"token", START), None);
    for n in 0..2 * ANSWERS_PER_SHARD as u64 {
        shard.remember(0, &key(b"s"), &n.to_le_bytes(), n, START);
    }
    assert_eq!(shard.answers.by_token.len(), ANSWERS_PER_SHARD);
    shard.remember(0, &key(b"s"), b"late", 1, START + ANSWERED_MS);
    assert_eq!((shard.answers.by_token.len(), shard.answers.order.len()), (1, 1));
    shard.apply(&Effect::Clear { db: 0 }, START).unwrap();
    assert!(shard.answers.by_token.is_empty());
}

/// Keeps the deadlines that slides recorded.
struct Recorder(Arc<Mutex<Vec<u64>>>);

impl Journal for Recorder {
    fn record(&mut self, effect: &Effect<'_>) {
        if let Effect::Key { change: Change::Deadline { at: Some(at), slide: true }, .. } = effect {
            self.0.lock().unwrap().push(*at);
        }
    }
}

#[test]
fn the_journal_knows_a_deadline_to_a_sixteenth_of_the_idle_time() {
    let mut shard = shard(64, Policy::NoEviction);
    let seen = Arc::new(Mutex::new(Vec::new()));
    shard.set_journal(Some(Box::new(Recorder(Arc::clone(&seen)))));
    let live = meta(State::Session, 160, None, START);
    apply(&mut shard, b"s", session(live, b"", &[]), START).unwrap();
    for second in 1..=100 {
        let now = START + second * 1_000;
        let deadline = shard.get(0, &key(b"s"), now).unwrap().deadline().unwrap();
        assert_eq!(deadline, now + 160_000);
        let known = seen.lock().unwrap().last().copied().unwrap_or(START + 160_000);
        assert!(deadline - known < 10_000);
    }
    assert_eq!(seen.lock().unwrap().len(), 10);
}

/// Does the same to another shard, in which time stands still.
struct Mirror(Arc<Mutex<Shard>>);

impl Journal for Mirror {
    fn record(&mut self, effect: &Effect<'_>) {
        self.0.lock().unwrap().apply(effect, START - 1_000_000).unwrap();
    }
}

/// Whether a shard that was told all effects has all that this one has, whatever its state, and
/// knows when it ends, but for slides.
fn compare_mirror(shard: &mut Shard, mirror: &mut Shard, names: u64) {
    mirror.check().unwrap();
    let item = |shard: &mut Shard, name: &[u8]| {
        let entry = shard.meet(0, &key(name), START - 1_000_000, false)?;
        Some((entry.to_owned_item(), entry.hash()?.len()))
    };
    for n in 0..names {
        let name = format!("session:{n}").into_bytes();
        let (found, told) = (item(shard, &name), item(mirror, &name));
        assert_eq!(found.is_some(), told.is_some(), "{n}");
        let (Some((found, fields)), Some((told, told_fields))) = (found, told) else { continue };
        assert_eq!((&found.user, fields), (&told.user, told_fields));
        assert_eq!(Meta { deadline: None, ..found.meta }, Meta { deadline: None, ..told.meta });
        let late = found.meta.deadline.zip(told.meta.deadline);
        let step = u64::from(found.meta.slide.idle_s()) * 1000 / SLIDE_PARTS;
        assert!(late.is_none_or(|(at, told)| at >= told && at - told <= step), "{late:?}");
        assert_eq!(found.meta.deadline.is_some(), told.meta.deadline.is_some());
    }
}

#[derive(Clone, Debug)]
struct Model {
    state: State,
    user: Vec<u8>,
    fields: BTreeMap<Vec<u8>, Vec<u8>>,
    idle_s: u32,
    absolute: Option<u64>,
    deadline: Option<u64>,
}

impl Model {
    fn is_over(&self, now: u64) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn slide(&mut self, now: u64) {
        if self.idle_s > 0 {
            let to = now + u64::from(self.idle_s) * 1000;
            self.deadline = Some(self.absolute.map_or(to, |absolute| absolute.min(to)));
        }
    }
}

const USERS: [&[u8]; 4] = [b"", b"ann", b"bob", &[b'x'; 255]];

fn compare(shard: &Shard, model: &BTreeMap<Vec<u8>, Model>, now: u64) {
    shard.check().unwrap();
    for (name, expected) in model {
        let found = shard.peek(0, &key(name), now);
        let hidden = matches!(expected.state, State::Tombstone | State::Alias);
        if hidden || expected.is_over(now) {
            assert!(found.is_none());
            continue;
        }
        let found = found.unwrap();
        assert_eq!((found.user(), found.deadline()), (&expected.user[..], expected.deadline));
        let fields: BTreeMap<Vec<u8>, Vec<u8>> = found
            .hash()
            .unwrap()
            .iter(now)
            .map(|field| (field.name.to_vec(), field.value.to_vec()))
            .collect();
        assert_eq!(fields, expected.fields);
    }
    for user in USERS.iter().skip(1) {
        let live = model.iter().filter(|(_, model)| {
            model.user == *user && model.state == State::Session && !model.is_over(now)
        });
        let live: Vec<Vec<u8>> = live.map(|(name, _)| name.clone()).collect();
        assert_eq!(listed(shard, user, now), live);
    }
}

/// One random step on a key, in the shard and in the model.
fn step(shard: &mut Shard, model: &mut BTreeMap<Vec<u8>, Model>, rng: &mut Rng, now: u64) {
    let name = format!("session:{}", rng.below(40)).into_bytes();
    model.retain(|_, model| !model.is_over(now));
    let there = model.get(&name).cloned();
    match rng.below(10) {
        0..4 => {
            let state =
                [State::Session, State::Session, State::Session, State::Tombstone, State::Alias]
                    [rng.below(5) as usize];
            let user = if state == State::Tombstone { b"" } else { USERS[rng.below(4) as usize] };
            let idle_s = rng.below(3) as u32 * 40;
            let absolute = (rng.below(2) == 0).then(|| now + 1 + rng.below(200_000));
            let many = if rng.below(20) == 0 { 600 } else { rng.below(4) };
            let fields: Vec<(Vec<u8>, Vec<u8>)> = (0..many)
                .map(|_| {
                    (rng.below(800).to_le_bytes().to_vec(), vec![b'v'; rng.below(30) as usize])
                })
                .collect();
            let edits: Vec<FieldEdit<'_>> = fields
                .iter()
                .map(|(field, value)| match value.len() {
                    0..8 => FieldEdit::Delete { field },
                    _ => set(field, value),
                })
                .collect();
            let meta = meta(state, idle_s, absolute, now);
            apply(shard, &name, session(meta, user, &edits), now).unwrap();
            let stays =
                there.filter(|there| (there.state, state) == (State::Session, State::Session));
            let mut kept = stays.map_or_else(BTreeMap::new, |there| there.fields);
            for (field, value) in fields {
                match value.len() {
                    0..8 => kept.remove(&field),
                    _ => kept.insert(field, value),
                };
            }
            let deadline = meta.slide.bound(meta.deadline);
            let made =
                Model { state, user: user.to_vec(), fields: kept, idle_s, absolute, deadline };
            model.insert(name, made);
        }
        4..7 => {
            let found = shard.get(0, &key(&name), now).is_some();
            let there = model.get_mut(&name).filter(|there| there.state == State::Session);
            assert_eq!(found, there.is_some());
            if let Some(there) = there {
                there.slide(now);
            }
        }
        7 => {
            apply(shard, &name, Change::Remove(Cause::Deleted), now).unwrap();
            model.remove(&name);
        }
        8 => {
            let from = there.filter(|there| there.state == State::Session);
            let Some(there) = from else { return };
            let item: OwnedItem = shard.peek(0, &key(&name), now).unwrap().to_owned_item();
            let to = format!("session:{}", rng.below(40)).into_bytes();
            apply(shard, &to, Change::Install(&item), now).unwrap();
            model.insert(to, there);
        }
        _ => while shard.maintain(now, 64) {},
    }
}

#[test]
fn random_sessions_follow_the_model() {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let fresh = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    for seed in given.map_or_else(|| vec![1, 2, 3, 1000 + fresh], |seed| vec![seed]) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995);
        let mirror = Arc::new(Mutex::new(shard(512, Policy::NoEviction)));
        let mut shard = shard(512, Policy::NoEviction);
        shard.set_journal(Some(Box::new(Mirror(Arc::clone(&mirror)))));
        let mut model = BTreeMap::new();
        let mut now = START;
        for round in 0..6_000 {
            step(&mut shard, &mut model, &mut rng, now);
            now += rng.below(3_000);
            if round % 50 == 0 {
                compare(&shard, &model, now);
                compare_mirror(&mut shard, &mut mirror.lock().unwrap(), 40);
            }
        }
        now += 10_000_000;
        while shard.maintain(now, 1_000) {}
        compare(&shard, &model, now);
        let lasting = model.values().filter(|model| model.deadline.is_none()).count();
        assert_eq!(shard.len(0), lasting as u64);
        shard.apply(&Effect::Clear { db: 0 }, now).unwrap();
        while shard.maintain(now, 8) {}
        assert_eq!(shard.heap_bytes(), 0);
    }
}

#[test]
fn eviction_takes_sessions_off_their_users_lists_and_counts_them() {
    let mut shard = shard(24, Policy::AllKeysLru);
    let live = meta(State::Session, 1_000, None, START);
    for n in 0..3_000 {
        let name = format!("session:{n}").into_bytes();
        let change = session(live, b"ann", &[]);
        apply(&mut shard, &name, change, START).unwrap();
    }
    for _ in 0..1_000 {
        assert!(shard.evict(Policy::AllKeysLru, 16, START));
    }
    assert_eq!(listed(&shard, b"ann", START).len(), 2_000);
    assert_eq!((shard.stats().evicted_sessions, shard.stats().evicted), (1_000, 1_000));
    shard.check().unwrap();
}

#[test]
fn what_becomes_of_sessions_is_counted_once() {
    let mut shard = shard(64, Policy::NoEviction);
    shard.set_began(START);
    let live = meta(State::Session, 0, None, START);
    let counted = |shard: &Shard| {
        let stats = shard.stats();
        (stats.created_sessions, stats.rotated_sessions, stats.ended_sessions)
    };
    // What files tell was counted when it was done.
    apply(&mut shard, b"a", session(live, b"", &[]), 1).unwrap();
    apply(&mut shard, b"b", session(live, b"", &[]), 1).unwrap();
    apply(&mut shard, b"b", Change::Remove(Cause::Deleted), 1).unwrap();
    assert_eq!(counted(&shard), (0, 0, 0));

    for name in [&b"b"[..], b"c", b"d", b"e"] {
        apply(&mut shard, name, session(live, b"", &[]), START).unwrap();
        apply(&mut shard, name, session(live, b"", &[set(b"f", b"v")]), START).unwrap();
    }
    assert_eq!(counted(&shard), (4, 0, 0));
    let item = shard.peek(0, &key(b"b"), START).unwrap().to_owned_item();
    apply(&mut shard, b"new", Change::Install(&item), START).unwrap();
    apply(&mut shard, b"b", session(meta(State::Tombstone, 0, None, START), b"", &[]), START)
        .unwrap();
    assert_eq!(counted(&shard), (4, 1, 0));
    apply(&mut shard, b"b", Change::Remove(Cause::Deleted), START).unwrap();
    assert_eq!(counted(&shard), (4, 1, 0), "a tombstone is no session");
    apply(&mut shard, b"moved", Change::Install(&item), START).unwrap();
    apply(&mut shard, b"new", Change::Remove(Cause::Moved), START).unwrap();
    assert_eq!(counted(&shard), (4, 1, 0));

    apply(&mut shard, b"c", Change::Remove(Cause::Deleted), START).unwrap();
    let put = Change::Put { value: b"x", meta: Meta::default() };
    apply(&mut shard, b"d", put, START).unwrap();
    apply(&mut shard, b"d", put, START).unwrap();
    apply(&mut shard, b"e", Change::Install(&item), START).unwrap();
    assert_eq!(counted(&shard), (4, 1, 3), "also one that another one replaced");
    // `a`, `e` and `moved` are there still.
    shard.apply(&Effect::Clear { db: 0 }, START).unwrap();
    assert_eq!(counted(&shard), (4, 1, 6));
}
