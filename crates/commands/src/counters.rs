//! What is counted of each command: calls, failures, time.
//!
//! What always holds: one [`Counters`] has one writer, a worker's thread, so counting needs no
//! locked instruction and no cache line is fought for; whoever reads adds all of them up into
//! [`Totals`]. Counters only grow: going back to zero is a matter of what is taken away when they
//! are read, so no writer is disturbed.
//! Time is measured of every call of a command that may take long. Of the others the first 16 calls
//! are measured and then one in 16, which counts for 16; sums and histograms are scaled to all calls.

use crate::limits::ERROR_CODES_MAX;
use crate::table::{Number, names};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Steps of a histogram within one power of two, as a power of two: bounds are 6 % apart.
const FINE: u32 = 4;
/// Of commands that never take long, one call in so many is measured; a power of two.
const EVERY: u64 = 16;
/// Longer times than 2^30 ns, about a second, are counted as that.
const LONGEST: u64 = (1 << 30) - 1;
const BUCKETS: usize = (30 - FINE as usize + 1) << FINE;

/// The counters of one worker.
#[derive(Debug)]
pub struct Counters {
    commands: Vec<Command>,
    /// Errors by their code.
    errors: Mutex<BTreeMap<String, u64>>,
}

/// Counters that keep nothing.
pub static NOWHERE: Counters =
    Counters { commands: Vec::new(), errors: Mutex::new(BTreeMap::new()) };

/// The counters of one command, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Command {
    calls: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    /// Calls that were measured, with those that they stand for.
    timed: AtomicU64,
    /// What these took.
    nanoseconds: AtomicU64,
    histogram: OnceLock<Box<[AtomicU64]>>,
}

impl Default for Counters {
    fn default() -> Self {
        let commands = names().map(|_| Command::default()).collect();
        Self { commands, errors: Mutex::default() }
    }
}

impl Counters {
    /// The counters of one command.
    #[inline]
    pub fn of(&self, number: Number) -> Option<&Command> {
        self.commands.get(usize::from(number.0))
    }

    /// A request was refused before it was executed.
    pub fn rejected(&self, number: Number) {
        if let Some(command) = self.of(number) {
            add(&command.rejected, 1);
        }
    }

    /// A client was told this error, such as `WRONGTYPE ...`.
    pub fn error(&self, line: &str) {
        if self.commands.is_empty() {
            return;
        }
        let code = line.split(' ').next().unwrap_or_default();
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }
}

impl Command {
    /// Whether the time of the call that begins should be measured, if not all are.
    #[inline]
    pub fn is_due(&self) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        // The golden ratio spreads one in 16 evenly, and in step with no pipeline.
        calls < EVERY || calls.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - EVERY.ilog2()) == 0
    }

    /// Counts a call that is over.
    #[inline]
    pub fn called(&self) {
        add(&self.calls, 1);
    }

    /// Counts that it ended with an error.
    pub fn failed(&self) {
        add(&self.failed, 1);
    }

    /// Counts how long a call took, before it's counted itself. It stands for others if only
    /// some are measured.
    #[cold]
    pub fn took(&self, nanoseconds: u64, only_some: bool) {
        let alone = !only_some || self.calls.load(Ordering::Relaxed) < EVERY;
        let weight = if alone { 1 } else { EVERY };
        add(&self.timed, weight);
        add(&self.nanoseconds, nanoseconds.saturating_mul(weight));
        let empty = || std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect();
        if let Some(bucket) = self.histogram.get_or_init(empty).get(bucket(nanoseconds)) {
            add(bucket, weight);
        }
    }
}

/// The only writer needs no locked instruction.
#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

fn bucket(nanoseconds: u64) -> usize {
    let value = nanoseconds.min(LONGEST);
    let power = value.checked_ilog2().unwrap_or(0);
    if power <= FINE {
        return value as usize;
    }
    let shift = power - FINE;
    ((shift as usize) << FINE) + (value >> shift) as usize
}

