//! COMMAND: what there is, told from the rows.
//!
//! What always holds: nothing is written down here that a row says.
//! Not for: the grammar of arguments, which [`crate::syntax`] reads.

use super::support::{help, is, keyless, text};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::glob;
use crate::row::{Flags, Handler, Keys, Outcome, Row};
use crate::syntax::{self, Argument};
use crate::table::{find, find_subcommand, rows};
use protocol::args::Args;

const FLAGS: Flags = Flags::LOADING.and(Flags::STALE);

/// The family's rows.
pub const ROWS: &[Row] = &[Row {
    subcommands: SUBCOMMANDS,
    ..row(("COMMAND", -1), all, "2.8.13", "Returns facts of all commands.")
}];

const SUBCOMMANDS: &[Row] = &[
    row(("COUNT", 2), count, "2.8.13", "Returns how many commands there are."),
    row(("DOCS [command-name...]", -2), docs, "7.0.0", "Returns what commands do, in words."),
    row(
        ("GETKEYS command [argument...]", -3),
        get_keys,
        "2.8.13",
        "Returns the keys of a command with arguments.",
    ),
    row(
        ("GETKEYSANDFLAGS command [argument...]", -3),
        get_keys_and_flags,
        "7.0.0",
        "Returns those keys, and what is done with them.",
    ),
    row(("HELP", 2), command_help, "5.0.0", "Returns this text."),
    row(("INFO [command-name...]", -2), info, "2.8.13", "Returns facts of the named commands."),
    row(
        ("LIST [FILTERBY <MODULE module-name|ACLCAT category|PATTERN pattern>]", -2),
        list,
        "7.0.0",
        "Returns the names of commands.",
    ),
];

const fn row(
    name: (&'static str, i32),
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    keyless("connection", name, FLAGS, handler, since, summary)
}

/// Flags by the names that COMMAND has for them, in its order.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::NO_SCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MULTI, "no_multi"),
];

/// Commands that are dangerous without being an administrator's.
const DANGEROUS: &[&str] = &["FLUSHALL", "FLUSHDB", "INFO", "KEYS", "RESTORE", "SORT", "SWAPDB"];

/// Commands about the keyspace that the docs list in another group.
const KEYSPACE: &[&str] = &["DBSIZE", "FLUSHALL", "FLUSHDB", "SWAPDB"];

/// Commands about the connection that the docs list in another group.
const CONNECTION: &[&str] = &["WAITAOF"];

/// What clients of a cluster, and those who compare answers, are told of commands beyond their
/// rows. Source: COMMAND INFO of Redis 7.0.
const TIPS: &[(&[&str], &[&str])] = &[
    (
        &["del", "unlink", "exists", "touch"],
        &["request_policy:multi_shard", "response_policy:agg_sum"],
    ),
    (&["mget"], &["request_policy:multi_shard"]),
    (&["waitaof"], &["request_policy:all_shards", "response_policy:agg_min"]),
    (&["mset"], &["request_policy:multi_shard", "response_policy:all_succeeded"]),
    (&["msetnx"], &["request_policy:multi_shard", "response_policy:agg_min"]),
    (&["dbsize"], &["request_policy:all_shards", "response_policy:agg_sum"]),
    (
        &["flushdb", "flushall", "ping", "memory|purge"],
        &["request_policy:all_shards", "response_policy:all_succeeded"],
    ),
    (&["keys"], &["request_policy:all_shards", "nondeterministic_output_order"]),
    (&["randomkey"], &["request_policy:all_shards", "nondeterministic_output"]),
    (&["scan"], &["nondeterministic_output", "request_policy:special"]),
    (
        &["info", "memory|doctor", "memory|malloc-stats", "memory|stats"],
        &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    ),
    (
        &[
            "latency|doctor",
            "latency|graph",
            "latency|histogram",
            "latency|history",
            "latency|latest",
        ],
        &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    ),
    (
        &["config|set", "latency|reset", "slowlog|reset"],
        &["request_policy:all_nodes", "response_policy:all_succeeded"],
    ),
    (&["slowlog|get"], &["request_policy:all_nodes", "nondeterministic_output"]),
    (
        &["slowlog|len"],
        &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
    ),
    (
        &[
            "hrandfield",
            "hscan",
            "ttl",
            "pttl",
            "httl",
            "hpttl",
            "time",
            "client|info",
            "client|list",
            "object|encoding",
            "object|freq",
            "object|idletime",
            "object|refcount",
        ],
        &["nondeterministic_output"],
    ),
    (
        &["hgetall", "hkeys", "hvals", "command", "command|docs", "command|info", "command|list"],
        &["nondeterministic_output_order"],
    ),
];

