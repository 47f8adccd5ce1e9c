//! A file of the log that tells LATENCY how long its writes and syncs took.
//!
//! What always holds: it does what the file does, errors included. Not for: how often the log was
//! synced, which the log counts.

use super::log::Medium;
use crate::latency::{Event, Latency};
use std::io;
use std::sync::Arc;

/// A medium whose appends and syncs are events.
#[derive(Debug)]
pub(super) struct Timed<M> {
    medium: M,
    latency: Arc<Latency>,
}

impl<M> Timed<M> {
    /// The medium, watched from now on.
    pub(super) const fn new(medium: M, latency: Arc<Latency>) -> Self {
        Self { medium, latency }
    }
}

impl<M: Medium> Medium for Timed<M> {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.latency.timed(Event::LogWrite, || self.medium.append(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.latency.timed(Event::LogSync, || self.medium.sync())
    }

    fn write_ahead(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.latency.timed(Event::LogWrite, || self.medium.write_ahead(bytes, at))
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        self.medium.cut(size)
    }
}

#[cfg(test)]
mod tests {
    use super::Timed;
    use crate::durable::log::Medium;
    use crate::latency::Latency;
    use crate::os::clock::Clock;
    use std::io;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Takes its time, and fails to sync.
    #[derive(Debug)]
    struct Slow;

    impl Medium for Slow {
        fn append(&self, _: &[u8]) -> io::Result<()> {
            self.sync().or(Ok(()))
        }

        fn sync(&self) -> io::Result<()> {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(2) {
                std::thread::yield_now();
            }
            Err(io::Error::other("no disk"))
        }

        fn write_ahead(&self, bytes: &[u8], _: u64) -> io::Result<()> {
            self.append(bytes)
        }

        fn cut(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_and_syncs_are_events_failed_ones_too() {
        let latency = Arc::new(Latency::new(Clock::manual(0)));
        let timed = Timed::new(Slow, Arc::clone(&latency));
        timed.append(b"x").unwrap();
        assert!(latency.all().is_empty(), "nobody watches yet");
        latency.set_threshold(1);
        timed.append(b"x").unwrap();
        assert_eq!(timed.sync().unwrap_err().to_string(), "no disk");
        let events: Vec<_> = latency.all().into_iter().map(|event| event.name).collect();
        assert_eq!(events, ["aof-write", "aof-fsync"]);
    }
}
