//! Requests, taken apart.
//!
//! What always holds: keys have 1 to 250 bytes; a meta request names no flag twice and none that
//! its command doesn't know; numbers are in range.

/// A request.
#[derive(Clone, Copy, Debug)]
pub enum Request<'b> {
    /// get, gets.
    Get {
        /// The keys.
        keys: Words<'b>,
        /// Whether the CAS values are wanted.
        with_cas: bool,
    },
    /// gat, gats.
    GetAndTouch {
        /// The new expiry.
        exptime: i64,
        /// The keys.
        keys: Words<'b>,
        /// Whether the CAS values are wanted.
        with_cas: bool,
    },
    /// set, add, replace, append, prepend, cas.
    Store {
        /// What is to be stored.
        storing: Storing<'b>,
        /// Whether no answer is wanted.
        noreply: bool,
    },
    /// A storage command, text or meta, whose value is so large that it's thrown away unseen.
    TooLarge {
        /// The key.
        key: &'b [u8],
        /// On what condition, and how, it was to be stored.
        mode: Mode,
        /// Whether no answer is wanted.
        noreply: bool,
    },
    /// delete.
    Delete {
        /// The key.
        key: &'b [u8],
        /// Whether no answer is wanted.
        noreply: bool,
    },
    /// incr, decr.
    Count {
        /// The key.
        key: &'b [u8],
        /// Whether down rather than up.
        down: bool,
        /// By how much.
        delta: u64,
        /// Whether no answer is wanted.
        noreply: bool,
    },
    /// touch.
    Touch {
        /// The key.
        key: &'b [u8],
        /// The new expiry.
        exptime: i64,
        /// Whether no answer is wanted.
        noreply: bool,
    },
    /// flush_all.
    FlushAll {
        /// When, as an expiry is given; at once if nothing is.
        delay: Option<i64>,
        /// Whether no answer is wanted.
        noreply: bool,
    },
    /// cache_memlimit.
    MemoryLimit {
        /// The limit.
        megabytes: u64,
        /// Whether no answer is wanted.
        noreply: bool,
    },
    /// verbosity, which changes nothing.
    Verbosity {
        /// Whether no answer is wanted.
        noreply: bool,
    },
    /// stats, and what follows it.
    Stats {
        /// The words behind the command.
        words: Words<'b>,
    },
    /// version.
    Version,
    /// quit.
    Quit,
    /// mn.
    MetaNoop,
    /// mg.
    MetaGet(Head<'b>, Get),
    /// ms.
    MetaSet(Head<'b>, Set<'b>),
    /// md.
    MetaDelete(Head<'b>, Delete),
    /// ma.
    MetaArithmetic(Head<'b>, Arithmetic),
    /// me.
    MetaDebug(Head<'b>),
}

impl<'b> Request<'b> {
    /// Whether nothing is answered, whatever comes of it. (A meta request that is quiet may be
    /// answered; see [`Head::quiet`].)
    pub const fn noreply(&self) -> bool {
        match self {
            Self::Store { noreply, .. }
            | Self::TooLarge { noreply, .. }
            | Self::Delete { noreply, .. }
            | Self::Count { noreply, .. }
            | Self::Touch { noreply, .. }
            | Self::FlushAll { noreply, .. }
            | Self::MemoryLimit { noreply, .. }
            | Self::Verbosity { noreply } => *noreply,
            _ => false,
        }
    }

    /// The one key that it's about; nothing for requests with many keys or none.
    #[inline]
    pub const fn key(&self) -> Option<&'b [u8]> {
        match self {
            Self::Store { storing, .. } => Some(storing.key),
            Self::TooLarge { key, .. }
            | Self::Delete { key, .. }
            | Self::Count { key, .. }
            | Self::Touch { key, .. } => Some(key),
            Self::MetaGet(head, _)
            | Self::MetaSet(head, _)
            | Self::MetaDelete(head, _)
            | Self::MetaArithmetic(head, _)
            | Self::MetaDebug(head) => Some(head.key),
            _ => None,
        }
    }

    /// The same request with a value.
    #[inline]
    pub(super) const fn with_value(mut self, value: &'b [u8]) -> Self {
        match &mut self {
            Self::Store { storing, .. } => storing.value = value,
            Self::MetaSet(_, set) => set.value = value,
            _ => {}
        }
        self
    }
}

/// On what condition, and how, a value is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Always.
    #[default]
    Set,
    /// Only if there is no such key.
    Add,
    /// Only if there is.
    Replace,
    /// Behind the value that is there.
    Append,
    /// Before the value that is there.
    Prepend,
}

/// What a storage command says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// Words with spaces between them: an iterator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Words<'b>(&'b [u8]);

impl<'b> Words<'b> {
    /// The words of a text.
    #[inline]
    pub const fn new(text: &'b [u8]) -> Self {
        Self(text)
    }

    /// What is left of the text.
    #[inline]
    pub(super) const fn rest(self) -> &'b [u8] {
        self.0
    }
}

impl<'b> Iterator for Words<'b> {
    type Item = &'b [u8];

    #[inline]
    fn next(&mut self) -> Option<&'b [u8]> {
        let start = self.0.iter().position(|byte| *byte != b' ')?;
        let text = self.0.get(start..)?;
        let end = memchr::memchr(b' ', text).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        self.0 = rest;
        Some(word)
    }
}

/// What all meta requests have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head<'b> {
    /// The key's bytes.
    pub key: &'b [u8],
    /// The key as it stands in the request.
    pub shown: &'b [u8],
    /// Whether it stands there in base64.
    pub base64: bool,
    /// Whether the usual answer is left out.
    pub quiet: bool,
    /// The flags in their order.
    pub flags: Flags<'b>,
}

/// The flags of a meta request, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags<'b> {
    text: &'b [u8],
    letters: u64,
}

/// One flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flag<'b> {
    /// Which one.
    pub letter: u8,
    /// What follows the letter.
    pub token: &'b [u8],
}

impl<'b> Flags<'b> {
    /// The flags of a text, with the set of their letters.
    pub(super) const fn new(text: &'b [u8], letters: u64) -> Self {
        Self { text, letters }
    }

    /// A letter's place in a set.
    #[inline]
    pub(super) const fn bit(letter: u8) -> u64 {
        1 << (letter & 63)
    }

    /// The flags in their order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Flag<'b>> + use<'b> {
        Words::new(self.text).filter_map(|word| {
            let (letter, token) = word.split_first()?;
            Some(Flag { letter: *letter, token })
        })
    }

    /// Whether a letter is among them.
    #[inline]
    pub const fn has(&self, letter: u8) -> bool {
        self.letters & Self::bit(letter) != 0
    }
}

/// What `mg` says beside its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Get {
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Set<'b> {
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delete {
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arithmetic {
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
