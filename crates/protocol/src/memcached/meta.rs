//! Lines of the meta protocol.
//!
//! What always holds: flags are checked in their order. One that is unknown or stands there twice
//! ends the check; of flags with a wrong token the last one is reported.

use super::base64::{self, DECODED_MAX};
use super::decoder::{KeyBuffer, Line};
use super::number;
use super::request::{Arithmetic, Delete, Flag, Flags, Get, Head, Mode, Request, Set, Words};
use super::text::{BAD_FORMAT, ERROR, LENGTH_MAX, is_key, refuse};
use crate::limits::{MC_FLAGS_MAX, MC_OPAQUE_MAX};

const INVALID: &[u8] = b"CLIENT_ERROR invalid flag";
const DUPLICATE: &[u8] = b"CLIENT_ERROR duplicate flag";
const INVALID_OR_DUPLICATE: &[u8] = b"CLIENT_ERROR invalid or duplicate flag";
const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta value";
const BAD_INITIAL: &[u8] = b"CLIENT_ERROR invalid numeric initial value";
const BAD_KEY: &[u8] = b"CLIENT_ERROR error decoding key";
const BAD_MODE_LENGTH: &[u8] = b"CLIENT_ERROR incorrect length for M token";
const BAD_SET_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ms M token";
const BAD_COUNT_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ma M token";
const LONG_OPAQUE: &[u8] = b"CLIENT_ERROR opaque token too long";
const TOO_MANY: &[u8] = b"CLIENT_ERROR options flags are too long";
const TOO_MANY_OF_SET: &[u8] = b"CLIENT_ERROR options flags too long";

/// Takes apart what follows mg, ms, md, ma or me.
pub(super) fn parse<'b>(
    command: &'b [u8],
    mut rest: Words<'b>,
    buffer: &'b mut KeyBuffer,
) -> Line<'b> {
    let Some(shown) = rest.next() else {
        return refuse(if command == b"me" { BAD_FORMAT } else { ERROR });
    };
    match command {
        b"ms" => set(shown, rest, buffer),
        _ if !is_key(shown) => refuse(BAD_FORMAT),
        b"me" => debug(shown, rest, buffer),
        _ => match Meta::read(shown, rest, buffer) {
            Ok(meta) if meta.head.flags.has(b'x') && command != b"md" => {
                refuse(if command == b"mg" { INVALID } else { INVALID_OR_DUPLICATE })
            }
            Ok(meta) => meta.request(command),
            // mg says what is wrong, md and ma don't, except of the number of flags.
            Err(line) if command == b"mg" || line == TOO_MANY => refuse(line),
            Err(_) => refuse(INVALID_OR_DUPLICATE),
        },
    }
}

/// KEY LENGTH FLAGS*
fn set<'b>(shown: &'b [u8], mut rest: Words<'b>, buffer: &'b mut KeyBuffer) -> Line<'b> {
    let Some(length) = rest.next() else { return refuse(BAD_FORMAT) };
    let announced = number::length(length);
    if !is_key(shown) {
        return Line::Refused(BAD_FORMAT, announced);
    }
    let Some(length) = announced.filter(|length| *length <= LENGTH_MAX) else {
        return Line::Refused(BAD_FORMAT, announced);
    };
    let refuse = |line| Line::Refused(line, announced);
    let meta = match Meta::read(shown, rest, buffer) {
        Ok(meta) if meta.head.flags.has(b'x') => return refuse(INVALID),
        Ok(meta) => meta,
        Err(TOO_MANY) => return refuse(TOO_MANY_OF_SET),
        Err(line) => return refuse(line),
    };
    let mode = match meta.mode {
        None | Some(b'S') => Mode::Set,
        Some(b'E') => Mode::Add,
        Some(b'A') => Mode::Append,
        Some(b'P') => Mode::Prepend,
        Some(b'R') => Mode::Replace,
        Some(_) => return refuse(BAD_SET_MODE),
    };
    let set = Set {
        mode,
        value: &[],
        flags: meta.client_flags,
        exptime: meta.touch.unwrap_or(0),
        compare: meta.compare,
        cas: meta.cas,
        invalidate: meta.head.flags.has(b'I'),
    };
    Line::Block(Request::MetaSet(meta.head, set), length)
}

/// KEY [b]
fn debug<'b>(shown: &'b [u8], mut rest: Words<'b>, buffer: &'b mut KeyBuffer) -> Line<'b> {
    let base64 = rest.next() == Some(b"b");
    let key = if base64 { decode_key(shown, buffer) } else { Some(shown) };
    let Some(key) = key else { return refuse(BAD_FORMAT) };
    let flags = Flags::default();
    Line::Request(Request::MetaDebug(Head { key, shown, base64, quiet: false, flags }))
}

/// What flags say, whatever the command.
struct Meta<'b> {
    head: Head<'b>,
    mode: Option<u8>,
    client_flags: u32,
    compare: Option<u64>,
    cas: Option<u64>,
    touch: Option<i64>,
    vivify: Option<i64>,
    recache: Option<i64>,
    delta: Option<u64>,
    initial: Option<u64>,
}

