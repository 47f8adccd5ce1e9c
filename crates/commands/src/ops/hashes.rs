//! Rules of hashes, and of the deadlines that their fields may have.
//!
//! What always holds: a field that is due at `now` doesn't exist, whether the engine has removed
//! it yet or not; a command that names a field twice meets the second time what it left the first.
//! Not for: parsing requests, replies.

use crate::client::Client;
use crate::context::Shards;
use crate::failure::Failure;
use crate::ops::expiry::When;
use crate::ops::extended;
use engine::hash::{FieldEdit, HashView};
use engine::{Key, Kind};
use protocol::resp::{fmt_long_double, parse_f64, parse_i64};
use std::collections::BTreeMap;

/// The hash under a key of the client's database; a use of it, unless the client leaves none.
///
/// # Errors
/// [`Failure::WRONG_TYPE`].
pub fn find<'s>(
    shards: &'s mut (dyn Shards + '_),
    client: &Client,
    key: &Key<'_>,
    now: u64,
) -> Result<Option<HashView<'s>>, Failure> {
    let number = key.hash.shard(shards.count());
    let shard = shards.shard(number);
    let entry = if client.no_touch {
        shard.peek(client.db, key, now)
    } else {
        shard.get(client.db, key, now)
    };
    match entry {
        Some(entry) if entry.kind() == Kind::Hash => Ok(entry.hash()),
        Some(_) => Err(Failure::WRONG_TYPE),
        None => Ok(None),
    }
}

/// What HINCRBY makes of a field's value; a missing one counts as 0.
///
/// # Errors
/// If the value isn't an integer, or the sum isn't one of 64 bits.
pub fn add(current: Option<&[u8]>, by: i64) -> Result<i64, Failure> {
    let current = match current {
        Some(value) => parse_i64(value).ok_or(Failure::text("ERR hash value is not an integer"))?,
        None => 0,
    };
    current.checked_add(by).ok_or(Failure::text("ERR increment or decrement would overflow"))
}

/// What HINCRBYFLOAT makes of a field's value, as text; a missing one counts as 0. The value is
/// asked for once the number to add is known to be one.
///
/// # Errors
/// If one of them isn't a number, or the sum isn't finite; whatever `current` says.
pub fn add_float(
    by: &[u8],
    current: impl FnOnce() -> Result<Option<Vec<u8>>, Failure>,
) -> Result<String, Failure> {
    let number = parse_f64(by).ok_or(Failure::NOT_A_FLOAT)?;
    if number.is_infinite() {
        return Err(Failure::text("ERR value is NaN or Infinity"));
    }
    let current = current()?.unwrap_or_else(|| b"0".to_vec());
    let start = parse_f64(&current).ok_or(Failure::text("ERR hash value is not a float"))?;
    let sum = start + number;
    if !sum.is_finite() {
        return Err(Failure::text("ERR increment would produce NaN or Infinity"));
    }
    Ok(extended::sum(&current, by).unwrap_or_else(|| fmt_long_double(sum)))
}

/// What HEXPIRE and HPERSIST answer for a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// There is no such field.
    Missing = -2,
    /// It has no deadline that could be taken away.
    Endless = -1,
    /// The condition doesn't hold.
    Refused = 0,
    /// Done.
    Done = 1,
    /// The deadline has passed, so the field is deleted.
    Deleted = 2,
}

/// Edits of one hash that a command collects before it applies them.
#[derive(Debug)]
pub struct Draft<'v, 'a> {
    hash: Option<HashView<'v>>,
    now: u64,
    edits: Vec<FieldEdit<'a>>,
    /// What the edits leave of the fields that they name: nothing, or a field and its deadline.
    /// Not kept for a single field.
    left: BTreeMap<&'a [u8], Option<Option<u64>>>,
    single: bool,
}

impl<'v, 'a> Draft<'v, 'a> {
    /// Nothing changed of `hash` yet, of which at most `fields` fields will.
    pub fn new(hash: Option<HashView<'v>>, fields: usize, now: u64) -> Self {
        let edits = Vec::with_capacity(if hash.is_some() { fields } else { 0 });
        Self { hash, now, edits, left: BTreeMap::new(), single: fields == 1 }
    }

    /// The value of a field, unless an earlier edit deleted it.
    pub fn value(&self, field: &[u8]) -> Option<&'v [u8]> {
        let found = self.hash?.get(field, self.now)?;
        match self.left.get(field) {
            Some(None) => None,
            _ => Some(found.value),
        }
    }

    /// Gives a field a deadline if `when` allows it.
    pub fn expire(&mut self, field: &'a [u8], at: u64, when: When) -> Code {
        let Some(old) = self.deadline(field) else { return Code::Missing };
        if !when.allows(old, at) {
            return Code::Refused;
        }
        if at <= self.now {
            self.delete(field);
            return Code::Deleted;
        }
        self.note(FieldEdit::Deadline { field, at: Some(at) }, Some(Some(at)));
        Code::Done
    }

    /// Takes a field's deadline away.
    pub fn persist(&mut self, field: &'a [u8]) -> Code {
        match self.deadline(field) {
            None => Code::Missing,
            Some(None) => Code::Endless,
            Some(Some(_)) => {
                self.note(FieldEdit::Deadline { field, at: None }, Some(None));
                Code::Done
            }
        }
    }

    /// Deletes a field; nothing happens if it isn't there.
    pub fn delete(&mut self, field: &'a [u8]) {
        if self.deadline(field).is_some() {
            self.note(FieldEdit::Delete { field }, None);
        }
    }

    /// The edits.
    pub fn into_edits(self) -> Vec<FieldEdit<'a>> {
        self.edits
    }

    /// Whether a field is there, and when it ends.
    fn deadline(&self, field: &[u8]) -> Option<Option<u64>> {
        match self.left.get(field) {
            Some(left) => *left,
            None => self.hash?.get(field, self.now).map(|field| field.deadline),
        }
    }

    fn note(&mut self, edit: FieldEdit<'a>, left: Option<Option<u64>>) {
        if !self.single {
            self.left.insert(edit.field(), left);
        }
        self.edits.push(edit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_to_64_bits() {
        assert_eq!(add(None, -3), Ok(-3));
        assert_eq!(add(Some(b"9223372036854775806"), 1), Ok(i64::MAX));
        assert!(add(Some(b"9223372036854775807"), 1).is_err());
        assert!(add(Some(b"01"), 1).is_err());
    }
}
