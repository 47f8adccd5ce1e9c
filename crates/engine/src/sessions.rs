//! Items that slide, and sessions: hashes with a user, an idle timeout and an absolute deadline.
//!
//! ```text
//! session --- gets another key --> tombstone, or alias (its one field, without a name: the new key)
//! directory.users: (hash of the user's name, hash of the key) of each session that has a user
//! ```
//!
//! What always holds: a session goes on without fields; a deadline is never later than the absolute
//! one; tombstones and aliases are seen by the commands of sessions alone, and whatever else
//! writes their key ends them first; a session is in its user's list exactly as long as it is in
//! the index, whatever ends it.
//! Not for: what SESSION commands mean, or sessions of a user in other shards.

use crate::effect::{Applied, Cause, Change, Effect, Full, Key, Meta};
use crate::hash::{FieldEdit, PackedHash, packed};
use crate::index::bump_slot;
use crate::limits::{
    ANSWERED_MS, ANSWERS_KEPT_MAX, ANSWERS_PER_SHARD, SLIDE_BACK_MS, SLIDE_PARTS,
    SLIDE_UNRECORDED_MAX_MS,
};
use crate::shard::{Draft, Entry, Shard, Spot};
use layout::header::{Fields, Form, Kind};
use layout::{Address, Header, KeyHash, Slide, State};
use std::collections::{BTreeMap, VecDeque};

/// What [`Change::Session`] says.
#[derive(Clone, Copy)]
pub(crate) struct SessionChange<'a> {
    pub(crate) meta: Meta,
    pub(crate) user: &'a [u8],
    pub(crate) edits: &'a [FieldEdit<'a>],
    pub(crate) renew: bool,
}

