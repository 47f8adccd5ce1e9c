//! Configuration: the grammar and the names of redis.conf wherever the thing exists here.
//!
//! ```text
//!   files, command line --grammar--> directives --rows--> Settings --resolve--> Config
//!                                                        (text, normal)        (typed, complete)
//! ```
//!
//! The rows (`tables`) are the one definition of every directive. `Settings` is what was asked for;
//! `Config` is what the server runs by, without anything left open. A [`Store`] holds both while the
//! server runs, for CONFIG GET, SET and REWRITE.

pub mod glob;
pub mod grammar;
pub mod kind;
pub mod load;
pub mod render;
pub mod resolved;
pub mod rewrite;
pub mod row;
pub mod settings;
pub mod store;
pub mod tables;
#[cfg(test)]
mod tests;

pub use grammar::{check, parse_file};
pub use load::{Invocation, Loaded, invocation};
pub use resolved::Config;
pub use settings::Settings;
pub use store::{SetError, Store};

use std::fmt;

/// Why a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file and line, or "command line".
    pub place: String,
    /// The directive, as it was written; empty if it isn't about one.
    pub directive: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.directive.is_empty() {
            write!(f, "'{}': ", self.directive)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}
