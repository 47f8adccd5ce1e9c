//! When requests are due in an open loop.
//!
//! What always holds: the schedule depends on nothing that the server does. Times are nanoseconds
//! since the start of the load.

use std::time::Duration;

use crate::random::Random;

/// Distances between requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// All alike.
    Even,
    /// Independent of each other (a Poisson process), as visitors come.
    Random,
}

/// A time with a higher rate, counted from the end of the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Times the rate.
    pub factor: f64,
    /// When it begins.
    pub from: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

/// The due times, one after another.
#[derive(Debug)]
pub(super) struct Schedule {
    gap: f64,
    arrivals: Arrivals,
    burst: Option<(f64, f64, f64)>,
    due: f64,
    random: Random,
}

impl Schedule {
    /// The first request is due at once; `warm_up` shifts the burst.
    pub(super) fn new(
        rate: f64,
        arrivals: Arrivals,
        burst: Option<Burst>,
        warm_up: Duration,
        seed: u64,
    ) -> Self {
        let burst = burst.map(|burst| {
            let from = (warm_up + burst.from).as_nanos() as f64;
            (burst.factor, from, from + burst.lasts.as_nanos() as f64)
        });
        Self { gap: 1e9 / rate.max(1e-3), arrivals, burst, due: 0.0, random: Random::new(seed) }
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> u64 {
        self.due as u64
    }

    /// The share of the requests due now that the burst has brought.
    pub(super) fn extra(&self) -> f64 {
        self.factor().map_or(0.0, |factor| 1.0 - 1.0 / factor)
    }

    /// On to the one after it.
    pub(super) fn advance(&mut self) {
        let gap = self.gap / self.factor().unwrap_or(1.0);
        self.due += match self.arrivals {
            Arrivals::Even => gap,
            Arrivals::Random => gap * self.random.gap(),
        };
    }

    fn factor(&self) -> Option<f64> {
        let (factor, from, to) = self.burst?;
        (from..to).contains(&self.due).then_some(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(schedule: &mut Schedule, until: f64) -> usize {
        let mut count = 0;
        while schedule.due < until * 1e9 {
            count += 1;
            schedule.advance();
        }
        count
    }

    #[test]
    fn both_kinds_keep_the_rate() {
        let mut even = Schedule::new(1000.0, Arrivals::Even, None, Duration::ZERO, 1);
        assert!(within(&mut even, 10.0).abs_diff(10_000) <= 1);
        let mut random = Schedule::new(1000.0, Arrivals::Random, None, Duration::ZERO, 1);
        assert!(within(&mut random, 100.0).abs_diff(100_000) < 1500);
    }

    #[test]
    fn a_burst_multiplies_it_for_its_time() {
        let second = Duration::from_secs(1);
        let burst = Some(Burst { factor: 5.0, from: second, lasts: second });
        let mut schedule = Schedule::new(1000.0, Arrivals::Even, burst, second, 1);
        assert!(within(&mut schedule, 2.0).abs_diff(2000) <= 1);
        assert!((schedule.extra() - 0.8).abs() < 1e-9);
        assert!(within(&mut schedule, 3.0).abs_diff(5000) <= 1);
        assert!(within(&mut schedule, 4.0).abs_diff(1000) <= 1);
        assert!(schedule.extra().abs() < 1e-9);
    }
}
