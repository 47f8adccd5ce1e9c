//! Both forms against a plain map, with random edits; every failure names its seed.

use std::collections::BTreeMap;

use super::packed::{apply, apply_or_grow};
use super::{
    BigHash, Field, FieldDeadline, FieldEdit, HashView, PackedHash, Summary, earlier, stays_packed,
    write_field,
};

const KEY: [u64; 2] = [7, 11];

/// A small generator (SplitMix64), so that a seed says all.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The seeds of a test: SEED alone if it is set, or else some fixed ones and a fresh one.
fn seeds() -> impl Iterator<Item = u64> {
    let given = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let fresh = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    let seeds = given.map_or_else(|| vec![1, 2, 3, fresh], |seed| vec![seed]);
    seeds.into_iter().inspect(|seed| println!("SEED={seed}"))
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Clone, Debug)]
enum Edit {
    Set(Vec<u8>, Vec<u8>, FieldDeadline),
    Delete(Vec<u8>),
    Deadline(Vec<u8>, Option<u64>),
}

impl Edit {
    fn random(random: &mut Random, names: u64, deleting: u64) -> Self {
        let number = random.below(names);
        let mut name = format!("{}{number}", "field:".repeat((number % 4) as usize)).into_bytes();
        if number.is_multiple_of(97) {
            name.resize(1_100, b'x');
        }
        let at = 1_000 + random.below(1_000);
        let kind = random.below(100);
        if kind < deleting {
            return Self::Delete(name);
        }
        if kind < deleting + 15 {
            return Self::Deadline(name, Some(at).filter(|at| at % 3 > 0));
        }
        let length = match random.below(50) {
            0 => 1_000 + random.below(600),
            1 => 0,
            2 => random.below(5_000),
            _ => random.below(60),
        };
        let value = (0..length).map(|i| (i ^ kind) as u8).collect();
        let deadline = match random.below(6) {
            0 => FieldDeadline::At(at),
            1 => FieldDeadline::Keep,
            _ => FieldDeadline::Clear,
        };
        Self::Set(name, value, deadline)
    }

    fn borrow(&self) -> FieldEdit<'_> {
        match self {
            Self::Set(field, value, deadline) => {
                FieldEdit::Set { field, value, deadline: *deadline }
            }
            Self::Delete(field) => FieldEdit::Delete { field },
            Self::Deadline(field, at) => FieldEdit::Deadline { field, at: *at },
        }
    }

    fn apply(&self, model: &mut Model, summary: &mut Summary) {
        match self.clone() {
            Self::Set(name, value, deadline) => {
                let old = model.remove(&name);
                let at = match deadline {
                    FieldDeadline::Clear => None,
                    FieldDeadline::Keep => old.as_ref().and_then(|old| old.1),
                    FieldDeadline::At(at) => Some(at),
                };
                summary.added += usize::from(old.is_none());
                summary.changed += usize::from(old.is_some());
                model.insert(name, (value, at));
            }
            Self::Delete(name) => summary.removed += usize::from(model.remove(&name).is_some()),
            Self::Deadline(name, at) => {
                if let Some(field) = model.get_mut(&name) {
                    summary.changed += usize::from(field.1 != at);
                    field.1 = at;
                }
            }
        }
    }
}

fn apply_to_model(model: &mut Model, edits: &[Edit]) -> Summary {
    let mut summary = Summary::default();
    for edit in edits {
        edit.apply(model, &mut summary);
    }
    summary.len = model.len();
    summary.first_deadline = model.values().fold(None, |first, field| earlier(first, field.1));
    summary
}

fn owned(field: Field<'_>) -> (Vec<u8>, (Vec<u8>, Option<u64>)) {
    (field.name.to_vec(), (field.value.to_vec(), field.deadline))
}

