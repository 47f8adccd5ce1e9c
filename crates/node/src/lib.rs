//! The store without the world: shards behind their locks, requests executed on them, the work at
//! the end of a turn.
//!
//! ```text
//! bytes -> decode up to 16 requests -> fetch their buckets and items ahead
//!       -> for each: admit -> lock the shards of its keys (ascending) -> run -> reply
//! end of turn: expire what is due, make room, say when to come back
//! ```
//!
//! What always holds: locks are taken in ascending order of shards and held for one command (or
//! one transaction); a request that found no memory is run again after room was made without any
//! lock held. Driven by one thread with its own clock, the node is deterministic.
//! Not for: sockets, threads, files. `now` comes from the caller.

#![forbid(unsafe_code)]

mod ahead;
mod connection;
mod journal;
pub mod limits;
mod locks;
mod memcached;
mod memory;
mod resp;
mod survey;
mod touched;
mod turn;

pub use commands::{Awaited, Unblocked, Waiting};
pub use connection::{Connection, Served, Worker};
pub use journal::{Format, Journal, Taken, Until};
pub use memcached::{McAround, McConnection};
pub use memory::Limits;
pub use resp::World;
pub use survey::Reading;
pub use turn::Chore;

use commands::Shards;
use commands::memcached::Flush;
use engine::limits::SHARDS_MAX;
use engine::{Arena, Effect, Full, HashKey, Keeper, KeyHash, Policy, Shard, ShardConfig};
use journal::Tap;
use locks::{Held, Locked};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// A time, in both units that commands want.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Unix milliseconds.
    pub ms: u64,
    /// Unix microseconds.
    pub us: u64,
}

/// What a node is told when it's made.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// Shards; a power of two, [`SHARDS_MAX`] at most.
    pub shards: usize,
    /// Databases.
    pub databases: usize,
    /// Bands of due times.
    pub bands: usize,
    /// The secret under which keys are hashed.
    pub secret: HashKey,
    /// The version before the first change of each shard. Drawn anew at each start, a version that
    /// a client still knows from before fits nothing.
    pub first_version: u64,
    /// Memory and what to do without.
    pub limits: Limits,
}

/// The shards of one store and what belongs to all of them.
#[derive(Debug)]
pub struct Node {
    arena: Arc<Arena>,
    secret: HashKey,
    databases: usize,
    shards: Box<[Place]>,
    /// For each shard the time by which somebody has to look after it.
    looks: Box<[AtomicU64]>,
    memory: memory::Memory,
    journal: Journal,
    active_expire: AtomicBool,
    /// When memcached's clients want the first database emptied.
    flush: Flush,
    survey: survey::Survey,
}

/// A shard and its lock, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
struct Place(Mutex<Kept>);

/// A shard, and the position in the journal after its last effect.
#[derive(Debug)]
struct Kept {
    shard: Shard,
    position: u64,
}

