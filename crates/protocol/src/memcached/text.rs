//! Lines of the text protocol.
//!
//! What always holds: answers to what is no request are memcached's, and left out where
//! `noreply` stands; where a length can be read, it's known even if the rest is wrong.

use super::decoder::{KeyBuffer, Line};
use super::meta;
use super::number;
use super::request::{Mode, Request, Storing, Words};
use crate::limits::{MC_KEY_MAX, MC_LINE_MAX};

pub(super) const ERROR: &[u8] = b"ERROR";
pub(super) const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format";
const BAD_DELETE: &[u8] = b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument";
const NO_SHUTDOWN: &[u8] = b"ERROR: shutdown not enabled";
/// The longest value that memcached can count.
pub(super) const LENGTH_MAX: u64 = i32::MAX as u64 - 2;

/// Whether a line is one of those that may be very long; its beginning says so.
pub(super) fn has_many_keys(input: &[u8]) -> bool {
    let command = Words::new(input.get(..MC_LINE_MAX).unwrap_or(input)).next();
    matches!(command, Some(b"get" | b"gets" | b"gat" | b"gats"))
}

/// Takes a line apart.
#[inline]
pub(super) fn parse<'b>(line: &'b [u8], key: &'b mut KeyBuffer) -> Line<'b> {
    let mut rest = Words::new(line);
    let command = rest.next().unwrap_or_default();
    match command {
        b"get" => get(rest, false),
        b"gets" => get(rest, true),
        b"set" => store(rest, Mode::Set, false),
        b"add" => store(rest, Mode::Add, false),
        b"replace" => store(rest, Mode::Replace, false),
        b"append" => store(rest, Mode::Append, false),
        b"prepend" => store(rest, Mode::Prepend, false),
        b"cas" => store(rest, Mode::Set, true),
        b"gat" => get_and_touch(rest, false),
        b"gats" => get_and_touch(rest, true),
        b"delete" => delete(&Args::of(rest)),
        b"incr" => count(&Args::of(rest), false),
        b"decr" => count(&Args::of(rest), true),
        b"touch" => touch(&Args::of(rest)),
        b"mn" => Line::Request(Request::MetaNoop),
        b"mg" | b"ms" | b"md" | b"ma" | b"me" => meta::parse(command, rest, key),
        _ => rare(command, rest),
    }
}

/// Commands that are not for every day.
fn rare<'b>(command: &'b [u8], rest: Words<'b>) -> Line<'b> {
    match command {
        b"flush_all" => flush_all(&Args::of(rest)),
        b"version" => Line::Request(Request::Version),
        b"verbosity" => verbosity(&Args::of(rest)),
        b"stats" => Line::Request(Request::Stats { words: rest }),
        b"cache_memlimit" => memory_limit(&Args::of(rest)),
        b"quit" => Line::Request(Request::Quit),
        b"shutdown" => refuse(NO_SHUTDOWN),
        _ if is_http(command, rest) => Line::Foreign,
        _ => refuse(ERROR),
    }
}

/// Whether this is the first line of an HTTP request, or a line of its header. Commands of
/// memcached are in small letters.
fn is_http(word: &[u8], rest: Words<'_>) -> bool {
    let verb = word.iter().all(u8::is_ascii_uppercase);
    verb && rest.last().is_some_and(|last| last.starts_with(b"HTTP/"))
        || word.eq_ignore_ascii_case(b"host:")
}

/// The words behind a command, as far as a command can have them.
struct Args<'b> {
    words: [&'b [u8]; ARGS_MAX],
    len: usize,
}

/// One more than any command may have.
const ARGS_MAX: usize = 7;

impl<'b> Args<'b> {
    #[inline]
    fn of(mut rest: Words<'b>) -> Self {
        let mut args = Self { words: [&[]; ARGS_MAX], len: 0 };
        for (slot, word) in args.words.iter_mut().zip(&mut rest) {
            *slot = word;
            args.len += 1;
        }
        args
    }

    fn at(&self, i: usize) -> &'b [u8] {
        self.words.get(i).copied().unwrap_or_default()
    }

    /// Whether the last word is `noreply`.
    fn noreply(&self) -> bool {
        self.len.checked_sub(1).is_some_and(|last| self.at(last) == b"noreply")
    }

    /// The first word if it can be a key.
    fn key(&self) -> Option<&'b [u8]> {
        Some(self.at(0)).filter(|key| is_key(key))
    }

    /// The answer to what is no request, unless none is wanted.
    fn refuse(&self, line: &'static [u8]) -> Line<'b> {
        refuse(if self.noreply() { b"" } else { line })
    }
}

/// Whether a word can be a key.
pub(super) const fn is_key(word: &[u8]) -> bool {
    !word.is_empty() && word.len() <= MC_KEY_MAX
}

