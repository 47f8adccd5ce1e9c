//! Small hashes: one run of bytes, entry after entry in the order of insertion.
//!
//! ```text
//! | entry | entry | entry | ...          an entry: see the module `entry`; an empty hash: no bytes
//! ```
//!
//! A run is read where it stands, inside its item; a change writes the whole new run elsewhere.
//! What always holds: reading any bytes ends, without a panic and within them; what follows the
//! first bytes that are no entry doesn't exist.
//! Not for: large hashes; every operation here looks at the whole run.

use smallvec::SmallVec;

use super::entry::{Field, read_field, write_field};
use super::{
    BigHash, FieldEdit, PACKED_MAX_BYTES, PACKED_MAX_FIELDS, SipKey, Summary, earlier, stays_packed,
};

/// With more edits than this they are sorted by field once, instead of being gone through for
/// each entry.
const FEW: usize = 16;
/// Edits with more bytes than this are applied to a tree at once: what they leave is seldom small.
const LARGE_EDITS: usize = 4 * PACKED_MAX_BYTES;

/// A packed hash, borrowed from where it is kept.
#[derive(Clone, Copy, Debug)]
pub struct PackedHash<'a> {
    bytes: &'a [u8],
}

impl<'a> PackedHash<'a> {
    /// Reads `bytes` as a packed hash.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The run itself.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The fields in the order in which they came, those that are due included.
    #[must_use]
    pub const fn iter(self) -> Fields<'a> {
        Fields { rest: self.bytes }
    }

    /// The field of this name, due or not.
    #[must_use]
    #[inline]
    pub fn get(self, name: &[u8]) -> Option<Field<'a>> {
        self.iter().find(|field| field.name == name)
    }

    /// The number of fields, those that are due included.
    #[must_use]
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// The earliest deadline of any field.
    #[must_use]
    pub fn first_deadline(self) -> Option<u64> {
        self.iter().filter_map(|field| field.deadline).min()
    }

    /// Whether the run is entries from its first byte to its last: what a checker asks.
    #[must_use]
    pub fn is_whole(self) -> bool {
        let mut fields = self.iter();
        while fields.next().is_some() {}
        fields.rest.is_empty()
    }
}

/// The fields of a packed hash; made by [`PackedHash::iter`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        let (field, rest) = read_field(self.rest)?;
        self.rest = rest;
        Some(field)
    }
}

/// Applies `edits` in their order to `old` and appends the new run to `out`.
///
/// Fields that stay keep their place, new ones come last. The caller decides by
/// [`stays_packed`](super::stays_packed) whether the result is kept in this form.
pub fn apply(old: PackedHash<'_>, edits: &[FieldEdit<'_>], out: &mut Vec<u8>) -> Summary {
    out.reserve(old.bytes.len() + Edits::bytes(edits));
    let mut edits = Edits::new(edits);
    let (mut counts, mut len, mut first_deadline) = (Summary::default(), 0, None);
    let mut tally = |field: Field<'_>| {
        len += 1;
        first_deadline = earlier(first_deadline, field.deadline);
    };
    // Entries that no edit names are copied in stretches: `kept` is where the current one starts.
    let (mut kept, mut rest) = (old.bytes, old.bytes);
    let stretch = |kept: &[u8], end: &[u8]| kept.len() - end.len();
    while let Some((field, after)) = read_field(rest) {
        match edits.fold(Some(field), field.name, &mut counts) {
            None => tally(field),
            Some(changed) => {
                out.extend_from_slice(kept.get(..stretch(kept, rest)).unwrap_or_default());
                kept = after;
                if let Some(field) = changed {
                    write_field(out, field);
                    tally(field);
                }
            }
        }
        rest = after;
    }
    out.extend_from_slice(kept.get(..stretch(kept, rest)).unwrap_or_default());
    while let Some(name) = edits.next_unseen() {
        if let Some(Some(field)) = edits.fold(None, name, &mut counts) {
            write_field(out, field);
            tally(field);
        }
    }
    Summary { len, first_deadline, ..counts }
}

