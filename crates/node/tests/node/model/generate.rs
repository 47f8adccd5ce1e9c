//! Random requests: every family, on few keys, so that they meet.

use super::state::Words;
use crate::support::{DATABASES, START};
use engine::Rng;

/// Which requests a batch may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    /// None that is about whole databases.
    Keys,
}

pub(crate) fn key(rng: &mut Rng) -> Vec<u8> {
    let n = rng.below(120);
    match n % 6 {
        0 => format!("session:{:032x}", u128::from(n) << 90 | 7).into_bytes(),
        1 => format!(":1:cache:Zx_{n}").into_bytes(),
        2 => format!("{n}").into_bytes(),
        3 => format!("user:{n}:name").into_bytes(),
        4 => format!("{n:0>width$}", width = 1 + n as usize * 2).into_bytes(),
        _ => vec![b'a' + (n % 26) as u8; 1 + (n / 26) as usize],
    }
}

pub(crate) fn value(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(300) {
        0 => 60_000 + rng.below(300_000),
        1..10 => rng.below(9_000),
        10..100 => return rng.below(100_000).to_string().into_bytes(),
        _ => 1 + rng.below(400),
    };
    let (seed, step) = (rng.next_u64() as u8, rng.below(7) as u8);
    (0..len).map(|i| seed.wrapping_add((i as u8).wrapping_mul(step))).collect()
}

fn field(rng: &mut Rng, many: bool) -> Vec<u8> {
    format!("field{}", rng.below(if many { 2000 } else { 8 })).into_bytes()
}

/// Milliseconds from now to a deadline: near ones, and some of any distance.
fn ahead(rng: &mut Rng) -> u64 {
    1 + match rng.below(8) {
        0 => rng.below(30 * 86_400_000),
        1 => rng.below(600_000),
        2 => 100 * 365 * 86_400_000,
        _ => rng.below(3_000),
    }
}

fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.below(words.len() as u64) as usize]
}

struct Request<'r> {
    rng: &'r mut Rng,
    words: Words,
    now: u64,
}

/// The words of a random request.
pub(crate) fn request(rng: &mut Rng, now: u64, scope: Scope) -> Words {
    let mut request = Request { rng, words: Words::new(), now };
    match request.rng.below(100) {
        0..40 => request.strings(),
        40..48 => request.many(),
        48..56 => request.carry(),
        56..68 => request.time(),
        68..88 => request.fields(),
        88..97 => request.transaction(),
        _ if scope == Scope::Keys => request.strings(),
        _ => request.whole(),
    }
    request.words
}