/// The answer to what is no request and has no data block.
pub(super) const fn refuse<'b>(line: &'static [u8]) -> Line<'b> {
    Line::Refused(line, None)
}

#[inline]
fn get(keys: Words<'_>, with_cas: bool) -> Line<'_> {
    let mut none = true;
    for key in keys {
        none = false;
        if !is_key(key) {
            return refuse(BAD_FORMAT);
        }
    }
    if none {
        return refuse(ERROR);
    }
    Line::Request(Request::Get { keys, with_cas })
}

/// gat and gats may have no keys at all.
fn get_and_touch(mut rest: Words<'_>, with_cas: bool) -> Line<'_> {
    let Some(exptime) = rest.next() else { return refuse(ERROR) };
    let Some(exptime) = number::int(exptime) else { return refuse(BAD_EXPTIME) };
    let mut keys = rest;
    if !keys.all(is_key) {
        return refuse(BAD_FORMAT);
    }
    Line::Request(Request::GetAndTouch { exptime, keys: rest, with_cas })
}

/// KEY FLAGS EXPTIME LENGTH [CAS] [noreply]
#[inline]
fn store(rest: Words<'_>, mode: Mode, with_cas: bool) -> Line<'_> {
    let args = Args::of(rest);
    let least = if with_cas { 5 } else { 4 };
    if args.len != least && args.len != least + 1 {
        return refuse(ERROR);
    }
    let announced = number::length(args.at(3));
    let noreply = args.noreply();
    let storing = || {
        Some(Storing {
            key: args.key()?,
            mode,
            flags: number::unsigned(args.at(1))?,
            exptime: number::int(args.at(2))?,
            compare: if with_cas { Some(number::long(args.at(4))?) } else { None },
            value: &[],
        })
    };
    match (storing(), announced) {
        (Some(storing), Some(len)) if len <= LENGTH_MAX => {
            Line::Block(Request::Store { storing, noreply }, len)
        }
        _ => Line::Refused(if noreply { b"" } else { BAD_FORMAT }, announced),
    }
}

/// KEY [0] [noreply]
fn delete<'b>(args: &Args<'b>) -> Line<'b> {
    let noreply = args.noreply();
    let zero = args.at(1) == b"0";
    match args.len {
        1 => {}
        2 if zero || noreply => {}
        3 if zero && noreply => {}
        2 | 3 => return args.refuse(BAD_DELETE),
        _ => return refuse(ERROR),
    }
    let Some(key) = args.key() else { return args.refuse(BAD_FORMAT) };
    Line::Request(Request::Delete { key, noreply: noreply && args.len > 1 })
}

/// KEY DELTA [noreply]
fn count<'b>(args: &Args<'b>, down: bool) -> Line<'b> {
    if !(2..=3).contains(&args.len) {
        return refuse(ERROR);
    }
    let Some(key) = args.key() else { return args.refuse(BAD_FORMAT) };
    let Some(delta) = number::long(args.at(1)) else { return args.refuse(BAD_DELTA) };
    Line::Request(Request::Count { key, down, delta, noreply: args.noreply() })
}

/// KEY EXPTIME [noreply]
fn touch<'b>(args: &Args<'b>) -> Line<'b> {
    if !(2..=3).contains(&args.len) {
        return refuse(ERROR);
    }
    let Some(key) = args.key() else { return args.refuse(BAD_FORMAT) };
    let Some(exptime) = number::int(args.at(1)) else { return args.refuse(BAD_EXPTIME) };
    Line::Request(Request::Touch { key, exptime, noreply: args.noreply() })
}

/// [DELAY] [noreply]
fn flush_all<'b>(args: &Args<'b>) -> Line<'b> {
    let noreply = args.noreply();
    let delay = match args.len {
        0 => None,
        1 if noreply => None,
        1 | 2 => match number::int(args.at(0)) {
            Some(delay) => Some(delay),
            None => return args.refuse(BAD_EXPTIME),
        },
        _ => return refuse(ERROR),
    };
    Line::Request(Request::FlushAll { delay, noreply })
}

/// LEVEL [noreply]
fn verbosity<'b>(args: &Args<'b>) -> Line<'b> {
    if !(1..=2).contains(&args.len) {
        return refuse(ERROR);
    }
    if number::unsigned(args.at(0)).is_none() {
        return args.refuse(BAD_FORMAT);
    }
    Line::Request(Request::Verbosity { noreply: args.noreply() })
}

/// MEGABYTES [noreply]
fn memory_limit<'b>(args: &Args<'b>) -> Line<'b> {
    if !(1..=2).contains(&args.len) {
        return refuse(ERROR);
    }
    let Some(megabytes) = number::unsigned(args.at(0)) else { return args.refuse(ERROR) };
    Line::Request(Request::MemoryLimit { megabytes: u64::from(megabytes), noreply: args.noreply() })
}
