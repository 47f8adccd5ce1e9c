//! The operating system: the only place of this crate with system calls and `unsafe`.
//!
//! Each file wraps one thing the kernel offers (a mapping, an epoll set, sockets, an eventfd, clocks,
//! limits, priorities, a detached process) in a type that the rest of the crate uses without
//! knowing numbers or flags. Nothing here decides anything: no configuration, no protocol, no
//! logging.

pub mod arena;
mod backing;
pub mod clock;
pub mod daemon;
pub mod heap;
pub mod machine;
pub mod poll;
pub mod schedule;
pub mod socket;
pub mod wake;
