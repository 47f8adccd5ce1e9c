//! Sessions over bytes and many shards: at random against a model, and by real threads.

mod model;
mod threads;

use crate::support::{Peer, Plan, Reply, Rig, rng, seeds};
use engine::{Policy, Rng};
use model::{Model, Options};

const KEYS: u64 = 14;
const STEPS: usize = 12_000;

/// A request as words.
#[derive(Default)]
struct Line(Vec<Vec<u8>>);

impl Line {
    fn of(words: &[&str]) -> Self {
        Self(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| word.as_bytes().to_vec()));
    }

    fn ask(&self, rig: &mut Rig, peer: &mut Peer) -> Reply {
        let words: Vec<&[u8]> = self.0.iter().map(Vec::as_slice).collect();
        rig.ask(peer, &words)
    }
}

fn key(rng: &mut Rng) -> String {
    format!("s:{}", rng.below(KEYS))
}

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.below(of.len() as u64) as usize]
}

/// Random options of a command, as words and as the model takes them.
fn options(rng: &mut Rng, now: u64, patches: bool, line: &mut Line) -> Options {
    let mut options = Options::default();
    let paths = ["a", "b", "a.x", "a.x.y", "a.z", "b\\.c", "ab"];
    let leaves = ["1", "\"t\"", "{}", "[1]", "2 k"];
    if rng.below(2) == 0 {
        let count = rng.below(3);
        line.add(&["SET", &count.to_string()]);
        for _ in 0..count {
            let (path, leaf) = (pick(rng, &paths), pick(rng, &leaves));
            line.add(&[path, leaf]);
            options.set.push((path.to_owned(), leaf.to_owned()));
        }
    }
    if patches && rng.below(4) == 0 {
        let path = pick(rng, &paths);
        line.add(&["DEL", "1", path]);
        options.delete.push(path.to_owned());
    }
    if patches && rng.below(6) == 0 {
        let path = pick(rng, &["a", "a.x", "b", ""]);
        line.add(&["DELTREE", "1", path]);
        options.delete_trees.push(path.to_owned());
    }
    if rng.below(2) == 0 {
        let idle = rng.below(3) * 20;
        line.add(&["IDLE", &idle.to_string()]);
        options.idle_s = Some(idle);
    }
    match rng.below(6) {
        0 => {
            let max = rng.below(4) * 30;
            line.add(&["MAX", &max.to_string()]);
            options.max_s = Some(max);
        }
        1 => {
            let exat = now - 5_000 + rng.below(90_000);
            line.add(&["EXAT", &exat.to_string()]);
            options.at = Some(exat);
        }
        _ => {}
    }
    if rng.below(2) == 0 {
        let user = pick(rng, &["ann", "bob", ""]);
        line.add(&["USER", user]);
        options.user = Some(user.to_owned());
    }
    if rng.below(4) == 0 {
        let token = pick(rng, &["t1", "t2"]);
        line.add(&["REQ", token]);
        options.token = Some(token.to_owned());
    }
    options
}

fn limit(rng: &mut Rng, line: &mut Line, options: &mut Options) {
    if rng.below(3) == 0 {
        let limit = 1 + rng.below(3);
        line.add(&["LIMIT", &limit.to_string()]);
        options.limit = Some(limit as usize);
    }
}

fn expected(rng: &mut Rng, model: &Model, key: &str, line: &mut Line, options: &mut Options) {
    if rng.below(6) == 0 {
        let version = model.version(key).unwrap_or(7) + rng.below(2) as i64;
        line.add(&["IF", &version.to_string()]);
        options.expected = Some(version);
    }
}

