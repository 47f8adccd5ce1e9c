//! One field as bytes: the entry that packed hashes and tree leaves are made of.
//!
//! ```text
//! | varint: name length << 1 | d | name | varint: value length | value | deadline (8) if d |
//! ```
//!
//! A varint has seven bits to a byte, the lowest first; the top bit says that more follow. A
//! deadline is Unix milliseconds, little-endian.
//! What always holds: bytes that are no entry read as `None`, whatever they are.

/// A field as it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// When it ends, in Unix milliseconds.
    pub deadline: Option<u64>,
}

impl Field<'_> {
    /// Whether the field is still there for a reader at `now`.
    #[must_use]
    pub fn is_live(&self, now: u64) -> bool {
        self.deadline.is_none_or(|at| at > now)
    }

    /// The bytes of the field's entry.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        varint_bytes(self.name.len() << 1)
            + self.name.len()
            + varint_bytes(self.value.len())
            + self.value.len()
            + if self.deadline.is_some() { 8 } else { 0 }
    }
}

/// Appends the entry of a field: a packed hash can be built by writing each field once.
pub fn write_field(out: &mut Vec<u8>, field: Field<'_>) {
    write_varint(out, field.name.len() << 1 | usize::from(field.deadline.is_some()));
    out.extend_from_slice(field.name);
    write_varint(out, field.value.len());
    out.extend_from_slice(field.value);
    if let Some(at) = field.deadline {
        out.extend_from_slice(&at.to_le_bytes());
    }
}

/// The first entry of `bytes` and what follows it; `None` at the end and for bytes that aren't one.
#[inline]
pub(super) fn read_field(bytes: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (head, rest) = read_varint(bytes)?;
    let (name, rest) = rest.split_at_checked(head >> 1)?;
    let (length, rest) = read_varint(rest)?;
    let (value, rest) = rest.split_at_checked(length)?;
    if head & 1 == 0 {
        return Some((Field { name, value, deadline: None }, rest));
    }
    let (at, rest) = rest.split_first_chunk::<8>()?;
    Some((Field { name, value, deadline: Some(u64::from_le_bytes(*at)) }, rest))
}

#[inline]
fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    read_long_varint(first, rest)
}

fn read_long_varint(first: u8, mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = u64::from(first & 0x7f);
    for shift in [7, 14, 21, 28, 35, 42, 49] {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((usize::try_from(value).ok()?, rest));
        }
    }
    None
}

fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const fn varint_bytes(value: usize) -> usize {
    let bits = (usize::BITS - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_and_every_cut_of_it_reads_as_none() {
        for (name, value) in [(0, 0), (1, 127), (63, 128), (64, 20_000), (300, 3_000_000)] {
            let (name, value) = (vec![b'n'; name], vec![b'v'; value]);
            for deadline in [None, Some(0), Some(u64::MAX)] {
                let field = Field { name: &name, value: &value, deadline };
                let mut bytes = Vec::new();
                write_field(&mut bytes, field);
                assert_eq!(bytes.len(), field.entry_bytes());
                assert_eq!(read_field(&bytes), Some((field, &[][..])));
                for cut in (0..bytes.len()).rev().take(400) {
                    assert_eq!(read_field(&bytes[..cut]), None);
                }
            }
        }
        assert_eq!(read_field(&[0xff; 40]), None);
    }
}
