//! The admin page: metrics, health and a few live plots over HTTP, on a thread of its own.
//!
//! ```text
//!   socket --serve--> bytes --request--> Request --route--> Answer --serve--> socket
//!                                                   ^
//!                              Source (the store's numbers: Facts, Health)
//! ```
//!
//! What always holds: nothing here changes anything; only GET and HEAD are heard; a request names a
//! host that can't be somebody else's (`origin`), so no page of another site reads an answer; every
//! connection, byte and second has a bound. It runs before files are loaded, and says so until then.
//! Not for clients of the store, nor for the internet: there is no password and no TLS.

mod answer;
pub mod facts;
pub mod metrics;
mod origin;
mod request;
mod route;
mod serve;
mod stats;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crate::os::clock::Clock;
use crate::os::wake::Wake;
use facts::{Facts, Health};

/// What the admin page tells of. All calls come from its own thread.
pub trait Source: Send + Sync {
    /// Whether the store serves; waits for nothing.
    fn health(&self) -> Health;
    /// Its numbers; may take a few milliseconds, but must not keep a worker waiting.
    fn facts(&self) -> Facts;
}

/// The running thread.
#[derive(Debug)]
pub struct Admin {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the thread and the rest of the process share.
struct Shared {
    source: OnceLock<Arc<dyn Source>>,
    stop: AtomicBool,
    wake: Wake,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("stop", &self.stop).finish_non_exhaustive()
    }
}

impl Admin {
    /// Serves these listeners; `hosts` are names that it may be asked by, in lower case. Until it is
    /// given a source it answers that the store is loading.
    ///
    /// # Errors
    /// The system grants no thread or descriptor.
    pub fn start(
        listeners: Vec<(OwnedFd, SocketAddr)>,
        hosts: Vec<String>,
        clock: Clock,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            source: OnceLock::new(),
            stop: AtomicBool::new(false),
            wake: Wake::new()?,
        });
        let mut server = serve::Server::new(listeners, hosts, clock, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name("http".to_owned());
        let thread = thread.spawn(move || server.run())?;
        Ok(Self { shared, thread })
    }

    /// The store serves from now on.
    pub fn tell_of(&self, source: Arc<dyn Source>) {
        // Whoever is first stays.
        let _ = self.shared.source.set(source);
    }

    /// Ends the thread; connections are cut.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.ring();
        let _ = self.thread.join();
    }
}
