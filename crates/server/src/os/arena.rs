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

/// The size of a huge page: mappings begin and end at multiples of it.
pub const GRAIN: usize = 2 << 20;

/// Linux 6.1 and later; rustix has no name for it.
const MADV_COLLAPSE: std::ffi::c_int = 25;

unsafe extern "C" {
    /// The C library's own, which the standard library links anyway.
    fn madvise(at: *mut std::ffi::c_void, len: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
}

/// Reserves addresses without memory.
fn reserve(len: usize) -> io::Result<NonNull<u8>> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a fresh range chosen by the kernel; nothing can be read or written there.
    let at = unsafe {
        rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::empty(), flags)?
    };
    NonNull::new(at.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

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
        let len = len.max(1).checked_next_multiple_of(GRAIN).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(name, flags)?;
        rustix::fs::ftruncate(&file, len as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let sharing = MapFlags::SHARED | MapFlags::NORESERVE;
        let spare = reserve(len + GRAIN)?;
        let skip = spare.as_ptr().align_offset(GRAIN);
        // SAFETY: inside the address range that was just reserved and that nobody else knows; the
        // new mapping replaces that part of it and aliases no Rust object.
        let at = unsafe {
            let aligned = spare.as_ptr().add(skip).cast();
            rustix::mm::mmap(aligned, len, protection, sharing | MapFlags::FIXED, &file, 0)?
        };
        let base = NonNull::new(at.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len, file })
    }

    /// Asks the system for all pages of `range` (byte offsets, page-aligned) at once, which costs
    /// half of what touching them one by one does. A system that can't just brings them later.
    pub fn populate(&self, range: Range<usize>) {
        self.advise(range, |at, len| {
            // SAFETY: inside the mapping; the advice changes no byte.
            unsafe { rustix::mm::madvise(at, len, rustix::mm::Advice::LinuxPopulateWrite).is_ok() }
        });
    }

    /// Makes the 2 MiB of `range`, all of whose pages are there, one huge page, whose address the
    /// processor remembers in one entry instead of 512. Whether the system did.
    pub fn join(&self, range: Range<usize>) -> bool {
        self.advise(range, |at, len| {
            // SAFETY: inside the mapping; the advice changes where bytes are, not what they are.
            unsafe { madvise(at, len, MADV_COLLAPSE) == 0 }
        })
    }

    fn advise(
        &self,
        range: Range<usize>,
        advise: impl FnOnce(*mut std::ffi::c_void, usize) -> bool,
    ) -> bool {
        if range.start >= range.end || range.end > self.len {
            return false;
        }
        // SAFETY: the offset is inside the mapping.
        let at = unsafe { self.base.as_ptr().add(range.start) };
        advise(at.cast(), range.end - range.start)
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
