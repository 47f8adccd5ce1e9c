//! What the store knows of a connected client.
//!
//! What always holds: no shard knows `watch` for a key that isn't in `watched`; what a client can pile
//! up here (queued commands, watched keys) is bounded by `limits`.
//!
//! Not for: its socket and buffers, which are the server's.

use crate::row::Row;
use crate::table::Number;
use engine::{KeyHash, Watch};
use protocol::args::OwnedArgs;
use protocol::resp::RespVersion;
use std::collections::BTreeSet;

/// A watched key: not its bytes, of which a client could pile up many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WatchedKey {
    /// Its shard, by which they are sorted.
    pub shard: u16,
    /// Its database.
    pub db: u16,
    /// Its hash.
    pub hash: KeyHash,
}

/// Which replies a client gets (CLIENT REPLY).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReplyMode {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// None to the next command; `On` afterwards.
    SkipNext,
    /// None to this one.
    Skip,
}

/// A command that waits for EXEC.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Its row; of a subcommand, the subcommand's.
    pub row: &'static Row,
    /// Its number.
    pub number: Number,
    /// Its arguments.
    pub args: OwnedArgs,
}

/// A transaction that was begun by MULTI.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// The commands so far.
    pub queued: Vec<Queued>,
    /// Bytes that their arguments take.
    pub bytes: usize,
    /// Whether one of them was refused, so that EXEC has to refuse all.
    pub aborted: bool,
}

/// What CLIENT LIST tells of a client as it stands, in one word that any thread may be given: its
/// last command, its transaction, how many keys it watches, and its modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing(u64);

impl Standing {
    const COUNT_BITS: u32 = 22;
    const COUNT_MOST: u64 = (1 << Self::COUNT_BITS) - 1;

    /// How that client stands; counts above four million are told as that.
    #[inline]
    pub fn of(client: &Client) -> Self {
        let count = |count: usize| (count as u64).min(Self::COUNT_MOST);
        let queued = client.transaction.as_ref().map_or(0, |one| count(one.queued.len()));
        let modes = u64::from(client.transaction.is_some())
            | u64::from(client.no_evict) << 1
            | u64::from(client.no_touch) << 2;
        let counts = count(client.watched.len()) << Self::COUNT_BITS | queued;
        Self(u64::from(client.command.0) | modes << 16 | counts << 20)
    }

    /// It from its bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The last command's name, as [`Client::command`] has it.
    pub fn command(self) -> &'static str {
        Number((self.0 & 0xffff) as u16).name()
    }

    /// The commands queued so far, in a transaction.
    pub fn queued(self) -> Option<u64> {
        (self.0 >> 16 & 1 == 1).then_some(self.0 >> 20 & Self::COUNT_MOST)
    }

    /// How many keys it watches.
    pub const fn watching(self) -> u64 {
        self.0 >> (20 + Self::COUNT_BITS)
    }

    /// Whether NO-EVICT holds.
    pub const fn no_evict(self) -> bool {
        self.0 >> 17 & 1 == 1
    }

    /// Whether NO-TOUCH holds.
    pub const fn no_touch(self) -> bool {
        self.0 >> 18 & 1 == 1
    }
}

/// What a request waits for that is to be run again then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// That everything up to this position of the journal is on the disk.
    Disk(u64),
    /// The end of the reload of that number.
    Reload(u64),
    /// Nothing that can happen here: its time has to pass.
    Nothing,
}

/// A request that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// For what.
    pub awaited: Awaited,
    /// Until then at most, in Unix milliseconds; `u64::MAX` for ever.
    pub until: u64,
}

/// How somebody ended the wait of another's request (CLIENT UNBLOCK).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unblocked {
    /// As if its time were over.
    Timeout,
    /// With an error.
    Error,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    /// Its number; never used again.
    pub id: u64,
    /// The database that its commands are about.
    pub db: usize,
    /// The protocol version of its replies.
    pub version: RespVersion,
    /// Whether it may do more than authenticate.
    pub authenticated: bool,
    /// The name that it gave itself.
    pub name: Vec<u8>,
    /// The library and the version that it runs on, as it says.
    pub library: (Vec<u8>, Vec<u8>),
    /// Whether its reads leave no trace (CLIENT NO-TOUCH).
    pub no_touch: bool,
    /// Whether its buffers are never a reason to close it (CLIENT NO-EVICT).
    pub no_evict: bool,
    /// Which replies it gets.
    pub reply_mode: ReplyMode,
    /// Its transaction, after MULTI.
    pub transaction: Option<Transaction>,
    /// The flag of the keys that it watches.
    pub watch: Option<Watch>,
    /// Those keys.
    pub watched: BTreeSet<WatchedKey>,
    /// Its last command, or the one that is being executed.
    pub command: Number,
    /// Where the journal stood after its last change, or that of somebody else which left a write of
    /// its own nothing to do; 0 if there was none.
    pub wrote: u64,
    /// What its present command waits for; it has been run before if there is something.
    pub waiting: Option<Waiting>,
    /// Whether somebody has ended that wait, for the command to take.
    pub unblocked: Option<Unblocked>,
    /// Whether the commands of its transaction are being executed.
    pub executing: bool,
    /// Whether the connection ends once the reply is sent.
    pub close: bool,
}

impl Client {
    /// A client that just connected.
    pub const fn new(id: u64, authenticated: bool) -> Self {
        Self {
            id,
            db: 0,
            version: RespVersion::Two,
            authenticated,
            name: Vec::new(),
            library: (Vec::new(), Vec::new()),
            no_touch: false,
            no_evict: false,
            reply_mode: ReplyMode::On,
            transaction: None,
            watch: None,
            watched: BTreeSet::new(),
            command: Number(0),
            wrote: 0,
            waiting: None,
            unblocked: None,
            executing: false,
            close: false,
        }
    }

    /// Makes EXEC refuse the transaction, if there is one.
    pub const fn abort_transaction(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.aborted = true;
        }
    }
}
