//! What sessions are, written down as plainly as possible: a map of keys, no shards, no bytes.

use crate::support::Reply;
use std::collections::BTreeMap;

/// What a request says beside its keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) set: Vec<(String, String)>,
    pub(super) delete: Vec<String>,
    pub(super) delete_trees: Vec<String>,
    pub(super) idle_s: Option<u64>,
    pub(super) max_s: Option<u64>,
    pub(super) at: Option<u64>,
    pub(super) user: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) expected: Option<i64>,
    pub(super) token: Option<String>,
    pub(super) grace_s: u64,
    pub(super) hard: bool,
    pub(super) or_create: bool,
}

impl Options {
    fn patches(&self) -> bool {
        !(self.set.is_empty() && self.delete.is_empty() && self.delete_trees.is_empty())
    }
}

#[derive(Clone, Debug, Default)]
struct Session {
    version: i64,
    fields: BTreeMap<String, String>,
    user: String,
    idle_ms: u64,
    absolute: Option<u64>,
    ends: Option<u64>,
    created: u64,
    base: u64,
    seen: u64,
    answered: Vec<(String, i64, u64)>,
}

impl Session {
    fn slide(&mut self, now: u64) {
        self.seen = now;
        if self.idle_ms > 0 {
            self.ends = self.bound(Some(now + self.idle_ms));
        }
    }

    fn bound(&self, ends: Option<u64>) -> Option<u64> {
        [ends, self.absolute].into_iter().flatten().min()
    }

    fn limit(&mut self, given: &Options, now: u64) {
        let set = self.ends.filter(|at| self.idle_ms == 0 && self.absolute != Some(*at));
        if let Some(idle) = given.idle_s {
            self.idle_ms = idle * 1000;
        }
        match (given.at, given.max_s) {
            (Some(at), _) => self.absolute = Some(at),
            (None, Some(0)) => self.absolute = None,
            (None, Some(max)) => self.absolute = Some(self.base + max * 1000),
            (None, None) => {}
        }
        self.ends = self.bound(set);
        self.slide(now);
    }

    fn merge(&mut self, given: &Options) {
        for tree in &given.delete_trees {
            let below = format!("{tree}.");
            let stays = |name: &str| !tree.is_empty() && name != tree && !name.starts_with(&below);
            self.fields.retain(|name, _| stays(name));
        }
        for name in &given.delete {
            self.fields.remove(name);
        }
        for (name, value) in &given.set {
            let below = format!("{name}.");
            let above = |other: &str| name.starts_with(&format!("{other}."));
            if value == "{}" {
                let mut there = self.fields.iter();
                if there.any(|(other, value)| (above(other) || other == name) && value != "{}") {
                    continue;
                }
            } else {
                self.fields.retain(|other, _| !other.starts_with(&below));
                self.fields.retain(|other, value| !above(other) || value == "{}");
            }
            self.fields.insert(name.clone(), value.clone());
        }
    }

    fn answered(&self, token: Option<&String>, now: u64) -> Option<i64> {
        let is_it = |row: &&(String, i64, u64)| Some(&row.0) == token && row.2 > now;
        self.answered.iter().rev().find(is_it).map(|row| row.1)
    }

    fn answer(&mut self, token: Option<&String>, version: i64, now: u64) {
        self.version = version;
        self.answered.extend(token.map(|token| (token.clone(), version, now + 60_000)));
    }
}

#[derive(Clone, Debug)]
enum Entry {
    Session(Session),
    Tombstone(u64),
    Alias { target: String, owner: String, until: u64 },
}

enum Target {
    Gone,
    Rotated,
    Session(String),
}

/// All sessions.
#[derive(Default)]
pub(super) struct Model {
    pub(super) now: u64,
    entries: BTreeMap<String, Entry>,
}

impl Model {
    pub(super) fn create(&mut self, key: &str, given: &Options, reply: &Reply) {
        match self.entry(key) {
            None => self.put_new(key, given, reply),
            Some(Entry::Session(session)) => {
                let answer = session.answered(given.token.as_ref(), self.now);
                assert_eq!(*reply, answer.map_or(Reply::Nil, Reply::int));
            }
            Some(_) => assert_eq!(*reply, Reply::Nil),
        }
    }

    fn put_new(&mut self, key: &str, given: &Options, reply: &Reply) {
        let now = self.now;
        let user = given.user.clone().unwrap_or_default();
        let blank = Session { user, created: now, base: now, ..Session::default() };
        let mut session = Session { fields: given.set.iter().cloned().collect(), ..blank };
        session.limit(given, now);
        session.answer(given.token.as_ref(), reply.number(), now);
        let user = session.user.clone();
        self.make_room(&user, given.limit);
        self.entries.insert(key.to_owned(), Entry::Session(session));
    }

