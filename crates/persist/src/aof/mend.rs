//! One changed byte of a damaged chunk, found.
//!
//! A chunk says twice what it is: its line names a checksum of its bytes, and it follows the chunk
//! before. If one byte isn't what was written, there is just one change that makes all of it right.
//! What always holds: with the answered byte in its place the chunk (or the opening line with the
//! first chunk) is right in each respect, so that it's taken for what was written; bytes that are
//! wrong in another way look like that once in many million times.
//! Not for: what is wrong with more than a byte.

use super::Tail;
use super::chunk::{ChunkLine, parse_opening};
use crate::checksum;
use crate::limits::{LINE_MAX, MEND_TRIES_BYTES};
use crate::patch::Patch;
use memchr::memchr;

/// The byte that makes the chunk right that should begin at `offset`; `bytes` are the file's from
/// there on, as far as they are wanted. Without a `tail` the file's opening line should be there.
pub fn mend(bytes: &[u8], offset: u64, tail: Option<Tail>) -> Option<Patch> {
    let found = match tail {
        None => mend_opening(bytes),
        Some(tail) => mend_records(bytes, tail).or_else(|| mend_line(bytes, offset, tail)),
    };
    found.map(|(at, mask)| Patch { at: offset + at as u64, mask })
}

/// The line is right, one of the chunk's bytes isn't.
fn mend_records(bytes: &[u8], tail: Tail) -> Option<(usize, u8)> {
    let (line, start, records) = chunk(bytes)?;
    if !follows(&line, tail) {
        return None;
    }
    let flip = checksum::flip(line.sum_of(tail.seed, records), line.sum, line.bytes)?;
    let at = start + records.len() - 1 - usize::try_from(flip.after).ok()?;
    Some((at, flip.mask))
}

/// One of the line's bytes isn't right.
fn mend_line(bytes: &[u8], offset: u64, tail: Tail) -> Option<(usize, u8)> {
    let mut budget = MEND_TRIES_BYTES;
    changes(bytes, |head| {
        let (line, start) = parsed(head)?;
        if !follows(&line, tail) || line.synced > offset {
            return None;
        }
        let records = records(bytes, start, &line)?;
        budget = budget.checked_sub(records.len())?;
        (line.sum_of(tail.seed, records) == line.sum).then_some(())
    })
}

/// One of the opening line's bytes isn't right: with the right one the first chunk is.
fn mend_opening(bytes: &[u8]) -> Option<(usize, u8)> {
    let mut budget = MEND_TRIES_BYTES;
    changes(bytes, |head| {
        let end = memchr(b'\n', head)? + 1;
        let tail = parse_opening(head.get(..end)?)?;
        let (line, _, records) = chunk(bytes.get(end..)?)?;
        budget = budget.checked_sub(records.len())?;
        let right = follows(&line, tail) && line.sum_of(tail.seed, records) == line.sum;
        right.then_some(())
    })
}

/// The first change of one byte of the line at the beginning that is found good.
fn changes(bytes: &[u8], mut good: impl FnMut(&[u8]) -> Option<()>) -> Option<(usize, u8)> {
    let mut head = bytes.get(..bytes.len().min(LINE_MAX))?.to_vec();
    // Where the line seems to end: there, or before it, is the byte.
    let end = memchr(b'\n', &head).map_or(head.len(), |end| end + 1);
    for at in 0..end {
        let old = *head.get(at)?;
        for byte in 0..=u8::MAX {
            *head.get_mut(at)? = byte;
            if byte != old && good(&head).is_some() {
                return Some((at, byte ^ old));
            }
        }
        *head.get_mut(at)? = old;
    }
    None
}

/// A chunk's line, its length, and the chunk's bytes, if all are there.
fn chunk(bytes: &[u8]) -> Option<(ChunkLine, usize, &[u8])> {
    let (line, start) = parsed(bytes.get(..bytes.len().min(LINE_MAX))?)?;
    Some((line, start, records(bytes, start, &line)?))
}

fn records<'a>(bytes: &'a [u8], start: usize, line: &ChunkLine) -> Option<&'a [u8]> {
    bytes.get(start..)?.get(..usize::try_from(line.bytes).ok()?)
}

/// A chunk's line, and its length.
fn parsed(head: &[u8]) -> Option<(ChunkLine, usize)> {
    let end = memchr(b'\n', head)? + 1;
    Some((ChunkLine::parse(head.get(..end)?)?, end))
}

const fn follows(line: &ChunkLine, tail: Tail) -> bool {
    line.sequence == tail.sequence && line.chain == tail.chain
}
