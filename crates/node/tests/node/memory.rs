//! The cap: what the node counts stays below it, whatever is written, under every policy.
//!
//! What always holds: after each turn `used_memory` is at most the cap and a margin, which is what
//! one turn's requests put on the heap (their input, their values on the way).

use crate::support::{Peer, Plan, Reply, Rig, rng, seeds};
use engine::{Policy, Rng};

const MB: u64 = 1 << 20;
/// What one turn's requests of up to some ten KB may have on the heap.
const MARGIN: u64 = 512 * 1024;

fn rig(policy: Policy, cap: u64) -> Rig {
    Rig::new(Plan { shards: 4, policy, cap, segments: 4_000 })
}

/// Ends a turn and compares what is in use with the cap.
#[track_caller]
fn turn(rig: &mut Rig, cap: u64) {
    rig.now += 1;
    rig.end_of_turn();
    let used = rig.node.arena_bytes() + rig.heap();
    assert!(used <= cap + MARGIN, "{used} bytes, the cap is {cap}");
}

fn value(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(50) {
        0 => rng.below(50_000),
        1..8 => rng.below(8_000),
        _ => rng.below(900),
    };
    vec![rng.next_u64() as u8; len as usize]
}

/// Whether a store of a memcached or RESP client found room.
fn store(rig: &mut Rig, peers: &mut [Peer; 2], key: &str, value: &[u8], ttl: bool) -> bool {
    if value.len().is_multiple_of(3) {
        let time = if ttl { 100_000 } else { 0 };
        let mut bytes = format!("set {key} 0 {time} {}\r\n", value.len()).into_bytes();
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
        let said = rig.mc(&mut peers[1], &bytes);
        let full = said == b"SERVER_ERROR out of memory storing object\r\n";
        assert!(full || said == b"STORED\r\n");
        return !full;
    }
    let mut words: Vec<&[u8]> = vec![b"SET", key.as_bytes(), value];
    if ttl {
        words.extend([b"EX".as_slice(), b"100000"]);
    }
    let said = rig.ask(&mut peers[0], &words);
    assert!(said.is_oom() || said == Reply::ok(), "{said:?}");
    !said.is_oom()
}

#[test]
fn every_policy_keeps_the_cap_and_its_promise() {
    for seed in seeds(0) {
        for policy in Policy::ALL {
            println!("{}", policy.name());
            flood(seed, policy, 12 * MB);
        }
    }
}

fn flood(seed: u64, policy: Policy, cap: u64) {
    let mut rng = rng(seed);
    let mut rig = rig(policy, cap);
    let mut peers = [Peer::resp(1), Peer::memcached(2)];
    let mut lasting = Vec::new();
    let mut refused = 0;
    for n in 0..12_000u64 {
        // Of the keys without a deadline there are few enough to stay.
        let ttl = n % 12 != 0 || n > 6_000;
        let key = format!("{}:{n}", if ttl { "ends" } else { "lasts" });
        let value = value(&mut rng);
        let value = if ttl { &value[..] } else { &value[..value.len().min(900)] };
        let stored = store(&mut rig, &mut peers, &key, value, ttl);
        refused += u64::from(!stored);
        if stored && !ttl {
            lasting.push(key);
        }
        if n % 10 == 0 {
            turn(&mut rig, cap);
        }
    }
    let left = lasting
        .iter()
        .filter(|key| rig.say(&mut peers[0], &format!("EXISTS {key}")) == Reply::int(1))
        .count();
    if policy == Policy::NoEviction {
        assert!(refused > 1_000, "{refused} refused");
        full_goes_on(&mut rig, &mut peers, &lasting);
    } else {
        assert_eq!(refused, 0, "{}", policy.name());
    }
    if policy == Policy::NoEviction || policy.is_volatile() {
        assert_eq!(left, lasting.len(), "{}", policy.name());
    }
    // Most of the cap holds data: eviction takes no more than it must.
    let used = rig.node.arena_bytes();
    assert!(used > cap / 2, "{}: {used} of {cap}", policy.name());
    rig.node.check().unwrap();
    assert_eq!(rig.say(&mut peers[0], "FLUSHALL"), Reply::ok());
    rig.settle();
    rig.node.purge();
    let used = rig.node.arena_bytes();
    // Each shard keeps two free segments; the first segment is the arena's own.
    assert!(used <= 16 * 65_536, "{}: {used} bytes after FLUSHALL", policy.name());
    rig.node.check().unwrap();
}

