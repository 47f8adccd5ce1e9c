//! The locks that a request holds.
//!
//! What always holds: shards are locked in ascending order, so two requests never wait for each
//! other in a circle; when a lock is let go, the shard's next due time has been noted.

use crate::Node;
use commands::Shards;
use engine::{HashKey, Shard};
use smallvec::SmallVec;
use std::sync::MutexGuard;

/// Locked shards, or the right to lock one at a time.
pub(crate) struct Locked<'n> {
    node: &'n Node,
    /// The common case is one shard, which needs no list.
    first: Option<Held<'n>>,
    more: Vec<Held<'n>>,
}

struct Held<'n> {
    number: usize,
    shard: MutexGuard<'n, Shard>,
}

impl<'n> Locked<'n> {
    /// Locks nothing yet: shards are locked one at a time, as they are asked for.
    pub(crate) fn in_turn(node: &'n Node) -> Self {
        Self { node, first: None, more: Vec::new() }
    }

    /// Locks one shard.
    #[inline]
    pub(crate) fn one(node: &'n Node, number: usize) -> Self {
        let mut locked = Self::in_turn(node);
        locked.take(number);
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

    #[inline]
    fn take(&mut self, number: usize) {
        let Some(shard) = self.node.lock(number) else { return };
        let held = Held { number, shard };
        if self.first.is_none() {
            self.first = Some(held);
        } else {
            self.more.push(held);
        }
    }

    #[inline]
    fn let_go(&mut self) {
        for held in self.first.take().into_iter().chain(self.more.drain(..)) {
            self.node.note_look(held.number, held.shard.next_look());
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

    /// A shard that isn't held is locked now, after all others are let go: right for commands
    /// that walk over shards, and no deadlock for anyone else.
    #[inline]
    #[expect(clippy::expect_used, reason = "a shard number comes from a hash or from `count`")]
    fn shard(&mut self, number: usize) -> &mut Shard {
        let is_it = |held: &Held<'_>| held.number == number;
        if !self.first.as_ref().is_some_and(is_it) {
            match self.more.iter().position(is_it) {
                Some(at) => return &mut self.more.get_mut(at).expect("a place in the list").shard,
                None => {
                    self.let_go();
                    self.take(number);
                }
            }
        }
        &mut self.first.as_mut().expect("a shard of this node").shard
    }
}
