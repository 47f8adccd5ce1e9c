//! The system's allocator, counted.
//!
//! What the process has on its heap is part of `maxmemory`, so it must be known at any time without
//! asking the allocator. Each thread counts for itself and adds to the global count once it differs
//! by 64 KiB: the count is off by at most that much per thread, and nobody fights for a cache line.
//!
//! What was freed stays with the allocator, which may use it again or never: after a few large
//! hashes were deleted, that is more than the cap. So somebody calls [`give_back`] now and then, and
//! what even that leaves behind counts as used.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::machine;

/// Bytes a thread may be ahead of the global count.
const STEP: i64 = 64 << 10;

/// Bytes that the allocator may keep, code and stacks included, before it's asked to give back.
const KEPT: u64 = 16 << 20;
/// Larger allocations are mappings of their own, which go when they are freed.
const OWN_MAPPING: i32 = 1 << 20;

/// Bytes beyond [`KEPT`] that the allocator had left when it was last asked.
static STUCK: AtomicU64 = AtomicU64::new(0);
/// Bytes in use then.
static USED_THEN: AtomicU64 = AtomicU64::new(0);
static TOTAL: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// Bytes allocated and not freed, over all threads.
pub fn used() -> u64 {
    u64::try_from(TOTAL.load(Ordering::Relaxed)).unwrap_or(0)
}

/// As [`used`], with what the allocator keeps beyond a small allowance.
pub fn held() -> u64 {
    used().saturating_add(STUCK.load(Ordering::Relaxed))
}

/// Tells the allocator how to work; before any other thread runs.
pub fn prepare() {
    system::map_from(OWN_MAPPING);
}

/// Has the allocator give back what it keeps, if that has become much; whether it was asked. It
/// may hold the threads up for milliseconds that allocate meanwhile.
pub fn give_back() -> bool {
    let kept = || Some(machine::private()?.saturating_sub(used()).saturating_sub(KEPT));
    let before = kept().unwrap_or(0);
    // What is stuck, a page here and a page there, stays so until much more has been freed around
    // it: asking again and again is of no use.
    let known = STUCK.load(Ordering::Relaxed);
    let freed = USED_THEN.load(Ordering::Relaxed).saturating_sub(used());
    let worth = before > 0 && (known == 0 || before > known + KEPT || freed > KEPT / 4);
    if worth {
        USED_THEN.store(used(), Ordering::Relaxed);
        system::trim();
    }
    let after = if worth { kept().unwrap_or(0) } else { before.min(known) };
    STUCK.store(after, Ordering::Relaxed);
    worth
}

/// What glibc has beyond the standard. Other libraries do without.
#[cfg(target_env = "gnu")]
mod system {
    unsafe extern "C" {
        /// Gives free memory back to the system but for `keep` bytes; safe to call at any time.
        safe fn malloc_trim(keep: usize) -> i32;
        /// Sets a parameter of the allocator; unknown ones and values are refused.
        safe fn mallopt(parameter: i32, value: i32) -> i32;
    }

    /// The size from which an allocation is a mapping of its own. Unset, it grows with use.
    const M_MMAP_THRESHOLD: i32 = -3;

    pub(super) fn trim() {
        malloc_trim(0);
    }

    pub(super) fn map_from(bytes: i32) {
        mallopt(M_MMAP_THRESHOLD, bytes);
    }
}

#[cfg(not(target_env = "gnu"))]
mod system {
    pub(super) const fn trim() {}
    pub(super) const fn map_from(_: i32) {}
}

/// The counting allocator; the binary makes it the global one.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every method hands its arguments unchanged to `System` and returns what that returned;
// counting touches no allocated byte and cannot allocate (a constant thread-local without a drop).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let at = unsafe { System.alloc(layout) };
        if !at.is_null() {
            count(signed(layout.size()));
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) };
        count(-signed(layout.size()));
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let at = unsafe { System.alloc_zeroed(layout) };
        if !at.is_null() {
            count(signed(layout.size()));
        }
        at
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { System.realloc(at, layout, size) };
        if !moved.is_null() {
            count(signed(size) - signed(layout.size()));
        }
        moved
    }
}

fn count(change: i64) {
    // A thread that is being torn down has no counter left; its last frees go straight to the total.
    let counted = AHEAD.try_with(|ahead| {
        let sum = ahead.get().wrapping_add(change);
        if sum.unsigned_abs() >= STEP.unsigned_abs() {
            ahead.set(0);
            TOTAL.fetch_add(sum, Ordering::Relaxed);
        } else {
            ahead.set(sum);
        }
    });
    if counted.is_err() {
        TOTAL.fetch_add(change, Ordering::Relaxed);
    }
}

/// No allocation is larger than `isize::MAX`.
fn signed(size: usize) -> i64 {
    size as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_held() {
        let layout = Layout::from_size_align(32 << 20, 8).unwrap();
        let before = used();
        // SAFETY: allocated and freed with the same layout, never read.
        let at = unsafe { Counting.alloc(layout) };
        assert!(used() >= before + (31 << 20), "{} then {}", before, used());
        // SAFETY: as above.
        unsafe { Counting.dealloc(at, layout) };
        assert!(used() < before + (1 << 20));
    }
}
