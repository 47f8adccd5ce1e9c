//! Sessions: hashes with a user, an idle timeout, an absolute deadline and a version.
//!
//! What they mean stands in [`ops::sessions`](crate::ops::sessions), what they answer in
//! `docs/sessions.md`.
//! What always holds: one command is one step for whoever looks, whatever keys it names.

mod parse;
#[cfg(test)]
mod tests;

use super::support::{is, keyless};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::sessions::merge::List;
use crate::ops::sessions::{self, Life, Target};
use crate::row::{Flags, Handler, Keys, Outcome, Row};
use engine::Entry;
use parse::{Options, Parsed, Reader};
use protocol::args::Args;
use protocol::resp::Reply;

const WRITE: Flags = Flags::WRITE.and(Flags::FAST).and(Flags::BEYOND);
const GROW: Flags = WRITE.and(Flags::DENYOOM);
// A read may find that a key stands for another one.
const READ: Flags = Flags::READONLY.and(Flags::FAST).and(Flags::BEYOND);
const ALL: Flags = Flags::ALL_SHARDS;
const FIRST: Keys = Keys::FIRST;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(
        (
            "SESSION.CREATE key [IDLE seconds] [MAX seconds] [EXAT unix-time-milliseconds] \
             [USER user] [LIMIT count] [SET count <field value>...] [REQ token]",
            -2,
        ),
        GROW,
        FIRST,
        create,
        "Creates a session.",
    ),
    row(
        ("SESSION.LOAD key [PEEK]", -2),
        READ,
        FIRST,
        load,
        "Returns a session, which is a use of it.",
    ),
    row(
        (
            "SESSION.SAVE key [IF version] [IDLE seconds] [MAX seconds] \
             [EXAT unix-time-milliseconds] [USER user] [DELTREE count path...] \
             [DEL count field...] [SET count <field value>...] [INIT count <field value>...] \
             [INCR count <field by:double>...] [<PUSH field value [TRIM count]>...] [REQ token]",
            -2,
        ),
        GROW,
        FIRST,
        save,
        "Merges changes into a session, which is a use of it.",
    ),
    row(
        (
            "SESSION.ROTATE key newkey [GRACE seconds] [HARD] [LIMIT count] \
             [ELSE CREATE [count <field value>...]] [IF version] [IDLE seconds] [MAX seconds] \
             [EXAT unix-time-milliseconds] [USER user] [DELTREE count path...] \
             [DEL count field...] [SET count <field value>...] [INIT count <field value>...] \
             [INCR count <field by:double>...] [<PUSH field value [TRIM count]>...] [REQ token]",
            -3,
        ),
        GROW,
        Keys::FIRST_TWO,
        rotate,
        "Gives a session another key, with changes.",
    ),
    row(("SESSION.END key...", -2), WRITE.and(Flags::REVOKES), Keys::ALL, end, "Ends sessions."),
    row(("SESSION.TOUCH key", 2), READ, FIRST, touch, "Re-arms the idle timeout of a session."),
    row(
        ("SESSION.LIST user [FIELDS count field...]", -2),
        ALL.and(Flags::READONLY),
        Keys::None,
        list,
        "Lists the sessions of a user, the newest first.",
    ),
    row(
        ("SESSION.ENDALL user [EXCEPT session]", -2),
        ALL.and(Flags::WRITE).and(Flags::REVOKES),
        Keys::None,
        end_all,
        "Ends the sessions of a user.",
    ),
    row(
        ("SLIDE key seconds [MAX seconds]", -3),
        Flags::WRITE.and(Flags::FAST),
        FIRST,
        slide,
        "Lets a key end unless it is used, and at some time in any case.",
    ),
];

