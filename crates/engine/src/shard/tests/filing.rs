//! Notes that pile up are replaced slice by slice, and somebody looks at every item meanwhile.

use super::*;
use crate::limits::{WHEEL_ENTRIES_PER_KEY, WHEEL_ENTRIES_PER_LOOK};

const KEYS: u64 = 3_000;

fn name(n: u64) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// Moves a deadline back and forth: a note each time.
fn flip(shard: &mut Shard, rng: &mut Rng, now: u64) {
    let key = name(rng.below(KEYS));
    for at in [now + 3_600_000, now + 10_000 + rng.below(40_000)] {
        apply(shard, 0, &key, Change::Deadline { at: Some(at), slide: true }, now).unwrap();
    }
}

fn change(shard: &mut Shard, rng: &mut Rng, now: u64) {
    let (key, value) = (name(rng.below(KEYS)), vec![7; rng.below(400) as usize]);
    match rng.below(40) {
        0..20 => put(shard, &key, &value, Some(now + 1 + rng.below(100_000)), now),
        20..30 => flip(shard, rng, now),
        30..36 => apply(shard, 0, &key, Change::Remove(Cause::Deleted), now).unwrap(),
        36 => apply(shard, 1, &key, Change::Put { value: &value, meta: soon(now) }, now).unwrap(),
        37 if rng.below(30) == 0 => _ = shard.apply(&Effect::Swap { a: 0, b: 1 }, now).unwrap(),
        38 if rng.below(30) == 0 => _ = shard.apply(&Effect::Clear { db: 1 }, now).unwrap(),
        _ => {}
    }
}

fn soon(now: u64) -> Meta {
    Meta { deadline: Some(now + 5_000), ..Meta::default() }
}

#[test]
fn notes_that_pile_up_are_filed_anew_in_slices_and_nothing_is_forgotten() {
    let seed = seed();
    println!("SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut shard = shard(400, Policy::NoEviction);
    let mut now = START;
    for n in 0..KEYS {
        put(&mut shard, &name(n), &[1; 900], Some(now + 1 + rng.below(3_000_000)), now);
    }
    let mut most = 0;
    for _ in 0..4 {
        let enough = WHEEL_ENTRIES_PER_KEY * shard.keys() + WHEEL_ENTRIES_PER_LOOK;
        while shard.wheel.len() <= enough {
            flip(&mut shard, &mut rng, now);
        }
        assert!(shard.next_look() <= now, "somebody is to look at the pile");
        assert!(shard.maintain(now, 128) && shard.filing.is_some());
        let mut slices = 0;
        while shard.filing.is_some() {
            for _ in 0..rng.below(20) {
                change(&mut shard, &mut rng, now);
            }
            // Now and then a turn comes late.
            now += rng.below(200) * rng.below(5);
            shard.maintain(now, 128);
            shard.check().unwrap();
            slices += 1;
        }
        most = most.max(slices);
        assert!(shard.wheel.len() < enough / 2, "{} notes are left", shard.wheel.len());
    }
    // A round may meet a database that was just emptied; not all of them do.
    assert!(most > 10, "{most} slices at most");
    now += 4_000_000;
    while shard.maintain(now, 128) {}
    assert_eq!((shard.len(0), shard.len(1)), (0, 0));
    shard.check().unwrap();
}
