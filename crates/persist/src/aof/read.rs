//! Reading an increment: records, checked, with where they stand.
//!
//! ```text
//! between chunks   '#sc' -> its bytes are read and summed up -> in a chunk
//!                  '*'   -> a record without a line: Redis appended it
//! in a chunk       notes and records, up to its end -> between chunks
//! ```
//!
//! What always holds: a record of a chunk is handed out only after the whole chunk was found
//! right; where something is wrong, the rest of the file is looked through for a right chunk that
//! says that this place was on the disk already.
//! Not for: what the records mean.

mod claims;
mod lost;

use super::Tail;
use super::chunk::{CHUNK, ChunkLine, OPENING_ANY, parse_opening};
use super::record::{NOTE, NOTE_MORE};
use super::room::{Line, look};
use crate::extra::Extra;
use crate::limits::{AHEAD_MAX, ARGS_MAX, LINE_READ_MAX, NOTE_MAX, RECORD_MAX};
use claims::Claims;
pub(super) use lost::leaves;
use memchr::memchr;
use protocol::args::{Args, Span};
use protocol::resp::parse_u64;
use std::fmt;
use std::io::{self, ErrorKind, Read};

/// One command of the log.
#[derive(Debug)]
pub struct Record<'a> {
    /// Where it begins in the file, its note not counted.
    pub offset: u64,
    /// The command.
    pub args: Args<'a>,
    /// What stood before it: what Redis has no word for.
    pub note: Option<Extra>,
    /// Whether its bytes were under a checksum.
    pub checked: bool,
    /// Whether it only looks like one, in a stretch that isn't right ([`Reader::resume`]).
    pub lost: bool,
}

/// Why a file can't be read on.
#[derive(Debug)]
pub struct Error {
    /// Up to here the file is right; a torn one is to be cut there.
    pub offset: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// Reading failed.
    Io(io::Error),
    /// The file is of a later layout: nothing is to be done to it.
    Newer,
    /// The bytes aren't what was written.
    Bad {
        /// What was found.
        fault: Fault,
        /// What that means.
        verdict: Verdict,
    },
}

/// What was found instead of the next record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A line without its end.
    Line,
    /// A line of a chunk that isn't to be read, or isn't the next one.
    ChunkLine,
    /// A chunk whose bytes aren't all there.
    ChunkCut,
    /// A chunk that its checksum doesn't fit.
    Checksum,
    /// A record whose bytes aren't all there.
    RecordCut,
    /// Bytes that are no record.
    Record,
    /// Bytes that are no note.
    Note,
    /// A transaction without its end.
    Transaction,
    /// Room for chunks with something else behind it.
    Room,
}

/// Which of the two cases it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// These bytes were on the disk: they, or what came after, were acknowledged. Refuse to load.
    Damaged {
        /// Bytes that are known to have been on the disk.
        synced: u64,
    },
    /// What a crash left of a write that wasn't synced: cut it and keep it aside.
    Torn,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Io(error) => write!(f, "{error}")?,
            Problem::Newer => f.write_str("the log was written by a later version")?,
            Problem::Bad { fault, verdict } => {
                f.write_str(match fault {
                    Fault::Line => "a line without its end",
                    Fault::ChunkLine => "the line of a chunk is damaged or missing",
                    Fault::ChunkCut => "a chunk isn't all there",
                    Fault::Checksum => "a chunk's checksum is wrong",
                    Fault::RecordCut => "a record isn't all there",
                    Fault::Record => "bytes that are no record",
                    Fault::Note => "bytes that are no note",
                    Fault::Transaction => "a transaction without its end",
                    Fault::Room => "room for chunks that something else follows",
                })?;
                match verdict {
                    Verdict::Damaged { synced } => write!(f, ", with {synced} bytes synced")?,
                    Verdict::Torn => f.write_str(", after all that is known to be synced")?,
                }
            }
        }
        write!(f, " (at byte {})", self.offset)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads an increment.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    buffer: Vec<u8>,
    at: usize,
    /// Bytes before the buffer.
    before: u64,
    drained: bool,
    /// What the next chunk chains to, if the file began with an opening line.
    tail: Option<Tail>,
    /// Where the current chunk ends.
    chunk_end: u64,
    /// Bytes that are known to have been on the disk.
    synced: u64,
    /// The note of the next record, as far as it was read.
    note: Option<Vec<u8>>,
    note_ended: bool,
    /// Where an open transaction begins.
    transaction: Option<u64>,
    /// Records without a line, and where the first one stands.
    unchecked: Option<(u64, u64)>,
    /// Where the opening line and the right chunks end that follow each other.
    right: u64,
    /// Where room begins whose last line hasn't come.
    room: Option<u64>,
    /// Up to where this is a stretch that isn't right: a right chunk begins there.
    lost: Option<u64>,
    spans: Vec<Span>,
}

