//! Sessile: the node crate.
