//! Eviction: which key goes when memory is needed.
//!
//! Keys are picked at random and ranked, as Redis documents it (sampled LRU and LFU). Where one key
//! goes at a time, memory is gained only by copying what stands around it, so keys go by the
//! segment: of the segments that hold the last of those picked, the one with the least to keep is
//! emptied. What ranks before all but the last picks moves elsewhere, the rest goes.
//!
//! ```text
//! picks, ranked   | keep ........................ | threshold .. last |
//! their segments    [kkgkkgkk] [gggkgg_g] [kgkkkkgk]     k keep, g go, _ dead
//!                               ^ least to keep: its k moves, the segment is free
//! ```
//!
//! What always holds: a `volatile` policy never takes a key without a deadline; `noeviction`
//! takes none.
//! Not for: deciding when. The node calls while memory is short.

use crate::effect::{Cause, Change, Effect, Key};
use crate::rng::Rng;
use crate::shard::Shard;
use layout::header::RECENCY_BITS;
use layout::{Address, Header, SEGMENT_WORDS, SegmentId, key};
use std::cmp::Reverse;

/// Milliseconds of one step of the recency stamp under a clock policy.
const CLOCK_STEP_MS: u64 = 4_096;
const RECENCY_MASK: u64 = (1 << RECENCY_BITS) - 1;
/// Bits of the use count within the recency stamp under a frequency policy; minutes above.
const COUNT_BITS: u32 = 8;
const MINUTES_MASK: u64 = (1 << (RECENCY_BITS - COUNT_BITS)) - 1;
/// The count that a new key starts with, so that it has a chance.
const COUNT_START: u64 = 5;

/// Keys picked, for each one that the settings say, to learn where the last of all keys rank.
const PICKS_PER_SAMPLE: usize = 4;
/// Of so many picks one ranks where keys go.
const PICKS_PER_GOING: usize = 4;
/// Segments of which the one with the least to keep is emptied. Each is walked, so more would cost
/// more than the copies that they save.
const SEGMENTS_WEIGHED: usize = 4;
/// A segment with more to keep isn't worth the copies.
const KEPT_WORDS_MAX: usize = SEGMENT_WORDS / 8 * 7;

/// An item that was picked.
struct Pick {
    /// How gladly the policy lets it go.
    rank: u64,
    db: usize,
    at: Address,
}

/// Which key goes when memory is needed; the names are those of Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// None: writes are refused.
    #[default]
    NoEviction,
    /// The one unused for longest.
    AllKeysLru,
    /// The one used least often.
    AllKeysLfu,
    /// Any.
    AllKeysRandom,
    /// Of keys with a deadline, the one unused for longest.
    VolatileLru,
    /// Of keys with a deadline, the one used least often.
    VolatileLfu,
    /// Of keys with a deadline, any.
    VolatileRandom,
    /// The one whose deadline is nearest.
    VolatileTtl,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 8] = [
        Self::VolatileLru,
        Self::VolatileLfu,
        Self::VolatileRandom,
        Self::VolatileTtl,
        Self::AllKeysLru,
        Self::AllKeysLfu,
        Self::AllKeysRandom,
        Self::NoEviction,
    ];

    /// The name in redis.conf.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoEviction => "noeviction",
            Self::AllKeysLru => "allkeys-lru",
            Self::AllKeysLfu => "allkeys-lfu",
            Self::AllKeysRandom => "allkeys-random",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }

    /// The policy of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(name))
    }

    /// Whether it takes only keys with a deadline.
    pub const fn is_volatile(self) -> bool {
        matches!(
            self,
            Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl
        )
    }

    /// Whether the recency stamp counts uses instead of keeping the time of the last.
    pub const fn counts(self) -> bool {
        matches!(self, Self::AllKeysLfu | Self::VolatileLfu)
    }

    /// Milliseconds since the last use, in steps.
    pub(crate) fn idle_ms(self, recency: u32, now: u64) -> u64 {
        if self.counts() {
            return 0;
        }
        let clock = now / CLOCK_STEP_MS;
        (clock.wrapping_sub(u64::from(recency)) & RECENCY_MASK) * CLOCK_STEP_MS
    }

    /// The use count, decayed by one for each minute without use.
    pub(crate) fn frequency(self, recency: u32, now: u64) -> u8 {
        if !self.counts() {
            return 0;
        }
        let count = u64::from(recency) & ((1 << COUNT_BITS) - 1);
        let then = u64::from(recency) >> COUNT_BITS;
        let minutes = (now / 60_000).wrapping_sub(then) & MINUTES_MASK;
        count.saturating_sub(minutes) as u8
    }

    /// The stamp of a key that is new.
    fn fresh(self, now: u64) -> u32 {
        if self.counts() {
            return (((now / 60_000) & MINUTES_MASK) << COUNT_BITS | COUNT_START) as u32;
        }
        ((now / CLOCK_STEP_MS) & RECENCY_MASK) as u32
    }

    /// The stamp after a use. Counts grow ever more slowly: by chance, one in 10 x count.
    fn used(self, recency: u32, now: u64, rng: &mut Rng) -> u32 {
        if !self.counts() {
            return self.fresh(now);
        }
        let mut count = u64::from(self.frequency(recency, now));
        let base = count.saturating_sub(COUNT_START);
        if count < 255 && rng.below(base * 10 + 1) == 0 {
            count += 1;
        }
        (((now / 60_000) & MINUTES_MASK) << COUNT_BITS | count) as u32
    }
}

