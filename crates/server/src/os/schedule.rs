//! How urgently a thread wants the processor.
//!
//! Work that nobody waits for (snapshots, rewrites, huge pages) says so to the scheduler: it comes
//! after others when both want to run, it's interrupted at once by a thread that wakes up, and it
//! interrupts nobody. All of that without rights. What always holds: a system that doesn't know
//! the call, or forbids it, leaves the thread slower or more in the way, never broken.

use std::ffi::{c_int, c_long, c_uint};

/// Less weight than others have: about a third of the processor beside one that is always busy.
const NICE: i32 = 5;
/// Linux's policy for work that shouldn't interrupt others when it wakes up.
const SCHED_BATCH: u32 = 3;
/// The longest time slice that Linux grants. Since 6.12 whoever wakes up with a shorter one doesn't
/// have to wait for the end of this one; before it, this is ignored.
const SLICE_NS: u64 = 100_000_000;

/// Lets other threads go first. Of the calling thread alone.
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

/// The call's number; the C library of Debian 12 has no function for it.
#[cfg(target_arch = "x86_64")]
const SCHED_SETATTR: Option<c_long> = Some(314);
#[cfg(target_arch = "aarch64")]
const SCHED_SETATTR: Option<c_long> = Some(274);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SCHED_SETATTR: Option<c_long> = None;

unsafe extern "C" {
    /// The C library's own, which the standard library links anyway.
    fn syscall(number: c_long, ...) -> c_long;
}

/// Asks the kernel for `attributes` for the calling thread. Whether it agreed.
fn set(attributes: &Attributes) -> bool {
    const SELF: c_int = 0;
    const NO_FLAGS: c_uint = 0;
    let Some(number) = SCHED_SETATTR else { return false };
    // SAFETY: the kernel reads `size` bytes behind the pointer, which are the struct's, and keeps
    // nothing of it.
    unsafe { syscall(number, SELF, std::ptr::from_ref(attributes), NO_FLAGS) == 0 }
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
