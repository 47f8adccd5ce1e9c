//! The node driven by bytes: against a model, at its memory cap, by threads, and by the clock.
//!
//! What always holds: one thread and a clock that the test moves, except in `threads`, where the
//! number of rounds is fixed; random tests print their seed, and `SEED=n` repeats a run.
//! Not for: what single commands answer; `commands` and the transcripts have that.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what failed by failing"
)]

mod expiry;
mod heap;
mod journal;
mod memory;
mod model;
mod sessions;
mod support;
mod survey;
mod threads;
mod waits;
