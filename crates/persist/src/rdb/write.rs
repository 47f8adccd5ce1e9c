//! A file, written in one go to whatever takes bytes.
//!
//! What always holds: the checksum covers what was handed on, whoever made the pieces; nothing is
//! kept but the piece at hand.
//! Not for: files. A writer that is dropped without [`Writer::finish`] leaves half a file.

use super::marks::Marks;
use super::{Body, Encoder, VERSION, op};
use crate::checksum::Checksum;
use crate::extra::Extra;
use engine::Meta;
use std::io::{self, Write};

/// What a file says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// `redis-ver`: the version of Redis whose format this is, `7.0.15` say.
    pub version: &'a str,
    /// When it's written, in Unix seconds.
    pub ctime: u64,
    /// Bytes of memory in use.
    pub used_memory: u64,
    /// Whether it's the base of a log.
    pub aof_base: bool,
    /// More: names and values. None of the names may be one of Redis' own.
    pub more: &'a [(&'a str, &'a [u8])],
}

/// Writes a file.
#[derive(Debug)]
pub struct Writer<W: Write> {
    inner: W,
    sum: Checksum,
    written: u64,
    marks: Option<Marks>,
    encoder: Encoder,
    piece: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file. `compress` is for the items that this writer encodes itself.
    ///
    /// # Errors
    /// Those of the sink, as of all methods here.
    pub fn new(inner: W, facts: &Facts<'_>, compress: bool) -> io::Result<Self> {
        let mut encoder = Encoder::new(compress);
        let mut piece = format!("REDIS{VERSION:04}").into_bytes();
        let mut number = itoa::Buffer::new();
        encoder.aux(b"redis-ver", facts.version.as_bytes(), &mut piece);
        encoder.aux(b"redis-bits", b"64", &mut piece);
        encoder.aux(b"ctime", number.format(facts.ctime).as_bytes(), &mut piece);
        encoder.aux(b"used-mem", number.format(facts.used_memory).as_bytes(), &mut piece);
        encoder.aux(b"aof-base", if facts.aof_base { b"1" } else { b"0" }, &mut piece);
        for (name, value) in facts.more {
            encoder.aux(name.as_bytes(), value, &mut piece);
        }
        let mut writer = Self {
            inner,
            sum: Checksum::default(),
            written: 0,
            marks: None,
            encoder,
            piece: Vec::new(),
        };
        writer.append(&piece)?;
        Ok(writer)
    }

    /// From now on there are marks, by which a stretch of the file is known to be right if another
    /// one isn't. `seed` is random, and nobody's to know before the file is there.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn begin_marks(&mut self, seed: u64) -> io::Result<()> {
        let marks = Marks::begin(seed, 0);
        self.append(&marks.seed())?;
        self.marks = Some(marks.next(self.written));
        Ok(())
    }

    /// Between two items: writes a mark if one is due. Which database the items that follow belong
    /// to must be said again then.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn mark(&mut self) -> io::Result<bool> {
        self.mark_now(false)
    }

    fn mark_now(&mut self, ends: bool) -> io::Result<bool> {
        let Some(marks) = self.marks.take_if(|marks| marks.is_due(self.written, ends)) else {
            return Ok(false);
        };
        self.append(&marks.mark(self.written))?;
        self.marks = Some(marks.next(self.written));
        Ok(true)
    }

    /// The items that follow belong to this database.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn select(&mut self, db: usize) -> io::Result<()> {
        self.piece(|_, out| Encoder::select(db, out))
    }

    /// The database has about so many keys, and keys with a deadline.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn resize(&mut self, keys: u64, deadlines: u64) -> io::Result<()> {
        self.piece(|_, out| Encoder::resize(keys, deadlines, out))
    }

    /// Writes an item; see [`Encoder::item`].
    ///
    /// # Errors
    /// Those of the sink.
    pub fn item(
        &mut self,
        key: &[u8],
        body: Body<'_>,
        meta: &Meta,
        extra: &Extra,
    ) -> io::Result<()> {
        self.piece(|encoder, out| encoder.item(key, body, meta, extra, out))
    }

    /// Writes pieces that an [`Encoder`] made elsewhere.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn append(&mut self, pieces: &[u8]) -> io::Result<()> {
        self.inner.write_all(pieces)?;
        self.sum.add(pieces);
        if let Some(marks) = &mut self.marks {
            marks.add(pieces);
        }
        self.written += pieces.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// What the bytes are handed to, to sync it say.
    pub const fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Ends the file and flushes.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> io::Result<W> {
        self.mark_now(true)?;
        if let Some(marks) = self.marks.take() {
            self.append(&marks.seed())?;
        }
        self.append(&[op::END])?;
        let sum = self.sum.value();
        self.inner.write_all(&sum.to_le_bytes())?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn piece(&mut self, make: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> io::Result<()> {
        let mut piece = std::mem::take(&mut self.piece);
        piece.clear();
        make(&mut self.encoder, &mut piece);
        let done = self.append(&piece);
        self.piece = piece;
        done
    }
}
