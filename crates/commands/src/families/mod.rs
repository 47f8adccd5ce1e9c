//! The families of commands, each with its rows.

use crate::row::Row;

mod client;
mod clients;
pub mod connection;
pub mod hash_fields;
pub mod hashes;
pub mod strings;
mod support;
pub mod transactions;

/// The rows of all families.
pub const ALL: &[&[Row]] = &[hash_fields::ROWS, hashes::ROWS, strings::ROWS, transactions::ROWS, connection::ROWS];
