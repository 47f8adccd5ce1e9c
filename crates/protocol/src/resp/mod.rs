//! RESP2 and RESP3: requests in, replies out.
//!
//! Source: the Redis serialization protocol specification (redis.io/docs/reference/protocol-spec)
//! and RESP3 (github.com/redis/redis-specifications).

mod decoder;
mod inline;
mod number;
mod reply;

pub use decoder::{Decoder, Fail, Outcome, RespLimits, first_key};
pub use number::{fmt_double, fmt_long_double, parse_f64, parse_i64, parse_u64};
pub use reply::{DeferredArray, Reply, RespVersion};

/// Whether a first argument is how an HTTP request begins, which no Redis command does.
pub fn is_http_verb(first: &[u8]) -> bool {
    first.eq_ignore_ascii_case(b"post") || first.eq_ignore_ascii_case(b"host:")
}
