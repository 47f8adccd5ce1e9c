//! The bytes of a file as numbers and strings, with where they stand and what they sum up to.
//!
//! What always holds: memory is taken for bytes that have come, and a little ahead of them.

use crate::checksum::Checksum;
use crate::limits::{AHEAD_MAX, STRING_MAX};
use crate::lzf;
use std::fmt;
use std::io::{self, Cursor, ErrorKind, Read};

/// Why a file can't be read on, and where.
#[derive(Debug)]
pub struct Error {
    /// Bytes before the place.
    pub offset: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// Reading failed.
    Io(io::Error),
    /// The file ends too soon.
    Truncated,
    /// There is more behind the end.
    Trailing,
    /// It doesn't begin as such a file does.
    NotRdb,
    /// It's of a version that isn't read.
    Version(String),
    /// A length isn't one, or is too large.
    Length,
    /// A compressed string can't be decompressed to what it should be.
    Compressed,
    /// Nothing that is known begins with this byte.
    Unknown(u8),
    /// A value of a type that isn't kept, and the caller wants none to be passed over; or it can't
    /// be passed over, since nobody knows where it ends.
    Kind {
        /// The type.
        what: &'static str,
        /// The key.
        key: Vec<u8>,
    },
    /// A collection in one string that isn't one: damaged, or a name is there twice.
    Collection(&'static str),
    /// What stands beside an item isn't to be understood.
    Extra,
    /// What stands beside an item is from a later version, which must know what it's for.
    ExtraTag(u8),
    /// The checksum is wrong.
    Checksum,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::Io(error) => write!(f, "{error}")?,
            Problem::Truncated => f.write_str("the file ends too soon")?,
            Problem::Trailing => f.write_str("something follows the file's end")?,
            Problem::NotRdb => f.write_str("this is no RDB file")?,
            Problem::Version(version) => write!(f, "version {version} isn't known")?,
            Problem::Length => f.write_str("a length that isn't one")?,
            Problem::Compressed => f.write_str("a compressed string is damaged")?,
            Problem::Unknown(byte) => write!(f, "nothing begins with byte {byte}")?,
            Problem::Kind { what, key } => {
                write!(f, "key '{}' is a {what}, which isn't kept", key.escape_ascii())?;
            }
            Problem::Collection(what) => write!(f, "a damaged {what}")?,
            Problem::Extra => f.write_str("what stands beside an item is damaged")?,
            Problem::ExtraTag(tag) => write!(f, "tag {tag} of an item is from a later version")?,
            Problem::Checksum => f.write_str("the checksum is wrong")?,
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

/// What a length can be.
pub(crate) enum Length {
    /// A number.
    Plain(u64),
    /// One of the special forms of a string.
    Special(u8),
}

/// A source of bytes.
#[derive(Debug)]
pub(crate) struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    at: usize,
    /// Up to here the bytes of the buffer are summed up.
    summed: usize,
    sum: Checksum,
    /// Bytes before the buffer.
    before: u64,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(inner: R) -> Self {
        let sum = Checksum::default();
        Self { inner, buffer: Vec::new(), at: 0, summed: 0, sum, before: 0 }
    }

    /// Bytes that were read.
    pub(crate) const fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    /// An error at this place.
    pub(crate) const fn error(&self, problem: Problem) -> Error {
        Error { offset: self.offset(), problem }
    }

    pub(crate) const fn fail<T>(&self, problem: Problem) -> Result<T, Error> {
        Err(self.error(problem))
    }

    /// The checksum of all bytes that were read.
    pub(crate) fn sum(&mut self) -> u64 {
        self.sum.add(self.buffer.get(self.summed..self.at).unwrap_or_default());
        self.summed = self.at;
        self.sum.value()
    }

    /// What follows the bytes that were read.
    pub(crate) fn into_rest(mut self) -> io::Chain<Cursor<Vec<u8>>, R> {
        Cursor::new(self.buffer.split_off(self.at)).chain(self.inner)
    }

    /// Whether nothing follows.
    pub(crate) fn is_at_end(&mut self) -> Result<bool, Error> {
        Ok(self.at == self.buffer.len() && !self.refill()?)
    }

    /// Reads more bytes; whether there were any.
    fn refill(&mut self) -> Result<bool, Error> {
        self.sum();
        self.before += self.buffer.len() as u64;
        (self.at, self.summed) = (0, 0);
        self.buffer.resize(AHEAD_MAX, 0);
        loop {
            match self.inner.read(&mut self.buffer) {
                Ok(n) => {
                    self.buffer.truncate(n);
                    return Ok(n > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.clear();
                    return self.fail(Problem::Io(error));
                }
            }
        }
    }

    /// Shows the next `count` bytes, piece by piece.
    pub(crate) fn each(&mut self, count: u64, mut see: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            if self.at == self.buffer.len() && !self.refill()? {
                return self.fail(Problem::Truncated);
            }
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let here = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            see(rest.get(..here).unwrap_or_default());
            self.at += here;
            left -= here as u64;
        }
        Ok(())
    }

    pub(crate) fn pass(&mut self, count: u64) -> Result<(), Error> {
        self.each(count, |_| {})
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        if let Some(all) = self.buffer.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
            self.at += N;
            return Ok(*all);
        }
        let mut all = [0; N];
        let mut places = all.iter_mut();
        self.each(N as u64, |piece| {
            piece.iter().zip(&mut places).for_each(|(byte, place)| *place = *byte);
        })?;
        Ok(all)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn length(&mut self) -> Result<u64, Error> {
        match self.any_length()? {
            Length::Plain(n) => Ok(n),
            Length::Special(_) => self.fail(Problem::Length),
        }
    }

    /// The length of something that takes memory or time: each of them at least a byte.
    pub(crate) fn any_length(&mut self) -> Result<Length, Error> {
        let head = self.byte()?;
        Ok(match head >> 6 {
            0 => Length::Plain(u64::from(head)),
            1 => Length::Plain(u64::from(head & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if head == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            2 if head == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            2 => return self.fail(Problem::Length),
            _ => Length::Special(head & 0x3f),
        })
    }

    /// A string.
    pub(crate) fn string(&mut self) -> Result<Vec<u8>, Error> {
        let mut number = itoa::Buffer::new();
        let text = match self.any_length()? {
            Length::Plain(n) => return self.bytes(n),
            Length::Special(0) => number.format(i8::from_le_bytes(self.array()?)),
            Length::Special(1) => number.format(i16::from_le_bytes(self.array()?)),
            Length::Special(2) => number.format(i32::from_le_bytes(self.array()?)),
            Length::Special(3) => {
                let (packed, length) = (self.length()?, self.length()?);
                if length > STRING_MAX {
                    return self.fail(Problem::Length);
                }
                let packed = self.bytes(packed)?;
                let string = lzf::decompress(&packed, length as usize);
                return string.ok_or_else(|| self.error(Problem::Compressed));
            }
            Length::Special(_) => return self.fail(Problem::Length),
        };
        Ok(text.as_bytes().to_vec())
    }

    /// So many bytes as they are.
    pub(crate) fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Error> {
        if count > STRING_MAX {
            return self.fail(Problem::Length);
        }
        let mut out = Vec::with_capacity((count as usize).min(AHEAD_MAX));
        self.each(count, |piece| out.extend_from_slice(piece))?;
        Ok(out)
    }

    /// Passes over a string.
    pub(crate) fn pass_string(&mut self) -> Result<(), Error> {
        match self.any_length()? {
            Length::Plain(n) => self.pass(n),
            Length::Special(kind @ 0..=2) => self.pass(1 << kind),
            Length::Special(3) => {
                let (packed, _) = (self.length()?, self.length()?);
                self.pass(packed)
            }
            Length::Special(_) => self.fail(Problem::Length),
        }
    }
}
