//! What can be had from a damaged increment.
//!
//! ```text
//! survey   read through; where a byte explains the damage, it's mended; else the damage is noted,
//!          and reading goes on behind it
//! replay   records up to the damage; what looks like removals in what is lost; then what
//!          super::Replay can apply without knowing what is lost
//! ```
//!
//! What always holds: nothing is replayed of which a survey found that it isn't right, but removals;
//! an error of the medium, or a file of a later version, is an error here too.
//! Not for: what the file is called, or where it's kept meanwhile.

use super::mend::mend;
use super::{Error, Problem, Reader, Replay, ReplayError, Store, Tail, Verdict};
use crate::limits::{MEND_BYTES, MENDS_MAX};
use crate::patch::{Patch, Patched};
use std::fmt;
use std::io::{self, Read};

/// A place from which on a file isn't right.
#[derive(Debug)]
pub struct Damage {
    /// What was found, and where.
    pub error: Error,
    /// Up to here the file is right.
    pub offset: u64,
    /// What the reader had that came there.
    tail: Option<Tail>,
    /// Where the next right chunk begins, or beyond the end.
    chunk: u64,
    /// Where the file is right again; `None` if nowhere.
    pub until: Option<u64>,
}

/// What is wrong with a file.
#[derive(Debug, Default)]
pub struct Survey {
    /// Bytes that have changed.
    pub patches: Vec<Patch>,
    /// The rest of what is wrong, in order.
    pub damages: Vec<Damage>,
}

impl Survey {
    /// Whether nothing is wrong but, at most, a torn end, which whoever loads the file cuts.
    pub fn is_whole(&self) -> bool {
        let torn = |damage: &Damage| {
            let verdict = Verdict::Torn;
            let torn =
                matches!(damage.error.problem, Problem::Bad { verdict: v, .. } if v == verdict);
            torn && damage.until.is_none()
        };
        self.patches.is_empty() && self.damages.iter().all(torn)
    }
}

/// Why nothing can be had.
#[derive(Debug)]
pub enum Stop {
    /// The file can't be read, or is of a later version.
    Read(Error),
    /// A record that is right can't be applied.
    Replay(ReplayError),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Replay(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Stop {}

/// Looks through a file of which `synced` bytes are known to have been on the disk
/// ([`Reader::new`]). `open` gives it from a byte on.
///
/// # Errors
/// It can't be read, or is of a later version.
pub fn survey<R: Read>(
    mut open: impl FnMut(u64) -> io::Result<R>,
    synced: u64,
) -> Result<Survey, Error> {
    let mut found = Survey::default();
    let mut reader = Reader::new(patched(&mut open, 0, &[])?, synced);
    loop {
        let error = match reader.next() {
            Ok(Some(record)) => {
                let (lost, offset) = (record.lost, record.offset);
                found
                    .damages
                    .last_mut()
                    .filter(|_| !lost)
                    .map(|last| last.until.get_or_insert(offset));
                continue;
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        let tail = reader.tail();
        // The line of a chunk may have become a remark, and its records may have been handed out.
        let stray = tail.and_then(|_| reader.unchecked()).map(|_| reader.right_to());
        let offset = match &error {
            Some(error) => error.offset.min(stray.unwrap_or(u64::MAX)),
            None => match stray {
                Some(stray) => stray,
                None => return Ok(found),
            },
        };
        if let Some(Error { problem: Problem::Io(_), .. }) = error {
            return error.map_or(Ok(found), Err);
        }
        let tries = found.patches.len() + found.damages.len();
        let most = if tries < MENDS_MAX { MEND_BYTES } else { 0 };
        let mut mended = |from, tail| -> Result<Option<Patch>, Error> {
            let mut bytes = Vec::new();
            let window = patched(&mut open, from, &found.patches)?.take(most as u64);
            read_all(window, from, &mut bytes)?;
            Ok(mend(&bytes, from, tail))
        };
        let (mut at, mut patch) = (offset, None);
        if tail.is_some() {
            patch = mended(offset, tail)?;
        }
        if patch.is_none() && tail.is_none_or(|tail| tail.is_first()) {
            // It may be the opening line: by another one nothing that follows is right.
            patch = mended(0, None)?;
            at = if patch.is_some() { 0 } else { offset };
        }
        let lost = match patch {
            Some(_) => None,
            None => {
                let rest = patched(&mut open, at, &found.patches)?;
                let chunk = Reader::next_chunk(rest, at, tail);
                Some(chunk.map_err(|error| io_error(at, error))?.unwrap_or(u64::MAX))
            }
        };
        match (patch, error) {
            (Some(patch), _) => found.patches.push(patch),
            // Redis has appended to the file.
            (None, None) => return Ok(found),
            (None, Some(error)) if matches!(error.problem, Problem::Newer) => return Err(error),
            (None, Some(error)) => {
                let chunk = lost.unwrap_or(u64::MAX);
                found.damages.push(Damage { error, offset, tail, chunk, until: None });
            }
        }
        let rest = patched(&mut open, at, &found.patches)?;
        reader = Reader::resume(rest, at, tail, lost);
    }
}

/// Applies what can be had from a file that was surveyed; how many records.
///
/// # Errors
/// It can't be read, or a right record can't be applied.
pub fn replay<R: Read>(
    mut open: impl FnMut(u64) -> io::Result<R>,
    survey: &Survey,
    replay: &mut Replay,
    store: &mut dyn Store,
) -> Result<u64, Stop> {
    let (mut records, mut damages) = (0, survey.damages.iter());
    let start = patched(&mut open, 0, &survey.patches).map_err(Stop::Read)?;
    let mut reader = Reader::new(start, 0);
    loop {
        let damage = damages.next();
        let end = damage.map_or(u64::MAX, |damage| damage.offset);
        loop {
            match reader.next() {
                Ok(Some(record)) if record.offset >= end => break,
                Ok(Some(record)) if record.lost => replay.remove_lost(record.args, store),
                Ok(Some(record)) => {
                    records += 1;
                    replay.record(&record, store)
                }
                Ok(None) => break,
                // The survey has met the same; what it hasn't met is no damage.
                Err(Error { problem: Problem::Bad { .. }, .. }) if damage.is_some() => break,
                Err(error) => return Err(Stop::Read(error)),
            }
            .map_err(Stop::Replay)?;
        }
        let Some(damage) = damage else { return Ok(records) };
        replay.doubt();
        let rest = patched(&mut open, damage.offset, &survey.patches).map_err(Stop::Read)?;
        reader = Reader::resume(rest, damage.offset, damage.tail, Some(damage.chunk));
    }
}

/// A file from a byte on, mended.
fn patched<R: Read>(
    open: &mut impl FnMut(u64) -> io::Result<R>,
    offset: u64,
    patches: &[Patch],
) -> Result<Patched<R>, Error> {
    let inner = open(offset).map_err(|error| io_error(offset, error))?;
    Ok(Patched::new(inner, offset, patches.to_vec()))
}

fn read_all(mut from: impl Read, offset: u64, into: &mut Vec<u8>) -> Result<(), Error> {
    let read = from.read_to_end(into);
    read.map(drop).map_err(|error| io_error(offset, error))
}

const fn io_error(offset: u64, error: io::Error) -> Error {
    Error { offset, problem: Problem::Io(error) }
}

#[cfg(test)]
mod tests;
