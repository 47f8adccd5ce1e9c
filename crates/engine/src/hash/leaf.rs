//! A leaf of the tree: up to 4 KiB of entries, sorted by hash and name.
//!
//! ```text
//! hashes  | h0 (8) | h1 | h2 | ...     ascending
//! places  | p0 (4) | p1 | p2 | ...     where the entry of the same position stands:
//! bytes   | entry | entry | ...          its offset here,
//! long    | box | box | ...              or LONG + its number here, if it is over 1 KiB
//! ```
//!
//! Entries stand in `bytes` without gaps, in no order of their own: a new one is appended, and the
//! bytes behind a removed one move up at once.
//! What always holds: `ends` is when the entries end, earliest and latest; capacities are rounded up
//! to small steps, so that a full leaf with all its parts takes at most 4 KiB (long entries, and
//! more than a leaf full of names with one and the same hash, excepted).

use super::ends::Ends;
use super::entry::{Field, read_field, write_field};
use super::node::ARC_BYTES;

/// The most bytes of entries and tables in a leaf; what is left of 4 KiB is for rounding up.
const FULL: usize = 3_456;
/// Below this a leaf is merged with a neighbour if both together have room to spare.
const SPARSE: usize = 1_024;
/// The most bytes that two leaves have together when they are merged.
const MERGED: usize = 2_560;
/// A field whose name and value together are longer gets a box of its own.
const INLINE_MAX: usize = 1_024;
/// Capacities are multiples of these.
const BYTES_STEP: usize = 256;
const SLOTS_STEP: usize = 8;
/// Marks a place in `long`.
const LONG: u32 = 1 << 31;

