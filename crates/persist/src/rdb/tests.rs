//! Files in memory: round trips of random items, damage at every byte, old encodings by hand.

mod newer;

use super::{Body, Encoder, Event, Facts, Item, Others, Problem, Reader, Writer};
use crate::checksum;
use crate::extra::{Extra, tag};
use crate::faults::{Faults, FaultySink};
use engine::hash::{
    BigHash, Field, FieldDeadline, FieldEdit, HashView, PackedHash, SipKey, stays_packed,
    write_field,
};
use engine::{HashKey, Meta, OwnedItem, OwnedValue, Rng, Slide, State};
use std::collections::BTreeMap;

const SIP: SipKey = [1, 2];
const FACTS: Facts<'_> =
    Facts { version: "7.0.15", ctime: 1_800_000_000, used_memory: 7, aof_base: false, more: &[] };

/// A value as something to compare; a string has one nameless field.
pub(crate) type Shown = (bool, BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>);

/// An item with its database and key.
type Placed = (usize, Vec<u8>, OwnedItem, Extra);

pub(crate) fn fields(value: &OwnedValue) -> Shown {
    match Body::of(value) {
        Body::String(bytes) => (false, [(vec![], (bytes.to_vec(), None))].into()),
        Body::Hash(hash) => {
            if let HashView::Packed(packed) = hash {
                assert!(packed.is_whole() && stays_packed(packed.len(), packed.bytes().len()));
            }
            let fields = hash.iter(0).map(|f| (f.name.to_vec(), (f.value.to_vec(), f.deadline)));
            (true, fields.collect())
        }
    }
}

/// Text that is a number, repeats itself, or is random.
fn random_text(rng: &mut Rng) -> Vec<u8> {
    let scale = rng.below(12);
    let length = rng.below(1 << scale) as usize;
    match rng.below(5) {
        0 => (rng.next_u64() as i64 >> rng.below(64)).to_string().into_bytes(),
        1 => b"{\"cart\": [1, 2, 3], \"user\": ".iter().cycle().take(length).copied().collect(),
        _ => (0..length).map(|_| rng.next_u64() as u8).collect(),
    }
}

pub(crate) fn random_value(rng: &mut Rng, sip: SipKey) -> OwnedValue {
    if rng.below(3) == 0 {
        return OwnedValue::String(random_text(rng));
    }
    let dated = rng.below(4) == 0;
    let large = if rng.below(9) == 0 { 10 } else { 5 };
    let scale = 1 + rng.below(large);
    let count = rng.below(1 << scale);
    let mut all = BTreeMap::new();
    for _ in 0..=count {
        let deadline = (dated && rng.below(2) == 0).then(|| 1 + rng.below(1 << 40));
        let value = random_text(rng);
        let short = rng.below(2) == 0;
        let value = if short { value.into_iter().take(30).collect() } else { value };
        all.insert(random_text(rng), (value, deadline));
    }
    let mut run = Vec::new();
    for (name, (value, deadline)) in &all {
        write_field(&mut run, Field { name, value, deadline: *deadline });
    }
    if stays_packed(all.len(), run.len()) {
        return OwnedValue::Packed(run);
    }
    OwnedValue::Big(Box::new(BigHash::from_packed(sip, PackedHash::new(&run))))
}

fn random_item(rng: &mut Rng) -> OwnedItem {
    let meta = Meta {
        deadline: (rng.below(2) == 0).then(|| 1 + rng.below(1 << 42)),
        flags: if rng.below(3) == 0 { rng.next_u64() as u32 } else { 0 },
        state: if rng.below(5) == 0 { Meta::STALE } else { 0 },
        cas: (rng.below(4) == 0).then(|| rng.next_u64()),
        ..Meta::default()
    };
    let value = random_value(rng, SIP);
    let is_session =
        matches!(value, OwnedValue::Packed(_) | OwnedValue::Big(_)) && rng.below(2) == 0;
    if !is_session {
        return OwnedItem { value, meta, user: Vec::new() };
    }
    let slide = Slide::default()
        .with_state(State::Session)
        .with_idle_s(rng.below(1_000_000) as u32)
        .with_created(rng.below(1 << 40))
        .with_absolute((rng.below(2) == 0).then(|| 1 + rng.below(1 << 42)));
    let user = if rng.below(2) == 0 { b"bob".to_vec() } else { Vec::new() };
    OwnedItem { value, meta: Meta { slide, rotated: rng.below(2) * 77, ..meta }, user }
}

