//! Rules of deadlines of keys: what a client's number means, and what a past deadline does.
//!
//! What always holds: a deadline that a client may set is at most `i64::MAX` milliseconds; one at
//! or before `now` ends the key at once, and that is a deletion, as in Redis, not an expiry.
//! Not for: deadlines of hash fields, which have other bounds and other errors.

use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::hashes::Clock;
use engine::{Cause, Change, Key};
use protocol::resp::parse_i64;

/// The deadline in Unix milliseconds that `argument` of the command `name` (in lower case)
/// means, in SET, GETEX and their kin: it must be above 0.
///
/// # Errors
/// If it isn't an integer, isn't above 0, or lies too far ahead.
pub fn positive(clock: Clock, argument: &[u8], now: u64, name: &str) -> Result<u64, Failure> {
    let given = parse_i64(argument).ok_or(Failure::NOT_AN_INTEGER)?;
    if given <= 0 {
        return Err(invalid(name));
    }
    deadline(clock, given, now).map(i64::cast_unsigned).ok_or_else(|| invalid(name))
}

/// As [`positive`], of EXPIRE and its kin: what isn't above 0 is merely past, and answers 0.
///
/// # Errors
/// If it isn't an integer, or lies too far ahead or back.
pub fn any(clock: Clock, argument: &[u8], now: u64, name: &str) -> Result<u64, Failure> {
    let given = parse_i64(argument).ok_or(Failure::NOT_AN_INTEGER)?;
    match deadline(clock, given, now) {
        Some(at) => Ok(u64::try_from(at).unwrap_or(0)),
        None => Err(invalid(name)),
    }
}

/// Gives a key that is there a deadline, or ends it at once if that has passed.
///
/// # Errors
/// [`Failure::Full`].
pub fn arm(ctx: &mut Ctx<'_>, key: &Key<'_>, at: u64) -> Result<(), Failure> {
    let change = if at <= ctx.now {
        Change::Remove(Cause::Deleted)
    } else {
        Change::Deadline { at: Some(at), slide: false }
    };
    ctx.apply(key, change).map(|_| ())
}

fn deadline(clock: Clock, given: i64, now: u64) -> Option<i64> {
    let now = i64::try_from(now).ok()?;
    match clock {
        Clock::Seconds => given.checked_mul(1000)?.checked_add(now),
        Clock::Millis => given.checked_add(now),
        Clock::UnixSeconds => given.checked_mul(1000),
        Clock::UnixMillis => Some(given),
    }
}

fn invalid(name: &str) -> Failure {
    Failure::made(format!("ERR invalid expire time in '{name}' command"))
}
