//! Writing items: in place when the size allows, else appended, and what is replaced dies.
//!
//! What always holds: either the whole item is written and found under its key, or nothing
//! changed. An item's due time is filed before the call returns.

use super::entry::{handle, long_segments};
use super::{Shard, Spot, StringView};
use crate::arena::{Arena, Owner, Use};
use crate::effect::{Full, Key, Meta};
use crate::index::bump_slot;
use crate::limits::{
    BANDS_MAX, COPIED_PER_WRITTEN, COPY_CREDIT_MAX, INLINE_MAX, KEY_MAX, LONG_FREED_AT_ONCE,
    SQUEEZES_PER_WRITE, VALUE_MAX,
};
use crate::prefixes::PrefixTable;
use layout::header::{Fields, Form, HEADER_WORDS, Kind, VERSION_BITS};
use layout::memory::Writer;
use layout::{
    Address, HashKey, Header, KeyHash, SEGMENT_BYTES, SEGMENT_WORDS, SegmentId, State, key,
};

/// An item to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) form: Form,
    pub(crate) meta: Meta,
    /// The first deadline of a field.
    pub(crate) field_due: Option<u64>,
    /// The value as it will stand in the item, in two pieces.
    pub(crate) value: [&'a [u8]; 2],
    /// The name of a session's user.
    pub(crate) user: &'a [u8],
    /// Whether the version stays (the value doesn't change).
    pub(crate) keep_version: bool,
    /// Whether the item takes over the segments or the heap value of the one that it replaces.
    pub(crate) transfer: bool,
}

impl<'a> Draft<'a> {
    pub(crate) const fn new(kind: Kind, form: Form, meta: Meta, value: &'a [u8]) -> Self {
        Self {
            kind,
            form,
            meta,
            field_due: None,
            value: [value, &[]],
            user: &[],
            keep_version: false,
            transfer: false,
        }
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        if Header::is_wide(self.meta.deadline) {
            fields = fields.with(Fields::WIDE);
        }
        if self.meta.flags != 0 || self.meta.state != 0 {
            fields = fields.with(Fields::CLIENT);
        }
        if self.meta.cas.is_some() {
            fields = fields.with(Fields::CAS);
        }
        if self.field_due.is_some() {
            fields = fields.with(Fields::FIELD_DUE);
        }
        if !self.meta.slide.is_empty() {
            fields = fields.with(Fields::SLIDE);
            if self.meta.rotated != 0 {
                fields = fields.with(Fields::ROTATED);
            }
        }
        fields
    }