impl Shard {
    /// Evicts the key that the policy ranks last among `samples` picked ones; whether there was
    /// one.
    pub fn evict(&mut self, policy: Policy, samples: usize, now: u64) -> bool {
        let picks = self.picks(policy, samples, now);
        let last = picks.iter().max_by_key(|pick| pick.rank);
        last.is_some_and(|pick| self.let_one_go(pick.db, pick.at, now))
    }

    /// One step towards more free memory: frees a segment of what is gone, empties one if
    /// enough of the shard is dead, or else evicts: from a segment, of which `samples` times four
    /// picks tell what goes, or the last of `samples` picks. Whether anything was gained.
    pub fn make_room(&mut self, policy: Policy, samples: usize, now: u64) -> bool {
        if (self.space.is_sparse() || self.has_free_segments()) && self.squeeze(now) {
            return true;
        }
        policy != Policy::NoEviction
            && (self.evict_segment(policy, samples, now) || self.evict(policy, samples, now))
            || self.squeeze(now)
    }

    /// Empties the segment with the least to keep among those that the last of many picks are in;
    /// whether there is one worth that.
    fn evict_segment(&mut self, policy: Policy, samples: usize, now: u64) -> bool {
        let mut picks = self.picks(policy, samples * PICKS_PER_SAMPLE, now);
        picks.sort_unstable_by_key(|pick| Reverse(pick.rank));
        let go = picks.len() / PICKS_PER_GOING;
        let Some(threshold) = picks.get(go).map(|pick| pick.rank) else { return false };
        let sealed = |segment: &SegmentId| self.arena.meta(*segment).sealed.get() != 0;
        let segments = picks.iter().take(go.max(1)).map(|pick| pick.at.segment()).filter(sealed);
        let weighed = segments.take(SEGMENTS_WEIGHED);
        let least = weighed
            .map(|segment| (self.words_kept(segment, policy, threshold, now), segment))
            .min_by_key(|(kept, _)| *kept);
        let Some((kept, victim)) = least.filter(|(kept, _)| *kept <= KEPT_WORDS_MAX) else {
            return false;
        };
        let id = self.arena.meta(victim).directory.get();
        let Some(db) = self.database_of(id) else { return false };
        for (at, header) in self.live_items(victim) {
            if self.goes(policy, threshold, (at, header), now) {
                self.let_one_go(db, at, now);
            }
        }
        if kept > 0 {
            self.relocate(victim, now);
        }
        true
    }

