//! What a salvage keeps aside: a copy of all that there is, and in it what was left out.
//!
//! ```text
//! appendonlydir.damaged-TIME/appendonly.aof.3.incr.aof            as it was
//! appendonlydir.damaged-TIME/appendonly.aof.3.incr.aof.left-out   # why, and where it stands
//!                                                                 the record
//! ```
//!
//! What always holds: a record is left out only after the copy is on the disk.
//! Not for: which records can't be applied.

use super::salvage::{TOLD, files_of, set_aside};
use crate::log as say;
use persist::aof::Unfit;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Files of records left out of one increment, by one salvage after the other, at most.
const COPIES_MAX: u32 = 1000;

/// A folder, its copy if one was needed, and what was left out of its files.
#[derive(Debug)]
pub(super) struct Aside {
    folder: PathBuf,
    now_s: u64,
    copy: Option<PathBuf>,
    /// The increment that is read, and what keeps its records.
    part: Option<(String, Option<File>)>,
    left_out: u64,
    first: Option<String>,
    failure: Option<String>,
}

/// What was kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// The copy.
    pub(super) copy: PathBuf,
    /// How many records were left out.
    pub(super) left_out: u64,
    /// The first one: where it stands, and why.
    pub(super) first: Option<String>,
}

impl Aside {
    /// Nothing is kept yet.
    pub(super) fn of(folder: &Path, began_ms: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            now_s: began_ms / 1000,
            copy: None,
            part: None,
            left_out: 0,
            first: None,
            failure: None,
        }
    }

    /// Copies the folder, to the disk, if that wasn't done yet; where to.
    ///
    /// # Errors
    /// A sentence; nothing was changed then.
    pub(super) fn copy(&mut self) -> Result<&Path, String> {
        let copy = match self.copy.take() {
            Some(copy) => copy,
            None => {
                let files = files_of(&self.folder);
                let said = |error: io::Error| format!("{}: {error}", self.folder.display());
                set_aside(&self.folder, &files.map_err(said)?, self.now_s)?
            }
        };
        Ok(self.copy.insert(copy))
    }

    /// From now on records are those of this increment.
    ///
    /// # Errors
    /// What was kept of the one before isn't on the disk.
    pub(super) fn begin(&mut self, name: &str) -> Result<(), String> {
        self.sync().map_err(|error| self.said(&error))?;
        self.part = Some((name.to_owned(), None));
        Ok(())
    }

    /// Keeps a record; whether it may be left out.
    pub(super) fn keep(&mut self, unfit: &Unfit<'_>) -> bool {
        let Some((name, _)) = &self.part else { return false };
        let what = format!("{}: {}", self.folder.join(name).display(), unfit.error);
        let copied = self.copy().map(drop);
        let kept = copied.and_then(|()| self.write(unfit).map_err(|error| self.said(&error)));
        if let Err(failure) = kept {
            self.failure = Some(failure);
            return false;
        }
        if self.left_out < TOLD as u64 {
            say::warning(format_args!("{what}; left out"));
        }
        self.left_out += 1;
        self.first.get_or_insert(what);
        true
    }

    /// Why a record that may be left out otherwise couldn't be.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// What was kept, all of it on the disk; `None` if nothing had to be.
    ///
    /// # Errors
    /// A sentence: it isn't there.
    pub(super) fn end(mut self) -> Result<Option<Kept>, String> {
        self.sync().map_err(|error| self.said(&error))?;
        let Self { copy, left_out, first, .. } = self;
        Ok(copy.map(|copy| Kept { copy, left_out, first }))
    }

    fn write(&mut self, unfit: &Unfit<'_>) -> io::Result<()> {
        let (Some(copy), Some((name, out))) = (&self.copy, &mut self.part) else { return Ok(()) };
        let out = match out {
            Some(out) => out,
            None => out.insert(created(&copy.join(format!("{name}.left-out")))?),
        };
        let mut text = format!("# {}\r\n", unfit.error).into_bytes();
        unfit.write(&mut text);
        out.write_all(&text)
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some((_, Some(out))) = self.part.take() else { return Ok(()) };
        out.sync_all()?;
        self.copy.as_ref().map_or(Ok(()), |copy| File::open(copy)?.sync_all())
    }

    fn said(&self, error: &io::Error) -> String {
        let at = self.copy.as_ref().unwrap_or(&self.folder);
        format!("nothing was changed: what is left out can't be kept in {}: {error}", at.display())
    }
}

/// A new file, with a number behind its name if there is one from an earlier salvage.
fn created(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    for number in 2.. {
        match File::create_new(&name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < COPIES_MAX => {}
            done => return done,
        }
        name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
    }
    Err(ErrorKind::AlreadyExists.into())
}
