//! Effects as commands of Redis that state results.
//!
//! ```text
//! Put            SET key value [PXAT ms]
//! Splice         SETRANGE key at bytes; APPEND key "" where there are none
//! Fields         HSET, HDEL, HPEXPIREAT, HPERSIST, in the order of the edits
//! Session        those of its fields and its deadline, the first after a note; UNLINK key after
//!                a note for what a session left behind
//! Deadline       PEXPIREAT key ms; PERSIST key
//! Meta           the same after a note
//! Install        SET, or UNLINK and HSET ... and PEXPIREAT
//! Remove         UNLINK key
//! Clear, Swap    FLUSHDB; SWAPDB a b
//! ```
//!
//! A note ([`note`]) before a record holds what Redis has no word for. HPEXPIREAT and HPERSIST
//! are commands of Redis 7.4; they only occur where fields have deadlines.
//! What always holds: times are absolute; replay of the records comes to the state that the
//! effects came to.

use crate::extra::{Extra, tag};
use crate::limits::{FIELDS_PER_RECORD, LINE_MAX, RECORD_BYTES};
use crate::rdb::Body;
use engine::hash::{Field, FieldDeadline, FieldEdit};
use engine::{Change, Effect, Meta, OwnedItem, State};
use protocol::args::Args;

/// What stands before records that belong together, and after them.
pub const TOGETHER: [&[u8]; 2] = [b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"];

/// How a note's line begins, the last or only one.
pub(super) const NOTE: &[u8] = b"#sm ";
/// How a line begins after which the note goes on.
pub(super) const NOTE_MORE: &[u8] = b"#s+ ";
/// Bytes of a note on one line, two digits each.
const NOTE_BYTES: usize = 44;

const _: () = assert!(NOTE.len() + 2 * NOTE_BYTES + 2 <= LINE_MAX);

/// Appends the records of an effect, all but the choice of its database.
pub fn record(effect: &Effect<'_>, out: &mut Vec<u8>) {
    match effect {
        Effect::Key { key, change, .. } => change_record(key.bytes, change, out),
        Effect::Clear { .. } => command(&[b"FLUSHDB"], out),
        Effect::Swap { a, b } => {
            let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
            let (a, b) = (first.format(*a).as_bytes(), second.format(*b).as_bytes());
            command(&[b"SWAPDB", a, b], out);
        }
    }
}

/// Appends which database the records that follow belong to.
pub fn select(db: usize, out: &mut Vec<u8>) {
    command(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()], out);
}

/// Appends one record for keys that are gone.
pub fn unlink<'a>(keys: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    head(keys.len() + 1, out);
    arg(b"UNLINK", out);
    keys.for_each(|key| arg(key, out));
}

/// Appends a record that was read, with what stood before it.
pub(super) fn write_again(args: Args<'_>, beside: Option<&Extra>, out: &mut Vec<u8>) {
    if let Some(extra) = beside {
        note(extra, out);
    }
    head(args.len(), out);
    args.iter().for_each(|bytes| arg(bytes, out));
}

/// Appends lines that belong to the record after them.
pub fn note(extra: &Extra, out: &mut Vec<u8>) {
    let mut pieces = extra.as_bytes().chunks(NOTE_BYTES).peekable();
    loop {
        let piece = pieces.next().unwrap_or_default();
        let last = pieces.peek().is_none();
        out.extend_from_slice(if last { NOTE } else { NOTE_MORE });
        for byte in piece {
            out.extend([byte >> 4, byte & 15].map(hex));
        }
        out.extend_from_slice(b"\r\n");
        if last {
            return;
        }
    }
}

const fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

