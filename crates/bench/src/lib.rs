//! The load generator and the comparison behind `sessile-bench`.
//!
//! What always holds: one thread drives all connections of a load through one epoll set; latency is
//! counted from the moment a request was due, so a server that stalls can't hide the requests that
//! it kept from being sent; what is reported carries its spread.
//! Not for: knowing what a server is made of. It imports no engine crate, and loads every rival
//! through the same code.

#![forbid(unsafe_code)]

pub mod args;
pub mod compare;
pub mod control;
pub mod dialect;
pub mod interrupt;
pub mod launch;
pub mod limits;
pub mod load;
pub mod machine;
pub mod payload;
pub mod random;
pub mod record;
pub mod report;
pub mod results;
pub mod workload;
