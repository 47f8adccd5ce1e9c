//! A base made of records: the store of one moment as an increment would state it.
//!
//! ```text
//! #sessile 1 <seed>           the opening line
//! a chunk                     SELECT 0 after a note: tag::BASE, the increment that follows
//! chunks                      SELECT, and of each key all that Change::Install states
//! a chunk                     SELECT 0 after a note: tag::BASE_END, how many keys there were
//! ```
//!
//! What always holds: a key stands within one chunk, so none is read in part; it begins with what
//! removes it (or states all of it), so it can be read where the chunks before it are lost. A file
//! that begins as a base and doesn't end as one isn't whole.
//! Not for: files. A writer that is dropped without [`BaseWriter::finish`] leaves a part of one.

use super::record::{install, note, select};
use super::{Framer, Record};
use crate::extra::{Extra, tag};
use crate::limits::{BASE_CHUNK, CHUNK_MAX};
use engine::{OwnedItem, State};
use std::io::{self, Write};

/// Writes a base of records to whatever takes bytes.
#[derive(Debug)]
pub struct BaseWriter<W: Write> {
    inner: W,
    framer: Framer,
    /// The chunk on its way.
    records: Vec<u8>,
    framed: Vec<u8>,
    /// The database of its last record; none in a chunk without records.
    db: Option<usize>,
    keys: u64,
}

impl<W: Write> BaseWriter<W> {
    /// Begins a file. `seed` is random; `follows` is the number of the increment after it.
    ///
    /// # Errors
    /// Those of the sink, as of all methods here.
    pub fn new(inner: W, seed: u64, follows: Option<u64>) -> io::Result<Self> {
        let mut framed = Vec::new();
        let framer = Framer::open(seed, &mut framed);
        let (records, db) = (Vec::new(), None);
        let mut writer = Self { inner, framer, records, framed, db, keys: 0 };
        writer.mark(tag::BASE, follows.unwrap_or(0))?;
        Ok(writer)
    }

    /// Writes an item.
    ///
    /// # Errors
    /// Those of the sink; the item is larger than a chunk may be.
    pub fn item(&mut self, db: usize, key: &[u8], item: &OwnedItem) -> io::Result<()> {
        if item.is_empty_hash() && item.meta.slide.state() == State::Plain {
            // There is no such item; a note about it would stand for nothing.
            return Ok(());
        }
        if self.db.replace(db) != Some(db) {
            select(db, &mut self.records);
        }
        install(key, item, &mut self.records);
        self.keys += 1;
        if self.records.len() >= BASE_CHUNK { self.end_chunk() } else { Ok(()) }
    }

    /// Ends the file and flushes.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_chunk()?;
        self.mark(tag::BASE_END, self.keys)?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    /// A chunk of its own that says what the file is.
    fn mark(&mut self, tag: u8, number: u64) -> io::Result<()> {
        let mut extra = Extra::default();
        extra.push(tag, &number.to_le_bytes());
        note(&extra, &mut self.records);
        select(0, &mut self.records);
        self.end_chunk()
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        if self.records.len() as u64 > CHUNK_MAX {
            return Err(io::Error::other("a key is too large for a base of records"));
        }
        self.framer.frame(&self.records, 0, &mut self.framed);
        let done = self.inner.write_all(&self.framed);
        self.records.clear();
        self.framed.clear();
        self.db = None;
        done
    }
}

/// What records of a file say of it as a base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseFacts {
    /// It began as one: the increment that follows, 0 for none.
    begun: Option<u64>,
    /// The last record says that it ends there.
    ended: bool,
    /// There were records.
    some: bool,
}

impl BaseFacts {
    /// Takes note of a file's next record.
    pub fn note(&mut self, record: &Record<'_>) {
        let number = |tag| record.note.as_ref().and_then(|note| note.number(tag));
        self.begun = self.begun.or_else(|| number(tag::BASE));
        self.ended = number(tag::BASE_END).is_some();
        self.some = true;
    }

    /// The number of the increment that follows, if the file says so.
    pub fn follows(&self) -> Option<u64> {
        self.begun.filter(|number| *number != 0)
    }

    /// Whether it began as a base, and its last record wasn't the end of one. `opened`: it has an
    /// opening line ([`super::Reader::tail`]), so there is more.
    pub const fn is_cut(&self, opened: bool) -> bool {
        !self.ended && (self.begun.is_some() || opened && !self.some)
    }
}

/// Whether the first bytes of a file, [`HEAD`] of them, are those of a file of ours; one may have
/// changed.
pub fn is_ours(head: &[u8]) -> bool {
    let wrong = HEAD.iter().zip(head).filter(|(is, was)| is != was).count();
    head.len() == HEAD.len() && wrong <= 1
}

/// How a file of ours begins.
pub const HEAD: &[u8] = super::chunk::OPENING_ANY;

#[cfg(test)]
mod tests {
    use super::super::tests::{DATABASES, Held, SECRET, SEGMENTS, random_effect, shard, shown};
    use super::super::{Reader, Replay};
    use super::*;
    use engine::{Key, Rng};

    /// A store's base.
    fn base_of(store: &mut Held, seed: u64) -> Vec<u8> {
        let mut writer = BaseWriter::new(Vec::new(), seed, Some(7)).unwrap();
        for db in 0..DATABASES {
            for key in (0..12).map(|i| format!("key:{i}").into_bytes()) {
                // What sessions left behind is there, too.
                let found = store.0.meet(db, &Key::new(&SECRET, &key), 1_000, false);
                let Some(item) = found.map(|entry| entry.to_owned_item()) else { continue };
                writer.item(db, &key, &item).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    /// Reads a base; what it says of itself, if it's right.
    fn read(bytes: &[u8], into: &mut Held) -> Option<(BaseFacts, bool)> {
        let (mut reader, mut facts) = (Reader::new(bytes, u64::MAX), BaseFacts::default());
        let mut replay = Replay::new(SECRET, DATABASES);
        while let Some(record) = reader.next().ok()? {
            replay.record(&record, into).ok()?;
            facts.note(&record);
        }
        Some((facts, facts.is_cut(reader.tail().is_some())))
    }

    #[test]
    fn a_base_of_records_has_all_of_a_store() {
        for seed in 0..40 {
            let (mut rng, mut store, mut db) = (Rng::new(seed), Held(shard(SEGMENTS)), 0);
            for _ in 0..60 {
                random_effect(&mut rng, &mut store, &mut db, &mut Vec::new());
            }
            let bytes = base_of(&mut store, seed);
            assert!(is_ours(&bytes[..HEAD.len()]));
            let mut loaded = Held(shard(SEGMENTS));
            let (facts, is_cut) = read(&bytes, &mut loaded).unwrap();
            assert_eq!((facts.follows(), is_cut), (Some(7), false));
            assert_eq!(shown(&mut loaded), shown(&mut store), "seed {seed}");
        }
    }

    #[test]
    fn a_base_that_is_cut_anywhere_is_not_whole() {
        let (mut rng, mut store, mut db) = (Rng::new(1), Held(shard(SEGMENTS)), 0);
        for _ in 0..20 {
            random_effect(&mut rng, &mut store, &mut db, &mut Vec::new());
        }
        let bytes = base_of(&mut store, 1);
        let ends = (0..bytes.len()).filter(|at| bytes[..*at].ends_with(b"\n"));
        for cut in ends.chain((1..bytes.len()).step_by(7)) {
            let found = read(&bytes[..cut], &mut Held(shard(SEGMENTS)));
            assert!(found.is_none_or(|(_, is_cut)| is_cut), "cut at {cut}");
        }
    }
}
