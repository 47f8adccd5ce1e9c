//! The server's time: the wall clock at the start plus the boot-time clock, drawn gently towards the
//! wall clock.
//!
//! What always holds: time never goes back, never jumps, and counts while the machine sleeps. It
//! gains or loses at most one millisecond per second against the boot-time clock, so that an
//! administrator's (or a bad time server's) step of the wall clock expires nothing. A step is
//! reported once, by [`Clock::tune`].
//!
//! A reading costs one vDSO call and a few loads: the line through (boot, wall) with its slope is
//! published under a sequence number by whoever calls `tune`, which is one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

use rustix::time::{ClockId, clock_gettime};

/// Slope limit: parts per million, so 1000 is one millisecond per second.
const SLEW_MOST: i64 = 1000;
/// A difference between two tunings beyond this is a step of the wall clock, not drift (µs).
const STEP_LEAST: i64 = 500_000;

/// One moment, read once per turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch.
    pub ms: u64,
    /// Microseconds since the Unix epoch.
    pub us: u64,
    /// Microseconds of the boot-time clock: only differences mean anything.
    pub mono_us: u64,
}

impl Now {
    /// The moment `us` microseconds after the epoch, on a boot-time clock that says the same.
    pub fn at_us(us: u64) -> Self {
        Self { ms: us / 1000, us, mono_us: us }
    }
}

/// A clock that all threads read.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    System(Line),
    Manual(AtomicU64),
}

/// The line on which time runs: `wall + (boot_now - boot) * (1 + slope)`.
#[derive(Debug)]
struct Line {
    sequence: AtomicU64,
    boot: AtomicI64,
    wall: AtomicI64,
    slope: AtomicI64,
    /// Wall clock minus boot-time clock at the last tuning.
    apart: AtomicI64,
    steps: AtomicU64,
}

impl Clock {
    /// The system's clock, starting at the wall clock.
    pub fn system() -> Self {
        let (boot, wall) = (boot_us(), wall_us());
        Self(Arc::new(Inner::System(Line {
            sequence: AtomicU64::new(0),
            boot: AtomicI64::new(boot),
            wall: AtomicI64::new(wall),
            slope: AtomicI64::new(0),
            apart: AtomicI64::new(wall.wrapping_sub(boot)),
            steps: AtomicU64::new(0),
        })))
    }

    /// A clock that stands still at `us` until it is moved: for tests.
    pub fn manual(us: u64) -> Self {
        Self(Arc::new(Inner::Manual(AtomicU64::new(us))))
    }

    /// Moves a manual clock on; the system's clock ignores it.
    pub fn advance_ms(&self, ms: u64) {
        if let Inner::Manual(us) = &*self.0 {
            us.fetch_add(ms.saturating_mul(1000), Ordering::SeqCst);
        }
    }

    /// Whether time passes by itself.
    pub fn runs(&self) -> bool {
        matches!(&*self.0, Inner::System(_))
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        match &*self.0 {
            Inner::Manual(us) => Now::at_us(us.load(Ordering::SeqCst)),
            Inner::System(line) => {
                let boot = boot_us();
                let us = u64::try_from(line.read(boot)).unwrap_or(0);
                Now { ms: us / 1000, us, mono_us: u64::try_from(boot).unwrap_or(0) }
            }
        }
    }

    /// Nanoseconds of a clock that only goes forward: only differences mean anything.
    pub fn ticks_ns(&self) -> u64 {
        match &*self.0 {
            Inner::Manual(us) => us.load(Ordering::SeqCst).saturating_mul(1000),
            Inner::System(_) => {
                let at = clock_gettime(ClockId::Monotonic);
                let ns = at.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(at.tv_nsec);
                u64::try_from(ns).unwrap_or(0)
            }
        }
    }

    /// Draws time towards the wall clock; call about once a second, from one thread. Returns by how
    /// many microseconds the wall clock stepped since the last call, if it did.
    pub fn tune(&self) -> Option<i64> {
        match &*self.0 {
            Inner::Manual(_) => None,
            Inner::System(line) => line.tune(boot_us(), wall_us()),
        }
    }

