//! The header of an item: 128 bits in front of every key and value.
//!
//! ```text
//! word 0   0          13    16   19   21   23  24        30           47 48              64
//!          | size (13) |pad(3)|kind|form|key |dead|fields(6)| recency(17)|F| version high(16)|
//! word 1   0                                 40                                          64
//!          | deadline (40)                    | version low (24)                          |
//! then     optional words in the order of `Fields`, the key, the value, zeros up to 8 bytes
//! ```
//!
//! `size` counts words, header included; `pad` the unused bytes of the last word. `F`: fetched
//! since it was stored. The deadline is milliseconds after 2024-01-01T00:00:00Z plus one, 0 for
//! none; one past 2058 stands in an optional word of its own instead.
//!
//! What always holds: a deadline moves by one store of word 1, recency by one store of word 0.

use crate::address::Address;
use crate::memory::Memory;

/// Words of a header.
pub const HEADER_WORDS: usize = 2;
/// The largest item in words.
pub const ITEM_WORDS_MAX: usize = (1 << 13) - 1;
/// Bits of a version.
pub const VERSION_BITS: u32 = 40;
/// Bits of the recency stamp.
pub const RECENCY_BITS: u32 = 17;

/// 2024-01-01T00:00:00Z in milliseconds after the Unix epoch.
const DEADLINE_BASE: u64 = 1_704_067_200_000;
const DEADLINE_MASK: u64 = (1 << 40) - 1;
const SIZE_MASK: u64 = (1 << 13) - 1;
const PAD_SHIFT: u32 = 13;
const KIND_SHIFT: u32 = 16;
const FORM_SHIFT: u32 = 19;
const KEY_SHIFT: u32 = 21;
const DEAD: u64 = 1 << 23;
const FIELDS_SHIFT: u32 = 24;
const RECENCY_SHIFT: u32 = 30;
const RECENCY_MASK: u64 = (1 << RECENCY_BITS) - 1;
const FETCHED: u64 = 1 << 47;
const VERSION_HIGH_SHIFT: u32 = 48;
const VERSION_LOW_BITS: u32 = 24;

const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(RECENCY_SHIFT + RECENCY_BITS == 47);

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A string of bytes.
    String = 1,
    /// Fields and values.
    Hash = 2,
    /// A kind that this version doesn't know.
    Unknown = 7,
}

/// How a value is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// In the item itself.
    Inline = 0,
    /// A list of whole segments, and the rest in the item.
    Long = 1,
    /// On the server's heap, under a number.
    Heap = 2,
    /// Compressed.
    Compressed = 3,
}

/// How a key is kept; see [`crate::key`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyForm {
    /// As it is.
    Raw = 0,
    /// A common prefix, then hexadecimal digits, two to a byte.
    Hex = 1,
    /// A common prefix, then characters of base64url, four to three bytes.
    Six = 2,
    /// A common prefix, then bytes as they are.
    Prefixed = 3,
}

/// Which optional words an item has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fields(pub u8);

impl Fields {
    /// A deadline past 2058, in milliseconds after the Unix epoch.
    pub const WIDE: Self = Self(1);
    /// memcached's flags (32 bits) and state.
    pub const CLIENT: Self = Self(2);
    /// memcached's version as a client set it.
    pub const CAS: Self = Self(4);
    /// The earliest deadline of a field.
    pub const FIELD_DUE: Self = Self(8);
    /// Idle timeout, absolute deadline and what makes a session: two words, see [`crate::slide`].
    pub const SLIDE: Self = Self(16);
    /// When a session got its key by rotation, in Unix milliseconds, if that isn't when it was
    /// created.
    pub const ROTATED: Self = Self(32);
    /// Those because of which an item may not be there, or changes by being read.
    pub const GUARDED: Self = Self(Self::FIELD_DUE.0 | Self::SLIDE.0);

    /// Whether all of `other` are there.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is there.
    #[inline]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// How many words they take.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "six bits, 64 entries")]
    pub const fn words(self) -> usize {
        FIELD_WORDS[(self.0 & 63) as usize] as usize
    }

    /// How many words stand in front of `field`.
    #[inline]
    const fn before(self, field: Self) -> usize {
        Self(self.0 & (field.0 - 1)).words()
    }
}

