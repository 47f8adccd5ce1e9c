//! SLOWLOG: the requests that took long, which the host remembers.

use super::support::{help, keyless};
use crate::context::Ctx;
use crate::failure::Failure;
use crate::row::{Flags, Outcome, Row};
use protocol::args::Args;
use protocol::resp::parse_i64;

const FLAGS: Flags = Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE);
const HELP: Flags = Flags::LOADING.and(Flags::STALE);
/// Entries that GET returns if no number is given.
const SHOWN: usize = 10;

/// The subcommands.
pub(super) const SUBCOMMANDS: &[Row] = &[
    keyless("server", ("GET [count]", -2), FLAGS, get, "2.2.12", "Returns the latest entries."),
    keyless("server", ("HELP", 2), HELP, slowlog_help, "6.2.0", "Returns this text."),
    keyless("server", ("LEN", 2), FLAGS, len, "2.2.12", "Returns how many entries there are."),
    keyless("server", ("RESET", 2), FLAGS, reset, "2.2.12", "Drops all entries."),
];

fn slowlog_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    help(ctx, "SLOWLOG")
}

fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let count = match args.len() {
        2 => SHOWN,
        3 => {
            let count = parse_i64(args.at(2)).filter(|count| *count >= -1);
            let count =
                count.ok_or(Failure::text("ERR count should be greater than or equal to -1"))?;
            usize::try_from(count).unwrap_or(usize::MAX)
        }
        _ => return Err(Failure::text("ERR syntax error")),
    };
    let entries = ctx.host.slow_log(count);
    ctx.reply.array(entries.len());
    for entry in entries {
        ctx.reply.array(6);
        ctx.reply.int(entry.id as i64);
        ctx.reply.int(entry.at as i64);
        ctx.reply.int(entry.microseconds as i64);
        ctx.reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| ctx.reply.bulk(arg));
        ctx.reply.bulk(entry.addr.as_bytes());
        ctx.reply.bulk(entry.name.as_bytes());
    }
    Ok(())
}

fn len(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.reply.int(ctx.host.slow_log_len() as i64);
    Ok(())
}

fn reset(ctx: &mut Ctx<'_>, _: Args<'_>) -> Outcome {
    ctx.host.reset_slow_log();
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn counts_are_checked() {
        let mut store = Store::new();
        let refused = "-ERR count should be greater than or equal to -1\r\n";
        store.expect(&[
            ("SLOWLOG GET", "*0\r\n"),
            ("SLOWLOG GET -1", "*0\r\n"),
            ("SLOWLOG GET -2", refused),
            ("SLOWLOG GET x", refused),
            ("SLOWLOG LEN", ":0\r\n"),
            ("SLOWLOG RESET", "+OK\r\n"),
        ]);
    }
}