/// Compares everything that a view can say with the model.
fn check(view: HashView<'_>, model: &Model, random: &mut Random) {
    for now in [0, 1_000 + random.below(1_000), 5_000] {
        let live: Model = model
            .iter()
            .filter(|(_, (_, at))| at.is_none_or(|at| at > now))
            .map(|(name, field)| (name.clone(), field.clone()))
            .collect();
        assert_eq!(view.iter(now).map(owned).collect::<Model>(), live);
        assert_eq!(view.iter(now).count(), live.len());
        assert_eq!(view.live_len(now), live.len());
        assert_eq!(view.is_over(now), live.is_empty());
        assert_eq!(view.due(now, usize::MAX).len(), model.len() - live.len());
        assert_eq!(view.due(now, 3).len(), (model.len() - live.len()).min(3));
        assert!(view.due(now, 9).iter().all(|field| !field.is_live(now)));
        for (name, field) in model.iter().take(50) {
            let got = view.get(name, now).map(owned);
            assert_eq!(got, live.contains_key(name).then(|| (name.clone(), field.clone())));
        }
        assert_eq!(view.get(b"no such field", now), None);
        check_picks(view, &live, now, random);
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            let (next, fields) = view.scan(cursor, 1 + random.below(20) as usize, now);
            seen.extend(fields.into_iter().map(owned));
            assert!(next == 0 || next > cursor);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), live.len());
        assert_eq!(seen.into_iter().collect::<Model>(), live);
    }
    assert_eq!(view.len(), model.len());
    assert_eq!(view.is_empty(), model.is_empty());
    let ranks: Model = (0..model.len()).filter_map(|rank| view.nth(rank)).map(owned).collect();
    assert_eq!(&ranks, model);
    assert_eq!(view.nth(model.len()), None);
    let first = model.values().fold(None, |first, field| earlier(first, field.1));
    assert_eq!(view.first_deadline(), first);
}

fn check_picks(view: HashView<'_>, live: &Model, now: u64, random: &mut Random) {
    let is_live = |field: Field<'_>| live.get(field.name).is_some_and(|f| f.0 == field.value);
    let one = view.random_one(now, &mut |n| random.below(n));
    assert_eq!(one.is_some(), !live.is_empty());
    assert!(one.is_none_or(is_live));
    for count in [0, 1, 3, live.len() / 5, live.len() / 2, live.len(), usize::MAX] {
        let fields = view.random_distinct(count, now, &mut |n| random.below(n));
        assert_eq!(fields.len(), count.min(live.len()));
        assert!(fields.iter().all(|field| is_live(*field)));
        assert_eq!(fields.into_iter().map(owned).collect::<Model>().len(), count.min(live.len()));
        // The worst of sources still gets the right number of fields.
        assert_eq!(view.random_distinct(count, now, &mut |_| 0).len(), count.min(live.len()));
    }
    let mut picks = 0;
    view.random_repeated(40, now, &mut |n| random.below(n), &mut |field| {
        picks += 1;
        assert!(is_live(field));
        picks < 30
    });
    assert_eq!(picks, if live.is_empty() { 0 } else { 30 });
}

/// Runs random edits over all three; `mask` is what the tree keeps of the hash.
fn compare(seed: u64, rounds: usize, names: u64, mask: u64) {
    let mut random = Random(seed);
    let (mut model, mut run, mut big) = (Model::new(), Vec::new(), BigHash::new(KEY));
    big.mask = mask;
    for round in 0..rounds {
        let many = if random.below(4) == 0 { 60 } else { 12 };
        let deleting = [20, 20, 20, 70][random.below(4) as usize];
        let edits: Vec<Edit> =
            (0..random.below(many)).map(|_| Edit::random(&mut random, names, deleting)).collect();
        let borrowed: Vec<_> = edits.iter().map(Edit::borrow).collect();
        let expected = apply_to_model(&mut model, &edits);
        let mut new = Vec::new();
        assert_eq!(apply(PackedHash::new(&run), &borrowed, &mut new), expected, "packed");
        run = new;
        assert_eq!(big.apply(&borrowed), expected, "big");
        assert!(PackedHash::new(&run).is_whole());
        assert!(big.is_sound(), "seed {seed} round {round}");
        if round % 10 == 0 {
            check(HashView::Packed(PackedHash::new(&run)), &model, &mut random);
            check(HashView::Big(&big), &model, &mut random);
        }
        if round % 37 == 0 {
            let now = 1_000 + random.below(1_000);
            let names = big.expire(now, 20);
            let edits: Vec<_> = names.iter().map(|name| Edit::Delete(name.to_vec())).collect();
            let borrowed: Vec<_> = edits.iter().map(Edit::borrow).collect();
            assert_eq!(apply_to_model(&mut model, &edits).removed, names.len());
            let mut new = Vec::new();
            apply(PackedHash::new(&run), &borrowed, &mut new);
            run = new;
            let mut packed = Vec::new();
            big.to_packed(&mut packed);
            let mut copy = BigHash::from_packed(KEY, PackedHash::new(&packed));
            assert_eq!(copy.iter().map(owned).collect::<Model>(), model);
            copy.mask = mask;
            assert!(big.clone().is_sound());
        }
    }
}

