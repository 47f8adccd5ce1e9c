//! The families of commands, each with its rows.

use crate::row::Row;

pub mod hash_fields;
pub mod hashes;
pub mod strings;
pub mod transactions;

/// The rows of all families.
pub const ALL: &[&[Row]] = &[hash_fields::ROWS, hashes::ROWS, strings::ROWS, transactions::ROWS];