/// Why bytes aren't a record, before anybody judged.
enum Bad {
    Io(io::Error),
    Newer,
    /// The fault, and where the right bytes end.
    Fault(Fault, u64),
    /// The same, where no crash can explain it.
    Sure(Fault, u64),
}

impl<R: Read> Reader<R> {
    /// Reads a file of which `synced` bytes are known to have been on the disk: all of it
    /// (`u64::MAX`) for all increments but the last one, 0 where only the file itself knows.
    pub const fn new(inner: R, synced: u64) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            at: 0,
            before: 0,
            drained: false,
            tail: None,
            chunk_end: 0,
            synced,
            note: None,
            note_ended: false,
            transaction: None,
            unchecked: None,
            right: 0,
            room: None,
            lost: None,
            spans: Vec::new(),
        }
    }

    /// The next record; `None` at a right end.
    ///
    /// # Errors
    /// The file isn't right from here on. Nothing can be read after.
    #[expect(clippy::should_implement_trait, reason = "records borrow from the reader")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Error> {
        let lost = if self.lost.is_some() { self.pass_lost() } else { Ok(None) };
        let found = match lost {
            Ok(None) => self.advance(),
            lost => lost,
        };
        let offset = match found {
            Ok(Some(offset)) => offset,
            Ok(None) => return Ok(None),
            Err(bad) => return Err(self.judge(bad)),
        };
        let checked = self.offset() <= self.chunk_end;
        let start = (offset - self.before) as usize;
        let note = self.note.take().and_then(|note| Extra::from_bytes(note).ok());
        self.note_ended = false;
        let input = self.buffer.get(start..self.at).unwrap_or_default();
        let args = Args::new(input, &self.spans);
        Ok(Some(Record { offset, args, note, checked, lost: self.lost.is_some() }))
    }

    /// Bytes that were read.
    pub const fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    /// At the end of a file that began with an opening line: how it's gone on with
    /// ([`super::Framer::resume`]).
    pub const fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// How many records had no line of ours before them, and where the first one stands. In a
    /// file with a [`Reader::tail`] that's worth a warning: Redis wrote in it meanwhile.
    pub const fn unchecked(&self) -> Option<(u64, u64)> {
        self.unchecked
    }

    /// Reads up to the end of the next record; where that begins.
    fn advance(&mut self) -> Result<Option<u64>, Bad> {
        loop {
            let offset = self.offset();
            let in_chunk = offset < self.chunk_end;
            if !in_chunk && self.chunk_end > 0 && offset == self.chunk_end {
                self.chunk_ended()?;
            }
            if !self.has(1)? {
                return self.end().map(|()| None);
            }
            match self.buffer.get(self.at) {
                Some(b'#') => self.line(in_chunk)?,
                Some(b'*') => {
                    self.leave_room()?;
                    self.record(offset)?;
                    self.count(offset, in_chunk)?;
                    return Ok(Some(offset));
                }
                _ => {
                    self.leave_room()?;
                    return Err(Bad::Fault(Fault::Record, offset));
                }
            }
        }
    }

    /// Takes note of a line that may be room, `length` bytes long.
    fn pass_room(&mut self, length: usize) -> Result<(), Bad> {
        // Only files of ours have room.
        if self.tail.is_none() {
            return Ok(());
        }
        let start = self.offset();
        match look(self.buffer.get(self.at..self.at + length).unwrap_or_default()) {
            Line::Room => self.room = self.room.or(Some(start)),
            Line::Last => self.room = None,
            Line::Other => self.leave_room()?,
        }
        Ok(())
    }

    /// Something else than room follows: there was a last line, if there was room.
    fn leave_room(&self) -> Result<(), Bad> {
        self.room.map_or(Ok(()), |start| Err(Bad::Fault(Fault::Room, start)))
    }

    /// What holds of a chunk as a whole, after its last record.
    fn chunk_ended(&self) -> Result<(), Bad> {
        if self.transaction.is_some() {
            return Err(Bad::Sure(Fault::Transaction, self.chunk_end));
        }
        if self.note.is_some() {
            return Err(Bad::Sure(Fault::Note, self.chunk_end));
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Bad> {
        if let Some(start) = self.transaction {
            return Err(Bad::Fault(Fault::Transaction, start));
        }
        Ok(())
    }

    /// Keeps account of transactions, and of records that stand in no chunk.
    fn count(&mut self, offset: u64, in_chunk: bool) -> Result<(), Bad> {
        let past = in_chunk && self.offset() > self.chunk_end;
        let whole = self.note.is_none() || self.note_ended;
        if past || !whole {
            return Err(Bad::Fault(Fault::Record, offset));
        }
        if !in_chunk {
            let (count, first) = self.unchecked.unwrap_or((0, offset));
            self.unchecked = Some((count + 1, first));
        }
        let start = (offset - self.before) as usize;
        let name = Args::new(self.buffer.get(start..).unwrap_or_default(), &self.spans).at(0);
        if name.eq_ignore_ascii_case(b"multi") {
            if self.transaction.is_some() {
                return Err(Bad::Fault(Fault::Record, offset));
            }
            self.transaction = Some(offset);
        } else if name.eq_ignore_ascii_case(b"exec") && self.transaction.take().is_none() {
            return Err(Bad::Fault(Fault::Record, offset));
        }
        Ok(())
    }

    /// Reads a line that begins with `#`.
    fn line(&mut self, in_chunk: bool) -> Result<(), Bad> {
        let start = self.offset();
        let cut = Bad::Fault(Fault::Line, self.room.unwrap_or(start));
        let length = self.line_length(LINE_READ_MAX)?.ok_or(cut)?;
        if in_chunk && start + length as u64 > self.chunk_end {
            return Err(Bad::Fault(Fault::Record, start));
        }
        if !in_chunk {
            self.pass_room(length)?;
        }
        let line = self.buffer.get(self.at..self.at + length).unwrap_or_default();
        if let Some((text, last)) = note_line(line) {
            let note = self.note.get_or_insert_default();
            if self.note_ended || note.len() > NOTE_MAX || !unhex(text, note) {
                return Err(Bad::Fault(Fault::Note, start));
            }
            self.note_ended = last;
            if last {
                check_note(note, start)?;
            }
        } else if !in_chunk && line.starts_with(OPENING_ANY) {
            match parse_opening(line) {
                Some(tail) if start == 0 => {
                    self.tail = Some(tail);
                    self.right = length as u64;
                }
                None if start == 0 && is_later(line) => return Err(Bad::Newer),
                _ => return Err(Bad::Fault(Fault::ChunkLine, start)),
            }
        } else if !in_chunk && line.starts_with(CHUNK) {
            let line = ChunkLine::parse(line).ok_or(Bad::Fault(Fault::ChunkLine, start))?;
            return self.chunk(start, length, &line);
        }
        self.at += length;
        Ok(())
    }

    /// Reads the bytes of a chunk, whose line is `length` bytes long, and sums them up.
    fn chunk(&mut self, start: u64, length: usize, line: &ChunkLine) -> Result<(), Bad> {
        let tail = self.tail.ok_or(Bad::Fault(Fault::ChunkLine, start))?;
        if line.synced > start {
            return Err(Bad::Fault(Fault::ChunkLine, start));
        }
        if !self.has(length + line.bytes as usize)? {
            return Err(Bad::Fault(Fault::ChunkCut, start));
        }
        if !self.is_right(length, line, tail.seed) {
            return Err(Bad::Fault(Fault::Checksum, start));
        }
        let next = line.sequence == tail.sequence && line.chain == tail.chain;
        if !next || self.transaction.is_some() || self.note.is_some() {
            // What stands before a right chunk isn't what was written.
            return Err(Bad::Sure(Fault::ChunkLine, start));
        }
        self.at += length;
        self.chunk_end = self.offset() + line.bytes;
        self.right = self.chunk_end;
        self.synced = self.synced.max(line.synced);
        self.tail = Some(Tail { sequence: line.sequence + 1, chain: line.sum, ..tail });
        Ok(())
    }

    /// Whether the chunk that begins here, all of it in the buffer, has the right checksum.
    fn is_right(&self, length: usize, line: &ChunkLine, seed: u64) -> bool {
        let from = self.at + length;
        let records = self.buffer.get(from..from + line.bytes as usize);
        records.is_some_and(|records| line.sum_of(seed, records) == line.sum)
    }

    /// Reads a record: `self.spans` are its arguments, counted from its start.
    fn record(&mut self, start: u64) -> Result<(), Bad> {
        self.spans.clear();
        let bad = || Bad::Fault(Fault::Record, start);
        let (count, mut at) = self.number(0, b'*', start)?;
        if count == 0 || count > ARGS_MAX as u64 {
            return Err(bad());
        }
        for _ in 0..count {
            let (length, after) = self.number(at, b'$', start)?;
            if length > RECORD_MAX || after as u64 + length > RECORD_MAX {
                return Err(bad());
            }
            let end = after + length as usize;
            if !self.has(end + 2)? {
                return Err(Bad::Fault(Fault::RecordCut, start));
            }
            if self.buffer.get(self.at + end..self.at + end + 2) != Some(b"\r\n") {
                return Err(bad());
            }
            self.spans.push(Span { start: after as u32, len: length as u32 });
            at = end + 2;
        }
        self.at += at;
        Ok(())
    }

    /// The number on a line of the record at `start`, `ahead` bytes into it, and where the line
    /// ends.
    fn number(&mut self, ahead: usize, mark: u8, start: u64) -> Result<(u64, usize), Bad> {
        // A mark, at most 20 digits, the end.
        const MOST: usize = 23;
        let bad = || Bad::Fault(Fault::Record, start);
        loop {
            let rest = self.buffer.get(self.at + ahead..).unwrap_or_default();
            let here = rest.get(..rest.len().min(MOST)).unwrap_or_default();
            if here.first().is_some_and(|first| *first != mark) {
                return Err(bad());
            }
            if let Some(end) = memchr(b'\n', here) {
                let digits = here.get(1..end).and_then(|digits| digits.strip_suffix(b"\r"));
                let number = digits.and_then(parse_u64).ok_or_else(bad)?;
                return Ok((number, ahead + end + 1));
            }
            if here.len() == MOST {
                return Err(bad());
            }
            let more = ahead + here.len() + 1;
            if !self.has(more)? {
                return Err(Bad::Fault(Fault::RecordCut, start));
            }
        }
    }

    /// The length of the line that begins here, its end included; `None` if it has none within
    /// `most` bytes.
    fn line_length(&mut self, most: usize) -> Result<Option<usize>, Bad> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let here = rest.get(..rest.len().min(most)).unwrap_or_default();
            if let Some(end) = memchr(b'\n', here) {
                return Ok(Some(end + 1));
            }
            if rest.len() >= most || !self.has(rest.len() + 1)? {
                return Ok(None);
            }
        }
    }

    /// Whether so many bytes follow; they are in the buffer then.
    fn has(&mut self, count: usize) -> Result<bool, Bad> {
        while self.buffer.len() - self.at < count && !self.drained {
            if self.at > 0 {
                self.buffer.drain(..self.at);
                self.before += self.at as u64;
                self.at = 0;
            }
            let old = self.buffer.len();
            self.buffer.resize(old + AHEAD_MAX.max(old / 2), 0);
            let place = self.buffer.get_mut(old..).unwrap_or_default();
            match self.inner.read(place) {
                Ok(n) => {
                    self.buffer.truncate(old + n);
                    self.drained = n == 0;
                }
                Err(error) => {
                    self.buffer.truncate(old);
                    if error.kind() != ErrorKind::Interrupted {
                        return Err(Bad::Io(error));
                    }
                }
            }
        }
        Ok(self.buffer.len() - self.at >= count)
    }

    /// What a fault means, after a look at the rest of the file.
    fn judge(&mut self, bad: Bad) -> Error {
        let (fault, offset, sure) = match bad {
            Bad::Io(error) => return Error { offset: self.offset(), problem: Problem::Io(error) },
            Bad::Newer => return Error { offset: 0, problem: Problem::Newer },
            Bad::Fault(fault, offset) => (fault, offset, false),
            Bad::Sure(fault, offset) => (fault, offset, true),
        };
        // A transaction is there as a whole or not at all.
        let offset = self.transaction.map_or(offset, |start| start.min(offset));
        // Redis writes no bytes that are no record, and a crash only takes some away. In a file of
        // ours a crash may leave anything after what was synced, but nothing within a right chunk.
        let begun = if offset == 0 { self.looks_begun() } else { Ok(false) };
        let foreign = match begun {
            Ok(begun) => self.tail.is_none() && !begun,
            Err(Bad::Io(error)) => return Error { offset, problem: Problem::Io(error) },
            Err(_) => false,
        };
        let surely = sure
            || offset < self.chunk_end
            || foreign && matches!(fault, Fault::Record | Fault::Note | Fault::ChunkLine);
        match self.synced_later(offset) {
            Ok(synced) => self.synced = self.synced.max(synced),
            Err(Bad::Io(error)) => return Error { offset, problem: Problem::Io(error) },
            Err(_) => {}
        }
        let synced = self.synced;
        let verdict =
            if surely || synced > offset { Verdict::Damaged { synced } } else { Verdict::Torn };
        Error { offset, problem: Problem::Bad { fault, verdict } }
    }

    /// Whether what stands here could be what a crash left of an opening line: the line's
    /// beginning, or nothing but zeros to the file's end. Goes past zeros.
    fn looks_begun(&mut self) -> Result<bool, Bad> {
        let mut first = true;
        while self.has(1)? {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            if std::mem::take(&mut first) && rest.starts_with(b"#") {
                return Ok(true);
            }
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            let over = zeros < rest.len();
            // In either case: how much is read at once must make no difference.
            self.at += zeros;
            if over {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The most that a right chunk in the rest of the file says about what was synced.
    fn synced_later(&mut self, offset: u64) -> Result<u64, Bad> {
        let (mut most, mut claims) = (0, Claims::begin(self.offset()));
        loop {
            let length = self.line_length(LINE_READ_MAX)?;
            let start = self.offset();
            let line = self.buffer.get(self.at..self.at + length.unwrap_or(0)).unwrap_or_default();
            let line =
                ChunkLine::parse(line).filter(|line| line.synced > offset && line.synced <= start);
            let next = match length {
                Some(length) => length,
                None if self.has(1)? => {
                    // A long stretch without a line's end: on to it, or to the end of the file.
                    let rest = self.buffer.get(self.at..).unwrap_or_default();
                    memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)
                }
                None => 0,
            };
            let bytes = self.buffer.get(self.at..self.at + next).unwrap_or_default();
            claims.pass(bytes, |right| most = most.max(right.synced));
            if next == 0 {
                return Ok(most);
            }
            self.at += next;
            // Without a seed there is nothing to check with, and caution is better; so it is with
            // more lines than can be waited for.
            let sure = match (line, self.tail) {
                (Some(line), Some(tail)) => {
                    claims.expect(start, &line, tail.seed).map(|claim| claim.synced)
                }
                (Some(line), None) => Some(line.synced),
                (None, _) => None,
            };
            most = most.max(sure.unwrap_or(0));
        }
    }
}

/// Checks a note as a whole.
fn check_note(note: &[u8], start: u64) -> Result<(), Bad> {
    match Extra::from_bytes(note.to_vec()) {
        Ok(extra) if extra.unknown().is_some() => Err(Bad::Newer),
        Ok(_) => Ok(()),
        Err(_) => Err(Bad::Fault(Fault::Note, start)),
    }
}

/// Whether an opening line is one of a later layout, whole.
fn is_later(line: &[u8]) -> bool {
    let mut words = line.strip_prefix(OPENING_ANY).unwrap_or_default().split(|byte| *byte == b' ');
    let number = words.next().and_then(parse_u64);
    number.is_some_and(|version| version > 1) && line.ends_with(b"\r\n")
}

/// The digits of a note's line, and whether it's the last one.
fn note_line(line: &[u8]) -> Option<(&[u8], bool)> {
    let last = line.strip_prefix(NOTE).map(|text| (text, true));
    last.or_else(|| line.strip_prefix(NOTE_MORE).map(|text| (text, false)))
}

/// Appends what the digits of a line say; whether they are right.
fn unhex(line: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(text) = line.strip_suffix(b"\r\n") else { return false };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, odd) = text.as_chunks::<2>();
    for [high, low] in pairs {
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return false };
        out.push(high << 4 | low);
    }
    odd.is_empty()
}
