//! The append-only log as files: read at the start, written from then on, made anew at times.
//!
//! ```text
//! start      manifest -> base, increments in order -> store; the next increment begins
//! running    journal -> log -> the last increment
//! rewrite    manifest names one more increment -> cut: the journal goes on in it, a snapshot of
//!            that moment becomes the next base -> manifest names these two -> old files go
//! ```
//!
//! What always holds: the files that the manifest names make up the store, after a crash at any
//! moment too; nothing is deleted before the manifest that doesn't name it is on the disk.

use super::base::{self, NO_SALVAGE};
use super::folder::Folder;
use super::load;
use super::loading::Loading;
use super::log::{Frame, Increment};
use super::progress::{Counted, Progress};
use super::snapshot::{self, Options};
use super::timed::Timed;
use crate::latency::Latency;
use crate::log as say;
use crate::os::machine;
use node::{Format, Node};
use persist::aof::{
    self, Framer, Manifest, Part, Problem, Reader, Verdict, base_name, increment_name,
    manifest_name, records_base_name, room,
};
use persist::limits::{CHUNK_MAX, PARTS_MAX, ROOM_LINE};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// How the journal is written down.
pub const FORMAT: Format =
    Format { effect: aof::record, select: aof::select, together: aof::TOGETHER };

/// What an operator is told of a log that isn't whole.
const SALVAGE: &str = " (if it's damaged, a start with --salvage loads what is right of it)";

/// What was there at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys that the base had.
    pub keys: u64,
    /// Records of the increments, and of the base.
    pub records: u64,
    /// Bytes that a crash had left of a write, cut and kept aside.
    pub cut: u64,
}

/// Bytes of the log's files, and how many they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the base.
    pub base: u64,
    /// Bytes of the increments before the one that is written to.
    pub before: u64,
    /// Increments, that one included.
    pub increments: usize,
}

/// The files of the log.
#[derive(Debug)]
pub struct Files {
    pub(super) folder: Folder,
    prefix: String,
    /// What the increments tell how long they took.
    latency: Arc<Latency>,
    pub(super) manifest: Manifest,
    /// The last increment, if it was begun and is still to be used.
    spare: Option<Increment>,
    /// The log begins anew: what the manifest names is of another time, until the next base.
    anew: bool,
    /// The increment that the manifest will name then.
    unnamed: Option<Part>,
}

impl Files {
    /// Takes the folder of a log. `latency` is told how long its files took.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong with it; nothing was changed then.
    pub fn open(folder: Folder, prefix: &str, latency: &Arc<Latency>) -> Result<Self, String> {
        let manifest = manifest_in(&folder, prefix)?;
        Ok(Self::with(folder, prefix, latency, manifest))
    }

    /// The files that a manifest names.
    pub(super) fn with(
        folder: Folder,
        prefix: &str,
        latency: &Arc<Latency>,
        manifest: Manifest,
    ) -> Self {
        Self {
            folder,
            prefix: prefix.to_owned(),
            latency: Arc::clone(latency),
            manifest,
            spare: None,
            anew: false,
            unnamed: None,
        }
    }

    /// Whether there is no log yet, or none that has a base: what is beside it is the store then.
    pub fn is_new(&self) -> bool {
        self.manifest.begins || self.manifest == Manifest::default()
    }

    /// Loads the store that the files make up. `truncate`: whether a torn end may be cut
    /// (`aof-load-truncated`).
    ///
    /// # Errors
    /// As [`Files::open`].
    pub fn load(
        &mut self,
        node: &Node,
        began_ms: u64,
        truncate: bool,
        progress: &Progress,
    ) -> Result<Found, String> {
        let parts = self.manifest.base.iter().chain(&self.manifest.increments);
        parts.for_each(|part| progress.expect(&self.folder.file(&part.name)));
        self.load_into(&mut Loading::into(node), began_ms, truncate, progress)
    }

