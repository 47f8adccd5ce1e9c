//! Reading a hash, whichever form it has.
//!
//! What always holds: a field whose deadline is at or before `now` isn't seen by an operation
//! that is given `now`. As long as no deadline has come, that costs nothing but one comparison
//! for a large hash.
//! Not for: changing anything; see [`super::packed::apply`] and [`BigHash::apply`].

use super::node::Walk;
use super::packed::Fields;
use super::{BigHash, Field, PackedHash};

/// A hash to be read.
#[derive(Clone, Copy, Debug)]
pub enum HashView<'a> {
    /// A small one.
    Packed(PackedHash<'a>),
    /// A large one.
    Big(&'a BigHash),
}

impl<'a> HashView<'a> {
    /// The number of fields, those that are due included.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Packed(packed) => packed.len(),
            Self::Big(big) => big.len(),
        }
    }

    /// Whether there is no field at all, due or not.
    #[must_use]
    pub fn is_empty(self) -> bool {
        match self {
            Self::Packed(packed) => packed.is_empty(),
            Self::Big(big) => big.is_empty(),
        }
    }

    /// The number of fields that are there at `now`.
    #[must_use]
    pub fn live_len(self, now: u64) -> usize {
        match self {
            Self::Packed(packed) => packed.iter().filter(|field| field.is_live(now)).count(),
            Self::Big(big) => big.len() - big.due_len(now),
        }
    }

    /// Whether no field is there at `now`; costs nothing to ask of a large hash.
    #[must_use]
    pub fn is_over(self, now: u64) -> bool {
        match self {
            Self::Packed(packed) => packed.iter().all(|field| !field.is_live(now)),
            Self::Big(big) => big.is_over(now),
        }
    }

    /// The earliest deadline of any field.
    #[must_use]
    pub fn first_deadline(self) -> Option<u64> {
        match self {
            Self::Packed(packed) => packed.first_deadline(),
            Self::Big(big) => big.first_deadline(),
        }
    }

    /// The field of this name, if it is there at `now`.
    #[must_use]
    #[inline]
    pub fn get(self, name: &[u8], now: u64) -> Option<Field<'a>> {
        self.find(name).filter(|field| field.is_live(now))
    }

    /// The field of this name, due or not.
    pub(crate) fn find(self, name: &[u8]) -> Option<Field<'a>> {
        match self {
            Self::Packed(packed) => packed.get(name),
            Self::Big(big) => big.get(name),
        }
    }

    /// The fields that are there at `now`: as they came, or in hash order.
    #[must_use]
    pub fn iter(self, now: u64) -> LiveFields<'a> {
        LiveFields { fields: self.all(), now }
    }

    /// The field with `rank` fields before it, due ones included.
    #[must_use]
    pub fn nth(self, rank: usize) -> Option<Field<'a>> {
        match self {
            Self::Packed(packed) => packed.iter().nth(rank),
            Self::Big(big) => big.nth(rank),
        }
    }

    /// One step of HSCAN: the next cursor, 0 at the end, and fields that are there at `now`.
    ///
    /// It looks at about `count` fields, due ones included; at all of a packed hash, whatever the
    /// cursor. A field that is there all the time is reported even if the hash becomes large
    /// between two steps.
    #[must_use]
    pub fn scan(self, cursor: u64, count: usize, now: u64) -> (u64, Vec<Field<'a>>) {
        match self {
            Self::Packed(_) => (0, self.iter(now).collect()),
            Self::Big(big) => {
                let mut fields = Vec::new();
                let next = big.scan(cursor, count, &mut |field| {
                    if field.is_live(now) {
                        fields.push(field);
                    }
                });
                (next, fields)
            }
        }
    }

    /// Up to `limit` fields that are due at `now`: what expiry has to delete.
    #[must_use]
    pub fn due(self, now: u64, limit: usize) -> Vec<Field<'a>> {
        match self {
            Self::Packed(packed) => {
                packed.iter().filter(|field| !field.is_live(now)).take(limit).collect()
            }
            Self::Big(big) => big.due(now, limit),
        }
    }

    fn all(self) -> AllFields<'a> {
        match self {
            Self::Packed(packed) => AllFields::Packed(packed.iter()),
            Self::Big(big) => AllFields::Big(big.walk(0)),
        }
    }
}

/// The fields of a hash that are there at some time; made by [`HashView::iter`].
#[derive(Clone, Debug)]
pub struct LiveFields<'a> {
    fields: AllFields<'a>,
    now: u64,
}

impl<'a> Iterator for LiveFields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let field = match &mut self.fields {
                AllFields::Packed(fields) => fields.next()?,
                AllFields::Big(walk) => walk.next()?.1,
            };
            if field.is_live(self.now) {
                return Some(field);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum AllFields<'a> {
    Packed(Fields<'a>),
    Big(Walk<'a>),
}