impl Node {
    /// A node over `arena`.
    pub fn new(arena: Arc<Arena>, config: NodeConfig) -> Self {
        let count = config.shards.clamp(1, SHARDS_MAX).next_power_of_two();
        let shard = |number| {
            let config = ShardConfig {
                number,
                databases: config.databases,
                bands: config.bands,
                secret: config.secret,
                first_version: config.first_version,
                policy: config.limits.policy,
            };
            let shard = Shard::new(Arc::clone(&arena), config);
            Place(Mutex::new(Kept { shard, position: 0 }))
        };
        let shards = (0..count).map(shard).collect();
        let node = Self {
            shards,
            looks: (0..count).map(|_| AtomicU64::new(u64::MAX)).collect(),
            secret: config.secret,
            databases: config.databases,
            memory: memory::Memory::new(config.limits),
            journal: Journal::default(),
            active_expire: AtomicBool::new(true),
            flush: Flush::default(),
            survey: survey::Survey::new(count),
            arena,
        };
        node.set_limits(config.limits);
        node
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The arena of the shards.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Whether keys end on their own when they are due, or only when they are met.
    pub fn set_active_expire(&self, on: bool) {
        self.active_expire.store(on, Ordering::SeqCst);
        // What falls due while it's off is noted nowhere. No lock: the caller may hold some.
        self.looks.iter().for_each(|look| look.store(0, Ordering::SeqCst));
    }

    /// Where the effects of all shards come together.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Records every effect from now on. What is in the store already isn't recorded.
    pub fn start_journal(&self, format: Format) {
        let mut all = Locked::all(self);
        for shard in 0..self.shard_count() {
            all.shard(shard).set_journal(Some(Box::new(Tap { shard, format })));
        }
        self.journal.start(format);
    }

    /// Records nothing any more.
    pub fn stop_journal(&self) {
        let mut all = Locked::all(self);
        self.journal.stop();
        for shard in 0..self.shard_count() {
            all.shard(shard).set_journal(None);
        }
    }

    /// Begins a snapshot of this moment in every shard. `cut`: the journal begins a new file with
    /// it. Answers the journal's position. `keeper` makes what takes the items of a shard.
    pub fn begin_snapshot(
        &self,
        cut: bool,
        mut keeper: impl FnMut(usize) -> Box<dyn Keeper>,
    ) -> u64 {
        let mut all = Locked::all(self);
        for shard in 0..self.shard_count() {
            all.shard(shard).begin_snapshot(keeper(shard));
        }
        if cut { self.journal.cut() } else { self.journal.end() }
    }

    /// Works on one shard of a snapshot, or of a load, under its lock.
    pub fn with_shard<T>(&self, number: usize, work: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        self.lock(number).map(|mut shard| work(&mut shard))
    }

    /// Databases of the store.
    pub const fn databases(&self) -> usize {
        self.databases
    }

    /// Applies an effect on a key, with that hash, that no client asked for: a load's. Makes room
    /// for it as the policy allows.
    ///
    /// # Errors
    /// [`Full`] if there is none.
    pub fn install(&self, effect: &Effect<'_>, hash: KeyHash, now: u64) -> Result<(), Full> {
        self.install_while(effect, hash, now, || true)
    }

    /// As [`Node::install`], but nothing is done any more once room was made and `wanted` says no:
    /// what the effect builds on may have gone for it.
    ///
    /// # Errors
    /// [`Full`] if there is no room.
    pub fn install_while(
        &self,
        effect: &Effect<'_>,
        hash: KeyHash,
        now: u64,
        wanted: impl Fn() -> bool,
    ) -> Result<(), Full> {
        for tries in 0..limits::TRIES {
            if tries > 0 && !wanted() {
                return Ok(());
            }
            let lifted = self.is_cap_lifted();
            let number = hash.shard(self.shards.len());
            let done = self.with_shard(number, |shard| shard.apply(effect, now));
            if let Some(Ok(_)) = done {
                return Ok(());
            }
            if !self.make_room(tries, now) && (lifted || !self.lift_cap()) {
                break;
            }
        }
        Err(Full)
    }

    /// The secret under which keys are hashed.
    pub const fn secret(&self) -> HashKey {
        self.secret
    }

    /// Checks every invariant of every shard.
    ///
    /// # Errors
    /// A sentence that says what doesn't hold.
    pub fn check(&self) -> Result<(), String> {
        (0..self.shards.len()).try_for_each(|number| match self.lock(number) {
            Some(shard) => shard.check().map_err(|what| format!("shard {number}: {what}")),
            None => Ok(()),
        })
    }

    /// Sets how much memory there is and what to do without.
    pub fn set_limits(&self, limits: Limits) {
        self.memory.set(limits);
        for number in 0..self.shards.len() {
            if let Some(mut shard) = self.lock(number) {
                shard.set_policy(limits.policy);
            }
        }
        self.fit_arena(0);
    }

    fn policy(&self) -> Policy {
        self.memory.limits().policy
    }

    /// Locks a shard. A lock that a panicking thread left is taken over: the release build ends
    /// on a panic, and tests want to see the first failure, not the second.
    fn lock(&self, number: usize) -> Option<Held<'_>> {
        let place = self.shards.get(number)?;
        let kept = place.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Held::new(self, number, kept))
    }

    /// As [`Node::lock`], unless somebody else holds it.
    fn try_lock(&self, number: usize) -> Option<Held<'_>> {
        let kept = match self.shards.get(number)?.0.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Held::new(self, number, kept))
    }

    /// Remembers when a shard has to be looked after.
    #[inline]
    fn note_look(&self, number: usize, look: u64) {
        if let Some(known) = self.looks.get(number)
            && look < known.load(Ordering::Relaxed)
        {
            known.fetch_min(look, Ordering::Relaxed);
        }
    }
}