    /// As [`Files::load`], into a store that may leave out what can't be applied.
    pub(super) fn load_into(
        &self,
        store: &mut Loading<'_>,
        began_ms: u64,
        truncate: bool,
        progress: &Progress,
    ) -> Result<Found, String> {
        let (mut found, node) = (Found::default(), store.node());
        for number in 0..node.shard_count() {
            node.with_shard(number, |shard| shard.set_began(began_ms));
        }
        if let Some(base) = &self.manifest.base {
            self.load_base(base, store, began_ms, progress, &mut found)?;
        }
        let last = last_written(&self.manifest, |name| self.folder.file(name));
        for (i, part) in self.manifest.increments.iter().enumerate() {
            let synced = if i < last { u64::MAX } else { 0 };
            let file = self.opened(part, progress)?;
            self.load_increment((part, file), store, synced, truncate, &mut found)?;
        }
        store.tell();
        Ok(found)
    }

    /// Whether no increment can be added: a base has to take the place of all there is.
    pub fn is_full(&self) -> bool {
        self.manifest.parts().count() + 2 > PARTS_MAX
    }

    /// What there is, the increment that is written to having been begun.
    pub fn sizes(&self) -> Sizes {
        let of = |part: &Part| {
            // What isn't there has no bytes; loading it would tell.
            std::fs::metadata(self.folder.file(&part.name)).map_or(0, |facts| facts.len())
        };
        let increments = &self.manifest.increments;
        // A spare one is named already.
        let begun = increments.len().saturating_sub(usize::from(self.spare.is_some()));
        Sizes {
            base: self.manifest.base.as_ref().map_or(0, of),
            before: increments.iter().take(begun.saturating_sub(1)).map(of).sum(),
            increments: begun,
        }
    }

    /// Removes parts that no manifest names: a crash left them, between a file and its manifest.
    pub fn tidy(&self) {
        let is_named = |name: &str| self.manifest.parts().any(|part| part.name == name);
        let is_old = |name: &str| is_part(&self.prefix, name) && !is_named(name);
        if let Err(error) = self.folder.remove(is_old) {
            say::warning(format_args!("can't look for old files of the log: {error}"));
        }
    }

    /// Begins the next increment: from now on it's part of the log. `alone` says that nothing more
    /// goes into those before it: it gets a record at once, which says so to whoever loads it.
    ///
    /// # Errors
    /// Those of the system; the log is what it was then.
    pub fn begin_increment(&mut self, alone: bool) -> io::Result<Increment> {
        if let Some(spare) = self.spare.take() {
            return Ok(spare);
        }
        let unnamed = self.anew && !self.is_new();
        if self.is_full() && !unnamed {
            return Err(io::Error::other(format!("the log has {PARTS_MAX} files already")));
        }
        // One that doesn't follow those before it leaves a gap, which tells them apart without a
        // manifest.
        let gap = u64::from(unnamed);
        let sequence = self.manifest.next_increment() + gap;
        let name = increment_name(&self.prefix, sequence);
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(self.folder.file(&name))?;
        let mut opening = Vec::new();
        let seed = u64::from_le_bytes(machine::random::<8>()?);
        let mut framer = Framer::open(seed, &mut opening);
        if alone {
            let mut record = Vec::new();
            aof::select(0, &mut record);
            framer.frame(&record, 0, &mut opening);
        }
        (&file).write_all(&opening)?;
        file.sync_all()?;
        // The manifest must not be on the disk before the file that it names.
        self.folder.sync()?;
        let part = Part { name, sequence };
        if unnamed {
            self.unnamed = Some(part);
        } else {
            let begins = self.is_new();
            let mut manifest = Manifest { begins, ..self.manifest.clone() };
            manifest.increments.push(part);
            self.put_manifest(manifest)?;
        }
        let medium = Arc::new(Timed::new(file, Arc::clone(&self.latency)));
        Ok(Increment::new(medium, Box::new(Chunks(framer)), opening.len() as u64))
    }

    /// Forgets, with the next base, all that there is: it's of a time before changes went unlogged.
    pub fn begin_anew(&mut self) {
        (self.anew, self.spare, self.unnamed) = (true, None, None);
    }

    /// Takes the last increment back, which nobody has written to.
    pub fn keep_for_later(&mut self, spare: Option<Increment>) {
        self.spare = spare;
    }

