//! `--salvage`: what can be had from a damaged log, once.
//!
//! ```text
//! look through all files -> nothing damaged: load all -> all can be applied: a start as any other
//! copy the folder aside, to the disk -> load what is right -> a new base, a new manifest
//! ```
//!
//! What can't be applied is found as it's loaded, and kept in the copy ([`Aside`]).
//!
//! What always holds: nothing is changed before all of the folder is on the disk a second time; the
//! manifest names the damaged files until it names the new base; no key gets a value that it never
//! had, and what a readable record removes is gone.
//! Not for: files that the disk doesn't give, or that a later version wrote; those are refused.

use super::aof::{Files, Found, last_written, manifest_in, part_named};
use super::aside::{Aside, Kept};
use super::base::{self, NO_SALVAGE};
use super::folder::{Folder, is_temporary};
use super::load;
use super::loading::Loading;
use super::progress::{Counted, Progress};
use super::snapshot::FOLLOWS;
use crate::latency::Latency;
use crate::log as say;
use node::Node;
use persist::aof::salvage::{self, Stop, Survey};
use persist::aof::{
    Manifest, Part, Replay, Trust, base_name, increment_name, manifest_name, records_base_name,
};
use persist::patch::{Patch, Patched};
use persist::rdb::{self, Mend, Others, Reader as RdbReader, Stretches};
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many places of a file are told one by one, and how many records that were left out.
pub(super) const TOLD: usize = 20;
/// Copies of one folder within a second.
const COPIES_MAX: usize = 1000;

/// What was found in the files.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What there is of the base.
    base: Base,
    /// Of each increment what is wrong; `None`: there is no such file.
    increments: Vec<Option<Survey>>,
    /// The first thing that is wrong.
    first: Option<String>,
}

/// What there is of a base.
#[derive(Debug, Default)]
enum Base {
    /// All of it, or there was none.
    #[default]
    Whole,
    /// All of it, with a byte mended.
    Mended(Patch),
    /// These stretches.
    Parts(Vec<Range<u64>>),
    /// Records that were written here: what is wrong with them, and whether the end is missing.
    Records(Survey, bool),
}

/// What was loaded, and what is told of it if something was wrong.
pub(super) type Loaded = (Found, Option<Summary>);

/// What is told in the end.
#[derive(Debug)]
pub(super) struct Summary {
    kept: Kept,
    first: String,
    found: Found,
    mended: usize,
    skipped: Option<u64>,
}

impl Summary {
    /// Tells what became of the log that has so many keys now.
    pub(super) fn tell(&self, keys: u64) {
        let Self { kept, first, found, mended, skipped } = self;
        let left_out = match kept.left_out {
            0 => String::new(),
            count => format!(
                "{count} records can't be applied and were left out, with what was under the keys \
                 that they name (see *.left-out there); "
            ),
        };
        let rest = match skipped {
            None => "nothing is lost".to_owned(),
            Some(skipped) => format!(
                "{skipped} records behind it weren't applied, since what they change may rest on \
                 what is lost"
            ),
        };
        say::warning(format_args!(
            "salvaged: {keys} keys; {} keys in the base and {} records were read, {mended} changed \
             bytes mended; the first damage: {first}; {left_out}{rest}; the damaged files are in {}; \
             start without --salvage from now on",
            found.keys,
            found.records,
            kept.copy.display()
        ));
    }
}

impl Files {
    /// Takes the folder of a log whose manifest may be damaged or missing; what is wrong with it.
    ///
    /// # Errors
    /// A sentence: what is wrong, and why it's not certain which files make up the log.
    pub(super) fn open_damaged(
        folder: Folder,
        prefix: &str,
        latency: &Arc<Latency>,
    ) -> Result<(Self, Option<String>), String> {
        let (manifest, what) = match manifest_in(&folder, prefix) {
            Ok(manifest) => (manifest, None),
            Err(what) => {
                let found = found_manifest(&folder, prefix).map_err(|why| format!("{what}; {why}"));
                (found?, Some(what))
            }
        };
        Ok((Self::with(folder, prefix, latency, manifest), what))
    }

