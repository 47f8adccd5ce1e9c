//! The rules against a model that is as plain as can be.

use super::{
    Count, Counted, DATABASE, Deleted, Mode, Place, SetAside, Store, Stored, count, delete, expiry,
    number, seconds_left, set_aside, store, touch,
};
use crate::testing;
use engine::{Key, Meta, Rng, Shard};
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

const NOW: u64 = testing::START;

#[test]
fn exptime_counts_from_now_up_to_thirty_days() {
    assert_eq!(expiry(0, NOW), None);
    assert_eq!(expiry(1, NOW), Some(NOW + 1000));
    assert_eq!(expiry(2_592_000, NOW), Some(NOW + 2_592_000_000));
    // More is Unix time, which may be over.
    assert_eq!(expiry(2_592_001, NOW), Some(NOW));
    let later = NOW / 1000 + 5;
    assert_eq!(expiry(later as i64, NOW), Some(later * 1000));
    for over in [-1, i64::MIN, 1 << 31, i64::MAX] {
        assert_eq!(expiry(over, NOW), Some(NOW));
    }
    assert_eq!((seconds_left(NOW + 1, NOW), seconds_left(NOW + 1000, NOW)), (1, 1));
    assert_eq!((seconds_left(NOW + 1001, NOW), seconds_left(NOW, NOW + 9)), (2, 0));
}

#[test]
fn numbers_are_read_as_memcached_reads_them() {
    for (text, value) in [("0", 0), ("12 ab", 12), ("  7", 7), ("+3", 3), ("9   ", 9)] {
        assert_eq!(number(text.as_bytes()), Some(value), "{text}");
    }
    assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
    for text in ["", " ", "-1", "a", "1a", "18446744073709551616", "+"] {
        assert_eq!(number(text.as_bytes()), None, "{text}");
    }
}

/// An item of the model.
#[derive(Clone, PartialEq, Debug)]
struct Item {
    value: Vec<u8>,
    flags: u32,
    deadline: Option<u64>,
    cas: u64,
    state: u8,
}

/// A plain map, and the store that should do the same.
struct Pair {
    store: testing::Store,
    model: HashMap<String, Item>,
    rng: Rng,
}

const LONGEST: usize = 64;

impl Pair {
    fn place<'p>(store: &'p mut testing::Store, name: &'p str) -> Place<'p> {
        let secret = store.shards.0[0].secret();
        let key = Key::new(&secret, name.as_bytes());
        let number = key.hash.shard(store.shards.0.len());
        let shard: &mut Shard = &mut store.shards.0[number];
        Place { shard, key, now: store.now }
    }

