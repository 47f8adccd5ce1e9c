//! What is gone is freed in bounded steps, and before anything that is there has to go.

use super::*;
use crate::hash::BigHash;
use crate::limits::DETACHED_PER_SQUEEZE;

fn fill_with_large(shard: &mut Shard, hashes: usize) {
    let names: Vec<String> = (0..3_000).map(|n| format!("field:{n}")).collect();
    let deadline = FieldDeadline::Clear;
    let set = |name| FieldEdit::Set { field: name, value: b"0123456789", deadline };
    let edits: Vec<FieldEdit<'_>> = names.iter().map(|name| set(name.as_bytes())).collect();
    for n in 0..hashes {
        apply(shard, 0, format!("hash:{n}").as_bytes(), Change::Fields(&edits), START).unwrap();
    }
}

fn waiting(shard: &Shard) -> usize {
    shard.big_detached.iter().map(BigHash::heap_bytes).sum()
}

#[test]
fn many_large_hashes_share_one_budget_of_a_slice() {
    let mut shard = shard(200, Policy::NoEviction);
    fill_with_large(&mut shard, 20);
    let all = shard.heap_bytes();
    shard.apply(&Effect::Clear { db: 0 }, START).unwrap();
    let (mut slices, mut before) = (0, all);
    while shard.free_detached(32) {
        // The hashes are let go with the segments of their items.
        let now = if shard.heap_bytes() > 0 { all } else { waiting(&shard) };
        assert!(before - now <= 33 * 4_096, "{} bytes in one slice", before - now);
        (slices, before) = (slices + 1, now);
    }
    assert!(slices > all / (33 * 4_096), "{slices} slices");
    assert_eq!((waiting(&shard), shard.heap_bytes()), (0, 0));
    shard.check().unwrap();
}

#[test]
fn a_squeeze_frees_no_large_hash_and_little_of_an_emptied_database() {
    let mut shard = shard(400, Policy::NoEviction);
    fill_with_large(&mut shard, 3);
    for n in 0..6_000 {
        put(&mut shard, format!("key:{n}").as_bytes(), &[7; 1_000], None, START);
    }
    for n in 0..3 {
        let key = format!("hash:{n}").into_bytes();
        apply(&mut shard, 0, &key, Change::Remove(Cause::Deleted), START).unwrap();
    }
    let heap = waiting(&shard);
    assert!(heap > 0);
    shard.apply(&Effect::Clear { db: 0 }, START).unwrap();
    let before = shard.arena.available();
    assert!(shard.squeeze(START));
    let gained = shard.arena.available() - before;
    assert!((1..=DETACHED_PER_SQUEEZE).contains(&gained), "{gained} segments");
    assert_eq!(waiting(&shard), heap, "trees give no segment");
    // Nobody has to go while an emptied database has segments.
    put(&mut shard, b"kept", b"v", None, START);
    for _ in 0..5 {
        assert!(shard.make_room(Policy::AllKeysRandom, 4, START));
    }
    assert_eq!((shard.len(0), shard.stats().evicted), (1, 0));
    shard.check().unwrap();
}

#[test]
fn a_long_value_goes_in_slices_and_gives_its_segments_to_who_needs_them() {
    let mut shard = shard(400, Policy::AllKeysRandom);
    let long = vec![7; 300 * layout::SEGMENT_BYTES];
    put(&mut shard, b"other", b"v", None, START);
    put(&mut shard, b"long", &long, None, START);
    apply(&mut shard, 0, b"long", Change::Remove(Cause::Deleted), START).unwrap();
    let waiting = shard.long_detached.len();
    assert!((280..300).contains(&waiting), "{waiting} segments wait");
    assert!(shard.maintain(START, 64));
    assert_eq!(shard.long_detached.len(), waiting - 16);
    while shard.arena.take(crate::arena::Use::Long).is_some() {}
    assert!(shard.make_room(Policy::AllKeysRandom, 4, START));
    assert!((1..=DETACHED_PER_SQUEEZE).contains(&shard.arena.available()));
    assert_eq!(shard.stats().evicted, 0);
    let before = (shard.long_detached.len(), shard.arena.available());
    put(&mut shard, b"next", &long[..50 * layout::SEGMENT_BYTES], None, START);
    assert_eq!(shard.long_detached.len(), before.0 - 50, "they are used again");
    shard.apply(&Effect::Clear { db: 0 }, START).unwrap();
    while shard.maintain(START, 64) {}
    assert!(!shard.has_free_segments() && shard.arena.available() > before.0 + before.1);
    shard.check().unwrap();
}

#[test]
fn a_large_hash_that_is_renamed_is_neither_copied_nor_freed() {
    let mut shard = shard(200, Policy::NoEviction);
    fill_with_large(&mut shard, 1);
    let from = Key::new(&SECRET, b"hash:0");
    let item = shard.peek(0, &from, START).unwrap().to_owned_item();
    let heap = shard.heap_bytes();
    apply(&mut shard, 0, b"renamed", Change::Install(&item), START).unwrap();
    apply(&mut shard, 0, b"hash:0", Change::Remove(Cause::Deleted), START).unwrap();
    drop(item);
    assert!(shard.big_detached.is_empty(), "there is nothing to free");
    assert_eq!(shard.heap_bytes(), heap);
    assert!(shard.big.iter().flatten().all(|big| !big.is_shared()));
    let renamed = shard.peek(0, &Key::new(&SECRET, b"renamed"), START).unwrap();
    assert_eq!(renamed.hash().unwrap().live_len(START), 3_000);
    shard.check().unwrap();
}