    pub(super) fn save(&mut self, key: &str, given: &Options, reply: &Reply) {
        let now = self.now;
        let Target::Session(key) = self.resolve(key) else {
            return assert_eq!(*reply, Reply::Nil);
        };
        let mut session = self.session(&key);
        if let Some(answer) = session.answered(given.token.as_ref(), now) {
            return assert_eq!(*reply, Reply::int(answer));
        }
        if refused(&session, given, reply) {
            return;
        }
        let user = given.user.clone().unwrap_or_else(|| session.user.clone());
        if given.patches() || user != session.user {
            session.answer(given.token.as_ref(), reply.number(), now);
        } else {
            assert_eq!(*reply, Reply::int(session.version));
        }
        session.user = user;
        session.merge(given);
        session.limit(given, now);
        self.entries.insert(key, Entry::Session(session));
    }

    pub(super) fn rotate(&mut self, key: &str, to: &str, given: &Options, reply: &Reply) {
        let now = self.now;
        if let Some(taken) = self.entry(to) {
            let answer = match taken {
                Entry::Session(session) => session.answered(given.token.as_ref(), now),
                _ => None,
            };
            let error = Reply::line("-ERR target session exists");
            return assert_eq!(*reply, answer.map_or(error, Reply::int));
        }
        let gone = match self.entry(key) {
            Some(Entry::Alias { .. }) => !matches!(self.resolve(key), Target::Session(_)),
            Some(Entry::Session(mut session)) => {
                if refused(&session, given, reply) {
                    return;
                }
                let owner = session.user.clone();
                let set = given.user.is_some();
                session.user = given.user.clone().unwrap_or_else(|| owner.clone());
                if !session.user.is_empty() && session.user != owner {
                    session.created = now;
                }
                session.base = now;
                session.merge(given);
                session.limit(given, now);
                session.answer(given.token.as_ref(), reply.number(), now);
                let changes = set && !(session.user.is_empty() && owner.is_empty());
                let left = if given.hard || given.grace_s == 0 || changes {
                    Entry::Tombstone(now + 60_000)
                } else {
                    let until = now + given.grace_s * 1000;
                    Entry::Alias { target: to.to_owned(), owner, until }
                };
                self.entries.insert(key.to_owned(), left);
                let user = session.user.clone();
                self.make_room(&user, given.limit);
                self.entries.insert(to.to_owned(), Entry::Session(session));
                return;
            }
            _ => true,
        };
        if gone && given.or_create {
            return self.put_new(to, given, reply);
        }
        assert_eq!(*reply, Reply::Nil);
    }

    pub(super) fn load(&mut self, key: &str, peek: bool, reply: &Reply) {
        let now = self.now;
        let key = match self.resolve(key) {
            Target::Gone => return assert_eq!(*reply, Reply::Nil),
            Target::Rotated => return assert_eq!(*reply, Reply::line("+ROTATED")),
            Target::Session(key) => key,
        };
        let mut session = self.session(&key);
        if !peek {
            session.slide(now);
            self.entries.insert(key, Entry::Session(session.clone()));
        }
        let left = |at: Option<u64>| at.map_or(Reply::Nil, |at| Reply::int((at - now) as i64));
        let expected = Reply::Array(vec![
            Reply::int(session.version),
            left(session.ends.filter(|_| session.idle_ms > 0)),
            left(session.absolute),
            Reply::bulk(session.user.as_bytes()),
            pairs(&session.fields),
        ]);
        assert!(expected.fits(reply), "{expected:?} {reply:?}");
    }

    pub(super) fn touch(&mut self, key: &str) -> bool {
        let Target::Session(key) = self.resolve(key) else { return false };
        let mut session = self.session(&key);
        session.slide(self.now);
        self.entries.insert(key, Entry::Session(session));
        true
    }

    pub(super) fn end(&mut self, key: &str) -> i64 {
        let target = self.resolve(key);
        if matches!(self.entry(key), Some(Entry::Alias { .. })) {
            self.entries.remove(key);
        }
        let Target::Session(key) = target else { return 0 };
        self.entries.remove(&key);
        1
    }

    pub(super) fn end_all(&mut self, user: &str, except: &str) -> i64 {
        let kept = match self.resolve(except) {
            Target::Session(key) => key,
            _ => String::new(),
        };
        let doomed: Vec<String> =
            self.of(user).into_iter().map(|(key, _)| key).filter(|key| *key != kept).collect();
        doomed.iter().for_each(|key| drop(self.entries.remove(key)));
        doomed.len() as i64
    }

    pub(super) fn list(&self, user: &str, reply: &Reply) {
        let mut all = self.of(user);
        assert_eq!(reply.items().len(), all.len());
        // Those of one moment may stand in any order.
        for listed in reply.items() {
            let [key, created, seen, fields] = listed.items() else { panic!("{listed:?}") };
            let name = String::from_utf8(key.bytes().to_vec()).unwrap();
            let place = all.iter().position(|(key, _)| *key == name).unwrap();
            let (_, session) = all.remove(place);
            assert!(all.iter().all(|(_, other)| other.created <= session.created));
            assert_eq!(*created, Reply::int(session.created as i64));
            let exact = session.idle_ms > 0
                && session.ends != session.absolute
                && session.ends == Some(session.seen + session.idle_ms);
            let seen = seen.number() as u64;
            assert!(!exact || seen == session.seen.max(session.created), "{listed:?}");
            assert!((session.created..=self.now).contains(&seen));
            let a = session.fields.get_key_value("a").map(|(k, v)| (k.clone(), v.clone()));
            assert!(pairs(&a.into_iter().collect()).fits(fields));
        }
    }

