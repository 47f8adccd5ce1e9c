//! How far loading has come, and the word to stop it.
//!
//! What always holds: whoever asks waits for nothing; a load that was told to stop ends with its
//! next read, with an error, and is never taken for one that came to its end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a load has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HowFar {
    /// When it began, Unix milliseconds.
    pub began_ms: u64,
    /// Bytes of all files.
    pub total: u64,
    /// Bytes that were read.
    pub read: u64,
}

impl HowFar {
    /// Hundredths that were read.
    pub fn percent(&self) -> f64 {
        self.read.min(self.total) as f64 * 100.0 / self.total.max(1) as f64
    }

    /// Seconds until the end, if it goes on as it did.
    pub fn seconds_left(&self, now_ms: u64) -> u64 {
        let took = now_ms.saturating_sub(self.began_ms);
        let left = self.total.saturating_sub(self.read);
        let all = u128::from(took) * u128::from(left) / u128::from(self.read.max(1));
        u64::try_from(all / 1000).unwrap_or(u64::MAX)
    }
}

/// The same while it changes.
#[derive(Debug, Default)]
pub struct Progress {
    began_ms: AtomicU64,
    total: AtomicU64,
    read: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// That a load begins at that time (Unix milliseconds).
    pub fn begin(&self, now_ms: u64) {
        self.began_ms.store(now_ms, Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
        self.read.store(0, Ordering::Relaxed);
    }

    /// That there is one more file to read.
    pub fn expect(&self, path: &Path) {
        let bytes = std::fs::metadata(path).map_or(0, |facts| facts.len());
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Opens a file whose bytes count.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(&self, path: &Path) -> io::Result<Counted<'_>> {
        Ok(Counted { file: File::open(path)?, progress: self })
    }

    /// Ends the load with its next read.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether it was told to.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// How it stands.
    pub fn now(&self) -> HowFar {
        HowFar {
            began_ms: self.began_ms.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            read: self.read.load(Ordering::Relaxed),
        }
    }
}

/// A file whose bytes are counted as they are read.
#[derive(Debug)]
pub struct Counted<'p> {
    file: File,
    progress: &'p Progress,
}

impl Counted<'_> {
    /// The file.
    pub const fn file(&self) -> &File {
        &self.file
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_stopped() {
            return Err(io::Error::other("the server was told to end"));
        }
        let read = self.file.read(into)?;
        self.progress.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_until_it_is_told_to_stop() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        std::fs::write(&path, [7; 1000]).unwrap();
        let progress = Progress::default();
        progress.begin(5_000);
        progress.expect(&path);
        progress.expect(&root.path().join("nothing"));
        let mut file = progress.open(&path).unwrap();
        file.read_exact(&mut [0; 250]).unwrap();
        let now = progress.now();
        assert_eq!(now, HowFar { began_ms: 5_000, total: 1_000, read: 250 });
        assert!((now.percent() - 25.0).abs() < 1e-9);
        assert_eq!((now.seconds_left(7_000), HowFar::default().seconds_left(9)), (6, 0));
        progress.stop();
        assert!(file.read(&mut [0]).unwrap_err().to_string().contains("told to end"));
        assert_eq!(progress.now(), now);
    }
}