/// A command with the one that it is a subcommand of, if it is one.
#[derive(Clone, Copy)]
struct Named {
    row: &'static Row,
    container: Option<&'static Row>,
}

impl Named {
    const fn top(row: &'static Row) -> Self {
        Self { row, container: None }
    }

    /// The command of a name such as `get` or `client|list`.
    fn find(name: &[u8]) -> Option<Self> {
        let mut parts = name.splitn(2, |byte| *byte == b'|');
        let row = find(parts.next()?)?;
        match parts.next() {
            None => Some(Self::top(row)),
            Some(sub) => Some(Self { row: find_subcommand(row, sub)?, container: Some(row) }),
        }
    }

    /// The command that these arguments mean.
    fn of(args: Args<'_>) -> Option<Self> {
        let row = find(args.at(0))?;
        match find_subcommand(row, args.at(1)) {
            Some(sub) => Some(Self { row: sub, container: Some(row) }),
            None => Some(Self::top(row)),
        }
    }

    fn name(self) -> String {
        match self.container {
            None => self.row.name.to_ascii_lowercase(),
            Some(container) => format!("{}|{}", container.name, self.row.name).to_ascii_lowercase(),
        }
    }

    fn subcommands(self) -> impl Iterator<Item = Self> {
        self.row.subcommands.iter().map(move |sub| Self { row: sub, container: Some(self.row) })
    }

    fn flags(self) -> Vec<&'static str> {
        let named = FLAG_NAMES.iter().filter(|(flag, _)| self.row.flags.has(*flag));
        let mut names: Vec<&str> = named.map(|(_, name)| *name).collect();
        if matches!(self.row.keys, Keys::Counted { .. }) {
            names.push("movablekeys");
        }
        names
    }

    /// The categories of access rules, in the order in which Redis lists them.
    fn categories(self) -> Vec<&'static str> {
        let Row { name, flags, group, .. } = *self.row;
        let is_container = !self.row.subcommands.is_empty() && name != "COMMAND";
        let grouped = |wanted: &str| group == wanted && !is_container;
        let listed = |names: &[&str]| self.container.is_none() && names.contains(&name);
        let admin = flags.has(Flags::ADMIN);
        let all = [
            ("@keyspace", grouped("generic") && !listed(CONNECTION) || listed(KEYSPACE)),
            ("@read", flags.has(Flags::READONLY)),
            ("@write", flags.has(Flags::WRITE)),
            ("@hash", grouped("hash")),
            ("@string", grouped("string")),
            ("@admin", admin),
            ("@fast", flags.has(Flags::FAST)),
            ("@slow", !flags.has(Flags::FAST)),
            ("@blocking", flags.has(Flags::BLOCKING)),
            ("@dangerous", admin || listed(DANGEROUS)),
            ("@connection", grouped("connection") || listed(CONNECTION)),
            ("@transaction", grouped("transactions")),
        ];
        all.iter().filter(|(_, belongs)| *belongs).map(|(name, _)| *name).collect()
    }

    fn tips(self) -> &'static [&'static str] {
        let name = self.name();
        let found = TIPS.iter().find(|(names, _)| names.contains(&name.as_str()));
        found.map_or(&[], |(_, tips)| *tips)
    }

    /// What is done with its keys, as key specifications say it.
    fn access(self) -> &'static [&'static str] {
        if self.row.flags.has(Flags::WRITE) { &["RW", "update"] } else { &["RO", "access"] }
    }
}

