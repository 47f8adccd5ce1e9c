//! Reading on behind damage.
//!
//! What always holds: of a stretch that isn't right only what looks like the removal of keys is
//! handed out, and called lost; a right chunk of the same file, later than those before, ends the
//! stretch. Without an opening line there is none.

use super::{Bad, Reader};
use crate::aof::Tail;
use crate::aof::chunk::{CHUNK, ChunkLine};
use crate::limits::LINE_READ_MAX;
use memchr::memchr2;
use protocol::args::Args;
use std::io::Read;

impl<R: Read> Reader<R> {
    /// Reads a file on from `offset`, where `inner` stands. `tail` is what a reader that came there
    /// had. If the file is `lost` there, what comes is passed over up to the next right chunk.
    pub fn resume(inner: R, offset: u64, tail: Option<Tail>, lost: bool) -> Self {
        let reader = Self::new(inner, 0);
        Self { before: offset, right: offset, tail, lost, ..reader }
    }

    /// Up to here the file is known to be right by its own checksums.
    pub const fn right_to(&self) -> u64 {
        self.right
    }

    /// Passes over a stretch that isn't right. The next removal in it, if it has one; the stretch
    /// has ended, or the file, if it's `None`.
    pub(super) fn pass_lost(&mut self) -> Result<Option<u64>, Bad> {
        while self.has(1)? {
            let start = self.offset();
            match self.buffer.get(self.at).copied() {
                Some(b'#') if self.meets_chunk()? => {
                    (self.lost, self.chunk_end) = (false, 0);
                    return Ok(None);
                }
                Some(b'*') => match self.record(start) {
                    Ok(()) if self.removes(start) => return Ok(Some(start)),
                    Ok(()) => continue,
                    Err(Bad::Io(error)) => return Err(Bad::Io(error)),
                    Err(_) => {}
                },
                _ => {}
            }
            let rest = self.buffer.get(self.at + 1..).unwrap_or_default();
            self.at += 1 + memchr2(b'#', b'*', rest).unwrap_or(rest.len());
        }
        Ok(None)
    }

    /// Whether a right chunk begins here.
    fn meets_chunk(&mut self) -> Result<bool, Bad> {
        let Some(tail) = self.tail else { return Ok(false) };
        if !self.has(CHUNK.len())? {
            return Ok(false);
        }
        let Some(length) = self.line_length(LINE_READ_MAX)? else { return Ok(false) };
        let line = self.buffer.get(self.at..self.at + length).and_then(ChunkLine::parse);
        let start = self.offset();
        let later = |line: &ChunkLine| line.sequence >= tail.sequence && line.synced <= start;
        let Some(line) = line.filter(later) else { return Ok(false) };
        if !self.has(length + line.bytes as usize)? || !self.is_right(length, &line, tail.seed) {
            return Ok(false);
        }
        self.tail = Some(Tail { sequence: line.sequence, chain: line.chain, ..tail });
        Ok(true)
    }

    /// Whether the record that was read from `start` on removes keys.
    fn removes(&self, start: u64) -> bool {
        let input = self.buffer.get((start - self.before) as usize..self.at).unwrap_or_default();
        let name = Args::new(input, &self.spans).at(0);
        [&b"unlink"[..], b"del"].iter().any(|removal| name.eq_ignore_ascii_case(removal))
    }
}