    pub(super) fn hgetall(&mut self, key: &str, reply: &Reply) {
        let session = match self.entry(key) {
            Some(Entry::Session(session)) => {
                self.touch(key);
                session
            }
            _ => Session::default(),
        };
        assert!(pairs(&session.fields).fits(reply), "{session:?} {reply:?}");
    }

    pub(super) fn delete(&mut self, key: &str) -> bool {
        let was = matches!(self.entry(key), Some(Entry::Session(_)));
        self.entries.remove(key);
        was
    }

    pub(super) fn rename(&mut self, key: &str, to: &str) -> bool {
        let Some(Entry::Session(mut session)) = self.entry(key) else { return false };
        session.slide(self.now);
        if key != to {
            session.answered.clear();
            self.entries.remove(key);
        }
        self.entries.insert(to.to_owned(), Entry::Session(session));
        true
    }

    /// Takes a session's version from what LOAD answered.
    pub(super) fn learn(&mut self, key: &str, reply: &Reply) {
        let mut session = self.session(key);
        session.version = reply.items()[0].number();
        self.entries.insert(key.to_owned(), Entry::Session(session));
    }

    pub(super) fn expire(&mut self, key: &str, left: u64) -> bool {
        let Some(Entry::Session(mut session)) = self.entry(key) else { return false };
        if left == 0 {
            self.entries.remove(key);
            return true;
        }
        session.ends = session.bound(Some(self.now + left));
        self.entries.insert(key.to_owned(), Entry::Session(session));
        true
    }

    pub(super) fn left(&mut self, key: &str) -> i64 {
        match self.entry(key) {
            Some(Entry::Session(session)) => session.ends.map_or(-1, |at| (at - self.now) as i64),
            _ => -2,
        }
    }

    /// The version of the session that a key stands for.
    pub(super) fn version(&self, key: &str) -> Option<i64> {
        match self.resolve(key) {
            Target::Session(key) => Some(self.session(&key).version),
            _ => None,
        }
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let entry = self.entries.get(key)?;
        let ends = match entry {
            Entry::Session(session) => session.ends,
            Entry::Tombstone(until) | Entry::Alias { until, .. } => Some(*until),
        };
        ends.is_none_or(|at| at > self.now).then(|| entry.clone())
    }

    fn session(&self, key: &str) -> Session {
        match self.entry(key) {
            Some(Entry::Session(session)) => session,
            other => panic!("no session: {other:?}"),
        }
    }

    fn resolve(&self, key: &str) -> Target {
        let (mut key, mut last) = (key.to_owned(), None);
        for _ in 0..=4 {
            match self.entry(&key) {
                None => return Target::Gone,
                Some(Entry::Tombstone(_)) => return Target::Rotated,
                Some(Entry::Session(session)) => {
                    let same = last.is_none_or(|owner| owner == session.user);
                    return if same { Target::Session(key) } else { Target::Rotated };
                }
                Some(Entry::Alias { target, owner, .. }) => (key, last) = (target, Some(owner)),
            }
        }
        Target::Gone
    }

    /// The live sessions of a user, the oldest first.
    fn of(&self, user: &str) -> Vec<(String, Session)> {
        let live = |key: &String| match self.entry(key) {
            Some(Entry::Session(session)) if session.user == user => Some((key.clone(), session)),
            _ => None,
        };
        let mut all: Vec<_> = self.entries.keys().filter_map(live).collect();
        all.sort_by_key(|(_, session)| (session.created, session.version));
        all
    }

    fn make_room(&mut self, user: &str, limit: Option<usize>) {
        let Some(limit) = limit.filter(|_| !user.is_empty()) else { return };
        let all = self.of(user);
        let excess = (all.len() + 1).saturating_sub(limit);
        all.iter().take(excess).for_each(|(key, _)| drop(self.entries.remove(key)));
    }
}

/// Whether a request for another version was answered with a conflict.
fn refused(session: &Session, given: &Options, reply: &Reply) -> bool {
    let refused = given.expected.is_some_and(|version| version != session.version);
    if refused {
        let line = format!("-CONFLICT session version is {}", session.version);
        assert_eq!(*reply, Reply::line(&line));
    }
    refused
}

fn pairs(fields: &BTreeMap<String, String>) -> Reply {
    let both = |(name, value): (&String, &String)| {
        Reply::Array(vec![Reply::bulk(name.as_bytes()), Reply::bulk(value.as_bytes())])
    };
    Reply::Pairs(fields.iter().map(both).collect())
}
