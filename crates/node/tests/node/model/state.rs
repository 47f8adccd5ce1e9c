//! What the store should do: databases as plain maps, commands as plain code.
//!
//! What always holds: nothing overdue is in the maps after `expire`; the same words on the same
//! state give the reply that Redis 7.4 gives.

use crate::support::{DATABASES, Reply};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Words = Vec<Vec<u8>>;
pub(crate) type Fields = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    String(Vec<u8>),
    Hash(Fields),
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) value: Value,
    pub(crate) deadline: Option<u64>,
    /// memcached's client flags.
    pub(crate) flags: u32,
    /// The CAS value that memcached was told, while it is still right.
    pub(crate) cas: Option<u64>,
    /// Tells this key from one of the same name that was there before.
    pub(crate) born: u64,
}

/// A RESP client.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) db: usize,
    pub(crate) queued: Option<Vec<Words>>,
    pub(crate) watched: BTreeSet<(usize, Vec<u8>)>,
    pub(crate) broken: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) databases: [BTreeMap<Vec<u8>, Item>; DATABASES],
    pub(crate) clients: Vec<Client>,
    pub(crate) now: u64,
    pub(crate) births: u64,
    /// What the last EXEC ran, for a message.
    pub(crate) ran: Vec<Words>,
}

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "-ERR value is not an integer or out of range";
const OVERFLOW: &str = "-ERR increment or decrement would overflow";
const SAME: &str = "-ERR source and destination objects are the same";