const fn row(
    name: (&'static str, i32),
    flags: Flags,
    keys: Keys,
    handler: Handler,
    summary: &'static str,
) -> Row {
    Row { keys, ..keyless("session", name, flags, handler, "Sessile 0.1.0", summary) }
}

fn create(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let request = Parsed::read(args, 2, Options::CREATE)?.request;
    let version = sessions::create(ctx, args.at(1), &request, request.patch.set)?;
    version_or_null(ctx, version);
    Ok(())
}

/// `key [PEEK]`
fn load(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let peek = args.len() > 2;
    if args.len() > 3 || peek && !is(args.at(2), "PEEK") {
        return Err(Failure::SYNTAX);
    }
    let target = sessions::resolve(ctx, args.at(1))?;
    let name = match &target {
        Target::Session(name) => name,
        Target::Rotated => {
            ctx.reply.simple("ROTATED");
            return Ok(());
        }
        Target::Gone => {
            ctx.reply.null();
            return Ok(());
        }
    };
    let (now, used) = (ctx.now, !peek && !ctx.client.no_touch);
    let key = ctx.key(name);
    let shard = ctx.shards.shard(key.hash.shard(ctx.shards.count()));
    match shard.meet(ctx.client.db, &key, now, used) {
        Some(entry) => tell(&mut ctx.reply, &entry, now),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `[version, ms until unused for too long, ms until the last moment, user, [field, value ...]]`
fn tell(reply: &mut Reply<'_>, entry: &Entry<'_>, now: u64) {
    let slide = entry.slide();
    let idle = entry.deadline().filter(|_| slide.idle_s() > 0);
    reply.array(5);
    reply.int(entry.version().cast_signed());
    for at in [idle, slide.absolute()] {
        match at {
            Some(at) => reply.int(at.saturating_sub(now).cast_signed()),
            None => reply.null(),
        }
    }
    reply.bulk(entry.user());
    let hash = entry.hash();
    reply.array(2 * hash.map_or(0, |hash| hash.live_len(now)));
    for field in hash.iter().flat_map(|hash| hash.iter(now)) {
        reply.bulk(field.name);
        reply.bulk(field.value);
    }
}

fn save(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let request = Parsed::read(args, 2, Options::SAVE)?.request;
    let version = sessions::save(ctx, args.at(1), &request)?;
    version_or_null(ctx, version);
    Ok(())
}

fn rotate(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let Parsed { request, rotation } = Parsed::read(args, 3, Options::ROTATE)?;
    let version = sessions::rotate(ctx, (args.at(1), args.at(2)), &request, rotation)?;
    version_or_null(ctx, version);
    Ok(())
}

fn end(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    // Before the first is ended it must be known that all can be.
    for name in args.from(1).iter() {
        sessions::reach(ctx, name)?;
    }
    let mut ended = 0;
    for name in args.from(1).iter() {
        ended += i64::from(sessions::end(ctx, name)?);
    }
    ctx.reply.int(ended);
    Ok(())
}

fn touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let touched = sessions::touch(ctx, args.at(1))?;
    ctx.reply.int(i64::from(touched));
    Ok(())
}

/// `user [FIELDS n f ...]`
fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mut reader = Reader { args, at: 3, option: "FIELDS" };
    let mut names = List::new(args, 0);
    if args.len() > 2 {
        names =
            if is(args.at(2), "FIELDS") { reader.list(1)? } else { return Err(Failure::SYNTAX) };
        if reader.at != args.len() {
            return Err(Failure::SYNTAX);
        }
    }
    let listed = sessions::list(ctx, args.at(1))?;
    ctx.reply.array(listed.len());
    for session in listed.iter().rev() {
        ctx.reply_fits()?;
        ctx.reply.array(4);
        ctx.reply.bulk(&session.key);
        ctx.reply.int(session.created.cast_signed());
        ctx.reply.int(session.seen.cast_signed());
        let (key, now) = (ctx.key(&session.key), ctx.now);
        let shard = ctx.shards.shard(key.hash.shard(ctx.shards.count()));
        let hash = shard.peek(ctx.client.db, &key, now).and_then(|entry| entry.hash());
        let fields = || names.iter().filter_map(|name| hash?.get(name, now));
        ctx.reply.array(2 * fields().count());
        for field in fields() {
            ctx.reply.bulk(field.name);
            ctx.reply.bulk(field.value);
        }
    }
    Ok(())
}

/// `user [EXCEPT key]`
fn end_all(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let except = match args.len() {
        2 => None,
        4 if is(args.at(2), "EXCEPT") => args.get(3),
        _ => return Err(Failure::SYNTAX),
    };
    let ended = sessions::end_all(ctx, args.at(1), except)?;
    ctx.reply.int(ended as i64);
    Ok(())
}

/// `key idle [MAX s]`
fn slide(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let idle = Reader { args, at: 2, option: "SLIDE" }.number(0, u32::MAX.into())?;
    let life = Parsed::read(args, 3, Options::SLIDE)?.request.life;
    let life = Life { idle_s: Some(idle as u32), ..life };
    let slides = sessions::slide(ctx, args.at(1), life)?;
    ctx.reply.int(i64::from(slides));
    Ok(())
}

fn version_or_null(ctx: &mut Ctx<'_>, version: Option<u64>) {
    match version {
        Some(version) => ctx.reply.int(version.cast_signed()),
        None => ctx.reply.null(),
    }
}
