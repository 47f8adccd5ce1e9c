//! What survives the process: snapshots, and the log of changes.
//!
//! ```text
//! store  --snapshot--> trays --encode--> temporary file --sync, rename--> dump.rdb --load--> store
//! node's journal --take--> log --append--> increment file --sync--> disk
//! ```
//!
//! What always holds: a file is either whole or not there; bytes reach the log in the journal's
//! order, written by one thread at a time; after a failed append or sync nothing more is called
//! safe.
//! Not for: what the bytes mean.

pub mod aof;
mod aside;
mod base;
pub mod check;
mod due;
mod ending;
pub mod folder;
pub mod keeper;
pub mod load;
mod loading;
pub mod log;
mod opening;
pub mod progress;
mod reload;
mod salvage;
pub mod snapshot;
mod switch;
mod timed;
