//! Hashes and the deadlines of their fields.

use super::{Done, ReplayProblem, Row, Touch, Turn, integer, moment};
use crate::extra::tag;
use crate::rdb::Body;
use engine::Kind;
use engine::hash::{FieldDeadline, FieldEdit, HashView};
use protocol::args::Args;
use protocol::resp::{parse_i64, parse_u64};

pub(super) const ROWS: &[Row] = &[
    Row { name: "HSET", least: 4, touch: Touch::Part, run: set },
    Row { name: "HMSET", least: 4, touch: Touch::Part, run: set },
    Row { name: "HSETNX", least: 4, touch: Touch::Part, run: set },
    Row { name: "HDEL", least: 3, touch: Touch::Part, run: delete },
    Row { name: "HINCRBY", least: 4, touch: Touch::Part, run: increment },
    Row { name: "HPEXPIREAT", least: 6, touch: Touch::Part, run: expire_at_ms },
    Row { name: "HEXPIREAT", least: 6, touch: Touch::Part, run: expire_at },
    Row { name: "HPERSIST", least: 5, touch: Touch::Part, run: persist },
    Row { name: "HSETEX", least: 6, touch: Touch::Part, run: set_with_deadline },
];

fn set(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    if !args.len().is_multiple_of(2) {
        return Err(ReplayProblem::Arguments);
    }
    let keep = turn.note.is_some_and(|note| note.get(tag::KEEP_FIELD_DEADLINES).is_some());
    let deadline = if keep { FieldDeadline::Keep } else { FieldDeadline::Clear };
    set_all(turn, args.at(1), args.from(2), deadline)
}

fn set_all(turn: &mut Turn<'_>, key: &[u8], pairs: Args<'_>, deadline: FieldDeadline) -> Done {
    hash_or_nothing(turn, key)?;
    let edits: Vec<FieldEdit<'_>> = (0..pairs.len())
        .step_by(2)
        .map(|i| FieldEdit::Set { field: pairs.at(i), value: pairs.at(i + 1), deadline })
        .collect();
    turn.fields(key, &edits)
}

fn delete(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    edit_all(turn, args.at(1), args.from(2), |field| FieldEdit::Delete { field })
}

fn increment(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let (key, field, by) = (args.at(1), args.at(2), integer(args.at(3))?);
    let old = match turn.item(key).as_ref().map(|item| Body::of(&item.value)) {
        None => 0,
        Some(Body::String(_)) => return Err(ReplayProblem::Value),
        Some(Body::Hash(hash)) => match find(hash, field) {
            None => 0,
            Some(value) => parse_i64(value).ok_or(ReplayProblem::Value)?,
        },
    };
    let sum = old.checked_add(by).ok_or(ReplayProblem::Value)?;
    let mut text = itoa::Buffer::new();
    let value = text.format(sum).as_bytes();
    let edit = FieldEdit::Set { field, value, deadline: FieldDeadline::Keep };
    turn.fields(key, &[edit])
}

fn expire_at_ms(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    expire(turn, args, 1)
}

fn expire_at(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    expire(turn, args, 1000)
}

fn expire(turn: &mut Turn<'_>, args: Args<'_>, unit: i64) -> Done {
    let at = Some(moment(args.at(2), unit)?);
    let condition =
        [b"nx", b"xx", b"gt", b"lt"].iter().any(|c| args.at(3).eq_ignore_ascii_case(*c));
    let names = names(args.from(if condition { 4 } else { 3 }), 1)?;
    edit_all(turn, args.at(1), names, |field| FieldEdit::Deadline { field, at })
}

fn persist(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let names = names(args.from(2), 1)?;
    edit_all(turn, args.at(1), names, |field| FieldEdit::Deadline { field, at: None })
}

fn set_with_deadline(turn: &mut Turn<'_>, args: Args<'_>) -> Done {
    let mut deadline = FieldDeadline::Clear;
    let mut i = 2;
    loop {
        match args.at(i).to_ascii_lowercase().as_slice() {
            b"fnx" | b"fxx" => {}
            b"keepttl" => deadline = FieldDeadline::Keep,
            option @ (b"pxat" | b"exat") => {
                i += 1;
                let unit = if option == b"pxat" { 1 } else { 1000 };
                deadline = FieldDeadline::At(moment(args.at(i), unit)?);
            }
            b"ex" | b"px" => return Err(ReplayProblem::Relative),
            b"fields" => break,
            _ => return Err(ReplayProblem::Arguments),
        }
        i += 1;
    }
    let pairs = names(args.from(i), 2)?;
    set_all(turn, args.at(1), pairs, deadline)
}

/// What follows `FIELDS count`: so many times `each` arguments, and nothing else.
fn names(args: Args<'_>, each: usize) -> Result<Args<'_>, ReplayProblem> {
    let count = parse_u64(args.at(1)).and_then(|count| usize::try_from(count).ok());
    let names = args.from(2);
    let right = args.at(0).eq_ignore_ascii_case(b"fields")
        && !names.is_empty()
        && count.and_then(|count| count.checked_mul(each)) == Some(names.len());
    if right { Ok(names) } else { Err(ReplayProblem::Arguments) }
}

fn edit_all<'a>(
    turn: &mut Turn<'_>,
    key: &[u8],
    names: Args<'a>,
    edit: impl Fn(&'a [u8]) -> FieldEdit<'a>,
) -> Done {
    hash_or_nothing(turn, key)?;
    let edits: Vec<FieldEdit<'_>> = (0..names.len()).map(|i| edit(names.at(i))).collect();
    turn.fields(key, &edits)
}

/// An error if a key holds something else than a hash; a session takes any key over.
fn hash_or_nothing(turn: &mut Turn<'_>, key: &[u8]) -> Done {
    match turn.store.kind(turn.replay.db, key) {
        None | Some(Kind::Hash) => Ok(()),
        Some(_) if turn.is_session() => Ok(()),
        Some(_) => Err(ReplayProblem::Value),
    }
}

fn find<'a>(hash: HashView<'a>, name: &[u8]) -> Option<&'a [u8]> {
    hash.get(name, 0).map(|field| field.value)
}
