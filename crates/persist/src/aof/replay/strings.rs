//! Strings.

use super::{Done, ReplayProblem, Row, Touch, Turn, integer, moment};
use crate::limits::STRING_MAX;
use engine::{Change, Kind, Meta};
use protocol::args::Args;
use protocol::resp::parse_i64;

pub(super) const ROWS: &[Row] = &[
    Row { name: "SET", least: 3, touch: Touch::Whole, run: set },
    Row { name: "SETNX", least: 3, touch: Touch::Whole, run: set_plain },
    Row { name: "GETSET", least: 3, touch: Touch::Whole, run: set_plain },
    Row { name: "SETEX", least: 4, touch: Touch::Whole, run: relative },
    Row { name: "PSETEX", least: 4, touch: Touch::Whole, run: relative },
    Row { name: "MSET", least: 3, touch: Touch::Pairs, run: set_many },
    Row { name: "MSETNX", least: 3, touch: Touch::Pairs, run: set_many },
    Row { name: "APPEND", least: 3, touch: Touch::Part, run: append },
    Row { name: "SETRANGE", least: 4, touch: Touch::Part, run: set_range },
    Row { name: "INCR", least: 2, touch: Touch::Part, run: increment },
    Row { name: "DECR", least: 2, touch: Touch::Part, run: decrement },
    Row { name: "INCRBY", least: 3, touch: Touch::Part, run: increment },
    Row { name: "DECRBY", least: 3, touch: Touch::Part, run: decrement },
];

fn set(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let (key, value) = (args.at(1), args.at(2));
    let mut deadline = None;
    let mut i = 3;
    while i < args.len() {
        let option = args.at(i).to_ascii_lowercase();
        let unit = match option.as_slice() {
            b"pxat" => 1,
            b"exat" => 1000,
            b"ex" | b"px" => return Err(ReplayProblem::Relative),
            b"keepttl" => {
                deadline = turn.item(key).and_then(|item| item.meta.deadline);
                0
            }
            b"nx" | b"xx" | b"get" => 0,
            _ => return Err(ReplayProblem::Arguments),
        };
        if unit > 0 {
            i += 1;
            deadline = Some(moment(args.at(i), unit)?);
        }
        i += 1;
    }
    let meta = turn.meta(deadline, true)?;
    turn.change(key, Change::Put { value, meta })
}

fn set_plain(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    turn.change(args.at(1), Change::Put { value: args.at(2), meta: Meta::default() })
}

fn relative(_: &mut Turn<'_>, _: Args<'_>) -> Done {
    Err(ReplayProblem::Relative)
}

fn set_many(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    if args.len().is_multiple_of(2) {
        return Err(ReplayProblem::Arguments);
    }
    for i in (1..args.len()).step_by(2) {
        let change = Change::Put { value: args.at(i + 1), meta: Meta::default() };
        turn.change(args.at(i), change)?;
    }
    Ok(())
}

fn append(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let at = turn.string(args.at(1))?.map_or(0, |(bytes, _)| bytes.len());
    splice(turn, args.at(1), at, args.at(2))
}

fn set_range(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let at = usize::try_from(integer(args.at(2))?).map_err(|_| ReplayProblem::Arguments)?;
    if turn.store.kind(turn.replay.db, args.at(1)).is_some_and(|kind| kind != Kind::String) {
        return Err(ReplayProblem::Value);
    }
    if args.at(3).is_empty() {
        return Ok(());
    }
    splice(turn, args.at(1), at, args.at(3))
}

fn splice(turn: &mut Turn<'_>, key: &[u8], at: usize, bytes: &[u8]) -> Done {
    if at as u64 + bytes.len() as u64 > STRING_MAX {
        return Err(ReplayProblem::Arguments);
    }
    turn.change(key, Change::Splice { at, bytes })
}

fn increment(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    add(turn, args, i64::checked_add)
}

fn decrement(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    add(turn, args, i64::checked_sub)
}

fn add(turn: &mut Turn<'_>, args: Args<'_>, add: fn(i64, i64) -> Option<i64>) -> Done {
    let by = args.get(2).map_or(Ok(1), integer)?;
    let old = turn.string(args.at(1))?;
    let (number, meta) = match &old {
        None => (0, Meta::default()),
        Some((bytes, meta)) => (parse_i64(bytes).ok_or(ReplayProblem::Value)?, *meta),
    };
    let sum = add(number, by).ok_or(ReplayProblem::Value)?;
    let mut text = itoa::Buffer::new();
    turn.change(args.at(1), Change::Put { value: text.format(sum).as_bytes(), meta })
}
