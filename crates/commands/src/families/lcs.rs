//! LCS: what two strings have in common, byte by byte.
//!
//! What always holds: the work and the memory of one call are bounded, see `ops::lcs`.

use super::strings::row;
use super::support::is;
use crate::context::Ctx;
use crate::failure::Failure;
use crate::ops::lcs::{Lcs, Run};
use crate::ops::strings::entry;
use crate::row::{Flags, Keys, Outcome, Row};
use protocol::args::Args;
use protocol::resp::{Reply, parse_i64};

/// The family's rows.
pub const ROWS: &[Row] = &[Row {
    keys: Keys::FIRST_TWO,
    ..row(
        ("LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]", -3),
        Flags::READONLY,
        lcs,
        "7.0.0",
        "Finds what two strings have in common.",
    )
}];

fn lcs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Outcome {
    let (a, b) = (text(ctx, args.at(1))?, text(ctx, args.at(2))?);
    let options = Options::parse(args.from(3))?;
    let table = Lcs::new(&a, &b, !options.length).ok_or(Failure::text(
        "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
    ))?;
    if options.length {
        ctx.reply.int(table.len() as i64);
    } else if options.positions {
        positions(&mut ctx.reply, &table, options);
    } else {
        let runs = table.runs();
        ctx.reply.bulk_with(table.len(), |out| {
            for run in runs.iter().rev() {
                out.extend_from_slice(a.get(run.a..run.a + run.len).unwrap_or_default());
            }
        });
    }
    Ok(())
}

/// Renders the runs that are long enough, the last one first.
fn positions(reply: &mut Reply<'_>, table: &Lcs<'_>, options: Options) {
    let mut runs = table.runs();
    runs.retain(|run| run.len >= options.shortest);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(runs.len());
    for Run { a, b, len } in runs {
        reply.array(if options.lengths { 3 } else { 2 });
        for start in [a, b] {
            reply.array(2);
            reply.int(start as i64);
            reply.int((start + len - 1) as i64);
        }
        if options.lengths {
            reply.int(len as i64);
        }
    }
    reply.bulk(b"len");
    reply.int(table.len() as i64);
}

/// A copy of a key's string, empty if there is none: the two keys may be on different shards.
fn text(ctx: &mut Ctx<'_>, name: &[u8]) -> Result<Vec<u8>, Failure> {
    let key = ctx.key(name);
    match entry(ctx.shards, ctx.client, &key, ctx.now) {
        Some(entry) => entry
            .string()
            .map(|string| string.to_vec())
            .ok_or(Failure::text("ERR The specified keys must contain string values")),
        None => Ok(Vec::new()),
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    length: bool,
    positions: bool,
    lengths: bool,
    shortest: usize,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut i = 0;
        while let Some(option) = args.get(i) {
            i += 1;
            if is(option, "IDX") {
                options.positions = true;
            } else if is(option, "LEN") {
                options.length = true;
            } else if is(option, "WITHMATCHLEN") {
                options.lengths = true;
            } else if is(option, "MINMATCHLEN") && i < args.len() {
                let shortest = parse_i64(args.at(i)).ok_or(Failure::NOT_AN_INTEGER)?;
                options.shortest = usize::try_from(shortest).unwrap_or(0);
                i += 1;
            } else {
                return Err(Failure::SYNTAX);
            }
        }
        if options.length && options.positions {
            return Err(Failure::text(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Store;

    #[test]
    fn the_example_of_redis_io() {
        let mut store = Store::new();
        let second = "*2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n";
        let all = format!(
            "*4\r\n$7\r\nmatches\r\n*2\r\n*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n{second}\
             $3\r\nlen\r\n:6\r\n"
        );
        let long = "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n\
                    $3\r\nlen\r\n:6\r\n";
        store.expect(&[
            ("MSET key1 ohmytext key2 mynewtext", "+OK\r\n"),
            ("LCS key1 key2", "$6\r\nmytext\r\n"),
            ("LCS key1 key2 LEN", ":6\r\n"),
            ("LCS key1 key2 IDX", &all),
            ("LCS key1 key2 IDX MINMATCHLEN 4 WITHMATCHLEN", long),
            ("LCS key1 none", "$0\r\n\r\n"),
            ("LCS key1 key2 FOO", "-ERR syntax error\r\n"),
            (
                "LCS key1 key2 LEN IDX",
                "-ERR If you want both the length and indexes, please just use IDX.\r\n",
            ),
            ("HSET h f v", ":1\r\n"),
            ("LCS key1 h", "-ERR The specified keys must contain string values\r\n"),
        ]);
    }

    #[test]
    fn strings_too_long_to_compare_are_refused() {
        let mut store = Store::new();
        let long = vec![b'x'; 20_000];
        store.run_bytes(&[b"MSET", b"a", &long, b"b", &long]);
        store.expect(&[(
            "LCS a b LEN",
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n",
        )]);
    }
}
