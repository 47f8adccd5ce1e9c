//! Keys as an item keeps them: common prefixes by number, ids packed.
//!
//! ```text
//! Raw       | length (1), or 255 and length (2) | bytes                        |
//! Hex       | prefix (1) | digits (1) | two hexadecimal digits to a byte       |
//! Six       | prefix (1) | characters (1) | base64url characters, 4 to 3 bytes |
//! Prefixed  | prefix (1) | length (1) | bytes                                  |
//! ```
//!
//! Prefix 0 is the empty one; the others are the shard's. Digits are lower case.
//! What always holds: a key that was packed unpacks to the same bytes; two ways to keep one key
//! are equal under [`matches`], so a prefix may be learned at any time.

use crate::header::KeyForm;

/// The longest key in bytes.
pub const KEY_MAX: usize = 16_000;
/// The longest tail that is packed.
const TAIL_MAX: usize = 255;

/// The prefixes that packed keys refer to.
pub trait Prefixes {
    /// The prefix with this number; empty if there is none.
    fn prefix(&self, number: u8) -> &[u8];
}

/// How a key will be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The form.
    pub form: KeyForm,
    /// The prefix's number.
    pub prefix: u8,
    /// The length of that prefix.
    pub skip: usize,
    /// The bytes that the key will take.
    pub bytes: usize,
}

impl Plan {
    /// The plan to keep a key as it is.
    pub const fn raw(key: &[u8]) -> Self {
        let bytes = key.len() + if key.len() < 255 { 1 } else { 3 };
        Self { form: KeyForm::Raw, prefix: 0, skip: 0, bytes }
    }

    /// The best plan for `key` behind a known prefix of `skip` bytes.
    pub fn behind(key: &[u8], prefix: u8, skip: usize) -> Self {
        let raw = Self::raw(key);
        let tail = key.get(skip..).unwrap_or_default();
        if tail.len() > TAIL_MAX {
            return raw;
        }
        let (form, packed) = if tail.iter().all(|c| hex_value(*c).is_some()) {
            (KeyForm::Hex, tail.len().div_ceil(2))
        } else if tail.iter().all(|c| six_value(*c).is_some()) {
            (KeyForm::Six, (tail.len() * 6).div_ceil(8))
        } else {
            (KeyForm::Prefixed, tail.len())
        };
        let plan = Self { form, prefix, skip, bytes: 2 + packed };
        if plan.bytes < raw.bytes { plan } else { raw }
    }

    /// Appends `key` as planned to `out`.
    pub fn write(self, key: &[u8], out: &mut Vec<u8>) {
        let tail = key.get(self.skip..).unwrap_or_default();
        if self.form == KeyForm::Raw {
            match u8::try_from(key.len()) {
                Ok(short) if short < 255 => out.push(short),
                _ => {
                    out.push(255);
                    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
                }
            }
            out.extend_from_slice(key);
            return;
        }
        out.push(self.prefix);
        out.push(tail.len() as u8);
        match self.form {
            KeyForm::Hex => out.extend(tail.chunks(2).map(pack_hex)),
            KeyForm::Six => tail.chunks(4).for_each(|four| pack_six(four, out)),
            _ => out.extend_from_slice(tail),
        }
    }
}

/// Where a key's common part may end: after the last byte that no id contains, or in front of a
/// long run of hexadecimal digits. 0 if the key has no tail worth a prefix.
pub fn prefix_end(key: &[u8]) -> usize {
    let hex = key.iter().rev().take_while(|c| hex_value(**c).is_some()).count();
    for usual in [64, 40, 32] {
        if hex >= usual && hex <= TAIL_MAX {
            return key.len() - usual;
        }
    }
    let tail = key.iter().rev().take_while(|c| six_value(**c).is_some()).count();
    if tail == 0 || tail > TAIL_MAX { 0 } else { key.len() - tail }
}

