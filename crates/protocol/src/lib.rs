//! Bytes to requests, replies to bytes: RESP2, RESP3 and memcached.
//!
//! What always holds: decoding has three outcomes (done, need more, error); limits are checked
//! before memory is taken; arguments are borrowed from the input.
//! Not for: what a request means, or where its bytes come from.

#![forbid(unsafe_code)]

pub mod args;
pub mod limits;
pub mod memcached;
pub mod resp;
