//! The checker: walks a whole shard and compares everything with everything.
//!
//! For tests and for `DEBUG`; it reads every item, so it takes as long as the shard is large.

use crate::arena::Use;
use crate::effect::Key;
use crate::hash::PackedHash;
use crate::shard::Shard;
use layout::{Address, Fields, Form, Header, KeyHash, Kind, State, key};
use std::collections::{BTreeSet, HashSet};

impl Shard {
    /// Checks every invariant of the shard.
    ///
    /// # Errors
    /// A sentence that says what doesn't hold, and where.
    pub fn check(&self) -> Result<(), String> {
        let (mut live, mut used) = (0, 0);
        let mut owned = HashSet::new();
        for (id, directory) in self.directories.iter().enumerate() {
            let Some(directory) = directory else { continue };
            let attached = self.database_of(id as u32);
            let mut keys = 0;
            let mut users = BTreeSet::new();
            let (mut deadlines, mut sessions) = (0, 0);
            for (place, segment) in directory.segments.iter().enumerate() {
                let meta = self.arena.meta(*segment);
                let what = format!("segment {}", segment.0);
                expect(meta.used_for.get() == Use::Items as u32, || format!("{what}: its use"))?;
                expect(meta.directory.get() == id as u32, || format!("{what}: its directory"))?;
                expect(meta.place.get() as usize == place, || format!("{what}: its place"))?;
                let items = self.live_items(*segment);
                let words: usize = items.iter().map(|(_, header)| header.words()).sum();
                expect(words == meta.live.get() as usize, || {
                    format!("{what}: {words} words live, {} counted", meta.live.get())
                })?;
                let owning = items.iter().filter(|(_, h)| h.form() != Form::Inline).count();
                expect(owning == meta.owning.get() as usize, || format!("{what}: owning"))?;
                let sealed = meta.sealed.get() == 1;
                let open = directory.open.contains(&Some(*segment));
                expect(sealed != open || attached.is_none(), || format!("{what}: open or sealed"))?;
                expect(!sealed || words > 0, || format!("{what}: sealed without live items"))?;
                let indexed =
                    meta.due.get() == u64::MAX || self.due.contains(&(meta.due.get(), segment.0));
                expect(indexed, || format!("{what}: its due time isn't in the order"))?;
                live += words;
                used += if sealed { layout::SEGMENT_WORDS } else { meta.used.get() as usize };
                if let Some(db) = attached {
                    for (at, header) in &items {
                        keys += 1;
                        deadlines += u64::from(self.deadline(*at, *header).is_some());
                        sessions += u64::from(self.is_session(*at, *header));
                        let key = self.check_item(db, *at, *header, &mut owned)?;
                        users.extend(self.owner_of(*at, *header).map(|user| (user, key.0)));
                    }
                }
            }
            if attached.is_some() {
                expect(users == directory.users, || {
                    format!("{} sessions with users, {} listed", users.len(), directory.users.len())
                })?;
                let counted = directory.index.keys;
                expect(keys == counted, || format!("{keys} items, {counted} keys in the index"))?;
                expect(deadlines == directory.deadlines, || "the count of deadlines".to_owned())?;
                expect(sessions == directory.sessions, || "the count of sessions".to_owned())?;
                let all = self.check_leaves(attached.unwrap_or(0))?;
                expect(all == counted, || format!("{all} slots, {counted} keys"))?;
            }
        }
        let heap: usize = self.big.iter().flatten().map(|big| big.heap_bytes()).sum();
        expect(heap == self.big_bytes, || format!("{heap} heap bytes, {}", self.big_bytes))?;
        expect(live == self.space.live, || format!("{live} live words, {}", self.space.live))?;
        expect(used == self.space.used, || format!("{used} used words, {}", self.space.used))
    }

    fn check_item(
        &self,
        db: usize,
        at: Address,
        header: Header,
        owned: &mut HashSet<u64>,
    ) -> Result<KeyHash, String> {
        let mut bytes = Vec::new();
        key::unpack(self.body(at, header), header.key_form(), &self.prefixes, &mut bytes);
        let named = || format!("key {:?}", String::from_utf8_lossy(&bytes));
        let key = Key::new(&self.config.secret, &bytes);
        let spot = self.locate(db, &key);
        expect(spot.is_some_and(|spot| spot.at == at), || format!("{}: not found", named()))?;
        if let Some(due) = self.due_time(at, header) {
            expect(due == u64::MAX || self.is_filed(at, due), || {
                format!("{}: due {due}, and nobody will look", named())
            })?;
        }
        if header.form() == Form::Heap {
            let number = self.value(at, header).first_chunk().map(|n| u64::from_le_bytes(*n));
            let number = number.unwrap_or(u64::MAX);
            expect(owned.insert(number), || format!("{}: a hash with two owners", named()))?;
            let there = self.big.get(number as usize).is_some_and(Option::is_some);
            expect(there, || format!("{}: its hash is gone", named()))?;
        }
        self.check_slide(at, header).map_err(|what| format!("{}: {what}", named()))?;
        Ok(key.hash)
    }

    fn check_slide(&self, at: Address, header: Header) -> Result<(), String> {
        let fields = header.fields();
        let slide = self.slide_of(at, header);
        let deadline = self.deadline(at, header);
        let state = slide.state();
        expect(fields.has(Fields::SLIDE) != slide.is_empty(), || "an empty slide".to_owned())?;
        expect(slide.bound(deadline) == deadline, || "an end after the last".to_owned())?;
        let plain = state == State::Plain;
        expect(plain || header.kind() == Kind::Hash, || "a session that is no hash".to_owned())?;
        let bare = slide.created() == 0 && slide.user_bytes() == 0;
        expect(!plain || bare && !fields.has(Fields::ROTATED), || "no session".to_owned())?;
        let user = slide.user_bytes();
        expect(self.value(at, header).len() >= user, || "a user cut off".to_owned())?;
        if header.kind() == Kind::Hash && header.form() == Form::Inline {
            let run = PackedHash::new(self.payload(at, header));
            expect(run.is_whole(), || "bytes that are no fields".to_owned())?;
            expect(!plain || !run.is_empty(), || "a hash without fields".to_owned())?;
        }
        Ok(())
    }

    fn check_leaves(&self, db: usize) -> Result<u64, String> {
        let Some(directory) = self.directory(db) else { return Ok(0) };
        let memory = self.arena.memory();
        let mut position = Some(0);
        let mut all = 0;
        while let Some(at) = position {
            let (leaf, next) = directory.index.leaf_at(memory, at);
            if let Some(leaf) = leaf {
                let slots = crate::index::slots(memory, leaf).len() as u64;
                let counted = layout::directory::Control(memory.load(leaf.index())).count();
                expect(slots == counted, || format!("a leaf of {slots} keys counts {counted}"))?;
                let index = crate::index::is_index_segment(&self.arena, leaf.segment());
                expect(index, || "a leaf outside the index's segments".to_owned())?;
                all += slots;
            }
            position = next;
        }
        Ok(all)
    }
}

fn expect(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
