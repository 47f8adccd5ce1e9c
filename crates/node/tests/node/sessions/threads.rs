//! Sign-ins, rotations and sign-outs by real threads: limits hold at every moment, and nobody
//! escapes. The number of rounds is fixed, so timing decides nothing but the order.

use crate::support::{Plan, Reply, START, node};
use crate::threads::Peer;
use engine::Policy;
use sessile_node::Node;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const PLAN: Plan = Plan { shards: 8, policy: Policy::NoEviction, cap: 0, segments: 256 };
const SIGN_INS: u64 = 100;
const LIMIT: usize = 5;

fn sessions_of(peer: &mut Peer<'_>, user: &str) -> Vec<String> {
    let listed = peer.one(format!("SESSION.LIST {user}"));
    let key = |row: &Reply| String::from_utf8(row.items()[0].bytes().to_vec()).unwrap();
    listed.items().iter().map(key).collect()
}

#[test]
fn a_limit_holds_under_a_hundred_parallel_sign_ins() {
    let (node, clock) = (node(PLAN), AtomicU64::new(START));
    let (barrier, done) = (Barrier::new(SIGN_INS as usize), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peer = Peer::new(&node, 1_000, &clock);
            while !done.load(Ordering::Acquire) {
                assert!(sessions_of(&mut peer, "ann").len() <= LIMIT);
            }
        });
        let sign_in = |n: u64| {
            let (node, clock, barrier) = (&node, &clock, &barrier);
            scope.spawn(move || {
                let mut peer = Peer::new(node, n + 1, clock);
                peer.one(format!("SESSION.CREATE anonymous:{n} SET 1 n {n}"));
                barrier.wait();
                let options = format!("USER ann LIMIT {LIMIT}");
                let line = match n % 2 {
                    0 => format!("SESSION.CREATE s:{n} {options}"),
                    _ => format!("SESSION.ROTATE anonymous:{n} s:{n} {options}"),
                };
                assert!(peer.one(line).number() > 0);
            })
        };
        let all: Vec<_> = (0..SIGN_INS).map(sign_in).collect();
        all.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Release);
        watcher.join().unwrap();
    });
    let mut peer = Peer::new(&node, 2_000, &clock);
    assert_eq!(sessions_of(&mut peer, "ann").len(), LIMIT);
    node.check().unwrap();
}

/// Rotates a session again and again until it's gone; the keys that it had.
fn flee(node: &Node, clock: &AtomicU64, n: u64) -> u64 {
    let mut peer = Peer::new(node, n + 1, clock);
    let name = |turn: u64| format!("flee:{n}:{turn}");
    let mut turn = 0;
    loop {
        let grace = ["GRACE 0", "GRACE 60", "HARD"][(turn % 3) as usize];
        let line = format!("SESSION.ROTATE {} {} {grace}", name(turn), name(turn + 1));
        match peer.one(line) {
            Reply::Nil => return turn,
            reply => assert!(reply.number() > 0),
        }
        turn += 1;
    }
}

#[test]
fn nobody_escapes_the_end_of_all_by_rotating() {
    const FUGITIVES: u64 = 6;
    for _ in 0..20 {
        let (node, clock) = (node(PLAN), AtomicU64::new(START));
        let mut peer = Peer::new(&node, 1_000, &clock);
        for n in 0..FUGITIVES {
            peer.one(format!("SESSION.CREATE flee:{n}:0 USER ann"));
        }
        let barrier = Barrier::new(FUGITIVES as usize + 1);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..FUGITIVES)
                .map(|n| {
                    let (node, clock, barrier) = (&node, &clock, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        flee(node, clock, n)
                    })
                })
                .collect();
            barrier.wait();
            assert_eq!(peer.one("SESSION.ENDALL ann".to_owned()), Reply::int(FUGITIVES as i64));
            for (n, thread) in all.into_iter().enumerate() {
                let last = thread.join().unwrap();
                for turn in 0..=last {
                    let reply = peer.one(format!("SESSION.LOAD flee:{n}:{turn}"));
                    let over = [Reply::Nil, Reply::line("+ROTATED")];
                    assert!(over.contains(&reply), "{reply:?}");
                }
            }
        });
        assert!(sessions_of(&mut peer, "ann").is_empty());
        node.check().unwrap();
    }
}

#[test]
fn parallel_saves_lose_nothing_while_the_session_moves() {
    const WRITERS: u64 = 4;
    const ROUNDS: u64 = 400;
    let (node, clock) = (node(PLAN), AtomicU64::new(START));
    let mut peer = Peer::new(&node, 1_000, &clock);
    peer.one("SESSION.CREATE s:0 IDLE 1000000".to_owned());
    let at = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for n in 0..WRITERS {
            let (node, clock, at) = (&node, &clock, &at);
            scope.spawn(move || {
                let mut peer = Peer::new(node, n + 1, clock);
                for round in 0..ROUNDS {
                    // The key may be the last one by now, or the one before, which is an alias.
                    loop {
                        let key = at.load(Ordering::Acquire);
                        let line = format!("SESSION.SAVE s:{key} INCR 1 n 1 SET 1 w.{n} {round}");
                        if peer.one(line) != Reply::Nil {
                            break;
                        }
                    }
                }
            });
        }
        for key in 0..60 {
            let next = key + 1;
            assert!(peer.one(format!("SESSION.ROTATE s:{key} s:{next} GRACE 1000")).number() > 0);
            at.store(next, Ordering::Release);
        }
    });
    let n = peer.one("HGET s:60 n".to_owned());
    assert_eq!(n, Reply::bulk((WRITERS * ROUNDS).to_string().as_bytes()));
    for writer in 0..WRITERS {
        let last = peer.one(format!("HGET s:60 w.{writer}"));
        assert_eq!(last, Reply::bulk((ROUNDS - 1).to_string().as_bytes()));
    }
    node.check().unwrap();
}