/// The bytes that a kept key takes, read from its first ones.
#[inline]
pub fn kept_bytes(body: &[u8], form: KeyForm) -> usize {
    let first = |i: usize| usize::from(body.get(i).copied().unwrap_or(0));
    match form {
        KeyForm::Raw if first(0) == 255 => 3 + (first(1) | first(2) << 8),
        KeyForm::Raw => 1 + first(0),
        KeyForm::Hex => 2 + first(1).div_ceil(2),
        KeyForm::Six => 2 + (first(1) * 6).div_ceil(8),
        KeyForm::Prefixed => 2 + first(1),
    }
}

/// Whether the kept key at the start of `body` is `key`.
#[inline]
pub fn matches(body: &[u8], form: KeyForm, prefixes: &impl Prefixes, key: &[u8]) -> bool {
    let kept = kept_bytes(body, form);
    let Some(kept) = body.get(..kept) else { return false };
    if form == KeyForm::Raw {
        let head = if key.len() < 255 { 1 } else { 3 };
        return kept.get(head..).is_some_and(|bytes| bytes == key);
    }
    let [prefix, count, packed @ ..] = kept else { return false };
    let count = usize::from(*count);
    let Some(tail) = key.strip_prefix(prefixes.prefix(*prefix)) else { return false };
    tail.len() == count
        && match form {
            KeyForm::Hex => {
                let (pairs, odd) = tail.as_chunks::<2>();
                // No early end: ids that agree in their tag and their first digits are rare.
                let different = pairs
                    .iter()
                    .zip(packed)
                    .fold(0, |d, (two, byte)| d | (u16::from_le_bytes(*two) ^ hex_pair(*byte)));
                different == 0
                    && odd.iter().zip(packed.last()).all(|(c, byte)| unpack_hex(*byte)[0] == *c)
            }
            KeyForm::Six => tail
                .chunks(4)
                .zip(packed.chunks(3))
                .all(|(four, three)| unpack_six(three).get(..four.len()) == Some(four)),
            _ => tail == packed,
        }
}

