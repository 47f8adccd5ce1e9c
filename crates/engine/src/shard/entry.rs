//! What readers see of an item.
//!
//! An [`Entry`] borrows the shard, so nothing can change while it's looked at.
//! Not for: remembering an item beyond the lock.

use super::{Shard, Spot};
use crate::effect::{Meta, OwnedItem, OwnedValue};
use crate::hash::{HashView, PackedHash};
use layout::header::{Fields, Form, Kind};
use layout::{SEGMENT_BYTES, SegmentId, Slide, key};
use std::borrow::Cow;
use std::ops::Range;

/// A key's item, as found.
#[derive(Clone, Copy)]
pub struct Entry<'s> {
    shard: &'s Shard,
    spot: Spot,
}

impl<'s> Entry<'s> {
    #[inline]
    pub(crate) const fn new(shard: &'s Shard, spot: Spot) -> Self {
        Self { shard, spot }
    }

    /// What the value is.
    #[inline]
    pub const fn kind(&self) -> Kind {
        self.spot.header.kind()
    }

    /// When the key ends, in Unix milliseconds.
    #[inline]
    pub fn deadline(&self) -> Option<u64> {
        self.shard.deadline(self.spot.at, self.spot.header)
    }

    /// memcached's CAS value: the item's version, or what a client set in its place.
    pub fn cas(&self) -> u64 {
        self.field(Fields::CAS).unwrap_or_else(|| self.version())
    }

    /// The item's version; changes with its value, never with its deadline.
    pub const fn version(&self) -> u64 {
        self.spot.header.version()
    }

    /// Everything beside the value.
    pub fn meta(&self) -> Meta {
        let client = self.field(Fields::CLIENT).unwrap_or(0);
        Meta {
            deadline: self.deadline(),
            flags: client as u32,
            state: (client >> 32) as u8,
            cas: self.field(Fields::CAS),
            slide: self.slide(),
            rotated: self.field(Fields::ROTATED).unwrap_or(0),
        }
    }

    /// Idle timeout, absolute deadline, and what makes a session.
    #[inline]
    pub fn slide(&self) -> Slide {
        self.shard.slide_of(self.spot.at, self.spot.header)
    }

    /// The name of a session's user; empty if it has none.
    pub fn user(&self) -> &'s [u8] {
        self.shard.user_of(self.spot.at, self.spot.header)
    }

    /// memcached's client flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.field(Fields::CLIENT).unwrap_or(0) as u32
    }

    /// Whether it was read since it was stored.
    pub const fn is_fetched(&self) -> bool {
        self.spot.header.is_fetched()
    }

    /// Milliseconds since it was used, in steps of a few seconds; as far as the policy keeps it.
    pub fn idle_ms(&self, now: u64) -> u64 {
        self.shard.config.policy.idle_ms(self.spot.header.recency(), now)
    }

    /// The logarithmic count of uses that the frequency policies keep.
    pub fn frequency(&self, now: u64) -> u8 {
        self.shard.config.policy.frequency(self.spot.header.recency(), now)
    }

    /// The string, if it is one.
    #[inline]
    pub fn string(&self) -> Option<StringView<'s>> {
        if self.kind() != Kind::String {
            return None;
        }
        let value = self.shard.value(self.spot.at, self.spot.header);
        Some(match self.spot.header.form() {
            Form::Long => StringView::long(self.shard, value),
            _ => StringView { shard: self.shard, len: value.len(), segments: &[], rest: value },
        })
    }

    /// The hash, if it is one.
    pub fn hash(&self) -> Option<HashView<'s>> {
        if self.kind() != Kind::Hash {
            return None;
        }
        let value = self.shard.payload(self.spot.at, self.spot.header);
        if self.spot.header.form() != Form::Heap {
            return Some(HashView::Packed(PackedHash::new(value)));
        }
        let big = self.shard.big.get(handle(value)?)?.as_ref()?;
        Some(HashView::Big(big))
    }

    /// Bytes that the key takes in memory: its item, its slot, and what it has elsewhere.
    pub fn memory_bytes(&self) -> usize {
        let header = self.spot.header;
        let value = self.shard.value(self.spot.at, header);
        let elsewhere = match header.form() {
            Form::Long => StringView::long(self.shard, value).segments.len() / 4 * SEGMENT_BYTES,
            Form::Heap => match self.hash() {
                Some(HashView::Big(big)) => big.heap_bytes(),
                _ => 0,
            },
            _ => 0,
        };
        header.words() * 8 + 8 + elsewhere
    }

    /// Whether the value stands in the item itself.
    pub fn is_inline(&self) -> bool {
        self.spot.header.form() == Form::Inline
    }

    /// Appends the key's bytes to `out`.
    pub fn key(&self, out: &mut Vec<u8>) {
        let header = self.spot.header;
        let body = self.shard.body(self.spot.at, header);
        key::unpack(body, header.key_form(), &self.shard.prefixes, out);
    }

    /// A copy of the item outside the arena.
    pub fn to_owned_item(&self) -> OwnedItem {
        let value = match (self.string(), self.hash()) {
            (Some(string), _) => OwnedValue::String(string.to_vec()),
            (_, Some(HashView::Big(big))) => OwnedValue::Big(Box::new(big.clone())),
            _ => OwnedValue::Packed(self.shard.payload(self.spot.at, self.spot.header).to_vec()),
        };
        OwnedItem { value, meta: self.meta(), user: self.user().to_vec() }
    }

    #[inline]
    fn field(&self, field: Fields) -> Option<u64> {
        let word = self.spot.header.field(self.spot.at, field)?;
        Some(self.shard.arena.memory().load(word.index()))
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("spot", &self.spot).finish_non_exhaustive()
    }
}

