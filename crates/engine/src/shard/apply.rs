//! Applying effects: one function for each kind of change.
//!
//! What always holds: a change meets no key whose deadline has passed, no hash without a field
//! that is there, and none of the fields that it names past its deadline; those end first, by
//! effects of their own. Other fields of a large hash may be overdue still: readers don't see
//! them, and maintenance ends them.

use super::entry::handle;
use super::store::Draft;
use super::{Entry, Shard, Spot};
use crate::effect::{Applied, Cause, Change, Effect, Full, Key, Meta, OwnedItem, OwnedValue};
use crate::hash::{BigHash, FieldDeadline, FieldEdit, PackedHash, packed};
use crate::index::bump_slot;
use crate::sessions::SessionChange;
use layout::header::{Fields, Form, Kind};
use layout::{Header, KeyHash, State};

impl Shard {
    /// Applies an effect at `now` (Unix milliseconds), as a whole or not at all.
    ///
    /// # Errors
    /// [`Full`] if there is no segment left for it.
    pub fn apply(&mut self, effect: &Effect<'_>, now: u64) -> Result<Applied, Full> {
        match effect {
            Effect::Key { db, key, change } => {
                let (applied, changed) = self.change(*db, key, change, now)?;
                if changed {
                    match change {
                        Change::Fields(edits) => self.record_fields(*db, key, edits),
                        _ => self.record(effect),
                    }
                }
                return Ok(applied);
            }
            Effect::Clear { db } => {
                self.record(effect);
                self.count_cleared(*db, now);
                self.clear(*db);
            }
            Effect::Swap { a, b } => {
                self.record(effect);
                self.swap(*a, *b);
            }
        }
        Ok(Applied::default())
    }