fn command_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    help(ctx, "COMMAND")
}

fn all(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.array(rows().count());
    rows().for_each(|row| tell(ctx, Named::top(row)));
    Ok(())
}

fn count(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.int(rows().count() as i64);
    Ok(())
}

fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 2 {
        return all(ctx, args);
    }
    ctx.reply.array(args.len() - 2);
    for name in args.from(2).iter() {
        match Named::find(name) {
            Some(named) => tell(ctx, named),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

/// The ten facts of a command.
fn tell(ctx: &mut Ctx<'_>, named: Named) {
    let (first, last, step) = match named.row.keys {
        Keys::None | Keys::Counted { .. } => (0, 0, 0),
        Keys::Range { first, last, step } => (first, last, step),
    };
    ctx.reply.array(10);
    ctx.reply.bulk(named.name().as_bytes());
    ctx.reply.int(i64::from(named.row.arity));
    statuses(ctx, &named.flags());
    [first, last, step].iter().for_each(|at| ctx.reply.int(i64::from(*at)));
    statuses(ctx, &named.categories());
    let tips = named.tips();
    ctx.reply.set(tips.len());
    tips.iter().for_each(|tip| ctx.reply.bulk(tip.as_bytes()));
    key_specification(ctx, named);
    if named.row.subcommands.is_empty() {
        ctx.reply.set(0);
        return;
    }
    ctx.reply.array(named.row.subcommands.len());
    named.subcommands().for_each(|sub| tell(ctx, sub));
}

fn statuses(ctx: &mut Ctx<'_>, words: &[&str]) {
    ctx.reply.set(words.len());
    words.iter().for_each(|word| ctx.reply.simple(word));
}

fn key_specification(ctx: &mut Ctx<'_>, named: Named) {
    let (start, kind, facts) = match named.row.keys {
        Keys::None => return ctx.reply.set(0),
        Keys::Range { first, last, step } => {
            let last = if last < 0 { last } else { last - first };
            (first, "range", [("lastkey", last), ("keystep", step), ("limit", 0)])
        }
        Keys::Counted { at } => {
            (at as i32, "keynum", [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)])
        }
    };
    ctx.reply.set(1);
    ctx.reply.map(3);
    ctx.reply.bulk(b"flags");
    statuses(ctx, named.access());
    ctx.reply.bulk(b"begin_search");
    ctx.reply.map(2);
    ctx.reply.bulk(b"type");
    ctx.reply.bulk(b"index");
    ctx.reply.bulk(b"spec");
    ctx.reply.map(1);
    ctx.reply.bulk(b"index");
    ctx.reply.int(i64::from(start));
    ctx.reply.bulk(b"find_keys");
    ctx.reply.map(2);
    ctx.reply.bulk(b"type");
    ctx.reply.bulk(kind.as_bytes());
    ctx.reply.bulk(b"spec");
    ctx.reply.map(facts.len());
    for (name, value) in facts {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.int(i64::from(value));
    }
}

fn docs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let named: Vec<Named> = match args.len() {
        2 => rows().map(Named::top).collect(),
        _ => args.from(2).iter().filter_map(Named::find).collect(),
    };
    ctx.reply.map(named.len());
    named.into_iter().for_each(|named| document(ctx, named));
    Ok(())
}

fn document(ctx: &mut Ctx<'_>, named: Named) {
    let row = named.row;
    let arguments = syntax::parse(row.syntax);
    let (detailed, contains) = (!arguments.is_empty(), !row.subcommands.is_empty());
    ctx.reply.bulk(named.name().as_bytes());
    ctx.reply.map(3 + usize::from(detailed) + usize::from(contains));
    for (name, value) in [("summary", row.summary), ("since", row.since), ("group", row.group)] {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.bulk(value.as_bytes());
    }
    if detailed {
        ctx.reply.bulk(b"arguments");
        tell_arguments(ctx, &arguments);
    }
    if contains {
        ctx.reply.bulk(b"subcommands");
        ctx.reply.map(row.subcommands.len());
        named.subcommands().for_each(|sub| document(ctx, sub));
    }
}

