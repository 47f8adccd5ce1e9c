//! memcached's text and meta protocols: requests in. Answers are lines that whoever executes a
//! request writes.
//!
//! What always holds: a request borrows from the input and from its decoder; nothing is allocated
//! for it. Whatever arrives, the decoder knows where the next request begins, or says that the
//! connection ends: a data block whose length was announced is never taken for commands.
//! Not for: what a request means; the binary protocol, which memcached itself has deprecated.
//!
//! Source: `doc/protocol.txt` of memcached 1.6.18, and what that version answers.

mod base64;
mod decoder;
mod glance;
mod meta;
mod number;
mod request;
#[cfg(test)]
mod tests;
mod text;

pub use decoder::{McDecoder, McLimits, McOutcome};
pub use glance::keys_ahead;
pub use request::{Arithmetic, Delete, Flag, Flags, Get, Head, Mode, Request, Set, Storing, Words};
