//! What a request means.
//!
//! A command is a [`Row`]: name, arity, flags, key positions, a handler, one line of
//! documentation. Rows stand at the end of their family's file; the table of all commands, the
//! COMMAND replies and the docs come from them. A rule that both protocols share (when SET stores,
//! how INCR counts) stands once, in [`ops`]; the dialects parse, call it and render.
//!
//! What always holds: a handler reads the time from its context, sees only locked shards, and
//! changes state by effects only. Whatever it has written when it fails is rolled back by the
//! caller: the reply is truncated, and an effect that failed changed nothing.
//!
//! Not for: locks, connections, sockets, the clock. They stand above, behind [`Shards`] and
//! [`Host`].

#![forbid(unsafe_code)]

pub mod client;
pub mod context;
pub mod counters;
pub mod dispatch;
pub mod failure;
pub mod families;
pub mod host;
pub mod limits;
pub mod memcached;
pub mod ops;
pub mod row;
pub mod syntax;
pub mod table;
#[cfg(test)]
mod testing;

pub use client::{Awaited, Client, Standing, Unblocked, Waiting};
pub use context::{Ctx, Shards};
pub use counters::{Counters, Totals};
pub use failure::Failure;
pub use host::Host;
pub use row::{Flags, Handler, Keys, Outcome, Row};
pub use table::{find, rows};