impl Request<'_> {
    fn word(&mut self, word: &str) {
        self.words.push(word.as_bytes().to_vec());
    }

    fn number(&mut self, number: i64) {
        self.word(&number.to_string());
    }

    fn key(&mut self) {
        let key = key(self.rng);
        self.words.push(key);
    }

    fn value(&mut self) {
        let value = value(self.rng);
        self.words.push(value);
    }

    fn name(&mut self, names: &[&'static str]) -> &'static str {
        let name = pick(self.rng, names);
        self.word(name);
        name
    }

    fn strings(&mut self) {
        let name = self.name(&[
            "SET", "SET", "SET", "SET", "SET", "SET", "SETNX", "SETEX", "PSETEX", "GET", "GET",
            "GET", "GETSET", "GETDEL", "GETEX", "STRLEN", "GETRANGE", "APPEND", "SETRANGE", "INCR",
            "DECR", "INCRBY", "DECRBY", "TYPE", "TYPE",
        ]);
        self.key();
        let ahead = ahead(self.rng) as i64;
        let near = self.rng.below(500) as i64;
        match name {
            "SET" => self.set(ahead),
            "SETNX" | "GETSET" | "APPEND" => self.value(),
            "SETEX" => {
                self.number(1 + ahead / 1000);
                self.value();
            }
            "PSETEX" => {
                self.number(ahead);
                self.value();
            }
            "GETEX" if self.rng.below(2) == 0 => self.word("PERSIST"),
            "GETEX" => {
                self.word("PX");
                self.number(ahead);
            }
            "GETRANGE" => {
                self.number(near - 250);
                let to = self.rng.below(400) as i64 - 200;
                self.number(to);
            }
            "SETRANGE" => {
                self.number(near);
                self.value();
            }
            "INCRBY" | "DECRBY" => {
                let by = if near == 7 { i64::MAX } else { near - 250 };
                self.number(by);
            }
            _ => {}
        }
    }

    fn set(&mut self, ahead: i64) {
        self.value();
        match self.rng.below(9) {
            0 => {
                self.word("EX");
                self.number(1 + ahead / 1000);
            }
            1 | 2 => {
                self.word("PX");
                self.number(ahead);
            }
            3 => {
                self.word("PXAT");
                // Sometimes it's over already.
                self.number((self.now as i64 + ahead - 500).max(START as i64 - 9));
            }
            4 => self.word("KEEPTTL"),
            _ => {}
        }
        match self.rng.below(8) {
            0 => self.word("NX"),
            1 => self.word("XX"),
            _ => {}
        }
        if self.rng.below(6) == 0 {
            self.word("GET");
        }
    }

    fn many(&mut self) {
        let name = self
            .name(&["MGET", "MGET", "MSET", "MSETNX", "DEL", "DEL", "UNLINK", "EXISTS", "TOUCH"]);
        for _ in 0..1 + self.rng.below(5) {
            self.key();
            if name.starts_with("MSET") {
                self.value();
            }
        }
    }

    fn carry(&mut self) {
        let name = self.name(&["RENAME", "RENAMENX", "COPY", "COPY", "MOVE"]);
        self.key();
        if name == "MOVE" {
            let db = self.rng.below(DATABASES as u64) as i64;
            return self.number(db);
        }
        self.key();
        if name == "COPY" {
            if self.rng.below(2) == 0 {
                self.word("DB");
                let db = self.rng.below(DATABASES as u64) as i64;
                self.number(db);
            }
            if self.rng.below(2) == 0 {
                self.word("REPLACE");
            }
        }
    }

    fn time(&mut self) {
        let name = self.name(&[
            "EXPIRE",
            "PEXPIRE",
            "PEXPIRE",
            "EXPIREAT",
            "PEXPIREAT",
            "TTL",
            "PTTL",
            "EXPIRETIME",
            "PEXPIRETIME",
            "PERSIST",
        ]);
        self.key();
        let (now, ahead) = (self.now as i64, ahead(self.rng) as i64 - 200);
        match name {
            "EXPIRE" => self.number(ahead / 1000),
            "PEXPIRE" => self.number(ahead),
            "EXPIREAT" => self.number((now + ahead) / 1000),
            "PEXPIREAT" => self.number(now + ahead),
            _ => return,
        }
        if self.rng.below(3) == 0 {
            self.name(&["NX", "XX", "GT", "LT"]);
        }
    }

    fn fields(&mut self) {
        let name = self.name(&[
            "HSET",
            "HSET",
            "HSET",
            "HSET",
            "HSETNX",
            "HGET",
            "HMGET",
            "HDEL",
            "HDEL",
            "HLEN",
            "HEXISTS",
            "HSTRLEN",
            "HINCRBY",
            "HGETALL",
            "HPEXPIRE",
            "HPEXPIRE",
            "HPEXPIREAT",
            "HPTTL",
            "HPEXPIRETIME",
            "HPERSIST",
        ]);
        self.key();
        let most = if self.rng.below(12) == 0 { 900 } else { 4 };
        let count = 1 + self.rng.below(most);
        if name == "HPEXPIRE" || name == "HPEXPIREAT" {
            let ahead = ahead(self.rng).min(1 << 40) as i64;
            let past = i64::from(self.rng.below(9) == 0) * ahead;
            self.number(if name == "HPEXPIRE" {
                ahead - past
            } else {
                self.now as i64 + ahead - past
            });
            if self.rng.below(4) == 0 {
                self.name(&["NX", "XX", "GT", "LT"]);
            }
        }
        if name.contains("EXPIRE") || name == "HPTTL" || name == "HPERSIST" {
            self.word("FIELDS");
            self.number(count as i64);
        }
        let single = ["HGET", "HSETNX", "HEXISTS", "HSTRLEN", "HINCRBY"].contains(&name);
        for _ in 0..if single { 1 } else { count } {
            if name == "HLEN" || name == "HGETALL" {
                break;
            }
            let field = field(self.rng, most > 4);
            self.words.push(field);
            if name.starts_with("HSET") {
                let value = self.rng.below(10_000).to_string();
                let word = if self.rng.below(5) == 0 { "not a number" } else { &value };
                self.word(word);
            }
        }
        if name == "HINCRBY" {
            let by = self.rng.below(200) as i64 - 100;
            self.number(by);
        }
    }

    fn transaction(&mut self) {
        let name =
            self.name(&["MULTI", "MULTI", "EXEC", "EXEC", "EXEC", "DISCARD", "WATCH", "UNWATCH"]);
        if name == "WATCH" {
            for _ in 0..1 + self.rng.below(3) {
                self.key();
            }
        }
    }

    fn whole(&mut self) {
        let db = self.rng.below(DATABASES as u64) as i64;
        match self.rng.below(12) {
            0 => self.word("FLUSHDB"),
            1 if self.rng.below(3) == 0 => self.word("FLUSHALL"),
            2..5 => {
                self.word("SWAPDB");
                self.number(db);
                let other = self.rng.below(DATABASES as u64) as i64;
                self.number(other);
            }
            _ => {
                self.word("SELECT");
                // The first database has what memcached sees.
                let first = self.rng.below(2) == 0;
                self.number(if first { 0 } else { db });
            }
        }
    }
}
