//! What a handler works with: the time, the client, the locked shards, the reply.

use crate::client::Client;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::host::Host;
use crate::limits::REPLY_BYTES_MAX;
use engine::{Applied, Change, Effect, Entry, HashKey, Key, KeyHash, Kind, Shard};
use protocol::resp::Reply;

/// The shards of the store, as far as the running command may touch them.
///
/// Whoever implements it has locked the shards of the command's keys (or all, for a transaction),
/// or locks one at a time for a command that works on whole databases.
pub trait Shards {
    /// How many there are; a power of two.
    fn count(&self) -> usize;
    /// How many databases each has.
    fn databases(&self) -> usize;
    /// The secret under which keys are hashed.
    fn secret(&self) -> HashKey;
    /// Whether that shard is locked for the running command.
    fn holds(&self, number: usize) -> bool;
    /// The shard of that number. A reference to another one may be invalid afterwards, so a
    /// handler holds one at a time.
    fn shard(&mut self, number: usize) -> &mut Shard;
    /// The command's reply tells of more than of its one key: of one that the key stands for, say.
    fn ask_for_more(&mut self) {}
}

/// What a handler works with.
pub struct Ctx<'a> {
    /// Unix time in milliseconds; the same during the whole command, or transaction.
    pub now: u64,
    /// Unix time in microseconds, for TIME and the like.
    pub now_us: u64,
    /// Who asks.
    pub client: &'a mut Client,
    /// The store.
    pub shards: &'a mut dyn Shards,
    /// What lies around the store: settings, other clients, counters.
    pub host: &'a dyn Host,
    /// Where commands are counted.
    pub counters: &'a Counters,
    /// Where the answer goes.
    pub reply: Reply<'a>,
    /// The first key of the command and its hash, if it was hashed before.
    pub hashed: Option<(&'a [u8], KeyHash)>,
}

impl Ctx<'_> {
    /// The client's database.
    #[inline]
    pub const fn db(&self) -> usize {
        self.client.db
    }

    /// A key with its hash.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        match self.hashed {
            Some((known, hash)) if std::ptr::eq(known, bytes) => Key { bytes, hash },
            _ => Key::new(&self.shards.secret(), bytes),
        }
    }

    /// The shard of a key.
    #[inline]
    pub fn shard_of(&mut self, key: &Key<'_>) -> &mut Shard {
        let number = key.hash.shard(self.shards.count());
        self.shards.shard(number)
    }

    /// Whether the shard of a key is locked.
    pub fn holds(&self, key: &Key<'_>) -> bool {
        self.shards.holds(key.hash.shard(self.shards.count()))
    }

    /// Whether all shards are.
    ///
    /// # Errors
    /// [`Failure::Beyond`].
    pub fn hold_all(&self) -> Result<(), Failure> {
        let mut all = 0..self.shards.count();
        if all.all(|number| self.shards.holds(number)) { Ok(()) } else { Err(Failure::Beyond) }
    }

    /// A key's item, which counts as a use unless the client said that it never does.
    #[inline]
    pub fn get(&mut self, key: &Key<'_>) -> Option<Entry<'_>> {
        let (db, now) = (self.client.db, self.now);
        if self.client.no_touch {
            return self.peek(key);
        }
        self.shard_of(key).get(db, key, now)
    }

    /// A key's item, without a trace.
    #[inline]
    pub fn peek(&mut self, key: &Key<'_>) -> Option<Entry<'_>> {
        let (db, now) = (self.client.db, self.now);
        self.shard_of(key).peek(db, key, now)
    }

    /// As [`Ctx::get`], of a key that must hold the given kind if it's there.
    ///
    /// # Errors
    /// [`Failure::WRONG_TYPE`].
    #[inline]
    pub fn get_kind(&mut self, key: &Key<'_>, kind: Kind) -> Result<Option<Entry<'_>>, Failure> {
        match self.get(key) {
            Some(entry) if entry.kind() != kind => Err(Failure::WRONG_TYPE),
            entry => Ok(entry),
        }
    }

    /// Whether the replies that wait still have a sane size; asked by commands that collect many
    /// values in one reply.
    ///
    /// # Errors
    /// [`Failure::REPLY_TOO_LARGE`].
    #[inline]
    pub const fn reply_fits(&self) -> Result<(), Failure> {
        if self.reply.len() > REPLY_BYTES_MAX { Err(Failure::REPLY_TOO_LARGE) } else { Ok(()) }
    }

    /// Applies a change of a key of the client's database.
    ///
    /// # Errors
    /// [`Failure::Full`].
    #[inline]
    pub fn apply(&mut self, key: &Key<'_>, change: Change<'_>) -> Result<Applied, Failure> {
        self.apply_in(self.client.db, key, change)
    }

    /// Applies a change of a key of any database.
    ///
    /// # Errors
    /// [`Failure::Full`].
    pub fn apply_in(
        &mut self,
        db: usize,
        key: &Key<'_>,
        change: Change<'_>,
    ) -> Result<Applied, Failure> {
        let now = self.now;
        let effect = Effect::Key { db, key: *key, change };
        Ok(self.shard_of(key).apply(&effect, now)?)
    }
}

impl std::fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("now", &self.now).finish_non_exhaustive()
    }
}
