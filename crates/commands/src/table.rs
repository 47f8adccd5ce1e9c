//! The table of all commands, found by name in any case.
//!
//! What always holds: the table is made of the families' rows alone.

use crate::families;
use crate::row::Row;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The longest name of a command.
const NAME_MAX: usize = 24;

/// Every command, family by family.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    families::ALL.iter().flat_map(|family| family.iter())
}

/// The command of that name.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Row> {
    let packed = pack(name)?;
    let table = &*TABLE;
    let mut at = slot(packed, table.len());
    loop {
        match table.get(at)? {
            Some((found, row)) if *found == packed => return Some(row),
            Some(_) => at = (at + 1) & (table.len() - 1),
            None => return None,
        }
    }
}

/// The subcommand of that name.
pub fn find_subcommand(row: &'static Row, name: &[u8]) -> Option<&'static Row> {
    row.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
}

type Packed = [u64; NAME_MAX / 8];

/// An open table with at least three of four places empty.
static TABLE: LazyLock<Vec<Option<(Packed, &'static Row)>>> = LazyLock::new(|| {
    let mut named: HashMap<Packed, &'static Row> = HashMap::new();
    for row in rows() {
        if let Some(packed) = pack(row.name.as_bytes()) {
            named.insert(packed, row);
        }
    }
    let size = (named.len() * 4).next_power_of_two().max(64);
    let mut table = vec![None; size];
    for (packed, row) in named {
        let mut at = slot(packed, size);
        while table.get(at).is_some_and(Option::is_some) {
            at = (at + 1) & (size - 1);
        }
        if let Some(place) = table.get_mut(at) {
            *place = Some((packed, row));
        }
    }
    table
});

/// A name in lower case as three words; none if it's too long for any command.
#[inline]
fn pack(name: &[u8]) -> Option<Packed> {
    let mut bytes = [0u8; NAME_MAX];
    for (to, from) in bytes.get_mut(..name.len())?.iter_mut().zip(name) {
        *to = from.to_ascii_lowercase();
    }
    let mut packed = [0; NAME_MAX / 8];
    for (word, chunk) in packed.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    Some(packed)
}

#[inline]
fn slot(packed: Packed, size: usize) -> usize {
    let [a, b, c] = packed;
    let mixed = (a ^ b.rotate_left(23) ^ c.rotate_left(41)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize & (size - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case_and_nothing_else_is() {
        for row in rows() {
            let found = find(row.name.to_ascii_lowercase().as_bytes());
            assert!(found.is_some_and(|found| std::ptr::eq(found, row)), "{}", row.name);
        }
        assert!(find(b"").is_none() && find(b"nosuch").is_none() && find(&[b'x'; 99]).is_none());
    }
}
