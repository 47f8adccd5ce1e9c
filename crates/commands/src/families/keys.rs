//! Keys, whatever they hold: existence, kind, names, copies.
//!
//! What always holds: a copy stands before its original goes, so that want of room loses nothing.
//! Not for: deadlines (see `expiry`), whole databases (see `databases`).

use super::support::{container, help, is, keyless};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::strings::entry;
use crate::row::{Flags, Handler, Keys, Outcome, Row};
use engine::hash::HashView;
use engine::{Cause, Change, Entry, Key, Kind, OwnedItem, Policy, Slide, State};
use protocol::args::Args;
use protocol::resp::parse_i64;

const READ: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const COPY: Flags = Flags::WRITE.and(Flags::DENYOOM);
const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };

/// The longest string that Redis keeps in one piece with its object.
const EMBEDDED_MAX: usize = 44;

/// The family's rows.
pub const ROWS: &[Row] = &[
    row(("DEL key...", -2), WRITE.and(Flags::REVOKES), Keys::ALL, delete, "1.0.0", "Deletes keys."),
    row(
        ("UNLINK key...", -2),
        WRITE_FAST.and(Flags::REVOKES),
        Keys::ALL,
        delete,
        "4.0.0",
        "Deletes keys.",
    ),
    row(("EXISTS key...", -2), READ, Keys::ALL, exists, "1.0.0", "Counts the keys that exist."),
    row(
        ("TOUCH key...", -2),
        READ,
        Keys::ALL,
        touch,
        "3.2.1",
        "Counts the keys that exist, as a use.",
    ),
    row(
        ("TYPE key", 2),
        READ,
        Keys::FIRST,
        kind,
        "1.0.0",
        "Returns what kind of value a key holds.",
    ),
    row(
        ("RENAME key newkey", 3),
        WRITE,
        Keys::FIRST_TWO,
        rename,
        "1.0.0",
        "Gives a key another name.",
    ),
    row(
        ("RENAMENX key newkey", 3),
        WRITE_FAST,
        Keys::FIRST_TWO,
        renamenx,
        "1.0.0",
        "Gives a key another name that is free.",
    ),
    row(
        ("COPY source destination [DB destination-db] [REPLACE]", -3),
        COPY,
        Keys::FIRST_TWO,
        copy,
        "6.2.0",
        "Copies a key's value to another key.",
    ),
    row(
        ("MOVE key db", 3),
        WRITE_FAST,
        Keys::FIRST,
        relocate,
        "1.0.0",
        "Moves a key to a database.",
    ),
    container("generic", "OBJECT", "2.2.3", "Tells how a key's value is kept.", OBJECT),
];

const OBJECT: &[Row] = &[
    row(("ENCODING key", 3), READ, SECOND, encoding, "2.2.3", "Returns the form of a key's value."),
    row(("FREQ key", 3), READ, SECOND, frequency, "4.0.0", "Returns how often a key is used."),
    row(("IDLETIME key", 3), READ, SECOND, idle, "2.2.3", "Returns the seconds since a key's use."),
    row(("REFCOUNT key", 3), READ, SECOND, references, "2.2.3", "Returns 1: values aren't shared."),
    row(("HELP", 2), Flags::NONE, Keys::None, object_help, "6.2.0", "Returns this text."),
];

const fn row(
    name: (&'static str, i32),
    flags: Flags,
    keys: Keys,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    Row { keys, ..keyless("generic", name, flags, handler, since, summary) }
}

fn delete(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mut deleted = 0;
    for name in args.from(1).iter() {
        let key = ctx.key(name);
        deleted += i64::from(ctx.apply(&key, Change::Remove(Cause::Deleted))?.existed);
    }
    ctx.reply.int(deleted);
    Ok(())
}

fn exists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mut found = 0;
    for name in args.from(1).iter() {
        let key = ctx.key(name);
        found += i64::from(ctx.peek(&key).is_some());
    }
    ctx.reply.int(found);
    Ok(())
}

fn touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let mut found = 0;
    for name in args.from(1).iter() {
        let key = ctx.key(name);
        // TOUCH is asked for by name, so that it counts even after CLIENT NO-TOUCH.
        let (db, now) = (ctx.db(), ctx.now);
        found += i64::from(ctx.shard_of(&key).get(db, &key, now).is_some());
    }
    ctx.reply.int(found);
    Ok(())
}

fn kind(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let name = ctx.peek(&key).map_or("none", |entry| kind_name(entry.kind()));
    ctx.reply.simple(name);
    Ok(())
}

fn rename(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let (from, to) = (ctx.key(args.at(1)), ctx.key(args.at(2)));
    let item = item_of(ctx, &from).ok_or(Failure::NO_SUCH_KEY)?;
    if from.bytes != to.bytes {
        ctx.apply(&to, Change::Install(&item))?;
        ctx.apply(&from, Change::Remove(Cause::Moved))?;
    }
    ctx.reply.ok();
    Ok(())
}