/// How many words each set of optional words takes: one each, and two for [`Fields::SLIDE`].
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const FIELD_WORDS: [u8; 64] = {
    let mut words = [0; 64];
    let mut bits = 0;
    while bits < words.len() {
        words[bits] = (bits.count_ones() + (bits >> 4 & 1) as u32) as u8;
        bits += 1;
    }
    words
};

/// The two words of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header(pub [u64; 2]);

impl Header {
    /// Reads the header at `at`.
    #[inline]
    pub fn load(memory: &Memory, at: Address) -> Self {
        Self([memory.load(at.index()), memory.load(at.index() + 1)])
    }

    /// A header of an item of `bytes` bytes, header and optional words included.
    pub const fn new(bytes: usize, kind: Kind, form: Form, key: KeyForm, fields: Fields) -> Self {
        let size = bytes.div_ceil(8);
        let pad = size * 8 - bytes;
        Self([
            size as u64
                | (pad as u64) << PAD_SHIFT
                | (kind as u64) << KIND_SHIFT
                | (form as u64) << FORM_SHIFT
                | (key as u64) << KEY_SHIFT
                | (fields.0 as u64) << FIELDS_SHIFT,
            0,
        ])
    }

    /// The item's size in words.
    #[inline]
    pub const fn words(self) -> usize {
        (self.0[0] & SIZE_MASK) as usize
    }

    /// The item's size in bytes, without what fills up the last word.
    #[inline]
    pub const fn bytes(self) -> usize {
        self.words() * 8 - (self.0[0] >> PAD_SHIFT & 7) as usize
    }

    /// What the value is.
    #[inline]
    pub const fn kind(self) -> Kind {
        match self.0[0] >> KIND_SHIFT & 7 {
            1 => Kind::String,
            2 => Kind::Hash,
            _ => Kind::Unknown,
        }
    }

    /// How the value is kept.
    #[inline]
    pub const fn form(self) -> Form {
        match self.0[0] >> FORM_SHIFT & 3 {
            0 => Form::Inline,
            1 => Form::Long,
            2 => Form::Heap,
            _ => Form::Compressed,
        }
    }

    /// How the key is kept.
    #[inline]
    pub const fn key_form(self) -> KeyForm {
        match self.0[0] >> KEY_SHIFT & 3 {
            0 => KeyForm::Raw,
            1 => KeyForm::Hex,
            2 => KeyForm::Six,
            _ => KeyForm::Prefixed,
        }
    }

    /// Whether the index no longer refers to the item.
    #[inline]
    pub const fn is_dead(self) -> bool {
        self.0[0] & DEAD != 0
    }

    /// The same, marked as dead.
    #[must_use]
    pub const fn dead(self) -> Self {
        Self([self.0[0] | DEAD, self.0[1]])
    }

    /// The optional words that it has.
    #[inline]
    pub const fn fields(self) -> Fields {
        Fields((self.0[0] >> FIELDS_SHIFT & 63) as u8)
    }

    /// When it was used last, in the unit that the engine chose.
    #[inline]
    pub const fn recency(self) -> u32 {
        (self.0[0] >> RECENCY_SHIFT & RECENCY_MASK) as u32
    }

    /// The same with another recency.
    #[must_use]
    #[inline]
    pub const fn with_recency(self, recency: u32) -> Self {
        let cleared = self.0[0] & !(RECENCY_MASK << RECENCY_SHIFT);
        Self([cleared | (recency as u64 & RECENCY_MASK) << RECENCY_SHIFT, self.0[1]])
    }

    /// Whether it was read since it was stored.
    pub const fn is_fetched(self) -> bool {
        self.0[0] & FETCHED != 0
    }

    /// The same, marked as read.
    #[must_use]
    pub const fn fetched(self) -> Self {
        Self([self.0[0] | FETCHED, self.0[1]])
    }

    /// The item's version: 40 bits, opaque to clients.
    #[inline]
    pub const fn version(self) -> u64 {
        self.0[0] >> VERSION_HIGH_SHIFT << VERSION_LOW_BITS | self.0[1] >> 40
    }

    /// The same with another version.
    #[must_use]
    pub const fn with_version(self, version: u64) -> Self {
        let low = version & ((1 << VERSION_LOW_BITS) - 1);
        let high = (version >> VERSION_LOW_BITS) & 0xffff;
        Self([
            self.0[0] & !(0xffff << VERSION_HIGH_SHIFT) | high << VERSION_HIGH_SHIFT,
            self.0[1] & DEADLINE_MASK | low << 40,
        ])
    }