fn tell_arguments(ctx: &mut Ctx<'_>, arguments: &[Argument]) {
    ctx.reply.array(arguments.len());
    for argument in arguments {
        let is_key = argument.kind == "key";
        let mut facts = vec![("name", argument.name.as_str()), ("type", argument.kind)];
        if argument.parts.is_empty() {
            facts.push(("display_text", &argument.name));
        }
        if let Some(token) = argument.token {
            facts.push(("token", token));
        }
        let flags = [(argument.optional, "optional"), (argument.multiple, "multiple")];
        let flags: Vec<&str> = flags.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag).collect();
        let more = [is_key, !flags.is_empty(), !argument.parts.is_empty()];
        ctx.reply.map(facts.len() + more.iter().filter(|there| **there).count());
        for (name, value) in facts {
            ctx.reply.bulk(name.as_bytes());
            ctx.reply.bulk(value.as_bytes());
        }
        if is_key {
            ctx.reply.bulk(b"key_spec_index");
            ctx.reply.int(0);
        }
        if !flags.is_empty() {
            ctx.reply.bulk(b"flags");
            statuses(ctx, &flags);
        }
        if !argument.parts.is_empty() {
            ctx.reply.bulk(b"arguments");
            tell_arguments(ctx, &argument.parts);
        }
    }
}

fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let tops = rows().map(Named::top);
    let mut named: Vec<Named> =
        tops.flat_map(|top| std::iter::once(top).chain(top.subcommands())).collect();
    match args.len() {
        2 => named.retain(|named| named.container.is_none()),
        5 if is(args.at(2), "FILTERBY") => {
            let (kind, wanted) = (args.at(3), args.at(4));
            if is(kind, "MODULE") {
                named.clear();
            } else if is(kind, "ACLCAT") {
                let wanted = format!("@{}", text(wanted).to_ascii_lowercase());
                named.retain(|named| named.categories().contains(&wanted.as_str()));
            } else if is(kind, "PATTERN") {
                let wanted = wanted.to_ascii_lowercase();
                named.retain(|named| glob::matches(&wanted, named.name().as_bytes()));
            } else {
                return Err(Failure::SYNTAX);
            }
        }
        _ => return Err(Failure::SYNTAX),
    }
    ctx.reply.array(named.len());
    named.iter().for_each(|named| ctx.reply.bulk(named.name().as_bytes()));
    Ok(())
}

/// The command that is asked about, and where its keys are in `args`.
fn keys_of(args: Args<'_>) -> Result<(Named, Vec<usize>), Failure> {
    let named = Named::of(args).ok_or(Failure::text("ERR Invalid command specified"))?;
    if named.row.keys == Keys::None {
        return Err(Failure::text("ERR The command has no key arguments"));
    }
    if !named.row.accepts(args.len()) {
        return Err(Failure::text("ERR Invalid number of arguments specified for command"));
    }
    let positions: Vec<usize> = named.row.keys.positions(args).collect();
    if positions.is_empty() {
        return Err(Failure::text("ERR Invalid arguments specified for command"));
    }
    Ok((named, positions))
}

fn get_keys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let args = args.from(2);
    let (_, positions) = keys_of(args)?;
    ctx.reply.array(positions.len());
    positions.iter().for_each(|at| ctx.reply.bulk(args.at(*at)));
    Ok(())
}