/// The largest time that is counted in a bucket.
fn bound(bucket: usize) -> u64 {
    let fine = 1 << FINE;
    if bucket < 2 * fine {
        return bucket as u64;
    }
    let shift = bucket / fine - 1;
    (((bucket % fine + fine + 1) as u64) << shift) - 1
}

/// What several workers counted, together.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    commands: Vec<Total>,
    /// Errors by their code.
    pub errors: BTreeMap<String, u64>,
}

/// How long calls took.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    /// Calls.
    pub calls: u64,
    /// What they took together.
    pub nanoseconds: u64,
    /// Of ascending bounds in nanoseconds, 6 % apart, the calls that took no longer but longer than
    /// the bound before. The last one there can be, 2^30 - 1, stands for all that took longer, too.
    pub counts: Vec<(u64, u64)>,
}

/// What was counted of one command.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// The command's full name in lower case: `get`, `client|list`.
    pub name: String,
    /// Executed.
    pub calls: u64,
    /// Refused before they were executed.
    pub rejected: u64,
    /// Executed, and answered with an error.
    pub failed: u64,
    timed: u64,
    nanoseconds: u64,
    histogram: Vec<u64>,
}

impl Totals {
    /// Adds a worker's counters.
    pub fn add(&mut self, counters: &Counters) {
        if self.commands.is_empty() {
            let named = |name: &str| Total { name: name.to_ascii_lowercase(), ..Total::default() };
            self.commands = names().map(named).collect();
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (total, command) in self.commands.iter_mut().zip(&counters.commands) {
            total.calls += read(&command.calls);
            total.rejected += read(&command.rejected);
            total.failed += read(&command.failed);
            total.timed += read(&command.timed);
            total.nanoseconds += read(&command.nanoseconds);
            if let Some(histogram) = command.histogram.get() {
                total.histogram.resize(BUCKETS, 0);
                for (sum, bucket) in total.histogram.iter_mut().zip(histogram) {
                    *sum += read(bucket);
                }
            }
        }
        for (code, count) in &*counters.errors.lock().unwrap_or_else(PoisonError::into_inner) {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    /// What was counted since `base`, which was read earlier.
    #[must_use]
    pub fn since(mut self, base: &Self) -> Self {
        for (total, base) in self.commands.iter_mut().zip(&base.commands) {
            let numbers = [
                (&mut total.calls, base.calls),
                (&mut total.rejected, base.rejected),
                (&mut total.failed, base.failed),
                (&mut total.timed, base.timed),
                (&mut total.nanoseconds, base.nanoseconds),
            ];
            for (number, before) in numbers {
                *number = number.saturating_sub(before);
            }
            for (count, before) in total.histogram.iter_mut().zip(&base.histogram) {
                *count = count.saturating_sub(*before);
            }
        }
        for (code, before) in &base.errors {
            if let Some(count) = self.errors.get_mut(code) {
                *count = count.saturating_sub(*before);
            }
        }
        self.errors.retain(|_, count| *count > 0);
        self
    }

    /// How long the calls of all commands took, each measured one with those that it stands for.
    /// Nothing is scaled afterwards, so what is read later is never less.
    pub fn durations(&self) -> Durations {
        let mut sum = vec![0; BUCKETS];
        let mut durations = Durations::default();
        for total in &self.commands {
            durations.calls += total.timed;
            durations.nanoseconds += total.nanoseconds;
            for (all, count) in sum.iter_mut().zip(&total.histogram) {
                *all += count;
            }
        }
        let counted = sum.into_iter().enumerate().filter(|(_, count)| *count > 0);
        durations.counts = counted.map(|(at, count)| (bound(at), count)).collect();
        durations
    }

    /// The commands of which anything was counted.
    pub fn commands(&self) -> impl Iterator<Item = &Total> {
        self.commands.iter().filter(|total| total.calls + total.rejected + total.failed > 0)
    }
}

impl Total {
    /// Microseconds that all calls took; an estimate if only some were measured.
    pub fn microseconds(&self) -> u64 {
        let scaled = u128::from(self.nanoseconds) * u128::from(self.calls);
        (scaled / u128::from(self.timed.max(1)) / 1000) as u64
    }

    /// Microseconds that one call took on average.
    pub fn microseconds_per_call(&self) -> f64 {
        self.nanoseconds as f64 / self.timed.max(1) as f64 / 1000.0
    }

    /// The time in microseconds that so many percent of the calls didn't exceed; none if no call
    /// was measured.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let wanted = (self.timed as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = self.histogram.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.map(|bucket| bound(bucket) as f64 / 1000.0)
    }

    /// Of bounds in microseconds, each about twice the last, how many calls took no longer. A
    /// bound that adds no call is left out.
    pub fn histogram(&self) -> Vec<(u64, u64)> {
        let (mut seen, mut told) = (0, 0);
        let mut counts = Vec::new();
        for (at, count) in self.histogram.iter().enumerate() {
            seen += count;
            let bound = bound(at).saturating_add(1);
            if bound >= 1024 && bound.is_power_of_two() && seen > told {
                told = seen;
                let calls = u128::from(seen) * u128::from(self.calls);
                counts.push((bound / 1000, (calls / u128::from(self.timed.max(1))) as u64));
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find_numbered;

    #[test]
    fn buckets_are_in_order_and_their_bounds_fit() {
        for value in (0..5000).chain([99_999, 1 << 29, LONGEST - 1, LONGEST, u64::MAX]) {
            let at = bucket(value);
            let value = value.min(LONGEST);
            assert!(at < BUCKETS, "{value}");
            assert!(value <= bound(at), "{value}");
            assert!(at == 0 || value > bound(at - 1), "{value}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn sums_are_scaled_to_all_calls_and_start_again() {
        let (one, two) = (Counters::default(), Counters::default());
        let get = find_numbered(b"get").unwrap().1;
        let mut measured = 0;
        for counters in [&one, &two] {
            let get = counters.of(get).unwrap();
            for _ in 0..1616 {
                if get.is_due() {
                    measured += 1;
                    get.took(3_000, true);
                }
                get.called();
            }
        }
        one.of(get).unwrap().failed();
        two.rejected(get);
        two.error("WRONGTYPE x");
        assert!((226..=238).contains(&measured), "{measured}");
        let mut all = Totals::default();
        [&one, &two].into_iter().for_each(|counters| all.add(counters));
        let total = all.commands().next().unwrap();
        assert_eq!((total.name.as_str(), total.calls), ("get", 3232));
        assert_eq!((total.rejected, total.failed), (1, 1));
        assert_eq!((total.microseconds(), total.microseconds_per_call()), (9696, 3.0));
        assert_eq!(total.histogram(), [(4, 3232)]);
        let durations = all.durations();
        assert!((3_100..=3_400).contains(&durations.calls), "{}", durations.calls);
        assert_eq!(durations.nanoseconds, durations.calls * 3_000);
        assert_eq!(durations.counts, [(3_071, durations.calls)]);
        assert!(total.percentile(99.0).is_some_and(|at| (3.0..3.2).contains(&at)));
        assert_eq!(all.errors.get("WRONGTYPE"), Some(&1));
        one.of(get).unwrap().called();
        let mut later = Totals::default();
        [&one, &two].into_iter().for_each(|counters| later.add(counters));
        let since = later.since(&all);
        assert_eq!(since.commands().map(|total| total.calls).collect::<Vec<_>>(), [1]);
        assert!(since.errors.is_empty());
    }

    #[test]
    fn nowhere_keeps_nothing() {
        let get = find_numbered(b"get").unwrap().1;
        assert!(NOWHERE.of(get).is_none());
        NOWHERE.rejected(get);
        NOWHERE.error("ERR x");
        let mut all = Totals::default();
        all.add(&NOWHERE);
        assert!(all.commands().next().is_none() && all.errors.is_empty());
    }
}
