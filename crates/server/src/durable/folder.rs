//! The folder of the data files.
//!
//! What always holds: one process at a time writes in it; a file that is replaced is, after a
//! crash at any moment, either the old one or the new one, whole.

use rustix::fs::{FlockOperation, Mode, flock};
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the file whose lock says that the folder is in use.
const LOCK: &str = "sessile.lock";
/// How the names of files begin that are being written.
const TEMPORARY: &str = "temp-";
/// Torn ends that are kept of one file.
const TORN_MAX: usize = 1000;
/// What is written before the system is asked to take it.
const BUFFER: usize = 1 << 20;

/// Whether a file has a name that [`Folder::replace`] gives while it writes: `temp-PID-NAME`.
pub fn is_temporary(name: &str) -> bool {
    let of_process = name.strip_prefix(TEMPORARY).and_then(|rest| rest.split_once('-'));
    of_process.is_some_and(|(pid, _)| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()))
}

/// A folder that belongs to this process.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held until the process ends, however it does.
    _lock: File,
}

impl Folder {
    /// Takes a folder, which is made if it isn't there.
    ///
    /// # Errors
    /// A sentence: it can't be made, or another process uses it.
    pub fn take(path: &Path) -> Result<Self, String> {
        let what = |error: io::Error| {
            format!("can't use the folder {} (see 'dir'): {error}", path.display())
        };
        make(path).map_err(what)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(Mode::from_raw_mode(0o600).bits())
            .open(path.join(LOCK))
            .map_err(what)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let whose = std::fs::read_to_string(path.join(LOCK)).unwrap_or_default();
            return Err(format!(
                "the folder {} is in use by another server (PID {}); 'dir' names another",
                path.display(),
                whose.trim()
            ));
        }
        lock.set_len(0).map_err(what)?;
        writeln!(&lock, "{}", std::process::id()).map_err(what)?;
        let folder = Self { path: path.to_owned(), _lock: lock };
        // A process that was killed left them, and nobody else may be writing them.
        folder.remove(is_temporary).map_err(what)?;
        Ok(folder)
    }

    /// Removes files by their names.
    ///
    /// # Errors
    /// Those of the system; a file that can't be removed stays.
    pub fn remove(&self, is_old: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let is_file = entry.file_type()?.is_file();
            if is_file && entry.file_name().to_str().is_some_and(&is_old) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a file of that name is the lock of a folder.
    pub fn is_lock(name: &OsStr) -> bool {
        name == LOCK
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts what `write` writes in the place of a file, once all of it is on the disk. Answers the
    /// bytes.
    ///
    /// # Errors
    /// Those of the system, and of `write`; the old file is as it was then.
    pub fn replace(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<u64> {
        let temporary = self.path.join(format!("{TEMPORARY}{}-{name}", std::process::id()));
        let written = self.write_file(&temporary, write);
        let moved = written.and_then(|bytes| {
            std::fs::rename(&temporary, self.path.join(name))?;
            self.sync()?;
            Ok(bytes)
        });
        if moved.is_err() {
            // It may not be there; and what can't be removed does no harm.
            let _ = std::fs::remove_file(&temporary);
        }
        moved
    }

    /// Cuts the torn end of a file off and keeps it beside it, with those that were cut before.
    /// Answers its bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub fn cut(&self, name: &str, at: u64) -> io::Result<u64> {
        let path = self.path.join(name);
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        file.seek(SeekFrom::Start(at))?;
        let names = std::iter::once(String::new()).chain((2..TORN_MAX).map(|n| format!(".{n}")));
        let mut names = names.map(|number| format!("{name}.torn{number}"));
        let free = names.find(|name| !self.path.join(name).exists());
        let free = free.ok_or_else(|| io::Error::other("too many torn ends beside it"))?;
        let torn = self.replace(&free, |out| io::copy(&mut file, out).map(drop))?;
        file.set_len(at)?;
        file.sync_all()?;
        Ok(torn)
    }

    /// Makes sure that names that were given or taken away stay so.
    ///
    /// # Errors
    /// Those of the system.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn write_file(
        &self,
        path: &Path,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<u64> {
        let file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        let mut out = BufWriter::with_capacity(BUFFER, file);
        write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

/// Makes a folder and those above it, so that they stay.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or_else(|| Path::new("."));
    make(above)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    File::open(above)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_and_files_are_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/data");
        let folder = Folder::take(&path).unwrap();
        let second = Folder::take(&path).unwrap_err();
        assert!(second.contains(&format!("in use by another server (PID {}", std::process::id())));
        assert_eq!(folder.replace("x", |out| out.write_all(b"one")).unwrap(), 3);
        let failed = folder.replace("x", |out| {
            out.write_all(b"half of")?;
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(folder.file("x")).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2, "the lock and the file");
        drop(folder);
        // What a killed process was writing goes; what somebody else put there stays.
        for name in ["temp-1-x", "temperature", "temp-1.rdb", "temp-a-x", "x.torn"] {
            std::fs::write(path.join(name), b"part of").unwrap();
        }
        let folder = Folder::take(&path).unwrap();
        assert!(!folder.file("temp-1-x").exists());
        for name in ["temperature", "temp-1.rdb", "temp-a-x"] {
            assert!(folder.file(name).exists(), "{name} is somebody else's");
        }
        // A torn end takes no other one's place.
        assert_eq!(folder.cut("x", 1).unwrap(), 2);
        assert_eq!(std::fs::read(folder.file("x.torn")).unwrap(), b"part of");
        assert_eq!(std::fs::read(folder.file("x.torn.2")).unwrap(), b"ne");
    }

    #[test]
    fn a_torn_end_is_cut_whatever_is_before_it() {
        // More than there is memory for, nearly all of it a hole.
        const LARGE: u64 = 1 << 40;
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::take(root.path()).unwrap();
        let file = File::create(folder.file("x")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"torn", LARGE).unwrap();
        assert_eq!(folder.cut("x", LARGE).unwrap(), 4);
        assert_eq!(file.metadata().unwrap().len(), LARGE);
        assert_eq!(std::fs::read(folder.file("x.torn")).unwrap(), b"torn");
    }
}