/// A string value, wherever its bytes stand.
#[derive(Clone, Copy)]
pub struct StringView<'s> {
    shard: &'s Shard,
    len: usize,
    /// Numbers of whole segments, four bytes each, that come first.
    segments: &'s [u8],
    rest: &'s [u8],
}

impl<'s> StringView<'s> {
    /// Takes apart the value of a long string's item: its length, the segments, the rest.
    pub(crate) fn long(shard: &'s Shard, value: &'s [u8]) -> Self {
        let (len, tail) = split_u64(value);
        let whole = long_segments(len as usize);
        let (segments, rest) = tail.split_at_checked(whole * 4).unwrap_or((&[], &[]));
        Self { shard, len: len as usize, segments, rest }
    }

    /// The segments' numbers.
    pub(crate) fn segment_ids(&self) -> impl Iterator<Item = SegmentId> + use<'s> {
        self.segments.as_chunks::<4>().0.iter().map(|id| SegmentId(u32::from_le_bytes(*id)))
    }

    /// The length in bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it's empty.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they stand in one piece.
    #[inline]
    pub const fn as_slice(&self) -> Option<&'s [u8]> {
        if self.segments.is_empty() { Some(self.rest) } else { None }
    }

    /// The bytes, copied only if they don't stand in one piece.
    pub fn to_cow(&self) -> Cow<'s, [u8]> {
        match self.as_slice() {
            Some(bytes) => Cow::Borrowed(bytes),
            None => Cow::Owned(self.to_vec()),
        }
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.read(0..self.len(), &mut out);
        out
    }

    /// Appends a range of the bytes to `out`; what lies past the end is left out.
    #[inline]
    pub fn read(&self, range: Range<usize>, out: &mut Vec<u8>) {
        if self.segments.is_empty() {
            let end = range.end.min(self.rest.len());
            out.extend_from_slice(self.rest.get(range.start..end).unwrap_or_default());
            return;
        }
        let mut from = 0;
        for piece in self.pieces() {
            let start = range.start.saturating_sub(from).min(piece.len());
            let end = range.end.saturating_sub(from).min(piece.len());
            if let Some(part) = piece.get(start..end) {
                out.extend_from_slice(part);
            }
            from += piece.len();
        }
    }

    /// The bytes piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &'s [u8]> + use<'s> {
        let shard = self.shard;
        let len = self.len;
        let whole = self.segment_ids().enumerate().map(move |(i, id)| {
            let here = len.saturating_sub(i * SEGMENT_BYTES).min(SEGMENT_BYTES);
            shard.arena.bytes(&shard.owner, id.start(), 0, here)
        });
        whole.chain(std::iter::once(self.rest))
    }
}

impl std::fmt::Debug for StringView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StringView").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// How many whole segments a long value of `len` bytes has; the rest stands in its item.
pub(crate) const fn long_segments(len: usize) -> usize {
    let whole = len / SEGMENT_BYTES;
    if len % SEGMENT_BYTES > crate::limits::LONG_REST_MAX { whole + 1 } else { whole }
}

/// The number in a heap item's value.
pub(crate) fn handle(value: &[u8]) -> Option<usize> {
    Some(u64::from_le_bytes(*value.first_chunk()?) as usize)
}

fn split_u64(value: &[u8]) -> (u64, &[u8]) {
    match value.split_first_chunk() {
        Some((head, tail)) => (u64::from_le_bytes(*head), tail),
        None => (0, &[]),
    }
}
