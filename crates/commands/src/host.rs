//! What lies around the store, as commands see it.
//!
//! The server implements it; tests use a small stand-in. What always holds: no method blocks on
//! a shard's lock, since a command may hold some.

use std::fmt;

/// Settings, other clients, counters: everything that a command may ask or tell the server.
pub trait Host: fmt::Debug {
    /// The password that AUTH wants, if one is set.
    fn password(&self) -> Option<Vec<u8>>;
}
