//! The values that are kept: strings, and hashes in each of their encodings.
//!
//! ```text
//! 04           count | name value ...
//! 09 0D 10     names and values in one string: zipmap, ziplist, listpack
//! 16           Valkey: count | name value deadline (8) ...; -1 for none
//! 16           Redis 7.4 before its release: count | deadline (a length, 0 for none) name value ...
//! 17 19        listpack of names, values and deadlines (0 for none); before that of 19 the first (8)
//! 18           the first deadline (8) | count | deadline, counted from one before the first (a length,
//!              0 for none) name value ...
//! ```
//!
//! What always holds: a hash has at least one field, and no name twice.

use super::input::{Error, Input, Problem};
use super::{Collect, Templates, kind, packed};
use crate::extra::Extra;
use engine::OwnedValue;
use engine::hash::{Field, SipKey};
use std::io::Read;

/// What a value is read as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form<'a> {
    /// Its type.
    pub(crate) kind: u8,
    /// Whether Valkey wrote it.
    pub(crate) valkey: bool,
    /// What stood before it in the file.
    pub(crate) templates: &'a Templates,
}

/// Whether values of a type are kept.
pub(crate) const fn is_kept(kind: u8, valkey: bool) -> bool {
    match kind {
        kind::STRING
        | kind::HASH
        | kind::HASH_ZIPMAP
        | kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::HASH_22 => true,
        kind::HASH_LISTPACK_DATED_EARLY
        | kind::HASH_DATED
        | kind::HASH_LISTPACK_DATED
        | kind::HASH_TEMPLATE_LISTPACK..=kind::HASH_TEMPLATE_REFERENCE => !valkey,
        _ => false,
    }
}

/// Reads the value of a kept type. `extra` may give fields their deadlines.
pub(crate) fn value<R: Read>(
    input: &mut Input<R>,
    form: Form<'_>,
    sip: SipKey,
    extra: &Extra,
) -> Result<OwnedValue, Error> {
    let start = input.offset();
    let damaged = |what| Error { offset: start, problem: Problem::Collection(what) };
    let mut all = Collect::new(sip);
    let kind = form.kind;
    match kind {
        kind::STRING => return input.string().map(OwnedValue::String),
        kind::HASH | kind::HASH_22 | kind::HASH_DATED => {
            let first =
                if kind == kind::HASH_DATED { u64::from_le_bytes(input.array()?) } else { 1 };
            let count = input.length()?;
            if count == 0 {
                return Err(damaged("hash without fields"));
            }
            for _ in 0..count {
                let before = kind != kind::HASH && !form.valkey;
                let mut deadline = if before { after(first, input.length()?) } else { Ok(None) };
                let (name, value) = (input.string()?, input.string()?);
                if kind != kind::HASH && form.valkey {
                    // None is told by -1; the past is as good as any moment there.
                    let at = i64::from_le_bytes(input.array()?);
                    deadline = Ok(u64::try_from(at).ok().map(|at| at.max(1)));
                }
                let deadline = deadline.map_err(|()| damaged("hash"))?;
                let field = Field { name: &name, value: &value, deadline };
                all.add(field).ok_or_else(|| damaged("hash"))?;
            }
        }
        kind::HASH_TEMPLATE_LISTPACK..=kind::HASH_TEMPLATE_REFERENCE => {
            form.templates.hash(input, kind, &mut all)?;
        }
        _ => {
            if kind == kind::HASH_LISTPACK_DATED {
                // The first of the deadlines, which stand in the listpack as well.
                input.pass(8)?;
            }
            let string = input.string()?;
            packed_hash(&string, kind, &mut all).ok_or_else(|| damaged("packed hash"))?;
        }
    }
    all.finish(extra.field_deadlines()).ok_or_else(|| damaged("hash"))
}

/// The deadline that is `count` after the moment before `first`; none is told by 0.
fn after(first: u64, count: u64) -> Result<Option<u64>, ()> {
    let Some(more) = count.checked_sub(1) else { return Ok(None) };
    let at = first.checked_add(more).filter(|at| i64::try_from(*at).is_ok());
    // Nobody writes a first deadline of zero where there is one.
    at.filter(|at| *at > 0).map(Some).ok_or(())
}

/// Takes the fields out of a hash that stands in one string.
fn packed_hash(string: &[u8], kind: u8, all: &mut Collect) -> Option<()> {
    let dated = matches!(kind, kind::HASH_LISTPACK_DATED | kind::HASH_LISTPACK_DATED_EARLY);
    let (mut name, mut value) = (None, None);
    let (mut right, mut count) = (true, 0_usize);
    let mut take = |entry: packed::Entry<'_>| {
        count += 1;
        if name.is_none() {
            name = Some(entry.to_vec());
        } else if dated && value.is_none() {
            value = Some(entry.to_vec());
        } else {
            let deadline = match entry {
                packed::Entry::Integer(at) if dated => {
                    right &= at >= 0;
                    u64::try_from(at).ok().filter(|at| *at > 0)
                }
                packed::Entry::Bytes(_) if dated => {
                    right = false;
                    None
                }
                entry => {
                    value = Some(entry.to_vec());
                    None
                }
            };
            let (name, value) = (name.take(), value.take());
            let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
            let field = Field { name: &name, value: &value, deadline };
            right &= all.add(field).is_some();
        }
    };
    match kind {
        kind::HASH_ZIPMAP => packed::each_in_zipmap(string, &mut take),
        kind::HASH_ZIPLIST => packed::each_in_ziplist(string, &mut take),
        _ => packed::each_in_listpack(string, &mut take),
    }?;
    (right && count > 0 && name.is_none() && value.is_none()).then_some(())
}
