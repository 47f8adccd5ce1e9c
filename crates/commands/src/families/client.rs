//! CLIENT: what a connection is and says, and what is done to others.

use super::clients::{describe, kill, list};
use super::connection::{checked_name, is_label};
use super::support::{help, is, keyless, text};
use crate::client::{ReplyMode, Unblocked};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::row::{Flags, Handler, Outcome, Row};
use protocol::args::Args;
use protocol::resp::parse_i64;

/// For the client itself.
const OWN: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::NO_SCRIPT);
/// For those who look after others.
const ADMIN: Flags = OWN.and(Flags::ADMIN);
const HELP: Flags = Flags::LOADING.and(Flags::STALE);

/// The subcommands.
pub(super) const SUBCOMMANDS: &[Row] = &[
    row(("GETNAME", 2), OWN, get_name, "2.6.9", "Returns the connection's name."),
    row(("GETREDIR", 2), OWN, get_redirection, "6.0.0", "Returns who gets invalidations."),
    row(("HELP", 2), HELP, client_help, "5.0.0", "Returns this text."),
    row(("ID", 2), OWN, id, "5.0.0", "Returns the connection's number."),
    row(("INFO", 2), OWN, info, "6.2.0", "Returns facts of the connection."),
    row(
        (
            "KILL <address|<ID client-id|TYPE <NORMAL|MASTER|SLAVE|REPLICA|PUBSUB>|USER \
             username|ADDR address|LADDR address|SKIPME <YES|NO>|MAXAGE maxage>...>",
            -3,
        ),
        ADMIN,
        kill,
        "2.4.0",
        "Closes connections.",
    ),
    row(
        ("LIST [TYPE <NORMAL|MASTER|REPLICA|PUBSUB>] [ID client-id...]", -2),
        ADMIN,
        list,
        "2.4.0",
        "Lists connections with their facts.",
    ),
    row(
        ("NO-EVICT <ON|OFF>", 3),
        ADMIN,
        no_evict,
        "7.0.0",
        "Spares the connection when memory is short.",
    ),
    row(("NO-TOUCH <ON|OFF>", 3), OWN, no_touch, "7.2.0", "Lets reads leave no trace on keys."),
    row(
        ("PAUSE timeout [WRITE|ALL]", -3),
        ADMIN,
        pause,
        "3.0.0",
        "Serves nobody, or no writers, for a while.",
    ),
    row(("REPLY <ON|OFF|SKIP>", 3), OWN, reply, "3.2.0", "Chooses which replies are sent."),
    row(
        ("SETINFO <LIB-NAME libname|LIB-VER libver>", 4),
        OWN.and(Flags::NO_PAUSE),
        set_info,
        "7.2.0",
        "Tells the client's library and its version.",
    ),
    row(
        ("SETNAME connection-name", 3),
        OWN.and(Flags::NO_PAUSE),
        set_name,
        "2.6.9",
        "Names the connection.",
    ),
    row(("TRACKINGINFO", 2), OWN, tracking_info, "6.2.0", "Tells how keys are tracked."),
    row(
        ("UNBLOCK client-id [TIMEOUT|ERROR]", -3),
        ADMIN,
        unblock,
        "5.0.0",
        "Wakes a connection that waits.",
    ),
    row(("UNPAUSE", 2), ADMIN.and(Flags::NO_PAUSE), unpause, "6.2.0", "Ends a pause."),
];

const fn row(
    name: (&'static str, i32),
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    keyless("connection", name, flags, handler, since, summary)
}

fn client_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    help(ctx, "CLIENT")
}

fn get_name(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    if ctx.client.name.is_empty() {
        ctx.reply.null();
    } else {
        ctx.reply.bulk(&ctx.client.name);
    }
    Ok(())
}

fn set_name(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    ctx.client.name = checked_name(args.at(2))?.to_vec();
    ctx.host.introduced(ctx.client);
    ctx.reply.ok();
    Ok(())
}

fn set_info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let (option, value) = (args.at(2), args.at(3));
    let (library, version) = &mut ctx.client.library;
    let place = if is(option, "LIB-NAME") {
        library
    } else if is(option, "LIB-VER") {
        version
    } else {
        return Err(Failure::made(format!("ERR Unrecognized option '{}'", text(option))));
    };
    if !is_label(value) {
        let option = text(option);
        return Err(Failure::made(format!(
            "ERR {option} cannot contain spaces, newlines or special characters."
        )));
    }
    *place = value.to_vec();
    ctx.host.introduced(ctx.client);
    ctx.reply.ok();
    Ok(())
}

fn id(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.int(ctx.client.id as i64);
    Ok(())
}

fn info(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    let id = ctx.client.id;
    let own = ctx.host.clients().into_iter().find(|facts| facts.id == id);
    let line = describe(&own.unwrap_or_default(), ctx.client);
    ctx.reply.verbatim("txt", line.as_bytes());
    Ok(())
}

fn get_redirection(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.int(-1);
    Ok(())
}

fn tracking_info(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.map(3);
    ctx.reply.bulk(b"flags");
    ctx.reply.set(1);
    ctx.reply.bulk(b"off");
    ctx.reply.bulk(b"redirect");
    ctx.reply.int(-1);
    ctx.reply.bulk(b"prefixes");
    ctx.reply.array(0);
    Ok(())
}

