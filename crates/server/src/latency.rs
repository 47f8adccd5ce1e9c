//! What LATENCY shows: events that took longer than `latency-monitor-threshold`, and when.
//!
//! An event is anything that may keep requests waiting: a command, a write or a sync of the log, the
//! cut of a snapshot, eviction, expiry. What always holds: nothing is timed while the threshold is
//! 0; of each event the last samples stay, one for each second, the longest. Not for: statistics of
//! ordinary requests, which the workers count.

use crate::os::clock::Clock;
use commands::host::LatencyEvent;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Samples of an event, as many as Redis keeps.
const SAMPLES_MAX: usize = 160;

/// What may take long. Its name is Redis's where Redis has such an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    /// A command that may take time in proportion to what it's given or finds.
    Command,
    /// A command that never should.
    FastCommand,
    /// A write to the log.
    LogWrite,
    /// A sync of the log, under whichever policy.
    LogSync,
    /// The moment of a snapshot or a rewrite in which all shards stand still.
    SnapshotCut,
    /// Keys that go at the end of a turn because memory is used up.
    Eviction,
    /// Keys that go at the end of a turn because their time has come.
    Expiry,
}

impl Event {
    /// What LATENCY calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
            Self::LogWrite => "aof-write",
            Self::LogSync => "aof-fsync",
            Self::SnapshotCut => "snapshot-cut",
            Self::Eviction => "eviction-cycle",
            Self::Expiry => "expire-cycle",
        }
    }
}

/// Events that took long at times.
#[derive(Debug)]
pub struct Latency {
    clock: Clock,
    /// Milliseconds from which an event is kept; 0: none is.
    threshold_ms: AtomicU64,
    events: Mutex<BTreeMap<Event, Samples>>,
}

#[derive(Debug, Default)]
struct Samples {
    /// When (Unix seconds) and how long (milliseconds), oldest first.
    kept: Vec<(u64, u64)>,
    max_ms: u64,
}

impl Latency {
    /// Without any event, and none is kept before [`Latency::set_threshold`].
    pub fn new(clock: Clock) -> Self {
        Self { clock, threshold_ms: AtomicU64::new(0), events: Mutex::default() }
    }

    /// Keeps what takes that long (ms) from now on; 0: nothing.
    pub fn set_threshold(&self, milliseconds: u64) {
        self.threshold_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// Does `work`, which is such an event.
    #[inline]
    pub fn timed<T>(&self, event: Event, work: impl FnOnce() -> T) -> T {
        let begun = self.begin();
        let done = work();
        self.end(event, begun);
        done
    }

    /// The beginning of an event; `None` while nothing is kept.
    #[inline]
    pub fn begin(&self) -> Option<Instant> {
        (self.threshold_ms.load(Ordering::Relaxed) > 0).then(Instant::now)
    }

    /// An event that began then ends now.
    #[inline]
    pub fn end(&self, event: Event, begun: Option<Instant>) {
        if let Some(begun) = begun {
            self.took(event, begun.elapsed().as_micros() as u64);
        }
    }

    /// An event took so many microseconds and ended now.
    pub fn took(&self, event: Event, microseconds: u64) {
        let threshold = self.threshold_ms.load(Ordering::Relaxed);
        let ms = microseconds / 1000;
        if threshold == 0 || ms < threshold {
            return;
        }
        let at_s = self.clock.now().ms / 1000;
        let mut events = self.lock();
        let samples = events.entry(event).or_default();
        samples.max_ms = samples.max_ms.max(ms);
        match samples.kept.last_mut() {
            Some((second, longest)) if *second == at_s => *longest = (*longest).max(ms),
            _ => samples.kept.push((at_s, ms)),
        }
        if samples.kept.len() > SAMPLES_MAX {
            samples.kept.remove(0);
        }
    }

    /// All events that have samples.
    pub fn all(&self) -> Vec<LatencyEvent> {
        let told = |(event, samples): (&Event, &Samples)| LatencyEvent {
            name: event.name().to_owned(),
            samples: samples.kept.clone(),
            max_ms: samples.max_ms,
        };
        self.lock().iter().map(told).collect()
    }

    /// Forgets the events of these names, or all if there are no names; how many there were.
    pub fn reset(&self, names: &[&str]) -> usize {
        let mut events = self.lock();
        let before = events.len();
        events.retain(|event, _| {
            !names.is_empty() && !names.iter().any(|asked| asked.eq_ignore_ascii_case(event.name()))
        });
        before - events.len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Event, Samples>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Latency, SAMPLES_MAX};
    use crate::os::clock::Clock;

    const START_S: u64 = 1_700_000_000;

    fn watched() -> (Clock, Latency) {
        let clock = Clock::manual(START_S * 1_000_000);
        let latency = Latency::new(clock.clone());
        latency.set_threshold(5);
        (clock, latency)
    }

    #[test]
    fn nothing_is_kept_without_a_threshold_or_below_it() {
        let (_, latency) = watched();
        latency.took(Event::LogSync, 4_999);
        latency.set_threshold(0);
        latency.took(Event::LogSync, 9_000_000);
        assert!(latency.begin().is_none());
        assert!(latency.all().is_empty());
    }

    #[test]
    fn of_one_second_the_longest_stays_and_of_seconds_the_latest() {
        let (clock, latency) = watched();
        latency.took(Event::LogSync, 6_000);
        latency.took(Event::LogSync, 9_000);
        latency.took(Event::LogSync, 7_000);
        assert_eq!(latency.all()[0].samples, [(START_S, 9)]);
        for _ in 0..SAMPLES_MAX {
            clock.advance_ms(1000);
            latency.took(Event::LogSync, 5_000);
        }
        let [event] = &*latency.all() else { panic!("one event") };
        assert_eq!((event.name.as_str(), event.max_ms), ("aof-fsync", 9));
        assert_eq!(event.samples.len(), SAMPLES_MAX);
        assert_eq!(event.samples[0], (START_S + 1, 5));
    }

    #[test]
    fn events_are_forgotten_by_name_or_all() {
        let (_, latency) = watched();
        for event in [Event::Command, Event::LogWrite, Event::Eviction] {
            latency.timed(event, || latency.took(event, 5_000));
        }
        assert_eq!(latency.reset(&["AOF-write", "nothing"]), 1);
        assert_eq!(latency.all().len(), 2);
        assert_eq!(latency.reset(&[]), 2);
        assert!(latency.all().is_empty());
    }
}
