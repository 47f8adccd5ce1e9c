//! `sessile --check [--fix] FILE...`: what a file holds, and whether it's whole.
//!
//! A file is an RDB file, an increment of the log, a manifest (with the files that it names), or a
//! folder with one. What always holds: files are read and nothing is changed, but that `fix` cuts the
//! torn end of an increment off, which it keeps beside it; damage is never cut away.
//! A file is whole if a start takes it for what it is. What it is, a manifest says that names it:
//! the one that was asked for, or else one in the same folder. A record that no store could apply is
//! damage.
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
            report.look(Path::new(path), fix, None);
        }
        report
    }

    fn look(&mut self, path: &Path, fix: bool, role: Option<Role>) {
        match facts(path, fix, role) {
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
        for (name, role) in roles(folder, manifest) {
            self.look(&folder.join(name), fix, Some(role));
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

/// What a manifest says that a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Base,
    /// `last`: whether it may be torn.
    Increment {
        last: bool,
    },
}

/// The files that a manifest names, in their order.
fn roles<'m>(folder: &Path, manifest: &'m Manifest) -> Vec<(&'m str, Role)> {
    let last = last_written(manifest, |name| folder.join(name));
    let base = manifest.base.iter().map(|Part { name, .. }| (name.as_str(), Role::Base));
    let increments = manifest.increments.iter().enumerate();
    let increments = increments
        .map(|(number, part)| (part.name.as_str(), Role::Increment { last: number >= last }));
    base.chain(increments).collect()
}

/// What a file is that was asked for itself, if a manifest beside it names it.
fn role_of(path: &Path) -> Option<Role> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent().filter(|at| *at != "").unwrap_or_else(|| Path::new("."));
    manifests(folder).ok()?.iter().find_map(|manifest| {
        let manifest = manifest_at(manifest).ok()?;
        roles(folder, &manifest).into_iter().find(|(of, _)| *of == name).map(|(_, role)| role)
    })
}

/// The facts of a file that is whole, or what is wrong with it. `role`: what it is, if a manifest
/// was asked for and names it.
fn facts(path: &Path, fix: bool, role: Option<Role>) -> Result<Facts, String> {
    let said = |error: std::io::Error| error.to_string();
    if role.is_none() && path.is_dir() {
        let named = manifests(path).map_err(said)?;
        let [manifest] = named.as_slice() else {
            return Err(format!("has {} manifests of a log, not one", named.len()));
        };
        return facts(manifest, fix, None);
    }
    if role.is_none() && path.extension().is_some_and(|end| end == "manifest") {
        let manifest = manifest_at(path)?;
        let folder = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        return Ok(Facts::Parts(folder, manifest));
    }
    let file = BufReader::new(File::open(path).map_err(said)?);
    let (is_rdb, file) = base::begun(file).map_err(said)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = match role.or_else(|| role_of(path)) {
        Some(Role::Base) if !base::has_records(&name) => snapshot(file, false),
        Some(Role::Base) if is_rdb => snapshot(file, true),
        Some(Role::Base) => records(file),
        Some(Role::Increment { last }) => increment(path, file, fix, last),
        // A snapshot, whatever its name is, or the log of a Redis before 7 that nobody took over.
        None if is_rdb => snapshot(file, name.ends_with(".aof")),
        None => increment(path, file, fix, true),
    };
    text.map(Facts::Text)
}

fn manifests(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    let is_one = |name: &str| name.ends_with(".manifest") && !is_temporary(name);
    let found = entries.into_iter().filter(|entry| entry.file_name().to_str().is_some_and(is_one));
    Ok(found.map(|entry| entry.path()).collect())
}

fn manifest_at(path: &Path) -> Result<Manifest, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    Manifest::parse(&bytes).map_err(|error| format!("damaged: {error}"))
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

/// A base of records alone, of which nothing may be torn.
fn records(file: impl Read) -> Result<String, String> {
    let records = base::read_records(file, 0).map_err(|what| format!("damaged: {what}"))?;
    Ok(format!("whole: {records} records of a log"))
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
