//! What Redis 7.4 and later write, by hand: as other readers of such files take it.

use super::{SIP, by_hand, fields, hash_of, only, read_all};
use crate::checksum;
use crate::dump;
use crate::rdb::packed::listpack;
use crate::rdb::{Others, Problem, length};

const AT: u64 = 2_000_000_000_000;
/// A string under `k`, which must still be met behind what was passed over.
const STRING: &[u8] = b"\x00\x01k\x01v";

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A listpack of these, as a string; of numbers with the first byte given if they are long.
fn packed(strings: &[&[u8]], out: &mut Vec<u8>) {
    let mut list = Vec::new();
    listpack(strings.iter().copied(), &mut list);
    string(&list, out);
}

/// The fields of a large hash: how each one's deadline is coded, its name, its value.
fn dated(entries: &[(u64, &[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    length(entries.len() as u64, &mut out);
    for (deadline, name, value) in entries {
        length(*deadline, &mut out);
        string(name, &mut out);
        string(value, &mut out);
    }
    out
}

/// A payload of a value with its type before it.
fn payload(body: &[u8], version: u16) -> Vec<u8> {
    let mut out = body.to_vec();
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&checksum::of(&out).to_le_bytes());
    out
}

/// The value of this type, out of a file and out of a payload.
fn both(kind: u8, value: &[u8]) -> Result<super::Shown, String> {
    let file = by_hand(b"REDIS0015", &[&[kind, 1, b'k'], value].concat());
    let read = read_all(&file, Others::Refuse);
    let restored = dump::read(&payload(&[&[kind], value].concat(), 15), SIP);
    match (read, restored) {
        (Ok((items, _, _)), Ok(restored)) => {
            assert_eq!((items.len(), items[0].key.as_slice()), (1, &b"k"[..]));
            assert_eq!(fields(&items[0].item.value), fields(&restored));
            Ok(fields(&restored))
        }
        (Err(error), Err(_)) => Err(error.to_string()),
        (read, restored) => panic!("{read:?}, but {restored:?}"),
    }
}

#[test]
fn a_large_hash_with_deadlines_of_fields_is_read() {
    let mut value = AT.to_le_bytes().to_vec();
    value.extend(dated(&[(0, b"keep", b"1"), (1, b"first", b"2"), (101, b"later", b"3")]));
    let wanted = hash_of(&[
        (b"keep", b"1", None),
        (b"first", b"2", Some(AT)),
        (b"later", b"3", Some(AT + 100)),
    ]);
    assert_eq!(both(24, &value), Ok(wanted.clone()));
    // Before the release there was no first deadline: each one stands as it is.
    let entries: [(u64, &[u8], &[u8]); 3] =
        [(0, b"keep", b"1"), (AT, b"first", b"2"), (AT + 100, b"later", b"3")];
    assert_eq!(both(22, &dated(&entries)), Ok(wanted));
}

#[test]
fn a_small_hash_with_deadlines_of_fields_is_read_with_and_without_the_first() {
    let mut value = Vec::new();
    packed(&[b"a", b"1", b"77", b"b", b"2", b"0"], &mut value);
    let wanted = hash_of(&[(b"a", b"1", Some(77)), (b"b", b"2", None)]);
    assert_eq!(both(23, &value), Ok(wanted.clone()));
    let mut first = 77_u64.to_le_bytes().to_vec();
    first.extend_from_slice(&value);
    assert_eq!(both(25, &first), Ok(wanted));
}

#[test]
fn deadlines_of_fields_that_cannot_be_are_refused() {
    for (first, count) in [(u64::MAX, 2), (i64::MAX as u64, 2), (AT, u64::MAX), (0, 1)] {
        let mut value = first.to_le_bytes().to_vec();
        value.extend(dated(&[(count, b"f", b"v")]));
        assert!(both(24, &value).is_err(), "{first}, {count}");
    }
    let twice = [&AT.to_le_bytes()[..], &dated(&[(1, b"f", b"v"), (0, b"f", b"v")])].concat();
    assert!(both(24, &twice).is_err());
    assert!(both(24, &[&AT.to_le_bytes()[..], &[0]].concat()).is_err());
}

#[test]
fn every_version_up_to_15_is_read_and_no_later_one() {
    for version in 1..=15 {
        let head = format!("REDIS{version:04}");
        let file = by_hand(head.as_bytes(), STRING);
        let file = if version < 5 { &file[..file.len() - 8] } else { &file };
        assert_eq!(only(file).0, b"k", "{version}");
        assert!(dump::read(&payload(b"\x00\x01v", version), SIP).is_ok());
    }
    let error = read_all(&by_hand(b"REDIS0016", STRING), Others::Skip).unwrap_err();
    assert!(matches!(error.problem, Problem::Version(_)), "{error}");
    assert!(matches!(dump::read(&payload(b"\x00\x01v", 16), SIP), Err(dump::Error::Footer)));
}

#[test]
fn what_modules_keep_beside_a_key_is_passed_over_and_named() {
    // Two modules: one wrote a number and a string, the other nothing.
    let metadata = b"\xf3\x02FLX1\x02\x07\x05\x03abc\x00SRC3\x00";
    let file = by_hand(b"REDIS0013", &[metadata, STRING].concat());
    let (items, skipped, _) = read_all(&file, Others::Skip).unwrap();
    assert_eq!((items.len(), items[0].key.as_slice(), skipped), (1, &b"k"[..], 1));
    let error = read_all(&file, Others::Refuse).unwrap_err().to_string();
    assert!(error.contains("module metadata"), "{error}");
    let restored = dump::read(&payload(&[&metadata[..], b"\x00\x01v"].concat(), 13), SIP);
    assert!(matches!(restored, Ok(engine::OwnedValue::String(bytes)) if bytes == b"v"));
    // Valkey's files have something else under that number.
    assert!(read_all(&by_hand(b"VALKEY080", &[metadata, STRING].concat()), Others::Skip).is_err());
}

/// A stream of no entries with one group, one consumer, and what each type has more.
fn stream(kind: u8) -> Vec<u8> {
    let mut out = vec![kind, 1, b's', 0];
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(b"\x01\x01g\x00\x00\x00");
    // One entry is pending: its name, when it was handed out, how often.
    out.push(1);
    out.extend_from_slice(&[7; 24]);
    out.push(1);
    // Its consumer, when it was seen, when it was active, and the entry.
    out.extend_from_slice(b"\x01\x01c");
    out.extend_from_slice(&[9; 16]);
    out.push(1);
    out.extend_from_slice(&[7; 16]);
    if kind == 27 {
        out.push(1);
        out.extend_from_slice(&[8; 16]);
    }
    // How long and how many, a producer with what it sent, and two counts.
    out.extend_from_slice(b"\x3c\x10\x01\x01p\x01\x03iid\x05\x00\x01\x00");
    out
}

#[test]
fn new_types_are_passed_over_to_their_end() {
    let array = b"\x1c\x01a\x04\x01\x09\x00\x00\x05words\x01\x01\x07\x00\x00\x00\x00\x00\x00\x00\
        \x02\x02\x00\x00\x00\x00\x00\x00\xf0\x3f\x40\x64\x03\x01w";
    let all: [(&str, Vec<u8>); 3] =
        [("stream", stream(26)), ("stream", stream(27)), ("array", array.to_vec())];
    for (what, value) in all {
        let file = by_hand(b"REDIS0014", &[&value, STRING].concat());
        let (items, skipped, _) = read_all(&file, Others::Skip).unwrap();
        assert_eq!((items.len(), items[0].key.as_slice(), skipped), (1, &b"k"[..], 1), "{what}");
        let error = read_all(&file, Others::Refuse).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        for cut in 1..value.len() {
            let file = by_hand(b"REDIS0014", &value[..cut]);
            assert!(read_all(&file, Others::Skip).is_err(), "{what}, {cut}");
        }
    }
    // Of what comes later still, the key is named at least.
    let later = by_hand(b"REDIS0015", b"\x21\x03old\x05");
    let error = read_all(&later, Others::Skip).unwrap_err().to_string();
    assert!(error.contains("key 'old' is a value of a type unknown here"), "{error}");
}

#[test]
fn hashes_whose_names_stand_apart_are_read() {
    let wanted = hash_of(&[(b"age", b"42", None), (b"name", b"Ann", None)]);
    let mut values = Vec::new();
    packed(&[b"7", b"42", b"Ann"], &mut values);
    // In a file the names stand once for all.
    let template = b"\xf2\x07\x02\x03age\x04name";
    let by_listpack = [b"\x1e\x01k", values.as_slice()].concat();
    for hash in [by_listpack.as_slice(), b"\x20\x01k\x07\x0242\x03Ann"] {
        let file = by_hand(b"REDIS0015", &[template, hash].concat());
        assert_eq!(fields(&only(&file).1.value), wanted);
        let unknown = by_hand(b"REDIS0015", hash);
        assert!(read_all(&unknown, Others::Skip).is_err(), "a template that isn't there");
        assert!(dump::read(&payload(&[&hash[..1], &hash[3..]].concat(), 15), SIP).is_err());
    }
    let twice = by_hand(b"REDIS0015", &[template, &template[..], STRING].concat());
    assert!(read_all(&twice, Others::Skip).is_err());
    // In a payload they stand beside the values, in one of two ways.
    let mut names = vec![0];
    packed(&[b"age", b"name"], &mut names);
    for names in [names.as_slice(), b"\x01\x02\x03age\x04name"] {
        assert_eq!(both(29, &[names, &values].concat()), Ok(wanted.clone()));
        assert_eq!(both(31, &[names, b"\x0242\x03Ann"].concat()), Ok(wanted.clone()));
    }
    let mut few = Vec::new();
    packed(&[b"7", b"42"], &mut few);
    assert!(both(29, &[names.as_slice(), &few].concat()).is_err());
    assert!(both(31, b"\x01\x00").is_err() && both(31, b"\x02\x01\x01a\x01b").is_err());
}
