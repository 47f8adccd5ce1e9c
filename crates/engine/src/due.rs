//! Deadlines: filing them, and ending what is due.
//!
//! ```text
//! written --- due within a minute --> a note in the wheel ------------------> looked at when due
//!         \-- later --> the segment's earliest due time --(comes near)--> notes of its items
//! ```
//!
//! Whoever takes a note looks at the item: dead, it's nothing; due, it ends; moved, it's filed
//! again. So a deadline moves later by a word in the header and nothing else. If too many notes
//! pile up, all items are filed once in a new wheel, a few segments at a time, and the old one
//! stays in force until that is done.
//! What always holds: an item with a due time has a note in a wheel, or its segment's earliest
//! due time is no later than its own.

use crate::arena::Use;
use crate::effect::{Cause, Change, Effect, Key};
use crate::hash::{FieldEdit, PACKED_MAX_FIELDS};
use crate::limits::{
    EXPIRY_RETRY_MS, FIELDS_PER_EXPIRY, FILE_AHEAD_MS, SEGMENTS_PER_FILING, WHEEL_AHEAD_MS,
    WHEEL_ENTRIES_PER_KEY, WHEEL_ENTRIES_PER_LOOK, WHEEL_TICK_MS,
};
use crate::shard::{Entry, Shard, Spot};
use crate::wheel::{Note, Wheel};
use layout::{Address, Form, Header, SegmentId, State, key};

/// Filing every item once in a new wheel.
#[derive(Debug)]
pub(crate) struct Filing {
    /// The wheel until then, whose notes hold until all items have been filed.
    old: Wheel,
    /// The directory that the walk is in; those of higher numbers are done.
    directory: usize,
    /// How many of its segments are still to be filed, from the front.
    segments: usize,
}

impl Shard {
    /// Ends what is due and does a slice of the work that was put off: at most about `budget`
    /// items, segments and pages. Whether there is more to do right away.
    pub fn maintain(&mut self, now: u64, budget: usize) -> bool {
        let more = self.maintain_slice(now, budget);
        self.next_look = if more { now } else { self.next_due().unwrap_or(u64::MAX) };
        more
    }

    /// As [`Shard::maintain`] while nothing is to end by its deadline: frees what is gone already.
    /// `maintain` has to be called once it is to.
    pub fn tidy(&mut self, now: u64, budget: usize) -> bool {
        let more = self.free_detached(budget);
        self.next_look = if more { now } else { u64::MAX };
        more
    }

    fn maintain_slice(&mut self, now: u64, budget: usize) -> bool {
        let mut left = budget;
        let more_segments = self.file_near_segments(now);
        let more_filing = self.file_some_anew(now);
        while left > 0 {
            let Some(notes) = self.take_notes(now, left) else { break };
            left -= notes.len();
            let mut notes = notes.into_iter();
            while let Some(note) = notes.next_back() {
                if !self.look_at(note, now) {
                    // A large hash took the whole slice and was filed again. The others' turn
                    // comes before its next.
                    self.wheel.put_back(notes.as_slice(), now);
                    return true;
                }
            }
        }
        self.free_detached(left) || more_segments || more_filing || left == 0
    }

    fn take_notes(&mut self, now: u64, most: usize) -> Option<Vec<Note>> {
        let notes = self.wheel.take(now, most);
        notes.or_else(|| self.filing.as_mut()?.old.take(now, most))
    }

    /// A time (Unix milliseconds) by which `maintain` has to run; `u64::MAX` for none. Costs
    /// nothing to ask, so it's asked after every change.
    #[inline]
    pub const fn next_look(&self) -> u64 {
        self.next_look
    }

    pub(crate) const fn look_at_latest(&mut self, time: u64) {
        if time < self.next_look {
            self.next_look = time;
        }
    }