    fn found(&mut self, name: &str) -> Option<Item> {
        let place = Self::place(&mut self.store, name);
        let entry = place.shard.peek(DATABASE, &place.key, place.now)?;
        let meta = entry.meta();
        Some(Item {
            value: entry.string()?.to_vec(),
            flags: meta.flags,
            deadline: meta.deadline,
            cas: entry.cas(),
            state: meta.state,
        })
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.below(all.len() as u64) as usize]
    }

    /// A CAS value that is right, older, newer, or none.
    fn compare(&mut self, held: Option<&Item>) -> Option<u64> {
        let cas = held.map_or(5, |item| item.cas);
        self.one_of(&[None, None, Some(cas), Some(cas - 1), Some(cas + 1), Some(0)])
    }

    fn step(&mut self) {
        let name = self.one_of(&["a", "b", "cc"]).to_owned();
        let now = self.store.now;
        self.model.retain(|_, item| item.deadline.is_none_or(|deadline| deadline > now));
        let held = self.model.get(&name).cloned();
        let exptime = self.one_of(&[0, 0, 1, 3, -1]);
        let compare = self.compare(held.as_ref());
        match self.rng.below(8) {
            0..4 => self.store_step(&name, held, exptime, compare),
            4 => self.delete_step(&name, held, compare),
            5 => self.count_step(&name, held, compare),
            6 => {
                let touched =
                    touch(&mut Self::place(&mut self.store, &name), expiry(exptime, now)).unwrap();
                assert_eq!(touched, held.is_some());
                if let Some(item) = self.model.get_mut(&name) {
                    item.deadline = expiry(exptime, now);
                }
            }
            _ => self.store.now += self.rng.below(1500),
        }
        if self.rng.below(50) == 0 {
            self.store.maintain();
        }
        let now = self.store.now;
        for name in ["a", "b", "cc"] {
            let wanted = self.model.get(name).cloned();
            let wanted = wanted.filter(|item| item.deadline.is_none_or(|at| at > now));
            assert_eq!(self.found(name), wanted, "{name}");
        }
    }

    fn store_step(&mut self, name: &str, held: Option<Item>, exptime: i64, compare: Option<u64>) {
        let modes = [Mode::Set, Mode::Add, Mode::Replace, Mode::Append, Mode::Prepend];
        let mode = self.one_of(&modes);
        let value = self.one_of(&["", "1", "22", "x", "a longer one"]).as_bytes();
        let flags = self.one_of(&[0, 7]);
        let stale = self.rng.below(3) == 0;
        let deadline = expiry(exptime, self.store.now);
        let wanted = Store { mode, value, flags, deadline, compare, stale, cas: None };
        let mut place = Self::place(&mut self.store, name);
        let stored = store(&mut place, &wanted, |len| len <= LONGEST).unwrap();
        let grows = matches!(mode, Mode::Append | Mode::Prepend);
        let fresh = Item { value: value.to_vec(), flags, deadline, cas: 0, state: 0 };
        let verdict = match &held {
            None if grows => Err(Stored::NotStored),
            None if mode == Mode::Add => Ok(fresh),
            None if compare.is_some() => Err(Stored::NotFound),
            None if mode == Mode::Replace => Err(Stored::NotStored),
            None => Ok(fresh),
            Some(_) if mode == Mode::Add => Err(Stored::NotStored),
            Some(item) if grows && compare.is_some_and(|c| c != 0 && c != item.cas) => {
                Err(Stored::Exists)
            }
            Some(item) if grows && item.value.len() + value.len() > LONGEST => {
                Err(Stored::NotStored)
            }
            Some(item) if grows => {
                let parts = [item.value.as_slice(), value];
                let parts = if mode == Mode::Append { parts } else { [parts[1], parts[0]] };
                Ok(Item { value: parts.concat(), state: 0, ..item.clone() })
            }
            Some(item) if compare.is_none_or(|compare| compare == item.cas) => Ok(fresh),
            Some(item) if stale && compare.is_some_and(|c| c != 0 && c < item.cas) => {
                Ok(Item { deadline: item.deadline, state: item.state | Meta::STALE, ..fresh })
            }
            Some(_) => Err(Stored::Exists),
        };
        match verdict {
            Err(wanted) => assert_eq!(stored, wanted),
            Ok(item) => {
                let Stored::Done(cas) = stored else { panic!("{stored:?}") };
                assert!(held.is_none_or(|held| held.cas != cas));
                self.model.insert(name.to_owned(), Item { cas, ..item });
            }
        }
    }

    fn delete_step(&mut self, name: &str, held: Option<Item>, compare: Option<u64>) {
        let aside = self.rng.below(2) == 0;
        let how = SetAside { compare, stale: true, ..SetAside::default() };
        let mut place = Self::place(&mut self.store, name);
        let deleted = match aside {
            true => set_aside(&mut place, &how).unwrap(),
            false => delete(&mut place, compare).unwrap(),
        };
        let wanted = match &held {
            None => Deleted::NotFound,
            Some(item) if compare.is_none_or(|compare| compare == item.cas) => Deleted::Done,
            Some(_) => Deleted::Exists,
        };
        assert_eq!(deleted, wanted);
        if deleted == Deleted::Done {
            self.model.remove(name);
            if let (true, Some(item)) = (aside, held) {
                let cas = self.found(name).unwrap().cas;
                assert_ne!(cas, item.cas);
                self.model.insert(name.to_owned(), Item { cas, state: Meta::STALE, ..item });
            }
        }
    }

    fn count_step(&mut self, name: &str, held: Option<Item>, compare: Option<u64>) {
        let now = self.store.now;
        let how = Count {
            down: self.rng.below(2) == 0,
            delta: self.one_of(&[0, 1, 99, u64::MAX]),
            compare,
            vivify: self.one_of(&[None, Some((None, 100)), Some((Some(now + 2000), 7))]),
            deadline: self.one_of(&[None, Some(None), Some(Some(now + 5000))]),
            cas: None,
        };
        let counted = count(&mut Self::place(&mut self.store, name), &how).unwrap();
        let digits = |item: &Item| {
            let text = std::str::from_utf8(&item.value).unwrap();
            text.split(' ').next()?.parse::<u64>().ok()
        };
        let (item, value) = match (&held, how.vivify) {
            (None, None) => return assert_eq!(counted, Counted::NotFound),
            (None, Some((deadline, value))) => {
                let text = value.to_string().into_bytes();
                (Item { value: text, flags: 0, deadline, cas: 0, state: 0 }, value)
            }
            (Some(item), _) => {
                if compare.is_some_and(|c| c != 0 && c != item.cas) && !item.value.is_empty() {
                    return assert_eq!(counted, Counted::Exists);
                }
                let Some(before) = digits(item) else {
                    return assert_eq!(counted, Counted::NotANumber);
                };
                let value = match how.down {
                    true => before.saturating_sub(how.delta),
                    false => before.wrapping_add(how.delta),
                };
                let text = format!("{value:<width$}", width = item.value.len());
                (Item { value: text.into_bytes(), ..item.clone() }, value)
            }
        };
        let Counted::Done { value: got, cas, made, .. } = counted else { panic!("{counted:?}") };
        assert_eq!((got, made), (value, held.is_none()));
        let deadline = how.deadline.unwrap_or(item.deadline);
        self.model.insert(name.to_owned(), Item { cas, deadline, ..item });
    }
}

#[test]
fn random_requests_do_what_the_model_does() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut pair =
        Pair { store: testing::Store::new(), model: HashMap::new(), rng: Rng::new(seed) };
    for _ in 0..20_000 {
        pair.step();
    }
}
