//! A sink with the faults of a disk, for tests.
//!
//! What always holds: what was synced without an error stays; of what was written since, a power
//! loss leaves as much as the test wants.
//! Not for: production.

use std::io::{self, ErrorKind, Write};

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The most bytes that one write takes; 0 for all.
    pub most_per_write: usize,
    /// After so many bytes the disk is full.
    pub full_after: Option<usize>,
    /// A write that would pass this many bytes fails (EIO), once; nothing of it is kept.
    pub error_at: Option<usize>,
    /// The next syncs that fail.
    pub failing_syncs: usize,
}

/// Where bytes go, until something goes wrong.
#[derive(Clone, Debug, Default)]
pub struct FaultySink {
    bytes: Vec<u8>,
    synced: usize,
    /// What will go wrong from now on.
    pub faults: Faults,
}

impl FaultySink {
    /// An empty sink.
    pub fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// Makes what was written last.
    ///
    /// # Errors
    /// As often as [`Faults::failing_syncs`] says; what wasn't synced may then be lost, even
    /// if the next sync succeeds.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.faults.failing_syncs > 0 {
            self.faults.failing_syncs -= 1;
            return Err(io::Error::other("injected: sync failed"));
        }
        self.synced = self.bytes.len();
        Ok(())
    }

    /// All bytes that were written: what the process would read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes are safe.
    pub const fn synced(&self) -> usize {
        self.synced
    }

    /// What is there after a power loss that kept `kept` bytes of those that weren't synced.
    pub fn after_power_loss(&self, kept: usize) -> &[u8] {
        let end = self.synced.saturating_add(kept).min(self.bytes.len());
        self.bytes.get(..end).unwrap_or_default()
    }
}

impl Write for FaultySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut most = bytes.len();
        if self.faults.most_per_write > 0 {
            most = most.min(self.faults.most_per_write);
        }
        if self.faults.error_at.is_some_and(|at| self.bytes.len() + most > at) {
            self.faults.error_at = None;
            return Err(io::Error::other("injected: write failed"));
        }
        if let Some(full) = self.faults.full_after {
            most = most.min(full.saturating_sub(self.bytes.len()));
            if most == 0 && !bytes.is_empty() {
                return Err(ErrorKind::StorageFull.into());
            }
        }
        self.bytes.extend_from_slice(bytes.get(..most).unwrap_or_default());
        Ok(most)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_where_they_are_set() {
        let mut sink =
            FaultySink::new(Faults { most_per_write: 3, full_after: Some(8), ..Faults::default() });
        sink.write_all(b"abcde").unwrap();
        sink.sync().unwrap();
        assert_eq!(sink.write_all(b"fghij").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!((sink.bytes(), sink.synced()), (&b"abcdefgh"[..], 5));
        assert_eq!(sink.after_power_loss(2), b"abcdefg");
        let mut sink =
            FaultySink::new(Faults { error_at: Some(4), failing_syncs: 1, ..Faults::default() });
        sink.write_all(b"abcd").unwrap();
        assert!(sink.sync().is_err() && sink.write_all(b"e").is_err());
        assert!(sink.sync().is_ok() && sink.write_all(b"e").is_ok());
    }
}