    /// A string, which is never a session.
    fn string(form: Form, meta: &Meta, value: [&'a [u8]; 2]) -> Self {
        Self {
            kind: Kind::String,
            form,
            meta: *meta,
            field_due: None,
            value,
            user: &[],
            keep_version: false,
            transfer: false,
        }
    }

    /// The same with what slides fitting together: a user only of a session, whose length the slide
    /// says, and a deadline within the absolute one.
    #[cold]
    fn fitted(&self) -> Self {
        let mut draft = *self;
        if draft.kind != Kind::Hash || draft.meta.slide.state() == State::Plain {
            (draft.meta.slide, draft.meta.rotated) = (draft.meta.slide.plain(), 0);
            draft.user = &[];
        }
        let user = u8::try_from(draft.user.len()).unwrap_or(u8::MAX);
        draft.meta.slide = draft.meta.slide.with_user_bytes(user);
        draft.meta.deadline = draft.meta.slide.bound(draft.meta.deadline);
        draft
    }

    fn due(&self) -> Option<u64> {
        match (self.meta.deadline, self.field_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Shard {
    /// Stores a string, in whole segments if it's long. Answers the item's version.
    pub(crate) fn store_string(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Option<Spot>,
        (pieces, meta): ([&[u8]; 2], &Meta),
        now: u64,
    ) -> Result<u64, Full> {
        let len = pieces[0].len() + pieces[1].len();
        if key.bytes.len() > KEY_MAX || len > VALUE_MAX {
            return Err(Full);
        }
        if key.bytes.len() + len <= INLINE_MAX {
            let draft = Draft::string(Form::Inline, meta, pieces);
            return self.store(db, key, old, &draft, now);
        }
        let mut head = (len as u64).to_le_bytes().to_vec();
        let mut ids = Vec::with_capacity(long_segments(len));
        let mut rest = Vec::new();
        let mut from = 0;
        while ids.len() < long_segments(len) {
            // What a long value before it left is at hand.
            let left = self.long_detached.pop();
            let Some(id) = left.or_else(|| self.arena.take(Use::Long)) else {
                ids.iter().for_each(|id| self.arena.give(*id));
                return Err(Full);
            };
            let end = len.min(from + SEGMENT_BYTES);
            let mut writer = Writer::new(self.arena.memory(), id.start().index(), SEGMENT_WORDS);
            for piece in cut(pieces, from, end) {
                writer.bytes(piece);
            }
            writer.finish();
            head.extend_from_slice(&id.0.to_le_bytes());
            ids.push(id);
            from = end;
        }
        cut(pieces, from, len).iter().for_each(|piece| rest.extend_from_slice(piece));
        let draft = Draft::string(Form::Long, meta, [&head, &rest]);
        let stored = self.store(db, key, old, &draft, now);
        if stored.is_err() {
            ids.iter().for_each(|id| self.arena.give(*id));
        }
        stored
    }

    /// Stores an item under a key, in place of `old` if there is one. Answers its version.
    pub(crate) fn store(
        &mut self,
        db: usize,
        key: &Key<'_>,
        old: Option<Spot>,
        draft: &Draft<'_>,
        now: u64,
    ) -> Result<u64, Full> {
        let fitted;
        let draft = if draft.meta.slide.is_empty() && draft.user.is_empty() {
            draft
        } else {
            fitted = draft.fitted();
            &fitted
        };
        let slid = old.is_some_and(|old| old.header.fields().has(Fields::SLIDE));
        let owner = if slid { old.and_then(|old| self.owner_of(old.at, old.header)) } else { None };
        let was_session = slid && old.is_some_and(|old| self.is_session(old.at, old.header));
        let mut kept = std::mem::take(&mut self.scratch);
        kept.clear();
        let form = match old {
            Some(old) => {
                let body = self.body(old.at, old.header);
                let end = key::kept_bytes(body, old.header.key_form());
                kept.extend_from_slice(body.get(..end).unwrap_or_default());
                old.header.key_form()
            }
            None => {
                let plan = self.prefixes.plan(key.bytes);
                plan.write(key.bytes, &mut kept);
                plan.form
            }
        };
        let fields = draft.fields();
        let value = draft.value[0].len() + draft.value[1].len() + draft.user.len();
        let bytes = 8 * (HEADER_WORDS + fields.words()) + kept.len() + value;
        let version = match old {
            Some(old) if draft.keep_version => old.header.version(),
            _ => self.next_version(),
        };
        let header = Header::new(bytes, draft.kind, draft.form, form, fields)
            .with_version(version)
            .with_deadline(draft.meta.deadline)
            .with_recency(self.fresh_recency(old.map(|old| old.header), now));
        let had = old.is_some_and(|old| self.deadline(old.at, old.header).is_some());
        let stored = match old {
            Some(old) if old.header.words() == header.words() => {
                self.keep_replaced(db, key, old, draft);
                self.let_go(old.at, old.header, draft.transfer);
                bump_slot(self.arena.memory(), old.slot);
                self.write(old.at, header, draft, &kept);
                bump_slot(self.arena.memory(), old.slot);
                Ok(old.at)
            }
            _ => self.append(db, key, old, (header, draft, &kept), now),
        };
        self.scratch = kept;
        let at = stored?;
        self.count_deadline(db, had, draft.meta.deadline.is_some());
        if slid || fields.has(Fields::SLIDE) {
            self.count_session(db, was_session, self.is_session(at, header));
            let owns = self.owner_of(at, header);
            self.note_owner(db, key, (owner, owns), !fields.has(Fields::SLIDE));
        }
        if let Some(due) = draft.due() {
            self.file(at, due, now);
        }
        if std::mem::take(&mut self.space.opened) {
            self.relocate_some(now);
        }
        Ok(version)
    }

    /// Takes an item out of the index and kills it.
    pub(crate) fn discard(&mut self, db: usize, key: &Key<'_>, spot: Spot) {
        let Some(Some(id)) = self.roots.get(db).copied() else { return };
        self.keep_before_change(db, key, spot);
        let had = self.deadline(spot.at, spot.header).is_some();
        self.count_deadline(db, had, false);
        if spot.header.fields().has(Fields::SLIDE) {
            self.count_session(db, self.is_session(spot.at, spot.header), false);
            let owner = self.owner_of(spot.at, spot.header);
            self.note_owner(db, key, (owner, None), true);
        }
        if let Some(Some(directory)) = self.directories.get_mut(id as usize) {
            directory.index.remove(self.arena.memory(), spot.slot, key.hash);
        }
        self.bury(id, spot.at, spot.header, false);
    }

    /// Marks an item that the index no longer knows as dead and frees what it owned, unless
    /// another item took that over.
    pub(crate) fn bury(&mut self, directory: u32, at: Address, header: Header, taken_over: bool) {
        self.let_go(at, header, taken_over);
        let emptied = self.space.kill(&self.arena, at, header);
        if emptied {
            self.retire(directory, at.segment());
        }
    }

    /// Gives back a segment that holds nothing alive.
    pub(crate) fn retire(&mut self, directory: u32, segment: SegmentId) {
        self.due.remove(&(self.arena.meta(segment).due.get(), segment.0));
        if let Some(Some(directory)) = self.directories.get_mut(directory as usize) {
            self.space.retire(&self.arena, directory, segment);
        }
    }

    /// The band for an item that is due then.
    pub(crate) fn band(&self, db: usize, due: Option<u64>, now: u64) -> usize {
        const MINUTE: u64 = 60_000;
        const EDGES: [u64; BANDS_MAX - 2] =
            [2 * MINUTE, 60 * MINUTE, 24 * 60 * MINUTE, 8 * 24 * 60 * MINUTE];
        let Some(due) = due else { return 0 };
        // Small databases don't keep many segments open.
        let bands = if db == 0 { self.config.bands } else { self.config.bands.min(2) };
        let left = due.saturating_sub(now.max(self.began));
        let band = 1 + EDGES.iter().filter(|edge| left > **edge).count();
        band.min(bands.saturating_sub(1))
    }

    /// Keeps a large hash and answers its number.
    pub(crate) fn keep_big(&mut self, big: Box<crate::hash::BigHash>) -> usize {
        self.big_bytes += big.heap_bytes();
        if let Some(free) = self.big_free.pop()
            && let Some(place) = self.big.get_mut(free)
        {
            *place = Some(big);
            return free;
        }
        self.big.push(Some(big));
        self.big.len() - 1
    }

    /// The version for the next change.
    pub(crate) const fn next_version(&mut self) -> u64 {
        self.version = (self.version + 1) & ((1 << VERSION_BITS) - 1);
        self.version
    }

    /// Appends an item and makes the index refer to it.
    fn append(
        &mut self,
        db: usize,
        key: &Key<'_>,
        mut old: Option<Spot>,
        (header, draft, kept): (Header, &Draft<'_>, &[u8]),
        now: u64,
    ) -> Result<Address, Full> {
        let band = self.band(db, draft.due(), now);
        let id = self.directory_id(db);
        let mut found = self.room((id, band), header.words(), false);
        for _ in 0..SQUEEZES_PER_WRITE {
            if found.is_ok() || !self.squeeze(now) {
                break;
            }
            old = old.and_then(|_| self.locate(db, key));
            found = self.room((id, band), header.words(), false);
        }
        let at = found?;
        if let Some(old) = old {
            self.keep_replaced(db, key, old, draft);
        }
        self.write(at, header, draft, kept);
        let Self { arena, owner, pages, prefixes, config, directories, .. } = self;
        let Some(Some(directory)) = directories.get_mut(id as usize) else { return Err(Full) };
        if let Some(old) = old {
            directory.index.replace(arena.memory(), old.slot, key.hash, at);
            self.bury(id, old.at, old.header, draft.transfer);
            return Ok(at);
        }
        let mut rehash = Rehash::new(arena, owner, prefixes, config.secret);
        let hash_again = &mut |item| rehash.hash(item);
        if directory.index.insert(arena, pages, key.hash, at, hash_again).is_err() {
            self.bury(id, at, header, true);
            return Err(Full);
        }
        Ok(at)
    }

    /// Gives the open segment of a band back if it has no room left and holds nothing alive:
    /// sealed, it would never become empty again.
    #[inline]
    fn retire_if_empty(&mut self, (id, band): (u32, usize), words: usize) {
        let directory = self.directories.get(id as usize).and_then(Option::as_ref);
        let open = directory.and_then(|directory| *directory.open.get(band)?);
        if let Some(open) = open {
            let meta = self.arena.meta(open);
            if meta.live.get() == 0 && meta.used.get() as usize + words > SEGMENT_WORDS {
                self.retire(id, open);
            }
        }
    }

    /// Keeps an item for a snapshot before a draft takes its place.
    #[inline]
    fn keep_replaced(&mut self, db: usize, key: &Key<'_>, old: Spot, draft: &Draft<'_>) {
        if draft.keep_version {
            self.keep_before_rewrite(db, key, old);
        } else {
            self.keep_before_change(db, key, old);
        }
    }

    /// Room for an item in the open segment of a band.
    #[inline]
    pub(crate) fn room(
        &mut self,
        (id, band): (u32, usize),
        words: usize,
        relocating: bool,
    ) -> Result<Address, Full> {
        self.retire_if_empty((id, band), words);
        let Self { arena, directories, space, .. } = self;
        let Some(Some(directory)) = directories.get_mut(id as usize) else { return Err(Full) };
        space.append(arena, directory, (id, band), words, relocating)
    }

    /// Writes the bytes of an item.
    fn write(&mut self, at: Address, header: Header, draft: &Draft<'_>, kept: &[u8]) {
        let memory = self.arena.memory();
        let mut writer = Writer::new(memory, at.index(), header.words());
        writer.word(header.0[0]);
        writer.word(header.0[1]);
        let fields = header.fields();
        if fields.has(Fields::WIDE) {
            writer.word(draft.meta.deadline.unwrap_or(u64::MAX));
        }
        if fields.has(Fields::CLIENT) {
            writer.word(u64::from(draft.meta.flags) | u64::from(draft.meta.state) << 32);
        }
        if fields.has(Fields::CAS) {
            writer.word(draft.meta.cas.unwrap_or(0));
        }
        if fields.has(Fields::FIELD_DUE) {
            writer.word(draft.field_due.unwrap_or(u64::MAX));
        }
        if fields.has(Fields::SLIDE) {
            draft.meta.slide.0.iter().for_each(|word| writer.word(*word));
            if fields.has(Fields::ROTATED) {
                writer.word(draft.meta.rotated);
            }
        }
        writer.bytes(kept);
        draft.value.iter().for_each(|piece| writer.bytes(piece));
        if !draft.user.is_empty() {
            writer.bytes(draft.user);
        }
        writer.finish();
        if header.form() != Form::Inline {
            let owning = &self.arena.meta(at.segment()).owning;
            owning.set(owning.get() + 1);
        }
        let bytes = 8 * header.words();
        self.stats.written += bytes as u64;
        self.copy_credit = (self.copy_credit + COPIED_PER_WRITTEN * bytes).min(COPY_CREDIT_MAX);
    }

    /// Frees the segments or the heap value of an item that ends, unless they were taken over.
    pub(crate) fn let_go(&mut self, at: Address, header: Header, taken_over: bool) {
        if header.form() == Form::Inline {
            return;
        }
        let owning = &self.arena.meta(at.segment()).owning;
        owning.set(owning.get() - 1);
        if taken_over {
            return;
        }
        let value = self.value(at, header);
        if header.form() == Form::Long {
            let ids: Vec<SegmentId> = StringView::long(self, value).segment_ids().collect();
            let later = ids.len().saturating_sub(LONG_FREED_AT_ONCE);
            self.long_detached.extend(ids.iter().take(later));
            ids.iter().skip(later).for_each(|id| self.arena.give(*id));
            if later > 0 {
                self.look_at_latest(0);
            }
        } else if let Some(handle) = handle(value) {
            self.drop_big(handle);
        }
    }

    /// Lets go of a large hash, which is freed bit by bit.
    pub(crate) fn drop_big(&mut self, number: usize) {
        if let Some(big) = self.big.get_mut(number).and_then(Option::take) {
            self.big_bytes -= big.heap_bytes();
            self.big_free.push(number);
            // What another key has as well, as after RENAME, isn't freed.
            if !big.is_shared() {
                self.big_detached.push(*big);
                self.look_at_latest(0);
            }
        }
    }

    /// Counts a key that gets or loses its deadline.
    pub(crate) fn count_deadline(&mut self, db: usize, had: bool, now_has: bool) {
        if had == now_has {
            return;
        }
        let Some(Some(id)) = self.roots.get(db).copied() else { return };
        if let Some(Some(directory)) = self.directories.get_mut(id as usize) {
            if now_has { directory.deadlines += 1 } else { directory.deadlines -= 1 }
        }
    }

    /// Counts a key that becomes a session, or is none any more.
    fn count_session(&mut self, db: usize, was: bool, is: bool) {
        if was == is {
            return;
        }
        let Some(Some(id)) = self.roots.get(db).copied() else { return };
        if let Some(Some(directory)) = self.directories.get_mut(id as usize) {
            if is { directory.sessions += 1 } else { directory.sessions -= 1 }
        }
    }
}

/// Hashes the keys of items again.
pub(crate) struct Rehash<'s> {
    arena: &'s Arena,
    owner: &'s Owner,
    prefixes: &'s PrefixTable,
    secret: HashKey,
    unpacked: Vec<u8>,
}

impl<'s> Rehash<'s> {
    pub(crate) const fn new(
        arena: &'s Arena,
        owner: &'s Owner,
        prefixes: &'s PrefixTable,
        secret: HashKey,
    ) -> Self {
        Self { arena, owner, prefixes, secret, unpacked: Vec::new() }
    }

    pub(crate) fn hash(&mut self, item: Address) -> KeyHash {
        let header = Header::load(self.arena.memory(), item);
        let body = self.arena.bytes(self.owner, header.key_at(item), 0, header.body_bytes());
        self.unpacked.clear();
        key::unpack(body, header.key_form(), self.prefixes, &mut self.unpacked);
        self.secret.hash(&self.unpacked)
    }
}

/// The parts of two pieces that cover `from .. to` of them together.
fn cut<'a>(pieces: [&'a [u8]; 2], from: usize, to: usize) -> [&'a [u8]; 2] {
    let split = pieces[0].len();
    let part = |piece: &'a [u8], offset: usize| {
        let start = from.saturating_sub(offset).min(piece.len());
        let end = to.saturating_sub(offset).min(piece.len());
        piece.get(start..end).unwrap_or_default()
    };
    [part(pieces[0], 0), part(pieces[1], split)]
}