/// A full store reads, deletes, and overwrites what fits.
fn full_goes_on(rig: &mut Rig, peers: &mut [Peer; 2], keys: &[String]) {
    let peer = &mut peers[0];
    // Small values may have been refused by one shard while another has room for some more.
    let mut keys_of_more = (0..1_000).map(|n| format!("more:{n}"));
    let full = keys_of_more
        .find(|key| rig.ask(peer, &[b"SET", key.as_bytes(), &[b'x'; 50_000]]).is_oom())
        .unwrap_or_else(|| panic!("a thousand values of 50 kB found room"));
    assert_eq!(rig.say(peer, "MULTI"), Reply::ok());
    rig.ask(peer, &[b"SET", full.as_bytes(), &[b'x'; 50_000]]);
    let Reply::Line(line) = rig.say(peer, "EXEC") else { panic!("EXEC found room") };
    assert!(line.starts_with("-EXECABORT ") && line.contains("OOM "), "{line}");
    assert_eq!(rig.say(peer, "PING"), Reply::line("+PONG"), "the transaction is over");
    for key in keys {
        let said = rig.say(peer, &format!("GET {key}"));
        let same = vec![b'z'; said.bytes().len()];
        let said = rig.ask(peer, &[b"SET", key.as_bytes(), &same]);
        // Past the cap (the heap has grown since) nothing is written, as in Redis.
        let past = rig.node.arena().populated() > rig.node.arena().limit();
        assert!(said == Reply::ok() || past && said.is_oom(), "{said:?}");
    }
    for key in keys {
        assert_eq!(rig.say(peer, &format!("DEL {key}")), Reply::int(1));
    }
}

#[test]
fn what_is_used_stays() {
    for policy in [Policy::AllKeysLru, Policy::AllKeysLfu, Policy::VolatileLru, Policy::VolatileLfu]
    {
        let cap = 12 * MB;
        let mut rig = rig(policy, cap);
        let mut peers = [Peer::resp(1), Peer::memcached(2)];
        for n in 0..20_000 {
            assert!(store(&mut rig, &mut peers, &format!("key:{n}"), &[b'v'; 1_000], true));
            if n % 20 == 0 {
                rig.now += 400;
                for hot in 0..100.min(n) {
                    rig.say(&mut peers[0], &format!("GET key:{hot}"));
                }
                turn(&mut rig, cap);
            }
        }
        let there = |hot| rig.say(&mut peers[0], &format!("EXISTS key:{hot}")).number();
        let kept: i64 = (0..100).map(there).sum();
        assert!(kept >= 90, "{}: {kept} of 100 were kept", policy.name());
    }
}

#[test]
fn large_values_keep_the_cap() {
    // The largest value is there three times over while it's asked for: in the test, on its way,
    // and in the arena.
    let cap = 160 * MB;
    let mut rig = rig(Policy::AllKeysLru, cap);
    let mut peer = Peer::resp(1);
    for n in 0..24u64 {
        let value = vec![n as u8; ((1 + n % 4) * 7 * MB) as usize];
        let key = format!("large:{n}");
        let said = rig.ask(&mut peer, &[b"SET", key.as_bytes(), &value]);
        let state = (n, rig.node.arena_bytes() / MB, rig.heap() / MB);
        assert_eq!(said, Reply::ok(), "turn, MB in the arena, MB on the heap: {state:?}");
        assert!(rig.ask(&mut peer, &[b"GET", key.as_bytes()]) == Reply::bulk(&value));
        drop(value);
        assert!(rig.node.arena_bytes() <= cap);
        // A rename writes the value anew, beside the old one, which may itself be what has to go.
        let said = rig.say(&mut peer, &format!("RENAME {key} again:{n}"));
        assert!(said == Reply::ok() || said.is_oom() || said == Reply::line("-ERR no such key"));
    }
    let more = vec![1; 170 << 20];
    let mut other = Peer::resp(2);
    assert!(rig.ask(&mut other, &[b"SET", b"too large", &more]).is_oom());
    drop((more, other));
    rig.node.check().unwrap();
    // The next turn knows that the request's bytes are gone.
    rig.end_of_turn();
    assert_eq!(rig.say(&mut peer, "SET small x"), Reply::ok());
}

#[test]
fn large_hashes_keep_the_cap_and_few_go_at_once() {
    let cap = 32 * MB;
    for policy in [Policy::AllKeysLru, Policy::AllKeysRandom, Policy::NoEviction] {
        let mut rig = rig(policy, cap);
        let mut peer = Peer::resp(1);
        let (mut refused, mut least) = (0, u64::MAX);
        for n in 0..600u64 {
            let names: Vec<String> = (0..1_000).map(|field| format!("field:{field}")).collect();
            let key = format!("hash:{n}");
            let mut words: Vec<&[u8]> = vec![b"HSET", key.as_bytes()];
            names.iter().for_each(|name| words.extend([name.as_bytes(), &[b'v'; 100]]));
            let said = rig.ask(&mut peer, &words);
            refused += u64::from(said.is_oom());
            drop(words);
            drop(names);
            rig.now += 1;
            // The heap is as large as the last turn knew, and one hash.
            rig.end_of_turn();
            let used = rig.node.arena_bytes() + rig.heap();
            assert!(used <= cap + 2 * MARGIN, "{n}: {used} bytes, the cap is {cap}");
            if n > 300 {
                least = least.min(used);
            }
        }
        println!("{}: {refused} refused, {least} bytes at least", policy.name());
        assert_eq!(refused > 0, policy == Policy::NoEviction, "{}", policy.name());
        assert!(least > cap / 2, "{}: down to {least} of {cap}", policy.name());
        rig.node.check().unwrap();
    }
}
