//! The acceptor: takes connections from the listeners and hands each to the least loaded worker.
//!
//! It runs on the main thread, which has nothing else to do but to hear signals and to tune the
//! clock. Refusals that need no protocol state are made here: too many clients, and strangers from
//! other machines while there is no password.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Newcomer, Pool};
use crate::limits;
use crate::log::{self, Gate};
use crate::os::poll::{Interest, Poll};
use crate::os::socket::{self, AcceptError, Address};
use crate::os::wake::Wake;
use crate::service::Dialect;

const FULL: &[u8] = b"-ERR max number of clients reached\r\n";
const FULL_MEMCACHED: &[u8] = b"ERROR Too many open connections\r\n";
const STRANGER: &[u8] = b"-DENIED Protected mode is on: no password is set, so only clients on this \
    machine are served. To let others in, set a password (requirepass), or turn protected-mode off \
    where the network itself is trusted (CONFIG SET protected-mode no, or in the configuration).\r\n";
const STRANGER_MEMCACHED: &[u8] = b"SERVER_ERROR protected mode: only this machine is served\r\n";

static WARNINGS: Gate = Gate::new();

/// A socket that connections come from.
#[derive(Debug)]
pub struct Listener {
    /// The listening socket.
    pub socket: OwnedFd,
    /// Where it listens.
    pub at: Address,
    /// What is spoken there.
    pub dialect: Dialect,
}

/// Asks the acceptor, and with it the server, to end; usable from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    wake: Arc<Wake>,
    asked: Arc<AtomicBool>,
}

impl Stopper {
    /// A stopper that nobody used yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { wake: Arc::new(Wake::new()?), asked: Arc::new(AtomicBool::new(false)) })
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::Release);
        self.wake.ring();
    }
}

/// The listeners and the loop around them.
#[derive(Debug)]
pub struct Acceptor {
    listeners: Vec<Listener>,
    stopper: Stopper,
    poll: Poll,
    /// Until when the listeners are left alone for want of descriptors (ms; 0: they are not).
    resting_ms: u64,
    /// Time (ms) without any client after which there is nothing to wait for; 0: there always is.
    idle_most_ms: u64,
}

impl Acceptor {
    /// Watches the listeners and the stopper. Without any client for `idle_most_ms` it's over, too;
    /// 0 waits for ever.
    pub fn new(listeners: Vec<Listener>, stopper: Stopper, idle_most_ms: u64) -> io::Result<Self> {
        let poll = Poll::new(16)?;
        poll.add(&*stopper.wake, u64::MAX, Interest::READ)?;
        for (index, listener) in listeners.iter().enumerate() {
            poll.add(&listener.socket, index as u64, Interest::READ)?;
        }
        Ok(Self { listeners, stopper, poll, resting_ms: 0, idle_most_ms })
    }

    /// Hands out connections until asked to stop, or until nobody comes any more.
    pub fn run(&mut self, pool: &Pool) -> io::Result<()> {
        let clock = &pool.common().clock;
        let mut tune_ms = clock.now().ms;
        let mut busy_ms = tune_ms;
        loop {
            let now = clock.now().ms;
            if now >= tune_ms {
                tune_ms = now.saturating_add(1_000);
                if let Some(step) = clock.tune() {
                    let ms = step / 1000;
                    log::warning(format_args!(
                        "the wall clock stepped by {ms} ms; deadlines don't"
                    ));
                }
            }
            if self.resting_ms > 0 && now >= self.resting_ms {
                self.rest(0);
            }
            if pool.load() > 0 || self.idle_most_ms == 0 {
                busy_ms = now;
            } else if now.saturating_sub(busy_ms) >= self.idle_most_ms {
                log::notice(format_args!("nobody has been here for a while"));
                return Ok(());
            }
            let due = if self.resting_ms > 0 { self.resting_ms.min(tune_ms) } else { tune_ms };
            let events = self.poll.wait(Some(due.saturating_sub(now).max(1)))?;
            if self.stopper.asked.load(Ordering::Acquire) {
                return Ok(());
            }
            for at in 0..events {
                if let Some(ready) = self.poll.ready(at) {
                    self.accept_from(usize::try_from(ready.token).unwrap_or(usize::MAX), pool);
                }
            }
        }
    }

    fn accept_from(&mut self, index: usize, pool: &Pool) {
        let Some(listener) = self.listeners.get(index) else { return };
        let common = pool.common();
        for _ in 0..limits::ACCEPTS_PER_TURN {
            match socket::accept(&listener.socket) {
                Ok((socket, from)) => welcome(listener, socket, from.map(Address::Tcp), pool),
                Err(AcceptError::Nothing) => return,
                Err(AcceptError::Exhausted(error)) => {
                    let now = common.clock.now().ms;
                    if WARNINGS.opens(now) {
                        log::warning(format_args!("accepting a client: {error}"));
                    }
                    return self.rest(now.saturating_add(limits::EXHAUSTED_PAUSE_MS));
                }
                Err(AcceptError::Failed(error)) => {
                    if WARNINGS.opens(common.clock.now().ms) {
                        log::warning(format_args!("accepting a client: {error}"));
                    }
                    return;
                }
            }
        }
    }

    /// Leaves the listeners alone until then (0: watches them again).
    fn rest(&mut self, until_ms: u64) {
        self.resting_ms = until_ms;
        let interest = Interest { read: until_ms == 0, write: false };
        for (index, listener) in self.listeners.iter().enumerate() {
            let _ = self.poll.modify(listener.socket.as_fd(), index as u64, interest);
        }
    }
}

fn welcome(listener: &Listener, socket: OwnedFd, from: Option<Address>, pool: &Pool) {
    let common = pool.common();
    let (dialect, live) = (listener.dialect, &common.live);
    let peer = from.unwrap_or_else(|| listener.at.clone());
    let refusal = if pool.load() >= live.clients_most.load(Ordering::Relaxed) {
        Some(if dialect == Dialect::Resp { FULL } else { FULL_MEMCACHED })
    } else if !peer.is_local() && live.protected.load(Ordering::Relaxed) && live.is_open() {
        Some(if dialect == Dialect::Resp { STRANGER } else { STRANGER_MEMCACHED })
    } else {
        None
    };
    if let Some(text) = refusal {
        socket::write(&socket, text);
        common.registry.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let mut local = listener.at.clone();
    if matches!(peer, Address::Tcp(_)) {
        socket::tune(&socket, live.keepalive_s.load(Ordering::Relaxed));
        if let Ok(Some(at)) = socket::local_address(&socket) {
            local = Address::Tcp(at);
        }
    }
    pool.hand(Newcomer { socket, peer, local, dialect });
}