fn change_record(key: &[u8], change: &Change<'_>, out: &mut Vec<u8>) {
    match change {
        Change::Put { value, meta } => put(key, value, meta, out),
        Change::Splice { bytes: [], .. } => command(&[b"APPEND", key, b""], out),
        Change::Splice { at, bytes } => {
            let mut number = itoa::Buffer::new();
            command(&[b"SETRANGE", key, number.format(*at).as_bytes(), bytes], out);
        }
        Change::Fields(edits) => fields(key, edits, None, out),
        Change::Session { meta, user, edits, renew, fresh } => {
            session(key, (meta, user), edits, (*renew, *fresh), out);
        }
        Change::Deadline { at, .. } => deadline(key, *at, out),
        Change::Meta(meta) => {
            note(&Extra::of(meta), out);
            deadline(key, meta.deadline, out);
        }
        Change::Install(item) => install(key, item, out),
        Change::Remove(_) => unlink(std::iter::once(key), out),
    }
}

fn put(key: &[u8], value: &[u8], meta: &Meta, out: &mut Vec<u8>) {
    let extra = Extra::of(meta);
    if !extra.is_empty() {
        note(&extra, out);
    }
    match meta.deadline {
        None => command(&[b"SET", key, value], out),
        Some(at) => {
            let mut number = itoa::Buffer::new();
            command(&[b"SET", key, value, b"PXAT", number.format(at).as_bytes()], out);
        }
    }
}

fn deadline(key: &[u8], at: Option<u64>, out: &mut Vec<u8>) {
    match at {
        None => command(&[b"PERSIST", key], out),
        Some(at) => {
            command(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()], out);
        }
    }
}

/// Appends all of what a key holds from now on, whatever it held.
pub(super) fn install(key: &[u8], item: &OwnedItem, out: &mut Vec<u8>) {
    let hash = match Body::of(&item.value) {
        Body::String(value) => return put(key, value, &item.meta, out),
        Body::Hash(hash) => hash,
    };
    let extra = Extra::of(&item.meta);
    if item.meta.slide.state() != State::Plain {
        unlink(std::iter::once(key), out);
        let edits: Vec<FieldEdit<'_>> = hash.iter(0).map(set).collect();
        return session(key, (&item.meta, &item.user), &edits, (true, false), out);
    }
    unlink(std::iter::once(key), out);
    // A hash may have millions of fields: never a list of all of them.
    let mut rest = hash.iter(0).map(set).peekable();
    while rest.peek().is_some() {
        let edits: Vec<FieldEdit<'_>> = rest.by_ref().take(FIELDS_PER_RECORD).collect();
        fields(key, &edits, None, out);
    }
    if !extra.is_empty() {
        note(&extra, out);
        deadline(key, item.meta.deadline, out);
    } else if let Some(at) = item.meta.deadline {
        deadline(key, Some(at), out);
    }
}

