//! Reading on behind damage.
//!
//! What always holds: of a stretch that isn't right only what looks like the removal of keys is
//! handed out, and called lost; a right chunk of the same file, later than those before, ends the
//! stretch. Without an opening line there is none. What empties a database isn't handed out: any
//! value may look like that, and nothing would be left.

use super::claims::Claims;
use super::{Bad, Reader};
use crate::aof::Tail;
use crate::aof::chunk::{CHUNK, ChunkLine};
use crate::limits::LINE_READ_MAX;
use memchr::memchr;
use protocol::args::Args;
use std::io::{self, Read};

impl<R: Read> Reader<R> {
    /// Reads a file on from `offset`, where `inner` stands. `tail` is what a reader that came there
    /// had. If the file is `lost` up to some byte, what comes before that is passed over; the chunk
    /// there is one that [`Reader::next_chunk`] found.
    pub fn resume(inner: R, offset: u64, tail: Option<Tail>, lost: Option<u64>) -> Self {
        let reader = Self::new(inner, 0);
        Self { before: offset, right: offset, tail, lost, ..reader }
    }

    /// Where the next right chunk of a file begins, read from `offset` on, where `inner` stands.
    /// `tail` is what a reader that came there had.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn next_chunk(inner: R, offset: u64, tail: Option<Tail>) -> io::Result<Option<u64>> {
        let Some(tail) = tail else { return Ok(None) };
        match Self::resume(inner, offset, None, None).find_chunk(tail) {
            Ok(found) => Ok(found),
            Err(Bad::Io(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Up to here the file is known to be right by its own checksums.
    pub const fn right_to(&self) -> u64 {
        self.right
    }

    /// Passes over a stretch that isn't right. The next removal in it, if it has one; the stretch
    /// has ended, or the file, if it's `None`.
    pub(super) fn pass_lost(&mut self) -> Result<Option<u64>, Bad> {
        let end = self.lost.unwrap_or(0);
        while self.offset() < end && self.has(1)? {
            let start = self.offset();
            if self.buffer.get(self.at) == Some(&b'*') {
                match self.record(start) {
                    // What reaches into the right chunk is no record.
                    Ok(()) if self.offset() > end => self.at = (start - self.before) as usize,
                    Ok(()) if self.removes(start) => return Ok(Some(start)),
                    Ok(()) => continue,
                    Err(Bad::Io(error)) => return Err(Bad::Io(error)),
                    Err(_) => {}
                }
            }
            let left = usize::try_from(end - start).unwrap_or(usize::MAX);
            let rest = self.buffer.get(self.at + 1..).unwrap_or_default();
            self.at += left.min(1 + memchr(b'*', rest).unwrap_or(rest.len()));
        }
        (self.lost, self.chunk_end) = (None, 0);
        self.meet_chunk()?;
        Ok(None)
    }

    /// Goes on with the chunk that begins here.
    fn meet_chunk(&mut self) -> Result<(), Bad> {
        let length = self.line_length(LINE_READ_MAX)?.unwrap_or(0);
        let line = self.buffer.get(self.at..self.at + length).and_then(ChunkLine::parse);
        if let (Some(line), Some(tail)) = (line, self.tail) {
            self.tail = Some(Tail { sequence: line.sequence, chain: line.chain, ..tail });
        }
        Ok(())
    }

    fn find_chunk(&mut self, tail: Tail) -> Result<Option<u64>, Bad> {
        let (mut found, mut claims) = (None, Claims::begin(self.offset()));
        while self.has(1)? {
            let start = self.offset();
            let line = self.claim(&tail)?;
            let rest = self.buffer.get(self.at + 1..).unwrap_or_default();
            let next = match &line {
                Some((length, _)) => *length,
                None => 1 + memchr(b'#', rest).unwrap_or(rest.len()),
            };
            let bytes = self.buffer.get(self.at..self.at + next).unwrap_or_default();
            claims.pass(bytes, |right| found = found.or(Some(right.start)));
            if found.is_some() {
                return Ok(found);
            }
            self.at += next;
            if let Some((_, line)) = line {
                claims.expect(start, &line, tail.seed);
            }
        }
        claims.pass(&[], |right| found = found.or(Some(right.start)));
        Ok(found)
    }

    /// The line of a later chunk, if there is one here, and its length.
    fn claim(&mut self, tail: &Tail) -> Result<Option<(usize, ChunkLine)>, Bad> {
        let start = self.offset();
        self.has(CHUNK.len())?;
        if !self.buffer.get(self.at..).is_some_and(|rest| rest.starts_with(CHUNK)) {
            return Ok(None);
        }
        let Some(length) = self.line_length(LINE_READ_MAX)? else { return Ok(None) };
        let line = self.buffer.get(self.at..self.at + length).and_then(ChunkLine::parse);
        let later = |line: &ChunkLine| line.sequence >= tail.sequence && line.synced <= start;
        Ok(line.filter(later).map(|line| (length, line)))
    }

    /// Whether the record that was read from `start` on removes keys.
    fn removes(&self, start: u64) -> bool {
        let input = self.buffer.get((start - self.before) as usize..self.at).unwrap_or_default();
        let args = Args::new(input, &self.spans);
        is_removal(args.at(0)) || args.len() > 1 && leaves(args.at(0))
    }
}

/// Whether a command removes all keys that it names.
fn is_removal(name: &[u8]) -> bool {
    [&b"unlink"[..], b"del"].iter().any(|removal| name.eq_ignore_ascii_case(removal))
}

/// Whether a command takes the first key that it names away from its place.
pub(in crate::aof) fn leaves(name: &[u8]) -> bool {
    [&b"rename"[..], b"renamenx", b"move"].iter().any(|leaves| name.eq_ignore_ascii_case(leaves))
}
