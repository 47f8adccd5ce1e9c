//! What is due by itself: snapshots by the rules of `save`, rewrites of a log that has grown, a new
//! log for one that has failed, and a line about live sessions that were evicted.
//!
//! What always holds: what failed waits before it's tried again, each for itself; but while writes
//! are refused, the log never waits long.
//! Not for: how they are written.

use super::aof::Sizes;
use super::keeper::{Durable, lock};
use super::progress::HowFar;
use crate::config::Config;
use crate::limits::INCREMENTS_MOST;
use crate::log as say;
use commands::host::Begun;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How often it's looked whether something is due (ms).
const TICK_MS: u64 = 100;
/// How often it's said how far loading has come (ms).
const TELL_MS: u64 = 2_000;
/// How often it's said at most that live sessions were evicted (ms).
const EVICTIONS_MS: u64 = 1_000;
/// How long what failed isn't tried again by itself (ms): after the first time, and then twice as
/// long each time, but never longer than `RETRY_MOST_MS`.
const RETRY_MS: u64 = 5_000;
const RETRY_MOST_MS: u64 = 3_600_000;

/// How long after its failures something may be tried again.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Failures since the last time that it went well.
    failures: AtomicU32,
    /// When it failed last (ms).
    failed_ms: AtomicU64,
}

