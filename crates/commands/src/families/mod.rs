//! The families of commands, each with its rows.

use crate::row::Row;

mod client;
mod clients;
pub mod command;
pub mod connection;
pub mod counters;
pub mod databases;
mod debug;
pub mod dump;
pub mod expiry;
pub mod files;
pub mod hash_fields;
pub mod hashes;
pub mod keys;
mod latency;
pub mod lcs;
mod memory;
pub mod server;
pub mod sessions;
mod slowlog;
pub mod strings;
mod support;
pub mod transactions;

/// The rows of all families.
pub const ALL: &[&[Row]] = &[
    hash_fields::ROWS,
    hashes::ROWS,
    strings::ROWS,
    counters::ROWS,
    lcs::ROWS,
    keys::ROWS,
    dump::ROWS,
    expiry::ROWS,
    databases::ROWS,
    transactions::ROWS,
    connection::ROWS,
    command::ROWS,
    server::ROWS,
    files::ROWS,
    sessions::ROWS,
];
