//! What survives the process: the log of changes, on its way into files.
//!
//! ```text
//! node's journal --take--> log --append--> increment file --sync--> disk
//!                           |                  |                      |
//!                           '- appendfsync no, everysec: safe here    '- always: safe here
//! ```
//!
//! What always holds: bytes reach a file in the journal's order, written by one thread at a time;
//! after a failed append or sync nothing more is called safe.
//! Not for: what the bytes mean.

pub mod log;