fn no_evict(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    ctx.client.no_evict = on_or_off(args.at(2))?;
    ctx.host.introduced(ctx.client);
    ctx.reply.ok();
    Ok(())
}

fn no_touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    ctx.client.no_touch = on_or_off(args.at(2))?;
    ctx.host.introduced(ctx.client);
    ctx.reply.ok();
    Ok(())
}

fn on_or_off(arg: &[u8]) -> Result<bool, Failure> {
    if is(arg, "ON") {
        Ok(true)
    } else if is(arg, "OFF") {
        Ok(false)
    } else {
        Err(Failure::SYNTAX)
    }
}

fn reply(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mode = args.at(2);
    if is(mode, "ON") {
        ctx.client.reply_mode = ReplyMode::On;
        ctx.reply.ok();
    } else if is(mode, "OFF") {
        ctx.client.reply_mode = ReplyMode::Off;
    } else if is(mode, "SKIP") {
        if ctx.client.reply_mode != ReplyMode::Off {
            ctx.client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Failure::SYNTAX);
    }
    Ok(())
}

fn pause(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    at_most_four(args)?;
    let all = match args.get(3) {
        None => true,
        Some(mode) if is(mode, "ALL") => true,
        Some(mode) if is(mode, "WRITE") => false,
        Some(_) => return Err(Failure::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout = parse_i64(args.at(2))
        .ok_or(Failure::text("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| Failure::text("ERR timeout is negative"))?;
    ctx.host.pause(ctx.now.saturating_add(timeout), all);
    ctx.reply.ok();
    Ok(())
}

fn unpause(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.host.pause(0, false);
    ctx.reply.ok();
    Ok(())
}

/// An arity says the least that a subcommand takes; of these two there is also a most.
fn at_most_four(args: Args<'_>) -> Outcome {
    if args.len() <= 4 {
        return Ok(());
    }
    let name = text(args.at(1));
    Err(Failure::made(format!(
        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try CLIENT HELP."
    )))
}

fn unblock(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    at_most_four(args)?;
    let how = match args.get(3) {
        None => Unblocked::Timeout,
        Some(reason) if is(reason, "TIMEOUT") => Unblocked::Timeout,
        Some(reason) if is(reason, "ERROR") => Unblocked::Error,
        Some(_) => {
            return Err(Failure::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = parse_i64(args.at(2)).ok_or(Failure::NOT_AN_INTEGER)?;
    let waited = u64::try_from(id).is_ok_and(|id| ctx.host.unblock(id, how));
    ctx.reply.int(i64::from(waited));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn a_client_says_who_it_is() {
        let mut store = Store::new();
        store.expect(&[
            ("CLIENT ID", ":1\r\n"),
            ("CLIENT GETNAME", "$-1\r\n"),
            ("CLIENT SETNAME joe", "+OK\r\n"),
            ("CLIENT GETNAME", "$3\r\njoe\r\n"),
            (
                "CLIENT SETNAME \"a b\"",
                "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
            ),
            ("CLIENT SETINFO lib-name redis-py", "+OK\r\n"),
            ("CLIENT SETINFO LIB-VER 8", "+OK\r\n"),
            ("CLIENT SETINFO x 8", "-ERR Unrecognized option 'x'\r\n"),
            (
                "CLIENT SETINFO lib-name \"a b\"",
                "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n",
            ),
            ("CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command\r\n"),
            ("CLIENT", "-ERR wrong number of arguments for 'client' command\r\n"),
            ("CLIENT nosuch", "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP.\r\n"),
        ]);
        let line = store.run("CLIENT INFO");
        assert!(line.contains(" name=joe ") && line.contains("lib-name=redis-py lib-ver=8\n"));
        assert!(line.contains("cmd=client|info "), "{line}");
    }

    #[test]
    fn replies_can_be_turned_off_or_skipped() {
        let mut store = Store::new();
        store.expect(&[
            ("CLIENT REPLY SKIP", ""),
            ("PING", ""),
            ("PING", "+PONG\r\n"),
            ("CLIENT REPLY OFF", ""),
            ("PING", ""),
            ("NOSUCH", ""),
            ("CLIENT REPLY SKIP", ""),
            ("CLIENT REPLY ON", "+OK\r\n"),
            ("PING", "+PONG\r\n"),
            ("CLIENT REPLY x", "-ERR syntax error\r\n"),
        ]);
    }

    #[test]
    fn a_pause_has_a_length_and_a_mode() {
        let mut store = Store::new();
        store.expect(&[
            ("CLIENT PAUSE 10 WRITE", "+OK\r\n"),
            ("CLIENT UNPAUSE", "+OK\r\n"),
            ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range\r\n"),
            ("CLIENT PAUSE -1", "-ERR timeout is negative\r\n"),
            ("CLIENT PAUSE 10 foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n"),
            ("CLIENT UNBLOCK 4", ":0\r\n"),
            ("CLIENT UNBLOCK 4 foo", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n"),
            ("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range\r\n"),
        ]);
    }
}
