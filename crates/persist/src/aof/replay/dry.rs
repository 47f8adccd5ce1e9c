//! Whether records could be applied, without a store.
//!
//! What always holds: a record that is wrong whatever the store holds is found: a command that isn't
//! known, say, or a time that isn't one. What rests on a key's value isn't looked at.

use super::{Record, Replay, ReplayError, Store};
use engine::limits::DATABASES_MAX;
use engine::{Effect, Full, HashKey, Kind, OwnedItem};

/// Looks at records, one after the other.
#[derive(Debug)]
pub struct DryRun(Replay);

impl Default for DryRun {
    fn default() -> Self {
        // A secret for values that nobody keeps.
        let replay = Replay::new(HashKey([1, 2]), DATABASES_MAX);
        Self(Replay { dry: true, ..replay })
    }
}

impl DryRun {
    /// Looks at a record. Those of a transaction are looked at when it ends.
    ///
    /// # Errors
    /// No store could apply it.
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), ReplayError> {
        self.0.record(record, &mut Nothing)
    }
}

/// A store that holds nothing and takes everything.
struct Nothing;

impl Store for Nothing {
    fn kind(&mut self, _: usize, _: &[u8]) -> Option<Kind> {
        None
    }

    fn item(&mut self, _: usize, _: &[u8]) -> Option<OwnedItem> {
        None
    }

    fn apply(&mut self, _: &Effect<'_>) -> Result<(), Full> {
        Ok(())
    }
}