/// A file, and what stands in it.
fn random_file(seed: u64, items: usize) -> (Vec<u8>, Vec<Placed>) {
    let mut rng = Rng::new(seed);
    let mut writer = Writer::new(Vec::new(), &FACTS, rng.below(2) == 0).unwrap();
    let mut all = Vec::new();
    let mut encoder = Encoder::new(true);
    for db in [0, 3] {
        writer.select(db).unwrap();
        writer.resize(items as u64, 1).unwrap();
        for i in 0..items {
            let key = format!("key:{db}:{i}").into_bytes();
            let item = random_item(&mut rng);
            let mut extra = Extra::default();
            if rng.below(4) == 0 {
                extra.push(tag::VERSION, &rng.next_u64().to_le_bytes());
            }
            if rng.below(2) == 0 {
                let extra = extra.with_user(&item.user);
                writer.item(&key, Body::of(&item.value), &item.meta, &extra).unwrap();
            } else {
                let mut piece = Vec::new();
                encoder.owned(&key, &item, &extra, &mut piece);
                writer.append(&piece).unwrap();
            }
            all.push((db, key, item, extra));
        }
    }
    (writer.finish().unwrap(), all)
}

/// A file of some hundred bytes, with a hash and something beside an item in it.
fn small_file() -> Vec<u8> {
    let files = (0..).map(|seed| random_file(seed, 2));
    let right = |(bytes, all): &(Vec<u8>, Vec<Placed>)| {
        let hash = all.iter().any(|(_, _, item, _)| fields(&item.value).1.len() > 2);
        hash && bytes.len() < 1500 && all.iter().any(|(_, _, item, _)| item.meta.flags > 0)
    };
    files.into_iter().find(right).unwrap().0
}

/// All items of a file, in order; whether it had a checksum.
fn read_all(bytes: &[u8], others: Others) -> Result<(Vec<Item>, usize, bool), super::Error> {
    let mut reader = Reader::new(bytes, others, SIP)?;
    let (mut items, mut skipped, mut sum) = (Vec::new(), 0, false);
    while let Some(event) = reader.next()? {
        match event {
            Event::Item(item) => items.push(item),
            Event::Skipped(_) => skipped += 1,
            Event::End { checked } => sum = checked,
            Event::Aux { .. } | Event::Resize { .. } => {}
        }
    }
    Ok((items, skipped, sum))
}

#[test]
fn what_is_written_is_read() {
    for seed in 0..60 {
        let (bytes, all) = random_file(seed, 12);
        let (items, _, checked) = read_all(&bytes, Others::Refuse).unwrap();
        assert!(checked);
        assert_eq!(items.len(), all.len(), "seed {seed}");
        for (read, (db, key, item, extra)) in items.iter().zip(&all) {
            assert_eq!((read.db, &read.key), (*db, key), "seed {seed}");
            assert_eq!(read.item.meta, item.meta, "seed {seed}");
            assert_eq!(read.item.user, item.user, "seed {seed}");
            assert_eq!(fields(&read.item.value), fields(&item.value), "seed {seed}");
            for (tag, value) in extra.iter() {
                assert_eq!(read.extra.get(tag), Some(value), "seed {seed}");
            }
        }
    }
}

#[test]
fn no_flipped_byte_passes() {
    let mut bytes = small_file();
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            bytes[at] ^= 1 << bit;
            let read = read_all(&bytes, Others::Skip);
            assert!(read.is_err(), "byte {at}, bit {bit} of {}", bytes.len());
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(read_all(&bytes, Others::Refuse).is_ok());
}

#[test]
fn no_missing_byte_passes() {
    let bytes = small_file();
    for cut in 0..bytes.len() {
        let error = read_all(&bytes[..cut], Others::Skip).unwrap_err();
        assert!(matches!(error.problem, Problem::Truncated), "cut {cut}: {error}");
        assert!(error.offset <= cut as u64);
    }
}