#[test]
fn both_forms_and_a_map_agree() {
    for seed in seeds() {
        compare(seed, 300, 30, u64::MAX);
        compare(seed, 200, 3_000, u64::MAX);
    }
}

#[test]
fn fields_whose_hashes_are_equal_are_kept_apart() {
    for seed in seeds() {
        compare(seed, 60, 200, 0);
        compare(seed, 150, 3_000, 0x7000_0000_0000_0001);
    }
}

fn number(i: u64) -> [u8; 12] {
    let mut name = *b"member:\0\0\0\0\0";
    name[7..].copy_from_slice(&i.to_be_bytes()[3..]);
    name
}

#[test]
fn a_tree_grows_deep_and_goes_away() {
    let mut big = BigHash::new(KEY);
    let count = 60_000;
    for i in 0..count {
        let deadline = (i % 1_000 == 7).then_some(500 + i);
        assert!(big.insert(Field { name: &number(i), value: b"0123456789abcdef", deadline }));
    }
    assert!(big.is_sound());
    assert_eq!((big.len() as u64, big.first_deadline()), (count, Some(507)));
    let per_field = big.heap_bytes() as f64 / count as f64;
    println!("{per_field:.1} heap bytes per field of 28 bytes");
    assert!(per_field < 80.0);
    assert_eq!(big.expire(600, 9), [Box::from(number(7))]);
    let mut names = big.expire(2_600, 9);
    names.sort();
    assert_eq!(names, [Box::from(number(1_007)), Box::from(number(2_007))]);
    let mut whole = big.clone();
    assert!(whole.drop_slice(&mut 1) && whole.is_empty(), "what is shared goes at once");
    let mut sliced = big.clone();
    assert!(sliced.insert(Field { name: b"its own", value: b"", deadline: None }));
    let (mut slices, mut last) = (0, sliced.len());
    while !sliced.drop_slice(&mut 50) {
        assert!(sliced.len() < last);
        last = sliced.len();
        slices += 1;
        assert!(slices % 7 > 0 || sliced.is_sound());
    }
    assert!(slices > 10 && sliced.is_empty() && sliced.is_sound());
    assert!(sliced.insert(Field { name: b"a", value: b"b", deadline: None }));
    // From the front, where the first child of every level empties, and back again.
    let mut taken = Vec::new();
    for i in 0..8_000 {
        let name = big.nth(0).map(|field| field.name.to_vec()).unwrap_or_default();
        assert!(big.remove(&name));
        taken.push(name);
        assert!(i % 500 > 0 || big.is_sound());
    }
    for name in taken.iter().rev() {
        assert!(big.insert(Field { name, value: b"again", deadline: None }));
    }
    assert!(big.is_sound() && taken.iter().all(|name| big.get(name).is_some()));
    for i in 0..count {
        big.remove(&number(i * 7_919 % count));
        assert!(i % 5_000 > 0 || big.is_sound());
    }
    assert!(big.is_empty() && big.is_sound());
    assert!(big.heap_bytes() <= 4_096, "{}", big.heap_bytes());
}

