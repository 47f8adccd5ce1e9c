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