const fn set(field: Field<'_>) -> FieldEdit<'_> {
    let deadline = match field.deadline {
        None => FieldDeadline::Clear,
        Some(at) => FieldDeadline::At(at),
    };
    FieldEdit::Set { field: field.name, value: field.value, deadline }
}

/// A session: the note of its first record says all that is beside the fields. What a session
/// left behind is gone for Redis.
fn session(
    key: &[u8],
    (meta, user): (&Meta, &[u8]),
    edits: &[FieldEdit<'_>],
    (renew, fresh): (bool, bool),
    out: &mut Vec<u8>,
) {
    let mut extra = Extra::of(meta);
    if !user.is_empty() {
        extra.push(tag::USER, user);
    }
    extra.push(tag::SESSION_CHANGE, &[u8::from(renew)]);
    if fresh {
        extra.push(tag::FRESH, b"");
    }
    if let Some(at) = meta.deadline {
        extra.push(tag::EMPTY_DEADLINE, &at.to_le_bytes());
    }
    if meta.slide.state() == State::Session {
        if edits.is_empty() {
            note(&extra, out);
        }
        fields(key, edits, Some(extra), out);
        return deadline(key, meta.deadline, out);
    }
    for edit in edits {
        if let FieldEdit::Set { field, value, .. } = edit {
            extra.push_hidden_field(field, value);
        }
    }
    note(&extra, out);
    unlink(std::iter::once(key), out);
}

/// What one record can do to several fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Set(FieldDeadline),
    Delete,
    Deadline(Option<u64>),
}

impl Act {
    const fn of(edit: &FieldEdit<'_>) -> Self {
        match edit {
            FieldEdit::Set { deadline, .. } => Self::Set(*deadline),
            FieldEdit::Delete { .. } => Self::Delete,
            FieldEdit::Deadline { at, .. } => Self::Deadline(*at),
        }
    }
}

/// Edits in their order, neighbours of one kind in one record; `first` is the first one's note.
fn fields(key: &[u8], edits: &[FieldEdit<'_>], mut first: Option<Extra>, out: &mut Vec<u8>) {
    let mut rest = edits;
    while let Some(edit) = rest.first() {
        let act = Act::of(edit);
        let mut room = RECORD_BYTES;
        let fits = |(i, edit): &(usize, &FieldEdit<'_>)| {
            room = room.saturating_sub(bytes_of(edit));
            Act::of(edit) == act && (*i == 0 || room > 0)
        };
        let alike = rest.iter().take(FIELDS_PER_RECORD).enumerate().take_while(fits);
        let (here, after) = rest.split_at(alike.count());
        rest = after;
        let mut beside = first.take();
        if act == Act::Set(FieldDeadline::Keep) {
            beside.get_or_insert_default().push(tag::KEEP_FIELD_DEADLINES, b"");
        }
        if let Some(extra) = beside {
            note(&extra, out);
        }
        match act {
            Act::Set(deadline) => set_fields(key, here, deadline, out),
            Act::Delete => {
                head(here.len() + 2, out);
                [b"HDEL", key].into_iter().for_each(|bytes| arg(bytes, out));
                here.iter().for_each(|edit| arg(edit.field(), out));
            }
            Act::Deadline(at) => {
                field_deadlines(key, at, here.iter().map(FieldEdit::field), out);
            }
        }
    }
}

/// Bytes that an edit's strings have.
const fn bytes_of(edit: &FieldEdit<'_>) -> usize {
    match edit {
        FieldEdit::Set { field, value, .. } => field.len() + value.len(),
        FieldEdit::Delete { field } | FieldEdit::Deadline { field, .. } => field.len(),
    }
}

fn set_fields(key: &[u8], edits: &[FieldEdit<'_>], deadline: FieldDeadline, out: &mut Vec<u8>) {
    head(edits.len() * 2 + 2, out);
    [b"HSET", key].into_iter().for_each(|bytes| arg(bytes, out));
    for edit in edits {
        if let FieldEdit::Set { field, value, .. } = edit {
            arg(field, out);
            arg(value, out);
        }
    }
    if let FieldDeadline::At(at) = deadline {
        field_deadlines(key, Some(at), edits.iter().map(FieldEdit::field), out);
    }
}

fn field_deadlines<'a>(
    key: &[u8],
    at: Option<u64>,
    names: impl ExactSizeIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) {
    let mut number = itoa::Buffer::new();
    head(names.len() + if at.is_some() { 5 } else { 4 }, out);
    match at {
        Some(at) => {
            arg(b"HPEXPIREAT", out);
            arg(key, out);
            arg(number.format(at).as_bytes(), out);
        }
        None => {
            arg(b"HPERSIST", out);
            arg(key, out);
        }
    }
    arg(b"FIELDS", out);
    arg(number.format(names.len()).as_bytes(), out);
    names.for_each(|name| arg(name, out));
}

fn command(args: &[&[u8]], out: &mut Vec<u8>) {
    head(args.len(), out);
    args.iter().for_each(|bytes| arg(bytes, out));
}

fn head(args: usize, out: &mut Vec<u8>) {
    line(b'*', args, out);
}

fn arg(bytes: &[u8], out: &mut Vec<u8>) {
    line(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn line(kind: u8, number: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}
