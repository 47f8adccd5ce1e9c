//! Hashes with fields past their deadline: seen right by everybody, ended in slices.

use super::*;
use crate::effect::{Applied, Journal};
use crate::limits::FIELDS_PER_EXPIRY;
use std::sync::Mutex;

const KEYS: [&[u8]; 4] = [b"cart", b"draft", b"seen", b"flags"];
/// Fields that one write of the model names at most.
const NAMED_MAX: usize = 6;

/// A store that is told every effect while its time stands still, as a log that is replayed.
struct Mirror(Arc<Mutex<Shard>>);

impl Journal for Mirror {
    fn record(&mut self, effect: &Effect<'_>) {
        if let Effect::Key { change: Change::Fields(edits), .. } = effect {
            assert!(edits.len() <= 512, "{} fields at once", edits.len());
        }
        self.0.lock().unwrap().apply(effect, START).unwrap();
    }
}

type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// Hashes of one shard, of its mirror, and as maps that know no overdue field.
struct Hashes {
    shard: Shard,
    mirror: Arc<Mutex<Shard>>,
    model: BTreeMap<&'static [u8], Fields>,
    rng: Rng,
    now: u64,
}

impl Hashes {
    fn new(seed: u64) -> Self {
        let mut shard = shard(200, Policy::NoEviction);
        let mirror = Arc::new(Mutex::new(super::shard(200, Policy::NoEviction)));
        shard.set_journal(Some(Box::new(Mirror(Arc::clone(&mirror)))));
        Self { shard, mirror, model: BTreeMap::new(), rng: Rng::new(seed), now: START }
    }

    fn name(&mut self) -> Vec<u8> {
        format!("field:{}", self.rng.below(1_500)).into_bytes()
    }

    fn edit(&mut self, name: Vec<u8>, value: &'static [u8]) -> (Vec<u8>, FieldEdit<'static>) {
        let at = self.now + 1 + self.rng.below(4_000);
        let edit = match self.rng.below(12) {
            0..3 => FieldEdit::Delete { field: b"" },
            3 => FieldEdit::Deadline { field: b"", at: None },
            4 => FieldEdit::Deadline { field: b"", at: Some(at) },
            5 | 6 => FieldEdit::Set { field: b"", value, deadline: FieldDeadline::Clear },
            7..10 => FieldEdit::Set { field: b"", value, deadline: FieldDeadline::Keep },
            _ => FieldEdit::Set { field: b"", value, deadline: FieldDeadline::At(at) },
        };
        (name, edit)
    }

    /// A few edits by a command, whose counts must be those of the model.
    fn write(&mut self, key: &'static [u8]) {
        let several = 1 + self.rng.below(NAMED_MAX as u64);
        let edits: Vec<_> = (0..several)
            .map(|n| {
                let name = self.name();
                self.edit(name, if n % 2 == 0 { b"even" } else { b"odd, and longer" })
            })
            .collect();
        let named: Vec<FieldEdit<'_>> =
            edits.iter().map(|(name, edit)| named(name, edit)).collect();
        let (mut added, mut removed) = (0, 0);
        let fields = self.model.entry(key).or_default();
        for edit in &named {
            let before = fields.len();
            change(fields, edit);
            added += fields.len().saturating_sub(before);
            removed += before.saturating_sub(fields.len());
        }
        let existed = self.shard.peek(0, &Key::new(&SECRET, key), self.now).is_some();
        let applied = self.apply(key, &named);
        assert_eq!(
            (applied.existed, applied.added, applied.removed),
            (existed, added, removed),
            "{named:?}"
        );
        self.model.retain(|_, fields| !fields.is_empty());
    }

    /// Many fields that end soon, so that most of a hash is overdue at once.
    fn fill(&mut self, key: &'static [u8]) {
        let (from, until) = (self.rng.below(600), self.now + 1 + self.rng.below(3_000));
        let names: Vec<Vec<u8>> =
            (from..from + 400).map(|n| format!("field:{n}").into_bytes()).collect();
        let deadline = FieldDeadline::At(until);
        let set = |field| FieldEdit::Set { field, value: b"fleeting", deadline };
        let edits: Vec<FieldEdit<'_>> = names.iter().map(|name| set(name)).collect();
        let fields = self.model.entry(key).or_default();
        edits.iter().for_each(|edit| change(fields, edit));
        self.apply(key, &edits);
    }

