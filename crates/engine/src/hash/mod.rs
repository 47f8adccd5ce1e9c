//! Hash values: field names to values, each field with a deadline of its own if it wants one.
//!
//! Two forms follow the same rules. A small hash is one run of bytes inside its item
//! ([`PackedHash`]); a large one is a counted tree of nodes on the heap ([`BigHash`]).
//! [`HashView`] reads either, [`FieldEdit`] changes either.
//!
//! ```text
//! packed --- a 513th field, or a run over 4,096 bytes ---> big        (there is no way back)
//! ```
//!
//! What always holds: both forms answer the same for the same edits, but for the order of fields
//! (packed: of insertion; big: of the keyed hash). Edits don't know the time: a field that is due
//! is there until it is deleted, while readers who give `now` don't see it.
//! Not for: deciding which edits a command needs, or where the bytes of an item lie.

mod ends;
mod entry;
mod leaf;
mod node;
pub mod packed;
mod random;
#[cfg(test)]
mod tests;
mod tree;
mod view;

pub use entry::{Field, write_field};
pub use packed::PackedHash;
pub use tree::BigHash;
pub use view::HashView;

/// The secret key of the field hash (SipHash-1-3), the arena's own.
pub type SipKey = [u64; 2];

/// The most fields that a packed hash holds.
pub const PACKED_MAX_FIELDS: usize = 512;
/// The most bytes that a packed hash takes.
pub const PACKED_MAX_BYTES: usize = 4096;

/// Whether a hash of so many fields, so many bytes when packed, stays packed.
#[must_use]
pub const fn stays_packed(fields: usize, bytes: usize) -> bool {
    fields <= PACKED_MAX_FIELDS && bytes <= PACKED_MAX_BYTES
}

/// One change of one field; part of an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldEdit<'a> {
    /// Store a value, whether the field is there or not.
    Set {
        /// The field's name.
        field: &'a [u8],
        /// The value that it gets.
        value: &'a [u8],
        /// What becomes of the field's own deadline.
        deadline: FieldDeadline,
    },
    /// Take the field away; nothing happens if it isn't there.
    Delete {
        /// The field's name.
        field: &'a [u8],
    },
    /// Give the field this deadline (Unix milliseconds) or none; nothing happens if it isn't
    /// there.
    Deadline {
        /// The field's name.
        field: &'a [u8],
        /// The deadline.
        at: Option<u64>,
    },
}

impl<'a> FieldEdit<'a> {
    /// The name of the field that this changes.
    #[must_use]
    pub const fn field(&self) -> &'a [u8] {
        match *self {
            Self::Set { field, .. } | Self::Delete { field } | Self::Deadline { field, .. } => {
                field
            }
        }
    }

    /// What becomes of the field when this is done to `old`, the field as it stands.
    fn after<'b>(&self, old: Option<Field<'b>>) -> Option<Field<'b>>
    where
        'a: 'b,
    {
        match *self {
            Self::Set { field, value, deadline } => {
                let deadline = match deadline {
                    FieldDeadline::Clear => None,
                    FieldDeadline::Keep => old.and_then(|field| field.deadline),
                    FieldDeadline::At(at) => Some(at),
                };
                Some(Field { name: field, value, deadline })
            }
            Self::Delete { .. } => None,
            Self::Deadline { at, .. } => old.map(|field| Field { deadline: at, ..field }),
        }
    }
}

/// What [`FieldEdit::Set`] does to the field's own deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldDeadline {
    /// The field has none afterwards.
    Clear,
    /// It stays as it was; a new field has none.
    Keep,
    /// The field's deadline, in Unix milliseconds.
    At(u64),
}

/// What a run of edits did. Edits count one by one, in their order: a field that is set and then
/// deleted is one added and one removed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Edits that made a field.
    pub added: usize,
    /// Edits that took a field away.
    pub removed: usize,
    /// Edits that set a field that was there, or gave it another deadline.
    pub changed: usize,
    /// The fields that the hash has now, those that are due included.
    pub len: usize,
    /// The earliest deadline of any field now.
    pub first_deadline: Option<u64>,
}

impl Summary {
    /// Counts one edit that turned `before` into `after`.
    fn count(&mut self, edit: &FieldEdit<'_>, before: Option<Field<'_>>, after: Option<Field<'_>>) {
        match (before, after) {
            (None, Some(_)) => self.added += 1,
            (Some(_), None) => self.removed += 1,
            (Some(a), Some(b)) => {
                let set = matches!(edit, FieldEdit::Set { .. });
                self.changed += usize::from(set || a.deadline != b.deadline);
            }
            (None, None) => {}
        }
    }
}

/// The earlier of two deadlines, where none is later than any.
fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