fn get_keys_and_flags(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let args = args.from(2);
    let (named, positions) = keys_of(args)?;
    ctx.reply.array(positions.len());
    for at in positions {
        ctx.reply.array(2);
        ctx.reply.bulk(args.at(at));
        statuses(ctx, named.access());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Store;

    #[test]
    fn facts_of_a_command_come_from_its_row() {
        let mut store = Store::new();
        let get = "*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
                   *3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n\
                   *2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n\
                   $5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n\
                   *4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n\
                   $7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n";
        assert_eq!(store.run("COMMAND INFO get nosuch"), format!("*2\r\n{get}$-1\r\n"));
        let sub = store.run("COMMAND INFO client|kill");
        assert!(sub.contains("+@admin\r\n+@slow\r\n+@dangerous\r\n+@connection\r\n"), "{sub}");
    }

    #[test]
    fn docs_tell_arguments() {
        let mut store = Store::new();
        let docs = store.run("COMMAND DOCS persist");
        let start = "*2\r\n$7\r\npersist\r\n*8\r\n$7\r\nsummary\r\n\
                        $25\r\nLets a key live for ever.\r\n";
        assert!(docs.starts_with(start), "{docs}");
        assert!(docs.ends_with(
            "$9\r\narguments\r\n*1\r\n*8\r\n$4\r\nname\r\n$3\r\nkey\r\n\
             $4\r\ntype\r\n$3\r\nkey\r\n$12\r\ndisplay_text\r\n$3\r\nkey\r\n\
             $14\r\nkey_spec_index\r\n:0\r\n"
        ));
        let docs = store.run("COMMAND DOCS mset");
        assert!(docs.contains("$5\r\nblock\r\n$5\r\nflags\r\n*1\r\n+multiple\r\n"), "{docs}");
    }

    #[test]
    fn tips_name_commands_that_are_there() {
        for name in TIPS.iter().flat_map(|(names, _)| *names) {
            assert!(Named::find(name.as_bytes()).is_some(), "{name}");
        }
    }

    #[test]
    fn keys_are_found_in_other_commands() {
        let mut store = Store::new();
        store.expect(&[
            ("COMMAND GETKEYS get a", "*1\r\n$1\r\na\r\n"),
            ("COMMAND GETKEYS memory usage a", "*1\r\n$1\r\na\r\n"),
            ("COMMAND GETKEYSANDFLAGS get a", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n"),
            ("COMMAND GETKEYS ping a", "-ERR The command has no key arguments\r\n"),
            ("COMMAND GETKEYS nosuch", "-ERR Invalid command specified\r\n"),
            (
                "COMMAND GETKEYS get a b",
                "-ERR Invalid number of arguments specified for command\r\n",
            ),
        ]);
    }

    #[test]
    fn names_are_listed_and_filtered() {
        let mut store = Store::new();
        let plain = rows().count();
        store.expect(&[
            ("COMMAND COUNT", &format!(":{plain}\r\n")),
            ("COMMAND LIST FILTERBY MODULE x", "*0\r\n"),
            ("COMMAND LIST FILTERBY ACLCAT nosuch", "*0\r\n"),
            ("COMMAND LIST FILTERBY PATTERN PIN*", "*1\r\n$4\r\nping\r\n"),
            ("COMMAND LIST FILTERBY x y", "-ERR syntax error\r\n"),
            ("COMMAND nosuch", "-ERR unknown subcommand 'nosuch'. Try COMMAND HELP.\r\n"),
        ]);
        assert!(store.run("COMMAND LIST").starts_with(&format!("*{plain}\r\n")));
        assert!(store.run("COMMAND").starts_with(&format!("*{plain}\r\n")));
        assert!(store.run("COMMAND DOCS").starts_with(&format!("*{}\r\n", plain * 2)));
        assert!(store.run("COMMAND LIST FILTERBY ACLCAT transaction").starts_with("*5\r\n"));
    }

    #[test]
    fn rows_are_fit_to_be_told() {
        for top in rows().map(Named::top) {
            for named in std::iter::once(top).chain(top.subcommands()) {
                let row = named.row;
                assert!(row.arity != 0 && !row.summary.is_empty() && !row.since.is_empty());
                assert!(row.name.bytes().all(|byte| !byte.is_ascii_lowercase()), "{}", row.name);
                assert!(!(row.flags.has(Flags::WRITE) && row.flags.has(Flags::READONLY)));
            }
        }
    }
}
