//! Strings.

use crate::context::Ctx;
use crate::row::{Flags, Keys, Outcome, Row};
use engine::Kind;
use protocol::args::Args;

/// The family's rows.
pub const ROWS: &[Row] = &[Row {
    name: "GET",
    arity: 2,
    flags: Flags::READONLY.and(Flags::FAST),
    keys: Keys::FIRST,
    handler: get,
    group: "string",
    since: "1.0.0",
    summary: "Returns the string value of a key.",
    subcommands: &[],
}];

fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let key = ctx.key(args.at(1));
    let (db, now) = (ctx.db(), ctx.now);
    let number = key.hash.shard(ctx.shards.count());
    let shard = ctx.shards.shard(number);
    match shard.get(db, &key, now) {
        Some(entry) if entry.kind() == Kind::String => {
            let Some(string) = entry.string() else { return Ok(()) };
            ctx.reply.bulk_with(string.len(), |out| string.read(0..string.len(), out));
        }
        Some(_) => return Err(crate::Failure::WRONG_TYPE),
        None => ctx.reply.null(),
    }
    Ok(())
}
