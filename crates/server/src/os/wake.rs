//! An eventfd: wakes a thread that sleeps in its epoll set.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;

/// A wake-up that can be rung from any thread; ringing twice before it is heard wakes once.
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// A silent wake-up.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(rustix::event::eventfd(0, flags)?))
    }

    /// Wakes the sleeper. Never blocks: a full counter means that it is being woken already.
    pub fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Silences it again; call before reading what the ringer left behind.
    pub fn hear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
