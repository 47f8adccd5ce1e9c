//! Effects: the only way in which state changes.
//!
//! An effect states a result with absolute times ("this key now holds these bytes until then"), so
//! that the live store, a log that is replayed and a replica come to the same state.
//! What always holds: an effect is applied as a whole or, for want of memory, not at all.
//! Not for: conditions (NX, XX, CAS). Whoever makes the effect has checked them under the lock.

use crate::hash::{BigHash, FieldEdit, PackedHash, packed};
use layout::{HashKey, KeyHash, Kind, Slide, State};

/// A key and its hash, computed once per request.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key's bytes.
    pub bytes: &'a [u8],
    /// The hash of those bytes under the arena's secret.
    pub hash: KeyHash,
}

impl<'a> Key<'a> {
    /// Hashes `bytes`.
    #[inline]
    pub fn new(secret: &HashKey, bytes: &'a [u8]) -> Self {
        Self { bytes, hash: secret.hash(bytes) }
    }
}

/// What an item carries beside its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// When the key ends, in Unix milliseconds.
    pub deadline: Option<u64>,
    /// memcached's client flags.
    pub flags: u32,
    /// memcached's state: [`Meta::STALE`], [`Meta::WON`].
    pub state: u8,
    /// A version that a client set itself (memcached's E flag); else the item's own counts.
    pub cas: Option<u64>,
    /// Idle timeout, absolute deadline, and what makes a session. The deadline is never later
    /// than the absolute one; a string is never a session.
    pub slide: Slide,
    /// When a session got its key by rotation, in Unix milliseconds, if that isn't when it was
    /// created; 0 for none.
    pub rotated: u64,
}

impl Meta {
    /// The item was marked stale; the next reader may win the right to renew it.
    pub const STALE: u8 = 1;
    /// Somebody won that right.
    pub const WON: u8 = 2;
}

/// A change of one key.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The key holds this string.
    Put {
        /// The whole value.
        value: &'a [u8],
        /// Everything beside it.
        meta: Meta,
    },
    /// The key's string holds these bytes from `at` on; zeros fill a gap, a missing key is made.
    /// Deadline and flags stay.
    Splice {
        /// The first byte that changes.
        at: usize,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Fields of the key's hash change; a missing key is made, one left without fields ends,
    /// unless it's a session.
    Fields(&'a [FieldEdit<'a>]),
    /// The key holds a session, or what a session left behind. Of a session that stays one the
    /// fields are changed, else the key gets those of the edits alone.
    Session {
        /// Everything beside the fields; the state says what it is.
        meta: Meta,
        /// The name of its user; empty for none.
        user: &'a [u8],
        /// Changes of the fields.
        edits: &'a [FieldEdit<'a>],
        /// Whether it gets a version of its own, which it does if there was no session.
        renew: bool,
        /// Whether nothing was under the key. The shard that applies it says so to the journal,
        /// whatever it was told.
        fresh: bool,
    },
    /// The key ends at another time, or never, but no later than its absolute deadline. `slide`
    /// tells a use from a decision: a slide breaks no watch.
    Deadline {
        /// Unix milliseconds.
        at: Option<u64>,
        /// Whether use moved it.
        slide: bool,
    },
    /// Deadline, flags and state change, the value doesn't.
    Meta(Meta),
    /// The key holds this item, which came from elsewhere (RENAME, COPY, MOVE, RESTORE).
    Install(&'a OwnedItem),
    /// The key is gone.
    Remove(Cause),
}

/// Why a key is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Somebody deleted it.
    Deleted,
    /// What it held goes on under another key.
    Moved,
    /// Its deadline passed.
    Expired,
    /// Memory was needed.
    Evicted,
}

/// One change of state.
#[derive(Clone, Copy, Debug)]
pub enum Effect<'a> {
    /// A key changes.
    Key {
        /// The database.
        db: usize,
        /// Which key.
        key: Key<'a>,
        /// How.
        change: Change<'a>,
    },
    /// All keys of a database are gone.
    Clear {
        /// The database.
        db: usize,
    },
    /// Two databases change places.
    Swap {
        /// One.
        a: usize,
        /// The other.
        b: usize,
    },
}

impl Effect<'_> {
    /// Whether it takes something away because somebody said so: a key deleted, a session ended or
    /// moved, a database emptied. Deadlines and evictions take away nothing that was revoked.
    pub fn revokes(&self) -> bool {
        match self {
            Self::Key { change: Change::Remove(cause), .. } => {
                matches!(cause, Cause::Deleted | Cause::Moved)
            }
            Self::Key { change: Change::Session { meta, .. }, .. } => {
                meta.slide.state() != State::Session
            }
            Self::Key { .. } | Self::Swap { .. } => false,
            Self::Clear { .. } => true,
        }
    }
}

/// What an effect did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Whether the key was there before.
    pub existed: bool,
    /// The item's version afterwards; 0 if there is no item.
    pub version: u64,
    /// Fields that were added to a hash.
    pub added: usize,
    /// Fields that were removed from it.
    pub removed: usize,
    /// The length of the string or hash afterwards; overdue fields that are still there count.
    pub len: usize,
}

/// There is no room for the change, and nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// Whoever receives the effects of a shard, in order, under its lock.
pub trait Journal: Send {
    /// An effect was applied.
    fn record(&mut self, effect: &Effect<'_>);
}

/// A value outside the arena, on its way from one key to another.
#[derive(Clone, Debug)]
pub enum OwnedValue {
    /// A string.
    String(Vec<u8>),
    /// A hash as a packed run.
    Packed(Vec<u8>),
    /// A large hash.
    Big(Box<BigHash>),
}

/// An item outside the arena.
#[derive(Clone, Debug)]
pub struct OwnedItem {
    /// Its value.
    pub value: OwnedValue,
    /// Everything beside it.
    pub meta: Meta,
    /// Of a session the name of its user; else nothing.
    pub user: Vec<u8>,
}

impl OwnedItem {
    /// Changes the fields of a hash; a string stays as it is.
    pub fn edit(&mut self, secret: &HashKey, edits: &[FieldEdit<'_>]) {
        match &mut self.value {
            OwnedValue::String(_) => {}
            OwnedValue::Packed(run) => {
                let mut changed = Vec::new();
                let old = PackedHash::new(run);
                let (_, grown) = packed::apply_or_grow(secret.0, old, edits, &mut changed);
                self.value = match grown {
                    Some(big) => OwnedValue::Big(Box::new(big)),
                    None => OwnedValue::Packed(changed),
                };
            }
            OwnedValue::Big(big) => {
                big.apply(edits);
            }
        }
    }

    /// Whether it's a hash without fields, which only a session may be.
    pub fn is_empty_hash(&self) -> bool {
        match &self.value {
            OwnedValue::String(_) => false,
            OwnedValue::Packed(run) => run.is_empty(),
            OwnedValue::Big(big) => big.is_empty(),
        }
    }

    /// Bytes of the value, more or less.
    pub fn bytes(&self) -> usize {
        match &self.value {
            OwnedValue::String(bytes) | OwnedValue::Packed(bytes) => bytes.len(),
            OwnedValue::Big(hash) => hash.heap_bytes(),
        }
    }

    /// What the value is.
    pub const fn kind(&self) -> Kind {
        match self.value {
            OwnedValue::String(_) => Kind::String,
            OwnedValue::Packed(_) | OwnedValue::Big(_) => Kind::Hash,
        }
    }
}
