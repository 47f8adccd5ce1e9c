//! A shard against a plain map: bytes are operations on a few keys under a clock of their own.

use engine::{Arena, Cause, Change, Effect, Full, HashKey, HeapBacking, Key, Meta, Policy};
use engine::{Shard, ShardConfig};
use std::collections::BTreeMap;
use std::sync::Arc;

const SECRET: HashKey = HashKey([3, 5]);
const START: u64 = 1_800_000_000_000;
const SEGMENTS: usize = 64;
/// Operations of one run.
const STEPS_MAX: usize = 2000;

/// A key's value and deadline.
type Model = BTreeMap<u8, (Vec<u8>, Option<u64>)>;

/// Applies `data` to both and compares after every step.
pub(crate) fn check(data: &[u8]) {
    let arena = Arc::new(Arena::new(Box::new(HeapBacking::new(SEGMENTS)), SEGMENTS));
    let mut shard = Shard::new(
        arena,
        ShardConfig {
            number: 0,
            databases: 1,
            bands: 2,
            secret: SECRET,
            first_version: 0,
            policy: Policy::NoEviction,
        },
    );
    let mut model = Model::new();
    let mut now = START;
    for step in data.chunks_exact(4).take(STEPS_MAX) {
        let [what, name, low, high] = *step else { return };
        now = operate(
            &mut shard,
            &mut model,
            (what, name % 32, u16::from_le_bytes([low, high])),
            now,
        );
        compare(&shard, &mut model, name % 32, now);
    }
    (0..32).for_each(|name| compare(&shard, &mut model, name, now));
    assert_eq!(shard.check(), Ok(()));
}

/// One operation on both; the time afterwards.
fn operate(
    shard: &mut Shard,
    model: &mut Model,
    (what, name, arg): (u8, u8, u16),
    now: u64,
) -> u64 {
    let live = |model: &Model| {
        model.get(&name).filter(|(_, end)| end.is_none_or(|end| end > now)).cloned()
    };
    let value = vec![name; usize::from(arg)];
    let deadline = (arg & 1 == 0).then(|| now + u64::from(arg) * 40);
    let old = live(model);
    match (what % 8, old) {
        (0 | 1, _) => {
            let meta = Meta { deadline, ..Meta::default() };
            if apply(shard, name, Change::Put { value: &value, meta }, now).is_ok() {
                model.insert(name, (value, deadline));
            }
        }
        (2, Some((mut text, end))) => {
            let at = text.len() * usize::from(arg % 3) / 2;
            let bytes = &value[..value.len().min(700)];
            if apply(shard, name, Change::Splice { at, bytes }, now).is_ok() {
                text.resize(text.len().max(at + bytes.len()), 0);
                text[at..at + bytes.len()].copy_from_slice(bytes);
                model.insert(name, (text, end));
            }
        }
        (3, Some((text, _))) => {
            let change = Change::Deadline { at: deadline, slide: false };
            let moved = apply(shard, name, change, now);
            if moved.is_ok() {
                model.insert(name, (text, deadline));
            }
        }
        (4, Some(_)) => {
            assert_eq!(apply(shard, name, Change::Remove(Cause::Deleted), now), Ok(()));
            model.remove(&name);
        }
        (5, _) => return now + u64::from(arg),
        (6, _) => {
            shard.maintain(now, usize::from(arg));
        }
        (7, _) if arg == 0 => {
            assert!(shard.apply(&Effect::Clear { db: 0 }, now).is_ok());
            model.clear();
        }
        (7, _) => make_room(shard, model, arg, now),
        _ => {}
    }
    now
}

/// Makes room under one of the policies: nothing goes but what is counted as evicted.
fn make_room(shard: &mut Shard, model: &mut Model, arg: u16, now: u64) {
    let policy = Policy::ALL[usize::from(arg) % Policy::ALL.len()];
    model.retain(|_, (_, end)| end.is_none_or(|end| end > now));
    let (before, evicted) = (model.len() as u64, shard.stats().evicted);
    shard.make_room(policy, 1 + usize::from(arg >> 12), now);
    model.retain(|name, (_, end)| {
        let there = shard.peek(0, &Key::new(&SECRET, &[b'k', *name]), now).is_some();
        assert!(there || !policy.is_volatile() || end.is_some(), "{policy:?} took what lasts");
        there
    });
    assert_eq!(before - model.len() as u64, shard.stats().evicted - evicted);
    assert!(policy != Policy::NoEviction || before == model.len() as u64);
}

fn apply(shard: &mut Shard, name: u8, change: Change<'_>, now: u64) -> Result<(), Full> {
    let bytes = [b'k', name];
    let key = Key::new(&SECRET, &bytes);
    shard.apply(&Effect::Key { db: 0, key, change }, now).map(|_| ())
}

/// A key reads the same in both.
fn compare(shard: &Shard, model: &mut Model, name: u8, now: u64) {
    model.retain(|_, (_, end)| end.is_none_or(|end| end > now));
    let bytes = [b'k', name];
    let entry = shard.peek(0, &Key::new(&SECRET, &bytes), now);
    let found = entry.map(|entry| {
        (entry.string().map(|string| string.to_vec()).unwrap_or_default(), entry.deadline())
    });
    assert_eq!(found.as_ref(), model.get(&name));
}
