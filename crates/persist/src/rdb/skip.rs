//! Values of types that aren't kept: where they end.
//!
//! What always holds: passing over a value reads it to its end and takes no memory for it.

use super::input::{Error, Input, Problem};
use super::kind;
use std::io::Read;

/// What a type that isn't kept is called, if it's known where its values end.
pub(super) const fn name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        kind::LIST | kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => "list",
        kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => "set",
        kind::ZSET | kind::ZSET_2 | kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => "sorted set",
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 | kind::STREAM_4 | kind::STREAM_5 => {
            "stream"
        }
        kind::ARRAY => "array",
        kind::MODULE_2 => "module value",
        _ => return None,
    })
}

/// Passes over a value of a type that has a [`name`].
pub(super) fn value<R: Read>(input: &mut Input<R>, kind: u8) -> Result<(), Error> {
    match kind {
        kind::LIST | kind::SET | kind::LIST_QUICKLIST => {
            for _ in 0..input.length()? {
                input.pass_string()?;
            }
            Ok(())
        }
        kind::LIST_QUICKLIST_2 => {
            for _ in 0..input.length()? {
                input.length()?;
                input.pass_string()?;
            }
            Ok(())
        }
        kind::ZSET => {
            for _ in 0..input.length()? {
                input.pass_string()?;
                // Not a number and the two infinities have no text.
                let length = input.byte()?;
                input.pass(if length >= 253 { 0 } else { u64::from(length) })?;
            }
            Ok(())
        }
        kind::ZSET_2 => {
            for _ in 0..input.length()? {
                input.pass_string()?;
                input.pass(8)?;
            }
            Ok(())
        }
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 | kind::STREAM_4 | kind::STREAM_5 => {
            stream(input, kind)
        }
        kind::ARRAY => array(input),
        kind::MODULE_2 => {
            input.length()?;
            module(input)
        }
        _ => input.pass_string(),
    }
}

fn stream<R: Read>(input: &mut Input<R>, kind: u8) -> Result<(), Error> {
    for _ in 0..input.length()? {
        input.pass_string()?;
        input.pass_string()?;
    }
    lengths(input, if kind == kind::STREAM { 3 } else { 8 })?;
    for _ in 0..input.length()? {
        input.pass_string()?;
        lengths(input, if kind == kind::STREAM { 2 } else { 3 })?;
        for _ in 0..input.length()? {
            input.pass(16 + 8)?;
            input.length()?;
        }
        for _ in 0..input.length()? {
            input.pass_string()?;
            input.pass(if kind >= kind::STREAM_3 { 16 } else { 8 })?;
            let pending = input.length()?;
            input.pass(pending.saturating_mul(16))?;
        }
        if kind == kind::STREAM_5 {
            // Entries that were given back.
            let count = input.length()?;
            input.pass(count.saturating_mul(16))?;
        }
    }
    if kind >= kind::STREAM_4 { producers(input) } else { Ok(()) }
}

/// What tells a stream that an entry has come twice.
fn producers<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    lengths(input, 2)?;
    for _ in 0..input.length()? {
        input.pass_string()?;
        for _ in 0..input.length()? {
            input.pass_string()?;
            lengths(input, 2)?;
        }
    }
    lengths(input, 2)
}

/// Elements, each with its place and how it's written.
fn array<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    const DAMAGED: Problem = Problem::Collection("array");
    let count = input.length()?;
    match input.length()? {
        0 => {}
        // Where the next one would go.
        1 => lengths(input, 1)?,
        _ => return input.fail(DAMAGED),
    }
    for _ in 0..count {
        input.length()?;
        match input.length()? {
            0 | 3 => input.pass_string()?,
            1 | 2 => input.pass(8)?,
            _ => return input.fail(DAMAGED),
        }
    }
    Ok(())
}

/// What modules keep beside a key: for each of them what it is, and what it wrote.
pub(crate) fn metadata<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    for _ in 0..input.length()? {
        input.pass(4)?;
        module(input)?;
    }
    Ok(())
}

fn lengths<R: Read>(input: &mut Input<R>, count: usize) -> Result<(), Error> {
    for _ in 0..count {
        input.length()?;
    }
    Ok(())
}

/// Passes over what a module wrote: each thing says what it is.
pub(super) fn module<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    loop {
        match input.length()? {
            0 => return Ok(()),
            1 | 2 => _ = input.length()?,
            3 => input.pass(4)?,
            4 => input.pass(8)?,
            5 => input.pass_string()?,
            _ => return input.fail(Problem::Collection("module value")),
        }
    }
}
