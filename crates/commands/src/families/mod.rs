//! The families of commands, each with its rows.

use crate::row::Row;

pub mod strings;
pub mod transactions;

/// The rows of all families.
pub const ALL: &[&[Row]] = &[strings::ROWS, transactions::ROWS];
