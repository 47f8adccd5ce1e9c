//! The folder of the data files.
//!
//! What always holds: one process at a time writes in it; a file that is replaced is, after a
//! crash at any moment, either the old one or the new one, whole.

use rustix::fs::{FlockOperation, Mode, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the file whose lock says that the folder is in use.
const LOCK: &str = "sessile.lock";
/// What is written before the system is asked to take it.
const BUFFER: usize = 1 << 20;

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
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(what)?;
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
        Ok(Self { path: path.to_owned(), _lock: lock })
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
        let temporary = self.path.join(format!("temp-{}-{name}", std::process::id()));
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

    /// Cuts the torn end of a file off and keeps it beside it. Answers its bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub fn cut(&self, name: &str, at: u64) -> io::Result<u64> {
        let path = self.path.join(name);
        let bytes = std::fs::read(&path)?;
        let torn = bytes.get(at as usize..).unwrap_or_default();
        self.replace(&format!("{name}.torn"), |out| out.write_all(torn))?;
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(at)?;
        file.sync_all()?;
        Ok(torn.len() as u64)
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
        Folder::take(&path).unwrap();
    }
}
