//! The `sessile` binary.

fn main() {}