fn renamenx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let (from, to) = (ctx.key(args.at(1)), ctx.key(args.at(2)));
    if ctx.peek(&from).is_none() {
        return Err(Failure::NO_SUCH_KEY);
    }
    let free = ctx.peek(&to).is_none();
    if free {
        let item = item_of(ctx, &from).ok_or(Failure::NO_SUCH_KEY)?;
        ctx.apply(&to, Change::Install(&item))?;
        ctx.apply(&from, Change::Remove(Cause::Moved))?;
    }
    ctx.reply.int(i64::from(free));
    Ok(())
}

fn copy(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let (mut replace, mut to_db) = (false, ctx.db());
    let mut i = 3;
    while let Some(option) = args.get(i) {
        if is(option, "REPLACE") {
            replace = true;
        } else if is(option, "DB") && i + 1 < args.len() {
            i += 1;
            to_db = database(ctx, args.at(i), Failure::NOT_AN_INTEGER)?;
        } else {
            return Err(Failure::SYNTAX);
        }
        i += 1;
    }
    let (from, to) = (ctx.key(args.at(1)), ctx.key(args.at(2)));
    if to_db == ctx.db() && from.bytes == to.bytes {
        return Err(SAME_OBJECT);
    }
    let now = ctx.now;
    let item = item_of(ctx, &from).and_then(plain);
    let taken = ctx.shard_of(&to).peek(to_db, &to, now).is_some();
    let copied = item.filter(|_| replace || !taken);
    if let Some(item) = &copied {
        ctx.apply_in(to_db, &to, Change::Install(item))?;
    }
    ctx.reply.int(i64::from(copied.is_some()));
    Ok(())
}

fn relocate(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let to_db = database(ctx, args.at(2), Failure::NOT_AN_INTEGER)?;
    if to_db == ctx.db() {
        return Err(SAME_OBJECT);
    }
    let key = ctx.key(args.at(1));
    let now = ctx.now;
    let taken = ctx.shard_of(&key).peek(to_db, &key, now).is_some();
    let moved = item_of(ctx, &key).filter(|_| !taken);
    if let Some(item) = &moved {
        ctx.apply_in(to_db, &key, Change::Install(item))?;
        ctx.apply(&key, Change::Remove(Cause::Moved))?;
    }
    ctx.reply.int(i64::from(moved.is_some()));
    Ok(())
}

