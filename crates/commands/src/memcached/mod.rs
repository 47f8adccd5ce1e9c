//! What a request of memcached's protocol means: the text commands and the meta commands, on
//! database 0.
//!
//! What always holds: a handler writes a whole answer, or fails for want of memory and has changed
//! nothing that a repetition would not change again; the caller truncates the answer then.
//! Not for: bytes of requests, which the codec takes apart; rules of storing, which stand in
//! [`crate::ops::cache`]; locks. `docs/memcached.md` says what users see of it.

mod context;
mod counters;
mod flush;
mod meta;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod world;

pub use context::{Ctx, Settings};
pub use counters::{Count, Counters};
pub use flush::Flush;
pub use world::{Facts, World};

/// What becomes of the connection after a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// It goes on.
    Answered,
    /// The client wants it closed.
    Quit,
}

/// Writes a line.
#[inline]
fn line(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}
