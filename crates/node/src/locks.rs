//! The locks that a request holds.
//!
//! What always holds: shards are locked in ascending order, so two requests never wait for each
//! other in a circle; when a lock is let go, the shard's next due time has been noted, and what
//! happened under it has joined the journal.

use crate::{Kept, Node, Until};
use commands::Shards;
use engine::{HashKey, KeyHash, Shard};
use smallvec::SmallVec;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

/// Locked shards, or the right to lock one at a time.
pub(crate) struct Locked<'n> {
    node: &'n Node,
    /// The common case is one shard, which needs no list.
    first: Option<Held<'n>>,
    more: Vec<Held<'n>>,
    /// The only key that is asked for.
    only: Option<KeyHash>,
    /// The latest position in the journal of anything that was asked for, and of what was revoked.
    until: Until,
}

/// One locked shard.
pub(crate) struct Held<'n> {
    node: &'n Node,
    number: usize,
    kept: MutexGuard<'n, Kept>,
}

impl<'n> Held<'n> {
    pub(crate) const fn new(node: &'n Node, number: usize, kept: MutexGuard<'n, Kept>) -> Self {
        Self { node, number, kept }
    }
}

impl Deref for Held<'_> {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        &self.kept.shard
    }
}

impl DerefMut for Held<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.kept.shard
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.node.note_look(self.number, self.kept.shard.next_look());
        if let Some(until) = self.node.journal.add_group(false) {
            self.kept.position = until.safe;
        }
    }
}

impl<'n> Locked<'n> {
    /// Locks nothing yet: shards are locked one at a time, as they are asked for.
    pub(crate) fn in_turn(node: &'n Node) -> Self {
        Self { node, first: None, more: Vec::new(), only: None, until: Until::default() }
    }

    /// Locks the shard of a key, for a request that tells of this key alone.
    #[inline]
    pub(crate) fn one(node: &'n Node, key: KeyHash) -> Self {
        let mut locked = Self::in_turn(node);
        locked.only = Some(key);
        locked.take(key.shard(node.shard_count()));
        locked
    }

    /// Locks these shards.
    pub(crate) fn these(node: &'n Node, mut numbers: SmallVec<[usize; 16]>) -> Self {
        numbers.sort_unstable();
        numbers.dedup();
        let mut locked = Self::in_turn(node);
        numbers.iter().for_each(|number| locked.take(*number));
        locked
    }

    /// Locks every shard.
    pub(crate) fn all(node: &'n Node) -> Self {
        Self::these(node, (0..node.shard_count()).collect())
    }

    /// Lets go of all locks. Answers how far the journal has to come before anybody hears of what
    /// was read or written under them.
    #[inline]
    pub(crate) fn end(mut self) -> Until {
        self.let_go();
        self.until
    }

    #[inline]
    fn take(&mut self, number: usize) {
        let Some(held) = self.node.lock(number) else { return };
        if self.first.is_none() {
            self.first = Some(held);
        } else {
            self.more.push(held);
        }
    }

    #[inline]
    fn let_go(&mut self) {
        if self.node.journal.is_on() {
            self.join_journal();
        }
        self.first = None;
        self.more.clear();
    }

    /// What happened under these locks joins the journal as one, before any of them is let go.
    fn join_journal(&mut self) {
        let added = self.node.journal.add_group(true);
        self.until = self.until.and(added.unwrap_or_default());
        for held in self.first.iter_mut().chain(&mut self.more) {
            if let Some(until) = added {
                held.kept.position = until.safe;
            }
            let position = match self.only {
                Some(key) => self.node.journal.last_of(key),
                None => held.kept.position,
            };
            self.until.safe = self.until.safe.max(position);
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Shards for Locked<'_> {
    #[inline]
    fn count(&self) -> usize {
        self.node.shards.len()
    }

    fn databases(&self) -> usize {
        self.node.databases
    }

    #[inline]
    fn secret(&self) -> HashKey {
        self.node.secret
    }

    #[inline]
    fn holds(&self, number: usize) -> bool {
        self.first.iter().chain(&self.more).any(|held| held.number == number)
    }

    fn ask_for_more(&mut self) {
        self.only = None;
    }

    /// A shard that isn't held is locked now, after all others are let go: right for commands
    /// that walk over shards, and no deadlock for anyone else.
    #[inline]
    #[expect(clippy::expect_used, reason = "a shard number comes from a hash or from `count`")]
    fn shard(&mut self, number: usize) -> &mut Shard {
        let is_it = |held: &Held<'_>| held.number == number;
        if !self.first.as_ref().is_some_and(is_it) {
            match self.more.iter().position(is_it) {
                Some(at) => return self.more.get_mut(at).expect("a place in the list"),
                None => {
                    self.only = None;
                    self.let_go();
                    self.take(number);
                }
            }
        }
        self.first.as_mut().expect("a shard of this node")
    }
}