fn encoding(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(2));
    match ctx.peek(&key).map(|entry| encoding_of(&entry)) {
        Some(name) => ctx.reply.bulk(name.as_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn frequency(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.now;
    let counts = counts_uses(ctx);
    let key = ctx.key(args.at(2));
    match ctx.peek(&key).map(|entry| entry.frequency(now)) {
        Some(_) if !counts => return Err(NOT_COUNTED),
        Some(frequency) => ctx.reply.int(i64::from(frequency)),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn idle(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.now;
    let counts = counts_uses(ctx);
    let key = ctx.key(args.at(2));
    match ctx.peek(&key).map(|entry| entry.idle_ms(now)) {
        Some(_) if counts => return Err(NOT_TIMED),
        Some(idle) => ctx.reply.int((idle / 1000) as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn references(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(2));
    match ctx.peek(&key) {
        Some(_) => ctx.reply.int(1),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn object_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    help(ctx, "OBJECT")
}

const SAME_OBJECT: Failure = Failure::text("ERR source and destination objects are the same");
const NOT_COUNTED: Failure = Failure::text(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
     when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const NOT_TIMED: Failure = Failure::text(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

/// The name that TYPE gives a kind of value.
pub(super) const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::Hash => "hash",
        Kind::Unknown => "unknown",
    }
}

/// The number of a database; `otherwise` if the argument is no integer.
///
/// # Errors
/// If there is no such database.
pub(super) fn database(
    ctx: &Ctx<'_>,
    argument: &[u8],
    otherwise: Failure,
) -> Result<usize, Failure> {
    let beyond =
        Failure::text("ERR value is out of range, value must between -2147483648 and 2147483647");
    let number = parse_i64(argument).ok_or_else(|| otherwise.clone())?;
    if i32::try_from(number).is_err() {
        return Err(if otherwise == Failure::NOT_AN_INTEGER { beyond } else { otherwise });
    }
    let number = usize::try_from(number).ok();
    number
        .filter(|number| *number < ctx.shards.databases())
        .ok_or(Failure::text("ERR DB index is out of range"))
}

fn item_of(ctx: &mut Ctx<'_>, key: &Key<'_>) -> Option<OwnedItem> {
    entry(ctx.shards, ctx.client, key, ctx.now).map(|entry| entry.to_owned_item())
}

/// The item as a copy gets it: of a session a plain hash, unless it has no fields.
fn plain(mut item: OwnedItem) -> Option<OwnedItem> {
    if item.meta.slide.state() == State::Session {
        (item.meta.slide, item.meta.rotated) = (Slide::default(), 0);
        item.user = Vec::new();
    }
    (!item.is_empty_hash()).then_some(item)
}

/// Whether the eviction policy counts uses instead of keeping the time of the last.
fn counts_uses(ctx: &Ctx<'_>) -> bool {
    let policy = ctx.host.settings(&["maxmemory-policy"]);
    policy.first().and_then(|(_, value)| Policy::named(value)).is_some_and(Policy::counts)
}

/// How Redis would keep the value.
pub(super) fn encoding_of(entry: &Entry<'_>) -> &'static str {
    match entry.hash() {
        Some(HashView::Big(_)) => return "hashtable",
        Some(hash) if hash.first_deadline().is_some() => return "listpackex",
        Some(_) => return "listpack",
        None => {}
    }
    let Some(string) = entry.string() else { return "raw" };
    match string.as_slice() {
        Some(bytes) if parse_i64(bytes).is_some() => "int",
        Some(bytes) if bytes.len() <= EMBEDDED_MAX => "embstr",
        _ => "raw",
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    const SAME: &str = "-ERR source and destination objects are the same\r\n";

    #[test]
    fn keys_come_go_and_change_names() {
        let mut store = Store::new();
        store.expect(&[
            ("MSET a 1 b 2 c 3", "+OK\r\n"),
            ("EXISTS a b a none", ":3\r\n"),
            ("TOUCH a none", ":1\r\n"),
            ("DEL a none a", ":1\r\n"),
            ("UNLINK b", ":1\r\n"),
            ("HSET h f v", ":1\r\n"),
            ("TYPE h", "+hash\r\n"),
            ("TYPE c", "+string\r\n"),
            ("TYPE none", "+none\r\n"),
            ("RENAME none x", "-ERR no such key\r\n"),
            ("RENAME c c", "+OK\r\n"),
            ("RENAME c h", "+OK\r\n"),
            ("GET h", "$1\r\n3\r\n"),
            ("EXISTS c", ":0\r\n"),
            ("SET d 4", "+OK\r\n"),
            ("RENAMENX d h", ":0\r\n"),
            ("RENAMENX d e", ":1\r\n"),
            ("RENAMENX none e", "-ERR no such key\r\n"),
            ("RENAMENX e e", ":0\r\n"),
        ]);
    }

    #[test]
    fn values_of_every_form_move_and_are_copied_with_their_deadlines() {
        let mut store = Store::new();
        let long = vec![b'x'; 200_000];
        store.run_bytes(&[b"SET", b"long", &long]);
        for i in 0..600 {
            store.run(&format!("HSET big f{i} {i}"));
        }
        store.expect(&[
            ("SET a 1 PX 1000", "+OK\r\n"),
            ("COPY a b", ":1\r\n"),
            ("COPY a b", ":0\r\n"),
            ("COPY a b REPLACE", ":1\r\n"),
            ("COPY a a", SAME),
            ("COPY a a DB 0", SAME),
            ("COPY a a DB 3", ":1\r\n"),
            ("COPY a b DB 16", "-ERR DB index is out of range\r\n"),
            ("COPY a b DB x", "-ERR value is not an integer or out of range\r\n"),
            ("COPY a b DB", "-ERR syntax error\r\n"),
            ("COPY none b REPLACE", ":0\r\n"),
            ("MOVE a 0", SAME),
            ("MOVE a 3", ":0\r\n"),
            ("MOVE a 4", ":1\r\n"),
            ("MOVE a 4", ":0\r\n"),
            ("COPY big big2", ":1\r\n"),
            ("RENAME big big3", "+OK\r\n"),
            ("HLEN big2", ":600\r\n"),
            ("HGET big3 f599", "$3\r\n599\r\n"),
            ("RENAME long long2", "+OK\r\n"),
            ("COPY long2 long3", ":1\r\n"),
            ("STRLEN long2", ":200000\r\n"),
            ("EXISTS long big", ":0\r\n"),
        ]);
        store.client.db = 4;
        store.expect(&[("GET a", "$1\r\n1\r\n")]);
        store.now += 1000;
        store.expect(&[("GET a", "$-1\r\n")]);
        store.client.db = 0;
        store.expect(&[("EXISTS b", ":0\r\n")]);
        assert_eq!(store.run_bytes(&[b"GET", b"long3"]).len(), long.len() + 11);
    }

    #[test]
    fn forms_have_the_names_that_redis_has() {
        let mut store = Store::new();
        let (short, long) = ("x".repeat(44), "x".repeat(45));
        store.run(&format!("MSET i -12 s {short} l {long}"));
        store.run("HSET h f v");
        store.expect(&[
            ("OBJECT ENCODING i", "$3\r\nint\r\n"),
            ("OBJECT ENCODING s", "$6\r\nembstr\r\n"),
            ("OBJECT ENCODING l", "$3\r\nraw\r\n"),
            ("OBJECT ENCODING h", "$8\r\nlistpack\r\n"),
            ("OBJECT ENCODING none", "$-1\r\n"),
            ("OBJECT REFCOUNT i", ":1\r\n"),
            ("OBJECT IDLETIME none", "$-1\r\n"),
            ("OBJECT IDLETIME i", ":0\r\n"),
        ]);
        store.run("HEXPIRE h 100 FIELDS 1 f");
        store.expect(&[("OBJECT ENCODING h", "$10\r\nlistpackex\r\n")]);
    }
}
