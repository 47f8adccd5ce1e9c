//! Any bytes read as an RDB file to their end or to an error; what was read is written and read
//! again as the same.

use persist::checksum;
use persist::extra::Extra;
use persist::rdb::{Body, Event, Facts, Item, Others, Reader, Writer};

const SIP: [u64; 2] = [3, 5];
const FACTS: Facts<'_> =
    Facts { version: "7.0.15", ctime: 1, used_memory: 1, aof_base: false, more: &[] };
/// Items of a run that are written again.
const ITEMS_MAX: usize = 100;

/// Reads `data` as a whole file, and as what stands between a header and a right checksum.
pub(crate) fn check(data: &[u8]) {
    let _ = read(data, Others::Skip);
    for head in [&b"REDIS0015"[..], b"REDIS0010", b"REDIS0003", b"VALKEY080"] {
        let mut file = head.to_vec();
        file.extend_from_slice(data);
        file.push(0xff);
        file.extend_from_slice(&checksum::of(&file).to_le_bytes());
        let strict = read(&file, Others::Refuse);
        let Some(items) = read(&file, Others::Skip) else {
            assert!(strict.is_none(), "only the strict reader reads it");
            continue;
        };
        again(&items);
    }
}

/// The items of a file, if it's read to its end.
fn read(file: &[u8], others: Others) -> Option<Vec<Item>> {
    let mut reader = Reader::new(file, others, SIP).ok()?;
    let mut items = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(Event::Item(item))) => items.push(item),
            Ok(Some(_)) => {}
            Ok(None) => return Some(items),
            Err(error) => {
                assert!(error.offset <= file.len() as u64, "{error}");
                return None;
            }
        }
    }
}

/// Writes items and compares what is read then.
fn again(items: &[Item]) {
    let mut writer = Writer::new(Vec::new(), &FACTS, true).unwrap();
    let items = &items[..items.len().min(ITEMS_MAX)];
    for Item { db, key, item, .. } in items {
        writer.select(*db).unwrap();
        let extra = Extra::default();
        let extra = extra.with_user(&item.user);
        writer.item(key, Body::of(&item.value), &item.meta, &extra).unwrap();
    }
    let file = writer.finish().unwrap();
    let read = read(&file, Others::Refuse).expect("what was written is read");
    assert_eq!(read.len(), items.len());
    for (old, new) in items.iter().zip(&read) {
        assert_eq!((old.db, &old.key, old.item.meta), (new.db, &new.key, new.item.meta));
        assert_eq!(shown(&old.item.value), shown(&new.item.value));
    }
}

pub(crate) fn shown(value: &engine::OwnedValue) -> String {
    match Body::of(value) {
        Body::String(bytes) => bytes.escape_ascii().to_string(),
        Body::Hash(hash) => {
            let mut fields: Vec<_> = hash.iter(0).collect();
            fields.sort_by_key(|field| field.name);
            format!("{fields:?}")
        }
    }
}
