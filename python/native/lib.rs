//! The fast path of `sessile.document` and `sessile.wire`: leaves to a dict, a changed dict to its
//! patch, replies out of the bytes that came, and names and values to a dict.
//!
//! It knows the common cases and declines the others: what it answers is exactly what the Python
//! code would have answered, and where it answers `None` that code does the work, raises the error
//! or finds the few changes of order and shape that need a closer look. [`ready`] is beside that: it
//! sends a request and waits for a reply that comes at once. What always holds: it never writes what
//! Python wouldn't write, byte for byte, and it raises only what Python code raised that it called,
//! and what a socket's own methods raise. It's no second home for rules: a rule that isn't on the
//! fast path isn't here.

#![deny(unsafe_code)]

mod changes;
mod decode;
mod json;
mod keys;
mod leaves;
mod limits;
mod path;
mod ready;
mod reply;
mod stop;

use pyo3::prelude::*;

/// `sessile._native`.
#[pymodule]
mod _native {
    /// The Python code takes the module only if it knows this number: both change together.
    #[pymodule_export]
    const AGREEMENT: u32 = 5;

    #[pymodule_export]
    use super::changes::changes;
    #[pymodule_export]
    use super::decode::decode;
    #[pymodule_export]
    use super::leaves::Leaves;
    #[pymodule_export]
    use super::ready::{exchange, ready_after};
    #[pymodule_export]
    use super::reply::{paired, reply};
}
