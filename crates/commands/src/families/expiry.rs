//! Deadlines of keys.
//!
//! What always holds: a deadline at or before now deletes the key and answers 1.

use super::support::{one_key, text};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::expiry::{Clock, When, any, arm};
use crate::row::{Flags, Handler, Outcome, Row};
use engine::Change;
use protocol::args::Args;

const READ: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE.and(Flags::FAST);

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(
        ("EXPIRE key seconds [NX|XX|GT|LT]", -3),
        WRITE,
        expire,
        "1.0.0",
        "Sets a key's time to live in seconds.",
    ),
    row(
        ("PEXPIRE key milliseconds [NX|XX|GT|LT]", -3),
        WRITE,
        pexpire,
        "2.6.0",
        "Sets a key's time to live in milliseconds.",
    ),
    row(
        ("EXPIREAT key unix-time-seconds [NX|XX|GT|LT]", -3),
        WRITE,
        expireat,
        "1.2.0",
        "Sets a key's deadline in Unix seconds.",
    ),
    row(
        ("PEXPIREAT key unix-time-milliseconds [NX|XX|GT|LT]", -3),
        WRITE,
        pexpireat,
        "2.6.0",
        "Sets a key's deadline in Unix ms.",
    ),
    row(("TTL key", 2), READ, ttl, "1.0.0", "Returns a key's time to live in seconds."),
    row(("PTTL key", 2), READ, pttl, "2.6.0", "Returns a key's time to live in milliseconds."),
    row(
        ("EXPIRETIME key", 2),
        READ,
        expiretime,
        "7.0.0",
        "Returns a key's deadline in Unix seconds.",
    ),
    row(("PEXPIRETIME key", 2), READ, pexpiretime, "7.0.0", "Returns a key's deadline in Unix ms."),
    row(("PERSIST key", 2), WRITE, persist, "2.2.0", "Lets a key live for ever."),
];

const fn row(
    name: (&'static str, i32),
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    one_key("generic", name, flags, handler, since, summary)
}

fn expire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    set(ctx, args, Clock::Seconds, "expire")
}

fn pexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    set(ctx, args, Clock::Millis, "pexpire")
}

fn expireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    set(ctx, args, Clock::UnixSeconds, "expireat")
}

fn pexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    set(ctx, args, Clock::UnixMillis, "pexpireat")
}

fn set(ctx: &mut Ctx<'_>, args: Args<'_>, clock: Clock, name: &str) -> Outcome {
    let conditions = Conditions::parse(args.from(3))?;
    let at = any(clock, args.at(2), ctx.now, name)?;
    let key = ctx.key(args.at(1));
    let had = ctx.peek(&key).map(|entry| entry.deadline());
    let allowed = had.is_some_and(|had| conditions.allow(had, at));
    if allowed {
        arm(ctx, &key, at)?;
    }
    ctx.reply.int(i64::from(allowed));
    Ok(())
}

fn ttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.now;
    tell(ctx, args, |at| (at.saturating_sub(now)).saturating_add(500) / 1000)
}

fn pttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.now;
    tell(ctx, args, |at| at.saturating_sub(now))
}

fn expiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    tell(ctx, args, |at| at.saturating_add(500) / 1000)
}

fn pexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    tell(ctx, args, |at| at)
}

/// Answers what `of` makes of a key's deadline: -1 without one, -2 without a key.
fn tell(ctx: &mut Ctx<'_>, args: Args<'_>, of: impl Fn(u64) -> u64) -> Outcome {
    let key = ctx.key(args.at(1));
    let answer = match ctx.peek(&key).map(|entry| entry.deadline()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => i64::try_from(of(at)).unwrap_or(i64::MAX),
    };
    ctx.reply.int(answer);
    Ok(())
}

fn persist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let had = ctx.peek(&key).is_some_and(|entry| entry.deadline().is_some());
    if had {
        ctx.apply(&key, Change::Deadline { at: None, slide: false })?;
    }
    ctx.reply.int(i64::from(had));
    Ok(())
}

/// Under which conditions a deadline is set; all of them have to hold.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    endless: bool,
    ending: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    fn parse(options: Args<'_>) -> Result<Self, Failure> {
        let mut given = Self::default();
        for option in options.iter() {
            match When::of_option(option) {
                Some(When::Endless) => given.endless = true,
                Some(When::Ending) => given.ending = true,
                Some(When::Later) => given.later = true,
                Some(When::Earlier) => given.earlier = true,
                _ => {
                    let option = text(option);
                    return Err(Failure::made(format!("ERR Unsupported option {option}")));
                }
            }
        }
        if given.endless && (given.ending || given.later || given.earlier) {
            return Err(Failure::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if given.later && given.earlier {
            return Err(Failure::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(given)
    }

    fn allow(self, had: Option<u64>, at: u64) -> bool {
        [
            (self.endless, When::Endless),
            (self.ending, When::Ending),
            (self.later, When::Later),
            (self.earlier, When::Earlier),
        ]
        .iter()
        .all(|(asked, when)| !asked || when.allows(had, at))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{START, Store};

    #[test]
    fn deadlines_are_set_on_their_conditions_and_told() {
        let mut store = Store::new();
        let seconds = START / 1000 + 100;
        store.expect(&[
            ("SET a 1", "+OK\r\n"),
            ("TTL a", ":-1\r\n"),
            ("TTL none", ":-2\r\n"),
            ("EXPIRE none 1", ":0\r\n"),
            ("EXPIRE a 10 XX", ":0\r\n"),
            ("EXPIRE a 10 GT", ":0\r\n"),
            ("EXPIRE a 10 LT", ":1\r\n"),
            ("EXPIRE a 20 NX", ":0\r\n"),
            ("EXPIRE a 5 GT", ":0\r\n"),
            ("EXPIRE a 20 GT XX", ":1\r\n"),
            ("EXPIRE a 30 LT", ":0\r\n"),
            ("PTTL a", ":20000\r\n"),
            ("PEXPIRE a 1499", ":1\r\n"),
            ("TTL a", ":1\r\n"),
            ("PERSIST a", ":1\r\n"),
            ("PERSIST a", ":0\r\n"),
            (
                "EXPIRE a 1 NX GT",
                "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n",
            ),
            ("EXPIRE a 1 GT LT", "-ERR GT and LT options at the same time are not compatible\r\n"),
            ("EXPIRE a 1 ZZ", "-ERR Unsupported option ZZ\r\n"),
            ("EXPIRE a x", "-ERR value is not an integer or out of range\r\n"),
            ("EXPIRE a 9223372036854775", "-ERR invalid expire time in 'expire' command\r\n"),
            ("PEXPIRE a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n"),
            ("PEXPIREAT a 9223372036854775807", ":1\r\n"),
            ("PEXPIRETIME a", ":9223372036854775807\r\n"),
        ]);
        assert_eq!(store.run(&format!("EXPIREAT a {seconds}")), ":1\r\n");
        assert_eq!(store.run("EXPIRETIME a"), format!(":{seconds}\r\n"));
        store.expect(&[("TTL a", ":100\r\n"), ("EXPIRE a -1", ":1\r\n"), ("EXISTS a", ":0\r\n")]);
    }

    #[test]
    fn a_key_ends_at_its_millisecond() {
        let mut store = Store::new();
        store.expect(&[("SET a 1", "+OK\r\n"), ("PEXPIRE a 10", ":1\r\n")]);
        store.now += 9;
        store.expect(&[("PTTL a", ":1\r\n")]);
        store.now += 1;
        store.expect(&[("PTTL a", ":-2\r\n"), ("PERSIST a", ":0\r\n")]);
    }
}
