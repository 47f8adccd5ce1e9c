//! Keys of any type, and databases.

use super::{Done, ReplayProblem, Row, Touch, Turn, moment};
use crate::dump;
use engine::hash::{FieldDeadline, FieldEdit};
use engine::{Cause, Change, Effect, Kind, OwnedItem, OwnedValue};
use protocol::args::Args;

pub(super) const ROWS: &[Row] = &[
    Row { name: "DEL", least: 2, touch: Touch::Removes, run: unlink },
    Row { name: "UNLINK", least: 2, touch: Touch::Removes, run: unlink },
    Row { name: "PEXPIREAT", least: 3, touch: Touch::Part, run: expire_at_ms },
    Row { name: "EXPIREAT", least: 3, touch: Touch::Part, run: expire_at },
    Row { name: "EXPIRE", least: 3, touch: Touch::Part, run: relative },
    Row { name: "PEXPIRE", least: 3, touch: Touch::Part, run: relative },
    Row { name: "PERSIST", least: 2, touch: Touch::Part, run: persist },
    Row { name: "RENAME", least: 3, touch: Touch::Moves, run: rename },
    Row { name: "RENAMENX", least: 3, touch: Touch::Moves, run: rename },
    Row { name: "COPY", least: 3, touch: Touch::Copies, run: copy },
    Row { name: "MOVE", least: 3, touch: Touch::Leaves, run: move_to },
    Row { name: "RESTORE", least: 4, touch: Touch::Whole, run: restore },
    Row { name: "FLUSHDB", least: 1, touch: Touch::Database, run: flush_db },
    Row { name: "FLUSHALL", least: 1, touch: Touch::Everything, run: flush_all },
    Row { name: "SWAPDB", least: 3, touch: Touch::Swaps, run: swap },
];

fn unlink(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    if let Some(note) = turn.note.filter(|_| turn.is_session()) {
        let set = |(field, value)| FieldEdit::Set { field, value, deadline: FieldDeadline::Clear };
        let edits: Vec<FieldEdit<'_>> = note.hidden_fields().map(set).collect();
        return turn.fields(args.at(1), &edits);
    }
    args.from(1).iter().try_for_each(|key| turn.change(key, Change::Remove(Cause::Deleted)))
}

fn expire_at_ms(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    deadline(turn, args.at(1), Some(moment(args.at(2), 1)?))
}

fn expire_at(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    deadline(turn, args.at(1), Some(moment(args.at(2), 1000)?))
}

fn persist(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    deadline(turn, args.at(1), None)
}

fn deadline(turn: &mut Turn<'_>, key: &[u8], at: Option<u64>) -> Done {
    if turn.is_session() {
        return turn.fields(key, &[]);
    }
    let change = match turn.note {
        Some(_) => {
            let kind = turn.store.kind(turn.replay.db, key);
            Change::Meta(turn.meta(at, kind == Some(Kind::String))?)
        }
        None => Change::Deadline { at, slide: false },
    };
    turn.change(key, change)
}

fn relative(_: &mut Turn<'_>, _: Args<'_>) -> Done {
    Err(ReplayProblem::Relative)
}

fn rename(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let (from, to) = (args.at(1), args.at(2));
    let Some(item) = turn.item(from) else { return Err(ReplayProblem::Value) };
    if from == to {
        return Ok(());
    }
    turn.change(to, Change::Install(&item))?;
    turn.change(from, Change::Remove(Cause::Deleted))
}

fn copy(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let mut db = turn.replay.db;
    let mut i = 3;
    while i < args.len() {
        match args.at(i).to_ascii_lowercase().as_slice() {
            b"replace" => {}
            b"db" => {
                i += 1;
                db = turn.replay.database(args.at(i))?;
            }
            _ => return Err(ReplayProblem::Arguments),
        }
        i += 1;
    }
    let Some(item) = turn.item(args.at(1)) else { return Err(ReplayProblem::Value) };
    turn.change_in(db, args.at(2), Change::Install(&item))
}

fn move_to(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let db = turn.replay.database(args.at(2))?;
    let Some(item) = turn.item(args.at(1)) else { return Err(ReplayProblem::Value) };
    if db == turn.replay.db {
        return Err(ReplayProblem::NoDatabase);
    }
    turn.change_in(db, args.at(1), Change::Install(&item))?;
    turn.change(args.at(1), Change::Remove(Cause::Deleted))
}

fn restore(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let mut absolute = false;
    let mut i = 4;
    while i < args.len() {
        match args.at(i).to_ascii_lowercase().as_slice() {
            b"replace" => {}
            b"absttl" => absolute = true,
            b"idletime" | b"freq" => i += 1,
            _ => return Err(ReplayProblem::Arguments),
        }
        i += 1;
    }
    let deadline = match args.at(2) {
        b"0" => None,
        _ if !absolute => return Err(ReplayProblem::Relative),
        at => Some(moment(at, 1)?),
    };
    let value = dump::read(args.at(3), turn.replay.sip).map_err(ReplayProblem::Payload)?;
    let is_string = matches!(value, OwnedValue::String(_));
    let item = OwnedItem { value, meta: turn.meta(deadline, is_string)?, user: Vec::new() };
    turn.change(args.at(1), Change::Install(&item))
}

fn flush_db(turn: &mut Turn<'_>, _: Args<'_>) -> Done {
    let db = turn.replay.db;
    turn.effect(&Effect::Clear { db })
}

fn flush_all(turn: &mut Turn<'_>, _: Args<'_>) -> Done {
    (0..turn.replay.databases).try_for_each(|db| turn.effect(&Effect::Clear { db }))
}

fn swap(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let (a, b) = (turn.replay.database(args.at(1))?, turn.replay.database(args.at(2))?);
    turn.effect(&Effect::Swap { a, b })
}
