//! What several families need to state their rows and read their arguments.

use crate::context::Ctx;
use crate::row::{Flags, Handler, Keys, Outcome, Row};
use crate::table::find;
use std::borrow::Cow;

/// A row of a command without keys or subcommands. Its usage is its name and its syntax.
pub(super) const fn keyless(
    group: &'static str,
    (usage, arity): (&'static str, i32),
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    let (name, syntax) = name_and_syntax(usage);
    Row {
        name,
        syntax,
        arity,
        flags,
        keys: Keys::None,
        handler,
        group,
        since,
        summary,
        subcommands: &[],
    }
}

/// `SET key value` as the name and what follows it.
const fn name_and_syntax(usage: &'static str) -> (&'static str, &'static str) {
    let mut rest = usage.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b' ' {
            let (name, _) = usage.split_at(usage.len() - rest.len());
            let (_, syntax) = usage.split_at(usage.len() - after.len());
            return (name, syntax);
        }
        rest = after;
    }
    (usage, "")
}

/// A row of a command whose first argument is its one key.
pub(super) const fn one_key(
    group: &'static str,
    name: (&'static str, i32),
    flags: Flags,
    handler: Handler,
    since: &'static str,
    summary: &'static str,
) -> Row {
    Row { keys: Keys::FIRST, ..keyless(group, name, flags, handler, since, summary) }
}

/// A row without keys, with subcommands, one of which has to be named.
pub(super) const fn container(
    group: &'static str,
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    subcommands: &'static [Row],
) -> Row {
    let row = keyless(group, (name, -2), Flags::NONE, nothing, since, summary);
    Row { subcommands, ..row }
}

/// Whether an argument is that word, in any case.
#[inline]
pub(super) fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// An argument as text, for names and messages.
pub(super) fn text(arg: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(arg)
}

/// Answers HELP of a command from its rows.
pub(super) fn help(ctx: &mut Ctx<'_>, name: &str) -> Outcome {
    let subcommands = find(name.as_bytes()).map_or::<&[Row], _>(&[], |row| row.subcommands);
    ctx.reply.array(1 + 2 * subcommands.len());
    ctx.reply.simple(&format!("{name} <subcommand> [<arg> ...]. Subcommands are:"));
    for row in subcommands {
        ctx.reply.simple(row.name);
        ctx.reply.simple(&format!("    {}", row.summary));
    }
    Ok(())
}

/// Stands where the arity already refuses every call.
fn nothing(_: &mut Ctx<'_>, _: protocol::args::Args<'_>) -> Outcome {
    Err(crate::Failure::SYNTAX)
}