impl Shard {
    /// A key's item whatever it is, also what a session left behind: for the commands of sessions.
    /// A use of it, as of [`Shard::get`], if `used`.
    pub fn meet(&mut self, db: usize, key: &Key<'_>, now: u64, used: bool) -> Option<Entry<'_>> {
        let spot = self.locate(db, key)?;
        let over = self.deadline(spot.at, spot.header).is_some_and(|deadline| deadline <= now);
        let slide = self.slide_of(spot.at, spot.header);
        if over || slide.state() == State::Plain && self.is_emptied(spot.at, spot.header, now) {
            return None;
        }
        if !used || slide.is_hidden() {
            return Some(Entry::new(self, spot));
        }
        let header = self.mark_used(spot, now);
        let spot = self.slide_by_use(db, key, Spot { header, ..spot }, now);
        Some(Entry::new(self, spot))
    }

    /// Shows the live sessions of a user, each with the hash of its key, in no order.
    pub fn sessions_of(
        &self,
        db: usize,
        user: &[u8],
        now: u64,
        see: &mut dyn FnMut(KeyHash, Entry<'_>),
    ) {
        let Some(directory) = self.directory(db) else { return };
        let user_hash = self.config.secret.hash(user).0;
        for (_, key) in directory.users.range((user_hash, 0)..=(user_hash, u64::MAX)) {
            let Some(spot) = self.locate_hash(db, KeyHash(*key)) else { continue };
            let entry = Entry::new(self, spot);
            if entry.user() == user && !self.is_over(spot.at, spot.header, now) {
                see(KeyHash(*key), entry);
            }
        }
    }

    /// The version that a request with this token was answered with, if the session that it made
    /// or changed is still there and not too much time has passed.
    pub fn answered(&self, db: usize, key: &Key<'_>, token: &[u8], now: u64) -> Option<u64> {
        let id = (*self.roots.get(db)?)?;
        let token = self.config.secret.hash(token).0;
        let (version, until) = self.answers.by_token.get(&(id, key.hash.0, token))?;
        (*until > now).then_some(*version)
    }

    /// Remembers what a request with this token is answered.
    pub fn remember(&mut self, db: usize, key: &Key<'_>, token: &[u8], version: u64, now: u64) {
        let id = self.directory_id(db);
        let token = self.config.secret.hash(token).0;
        self.answers.remember((id, key.hash.0, token), (version, now + ANSWERED_MS), now);
    }

    /// The latest answers about a session, for one that goes on under another key.
    pub fn answers_of(&self, db: usize, key: &Key<'_>, now: u64) -> Vec<Answer> {
        let Some(id) = self.roots.get(db).copied().flatten() else { return Vec::new() };
        let mut answers = self.answers.of(id, key.hash.0);
        answers.retain(|answer| answer.until > now);
        answers.sort_by_key(|answer| std::cmp::Reverse(answer.until));
        answers.truncate(ANSWERS_KEPT_MAX);
        answers
    }

    /// Lets the next change have a later version than this one, which a session brings along that
    /// comes from another shard: no version of it may come twice.
    pub fn pass(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Remembers what was answered about a session that came from another key.
    pub fn adopt_answers(&mut self, db: usize, key: &Key<'_>, answers: &[Answer], now: u64) {
        let id = self.directory_id(db);
        for Answer { token, version, until } in answers.iter().rev() {
            self.answers.remember((id, key.hash.0, *token), (*version, *until), now);
        }
    }

    /// Idle timeout, absolute deadline and what makes a session of an item.
    #[inline]
    pub(crate) fn slide_of(&self, at: Address, header: Header) -> Slide {
        let Some(word) = header.field(at, Fields::SLIDE) else { return Slide::default() };
        let memory = self.arena.memory();
        Slide([memory.load(word.index()), memory.load(word.index() + 1)])
    }

    /// Whether an item is a session, and neither a tombstone nor an alias.
    #[inline]
    pub(crate) fn is_session(&self, at: Address, header: Header) -> bool {
        self.slide_of(at, header).state() == State::Session
    }

    /// The name of an item's user, which stands after its value.
    pub(crate) fn user_of(&self, at: Address, header: Header) -> &[u8] {
        let value = self.value(at, header);
        let bytes = self.slide_of(at, header).user_bytes();
        value.get(value.len().saturating_sub(bytes)..).unwrap_or_default()
    }

    /// An item's value without its user.
    #[inline]
    pub(crate) fn payload(&self, at: Address, header: Header) -> &[u8] {
        let value = self.value(at, header);
        if !header.fields().has(Fields::SLIDE) {
            return value;
        }
        let bytes = self.slide_of(at, header).user_bytes();
        value.get(..value.len().saturating_sub(bytes)).unwrap_or_default()
    }

    /// As [`Shard::get`] of an item that may not be there in spite of its deadline, or slides.
    #[inline(never)]
    pub(crate) fn get_guarded(
        &mut self,
        db: usize,
        key: &Key<'_>,
        spot: Spot,
        now: u64,
    ) -> Option<Entry<'_>> {
        if self.is_over(spot.at, spot.header, now) {
            return None;
        }
        let header = self.mark_used(spot, now);
        let spot = self.slide_by_use(db, key, Spot { header, ..spot }, now);
        Some(Entry::new(self, spot))
    }

    /// Re-arms the idle timeout of an item that is used, if it has one.
    fn slide_by_use(&mut self, db: usize, key: &Key<'_>, spot: Spot, now: u64) -> Spot {
        let slide = self.slide_of(spot.at, spot.header);
        let Some(to) = slide.slid(now) else { return spot };
        let had = self.deadline(spot.at, spot.header);
        if had.is_some_and(|had| to <= had && had - to < SLIDE_BACK_MS) {
            return spot;
        }
        let Some(header) = self.slide(db, key, spot, Some(to), now) else { return spot };
        let step = (u64::from(slide.idle_s()) * 1000 / SLIDE_PARTS).min(SLIDE_UNRECORDED_MAX_MS);
        let step = step.max(1);
        if had.is_none_or(|had| to < had || to / step != had / step) {
            let change = Change::Deadline { at: Some(to), slide: true };
            self.record(&Effect::Key { db, key: *key, change });
        }
        Spot { header, ..spot }
    }

    /// Applies [`Change::Session`] over what stands under the key.
    pub(crate) fn change_session(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Option<Spot>,
        change: &SessionChange<'_>,
        now: u64,
    ) -> Result<Applied, Full> {
        let is_session = |spot: &Spot| {
            let state = self.slide_of(spot.at, spot.header).state();
            state == State::Session && change.meta.slide.state() == State::Session
        };
        let stays = old.filter(is_session);
        if let (Some(old), None) = (old, stays) {
            self.forget_answers(db, key, old);
        }
        if let Some(spot) = stays
            && spot.header.form() == Form::Heap
        {
            return self.change_big_session(db, key, spot, change, now);
        }
        let before = stays.map_or(&[][..], |spot| self.payload(spot.at, spot.header));
        let mut run = Vec::new();
        let secret = self.config.secret.0;
        let (done, grown) =
            packed::apply_or_grow(secret, PackedHash::new(before), change.edits, &mut run);
        let changed = done.added + done.removed + done.changed > 0;
        let draft = Draft {
            user: change.user,
            field_due: done.first_deadline,
            keep_version: stays.is_some() && !change.renew && !changed,
            ..Draft::new(Kind::Hash, Form::Inline, change.meta, &run)
        };
        let version = match grown {
            Some(big) => self.store_big(db, key, old, (big, draft), now)?,
            None => self.store(db, key, old, &draft, now)?,
        };
        Ok(Applied {
            existed: stays.is_some(),
            version,
            added: done.added,
            removed: done.removed,
            len: done.len,
        })
    }

    /// The same of a session whose fields stand on the heap.
    fn change_big_session(
        &mut self,
        db: usize,
        key: &Key<'_>,
        spot: Spot,
        change: &SessionChange<'_>,
        now: u64,
    ) -> Result<Applied, Full> {
        let entry = Entry::new(self, spot);
        let (had, user) = (entry.meta(), entry.user());
        let wanted =
            Meta { slide: change.meta.slide.with_user_bytes(had_bytes(user)), ..change.meta };
        let in_place = user == change.user
            && wanted == Meta { deadline: wanted.deadline, ..had }
            && self.slide(db, key, spot, change.meta.slide.bound(wanted.deadline), now).is_some();
        if !in_place {
            self.rewrite(db, key, spot, (change.meta, Some(change.user)), now)?;
        }
        // Rewriting may have moved it, but nothing below needs room.
        let Some(spot) = self.locate(db, key) else { return Err(Full) };
        let (mut applied, changed) = self.big_fields(db, key, spot, change.edits, now)?;
        if change.renew && !changed {
            self.keep_before_change(db, key, spot);
            applied.version = self.next_version();
            let header = spot.header.with_version(applied.version);
            let memory = self.arena.memory();
            bump_slot(memory, spot.slot);
            memory.store(spot.at.index(), header.0[0]);
            memory.store(spot.at.index() + 1, header.0[1]);
            bump_slot(memory, spot.slot);
        }
        Ok(applied)
    }

    /// What stands under a key, for a change of it: what a session left behind isn't there for
    /// changes that know nothing of sessions, and ends if they write.
    pub(crate) fn unless_hidden(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Option<Spot>,
        change: &Change<'_>,
    ) -> Option<Spot> {
        let spot = old?;
        if !self.slide_of(spot.at, spot.header).is_hidden() {
            return Some(spot);
        }
        match change {
            Change::Session { .. } => return Some(spot),
            Change::Deadline { .. } | Change::Meta(_) => {}
            _ => {
                self.discard(db, key, spot);
                let change = Change::Remove(Cause::Deleted);
                self.record(&Effect::Key { db, key: *key, change });
            }
        }
        None
    }

    /// In whose list an item stands: the hash of the user's name.
    #[inline]
    pub(crate) fn owner_of(&self, at: Address, header: Header) -> Option<u64> {
        if !header.fields().has(Fields::SLIDE) {
            return None;
        }
        let is_listed = self.slide_of(at, header).state() == State::Session;
        let user = self.user_of(at, header);
        (is_listed && !user.is_empty()).then(|| self.config.secret.hash(user).0)
    }

    /// Forgets what was answered about a session that ends.
    pub(crate) fn forget_answers(&mut self, db: usize, key: &Key<'_>, old: Spot) {
        if let Some(Some(id)) = self.roots.get(db).copied()
            && old.header.fields().has(Fields::SLIDE)
        {
            self.answers.forget(id, key.hash.0);
        }
    }

    /// Moves a key from one user's list to another's. What ended with `ended` is answered anew.
    pub(crate) fn note_owner(
        &mut self,
        db: usize,
        key: &Key<'_>,
        (had, has): (Option<u64>, Option<u64>),
        ended: bool,
    ) {
        let Some(Some(id)) = self.roots.get(db).copied() else { return };
        if ended {
            self.answers.forget(id, key.hash.0);
        }
        if had == has {
            return;
        }
        let Some(Some(directory)) = self.directories.get_mut(id as usize) else { return };
        if let Some(user) = had {
            directory.users.remove(&(user, key.hash.0));
        }
        if let Some(user) = has {
            directory.users.insert((user, key.hash.0));
        }
    }
}

/// The length of a user's name as its item says it.
fn had_bytes(user: &[u8]) -> u8 {
    u8::try_from(user.len()).unwrap_or(u8::MAX)
}

/// A request: the directory, the hash of its key, that of its token.
type Request = (u32, u64, u64);

/// What a request was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    token: u64,
    version: u64,
    until: u64,
}

/// What requests were answered that may come twice. Bounded: the oldest answer goes first.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// The version, and until when (Unix milliseconds) it counts.
    by_token: BTreeMap<Request, (u64, u64)>,
    /// All of them with that time, the oldest first; some may be gone already.
    order: VecDeque<(u64, Request)>,
}

