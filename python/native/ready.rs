//! Waiting for what comes at once, without going to sleep for it; `sessile.busy` says why.
//!
//! What always holds: nobody waits for the interpreter meanwhile, and whoever wants the processor
//! gets it in between; nothing is taken from the socket, so that whoever reads it next finds what
//! came, its end, or its error.
//! Not for: waiting longer, and timeouts.

use pyo3::prelude::*;

/// The microseconds until something was to be read from a socket, be it its end or an error; `None`
/// if there was nothing after `micros`. It's more than that where others had the processor.
#[pyfunction]
pub(crate) fn ready_after(py: Python<'_>, fd: i32, micros: u32) -> Option<u64> {
    if fd < 0 {
        return None;
    }
    py.detach(|| ask(fd, micros))
}

#[cfg(target_os = "linux")]
fn ask(fd: i32, micros: u32) -> Option<u64> {
    use rustix::fd::BorrowedFd;
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};
    use std::thread::yield_now;
    use std::time::{Duration, Instant};

    // SAFETY: the caller holds the Python socket whose number this is until `ready_after` returns; if
    // it's closed all the same, the kernel says EBADF, or looks at what has its number by then.
    #[expect(unsafe_code, reason = "Python names an open file by its number")]
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let (begun, most) = (Instant::now(), Duration::from_micros(micros.into()));
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    loop {
        match recv(socket, &mut [0_u8; 1], flags) {
            Err(Errno::AGAIN) if begun.elapsed() < most => yield_now(),
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Ok(_) | Err(_) => return u64::try_from(begun.elapsed().as_micros()).ok(),
        }
    }
}

/// Elsewhere sockets have their timeouts from Python, and whoever asks is told to sleep.
#[cfg(not(target_os = "linux"))]
const fn ask(_: i32, _: u32) -> Option<u64> {
    None
}
