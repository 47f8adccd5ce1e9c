//! The rules, each once: what a command does whichever protocol asked for it.

pub mod cache;
pub mod expiry;
pub mod extended;
pub mod glob;
pub mod hashes;
pub mod lcs;
pub mod sessions;
pub mod strings;
