//! Rules of deadlines: what a client's number means, and what a past deadline does.
//!
//! What always holds: a deadline that a client may set is at most `i64::MAX` milliseconds for a
//! key, `FIELD_DEADLINE_MAX_MS` for a hash field; one at or before `now` ends the key at once,
//! and that is a deletion, as in Redis, not an expiry.
//! Not for: writing the deadlines of hash fields, which is a hash's business.

use crate::context::Ctx;
use crate::failure::Failure;
use engine::limits::FIELD_DEADLINE_MAX_MS;
use engine::{Cause, Change, Key};
use protocol::resp::parse_i64;

/// How a client says when a key or field ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// Unix time in seconds.
    UnixSeconds,
    /// Unix time in milliseconds.
    UnixMillis,
}

impl Clock {
    /// The clock that an option of SET, GETEX, HSETEX and their kin names, in any case.
    pub fn of_option(option: &[u8]) -> Option<Self> {
        const OPTIONS: [(&[u8], Clock); 4] = [
            (b"EX", Clock::Seconds),
            (b"PX", Clock::Millis),
            (b"EXAT", Clock::UnixSeconds),
            (b"PXAT", Clock::UnixMillis),
        ];
        OPTIONS.iter().find(|(name, _)| option.eq_ignore_ascii_case(name)).map(|(_, clock)| *clock)
    }

    /// The deadline of a hash field in Unix milliseconds that `argument` of the command `name` (in
    /// lower case) means; one at or before `now` says that the field ends at once.
    ///
    /// # Errors
    /// If it isn't an integer, is negative, or lies so far ahead that Redis couldn't keep it.
    pub fn deadline(self, argument: &[u8], now: u64, name: &str) -> Result<u64, Failure> {
        let given = parse_i64(argument).ok_or(Failure::NOT_AN_INTEGER)?;
        let Ok(given) = u64::try_from(given) else {
            return Err(Failure::text("ERR invalid expire time, must be >= 0"));
        };
        let at = match self {
            Self::Seconds => given.checked_mul(1000).and_then(|ms| ms.checked_add(now)),
            Self::Millis => given.checked_add(now),
            Self::UnixSeconds => given.checked_mul(1000),
            Self::UnixMillis => Some(given),
        };
        at.filter(|at| *at <= FIELD_DEADLINE_MAX_MS)
            .ok_or_else(|| Failure::made(format!("ERR invalid expire time in '{name}' command")))
    }
}

/// When EXPIRE and HEXPIRE set a deadline. What has none ends later than any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Always.
    Always,
    /// It has none.
    Endless,
    /// It has one.
    Ending,
    /// The new one is later.
    Later,
    /// The new one is earlier.
    Earlier,
}

impl When {
    /// The condition that an option names, in any case.
    pub fn of_option(option: &[u8]) -> Option<Self> {
        const OPTIONS: [(&[u8], When); 4] = [
            (b"NX", When::Endless),
            (b"XX", When::Ending),
            (b"GT", When::Later),
            (b"LT", When::Earlier),
        ];
        OPTIONS.iter().find(|(name, _)| option.eq_ignore_ascii_case(name)).map(|(_, when)| *when)
    }

    /// Whether what ends at `old` may end at `new`.
    pub fn allows(self, old: Option<u64>, new: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Endless => old.is_none(),
            Self::Ending => old.is_some(),
            Self::Later => old.is_some_and(|old| new > old),
            Self::Earlier => old.is_none_or(|old| new < old),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_take_a_field_without_deadline_for_an_endless_one() {
        let cases = [
            (When::Endless, [true, false, false]),
            (When::Ending, [false, true, true]),
            (When::Later, [false, true, false]),
            (When::Earlier, [true, false, false]),
            (When::Always, [true, true, true]),
        ];
        for (when, expected) in cases {
            let found = [None, Some(4), Some(5)].map(|old| when.allows(old, 5));
            assert_eq!(found, expected, "{when:?}");
        }
    }

    #[test]
    fn deadlines_are_checked_before_they_overflow() {
        let far = Clock::Seconds.deadline(b"9223372036854775807", 5, "hexpire");
        assert_eq!(far, Err(Failure::text("ERR invalid expire time in 'hexpire' command")));
        assert_eq!(Clock::Seconds.deadline(b"2", 5, "hexpire"), Ok(2005));
        assert_eq!(Clock::UnixMillis.deadline(b"7", 5, "hpexpireat"), Ok(7));
        let negative = Clock::UnixSeconds.deadline(b"-1", 5, "hexpireat");
        assert_eq!(negative, Err(Failure::text("ERR invalid expire time, must be >= 0")));
        assert_eq!(Clock::Millis.deadline(b"1x", 5, "hpexpire"), Err(Failure::NOT_AN_INTEGER));
    }
}
