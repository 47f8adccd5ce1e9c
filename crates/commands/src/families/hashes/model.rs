//! Random commands against a plain map that knows the time.
//!
//! What always holds: every reply is compared, and after a pass of maintenance no key is left
//! whose fields are all gone. `SEED=n` runs one seed again.

use crate::testing::Store;
use engine::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};

type Fields = BTreeMap<String, (String, Option<u64>)>;

/// The engine may take this long to remove what is due, in milliseconds: two ticks of its wheel.
const LAG_MS: u64 = 2 * engine::limits::WHEEL_TICK_MS;
const NULL: &str = "$-1\r\n";

#[test]
fn random_commands_answer_as_a_map_would() {
    let chosen = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("SEED={seed}");
    for (round, names) in [6, 6, 40, 900].into_iter().enumerate() {
        let mut run = Run {
            rng: Rng::new(seed.wrapping_add(round as u64)),
            store: Store::new(),
            keys: BTreeMap::new(),
            names,
        };
        for step in 0..4000 {
            run.step(step);
        }
        assert!(run.store.shards.0.iter().any(|shard| shard.stats().expired_fields > 0));
    }
}

struct Run {
    rng: Rng,
    store: Store,
    keys: BTreeMap<String, Fields>,
    /// How many different fields there are.
    names: u64,
}

impl Run {
    fn step(&mut self, step: usize) {
        let key = format!("key{}", self.rng.below(3));
        let (line, expected) = match self.rng.below(18) {
            0..3 => self.set(&key),
            3 => self.set_if_missing(&key),
            4 => self.get(&key),
            5 => self.delete(&key),
            6 => self.add(&key),
            7..9 => self.expire(&key),
            9 => self.persist(&key),
            10 => self.times(&key),
            11 => self.get_and_delete(&key),
            12 => self.get_and_expire(&key),
            13 => self.set_and_expire(&key),
            14 => self.one(&key),
            15 => return self.walk(&key, step),
            16 => return self.random(&key, step),
            _ => return self.pass_time(step),
        };
        assert_eq!(self.store.run(&line), expected, "step {step}: {line}");
        self.keys.retain(|_, fields| !fields.is_empty());
    }

    fn set(&mut self, key: &str) -> (String, String) {
        let (mut line, mut added) = (format!("HSET {key}"), 0);
        let pairs = 1 + self.rng.below(if self.names > 100 { 60 } else { 3 });
        for _ in 0..pairs {
            let (name, value) = (self.name(), self.value());
            write!(line, " {name} {value}").unwrap();
            added += i64::from(self.fields(key).insert(name, (value, None)).is_none());
        }
        (line, int(added))
    }

    fn set_if_missing(&mut self, key: &str) -> (String, String) {
        let (name, value) = (self.name(), self.value());
        let line = format!("HSETNX {key} {name} {value}");
        let missing = !self.fields(key).contains_key(&name);
        if missing {
            self.fields(key).insert(name, (value, None));
        }
        (line, int(i64::from(missing)))
    }

    fn get(&mut self, key: &str) -> (String, String) {
        let names = self.some_names();
        let fields = self.fields(key);
        let values = names.iter().map(|name| value_of(fields, name)).collect::<String>();
        (format!("HMGET {key} {}", names.join(" ")), format!("*{}\r\n{values}", names.len()))
    }

    fn delete(&mut self, key: &str) -> (String, String) {
        let names = self.some_names();
        let fields = self.fields(key);
        let gone = names.iter().filter(|name| fields.remove(*name).is_some()).count();
        (format!("HDEL {key} {}", names.join(" ")), int(gone as i64))
    }

    fn add(&mut self, key: &str) -> (String, String) {
        let (name, by) = (self.name(), self.rng.below(100) as i64 - 50);
        let line = format!("HINCRBY {key} {name} {by}");
        let fields = self.fields(key);
        let (old, deadline) = fields.get(&name).cloned().unwrap_or_else(|| ("0".to_owned(), None));
        let Ok(old) = old.parse::<i64>() else {
            return (line, "-ERR hash value is not an integer\r\n".to_owned());
        };
        fields.insert(name, ((old + by).to_string(), deadline));
        (line, int(old + by))
    }

    fn expire(&mut self, key: &str) -> (String, String) {
        let (command, argument, at) = self.deadline();
        let option = ["", " NX", " XX", " GT", " LT"][self.rng.below(5) as usize];
        let (names, now) = (self.some_names(), self.store.now);
        let fields = self.fields(key);
        let mut codes = String::new();
        for name in &names {
            let Some((_, deadline)) = fields.get_mut(name) else {
                codes += &int(-2);
                continue;
            };
            let allowed = match option {
                " NX" => deadline.is_none(),
                " XX" => deadline.is_some(),
                " GT" => at > deadline.unwrap_or(u64::MAX),
                " LT" => at < deadline.unwrap_or(u64::MAX),
                _ => true,
            };
            if allowed {
                *deadline = Some(at);
            }
            if allowed && at <= now {
                fields.remove(name);
                codes += &int(2);
            } else {
                codes += &int(i64::from(allowed));
            }
        }
        let list = list(&names);
        (format!("{command} {key} {argument}{option} {list}"), replies(&names, &codes))
    }

