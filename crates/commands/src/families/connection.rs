//! Connections: who a client is, how it is answered, and the end of it.
//!
//! What always holds: a password is compared in a time that depends on the client's guess alone.

use super::client::SUBCOMMANDS;
use super::keys::database;
use super::support::{container, is, keyless, text};
use crate::client::ReplyMode;
use crate::context::Ctx;
use crate::dispatch::forget_watches;
use crate::failure::Failure;
use crate::limits::LABEL_BYTES_MAX;
use crate::row::{Flags, Outcome, Row};
use protocol::args::Args;
use protocol::resp::{RespVersion, parse_i64};

const GROUP: &str = "connection";
/// What can be done at any time.
const ALWAYS: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);
const UNKNOWN: Flags = ALWAYS.and(Flags::NO_AUTH).and(Flags::NO_SCRIPT);

/// The family's rows.
pub const ROWS: &[Row] = &[
    keyless(
        GROUP,
        ("HELLO [protover [AUTH username password] [SETNAME clientname]]", -1),
        UNKNOWN.and(Flags::SKIP_SLOWLOG).and(Flags::NO_PAUSE),
        hello,
        "6.0.0",
        "Agrees on a protocol version, and on who the client is.",
    ),
    keyless(
        GROUP,
        ("AUTH [username] password", -2),
        UNKNOWN.and(Flags::SKIP_SLOWLOG).and(Flags::NO_PAUSE),
        auth,
        "1.0.0",
        "Authenticates the connection.",
    ),
    keyless(
        GROUP,
        ("SELECT index", 2),
        ALWAYS.and(Flags::NO_PAUSE),
        select,
        "1.0.0",
        "Chooses the database.",
    ),
    keyless(
        GROUP,
        ("PING [message]", -1),
        Flags::FAST,
        ping,
        "1.0.0",
        "Answers, to show that it can.",
    ),
    keyless(GROUP, ("ECHO message", 2), ALWAYS, echo, "1.0.0", "Returns its argument."),
    keyless(
        GROUP,
        ("QUIT", -1),
        UNKNOWN.and(Flags::NOT_QUEUED),
        quit,
        "1.0.0",
        "Closes the connection.",
    ),
    keyless(
        GROUP,
        ("RESET", 1),
        UNKNOWN.and(Flags::NOT_QUEUED),
        reset,
        "6.2.0",
        "Makes the connection as it was when it began.",
    ),
    container(GROUP, "CLIENT", "2.4.0", "Tells and changes facts of connections.", SUBCOMMANDS),
];

const WRONG_PASSWORD: Failure =
    Failure::text("WRONGPASS invalid username-password pair or user is disabled.");

