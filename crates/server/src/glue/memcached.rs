//! What memcached's commands ask of the server: counters of all workers, numbers of the process.
//!
//! What always holds: each worker has counters of its own, made when it starts; they are added up
//! only when somebody asks.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use commands::memcached::{Counters, Facts, Settings, World};

use super::host::ServerHost;
use crate::config::Config;
use crate::os::machine;

/// The counters of all workers.
#[derive(Debug, Default)]
pub(super) struct AllCounters {
    workers: Mutex<Vec<Arc<Counters>>>,
    /// Bytes received and sent when the counters were set back.
    moved: Mutex<(u64, u64)>,
}

impl AllCounters {
    /// Counters for one more worker.
    pub(super) fn add(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.with(|all| all.push(Arc::clone(&counters)));
        counters
    }

    fn with<R>(&self, what: impl FnOnce(&mut Vec<Arc<Counters>>) -> R) -> R {
        what(&mut self.workers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn moved(&self) -> MutexGuard<'_, (u64, u64)> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The settings that memcached's commands obey.
pub(super) fn settings(config: &Config) -> Settings {
    Settings {
        item_size_max: config.memcached_max_item_size,
        server_version: env!("CARGO_PKG_VERSION"),
        ..Settings::default()
    }
}

impl World for ServerHost {
    fn counters(&self) -> Counters {
        let sum = Counters::default();
        self.counters.with(|all| all.iter().for_each(|counters| sum.merge(counters)));
        sum
    }

    fn reset_counters(&self) {
        self.counters.with(|all| all.iter().for_each(|counters| counters.reset()));
        *self.counters.moved() = self.common.registry.moved();
    }

    fn facts(&self) -> Facts {
        let (user_us, system_us) = machine::processor_us().unwrap_or((0, 0));
        let registry = &self.common.registry;
        let (received, sent) = registry.moved();
        let before = *self.counters.moved();
        Facts {
            bytes_read: received.saturating_sub(before.0),
            bytes_written: sent.saturating_sub(before.1),
            pid: machine::pid(),
            uptime: self.now().ms.saturating_sub(self.started.ms) / 1000,
            user_us,
            system_us,
            connections: registry.len() as u64,
            connections_ever: registry.welcomed.load(Ordering::Relaxed),
            rejected: registry.refused.load(Ordering::Relaxed),
            threads: self.config().workers as u64,
        }
    }
}