    /// What keeps things aside before they are changed.
    pub(super) fn aside(&self, began_ms: u64) -> Aside {
        Aside::of(self.folder.path(), began_ms)
    }

    /// Loads what can be had, and begins the log anew; the next base has to follow. `truncate`:
    /// whether a torn end is no damage; `damage`: what is wrong with the manifest. No summary if
    /// nothing is wrong: all was loaded then as it is without a salvage.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong with it; nothing was changed then.
    pub(super) fn salvage(
        &mut self,
        node: &Node,
        began_ms: u64,
        (truncate, damage): (bool, Option<String>),
        progress: &Progress,
    ) -> Result<Loaded, String> {
        say::notice(format_args!("looking through the log for damage (--salvage)"));
        for part in self.manifest.base.iter().chain(&self.manifest.increments) {
            // It's read twice.
            (0..2).for_each(|_| progress.expect(&self.folder.file(&part.name)));
        }
        let findings = self.look_through(truncate, progress)?;
        let damage = damage.or_else(|| findings.first.clone());
        let (mut store, mut aside) = (Loading::into(node), self.aside(began_ms));
        if let Some(first) = &damage {
            say::warning(format_args!("the log is damaged: {first}"));
            aside.copy()?;
        }
        store.aside = Some(aside);
        let found = if damage.is_some() {
            self.load_rest(&mut store, began_ms, &findings, progress)?
        } else {
            self.load_into(&mut store, began_ms, truncate, progress)?
        };
        let kept = store.aside.take().map_or(Ok(None), Aside::end)?;
        let Some(kept) = kept else {
            say::notice(format_args!("there is nothing to salvage: the log is whole"));
            return Ok((found, None));
        };
        self.begin_anew();
        let first = damage.or_else(|| kept.first.clone()).unwrap_or_default();
        let surveys = findings.increments.iter().flatten();
        let in_base = match &findings.base {
            Base::Whole | Base::Parts(_) => 0,
            Base::Mended(_) => 1,
            Base::Records(survey, _) => survey.patches.len(),
        };
        let mended = in_base + surveys.map(|one| one.patches.len()).sum::<usize>();
        let skipped = store.trust.take().map(|trust| trust.skipped());
        Ok((found, Some(Summary { kept, first, found, mended, skipped })))
    }

    fn look_through(&self, truncate: bool, progress: &Progress) -> Result<Findings, String> {
        let mut findings = Findings::default();
        if let Some(base) = &self.manifest.base {
            let path = self.folder.file(&base.name);
            let wrong = |what: String| format!("{}: {what}", path.display());
            let looked = if base::has_records(&base.name) && base::is_ours(&path) {
                self.look_at_records(base, progress)
            } else if base::has_records(&base.name) && path.exists() {
                let file = progress.open(&path).map_err(|error| wrong(error.to_string()))?;
                let read = base::read_through(file).map_err(|what| format!("{what}{NO_SALVAGE}"));
                read.map(|_| (Base::Whole, None))
            } else {
                look_at_base(&path, progress)
            };
            let (base, what) = looked.map_err(wrong)?;
            if let Some(what) = what.map(wrong) {
                say::warning(format_args!("{what}"));
                findings.first = Some(what);
            }
            findings.base = base;
        }
        let last = last_written(&self.manifest, |name| self.folder.file(name));
        for (i, part) in self.manifest.increments.iter().enumerate() {
            let synced = if i < last { u64::MAX } else { 0 };
            let survey = self.look_at(part, synced, progress)?;
            let told = match &survey {
                None => vec!["there is no such file".to_owned()],
                Some(survey) if survey.is_whole() && (truncate || survey.damages.is_empty()) => {
                    Vec::new()
                }
                Some(survey) => told(survey),
            };
            for what in told {
                let what = format!("{}: {what}", self.folder.file(&part.name).display());
                say::warning(format_args!("{what}"));
                findings.first.get_or_insert(what);
            }
            findings.increments.push(survey);
        }
        Ok(findings)
    }