    /// Applies edits and looks at how much was ended on the way.
    fn apply(&mut self, key: &[u8], edits: &[FieldEdit<'_>]) -> Applied {
        let at = Key::new(&SECRET, key);
        let found = self.shard.locate(0, &at);
        let over = found.is_some_and(|spot| self.shard.is_over(spot.at, spot.header, self.now));
        let before = self.shard.stats().expired_fields;
        let effect = Effect::Key { db: 0, key: at, change: Change::Fields(edits) };
        let applied = self.shard.apply(&effect, self.now).unwrap();
        let ended = (self.shard.stats().expired_fields - before) as usize;
        assert!(over || ended <= 512 + edits.len(), "{ended} fields ended by one write");
        applied
    }

    fn compare(&self) {
        let mirror = self.mirror.lock().unwrap();
        for key in KEYS {
            let expected = self.model.get(key);
            for shard in [&self.shard, &*mirror] {
                let entry = shard.peek(0, &Key::new(&SECRET, key), self.now);
                assert_eq!(entry.is_some(), expected.is_some(), "{key:?}");
                let (Some(entry), Some(expected)) = (entry, expected) else { continue };
                let hash = entry.hash().unwrap();
                let owned = hash
                    .iter(self.now)
                    .map(|field| (field.name.to_vec(), (field.value.to_vec(), field.deadline)));
                assert_eq!(&owned.collect::<Fields>(), expected);
                assert_eq!(hash.live_len(self.now), expected.len());
            }
        }
    }

    fn step(&mut self) {
        let key = KEYS[self.rng.below(4) as usize];
        match self.rng.below(40) {
            0 | 1 => self.fill(key),
            2 => {
                self.shard.maintain(self.now, 128);
            }
            3 => {
                self.now += self.rng.below(1_500);
                for fields in self.model.values_mut() {
                    fields.retain(|_, (_, due)| due.is_none_or(|due| due > self.now));
                }
                self.model.retain(|_, fields| !fields.is_empty());
            }
            4 => {
                let was = self.model.remove(key).is_some();
                let effect = Change::Remove(Cause::Deleted);
                let effect = Effect::Key { db: 0, key: Key::new(&SECRET, key), change: effect };
                assert_eq!(self.shard.apply(&effect, self.now).unwrap().existed, was);
            }
            _ => self.write(key),
        }
    }
}

/// The edit, of this field.
fn named<'a>(field: &'a [u8], edit: &FieldEdit<'a>) -> FieldEdit<'a> {
    match *edit {
        FieldEdit::Set { value, deadline, .. } => FieldEdit::Set { field, value, deadline },
        FieldEdit::Delete { .. } => FieldEdit::Delete { field },
        FieldEdit::Deadline { at, .. } => FieldEdit::Deadline { field, at },
    }
}

fn change(fields: &mut Fields, edit: &FieldEdit<'_>) {
    let old = fields.get(edit.field()).map(|(_, deadline)| *deadline);
    match *edit {
        FieldEdit::Set { field, value, deadline } => {
            let deadline = match deadline {
                FieldDeadline::Clear => None,
                FieldDeadline::Keep => old.flatten(),
                FieldDeadline::At(at) => Some(at),
            };
            fields.insert(field.to_vec(), (value.to_vec(), deadline));
        }
        FieldEdit::Delete { field } => {
            fields.remove(field);
        }
        FieldEdit::Deadline { field, at } => {
            if let Some((_, deadline)) = fields.get_mut(field) {
                *deadline = at;
            }
        }
    }
}

#[test]
fn writes_to_hashes_with_overdue_fields_agree_with_a_map_and_a_replayed_log() {
    let seed = seed();
    println!("SEED={seed}");
    let mut hashes = Hashes::new(seed);
    for step in 0..6_000 {
        hashes.step();
        if step % 20 == 0 {
            hashes.compare();
        }
        if step % 500 == 0 {
            hashes.shard.check().unwrap();
        }
    }
    while hashes.shard.maintain(hashes.now + 64, 128) {}
    hashes.shard.check().unwrap();
}

/// A hash of 10,000 fields due at START + 10,000 and one that stays.
fn large(shard: &mut Shard, lasting: bool) -> u64 {
    let due = START + 10_000;
    let names: Vec<String> = (0..10_000).map(|n| format!("field:{n}")).collect();
    let set = |field, deadline| FieldEdit::Set { field, value: b"v", deadline };
    for names in names.chunks(100) {
        let fields = names.iter().map(String::as_bytes);
        let edits: Vec<_> = fields.map(|field| set(field, FieldDeadline::At(due))).collect();
        apply(shard, 0, b"hash", Change::Fields(&edits), START).unwrap();
    }
    if lasting {
        let edits = [set(b"lasting", FieldDeadline::Clear)];
        apply(shard, 0, b"hash", Change::Fields(&edits), START).unwrap();
    }
    due
}

#[test]
fn a_write_ends_one_slice_of_a_large_hash_and_those_that_it_names() {
    let mut shard = shard(200, Policy::NoEviction);
    let due = large(&mut shard, true);
    let hash = Key::new(&SECRET, b"hash");
    let deadline = FieldDeadline::Keep;
    for n in (0..10_000).rev().step_by(1_000) {
        let name = format!("field:{n}");
        let edits = [FieldEdit::Set { field: name.as_bytes(), value: b"new", deadline }];
        let effect = Effect::Key { db: 0, key: hash, change: Change::Fields(&edits) };
        let before = shard.stats().expired_fields;
        let applied = shard.apply(&effect, due).unwrap();
        assert_eq!((applied.added, applied.existed), (1, true), "an overdue field isn't there");
        let ended = shard.stats().expired_fields - before;
        assert!((1..=FIELDS_PER_EXPIRY as u64 + 1).contains(&ended), "{ended} fields");
        let view = shard.peek(0, &hash, due).unwrap().hash().unwrap();
        let field = view.get(name.as_bytes(), due).unwrap();
        assert_eq!((field.value, field.deadline), (&b"new"[..], None));
        shard.check().unwrap();
    }
    let view = shard.peek(0, &hash, due).unwrap().hash().unwrap();
    assert_eq!(view.live_len(due), 11);
    assert!(view.len() > 5_000, "most of it is left to maintenance");
    let mut before = shard.stats().expired_fields;
    while shard.stats().expired_fields < 10_000 {
        shard.maintain(due + 200, 128);
        let ended = shard.stats().expired_fields - before;
        assert!(ended <= 2 * FIELDS_PER_EXPIRY as u64, "{ended} fields in one slice");
        before += ended;
        assert!(before == 10_000 || shard.next_look() <= due + 200, "it goes on at once");
    }
    assert_eq!(shard.peek(0, &hash, due).unwrap().hash().unwrap().len(), 11);
    shard.check().unwrap();
}

#[test]
fn a_hash_whose_fields_are_all_overdue_ends_as_a_whole_and_is_freed_in_slices() {
    let mut shard = shard(200, Policy::NoEviction);
    let due = large(&mut shard, false);
    let hash = Key::new(&SECRET, b"hash");
    assert!(shard.peek(0, &hash, due).is_none());
    let fresh = [FieldEdit::Set { field: b"a", value: b"b", deadline: FieldDeadline::Clear }];
    let effect = Effect::Key { db: 0, key: hash, change: Change::Fields(&fresh) };
    let applied = shard.apply(&effect, due).unwrap();
    assert_eq!((applied.existed, applied.added, applied.len), (false, 1, 1));
    assert_eq!((shard.stats().expired_fields, shard.stats().expired), (10_000, 0));
    assert_eq!(shard.big_detached.len(), 1, "its nodes are still there");
    let mut slices = 0;
    while shard.maintain(due, 16) {
        slices += 1;
    }
    assert!(slices > 3 && shard.big_detached.is_empty());
    shard.check().unwrap();
}

#[test]
fn what_is_left_of_a_hash_without_its_last_lasting_field_is_gone() {
    let mut shard = shard(200, Policy::NoEviction);
    let due = large(&mut shard, true);
    let hash = Key::new(&SECRET, b"hash");
    let edits = [FieldEdit::Delete { field: b"lasting" }];
    apply(&mut shard, 0, b"hash", Change::Fields(&edits), due).unwrap();
    assert!(shard.peek(0, &hash, due).is_none());
    assert!(shard.next_look() <= due + 64);
    let remove = Effect::Key { db: 0, key: hash, change: Change::Remove(Cause::Deleted) };
    assert!(!shard.apply(&remove, due).unwrap().existed);
    assert!(shard.is_empty(0));
    shard.check().unwrap();
}
