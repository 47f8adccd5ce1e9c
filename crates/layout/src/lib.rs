//! Sessile: the layout crate.
