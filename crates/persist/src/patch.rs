//! Bytes of a file that are put in their place while it's read.
//!
//! What always holds: the file itself is left as it is.

use std::io::{self, Read};

/// A byte that isn't what it has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Bytes of the file before it.
    pub at: u64,
    /// What it has to be XORed with.
    pub mask: u8,
}

/// A file with some bytes put in their place.
#[derive(Debug)]
pub struct Patched<R> {
    inner: R,
    at: u64,
    patches: Vec<Patch>,
}

impl<R> Patched<R> {
    /// A file that is read from byte `at` on, where `inner` stands.
    pub const fn new(inner: R, at: u64, patches: Vec<Patch>) -> Self {
        Self { inner, at, patches }
    }
}

impl<R: Read> Read for Patched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        let read = into.get_mut(..count).unwrap_or_default();
        for patch in &self.patches {
            let place = patch.at.checked_sub(self.at).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = place.and_then(|at| read.get_mut(at)) {
                *byte ^= patch.mask;
            }
        }
        self.at += count as u64;
        Ok(count)
    }
}
