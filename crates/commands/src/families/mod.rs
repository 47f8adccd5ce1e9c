//! The families of commands, each with its rows.

use crate::row::Row;

mod client;
mod clients;
pub mod command;
pub mod connection;
mod debug;
pub mod hash_fields;
pub mod hashes;
mod latency;
mod memory;
pub mod server;
mod slowlog;
pub mod strings;
mod support;
pub mod transactions;

/// The rows of all families.
pub const ALL: &[&[Row]] = &[hash_fields::ROWS, hashes::ROWS, strings::ROWS, transactions::ROWS, connection::ROWS, command::ROWS, server::ROWS];
