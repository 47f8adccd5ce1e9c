//! `sessile --check [--fix] FILE...`: what a file holds, and whether it's whole.
//!
//! A file is an RDB file, an increment of the log, a manifest (with the files that it names), or a
//! folder with one. What always holds: files are read and nothing is changed, but that `fix` cuts the
//! torn end of an increment off, which it keeps beside it; damage is never cut away.
//! A record that no store could apply is damage.
//! Not for: what a log's records do to a store; loading tells.

use super::aof::last_written;
use super::base;
use super::folder::{Folder, is_temporary};
use persist::aof::{DryRun, Manifest, Part, Problem, Reader, Verdict};
use persist::rdb::{Event, Others, Reader as RdbReader};
use std::fmt::Write;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// A secret for values that nobody keeps.
const SECRET: [u64; 2] = [1, 2];

/// What was said of some files.
#[derive(Debug, Default)]
pub struct Report {
    /// A line for each.
    pub text: String,
    /// How many aren't whole.
    pub bad: usize,
}

impl Report {
    /// Looks at files and folders.
    pub fn of(paths: &[String], fix: bool) -> Self {
        let mut report = Self::default();
        for path in paths {
            report.look(Path::new(path), fix, true);
        }
        report
    }

    fn look(&mut self, path: &Path, fix: bool, last: bool) {
        match facts(path, fix, last) {
            Ok(Facts::Parts(folder, manifest)) => self.parts(path, &folder, &manifest, fix),
            Ok(Facts::Text(text)) => self.say(path, &text),
            Err(what) => {
                self.bad += 1;
                self.say(path, &what);
            }
        }
    }

    fn parts(&mut self, path: &Path, folder: &Path, manifest: &Manifest, fix: bool) {
        let increments = manifest.increments.len();
        let base = if manifest.base.is_some() { "a base" } else { "no base" };
        self.say(path, &format!("whole: names {base} and {increments} increments"));
        let last = last_written(manifest, |name| folder.join(name));
        if let Some(Part { name, .. }) = &manifest.base {
            self.look(&folder.join(name), fix, false);
        }
        for (number, Part { name, .. }) in manifest.increments.iter().enumerate() {
            self.look(&folder.join(name), fix, number >= last);
        }
    }

    fn say(&mut self, path: &Path, what: &str) {
        // Writing to a string doesn't fail.
        let _ = writeln!(self.text, "{}: {what}", path.display());
    }
}

/// What a file is.
enum Facts {
    /// Said in a sentence.
    Text(String),
    /// A manifest, and where its files are.
    Parts(PathBuf, Manifest),
}

/// The facts of a file that is whole, or what is wrong with it. `last`: whether it may be torn.
fn facts(path: &Path, fix: bool, last: bool) -> Result<Facts, String> {
    let said = |error: std::io::Error| error.to_string();
    if path.is_dir() {
        let named = manifests(path).map_err(said)?;
        let [manifest] = named.as_slice() else {
            return Err(format!("has {} manifests of a log, not one", named.len()));
        };
        return facts(manifest, fix, last);
    }
    if path.extension().is_some_and(|end| end == "manifest") {
        let bytes = std::fs::read(path).map_err(said)?;
        let manifest = Manifest::parse(&bytes).map_err(|error| format!("damaged: {error}"))?;
        let folder = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        return Ok(Facts::Parts(folder, manifest));
    }
    let mut head = Vec::new();
    let file = File::open(path).map_err(said)?;
    (&file).take(6).read_to_end(&mut head).map_err(said)?;
    let file = BufReader::new(File::open(path).map_err(said)?);
    if head.starts_with(b"REDIS") || head.starts_with(b"VALKEY") {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        snapshot(file, base::has_records(&name)).map(Facts::Text)
    } else {
        increment(path, file, fix, last).map(Facts::Text)
    }
}

fn manifests(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    let is_one = |name: &str| name.ends_with(".manifest") && !is_temporary(name);
    let found = entries.into_iter().filter(|entry| entry.file_name().to_str().is_some_and(is_one));
    Ok(found.map(|entry| entry.path()).collect())
}

fn snapshot(file: impl Read, has_records: bool) -> Result<String, String> {
    let damaged = |error: persist::rdb::Error| format!("damaged: {error}");
    let mut reader = RdbReader::new(file, Others::Skip, SECRET).map_err(damaged)?;
    let (mut strings, mut hashes, mut hidden, mut skipped) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut sum = "no checksum";
    while let Some(event) = reader.next().map_err(damaged)? {
        match event {
            Event::Item(item) if item.item.meta.slide.is_hidden() => hidden += 1,
            Event::Item(item) if matches!(item.item.value, engine::OwnedValue::String(_)) => {
                strings += 1;
            }
            Event::Item(_) => hashes += 1,
            Event::Skipped(_) => skipped += 1,
            Event::End { checked: true } => sum = "its checksum is right",
            Event::Aux { .. } | Event::Resize { .. } | Event::End { .. } => {}
        }
    }
    let (version, offset) = (reader.version(), reader.offset());
    let behind = if has_records {
        let records = base::read_records(reader.into_rest(), offset);
        match records.map_err(|what| format!("damaged: {what}"))? {
            0 => String::new(),
            records => format!("; {records} records of a log behind it"),
        }
    } else {
        reader.nothing_follows().map_err(damaged)?;
        String::new()
    };
    Ok(format!(
        "whole: RDB version {version}, {strings} strings, {hashes} hashes, {hidden} marks of sessions \
         that got another key, {skipped} values of other types; {sum}{behind}"
    ))
}

fn increment(path: &Path, file: impl Read, fix: bool, last: bool) -> Result<String, String> {
    // What is before the last increment was on the disk before that one began.
    let mut reader = Reader::new(file, if last { 0 } else { u64::MAX });
    let (mut records, mut dry) = (0_u64, DryRun::default());
    let error = loop {
        match reader.next() {
            Ok(Some(record)) => {
                let done = dry.record(&record);
                done.map_err(|error| format!("can't be loaded: {error}"))?;
                records += 1;
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let unchecked = reader.unchecked().map_or(0, |(count, _)| count);
    let Some(error) = error else {
        return Ok(format!("whole: {records} records of a log, {unchecked} without a checksum"));
    };
    let torn = matches!(error.problem, Problem::Bad { verdict: Verdict::Torn, .. });
    if !torn {
        return Err(format!("damaged after {records} records: {error}"));
    }
    if !fix {
        return Err(format!("torn after {records} records: {error}; --fix cuts it there"));
    }
    let folder =
        Folder::take(path.parent().filter(|at| *at != "").unwrap_or_else(|| Path::new(".")))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = folder.cut(&name, error.offset).map_err(|why| format!("can't be cut: {why}"))?;
    Ok(format!("whole now: {records} records; {bytes} bytes were cut off and kept beside it"))
}
