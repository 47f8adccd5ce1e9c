//! How urgently a thread wants the processor.
//!
//! Work that nobody waits for (snapshots, rewrites, huge pages) says so to the scheduler: it comes
//! after others when both want to run, it's interrupted at once by a thread that wakes up, and it
//! interrupts nobody. All of that without rights. What always holds: a system that doesn't know
//! the call, or forbids it, leaves the thread slower or more in the way, never broken.

use std::ffi::{c_int, c_long, c_uint};
use std::sync::atomic::{AtomicBool, Ordering};

/// Less weight than others have: about a third of the processor beside one that is always busy.
const NICE: i32 = 5;
/// Linux's policy for work that shouldn't interrupt others when it wakes up.
const SCHED_BATCH: u32 = 3;
/// A time slice that is a little longer than the one that all have, 3 ms at most. Since Linux 6.12
/// whoever wakes up with a shorter one doesn't have to wait for the end of this one. Not longer than
/// it need be, since who was running already does wait.
const SLICE_NS: u64 = 4_000_000;

/// Whether modest threads are interrupted at once by whoever wakes up: what the system said last.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets other threads go first: the calling thread, and those that it starts from now on.
pub fn be_modest() {
    let asked = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: SCHED_BATCH,
        nice: NICE,
        runtime: SLICE_NS,
        ..Attributes::default()
    };
    if !set(&asked) {
        let _ = rustix::process::nice(NICE);
    }
    INTERRUPTED.store(slice() == Some(SLICE_NS), Ordering::Relaxed);
}

/// Between two steps of modest work: where whoever wakes up has to wait for the end of a time slice,
/// this is one. Where it hasn't, yielding would only give away what is left of one's own, and beside
/// a busy thread that is nearly all.
pub fn let_others_go() {
    if !INTERRUPTED.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
}

/// The kernel's `struct sched_attr` in its first form: sched_setattr(2).
///
/// ```text
/// | size | policy | flags | nice | priority | runtime | deadline | period |
///   4      4        8       4      4          8         8          8        bytes
/// ```
#[repr(C)]
#[derive(Debug, Default, PartialEq, Eq)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const _: () = assert!(size_of::<Attributes>() == 48);

/// The numbers of sched_setattr and sched_getattr; the C library of Debian 12 has no functions.
#[cfg(target_arch = "x86_64")]
const NUMBERS: Option<(c_long, c_long)> = Some((314, 315));
#[cfg(target_arch = "aarch64")]
const NUMBERS: Option<(c_long, c_long)> = Some((274, 275));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NUMBERS: Option<(c_long, c_long)> = None;

/// The calling thread.
const SELF: c_int = 0;
const NO_FLAGS: c_uint = 0;

unsafe extern "C" {
    /// The C library's own, which the standard library links anyway.
    fn syscall(number: c_long, ...) -> c_long;
}

/// Asks the kernel for `attributes` for the calling thread. Whether it agreed.
fn set(attributes: &Attributes) -> bool {
    let Some((number, _)) = NUMBERS else { return false };
    // SAFETY: the kernel reads `size` bytes behind the pointer, which are the struct's, and keeps
    // nothing of it.
    unsafe { syscall(number, SELF, std::ptr::from_ref(attributes), NO_FLAGS) == 0 }
}

/// The calling thread's time slice, nanoseconds; 0 from a kernel that grants none of one's own.
fn slice() -> Option<u64> {
    let (_, number) = NUMBERS?;
    let mut told = Attributes::default();
    let (at, size) = (std::ptr::from_mut(&mut told), size_of::<Attributes>() as c_uint);
    // SAFETY: the kernel writes at most `size` bytes behind the pointer, which are the struct's;
    // each of them is a number, for which any value is right.
    let done = unsafe { syscall(number, SELF, at, size, NO_FLAGS) == 0 };
    done.then_some(told.runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modest_thread_has_less_weight_and_its_neighbours_are_as_they_were() {
        let fields = || {
            let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The second field is the name in parentheses; nice and policy are the 19th and 41st.
            let rest = text.rsplit_once(')').unwrap().1;
            let fields: Vec<i64> =
                rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
            (fields[19 - 4], fields[41 - 4])
        };
        let before = fields();
        let modest = std::thread::spawn(move || {
            be_modest();
            fields()
        });
        assert_eq!(modest.join().unwrap(), (i64::from(NICE), i64::from(SCHED_BATCH)));
        assert_eq!(fields(), before);
    }
}