/// Like [`apply`], and lets the hash become large when it has to: then the second answer is the
/// new hash, and nothing was appended to `out`. The form follows from the fields that are left.
pub fn apply_or_grow(
    key: SipKey,
    old: PackedHash<'_>,
    edits: &[FieldEdit<'_>],
    out: &mut Vec<u8>,
) -> (Summary, Option<BigHash>) {
    let start = out.len();
    if Edits::bytes(edits) > LARGE_EDITS {
        let mut big = BigHash::from_packed(key, old);
        let summary = big.apply(edits);
        let bytes = big.iter().map(|field| field.entry_bytes());
        if !stays_packed(summary.len, bytes.take(PACKED_MAX_FIELDS).sum()) {
            return (summary, Some(big));
        }
        big.to_packed(out);
        return (summary, None);
    }
    let summary = apply(old, edits, out);
    let run = out.get(start..).unwrap_or_default();
    if stays_packed(summary.len, run.len()) {
        return (summary, None);
    }
    let big = BigHash::from_packed(key, PackedHash::new(run));
    out.truncate(start);
    (summary, Some(big))
}

/// Edits that can be asked for by field.
struct Edits<'e, 'a> {
    edits: &'e [FieldEdit<'a>],
    /// The edits' positions sorted by field, if they are many.
    sorted: Vec<usize>,
    /// Which edits were folded.
    seen: SmallVec<[bool; FEW]>,
    /// No edit before this is unseen.
    next: usize,
}

impl<'e, 'a> Edits<'e, 'a> {
    fn new(edits: &'e [FieldEdit<'a>]) -> Self {
        let mut sorted = Vec::new();
        if edits.len() > FEW {
            sorted.extend(0..edits.len());
            // Stable: the edits of one field stay in their order.
            sorted.sort_by_key(|i| name_of(edits, *i));
        }
        Self { edits, sorted, seen: SmallVec::from_elem(false, edits.len()), next: 0 }
    }

    /// Does all edits of `name` to `old`. `None` if there are none.
    fn fold<'b>(
        &mut self,
        old: Option<Field<'b>>,
        name: &[u8],
        counts: &mut Summary,
    ) -> Option<Option<Field<'b>>>
    where
        'a: 'b,
    {
        let mut state = None;
        let mut step = |seen: &mut bool, edit: &FieldEdit<'a>| {
            *seen = true;
            let before = state.unwrap_or(old);
            let after = edit.after(before);
            counts.count(edit, before, after);
            state = Some(after);
        };
        if self.sorted.is_empty() {
            for (seen, edit) in self.seen.iter_mut().zip(self.edits) {
                if edit.field() == name {
                    step(seen, edit);
                }
            }
            return state;
        }
        let start = self.sorted.partition_point(|i| name_of(self.edits, *i) < name);
        for i in self.sorted.iter().skip(start) {
            match (self.seen.get_mut(*i), self.edits.get(*i)) {
                (Some(seen), Some(edit)) if edit.field() == name => step(seen, edit),
                _ => break,
            }
        }
        state
    }

    /// The field of the first edit that wasn't folded.
    fn next_unseen(&mut self) -> Option<&'a [u8]> {
        let ahead = self.seen.iter().skip(self.next).position(|seen| !seen)?;
        self.next += ahead;
        self.edits.get(self.next).map(FieldEdit::field)
    }

    /// No less than the bytes that the edits can add.
    fn bytes(edits: &[FieldEdit<'_>]) -> usize {
        let added = |edit: &FieldEdit<'_>| match edit {
            FieldEdit::Set { field, value, .. } => field.len() + value.len() + 18,
            _ => 8,
        };
        edits.iter().map(added).sum()
    }
}

fn name_of<'a>(edits: &[FieldEdit<'a>], i: usize) -> &'a [u8] {
    edits.get(i).map_or(&[], FieldEdit::field)
}
