//! Keys of dicts that were read before: one string for all documents that have them.
//!
//! An application's sessions have the same few keys over and over. A string that is there already
//! needs neither room nor, as it knows its hash, to be hashed again. What always holds: a key is
//! what its bytes say, whoever read it first; nobody waits for the cache, and a thread that finds it
//! in use goes without. Not for long keys, which may well be data.

use crate::limits::{KEPT_KEY_MAX, KEPT_KEYS};
use crate::stop::Stop;
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::{Mutex, MutexGuard};

type Slot = Option<(Box<[u8]>, Py<PyString>)>;

static SLOTS: Mutex<Vec<Slot>> = Mutex::new(Vec::new());

/// The cache, for one document.
pub(crate) struct Keys(Option<MutexGuard<'static, Vec<Slot>>>);

impl Keys {
    pub(crate) fn new() -> Self {
        let mut slots = SLOTS.try_lock().ok();
        if let Some(slots) = &mut slots
            && slots.is_empty()
        {
            slots.resize_with(KEPT_KEYS, || None);
        }
        Self(slots)
    }

    /// The string of these bytes of UTF-8.
    pub(crate) fn string<'py>(
        &mut self,
        py: Python<'py>,
        bytes: &[u8],
    ) -> Result<Bound<'py, PyString>, Stop> {
        let slot = match &mut self.0 {
            Some(slots) if bytes.len() <= KEPT_KEY_MAX => slots.get_mut(slot_of(bytes)),
            _ => None,
        };
        let Some(slot) = slot else { return string(py, bytes) };
        if let Some((kept, string)) = slot
            && **kept == *bytes
        {
            return Ok(string.bind(py).clone());
        }
        let made = string(py, bytes)?;
        *slot = Some((bytes.into(), made.clone().unbind()));
        Ok(made)
    }
}

/// A string of bytes of UTF-8.
pub(crate) fn string<'py>(py: Python<'py>, bytes: &[u8]) -> Result<Bound<'py, PyString>, Stop> {
    PyString::from_bytes(py, bytes).map_err(|_| Stop::Decline)
}

/// Which slot a key has: FNV-1a, of its bits the upper ones.
fn slot_of(bytes: &[u8]) -> usize {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Less than 2^16, which each usize holds.
    usize::try_from(hash >> 48).unwrap_or(0) % KEPT_KEYS
}