#[test]
fn a_scan_reports_what_is_there_all_the_time_whatever_else_comes_and_goes() {
    for seed in seeds() {
        let mut random = Random(seed);
        let mut run = Vec::new();
        for i in 0..300 {
            write_field(&mut run, Field { name: &number(i), value: b"stays", deadline: None });
        }
        let mut big = BigHash::from_packed(KEY, PackedHash::new(&run));
        let (mut seen, mut cursor) = (BTreeMap::new(), 0);
        loop {
            let (next, fields) = HashView::Big(&big).scan(cursor, 10, 0);
            for field in fields.into_iter().filter(|field| field.value == b"stays") {
                *seen.entry(field.name.to_vec()).or_insert(0) += 1;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
            for _ in 0..100 {
                let name = number(300 + random.below(20_000));
                if random.below(3) == 0 {
                    big.remove(&name);
                } else {
                    big.insert(Field { name: &name, value: b"comes", deadline: None });
                }
            }
        }
        assert_eq!(seen.len(), 300, "seed {seed}");
        assert!(seen.values().all(|times| *times == 1), "seed {seed}");
    }
}

#[test]
fn any_bytes_read_as_some_hash() {
    for seed in seeds() {
        let mut random = Random(seed);
        for _ in 0..3_000 {
            let mut run = Vec::new();
            for i in 0..random.below(6) {
                let deadline = (i % 2 == 0).then_some(i);
                write_field(&mut run, Field { name: &number(i), value: &number(i), deadline });
            }
            for _ in 0..1 + random.below(4) {
                let at = random.below(run.len() as u64 + 1) as usize;
                if random.below(2) == 0 {
                    run.truncate(at);
                } else if let Some(byte) = run.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            let packed = PackedHash::new(&run);
            let count = packed.iter().inspect(|field| assert!(field.name.len() < 99)).count();
            assert_eq!((packed.len(), packed.is_empty()), (count, count == 0));
            let mut out = Vec::new();
            let edit = FieldEdit::Set { field: b"f", value: b"v", deadline: FieldDeadline::Keep };
            let summary = apply(packed, &[edit], &mut out);
            assert!(PackedHash::new(&out).is_whole());
            assert_eq!(summary.len, PackedHash::new(&out).len());
            assert!(PackedHash::new(&out).get(b"f").is_some());
        }
    }
}

#[test]
fn picks_are_fair() {
    let mut random = Random(5);
    let mut big = BigHash::new(KEY);
    for i in 0..100 {
        let deadline = (i % 4 == 0).then_some(10);
        big.insert(Field { name: &number(i), value: b"", deadline });
    }
    let mut times = BTreeMap::new();
    let view = HashView::Big(&big);
    for _ in 0..10_000 {
        let fields = view.random_distinct(15, 10, &mut |n| random.below(n));
        for name in fields.iter().map(|field| field.name) {
            *times.entry(name.to_vec()).or_insert(0) += 1;
        }
    }
    // 2,000 are expected each, with a standard deviation of 40.
    assert_eq!(times.len(), 75);
    assert!(times.values().all(|n| (1_750..2_250).contains(n)), "{times:?}");
}

#[test]
fn a_hash_stays_packed_up_to_its_limits_and_then_grows() {
    assert!(stays_packed(512, 4_096));
    assert!(!stays_packed(513, 4_000));
    assert!(!stays_packed(1, 4_097));
    let (mut run, mut fields) = (Vec::new(), 0);
    let grown = loop {
        let name = number(fields);
        let edit = FieldEdit::Set { field: &name, value: b"", deadline: FieldDeadline::Clear };
        let mut out = b"before".to_vec();
        let (summary, big) = apply_or_grow(KEY, PackedHash::new(&run), &[edit], &mut out);
        fields += 1;
        assert_eq!(summary.len as u64, fields);
        if let Some(big) = big {
            assert_eq!(out, b"before");
            break big;
        }
        run = out.split_off(6);
        assert!(stays_packed(summary.len, run.len()));
    };
    assert_eq!((grown.len(), run.len() / 14), (293, 292));
    assert!(grown.is_sound());
}

#[test]
fn what_a_large_change_leaves_decides_the_form() {
    let value = vec![b'v'; 3_000_000];
    let set = FieldEdit::Set { field: b"large", value: &value, deadline: FieldDeadline::At(9) };
    let small = FieldEdit::Set { field: b"small", value: b"1", deadline: FieldDeadline::Keep };
    let delete = FieldEdit::Delete { field: b"large" };
    let mut out = Vec::new();
    let old = PackedHash::new(&[]);
    let (summary, big) = apply_or_grow(KEY, old, &[set, small], &mut out);
    let big = big.expect("three megabytes are large");
    assert_eq!((summary.added, big.len(), big.first_deadline()), (2, 2, Some(9)));
    assert!(out.is_empty() && big.is_sound() && big.heap_bytes() > 3_000_000);
    let (summary, big) = apply_or_grow(KEY, old, &[set, small, delete], &mut out);
    assert!(big.is_none());
    assert_eq!((summary.added, summary.removed, summary.len), (2, 1, 1));
    assert_eq!(
        PackedHash::new(&out).iter().map(|field| field.name).collect::<Vec<_>>(),
        [b"small"]
    );
}