/// One request, and whether its reply is what the model says.
fn step(rig: &mut Rig, peer: &mut Peer, model: &mut Model, rng: &mut Rng) {
    let (one, other) = (key(rng), key(rng));
    let now = rig.now;
    model.now = now;
    match rng.below(16) {
        0..3 => {
            let mut line = Line::of(&["SESSION.CREATE", &one]);
            let mut given = options(rng, now, false, &mut line);
            limit(rng, &mut line, &mut given);
            let reply = line.ask(rig, peer);
            model.create(&one, &given, &reply);
        }
        3..6 => {
            let mut line = Line::of(&["SESSION.SAVE", &one]);
            let mut given = options(rng, now, true, &mut line);
            expected(rng, model, &one, &mut line, &mut given);
            let reply = line.ask(rig, peer);
            model.save(&one, &given, &reply);
        }
        6..8 => {
            let mut line = Line::of(&["SESSION.ROTATE", &one, &other]);
            let mut given = options(rng, now, true, &mut line);
            limit(rng, &mut line, &mut given);
            expected(rng, model, &one, &mut line, &mut given);
            if rng.below(2) == 0 {
                line.add(&["GRACE", "25"]);
                given.grace_s = 25;
            }
            given.hard = rng.below(5) == 0;
            given.or_create = rng.below(3) == 0;
            line.add(if given.hard { &["HARD"] } else { &[] });
            line.add(if given.or_create { &["ELSE", "CREATE"] } else { &[] });
            let reply = line.ask(rig, peer);
            model.rotate(&one, &other, &given, &reply);
        }
        8 => {
            let peek = rng.below(2) == 0;
            let words: &[&str] =
                if peek { &["SESSION.LOAD", &one, "PEEK"] } else { &["SESSION.LOAD", &one] };
            let reply = Line::of(words).ask(rig, peer);
            model.load(&one, peek, &reply);
        }
        9 => {
            let reply = Line::of(&["SESSION.TOUCH", &one]).ask(rig, peer);
            assert_eq!(reply, Reply::int(i64::from(model.touch(&one))));
        }
        10 => {
            let reply = Line::of(&["SESSION.END", &one, &other]).ask(rig, peer);
            assert_eq!(reply, Reply::int(model.end(&one) + model.end(&other)));
        }
        11 => {
            let user = pick(rng, &["ann", "bob"]);
            if rng.below(4) == 0 {
                let reply = Line::of(&["SESSION.ENDALL", user, "EXCEPT", &one]).ask(rig, peer);
                assert_eq!(reply, Reply::int(model.end_all(user, &one)));
            } else {
                let reply = Line::of(&["SESSION.LIST", user, "FIELDS", "1", "a"]).ask(rig, peer);
                model.list(user, &reply);
            }
        }
        12 => {
            let reply = Line::of(&["HGETALL", &one]).ask(rig, peer);
            model.hgetall(&one, &reply);
        }
        13 => match rng.below(4) {
            0 => {
                let reply = Line::of(&["DEL", &one]).ask(rig, peer);
                assert_eq!(reply, Reply::int(i64::from(model.delete(&one))));
            }
            1 => {
                let reply = Line::of(&["RENAME", &one, &other]).ask(rig, peer);
                let missing = Reply::line("-ERR no such key");
                let renamed = model.rename(&one, &other);
                assert_eq!(reply, if renamed { Reply::ok() } else { missing });
                if renamed {
                    // It has a version of its new place.
                    let reply = Line::of(&["SESSION.LOAD", &other, "PEEK"]).ask(rig, peer);
                    model.learn(&other, &reply);
                }
            }
            2 => {
                let left = rng.below(60_000);
                let reply = Line::of(&["PEXPIRE", &one, &left.to_string()]).ask(rig, peer);
                assert_eq!(reply, Reply::int(i64::from(model.expire(&one, left))));
            }
            _ => {
                let reply = Line::of(&["PTTL", &one]).ask(rig, peer);
                assert_eq!(reply, Reply::int(model.left(&one)));
            }
        },
        14 => rig.now += rng.below(20_000),
        _ => {
            rig.end_of_turn();
        }
    }
}

#[test]
fn sessions_at_random_follow_the_model() {
    for seed in seeds(4) {
        let mut rng = rng(seed);
        let plan = Plan { shards: 8, policy: Policy::NoEviction, cap: 0, segments: 256 };
        let (mut rig, mut peer) = (Rig::new(plan), Peer::resp(1));
        let mut model = Model::default();
        for round in 0..STEPS {
            step(&mut rig, &mut peer, &mut model, &mut rng);
            rig.now += rng.below(700);
            if round % 250 == 0 {
                rig.node.check().unwrap();
            }
        }
        rig.now += 100_000_000;
        rig.settle();
        rig.node.check().unwrap();
    }
}

#[test]
fn transactions_hold_what_an_alias_may_need() {
    let plan = Plan { shards: 8, policy: Policy::NoEviction, cap: 0, segments: 256 };
    let (mut rig, mut peer) = (Rig::new(plan), Peer::resp(1));
    for n in 0..16 {
        let (old, new) = (format!("old:{n}"), format!("new:{n}"));
        rig.say(&mut peer, &format!("SESSION.CREATE {old} USER ann"));
        rig.say(&mut peer, &format!("SESSION.ROTATE {old} {new} GRACE 60"));
        assert_eq!(rig.say(&mut peer, "MULTI"), Reply::ok());
        rig.say(&mut peer, &format!("SESSION.SAVE {old} INCR 1 n 1"));
        rig.say(&mut peer, &format!("SESSION.SAVE {old} INCR 1 n 1"));
        rig.say(&mut peer, "SESSION.LIST ann");
        assert_eq!(rig.say(&mut peer, "EXEC").items()[2].items().len(), n + 1);
        assert_eq!(rig.say(&mut peer, &format!("HGET {new} n")), Reply::bulk(b"2"));
    }
    assert_eq!(rig.say(&mut peer, "SESSION.ENDALL ann"), Reply::int(16));
    rig.node.check().unwrap();
}

#[test]
fn versions_rise_through_rotations_to_any_shard() {
    let plan = Plan { shards: 8, policy: Policy::NoEviction, cap: 0, segments: 256 };
    let (mut rig, mut peer) = (Rig::new(plan), Peer::resp(1));
    let mut last = rig.say(&mut peer, "SESSION.CREATE s:0").number();
    for n in 0..64 {
        for line in [format!("SESSION.SAVE s:{n}"), format!("SESSION.ROTATE s:{n} s:{}", n + 1)] {
            let version = rig.say(&mut peer, &format!("{line} IF {last} INCR 1 n 1")).number();
            assert!(version > last, "{line}: {version} after {last}");
            last = version;
        }
    }
}