    /// Writes a new base, a snapshot of the moment at which the last increment begins, and forgets
    /// what is older. `cut` is called after the journal was cut at that moment. Answers the base's
    /// bytes.
    ///
    /// # Errors
    /// Those of the system; the log is what it was then.
    pub fn rewrite(
        &mut self,
        node: &Node,
        options: Options<'_>,
        cut: impl FnOnce(),
    ) -> io::Result<u64> {
        let sequence = self.manifest.next_base();
        let named = if options.records { records_base_name } else { base_name };
        let name = named(&self.prefix, sequence);
        let last = self.unnamed.as_ref().or_else(|| self.manifest.increments.last());
        let follows = last.map(|last| last.sequence);
        let options = Options { aof_base: true, follows, ..options };
        let bytes =
            self.folder.replace(&name, |out| snapshot::write(node, options, out, cut).map(drop))?;
        let kept = Manifest {
            base: Some(Part { name, sequence }),
            history: Vec::new(),
            increments: last.cloned().into_iter().collect(),
            begins: false,
        };
        let old = std::mem::take(&mut self.manifest);
        if let Err(error) = self.put_manifest(kept.clone()) {
            self.manifest = old;
            return Err(error);
        }
        (self.anew, self.unnamed) = (false, None);
        let stays =
            |name: &str| kept.base.iter().chain(&kept.increments).any(|part| part.name == name);
        let all = old.base.iter().chain(&old.history).chain(&old.increments);
        for part in all.filter(|part| !stays(&part.name)) {
            // A file that stays does no harm: no manifest names it.
            let _ = std::fs::remove_file(self.folder.file(&part.name));
        }
        Ok(bytes)
    }

    fn put_manifest(&mut self, manifest: Manifest) -> io::Result<()> {
        let mut bytes = Vec::new();
        manifest.render(&mut bytes);
        self.folder.replace(&manifest_name(&self.prefix), |out| out.write_all(&bytes))?;
        self.manifest = manifest;
        Ok(())
    }

