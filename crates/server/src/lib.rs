//! The shell of Sessile: operating system, configuration, log, sockets, event loop, signals.
//!
//! It knows no command and no protocol: bytes go to a [`service::Service`] and come back from it.
//! Nothing else of the workspace imports this crate. `unsafe` is confined to `os`.

#![deny(unsafe_code)]

pub mod config;
pub mod durable;
pub mod glue;
pub mod http;
pub mod latency;
pub mod limits;
pub mod listen;
pub mod live;
pub mod log;
#[expect(unsafe_code, reason = "the shell around system calls; each use has its argument")]
pub mod os;
pub mod registry;
pub mod service;
pub mod signals;
pub mod workers;
