//! Chunks: a line of facts before the records that one write brings to the file.
//!
//! What always holds: a line has at most [`LINE_MAX`] bytes; the checksum chains.

use crate::checksum::Checksum;
use crate::limits::{CHUNK_MAX, LINE_MAX};
use protocol::resp::parse_u64;
use std::io::Write;

/// How the opening line begins; the version of the layout follows.
const OPENING: &str = "#sessile 1 ";
/// How an opening line of any version begins.
pub(super) const OPENING_ANY: &[u8] = b"#sessile ";
/// How the line of a chunk begins.
pub(super) const CHUNK: &[u8] = b"#sc ";

// Sequence, bytes, two checksums, synced.
const _: () = assert!(4 + 20 + 1 + 10 + 1 + 16 + 1 + 16 + 1 + 20 + 2 <= LINE_MAX);
const _: () = assert!(CHUNK_MAX < 10_000_000_000);

/// Where a file of chunks ends: what the next one chains to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// The number of the next chunk.
    pub sequence: u64,
    /// The checksum of the last one.
    pub chain: u64,
    /// The file's seed, which goes into every checksum: who doesn't read the file can't make a
    /// value that looks like a chunk.
    pub seed: u64,
}

impl Tail {
    /// Whether no chunk has come yet.
    pub const fn is_first(&self) -> bool {
        self.sequence == 1
    }
}

/// Puts chunks around records.
#[derive(Clone, Debug)]
pub struct Framer {
    tail: Tail,
}

impl Framer {
    /// Begins a file: appends its opening line. `seed` is random, so that bytes of another file
    /// in this one's place are known as such.
    pub fn open(seed: u64, out: &mut Vec<u8>) -> Self {
        let line = format!("{OPENING}{seed:016x}\r\n");
        out.extend_from_slice(line.as_bytes());
        Self { tail: opened(seed) }
    }

    /// Goes on in a file that was read to its end, or cut there.
    pub const fn resume(tail: Tail) -> Self {
        Self { tail }
    }

    /// Appends `records` as one chunk; nothing if there are none. Bytes of the file up to `synced`
    /// are on the disk.
    pub fn frame(&mut self, records: &[u8], synced: u64, out: &mut Vec<u8>) {
        if records.is_empty() {
            return;
        }
        let line = ChunkLine {
            sequence: self.tail.sequence,
            bytes: records.len() as u64,
            chain: self.tail.chain,
            sum: 0,
            synced,
        };
        let sum = line.sum_of(self.tail.seed, records);
        let ChunkLine { sequence, bytes, chain, .. } = line;
        // Writing to a vector can't fail.
        _ = write!(out, "#sc {sequence} {bytes} {chain:016x} {sum:016x} {synced}\r\n");
        out.extend_from_slice(records);
        self.tail = Tail { sequence: sequence + 1, chain: sum, ..self.tail };
    }

    /// Where the file ends.
    pub const fn tail(&self) -> Tail {
        self.tail
    }
}

/// The line of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkLine {
    /// The chunk's number in its file, from 1.
    pub sequence: u64,
    /// Bytes of its records.
    pub bytes: u64,
    /// The checksum of the chunk before.
    pub chain: u64,
    /// Its checksum.
    pub sum: u64,
    /// Bytes of the file that were on the disk when it was written.
    pub synced: u64,
}

impl ChunkLine {
    /// Reads a line, its end included.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.strip_prefix(CHUNK)?.strip_suffix(b"\r\n")?.split(|b| *b == b' ');
        let (sequence, bytes) = (parse_u64(fields.next()?)?, parse_u64(fields.next()?)?);
        let (chain, sum) = (parse_hex(fields.next()?)?, parse_hex(fields.next()?)?);
        let synced = parse_u64(fields.next()?)?;
        let right = fields.next().is_none() && bytes <= CHUNK_MAX;
        right.then_some(Self { sequence, bytes, chain, sum, synced })
    }

    /// What the checksum should be in a file with this seed.
    pub(super) fn sum_of(&self, seed: u64, records: &[u8]) -> u64 {
        let mut sum = Checksum::default();
        for number in [seed, self.chain, self.sequence, self.bytes, self.synced] {
            sum.add(&number.to_le_bytes());
        }
        sum.add(records);
        sum.value()
    }
}

/// What follows an opening line; `None` if it isn't one of this version.
pub(super) fn parse_opening(line: &[u8]) -> Option<Tail> {
    let seed = line.strip_prefix(OPENING.as_bytes())?.strip_suffix(b"\r\n")?;
    parse_hex(seed).map(opened)
}

const fn opened(seed: u64) -> Tail {
    Tail { sequence: 1, chain: 0, seed }
}

/// A number of exactly 16 digits.
fn parse_hex(text: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 16 || !text.iter().all(digit) {
        return None;
    }
    u64::from_str_radix(str::from_utf8(text).ok()?, 16).ok()
}
