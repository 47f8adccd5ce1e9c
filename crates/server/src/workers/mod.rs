//! The threads that serve: each worker has its own epoll loop and its own connections.
//!
//! ```text
//!            acceptor (main thread)                        worker 0..n
//!   listeners, signals --accept--> least loaded --inbox-->  turn: read what is ready, execute,
//!                                                           end-of-turn work, one write each
//! ```
//!
//! A connection stays with its worker for life. Other threads reach a worker only through its inbox
//! and its wake-up. What always holds: a connection that is idle owns no buffer; one that doesn't
//! read its replies stops being served; no request costs a system call besides its read, its write
//! and its share of one wait.

pub mod acceptor;
mod connection;
mod slab;
#[cfg(test)]
mod tests;
mod turn;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::latency::Latency;
use crate::live::Live;
use crate::os::clock::Clock;
use crate::os::socket::Address;
use crate::os::wake::Wake;
use crate::registry::Registry;
use crate::service::{Dialect, Service};

/// What every worker shares.
#[derive(Debug)]
pub struct Common {
    /// Live settings.
    pub live: Arc<Live>,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// The time.
    pub clock: Clock,
    /// What took long.
    pub latency: Arc<Latency>,
}

impl Common {
    /// With nobody connected.
    pub fn new(live: Arc<Live>, clock: Clock) -> Self {
        let latency = Arc::new(Latency::new(clock.clone()));
        Self { live, registry: Arc::new(Registry::new()), clock, latency }
    }
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub struct Newcomer {
    /// The connected socket.
    pub socket: OwnedFd,
    /// The other end.
    pub peer: Address,
    /// Our end.
    pub local: Address,
    /// The language it speaks.
    pub dialect: Dialect,
}

/// How other threads reach a worker.
#[derive(Debug)]
struct Mailbox {
    wake: Arc<Wake>,
    /// Connections it owns or will own as soon as it looks.
    load: AtomicUsize,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    newcomers: Vec<Newcomer>,
    stop: bool,
}

impl Mailbox {
    fn put(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.ring();
    }

    fn take(&self) -> Inbox {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The running workers.
#[derive(Debug)]
pub struct Pool {
    common: Arc<Common>,
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Pool {
    /// Starts `count` workers (at least one) that drive `service`.
    pub fn start<S: Service>(
        service: &Arc<S>,
        common: &Arc<Common>,
        count: usize,
    ) -> io::Result<Self> {
        let mut pool =
            Self { common: Arc::clone(common), mailboxes: Vec::new(), threads: Vec::new() };
        for index in 0..count.max(1) {
            let mailbox = Arc::new(Mailbox {
                wake: Arc::new(Wake::new()?),
                load: AtomicUsize::new(0),
                inbox: Mutex::default(),
            });
            let worker = turn::Worker::new(
                index,
                Arc::clone(service),
                Arc::clone(common),
                Arc::clone(&mailbox),
            )?;
            let name = format!("worker-{index}");
            let thread = std::thread::Builder::new().name(name).spawn(move || worker.run())?;
            pool.mailboxes.push(mailbox);
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Gives a connection to the least loaded worker.
    pub fn hand(&self, newcomer: Newcomer) {
        let least = self.mailboxes.iter().min_by_key(|box_| box_.load.load(Ordering::Relaxed));
        if let Some(mailbox) = least {
            mailbox.load.fetch_add(1, Ordering::Relaxed);
            mailbox.put(|inbox| inbox.newcomers.push(newcomer));
        }
    }

    /// Connections of all workers, those on their way included.
    pub fn load(&self) -> usize {
        self.mailboxes.iter().map(|mailbox| mailbox.load.load(Ordering::Relaxed)).sum()
    }

    /// What the workers share.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Wakes every worker, so that it looks at the clock and the settings.
    pub fn wake(&self) {
        for mailbox in &self.mailboxes {
            mailbox.wake.ring();
        }
    }

    /// Ends all workers: each flushes what it can, closes its connections and returns.
    pub fn stop(self) -> io::Result<()> {
        for mailbox in &self.mailboxes {
            mailbox.put(|inbox| inbox.stop = true);
        }
        let mut ended = Ok(());
        for thread in self.threads {
            let one = thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            ended = ended.and(one);
        }
        ended
    }
}
