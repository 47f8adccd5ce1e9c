//! When the fields of a part of a tree end: the earliest deadline and the latest.
//!
//! The earliest tells whether anything is due, the latest whether all of it is; so neither a
//! subtree without a due field nor one with nothing else is ever gone through.
//! What always holds: a field without a deadline ends last of all, at [`NEVER`].

/// The end of a field that has no deadline.
const NEVER: u64 = u64::MAX;

/// The earliest and the latest end of some fields, in Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ends {
    first: u64,
    last: u64,
}

impl Ends {
    /// Those of no fields.
    pub(super) const NONE: Self = Self { first: NEVER, last: 0 };

    /// That of one field.
    pub(super) fn of(deadline: Option<u64>) -> Self {
        let end = deadline.unwrap_or(NEVER);
        Self { first: end, last: end }
    }

    /// Those of both parts together.
    pub(super) fn join(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Those of all parts together.
    pub(super) fn of_all(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::NONE, Self::join)
    }

    /// Those of the whole once its part `before` has become `after`; `None` if only the other
    /// parts can tell.
    pub(super) const fn replaced(self, before: Self, after: Self) -> Option<Self> {
        let later = before.first == self.first && after.first > before.first;
        let earlier = before.last == self.last && after.last < before.last;
        if later || earlier {
            return None;
        }
        let first = if after.first < self.first { after.first } else { self.first };
        let last = if after.last > self.last { after.last } else { self.last };
        Some(Self { first, last })
    }

    /// The earliest deadline, if any field has one.
    pub(super) fn first(self) -> Option<u64> {
        Some(self.first).filter(|first| *first != NEVER)
    }

    /// Whether all fields end at the same time, or none ever does.
    pub(super) const fn are_one(self) -> bool {
        self.first == self.last
    }

    /// Whether some field has ended at `now`.
    pub(super) const fn any_by(self, now: u64) -> bool {
        self.first <= now
    }

    /// Whether no field is left at `now`.
    pub(super) const fn all_by(self, now: u64) -> bool {
        self.last <= now
    }
}