    /// How many steps of the wall clock were seen.
    pub fn steps(&self) -> u64 {
        match &*self.0 {
            Inner::Manual(_) => 0,
            Inner::System(line) => line.steps.load(Ordering::Relaxed),
        }
    }
}

impl Line {
    fn read(&self, boot: i64) -> i64 {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let from = self.boot.load(Ordering::Relaxed);
            let wall = self.wall.load(Ordering::Relaxed);
            let slope = self.slope.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return along(from, wall, slope, boot);
            }
            std::hint::spin_loop();
        }
    }

    fn tune(&self, boot: i64, real: i64) -> Option<i64> {
        let (from, wall) = (self.boot.load(Ordering::Relaxed), self.wall.load(Ordering::Relaxed));
        let here = along(from, wall, self.slope.load(Ordering::Relaxed), boot);
        // Half of the error per second, so that it settles instead of swinging.
        let slope = real.wrapping_sub(here).wrapping_div(2).clamp(-SLEW_MOST, SLEW_MOST);
        self.sequence.fetch_add(1, Ordering::AcqRel);
        self.boot.store(boot, Ordering::Relaxed);
        self.wall.store(here, Ordering::Relaxed);
        self.slope.store(slope, Ordering::Relaxed);
        self.sequence.fetch_add(1, Ordering::Release);
        let apart = real.wrapping_sub(boot);
        let step = apart.wrapping_sub(self.apart.swap(apart, Ordering::Relaxed));
        if step.wrapping_abs() < STEP_LEAST {
            return None;
        }
        self.steps.fetch_add(1, Ordering::Relaxed);
        Some(step)
    }
}

/// Time at `boot` on the line through (`from`, `wall`). A reading taken just before the line was
/// moved lies a little before `from`; it stays on the line.
fn along(from: i64, wall: i64, slope: i64, boot: i64) -> i64 {
    let passed = boot.wrapping_sub(from);
    wall.wrapping_add(passed).wrapping_add(passed.wrapping_mul(slope) / 1_000_000)
}

fn boot_us() -> i64 {
    micros(ClockId::Boottime)
}

/// The wall clock as it is, in microseconds since the Unix epoch: for log lines only.
pub fn wall_us() -> i64 {
    micros(ClockId::Realtime)
}

fn micros(clock: ClockId) -> i64 {
    let at = clock_gettime(clock);
    at.tv_sec.wrapping_mul(1_000_000).wrapping_add(at.tv_nsec / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(wall: i64) -> Line {
        Line {
            sequence: AtomicU64::new(0),
            boot: AtomicI64::new(0),
            wall: AtomicI64::new(wall),
            slope: AtomicI64::new(0),
            apart: AtomicI64::new(wall),
            steps: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_step_is_reported_and_hardly_moves_time() {
        const SECOND: i64 = 1_000_000;
        let line = line(1_000 * SECOND);
        assert_eq!(line.tune(SECOND, 1_001 * SECOND), None);
        let hour = 3_600 * SECOND;
        let mut last = line.read(SECOND);
        assert_eq!(line.tune(2 * SECOND, 1_002 * SECOND + hour), Some(hour));
        for second in 3..100 {
            assert_eq!(line.tune(second * SECOND, (1_000 + second) * SECOND + hour), None);
            let here = line.read(second * SECOND);
            let passed = here - last;
            assert!((999_000..=1_001_000).contains(&passed) || second == 3, "{passed}");
            last = here;
        }
        assert_eq!(line.steps.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn drift_is_drawn_in() {
        let line = line(0);
        // The wall clock is 3 ms ahead of where time started.
        for second in 1..60_i64 {
            line.tune(second * 1_000_000, second * 1_000_000 + 3_000);
        }
        let off = line.read(60_000_000) - 60_003_000;
        assert!(off.abs() < 50, "{off}");
    }

    #[test]
    fn the_system_clock_goes_forward() {
        let clock = Clock::system();
        let mut last = clock.now();
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now.us >= last.us && now.mono_us >= last.mono_us);
            last = now;
        }
    }
}