    /// What there is of a base of records that was written here, and what is wrong with it.
    fn look_at_records(
        &self,
        part: &Part,
        progress: &Progress,
    ) -> Result<(Base, Option<String>), String> {
        let path = self.folder.file(&part.name);
        let survey = salvage::survey(from(&path, progress), u64::MAX);
        let survey = survey.map_err(|error| error.to_string())?;
        let mut told = told(&survey);
        let file = progress.open(&path).map_err(|error| error.to_string())?;
        let mended = Patched::new(file, 0, survey.patches.clone());
        let cut = survey.damages.is_empty() && base::is_cut(mended)?;
        told.extend(cut.then(|| base::CUT.to_owned()));
        let what = told.join("; ");
        Ok(if what.is_empty() {
            (Base::Whole, None)
        } else {
            (Base::Records(survey, cut), Some(what))
        })
    }

    fn look_at(
        &self,
        part: &Part,
        synced: u64,
        progress: &Progress,
    ) -> Result<Option<Survey>, String> {
        let path = self.folder.file(&part.name);
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let survey = salvage::survey(from(&path, progress), synced);
        survey.map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn load_rest(
        &self,
        store: &mut Loading<'_>,
        began_ms: u64,
        findings: &Findings,
        progress: &Progress,
    ) -> Result<Found, String> {
        let (mut found, node) = (Found::default(), store.node());
        for number in 0..node.shard_count() {
            node.with_shard(number, |shard| shard.set_began(began_ms));
        }
        if let Some(part) = &self.manifest.base {
            let path = self.folder.file(&part.name);
            let wrong = |what: String| format!("{}: {what}", path.display());
            let loaded = if let Base::Records(survey, cut) = &findings.base {
                self.load_records(part, (survey, *cut), store, progress)
            } else if base::has_records(&part.name) && path.exists() {
                let file = progress.open(&path).map_err(|error| wrong(error.to_string()))?;
                base::load(store, file, began_ms)
            } else {
                load_base(node, began_ms, &findings.base, from(&path, progress))
            };
            let loaded = loaded.map_err(wrong)?;
            loaded.warn(&part.name);
            (found.keys, found.records) = (loaded.keys, loaded.records);
        }
        if matches!(findings.base, Base::Parts(_)) {
            store.trust = Some(Trust::in_what_is_there());
        }
        for (part, survey) in self.manifest.increments.iter().zip(&findings.increments) {
            let path = self.folder.file(&part.name);
            if let Some(aside) = &mut store.aside {
                aside.begin(&part.name)?;
            }
            let mut replay = store.replay();
            match survey {
                None => replay.doubt(),
                Some(survey) => {
                    let read = replayed(from(&path, progress), survey, &mut replay, store);
                    let wrong = |what| format!("{}: {what}", path.display());
                    found.records += read.map_err(wrong)?;
                }
            }
            store.applied(replay);
        }
        store.tell();
        Ok(found)
    }

    /// Loads what there is of a base of records that was written here.
    fn load_records(
        &self,
        part: &Part,
        (survey, cut): (&Survey, bool),
        store: &mut Loading<'_>,
        progress: &Progress,
    ) -> Result<load::Found, String> {
        if let Some(aside) = &mut store.aside {
            aside.begin(&part.name)?;
        }
        let mut replay = store.replay();
        let path = self.folder.file(&part.name);
        let records = replayed(from(&path, progress), survey, &mut replay, store)?;
        store.applied(replay);
        if cut || !survey.damages.is_empty() {
            // Each key stands there once: what is there is all that the base had of it.
            let skipped = store.trust.take().map_or(0, |trust| trust.skipped());
            store.trust = Some(Trust::in_what_is_there().having_skipped(skipped));
        }
        Ok(load::Found { keys: base::keys(store.node()), records, ..load::Found::default() })
    }
}

/// Applies what can be had of records; how many.
fn replayed<R: io::Read>(
    file: impl FnMut(u64) -> io::Result<R>,
    survey: &Survey,
    replay: &mut Replay,
    store: &mut Loading<'_>,
) -> Result<u64, String> {
    salvage::replay(file, survey, replay, store).map_err(|stop| match stop {
        Stop::Read(error) => error.to_string(),
        Stop::Replay(error) => store.why(&error),
    })
}

/// The manifest of a folder in which it can't be read: mended, or what the files say of themselves.
fn found_manifest(folder: &Folder, prefix: &str) -> Result<Manifest, String> {
    let path = folder.file(&manifest_name(prefix));
    match std::fs::read(&path) {
        Ok(bytes) => {
            if let Some(mended) = Manifest::mend(&bytes) {
                return Ok(mended);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.to_string()),
    }
    let files = files_of(folder.path()).map_err(|error| error.to_string())?;
    let names = files.iter().filter_map(|(path, _)| path.file_name()?.to_str());
    let parts: Vec<(bool, u64)> = names.filter_map(|name| part_named(prefix, name)).collect();
    let unsure = |why: String| {
        format!(
            "{why}, so it isn't certain which files make up the log; write {} by hand, with a line \
             `file NAME seq NUMBER type b` for the base and `... type i` for each increment after it",
            path.display()
        )
    };
    let newest = |base| parts.iter().filter(move |part| part.0 == base).map(|part| part.1).max();
    let base = newest(true).ok_or_else(|| unsure("there is no base".to_owned()))?;
    let named = [base_name, records_base_name].map(|named| named(prefix, base));
    let name = match named.map(|name| Some(name).filter(|name| folder.file(name).exists())) {
        [Some(rdb), Some(records)] => return Err(unsure(format!("there is {rdb} and {records}"))),
        [rdb, records] => rdb.or(records).unwrap_or_default(),
    };
    let first = followed_by(&folder.file(&name));
    let first = first.ok_or_else(|| unsure(format!("{name} doesn't say what follows it")))?;
    let last = newest(false).unwrap_or(0).max(first);
    if let Some(gap) = (first..=last).find(|number| !parts.contains(&(false, *number))) {
        return Err(unsure(format!("{} isn't there", increment_name(prefix, gap))));
    }
    let increment = |sequence| Part { name: increment_name(prefix, sequence), sequence };
    let increments = (first..=last).map(increment).collect();
    Ok(Manifest { base: Some(Part { name, sequence: base }), increments, ..Manifest::default() })
}

/// The number of the increment that follows a base, if it says so.
fn followed_by(path: &Path) -> Option<u64> {
    if path.to_str().is_some_and(base::has_records) {
        return base::followed_by(path);
    }
    let mut reader = RdbReader::new(File::open(path).ok()?, Others::Skip, [1, 2]).ok()?;
    while let Ok(Some(rdb::Event::Aux { name, value })) = reader.next() {
        if name == FOLLOWS.as_bytes() {
            return str::from_utf8(&value).ok()?.parse().ok();
        }
    }
    None
}

/// Loads a snapshot, or what can be had of a damaged one, after it was copied aside.
///
/// # Errors
/// A sentence: what is wrong with the file; nothing was changed.
pub(super) fn load_snapshot(
    node: &Node,
    path: &Path,
    now_ms: u64,
    progress: &Progress,
) -> Result<load::Found, String> {
    let (base, what) = look_at_base(path, progress)?;
    let Some(what) = what else {
        say::notice(format_args!("there is nothing to salvage: {} is whole", path.display()));
        return load_base(node, now_ms, &base, from(path, progress));
    };
    say::warning(format_args!("{}: {what}", path.display()));
    let bytes = path.metadata().map_err(|error| error.to_string())?.len();
    let copy = set_aside(path, &[(path.to_owned(), bytes)], now_ms / 1000)?;
    let found = load_base(node, now_ms, &base, from(path, progress))?;
    say::warning(format_args!(
        "salvaged: {} keys; the damaged snapshot is in {}; start without --salvage from now on",
        found.keys,
        copy.display()
    ));
    Ok(found)
}

/// What is wrong with a file, place by place.
fn told(survey: &Survey) -> Vec<String> {
    let mended = survey.patches.iter().map(|patch| format!("byte {} was mended", patch.at));
    let lost = survey.damages.iter().map(|damage| match damage.until {
        Some(until) => format!("{}; right again from byte {until} on", damage.error),
        None => format!("{}; the rest is lost", damage.error),
    });
    let more = (survey.patches.len() + survey.damages.len()).saturating_sub(TOLD);
    let more = (more > 0).then(|| format!("{more} more such places"));
    mended.chain(lost).take(TOLD).chain(more).collect()
}

/// What there is of a base, and what is wrong with it.
fn look_at_base(path: &Path, progress: &Progress) -> Result<(Base, Option<String>), String> {
    let said = |error: io::Error| error.to_string();
    if matches!(path.try_exists(), Ok(false)) {
        return Ok((Base::Parts(Vec::new()), Some("there is no such file".to_owned())));
    }
    let mut open = from(path, progress);
    let Err(error) = read_through(open(0).map_err(said)?) else { return Ok((Base::Whole, None)) };
    if matches!(error.problem, rdb::Problem::Io(_)) {
        return Err(error.to_string());
    }
    let length = path.metadata().map_err(said)?.len();
    let mended = rdb::mend(open(0).map_err(said)?, length).map_err(said)?;
    if let Mend::Byte(patch) = mended {
        match read_through(Patched::new(open(0).map_err(said)?, 0, vec![patch])) {
            Ok(()) => {
                let what = format!("{error}; byte {} was mended", patch.at);
                return Ok((Base::Mended(patch), Some(what)));
            }
            Err(patched)
                if matches!(patched.problem, rdb::Problem::Io(_))
                    || is_of_another(&patched, Mend::Right) =>
            {
                return Err(patched.to_string());
            }
            Err(_) => {}
        }
    }
    let as_written = matches!(mended, Mend::Right);
    if as_written && is_of_another(&error, mended) {
        return Err(error.to_string());
    }
    let parts = parts_of(&mut open, length)?;
    // It's more likely another program's than damaged; or it's as it was written, and its program
    // may read it.
    if parts.is_empty() && (as_written || is_of_another(&error, mended)) {
        return Err(error.to_string());
    }
    let bytes: u64 = parts.iter().map(|part| part.end - part.start).sum();
    let right = if as_written { "can be read" } else { "are known to be right" };
    let what = format!("{error}; {bytes} of its {length} bytes {right}");
    Ok((Base::Parts(parts), Some(what)))
}

/// The stretches of a base that are right and can be read.
fn parts_of<R: io::Read>(
    mut open: impl FnMut(u64) -> io::Result<R>,
    length: u64,
) -> Result<Vec<Range<u64>>, String> {
    let mut parts = rdb::right_stretches(&mut open, length).map_err(|error| error.to_string())?;
    let mut failure = None;
    parts.retain(|part| match read_through(Stretches::new(&mut open, vec![part.clone()])) {
        Err(error)
            if matches!(error.problem, rdb::Problem::Io(_))
                || is_of_another(&error, Mend::Right) =>
        {
            failure.get_or_insert_with(|| error.to_string());
            false
        }
        read => read.is_ok(),
    });
    failure.map_or(Ok(parts), Err)
}

/// Whether a file can't be read since another program wrote it, or a later version. With a wrong
/// checksum any byte may be damage, and no type or tag says anything. Without one a type that isn't
/// kept says another program still; a byte with which nothing begins may be damage. A header that
/// can't be read is another's, as nobody knows then where its checksum is.
const fn is_of_another(error: &rdb::Error, sum: Mend) -> bool {
    use rdb::Problem::{ExtraTag, Kind, NotRdb, Unknown, Version};
    match error.problem {
        Version(_) | NotRdb => true,
        Kind { .. } => matches!(sum, Mend::Right | Mend::NoChecksum),
        ExtraTag(_) | Unknown(_) => matches!(sum, Mend::Right),
        _ => false,
    }
}

/// Loads what there is of a base.
fn load_base<'p>(
    node: &Node,
    began_ms: u64,
    base: &Base,
    mut open: impl FnMut(u64) -> io::Result<Counted<'p>>,
) -> Result<load::Found, String> {
    let patches = match base {
        Base::Whole | Base::Records(..) => Vec::new(),
        Base::Mended(patch) => vec![*patch],
        Base::Parts(parts) => {
            return load::rdb(node, Stretches::new(open, parts.clone()), began_ms);
        }
    };
    let file = open(0).map_err(|error| error.to_string())?;
    load::rdb(node, Patched::new(file, 0, patches), began_ms)
}

fn read_through(file: impl io::Read) -> Result<(), rdb::Error> {
    // A secret for values that nobody keeps.
    let mut reader = RdbReader::new(file, Others::Skip, [1, 2])?;
    while reader.next()?.is_some() {}
    reader.nothing_follows()
}

/// A file from any byte on.
fn from<'p>(
    path: &'p Path,
    progress: &'p Progress,
) -> impl FnMut(u64) -> io::Result<Counted<'p>> + use<'p> {
    move |at| {
        let file = progress.open(path)?;
        let mut place = file.file();
        place.seek(SeekFrom::Start(at))?;
        Ok(file)
    }
}

