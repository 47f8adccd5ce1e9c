//! The rules, each once: what a command does whichever protocol asked for it.

pub mod cache;
pub mod glob;
pub mod hashes;
pub mod strings;
