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

/// A command's number: small, the same as long as the process lives. 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Number(pub(crate) u16);

impl Number {
    /// The full name of the command in capitals, of a subcommand `CONTAINER|SUBCOMMAND`; empty
    /// if it's none.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).map_or("", String::as_str)
    }
}

/// The names of all numbers, from 0 on; subcommands follow their command.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(String::as_str)
}

/// The command of that name.
pub fn find(name: &[u8]) -> Option<&'static Row> {
    find_numbered(name).map(|(row, _)| row)
}

/// The command of that name, and its number.
#[inline]
pub fn find_numbered(name: &[u8]) -> Option<(&'static Row, Number)> {
    let packed = pack(name)?;
    let table = &*TABLE;
    let mut at = slot(packed, table.len());
    loop {
        match table.get(at)? {
            Some((found, row, number)) if *found == packed => return Some((row, *number)),
            Some(_) => at = (at + 1) & (table.len() - 1),
            None => return None,
        }
    }
}

/// The subcommand of that name.
pub fn find_subcommand(row: &'static Row, name: &[u8]) -> Option<&'static Row> {
    row.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
}

/// The subcommand of that name of the command of that number, and its own number.
pub fn find_subcommand_numbered(
    (row, number): (&'static Row, Number),
    name: &[u8],
) -> Option<(&'static Row, Number)> {
    let at = row.subcommands.iter().position(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name));
    let at = at?;
    Some((row.subcommands.get(at)?, Number(number.0 + 1 + at as u16)))
}

type Packed = [u64; NAME_MAX / 8];
type Place = Option<(Packed, &'static Row, Number)>;

static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let of = |row: &'static Row| {
        let subs = row.subcommands.iter().map(move |sub| format!("{}|{}", row.name, sub.name));
        std::iter::once(row.name.to_owned()).chain(subs)
    };
    std::iter::once(String::new()).chain(rows().flat_map(of)).collect()
});

/// An open table with at least three of four places empty.
static TABLE: LazyLock<Vec<Place>> = LazyLock::new(|| {
    let mut named: HashMap<Packed, (&'static Row, Number)> = HashMap::new();
    let mut next = 1;
    for row in rows() {
        if let Some(packed) = pack(row.name.as_bytes()) {
            named.insert(packed, (row, Number(next)));
        }
        next += 1 + row.subcommands.len() as u16;
    }
    let size = (named.len() * 4).next_power_of_two().max(64);
    let mut table = vec![None; size];
    for (packed, (row, number)) in named {
        let mut at = slot(packed, size);
        while table.get(at).is_some_and(Option::is_some) {
            at = (at + 1) & (size - 1);
        }
        if let Some(place) = table.get_mut(at) {
            *place = Some((packed, row, number));
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
            let numbered = find_numbered(row.name.as_bytes()).unwrap();
            assert_eq!(numbered.1.name(), row.name);
            for sub in row.subcommands {
                let found = find_subcommand_numbered(numbered, sub.name.as_bytes()).unwrap();
                assert_eq!(found.1.name(), format!("{}|{}", row.name, sub.name));
            }
        }
        assert_eq!(Number::default().name(), "");
        assert!(find(b"").is_none() && find(b"nosuch").is_none() && find(&[b'x'; 99]).is_none());
    }
}