impl Answers {
    fn remember(&mut self, request: Request, (version, until): (u64, u64), now: u64) {
        while self.order.len() >= ANSWERS_PER_SHARD
            || self.order.front().is_some_and(|(until, _)| *until <= now)
        {
            let Some((until, oldest)) = self.order.pop_front() else { break };
            if self.by_token.get(&oldest).is_some_and(|(_, kept)| *kept == until) {
                self.by_token.remove(&oldest);
            }
        }
        self.by_token.insert(request, (version, until));
        self.order.push_back((until, request));
    }

    fn of(&self, directory: u32, key: u64) -> Vec<Answer> {
        let all = self.by_token.range((directory, key, 0)..=(directory, key, u64::MAX));
        let answer = |(request, (version, until)): (&Request, &(u64, u64))| {
            let (_, _, token) = *request;
            Answer { token, version: *version, until: *until }
        };
        all.map(answer).collect()
    }

    /// Forgets what was answered about a key.
    pub(crate) fn forget(&mut self, directory: u32, key: u64) {
        while let Some((request, _)) =
            self.by_token.range((directory, key, 0)..=(directory, key, u64::MAX)).next()
        {
            let request = *request;
            self.by_token.remove(&request);
        }
    }

    /// Forgets what was answered about all keys of a directory.
    pub(crate) fn forget_all(&mut self, directory: u32) {
        self.by_token.retain(|(of, ..), _| *of != directory);
    }
}

#[cfg(test)]
mod tests;
