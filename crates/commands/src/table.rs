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
    let mut packed = [0; NAME_MAX / 8];
    if name.len() > NAME_MAX {
        return None;
    }
    for (word, chunk) in packed.iter_mut().zip(name.chunks(8)) {
        for (i, c) in chunk.iter().enumerate() {
            *word |= u64::from(*c) << (8 * i);
        }
        *word = lower(*word);
    }
    Some(packed)
}

/// Eight ASCII characters in lower case at once; other bytes stay as they are.
#[inline]
const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * ONES);
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let past_z = low + (0x7f - b'Z' as u64) * ONES;
    let capital = (from_a & !past_z) & !word & (0x80 * ONES);
    word | capital >> 2
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
    fn only_capitals_become_small() {
        for c in 0..=u8::MAX {
            let word = u64::from_le_bytes([c, b'@', c, b'[', c, b'Z', c, b'A']);
            let small = word.to_le_bytes().map(|c| c.to_ascii_lowercase());
            assert_eq!(lower(word), u64::from_le_bytes(small));
        }
    }

    #[test]
    fn every_command_is_found_in_any_case_and_nothing_else_is() {
        for row in rows() {
            let found = find(row.name.to_ascii_lowercase().as_bytes());
            assert!(found.is_some_and(|found| std::ptr::eq(found, row)), "{}", row.name);
        }
        assert!(find(b"").is_none() && find(b"nosuch").is_none() && find(&[b'x'; 99]).is_none());
    }
}