fn hello(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let wanted = match args.get(1).map(parse_i64) {
        None => None,
        Some(None) => {
            return Err(Failure::text("ERR Protocol version is not an integer or out of range"));
        }
        Some(Some(2)) => Some(RespVersion::Two),
        Some(Some(3)) => Some(RespVersion::Three),
        Some(Some(_)) => return Err(Failure::text("NOPROTO unsupported protocol version")),
    };
    let mut credentials = None;
    let mut name = None;
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let more = args.len() - 1 - at;
        if is(option, "AUTH") && more >= 2 {
            credentials = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if is(option, "SETNAME") && more >= 1 {
            name = Some(checked_name(args.at(at + 1))?);
            at += 2;
        } else {
            let option = text(option);
            return Err(Failure::made(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(ctx, user, password)?;
    }
    if !ctx.client.authenticated {
        return Err(Failure::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        ctx.client.name = name.to_vec();
    }
    if let Some(version) = wanted {
        ctx.client.version = version;
        ctx.reply.set_version(version);
    }
    ctx.host.introduced(ctx.client);
    greet(ctx);
    Ok(())
}

fn greet(ctx: &mut Ctx<'_>) {
    let protocol = if ctx.client.version == RespVersion::Two { 2 } else { 3 };
    ctx.reply.map(7);
    ctx.reply.bulk(b"server");
    ctx.reply.bulk(b"redis");
    ctx.reply.bulk(b"version");
    ctx.reply.bulk(ctx.host.version().as_bytes());
    ctx.reply.bulk(b"proto");
    ctx.reply.int(protocol);
    ctx.reply.bulk(b"id");
    ctx.reply.int(ctx.client.id as i64);
    ctx.reply.bulk(b"mode");
    ctx.reply.bulk(b"standalone");
    ctx.reply.bulk(b"role");
    ctx.reply.bulk(b"master");
    ctx.reply.bulk(b"modules");
    ctx.reply.array(0);
}

fn auth(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    match args.len() {
        2 if ctx.host.password().is_none() => {
            return Err(Failure::text(
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            ));
        }
        2 => authenticate(ctx, b"default", args.at(1))?,
        3 => authenticate(ctx, args.at(1), args.at(2))?,
        _ => return Err(Failure::SYNTAX),
    }
    ctx.host.introduced(ctx.client);
    ctx.reply.ok();
    Ok(())
}

/// There is one user, `default`; without a password set, any will do.
fn authenticate(ctx: &mut Ctx<'_>, user: &[u8], guess: &[u8]) -> Outcome {
    let right = ctx.host.password().is_none_or(|secret| equal(guess, &secret));
    if !right || user != b"default" {
        return Err(WRONG_PASSWORD);
    }
    ctx.client.authenticated = true;
    Ok(())
}

/// Whether a guess is right, found out in a time that only depends on the guess.
fn equal(guess: &[u8], secret: &[u8]) -> bool {
    let mut difference = guess.len() ^ secret.len();
    for (at, byte) in guess.iter().enumerate() {
        let other = secret.get(at % secret.len().max(1)).copied().unwrap_or(0);
        difference |= usize::from(std::hint::black_box(byte ^ other));
    }
    difference == 0
}

fn select(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    ctx.client.db = database(ctx, args.at(1), Failure::NOT_AN_INTEGER)?;
    ctx.host.introduced(ctx.client);
    ctx.reply.ok();
    Ok(())
}

fn ping(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    match args.len() {
        1 => ctx.reply.simple("PONG"),
        2 => ctx.reply.bulk(args.at(1)),
        _ => return Err(Failure::arity("ping")),
    }
    Ok(())
}

fn echo(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    ctx.reply.bulk(args.at(1));
    Ok(())
}

fn quit(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.client.close = true;
    ctx.reply.ok();
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    forget_watches(ctx);
    let client = &mut *ctx.client;
    client.transaction = None;
    client.db = 0;
    client.version = RespVersion::Two;
    client.authenticated = ctx.host.password().is_none();
    client.name = Vec::new();
    client.no_touch = false;
    client.no_evict = false;
    client.reply_mode = ReplyMode::On;
    ctx.reply.set_version(RespVersion::Two);
    ctx.host.introduced(ctx.client);
    ctx.reply.simple("RESET");
    Ok(())
}

/// A name that can stand in a line of CLIENT LIST.
pub(super) fn checked_name(name: &[u8]) -> Result<&[u8], Failure> {
    if is_label(name) {
        return Ok(name);
    }
    Err(Failure::text("ERR Client names cannot contain spaces, newlines or special characters."))
}

/// Whether a client may call itself, or its library, so.
pub(super) fn is_label(label: &[u8]) -> bool {
    label.len() <= LABEL_BYTES_MAX && label.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::equal;
    use crate::testing::Store;

    #[test]
    fn a_password_is_equal_to_itself_alone() {
        assert!(equal(b"secret", b"secret") && equal(b"", b""));
        assert!(!equal(b"secre", b"secret") && !equal(b"secretsecret", b"secret"));
        assert!(!equal(b"", b"secret") && !equal(b"x", b"") && !equal(b"secreT", b"secret"));
    }

    #[test]
    fn hello_changes_the_protocol_and_refuses_what_it_does_not_know() {
        let mut store = Store::new();
        assert!(store.run("HELLO 3 SETNAME joe").starts_with("%7\r\n$6\r\nserver\r\n"));
        assert!(store.run("HELLO").contains("$5\r\nproto\r\n:3\r\n"));
        store.expect(&[
            ("CLIENT GETNAME", "$3\r\njoe\r\n"),
            ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
            ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
            ("HELLO 2 foo", "-ERR Syntax error in HELLO option 'foo'\r\n"),
            ("HELLO 2 AUTH a", "-ERR Syntax error in HELLO option 'AUTH'\r\n"),
            ("RESET", "+RESET\r\n"),
            ("CLIENT GETNAME", "$-1\r\n"),
        ]);
    }

    #[test]
    fn without_a_password_there_is_nothing_to_give() {
        let mut store = Store::new();
        let refused = store.run("AUTH x");
        assert!(refused.starts_with("-ERR AUTH <password> called without any password"));
        store.expect(&[
            ("AUTH default x", "+OK\r\n"),
            ("AUTH other x", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
            ("AUTH a b c", "-ERR syntax error\r\n"),
        ]);
    }

    #[test]
    fn databases_pings_and_the_end() {
        let mut store = Store::new();
        store.expect(&[
            ("SELECT 15", "+OK\r\n"),
            ("SELECT 16", "-ERR DB index is out of range\r\n"),
            ("SELECT -1", "-ERR DB index is out of range\r\n"),
            ("SELECT x", "-ERR value is not an integer or out of range\r\n"),
            ("PING", "+PONG\r\n"),
            ("PING a", "$1\r\na\r\n"),
            ("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
            ("ECHO a", "$1\r\na\r\n"),
            ("QUIT", "+OK\r\n"),
        ]);
        assert!(store.client.close && store.client.db == 15);
    }
}