    /// When something is due next, looked up anew.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let segment = self.due.first().map(|(due, _)| due.saturating_sub(FILE_AHEAD_MS));
        let old = self.filing.as_ref().and_then(|filing| filing.old.next_due());
        [segment, self.wheel.next_due(), old].into_iter().flatten().min()
    }

    /// Sees to it that an item is looked at when it's due.
    #[inline]
    pub(crate) fn file(&mut self, at: Address, due: u64, now: u64) {
        if due == u64::MAX {
            return;
        }
        let meta = self.arena.meta(at.segment());
        if due <= now + WHEEL_AHEAD_MS {
            self.wheel.file(Note::new(at, meta.life.get()), due, now);
            self.look_at_latest(due + WHEEL_TICK_MS);
            if self.wheel.len().is_multiple_of(WHEEL_ENTRIES_PER_LOOK) {
                // Nothing is due, but notes may pile up until something is.
                self.look_at_latest(now);
            }
        } else if due < meta.due.get() {
            self.set_segment_due(at.segment(), due);
            self.look_at_latest(due - FILE_AHEAD_MS);
        }
    }

    /// Ends an item that is due, as far as it is: the key, all of it if none of its fields is
    /// left, or a bounded number of its fields. Whether nothing that is due remains.
    pub(crate) fn end_due(&mut self, db: usize, key: &Key<'_>, spot: Spot, now: u64) -> bool {
        match self.deadline(spot.at, spot.header) {
            Some(deadline) if deadline <= now => {
                self.stats.lag_max_ms = self.stats.lag_max_ms.max(now - deadline);
                self.stats.lag_sum_ms += now - deadline;
                self.count_end(Cause::Expired, spot);
            }
            _ => {
                let entry = Entry::new(self, spot);
                let Some(hash) = entry.hash() else { return true };
                // A session goes on without fields.
                if !hash.is_over(now) || entry.slide().state() != State::Plain {
                    return self.end_due_fields(db, key, spot, now);
                }
                self.stats.expired_fields += hash.len() as u64;
            }
        }
        self.discard(db, key, spot);
        self.record(&Effect::Key { db, key: *key, change: Change::Remove(Cause::Expired) });
        true
    }

    fn end_due_fields(&mut self, db: usize, key: &Key<'_>, spot: Spot, now: u64) -> bool {
        let Some(hash) = Entry::new(self, spot).hash() else { return true };
        // A small hash is written anew each time, so all at once is less.
        let small = spot.header.form() == Form::Inline;
        let most = if small { PACKED_MAX_FIELDS } else { FIELDS_PER_EXPIRY };
        let due = hash.due(now, most);
        let names: Vec<Vec<u8>> = due.iter().map(|field| field.name.to_vec()).collect();
        if names.is_empty() {
            return true;
        }
        let edits: Vec<FieldEdit<'_>> =
            names.iter().map(|name| FieldEdit::Delete { field: name }).collect();
        if self.end_fields(db, key, spot, &edits, now).is_err() {
            // Writing it anew needs room. Readers don't see the fields.
            if let Some(here) = self.locate(db, key) {
                self.file(here.at, now + EXPIRY_RETRY_MS, now);
            }
            return true;
        }
        small || names.len() < most
    }

    /// Looks at the item of a note; whether nothing of it is left to end.
    fn look_at(&mut self, note: Note, now: u64) -> bool {
        let at = note.address();
        let meta = self.arena.meta(at.segment());
        let is_item = note.is_of(meta.life.get())
            && meta.used_for.get() == Use::Items as u32
            && at.offset() < meta.used.get() as usize;
        if !is_item {
            return true;
        }
        let header = Header::load(self.arena.memory(), at);
        if header.is_dead() {
            return true;
        }
        let Some(due) = self.due_time(at, header) else { return true };
        if due > now {
            self.file(at, due, now);
            return true;
        }
        let Some(db) = self.database_of(meta.directory.get()) else { return true };
        let mut bytes = Vec::new();
        key::unpack(self.body(at, header), header.key_form(), &self.prefixes, &mut bytes);
        let key = Key::new(&self.config.secret, &bytes);
        self.spot_of(db, at, &key).is_none_or(|spot| self.end_due(db, &key, spot, now))
    }

    /// Files the due times of segments whose first one is near; whether some are left.
    fn file_near_segments(&mut self, now: u64) -> bool {
        for _ in 0..8 {
            match self.due.first() {
                Some((due, _)) if *due <= now + FILE_AHEAD_MS => {}
                _ => return false,
            }
            let Some((_, segment)) = self.due.pop_first() else { return false };
            let segment = SegmentId(segment);
            self.arena.meta(segment).due.set(u64::MAX);
            self.file_segment(segment, now);
        }
        self.due.first().is_some_and(|(due, _)| *due <= now + FILE_AHEAD_MS)
    }

    fn file_segment(&mut self, segment: SegmentId, now: u64) {
        for (at, header) in self.live_items(segment) {
            let known = self.arena.meta(segment).due.get();
            if let Some(due) = self.due_time(at, header).filter(|due| *due < known) {
                self.file(at, due, now);
            }
        }
    }

    pub(crate) fn set_segment_due(&mut self, segment: SegmentId, due: u64) {
        let meta = self.arena.meta(segment);
        self.due.remove(&(meta.due.get(), segment.0));
        meta.due.set(due);
        self.due.insert((due, segment.0));
    }

    /// Files a few segments' items anew if that is going on, or begins it if there are too many
    /// notes, old and double ones; whether there is more to file.
    fn file_some_anew(&mut self, now: u64) -> bool {
        let Some(mut filing) = self.filing.take() else {
            let most = WHEEL_ENTRIES_PER_KEY * self.keys() + WHEEL_ENTRIES_PER_LOOK;
            if self.wheel.len() > most {
                let old = std::mem::replace(&mut self.wheel, Wheel::new());
                self.filing = Some(Filing { old, directory: self.directories.len(), segments: 0 });
            }
            return self.filing.is_some();
        };
        for _ in 0..SEGMENTS_PER_FILING {
            let Some(segment) = self.next_to_file(&mut filing) else { return false };
            self.file_segment(segment, now);
        }
        self.filing = Some(filing);
        true
    }

    /// The walk goes backwards: what is added to a directory meanwhile, which was filed as it was
    /// written, and what moves from its end into a gap, stand behind it.
    fn next_to_file(&self, filing: &mut Filing) -> Option<SegmentId> {
        loop {
            let attached = self.database_of(filing.directory as u32).is_some();
            let directory = self.directories.get(filing.directory).filter(|_| attached);
            let segments = directory.and_then(Option::as_ref).map_or(&[][..], |d| &d.segments);
            filing.segments = filing.segments.min(segments.len());
            if let Some(last) = filing.segments.checked_sub(1) {
                filing.segments = last;
                return segments.get(last).copied();
            }
            filing.directory = filing.directory.checked_sub(1)?;
            filing.segments = usize::MAX;
        }
    }

    /// Whether somebody will look at an item of that due time; slow, for the checker.
    pub(crate) fn is_filed(&self, at: Address, due: u64) -> bool {
        let meta = self.arena.meta(at.segment());
        let old = self.filing.as_ref().map(|filing| &filing.old);
        due >= meta.due.get()
            || self.wheel.holds(at, meta.life.get())
            || old.is_some_and(|old| old.holds(at, meta.life.get()))
    }

    pub(crate) fn keys(&self) -> usize {
        (0..self.roots.len()).map(|db| self.len(db) as usize).sum()
    }
}