    /// The deadline in Unix milliseconds, unless there is none or it stands in its own word.
    #[inline]
    pub const fn short_deadline(self) -> Option<u64> {
        match self.0[1] & DEADLINE_MASK {
            0 => None,
            code => Some(code - 1 + DEADLINE_BASE),
        }
    }

    /// Whether a deadline has to stand in a word of its own.
    #[inline]
    pub const fn is_wide(deadline: Option<u64>) -> bool {
        match deadline {
            None => false,
            Some(ms) => ms.saturating_sub(DEADLINE_BASE) >= DEADLINE_MASK - 1,
        }
    }

    /// The same with another deadline; one that is wide is left out.
    #[must_use]
    #[inline]
    pub const fn with_deadline(self, deadline: Option<u64>) -> Self {
        let code = match deadline {
            Some(ms) if !Self::is_wide(deadline) => ms.saturating_sub(DEADLINE_BASE) + 1,
            _ => 0,
        };
        Self([self.0[0], self.0[1] & !DEADLINE_MASK | code])
    }

    /// Where the optional word `field` of the item at `at` stands, if it has it.
    #[inline]
    pub const fn field(self, at: Address, field: Fields) -> Option<Address> {
        if !self.fields().has(field) {
            return None;
        }
        Some(at.plus(HEADER_WORDS + self.fields().before(field)))
    }

    /// Where the key of the item at `at` begins.
    #[inline]
    pub const fn key_at(self, at: Address) -> Address {
        at.plus(HEADER_WORDS + self.fields().words())
    }

    /// The bytes of key and value together.
    #[inline]
    pub const fn body_bytes(self) -> usize {
        self.bytes() - 8 * (HEADER_WORDS + self.fields().words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_keeps_to_itself() {
        let fields = Fields::CLIENT.with(Fields::FIELD_DUE);
        let made = Header::new(461, Kind::Hash, Form::Heap, KeyForm::Six, fields)
            .with_version((1 << VERSION_BITS) - 2)
            .with_deadline(Some(1_800_000_000_123))
            .with_recency(0x1_ffff)
            .fetched();
        assert_eq!((made.words(), made.bytes()), (58, 461));
        assert_eq!(
            (made.kind(), made.form(), made.key_form()),
            (Kind::Hash, Form::Heap, KeyForm::Six)
        );
        assert_eq!(made.version(), (1 << VERSION_BITS) - 2);
        assert_eq!(made.short_deadline(), Some(1_800_000_000_123));
        assert_eq!(made.recency(), 0x1_ffff);
        assert!(made.is_fetched() && !made.is_dead() && made.dead().is_dead());
        assert_eq!(made.field(Address(100), Fields::CLIENT), Some(Address(102)));
        assert_eq!(made.field(Address(100), Fields::FIELD_DUE), Some(Address(103)));
        assert_eq!(made.field(Address(100), Fields::WIDE), None);
        assert_eq!(made.key_at(Address(100)), Address(104));
        let all = Header::new(461, Kind::Hash, Form::Inline, KeyForm::Raw, Fields(63));
        assert_eq!(all.field(Address(100), Fields::SLIDE), Some(Address(106)));
        assert_eq!(all.field(Address(100), Fields::ROTATED), Some(Address(108)));
        assert_eq!(all.key_at(Address(100)), Address(109));
        let slid = made.with_deadline(None);
        assert_eq!((slid.version(), slid.short_deadline()), (made.version(), None));
    }

    #[test]
    fn far_deadlines_are_wide() {
        assert!(!Header::is_wide(None));
        assert!(!Header::is_wide(Some(2_800_000_000_000)));
        assert!(Header::is_wide(Some(u64::MAX)));
        let at_edge =
            (0..).map(|n| 2_803_578_000_000 + n * 1000).find(|ms| Header::is_wide(Some(*ms)));
        let last = at_edge.unwrap() - 1000;
        let header = Header::new(16, Kind::String, Form::Inline, KeyForm::Raw, Fields::default());
        assert_eq!(header.with_deadline(Some(last)).short_deadline(), Some(last));
    }
}