    /// Words of a segment's items that rank before the threshold.
    fn words_kept(&self, segment: SegmentId, policy: Policy, threshold: u64, now: u64) -> usize {
        let kept = self.live(segment).filter(|item| !self.goes(policy, threshold, *item, now));
        kept.map(|(_, header)| header.words()).sum()
    }

    fn goes(
        &self,
        policy: Policy,
        threshold: u64,
        (at, header): (Address, Header),
        now: u64,
    ) -> bool {
        self.rank(policy, at, header, now).is_some_and(|rank| rank >= threshold)
    }

    /// Evicts the item at `at`, or ends it if its time has come; whether it was there.
    fn let_one_go(&mut self, db: usize, at: Address, now: u64) -> bool {
        let header = Header::load(self.arena.memory(), at);
        let mut bytes = Vec::new();
        key::unpack(self.body(at, header), header.key_form(), &self.prefixes, &mut bytes);
        let key = Key::new(&self.config.secret, &bytes);
        let Some(spot) = self.spot_of(db, at, &key) else { return false };
        if self.deadline(at, header).is_some_and(|deadline| deadline <= now) {
            self.end_due(db, &key, spot, now);
            return true;
        }
        self.count_end(Cause::Evicted, spot);
        self.discard(db, &key, spot);
        let change = Change::Remove(Cause::Evicted);
        self.record(&Effect::Key { db, key, change });
        true
    }

    /// The stamp for an item that is written.
    pub(crate) fn fresh_recency(&mut self, old: Option<Header>, now: u64) -> u32 {
        let now = now.max(self.began);
        match old {
            Some(old) => self.config.policy.used(old.recency(), now, &mut self.rng),
            None => self.config.policy.fresh(now),
        }
    }

    /// The header after a use.
    #[inline]
    pub(crate) fn used(&mut self, header: Header, now: u64) -> Header {
        let recency = self.config.policy.used(header.recency(), now, &mut self.rng);
        header.with_recency(recency).fetched()
    }

    /// Items picked at random that the policy may take.
    fn picks(&mut self, policy: Policy, samples: usize, now: u64) -> Vec<Pick> {
        let mut picks = Vec::new();
        for _ in 0..samples.max(1) {
            let Some(db) = self.random_database(policy) else { break };
            // Keys with a deadline may be rare among the others; a bounded search finds one.
            for _ in 0..32 {
                let Some(at) = self.random_item(db) else { break };
                let header = Header::load(self.arena.memory(), at);
                let Some(rank) = self.rank(policy, at, header, now) else { continue };
                picks.push(Pick { rank, db, at });
                break;
            }
        }
        picks
    }

    /// How gladly the policy lets an item go; none if it must not.
    fn rank(&self, policy: Policy, at: Address, header: Header, now: u64) -> Option<u64> {
        let deadline = self.deadline(at, header);
        if policy.is_volatile() && deadline.is_none() {
            return None;
        }
        let recency = header.recency();
        Some(match policy {
            Policy::NoEviction => return None,
            Policy::AllKeysLru | Policy::VolatileLru => policy.idle_ms(recency, now),
            Policy::AllKeysLfu | Policy::VolatileLfu => {
                u64::from(u8::MAX - policy.frequency(recency, now))
            }
            // One is as good as the other, and the picks are random.
            Policy::AllKeysRandom | Policy::VolatileRandom => 0,
            Policy::VolatileTtl => u64::MAX - deadline.unwrap_or(u64::MAX),
        })
    }

    /// A database with keys that the policy may take, weighted by how many.
    fn random_database(&mut self, policy: Policy) -> Option<usize> {
        let eligible = |shard: &Self, db: usize| {
            if policy.is_volatile() { shard.deadlines(db) } else { shard.len(db) }
        };
        let total: u64 = (0..self.roots.len()).map(|db| eligible(self, db)).sum();
        if total == 0 {
            return None;
        }
        let mut pick = self.rng.below(total);
        (0..self.roots.len()).find(|db| {
            let here = eligible(self, *db);
            let found = pick < here;
            pick = pick.saturating_sub(here);
            found
        })
    }
}
