//! Keys go by the segment: who goes, who stays, and what it costs.

use super::*;

const KEYS: u64 = 8_000;
const LATER: u64 = START + 600_000;

fn name(n: u64) -> String {
    format!("key:{n:06}")
}

fn value(n: u64) -> Vec<u8> {
    vec![n as u8; 100 + n as usize % 200]
}

/// A shard of which some keys are used later than the others, and some have a deadline.
fn filled(policy: Policy, used: fn(u64) -> bool, ends: fn(u64) -> bool) -> Shard {
    let mut shard = shard(2_000, policy);
    for n in 0..KEYS {
        let deadline = ends(n).then_some(START + 100_000_000 + n);
        put(&mut shard, name(n).as_bytes(), &value(n), deadline, START);
    }
    for n in (0..KEYS).filter(|n| used(*n)) {
        shard.get(0, &Key::new(&SECRET, name(n).as_bytes()), LATER).unwrap();
    }
    shard
}

/// How many of some keys are there, each with its own value.
fn left(shard: &Shard, which: impl Fn(u64) -> bool, now: u64) -> usize {
    let there = |n: &u64| {
        let found = read(shard, 0, name(*n).as_bytes(), now);
        assert!(found.as_ref().is_none_or(|found| *found == value(*n)), "{n}");
        found.is_some()
    };
    (0..KEYS).filter(|n| which(*n)).filter(there).count()
}

/// Makes room until there are so many segments more; how many keys went.
fn gain(shard: &mut Shard, policy: Policy, segments: usize, now: u64) -> u64 {
    let (before, evicted) = (shard.arena.available(), shard.stats().evicted);
    while shard.arena.available() < before + segments {
        assert!(shard.make_room(policy, 10, now));
    }
    shard.check().unwrap();
    shard.stats().evicted - evicted
}

#[test]
fn the_unused_go_and_the_used_beside_them_move() {
    let mut shard = filled(Policy::AllKeysLru, |n| n % 3 == 0, |_| false);
    let all = left(&shard, |n| n % 3 == 0, LATER);
    gain(&mut shard, Policy::AllKeysLru, 10, LATER);
    assert_eq!(left(&shard, |n| n % 3 == 0, LATER), all, "one that is in use went");
    assert!(left(&shard, |n| n % 3 != 0, LATER) > 0, "more went than had to");
    let (live, used, _) = shard.bytes();
    assert!(live * 100 > used * 80, "{live} of {used}");
}

#[test]
fn where_all_are_alike_segments_go_as_they_are_and_nothing_is_copied() {
    for policy in [Policy::AllKeysLru, Policy::AllKeysRandom] {
        let mut shard = filled(policy, |_| false, |_| false);
        let before = shard.stats().copied;
        let went = gain(&mut shard, policy, 10, START);
        assert_eq!(shard.stats().copied, before, "{}", policy.name());
        assert_eq!(left(&shard, |_| true, START) as u64, KEYS - went);
    }
}

#[test]
fn a_volatile_policy_leaves_what_lasts_in_the_same_segments() {
    let policies =
        [Policy::VolatileLru, Policy::VolatileLfu, Policy::VolatileTtl, Policy::VolatileRandom];
    for policy in policies {
        let mut shard = filled(policy, |_| false, |n| n % 4 != 0);
        let lasting = left(&shard, |n| n % 4 == 0, START);
        gain(&mut shard, policy, 8, START);
        assert_eq!(left(&shard, |n| n % 4 == 0, START), lasting, "{}", policy.name());
        // The search for others ends when they have become rare.
        while shard.make_room(policy, 10, START) {}
        let all = left(&shard, |_| true, START);
        assert!(all - lasting < KEYS as usize / 50, "{}: {all}", policy.name());
        assert_eq!(left(&shard, |n| n % 4 == 0, START), lasting, "{}", policy.name());
        shard.check().unwrap();
    }
}

#[test]
fn those_whose_time_has_come_end_and_are_not_evicted() {
    let mut shard = filled(Policy::AllKeysLru, |_| false, |_| true);
    let went = gain(&mut shard, Policy::AllKeysLru, 5, START + 200_000_000);
    let stats = shard.stats();
    assert_eq!((went, stats.evicted), (0, 0));
    assert!(stats.expired > 0);
}

#[test]
fn who_is_due_first_goes_first() {
    let mut shard = filled(Policy::VolatileTtl, |_| false, |_| true);
    // Every segment has keys of all ages: they were written in no order of their ends.
    for n in (0..KEYS).map(|n| n * 4_801 % KEYS) {
        put(&mut shard, name(n).as_bytes(), &value(n), Some(START + 100_000_000 + n), START);
    }
    let went = gain(&mut shard, Policy::VolatileTtl, 4, START);
    let early = left(&shard, |n| n < KEYS / 2, START) as u64;
    assert!(early + went * 9 / 10 < KEYS / 2, "{went} went, of the early half {early} are left");
}
