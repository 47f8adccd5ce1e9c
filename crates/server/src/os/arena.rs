//! The one memory mapping that all segments come from.
//!
//! A sparse memory file, sized once and mapped once, sealed against growing and shrinking, so that
//! nobody who holds its descriptor can make a mapped page vanish. Pages cost memory from the first
//! touch until they are punched out. It is not sealed against writing: that seal would also refuse
//! punching, and a reader in another process gets a descriptor opened read-only instead.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// A shared, writable mapping of a sealed memory file; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    file: OwnedFd,
}

// SAFETY: the mapping is plain memory that stays where it is until the drop; whoever dereferences
// the pointer (the engine's arena) is the one that has to order its accesses.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing behind `&self` touches the mapped bytes except punching whole pages,
// which the kernel makes atomic towards other threads' loads and stores.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Creates a mapping of `len` bytes (rounded up to 2 MiB, so that huge pages stay possible).
    pub fn create(name: &str, len: usize) -> io::Result<Self> {
        const GRAIN: usize = 2 << 20;
        let len = len.max(1).checked_next_multiple_of(GRAIN).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(name, flags)?;
        rustix::fs::ftruncate(&file, len as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let sharing = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a fresh address range chosen by the kernel; it aliases no Rust object.
        let at =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, sharing, &file, 0)? };
        let base = NonNull::new(at.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len, file })
    }

    /// Where the mapping begins; page-aligned.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Mapped bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is mapped; never true.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the pages of `range` (byte offsets, page-aligned) back to the system; they read as zero
    /// afterwards and cost memory again once touched.
    pub fn punch(&self, range: Range<usize>) -> io::Result<()> {
        if range.start >= range.end || range.end > self.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let (offset, len) = (range.start as u64, (range.end - range.start) as u64);
        Ok(rustix::fs::fallocate(&self.file, flags, offset, len)?)
    }

    /// The file behind the mapping.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly the one mapped in `create`, and no borrow of it outlives self.
        // A failure to unmap at the very end leaves nothing to do.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punched_pages_read_as_zero_and_cost_nothing() {
        let map = Mapping::create("test", 8 << 20).unwrap();
        let blocks = || rustix::fs::fstat(map.file()).unwrap().st_blocks;
        assert_eq!(blocks(), 0, "sparse at first");
        // SAFETY: inside the mapping, and this test is its only user.
        unsafe { map.base().as_ptr().write_bytes(7, 1 << 20) };
        assert_eq!(blocks() * 512, 1 << 20);
        map.punch(0..1 << 20).unwrap();
        assert_eq!(blocks(), 0);
        // SAFETY: as above.
        assert_eq!(unsafe { map.base().as_ptr().add(5).read() }, 0);
        assert!(map.punch(0..(8 << 20) + 4096).is_err(), "beyond the end");
    }

    #[test]
    fn its_size_is_sealed() {
        let map = Mapping::create("test", 2 << 20).unwrap();
        assert!(rustix::fs::ftruncate(map.file(), 1 << 20).is_err());
        assert!(rustix::fs::ftruncate(map.file(), 4 << 20).is_err());
    }
}