/// Appends the key that is kept at the start of `body` to `out`.
pub fn unpack(body: &[u8], form: KeyForm, prefixes: &impl Prefixes, out: &mut Vec<u8>) {
    let kept = body.get(..kept_bytes(body, form)).unwrap_or_default();
    if form == KeyForm::Raw {
        let head = if kept.first() == Some(&255) { 3 } else { 1 };
        out.extend_from_slice(kept.get(head..).unwrap_or_default());
        return;
    }
    let [prefix, count, packed @ ..] = kept else { return };
    out.extend_from_slice(prefixes.prefix(*prefix));
    let end = out.len() + usize::from(*count);
    match form {
        KeyForm::Hex => packed.iter().for_each(|byte| out.extend_from_slice(&unpack_hex(*byte))),
        KeyForm::Six => {
            packed.chunks(3).for_each(|three| out.extend_from_slice(&unpack_six(three)));
        }
        _ => out.extend_from_slice(packed),
    }
    out.truncate(end);
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const SIX: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const NOT: u8 = 0xff;
const HEX_VALUE: [u8; 256] = inverse(HEX);
const SIX_VALUE: [u8; 256] = inverse(SIX);

#[expect(clippy::indexing_slicing, reason = "computed by the compiler, where it can't panic late")]
const fn inverse(alphabet: &[u8]) -> [u8; 256] {
    let mut table = [NOT; 256];
    let mut i = 0;
    while i < alphabet.len() {
        table[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "a byte is always inside a table of 256")]
#[inline]
const fn hex_value(c: u8) -> Option<u8> {
    match HEX_VALUE[c as usize] {
        NOT => None,
        value => Some(value),
    }
}

#[expect(clippy::indexing_slicing, reason = "a byte is always inside a table of 256")]
#[inline]
const fn six_value(c: u8) -> Option<u8> {
    match SIX_VALUE[c as usize] {
        NOT => None,
        value => Some(value),
    }
}

fn pack_hex(two: &[u8]) -> u8 {
    let nibble = |i: usize| two.get(i).copied().and_then(hex_value).unwrap_or(0);
    nibble(0) << 4 | nibble(1)
}

#[expect(clippy::indexing_slicing, reason = "four bits are always inside a table of 16")]
#[inline]
fn unpack_hex(byte: u8) -> [u8; 2] {
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// The two digits of every byte, as they stand in memory.
const HEX_PAIRS: [u16; 256] = hex_pairs();

#[expect(clippy::indexing_slicing, reason = "computed by the compiler, where it can't panic late")]
const fn hex_pairs() -> [u16; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = u16::from_le_bytes([HEX[i >> 4], HEX[i & 15]]);
        i += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "a byte is always inside a table of 256")]
#[inline]
const fn hex_pair(byte: u8) -> u16 {
    HEX_PAIRS[byte as usize]
}

fn pack_six(four: &[u8], out: &mut Vec<u8>) {
    let six = |i: usize| u32::from(four.get(i).copied().and_then(six_value).unwrap_or(0));
    let bits = six(0) << 18 | six(1) << 12 | six(2) << 6 | six(3);
    let [_, a, b, c] = bits.to_be_bytes();
    let bytes = [a, b, c];
    out.extend_from_slice(bytes.get(..(four.len() * 6).div_ceil(8)).unwrap_or_default());
}

#[expect(clippy::indexing_slicing, reason = "six bits are always inside a table of 64")]
#[inline]
fn unpack_six(three: &[u8]) -> [u8; 4] {
    let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    let six = |shift: u32| SIX[(bits >> shift & 63) as usize];
    [six(18), six(12), six(6), six(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(&'static [u8]);

    impl Prefixes for One {
        fn prefix(&self, number: u8) -> &[u8] {
            if number == 1 { self.0 } else { b"" }
        }
    }

    #[test]
    fn keys_come_back_in_every_form() {
        let prefixes = One(b"session:");
        let long = [b'x'; 300];
        for (key, form) in [
            (&b"session:00ff"[..], KeyForm::Hex),
            (b"session:00f", KeyForm::Hex),
            (b"session:Az_-9", KeyForm::Six),
            (b"session:Az_-9q", KeyForm::Six),
            (b"session:Az_-9qq", KeyForm::Six),
            (b"session:a b", KeyForm::Prefixed),
            (b"session:", KeyForm::Hex),
            (b"other", KeyForm::Raw),
            (b"", KeyForm::Raw),
            (&long, KeyForm::Raw),
        ] {
            let plan =
                if key.starts_with(b"session:") { Plan::behind(key, 1, 8) } else { Plan::raw(key) };
            assert_eq!(plan.form, form, "{key:?}");
            let mut kept = Vec::new();
            plan.write(key, &mut kept);
            assert_eq!((kept.len(), kept_bytes(&kept, form)), (plan.bytes, plan.bytes));
            kept.extend_from_slice(b"value");
            assert!(matches(&kept, form, &prefixes, key), "{key:?}");
            let mut out = Vec::new();
            unpack(&kept, form, &prefixes, &mut out);
            assert_eq!(out, key);
            for other in [&b"session:00fe"[..], b"session:0", b"sess", b"session:Az_-9r", b"x"] {
                assert_eq!(matches(&kept, form, &prefixes, other), other == key);
            }
        }
    }

    #[test]
    fn a_django_session_key_shrinks_to_a_third() {
        let key = b":1:django.contrib.sessions.cache0123456789abcdef0123456789abcdef";
        let end = prefix_end(key);
        assert_eq!(&key[..end], b":1:django.contrib.sessions.cache");
        assert_eq!(Plan::behind(key, 1, end).bytes, 18);
        assert_eq!(prefix_end(b"user:42:cart"), 8);
        assert_eq!(prefix_end(b"\xff\xfe"), 0);
    }
}