    /// Records edits by what they came to: who replays them doesn't know which deadline a field
    /// kept.
    fn record_fields(&mut self, db: usize, key: &Key<'_>, edits: &[FieldEdit<'_>]) {
        let keeps = |edit: &FieldEdit<'_>| {
            matches!(edit, FieldEdit::Set { deadline: FieldDeadline::Keep, .. })
        };
        if self.journal.is_none() || !edits.iter().any(keeps) {
            return self.record(&Effect::Key { db, key: *key, change: Change::Fields(edits) });
        }
        let spot = self.locate(db, key);
        let entry = spot.map(|spot| Entry::new(self, spot));
        let hash = entry.and_then(|entry| entry.hash());
        let told: Vec<FieldEdit<'_>> = edits
            .iter()
            .map(|edit| match *edit {
                FieldEdit::Set { field, value, deadline: FieldDeadline::Keep } => {
                    let kept = hash.and_then(|hash| hash.get(field, 0)?.deadline);
                    let deadline = kept.map_or(FieldDeadline::Clear, FieldDeadline::At);
                    FieldEdit::Set { field, value, deadline }
                }
                other => other,
            })
            .collect();
        self.record(&Effect::Key { db, key: *key, change: Change::Fields(&told) });
    }

    /// Removes a key if its deadline has passed, or some of its fields if theirs have: all that
    /// a small hash has, a slice of a large one's.
    pub(crate) fn reap(&mut self, db: usize, key: &Key<'_>, now: u64) -> Option<Spot> {
        let spot = self.locate(db, key)?;
        if self.due_time(spot.at, spot.header).is_none_or(|due| due > now) {
            return Some(spot);
        }
        self.end_due(db, key, spot, now);
        self.locate(db, key)
    }

    /// Ends those of the fields that `edits` name that are overdue still.
    fn reap_named(
        &mut self,
        db: usize,
        key: &Key<'_>,
        (old, edits): (Option<Spot>, &[FieldEdit<'_>]),
        now: u64,
    ) -> Result<Option<Spot>, Full> {
        let Some(spot) = old else { return Ok(None) };
        if spot.header.field(spot.at, Fields::FIELD_DUE).is_none()
            || self.due_time(spot.at, spot.header).is_none_or(|due| due > now)
        {
            return Ok(old);
        }
        let Some(hash) = Entry::new(self, spot).hash() else { return Ok(old) };
        let is_due = |name| hash.find(name).is_some_and(|field| !field.is_live(now));
        let due: Vec<FieldEdit<'_>> = edits
            .iter()
            .filter(|edit| is_due(edit.field()))
            .map(|edit| FieldEdit::Delete { field: edit.field() })
            .collect();
        if !due.is_empty() {
            self.end_fields(db, key, spot, &due, now)?;
        }
        Ok(self.locate(db, key))
    }

    fn change(
        &mut self,
        db: usize,
        key: &Key<'_>,
        change: &Change<'_>,
        now: u64,
    ) -> Result<(Applied, bool), Full> {
        let mut old = self.reap(db, key, now);
        if old.is_some_and(|old| old.header.fields().has(Fields::SLIDE)) {
            old = self.unless_hidden(db, key, old, change);
        }
        let was_session = old.is_some_and(|old| self.is_session(old.at, old.header));
        let mut applied = Applied { existed: old.is_some(), ..Applied::default() };
        match change {
            Change::Put { value, meta } => {
                applied.len = value.len();
                applied.version = self.store_string(db, key, old, ([value, &[]], meta), now)?;
            }
            Change::Splice { at, bytes } => {
                (applied.version, applied.len) = self.splice(db, key, old, (*at, bytes), now)?;
            }
            Change::Fields(edits) => {
                let old = self.reap_named(db, key, (old, edits), now)?;
                return self.fields(db, key, old, edits, now);
            }
            Change::Session { meta, user, edits, renew, fresh: _ } => {
                let change = SessionChange { meta: *meta, user, edits, renew: *renew };
                let fresh = old.is_none();
                applied = self.change_session(db, key, old, &change, now)?;
                self.count_session_change(was_session, meta.slide.state(), now);
                let change = Change::Session { meta: *meta, user, edits, renew: *renew, fresh };
                self.record(&Effect::Key { db, key: *key, change });
                return Ok((applied, false));
            }
            Change::Deadline { at: wanted, slide } => {
                let Some(old) = old else { return Ok((applied, false)) };
                let at = self.slide_of(old.at, old.header).bound(*wanted);
                let meta = Meta { deadline: at, ..Entry::new(self, old).meta() };
                applied.version = old.header.version();
                if self.slide(db, key, old, at, now).is_none() {
                    self.rewrite(db, key, old, (meta, None), now)?;
                }
                if at != *wanted {
                    // An effect states what became of it.
                    let change = Change::Deadline { at, slide: *slide };
                    self.record(&Effect::Key { db, key: *key, change });
                    return Ok((applied, false));
                }
            }
            Change::Meta(meta) => {
                let Some(old) = old else { return Ok((applied, false)) };
                applied.version = self.rewrite(db, key, old, (*meta, None), now)?;
            }
            Change::Install(item) => {
                applied.version = self.install(db, key, old, item, now)?;
            }
            Change::Remove(cause) => {
                let Some(old) = old else { return Ok((applied, false)) };
                self.count_end(*cause, old);
                self.discard(db, key, old);
            }
        }
        let ends = match change {
            Change::Put { .. } | Change::Install(_) | Change::Remove(Cause::Deleted) => was_session,
            _ => false,
        };
        self.count_ended(u64::from(ends), now);
        Ok((applied, true))
    }

    pub(crate) fn count_end(&mut self, cause: Cause, spot: Spot) {
        let is_session = self.is_session(spot.at, spot.header);
        match cause {
            Cause::Deleted | Cause::Moved => {}
            Cause::Expired => {
                self.stats.expired += 1;
                self.stats.expired_sessions += u64::from(is_session);
            }
            Cause::Evicted => {
                self.stats.evicted += 1;
                self.stats.evicted_sessions += u64::from(is_session);
            }
        }
    }

    /// Counts what a command of sessions made of a key.
    fn count_session_change(&mut self, was_session: bool, state: State, now: u64) {
        if self.is_loaded(now) {
            let is_session = state == State::Session;
            self.stats.created_sessions += u64::from(!was_session && is_session);
            self.stats.rotated_sessions += u64::from(was_session && !is_session);
        }
    }

    /// Counts the sessions of a database that is emptied.
    fn count_cleared(&mut self, db: usize, now: u64) {
        self.count_ended(self.sessions(db), now);
    }

    fn count_ended(&mut self, sessions: u64, now: u64) {
        if self.is_loaded(now) {
            self.stats.ended_sessions += sessions;
        }
    }

    /// Whether what is done now is done by somebody: what files tell was counted when it was done.
    const fn is_loaded(&self, now: u64) -> bool {
        now >= self.began
    }

    fn splice(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Option<Spot>,
        (at, bytes): (usize, &[u8]),
        now: u64,
    ) -> Result<(u64, usize), Full> {
        let entry = old.map(|old| Entry::new(self, old));
        let meta = entry.map_or_else(Meta::default, |entry| Meta { cas: None, ..entry.meta() });
        let string = entry.and_then(|entry| entry.string());
        let len = string.map_or(0, |string| string.len());
        let mut value = Vec::with_capacity(len.max(at + bytes.len()));
        if let Some(string) = string {
            string.read(0..len, &mut value);
        }
        value.resize(len.max(at + bytes.len()), 0);
        if let Some(target) = value.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
        let version = self.store_string(db, key, old, ([&value, &[]], &meta), now)?;
        Ok((version, value.len()))
    }

    /// Moves a deadline by one word in place and answers the header then; `None` if the item has
    /// to be written anew.
    pub(crate) fn slide(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Spot,
        deadline: Option<u64>,
        now: u64,
    ) -> Option<Header> {
        let had = self.deadline(old.at, old.header);
        let word = old.header.field(old.at, Fields::WIDE);
        if if word.is_some() { deadline.is_none() } else { Header::is_wide(deadline) } {
            return None;
        }
        self.note_before_move(db, key, old);
        let mut header = old.header;
        if let Some(word) = word {
            self.arena.memory().store(word.index(), deadline?);
        } else {
            header = header.with_deadline(deadline);
            self.arena.memory().store(old.at.index() + 1, header.0[1]);
        }
        self.count_deadline(db, had.is_some(), deadline.is_some());
        if let Some(due) = deadline
            && had.is_none_or(|had| due < had)
        {
            self.file(old.at, due, now);
        }
        Some(header)
    }

    /// Writes an item anew with other metadata and the value that it has, of another user if one
    /// is given.
    pub(crate) fn rewrite(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Spot,
        (meta, user): (Meta, Option<&[u8]>),
        now: u64,
    ) -> Result<u64, Full> {
        let value = self.payload(old.at, old.header).to_vec();
        let had = self.user_of(old.at, old.header).to_vec();
        let field_due = old.header.field(old.at, Fields::FIELD_DUE);
        let draft = Draft {
            field_due: field_due.map(|word| self.arena.memory().load(word.index())),
            user: user.unwrap_or(&had),
            keep_version: true,
            transfer: true,
            ..Draft::new(old.header.kind(), old.header.form(), meta, &value)
        };
        self.store(db, key, Some(old), &draft, now)
    }

    fn install(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Option<Spot>,
        item: &OwnedItem,
        now: u64,
    ) -> Result<u64, Full> {
        if let Some(old) = old {
            // What was answered was about another session.
            self.forget_answers(db, key, old);
        }
        match &item.value {
            OwnedValue::String(value) => {
                self.store_string(db, key, old, ([value, &[]], &item.meta), now)
            }
            OwnedValue::Packed(run) => {
                let draft = Draft {
                    field_due: PackedHash::new(run).first_deadline(),
                    user: &item.user,
                    ..Draft::new(Kind::Hash, Form::Inline, item.meta, run)
                };
                self.store(db, key, old, &draft, now)
            }
            OwnedValue::Big(big) => {
                let draft = Draft {
                    user: &item.user,
                    ..Draft::new(Kind::Hash, Form::Heap, item.meta, &[])
                };
                self.store_big(db, key, old, ((**big).clone(), draft), now)
            }
        }
    }

    fn fields(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Option<Spot>,
        edits: &[FieldEdit<'_>],
        now: u64,
    ) -> Result<(Applied, bool), Full> {
        let mut applied = Applied { existed: old.is_some(), ..Applied::default() };
        if let Some(spot) = old
            && spot.header.form() == Form::Heap
        {
            return self.big_fields(db, key, spot, edits, now);
        }
        let meta = old.map_or_else(Meta::default, |old| Entry::new(self, old).meta());
        let is_session = meta.slide.state() == State::Session;
        let user = old.map_or_else(Vec::new, |old| self.user_of(old.at, old.header).to_vec());
        let mut run = Vec::new();
        let before = PackedHash::new(old.map_or(&[], |old| self.payload(old.at, old.header)));
        let secret = self.config.secret.0;
        let (done, grown) = packed::apply_or_grow(secret, before, edits, &mut run);
        (applied.added, applied.removed, applied.len) = (done.added, done.removed, done.len);
        let changed = done.added + done.removed + done.changed > 0;
        let draft = Draft {
            field_due: done.first_deadline,
            user: &user,
            ..Draft::new(Kind::Hash, Form::Inline, meta, &run)
        };
        if done.len == 0 && !is_session {
            if let Some(old) = old {
                self.discard(db, key, old);
            }
        } else if !changed {
            applied.version = old.map_or(0, |old| old.header.version());
        } else if let Some(big) = grown {
            applied.version = self.store_big(db, key, old, (big, draft), now)?;
        } else {
            applied.version = self.store(db, key, old, &draft, now)?;
        }
        Ok((applied, changed))
    }

    /// Deletes fields that are due, by an effect of its own.
    pub(crate) fn end_fields(
        &mut self,
        db: usize,
        key: &Key<'_>,
        spot: Spot,
        edits: &[FieldEdit<'_>],
        now: u64,
    ) -> Result<(), Full> {
        let (applied, _) = self.fields(db, key, Some(spot), edits, now)?;
        self.stats.expired_fields += applied.removed as u64;
        self.record(&Effect::Key { db, key: *key, change: Change::Fields(edits) });
        Ok(())
    }

    /// Stores a large hash: the tree on the heap, its number in the item, all else as the draft
    /// says.
    pub(crate) fn store_big(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Option<Spot>,
        (big, draft): (BigHash, Draft<'_>),
        now: u64,
    ) -> Result<u64, Full> {
        let due = big.first_deadline().unwrap_or(u64::MAX);
        let number = self.keep_big(Box::new(big));
        let value = (number as u64).to_le_bytes();
        // The word for the first field's deadline is always there, so that a later change of
        // fields never needs room.
        let draft = Draft { form: Form::Heap, field_due: Some(due), value: [&value, &[]], ..draft };
        let stored = self.store(db, key, old, &draft, now);
        if stored.is_err() {
            self.drop_big(number);
        }
        stored
    }

    /// Changes fields of a large hash in place.
    pub(crate) fn big_fields(
        &mut self,
        db: usize,
        key: &Key<'_>,
        spot: Spot,
        edits: &[FieldEdit<'_>],
        now: u64,
    ) -> Result<(Applied, bool), Full> {
        self.keep_before_rewrite(db, key, spot);
        let number = handle(self.value(spot.at, spot.header));
        let big = number.and_then(|number| self.big.get_mut(number)?.as_mut());
        let Some(big) = big else { return Err(Full) };
        let before = big.heap_bytes();
        let done = big.apply(edits);
        self.big_bytes = self.big_bytes - before + big.heap_bytes();
        let mut applied = Applied {
            existed: true,
            added: done.added,
            removed: done.removed,
            len: done.len,
            version: spot.header.version(),
        };
        if done.added + done.removed + done.changed == 0 {
            return Ok((applied, false));
        }
        if done.len == 0 && self.slide_of(spot.at, spot.header).state() != State::Session {
            self.discard(db, key, spot);
            applied.version = 0;
            return Ok((applied, true));
        }
        applied.version = self.next_version();
        let header = spot.header.with_version(applied.version);
        let memory = self.arena.memory();
        let due = done.first_deadline.unwrap_or(u64::MAX);
        bump_slot(memory, spot.slot);
        memory.store(spot.at.index(), header.0[0]);
        memory.store(spot.at.index() + 1, header.0[1]);
        if let Some(word) = header.field(spot.at, Fields::FIELD_DUE) {
            memory.store(word.index(), due);
        }
        bump_slot(memory, spot.slot);
        // The key's own deadline too: the note that brought us here may have been its only one.
        if let Some(due) = self.due_time(spot.at, header) {
            self.file(spot.at, due, now);
        }
        Ok((applied, true))
    }

    /// Breaks the watches that an effect concerns; called before databases change as a whole.
    pub(crate) fn tell_watchers(&self, effect: &Effect<'_>) {
        let exists = |db: usize, hash: KeyHash| self.locate_hash(db, hash).is_some();
        match effect {
            Effect::Key { change: Change::Deadline { slide: true, .. }, .. } => {}
            Effect::Key { db, key, .. } => self.watches.touch(*db, key.hash),
            Effect::Clear { db } => self.watches.touch_all(*db, |hash| exists(*db, hash)),
            Effect::Swap { a, b } => {
                for db in [*a, *b] {
                    self.watches.touch_all(db, |hash| exists(*a, hash) || exists(*b, hash));
                }
            }
        }
    }
}