    fn opened<'p>(&self, part: &Part, progress: &'p Progress) -> Result<Counted<'p>, String> {
        let path = self.folder.file(&part.name);
        progress.open(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn load_base(
        &self,
        part: &Part,
        store: &mut Loading<'_>,
        began_ms: u64,
        progress: &Progress,
        found: &mut Found,
    ) -> Result<(), String> {
        let path = self.folder.file(&part.name);
        let file = self.opened(part, progress)?;
        let (loaded, advice) = if !base::has_records(&part.name) {
            (load::rdb(store.node(), file, began_ms), SALVAGE)
        } else if base::is_ours(&path) {
            if let Some(aside) = &mut store.aside {
                aside.begin(&part.name)?;
            }
            (base::load(store, file, began_ms), SALVAGE)
        } else {
            (base::load(store, file, began_ms), NO_SALVAGE)
        };
        let loaded = loaded.map_err(|what| format!("{}: {what}{advice}", path.display()))?;
        loaded.warn(&part.name);
        (found.keys, found.records) = (loaded.keys, loaded.records);
        Ok(())
    }

    fn load_increment(
        &self,
        (part, file): (&Part, Counted<'_>),
        store: &mut Loading<'_>,
        synced: u64,
        truncate: bool,
        found: &mut Found,
    ) -> Result<(), String> {
        let path = self.folder.file(&part.name);
        let wrong = |what: String| format!("{}: {what}", path.display());
        if synced == 0 {
            // The killed process may not have: what is loaded now must not be lost later.
            file.file().sync_all().map_err(|error| wrong(error.to_string()))?;
        }
        if let Some(aside) = &mut store.aside {
            aside.begin(&part.name)?;
        }
        let mut reader = Reader::new(file, synced);
        let mut replay = store.replay();
        loop {
            match reader.next() {
                Ok(Some(record)) => {
                    let done = replay.record(&record, store);
                    let ours = reader.tail().is_some() && store.aside.is_none();
                    done.map_err(|error| {
                        let advice = if ours && !error.is_of_the_store() { SALVAGE } else { "" };
                        wrong(store.why(&error) + advice)
                    })?;
                    found.records += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    let torn = matches!(error.problem, Problem::Bad { verdict: Verdict::Torn, .. });
                    if !torn && matches!(error.problem, Problem::Bad { .. }) {
                        return Err(wrong(format!("{error}{SALVAGE}")));
                    }
                    if !torn || !truncate {
                        return Err(wrong(error.to_string()));
                    }
                    let cut = self.folder.cut(&part.name, error.offset);
                    found.cut += cut.map_err(|error| wrong(error.to_string()))?;
                    say::warning(format_args!("{}", wrong(format!("{error}; cut there"))));
                    break;
                }
            }
        }
        store.applied(replay);
        if let (Some((count, offset)), Some(_)) = (reader.unchecked(), reader.tail()) {
            say::warning(format_args!(
                "{}: {count} records without a checksum, the first at byte {offset}",
                path.display()
            ));
        }
        Ok(())
    }
}

/// The manifest in a folder.
pub(super) fn manifest_in(folder: &Folder, prefix: &str) -> Result<Manifest, String> {
    let path = folder.file(&manifest_name(prefix));
    match std::fs::read(&path) {
        Ok(bytes) => {
            let parsed = Manifest::parse(&bytes);
            parsed.map_err(|error| format!("{}: {error}{SALVAGE}", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(part) = lone_part(folder, prefix) {
                let (path, part) = (path.display(), part.display());
                return Err(format!("{path} is missing, but there is {part}{SALVAGE}"));
            }
            Ok(Manifest::default())
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The increment that was written last: an increment is named by the manifest before the journal
/// goes on in it, and what is before it is on the disk once it has a record. `at` says where a file
/// is.
pub(super) fn last_written(manifest: &Manifest, at: impl Fn(&str) -> PathBuf) -> usize {
    let mut opening = Vec::new();
    Framer::open(0, &mut opening);
    let has_records = |part: &Part| {
        let facts = std::fs::metadata(at(&part.name));
        facts.is_ok_and(|facts| facts.len() > opening.len() as u64)
    };
    manifest.increments.iter().rposition(has_records).unwrap_or(0)
}

/// Whether a name is one that a part of the log may have.
fn is_part(prefix: &str, name: &str) -> bool {
    part_named(prefix, name).is_some()
}

/// Whether a part of the log that has this name is a base, and its number.
pub(super) fn part_named(prefix: &str, name: &str) -> Option<(bool, u64)> {
    let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
    let (number, _) = rest.split_once('.')?;
    let number = number.parse().ok()?;
    let is_base = [base_name, records_base_name].iter().any(|named| named(prefix, number) == name);
    (is_base || increment_name(prefix, number) == name).then_some((is_base, number))
}

/// A base, or an increment that was written to: there was a log.
fn lone_part(folder: &Folder, prefix: &str) -> Option<PathBuf> {
    // An increment that was only begun is what a crash leaves before the very first manifest.
    const BEGUN_MOST: u64 = 1024;
    let is_of_a_log = |path: &PathBuf| {
        let name = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        let size = std::fs::metadata(path).map_or(u64::MAX, |facts| facts.len());
        part_named(prefix, name).is_some_and(|(is_base, _)| is_base || size > BEGUN_MOST)
    };
    let entries = std::fs::read_dir(folder.file(&manifest_name(prefix)).parent()?).ok()?;
    entries.filter_map(Result::ok).map(|entry| entry.path()).find(is_of_a_log)
}

/// Chunks with a line of facts each.
pub(super) struct Chunks(pub(super) Framer);

impl Frame for Chunks {
    fn frame(&mut self, bytes: &[u8], synced: u64, out: &mut Vec<u8>) {
        self.0.frame(bytes, synced, out);
    }

    fn close(&mut self, synced: u64, out: &mut Vec<u8>) {
        let mut record = Vec::new();
        aof::select(0, &mut record);
        self.0.frame(&record, synced, out);
    }

    fn before_room(&self, size: u64) -> &'static [u8] {
        room::before(size)
    }

    fn room(&self, from: u64, to: u64, out: &mut Vec<u8>) -> u64 {
        room::room(from, to, out)
    }

    fn room_end(&self) -> u64 {
        ROOM_LINE
    }

    fn most(&self) -> u64 {
        CHUNK_MAX
    }
}