/// Some fields that are neighbours in hash order.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    hashes: Vec<u64>,
    places: Vec<u32>,
    bytes: Vec<u8>,
    long: Vec<Box<[u8]>>,
    long_bytes: usize,
    ends: Ends,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            hashes: Vec::new(),
            places: Vec::new(),
            bytes: Vec::new(),
            long: Vec::new(),
            long_bytes: 0,
            ends: Ends::NONE,
        }
    }
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// When its fields end.
    pub(super) const fn ends(&self) -> Ends {
        self.ends
    }

    /// The position where a field of this hash and name is, or else where it belongs.
    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Result<usize, usize> {
        let start = self.lower_bound(hash);
        for (i, other) in self.hashes.iter().enumerate().skip(start) {
            if *other != hash {
                return Err(i);
            }
            match self.field(i).map(|field| field.name.cmp(name)) {
                Some(std::cmp::Ordering::Less) => {}
                Some(std::cmp::Ordering::Equal) => return Ok(i),
                _ => return Err(i),
            }
        }
        Err(self.hashes.len())
    }

    /// The position of the first field whose hash is `hash` or higher.
    pub(super) fn lower_bound(&self, hash: u64) -> usize {
        self.hashes.partition_point(|other| *other < hash)
    }

    pub(super) fn hash(&self, i: usize) -> Option<u64> {
        self.hashes.get(i).copied()
    }

    /// The field at a position.
    pub(super) fn field(&self, i: usize) -> Option<Field<'_>> {
        let place = *self.places.get(i)?;
        let bytes = if place & LONG == 0 {
            self.bytes.get(place as usize..)?
        } else {
            self.long.get((place ^ LONG) as usize)?
        };
        read_field(bytes).map(|(field, _)| field)
    }

    /// Puts a new field in at the position that [`find`](Self::find) named.
    pub(super) fn insert(&mut self, i: usize, hash: u64, field: Field<'_>) {
        if i > self.hashes.len() {
            return;
        }
        let place = self.store(field);
        reserve(&mut self.hashes, 1, SLOTS_STEP);
        reserve(&mut self.places, 1, SLOTS_STEP);
        self.hashes.insert(i, hash);
        self.places.insert(i, place);
        self.ends = self.ends.join(Ends::of(field.deadline));
    }

    /// Gives the field at a position this value and deadline.
    pub(super) fn replace(&mut self, i: usize, field: Field<'_>) {
        let Some(old) = self.field(i) else { return };
        let (old_bytes, old_deadline) = (old.entry_bytes(), old.deadline);
        let place = self.places.get(i).copied().unwrap_or_default();
        let at = place as usize;
        if place & LONG == 0 && field.entry_bytes() == old_bytes {
            let mut entry = Vec::with_capacity(old_bytes);
            write_field(&mut entry, field);
            if let Some(there) = self.bytes.get_mut(at..at + old_bytes) {
                there.copy_from_slice(&entry);
            }
        } else {
            self.discard(place, old_bytes);
            let place = self.store(field);
            if let Some(there) = self.places.get_mut(i) {
                *there = place;
            }
        }
        self.retime(old_deadline, field.deadline);
    }

    /// Gives the field at a position another deadline.
    pub(super) fn set_deadline(&mut self, i: usize, at: Option<u64>) {
        let (Some(old), Some(place)) = (self.field(i), self.places.get(i)) else { return };
        let (Some(before), Some(after)) = (old.deadline, at) else {
            let (name, value) = (old.name.to_vec(), old.value.to_vec());
            self.replace(i, Field { name: &name, value: &value, deadline: at });
            return;
        };
        // The deadline is the last eight bytes of the entry, so a long value needn't be copied.
        let (start, end) = match place & LONG {
            0 => (*place as usize, *place as usize + old.entry_bytes()),
            _ => (0, old.entry_bytes()),
        };
        let bytes = match place & LONG {
            0 => Some(self.bytes.as_mut_slice()),
            _ => self.long.get_mut((place ^ LONG) as usize).map(|entry| &mut **entry),
        };
        let entry = bytes.and_then(|bytes| bytes.get_mut(start..end));
        if let Some(there) = entry.and_then(|entry| entry.last_chunk_mut::<8>()) {
            *there = after.to_le_bytes();
        }
        self.retime(Some(before), Some(after));
    }

    /// Takes the field at a position out.
    pub(super) fn remove(&mut self, i: usize) {
        let Some(old) = self.field(i) else { return };
        let (old_bytes, old_deadline) = (old.entry_bytes(), old.deadline);
        self.hashes.remove(i);
        let place = self.places.remove(i);
        self.discard(place, old_bytes);
        trim(&mut self.hashes, SLOTS_STEP);
        trim(&mut self.places, SLOTS_STEP);
        self.left_by(old_deadline);
    }

    /// If the leaf is over-full, moves about half of its bytes, those of the highest hashes, to a
    /// new leaf. Fields of one hash stay together.
    pub(super) fn split(&mut self) -> Option<Self> {
        if self.used() <= FULL {
            return None;
        }
        let at = self.middle()?;
        let (mut left, mut right) = (Self::default(), Self::default());
        let whole = std::mem::take(self);
        left.take(&whole, 0, at);
        right.take(&whole, at, whole.len());
        // Long entries move in their boxes.
        let mut boxes: Vec<_> = whole.long.into_iter().map(Some).collect();
        left.adopt(&mut boxes);
        right.adopt(&mut boxes);
        *self = left;
        Some(right)
    }

    /// Whether the leaf should be merged with `other`, a neighbour.
    pub(super) fn suits(&self, other: &Self) -> bool {
        self.used().min(other.used()) < SPARSE && self.used() + other.used() <= MERGED
    }

    /// Appends the fields of the right neighbour.
    pub(super) fn absorb(&mut self, right: Self) {
        let (bytes, long) = (self.bytes.len() as u32, self.long.len() as u32);
        reserve(&mut self.hashes, right.len(), SLOTS_STEP);
        reserve(&mut self.places, right.len(), SLOTS_STEP);
        reserve(&mut self.bytes, right.bytes.len(), BYTES_STEP);
        self.hashes.extend_from_slice(&right.hashes);
        let moved = |place: &u32| place + if place & LONG == 0 { bytes } else { long };
        self.places.extend(right.places.iter().map(moved));
        self.bytes.extend_from_slice(&right.bytes);
        self.long.reserve_exact(right.long.len());
        self.long.extend(right.long);
        self.long_bytes += right.long_bytes;
        self.ends = self.ends.join(right.ends);
    }

    /// The bytes allocated for the leaf, its own place included.
    pub(super) fn heap_bytes(&self) -> usize {
        ARC_BYTES
            + size_of::<Self>()
            + self.hashes.capacity() * size_of::<u64>()
            + self.places.capacity() * size_of::<u32>()
            + self.bytes.capacity()
            + self.long.capacity() * size_of::<Box<[u8]>>()
            + self.long_bytes
    }

    /// What a leaf must keep to itself about its parts; a checker's question.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let fields: Option<Vec<_>> = (0..self.len()).map(|i| self.field(i)).collect();
        let Some(fields) = fields else { return false };
        let order: Vec<_> = self.hashes.iter().zip(fields.iter().map(|field| field.name)).collect();
        let inline = |place: &&u32| **place & LONG == 0;
        let long = self.places.iter().filter(|place| !inline(place)).count();
        let total: usize = fields.iter().map(Field::entry_bytes).sum();
        let collides = self.hashes.windows(2).any(|pair| pair[0] == pair[1]);
        self.places.len() == self.len()
            && (collides || self.heap_bytes() - self.long_bytes <= 4_096)
            && order.windows(2).all(|pair| pair[0] < pair[1])
            && long == self.long.len()
            && total == self.bytes.len() + self.long_bytes
            && self.long_bytes == self.long.iter().map(|entry| entry.len()).sum::<usize>()
            && self.ends == Ends::of_all(fields.iter().map(|field| Ends::of(field.deadline)))
    }

    fn used(&self) -> usize {
        let slots = self.len() * (size_of::<u64>() + size_of::<u32>());
        slots + self.bytes.len() + self.long.len() * size_of::<Box<[u8]>>()
    }

    /// The position that halves the bytes, moved to where the hash changes.
    fn middle(&self) -> Option<usize> {
        let mut sum = 0;
        let cost = |i| 28 + self.field(i).map_or(0, |field| field.entry_bytes().min(INLINE_MAX));
        let total: usize = (0..self.len()).map(cost).sum();
        let half = (0..self.len()).find(|i| {
            sum += cost(*i);
            sum * 2 >= total
        })?;
        let starts = |i: &usize| *i > 0 && self.hashes.get(*i) != self.hashes.get(*i - 1);
        let after = (half..self.len()).find(starts);
        let before = (1..half).rev().find(starts);
        match (before, after) {
            (Some(a), Some(b)) if b - half > half - a => Some(a),
            (a, b) => b.or(a),
        }
    }

    /// Copies the fields of `whole` from one position to another into this empty leaf; places of
    /// long entries stay those of `whole` until [`adopt`](Self::adopt).
    fn take(&mut self, whole: &Self, from: usize, to: usize) {
        let fields = || (from..to).filter_map(|i| whole.field(i));
        let inline = fields().filter(is_inline).map(|field| field.entry_bytes()).sum();
        reserve(&mut self.bytes, inline, BYTES_STEP);
        reserve(&mut self.hashes, to - from, SLOTS_STEP);
        reserve(&mut self.places, to - from, SLOTS_STEP);
        self.hashes.extend_from_slice(whole.hashes.get(from..to).unwrap_or_default());
        let old_places = whole.places.get(from..to).unwrap_or_default();
        for (field, old_place) in fields().zip(old_places) {
            if is_inline(&field) {
                self.places.push(self.bytes.len() as u32);
                write_field(&mut self.bytes, field);
            } else {
                self.places.push(*old_place);
            }
            self.ends = self.ends.join(Ends::of(field.deadline));
        }
    }

    /// Takes the boxes of the long entries, by the number that their places hold.
    fn adopt(&mut self, boxes: &mut [Option<Box<[u8]>>]) {
        for place in self.places.iter_mut().filter(|place| **place & LONG != 0) {
            let taken = boxes.get_mut((*place ^ LONG) as usize).and_then(Option::take);
            *place = LONG | self.long.len() as u32;
            let entry = taken.unwrap_or_default();
            self.long_bytes += entry.len();
            reserve(&mut self.long, 1, 1);
            self.long.push(entry);
        }
    }

    /// Writes an entry and says where.
    fn store(&mut self, field: Field<'_>) -> u32 {
        let length = field.entry_bytes();
        if is_inline(&field) {
            reserve(&mut self.bytes, length, BYTES_STEP);
            let place = self.bytes.len() as u32;
            write_field(&mut self.bytes, field);
            return place;
        }
        let mut entry = Vec::with_capacity(length);
        write_field(&mut entry, field);
        reserve(&mut self.long, 1, 1);
        self.long.push(entry.into_boxed_slice());
        self.long_bytes += length;
        LONG | (self.long.len() - 1) as u32
    }

    /// Frees the bytes of an entry of this length; its place means nothing afterwards.
    fn discard(&mut self, place: u32, length: usize) {
        if place & LONG == 0 {
            let at = place as usize;
            self.bytes.drain(at..(at + length).min(self.bytes.len()));
            trim(&mut self.bytes, BYTES_STEP);
            for other in self.places.iter_mut().filter(|p| **p & LONG == 0 && **p > place) {
                *other -= length as u32;
            }
            return;
        }
        self.long.swap_remove((place ^ LONG) as usize);
        self.long_bytes -= length;
        let moved = LONG | self.long.len() as u32;
        for other in self.places.iter_mut().filter(|p| **p == moved) {
            *other = place;
        }
        trim(&mut self.long, 1);
    }

    /// Follows a field that has another deadline now.
    fn retime(&mut self, before: Option<u64>, after: Option<u64>) {
        match self.ends.replaced(Ends::of(before), Ends::of(after)) {
            Some(ends) => self.ends = ends,
            None => self.recount(),
        }
    }

    /// Follows a field that is gone.
    fn left_by(&mut self, deadline: Option<u64>) {
        // Where all end together, those that are left do.
        if self.hashes.is_empty() {
            self.ends = Ends::NONE;
        } else if !self.ends.are_one()
            && self.ends.replaced(Ends::of(deadline), Ends::NONE).is_none()
        {
            self.recount();
        }
    }

    fn recount(&mut self) {
        let fields = (0..self.len()).filter_map(|i| self.field(i));
        self.ends = Ends::of_all(fields.map(|field| Ends::of(field.deadline)));
    }
}

fn is_inline(field: &Field<'_>) -> bool {
    field.name.len() + field.value.len() <= INLINE_MAX
}

/// Makes room for `more`, with as little to spare as the step allows.
pub(super) fn reserve<T>(items: &mut Vec<T>, more: usize, step: usize) {
    let wanted = items.len() + more;
    if wanted > items.capacity() {
        items.reserve_exact(wanted.next_multiple_of(step) - items.len());
    }
}

/// Gives room back when four steps of it stand empty.
pub(super) fn trim<T>(items: &mut Vec<T>, step: usize) {
    if items.capacity() - items.len() > step * 4 {
        items.shrink_to(items.len().next_multiple_of(step));
    }
}
