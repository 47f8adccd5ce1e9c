//! A request of memcached's protocol, taken apart.
//!
//! What always holds: every number is in its range and every key in its length; the order of a
//! meta request's flags is kept, since memcached obeys and answers them in order.

use crate::ops::cache::Mode;
use protocol::args::Args;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    /// What is asked.
    pub verb: Verb<'b>,
    /// Whether a text command is answered with nothing at all.
    pub noreply: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Verb<'b> {
    /// get, gets.
    Get {
        /// The keys.
        keys: Args<'b>,
        /// Whether CAS values are wanted.
        cas: bool,
    },
    /// gat, gats.
    GetAndTouch {
        /// The keys.
        keys: Args<'b>,
        /// The new expiry.
        exptime: i64,
        /// Whether CAS values are wanted.
        cas: bool,
    },
    /// set, add, replace, append, prepend, cas.
    Store(Storing<'b>),
    /// delete.
    Delete(&'b [u8]),
    /// incr, decr.
    Count {
        /// The key.
        key: &'b [u8],
        /// Whether down rather than up.
        down: bool,
        /// By how much.
        delta: u64,
    },
    /// touch.
    Touch {
        /// The key.
        key: &'b [u8],
        /// The new expiry.
        exptime: i64,
    },
    /// flush_all, with its delay.
    FlushAll(Option<i64>),
    /// version.
    Version,
    /// verbosity.
    Verbosity,
    /// cache_memlimit, in megabytes.
    MemoryLimit(u64),
    /// stats; the words after it.
    Stats(Args<'b>),
    /// quit.
    Quit,
    /// mn.
    NoOp,
    /// mg.
    MetaGet(Head<'b>, MetaGet),
    /// ms.
    MetaSet(Head<'b>, MetaSet<'b>),
    /// md.
    MetaDelete(Head<'b>, MetaDelete),
    /// ma.
    MetaArithmetic(Head<'b>, MetaArithmetic),
    /// me.
    MetaDebug(Head<'b>),
    /// A value for this key was larger than an item may be, and was thrown away unread.
    TooLarge {
        /// The key.
        key: &'b [u8],
        /// How it would have been stored.
        mode: Mode,
    },
}

/// What a storage command says.
#[derive(Clone, Copy, Debug)]
pub struct Storing<'b> {
    /// The key.
    pub key: &'b [u8],
    /// On what condition, and how, it's stored.
    pub mode: Mode,
    /// The client's flags.
    pub flags: u32,
    /// The expiry.
    pub exptime: i64,
    /// The CAS value that the item must have.
    pub compare: Option<u64>,
    /// The value.
    pub value: &'b [u8],
}

/// What all meta requests have.
#[derive(Clone, Copy, Debug)]
pub struct Head<'b> {
    /// The key's bytes.
    pub key: &'b [u8],
    /// The key as it stands in the request.
    pub shown: &'b [u8],
    /// Whether it stands there in base64.
    pub base64: bool,
    /// Whether the usual answer is left out.
    pub quiet: bool,
    /// The flags in their order: a letter and its token each.
    pub flags: Args<'b>,
}

/// What `mg` says beside its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetaGet {
    /// Whether the value is wanted.
    pub value: bool,
    /// Whether it leaves no trace of a use.
    pub no_bump: bool,
    /// The new expiry.
    pub touch: Option<i64>,
    /// The expiry of the item to make if there is none.
    pub vivify: Option<i64>,
    /// The time left below which a reader wins the right to renew.
    pub recache: Option<i64>,
    /// The CAS value of an item that is made.
    pub cas: Option<u64>,
}

/// What `ms` says beside its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetaSet<'b> {
    /// On what condition, and how, it's stored.
    pub mode: Mode,
    /// The value.
    pub value: &'b [u8],
    /// The client's flags.
    pub flags: u32,
    /// The expiry.
    pub exptime: i64,
    /// The CAS value that the item must have.
    pub compare: Option<u64>,
    /// The CAS value that the item gets.
    pub cas: Option<u64>,
    /// Whether an older CAS value stores too, as stale.
    pub invalidate: bool,
}

/// What `md` says beside its head.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetaDelete {
    /// The CAS value that the item must have.
    pub compare: Option<u64>,
    /// The CAS value that an item set aside gets.
    pub cas: Option<u64>,
    /// Whether it's marked stale instead of deleted.
    pub invalidate: bool,
    /// Whether its value is dropped and the item stays.
    pub empty: bool,
    /// The expiry of an item set aside.
    pub touch: Option<i64>,
}

/// What `ma` says beside its head.
#[derive(Clone, Copy, Debug)]
pub struct MetaArithmetic {
    /// Whether down rather than up.
    pub down: bool,
    /// By how much.
    pub delta: u64,
    /// The number that an item begins with.
    pub initial: u64,
    /// The CAS value that the item must have.
    pub compare: Option<u64>,
    /// The CAS value that it gets.
    pub cas: Option<u64>,
    /// The expiry of the item to make if there is none.
    pub vivify: Option<i64>,
    /// The new expiry.
    pub touch: Option<i64>,
    /// Whether the number is wanted.
    pub value: bool,
}

impl<'b> Request<'b> {
    /// The keys that it's about, as far as it names them.
    pub fn keys(&self) -> impl Iterator<Item = &'b [u8]> {
        let (many, one) = match self.verb {
            Verb::Get { keys, .. } | Verb::GetAndTouch { keys, .. } => (Some(keys), None),
            Verb::Store(Storing { key, .. })
            | Verb::Delete(key)
            | Verb::Count { key, .. }
            | Verb::Touch { key, .. }
            | Verb::TooLarge { key, .. } => (None, Some(key)),
            Verb::MetaGet(head, _)
            | Verb::MetaSet(head, _)
            | Verb::MetaDelete(head, _)
            | Verb::MetaArithmetic(head, _)
            | Verb::MetaDebug(head) => (None, Some(head.key)),
            _ => (None, None),
        };
        let many = many.into_iter().flat_map(|keys| (0..keys.len()).map(move |i| keys.at(i)));
        one.into_iter().chain(many)
    }

    /// Whether it may need memory, so that it's refused when there is none.
    pub const fn needs_memory(&self) -> bool {
        match self.verb {
            Verb::Store(_) | Verb::Count { .. } | Verb::MetaSet(..) => true,
            Verb::MetaArithmetic(..) => true,
            Verb::MetaGet(_, asked) => asked.vivify.is_some(),
            _ => false,
        }
    }

    /// Whether it may change something.
    pub const fn writes(&self) -> bool {
        match self.verb {
            Verb::MetaGet(_, asked) => {
                asked.vivify.is_some() || asked.touch.is_some() || asked.recache.is_some()
            }
            Verb::GetAndTouch { .. }
            | Verb::Store(_)
            | Verb::Delete(_)
            | Verb::Count { .. }
            | Verb::Touch { .. }
            | Verb::FlushAll(_)
            | Verb::TooLarge { .. }
            | Verb::MetaSet(..)
            | Verb::MetaDelete(..)
            | Verb::MetaArithmetic(..) => true,
            _ => false,
        }
    }
}