fn number(word: &[u8]) -> Option<i64> {
    let text = str::from_utf8(word).ok()?;
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

fn index(word: &[u8]) -> i64 {
    number(word).unwrap()
}

/// How a deadline may be moved.
fn may_move(option: Option<&[u8]>, old: Option<u64>, new: u64) -> bool {
    match option {
        None => true,
        Some(b"NX") => old.is_none(),
        Some(b"XX") => old.is_some(),
        Some(b"GT") => old.is_some_and(|old| new > old),
        Some(b"LT") => old.is_none_or(|old| new < old),
        Some(_) => unreachable!(),
    }
}

impl State {
    /// Moves the clock and ends what is due.
    pub(crate) fn pass(&mut self, now: u64) {
        self.now = now;
        let mut touched = Vec::new();
        for (db, database) in self.databases.iter_mut().enumerate() {
            database.retain(|key, item| {
                let mut over = item.deadline.is_some_and(|deadline| deadline <= now);
                if let Value::Hash(fields) = &mut item.value {
                    let before = fields.len();
                    fields.retain(|_, (_, due)| due.is_none_or(|due| due > now));
                    if fields.len() < before {
                        touched.push((db, key.clone()));
                    }
                    over |= fields.is_empty();
                }
                if over {
                    touched.push((db, key.clone()));
                }
                !over
            });
        }
        touched.iter().for_each(|(db, key)| self.touch(*db, key));
    }

    /// Breaks the watches of a key.
    pub(crate) fn touch(&mut self, db: usize, key: &[u8]) {
        for client in self.clients.iter_mut().filter(|client| !client.broken) {
            client.broken = client.watched.contains(&(db, key.to_vec()));
        }
    }

    pub(crate) fn put(
        &mut self,
        db: usize,
        key: &[u8],
        value: Value,
        deadline: Option<u64>,
        flags: u32,
    ) {
        self.births += 1;
        let born = self.databases[db].get(key).map_or(self.births, |old| old.born);
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            // What is over when it comes ends what is there, and is no change otherwise.
            self.remove(db, key);
            return;
        }
        self.touch(db, key);
        let item = Item { value, deadline, flags, cas: None, born };
        self.databases[db].insert(key.to_vec(), item);
    }

    pub(crate) fn remove(&mut self, db: usize, key: &[u8]) -> Option<Item> {
        let gone = self.databases[db].remove(key);
        if gone.is_some() {
            self.touch(db, key);
        }
        gone
    }

    fn put_string(&mut self, db: usize, key: &[u8], value: &[u8], deadline: Option<u64>) {
        self.put(db, key, Value::String(value.to_vec()), deadline, 0);
    }

    /// Changes the string of a key, which may be missing, and nothing else about it.
    pub(crate) fn edit(&mut self, db: usize, key: &[u8], value: Vec<u8>) {
        let old = self.databases[db].get(key);
        let (deadline, flags) = old.map_or((None, 0), |old| (old.deadline, old.flags));
        self.put(db, key, Value::String(value), deadline, flags);
    }

    fn string(&self, db: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Reply> {
        match self.databases[db].get(key).map(|item| &item.value) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value.clone())),
            Some(Value::Hash(_)) => Err(Reply::line(WRONG)),
        }
    }

    fn hash(&self, db: usize, key: &[u8]) -> Result<Fields, Reply> {
        match self.databases[db].get(key).map(|item| &item.value) {
            None => Ok(Fields::new()),
            Some(Value::Hash(fields)) => Ok(fields.clone()),
            Some(Value::String(_)) => Err(Reply::line(WRONG)),
        }
    }

    fn keep_hash(&mut self, db: usize, key: &[u8], fields: Fields) {
        if fields.is_empty() {
            self.remove(db, key);
            return;
        }
        let deadline = self.databases[db].get(key).and_then(|item| item.deadline);
        let flags = self.databases[db].get(key).map_or(0, |item| item.flags);
        self.put(db, key, Value::Hash(fields), deadline, flags);
    }

    /// What a client's request does and answers.
    pub(crate) fn request(&mut self, client: usize, words: &Words) -> Reply {
        let name = String::from_utf8_lossy(&words[0]).into_owned();
        let asks = &mut self.clients[client];
        match (name.as_str(), &mut asks.queued) {
            ("MULTI", Some(_)) => Reply::line("-ERR MULTI calls can not be nested"),
            ("MULTI", queued) => {
                *queued = Some(Vec::new());
                Reply::ok()
            }
            ("WATCH", Some(_)) => Reply::line("-ERR WATCH inside MULTI is not allowed"),
            ("WATCH", None) => {
                let db = asks.db;
                asks.watched.extend(words[1..].iter().map(|key| (db, key.clone())));
                Reply::ok()
            }
            ("EXEC" | "DISCARD", None) => Reply::Line(format!("-ERR {name} without MULTI")),
            ("DISCARD", queued) => {
                *queued = None;
                (asks.broken, asks.watched) = (false, BTreeSet::new());
                Reply::ok()
            }
            ("EXEC", queued) => {
                let queued = queued.take().unwrap();
                self.ran.clone_from(&queued);
                asks.watched.clear();
                if std::mem::take(&mut asks.broken) {
                    return Reply::NilArray;
                }
                Reply::Array(queued.iter().map(|words| self.execute(client, words)).collect())
            }
            (_, Some(queued)) => {
                queued.push(words.clone());
                Reply::line("+QUEUED")
            }
            _ => self.execute(client, words),
        }
    }

    fn execute(&mut self, client: usize, words: &Words) -> Reply {
        let name = String::from_utf8_lossy(&words[0]).into_owned();
        let db = self.clients[client].db;
        let answer = match name.as_str() {
            "UNWATCH" | "SELECT" | "FLUSHDB" | "FLUSHALL" | "SWAPDB" => {
                Ok(self.whole(client, &name, words))
            }
            "MGET" | "MSET" | "MSETNX" | "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => {
                Ok(self.many(db, &name, &words[1..]))
            }
            "RENAME" | "RENAMENX" | "COPY" | "MOVE" => Ok(self.carry(db, &name, words)),
            name if name.starts_with('H') => self.fields(db, name, words),
            name if name.contains("EXPIRE") || name.ends_with("TTL") || name == "PERSIST" => {
                Ok(self.time(db, name, words))
            }
            name => self.strings(db, name, words),
        };
        answer.unwrap_or_else(|error| error)
    }

    fn whole(&mut self, client: usize, name: &str, words: &Words) -> Reply {
        match name {
            "UNWATCH" => {
                let client = &mut self.clients[client];
                (client.broken, client.watched) = (false, BTreeSet::new());
            }
            "SELECT" => self.clients[client].db = index(&words[1]) as usize,
            "SWAPDB" => {
                let (a, b) = (index(&words[1]) as usize, index(&words[2]) as usize);
                if a != b {
                    let keys: BTreeSet<Vec<u8>> =
                        [a, b].iter().flat_map(|db| self.databases[*db].keys().cloned()).collect();
                    keys.iter().for_each(|key| [a, b].iter().for_each(|db| self.touch(*db, key)));
                    self.databases.swap(a, b);
                }
            }
            _ => {
                let db = self.clients[client].db;
                let all = if name == "FLUSHALL" { 0..DATABASES } else { db..db + 1 };
                all.for_each(|db| self.clear(db));
            }
        }
        Reply::ok()
    }

    pub(crate) fn clear(&mut self, db: usize) {
        let keys: Vec<Vec<u8>> = self.databases[db].keys().cloned().collect();
        keys.iter().for_each(|key| drop(self.remove(db, key)));
    }

    fn many(&mut self, db: usize, name: &str, words: &[Vec<u8>]) -> Reply {
        let there = |state: &Self, key: &Vec<u8>| state.databases[db].contains_key(key);
        match name {
            "MGET" => {
                let value = |key: &Vec<u8>| match self.string(db, key) {
                    Ok(Some(value)) => Reply::Bulk(value),
                    _ => Reply::Nil,
                };
                Reply::Array(words.iter().map(value).collect())
            }
            "DEL" | "UNLINK" => {
                Reply::int(words.iter().filter(|key| self.remove(db, key).is_some()).count() as i64)
            }
            "EXISTS" | "TOUCH" => {
                Reply::int(words.iter().filter(|key| there(self, key)).count() as i64)
            }
            _ => {
                if name == "MSETNX" && words.chunks(2).any(|pair| there(self, &pair[0])) {
                    return Reply::int(0);
                }
                words.chunks(2).for_each(|pair| self.put_string(db, &pair[0], &pair[1], None));
                if name == "MSETNX" { Reply::int(1) } else { Reply::ok() }
            }
        }
    }

    /// Commands that take an item to another key.
    fn carry(&mut self, db: usize, name: &str, words: &Words) -> Reply {
        let key = &words[1];
        let (to_db, to) = match name {
            "MOVE" => (index(&words[2]) as usize, key),
            "COPY" if words.len() > 4 => (index(&words[4]) as usize, &words[2]),
            _ => (db, &words[2]),
        };
        let replace = name == "RENAME" || words.last().unwrap() == b"REPLACE";
        let same = (db, key) == (to_db, to);
        if same && (name == "MOVE" || name == "COPY") {
            return Reply::line(SAME);
        }
        let Some(item) = self.databases[db].get(key).cloned() else {
            let renames = name.starts_with("RENAME");
            return if renames { Reply::line("-ERR no such key") } else { Reply::int(0) };
        };
        if same {
            return if replace { Reply::ok() } else { Reply::int(0) };
        }
        if !replace && self.databases[to_db].contains_key(to) {
            return Reply::int(0);
        }
        if name != "COPY" {
            self.remove(db, key);
        }
        self.put(to_db, to, item.value, item.deadline, item.flags);
        if name == "RENAME" { Reply::ok() } else { Reply::int(1) }
    }

    fn time(&mut self, db: usize, name: &str, words: &Words) -> Reply {
        let (key, now) = (&words[1], self.now);
        let Some(item) = self.databases[db].get(key) else {
            let asks = name.ends_with("TTL") || name.ends_with("TIME");
            return Reply::int(if asks { -2 } else { 0 });
        };
        let old = item.deadline;
        let seconds = |ms: u64| ((ms + 500) / 1000) as i64;
        match name {
            "TTL" => return Reply::int(old.map_or(-1, |old| seconds(old - now))),
            "PTTL" => return Reply::int(old.map_or(-1, |old| (old - now) as i64)),
            "EXPIRETIME" => return Reply::int(old.map_or(-1, seconds)),
            "PEXPIRETIME" => return Reply::int(old.map_or(-1, |old| old as i64)),
            "PERSIST" => {
                if old.is_none() {
                    return Reply::int(0);
                }
                self.touch(db, key);
                self.databases[db].get_mut(key).unwrap().deadline = None;
                return Reply::int(1);
            }
            _ => {}
        }
        let given = index(&words[2]);
        let new = match name {
            "EXPIRE" => now as i64 + given * 1000,
            "PEXPIRE" => now as i64 + given,
            "EXPIREAT" => given * 1000,
            _ => given,
        };
        if !may_move(words.get(3).map(Vec::as_slice), old, new.max(0) as u64) {
            return Reply::int(0);
        }
        self.touch(db, key);
        if new <= now as i64 {
            self.databases[db].remove(key);
        } else {
            self.databases[db].get_mut(key).unwrap().deadline = Some(new as u64);
        }
        Reply::int(1)
    }

    fn strings(&mut self, db: usize, name: &str, words: &Words) -> Result<Reply, Reply> {
        let key = &words[1];
        let bulk = |value: Option<Vec<u8>>| value.map_or(Reply::Nil, Reply::Bulk);
        let old = self.databases[db].get(key).cloned();
        match name {
            "TYPE" => Ok(Reply::line(match old.map(|old| old.value) {
                None => "+none",
                Some(Value::String(_)) => "+string",
                Some(Value::Hash(_)) => "+hash",
            })),
            "SET" => self.set(db, key, &words[2], &words[3..]),
            "SETNX" => {
                if old.is_none() {
                    self.put_string(db, key, &words[2], None);
                }
                Ok(Reply::int(i64::from(old.is_none())))
            }
            "SETEX" | "PSETEX" => {
                let unit = if name == "SETEX" { 1000 } else { 1 };
                let deadline = self.now + index(&words[2]) as u64 * unit;
                self.put_string(db, key, &words[3], Some(deadline));
                Ok(Reply::ok())
            }
            "GET" => Ok(bulk(self.string(db, key)?)),
            "GETSET" => {
                let value = self.string(db, key)?;
                self.put_string(db, key, &words[2], None);
                Ok(bulk(value))
            }
            "GETDEL" => {
                let value = self.string(db, key)?;
                self.remove(db, key);
                Ok(bulk(value))
            }
            "GETEX" => {
                let value = self.string(db, key)?;
                if let Some(old) = old {
                    let deadline = match words[2].as_slice() {
                        b"PERSIST" => None,
                        _ => Some(self.now + index(&words[3]) as u64),
                    };
                    if deadline.is_some() || old.deadline.is_some() {
                        self.touch(db, key);
                        self.databases[db].get_mut(key).unwrap().deadline = deadline;
                    }
                }
                Ok(bulk(value))
            }
            "STRLEN" => Ok(Reply::int(self.string(db, key)?.map_or(0, |value| value.len() as i64))),
            "GETRANGE" => {
                let value = self.string(db, key)?.unwrap_or_default();
                let len = value.len() as i64;
                let place = |word: &[u8]| {
                    let at = index(word);
                    if at < 0 { (len + at).max(0) } else { at }
                };
                let (first, last) = (index(&words[2]), index(&words[3]));
                let (from, to) = (place(&words[2]), place(&words[3]).min(len - 1));
                let none = len == 0 || from > to || first < 0 && last < 0 && first > last;
                let part = if none { &[] } else { &value[from as usize..=to as usize] };
                Ok(Reply::bulk(part))
            }
            "APPEND" | "SETRANGE" => {
                let mut value = self.string(db, key)?.unwrap_or_default();
                let bytes = words.last().unwrap();
                let at = if name == "APPEND" { value.len() } else { index(&words[2]) as usize };
                value.resize(value.len().max(at + bytes.len()), 0);
                value[at..at + bytes.len()].copy_from_slice(bytes);
                let len = value.len() as i64;
                self.edit(db, key, value);
                Ok(Reply::int(len))
            }
            "INCR" | "DECR" | "INCRBY" | "DECRBY" => {
                let by = words.get(2).map_or(1, |by| index(by));
                let by = if name.starts_with('D') { -by } else { by };
                let value = self.string(db, key)?.map_or(Some(0), |value| number(&value));
                let sum = value.ok_or_else(|| Reply::line(NOT_INT))?.checked_add(by);
                let sum = sum.ok_or_else(|| Reply::line(OVERFLOW))?;
                self.edit(db, key, sum.to_string().into_bytes());
                Ok(Reply::int(sum))
            }
            other => panic!("the model doesn't know {other}"),
        }
    }

    fn set(
        &mut self,
        db: usize,
        key: &[u8],
        value: &[u8],
        options: &[Vec<u8>],
    ) -> Result<Reply, Reply> {
        let old = self.databases[db].get(key).cloned();
        let has = |option: &[u8]| options.iter().any(|word| word == option);
        let get = has(b"GET");
        let before = if get { self.string(db, key)? } else { None };
        let mut deadline = None;
        for pair in options.windows(2) {
            match pair[0].as_slice() {
                b"EX" => deadline = Some(self.now + index(&pair[1]) as u64 * 1000),
                b"PX" => deadline = Some(self.now + index(&pair[1]) as u64),
                b"PXAT" => deadline = Some(index(&pair[1]) as u64),
                _ => {}
            }
        }
        if has(b"KEEPTTL") {
            deadline = old.as_ref().and_then(|old| old.deadline);
        }
        let holds = !(has(b"NX") && old.is_some() || has(b"XX") && old.is_none());
        if holds {
            self.put_string(db, key, value, deadline);
        }
        Ok(match (get, holds) {
            (true, _) => before.map_or(Reply::Nil, Reply::Bulk),
            (false, true) => Reply::ok(),
            (false, false) => Reply::Nil,
        })
    }

    fn fields(&mut self, db: usize, name: &str, words: &Words) -> Result<Reply, Reply> {
        let key = &words[1];
        let mut hash = self.hash(db, key)?;
        let field = words.get(2).cloned().unwrap_or_default();
        let bulk = |value: Option<&(Vec<u8>, Option<u64>)>| {
            value.map_or(Reply::Nil, |(value, _)| Reply::bulk(value))
        };
        match name {
            "HGET" => return Ok(bulk(hash.get(&field))),
            "HMGET" => {
                return Ok(Reply::Array(words[2..].iter().map(|f| bulk(hash.get(f))).collect()));
            }
            "HLEN" => return Ok(Reply::int(hash.len() as i64)),
            "HEXISTS" => return Ok(Reply::int(i64::from(hash.contains_key(&field)))),
            "HSTRLEN" => {
                return Ok(Reply::int(hash.get(&field).map_or(0, |(value, _)| value.len() as i64)));
            }
            "HGETALL" => {
                let pair = |(name, (value, _)): (&Vec<u8>, &(Vec<u8>, Option<u64>))| {
                    Reply::Array(vec![Reply::bulk(name), Reply::bulk(value)])
                };
                return Ok(Reply::Pairs(hash.iter().map(pair).collect()));
            }
            "HSETNX" if hash.contains_key(&field) => return Ok(Reply::int(0)),
            "HPEXPIRE" | "HPEXPIREAT" | "HPTTL" | "HPEXPIRETIME" | "HPERSIST" => {
                return Ok(self.field_times(db, name, words, hash));
            }
            _ => {}
        }
        let before = hash.len();
        let answer = match name {
            "HSET" | "HSETNX" => {
                for pair in words[2..].chunks(2) {
                    hash.insert(pair[0].clone(), (pair[1].clone(), None));
                }
                (hash.len() - before) as i64
            }
            "HDEL" => {
                words[2..].iter().for_each(|field| drop(hash.remove(field)));
                if hash.len() == before {
                    return Ok(Reply::int(0));
                }
                (before - hash.len()) as i64
            }
            "HINCRBY" => {
                let place = hash.entry(field).or_insert_with(|| (b"0".to_vec(), None));
                let value = number(&place.0)
                    .ok_or_else(|| Reply::line("-ERR hash value is not an integer"))?;
                let sum =
                    value.checked_add(index(&words[3])).ok_or_else(|| Reply::line(OVERFLOW))?;
                place.0 = sum.to_string().into_bytes();
                sum
            }
            other => panic!("the model doesn't know {other}"),
        };
        self.keep_hash(db, key, hash);
        Ok(Reply::int(answer))
    }

    /// Commands about fields' deadlines: `name key [time [option]] FIELDS n field ...`.
    fn field_times(&mut self, db: usize, name: &str, words: &Words, mut hash: Fields) -> Reply {
        let list = words.iter().position(|word| word == b"FIELDS").unwrap();
        let option = (list == 4).then(|| words[3].as_slice());
        let now = self.now;
        let mut changed = false;
        let mut codes = Vec::new();
        for field in &words[list + 2..] {
            let Some((_, due)) = hash.get_mut(field) else {
                codes.push(Reply::int(-2));
                continue;
            };
            codes.push(Reply::int(match (name, *due) {
                ("HPTTL", due) => due.map_or(-1, |due| (due - now) as i64),
                ("HPEXPIRETIME", due) => due.map_or(-1, |due| due as i64),
                ("HPERSIST", None) => -1,
                ("HPERSIST", Some(_)) => {
                    (*due, changed) = (None, true);
                    1
                }
                (_, old) => {
                    let given = index(&words[2]) as u64;
                    let new = if name == "HPEXPIRE" { now + given } else { given };
                    if !may_move(option, old, new) {
                        0
                    } else if new <= now {
                        changed = true;
                        hash.remove(field);
                        2
                    } else {
                        (*due, changed) = (Some(new), true);
                        1
                    }
                }
            }));
        }
        if changed {
            self.keep_hash(db, &words[1], hash);
        }
        Reply::Array(codes)
    }
}
