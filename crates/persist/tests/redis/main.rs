//! Files and payloads against Debian's redis-server 7.0: what it writes is read, what is written
//! it loads, and its checking tools accept. Fails if it isn't installed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

extern crate persist;

mod aof;
mod rdb;
mod server;
