//! Sessile: the protocol crate.