    fn persist(&mut self, key: &str) -> (String, String) {
        let names = self.some_names();
        let fields = self.fields(key);
        let codes = names.iter().map(|name| match fields.get_mut(name) {
            None => int(-2),
            Some((_, deadline)) => int(if deadline.take().is_some() { 1 } else { -1 }),
        });
        let codes = codes.collect::<String>();
        (format!("HPERSIST {key} {}", list(&names)), replies(&names, &codes))
    }

    fn times(&mut self, key: &str) -> (String, String) {
        let commands = ["HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME"];
        let command = commands[self.rng.below(4) as usize];
        let (names, now) = (self.some_names(), self.store.now);
        let fields = self.fields(key);
        let times = names.iter().map(|name| match fields.get(name) {
            None => int(-2),
            Some((_, None)) => int(-1),
            Some((_, Some(at))) => {
                let from = if command.contains("EXPIRE") { 0 } else { now };
                let unit = if command.starts_with("HP") { 1 } else { 1000 };
                int((at - from).div_ceil(unit) as i64)
            }
        });
        let times = times.collect::<String>();
        (format!("{command} {key} {}", list(&names)), replies(&names, &times))
    }

    fn get_and_delete(&mut self, key: &str) -> (String, String) {
        let names = self.some_names();
        let fields = self.fields(key);
        let values = names.iter().map(|name| {
            let value = value_of(fields, name);
            fields.remove(name);
            value
        });
        let values = values.collect::<String>();
        (format!("HGETDEL {key} {}", list(&names)), replies(&names, &values))
    }

    fn get_and_expire(&mut self, key: &str) -> (String, String) {
        let (option, at) = self.time_option(" PERSIST");
        let (names, now) = (self.some_names(), self.store.now);
        let fields = self.fields(key);
        let values = names.iter().map(|name| {
            let value = value_of(fields, name);
            if let Some((_, deadline)) = fields.get_mut(name) {
                match at {
                    Some(at) => *deadline = Some(at),
                    None if option == " PERSIST" => *deadline = None,
                    None => {}
                }
            }
            if at.is_some_and(|at| at <= now) {
                fields.remove(name);
            }
            value
        });
        let values = values.collect::<String>();
        (format!("HGETEX {key}{option} {}", list(&names)), replies(&names, &values))
    }

    fn set_and_expire(&mut self, key: &str) -> (String, String) {
        let (option, at) = self.time_option(" KEEPTTL");
        let condition = ["", " FNX", " FXX"][self.rng.below(3) as usize];
        let (names, now) = (self.some_names(), self.store.now);
        let pairs: Vec<_> = names.iter().map(|name| (name.clone(), self.value())).collect();
        let fields = self.fields(key);
        let there = names.iter().filter(|name| fields.contains_key(*name)).count();
        let holds = match condition {
            " FNX" => there == 0,
            " FXX" => there == names.len(),
            _ => true,
        };
        let mut line = format!("HSETEX {key}{condition}{option} FIELDS {}", names.len());
        for (name, value) in pairs {
            write!(line, " {name} {value}").unwrap();
            if !holds {
                continue;
            }
            let old = fields.get(&name).and_then(|(_, deadline)| *deadline);
            let kept = if option == " KEEPTTL" { old } else { None };
            fields.insert(name.clone(), (value, at.or(kept)));
            if at.is_some_and(|at| at <= now) {
                fields.remove(&name);
            }
        }
        (line, int(i64::from(holds)))
    }

    fn one(&mut self, key: &str) -> (String, String) {
        let name = self.name();
        let pick = self.rng.below(4);
        let fields = self.fields(key);
        let value = fields.get(&name).map(|(value, _)| value.clone());
        match pick {
            0 => (format!("HGET {key} {name}"), value_of(fields, &name)),
            1 => (format!("HEXISTS {key} {name}"), int(i64::from(value.is_some()))),
            2 => (format!("HLEN {key}"), int(fields.len() as i64)),
            _ => {
                let length = value.map_or(0, |value| value.len());
                (format!("HSTRLEN {key} {name}"), int(length as i64))
            }
        }
    }

    /// All fields, by the commands that answer them in any order.
    fn walk(&mut self, key: &str, step: usize) {
        let fields = self.fields(key).clone();
        let names: BTreeSet<_> = fields.keys().cloned().collect();
        let pairs = fields.iter().map(|(name, (value, _))| format!("{name}={value}"));
        let pairs: BTreeSet<_> = pairs.collect();
        let keys = texts(&self.store.run(&format!("HKEYS {key}")));
        assert_eq!((keys.len(), keys.into_iter().collect()), (names.len(), names), "step {step}");
        let all = paired(texts(&self.store.run(&format!("HGETALL {key}"))));
        assert_eq!((all.len(), all.into_iter().collect()), (pairs.len(), pairs.clone()));
        let (mut seen, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let count = 1 + self.rng.below(20);
            let mut found = texts(&self.store.run(&format!("HSCAN {key} {cursor} COUNT {count}")));
            cursor = found.remove(0);
            seen.extend(paired(found));
            if cursor == "0" {
                break;
            }
        }
        assert_eq!((seen.len(), seen.into_iter().collect()), (pairs.len(), pairs), "step {step}");
    }