#[test]
fn damage_under_a_right_checksum_never_panics() {
    let mut rng = Rng::new(31);
    for seed in 0..3_000 {
        let (mut bytes, _) = random_file(seed % 40, 2);
        for _ in 0..=rng.below(4) {
            let at = 9 + rng.below(bytes.len() as u64 - 17) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        resum(&mut bytes);
        _ = read_all(&bytes, Others::Skip);
    }
}

fn resum(bytes: &mut [u8]) {
    let at = bytes.len() - 8;
    let sum = checksum::of(&bytes[..at]);
    bytes[at..].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn a_full_disk_is_an_error_wherever_it_strikes() {
    let (whole, all) = random_file(8, 3);
    for full in (0..whole.len()).step_by(7) {
        let faults = Faults { full_after: Some(full), most_per_write: 11, ..Faults::default() };
        let write = || -> std::io::Result<FaultySink> {
            let mut writer = Writer::new(FaultySink::new(faults), &FACTS, true)?;
            for (_, key, item, extra) in &all {
                writer.item(key, Body::of(&item.value), &item.meta, extra)?;
            }
            // More than the file above, which fits nowhere here.
            writer.append(&whole)?;
            writer.finish()
        };
        assert_eq!(write().unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
}

/// A file of version `head` with these bytes after it, and the end.
fn by_hand(head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    bytes.extend_from_slice(body);
    bytes.push(0xff);
    let sum = checksum::of(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn only(bytes: &[u8]) -> (Vec<u8>, OwnedItem) {
    let (mut items, _, _) = read_all(bytes, Others::Refuse).unwrap();
    assert_eq!(items.len(), 1);
    let item = items.remove(0);
    (item.key, item.item)
}

fn hash_of(pairs: &[(&[u8], &[u8], Option<u64>)]) -> Shown {
    (true, pairs.iter().map(|(n, v, at)| (n.to_vec(), (v.to_vec(), *at))).collect())
}

#[test]
fn versions_without_checksum_are_read() {
    let bytes = b"REDIS0002\xfe\x00\xfd\x0a\x00\x00\x00\x00\x01k\x01v\xff";
    let (key, item) = only(bytes);
    assert_eq!((key.as_slice(), item.meta.deadline), (&b"k"[..], Some(10_000)));
    assert_eq!(fields(&item.value), fields(&OwnedValue::String(b"v".to_vec())));
    assert!(!read_all(bytes, Others::Refuse).unwrap().2);
}

#[test]
fn a_zipmap_is_read() {
    let map = b"\x02\x01a\x01\x001\x02bc\x02\x03xy...\xff";
    let mut body = vec![9, 1, b'k', map.len() as u8];
    body.extend_from_slice(map);
    let (_, item) = only(&by_hand(b"REDIS0003", &body)[..9 + body.len() + 1]);
    assert_eq!(fields(&item.value), hash_of(&[(b"a", b"1", None), (b"bc", b"xy", None)]));
}

#[test]
fn a_ziplist_with_every_integer_is_read() {
    let mut list = vec![0; 10];
    let mut before = 0_u8;
    let entries: [(&[u8], &[u8]); 8] = [
        (b"\x01a", b"a"),
        (b"\xf1", b"0"),
        (b"\x01b", b"b"),
        (b"\xfe\x80", b"-128"),
        (b"\xc0\xff\x7f", b"32767"),
        (b"\xf0\x00\x00\x80", b"-8388608"),
        (b"\xd0\x00\x00\x00\x80", b"-2147483648"),
        (b"\xe0\xff\xff\xff\xff\xff\xff\xff\x7f", b"9223372036854775807"),
    ];
    let mut tail = 0;
    for (entry, _) in entries {
        tail = list.len();
        list.push(before);
        list.extend_from_slice(entry);
        before = entry.len() as u8 + 1;
    }
    list.push(0xff);
    let total = list.len() as u32;
    list[..4].copy_from_slice(&total.to_le_bytes());
    list[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
    list[8..10].copy_from_slice(&8_u16.to_le_bytes());
    let mut body = vec![13, 1, b'k', list.len() as u8];
    body.extend_from_slice(&list);
    let (_, item) = only(&by_hand(b"REDIS0006", &body));
    let pairs: Vec<_> = entries.as_chunks::<2>().0.iter().map(|[a, b]| (a.1, b.1, None)).collect();
    assert_eq!(fields(&item.value), hash_of(&pairs));
}

#[test]
fn deadlines_of_fields_are_read_as_others_write_them() {
    let mut list = Vec::new();
    let at = b"2000000000000";
    super::packed::listpack([&b"a"[..], b"1", at, b"b", b"2", b"0"].into_iter(), &mut list);
    // The 48-bit number stands in an entry of 64 bits.
    let text = list.windows(at.len()).position(|w| w == at).unwrap() - 1;
    let mut number = vec![0xf4];
    number.extend_from_slice(&2_000_000_000_000_u64.to_le_bytes());
    number.push(9);
    list.splice(text..text + at.len() + 2, number);
    let total = list.len() as u32;
    list[..4].copy_from_slice(&total.to_le_bytes());
    let mut body = vec![25, 1, b'k'];
    body.extend_from_slice(&2_000_000_000_000_u64.to_le_bytes());
    body.push(list.len() as u8);
    body.extend_from_slice(&list);
    let (_, item) = only(&by_hand(b"REDIS0012", &body));
    let both = hash_of(&[(b"a", b"1", Some(2_000_000_000_000)), (b"b", b"2", None)]);
    assert_eq!(fields(&item.value), both);

    let mut body = b"\x16\x01k\x02\x01a\x011".to_vec();
    body.extend_from_slice(&2_000_000_000_000_u64.to_le_bytes());
    body.extend_from_slice(b"\x01b\x012\xff\xff\xff\xff\xff\xff\xff\xff");
    let (_, item) = only(&by_hand(b"VALKEY080", &body));
    assert_eq!(fields(&item.value), both);
}

#[test]
fn an_empty_hash_and_what_is_beside_it_are_read() {
    let mut writer = Writer::new(Vec::new(), &FACTS, true).unwrap();
    let slide = Slide::default().with_state(State::Session).with_idle_s(5);
    let empty = OwnedItem {
        value: OwnedValue::Packed(Vec::new()),
        meta: Meta { deadline: Some(77), flags: 3, slide, ..Meta::default() },
        user: Vec::new(),
    };
    let nothing = Extra::default();
    writer.item(b"empty", Body::of(&empty.value), &empty.meta, &nothing).unwrap();
    writer.item(b"none", Body::of(&empty.value), &Meta::default(), &nothing).unwrap();
    let string = OwnedValue::String(b"1".to_vec());
    writer.item(b"next", Body::of(&string), &Meta::default(), &Extra::default()).unwrap();
    let (items, _, _) = read_all(&writer.finish().unwrap(), Others::Refuse).unwrap();
    assert_eq!((items[0].key.as_slice(), items[0].item.meta), (&b"empty"[..], empty.meta));
    assert_eq!((items.len(), items[0].extra.number(tag::IDLE)), (2, Some(5_000)));
    assert_eq!(fields(&items[0].item.value), hash_of(&[]));
    assert!(items[1].extra.is_empty());
}

#[test]
fn much_beside_an_item_takes_several_fields() {
    let mut writer = Writer::new(Vec::new(), &FACTS, false).unwrap();
    let mut big = BigHash::new(SIP);
    for i in 0..60_000_u64 {
        let name = format!("field-{i}").into_bytes();
        big.insert(Field { name: &name, value: b"v", deadline: Some(1_000 + i) });
    }
    let (value, meta) = (OwnedValue::Big(Box::new(big)), Meta::default());
    let item = OwnedItem { value, meta, user: Vec::new() };
    writer.item(b"k", Body::of(&item.value), &item.meta, &Extra::default()).unwrap();
    let (items, _, _) = read_all(&writer.finish().unwrap(), Others::Refuse).unwrap();
    assert_eq!(fields(&items[0].item.value), fields(&item.value));
}

#[test]
fn a_tag_of_a_later_version_is_refused() {
    let mut writer = Writer::new(Vec::new(), &FACTS, true).unwrap();
    let mut extra = Extra::default();
    extra.push(90, b"?");
    let string = OwnedValue::String(b"1".to_vec());
    writer.item(b"k", Body::of(&string), &Meta::default(), &extra).unwrap();
    let error = read_all(&writer.finish().unwrap(), Others::Skip).unwrap_err();
    assert!(matches!(error.problem, Problem::ExtraTag(90)), "{error}");
}

#[test]
fn what_cannot_stand_beside_a_value_is_refused() {
    let string = OwnedValue::String(b"1".to_vec());
    for (tag, value) in [(tag::SESSION, &[1][..]), (tag::USER, b"ann")] {
        let mut writer = Writer::new(Vec::new(), &FACTS, true).unwrap();
        let mut extra = Extra::default();
        extra.push(tag, value);
        writer.item(b"k", Body::of(&string), &Meta::default(), &extra).unwrap();
        let error = read_all(&writer.finish().unwrap(), Others::Skip).unwrap_err();
        assert!(matches!(error.problem, Problem::Extra), "tag {tag}: {error}");
    }
}

#[test]
fn other_types_are_passed_over_or_refused() {
    let others =
        b"\x01\x01l\x02\x01a\xc0\x05\x03\x01z\x02\x01a\xff\x01b\x031.5\x05\x01y\x01\x01a12345678";
    let mut body = others.to_vec();
    body.extend_from_slice(b"\x00\x01k\x01v");
    let bytes = by_hand(b"REDIS0009", &body);
    let (items, skipped, _) = read_all(&bytes, Others::Skip).unwrap();
    assert_eq!((items.len(), skipped), (1, 3));
    let error = read_all(&bytes, Others::Refuse).unwrap_err();
    assert_eq!(error.to_string(), "key 'l' is a list, which isn't kept (at byte 9)");
}

#[test]
fn lengths_take_no_memory_before_their_bytes_come() {
    for body in [
        &b"\x00\x01k\x80\x1f\xff\xff\xff"[..],
        b"\x00\x81\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x04\x01k\x81\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x01k\xc3\x05\x80\x1f\xff\xff\xff\x00aaaa",
        b"\x01\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(read_all(&by_hand(b"REDIS0010", body), Others::Skip).is_err());
    }
}

#[test]
fn what_a_session_left_behind_comes_back() {
    let fields = [(&b"to"[..], &b"the new key"[..]), (b"\\!answer", b"")];
    let edits = fields.map(|(field, value)| FieldEdit::Set {
        field,
        value,
        deadline: FieldDeadline::Clear,
    });
    let mut writer = Writer::new(Vec::new(), &FACTS, true).unwrap();
    let mut all = Vec::new();
    for (n, state) in [State::Alias, State::Tombstone].into_iter().enumerate() {
        let slide = Slide::default().with_state(state);
        let meta = Meta { deadline: Some(77 + n as u64), slide, ..Meta::default() };
        let value = OwnedValue::Packed(Vec::new());
        let mut item = OwnedItem { value, meta, user: Vec::new() };
        item.edit(&HashKey(SIP), &edits[..2 - n]);
        let key = format!("old:{n}").into_bytes();
        writer.item(&key, Body::of(&item.value), &item.meta, &Extra::default()).unwrap();
        all.push((key, item));
    }
    let bytes = writer.finish().unwrap();
    let (found, skipped, _) = read_all(&bytes, Others::Refuse).unwrap();
    assert_eq!((found.len(), skipped), (2, 0));
    for (found, (key, item)) in found.iter().zip(&all) {
        assert_eq!((&found.key, found.item.meta), (key, item.meta));
        assert_eq!(self::fields(&found.item.value), self::fields(&item.value));
    }
}

#[test]
fn deadlines_of_fields_have_no_bound_but_the_memory() {
    let mut writer = Writer::new(Vec::new(), &FACTS, false).unwrap();
    let mut big = BigHash::new(SIP);
    let mut name = vec![b'n'; 1 << 20];
    // What stands beside the hash is more than 64 MiB.
    for i in 0..66_u64 {
        name[..8].copy_from_slice(&i.to_le_bytes());
        big.insert(Field { name: &name, value: b"v", deadline: Some(1_000 + i) });
    }
    let (value, meta) = (OwnedValue::Big(Box::new(big)), Meta::default());
    writer.item(b"k", Body::of(&value), &meta, &Extra::default()).unwrap();
    let (items, _, _) = read_all(&writer.finish().unwrap(), Others::Refuse).unwrap();
    assert!(fields(&items[0].item.value) == fields(&value));
}