/// Copies files to a new folder beside what is damaged, to the disk; which one.
pub(super) fn set_aside(
    what: &Path,
    files: &[(PathBuf, u64)],
    now_s: u64,
) -> Result<PathBuf, String> {
    let failed = |copy: &Path, error: io::Error| {
        format!("nothing was changed: no copy can be made in {}: {error}", copy.display())
    };
    let named = |n: usize| {
        let number = if n == 0 { String::new() } else { format!(".{n}") };
        let mut name = what.as_os_str().to_owned();
        name.push(format!(".damaged-{now_s}{number}"));
        PathBuf::from(name)
    };
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let free = free_bytes(above(what)).map_err(|error| failed(above(what), error))?;
    if free < bytes {
        return Err(format!(
            "nothing was changed: a copy of what is damaged takes {bytes} bytes, and the disk has \
             {free} left"
        ));
    }
    let made = (0..COPIES_MAX).map(named).find_map(|copy| {
        match DirBuilder::new().mode(0o700).create(&copy) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
            made => Some((copy, made)),
        }
    });
    let (copy, made) = made.ok_or("nothing was changed: there are too many copies beside it")?;
    let copied = made.and_then(|()| copy_all(&copy, files));
    copied.map_err(|error| {
        // Half a copy is of no use to anybody; and what can't be removed does no harm.
        let _ = std::fs::remove_dir_all(&copy);
        failed(&copy, error)
    })?;
    say::warning(format_args!("what is damaged was copied to {}", copy.display()));
    Ok(copy)
}

fn copy_all(copy: &Path, files: &[(PathBuf, u64)]) -> io::Result<()> {
    for (path, _) in files {
        let to = copy.join(path.file_name().unwrap_or_default());
        std::fs::copy(path, &to)?;
        File::open(&to)?.sync_all()?;
    }
    File::open(copy)?.sync_all()?;
    File::open(above(copy))?.sync_all()
}

/// The folder that something is in.
fn above(path: &Path) -> &Path {
    path.parent().filter(|at| *at != "").unwrap_or_else(|| Path::new("."))
}

/// The files of a folder with their bytes, but what is being written and the lock.
pub(super) fn files_of(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        let name = entry.file_name();
        let passes = Folder::is_lock(&name) || name.to_str().is_some_and(is_temporary);
        if facts.is_file() && !passes {
            files.push((entry.path(), facts.len()));
        }
    }
    Ok(files)
}

/// Bytes that may still be written to the disk of a folder.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let facts = rustix::fs::statvfs(folder)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}