    fn random(&mut self, key: &str, step: usize) {
        let count = self.rng.below(2 * self.names + 2) as i64 - self.names as i64;
        let fields = self.fields(key).clone();
        let found = texts(&self.store.run(&format!("HRANDFIELD {key} {count} WITHVALUES")));
        let found = paired(found);
        let different: BTreeSet<_> = found.iter().collect();
        for pair in &different {
            let (name, value) = pair.split_once('=').unwrap();
            assert_eq!(fields.get(name).map(|(value, _)| &**value), Some(value), "step {step}");
        }
        if count < 0 {
            let expected = if fields.is_empty() { 0 } else { count.unsigned_abs() as usize };
            assert_eq!(found.len(), expected, "step {step}");
        } else {
            assert_eq!(different.len(), fields.len().min(count as usize), "step {step}");
            assert_eq!(different.len(), found.len(), "step {step}");
        }
    }

    fn pass_time(&mut self, step: usize) {
        self.store.now += LAG_MS + self.rng.below(1500);
        let now = self.store.now;
        let maybe = self.keys.values().filter(|fields| {
            fields.values().any(|(_, deadline)| deadline.is_none_or(|at| at + LAG_MS > now))
        });
        let most = maybe.count() as u64;
        for fields in self.keys.values_mut() {
            fields.retain(|_, (_, deadline)| deadline.is_none_or(|at| at > now));
        }
        self.keys.retain(|_, fields| !fields.is_empty());
        if self.rng.below(2) == 0 {
            self.store.maintain();
            let keys: u64 = self.store.shards.0.iter().map(|shard| shard.len(0)).sum();
            assert!((self.keys.len() as u64..=most).contains(&keys), "step {step}: {keys}");
        }
    }

    fn fields(&mut self, key: &str) -> &mut Fields {
        self.keys.entry(key.to_owned()).or_default()
    }

    fn name(&mut self) -> String {
        format!("f{}", self.rng.below(self.names))
    }

    /// Between one and four names, the same one twice among them at times.
    fn some_names(&mut self) -> Vec<String> {
        (0..=self.rng.below(4)).map(|_| self.name()).collect()
    }

    fn value(&mut self) -> String {
        match self.rng.below(3) {
            0 => "v".repeat(1 + self.rng.below(30) as usize),
            _ => (self.rng.below(1000) as i64 - 500).to_string(),
        }
    }

    /// A command of the HEXPIRE family, its argument, and the deadline that they mean.
    fn deadline(&mut self) -> (&'static str, u64, u64) {
        let now = self.store.now;
        match self.rng.below(4) {
            0 => span("HEXPIRE", self.rng.below(4), now, 1000),
            1 => span("HPEXPIRE", self.rng.below(4000), now, 1),
            2 => span("HEXPIREAT", (now / 1000 + self.rng.below(5)).saturating_sub(1), 0, 1000),
            _ => span("HPEXPIREAT", now + self.rng.below(4000) - 500, 0, 1),
        }
    }

    /// Nothing, `other`, or a deadline as HGETEX and HSETEX take it.
    fn time_option(&mut self, other: &str) -> (String, Option<u64>) {
        match self.rng.below(4) {
            0 => (String::new(), None),
            1 => (other.to_owned(), None),
            _ => {
                let (command, argument, at) = self.deadline();
                let option = match command {
                    "HEXPIRE" => "EX",
                    "HPEXPIRE" => "PX",
                    "HEXPIREAT" => "EXAT",
                    _ => "PXAT",
                };
                (format!(" {option} {argument}"), Some(at))
            }
        }
    }
}

fn span(command: &'static str, argument: u64, from: u64, unit: u64) -> (&'static str, u64, u64) {
    (command, argument, from + argument * unit)
}

fn int(value: i64) -> String {
    format!(":{value}\r\n")
}

fn value_of(fields: &Fields, name: &str) -> String {
    let value = fields.get(name);
    value.map_or_else(|| NULL.to_owned(), |(value, _)| format!("${}\r\n{value}\r\n", value.len()))
}

fn list(names: &[String]) -> String {
    format!("FIELDS {} {}", names.len(), names.join(" "))
}

fn replies(names: &[String], each: &str) -> String {
    format!("*{}\r\n{each}", names.len())
}

/// The texts of a reply, whatever their nesting.
fn texts(reply: &str) -> Vec<String> {
    reply.lines().filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned).collect()
}

fn paired(texts: Vec<String>) -> Vec<String> {
    texts.chunks(2).map(|pair| pair.join("=")).collect()
}
