//! Sessile: the commands crate.
