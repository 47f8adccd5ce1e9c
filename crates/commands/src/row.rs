//! A command as a row of data.
//!
//! What always holds: everything that COMMAND, the access rules and the docs say of a command is
//! read from its row, and the keys that a handler touches are among those that the row names.

use crate::context::Ctx;
use crate::failure::Failure;
use protocol::args::Args;

/// What a handler answers: the reply is written, or the request failed.
pub type Outcome = Result<(), Failure>;

/// Executes a command. Arguments include the command's name; arity has been checked.
pub type Handler = fn(&mut Ctx<'_>, Args<'_>) -> Outcome;

/// Properties of a command, by the names that COMMAND uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags(pub u32);

impl Flags {
    /// Nothing in particular.
    pub const NONE: Self = Self(0);
    /// May change state.
    pub const WRITE: Self = Self(1);
    /// Never changes state.
    pub const READONLY: Self = Self(1 << 1);
    /// May need memory, so it's refused when there is none.
    pub const DENYOOM: Self = Self(1 << 2);
    /// For administrators.
    pub const ADMIN: Self = Self(1 << 3);
    /// Not allowed inside a transaction.
    pub const NO_MULTI: Self = Self(1 << 4);
    /// Takes constant or logarithmic time.
    pub const FAST: Self = Self(1 << 5);
    /// Allowed while data are loaded.
    pub const LOADING: Self = Self(1 << 6);
    /// Allowed while replica data are stale.
    pub const STALE: Self = Self(1 << 7);
    /// Allowed without authentication.
    pub const NO_AUTH: Self = Self(1 << 8);
    /// Executed at once inside MULTI instead of being queued (EXEC, DISCARD, WATCH ...).
    pub const NOT_QUEUED: Self = Self(1 << 9);
    /// Works on whole databases, not on keys that its arguments name; takes shards one by one.
    pub const WHOLE: Self = Self(1 << 10);
    /// Not counted by the slow log, since its arguments are secrets.
    pub const SKIP_SLOWLOG: Self = Self(1 << 11);

    /// Takes no longer than its arguments and the one value are large: not worth timing.
    pub const BRIEF: Self = Self(1 << 12);

    /// Not to be called by a script.
    pub const NO_SCRIPT: Self = Self(1 << 15);

    /// Needs every shard at once, so that nobody sees half of it done.
    pub const ALL_SHARDS: Self = Self(1 << 13);

    /// Served while clients are paused: what a client says as it connects, and what ends a pause.
    pub const NO_PAUSE: Self = Self(1 << 14);

    /// May find out under way that it needs more shards than those of its keys.
    pub const BEYOND: Self = Self(1 << 16);

    /// Takes keys away and does nothing else, so it's done in memory even if it can't be made to
    /// last.
    pub const REVOKES: Self = Self(1 << 17);

    /// May answer later than it's asked ([`Failure::Later`]).
    pub const BLOCKING: Self = Self(1 << 18);

    /// Whether all of `other` are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where the keys of a command stand among its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// It has none.
    None,
    /// Every `step`-th argument from `first` to `last`; negative counts from the end, as in COMMAND.
    Range {
        /// The first key's position; the command's name is 0.
        first: i32,
        /// The last key's position.
        last: i32,
        /// From one key to the next.
        step: i32,
    },
    /// As many as the argument at this position says, right after it.
    Counted {
        /// Where the number stands.
        at: usize,
    },
}

impl Keys {
    /// One key, the first argument.
    pub const FIRST: Self = Self::Range { first: 1, last: 1, step: 1 };
    /// Two keys, the first two arguments.
    pub const FIRST_TWO: Self = Self::Range { first: 1, last: 2, step: 1 };
    /// Every argument.
    pub const ALL: Self = Self::Range { first: 1, last: -1, step: 1 };

    /// The positions of the keys among `count` arguments, as far as there are so many.
    pub fn positions(self, args: Args<'_>) -> impl Iterator<Item = usize> + use<> {
        let count = args.len();
        let (first, last, step) = match self {
            Self::None => (1, 0, 1),
            Self::Range { first, last, step } => {
                let last = if last < 0 { count as i32 + last } else { last };
                (first as usize, last.max(0) as usize, step.max(1) as usize)
            }
            Self::Counted { at } => {
                let said = protocol::resp::parse_u64(args.at(at)).unwrap_or(0);
                let keys = said.min(count as u64) as usize;
                (at + 1, at + keys, 1)
            }
        };
        (first..=last.min(count.saturating_sub(1))).step_by(step)
    }
}

/// One command, or one subcommand of one.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in capitals; of a subcommand, the part after the command's.
    pub name: &'static str,
    /// Its arguments, as [`crate::syntax`] reads them; empty if it has none.
    pub syntax: &'static str,
    /// The number of arguments with the name; negative for "at least". Of a subcommand, both
    /// names count.
    pub arity: i32,
    /// Its properties.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// What executes it.
    pub handler: Handler,
    /// The group that the docs list it in, as Redis names them: `string`, `generic`, `hash` ...
    pub group: &'static str,
    /// The version of Redis (or of Sessile, with its name) that first had it.
    pub since: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Its subcommands; if there are any, `handler` is asked only when none fits.
    pub subcommands: &'static [Self],
}

impl Row {
    /// Whether it never takes long, so that timing every call would cost more than it tells.
    #[inline]
    pub const fn is_brief(&self) -> bool {
        self.flags.has(Flags::FAST) || self.flags.has(Flags::BRIEF)
    }

    /// Whether `count` arguments (names included) are acceptable.
    #[inline]
    pub const fn accepts(&self, count: usize) -> bool {
        if self.arity < 0 {
            count >= self.arity.unsigned_abs() as usize
        } else {
            count == self.arity as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    #[test]
    fn every_flag_has_a_bit_of_its_own() {
        let all = [
            Flags::WRITE,
            Flags::READONLY,
            Flags::DENYOOM,
            Flags::ADMIN,
            Flags::NO_MULTI,
            Flags::FAST,
            Flags::LOADING,
            Flags::STALE,
            Flags::NO_AUTH,
            Flags::NOT_QUEUED,
            Flags::WHOLE,
            Flags::SKIP_SLOWLOG,
            Flags::BRIEF,
            Flags::ALL_SHARDS,
            Flags::NO_PAUSE,
            Flags::NO_SCRIPT,
            Flags::BEYOND,
            Flags::REVOKES,
            Flags::BLOCKING,
        ];
        let bits = all.iter().fold(0, |bits, flag| bits | flag.0);
        assert_eq!(bits.count_ones() as usize, all.len());
    }
}
