//! Names of fields that stand once in a file for many hashes, as Redis 8.10 writes hashes that a
//! client prepared so.
//!
//! ```text
//! F2 number | count | name ...                 a template, before the keys
//! 1D        | names | listpack: number, value ...        the names beside the values: DUMP
//! 1E        | listpack: number of the template, value ...
//! 1F        | names | value ...                                                   DUMP
//! 20        | number of the template | value ...
//! names     0 | listpack of them, or 1 | count | name ...
//! ```
//!
//! What always holds: a template has as many names as a hash of it has values, and at least one.

use super::input::{Error, Input, Problem};
use super::packed::{self, Entry};
use super::{Collect, kind};
use crate::limits::{TEMPLATE_BYTES_MAX, TEMPLATE_FIELDS_MAX};
use engine::hash::Field;
use std::collections::HashMap;
use std::io::Read;

/// The templates of a file so far.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    all: HashMap<u64, Vec<Vec<u8>>>,
    fields: usize,
    bytes: usize,
}

impl Templates {
    /// Reads one, without the byte that says so.
    pub(super) fn read<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), Error> {
        let number = input.length()?;
        let names = names(input)?;
        self.fields += names.len();
        self.bytes += names.iter().map(Vec::len).sum::<usize>();
        let bounded = self.fields <= TEMPLATE_FIELDS_MAX && self.bytes <= TEMPLATE_BYTES_MAX;
        if !bounded || self.all.insert(number, names).is_some() {
            return input.fail(DAMAGED);
        }
        Ok(())
    }

    /// Reads the fields of a hash.
    pub(super) fn hash<R: Read>(
        &self,
        input: &mut Input<R>,
        kind: u8,
        into: &mut Collect,
    ) -> Result<(), Error> {
        let own = match kind {
            kind::HASH_TEMPLATE_LISTPACK | kind::HASH_TEMPLATE => Some(names_of_one(input)?),
            _ => None,
        };
        let known = |number: Option<u64>| {
            own.as_ref().or_else(|| number.and_then(|number| self.all.get(&number)))
        };
        if matches!(kind, kind::HASH_TEMPLATE | kind::HASH_TEMPLATE_REFERENCE) {
            let number = if own.is_none() { Some(input.length()?) } else { None };
            let Some(names) = known(number) else { return input.fail(DAMAGED) };
            for name in names {
                let value = input.string()?;
                let added = into.add(Field { name, value: &value, deadline: None });
                added.ok_or_else(|| input.error(DAMAGED))?;
            }
            return Ok(());
        }
        let values = input.string()?;
        let values = entries(&values).ok_or_else(|| input.error(DAMAGED))?;
        let Some((Entry::Integer(number), values)) = values.split_first() else {
            return input.fail(DAMAGED);
        };
        let names = known(u64::try_from(*number).ok());
        let Some(names) = names.filter(|names| names.len() == values.len()) else {
            return input.fail(DAMAGED);
        };
        for (name, value) in names.iter().zip(values) {
            let added = into.add(Field { name, value: &value.to_vec(), deadline: None });
            added.ok_or_else(|| input.error(DAMAGED))?;
        }
        Ok(())
    }
}

const DAMAGED: Problem = Problem::Collection("hash by a template");

fn names<R: Read>(input: &mut Input<R>) -> Result<Vec<Vec<u8>>, Error> {
    let mut names = Vec::new();
    let count = input.length()?;
    for _ in 0..count {
        if names.len() == TEMPLATE_FIELDS_MAX {
            return input.fail(DAMAGED);
        }
        names.push(input.string()?);
    }
    if names.is_empty() { input.fail(DAMAGED) } else { Ok(names) }
}

/// Names that stand beside the values of one hash.
fn names_of_one<R: Read>(input: &mut Input<R>) -> Result<Vec<Vec<u8>>, Error> {
    match input.length()? {
        0 => {
            let string = input.string()?;
            let names = entries(&string).filter(|names| !names.is_empty());
            let names = names.ok_or_else(|| input.error(DAMAGED))?;
            Ok(names.into_iter().map(Entry::to_vec).collect())
        }
        1 => names(input),
        _ => input.fail(DAMAGED),
    }
}

fn entries(listpack: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut all = Vec::new();
    packed::each_in_listpack(listpack, &mut |entry| all.push(entry))?;
    Some(all)
}
