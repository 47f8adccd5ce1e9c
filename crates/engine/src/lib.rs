//! Sessile: the engine crate.
