//! Deadlines are kept on time by nothing but the turns that the node asks for.

use crate::support::{Peer, Plan, Reply, Rig, START, at, encode, node, rng, seeds};
use engine::Policy;
use sessile_node::Chore;

const OTHERS: u64 = 200_000;
const PROBES: usize = 5_000;
/// Milliseconds after its deadline by which a key must be gone.
const LATE_MAX: u64 = 200;

#[test]
fn keys_end_on_time_unread_beside_many_others() {
    for seed in seeds(0) {
        let mut rng = rng(seed);
        let plan = Plan { shards: 16, policy: Policy::NoEviction, cap: 0, segments: 2000 };
        let mut rig = Rig::new(plan);
        let mut peer = Peer::resp(1);
        let mut bytes = Vec::new();
        for n in 0..OTHERS {
            let at = (START + 86_400_000 + rng.below(86_400_000)).to_string();
            let key = format!("other:{n}");
            encode(&[b"SET", key.as_bytes(), b"x", b"PXAT", at.as_bytes()], &mut bytes);
        }
        let mut deadlines: Vec<u64> = (0..PROBES).map(|_| START + 1 + rng.below(200_000)).collect();
        for (n, at) in deadlines.iter().enumerate() {
            let (key, at) = (format!("probe:{n}"), at.to_string());
            encode(&[b"SET", key.as_bytes(), b"x", b"PXAT", at.as_bytes()], &mut bytes);
        }
        for piece in bytes.chunks(100_000) {
            rig.feed(&mut peer, piece);
        }
        assert_eq!(peer.out, b"+OK\r\n".repeat(OTHERS as usize + PROBES));
        peer.out.clear();
        deadlines.sort_unstable();
        let end = START + 201_000;
        let (mut turns, mut next) = (0u32, rig.end_of_turn());
        while rig.now < end {
            // The clock goes where the node wants it; every now and then somebody looks.
            let look = rig.now + 97;
            rig.now = next.max(rig.now).min(look);
            if next <= rig.now {
                next = rig.end_of_turn();
                turns += 1;
            }
            let over = deadlines.partition_point(|at| at + LATE_MAX <= rig.now);
            if rig.now == look || next > rig.now {
                let keys = rig.say(&mut peer, "DBSIZE").number() as usize;
                let most = OTHERS as usize + PROBES - over;
                assert!(keys <= most, "{keys} keys, {most} at most, at {}", rig.now - START);
            }
        }
        assert_eq!(rig.say(&mut peer, "DBSIZE"), Reply::int(OTHERS as i64));
        assert!(turns < 20_000, "{turns} turns");
        rig.node.check().unwrap();
    }
}

#[test]
fn without_active_expiry_what_is_gone_is_freed_and_what_is_due_waits() {
    let plan = Plan { shards: 4, policy: Policy::NoEviction, cap: 0, segments: 2000 };
    let mut rig = Rig::new(plan);
    let mut peer = Peer::resp(1);
    rig.node.set_active_expire(false);
    for n in 0..20_000 {
        let (key, at) = (format!("key:{n}"), (START + 1_000).to_string());
        let mut bytes = Vec::new();
        encode(&[b"SET", key.as_bytes(), &[b'x'; 500], b"PXAT", at.as_bytes()], &mut bytes);
        rig.feed(&mut peer, &bytes);
    }
    peer.out.clear();
    let full = rig.node.arena_bytes();
    assert_eq!(rig.say(&mut peer, "FLUSHALL"), Reply::ok());
    assert_eq!(rig.say(&mut peer, &format!("SET late x PXAT {}", START + 1_000)), Reply::ok());
    let mut turns = 0;
    while rig.end_of_turn() <= rig.now {
        turns += 1;
        assert!(turns < 1_000, "it goes on and on");
    }
    assert!(rig.node.arena_bytes() < full / 2, "{} of {full}", rig.node.arena_bytes());
    rig.now += 2_000;
    assert_eq!(rig.end_of_turn(), u64::MAX, "nothing is to do");
    assert_eq!(rig.say(&mut peer, "DBSIZE"), Reply::int(1));
    rig.node.set_active_expire(true);
    while rig.end_of_turn() <= rig.now {}
    assert_eq!(rig.say(&mut peer, "DBSIZE"), Reply::int(0));
    rig.node.check().unwrap();
}

#[test]
fn each_chore_of_a_turn_is_told_once_and_in_order() {
    let node = node(Plan { shards: 2, policy: Policy::NoEviction, cap: 0, segments: 100 });
    let mut done = Vec::new();
    node.end_of_turn(at(START), 0, |chore| done.push(chore));
    assert_eq!(done, [Chore::Eviction, Chore::Expiry]);
}