impl Pause {
    /// Notes how a try went.
    pub(super) fn note(&self, ok: bool, now_ms: u64) {
        if ok {
            self.failures.store(0, Ordering::Relaxed);
        } else {
            self.failed_ms.store(now_ms, Ordering::Relaxed);
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it may be tried now. What is urgent waits after any failure as after the first.
    fn is_over(&self, now_ms: u64, urgent: bool) -> bool {
        let Some(more) = self.failures.load(Ordering::Relaxed).checked_sub(1) else { return true };
        let doublings = if urgent { 0 } else { more.min(16) };
        let pause = (RETRY_MS << doublings).min(RETRY_MOST_MS);
        now_ms >= self.failed_ms.load(Ordering::Relaxed).saturating_add(pause)
    }
}

/// Live sessions that were evicted, as far as it was said.
#[derive(Debug, Default)]
struct Evictions {
    told: u64,
    told_ms: u64,
}

impl Evictions {
    /// How many are to be told of now, if so many were evicted since the start.
    fn untold(&mut self, evicted: u64, now_ms: u64) -> Option<u64> {
        let is_time = now_ms.abs_diff(self.told_ms) >= EVICTIONS_MS;
        if evicted == self.told || !is_time {
            return None;
        }
        self.told_ms = now_ms;
        Some(evicted - std::mem::replace(&mut self.told, evicted))
    }
}

impl Durable {
    /// The thread that looks whether something is due.
    pub(super) fn tick_on(self: &Arc<Self>) {
        let mut told_ms = self.common.clock.now().ms;
        let mut evictions = Evictions::default();
        while !self.ending.load(Ordering::Acquire) {
            std::thread::sleep(std::time::Duration::from_millis(TICK_MS));
            let now = self.common.clock.now().ms;
            if let Some(how_far) = self.how_far() {
                tell(&how_far, &mut told_ms, now);
                continue;
            }
            let evicted = self.node.evicted_sessions();
            if let Some(sessions) = evictions.untold(evicted, now) {
                say::warning(format_args!(
                    "live sessions evicted, see `maxmemory`: {sessions}; since the start {evicted}"
                ));
            }
            if let Some(log) = self.log().filter(|log| log.has_failed()) {
                log.discard();
            }
            if !self.busy.load(Ordering::Relaxed) {
                self.begin_what_is_due(now);
            }
        }
    }

    fn begin_what_is_due(self: &Arc<Self>, now_ms: u64) {
        if self.rewrite_scheduled.swap(false, Ordering::AcqRel) {
            // If it can't be there may be no log any more.
            return tell_of(self.rewrite_in_background());
        }
        if self.save_scheduled.swap(false, Ordering::AcqRel) {
            return tell_of(self.save_in_background(true));
        }
        let config = self.store.config();
        let urgent = self.refuses_writes();
        let (pause, began) =
            if self.rewrites.is_over(now_ms, urgent) && (urgent || self.is_rewrite_due(&config)) {
                (&self.rewrites, self.rewrite_in_background())
            } else if self.snapshots.is_over(now_ms, false)
                && self.is_snapshot_due(&config.save, now_ms)
            {
                (&self.snapshots, self.save_in_background(false))
            } else {
                return;
            };
        if began.is_err() {
            pause.note(false, now_ms);
        }
        tell_of(began);
    }

    /// Whether a save point has come: so many seconds and so many changes since the last snapshot.
    fn is_snapshot_due(&self, points: &str, now_ms: u64) -> bool {
        if points.is_empty() {
            return false;
        }
        let facts = *lock(&self.facts);
        let seconds = (now_ms / 1000).saturating_sub(facts.last_save_s);
        let changes = self.changes().saturating_sub(facts.saved_changes);
        is_point_reached(points, seconds, changes)
    }

    fn is_rewrite_due(&self, config: &Config) -> bool {
        let Some(log) = self.log() else { return false };
        let sizes = lock(&self.facts).sizes;
        let (percentage, least) =
            (config.auto_aof_rewrite_percentage, config.auto_aof_rewrite_min_size);
        does_base_pay(sizes, log.facts().size, percentage, least)
    }
}

/// Whether one of the points `SECONDS CHANGES ...` has come.
fn is_point_reached(points: &str, seconds: u64, changes: u64) -> bool {
    let numbers: Vec<u64> =
        points.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.chunks_exact(2).any(|pair| {
        let [after, least] = *pair else { return false };
        seconds >= after && changes >= least.max(1)
    })
}

/// Whether the increments, of which `current` bytes are in the one that is written to, have grown
/// so much, or are so many, that a new base pays. Under 0 % growth is nobody's concern, but files
/// that each start adds to would make the next ones slower, until one has no choice.
fn does_base_pay(sizes: Sizes, current: u64, percentage: u64, least: u64) -> bool {
    let grown = sizes.before.saturating_add(current);
    let is_large = percentage > 0
        && sizes.base.saturating_add(grown) >= least
        && grown >= sizes.base.saturating_mul(percentage) / 100;
    is_large || sizes.increments >= INCREMENTS_MOST
}

/// Says why something couldn't be begun.
fn tell_of(began: Result<Begun, String>) {
    if let Err(what) = began {
        say::warning(format_args!("{what}"));
    }
}

/// Says now and then how far loading has come.
fn tell(how_far: &HowFar, told_ms: &mut u64, now_ms: u64) {
    if now_ms.saturating_sub(*told_ms) < TELL_MS {
        return;
    }
    *told_ms = now_ms;
    let (percent, left) = (how_far.percent(), how_far.seconds_left(now_ms));
    say::notice(format_args!("loading: {percent:.0} %, {left} s left"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evictions_are_told_of_once_a_second_at_most_and_none_is_left_out() {
        let mut evictions = Evictions::default();
        assert_eq!(evictions.untold(0, 50_000), None);
        assert_eq!(evictions.untold(3, 50_100), Some(3));
        assert_eq!(evictions.untold(9, 51_099), None);
        assert_eq!(evictions.untold(10, 51_100), Some(7));
        assert_eq!(evictions.untold(10, 90_000), None);
        // The clock was set back.
        assert_eq!(evictions.untold(11, 10_000), Some(1));
    }

    #[test]
    fn a_base_pays_once_all_increments_together_have_grown_enough_or_are_many() {
        let sizes = |base, before, increments| Sizes { base, before, increments };
        // By the base, not by what the last start has written.
        assert!(!does_base_pay(sizes(1_000, 0, 1), 999, 100, 500));
        assert!(does_base_pay(sizes(1_000, 0, 1), 1_000, 100, 500));
        assert!(does_base_pay(sizes(1_000, 990, 7), 10, 100, 500));
        assert!(!does_base_pay(sizes(1_000, 990, 7), 9, 100, 500));
        assert!(does_base_pay(sizes(1_000, 490, 7), 10, 50, 500));
        assert!(!does_base_pay(sizes(10, 300, 7), 100, 100, 500), "it's small");
        assert!(does_base_pay(sizes(10, 0, INCREMENTS_MOST), 0, 100, 500), "there are many");
        assert!(!does_base_pay(sizes(10, 5_000, INCREMENTS_MOST - 1), 0, 0, 500), "never by size");
        assert!(does_base_pay(sizes(10, 0, INCREMENTS_MOST), 0, 0, 500), "there are many");
    }

    #[test]
    fn one_of_the_points_is_enough_and_needs_both_its_numbers() {
        let reached = |seconds, changes| is_point_reached("3600 1 300 100", seconds, changes);
        assert!(!reached(299, 1_000_000) && reached(300, 100) && !reached(300, 99));
        assert!(!reached(3_599, 1) && reached(3_600, 1) && !reached(100_000, 0));
        assert!(!is_point_reached("0 0", 5, 0), "nothing has changed");
    }

    #[test]
    fn what_failed_waits_longer_each_time_unless_it_is_urgent() {
        let pause = Pause::default();
        assert!(pause.is_over(0, false));
        let mut now = 1_000;
        for expected in [5_000, 10_000, 20_000, 40_000] {
            pause.note(false, now);
            assert!(!pause.is_over(now + 4_999, true) && pause.is_over(now + 5_000, true));
            assert!(!pause.is_over(now + expected - 1, false));
            assert!(pause.is_over(now + expected, false));
            now += expected;
        }
        (0..100).for_each(|_| pause.note(false, now));
        assert!(!pause.is_over(now + 3_599_999, false) && pause.is_over(now + 3_600_000, false));
        assert!(pause.is_over(now + 5_000, true));
        pause.note(true, now);
        assert!(pause.is_over(now, false));
    }
}