impl<'b> Meta<'b> {
    fn read(
        shown: &'b [u8],
        words: Words<'b>,
        buffer: &'b mut KeyBuffer,
    ) -> Result<Self, &'static [u8]> {
        let letters = check_letters(words)?;
        let flags = Flags::new(words.rest(), letters);
        let base64 = flags.has(b'b');
        let head = Head { key: shown, shown, base64, quiet: flags.has(b'q'), flags };
        let mut meta = Self {
            head,
            mode: None,
            client_flags: 0,
            compare: None,
            cas: None,
            touch: None,
            vivify: None,
            recache: None,
            delta: None,
            initial: None,
        };
        let mut wrong = None;
        let mut bad_key = false;
        if base64 {
            match decode_key(shown, buffer) {
                Some(key) => meta.head.key = key,
                None => bad_key = true,
            }
        }
        for flag in flags.iter() {
            let token = match flag.letter {
                b'b' if bad_key => Err(BAD_KEY),
                _ => meta.token(flag),
            };
            wrong = token.err().or(wrong);
        }
        match wrong {
            Some(line) => Err(line),
            None => Ok(meta),
        }
    }

    /// Reads the token of one flag.
    fn token(&mut self, flag: Flag<'b>) -> Result<(), &'static [u8]> {
        let int = || number::int(flag.token).map(Some).ok_or(BAD_TOKEN);
        let long = |wrong| number::long(flag.token).map(Some).ok_or(wrong);
        match flag.letter {
            b'N' => self.vivify = int()?,
            b'T' => self.touch = int()?,
            b'R' => self.recache = int()?,
            b'D' => self.delta = long(BAD_DELTA)?,
            b'J' => self.initial = long(BAD_INITIAL)?,
            b'C' => self.compare = long(BAD_TOKEN)?,
            b'E' => self.cas = long(BAD_TOKEN)?,
            b'F' => self.client_flags = number::unsigned(flag.token).ok_or(BAD_FORMAT)?,
            b'M' => match flag.token {
                [mode] => self.mode = Some(*mode),
                _ => return Err(BAD_MODE_LENGTH),
            },
            // The letter counts.
            b'O' if flag.token.len() >= MC_OPAQUE_MAX => return Err(LONG_OPAQUE),
            _ => {}
        }
        Ok(())
    }

    fn request(&self, command: &[u8]) -> Line<'b> {
        let Self { head, compare, cas, touch, vivify, recache, .. } = *self;
        let has = |letter| head.flags.has(letter);
        Line::Request(match command {
            b"mg" => {
                let (value, no_bump) = (has(b'v'), has(b'u'));
                Request::MetaGet(head, Get { value, no_bump, touch, vivify, recache, cas })
            }
            b"md" => {
                let (invalidate, empty) = (has(b'I'), has(b'x'));
                Request::MetaDelete(head, Delete { compare, cas, invalidate, empty, touch })
            }
            _ => {
                let down = match self.mode {
                    None | Some(b'I' | b'+') => false,
                    Some(b'D' | b'-') => true,
                    Some(_) => return refuse(BAD_COUNT_MODE),
                };
                let delta = self.delta.unwrap_or(1);
                let initial = self.initial.unwrap_or(0);
                let value = has(b'v');
                let counting =
                    Arithmetic { down, delta, initial, compare, cas, vivify, touch, value };
                Request::MetaArithmetic(head, counting)
            }
        })
    }
}

/// The set of the flags' letters, none of which is unknown or stands there twice.
fn check_letters(words: Words<'_>) -> Result<u64, &'static [u8]> {
    if words.count() > MC_FLAGS_MAX {
        return Err(TOO_MANY);
    }
    let mut letters = 0;
    for word in words {
        let letter = word.first().copied().unwrap_or_default();
        if letter >= 127 {
            return Err(DUPLICATE);
        }
        let known = matches!(
            letter,
            b'b' | b'c'
                | b'f'
                | b'h'
                | b'k'
                | b'l'
                | b'q'
                | b's'
                | b't'
                | b'u'
                | b'v'
                | b'x'
                | b'C'
                | b'D'
                | b'E'
                | b'F'
                | b'I'
                | b'J'
                | b'L'
                | b'M'
                | b'N'
                | b'O'
                | b'P'
                | b'R'
                | b'T'
        );
        // A second unknown one is reported as unknown, like the first.
        if !known {
            return Err(INVALID);
        }
        if letters & Flags::bit(letter) != 0 {
            return Err(DUPLICATE);
        }
        letters |= Flags::bit(letter);
    }
    Ok(letters)
}

fn decode_key<'b>(shown: &[u8], buffer: &'b mut KeyBuffer) -> Option<&'b [u8]> {
    base64::decode(shown, buffer.get_or_insert_with(|| Box::new([0; DECODED_MAX])))
}
