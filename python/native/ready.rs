//! Sending a request and waiting for what comes at once, without going to sleep for it;
//! `sessile.busy` says why.
//!
//! What always holds: nobody waits for the interpreter meanwhile, and whoever wants the processor
//! gets it in between; what was taken from the socket is answered, be it nothing at its end; an error
//! of the socket is an OSError with its number.
//! Not for: waiting longer, timeouts, and requests that don't go out at once.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// How many bytes were sent; after how many microseconds something came, more than were asked for
/// where others had the processor; and what.
type Exchange<T> = (usize, Option<u64>, Option<T>);

/// Sends a request, and takes what comes within `micros` microseconds if all was sent. Nobody else
/// uses or closes the socket meanwhile. Raises OSError.
#[pyfunction]
pub(crate) fn exchange<'py>(
    py: Python<'py>,
    fd: i32,
    request: &[u8],
    micros: u32,
) -> PyResult<Exchange<Bound<'py, PyBytes>>> {
    let found = py.detach(|| exchanged(fd, request, micros));
    let (sent, took, came) = found.map_err(|error| {
        // With a number it becomes the exception that Python has for that.
        PyOSError::new_err((error.raw_os_error(), error.to_string()))
    })?;
    Ok((sent, took, came.map(|bytes| PyBytes::new(py, &bytes))))
}

/// The microseconds until something was to be read from a socket, be it its end or an error; `None`
/// if there was nothing after `micros`. Nothing is taken: what is encrypted is read elsewhere.
#[pyfunction]
pub(crate) fn ready_after(py: Python<'_>, fd: i32, micros: u32) -> Option<u64> {
    py.detach(|| ready(fd, micros))
}

#[cfg(target_os = "linux")]
use linux::{exchanged, ready};

#[cfg(target_os = "linux")]
mod linux {
    use super::Exchange;
    use crate::limits::CHUNK;
    use rustix::buffer::spare_capacity;
    use rustix::fd::BorrowedFd;
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, SendFlags, recv, send};
    use std::io;
    use std::thread::yield_now;
    use std::time::{Duration, Instant};

    pub(super) fn exchanged(fd: i32, request: &[u8], micros: u32) -> io::Result<Exchange<Vec<u8>>> {
        let socket = socket(fd).ok_or(Errno::BADF)?;
        let sent = match send(socket, request, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        if sent < request.len() {
            return Ok((sent, None, None));
        }
        let mut bytes = Vec::with_capacity(CHUNK);
        let look = || recv(socket, spare_capacity(&mut bytes), RecvFlags::DONTWAIT);
        let Some((took, found)) = within(micros, look) else { return Ok((sent, None, None)) };
        found?;
        Ok((sent, Some(took), Some(bytes)))
    }

    pub(super) fn ready(fd: i32, micros: u32) -> Option<u64> {
        let socket = socket(fd)?;
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        within(micros, || recv(socket, &mut [0_u8; 1], flags)).map(|(took, _)| took)
    }

    fn socket<'a>(fd: i32) -> Option<BorrowedFd<'a>> {
        if fd < 0 {
            return None;
        }
        // SAFETY: the socket is open until we return: a connection belongs to one thread while it
        // exchanges, and the pools close only idle ones (`sessile.pool`, `sessile.redis_pool`). Were
        // it closed all the same, its number might be another's, which is what the kernel would use.
        #[expect(unsafe_code, reason = "Python names an open file by its number")]
        Some(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// What `look` finds and after how many microseconds, if it's there in time.
    fn within<T>(
        micros: u32,
        mut look: impl FnMut() -> Result<T, Errno>,
    ) -> Option<(u64, Result<T, Errno>)> {
        let (begun, most) = (Instant::now(), Duration::from_micros(micros.into()));
        loop {
            match look() {
                Err(Errno::AGAIN) if begun.elapsed() < most => yield_now(),
                Err(Errno::AGAIN | Errno::INTR) => return None,
                found => {
                    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                    return Some((took, found));
                }
            }
        }
    }
}

/// Elsewhere sockets have their timeouts from Python, and `sessile.busy` doesn't call this.
#[cfg(not(target_os = "linux"))]
const fn exchanged(_: i32, _: &[u8], _: u32) -> std::io::Result<Exchange<Vec<u8>>> {
    Ok((0, None, None))
}

#[cfg(not(target_os = "linux"))]
const fn ready(_: i32, _: u32) -> Option<u64> {
    None
}
