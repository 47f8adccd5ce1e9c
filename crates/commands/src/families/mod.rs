//! The families of commands, each with its rows.

use crate::row::Row;

pub mod strings;

/// The rows of all families.
pub const ALL: &[&[Row]] = &[strings::ROWS];
