//! An epoll set, level-triggered.
//!
//! Every descriptor is registered under a token that comes back with its events. What the set holds
//! is the caller's business: a descriptor leaves it when it is closed.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Which readiness a descriptor is watched for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Bytes to read, or a connection to accept.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Reading only: what an idle connection waits for.
    pub const READ: Self = Self { read: true, write: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// What one descriptor is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The token it was registered under.
    pub token: u64,
    /// Reading will not block.
    pub read: bool,
    /// Writing will not block.
    pub write: bool,
    /// The peer is gone in both directions or the socket failed; reported whatever the interest is.
    pub gone: bool,
}

/// The set, and room for the events of one wait.
pub struct Poll {
    set: OwnedFd,
    events: Vec<Event>,
    filled: usize,
}

// SAFETY: the events hold a union that could be a pointer; here it is always the integer token.
unsafe impl Send for Poll {}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poll").field("set", &self.set).finish_non_exhaustive()
    }
}

impl Poll {
    /// An empty set that reports up to `batch` events per wait.
    pub fn new(batch: usize) -> io::Result<Self> {
        let blank = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { set, events: vec![blank; batch.max(1)], filled: 0 })
    }

    /// Watches `fd` under `token`.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.set, fd, EventData::new_u64(token), interest.flags())?)
    }

    /// Watches `fd` for something else from now on.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.set, fd, EventData::new_u64(token), interest.flags())?)
    }

    /// Stops watching `fd`.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.set, fd)?)
    }

    /// Sleeps until something is ready or `timeout_ms` has passed (`None`: for ever) and returns
    /// how many events there are. An interrupting signal counts as none.
    pub fn wait(&mut self, timeout_ms: Option<u64>) -> io::Result<usize> {
        let timeout = timeout_ms.map(|ms| {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX).min(i64::from(i32::MAX));
            Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
        });
        self.filled = match epoll::wait(&self.set, self.events.as_mut_slice(), timeout.as_ref()) {
            Ok(filled) => filled,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(self.filled)
    }

    /// The `at`-th event of the last wait.
    pub fn ready(&self, at: usize) -> Option<Ready> {
        let event = self.events.get(..self.filled)?.get(at)?;
        let flags = event.flags;
        Some(Ready {
            token: event.data.u64(),
            read: flags.contains(EventFlags::IN),
            write: flags.contains(EventFlags::OUT),
            gone: flags.intersects(EventFlags::HUP | EventFlags::ERR),
        })
    }
}
