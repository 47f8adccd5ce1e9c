//! What a load has seen: latencies as HDR histograms, over the whole run and per slice of it.
//!
//! What always holds: latencies are nanoseconds kept to three figures, between 1 ns and the bound;
//! longer ones count as the bound, none is dropped. Slices are counted by when a request was due, so
//! a stall stands where it began.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::limits::{LATENCY_MOST, SLICES_MOST};

/// Quantiles of which the report draws its curves.
pub const QUANTILES: [f64; 14] =
    [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 1.0];

/// Latencies of many requests.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// None yet.
    #[expect(clippy::expect_used, reason = "the library accepts these constants")]
    pub fn new() -> Self {
        let most = nanoseconds(LATENCY_MOST);
        Self(Histogram::new_with_bounds(1, most, 3).expect("bounds in order"))
    }

    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.0.saturating_record(nanoseconds(took).max(1));
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that the fraction `quantile` of all doesn't exceed; zero if there are none.
    pub fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(if self.0.is_empty() { 0 } else { self.0.value_at_quantile(quantile) })
    }

    /// The longest.
    pub fn most(&self) -> Duration {
        Duration::from_nanos(if self.0.is_empty() { 0 } else { self.0.max() })
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(if self.0.is_empty() { 0 } else { self.0.mean() as u64 })
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        // Same bounds, so nothing can be out of range.
        let _ = self.0.add(&other.0);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One slice of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slice {
    /// Seconds from the start of the run to the start of the slice.
    pub at: f64,
    /// Operations that were due in it.
    pub operations: u64,
    /// Median, in milliseconds.
    pub p50: f64,
    /// 99th percentile, in milliseconds.
    pub p99: f64,
    /// Longest, in milliseconds.
    pub most: f64,
}

/// Latencies by slice: a histogram of two figures for each slice that had requests.
#[derive(Debug)]
pub struct Timeline {
    width: Duration,
    slices: Vec<Histogram<u64>>,
}

impl Timeline {
    /// Slices of `width` (a millisecond at least).
    pub fn new(width: Duration) -> Self {
        Self { width: width.max(Duration::from_millis(1)), slices: Vec::new() }
    }

    /// A request that was due `since` the start and took `took`.
    pub fn add(&mut self, since: Duration, took: Duration) {
        let at = (since.as_nanos() / self.width.as_nanos()) as usize;
        let at = at.min(SLICES_MOST - 1);
        while self.slices.len() <= at {
            let Ok(empty) = Histogram::new_with_bounds(1, nanoseconds(LATENCY_MOST), 2) else {
                return;
            };
            self.slices.push(empty);
        }
        if let Some(slice) = self.slices.get_mut(at) {
            slice.saturating_record(nanoseconds(took.min(LATENCY_MOST)).max(1));
        }
    }

    /// All slices, the empty ones left out.
    pub fn slices(&self) -> Vec<Slice> {
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let whole = self.slices.iter().enumerate().filter(|(_, slice)| !slice.is_empty());
        whole
            .map(|(at, slice)| Slice {
                at: self.width.as_secs_f64() * at as f64,
                operations: slice.len(),
                p50: ms(slice.value_at_quantile(0.5)),
                p99: ms(slice.value_at_quantile(0.99)),
                most: ms(slice.max()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_known_values() {
        let mut latency = Latency::new();
        for ms in 1..=1000u64 {
            latency.add(Duration::from_millis(ms));
        }
        for (quantile, ms) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = latency.at(quantile).as_secs_f64() * 1e3;
            assert!((found / ms - 1.0f64).abs() < 0.002, "{quantile}: {found}");
        }
        assert_eq!(latency.count(), 1000);
        assert!((latency.mean().as_secs_f64() / 0.5005 - 1.0).abs() < 0.002);
    }

    #[test]
    fn nothing_is_dropped() {
        let mut latency = Latency::new();
        latency.add(Duration::ZERO);
        latency.add(LATENCY_MOST * 10);
        assert_eq!(latency.count(), 2);
        assert!(latency.most() >= LATENCY_MOST);
        assert_eq!(Latency::new().at(0.99), Duration::ZERO);
    }

    #[test]
    fn merged_is_as_if_recorded_together() {
        let (mut a, mut b, mut both) = (Latency::new(), Latency::new(), Latency::new());
        for n in 1..500u64 {
            let took = Duration::from_micros(n * n);
            if n % 3 == 0 {
                a.add(took);
            } else {
                b.add(took);
            }
            both.add(took);
        }
        a.merge(&b);
        for quantile in QUANTILES {
            assert_eq!(a.at(quantile), both.at(quantile));
        }
    }

    #[test]
    fn slices_stand_where_requests_were_due() {
        let mut timeline = Timeline::new(Duration::from_millis(100));
        timeline.add(Duration::from_millis(50), Duration::from_millis(1));
        timeline.add(Duration::from_millis(350), Duration::from_millis(700));
        let slices = timeline.slices();
        assert_eq!(slices.len(), 2);
        assert!((slices[1].at - 0.3).abs() < 1e-9);
        assert!((slices[1].most - 700.0).abs() < 10.0, "{}", slices[1].most);
    }
}
